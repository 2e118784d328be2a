/*
 * What the child of the tests sees of itself, as text: a verb for each view, and the little that all verbs stand on.
 * A part of kid.c, which alone includes it.
 */
#ifndef VIEW_H
#define VIEW_H

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

extern char **environ;

enum { EXIT_USAGE = 120, EXIT_BROKEN = 121, LAST_SIGNAL = 64, FDS_END = 1 << 17 };

/* A verb takes what follows its name and returns where the next verb stands. */
typedef char **verb_function(char **args);

static char **program_args;
static int report_fd = 1;

static void write_all(int fd, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t count = write(fd, data, size);

        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0) {
            _exit(EXIT_BROKEN);
        }
        data += count;
        size -= (size_t)count;
    }
}

static void usage(const char *what)
{
    static const char text[] = "kid: bad verb or argument: ";

    write_all(2, text, sizeof text - 1);
    write_all(2, what == NULL ? "(none)" : what, what == NULL ? 6 : strlen(what));
    write_all(2, "\n", 1);
    _exit(EXIT_USAGE);
}

static long number(const char *text)
{
    char *end;
    long value;

    if (text == NULL) {
        usage(text);
    }
    value = strtol(text, &end, 10);
    if (end == text || *end != '\0') {
        usage(text);
    }
    return value;
}

static ssize_t read_some(int fd, char *buffer, size_t size)
{
    ssize_t count;

    do {
        count = read(fd, buffer, size);
    } while (count < 0 && errno == EINTR);
    return count;
}

/* A report is gathered and written at the end of its verb, in as few writes as it takes. */
static char report_buffer[65536];
static size_t report_size;

static void report_flush(void)
{
    write_all(report_fd, report_buffer, report_size);
    report_size = 0;
}

static void report(const char *format, ...)
{
    va_list list;
    int length;

    if (report_size > sizeof report_buffer / 2) {
        report_flush();
    }
    va_start(list, format);
    length = vsnprintf(report_buffer + report_size, sizeof report_buffer - report_size, format, list);
    va_end(list);
    if (length < 0 || (size_t)length >= sizeof report_buffer - report_size) {
        usage("a report that is too long");
    }
    report_size += (size_t)length;
}

static void report_text(const char *text)
{
    report_flush();
    write_all(report_fd, text, strlen(text));
}

/* ---- signals ---- */

static void report_signals_where(const char *word, void (*wanted)(int), int caught)
{
    report("%s", word);
    for (int signo = 1; signo <= LAST_SIGNAL; signo++) {
        struct sigaction action;

        if (sigaction(signo, NULL, &action) != 0) {
            continue;
        }
        if (caught ? action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN : action.sa_handler == wanted) {
            report(" %d", signo);
        }
    }
    report("\n");
}

/* blocked, ignored, caught by number, then what the kernel says: it knows those that libc keeps for itself. */
static char **verb_signals(char **args)
{
    static const char *const keys[] = {"SigBlk:\t", "SigIgn:\t", "SigCgt:\t"};
    static char status[8192];
    sigset_t blocked;
    ssize_t size;
    int fd;

    sigprocmask(SIG_BLOCK, NULL, &blocked);
    report("blocked");
    for (int signo = 1; signo <= LAST_SIGNAL; signo++) {
        if (sigismember(&blocked, signo) == 1) {
            report(" %d", signo);
        }
    }
    report("\n");
    report_signals_where("ignored", SIG_IGN, 0);
    report_signals_where("caught", SIG_DFL, 1);
    fd = open("/proc/self/status", O_RDONLY);
    size = fd < 0 ? 0 : read_some(fd, status, sizeof status - 1);
    status[size < 0 ? 0 : size] = '\0';
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        const char *line = strstr(status, keys[i]);

        if (line != NULL) {
            report("kernel %.6s %.16s\n", keys[i], line + strlen(keys[i]));
        }
    }
    close(fd);
    return args;
}

/* ---- descriptors ---- */

static const char *kind_of(mode_t mode)
{
    return S_ISFIFO(mode)   ? "fifo"
           : S_ISSOCK(mode) ? "sock"
           : S_ISREG(mode)  ? "file"
           : S_ISDIR(mode)  ? "dir"
           : S_ISCHR(mode)  ? "chr"
                            : "other";
}

