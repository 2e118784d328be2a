/*
 * proc_child_communicate on children of proc_spawn: with whatever streams they have, whatever was done with them before,
 * stopped by whatever can stop them.
 */
#include "lifeline.h"

#include <pthread.h>

static int communicate(proc_child *child, const proc_options *options, proc_result *result)
{
    int err;

    memset(result, 0x55, sizeof *result);
    err = proc_child_communicate(child, options, result);
    if (result->out != NULL) {
        keep_result(result);
    }
    return err;
}

static proc_child *start_piped(const char *const argv[])
{
    return start_child(argv, OPTIONS(.in.kind = PROC_PIPE, .out.kind = PROC_PIPE, .err.kind = PROC_PIPE));
}

/* ---- streams ---- */

static void any_choice_of_streams_is_served(void **state)
{
    (void)state;
    static const proc_stdio_kind ins[] = {PROC_PIPE, PROC_NULL}, outs[] = {PROC_PIPE, PROC_NULL},
                                 errs[] = {PROC_PIPE, PROC_NULL, PROC_MERGE};

    for (size_t i = 0; i < 12; i++) {
        proc_options options = {.in.kind = ins[i % 2], .out.kind = outs[i / 2 % 2], .err.kind = errs[i / 4]};
        bool fed = options.in.kind == PROC_PIPE, heard = options.out.kind == PROC_PIPE;
        bool merged = options.err.kind == PROC_MERGE;
        proc_child *child = start_child(KID("err", "E", "cat", "exit", "5"), &options);
        proc_result result;

        options.input = fed ? "fed" : NULL;
        options.input_size = fed ? 3 : 0;
        assert_int_equal(communicate(child, &options, &result), 0);
        assert_exited(result.status, 5);
        assert_string_equal(result.out, !heard ? "" : text("%s%s", merged ? "E" : "", fed ? "fed" : ""));
        assert_string_equal(result.err, options.err.kind == PROC_PIPE ? "E" : "");
        proc_child_free(child);
    }
}

static void much_flows_both_ways_at_once(void **state)
{
    (void)state;
    enum { SIZE = 1024 * 1024 };
    const char *data = pattern_text(0, SIZE);
    proc_child *child = start_piped(KID("grandchild", "write", "2", "1048576", "--", "cat", "reap"));
    proc_result result;

    assert_int_equal(communicate(child, OPTIONS(.input = data, .input_size = SIZE), &result), 0);

    assert_int_equal(result.out_size, SIZE);
    assert_int_equal(result.err_size, SIZE);
    assert_memory_equal(result.out, data, SIZE);
    assert_memory_equal(result.err, data, SIZE);
    proc_child_free(child);
}

static void without_options_stdin_is_closed_and_all_is_read(void **state)
{
    (void)state;
    proc_child *child = start_piped(KID("count", "err", "x", "exit", "2"));
    proc_result result;

    assert_int_equal(communicate(child, NULL, &result), 0);

    assert_exited(result.status, 2);
    assert_string_equal(result.out, "0\n");
    assert_string_equal(result.err, "x");
    assert_int_equal(proc_child_fd(child, 0), -EBADF);
    proc_child_free(child);
}

static void what_was_read_and_written_before_is_not_there_again(void **state)
{
    (void)state;
    proc_child *child = start_piped(KID("out", "abcdef", "cat"));
    char first[3];
    proc_result result;

    for (size_t got = 0; got < sizeof first;) {
        ssize_t count = proc_child_read(child, 1, first + got, sizeof first - got, LATEST_MS);

        assert_true(count > 0);
        got += (size_t)count;
    }
    assert_int_equal(proc_child_write(child, "one ", 4, LATEST_MS), 4);
    assert_int_equal(communicate(child, OPTIONS(.input = "two", .input_size = 3), &result), 0);

    assert_memory_equal(first, "abc", 3);
    assert_string_equal(result.out, "defone two");
    proc_child_free(child);
}

static void streams_closed_before_are_empty(void **state)
{
    (void)state;
    proc_child *child = start_piped(KID("count", "ignore", "PIPE", "err", "x"));
    proc_result result;

    assert_int_equal(proc_child_close(child, 0), 0);
    assert_int_equal(proc_child_close(child, 1), 0);
    assert_int_equal(communicate(child, NULL, &result), 0);

    assert_string_equal(result.out, "");
    proc_child_free(child);
}

