/*
 * The tool of man/examples/limit.c: what it passes through, what it limits, what it says and the codes that it exits with.
 */
#include "harness.h"

#include <sys/resource.h>

enum { TIMED_OUT = 124, FAILED = 125, CANNOT_RUN = 126, NOT_FOUND = 127 };

static const char *limit_path(void)
{
    const char *build = getenv("PROC_TEST_BUILD");
    const char *path = text("%s/examples/limit", build == NULL ? "build/native" : build);

    if (access(path, X_OK) != 0) {
        fail_msg("%s was not built", path);
    }
    return path;
}

#define LIMIT(...) ARGV(limit_path(), __VA_ARGS__)

/* Never with the terminal that the tests may have. */
static outcome run_limit(const char *const argv[])
{
    return run_child(argv, OPTIONS(.in.kind = PROC_NULL));
}

static proc_child *start_limit(const char *const argv[])
{
    return start_child(argv, OPTIONS(.in.kind = PROC_PIPE, .out.kind = PROC_PIPE, .err.kind = PROC_PIPE));
}

static void await_output(proc_child *child)
{
    await_byte(proc_child_fd(child, 1));
}

static void assert_begins(const char *line, const char *beginning)
{
    if (strncmp(line, beginning, strlen(beginning)) != 0) {
        fail_msg("'%s' does not begin with '%s'", line, beginning);
    }
}

/* One line that says why, nothing that ran. */
static void assert_complains(const outcome *result, int code)
{
    assert_ended(*result, code);
    assert_string_equal(result->out, "");
    assert_begins(result->complaint, "limit: ");
    assert_ptr_equal(strchr(result->complaint, '\n'), result->complaint + result->complaint_size - 1);
}

/* ---- how the command ended ---- */

static void the_exit_code_is_the_commands(void **state)
{
    (void)state;
    static const int codes[] = {0, 1, 42, 124, 255};

    for (size_t i = 0; i < COUNT(codes); i++) {
        outcome result = run_limit(LIMIT("-q", kid_path(), "exit", text("%d", codes[i])));

        assert_ended(result, codes[i]);
    }
}

static void a_killed_command_is_128_and_its_signal(void **state)
{
    (void)state;

    outcome killed = run_limit(LIMIT(kid_path(), "raise", "KILL"));
    outcome terminated = run_limit(LIMIT(kid_path(), "raise", "TERM"));

    assert_ended(killed, 128 + SIGKILL);
    assert_begins(killed.complaint, "limit: SIGKILL, ");
    assert_ended(terminated, 128 + SIGTERM);
    assert_begins(terminated.complaint, "limit: SIGTERM, ");
}

static void one_line_reports_the_end_time_and_memory(void **state)
{
    (void)state;
    double wall, cpu, user, system, memory;
    int length = 0;

    outcome result = run_limit(LIMIT(kid_path(), "burn", "100", "alloc", "33554432", "exit", "3"));

    assert_ended(result, 3);
    assert_int_equal(sscanf(result.complaint,
                            "limit: exit 3, wall %lf s, cpu %lf s (user %lf + system %lf), memory %lf MiB%n", &wall,
                            &cpu, &user, &system, &memory, &length),
                     5);
    assert_string_equal(result.complaint + length, "\n");
    assert_true(wall >= 0.09 && cpu >= 0.09 && cpu <= user + system + 0.002 && cpu >= user + system - 0.002);
    assert_true(memory >= 31 && memory < 1000);
}

static void quiet_says_nothing(void **state)
{
    (void)state;

    outcome ended = run_limit(LIMIT("-q", kid_path(), "exit", "3"));
    outcome stopped = run_limit(LIMIT("-q", "-t", "0.05", kid_path(), "hang"));

    assert_ended(ended, 3);
    assert_string_equal(ended.complaint, "");
    assert_ended(stopped, TIMED_OUT);
    assert_string_equal(stopped.complaint, "");
}

static void an_ignored_sigchld_does_not_hide_the_end(void **state)
{
    (void)state;

    outcome result = run_limit(KID("ignore", "CHLD", "exec", limit_path(), kid_path(), "exit", "3"));

    assert_ended(result, 3);
    assert_begins(result.complaint, "limit: exit 3, ");
}

/* ---- time ---- */

