/*
 * Streams, channels and descriptors in a loop that are shaped otherwise than most: two pipes for a channel, a terminal for
 * some of the streams, one descriptor for several, no handlers at all.
 */
#include "events.h"
#include "lifeline.h"

#include "channel.h"
#include "child.h"
#include "loop.h"

/* ---- channels ---- */

static void count_message(proc_channel *c, proc_message *m, void *ctx)
{
    (void)c;
    (void)m;
    ++*(int *)ctx;
}

/* Descriptors of pipes carry one direction each, and the one is watched for room while the other is read. */
static void a_channel_over_two_pipes_sends_more_than_they_hold(void **state)
{
    (void)state;
    static const proc_handlers counting = {.on_message = count_message};
    enum { MESSAGES = 40, SIZE = 20000 };
    proc_loop *loop = make_loop();
    proc_channel *sender, *receiver;
    int there[2], back[2], sent = 0, came = 0, unexpected = 0;
    char *data = pattern(SIZE);

    make_pipe(there);
    make_pipe(back);
    assert_int_equal(proc_channel_open(&sender, back[0], there[1], NULL), 0);
    assert_int_equal(proc_channel_open(&receiver, there[0], back[1], NULL), 0);
    assert_int_equal(proc_loop_add_channel(loop, sender, &counting, &unexpected), 0);
    assert_int_equal(proc_loop_add_channel(loop, receiver, &counting, &came), 0);
    while (sent < MESSAGES && proc_channel_post(sender, MESSAGE(.data = data, .size = SIZE)) == 0) {
        sent++;
    }
    assert_int_equal(sent, MESSAGES);
    while (came < MESSAGES) {
        assert_true(proc_loop_step(loop, IN_TIME) >= 0);
    }

    assert_int_equal(proc_channel_pending(sender), 0);
    assert_int_equal(unexpected, 0);
    proc_channel_free(sender);
    proc_channel_free(receiver);
    proc_loop_free(loop);
}

/* Two were refused: the smaller one has room again before the larger one, whichever was refused first. */
static void on_room_tells_of_the_smallest_that_was_refused(void **state)
{
    (void)state;
    enum { MARK = 100000, LARGE = 90000, SMALL = 10 };
    char *data = pattern(LARGE);

    for (int large_first = 0; large_first < 2; large_first++) {
        events e = {.name = "c"};
        proc_loop *loop = make_loop();
        proc_channel *ends[2];

        make_pair(ends, CHANNEL_OPTIONS(.high_water = MARK));
        do { /* what the socket takes, and then what waits */
            while (proc_channel_post(ends[0], MESSAGE(.data = data, .size = 1000)) == 0) {
            }
        } while (proc_channel_flush(ends[0], 0) == 0);
        while (proc_channel_post(ends[0], MESSAGE(.data = data, .size = SMALL)) == 0) {
        }
        ends[0]->refused = false; /* as if it had gone down and up again since */
        assert_int_equal(proc_loop_add_channel(loop, ends[0], &noting, &e), 0);
        for (int i = 0; i < 2; i++) {
            bool large = (i == 0) == (large_first != 0);
            assert_int_equal(proc_channel_post(ends[0], MESSAGE(.data = data, .size = large ? LARGE : SMALL)), -EAGAIN);
        }
        proc_message m;
        while (e.length == 0) { /* one by one, so that there is room for the small one first */
            assert_int_equal(proc_channel_recv(ends[1], &m, IN_TIME), 0);
            assert_true(proc_loop_step(loop, 0) >= 0);
        }

        assert_string_equal(e.log, "room ");
        assert_int_equal(proc_channel_post(ends[0], MESSAGE(.data = data, .size = SMALL)), 0);
        proc_loop_free(loop);
        free_pair(ends);
    }
}

