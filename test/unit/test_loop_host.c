/*
 * What a loop watches for the program itself: timers, descriptors, signals; stopping it, and nesting it in other loops.
 */
#include "events.h"

#include <poll.h>
#include <pthread.h>
#include <time.h>

#include "os/poller.h"
#include "timers.h"

/* ---- the heap, against a list ---- */

static void the_heap_gives_what_is_due_first(void **state)
{
    (void)state;
    enum { TIMERS = 300, STEPS = 100000 };
    static timer all[TIMERS];
    static uint64_t set_at[TIMERS];
    timers heap = {.heap = NULL};
    uint64_t clock = 0;

    memset(all, 0, sizeof all);
    assert_int_equal(timers_reserve(&heap, TIMERS), 0);
    for (int step = 0; step < STEPS; step++) {
        timer *t = &all[random_below(TIMERS)];
        if (random_below(3) == 0) {
            timers_clear(&heap, t);
        } else {
            timers_set(&heap, t, (int64_t)random_below(1000));
            set_at[t - all] = ++clock;
        }
        const timer *first = timers_first(&heap);
        if (step % 50 == 0) {
            for (int i = 0; i < TIMERS; i++) {
                if (all[i].place != 0) {
                    assert_non_null(first);
                    assert_true(first->due < all[i].due ||
                                (first->due == all[i].due && set_at[first - all] <= set_at[i]));
                }
            }
        }
    }
    int64_t last = INT64_MIN;
    for (timer *t; (t = timers_first(&heap)) != NULL; timers_clear(&heap, t)) {
        assert_true(t->due >= last);
        last = t->due;
    }
    assert_int_equal(heap.count, 0);
    timers_free(&heap);
}

/* ---- the poller ---- */

static void the_poller_tells_what_is_ready_and_nothing_that_was_removed(void **state)
{
    (void)state;
    poller p;
    poller_event told[8];
    int a[2], b[2], null = open("/dev/null", O_RDWR | O_CLOEXEC);

    make_pipe(a);
    make_pipe(b);
    assert_int_equal(poller_init(&p), 0);
    assert_int_equal(poller_add(&p, a[0], POLLIN, a), 0);
    assert_int_equal(poller_add(&p, b[0], POLLIN, b), 0);
    assert_int_equal(poller_wait(&p, told, 8, 0), 0);
    assert_int_equal(write(a[1], "x", 1), 1);
    assert_int_equal(poller_wait(&p, told, 8, SYS_NEVER), 1);
    assert_ptr_equal(told[0].data, a);
    assert_int_equal(told[0].revents & POLLIN, POLLIN);
    assert_int_equal(poller_change(&p, a[0], 0, a), 0);
    assert_int_equal(poller_wait(&p, told, 8, 0), 0);
    close(b[1]);
    assert_int_equal(poller_wait(&p, told, 8, SYS_NEVER), 1);
    assert_ptr_equal(told[0].data, b);
    assert_int_equal(told[0].revents & POLLHUP, POLLHUP);
    poller_remove(&p, b[0]);
    assert_int_equal(poller_wait(&p, told, 8, 0), 0);
    assert_int_equal(poller_add(&p, null, POLLIN | POLLOUT, &p), 0); /* epoll refuses it, poll says: ready */
    assert_int_equal(poller_wait(&p, told, 8, SYS_NEVER), 1);
    assert_ptr_equal(told[0].data, &p);
    poller_remove(&p, null);
    poller_remove(&p, a[0]);
    assert_int_equal(poller_wait(&p, told, 8, sys_deadline(sys_now(), 10)), 0);
    assert_int_equal(poller_add(&p, 5000, POLLIN, &p), -EBADF);
    poller_free(&p);
    close(a[0]);
    close(a[1]);
    close(b[0]);
    close(null);
}