static void a_child_without_pipes_is_waited_for(void **state)
{
    (void)state;
    proc_child *child = start_child(KID("sleep", "50", "exit", "9"), NULL);
    proc_result result;

    assert_int_equal(communicate(child, NULL, &result), 0);

    assert_exited(result.status, 9);
    assert_string_equal(result.out, "");
    assert_string_equal(result.err, "");
    proc_child_free(child);
}

static void a_terminal_is_read_into_out(void **state)
{
    (void)state;
    const proc_stdio pty = {.kind = PROC_PTY};
    proc_child *child =
        start_child(KID("out", "o", "err", "e", "exit", "1"), OPTIONS(.in = pty, .out = pty, .err = pty));
    proc_result result;

    assert_int_equal(communicate(child, NULL, &result), 0);

    assert_exited(result.status, 1);
    assert_string_equal(result.out, "oe");
    assert_string_equal(result.err, "");
    proc_child_free(child);
}

static void a_terminal_for_err_alone_is_read_into_err(void **state)
{
    (void)state;
    proc_child *child = start_child(KID("out", "o", "err", "e"), OPTIONS(.out.kind = PROC_PIPE, .err.kind = PROC_PTY));
    proc_result result;

    assert_int_equal(communicate(child, NULL, &result), 0);

    assert_string_equal(result.out, "o");
    assert_string_equal(result.err, "e");
    proc_child_free(child);
}

static void much_through_a_terminal_is_bounded_too(void **state)
{
    (void)state;
    proc_child *child =
        start_child(KID("noecho", "write", "1", "300000"), OPTIONS(.in.kind = PROC_PTY, .out.kind = PROC_PTY));
    proc_result result;

    assert_int_equal(communicate(child, OPTIONS(.max_buffer = 1000, .overflow = PROC_OVERFLOW_TAIL), &result), 0);

    assert_int_equal(result.out_size, 1000);
    assert_true(result.out_truncated);
    assert_memory_equal(result.out, pattern_text(299000, 1000), 1000);
    proc_child_free(child);
}

/* ---- refused ---- */

static void input_for_no_open_pipe_is_refused_and_the_child_untouched(void **state)
{
    (void)state;
    const proc_options with_input = {.input = "x", .input_size = 1};
    proc_child *children[3] = {
        start_child(KID("out", "ready", "hang"), OPTIONS(.in.kind = PROC_NULL, .out.kind = PROC_PIPE)),
        start_child(KID("out", "ready", "hang"), OPTIONS(.in.kind = PROC_PTY, .out.kind = PROC_PIPE)),
        start_piped(KID("out", "ready", "hang")),
    };

    assert_int_equal(proc_child_close(children[2], 0), 0);
    for (size_t i = 0; i < COUNT(children); i++) {
        char buffer[8];
        proc_result result;

        assert_int_equal(communicate(children[i], &with_input, &result), -EBADF);
        assert_null(result.out);
        assert_null(result.err);
        assert_int_equal(result.status.code, -1);
        proc_result_clear(&result);
        assert_int_equal(proc_child_wait(children[i], 0, NULL), -ETIMEDOUT);
        assert_int_equal(proc_child_read(children[i], 1, buffer, 5, LATEST_MS), 5);
        proc_child_free(children[i]);
    }
}

static void options_that_make_no_sense_leave_the_child_untouched(void **state)
{
    (void)state;
    static const struct {
        proc_options options;
        int code;
    } cases[] = {
        {{.input_size = 1}, -EINVAL}, {{.overflow = (proc_overflow)7}, -EINVAL},
        {{.drain_ms = -2}, -EINVAL},  {{.cancel_fd = -5}, -EINVAL},
        {{.cancel_fd = 900}, -EBADF},
    };
    proc_child *child = start_piped(KID("cat"));
    proc_result result;

    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_int_equal(communicate(child, &cases[i].options, &result), cases[i].code);
        assert_null(result.out);
    }
    assert_int_equal(proc_child_communicate(child, NULL, NULL), -EINVAL);
    assert_int_equal(communicate(NULL, NULL, &result), -EINVAL);
    assert_int_equal(communicate(child, OPTIONS(.input = "still", .input_size = 5), &result), 0);

    assert_string_equal(result.out, "still");
    proc_child_free(child);
}