static void a_refused_post_wants_no_handler(void **state)
{
    (void)state;
    static const proc_handlers none = {.on_message = NULL};
    char *data = pattern(10000);
    proc_loop *loop = make_loop();
    proc_channel *ends[2];

    make_pair(ends, NULL);
    assert_int_equal(proc_loop_add_channel(loop, ends[0], &none, NULL), 0);
    assert_int_equal(proc_loop_add_channel(loop, ends[1], &none, NULL), 0);
    while (proc_channel_post(ends[0], MESSAGE(.data = data, .size = 10000)) == 0) {
    }
    while (proc_channel_pending(ends[0]) > 0) {
        assert_true(proc_loop_step(loop, 0) >= 0);
    }
    assert_int_equal(proc_channel_post(ends[0], MESSAGE(.data = data, .size = 10000)), 0);
    proc_loop_free(loop);
    free_pair(ends);
}

/* ---- one descriptor, several who watch it ---- */

typedef struct watcher {
    proc_loop *loop;
    proc_child *victim; /* freed when it is told */
    int count;
    short revents;
} watcher;

static void see(int fd, short revents, void *ctx)
{
    watcher *w = ctx;

    (void)fd;
    w->count++;
    w->revents = revents;
    proc_child_free(w->victim);
    w->victim = NULL;
}

static void one_descriptor_may_cancel_children_and_be_watched_too(void **state)
{
    (void)state;
    int ends[2];
    proc_loop *loop = make_loop();
    events a = {.name = "a"};
    watcher w = {.loop = loop};

    make_pipe(ends);
    assert_int_equal(proc_loop_add_fd(loop, ends[0], POLLIN, see, &w), 0);
    proc_child *child = add_noted(loop, &a, KID("hang"), OPTIONS(.cancel_fd = ends[0], .err.kind = PROC_NULL));
    assert_int_equal(proc_loop_add_fd(loop, ends[0], POLLIN, see, &w), -EEXIST);
    assert_int_equal(proc_loop_remove_fd(loop, ends[0]), 0); /* the child's interest stays */
    assert_int_equal(proc_loop_remove_fd(loop, ends[0]), -ENOENT);
    close(ends[1]);
    run_loop(loop);

    assert_string_equal(a.log, "end1 [SIGTERM] close ");
    assert_int_equal(w.count, 0);
    proc_child_free(child);
    proc_loop_free(loop);
    close(ends[0]);
}

/* Who was added last is told first, and frees the one that would be told next. */
static void a_handler_may_free_who_is_told_next_of_the_same_descriptor(void **state)
{
    (void)state;
    int ends[2];
    proc_loop *loop = make_loop();
    events a = {.name = "a"};
    watcher w = {.loop = loop};

    make_pipe(ends);
    w.victim = add_noted(loop, &a, KID("hang"), OPTIONS(.cancel_fd = ends[0]));
    assert_true(proc_loop_step(loop, 0) >= 0);
    assert_int_equal(proc_loop_add_fd(loop, ends[0], POLLIN, see, &w), 0);
    close(ends[1]);
    assert_true(proc_loop_step(loop, IN_TIME) > 0);

    assert_int_equal(w.count, 1);
    assert_null(w.victim);
    assert_string_equal(a.log, "");
    proc_loop_free(loop);
    close(ends[0]);
}

/* poll tells of a number that is none, and would do so for ever; epoll forgets it without a word. */
static void a_descriptor_that_was_closed_under_the_loop_does_not_keep_it_busy(void **state)
{
    (void)state;
    int ends[2], rings = 0;
    proc_loop *loop = make_loop();
    watcher w = {.loop = loop};

    make_pipe(ends);
    assert_int_equal(proc_loop_add_fd(loop, ends[0], POLLIN, see, &w), 0);
    close(ends[0]);
    for (int i = 0; i < 3; i++) {
        rings += proc_loop_step(loop, 10);
    }

    if (POSIX_BUILD) {
        assert_int_equal(w.revents, POLLNVAL);
        assert_int_equal(w.count, 1);
        assert_int_equal(proc_loop_remove_fd(loop, ends[0]), -ENOENT);
    } else {
        assert_int_equal(w.count, 0);
        assert_int_equal(proc_loop_remove_fd(loop, ends[0]), 0);
    }
    assert_int_equal(rings, w.count);
    close(ends[1]);
    proc_loop_free(loop);
}

static void see_signal(int signal, void *ctx)
{
    (void)signal;
    ++*(int *)ctx;
}

static void ring(void *ctx)
{
    ++*(int *)ctx;
}

