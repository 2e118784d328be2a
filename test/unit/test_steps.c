/*
 * A start that fails: every step made to fail, and every bad option, each reported as {code, step, subject} with nothing
 * started and nothing left behind. PROC_STEP_UMASK and PROC_STEP_SIGNALS are not here: no system call of theirs can fail.
 */
#include "harness.h"

#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>

#include "filter.h"

/* Where ids had 16 bits once, the calls that change them are others. */
#ifdef SYS_setresuid32
enum {
    CALL_SETGROUPS = SYS_setgroups32,
    CALL_SETREGID = SYS_setregid32,
    CALL_SETRESGID = SYS_setresgid32,
    CALL_SETREUID = SYS_setreuid32,
    CALL_SETRESUID = SYS_setresuid32
};
#else
enum {
    CALL_SETGROUPS = SYS_setgroups,
    CALL_SETREGID = SYS_setregid,
    CALL_SETRESGID = SYS_setresgid,
    CALL_SETREUID = SYS_setreuid,
    CALL_SETRESUID = SYS_setresuid
};
#endif
#ifdef SYS_fork
enum { CALL_FORK = SYS_fork }; /* musl's fork */
#else
enum { CALL_FORK = SYS_clone };
#endif

/* ---- bad options ---- */

typedef struct bad_options {
    proc_options options;
    const char *subject;
    int code; /* 0: -EINVAL */
} bad_options;

static void assert_bad(const bad_options *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        outcome result = run_child(KID("out", "ran"), &cases[i].options);
        int code = cases[i].code == 0 ? -EINVAL : cases[i].code;

        if (result.err != code || result.error.step != PROC_STEP_OPTIONS ||
            strcmp(result.error.subject, cases[i].subject) != 0) {
            print_error("case %zu of '%s':\n", i, cases[i].subject);
        }
        assert_refused(result, code, PROC_STEP_OPTIONS, cases[i].subject);
    }
}

static void a_program_must_be_named(void **state)
{
    (void)state;
    outcome none = run_child(NULL, NULL);
    outcome empty = run_child((const char *const[]){NULL}, NULL);
    outcome empty_with_file = run_child((const char *const[]){NULL}, OPTIONS(.file = kid_path()));
    outcome nameless = run_child(ARGV("", "x"), NULL);
    outcome nameless_file = run_child(KID("out", "ran"), OPTIONS(.file = ""));

    assert_refused(none, -EINVAL, PROC_STEP_OPTIONS, "argv");
    assert_refused(empty, -EINVAL, PROC_STEP_OPTIONS, "argv");
    assert_refused(empty_with_file, -EINVAL, PROC_STEP_OPTIONS, "argv");
    assert_refused(nameless, -EINVAL, PROC_STEP_OPTIONS, "argv[0]");
    assert_refused(nameless_file, -EINVAL, PROC_STEP_OPTIONS, "file");
}

static void there_must_be_a_place_for_the_child(void **state)
{
    (void)state;
    proc_error error = {0};

    assert_int_equal(proc_spawn(NULL, KID("out", "ran"), NULL), -EINVAL);
    assert_int_equal(proc_spawn(NULL, KID("out", "ran"), OPTIONS(.error = &error)), -EINVAL);
    assert_int_equal(error.code, -EINVAL);
    assert_int_equal(error.step, PROC_STEP_OPTIONS);
}

static void a_failure_needs_no_error_struct(void **state)
{
    (void)state;
    proc_child *child = (proc_child *)&state;

    assert_int_equal(proc_spawn(&child, NULL, NULL), -EINVAL);
    assert_null(child);
    child = (proc_child *)&state;
    assert_int_equal(proc_spawn(&child, ARGV("/nonexistent/program"), NULL), -ENOENT);
    assert_null(child);
}

