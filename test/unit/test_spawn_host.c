/*
 * proc_spawn and the process that calls it: what a start leaves there (nothing), what it lets into the child (only what
 * was named), and that threads, signals and a pending cancellation in the host do no harm.
 */
#include "harness.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/resource.h>

/* ---- nothing is left, nothing is let in ---- */

static void a_thousand_failed_starts_leave_nothing(void **state)
{
    (void)state;
    size_t before = count_open();

    for (int i = 0; i < 1000; i++) {
        proc_child *child = NULL;

        assert_int_equal(proc_spawn(&child, ARGV("/nonexistent/program"),
                                    OPTIONS(.in.kind = PROC_PIPE, .out.kind = PROC_PIPE, .err.kind = PROC_PIPE)),
                         -ENOENT);
        assert_null(child);
    }

    assert_int_equal(count_open(), before);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

static void leak_a_thousand(void *arg)
{
    struct rlimit limit;
    const char *const *argv = arg;

    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max < 4096 ? limit.rlim_max : 4096;
    setrlimit(RLIMIT_NOFILE, &limit);
    for (int i = 0; i < 1000; i++) {
        assert_true(open("/dev/null", O_RDWR) >= 0);
    }
    outcome result = run_child(argv, NULL);

    assert_ended(result, 0);
    assert_int_equal(count_fds(result.out), 3);
}

static void descriptors_that_the_host_leaks_do_not_reach_the_child(void **state)
{
    (void)state;

    in_copy(leak_a_thousand, (void *)KID("fds"));
}

static void inherit_fds_lets_through_what_is_not_close_on_exec(void **state)
{
    (void)state;
    int kept = fcntl(2, F_DUPFD, 50), private = fcntl(2, F_DUPFD_CLOEXEC, 50);
    fd_view view;

    outcome result = run_child(KID("fds"), OPTIONS(.inherit_fds = true));

    assert_ended(result, 0);
    assert_true(find_fd(result.out, kept, &view));
    assert_true(shows_file_of(&view, kept));
    assert_false(find_fd(result.out, private, &view));
    close(kept);
    close(private);
}

static void inherit_fds_lets_none_of_the_librarys_own_through(void **state)
{
    (void)state;
    outcome before = run_child(KID("fds"), OPTIONS(.inherit_fds = true, .in.kind = PROC_NULL));
    proc_child *other = start_child(KID("cat"), OPTIONS(.in.kind = PROC_PIPE, .out.kind = PROC_PIPE));

    assert_true(proc_child_exit_fd(other) >= 0);
    outcome result = run_child(KID("fds"), OPTIONS(.inherit_fds = true, .in.kind = PROC_PIPE));

    assert_int_equal(count_fds(result.out), count_fds(before.out));
    proc_child_free(other);
}

static void start_with_few_descriptors(void *arg)
{
    (void)arg;
    int started = 0;
    int filler[64];

    setrlimit(RLIMIT_NOFILE, &(struct rlimit){.rlim_cur = 64, .rlim_max = 64});
    for (int spare = 0; spare < 20; spare++) {
        proc_error error = {0};
        proc_child *child;
        int count = 0, err;

        while ((filler[count] = open("/dev/null", O_RDWR | O_CLOEXEC)) >= 0) {
            count++;
        }
        for (int i = 0; i < spare && count > 0; i++) {
            close(filler[--count]);
        }
        err = proc_spawn(&child, ARGV("/bin/sh", "-c", "exit 0"),
                         OPTIONS(.in.kind = PROC_PIPE, .out.kind = PROC_PIPE, .err.kind = PROC_NULL, .error = &error));
        if (err == 0) {
            assert_int_equal(proc_child_wait(child, PROC_FOREVER, NULL), 0);
            proc_child_free(child);
            started++;
        } else {
            assert_int_equal(err, -EMFILE);
            assert_int_equal(error.code, -EMFILE);
            assert_true(error.step == PROC_STEP_PIPE || error.step == PROC_STEP_OPEN || error.step == PROC_STEP_LAUNCH);
            assert_null(child);
            assert_int_equal(started, 0); /* with more descriptors it does not get worse */
        }
        while (count > 0) {
            close(filler[--count]);
        }
        assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    }
    assert_true(started > 0);
}

static void a_start_that_runs_out_of_descriptors_gives_all_back(void **state)
{
    (void)state;
    NOT_UNDER_VALGRIND();

    in_copy(start_with_few_descriptors, NULL);
}

/* ---- in a host with threads, signals and a pending cancellation ---- */

typedef struct spawner {
    pthread_t thread;
    int number, rounds, wrong;
} spawner;

static void *spawn_again_and_again(void *arg)
{
    spawner *own = arg;

    for (int round = 0; round < own->rounds; round++) {
        char word[32], got[32] = "", code[8];
        proc_child *child = NULL;
        proc_status status = {0};
        ssize_t size;

        snprintf(word, sizeof word, "%d-%d", own->number, round);
        snprintf(code, sizeof code, "%d", (own->number + round) % 256);
        if (proc_spawn(&child, KID("out", word, "exit", code), OPTIONS(.out.kind = PROC_PIPE)) != 0) {
            own->wrong++;
            continue;
        }
        size = proc_child_read(child, 1, got, sizeof got - 1, 30000);
        own->wrong += size < 0 || strcmp(got, word) != 0;
        own->wrong += proc_child_read(child, 1, got, sizeof got, 30000) != 0; /* nobody else holds the pipe */
        own->wrong += proc_child_wait(child, 30000, &status) != 0 || status.code != (own->number + round) % 256;
        proc_child_free(child);
    }
    return NULL;
}

static void *keep_the_allocator_busy(void *arg)
{
    atomic_bool *stop = arg;

    while (!atomic_load(stop)) {
        free(malloc(100));
        fclose(fopen("/dev/null", "re"));
    }
    return NULL;
}

static void threads_that_start_children_at_once_get_each_its_own(void **state)
{
    (void)state;
    spawner spawners[16];
    atomic_bool stop = false;
    pthread_t busy;
    int rounds = under_valgrind() ? 3 : 40;

    assert_int_equal(pthread_create(&busy, NULL, keep_the_allocator_busy, &stop), 0);
    for (int i = 0; i < (int)COUNT(spawners); i++) {
        spawners[i] = (spawner){.number = i, .rounds = rounds};
        assert_int_equal(pthread_create(&spawners[i].thread, NULL, spawn_again_and_again, &spawners[i]), 0);
    }
    for (size_t i = 0; i < COUNT(spawners); i++) {
        pthread_join(spawners[i].thread, NULL);
    }
    atomic_store(&stop, true);
    pthread_join(busy, NULL);

    for (size_t i = 0; i < COUNT(spawners); i++) {
        assert_int_equal(spawners[i].wrong, 0);
    }
}

static void *spawn_with_a_cancellation_pending(void *arg)
{
    proc_child **child = arg;

    pthread_cancel(pthread_self());
    (void)proc_spawn(child, KID("exit", "5"), OPTIONS(.out.kind = PROC_PIPE));
    pthread_testcancel();
    return NULL;
}

static void a_pending_cancellation_waits_until_the_call_is_over(void **state)
{
    (void)state;
    CANCELS_A_THREAD();
    proc_child *child = NULL;
    proc_status status;
    pthread_t thread;
    void *end;

    assert_int_equal(pthread_create(&thread, NULL, spawn_with_a_cancellation_pending, &child), 0);
    pthread_join(thread, &end);

    assert_ptr_equal(end, PTHREAD_CANCELED);
    assert_non_null(child);
    assert_int_equal(proc_child_wait(child, PROC_FOREVER, &status), 0);
    assert_int_equal(status.code, 5);
    proc_child_free(child);
}

static struct handler_record {
    pid_t host;
    volatile sig_atomic_t calls, strangers;
} * handler_record; /* in memory that a forked child shares */

static void record_call(int signo)
{
    (void)signo;
    handler_record->calls = 1;
    if (getpid() != handler_record->host) {
        handler_record->strangers = 1;
    }
}

static void handle_every_signal(void)
{
    struct sigaction action = {.sa_handler = record_call}; /* no SA_RESTART: calls are interrupted */

    for (int signo = 1; signo <= SIGRTMAX; signo++) {
        if (signo != SIGABRT && signo != SIGALRM) {
            (void)sigaction(signo, &action, NULL);
        }
    }
}

/* A group of its own, in which another process sends SIGUSR1 to everybody as fast as it can. */
static void start_children_in_a_storm(void *arg)
{
    const char *const *argv = arg;
    sigset_t none, now;
    pid_t storm;

    assert_int_equal(setpgid(0, 0), 0);
    handler_record->host = getpid();
    handle_every_signal();
    storm = fork();
    if (storm == 0) {
        signal(SIGUSR1, SIG_IGN);
        alarm(60); /* it ends, too, where a test before its kill has failed */
        for (;;) {
            kill(0, SIGUSR1);
        }
    }
    for (int i = 0; i < 80; i++) {
        proc_child *child;
        int err = proc_spawn(&child, argv, OPTIONS(.in.kind = PROC_NULL, .out.kind = PROC_NULL));

        assert_true(err == 0 || err == -ECHILD); /* it may be hit before it runs */
        assert_int_equal(err == 0 ? proc_child_wait(child, PROC_FOREVER, NULL) : 0, 0);
        proc_child_free(child);
    }
    kill(storm, SIGKILL);
    waitpid(storm, NULL, 0);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, NULL, &now);
    assert_memory_equal(&none, &now, 8);
    for (int signo = 1; signo <= SIGRTMAX; signo++) {
        struct sigaction action;

        if (signo != SIGABRT && signo != SIGALRM && signo != SIGKILL && signo != SIGSTOP &&
            sigaction(signo, NULL, &action) == 0) {
            assert_ptr_equal(action.sa_handler, record_call);
        }
    }
    assert_int_equal(handler_record->strangers, 0);
    assert_int_equal(handler_record->calls, 1);
}

