/*
 * Hosts that ignore SIGCHLD, that reap everything there is, that have a handler of their own, or that fork themselves
 * while they hold children: nothing hangs, nobody is told twice, no stranger gets a signal. Each such host is a copy of
 * this process.
 */
#include "lifeline.h"

#include <pthread.h>
#include <stdatomic.h>

/* Not known, or the truth: some kernels keep the status of a child that others reaped. */
static void assert_lost_or(const proc_status *status, int code)
{
    if (status->state == PROC_LOST) {
        assert_int_equal(status->code, -1);
        assert_int_equal(status->signal, 0);
        assert_false(status->core_dumped);
    } else {
        assert_exited(*status, code);
    }
    assert_true(status->wall_ns > 0);
}

static void set_action(int signo, void (*handler)(int), int flags)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};

    sigemptyset(&action.sa_mask);
    assert_int_equal(sigaction(signo, &action, NULL), 0);
}

/* ---- SIGCHLD ignored ---- */

typedef struct host_kind {
    void (*handler)(int);
    int flags;
} host_kind;

static const host_kind ignoring = {SIG_IGN, 0}, not_waiting = {SIG_DFL, SA_NOCLDWAIT};

static void run_all_calls_in_such_a_host(void *arg)
{
    const host_kind *kind = arg;
    picture *before = picture_take();
    proc_result result;
    proc_status status, again;
    proc_error error;

    set_action(SIGCHLD, kind->handler, kind->flags);
    assert_int_equal(proc_execfile(&result, KID("cat", "exit", "3"), OPTIONS(.input = "fed", .input_size = 3)), 0);
    assert_lost_or(&result.status, 3);
    assert_string_equal(result.out, "fed");
    proc_result_clear(&result);
    assert_int_equal(proc_execfile(&result, KID("hang"), OPTIONS(.timeout_ms = 50)), -ETIMEDOUT);
    assert_true(result.status.timed_out);
    proc_result_clear(&result);

    for (int looked = 0; looked <= 1; looked++) { /* waiting for it, and coming late */
        lifeline line = lifeline_make();
        proc_child *child = start_child(KID("readbyte", "0", "exit", "4"), OPTIONS(.in.kind = PROC_PIPE, HOLDS(line)));

        assert_int_equal(proc_child_wait(child, 0, &status), -ETIMEDOUT);
        assert_int_equal(proc_child_kill(child, 0), 0);
        assert_int_equal(proc_child_close(child, 0), 0);
        if (looked) {
            lifeline_await_end(&line);
            await_state(proc_child_pid(child), "-");
            assert_int_equal(proc_child_kill(child, SIGTERM), -ESRCH);
        }
        assert_int_equal(proc_child_wait(child, PROC_FOREVER, &status), 0);
        assert_lost_or(&status, 4);
        assert_int_equal(proc_child_wait(child, 0, &again), 0);
        assert_memory_equal(&again, &status, sizeof status);
        assert_int_equal(proc_child_kill(child, SIGTERM), -ESRCH);
        assert_int_equal(proc_child_stop(child, 0, NULL), 0);
        proc_child_free(child);
        if (!looked) {
            lifeline_await_end(&line);
        }
    }

    proc_child *child = start_child(KID("hang"), NULL);
    assert_int_equal(proc_child_stop(child, LATEST_MS, &status), 0);
    assert_true(status.state == PROC_LOST || status.signal == SIGTERM);
    assert_false(status.forced);
    proc_child_free(child);
    proc_child_free(start_child(KID("hang"), NULL));
    assert_int_equal(proc_spawn(&child, ARGV("/nonexistent/program"), OPTIONS(.error = &error)), -ENOENT);
    assert_int_equal(error.step, PROC_STEP_EXEC);

    set_action(SIGCHLD, SIG_DFL, 0);
    assert_int_equal(picture_compare(before), 0);
}

static void a_host_that_ignores_sigchld_is_served(void **state)
{
    (void)state;
    in_copy(run_all_calls_in_such_a_host, (void *)&ignoring);
}

static void a_host_that_keeps_no_zombies_is_served(void **state)
{
    (void)state;
    in_copy(run_all_calls_in_such_a_host, (void *)&not_waiting);
}