static void streams_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    const bad_options cases[] = {
        {{.in.kind = (proc_stdio_kind)99}, "in", 0},
        {{.out.kind = (proc_stdio_kind)-1}, "out", 0},
        {{.err.kind = (proc_stdio_kind)(PROC_PTY + 1)}, "err", 0},
        {{.err.kind = (proc_stdio_kind)INT_MAX}, "err", 0},
        {{.in.kind = PROC_MERGE}, "in", 0},
        {{.out.kind = PROC_MERGE}, "out", 0},
        {{.in.kind = PROC_FILE}, "in.path", 0},
        {{.out.kind = PROC_FILE}, "out.path", 0},
        {{.err.kind = PROC_FILE}, "err.path", 0},
        {{.out.kind = PROC_PTY, .group = PROC_GROUP_SHARED}, "group", 0},
    };

    assert_bad(cases, COUNT(cases));
}

static void numbers_out_of_range_are_refused(void **state)
{
    (void)state;
    const bad_options cases[] = {
        {{.timeout_ms = -2}, "timeout_ms", 0},
        {{.timeout_ms = INT_MIN}, "timeout_ms", 0},
        {{.grace_ms = -2}, "grace_ms", 0},
        {{.grace_ms = INT_MIN}, "grace_ms", 0},
        {{.stop_signal = -1}, "stop_signal", 0},
        {{.stop_signal = 65}, "stop_signal", 0},
        {{.stop_signal = INT_MAX}, "stop_signal", 0},
        {{.cancel_fd = -2}, "cancel_fd", 0},
        {{.cancel_fd = INT_MIN}, "cancel_fd", 0},
        {{.cancel_fd = 5000}, "cancel_fd", -EBADF},
        {{.group = (proc_group)99}, "group", 0},
        {{.group = (proc_group)-1}, "group", 0},
    };

    assert_bad(cases, COUNT(cases));
}

static void arrays_that_are_missing_are_refused(void **state)
{
    (void)state;
    const proc_user user = {.uid = getuid(), .gid = getgid(), .group_count = 1};
    const proc_user no_uid = {.uid = (uid_t)-1, .gid = getgid()}, no_gid = {.uid = getuid(), .gid = (gid_t)-1};
    const bad_options cases[] = {
        {{.fd_count = 1}, "fds", 0},    {{.limit_count = 1}, "limits", 0}, {{.user = &user}, "user", 0},
        {{.user = &no_uid}, "user", 0}, {{.user = &no_gid}, "user", 0},
    };

    assert_bad(cases, COUNT(cases));
}

static void options_that_are_not_for_spawn_are_refused(void **state)
{
    (void)state;
    const bad_options cases[] = {
        {{.shell = "/bin/sh"}, "shell", 0},
    };

    assert_bad(cases, COUNT(cases));
}

static void reserved_words_must_be_zero(void **state)
{
    (void)state;

    for (size_t i = 0; i < COUNT(((proc_options *)NULL)->reserved); i++) {
        bad_options one = {{0}, "reserved", 0};

        one.options.reserved[i] = 1;
        assert_bad(&one, 1);
    }
}

static void options_of_exec_and_communicate_are_ignored(void **state)
{
    (void)state;
    outcome result = run_child(
        KID("out", "ran"), OPTIONS(.input_size = 5, .max_buffer = 1, .drain_ms = -7, .overflow = (proc_overflow)99));

    assert_ended(result, 0);
    assert_string_equal(result.out, "ran");
}

static void bad_options_are_found_before_anything_is_done(void **state)
{
    (void)state;
    const char *path = test_path("must-not-be-made");
    const bad_options one = {
        {.out = {.kind = PROC_FILE, .path = path}, .err.kind = PROC_PIPE, .timeout_ms = -5}, "timeout_ms", 0};

    assert_bad(&one, 1);
    assert_int_equal(access(path, F_OK), -1);
}

/* ---- every step, by what the system says ---- */

/* A copy of this process in which some calls are refused, and what a start is to say there. */
typedef struct forced {
    refusal refusals[3]; /* up to the first without a call */
    proc_options options;
    int code;
    proc_step step;
    const char *subject;
    const char *const *argv; /* NULL: a kid */
} forced;

