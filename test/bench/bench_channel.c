/*
 * Messages against a bare socket pair, on which each message is a 4-byte length and its bytes: round trips, and the rate one
 * way, on one processor and on two. The other end is a forked copy in every case.
 */
#include "bench.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "proc.h"

enum { RING = 1, DONE, MOST = 16 * 1024 * 1024 };

static char *payload;
static proc_channel *channel; /* to the child */
static int raw_fd;
static size_t size;
static uint32_t count;
static int first_processor, last_processor, processor_of_child;

/* ---- the other ends ---- */

static void put_all(int fd, const void *data, size_t left)
{
    const char *at = data;

    while (left > 0) {
        ssize_t put = write(fd, at, left);
        if (put < 0) {
            _exit(1);
        }
        at += put;
        left -= (size_t)put;
    }
}

static void get_all(int fd, void *data, size_t left)
{
    char *at = data;

    while (left > 0) {
        ssize_t got = read(fd, at, left);
        if (got <= 0) {
            _exit(0);
        }
        at += got;
        left -= (size_t)got;
    }
}

/* Echoes a request; tells when it has received as many messages as the first of them said. */
static int serve(proc_channel *parent, void *arg)
{
    proc_message m;
    uint32_t left = 0;

    (void)arg;
    bench_pin(processor_of_child);
    while (proc_channel_recv(parent, &m, PROC_FOREVER) == 0) {
        if ((m.flags & PROC_REQUEST) != 0) {
            bench_check("reply", proc_channel_reply(parent, &m, &(proc_message){.data = m.data, .size = m.size}, -1));
            continue;
        }
        left = left == 0 ? m.type : left;
        if (--left == 0) {
            bench_check("send", proc_channel_send(parent, &(proc_message){.type = DONE}, PROC_FOREVER));
        }
    }
    return 0;
}

/* A length with the top bit set wants an echo; a length of 0 begins a count. */
static void serve_raw(int fd)
{
    static char bytes[MOST + 256 * 1024];
    size_t have = 0;
    uint32_t left = 0;

    for (;;) {
        ssize_t got = read(fd, bytes + have, sizeof bytes - have);
        size_t at = 0, length;
        uint32_t head;
        if (got <= 0) {
            _exit(0);
        }
        have += (size_t)got;
        while (have - at >= sizeof head) {
            memcpy(&head, bytes + at, sizeof head);
            length = sizeof head + (head & 0x7fffffff);
            if (have - at < length) {
                break;
            }
            if ((head & 0x80000000) != 0) {
                put_all(fd, bytes + at, length);
            } else if (left == 0) {
                memcpy(&left, bytes + at + sizeof head, sizeof left);
            } else if (--left == 0) {
                put_all(fd, "d", 1);
            }
            at += length;
        }
        memmove(bytes, bytes + at, have - at);
        have -= at;
    }
}

/* ---- cases ---- */

static void call(void)
{
    for (uint32_t i = 0; i < count; i++) {
        proc_message reply;
        bench_check("call", proc_channel_call(channel, &(proc_message){.data = payload, .size = size}, &reply, -1));
        proc_message_clear(&reply);
    }
}

static void call_raw(void)
{
    uint32_t head = (uint32_t)size | 0x80000000;
    const struct iovec pieces[] = {{&head, sizeof head}, {payload, size}};

    for (uint32_t i = 0; i < count; i++) {
        if (writev(raw_fd, pieces, 2) != (ssize_t)(sizeof head + size)) {
            bench_die("writev", errno);
        }
        get_all(raw_fd, payload, sizeof head + size);
    }
}

static void await_done(void)
{
    proc_message m;

    bench_check("recv", proc_channel_recv(channel, &m, PROC_FOREVER));
}

static void post(void)
{
    for (uint32_t i = 0; i < count;) {
        int err = proc_channel_post(channel, &(proc_message){.type = count, .data = payload, .size = size});
        if (err == -EAGAIN) {
            err = proc_channel_flush(channel, PROC_FOREVER);
        } else {
            i++;
        }
        bench_check("post", err);
    }
    await_done();
}

static void send_each(void)
{
    for (uint32_t i = 0; i < count; i++) {
        bench_check("send", proc_channel_send(channel, &(proc_message){.type = count, .data = payload, .size = size},
                                              PROC_FOREVER));
    }
    await_done();
}

