/*
 * What waits to be sent: encoded frames in two queues. Control frames and final replies go at once; messages, requests and
 * parts of replies are held back by the other end's window. Memory only: it says which bytes are next, and is told how
 * many of them went.
 */
#ifndef OUTBOX_H
#define OUTBOX_H

#include "frame.h"

#include <sys/uio.h>

typedef struct outbox_fds outbox_fds;

typedef struct outbox_queue {
    unsigned char *data; /* whole frames, the first of them perhaps begun */
    size_t start, end, capacity;
    outbox_fds *first_fds, **last_fds; /* of the frames in data that carry some, in order */
} outbox_queue;

enum { OUTBOX_URGENT, OUTBOX_GATED, OUTBOX_QUEUES };
enum { OUTBOX_PIECES = OUTBOX_QUEUES + 1 };

typedef struct outbox {
    outbox_queue queues[OUTBOX_QUEUES];
    outbox_queue *begun; /* whose first frame has been sent in part: it is finished before anything else */
    size_t begun_left;
    bool begun_carries;     /* a program's payload */
    uint32_t begun_request; /* its id, where it is a request */
    size_t pending;         /* bytes of messages (frames that carry a program's payload) that have not begun */
    size_t replies;         /* last ones that have not begun: the other end cannot know that its request is done with */
    uint32_t sent, acked;   /* wire bytes of gated frames, modulo 2^32 */
    uint32_t window;
    size_t most; /* bytes in a batch, but for its last frame */
} outbox;

/* The next bytes, to be given to one sendmsg. fds: of the first frame, which then goes alone. */
typedef struct outbox_batch {
    struct iovec pieces[OUTBOX_PIECES];
    int piece_count;
    bool begins; /* at least one frame, which carries the ack */
    const int *fds;
    size_t fd_count;
    size_t size, taken[OUTBOX_QUEUES]; /* of all pieces, and from each queue */
    /* what the frames that it begins come to */
    size_t frames, weight, replies;
    uint32_t gated;
} outbox_batch;

/* What a message counts against high_water: its bytes, but not less than what its header takes. */
static inline size_t outbox_weight(size_t size)
{
    return size < FRAME_HEADER_SIZE ? FRAME_HEADER_SIZE : size;
}

hidden void outbox_init(outbox *o, uint32_t window);
hidden void outbox_free(outbox *o);
hidden void outbox_drop_fds(outbox *o); /* for good: nothing of it will be sent any more */
/* Queues a frame with its payload; fds are the outbox's from then on. -ENOMEM: nothing was queued. */
hidden int outbox_put(outbox *o, int queue, const frame *f, const void *payload, const int *fds);
/* May a frame go now, by the window alone? */
hidden bool outbox_admits(const outbox *o, size_t wire_size);
static inline bool outbox_is_empty(const outbox *o)
{
    return o->queues[OUTBOX_URGENT].start == o->queues[OUTBOX_URGENT].end &&
           o->queues[OUTBOX_GATED].start == o->queues[OUTBOX_GATED].end;
}
/* Bytes of messages that wait, the rest of one that has begun too. */
static inline size_t outbox_pending(const outbox *o)
{
    return o->pending + (o->begun != NULL && o->begun_carries ? o->begun_left : 0);
}
hidden bool outbox_can_send(const outbox *o); /* is there something that the window does not hold back? */
/* The same, and what it is: fills the batch; ack goes into every frame that is begun. */
hidden bool outbox_next(outbox *o, uint32_t ack, outbox_batch *batch);
hidden void outbox_sent(outbox *o, const outbox_batch *batch, size_t size); /* that much of it went; 0: try less next */
/* A message that goes straight from the caller's memory while nothing waits: what the kernel took of it, and the rest. */
hidden int outbox_put_rest(outbox *o, int queue, const frame *f, const void *payload, size_t went);
/* Frames of that kind and id that have not begun are taken out. How many there were. */
hidden size_t outbox_remove(outbox *o, int queue, uint8_t kind, uint32_t id);
hidden bool outbox_has(const outbox *o, int queue, uint8_t kind,
                       uint32_t id);                            /* one that has not begun, or not ended */
hidden bool outbox_holds_request(const outbox *o, uint32_t id); /* all of it, or its rest */
/* False: the other end acknowledges what was never sent, or takes back. */
hidden bool outbox_acknowledge(outbox *o, uint32_t ack);

#endif
