/*
 * Requests, replies, cancellation: who gets which answer, and when nobody does.
 */
#include "peer.h"

#include <poll.h>
#include <pthread.h>

#include "channel.h"

/* ---- calls ---- */

static void a_failure_is_told_from_an_answer(void **state)
{
    (void)state;
    proc_channel *ends[2];
    proc_message request, reply;
    int64_t id;

    make_pair(ends, NULL);
    id = ask(ends[0], 1);
    request = expect_request(ends[1]);
    assert_int_equal(
        proc_channel_reply(ends[1], &request,
                           MESSAGE(.flags = PROC_REPLY | PROC_FAILURE, .type = ENOENT, .data = "no", .size = 2), 0),
        0);

    reply = expect_reply(ends[0], id, PROC_REPLY | PROC_FAILURE);
    assert_int_equal(reply.type, ENOENT);
    assert_int_equal(reply.size, 2);
    free_pair(ends);
}

static void a_reply_may_come_in_parts(void **state)
{
    (void)state;
    proc_channel *ends[2];
    proc_message request, reply;
    int64_t id;

    make_pair(ends, NULL);
    id = ask(ends[0], 1);
    request = expect_request(ends[1]);
    for (uint32_t part = 0; part < 10; part++) {
        assert_int_equal(
            proc_channel_reply(ends[1], &request, MESSAGE(.flags = PROC_REPLY | PROC_MORE, .type = part), 0), 0);
    }
    assert_int_equal(proc_channel_reply(ends[1], &request, ANSWER(.type = 10), 0), 0);
    assert_int_equal(proc_channel_reply(ends[1], &request, ANSWER(.type = 11), 0), -EINVAL);

    for (uint32_t part = 0; part < 10; part++) {
        reply = expect_reply(ends[0], id, PROC_REPLY | PROC_MORE);
        assert_int_equal(reply.type, part);
    }
    reply = expect_reply(ends[0], id, PROC_REPLY);
    assert_int_equal(reply.type, 10);
    expect_nothing(ends[0]);
    free_pair(ends);
}

static void a_last_reply_stays_behind_parts_that_wait(void **state)
{
    (void)state;
    enum { PARTS = 40, PART_SIZE = 60000 }; /* more than the window */
    proc_channel *ends[2];
    proc_message request, reply;
    char *part = pattern(PART_SIZE);
    int64_t id;

    make_pair(ends, CHANNEL_OPTIONS(.high_water = 4 * 1024 * 1024));
    id = ask(ends[0], 1);
    request = expect_request(ends[1]);
    for (uint32_t i = 0; i < PARTS; i++) {
        const proc_message *m = MESSAGE(.flags = PROC_REPLY | PROC_MORE, .type = i, .data = part, .size = PART_SIZE);

        assert_int_equal(proc_channel_reply(ends[1], &request, m, 0), 0);
    }
    assert_int_equal(proc_channel_reply(ends[1], &request, ANSWER(.type = PARTS), 0), 0);

    for (uint32_t i = 0; i <= PARTS; i++) {
        reply = expect_reply(ends[0], id, i < PARTS ? PROC_REPLY | PROC_MORE : PROC_REPLY);
        assert_int_equal(reply.type, i);
        assert_true(proc_channel_flush(ends[1], 0) == 0 || i < PARTS);
    }
    free_pair(ends);
}

typedef struct caller {
    proc_channel *channel;
    proc_message request;
    pthread_t thread;
    int timeout_ms, result;
} caller;

static void *call_once(void *arg)
{
    caller *c = arg;
    proc_message reply;

    c->result = proc_channel_call(c->channel, &c->request, &reply, c->timeout_ms);
    proc_message_clear(&reply);
    return NULL;
}

static void launch_caller(caller *c)
{
    c->result = 1;
    assert_int_equal(pthread_create(&c->thread, NULL, call_once, c), 0);
}

static void start_caller(caller *c, proc_channel *channel, int timeout_ms)
{
    *c = (caller){.channel = channel, .request = {.type = 1}, .timeout_ms = timeout_ms};
    launch_caller(c);
}

static int finish_caller(caller *c)
{
    pthread_join(c->thread, NULL);
    return c->result;
}

