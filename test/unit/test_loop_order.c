/*
 * What the loop makes of things that happen in one step: what was found ready and is no more, what is queued by the one
 * who leaves, what would come after the close.
 */
#include "events.h"

#include <poll.h>
#include <pthread.h>

static void await_readable(int fd)
{
    struct pollfd wanted = {.fd = fd, .events = POLLIN};

    assert_int_equal(poll(&wanted, 1, IN_TIME), 1);
}

/* The exit is found first, and the output is read on the way; then nothing is there to be read, and others hold it. */
static void output_that_was_read_with_the_exit_is_not_waited_for_again(void **state)
{
    (void)state;
    proc_loop *loop = make_loop();
    events e = {.length = 0};
    int gate[2];

    make_pipe(gate);
    const proc_fd_map map = {.child = 9, .parent = gate[0]};
    proc_child *child = start_child(
        ARGV("sh", "-c", "(read x <&9; echo late; read x <&9) & exit 0"),
        OPTIONS(.in.kind = PROC_NULL, .out.kind = PROC_PIPE, .err.kind = PROC_NULL, .fds = &map, .fd_count = 1));
    close(gate[0]);
    assert_int_equal(proc_loop_add_child(loop, child, &noting, &e), 0);
    await_readable(proc_child_exit_fd(child));
    assert_int_equal(write(gate[1], "\n", 1), 1);
    await_readable(proc_child_fd(child, 1));
    while (strstr(e.log, "[exit 0]") == NULL) {
        assert_true(proc_loop_step(loop, IN_TIME) >= 0);
    }
    assert_string_equal(e.log, "out1=late\n [exit 0] ");
    assert_int_equal(proc_loop_run(loop, 0), -ETIMEDOUT);
    close(gate[1]);
    run_loop(loop);
    assert_string_equal(e.log, "out1=late\n [exit 0] end1 close ");
    proc_child_free(child);
    proc_loop_free(loop);
}

static void a_stop_in_a_loop_only_begins(void **state)
{
    (void)state;
    static const int graces[] = {0, 50};

    for (size_t i = 0; i < COUNT(graces); i++) {
        proc_loop *loop = make_loop();
        events e = {.length = 0};
        proc_child *deaf = add_noted(loop, &e, ARGV("sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 60; done"),
                                     OPTIONS(.in.kind = PROC_NULL, .group = PROC_GROUP_OWN));
        proc_status status;

        while (strstr(e.log, "deaf") == NULL) {
            assert_true(proc_loop_step(loop, IN_TIME) >= 0);
        }
        assert_int_equal(proc_child_stop(deaf, graces[i], &status), 0);
        assert_true(status.state == PROC_RUNNING || graces[i] == 0); /* killed at once, it may have ended already */
        run_loop(loop);
        assert_non_null(strstr(e.log, "[SIGKILL"));
        assert_non_null(strstr(e.log, "close"));

        assert_int_equal(proc_child_stop(deaf, 0, &status), 0);
        assert_int_equal(status.state, PROC_SIGNALED);
        assert_true(status.forced);
        proc_child_free(deaf);
        proc_loop_free(loop);
    }
}

static void a_stop_of_what_has_ended_in_a_loop_signals_nobody(void **state)
{
    (void)state;
    proc_loop *loop = make_loop();
    events e = {.length = 0};
    proc_child *child = add_noted(loop, &e, ARGV("sh", "-c", "exit 3"), OPTIONS(.in.kind = PROC_NULL));
    proc_status status;

    await_readable(proc_child_exit_fd(child));
    assert_int_equal(proc_child_stop(child, PROC_FOREVER, &status), 0);
    assert_int_equal(status.state, PROC_EXITED);
    assert_int_equal(status.code, 3);
    run_loop(loop);
    assert_non_null(strstr(e.log, "[exit 3]"));
    assert_non_null(strstr(e.log, "close"));
    proc_child_free(child);
    proc_loop_free(loop);
}

