/*
 * timeout_ms, grace_ms and cancel_fd: in every call that waits, on children that obey and children that do not, and what
 * becomes of those that they started.
 */
#include "lifeline.h"

/* Runs it with longer and longer times until it came so far as to write something, so that a slow start is no failure. */
static int run_timed(proc_result *result, const char *const argv[], proc_options options)
{
    int err;

    for (options.timeout_ms = 150;; options.timeout_ms *= 4) {
        err = run_file(result, argv, &options);
        if (result->out_size > 0 || options.timeout_ms > 10000) {
            return err;
        }
    }
}

/* ---- exec ---- */

static void exec_stops_a_child_whose_time_ran_out_and_keeps_what_it_wrote(void **state)
{
    (void)state;
    int64_t begin = now_ms();
    proc_result result;

    assert_int_equal(run_timed(&result, KID("out", "so far", "hang"), (proc_options){0}), -ETIMEDOUT);

    assert_killed(result.status, SIGTERM);
    assert_true(result.status.timed_out);
    assert_false(result.status.forced || result.incomplete || result.out_truncated);
    assert_string_equal(result.out, "so far");
    assert_true(result.status.wall_ns >= 150 * (int64_t)MILLION);
    assert_in_range(now_ms() - begin, 150, LATEST_MS);
}

static void exec_returns_at_once_when_the_child_is_in_time(void **state)
{
    (void)state;
    static const int times[] = {LATEST_MS, 1 << 30, INT32_MAX, PROC_FOREVER};
    int64_t begin = now_ms();

    for (size_t i = 0; i < COUNT(times); i++) {
        proc_result result;

        assert_int_equal(run_file(&result, KID("out", "x", "exit", "3"), OPTIONS(.timeout_ms = times[i])), 0);
        assert_exited(result.status, 3);
        assert_false(result.status.timed_out);
    }
    assert_true(now_ms() - begin < LATEST_MS);
}

static void exec_takes_the_shortest_time(void **state)
{
    (void)state;
    proc_result result;

    assert_int_equal(run_file(&result, KID("hang"), OPTIONS(.timeout_ms = 1)), -ETIMEDOUT);

    assert_killed(result.status, SIGTERM);
    assert_true(result.status.timed_out);
}

static void the_stop_signal_is_the_one_that_was_asked_for(void **state)
{
    (void)state;
    static const int signals[] = {SIGINT, SIGHUP, SIGUSR1, SIGKILL};

    for (size_t i = 0; i < COUNT(signals); i++) {
        proc_result result;

        assert_int_equal(run_timed(&result, KID("out", "x", "hang"), (proc_options){.stop_signal = signals[i]}),
                         -ETIMEDOUT);
        assert_killed(result.status, signals[i]);
        assert_true(result.status.timed_out);
    }
}

static void a_child_that_ignores_the_stop_signal_is_killed_after_the_grace(void **state)
{
    (void)state;
    proc_result result;

    assert_int_equal(run_timed(&result, KID("ignore", "TERM", "out", "x", "hang"), (proc_options){.grace_ms = 100}),
                     -ETIMEDOUT);

    assert_killed(result.status, SIGKILL);
    assert_true(result.status.timed_out && result.status.forced);
    assert_true(result.status.wall_ns >= 250 * (int64_t)MILLION);
}

static void a_child_that_blocks_every_signal_is_killed_after_the_grace(void **state)
{
    (void)state;
    proc_result result;

    assert_int_equal(run_timed(&result, KID("block-all", "out", "x", "hang"), (proc_options){.grace_ms = 50}),
                     -ETIMEDOUT);

    assert_killed(result.status, SIGKILL);
    assert_true(result.status.timed_out && result.status.forced);
}

static void a_child_that_stopped_itself_takes_the_stop_signal(void **state)
{
    (void)state;
    proc_result result;

    assert_int_equal(run_timed(&result, KID("out", "x", "stop-self", "hang"), (proc_options){0}), -ETIMEDOUT);

    assert_killed(result.status, SIGTERM);
    assert_true(result.status.timed_out);
    assert_false(result.status.forced);
}

static void a_child_may_end_as_it_likes_when_it_is_stopped(void **state)
{
    (void)state;
    proc_result result;

    assert_int_equal(run_timed(&result, KID("on", "TERM", "exit", "0", "out", "x", "hang"), (proc_options){0}),
                     -ETIMEDOUT);

    assert_exited(result.status, 0);
    assert_true(result.status.timed_out);
    assert_false(result.status.forced);
}

