/*
 * From options to a launch_plan: everything that can be checked is checked, everything that can be made ready is made
 * ready, before there is a child.
 */
#ifndef PLAN_H
#define PLAN_H

#include "os/launch.h"

/* The child's end of a channel, in a program that was forked. */
enum { PLAN_CHANNEL_FD = 3 };
#define PLAN_CHANNEL_NAME "PROC_CHANNEL" /* what names it in the environment: "3:1" */

/* What is to be started, and for whom: spawn and fork keep a handle, the others run to the end and capture. */
typedef struct plan_program {
    const char *file; /* NULL: options->file, else argv[0] */
    const char *const *argv;
    bool run;   /* exec, execfile: their defaults of stdio and group, and options->input */
    bool shell; /* exec */
    bool later; /* in a loop: nobody blocks until it has ended */
    bool fork;  /* with a channel, whether options have one or not */
    bool call;  /* of entry, instead of a program */
    proc_entry *entry;
    void *entry_arg;
} plan_program;

typedef struct plan {
    launch_plan launch;
    bool own_group;
    int parent_ends[3]; /* of the streams that are pipes or the terminal; -1 */
    int channel_end;    /* the parent's; -1 */

    /* what the launch plan points to */
    const char *name; /* of the program, for errors */
    const char *single_path[2];
    sys_terminal terminal;
    int child_ends[3]; /* open in the parent until the child has them */
    int child_channel_end;
    launch_ids ids;
    void *path_memory, *env_memory, *move_memory;
    launch_move few_moves[8];
} plan;

/* On failure *error is filled (never NULL) and there is nothing to free. */
hidden int plan_make(plan *p, const plan_program *program, const proc_options *options, proc_error *error);
hidden void plan_close_child_ends(plan *p);
hidden void plan_free(plan *p); /* ends of the parent's that were not taken out (-1) are closed too */

/* Fills *error and returns code. */
hidden int plan_refuse(proc_error *error, int code, proc_step step, const char *subject);
/* The same from what the launcher says, which knows the options only by number. */
hidden int plan_explain(const plan *p, const proc_options *options, const launch_failure *failure, proc_error *error);

/* Pure. Sorts by target and marks what has to be lifted. False: a target is named twice. */
hidden bool plan_arrange_moves(launch_move *moves, size_t count);

#endif
