/* Starts, by hand and by libc. */
#include "bench.h"

#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>

static void by_vfork(int count)
{
    while (count-- > 0) {
        pid_t pid = vfork();
        if (pid == 0) {
            execve(bench_tiny[0], bench_tiny, environ);
            _exit(127);
        }
        bench_await(bench_must("vfork", pid));
    }
}

/* What libproc promises to each child costs this much by hand: default dispositions, and no stranger's descriptors. */
static void by_vfork_reset(int count)
{
    while (count-- > 0) {
        pid_t pid = vfork();
        if (pid == 0) {
            for (int number = 1; number <= SIGRTMAX; number++) {
                signal(number, SIG_DFL);
            }
            syscall(SYS_close_range, 3U, ~0U, 0U);
            execve(bench_tiny[0], bench_tiny, environ);
            _exit(127);
        }
        bench_await(bench_must("vfork", pid));
    }
}

static void by_fork(int count)
{
    while (count-- > 0) {
        pid_t pid = fork();
        if (pid == 0) {
            execve(bench_tiny[0], bench_tiny, environ);
            _exit(127);
        }
        bench_await(bench_must("fork", pid));
    }
}

static void by_posix_spawn(int count)
{
    while (count-- > 0) {
        pid_t pid;
        bench_check("posix_spawn", posix_spawn(&pid, bench_tiny[0], NULL, NULL, bench_tiny, environ));
        bench_await(pid);
    }
}

static void drain(int ends[3])
{
    struct pollfd polled[2] = {{.fd = ends[1], .events = POLLIN}, {.fd = ends[2], .events = POLLIN}};
    char bytes[4096];

    close(ends[0]);
    while (polled[0].fd >= 0 || polled[1].fd >= 0) {
        bench_must("poll", poll(polled, 2, -1));
        for (int i = 0; i < 2; i++) {
            if (polled[i].revents != 0 && read(polled[i].fd, bytes, sizeof bytes) <= 0) {
                close(polled[i].fd);
                polled[i].fd = -1;
            }
        }
    }
}

static void captured(int count)
{
    while (count-- > 0) {
        int ends[3];
        pid_t pid = bench_spawn_piped(bench_tiny, ends);
        drain(ends);
        bench_await(pid);
    }
}

static void by_popen(int count)
{
    char bytes[4096];

    while (count-- > 0) {
        FILE *stream = popen(bench_tiny[0], "re");
        if (stream == NULL || fread(bytes, 1, sizeof bytes, stream) != 0 || pclose(stream) != 0) {
            bench_die("popen", errno);
        }
    }
}

const bench_op bench_ops[] = {{.name = "vfork", .run = by_vfork},
                              {.name = "vfork_reset", .run = by_vfork_reset},
                              {.name = "fork", .run = by_fork},
                              {.name = "posix_spawn", .run = by_posix_spawn},
                              {.name = "captured", .run = captured},
                              {.name = "popen", .run = by_popen},
                              {0}};
