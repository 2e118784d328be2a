/*
 * Requests and replies where it gets tight: places that are taken, ids that come round again, replies that cross with
 * cancellations, ends that break the protocol while others wait for them.
 */
#include "peer.h"

#include <pthread.h>
#include <stdatomic.h>

#include "channel.h"

/* ---- places at the other end ---- */

static void before_the_hello_sixteen_requests_may_be_open(void **state)
{
    (void)state;
    proc_message reply;
    raw r;

    raw_begin(&r, NULL);
    for (uint32_t i = 0; i < 16; i++) {
        assert_true(proc_channel_request(r.channel, ASK(.type = i), 0) > 0);
    }
    assert_int_equal(proc_channel_request(r.channel, ASK(.type = 16), 0), -ETIMEDOUT);
    assert_int_equal(proc_channel_call(r.channel, ASK(.type = 16), &reply, 10), -ETIMEDOUT);
    raw_end(&r);
}

/* They were given up here, but the other end has yet to answer them. */
static void cancelled_requests_keep_their_places_until_they_are_answered(void **state)
{
    (void)state;
    enum { PLACES = 64 };
    proc_channel *ends[2];
    proc_message requests[PLACES];

    make_pair(ends, NULL);
    for (uint32_t i = 0; i < PLACES; i++) {
        int64_t id = ask(ends[0], i);
        requests[i] = expect_request(ends[1]);
        assert_int_equal(proc_channel_cancel(ends[0], id), 0);
    }
    assert_int_equal(proc_channel_request(ends[0], ASK(.type = 1), 10), -ETIMEDOUT);

    assert_int_equal(proc_channel_reply(ends[1], &requests[40], ANSWER(.type = 1), 0), 0);
    (void)ask(ends[0], 77);
    assert_int_equal(proc_channel_request(ends[0], ASK(.type = 1), 0), -ETIMEDOUT);
    assert_int_equal(expect_request(ends[1]).type, 77);
    expect_nothing(ends[0]);
    free_pair(ends);
}

/* ---- ids ---- */

static void round_trip(proc_channel *ends[2], int64_t *id)
{
    *id = ask(ends[0], 1);
    proc_message request = expect_request(ends[1]);
    assert_int_equal(request.id, *id);
    assert_int_equal(proc_channel_reply(ends[1], &request, ANSWER(.type = 2), 0), 0);
    (void)expect_reply(ends[0], *id, PROC_REPLY);
}

/* An id is a place and a generation of 16 bits: these go round, and a request that waits all the time keeps its own. */
static void ids_come_round_again_past_those_that_are_in_use(void **state)
{
    (void)state;
    int rounds = under_valgrind() ? 300 : 2 * 65536 + 100;
    proc_channel *ends[2];
    int64_t oldest, id, first = 0;
    bool again = false;

    make_pair(ends, NULL);
    oldest = ask(ends[0], 9);
    proc_message waits = expect_request(ends[1]);
    for (int i = 0; i < rounds; i++) {
        round_trip(ends, &id);
        assert_true(id > 0 && id <= UINT32_MAX && id != oldest);
        first = i == 0 ? id : first;
        again = again || (i > 0 && id == first);
    }
    assert_true(again || under_valgrind());

    assert_int_equal(proc_channel_reply(ends[1], &waits, ANSWER(.type = 3), 0), 0);
    (void)expect_reply(ends[0], oldest, PROC_REPLY);
    free_pair(ends);
}

/* ---- cancelling, and the reply ---- */

static void *answer_all(void *arg)
{
    proc_message m;
    int err;

    while ((err = proc_channel_recv(arg, &m, IN_TIME)) == 0) {
        if ((err = proc_channel_reply(arg, &m, ANSWER(.type = m.type), IN_TIME)) < 0) {
            break;
        }
    }
    return (void *)(intptr_t)err;
}

static int rounds_of_a_race(void)
{
    bool first = !POSIX_BUILD && getenv("PROC_TEST_EXITWATCH") == NULL &&
                 strcmp(getenv("PROC_TEST_LAUNCHER") != NULL ? getenv("PROC_TEST_LAUNCHER") : "vfork", "vfork") == 0;

    return under_valgrind() || THREAD_SANITIZER || ADDRESS_SANITIZER ? 1000 : first ? 100000 : 5000;
}

