/* wrap: open open64 readlink stat stat64 */
/*
 * What the system says of this program itself, for proc_fork without arguments: any number of words, none, or nothing at
 * all; and a file that is no longer the one that runs.
 */
#include "harness.h"

#include <limits.h>

#include "os/sys.h"

/* What stands for /proc/self/cmdline, and what is wrong. */
static const char *command_line;
static int open_error, link_error, stat_error;
static const char *link_target;

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
ssize_t __real_readlink(const char *path, char *buffer, size_t size);
ssize_t __wrap_readlink(const char *path, char *buffer, size_t size);
int __real_stat(const char *path, struct stat *st);
int __real_stat64(const char *path, struct stat *st);
int __wrap_stat(const char *path, struct stat *st);
int __wrap_stat64(const char *path, struct stat *st);

int __wrap_open(const char *path, int flags, ...)
{
    if (command_line != NULL && strcmp(path, "/proc/self/cmdline") == 0) {
        if (open_error != 0) {
            errno = open_error;
            return -1;
        }
        path = command_line;
    }
    return __real_open(path, flags, 0600);
}

int __wrap_open64(const char *path, int flags, ...)
{
    return __wrap_open(path, flags);
}

ssize_t __wrap_readlink(const char *path, char *buffer, size_t size)
{
    if (link_error != 0) {
        errno = link_error;
        return -1;
    }
    if (link_target != NULL) {
        memcpy(buffer, link_target, strlen(link_target));
        return (ssize_t)strlen(link_target);
    }
    return __real_readlink(path, buffer, size);
}

int __wrap_stat(const char *path, struct stat *st)
{
    if (stat_error != 0) {
        errno = stat_error;
        return -1;
    }
    return __real_stat(path, st);
}

int __wrap_stat64(const char *path, struct stat *st)
{
#if defined(__GLIBC__) && !defined(__LP64__) /* with a struct of its own, which is none of this file's */
    if (stat_error == 0) {
        return __real_stat64(path, st);
    }
#endif
    return __wrap_stat(path, st);
}

typedef struct own_program {
    int err;
    void *memory;
    const char *file;
    const char *const *argv;
} own_program;

static own_program ask(void)
{
    own_program p = {.err = 0};

    p.err = sys_own_program(&p.memory, &p.file, &p.argv);
    command_line = link_target = NULL;
    open_error = link_error = stat_error = 0;
    if (p.err == 0) {
        keep(p.memory);
    }
    return p;
}

static void prepare(const char *words, size_t size)
{
    int fd;

    command_line = test_path("cmdline");
    fd = __real_open(command_line, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, words, size), size);
    close(fd);
}

#define NOT_IN_PLAIN_POSIX()                                                                                           \
    if (POSIX_BUILD) {                                                                                                 \
        SKIP("plain POSIX does not know how a program was started");                                                   \
    }

static void words_are_told_one_by_one(void **state)
{
    (void)state;
    NOT_IN_PLAIN_POSIX();
    prepare("name\0first\0\0last", 17);
    own_program p = ask();

    assert_int_equal(p.err, 0);
    assert_string_equal(p.argv[0], "name");
    assert_string_equal(p.argv[1], "first");
    assert_string_equal(p.argv[2], "");
    assert_string_equal(p.argv[3], "last");
    assert_null(p.argv[4]);
}

static void a_long_line_is_told_whole(void **state)
{
    (void)state;
    NOT_IN_PLAIN_POSIX();
    enum { WORDS = 3000 };
    char *line = keep(malloc(WORDS * 8));

    for (size_t i = 0; i < WORDS; i++) {
        snprintf(line + i * 8, 8, "%07zu", i);
    }
    prepare(line, WORDS * 8);
    own_program p = ask();

    assert_int_equal(p.err, 0);
    for (size_t i = 0; i < WORDS; i++) {
        assert_string_equal(p.argv[i], line + i * 8);
    }
    assert_null(p.argv[WORDS]);
}

static void no_words_at_all_become_the_name(void **state)
{
    (void)state;
    NOT_IN_PLAIN_POSIX();
    prepare("", 0);
    own_program p = ask();

    assert_int_equal(p.err, 0);
    assert_string_equal(p.argv[0], p.file);
    assert_null(p.argv[1]);
}

static void where_nothing_is_told_it_cannot_be_done(void **state)
{
    (void)state;
    NOT_IN_PLAIN_POSIX();
    const struct {
        int error, expected;
    } rows[] = {{ENOENT, -ENOTSUP}, {EACCES, -ENOTSUP}, {EMFILE, -EMFILE}};

    for (size_t i = 0; i < COUNT(rows); i++) {
        command_line = "unused";
        open_error = rows[i].error;
        assert_int_equal(ask().err, rows[i].expected);
    }
    command_line = test_dir(); /* which opens, and cannot be read */
    assert_int_equal(ask().err, -EISDIR);
}

static void a_program_whose_file_was_replaced_is_started_by_its_link(void **state)
{
    (void)state;
    NOT_IN_PLAIN_POSIX();
    NOT_UNDER_VALGRIND(); /* which tells of its own file */
    own_program here = ask();
    write_file(test_path("other"), "another file", 0600);
    link_target = test_path("other");
    own_program other = ask();
    link_target = test_path("nonexistent");
    own_program gone = ask();
    link_target = "/dev/null";
    own_program elsewhere = ask();
    link_error = EACCES;
    own_program hidden_link = ask();
    stat_error = EACCES;
    own_program hidden_file = ask();

    assert_string_not_equal(here.file, "/proc/self/exe");
    assert_string_equal(other.file, "/proc/self/exe");
    assert_string_equal(gone.file, "/proc/self/exe");
    assert_string_equal(elsewhere.file, "/proc/self/exe");
    assert_string_equal(hidden_link.file, "/proc/self/exe");
    assert_string_equal(hidden_file.file, "/proc/self/exe");
}

static const struct CMUnitTest tests[] = {
    TEST(words_are_told_one_by_one),
    TEST(a_long_line_is_told_whole),
    TEST(no_words_at_all_become_the_name),
    TEST(where_nothing_is_told_it_cannot_be_done),
    TEST(a_program_whose_file_was_replaced_is_started_by_its_link),
};

HARNESS_MAIN(tests)
