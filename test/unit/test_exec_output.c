/*
 * What proc_exec and proc_execfile keep: exact to the byte at the limit, in each overflow mode, on both streams.
 */
#include "lifeline.h"

enum { MIB = 1024 * 1024 };

/* The bytes from..from+size of the pattern are what one stream has, the other has none. */
static void assert_stream(const proc_result *result, int stream, size_t from, size_t size, bool truncated)
{
    const char *data = stream == 1 ? result->out : result->err, *other = stream == 1 ? result->err : result->out;

    assert_int_equal(stream == 1 ? result->out_size : result->err_size, size);
    assert_int_equal(stream == 1 ? result->out_truncated : result->err_truncated, truncated);
    assert_false(stream == 1 ? result->err_truncated : result->out_truncated);
    assert_string_equal(other, "");
    for (size_t i = 0; i < size; i++) {
        if (data[i] != pattern_at(from + i)) {
            fail_msg("byte %zu of %zu is wrong", i, size);
        }
    }
}

static int run_writer(proc_result *result, int stream, size_t size, proc_overflow overflow, size_t limit)
{
    return run_file(result, KID("write", text("%d", stream), text("%zu", size)),
                    OPTIONS(.max_buffer = limit, .overflow = overflow, .timeout_ms = LATEST_MS));
}

/* ---- the three modes ---- */

static void each_mode_is_exact_at_the_limit_on_both_streams(void **state)
{
    (void)state;
    static const size_t limits[] = {1, 5, 4096, 65536, 100001};

    for (size_t i = 0; i < COUNT(limits) * 2; i++) {
        size_t limit = limits[i / 2];
        int stream = 1 + (int)(i % 2);

        for (int mode = PROC_OVERFLOW_KILL; mode <= (int)PROC_OVERFLOW_TAIL; mode++) {
            for (size_t size = limit - 1; size <= limit + 1; size++) {
                bool over = size > limit;
                proc_result result;

                assert_int_equal(run_writer(&result, stream, size, (proc_overflow)mode, limit),
                                 over && mode == (int)PROC_OVERFLOW_KILL ? -ENOBUFS : 0);
                assert_stream(&result, stream, over && mode == (int)PROC_OVERFLOW_TAIL ? 1 : 0, over ? limit : size,
                              over);
                if (mode != (int)PROC_OVERFLOW_KILL) {
                    assert_exited(result.status, 0);
                }
            }
        }
    }
}

static void the_first_bytes_of_too_much_are_kept_and_the_child_is_stopped(void **state)
{
    (void)state;
    lifeline line = lifeline_make();
    proc_result result;

    assert_int_equal(run_command(&result, "echo hello world; exec sleep 1000", OPTIONS(.max_buffer = 5, HOLDS(line))),
                     -ENOBUFS);

    assert_string_equal(result.out, "hello");
    assert_int_equal(result.out_size, 5);
    assert_true(result.out_truncated);
    assert_killed(result.status, SIGTERM);
    assert_false(result.status.timed_out || result.status.forced || result.incomplete);
    lifeline_await_end(&line);
}

static void a_flood_is_stopped_on_either_stream(void **state)
{
    (void)state;

    for (int stream = 1; stream <= 2; stream++) {
        proc_result result;

        assert_int_equal(run_writer(&result, stream, SIZE_MAX / 2, PROC_OVERFLOW_KILL, 10000), -ENOBUFS);
        assert_stream(&result, stream, 0, 10000, true);
        assert_killed(result.status, SIGTERM);
    }
}

static void a_flood_that_ignores_the_stop_signal_is_killed_and_never_kept(void **state)
{
    (void)state;
    proc_result result;

    assert_int_equal(run_file(&result, KID("ignore", "TERM", "write", "1", "1000000000000000"),
                              OPTIONS(.max_buffer = 70000, .grace_ms = 100)),
                     -ENOBUFS);

    assert_stream(&result, 1, 0, 70000, true);
    assert_killed(result.status, SIGKILL);
    assert_true(result.status.forced);
    assert_false(result.status.timed_out);
}

static void what_overflows_takes_the_whole_group_with_it(void **state)
{
    (void)state;
    lifeline line = lifeline_make();
    proc_result result;

    assert_int_equal(
        run_command(&result, "sleep 1000 | (echo too much; sleep 1000) | cat", OPTIONS(.max_buffer = 3, HOLDS(line))),
        -ENOBUFS);

    assert_string_equal(result.out, "too");
    lifeline_await_end(&line);
}