static void time_out_stops_it_and_is_124(void **state)
{
    (void)state;

    outcome result = run_limit(LIMIT("-t", "0.1", kid_path(), "hang"));

    assert_ended(result, TIMED_OUT);
    assert_begins(result.complaint, "limit: SIGTERM (timed out), wall ");
}

static void times_have_fractions_and_suffixes(void **state)
{
    (void)state;
    static const char *const short_times[] = {"0.05", ".05s", "0.001m", "0.00002h", "0.000001d", "0.0000001"};
    static const char *const long_times[] = {"50", "1m", "1h", "24d", "1000000.5s", "0", "0d"};

    for (size_t i = 0; i < COUNT(short_times); i++) {
        outcome result = run_limit(LIMIT("-q", "-t", short_times[i], kid_path(), "hang"));

        assert_ended(result, TIMED_OUT);
    }
    for (size_t i = 0; i < COUNT(long_times); i++) {
        outcome result = run_limit(LIMIT("-q", "-t", long_times[i], "-k", long_times[i], kid_path(), "exit", "3"));

        assert_ended(result, 3);
    }
}

static void what_is_no_time_is_refused(void **state)
{
    (void)state;
    static const char *const times[] = {"",    "x",   "s",   "-1", "+1",  " 1", "1 ",  "1x", "1ss",
                                        "1sm", "inf", "nan", "1S", "25d", ".",  "1e9", "1,5"};

    for (size_t i = 0; i < COUNT(times); i++) {
        outcome time = run_limit(LIMIT("-t", times[i], kid_path(), "out", "ran"));
        outcome grace = run_limit(LIMIT("-k", times[i], kid_path(), "out", "ran"));

        assert_complains(&time, FAILED);
        assert_complains(&grace, FAILED);
    }
}

static void an_end_within_the_grace_is_a_time_out_too(void **state)
{
    (void)state;

    outcome result = run_limit(LIMIT("-t", "1", kid_path(), "on", "TERM", "exit", "0", "hang"));

    assert_ended(result, TIMED_OUT);
    assert_begins(result.complaint, "limit: exit 0 (timed out), ");
}

static void after_the_grace_it_is_killed(void **state)
{
    (void)state;

    outcome result = run_limit(LIMIT("-t", "1", "-k", "0.1", kid_path(), "ignore", "TERM", "hang"));

    assert_ended(result, TIMED_OUT);
    assert_begins(result.complaint, "limit: SIGKILL (timed out, forced), ");
}

static void without_grace_it_is_killed_at_once(void **state)
{
    (void)state;

    outcome result = run_limit(LIMIT("-t", "0.1", "-k", "0", kid_path(), "hang"));

    assert_ended(result, TIMED_OUT);
    assert_begins(result.complaint, "limit: SIGKILL (timed out), ");
}

static void time_out_takes_the_whole_group(void **state)
{
    (void)state;

    /* The grandchild ignores SIGTERM and holds the pipe: only its death ends what is read here. */
    outcome result = run_limit(
        LIMIT("-q", "-t", "1", kid_path(), "grandchild", "ignore", "TERM", "ready", "1", "hang", "--", "hang"));

    assert_ended(result, TIMED_OUT);
    assert_string_equal(result.out, "r");
}

static void its_own_end_leaves_the_rest_of_the_group_alone(void **state)
{
    (void)state;
    proc_child *child = start_limit(LIMIT("-q", kid_path(), "grandchild", "readbyte", "0", "out", "alive", "--"));
    proc_status status;

    assert_int_equal(proc_child_wait(child, PROC_FOREVER, &status), 0);
    assert_true(proc_status_ok(&status));

    assert_int_equal(proc_child_write(child, "x", 1, PROC_FOREVER), 1);
    assert_string_equal(read_stream(child, 1, NULL), "alive");
    proc_child_free(child);
}

/* ---- starts that fail ---- */

static void a_command_that_is_not_there_is_127(void **state)
{
    (void)state;

    outcome name = run_limit(LIMIT("-q", "no-such-command-of-libproc"));
    outcome path = run_limit(LIMIT("/nowhere/at/all"));
    outcome own_path = run_limit(LIMIT("-e", "PATH=/nowhere", "sh", "-c", "echo ran"));

    assert_complains(&name, NOT_FOUND);
    assert_non_null(strstr(name.complaint, "'no-such-command-of-libproc'"));
    assert_complains(&path, NOT_FOUND);
    assert_complains(&own_path, NOT_FOUND);
}