static void files_that_are_always_ready_are_watched_like_others(void **state)
{
    (void)state;
    enum { FILES = 6 };
    poller p;
    poller_event told[32];
    int files[FILES], ends[2];

    make_pipe(ends);
    assert_int_equal(poller_init(&p), 0);
    for (int i = 0; i < FILES; i++) {
        files[i] = open("/dev/null", O_RDWR | O_CLOEXEC);
        assert_int_equal(poller_add(&p, files[i], POLLIN, &files[i]), 0);
    }
    assert_int_equal(poller_add(&p, ends[0], POLLIN, ends), 0);
    assert_int_equal(poller_wait(&p, told, 32, SYS_NEVER), FILES);
    assert_int_equal(poller_change(&p, files[2], 0, &files[2]), 0);
    assert_int_equal(poller_change(&p, files[4], POLLOUT, &files[4]), 0);
    assert_int_equal(poller_wait(&p, told, 32, SYS_NEVER), FILES - 1);
    for (int i = 0; i < FILES; i++) {
        poller_remove(&p, files[i]);
        close(files[i]);
    }
    assert_int_equal(poller_wait(&p, told, 32, 0), 0);
    assert_int_equal(write(ends[1], "x", 1), 1);
    assert_int_equal(poller_wait(&p, told, 32, SYS_NEVER), 1);
    assert_ptr_equal(told[0].data, ends);
    poller_remove(&p, ends[0]);
    poller_free(&p);
    close(ends[0]);
    close(ends[1]);
}

/* epoll has forgotten it then, and poll never noticed. */
static void a_number_that_was_closed_and_given_out_again_can_be_changed(void **state)
{
    (void)state;
    poller p;
    poller_event told[8];
    int a[2], b[2], null = open("/dev/null", O_RDWR | O_CLOEXEC);

    make_pipe(a);
    make_pipe(b);
    assert_int_equal(poller_init(&p), 0);
    assert_int_equal(poller_add(&p, null, 0, &null), 0); /* some other that is always ready */
    assert_int_equal(poller_add(&p, a[0], POLLIN, a), 0);
    assert_int_equal(dup2(b[0], a[0]), a[0]);
    assert_int_equal(poller_change(&p, a[0], POLLIN, b), 0);
    assert_int_equal(write(b[1], "x", 1), 1);
    assert_int_equal(poller_wait(&p, told, 8, SYS_NEVER), 1);
    assert_ptr_equal(told[0].data, b);
    poller_remove(&p, a[0]);
    poller_remove(&p, null);
    assert_int_equal(poller_add(&p, -1, POLLIN, &p), -EBADF);
    poller_free(&p);
    for (int i = 0; i < 2; i++) {
        close(a[i]);
        close(b[i]);
    }
    close(null);
}

/* ---- timers ---- */

typedef struct ring {
    char *log;
    const char *name;
    proc_loop *loop;
    int id, count, most;
} ring;

static void ring_once(void *ctx)
{
    ring *r = ctx;

    strcat(r->log, r->name);
    if (++r->count == r->most) {
        assert_int_equal(proc_loop_remove_timer(r->loop, r->id), 0);
    }
}

static void timers_ring_in_the_order_of_their_times(void **state)
{
    (void)state;
    char log[64] = "";
    proc_loop *loop = make_loop();
    ring r[4] = {
        {log, "a", loop, 0, 0, 0}, {log, "b", loop, 0, 0, 0}, {log, "c", loop, 0, 0, 0}, {log, "d", loop, 0, 0, 0}};

    r[0].id = proc_loop_add_timer(loop, 60, 0, ring_once, &r[0]);
    r[1].id = proc_loop_add_timer(loop, 0, 0, ring_once, &r[1]);
    r[2].id = proc_loop_add_timer(loop, 30, 0, ring_once, &r[2]);
    r[3].id = proc_loop_add_timer(loop, 1, 0, ring_once, &r[3]);
    for (int i = 0; i < 4; i++) {
        assert_true(r[i].id > 0);
    }
    assert_int_equal(proc_loop_remove_timer(loop, r[3].id), 0);
    assert_int_equal(proc_loop_remove_timer(loop, r[3].id), -ENOENT);
    run_loop(loop);
    assert_string_equal(log, "bca");
    assert_int_equal(proc_loop_remove_timer(loop, r[0].id), -ENOENT); /* it has rung */
    proc_loop_free(loop);
}

static void a_timer_that_repeats_does_so_until_it_is_removed(void **state)
{
    (void)state;
    char log[64] = "";
    proc_loop *loop = make_loop();
    ring r = {.log = log, .name = "x", .loop = loop, .most = 5};
    int64_t begin = now_ms();

    r.id = proc_loop_add_timer(loop, 1, 5, ring_once, &r);
    run_loop(loop);
    assert_string_equal(log, "xxxxx");
    assert_true(now_ms() - begin >= 21);
    proc_loop_free(loop);
}