static void the_other_options_are_not_read(void **state)
{
    (void)state;
    const proc_options options = {.cwd = "/nonexistent",
                                  .file = "",
                                  .timeout_ms = 1,
                                  .reserved = {1},
                                  .group = PROC_GROUP_OWN,
                                  .in.kind = PROC_NULL,
                                  .user = NULL,
                                  .stop_signal = 99,
                                  .grace_ms = 1,
                                  .nice = 100};
    proc_child *child = start_piped(KID("sleep", "50", "out", "x"));
    proc_result result;

    assert_int_equal(communicate(child, &options, &result), 0);

    assert_exited(result.status, 0);
    assert_string_equal(result.out, "x");
    proc_child_free(child);
}

/* ---- after the end ---- */

static void after_a_wait_what_is_in_the_pipes_is_still_read(void **state)
{
    (void)state;
    proc_child *child = start_piped(KID("out", "left", "err", "over", "exit", "6"));
    proc_status status;
    proc_result result;

    assert_int_equal(proc_child_wait(child, LATEST_MS, &status), 0);
    assert_int_equal(communicate(child, NULL, &result), 0);

    assert_memory_equal(&result.status, &status, sizeof status);
    assert_string_equal(result.out, "left");
    assert_string_equal(result.err, "over");
    proc_child_free(child);
}

static void after_a_wait_the_limit_is_one_still(void **state)
{
    (void)state;
    proc_child *child = start_piped(KID("out", "hello world", "exit", "6"));
    proc_result result;

    assert_int_equal(proc_child_wait(child, LATEST_MS, NULL), 0);
    assert_int_equal(communicate(child, OPTIONS(.max_buffer = 5), &result), -ENOBUFS);

    assert_exited(result.status, 6);
    assert_string_equal(result.out, "hello");
    assert_true(result.out_truncated);
    proc_child_free(child);
}

static void after_a_stop_the_limit_is_one_still(void **state)
{
    (void)state;
    lifeline line = lifeline_make();
    proc_child *child =
        start_child(KID("out", "hello world", "ready", "5", "hang"), OPTIONS(.out.kind = PROC_PIPE, HOLDS(line)));
    proc_result result;

    lifeline_await_ready(&line);
    assert_int_equal(proc_child_stop(child, LATEST_MS, NULL), 0);
    assert_int_equal(communicate(child, OPTIONS(.max_buffer = 5), &result), -ENOBUFS);

    assert_killed(result.status, SIGTERM);
    assert_string_equal(result.out, "hello");
    proc_child_free(child);
    lifeline_await_end(&line);
}

static void after_a_wait_cancel_still_ends_the_drain(void **state)
{
    (void)state;
    lifeline line = lifeline_make();
    int cancel[2];
    proc_child *child = start_child(KID("grandchild", "pid", "ready", "5", "hang", "--", "exit", "6"),
                                    OPTIONS(.out.kind = PROC_PIPE, HOLDS(line)));
    proc_result result;

    make_pipe(cancel);
    lifeline_await_ready(&line);
    assert_int_equal(proc_child_wait(child, LATEST_MS, NULL), 0);
    assert_int_equal(write(cancel[1], "c", 1), 1);
    assert_int_equal(communicate(child, OPTIONS(.cancel_fd = cancel[0], .drain_ms = 5000), &result), -ECANCELED);

    assert_exited(result.status, 6);
    assert_true(result.incomplete);
    kill_stranger(result.out);
    lifeline_await_end(&line);
    proc_child_free(child);
    close(cancel[0]);
    close(cancel[1]);
}

static void a_second_time_there_is_nothing_left(void **state)
{
    (void)state;
    proc_child *child = start_piped(KID("out", "x", "exit", "6"));
    proc_result first, second;

    assert_int_equal(communicate(child, NULL, &first), 0);
    assert_int_equal(communicate(child, NULL, &second), 0);

    assert_string_equal(first.out, "x");
    assert_string_equal(second.out, "");
    assert_memory_equal(&first.status, &second.status, sizeof first.status);
    assert_int_equal(proc_child_kill(child, 0), -ESRCH);
    assert_int_equal(proc_child_wait(child, 0, NULL), 0);
    proc_child_free(child);
}

