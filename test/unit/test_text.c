/*
 * The texts: of errors, of a failed start, of how a child ended. All of them as snprintf does: cut, ended, and the whole
 * length told.
 */
#include "harness.h"

#include <limits.h>

/* ---- errors ---- */

static void strerror_knows_every_error_of_the_manual(void **state)
{
    (void)state;
    static const int errors[] = {EINVAL, ENOTSUP,      ENOENT,    EACCES, ENOTDIR,   ELOOP,    ENOEXEC, ETXTBSY,
                                 E2BIG,  EBADF,        EPERM,     EMFILE, ENFILE,    ENOMEM,   EAGAIN,  ECHILD,
                                 EPIPE,  ENOBUFS,      ECANCELED, ESRCH,  ETIMEDOUT, EMSGSIZE, EPROTO,  EIO,
                                 ENOSYS, ENAMETOOLONG, EISDIR,    ENXIO,  EOVERFLOW, ENOTTY,   EEXIST,  ENOSPC,
                                 EROFS,  EINTR,        EBUSY,     ERANGE, ECONNRESET};

    for (size_t i = 0; i < COUNT(errors); i++) {
        assert_string_not_equal(proc_strerror(-errors[i]), "Unknown error");
        for (size_t other = 0; other < i; other++) {
            assert_string_not_equal(proc_strerror(-errors[i]), proc_strerror(-errors[other]));
        }
    }
    assert_string_equal(proc_strerror(-ENOENT), "No such file or directory");
    assert_string_equal(proc_strerror(-EINVAL), "Invalid argument");
}

static void strerror_takes_a_positive_errno_as_well(void **state)
{
    (void)state;

    for (int err = 1; err <= 133; err++) {
        assert_string_equal(proc_strerror(err), proc_strerror(-err));
    }
}

static void strerror_has_a_text_for_every_number(void **state)
{
    (void)state;
    static const int numbers[] = {0, 134, -134, 4095, -4096, 1000000, INT_MAX, INT_MIN, INT_MIN + 1};

    for (size_t i = 0; i < COUNT(numbers); i++) {
        assert_non_null(proc_strerror(numbers[i]));
        assert_true(strlen(proc_strerror(numbers[i])) > 0);
    }
}

static void strerror_uses_no_buffer_that_the_next_call_overwrites(void **state)
{
    (void)state;
    const char *unknown = proc_strerror(-99999), *missing = proc_strerror(-ENOENT);
    char *copies[2] = {keep(strdup(unknown)), keep(strdup(missing))};

    (void)proc_strerror(-88888);
    (void)proc_strerror(-EPERM);

    assert_string_equal(unknown, copies[0]);
    assert_string_equal(missing, copies[1]);
}

/* ---- as snprintf ---- */

typedef int format_function(const void *what, char *buffer, size_t size);

static int format_error(const void *what, char *buffer, size_t size)
{
    return proc_error_format(what, buffer, size);
}

static int format_status(const void *what, char *buffer, size_t size)
{
    return proc_status_format(what, buffer, size);
}

/* Every size from none to more than enough; no byte behind it is touched. */
static void assert_formats(format_function *format, const void *what, const char *expected)
{
    size_t length = strlen(expected);

    assert_int_equal(format(what, NULL, 0), length);
    for (size_t size = 0; size <= length + 2; size++) {
        char buffer[512];
        size_t kept = size == 0 ? 0 : size - 1 < length ? size - 1 : length;

        memset(buffer, '#', sizeof buffer);
        assert_int_equal(format(what, buffer, size), length);
        assert_memory_equal(buffer, expected, kept);
        assert_true(size == 0 || buffer[kept] == '\0');
        for (size_t i = size; i < sizeof buffer; i++) {
            assert_int_equal(buffer[i], '#');
        }
    }
}

