/*
 * proc_child_stop, proc_child_kill and proc_child_free: who gets which signal, and who never does.
 */
#include "lifeline.h"

#include <pthread.h>

/* Ready on the line, and it holds it. */
static proc_child *start_ready(lifeline *line, const char *const argv[], proc_options options)
{
    proc_child *child;

    *line = lifeline_make();
    options.fds = &line->map;
    options.fd_count = 1;
    child = start_child(argv, &options);
    lifeline_await_ready(line);
    return child;
}

/* ---- stop ---- */

static void stop_asks_first(void **state)
{
    (void)state;
    static const struct {
        const char *signal;
        int stop_signal;
    } cases[] = {{"TERM", 0}, {"TERM", SIGTERM}, {"USR1", SIGUSR1}, {"INT", SIGINT}};

    for (size_t i = 0; i < COUNT(cases); i++) {
        lifeline line;
        proc_child *child = start_ready(&line, KID("on", cases[i].signal, "exit", "7", "ready", "5", "hang"),
                                        (proc_options){.stop_signal = cases[i].stop_signal});
        proc_status status;

        assert_int_equal(proc_child_stop(child, LATEST_MS, &status), 0);
        assert_exited(status, 7);
        assert_false(status.forced || status.timed_out);
        lifeline_await_end(&line);
        proc_child_free(child);
    }
}

static void stop_kills_a_child_that_ignores_term(void **state)
{
    (void)state;
    static const int graces[] = {50, 1, 0};

    for (size_t i = 0; i < COUNT(graces); i++) {
        lifeline line;
        proc_child *child = start_ready(&line, KID("ignore", "TERM", "ready", "5", "hang"), (proc_options){0});
        int64_t begin = now_ms();
        proc_status status;

        assert_int_equal(proc_child_stop(child, graces[i], &status), 0);
        assert_killed(status, SIGKILL);
        assert_true(status.forced);
        assert_false(status.timed_out);
        assert_in_range(now_ms() - begin, graces[i], LATEST_MS);
        lifeline_await_end(&line);
        proc_child_free(child);
    }
}

static void stop_kills_a_child_that_blocks_every_signal(void **state)
{
    (void)state;
    lifeline line;
    proc_child *child = start_ready(&line, KID("block-all", "ready", "5", "hang"), (proc_options){0});
    proc_status status;

    assert_int_equal(proc_child_stop(child, 50, &status), 0);

    assert_killed(status, SIGKILL);
    assert_true(status.forced);
    lifeline_await_end(&line);
    proc_child_free(child);
}

static void stop_wakes_a_child_that_stands_still(void **state)
{
    (void)state;
    lifeline line;
    proc_child *child =
        start_ready(&line, KID("on", "TERM", "exit", "9", "ready", "5", "stop-self", "hang"), (proc_options){0});
    proc_status status;

    await_state(proc_child_pid(child), "T");
    assert_int_equal(proc_child_wait(child, 0, NULL), -ETIMEDOUT); /* to stand still is not to end */
    assert_int_equal(proc_child_stop(child, LATEST_MS, &status), 0);

    assert_exited(status, 9);
    assert_false(status.forced);
    lifeline_await_end(&line);
    proc_child_free(child);
}

static void stop_kills_what_is_left_of_the_group(void **state)
{
    (void)state;
    lifeline line;
    proc_child *child = start_ready(&line, KID("grandchild", "ignore", "TERM", "ready", "5", "hang", "--", "hang"),
                                    (proc_options){.group = PROC_GROUP_OWN});
    proc_status status;

    assert_int_equal(proc_child_stop(child, LATEST_MS, &status), 0);

    assert_killed(status, SIGTERM);
    assert_false(status.forced);
    lifeline_await_end(&line);
    proc_child_free(child);
}

