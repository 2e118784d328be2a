/* Messages by nng: a pair over ipc. */
#include "bench.h"

#include <nng/nng.h>
#include <nng/protocol/pair0/pair.h>

static nng_socket sock;
static char address[64];

static void check(const char *what, int err)
{
    if (err != 0) {
        fprintf(stderr, "bench: %s: %s\n", what, nng_strerror(err));
        bench_die(what, EIO);
    }
}

static void open_socket(void)
{
    check("nng_pair0_open", nng_pair0_open(&sock));
    check("nng_socket_set_size", nng_socket_set_size(sock, NNG_OPT_RECVMAXSZ, 0));
    check("nng_socket_set_int", nng_socket_set_int(sock, NNG_OPT_SENDBUF, 64));
    check("nng_socket_set_int", nng_socket_set_int(sock, NNG_OPT_RECVBUF, 64));
}

static void serve(int fd)
{
    nng_msg *message;

    (void)fd;
    open_socket();
    check("nng_listen", nng_listen(sock, address, NULL, 0));
    while (nng_recvmsg(sock, &message, 0) == 0) {
        uint32_t mark = bench_mark_of(nng_msg_body(message));
        if (mark != BENCH_ECHO && mark != BENCH_LAST) {
            nng_msg_free(message);
        } else {
            check("nng_sendmsg", nng_sendmsg(sock, message, 0));
        }
    }
}

static void await_answer(void)
{
    nng_msg *message;

    check("nng_recvmsg", nng_recvmsg(sock, &message, 0));
    nng_msg_free(message);
}

static void put(uint32_t mark)
{
    bench_mark(mark);
    check("nng_send", nng_send(sock, bench_payload, bench_args_now.size, 0));
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
    snprintf(address, sizeof address, "ipc:///tmp/bench.%ld.nng", (long)getpid());
    bench_other_end(serve, -1, -1);
    open_socket();
    check("nng_dial", nng_dial(sock, address, NULL, NNG_FLAG_NONBLOCK));
    trip(1);
    unlink(address + strlen("ipc://"));
}

const bench_op bench_ops[] = {
    {.name = "trip", .begin = set_up, .run = trip}, {.name = "send", .begin = set_up, .run = send_all}, {0}};
