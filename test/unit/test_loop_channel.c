/*
 * Channels in a loop: messages, room, the end, and other threads that use them meanwhile.
 */
#include "events.h"
#include "lifeline.h"

#include <pthread.h>
#include <sys/socket.h>

#include "channel.h"

static void add_channel(proc_loop *loop, proc_channel *c, const proc_handlers *handlers, void *ctx)
{
    assert_int_equal(proc_loop_add_channel(loop, c, handlers, ctx), 0);
}

static void messages_and_the_end_are_told_in_order(void **state)
{
    (void)state;
    proc_loop *loop = make_loop();
    events e = {.length = 0};
    proc_channel *ends[2];

    make_pair(ends, NULL);
    for (uint32_t i = 0; i < 5; i++) {
        assert_int_equal(proc_channel_send(ends[1], MESSAGE(.type = i), 0), 0);
    }
    add_channel(loop, ends[0], &noting, &e);
    assert_int_equal(proc_loop_add_channel(loop, ends[0], &noting, &e), -EEXIST);
    assert_int_equal(proc_loop_run(loop, 20), -ETIMEDOUT);
    proc_channel_free(ends[1]);
    run_loop(loop);
    assert_string_equal(e.log, "message=0 message=1 message=2 message=3 message=4 disconnect=0 ");
    proc_channel_free(ends[0]);
    proc_loop_free(loop);
}

static void shutting_down_is_an_end_too_and_replies_still_go(void **state)
{
    (void)state;
    proc_loop *loop = make_loop();
    events e = {.length = 0};
    proc_channel *ends[2];
    proc_message request;

    make_pair(ends, NULL);
    ask(ends[0], 7);
    request = expect_request(ends[1]);
    assert_int_equal(proc_channel_shutdown(ends[1]), 0);
    add_channel(loop, ends[0], &noting, &e);
    assert_int_equal(proc_loop_run(loop, 20), -ETIMEDOUT); /* a reply is to come */
    assert_string_equal(e.log, "");
    assert_int_equal(proc_channel_reply(ends[1], &request, ANSWER(.type = 8), 0), 0);
    run_loop(loop);
    assert_string_equal(e.log, "message=8 disconnect=0 ");
    free_pair(ends);
    proc_loop_free(loop);
}

static void a_broken_protocol_is_the_reason_of_the_end(void **state)
{
    (void)state;
    proc_loop *loop = make_loop();
    events e = {.length = 0};
    raw r;

    raw_meet(&r, NULL);
    add_channel(loop, r.channel, &noting, &e);
    raw_write(&r, "nonsense nonsense nonsense", 26);
    run_loop(loop);
    assert_string_equal(e.log, text("disconnect=%d ", -EPROTO));
    raw_end(&r);
    proc_loop_free(loop);
}

static void a_hello_that_came_in_time_is_not_late_when_the_loop_is(void **state)
{
    (void)state;
    proc_loop *loop = make_loop();
    events e = {.length = 0};
    raw r;

    raw_begin(&r, CHANNEL_OPTIONS(.hello_ms = 20));
    add_channel(loop, r.channel, &noting, &e);
    raw_hello(&r);
    raw_frame(&r, (frame){.kind = FRAME_MESSAGE, .type = 3}, NULL);
    let_pass(40);
    assert_int_equal(proc_loop_run(loop, 20), -ETIMEDOUT);
    assert_string_equal(e.log, "message=3 ");
    raw_end(&r);
    proc_loop_free(loop);
}

static void an_end_that_never_says_hello_is_given_up_in_time(void **state)
{
    (void)state;
    proc_loop *loop = make_loop();
    events e = {.length = 0};
    raw r;

    raw_begin(&r, CHANNEL_OPTIONS(.hello_ms = 30));
    add_channel(loop, r.channel, &noting, &e);
    run_loop(loop);
    assert_string_equal(e.log, text("disconnect=%d ", -EPROTO));
    raw_end(&r);
    proc_loop_free(loop);
}

