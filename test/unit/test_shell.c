/*
 * The shell of proc_exec, which one it is and how a command reaches it; and proc_shell_quote, before a real one.
 */
#include "lifeline.h"

/* ---- which shell ---- */

static void a_command_is_a_line_for_sh(void **state)
{
    (void)state;
    proc_result result;

    assert_int_equal(run_command(&result, "a='x  y'; echo \"$a\" | cat; echo $0; (exit 2) || echo $?", NULL), 0);

    assert_string_equal(result.out, "x  y\nsh\n2\n");
}

static const char *write_shell(const char *name)
{
    const char *path = test_path(name);

    write_file(path, "#!/bin/sh\nfor word in \"$@\"; do printf '<%s>' \"$word\"; done\n", 0755);
    return path;
}

static void another_shell_gets_the_command_as_one_word(void **state)
{
    (void)state;
    const char *shell = write_shell("shell");
    proc_result plain, dashed;

    assert_int_equal(run_command(&plain, "it's * one word", OPTIONS(.shell = shell)), 0);
    assert_int_equal(run_command(&dashed, "-x", OPTIONS(.shell = shell)), 0);

    assert_string_equal(plain.out, "<-c><it's * one word>");
    assert_string_equal(dashed.out, "<-c><-x>");
}

static void a_shell_without_a_slash_is_looked_up_in_the_childs_path(void **state)
{
    (void)state;
    const char *path = text("PATH=%s:/usr/bin:/bin", test_dir());
    proc_error error = {0};
    proc_result found, missing;

    write_shell("only-here");
    assert_int_equal(run_command(&found, "x", OPTIONS(.shell = "only-here", .env_changes = ARGV(path))), 0);
    assert_int_equal(run_command(&missing, "x", OPTIONS(.shell = "only-here", .error = &error)), -ENOENT);

    assert_string_equal(found.out, "<-c><x>");
    assert_int_equal(error.step, PROC_STEP_EXEC);
    assert_string_equal(error.subject, "only-here");
}

static void a_bad_shell_is_named_in_the_error(void **state)
{
    (void)state;
    proc_error error = {0};
    proc_result result;

    assert_int_equal(run_command(&result, "exit -1", OPTIONS(.shell = "/nonexistent/shell", .error = &error)), -ENOENT);
    assert_int_equal(error.step, PROC_STEP_EXEC);
    assert_string_equal(error.subject, "/nonexistent/shell");
    assert_null(result.out);
    assert_int_equal(run_command(&result, "exit -1", OPTIONS(.shell = "", .error = &error)), -EINVAL);
    assert_int_equal(error.step, PROC_STEP_OPTIONS);
    assert_string_equal(error.subject, "shell");
}

static void a_failed_start_of_the_shell_names_it_and_not_the_command(void **state)
{
    (void)state;
    const proc_limit none = {.resource = RLIMIT_AS, .soft = 4096, .hard = 4096};
    proc_error error = {0};
    proc_result result;
    int err = run_command(&result, "exit 0", OPTIONS(.limits = &none, .limit_count = 1, .error = &error));

    if (err == 0) { /* too little memory to run is a signal here, and no failed start */
        assert_int_equal(result.status.state, PROC_SIGNALED);
        return;
    }
    assert_int_equal(error.step, PROC_STEP_EXEC);
    assert_string_equal(error.subject, "/bin/sh");
}

static void a_command_that_looks_like_an_option_is_a_command(void **state)
{
    (void)state;
    static const char *const commands[] = {"-x", "-c", "+x", "--", "-", "--help"};
    const char *path = text("PATH=%s:/usr/bin:/bin", test_dir());

    for (size_t i = 0; i < COUNT(commands); i++) {
        proc_result result;

        write_file(test_path(commands[i]), "#!/bin/sh\necho ran ${0##*/} \"$1\"\n", 0755);
        assert_int_equal(run_command(&result, text("%s word", commands[i]), OPTIONS(.env_changes = ARGV(path))), 0);
        assert_string_equal(result.out, text("ran %s word\n", commands[i]));
        assert_exited(result.status, 0);
    }
}

/* ---- quoting ---- */