static void post_raw(void)
{
    uint32_t head = sizeof count;
    char done;
    const struct iovec first[] = {{&head, sizeof head}, {&count, sizeof count}};

    if (writev(raw_fd, first, 2) < 0) {
        bench_die("writev", errno);
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t length = (uint32_t)size;
        const struct iovec pieces[] = {{&length, sizeof length}, {payload, size}};
        ssize_t put = writev(raw_fd, pieces, 2);
        if (put < (ssize_t)sizeof length) {
            bench_die("writev", errno);
        }
        put_all(raw_fd, payload + ((size_t)put - sizeof length), sizeof length + size - (size_t)put);
    }
    get_all(raw_fd, &done, 1);
}

/* ---- tables ---- */

static void measure(const char *what, size_t bytes, uint32_t messages, int rounds, double limit, bool trip)
{
    char title[96];
    bench_case trips[] = {
        {.name = "bare socket pair: the floor", .run = call_raw},
        {.name = "proc_channel_call", .run = call, .limit = limit},
    };
    bench_case one_way[] = {
        {.name = "bare socket pair, one writev each: the floor", .run = post_raw},
        {.name = "proc_channel_post", .run = post, .limit = limit},
        {.name = "proc_channel_send", .run = send_each},
    };

    size = bytes;
    count = messages;
    snprintf(title, sizeof title, "%s of %zu bytes", what, bytes);
    if (trip) {
        bench_run(title, "us", 1e3 * messages, trips, 2, rounds);
    } else {
        bench_run(title, "us", 1e3 * messages, one_way, 3, rounds);
    }
}

static void four_of_4_mib(void)
{
    size = 4 * 1024 * 1024;
    count = 4;
    send_each();
}

static void four_of_16_mib(void)
{
    size = 16 * 1024 * 1024;
    count = 4;
    send_each();
}

static void four_of_4_mib_raw(void)
{
    size = 4 * 1024 * 1024;
    count = 4;
    post_raw();
}

static void four_of_16_mib_raw(void)
{
    size = 16 * 1024 * 1024;
    count = 4;
    post_raw();
}

static void with_children(int rounds, bool same)
{
    proc_child *child;
    const proc_channel_options large = {.max_message = MOST};
    int ends[2];

    processor_of_child = same ? first_processor : last_processor;
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) {
        bench_die("socketpair", errno);
    }
    for (int i = 0; i < 2; i++) {
        const int buffer = 256 * 1024;
        setsockopt(ends[i], SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
    }
    pid_t raw = fork();
    if (raw == 0) {
        close(ends[0]);
        bench_pin(processor_of_child);
        serve_raw(ends[1]);
    }
    close(ends[1]);
    raw_fd = ends[0];
    bench_check("fork", proc_fork_call(&child, serve, NULL, &(proc_options){.channel = &large}));
    channel = proc_child_channel(child);

    printf("\n== %s\n", same ? "Both ends on one processor" : "The ends on two processors");
    measure("Round trip", 64, 200, rounds, same ? 1.25 : 0, true);
    measure("Round trip", 65536, 50, rounds, 0, true);
    measure("One way", 64, 50000, rounds / 2, same ? 0 : 1 / 12.0, false);
    measure("One way", 1024, 5000, rounds / 2, same ? 0 : 1 / 2.0, false);
    measure("One way", 65536, 200, rounds / 2, same ? 0 : 1 / 0.85, false);
    if (same) {
        bench_case cases[] = {
            {.name = "bare socket pair, four of 4 MiB", .run = four_of_4_mib_raw},
            {.name = "proc_channel_send, four of 4 MiB", .run = four_of_4_mib},
            {.name = "bare socket pair, four of 16 MiB", .run = four_of_16_mib_raw, .floor = 2},
            {.name = "proc_channel_send, four of 16 MiB", .run = four_of_16_mib, .floor = 2},
        };
        bench_run("Large messages: as the floor grows, so do they", "ms", 1e6, cases, 4, 9);
    }
    proc_child_free(child);
    close(raw_fd);
    waitpid(raw, NULL, 0);
}

int main(int argc, char *argv[])
{
    int rounds = argc > 1 ? atoi(argv[1]) : 100;

    payload = calloc(1, MOST);
    if (payload == NULL) {
        bench_die("calloc", ENOMEM);
    }
    first_processor = bench_processor(false);
    last_processor = bench_processor(true);
    printf("Messages, on processor %d, %d rounds\n", bench_pin(first_processor), rounds);
    with_children(rounds, true);
    if (last_processor != first_processor) {
        with_children(rounds, false);
    }
    return 0;
}