/* It is not made up for: one ring for all that was missed. */
static void a_timer_that_missed_its_times_goes_on_with_the_next(void **state)
{
    (void)state;
    int count = 0;
    proc_loop *loop = make_loop();

    assert_true(proc_loop_add_timer(loop, 5000, 5000, ring, &count) > 0);
    loop->timers.heap[1]->due -= INT64_C(60000) * 1000000; /* as if a minute had passed */
    assert_int_equal(proc_loop_step(loop, 0), 1);
    assert_int_equal(count, 1);
    int left = proc_loop_timeout(loop);
    assert_true(left > 0 && left <= 5000);
    assert_int_equal(proc_loop_step(loop, 0), 0);
    proc_loop_free(loop);
}

static void a_signal_that_came_wants_no_wait(void **state)
{
    (void)state;
    int count = 0;
    proc_loop *loop = make_loop();

    assert_int_equal(proc_loop_add_signal(loop, SIGUSR1, see_signal, &count), 0);
    assert_int_equal(proc_loop_timeout(loop), PROC_FOREVER);
    assert_int_equal(raise(SIGUSR1), 0);
    assert_int_equal(proc_loop_timeout(loop), 0);
    assert_int_equal(proc_loop_step(loop, PROC_FOREVER), 1);
    assert_int_equal(count, 1);
    assert_int_equal(proc_loop_timeout(loop), PROC_FOREVER);
    proc_loop_free(loop);
}

/* ---- input ---- */

typedef struct collected {
    char *data;
    size_t size, capacity;
} collected;

static void collect(proc_child *child, int stream, const void *data, size_t size, void *ctx)
{
    collected *c = ctx;

    (void)child;
    assert_true(stream == 1 || size == 0);
    assert_true(c->size + size <= c->capacity);
    memcpy(c->data + c->size, data, size);
    c->size += size;
}

/* The queue is moved, and then enlarged, with what waits in it. */
static void input_is_queued_behind_what_has_partly_gone(void **state)
{
    (void)state;
    static const proc_handlers collecting = {.on_output = collect};
    enum { FIRST = 300000, SECOND = 250000, THIRD = 400000, ALL = FIRST + SECOND + THIRD };
    collected c = {.data = keep(malloc(ALL)), .capacity = ALL};
    char *data = pattern_text(0, ALL);
    proc_loop *loop = make_loop();
    proc_child *child = start_piped(KID("cat"));

    assert_int_equal(proc_child_kill(child, SIGSTOP), 0);
    await_state(proc_child_pid(child), "T");
    assert_int_equal(proc_loop_add_child(loop, child, &collecting, &c), 0);
    assert_int_equal(proc_loop_write(loop, child, data, FIRST, false), 0);
    assert_true(proc_loop_step(loop, 0) >= 0); /* as much as the pipe takes */
    assert_int_equal(proc_loop_write(loop, child, data + FIRST, SECOND, false), 0);
    assert_int_equal(proc_loop_write(loop, child, data + FIRST + SECOND, THIRD, true), 0);
    assert_int_equal(proc_child_kill(child, SIGCONT), 0);
    run_loop(loop);

    assert_int_equal(c.size, ALL);
    assert_memory_equal(c.data, data, ALL);
    proc_child_free(child);
    proc_loop_free(loop);
}

static void more_input_than_there_is_memory_for_is_refused(void **state)
{
    (void)state;
    NOT_UNDER_VALGRIND();
    events e = {.name = "a"};
    proc_loop *loop = make_loop();
    proc_child *child = start_child(KID("cat"), OPTIONS(.in.kind = PROC_PIPE, .out.kind = PROC_PIPE));

    assert_int_equal(proc_loop_add_child(loop, child, &noting, &e), 0);
    assert_int_equal(proc_loop_write(loop, child, "hello", 5, false), 0);
    assert_int_equal(proc_loop_write(loop, child, "x", SSIZE_MAX, false), -ENOMEM);
    assert_int_equal(proc_loop_write(loop, child, " world", 6, true), 0);
    run_loop(loop);
    assert_string_equal(e.log, "drain out1=hello world end1 [exit 0] close ");
    proc_child_free(child);
    proc_loop_free(loop);
}

