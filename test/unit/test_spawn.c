/*
 * proc_spawn: what runs, under which name, where it is found, and how a program that cannot be run is reported.
 */
#include "harness.h"

#include <pthread.h>
#include <sys/resource.h>
#include <time.h>

/* ---- it runs ---- */

static void spawn_starts_a_program_and_tells_its_end(void **state)
{
    (void)state;
    proc_child *child = NULL;
    proc_status status;

    assert_int_equal(proc_spawn(&child, KID("out", "ok", "err", "oops", "exit", "3"),
                                OPTIONS(.out.kind = PROC_PIPE, .err.kind = PROC_PIPE)),
                     0);
    assert_non_null(child);
    assert_true(proc_child_pid(child) > 1);
    assert_string_equal(read_stream(child, 1, NULL), "ok");
    assert_string_equal(read_stream(child, 2, NULL), "oops");
    assert_int_equal(proc_child_wait(child, PROC_FOREVER, &status), 0);
    assert_int_equal(status.state, PROC_EXITED);
    assert_int_equal(status.code, 3);

    proc_child_free(child);
}

static void spawn_needs_no_options(void **state)
{
    (void)state;
    proc_child *child;
    proc_status status;

    assert_int_equal(proc_spawn(&child, KID("exit", "7"), NULL), 0);
    assert_int_equal(proc_child_wait(child, PROC_FOREVER, &status), 0);
    assert_int_equal(status.code, 7);
    proc_child_free(child);
}

static void every_exit_code_comes_back_as_it_is(void **state)
{
    (void)state;

    for (int code = 0; code < 256; code += code < 5 || code > 120 ? 1 : 23) {
        outcome result = run_child(KID("exit", text("%d", code)), NULL);

        assert_ended(result, code);
        assert_int_equal(result.status.signal, 0);
    }
}

static void a_killing_signal_is_told_and_no_code(void **state)
{
    (void)state;
    static const int signals[] = {SIGHUP,  SIGINT,  SIGQUIT, SIGILL,  SIGABRT, SIGBUS,  SIGFPE,
                                  SIGKILL, SIGUSR1, SIGSEGV, SIGUSR2, SIGPIPE, SIGALRM, SIGTERM};

    for (size_t i = 0; i < COUNT(signals); i++) {
        outcome result = run_child(KID("raise", text("%d", signals[i])),
                                   OPTIONS(.limits = &(proc_limit){.resource = RLIMIT_CORE}, .limit_count = 1));

        assert_signaled(result, signals[i]);
    }
}

static void an_unknown_command_of_a_shell_is_an_exit_code_and_no_failed_start(void **state)
{
    (void)state;
    outcome result = run_child(ARGV("/bin/sh", "-c", "no-such-program-anywhere"), NULL);

    assert_ended(result, 127);
}

/* ---- names ---- */

static void argv0_is_what_the_caller_says_when_file_names_the_program(void **state)
{
    (void)state;
    outcome result = run_child(ARGV("withArgv0", "args", "a b", "", "c"), OPTIONS(.file = kid_path()));

    assert_ended(result, 0);
    assert_string_equal(result.out, "withArgv0\nargs\na b\n\nc\n");
}

static void argv0_may_be_empty_when_file_names_the_program(void **state)
{
    (void)state;
    outcome result = run_child(ARGV("", "args"), OPTIONS(.file = kid_path()));

    assert_ended(result, 0);
    assert_string_equal(result.out, "\nargs\n");
}

static void a_file_without_a_slash_is_looked_up_too(void **state)
{
    (void)state;

    copy_file(kid_path(), test_path("found-kid"), 0755);
    outcome result =
        run_child(ARGV("other", "args"), OPTIONS(.file = "found-kid", .env = ARGV(text("PATH=%s", test_dir()))));

    assert_ended(result, 0);
    assert_string_equal(result.out, "other\nargs\n");
}

