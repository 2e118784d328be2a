/*
 * The loop where its host is at an edge: threads that are being cancelled, numbers that are no descriptors, events that
 * are out of date by the time they are handed out.
 */
#include "events.h"

#include <poll.h>
#include <pthread.h>
#include <sys/resource.h>

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

static const struct CMUnitTest tests[] = {
    TEST(waking_a_loop_is_no_cancellation_point),
    TEST(a_number_that_is_no_descriptor_costs_no_memory),
};

HARNESS_MAIN(tests)
