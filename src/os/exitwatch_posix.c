/*
 * Where a thread is the only way to watch a child.
 */
#include "os/exitwatch.h"

int exitwatch_force = EXITWATCH_ANY;

void exitwatch_init(exitwatch *watch, int pidfd)
{
    *watch = (exitwatch){.pidfd = pidfd, .fd = -1};
}

int exitwatch_fd(exitwatch *watch, pid_t pid, bool reaped)
{
    return exitwatch_thread_fd(watch, pid, reaped);
}
