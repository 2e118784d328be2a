/*
 * The parts of the library that need no process: kept output, the life of a child, the environment, the order of
 * descriptors. Each stands before a table or a naive model.
 */
#include "harness.h"

#include "capture.h"
#include "environment.h"
#include "life.h"
#include "plan.h"

/* The same sequence on every machine and in every run. */
static uint32_t random_state = 1;

static uint32_t random_below(uint32_t end)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (uint32_t)(((uint64_t)(random_state >> 8) * end) >> 24);
}

/* ---- capture ---- */

/* Fills chunks of at most `chunk` bytes into it, up to `total`. */
static void capture_pattern(capture *c, size_t total, size_t chunk)
{
    for (size_t at = 0; at < total;) {
        size_t room = 0, size;
        char *to = NULL;

        assert_int_equal(capture_space(c, &to, &room), 0);
        assert_true(room > 0);
        size = total - at < chunk ? total - at : chunk;
        size = size < room ? size : room;
        for (size_t i = 0; i < size; i++) {
            to[i] = pattern_at(at + i);
        }
        capture_add(c, size);
        at += size;
        assert_true(c->size <= c->limit || c->overflow == PROC_OVERFLOW_TAIL);
        assert_true(c->capacity <= c->limit || c->capacity - c->limit <= 64 * 1024);
    }
}

static void assert_kept(proc_overflow overflow, size_t limit, size_t total, size_t chunk)
{
    size_t kept = total < limit ? total : limit, from = overflow == PROC_OVERFLOW_TAIL ? total - kept : 0, size = 0;
    char *data = NULL;
    capture c;

    capture_init(&c, overflow, limit);
    capture_pattern(&c, total, chunk);
    assert_int_equal(c.truncated, total > limit);
    assert_int_equal(capture_finish(&c, &data, &size), 0);
    capture_free(&c);

    assert_int_equal(size, kept);
    assert_int_equal(data[size], 0);
    for (size_t i = 0; i < size; i++) {
        if (data[i] != pattern_at(from + i)) {
            fail_msg("overflow %d, limit %zu, total %zu, chunk %zu: byte %zu is wrong", (int)overflow, limit, total,
                     chunk, i);
        }
    }
    free(data);
}

static void capture_is_exact_at_its_limit(void **state)
{
    (void)state;
    static const size_t limits[] = {1, 2, 3, 89, 16383, 16384, 16385, 65536, 100000};

    for (size_t i = 0; i < COUNT(limits); i++) {
        for (int overflow = PROC_OVERFLOW_KILL; overflow <= (int)PROC_OVERFLOW_TAIL; overflow++) {
            assert_kept((proc_overflow)overflow, limits[i], limits[i] - 1, 4096);
            assert_kept((proc_overflow)overflow, limits[i], limits[i], 4096);
            assert_kept((proc_overflow)overflow, limits[i], limits[i] + 1, 4096);
            assert_kept((proc_overflow)overflow, limits[i], 0, 4096);
        }
    }
}

static void capture_keeps_what_a_naive_buffer_would(void **state)
{
    (void)state;
    random_state = 20;

    for (int round = 0; round < 600; round++) {
        proc_overflow overflow = (proc_overflow)random_below(3);
        size_t limit = 1 + random_below(round % 2 == 0 ? 50 : 70000);
        size_t total = random_below((uint32_t)limit * 4), chunk = 1 + random_below((uint32_t)limit * 2);

        assert_kept(overflow, limit, total, total / chunk > 5000 ? 5000 : chunk);
    }
}

static void capture_without_a_limit_keeps_all(void **state)
{
    (void)state;

    assert_kept(PROC_OVERFLOW_KILL, PROC_UNLIMITED, 3 * 1024 * 1024 + 1, 65536);
    assert_kept(PROC_OVERFLOW_HEAD, PROC_UNLIMITED, 100000, 65536);
    assert_kept(PROC_OVERFLOW_TAIL, PROC_UNLIMITED, 100000, 65536);
}

static void capture_never_takes_much_more_than_it_holds(void **state)
{
    (void)state;
    capture c;

    capture_init(&c, PROC_OVERFLOW_KILL, PROC_UNLIMITED);
    for (size_t size = 1; size < 4 * 1024 * 1024; size += 64 * 1024) {
        capture_pattern(&c, 64 * 1024, 64 * 1024);
        assert_true(c.capacity <= 2 * c.size);
    }

    capture_free(&c);
    capture_free(&c);
}

/* ---- life ---- */

#define MS(n) (INT64_C(1000000) * (n))

typedef struct life_event {
    int64_t at;
    enum { STEP, STOP } kind;
    int grace_ms; /* of a stop */
    life_reason why;
    life_act act;     /* expected: what is due */
    int64_t deadline; /* and when there is something next */
} life_event;

