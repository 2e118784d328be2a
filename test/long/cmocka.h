/*
 * As much of cmocka's interface as test/unit uses, for builds that no cmocka can be had for (another libc, another word
 * size). Needs, as the real one, stdarg.h, stddef.h, setjmp.h and stdint.h before it. Its output is in cmocka's form.
 */
#ifndef CMOCKA_H
#define CMOCKA_H

typedef void (*CMUnitTestFunction)(void **state);
typedef int (*CMFixtureFunction)(void **state);

struct CMUnitTest {
    const char *name;
    CMUnitTestFunction test_func;
    CMFixtureFunction setup_func, teardown_func;
    void *initial_state;
};

/* clang-format off */
#define cmocka_unit_test(f) {#f, f, NULL, NULL, NULL}
#define cmocka_unit_test_setup_teardown(f, setup, teardown) {#f, f, setup, teardown, NULL}
/* clang-format on */

int _cmocka_run_group_tests(const char *group_name, const struct CMUnitTest *tests, size_t count,
                            CMFixtureFunction group_setup, CMFixtureFunction group_teardown);
void cmocka_set_test_filter(const char *pattern);

void print_message(const char *format, ...) __attribute__((format(printf, 1, 2)));
void print_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

_Noreturn void _fail(const char *file, int line);
_Noreturn void _skip(const char *file, int line);
#define skip() _skip(__FILE__, __LINE__)
#define fail() _fail(__FILE__, __LINE__)
#define fail_msg(...) (print_error("ERROR: " __VA_ARGS__), print_error("\n"), fail())

void _assert_true(uintmax_t result, const char *expression, const char *file, int line);
void _assert_int_equal(uintmax_t a, uintmax_t b, const char *file, int line);
void _assert_int_not_equal(uintmax_t a, uintmax_t b, const char *file, int line);
void _assert_string_equal(const char *a, const char *b, const char *file, int line);
void _assert_string_not_equal(const char *a, const char *b, const char *file, int line);
void _assert_memory_equal(const void *a, const void *b, size_t size, const char *file, int line);
void _assert_memory_not_equal(const void *a, const void *b, size_t size, const char *file, int line);
void _assert_in_range(uintmax_t value, uintmax_t least, uintmax_t most, const char *file, int line);

#define assert_true(c) _assert_true((uintmax_t)(c), #c, __FILE__, __LINE__)
#define assert_false(c) _assert_true(!(c), "!(" #c ")", __FILE__, __LINE__)
#define assert_non_null(p) _assert_true((uintptr_t)(p) != 0, #p, __FILE__, __LINE__)
#define assert_null(p) _assert_true((uintptr_t)(p) == 0, "!(" #p ")", __FILE__, __LINE__)
#define assert_int_equal(a, b) _assert_int_equal((uintmax_t)(a), (uintmax_t)(b), __FILE__, __LINE__)
#define assert_int_not_equal(a, b) _assert_int_not_equal((uintmax_t)(a), (uintmax_t)(b), __FILE__, __LINE__)
#define assert_ptr_equal(a, b) _assert_int_equal((uintptr_t)(a), (uintptr_t)(b), __FILE__, __LINE__)
#define assert_ptr_not_equal(a, b) _assert_int_not_equal((uintptr_t)(a), (uintptr_t)(b), __FILE__, __LINE__)
#define assert_string_equal(a, b) _assert_string_equal(a, b, __FILE__, __LINE__)
#define assert_string_not_equal(a, b) _assert_string_not_equal(a, b, __FILE__, __LINE__)
#define assert_memory_equal(a, b, size) _assert_memory_equal(a, b, size, __FILE__, __LINE__)
#define assert_memory_not_equal(a, b, size) _assert_memory_not_equal(a, b, size, __FILE__, __LINE__)
#define assert_in_range(value, least, most)                                                                            \
    _assert_in_range((uintmax_t)(value), (uintmax_t)(least), (uintmax_t)(most), __FILE__, __LINE__)

#endif
