/*
 * The other end of fuzz_peer: it keeps to the protocol (and then knows what our end owes it), or does not. What it reads
 * has to be the protocol in any case.
 */
#ifndef OTHER_END_H
#define OTHER_END_H

#include "fuzz.h"

#include "frame.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    MOST_QUEUED = 512 * 1024,
    MOST_SENT = 512,
    MOST_REQUESTS = 64,
    WINDOW = 1024 * 1024,
    OWN_REQUESTS = 16,
    MOST_CHANNEL_FDS = 250
};

typedef struct sent { /* a message or a request, in the order in which recv has to hand them out */
    uint8_t kind;
    uint32_t type, id, size, fds;
} sent;

typedef struct other { /* the other end */
    int fd, read_fd;   /* the same where it is a socket */
    bool honest, said_hello, ended, reads_no_more;
    unsigned char queued[MOST_QUEUED]; /* what it has yet to write */
    size_t queued_start, queued_end;
    sent sent[MOST_SENT];
    size_t sent_count, taken;
    uint32_t gated_out, acked; /* wire bytes; what the host has acknowledged */
    uint32_t next_id, open[MOST_REQUESTS];
    size_t open_count;
    uint32_t window, max_requests;
    uint32_t max_size;
    uint8_t max_fds;
    size_t host_max_size, host_takes; /* bytes and descriptors, with one message */
    /* what it has read */
    unsigned char *read;
    size_t read_size, read_capacity;
    bool host_said_hello;
    uint32_t gated_in, told;
    uint32_t asked[OWN_REQUESTS];
    size_t asked_count;
    size_t bytes_written;
} other;

static other o;
static int null_fd = -1;
static unsigned char pattern[256 * 1024];

static const unsigned char *content(uint32_t type)
{
    return pattern + type % 256;
}

static uint32_t wire_size(const frame *f)
{
    return FRAME_HEADER_SIZE + (f->size + 7) / 8 * 8;
}

/* ---- the other end reads: it is the protocol, and within the limits that it has told ---- */

static void forget(uint32_t *ids, size_t *count, uint32_t id)
{
    for (size_t i = 0; i < *count; i++) {
        if (ids[i] == id) {
            ids[i] = ids[--*count];
            return;
        }
    }
}

static void take_frame_of_host(const frame *f)
{
    const frame_limits baseline = {.max_size = 64 * 1024};

    MUST(o.host_said_hello == (f->kind != FRAME_HELLO));
    o.host_said_hello = true;
    if (!o.said_hello) {
        MUST(f->size <= baseline.max_size && f->fd_count == 0);
    }
    if (frame_is_gated(f)) {
        o.gated_in += wire_size(f);
        MUST(!o.honest || o.gated_in - o.told <= (o.window > wire_size(f) ? o.window : wire_size(f)));
    }
    if (o.honest) {
        MUST(f->ack - o.acked <= o.gated_out - o.acked);
        o.acked = f->ack;
    }
    switch (f->kind) {
    case FRAME_REQUEST:
        if (o.asked_count < OWN_REQUESTS) {
            o.asked[o.asked_count++] = f->id;
        } else {
            MUST(!o.honest);
        }
        break;
    case FRAME_REPLY:
    case FRAME_ERROR:
        if ((f->flags & FRAME_MORE) == 0) {
            forget(o.open, &o.open_count, f->id);
        }
        break;
    default:
        break;
    }
}

static void parse_host(void)
{
    const frame_limits limits = {.max_size = o.max_size, .max_fds = o.max_fds};
    size_t at = 0;
    frame f;

    while (o.read_size - at >= FRAME_HEADER_SIZE) {
        MUST(frame_decode(&f, o.read + at, &limits) == NULL);
        if (o.read_size - at < wire_size(&f)) {
            break;
        }
        if (f.kind <= FRAME_ERROR && f.kind != FRAME_HELLO) {
            MUST(memcmp(o.read + at + FRAME_HEADER_SIZE, content(f.type), f.size) == 0);
        }
        take_frame_of_host(&f);
        at += wire_size(&f);
    }
    memmove(o.read, o.read + at, o.read_size - at);
    o.read_size -= at;
}

static void read_host(void)
{
    while (o.read_fd >= 0) {
        if (o.read_capacity - o.read_size < 65536) {
            o.read_capacity += 1024 * 1024;
            o.read = realloc(o.read, o.read_capacity);
            MUST(o.read != NULL);
        }
        union {
            struct cmsghdr align;
            char bytes[CMSG_SPACE(MOST_CHANNEL_FDS * sizeof(int))];
        } control;
        struct iovec piece = {.iov_base = o.read + o.read_size, .iov_len = 65536};
        struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};

        message.msg_control = control.bytes;
        message.msg_controllen = sizeof control.bytes;
        ssize_t got = o.read_fd == o.fd ? recvmsg(o.read_fd, &message, MSG_DONTWAIT)
                                        : read(o.read_fd, piece.iov_base, piece.iov_len);
        if (got <= 0) {
            return;
        }
        message.msg_controllen = o.read_fd == o.fd ? message.msg_controllen : 0;
        for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c != NULL; c = CMSG_NXTHDR(&message, c)) {
            for (size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
                int fd;

                memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
                MUST(close(fd) == 0);
            }
        }
        o.read_size += (size_t)got;
        parse_host();
    }
}

