/* wrap: malloc calloc realloc poll */
/*
 * Every allocation of the library fails in turn: the first, the second, and so on until none is left. The call says -ENOMEM
 * or does without; nothing is left behind, and the next time it works.
 */
#include "events.h"

#include <poll.h>

#include "channel.h"

static int countdown; /* allocations until one fails; 0: none does */

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);

static bool fails(void)
{
    if (countdown > 0 && --countdown == 0) {
        errno = ENOMEM;
        return true;
    }
    return false;
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *memory, size_t size)
{
    return fails() ? NULL : __real_realloc(memory, size);
}

static int polls; /* until one fails; 0: none does */

int __real_poll(struct pollfd *fds, nfds_t count, int timeout);
int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout);

int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout)
{
    if (polls > 0 && --polls == 0) {
        errno = ENOMEM;
        return -1;
    }
    return __real_poll(fds, count, timeout);
}

/* What a scenario says: 0, -ENOMEM, or something that is wrong. */
typedef int scenario(void);

/* How many runs said so. */
static int fail_each(scenario *run, int *what, int most)
{
    int refused = 0;

    assert_int_equal(run(), 0); /* what is kept for ever is made now */
    for (int number = 1; number <= most; number++) {
        size_t open_before = count_open();
        *what = number;
        int err = run();
        bool reached = *what == 0;
        *what = 0;

        if (err != 0 && err != -ENOMEM) {
            fail_msg("number %d fails: %d", number, err);
        }
        refused += err == -ENOMEM;
        assert_int_equal(count_open(), open_before);
        assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
        assert_int_equal(run(), 0);
        if (!reached) {
            return refused;
        }
    }
    return refused;
}

static void fail_each_allocation(scenario *run)
{
    assert_in_range(fail_each(run, &countdown, 200), 1, 199);
}

static const proc_stdio piped = {.kind = PROC_PIPE};

static int spawn_and_wait(void)
{
    proc_child *child = NULL;
    const mode_t mask = 077;
    const proc_limit limit = {.resource = 4, .soft = 0, .hard = 0};
    const proc_fd_map map = {.child = 7, .parent = 1};
    int err = proc_spawn(&child, ARGV("sh", "-c", "exit 0"),
                         OPTIONS(.in = piped, .out = piped, .cwd = "/", .env_changes = ARGV("A=1", "B"), .umask = &mask,
                                 .limits = &limit, .limit_count = 1, .fds = &map, .fd_count = 1));

    if (err == 0) {
        int fd = proc_child_exit_fd(child);
        err = fd < 0 ? fd : proc_child_wait(child, IN_TIME, NULL);
    } else if (child != NULL) {
        return 1;
    }
    proc_child_free(child);
    return err;
}

static void starts_fail_as_a_whole(void **state)
{
    (void)state;

    fail_each_allocation(spawn_and_wait);
}

static int run_to_the_end(void)
{
    static char input[100000];
    proc_result result;
    int err = proc_execfile(&result, KID("cat", "exit", "3"), OPTIONS(.input = input, .input_size = sizeof input));

    if (err == 0 && (result.status.code != 3 || result.out_size != sizeof input)) {
        err = 1;
    } else if (err < 0 && (result.out != NULL || result.err != NULL)) {
        err = 2; /* the manual says that it is empty then */
    }
    proc_result_clear(&result);
    return err;
}

static void a_run_without_memory_is_killed_and_reaped(void **state)
{
    (void)state;

    fail_each_allocation(run_to_the_end);
}

static int talk(void)
{
    static const char data[20000] = "x";
    proc_channel *ends[2] = {NULL, NULL};
    proc_message m, request;
    int fd = 1, err = proc_channel_pair(ends, CHANNEL_OPTIONS(.max_fds = 1, .linger_ms = 1));

    if (err < 0) {
        return ends[0] == NULL && ends[1] == NULL ? err : 1;
    }
    err = proc_channel_flush(ends[1], IN_TIME);
    for (uint32_t i = 0; i < 3 && err == 0; i++) {
        err = proc_channel_post(ends[0], MESSAGE(.type = i, .data = data, .size = 100));
        err = err == 0 ? proc_channel_send(ends[0], MESSAGE(.data = data, .size = sizeof data), IN_TIME) : err;
        err = err == 0 ? proc_channel_recv(ends[1], &m, IN_TIME) : err;
        err = err == 0 ? proc_channel_recv(ends[1], &m, IN_TIME) : err;
    }
    err = err == 0 ? proc_channel_flush(ends[1], IN_TIME) : err;
    if (err == 0 && proc_channel_recv(ends[0], &m, 0) == -ENOMEM) {
        err = -ENOMEM;
    }
    err = err == 0 ? proc_channel_send(ends[0], MESSAGE(.fds = &fd, .fd_count = 1), IN_TIME) : err;
    err = err == 0 ? proc_channel_recv(ends[1], &m, IN_TIME) : err;
    int64_t id = err == 0 ? proc_channel_request(ends[0], ASK(.type = 1), IN_TIME) : err;
    err = id < 0 ? (int)id : proc_channel_recv(ends[1], &request, IN_TIME);
    err = err == 0 ? proc_channel_reply(ends[1], &request, ANSWER(.type = 2), IN_TIME) : err;
    err = err == 0 ? proc_channel_recv(ends[0], &m, IN_TIME) : err;
    proc_channel_free(ends[0]);
    proc_channel_free(ends[1]);
    return err;
}