static void a_cancellation_before_the_reply_and_one_after_it_are_told_apart(void **state)
{
    (void)state;
    int rounds = rounds_of_a_race() / 2;
    proc_channel *ends[2];

    make_pair(ends, NULL);
    for (int i = 0; i < rounds; i++) {
        int64_t early = ask(ends[0], 1), late = ask(ends[0], 2);
        proc_message requests[2] = {expect_request(ends[1]), expect_request(ends[1])};

        assert_int_equal(proc_channel_cancel(ends[0], early), 0);
        assert_int_equal(proc_channel_reply(ends[1], &requests[0], ANSWER(.type = 1), 0), 0);
        assert_int_equal(proc_channel_reply(ends[1], &requests[1], ANSWER(.type = 2), 0), 0);
        proc_message reply = expect_reply(ends[0], late, PROC_REPLY);
        assert_int_equal(reply.type, 2);
        assert_int_equal(proc_channel_cancel(ends[0], late), -EINVAL);
    }
    expect_nothing(ends[0]);
    assert_int_equal(ends[0]->own_count, 0);
    assert_int_equal(ends[1]->open_count, 0);
    free_pair(ends);
}

static void cancellations_and_replies_cross_without_harm(void **state)
{
    (void)state;
    int rounds = rounds_of_a_race(), cancelled = 0, answered = 0;
    proc_channel *ends[2];
    pthread_t server;
    void *result;

    make_pair(ends, NULL);
    assert_int_equal(pthread_create(&server, NULL, answer_all, ends[1]), 0);
    for (int i = 0; i < rounds; i++) {
        int64_t id = ask(ends[0], (uint32_t)i);
        proc_message reply;
        bool came = false;

        for (uint32_t idle = random_below(3); idle > 0 && !came; idle--) { /* it may come before, or be under way */
            came = proc_channel_recv(ends[0], &reply, 0) == 0;
        }
        if (came) {
            assert_int_equal(reply.id, id);
            assert_int_equal(reply.type, (uint32_t)i);
            assert_int_equal(proc_channel_cancel(ends[0], id), -EINVAL);
            answered++;
        } else if (proc_channel_cancel(ends[0], id) == 0) {
            cancelled++;
        } else { /* it came while we looked, and is kept */
            (void)expect_reply(ends[0], id, PROC_REPLY);
            answered++;
        }
    }
    assert_int_equal(cancelled + answered, rounds);
    assert_true(cancelled > 0);
    assert_int_equal(proc_channel_shutdown(ends[0]), 0);
    pthread_join(server, &result);
    assert_int_equal((intptr_t)result, -EPIPE);
    expect_nothing(ends[0]);
    assert_int_equal(ends[0]->own_count, 0);
    free_pair(ends);
}

/* ---- parts ---- */

static void a_reply_in_parts_may_end_in_failure(void **state)
{
    (void)state;
    proc_channel *ends[2];

    make_pair(ends, NULL);
    for (uint32_t parts = 0; parts < 3; parts++) {
        int64_t id = ask(ends[0], 1);
        proc_message request = expect_request(ends[1]), reply;
        for (uint32_t i = 0; i < parts; i++) {
            assert_int_equal(
                proc_channel_reply(ends[1], &request, MESSAGE(.type = i, .flags = PROC_REPLY | PROC_MORE), 0), 0);
        }
        assert_int_equal(
            proc_channel_reply(ends[1], &request, MESSAGE(.type = EIO, .flags = PROC_REPLY | PROC_FAILURE), 0), 0);

        for (uint32_t i = 0; i < parts; i++) {
            reply = expect_reply(ends[0], id, PROC_REPLY | PROC_MORE);
            assert_int_equal(reply.type, i);
        }
        reply = expect_reply(ends[0], id, PROC_REPLY | PROC_FAILURE);
        assert_int_equal(reply.type, EIO);
    }
    free_pair(ends);
}