/* Both are found in one step, the cancel first. */
static void what_has_ended_by_itself_is_not_cancelled(void **state)
{
    (void)state;
    proc_loop *loop = make_loop();
    events e = {.length = 0};
    int gate[2], answer[2], cancel[2];

    make_pipe(gate);
    make_pipe(answer);
    make_pipe(cancel);
    close(cancel[1]);
    const proc_fd_map maps[] = {{.child = 8, .parent = answer[1]}, {.child = 9, .parent = gate[0]}};
    proc_child *child = add_noted(loop, &e, ARGV("sh", "-c", "(read x <&9; echo alive >&8) & exit 0"),
                                  OPTIONS(.in.kind = PROC_NULL, .out.kind = PROC_NULL, .err.kind = PROC_NULL,
                                          .fds = maps, .fd_count = 2, .group = PROC_GROUP_OWN, .cancel_fd = cancel[0]));
    close(gate[0]);
    close(answer[1]);
    await_readable(proc_child_exit_fd(child));
    run_loop(loop);
    assert_string_equal(e.log, "[exit 0] close ");
    close(gate[1]);
    await_byte(answer[0]); /* the rest of the group was left alone */
    close(answer[0]);
    close(cancel[0]);
    proc_child_free(child);
    proc_loop_free(loop);
}

/* ---- whoever leaves while something is queued for it ---- */

static void free_at_drain(proc_child *child, void *ctx)
{
    (void)ctx;
    proc_child_free(child);
}

static void write_at_output(proc_child *child, int stream, const void *data, size_t size, void *ctx)
{
    (void)stream;
    (void)data;
    if (size > 0) {
        assert_int_equal(proc_loop_write(ctx, child, "x", 1, false), 0);
    }
}

static void a_child_that_is_freed_in_its_last_drain_keeps_no_loop_running(void **state)
{
    (void)state;
    static const proc_handlers handlers = {.on_output = write_at_output, .on_drain = free_at_drain};
    proc_loop *loop = make_loop();
    proc_child *child = start_piped(KID("closefd", "0", "out", "x", "hang"));

    assert_int_equal(proc_loop_add_child(loop, child, &handlers, loop), 0);
    run_loop(loop);
    proc_loop_free(loop);
}

static void what_is_posted_to_an_end_that_has_shut_down_keeps_no_loop_running(void **state)
{
    (void)state;
    proc_loop *loop = make_loop();
    events e = {.length = 0};
    proc_channel *ends[2];

    make_pair(ends, NULL);
    assert_int_equal(proc_channel_shutdown(ends[1]), 0);
    assert_int_equal(proc_loop_add_channel(loop, ends[0], &noting, &e), 0);
    run_loop(loop);
    assert_string_equal(e.log, "disconnect=0 ");
    assert_int_equal(proc_channel_post(ends[0], MESSAGE(.type = 7)), 0);
    run_loop(loop);
    expect_message(ends[1], 7, NULL, 0);
    free_pair(ends);
    proc_loop_free(loop);
}

/* ---- nothing after the close ---- */

static void write_at_exit(proc_child *child, const proc_status *status, void *ctx)
{
    const void *const *loop_and_events = ctx;

    (void)status;
    (void)proc_loop_write((proc_loop *)(uintptr_t)loop_and_events[0], child, "x", 1, false);
}

static void note_late_drain(proc_child *child, void *ctx)
{
    void *const *loop_and_events = ctx;

    noting.on_drain(child, loop_and_events[1]);
}

static void note_late_close(proc_child *child, const proc_status *status, void *ctx)
{
    void *const *loop_and_events = ctx;

    noting.on_close(child, status, loop_and_events[1]);
}