static void requests_that_nobody_handles_are_answered(void **state)
{
    (void)state;
    static const proc_handlers none;
    proc_loop *loop = make_loop();
    proc_channel *ends[2];

    make_pair(ends, NULL);
    add_channel(loop, ends[0], &none, NULL);
    assert_int_equal(proc_channel_send(ends[1], MESSAGE(.type = 1), 0), 0); /* dropped */
    int64_t id = ask(ends[1], 2);
    while (proc_channel_timeout(ends[1]) != 0) {
        assert_true(proc_loop_step(loop, 100) >= 0);
        (void)proc_channel_cancelled(ends[1], MESSAGE(.type = 0)); /* reads what is there */
    }
    proc_message reply = expect_reply(ends[1], id, PROC_REPLY | PROC_FAILURE);
    assert_int_equal(reply.type, ENOSYS);
    free_pair(ends);
    proc_loop_free(loop);
}

/* ---- room ---- */

typedef struct flooder {
    uint32_t next, goal;
    int refusals, rooms;
    char *bytes;
} flooder;

static void flood(proc_channel *c, void *ctx)
{
    flooder *f = ctx;

    f->rooms++;
    while (f->next < f->goal) {
        int err = proc_channel_post(c, MESSAGE(.type = f->next, .data = f->bytes, .size = 10000));
        if (err == -EAGAIN) {
            f->refusals++;
            return;
        }
        assert_int_equal(err, 0);
        f->next++;
    }
    assert_int_equal(proc_channel_shutdown(c), 0);
}

static void count_message(proc_channel *c, proc_message *m, void *ctx)
{
    uint32_t *count = ctx;

    (void)c;
    assert_int_equal(m->type, *count);
    assert_int_equal(m->size, 10000);
    (*count)++;
}

static void post_is_refused_at_the_mark_and_on_room_tells_when_to_go_on(void **state)
{
    (void)state;
    static const proc_handlers flooding = {.on_room = flood}, counting = {.on_message = count_message};
    proc_loop *loop = make_loop();
    flooder f = {.goal = 2000, .bytes = pattern(10000)};
    uint32_t count = 0;
    proc_channel *ends[2];

    make_pair(ends, NULL);
    add_channel(loop, ends[0], &flooding, &f);
    add_channel(loop, ends[1], &counting, &count);
    flood(ends[0], &f);
    assert_true(f.next < f.goal);
    while (count < f.goal) {
        assert_true(proc_loop_step(loop, IN_TIME) >= 0);
    }
    assert_true(f.refusals > 1);
    free_pair(ends);
    proc_loop_free(loop);
}

/* What makes room need not be an event of the loop's: a thread that flushes reads what the other end acknowledges. */
static void on_room_comes_when_another_call_has_made_the_room(void **state)
{
    (void)state;
    proc_loop *loop = make_loop();
    events e = {.length = 0};
    proc_channel *ends[2];

    make_pair(ends, NULL);
    add_channel(loop, ends[0], &noting, &e);
    while (proc_loop_run(loop, 0) != -ETIMEDOUT || proc_loop_timeout(loop) == 0) {
    }
    ends[0]->refused = true; /* a post was, and all that waited then has gone since */
    assert_int_equal(proc_channel_flush(ends[0], 0), 0);
    for (int i = 0; i < 5 && e.length == 0; i++) {
        assert_true(proc_loop_step(loop, 1000) >= 0);
    }
    assert_string_equal(e.log, "room ");
    free_pair(ends);
    proc_loop_free(loop);
}

/* ---- descriptors ---- */

static int taken;

static void take_first(proc_channel *c, proc_message *m, void *ctx)
{
    (void)c;
    *(size_t *)ctx = m->fd_count;
    taken = proc_message_take_fd(m, 0);
}

