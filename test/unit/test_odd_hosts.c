/*
 * Hosts that do what few do: live in a sandbox, fork copies of themselves at the wrong moment, start what they may not
 * signal, free a child in the middle of a sentence.
 */
#include "harness.h"

#include <pthread.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "capture.h"
#include "filter.h"
#include "os/exitwatch.h"
#include "os/launch.h"

enum { LATEST_MS = 50000 };

/* Nothing but itself keeps it: with the write end gone, it ends. */
static proc_child *start_waiting(int *release)
{
    int ends[2];

    make_pipe(ends);
    proc_child *child =
        start_child(KID("readbyte", "5"), OPTIONS(.fds = &(proc_fd_map){.child = 5, .parent = ends[0]}, .fd_count = 1));
    close(ends[0]);
    *release = ends[1];
    return child;
}

static void free_kills_before_the_child_sees_an_end_of_its_input(void **state)
{
    (void)state;
    const char *traces = test_path("traces");
    char *half = text("echo r\n: > %s", traces);

    for (int i = 0; i < 300; i++) {
        char byte;
        proc_child *child = start_child(ARGV("sh"), OPTIONS(.in.kind = PROC_PIPE, .out.kind = PROC_PIPE));
        assert_int_equal(proc_child_write(child, half, strlen(half), PROC_FOREVER), strlen(half));
        assert_int_equal(proc_child_read(child, 1, &byte, 1, LATEST_MS), 1);

        proc_child_free(child);

        assert_int_equal(access(traces, F_OK), -1);
    }
}

static void a_capture_near_its_limit_is_still_read_in_large_pieces(void **state)
{
    (void)state;
    const size_t limits[] = {10, 16383, 16384, 65535, 65536, 65537, 1048575, 1048576};

    for (size_t i = 0; i < COUNT(limits); i++) {
        capture c;
        capture_init(&c, PROC_OVERFLOW_HEAD, limits[i]);
        for (size_t total = 0; total < 2 * limits[i] + 100000; total += 4000) {
            char *at;
            size_t room;

            assert_int_equal(capture_space(&c, &at, &room), 0);

            assert_true(room >= 4096);
            memset(at, 'x', 4000);
            capture_add(&c, 4000);
        }
        assert_int_equal(c.size, limits[i]);
        capture_free(&c);
    }
}

static void a_copy_of_the_host_does_not_hide_the_end(void **state)
{
    (void)state;
    use_exitwatch(EXITWATCH_THREAD);
    int release, ends[2];
    proc_status status;
    proc_child *child = start_waiting(&release);
    make_pipe(ends);
    assert_true(proc_child_exit_fd(child) >= 0); /* the watch is there before the copy */
    pid_t copy = fork();
    if (copy == 0) {
        char byte;
        close(ends[1]);
        close(release);
        _exit(read(ends[0], &byte, 1) == 0 ? 0 : 1);
    }
    assert_true(copy > 0);

    close(release);

    assert_int_equal(proc_child_wait(child, LATEST_MS, &status), 0);
    assert_int_equal(status.code, 0);
    proc_child_free(child);
    close(ends[0]);
    close(ends[1]);
    assert_int_equal(waitpid(copy, NULL, 0), copy);
}

static void *fork_copies(void *arg)
{
    int *ends = arg;
    for (int i = 0; i < 20; i++) {
        pid_t copy = fork();
        if (copy == 0) { /* lives until the test is over, with a copy of all that was open */
            char byte;
            close(ends[1]);
            _exit(read(ends[0], &byte, 1) == 0 ? 0 : 1);
        }
    }
    return NULL;
}

/* As POSIX_ONLY starts everything, and any build what changes its user. */
static void a_copy_made_during_a_start_does_not_hold_it_up(void **state)
{
    (void)state;
    use_launcher(LAUNCH_FORK);
    int ends[2];
    pthread_t forker;
    make_pipe(ends);
    assert_int_equal(pthread_create(&forker, NULL, fork_copies, ends), 0);

    for (int i = 0; i < 20; i++) {
        const proc_options *quiet = OPTIONS(.out.kind = PROC_NULL, .err.kind = PROC_NULL);
        outcome ran = run_child(KID("exit", "7"), quiet);
        outcome failed = run_child(ARGV("/nonexistent/program"), quiet);

        assert_ended(ran, 7);
        assert_refused(failed, -ENOENT, PROC_STEP_EXEC, "/nonexistent/program");
    }

    assert_int_equal(pthread_join(forker, NULL), 0);
    close(ends[1]);
    close(ends[0]);
    while (waitpid(-1, NULL, 0) > 0) {
    }
}

