/*
 * A child in a loop: its output, its input, its end. Output and messages come first, then the exit, then, when the last of
 * its streams has ended, the close. A stop goes its way by the alarm: nobody waits for it.
 */
#include "loop.h"

#include "channel.h"
#include "child.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum {
    INPUT_BOUND = 1024 * 1024,     /* of what waits to be written; past it proc_loop_write says -EAGAIN */
    INPUT_A_TURN = 256 * 1024,     /* then others have theirs */
    INPUT_KEPT = 64 * 1024,        /* memory that an empty queue keeps */
    OUTPUT_LEFT = 2 * 1024 * 1024, /* more than a pipe holds: whoever writes on is not the child that has ended */
    LAST_WORDS_OF_STOPPED_MS = 100,
    LOOK_AGAIN_MS = 20 /* where the system had no room for a descriptor to be watched */
};

typedef struct loop_child {
    loop_member member;
    child_observer observer;
    proc_child *child;
    proc_handlers handlers;
    void *ctx;
    loop_source output[3]; /* 0: of a terminal that has no output */
    loop_source input, exit, cancel;
    loop_channel *channel; /* of the child, while that is in the loop too */
    bool stopped;          /* it was, before its end: those who hold its streams have a moment left */
    int64_t give_up_at;    /* after its end: when to wait for them no longer */
    proc_status status;
} loop_child;

static loop_child *owner_of(child_observer *o)
{
    return (loop_child *)(void *)((char *)o - offsetof(loop_child, observer));
}

static void unwatch_all(loop_child *l)
{
    for (int stream = 0; stream < 3; stream++) {
        loop_unwatch(&l->output[stream]);
    }
    loop_unwatch(&l->input);
    loop_unwatch(&l->exit);
    loop_unwatch(&l->cancel);
}

static void leave_child(loop_member *m)
{
    loop_child *l = (loop_child *)m;
    unwatch_all(l);
    l->child->observer = NULL;
    if (l->channel != NULL) {
        loop_channel_leave_child(l->channel);
        l->channel = NULL;
    }
}

void loop_child_lose_channel(loop_member *child)
{
    ((loop_child *)child)->channel = NULL;
    loop_attend(child); /* it need not be waited for any more */
}

/* Whoever closes an end of ours, it is no longer watched then. */
static void child_is_closing(child_observer *o, int fd)
{
    loop_child *l = owner_of(o);
    for (int stream = 0; stream < 3; stream++) {
        if (l->output[stream].fd == fd) {
            loop_unwatch(&l->output[stream]);
        }
    }
    if (l->input.fd == fd) {
        loop_unwatch(&l->input);
    }
    loop_attend(&l->member);
}

static void child_is_leaving(child_observer *o)
{
    loop_leave(&owner_of(o)->member);
}

/* The alarm is set for what is due next. */
static void child_is_stopping(child_observer *o)
{
    loop_attend(&owner_of(o)->member);
}

/* ---- what it waits for ---- */

/* The streams of a terminal are one, and told as the first of 1, 2, 0. */
static bool is_output(const proc_child *c, int stream)
{
    int fd = c->streams[stream];
    switch (stream) {
    case 0:
        return fd >= 0 && c->is_terminal[0] && fd != c->streams[1] && fd != c->streams[2];
    case 1:
        return fd >= 0;
    default:
        return fd >= 0 && fd != c->streams[1];
    }
}

static size_t input_left(const proc_child *c)
{
    return c->input.end - c->input.start;
}

static bool has_input_work(const proc_child *c)
{
    return c->streams[0] >= 0 && (input_left(c) > 0 || c->input.close_after || c->input.drain_due);
}

static int watch_streams(loop_child *l)
{
    proc_child *c = l->child;
    int err = 0;
    for (int stream = 0; stream < 3 && err == 0; stream++) {
        err = loop_watch(&l->output[stream], is_output(c, stream) ? c->streams[stream] : -1, POLLIN);
    }
    return err == 0 ? loop_watch(&l->input, has_input_work(c) ? c->streams[0] : -1, POLLOUT) : err;
}

