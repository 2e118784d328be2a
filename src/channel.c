/*
 * The machine under the messages: what it takes to write, to read, to understand what came, and to wait. It does not know
 * what a call is (rpc.c), nor how a program names a message (message.c).
 */
#include "channel.h"

#include "os/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    MOST_WINDOW = 1024 * 1024 * 1024, /* whatever another end claims */
    MUCH_OF_A_PART = 4096             /* what the smallest pipe holds */
};

/* ---- what there is to say ---- */

/* The window holds something back: asked once, so that not even the smallest rest is waited for too long. */
static bool has_to_ask(const proc_channel *c)
{
    const outbox_queue *q = &c->out.queues[OUTBOX_GATED];
    bool stuck = c->hello_came && c->out.begun == NULL && q->start < q->end;
    return stuck && !c->ping_out && c->retry_at == SYS_NEVER;
}

bool channel_has_to_write(const proc_channel *c)
{
    return !c->write_ended && (outbox_can_send(&c->out) || c->pong_due || channel_has_to_tell(c) || has_to_ask(c));
}

/* ---- lock and wait ---- */

/*
 * The driver polls for what there was to do when it began, and does not see what another thread has read. One byte at a
 * time is in the pipe, so this never waits.
 */
static void alarm_driver(proc_channel *c)
{
    bool stale = c->news || (!c->watches_write && channel_has_to_write(c));
    if (!c->woken && c->wake[1] >= 0 && stale) {
        int cancel = sys_hold_cancel();
        c->woken = true;
        (void)sys_write(c->wake[1], "", 1);
        sys_release_cancel(cancel);
    }
}

void channel_unlock_quietly(proc_channel *c)
{
    if (c->sleepers > 0) {
        (void)pthread_cond_broadcast(&c->changed);
    }
    if (c->driving) {
        alarm_driver(c);
    }
    (void)pthread_mutex_unlock(&c->lock);
}

static bool needs_attention(const proc_channel *c)
{
    return c->kept_count > 0 || inbox_has_part(&c->in) || outbox_can_send(&c->out) || channel_has_to_write(c) ||
           message_has_room_again(c) || (!c->told_end && (c->read_ended || c->error < 0));
}

void channel_unlock(proc_channel *c)
{
    if (c->observer != NULL && needs_attention(c)) {
        c->observer->attention(c->observer);
    }
    channel_unlock_quietly(c);
}

static void least(int64_t *deadline, int64_t other)
{
    *deadline = other < *deadline ? other : *deadline;
}

int64_t channel_own_deadline(const proc_channel *c)
{
    int64_t deadline = c->retry_at;
    least(&deadline, c->part_by);
    if (!c->hello_came && !c->read_ended) {
        least(&deadline, c->hello_by);
    }
    return deadline;
}

static bool is_late(const proc_channel *c, int64_t now)
{
    return c->part_by <= now || (!c->hello_came && !c->read_ended && c->hello_by <= now);
}

bool channel_check_deadlines(proc_channel *c)
{
    if (channel_own_deadline(c) == SYS_NEVER) {
        return false;
    }
    int64_t now = sys_now();
    int reads = 0;
    if (is_late(c, now)) {
        channel_parse(c, false); /* a loop reads first */
        c->drained = false;
    }
    while (is_late(c, now) && reads < CHANNEL_READS_A_LOOK && channel_read(c)) {
        channel_parse(c, false);
        reads++;
    }
    if (is_late(c, now)) {
        channel_fail(c, -EPROTO,
                     c->hello_came ? "a message that began did not arrive in time"
                                   : "the other end did not say HELLO in time");
    }
    if (c->retry_at <= now) {
        c->retry_at = SYS_NEVER;
    }
    return reads > 0;
}

/* Sleeps until the driver, or anybody, has changed something. */
static int sleep_on(proc_channel *c, int64_t deadline)
{
    int err = 0;
    alarm_driver(c); /* who wakes the others */
    c->sleepers++;
    if (deadline == SYS_NEVER) {
        err = pthread_cond_wait(&c->changed, &c->lock);
    } else {
        struct timespec until = {.tv_sec = (time_t)(deadline / 1000000000), .tv_nsec = (long)(deadline % 1000000000)};
        err = pthread_cond_timedwait(&c->changed, &c->lock, &until);
    }
    c->sleepers--;
    return -err;
}