static void what_is_written_within_the_grace_is_kept(void **state)
{
    (void)state;
    const char *const *argv = KID("on", "TERM", "out", " cleaned up", "out", "x", "hang");
    proc_result result;
    int grace_ms = 100;

    do { /* a busy machine may need longer for the first word of it */
        assert_int_equal(run_timed(&result, argv, (proc_options){.grace_ms = grace_ms}), -ETIMEDOUT);
        grace_ms *= 4;
    } while (result.out_size <= 1 && grace_ms < LATEST_MS);

    assert_string_equal(result.out, "x cleaned up");
    assert_true(result.status.forced);
}

/* ---- exec and those that the child started ---- */

static void a_whole_pipeline_is_stopped(void **state)
{
    (void)state;
    lifeline line = lifeline_make();
    proc_result result;

    assert_int_equal(run_command(&result, "sleep 1000 | cat | cat", OPTIONS(.timeout_ms = 100, HOLDS(line))),
                     -ETIMEDOUT);

    assert_true(result.status.timed_out);
    assert_false(result.incomplete);
    lifeline_await_end(&line);
}

static void a_grandchild_that_ignores_the_stop_signal_is_killed_with_the_group(void **state)
{
    (void)state;
    proc_result result;
    int grace_ms = 100;

    do { /* on a busy machine the child may not obey in time */
        lifeline line = lifeline_make();

        assert_int_equal(run_timed(&result, KID("grandchild", "ignore", "TERM", "out", "x", "hang", "--", "hang"),
                                   (proc_options){.grace_ms = grace_ms, HOLDS(line)}),
                         -ETIMEDOUT);
        assert_true(result.status.timed_out);
        assert_false(result.incomplete);
        lifeline_await_end(&line);
        grace_ms *= 4;
    } while (result.status.forced && grace_ms < LATEST_MS);

    assert_killed(result.status, SIGTERM); /* the child itself obeyed */
    assert_false(result.status.forced);
}

static void a_grandchild_that_left_the_session_cannot_defeat_the_time(void **state)
{
    (void)state;
    lifeline line = lifeline_make();
    proc_result result;
    int64_t begin = now_ms();

    assert_int_equal(run_timed(&result, KID("setsid-grandchild", "ignore", "TERM", "pid", "hang", "--", "hang"),
                               (proc_options){.grace_ms = 100, HOLDS(line)}),
                     -ETIMEDOUT);

    assert_true(now_ms() - begin < LATEST_MS);
    assert_int_equal(result.status.state, PROC_SIGNALED);
    assert_true(result.status.timed_out && result.incomplete);
    lifeline_let_go(&line);
    assert_false(lifeline_has_end(&line));
    kill_stranger(result.out);
    lifeline_await_end(&line);
}

static void the_time_ends_a_drain_too_and_the_exit_code_stays(void **state)
{
    (void)state;
    lifeline line = lifeline_make();
    proc_result result;

    assert_int_equal(run_timed(&result, KID("grandchild", "orphaned", "out", "x", "hang", "--", "exit", "3"),
                               (proc_options){HOLDS(line)}),
                     -ETIMEDOUT);

    assert_exited(result.status, 3);
    assert_true(result.status.timed_out);
    assert_false(result.status.forced || result.incomplete);
    lifeline_await_end(&line);
}

static void the_time_ends_a_drain_that_nobody_else_can_end(void **state)
{
    (void)state;
    proc_result result;

    assert_int_equal(run_timed(&result, KID("setsid-grandchild", "orphaned", "pid", "hang", "--", "exit", "3"),
                               (proc_options){.grace_ms = 100}),
                     -ETIMEDOUT);

    assert_exited(result.status, 3);
    assert_true(result.status.timed_out && result.incomplete);
    assert_false(result.status.forced);
    kill_stranger(result.out);
}

/* ---- cancel ---- */