static void a_name_with_a_slash_is_relative_to_the_childs_directory(void **state)
{
    (void)state;

    copy_file(kid_path(), test_path("here"), 0755);
    outcome result = run_child(ARGV("./here", "out", "ran"), OPTIONS(.cwd = test_dir()));

    assert_ended(result, 0);
    assert_string_equal(result.out, "ran");
}

static void a_name_with_a_slash_is_not_searched_in_path(void **state)
{
    (void)state;

    assert_int_equal(mkdir(test_path("sub"), 0755), 0);
    copy_file(kid_path(), test_path("sub/here"), 0755);
    outcome result = run_child(ARGV("sub/here"), OPTIONS(.env = ARGV(text("PATH=%s", test_dir())), .cwd = "/"));

    assert_refused(result, -ENOENT, PROC_STEP_EXEC, "sub/here");
}

static void the_path_of_the_childs_environment_counts(void **state)
{
    (void)state;
    const char *path = text("PATH=/nonexistent:%s", test_dir());

    copy_file(kid_path(), test_path("only-here"), 0755);
    outcome replaced = run_child(ARGV("only-here", "out", "1"), OPTIONS(.env = ARGV(path)));
    outcome changed = run_child(ARGV("only-here", "out", "2"), OPTIONS(.env_changes = ARGV(path)));
    outcome parents = run_child(ARGV("only-here", "out", "3"), NULL);

    assert_ended(replaced, 0);
    assert_ended(changed, 0);
    assert_string_equal(changed.out, "2");
    assert_refused(parents, -ENOENT, PROC_STEP_EXEC, "only-here");
}

static void without_a_path_the_usual_places_are_searched(void **state)
{
    (void)state;
    outcome emptied = run_child(ARGV("sh", "-c", "exit 4"), OPTIONS(.env = ARGV("HELLO=WORLD")));
    outcome removed = run_child(ARGV("sh", "-c", "exit 5"), OPTIONS(.env_changes = ARGV("PATH")));

    assert_ended(emptied, 4);
    assert_ended(removed, 5);
}

static void an_empty_path_finds_nothing(void **state)
{
    (void)state;
    outcome result = run_child(ARGV("sh", "-c", "exit 4"), OPTIONS(.env = ARGV("PATH=")));

    assert_refused(result, -ENOENT, PROC_STEP_EXEC, "sh");
}

static void empty_and_relative_entries_of_path_are_skipped(void **state)
{
    (void)state;
    static const char *const paths[] = {
        "PATH=", "PATH=:", "PATH=.", "PATH=bin", "PATH=::.:bin:./bin:../bin:", "PATH=./"};

    assert_int_equal(mkdir(test_path("bin"), 0755), 0);
    copy_file(kid_path(), test_path("trap"), 0755);
    copy_file(kid_path(), test_path("bin/trap"), 0755);
    for (size_t i = 0; i < COUNT(paths); i++) {
        outcome result = run_child(ARGV("trap", "out", "ran"), OPTIONS(.env = ARGV(paths[i]), .cwd = test_dir()));

        assert_refused(result, -ENOENT, PROC_STEP_EXEC, "trap");
    }
}

static void a_forbidden_file_is_passed_over_for_a_later_one(void **state)
{
    (void)state;
    const char *both = text("PATH=%s/first:%s/second", test_dir(), test_dir());
    const char *first = text("PATH=%s/first:/nonexistent", test_dir());

    assert_int_equal(mkdir(test_path("first"), 0755), 0);
    assert_int_equal(mkdir(test_path("second"), 0755), 0);
    copy_file(kid_path(), test_path("first/tool"), 0644);
    copy_file(kid_path(), test_path("second/tool"), 0755);
    outcome found = run_child(ARGV("tool", "out", "second"), OPTIONS(.env = ARGV(both)));
    outcome forbidden = run_child(ARGV("tool", "out", "second"), OPTIONS(.env = ARGV(first)));

    assert_ended(found, 0);
    assert_string_equal(found.out, "second");
    assert_refused(forbidden, -EACCES, PROC_STEP_EXEC, "tool");
}

