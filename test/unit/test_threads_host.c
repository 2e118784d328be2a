/*
 * Threads that are not at peace: signals without end, all signals blocked, cancelled in the middle of a call, on the
 * smallest stack there is.
 */
#include "lifeline.h"

#include "os/launch.h"

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>

/* ---- a storm of signals ---- */

/* Shared with every copy of this process, so that a handler that runs in a child is seen wherever it runs. */
typedef struct storm_page {
    pid_t host;
    atomic_int in_host, elsewhere;
    atomic_bool goes_on;
} storm_page;

static storm_page *storm;

/* gcc's thread sanitizer loses the signal mask when an atomic in a handler lets it run a second handler. */
__attribute__((no_sanitize("thread"))) static void on_storm(int signo)
{
    (void)signo;
    atomic_fetch_add(getpid() == storm->host ? &storm->in_host : &storm->elsewhere, 1);
}

static void *flood(void *arg)
{
    const bool *whole_group = arg;

    while (atomic_load(&storm->goes_on)) {
        kill(*whole_group ? 0 : storm->host, SIGUSR1);
        nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
    }
    return NULL;
}

static void set_storm_handlers(void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler}; /* no SA_RESTART: every call is interrupted */

    sigemptyset(&action.sa_mask);
    assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
    assert_int_equal(sigaction(SIGUSR2, &action, NULL), 0);
}

static timer_t start_timer(void)
{
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2};
    struct itimerspec each_ms = {.it_interval.tv_nsec = MILLION, .it_value.tv_nsec = MILLION};
    timer_t timer;

    assert_int_equal(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
    assert_int_equal(timer_settime(timer, 0, &each_ms, NULL), 0);
    return timer;
}

static void storm_begins(pthread_t *thread, bool *whole_group)
{
    storm = mmap(NULL, sizeof *storm, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(storm != MAP_FAILED);
    storm->host = getpid();
    atomic_init(&storm->goes_on, true);
    set_storm_handlers(on_storm);
    assert_int_equal(pthread_create(thread, NULL, flood, whole_group), 0);
}

static void storm_ends(pthread_t thread)
{
    atomic_store(&storm->goes_on, false);
    pthread_join(thread, NULL);
    assert_true(atomic_load(&storm->in_host) > 0);
    assert_int_equal(atomic_load(&storm->elsewhere), 0);
    munmap(storm, sizeof *storm);
}

static void run_in_a_storm(void *arg)
{
    static char data[100000];
    bool whole_group = false;
    int rounds = under_valgrind() ? 5 : 50, usual = launch_force;
    picture *before = picture_take(), *within;
    pthread_t thread;
    timer_t timer;

    (void)arg;
    storm_begins(&thread, &whole_group);
    timer = start_timer();
    within = picture_take();
    for (int round = 0; round < rounds; round++) {
        use_launcher(round % 2 == 0 ? LAUNCH_FORK : usual);
        proc_result result;
        proc_status status;
        proc_child *child = start_child(KID("signals", "cat", "exit", "3"),
                                        OPTIONS(.in.kind = PROC_PIPE, .out.kind = PROC_PIPE, .timeout_ms = LATEST_MS));

        assert_int_equal(proc_child_write(child, data, 30000, PROC_FOREVER), 30000);
        assert_int_equal(proc_child_close(child, 0), 0);
        for (ssize_t got; (got = proc_child_read(child, 1, data, sizeof data, LATEST_MS)) != 0;) {
            assert_true(got > 0);
        }
        assert_int_equal(proc_child_wait(child, PROC_FOREVER, &status), 0);
        assert_exited(status, 3);
        proc_child_free(child);
        assert_int_equal(
            proc_execfile(&result, KID("cat", "exit", "4"), OPTIONS(.input = data, .input_size = sizeof data)), 0);
        assert_exited(result.status, 4);
        assert_int_equal(result.out_size, sizeof data);
        proc_result_clear(&result);
        assert_int_equal(proc_execfile(&result, ARGV("/nonexistent/program"), NULL), -ENOENT);
        child = start_child(KID("hang"), NULL);
        assert_int_equal(proc_child_wait(child, 2, NULL), -ETIMEDOUT);
        assert_int_equal(proc_child_stop(child, LATEST_MS, &status), 0);
        assert_killed(status, SIGTERM);
        proc_child_free(child);
    }
    assert_int_equal(picture_compare(within), 0); /* mask and handlers are still the host's */
    timer_delete(timer);
    storm_ends(thread);
    set_storm_handlers(SIG_DFL);
    assert_int_equal(picture_compare(before), 0);
}

static void interrupted_calls_go_on(void **state)
{
    (void)state;
    in_copy(run_in_a_storm, NULL);
}

/* The signals go to the children too. One that is hit while it is made dies of it, like any program without a handler. */
static void start_children_that_the_storm_hits(void *arg)
{
    bool whole_group = true;
    int rounds = under_valgrind() ? 10 : 150, usual = launch_force, started = 0;
    pthread_t thread;

    (void)arg;
    assert_int_equal(setpgid(0, 0), 0);
    storm_begins(&thread, &whole_group);
    for (int round = 0; round < rounds; round++) {
        proc_child *child = NULL;
        proc_status status;
        proc_error error;

        use_launcher(round % 2 == 0 ? LAUNCH_FORK : usual);
        int err = proc_spawn(&child, KID("exit", "3"), OPTIONS(.error = &error));
        if (err != 0) {
            assert_int_equal(err, -ECHILD);
            assert_int_equal(error.step, PROC_STEP_LAUNCH);
            continue;
        }
        assert_int_equal(proc_child_wait(child, LATEST_MS, &status), 0);
        assert_true((status.state == PROC_EXITED && status.code == 3) ||
                    (status.state == PROC_SIGNALED && status.signal == SIGUSR1));
        proc_child_free(child);
        started++;
    }
    assert_true(started > 0);
    storm_ends(thread);
}

static void no_handler_of_the_host_runs_in_a_child(void **state)
{
    (void)state;
    in_copy(start_children_that_the_storm_hits, NULL);
}

static void with_every_signal_blocked_all_works_and_the_child_has_none_blocked(void **state)
{
    (void)state;
    sigset_t all, old, before, after;
    proc_result result, late;

    sigfillset(&all);
    assert_int_equal(pthread_sigmask(SIG_SETMASK, &all, &old), 0);
    assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, &before), 0);
    int first = run_file(&result, KID("signals", "cat"), OPTIONS(.input = "x", .input_size = 1));
    int second = run_file(&late, KID("hang"), OPTIONS(.timeout_ms = 50));
    assert_int_equal(pthread_sigmask(SIG_SETMASK, &old, &after), 0);

    assert_int_equal(first, 0);
    assert_int_equal(second, -ETIMEDOUT);
    assert_killed(late.status, SIGTERM);
    assert_string_equal(field(result.out, "blocked"), "");
    for (int signo = 1; signo < 65; signo++) {
        assert_int_equal(sigismember(&after, signo), sigismember(&before, signo));
    }
}