/* Once there is one it stays the same. */
int channel_peer_exit_fd(proc_channel *c)
{
    if (c->exit_fd < 0 && c->peer_exit_fd != NULL && !c->read_ended) {
        c->exit_fd = c->peer_exit_fd(c->peer);
    }
    return c->read_ended ? -1 : c->exit_fd;
}

bool channel_has_lost_peer(proc_channel *c)
{
    struct pollfd exit = {.fd = channel_peer_exit_fd(c), .events = POLLIN};
    return exit.fd >= 0 && sys_poll(&exit, 1, 0) > 0;
}

static int drive(proc_channel *c, int64_t deadline)
{
    enum { READ, WAKE, EXIT, WRITE, COUNT, BLIND_MS = 10 };
    bool write = !c->write_ended && c->retry_at == SYS_NEVER && outbox_can_send(&c->out);
    struct pollfd fds[COUNT] = {
        [READ] = {.fd = c->read_ended ? -1 : c->read_fd, .events = POLLIN},
        [WRITE] = {.fd = write ? c->write_fd : -1, .events = POLLOUT},
        [EXIT] = {.fd = channel_peer_exit_fd(c), .events = POLLIN},
    };
    least(&deadline, channel_own_deadline(c));
    if (c->wake[0] < 0 && sys_pipe(c->wake) < 0) {
        least(&deadline, sys_deadline(sys_now(), BLIND_MS)); /* out of descriptors: look now and then */
    }
    fds[WAKE] = (struct pollfd){.fd = c->wake[0], .events = POLLIN};
    if (c->news && c->sleepers > 0) {
        (void)pthread_cond_broadcast(&c->changed); /* it may be for one of them */
    }
    c->driving = true;
    c->watches_write = write || c->retry_at != SYS_NEVER;
    c->news = false;
    (void)pthread_mutex_unlock(&c->lock);
    int ready = sys_poll(fds, COUNT, deadline);
    (void)pthread_mutex_lock(&c->lock);
    c->driving = false;
    c->peer_gone = c->peer_gone || (ready > 0 && fds[EXIT].revents != 0);
    c->drained = c->drained && !c->peer_gone && (ready <= 0 || fds[READ].revents == 0);
    if (c->woken) {
        char byte;
        c->woken = false;
        (void)sys_read(c->wake[0], &byte, 1);
    }
    if (c->sleepers > 0) {
        (void)pthread_cond_broadcast(&c->changed); /* somebody has to drive on */
    }
    return ready < 0 ? ready : 0;
}

int channel_wait(proc_channel *c, int64_t deadline)
{
    if (channel_check_deadlines(c) || c->error < 0) { /* also for those who only ever look */
        return 0;
    }
    if (c->peer_gone) {
        /* Nothing was here to read since then, and nobody is left, even if what the child has started holds on to it. */
        c->read_ended = true;
        channel_end_writing(c);
        return 0;
    }
    if (c->read_ended && !outbox_can_send(&c->out)) {
        channel_end_writing(c); /* no acknowledgement, no reply, no HELLO will come any more */
        return 0;
    }
    if (deadline == 0 || (deadline != SYS_NEVER && deadline <= sys_now())) {
        c->peer_gone = channel_has_lost_peer(c);
        bool look = c->drained || c->peer_gone;
        c->drained = false;
        return look ? 0 : -ETIMEDOUT;
    }
    int err = c->driving ? sleep_on(c, deadline) : drive(c, deadline);
    (void)channel_check_deadlines(c);
    return err == -ETIMEDOUT ? 0 : err; /* the caller looks once more, and is told the next time */
}

/* ---- ends and failures ---- */

void channel_end_writing(proc_channel *c)
{
    c->write_ended = c->news = true;
    outbox_drop_fds(&c->out);
}

void channel_fail(proc_channel *c, int error, const char *why)
{
    if (c->error == 0) {
        c->error = error;
        c->why = why;
    }
    c->read_ended = true;
    channel_end_writing(c);
    c->part_by = c->retry_at = SYS_NEVER;
    inbox_drop_fds(&c->in);
    rpc_end(c);
}