static void exec_is_cancelled_by_a_descriptor(void **state)
{
    (void)state;
    const char *const *argv = KID("grandchild", "ignore", "TERM", "hang", "--", "out", "so far", "ready", "5", "hang");
    proc_result result;
    int grace_ms = 100;

    do {                                 /* on a busy machine the child may not obey in time */
        lifeline line = lifeline_make(); /* the child itself makes it readable */

        assert_int_equal(
            run_file(&result, argv, OPTIONS(.cancel_fd = line.read_end, .grace_ms = grace_ms, HOLDS(line))),
            -ECANCELED);
        assert_false(result.status.timed_out);
        assert_string_equal(result.out, "so far");
        await_byte(line.read_end); /* it was not read */
        lifeline_await_end(&line);
        grace_ms *= 4;
    } while (result.status.forced && grace_ms < LATEST_MS);

    assert_killed(result.status, SIGTERM);
}

static void exec_is_cancelled_at_once_by_a_descriptor_that_is_ready_or_hung_up(void **state)
{
    (void)state;

    for (int hung_up = 0; hung_up <= 1; hung_up++) {
        int cancel[2];
        proc_result result;

        make_pipe(cancel);
        if (hung_up) {
            close(cancel[1]);
        } else {
            assert_int_equal(write(cancel[1], "c", 1), 1);
        }
        assert_int_equal(run_file(&result, KID("hang"), OPTIONS(.cancel_fd = cancel[0])), -ECANCELED);
        assert_killed(result.status, SIGTERM);
        assert_false(result.status.timed_out);
        assert_true(is_open(cancel[0]));
        close(cancel[0]);
        if (!hung_up) {
            close(cancel[1]);
        }
    }
}

static void cancel_ends_a_drain_too(void **state)
{
    (void)state;
    lifeline line = lifeline_make();
    proc_result result;

    assert_int_equal(run_file(&result, KID("grandchild", "orphaned", "ready", "5", "hang", "--", "exit", "3"),
                              OPTIONS(.cancel_fd = line.read_end, HOLDS(line))),
                     -ECANCELED);

    assert_exited(result.status, 3);
    assert_false(result.status.timed_out || result.incomplete);
    lifeline_await_end(&line);
}

static void a_cancel_descriptor_that_stays_quiet_changes_nothing(void **state)
{
    (void)state;
    int cancel[2];
    proc_result result;

    make_pipe(cancel);
    assert_int_equal(run_file(&result, KID("out", "x", "exit", "3"), OPTIONS(.cancel_fd = cancel[0])), 0);
    assert_int_equal(run_file(&result, KID("out", "x", "exit", "3"), OPTIONS(.cancel_fd = -1)), 0);

    assert_exited(result.status, 3);
    close(cancel[0]);
    close(cancel[1]);
}

/* ---- spawn: wait, read, write ---- */

static void wait_stops_a_child_whose_time_ran_out(void **state)
{
    (void)state;
    lifeline line = lifeline_make();
    proc_child *child = start_child(KID("ignore", "TERM", "ready", "5", "hang"),
                                    OPTIONS(.timeout_ms = 100, .grace_ms = 100, HOLDS(line)));
    proc_status status;

    lifeline_await_ready(&line);
    assert_int_equal(proc_child_wait(child, PROC_FOREVER, &status), 0);

    assert_killed(status, SIGKILL);
    assert_true(status.timed_out && status.forced);
    assert_true(status.wall_ns >= 200 * (int64_t)MILLION);
    lifeline_await_end(&line);
    proc_child_free(child);
}

static void a_wait_may_be_shorter_than_the_time_of_the_child(void **state)
{
    (void)state;
    int waits = 0;

    for (int timeout_ms = 200; waits == 0 && timeout_ms < LATEST_MS; timeout_ms *= 4) { /* a start may be slow */
        proc_child *child = start_child(KID("hang"), OPTIONS(.timeout_ms = timeout_ms));
        proc_status status;

        while (proc_child_wait(child, 20, &status) == -ETIMEDOUT) {
            assert_int_equal(status.state, PROC_RUNNING);
            assert_false(status.timed_out);
            waits++;
        }
        assert_killed(status, SIGTERM);
        assert_true(status.timed_out);
        proc_child_free(child);
    }
    assert_true(waits > 0);
}

static void even_a_wait_of_no_time_sees_that_the_childs_is_over(void **state)
{
    (void)state;
    proc_child *child = start_child(KID("hang"), OPTIONS(.timeout_ms = 50));
    int64_t end = now_ms() + LATEST_MS;
    proc_status status;

    while (proc_child_wait(child, 0, &status) == -ETIMEDOUT) {
        assert_true(now_ms() < end);
        sched_yield();
    }

    assert_killed(status, SIGTERM);
    assert_true(status.timed_out);
    proc_child_free(child);
}

