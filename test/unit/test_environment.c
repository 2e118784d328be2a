/*
 * The child's environment: replaced, changed, merged; and the places that its PATH leads to.
 */
#include "harness.h"

#include "environment.h"

extern char **environ;

/* ---- as the child sees it ---- */

static void without_options_the_parents_environment_is_seen(void **state)
{
    (void)state;
    setenv("PROC_TEST_VARIABLE", "from the parent", 1);
    outcome result = run_child(KID("getenv", "PROC_TEST_VARIABLE"), NULL);
    unsetenv("PROC_TEST_VARIABLE");

    assert_ended(result, 0);
    assert_string_equal(result.out, "PROC_TEST_VARIABLE=from the parent\n");
}

static void env_is_the_whole_environment(void **state)
{
    (void)state;
    outcome some = run_child(KID("env"), OPTIONS(.env = ARGV("HELLO=WORLD", "EMPTY=", "hello=lower", "EQUAL==a=b=")));
    outcome none = run_child(KID("env"), OPTIONS(.env = (const char *const[]){NULL}));

    assert_ended(some, 0);
    assert_string_equal(some.out, "HELLO=WORLD\nEMPTY=\nhello=lower\nEQUAL==a=b=\n");
    assert_ended(none, 0);
    assert_string_equal(none.out, "");
}

static void env_changes_go_on_top(void **state)
{
    (void)state;
    setenv("PROC_TEST_KEPT", "1", 1);
    setenv("PROC_TEST_REMOVED", "2", 1);
    outcome onto_parents =
        run_child(KID("getenv", "PROC_TEST_KEPT", "getenv", "PROC_TEST_REMOVED", "getenv", "PROC_TEST_NEW"),
                  OPTIONS(.env_changes = ARGV("PROC_TEST_REMOVED", "PROC_TEST_NEW=3", "PROC_TEST_NEVER_WAS")));
    unsetenv("PROC_TEST_KEPT");
    unsetenv("PROC_TEST_REMOVED");
    outcome onto_given =
        run_child(KID("env"), OPTIONS(.env = ARGV("A=1", "B=2", "C=3"), .env_changes = ARGV("B=two", "A", "D=4")));

    assert_string_equal(onto_parents.out, "PROC_TEST_KEPT=1\nPROC_TEST_NEW=3\n");
    assert_string_equal(onto_given.out, "B=two\nC=3\nD=4\n");
    assert_null(getenv("PROC_TEST_NEW"));
}

static void the_last_of_a_name_wins(void **state)
{
    (void)state;
    outcome given = run_child(KID("env"), OPTIONS(.env = ARGV("A=1", "B=1", "A=2", "A=3")));
    outcome changed =
        run_child(KID("env"), OPTIONS(.env = ARGV("A=1"), .env_changes = ARGV("A=2", "A", "A=3", "B=1", "B")));

    assert_string_equal(given.out, "A=3\nB=1\n");
    assert_string_equal(changed.out, "A=3\n");
}

static void env_reaches_a_shell(void **state)
{
    (void)state;
    outcome result = run_child(ARGV("/bin/sh", "-c", "printf %s \"$HELLO\""), OPTIONS(.env = ARGV("HELLO=WORLD")));

    assert_ended(result, 0);
    assert_string_equal(result.out, "WORLD");
}

static void entries_without_a_name_or_a_value_are_refused_by_place(void **state)
{
    (void)state;
    outcome no_value = run_child(KID("out", "ran"), OPTIONS(.env = ARGV("A=1", "B=2", "C=3", "BARE")));
    outcome no_name = run_child(KID("out", "ran"), OPTIONS(.env = ARGV("=1")));
    outcome empty = run_child(KID("out", "ran"), OPTIONS(.env = ARGV("")));
    outcome change_no_name = run_child(KID("out", "ran"), OPTIONS(.env_changes = ARGV("A=1", "=2")));
    outcome change_empty = run_child(KID("out", "ran"), OPTIONS(.env_changes = ARGV("")));

    assert_refused(no_value, -EINVAL, PROC_STEP_OPTIONS, "env[3]");
    assert_refused(no_name, -EINVAL, PROC_STEP_OPTIONS, "env[0]");
    assert_refused(empty, -EINVAL, PROC_STEP_OPTIONS, "env[0]");
    assert_refused(change_no_name, -EINVAL, PROC_STEP_OPTIONS, "env_changes[1]");
    assert_refused(change_empty, -EINVAL, PROC_STEP_OPTIONS, "env_changes[0]");
}

