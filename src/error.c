/*
 * Texts: of errors, of steps, of how a child ended. All are constants: libc's own functions for this share a buffer
 * between threads, or differ from system to system.
 */
#include "hidden.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>

const char *proc_version(void)
{
    return PROC_VERSION;
}

typedef struct number_text {
    int number;
    const char *text;
} number_text;

static const number_text error_texts[] = {
    {E2BIG, "Argument list too long"},
    {EACCES, "Permission denied"},
    {EAGAIN, "Resource temporarily unavailable"},
    {EBADF, "Bad file descriptor"},
    {EBADMSG, "Bad message"},
    {EBUSY, "Device or resource busy"},
    {ECANCELED, "Operation canceled"},
    {ECHILD, "No child processes"},
    {ECONNRESET, "Connection reset by peer"},
    {EDEADLK, "Resource deadlock avoided"},
    {EDOM, "Numerical argument out of domain"},
    {EDQUOT, "Disk quota exceeded"},
    {EEXIST, "File exists"},
    {EFAULT, "Bad address"},
    {EFBIG, "File too large"},
    {EHOSTUNREACH, "No route to host"},
    {EINTR, "Interrupted system call"},
    {EINVAL, "Invalid argument"},
    {EIO, "Input/output error"},
    {EISDIR, "Is a directory"},
#ifdef ELIBBAD
    {ELIBBAD, "Accessing a corrupted shared library"},
#endif
    {ELOOP, "Too many levels of symbolic links"},
    {EMFILE, "Too many open files"},
    {EMLINK, "Too many links"},
    {EMSGSIZE, "Message too long"},
    {ENAMETOOLONG, "File name too long"},
    {ENFILE, "Too many open files in system"},
    {ENOBUFS, "Output limit reached"},
    {ENODEV, "No such device"},
    {ENOENT, "No such file or directory"},
    {ENOEXEC, "Exec format error"},
    {ENOLCK, "No locks available"},
    {ENOMEM, "Cannot allocate memory"},
    {ENOSPC, "No space left on device"},
    {ENOSYS, "Function not implemented"},
    {ENOTCONN, "Not connected"},
    {ENOTDIR, "Not a directory"},
    {ENOTSOCK, "Socket operation on non-socket"},
    {ENOTSUP, "Operation not supported"},
    {ENOTTY, "Inappropriate ioctl for device"},
    {ENXIO, "No such device or address"},
    {EOVERFLOW, "Value too large for defined data type"},
    {EPERM, "Operation not permitted"},
    {EPIPE, "Broken pipe"},
    {EPROTO, "Protocol error"},
    {EPROTONOSUPPORT, "Protocol not supported"},
    {ERANGE, "Numerical result out of range"},
    {EROFS, "Read-only file system"},
    {ESPIPE, "Illegal seek"},
    {ESRCH, "No such process"},
    {ESTALE, "Stale file handle"},
    {ETIMEDOUT, "Timed out"},
    {ETXTBSY, "Text file busy"},
#ifdef EUSERS
    {EUSERS, "Too many users"},
#endif
    {EXDEV, "Invalid cross-device link"},
};

static const number_text signal_names[] = {
    {SIGABRT, "SIGABRT"},     {SIGALRM, "SIGALRM"}, {SIGBUS, "SIGBUS"},   {SIGCHLD, "SIGCHLD"}, {SIGCONT, "SIGCONT"},
    {SIGFPE, "SIGFPE"},       {SIGHUP, "SIGHUP"},   {SIGILL, "SIGILL"},   {SIGINT, "SIGINT"},   {SIGKILL, "SIGKILL"},
    {SIGPIPE, "SIGPIPE"},     {SIGQUIT, "SIGQUIT"}, {SIGSEGV, "SIGSEGV"}, {SIGSTOP, "SIGSTOP"}, {SIGTERM, "SIGTERM"},
    {SIGTSTP, "SIGTSTP"},     {SIGTTIN, "SIGTTIN"}, {SIGTTOU, "SIGTTOU"}, {SIGUSR1, "SIGUSR1"}, {SIGUSR2, "SIGUSR2"},
    {SIGSYS, "SIGSYS"},       {SIGTRAP, "SIGTRAP"}, {SIGURG, "SIGURG"},   {SIGXCPU, "SIGXCPU"}, {SIGXFSZ, "SIGXFSZ"},
#ifdef SIGVTALRM
    {SIGVTALRM, "SIGVTALRM"},
#endif
#ifdef SIGPROF
    {SIGPROF, "SIGPROF"},
#endif
#ifdef SIGWINCH
    {SIGWINCH, "SIGWINCH"},
#endif
#ifdef SIGIO
    {SIGIO, "SIGIO"},
#endif
#ifdef SIGPWR
    {SIGPWR, "SIGPWR"},
#endif
#ifdef SIGSTKFLT
    {SIGSTKFLT, "SIGSTKFLT"},
#endif
};

