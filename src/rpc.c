/*
 * Requests and their replies. A request that this end sends holds a place at the other end until its last reply is in, even
 * if nobody here waits for it any more; its id is that place and a generation, so that no id is used again too soon.
 */
#include "channel.h"

#include "os/sys.h"

#include <errno.h>
#include <stdlib.h>

enum { PLACE_BITS = 16 };

/* ---- requests of this end ---- */

static uint32_t id_of(const proc_channel *c, const own_request *r)
{
    return (uint32_t)r->generation << PLACE_BITS | ((uint32_t)(r - c->own) + 1);
}

static own_request *find_own(proc_channel *c, uint32_t id)
{
    size_t place = (id & ((1u << PLACE_BITS) - 1)) - 1;
    if (place >= c->own_capacity) {
        return NULL;
    }
    own_request *r = &c->own[place];
    return r->state != REQUEST_FREE && r->state != REQUEST_ANSWERED && id_of(c, r) == id ? r : NULL;
}

static bool grow_own(proc_channel *c)
{
    size_t capacity = c->own_capacity == 0 ? CHANNEL_MAX_REQUESTS : 2 * c->own_capacity;
    if (capacity > UINT16_MAX) {
        capacity = UINT16_MAX;
    }
    own_request *own = capacity > c->own_capacity ? realloc(c->own, capacity * sizeof *own) : NULL;
    if (own == NULL) {
        return false;
    }
    for (size_t i = c->own_capacity; i < capacity; i++) {
        own[i] = (own_request){.state = REQUEST_FREE};
    }
    c->own = own;
    c->own_capacity = capacity;
    return true;
}

static own_request *take_place(proc_channel *c, request_state state)
{
    for (size_t i = 0; i < c->own_capacity || grow_own(c); i++) {
        own_request *r = &c->own[i];
        if (r->state == REQUEST_FREE) {
            r->state = state;
            r->generation++;
            c->own_count++;
            c->own_awaited++;
            return r;
        }
    }
    return NULL;
}

/* The place at the other end is free again. */
static void give_place_back(proc_channel *c, own_request *r)
{
    c->own_awaited -= r->state != REQUEST_DROPPED;
    c->own_count--;
    r->state = REQUEST_FREE;
}

static void take_reply_of_call(proc_channel *c, own_request *r, inbox_frame *f, bool part)
{
    channel_consume(c, &f->header);
    if (part) {
        r->result = -EBADMSG; /* one part is enough to spoil it; the caller cancels it */
        channel_drop_frame(c, f);
        return;
    }
    r->reply = *f;
    f->slab = NULL;
    f->batch = NULL;
    c->own_awaited--;
    c->own_count--;
    r->state = REQUEST_ANSWERED;
}

const char *rpc_take_reply(proc_channel *c, inbox_frame *f)
{
    own_request *r = find_own(c, f->header.id);
    bool part = (f->header.flags & FRAME_MORE) != 0;
    if (r == NULL) {
        return "a reply to no request";
    }
    if (r->state == REQUEST_CALLED) {
        take_reply_of_call(c, r, f, part);
        return NULL;
    }
    bool wanted = r->state == REQUEST_SENT; /* else dropped */
    if (!part) {
        give_place_back(c, r);
    }
    if (wanted) {
        channel_keep(c, f);
    } else {
        channel_consume(c, &f->header);
    }
    return NULL;
}

/* Nobody waits any more: the other end is told, or never learns of it if it has not left yet. */
static void drop(proc_channel *c, own_request *r)
{
    uint32_t id = id_of(c, r);
    c->news = true; /* for who waits for a free place, or for the last reply after END */
    if (outbox_remove(&c->out, OUTBOX_GATED, FRAME_REQUEST, id) > 0) {
        give_place_back(c, r);
        return;
    }
    const frame cancel = {.kind = FRAME_CANCEL, .id = id};
    /* One with descriptors stays; nothing of it may be overtaken. */
    int queue = outbox_has(&c->out, OUTBOX_GATED, FRAME_REQUEST, id) ? OUTBOX_GATED : OUTBOX_URGENT;
    c->own_awaited--;
    r->state = REQUEST_DROPPED;
    (void)outbox_put(&c->out, queue, &cancel, NULL, NULL); /* no memory: its reply is dropped all the same */
}

void rpc_end(proc_channel *c)
{
    for (size_t i = 0; i < c->own_capacity; i++) {
        own_request *r = &c->own[i];
        if (r->state == REQUEST_CALLED) {
            r->state = REQUEST_ANSWERED;
            r->result = c->error < 0 ? c->error : -EPIPE;
            c->own_count--;
            c->own_awaited--;
        } else if (r->state == REQUEST_SENT || r->state == REQUEST_DROPPED) {
            give_place_back(c, r);
        }
    }
}

/* Less what the wait for room has taken; at least 1. */
static uint32_t milliseconds_left(int64_t deadline)
{
    int left = sys_ms_until(deadline);
    return left < 1 ? 1 : (uint32_t)left;
}