static void assert_life(life *l, const life_event *events, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const life_event *e = &events[i];
        life_act act = e->kind == STEP ? life_step(l, e->at) : life_stop(l, e->why, e->grace_ms, e->at);

        if (act != e->act || life_deadline(l) != e->deadline) {
            fail_msg("event %zu: act %d, deadline %lld", i, (int)act, (long long)life_deadline(l));
        }
    }
}

static void life_without_limits_asks_for_nothing(void **state)
{
    (void)state;
    static const life_event events[] = {{MS(1), STEP, 0, 0, LIFE_WAIT, SYS_NEVER},
                                        {SYS_NEVER - 1, STEP, 0, 0, LIFE_WAIT, SYS_NEVER}};
    life l;

    life_init(&l, MS(1), PROC_FOREVER, 5000);
    assert_int_equal(life_deadline(&l), SYS_NEVER);
    assert_life(&l, events, COUNT(events));
    assert_int_equal(l.reason, LIFE_NO_REASON);
}

static void life_stops_at_its_timeout_and_kills_after_the_grace(void **state)
{
    (void)state;
    static const life_event events[] = {
        {MS(1200) - 1, STEP, 0, 0, LIFE_WAIT, MS(1200)}, {MS(1200), STEP, 0, 0, LIFE_SEND_STOP, MS(1500)},
        {MS(1500) - 1, STEP, 0, 0, LIFE_WAIT, MS(1500)}, {MS(1500), STEP, 0, 0, LIFE_SEND_KILL, SYS_NEVER},
        {MS(9000), STEP, 0, 0, LIFE_WAIT, SYS_NEVER},    {MS(9000), STOP, 0, LIFE_ASKED, LIFE_WAIT, SYS_NEVER},
    };
    life l;

    life_init(&l, MS(1000), 200, 300);
    assert_life(&l, events, COUNT(events));
    assert_int_equal(l.reason, LIFE_TIMEOUT);
}

static void life_gives_the_whole_grace_even_when_it_is_looked_at_late(void **state)
{
    (void)state;
    static const life_event events[] = {
        {MS(5000), STEP, 0, 0, LIFE_SEND_STOP, MS(5300)},
        {MS(5300), STEP, 0, 0, LIFE_SEND_KILL, SYS_NEVER},
    };
    life l;

    life_init(&l, MS(1000), 200, 300);
    assert_life(&l, events, COUNT(events));
}

static void life_keeps_its_first_reason_and_its_shortest_grace(void **state)
{
    (void)state;
    static const life_event events[] = {
        {MS(100), STOP, 1000, LIFE_CANCEL, LIFE_SEND_STOP, MS(1100)},
        {MS(200), STOP, 5000, LIFE_ASKED, LIFE_WAIT, MS(1100)},
        {MS(200), STOP, PROC_FOREVER, LIFE_ASKED, LIFE_WAIT, MS(1100)},
        {MS(300), STOP, 200, LIFE_OVERFLOW, LIFE_WAIT, MS(500)},
        {MS(400), STOP, 0, LIFE_ASKED, LIFE_WAIT, MS(400)},
        {MS(400), STEP, 0, 0, LIFE_SEND_KILL, SYS_NEVER},
    };
    life l;

    life_init(&l, 0, 5000, 300);
    assert_life(&l, events, COUNT(events));
    assert_int_equal(l.reason, LIFE_CANCEL);
}

static void life_with_an_endless_grace_never_kills_unless_asked_again(void **state)
{
    (void)state;
    static const life_event events[] = {
        {MS(100), STEP, 0, 0, LIFE_SEND_STOP, SYS_NEVER},
        {MS(100000), STEP, 0, 0, LIFE_WAIT, SYS_NEVER},
        {MS(100000), STOP, 1, LIFE_ASKED, LIFE_WAIT, MS(100001)},
        {MS(100001), STEP, 0, 0, LIFE_SEND_KILL, SYS_NEVER},
    };
    life l;

    life_init(&l, 0, 100, PROC_FOREVER);
    assert_life(&l, events, COUNT(events));
}

static void deadlines_do_not_overflow(void **state)
{
    (void)state;
    life l;

    assert_int_equal(sys_deadline(0, 0), 0);
    assert_int_equal(sys_deadline(MS(3), 7), MS(10));
    assert_int_equal(sys_deadline(MS(3), INT32_MAX), MS(3) + MS(INT32_MAX));
    assert_int_equal(sys_deadline(MS(3), PROC_FOREVER), SYS_NEVER);
    assert_int_equal(sys_deadline(SYS_NEVER - MS(1), 2), SYS_NEVER);
    assert_int_equal(sys_deadline(SYS_NEVER, 0), SYS_NEVER);
    life_init(&l, SYS_NEVER - 5, INT32_MAX, INT32_MAX);
    assert_int_equal(life_deadline(&l), SYS_NEVER);
}

