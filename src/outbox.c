/*
 * See outbox.h.
 */
#include "outbox.h"

#include "os/sys.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    FIRST_QUEUE = 4096,
    KEPT_QUEUE = 2 * 1024 * 1024,            /* a queue that was larger gives its memory back when it is empty */
    MOST_AT_ONCE = 512 * 1024,               /* what is looked at for one call: most sockets take no more */
    MOST_FRAMES = 750,                       /* ... and not many at a time */
    LEAST_AT_ONCE = 4 * 1024,                /* ... for one that is most likely in vain */
    MOST_WITH_FDS = 4096 + FRAME_HEADER_SIZE /* some systems refuse descriptors with more */
};

struct outbox_fds {
    outbox_fds *next;
    size_t count;
    int fds[];
};

void outbox_init(outbox *o, uint32_t window)
{
    *o = (outbox){.window = window, .most = MOST_AT_ONCE};
    for (int i = 0; i < OUTBOX_QUEUES; i++) {
        o->queues[i].last_fds = &o->queues[i].first_fds;
    }
}

static void drop_first_fds(outbox_queue *q)
{
    outbox_fds *first = q->first_fds;
    for (size_t i = 0; i < first->count; i++) {
        sys_close(&first->fds[i]);
    }
    q->first_fds = first->next;
    if (q->first_fds == NULL) {
        q->last_fds = &q->first_fds;
    }
    free(first);
}

void outbox_drop_fds(outbox *o)
{
    int cancel = sys_hold_cancel();
    for (int i = 0; i < OUTBOX_QUEUES; i++) {
        while (o->queues[i].first_fds != NULL) {
            drop_first_fds(&o->queues[i]);
        }
    }
    sys_release_cancel(cancel);
}

void outbox_free(outbox *o)
{
    outbox_drop_fds(o);
    for (int i = 0; i < OUTBOX_QUEUES; i++) {
        free(o->queues[i].data);
    }
}

/* ---- frames in a queue ---- */

static size_t wire_size(const frame *f)
{
    return FRAME_HEADER_SIZE + frame_padded(f->size);
}

static bool carries(const frame *f)
{
    return f->kind == FRAME_MESSAGE || f->kind == FRAME_REQUEST || f->kind == FRAME_REPLY || f->kind == FRAME_ERROR;
}

static bool is_last_reply(const frame *f)
{
    return f->kind == FRAME_ERROR || (f->kind == FRAME_REPLY && (f->flags & FRAME_MORE) == 0);
}

static int make_room(outbox_queue *q, size_t size)
{
    if (q->start > 0 &&
        q->start >= q->end - q->start) { /* never more than what has been sent since: moving stays cheap */
        memmove(q->data, q->data + q->start, q->end - q->start);
        q->end -= q->start;
        q->start = 0;
    }
    size_t capacity = q->capacity == 0 ? FIRST_QUEUE : q->capacity;
    while (capacity - q->end < size) {
        capacity *= 2;
    }
    if (capacity != q->capacity) {
        unsigned char *data = realloc(q->data, capacity);
        if (data == NULL) {
            return -ENOMEM;
        }
        q->data = data;
        q->capacity = capacity;
    }
    return 0;
}

static inline int reserve(outbox_queue *q, size_t size)
{
    return q->capacity - q->end >= size ? 0 : make_room(q, size);
}

/* The payload from its byte `at` on, and the padding; there is room. */
static void append_payload(outbox_queue *q, const frame *f, const void *payload, size_t at)
{
    const size_t padded = frame_padded(f->size);
    if (padded > at) {
        unsigned char *to = q->data + q->end, *end = to + (padded - at);
        while (end > to + (at < f->size ? f->size - at : 0)) {
            *--end = 0;
        }
        if (end > to) {
            memcpy(to, (const unsigned char *)payload + at, (size_t)(end - to));
        }
        q->end += padded - at;
    }
}

/* The frame from its byte `at` on. */
static void append_rest(outbox_queue *q, const frame *f, const void *payload, size_t at)
{
    if (at < FRAME_HEADER_SIZE) {
        unsigned char header[FRAME_HEADER_SIZE];
        frame_encode(f, header);
        memcpy(q->data + q->end, header + at, FRAME_HEADER_SIZE - at);
        q->end += FRAME_HEADER_SIZE - at;
        at = FRAME_HEADER_SIZE;
    }
    append_payload(q, f, payload, at - FRAME_HEADER_SIZE);
}