/* ---- writing ---- */

static ssize_t send_batch(proc_channel *c, const outbox_batch *batch)
{
    if (c->write_socket) {
        return socket_send(c->write_fd, batch->pieces, batch->piece_count, batch->fds, batch->fd_count);
    }
    return socket_send_pipe(c->write_fd, batch->pieces, batch->piece_count);
}

/* A full table of descriptors under way (ETOOMANYREFS) cannot be polled for. */
static bool is_passing(proc_channel *c, ssize_t err)
{
    if (err == -ETOOMANYREFS || err == -EMSGSIZE || err == -ENOMEM) {
        c->retry_at = sys_deadline(sys_now(), 20);
        return true;
    }
    return err == -EAGAIN;
}

/* ---- flow: how far the other end may count what it sent as taken ---- */

static void grant(proc_channel *c, uint32_t target)
{
    if ((int32_t)(target - c->granted) > 0) {
        c->granted = target;
    }
}

void channel_consume(proc_channel *c, const frame *f)
{
    if (frame_is_gated(f)) {
        c->consumed += (uint32_t)(FRAME_HEADER_SIZE + frame_padded(f->size));
        grant(c, c->consumed);
    }
}

/* While somebody waits for something else, what is kept does not count: it is less than the backlog. */
void channel_grant_ahead(proc_channel *c)
{
    grant(c, c->received);
}

static void queue_control(proc_channel *c)
{
    if (c->pong_due) {
        const frame pong = {.kind = FRAME_PONG, .id = c->pong_id};
        (void)outbox_remove(&c->out, OUTBOX_URGENT, FRAME_PONG, c->pong_queued); /* the newest answers them all */
        c->pong_queued = c->pong_id;
        c->pong_due = outbox_put(&c->out, OUTBOX_URGENT, &pong, NULL, NULL) < 0;
    }
    if (channel_has_to_tell(c) && !outbox_can_send(&c->out)) { /* what the window holds back carries no news */
        static const frame ack = {.kind = FRAME_ACK};
        (void)outbox_put(&c->out, OUTBOX_URGENT, &ack, NULL, NULL); /* no memory: the next one will */
    }
}

void channel_has_told(proc_channel *c)
{
    c->told = c->granted;
    c->pinged = c->pinged && c->told != c->received; /* one answer for one question */
}

static void write_queued(proc_channel *c)
{
    outbox_batch batch;
    while (!c->write_ended && c->retry_at == SYS_NEVER && outbox_next(&c->out, c->granted, &batch)) {
        ssize_t put = send_batch(c, &batch);
        if (put >= 0) {
            outbox_sent(&c->out, &batch, (size_t)put);
            c->news = c->news || c->awaiting_room > 0; /* the driver's poll may not see it */
            if (batch.begins) {
                channel_has_told(c);
            }
        } else if (is_passing(c, put)) {
            outbox_sent(&c->out, &batch, 0);
            return;
        } else {
            channel_end_writing(c); /* EPIPE, ECONNRESET: nobody reads; what they sent before can still be read */
        }
    }
}

void channel_write(proc_channel *c)
{
    c->posted = false;
    if (outbox_is_empty(&c->out) && !c->pong_due && !channel_has_to_tell(c)) {
        return;
    }
    queue_control(c);
    write_queued(c);
    if (!c->write_ended && has_to_ask(c)) {
        const frame ping = {.kind = FRAME_PING, .id = ++c->ping_id};
        c->ping_out = outbox_put(&c->out, OUTBOX_URGENT, &ping, NULL, NULL) == 0;
        c->ping_ack = c->out.acked;
        write_queued(c);
    }
}

/* ---- reading ---- */

static ssize_t read_bytes(proc_channel *c, unsigned char *at, size_t room)
{
    if (!c->read_socket) {
        return socket_receive_pipe(c->read_fd, at, room);
    }
    if (c->refuses_fds) {
        return socket_receive(c->read_fd, at, room, NULL);
    }
    socket_fds fds;
    ssize_t got = socket_receive(c->read_fd, at, room, &fds);
    if (got >= 0 && (fds.count > 0 || fds.lost) && inbox_add_fds(&c->in, fds.fds, fds.count, fds.lost) < 0) {
        channel_fail(c, -ENOMEM, "out of memory");
    }
    return got;
}

