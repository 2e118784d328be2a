/*
 * proc_exec and proc_execfile: what runs, what comes back, what is refused, and how long the pipes are waited for.
 */
#include "lifeline.h"

static bool is_empty(const proc_result *result)
{
    const proc_result empty = {.status.code = -1};

    return result->out == NULL && result->err == NULL && result->out_size == 0 && result->err_size == 0 &&
           !result->out_truncated && !result->err_truncated && !result->incomplete &&
           memcmp(&result->status, &empty.status, sizeof empty.status) == 0;
}

/* ---- what comes back ---- */

static void exec_keeps_both_streams_and_the_code(void **state)
{
    (void)state;
    proc_error error;
    proc_result result;

    memset(&error, 0x55, sizeof error);
    assert_int_equal(run_command(&result, "echo 42; echo 43 >&2; exit 44", OPTIONS(.error = &error)), 0);

    assert_exited(result.status, 44);
    assert_string_equal(result.out, "42\n");
    assert_string_equal(result.err, "43\n");
    assert_int_equal(result.out_size, 3);
    assert_int_equal(result.err_size, 3);
    assert_false(result.out_truncated || result.err_truncated || result.incomplete);
    assert_false(result.status.timed_out || result.status.forced);
    assert_int_equal(error.code, 0);
    assert_int_equal(error.step, PROC_STEP_NONE);
    assert_int_equal(error.subject[0], 0);
}

static void execfile_keeps_both_streams_and_the_code(void **state)
{
    (void)state;
    proc_result result;

    assert_int_equal(run_file(&result, KID("out", "ok", "err", "oops", "exit", "7"), NULL), 0);

    assert_exited(result.status, 7);
    assert_string_equal(result.out, "ok");
    assert_string_equal(result.err, "oops");
}

static void a_silent_child_gives_empty_texts_and_not_null(void **state)
{
    (void)state;
    proc_result result;

    assert_int_equal(run_file(&result, KID("exit", "0"), NULL), 0);

    assert_true(proc_status_ok(&result.status));
    assert_string_equal(result.out, "");
    assert_string_equal(result.err, "");
}

static void streams_that_are_not_captured_give_empty_texts(void **state)
{
    (void)state;
    const char *path = test_path("out");
    proc_result result;

    assert_int_equal(run_file(&result, KID("out", "to the file", "err", "gone"),
                              OPTIONS(.out = {.kind = PROC_FILE, .path = path}, .err.kind = PROC_NULL)),
                     0);

    assert_exited(result.status, 0);
    assert_string_equal(result.out, "");
    assert_string_equal(result.err, "");
    assert_string_equal(read_file(path), "to the file");
}

static void merged_streams_come_in_order(void **state)
{
    (void)state;
    proc_result result;

    assert_int_equal(run_file(&result, KID("out", "a", "err", "b", "out", "c"), OPTIONS(.err.kind = PROC_MERGE)), 0);

    assert_string_equal(result.out, "abc");
    assert_string_equal(result.err, "");
}

static void a_terminal_is_read_to_its_end(void **state)
{
    (void)state;
    const proc_stdio pty = {.kind = PROC_PTY};
    proc_result all, err_alone;

    assert_int_equal(run_file(&all, KID("isatty", "0", "isatty", "1", "err", "e", "exit", "3"),
                              OPTIONS(.in = pty, .out = pty, .err = pty)),
                     0);
    assert_int_equal(run_file(&err_alone, KID("out", "o", "err", "e"), OPTIONS(.err = pty)), 0);

    assert_exited(all.status, 3);
    assert_non_null(strstr(all.out, "e"));
    assert_string_equal(all.err, "");
    assert_string_equal(err_alone.out, "o");
    assert_string_equal(err_alone.err, "e");
}

static void a_killing_signal_is_told_and_nobody_is_said_to_have_forced_it(void **state)
{
    (void)state;
    proc_result result;

    assert_int_equal(run_command(&result, "echo last; kill -9 $$", NULL), 0);

    assert_killed(result.status, SIGKILL);
    assert_false(result.status.forced || result.status.timed_out);
    assert_string_equal(result.out, "last\n");
}

static void exec_takes_directory_and_environment(void **state)
{
    (void)state;
    proc_result result;

    assert_int_equal(run_command(&result, "pwd; echo $HELLO; env | grep -c HOME",
                                 OPTIONS(.cwd = "/dev", .env = ARGV("HELLO=WORLD", "PATH=/usr/bin:/bin"))),
                     0);

    assert_string_equal(result.out, "/dev\nWORLD\n0\n");
}

