/*
 * The runner behind cmocka.h: each test between its setup and its teardown, left by longjmp from a failed assertion or a
 * skip. A test that crashes takes the program along; test/run tells which one it was.
 */
#include <fnmatch.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmocka.h"

typedef enum outcome { PASSED, FAILED, SKIPPED } outcome;

static jmp_buf leave_test;
static const char *filter;

void cmocka_set_test_filter(const char *pattern)
{
    filter = pattern;
}

/* ---- what a test says ---- */

void print_message(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vfprintf(stdout, format, args);
    va_end(args);
    (void)fflush(stdout);
}

void print_error(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vfprintf(stderr, format, args);
    va_end(args);
}

void _fail(const char *file, int line)
{
    print_error("%s:%d: error: Failure!\n", file, line);
    if (getenv("CMOCKA_TEST_ABORT") != NULL) {
        abort();
    }
    longjmp(leave_test, FAILED);
}

void _skip(const char *file, int line)
{
    (void)file;
    (void)line;
    longjmp(leave_test, SKIPPED);
}

/* ---- assertions ---- */

void _assert_true(uintmax_t result, const char *expression, const char *file, int line)
{
    if (result == 0) {
        print_error("%s\n", expression);
        _fail(file, line);
    }
}

void _assert_int_equal(uintmax_t a, uintmax_t b, const char *file, int line)
{
    if (a != b) {
        print_error("%#jx != %#jx\n", a, b);
        _fail(file, line);
    }
}

void _assert_int_not_equal(uintmax_t a, uintmax_t b, const char *file, int line)
{
    if (a == b) {
        print_error("%#jx == %#jx\n", a, b);
        _fail(file, line);
    }
}

void _assert_string_equal(const char *a, const char *b, const char *file, int line)
{
    if (strcmp(a, b) != 0) {
        print_error("\"%s\" != \"%s\"\n", a, b);
        _fail(file, line);
    }
}

void _assert_string_not_equal(const char *a, const char *b, const char *file, int line)
{
    if (strcmp(a, b) == 0) {
        print_error("\"%s\" == \"%s\"\n", a, b);
        _fail(file, line);
    }
}

void _assert_memory_equal(const void *a, const void *b, size_t size, const char *file, int line)
{
    const unsigned char *left = a, *right = b;

    for (size_t i = 0; i < size; i++) {
        if (left[i] != right[i]) {
            print_error("difference at offset %zu of %zu: %#x != %#x\n", i, size, left[i], right[i]);
            _fail(file, line);
        }
    }
}

void _assert_memory_not_equal(const void *a, const void *b, size_t size, const char *file, int line)
{
    if (memcmp(a, b, size) == 0) {
        print_error("%zu bytes are the same\n", size);
        _fail(file, line);
    }
}

void _assert_in_range(uintmax_t value, uintmax_t least, uintmax_t most, const char *file, int line)
{
    if (value < least || value > most) {
        print_error("%ju is not within %ju to %ju\n", value, least, most);
        _fail(file, line);
    }
}

/* ---- the run ---- */

static outcome run_test(const struct CMUnitTest *test)
{
    void *state = test->initial_state;
    /* volatile: set before a longjmp, read after it */
    volatile outcome result = PASSED;

    if (test->setup_func != NULL && test->setup_func(&state) != 0) {
        return FAILED;
    }
    switch (setjmp(leave_test)) {
    case PASSED:
        test->test_func(&state);
        break;
    case SKIPPED:
        result = SKIPPED;
        break;
    default:
        result = FAILED;
        break;
    }
    if (test->teardown_func != NULL && test->teardown_func(&state) != 0) {
        result = FAILED;
    }
    return result;
}

int _cmocka_run_group_tests(const char *group_name, const struct CMUnitTest *tests, size_t count,
                            CMFixtureFunction group_setup, CMFixtureFunction group_teardown)
{
    static const char *const words[] = {[PASSED] = "       OK ", [FAILED] = "  FAILED  ", [SKIPPED] = "  SKIPPED "};
    size_t counts[] = {0, 0, 0};
    void *state = NULL;

    print_message("[==========] Running %zu test(s).\n", count);
    if (group_setup != NULL && group_setup(&state) != 0) {
        print_error("[  FAILED  ] GROUP SETUP of %s\n", group_name);
        return (int)count;
    }
    for (size_t i = 0; i < count; i++) {
        if (filter == NULL || fnmatch(filter, tests[i].name, 0) == 0) {
            print_message("[ RUN      ] %s\n", tests[i].name);
            outcome result = run_test(&tests[i]);
            counts[result]++;
            print_message("[%s] %s\n", words[result], tests[i].name);
        }
    }
    if (group_teardown != NULL && group_teardown(&state) != 0) {
        print_error("[  FAILED  ] GROUP TEARDOWN of %s\n", group_name);
        counts[FAILED]++;
    }
    print_message("[==========] %zu test(s) run.\n", counts[PASSED] + counts[FAILED] + counts[SKIPPED]);
    print_message("[  PASSED  ] %zu test(s).\n", counts[PASSED]);
    return (int)counts[FAILED];
}