/* ---- behind a filter ---- */

static void wait_without_waitid(void *arg)
{
    (void)arg;
    int release;
    proc_status status;
    const refusal refusals[] = {{.call = SYS_waitid, .err = ENOSYS}};
    filter_install(refusals, COUNT(refusals));
    proc_child *child = start_waiting(&release);

    assert_int_equal(proc_child_wait(child, 20, &status), -ETIMEDOUT);
    close(release);

    assert_int_equal(proc_child_wait(child, LATEST_MS, &status), 0);
    assert_int_equal(status.state, PROC_EXITED);
    assert_int_equal(status.code, 0);
    proc_child_free(child);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static void a_filter_that_refuses_waitid_costs_no_status(void **state)
{
    (void)state;
    if (POSIX_BUILD || getenv("PROC_TEST_EXITWATCH") != NULL) {
        SKIP("without a descriptor for the process there is only waitid");
    }
    if (!filter_works()) {
        SKIP("no seccomp filter can be had here");
    }
    in_copy(wait_without_waitid, NULL);
}

static void run_without_prctl(void *arg)
{
    (void)arg;
    proc_error error;
    proc_result result;
    proc_child *child;
    const refusal refusals[] = {{.call = SYS_prctl, .err = EPERM}};
    filter_install(refusals, COUNT(refusals));

    int by_itself = proc_execfile(&result, KID("out", "ran"), NULL);
    int asked = proc_spawn(&child, KID("exit", "0"), OPTIONS(.die_with_parent = true, .error = &error));

    assert_int_equal(by_itself, 0);
    assert_string_equal(result.out, "ran");
    proc_result_clear(&result);
    assert_int_equal(asked, -EPERM);
    assert_int_equal(error.step, PROC_STEP_PARENT);
}

static void what_exec_asks_for_by_itself_may_be_refused(void **state)
{
    (void)state;
    if (POSIX_BUILD) {
        SKIP("plain POSIX cannot tie a child to its parent");
    }
    if (!filter_works()) {
        SKIP("no seccomp filter can be had here");
    }
    in_copy(run_without_prctl, NULL);
}

/* ---- without descriptors, without rights ---- */

static void wait_with_no_descriptors_left(void *arg)
{
    (void)arg;
    int release;
    proc_status status;
    const struct rlimit none = {.rlim_cur = 0, .rlim_max = 0};
    proc_child *child = start_waiting(&release);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);

    assert_int_equal(proc_child_wait(child, 20, &status), -ETIMEDOUT);
    close(release);

    assert_int_equal(proc_child_wait(child, LATEST_MS, &status), 0);
    assert_int_equal(status.code, 0);
    proc_child_free(child);
}

static void a_sandbox_without_descriptors_can_wait(void **state)
{
    (void)state;
    in_copy(wait_with_no_descriptors_left, NULL);
}

static void start_what_may_not_be_signalled(void *arg)
{
    const char *program = arg;
    int ends[2], ready[2];
    proc_status status;
    make_pipe(ends);
    make_pipe(ready);
    const proc_fd_map maps[] = {{.child = 5, .parent = ends[0]}, {.child = 6, .parent = ready[1]}};
    assert_int_equal(setgid(65534), 0);
    assert_int_equal(setuid(65534), 0);
    proc_child *child = start_child(ARGV(program, "regain", "ready", "6", "readbyte", "5"),
                                    OPTIONS(.out.kind = PROC_NULL, .fds = maps, .fd_count = 2));
    pid_t pid = proc_child_pid(child);
    await_byte(ready[0]);

    assert_int_equal(proc_child_kill(child, SIGTERM), -EPERM);
    assert_int_equal(proc_child_stop(child, 10, &status), -EPERM);
    assert_int_equal(proc_child_stop(child, 0, &status), -EPERM);
    assert_int_equal(status.state, PROC_RUNNING);
    proc_child_free(child); /* comes back */

    assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
    proc_result result;
    assert_int_equal(proc_execfile(&result, ARGV(program, "regain", "ready", "6", "readbyte", "5"),
                                   OPTIONS(.fds = maps, .fd_count = 2, .cancel_fd = ready[0], .grace_ms = 10)),
                     -ECANCELED); /* once it is out of reach, and not before */
    assert_int_equal(result.status.state, PROC_RUNNING);
    proc_result_clear(&result);
    close(ends[0]);
    close(ends[1]);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    while (waitpid(-1, NULL, 0) > 0) {
    }
}

