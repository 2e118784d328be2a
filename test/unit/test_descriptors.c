/*
 * Descriptors of the child: every way in which maps can cross, as the child itself sees the result; numbers at the edge of
 * what the system allows; and the order of the moves against a model.
 */
#include "harness.h"

#include <limits.h>
#include <sys/resource.h>

enum { NUMBERS = 5, NONE = NUMBERS, CHOICES = NUMBERS + 1, ALL_MAPS = 6 * 6 * 6 * 6 * 6, REPORT = 9, VIEWED = 64 };

/* ---- every map over {0,1,2,3,4} ---- */

typedef struct identity {
    dev_t device;
    ino_t inode;
} identity;

static identity identity_of(int fd)
{
    struct stat st;

    if (fstat(fd, &st) != 0) {
        return (identity){0};
    }
    return (identity){.device = st.st_dev, .inode = st.st_ino};
}

/* 0 to 4 become five files (or closed, as the bits of `closed` say); what they were is kept above. */
typedef struct arena {
    int saved[3], report[2];
    identity files[NUMBERS];
    unsigned closed;
    char said[8192];
} arena;

static void arena_open(arena *a, unsigned closed)
{
    *a = (arena){.closed = closed};
    for (int fd = 0; fd < 3; fd++) {
        a->saved[fd] = fcntl(fd, F_DUPFD_CLOEXEC, 40);
    }
    make_pipe(a->report);
    for (int end = 0; end < 2; end++) {
        int high = fcntl(a->report[end], F_DUPFD_CLOEXEC, 20);

        close(a->report[end]);
        a->report[end] = high;
    }
    fcntl(a->report[0], F_SETFL, O_NONBLOCK);
    for (int fd = 0; fd < NUMBERS; fd++) {
        int file = open(test_path(text("file%d", fd)), O_RDWR | O_CREAT | O_CLOEXEC, 0600);

        assert_true(file >= 0);
        a->files[fd] = identity_of(file);
        if (file != fd) {
            dup2(file, fd);
            close(file);
        }
        fcntl(fd, F_SETFD, fd % 2 == 0 ? 0 : FD_CLOEXEC); /* some of each */
    }
    for (int fd = 0; fd < 3; fd++) {
        if ((closed & 1u << fd) != 0) {
            close(fd);
        }
    }
}

/* What the standard ones were, so that an assertion that fails can say so. */
static void arena_close(arena *a)
{
    for (int fd = 0; fd < 3; fd++) {
        dup2(a->saved[fd], fd);
    }
}

static bool is_closed(const arena *a, int fd)
{
    return (a->closed & 1u << fd) != 0;
}

/* Parent's number for each of the child's five; false if one of those is closed. */
static bool read_choices(const arena *a, int number, int choices[NUMBERS])
{
    for (int fd = 0; fd < NUMBERS; fd++, number /= CHOICES) {
        choices[fd] = number % CHOICES;
        if (choices[fd] != NONE && is_closed(a, choices[fd])) {
            return false;
        }
    }
    return true;
}

/* By an entry of fds, or (every second time, for a standard one) by PROC_FD. */
static int spawn_map(arena *a, int number, const int choices[NUMBERS])
{
    proc_fd_map maps[NUMBERS + 1];
    proc_options options = {.fds = maps};
    proc_stdio *const streams[3] = {&options.in, &options.out, &options.err};
    proc_child *child;
    int err;

    for (int i = 0; i < NUMBERS; i++) {
        int fd = number % 2 == 0 ? i : NUMBERS - 1 - i;

        if (choices[fd] != NONE && fd < 3 && number % 3 == 0) {
            *streams[fd] = (proc_stdio){.kind = PROC_FD, .fd = choices[fd]};
        } else if (choices[fd] != NONE) {
            maps[options.fd_count++] = (proc_fd_map){.child = fd, .parent = choices[fd]};
        }
    }
    maps[options.fd_count++] = (proc_fd_map){.child = REPORT, .parent = a->report[1]};
    err = proc_spawn(&child, KID("report", "9", "fds-below", "64"), &options);
    a->said[0] = '\0';
    if (err == 0) {
        ssize_t size;

        err = proc_child_wait(child, PROC_FOREVER, NULL);
        proc_child_free(child);
        size = read(a->report[0], a->said, sizeof a->said - 1); /* it has ended: all is there */
        a->said[size < 0 ? 0 : size] = '\0';
    }
    return err;
}