static void start_without_environment(void *arg)
{
    const char *const *argv = arg;

    clearenv();
    environ = NULL;
    outcome plain = run_child(argv, NULL);
    outcome changed = run_child(argv, OPTIONS(.env_changes = ARGV("A=1")));

    assert_string_equal(plain.out, "");
    assert_string_equal(changed.out, "A=1\n");
}

static void a_parent_without_environment_gives_its_child_none(void **state)
{
    (void)state;

    in_copy(start_without_environment, (void *)KID("env"));
}

static void search_without_environment(void *arg)
{
    (void)arg;
    environ = NULL;
    outcome result = run_child(ARGV("sh", "-c", "exit 3"), NULL);

    assert_ended(result, 3);
}

static void a_parent_without_environment_finds_programs_in_the_usual_places(void **state)
{
    (void)state;

    in_copy(search_without_environment, NULL);
}

/* The longer ones first: each shorter one is the beginning of names that are there already. */
static void names_that_begin_like_others_are_told_apart(void **state)
{
    (void)state;
    enum { NAMES = 120 };
    const char *env[NAMES + 1] = {NULL};
    char letters[NAMES + 1];

    memset(letters, 'A', NAMES);
    for (int i = 0; i < NAMES; i++) {
        env[i] = text("%.*s=%d", NAMES - i, letters, i);
    }
    outcome result =
        run_child(KID("env"), OPTIONS(.env = env, .env_changes = ARGV("AA", "AAA=x", "AAAA", "AAAA=back")));

    assert_ended(result, 0);
    for (int i = 0; i < NAMES; i++) {
        assert_int_equal(has_line(result.out, env[i]), i != NAMES - 2 && i != NAMES - 3 && i != NAMES - 4);
    }
    assert_true(has_line(result.out, "AAA=x"));
    assert_true(has_line(result.out, "AAAA=back"));
}

static void a_large_environment_arrives_whole(void **state)
{
    (void)state;
    enum { MANY = 2000 };
    const char *base[MANY + 1], *changes[MANY + 1];
    size_t removed = 0;

    for (int i = 0; i < MANY; i++) {
        base[i] = text("NAME_%d=%d", i, i);
        changes[i] = i % 2 == 0 ? text("NAME_%d", i) : text("NAME_%d=changed", i);
        removed += i % 2 == 0;
    }
    base[MANY] = changes[MANY] = NULL;
    outcome result = run_child(KID("env"), OPTIONS(.env = base, .env_changes = changes));

    assert_ended(result, 0);
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(has_line(result.out, text("NAME_%d=changed", i)), i % 2 != 0);
        assert_false(has_line(result.out, base[i]));
    }
    size_t lines = 0;
    for (const char *at = result.out; (at = strchr(at, '\n')) != NULL; at++) {
        lines++;
    }
    assert_int_equal(lines, MANY - removed);
}

/* ---- merging, without a process ---- */

static void assert_merged(const char *const *base, const char *const *changes, const char *const *wanted)
{
    const char *const *env, *const *bad;
    void *memory;
    size_t i;

    assert_int_equal(environment_merge(base, changes, NULL, &memory, &env, &bad), 0);
    for (i = 0; wanted[i] != NULL; i++) {
        assert_non_null(env[i]);
        assert_string_equal(env[i], wanted[i]);
    }
    assert_null(env[i]);
    free(memory);
}

static void merging_keeps_the_order_of_first_appearance(void **state)
{
    (void)state;

    assert_merged(ARGV("A=1", "B=2"), NULL, ARGV("A=1", "B=2"));
    assert_merged(NULL, ARGV("A=1", "B"), ARGV("A=1"));
    assert_merged(ARGV("A=1", "B=2", "A=3"), ARGV("C=4", "B=5"), ARGV("A=3", "B=5", "C=4"));
    assert_merged(ARGV("AB=1", "A=2", "ABC=3"), ARGV("A"), ARGV("AB=1", "ABC=3"));
    assert_merged(NULL, NULL, (const char *const[]){NULL});
}

