/*
 * How a child ended and what is known of it: codes, signals, cores, time and usage; waiting in every way; the descriptor
 * that tells the end.
 */
#include "lifeline.h"

static proc_status status_of(const char *const argv[], const proc_options *options)
{
    proc_child *child = start_child(argv, options);
    proc_status status;

    assert_int_equal(proc_child_wait(child, LATEST_MS, &status), 0);
    proc_child_free(child);
    return status;
}

static const proc_limit no_core = {.resource = RLIMIT_CORE};
#define WITHOUT_CORE OPTIONS(.limits = &no_core, .limit_count = 1)

/* ---- codes and signals ---- */

static void each_of_the_256_exit_codes_is_exact(void **state)
{
    (void)state;
    int step = under_valgrind() ? 51 : 1;

    for (int code = 0; code < 256; code += step) {
        proc_status status = status_of(KID("exit", text("%d", code)), NULL);

        assert_exited(status, code);
        assert_int_equal(proc_status_ok(&status), code == 0);
    }
}

static void each_signal_that_kills_is_exact(void **state)
{
    (void)state;
    static const int spared[] = {SIGCHLD, SIGCONT, SIGURG, SIGWINCH}, stopping[] = {SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU};

    for (int signo = 1; signo <= SIGRTMAX; signo++) {
        bool survives = false, stops = signo > 31 && signo < SIGRTMIN; /* those are libc's own */
        proc_status status;

        for (size_t i = 0; i < COUNT(spared); i++) {
            survives = survives || signo == spared[i];
            stops = stops || signo == stopping[i];
        }
        if (stops) {
            continue;
        }
        status = status_of(KID("raise", text("%d", signo), "exit", "3"), WITHOUT_CORE);
        if (survives) {
            assert_exited(status, 3);
        } else {
            assert_killed(status, signo);
            assert_false(status.core_dumped);
        }
    }
}

static void a_shells_128_and_n_is_a_code_and_no_signal(void **state)
{
    (void)state;
    proc_status inner = status_of(ARGV("/bin/sh", "-c", "sh -c 'kill -9 $$'; exit $?"), NULL);
    proc_status own = status_of(ARGV("/bin/sh", "-c", "kill -15 $$"), NULL);

    assert_exited(inner, 128 + SIGKILL);
    assert_killed(own, SIGTERM);
}

/* Does this system write a core at all? A plain fork is asked, not the library. */
static bool core_is_dumped_by_a_plain_fork(const struct rlimit *limit)
{
    pid_t pid = fork();
    int status = 0;

    if (pid == 0) {
        if (setrlimit(RLIMIT_CORE, limit) == 0 && chdir(test_dir()) == 0) {
            execl(kid_path(), kid_path(), "abort", (char *)NULL);
        }
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) && WCOREDUMP(status);
}

