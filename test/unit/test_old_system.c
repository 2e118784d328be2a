/*
 * A kernel that lacks the newer calls, or a filter in front of it that refuses them (with ENOSYS or, as some do, EPERM):
 * the same children, the same ends, the same reasons.
 */
#include "harness.h"

#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "filter.h"

#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif

enum { MOST_REFUSALS = 8, WAIT_BY_PIDFD = 3 };

typedef struct old_system {
    refusal refusals[MOST_REFUSALS];
    size_t count;
} old_system;

static void a_child_is_started_fed_read_and_waited_for(void)
{
    proc_child *child = start_child(KID("cat", "err", "done", "exit", "3"),
                                    OPTIONS(.in.kind = PROC_PIPE, .out.kind = PROC_PIPE, .err.kind = PROC_PIPE));
    proc_status status;

    assert_int_equal(proc_child_write(child, "hello", 5, PROC_FOREVER), 5);
    assert_int_equal(proc_child_close(child, 0), 0);
    assert_string_equal(read_stream(child, 1, NULL), "hello");
    assert_string_equal(read_stream(child, 2, NULL), "done");
    assert_int_equal(proc_child_wait(child, PROC_FOREVER, &status), 0);
    assert_int_equal(status.state, PROC_EXITED);
    assert_int_equal(status.code, 3);
    assert_int_equal(proc_child_kill(child, SIGTERM), -ESRCH);
    proc_child_free(child);
}

static void strangers_are_closed_in_the_child(void)
{
    int strangers[100];

    for (size_t i = 0; i < COUNT(strangers); i++) {
        strangers[i] = fcntl(1, F_DUPFD, 3 + 2 * (int)i);
    }
    outcome result =
        run_child(KID("fds-below", "512"), OPTIONS(.fds = &(proc_fd_map){.child = 50, .parent = 0}, .fd_count = 1));

    assert_ended(result, 0);
    assert_int_equal(count_fds(result.out), 4);
    for (size_t i = 0; i < COUNT(strangers); i++) {
        close(strangers[i]);
    }
}

static void a_child_that_hangs_is_timed_out_killed_and_stopped(void)
{
    proc_child *child = start_child(KID("out", "r", "hang"), OPTIONS(.out.kind = PROC_PIPE));
    proc_status status;

    await_byte(proc_child_fd(child, 1));
    assert_int_equal(proc_child_wait(child, 20, &status), -ETIMEDOUT);
    assert_int_equal(status.state, PROC_RUNNING);
    assert_int_equal(proc_child_kill(child, 0), 0);
    assert_int_equal(proc_child_stop(child, PROC_FOREVER, &status), 0);
    assert_int_equal(status.state, PROC_SIGNALED);
    assert_int_equal(status.signal, SIGTERM);
    proc_child_free(child);

    child = start_child(KID("hang"), OPTIONS(.group = PROC_GROUP_OWN));
    assert_true(proc_child_exit_fd(child) >= 0);
    proc_child_free(child); /* kills it */
}

static void failed_starts_say_why(void)
{
    outcome missing = run_child(ARGV("/nonexistent/program"), OPTIONS(.in.kind = PROC_PIPE));
    outcome nowhere = run_child(KID("out", "ran"), OPTIONS(.cwd = "/nonexistent"));

    assert_refused(missing, -ENOENT, PROC_STEP_EXEC, "/nonexistent/program");
    assert_refused(nowhere, -ENOENT, PROC_STEP_CHDIR, "/nonexistent");
}

static void live_on_an_old_system(void *arg)
{
    const old_system *system = arg;
    picture *before = picture_take();

    filter_install(system->refusals, system->count);
    for (int round = 0; round < 2; round++) { /* the second time it is known */
        a_child_is_started_fed_read_and_waited_for();
        strangers_are_closed_in_the_child();
        a_child_that_hangs_is_timed_out_killed_and_stopped();
        failed_starts_say_why();
    }
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(picture_compare(before), 0);
}

static void try_with_each_reason(const refusal *refusals, size_t count)
{
    static const int reasons[] = {ENOSYS, EPERM};

    if (!filter_works()) {
        SKIP("no seccomp filter can be had here");
    }
    for (size_t r = 0; r < COUNT(reasons); r++) {
        old_system system = {.count = count};

        for (size_t i = 0; i < count; i++) {
            system.refusals[i] = refusals[i];
            system.refusals[i].err = refusals[i].err == 0 ? reasons[r] : refusals[i].err;
        }
        in_copy(live_on_an_old_system, &system);
    }
}