/* "N kind device:inode special-device r|w|rw [cloexec] [nonblock] [append]" */
static void report_descriptor(int fd)
{
    int fd_flags = fcntl(fd, F_GETFD);
    int flags = fcntl(fd, F_GETFL);
    struct stat st;

    if (fd_flags < 0 || fstat(fd, &st) != 0) {
        return;
    }
    report("%d %s %llu:%llu %llu %s%s%s%s\n", fd, kind_of(st.st_mode), (unsigned long long)st.st_dev,
           (unsigned long long)st.st_ino, (unsigned long long)st.st_rdev,
           (flags & O_ACCMODE) == O_RDONLY   ? "r"
           : (flags & O_ACCMODE) == O_WRONLY ? "w"
                                             : "rw",
           (fd_flags & FD_CLOEXEC) != 0 ? " cloexec" : "", (flags & O_NONBLOCK) != 0 ? " nonblock" : "",
           (flags & O_APPEND) != 0 ? " append" : "");
}

static char **verb_fds_below(char **args)
{
    int end = (int)number(args[0]);

    for (int fd = 0; fd < end; fd++) {
        report_descriptor(fd);
    }
    return args + 1;
}

static char **verb_fds(char **args)
{
    for (int fd = 0; fd < FDS_END; fd++) {
        report_descriptor(fd);
    }
    return args;
}

static char **verb_isatty(char **args)
{
    report("isatty %s %d\n", args[0], isatty((int)number(args[0])));
    return args + 1;
}

/* ---- who and where ---- */

static char **verb_limit(char **args)
{
    struct rlimit limit;

    if (getrlimit((int)number(args[0]), &limit) != 0) {
        usage(args[0]);
    }
    report("limit %s %lld %lld\n", args[0], limit.rlim_cur == RLIM_INFINITY ? -1 : (long long)limit.rlim_cur,
           limit.rlim_max == RLIM_INFINITY ? -1 : (long long)limit.rlim_max);
    return args + 1;
}

static char **verb_ids(char **args)
{
    gid_t groups[256];
    int count = getgroups(256, groups);

    report("uid %ld\neuid %ld\ngid %ld\negid %ld\ngroups", (long)getuid(), (long)geteuid(), (long)getgid(),
           (long)getegid());
    for (int i = 0; i < count; i++) {
        report(" %ld", (long)groups[i]);
    }
    report("\n");
    return args;
}

/* regain: can root be had again? */
static char **verb_regain(char **args)
{
    int user = setuid(0) == 0 || seteuid(0) == 0;
    int group = setgid(0) == 0 || setegid(0) == 0;

    report("regain user %s\nregain group %s\n", user ? "yes" : "no", group ? "yes" : "no");
    return args;
}

static char **verb_env(char **args)
{
    for (char **entry = environ; *entry != NULL; entry++) {
        report_text(*entry);
        report_text("\n");
    }
    return args;
}

/* getenv NAME: every entry of that name, so that a duplicate is seen */
static char **verb_getenv(char **args)
{
    size_t length = strlen(args[0]);

    for (char **entry = environ; *entry != NULL; entry++) {
        if (strncmp(*entry, args[0], length) == 0 && (*entry)[length] == '=') {
            report_text(*entry);
            report_text("\n");
        }
    }
    return args + 1;
}

/* args: all of them, its own name first, one a line; nothing after it is a verb */
static char **verb_args(char **args)
{
    for (char **arg = program_args; *arg != NULL; arg++) {
        report_text(*arg);
        report_text("\n");
    }
    while (*args != NULL) {
        args++;
    }
    return args;
}

static char **verb_cwd(char **args)
{
    char path[16384];

    report("cwd %s\n", getcwd(path, sizeof path) == NULL ? "?" : path);
    return args;
}

static char **verb_umask(char **args)
{
    mode_t mask = umask(0);

    umask(mask);
    report("umask %03lo\n", (unsigned long)mask);
    return args;
}

static char **verb_nice(char **args)
{
    report("nice %d\n", getpriority(PRIO_PROCESS, 0));
    return args;
}

static char **verb_job(char **args)
{
    int tty = open("/dev/tty", O_RDWR | O_NOCTTY);

    report("pid %ld\nppid %ld\npgid %ld\nsid %ld\ntty %s\nforeground %ld\n", (long)getpid(), (long)getppid(),
           (long)getpgrp(), (long)getsid(0), tty < 0 ? "no" : "yes", tty < 0 ? -1L : (long)tcgetpgrp(tty));
    if (tty >= 0) {
        close(tty);
    }
    return args;
}

static char **verb_pid(char **args)
{
    report("%ld\n", (long)getpid());
    return args;
}

static char **verb_ppid(char **args)
{
    report("ppid %ld\n", (long)getppid());
    return args;
}

#endif