static void error_format_has_a_word_for_every_step(void **state)
{
    (void)state;
    static const struct {
        proc_error error;
        const char *text;
    } cases[] = {
        {{0, PROC_STEP_NONE, ""}, "Success"},
        {{-ENOENT, PROC_STEP_NONE, ""}, "No such file or directory"},
        {{-ENOENT, PROC_STEP_CHDIR, "/nowhere"}, "chdir '/nowhere': No such file or directory"},
        {{-EINVAL, PROC_STEP_OPTIONS, "fds[1]"}, "options 'fds[1]': Invalid argument"},
        {{-EMFILE, PROC_STEP_PIPE, "in"}, "pipe 'in': Too many open files"},
        {{-EACCES, PROC_STEP_OPEN, "/a b"}, "open '/a b': Permission denied"},
        {{-EAGAIN, PROC_STEP_LAUNCH, ""}, "launch: Resource temporarily unavailable"},
        {{-ENOTSUP, PROC_STEP_PARENT, "die_with_parent"}, "parent 'die_with_parent': Operation not supported"},
        {{-EPERM, PROC_STEP_GROUP, "group"}, "group 'group': Operation not permitted"},
        {{-EBADF, PROC_STEP_FDS, "out"}, "fds 'out': Bad file descriptor"},
        {{-EPERM, PROC_STEP_UMASK, "umask"}, "umask 'umask': Operation not permitted"},
        {{-EPERM, PROC_STEP_LIMIT, "limits[0]"}, "limit 'limits[0]': Operation not permitted"},
        {{-EPERM, PROC_STEP_NICE, "nice"}, "nice 'nice': Operation not permitted"},
        {{-EPERM, PROC_STEP_GROUPS, "user"}, "groups 'user': Operation not permitted"},
        {{-EPERM, PROC_STEP_GID, "user"}, "gid 'user': Operation not permitted"},
        {{-EPERM, PROC_STEP_UID, "user"}, "uid 'user': Operation not permitted"},
        {{-EINVAL, PROC_STEP_SIGNALS, "keep_signals"}, "signals 'keep_signals': Invalid argument"},
        {{-ENOENT, PROC_STEP_EXEC, "it's"}, "exec 'it's': No such file or directory"},
        {{-ENOENT, PROC_STEP_EXEC, ""}, "exec: No such file or directory"},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_formats(format_error, &cases[i].error, cases[i].text);
    }
}

static void error_format_takes_the_longest_subject(void **state)
{
    (void)state;
    proc_error error = {.code = -ENOENT, .step = PROC_STEP_EXEC};
    char expected[400];

    memset(error.subject, 's', sizeof error.subject - 1);
    snprintf(expected, sizeof expected, "exec '%s': No such file or directory", error.subject);

    assert_formats(format_error, &error, expected);
}

static void error_format_survives_what_no_start_fills_in(void **state)
{
    (void)state;
    proc_error error;
    char buffer[600];

    memset(&error, 0x55, sizeof error); /* no end of the subject, no known step */
    assert_true(proc_error_format(&error, buffer, sizeof buffer) > 0);
    assert_true(strlen(buffer) < sizeof buffer);
    error.step = (proc_step)-1;
    assert_true(proc_error_format(&error, buffer, 10) > 0);
    assert_int_equal(strlen(buffer), 9);
}

static void status_format_tells_every_end(void **state)
{
    (void)state;
    static const struct {
        proc_status status;
        const char *text;
    } cases[] = {
        {{.state = PROC_RUNNING, .code = -1}, "running"},
        {{.state = PROC_LOST, .code = -1}, "lost"},
        {{.state = PROC_EXITED}, "exit 0"},
        {{.state = PROC_EXITED, .code = 3}, "exit 3"},
        {{.state = PROC_EXITED, .code = 255}, "exit 255"},
        {{.state = PROC_EXITED, .timed_out = true}, "exit 0 (timed out)"},
        {{.state = PROC_SIGNALED, .code = -1, .signal = SIGTERM}, "SIGTERM"},
        {{.state = PROC_SIGNALED, .code = -1, .signal = SIGSEGV, .core_dumped = true}, "SIGSEGV (core dumped)"},
        {{.state = PROC_SIGNALED, .code = -1, .signal = SIGTERM, .timed_out = true}, "SIGTERM (timed out)"},
        {{.state = PROC_SIGNALED, .code = -1, .signal = SIGKILL, .timed_out = true, .forced = true},
         "SIGKILL (timed out, forced)"},
        {{.state = PROC_SIGNALED, .code = -1, .signal = SIGKILL, .forced = true}, "SIGKILL (forced)"},
        {{.state = PROC_SIGNALED, .code = -1, .signal = 40}, "signal 40"},
        {{.state = PROC_SIGNALED,
          .code = -1,
          .signal = SIGABRT,
          .core_dumped = true,
          .timed_out = true,
          .forced = true},
         "SIGABRT (core dumped, timed out, forced)"},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_formats(format_status, &cases[i].status, cases[i].text);
    }
}

