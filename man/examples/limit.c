/*
 * limit - run a command with a limit on its time and memory, and tell how it ended: timeout(1) and time(1) in one.
 *
 * The command keeps the streams, descriptors and ignored signals of limit. Unless stdin is a terminal it gets a process
 * group of its own, so that what it started ends with it when its time is over. A signal that asks limit to end is
 * passed on, and the command decides.
 */
#define _XOPEN_SOURCE 700
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <proc.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
    TIMED_OUT = 124,
    FAILED = 125,
    CANNOT_RUN = 126,
    NOT_FOUND = 127,
    SIGNALLED = 128
};

static const char help[] =
    "usage: limit [-t SECONDS] [-k GRACE] [-m BYTES] [-c DIR] [-e NAME=VALUE] [-q] COMMAND [ARG...]\n"
    "  -t SECONDS     stop the command with SIGTERM when its time is over (0: never)\n"
    "  -k GRACE       then let it end by itself for so long before SIGKILL (5; 0: SIGKILL at once)\n"
    "                 both may have a fraction and a suffix: s, m, h or d\n"
    "  -m BYTES       limit its address space; the suffix may be K, M or G\n"
    "  -c DIR         run it in this directory\n"
    "  -e NAME=VALUE  set this in its environment; may be repeated\n"
    "  -q             do not report how it ended and what it used\n"
    "exit: the command's own code, or 128 + n if signal n killed it; 124 when its time ran out; 125 when limit\n"
    "      itself failed; 126 when the command was found but cannot run; 127 when it was not found\n";

struct settings {
    proc_options options; /* points to the members below: do not copy */
    proc_limit memory;
    const char **env_changes;
    size_t env_count;
    bool quiet;
};

static int complain(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    fputs("limit: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    return FAILED;
}

/* ---- the command line */

struct unit {
    char suffix;
    double factor;
};

static const struct unit time_units[] = {{'\0', 1e3}, {'s', 1e3}, {'m', 60e3}, {'h', 3600e3}, {'d', 86400e3}, {0, 0}};
static const struct unit size_units[] = {{'\0', 1}, {'K', 1024}, {'k', 1024}, {'M', 1048576}, {'m', 1048576}, {'G', 1073741824}, {'g', 1073741824}, {0, 0}};

/* "1.5m": a number without a sign, and one of the units. */
static bool parse_scaled(const char *text, const struct unit *units, double most, double *value)
{
    char *suffix;

    if (!isdigit((unsigned char)text[0]) && text[0] != '.')
        return false; /* strtod would take " -1", "inf" and "nan" */
    *value = strtod(text, &suffix);
    if (suffix == text || (suffix[0] != '\0' && suffix[1] != '\0'))
        return false;
    while (units->factor > 0 && units->suffix != suffix[0])
        units++;
    *value *= units->factor;
    return units->factor > 0 && *value <= most;
}

/* Rounded up: a limit that is not zero does not become zero. */
static bool parse_time(const char *text, int *milliseconds)
{
    double value;

    if (!parse_scaled(text, time_units, INT_MAX, &value))
        return false;
    *milliseconds = (int)value;
    if (*milliseconds < value)
        ++*milliseconds;
    return true;
}

static bool parse_size(const char *text, uint64_t *bytes)
{
    double value;

    if (!parse_scaled(text, size_units, (double)INT64_MAX / 2, &value))
        return false;
    *bytes = (uint64_t)value;
    return true;
}

/* One option of the command line. 0, or the exit code. */
static int apply_option(struct settings *settings, int option, const char *value)
{
    proc_options *options = &settings->options;

    switch (option) {
    case 't':
        return parse_time(value, &options->timeout_ms) ? 0 : complain("-t: '%s' is not a time up to 24 days", value);
    case 'k':
        if (!parse_time(value, &options->grace_ms))
            return complain("-k: '%s' is not a time up to 24 days", value);
        options->stop_signal = options->grace_ms == 0 ? SIGKILL : SIGTERM; /* a grace_ms of 0 is the default grace */
        return 0;
    case 'm':
        if (!parse_size(value, &settings->memory.soft))
            return complain("-m: '%s' is not a size", value);
        settings->memory.resource = RLIMIT_AS;
        settings->memory.hard = settings->memory.soft;
        options->limits = &settings->memory;
        options->limit_count = 1;
        return 0;
    case 'c':
        options->cwd = value;
        return 0;
    case 'e':
        if (strchr(value, '=') == NULL)
            return complain("-e: '%s' is not NAME=VALUE", value);
        settings->env_changes[settings->env_count++] = value;
        options->env_changes = settings->env_changes;
        return 0;
    case 'q':
        settings->quiet = true;
        return 0;
    case ':':
        return complain("-%c needs a value; limit -h tells more", optopt);
    default:
        return complain("there is no option -%c; limit -h tells more", optopt);
    }
}

/* ---- signals that limit gets are the command's */

static int signal_pipe[2] = {-1, -1};
static bool group_is_shared;

static void note_signal(int number, siginfo_t *info, void *context)
{
    int saved_errno = errno;
    unsigned char byte = (unsigned char)number;
    bool from_terminal = info->si_code > 0 && info->si_code != SI_USER;

    (void)context;
    /* What a terminal sends, it sends to all of the group: the command has it already. */
    if (!(group_is_shared && from_terminal) && write(signal_pipe[1], &byte, 1) != 1) {
        /* A pipe full of signals says enough. */
    }
    errno = saved_errno;
}

static int catch_signals(void)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT};
    struct sigaction action;
    size_t i;

    if (pipe(signal_pipe) < 0)
        return complain("pipe: %s", strerror(errno));
    fcntl(signal_pipe[0], F_SETFD, FD_CLOEXEC);
    fcntl(signal_pipe[1], F_SETFD, FD_CLOEXEC);
    for (i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        sigaction(numbers[i], NULL, &action);
        if (action.sa_handler == SIG_IGN)
            continue; /* nohup, or a shell's background job: it stays so, for the command too */
        memset(&action, 0, sizeof action);
        action.sa_sigaction = note_signal;
        action.sa_flags = SA_SIGINFO | SA_RESTART;
        sigfillset(&action.sa_mask);
        sigaction(numbers[i], &action, NULL);
    }
    signal(SIGCHLD, SIG_DFL); /* whoever started limit may ignore it, and then the kernel forgets how children ended */
    return 0;
}