/* ---- the other end writes ---- */

static bool write_queued(size_t most)
{
    size_t left = o.queued_end - o.queued_start;
    ssize_t put;

    most = most < left ? most : left;
    if (o.fd < 0 || most == 0) {
        return most == 0;
    }
    put = o.read_fd == o.fd ? send(o.fd, o.queued + o.queued_start, most, MSG_DONTWAIT | MSG_NOSIGNAL)
                            : write(o.fd, o.queued + o.queued_start, most);
    if (put > 0) {
        o.queued_start += (size_t)put;
        o.bytes_written += (size_t)put;
    }
    if (o.queued_start == o.queued_end) {
        o.queued_start = o.queued_end = 0;
    }
    return put == (ssize_t)most;
}

static bool queue(const void *bytes, size_t size)
{
    if (MOST_QUEUED - o.queued_end < size) {
        return false;
    }
    if (size > 0) {
        memcpy(o.queued + o.queued_end, bytes, size);
        o.queued_end += size;
    }
    return true;
}

static void put_header(const frame *f, unsigned char *header, input *mutation)
{
    frame_encode(f, header);
    if (mutation != NULL) {
        header[take_below(mutation, FRAME_HEADER_SIZE)] ^= take8(mutation);
        o.honest = false;
    }
}

static void put_frame(frame f, const void *payload, input *mutation)
{
    static const unsigned char zeros[8];
    unsigned char header[FRAME_HEADER_SIZE];

    f.ack = o.told;
    o.honest = o.honest && (o.said_hello || f.kind == FRAME_HELLO) && f.size <= o.host_max_size;
    if (MOST_QUEUED - o.queued_end < wire_size(&f)) {
        o.honest = false; /* its books do not hold any more */
        return;
    }
    put_header(&f, header, mutation);
    (void)queue(header, sizeof header);
    (void)queue(payload, f.size);
    (void)queue(zeros, (8 - f.size % 8) % 8);
    o.gated_out += frame_is_gated(&f) ? wire_size(&f) : 0;
}

static void note_sent(const frame *f)
{
    if (o.sent_count == MOST_SENT) {
        o.honest = false;
        return;
    }
    o.sent[o.sent_count++] = (sent){.kind = f->kind, .type = f->type, .id = f->id, .size = f->size, .fds = f->fd_count};
}

static bool may_put(const frame *f)
{
    return !frame_is_gated(f) || o.gated_out - o.acked + wire_size(f) <= WINDOW;
}

static uint32_t take_size(input *in)
{
    unsigned size = take8(in);

    return size < 240 ? size : size == 255 ? 200000 : 4000 * (size - 239);
}

static void put_hello(input *in)
{
    unsigned char payload[FRAME_HELLO_SIZE];
    frame_hello hello = {.protocol_min = 1, .protocol_max = 1, .max_size = 64 * 1024, .max_fds = o.max_fds};
    frame f = {.kind = FRAME_HELLO, .type = FRAME_HELLO_TYPE};

    o.honest = o.honest && !o.said_hello;
    o.window = hello.window = 64 * 1024;
    o.max_requests = hello.max_requests = OWN_REQUESTS;
    hello.protocol_max += take8(in) > 200;
    hello.name_size = (uint16_t)take_below(in, FRAME_NAME_SIZE + 1);
    f.size = (uint32_t)frame_encode_hello(&hello, payload);
    if (take8(in) > 250) {
        payload[take8(in) % f.size] ^= take8(in);
        o.honest = false;
        o.max_size = UINT32_MAX; /* whatever it says now */
        o.max_fds = UINT8_MAX;
    }
    put_frame(f, payload, NULL);
    o.said_hello = true;
}

static frame take_message(input *in)
{
    frame f = {.kind = FRAME_MESSAGE, .type = take8(in), .size = take_size(in)};
    unsigned shape = take8(in);

    if ((shape & 1) != 0) {
        f.kind = FRAME_REQUEST;
        f.flags = (shape & 2) != 0 ? FRAME_DEADLINE : 0;
        f.timeout_ms = f.flags != 0 ? (uint32_t)take_int(in) : 0;
        f.id = ++o.next_id;
    }
    return f;
}