static void descriptors_that_a_handler_does_not_take_are_closed(void **state)
{
    (void)state;
    static const proc_handlers taking = {.on_message = take_first};
    proc_loop *loop = make_loop();
    proc_channel *ends[2];
    size_t came = 0, before;
    int fds[2];

    make_pair(ends, CHANNEL_OPTIONS(.max_fds = 2));
    make_pipe(fds);
    add_channel(loop, ends[0], &taking, &came);
    before = count_open();
    assert_int_equal(proc_channel_send(ends[1], MESSAGE(.fds = fds, .fd_count = 2), 0), 0);
    while (came == 0) {
        assert_true(proc_loop_step(loop, IN_TIME) >= 0);
    }
    assert_int_equal(came, 2);
    assert_true(taken >= 3);
    assert_int_equal(count_open(), before + 1);
    close(taken);
    close(fds[0]);
    close(fds[1]);
    free_pair(ends);
    proc_loop_free(loop);
}

/* ---- other threads ---- */

static void *post_later(void *arg)
{
    proc_channel *c = arg;
    struct timespec moment = {.tv_nsec = 20000000};

    nanosleep(&moment, NULL); /* the loop waits by then, or will */
    return (void *)(intptr_t)proc_channel_post(c, MESSAGE(.type = 3));
}

static void a_post_from_another_thread_wakes_the_loop(void **state)
{
    (void)state;
    proc_loop *loop = make_loop();
    events a = {.length = 0}, b = {.length = 0};
    proc_channel *ends[2];
    pthread_t thread;
    void *result;

    make_pair(ends, NULL);
    add_channel(loop, ends[0], &noting, &a);
    add_channel(loop, ends[1], &noting, &b);
    assert_int_equal(pthread_create(&thread, NULL, post_later, ends[0]), 0);
    while (b.length == 0) {
        assert_true(proc_loop_step(loop, IN_TIME) >= 0);
    }
    assert_string_equal(b.log, "message=3 ");
    pthread_join(thread, &result);
    assert_null(result);
    free_pair(ends);
    proc_loop_free(loop);
}

typedef struct caller {
    proc_channel *channel;
    int failed;
} caller;

static void *call_many(void *arg)
{
    caller *c = arg;

    for (uint32_t i = 0; i < 500; i++) {
        proc_message reply;
        int err = proc_channel_call(c->channel, MESSAGE(.type = i), &reply, IN_TIME);
        c->failed += err != 0 || reply.type != i + 1;
        proc_message_clear(&reply);
    }
    return NULL;
}

static void answer_next(proc_channel *c, proc_message *m, void *ctx)
{
    (void)ctx;
    if ((m->flags & PROC_REQUEST) != 0) {
        assert_int_equal(proc_channel_reply(c, m, ANSWER(.type = m->type + 1), 0), 0);
        assert_int_equal(proc_channel_post(c, MESSAGE(.type = 77)), 0); /* something to be kept for the loop */
    }
}

static void count_any(proc_channel *c, proc_message *m, void *ctx)
{
    (void)c;
    (void)m;
    ++*(int *)ctx;
}

static void threads_call_over_a_channel_that_is_in_the_loop(void **state)
{
    (void)state;
    static const proc_handlers answering = {.on_message = answer_next}, counting = {.on_message = count_any};
    proc_loop *loop = make_loop();
    proc_channel *ends[2];
    pthread_t threads[4];
    caller callers[4];
    int count = 0;

    make_pair(ends, NULL);
    add_channel(loop, ends[0], &counting, &count);
    add_channel(loop, ends[1], &answering, NULL);
    for (size_t i = 0; i < COUNT(threads); i++) {
        callers[i] = (caller){.channel = ends[0]};
        assert_int_equal(pthread_create(&threads[i], NULL, call_many, &callers[i]), 0);
    }
    while (count < 2000) {
        assert_true(proc_loop_step(loop, IN_TIME) >= 0);
    }
    for (size_t i = 0; i < COUNT(threads); i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(callers[i].failed, 0);
    }
    assert_int_equal(count, 2000);
    free_pair(ends);
    proc_loop_free(loop);
}

