/*
 * What handlers may do: every handler there is, with every action, while all kinds of objects are in the loop. What was
 * freed or removed must not be heard of again.
 */
#include "events.h"

#include <poll.h>

typedef enum where {
    IN_OUTPUT,
    IN_DRAIN,
    IN_MESSAGE,
    IN_ROOM,
    IN_DISCONNECT,
    IN_EXIT,
    IN_CLOSE,
    IN_TIMER,
    IN_FD,
    IN_SIGNAL,
    IN_RESULT,
    PLACES
} where;

typedef enum action {
    FREE_OWN,
    REMOVE_OWN,
    FREE_OTHER,
    REMOVE_OTHER,
    FREE_CHANNEL_S_CHILD,
    REMOVE_CHANNEL,
    CLOSE_STREAMS,
    REMOVE_ALL_OF_THE_HOST,
    ADD_MORE,
    STOP_LOOP,
    WAIT_FOR_ANOTHER,
    RUN_LOOP,
    FREE_ALL,
    FREE_LOOP,
    ACTIONS
} action;

static struct {
    where where;
    action action;
    int done; /* 1: the action was taken, 2: and what it added has rung */
    bool removed[2];
    proc_loop *loop;
    proc_child *children[2];
    int timer, fd[2];
    bool timer_gone, fd_gone, signal_gone;
} scene;

static const proc_handlers acting;

static void added_rang(void *ctx)
{
    (void)ctx;
    scene.done = 2;
}

static void drop_child(int i)
{
    proc_child_free(scene.children[i]);
    scene.children[i] = NULL;
}

static void remove_one(int i)
{
    int err = scene.children[i] == NULL ? 0 : proc_loop_remove_child(scene.loop, scene.children[i]);
    assert_true(err == 0 || err == -ENOENT);
    scene.removed[i] = true;
}

static void remove_host(void)
{
    int err = proc_loop_remove_timer(scene.loop, scene.timer);
    assert_true(err == 0 || err == -ENOENT);
    err = proc_loop_remove_fd(scene.loop, scene.fd[0]);
    assert_true(err == 0 || err == -ENOENT);
    err = proc_loop_remove_signal(scene.loop, SIGUSR1);
    assert_true(err == 0 || err == -ENOENT);
    scene.timer_gone = scene.fd_gone = scene.signal_gone = true;
}

static void wait_for_another(void)
{
    proc_result result;

    assert_int_equal(proc_execfile(&result, KID("out", "x", "exit", "3"), NULL), 0);
    assert_int_equal(result.status.code, 3);
    proc_result_clear(&result);
}

static void take_action(int own)
{
    int other = !own;

    switch (scene.action) {
    case FREE_OWN:
        drop_child(own);
        break;
    case REMOVE_OWN:
        remove_one(own);
        break;
    case FREE_OTHER:
        drop_child(other);
        break;
    case REMOVE_OTHER:
        remove_one(other);
        break;
    case FREE_CHANNEL_S_CHILD:
        drop_child(0);
        break;
    case REMOVE_CHANNEL:
        if (scene.children[0] != NULL) {
            (void)proc_loop_remove_channel(scene.loop, proc_child_channel(scene.children[0]));
        }
        break;
    case CLOSE_STREAMS:
        for (int stream = 0; stream < 3; stream++) {
            (void)proc_child_close(scene.children[own], stream);
            (void)proc_child_close(scene.children[other], stream);
        }
        break;
    case REMOVE_ALL_OF_THE_HOST:
        remove_host();
        break;
    case ADD_MORE:
        assert_true(proc_loop_add_timer(scene.loop, 0, 0, added_rang, NULL) > 0);
        break;
    case STOP_LOOP:
        proc_loop_stop(scene.loop);
        break;
    case WAIT_FOR_ANOTHER:
        wait_for_another();
        break;
    case RUN_LOOP:
        assert_int_equal(proc_loop_run(scene.loop, 0), -EBUSY);
        assert_int_equal(proc_loop_step(scene.loop, 0), -EBUSY);
        break;
    case FREE_ALL:
        drop_child(0);
        drop_child(1);
        remove_host();
        break;
    case FREE_LOOP:
        proc_loop_free(scene.loop);
        scene.loop = NULL;
        break;
    case ACTIONS:
        break;
    }
}

