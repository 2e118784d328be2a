/*
 * Channels in a poll loop of the program's own: what they ask for at each point of their life, and what is left of them
 * when they are freed in the middle of it.
 */
#include "peer.h"

#include <poll.h>
#include <sys/socket.h>

#include "channel.h"

static void a_channel_that_waits_for_a_hello_wants_to_be_asked_in_time(void **state)
{
    (void)state;
    raw r;

    raw_begin(&r, CHANNEL_OPTIONS(.hello_ms = 60000));
    int left = proc_channel_timeout(r.channel);
    assert_true(left > 0 && left <= 60000);
    assert_int_equal(proc_channel_events(r.channel), POLLIN); /* its own HELLO has gone */
    assert_int_equal(proc_channel_post(r.channel, MESSAGE(.type = 1)), 0);
    assert_int_equal(proc_channel_events(r.channel), POLLIN | POLLOUT);
    assert_int_equal(proc_channel_flush(r.channel, IN_TIME), 0);
    assert_int_equal(proc_channel_events(r.channel), POLLIN);
    raw_hello(&r);
    expect_nothing(r.channel);
    assert_int_equal(proc_channel_timeout(r.channel), PROC_FOREVER);
    raw_end(&r);
}

static void a_deadline_that_has_passed_wants_no_wait(void **state)
{
    (void)state;
    raw r;

    raw_begin(&r, CHANNEL_OPTIONS(.hello_ms = 1));
    while (proc_channel_timeout(r.channel) > 0) {
        poll(NULL, 0, proc_channel_timeout(r.channel));
    }
    assert_int_equal(proc_channel_timeout(r.channel), 0);
    expect_end(r.channel, -EPROTO);
    assert_int_equal(proc_channel_timeout(r.channel), 0); /* the end is here */
    assert_int_equal(proc_channel_events(r.channel), 0);
    raw_end(&r);
}

static void what_a_call_has_kept_for_recv_wants_no_wait(void **state)
{
    (void)state;
    raw r;

    raw_meet(&r, NULL);
    raw_frame(&r, (frame){.kind = FRAME_MESSAGE, .type = 1}, NULL);
    raw_frame(&r, (frame){.kind = FRAME_MESSAGE, .type = 2}, NULL);
    proc_message reply;
    assert_int_equal(proc_channel_call(r.channel, MESSAGE(.type = 3), &reply, 0), -ETIMEDOUT); /* reads ahead */
    assert_int_equal(proc_channel_timeout(r.channel), 0);
    expect_message(r.channel, 1, NULL, 0);
    assert_int_equal(proc_channel_timeout(r.channel), 0);
    expect_message(r.channel, 2, NULL, 0);
    expect_nothing(r.channel);
    assert_int_equal(proc_channel_timeout(r.channel), PROC_FOREVER);
    raw_end(&r);
}

static void an_end_is_told_when_the_last_awaited_reply_is_in(void **state)
{
    (void)state;
    proc_channel *ends[2];
    proc_message request;

    make_pair(ends, NULL);
    int64_t id = ask(ends[0], 1);
    request = expect_request(ends[1]);
    assert_int_equal(proc_channel_shutdown(ends[1]), 0);
    expect_nothing(ends[0]);
    assert_int_equal(proc_channel_timeout(ends[0]), PROC_FOREVER); /* the reply is still to come */
    assert_int_equal(proc_channel_reply(ends[1], &request, ANSWER(.type = 2), IN_TIME), 0);
    expect_reply(ends[0], id, PROC_REPLY);
    assert_int_equal(proc_channel_timeout(ends[0]), 0);
    expect_end(ends[0], -EPIPE);
    free_pair(ends);
}

static void an_other_end_that_is_closed_leaves_nothing_to_write(void **state)
{
    (void)state;
    raw r;

    raw_meet(&r, NULL);
    close(r.fd);
    r.fd = -1;
    expect_end(r.channel, -EPIPE);
    assert_int_equal(proc_channel_events(r.channel), 0);
    assert_int_equal(proc_channel_timeout(r.channel), 0);
    assert_int_equal(proc_channel_send(r.channel, MESSAGE(.type = 1), IN_TIME), -EPIPE);
    assert_int_equal(proc_channel_events(r.channel), 0);
    raw_end(&r);
}

static void free_in_copy(void *channel)
{
    proc_channel_free(channel);
}

/* Among them one with a descriptor, which nobody takes any more. */
static void a_channel_that_is_freed_drops_what_it_has_kept(void **state)
{
    (void)state;
    proc_channel *ends[2];
    proc_message reply;
    int pipe_ends[2];

    make_pipe(pipe_ends);
    make_pair(ends, CHANNEL_OPTIONS(.max_fds = 1));
    assert_int_equal(proc_channel_send(ends[1], MESSAGE(.type = 1, .data = "x", .size = 1), IN_TIME), 0);
    assert_int_equal(proc_channel_send(ends[1], MESSAGE(.fds = &pipe_ends[1], .fd_count = 1), IN_TIME), 0);
    close(pipe_ends[1]);
    assert_int_equal(proc_channel_call(ends[0], MESSAGE(.type = 3), &reply, 0), -ETIMEDOUT);
    assert_int_equal(proc_channel_timeout(ends[0]), 0);
    in_copy(free_in_copy, ends[0]);
    free_pair(ends);
    await_end(pipe_ends[0]);
    close(pipe_ends[0]);
}

