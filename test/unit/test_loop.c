/*
 * Children in a loop: what is told, in which order, and what the loop does by itself.
 */
#include "events.h"
#include "lifeline.h"

static void output_comes_before_the_exit_and_the_exit_before_the_close(void **state)
{
    (void)state;
    proc_loop *loop = make_loop();
    events e = {.length = 0};
    proc_child *child = add_noted(loop, &e, KID("out", "text", "exit", "3"), NULL);

    run_loop(loop);
    assert_non_null(strstr(e.log, "out1=text "));
    assert_non_null(strstr(e.log, "end1 "));
    assert_non_null(strstr(e.log, "end2 "));
    assert_string_equal(strstr(e.log, "[exit 3]"), "[exit 3] close ");
    run_loop(loop); /* nothing is left */
    proc_child_free(child);
    proc_loop_free(loop);
}

typedef struct tally {
    size_t size, size_at_exit, closes;
    bool right;
} tally;

static void tally_output(proc_child *child, int stream, const void *data, size_t size, void *ctx)
{
    tally *t = ctx;

    (void)child;
    (void)stream;
    for (size_t i = 0; i < size; i++) {
        t->right = t->right && ((const char *)data)[i] == pattern_at(t->size + i);
    }
    t->size += size;
}

static void tally_exit(proc_child *child, const proc_status *status, void *ctx)
{
    (void)child;
    assert_int_equal(status->code, 7);
    ((tally *)ctx)->size_at_exit = ((tally *)ctx)->size;
}

static void tally_close(proc_child *child, const proc_status *status, void *ctx)
{
    (void)child;
    (void)status;
    ((tally *)ctx)->closes++;
}

static const proc_handlers tallying = {.on_output = tally_output, .on_exit = tally_exit, .on_close = tally_close};

static void all_that_was_written_comes_whole_and_before_the_exit(void **state)
{
    (void)state;
    enum { CHILDREN = 20, SIZE = 500000 };
    proc_loop *loop = make_loop();
    proc_child *children[CHILDREN];
    tally tallies[CHILDREN];

    for (int i = 0; i < CHILDREN; i++) {
        tallies[i] = (tally){.right = true};
        children[i] = start_child(KID("write", "1", text("%d", SIZE), "exit", "7"), OPTIONS(.out.kind = PROC_PIPE));
        assert_int_equal(proc_loop_add_child(loop, children[i], &tallying, &tallies[i]), 0);
    }
    run_loop(loop);
    for (int i = 0; i < CHILDREN; i++) {
        assert_int_equal(tallies[i].size_at_exit, SIZE);
        assert_int_equal(tallies[i].size, SIZE);
        assert_true(tallies[i].right);
        assert_int_equal(tallies[i].closes, 1);
        proc_child_free(children[i]);
    }
    proc_loop_free(loop);
}

static void output_that_nobody_handles_keeps_no_child_waiting(void **state)
{
    (void)state;
    static const proc_handlers none;
    proc_loop *loop = make_loop();
    proc_child *child = start_child(KID("write", "1", "3000000", "exit", "0"), OPTIONS(.out.kind = PROC_PIPE));
    proc_status status;

    assert_int_equal(proc_loop_add_child(loop, child, &none, NULL), 0);
    run_loop(loop);
    assert_int_equal(proc_child_wait(child, 0, &status), 0);
    assert_int_equal(status.code, 0);
    proc_child_free(child);
    proc_loop_free(loop);
}

static void every_end_is_told_exactly(void **state)
{
    (void)state;
    proc_loop *loop = make_loop();
    events e[3] = {{.length = 0}};
    proc_child *children[3] = {
        add_noted(loop, &e[0], KID("raise", text("%d", SIGKILL)), NULL),
        add_noted(loop, &e[1], KID("exit", "255"), NULL),
        add_noted(loop, &e[2], KID("hang"), OPTIONS(.timeout_ms = 30, .in.kind = PROC_NULL)),
    };

    run_loop(loop);
    assert_non_null(strstr(e[0].log, "[SIGKILL] close "));
    assert_non_null(strstr(e[1].log, "[exit 255] close "));
    assert_non_null(strstr(e[2].log, "[SIGTERM (timed out)] close "));
    for (int i = 0; i < 3; i++) {
        proc_child_free(children[i]);
    }
    proc_loop_free(loop);
}