static int index_of(const proc_child *child)
{
    assert_non_null(child);
    int i = child == scene.children[1];
    assert_ptr_equal(child, scene.children[i]);
    assert_false(scene.removed[i]);
    return i;
}

static void at(where here, int own)
{
    assert_non_null(scene.loop);
    if (here == scene.where && scene.done == 0) {
        scene.done = 1;
        take_action(own);
    }
}

static void in_output(proc_child *child, int stream, const void *data, size_t size, void *ctx)
{
    (void)stream;
    (void)data;
    (void)size;
    (void)ctx;
    at(IN_OUTPUT, index_of(child));
}

static void in_drain(proc_child *child, void *ctx)
{
    (void)ctx;
    at(IN_DRAIN, index_of(child));
}

static void in_message(proc_channel *channel, proc_message *message, void *ctx)
{
    (void)message;
    (void)ctx;
    assert_ptr_equal(channel, proc_child_channel(scene.children[0]));
    at(IN_MESSAGE, 0);
}

static void in_room(proc_channel *channel, void *ctx)
{
    (void)ctx;
    assert_ptr_equal(channel, proc_child_channel(scene.children[0]));
    at(IN_ROOM, 0);
}

static void in_disconnect(proc_channel *channel, int reason, void *ctx)
{
    (void)ctx;
    assert_int_equal(reason, 0);
    assert_ptr_equal(channel, proc_child_channel(scene.children[0]));
    at(IN_DISCONNECT, 0);
}

static void in_exit(proc_child *child, const proc_status *status, void *ctx)
{
    (void)status;
    (void)ctx;
    at(IN_EXIT, index_of(child));
}

static void in_close(proc_child *child, const proc_status *status, void *ctx)
{
    (void)status;
    (void)ctx;
    at(IN_CLOSE, index_of(child));
}

static const proc_handlers acting = {
    .on_output = in_output,
    .on_drain = in_drain,
    .on_message = in_message,
    .on_room = in_room,
    .on_disconnect = in_disconnect,
    .on_exit = in_exit,
    .on_close = in_close,
};

static void in_timer(void *ctx)
{
    (void)ctx;
    assert_false(scene.timer_gone);
    at(IN_TIMER, 0);
}

static void in_fd(int fd, short revents, void *ctx)
{
    (void)revents;
    (void)ctx;
    assert_false(scene.fd_gone);
    at(IN_FD, 0);
    if (!scene.fd_gone && scene.loop != NULL) {
        assert_int_equal(proc_loop_remove_fd(scene.loop, fd), 0);
        scene.fd_gone = true;
    }
}

static void in_signal(int signal, void *ctx)
{
    (void)ctx;
    assert_int_equal(signal, SIGUSR1);
    assert_false(scene.signal_gone);
    at(IN_SIGNAL, 0);
}

static void in_result(int err, proc_result *result, void *ctx)
{
    (void)result;
    (void)ctx;
    if (err != -ECANCELED) {
        at(IN_RESULT, 0);
    }
}

static int talk(proc_channel *parent, void *arg)
{
    proc_message m;

    (void)arg;
    (void)!write(1, "output", 6);
    for (uint32_t i = 0; i < 3; i++) {
        (void)proc_channel_send(parent, MESSAGE(.type = i), IN_TIME);
    }
    while (proc_channel_recv(parent, &m, IN_TIME) == 0 && m.type != 9) {
    }
    return 5;
}

