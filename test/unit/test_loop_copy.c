/*
 * Copies of the process that are made while a loop is at work: they are dead, and their maker notices nothing of them.
 */
#include "events.h"

#include <poll.h>

static void fork_in_handler(void *ctx)
{
    pid_t *copy = ctx;

    *copy = fork();
    if (*copy == 0) {
        *copy = -1; /* and goes back into the loop, which is dead there */
    }
}

static void copy_rang(void *ctx)
{
    int *rings = ctx;
    ++*rings;
}

static void a_copy_made_in_a_handler_does_not_go_on_with_the_loop(void **state)
{
    (void)state;
    proc_loop *loop = make_loop();
    pid_t copy = 0;
    int rings = 0, status;

    assert_true(proc_loop_add_timer(loop, 0, 0, fork_in_handler, &copy) > 0);
    assert_true(proc_loop_add_timer(loop, 0, 0, copy_rang, &rings) > 0);
    int err = proc_loop_run(loop, IN_TIME);
    if (copy == -1) {
        proc_loop_free(loop);
        _exit(err == -EINVAL && rings == 0 ? 0 : 1);
    }
    assert_int_equal(err, 0);
    assert_int_equal(rings, 1);
    assert_int_equal(waitpid(copy, &status, 0), copy);
    assert_int_equal(status, 0);
    proc_loop_free(loop);
}

static void fork_and_free_in_handler(void *ctx)
{
    void **loop_and_copy = ctx;
    pid_t *copy = loop_and_copy[1];

    *copy = fork();
    if (*copy == 0) {
        *copy = -1;
        proc_loop_free(loop_and_copy[0]);
    }
}

static void a_copy_made_in_a_handler_may_free_the_loop_there(void **state)
{
    (void)state;
    proc_loop *loop = make_loop();
    pid_t copy = 0;
    int rings = 0, status;
    void *ctx[] = {loop, &copy};

    assert_true(proc_loop_add_timer(loop, 0, 0, fork_and_free_in_handler, ctx) > 0);
    assert_true(proc_loop_add_timer(loop, 0, 0, copy_rang, &rings) > 0);
    int err = proc_loop_run(loop, IN_TIME);
    if (copy == -1) {
        _exit(rings == 0 && err <= 0 ? 0 : 1);
    }
    assert_int_equal(rings, 1);
    assert_int_equal(waitpid(copy, &status, 0), copy);
    assert_int_equal(status, 0);
    proc_loop_free(loop);
}

static void never_called(int fd, short revents, void *ctx)
{
    (void)revents;
    (void)ctx;
    fail_msg("descriptor %d", fd);
}

static void free_in_copy(void *child)
{
    proc_child_free(child);
}

/* Two are interested in one descriptor; that one of them goes in the copy does not change what is watched here. */
static void a_copy_that_frees_a_child_leaves_the_watch_of_its_maker_alone(void **state)
{
    (void)state;
    proc_loop *loop = make_loop();
    events e = {.length = 0};
    int ends[2];

    make_sockets(ends);
    assert_int_equal(proc_loop_add_fd(loop, ends[0], POLLPRI, never_called, NULL), 0);
    proc_child *child = add_noted(loop, &e, KID("hang"), OPTIONS(.in.kind = PROC_NULL, .cancel_fd = ends[0]));
    in_copy(free_in_copy, child);
    assert_int_equal(write(ends[1], "x", 1), 1);
    for (int i = 0; i < 20 && strstr(e.log, "close ") == NULL; i++) {
        assert_true(proc_loop_step(loop, 1000) >= 0);
    }
    assert_non_null(strstr(e.log, "[SIGTERM]"));
    proc_child_free(child);
    proc_loop_free(loop);
    close(ends[0]);
    close(ends[1]);
}

/* ---- everything in it ---- */

static void see_signal(int signal, void *ctx)
{
    (void)signal;
    ++*(int *)ctx;
}

static void result_came(int err, proc_result *result, void *ctx)
{
    (void)result;
    *(int *)ctx = err;
}

static void free_loop_in_copy(void *loop)
{
    proc_loop_free(loop);
}

/* Nothing is killed, closed for others or told in the copy; the disposition of the signal is its maker's to give back. */
static void a_copy_that_frees_a_full_loop_leaves_all_of_it_to_its_maker(void **state)
{
    (void)state;
    proc_loop *loop = make_loop();
    events e = {.length = 0};
    proc_channel *ends[2];
    int err = 1, signals = 0;

    make_pair(ends, NULL);
    assert_int_equal(proc_loop_add_channel(loop, ends[0], &noting, &e), 0);
    assert_int_equal(proc_loop_add_signal(loop, SIGUSR1, see_signal, &signals), 0);
    assert_int_equal(
        proc_loop_execfile(loop, KID("cat", "exit", "3"), OPTIONS(.input = "text", .input_size = 4), result_came, &err),
        0);
    in_copy(free_loop_in_copy, loop);

    assert_int_equal(err, 1);
    assert_int_equal(raise(SIGUSR1), 0);
    assert_int_equal(proc_channel_send(ends[1], MESSAGE(.type = 5), IN_TIME), 0);
    while (err == 1 || signals == 0 || e.length == 0) {
        assert_true(proc_loop_step(loop, IN_TIME) >= 0);
    }
    assert_int_equal(err, 0);
    assert_int_equal(signals, 1);
    assert_string_equal(e.log, "message=5 ");
    proc_loop_free(loop);
    free_pair(ends);
}

static void fork_in_signal_handler(int signal, void *ctx)
{
    (void)signal;
    fork_in_handler(ctx);
}

static void a_copy_made_by_a_handler_of_a_signal_does_not_go_on_with_the_loop(void **state)
{
    (void)state;
    proc_loop *loop = make_loop();
    pid_t copy = 0;
    int signals = 0, status;

    assert_int_equal(proc_loop_add_signal(loop, SIGUSR1, fork_in_signal_handler, &copy), 0);
    assert_int_equal(proc_loop_add_signal(loop, SIGUSR2, see_signal, &signals), 0);
    assert_int_equal(raise(SIGUSR1), 0);
    assert_int_equal(raise(SIGUSR2), 0);
    int ran = proc_loop_step(loop, IN_TIME);
    if (copy == -1) {
        proc_loop_free(loop);
        _exit(ran == -EINVAL && signals == 0 ? 0 : 1);
    }
    assert_int_equal(ran, 2);
    assert_int_equal(signals, 1);
    assert_int_equal(waitpid(copy, &status, 0), copy);
    assert_int_equal(status, 0);
    proc_loop_free(loop);
}

static const struct CMUnitTest tests[] = {
    TEST(a_copy_made_in_a_handler_does_not_go_on_with_the_loop),
    TEST(a_copy_made_in_a_handler_may_free_the_loop_there),
    TEST(a_copy_that_frees_a_child_leaves_the_watch_of_its_maker_alone),
    TEST(a_copy_that_frees_a_full_loop_leaves_all_of_it_to_its_maker),
    TEST(a_copy_made_by_a_handler_of_a_signal_does_not_go_on_with_the_loop),
};

HARNESS_MAIN(tests)