static const char *quoted(const char *word)
{
    int length = proc_shell_quote(word, NULL, 0);
    char *buffer;

    assert_true(length >= 2);
    buffer = keep(malloc((size_t)length + 1));
    assert_int_equal(proc_shell_quote(word, buffer, (size_t)length + 1), length);
    assert_int_equal(strlen(buffer), length);
    return buffer;
}

static void assert_survives(const char *word)
{
    proc_result result;

    assert_int_equal(run_command(&result, text("printf '<%%s>' %s", quoted(word)), NULL), 0);
    assert_exited(result.status, 0);
    assert_string_equal(result.err, "");
    assert_string_equal(result.out, text("<%s>", word));
}

static void a_quoted_word_goes_through_a_shell_as_it_is(void **state)
{
    (void)state;
    static const char *const words[] = {"",        "plain", "two words", "it's",    "''''", "'", "\"",    "\\",
                                        "$HOME",   "`id`",  "-n",        "--",      "*",    "~", "!!",    "a\n",
                                        "\n",      "\t x ", "a;b",       "#x",      "x=y",  "&", "$(id)", "{a,b}",
                                        "%s%n\\c", "é",     "'\\''$x",   "\\'\\\\", "(",    "|"};

    for (size_t i = 0; i < COUNT(words); i++) {
        assert_survives(words[i]);
    }
}

static void every_byte_goes_through_a_shell_as_it_is(void **state)
{
    (void)state;
    char all[256], *command, *at;
    proc_result result;

    for (int byte = 1; byte < 256; byte++) {
        all[byte - 1] = (char)byte;
    }
    all[255] = '\0';
    assert_survives(all);
    command = keep(malloc(255 * 8 + 100)); /* and each as a word of its own */
    at = command + sprintf(command, "printf '%%s'");
    for (int byte = 1; byte < 256; byte++) {
        at += sprintf(at, " %s", quoted((const char[]){(char)byte, '\0'}));
    }
    assert_int_equal(run_command(&result, command, NULL), 0);

    assert_int_equal(result.out_size, 255);
    assert_memory_equal(result.out, all, 255);
}

static void a_long_word_is_quoted_whole(void **state)
{
    (void)state;
    char *word = pattern_text(0, 30000); /* with a quote in every 89 bytes */

    assert_survives(word);
}

static void quoting_tells_its_length_as_snprintf_does(void **state)
{
    (void)state;
    static const char *const words[] = {"", "abc", "it's", "'", "a'b'c"};

    for (size_t i = 0; i < COUNT(words); i++) {
        const char *whole = quoted(words[i]);
        size_t length = strlen(whole);

        for (size_t size = 0; size <= length + 2; size++) {
            char buffer[64];
            size_t kept = size == 0 ? 0 : size - 1 < length ? size - 1 : length;

            memset(buffer, '#', sizeof buffer);
            assert_int_equal(proc_shell_quote(words[i], size == 0 ? NULL : buffer, size), length);
            assert_memory_equal(buffer, whole, kept);
            assert_true(size == 0 || buffer[kept] == '\0');
            assert_int_equal(buffer[size], '#');
        }
    }
}

static void quoting_nothing_is_refused(void **state)
{
    (void)state;
    char buffer[8];

    assert_int_equal(proc_shell_quote(NULL, buffer, sizeof buffer), -EINVAL);
    assert_int_equal(proc_shell_quote("word", NULL, 8), -EINVAL);
}

static const struct CMUnitTest tests[] = {
    TEST(a_command_is_a_line_for_sh),
    TEST(another_shell_gets_the_command_as_one_word),
    TEST(a_shell_without_a_slash_is_looked_up_in_the_childs_path),
    TEST(a_bad_shell_is_named_in_the_error),
    TEST(a_failed_start_of_the_shell_names_it_and_not_the_command),
    TEST(a_command_that_looks_like_an_option_is_a_command),
    TEST(a_quoted_word_goes_through_a_shell_as_it_is),
    TEST(every_byte_goes_through_a_shell_as_it_is),
    TEST(a_long_word_is_quoted_whole),
    TEST(quoting_tells_its_length_as_snprintf_does),
    TEST(quoting_nothing_is_refused),
};

HARNESS_MAIN(tests)