static void a_command_that_cannot_run_is_126(void **state)
{
    (void)state;
    write_file(test_path("plain"), "#!/bin/sh\necho ran\n", 0644);
    write_file(test_path("strange"), "no program\n", 0755);

    outcome directory = run_limit(LIMIT("-q", test_dir()));
    outcome plain = run_limit(LIMIT(test_path("plain")));
    outcome strange = run_limit(LIMIT(test_path("strange")));
    outcome below = run_limit(LIMIT(test_path("plain/below")));

    assert_complains(&directory, CANNOT_RUN);
    assert_complains(&plain, CANNOT_RUN);
    assert_complains(&strange, CANNOT_RUN);
    assert_complains(&below, CANNOT_RUN);
}

static void bad_usage_is_125(void **state)
{
    (void)state;
    outcome results[] = {run_limit(LIMIT("-q")),
                         run_limit(LIMIT("-x", kid_path(), "out", "ran")),
                         run_limit(LIMIT("--help")),
                         run_limit(LIMIT("-t")),
                         run_limit(LIMIT("-q", "-c")),
                         run_limit(LIMIT("-c", "/nowhere/at/all", kid_path(), "out", "ran")),
                         run_limit(LIMIT("-e", "NAME", kid_path(), "out", "ran")),
                         run_limit(LIMIT("-e", "=value", kid_path(), "out", "ran")),
                         run_limit(LIMIT("--"))};

    for (size_t i = 0; i < COUNT(results); i++) {
        assert_complains(&results[i], FAILED);
    }
}

static void help_goes_to_stdout(void **state)
{
    (void)state;

    outcome result = run_limit(LIMIT("-h"));

    assert_ended(result, 0);
    assert_begins(result.out, "usage: limit [-t SECONDS]");
    assert_string_equal(result.complaint, "");
}

/* ---- what the command sees ---- */

static void streams_pass_through(void **state)
{
    (void)state;
    write_file(test_path("input"), "one\ntwo\n", 0644);

    outcome result = run_child(LIMIT("-q", kid_path(), "cat", "err", "oops"),
                               OPTIONS(.in.kind = PROC_FILE, .in.path = test_path("input")));

    assert_ended(result, 0);
    assert_string_equal(result.out, "one\ntwo\n");
    assert_string_equal(result.complaint, "oops");
}

static void options_behind_the_command_are_its_own(void **state)
{
    (void)state;

    outcome plain = run_limit(LIMIT("-q", "echo", "-t", "1", "-q"));
    outcome dashes = run_limit(LIMIT("-q", "--", "echo", "-h"));

    assert_ended(plain, 0);
    assert_string_equal(plain.out, "-t 1 -q\n");
    assert_ended(dashes, 0);
    assert_string_equal(dashes.out, "-h\n");
}

static void it_runs_in_the_directory(void **state)
{
    (void)state;
    char *directory = keep(realpath(test_dir(), NULL));

    outcome result = run_limit(LIMIT("-q", "-c", directory, kid_path(), "cwd"));

    assert_ended(result, 0);
    assert_non_null(strstr(result.out, directory));
}

static void environment_is_changed(void **state)
{
    (void)state;

    outcome result = run_child(LIMIT("-q", "-e", "ONE=1", "-e", "TWO=a=b", "-e", "NONE=", "-e", "ONE=2", "sh", "-c",
                                     "echo \"$ONE $TWO ${NONE-unset} $OLD\""),
                               OPTIONS(.in.kind = PROC_NULL, .env_changes = ARGV("OLD=old", "ONE=0")));

    assert_ended(result, 0);
    assert_string_equal(result.out, "2 a=b  old\n");
}

static void memory_is_limited(void **state)
{
    (void)state;
    static const char *const sizes[] = {"1G", "1g", "1024M", "1024m", "1048576K", "1048576k", "1073741824", "0.001e3G"};

    for (size_t i = 0; i < COUNT(sizes); i++) {
        outcome result = run_limit(LIMIT("-q", "-m", sizes[i], kid_path(), "limit", text("%d", RLIMIT_AS)));

        assert_ended(result, 0);
        assert_true(has_line(result.out, text("limit %d 1073741824 1073741824", RLIMIT_AS)));
    }
}