static outbox_fds *hold_fds(const int *fds, size_t count)
{
    outbox_fds *held = malloc(sizeof *held + count * sizeof(int));
    if (held != NULL) {
        held->next = NULL;
        held->count = count;
        memcpy(held->fds, fds, count * sizeof(int));
    }
    return held;
}

int outbox_put(outbox *o, int queue, const frame *f, const void *payload, const int *fds)
{
    outbox_queue *q = &o->queues[queue];
    outbox_fds *held = NULL;
    int err = reserve(q, wire_size(f));
    if (err == 0 && f->fd_count > 0) {
        held = hold_fds(fds, f->fd_count);
        err = held == NULL ? -ENOMEM : 0;
    }
    if (err < 0) {
        return err;
    }
    if (held != NULL) {
        *q->last_fds = held;
        q->last_fds = &held->next;
    }
    frame_encode(f, q->data + q->end);
    q->end += FRAME_HEADER_SIZE;
    append_payload(q, f, payload, 0);
    if (carries(f)) {
        o->pending += outbox_weight(f->size);
        o->replies += is_last_reply(f);
    }
    return 0;
}

int outbox_put_rest(outbox *o, int queue, const frame *f, const void *payload, size_t went)
{
    outbox_queue *q = &o->queues[queue];
    size_t left = wire_size(f) - went;
    if (frame_is_gated(f)) {
        o->sent += (uint32_t)wire_size(f);
    }
    if (left == 0) {
        return 0;
    }
    int err = reserve(q, left);
    if (err < 0) {
        return err;
    }
    append_rest(q, f, payload, went);
    o->begun = q;
    o->begun_left = left;
    o->begun_carries = true;
    o->begun_request = f->kind == FRAME_REQUEST ? f->id : 0;
    return 0;
}

bool outbox_admits(const outbox *o, size_t size)
{
    uint32_t outstanding = o->sent - o->acked;
    return outstanding == 0 || outstanding + size <= o->window;
}

/* ---- what is next ---- */

static void add_piece(outbox_batch *batch, const outbox_queue *q, size_t at, size_t size)
{
    if (size > 0) {
        batch->pieces[batch->piece_count++] = (struct iovec){.iov_base = q->data + at, .iov_len = size};
    }
}

/* The frames from `at` on that may go in this batch. A frame with descriptors goes alone, and only its beginning. */
static size_t run_of(const outbox *o, const outbox_queue *q, size_t at, uint32_t ack, size_t size_so_far,
                     outbox_batch *batch)
{
    uint32_t sent = o->sent;
    size_t run = 0;
    while (at + run < q->end && size_so_far + run < o->most && batch->frames < MOST_FRAMES && batch->fd_count == 0) {
        unsigned char *header = q->data + at + run;
        frame f;
        frame_read_own(&f, header);
        size_t size = wire_size(&f);
        uint32_t outstanding = sent - o->acked;
        if (frame_is_gated(&f) && outstanding != 0 && outstanding + size > o->window) {
            break;
        }
        if (f.fd_count > 0) {
            if (size_so_far + run > 0) {
                break;
            }
            batch->fds = q->first_fds->fds;
            batch->fd_count = q->first_fds->count;
            run = size < MOST_WITH_FDS ? size : MOST_WITH_FDS;
        } else {
            run += size;
        }
        frame_set_ack(header, ack);
        sent += frame_is_gated(&f) ? (uint32_t)size : 0;
        batch->weight += carries(&f) ? outbox_weight(f.size) : 0;
        batch->replies += is_last_reply(&f);
        batch->frames++;
    }
    batch->gated += sent - o->sent;
    return run;
}

static bool may_begin(const outbox *o, const outbox_queue *q)
{
    frame f;
    if (q->start == q->end) {
        return false;
    }
    frame_read_own(&f, q->data + q->start);
    return !frame_is_gated(&f) || outbox_admits(o, wire_size(&f));
}

bool outbox_can_send(const outbox *o)
{
    return o->begun != NULL || may_begin(o, &o->queues[OUTBOX_URGENT]) || may_begin(o, &o->queues[OUTBOX_GATED]);
}

