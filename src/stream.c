/*
 * Reading and writing the streams of a child, one call of the program's at a time. The child's time, its grace and its
 * cancel_fd are looked after on the way.
 */
#include "child.h"

#include <errno.h>
#include <limits.h>

static bool has_stream(const proc_child *c, int stream)
{
    return stream >= 0 && stream <= 2 && c->streams[stream] >= 0;
}

int proc_child_fd(const proc_child *child, int stream)
{
    if (!child_is_ours(child)) {
        return -EINVAL;
    }
    return has_stream(child, stream) ? child->streams[stream] : -EBADF;
}

ssize_t child_read_stream(proc_child *c, int stream, void *buffer, size_t size)
{
    ssize_t got = sys_read(c->streams[stream], buffer, size);
    return got == -EIO && c->is_terminal[stream] ? 0 : got; /* Linux says that of a terminal that nobody has open */
}

/* Has its life to be looked after while a stream is used, even one that never makes us wait? */
static bool is_bounded(proc_child *c)
{
    return c->cancel_fd >= 0 || child_look(c).deadline != SYS_NEVER;
}

static ssize_t read_stream(proc_child *c, int stream, void *buffer, size_t size, int timeout_ms)
{
    if (timeout_ms == PROC_FOREVER && !c->is_terminal[stream] && !is_bounded(c)) {
        ssize_t got = child_read_stream(c, stream, buffer, size);
        if (got != -EAGAIN) { /* somebody who shares the pipe's end has made it non-blocking */
            return got;
        }
    }
    int64_t deadline = timeout_ms == 0 ? 0 : sys_deadline(sys_now(), timeout_ms);
    for (;;) {
        int ready = child_await(c, c->streams[stream], POLLIN, deadline);
        if (ready < 0) {
            return ready;
        }
        ssize_t got = ready > 0 ? child_read_stream(c, stream, buffer, size) : -EAGAIN;
        if (got != -EAGAIN) {
            return got;
        }
    }
}

ssize_t proc_child_read(proc_child *child, int stream, void *buffer, size_t size, int timeout_ms)
{
    if (!child_is_ours(child) || buffer == NULL || size == 0 || !child_is_time(timeout_ms)) {
        return -EINVAL;
    }
    if (!has_stream(child, stream) || (stream == 0 && !child->is_terminal[0])) {
        return -EBADF;
    }
    int cancel = sys_hold_cancel();
    ssize_t got = read_stream(child, stream, buffer, size, timeout_ms);
    sys_release_cancel(cancel);
    return got;
}

static ssize_t write_stream(proc_child *c, const char *data, size_t size, int timeout_ms)
{
    int64_t deadline = timeout_ms == 0 ? 0 : sys_deadline(sys_now(), timeout_ms);
    size_t done = 0;
    bool bounded = is_bounded(c), look_first = bounded;
    while (done < size) {
        int ready = look_first ? child_await(c, c->streams[0], POLLOUT, deadline) : 1;
        if (ready < 0) {
            return ready == -ETIMEDOUT && done > 0 ? (ssize_t)done : ready;
        }
        ssize_t put = ready > 0 ? sys_write(c->streams[0], data + done, size - done) : -EAGAIN;
        if (put < 0 && put != -EAGAIN) {
            return put;
        }
        done += put > 0 ? (size_t)put : 0;
        look_first = bounded || put < 0;
    }
    return (ssize_t)done;
}

ssize_t proc_child_write(proc_child *child, const void *data, size_t size, int timeout_ms)
{
    if (!child_is_ours(child) || (data == NULL && size > 0) || size > SSIZE_MAX || !child_is_time(timeout_ms)) {
        return -EINVAL;
    }
    if (!has_stream(child, 0)) {
        return -EBADF;
    }
    int cancel = sys_hold_cancel();
    ssize_t put = write_stream(child, data, size, timeout_ms);
    sys_release_cancel(cancel);
    return put;
}

int proc_child_close(proc_child *child, int stream)
{
    if (!child_is_ours(child)) {
        return -EINVAL;
    }
    if (!has_stream(child, stream)) {
        return -EBADF;
    }
    int cancel = sys_hold_cancel();
    child_close_stream(child, stream);
    sys_release_cancel(cancel);
    return 0;
}
