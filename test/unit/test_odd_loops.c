/*
 * Loops and workers in odd hosts: many loops in many threads, without standard descriptors, with a handler for SIGCHLD that
 * comes late and goes at once, with fewer descriptors allowed than are open; and who lives on when the middle one is killed.
 */
#include "events.h"

#include <poll.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/socket.h>

/* ---- loops in threads ---- */

enum { LOOPS = 4, CHILDREN = 100 };

typedef struct herder {
    pthread_t thread;
    int number, exits, wrong;
} herder;

static void count_exit(proc_child *child, const proc_status *status, void *ctx)
{
    herder *h = ctx;

    (void)child;
    h->exits++;
    h->wrong += status->state != PROC_EXITED || status->code != h->number;
}

static void *run_a_loop_of_ones_own(void *arg)
{
    static const proc_handlers handlers = {.on_exit = count_exit};
    herder *h = arg;
    proc_child *children[CHILDREN] = {NULL};
    proc_loop *loop;
    char code[8];

    snprintf(code, sizeof code, "%d", h->number);
    if (proc_loop_new(&loop) != 0) {
        h->wrong++;
        return NULL;
    }
    for (int i = 0; i < CHILDREN; i++) {
        h->wrong += proc_spawn(&children[i], KID("exit", code), NULL) != 0 ||
                    proc_loop_add_child(loop, children[i], &handlers, h) != 0;
        if (i % 10 == 9) {
            h->wrong += proc_loop_step(loop, 0) < 0;
        }
    }
    h->wrong += proc_loop_run(loop, IN_TIME) != 0;
    for (int i = 0; i < CHILDREN; i++) {
        proc_child_free(children[i]);
    }
    proc_loop_free(loop);
    return NULL;
}

static void each_loop_hears_of_its_own_children_alone(void **state)
{
    (void)state;
    herder herders[LOOPS];

    for (int i = 0; i < LOOPS; i++) {
        herders[i] = (herder){.number = 10 + i};
        assert_int_equal(pthread_create(&herders[i].thread, NULL, run_a_loop_of_ones_own, &herders[i]), 0);
    }
    for (int i = 0; i < LOOPS; i++) {
        pthread_join(herders[i].thread, NULL);
    }
    for (int i = 0; i < LOOPS; i++) {
        assert_int_equal(herders[i].wrong, 0);
        assert_int_equal(herders[i].exits, CHILDREN);
    }
}

/* ---- without 0, 1 and 2 ---- */

static int echo(proc_channel *parent, void *arg)
{
    proc_message m;
    int err;

    (void)arg;
    while ((err = proc_channel_recv(parent, &m, IN_TIME)) == 0) {
        (void)proc_channel_reply(parent, &m, ANSWER(.type = m.type + 1), IN_TIME);
    }
    return err == -EPIPE && is_open(0) && is_open(1) && is_open(2) ? 0 : 1;
}

static void keep_result(int err, proc_result *result, void *ctx)
{
    *(bool *)ctx = err == 0 && result->status.code == 3 && strcmp(result->out, "text") == 0;
}

static void work_without_some_standard_descriptors(void *arg)
{
    unsigned closed = *(const unsigned *)arg;
    int saved[3];
    proc_child *child = NULL;
    proc_loop *loop = NULL;
    proc_status status = {.code = -1};
    proc_message reply = {.type = 0};
    bool right = false, taken = false;

    for (int fd = 0; fd < 3; fd++) {
        saved[fd] = fcntl(fd, F_DUPFD_CLOEXEC, 40);
        if ((closed & 1u << fd) != 0) {
            close(fd);
        }
    }
    int forked = proc_fork_call(&child, echo, NULL, NULL);
    int called = proc_channel_call(proc_child_channel(child), ASK(.type = 4), &reply, IN_TIME);
    int made = proc_loop_new(&loop);
    int started = proc_loop_execfile(loop, KID("out", "text", "exit", "3"), NULL, keep_result, &right);
    int ran = proc_loop_run(loop, IN_TIME);
    for (int fd = 0; fd < 3; fd++) {
        taken = taken || ((closed & 1u << fd) != 0 && is_open(fd));
    }
    int told = proc_channel_shutdown(proc_child_channel(child));
    int waited = proc_child_wait(child, IN_TIME, &status);
    uint32_t type = reply.type;
    proc_message_clear(&reply);
    proc_child_free(child);
    proc_loop_free(loop);
    for (int fd = 0; fd < 3; fd++) { /* so that an assertion that fails can say so */
        dup2(saved[fd], fd);
    }

    assert_int_equal(forked | called | made | started | ran | told | waited, 0);
    assert_int_equal(type, 5);
    assert_true(right);
    assert_false(taken);
    assert_int_equal(status.code, 0);
}

static void workers_and_loops_need_no_standard_descriptors(void **state)
{
    (void)state;

    for (unsigned closed = 0; closed < 8; closed++) {
        in_copy(work_without_some_standard_descriptors, &closed);
    }
}

/* ---- SIGCHLD ---- */

static volatile sig_atomic_t handled;

static void handle_once(int signo)
{
    (void)signo;
    handled++;
}