bool channel_read(proc_channel *c)
{
    unsigned char *at;
    size_t room;
    if (c->read_ended || c->drained || (c->peer_gone && c->last_reads++ >= CHANNEL_LAST_READS)) {
        return false;
    }
    int err = inbox_space(&c->in, &at, &room);
    if (err < 0) {
        channel_fail(c, err, "out of memory");
        return false;
    }
    ssize_t got = read_bytes(c, at, room);
    if (got == -EAGAIN) {
        return false;
    }
    c->news = true;
    if (got <= 0) { /* the end; ECONNRESET is one too */
        c->read_ended = true;
        return true;
    }
    inbox_add(&c->in, (size_t)got);
    c->drained = (size_t)got < room && !c->peer_gone; /* of a dead peer every last byte: descriptors end a read early */
    return true;
}

/* The one thing that is told to an end that cannot go on with us. */
static const char *say_goodbye(proc_channel *c, const char *why)
{
    const frame goodbye = {.kind = FRAME_GOAWAY, .size = (uint32_t)strlen(why)};
    if (outbox_put(&c->out, OUTBOX_URGENT, &goodbye, why, NULL) == 0) {
        write_queued(c);
    }
    return why;
}

static const char *take_hello(proc_channel *c, const inbox_frame *f)
{
    frame_hello hello;
    const char *why = c->hello_came ? "a second HELLO" : frame_decode_hello(&hello, f->payload, f->header.size);
    if (why != NULL) {
        return why;
    }
    if (hello.protocol_min > FRAME_PROTOCOL) {
        c->fault = -EPROTONOSUPPORT;
        return say_goodbye(c, "a HELLO of a later protocol");
    }
    c->hello_came = true;
    c->peer_max_size = hello.max_size < c->peer_max_size ? hello.max_size : c->peer_max_size;
    c->peer_max_fds = hello.max_fds < c->peer_max_fds ? hello.max_fds : c->peer_max_fds;
    c->peer_max_requests = hello.max_requests;
    c->out.window = hello.window < MOST_WINDOW ? hello.window : MOST_WINDOW;
    return NULL;
}

static const char *take_gated(proc_channel *c, const frame *f)
{
    uint32_t size = (uint32_t)(FRAME_HEADER_SIZE + frame_padded(f->size)), outstanding = c->received - c->granted;
    if (outstanding != 0 && outstanding + size > CHANNEL_WINDOW) { /* one alone may be larger */
        return "more than the window allows";
    }
    c->received += size;
    return c->peer_shut && f->kind != FRAME_REPLY ? "a message after END" : NULL;
}

static void take_ping(proc_channel *c, const frame *f)
{
    c->pong_due = true;
    c->pong_id = f->id;
    c->pinged = true;
}

/* What is not kept by then is dropped by the caller (its slab set to NULL says that it is kept). */
static const char *dispatch(proc_channel *c, inbox_frame *f)
{
    const frame *h = &f->header;
    const char *why = NULL;
    if (!c->hello_came && h->kind != FRAME_HELLO) {
        return "a frame before HELLO";
    }
    if (h->ack != c->out.acked && !outbox_acknowledge(&c->out, h->ack)) {
        return "an acknowledgement of what was never sent";
    }
    c->ping_out = c->ping_out && c->out.acked == c->ping_ack;
    if (frame_is_gated(h) && (why = take_gated(c, h)) != NULL) {
        return why;
    }
    switch (h->kind) {
    case FRAME_HELLO:
        return take_hello(c, f);
    case FRAME_MESSAGE:
        channel_keep(c, f);
        break;
    case FRAME_REQUEST:
        return rpc_take_request(c, f);
    case FRAME_REPLY:
    case FRAME_ERROR:
        return rpc_take_reply(c, f);
    case FRAME_CANCEL:
        rpc_take_cancel(c, h->id);
        break;
    case FRAME_PING:
        take_ping(c, h);
        break;
    case FRAME_GOAWAY: /* it begins nothing more and wants nothing more: what is under way is finished */
        c->shut = c->peer_shut = true;
        break;
    case FRAME_END:
        c->peer_shut = true;
        break;
    default: /* ACK and PONG have said it all in their header; the rest may be ignored */
        break;
    }
    return NULL;
}

