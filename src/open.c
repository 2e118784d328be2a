/*
 * Making and ending an end of a channel, and what a poll loop of the program's own asks of one.
 */
#include "channel.h"

#include "os/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

enum { MOST_BACKLOG = 1024 * 1024 * 1024 }; /* what the counters of a window can tell apart */

int channel_check_options(const proc_channel_options *options)
{
    for (size_t i = 0; i < sizeof options->reserved / sizeof options->reserved[0]; i++) {
        if (options->reserved[i] != 0) {
            return -EINVAL;
        }
    }
    if (options->max_message != 0 && (options->max_message < 64 * 1024 || options->max_message > CHANNEL_MAX_SIZE)) {
        return -EINVAL;
    }
    if (options->max_fds > CHANNEL_MAX_FDS || options->frame_ms < PROC_FOREVER || options->hello_ms < PROC_FOREVER ||
        options->linger_ms < PROC_FOREVER) {
        return -EINVAL;
    }
    return 0;
}

static int say_hello(proc_channel *c)
{
    unsigned char payload[FRAME_HELLO_SIZE];
    const frame_hello hello = {
        .protocol_min = FRAME_PROTOCOL,
        .protocol_max = FRAME_PROTOCOL,
        .max_size = c->limits.max_size,
        .window = CHANNEL_WINDOW,
        .max_requests = CHANNEL_MAX_REQUESTS,
        .max_fds = c->limits.max_fds,
    };
    frame f = {.kind = FRAME_HELLO, .type = FRAME_HELLO_TYPE};
    f.size = (uint32_t)frame_encode_hello(&hello, payload);
    return outbox_put(&c->out, OUTBOX_URGENT, &f, payload, NULL);
}

static int init_lock(proc_channel *c)
{
    pthread_condattr_t attributes;
    int err = pthread_condattr_init(&attributes);
    if (err != 0) {
        return -err;
    }
    err = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    if (err == 0) {
        err = pthread_cond_init(&c->changed, &attributes);
    }
    (void)pthread_condattr_destroy(&attributes);
    if (err != 0) {
        return -err;
    }
    err = pthread_mutex_init(&c->lock, NULL);
    if (err != 0) {
        (void)pthread_cond_destroy(&c->changed);
    }
    return -err;
}

static void discard(proc_channel *c)
{
    for (size_t i = 0; i < c->kept_count; i++) {
        channel_drop_frame(c, &c->kept[(c->kept_first + i) & (c->kept_capacity - 1)]);
    }
    for (size_t i = 0; i < c->own_capacity; i++) {
        channel_drop_frame(c, &c->own[i].reply);
    }
    channel_drop_frame(c, &c->current);
    free(c->kept);
    free(c->own);
    outbox_free(&c->out);
    inbox_free(&c->in);
    sys_close(&c->wake[0]);
    sys_close(&c->wake[1]);
    free(c);
}

static void close_ends(proc_channel *c)
{
    bool shared = c->write_fd == c->read_fd;
    if (c->read_fd > 2) {
        sys_close(&c->read_fd);
    }
    if (c->write_fd > 2 && !shared) {
        sys_close(&c->write_fd);
    }
}

int channel_new(proc_channel **channel, int read_fd, int write_fd, const proc_channel_options *options)
{
    proc_channel *c = calloc(1, sizeof *c);
    int err = c == NULL ? -ENOMEM : init_lock(c);
    if (err < 0) {
        free(c);
        return err;
    }
    atomic_init(&c->outside, 0);
    c->owner = sys_own_pid();
    c->read_fd = read_fd;
    c->write_fd = write_fd;
    c->read_socket = socket_is_one(read_fd);
    c->write_socket = socket_is_one(write_fd);
    c->limits.max_size = options->max_message == 0 ? 16 * 1024 * 1024 : (uint32_t)options->max_message;
    c->limits.max_fds = (uint8_t)options->max_fds;
    c->high_water = options->high_water == 0 ? 1024 * 1024 : options->high_water;
    c->backlog = options->backlog == 0 ? 64 * 1024 * 1024 : options->backlog;
    c->backlog = c->backlog < MOST_BACKLOG ? c->backlog : MOST_BACKLOG;
    c->fault = -EPROTO;
    c->frame_ms = options->frame_ms;
    c->linger_ms = options->linger_ms == 0 ? 1000 : options->linger_ms;
    c->hello_by = sys_deadline(sys_now(), options->hello_ms == 0 ? 10000 : options->hello_ms);
    c->part_by = c->retry_at = SYS_NEVER;
    c->wake[0] = c->wake[1] = c->exit_fd = -1;
    c->peer_max_size = CHANNEL_MAX_SIZE;
    c->peer_max_fds = c->write_socket && socket_carries_fds(write_fd) ? CHANNEL_MAX_FDS : 0;
    c->peer_max_requests = CHANNEL_BASELINE_REQUESTS;
    outbox_init(&c->out, CHANNEL_BASELINE_SIZE);
    inbox_init(&c->in);
    err = say_hello(c);
    if (err < 0) {
        channel_destroy(c);
        return err;
    }
    if (c->limits.max_fds == 0 && c->read_socket) {
        c->refuses_fds = socket_refuse_fds(read_fd);
    }
    channel_write(c);
    *channel = c;
    return 0;
}

