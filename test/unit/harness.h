/*
 * What every test stands on. A test begins with a picture of the process (descriptors, children, threads, signal mask,
 * dispositions, umask, working directory) and fails if its end does not look the same. Besides: the kid that tests start,
 * what it said, and a directory for each test.
 *
 * From the environment: PROC_TEST_KID, PROC_TEST_TOP (paths), PROC_TEST_LAUNCHER (vfork or fork) and
 * PROC_TEST_EXITWATCH (thread) force an inner part, PROC_TEST_PATIENCE multiplies the time that a test may take.
 */
#ifndef HARNESS_H
#define HARNESS_H

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "proc.h"

/* ---- the table of tests ---- */

int harness_begin(void **state);
int harness_end(void **state);
int harness_main(int argc, char **argv, const struct CMUnitTest *tests, size_t count);

#define TEST(function) cmocka_unit_test_setup_teardown(function, harness_begin, harness_end)
/* The tests whose names contain argv[1], if there is one; else all. */
#define HARNESS_MAIN(tests)                                                                                            \
    int main(int argc, char **argv)                                                                                    \
    {                                                                                                                  \
        return harness_main(argc, argv, tests, sizeof(tests) / sizeof(tests)[0]);                                      \
    }

#define SKIP(...)                                                                                                      \
    do {                                                                                                               \
        print_message("skipped: " __VA_ARGS__);                                                                        \
        print_message("\n");                                                                                           \
        skip();                                                                                                        \
    } while (0)

/* valgrind gives up when an exec fails late, and keeps limits of its own. */
#define NOT_UNDER_VALGRIND()                                                                                           \
    do {                                                                                                               \
        if (under_valgrind()) {                                                                                        \
            SKIP("valgrind cannot do this");                                                                           \
        }                                                                                                              \
    } while (0)

/* Of the frames that a cancelled thread leaves, clang's address sanitizer believes that they are still in use. */
#if defined(__clang__)
#define CANCELS_A_THREAD()                                                                                             \
    do {                                                                                                               \
        if (ADDRESS_SANITIZER) {                                                                                       \
            SKIP("clang's address sanitizer takes a cancelled thread for a broken stack");                             \
        }                                                                                                              \
    } while (0)
#else
#define CANCELS_A_THREAD() (void)0
#endif

/* libc tells each thread of a change of ids by a signal, which in a new process has no handler any more: in a copy of a
 * process there is one thread and no need for it, but for the sanitizer's own. */
#define CHANGES_IDS()                                                                                                  \
    do {                                                                                                               \
        if (THREAD_SANITIZER) {                                                                                        \
            SKIP("the thread sanitizer's own thread does not survive a change of ids");                                \
        }                                                                                                              \
    } while (0)

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* What the build and the launcher under test can do. */
#ifdef PROC_POSIX_ONLY
enum { POSIX_BUILD = 1 };
#else
enum { POSIX_BUILD = 0 };
#endif

/* gcc defines __SANITIZE_ADDRESS__ and __SANITIZE_THREAD__, clang knows features. */
#ifdef __has_feature
#define HAS_FEATURE(feature) __has_feature(feature)
#else
#define HAS_FEATURE(feature) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || HAS_FEATURE(address_sanitizer)
enum { ADDRESS_SANITIZER = 1 };
#else
enum { ADDRESS_SANITIZER = 0 };
#endif
#if defined(__SANITIZE_THREAD__) || HAS_FEATURE(thread_sanitizer)
enum { THREAD_SANITIZER = 1 };
#else
enum { THREAD_SANITIZER = 0 };
#endif

bool is_root(void);
bool under_valgrind(void);
/* The launcher for this test alone: harness_end sets back what the environment says. */
void use_launcher(int force);
void use_exitwatch(int force);

/* ---- pictures of the process ---- */

typedef struct picture picture;
picture *picture_take(void);
/* How many things differ from then; each is printed. Waits a little for threads that are about to end. Frees it. */
int picture_compare(picture *then);

/* Runs body in a forked copy of this process, where it may close descriptors, drop rights or set limits. An assertion
 * that fails there fails the test. */
void in_copy(void (*body)(void *arg), void *arg);

/* ---- memory, time, files: all of it is given back at the end of the test ---- */

void *keep(void *memory); /* to be freed then; fails the test if it is NULL */
char *text(const char *format, ...) __attribute__((format(printf, 1, 2)));
int64_t now_ms(void);
const char *test_dir(void);              /* a new directory of this test, open to every user */
const char *test_path(const char *name); /* below it */
const char *top_dir(void);               /* of the sources */
void write_file(const char *path, const char *content, mode_t mode);
char *read_file(const char *path);
void copy_file(const char *from, const char *to, mode_t mode);

/* ---- descriptors: close-on-exec ones above 2 ---- */

void make_pipe(int ends[2]);
void await_byte(int fd); /* the next byte, else the test fails in time */
void await_end(int fd);  /* nothing but the end of the stream */
bool is_open(int fd);
size_t count_open(void);

/* ---- the kid ---- */

const char *kid_path(void);
#define KID(...) ((const char *const[]){kid_path(), __VA_ARGS__, NULL})
#define ARGV(...) ((const char *const[]){__VA_ARGS__, NULL})
#define OPTIONS(...) (&(const proc_options){__VA_ARGS__})
char pattern_at(size_t offset); /* what its verb write writes */

/* How a start went, how the child ended and what it said on the streams that were pipes. */
typedef struct outcome {
    int err;
    proc_error error;
    proc_status status;
    char *out, *complaint; /* stdout and stderr, NUL-ended */
    size_t out_size, complaint_size;
} outcome;

/* proc_spawn with stdout and stderr as pipes unless the options say otherwise, all that it writes, wait, free. */
outcome run_child(const char *const argv[], const proc_options *options);
outcome finish_child(proc_child *child); /* the part after the start */
proc_child *start_child(const char *const argv[],
                        const proc_options *options);           /* fails the test if it does not start */
char *read_stream(proc_child *child, int stream, size_t *size); /* to its end; size may be NULL */

#define assert_ended(result, exit_code) assert_ended_at(&(result), exit_code, __FILE__, __LINE__)
#define assert_signaled(result, signo) assert_signaled_at(&(result), signo, __FILE__, __LINE__)
/* The start failed like that and *child is NULL. subject NULL: any. */
#define assert_refused(result, code, step, subject)                                                                    \
    assert_refused_at(&(result), code, step, subject, __FILE__, __LINE__)
void assert_ended_at(const outcome *result, int code, const char *file, int line);
void assert_signaled_at(const outcome *result, int signo, const char *file, int line);
void assert_refused_at(const outcome *result, int code, proc_step step, const char *subject, const char *file,
                       int line);

/* ---- what it said ---- */

const char *field(const char *report, const char *name); /* the rest of the line that begins so; NULL: none */
long number_field(const char *report, const char *name);
bool has_line(const char *report, const char *line);
bool has_word(const char *words, const char *word); /* separated by spaces */

typedef struct fd_view {
    int fd;
    char kind[8]; /* fifo sock file dir chr */
    unsigned long long device, inode, special;
    bool readable, writable, close_on_exec, nonblocking, appending;
} fd_view;

bool find_fd(const char *report, int fd, fd_view *view);
size_t count_fds(const char *report);
bool shows_file_of(const fd_view *view, int fd); /* is it the same open file as fd here, by device and inode? */
bool shows_null(const fd_view *view);            /* is it /dev/null? */

#endif
