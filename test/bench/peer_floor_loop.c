/* What a loop does, by hand. */
#include "bench.h"

#include <poll.h>
#include <sys/epoll.h>

/* ---- events: a byte from one of the children, then from the next */

static int poller;

static void watch_children(void)
{
    pid_t pids[100];
    int ends[3];

    if (bench_args_now.count > 100) {
        bench_skip("too many");
    }
    poller = bench_must("epoll_create1", epoll_create1(EPOLL_CLOEXEC));
    for (int i = 0; i < bench_args_now.count; i++) {
        pids[i] = bench_spawn_piped(bench_idle, ends);
        struct epoll_event event = {.events = EPOLLIN, .data.fd = ends[1]};
        bench_must("epoll_ctl", epoll_ctl(poller, EPOLL_CTL_ADD, ends[1], &event));
    }
    bench_talkers(pids, bench_args_now.count);
}

static void take_events(int count)
{
    struct epoll_event event;
    char bytes[4096];

    while (count-- > 0) {
        bench_talk();
        if (epoll_wait(poller, &event, 1, -1) != 1 || read(event.data.fd, bytes, sizeof bytes) != 1) {
            bench_die("epoll_wait", errno);
        }
    }
}

/* ---- short children, so many at once */

typedef struct piped {
    pid_t pid;
    int ends[3];
} piped;

static void read_some(int *fd, const struct pollfd *ready)
{
    char bytes[4096];

    if (ready->revents != 0 && read(*fd, bytes, sizeof bytes) <= 0) {
        close(*fd);
        *fd = -1;
    }
}

static void short_children(int count)
{
    piped all[BENCH_AT_ONCE];
    struct pollfd fds[2 * BENCH_AT_ONCE];
    int running = 0;

    while (count > 0 || running > 0) {
        for (; count > 0 && running < bench_args_now.count; count--, running++) {
            all[running].pid = bench_spawn_piped(bench_tiny, all[running].ends);
            close(all[running].ends[0]);
        }
        for (int i = 0; i < running; i++) {
            fds[2 * i] = (struct pollfd){.fd = all[i].ends[1], .events = POLLIN};
            fds[2 * i + 1] = (struct pollfd){.fd = all[i].ends[2], .events = POLLIN};
        }
        bench_must("poll", poll(fds, 2 * (nfds_t)running, -1));
        for (int i = running; i-- > 0;) {
            read_some(&all[i].ends[1], &fds[2 * i]);
            read_some(&all[i].ends[2], &fds[2 * i + 1]);
            if (all[i].ends[1] < 0 && all[i].ends[2] < 0) {
                bench_await(all[i].pid);
                all[i] = all[--running];
            }
        }
    }
}

/* ---- timers: n log n is what a sort takes */

static int *due;

static int compare(const void *a, const void *b)
{
    int x = *(const int *)a, y = *(const int *)b;

    return (x > y) - (x < y);
}

static void set_up_timers(void)
{
    due = calloc((size_t)bench_args_now.count, sizeof *due);
    if (due == NULL) {
        bench_die("calloc", ENOMEM);
    }
}

static void sort(int count)
{
    while (count-- > 0) {
        for (int i = 0; i < bench_args_now.count; i++) {
            due[i] = rand();
        }
        qsort(due, (size_t)bench_args_now.count, sizeof *due, compare);
    }
}

const bench_op bench_ops[] = {{.name = "events", .begin = watch_children, .run = take_events},
                              {.name = "short", .run = short_children},
                              {.name = "timers", .begin = set_up_timers, .run = sort},
                              {0}};
