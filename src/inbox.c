/*
 * See inbox.h. Memory for a frame grows with the bytes that are here, never with the length that its header claims.
 */
#include "inbox.h"

#include "os/sys.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    LEAST_SLAB_ROOM = 16 * 1024,
    TIGHT_SIZE = 64 * 1024,
    MOST_HELD = 4 /* times its own size, by a frame that stays */
};

void inbox_init(inbox *in)
{
    *in = (inbox){.framing = &framings[FRAMING_CHANNEL], .last_batch = &in->first_batch};
}

/* ---- slabs ---- */

void slab_release(slab *s)
{
    if (s != NULL && atomic_fetch_sub_explicit(&s->holders, 1, memory_order_acq_rel) == 1) {
        free(s);
    }
}

static slab *new_slab(inbox *in, size_t capacity)
{
    slab *s = in->spare;
    if (s != NULL && s->capacity >= capacity) {
        in->spare = NULL;
        return s;
    }
    s = malloc(sizeof *s + capacity);
    if (s != NULL) {
        atomic_init(&s->holders, 1);
        s->kind = OWNER_SLAB;
        s->lent = 0;
        s->capacity = capacity;
    }
    return s;
}

static bool is_ours_alone(slab *s)
{
    return s->lent == 0 && atomic_load_explicit(&s->holders, memory_order_acquire) == 1;
}

/* One that is no longer read into goes when nobody looks at it any more, or serves again. */
void inbox_settle(inbox *in, slab *s)
{
    if (s == NULL || s == in->slab || s == in->tight || s->lent > 0) {
        return;
    }
    if (in->spare == NULL && s->capacity == INBOX_SLAB_SIZE && is_ours_alone(s)) {
        in->spare = s;
    } else {
        slab_release(s);
    }
}

void inbox_give_away(inbox *in, slab *s)
{
    (void)atomic_fetch_add_explicit(&s->holders, 1, memory_order_relaxed);
    inbox_return(in, s);
}

/* The slab is left to those who still look at it; if that is nobody, it serves again. */
static void leave_slab(inbox *in)
{
    slab *old = in->slab;
    in->slab = NULL;
    inbox_settle(in, old);
}

/* How large the slab has to be for the frame that has begun. */
static size_t wanted_capacity(const inbox *in)
{
    size_t have = in->end - in->start;
    size_t doubled = 2 * have;
    return doubled + LEAST_SLAB_ROOM > INBOX_SLAB_SIZE ? doubled + LEAST_SLAB_ROOM : INBOX_SLAB_SIZE;
}

static int make_room_in_tight(inbox *in, size_t size)
{
    if (in->tight != NULL && is_ours_alone(in->tight)) {
        in->tight_end = 0;
    }
    if (in->tight == NULL || in->tight->capacity - in->tight_end < size) {
        slab *next = new_slab(in, size > TIGHT_SIZE ? size : TIGHT_SIZE);
        if (next == NULL) {
            return -ENOMEM;
        }
        slab *old = in->tight;
        in->tight = next;
        in->tight_end = 0;
        inbox_settle(in, old);
    }
    return 0;
}

void inbox_tighten(inbox *in, inbox_frame *f)
{
    size_t size = frame_padded(f->header.size);
    if (f->slab == in->tight || FRAME_HEADER_SIZE + size >= f->slab->capacity / MOST_HELD ||
        make_room_in_tight(in, size) < 0) {
        return; /* no memory: it stays where it is */
    }
    unsigned char *to = in->tight->data + in->tight_end;
    memcpy(to, f->payload, size);
    in->tight_end += size;
    in->tight->lent++;
    inbox_return(in, f->slab);
    f->payload = to;
    f->slab = in->tight;
}

static void tell_space(const inbox *in, unsigned char **at, size_t *room)
{
    *at = in->slab->data + in->end;
    *room = in->slab->capacity - in->end;
}

/* Nobody looks at the slab: it serves again, larger for a large frame. Where realloc moves pages, that copies nothing. */
static int reuse_slab(inbox *in, size_t capacity, unsigned char **at, size_t *room)
{
    size_t have = in->end - in->start;
    memmove(in->slab->data, in->slab->data + in->start, have);
    in->start = 0;
    in->end = have;
    if (capacity != in->slab->capacity) {
        slab *larger = realloc(in->slab, sizeof *larger + capacity);
        if (larger == NULL) {
            return -ENOMEM;
        }
        larger->capacity = capacity;
        in->slab = larger;
    }
    tell_space(in, at, room);
    return 0;
}

