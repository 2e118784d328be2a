/*
 * The child of the tests: it does what its arguments say, one verb after the other, and ends with exit code 0. What a
 * child sees of itself (descriptors, signals, limits, ids, environment) it tells as text, so that a test asserts the
 * child's own view and not the library's. It uses nothing of the library, opens nothing unless a verb says so, and
 * writes without stdio, so that nothing waits in a buffer when it is killed.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "view.h"

enum { CHUNK = 4000, LIFETIME_SECONDS = 300 };

static int signal_code[LAST_SIGNAL + 1];
static const char *signal_text[LAST_SIGNAL + 1];

static int signal_number(const char *text)
{
    static const struct {
        const char *name;
        int number;
    } names[] = {{"HUP", SIGHUP},   {"INT", SIGINT},   {"QUIT", SIGQUIT}, {"ABRT", SIGABRT}, {"KILL", SIGKILL},
                 {"USR1", SIGUSR1}, {"SEGV", SIGSEGV}, {"USR2", SIGUSR2}, {"PIPE", SIGPIPE}, {"ALRM", SIGALRM},
                 {"TERM", SIGTERM}, {"CHLD", SIGCHLD}, {"CONT", SIGCONT}, {"STOP", SIGSTOP}, {"TSTP", SIGTSTP},
                 {"TTIN", SIGTTIN}, {"TTOU", SIGTTOU}};

    for (size_t i = 0; text != NULL && i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(text, names[i].name) == 0) {
            return names[i].number;
        }
    }
    return (int)number(text);
}

static void set_disposition(int signo, void (*handler)(int))
{
    struct sigaction action;

    memset(&action, 0, sizeof action);
    action.sa_handler = handler;
    sigemptyset(&action.sa_mask);
    if (sigaction(signo, &action, NULL) != 0) {
        usage("signal");
    }
}

/* ---- ends ---- */

static char **verb_exit(char **args)
{
    _exit((int)number(args[0]));
}

static char **verb_raise(char **args)
{
    raise(signal_number(args[0]));
    return args + 1;
}

static char **verb_abort(char **args)
{
    (void)args;
    abort();
}

static char **verb_exec(char **args)
{
    execv(args[0], args);
    _exit(EXIT_BROKEN);
}

/* ---- bytes ---- */

static char **verb_out(char **args)
{
    write_all(1, args[0], strlen(args[0]));
    return args + 1;
}

static char **verb_err(char **args)
{
    write_all(2, args[0], strlen(args[0]));
    return args + 1;
}

/* Byte i of the pattern: what a test can check at any offset. */
static char pattern(unsigned long long offset)
{
    return (char)('!' + offset % 89);
}

/* write FD COUNT */
static char **verb_write(char **args)
{
    int fd = (int)number(args[0]);
    unsigned long long end = (unsigned long long)number(args[1]);
    char chunk[CHUNK];

    for (unsigned long long at = 0; at < end;) {
        size_t size = 0;

        while (size < sizeof chunk && at < end) {
            chunk[size++] = pattern(at++);
        }
        write_all(fd, chunk, size);
    }
    return args + 2;
}

/* writeonce FD COUNT: one write(2), and what it said */
static char **verb_writeonce(char **args)
{
    size_t size = (size_t)number(args[1]);
    char *data = calloc(size + 1, 1);
    ssize_t count;

    if (data == NULL) {
        _exit(EXIT_BROKEN);
    }
    for (size_t i = 0; i < size; i++) {
        data[i] = pattern(i);
    }
    count = write((int)number(args[0]), data, size);
    report("wrote %zd errno %d\n", count, count < 0 ? errno : 0);
    free(data);
    return args + 2;
}

static void copy_all(int from, int to)
{
    char chunk[CHUNK];
    ssize_t count;

    while ((count = read_some(from, chunk, sizeof chunk)) > 0) {
        write_all(to, chunk, (size_t)count);
    }
    if (count < 0 && errno != EIO) {
        _exit(EXIT_BROKEN);
    }
}

static char **verb_cat(char **args)
{
    copy_all(0, 1);
    return args;
}

/* drain FD: reads to its end and drops it */
static char **verb_drain(char **args)
{
    char chunk[CHUNK];

    while (read_some((int)number(args[0]), chunk, sizeof chunk) > 0) {
    }
    return args + 1;
}

static char **verb_count(char **args)
{
    char chunk[CHUNK];
    unsigned long long total = 0;
    ssize_t count;

    while ((count = read_some(0, chunk, sizeof chunk)) > 0) {
        total += (unsigned long long)count;
    }
    report("%llu\n", total);
    return args;
}