static void start_refused(void *arg)
{
    const forced *one = arg;
    picture *before = picture_take();
    const char *const *argv = one->argv == NULL ? KID("out", "ran") : one->argv;
    size_t count = 1;

    while (count < COUNT(one->refusals) && one->refusals[count].call != 0) {
        count++;
    }
    filter_install(one->refusals, count);
    for (int round = 0; round < 2; round++) { /* what was learned the first time changes nothing */
        outcome result = run_child(argv, &one->options);

        assert_refused(result, one->code, one->step, one->subject);
        assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    }
    assert_int_equal(picture_compare(before), 0);
}

static void try_refusals(const forced *cases, size_t count)
{
    if (!filter_works()) {
        SKIP("no seccomp filter can be had here");
    }
    for (size_t i = 0; i < count; i++) {
        in_copy(start_refused, (void *)&cases[i]);
    }
}

static void what_exec_says_comes_back_exactly(void **state)
{
    (void)state;
    NOT_UNDER_VALGRIND();
    static const int reasons[] = {EIO, ENOMEM, EAGAIN, ELIBBAD, EPERM, ENOSYS, EINVAL, ENOENT, EACCES};
    forced cases[COUNT(reasons)];

    for (size_t i = 0; i < COUNT(reasons); i++) {
        cases[i] = (forced){.refusals = {{.call = SYS_execve, .err = reasons[i]}},
                            .code = -reasons[i],
                            .step = PROC_STEP_EXEC,
                            .subject = kid_path()};
    }
    try_refusals(cases, COUNT(cases));
}

static void a_search_ends_at_a_reason_that_is_not_about_the_place(void **state)
{
    (void)state;
    NOT_UNDER_VALGRIND();
    const forced cases[] = {
        {.refusals = {{.call = SYS_execve, .err = EIO}},
         .code = -EIO,
         .step = PROC_STEP_EXEC,
         .subject = "sh",
         .argv = ARGV("sh", "-c", "exit 0")},
        {.refusals = {{.call = SYS_execve, .err = ENODEV}},
         .code = -ENOENT,
         .step = PROC_STEP_EXEC,
         .subject = "sh",
         .argv = ARGV("sh", "-c", "exit 0")},
    };

    try_refusals(cases, COUNT(cases));
}

static void steps_of_group_and_directory_say_where_they_failed(void **state)
{
    (void)state;
    const forced cases[] = {
        {.refusals = {{.call = SYS_setsid, .err = EPERM}},
         .options = {.group = PROC_GROUP_SESSION},
         .code = -EPERM,
         .step = PROC_STEP_GROUP,
         .subject = "group"},
        {.refusals = {{.call = SYS_setpgid, .err = EACCES}},
         .options = {.group = PROC_GROUP_OWN},
         .code = -EACCES,
         .step = PROC_STEP_GROUP,
         .subject = "group"},
        {.refusals = {{.call = SYS_chdir, .err = EIO}},
         .options = {.cwd = "/"},
         .code = -EIO,
         .step = PROC_STEP_CHDIR,
         .subject = "/"},
    };

    try_refusals(cases, COUNT(cases));
}

static void steps_of_rights_say_where_they_failed(void **state)
{
    (void)state;
    CHANGES_IDS();
    const proc_user user = {.uid = getuid(), .gid = getgid(), .groups = &user.gid, .group_count = 1};
    const proc_limit limits[] = {{.resource = RLIMIT_CORE}, {.resource = RLIMIT_NOFILE, .soft = 30, .hard = 30}};
    const forced cases[] = {
        {.refusals = {{.call = SYS_setpriority, .err = EPERM}},
         .options = {.nice = 1},
         .code = -EPERM,
         .step = PROC_STEP_NICE,
         .subject = "nice"},
        {.refusals = {{.call = CALL_SETGROUPS, .err = EPERM}},
         .options = {.user = &user},
         .code = -EPERM,
         .step = PROC_STEP_GROUPS,
         .subject = "user"},
        {.refusals = {{.call = CALL_SETREGID, .err = EAGAIN}, {.call = CALL_SETRESGID, .err = EAGAIN}},
         .options = {.user = &user},
         .code = -EAGAIN,
         .step = PROC_STEP_GID,
         .subject = "user"},
        {.refusals = {{.call = CALL_SETREUID, .err = EAGAIN}, {.call = CALL_SETRESUID, .err = EAGAIN}},
         .options = {.user = &user},
         .code = -EAGAIN,
         .step = PROC_STEP_UID,
         .subject = "user"},
        {.refusals = {{.call = SYS_prlimit64, .err = EPERM}, {.call = SYS_setrlimit, .err = EPERM}},
         .options = {.limits = &limits[1], .limit_count = 1},
         .code = -EPERM,
         .step = PROC_STEP_LIMIT,
         .subject = "limits[0]"},
    };

    if (!is_root()) {
        SKIP("needs root");
    }
    try_refusals(cases, COUNT(cases));
}