static void an_unknown_command_is_the_shells_127(void **state)
{
    (void)state;
    proc_result result;

    assert_int_equal(run_command(&result, "no-such-program-anywhere", NULL), 0);

    assert_exited(result.status, 127);
    assert_true(result.err_size > 0);
}

static void an_empty_command_is_one_too(void **state)
{
    (void)state;
    proc_result result;

    assert_int_equal(run_command(&result, "", NULL), 0);

    assert_exited(result.status, 0);
}

static void the_child_has_its_own_group_unless_stdin_is_inherited(void **state)
{
    (void)state;
    proc_result own, shared;

    assert_int_equal(run_file(&own, KID("job"), NULL), 0);
    assert_int_equal(run_file(&shared, KID("job"), OPTIONS(.in.kind = PROC_INHERIT)), 0);

    assert_int_equal(number_field(own.out, "pgid"), number_field(own.out, "pid"));
    assert_int_equal(number_field(own.out, "sid"), getsid(0));
    assert_int_equal(number_field(shared.out, "pgid"), getpgrp());
}

static void options_may_be_used_again_and_stay_as_they_are(void **state)
{
    (void)state;
    lifeline line = lifeline_make();
    proc_error error = {0};
    proc_options options = {.input = "input",
                            .input_size = 5,
                            .max_buffer = 1000,
                            .timeout_ms = LATEST_MS,
                            .cwd = "/",
                            .env_changes = ARGV("A"),
                            .error = &error,
                            HOLDS(line),
                            .drain_ms = 1000,
                            .overflow = PROC_OVERFLOW_TAIL};
    const proc_options before = options;

    for (int round = 0; round < 3; round++) {
        proc_result result;

        assert_int_equal(run_file(&result, KID("cat", "cwd"), &options), 0);
        assert_string_equal(result.out, "inputcwd /\n");
    }

    assert_memory_equal(&options, &before, sizeof options);
    lifeline_await_end(&line);
}

static void many_results_leave_nothing_behind(void **state)
{
    (void)state;
    int rounds = under_valgrind() ? 20 : 300;

    for (int round = 0; round < rounds; round++) {
        proc_result result;

        assert_int_equal(proc_execfile(&result, KID("out", "x"), NULL), 0);
        assert_int_equal(result.out_size, 1);
        proc_result_clear(&result);
        assert_int_equal(proc_execfile(&result, ARGV("/nonexistent/program"), NULL), -ENOENT);
        proc_result_clear(&result);
    }
}

static void a_result_may_be_cleared_again_and_again(void **state)
{
    (void)state;
    proc_result result, zeroed = {0};

    assert_int_equal(proc_exec(&result, "echo something; echo else >&2", NULL), 0);
    proc_result_clear(&result);
    assert_null(result.out);
    assert_null(result.err);
    assert_int_equal(result.out_size + result.err_size, 0);
    proc_result_clear(&result);
    proc_result_clear(&zeroed);
    proc_result_clear(NULL);
}

/* ---- starts that fail ---- */

static void a_failed_start_gives_an_empty_result_and_the_step(void **state)
{
    (void)state;
    const struct {
        const char *program;
        proc_options options;
        int code;
        proc_step step;
        const char *subject;
    } cases[] = {
        {"no-such-program-anywhere", {0}, -ENOENT, PROC_STEP_EXEC, "no-such-program-anywhere"},
        {"/nonexistent/program", {.in.kind = PROC_PIPE}, -ENOENT, PROC_STEP_EXEC, "/nonexistent/program"},
        {"/", {0}, -EACCES, PROC_STEP_EXEC, "/"},
        {"sh", {.cwd = "/nonexistent"}, -ENOENT, PROC_STEP_CHDIR, "/nonexistent"},
        {"sh", {.in = {.kind = PROC_FILE, .path = "/nonexistent"}}, -ENOENT, PROC_STEP_OPEN, "/nonexistent"},
        {"sh", {.out = {.kind = PROC_FD, .fd = 900}}, -EBADF, PROC_STEP_FDS, "out"},
        {"sh", {.input = "x", .input_size = 1, .cwd = "/nonexistent"}, -ENOENT, PROC_STEP_CHDIR, "/nonexistent"},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        proc_options options = cases[i].options;
        proc_error error = {0};
        proc_result result;

        options.error = &error;
        assert_int_equal(run_file(&result, ARGV(cases[i].program), &options), cases[i].code);
        assert_true(is_empty(&result));
        assert_int_equal(error.code, cases[i].code);
        assert_int_equal(error.step, cases[i].step);
        assert_string_equal(error.subject, cases[i].subject);
        proc_result_clear(&result);
        proc_result_clear(&result);
    }
}

