/*
 * Two ends that send to each other without receiving: they read ahead, up to the backlog.
 */
#include "peer.h"

#include <pthread.h>

typedef struct flooder {
    proc_channel *channel;
    pthread_t thread;
    const char *data;
    size_t size;
    uint32_t count, got, deadlocks;
    int result;
} flooder;

static int receive_one(flooder *f, int timeout_ms)
{
    proc_message message;
    int err = proc_channel_recv(f->channel, &message, timeout_ms);

    if (err == 0 && message.type != f->got++) {
        return -EILSEQ;
    }
    return err;
}

/* Sends all before it receives any, but for what it must. */
static void *flood(void *arg)
{
    flooder *f = arg;

    for (uint32_t sent = 0; sent < f->count && f->result == 0;) {
        f->result = proc_channel_send(f->channel, MESSAGE(.type = sent, .data = f->data, .size = f->size), IN_TIME);
        if (f->result == -EDEADLK) {
            f->deadlocks++;
            while ((f->result = receive_one(f, 0)) == 0) {
            }
            f->result = f->result == -ETIMEDOUT ? 0 : f->result;
        } else {
            sent++;
        }
    }
    while (f->result == 0 && f->got < f->count) {
        f->result = receive_one(f, IN_TIME);
    }
    if (f->result == 0) {
        f->result = proc_channel_flush(f->channel, IN_TIME);
    }
    return NULL;
}

/* How many of the two were told of a deadlock. */
static int flood_both_ways(size_t size)
{
    flooder flooders[2] = {{.got = 0}};
    proc_channel *ends[2];

    make_pair(ends, NULL);
    for (int i = 0; i < 2; i++) {
        flooders[i] = (flooder){.channel = ends[i], .data = pattern(size), .size = size, .count = 2000};
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&flooders[i].thread, NULL, flood, &flooders[i]), 0);
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(flooders[i].thread, NULL);
        assert_int_equal(flooders[i].result, 0);
        assert_int_equal(flooders[i].got, 2000);
    }
    free_pair(ends);
    return (flooders[0].deadlocks > 0) + (flooders[1].deadlocks > 0);
}

static void two_ends_that_flood_each_other_both_finish(void **state)
{
    (void)state;

    assert_int_equal(flood_both_ways(20000), 0);
}

static void two_ends_beyond_the_backlog_are_told_of_the_deadlock_and_finish(void **state)
{
    (void)state;

    assert_true(flood_both_ways(60000) > 0);
}

/* Its requests are small, the answers are not, and it reads none of them. */
static void a_peer_that_asks_on_without_reading_is_cut_off(void **state)
{
    (void)state;
    enum { ANSWER_SIZE = 64 * 1024, MOST = 200 };
    const char *data = pattern(ANSWER_SIZE);
    int err = 0;
    uint32_t asked = 0;
    raw r;

    raw_meet(&r, NULL);
    while (err == 0 && asked < MOST) {
        proc_message request;
        raw_frame(&r, (frame){.kind = FRAME_REQUEST, .id = ++asked}, NULL);
        err = proc_channel_recv(r.channel, &request, IN_TIME);
        if (err == 0) {
            assert_int_equal(
                proc_channel_reply(r.channel, &request, ANSWER(.data = data, .size = ANSWER_SIZE), IN_TIME), 0);
        }
    }

    assert_int_equal(err, -EPROTO);
    assert_in_range(asked, 64, 100); /* as many as may be asked at once, and what the socket took */
    raw_end(&r);
}

static void *receive_to_the_end(void *arg)
{
    flooder *f = arg;

    while (f->result == 0) {
        f->result = receive_one(f, IN_TIME);
    }
    return NULL;
}

static void free_sends_all_that_waits_even_where_the_backlog_is_full(void **state)
{
    (void)state;
    enum { MESSAGES = 100, SIZE = 60000 }; /* more than the window */
    const char *data = pattern(SIZE);
    flooder receiver = {.got = 0};
    proc_channel *ends[2];

    make_pair(ends, CHANNEL_OPTIONS(.backlog = 1, .high_water = PROC_UNLIMITED, .linger_ms = IN_TIME));
    assert_int_equal(proc_channel_send(ends[1], MESSAGE(.type = 1), 0), 0);
    for (uint32_t i = 0; i < MESSAGES; i++) {
        assert_int_equal(proc_channel_send(ends[0], MESSAGE(.type = i, .data = data, .size = SIZE), 0), 0);
    }
    receiver.channel = ends[1];
    assert_int_equal(pthread_create(&receiver.thread, NULL, receive_to_the_end, &receiver), 0);
    proc_channel_free(ends[0]);
    pthread_join(receiver.thread, NULL);

    assert_int_equal(receiver.result, -EPIPE);
    assert_int_equal(receiver.got, MESSAGES);
    proc_channel_free(ends[1]);
}

static const struct CMUnitTest tests[] = {
    TEST(a_peer_that_asks_on_without_reading_is_cut_off),
    TEST(two_ends_that_flood_each_other_both_finish),
    TEST(two_ends_beyond_the_backlog_are_told_of_the_deadlock_and_finish),
    TEST(free_sends_all_that_waits_even_where_the_backlog_is_full),
};

HARNESS_MAIN(tests)