int inbox_space(inbox *in, unsigned char **at, size_t *room)
{
    if (in->slab != NULL && in->start == in->end && is_ours_alone(in->slab) && in->slab->capacity == INBOX_SLAB_SIZE) {
        in->start = in->end = 0;
    }
    if (in->slab == NULL || in->slab->capacity - in->end < LEAST_SLAB_ROOM) {
        size_t have = in->end - in->start, capacity = wanted_capacity(in);
        if (in->slab != NULL && is_ours_alone(in->slab) &&
            (capacity > INBOX_SLAB_SIZE || in->slab->capacity == INBOX_SLAB_SIZE)) {
            return reuse_slab(in, capacity, at, room);
        }
        slab *next = new_slab(in, capacity);
        if (next == NULL) {
            return -ENOMEM;
        }
        if (in->slab != NULL) {
            memcpy(next->data, in->slab->data + in->start, have);
        }
        leave_slab(in);
        in->slab = next;
        in->start = 0;
        in->end = have;
    }
    tell_space(in, at, room);
    return 0;
}

void inbox_add(inbox *in, size_t size)
{
    in->end += size;
}

/* ---- descriptors ---- */

void fd_batch_close(fd_batch *b)
{
    int cancel = sys_hold_cancel();
    for (size_t i = 0; i < b->count; i++) {
        sys_close(&b->fds[i]);
    }
    sys_release_cancel(cancel);
}

void fd_batch_free(fd_batch *b)
{
    if (b != NULL) {
        fd_batch_close(b);
        free(b);
    }
}

int inbox_add_fds(inbox *in, const int *fds, size_t count, bool lost)
{
    fd_batch *b = malloc(sizeof *b + count * sizeof(int));
    if (b == NULL || lost) {
        for (size_t i = 0; i < count; i++) {
            int fd = fds[i];
            sys_close(&fd);
        }
        count = 0;
    }
    if (b == NULL) {
        return -ENOMEM;
    }
    *b = (fd_batch){.kind = OWNER_LENT_FDS, .lost = lost, .count = count};
    memcpy(b->fds, fds, count * sizeof(int));
    *in->last_batch = b;
    in->last_batch = &b->next;
    in->batch_fds += count;
    return 0;
}

static fd_batch *take_batch(inbox *in)
{
    fd_batch *b = in->first_batch;
    in->first_batch = b->next;
    if (in->first_batch == NULL) {
        in->last_batch = &in->first_batch;
    }
    in->batch_fds -= b->count;
    b->next = NULL;
    return b;
}

void inbox_drop_fds(inbox *in)
{
    while (in->first_batch != NULL) {
        fd_batch_free(take_batch(in));
    }
}

void inbox_free(inbox *in)
{
    inbox_drop_fds(in);
    slab_release(in->slab);
    slab_release(in->spare);
    slab_release(in->tight);
    in->slab = in->spare = in->tight = NULL;
}

/* ---- frames ---- */

static int match_fds(inbox *in, inbox_frame *f, const char **why)
{
    f->batch = NULL;
    if (f->header.fd_count == 0) {
        return 0;
    }
    if (in->first_batch == NULL) {
        *why = "a frame without the descriptors that it announces";
        return -EPROTO;
    }
    f->batch = take_batch(in);
    if (!f->batch->lost && f->batch->count != f->header.fd_count) {
        fd_batch_free(f->batch);
        f->batch = NULL;
        *why = "a frame with another number of descriptors than it announces";
        return -EPROTO;
    }
    return 0;
}

/* The frame that has begun, if there is one, takes one batch. */
static int await_rest(const inbox *in, size_t have, const char **why)
{
    if (in->first_batch != NULL && (have == 0 || in->first_batch->next != NULL)) {
        *why = "descriptors that belong to no frame";
        return -EPROTO;
    }
    return 0;
}

int inbox_next(inbox *in, const frame_limits *limits, inbox_frame *f, const char **why)
{
    size_t have = in->end - in->start, payload, size;
    if (have == 0) {
        return await_rest(in, have, why);
    }
    const unsigned char *bytes = in->slab->data + in->start;
    int whole = in->framing->next(&f->header, bytes, have, limits, &payload, &size, why);
    if (whole <= 0) {
        return whole < 0 ? -EPROTO : await_rest(in, have, why);
    }
    int err = match_fds(in, f, why);
    if (err < 0) {
        return err;
    }
    inbox_hand_out(in, f, payload, size);
    if (f->slab->capacity > INBOX_SLAB_SIZE) {
        inbox_tighten(in, f); /* it is what a large frame has left */
    }
    return 1;
}