static void a_path_entry_that_is_no_directory_is_passed_over(void **state)
{
    (void)state;

    write_file(test_path("file"), "", 0644);
    outcome result = run_child(ARGV("sh", "-c", "exit 6"), OPTIONS(.env = ARGV(text("PATH=%s/file:/bin", test_dir()))));

    assert_ended(result, 6);
}

/* ---- programs that cannot be run ---- */

static void a_missing_program_is_reported_by_name(void **state)
{
    (void)state;
    outcome searched = run_child(ARGV("no-such-program-anywhere", "bar"), NULL);
    outcome named = run_child(ARGV("/nonexistent/program", "bar"), NULL);

    assert_refused(searched, -ENOENT, PROC_STEP_EXEC, "no-such-program-anywhere");
    assert_refused(named, -ENOENT, PROC_STEP_EXEC, "/nonexistent/program");
}

static void the_subject_is_the_program_that_was_tried_not_argv0(void **state)
{
    (void)state;
    outcome result = run_child(ARGV("shown"), OPTIONS(.file = "/nonexistent/real"));

    assert_refused(result, -ENOENT, PROC_STEP_EXEC, "/nonexistent/real");
}

static void a_long_subject_is_cut_and_ended(void **state)
{
    (void)state;
    char name[400] = "/nonexistent/";

    memset(name + strlen(name), 'x', 300);
    outcome result = run_child(ARGV(name), NULL);

    assert_int_equal(result.error.step, PROC_STEP_EXEC);
    assert_int_equal(strlen(result.error.subject), sizeof result.error.subject - 1);
    assert_int_equal(strncmp(result.error.subject, name, sizeof result.error.subject - 1), 0);
}

static void every_reason_of_exec_comes_back_exactly(void **state)
{
    (void)state;
    NOT_UNDER_VALGRIND();
    char endless[5000];
    const struct {
        const char *path;
        int code;
    } cases[] = {
        {test_path("plain"), -EACCES},          {test_dir(), -EACCES},       {test_path("text"), -ENOEXEC},
        {test_path("empty"), -ENOEXEC},         {test_path("loop"), -ELOOP}, {test_path("plain/under"), -ENOTDIR},
        {test_path("no-interpreter"), -ENOENT}, {endless, -ENAMETOOLONG},
    };

    memset(endless, 'x', sizeof endless - 1);
    endless[0] = '/';
    endless[sizeof endless - 1] = '\0';
    copy_file(kid_path(), test_path("plain"), 0644);
    write_file(test_path("text"), "echo this is no program\n", 0755);
    write_file(test_path("empty"), "", 0755);
    write_file(test_path("no-interpreter"), "#!/nonexistent/interpreter\n", 0755);
    assert_int_equal(symlink(test_path("loop"), test_path("loop")), 0);
    for (size_t i = 0; i < COUNT(cases); i++) {
        outcome result = run_child(ARGV(cases[i].path), NULL);

        assert_refused(result, cases[i].code, PROC_STEP_EXEC, cases[i].path);
    }
}

static void a_text_file_found_in_path_is_not_given_to_a_shell(void **state)
{
    (void)state;

    write_file(test_path("text"), "echo this is no program\n", 0755);
    outcome result = run_child(ARGV("text"), OPTIONS(.env = ARGV(text("PATH=%s", test_dir()))));

    assert_refused(result, -ENOEXEC, PROC_STEP_EXEC, "text");
}

static void a_name_too_long_for_any_directory_is_refused(void **state)
{
    (void)state;
    char name[300];

    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    outcome result = run_child(ARGV(name), NULL);

    assert_refused(result, -ENAMETOOLONG, PROC_STEP_EXEC, NULL);
}

static void a_script_with_an_interpreter_runs(void **state)
{
    (void)state;

    write_file(test_path("script"), "#!/bin/sh\nexit 9\n", 0755);
    outcome result = run_child(ARGV(test_path("script")), NULL);

    assert_ended(result, 9);
}

