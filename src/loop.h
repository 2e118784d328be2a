/*
 * The loop, for the files that make it up. What is added to it is a member: it has sources (interests in descriptors), one
 * alarm, and a place in a queue of those that something has happened to. Members that were taken out, and the ports of
 * descriptors that nobody watches any more, are kept until no event of the step under way can refer to them.
 */
#ifndef LOOP_H
#define LOOP_H

#include "os/poller.h"
#include "plan.h"
#include "timers.h"

#include <stdatomic.h>

typedef struct loop_port loop_port; /* a descriptor, for all who are interested in it */
typedef struct loop_member loop_member;
typedef struct loop_timer loop_timer;
typedef struct timer_slot timer_slot;

typedef struct loop_source {
    loop_member *member;
    void (*ready)(struct loop_source *source, short revents);
    int fd;
    short events;
    loop_port *port; /* NULL: not watched */
    uint64_t since;  /* how many waits there were before it was */
    struct loop_source *next, *prev;
} loop_source;

typedef struct loop_kind {
    void (*attend)(loop_member *m); /* something about it has changed, perhaps from another thread */
    void (*ring)(loop_member *m);   /* its alarm; of one that sets none, and is not attended to, these two are NULL */
    void (*leave)(loop_member *m);  /* takes its sources back, and lets go of what it stands for */
} loop_kind;

struct loop_member {
    const loop_kind *kind;
    proc_loop *loop;
    loop_member *next, *prev; /* of the loop */
    timer alarm;
    bool live; /* the loop runs on for it */
    bool gone;
    atomic_bool queued;
    loop_member *next_queued;
};

enum { LOOP_BUFFER = 64 * 1024 };

struct proc_loop {
    pid_t owner;
    poller poller;
    loop_port **ports; /* by descriptor */
    size_t port_count;
    timers timers;
    loop_member *members, *bodies; /* bodies: taken out, to be freed */
    loop_port *old_ports;
    size_t member_count, live;
    _Atomic(loop_member *) queue; /* the last one first */
    atomic_bool idle;             /* it may be waiting: who queues something has to wake it */
    atomic_bool stopped, signalled;
    int wake[2];
    loop_member self; /* whose only source is the wake */
    loop_source woken;
    uint64_t waits; /* how many there were */
    bool inside, doomed;
    int ran; /* handlers, in this step */
    timer_slot *timer_slots;
    size_t timer_count, free_timer;
    char buffer[LOOP_BUFFER];
};

hidden bool loop_is_ours(const proc_loop *loop);
/* May something be added? 0, or what refuses it. */
hidden int loop_check(const proc_loop *loop);
/* Zeroed memory for what begins with a member, and room for its alarm, so that this can always be set; or NULL. */
hidden void *loop_new_member(proc_loop *loop, size_t size);
hidden void loop_join(proc_loop *loop, loop_member *m, const loop_kind *kind);
hidden void loop_leave(loop_member *m); /* it is freed later, or now if nobody can refer to it */
/* To be asked after each handler: it was taken out, or the handler has come back in a copy of the process. */
hidden bool loop_has_left(const loop_member *m);
hidden void loop_set_live(loop_member *m, bool live);
/* From any thread, as long as the member has not left. */
hidden void loop_attend(loop_member *m);

/* fd -1: not interested. Errors are those of poller_add. */
hidden int loop_watch(loop_source *s, int fd, short events);
hidden void loop_unwatch(loop_source *s);
hidden loop_source *loop_find_source(proc_loop *loop, int fd, void (*ready)(loop_source *source, short revents));
hidden void loop_set_alarm(loop_member *m, int64_t due); /* SYS_NEVER: none */

/* Also in a signal handler. */
hidden void loop_wake(proc_loop *loop);
hidden void loop_run_signals(proc_loop *loop);

hidden bool loop_are_handlers(const proc_handlers *handlers);

/* loop_run.c, for exec.c and execfile.c */
hidden int loop_execute(proc_loop *loop, const plan_program *program, const proc_options *options,
                        proc_result_handler *handler, void *ctx);

/* A child and its channel that are in one loop are tied, so that the channel's end is told before the child's. */
typedef struct loop_channel loop_channel;
hidden void loop_child_tie(proc_loop *loop, const proc_child *child);
hidden loop_channel *loop_channel_tie(const proc_loop *loop, const proc_channel *channel, loop_member *child);
/* with_child: it leaves when the child does. */
hidden int loop_channel_add(proc_loop *loop, proc_channel *channel, const proc_handlers *handlers, void *ctx,
                            bool with_child);
/* Its child has ended: delivers all that is left, and the end. */
hidden void loop_channel_end(loop_channel *l);
/* The child's member leaves; the channel's does. */
hidden void loop_channel_leave_child(loop_channel *l);
hidden void loop_child_lose_channel(loop_member *child);

#endif