static void the_child_has_the_default_for_sigchld_all_the_same(void *arg)
{
    proc_result result;

    (void)arg;
    set_action(SIGCHLD, SIG_IGN, 0);
    assert_int_equal(proc_exec(&result, "(exit 7); echo $?", NULL), 0);
    assert_string_equal(result.out, "7\n");
    proc_result_clear(&result);
}

static void an_ignored_sigchld_is_not_passed_on(void **state)
{
    (void)state;
    in_copy(the_child_has_the_default_for_sigchld_all_the_same, NULL);
}

/* ---- thieves ---- */

static void a_stolen_child_is_lost_once_and_never_signalled(void **state)
{
    (void)state;

    for (int watched = 0; watched <= 1; watched++) {
        lifeline line = lifeline_make();
        proc_child *child = start_child(KID("grandchild", "ready", "5", "hang", "--", "exit", "6"),
                                        OPTIONS(.group = PROC_GROUP_OWN, .timeout_ms = 1, HOLDS(line)));
        pid_t pid = proc_child_pid(child);
        proc_status status, again;

        if (watched) {
            assert_true(proc_child_exit_fd(child) > 2);
        }
        lifeline_await_ready(&line);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        assert_int_equal(proc_child_kill(child, SIGKILL), -ESRCH);
        assert_int_equal(proc_child_wait(child, LATEST_MS, &status), 0);
        assert_lost_or(&status, 6);
        assert_int_equal(proc_child_kill(child, SIGKILL), -ESRCH);
        assert_int_equal(proc_child_stop(child, 0, &again), 0);
        assert_memory_equal(&again, &status, sizeof status);
        proc_child_free(child);
        assert_false(lifeline_has_end(&line)); /* its group has nobody's protection now: left alone */
        assert_int_equal(kill(-pid, SIGKILL), 0);
        lifeline_await_end(&line);
    }
}

static void a_stolen_child_may_be_stopped_or_freed_without_a_wait(void **state)
{
    (void)state;
    proc_child *stopped = start_child(KID("exit", "6"), NULL), *freed = start_child(KID("exit", "6"), NULL);
    proc_status status;

    assert_int_equal(waitpid(proc_child_pid(stopped), NULL, 0), proc_child_pid(stopped));
    assert_int_equal(waitpid(proc_child_pid(freed), NULL, 0), proc_child_pid(freed));

    assert_int_equal(proc_child_stop(stopped, 1000, &status), 0);
    assert_lost_or(&status, 6);
    assert_false(status.forced);
    proc_child_free(stopped);
    proc_child_free(freed);
}

static void a_stolen_childs_output_is_not_lost(void **state)
{
    (void)state;
    proc_child *child = start_child(KID("out", "kept", "exit", "6"), OPTIONS(.out.kind = PROC_PIPE));
    proc_result result;

    assert_int_equal(waitpid(proc_child_pid(child), NULL, 0), proc_child_pid(child));
    assert_int_equal(proc_child_communicate(child, NULL, &result), 0);
    keep_result(&result);

    assert_lost_or(&result.status, 6);
    assert_string_equal(result.out, "kept");
    proc_child_free(child);
}

typedef struct waiting {
    proc_child *child;
    int err;
    proc_status status;
} waiting;

static void *wait_for_ever(void *arg)
{
    waiting *w = arg;

    w->err = proc_child_wait(w->child, PROC_FOREVER, &w->status);
    return NULL;
}

static void a_child_that_is_stolen_under_a_wait_ends_it(void **state)
{
    (void)state;

    for (int round = 0; round < 10; round++) {
        waiting w = {.child = start_child(KID("readbyte", "0", "exit", "6"), OPTIONS(.in.kind = PROC_PIPE))};
        pid_t pid = proc_child_pid(w.child), stolen;
        pthread_t thread;

        assert_int_equal(pthread_create(&thread, NULL, wait_for_ever, &w), 0);
        assert_int_equal(proc_child_close(w.child, 0), 0);
        stolen = waitpid(pid, NULL, 0); /* one of the two gets it */
        pthread_join(thread, NULL);

        assert_true(stolen == pid || (stolen == -1 && errno == ECHILD));
        assert_int_equal(w.err, 0);
        assert_lost_or(&w.status, 6);
        proc_child_free(w.child);
    }
}

static atomic_bool thief_goes_on;

