/* wrap: clock_gettime gettimeofday time pthread_condattr_setclock */
/*
 * Which clock the library looks at: the monotonic one alone. What is set on the wall clock, by hand or by a daemon, then
 * changes nothing, and neither does a sleep of the whole system, in which the monotonic clock of Linux stands still.
 */
#include "events.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/time.h>
#include <time.h>

static atomic_int monotonic_looks, other_looks, monotonic_conditions, other_conditions;

int __real_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_gettimeofday(struct timeval *now, void *zone);
time_t __wrap_time(time_t *now);
int __real_pthread_condattr_setclock(pthread_condattr_t *attributes, clockid_t clock);
int __wrap_pthread_condattr_setclock(pthread_condattr_t *attributes, clockid_t clock);

/* Any other clock jumps by a day with each look, back and forth. */
int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
    int err = __real_clock_gettime(clock, now);

    if (clock == CLOCK_MONOTONIC) {
        atomic_fetch_add(&monotonic_looks, 1);
    } else {
        now->tv_sec += atomic_fetch_add(&other_looks, 1) % 2 == 0 ? 86400 : -86400;
    }
    return err;
}

int __wrap_gettimeofday(struct timeval *now, void *zone)
{
    (void)zone;
    atomic_fetch_add(&other_looks, 1);
    *now = (struct timeval){.tv_sec = 0};
    return 0;
}

time_t __wrap_time(time_t *now)
{
    atomic_fetch_add(&other_looks, 1);
    if (now != NULL) {
        *now = 0;
    }
    return 0;
}

int __wrap_pthread_condattr_setclock(pthread_condattr_t *attributes, clockid_t clock)
{
    atomic_fetch_add(clock == CLOCK_MONOTONIC ? &monotonic_conditions : &other_conditions, 1);
    return __real_pthread_condattr_setclock(attributes, clock);
}

static void begin_watch(void)
{
    atomic_store(&monotonic_looks, 0);
    atomic_store(&other_looks, 0);
}

static void end_watch(void)
{
    assert_true(atomic_load(&monotonic_looks) > 0);
    assert_int_equal(atomic_load(&other_looks), 0);
}

static void children_are_timed_by_the_monotonic_clock(void **state)
{
    (void)state;
    proc_result result;
    proc_status status;

    begin_watch();
    proc_child *child = start_child(KID("ignore", "TERM", "out", "r", "hang"), OPTIONS(.out.kind = PROC_PIPE));
    await_byte(proc_child_fd(child, 1));
    assert_int_equal(proc_child_wait(child, 20, NULL), -ETIMEDOUT);
    assert_int_equal(proc_child_stop(child, 20, &status), 0);
    assert_true(status.forced);
    proc_child_free(child);
    assert_int_equal(proc_execfile(&result, KID("hang"), OPTIONS(.timeout_ms = 30)), -ETIMEDOUT);
    assert_true(result.status.wall_ns >= 30 * INT64_C(1000000));
    proc_result_clear(&result);
    assert_int_equal(proc_exec(&result, "sleep 60 & exit 3", OPTIONS(.drain_ms = 30)), 0);
    assert_true(result.incomplete);
    proc_result_clear(&result);
    end_watch();
}

static void *call_for_30_ms(void *arg)
{
    proc_message reply;

    return (void *)(intptr_t)proc_channel_call(arg, ASK(.type = 1), &reply, 30);
}

static void channels_are_timed_by_the_monotonic_clock(void **state)
{
    (void)state;
    proc_message m;
    pthread_t callers[3]; /* one of them polls, the others wait for it by a condition */
    raw r;

    begin_watch();
    raw_meet(&r, CHANNEL_OPTIONS(.frame_ms = 30));
    for (size_t i = 0; i < COUNT(callers); i++) {
        assert_int_equal(pthread_create(&callers[i], NULL, call_for_30_ms, r.channel), 0);
    }
    for (size_t i = 0; i < COUNT(callers); i++) {
        void *err;
        pthread_join(callers[i], &err);
        assert_int_equal((intptr_t)err, -ETIMEDOUT);
    }
    assert_int_equal(proc_channel_recv(r.channel, &m, 20), -ETIMEDOUT);
    raw_write(&r, "\0\0\0", 3);
    assert_int_equal(proc_channel_recv(r.channel, &m, IN_TIME), -EPROTO); /* the rest did not come in time */
    raw_end(&r);
    assert_true(atomic_load(&monotonic_conditions) > 0);
    assert_int_equal(atomic_load(&other_conditions), 0);
    end_watch();
}

static void ring(void *ctx)
{
    ++*(int *)ctx;
}

static void loops_are_timed_by_the_monotonic_clock(void **state)
{
    (void)state;
    proc_loop *loop = make_loop();
    events e = {.length = 0};
    int rings = 0;

    begin_watch();
    assert_true(proc_loop_add_timer(loop, 10, 0, ring, &rings) > 0);
    proc_child *child = add_noted(loop, &e, KID("hang"), OPTIONS(.in.kind = PROC_NULL, .timeout_ms = 40));
    run_loop(loop);
    assert_int_equal(rings, 1);
    assert_non_null(strstr(e.log, "timed out"));
    assert_int_equal(proc_loop_run(loop, 0), 0);
    proc_child_free(child);
    proc_loop_free(loop);
    end_watch();
}

static const struct CMUnitTest tests[] = {
    TEST(children_are_timed_by_the_monotonic_clock),
    TEST(channels_are_timed_by_the_monotonic_clock),
    TEST(loops_are_timed_by_the_monotonic_clock),
};

HARNESS_MAIN(tests)
