/*
 * A process ID that is given out again at once, to somebody else: who held the old one does that one no harm. In a new
 * namespace of processes, where the next number can be chosen.
 */
#include "lifeline.h"

#include <sched.h>

/* A process that does nothing, under that number; or -1: somebody else has it. */
static pid_t start_stranger(pid_t number)
{
    char line[16];
    int fd = open("/proc/sys/kernel/ns_last_pid", O_WRONLY | O_CLOEXEC);
    int size = snprintf(line, sizeof line, "%ld", (long)number - 1);
    bool chosen = fd >= 0 && write(fd, line, (size_t)size) == size;
    pid_t pid;

    if (fd >= 0) {
        close(fd);
    }
    pid = chosen ? fork() : -1;
    if (pid == 0) {
        (void)setpgid(0, 0); /* where the old one had a group, this has one now */
        for (;;) {
            pause();
        }
    }
    if (pid > 0 && pid != number) {
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        pid = -1;
    }
    return pid;
}

static void expect_unharmed(pid_t stranger)
{
    int status;

    assert_int_equal(waitpid(stranger, &status, WNOHANG), 0);
    assert_int_equal(kill(stranger, SIGKILL), 0);
    assert_int_equal(waitpid(stranger, &status, 0), stranger);
}

static void hold_a_child_that_was_reaped(proc_group group)
{
    proc_child *child = start_child(KID("exit", "3"), OPTIONS(.group = group, .timeout_ms = LATEST_MS));
    pid_t pid = proc_child_pid(child);
    proc_status status;

    assert_int_equal(proc_child_wait(child, LATEST_MS, NULL), 0);
    pid_t stranger = start_stranger(pid);
    if (stranger < 0) {
        print_message("number %ld could not be had again\n", (long)pid);
        proc_child_free(child);
        return;
    }
    assert_int_equal(proc_child_kill(child, SIGKILL), -ESRCH);
    assert_int_equal(proc_child_kill(child, 0), -ESRCH);
    assert_int_equal(proc_child_stop(child, 0, &status), 0);
    assert_exited(status, 3);
    proc_child_free(child);
    expect_unharmed(stranger);
}

/* The library has not seen its end: others have taken the status. */
static void hold_a_child_that_was_stolen(proc_group group)
{
    proc_child *child = start_child(KID("exit", "3"), OPTIONS(.group = group));
    pid_t pid = proc_child_pid(child);
    proc_status status;

    assert_int_equal(waitpid(pid, NULL, 0), pid);
    pid_t stranger = start_stranger(pid);
    if (stranger < 0) {
        print_message("number %ld could not be had again\n", (long)pid);
        proc_child_free(child);
        return;
    }
    assert_int_equal(proc_child_kill(child, SIGKILL), -ESRCH);
    assert_int_equal(proc_child_wait(child, LATEST_MS, &status), 0);
    assert_true(status.state == PROC_LOST || (status.state == PROC_EXITED && status.code == 3));
    assert_int_equal(proc_child_stop(child, 0, NULL), 0);
    proc_child_free(child);
    expect_unharmed(stranger);

    child = start_child(KID("exit", "3"), OPTIONS(.group = group));
    pid = proc_child_pid(child);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    stranger = start_stranger(pid);
    proc_child_free(child); /* which nobody has waited for */
    if (stranger > 0) {
        expect_unharmed(stranger);
    }
}

static void live_in_the_new_namespace(void *arg)
{
    static const proc_group groups[] = {PROC_GROUP_SHARED, PROC_GROUP_OWN};

    for (size_t i = 0; i < COUNT(groups); i++) {
        hold_a_child_that_was_reaped(groups[i]);
        if (*(const bool *)arg) {
            hold_a_child_that_was_stolen(groups[i]);
        }
    }
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static void make_a_namespace(void *arg)
{
    assert_int_equal(unshare(CLONE_NEWPID), 0);
    in_copy(live_in_the_new_namespace, arg); /* its first process */
}

static bool can_make_a_namespace(void)
{
    int status = -1;
    pid_t pid = fork();

    if (pid == 0) {
        _exit(unshare(CLONE_NEWPID) == 0 && access("/proc/sys/kernel/ns_last_pid", W_OK) == 0 ? 0 : 1);
    }
    if (pid > 0) {
        waitpid(pid, &status, 0);
    }
    return status == 0;
}

static void a_number_that_was_given_out_again_is_left_alone(void **state)
{
    (void)state;
    NOT_UNDER_VALGRIND();
    /* Without a descriptor for the process the one that has its number now cannot be told from it. */
    bool pidfds = !POSIX_BUILD && getenv("PROC_TEST_EXITWATCH") == NULL;

    if (!can_make_a_namespace()) {
        SKIP("needs the right to make a namespace, and to choose numbers in it");
    }
    in_copy(make_a_namespace, &pidfds);
}

static const struct CMUnitTest tests[] = {
    TEST(a_number_that_was_given_out_again_is_left_alone),
};

HARNESS_MAIN(tests)