static void an_odd_entry_of_the_parents_environment_is_no_error(void **state)
{
    (void)state;
    char *odd[] = {(char *)"FINE=1", (char *)"no equals sign", NULL};
    char **before = environ;

    environ = odd;
    outcome plain = run_child(ARGV("/bin/sh", "-c", "exit $FINE"), NULL);
    outcome changed = run_child(ARGV("/bin/sh", "-c", "exit $FINE"), OPTIONS(.env_changes = ARGV("FINE=2")));
    environ = before;

    assert_ended(plain, 1);
    assert_ended(changed, 2);
}

/* ---- where a program may be ---- */

static void assert_places(const char *path, const char *const *wanted)
{
    const char *const *paths;
    void *memory;
    size_t i;

    assert_int_equal(environment_search("tool", path == NULL ? ARGV("X=1") : ARGV("X=1", path), &memory, &paths), 0);
    for (i = 0; wanted[i] != NULL; i++) {
        assert_non_null(paths[i]);
        assert_string_equal(paths[i], wanted[i]);
    }
    assert_null(paths[i]);
    free(memory);
}

static void the_places_of_path_are_tried_in_order_and_absolute(void **state)
{
    (void)state;
    const char *const *none = (const char *const[]){NULL};

    assert_places("PATH=/a:/b/c", ARGV("/a/tool", "/b/c/tool"));
    assert_places(NULL, ARGV("/usr/local/bin/tool", "/bin/tool", "/usr/bin/tool"));
    assert_places("PATH=", none);
    assert_places("PATH=:", none);
    assert_places("PATH=.:..:a:./b", none);
    assert_places("PATH=::/a::.:/b:", ARGV("/a/tool", "/b/tool"));
    assert_places("PATHS=/x", ARGV("/usr/local/bin/tool", "/bin/tool", "/usr/bin/tool"));
}

static void an_entry_too_long_to_be_a_path_is_skipped(void **state)
{
    (void)state;
    char path[6000] = "PATH=/";

    memset(path + strlen(path), 'x', 5000);
    strcat(path, ":/b");
    assert_places(path, ARGV("/b/tool"));
}

/* In so small a table some of the longer names have the shorter one's place. */
static void a_name_is_found_behind_a_longer_one_in_its_place(void **state)
{
    (void)state;

    for (int i = 0; i < 200; i++) {
        const char *const base[] = {text("A%d=long", i), "A=short", NULL};
        const char *const *env = NULL, *const *bad = NULL;
        void *memory = NULL;

        assert_int_equal(environment_merge(base, ARGV("A=changed"), NULL, &memory, &env, &bad), 0);
        assert_string_equal(env[0], base[0]);
        assert_string_equal(env[1], "A=changed");
        assert_null(env[2]);
        free(memory);
    }
}

static const struct CMUnitTest tests[] = {
    TEST(without_options_the_parents_environment_is_seen),
    TEST(env_is_the_whole_environment),
    TEST(env_changes_go_on_top),
    TEST(the_last_of_a_name_wins),
    TEST(env_reaches_a_shell),
    TEST(entries_without_a_name_or_a_value_are_refused_by_place),
    TEST(a_parent_without_environment_gives_its_child_none),
    TEST(a_parent_without_environment_finds_programs_in_the_usual_places),
    TEST(names_that_begin_like_others_are_told_apart),
    TEST(a_large_environment_arrives_whole),
    TEST(merging_keeps_the_order_of_first_appearance),
    TEST(an_odd_entry_of_the_parents_environment_is_no_error),
    TEST(the_places_of_path_are_tried_in_order_and_absolute),
    TEST(an_entry_too_long_to_be_a_path_is_skipped),
    TEST(a_name_is_found_behind_a_longer_one_in_its_place),
};

HARNESS_MAIN(tests)
