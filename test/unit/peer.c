/*
 * See peer.h.
 */
#include "peer.h"

#include <poll.h>
#include <sched.h>
#include <sys/socket.h>

#include "channel.h"

static uint32_t random_state = 1;

uint32_t random_below(uint32_t end)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (uint32_t)(((uint64_t)(random_state >> 8) * end) >> 24);
}

/* ---- pairs ---- */

void meet(proc_channel *a, proc_channel *b)
{
    proc_message message;

    assert_int_equal(proc_channel_flush(a, IN_TIME), 0);
    assert_int_equal(proc_channel_flush(b, IN_TIME), 0);
    assert_int_equal(proc_channel_recv(a, &message, 0), -ETIMEDOUT);
    assert_int_equal(proc_channel_recv(b, &message, 0), -ETIMEDOUT);
}

void make_pair(proc_channel *ends[2], const proc_channel_options *options)
{
    assert_int_equal(proc_channel_pair(ends, options), 0);
    meet(ends[0], ends[1]);
}

void free_pair(proc_channel *ends[2])
{
    proc_channel_free(ends[0]);
    proc_channel_free(ends[1]);
    ends[0] = ends[1] = NULL;
}

void make_sockets(int ends[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
}

char *pattern(size_t size)
{
    char *bytes = keep(malloc(size + 1));

    for (size_t i = 0; i < size; i++) {
        bytes[i] = pattern_at(i);
    }
    return bytes;
}

void expect_message(proc_channel *c, uint32_t type, const void *data, size_t size)
{
    proc_message message;

    assert_int_equal(proc_channel_recv(c, &message, IN_TIME), 0);
    assert_int_equal(message.type, type);
    assert_int_equal(message.flags, 0);
    assert_int_equal(message.id, 0);
    assert_int_equal(message.size, size);
    assert_int_equal((uintptr_t)message.data % FRAME_ALIGNMENT, 0);
    if (size > 0 && memcmp(message.data, data, size) != 0) {
        fail_msg("message %u of %zu bytes has other bytes", type, size);
    }
}

void expect_end(proc_channel *c, int error)
{
    proc_message message = {.size = 1};

    assert_int_equal(proc_channel_recv(c, &message, IN_TIME), error);
    assert_int_equal(message.size, 0);
    assert_int_equal(proc_channel_recv(c, &message, 0), error);
}

void expect_nothing(proc_channel *c)
{
    proc_message message;

    assert_int_equal(proc_channel_recv(c, &message, 0), -ETIMEDOUT);
}

proc_message expect_request(proc_channel *c)
{
    proc_message request;

    assert_int_equal(proc_channel_recv(c, &request, IN_TIME), 0);
    assert_int_equal(request.flags, PROC_REQUEST);
    assert_true(request.id > 0);
    return request;
}

proc_message expect_reply(proc_channel *c, int64_t id, uint32_t flags)
{
    proc_message reply;

    assert_int_equal(proc_channel_recv(c, &reply, IN_TIME), 0);
    assert_int_equal(reply.id, id);
    assert_int_equal(reply.flags, flags);
    return reply;
}

int64_t ask(proc_channel *c, uint32_t type)
{
    int64_t id = proc_channel_request(c, MESSAGE(.type = type), IN_TIME);

    assert_true(id > 0);
    return id;
}

void await_driver(proc_channel *c)
{
    bool driving = false;

    while (!driving) {
        (void)sched_yield();
        channel_lock(c);
        driving = c->driving;
        channel_unlock(c);
    }
}

/* ---- by hand ---- */

void raw_begin(raw *r, const proc_channel_options *options)
{
    int ends[2];

    make_sockets(ends);
    r->fd = ends[1];
    assert_int_equal(proc_channel_open(&r->channel, ends[0], ends[0], options), 0);
}

void raw_meet(raw *r, const proc_channel_options *options)
{
    proc_message message;

    raw_begin(r, options);
    raw_hello(r);
    assert_int_equal(proc_channel_recv(r->channel, &message, 0), -ETIMEDOUT);
    (void)raw_await(r, FRAME_HELLO);
}

void raw_end(raw *r)
{
    if (r->fd >= 0) {
        close(r->fd);
    }
    proc_channel_free(r->channel);
}

bool raw_send(raw *r, const void *bytes, size_t size, const int *fds, size_t count)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(256 * sizeof(int))];
    } control;
    struct iovec piece = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = size};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};

    if (count > 0) {
        memset(&control, 0, sizeof control);
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(count * sizeof(int));
        control.align.cmsg_level = SOL_SOCKET;
        control.align.cmsg_type = SCM_RIGHTS;
        control.align.cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(&control.align), fds, count * sizeof(int));
    }
    return sendmsg(r->fd, &message, MSG_NOSIGNAL) == (ssize_t)size;
}

void raw_write(raw *r, const void *bytes, size_t size)
{
    const char *at = bytes;

    while (size > 0) {
        ssize_t put = send(r->fd, at, size, MSG_NOSIGNAL);

        assert_true(put > 0);
        at += put;
        size -= (size_t)put;
    }
}

size_t raw_encode(const frame *f, const void *payload, unsigned char *bytes)
{
    frame_encode(f, bytes);
    memset(bytes + FRAME_HEADER_SIZE, 0, frame_padded(f->size));
    if (f->size > 0) {
        memcpy(bytes + FRAME_HEADER_SIZE, payload, f->size);
    }
    return FRAME_HEADER_SIZE + frame_padded(f->size);
}

void raw_frame(raw *r, frame f, const void *payload)
{
    unsigned char *bytes = malloc(FRAME_HEADER_SIZE + frame_padded(f.size));

    assert_non_null(bytes);
    raw_write(r, bytes, raw_encode(&f, payload, bytes));
    free(bytes);
}

void raw_hello(raw *r)
{
    raw_greet(r, 64 * 1024);
}

void raw_greet(raw *r, uint32_t max_size)
{
    const frame_hello hello = {.protocol_min = 1,
                               .protocol_max = 1,
                               .max_size = max_size,
                               .window = max_size,
                               .max_requests = 16,
                               .max_fds = 4};
    unsigned char payload[FRAME_HELLO_SIZE];
    frame f = {.kind = FRAME_HELLO, .type = FRAME_HELLO_TYPE};

    f.size = (uint32_t)frame_encode_hello(&hello, payload);
    raw_frame(r, f, payload);
}

static bool read_all(int fd, void *buffer, size_t size, int timeout_ms)
{
    char *at = buffer;

    while (size > 0) {
        struct pollfd look = {.fd = fd, .events = POLLIN};
        ssize_t got = poll(&look, 1, timeout_ms) == 1 ? recv(fd, at, size, 0) : -1;

        if (got <= 0) {
            return false;
        }
        at += got;
        size -= (size_t)got;
    }
    return true;
}

bool raw_read(raw *r, frame *f, int timeout_ms)
{
    static const frame_limits all = {.max_size = UINT32_MAX, .max_fds = UINT8_MAX};
    unsigned char header[FRAME_HEADER_SIZE], *payload;
    bool whole;

    if (!read_all(r->fd, header, sizeof header, timeout_ms)) {
        return false;
    }
    assert_null(frame_decode(f, header, &all));
    payload = malloc(frame_padded(f->size) + 1);
    assert_non_null(payload);
    whole = read_all(r->fd, payload, frame_padded(f->size), IN_TIME);
    free(payload);
    return whole;
}

frame raw_await(raw *r, uint8_t kind)
{
    frame f;

    do {
        assert_true(raw_read(r, &f, IN_TIME));
    } while (f.kind != kind);
    return f;
}
