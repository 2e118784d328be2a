/*
 * Calls between threads: a server in one, callers in many, and whoever receives beside them.
 */
#include "lifeline.h"
#include "peer.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>

#include "channel.h"

enum { STOP = 0x5709, DOUBLE = 1, TELL_THEN_DOUBLE = 2, NEST = 3 };

/* ---- a server ---- */

typedef struct server {
    proc_channel *channel;
    pthread_t thread;
    int failure; /* what went wrong in the thread, or 0 */
} server;

static uint32_t number_in(const proc_message *m)
{
    uint32_t number = 0;

    if (m->size == sizeof number) {
        memcpy(&number, m->data, sizeof number);
    }
    return number;
}

static int serve_one(server *s, const proc_message *m)
{
    uint32_t number = number_in(m), twice = 2 * number;

    if (m->type == NEST && number > 0) {
        proc_message answer, request = *m; /* a copy will do */
        uint32_t less = number - 1;
        int err = proc_channel_call(s->channel, MESSAGE(.type = NEST, .data = &less, .size = 4), &answer, IN_TIME);

        twice = number_in(&answer) + 1;
        proc_message_clear(&answer);
        return err < 0 ? err : proc_channel_reply(s->channel, &request, MESSAGE(.data = &twice, .size = 4), IN_TIME);
    }
    if (m->type == TELL_THEN_DOUBLE) {
        int err = proc_channel_send(s->channel, MESSAGE(.type = number, .data = &number, .size = 4), IN_TIME);

        if (err < 0) {
            return err;
        }
    }
    return proc_channel_reply(s->channel, m, MESSAGE(.data = &twice, .size = 4), IN_TIME);
}

static void *serve(void *arg)
{
    server *s = arg;

    for (;;) {
        proc_message m;
        int err = proc_channel_recv(s->channel, &m, IN_TIME);

        if (err == 0 && m.type == STOP) {
            return NULL;
        }
        if (err == 0 && (m.flags & PROC_REQUEST) != 0) {
            err = serve_one(s, &m);
        }
        if (err < 0) {
            s->failure = err;
            return NULL;
        }
    }
}