/* ---- streams that others hold ---- */

static void the_exit_is_told_while_a_grandchild_holds_the_output(void **state)
{
    (void)state;
    proc_loop *loop = make_loop();
    events e = {.length = 0};
    int gate[2];

    make_pipe(gate);
    const proc_fd_map map = {.child = 9, .parent = gate[0]};
    proc_child *child = add_noted(loop, &e, ARGV("sh", "-c", "(read x <&9; echo late) & echo early"),
                                  OPTIONS(.in.kind = PROC_NULL, .fds = &map, .fd_count = 1, .err.kind = PROC_NULL));
    close(gate[0]);
    while (strstr(e.log, "[exit 0]") == NULL) {
        assert_true(proc_loop_step(loop, IN_TIME) >= 0);
    }
    assert_non_null(strstr(e.log, "out1=early"));
    assert_null(strstr(e.log, "close"));
    assert_int_equal(proc_loop_run(loop, 0), -ETIMEDOUT);
    close(gate[1]);
    run_loop(loop);
    assert_string_equal(strstr(e.log, "[exit 0]"), "[exit 0] out1=late\n end1 close ");
    proc_child_free(child);
    proc_loop_free(loop);
}

static void the_time_limit_ends_the_wait_for_a_stream_that_others_hold(void **state)
{
    (void)state;
    proc_loop *loop = make_loop();
    events e = {.length = 0};
    int gate[2];

    make_pipe(gate);
    const proc_fd_map map = {.child = 9, .parent = gate[0]};
    proc_child *child = start_child(ARGV("sh", "-c", "(read x <&9; echo late) & echo early"),
                                    OPTIONS(.fds = &map, .fd_count = 1, .out.kind = PROC_PIPE, .timeout_ms = 300));
    close(gate[0]);
    await_state(proc_child_pid(child), "Z"); /* it ended in time, however long that took */
    assert_int_equal(proc_loop_add_child(loop, child, &noting, &e), 0);
    run_loop(loop);
    assert_non_null(strstr(e.log, "out1=early"));
    assert_string_equal(strstr(e.log, "[exit 0]"), "[exit 0] end1 close ");
    close(gate[1]);
    proc_child_free(child);
    proc_loop_free(loop);
}

/* ---- stopping ---- */

static void a_child_that_ignores_the_stop_signal_delays_nobody(void **state)
{
    (void)state;
    proc_loop *loop = make_loop();
    events deaf = {.length = 0}, other = {.length = 0};
    lifeline line = lifeline_make();
    proc_child *a = start_child(KID("ignore", "TERM", "ready", "5", "hang"),
                                OPTIONS(.timeout_ms = 1, .grace_ms = LATEST_MS, HOLDS(line)));

    lifeline_await_ready(&line);
    let_pass(2); /* its time is over, however quickly it started */
    assert_int_equal(proc_loop_add_child(loop, a, &noting, &deaf), 0);
    proc_child *b = add_noted(loop, &other, KID("exit", "0"), NULL);
    while (strstr(other.log, "close") == NULL) {
        assert_true(proc_loop_step(loop, IN_TIME) >= 0);
    }
    assert_null(strstr(deaf.log, "close"));
    assert_int_equal(proc_child_stop(a, 50, NULL), 0); /* the rest of its grace would be longer */
    run_loop(loop);
    assert_non_null(strstr(deaf.log, "[SIGKILL (timed out, forced)] close "));
    lifeline_await_end(&line);
    proc_child_free(a);
    proc_child_free(b);
    proc_loop_free(loop);
}

