/*
 * Linux: the pidfd that came with the start is the watch. The thread serves where a kernel or a filter gave none.
 */
#include "os/exitwatch.h"

int exitwatch_force = EXITWATCH_ANY;

void exitwatch_init(exitwatch *watch, int pidfd)
{
    *watch = (exitwatch){.pidfd = pidfd, .fd = -1};
    if (exitwatch_force == EXITWATCH_THREAD) {
        sys_close(&watch->pidfd);
    }
}

int exitwatch_fd(exitwatch *watch, pid_t pid, bool reaped)
{
    return watch->pidfd >= 0 ? watch->pidfd : exitwatch_thread_fd(watch, pid, reaped);
}