static void options_that_make_no_sense_are_refused_by_name(void **state)
{
    (void)state;
    const proc_stdio null = {.kind = PROC_NULL}, inherit = {.kind = PROC_INHERIT}, from_fd = {.kind = PROC_FD};
    const struct {
        proc_options options;
        int code;
        const char *subject;
    } cases[] = {
        {{.input = "x", .input_size = 1, .in = null}, -EINVAL, "input"},
        {{.input = "x", .input_size = 1, .in = inherit}, -EINVAL, "input"},
        {{.input = "x", .input_size = 1, .in = from_fd}, -EINVAL, "input"},
        {{.input = "x", .input_size = 1, .in.kind = PROC_PTY}, -EINVAL, "input"},
        {{.input_size = 1}, -EINVAL, "input"},
        {{.shell = "/bin/sh"}, -EINVAL, "shell"},
        {{.overflow = (proc_overflow)3}, -EINVAL, "overflow"},
        {{.overflow = (proc_overflow)-1}, -EINVAL, "overflow"},
        {{.drain_ms = -2}, -EINVAL, "drain_ms"},
        {{.timeout_ms = -2}, -EINVAL, "timeout_ms"},
        {{.grace_ms = -2}, -EINVAL, "grace_ms"},
        {{.stop_signal = -1}, -EINVAL, "stop_signal"},
        {{.stop_signal = 1000}, -EINVAL, "stop_signal"},
        {{.cancel_fd = -2}, -EINVAL, "cancel_fd"},
        {{.cancel_fd = 900}, -EBADF, "cancel_fd"},
        {{.out.kind = PROC_MERGE}, -EINVAL, "out"},
        {{.reserved = {0, 0, 0, 1}}, -EINVAL, "reserved"},
        {{.detached = true, .die_with_parent = true}, -EINVAL, "die_with_parent"},
        {{.channel = (const proc_channel_options *)&null}, -EINVAL, "channel"},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        proc_options options = cases[i].options;
        proc_error error = {0};
        proc_result result;

        options.error = &error;
        assert_int_equal(run_file(&result, KID("exit", "0"), &options), cases[i].code);
        assert_true(is_empty(&result));
        assert_int_equal(error.code, cases[i].code);
        assert_int_equal(error.step, PROC_STEP_OPTIONS);
        assert_string_equal(error.subject, cases[i].subject);
    }
}

static void nothing_to_run_is_refused(void **state)
{
    (void)state;
    proc_error error = {0};
    proc_result result;

    assert_int_equal(run_file(&result, NULL, OPTIONS(.error = &error)), -EINVAL);
    assert_string_equal(error.subject, "argv");
    assert_true(is_empty(&result));
    assert_int_equal(run_file(&result, ARGV(NULL), OPTIONS(.error = &error)), -EINVAL);
    assert_string_equal(error.subject, "argv");
    assert_int_equal(run_file(&result, ARGV(""), OPTIONS(.error = &error)), -EINVAL);
    assert_string_equal(error.subject, "argv[0]");
    assert_int_equal(run_command(&result, NULL, OPTIONS(.error = &error)), -EINVAL);
    assert_int_equal(error.step, PROC_STEP_OPTIONS);
    assert_true(is_empty(&result));
    assert_int_equal(run_command(&result, "exit 0", OPTIONS(.file = "/bin/sh", .error = &error)), -EINVAL);
    assert_string_equal(error.subject, "file");
}

static void a_place_for_the_result_is_needed(void **state)
{
    (void)state;
    const char *proof = test_path("proof");

    assert_int_equal(proc_exec(NULL, text("touch %s", proof), NULL), -EINVAL);
    assert_int_equal(proc_execfile(NULL, ARGV("touch", proof), NULL), -EINVAL);

    assert_int_equal(access(proof, F_OK), -1);
}

/* ---- the end of the child and the end of its output ---- */

static void without_a_drain_time_all_output_is_awaited(void **state)
{
    (void)state;
    proc_result result;

    assert_int_equal(
        run_file(&result, KID("grandchild", "orphaned", "sleep", "150", "out", "late", "--", "out", "early "), NULL),
        0);

    assert_exited(result.status, 0);
    assert_string_equal(result.out, "early late");
    assert_false(result.incomplete);
}