static void stop_in_a_session_takes_its_group_too(void **state)
{
    (void)state;
    lifeline line;
    proc_child *child =
        start_ready(&line, KID("grandchild", "ignore", "TERM", "ignore", "HUP", "ready", "5", "hang", "--", "hang"),
                    (proc_options){.group = PROC_GROUP_SESSION});
    proc_status status;

    assert_int_equal(proc_child_stop(child, LATEST_MS, &status), 0);

    assert_killed(status, SIGTERM);
    lifeline_await_end(&line);
    proc_child_free(child);
}

static void stop_in_a_shared_group_takes_the_child_alone(void **state)
{
    (void)state;
    lifeline line;
    proc_child *child = start_ready(&line, KID("grandchild", "pid", "ready", "5", "hang", "--", "hang"),
                                    (proc_options){.out.kind = PROC_PIPE});
    char pid[32] = "";

    assert_true(proc_child_read(child, 1, pid, sizeof pid - 1, LATEST_MS) > 0);
    assert_int_equal(proc_child_stop(child, 50, NULL), 0);
    proc_child_free(child);

    assert_false(lifeline_has_end(&line));
    kill_stranger(pid);
    lifeline_await_end(&line);
}

static void stop_after_the_end_signals_nobody(void **state)
{
    (void)state;

    for (int reaped = 0; reaped <= 1; reaped++) {
        lifeline line;
        proc_child *child = start_ready(&line, KID("grandchild", "ready", "5", "hang", "--", "exit", "3"),
                                        (proc_options){.group = PROC_GROUP_OWN});
        pid_t pid = proc_child_pid(child);
        proc_status status;

        await_state(pid, "Z");
        if (reaped) {
            assert_int_equal(proc_child_wait(child, LATEST_MS, NULL), 0);
        }
        assert_int_equal(proc_child_stop(child, 0, &status), 0);
        assert_exited(status, 3);
        assert_false(status.forced);
        assert_int_equal(proc_child_stop(child, PROC_FOREVER, &status), 0);
        assert_exited(status, 3);
        proc_child_free(child);
        assert_false(lifeline_has_end(&line));
        assert_int_equal(kill(-pid, SIGKILL), 0);
        lifeline_await_end(&line);
    }
}

static void stop_takes_no_impossible_grace(void **state)
{
    (void)state;
    lifeline line;
    proc_child *child = start_ready(&line, KID("ready", "5", "hang"), (proc_options){0});

    assert_int_equal(proc_child_stop(child, -2, NULL), -EINVAL);
    assert_int_equal(proc_child_stop(NULL, 0, NULL), -EINVAL);
    assert_int_equal(proc_child_wait(child, 0, NULL), -ETIMEDOUT); /* it lives */

    proc_child_free(child);
    lifeline_await_end(&line);
}

static void *stop_for_ever(void *arg)
{
    static proc_status status;

    (void)proc_child_stop(arg, PROC_FOREVER, &status);
    return &status;
}

static void stop_without_end_sends_no_sigkill(void **state)
{
    (void)state;
    lifeline line;
    proc_child *child =
        start_ready(&line, KID("on", "TERM", "out", "no", "ready", "5", "hang"), (proc_options){.out.kind = PROC_PIPE});
    pthread_t thread;
    void *status;
    char said[8];

    assert_int_equal(pthread_create(&thread, NULL, stop_for_ever, child), 0);
    assert_int_equal(proc_child_read(child, 1, said, sizeof said, LATEST_MS), 2);
    let_pass(100);
    assert_true(is_alive(proc_child_pid(child)));
    assert_int_equal(proc_child_kill(child, SIGKILL), 0);
    pthread_join(thread, &status);

    assert_killed(*(proc_status *)status, SIGKILL);
    assert_false(((proc_status *)status)->forced); /* not by the library */
    proc_child_free(child);
    lifeline_await_end(&line);
}

/* ---- kill ---- */

