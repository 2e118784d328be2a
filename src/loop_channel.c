/*
 * A channel in a loop: one read for each event, then all that has come is handed out, and what waits is written. Other
 * threads may use the channel meanwhile; what they leave for the loop comes by its queue.
 */
#include "loop.h"

#include "channel.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

enum {
    MESSAGES_A_TURN = 256, /* then others have theirs */
    WATCH_AGAIN_MS = 20    /* where the system had no room for a descriptor to be watched */
};

struct loop_channel {
    loop_member member;
    channel_observer observer;
    proc_channel *channel;
    proc_handlers handlers;
    void *ctx;
    loop_source reading, writing, exit; /* reading writes too, where both are one descriptor */
    loop_member *child;                 /* whose channel it is, if that is in the loop */
    bool with_child;                    /* it came with it, and leaves with it */
    bool behind;                        /* more has come than was handed out */
};

static loop_channel *of_observer(channel_observer *o)
{
    return (loop_channel *)(void *)((char *)o - offsetof(loop_channel, observer));
}

static void channel_wants_attention(channel_observer *o)
{
    loop_attend(&of_observer(o)->member);
}

static void channel_is_leaving(channel_observer *o)
{
    loop_leave(&of_observer(o)->member);
}

static void leave_channel(loop_member *m)
{
    loop_channel *l = (loop_channel *)m;
    loop_unwatch(&l->reading);
    loop_unwatch(&l->writing);
    loop_unwatch(&l->exit);
    if (channel_is_ours(l->channel)) {
        channel_lock(l->channel);
        l->channel->observer = NULL; /* from here on no other thread comes by */
        channel_unlock_quietly(l->channel);
    } else {
        l->channel->observer = NULL;
    }
    if (l->child != NULL) {
        loop_child_lose_channel(l->child);
    }
}

/* ---- what it waits for ---- */

static void refresh_channel(loop_channel *l)
{
    proc_channel *c = l->channel;
    channel_lock(c);
    bool reads = !c->read_ended;
    bool writes = !c->write_ended && outbox_can_send(&c->out);
    /* To an end that we read no more from, which grants no more either, only what could go now. */
    bool owes = !c->write_ended && (c->read_ended ? outbox_can_send(&c->out) : !outbox_is_empty(&c->out));
    int exit_fd = channel_peer_exit_fd(c);
    int64_t due = channel_own_deadline(c);
    writes = writes && c->retry_at == SYS_NEVER;
    channel_unlock_quietly(c);

    bool both = c->read_fd == c->write_fd;
    short events = (short)((reads ? POLLIN : 0) | (both && writes ? POLLOUT : 0));
    int err = loop_watch(&l->reading, events != 0 ? c->read_fd : -1, events);
    if (err == 0 && !both) {
        err = loop_watch(&l->writing, writes ? c->write_fd : -1, POLLOUT);
    }
    if (err == 0) {
        err = loop_watch(&l->exit, exit_fd, POLLIN);
    }
    if (err < 0) {
        int64_t again = sys_deadline(sys_now(), WATCH_AGAIN_MS);
        due = again < due ? again : due;
    }
    loop_set_alarm(&l->member, due);
    loop_set_live(&l->member, !c->told_end || owes);
}

/* ---- a turn ---- */

static void refuse_request(loop_channel *l, const proc_message *request)
{
    static const proc_message nobody = {.flags = PROC_REPLY | PROC_FAILURE, .type = ENOSYS};
    (void)proc_channel_reply(l->channel, request, &nobody, 0); /* a last reply never waits */
}

static void deliver(loop_channel *l, proc_message *m)
{
    if (l->handlers.on_message != NULL) {
        l->member.loop->ran++;
        l->handlers.on_message(l->channel, m, l->ctx);
    } else if ((m->flags & PROC_REQUEST) != 0) {
        refuse_request(l, m);
    }
}

static void tell_end(loop_channel *l, int reason)
{
    channel_lock(l->channel);
    bool told = l->channel->told_end;
    l->channel->told_end = true;
    channel_unlock_quietly(l->channel);
    if (!told && l->handlers.on_disconnect != NULL) {
        l->member.loop->ran++;
        l->handlers.on_disconnect(l->channel, reason == -EPIPE ? 0 : reason, l->ctx);
    }
}

/* False: it has left the loop, or there is more than belongs in one turn. */
static bool hand_out_messages(loop_channel *l, int most)
{
    l->behind = false;
    for (int i = 0; i < most; i++) {
        proc_message m = {.type = 0};
        channel_lock(l->channel);
        (void)channel_check_deadlines(l->channel);
        int err = message_take(l->channel, &m);
        channel_unlock_quietly(l->channel);
        if (err == -EAGAIN) {
            return true;
        }
        if (err < 0) {
            tell_end(l, err);
            return !loop_has_left(&l->member);
        }
        deliver(l, &m);
        if (loop_has_left(&l->member)) {
            return false;
        }
        channel_lock(l->channel);
        channel_drop_frame(l->channel, &l->channel->current);
        channel_unlock_quietly(l->channel);
    }
    l->behind = true;
    loop_attend(&l->member);
    return false;
}

static void write_and_tell_room(loop_channel *l)
{
    proc_channel *c = l->channel;
    channel_lock(c);
    channel_write(c);
    bool room = message_has_room_again(c);
    c->refused = c->refused && !room;
    channel_unlock_quietly(c);
    if (room && l->handlers.on_room != NULL) {
        l->member.loop->ran++;
        l->handlers.on_room(c, l->ctx);
    }
}

