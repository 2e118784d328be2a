/*
 * The larger programs of man/examples do what they say: workers, calls, descriptors for the unprivileged, and many commands
 * at once.
 */
#include "harness.h"

#include <glob.h>

enum { PATIENCE = 60000 };

static const char *example(const char *name)
{
    const char *build = getenv("PROC_TEST_BUILD");
    return text("%s/examples/%s", build == NULL ? "build/native" : build, name);
}

typedef struct said {
    int code;
    char *out, *complaint;
} said;

static said run_with(const char *const argv[], const char *input, const char *cwd)
{
    proc_result result;
    said s;

    assert_int_equal(
        proc_execfile(&result, argv,
                      OPTIONS(.timeout_ms = PATIENCE, .cwd = cwd, .max_buffer = PROC_UNLIMITED, .input = input,
                              .input_size = input == NULL ? 0 : strlen(input), .env_changes = ARGV("LC_ALL=C"))),
        0);
    s.code = result.status.code;
    s.out = text("%s", result.out);
    s.complaint = text("%s", result.err);
    proc_result_clear(&result);
    return s;
}

static said run_example(const char *const argv[])
{
    return run_with(argv, NULL, NULL);
}

/* ---- workers ---- */

static void worker_asks_its_worker(void **state)
{
    (void)state;
    said s = run_example(ARGV(example("worker"), "91", "97", "600851475143"));

    assert_string_equal(s.complaint, "");
    assert_string_equal(s.out, "91: 7\n97: 97\n600851475143: 71\n");
    assert_int_equal(s.code, 0);
}

static void rpc_shows_calls_that_succeed_fail_and_are_given_up(void **state)
{
    (void)state;
    said s = run_example(ARGV(example("rpc")));

    assert_string_equal(s.complaint, "");
    assert_string_equal(s.out, text("5 squared is 25\n6 squared is 36\n7 squared is 49\n8 squared is 64\n"
                                    "7 / 0 fails: %s\na dream of 50 ms: %s\nthe worker has woken up\n"
                                    "a dream is taken back\n84 / 2 is 42\n",
                                    proc_strerror(EDOM), proc_strerror(ETIMEDOUT)));
    assert_int_equal(s.code, 0);
}

static void fdserver_opens_for_nobody_what_it_allows_and_nothing_else(void **state)
{
    (void)state;
    const char *directory = test_dir();

    write_file(test_path("three"), "a\nb\nc\n", 0600);
    write_file(test_path("none"), "", 0600);
    assert_int_equal(symlink("/etc/passwd", test_path("link")), 0);
    assert_int_equal(mkdir(test_path("folder"), 0755), 0);
    said s = run_example(
        ARGV(example("fdserver"), directory, "three", "none", "link", "folder", "..", "../etc/passwd", "missing", ""));

    assert_string_equal(s.complaint, "");
    assert_non_null(strstr(s.out, "three: 3 lines, counted by user "));
    assert_non_null(strstr(s.out, "none: 0 lines"));
    assert_non_null(strstr(s.out, "link: Permission denied\n"));
    assert_non_null(strstr(s.out, "folder: Permission denied\n"));
    assert_non_null(strstr(s.out, "..: Permission denied\n"));
    assert_non_null(strstr(s.out, "../etc/passwd: Permission denied\n"));
    assert_non_null(strstr(s.out, "missing: No such file or directory\n"));
    assert_non_null(strstr(s.out, text("counted by user %d\n", is_root() ? 65534 : (int)getuid())));
    assert_int_equal(s.code, 0);
}

/* ---- wordcount, against wc ---- */

static const char **files_of(const char *program, const char *option, const char *pattern, glob_t *found)
{
    assert_int_equal(glob(text("%s/%s", top_dir(), pattern), 0, NULL, found), 0);
    const char **argv = keep(calloc(found->gl_pathc + 3, sizeof *argv));
    size_t count = 0;

    argv[count++] = program;
    if (option != NULL) {
        argv[count++] = option;
    }
    for (size_t i = 0; i < found->gl_pathc; i++) {
        argv[count++] = found->gl_pathv[i];
    }
    return argv;
}

/* wc pads its columns. */
static char *without_padding(const char *wc)
{
    char *plain = keep(malloc(strlen(wc) + 1)), *at = plain;

    for (bool begins = true; *wc != '\0'; wc++) {
        if (!begins || *wc != ' ') {
            *at++ = *wc;
            begins = *wc == '\n';
        }
    }
    *at = '\0';
    return plain;
}