static void a_core_dump_is_told(void **state)
{
    (void)state;
    struct rlimit limit;
    proc_limit large = {.resource = RLIMIT_CORE};
    proc_status status;

    assert_int_equal(getrlimit(RLIMIT_CORE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    large.soft = large.hard = limit.rlim_max == RLIM_INFINITY ? PROC_NO_LIMIT : limit.rlim_max;
    if (!core_is_dumped_by_a_plain_fork(&limit)) {
        SKIP("this system writes no core files");
    }
    status = status_of(KID("abort"), OPTIONS(.cwd = test_dir(), .limits = &large, .limit_count = 1));

    assert_killed(status, SIGABRT);
    assert_true(status.core_dumped);
}

/* ---- time and usage ---- */

static void usage_and_time_are_those_of_the_child(void **state)
{
    (void)state;
    int64_t begin = now_ms();
    proc_status status = status_of(KID("burn", "100", "alloc", "33554432"), NULL);
    int64_t used = status.usage.user_ns + status.usage.system_ns, elapsed = now_ms() - begin + 1;

    assert_exited(status, 0);
    assert_in_range(used / MILLION, 90, elapsed);
    assert_in_range(status.wall_ns / MILLION, 90, elapsed);
    assert_in_range(status.usage.max_rss, 32 * 1024 * 1024, INT64_C(1) << 40);
    assert_true(status.usage.minor_faults > 1000);
    assert_true(status.usage.major_faults >= 0);
    assert_true(status.usage.voluntary_switches >= 0 && status.usage.involuntary_switches >= 0);
}

static void usage_has_what_the_child_waited_for(void **state)
{
    (void)state;
    proc_status with = status_of(KID("grandchild", "burn", "80", "--", "reap"), NULL);
    proc_result result;

    assert_int_equal(run_file(&result, KID("burn", "80"), NULL), 0);

    assert_true(with.usage.user_ns + with.usage.system_ns >= 70 * (int64_t)MILLION);
    assert_true(result.status.usage.user_ns + result.status.usage.system_ns >= 70 * (int64_t)MILLION);
}

static void a_sleeping_child_uses_time_but_no_processor(void **state)
{
    (void)state;
    proc_status status = status_of(KID("sleep", "200"), NULL);

    assert_true(status.wall_ns >= 200 * (int64_t)MILLION);
    assert_true(status.usage.user_ns + status.usage.system_ns < 200 * (int64_t)MILLION);
}

static void nothing_is_known_of_a_child_that_runs(void **state)
{
    (void)state;
    lifeline line = lifeline_make();
    proc_child *child = start_child(KID("burn", "20", "ready", "5", "hang"), OPTIONS(HOLDS(line)));
    proc_status status;

    lifeline_await_ready(&line);
    memset(&status, 0x55, sizeof status);
    assert_int_equal(proc_child_wait(child, 0, &status), -ETIMEDOUT);

    assert_memory_equal(&status, (&(proc_status){.state = PROC_RUNNING, .code = -1}), sizeof status);
    assert_false(proc_status_ok(&status));
    proc_child_free(child);
    lifeline_await_end(&line);
}

/* ---- waiting ---- */

static void wait_says_the_same_again_and_again(void **state)
{
    (void)state;
    static const int times[] = {0, 1, 50, INT32_MAX, PROC_FOREVER};
    proc_child *child = start_child(KID("exit", "8"), NULL);
    proc_status first, again;

    assert_int_equal(proc_child_wait(child, PROC_FOREVER, &first), 0);
    for (size_t i = 0; i < COUNT(times); i++) {
        memset(&again, 0x55, sizeof again);
        assert_int_equal(proc_child_wait(child, times[i], &again), 0);
        assert_memory_equal(&again, &first, sizeof first);
    }

    assert_int_equal(proc_child_wait(child, 0, NULL), 0);
    assert_exited(first, 8);
    proc_child_free(child);
}

static void wait_gives_up_in_time_and_not_before(void **state)
{
    (void)state;
    static const int times[] = {0, 1, 20, 100};
    proc_child *child = start_child(KID("hang"), NULL);

    for (size_t i = 0; i < COUNT(times); i++) {
        int64_t begin = now_ms();
        proc_status status;

        assert_int_equal(proc_child_wait(child, times[i], &status), -ETIMEDOUT);
        assert_in_range(now_ms() - begin + 1, times[i], LATEST_MS);
        assert_int_equal(status.state, PROC_RUNNING);
        assert_int_equal(status.code, -1);
    }

    proc_child_free(child);
}

static void wait_takes_any_time_there_is(void **state)
{
    (void)state;
    static const int times[] = {INT32_MAX, PROC_FOREVER, LATEST_MS};

    for (size_t i = 0; i < COUNT(times); i++) {
        proc_child *child = start_child(KID("sleep", "20", "exit", "2"), NULL);
        proc_status status;

        assert_int_equal(proc_child_wait(child, times[i], &status), 0);
        assert_exited(status, 2);
        proc_child_free(child);
    }
}

static void wait_refuses_what_is_no_time(void **state)
{
    (void)state;
    proc_child *child = start_child(KID("exit", "2"), NULL);
    proc_status status;

    assert_int_equal(proc_child_wait(child, -2, &status), -EINVAL);
    assert_int_equal(proc_child_wait(child, INT32_MIN, NULL), -EINVAL);
    assert_int_equal(proc_child_wait(NULL, 0, &status), -EINVAL);
    assert_int_equal(proc_child_wait(child, LATEST_MS, &status), 0);

    assert_exited(status, 2);
    assert_int_equal(proc_child_wait(child, -2, &status), -EINVAL);
    proc_child_free(child);
}

static void wait_costs_no_processor_time(void **state)
{
    (void)state;
    int64_t cpu = own_cpu_ms();
    proc_status status = status_of(KID("closefd", "0", "closefd", "1", "closefd", "2", "sleep", "300"),
                                   OPTIONS(.timeout_ms = LATEST_MS));

    assert_exited(status, 0);
    assert_true(own_cpu_ms() - cpu < 150);
}

static void a_child_that_ended_before_anybody_looked_is_seen(void **state)
{
    (void)state;
    proc_child *child = start_child(KID("out", "x", "exit", "5"), OPTIONS(.out.kind = PROC_PIPE));
    proc_child *second = start_child(KID("exit", "6"), NULL);
    proc_status status;
    char byte;

    await_state(proc_child_pid(child), "Z");
    await_state(proc_child_pid(second), "Z");
    assert_int_equal(proc_child_wait(second, 0, &status), 0);
    assert_exited(status, 6);
    assert_int_equal(proc_child_read(child, 1, &byte, 1, 0), 1);
    assert_int_equal(proc_child_read(child, 1, &byte, 1, 0), 0);
    assert_int_equal(proc_child_wait(child, PROC_FOREVER, &status), 0);

    assert_exited(status, 5);
    proc_child_free(child);
    proc_child_free(second);
}

/* ---- the end of the child and the end of its pipes ---- */

static void a_child_that_closes_its_output_and_runs_on_is_waited_for_without_spinning(void **state)
{
    (void)state;
    int64_t cpu = own_cpu_ms();
    proc_result result;

    assert_int_equal(
        run_file(&result, KID("out", "x", "closefd", "1", "closefd", "2", "sleep", "400", "exit", "4"), NULL), 0);

    assert_exited(result.status, 4);
    assert_string_equal(result.out, "x");
    assert_true(result.status.wall_ns >= 400 * (int64_t)MILLION);
    assert_true(own_cpu_ms() - cpu < 200);
}

static void pipes_that_stay_open_after_the_end_are_drained_without_spinning(void **state)
{
    (void)state;
    int64_t cpu = own_cpu_ms();
    proc_result result;

    assert_int_equal(run_file(&result, KID("grandchild", "sleep", "400", "out", "late", "--", "exit", "4"),
                              OPTIONS(.drain_ms = LATEST_MS, .timeout_ms = LATEST_MS)),
                     0);

    assert_string_equal(result.out, "late");
    assert_true(own_cpu_ms() - cpu < 200);
}

static void a_wait_does_not_care_about_pipes(void **state)
{
    (void)state;
    lifeline line = lifeline_make();
    proc_child *child = start_child(KID("grandchild", "pid", "ready", "5", "hang", "--", "exit", "4"),
                                    OPTIONS(.out.kind = PROC_PIPE, HOLDS(line)));
    char pid[32] = "";
    proc_status status;

    lifeline_await_ready(&line);
    assert_int_equal(proc_child_wait(child, PROC_FOREVER, &status), 0);
    assert_exited(status, 4);
    assert_true(proc_child_read(child, 1, pid, sizeof pid - 1, LATEST_MS) > 0);
    assert_int_equal(proc_child_read(child, 1, pid + 20, 1, 1), -ETIMEDOUT); /* exit is not close */
    kill_stranger(pid);

    assert_int_equal(proc_child_read(child, 1, pid + 20, 1, LATEST_MS), 0);
    proc_child_free(child);
    lifeline_await_end(&line);
}

/* ---- the descriptor ---- */

static int poll_once(int fd, int timeout_ms)
{
    struct pollfd one = {.fd = fd, .events = POLLIN};
    int ready = poll(&one, 1, timeout_ms);

    assert_int_equal(one.revents & POLLNVAL, 0);
    return ready;
}

static void the_exit_descriptor_is_readable_from_the_end_on(void **state)
{
    (void)state;
    lifeline line = lifeline_make();
    proc_child *child =
        start_child(KID("ready", "5", "readbyte", "0", "exit", "5"), OPTIONS(.in.kind = PROC_PIPE, HOLDS(line)));
    int fd = proc_child_exit_fd(child);
    proc_status status;

    assert_true(fd > 2);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    lifeline_await_ready(&line);
    assert_int_equal(poll_once(fd, 0), 0);
    assert_int_equal(proc_child_exit_fd(child), fd);
    assert_int_equal(proc_child_close(child, 0), 0);
    assert_int_equal(poll_once(fd, LATEST_MS), 1);
    assert_int_equal(poll_once(fd, 0), 1);
    assert_int_equal(proc_child_wait(child, 0, &status), 0);

    assert_exited(status, 5);
    assert_int_equal(proc_child_exit_fd(child), fd);
    assert_int_equal(poll_once(fd, 0), 1);
    proc_child_free(child);
    lifeline_await_end(&line);
}

static void the_exit_descriptor_may_be_asked_for_at_any_time(void **state)
{
    (void)state;
    proc_child *ended = start_child(KID("exit", "5"), NULL), *reaped = start_child(KID("exit", "5"), NULL);

    await_state(proc_child_pid(ended), "Z");
    assert_int_equal(proc_child_wait(reaped, LATEST_MS, NULL), 0);

    assert_int_equal(poll_once(proc_child_exit_fd(ended), LATEST_MS), 1);
    assert_int_equal(poll_once(proc_child_exit_fd(reaped), LATEST_MS), 1);
    proc_child_free(ended);
    proc_child_free(reaped);
    assert_int_equal(proc_child_exit_fd(NULL), -EINVAL);
}

static void many_children_may_be_polled_at_once(void **state)
{
    (void)state;
    enum { CHILDREN = 12 };
    proc_child *children[CHILDREN];
    int left = CHILDREN;

    for (int i = 0; i < CHILDREN; i++) {
        children[i] = start_child(KID("sleep", text("%d", i * 7 % CHILDREN * 5), "exit", text("%d", i)), NULL);
    }
    while (left > 0) {
        struct pollfd fds[CHILDREN];

        for (int i = 0; i < CHILDREN; i++) {
            fds[i] =
                (struct pollfd){.fd = children[i] == NULL ? -1 : proc_child_exit_fd(children[i]), .events = POLLIN};
        }
        assert_true(poll(fds, CHILDREN, LATEST_MS) > 0);
        for (int i = 0; i < CHILDREN; i++) {
            proc_status status;

            if (fds[i].revents != 0) {
                assert_int_equal(proc_child_wait(children[i], 0, &status), 0);
                assert_exited(status, i);
                proc_child_free(children[i]);
                children[i] = NULL;
                left--;
            }
        }
    }
}

static const struct CMUnitTest tests[] = {
    TEST(each_of_the_256_exit_codes_is_exact),
    TEST(each_signal_that_kills_is_exact),
    TEST(a_shells_128_and_n_is_a_code_and_no_signal),
    TEST(a_core_dump_is_told),
    TEST(usage_and_time_are_those_of_the_child),
    TEST(usage_has_what_the_child_waited_for),
    TEST(a_sleeping_child_uses_time_but_no_processor),
    TEST(nothing_is_known_of_a_child_that_runs),
    TEST(wait_says_the_same_again_and_again),
    TEST(wait_gives_up_in_time_and_not_before),
    TEST(wait_takes_any_time_there_is),
    TEST(wait_refuses_what_is_no_time),
    TEST(wait_costs_no_processor_time),
    TEST(a_child_that_ended_before_anybody_looked_is_seen),
    TEST(a_child_that_closes_its_output_and_runs_on_is_waited_for_without_spinning),
    TEST(pipes_that_stay_open_after_the_end_are_drained_without_spinning),
    TEST(a_wait_does_not_care_about_pipes),
    TEST(the_exit_descriptor_is_readable_from_the_end_on),
    TEST(the_exit_descriptor_may_be_asked_for_at_any_time),
    TEST(many_children_may_be_polled_at_once),
};

HARNESS_MAIN(tests)