static void a_channel_without_memory_says_so(void **state)
{
    (void)state;

    fail_each_allocation(talk);
}

static void count(void *ctx)
{
    ++*(int *)ctx;
}

static void note_result(int err, proc_result *result, void *ctx)
{
    *(int *)ctx = err == 0 && result->status.code != 3 ? 1 : err;
}

static int loop_once(void)
{
    static const proc_handlers none;
    proc_loop *loop = NULL;
    proc_child *child = NULL;
    int rings = 0, told = 0, err = proc_loop_new(&loop);

    if (err < 0) {
        return loop == NULL ? err : 1;
    }
    err = proc_loop_add_timer(loop, 0, 0, count, &rings);
    err = err > 0 ? proc_spawn(&child, KID("out", "x"), OPTIONS(.out = piped)) : err;
    err = err == 0 ? proc_loop_add_child(loop, child, &none, NULL) : err;
    err = err == 0 ? proc_loop_execfile(loop, KID("out", "x", "exit", "3"), NULL, note_result, &told) : err;
    err = err == 0 ? proc_loop_run(loop, IN_TIME) : err;
    err = err == 0 ? told : err;
    proc_child_free(child);
    proc_loop_free(loop);
    return err;
}

static void a_loop_without_memory_says_so(void **state)
{
    (void)state;

    fail_each_allocation(loop_once);
}

/* ---- more of each than there is room for from the beginning ---- */

static int start_with_many_descriptors(void)
{
    enum { MANY = 60 };
    proc_fd_map maps[MANY];
    proc_child *child = NULL;

    for (int i = 0; i < MANY; i++) {
        maps[i] = (proc_fd_map){.child = 5 + i, .parent = 1};
    }
    int err = proc_spawn(&child, ARGV("true"), OPTIONS(.fds = maps, .fd_count = MANY));
    err = err == 0 ? proc_child_wait(child, IN_TIME, NULL) : err;
    proc_child_free(child);
    return err;
}

static int communicate_without_pipes(void)
{
    proc_child *child = NULL;
    proc_result result = {.out = NULL};
    int err = proc_spawn(&child, ARGV("true"), NULL);

    err = err == 0 ? proc_child_communicate(child, NULL, &result) : err;
    if (err < 0 && (result.out != NULL || result.err != NULL)) {
        err = 1;
    }
    proc_result_clear(&result);
    proc_child_free(child);
    return err;
}

static void what_needs_more_than_most_fails_as_a_whole_too(void **state)
{
    (void)state;

    fail_each_allocation(start_with_many_descriptors);
    fail_each_allocation(communicate_without_pipes);
}

/* Those of the other end are kept while this one waits for something else. */
static int keep_many_messages(void)
{
    enum { MANY = 300 };
    proc_channel *ends[2] = {NULL, NULL};
    proc_message m;
    int fd = 1, err = proc_channel_pair(ends, CHANNEL_OPTIONS(.max_fds = 1, .linger_ms = 1));

    if (err < 0) {
        return err;
    }
    err = proc_channel_recv(ends[0], &m, 0); /* its HELLO */
    err = err == -ETIMEDOUT ? proc_channel_send(ends[0], MESSAGE(.fds = &fd, .fd_count = 1), IN_TIME) : err;
    for (uint32_t i = 0; i < MANY && err == 0; i++) {
        err = proc_channel_post(ends[0], MESSAGE(.type = i, .data = "text", .size = 4));
    }
    err = err == 0 ? proc_channel_flush(ends[0], IN_TIME) : err;
    err = err == 0 ? proc_channel_call(ends[1], MESSAGE(.type = 1), &m, 0) : err;
    err = err == -ETIMEDOUT ? proc_channel_recv(ends[1], &m, 0) : err;
    for (uint32_t i = 0; i < MANY && err == 0; i++) {
        err = proc_channel_recv(ends[1], &m, 0);
        err = err == 0 && (m.type != i || m.size != 4) ? 1 : err;
    }
    proc_channel_free(ends[0]);
    proc_channel_free(ends[1]);
    return err;
}