static void *steal_everything(void *arg)
{
    while (atomic_load(&thief_goes_on)) {
        if (waitpid(-1, NULL, WNOHANG) <= 0) {
            sched_yield();
        }
    }
    return arg;
}

static void run_beside_a_thief(void *arg)
{
    pthread_t thief;

    (void)arg;
    atomic_store(&thief_goes_on, true);
    assert_int_equal(pthread_create(&thief, NULL, steal_everything, NULL), 0);
    for (int round = 0; round < 60; round++) {
        proc_child *child =
            start_child(KID("exit", "6"), OPTIONS(.group = round % 2 ? PROC_GROUP_OWN : PROC_GROUP_SHARED));
        proc_status status;
        proc_result result;
        int err;

        assert_int_equal(proc_child_wait(child, PROC_FOREVER, &status), 0);
        assert_lost_or(&status, 6);
        proc_child_free(child);
        assert_int_equal(proc_execfile(&result, KID("out", "x", "exit", "7"), NULL), 0);
        assert_lost_or(&result.status, 7);
        assert_string_equal(result.out, "x");
        proc_result_clear(&result);
        err = proc_spawn(&child, ARGV("/nonexistent/program"), NULL);
        assert_int_equal(err, -ENOENT);
    }
    atomic_store(&thief_goes_on, false);
    pthread_join(thief, NULL);
}

static void a_host_that_reaps_everything_is_served(void **state)
{
    (void)state;
    in_copy(run_beside_a_thief, NULL);
}

static volatile sig_atomic_t handler_runs;

static void count_child_signal(int signo)
{
    (void)signo;
    handler_runs++;
}

static void a_hosts_own_handler_for_sigchld_still_runs(void **state)
{
    (void)state;
    struct sigaction counting = {.sa_handler = count_child_signal}, before;
    proc_status status;
    proc_result result;
    proc_child *child;

    handler_runs = 0;
    assert_int_equal(sigaction(SIGCHLD, &counting, &before), 0);
    child = start_child(KID("exit", "6"), NULL);
    assert_int_equal(proc_child_wait(child, PROC_FOREVER, &status), 0);
    proc_child_free(child);
    assert_true(handler_runs >= 1);
    assert_int_equal(run_file(&result, KID("exit", "6"), NULL), 0);
    assert_int_equal(sigaction(SIGCHLD, &before, NULL), 0);

    assert_exited(status, 6);
    assert_exited(result.status, 6);
    assert_true(handler_runs >= 2);
}

/* ---- a host that forks ---- */

typedef struct held {
    proc_child *cat, *ended;
    int exit_fd;
} held;

static void use_another_process_children(void *arg)
{
    const held *h = arg;
    const size_t before = count_open();
    proc_status status;
    proc_result result;
    char byte = 'x';

    assert_int_equal(proc_child_pid(h->cat), -EINVAL);
    for (int stream = 0; stream < 3; stream++) {
        assert_int_equal(proc_child_fd(h->cat, stream), -EINVAL);
        assert_int_equal(proc_child_read(h->cat, stream, &byte, 1, 0), -EINVAL);
        assert_int_equal(proc_child_close(h->cat, stream), -EINVAL);
    }
    assert_int_equal(proc_child_exit_fd(h->cat), -EINVAL);
    assert_null(proc_child_channel(h->cat));
    assert_int_equal(proc_child_write(h->cat, &byte, 1, 0), -EINVAL);
    assert_int_equal(proc_child_wait(h->cat, 0, &status), -EINVAL);
    assert_int_equal(proc_child_wait(h->ended, 0, &status), -EINVAL);
    assert_int_equal(proc_child_kill(h->cat, SIGKILL), -EINVAL);
    assert_int_equal(proc_child_kill(h->cat, 0), -EINVAL);
    assert_int_equal(proc_child_stop(h->cat, 0, &status), -EINVAL);
    assert_int_equal(proc_child_communicate(h->cat, NULL, &result), -EINVAL);
    proc_result_clear(&result);
    proc_child_free(h->cat);
    proc_child_free(h->ended);

    assert_true(before - count_open() >= 3); /* the copies of three pipes at least */
    assert_false(is_open(h->exit_fd));
    if (!THREAD_SANITIZER) { /* which allows a copy of a process with threads no threads of its own */
        assert_int_equal(proc_execfile(&result, KID("out", "own"), NULL), 0); /* and here children may be started too */
        assert_exited(result.status, 0);
        proc_result_clear(&result);
    }
}