/* ---- fairness ---- */

typedef struct conversation {
    proc_loop *loop;
    int messages;
    events child;
} conversation;

static void pong(proc_channel *c, proc_message *m, void *ctx)
{
    conversation *talk = ctx;

    talk->messages++;
    assert_int_equal(proc_channel_post(c, MESSAGE(.type = m->type)), 0);
}

static void stop_when_all_had_their_turn(void *ctx)
{
    conversation *talk = ctx;

    if (talk->messages > 1000 && strstr(talk->child.log, "close ") != NULL) {
        proc_loop_stop(talk->loop);
    }
}

static void an_endless_conversation_starves_neither_timers_nor_children(void **state)
{
    (void)state;
    static const proc_handlers ponging = {.on_message = pong};
    proc_loop *loop = make_loop();
    conversation talk = {.loop = loop};
    proc_channel *ends[2];

    make_pair(ends, NULL);
    add_channel(loop, ends[0], &ponging, &talk);
    add_channel(loop, ends[1], &ponging, &talk);
    for (int i = 0; i < 50; i++) {
        assert_int_equal(proc_channel_post(ends[0], MESSAGE(.type = 1)), 0);
    }
    proc_child *child = add_noted(loop, &talk.child, KID("out", "heard", "exit", "0"), NULL);
    proc_child *loud = start_child(ARGV("yes"), OPTIONS(.out.kind = PROC_PIPE));
    static const proc_handlers none;
    assert_int_equal(proc_loop_add_child(loop, loud, &none, NULL), 0);
    assert_true(proc_loop_add_timer(loop, 100, 10, stop_when_all_had_their_turn, &talk) > 0);
    run_loop(loop); /* which fails when its time is over */
    assert_non_null(strstr(talk.child.log, "out1=heard"));
    proc_child_free(child);
    proc_child_free(loud);
    free_pair(ends);
    proc_loop_free(loop);
}

/* ---- a worker ---- */

static int send_and_exit(proc_channel *parent, void *arg)
{
    char *bytes = calloc(1, 1024 * 1024);

    (void)arg;
    (void)!write(1, "o", 1);
    for (uint32_t i = 0; i < 3; i++) {
        if (proc_channel_send(parent, MESSAGE(.type = i, .data = bytes, .size = 1024 * 1024), IN_TIME) < 0) {
            return 9;
        }
    }
    free(bytes);
    return 4;
}

static void what_a_worker_sent_comes_before_its_exit(void **state)
{
    (void)state;
    proc_loop *loop = make_loop();
    events e = {.length = 0};
    proc_child *child;

    assert_int_equal(proc_fork_call(&child, send_and_exit, NULL, OPTIONS(.out.kind = PROC_PIPE)), 0);
    assert_int_equal(proc_loop_add_child(loop, child, &noting, &e), 0);
    run_loop(loop);
    const char *exit_at = strstr(e.log, "[exit 4] ");
    assert_non_null(exit_at);
    for (int i = 0; i < 3; i++) {
        const char *at = strstr(e.log, text("message=%d ", i));
        assert_true(at != NULL && at < exit_at);
    }
    assert_true(strstr(e.log, "out1=o") < exit_at);
    assert_string_equal(e.log + e.length - 6, "close ");
    assert_non_null(strstr(e.log, "disconnect=0 "));
    proc_child_free(child);
    proc_loop_free(loop);
}

static int leave_somebody(proc_channel *parent, void *arg)
{
    char byte;
    const int *gate = arg;

    if (proc_channel_send(parent, MESSAGE(.type = 1), IN_TIME) < 0) {
        return 1;
    }
    if (fork() == 0) {
        while (read(gate[0], &byte, 1) > 0) {
        }
        _exit(0);
    }
    return 6;
}