/* What a handler has queued goes out at the end of the step, with the next turn. */
static void take_turn(loop_channel *l)
{
    (void)hand_out_messages(l, MESSAGES_A_TURN);
    if (!loop_has_left(&l->member)) {
        write_and_tell_room(l);
    }
    if (!loop_has_left(&l->member)) {
        refresh_channel(l);
    }
    if (!loop_has_left(&l->member) && l->child != NULL && l->channel->told_end) {
        loop_attend(l->child);
    }
}

/* What has come is handed out first, or an end that sends faster than that would fill the memory. */
static void channel_ready(loop_source *s, short revents)
{
    loop_channel *l = (loop_channel *)s->member;
    if ((revents & ~POLLOUT) != 0 && !l->behind) {
        channel_lock(l->channel);
        l->channel->drained = false;
        (void)channel_read(l->channel);
        channel_unlock_quietly(l->channel);
    }
    take_turn(l);
}

static void channel_writable(loop_source *s, short revents)
{
    (void)revents;
    take_turn((loop_channel *)s->member);
}

/* One read of what it sent before it ended, which is here already. */
static void read_last_words(loop_channel *l)
{
    proc_channel *c = l->channel;
    channel_lock(c);
    c->peer_gone = true;
    channel_end_writing(c);
    c->drained = false;
    c->read_ended = !channel_read(c) || c->read_ended;
    channel_unlock_quietly(c);
}

static void peer_ended(loop_source *s, short revents)
{
    loop_channel *l = (loop_channel *)s->member;
    (void)revents;
    if (!l->behind) {
        read_last_words(l);
    }
    take_turn(l);
}

void loop_channel_end(loop_channel *l)
{
    while (!loop_has_left(&l->member) && !l->channel->told_end) {
        if (hand_out_messages(l, MESSAGES_A_TURN)) {
            read_last_words(l);
        }
    }
    if (!loop_has_left(&l->member)) {
        refresh_channel(l);
    }
}

void loop_channel_leave_child(loop_channel *l)
{
    l->child = NULL;
    if (l->with_child) {
        loop_leave(&l->member);
    }
}

static void turn_of_channel(loop_member *m)
{
    take_turn((loop_channel *)m);
}

static const loop_kind channel_kind = {turn_of_channel, turn_of_channel, leave_channel};

/* ---- adding and removing ---- */

int loop_channel_add(proc_loop *loop, proc_channel *channel, const proc_handlers *handlers, void *ctx, bool with_child)
{
    loop_channel *l = loop_new_member(loop, sizeof *l);
    if (l == NULL) {
        return -ENOMEM;
    }
    l->channel = channel;
    l->handlers = *handlers;
    l->ctx = ctx;
    l->with_child = with_child;
    l->observer = (channel_observer){channel_wants_attention, channel_is_leaving};
    l->reading = (loop_source){.member = &l->member, .ready = channel_ready, .fd = -1};
    l->writing = (loop_source){.member = &l->member, .ready = channel_writable, .fd = -1};
    l->exit = (loop_source){.member = &l->member, .ready = peer_ended, .fd = -1};
    loop_join(loop, &l->member, &channel_kind);
    int err = loop_watch(&l->reading, channel->read_fd, POLLIN); /* that it can be watched at all */
    if (err < 0) {
        loop_leave(&l->member);
        return err;
    }
    channel_lock(channel);
    channel->observer = &l->observer;
    channel_unlock_quietly(channel);
    loop_attend(&l->member); /* there may be something here already */
    return 0;
}

static loop_channel *channel_in(const proc_loop *loop, const proc_channel *channel)
{
    loop_channel *l = channel->observer != NULL ? of_observer(channel->observer) : NULL;
    return l != NULL && l->member.loop == loop ? l : NULL;
}

loop_channel *loop_channel_tie(const proc_loop *loop, const proc_channel *channel, loop_member *child)
{
    loop_channel *l = channel != NULL ? channel_in(loop, channel) : NULL;
    if (l != NULL) {
        l->child = child;
    }
    return l;
}

bool loop_are_handlers(const proc_handlers *handlers)
{
    for (size_t i = 0; handlers != NULL && i < sizeof handlers->reserved / sizeof handlers->reserved[0]; i++) {
        if (handlers->reserved[i] != NULL) {
            return false;
        }
    }
    return handlers != NULL;
}

int proc_loop_add_channel(proc_loop *loop, proc_channel *channel, const proc_handlers *handlers, void *ctx)
{
    if (loop_check(loop) < 0 || !channel_is_ours(channel) || !loop_are_handlers(handlers)) {
        return -EINVAL;
    }
    if (channel->observer != NULL) {
        return -EEXIST;
    }
    int cancel = sys_hold_cancel();
    int err = loop_channel_add(loop, channel, handlers, ctx, false);
    if (err == 0 && channel->peer != NULL) {
        loop_child_tie(loop, channel->peer);
    }
    sys_release_cancel(cancel);
    return err;
}

int proc_loop_remove_channel(proc_loop *loop, proc_channel *channel)
{
    if (!loop_is_ours(loop) || !channel_is_ours(channel)) {
        return -EINVAL;
    }
    loop_channel *l = channel_in(loop, channel);
    if (l == NULL) {
        return -ENOENT;
    }
    loop_leave(&l->member);
    return 0;
}
