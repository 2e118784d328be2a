/*
 * One end of a channel, for the files that make it up. Everything is guarded by one lock; nobody waits with it held. Of the
 * threads that wait, one polls for all (the driver), the others sleep until something has changed.
 */
#ifndef CHANNEL_H
#define CHANNEL_H

#include "inbox.h"
#include "os/sys.h"
#include "outbox.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
    CHANNEL_BASELINE_SIZE = 64 * 1024, /* what every end takes, before its HELLO is in */
    CHANNEL_BASELINE_REQUESTS = 16,
    CHANNEL_WINDOW = 1024 * 1024,
    CHANNEL_MAX_REQUESTS = 64,
    CHANNEL_MAX_SIZE = 256 * 1024 * 1024,
    CHANNEL_MAX_FDS = 250,     /* with one message */
    CHANNEL_KEPT_FDS = 1024,   /* for recv */
    CHANNEL_KEPT_RING = 1024,  /* a larger one gives its memory back when it is empty */
    CHANNEL_READS_A_LOOK = 16, /* then the clock */
    CHANNEL_LAST_READS = 1024  /* of a dead child: more than a socket holds; others with its end may never stop */
};

typedef enum request_state {
    REQUEST_FREE,
    REQUEST_CALLED,  /* somebody waits in proc_channel_call */
    REQUEST_SENT,    /* its replies go to recv */
    REQUEST_DROPPED, /* cancelled: its reply is thrown away */
    REQUEST_ANSWERED /* the caller has yet to fetch it */
} request_state;

typedef struct own_request { /* one that this end has sent; its place is in its id */
    request_state state;
    uint16_t generation;
    int result; /* of an answered one */
    inbox_frame reply;
} own_request;

typedef struct open_request { /* one that the other end waits for */
    uint32_t id;              /* 0: a free place */
    bool cancelled;
    int64_t deadline;
} open_request;

/* A loop. Attention: something has come, or waits to be sent; with the lock held, in any thread. */
typedef struct channel_observer {
    void (*attention)(struct channel_observer *o);
    void (*leaving)(struct channel_observer *o); /* the channel is being freed */
} channel_observer;

struct proc_channel {
    pid_t owner;
    int read_fd, write_fd; /* may be the same */
    bool read_socket, write_socket;
    bool refuses_fds;                /* the kernel does: none can come */
    int (*peer_exit_fd)(void *peer); /* a child's: the channel ends with it, even where others hold on to its end */
    void *peer;
    int exit_fd; /* what it said; negative: nothing yet */
    bool peer_gone;
    unsigned last_reads;        /* since then */
    channel_observer *observer; /* or NULL */
    bool told_end;              /* by a loop, to the program */
    bool refused;               /* post has said -EAGAIN, to a message of at least this size */
    size_t refused_size;
    frame_limits limits;
    size_t high_water, backlog;
    int frame_ms, linger_ms;

    pthread_mutex_t lock;
    atomic_uint outside; /* threads that wait for it */
    pthread_cond_t changed;
    size_t sleepers, awaiting_room;
    bool driving, woken;
    bool watches_write; /* the driver waits until what can be sent can be written */
    bool news;   /* another thread has read, or found that nothing more can be written, while the driver polled */
    int wake[2]; /* the driver's alarm */

    int error; /* sticky: the other end broke the protocol, or memory ran out in the middle of a frame */
    const char *why;
    int fault;            /* what error will be, when the other end has broken a rule */
    bool read_ended;      /* nothing more comes */
    bool drained;         /* the last read took all that there was: poll tells when there is more */
    bool write_ended;     /* nothing more goes */
    bool peer_shut, shut; /* END came, END went */

    outbox out;
    bool posted;      /* since the last write */
    int64_t retry_at; /* the system had no room for descriptors under way: try again then */
    inbox in;
    int64_t hello_by, part_by; /* deadlines of the other end */
    size_t part_size;          /* of the frame that has begun, when it was last looked at */
    bool hello_came;
    size_t peer_max_size, peer_max_fds, peer_max_requests; /* until HELLO comes the most that any end takes */

    /* what has arrived for recv, a ring; each is a frame of the other end's messages, requests and replies */
    inbox_frame *kept;
    size_t kept_first, kept_count, kept_capacity, kept_bytes, kept_fds;
    inbox_frame current;                        /* what recv handed out last */
    bool closing;                               /* nothing is kept any more */
    bool wants_next;                            /* recv does: it is empty, and the next need not be kept first */
    uint32_t received, consumed, granted, told; /* wire bytes of gated frames, modulo 2^32 */
    bool pinged;                                /* the other end is stuck: tell it as soon as all is consumed */
    bool pong_due, ping_out;
    uint32_t pong_id, pong_queued, ping_id, ping_ack;

    own_request *own;
    size_t own_capacity, own_count; /* those that hold a place at the other end */
    size_t own_awaited;             /* of these, whose replies somebody still wants */
    open_request open[CHANNEL_MAX_REQUESTS];
    size_t open_count;
};

hidden int channel_new(proc_channel **channel, int read_fd, int write_fd, const proc_channel_options *options);
hidden int channel_check_options(const proc_channel_options *options);
static inline bool channel_is_ours(const proc_channel *c)
{
    return c != NULL && c->owner == sys_own_pid();
}
hidden bool channel_is_possible(int fd); /* a stream socket that is open */
/* Ends when that descriptor tells so and all is read that came before. */
hidden void channel_follow(proc_channel *c, int (*exit_fd)(void *peer), void *peer);
/* In a copy of the process that made it, which uses it no more: it is this one's, on that descriptor. */
hidden void channel_adopt(proc_channel *c, int fd);
hidden void channel_close(proc_channel *c, bool at_once); /* free, or what is left of it where nobody reads any more */