static void again_at_once(void *ctx)
{
    ring *r = ctx;

    if (++r->count < 1000) {
        assert_true(proc_loop_add_timer(r->loop, 0, 0, again_at_once, r) > 0);
    }
}

static void a_timer_that_sets_another_of_0_ms_starves_nobody(void **state)
{
    (void)state;
    proc_loop *loop = make_loop();
    ring r = {.loop = loop};
    events e = {.length = 0};

    assert_true(proc_loop_add_timer(loop, 0, 0, again_at_once, &r) > 0);
    assert_int_equal(proc_loop_step(loop, 0), 1);
    assert_int_equal(r.count, 1); /* one a step */
    proc_child *child = add_noted(loop, &e, KID("exit", "0"), NULL);
    run_loop(loop);
    assert_int_equal(r.count, 1000);
    proc_child_free(child);
    proc_loop_free(loop);
}

static void count_ring(void *ctx)
{
    ++*(int *)ctx;
}

static void a_hundred_thousand_timers_come_and_go(void **state)
{
    (void)state;
    enum { TIMERS = 100000 };
    proc_loop *loop = make_loop();
    int *ids = keep(calloc(TIMERS, sizeof *ids));
    int rings = 0;

    for (int i = 0; i < TIMERS; i++) {
        ids[i] = proc_loop_add_timer(loop, (int)random_below(20), 0, count_ring, &rings);
        assert_true(ids[i] > 0);
    }
    for (int i = 0; i < TIMERS; i += 2) {
        assert_int_equal(proc_loop_remove_timer(loop, ids[i]), 0);
    }
    for (int i = 0; i < TIMERS; i += 2) {
        assert_int_equal(proc_loop_remove_timer(loop, ids[i]), -ENOENT);
    }
    run_loop(loop);
    assert_int_equal(rings, TIMERS / 2);
    proc_loop_free(loop);
}

static void an_id_is_not_used_again_at_once(void **state)
{
    (void)state;
    proc_loop *loop = make_loop();
    int rings = 0, first = proc_loop_add_timer(loop, 1000, 0, count_ring, &rings);

    for (int i = 0; i < 500; i++) {
        assert_int_equal(proc_loop_remove_timer(loop, i == 0 ? first : first + 0), i == 0 ? 0 : -ENOENT);
        int id = proc_loop_add_timer(loop, 1000, 0, count_ring, &rings);
        assert_true(id > 0 && id != first);
        assert_int_equal(proc_loop_remove_timer(loop, id), 0);
    }
    assert_int_equal(proc_loop_add_timer(loop, -1, 0, count_ring, NULL), -EINVAL);
    assert_int_equal(proc_loop_add_timer(loop, 0, -1, count_ring, NULL), -EINVAL);
    assert_int_equal(proc_loop_add_timer(loop, 0, 0, NULL, NULL), -EINVAL);
    assert_int_equal(proc_loop_remove_timer(loop, 0), -ENOENT);
    assert_int_equal(proc_loop_remove_timer(loop, -5), -ENOENT);
    proc_loop_free(loop);
}

/* ---- descriptors ---- */

typedef struct seen {
    proc_loop *loop;
    short events;
    int count;
} seen;

static void see(int fd, short revents, void *ctx)
{
    seen *s = ctx;
    char byte;

    s->events = revents;
    s->count++;
    if ((revents & POLLIN) != 0) {
        assert_int_equal(read(fd, &byte, 1), 1);
    } else {
        assert_int_equal(proc_loop_remove_fd(s->loop, fd), 0);
    }
}