static void kill_sends_what_it_is_told(void **state)
{
    (void)state;
    static const int signals[] = {SIGTERM, SIGKILL, SIGHUP, SIGUSR2, SIGALRM, SIGPIPE};

    for (size_t i = 0; i < COUNT(signals); i++) {
        lifeline line;
        proc_child *child = start_ready(&line, KID("ready", "5", "hang"), (proc_options){0});
        proc_status status;

        assert_int_equal(proc_child_kill(child, signals[i]), 0);
        assert_int_equal(proc_child_wait(child, LATEST_MS, &status), 0);
        assert_killed(status, signals[i]);
        assert_false(status.timed_out || status.forced);
        lifeline_await_end(&line);
        proc_child_free(child);
    }
}

static void kill_0_only_asks(void **state)
{
    (void)state;

    for (int group = PROC_GROUP_SHARED; group <= (int)PROC_GROUP_SESSION; group++) {
        lifeline line;
        proc_child *child = start_ready(&line, KID("ready", "5", "hang"), (proc_options){.group = (proc_group)group});

        assert_int_equal(proc_child_kill(child, 0), 0);
        assert_int_equal(proc_child_wait(child, 0, NULL), -ETIMEDOUT);
        assert_int_equal(proc_child_kill(child, SIGKILL), 0);
        assert_int_equal(proc_child_wait(child, LATEST_MS, NULL), 0);
        assert_int_equal(proc_child_kill(child, 0), -ESRCH);
        proc_child_free(child);
        lifeline_await_end(&line);
    }
}

static void kill_after_the_reap_reaches_nobody(void **state)
{
    (void)state;
    lifeline line;
    proc_child *child = start_ready(&line, KID("grandchild", "ready", "5", "hang", "--", "exit", "3"),
                                    (proc_options){.group = PROC_GROUP_OWN});
    pid_t pid = proc_child_pid(child);

    assert_int_equal(proc_child_wait(child, LATEST_MS, NULL), 0);
    assert_int_equal(proc_child_kill(child, SIGKILL), -ESRCH);
    assert_int_equal(proc_child_kill(child, SIGTERM), -ESRCH);
    assert_int_equal(proc_child_kill(child, 0), -ESRCH);

    assert_int_equal(proc_child_pid(child), pid);
    proc_child_free(child);
    assert_false(lifeline_has_end(&line));
    assert_int_equal(kill(-pid, SIGKILL), 0);
    lifeline_await_end(&line);
}

static void kill_takes_the_whole_of_an_own_group(void **state)
{
    (void)state;
    lifeline line;
    proc_child *child =
        start_ready(&line, KID("grandchild", "grandchild", "ready", "5", "hang", "--", "hang", "--", "hang"),
                    (proc_options){.group = PROC_GROUP_OWN});
    proc_status status;

    assert_int_equal(proc_child_kill(child, SIGTERM), 0);
    lifeline_await_end(&line);

    assert_int_equal(proc_child_wait(child, LATEST_MS, &status), 0);
    assert_killed(status, SIGTERM);
    proc_child_free(child);
}

static void kill_of_cat_ends_its_pipes(void **state)
{
    (void)state;
    proc_child *child =
        start_child(KID("cat"), OPTIONS(.in.kind = PROC_PIPE, .out.kind = PROC_PIPE, .err.kind = PROC_PIPE));
    char byte;

    assert_int_equal(proc_child_kill(child, SIGTERM), 0);

    assert_int_equal(proc_child_read(child, 1, &byte, 1, LATEST_MS), 0);
    assert_int_equal(proc_child_read(child, 2, &byte, 1, LATEST_MS), 0);
    outcome result = finish_child(child);
    assert_signaled(result, SIGTERM);
}

