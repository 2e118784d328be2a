/*
 * The deadlines of a channel: what is late, and what only seems to be.
 */
#include "lifeline.h"
#include "peer.h"

#include <pthread.h>

static const frame greeting = {.kind = FRAME_MESSAGE, .type = 7, .size = 5};

typedef struct caller {
    proc_channel *channel;
    pthread_t thread;
    int result;
} caller;

static void *call(void *arg)
{
    caller *c = arg;
    proc_message reply;

    c->result = proc_channel_call(c->channel, ASK(.type = 1), &reply, IN_TIME);
    proc_message_clear(&reply);
    return NULL;
}

static void a_rest_that_came_in_time_is_not_late_when_it_is_read_late(void **state)
{
    (void)state;
    unsigned char bytes[128];
    size_t size, begun;
    caller c;
    raw r;

    raw_meet(&r, CHANNEL_OPTIONS(.frame_ms = 50));
    c.channel = r.channel;
    assert_int_equal(pthread_create(&c.thread, NULL, call, &c), 0);
    const frame answer = {.kind = FRAME_REPLY, .id = raw_await(&r, FRAME_REQUEST).id};
    begun = raw_encode(&answer, NULL, bytes);
    size = begun + raw_encode(&greeting, "hello", bytes + begun);
    begun += 10;
    raw_write(&r, bytes, begun); /* the call reads the beginning of the message too */
    pthread_join(c.thread, NULL);
    assert_int_equal(c.result, 0);
    raw_write(&r, bytes + begun, size - begun);
    let_pass(100);

    expect_message(r.channel, 7, "hello", 5);
    raw_end(&r);
}

static void a_large_message_is_not_late_where_this_end_did_not_read(void **state)
{
    (void)state;
    enum { PARTS = 3, PART = 32 * 1024 };
    const frame large = {.kind = FRAME_MESSAGE, .type = 8, .size = PARTS * PART - FRAME_HEADER_SIZE};
    unsigned char *bytes = keep(malloc(PARTS * PART));
    raw r;

    raw_meet(&r, CHANNEL_OPTIONS(.frame_ms = 300));
    assert_int_equal(raw_encode(&large, pattern(large.size), bytes), PARTS * PART);
    for (size_t i = 0; i < PARTS; i++) { /* as much as there is room for, each time */
        raw_write(&r, bytes + i * PART, PART);
        let_pass(i > 0 ? 400 : 0);
        if (i < PARTS - 1) {
            expect_nothing(r.channel);
        }
    }

    expect_message(r.channel, 8, pattern(large.size), large.size);
    raw_end(&r);
}

/* The same, with a loop that had something else to do. */
static void a_large_message_is_not_late_where_a_loop_did_not_read(void **state)
{
    (void)state;
    enum { PARTS = 3, PART = 32 * 1024 };
    static const proc_handlers handlers;
    const frame large = {.kind = FRAME_MESSAGE, .size = PARTS * PART - FRAME_HEADER_SIZE};
    unsigned char *bytes = keep(malloc(PARTS * PART));
    proc_loop *loop;
    raw r;

    raw_meet(&r, CHANNEL_OPTIONS(.frame_ms = 300));
    assert_int_equal(proc_loop_new(&loop), 0);
    assert_int_equal(proc_loop_add_channel(loop, r.channel, &handlers, NULL), 0);
    (void)raw_encode(&large, pattern(large.size), bytes);
    for (size_t i = 0; i < PARTS; i++) {
        raw_write(&r, bytes + i * PART, PART);
        let_pass(i > 0 ? 400 : 0);
        assert_int_equal(proc_loop_step(loop, 0), 0);
    }

    assert_int_equal(proc_channel_flush(r.channel, 0), 0); /* else -EPROTO */
    proc_loop_free(loop);
    raw_end(&r);
}

/* It said nothing, and reads nothing: what waits stays. */
static void a_flush_after_the_end_does_not_wait_for_a_hello(void **state)
{
    (void)state;
    const char *data = pattern(64 * 1024);
    int in[2], out[2];
    int64_t cpu;
    proc_channel *c;

    make_pipe(in);
    make_pipe(out);
    assert_int_equal(proc_channel_open(&c, in[0], out[1], CHANNEL_OPTIONS(.hello_ms = 1, .linger_ms = 1)), 0);
    close(in[1]);
    assert_int_equal(proc_channel_send(c, MESSAGE(.data = data, .size = 64 * 1024), 0), 0);
    cpu = own_cpu_ms();
    assert_int_equal(proc_channel_flush(c, 600), -ETIMEDOUT);
    assert_true(own_cpu_ms() - cpu < 200);

    proc_channel_free(c);
    close(out[0]);
}

static const struct CMUnitTest tests[] = {
    TEST(a_rest_that_came_in_time_is_not_late_when_it_is_read_late),
    TEST(a_large_message_is_not_late_where_this_end_did_not_read),
    TEST(a_large_message_is_not_late_where_a_loop_did_not_read),
    TEST(a_flush_after_the_end_does_not_wait_for_a_hello),
};

HARNESS_MAIN(tests)