static void a_descriptor_is_told_of_while_it_is_ready(void **state)
{
    (void)state;
    seen s = {.loop = make_loop()};
    int fds[2];

    make_pipe(fds);
    assert_int_equal(proc_loop_add_fd(s.loop, fds[0], POLLIN, see, &s), 0);
    assert_int_equal(proc_loop_add_fd(s.loop, fds[0], POLLIN, see, &s), -EEXIST);
    assert_int_equal(proc_loop_run(s.loop, 0), -ETIMEDOUT);
    assert_int_equal(write(fds[1], "abc", 3), 3);
    while (s.count < 3) {
        assert_int_equal(proc_loop_step(s.loop, IN_TIME), 1);
    }
    assert_int_equal(proc_loop_step(s.loop, 0), 0);
    close(fds[1]);
    run_loop(s.loop);
    assert_int_equal(s.count, 4);
    assert_int_equal(s.events & POLLHUP, POLLHUP);
    assert_int_equal(proc_loop_remove_fd(s.loop, fds[0]), -ENOENT);
    assert_int_equal(proc_loop_add_fd(s.loop, -1, POLLIN, see, &s), -EBADF);
    assert_int_equal(proc_loop_add_fd(s.loop, 5000, POLLIN, see, &s), -EBADF);
    assert_int_equal(proc_loop_add_fd(s.loop, fds[0], POLLHUP, see, &s), -EINVAL);
    assert_int_equal(proc_loop_add_fd(s.loop, fds[0], POLLIN, NULL, &s), -EINVAL);
    close(fds[0]);
    proc_loop_free(s.loop);
}

/* ---- signals ---- */

typedef struct caught {
    proc_loop *loop;
    int count, last;
} caught;

static void catch_it(int signal, void *ctx)
{
    caught *c = ctx;

    c->count++;
    c->last = signal;
    proc_loop_stop(c->loop);
}

static void a_signal_is_told_from_the_loop_and_its_disposition_given_back(void **state)
{
    (void)state;
    caught c = {.loop = make_loop()};
    proc_loop *other = make_loop();
    struct sigaction before, after;
    int rings = 0;

    sigaction(SIGUSR2, NULL, &before);
    assert_int_equal(proc_loop_add_signal(c.loop, SIGUSR2, catch_it, &c), 0);
    assert_int_equal(proc_loop_add_signal(c.loop, SIGUSR2, catch_it, &c), -EEXIST);
    assert_int_equal(proc_loop_add_signal(other, SIGUSR2, catch_it, &c), -EBUSY);
    assert_int_equal(proc_loop_remove_signal(other, SIGUSR2), -ENOENT);
    assert_int_equal(proc_loop_run(c.loop, PROC_FOREVER), 0); /* it alone keeps no loop running */
    for (int i = 0; i < 3; i++) {
        raise(SIGUSR2);
    }
    assert_int_equal(c.count, 0); /* not yet */
    assert_true(proc_loop_add_timer(c.loop, IN_TIME, 0, count_ring, &rings) > 0);
    run_loop(c.loop);
    assert_int_equal(c.count, 1); /* once for all three */
    assert_int_equal(c.last, SIGUSR2);
    assert_int_equal(proc_loop_remove_signal(c.loop, SIGUSR2), 0);
    assert_int_equal(proc_loop_remove_signal(c.loop, SIGUSR2), -ENOENT);
    sigaction(SIGUSR2, NULL, &after);
    assert_ptr_equal(after.sa_handler, before.sa_handler);
    assert_int_equal(proc_loop_add_signal(other, SIGUSR2, catch_it, &c), 0);
    proc_loop_free(other); /* gives it back too */
    sigaction(SIGUSR2, NULL, &after);
    assert_ptr_equal(after.sa_handler, before.sa_handler);
    assert_int_equal(proc_loop_add_signal(c.loop, SIGKILL, catch_it, &c), -EINVAL);
    assert_int_equal(proc_loop_add_signal(c.loop, 0, catch_it, &c), -EINVAL);
    assert_int_equal(proc_loop_add_signal(c.loop, 10000, catch_it, &c), -EINVAL);
    assert_int_equal(proc_loop_add_signal(c.loop, SIGUSR1, NULL, &c), -EINVAL);
    proc_loop_free(c.loop);
}

static void raise_in_copy(void *arg)
{
    (void)arg;
    raise(SIGUSR2); /* the handler is there, and must not wake our maker's loop */
    _exit(0);
}

static void free_loop_in_copy(void *loop)
{
    struct sigaction now;

    proc_loop_free(loop);
    assert_int_equal(sigaction(SIGUSR2, NULL, &now), 0);
    assert_true(now.sa_handler == SIG_DFL);
}