bool outbox_next(outbox *o, uint32_t ack, outbox_batch *batch)
{
    *batch = (outbox_batch){.piece_count = 0};
    size_t size = 0;
    if (o->begun != NULL) {
        add_piece(batch, o->begun, o->begun->start, o->begun_left);
        size = o->begun_left;
        batch->taken[o->begun - o->queues] = size;
    }
    for (int i = 0; i < OUTBOX_QUEUES && batch->fd_count == 0; i++) {
        outbox_queue *q = &o->queues[i];
        size_t at = q->start + (q == o->begun ? o->begun_left : 0);
        size_t run = run_of(o, q, at, ack, size, batch);
        add_piece(batch, q, at, run);
        batch->begins = batch->begins || run > 0;
        batch->taken[i] += run;
        size += run;
        if (at + run < q->end && i == OUTBOX_URGENT) {
            break; /* what is urgent keeps its order */
        }
    }
    batch->size = size;
    return size > 0;
}

static void finish_queue(outbox_queue *q)
{
    if (q->start == q->end) {
        q->start = q->end = 0;
        if (q->capacity > KEPT_QUEUE) {
            free(q->data);
            q->data = NULL;
            q->capacity = 0;
        }
    }
}

/* Takes the next frame's header into account. */
static size_t begin_frame(outbox *o, outbox_queue *q, bool *fds_went)
{
    frame f;
    frame_read_own(&f, q->data + q->start);
    if (frame_is_gated(&f)) {
        o->sent += (uint32_t)wire_size(&f);
    }
    if (carries(&f)) {
        o->pending -= outbox_weight(f.size);
        o->replies -= is_last_reply(&f);
    }
    o->begun_carries = carries(&f);
    o->begun_request = f.kind == FRAME_REQUEST ? f.id : 0;
    if (f.fd_count > 0 && *fds_went) {
        drop_first_fds(q);
        *fds_went = false;
    }
    return wire_size(&f);
}

static size_t advance(outbox *o, outbox_queue *q, size_t size)
{
    size_t step = size < o->begun_left ? size : o->begun_left;
    q->start += step;
    o->begun_left -= step;
    if (o->begun_left == 0) {
        o->begun = NULL;
    }
    return step;
}

/* The whole batch went: what was added up when it was made holds. */
static void take_out_batch(outbox *o, const outbox_batch *batch)
{
    o->sent += batch->gated;
    o->pending -= batch->weight;
    o->replies -= batch->replies;
    o->begun = NULL;
    o->begun_left = 0;
    for (int i = 0; i < OUTBOX_QUEUES; i++) {
        o->queues[i].start += batch->taken[i];
        finish_queue(&o->queues[i]);
    }
}

void outbox_sent(outbox *o, const outbox_batch *batch, size_t size)
{
    bool fds_went = batch->fd_count > 0;
    o->most = size > 0 ? MOST_AT_ONCE : LEAST_AT_ONCE;
    if (size == batch->size && !fds_went) {
        take_out_batch(o, batch);
        return;
    }
    if (o->begun != NULL) {
        size -= advance(o, o->begun, size);
    }
    for (int i = 0; i < OUTBOX_QUEUES; i++) {
        outbox_queue *q = &o->queues[i];
        while (size > 0 && q->start < q->end) {
            o->begun = q;
            o->begun_left = begin_frame(o, q, &fds_went);
            size -= advance(o, q, size);
        }
        finish_queue(q);
    }
}

size_t outbox_remove(outbox *o, int queue, uint8_t kind, uint32_t id)
{
    outbox_queue *q = &o->queues[queue];
    size_t at = q->start + (q == o->begun ? o->begun_left : 0), removed = 0;
    while (at < q->end) {
        frame f;
        frame_read_own(&f, q->data + at);
        size_t size = wire_size(&f);
        if (f.kind == kind && f.id == id && f.fd_count == 0) {
            memmove(q->data + at, q->data + at + size, q->end - at - size);
            q->end -= size;
            o->pending -= carries(&f) ? outbox_weight(f.size) : 0;
            removed++;
        } else {
            at += size;
        }
    }
    finish_queue(q);
    return removed;
}

bool outbox_has(const outbox *o, int queue, uint8_t kind, uint32_t id)
{
    const outbox_queue *q = &o->queues[queue];
    for (size_t at = q->start + (q == o->begun ? o->begun_left : 0); at < q->end;) {
        frame f;
        frame_read_own(&f, q->data + at);
        if (f.kind == kind && f.id == id) {
            return true;
        }
        at += wire_size(&f);
    }
    return false;
}

bool outbox_holds_request(const outbox *o, uint32_t id)
{
    return (o->begun != NULL && o->begun_request == id) || outbox_has(o, OUTBOX_GATED, FRAME_REQUEST, id);
}

bool outbox_acknowledge(outbox *o, uint32_t ack)
{
    if (ack - o->acked > o->sent - o->acked) {
        return false;
    }
    o->acked = ack;
    return true;
}