static void a_part_ends_a_call_with_ebadmsg(void **state)
{
    (void)state;
    proc_channel *ends[2];
    proc_message request;
    caller c;

    make_pair(ends, NULL);
    start_caller(&c, ends[0], IN_TIME);
    request = expect_request(ends[1]);
    assert_int_equal(proc_channel_reply(ends[1], &request, MESSAGE(.flags = PROC_REPLY | PROC_MORE), 0), 0);
    assert_int_equal(finish_caller(&c), -EBADMSG);

    assert_true(proc_channel_cancelled(ends[1], &request));
    assert_int_equal(proc_channel_reply(ends[1], &request, MESSAGE(.flags = PROC_REPLY | PROC_MORE), 0), 0);
    assert_int_equal(proc_channel_reply(ends[1], &request, ANSWER(.type = 1), 0), 0);
    expect_nothing(ends[0]);
    free_pair(ends);
}

/* A part spoils the call; the last reply, when it has come with the same read, is thrown away with all that it has. */
static void a_last_reply_behind_a_part_leaves_nothing_behind(void **state)
{
    (void)state;
    size_t open_before = count_open();
    unsigned char bytes[2 * FRAME_HEADER_SIZE];
    proc_message reply;
    raw r;

    raw_meet(&r, CHANNEL_OPTIONS(.max_fds = 1));
    for (uint32_t generation = 1; generation <= 3; generation++) {
        frame part = {.kind = FRAME_REPLY, .flags = FRAME_MORE, .id = generation << 16 | 1};
        frame last = {.kind = FRAME_REPLY, .id = part.id, .fd_count = 1};
        size_t size = raw_encode(&part, NULL, bytes);

        size += raw_encode(&last, NULL, bytes + size);
        assert_true(raw_send(&r, bytes, size, (const int[]){STDERR_FILENO}, 1));
        assert_int_equal(proc_channel_call(r.channel, ASK(.type = 1), &reply, IN_TIME), -EBADMSG);
    }
    assert_true(count_open() <= open_before + 4); /* the socket's ends, and the pipe that wakes who waits */
    raw_end(&r);
    assert_int_equal(count_open(), open_before);
}

/* ---- deadlines ---- */

static void a_late_reply_is_dropped(void **state)
{
    (void)state;
    proc_channel *ends[2];
    proc_message request, reply = {.size = 1};

    make_pair(ends, NULL);
    assert_int_equal(proc_channel_call(ends[0], ASK(.type = 1), &reply, 30), -ETIMEDOUT);
    assert_null(reply.data);
    assert_int_equal(reply.size, 0);

    request = expect_request(ends[1]);
    assert_true(request.time_left >= 1 && request.time_left <= 30);
    assert_true(proc_channel_cancelled(ends[1], &request));
    assert_int_equal(proc_channel_reply(ends[1], &request, ANSWER(.type = 1), 0), 0);
    assert_int_equal(proc_channel_reply(ends[1], &request, ANSWER(.type = 1), 0), -EINVAL);
    expect_nothing(ends[0]);
    assert_int_equal(ends[0]->own_count, 0);
    free_pair(ends);
}

static void a_request_has_no_deadline_and_a_call_tells_its_own(void **state)
{
    (void)state;
    proc_channel *ends[2];
    proc_message request, reply;

    make_pair(ends, NULL);
    (void)ask(ends[0], 1);
    request = expect_request(ends[1]);
    assert_int_equal(request.time_left, 0);
    assert_false(proc_channel_cancelled(ends[1], &request));
    assert_int_equal(proc_channel_call(ends[0], ASK(.type = 1), &reply, 0), -ETIMEDOUT);
    request = expect_request(ends[1]);
    assert_int_equal(request.time_left, 1);
    free_pair(ends);
}

static void *call_with_a_large_request(void *arg)
{
    proc_message reply;
    char *data = calloc(1, 65537); /* beyond what goes before the other end's HELLO */

    (void)proc_channel_call(arg, ASK(.data = data, .size = data != NULL ? 65537 : 0), &reply, IN_TIME);
    proc_message_clear(&reply);
    free(data);
    return NULL;
}