static void wordcount_counts_as_wc_does(void **state)
{
    (void)state;
    static const char *const patterns[] = {"src/*.c", "test/unit/*.c", "man/man3/*.3", "README.md"};

    for (size_t i = 0; i < COUNT(patterns); i++) {
        glob_t found;
        said ours = run_example(files_of(example("wordcount"), NULL, patterns[i], &found));
        globfree(&found);
        said theirs = run_example(files_of("wc", "-w", patterns[i], &found));
        globfree(&found);

        assert_int_equal(ours.code, 0);
        assert_string_equal(ours.complaint, "");
        assert_string_equal(ours.out, without_padding(theirs.out));
    }
}

static void wordcount_takes_odd_files_and_names_those_it_cannot_read(void **state)
{
    (void)state;
    char *large = keep(malloc(3000001));

    memset(large, 'x', 3000000);
    large[3000000] = '\0';
    write_file(test_path("empty"), "", 0644);
    write_file(test_path("no newline"), "one two", 0644);
    write_file(test_path("spaces"), " \t\v\f\r\n\n  ", 0644);
    write_file(test_path("word"), large, 0644);
    said s = run_example(ARGV(example("wordcount"), test_path("empty"), test_path("no newline"), test_path("spaces"),
                              test_path("word"), test_path("missing"), test_dir()));

    assert_int_equal(s.code, 1);
    assert_string_equal(s.out, text("0 %s\n2 %s\n0 %s\n1 %s\n3 total\n", test_path("empty"), test_path("no newline"),
                                    test_path("spaces"), test_path("word")));
    assert_string_equal(s.complaint, text("wordcount: %s: No such file or directory\nwordcount: %s: Is a directory\n",
                                          test_path("missing"), test_dir()));
}

/* ---- pmap ---- */

static void pmap_runs_a_command_for_each_of_a_thousand_files(void **state)
{
    (void)state;
    said list = run_example(
        ARGV("sh", "-c", "find / -xdev -type f -size -200k -readable 2>/dev/null | grep -v \"^/proc\" | head -n 1000"));
    said ours = run_with(ARGV(example("pmap"), "-k", "-j", "8", "cksum"), list.out, NULL);
    said theirs = run_with(ARGV("xargs", "-d", "\\n", "-n", "1", "cksum"), list.out, NULL);

    if (theirs.code != 0) {
        SKIP("some of the files went away, or xargs cannot -d: %s", theirs.complaint);
    }
    assert_int_equal(ours.code, 0);
    assert_string_equal(ours.complaint, "");
    assert_string_equal(ours.out, theirs.out);
}

static void pmap_keeps_order_and_lists_failures(void **state)
{
    (void)state;
    const char *lines = "3\n1\n0\n2\n";
    said all =
        run_with(ARGV(example("pmap"), "-j", "4", "-k", "sh", "-c", "sleep 0.$0; echo $0; exit $0"), lines, NULL);
    said first = run_with(ARGV(example("pmap"), "-j", "1", "sh", "-c", "echo $0; exit $0"), lines, NULL);
    said placed = run_with(ARGV(example("pmap"), "echo", "a", "{}", "b", "{}"), "x y\nz", NULL);

    assert_string_equal(all.out, "3\n1\n0\n2\n");
    assert_string_equal(all.complaint, "pmap: 3: exit 3\npmap: 1: exit 1\npmap: 2: exit 2\n");
    assert_int_equal(all.code, 123);
    assert_string_equal(first.out, "3\n"); /* after a failure no more are started */
    assert_int_equal(first.code, 123);
    assert_string_equal(placed.out, "a x y b x y\na z b z\n");
    assert_int_equal(placed.code, 0);
}

static void pmap_exits_as_xargs_does(void **state)
{
    (void)state;
    const struct {
        const char *script;
        int code;
    } cases[] = {{"exit 0", 0}, {"exit 7", 123}, {"exit 255", 124}, {"kill -9 $$", 125}};

    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_int_equal(run_with(ARGV(example("pmap"), "sh", "-c", cases[i].script), "a\n", NULL).code, cases[i].code);
    }
    assert_int_equal(run_with(ARGV(example("pmap"), "/"), "a\n", NULL).code, 126);
    assert_int_equal(run_with(ARGV(example("pmap"), "no-such-program"), "a\n", NULL).code, 127);
    assert_int_equal(run_with(ARGV(example("pmap"), "-t", "0.1", "sleep"), "60\n", NULL).code, 123);
    assert_int_equal(run_with(ARGV(example("pmap"), "no-such-program"), "", NULL).code, 0); /* no lines, no start */
    assert_int_equal(run_with(ARGV(example("pmap"), "-j", "x", "true"), "a\n", NULL).code, 1);
}

static void pmap_fails_where_nobody_can_see_what_it_shows(void **state)
{
    (void)state;
    said s = run_with(ARGV("sh", "-c", text("%s -k echo >/dev/full; echo $?", example("pmap"))), "a\nb\n", NULL);

    assert_string_equal(s.out, "123\n");
    assert_non_null(strstr(s.complaint, "pmap: standard output cannot be written\n"));
}

