/*
 * What the other end's window holds back: whoever waits on the channel asks about it, answers for it and tells of it, also
 * where another thread, or a handler, has left that to be done.
 */
#include "peer.h"

#include <poll.h>
#include <pthread.h>

#include "channel.h"

enum { HALF_AND_MORE = 40 * 1024 }; /* of the least window: one goes, the next one waits */

static void post_half_and_more(raw *r)
{
    assert_int_equal(proc_channel_post(r->channel, MESSAGE(.data = pattern(HALF_AND_MORE), .size = HALF_AND_MORE)), 0);
}

/* The window is in use, and all that there was to say has been said. */
static void begin_with_little_room(raw *r)
{
    raw_meet(r, NULL);
    post_half_and_more(r);
    assert_int_equal(proc_channel_flush(r->channel, IN_TIME), 0);
    (void)raw_await(r, FRAME_MESSAGE);
}

static void make_room(raw *r)
{
    raw_frame(r, (frame){.kind = FRAME_ACK, .ack = FRAME_HEADER_SIZE + HALF_AND_MORE}, NULL);
}

static void *receive(void *arg)
{
    proc_message message;
    (void)proc_channel_recv(arg, &message, IN_TIME);
    return NULL;
}

static void a_recv_that_waits_asks_for_room_for_what_is_posted(void **state)
{
    (void)state;
    pthread_t thread;
    raw r;

    begin_with_little_room(&r);
    assert_int_equal(pthread_create(&thread, NULL, receive, r.channel), 0);
    await_driver(r.channel);

    post_half_and_more(&r);

    (void)raw_await(&r, FRAME_PING);
    make_room(&r);
    (void)raw_await(&r, FRAME_MESSAGE);
    raw_frame(&r, (frame){.kind = FRAME_MESSAGE}, NULL);
    assert_int_equal(pthread_join(thread, NULL), 0);
    raw_end(&r);
}

static void a_poll_loop_of_one_s_own_asks_for_room_once(void **state)
{
    (void)state;
    raw r;

    begin_with_little_room(&r);
    assert_int_equal(proc_channel_events(r.channel), POLLIN);
    post_half_and_more(&r);
    assert_int_equal(proc_channel_events(r.channel), POLLIN | POLLOUT);

    assert_int_equal(proc_channel_flush(r.channel, 0), -ETIMEDOUT);
    assert_int_equal(proc_channel_events(r.channel), POLLIN);
    (void)raw_await(&r, FRAME_PING);
    make_room(&r);
    expect_nothing(r.channel);
    (void)raw_await(&r, FRAME_MESSAGE);
    raw_end(&r);
}

/* Its turn is over, and it waits for the other end alone. */
static proc_loop *settle_in_a_loop(raw *r)
{
    static const proc_handlers handlers;
    proc_loop *loop;

    assert_int_equal(proc_loop_new(&loop), 0);
    assert_int_equal(proc_loop_add_channel(loop, r->channel, &handlers, NULL), 0);
    assert_int_equal(proc_loop_step(loop, 0), 0);
    return loop;
}

static void a_loop_asks_for_room_for_what_is_posted(void **state)
{
    (void)state;
    raw r;

    begin_with_little_room(&r);
    proc_loop *loop = settle_in_a_loop(&r);

    post_half_and_more(&r);
    assert_int_equal(proc_loop_step(loop, 0), 0);

    (void)raw_await(&r, FRAME_PING);
    make_room(&r);
    assert_int_equal(proc_loop_step(loop, IN_TIME), 0);
    (void)raw_await(&r, FRAME_MESSAGE);
    proc_loop_free(loop);
    raw_end(&r);
}

static void a_loop_answers_a_question_that_another_call_has_read(void **state)
{
    (void)state;
    raw r;

    raw_meet(&r, NULL);
    proc_loop *loop = settle_in_a_loop(&r);

    raw_frame(&r, (frame){.kind = FRAME_PING, .id = 7}, NULL);
    assert_false(proc_channel_cancelled(r.channel, ASK(.id = 1)));
    assert_int_equal(proc_loop_step(loop, 0), 0);

    assert_int_equal(raw_await(&r, FRAME_PONG).id, 7);
    proc_loop_free(loop);
    raw_end(&r);
}

static void *send_one_more(void *arg)
{
    return (void *)(intptr_t)proc_channel_send(arg, MESSAGE(.type = 1), PROC_FOREVER);
}

static void a_shutdown_ends_the_wait_for_room(void **state)
{
    (void)state;
    pthread_t thread;
    void *result;
    raw r;

    raw_meet(&r, CHANNEL_OPTIONS(.high_water = 1));
    post_half_and_more(&r);
    assert_int_equal(proc_channel_flush(r.channel, IN_TIME), 0);
    post_half_and_more(&r);
    assert_int_equal(pthread_create(&thread, NULL, send_one_more, r.channel), 0);
    await_driver(r.channel);

    assert_int_equal(proc_channel_shutdown(r.channel), 0);

    assert_int_equal(pthread_join(thread, &result), 0);
    assert_int_equal((intptr_t)result, -EPIPE);
    close(r.fd); /* nothing to linger for */
    r.fd = -1;
    raw_end(&r);
}

static void a_part_of_a_cancelled_reply_does_not_wait_for_room(void **state)
{
    (void)state;
    const proc_message part = {.data = pattern(HALF_AND_MORE), .size = HALF_AND_MORE, .flags = PROC_MORE};
    raw r;

    raw_meet(&r, CHANNEL_OPTIONS(.high_water = 1));
    raw_frame(&r, (frame){.kind = FRAME_REQUEST, .id = 9}, NULL);
    proc_message request = expect_request(r.channel);
    assert_int_equal(proc_channel_reply(r.channel, &request, &part, 0), 0);
    assert_int_equal(proc_channel_reply(r.channel, &request, &part, 0), 0);
    assert_int_equal(proc_channel_reply(r.channel, &request, &part, 0), -ETIMEDOUT);

    raw_frame(&r, (frame){.kind = FRAME_CANCEL, .id = 9}, NULL);

    assert_int_equal(proc_channel_reply(r.channel, &request, &part, IN_TIME), 0); /* finds it while it waits */
    assert_int_equal(proc_channel_reply(r.channel, &request, &part, 0), 0);
    assert_int_equal(proc_channel_reply(r.channel, &request, ANSWER(.type = 1), 0), 0);
    close(r.fd); /* nothing to linger for */
    r.fd = -1;
    raw_end(&r);
}

static const struct CMUnitTest tests[] = {
    TEST(a_recv_that_waits_asks_for_room_for_what_is_posted),
    TEST(a_poll_loop_of_one_s_own_asks_for_room_once),
    TEST(a_loop_asks_for_room_for_what_is_posted),
    TEST(a_loop_answers_a_question_that_another_call_has_read),
    TEST(a_shutdown_ends_the_wait_for_room),
    TEST(a_part_of_a_cancelled_reply_does_not_wait_for_room),
};

HARNESS_MAIN(tests)