static void a_child_that_ended_in_time_is_not_called_late(void **state)
{
    (void)state;
    lifeline line = lifeline_make();
    proc_child *child = start_child(KID("exit", "4"), OPTIONS(.timeout_ms = 300, HOLDS(line)));
    proc_status status;

    await_state(proc_child_pid(child), "Z");
    let_pass(350);
    assert_int_equal(proc_child_wait(child, PROC_FOREVER, &status), 0);

    assert_exited(status, 4);
    assert_false(status.timed_out || status.forced);
    lifeline_await_end(&line);
    proc_child_free(child);
}

static void a_child_that_ended_in_time_leaves_its_group_alone(void **state)
{
    (void)state;
    lifeline line = lifeline_make();
    proc_child *child = start_child(KID("grandchild", "ready", "5", "hang", "--", "exit", "4"),
                                    OPTIONS(.timeout_ms = LATEST_MS, .group = PROC_GROUP_OWN, HOLDS(line)));
    pid_t pid = proc_child_pid(child);
    proc_status status;

    lifeline_await_ready(&line);
    assert_int_equal(proc_child_wait(child, PROC_FOREVER, &status), 0);
    proc_child_free(child);

    assert_exited(status, 4);
    assert_false(lifeline_has_end(&line));
    assert_int_equal(kill(-pid, SIGKILL), 0);
    lifeline_await_end(&line);
}

static void when_its_time_ran_out_the_rest_of_its_group_is_killed_as_it_ends(void **state)
{
    (void)state;
    lifeline line = lifeline_make();
    int64_t begin = now_ms();
    proc_child *child =
        start_child(KID("grandchild", "ignore", "TERM", "ready", "5", "hang", "--", "hang"),
                    OPTIONS(.timeout_ms = 50, .grace_ms = LATEST_MS, .group = PROC_GROUP_OWN, HOLDS(line)));
    proc_status status;

    lifeline_await_ready(&line);
    assert_int_equal(proc_child_wait(child, PROC_FOREVER, &status), 0);

    assert_killed(status, SIGTERM);
    assert_true(status.timed_out);
    assert_false(status.forced);
    lifeline_await_end(&line);
    assert_true(now_ms() - begin < LATEST_MS);
    proc_child_free(child);
}

static void read_goes_on_to_the_end_of_the_stream(void **state)
{
    (void)state;
    char said[16];
    size_t size = 0;

    for (int slower = 1; size < 5 && slower < 100; slower *= 4) { /* until the child had the time to say both */
        proc_child *child =
            start_child(KID("on", "TERM", "out", "bye", "out", "hi", "hang"),
                        OPTIONS(.timeout_ms = 300 * slower, .grace_ms = 100 * slower, .out.kind = PROC_PIPE));
        int64_t cpu = own_cpu_ms();
        proc_status status;

        memset(said, 0, sizeof said);
        size = 0;
        for (ssize_t got; (got = proc_child_read(child, 1, said + size, sizeof said - 1 - size, PROC_FOREVER)) != 0;) {
            assert_true(got > 0);
            size += (size_t)got;
        }
        assert_int_equal(proc_child_wait(child, LATEST_MS, &status), 0);
        assert_int_equal(status.state, PROC_SIGNALED);
        assert_true(status.timed_out && (size < 5 || status.forced));
        assert_true(own_cpu_ms() - cpu < 250); /* it waited, and did not look all the time */
        proc_child_free(child);
    }
    assert_string_equal(said, "hibye");
}

static void read_ends_a_child_that_never_stops_writing(void **state)
{
    (void)state;
    static char buffer[65536];
    proc_child *child = start_child(KID("ignore", "TERM", "write", "1", "1000000000000000"),
                                    OPTIONS(.timeout_ms = 100, .grace_ms = 50, .out.kind = PROC_PIPE));
    proc_status status;
    ssize_t got;

    do {
        got = proc_child_read(child, 1, buffer, sizeof buffer, PROC_FOREVER);
    } while (got > 0);

    assert_int_equal(got, 0);
    assert_int_equal(proc_child_wait(child, LATEST_MS, &status), 0);
    assert_int_equal(status.state, PROC_SIGNALED);
    assert_true(status.timed_out);
    proc_child_free(child);
}

