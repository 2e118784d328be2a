/*
 * Many threads at once: each starts its own children and gets its own ends; several use one child. Threads note what they
 * saw; the test asserts it when they are done.
 */
#include "lifeline.h"

#include <pthread.h>
#include <stdatomic.h>

enum { MANY = 64 };

/* ---- starting at once ---- */

typedef struct crew {
    pthread_barrier_t at_once;
    pthread_t threads[MANY];
    proc_child *children[MANY];
    int errors[MANY];
    proc_status statuses[MANY];
    int size;
} crew;

typedef struct member {
    crew *crew;
    int number;
} member;

static void run_crew(crew *c, void *(*work)(void *))
{
    member members[MANY];

    memset(c, 0, sizeof *c);
    c->size = under_valgrind() ? 8 : MANY; /* it makes a copy of itself for each start, and slowly */
    assert_int_equal(pthread_barrier_init(&c->at_once, NULL, (unsigned)c->size), 0);
    for (int i = 0; i < c->size; i++) {
        members[i] = (member){.crew = c, .number = i};
        assert_int_equal(pthread_create(&c->threads[i], NULL, work, &members[i]), 0);
    }
    for (int i = 0; i < c->size; i++) {
        pthread_join(c->threads[i], NULL);
    }
    pthread_barrier_destroy(&c->at_once);
}

/* One run of the suite starts ten thousand, the others a part. */
static int starts_each(void)
{
    const char *launcher = getenv("PROC_TEST_LAUNCHER");
    bool first = !POSIX_BUILD && !ADDRESS_SANITIZER && !THREAD_SANITIZER && !under_valgrind() &&
                 getenv("PROC_TEST_EXITWATCH") == NULL && launcher != NULL && strcmp(launcher, "vfork") == 0;

    return first ? 160 : 5;
}

static void *start_and_wait(void *arg)
{
    const member *m = arg;
    int rounds = starts_each();
    char code[8];
    proc_child *child;
    int err = 0;

    snprintf(code, sizeof code, "%d", m->number);
    pthread_barrier_wait(&m->crew->at_once);
    for (int round = 0; round < rounds && err == 0; round++) {
        err = proc_spawn(&child, KID("exit", code), NULL);
        if (err == 0) {
            err = proc_child_wait(child, LATEST_MS, &m->crew->statuses[m->number]);
            proc_child_free(child);
        }
    }
    m->crew->errors[m->number] = err;
    return NULL;
}

static void each_thread_gets_the_end_of_its_own_child(void **state)
{
    (void)state;
    static crew c;

    run_crew(&c, start_and_wait);

    for (int i = 0; i < c.size; i++) {
        assert_int_equal(c.errors[i], 0);
        assert_exited(c.statuses[i], i);
    }
}

static void *start_cat(void *arg)
{
    const member *m = arg;

    pthread_barrier_wait(&m->crew->at_once);
    m->crew->errors[m->number] =
        proc_spawn(&m->crew->children[m->number], KID("cat"),
                   OPTIONS(.in.kind = PROC_PIPE, .out.kind = PROC_PIPE, .err.kind = PROC_PIPE));
    return NULL;
}

/* Were a pipe of one child in another, its end would not come while that one lives. */
static void no_child_has_a_pipe_of_another(void **state)
{
    (void)state;
    static crew c;
    char said[16], wanted[16];

    run_crew(&c, start_cat);
    for (int i = 0; i < c.size; i++) {
        assert_int_equal(c.errors[i], 0);
    }

    for (int n = 0; n < c.size; n++) {
        int i = n % 2 == 0 ? n / 2 : c.size - 1 - n / 2; /* not in the order in which they started */
        ssize_t size = snprintf(wanted, sizeof wanted, "to %d", i);

        assert_int_equal(proc_child_write(c.children[i], wanted, (size_t)size, LATEST_MS), size);
        assert_int_equal(proc_child_read(c.children[i], 1, said, sizeof said, LATEST_MS), size);
        assert_memory_equal(said, wanted, (size_t)size);
        assert_int_equal(proc_child_close(c.children[i], 0), 0);
        assert_int_equal(proc_child_read(c.children[i], 1, said, sizeof said, LATEST_MS), 0);
        assert_int_equal(proc_child_read(c.children[i], 2, said, sizeof said, LATEST_MS), 0);
        assert_int_equal(proc_child_wait(c.children[i], LATEST_MS, &c.statuses[i]), 0);
        assert_exited(c.statuses[i], 0);
        proc_child_free(c.children[i]);
    }
}