static void a_worker_whose_grandchild_holds_the_channel_is_closed_all_the_same(void **state)
{
    (void)state;
    proc_loop *loop = make_loop();
    events e = {.length = 0};
    proc_child *child;
    int gate[2], inner[2];

    make_pipe(gate);
    inner[0] = 9;
    const proc_fd_map map = {.child = 9, .parent = gate[0]};
    assert_int_equal(proc_fork_call(&child, leave_somebody, inner, OPTIONS(.fds = &map, .fd_count = 1)), 0);
    assert_int_equal(proc_loop_add_child(loop, child, &noting, &e), 0);
    run_loop(loop);
    assert_string_equal(e.log, "message=1 disconnect=0 [exit 6] close ");
    close(gate[0]);
    close(gate[1]);
    proc_child_free(child);
    proc_loop_free(loop);
}

static void a_channel_without_its_child_ends_with_it_too(void **state)
{
    (void)state;
    proc_loop *loop = make_loop();
    events e = {.length = 0};
    proc_child *child;
    int gate[2], inner[2];

    make_pipe(gate);
    inner[0] = 9;
    const proc_fd_map map = {.child = 9, .parent = gate[0]};
    assert_int_equal(proc_fork_call(&child, leave_somebody, inner, OPTIONS(.fds = &map, .fd_count = 1)), 0);
    add_channel(loop, proc_child_channel(child), &noting, &e);
    run_loop(loop);
    assert_string_equal(e.log, "message=1 disconnect=0 ");
    close(gate[0]);
    close(gate[1]);
    assert_int_equal(proc_child_wait(child, IN_TIME, NULL), 0);
    proc_child_free(child);
    proc_loop_free(loop);
}

static void pausing_a_channel_loses_nothing(void **state)
{
    (void)state;
    proc_loop *loop = make_loop();
    events e = {.length = 0};
    proc_channel *ends[2];

    make_pair(ends, NULL);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(proc_channel_send(ends[1], MESSAGE(.type = i), 0), 0);
    }
    add_channel(loop, ends[0], &noting, &e);
    assert_int_equal(proc_loop_remove_channel(loop, ends[0]), 0);
    assert_int_equal(proc_loop_remove_channel(loop, ends[0]), -ENOENT);
    assert_int_equal(proc_loop_step(loop, 0), 0);
    expect_message(ends[0], 0, NULL, 0);
    add_channel(loop, ends[0], &noting, &e);
    while (strstr(e.log, "message=2") == NULL) {
        assert_true(proc_loop_step(loop, IN_TIME) >= 0);
    }
    assert_string_equal(e.log, "message=1 message=2 ");
    free_pair(ends);
    proc_loop_free(loop);
}

static const struct CMUnitTest tests[] = {
    TEST(messages_and_the_end_are_told_in_order),
    TEST(shutting_down_is_an_end_too_and_replies_still_go),
    TEST(a_broken_protocol_is_the_reason_of_the_end),
    TEST(a_hello_that_came_in_time_is_not_late_when_the_loop_is),
    TEST(an_end_that_never_says_hello_is_given_up_in_time),
    TEST(requests_that_nobody_handles_are_answered),
    TEST(post_is_refused_at_the_mark_and_on_room_tells_when_to_go_on),
    TEST(on_room_comes_when_another_call_has_made_the_room),
    TEST(descriptors_that_a_handler_does_not_take_are_closed),
    TEST(a_post_from_another_thread_wakes_the_loop),
    TEST(threads_call_over_a_channel_that_is_in_the_loop),
    TEST(an_endless_conversation_starves_neither_timers_nor_children),
    TEST(what_a_worker_sent_comes_before_its_exit),
    TEST(a_worker_whose_grandchild_holds_the_channel_is_closed_all_the_same),
    TEST(a_channel_without_its_child_ends_with_it_too),
    TEST(pausing_a_channel_loses_nothing),
};

HARNESS_MAIN(tests)