static void input_that_is_queued_at_the_end_is_told_before_the_close_or_never(void **state)
{
    (void)state;
    static const proc_handlers handlers = {
        .on_exit = write_at_exit, .on_drain = note_late_drain, .on_close = note_late_close};
    proc_loop *loop = make_loop();
    events e = {.length = 0};
    void *ctx[] = {loop, &e};
    proc_child *child = start_child(KID("exit", "0"), OPTIONS(.in.kind = PROC_PIPE));

    assert_int_equal(proc_loop_add_child(loop, child, &handlers, ctx), 0);
    run_loop(loop);
    while (proc_loop_step(loop, 0) > 0) {
    }
    assert_non_null(strstr(e.log, "close "));
    assert_string_equal(strstr(e.log, "close "), "close ");
    assert_int_equal(proc_loop_write(loop, child, "x", 1, false), -EPIPE);
    proc_child_free(child);
    proc_loop_free(loop);
}

/* ---- a channel that is in the loop by itself, with handlers of its own ---- */

enum { LAST_MESSAGES = 1000 };

static int send_many(proc_channel *parent, void *arg)
{
    (void)arg;
    for (uint32_t i = 0; i < LAST_MESSAGES; i++) {
        if (proc_channel_post(parent, MESSAGE(.type = i)) < 0) {
            return 1;
        }
    }
    return 4;
}

typedef struct order {
    int messages, ends, before_exit, before_close;
} order;

static void count_message(proc_channel *channel, proc_message *message, void *ctx)
{
    order *o = ctx;

    (void)channel;
    (void)message;
    o->messages++;
}

static void count_end(proc_channel *channel, int reason, void *ctx)
{
    order *o = ctx;

    (void)channel;
    (void)reason;
    o->ends++;
}

static void note_messages_at_exit(proc_child *child, const proc_status *status, void *ctx)
{
    order *o = ctx;

    (void)child;
    assert_int_equal(status->code, 4);
    o->before_exit = o->messages;
}

static void note_ends_at_close(proc_child *child, const proc_status *status, void *ctx)
{
    order *o = ctx;

    (void)child;
    (void)status;
    o->before_close = o->ends;
}

static const proc_handlers of_channel = {.on_message = count_message, .on_disconnect = count_end};
static const proc_handlers of_child = {.on_exit = note_messages_at_exit, .on_close = note_ends_at_close};

static void expect_order(bool child_first)
{
    proc_loop *loop = make_loop();
    order o = {.messages = 0};
    proc_child *child = NULL;

    assert_int_equal(proc_fork_call(&child, send_many, NULL, NULL), 0);
    proc_channel *channel = proc_child_channel(child);
    if (child_first) {
        assert_int_equal(proc_loop_add_child(loop, child, &of_child, &o), 0);
        assert_int_equal(proc_loop_remove_channel(loop, channel), 0);
        assert_int_equal(proc_loop_add_channel(loop, channel, &of_channel, &o), 0);
    } else {
        assert_int_equal(proc_loop_add_channel(loop, channel, &of_channel, &o), 0);
        assert_int_equal(proc_loop_add_child(loop, child, &of_child, &o), 0);
    }
    await_readable(proc_child_exit_fd(child));
    run_loop(loop);
    assert_int_equal(o.messages, LAST_MESSAGES);
    assert_int_equal(o.before_exit, LAST_MESSAGES);
    assert_int_equal(o.before_close, 1);
    proc_child_free(child);
    proc_loop_free(loop);
}

static void the_order_of_a_child_holds_for_a_channel_that_was_added_by_itself(void **state)
{
    (void)state;
    expect_order(false);
    expect_order(true);
}

static const struct CMUnitTest tests[] = {
    TEST(output_that_was_read_with_the_exit_is_not_waited_for_again),
    TEST(a_stop_in_a_loop_only_begins),
    TEST(a_stop_of_what_has_ended_in_a_loop_signals_nobody),
    TEST(what_has_ended_by_itself_is_not_cancelled),
    TEST(a_child_that_is_freed_in_its_last_drain_keeps_no_loop_running),
    TEST(what_is_posted_to_an_end_that_has_shut_down_keeps_no_loop_running),
    TEST(input_that_is_queued_at_the_end_is_told_before_the_close_or_never),
    TEST(the_order_of_a_child_holds_for_a_channel_that_was_added_by_itself),
};

HARNESS_MAIN(tests)