/* ---- environment ---- */

#define LIST(...) ((const char *const[]){__VA_ARGS__ NULL})

static size_t list_length(const char *const *list)
{
    size_t count = 0;

    while (list[count] != NULL) {
        count++;
    }
    return count;
}

static bool list_has(const char *const *list, const char *entry)
{
    for (; *list != NULL; list++) {
        if (strcmp(*list, entry) == 0) {
            return true;
        }
    }
    return false;
}

static void assert_same_entries(const char *const *found, const char *const *expected)
{
    for (size_t i = 0; expected[i] != NULL; i++) {
        if (!list_has(found, expected[i])) {
            fail_msg("'%s' is missing", expected[i]);
        }
    }
    assert_int_equal(list_length(found), list_length(expected));
}

static void environment_merges_by_name_and_the_last_one_wins(void **state)
{
    (void)state;
    const struct {
        const char *const *base, *const *changes, *const *expected;
    } cases[] = {
        {LIST(), NULL, LIST()},
        {LIST(), LIST(), LIST()},
        {LIST("A=1", "B=2", ), NULL, LIST("A=1", "B=2", )},
        {LIST("A=1", "A=2", "B=1", "A=3", ), NULL, LIST("A=3", "B=1", )},
        {LIST("A=1", "B=2", ), LIST("A=x", ), LIST("A=x", "B=2", )},
        {LIST("A=1", "B=2", ), LIST("A", ), LIST("B=2", )},
        {LIST("A=1", ), LIST("A", "A=again", ), LIST("A=again", )},
        {LIST("A=1", ), LIST("A=2", "A", ), LIST()},
        {LIST("A=1", ), LIST("NOBODY", ), LIST("A=1", )},
        {LIST("A=1", "AB=2", "ABC=3", ), LIST("AB", ), LIST("A=1", "ABC=3", )},
        {LIST("A=1", ), LIST("AB=2", "=", NULL, ), NULL},
        {LIST("A=x=y", ), LIST("B==", ), LIST("A=x=y", "B==", )},
        {LIST("A=", ), LIST("B=", ), LIST("A=", "B=", )},
        {LIST("a=1", "A=2", ), NULL, LIST("a=1", "A=2", )},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *const *env = NULL, *const *bad = NULL;
        void *memory = NULL;
        int err = environment_merge(cases[i].base, cases[i].changes, NULL, &memory, &env, &bad);

        assert_int_equal(err, cases[i].expected == NULL ? -EINVAL : 0);
        if (err == 0) {
            assert_same_entries(env, cases[i].expected);
        }
        free(memory);
    }
}

static void environment_merges_many_as_few(void **state)
{
    (void)state;
    char texts[800][16];
    const char *base[401] = {NULL}, *changes[401] = {NULL}, *last[50] = {NULL};

    random_state = 7;
    for (size_t i = 0; i < 800; i++) {
        uint32_t name = random_below(50);
        bool removes = i >= 400 && random_below(4) == 0;

        snprintf(texts[i], sizeof texts[i], removes ? "N%u" : "N%u=%zu", (unsigned)name, i);
        (i < 400 ? base : changes)[i % 400] = texts[i];
        last[name] = removes ? NULL : texts[i];
    }
    const char *const *env = NULL, *const *bad = NULL;
    void *memory = NULL;
    size_t expected = 0;
    assert_int_equal(environment_merge(base, changes, NULL, &memory, &env, &bad), 0);

    for (size_t name = 0; name < COUNT(last); name++) {
        expected += last[name] != NULL;
        assert_true(last[name] == NULL || list_has(env, last[name]));
    }
    assert_int_equal(list_length(env), expected);
    free(memory);
}

static void environment_names_the_entry_that_is_bad(void **state)
{
    (void)state;
    const char *const *env = LIST("A=1", "B", "C", );
    const char *const *changes = LIST("A", "B=2", "=3", "", );
    const char *const *bad = NULL, *const *merged = NULL;
    void *memory = NULL;

    assert_int_equal(environment_check(env, &bad), -EINVAL);
    assert_ptr_equal(bad, env + 1);
    assert_int_equal(environment_merge(NULL, changes, NULL, &memory, &merged, &bad), -EINVAL);
    assert_ptr_equal(bad, changes + 2);
    assert_int_equal(environment_check(LIST("", ), &bad), -EINVAL);
    assert_int_equal(environment_check(LIST("=x", ), &bad), -EINVAL);
    assert_int_equal(environment_check(LIST("X=", "Y=\xff", ), &bad), 0);
    assert_null(bad);
    assert_null(memory);
}