static void kill_refuses_what_is_no_signal(void **state)
{
    (void)state;
    static const int numbers[] = {-1, -9, 65, 1000, INT32_MAX, INT32_MIN};

    for (int group = PROC_GROUP_SHARED; group <= (int)PROC_GROUP_OWN; group++) {
        lifeline line;
        proc_child *child = start_ready(&line, KID("ready", "5", "hang"), (proc_options){.group = (proc_group)group});

        for (size_t i = 0; i < COUNT(numbers); i++) {
            assert_int_equal(proc_child_kill(child, numbers[i]), -EINVAL);
        }
        assert_int_equal(proc_child_wait(child, 0, NULL), -ETIMEDOUT);
        proc_child_free(child);
        lifeline_await_end(&line);
    }
    assert_int_equal(proc_child_kill(NULL, SIGTERM), -EINVAL);
}

/* ---- a child that is not where it was put ---- */

static void a_child_that_left_its_group_is_reached_all_the_same(void **state)
{
    (void)state;
    const char *ours = text("%ld", (long)getpgrp());

    for (int way = 0; way < 4; way++) {
        lifeline line;
        proc_child *child = start_ready(&line, KID("setpgid", ours, "ready", "5", "hang"),
                                        (proc_options){.group = PROC_GROUP_OWN, .timeout_ms = way == 3 ? 1 : 0});
        proc_status status = {0};

        assert_int_equal(proc_child_kill(child, 0), 0);
        if (way == 0) {
            assert_int_equal(proc_child_stop(child, LATEST_MS, &status), 0);
        } else if (way == 1) {
            assert_int_equal(proc_child_kill(child, SIGTERM), 0);
        }
        if (way != 2) {
            assert_int_equal(proc_child_wait(child, LATEST_MS, &status), 0);
            assert_killed(status, SIGTERM);
        }
        proc_child_free(child);
        lifeline_await_end(&line);
    }
}

static void those_whom_it_left_in_its_group_are_killed_with_it(void **state)
{
    (void)state;
    const char *ours = text("%ld", (long)getpgrp());

    for (int way = 0; way < 2; way++) {
        lifeline line;
        proc_child *child =
            start_ready(&line, KID("grandchild", "ignore", "TERM", "hang", "--", "setpgid", ours, "ready", "5", "hang"),
                        (proc_options){.group = PROC_GROUP_OWN});

        if (way == 0) {
            assert_int_equal(proc_child_stop(child, 50, NULL), 0);
        }
        proc_child_free(child);
        lifeline_await_end(&line);
    }
}

/* ---- free ---- */

static void free_kills_a_child_that_runs_at_once(void **state)
{
    (void)state;
    static const proc_group groups[] = {PROC_GROUP_SHARED, PROC_GROUP_OWN, PROC_GROUP_SESSION};

    for (size_t i = 0; i < COUNT(groups); i++) {
        lifeline line;
        proc_child *child = start_ready(&line, KID("ignore", "TERM", "ready", "5", "hang"),
                                        (proc_options){.group = groups[i], .grace_ms = PROC_FOREVER});

        proc_child_free(child);
        lifeline_await_end(&line);
    }
    proc_child_free(NULL);
}

static void free_kills_the_own_group_of_a_child_that_runs(void **state)
{
    (void)state;
    lifeline line;
    proc_child *child = start_ready(&line, KID("grandchild", "ignore", "TERM", "ready", "5", "hang", "--", "hang"),
                                    (proc_options){.group = PROC_GROUP_OWN});

    proc_child_free(child);
    lifeline_await_end(&line);
}

static void free_kills_a_child_that_stands_still(void **state)
{
    (void)state;
    lifeline line;
    proc_child *child = start_ready(&line, KID("ready", "5", "stop-self", "hang"), (proc_options){0});

    await_state(proc_child_pid(child), "T");
    proc_child_free(child);

    lifeline_await_end(&line);
}

