/*
 * What the scenarios start. It ends by itself in any case, so that none is left behind by a run that went wrong:
 *   view         what it was given (directory, umask, X, descriptors, limit, group, niceness), then its input
 *   ids          its user and groups
 *   copy         its input to its output
 *   say          "out" to stdout, "err" to stderr; exit code 3
 *   much N       N bytes to stdout
 *   stubborn     ignores SIGTERM, says "ready", and stays
 *   mute         the same, and says nothing
 *   wait         says "ready", and stays until its input ends
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static void say(const char *text)
{
    if (write(1, text, strlen(text)) < 0) {
        _exit(9);
    }
}

static void copy_input(void)
{
    char buffer[65536];
    ssize_t got;
    while ((got = read(0, buffer, sizeof buffer)) > 0) {
        for (ssize_t at = 0, put; at < got; at += put) {
            if ((put = write(1, buffer + at, (size_t)(got - at))) < 0) {
                _exit(9);
            }
        }
    }
}

static void view(void)
{
    char text[1024], cwd[256] = "?";
    const char *x = getenv("X");
    struct rlimit limit = {0};
    mode_t mask = umask(0);
    (void)!getcwd(cwd, sizeof cwd);
    (void)getrlimit(RLIMIT_CORE, &limit);
    int end = snprintf(text, sizeof text, "cwd=%s umask=%03o X=%s core=%ld group=%s nice=%d fds=", cwd, (unsigned)mask,
                       x != NULL ? x : "", (long)limit.rlim_cur,
                       getsid(0) == getpid()   ? "session"
                       : getpgrp() == getpid() ? "own"
                                               : "shared",
                       getpriority(PRIO_PROCESS, 0));
    for (int fd = 0; fd < 256; fd++) {
        if (fcntl(fd, F_GETFD) >= 0) {
            end += snprintf(text + end, sizeof text - (size_t)end, "%d,", fd);
        }
    }
    say(text);
    say(" in=");
    copy_input();
}

static void show_ids(void)
{
    char text[64];
    gid_t groups[8] = {0};
    int count = getgroups(8, groups);
    (void)snprintf(text, sizeof text, "%u %u %d %u", (unsigned)getuid(), (unsigned)getgid(), count,
                   (unsigned)groups[0]);
    say(text);
}

static void write_much(long size)
{
    char block[4096];
    memset(block, 'x', sizeof block);
    while (size > 0) {
        ssize_t put = write(1, block, size < (long)sizeof block ? (size_t)size : sizeof block);
        if (put < 0) {
            _exit(9);
        }
        size -= put;
    }
}

int main(int argc, char **argv)
{
    const char *verb = argc > 1 ? argv[1] : "";
    (void)alarm(60);
    if (strcmp(verb, "view") == 0) {
        view();
    } else if (strcmp(verb, "ids") == 0) {
        show_ids();
    } else if (strcmp(verb, "copy") == 0) {
        copy_input();
    } else if (strcmp(verb, "say") == 0) {
        say("out");
        return write(2, "err", 3) == 3 ? 3 : 9;
    } else if (strcmp(verb, "much") == 0 && argc > 2) {
        write_much(strtol(argv[2], NULL, 10));
    } else if (strcmp(verb, "stubborn") == 0) {
        (void)signal(SIGTERM, SIG_IGN);
        say("ready");
        (void)pause();
    } else if (strcmp(verb, "mute") == 0) {
        (void)signal(SIGTERM, SIG_IGN);
        (void)pause();
    } else if (strcmp(verb, "wait") == 0) {
        char byte;
        say("ready");
        (void)!read(0, &byte, 1);
    } else {
        return 8;
    }
    return 0;
}