static int watch_end(loop_child *l, bool *blind)
{
    proc_child *c = l->child;
    const child_view view = child_look(c);
    int exit_fd = c->told_exit ? -1 : child_exit_fd(c);
    *blind = exit_fd < 0 && !c->told_exit;
    int err = loop_watch(&l->exit, exit_fd, POLLIN);
    bool may_cancel = c->told_exit ? !l->stopped : !view.stopping;
    return err == 0 ? loop_watch(&l->cancel, may_cancel ? c->cancel_fd : -1, POLLIN) : err;
}

static int refresh_child(loop_child *l)
{
    bool blind = false;
    int err = watch_streams(l);
    if (err == 0) {
        err = watch_end(l, &blind);
    }
    int64_t due = l->child->told_exit ? l->give_up_at : child_look(l->child).deadline;
    int64_t again = err < 0 ? sys_deadline(sys_now(), LOOK_AGAIN_MS) : due;
    due = child_look_again_at(blind, again < due ? again : due);
    loop_set_alarm(&l->member, due);
    return err;
}

/* ---- output ---- */

static void tell_output(loop_child *l, int stream, const char *data, size_t size)
{
    if (l->handlers.on_output != NULL) {
        l->member.loop->ran++;
        l->handlers.on_output(l->child, stream, data, size, l->ctx);
    }
}

/* A terminal ends for all of its streams at once. */
static void close_output(loop_child *l, int stream)
{
    proc_child *c = l->child;
    int fd = c->streams[stream];
    for (int other = 0; other < 3; other++) {
        if (c->streams[other] == fd) {
            child_close_stream(c, other); /* which attends to us: it may have been the last */
        }
    }
}

/* What came; 0: nothing, or the end. */
static size_t read_output(loop_child *l, int stream)
{
    char *buffer = l->member.loop->buffer;
    ssize_t got = child_read_stream(l->child, stream, buffer, LOOP_BUFFER);
    if (got == -EAGAIN) {
        return 0;
    }
    if (got <= 0) {
        close_output(l, stream);
    }
    tell_output(l, stream, buffer, got > 0 ? (size_t)got : 0);
    return got > 0 ? (size_t)got : 0;
}

static void output_ready(loop_source *s, short revents)
{
    loop_child *l = (loop_child *)s->member;
    (void)revents;
    (void)read_output(l, (int)(s - l->output));
}

/* What the child wrote before its end. The descriptors may be blocking ones: an event of this step that told of what is
 * read here must not be believed any more, and goes with the watch. */
static void drain_output(loop_child *l, int stream)
{
    for (size_t all = 0; all < OUTPUT_LEFT && !loop_has_left(&l->member) && is_output(l->child, stream);) {
        struct pollfd pipe = {.fd = l->child->streams[stream], .events = POLLIN};
        if (sys_poll(&pipe, 1, 0) <= 0) {
            break;
        }
        size_t got = read_output(l, stream);
        if (got == 0) {
            break;
        }
        all += got;
    }
    loop_unwatch(&l->output[stream]);
}

/* ---- input ---- */

static void drop_input(proc_child *c)
{
    c->input.start = c->input.end = 0;
    if (c->input.capacity > INPUT_KEPT) {
        free(c->input.data);
        c->input.data = NULL;
        c->input.capacity = 0;
    }
}

static void tell_drain(loop_child *l)
{
    l->child->input.drain_due = false;
    if (l->handlers.on_drain != NULL) {
        l->member.loop->ran++;
        l->handlers.on_drain(l->child, l->ctx);
    }
}

/* EPIPE: the child does not read on. That is its right, and what is left is dropped. */
static void feed_input(loop_child *l)
{
    proc_child *c = l->child;
    size_t left = input_left(c);
    ssize_t put = 0;
    if (left > 0) {
        put = sys_write(c->streams[0], c->input.data + c->input.start, left < INPUT_A_TURN ? left : INPUT_A_TURN);
    }
    if (put == -EAGAIN) {
        return;
    }
    bool broken = put < 0;
    c->input.broken = broken;
    c->input.start += broken ? left : (size_t)put;
    if (input_left(c) > 0) {
        return;
    }
    drop_input(c);
    if (broken || (c->input.close_after && !c->is_terminal[0])) {
        child_close_stream(c, 0);
    }
    c->input.close_after = false;
    if (c->input.drain_due) {
        tell_drain(l);
    }
}

static void input_ready(loop_source *s, short revents)
{
    loop_child *l = (loop_child *)s->member;
    (void)revents;
    feed_input(l);
    if (!loop_has_left(&l->member) && !has_input_work(l->child)) {
        loop_unwatch(&l->input);
    }
}