static void a_child_that_may_not_be_signalled_holds_nobody_up(void **state)
{
    (void)state;
    if (!is_root()) {
        SKIP("only root can make a set-user-ID program of another user");
    }
    const char *program = test_path("privileged");
    copy_file(kid_path(), program, 0755);
    assert_int_equal(chmod(program, 04755), 0);

    in_copy(start_what_may_not_be_signalled, (void *)(uintptr_t)program);
}

/* ---- options and terminals ---- */

static void options_that_are_refused_leave_files_alone(void **state)
{
    (void)state;
    const char *precious = test_path("precious");
    write_file(precious, "content", 0600);
    const proc_fd_map twice[] = {{.child = 5, .parent = 1}, {.child = 5, .parent = 1}};

    outcome refused = run_child(
        KID("fds"), OPTIONS(.out = {.kind = PROC_FILE, .path = precious}, .fds = twice, .fd_count = COUNT(twice)));

    assert_refused(refused, -EINVAL, PROC_STEP_OPTIONS, "fds[1]");
    assert_string_equal(read_file(precious), "content");
}

static void input_that_nobody_would_get_is_refused(void **state)
{
    (void)state;
    proc_result result;
    const proc_fd_map map = {.child = 0, .parent = 1};

    int err = proc_execfile(&result, KID("cat"), OPTIONS(.input = "x", .input_size = 1, .fds = &map, .fd_count = 1));

    assert_int_equal(err, -EINVAL);
    proc_result_clear(&result);
}

static void a_terminal_for_input_alone_is_kept_empty(void **state)
{
    (void)state;
    proc_result result;

    int err = proc_exec(&result, "head -c 200000 /dev/zero > /dev/tty; echo done",
                        OPTIONS(.in.kind = PROC_PTY, .timeout_ms = LATEST_MS));

    assert_int_equal(err, 0);
    assert_string_equal(result.out, "done\n");
    proc_result_clear(&result);
}

static void an_endless_grace_does_not_wait_for_those_who_escaped(void **state)
{
    (void)state;
    int ends[2];
    bool escaped = false;
    make_pipe(ends);
    const proc_fd_map map = {.child = 5, .parent = ends[0]};

    for (int timeout_ms = 200; !escaped && timeout_ms < 20000; timeout_ms *= 4) { /* a start may be slow */
        proc_result result;

        int err =
            proc_execfile(&result, KID("setsid-grandchild", "out", "x", "readbyte", "5", "--", "sleep", "100"),
                          OPTIONS(.fds = &map, .fd_count = 1, .timeout_ms = timeout_ms, .grace_ms = PROC_FOREVER));

        escaped = result.out_size > 0;
        assert_int_equal(err, -ETIMEDOUT);
        assert_true(result.incomplete || !escaped);
        proc_result_clear(&result);
    }
    assert_true(escaped);
    close(ends[0]);
    close(ends[1]);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(free_kills_before_the_child_sees_an_end_of_its_input),
        TEST(a_capture_near_its_limit_is_still_read_in_large_pieces),
        TEST(a_copy_of_the_host_does_not_hide_the_end),
        TEST(a_copy_made_during_a_start_does_not_hold_it_up),
        TEST(options_that_are_refused_leave_files_alone),
        TEST(input_that_nobody_would_get_is_refused),
        TEST(a_terminal_for_input_alone_is_kept_empty),
        TEST(an_endless_grace_does_not_wait_for_those_who_escaped),
        TEST(a_filter_that_refuses_waitid_costs_no_status),
        TEST(what_exec_asks_for_by_itself_may_be_refused),
        TEST(a_sandbox_without_descriptors_can_wait),
        TEST(a_child_that_may_not_be_signalled_holds_nobody_up),
    };

    return harness_main(argc, argv, tests, COUNT(tests));
}