static void nothing_is_written_at_once(void **state)
{
    (void)state;
    events e = {.name = "a"};
    proc_loop *loop = make_loop();
    proc_child *child = start_child(KID("cat"), OPTIONS(.in.kind = PROC_PIPE));

    assert_int_equal(proc_loop_add_child(loop, child, &noting, &e), 0);
    assert_int_equal(proc_loop_write(loop, child, NULL, 0, false), 0);
    while (e.length == 0) {
        assert_true(proc_loop_step(loop, IN_TIME) >= 0);
    }
    assert_int_equal(proc_loop_write(loop, child, NULL, 0, true), 0);
    run_loop(loop);
    assert_string_equal(e.log, "drain drain [exit 0] close ");
    proc_child_free(child);
    proc_loop_free(loop);
}

static void input_of_a_child_without_handlers_is_written_all_the_same(void **state)
{
    (void)state;
    static const proc_handlers none = {.on_output = NULL};
    proc_status status;
    proc_loop *loop = make_loop();
    proc_child *child = start_piped(KID("count"));

    assert_int_equal(proc_loop_add_child(loop, child, &none, NULL), 0);
    assert_int_equal(proc_loop_write(loop, child, "hello", 5, true), 0);
    run_loop(loop);
    assert_int_equal(proc_child_wait(child, 0, &status), 0);
    assert_exited(status, 0);
    proc_child_free(child);
    proc_loop_free(loop);
}

/* ---- terminals ---- */

/* It is told as the stream that is written to it, and closing the input ends nothing there. */
static void a_terminal_for_input_and_errors_is_one_stream(void **state)
{
    (void)state;
    events e = {.name = "a"};
    proc_loop *loop = make_loop();
    const proc_stdio terminal = {.kind = PROC_PTY};
    proc_child *child = start_child(KID("noecho", "err", "ready", "readbyte", "0", "out", "done"),
                                    OPTIONS(.in = terminal, .out.kind = PROC_PIPE, .err = terminal));

    assert_int_equal(proc_loop_add_child(loop, child, &noting, &e), 0);
    while (strstr(e.log, "ready") == NULL) {
        assert_true(proc_loop_step(loop, IN_TIME) >= 0);
    }
    assert_int_equal(proc_loop_write(loop, child, "x\n", 2, true), 0);
    run_loop(loop);

    assert_non_null(strstr(e.log, "out2=ready "));
    assert_non_null(strstr(e.log, "drain "));
    assert_non_null(strstr(e.log, "out1=done "));
    assert_non_null(strstr(e.log, "end2 "));
    assert_null(strstr(e.log, "end0 "));
    assert_non_null(strstr(e.log, "[exit 0] close "));
    proc_child_free(child);
    proc_loop_free(loop);
}

static void a_terminal_for_input_alone_ends_as_input(void **state)
{
    (void)state;
    events e = {.name = "a"};
    proc_loop *loop = make_loop();
    proc_child *child = start_child(KID("out", "x"), OPTIONS(.in.kind = PROC_PTY, .out.kind = PROC_PIPE));

    assert_int_equal(proc_loop_add_child(loop, child, &noting, &e), 0);
    run_loop(loop);
    assert_non_null(strstr(e.log, "out1=x "));
    assert_non_null(strstr(e.log, "end0 "));
    assert_non_null(strstr(e.log, "end1 "));
    assert_non_null(strstr(e.log, "[exit 0] "));
    proc_child_free(child);
    proc_loop_free(loop);
}

static void communicate_reads_a_terminal_for_input_and_errors_as_errors(void **state)
{
    (void)state;
    const proc_stdio terminal = {.kind = PROC_PTY};
    proc_result result;
    proc_child *child = start_child(KID("err", "wrong", "out", "right"),
                                    OPTIONS(.in = terminal, .out.kind = PROC_PIPE, .err = terminal));

    assert_int_equal(proc_child_communicate(child, NULL, &result), 0);
    keep_result(&result);
    assert_string_equal(result.out, "right");
    assert_string_equal(result.err, "wrong");
    proc_child_free(child);
}

/* ---- after the end ---- */

