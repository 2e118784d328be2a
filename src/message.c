/*
 * Messages as programs see them: sending with backpressure, receiving as views, taking descriptors.
 */
#include "channel.h"

#include "os/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

enum {
    LARGE_MESSAGE = 16 * 1024, /* post writes it straight from the caller's memory, where nothing waits */
    SMALL_MESSAGE = 512        /* with its header */
};

/* ---- what may be sent ---- */

int message_check(const proc_message *message)
{
    if (message == NULL || (message->data == NULL && message->size > 0) ||
        (message->fds == NULL && message->fd_count > 0)) {
        return -EINVAL;
    }
    return 0;
}

/* 0, or what refuses it for good. */
static int message_admit(proc_channel *c, const proc_message *message, bool reply)
{
    if (c->error < 0) {
        return c->error;
    }
    if (c->write_ended || (c->shut && !reply)) {
        return -EPIPE;
    }
    if (message->size > c->peer_max_size) {
        return -EMSGSIZE;
    }
    return message->fd_count > c->peer_max_fds ? -E2BIG : 0;
}

/* ---- queueing ---- */

static int copy_fds(const proc_message *message, int **copies)
{
    int *fds = malloc(message->fd_count * sizeof *fds);
    if (fds == NULL) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < message->fd_count; i++) {
        fds[i] = fcntl(message->fds[i], F_DUPFD_CLOEXEC, 3);
        if (fds[i] < 0) {
            int err = -errno;
            while (i-- > 0) {
                sys_close(&fds[i]);
            }
            free(fds);
            return err;
        }
    }
    *copies = fds;
    return 0;
}

static void close_copies(const proc_message *message, int *fds)
{
    for (size_t i = 0; i < message->fd_count; i++) {
        sys_close(&fds[i]);
    }
}

static ssize_t send_straight(proc_channel *c, const frame *f, const void *payload)
{
    unsigned char bytes[SMALL_MESSAGE + FRAME_ALIGNMENT];
    const size_t padding = frame_padded(f->size) - f->size;
    frame_encode(f, bytes);
    if (f->size <= SMALL_MESSAGE - FRAME_HEADER_SIZE) { /* a copy costs less than a list of pieces */
        if (f->size > 0) {
            memcpy(bytes + FRAME_HEADER_SIZE, payload, f->size);
        }
        memset(bytes + FRAME_HEADER_SIZE + f->size, 0, padding);
        const struct iovec whole = {.iov_base = bytes, .iov_len = FRAME_HEADER_SIZE + f->size + padding};
        return socket_send(c->write_fd, &whole, 1, NULL, 0);
    }
    static const unsigned char zeros[FRAME_ALIGNMENT];
    const struct iovec pieces[] = {
        {.iov_base = bytes, .iov_len = FRAME_HEADER_SIZE},
        {.iov_base = (void *)(uintptr_t)payload, .iov_len = f->size},
        {.iov_base = (void *)(uintptr_t)zeros, .iov_len = padding},
    };
    return socket_send(c->write_fd, pieces, 3, NULL, 0);
}

/* Where nothing waits, what the socket takes at once needs no copy. True: it went, or *err says why it never will. */
static bool queue_straight(proc_channel *c, int queue, frame *f, const proc_message *message, int *err)
{
    if (message->fd_count > 0 || !c->write_socket || !outbox_is_empty(&c->out) || c->retry_at != SYS_NEVER ||
        (frame_is_gated(f) && !outbox_admits(&c->out, FRAME_HEADER_SIZE + frame_padded(f->size)))) {
        return false;
    }
    f->ack = c->granted;
    ssize_t put = send_straight(c, f, message->data);
    if (put <= 0) {
        return false; /* the ordinary way finds out why */
    }
    channel_has_told(c);
    *err = outbox_put_rest(&c->out, queue, f, message->data, (size_t)put);
    if (*err < 0) {
        channel_fail(c, *err, "out of memory");
    }
    return true;
}

int message_queue(proc_channel *c, int queue, frame *f, const proc_message *message, bool writes)
{
    int err = 0, *fds = NULL;
    f->size = (uint32_t)message->size;
    f->type = message->type;
    f->fd_count = (uint8_t)message->fd_count;
    if ((writes || message->size >= LARGE_MESSAGE) && queue_straight(c, queue, f, message, &err)) {
        return err;
    }
    if (message->fd_count == 0) {
        return outbox_put(&c->out, queue, f, message->data, NULL);
    }
    err = copy_fds(message, &fds);
    if (err < 0) {
        return err;
    }
    err = outbox_put(&c->out, queue, f, message->data, fds);
    if (err < 0) {
        close_copies(message, fds);
    }
    free(fds);
    return err;
}

static bool fits_limits(const proc_channel *c, const proc_message *message)
{
    return c->hello_came || (message->size <= CHANNEL_BASELINE_SIZE && message->fd_count == 0);
}

static bool message_has_room(const proc_channel *c, const proc_message *message)
{
    size_t pending = outbox_pending(&c->out), weight = outbox_weight(message->size);
    return pending == 0 || (weight <= c->high_water && pending <= c->high_water - weight);
}