/* check: does stdin hold the pattern? */
static char **verb_check(char **args)
{
    char chunk[CHUNK];
    unsigned long long at = 0;
    ssize_t count;

    while ((count = read_some(0, chunk, sizeof chunk)) > 0) {
        for (ssize_t i = 0; i < count; i++, at++) {
            if (chunk[i] != pattern(at)) {
                report("differs at %llu\n", at);
                return args;
            }
        }
    }
    report("%llu good\n", at);
    return args;
}

/* reopen: what a script does that reads /dev/stdin and writes /dev/stdout */
static char **verb_reopen(char **args)
{
    int in = open("/dev/stdin", O_RDONLY);
    int out = open("/dev/stdout", O_WRONLY);

    if (in < 0 || out < 0) {
        report("reopen errno %d\n", errno);
        return args;
    }
    copy_all(in, out);
    close(in);
    close(out);
    return args;
}

static char **verb_noecho(char **args)
{
    struct termios settings;

    if (tcgetattr(0, &settings) != 0) {
        _exit(EXIT_BROKEN);
    }
    settings.c_lflag &= ~(tcflag_t)ECHO;
    settings.c_oflag &= ~(tcflag_t)OPOST;
    tcsetattr(0, TCSANOW, &settings);
    return args;
}

static char **verb_ready(char **args)
{
    write_all((int)number(args[0]), "r", 1);
    return args + 1;
}

static char **verb_readbyte(char **args)
{
    char byte;

    if (read_some((int)number(args[0]), &byte, 1) < 0) {
        _exit(EXIT_BROKEN);
    }
    return args + 1;
}

static char **verb_report(char **args)
{
    report_flush();
    report_fd = (int)number(args[0]);
    return args + 1;
}

static char **verb_closefd(char **args)
{
    close((int)number(args[0]));
    return args + 1;
}

static char **verb_dup(char **args)
{
    if (dup2((int)number(args[0]), (int)number(args[1])) < 0) {
        _exit(EXIT_BROKEN);
    }
    return args + 2;
}

/* ---- time ---- */

static char **verb_sleep(char **args)
{
    long ms = number(args[0]);
    struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

    while (nanosleep(&left, &left) != 0 && errno == EINTR) {
    }
    return args + 1;
}

static char **verb_hang(char **args)
{
    while (args != NULL) {
        pause();
    }
    return args;
}

/* burn MS: so much processor time */
static char **verb_burn(char **args)
{
    clock_t end = clock() + (clock_t)(number(args[0]) * (CLOCKS_PER_SEC / 1000));

    while (clock() < end) {
    }
    return args + 1;
}

/* alloc BYTES: touches that much memory and keeps it */
static char **verb_alloc(char **args)
{
    size_t size = (size_t)number(args[0]);
    volatile char *memory = malloc(size);

    for (size_t i = 0; memory != NULL && i < size; i += 1024) {
        memory[i] = 1;
    }
    return args + 1;
}

/* ---- signals ---- */

static void on_signal(int signo)
{
    if (signal_text[signo] != NULL) {
        write_all(report_fd, signal_text[signo], strlen(signal_text[signo]));
        return;
    }
    _exit(signal_code[signo]);
}

/* on SIGNAL exit CODE, on SIGNAL out TEXT */
static char **verb_on(char **args)
{
    int signo = signal_number(args[0]);

    if (args[1] != NULL && strcmp(args[1], "exit") == 0) {
        signal_code[signo] = (int)number(args[2]);
    } else if (args[1] != NULL && strcmp(args[1], "out") == 0) {
        signal_text[signo] = args[2];
    } else {
        usage(args[1]);
    }
    set_disposition(signo, on_signal);
    return args + 3;
}

static char **verb_ignore(char **args)
{
    set_disposition(signal_number(args[0]), SIG_IGN);
    return args + 1;
}

static char **verb_default(char **args)
{
    set_disposition(signal_number(args[0]), SIG_DFL);
    return args + 1;
}

static char **verb_block(char **args)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, signal_number(args[0]));
    sigprocmask(SIG_BLOCK, &set, NULL);
    return args + 1;
}

static char **verb_block_all(char **args)
{
    sigset_t set;

    sigfillset(&set);
    sigprocmask(SIG_BLOCK, &set, NULL);
    return args;
}

static char **verb_stop_self(char **args)
{
    raise(SIGSTOP);
    return args;
}

static char **verb_setpgid(char **args)
{
    if (setpgid(0, (pid_t)number(args[0])) != 0) {
        _exit(EXIT_BROKEN);
    }
    return args + 1;
}