static void the_wait_for_room_counts_against_the_time_of_a_call(void **state)
{
    (void)state;
    enum { WAIT_MS = 30 };
    pthread_t thread;
    raw r;

    raw_begin(&r, NULL);
    assert_int_equal(pthread_create(&thread, NULL, call_with_a_large_request, r.channel), 0);
    await_driver(r.channel);
    poll(NULL, 0, WAIT_MS);
    raw_greet(&r, 1024 * 1024);

    frame request = raw_await(&r, FRAME_REQUEST);
    assert_int_equal(request.flags, FRAME_DEADLINE);
    assert_true(request.timeout_ms >= 1 && request.timeout_ms <= IN_TIME - WAIT_MS + 1);
    raw_frame(&r, (frame){.kind = FRAME_REPLY, .id = request.id}, NULL);
    assert_int_equal(pthread_join(thread, NULL), 0);
    raw_end(&r);
}

/* ---- cancelling ---- */

static void a_cancelled_request_tells_the_other_end_and_drops_the_reply(void **state)
{
    (void)state;
    proc_channel *ends[2];
    proc_message request;
    int64_t id;

    make_pair(ends, NULL);
    id = ask(ends[0], 1);
    request = expect_request(ends[1]);
    assert_false(proc_channel_cancelled(ends[1], &request));
    assert_int_equal(proc_channel_cancel(ends[0], id), 0);
    assert_int_equal(proc_channel_cancel(ends[0], id), -EINVAL);

    assert_true(proc_channel_cancelled(ends[1], &request));
    assert_int_equal(proc_channel_reply(ends[1], &request, ANSWER(.data = "late", .size = 4), 0), 0);
    expect_nothing(ends[0]);
    assert_int_equal(ends[0]->own_count, 0);
    free_pair(ends);
}

static void fill(proc_channel *c)
{
    char *data = pattern(1000);
    int err;

    do {
        err = proc_channel_send(c, MESSAGE(.type = 1, .data = data, .size = 1000), 0);
    } while (err == 0 && proc_channel_pending(c) < 1000 * 1000);
    assert_int_equal(err, 0);
}

static size_t drain(proc_channel *from, proc_channel *to, proc_message *last_request)
{
    proc_message message;
    size_t requests = 0;

    for (int idle = 0; idle < 3;) {
        (void)proc_channel_flush(from, 0);
        if (proc_channel_recv(to, &message, 0) == 0) {
            if ((message.flags & PROC_REQUEST) != 0) {
                *last_request = message;
                requests++;
            }
            idle = 0;
        } else {
            idle++;
        }
    }
    return requests;
}

static void a_request_that_is_cancelled_before_it_left_never_leaves(void **state)
{
    (void)state;
    proc_channel *ends[2];
    proc_message request;
    int64_t id;

    make_pair(ends, NULL);
    fill(ends[0]);
    id = ask(ends[0], 5);
    assert_int_equal(proc_channel_cancel(ends[0], id), 0);

    assert_int_equal(ends[0]->own_count, 0);
    assert_int_equal(drain(ends[0], ends[1], &request), 0);
    free_pair(ends);
}

static void cancelling_a_request_with_descriptors_does_not_overtake_it(void **state)
{
    (void)state;
    proc_channel *ends[2];
    proc_message request;
    int64_t id;
    int ends_of_pipe[2];

    make_pipe(ends_of_pipe);
    make_pair(ends, CHANNEL_OPTIONS(.max_fds = 1));
    fill(ends[0]);
    id = proc_channel_request(ends[0], ASK(.type = 5, .fds = ends_of_pipe, .fd_count = 1), 0);
    assert_true(id > 0);
    assert_int_equal(proc_channel_cancel(ends[0], id), 0);

    if (drain(ends[0], ends[1], &request) > 0) {
        assert_true(proc_channel_cancelled(ends[1], &request));
        assert_int_equal(proc_channel_reply(ends[1], &request, ANSWER(.type = 1), 0), 0);
        expect_nothing(ends[0]); /* the way back was full of acknowledgements */
        assert_int_equal(proc_channel_flush(ends[1], 0), 0);
        expect_nothing(ends[0]);
    }
    assert_int_equal(ends[0]->own_count, 0);
    free_pair(ends);
    close(ends_of_pipe[0]);
    close(ends_of_pipe[1]);
}

/* ---- many ---- */