static void a_handler_for_sigchld_may_come_late_and_go_at_once(void **state)
{
    (void)state;
    struct sigaction once = {.sa_handler = handle_once, .sa_flags = SA_RESETHAND}, before, after;
    proc_loop *loop = make_loop();
    events e = {.length = 0};
    proc_status status;

    handled = 0;
    proc_child *first = start_child(KID("readbyte", "0", "exit", "4"), OPTIONS(.in.kind = PROC_PIPE));
    proc_child *second = add_noted(loop, &e, KID("cat", "exit", "5"), OPTIONS(.in.kind = PROC_PIPE));
    assert_int_equal(sigaction(SIGCHLD, &once, &before), 0); /* they run already */
    assert_int_equal(proc_child_close(first, 0), 0);
    assert_int_equal(proc_child_wait(first, IN_TIME, &status), 0);
    assert_int_equal(proc_loop_write(loop, second, NULL, 0, true), 0);
    run_loop(loop);
    assert_int_equal(sigaction(SIGCHLD, &before, &after), 0);

    assert_int_equal(handled, 1);
    assert_true(after.sa_handler == SIG_DFL); /* as the system has set it back: nobody else touched it */
    assert_int_equal(status.code, 4);
    assert_non_null(strstr(e.log, "[exit 5] close "));
    proc_child_free(first);
    proc_child_free(second);
    proc_loop_free(loop);
}

static void stop_the_loop(int signo, void *ctx)
{
    (void)signo;
    proc_loop_stop(ctx);
}

static proc_loop *loop_of_handler;

static void stop_in_a_handler(int signo)
{
    (void)signo;
    proc_loop_stop(loop_of_handler);
}

static void what_a_signal_does_leaves_errno_as_it_was(void **state)
{
    (void)state;
    struct sigaction stopping = {.sa_handler = stop_in_a_handler}, before;
    int told, stopped;

    loop_of_handler = make_loop();
    assert_int_equal(proc_loop_add_signal(loop_of_handler, SIGUSR1, stop_the_loop, loop_of_handler), 0);
    assert_int_equal(sigaction(SIGUSR2, &stopping, &before), 0);
    (void)proc_loop_step(loop_of_handler, 0); /* from here on it is to be woken up */
    errno = 4242;
    raise(SIGUSR1);
    told = errno;
    assert_int_equal(proc_loop_run(loop_of_handler, IN_TIME), 0);
    (void)proc_loop_step(loop_of_handler, 0);
    errno = 4242;
    raise(SIGUSR2);
    stopped = errno;
    assert_int_equal(sigaction(SIGUSR2, &before, NULL), 0);

    assert_int_equal(told, 4242);
    assert_int_equal(stopped, 4242);
    proc_loop_free(loop_of_handler);
}

/* ---- fewer descriptors than are open ---- */

static void note_ready(int fd, short revents, void *ctx)
{
    char byte;

    (void)revents;
    *(int *)ctx += (int)read(fd, &byte, 1);
}