static void put_message(input *in, input *mutation)
{
    frame f = take_message(in);

    if (o.ended || !may_put(&f) || (f.kind == FRAME_REQUEST && o.open_count == MOST_REQUESTS)) {
        if (take8(in) < 224) {
            return;
        }
        o.honest = false;
    } else if (f.kind == FRAME_REQUEST) {
        o.open[o.open_count++] = f.id;
    }
    put_frame(f, content(f.type), mutation);
    note_sent(&f);
}

static void put_reply(input *in, input *mutation)
{
    unsigned shape = take8(in);
    frame f = {.kind = (shape & 3) == 0 ? FRAME_ERROR : FRAME_REPLY, .type = take8(in), .size = take_size(in)};

    f.flags = (shape & 3) == 1 ? FRAME_MORE : 0;
    if (o.asked_count == 0) {
        if (shape < 250) {
            return;
        }
        o.honest = false;
        f.id = take32(in);
    } else {
        f.id = o.asked[(shape >> 2) % o.asked_count];
    }
    if (may_put(&f)) {
        put_frame(f, content(f.type), mutation);
        if (f.flags == 0) {
            forget(o.asked, &o.asked_count, f.id);
        }
    }
}

static void put_control(input *in, input *mutation)
{
    static const uint8_t kinds[] = {FRAME_PING, FRAME_ACK, FRAME_PONG, 0x91, FRAME_CANCEL, FRAME_END, FRAME_GOAWAY};
    unsigned shape = take8(in);
    frame f = {.kind = kinds[shape % COUNT(kinds)]};

    if (f.kind == FRAME_PING || f.kind == FRAME_PONG || f.kind == FRAME_CANCEL) {
        f.id = 1 + (uint32_t)take_below(in, 8);
    } else if (f.kind == 0x91) {
        f.size = shape;
    }
    o.ended = o.ended || f.kind == FRAME_END || f.kind == FRAME_GOAWAY;
    put_frame(f, pattern, mutation);
}

/* With descriptors a frame goes at once, behind all that waits. False: it did not go. */
static bool write_with_fds(frame f, size_t count)
{
    unsigned char bytes[FRAME_HEADER_SIZE + 64];
    int fds[MOST_CHANNEL_FDS + 1];
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof fds)];
    } control;

    f.ack = o.told;
    f.size %= 64;
    if (!may_put(&f) || !write_queued(MOST_QUEUED) || o.fd < 0 || o.fd != o.read_fd) {
        return false;
    }
    memset(bytes, 0, sizeof bytes);
    frame_encode(&f, bytes);
    memcpy(bytes + FRAME_HEADER_SIZE, content(f.type), f.size);
    struct iovec piece = {.iov_base = bytes, .iov_len = wire_size(&f)};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
    if (count > 0) {
        for (size_t i = 0; i < count; i++) {
            fds[i] = null_fd;
        }
        memset(&control, 0, sizeof control);
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(count * sizeof(int));
        control.align.cmsg_level = SOL_SOCKET;
        control.align.cmsg_type = SCM_RIGHTS;
        control.align.cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(&control.align), fds, count * sizeof(int));
    }
    ssize_t put = sendmsg(o.fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (put < 0) {
        return false; /* the kernel refuses descriptors for our end, or the buffer is full */
    }
    o.bytes_written += (size_t)put;
    o.gated_out += frame_is_gated(&f) ? wire_size(&f) : 0;
    o.honest =
        o.honest && o.said_hello && put == (ssize_t)wire_size(&f) && f.fd_count == count && count <= o.host_takes;
    return true;
}

static void send_fds(input *in)
{
    frame f = {.kind = FRAME_MESSAGE, .type = take8(in), .size = take8(in) % 64};
    unsigned shape = take8(in);
    size_t count = (shape & 128) != 0 ? take8(in) % (MOST_CHANNEL_FDS + 1) : shape % 4;

    f.fd_count = take_below(in, 8) == 0 ? take8(in) : (uint8_t)count;
    if (!o.ended && write_with_fds(f, count)) {
        note_sent(&f);
    }
}

static void put_garbage(input *in)
{
    size_t size = 1 + take_below(in, 64);
    const uint8_t *bytes = take_bytes(in, &size);

    (void)queue(bytes, size);
    o.honest = false;
}

static void close_end(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
    }
    *fd = -1;
}

static void close_both(void)
{
    o.read_fd = o.read_fd == o.fd ? -1 : o.read_fd;
    close_end(&o.fd);
    close_end(&o.read_fd);
}

static void close_other(input *in)
{
    static const int ways[] = {SHUT_RD, SHUT_WR, SHUT_RDWR};
    unsigned choice = take8(in);

    o.honest = false;
    if (choice < 128) {
        close_both();
    } else if (o.fd != o.read_fd) {
        close_end(choice % 2 == 0 ? &o.fd : &o.read_fd);
    } else if (o.fd >= 0) {
        (void)shutdown(o.fd, ways[choice % COUNT(ways)]);
    }
}

#endif
