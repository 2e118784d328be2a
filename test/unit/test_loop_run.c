/*
 * Commands in a loop: the same results as those that wait, exactly once, and thousands of children at a time.
 */
#include "events.h"
#include "lifeline.h"

#include <sys/resource.h>

typedef struct told {
    int calls, err;
    proc_status status;
    char *out, *complaint;
    size_t out_size, complaint_size;
    bool out_truncated, incomplete;
} told;

static void take_result(int err, proc_result *result, void *ctx)
{
    told *t = ctx;

    t->calls++;
    t->err = err;
    t->status = result->status;
    t->out = result->out;
    t->complaint = result->err;
    t->out_size = result->out_size;
    t->complaint_size = result->err_size;
    t->out_truncated = result->out_truncated;
    t->incomplete = result->incomplete;
    result->out = result->err = NULL;
}

static void drop_told(told *t)
{
    free(t->out);
    free(t->complaint);
    *t = (told){.calls = 0};
}

static void expect_same(const told *t, int err, const proc_result *expected)
{
    assert_int_equal(t->calls, 1);
    assert_int_equal(t->err, err);
    assert_int_equal(t->status.state, expected->status.state);
    assert_int_equal(t->status.code, expected->status.code);
    assert_int_equal(t->status.signal, expected->status.signal);
    assert_int_equal(t->status.timed_out, expected->status.timed_out);
    assert_int_equal(t->out_size, expected->out_size);
    assert_memory_equal(t->out, expected->out, expected->out_size + 1);
    assert_int_equal(t->complaint_size, expected->err_size);
    assert_memory_equal(t->complaint, expected->err, expected->err_size + 1);
    assert_int_equal(t->out_truncated, expected->out_truncated);
    assert_int_equal(t->incomplete, expected->incomplete);
}

static void a_command_gives_what_proc_exec_gives(void **state)
{
    (void)state;
    const struct {
        const char *command;
        proc_options options;
    } cases[] = {
        {"echo out; echo err >&2", {.cwd = NULL}},
        {"exit 42", {.cwd = NULL}},
        {"kill -9 $$", {.cwd = NULL}},
        {"no-such-program", {.env_changes = (const char *const[]){"LC_ALL=C", NULL}, .err.kind = PROC_NULL}},
        {"cat", {.input = "fed", .input_size = 3}},
        {"cat; pwd", {.cwd = "/"}},
        {"head -c 100000 /dev/zero", {.max_buffer = 1000}},
        {"head -c 100000 /dev/zero", {.max_buffer = 1000, .overflow = PROC_OVERFLOW_HEAD}},
        {"head -c 100000 /dev/zero; echo end", {.max_buffer = 1000, .overflow = PROC_OVERFLOW_TAIL}},
        {"echo kept; sleep 60 & exit 3", {.drain_ms = 100, .group = PROC_GROUP_OWN}},
        {"echo a; echo b >&2", {.err.kind = PROC_MERGE}},
    };
    proc_loop *loop = make_loop();
    told all[COUNT(cases)] = {{.calls = 0}};

    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_int_equal(proc_loop_exec(loop, cases[i].command, &cases[i].options, take_result, &all[i]), 0);
    }
    run_loop(loop);
    for (size_t i = 0; i < COUNT(cases); i++) {
        proc_result expected;
        int err = proc_exec(&expected, cases[i].command, &cases[i].options);

        expect_same(&all[i], err, &expected);
        proc_result_clear(&expected);
        drop_told(&all[i]);
    }
    proc_loop_free(loop);
}

/* What a command says before its time is over, it does not say in time where the start is slow: then with more time. */
static void a_command_whose_time_runs_out_gives_what_proc_exec_gives(void **state)
{
    (void)state;
    static const char *const commands[] = {"echo start; sleep 60", "trap '' TERM; echo start; sleep 60"};
    proc_loop *loop = make_loop();

    for (size_t i = 0; i < COUNT(commands); i++) {
        bool said = false;

        for (int timeout_ms = 150; !said && timeout_ms < IN_TIME; timeout_ms *= 4) {
            const proc_options options = {.timeout_ms = timeout_ms, .grace_ms = i == 0 ? 0 : 50};
            told t = {.calls = 0};
            proc_result expected;

            assert_int_equal(proc_loop_exec(loop, commands[i], &options, take_result, &t), 0);
            run_loop(loop);
            int err = proc_exec(&expected, commands[i], &options);
            assert_int_equal(err, -ETIMEDOUT);
            said = t.out_size > 0 && expected.out_size > 0;
            if (said) {
                expect_same(&t, err, &expected);
            }
            proc_result_clear(&expected);
            drop_told(&t);
        }
        assert_true(said);
    }
    proc_loop_free(loop);
}