static int pass_a_large_message(void)
{
    enum { SIZE = 3 * 1024 * 1024 };
    static const char data[SIZE];
    proc_channel *ends[2] = {NULL, NULL};
    proc_message m;
    int err = proc_channel_pair(ends, CHANNEL_OPTIONS(.linger_ms = 1));

    if (err == 0) {
        (void)proc_channel_recv(ends[0], &m, 0);
        err = proc_channel_send(ends[0], MESSAGE(.data = data, .size = SIZE), 0);
        int came = err == 0 ? -ETIMEDOUT : err;
        while (came == -ETIMEDOUT) {
            int went = proc_channel_flush(ends[0], 0);
            came = proc_channel_recv(ends[1], &m, 0);
            came = came == -ETIMEDOUT && went < 0 && went != -ETIMEDOUT ? went : came;
        }
        err = came == 0 && m.size != SIZE ? 1 : came;
    }
    proc_channel_free(ends[0]);
    proc_channel_free(ends[1]);
    return err;
}

static void channels_that_carry_much_say_that_memory_ran_out(void **state)
{
    (void)state;

    fail_each_allocation(keep_many_messages);
    fail_each_allocation(pass_a_large_message);
}

static void see_fd(int fd, short revents, void *ctx)
{
    (void)fd;
    (void)revents;
    (void)ctx;
}

static void see_signal(int signal, void *ctx)
{
    (void)signal;
    (void)ctx;
}

static int fill_a_loop(void)
{
    static const proc_handlers none;
    proc_error error = {.code = 0};
    proc_loop *loop = NULL;
    proc_channel *ends[2] = {NULL, NULL};
    int told = 0, err = proc_loop_new(&loop);

    err = err == 0 ? proc_channel_pair(ends, CHANNEL_OPTIONS(.linger_ms = 1)) : err;
    err = err == 0 ? proc_loop_add_channel(loop, ends[0], &none, NULL) : err;
    err = err == 0 ? proc_loop_add_fd(loop, 0, POLLPRI, see_fd, NULL) : err;
    err = err == 0 ? proc_loop_add_signal(loop, SIGUSR1, see_signal, NULL) : err;
    err = err == 0 ? proc_loop_execfile(loop, KID("cat", "exit", "3"),
                                        OPTIONS(.input = "text", .input_size = 4, .error = &error), note_result, &told)
                   : err;
    if (err == 0) {
        err = proc_loop_remove_fd(loop, 0);
        err = err == 0 ? proc_loop_remove_channel(loop, ends[0]) : err;
        err = err == 0 ? proc_loop_run(loop, IN_TIME) : err;
        err = err == 0 ? told : err;
    } else if (error.code != 0 && error.code != err) {
        err = 1;
    }
    proc_loop_free(loop);
    proc_channel_free(ends[0]);
    proc_channel_free(ends[1]);
    return err;
}

static void nothing_is_added_to_a_loop_without_memory(void **state)
{
    (void)state;

    fail_each_allocation(fill_a_loop);
}

/* ---- poll, which takes memory too ---- */

static void a_poll_without_memory_ends_the_call_and_nothing_else(void **state)
{
    (void)state;

    (void)fail_each(spawn_and_wait, &polls, 10);
    assert_true(fail_each(run_to_the_end, &polls, 10) > 0);
    (void)fail_each(talk, &polls, 10);
    (void)fail_each(loop_once, &polls, 10);
}

static void a_wait_that_failed_for_memory_may_be_made_again(void **state)
{
    (void)state;
    proc_child *child = start_child(KID("readbyte", "0", "exit", "3"), OPTIONS(.in = piped));
    proc_channel *ends[2];
    proc_message m;
    proc_status status;

    make_pair(ends, NULL);
    polls = 1;
    assert_int_equal(proc_child_wait(child, IN_TIME, &status), -ENOMEM);
    polls = 1;
    assert_int_equal(proc_channel_recv(ends[0], &m, IN_TIME), -ENOMEM);

    assert_int_equal(proc_child_close(child, 0), 0);
    assert_int_equal(proc_child_wait(child, IN_TIME, &status), 0);
    assert_int_equal(status.code, 3);
    assert_int_equal(proc_channel_send(ends[1], MESSAGE(.type = 4), IN_TIME), 0);
    expect_message(ends[0], 4, NULL, 0);
    proc_child_free(child);
    free_pair(ends);
}

static const struct CMUnitTest tests[] = {
    TEST(starts_fail_as_a_whole),
    TEST(a_run_without_memory_is_killed_and_reaped),
    TEST(a_channel_without_memory_says_so),
    TEST(a_loop_without_memory_says_so),
    TEST(what_needs_more_than_most_fails_as_a_whole_too),
    TEST(channels_that_carry_much_say_that_memory_ran_out),
    TEST(nothing_is_added_to_a_loop_without_memory),
    TEST(a_poll_without_memory_ends_the_call_and_nothing_else),
    TEST(a_wait_that_failed_for_memory_may_be_made_again),
};

HARNESS_MAIN(tests)