/* NULL, or what is wrong with what the child saw. */
static const char *judge_map(const arena *a, const int choices[NUMBERS])
{
    size_t expected = 1; /* the report's */

    for (int fd = 0; fd < NUMBERS; fd++) {
        bool standard = fd < 3;
        int from = choices[fd] != NONE ? choices[fd] : standard && !is_closed(a, fd) ? fd : NONE;
        fd_view view;
        bool found = find_fd(a->said, fd, &view);

        expected += choices[fd] != NONE || standard;
        if (found != (choices[fd] != NONE || standard)) {
            return text("%d is %s", fd, found ? "open" : "closed");
        }
        if (found && view.close_on_exec) {
            return text("%d is close-on-exec", fd);
        }
        if (found && from == NONE && !shows_null(&view)) {
            return text("%d is not the null device", fd);
        }
        if (found && from != NONE && (view.device != a->files[from].device || view.inode != a->files[from].inode)) {
            return text("%d is not the parent's %d", fd, from);
        }
    }
    return count_fds(a->said) == expected ? NULL : "there are others";
}

typedef struct sweep {
    unsigned closed;
    int stride;
} sweep;

static void try_maps(void *arg)
{
    const sweep *s = arg;
    arena *a = keep(malloc(sizeof *a));
    const char *wrong = NULL;
    int number, err = 0, choices[NUMBERS];

    arena_open(a, s->closed);
    for (number = 0; number < ALL_MAPS && err == 0 && wrong == NULL; number += s->stride) {
        if (read_choices(a, number, choices)) {
            err = spawn_map(a, number, choices);
            wrong = err == 0 ? judge_map(a, choices) : NULL;
        }
    }
    arena_close(a);
    if (err != 0 || wrong != NULL) {
        fail_msg("map {%d %d %d %d %d} (%d is none), closed %#x: error %d, %s\n%s", choices[0], choices[1], choices[2],
                 choices[3], choices[4], NONE, s->closed, err, wrong == NULL ? "" : wrong, a->said);
    }
}

/* The moves are the same code for every launcher: one run of the suite tries all of them, the others a part. */
static bool is_first_run(void)
{
    const char *launcher = getenv("PROC_TEST_LAUNCHER");

    return !POSIX_BUILD && getenv("PROC_TEST_EXITWATCH") == NULL &&
           (launcher == NULL || strcmp(launcher, "vfork") == 0);
}

static void every_crossing_of_five_descriptors_comes_out_right(void **state)
{
    (void)state;

    in_copy(try_maps, &(sweep){.closed = 0, .stride = under_valgrind() ? 997 : is_first_run() ? 1 : 11});
}

static void crossings_come_out_right_where_the_parent_lacks_standard_ones(void **state)
{
    (void)state;

    for (unsigned closed = 1; closed < 8; closed++) {
        in_copy(try_maps, &(sweep){.closed = closed, .stride = under_valgrind() ? 997 : is_first_run() ? 11 : 23});
    }
}

/* ---- the parent's 0, 1 and 2 closed, in all eight combinations ---- */

typedef struct bare_start {
    unsigned closed;
    proc_stdio_kind kind;
} bare_start;