static void a_long_drain_time_is_not_waited_for_when_the_pipes_close(void **state)
{
    (void)state;
    int64_t begin = now_ms();
    proc_result result;

    assert_int_equal(run_file(&result,
                              KID("grandchild", "orphaned", "sleep", "50", "out", "late", "--", "out", "early "),
                              OPTIONS(.drain_ms = LATEST_MS)),
                     0);

    assert_string_equal(result.out, "early late");
    assert_false(result.incomplete);
    assert_true(now_ms() - begin < LATEST_MS);
}

/* The child ends only when its grandchild is up; that one holds the pipes, and 5. */
#define HOLDING_GRANDCHILD "pid", "ready", "5", "hang", "--", "readbyte", "6", "exit", "3"

static void a_grandchild_that_holds_the_pipes_is_left_alone_after_the_drain_time(void **state)
{
    (void)state;
    lifeline line = lifeline_make();
    const proc_fd_map both[] = {{5, line.write_end}, {6, line.read_end}};
    int64_t begin = now_ms();
    proc_result result;

    assert_int_equal(
        run_file(&result, KID("grandchild", HOLDING_GRANDCHILD), OPTIONS(.drain_ms = 100, .fds = both, .fd_count = 2)),
        0);

    assert_exited(result.status, 3);
    assert_true(result.incomplete);
    assert_false(result.status.timed_out || result.out_truncated || result.err_truncated);
    assert_in_range(now_ms() - begin, 100, LATEST_MS);
    lifeline_let_go(&line);
    assert_false(lifeline_has_end(&line));
    kill_stranger(result.out);
    lifeline_await_end(&line);
}

static void a_grandchild_that_never_stops_writing_ends_with_the_drain_time(void **state)
{
    (void)state;
    lifeline line = lifeline_make();
    proc_result result;

    assert_int_equal(
        run_file(&result, KID("grandchild", "ignore", "PIPE", "write", "1", "1000000000000", "--", "exit", "0"),
                 OPTIONS(.drain_ms = 100, .max_buffer = 1000, .overflow = PROC_OVERFLOW_HEAD, HOLDS(line))),
        0);

    assert_exited(result.status, 0);
    assert_true(result.incomplete);
    assert_true(result.out_truncated);
    assert_int_equal(result.out_size, 1000);
    lifeline_await_end(&line); /* nobody reads it any more */
}

static void only_captured_streams_are_waited_for(void **state)
{
    (void)state;
    lifeline line = lifeline_make();
    proc_result result;

    assert_int_equal(run_file(&result, KID("grandchild", "closefd", "1", "closefd", "2", "hang", "--", "pid"),
                              OPTIONS(.group = PROC_GROUP_OWN, HOLDS(line))),
                     0);

    assert_exited(result.status, 0);
    assert_false(result.incomplete);
    lifeline_let_go(&line);
    assert_false(lifeline_has_end(&line));
    assert_int_equal(kill(-(pid_t)atol(result.out), SIGKILL),
                     0); /* its group is still there: nobody else can have it */
    lifeline_await_end(&line);
}

static const struct CMUnitTest tests[] = {
    TEST(exec_keeps_both_streams_and_the_code),
    TEST(execfile_keeps_both_streams_and_the_code),
    TEST(a_silent_child_gives_empty_texts_and_not_null),
    TEST(streams_that_are_not_captured_give_empty_texts),
    TEST(merged_streams_come_in_order),
    TEST(a_terminal_is_read_to_its_end),
    TEST(a_killing_signal_is_told_and_nobody_is_said_to_have_forced_it),
    TEST(exec_takes_directory_and_environment),
    TEST(an_unknown_command_is_the_shells_127),
    TEST(an_empty_command_is_one_too),
    TEST(the_child_has_its_own_group_unless_stdin_is_inherited),
    TEST(options_may_be_used_again_and_stay_as_they_are),
    TEST(many_results_leave_nothing_behind),
    TEST(a_result_may_be_cleared_again_and_again),
    TEST(a_failed_start_gives_an_empty_result_and_the_step),
    TEST(options_that_make_no_sense_are_refused_by_name),
    TEST(nothing_to_run_is_refused),
    TEST(a_place_for_the_result_is_needed),
    TEST(without_a_drain_time_all_output_is_awaited),
    TEST(a_long_drain_time_is_not_waited_for_when_the_pipes_close),
    TEST(a_grandchild_that_holds_the_pipes_is_left_alone_after_the_drain_time),
    TEST(a_grandchild_that_never_stops_writing_ends_with_the_drain_time),
    TEST(only_captured_streams_are_waited_for),
};

HARNESS_MAIN(tests)