static void children_are_dead_to_a_copy_of_the_host(void **state)
{
    (void)state;
    lifeline line = lifeline_make();
    held h = {
        .cat =
            start_child(KID("cat", "exit", "3"), OPTIONS(.in.kind = PROC_PIPE, .out.kind = PROC_PIPE,
                                                         .err.kind = PROC_PIPE, .group = PROC_GROUP_OWN, HOLDS(line))),
        .ended = start_child(KID("exit", "4"), NULL),
    };
    proc_status status;
    char said[8] = "";

    h.exit_fd = proc_child_exit_fd(h.cat);
    await_state(proc_child_pid(h.ended), "Z");
    in_copy(use_another_process_children, &h);

    assert_int_equal(proc_child_wait(h.ended, 0, &status), 0);
    assert_exited(status, 4);
    assert_int_equal(proc_child_write(h.cat, "alive", 5, LATEST_MS), 5);
    assert_int_equal(proc_child_close(h.cat, 0), 0);
    assert_int_equal(proc_child_read(h.cat, 1, said, 5, LATEST_MS), 5);
    assert_string_equal(said, "alive");
    assert_int_equal(proc_child_wait(h.cat, LATEST_MS, &status), 0);
    assert_exited(status, 3);
    proc_child_free(h.cat);
    proc_child_free(h.ended);
    lifeline_await_end(&line);
}

static void free_child_of_another_process(void *arg)
{
    proc_child_free(arg);
}

static void a_terminals_child_may_be_freed_in_a_copy_too(void **state)
{
    (void)state;
    const proc_stdio pty = {.kind = PROC_PTY};
    proc_child *child = start_child(KID("cat"), OPTIONS(.in = pty, .out = pty, .err = pty));
    proc_status status;

    in_copy(free_child_of_another_process, child);

    assert_int_equal(proc_child_wait(child, 0, &status), -ETIMEDOUT);
    assert_int_equal(proc_child_stop(child, LATEST_MS, &status), 0);
    assert_killed(status, SIGTERM);
    proc_child_free(child);
}

/* ---- a child that may not be signalled any more ---- */

static void kill_as_nobody(void *arg)
{
    lifeline line = lifeline_make();
    proc_child *child =
        start_child(KID("ready", "5", "readbyte", "0", "exit", "2"), OPTIONS(.in.kind = PROC_PIPE, HOLDS(line)));
    proc_status status;

    (void)arg;
    lifeline_await_ready(&line);
    assert_int_equal(setgid(65534), 0);
    assert_int_equal(setuid(65534), 0);
    assert_int_equal(proc_child_kill(child, SIGTERM), -EPERM);
    assert_int_equal(proc_child_kill(child, 0), -EPERM);
    assert_int_equal(proc_child_close(child, 0), 0);
    assert_int_equal(proc_child_wait(child, LATEST_MS, &status), 0);
    assert_exited(status, 2);
    assert_int_equal(proc_child_kill(child, SIGTERM), -ESRCH);
    proc_child_free(child);
    lifeline_await_end(&line);
}

static void kill_says_when_the_right_is_missing(void **state)
{
    (void)state;

    if (!is_root()) {
        SKIP("only root can lose the right to signal its child");
    }
    in_copy(kill_as_nobody, NULL);
}

static const struct CMUnitTest tests[] = {
    TEST(a_host_that_ignores_sigchld_is_served),
    TEST(a_host_that_keeps_no_zombies_is_served),
    TEST(an_ignored_sigchld_is_not_passed_on),
    TEST(a_stolen_child_is_lost_once_and_never_signalled),
    TEST(a_stolen_child_may_be_stopped_or_freed_without_a_wait),
    TEST(a_stolen_childs_output_is_not_lost),
    TEST(a_child_that_is_stolen_under_a_wait_ends_it),
    TEST(a_host_that_reaps_everything_is_served),
    TEST(a_hosts_own_handler_for_sigchld_still_runs),
    TEST(children_are_dead_to_a_copy_of_the_host),
    TEST(a_terminals_child_may_be_freed_in_a_copy_too),
    TEST(kill_says_when_the_right_is_missing),
};

HARNESS_MAIN(tests)