static void what_is_no_size_is_refused(void **state)
{
    (void)state;
    static const char *const sizes[] = {"", "x", "M", "-1", "1T", "1KB", "1 K", "inf", "99999999999999G"};

    for (size_t i = 0; i < COUNT(sizes); i++) {
        outcome result = run_limit(LIMIT("-m", sizes[i], kid_path(), "out", "ran"));

        assert_complains(&result, FAILED);
    }
}

static void descriptors_pass_and_none_is_added(void **state)
{
    (void)state;
    int ends[2];
    make_pipe(ends);

    outcome result =
        run_child(LIMIT("-q", kid_path(), "ready", "7", "fds"),
                  OPTIONS(.in.kind = PROC_NULL, .fds = (const proc_fd_map[]){{7, ends[1]}}, .fd_count = 1));

    assert_ended(result, 0);
    await_byte(ends[0]);
    assert_int_equal(count_fds(result.out), 4);
    close(ends[0]);
    close(ends[1]);
}

/* ---- signals ---- */

static void signals_are_as_limit_found_them(void **state)
{
    (void)state;

    outcome clean = run_limit(LIMIT("-q", kid_path(), "signals"));
    outcome set = run_limit(
        KID("ignore", "HUP", "ignore", "PIPE", "block", "USR1", "exec", limit_path(), "-q", kid_path(), "signals"));

    assert_ended(clean, 0);
    assert_string_equal(field(clean.out, "blocked"), "");
    assert_string_equal(field(clean.out, "ignored"), "");
    assert_string_equal(field(clean.out, "caught"), "");
    assert_ended(set, 0);
    assert_string_equal(field(set.out, "blocked"), text("%d", SIGUSR1));
    assert_string_equal(field(set.out, "ignored"), text("%d %d", SIGHUP, SIGPIPE));
    assert_string_equal(field(set.out, "caught"), "");
}

static void a_signal_to_limit_reaches_the_command(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int number;
    } signals[] = {{"TERM", SIGTERM}, {"INT", SIGINT}, {"HUP", SIGHUP}, {"QUIT", SIGQUIT}};

    for (size_t i = 0; i < COUNT(signals); i++) {
        proc_child *child =
            start_limit(LIMIT("-q", kid_path(), "on", signals[i].name, "exit", "41", "ready", "1", "hang"));

        await_output(child);
        assert_int_equal(proc_child_kill(child, signals[i].number), 0);
        outcome result = finish_child(child);

        assert_ended(result, 41);
    }
}

static void a_forwarded_signal_reaches_the_group_and_kills(void **state)
{
    (void)state;
    proc_child *child = start_limit(LIMIT(kid_path(), "grandchild", "ready", "1", "hang", "--", "ready", "1", "hang"));

    await_output(child);
    await_output(child);
    assert_int_equal(proc_child_kill(child, SIGTERM), 0);
    outcome result = finish_child(child);

    assert_ended(result, 128 + SIGTERM);
    assert_begins(result.complaint, "limit: SIGTERM, ");
}

static void a_command_may_go_on_after_a_signal(void **state)
{
    (void)state;
    proc_child *child =
        start_limit(LIMIT("-q", kid_path(), "on", "INT", "out", "i", "on", "TERM", "exit", "5", "ready", "1", "hang"));

    await_output(child);
    assert_int_equal(proc_child_kill(child, SIGINT), 0);
    await_output(child);
    assert_int_equal(proc_child_kill(child, SIGTERM), 0);
    outcome result = finish_child(child);

    assert_ended(result, 5);
}

static void what_nohup_ignores_stays_ignored(void **state)
{
    (void)state;
    proc_child *child = start_limit(
        KID("ignore", "HUP", "exec", limit_path(), "-q", kid_path(), "ready", "1", "readbyte", "0", "exit", "4"));

    await_output(child);
    assert_int_equal(proc_child_kill(child, SIGHUP), 0);
    assert_int_equal(proc_child_write(child, "x", 1, PROC_FOREVER), 1);
    outcome result = finish_child(child);

    assert_ended(result, 4);
}

static void the_command_does_not_outlive_a_killed_limit(void **state)
{
    (void)state;
    if (POSIX_BUILD) {
        SKIP("the system cannot");
    }
    proc_child *child = start_limit(LIMIT("-q", kid_path(), "ready", "1", "hang"));

    await_output(child);
    assert_int_equal(proc_child_kill(child, SIGKILL), 0);
    await_end(proc_child_fd(child, 1));
    outcome result = finish_child(child);

    assert_signaled(result, SIGKILL);
}

