/* wrap: malloc calloc realloc free */
/*
 * How much memory messages take: none each, once the buffers are there.
 */
#include "peer.h"

#include <stdatomic.h>

static atomic_ulong taken;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
void __real_free(void *memory);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);
void __wrap_free(void *memory);

void *__wrap_malloc(size_t size)
{
    atomic_fetch_add(&taken, 1);
    return __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    atomic_fetch_add(&taken, 1);
    return __real_calloc(count, size);
}

void *__wrap_realloc(void *memory, size_t size)
{
    atomic_fetch_add(&taken, 1);
    return __real_realloc(memory, size);
}

void __wrap_free(void *memory)
{
    __real_free(memory);
}

enum { ROUNDS = 1000, BURST = 20, SIZE = 64 };

static void exchange_bursts(proc_channel *ends[2], int rounds)
{
    static const char data[SIZE];

    for (int round = 0; round < rounds; round++) {
        for (uint32_t i = 0; i < BURST; i++) {
            assert_int_equal(proc_channel_post(ends[0], MESSAGE(.type = i, .data = data, .size = SIZE)), 0);
        }
        assert_int_equal(proc_channel_flush(ends[0], IN_TIME), 0);
        for (uint32_t i = 0; i < BURST; i++) {
            expect_message(ends[1], i, data, SIZE);
        }
    }
}

static void posted_messages_take_no_memory_once_warm(void **state)
{
    (void)state;
    proc_channel *ends[2];
    unsigned long before = atomic_load(&taken);

    make_pair(ends, NULL);
    exchange_bursts(ends, 10);
    assert_true(atomic_load(&taken) > before); /* it is counted */
    before = atomic_load(&taken);
    exchange_bursts(ends, ROUNDS);
    assert_int_equal(atomic_load(&taken), before);
    free_pair(ends);
}

static void exchange_requests(proc_channel *ends[2], int rounds)
{
    static const char data[SIZE];

    for (int round = 0; round < rounds; round++) {
        int64_t id = proc_channel_request(ends[0], MESSAGE(.data = data, .size = SIZE), 0);
        proc_message request = expect_request(ends[1]);

        assert_int_equal(proc_channel_reply(ends[1], &request, ANSWER(.data = data, .size = SIZE), 0), 0);
        assert_int_equal(expect_reply(ends[0], id, PROC_REPLY).size, SIZE);
    }
}

static void requests_and_replies_take_no_memory_once_warm(void **state)
{
    (void)state;
    proc_channel *ends[2];

    make_pair(ends, NULL);
    exchange_requests(ends, 10);
    unsigned long before = atomic_load(&taken);
    exchange_requests(ends, ROUNDS);
    assert_int_equal(atomic_load(&taken), before);
    free_pair(ends);
}

static int echo_requests(proc_channel *parent, void *arg)
{
    proc_message m;

    (void)arg;
    while (proc_channel_recv(parent, &m, PROC_FOREVER) == 0) {
        if (proc_channel_reply(parent, &m, ANSWER(.data = m.data, .size = m.size), PROC_FOREVER) < 0) {
            return 1;
        }
    }
    return 0;
}

static void call_often(proc_channel *c, int rounds)
{
    static const char data[SIZE];

    for (int round = 0; round < rounds; round++) {
        proc_message reply;

        assert_int_equal(proc_channel_call(c, MESSAGE(.data = data, .size = SIZE), &reply, IN_TIME), 0);
        assert_int_equal(reply.size, SIZE);
        proc_message_clear(&reply);
    }
}

static void calls_take_no_memory_once_warm(void **state)
{
    (void)state;
    proc_child *child;

    assert_int_equal(proc_fork_call(&child, echo_requests, NULL, NULL), 0);
    call_often(proc_child_channel(child), 10);
    unsigned long before = atomic_load(&taken);
    call_often(proc_child_channel(child), ROUNDS);
    assert_int_equal(atomic_load(&taken), before);
    proc_child_free(child);
}

static const struct CMUnitTest tests[] = {
    TEST(posted_messages_take_no_memory_once_warm),
    TEST(requests_and_replies_take_no_memory_once_warm),
    TEST(calls_take_no_memory_once_warm),
};

HARNESS_MAIN(tests)
