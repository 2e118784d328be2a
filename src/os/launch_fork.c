/*
 * The launcher of every system, and of all that changes ids: fork, and a close-on-exec pipe on which the child tells how
 * far it came. End of file on it means that the program runs or that the child is dead; what it wrote last tells which.
 */
#include "os/launch.h"

#include <errno.h>
#include <unistd.h>

/* Records are smaller than PIPE_BUF, so each arrives whole or not at all. False: it was the last one. */
static bool read_record(int fd, launch_report *report)
{
    launch_report record;
    ssize_t got = sys_read(fd, &record, sizeof record);
    if (got < 0) { /* what cannot be heard counts as bad news */
        report->failure = (launch_failure){.step = PROC_STEP_LAUNCH, .err = (int)got};
    }
    if (got != (ssize_t)sizeof record) {
        return false;
    }
    *report = record;
    return record.failure.err == 0 && record.progress != LAUNCH_RUNNING;
}

/*
 * If another thread has forked a copy of this process just then, the copy holds the pipe too, perhaps for ever, and the end
 * of file does not come: so look whether the child is dead, and after PATIENCE_MS believe in an exec of which nothing bad is
 * heard.
 */
void launch_read_report(int fd, pid_t pid, int pidfd, launch_report *report)
{
    enum { LOOK_MS = 50, PATIENCE_MS = 10000 };
    struct pollfd pipe = {.fd = fd, .events = POLLIN};
    int64_t heard_at = SYS_NEVER;
    for (bool dead = false;;) {
        int64_t now = sys_now();
        if (sys_poll(&pipe, 1, dead ? 0 : sys_deadline(now, LOOK_MS)) != 0) { /* where it fails the read waits */
            if (!read_record(fd, report)) {
                return;
            }
            heard_at = now;
        } else if (dead || (heard_at != SYS_NEVER && now - heard_at > PATIENCE_MS * SYS_MS)) {
            return;
        } else {
            int ended = sys_peek(pid, pidfd);
            dead = ended > 0 || ended == -ECHILD; /* then once more, for what it wrote before */
        }
    }
}

int launch_conclude(const launch_report *report, pid_t pid, int *pidfd, launch_failure *failure)
{
    if (report->progress >= LAUNCH_EXECUTING && report->failure.err == 0) {
        return 0;
    }
    proc_status unused;
    /* One that says what failed ends by itself. Where the host ignores SIGCHLD its number may soon be another's. */
    bool ends = report->failure.err != 0 && report->failure.step != PROC_STEP_LAUNCH;
    if (!ends && sys_peek(pid, *pidfd) == 0) { /* it could not be heard, and is of no use */
        (void)sys_kill(pid, *pidfd, SIGKILL);
    }
    sys_reap(pid, *pidfd, &unused);
    sys_close(pidfd);
    *failure = report->failure;
    if (failure->err == 0) {
        *failure = (launch_failure){.step = PROC_STEP_LAUNCH, .err = -ECHILD};
    }
    return failure->err;
}

static int fail(launch_failure *failure, proc_step step, int err)
{
    *failure = (launch_failure){.step = step, .err = err};
    return err;
}

int launch_by_fork(launch_plan *plan, pid_t *pid, int *pidfd, launch_failure *failure)
{
    int ends[2];
    int err = sys_pipe(ends);
    if (err < 0) {
        return fail(failure, PROC_STEP_LAUNCH, err);
    }
    launch_report report = {.progress = LAUNCH_NOT_RUN};
    sigset_t mask;
    sys_block_signals(&mask);
    pid_t child = fork();
    if (child == 0) {
        launch_child_side(plan, &mask, &report, ends[1]);
    }
    err = child < 0 ? -errno : 0;
    sys_set_signal_mask(&mask);
    sys_close(&ends[1]);
    if (err == 0) {
        *pid = child;
        *pidfd = sys_pidfd(child);
        if (*pidfd >= 0 && sys_peek(child, -1) == -ECHILD) {
            sys_close(pidfd); /* gone already, to a host that ignores SIGCHLD: the number may have been another's */
        }
        *pidfd = *pidfd < 0 ? -1 : *pidfd;
        launch_read_report(ends[0], child, *pidfd, &report);
        err = launch_conclude(&report, child, pidfd, failure);
    } else {
        (void)fail(failure, PROC_STEP_LAUNCH, err);
    }
    sys_close(&ends[0]);
    return err;
}
