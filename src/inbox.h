/*
 * What has arrived: bytes in slabs, from which frames are handed out where they lie, and descriptors in batches, one for
 * each read that brought some. Memory only, but that it closes descriptors that nobody takes.
 */
#ifndef INBOX_H
#define INBOX_H

#include "frame.h"

#include <stdatomic.h>

enum { INBOX_SLAB_SIZE = 256 * 1024, INBOX_MAX_FDS = 253 }; /* SCM_MAX_FD of Linux */

/* What a message's owner is; the first member of each. */
typedef enum owner_kind {
    OWNER_SLAB,     /* of a reply, the caller's */
    OWNER_LENT_FDS, /* of a message that recv handed out: the channel's */
    OWNER_GIVEN_FDS /* of a reply, the caller's, with its slab */
} owner_kind;

/* Shared by the inbox, the frames that it has handed out, and replies that may outlive the channel. */
typedef struct slab {
    owner_kind kind;
    atomic_uint holders; /* replies that are the program's; one more for the inbox and its frames together */
    size_t lent;         /* frames; only the inbox's own thread, or whoever has its lock, counts them */
    size_t capacity;
    _Alignas(FRAME_ALIGNMENT) unsigned char data[];
} slab;

typedef struct fd_batch {
    owner_kind kind;
    slab *slab; /* of a given one */
    struct fd_batch *next;
    bool lost; /* the system could not give us all of them: none is kept */
    size_t count;
    int fds[];
} fd_batch;

typedef struct inbox {
    const framing *framing;
    slab *slab;
    size_t start, end; /* of the bytes in slab that have not been handed out */
    slab *spare;
    slab *tight; /* frames that were copied, up to tight_end */
    size_t tight_end;
    fd_batch *first_batch, **last_batch;
    size_t batch_fds; /* how many descriptors wait in batches */
} inbox;

typedef struct inbox_frame {
    frame header;
    slab *slab; /* held for the receiver */
    const unsigned char *payload;
    fd_batch *batch; /* its descriptors, or NULL; the receiver's */
} inbox_frame;

hidden void inbox_init(inbox *in);
hidden void inbox_free(inbox *in);
hidden int inbox_space(inbox *in, unsigned char **at, size_t *room); /* for the next read; -ENOMEM */
hidden void inbox_add(inbox *in, size_t size);
/* Descriptors that came with a read; closed if there is no memory for them. */
hidden int inbox_add_fds(inbox *in, const int *fds, size_t count, bool lost);
hidden void inbox_drop_fds(inbox *in); /* those that no frame has claimed */
/* 1 and a frame, 0: not whole yet, or -EPROTO and why. */
hidden int inbox_next(inbox *in, const frame_limits *limits, inbox_frame *f, const char **why);
/* A frame that is to stay for long: where it would hold much more than its own size, it is copied. */
hidden void inbox_tighten(inbox *in, inbox_frame *f);
static inline bool inbox_has_part(const inbox *in) /* a frame has begun to arrive */
{
    return in->end > in->start;
}
static inline bool inbox_has_any(const inbox *in) /* bytes, or descriptors */
{
    return inbox_has_part(in) || in->first_batch != NULL;
}

/* The next frame is a plain message, and here whole: its header. */
static inline bool inbox_has_plain(const inbox *in, const frame_limits *limits, frame *header)
{
    const size_t have = in->end - in->start;
    if (have < FRAME_HEADER_SIZE || in->slab->capacity > INBOX_SLAB_SIZE) {
        return false;
    }
    const unsigned char *bytes = in->slab->data + in->start;
    header->size = frame_get32(bytes);
    if (!frame_is_plain(bytes, limits) || have - FRAME_HEADER_SIZE < frame_padded(header->size)) {
        return false;
    }
    *header = (frame){
        .size = header->size,
        .kind = FRAME_MESSAGE,
        .type = frame_get32(bytes + 12),
        .ack = frame_get32(bytes + FRAME_ACK_OFFSET),
    };
    return true;
}
/* The frame that begins the bytes that are here, whose header is f's. */
static inline void inbox_hand_out(inbox *in, inbox_frame *f, size_t payload, size_t size)
{
    f->payload = in->slab->data + in->start + payload;
    f->slab = in->slab;
    f->slab->lent++;
    in->start += size;
}

hidden void inbox_settle(inbox *in, slab *s); /* no frame is left in it */
/* What a frame had of a slab is given back. NULL will do. */
static inline void inbox_return(inbox *in, slab *s)
{
    if (s != NULL && --s->lent == 0 && s != in->slab) {
        inbox_settle(in, s);
    }
}
/* ... or goes to the program, with a reply: it ends with slab_release, in any thread. */
hidden void inbox_give_away(inbox *in, slab *s);
hidden void slab_release(slab *s);
/* Closes what was not taken (-1); no thread is cancelled meanwhile. */
hidden void fd_batch_close(fd_batch *b);
hidden void fd_batch_free(fd_batch *b); /* NULL will do */

#endif