static void one_descriptor_cancels_many_children(void **state)
{
    (void)state;
    enum { CHILDREN = 50 };
    proc_loop *loop = make_loop();
    proc_child *children[CHILDREN];
    events e[CHILDREN] = {{.length = 0}};
    int cancel[2];

    make_pipe(cancel);
    for (int i = 0; i < CHILDREN; i++) {
        children[i] = add_noted(loop, &e[i], KID("hang"), OPTIONS(.in.kind = PROC_NULL, .cancel_fd = cancel[0]));
    }
    assert_int_equal(proc_loop_run(loop, 20), -ETIMEDOUT);
    close(cancel[1]);
    run_loop(loop);
    for (int i = 0; i < CHILDREN; i++) {
        assert_non_null(strstr(e[i].log, "[SIGTERM] close "));
        proc_child_free(children[i]);
    }
    proc_loop_free(loop);
    assert_true(is_open(cancel[0]));
    close(cancel[0]);
}

/* ---- input ---- */

static void input_is_written_and_its_end_follows(void **state)
{
    (void)state;
    proc_loop *loop = make_loop();
    events e = {.length = 0};
    proc_child *child = add_noted(loop, &e, KID("cat"), OPTIONS(.in.kind = PROC_PIPE));

    assert_int_equal(proc_loop_write(loop, child, "hello ", 6, false), 0);
    assert_int_equal(proc_loop_write(loop, child, "world", 5, true), 0);
    assert_int_equal(proc_loop_write(loop, child, "!", 1, false), -EBADF);
    run_loop(loop);
    assert_int_equal(strncmp(e.log, "drain ", 6), 0);
    assert_non_null(strstr(e.log, "out1=hello world"));
    assert_non_null(strstr(e.log, "[exit 0] close "));
    proc_child_free(child);
    proc_loop_free(loop);
}

typedef struct feeder {
    proc_loop *loop;
    size_t queued, goal;
    int refusals, drains;
} feeder;

static void feed_more(proc_child *child, void *ctx)
{
    static char bytes[65536];
    feeder *f = ctx;

    f->drains++;
    while (f->queued < f->goal) {
        size_t size = f->goal - f->queued < sizeof bytes ? f->goal - f->queued : sizeof bytes;
        int err = proc_loop_write(f->loop, child, bytes, size, f->queued + size == f->goal);
        if (err == -EAGAIN) {
            f->refusals++;
            return;
        }
        assert_int_equal(err, 0);
        f->queued += size;
    }
}

static void a_slow_reader_pushes_back_and_drain_tells_when_to_go_on(void **state)
{
    (void)state;
    static const proc_handlers feeding = {.on_drain = feed_more};
    feeder f = {.loop = make_loop(), .goal = 8 * 1024 * 1024};
    proc_child *child = start_child(KID("count"), OPTIONS(.in.kind = PROC_PIPE, .out.kind = PROC_PIPE));

    assert_int_equal(proc_loop_add_child(f.loop, child, &feeding, &f), 0);
    feed_more(child, &f);
    assert_true(f.refusals > 0);
    assert_true(f.queued >= 1024 * 1024 && f.queued <= 1024 * 1024 + 65536);
    run_loop(f.loop);
    assert_int_equal(f.queued, f.goal);
    assert_true(f.drains > 2);
    proc_child_free(child);
    proc_loop_free(f.loop);
}

static void what_is_not_read_is_dropped_and_drain_says_so(void **state)
{
    (void)state;
    proc_loop *loop = make_loop();
    events e = {.length = 0};
    char *bytes = keep(calloc(1, 500000));
    proc_child *child = add_noted(loop, &e, KID("closefd", "0", "out", "r", "hang"), OPTIONS(.in.kind = PROC_PIPE));

    while (strstr(e.log, "out1=r") == NULL) {
        assert_true(proc_loop_step(loop, IN_TIME) >= 0);
    }
    assert_int_equal(proc_loop_write(loop, child, bytes, 500000, false), 0);
    while (strstr(e.log, "drain") == NULL) {
        assert_true(proc_loop_step(loop, IN_TIME) >= 0);
    }
    assert_int_equal(proc_loop_write(loop, child, "x", 1, false), -EPIPE);
    proc_child_free(child);
    proc_loop_free(loop);
}