/* With the lock held: */
static inline void channel_lock(proc_channel *c)
{
    if (pthread_mutex_trylock(&c->lock) != 0) {
        (void)atomic_fetch_add_explicit(&c->outside, 1, memory_order_relaxed);
        (void)pthread_mutex_lock(&c->lock);
        (void)atomic_fetch_sub_explicit(&c->outside, 1, memory_order_relaxed);
    }
}
hidden void channel_unlock(proc_channel *c);         /* wakes whoever may have something to do */
hidden void channel_unlock_quietly(proc_channel *c); /* the observer knows */
hidden void channel_write(proc_channel *c);          /* as far as it goes */
/* It would have something to write: also what it makes up itself, a question, an answer or an acknowledgement. */
hidden bool channel_has_to_write(const proc_channel *c);
hidden bool channel_read(proc_channel *c);                  /* once, and parses what came; false: nothing came */
hidden void channel_parse(proc_channel *c, bool one);       /* `one`: until there is something for recv */
hidden int channel_wait(proc_channel *c, int64_t deadline); /* 0: look again, or -ETIMEDOUT, or another failure */
/* Reads once, or waits where there was nothing. An end that never stops talking keeps nobody past the deadline: *reads,
 * 0 at first, counts those of one call. What was read before -ETIMEDOUT has been parsed. */
hidden int channel_read_or_wait(proc_channel *c, int64_t deadline, unsigned *reads);
/* As much is kept as may be, in bytes or in descriptors. */
hidden bool channel_is_full(const proc_channel *c);
/* Nobody reads any more: what is queued stays for flush to complain about, but holds on to no descriptor. */
hidden void channel_end_writing(proc_channel *c);
hidden void channel_fail(proc_channel *c, int error, const char *why);
static inline void channel_drop_frame(proc_channel *c, inbox_frame *f)
{
    if (f->batch != NULL) {
        fd_batch_free(f->batch);
        f->batch = NULL;
    }
    inbox_return(&c->in, f->slab);
    f->slab = NULL;
}
/* The next message, where it is here whole, brings nothing but itself and nothing is kept: what channel_parse would make of
 * it, in fewer steps. False: it is for channel_parse. */
hidden bool channel_take_plain(proc_channel *c);
hidden void channel_keep(proc_channel *c, inbox_frame *f);
hidden void channel_take_kept(proc_channel *c, inbox_frame *f);
hidden void channel_stop_keeping(proc_channel *c); /* nobody will receive any more */
hidden void channel_consume(proc_channel *c, const frame *f);
hidden void channel_grant_ahead(proc_channel *c);
hidden void channel_destroy(proc_channel *c);
/* What is late may be here all the same, where this end was busy with something else. True: something was read. */
hidden bool channel_check_deadlines(proc_channel *c);
hidden int channel_peer_exit_fd(proc_channel *c);   /* negative: none */
hidden bool channel_has_lost_peer(proc_channel *c); /* it has ended; what it sent may still be here */
/* rpc.c: frames of requests. Not NULL: why the protocol does not allow it. */
hidden const char *rpc_take_request(proc_channel *c, inbox_frame *f);
hidden const char *rpc_take_reply(proc_channel *c, inbox_frame *f);
hidden void rpc_take_cancel(proc_channel *c, uint32_t id);
hidden bool rpc_is_cancelled(proc_channel *c, uint32_t id); /* one that is open */
hidden void rpc_end(proc_channel *c);                       /* no reply will come any more */

hidden int64_t channel_deadline(int timeout_ms);
hidden int64_t channel_own_deadline(const proc_channel *c);
/* For those who wait for something else than a message: what comes is kept, up to the backlog; past it -EDEADLK. */
hidden int channel_await_other_end(proc_channel *c, int64_t deadline, unsigned *reads);
hidden void channel_has_told(proc_channel *c); /* a frame went, with the newest ack */
/* Every frame tells it; where none goes, an ACK does, at half a window, or at once to one that has asked. */
static inline bool channel_has_to_tell(const proc_channel *c)
{
    uint32_t news = c->granted - c->told;
    return news >= CHANNEL_WINDOW / 2 || (news > 0 && c->pinged && c->granted == c->received);
}
hidden void channel_tell(proc_channel *c); /* how much was consumed, if that is news enough; and what was posted */
static inline uint32_t rpc_time_left(const frame *request) /* 0: for ever, or no request */
{
    bool limited = request->kind == FRAME_REQUEST && (request->flags & FRAME_DEADLINE) != 0;
    return !limited ? 0 : request->timeout_ms == 0 ? 1 : request->timeout_ms;
}

/* message.c */
typedef enum message_kind { MESSAGE_PLAIN, MESSAGE_REQUEST, MESSAGE_PART, MESSAGE_LAST_REPLY } message_kind;

hidden int message_check(const proc_message *message);
/* `writes`: the caller would do so at once. */
hidden int message_queue(proc_channel *c, int queue, frame *f, const proc_message *message, bool writes);
/* request: of a reply, its id. */
hidden int message_wait_for_room(proc_channel *c, const proc_message *message, int64_t deadline, message_kind kind,
                                 uint32_t request);
/* The next of what is here, without a read: 0, -EAGAIN, or what recv says at the end. */
hidden int message_take(proc_channel *c, proc_message *message);
hidden bool message_has_room_again(const proc_channel *c); /* for one that post has refused */
hidden void message_fill(proc_message *message, const inbox_frame *f, uint32_t time_left);

#endif