static void a_start_that_fails_is_told_at_once_and_no_handler_called(void **state)
{
    (void)state;
    proc_loop *loop = make_loop();
    told t = {.calls = 0};
    proc_error error;

    assert_int_equal(proc_loop_execfile(loop, ARGV("/nonexistent"), OPTIONS(.error = &error), take_result, &t),
                     -ENOENT);
    assert_int_equal(error.step, PROC_STEP_EXEC);
    assert_int_equal(proc_loop_exec(loop, "true", OPTIONS(.cwd = "/nonexistent", .error = &error), take_result, &t),
                     -ENOENT);
    assert_int_equal(error.step, PROC_STEP_CHDIR);
    assert_int_equal(proc_loop_exec(loop, NULL, OPTIONS(.error = &error), take_result, &t), -EINVAL);
    assert_string_equal(error.subject, "command");
    assert_int_equal(proc_loop_exec(loop, "true", OPTIONS(.error = &error), NULL, &t), -EINVAL);
    assert_string_equal(error.subject, "handler");
    assert_int_equal(proc_loop_exec(NULL, "true", NULL, take_result, &t), -EINVAL);
    assert_int_equal(proc_loop_run(loop, PROC_FOREVER), 0);
    assert_int_equal(t.calls, 0);
    proc_loop_free(loop);
}

static void input_is_copied(void **state)
{
    (void)state;
    enum { SIZE = 500000 };
    proc_loop *loop = make_loop();
    told t = {.calls = 0};
    char *input = malloc(SIZE);

    memset(input, 'x', SIZE);
    assert_int_equal(proc_loop_execfile(loop, KID("cat"), OPTIONS(.input = input, .input_size = SIZE), take_result, &t),
                     0);
    memset(input, 'y', SIZE);
    free(input);
    run_loop(loop);
    assert_int_equal(t.out_size, SIZE);
    assert_int_equal(t.out[0], 'x');
    assert_int_equal(t.out[SIZE - 1], 'x');
    drop_told(&t);
    proc_loop_free(loop);
}

static void one_descriptor_cancels_them_all(void **state)
{
    (void)state;
    proc_loop *loop = make_loop();
    told all[10] = {{.calls = 0}};
    int cancel[2];

    make_pipe(cancel);
    for (size_t i = 0; i < COUNT(all); i++) {
        assert_int_equal(
            proc_loop_exec(loop, "echo started; sleep 60", OPTIONS(.cancel_fd = cancel[0]), take_result, &all[i]), 0);
    }
    assert_int_equal(proc_loop_run(loop, 100), -ETIMEDOUT);
    assert_int_equal(write(cancel[1], "x", 1), 1);
    run_loop(loop);
    for (size_t i = 0; i < COUNT(all); i++) {
        assert_int_equal(all[i].calls, 1);
        assert_int_equal(all[i].err, -ECANCELED);
        drop_told(&all[i]);
    }
    proc_loop_free(loop);
    close(cancel[0]);
    close(cancel[1]);
}

static void await_all_children(void)
{
    char pids[4096], *at = pids;
    const char *path = text("/proc/self/task/%ld/children", (long)getpid());

    snprintf(pids, sizeof pids, "%s", read_file(path));
    for (pid_t pid; (pid = (pid_t)strtol(at, &at, 10)) > 0;) {
        await_state(pid, "Z");
    }
}

static void be_busy(void *ctx)
{
    (void)ctx;
    await_all_children();
    let_pass(200);
}

