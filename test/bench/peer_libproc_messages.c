/* Messages by libproc. */
#include "bench.h"

#include <proc.h>

static proc_child *child;
static proc_channel *channel;

static int serve(proc_channel *parent, void *arg)
{
    proc_message m;

    (void)arg;
    bench_be_other_end();
    while (proc_channel_recv(parent, &m, PROC_FOREVER) == 0) {
        const proc_message answer = {.data = m.data, .size = m.size};
        if ((m.flags & PROC_REQUEST) != 0) {
            bench_check("proc_channel_reply", proc_channel_reply(parent, &m, &answer, PROC_FOREVER));
        } else if (bench_mark_of(m.data) == BENCH_LAST) {
            bench_check("proc_channel_send", proc_channel_send(parent, &(proc_message){0}, PROC_FOREVER));
        }
    }
    return 0;
}

static void trip(int count)
{
    while (count-- > 0) {
        proc_message reply;
        const proc_message request = {.data = bench_payload, .size = bench_args_now.size};
        bench_check("proc_channel_call", proc_channel_call(channel, &request, &reply, PROC_FOREVER));
        proc_message_clear(&reply);
    }
}

/* After a round trip each end knows the limits of the other. */
static void set_up(void)
{
    const proc_channel_options options = {.max_fds = 1};

    bench_check("proc_fork_call", proc_fork_call(&child, serve, NULL, &(proc_options){.channel = &options}));
    channel = proc_child_channel(child);
    bench_watch(proc_child_pid(child));
    trip(1);
}

static void tear_down(void)
{
    proc_child_free(child);
}

static void await_answer(void)
{
    proc_message m;

    bench_check("proc_channel_recv", proc_channel_recv(channel, &m, PROC_FOREVER));
}

static void post_with(proc_message m, int count)
{
    while (count > 0) {
        bench_mark((uint32_t)count);
        int err = proc_channel_post(channel, &m);
        if (err == -EAGAIN) {
            err = proc_channel_flush(channel, PROC_FOREVER);
        } else {
            count--;
        }
        bench_check("proc_channel_post", err);
    }
    await_answer();
}

static void send_with(proc_message m, int count)
{
    for (; count > 0; count--) {
        bench_mark((uint32_t)count);
        bench_check("proc_channel_send", proc_channel_send(channel, &m, PROC_FOREVER));
    }
    await_answer();
}

static proc_message message(int fd_count)
{
    static const int fd = 0;

    return (proc_message){.data = bench_payload, .size = bench_args_now.size, .fds = &fd, .fd_count = (size_t)fd_count};
}

static void post(int count)
{
    post_with(message(0), count);
}

static void send_each(int count)
{
    send_with(message(0), count);
}

static void post_descriptors(int count)
{
    post_with(message(1), count);
}

static void send_descriptors(int count)
{
    send_with(message(1), count);
}

const bench_op bench_ops[] = {{.name = "trip", .begin = set_up, .run = trip, .end = tear_down},
                              {.name = "post", .begin = set_up, .run = post, .end = tear_down},
                              {.name = "send", .begin = set_up, .run = send_each, .end = tear_down},
                              {.name = "descriptor_post", .begin = set_up, .run = post_descriptors, .end = tear_down},
                              {.name = "descriptor_send", .begin = set_up, .run = send_descriptors, .end = tear_down},
                              {0}};
