/*
 * The handle of a child, for the files that drive one.
 */
#ifndef CHILD_H
#define CHILD_H

#include "life.h"
#include "os/exitwatch.h"
#include "plan.h"

#include <pthread.h>

/* A loop, that has to know what goes away. */
typedef struct child_observer {
    void (*closing)(struct child_observer *o, int fd); /* a stream's end of ours, before it is closed */
    void (*leaving)(struct child_observer *o);         /* the child is being freed */
    void (*stopping)(struct child_observer *o);        /* its end was begun: see to it that it goes on */
} child_observer;

/* What a loop has been told to write and has not written; here, so that it survives a pause. */
typedef struct child_input {
    char *data;
    size_t start, end, capacity;
    bool close_after, drain_due, broken; /* broken: nobody reads it any more */
} child_input;

/* The streams belong to whoever uses each; all below the lock is guarded by it, and `owner` never changes. */
struct proc_child {
    pid_t owner; /* the process that started it: in a copy made by fork the handle is dead */
    pid_t pid;
    bool own_group;
    bool detached;
    int stop_signal;
    int cancel_fd; /* -1: none */
    int64_t started;
    int streams[3]; /* the parent's ends; -1. A terminal stands in several */
    bool is_terminal[3];
    proc_channel *channel;    /* or NULL */
    child_observer *observer; /* or NULL */
    child_input input;
    bool told_exit, told_close; /* by a loop, to the program */

    pthread_mutex_t lock;
    exitwatch watch;
    life life;
    bool ended;   /* seen to be dead, perhaps not reaped: its number is still its own */
    bool forced;  /* SIGKILL was sent while it lived */
    bool refused; /* ... and refused: it has another user now */
    bool reaping; /* a thread waits for it in the system call that reaps it */
    bool reaped;
    pthread_cond_t reaped_now;
    proc_status status;
};

hidden int child_start(proc_child **child, const plan_program *program, const proc_options *options);
/* The same with all that a public call looks at first; options may be NULL. */
hidden int child_spawn(proc_child **child, const plan_program *program, const proc_options *options);
hidden void child_destroy(proc_child *c);

/* A descriptor that tells the end, or -errno. */
hidden int child_exit_fd(proc_child *c);
hidden int child_exit_of(void *child); /* the same, for the channel to it */
/* Is it dead? Asks the system where that is not known yet. */
hidden bool child_has_ended(proc_child *c);

/* How things stand, at one moment; other threads may go on. */
typedef struct child_view {
    bool ended;         /* as far as is known */
    bool stopping;      /* there is nothing that could still be stopped for the first time */
    bool out_of_reach;  /* once it has ended: no signal of ours will end what is left of its group */
    bool refused;       /* SIGKILL was: it runs as another user now, and ends when it likes */
    life_reason reason; /* why it was stopped */
    int64_t deadline;   /* when child_step has work; never, once it was reaped */
    int64_t time_limit; /* timeout_ms as a time, reaped or not */
} child_view;
hidden child_view child_look(proc_child *c);

/* The deadline of a wait that has no descriptor for the end (no memory, no thread, no number): it looks now and then. */
hidden int64_t child_look_again_at(bool blind, int64_t deadline);
/* Begins to stop it, where that has not begun. */
hidden void child_begin_stop(proc_child *c, life_reason reason);
hidden int child_kill_now(proc_child *c);
/* Does what is due by now. */
hidden void child_step(proc_child *c, int64_t now);
/* For one that has ended: kills what is left of its group if it was stopped, reaps it, fills the status. */
hidden void child_finish(proc_child *c, proc_status *status);
hidden void child_close_stream(proc_child *c, int stream);
/* One wait of a call that has a stream of the child (or -1) or its end in mind; its time, its grace and its cancel_fd are
 * looked after, whatever the caller waits for. 1: the stream or the end is ready, 0: look again, or -ETIMEDOUT. */
hidden int child_await(proc_child *c, int stream_fd, short events, int64_t deadline);
/* One read of an end of ours; the terminal's hang-up is an end of file. */
hidden ssize_t child_read_stream(proc_child *c, int stream, void *buffer, size_t size);

static inline bool child_is_time(int timeout_ms)
{
    return timeout_ms >= PROC_FOREVER;
}

hidden bool child_is_ours(const proc_child *c); /* false in a copy of the process */

#endif