static void pmap_shows_how_far_it_is_on_a_terminal(void **state)
{
    (void)state;
    proc_child *child = start_child(ARGV("sh", "-c", "seq 3 | \"$0\" -j 1 sh -c 'sleep 0.3'", example("pmap")),
                                    OPTIONS(.out.kind = PROC_PIPE, .err.kind = PROC_PTY));
    outcome result = finish_child(child);

    assert_ended(result, 0);
    assert_non_null(strstr(result.complaint, " of 3, "));
    assert_non_null(strstr(result.complaint, " s left"));
}

/* ---- the others ---- */

/* A command that reads it waits for the end of another one, which holds it open: exec 9>gate. */
static const char *make_gate(const char *name)
{
    const char *path = test_path(name);

    assert_int_equal(mkfifo(path, 0600), 0);
    return path;
}

static void tail_shows_lines_as_they_come(void **state)
{
    (void)state;
    const char *gate = make_gate("gate"); /* open while the second command runs */
    said s = run_example(ARGV(example("tail"), text("echo a; cat %s; sleep 0.3; printf b", gate),
                              text("exec 9>%s; echo x >&2; exit 2", gate)));

    assert_int_equal(s.code, 0);
    assert_non_null(strstr(s.out, "1: a\n"));
    assert_non_null(strstr(s.out, "2: x\n"));
    assert_non_null(strstr(s.out, "2: [exit 2]\n"));
    assert_true(strstr(s.out, "2: [exit 2]\n") < strstr(s.out, "1: b\n"));
    assert_true(strstr(s.out, "1: b\n") < strstr(s.out, "1: [exit 0]\n"));
}

static void atonce_tells_ends_as_they_come(void **state)
{
    (void)state;
    const char *gate = make_gate("gate");
    const char *slow = text("cat %s; sleep 0.3; echo slow", gate), *quick = text("exec 9>%s; echo quick; exit 3", gate);
    said s = run_example(ARGV(example("atonce"), slow, quick));

    assert_int_equal(s.code, 0);
    assert_string_equal(s.out, text("%s: exit 3\nquick\n%s: exit 0\nslow\n", quick, slow));
}

static void nested_runs_each_line_of_its_input(void **state)
{
    (void)state;
    const char *one = make_gate("one"), *two = make_gate("two");
    said s = run_with(
        ARGV(example("nested")),
        text("exec 9>%s; echo one\ncat %s %s; sleep 0.3; echo late\nexec 9>%s; echo two >&2", one, one, two, two),
        NULL);

    if (POSIX_BUILD) {
        assert_int_equal(s.code, 1);
        assert_non_null(strstr(s.complaint, "nested: "));
        return;
    }
    assert_int_equal(s.code, 0);
    assert_non_null(strstr(s.out, "one\n"));
    assert_non_null(strstr(s.out, "two\n"));
    assert_string_equal(s.out + strlen(s.out) - 5, "late\n");
}

static void heartbeat_ends_with_its_command(void **state)
{
    (void)state;
    const char *gate = make_gate("gate");
    proc_child *child = start_child(ARGV(example("heartbeat"), text("echo go; cat %s; exit 4", gate)),
                                    OPTIONS(.in.kind = PROC_PIPE, .out.kind = PROC_PIPE, .err.kind = PROC_PIPE));
    char beat;

    assert_int_equal(proc_child_read(child, 2, &beat, 1, PATIENCE), 1);
    assert_int_equal(beat, '.');
    close(open(gate, O_WRONLY | O_CLOEXEC)); /* once the command waits for it */
    outcome result = finish_child(child);

    assert_ended(result, 4);
    assert_string_equal(result.out, "go\n");
    assert_int_equal(strspn(result.complaint, "."), result.complaint_size); /* another, or none, meanwhile */
}

static const struct CMUnitTest tests[] = {
    TEST(worker_asks_its_worker),
    TEST(rpc_shows_calls_that_succeed_fail_and_are_given_up),
    TEST(fdserver_opens_for_nobody_what_it_allows_and_nothing_else),
    TEST(wordcount_counts_as_wc_does),
    TEST(wordcount_takes_odd_files_and_names_those_it_cannot_read),
    TEST(pmap_runs_a_command_for_each_of_a_thousand_files),
    TEST(pmap_keeps_order_and_lists_failures),
    TEST(pmap_exits_as_xargs_does),
    TEST(pmap_fails_where_nobody_can_see_what_it_shows),
    TEST(pmap_shows_how_far_it_is_on_a_terminal),
    TEST(tail_shows_lines_as_they_come),
    TEST(atonce_tells_ends_as_they_come),
    TEST(nested_runs_each_line_of_its_input),
    TEST(heartbeat_ends_with_its_command),
};

HARNESS_MAIN(tests)