static void set_scene(where here, action what)
{
    char *bytes = keep(calloc(1, 1024));

    memset(&scene, 0, sizeof scene);
    scene.where = here;
    scene.action = what;
    scene.loop = make_loop();
    fflush(stdout);
    assert_int_equal(proc_fork_call(&scene.children[0], talk, NULL,
                                    OPTIONS(.in.kind = PROC_NULL, .out.kind = PROC_PIPE,
                                            .channel = CHANNEL_OPTIONS(.high_water = 2048))),
                     0);
    scene.children[1] = start_piped(KID("cat", "exit", "2"));
    for (int i = 0; i < 2; i++) {
        assert_int_equal(proc_loop_add_child(scene.loop, scene.children[i], &acting, NULL), 0);
    }
    proc_channel *c = proc_child_channel(scene.children[0]);
    while (proc_channel_post(c, MESSAGE(.data = bytes, .size = 1024)) == 0) {
    }
    assert_int_equal(proc_loop_write(scene.loop, scene.children[1], "input", 5, true), 0);
    make_pipe(scene.fd);
    assert_int_equal(write(scene.fd[1], "x", 1), 1);
    assert_int_equal(proc_loop_add_fd(scene.loop, scene.fd[0], POLLIN, in_fd, NULL), 0);
    scene.timer = proc_loop_add_timer(scene.loop, 1, 0, in_timer, NULL);
    assert_true(scene.timer > 0);
    assert_int_equal(proc_loop_add_signal(scene.loop, SIGUSR1, in_signal, NULL), 0);
    raise(SIGUSR1);
    assert_int_equal(proc_loop_execfile(scene.loop, KID("exit", "1"), NULL, in_result, NULL), 0);
}

static void play(where here, action what)
{
    set_scene(here, what);
    bool told = false;
    for (int steps = 0; scene.loop != NULL && steps < 2000; steps++) {
        int ran = proc_loop_step(scene.loop, 1000);
        assert_true(ran >= 0);
        /* As soon as there is room, the worker is told to end. */
        if (!told && scene.loop != NULL && scene.children[0] != NULL) {
            int err = proc_channel_post(proc_child_channel(scene.children[0]), MESSAGE(.type = 9));
            told = err != -EAGAIN;
        }
        if (scene.loop != NULL && proc_loop_run(scene.loop, 0) == 0 && scene.done != 1) {
            break;
        }
        if (scene.done != 0 && (scene.removed[0] || scene.removed[1] || what == REMOVE_CHANNEL)) {
            break; /* what was removed is waited for no more, and need not end */
        }
        if (scene.loop != NULL && scene.done == 1 && what != ADD_MORE && proc_loop_run(scene.loop, 0) == 0) {
            break;
        }
    }
    if (scene.done == 0) {
        print_message("place %d, action %d: it never came to it\n", (int)here, (int)what);
    }
    assert_true(scene.done != 0);
    assert_true(what != ADD_MORE || scene.done == 2);
    drop_child(0);
    drop_child(1);
    proc_loop_free(scene.loop);
    close(scene.fd[0]);
    close(scene.fd[1]);
}

#define PLACE_TEST(name, place)                                                                                        \
    static void name(void **state)                                                                                     \
    {                                                                                                                  \
        (void)state;                                                                                                   \
        for (action what = 0; what < ACTIONS; what++) {                                                                \
            play(place, what);                                                                                         \
        }                                                                                                              \
    }

PLACE_TEST(on_output_may_do_anything, IN_OUTPUT)
PLACE_TEST(on_drain_may_do_anything, IN_DRAIN)
PLACE_TEST(on_message_may_do_anything, IN_MESSAGE)
PLACE_TEST(on_room_may_do_anything, IN_ROOM)
PLACE_TEST(on_disconnect_may_do_anything, IN_DISCONNECT)
PLACE_TEST(on_exit_may_do_anything, IN_EXIT)
PLACE_TEST(on_close_may_do_anything, IN_CLOSE)
PLACE_TEST(a_timer_may_do_anything, IN_TIMER)
PLACE_TEST(a_descriptor_s_handler_may_do_anything, IN_FD)
PLACE_TEST(a_signal_s_handler_may_do_anything, IN_SIGNAL)
PLACE_TEST(a_result_s_handler_may_do_anything, IN_RESULT)

static const struct CMUnitTest tests[] = {
    TEST(on_output_may_do_anything),
    TEST(on_drain_may_do_anything),
    TEST(on_message_may_do_anything),
    TEST(on_room_may_do_anything),
    TEST(on_disconnect_may_do_anything),
    TEST(on_exit_may_do_anything),
    TEST(on_close_may_do_anything),
    TEST(a_timer_may_do_anything),
    TEST(a_descriptor_s_handler_may_do_anything),
    TEST(a_signal_s_handler_may_do_anything),
    TEST(a_result_s_handler_may_do_anything),
};

HARNESS_MAIN(tests)