static void start_without_standard_descriptors(void *arg)
{
    const bare_start *given = arg;
    arena *a = keep(malloc(sizeof *a));
    const proc_stdio stdio = {.kind = given->kind};
    bool taken = false;
    char out[16] = "", complaint[16] = "";
    proc_child *child = NULL;
    int err;

    arena_open(a, given->closed);
    err = proc_spawn(&child, KID("report", "9", "fds-below", "64", "out", "o", "err", "e", "cat"),
                     OPTIONS(.in = stdio, .out = stdio, .err = stdio, .fd_count = 1,
                             .fds = &(proc_fd_map){.child = REPORT, .parent = a->report[1]}));
    for (int fd = 0; fd < 3; fd++) {
        taken = taken || (is_closed(a, fd) && is_open(fd));
    }
    if (err == 0 && given->kind == PROC_PIPE) {
        (void)proc_child_write(child, "i", 1, PROC_FOREVER);
        (void)proc_child_close(child, 0);
        while (proc_child_read(child, 1, out + strlen(out), 1, PROC_FOREVER) > 0) {
        }
        while (proc_child_read(child, 2, complaint + strlen(complaint), 1, PROC_FOREVER) > 0) {
        }
    }
    err = err == 0 ? proc_child_wait(child, PROC_FOREVER, NULL) : err;
    proc_child_free(child);
    a->said[0] = '\0';
    (void)!read(a->report[0], a->said, sizeof a->said - 1);
    arena_close(a);

    assert_int_equal(err, 0);
    assert_false(taken); /* nothing of the library's took a standard number */
    assert_int_equal(count_fds(a->said), 4);
    for (int fd = 0; fd < 3; fd++) {
        bool null = given->kind == PROC_NULL || (given->kind == PROC_INHERIT && is_closed(a, fd));
        fd_view view;

        assert_true(find_fd(a->said, fd, &view));
        if (given->kind == PROC_PIPE) {
            assert_string_equal(view.kind, "fifo");
        } else {
            assert_int_equal(shows_null(&view), null);
            assert_true(null || view.inode == a->files[fd].inode);
        }
    }
    assert_string_equal(out, given->kind == PROC_PIPE ? "oi" : "");
    assert_string_equal(complaint, given->kind == PROC_PIPE ? "e" : "");
}

static void a_parent_without_standard_descriptors_gives_its_child_all_three(void **state)
{
    (void)state;
    static const proc_stdio_kind kinds[] = {PROC_PIPE, PROC_INHERIT, PROC_NULL};

    for (size_t i = 0; i < COUNT(kinds); i++) {
        for (unsigned closed = 0; closed < 8; closed++) {
            in_copy(start_without_standard_descriptors, &(bare_start){.closed = closed, .kind = kinds[i]});
        }
    }
}

/* ---- single cases ---- */

static outcome view_with_maps(const proc_fd_map *maps, size_t count)
{
    return run_child(KID("fds"), OPTIONS(.fds = maps, .fd_count = count));
}