static void cancel_ends_the_wait_for_who_holds_the_streams_of_a_dead_child(void **state)
{
    (void)state;
    int ends[2];
    lifeline line = lifeline_make();
    events e = {.name = "a"};
    proc_loop *loop = make_loop();

    make_pipe(ends);
    proc_child *child = add_noted(loop, &e, KID("grandchild", "ready", "5", "hang", "--", "exit", "4"),
                                  OPTIONS(HOLDS(line), .cancel_fd = ends[0], .group = PROC_GROUP_OWN));
    lifeline_await_ready(&line);
    while (strstr(e.log, "[exit 4]") == NULL) {
        assert_true(proc_loop_step(loop, IN_TIME) >= 0);
    }
    assert_null(strstr(e.log, "close"));
    close(ends[1]);
    run_loop(loop);

    assert_string_equal(e.log, "[exit 4] end1 end2 close ");
    assert_int_equal(kill(-proc_child_pid(child), SIGKILL), 0); /* it was not ours to end */
    lifeline_await_end(&line);
    proc_child_free(child);
    proc_loop_free(loop);
    close(ends[0]);
}

/* What a worker's grandchild holds is the output alone: the channel ended with the worker. */
static void cancel_gives_up_the_output_of_a_dead_worker(void **state)
{
    (void)state;
    int ends[2];
    lifeline line = lifeline_make();
    events e = {.name = "a"};
    proc_child *child;
    proc_loop *loop = make_loop();

    make_pipe(ends);
    assert_int_equal(
        proc_fork(&child, KID("grandchild", "ready", "5", "hang", "--", "exit", "4"),
                  OPTIONS(HOLDS(line), .cancel_fd = ends[0], .out.kind = PROC_PIPE, .group = PROC_GROUP_OWN)),
        0);
    assert_int_equal(proc_loop_add_child(loop, child, &noting, &e), 0);
    lifeline_await_ready(&line);
    while (strstr(e.log, "[exit 4]") == NULL) {
        assert_true(proc_loop_step(loop, IN_TIME) >= 0);
    }
    close(ends[1]);
    run_loop(loop);

    assert_string_equal(e.log, "disconnect=0 [exit 4] end1 close ");
    assert_int_equal(kill(-proc_child_pid(child), SIGKILL), 0);
    lifeline_await_end(&line);
    proc_child_free(child);
    proc_loop_free(loop);
    close(ends[0]);
}

static void free_at_output(proc_child *child, int stream, const void *data, size_t size, void *ctx)
{
    (void)stream;
    (void)data;
    assert_int_equal(size, 1);
    ++*(int *)ctx;
    proc_child_free(child);
}

static void told_in_vain(proc_child *child, const proc_status *status, void *ctx)
{
    (void)child;
    (void)status;
    *(int *)ctx = -1;
}

/* Its time is over when the loop comes to look: its end is noticed before its output is. */
static void a_child_that_ended_in_time_may_be_freed_at_its_last_output(void **state)
{
    (void)state;
    static const proc_handlers freeing = {
        .on_output = free_at_output, .on_exit = told_in_vain, .on_close = told_in_vain};
    int count = 0;
    proc_loop *loop = make_loop();
    proc_child *child = start_child(KID("out", "x"), OPTIONS(.out.kind = PROC_PIPE, .timeout_ms = 30000));

    await_state(proc_child_pid(child), "Z");
    child->life.timeout_at = 1; /* long ago */
    assert_int_equal(proc_loop_add_child(loop, child, &freeing, &count), 0);
    run_loop(loop);

    assert_int_equal(count, 1);
    proc_loop_free(loop);
}

typedef struct reader {
    proc_child *other;
    int outputs, ends;
} reader;

/* What the other child has said is taken from under the loop. */
static void read_of_other(proc_child *child, int stream, const void *data, size_t size, void *ctx)
{
    reader *r = ctx;
    char byte;

    (void)child;
    (void)data;
    r->outputs += size > 0;
    r->ends += size == 0;
    if (size > 0) {
        assert_int_equal(proc_child_read(r->other, stream, &byte, 1, 0), 1);
    }
}

