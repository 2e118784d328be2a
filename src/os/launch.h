/*
 * One door for starting a process. A launch_plan is a flat list of all that is to be done in the child, with every
 * string, array and descriptor ready: the child takes no memory and no lock. child_side.c walks it, the same for both
 * launchers.
 */
#ifndef OS_LAUNCH_H
#define OS_LAUNCH_H

#include "os/sys.h"

typedef enum launch_source {
    LAUNCH_FD,      /* descriptor `from` of the parent */
    LAUNCH_INHERIT, /* the parent's own `to`; /dev/null where the parent has that closed */
    LAUNCH_NULL,    /* /dev/null */
    LAUNCH_CHILD    /* what `from` has become in the child */
} launch_source;

typedef struct launch_move {
    int to;
    int from;
    launch_source source;
    bool lift;  /* another move places something on `from`: get it out of the way first */
    int lifted; /* the child's note: where `from` is now */
    int option; /* the caller's note: which option asked for it */
} launch_move;

typedef struct launch_ids {
    uid_t uid;
    gid_t gid;
    const gid_t *groups;
    size_t group_count;
    bool set_groups; /* false: the process has just these already, and may lack the right to say so */
} launch_ids;

typedef struct launch_plan {
    pid_t parent;             /* this process */
    const char *const *paths; /* tried in turn; NULL-ended */
    bool searched;            /* they come from PATH: what is missing in one may be in the next */
    const char *const *argv;
    const char *const *envp;
    int (*entry)(void *arg); /* instead of a program: in a copy of this process; what it returns is the exit code */
    void *entry_arg;
    const char *cwd;

    launch_move *moves; /* sorted by `to`, each once */
    size_t move_count;
    bool close_others;

    bool new_session, new_group;  /* at most one */
    const sys_terminal *terminal; /* becomes the controlling terminal */
    const mode_t *umask;
    const proc_limit *limits;
    size_t limit_count;
    int nice;
    const launch_ids *ids;
    bool keep_signals;
    bool die_with_parent;
    bool die_if_possible; /* nobody asked for it: a system that refuses is no failure */
} launch_plan;

typedef struct launch_failure {
    proc_step step;
    int err;
    int index; /* of the move or the limit that it was about */
} launch_failure;

/* 0, with *pid and *pidfd (-1 where the system has none), once the program runs; else -errno, *failure filled, no child left. */
hidden int launch(launch_plan *plan, pid_t *pid, int *pidfd, launch_failure *failure);

/* For tests. */
enum { LAUNCH_ANY, LAUNCH_VFORK, LAUNCH_FORK };
hidden_data int launch_force;

/* ---- between the launchers and the child's side ---- */

/* How far a child came. RUNNING is the entry's: nothing can fail any more. */
enum { LAUNCH_NOT_RUN, LAUNCH_SETTING_UP, LAUNCH_EXECUTING, LAUNCH_RUNNING };

typedef struct launch_report {
    int progress;
    launch_failure failure; /* err 0: none */
} launch_report;

hidden int launch_by_fork(launch_plan *plan, pid_t *pid, int *pidfd, launch_failure *failure);
/* Runs the plan and does not come back. Signals are blocked; caller_mask is what they were. The report goes into *report
 * if that is shared with the parent, and to report_fd if that is not -1. */
hidden _Noreturn void launch_child_side(launch_plan *plan, const sigset_t *caller_mask, volatile launch_report *report,
                                        int report_fd);
hidden void launch_read_report(int fd, pid_t pid, int pidfd, launch_report *report);
/* Common end: what the report means; a child that did not make it is reaped. */
hidden int launch_conclude(const launch_report *report, pid_t pid, int *pidfd, launch_failure *failure);

#endif
