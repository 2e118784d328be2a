/* Messages by ZeroMQ: a pair over ipc. */
#include "bench.h"

#include <zmq.h>

static void *sock;
static char address[64];

static void open_socket(void)
{
    void *context = zmq_ctx_new();

    sock = context == NULL ? NULL : zmq_socket(context, ZMQ_PAIR);
    if (sock == NULL) {
        bench_die("zmq_socket", errno);
    }
}

static void serve(int fd)
{
    zmq_msg_t message;

    (void)fd;
    open_socket();
    bench_must("zmq_bind", zmq_bind(sock, address));
    zmq_msg_init(&message);
    while (zmq_msg_recv(&message, sock, 0) >= 0) {
        uint32_t mark = bench_mark_of(zmq_msg_data(&message));
        if (mark == BENCH_ECHO || mark == BENCH_LAST) {
            bench_must("zmq_msg_send", zmq_msg_send(&message, sock, 0));
        }
    }
}

static void await_answer(void)
{
    bench_must("zmq_recv", zmq_recv(sock, bench_payload, bench_args_now.size, 0));
}

static void put(uint32_t mark)
{
    bench_mark(mark);
    bench_must("zmq_send", zmq_send(sock, bench_payload, bench_args_now.size, 0));
}

static void trip(int count)
{
    while (count-- > 0) {
        put(BENCH_ECHO);
        await_answer();
    }
}

static void send_all(int count)
{
    for (; count > 0; count--) {
        put((uint32_t)count);
    }
    await_answer();
}

static void set_up(void)
{
    snprintf(address, sizeof address, "ipc:///tmp/bench.%ld.zmq", (long)getpid());
    bench_other_end(serve, -1, -1);
    open_socket();
    bench_must("zmq_connect", zmq_connect(sock, address));
    trip(1);
    unlink(address + strlen("ipc://"));
}

const bench_op bench_ops[] = {
    {.name = "trip", .begin = set_up, .run = trip}, {.name = "send", .begin = set_up, .run = send_all}, {0}};