static void swapped_outputs_are_neither_merged_nor_lost(void **state)
{
    (void)state;
    int a = open(test_path("a"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    int b = open(test_path("b"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    proc_child *child;

    assert_int_equal(proc_spawn(&child, KID("out", "out", "err", "err"),
                                OPTIONS(.out = {.kind = PROC_FD, .fd = b}, .err = {.kind = PROC_FD, .fd = a})),
                     0);
    assert_int_equal(proc_child_wait(child, PROC_FOREVER, NULL), 0);
    proc_child_free(child);

    assert_string_equal(read_file(test_path("a")), "err");
    assert_string_equal(read_file(test_path("b")), "out");
    close(a);
    close(b);
}

static void a_descriptor_that_keeps_its_number_loses_close_on_exec_in_the_child_alone(void **state)
{
    (void)state;
    int fd = fcntl(0, F_DUPFD_CLOEXEC, 5);
    outcome result = view_with_maps(&(proc_fd_map){.child = fd, .parent = fd}, 1);
    fd_view view;

    assert_ended(result, 0);
    assert_true(find_fd(result.out, fd, &view));
    assert_true(shows_file_of(&view, fd));
    assert_false(view.close_on_exec);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    close(fd);
}

static void long_rings_of_descriptors_turn(void **state)
{
    (void)state;
    enum { RING = 200, FIRST = 10 };
    proc_fd_map maps[RING];
    int files[RING];

    for (int i = 0; i < RING; i++) {
        int file = open(test_path(text("%d", i)), O_RDWR | O_CREAT | O_CLOEXEC, 0600);

        files[i] = fcntl(file, F_DUPFD_CLOEXEC, FIRST);
        close(file);
    }
    for (int i = 0; i < RING; i++) {
        maps[i] = (proc_fd_map){.child = files[(i + 1) % RING], .parent = files[i]};
    }
    outcome result = view_with_maps(maps, RING);

    assert_ended(result, 0);
    assert_int_equal(count_fds(result.out), RING + 3);
    for (int i = 0; i < RING; i++) {
        fd_view view;

        assert_true(find_fd(result.out, files[(i + 1) % RING], &view));
        assert_true(shows_file_of(&view, files[i]));
        close(files[i]);
    }
}

/* ---- refused ---- */

static void a_closed_descriptor_is_refused_by_name(void **state)
{
    (void)state;
    const proc_fd_map maps[] = {{.child = 5, .parent = 1}, {.child = 6, .parent = 4000}};
    const proc_fd_map negative = {.child = 5, .parent = -1};
    outcome second = view_with_maps(maps, 2);
    outcome below_zero = view_with_maps(&negative, 1);
    outcome stream = run_child(KID("fds"), OPTIONS(.out = {.kind = PROC_FD, .fd = 4000}));
    outcome negative_stream = run_child(KID("fds"), OPTIONS(.in = {.kind = PROC_FD, .fd = -1}));

    assert_refused(second, -EBADF, PROC_STEP_FDS, "fds[1]");
    assert_refused(below_zero, -EBADF, PROC_STEP_FDS, "fds[0]");
    assert_refused(stream, -EBADF, PROC_STEP_FDS, "out");
    assert_refused(negative_stream, -EBADF, PROC_STEP_FDS, "in");
}

/* What the library opens for itself takes the lowest free numbers: a stale number of the caller's must not name that. */
static void a_closed_descriptor_is_not_taken_for_one_of_the_librarys_own(void **state)
{
    (void)state;

    for (int stale = 3; stale < 20; stale++) {
        if (is_open(stale)) {
            continue;
        }
        const proc_fd_map map = {.child = 100, .parent = stale};
        outcome mapped = run_child(KID("fds"), OPTIONS(.in.kind = PROC_PIPE, .fds = &map, .fd_count = 1));
        outcome stream = run_child(KID("fds"), OPTIONS(.in.kind = PROC_PIPE, .err = {.kind = PROC_FD, .fd = stale}));

        assert_refused(mapped, -EBADF, PROC_STEP_FDS, "fds[0]");
        assert_refused(stream, -EBADF, PROC_STEP_FDS, "err");
    }
}

static void a_closed_descriptor_is_not_taken_for_one_that_was_lifted(void **state)
{
    (void)state;
    int a = fcntl(0, F_DUPFD_CLOEXEC, 5), b = fcntl(0, F_DUPFD_CLOEXEC, 6);

    for (int stale = 3; stale < 20; stale++) {
        if (!is_open(stale)) {
            const proc_fd_map maps[] = {
                {.child = a, .parent = b}, {.child = b, .parent = a}, {.child = 100, .parent = stale}};
            outcome result = run_child(
                KID("fds"), OPTIONS(.out.kind = PROC_NULL, .err.kind = PROC_NULL, .fds = maps, .fd_count = 3));

            assert_refused(result, -EBADF, PROC_STEP_FDS, "fds[2]");
        }
    }
    close(a);
    close(b);
}

static void a_number_named_twice_is_refused(void **state)
{
    (void)state;
    const proc_fd_map twice[] = {{.child = 5, .parent = 1}, {.child = 6, .parent = 0}, {.child = 5, .parent = 1}};
    const proc_fd_map standard = {.child = 1, .parent = 2};
    outcome same = view_with_maps(twice, 3);
    outcome stream = run_child(KID("fds"), OPTIONS(.out.kind = PROC_NULL, .fds = &standard, .fd_count = 1));

    assert_refused(same, -EINVAL, PROC_STEP_OPTIONS, NULL);
    assert_int_equal(strncmp(same.error.subject, "fds", 3), 0);
    assert_refused(stream, -EINVAL, PROC_STEP_OPTIONS, "fds[0]");
}

static void a_negative_number_is_refused(void **state)
{
    (void)state;
    outcome result = view_with_maps(&(proc_fd_map){.child = -1, .parent = 1}, 1);

    assert_refused(result, -EINVAL, PROC_STEP_OPTIONS, "fds[0]");
}

static void beyond_the_limit(void *arg)
{
    struct rlimit limit = {.rlim_cur = 256, .rlim_max = 256};
    int stranger = fcntl(1, F_DUPFD, 300), source = fcntl(0, F_DUPFD_CLOEXEC, 310);
    fd_view view;

    (void)arg;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    const proc_fd_map above = {.child = 256, .parent = 1}, far = {.child = INT_MAX, .parent = 1};
    const proc_fd_map last = {.child = 255, .parent = source};
    outcome refused = view_with_maps(&above, 1);
    outcome absurd = view_with_maps(&far, 1);
    outcome placed = view_with_maps(&last, 1);

    assert_refused(refused, -EMFILE, PROC_STEP_FDS, "fds[0]");
    assert_refused(absurd, -EMFILE, PROC_STEP_FDS, "fds[0]");
    assert_ended(placed, 0);
    assert_true(find_fd(placed.out, 255, &view));
    assert_true(shows_file_of(&view, source));
    if (!POSIX_BUILD) { /* plain POSIX cannot find a stranger above the limit */
        assert_int_equal(count_fds(placed.out), 4);
    }
    assert_true(is_open(stranger));
}

static void numbers_at_and_above_the_limit(void **state)
{
    (void)state;
    NOT_UNDER_VALGRIND();

    in_copy(beyond_the_limit, NULL);
}

static bool may_have(rlim_t numbers)
{
    struct rlimit before, wanted;
    bool may;

    getrlimit(RLIMIT_NOFILE, &before);
    wanted = before;
    wanted.rlim_cur = numbers;
    wanted.rlim_max = before.rlim_max < numbers ? numbers : before.rlim_max;
    may = setrlimit(RLIMIT_NOFILE, &wanted) == 0;
    setrlimit(RLIMIT_NOFILE, &before);
    return may;
}

static void high_numbers(void *arg)
{
    struct rlimit limit = {.rlim_cur = 80000, .rlim_max = 80000};

    (void)arg;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    int stranger = fcntl(1, F_DUPFD, 70000), source = fcntl(0, F_DUPFD_CLOEXEC, 70001);
    const proc_fd_map maps[] = {{.child = 5, .parent = source}, {.child = 75000, .parent = 0}};
    outcome result = view_with_maps(maps, 2);
    fd_view view;

    assert_true(stranger >= 70000);
    assert_ended(result, 0);
    assert_int_equal(count_fds(result.out), 5);
    assert_true(find_fd(result.out, 5, &view));
    assert_true(shows_file_of(&view, source));
    assert_true(find_fd(result.out, 75000, &view));
    assert_true(shows_file_of(&view, 0));
}

static void numbers_above_65535(void **state)
{
    (void)state;

    if (!may_have(80000)) {
        SKIP("no right to have descriptors above 65535");
    }
    in_copy(high_numbers, NULL);
}

static const struct CMUnitTest tests[] = {
    TEST(every_crossing_of_five_descriptors_comes_out_right),
    TEST(crossings_come_out_right_where_the_parent_lacks_standard_ones),
    TEST(a_parent_without_standard_descriptors_gives_its_child_all_three),
    TEST(swapped_outputs_are_neither_merged_nor_lost),
    TEST(a_descriptor_that_keeps_its_number_loses_close_on_exec_in_the_child_alone),
    TEST(long_rings_of_descriptors_turn),
    TEST(a_closed_descriptor_is_refused_by_name),
    TEST(a_closed_descriptor_is_not_taken_for_one_of_the_librarys_own),
    TEST(a_closed_descriptor_is_not_taken_for_one_that_was_lifted),
    TEST(a_number_named_twice_is_refused),
    TEST(a_negative_number_is_refused),
    TEST(numbers_at_and_above_the_limit),
    TEST(numbers_above_65535),
};

HARNESS_MAIN(tests)
