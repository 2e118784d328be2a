/*
 * Feed a child and keep what it says, as a machine that does no waiting: it says which descriptors and which deadline it
 * wants, and takes a step when told what is ready.
 */
#ifndef COMMUNICATE_H
#define COMMUNICATE_H

#include "capture.h"
#include "child.h"

enum { COMMUNICATE_IN, COMMUNICATE_OUT, COMMUNICATE_ERR, COMMUNICATE_EXIT, COMMUNICATE_CANCEL, COMMUNICATE_WANTS };

typedef struct communicate {
    proc_child *child;
    const char *input;
    size_t input_left;
    capture captures[2]; /* of streams 1 and 2 */
    bool piped[3];       /* whether that one is fed or read here; a terminal counts once */
    bool echoes;         /* stream 0 is a terminal of its own: what it says is read, and dropped */
    int cancel_fd;
    int drain_ms;
    life_reason reason; /* why this came to an early end; the child itself may have been reaped long before */
    bool blind;         /* no descriptor tells its end: look from time to time */
    bool ended;
    int64_t drain_at; /* when to give up on pipes that others hold; never while the child runs */
    size_t overtime;  /* bytes that were read after that */
    bool incomplete;
    int err; /* out of memory, or poll failed: the run is void */
} communicate;

hidden void communicate_init(communicate *m, proc_child *child, const proc_options *options);
hidden int64_t communicate_want(communicate *m, struct pollfd wants[COMMUNICATE_WANTS]); /* the deadline */
hidden bool communicate_step(communicate *m, const struct pollfd wants[COMMUNICATE_WANTS],
                             int64_t now); /* true: done */
/* 0 or what stopped it, with *result filled. */
hidden int communicate_finish(communicate *m, proc_result *result);

/* All of it, blocking. */
hidden int communicate_run(proc_child *child, const proc_options *options, proc_result *result);
/* Starts, communicates, frees. */
hidden int communicate_execute(proc_result *result, const plan_program *program, const proc_options *options);

#endif