static void bad_writes_are_refused(void **state)
{
    (void)state;
    proc_loop *loop = make_loop(), *other = make_loop();
    events e = {.length = 0};
    proc_child *piped = add_noted(loop, &e, KID("cat"), OPTIONS(.in.kind = PROC_PIPE));
    proc_child *unpiped = add_noted(loop, &e, KID("hang"), OPTIONS(.in.kind = PROC_NULL));

    assert_int_equal(proc_loop_write(other, piped, "x", 1, false), -ENOENT);
    assert_int_equal(proc_loop_write(loop, unpiped, "x", 1, false), -EBADF);
    assert_int_equal(proc_loop_write(loop, piped, NULL, 1, false), -EINVAL);
    assert_int_equal(proc_loop_write(NULL, piped, "x", 1, false), -EINVAL);
    assert_int_equal(proc_loop_write(loop, NULL, "x", 1, false), -EINVAL);
    assert_int_equal(proc_loop_write(loop, piped, "x", SIZE_MAX, false), -EINVAL);
    assert_int_equal(proc_loop_write(loop, piped, NULL, 0, true), 0);
    proc_child_free(unpiped);
    run_loop(loop);
    proc_child_free(piped);
    proc_loop_free(other);
    proc_loop_free(loop);
}

/* ---- a terminal ---- */

static void a_terminal_is_read_and_written_as_one(void **state)
{
    (void)state;
    proc_loop *loop = make_loop();
    events e = {.length = 0};
    proc_child *child = start_child(ARGV("sh", "-c", "stty -echo; echo ready; read x; echo got $x; echo err >&2"),
                                    OPTIONS(.in.kind = PROC_PTY, .out.kind = PROC_PTY, .err.kind = PROC_PTY));

    assert_int_equal(proc_loop_add_child(loop, child, &noting, &e), 0);
    while (strstr(e.log, "ready") == NULL) {
        assert_true(proc_loop_step(loop, IN_TIME) >= 0);
    }
    assert_int_equal(proc_loop_write(loop, child, "word\n", 5, false), 0);
    run_loop(loop);
    assert_non_null(strstr(e.log, "got word"));
    assert_non_null(strstr(e.log, "err"));
    assert_null(strstr(e.log, "out2"));
    assert_non_null(strstr(e.log, "end1 "));
    assert_non_null(strstr(e.log, "close "));
    proc_child_free(child);
    proc_loop_free(loop);
}

static void a_terminal_of_which_one_stream_was_closed_talks_by_the_others(void **state)
{
    (void)state;
    proc_loop *loop = make_loop();
    events e = {.length = 0};
    proc_child *child = start_child(ARGV("sh", "-c", "stty -echo; echo ready; read x; echo got $x"),
                                    OPTIONS(.in.kind = PROC_PTY, .out.kind = PROC_PTY, .err.kind = PROC_PTY));

    assert_int_equal(proc_loop_add_child(loop, child, &noting, &e), 0);
    while (strstr(e.log, "ready") == NULL) {
        assert_true(proc_loop_step(loop, IN_TIME) >= 0);
    }
    assert_int_equal(proc_child_close(child, 1), 0);
    assert_int_equal(proc_loop_write(loop, child, "word\n", 5, false), 0);
    run_loop(loop);
    assert_non_null(strstr(e.log, "out2=got word"));
    assert_non_null(strstr(e.log, "end2 [exit 0] close "));
    proc_child_free(child);
    proc_loop_free(loop);
}

/* ---- pausing ---- */

static void removing_and_adding_again_loses_nothing(void **state)
{
    (void)state;
    proc_loop *loop = make_loop();
    tally t = {.right = true};
    proc_child *child = start_child(KID("write", "1", "300000", "exit", "7"), OPTIONS(.out.kind = PROC_PIPE));

    assert_int_equal(proc_loop_add_child(loop, child, &tallying, &t), 0);
    assert_int_equal(proc_loop_add_child(loop, child, &tallying, &t), -EEXIST);
    for (int i = 0; i < 10000 && t.closes == 0; i++) {
        assert_true(proc_loop_step(loop, IN_TIME) >= 0);
        assert_int_equal(proc_loop_remove_child(loop, child), 0);
        assert_int_equal(proc_loop_remove_child(loop, child), -ENOENT);
        assert_int_equal(proc_loop_step(loop, 0), 0);
        assert_int_equal(proc_loop_add_child(loop, child, &tallying, &t), 0);
    }
    assert_int_equal(t.size, 300000);
    assert_true(t.right);
    assert_int_equal(t.closes, 1);
    run_loop(loop); /* told once, it is not waited for */
    assert_int_equal(t.closes, 1);
    proc_child_free(child);
    proc_loop_free(loop);
}