static void an_id_that_did_not_take_is_found_out(void **state)
{
    (void)state;
    CHANGES_IDS();
    const proc_user user = {.uid = 65534, .gid = 65534};
    const forced cases[] = {
        /* "success", and nothing happened */
        {.refusals = {{.call = CALL_SETREGID, .err = 0}, {.call = CALL_SETRESGID, .err = 0}},
         .options = {.user = &user},
         .code = -EPERM,
         .step = PROC_STEP_GID,
         .subject = "user"},
        {.refusals = {{.call = CALL_SETREUID, .err = 0}, {.call = CALL_SETRESUID, .err = 0}},
         .options = {.user = &user},
         .code = -EPERM,
         .step = PROC_STEP_UID,
         .subject = "user"},
    };

    if (!is_root()) {
        SKIP("needs root");
    }
    try_refusals(cases, COUNT(cases));
}

static void the_step_of_the_parent_says_that_it_failed(void **state)
{
    (void)state;
    const forced one = {.refusals = {{.call = SYS_prctl, .err = EPERM}},
                        .options = {.die_with_parent = true},
                        .code = -EPERM,
                        .step = PROC_STEP_PARENT,
                        .subject = "die_with_parent"};

    if (POSIX_BUILD) {
        SKIP("plain POSIX cannot tie a child to its parent");
    }
    try_refusals(&one, 1);
}

static void a_fork_that_the_system_refuses_is_the_step_of_the_launch(void **state)
{
    (void)state;
    const forced cases[] = {
        {.refusals = {{.call = SYS_clone, .err = EAGAIN},
                      {.call = SYS_clone3, .err = EAGAIN},
                      {.call = CALL_FORK, .err = EAGAIN}},
         .options = {.in.kind = PROC_PIPE},
         .code = -EAGAIN,
         .step = PROC_STEP_LAUNCH,
         .subject = kid_path()},
        {.refusals = {{.call = SYS_clone, .err = ENOMEM},
                      {.call = SYS_clone3, .err = ENOMEM},
                      {.call = CALL_FORK, .err = ENOMEM}},
         .options = {.in.kind = PROC_PTY},
         .code = -ENOMEM,
         .step = PROC_STEP_LAUNCH,
         .subject = kid_path()},
    };

    try_refusals(cases, COUNT(cases));
}

/* ---- no descriptors left ---- */

static void start_without_a_free_descriptor(void *arg)
{
    const forced *one = arg;
    int last = -1;

    assert_int_equal(setrlimit(RLIMIT_NOFILE, &(struct rlimit){.rlim_cur = 40, .rlim_max = 40}), 0);
    for (int fd; (fd = open("/dev/null", O_RDWR | O_CLOEXEC)) >= 0;) {
        last = fd;
    }
    proc_child *child = (proc_child *)&last;
    proc_error error = {0};
    proc_options options = one->options;
    options.error = &error;
    int err = proc_spawn(&child, KID("out", "ran"), &options);

    assert_refused(((outcome){.err = err, .error = error}), one->code, one->step, one->subject);
    assert_null(child);
    close(last);
}

