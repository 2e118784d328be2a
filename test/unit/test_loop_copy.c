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

static const struct CMUnitTest tests[] = {
    TEST(a_copy_made_in_a_handler_does_not_go_on_with_the_loop),
    TEST(a_copy_made_in_a_handler_may_free_the_loop_there),
    TEST(a_copy_that_frees_a_child_leaves_the_watch_of_its_maker_alone),
};

HARNESS_MAIN(tests)