static void input_that_is_queued_survives_a_pause(void **state)
{
    (void)state;
    proc_loop *loop = make_loop();
    events e = {.length = 0};
    proc_child *child = add_noted(loop, &e, KID("cat"), OPTIONS(.in.kind = PROC_PIPE));

    assert_int_equal(proc_loop_write(loop, child, "kept", 4, true), 0);
    assert_int_equal(proc_loop_remove_child(loop, child), 0);
    assert_int_equal(proc_loop_step(loop, 0), 0);
    assert_int_equal(proc_loop_add_child(loop, child, &noting, &e), 0);
    run_loop(loop);
    assert_non_null(strstr(e.log, "out1=kept"));
    proc_child_free(child);
    proc_loop_free(loop);
}

static void a_child_that_ended_before_is_told_all_the_same(void **state)
{
    (void)state;
    proc_loop *loop = make_loop();
    events e = {.length = 0};
    proc_child *child = start_piped(KID("out", "x", "exit", "4"));

    assert_int_equal(proc_child_wait(child, IN_TIME, NULL), 0);
    assert_int_equal(proc_loop_add_child(loop, child, &noting, &e), 0);
    run_loop(loop);
    assert_non_null(strstr(e.log, "out1=x "));
    assert_non_null(strstr(e.log, "[exit 4] close "));
    proc_child_free(child);
    proc_loop_free(loop);
}

static void a_status_that_others_took_is_told_as_lost(void **state)
{
    (void)state;
    proc_loop *loop = make_loop();
    events e = {.length = 0};
    proc_child *child = add_noted(loop, &e, KID("exit", "4"), NULL);
    int word;

    assert_int_equal(waitpid(proc_child_pid(child), &word, 0), proc_child_pid(child));
    run_loop(loop);
    assert_true(strstr(e.log, "[lost] close ") != NULL || strstr(e.log, "[exit 4] close ") != NULL);
    proc_child_free(child);
    proc_loop_free(loop);
}

static void a_child_that_closes_its_output_and_runs_on_makes_no_noise(void **state)
{
    (void)state;
    proc_loop *loop = make_loop();
    events e = {.length = 0};
    proc_child *child = add_noted(loop, &e, KID("closefd", "1", "closefd", "2", "hang"), NULL);

    while (strstr(e.log, "end1 ") == NULL || strstr(e.log, "end2 ") == NULL) {
        assert_true(proc_loop_step(loop, IN_TIME) >= 0);
    }
    size_t before = e.length;
    int steps = 0;
    while (proc_loop_run(loop, 0) == -ETIMEDOUT && steps < 3) {
        steps++;
    }
    assert_int_equal(proc_loop_step(loop, 30), 0); /* it waits, and nothing is there to be told */
    assert_int_equal(e.length, before);
    assert_int_equal(proc_child_kill(child, SIGTERM), 0);
    run_loop(loop);
    assert_non_null(strstr(e.log, "[SIGTERM] close "));
    proc_child_free(child);
    proc_loop_free(loop);
}

static void a_loop_with_nothing_in_it_returns_at_once(void **state)
{
    (void)state;
    proc_loop *loop = make_loop();

    assert_int_equal(proc_loop_run(loop, PROC_FOREVER), 0);
    assert_int_equal(proc_loop_step(loop, 0), 0);
    proc_loop_free(loop);
    proc_loop_free(NULL);
}