static void a_signal_in_a_copy_of_the_process_is_not_ours(void **state)
{
    (void)state;
    caught c = {.loop = make_loop()};

    assert_int_equal(proc_loop_add_signal(c.loop, SIGUSR2, catch_it, &c), 0);
    in_copy(raise_in_copy, NULL);
    in_copy(free_loop_in_copy, c.loop);
    assert_int_equal(proc_loop_step(c.loop, 0), 0);
    assert_int_equal(c.count, 0);
    raise(SIGUSR2);
    assert_int_equal(proc_loop_step(c.loop, 0), 1);
    assert_int_equal(c.count, 1);
    proc_loop_free(c.loop);
}

/* ---- stopping ---- */

static proc_loop *stopped_by_signal;

static void stop_in_handler(int signal)
{
    (void)signal;
    proc_loop_stop(stopped_by_signal);
}

static void a_signal_handler_may_stop_the_loop(void **state)
{
    (void)state;
    struct sigaction action = {.sa_handler = stop_in_handler}, before;
    struct itimerspec soon = {.it_value.tv_nsec = 20000000};
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    timer_t clock;
    int rings = 0;

    stopped_by_signal = make_loop();
    sigaction(SIGUSR1, &action, &before);
    assert_true(proc_loop_add_timer(stopped_by_signal, IN_TIME, 0, count_ring, &rings) > 0);
    assert_int_equal(timer_create(CLOCK_MONOTONIC, &event, &clock), 0);
    assert_int_equal(timer_settime(clock, 0, &soon, NULL), 0);
    run_loop(stopped_by_signal);
    assert_int_equal(rings, 0);
    timer_delete(clock);
    sigaction(SIGUSR1, &before, NULL);
    proc_loop_free(stopped_by_signal);
}

static void *stop_often(void *arg)
{
    for (int i = 0; i < 200; i++) {
        proc_loop_stop(arg);
        sched_yield();
    }
    return NULL;
}

static void a_thread_may_stop_the_loop(void **state)
{
    (void)state;
    proc_loop *loop = make_loop();
    pthread_t thread;
    int rings = 0;

    assert_true(proc_loop_add_timer(loop, IN_TIME * 2, 0, count_ring, &rings) > 0);
    proc_loop_stop(loop); /* the next run */
    run_loop(loop);
    assert_int_equal(pthread_create(&thread, NULL, stop_often, loop), 0);
    run_loop(loop);
    pthread_join(thread, NULL);
    assert_int_equal(rings, 0);
    proc_loop_free(loop);
}

/* ---- nesting ---- */

static void the_loop_nests_in_a_poll_loop(void **state)
{
    (void)state;
    proc_loop *loop = make_loop();
    events e = {.length = 0};
    int rings = 0;

    if (POSIX_BUILD) {
        assert_int_equal(proc_loop_fd(loop), -ENOTSUP);
        proc_loop_free(loop);
        return;
    }
    assert_int_equal(proc_loop_timeout(loop), PROC_FOREVER);
    proc_child *child = add_noted(loop, &e, KID("cat", "out", "text", "exit", "3"), OPTIONS(.in.kind = PROC_PIPE));
    assert_true(proc_loop_add_timer(loop, 40, 0, count_ring, &rings) > 0);
    assert_int_equal(proc_loop_write(loop, child, "fed ", 4, true), 0);
    for (int i = 0; i < 1000 && (rings == 0 || strstr(e.log, "close") == NULL); i++) {
        struct pollfd fd = {.fd = proc_loop_fd(loop), .events = POLLIN};
        int timeout = proc_loop_timeout(loop);
        assert_true(timeout >= 0 || rings > 0);
        assert_true(poll(&fd, 1, timeout) >= 0);
        assert_true(proc_loop_step(loop, 0) >= 0);
    }
    assert_int_equal(rings, 1);
    assert_non_null(strstr(e.log, "drain "));
    assert_non_null(strstr(e.log, "fed "));
    assert_non_null(strstr(e.log, "[exit 3] "));
    assert_int_equal(proc_loop_timeout(loop), PROC_FOREVER);
    proc_child_free(child);
    proc_loop_free(loop);
}

static void count_ready(int fd, short revents, void *ctx)
{
    (void)fd;
    assert_int_equal(revents, POLLIN);
    ++*(int *)ctx;
}