static void a_pipe_a_terminal_or_a_file_that_finds_no_descriptor_is_named(void **state)
{
    (void)state;
    NOT_UNDER_VALGRIND();
    const forced cases[] = {
        {.options = {.in.kind = PROC_PIPE}, .code = -EMFILE, .step = PROC_STEP_PIPE, .subject = "in"},
        {.options = {.out.kind = PROC_PIPE}, .code = -EMFILE, .step = PROC_STEP_PIPE, .subject = "out"},
        {.options = {.err.kind = PROC_PIPE}, .code = -EMFILE, .step = PROC_STEP_PIPE, .subject = "err"},
        {.options = {.out.kind = PROC_PTY}, .code = -EMFILE, .step = PROC_STEP_PIPE, .subject = "out"},
        {.options = {.in = {.kind = PROC_FILE, .path = "/dev/zero"}},
         .code = -EMFILE,
         .step = PROC_STEP_OPEN,
         .subject = "/dev/zero"},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        in_copy(start_without_a_free_descriptor, (void *)&cases[i]);
    }
}

/* ---- killed before it could run the program ---- */

typedef struct killer {
    pid_t caller; /* the thread whose children they are */
    atomic_bool stop;
} killer;

static void *kill_the_first_child(void *arg)
{
    killer *own = arg;
    char path[64];

    snprintf(path, sizeof path, "/proc/self/task/%ld/children", (long)own->caller);
    while (!atomic_load(&own->stop)) {
        char line[64] = "";
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t size = read(fd, line, sizeof line - 1);

        close(fd);
        if (size > 0) {
            kill((pid_t)strtol(line, NULL, 10), SIGKILL);
            break;
        }
        sched_yield();
    }
    return NULL;
}

/*
 * While its file is open for writing the program is tried again for some 60 ms: time to kill the child that tries. One that
 * is hit in the very moment of an exec cannot be told from one whose program ran: that attempt counts for nothing.
 */
static void a_child_that_is_killed_before_it_runs_the_program_is_a_failed_launch(void **state)
{
    (void)state;
    NOT_UNDER_VALGRIND();
    const char *program = test_path("busy");
    outcome result = {.err = -ETXTBSY};
    int fd;

    if (access(text("/proc/self/task/%ld/children", (long)getpid()), R_OK) != 0) {
        SKIP("the kernel does not list children");
    }
    copy_file(kid_path(), program, 0755);
    fd = open(program, O_WRONLY | O_CLOEXEC);
    for (int attempt = 0; attempt < 50 && result.err != -ECHILD; attempt++) {
        killer hunter = {.caller = getpid()};
        pthread_t thread;

        assert_int_equal(pthread_create(&thread, NULL, kill_the_first_child, &hunter), 0);
        result = run_child(ARGV(program), NULL);
        atomic_store(&hunter.stop, true);
        pthread_join(thread, NULL);
        assert_true(result.err != 0 || result.status.signal == SIGKILL);
    }

    assert_refused(result, -ECHILD, PROC_STEP_LAUNCH, program);
    close(fd);
}

static const struct CMUnitTest tests[] = {
    TEST(a_program_must_be_named),
    TEST(there_must_be_a_place_for_the_child),
    TEST(a_failure_needs_no_error_struct),
    TEST(streams_that_make_no_sense_are_refused),
    TEST(numbers_out_of_range_are_refused),
    TEST(arrays_that_are_missing_are_refused),
    TEST(options_that_are_not_for_spawn_are_refused),
    TEST(reserved_words_must_be_zero),
    TEST(options_of_exec_and_communicate_are_ignored),
    TEST(bad_options_are_found_before_anything_is_done),
    TEST(what_exec_says_comes_back_exactly),
    TEST(a_search_ends_at_a_reason_that_is_not_about_the_place),
    TEST(steps_of_group_and_directory_say_where_they_failed),
    TEST(steps_of_rights_say_where_they_failed),
    TEST(an_id_that_did_not_take_is_found_out),
    TEST(the_step_of_the_parent_says_that_it_failed),
    TEST(a_fork_that_the_system_refuses_is_the_step_of_the_launch),
    TEST(a_pipe_a_terminal_or_a_file_that_finds_no_descriptor_is_named),
    TEST(a_child_that_is_killed_before_it_runs_the_program_is_a_failed_launch),
};

HARNESS_MAIN(tests)