static void no_handler_of_the_host_runs_in_a_child(void **state)
{
    (void)state;
    NOT_UNDER_VALGRIND();
    if (THREAD_SANITIZER) {
        SKIP("the thread sanitizer holds signals back, and hands them out at the end of fork, in the child too");
    }

    handler_record = mmap(NULL, sizeof *handler_record, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    in_copy(start_children_in_a_storm, (void *)KID("exit", "0"));
    munmap(handler_record, sizeof *handler_record);
}

static void *change_ids(void *arg)
{
    atomic_bool *stop = arg;

    while (!atomic_load(stop)) {
        (void)!setuid(getuid());
    }
    return NULL;
}

static void start_children_while_ids_are_set(void *arg)
{
    atomic_bool stop = false;
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, change_ids, &stop), 0);
    for (int i = 0; i < 100; i++) {
        outcome result = run_child(arg, NULL);

        assert_ended(result, 0);
    }
    atomic_store(&stop, true);
    pthread_join(thread, NULL);
}

static void another_thread_may_set_ids_meanwhile(void **state)
{
    (void)state;
    NOT_UNDER_VALGRIND();

    in_copy(start_children_while_ids_are_set, (void *)KID("out", "x"));
}

static const struct CMUnitTest tests[] = {
    TEST(a_thousand_failed_starts_leave_nothing),
    TEST(descriptors_that_the_host_leaks_do_not_reach_the_child),
    TEST(inherit_fds_lets_through_what_is_not_close_on_exec),
    TEST(inherit_fds_lets_none_of_the_librarys_own_through),
    TEST(a_start_that_runs_out_of_descriptors_gives_all_back),
    TEST(threads_that_start_children_at_once_get_each_its_own),
    TEST(a_pending_cancellation_waits_until_the_call_is_over),
    TEST(no_handler_of_the_host_runs_in_a_child),
    TEST(another_thread_may_set_ids_meanwhile),
};

HARNESS_MAIN(tests)