/* A thread: 0 is not a signal but the end. Stopping a command that is over by now is -ESRCH, and fine. */
static void *forward_signals(void *child)
{
    unsigned char number;
    ssize_t size;

    for (;;) {
        size = read(signal_pipe[0], &number, 1);
        if (size == 1 && number == 0)
            return NULL;
        if (size == 1)
            (void)proc_child_kill(child, number);
        else if (size == 0 || errno != EINTR)
            return NULL;
    }
}

/* ---- the command */

static int spawn(proc_child **child, char *command[], proc_options *options)
{
    proc_error error = {0};
    char text[512];
    int err;

    options->error = &error;
    options->die_with_parent = true; /* a limit is no limit if it goes away with limit */
    err = proc_spawn(child, proc_argv(command), options);
    if (err == -ENOTSUP && error.step == PROC_STEP_PARENT) {
        options->die_with_parent = false;
        err = proc_spawn(child, proc_argv(command), options);
    }
    options->error = NULL;
    if (err == 0)
        return 0;
    proc_error_format(&error, text, sizeof text);
    complain("%s", text);
    if (error.step != PROC_STEP_EXEC)
        return FAILED;
    return err == -ENOENT ? NOT_FOUND : CANNOT_RUN;
}

/* The library minds the time in here, while the thread passes signals on. */
static int wait_for(proc_child *child, proc_status *status)
{
    pthread_t thread;
    int err;

    err = pthread_create(&thread, NULL, forward_signals, child);
    if (err != 0)
        return -err;
    err = proc_child_wait(child, PROC_FOREVER, status);
    while (write(signal_pipe[1], "", 1) < 0 && errno == EINTR) {
    }
    pthread_join(thread, NULL);
    return err;
}

static void report(const proc_status *status)
{
    const proc_usage *usage = &status->usage;
    double user = (double)usage->user_ns / 1e9;
    double system = (double)usage->system_ns / 1e9;
    char end[64];

    proc_status_format(status, end, sizeof end);
    fprintf(stderr, "limit: %s, wall %.3f s, cpu %.3f s (user %.3f + system %.3f), memory %.1f MiB\n", end,
            (double)status->wall_ns / 1e9, user + system, user, system, (double)usage->max_rss / 1048576);
}

static int exit_code(const proc_status *status)
{
    if (status->timed_out)
        return TIMED_OUT;
    switch (status->state) {
    case PROC_EXITED:
        return status->code;
    case PROC_SIGNALED:
        return SIGNALLED + status->signal;
    default:
        return FAILED;
    }
}

static int run(char *command[], struct settings *settings)
{
    proc_child *child = NULL;
    proc_status status;
    int code, err;

    group_is_shared = isatty(STDIN_FILENO); /* a background group that reads the terminal would be stopped */
    settings->options.group = group_is_shared ? PROC_GROUP_SHARED : PROC_GROUP_OWN;
    settings->options.inherit_fds = true;
    settings->options.keep_signals = true;
    code = catch_signals();
    if (code != 0)
        return code;
    code = spawn(&child, command, &settings->options);
    if (code != 0)
        return code;
    err = wait_for(child, &status);
    if (err < 0)
        code = complain("%s", proc_strerror(err));
    else
        code = exit_code(&status);
    if (err == 0 && !settings->quiet)
        report(&status);
    proc_child_free(child);
    return code;
}

int main(int argc, char *argv[])
{
    struct settings settings = {0};
    int code = 0, option;

    settings.env_changes = calloc((size_t)argc + 1, sizeof *settings.env_changes);
    if (settings.env_changes == NULL)
        return complain("%s", strerror(ENOMEM));
    /* "+": glibc too is to stop at the command, whose own options are not ours. */
    while (code == 0 && (option = getopt(argc, argv, "+:t:k:m:c:e:qh")) != -1) {
        if (option == 'h') {
            fputs(help, stdout);
            goto out;
        }
        code = apply_option(&settings, option, optarg);
    }
    if (code == 0 && optind == argc)
        code = complain("no command; limit -h tells more");
    if (code == 0)
        code = run(argv + optind, &settings);
out:
    free(settings.env_changes);
    return code;
}