static void write_ends_when_a_child_that_never_reads_is_stopped(void **state)
{
    (void)state;
    enum { SIZE = 1024 * 1024 };
    proc_child *child = start_child(KID("hang"), OPTIONS(.timeout_ms = 100, .in.kind = PROC_PIPE));
    proc_status status;

    assert_int_equal(proc_child_write(child, pattern_text(0, SIZE), SIZE, PROC_FOREVER), -EPIPE);
    assert_int_equal(proc_child_wait(child, LATEST_MS, &status), 0);

    assert_killed(status, SIGTERM);
    assert_true(status.timed_out);
    proc_child_free(child);
}

static void write_ends_a_child_that_reads_for_ever(void **state)
{
    (void)state;
    const char *data = pattern_text(0, 100000);
    proc_child *child = start_child(KID("ignore", "TERM", "drain", "0"),
                                    OPTIONS(.timeout_ms = 100, .grace_ms = 50, .in.kind = PROC_PIPE));
    proc_status status;
    ssize_t put;

    do {
        put = proc_child_write(child, data, 100000, PROC_FOREVER);
    } while (put == 100000);

    assert_int_equal(put, -EPIPE);
    assert_int_equal(proc_child_wait(child, LATEST_MS, &status), 0);
    assert_int_equal(status.state, PROC_SIGNALED);
    assert_true(status.timed_out);
    proc_child_free(child);
}

static void a_cancel_descriptor_of_spawn_acts_in_wait_and_read(void **state)
{
    (void)state;

    for (int reading = 0; reading <= 1; reading++) {
        lifeline line = lifeline_make();
        proc_child *child = start_child(KID("ready", "5", "hang"),
                                        OPTIONS(.cancel_fd = line.read_end, .out.kind = PROC_PIPE, HOLDS(line)));
        proc_status status;
        char byte;

        if (reading) {
            assert_int_equal(proc_child_read(child, 1, &byte, 1, PROC_FOREVER), 0);
        }
        assert_int_equal(proc_child_wait(child, PROC_FOREVER, &status), 0);
        assert_killed(status, SIGTERM);
        assert_false(status.timed_out);
        proc_child_free(child);
        await_byte(line.read_end);
        lifeline_await_end(&line);
    }
}

static const struct CMUnitTest tests[] = {
    TEST(exec_stops_a_child_whose_time_ran_out_and_keeps_what_it_wrote),
    TEST(exec_returns_at_once_when_the_child_is_in_time),
    TEST(exec_takes_the_shortest_time),
    TEST(the_stop_signal_is_the_one_that_was_asked_for),
    TEST(a_child_that_ignores_the_stop_signal_is_killed_after_the_grace),
    TEST(a_child_that_blocks_every_signal_is_killed_after_the_grace),
    TEST(a_child_that_stopped_itself_takes_the_stop_signal),
    TEST(a_child_may_end_as_it_likes_when_it_is_stopped),
    TEST(what_is_written_within_the_grace_is_kept),
    TEST(a_whole_pipeline_is_stopped),
    TEST(a_grandchild_that_ignores_the_stop_signal_is_killed_with_the_group),
    TEST(a_grandchild_that_left_the_session_cannot_defeat_the_time),
    TEST(the_time_ends_a_drain_too_and_the_exit_code_stays),
    TEST(the_time_ends_a_drain_that_nobody_else_can_end),
    TEST(exec_is_cancelled_by_a_descriptor),
    TEST(exec_is_cancelled_at_once_by_a_descriptor_that_is_ready_or_hung_up),
    TEST(cancel_ends_a_drain_too),
    TEST(a_cancel_descriptor_that_stays_quiet_changes_nothing),
    TEST(wait_stops_a_child_whose_time_ran_out),
    TEST(a_wait_may_be_shorter_than_the_time_of_the_child),
    TEST(even_a_wait_of_no_time_sees_that_the_childs_is_over),
    TEST(a_child_that_ended_in_time_is_not_called_late),
    TEST(a_child_that_ended_in_time_leaves_its_group_alone),
    TEST(when_its_time_ran_out_the_rest_of_its_group_is_killed_as_it_ends),
    TEST(read_goes_on_to_the_end_of_the_stream),
    TEST(read_ends_a_child_that_never_stops_writing),
    TEST(write_ends_when_a_child_that_never_reads_is_stopped),
    TEST(write_ends_a_child_that_reads_for_ever),
    TEST(a_cancel_descriptor_of_spawn_acts_in_wait_and_read),
};

HARNESS_MAIN(tests)