static int append_input(child_input *in, const void *data, size_t size)
{
    if (in->capacity - in->end < size && in->start > 0) {
        memmove(in->data, in->data + in->start, in->end - in->start);
        in->end -= in->start;
        in->start = 0;
    }
    if (in->capacity - in->end < size) {
        size_t capacity = in->capacity == 0 ? 4096 : in->capacity;
        while (capacity - in->end < size) {
            capacity = capacity > SIZE_MAX / 2 ? SIZE_MAX : 2 * capacity;
        }
        char *larger = realloc(in->data, capacity);
        if (larger == NULL) {
            return -ENOMEM;
        }
        in->data = larger;
        in->capacity = capacity;
    }
    if (size > 0) {
        memcpy(in->data + in->end, data, size);
        in->end += size;
    }
    return 0;
}

/* ---- the end ---- */

static void close_if_done(loop_child *l)
{
    proc_child *c = l->child;
    bool open = is_output(c, 0) || is_output(c, 1) || is_output(c, 2);
    if (!c->told_exit || c->told_close || open || (l->channel != NULL && !c->channel->told_end)) {
        return;
    }
    c->told_close = true;
    unwatch_all(l);
    drop_input(c);
    c->input.broken = true; /* nothing is told after this, so nothing can be queued either */
    c->input.close_after = c->input.drain_due = false;
    loop_set_alarm(&l->member, SYS_NEVER);
    loop_set_live(&l->member, false);
    if (l->handlers.on_close != NULL) {
        l->member.loop->ran++;
        l->handlers.on_close(c, &l->status, l->ctx);
    }
}

/* Its time, or whoever asked for its end, bounds the wait for those that hold its streams too. */
static void set_give_up(loop_child *l)
{
    const child_view view = child_look(l->child);
    l->stopped = view.reason == LIFE_TIMEOUT || view.reason == LIFE_CANCEL;
    l->give_up_at = l->stopped ? sys_deadline(sys_now(), LAST_WORDS_OF_STOPPED_MS) : view.time_limit;
}

static void give_up(loop_child *l)
{
    if (l->channel != NULL) {
        loop_channel_end(l->channel);
    }
    for (int stream = 0; stream < 3 && !loop_has_left(&l->member); stream++) {
        drain_output(l, stream);
        if (!loop_has_left(&l->member) && is_output(l->child, stream)) {
            close_output(l, stream);
            tell_output(l, stream, l->member.loop->buffer, 0);
        }
    }
}

static void take_end(loop_child *l)
{
    proc_child *c = l->child;
    if (c->told_exit || !child_has_ended(c)) {
        return;
    }
    child_finish(c, &l->status);
    for (int stream = 0; stream < 3; stream++) {
        drain_output(l, stream);
    }
    if (!loop_has_left(&l->member) && l->channel != NULL) {
        loop_channel_end(l->channel);
    }
    if (loop_has_left(&l->member) || c->told_exit) {
        return;
    }
    c->told_exit = true;
    set_give_up(l);
    if (l->handlers.on_exit != NULL) {
        l->member.loop->ran++;
        l->handlers.on_exit(c, &l->status, l->ctx);
    }
}

static void refresh_or_close(loop_child *l)
{
    if (!loop_has_left(&l->member)) {
        close_if_done(l);
    }
    if (!loop_has_left(&l->member) && !l->child->told_close) {
        (void)refresh_child(l); /* what fails is tried again by the alarm */
    }
}

static void exit_ready(loop_source *s, short revents)
{
    loop_child *l = (loop_child *)s->member;
    (void)revents;
    take_end(l);
    refresh_or_close(l);
}

static void cancel_ready(loop_source *s, short revents)
{
    loop_child *l = (loop_child *)s->member;
    (void)revents;
    take_end(l); /* what has ended by itself is not stopped */
    if (!loop_has_left(&l->member) && l->child->told_exit) {
        give_up(l);
    } else if (!loop_has_left(&l->member)) {
        child_begin_stop(l->child, LIFE_CANCEL);
    }
    refresh_or_close(l);
}

