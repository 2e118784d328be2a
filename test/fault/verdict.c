/*
 * What scenarios say by what they found; see scenario.h.
 */
#include "scenario.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const int allowed[][24] = {
    [START] = {EINVAL, ENOTSUP, ENOENT, EACCES, ENOTDIR, ELOOP, ENOEXEC, ETXTBSY, E2BIG, EBADF, EPERM, EMFILE, ENFILE,
               ENOMEM, EAGAIN, ECHILD},
    [CHILD_CALL] = {ETIMEDOUT, EBADF, EPIPE, EPERM, ESRCH, EMFILE, ENFILE, ENOMEM, EAGAIN},
    [CHANNEL_CALL] = {EAGAIN, EPIPE, EMSGSIZE, E2BIG, EBADF, EMFILE, ENFILE, EPROTO, ENOMEM, ETIMEDOUT, EDEADLK,
                      ENOTCONN},
    [LOOP_CALL] = {EMFILE, ENFILE, ENOMEM, ENOSPC, EAGAIN, EPIPE, ETIMEDOUT},
};

bool complain(const char *format, ...)
{
    if (shim->complaint[0] == '\0') {
        va_list args;
        va_start(args, format);
        vsnprintf(shim->complaint, sizeof shim->complaint, format, args);
        va_end(args);
    }
    return false;
}

/* What a system call said may come back as it is. */
static bool is_allowed(int error, call_domain domain)
{
    for (const int *one = allowed[domain]; *one != 0; one++) {
        if (*one == error) {
            return true;
        }
    }
    return shim->mode == FAULT_RANDOM ||
           (error == shim->error && shim->mode != FAULT_NONE && !shim_is_kind(shim->mode));
}

bool failed(long result, call_domain domain, const char *what)
{
    if (result >= 0) {
        return false;
    }
    if (atomic_load(&shim->hits) == 0) {
        complain("%s: %s, though nothing went wrong", what, proc_strerror((int)result));
    } else if (!is_allowed((int)-result, domain)) {
        complain("%s: %s, which its page does not name", what, proc_strerror((int)result));
    }
    shim_arm(false);
    return true;
}

bool started(int err, const proc_child *child, const proc_error *error)
{
    char text[400];
    if (!failed(err, START, "start")) {
        expect(err == 0 && child != NULL, "a start that succeeded gives a handle");
        expect(error->code == 0 && error->step == PROC_STEP_NONE, "a start that succeeded leaves no error");
        return true;
    }
    (void)proc_error_format(error, text, sizeof text);
    if (child != NULL || error->code != err || error->step == PROC_STEP_NONE) {
        complain("a start returned %d, and the error says %d: %s", err, error->code, text);
    }
    return false;
}

bool expect(bool as_expected, const char *what)
{
    return as_expected || complain("not so: %s", what);
}

bool expect_result(long result, long expected, const char *what)
{
    if (result == expected) {
        return true;
    }
    return result < 0 ? complain("%s: %s instead of %ld", what, proc_strerror((int)result), expected)
                      : complain("%s: %ld instead of %ld", what, result, expected);
}

bool expect_text(const char *text, size_t size, const char *expected)
{
    size_t length = strlen(expected);
    if (size == length && memcmp(text, expected, length) == 0) {
        return true;
    }
    if (may_be_cut() && size < length && memcmp(text, expected, size) == 0) {
        return true;
    }
    return complain("\"%.*s\" instead of \"%s\"", (int)(size < 200 ? size : 200), text, expected);
}

bool expect_exit(const proc_status *status, int code)
{
    char text[64];
    if ((status->state == PROC_EXITED && status->code == code) ||
        (status->state == PROC_LOST && atomic_load(&shim->stolen))) {
        return true;
    }
    (void)proc_status_format(status, text, sizeof text);
    return complain("%s instead of exit %d", text, code);
}

int patience_ms(void)
{
    return shim->mode == FAULT_FROM || shim->mode == FAULT_RANDOM ? 2000 : 10000;
}

bool may_be_cut(void)
{
    bool hit = atomic_load(&shim->hits) > 0;
    if (hit && shim->mode == FAULT_RANDOM) {
        return true;
    }
    switch (hit ? shim->call : CALL_COUNT) {
    case CALL_read:
    case CALL_write:
    case CALL_recv:
    case CALL_recvmsg:
    case CALL_send:
    case CALL_sendmsg:
        return true;
    default:
        return false;
    }
}

bool read_all(proc_child *child, int stream, char *text, size_t room, size_t *size)
{
    *size = 0;
    for (;;) {
        ssize_t got = proc_child_read(child, stream, text + *size, room - *size, patience_ms());
        if (failed(got, CHILD_CALL, "read")) {
            got = proc_child_read(child, stream, text + *size, room - *size, patience_ms());
        }
        if (got <= 0) {
            return expect_result(got, 0, "read");
        }
        *size += (size_t)got;
    }
}

bool finish(proc_child *child, int code)
{
    proc_status status;
    int err = proc_child_wait(child, patience_ms(), &status);
    if (failed(err, CHILD_CALL, "wait")) {
        err = proc_child_wait(child, patience_ms(), &status);
    }
    bool well = expect_result(err, 0, "wait") && expect_exit(&status, code);
    proc_child_free(child);
    return well;
}