static void run_beyond_the_limit(void *arg)
{
    enum { PIPES = 20 };
    struct rlimit limit, low;
    proc_loop *loop = make_loop();
    int pipes[PIPES][2], ready = 0;

    (void)arg;
    for (int i = 0; i < PIPES; i++) {
        make_pipe(pipes[i]);
        assert_int_equal(proc_loop_add_fd(loop, pipes[i][0], POLLIN, note_ready, &ready), 0);
    }
    assert_int_equal(write(pipes[7][1], "x", 1), 1);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    low = (struct rlimit){.rlim_cur = 10, .rlim_max = limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    int err = proc_loop_run(loop, 20);
    assert_int_equal(err, POSIX_BUILD ? -EINVAL : -ETIMEDOUT); /* poll takes no more than may be open; epoll has them */
    assert_int_equal(ready, POSIX_BUILD ? 0 : 1);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(proc_loop_run(loop, 20), -ETIMEDOUT); /* nothing was lost */
    assert_int_equal(ready, 1);
    for (int i = 0; i < PIPES; i++) {
        assert_int_equal(proc_loop_remove_fd(loop, pipes[i][0]), 0);
        close(pipes[i][0]);
        close(pipes[i][1]);
    }
    proc_loop_free(loop);
}

static void a_limit_below_what_is_open_stops_no_loop_for_good(void **state)
{
    (void)state;
    NOT_UNDER_VALGRIND();

    in_copy(run_beyond_the_limit, NULL);
}

/* ---- the last words ---- */

enum { LAST_WORDS = 200 };

static int send_descriptors_and_end(proc_channel *parent, void *arg)
{
    int fd = 1, err = 0;

    (void)arg;
    for (uint32_t i = 0; i < LAST_WORDS && err == 0; i++) { /* each takes a read of its own */
        err = proc_channel_send(parent, MESSAGE(.type = i, .fds = &fd, .fd_count = 1), IN_TIME);
    }
    return -err;
}

typedef struct last_words {
    uint32_t count;
    bool right;
} last_words;

static void count_word(proc_channel *c, proc_message *m, void *ctx)
{
    last_words *words = ctx;

    (void)c;
    words->right = words->right && m->type == words->count && m->fd_count == 1;
    words->count++;
}

static void all_that_was_sent_before_the_end_comes_with_its_descriptors(void **state)
{
    (void)state;
    static const proc_handlers counting = {.on_message = count_word};
    last_words words = {.right = true};
    proc_loop *loop = make_loop();
    proc_child *child = NULL;

    assert_int_equal(
        proc_fork_call(&child, send_descriptors_and_end, NULL, OPTIONS(.channel = CHANNEL_OPTIONS(.max_fds = 1))), 0);
    struct pollfd end = {.fd = proc_child_exit_fd(child), .events = POLLIN};
    assert_int_equal(poll(&end, 1, IN_TIME), 1);
    assert_int_equal(proc_loop_add_child(loop, child, &counting, &words), 0);
    run_loop(loop);
    assert_true(words.right);
    assert_int_equal(words.count, LAST_WORDS);
    proc_child_free(child);
    proc_loop_free(loop);
}

/* Leaves some behind who have the channel, and never stop to talk. */
static int leave_talkers(proc_channel *parent, void *arg)
{
    unsigned char pings[512 * FRAME_HEADER_SIZE];

    (void)arg;
    for (size_t i = 0; i < sizeof pings; i += FRAME_HEADER_SIZE) {
        frame_encode(&(const frame){.kind = FRAME_PING, .id = 1}, pings + i);
    }
    if (proc_channel_send(parent, MESSAGE(.type = 5), IN_TIME) < 0 || proc_channel_flush(parent, IN_TIME) < 0) {
        return 1;
    }
    for (int i = 0; i < 4; i++) {
        if (fork() != 0) {
            continue;
        }
        while (send(3, pings, sizeof pings, MSG_NOSIGNAL) == (ssize_t)sizeof pings) {
        }
        _exit(0);
    }
    return 7;
}

static void a_channel_ends_with_its_child_though_others_talk_on(void **state)
{
    (void)state;
    proc_child *child = NULL;
    proc_message m;
    proc_status status;

    assert_int_equal(proc_fork_call(&child, leave_talkers, NULL, NULL), 0);
    expect_message(proc_child_channel(child), 5, NULL, 0);
    assert_int_equal(proc_channel_recv(proc_child_channel(child), &m, PROC_FOREVER), -EPIPE);
    assert_int_equal(proc_child_wait(child, IN_TIME, &status), 0);
    assert_int_equal(status.code, 7);
    proc_child_free(child);

    proc_loop *loop = make_loop();
    events e = {.length = 0};
    assert_int_equal(proc_fork_call(&child, leave_talkers, NULL, NULL), 0);
    assert_int_equal(proc_loop_add_child(loop, child, &noting, &e), 0);
    run_loop(loop);
    assert_string_equal(e.log, "message=5 disconnect=0 [exit 7] close ");
    proc_child_free(child);
    proc_loop_free(loop);
}

/* ---- three generations ---- */

static int start_a_detached_one(proc_channel *parent, void *arg)
{
    const proc_fd_map maps[] = {{.child = 5, .parent = 8}, {.child = 6, .parent = 9}};
    proc_child *child = NULL;

    (void)arg;
    int err = proc_spawn(
        &child, KID("readbyte", "5", "ready", "6"),
        OPTIONS(.detached = true, .group = PROC_GROUP_SESSION, .in.kind = PROC_NULL, .fds = maps, .fd_count = 2));
    if (err == 0) {
        err = proc_channel_send(parent, MESSAGE(.type = 1), IN_TIME);
    }
    pause();
    return -err;
}

static void a_detached_grandchild_outlives_a_killed_worker(void **state)
{
    (void)state;
    int order[2], ready[2];

    make_pipe(order);
    make_pipe(ready);
    const proc_fd_map maps[] = {{.child = 8, .parent = order[0]}, {.child = 9, .parent = ready[1]}};
    proc_child *child = NULL;
    assert_int_equal(proc_fork_call(&child, start_a_detached_one, NULL,
                                    OPTIONS(.fds = maps, .fd_count = 2, .group = PROC_GROUP_OWN)),
                     0);
    close(ready[1]);
    expect_message(proc_child_channel(child), 1, NULL, 0);
    proc_child_free(child); /* kills it, and its group */

    assert_int_equal(write(order[1], "g", 1), 1);
    await_byte(ready[0]);
    await_end(ready[0]);
    close(order[0]);
    close(order[1]);
    close(ready[0]);
}

static const struct CMUnitTest tests[] = {
    TEST(each_loop_hears_of_its_own_children_alone),
    TEST(workers_and_loops_need_no_standard_descriptors),
    TEST(a_handler_for_sigchld_may_come_late_and_go_at_once),
    TEST(what_a_signal_does_leaves_errno_as_it_was),
    TEST(a_limit_below_what_is_open_stops_no_loop_for_good),
    TEST(a_detached_grandchild_outlives_a_killed_worker),
    TEST(a_channel_ends_with_its_child_though_others_talk_on),
    TEST(all_that_was_sent_before_the_end_comes_with_its_descriptors),
};

HARNESS_MAIN(tests)