/* Nobody will read it to its end. */
static bool is_lost(const proc_channel *c, uint32_t id)
{
    return c->write_ended && outbox_holds_request(&c->out, id);
}

/* Queues it and writes as far as it goes. */
static int start_request(proc_channel *c, const proc_message *request, int64_t deadline, request_state state,
                         own_request **place)
{
    int err = message_wait_for_room(c, request, deadline, MESSAGE_REQUEST, 0);
    if (err < 0) {
        return err;
    }
    own_request *r = take_place(c, state);
    if (r == NULL) {
        return -ENOMEM;
    }
    frame f = {.kind = FRAME_REQUEST, .id = id_of(c, r)};
    if (state == REQUEST_CALLED && deadline != SYS_NEVER) {
        f.flags = FRAME_DEADLINE;
        f.timeout_ms = milliseconds_left(deadline);
    }
    r->reply = (inbox_frame){.slab = NULL};
    r->result = 0;
    err = message_queue(c, OUTBOX_GATED, &f, request, true);
    if (err < 0) {
        if (c->error == 0) {
            give_place_back(c, r);
        } else {
            r->state = REQUEST_FREE; /* rpc_end has counted it */
        }
        return err;
    }
    channel_write(c);
    if (is_lost(c, f.id)) {
        drop(c, r);
        return -EPIPE;
    }
    *place = r;
    return 0;
}

static bool may_be_request(const proc_message *request)
{
    return message_check(request) == 0 && (request->flags & ~(uint32_t)(PROC_REQUEST | PROC_FDS_LOST)) == 0;
}

int64_t proc_channel_request(proc_channel *channel, const proc_message *request, int timeout_ms)
{
    if (!channel_is_ours(channel) || !may_be_request(request) || timeout_ms < PROC_FOREVER) {
        return -EINVAL;
    }
    own_request *r = NULL;
    int cancel = sys_hold_cancel();
    channel_lock(channel);
    int64_t result = start_request(channel, request, channel_deadline(timeout_ms), REQUEST_SENT, &r);
    if (r != NULL) {
        result = id_of(channel, r);
    }
    channel_unlock(channel);
    sys_release_cancel(cancel);
    return result;
}

int proc_channel_cancel(proc_channel *channel, int64_t id)
{
    if (!channel_is_ours(channel) || id <= 0 || id > UINT32_MAX) {
        return -EINVAL;
    }
    int cancel = sys_hold_cancel();
    channel_lock(channel);
    own_request *r = find_own(channel, (uint32_t)id);
    int err = r != NULL && r->state == REQUEST_SENT ? 0 : -EINVAL;
    if (err == 0) {
        drop(channel, r);
        channel_write(channel);
    }
    channel_unlock(channel);
    sys_release_cancel(cancel);
    return err;
}

static void give_reply(proc_channel *c, proc_message *reply, inbox_frame *f)
{
    message_fill(reply, f, 0);
    inbox_give_away(&c->in, f->slab);
    if (f->batch != NULL && !f->batch->lost) {
        f->batch->kind = OWNER_GIVEN_FDS;
        f->batch->slab = f->slab;
    } else {
        fd_batch_free(f->batch);
        reply->owner = f->slab;
    }
    f->batch = NULL;
    f->slab = NULL;
}

/* The place may move while this waits: others may need more of them. */
static int await_reply(proc_channel *c, uint32_t id, proc_message *reply, int64_t deadline)
{
    size_t place = (id & ((1u << PLACE_BITS) - 1)) - 1;
    unsigned reads = 0;
    for (;;) {
        channel_parse(c, false);
        own_request *r = &c->own[place];
        if (r->state == REQUEST_ANSWERED) {
            int result = r->result;
            if (result == 0) {
                give_reply(c, reply, &r->reply);
            }
            channel_drop_frame(c, &r->reply); /* the last one, behind a part that has spoiled the call */
            r->state = REQUEST_FREE;
            return result;
        }
        int err = r->result;
        if (err == 0) {
            channel_write(c);
            err = is_lost(c, id) ? -EPIPE : channel_await_other_end(c, deadline, &reads);
        }
        r = &c->own[place];
        if (err < 0 && r->state == REQUEST_CALLED) {
            drop(c, r);
            channel_write(c);
            return err;
        }
    }
}

int proc_channel_call(proc_channel *channel, const proc_message *request, proc_message *reply, int timeout_ms)
{
    if (reply == NULL) {
        return -EINVAL;
    }
    *reply = (proc_message){.type = 0};
    if (!channel_is_ours(channel) || !may_be_request(request) || timeout_ms < PROC_FOREVER) {
        return -EINVAL;
    }
    own_request *r = NULL;
    int cancel = sys_hold_cancel();
    channel_lock(channel);
    int64_t deadline = channel_deadline(timeout_ms);
    int err = start_request(channel, request, deadline, REQUEST_CALLED, &r);
    if (err == 0) {
        err = await_reply(channel, id_of(channel, r), reply, deadline);
    }
    channel_unlock(channel);
    sys_release_cancel(cancel);
    return err;
}