static bool may_go(proc_channel *c, const proc_message *message, message_kind kind, uint32_t request)
{
    if (kind == MESSAGE_PART && rpc_is_cancelled(c, request)) {
        return true; /* nothing is sent */
    }
    if (!fits_limits(c, message) || (kind != MESSAGE_LAST_REPLY && !message_has_room(c, message))) {
        return false; /* the last reply is bounded by what the other end has asked for */
    }
    return kind != MESSAGE_REQUEST || c->own_count < c->peer_max_requests;
}

static int await_room(proc_channel *c, int64_t deadline, unsigned *reads)
{
    c->awaiting_room++;
    int err = channel_await_other_end(c, deadline, reads);
    c->awaiting_room--;
    return err;
}

/* Waits until it may go, reading ahead: the other end may be doing the very same. Lock held. */
int message_wait_for_room(proc_channel *c, const proc_message *message, int64_t deadline, message_kind kind,
                          uint32_t request)
{
    unsigned reads = 0;
    for (bool wrote = false;;) {
        channel_parse(c, false);
        int err = message_admit(c, message, kind >= MESSAGE_PART);
        if (err < 0 || may_go(c, message, kind, request)) {
            return err;
        }
        if (!wrote) {
            channel_write(c);
            wrote = true;
            continue;
        }
        err = await_room(c, deadline, &reads);
        if (err < 0) {
            return err;
        }
        wrote = false;
    }
}

static bool is_plain(const proc_message *message)
{
    return (message->flags & ~(uint32_t)PROC_FDS_LOST) == 0;
}

/* A loop tells when there is room for the smallest of those that were refused. */
static void note_refusal(proc_channel *c, const proc_message *message)
{
    if (!c->refused || message->size < c->refused_size) {
        c->refused_size = message->size;
    }
    c->refused = true;
}

bool message_has_room_again(const proc_channel *c)
{
    const proc_message refused = {.size = c->refused_size};
    return c->refused && !c->write_ended && c->hello_came && message_has_room(c, &refused);
}

/* Who posts again and again, and flushes in between, reads nowhere else. */
static void look_for_limits(proc_channel *c)
{
    int cancel = sys_hold_cancel();
    c->drained = false;
    (void)channel_read(c);
    channel_parse(c, false);
    sys_release_cancel(cancel);
}

int proc_channel_post(proc_channel *channel, const proc_message *message)
{
    int err = message_check(message);
    if (!channel_is_ours(channel) || err < 0 || !is_plain(message)) {
        return -EINVAL;
    }
    bool calls = message->size >= LARGE_MESSAGE || message->fd_count > 0; /* the system, that is */
    int cancel = calls ? sys_hold_cancel() : 0;
    channel_lock(channel);
    if (channel->refused && !channel->hello_came && !fits_limits(channel, message)) {
        look_for_limits(channel);
    }
    err = message_admit(channel, message, false);
    if (err == 0 && !may_go(channel, message, MESSAGE_PLAIN, 0)) {
        err = -EAGAIN;
        note_refusal(channel, message);
    }
    if (err == 0) {
        frame f = {.kind = FRAME_MESSAGE};
        err = message_queue(channel, OUTBOX_GATED, &f, message, false);
        channel->posted = true;
    }
    channel_unlock(channel);
    if (calls) {
        sys_release_cancel(cancel);
    }
    return err;
}

int proc_channel_send(proc_channel *channel, const proc_message *message, int timeout_ms)
{
    int err = message_check(message);
    if (!channel_is_ours(channel) || err < 0 || !is_plain(message) || timeout_ms < PROC_FOREVER) {
        return -EINVAL;
    }
    int cancel = sys_hold_cancel();
    channel_lock(channel);
    int64_t deadline = channel_deadline(timeout_ms);
    err = message_wait_for_room(channel, message, deadline, MESSAGE_PLAIN, 0);
    if (err == 0) {
        frame f = {.kind = FRAME_MESSAGE};
        err = message_queue(channel, OUTBOX_GATED, &f, message, true);
    }
    if (err == 0) {
        channel_write(channel);
        err = channel->write_ended ? -EPIPE : 0;
    }
    channel_unlock(channel);
    sys_release_cancel(cancel);
    return err;
}

static int flush(proc_channel *c, int64_t deadline)
{
    unsigned reads = 0;
    for (;;) {
        channel_parse(c, false);
        channel_write(c);
        if (c->error < 0) {
            return c->error;
        }
        if (c->write_ended) {
            return outbox_is_empty(&c->out) ? 0 : -EPIPE;
        }
        if (outbox_is_empty(&c->out)) {
            return 0;
        }
        int err = await_room(c, deadline, &reads);
        if (err < 0) {
            return err;
        }
    }
}

int proc_channel_flush(proc_channel *channel, int timeout_ms)
{
    if (!channel_is_ours(channel) || timeout_ms < PROC_FOREVER) {
        return -EINVAL;
    }
    int cancel = sys_hold_cancel();
    channel_lock(channel);
    int err = flush(channel, channel_deadline(timeout_ms));
    channel_unlock(channel);
    sys_release_cancel(cancel);
    return err;
}