static void requests_may_be_answered_in_any_order(void **state)
{
    (void)state;
    enum { ROUNDS = 200, AT_ONCE = 50 };
    proc_channel *ends[2];

    make_pair(ends, NULL);
    for (int round = 0; round < ROUNDS; round++) {
        int64_t ids[AT_ONCE];
        proc_message open[AT_ONCE];

        for (uint32_t i = 0; i < AT_ONCE; i++) {
            ids[i] = ask(ends[0], i);
        }
        for (uint32_t i = 0; i < AT_ONCE; i++) {
            open[i] = expect_request(ends[1]);
        }
        for (uint32_t left = AT_ONCE; left > 0; left--) {
            uint32_t pick = random_below(left);
            proc_message reply;

            assert_int_equal(proc_channel_reply(ends[1], &open[pick], ANSWER(.type = open[pick].type), 0), 0);
            reply = expect_reply(ends[0], ids[open[pick].type], PROC_REPLY);
            assert_int_equal(reply.type, open[pick].type);
            open[pick] = open[left - 1];
        }
    }
    free_pair(ends);
}

static void the_65th_request_waits(void **state)
{
    (void)state;
    proc_channel *ends[2];
    proc_message request, reply;

    make_pair(ends, NULL);
    for (uint32_t i = 0; i < 64; i++) {
        (void)ask(ends[0], i);
    }
    assert_int_equal(proc_channel_request(ends[0], ASK(.type = 64), 0), -ETIMEDOUT);
    assert_int_equal(proc_channel_request(ends[0], ASK(.type = 64), 20), -ETIMEDOUT);
    assert_int_equal(proc_channel_call(ends[0], ASK(.type = 64), &reply, 0), -ETIMEDOUT);
    assert_int_equal(proc_channel_send(ends[0], MESSAGE(.type = 65), 0), 0);

    request = expect_request(ends[1]);
    assert_int_equal(proc_channel_reply(ends[1], &request, ANSWER(.type = 1), 0), 0);
    (void)ask(ends[0], 64);
    free_pair(ends);
}

static void an_id_is_not_used_again_soon(void **state)
{
    (void)state;
    enum { LAST = 2000 };
    proc_channel *ends[2];
    int64_t ids[LAST];

    make_pair(ends, NULL);
    for (int i = 0; i < LAST; i++) {
        proc_message request;

        ids[i] = ask(ends[0], 1);
        for (int k = 0; k < i; k++) {
            assert_true(ids[k] != ids[i]);
        }
        request = expect_request(ends[1]);
        assert_int_equal(proc_channel_reply(ends[1], &request, ANSWER(.type = 1), 0), 0);
        (void)expect_reply(ends[0], ids[i], PROC_REPLY);
    }
    free_pair(ends);
}

/* ---- the end ---- */

static void calls_end_when_the_other_end_goes(void **state)
{
    (void)state;
    proc_channel *ends[2];
    caller callers[4];

    make_pair(ends, NULL);
    for (size_t i = 0; i < COUNT(callers); i++) {
        start_caller(&callers[i], ends[0], PROC_FOREVER);
    }
    for (size_t i = 0; i < COUNT(callers); i++) {
        (void)expect_request(ends[1]);
    }
    proc_channel_free(ends[1]);
    ends[1] = NULL;

    for (size_t i = 0; i < COUNT(callers); i++) {
        assert_int_equal(finish_caller(&callers[i]), -EPIPE);
    }
    expect_end(ends[0], -EPIPE);
    free_pair(ends);
}

/* Over pipes the end of one direction is not that of the other. */
static void open_over_pipes(proc_channel **c, int *to, int *from)
{
    int in[2], out[2];

    make_pipe(in);
    make_pipe(out);
    assert_int_equal(proc_channel_open(c, in[0], out[1], CHANNEL_OPTIONS(.linger_ms = 1)), 0);
    *to = in[1];
    *from = out[0];
}

static void a_request_that_nobody_will_read_ends_with_epipe(void **state)
{
    (void)state;
    proc_channel *c;
    proc_message reply;
    int to, from;

    open_over_pipes(&c, &to, &from);
    close(from);
    assert_int_equal(proc_channel_call(c, ASK(.type = 1), &reply, IN_TIME), -EPIPE);
    assert_int_equal(proc_channel_request(c, ASK(.type = 1), IN_TIME), -EPIPE);

    proc_channel_free(c);
    close(to);
    open_over_pipes(&c, &to, &from);
    close(from);
    assert_int_equal(proc_channel_request(c, ASK(.type = 1), IN_TIME), -EPIPE);

    proc_channel_free(c);
    close(to);
}