/* ---- groups and terminals ---- */

static void it_has_a_group_of_its_own(void **state)
{
    (void)state;

    outcome result = run_limit(LIMIT("-q", kid_path(), "job"));

    assert_ended(result, 0);
    assert_int_equal(number_field(result.out, "pgid"), number_field(result.out, "pid"));
}

static void on_a_terminal_it_shares_the_group(void **state)
{
    (void)state;

    outcome result = run_child(LIMIT("-q", kid_path(), "job"),
                               OPTIONS(.in.kind = PROC_PTY, .out.kind = PROC_PTY, .err.kind = PROC_PTY));

    assert_ended(result, 0);
    assert_int_equal(number_field(result.out, "pgid"), number_field(result.out, "ppid"));
    assert_int_equal(number_field(result.out, "foreground"), number_field(result.out, "pgid"));
}

static void what_the_terminal_sends_reaches_the_command(void **state)
{
    (void)state;
    proc_child *child = start_child(LIMIT("-q", kid_path(), "on", "INT", "exit", "6", "ready", "1", "hang"),
                                    OPTIONS(.in.kind = PROC_PTY, .out.kind = PROC_PIPE));

    await_output(child);
    assert_int_equal(proc_child_write(child, "\3", 1, PROC_FOREVER), 1);
    outcome result = finish_child(child);

    assert_ended(result, 6);
}

static void what_the_terminal_sends_is_not_sent_again(void **state)
{
    (void)state;
    /* In a session of its own it is out of the terminal's reach: what it gets comes from limit. */
    proc_child *child = start_child(LIMIT("-q", "setsid", kid_path(), "on", "INT", "out", "interrupted", "on", "TERM",
                                          "exit", "5", "ready", "1", "hang"),
                                    OPTIONS(.in.kind = PROC_PTY, .out.kind = PROC_PIPE));

    await_output(child);
    assert_int_equal(proc_child_write(child, "\3", 1, PROC_FOREVER), 1);
    await_byte(proc_child_fd(child, 0)); /* its echo: the signals are out */
    assert_int_equal(proc_child_kill(child, SIGTERM), 0);
    outcome result = finish_child(child);

    assert_ended(result, 5);
    assert_string_equal(result.out, "");
}

static const struct CMUnitTest tests[] = {
    TEST(the_exit_code_is_the_commands),
    TEST(a_killed_command_is_128_and_its_signal),
    TEST(one_line_reports_the_end_time_and_memory),
    TEST(quiet_says_nothing),
    TEST(an_ignored_sigchld_does_not_hide_the_end),
    TEST(time_out_stops_it_and_is_124),
    TEST(times_have_fractions_and_suffixes),
    TEST(what_is_no_time_is_refused),
    TEST(an_end_within_the_grace_is_a_time_out_too),
    TEST(after_the_grace_it_is_killed),
    TEST(without_grace_it_is_killed_at_once),
    TEST(time_out_takes_the_whole_group),
    TEST(its_own_end_leaves_the_rest_of_the_group_alone),
    TEST(a_command_that_is_not_there_is_127),
    TEST(a_command_that_cannot_run_is_126),
    TEST(bad_usage_is_125),
    TEST(help_goes_to_stdout),
    TEST(streams_pass_through),
    TEST(options_behind_the_command_are_its_own),
    TEST(it_runs_in_the_directory),
    TEST(environment_is_changed),
    TEST(memory_is_limited),
    TEST(what_is_no_size_is_refused),
    TEST(descriptors_pass_and_none_is_added),
    TEST(signals_are_as_limit_found_them),
    TEST(a_signal_to_limit_reaches_the_command),
    TEST(a_forwarded_signal_reaches_the_group_and_kills),
    TEST(a_command_may_go_on_after_a_signal),
    TEST(what_nohup_ignores_stays_ignored),
    TEST(the_command_does_not_outlive_a_killed_limit),
    TEST(it_has_a_group_of_its_own),
    TEST(on_a_terminal_it_shares_the_group),
    TEST(what_the_terminal_sends_reaches_the_command),
    TEST(what_the_terminal_sends_is_not_sent_again),
};

HARNESS_MAIN(tests)