static void the_drain_time_bounds_what_a_grandchild_holds(void **state)
{
    (void)state;
    lifeline line = lifeline_make();
    proc_child *child = start_child(KID("grandchild", "pid", "ready", "5", "hang", "--", "hang"),
                                    OPTIONS(.out.kind = PROC_PIPE, HOLDS(line)));
    proc_result result;

    lifeline_await_ready(&line);
    assert_int_equal(proc_child_kill(child, SIGKILL), 0);
    assert_int_equal(communicate(child, OPTIONS(.drain_ms = 100), &result), 0);

    assert_killed(result.status, SIGKILL);
    assert_true(result.incomplete);
    assert_false(lifeline_has_end(&line));
    kill_stranger(result.out);
    lifeline_await_end(&line);
    proc_child_free(child);
}

/* ---- stopped ---- */

typedef enum cancel_place { OF_THE_CHILD, OF_THE_OPTIONS, OF_BOTH } cancel_place;

static void assert_cancelled_at(cancel_place place, bool hang_up)
{
    const char *const *hang = KID("out", "so far", "hang"), *const *ready = KID("out", "so far", "ready", "5", "hang");
    lifeline line = lifeline_make();
    int unused[2];
    proc_options options = {.out.kind = PROC_PIPE, .group = PROC_GROUP_OWN, HOLDS(line)};
    proc_child *child;
    proc_result result;

    make_pipe(unused);
    options.cancel_fd = place == OF_THE_CHILD ? line.read_end : place == OF_BOTH ? unused[0] : 0;
    if (hang_up) { /* it holds no write end: the pipe has hung up already */
        options.fd_count = 0;
    }
    child = start_child(hang_up ? hang : ready, &options);
    lifeline_let_go(&line);
    options.cancel_fd = place == OF_THE_CHILD ? -1 : line.read_end;
    assert_int_equal(communicate(child, &options, &result), -ECANCELED);

    assert_killed(result.status, SIGTERM);
    assert_false(result.status.timed_out || result.status.forced);
    assert_true(hang_up || strcmp(result.out, "so far") == 0);
    if (!hang_up) {
        await_byte(line.read_end); /* it was not read */
    }
    lifeline_await_end(&line);
    proc_child_free(child);
    close(unused[0]);
    close(unused[1]);
}

static void a_readable_cancel_descriptor_stops_the_child(void **state)
{
    (void)state;

    assert_cancelled_at(OF_THE_CHILD, false);
    assert_cancelled_at(OF_THE_OPTIONS, false);
    assert_cancelled_at(OF_BOTH, false);
}

static void a_cancel_descriptor_that_hung_up_stops_the_child(void **state)
{
    (void)state;

    assert_cancelled_at(OF_THE_CHILD, true);
    assert_cancelled_at(OF_THE_OPTIONS, true);
}

static void the_time_of_the_child_counts_from_its_start(void **state)
{
    (void)state;
    lifeline line = lifeline_make();
    proc_child *child = start_child(KID("out", "so far", "ready", "5", "hang"),
                                    OPTIONS(.out.kind = PROC_PIPE, .timeout_ms = 300, HOLDS(line)));
    char first;
    proc_result result;

    lifeline_await_ready(&line);
    assert_int_equal(proc_child_read(child, 1, &first, 1, LATEST_MS), 1);
    assert_int_equal(communicate(child, NULL, &result), -ETIMEDOUT);

    assert_killed(result.status, SIGTERM);
    assert_true(result.status.timed_out);
    assert_string_equal(result.out, "o far");
    assert_true(result.status.wall_ns >= 300 * (int64_t)MILLION);
    proc_child_free(child);
    lifeline_await_end(&line);
}