static void *run_exec(void *arg)
{
    const member *m = arg;
    char line[64], wanted[16];
    proc_result result;
    int err;

    snprintf(wanted, sizeof wanted, "%d", m->number);
    snprintf(line, sizeof line, "cat; exit %d", m->number);
    pthread_barrier_wait(&m->crew->at_once);
    err = proc_exec(&result, line, OPTIONS(.input = wanted, .input_size = strlen(wanted), .timeout_ms = LATEST_MS));
    if (err == 0 && strcmp(result.out, wanted) != 0) {
        err = 1;
    }
    m->crew->statuses[m->number] = result.status;
    m->crew->errors[m->number] = err;
    proc_result_clear(&result);
    return NULL;
}

static void each_thread_gets_the_output_of_its_own_command(void **state)
{
    (void)state;
    static crew c;

    run_crew(&c, run_exec);

    for (int i = 0; i < c.size; i++) {
        assert_int_equal(c.errors[i], 0);
        assert_exited(c.statuses[i], i);
    }
}

static void *fail_to_start(void *arg)
{
    const member *m = arg;
    proc_error error;
    proc_child *child = NULL;
    int err = 0;

    pthread_barrier_wait(&m->crew->at_once);
    for (int round = 0; round < 5 && err == 0; round++) {
        bool searched = (m->number + round) % 2 == 0;

        err = proc_spawn(&child, ARGV(searched ? "no-such-program-anywhere" : "/etc/passwd"), OPTIONS(.error = &error));
        err = err == (searched ? -ENOENT : -EACCES) && error.step == PROC_STEP_EXEC && child == NULL ? 0 : 1;
    }
    m->crew->errors[m->number] = err;
    return NULL;
}

static void failed_starts_leave_nothing_behind(void **state)
{
    (void)state;
    static crew c;

    run_crew(&c, fail_to_start);

    for (int i = 0; i < c.size; i++) {
        assert_int_equal(c.errors[i], 0);
    }
}

/* ---- beside a busy allocator ---- */

static atomic_bool busy;

static void *allocate(void *arg)
{
    while (atomic_load(&busy)) {
        void *volatile small = malloc(100), *volatile large = malloc(300000);

        free(small);
        free(large);
    }
    return arg;
}

static void a_start_does_not_wait_for_the_allocators_lock(void **state)
{
    (void)state;
    pthread_t threads[2];
    int rounds = under_valgrind() ? 10 : 150;

    atomic_store(&busy, true);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, allocate, NULL), 0);
    }
    for (int round = 0; round < rounds; round++) {
        outcome result = run_child(
            KID("out", "x", "exit", "3"),
            OPTIONS(.env_changes = ARGV("A=1"), .limits = &(proc_limit){RLIMIT_CORE, 0, 0}, .limit_count = 1));

        assert_ended(result, 3);
    }
    atomic_store(&busy, false);
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
    }
}

/* ---- one child, several threads ---- */

typedef struct waiter {
    pthread_t thread;
    proc_child *child;
    int timeout_ms, err;
    proc_status status;
} waiter;

static void *wait_for_child(void *arg)
{
    waiter *w = arg;

    do {
        w->err = proc_child_wait(w->child, w->timeout_ms, &w->status);
    } while (w->err == -ETIMEDOUT);
    return NULL;
}

