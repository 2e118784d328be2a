/*
 * The loop where its host is at an edge: threads that are being cancelled, numbers that are no descriptors, events that
 * are out of date by the time they are handed out.
 */
#include "events.h"

#include <poll.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/socket.h>

static void ignore_signal(int signal, void *ctx)
{
    (void)signal;
    (void)ctx;
}

/* Both find the loop between two steps, where they have to wake it. */
static void *stop_while_cancelled(void *arg)
{
    pthread_cancel(pthread_self());
    proc_loop_stop(arg);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &(int){0});
    return arg;
}

static void *catch_while_cancelled(void *arg)
{
    pthread_cancel(pthread_self());
    (void)pthread_kill(pthread_self(), SIGUSR1);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &(int){0});
    return arg;
}

static void waking_a_loop_is_no_cancellation_point(void **state)
{
    (void)state;
    void *(*const wakers[])(void *arg) = {stop_while_cancelled, catch_while_cancelled};
    CANCELS_A_THREAD();
    proc_loop *loop = make_loop();

    assert_int_equal(proc_loop_add_signal(loop, SIGUSR1, ignore_signal, NULL), 0);
    for (size_t i = 0; i < COUNT(wakers); i++) {
        pthread_t thread;
        void *end;
        assert_int_equal(pthread_create(&thread, NULL, wakers[i], loop), 0);
        pthread_join(thread, &end);
        assert_ptr_equal(end, loop);
        assert_int_equal(proc_loop_step(loop, 0), (int)i);
    }
    proc_loop_free(loop);
}

static void ignore_events(int fd, short revents, void *ctx)
{
    (void)fd;
    (void)revents;
    (void)ctx;
}

static void a_number_that_is_no_descriptor_costs_no_memory(void **state)
{
    (void)state;
    enum { MOST_KB = 64 * 1024 };
    static const int numbers[] = {1 << 24, 1 << 27, INT32_MAX};
    proc_loop *loop = make_loop();
    struct rusage before, after;

    assert_int_equal(getrusage(RUSAGE_SELF, &before), 0);
    for (size_t i = 0; i < COUNT(numbers); i++) {
        assert_int_equal(proc_loop_add_fd(loop, numbers[i], POLLIN, ignore_events, NULL), -EBADF);
    }
    assert_int_equal(getrusage(RUSAGE_SELF, &after), 0);
    assert_true(after.ru_maxrss - before.ru_maxrss < MOST_KB);
    proc_loop_free(loop);
}

/* ---- what a timer of the same step has made out of date ---- */

typedef struct renewal {
    proc_loop *loop;
    int cancel[2];
    proc_child *first, *second;
    events noted;
} renewal;

static void take_cancel_back_and_start_another(void *ctx)
{
    renewal *r = ctx;

    await_byte(r->cancel[0]);
    r->second =
        start_child(KID("cat"), OPTIONS(.in.kind = PROC_PIPE, .out.kind = PROC_PIPE, .cancel_fd = r->cancel[0]));
    assert_int_equal(proc_loop_add_child(r->loop, r->second, &noting, &r->noted), 0);
}

static void end_the_second(proc_child *child, const proc_status *status, void *ctx)
{
    renewal *r = ctx;

    (void)child;
    assert_int_equal(status->signal, SIGTERM);
    assert_int_equal(proc_loop_write(r->loop, r->second, "on", 2, true), 0);
}

static void a_child_is_not_cancelled_by_what_was_taken_back_before_it_came(void **state)
{
    (void)state;
    static const proc_handlers handlers = {.on_exit = end_the_second};
    renewal r = {.loop = make_loop()};

    make_pipe(r.cancel);
    r.first = start_child(KID("hang"), OPTIONS(.in.kind = PROC_NULL, .cancel_fd = r.cancel[0]));
    assert_int_equal(proc_loop_add_child(r.loop, r.first, &handlers, &r), 0);
    assert_int_equal(proc_loop_step(r.loop, 0), 0);
    assert_int_equal(write(r.cancel[1], "", 1), 1);
    assert_true(proc_loop_add_timer(r.loop, 0, 0, take_cancel_back_and_start_another, &r) > 0);
    run_loop(r.loop);
    assert_string_equal(r.noted.log, "drain out1=on end1 [exit 0] close ");
    proc_child_free(r.first);
    proc_child_free(r.second);
    proc_loop_free(r.loop);
    close(r.cancel[0]);
    close(r.cancel[1]);
}

static void a_child_that_is_added_after_its_close_makes_no_noise(void **state)
{
    (void)state;
    enum { PAUSE_MS = 50 };
    proc_loop *loop = make_loop();
    events e = {.length = 0};
    int cancel[2];

    make_pipe(cancel);
    proc_child *child = add_noted(loop, &e, KID("exit", "0"),
                                  OPTIONS(.in.kind = PROC_NULL, .cancel_fd = cancel[0], .timeout_ms = IN_TIME));
    run_loop(loop);
    assert_int_equal(proc_loop_remove_child(loop, child), 0);
    assert_int_equal(proc_loop_add_child(loop, child, &noting, &e), 0);
    assert_int_equal(proc_loop_step(loop, 0), 0);
    close(cancel[1]);
    int64_t began = now_ms();
    assert_int_equal(proc_loop_step(loop, PAUSE_MS), 0);
    assert_true(now_ms() - began >= PAUSE_MS);
    assert_null(strstr(strstr(e.log, "close ") + 1, "close "));
    proc_child_free(child);
    proc_loop_free(loop);
    close(cancel[0]);
}

static void what_waits_for_an_end_that_is_gone_keeps_no_loop_running(void **state)
{
    (void)state;
    static const char large[16000];
    proc_loop *loop = make_loop();
    events e = {.length = 0};
    proc_channel *channel;
    int ends[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    assert_int_equal(proc_channel_open(&channel, ends[0], ends[0], NULL), 0);
    assert_int_equal(proc_loop_add_channel(loop, channel, &noting, &e), 0);
    while (proc_channel_post(channel, MESSAGE(.data = large, .size = sizeof large)) == 0) {
    }
    assert_int_equal(proc_loop_run(loop, 20), -ETIMEDOUT);
    assert_true(proc_channel_pending(channel) > 0);
    close(ends[1]); /* it never granted more than every end may send */
    run_loop(loop);
    assert_non_null(strstr(e.log, "disconnect=0 "));
    proc_channel_free(channel);
    proc_loop_free(loop);
}

static const struct CMUnitTest tests[] = {
    TEST(waking_a_loop_is_no_cancellation_point),
    TEST(a_number_that_is_no_descriptor_costs_no_memory),
    TEST(a_child_is_not_cancelled_by_what_was_taken_back_before_it_came),
    TEST(a_child_that_is_added_after_its_close_makes_no_noise),
    TEST(what_waits_for_an_end_that_is_gone_keeps_no_loop_running),
};

HARNESS_MAIN(tests)