/* A new one has its time. An old one has it anew where much has come since this end last looked, and it was not in time for
 * that: the other end may have waited for room. */
static void bound_part(proc_channel *c, bool is_new)
{
    const size_t have = c->in.end - c->in.start;
    const int64_t now = sys_now();
    bool held_up = c->part_by <= now && have - c->part_size >= MUCH_OF_A_PART;
    if (is_new || held_up || c->part_by == SYS_NEVER) {
        c->part_by = sys_deadline(now, c->frame_ms);
    }
    c->part_size = have;
}

void channel_parse(proc_channel *c, bool one)
{
    if (!inbox_has_any(&c->in) && !c->read_ended) {
        c->wants_next = false;
        c->part_by = SYS_NEVER;
        return;
    }
    bool progress = false;
    int more = 1;
    const bool direct = c->wants_next;
    while (c->error == 0 && !(one && (c->kept_count > 0 || (direct && !c->wants_next)))) {
        inbox_frame f;
        const char *why = NULL;
        more = inbox_next(&c->in, &c->limits, &f, &why);
        if (more > 0) {
            why = dispatch(c, &f);
            if (f.slab != NULL) {
                channel_drop_frame(c, &f);
            }
            progress = true;
        }
        if (why != NULL) {
            channel_fail(c, c->fault, why);
        }
        if (more <= 0) {
            break;
        }
    }
    c->wants_next = false;
    if (more == 0 && c->read_ended) {
        rpc_end(c); /* a frame that was cut off is none */
    }
    if (more == 0 && inbox_has_part(&c->in) && c->frame_ms > 0 && !c->read_ended) {
        bound_part(c, progress);
    } else {
        c->part_by = SYS_NEVER;
    }
}

bool channel_take_plain(proc_channel *c)
{
    inbox_frame *f = &c->current;
    if (c->error < 0 || !c->hello_came || c->peer_shut || !inbox_has_plain(&c->in, &c->limits, &f->header) ||
        f->header.ack != c->out.acked || take_gated(c, &f->header) != NULL) {
        return false;
    }
    inbox_hand_out(&c->in, f, FRAME_HEADER_SIZE, FRAME_HEADER_SIZE + frame_padded(f->header.size));
    channel_consume(c, &f->header);
    c->part_by = SYS_NEVER;
    return true;
}

/* ---- time, and those who wait for something else than a message ---- */

int64_t channel_deadline(int timeout_ms)
{
    return timeout_ms == 0 ? 0 : timeout_ms < 0 ? SYS_NEVER : sys_deadline(sys_now(), timeout_ms);
}

/* Who reads and reads would have the lock again before another thread has woken up. */
static void let_others_in(proc_channel *c)
{
    enum { TURN_MS = 1 };
    if (atomic_load_explicit(&c->outside, memory_order_relaxed) > 0) {
        channel_unlock_quietly(c);
        (void)sys_poll(NULL, 0, sys_deadline(sys_now(), TURN_MS));
        channel_lock(c);
    }
}

int channel_read_or_wait(proc_channel *c, int64_t deadline, unsigned *reads)
{
    if (*reads > 0 && *reads % CHANNEL_READS_A_LOOK == 0) {
        if (deadline != SYS_NEVER && deadline <= sys_now()) {
            return -ETIMEDOUT;
        }
        let_others_in(c);
    }
    if (!channel_read(c)) {
        int err = channel_wait(c, deadline);
        if (err < 0 || !channel_read(c)) { /* most often that is what it waited for */
            return err;
        }
    }
    ++*reads;
    return 0;
}

int channel_await_other_end(proc_channel *c, int64_t deadline, unsigned *reads)
{
    if (channel_is_full(c)) {
        return -EDEADLK;
    }
    if (c->kept_count > 0) {
        channel_grant_ahead(c);
        channel_write(c);
    }
    return channel_read_or_wait(c, deadline, reads);
}

void channel_tell(proc_channel *c)
{
    if (c->posted || channel_has_to_tell(c)) {
        channel_write(c);
    }
}