/* Leaves the descriptors alone. */
void channel_destroy(proc_channel *c)
{
    (void)pthread_mutex_destroy(&c->lock);
    (void)pthread_cond_destroy(&c->changed);
    discard(c);
}

bool channel_is_possible(int fd)
{
    return socket_is_one(fd);
}

void channel_follow(proc_channel *c, int (*exit_fd)(void *peer), void *peer)
{
    c->peer_exit_fd = exit_fd;
    c->peer = peer;
}

void channel_adopt(proc_channel *c, int fd)
{
    c->owner = sys_own_pid();
    c->read_fd = c->write_fd = fd;
    (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
}

void proc_channel_free(proc_channel *channel)
{
    channel_close(channel, false);
}

void channel_close(proc_channel *channel, bool at_once)
{
    if (channel == NULL) {
        return;
    }
    int cancel = sys_hold_cancel();
    if (channel->observer != NULL) {
        channel->observer->leaving(channel->observer);
    }
    if (channel_is_ours(channel)) {
        channel_lock(channel);
        channel_stop_keeping(channel); /* what has come must not hold up what is to go */
        channel_unlock_quietly(channel);
        (void)proc_channel_flush(channel, at_once ? 0 : channel->linger_ms);
        close_ends(channel);
        channel_destroy(channel);
    } else {
        close_ends(channel);
        discard(channel); /* the lock may be held for ever by a thread that this process does not have */
    }
    sys_release_cancel(cancel);
}

/* ---- what programs call ---- */

static const proc_channel_options defaults;

int proc_channel_pair(proc_channel *ends[2], const proc_channel_options *options)
{
    if (ends == NULL) {
        return -EINVAL;
    }
    ends[0] = ends[1] = NULL;
    options = options != NULL ? options : &defaults;
    int err = channel_check_options(options);
    if (err < 0) {
        return err;
    }
    int fds[2];
    int cancel = sys_hold_cancel();
    err = socket_pair(fds);
    for (int i = 0; i < 2 && err == 0; i++) {
        err = channel_new(&ends[i], fds[i], fds[i], options);
    }
    if (err < 0) {
        if (ends[0] != NULL) {
            channel_destroy(ends[0]);
            ends[0] = NULL;
        }
        sys_close(&fds[0]);
        sys_close(&fds[1]);
    }
    sys_release_cancel(cancel);
    return err;
}

static int check_access(int fd, int refused)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0) {
        return -errno;
    }
    return (flags & O_ACCMODE) == refused ? -EINVAL : 0;
}

int proc_channel_open(proc_channel **channel, int read_fd, int write_fd, const proc_channel_options *options)
{
    if (channel == NULL) {
        return -EINVAL;
    }
    *channel = NULL;
    options = options != NULL ? options : &defaults;
    int err = channel_check_options(options);
    if (err == 0) {
        err = check_access(read_fd, O_WRONLY);
    }
    if (err == 0) {
        err = check_access(write_fd, O_RDONLY);
    }
    if (err < 0) {
        return err;
    }
    int cancel = sys_hold_cancel();
    err = channel_new(channel, read_fd, write_fd, options);
    sys_release_cancel(cancel);
    return err;
}

/* ---- for a poll loop ---- */

int proc_channel_fd(const proc_channel *channel)
{
    return channel_is_ours(channel) ? channel->read_fd : -EINVAL;
}

int proc_channel_write_fd(const proc_channel *channel)
{
    return channel_is_ours(channel) ? channel->write_fd : -EINVAL;
}

static proc_channel *unlocked(const proc_channel *channel)
{
    return (proc_channel *)(uintptr_t)channel; /* the lock is not part of what const promises */
}

short proc_channel_events(const proc_channel *channel)
{
    if (!channel_is_ours(channel)) {
        return 0;
    }
    proc_channel *c = unlocked(channel);
    channel_lock(c);
    short events = c->read_ended ? 0 : POLLIN;
    if (c->retry_at == SYS_NEVER && channel_has_to_write(c)) {
        events |= POLLOUT;
    }
    channel_unlock(c);
    return events;
}

int proc_channel_timeout(const proc_channel *channel)
{
    if (!channel_is_ours(channel)) {
        return 0;
    }
    proc_channel *c = unlocked(channel);
    int cancel = sys_hold_cancel();
    channel_lock(c);
    channel_parse(c, true);
    bool here = c->kept_count > 0 || c->read_ended || c->error < 0 || (c->peer_shut && c->own_awaited == 0);
    int64_t deadline = channel_own_deadline(c);
    channel_unlock(c);
    sys_release_cancel(cancel);
    return here ? 0 : sys_ms_until(deadline);
}