static void start_waiters(waiter *waiters, size_t count, proc_child *child)
{
    for (size_t i = 0; i < count; i++) {
        waiters[i] = (waiter){.child = child, .timeout_ms = i % 2 == 0 ? PROC_FOREVER : 5};
        assert_int_equal(pthread_create(&waiters[i].thread, NULL, wait_for_child, &waiters[i]), 0);
    }
}

/* All of them were told, and the same. */
static proc_status join_waiters(waiter *waiters, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        pthread_join(waiters[i].thread, NULL);
        assert_int_equal(waiters[i].err, 0);
        assert_memory_equal(&waiters[i].status, &waiters[0].status, sizeof waiters[0].status);
    }
    return waiters[0].status;
}

static void all_who_wait_get_the_status(void **state)
{
    (void)state;

    for (int round = 0; round < 20; round++) {
        waiter waiters[6];
        proc_child *child = start_child(KID("readbyte", "0", "exit", "21"), OPTIONS(.in.kind = PROC_PIPE));

        start_waiters(waiters, COUNT(waiters), child);
        assert_int_equal(proc_child_close(child, 0), 0);
        assert_exited(join_waiters(waiters, COUNT(waiters)), 21);
        proc_child_free(child);
    }
}

static void a_kill_reaches_a_child_that_others_wait_for(void **state)
{
    (void)state;

    for (int round = 0; round < 20; round++) {
        waiter waiters[2];
        proc_child *child = start_child(KID("hang"), OPTIONS(.group = PROC_GROUP_OWN));

        start_waiters(waiters, COUNT(waiters), child);
        assert_int_equal(proc_child_kill(child, SIGTERM), 0);
        assert_killed(join_waiters(waiters, COUNT(waiters)), SIGTERM);
        assert_int_equal(proc_child_kill(child, SIGTERM), -ESRCH);
        proc_child_free(child);
    }
}

static void kills_from_many_threads_end_with_esrch(void **state)
{
    (void)state;
    waiter waiters[2];
    proc_child *child = start_child(KID("hang"), NULL);
    int err;

    start_waiters(waiters, COUNT(waiters), child);
    do {
        err = proc_child_kill(child, SIGKILL);
    } while (err == 0);

    assert_int_equal(err, -ESRCH);
    assert_killed(join_waiters(waiters, COUNT(waiters)), SIGKILL);
    proc_child_free(child);
}

static void a_stop_tells_those_who_wait(void **state)
{
    (void)state;

    for (int round = 0; round < 10; round++) {
        lifeline line = lifeline_make();
        waiter waiters[3];
        proc_child *child = start_child(KID("ignore", "TERM", "ready", "5", "hang"), OPTIONS(HOLDS(line)));
        proc_status status;

        lifeline_await_ready(&line);
        start_waiters(waiters, COUNT(waiters), child);
        assert_int_equal(proc_child_stop(child, 10, &status), 0);
        assert_killed(status, SIGKILL);
        assert_true(join_waiters(waiters, COUNT(waiters)).forced);
        proc_child_free(child);
        lifeline_await_end(&line);
    }
}

static void the_time_runs_out_once_for_all_who_wait(void **state)
{
    (void)state;
    lifeline line = lifeline_make();
    waiter waiters[6];
    proc_child *child = start_child(KID("ignore", "TERM", "ready", "5", "hang"),
                                    OPTIONS(.timeout_ms = 100, .grace_ms = 50, .group = PROC_GROUP_OWN, HOLDS(line)));

    lifeline_await_ready(&line);
    start_waiters(waiters, COUNT(waiters), child);
    proc_status status = join_waiters(waiters, COUNT(waiters));

    assert_killed(status, SIGKILL);
    assert_true(status.timed_out && status.forced);
    proc_child_free(child);
    lifeline_await_end(&line);
}

typedef struct stream_user {
    pthread_t thread;
    proc_child *child;
    int stream;
    ssize_t size, last;
} stream_user;