static const char *find_text(const number_text *texts, size_t count, int number)
{
    for (size_t i = 0; i < count; i++) {
        if (texts[i].number == number) {
            return texts[i].text;
        }
    }
    return NULL;
}

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

const char *proc_strerror(int err)
{
    if (err == 0) {
        return "Success";
    }
    const char *found = find_text(error_texts, COUNT(error_texts), err < 0 && err != INT_MIN ? -err : err);
    return found != NULL ? found : "Unknown error";
}

/* ---- a failed start ---- */

int proc_error_format(const proc_error *error, char *buffer, size_t size)
{
    static const char *const steps[] = {
        [PROC_STEP_NONE] = "",           [PROC_STEP_OPTIONS] = "options", [PROC_STEP_PIPE] = "pipe",
        [PROC_STEP_OPEN] = "open",       [PROC_STEP_LAUNCH] = "launch",   [PROC_STEP_PARENT] = "parent",
        [PROC_STEP_GROUP] = "group",     [PROC_STEP_FDS] = "fds",         [PROC_STEP_CHDIR] = "chdir",
        [PROC_STEP_UMASK] = "umask",     [PROC_STEP_LIMIT] = "limit",     [PROC_STEP_NICE] = "nice",
        [PROC_STEP_GROUPS] = "groups",   [PROC_STEP_GID] = "gid",         [PROC_STEP_UID] = "uid",
        [PROC_STEP_SIGNALS] = "signals", [PROC_STEP_EXEC] = "exec",
    };
    if (error == NULL || (buffer == NULL && size > 0)) {
        return -EINVAL;
    }
    const char *text = proc_strerror(error->code);
    const char *step = (size_t)error->step < COUNT(steps) ? steps[error->step] : "start";
    if (step[0] == '\0') {
        return snprintf(buffer, size, "%s", text);
    }
    if (error->subject[0] == '\0') {
        return snprintf(buffer, size, "%s: %s", step, text);
    }
    return snprintf(buffer, size, "%s '%.*s': %s", step, (int)sizeof error->subject, error->subject, text);
}

/* ---- the end of a child ---- */

bool proc_status_ok(const proc_status *status)
{
    return status != NULL && status->state == PROC_EXITED && status->code == 0;
}

static void format_end(const proc_status *status, char *end, size_t size)
{
    const char *name = find_text(signal_names, COUNT(signal_names), status->signal);
    switch (status->state) {
    case PROC_RUNNING:
        (void)snprintf(end, size, "running");
        return;
    case PROC_EXITED:
        (void)snprintf(end, size, "exit %d", status->code);
        return;
    case PROC_SIGNALED:
        if (name != NULL) {
            (void)snprintf(end, size, "%s", name);
        } else {
            (void)snprintf(end, size, "signal %d", status->signal);
        }
        return;
    case PROC_LOST:
        (void)snprintf(end, size, "lost");
        return;
    }
    (void)snprintf(end, size, "unknown");
}

int proc_status_format(const proc_status *status, char *buffer, size_t size)
{
    if (status == NULL || (buffer == NULL && size > 0)) {
        return -EINVAL;
    }
    char end[32];
    format_end(status, end, sizeof end);
    const char *const remarks[] = {
        status->core_dumped ? "core dumped" : NULL,
        status->timed_out ? "timed out" : NULL,
        status->forced ? "forced" : NULL,
    };
    char remark[48] = "";
    int length = 0;
    for (size_t i = 0; i < COUNT(remarks); i++) {
        if (remarks[i] != NULL) {
            length += snprintf(remark + length, sizeof remark - (size_t)length, "%s%s", length == 0 ? " (" : ", ",
                               remarks[i]);
        }
    }
    return snprintf(buffer, size, "%s%s%s", end, remark, length == 0 ? "" : ")");
}