static void status_format_names_the_signals_of_posix(void **state)
{
    (void)state;
    static const struct {
        int number;
        const char *name;
    } signals[] = {{SIGHUP, "SIGHUP"},   {SIGINT, "SIGINT"},   {SIGQUIT, "SIGQUIT"}, {SIGILL, "SIGILL"},
                   {SIGTRAP, "SIGTRAP"}, {SIGABRT, "SIGABRT"}, {SIGBUS, "SIGBUS"},   {SIGFPE, "SIGFPE"},
                   {SIGKILL, "SIGKILL"}, {SIGUSR1, "SIGUSR1"}, {SIGSEGV, "SIGSEGV"}, {SIGUSR2, "SIGUSR2"},
                   {SIGPIPE, "SIGPIPE"}, {SIGALRM, "SIGALRM"}, {SIGTERM, "SIGTERM"}, {SIGXCPU, "SIGXCPU"},
                   {SIGXFSZ, "SIGXFSZ"}, {SIGSYS, "SIGSYS"}};

    for (size_t i = 0; i < COUNT(signals); i++) {
        proc_status status = {.state = PROC_SIGNALED, .code = -1, .signal = signals[i].number};

        assert_formats(format_status, &status, signals[i].name);
    }
}

static void formats_refuse_nothing_where_something_is_needed(void **state)
{
    (void)state;
    const proc_error error = {.code = -ENOENT};
    const proc_status status = {.state = PROC_EXITED};
    char buffer[8];

    assert_int_equal(proc_error_format(NULL, buffer, sizeof buffer), -EINVAL);
    assert_int_equal(proc_error_format(&error, NULL, 5), -EINVAL);
    assert_int_equal(proc_status_format(NULL, buffer, sizeof buffer), -EINVAL);
    assert_int_equal(proc_status_format(&status, NULL, 5), -EINVAL);
}

/* ---- small things ---- */

static void status_ok_is_exit_code_0_and_nothing_else(void **state)
{
    (void)state;

    assert_true(proc_status_ok(&(proc_status){.state = PROC_EXITED, .code = 0}));
    assert_false(proc_status_ok(&(proc_status){.state = PROC_EXITED, .code = 1}));
    assert_false(proc_status_ok(&(proc_status){.state = PROC_SIGNALED, .code = -1, .signal = SIGTERM}));
    assert_false(proc_status_ok(&(proc_status){.state = PROC_SIGNALED, .code = 0, .signal = SIGTERM}));
    assert_false(proc_status_ok(&(proc_status){.state = PROC_LOST, .code = -1}));
    assert_false(proc_status_ok(&(proc_status){.state = PROC_RUNNING, .code = 0}));
    assert_false(proc_status_ok(NULL));
}

static void the_version_is_the_headers(void **state)
{
    (void)state;
    int major = 0, minor = 0, patch = 0;

    assert_string_equal(proc_version(), PROC_VERSION);
    assert_int_equal(sscanf(PROC_VERSION, "%d.%d.%d", &major, &minor, &patch), 3);
    assert_int_equal(PROC_VERSION_NUMBER, 10000 * major + 100 * minor + patch);
}

static const struct CMUnitTest tests[] = {
    TEST(strerror_knows_every_error_of_the_manual),     TEST(strerror_takes_a_positive_errno_as_well),
    TEST(strerror_has_a_text_for_every_number),         TEST(strerror_uses_no_buffer_that_the_next_call_overwrites),
    TEST(error_format_has_a_word_for_every_step),       TEST(error_format_takes_the_longest_subject),
    TEST(error_format_survives_what_no_start_fills_in), TEST(status_format_tells_every_end),
    TEST(status_format_names_the_signals_of_posix),     TEST(formats_refuse_nothing_where_something_is_needed),
    TEST(status_ok_is_exit_code_0_and_nothing_else),    TEST(the_version_is_the_headers),
};

HARNESS_MAIN(tests)