/*
 * ---- cancelled ----
 *
 * The thread ends itself by pthread_testcancel in a function without variables: a sanitizer does not see how the stack of
 * one that has some is given back.
 */

typedef struct cancelled {
    pthread_t thread;
    int ready_fd, go_fd, err;
    proc_result result;
    proc_child *child;
    int calls, failed_call;
} cancelled;

static void *exec_until_done(void *arg)
{
    cancelled *c = arg;
    const proc_fd_map maps[] = {{5, c->ready_fd}, {6, c->go_fd}};

    c->err = proc_execfile(&c->result, KID("ready", "5", "readbyte", "6", "out", "finished"),
                           OPTIONS(.fds = maps, .fd_count = 2));
    return c;
}

static void *exec_until_done_and_end(void *arg)
{
    (void)exec_until_done(arg);
    pthread_testcancel();
    return arg;
}

static void a_cancelled_thread_finishes_its_exec_first(void **state)
{
    (void)state;
    CANCELS_A_THREAD();
    int ready[2], go[2];
    void *end;

    make_pipe(ready);
    make_pipe(go);
    cancelled c = {.ready_fd = ready[1], .go_fd = go[0], .err = 1};
    assert_int_equal(pthread_create(&c.thread, NULL, exec_until_done_and_end, &c), 0);
    await_byte(ready[0]);
    assert_int_equal(pthread_cancel(c.thread), 0);
    assert_int_equal(write(go[1], "g", 1), 1);
    pthread_join(c.thread, &end);

    assert_ptr_equal(end, PTHREAD_CANCELED);
    assert_int_equal(c.err, 0);
    assert_exited(c.result.status, 0);
    assert_string_equal(c.result.out, "finished");
    proc_result_clear(&c.result);
    for (int i = 0; i < 2; i++) {
        close(ready[i]);
        close(go[i]);
    }
}

/* Notes the first call whose answer is not the one that is right; a call that is a cancellation point never comes back. */
static void check_call(cancelled *c, bool right)
{
    c->calls++;
    if (!right && c->failed_call == 0) {
        c->failed_call = c->calls;
    }
}

static void await_zombie(const proc_child *child)
{
    int old;

    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
    while (child != NULL && process_state(proc_child_pid(child)) != 'Z') {
        sched_yield();
    }
    pthread_setcancelstate(old, NULL);
}