static void path_leads_to_absolute_directories_only(void **state)
{
    (void)state;
    const struct {
        const char *path;
        const char *const *expected;
    } cases[] = {
        {NULL, LIST("/usr/local/bin/cc", "/bin/cc", "/usr/bin/cc", )},
        {"PATH=/a:/b", LIST("/a/cc", "/b/cc", )},
        {"PATH=/a", LIST("/a/cc", )},
        {"PATH=", LIST()},
        {"PATH=:::", LIST()},
        {"PATH=.:..:bin:./x", LIST()},
        {"PATH=:/a::/b:.", LIST("/a/cc", "/b/cc", )},
        {"PATH=/", LIST("//cc", )},
        {"XPATH=/a", LIST("/usr/local/bin/cc", "/bin/cc", "/usr/bin/cc", )},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *const env[] = {"A=1", cases[i].path, NULL};
        const char *const *paths = NULL;
        void *memory = NULL;

        assert_int_equal(environment_search("cc", env, &memory, &paths), 0);
        assert_int_equal(list_length(paths), list_length(cases[i].expected));
        for (size_t n = 0; paths[n] != NULL; n++) {
            assert_string_equal(paths[n], cases[i].expected[n]);
        }
        free(memory);
    }
}

static void path_skips_directories_that_are_too_long(void **state)
{
    (void)state;
    static char path[10000] = "PATH=/a:/";
    const char *const *paths = NULL, *const *none = NULL;
    void *memory = NULL, *nothing = NULL;
    char name[400];

    memset(path + strlen(path), 'x', 5000);
    strcat(path, ":/b");
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';

    assert_int_equal(environment_search("cc", LIST(path, ), &memory, &paths), 0);
    assert_int_equal(list_length(paths), 2);
    assert_string_equal(paths[1], "/b/cc");
    assert_int_equal(environment_search(name, LIST(path, ), &nothing, &none), -ENAMETOOLONG);
    assert_null(nothing);
    free(memory);
}

/* ---- the order of descriptors ---- */

static bool is_target_of_another(const launch_move *moves, size_t count, int fd)
{
    for (size_t i = 0; i < count; i++) {
        if (moves[i].to == fd) {
            return true;
        }
    }
    return false;
}

static void moves_are_sorted_and_lifted_just_where_one_is_in_the_way(void **state)
{
    (void)state;
    random_state = 99;

    for (int round = 0; round < 3000; round++) {
        size_t count = random_below(8);
        launch_move moves[8] = {{0}}, asked[8];
        bool twice = false;

        for (size_t i = 0; i < count; i++) {
            moves[i] = (launch_move){.to = (int)random_below(12), .from = (int)random_below(12), .option = (int)i};
            moves[i].source = random_below(6) == 0 ? LAUNCH_NULL : LAUNCH_FD;
            twice = twice || is_target_of_another(moves, i, moves[i].to);
        }
        memcpy(asked, moves, sizeof moves);

        assert_int_equal(plan_arrange_moves(moves, count), !twice);
        for (size_t i = 0; i < count && !twice; i++) {
            const launch_move *was = &asked[moves[i].option];

            assert_true(i == 0 || moves[i - 1].to < moves[i].to);
            assert_true(was->to == moves[i].to && was->from == moves[i].from && was->source == moves[i].source);
            assert_int_equal(moves[i].lift, was->source == LAUNCH_FD && was->from != was->to &&
                                                is_target_of_another(asked, count, was->from));
        }
    }
}

static void more_output_than_any_memory_holds_is_refused(void **state)
{
    (void)state;
    capture c;
    char *at;
    size_t room;

    capture_init(&c, PROC_OVERFLOW_HEAD, PROC_UNLIMITED);
    c.size = c.capacity = SIZE_MAX / 2; /* as if it were there */
    assert_int_equal(capture_space(&c, &at, &room), -ENOMEM);
    assert_null(c.data);
}

static const struct CMUnitTest tests[] = {
    TEST(capture_is_exact_at_its_limit),
    TEST(capture_keeps_what_a_naive_buffer_would),
    TEST(capture_without_a_limit_keeps_all),
    TEST(capture_never_takes_much_more_than_it_holds),
    TEST(life_without_limits_asks_for_nothing),
    TEST(life_stops_at_its_timeout_and_kills_after_the_grace),
    TEST(life_gives_the_whole_grace_even_when_it_is_looked_at_late),
    TEST(life_keeps_its_first_reason_and_its_shortest_grace),
    TEST(life_with_an_endless_grace_never_kills_unless_asked_again),
    TEST(deadlines_do_not_overflow),
    TEST(environment_merges_by_name_and_the_last_one_wins),
    TEST(environment_merges_many_as_few),
    TEST(environment_names_the_entry_that_is_bad),
    TEST(path_leads_to_absolute_directories_only),
    TEST(path_skips_directories_that_are_too_long),
    TEST(moves_are_sorted_and_lifted_just_where_one_is_in_the_way),
    TEST(more_output_than_any_memory_holds_is_refused),
};

HARNESS_MAIN(tests)