static void a_call_that_nobody_reads_to_its_end_ends_with_epipe(void **state)
{
    (void)state;
    char *data = pattern(64 * 1024); /* more than the pipe has room for */
    struct pollfd look = {.events = POLLIN};
    proc_channel *c;
    int to;
    caller one;

    open_over_pipes(&c, &to, &look.fd);
    one = (caller){.channel = c, .request = {.data = data, .size = 64 * 1024}, .timeout_ms = IN_TIME};
    launch_caller(&one);
    assert_int_equal(poll(&look, 1, IN_TIME), 1);
    close(look.fd);
    assert_int_equal(finish_caller(&one), -EPIPE);

    proc_channel_free(c);
    close(to);
}

static void bad_arguments_are_refused(void **state)
{
    (void)state;
    proc_channel *ends[2];
    proc_message request, reply;

    make_pair(ends, NULL);
    assert_int_equal(proc_channel_request(NULL, ASK(.type = 1), 0), -EINVAL);
    assert_int_equal(proc_channel_request(ends[0], NULL, 0), -EINVAL);
    assert_int_equal(proc_channel_request(ends[0], ASK(.type = 1), -2), -EINVAL);
    assert_int_equal(proc_channel_request(ends[0], ANSWER(.type = 1), 0), -EINVAL);
    assert_int_equal(proc_channel_call(ends[0], ASK(.type = 1), NULL, 0), -EINVAL);
    assert_int_equal(proc_channel_call(ends[0], ASK(.size = 1), &reply, 0), -EINVAL);
    assert_int_equal(proc_channel_call(ends[0], ASK(.type = 1), &reply, -2), -EINVAL);
    assert_int_equal(proc_channel_cancel(ends[0], 0), -EINVAL);
    assert_int_equal(proc_channel_cancel(ends[0], -1), -EINVAL);
    assert_int_equal(proc_channel_cancel(ends[0], 77), -EINVAL);
    assert_false(proc_channel_cancelled(ends[0], NULL));

    (void)ask(ends[0], 1);
    request = expect_request(ends[1]);
    assert_int_equal(proc_channel_reply(ends[1], NULL, ANSWER(.type = 1), 0), -EINVAL);
    assert_int_equal(proc_channel_reply(ends[1], &request, NULL, 0), -EINVAL);
    assert_int_equal(proc_channel_reply(ends[1], &request, ASK(.type = 1), 0), -EINVAL);
    assert_int_equal(proc_channel_reply(ends[1], &request, ANSWER(.type = 1), -2), -EINVAL);
    assert_int_equal(proc_channel_reply(ends[1], &request, MESSAGE(.flags = PROC_REPLY | PROC_FAILURE | PROC_MORE), 0),
                     -EINVAL);
    assert_int_equal(proc_channel_reply(ends[1], &request, MESSAGE(.flags = PROC_REPLY | 32), 0), -EINVAL);
    assert_int_equal(proc_channel_reply(ends[1], MESSAGE(.id = request.id), ANSWER(.type = 1), 0), -EINVAL);
    free_pair(ends);
}

static const struct CMUnitTest tests[] = {
    TEST(a_failure_is_told_from_an_answer),
    TEST(a_reply_may_come_in_parts),
    TEST(a_last_reply_stays_behind_parts_that_wait),
    TEST(a_part_ends_a_call_with_ebadmsg),
    TEST(a_last_reply_behind_a_part_leaves_nothing_behind),
    TEST(a_late_reply_is_dropped),
    TEST(a_request_has_no_deadline_and_a_call_tells_its_own),
    TEST(the_wait_for_room_counts_against_the_time_of_a_call),
    TEST(a_cancelled_request_tells_the_other_end_and_drops_the_reply),
    TEST(a_request_that_is_cancelled_before_it_left_never_leaves),
    TEST(cancelling_a_request_with_descriptors_does_not_overtake_it),
    TEST(requests_may_be_answered_in_any_order),
    TEST(the_65th_request_waits),
    TEST(an_id_is_not_used_again_soon),
    TEST(calls_end_when_the_other_end_goes),
    TEST(a_request_that_nobody_will_read_ends_with_epipe),
    TEST(a_call_that_nobody_reads_to_its_end_ends_with_epipe),
    TEST(bad_arguments_are_refused),
};

HARNESS_MAIN(tests)