static void the_head_is_kept_and_the_child_runs_to_its_end(void **state)
{
    (void)state;
    proc_result result;

    assert_int_equal(run_writer(&result, 1, 5 * MIB, PROC_OVERFLOW_HEAD, 12345), 0);

    assert_stream(&result, 1, 0, 12345, true);
    assert_exited(result.status, 0);
}

static void the_tail_is_kept_over_many_turns(void **state)
{
    (void)state;
    static const size_t limits[] = {1, 7, 4096, 10007, 65536, 300001};

    for (size_t i = 0; i < COUNT(limits); i++) {
        size_t size = 2 * MIB + 12345;
        proc_result result;

        assert_int_equal(run_writer(&result, 1 + (int)(i % 2), size, PROC_OVERFLOW_TAIL, limits[i]), 0);
        assert_stream(&result, 1 + (int)(i % 2), size - limits[i], limits[i], true);
        assert_exited(result.status, 0);
    }
}

static void each_stream_has_a_limit_of_its_own(void **state)
{
    (void)state;
    proc_result both, one;

    assert_int_equal(run_file(&both, KID("write", "1", "1000", "write", "2", "1000"), OPTIONS(.max_buffer = 1000)), 0);
    assert_int_equal(run_file(&one, KID("write", "2", "200", "write", "1", "5000"),
                              OPTIONS(.max_buffer = 1000, .overflow = PROC_OVERFLOW_HEAD)),
                     0);

    assert_int_equal(both.out_size, 1000);
    assert_int_equal(both.err_size, 1000);
    assert_false(both.out_truncated || both.err_truncated);
    assert_int_equal(one.out_size, 1000);
    assert_true(one.out_truncated);
    assert_int_equal(one.err_size, 200);
    assert_false(one.err_truncated);
}

/* ---- the default, and none ---- */

static void by_default_a_mebibyte_is_kept_and_no_byte_more(void **state)
{
    (void)state;
    proc_result whole, more;

    assert_int_equal(run_file(&whole, KID("write", "1", "1048576"), NULL), 0);
    assert_int_equal(run_file(&more, KID("write", "1", "1048577"), NULL), -ENOBUFS);

    assert_stream(&whole, 1, 0, MIB, false);
    assert_stream(&more, 1, 0, MIB, true);
}

static void without_a_limit_all_of_both_streams_is_kept(void **state)
{
    (void)state;
    const char *expected = pattern_text(0, 8 * MIB);
    proc_result result;

    assert_int_equal(run_file(&result,
                              KID("grandchild", "write", "2", "8388608", "--", "write", "1", "8388608", "reap"),
                              OPTIONS(.max_buffer = PROC_UNLIMITED)),
                     0);

    assert_int_equal(result.out_size, 8 * MIB);
    assert_int_equal(result.err_size, 8 * MIB);
    assert_memory_equal(result.out, expected, 8 * MIB);
    assert_memory_equal(result.err, expected, 8 * MIB);
    assert_false(result.out_truncated || result.err_truncated);
}

static void without_a_limit_no_mode_makes_a_difference(void **state)
{
    (void)state;

    for (int mode = PROC_OVERFLOW_KILL; mode <= (int)PROC_OVERFLOW_TAIL; mode++) {
        proc_result result;

        assert_int_equal(run_writer(&result, 1, 2 * MIB + 1, (proc_overflow)mode, PROC_UNLIMITED), 0);
        assert_stream(&result, 1, 0, 2 * MIB + 1, false);
    }
}

/* ---- memory ---- */

typedef struct memory_case {
    const char *size;
    size_t limit;
    proc_overflow overflow;
    long most_kb;
} memory_case;

static void capture_in_a_new_process(void *arg)
{
    const memory_case *c = arg;
    struct rusage before, after;
    proc_result result;

    assert_int_equal(getrusage(RUSAGE_SELF, &before), 0);
    assert_int_equal(
        proc_execfile(&result, KID("write", "1", c->size), OPTIONS(.max_buffer = c->limit, .overflow = c->overflow)),
        0);
    assert_int_equal(getrusage(RUSAGE_SELF, &after), 0);
    if (after.ru_maxrss - before.ru_maxrss > c->most_kb) {
        fail_msg("%s bytes took %ld KiB", c->size, after.ru_maxrss - before.ru_maxrss);
    }
    proc_result_clear(&result);
}