static void start_server(server *s, proc_channel *channel)
{
    *s = (server){.channel = channel};
    assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void stop_server(server *s, proc_channel *other)
{
    assert_int_equal(proc_channel_send(other, MESSAGE(.type = STOP), IN_TIME), 0);
    pthread_join(s->thread, NULL);
    assert_int_equal(s->failure, 0);
}

/* ---- one caller ---- */

static void a_call_returns_its_reply(void **state)
{
    (void)state;
    proc_channel *ends[2];
    proc_message reply;
    uint32_t number = 21;
    server s;

    make_pair(ends, NULL);
    start_server(&s, ends[1]);
    assert_int_equal(proc_channel_call(ends[0], ASK(.type = DOUBLE, .data = &number, .size = 4), &reply, IN_TIME), 0);

    assert_int_equal(reply.flags, PROC_REPLY);
    assert_int_equal(number_in(&reply), 42);
    proc_message_clear(&reply);
    assert_null(reply.data);
    stop_server(&s, ends[0]);
    free_pair(ends);
}

static void a_reply_outlives_its_channel(void **state)
{
    (void)state;
    proc_channel *ends[2];
    proc_message reply;
    uint32_t number = 21;
    server s;

    make_pair(ends, NULL);
    start_server(&s, ends[1]);
    assert_int_equal(proc_channel_call(ends[0], ASK(.type = DOUBLE, .data = &number, .size = 4), &reply, IN_TIME), 0);
    stop_server(&s, ends[0]);
    free_pair(ends);

    assert_int_equal(number_in(&reply), 42);
    proc_message_clear(&reply);
    proc_message_clear(&reply);
}

static void a_call_keeps_messages_for_recv(void **state)
{
    (void)state;
    proc_channel *ends[2];
    server s;

    make_pair(ends, NULL);
    start_server(&s, ends[1]);
    for (uint32_t i = 0; i < 100; i++) {
        proc_message reply;

        assert_int_equal(
            proc_channel_call(ends[0], ASK(.type = TELL_THEN_DOUBLE, .data = &i, .size = 4), &reply, IN_TIME), 0);
        assert_int_equal(number_in(&reply), 2 * i);
        proc_message_clear(&reply);
    }

    for (uint32_t i = 0; i < 100; i++) {
        expect_message(ends[0], i, &i, 4);
    }
    stop_server(&s, ends[0]);
    free_pair(ends);
}

static void cancelling_races_with_the_reply_without_harm(void **state)
{
    (void)state;
    proc_channel *ends[2];
    server s;

    make_pair(ends, NULL);
    start_server(&s, ends[1]);
    for (int round = 0; round < 3000; round++) {
        int64_t id = ask(ends[0], DOUBLE);
        proc_message reply;
        int err;

        for (uint32_t i = random_below(200); i > 0; i--) {
            (void)now_ms();
        }
        err = proc_channel_cancel(ends[0], id);
        assert_true(err == 0 || err == -EINVAL);
        while (proc_channel_recv(ends[0], &reply, 0) == 0) {
            assert_int_equal(reply.id, id);
        }
    }
    stop_server(&s, ends[0]);
    expect_nothing(ends[0]);
    assert_int_equal(ends[0]->own_count, 0);
    free_pair(ends);
}

/* ---- many ---- */

static void both_ends_call_each_other_nested(void **state)
{
    (void)state;
    proc_channel *ends[2];
    server s;
    proc_message request, reply;
    uint32_t depth = 0;

    make_pair(ends, NULL);
    start_server(&s, ends[1]);
    for (int round = 0; round < 100; round++) {
        uint32_t number = 1;
        int64_t id = proc_channel_request(ends[0], ASK(.type = NEST, .data = &number, .size = 4), IN_TIME);

        assert_true(id > 0);
        request = expect_request(ends[0]); /* from inside the handling of ours */
        assert_int_equal(request.type, NEST);
        depth = number_in(&request);
        assert_int_equal(depth, 0);
        assert_int_equal(proc_channel_reply(ends[0], &request, ANSWER(.data = &depth, .size = 4), IN_TIME), 0);
        reply = expect_reply(ends[0], id, PROC_REPLY);
        assert_int_equal(number_in(&reply), 1);
    }
    stop_server(&s, ends[0]);
    free_pair(ends);
}

typedef struct caller {
    proc_channel *channel;
    pthread_t thread;
    int result;
    uint32_t seed;
} caller;

enum { CALLS = 300, THREADS = 8 };

static void *call_often(void *arg)
{
    caller *c = arg;

    for (uint32_t i = 0; i < CALLS; i++) {
        uint32_t number = c->seed * CALLS + i;
        proc_message reply;
        int err =
            proc_channel_call(c->channel, ASK(.type = TELL_THEN_DOUBLE, .data = &number, .size = 4), &reply, IN_TIME);

        if (err < 0 || number_in(&reply) != 2 * number) {
            c->result = err < 0 ? err : -1;
            return NULL;
        }
        proc_message_clear(&reply);
    }
    c->result = 0;
    return NULL;
}

static void eight_threads_call_while_another_receives(void **state)
{
    (void)state;
    proc_channel *ends[2];
    caller callers[THREADS];
    char *seen = keep(calloc(THREADS, CALLS));
    server s;

    make_pair(ends, NULL);
    start_server(&s, ends[1]);
    for (uint32_t i = 0; i < THREADS; i++) {
        callers[i] = (caller){.channel = ends[0], .seed = i, .result = 1};
        assert_int_equal(pthread_create(&callers[i].thread, NULL, call_often, &callers[i]), 0);
    }
    for (int i = 0; i < THREADS * CALLS; i++) {
        proc_message message;

        assert_int_equal(proc_channel_recv(ends[0], &message, IN_TIME), 0);
        assert_int_equal(seen[message.type]++, 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(callers[i].thread, NULL);
        assert_int_equal(callers[i].result, 0);
    }
    stop_server(&s, ends[0]);
    free_pair(ends);
}

typedef struct receiver {
    proc_channel *channel;
    pthread_t thread;
    atomic_int got;
    int result;
} receiver;

enum { RECEIVED = 500 };

static void receive_in_time(receiver *r)
{
    proc_message message;
    int64_t begin = now_ms();

    r->result = proc_channel_recv(r->channel, &message, 5000);
    if (now_ms() - begin >= 5000) {
        r->result = -ETIMEDOUT; /* also when it found something then */
    }
}

static void *receive_all(void *arg)
{
    receiver *r = arg;

    while (r->result == 0 && atomic_load(&r->got) < RECEIVED) {
        receive_in_time(r);
        atomic_fetch_add(&r->got, 1);
    }
    return NULL;
}

static bool is_waiting(proc_channel *c)
{
    bool waiting;

    channel_lock(c);
    waiting = c->driving;
    channel_unlock(c);
    return waiting;
}

static void a_receiver_wakes_up_when_another_thread_has_read_its_message(void **state)
{
    (void)state;
    proc_channel *ends[2];
    receiver r = {.result = 0};

    make_pair(ends, NULL);
    r.channel = ends[0];
    assert_int_equal(pthread_create(&r.thread, NULL, receive_all, &r), 0);
    for (int i = 0; i < RECEIVED; i++) {
        while (!is_waiting(ends[0])) {
        }
        assert_int_equal(proc_channel_send(ends[1], MESSAGE(.type = 1), 0), 0);
        while (atomic_load(&r.got) <= i) {
            (void)proc_channel_cancelled(ends[0], ASK(.id = 1)); /* reads what has arrived */
        }
    }
    pthread_join(r.thread, NULL);

    assert_int_equal(r.result, 0);
    free_pair(ends);
}

static void *receive_the_end(void *arg)
{
    receive_in_time(arg);
    return NULL;
}

static void a_receiver_wakes_up_when_the_last_request_after_the_end_is_given_up(void **state)
{
    (void)state;
    receiver receives;
    int64_t id;
    raw r;

    raw_meet(&r, NULL);
    receives.channel = r.channel;
    id = ask(r.channel, 1);
    raw_frame(&r, (frame){.kind = FRAME_END}, NULL);
    assert_int_equal(pthread_create(&receives.thread, NULL, receive_the_end, &receives), 0);
    while (!is_waiting(r.channel)) {
    }
    assert_int_equal(proc_channel_cancel(r.channel, id), 0);
    pthread_join(receives.thread, NULL);

    assert_int_equal(receives.result, -EPIPE);
    raw_end(&r);
}

static void *flush_in_time(void *arg)
{
    receiver *r = arg;
    int64_t begin = now_ms();

    r->result = proc_channel_flush(r->channel, 5000);
    if (now_ms() - begin >= 5000) {
        r->result = -ETIMEDOUT;
    }
    return NULL;
}

/* A socket that has room for the rest need not poll writable. */
static void a_flush_ends_when_another_thread_has_written_the_rest(void **state)
{
    (void)state;
    static const int small = 64 * 1024;
    char *data = pattern(30000), bytes[1000];
    receiver flushes;
    raw r;

    raw_meet(&r, NULL);
    assert_int_equal(setsockopt(proc_channel_fd(r.channel), SOL_SOCKET, SO_SNDBUF, &small, sizeof small), 0);
    for (uint32_t id = 1; proc_channel_pending(r.channel) == 0; id++) {
        raw_frame(&r, (frame){.kind = FRAME_REQUEST, .id = id}, NULL);
        const proc_message request = expect_request(r.channel);
        assert_int_equal(proc_channel_reply(r.channel, &request, ANSWER(.data = data, .size = 30000), 0), 0);
    }
    flushes.channel = r.channel;
    assert_int_equal(pthread_create(&flushes.thread, NULL, flush_in_time, &flushes), 0);
    while (!is_waiting(r.channel)) {
    }
    while (proc_channel_pending(r.channel) > 0) {
        assert_true(recv(r.fd, bytes, sizeof bytes, 0) > 0);
        assert_int_equal(proc_channel_send(r.channel, MESSAGE(.type = 0), 0), 0);
    }
    pthread_join(flushes.thread, NULL);

    assert_int_equal(flushes.result, 0);
    raw_end(&r);
}

typedef struct waiter {
    proc_channel *channel;
    pthread_t thread;
    int result;
    int64_t cpu_ms;
} waiter;

static void *flush_in_vain(void *arg)
{
    waiter *w = arg;

    w->result = proc_channel_flush(w->channel, 1000);
    w->cpu_ms = own_cpu_ms();
    return NULL;
}

static void *receive_in_vain(void *arg)
{
    waiter *w = arg;
    proc_message m;

    w->result = proc_channel_recv(w->channel, &m, 1000);
    w->cpu_ms = own_cpu_ms();
    return NULL;
}

static void two_who_wait_for_an_end_that_does_not_read_sleep(void **state)
{
    (void)state;
    static const int least = 1;
    char *data = pattern(60000);
    waiter flushes, receives;
    raw r;

    raw_meet(&r, CHANNEL_OPTIONS(.linger_ms = 1));
    assert_int_equal(setsockopt(proc_channel_fd(r.channel), SOL_SOCKET, SO_SNDBUF, &least, sizeof least), 0);
    assert_int_equal(proc_channel_send(r.channel, MESSAGE(.data = data, .size = 60000), 0), 0);
    assert_int_not_equal(proc_channel_pending(r.channel), 0);
    flushes.channel = receives.channel = r.channel;
    assert_int_equal(pthread_create(&flushes.thread, NULL, flush_in_vain, &flushes), 0);
    assert_int_equal(pthread_create(&receives.thread, NULL, receive_in_vain, &receives), 0);
    pthread_join(flushes.thread, NULL);
    pthread_join(receives.thread, NULL);

    assert_int_equal(flushes.result, -ETIMEDOUT);
    assert_int_equal(receives.result, -ETIMEDOUT);
    assert_true(flushes.cpu_ms + receives.cpu_ms < 250);
    raw_end(&r);
}

static const struct CMUnitTest tests[] = {
    TEST(a_call_returns_its_reply),
    TEST(a_reply_outlives_its_channel),
    TEST(a_call_keeps_messages_for_recv),
    TEST(cancelling_races_with_the_reply_without_harm),
    TEST(both_ends_call_each_other_nested),
    TEST(eight_threads_call_while_another_receives),
    TEST(a_receiver_wakes_up_when_another_thread_has_read_its_message),
    TEST(a_receiver_wakes_up_when_the_last_request_after_the_end_is_given_up),
    TEST(a_flush_ends_when_another_thread_has_written_the_rest),
    TEST(two_who_wait_for_an_end_that_does_not_read_sleep),
};

HARNESS_MAIN(tests)
