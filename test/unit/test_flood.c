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

static const struct CMUnitTest tests[] = {
    TEST(two_ends_that_flood_each_other_both_finish),
    TEST(two_ends_beyond_the_backlog_are_told_of_the_deadlock_and_finish),
};

HARNESS_MAIN(tests)