static void ring_child(loop_member *m)
{
    loop_child *l = (loop_child *)m;
    int64_t now = sys_now();
    take_end(l); /* nothing else may tell it; and what has ended by itself is not stopped */
    if (!loop_has_left(&l->member) && !l->child->told_exit) {
        child_step(l->child, now);
    } else if (!loop_has_left(&l->member) && l->give_up_at <= now) {
        give_up(l);
    }
    refresh_or_close(l);
}

static void attend_child(loop_member *m)
{
    loop_child *l = (loop_child *)m;
    if (has_input_work(l->child)) {
        feed_input(l);
    }
    refresh_or_close(l);
}

static const loop_kind child_kind = {attend_child, ring_child, leave_child};

/* ---- what programs call ---- */

static loop_source source_of(loop_child *l, void (*ready)(loop_source *source, short revents))
{
    return (loop_source){.member = &l->member, .ready = ready, .fd = -1};
}

static int add_child(proc_loop *loop, proc_child *child, const proc_handlers *handlers, void *ctx)
{
    loop_child *l = loop_new_member(loop, sizeof *l);
    if (l == NULL) {
        return -ENOMEM;
    }
    l->child = child;
    l->handlers = *handlers;
    l->ctx = ctx;
    l->observer = (child_observer){child_is_closing, child_is_leaving, child_is_stopping};
    for (int stream = 0; stream < 3; stream++) {
        l->output[stream] = source_of(l, output_ready);
    }
    l->input = source_of(l, input_ready);
    l->exit = source_of(l, exit_ready);
    l->cancel = source_of(l, cancel_ready);
    l->give_up_at = SYS_NEVER;
    loop_join(loop, &l->member, &child_kind);
    child->observer = &l->observer;
    if (child->told_exit) {
        child_finish(child, &l->status);
        set_give_up(l);
    }
    int err = child->told_close ? 0 : refresh_child(l); /* else there is nothing left to wait for */
    if (err == 0 && child->channel != NULL && child->channel->observer == NULL) {
        err = loop_channel_add(loop, child->channel, handlers, ctx, true);
    }
    if (err < 0) {
        loop_leave(&l->member);
        return err;
    }
    l->channel = loop_channel_tie(loop, child->channel, &l->member);
    loop_set_live(&l->member, !child->told_close);
    loop_attend(&l->member);
    return 0;
}

int proc_loop_add_child(proc_loop *loop, proc_child *child, const proc_handlers *handlers, void *ctx)
{
    if (loop_check(loop) < 0 || !child_is_ours(child) || !loop_are_handlers(handlers)) {
        return -EINVAL;
    }
    if (child->observer != NULL) {
        return -EEXIST;
    }
    int cancel = sys_hold_cancel();
    int err = add_child(loop, child, handlers, ctx);
    sys_release_cancel(cancel);
    return err;
}

static loop_child *child_in(const proc_loop *loop, const proc_child *child)
{
    loop_child *l = child->observer != NULL ? owner_of(child->observer) : NULL;
    return l != NULL && l->member.loop == loop ? l : NULL;
}

void loop_child_tie(proc_loop *loop, const proc_child *child)
{
    loop_child *l = child_in(loop, child);
    if (l != NULL) {
        l->channel = loop_channel_tie(loop, child->channel, &l->member);
    }
}

int proc_loop_remove_child(proc_loop *loop, proc_child *child)
{
    if (!loop_is_ours(loop) || !child_is_ours(child)) {
        return -EINVAL;
    }
    loop_child *l = child_in(loop, child);
    if (l == NULL) {
        return -ENOENT;
    }
    int cancel = sys_hold_cancel();
    loop_leave(&l->member);
    sys_release_cancel(cancel);
    return 0;
}

int proc_loop_write(proc_loop *loop, proc_child *child, const void *data, size_t size, bool close_after)
{
    if (!loop_is_ours(loop) || !child_is_ours(child) || (data == NULL && size > 0) || size > SSIZE_MAX) {
        return -EINVAL;
    }
    if (child_in(loop, child) == NULL) {
        return -ENOENT;
    }
    if (child->input.broken) {
        return -EPIPE;
    }
    if (child->streams[0] < 0 || child->input.close_after) {
        return -EBADF;
    }
    if (input_left(child) >= INPUT_BOUND) {
        return -EAGAIN;
    }
    int err = append_input(&child->input, data, size);
    if (err == 0) {
        child->input.close_after = close_after;
        child->input.drain_due = true;
        loop_attend(&child_in(loop, child)->member);
    }
    return err;
}
