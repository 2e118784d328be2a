/*
 * Threads that are cancelled while they use a channel: no call is a point of cancellation, whatever it has to close.
 */
#include "peer.h"

#include <poll.h>
#include <pthread.h>

typedef struct cancelled {
    proc_channel *ends[2];
    int calls, failed_call; /* which was the first whose answer was wrong */
} cancelled;

static void run_cancelled(void *(*body)(void *arg), cancelled *c)
{
    pthread_t thread;
    void *end;

    assert_int_equal(pthread_create(&thread, NULL, body, c), 0);
    pthread_join(thread, &end);
    if (end == PTHREAD_CANCELED) {
        fail_msg("the thread ended within the call after number %d", c->calls);
    }
    assert_int_equal(c->failed_call, 0);
}

static void check_call(cancelled *c, bool right)
{
    c->calls++;
    if (!right && c->failed_call == 0) {
        c->failed_call = c->calls;
    }
}

static void *make_every_call(void *arg)
{
    cancelled *c = arg;
    proc_message m, request;
    int64_t id;

    pthread_cancel(pthread_self());
    check_call(c, proc_channel_pair(c->ends, CHANNEL_OPTIONS(.max_fds = 1)) == 0);
    check_call(c, proc_channel_flush(c->ends[0], 0) == 0);
    check_call(c, proc_channel_recv(c->ends[1], &m, 1) == -ETIMEDOUT);
    check_call(c, proc_channel_recv(c->ends[0], &m, 1) == -ETIMEDOUT);
    check_call(c, proc_channel_send(c->ends[0], MESSAGE(.fds = &(int){0}, .fd_count = 1), IN_TIME) == 0);
    check_call(c, proc_channel_post(c->ends[0], MESSAGE(.type = 2)) == 0);
    check_call(c, proc_channel_events(c->ends[0]) == (POLLIN | POLLOUT));
    check_call(c, proc_channel_flush(c->ends[0], IN_TIME) == 0);
    check_call(c, proc_channel_pending(c->ends[0]) == 0);
    check_call(c, proc_channel_recv(c->ends[1], &m, IN_TIME) == 0 && m.fd_count == 1);
    check_call(c, proc_channel_timeout(c->ends[1]) == PROC_FOREVER);
    proc_message_clear(&m);
    check_call(c, m.fds[0] == -1);
    check_call(c, proc_channel_recv(c->ends[1], &m, IN_TIME) == 0);
    id = proc_channel_request(c->ends[0], MESSAGE(.type = 3), IN_TIME);
    check_call(c, id > 0 && proc_channel_recv(c->ends[1], &request, IN_TIME) == 0);
    check_call(c, !proc_channel_cancelled(c->ends[1], &request));
    check_call(c, proc_channel_cancel(c->ends[0], id) == 0);
    check_call(c, proc_channel_cancelled(c->ends[1], &request));
    check_call(c, proc_channel_reply(c->ends[1], &request, MESSAGE(.type = 4), IN_TIME) == 0);
    check_call(c, proc_channel_call(c->ends[0], MESSAGE(.type = 5), &m, 1) == -ETIMEDOUT);
    check_call(c, proc_channel_shutdown(c->ends[0]) == 0);
    proc_channel_free(c->ends[0]);
    proc_channel_free(c->ends[1]);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &(int){0});
    return NULL;
}

static void no_call_is_a_cancellation_point(void **state)
{
    (void)state;
    cancelled c = {.calls = 0};

    CANCELS_A_THREAD();
    run_cancelled(make_every_call, &c);
}

static void *receive_past_a_late_reply(void *arg)
{
    cancelled *c = arg;
    proc_message m;

    pthread_cancel(pthread_self());
    check_call(c, proc_channel_recv(c->ends[0], &m, IN_TIME) == 0 && m.type == 1);
    check_call(c, proc_channel_recv(c->ends[0], &m, IN_TIME) == 0 && m.type == 2); /* closes what the reply had */
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &(int){0});
    return NULL;
}

static void a_late_reply_with_descriptors_is_dropped_whole(void **state)
{
    (void)state;
    cancelled c = {.calls = 0};
    proc_message request;
    int64_t id;

    CANCELS_A_THREAD();
    make_pair(c.ends, CHANNEL_OPTIONS(.max_fds = 1));
    id = ask(c.ends[0], 1);
    request = expect_request(c.ends[1]);
    assert_int_equal(proc_channel_send(c.ends[1], MESSAGE(.type = 1), 0), 0);
    assert_int_equal(proc_channel_reply(c.ends[1], &request, MESSAGE(.fds = &(int){0}, .fd_count = 1), 0), 0);
    assert_int_equal(proc_channel_send(c.ends[1], MESSAGE(.type = 2), 0), 0);
    assert_int_equal(proc_channel_cancel(c.ends[0], id), 0);

    run_cancelled(receive_past_a_late_reply, &c);
    free_pair(c.ends);
}

static const struct CMUnitTest tests[] = {
    TEST(no_call_is_a_cancellation_point),
    TEST(a_late_reply_with_descriptors_is_dropped_whole),
};

HARNESS_MAIN(tests)