/* What another end says of time is capped, where it is more than an int can tell. */
static void a_caller_that_waits_for_weeks_is_not_late(void **state)
{
    (void)state;
    raw r;

    raw_meet(&r, NULL);
    raw_frame(&r, (frame){.kind = FRAME_REQUEST, .id = 1, .flags = FRAME_DEADLINE, .timeout_ms = UINT32_MAX}, NULL);
    raw_frame(&r, (frame){.kind = FRAME_REQUEST, .id = 2, .flags = FRAME_DEADLINE, .timeout_ms = 0}, NULL);
    proc_message request = expect_request(r.channel);
    assert_int_equal(request.time_left, UINT32_MAX);
    assert_false(proc_channel_cancelled(r.channel, &request));
    request = expect_request(r.channel);
    assert_int_equal(request.time_left, 1);
    assert_true(proc_channel_cancelled(r.channel, &request));
    raw_end(&r);
}

/* ---- requests ---- */

/* It has begun, so the other end gets the rest of it, and is told at once that nobody waits. */
static void a_large_request_that_has_partly_gone_is_cancelled_behind_it(void **state)
{
    (void)state;
    enum { SIZE = 4 * 1024 * 1024 };
    char *data = pattern(SIZE);
    proc_message m;
    raw r;

    raw_begin(&r, NULL);
    raw_greet(&r, 16 * 1024 * 1024);
    assert_int_equal(proc_channel_recv(r.channel, &m, 0), -ETIMEDOUT);
    int64_t id = proc_channel_request(r.channel, MESSAGE(.type = 1, .data = data, .size = SIZE), 0);
    assert_true(id > 0);
    assert_true(proc_channel_pending(r.channel) > 0 && proc_channel_pending(r.channel) < SIZE);
    assert_int_equal(proc_channel_cancel(r.channel, id), 0);
    assert_int_equal(proc_channel_cancel(r.channel, id), -EINVAL);
    unsigned char *bytes = keep(malloc(2 * SIZE));
    size_t came = 0, at = 0;
    ssize_t got;
    do {
        int err = proc_channel_flush(r.channel, 0);
        assert_true(err == 0 || err == -ETIMEDOUT);
        got = recv(r.fd, bytes + came, 2 * SIZE - came, MSG_DONTWAIT);
        came += got > 0 ? (size_t)got : 0;
    } while (got > 0);

    static const frame_limits all = {.max_size = UINT32_MAX};
    const uint8_t kinds[] = {FRAME_HELLO, FRAME_REQUEST, FRAME_CANCEL};
    frame f = {.id = 0};
    for (size_t i = 0; i < COUNT(kinds); i++) {
        assert_null(frame_decode(&f, bytes + at, &all));
        assert_int_equal(f.kind, kinds[i]);
        at += FRAME_HEADER_SIZE + frame_padded(f.size);
    }
    assert_int_equal(f.id, id);
    assert_int_equal(at, came);
    raw_end(&r);
}

static void parts_and_the_last_of_a_reply_may_follow_the_end(void **state)
{
    (void)state;
    raw r;

    raw_meet(&r, NULL);
    int64_t id = ask(r.channel, 1);
    raw_frame(&r, (frame){.kind = FRAME_END}, NULL);
    raw_frame(&r, (frame){.kind = FRAME_REPLY, .flags = FRAME_MORE, .id = (uint32_t)id, .type = 2}, NULL);
    raw_frame(&r, (frame){.kind = FRAME_REPLY, .id = (uint32_t)id, .type = 3}, NULL);
    assert_int_equal(expect_reply(r.channel, id, PROC_REPLY | PROC_MORE).type, 2);
    assert_int_equal(expect_reply(r.channel, id, PROC_REPLY).type, 3);
    expect_end(r.channel, -EPIPE);
    raw_end(&r);
}

/* It looks no further than there is room for what it finds. */
static void a_look_for_cancellations_stops_at_the_backlog(void **state)
{
    (void)state;
    proc_message reply;
    raw r;

    raw_meet(&r, CHANNEL_OPTIONS(.backlog = 1));
    raw_frame(&r, (frame){.kind = FRAME_REQUEST, .id = 7, .type = 1}, NULL);
    proc_message request = expect_request(r.channel);
    raw_frame(&r, (frame){.kind = FRAME_MESSAGE, .type = 2}, NULL);
    assert_int_equal(proc_channel_call(r.channel, MESSAGE(.type = 3), &reply, IN_TIME), -EDEADLK);
    raw_frame(&r, (frame){.kind = FRAME_CANCEL, .id = 7}, NULL);
    assert_false(proc_channel_cancelled(r.channel, &request));
    expect_message(r.channel, 2, NULL, 0);
    expect_nothing(r.channel);
    assert_true(proc_channel_cancelled(r.channel, &request));
    raw_end(&r);
}

static const struct CMUnitTest tests[] = {
    TEST(a_channel_that_waits_for_a_hello_wants_to_be_asked_in_time),
    TEST(a_deadline_that_has_passed_wants_no_wait),
    TEST(what_a_call_has_kept_for_recv_wants_no_wait),
    TEST(an_end_is_told_when_the_last_awaited_reply_is_in),
    TEST(an_other_end_that_is_closed_leaves_nothing_to_write),
    TEST(a_channel_that_is_freed_drops_what_it_has_kept),
    TEST(a_caller_that_waits_for_weeks_is_not_late),
    TEST(a_large_request_that_has_partly_gone_is_cancelled_behind_it),
    TEST(parts_and_the_last_of_a_reply_may_follow_the_end),
    TEST(a_look_for_cancellations_stops_at_the_backlog),
};

HARNESS_MAIN(tests)