static void of_a_reply_in_parts_nothing_comes_after_the_cancellation(void **state)
{
    (void)state;
    proc_channel *ends[2];
    const proc_message *part = MESSAGE(.type = 5, .flags = PROC_REPLY | PROC_MORE);

    make_pair(ends, NULL);
    int64_t id = ask(ends[0], 1);
    proc_message request = expect_request(ends[1]);
    assert_int_equal(proc_channel_reply(ends[1], &request, part, 0), 0);
    (void)expect_reply(ends[0], id, PROC_REPLY | PROC_MORE);
    assert_int_equal(proc_channel_reply(ends[1], &request, part, 0), 0); /* under way */
    assert_int_equal(proc_channel_cancel(ends[0], id), 0);
    expect_nothing(ends[0]);
    assert_true(proc_channel_cancelled(ends[1], &request));
    assert_int_equal(proc_channel_reply(ends[1], &request, part, 0), 0); /* it goes nowhere */
    assert_int_equal(proc_channel_reply(ends[1], &request, ANSWER(.type = 6), 0), 0);
    expect_nothing(ends[0]);
    assert_int_equal(ends[0]->own_count, 0);
    free_pair(ends);
}

/* ---- those who wait ---- */

typedef struct caller {
    proc_channel *channel;
    pthread_t thread;
    atomic_int results; /* how often the call came back */
    int result;
} caller;

static void *call_for_ever(void *arg)
{
    caller *c = arg;
    proc_message reply;

    c->result = proc_channel_call(c->channel, ASK(.type = 1), &reply, PROC_FOREVER);
    atomic_fetch_add(&c->results, 1);
    proc_message_clear(&reply);
    return NULL;
}

static void all_who_wait_are_told_of_a_breach(void **state)
{
    (void)state;
    caller callers[8];
    raw r;

    raw_meet(&r, NULL);
    for (size_t i = 0; i < COUNT(callers); i++) {
        callers[i] = (caller){.channel = r.channel};
        assert_int_equal(pthread_create(&callers[i].thread, NULL, call_for_ever, &callers[i]), 0);
    }
    for (size_t i = 0; i < COUNT(callers); i++) {
        (void)raw_await(&r, FRAME_REQUEST);
    }
    raw_write(&r, "this is no frame of any kind", 28);
    for (size_t i = 0; i < COUNT(callers); i++) {
        pthread_join(callers[i].thread, NULL);
        assert_int_equal(callers[i].result, -EPROTO);
        assert_int_equal(atomic_load(&callers[i].results), 1);
    }
    raw_end(&r);
}

static void *flood_then_answer(void *arg)
{
    static char data[50000];
    proc_message request, copy;
    int err = proc_channel_recv(arg, &request, IN_TIME);

    copy = request;
    for (uint32_t i = 0; i < 200 && err == 0; i++) { /* ten windows full */
        err = proc_channel_send(arg, MESSAGE(.type = i, .data = data, .size = sizeof data), IN_TIME);
    }
    err = err == 0 ? proc_channel_reply(arg, &copy, ANSWER(.type = 200), IN_TIME) : err;
    return (void *)(intptr_t)(err == 0 ? proc_channel_flush(arg, IN_TIME) : err);
}

static void a_reply_arrives_behind_any_number_of_messages(void **state)
{
    (void)state;
    proc_channel *ends[2];
    proc_message reply, m;
    pthread_t server;
    void *result;

    make_pair(ends, NULL);
    assert_int_equal(pthread_create(&server, NULL, flood_then_answer, ends[1]), 0);
    assert_int_equal(proc_channel_call(ends[0], ASK(.type = 1), &reply, IN_TIME), 0);
    assert_int_equal(reply.type, 200);
    proc_message_clear(&reply);
    for (uint32_t i = 0; i < 200; i++) {
        assert_int_equal(proc_channel_recv(ends[0], &m, IN_TIME), 0);
        assert_int_equal(m.type, i);
        assert_int_equal(m.size, 50000);
    }
    pthread_join(server, &result);
    assert_null(result);
    free_pair(ends);
}

static const struct CMUnitTest tests[] = {
    TEST(before_the_hello_sixteen_requests_may_be_open),
    TEST(cancelled_requests_keep_their_places_until_they_are_answered),
    TEST(ids_come_round_again_past_those_that_are_in_use),
    TEST(a_cancellation_before_the_reply_and_one_after_it_are_told_apart),
    TEST(cancellations_and_replies_cross_without_harm),
    TEST(a_reply_in_parts_may_end_in_failure),
    TEST(of_a_reply_in_parts_nothing_comes_after_the_cancellation),
    TEST(all_who_wait_are_told_of_a_breach),
    TEST(a_reply_arrives_behind_any_number_of_messages),
};

HARNESS_MAIN(tests)