static void bad_arguments_are_refused(void **state)
{
    (void)state;
    proc_loop *loop = make_loop();
    proc_child *child = start_child(KID("hang"), NULL);
    proc_handlers reserved = {.reserved = {(void (*)(void))make_loop}};

    assert_int_equal(proc_loop_new(NULL), -EINVAL);
    assert_int_equal(proc_loop_run(loop, -2), -EINVAL);
    assert_int_equal(proc_loop_step(NULL, 0), -EINVAL);
    assert_int_equal(proc_loop_add_child(loop, child, NULL, NULL), -EINVAL);
    assert_int_equal(proc_loop_add_child(loop, child, &reserved, NULL), -EINVAL);
    assert_int_equal(proc_loop_add_child(loop, NULL, &noting, NULL), -EINVAL);
    assert_int_equal(proc_loop_add_child(NULL, child, &noting, NULL), -EINVAL);
    assert_int_equal(proc_loop_remove_child(loop, child), -ENOENT);
    assert_int_equal(proc_loop_remove_child(loop, NULL), -EINVAL);
    assert_int_equal(proc_loop_fd(NULL), -EINVAL);
    proc_loop_stop(NULL);
    proc_child_free(child);
    proc_loop_free(loop);
}

static void use_in_copy(void *arg)
{
    void **objects = arg;
    proc_loop *loop = objects[0];

    assert_int_equal(proc_loop_run(loop, 0), -EINVAL);
    assert_int_equal(proc_loop_step(loop, 0), -EINVAL);
    assert_int_equal(proc_loop_add_timer(loop, 0, 0, NULL, NULL), -EINVAL);
    assert_int_equal(proc_loop_remove_child(loop, objects[1]), -EINVAL);
    proc_loop_stop(loop);
    proc_loop_free(loop);
    proc_child_free(objects[1]);
}

static void use_in_copy_the_other_way_round(void *arg)
{
    void **objects = arg;

    proc_child_free(objects[1]);
    proc_loop_free(objects[0]);
}

static void in_a_copy_of_the_process_the_loop_is_dead(void **state)
{
    (void)state;
    proc_loop *loop = make_loop();
    events e = {.length = 0};
    proc_child *child = add_noted(loop, &e, KID("cat", "exit", "5"), OPTIONS(.in.kind = PROC_PIPE));
    void *objects[] = {loop, child};

    in_copy(use_in_copy, objects);
    in_copy(use_in_copy_the_other_way_round, objects);
    assert_int_equal(proc_loop_write(loop, child, "still here", 10, true), 0);
    run_loop(loop);
    assert_non_null(strstr(e.log, "out1=still here"));
    assert_non_null(strstr(e.log, "[exit 5] close "));
    proc_child_free(child);
    proc_loop_free(loop);
}

static const struct CMUnitTest tests[] = {
    TEST(output_comes_before_the_exit_and_the_exit_before_the_close),
    TEST(all_that_was_written_comes_whole_and_before_the_exit),
    TEST(output_that_nobody_handles_keeps_no_child_waiting),
    TEST(every_end_is_told_exactly),
    TEST(the_exit_is_told_while_a_grandchild_holds_the_output),
    TEST(the_time_limit_ends_the_wait_for_a_stream_that_others_hold),
    TEST(a_child_that_ignores_the_stop_signal_delays_nobody),
    TEST(one_descriptor_cancels_many_children),
    TEST(input_is_written_and_its_end_follows),
    TEST(a_slow_reader_pushes_back_and_drain_tells_when_to_go_on),
    TEST(what_is_not_read_is_dropped_and_drain_says_so),
    TEST(bad_writes_are_refused),
    TEST(a_terminal_is_read_and_written_as_one),
    TEST(a_terminal_of_which_one_stream_was_closed_talks_by_the_others),
    TEST(removing_and_adding_again_loses_nothing),
    TEST(input_that_is_queued_survives_a_pause),
    TEST(a_child_that_ended_before_is_told_all_the_same),
    TEST(a_status_that_others_took_is_told_as_lost),
    TEST(a_child_that_closes_its_output_and_runs_on_makes_no_noise),
    TEST(a_loop_with_nothing_in_it_returns_at_once),
    TEST(bad_arguments_are_refused),
    TEST(in_a_copy_of_the_process_the_loop_is_dead),
};

HARNESS_MAIN(tests)