/* The loop comes to look when the time is over, but the command had ended in time, and all that it wrote is there. */
static void a_command_that_ended_in_time_has_not_timed_out_when_the_loop_was_busy(void **state)
{
    (void)state;
    proc_loop *loop = make_loop();
    told one = {.calls = 0}, loud = {.calls = 0}, held = {.calls = 0}, mute = {.calls = 0};

    assert_true(proc_loop_add_timer(loop, 0, 0, be_busy, NULL) > 0);
    assert_int_equal(
        proc_loop_execfile(loop, KID("out", "a", "exit", "3"), OPTIONS(.timeout_ms = 150), take_result, &one), 0);
    assert_int_equal(
        proc_loop_execfile(loop, KID("write", "1", "60000"), OPTIONS(.timeout_ms = 150), take_result, &loud), 0);
    assert_int_equal(proc_loop_execfile(loop, KID("exit", "4"),
                                        OPTIONS(.timeout_ms = 150, .out.kind = PROC_NULL, .err.kind = PROC_NULL),
                                        take_result, &mute),
                     0);
    assert_int_equal(proc_loop_execfile(loop, ARGV("sh", "-c", "echo early; sleep 100 & exit 0"),
                                        OPTIONS(.drain_ms = 100), take_result, &held),
                     0);
    run_loop(loop);
    assert_int_equal(one.err, 0);
    assert_int_equal(one.status.code, 3);
    assert_string_equal(one.out, "a");
    assert_int_equal(loud.err, 0);
    assert_int_equal(loud.out_size, 60000);
    assert_int_equal(mute.err, 0);
    assert_int_equal(mute.status.code, 4);
    assert_int_equal(held.err, 0);
    assert_true(held.incomplete);
    assert_string_equal(held.out, "early\n");
    drop_told(&one);
    drop_told(&loud);
    drop_told(&held);
    drop_told(&mute);
    proc_loop_free(loop);
}

static void freeing_the_loop_kills_what_runs_and_says_so(void **state)
{
    (void)state;
    proc_loop *loop = make_loop();
    told t = {.calls = 0};

    assert_int_equal(proc_loop_exec(loop, "echo started; sleep 60 & wait", NULL, take_result, &t), 0);
    while (proc_loop_run(loop, 0) == -ETIMEDOUT && proc_loop_step(loop, 50) == 0 && t.calls == 0) {
        static int steps;
        if (++steps == 4) {
            break;
        }
    }
    proc_loop_free(loop);
    assert_int_equal(t.calls, 1);
    assert_int_equal(t.err, -ECANCELED);
    assert_int_equal(t.status.signal, SIGKILL);
    drop_told(&t);
}

/* ---- many ---- */

typedef struct batch {
    proc_loop *loop;
    int next, running, most_running, done, wrong;
} batch;

static void start_next(batch *b);

static void end_one(int err, proc_result *result, void *ctx)
{
    batch *b = ctx;

    b->wrong += err != 0 || result->status.code != 3 || strcmp(result->out, "x") != 0;
    b->running--;
    b->done++;
    start_next(b);
}

static void start_next(batch *b)
{
    while (b->next < 1000 && b->running < 64) {
        b->wrong += proc_loop_execfile(b->loop, KID("out", "x", "exit", "3"), NULL, end_one, b) != 0;
        b->next++;
        b->running++;
        b->most_running = b->running > b->most_running ? b->running : b->most_running;
    }
}

static void a_thousand_short_children_run_64_at_a_time(void **state)
{
    (void)state;
    batch b = {.loop = make_loop()};

    start_next(&b);
    assert_int_equal(proc_loop_run(b.loop, 6 * IN_TIME), 0);
    assert_int_equal(b.done, 1000);
    assert_int_equal(b.most_running, 64);
    assert_int_equal(b.wrong, 0);
    proc_loop_free(b.loop);
}

typedef struct crowd {
    int exits, closes;
} crowd;

static void crowd_exit(proc_child *child, const proc_status *status, void *ctx)
{
    (void)child;
    ((crowd *)ctx)->exits += status->signal == SIGTERM;
}

static void crowd_close(proc_child *child, const proc_status *status, void *ctx)
{
    (void)status;
    ((crowd *)ctx)->closes++;
    proc_child_free(child);
}