static void free_of_a_child_that_ended_leaves_its_group_alone(void **state)
{
    (void)state;

    for (int waited = 0; waited <= 1; waited++) {
        lifeline line;
        proc_child *child = start_ready(&line, KID("grandchild", "ready", "5", "hang", "--", "exit", "3"),
                                        (proc_options){.group = PROC_GROUP_OWN});
        pid_t pid = proc_child_pid(child);

        if (waited) {
            assert_int_equal(proc_child_wait(child, LATEST_MS, NULL), 0);
        } else {
            await_state(pid, "Z");
        }
        proc_child_free(child);
        assert_int_equal(waitpid(pid, NULL, 0), -1); /* reaped */
        assert_false(lifeline_has_end(&line));
        assert_int_equal(kill(-pid, SIGKILL), 0);
        lifeline_await_end(&line);
    }
}

static void free_leaves_a_detached_child_running(void **state)
{
    (void)state;
    static const proc_group groups[] = {PROC_GROUP_SHARED, PROC_GROUP_SESSION};

    for (size_t i = 0; i < COUNT(groups); i++) {
        lifeline line;
        proc_child *child = start_ready(&line, KID("ready", "5", "readbyte", "0", "exit", "12"),
                                        (proc_options){.detached = true, .group = groups[i], .in.kind = PROC_PIPE});
        pid_t pid = proc_child_pid(child);
        int status;

        (void)proc_child_exit_fd(child); /* a watch must not hold it either */
        assert_int_equal(proc_child_wait(child, 0, NULL), -ETIMEDOUT);
        proc_child_free(child); /* closes its stdin, which lets it end */
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 12);
        lifeline_await_end(&line);
    }
}

static void free_reaps_a_detached_child_that_ended(void **state)
{
    (void)state;
    lifeline line;
    proc_child *child = start_ready(&line, KID("ready", "5", "exit", "1"), (proc_options){.detached = true});
    pid_t pid = proc_child_pid(child);

    await_state(pid, "Z");
    proc_child_free(child);

    assert_int_equal(waitpid(pid, NULL, 0), -1);
    assert_int_equal(errno, ECHILD);
    lifeline_await_end(&line);
}

static void free_closes_every_pipe(void **state)
{
    (void)state;
    const size_t before = count_open();
    proc_child *child =
        start_child(KID("hang"), OPTIONS(.in.kind = PROC_PIPE, .out.kind = PROC_PIPE, .err.kind = PROC_PIPE));

    assert_int_equal(proc_child_close(child, 1), 0);
    assert_true(proc_child_exit_fd(child) > 2);
    proc_child_free(child);

    assert_int_equal(count_open(), before);
}

static const struct CMUnitTest tests[] = {
    TEST(stop_asks_first),
    TEST(stop_kills_a_child_that_ignores_term),
    TEST(stop_kills_a_child_that_blocks_every_signal),
    TEST(stop_wakes_a_child_that_stands_still),
    TEST(stop_kills_what_is_left_of_the_group),
    TEST(stop_in_a_session_takes_its_group_too),
    TEST(stop_in_a_shared_group_takes_the_child_alone),
    TEST(stop_after_the_end_signals_nobody),
    TEST(stop_takes_no_impossible_grace),
    TEST(stop_without_end_sends_no_sigkill),
    TEST(kill_sends_what_it_is_told),
    TEST(kill_0_only_asks),
    TEST(kill_after_the_reap_reaches_nobody),
    TEST(kill_takes_the_whole_of_an_own_group),
    TEST(kill_of_cat_ends_its_pipes),
    TEST(kill_refuses_what_is_no_signal),
    TEST(a_child_that_left_its_group_is_reached_all_the_same),
    TEST(those_whom_it_left_in_its_group_are_killed_with_it),
    TEST(free_kills_a_child_that_runs_at_once),
    TEST(free_kills_the_own_group_of_a_child_that_runs),
    TEST(free_kills_a_child_that_stands_still),
    TEST(free_of_a_child_that_ended_leaves_its_group_alone),
    TEST(free_leaves_a_detached_child_running),
    TEST(free_reaps_a_detached_child_that_ended),
    TEST(free_closes_every_pipe),
};

HARNESS_MAIN(tests)