static void output_that_a_handler_has_read_by_itself_is_no_end(void **state)
{
    (void)state;
    static const proc_handlers reading = {.on_output = read_of_other};
    proc_loop *loop = make_loop();
    proc_child *children[2];
    reader readers[2] = {{.outputs = 0}, {.outputs = 0}};

    for (int i = 0; i < 2; i++) {
        children[i] =
            start_child(KID("out", "x", "readbyte", "0"), OPTIONS(.in.kind = PROC_PIPE, .out.kind = PROC_PIPE));
        int fd = proc_child_fd(children[i], 1);
        assert_int_equal(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK), 0);
        assert_int_equal(poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, IN_TIME), 1);
    }
    for (int i = 0; i < 2; i++) {
        readers[i].other = children[1 - i];
        assert_int_equal(proc_loop_add_child(loop, children[i], &reading, &readers[i]), 0);
    }
    assert_int_equal(proc_loop_step(loop, IN_TIME), 1); /* both are ready, and one is told */
    assert_int_equal(readers[0].outputs + readers[1].outputs, 1);
    assert_int_equal(readers[0].ends + readers[1].ends, 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(proc_child_write(children[i], "x", 1, PROC_FOREVER), 1);
    }
    run_loop(loop);

    assert_int_equal(readers[0].ends, 1);
    assert_int_equal(readers[1].ends, 1);
    for (int i = 0; i < 2; i++) {
        proc_child_free(children[i]);
    }
    proc_loop_free(loop);
}

/* ---- loops that go while they are at it ---- */

typedef struct freer {
    proc_loop *loop;
    int calls, err;
} freer;

static void free_loop_twice(int err, proc_result *result, void *ctx)
{
    freer *f = ctx;

    (void)result;
    f->calls++;
    f->err = err;
    proc_loop_free(f->loop);
    assert_int_equal(proc_loop_step(f->loop, 0), -EINVAL);
    assert_int_equal(proc_loop_add_timer(f->loop, 0, 0, free, NULL), -EINVAL);
    proc_loop_free(f->loop);
}

static void a_command_that_ends_with_its_loop_may_free_that_again(void **state)
{
    (void)state;
    freer killed = {.loop = make_loop()}, done = {.loop = make_loop()};

    assert_int_equal(proc_loop_execfile(killed.loop, KID("hang"), NULL, free_loop_twice, &killed), 0);
    proc_loop_free(killed.loop);
    assert_int_equal(killed.calls, 1);
    assert_int_equal(killed.err, -ECANCELED);

    assert_int_equal(proc_loop_execfile(done.loop, KID("exit", "3"), NULL, free_loop_twice, &done), 0);
    assert_int_equal(proc_loop_run(done.loop, IN_TIME), 0);
    assert_int_equal(done.calls, 1);
    assert_int_equal(done.err, 0);
}

static const struct CMUnitTest tests[] = {
    TEST(a_channel_over_two_pipes_sends_more_than_they_hold),
    TEST(on_room_tells_of_the_smallest_that_was_refused),
    TEST(a_refused_post_wants_no_handler),
    TEST(one_descriptor_may_cancel_children_and_be_watched_too),
    TEST(a_handler_may_free_who_is_told_next_of_the_same_descriptor),
    TEST(a_descriptor_that_was_closed_under_the_loop_does_not_keep_it_busy),
    TEST(a_timer_that_missed_its_times_goes_on_with_the_next),
    TEST(a_signal_that_came_wants_no_wait),
    TEST(input_is_queued_behind_what_has_partly_gone),
    TEST(more_input_than_there_is_memory_for_is_refused),
    TEST(nothing_is_written_at_once),
    TEST(a_terminal_for_input_alone_ends_as_input),
    TEST(input_of_a_child_without_handlers_is_written_all_the_same),
    TEST(a_terminal_for_input_and_errors_is_one_stream),
    TEST(communicate_reads_a_terminal_for_input_and_errors_as_errors),
    TEST(cancel_ends_the_wait_for_who_holds_the_streams_of_a_dead_child),
    TEST(cancel_gives_up_the_output_of_a_dead_worker),
    TEST(a_child_that_ended_in_time_may_be_freed_at_its_last_output),
    TEST(output_that_a_handler_has_read_by_itself_is_no_end),
    TEST(a_command_that_ends_with_its_loop_may_free_that_again),
};

HARNESS_MAIN(tests)