/* With a thread for each, where there is no descriptor for processes, fewer will do. */
static int crowd_size(void)
{
    struct rlimit limit;
    int wanted = POSIX_BUILD || getenv("PROC_TEST_EXITWATCH") != NULL ? 200 : 2000;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return 0;
    }
    if (limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max < 65536 ? limit.rlim_max : 65536;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
    int room = (int)(limit.rlim_cur > 100000 ? 100000 : limit.rlim_cur) - 64;
    if (room < wanted) {
        print_message("only %d descriptors: as many children, not %d\n", room, wanted);
    }
    return room < wanted ? room : wanted;
}

static void thousands_of_children_live_and_end_in_one_loop(void **state)
{
    (void)state;
    static const proc_handlers handlers = {.on_exit = crowd_exit, .on_close = crowd_close};
    struct rlimit before;
    int cancel[2];
    crowd c = {.exits = 0};

    getrlimit(RLIMIT_NOFILE, &before);
    int count = crowd_size();
    proc_loop *loop = make_loop();
    make_pipe(cancel);
    for (int i = 0; i < count; i++) {
        proc_child *child = start_child(KID("hang"), OPTIONS(.in.kind = PROC_NULL, .cancel_fd = cancel[0]));
        assert_int_equal(proc_loop_add_child(loop, child, &handlers, &c), 0);
    }
    assert_int_equal(proc_loop_run(loop, 0), -ETIMEDOUT);
    close(cancel[1]);
    assert_int_equal(proc_loop_run(loop, 6 * IN_TIME), 0);
    assert_int_equal(c.exits, count);
    assert_int_equal(c.closes, count);
    proc_loop_free(loop);
    close(cancel[0]);
    setrlimit(RLIMIT_NOFILE, &before);
}

/* A set-user-ID program of another user, which no signal of ours reaches: a loop that is freed does not wait for it. */
static void free_a_loop_whose_command_is_out_of_reach(void *program)
{
    int ends[2], ready[2];
    told t = {.calls = 0};
    proc_loop *loop = make_loop();

    make_pipe(ends);
    make_pipe(ready);
    const proc_fd_map maps[] = {{.child = 5, .parent = ends[0]}, {.child = 6, .parent = ready[1]}};
    assert_int_equal(setgid(65534), 0);
    assert_int_equal(setuid(65534), 0);
    assert_int_equal(proc_loop_execfile(loop, ARGV(program, "regain", "ready", "6", "readbyte", "5"),
                                        OPTIONS(.fds = maps, .fd_count = 2), take_result, &t),
                     0);
    await_byte(ready[0]);
    proc_loop_free(loop);

    assert_int_equal(t.calls, 1);
    assert_int_equal(t.err, -ECANCELED);
    assert_int_equal(t.status.state, PROC_RUNNING);
    drop_told(&t);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), 0); /* it runs on, and is ours to wait for */
    close(ends[0]);
    close(ends[1]);
    assert_true(waitpid(-1, NULL, 0) > 0);
}

static void a_command_that_may_not_be_killed_holds_no_loop_up(void **state)
{
    (void)state;
    if (!is_root()) {
        SKIP("only root can make a set-user-ID program of another user");
    }
    const char *program = test_path("privileged");

    copy_file(kid_path(), program, 0755);
    assert_int_equal(chmod(program, 04755), 0);
    in_copy(free_a_loop_whose_command_is_out_of_reach, (void *)(uintptr_t)program);
}

static const struct CMUnitTest tests[] = {
    TEST(a_command_gives_what_proc_exec_gives),
    TEST(a_command_whose_time_runs_out_gives_what_proc_exec_gives),
    TEST(a_start_that_fails_is_told_at_once_and_no_handler_called),
    TEST(input_is_copied),
    TEST(one_descriptor_cancels_them_all),
    TEST(a_command_that_ended_in_time_has_not_timed_out_when_the_loop_was_busy),
    TEST(freeing_the_loop_kills_what_runs_and_says_so),
    TEST(a_thousand_short_children_run_64_at_a_time),
    TEST(thousands_of_children_live_and_end_in_one_loop),
    TEST(a_command_that_may_not_be_killed_holds_no_loop_up),
};

HARNESS_MAIN(tests)