static void an_argument_too_long_for_the_system_is_refused_whole(void **state)
{
    (void)state;
    NOT_UNDER_VALGRIND();
    static char longest[131073];

    memset(longest, 'y', sizeof longest - 1);
    outcome over = run_child(KID("out", longest), NULL);
    longest[131071] = '\0';
    outcome within = run_child(KID("out", longest), NULL);

    assert_refused(over, -E2BIG, PROC_STEP_EXEC, kid_path());
    assert_ended(within, 0);
    assert_int_equal(within.out_size, 131071);
}

/* ---- a program file that somebody still writes ---- */

typedef struct late_closer {
    int fd, go;
} late_closer;

static void *close_later(void *arg)
{
    late_closer *closer = arg;

    await_byte(closer->go);
    nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    close(closer->fd);
    return NULL;
}

/* The retry lasts for a few dozen milliseconds only: a busy machine may miss it, so a few attempts are allowed. */
static void a_program_file_that_is_still_being_written_is_tried_again(void **state)
{
    (void)state;
    NOT_UNDER_VALGRIND();
    const char *program = test_path("fresh");
    outcome result = {.err = -ETXTBSY};
    int go[2];

    make_pipe(go);
    copy_file(kid_path(), program, 0755);
    for (int attempt = 0; attempt < 20 && result.err == -ETXTBSY; attempt++) {
        late_closer closer = {.fd = open(program, O_WRONLY | O_CLOEXEC), .go = go[0]};
        pthread_t thread;

        assert_true(closer.fd >= 0);
        assert_int_equal(pthread_create(&thread, NULL, close_later, &closer), 0);
        assert_int_equal(write(go[1], "g", 1), 1);
        result = run_child(ARGV(program, "exit", "11"), NULL);
        pthread_join(thread, NULL);
    }

    assert_ended(result, 11);
    close(go[0]);
    close(go[1]);
}

static void a_program_file_that_stays_open_for_writing_is_reported_in_time(void **state)
{
    (void)state;
    NOT_UNDER_VALGRIND();
    const char *program = test_path("busy");
    int fd;

    copy_file(kid_path(), program, 0755);
    fd = open(program, O_WRONLY | O_CLOEXEC);
    outcome result = run_child(ARGV(program), NULL);

    assert_refused(result, -ETXTBSY, PROC_STEP_EXEC, program);
    close(fd);
}

static const struct CMUnitTest tests[] = {
    TEST(spawn_starts_a_program_and_tells_its_end),
    TEST(spawn_needs_no_options),
    TEST(every_exit_code_comes_back_as_it_is),
    TEST(a_killing_signal_is_told_and_no_code),
    TEST(an_unknown_command_of_a_shell_is_an_exit_code_and_no_failed_start),
    TEST(argv0_is_what_the_caller_says_when_file_names_the_program),
    TEST(argv0_may_be_empty_when_file_names_the_program),
    TEST(a_file_without_a_slash_is_looked_up_too),
    TEST(a_name_with_a_slash_is_relative_to_the_childs_directory),
    TEST(a_name_with_a_slash_is_not_searched_in_path),
    TEST(the_path_of_the_childs_environment_counts),
    TEST(without_a_path_the_usual_places_are_searched),
    TEST(an_empty_path_finds_nothing),
    TEST(empty_and_relative_entries_of_path_are_skipped),
    TEST(a_forbidden_file_is_passed_over_for_a_later_one),
    TEST(a_path_entry_that_is_no_directory_is_passed_over),
    TEST(a_missing_program_is_reported_by_name),
    TEST(the_subject_is_the_program_that_was_tried_not_argv0),
    TEST(a_long_subject_is_cut_and_ended),
    TEST(every_reason_of_exec_comes_back_exactly),
    TEST(a_text_file_found_in_path_is_not_given_to_a_shell),
    TEST(a_name_too_long_for_any_directory_is_refused),
    TEST(a_script_with_an_interpreter_runs),
    TEST(an_argument_too_long_for_the_system_is_refused_whole),
    TEST(a_program_file_that_is_still_being_written_is_tried_again),
    TEST(a_program_file_that_stays_open_for_writing_is_reported_in_time),
};

HARNESS_MAIN(tests)
