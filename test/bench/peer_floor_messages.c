/* Messages by hand: on a socket pair, each a 4-byte length and its bytes in one writev. */
#include "bench.h"

#include <sys/socket.h>
#include <sys/uio.h>

enum { LENGTH = sizeof(uint32_t), ROOM = 256 * KIB };

static int ends[2], spare;

/* ---- the other end */

static void serve(int fd)
{
    size_t room = bench_args_now.size + ROOM, have = 0;
    char *bytes = malloc(room);
    ssize_t got;

    while (bytes != NULL && (got = read(fd, bytes + have, room - have)) > 0) {
        size_t at = 0;
        have += (size_t)got;
        while (have - at >= LENGTH && have - at >= LENGTH + bench_mark_of(bytes + at)) {
            size_t size = LENGTH + bench_mark_of(bytes + at);
            uint32_t mark = bench_mark_of(bytes + at + LENGTH);
            if (mark == BENCH_ECHO) {
                bench_write_all(fd, bytes + at, size);
            } else if (mark == BENCH_LAST) {
                bench_write_all(fd, "", 1);
            }
            at += size;
        }
        memmove(bytes, bytes + at, have - at);
        have -= at;
    }
}

/* A recvmsg for each, so that a descriptor is that of its message. */
static void serve_descriptors(int fd)
{
    size_t size = LENGTH + bench_args_now.size;
    char bytes[LENGTH + KIB];
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control;

    for (;;) {
        struct iovec piece = {bytes, size};
        struct msghdr message = {
            .msg_iov = &piece, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
        int passed;
        if (recvmsg(fd, &message, MSG_CMSG_CLOEXEC | MSG_WAITALL) <= 0) {
            return;
        }
        memcpy(&passed, CMSG_DATA(&control.head), sizeof passed);
        close(passed);
        if (bench_mark_of(bytes + LENGTH) == BENCH_LAST) {
            bench_write_all(fd, "", 1);
        }
    }
}

static void set_up_with(void (*server)(int fd))
{
    const int buffer = ROOM;

    bench_must("socketpair", socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
    for (int i = 0; i < 2; i++) {
        setsockopt(ends[i], SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
    }
    bench_other_end(server, ends[1], ends[0]);
    close(ends[1]);
}

static void set_up(void)
{
    set_up_with(serve);
}

static void set_up_descriptors(void)
{
    spare = bench_must("dup", dup(0));
    set_up_with(serve_descriptors);
}

/* ---- this end */

static void put(uint32_t mark)
{
    uint32_t length = (uint32_t)bench_args_now.size;
    const struct iovec pieces[] = {{&length, LENGTH}, {bench_payload, length}};

    bench_mark(mark);
    size_t done = (size_t)bench_must("writev", (int)writev(ends[0], pieces, 2));
    if (done < LENGTH + length) {
        bench_write_all(ends[0], bench_payload + done - LENGTH, LENGTH + length - done);
    }
}

static void trip(int count)
{
    char length[LENGTH];

    while (count-- > 0) {
        put(BENCH_ECHO);
        if (!bench_read_all(ends[0], length, LENGTH) || !bench_read_all(ends[0], bench_payload, bench_args_now.size)) {
            bench_die("read", EPIPE);
        }
    }
}

static void await_answer(void)
{
    char byte;

    if (!bench_read_all(ends[0], &byte, 1)) {
        bench_die("read", EPIPE);
    }
}

static void send_each(int count)
{
    for (; count > 0; count--) {
        put((uint32_t)count);
    }
    await_answer();
}

static void send_descriptors(int count)
{
    uint32_t length = (uint32_t)bench_args_now.size;
    struct iovec pieces[] = {{&length, LENGTH}, {bench_payload, length}};
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {.head = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
    const struct msghdr message = {
        .msg_iov = pieces, .msg_iovlen = 2, .msg_control = &control, .msg_controllen = sizeof control};

    memcpy(CMSG_DATA(&control.head), &spare, sizeof spare);
    for (; count > 0; count--) {
        bench_mark((uint32_t)count);
        bench_must("sendmsg", (int)sendmsg(ends[0], &message, 0));
    }
    await_answer();
}

const bench_op bench_ops[] = {{.name = "trip", .begin = set_up, .run = trip},
                              {.name = "send", .begin = set_up, .run = send_each},
                              {.name = "descriptor", .begin = set_up_descriptors, .run = send_descriptors},
                              {0}};