static void without_close_range(void **state)
{
    (void)state;
    const refusal refusals[] = {{.call = SYS_close_range}};

    try_with_each_reason(refusals, COUNT(refusals));
}

static void without_descriptors_of_processes(void **state)
{
    (void)state;
    const refusal refusals[] = {{.call = SYS_pidfd_open},
                                {.call = SYS_pidfd_send_signal},
                                {.call = SYS_clone, .mask = CLONE_VFORK, .bits = CLONE_VFORK}};

    try_with_each_reason(refusals, COUNT(refusals));
}

/* Linux 5.2 and 5.3 had such a descriptor, and no wait for it. */
static void without_signals_and_waits_through_them(void **state)
{
    (void)state;
    const refusal refusals[] = {{.call = SYS_pidfd_send_signal},
                                {.call = SYS_waitid, .mask = 0xff, .bits = WAIT_BY_PIDFD, .err = EINVAL}};

    try_with_each_reason(refusals, COUNT(refusals));
}

static void without_a_child_in_the_parents_memory(void **state)
{
    (void)state;
    const refusal refusals[] = {{.call = SYS_clone, .mask = CLONE_VFORK, .bits = CLONE_VFORK}};

    try_with_each_reason(refusals, COUNT(refusals));
}

static void without_any_of_them(void **state)
{
    (void)state;
    NOT_UNDER_VALGRIND();
    const refusal refusals[] = {{.call = SYS_close_range},
                                {.call = SYS_pidfd_open},
                                {.call = SYS_pidfd_send_signal},
                                {.call = SYS_clone, .mask = CLONE_VFORK, .bits = CLONE_VFORK}};

    try_with_each_reason(refusals, COUNT(refusals));
}

/* ---- not even /proc ---- */

static void close_strangers_without_a_list(void *arg)
{
    const refusal refusals[] = {{.call = SYS_close_range, .err = ENOSYS}, {.call = SYS_getdents64, .err = ENOSYS}};

    (void)arg;
    setrlimit(RLIMIT_NOFILE, &(struct rlimit){.rlim_cur = 512, .rlim_max = 512});
    filter_install(refusals, COUNT(refusals));
    strangers_are_closed_in_the_child();
}

static void without_a_list_of_descriptors_each_number_is_closed(void **state)
{
    (void)state;

    if (!filter_works()) {
        SKIP("no seccomp filter can be had here");
    }
    in_copy(close_strangers_without_a_list, NULL);
}

/* ---- one that marks no descriptor ---- */

static int count_open_by_fstat(void) /* the other way asks fcntl */
{
    struct stat st;
    int count = 0;

    for (int fd = 0; fd < 512; fd++) {
        count += fstat(fd, &st) == 0;
    }
    return count;
}

static void start_with_pipes_that_cannot_be_marked(void *arg)
{
    const refusal refusals[] = {
        {.call = SYS_fcntl, .err = EPERM},
#ifdef SYS_fcntl64
        {.call = SYS_fcntl64, .err = EPERM},
#endif
    };
    proc_child *child;
    proc_error error;
    int open_before = count_open_by_fstat();

    (void)arg;
    filter_install(refusals, COUNT(refusals));
    assert_int_equal(proc_spawn(&child, KID("exit", "0"), OPTIONS(.out.kind = PROC_PIPE, .error = &error)), -EPERM);
    assert_null(child);
    assert_int_equal(error.step, PROC_STEP_PIPE);
    assert_int_equal(count_open_by_fstat(), open_before);
}

static void a_pipe_that_cannot_be_marked_is_given_back(void **state)
{
    (void)state;

    if (!POSIX_BUILD) {
        SKIP("pipes are marked from birth here");
    }
    if (!filter_works()) {
        SKIP("no seccomp filter can be had here");
    }
    in_copy(start_with_pipes_that_cannot_be_marked, NULL);
}

static const struct CMUnitTest tests[] = {
    TEST(without_close_range),
    TEST(without_descriptors_of_processes),
    TEST(without_signals_and_waits_through_them),
    TEST(without_a_child_in_the_parents_memory),
    TEST(without_any_of_them),
    TEST(without_a_list_of_descriptors_each_number_is_closed),
    TEST(a_pipe_that_cannot_be_marked_is_given_back),
};

HARNESS_MAIN(tests)