/* ---- grandchildren ---- */

static char **run(char **args);

static char **after_grandchild(char **args)
{
    int depth = 1;

    for (; *args != NULL; args++) {
        if (strcmp(*args, "--") == 0 && --depth == 0) {
            *args = NULL;
            return args + 1;
        }
        if (strcmp(*args, "grandchild") == 0 || strcmp(*args, "setsid-grandchild") == 0) {
            depth++;
        }
    }
    usage("grandchild without --");
    return NULL;
}

static pid_t forked_by;

static char **start_grandchild(char **args, int new_session)
{
    char **rest = after_grandchild(args);
    pid_t parent = getpid(), pid = fork();

    if (pid < 0) {
        _exit(EXIT_BROKEN);
    }
    if (pid == 0) {
        alarm(LIFETIME_SECONDS); /* a test that failed may have left it behind */
        forked_by = parent;
        if (new_session) {
            setsid();
        }
        run(args);
        _exit(0);
    }
    return rest;
}

/* grandchild VERBS... -- : forks one that does the verbs, with every descriptor of this one; here goes on what follows
 */
static char **verb_grandchild(char **args)
{
    return start_grandchild(args, 0);
}

static char **verb_setsid_grandchild(char **args)
{
    return start_grandchild(args, 1);
}

/* orphaned: in a grandchild, waits until the one that forked it has ended */
static char **verb_orphaned(char **args)
{
    while (getppid() == forked_by) {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return args;
}

/* reap: waits for one grandchild */
static char **verb_reap(char **args)
{
    while (wait(NULL) < 0 && errno == EINTR) {
    }
    return args;
}

static const struct {
    const char *name;
    int arguments; /* at least that many follow */
    verb_function *function;
} verbs[] = {
    {"exit", 1, verb_exit},
    {"raise", 1, verb_raise},
    {"abort", 0, verb_abort},
    {"exec", 1, verb_exec},
    {"out", 1, verb_out},
    {"err", 1, verb_err},
    {"write", 2, verb_write},
    {"writeonce", 2, verb_writeonce},
    {"cat", 0, verb_cat},
    {"drain", 1, verb_drain},
    {"count", 0, verb_count},
    {"check", 0, verb_check},
    {"reopen", 0, verb_reopen},
    {"ready", 1, verb_ready},
    {"readbyte", 1, verb_readbyte},
    {"report", 1, verb_report},
    {"closefd", 1, verb_closefd},
    {"dup", 2, verb_dup},
    {"sleep", 1, verb_sleep},
    {"hang", 0, verb_hang},
    {"burn", 1, verb_burn},
    {"alloc", 1, verb_alloc},
    {"on", 3, verb_on},
    {"ignore", 1, verb_ignore},
    {"default", 1, verb_default},
    {"block", 1, verb_block},
    {"block-all", 0, verb_block_all},
    {"stop-self", 0, verb_stop_self},
    {"signals", 0, verb_signals},
    {"fds", 0, verb_fds},
    {"fds-below", 1, verb_fds_below},
    {"isatty", 1, verb_isatty},
    {"noecho", 0, verb_noecho},
    {"limit", 1, verb_limit},
    {"ids", 0, verb_ids},
    {"regain", 0, verb_regain},
    {"env", 0, verb_env},
    {"getenv", 1, verb_getenv},
    {"args", 0, verb_args},
    {"cwd", 0, verb_cwd},
    {"umask", 0, verb_umask},
    {"nice", 0, verb_nice},
    {"job", 0, verb_job},
    {"pid", 0, verb_pid},
    {"ppid", 0, verb_ppid},
    {"setpgid", 1, verb_setpgid},
    {"grandchild", 0, verb_grandchild},
    {"setsid-grandchild", 0, verb_setsid_grandchild},
    {"orphaned", 0, verb_orphaned},
    {"reap", 0, verb_reap},
};

static char **run_verb(char **args)
{
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        if (strcmp(args[0], verbs[i].name) != 0) {
            continue;
        }
        for (int n = 1; n <= verbs[i].arguments; n++) {
            if (args[n] == NULL) {
                usage(args[0]);
            }
        }
        args = verbs[i].function(args + 1);
        report_flush();
        return args;
    }
    usage(args[0]);
    return NULL;
}

static char **run(char **args)
{
    while (*args != NULL) {
        args = run_verb(args);
    }
    return args;
}

int main(int argc, char **argv)
{
    program_args = argv;
    if (argc > 0) {
        run(argv + 1);
    }
    return 0;
}