static void *use_one_stream(void *arg)
{
    stream_user *user = arg;
    static char data[300000];
    char buffer[5000];

    if (user->stream == 0) {
        user->size = proc_child_write(user->child, data, sizeof data, LATEST_MS);
        user->last = proc_child_close(user->child, 0);
        return NULL;
    }
    while ((user->last = proc_child_read(user->child, user->stream, buffer, sizeof buffer, LATEST_MS)) > 0) {
        user->size += user->last;
    }
    return NULL;
}

static void the_streams_of_one_child_serve_one_thread_each(void **state)
{
    (void)state;
    proc_child *child = start_child(KID("grandchild", "write", "2", "200000", "--", "cat", "reap", "exit", "1"),
                                    OPTIONS(.in.kind = PROC_PIPE, .out.kind = PROC_PIPE, .err.kind = PROC_PIPE));
    stream_user users[3];
    waiter w;

    start_waiters(&w, 1, child);
    for (int stream = 0; stream < 3; stream++) {
        users[stream] = (stream_user){.child = child, .stream = stream};
        assert_int_equal(pthread_create(&users[stream].thread, NULL, use_one_stream, &users[stream]), 0);
    }
    for (int stream = 0; stream < 3; stream++) {
        pthread_join(users[stream].thread, NULL);
        assert_int_equal(users[stream].last, 0);
        assert_int_equal(users[stream].size, stream == 2 ? 200000 : 300000);
    }

    assert_exited(join_waiters(&w, 1), 1);
    proc_child_free(child);
}

/* ---- many children, one reader each ---- */

typedef struct reader {
    pthread_t thread;
    proc_child *child;
    size_t size, wrong;
    ssize_t last;
    proc_status status;
} reader;

static void *read_all(void *arg)
{
    reader *r = arg;
    char buffer[5000];

    while ((r->last = proc_child_read(r->child, 1, buffer, sizeof buffer, LATEST_MS)) > 0) {
        for (ssize_t i = 0; i < r->last; i++) {
            r->wrong += buffer[i] != pattern_at(r->size++);
        }
    }
    if (proc_child_wait(r->child, LATEST_MS, &r->status) != 0) {
        r->wrong++;
    }
    proc_child_free(r->child);
    return NULL;
}

static void ten_threads_read_ten_children(void **state)
{
    (void)state;
    reader readers[10];

    for (size_t i = 0; i < COUNT(readers); i++) {
        readers[i] =
            (reader){.child = start_child(KID("write", "1", text("%zu", 200000 + i)), OPTIONS(.out.kind = PROC_PIPE))};
    }
    for (size_t i = 0; i < COUNT(readers); i++) {
        assert_int_equal(pthread_create(&readers[i].thread, NULL, read_all, &readers[i]), 0);
    }

    for (size_t i = 0; i < COUNT(readers); i++) {
        pthread_join(readers[i].thread, NULL);
        assert_int_equal(readers[i].last, 0);
        assert_int_equal(readers[i].size, 200000 + i);
        assert_int_equal(readers[i].wrong, 0);
        assert_exited(readers[i].status, 0);
    }
}

static const struct CMUnitTest tests[] = {
    TEST(each_thread_gets_the_end_of_its_own_child),
    TEST(no_child_has_a_pipe_of_another),
    TEST(each_thread_gets_the_output_of_its_own_command),
    TEST(failed_starts_leave_nothing_behind),
    TEST(a_start_does_not_wait_for_the_allocators_lock),
    TEST(all_who_wait_get_the_status),
    TEST(a_kill_reaches_a_child_that_others_wait_for),
    TEST(kills_from_many_threads_end_with_esrch),
    TEST(a_stop_tells_those_who_wait),
    TEST(the_time_runs_out_once_for_all_who_wait),
    TEST(the_streams_of_one_child_serve_one_thread_each),
    TEST(ten_threads_read_ten_children),
};

HARNESS_MAIN(tests)