int proc_channel_shutdown(proc_channel *channel)
{
    static const frame end = {.kind = FRAME_END};
    if (!channel_is_ours(channel)) {
        return -EINVAL;
    }
    int cancel = sys_hold_cancel();
    channel_lock(channel);
    int err = channel->error;
    if (err == 0 && !channel->shut) {
        /* Behind the messages: in their queue, where the window holds back what is in front of it. */
        err = channel->write_ended ? -EPIPE : outbox_put(&channel->out, OUTBOX_GATED, &end, NULL, NULL);
        channel->shut = err == 0;
        channel->news = true; /* to who waits for room */
        channel_write(channel);
    }
    channel_unlock(channel);
    sys_release_cancel(cancel);
    return err;
}

size_t proc_channel_pending(const proc_channel *channel)
{
    if (!channel_is_ours(channel)) {
        return 0;
    }
    proc_channel *c = (proc_channel *)(uintptr_t)channel;
    channel_lock(c);
    size_t pending = c->write_ended ? 0 : outbox_pending(&c->out);
    channel_unlock(c);
    return pending;
}

/* ---- receiving ---- */

void message_fill(proc_message *message, const inbox_frame *f, uint32_t time_left)
{
    static const uint32_t flags[FRAME_KINDS] = {
        [FRAME_REQUEST] = PROC_REQUEST, [FRAME_REPLY] = PROC_REPLY, [FRAME_ERROR] = PROC_REPLY | PROC_FAILURE};
    *message = (proc_message){
        .type = f->header.type,
        .id = f->header.id,
        .flags = flags[f->header.kind] | ((f->header.flags & FRAME_MORE) != 0 ? PROC_MORE : 0u),
        .time_left = time_left,
        .data = f->payload,
        .size = f->header.size,
    };
    if (f->batch != NULL && f->batch->lost) {
        message->flags |= PROC_FDS_LOST;
    } else if (f->batch != NULL) {
        message->fds = f->batch->fds;
        message->fd_count = f->batch->count;
        message->owner = f->batch;
    }
}

int message_take(proc_channel *c, proc_message *message)
{
    channel_drop_frame(c, &c->current);
    if (c->kept_count == 0 && channel_take_plain(c)) {
        message_fill(message, &c->current, 0);
        return 0;
    }
    c->wants_next = c->kept_count == 0;
    channel_parse(c, true);
    if (c->current.slab == NULL && c->kept_count > 0) {
        channel_take_kept(c, &c->current);
    }
    if (c->current.slab != NULL) {
        message_fill(message, &c->current, rpc_time_left(&c->current.header));
        return 0;
    }
    if (c->error < 0) {
        return c->error;
    }
    return c->read_ended || (c->peer_shut && c->own_awaited == 0) ? -EPIPE : -EAGAIN;
}

static int receive_message(proc_channel *c, proc_message *message, int64_t deadline)
{
    unsigned reads = 0;
    for (;;) {
        int taken = message_take(c, message);
        if (taken == 0) {
            channel_tell(c);
        }
        if (taken != -EAGAIN) {
            return taken;
        }
        channel_write(c);
        int err = channel_read_or_wait(c, deadline, &reads);
        if (err < 0) {
            return err;
        }
    }
}

int proc_channel_recv(proc_channel *channel, proc_message *message, int timeout_ms)
{
    if (message == NULL) {
        return -EINVAL;
    }
    *message = (proc_message){.type = 0};
    if (!channel_is_ours(channel) || timeout_ms < PROC_FOREVER) {
        return -EINVAL;
    }
    channel_lock(channel);
    /* Most often it is here already, and all that is left to do is no system call. */
    int err = channel->hello_came ? message_take(channel, message) : -EAGAIN;
    if (err != 0 || channel->posted || channel_has_to_tell(channel)) {
        int cancel = sys_hold_cancel();
        if (err == -EAGAIN) {
            err = receive_message(channel, message, channel_deadline(timeout_ms));
        } else {
            channel_tell(channel);
        }
        sys_release_cancel(cancel);
    }
    channel_unlock(channel);
    return err;
}

int proc_message_take_fd(proc_message *message, size_t index)
{
    if (message == NULL) {
        return -EINVAL;
    }
    fd_batch *b = message->owner;
    if (b == NULL || b->kind == OWNER_SLAB || index >= b->count || b->fds[index] < 0) {
        return -EBADF;
    }
    int fd = b->fds[index];
    b->fds[index] = -1;
    return fd;
}

void proc_message_clear(proc_message *message)
{
    if (message == NULL || message->owner == NULL) {
        return;
    }
    fd_batch *b = message->owner;
    switch (b->kind) {
    case OWNER_SLAB:
        slab_release(message->owner);
        break;
    case OWNER_LENT_FDS:
        fd_batch_close(b);
        return;
    case OWNER_GIVEN_FDS:
        slab_release(b->slab);
        fd_batch_free(b);
        break;
    }
    *message = (proc_message){.type = 0};
}