/* epoll does not take a regular file, which is ready at all times. */
static void a_regular_file_is_told_to_the_outer_loop_too(void **state)
{
    (void)state;
    proc_loop *loop = make_loop();
    int told = 0, file = open(test_path("file"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    assert_int_equal(proc_loop_add_fd(loop, file, POLLIN, count_ready, &told), 0);
    struct pollfd fd = {.fd = proc_loop_fd(loop), .events = POLLIN};
    if (!POSIX_BUILD) {
        assert_true(proc_loop_timeout(loop) == 0 || poll(&fd, 1, 0) == 1);
    }
    assert_int_equal(proc_loop_step(loop, 0), 1);
    assert_int_equal(told, 1);
    assert_int_equal(proc_loop_remove_fd(loop, file), 0);
    assert_int_equal(proc_loop_timeout(loop), PROC_FOREVER);
    close(file);
    proc_loop_free(loop);
}

static void many_regular_files_all_get_their_turn(void **state)
{
    (void)state;
    enum { FILES = 300 };
    proc_loop *loop = make_loop();
    int told[FILES] = {0}, files[FILES];

    for (int i = 0; i < FILES; i++) {
        files[i] = open(test_path("file"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        assert_int_equal(proc_loop_add_fd(loop, files[i], POLLIN, count_ready, &told[i]), 0);
    }
    for (int i = 0; i < FILES; i++) {
        assert_true(proc_loop_step(loop, 0) > 0);
    }
    for (int i = 0; i < FILES; i++) {
        assert_true(told[i] > 0);
        assert_int_equal(proc_loop_remove_fd(loop, files[i]), 0);
        close(files[i]);
    }
    proc_loop_free(loop);
}

static void post_in_thread(proc_channel *c)
{
    assert_int_equal(proc_channel_post(c, MESSAGE(.type = 5)), 0);
}

/* What is queued between two steps makes the descriptor readable: the outer loop must not sleep on it. */
static void work_that_is_queued_between_steps_is_told_by_the_descriptor(void **state)
{
    (void)state;
    proc_loop *loop = make_loop();
    events e = {.length = 0};
    proc_channel *ends[2];

    if (POSIX_BUILD) {
        proc_loop_free(loop);
        return;
    }
    make_pair(ends, NULL);
    assert_int_equal(proc_loop_add_channel(loop, ends[0], &noting, &e), 0);
    while (proc_loop_step(loop, 0) > 0) {
    }
    struct pollfd fd = {.fd = proc_loop_fd(loop), .events = POLLIN};
    assert_int_equal(poll(&fd, 1, 0), 0);
    post_in_thread(ends[0]);
    assert_int_equal(poll(&fd, 1, 0), 1);
    assert_true(proc_loop_step(loop, 0) >= 0);
    expect_message(ends[1], 5, NULL, 0);
    free_pair(ends);
    proc_loop_free(loop);
}

static const struct CMUnitTest tests[] = {
    TEST(the_heap_gives_what_is_due_first),
    TEST(the_poller_tells_what_is_ready_and_nothing_that_was_removed),
    TEST(files_that_are_always_ready_are_watched_like_others),
    TEST(a_number_that_was_closed_and_given_out_again_can_be_changed),
    TEST(timers_ring_in_the_order_of_their_times),
    TEST(a_timer_that_repeats_does_so_until_it_is_removed),
    TEST(a_timer_that_sets_another_of_0_ms_starves_nobody),
    TEST(a_hundred_thousand_timers_come_and_go),
    TEST(an_id_is_not_used_again_at_once),
    TEST(a_descriptor_is_told_of_while_it_is_ready),
    TEST(a_signal_is_told_from_the_loop_and_its_disposition_given_back),
    TEST(a_signal_in_a_copy_of_the_process_is_not_ours),
    TEST(a_signal_handler_may_stop_the_loop),
    TEST(a_thread_may_stop_the_loop),
    TEST(the_loop_nests_in_a_poll_loop),
    TEST(a_regular_file_is_told_to_the_outer_loop_too),
    TEST(many_regular_files_all_get_their_turn),
    TEST(work_that_is_queued_between_steps_is_told_by_the_descriptor),
};

HARNESS_MAIN(tests)
