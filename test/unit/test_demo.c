/*
 * The program of man/examples/demo.c: that all it shows goes as it says, and that it notices when it does not.
 */
#include "harness.h"

static outcome run_demo(const char *cwd, proc_stdio_kind out, const char *no_colour)
{
    const char *build = getenv("PROC_TEST_BUILD");
    const char *path = text("%s/examples/demo", build == NULL ? "build/native" : build);

    return run_child(ARGV(path),
                     OPTIONS(.cwd = cwd, .in.kind = PROC_NULL, .out.kind = out, .env_changes = ARGV(no_colour)));
}

static bool is_coloured(const outcome *result)
{
    return strchr(result->out, '\033') != NULL;
}

static void all_that_it_shows_goes_as_expected(void **state)
{
    (void)state;

    outcome result = run_demo(top_dir(), PROC_PIPE, "NO_COLOR");

    assert_ended(result, 0);
    assert_string_equal(result.complaint, "");
    assert_non_null(strstr(result.out, "\nAll as expected.\n"));
    assert_null(strstr(result.out, "SURPRISE"));
    assert_false(is_coloured(&result));
}

static void it_has_colours_on_a_terminal_alone(void **state)
{
    (void)state;

    outcome coloured = run_demo(top_dir(), PROC_PTY, "NO_COLOR");
    outcome plain = run_demo(top_dir(), PROC_PTY, "NO_COLOR=1");

    assert_ended(coloured, 0);
    assert_true(is_coloured(&coloured));
    assert_ended(plain, 0);
    assert_false(is_coloured(&plain));
}

static void a_surprise_is_told_and_exits_with_1(void **state)
{
    (void)state;

    outcome result = run_demo("/", PROC_PIPE, "NO_COLOR");

    assert_ended(result, 1);
    assert_non_null(strstr(result.out, "SURPRISE"));
    assert_non_null(strstr(result.out, "\nNot as expected: "));
}

static const struct CMUnitTest tests[] = {
    TEST(all_that_it_shows_goes_as_expected),
    TEST(it_has_colours_on_a_terminal_alone),
    TEST(a_surprise_is_told_and_exits_with_1),
};

HARNESS_MAIN(tests)