static void each_overflow_mode_works_as_in_exec(void **state)
{
    (void)state;
    static const struct {
        proc_overflow mode;
        int err;
        size_t from;
    } cases[] = {{PROC_OVERFLOW_KILL, -ENOBUFS, 0}, {PROC_OVERFLOW_HEAD, 0, 0}, {PROC_OVERFLOW_TAIL, 0, 200000 - 777}};

    for (size_t i = 0; i < COUNT(cases); i++) {
        proc_child *child = start_piped(KID("write", "2", "200000", "closefd", "2", "drain", "0"));
        proc_result result;

        assert_int_equal(communicate(child, OPTIONS(.max_buffer = 777, .overflow = cases[i].mode), &result),
                         cases[i].err);
        assert_int_equal(result.err_size, 777);
        assert_memory_equal(result.err, pattern_text(cases[i].from, 777), 777);
        assert_true(result.err_truncated);
        assert_false(result.out_truncated);
        proc_child_free(child);
    }
}

/* ---- threads ---- */

typedef struct talk {
    proc_child *child;
    const char *input;
    int err;
    proc_result result;
} talk;

static void *talk_to_child(void *arg)
{
    talk *t = arg;

    t->err = proc_child_communicate(t->child, OPTIONS(.input = t->input, .input_size = 300000), &t->result);
    return NULL;
}

static void two_threads_talk_to_two_children(void **state)
{
    (void)state;
    talk talks[2];
    pthread_t threads[2];

    for (size_t i = 0; i < 2; i++) {
        talks[i] = (talk){.child = start_piped(KID("cat")), .input = pattern_text(i, 300000)};
    }
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, talk_to_child, &talks[i]), 0);
    }
    for (size_t i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(talks[i].err, 0);
        keep_result(&talks[i].result);
        proc_child_free(talks[i].child);
    }

    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(talks[i].result.out_size, 300000);
        assert_memory_equal(talks[i].result.out, talks[i].input, 300000);
    }
}

static void a_kill_from_another_thread_ends_it(void **state)
{
    (void)state;
    lifeline line = lifeline_make();
    talk t = {.input = pattern_text(0, 300000)};
    pthread_t thread;
    proc_status status;

    t.child = start_child(KID("out", "x", "ready", "5", "hang"),
                          OPTIONS(.in.kind = PROC_PIPE, .out.kind = PROC_PIPE, .err.kind = PROC_PIPE, HOLDS(line)));
    assert_int_equal(pthread_create(&thread, NULL, talk_to_child, &t), 0);
    lifeline_await_ready(&line);
    assert_int_equal(proc_child_kill(t.child, SIGTERM), 0);
    assert_int_equal(proc_child_wait(t.child, LATEST_MS, &status), 0);
    pthread_join(thread, NULL);
    keep_result(&t.result);

    assert_int_equal(t.err, 0);
    assert_killed(t.result.status, SIGTERM);
    assert_memory_equal(&t.result.status, &status, sizeof status);
    assert_string_equal(t.result.out, "x");
    proc_child_free(t.child);
    lifeline_await_end(&line);
}

static const struct CMUnitTest tests[] = {
    TEST(any_choice_of_streams_is_served),
    TEST(much_flows_both_ways_at_once),
    TEST(without_options_stdin_is_closed_and_all_is_read),
    TEST(what_was_read_and_written_before_is_not_there_again),
    TEST(streams_closed_before_are_empty),
    TEST(a_child_without_pipes_is_waited_for),
    TEST(a_terminal_is_read_into_out),
    TEST(a_terminal_for_err_alone_is_read_into_err),
    TEST(much_through_a_terminal_is_bounded_too),
    TEST(input_for_no_open_pipe_is_refused_and_the_child_untouched),
    TEST(options_that_make_no_sense_leave_the_child_untouched),
    TEST(the_other_options_are_not_read),
    TEST(after_a_wait_what_is_in_the_pipes_is_still_read),
    TEST(after_a_wait_the_limit_is_one_still),
    TEST(after_a_stop_the_limit_is_one_still),
    TEST(after_a_wait_cancel_still_ends_the_drain),
    TEST(a_second_time_there_is_nothing_left),
    TEST(the_drain_time_bounds_what_a_grandchild_holds),
    TEST(a_readable_cancel_descriptor_stops_the_child),
    TEST(a_cancel_descriptor_that_hung_up_stops_the_child),
    TEST(the_time_of_the_child_counts_from_its_start),
    TEST(each_overflow_mode_works_as_in_exec),
    TEST(two_threads_talk_to_two_children),
    TEST(a_kill_from_another_thread_ends_it),
};

HARNESS_MAIN(tests)