/* ---- requests of the other end ---- */

static open_request *find_open(proc_channel *c, uint32_t id)
{
    size_t left = id != 0 ? c->open_count : 0;
    for (open_request *o = c->open; left > 0; o++) {
        if (o->id == id) {
            return o;
        }
        left -= o->id != 0;
    }
    return NULL;
}

const char *rpc_take_request(proc_channel *c, inbox_frame *f)
{
    if (find_open(c, f->header.id) != NULL) {
        return "an id that is in use";
    }
    if (c->open_count + c->out.replies >= CHANNEL_MAX_REQUESTS) {
        return "more requests than this end takes at once";
    }
    open_request *o = c->open;
    while (o->id != 0) {
        o++;
    }
    *o = (open_request){.id = f->header.id, .deadline = SYS_NEVER};
    if ((f->header.flags & FRAME_DEADLINE) != 0) {
        int ms = f->header.timeout_ms > INT32_MAX ? INT32_MAX : (int)f->header.timeout_ms;
        o->deadline = sys_deadline(sys_now(), ms);
    }
    c->open_count++;
    channel_keep(c, f);
    return NULL;
}

/* One that is not open was answered while the cancellation was under way. */
void rpc_take_cancel(proc_channel *c, uint32_t id)
{
    open_request *o = find_open(c, id);
    if (o != NULL) {
        o->cancelled = true;
    }
}

bool rpc_is_cancelled(proc_channel *c, uint32_t id)
{
    const open_request *o = find_open(c, id);
    return o != NULL && o->cancelled;
}

/* A final reply is never held up by messages, but it stays behind the parts of its own. */
static int answer(proc_channel *c, open_request *o, const proc_message *reply)
{
    static const proc_message nothing;
    bool part = (reply->flags & PROC_MORE) != 0;
    if (o->cancelled) {
        if (part) {
            return 0;
        }
        reply = &nothing;
    }
    frame f = {.kind = (reply->flags & PROC_FAILURE) != 0 ? FRAME_ERROR : FRAME_REPLY, .id = o->id};
    f.flags = part ? FRAME_MORE : 0;
    int queue = part || outbox_has(&c->out, OUTBOX_GATED, FRAME_REPLY, o->id) ? OUTBOX_GATED : OUTBOX_URGENT;
    int err = message_queue(c, queue, &f, reply, true);
    if (err == 0 && !part) {
        o->id = 0;
        c->open_count--;
    }
    return err;
}

static bool may_be_reply(const proc_message *reply)
{
    static const uint32_t known = PROC_REPLY | PROC_FAILURE | PROC_MORE | PROC_FDS_LOST,
                          failed_part = PROC_FAILURE | PROC_MORE;
    return message_check(reply) == 0 && (reply->flags & ~known) == 0 && (reply->flags & failed_part) != failed_part;
}

int proc_channel_reply(proc_channel *channel, const proc_message *request, const proc_message *reply, int timeout_ms)
{
    if (!channel_is_ours(channel) || request == NULL || (request->flags & PROC_REQUEST) == 0 || !may_be_reply(reply) ||
        timeout_ms < PROC_FOREVER) {
        return -EINVAL;
    }
    int cancel = sys_hold_cancel();
    channel_lock(channel);
    int err = find_open(channel, request->id) == NULL ? -EINVAL : 0;
    if (err == 0) {
        message_kind kind = (reply->flags & PROC_MORE) != 0 ? MESSAGE_PART : MESSAGE_LAST_REPLY;
        err = message_wait_for_room(channel, reply, channel_deadline(timeout_ms), kind, request->id);
    }
    open_request *o = find_open(channel, request->id); /* another thread may have answered meanwhile */
    if (err == 0) {
        err = o == NULL ? -EINVAL : answer(channel, o, reply);
    }
    if (err == 0) {
        channel_write(channel);
        err = channel->write_ended ? -EPIPE : 0;
    }
    channel_unlock(channel);
    sys_release_cancel(cancel);
    return err;
}

bool proc_channel_cancelled(proc_channel *channel, const proc_message *request)
{
    if (!channel_is_ours(channel) || request == NULL) {
        return false;
    }
    int cancel = sys_hold_cancel();
    channel_lock(channel);
    channel->drained = false;
    for (int reads = 0; reads < CHANNEL_READS_A_LOOK && !channel_is_full(channel) && channel_read(channel); reads++) {
        channel_parse(channel, false);
    }
    channel_parse(channel, false);
    const open_request *o = find_open(channel, request->id);
    bool late = o != NULL && o->deadline != SYS_NEVER && o->deadline <= sys_now();
    bool gone = late || (o != NULL && (o->cancelled || channel->read_ended || channel_has_lost_peer(channel)));
    channel_unlock(channel);
    sys_release_cancel(cancel);
    return gone;
}