static void memory_is_bounded_by_what_is_kept(void **state)
{
    (void)state;
    static const memory_case cases[] = {
        {"67108864", MIB, PROC_OVERFLOW_HEAD, 4 * 1024},
        {"67108864", MIB, PROC_OVERFLOW_TAIL, 4 * 1024},
        {"33554432", PROC_UNLIMITED, PROC_OVERFLOW_KILL, 2 * 32 * 1024 + 4 * 1024},
    };

    if (ADDRESS_SANITIZER || THREAD_SANITIZER || under_valgrind()) {
        SKIP("a checker takes memory of its own");
    }
    for (size_t i = 0; i < COUNT(cases); i++) {
        in_copy(capture_in_a_new_process, (void *)&cases[i]);
    }
}

/* ---- bytes ---- */

static void nul_bytes_are_bytes_and_one_more_follows_the_last(void **state)
{
    (void)state;
    static const char data[] = "a\0b\0\0c\0";
    proc_result result;

    assert_int_equal(run_file(&result, KID("cat"), OPTIONS(.input = data, .input_size = sizeof data - 1)), 0);

    assert_int_equal(result.out_size, sizeof data - 1);
    assert_memory_equal(result.out, data, sizeof data);
}

static void a_limit_may_cut_a_character_in_two(void **state)
{
    (void)state;
    proc_result head, tail;

    assert_int_equal(run_command(&head, "printf 'ééé'", OPTIONS(.max_buffer = 5, .overflow = PROC_OVERFLOW_HEAD)), 0);
    assert_int_equal(run_command(&tail, "printf 'ééé'", OPTIONS(.max_buffer = 5, .overflow = PROC_OVERFLOW_TAIL)), 0);

    assert_int_equal(head.out_size, 5);
    assert_memory_equal(head.out, "\xc3\xa9\xc3\xa9\xc3", 6);
    assert_int_equal(tail.out_size, 5);
    assert_memory_equal(tail.out, "\xa9\xc3\xa9\xc3\xa9", 6);
}

static void one_long_line_is_kept_whole(void **state)
{
    (void)state;
    proc_result result;

    assert_int_equal(run_command(&result, "head -c 1048575 /dev/zero | tr '\\0' x; echo", NULL), 0);

    assert_int_equal(result.out_size, MIB);
    assert_int_equal(strspn(result.out, "x"), MIB - 1);
    assert_int_equal(result.out[MIB - 1], '\n');
}

static void what_is_written_just_before_the_end_is_not_lost(void **state)
{
    (void)state;
    int rounds = under_valgrind() ? 5 : 60;

    for (int round = 0; round < rounds; round++) {
        proc_result result;

        assert_int_equal(
            run_file(&result, KID("out", "first", "write", "1", "500000", "out", "last", "exit", "0"), NULL), 0);
        assert_int_equal(result.out_size, 500009);
        assert_memory_equal(result.out, "first", 5);
        assert_memory_equal(result.out + 500005, "last", 5);
    }
}

static void slow_single_bytes_add_up(void **state)
{
    (void)state;
    static const char script[] = "i=0; while [ $i -lt 200 ]; do printf x; i=$((i+1)); done";
    proc_result result;

    assert_int_equal(run_command(&result, script, OPTIONS(.max_buffer = 200)), 0);

    assert_int_equal(result.out_size, 200);
    assert_false(result.out_truncated);
}

static const struct CMUnitTest tests[] = {
    TEST(each_mode_is_exact_at_the_limit_on_both_streams),
    TEST(the_first_bytes_of_too_much_are_kept_and_the_child_is_stopped),
    TEST(a_flood_is_stopped_on_either_stream),
    TEST(a_flood_that_ignores_the_stop_signal_is_killed_and_never_kept),
    TEST(what_overflows_takes_the_whole_group_with_it),
    TEST(the_head_is_kept_and_the_child_runs_to_its_end),
    TEST(the_tail_is_kept_over_many_turns),
    TEST(each_stream_has_a_limit_of_its_own),
    TEST(by_default_a_mebibyte_is_kept_and_no_byte_more),
    TEST(without_a_limit_all_of_both_streams_is_kept),
    TEST(without_a_limit_no_mode_makes_a_difference),
    TEST(memory_is_bounded_by_what_is_kept),
    TEST(nul_bytes_are_bytes_and_one_more_follows_the_last),
    TEST(a_limit_may_cut_a_character_in_two),
    TEST(one_long_line_is_kept_whole),
    TEST(what_is_written_just_before_the_end_is_not_lost),
    TEST(slow_single_bytes_add_up),
};

HARNESS_MAIN(tests)