static void *make_every_call(void *arg)
{
    cancelled *c = arg;
    const proc_options piped = {.in.kind = PROC_PIPE, .out.kind = PROC_PIPE, .err.kind = PROC_PIPE};
    proc_child *other = NULL;
    char buffer[8];

    pthread_cancel(pthread_self());
    check_call(c, proc_spawn(&c->child, KID("cat"), &piped) == 0);
    check_call(c, proc_child_pid(c->child) > 1);
    check_call(c, proc_child_fd(c->child, 1) > 2);
    check_call(c, proc_child_wait(c->child, 1, NULL) == -ETIMEDOUT);
    check_call(c, proc_child_kill(c->child, 0) == 0);
    check_call(c, proc_child_exit_fd(c->child) > 2);
    check_call(c, proc_child_write(c->child, "x", 1, 1000) == 1);
    check_call(c, proc_child_read(c->child, 1, buffer, sizeof buffer, LATEST_MS) == 1);
    check_call(c, proc_child_close(c->child, 2) == 0);
    check_call(c, proc_child_communicate(c->child, OPTIONS(.input = "y", .input_size = 1), &c->result) == 0);
    proc_result_clear(&c->result);
    check_call(c, proc_child_kill(c->child, SIGTERM) == -ESRCH);
    proc_child_free(c->child);
    check_call(c, proc_spawn(&other, KID("exit", "0"), NULL) == 0);
    await_zombie(other);
    check_call(c, proc_child_wait(other, 0, NULL) == 0);
    check_call(c, proc_child_exit_fd(other) > 2); /* first asked for after the reap */
    check_call(c, proc_child_stop(other, 0, NULL) == 0);
    proc_child_free(other);
    check_call(c, proc_spawn(&other, KID("hang"), NULL) == 0);
    check_call(c, proc_child_stop(other, 0, NULL) == 0);
    proc_child_free(other);
    check_call(c, proc_spawn(&other, KID("hang"), NULL) == 0);
    proc_child_free(other);
    check_call(c, proc_spawn(&other, ARGV("/nonexistent/program"), NULL) == -ENOENT);
    check_call(c, proc_exec(&c->result, "exit 3", OPTIONS(.cwd = "/", .env_changes = ARGV("A=1"))) == 0);
    proc_result_clear(&c->result);
    check_call(c, proc_shell_quote("x", buffer, sizeof buffer) == 3);
    c->calls = -c->calls;
    return c;
}

static void *make_every_call_and_end(void *arg)
{
    (void)make_every_call(arg);
    pthread_testcancel();
    return arg;
}

static void no_call_is_a_cancellation_point(void **state)
{
    (void)state;
    CANCELS_A_THREAD();
    cancelled c = {0};
    void *end;

    assert_int_equal(pthread_create(&c.thread, NULL, make_every_call_and_end, &c), 0);
    pthread_join(c.thread, &end);

    if (c.calls > 0) {
        fail_msg("the thread ended within the call after number %d", c.calls);
    }
    assert_int_equal(c.failed_call, 0);
    assert_ptr_equal(end, PTHREAD_CANCELED);
}

/* ---- a small stack ---- */

enum { EXTRA_STACK = (ADDRESS_SANITIZER || THREAD_SANITIZER ? 512 : 8) * 1024 };

static void *use_little_stack(void *arg)
{
    cancelled *c = arg;
    proc_child *child = NULL;

    c->err = proc_exec(&c->result, "cat; exit 3",
                       OPTIONS(.input = "fed", .input_size = 3, .cwd = "/", .env_changes = ARGV("A=1")));
    check_call(c, c->err == 0);
    check_call(c,
               proc_spawn(&child, KID("out", "x", "hang"), OPTIONS(.out.kind = PROC_PIPE, .err.kind = PROC_PTY)) == 0);
    check_call(c, proc_child_wait(child, 1, NULL) == -ETIMEDOUT);
    check_call(c, proc_child_stop(child, LATEST_MS, NULL) == 0);
    proc_child_free(child);
    check_call(c, proc_spawn(&child, ARGV("/nonexistent/program"), NULL) == -ENOENT);
    return NULL;
}

static void the_smallest_stack_is_enough(void **state)
{
    (void)state;
    pthread_attr_t attributes;

    if (under_valgrind()) {
        SKIP("valgrind needs a larger stack itself");
    }
    assert_int_equal(pthread_attr_init(&attributes), 0);
    assert_int_equal(pthread_attr_setstacksize(&attributes, (size_t)PTHREAD_STACK_MIN + EXTRA_STACK), 0);
    for (int launcher = 0; launcher <= 1; launcher++) {
        cancelled c = {0};

        if (launcher == 1) {
            use_launcher(LAUNCH_FORK);
        }
        assert_int_equal(pthread_create(&c.thread, &attributes, use_little_stack, &c), 0);
        pthread_join(c.thread, NULL);
        assert_int_equal(c.failed_call, 0);
        assert_exited(c.result.status, 3);
        assert_string_equal(c.result.out, "fed");
        proc_result_clear(&c.result);
    }
    pthread_attr_destroy(&attributes);
}

static const struct CMUnitTest tests[] = {
    TEST(interrupted_calls_go_on),
    TEST(no_handler_of_the_host_runs_in_a_child),
    TEST(with_every_signal_blocked_all_works_and_the_child_has_none_blocked),
    TEST(a_cancelled_thread_finishes_its_exec_first),
    TEST(no_call_is_a_cancellation_point),
    TEST(the_smallest_stack_is_enough),
};

HARNESS_MAIN(tests)
