/*
 * Where fork is the only way.
 */
#include "os/launch.h"

int launch_force = LAUNCH_ANY;

int launch(launch_plan *plan, pid_t *pid, int *pidfd, launch_failure *failure)
{
    return launch_by_fork(plan, pid, pidfd, failure);
}
