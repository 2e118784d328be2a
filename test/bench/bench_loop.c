/*
 * The loop: what an event costs with few and with many children watched, short children against a bare posix_spawn loop,
 * timers, and ten thousand children at once, of which nothing must be left.
 */
#include "bench.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "proc.h"

enum { SHORT = 1000, AT_ONCE = 64, FEW = 10, MANY = 10000 };

extern char **environ;

static char *tiny_argv[] = {NULL, NULL};

/* ---- short children ---- */

static struct {
    proc_loop *loop;
    int next, running;
} batch;

static void start_more(void);

static void end_one(int err, proc_result *result, void *ctx)
{
    (void)result;
    (void)ctx;
    bench_check("execfile", err);
    batch.running--;
    start_more();
}

static void start_more(void)
{
    while (batch.next < SHORT && batch.running < AT_ONCE) {
        bench_check("execfile", proc_loop_execfile(batch.loop, proc_argv(tiny_argv), NULL, end_one, NULL));
        batch.next++;
        batch.running++;
    }
}

static void short_in_loop(void)
{
    batch.next = batch.running = 0;
    start_more();
    bench_check("run", proc_loop_run(batch.loop, PROC_FOREVER));
}

typedef struct bare {
    pid_t pid;
    int out, err;
} bare;

static bare start_bare(void)
{
    posix_spawn_file_actions_t actions;
    int in[2], out[2], err[2];
    bare b;

    if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0) {
        bench_die("pipe2", errno);
    }
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in[0], 0);
    posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    posix_spawn_file_actions_adddup2(&actions, err[1], 2);
    bench_check("posix_spawn", -posix_spawn(&b.pid, tiny_argv[0], &actions, NULL, tiny_argv, environ));
    posix_spawn_file_actions_destroy(&actions);
    close(in[0]);
    close(in[1]);
    close(out[1]);
    close(err[1]);
    b.out = out[0];
    b.err = err[0];
    return b;
}

static void read_bare(int *fd, const struct pollfd *ready)
{
    char bytes[4096];

    if (ready->revents != 0 && read(*fd, bytes, sizeof bytes) <= 0) {
        close(*fd);
        *fd = -1;
    }
}

static void short_bare(void)
{
    static bare all[AT_ONCE];
    struct pollfd fds[2 * AT_ONCE];
    int next = 0, running = 0;

    while (next < SHORT || running > 0) {
        while (next < SHORT && running < AT_ONCE) {
            all[running++] = start_bare();
            next++;
        }
        for (int i = 0; i < running; i++) {
            fds[2 * i] = (struct pollfd){.fd = all[i].out, .events = POLLIN};
            fds[2 * i + 1] = (struct pollfd){.fd = all[i].err, .events = POLLIN};
        }
        if (poll(fds, 2 * (nfds_t)running, -1) < 0) {
            bench_die("poll", errno);
        }
        for (int i = running; i-- > 0;) {
            read_bare(&all[i].out, &fds[2 * i]);
            read_bare(&all[i].err, &fds[2 * i + 1]);
            if (all[i].out < 0 && all[i].err < 0) {
                waitpid(all[i].pid, NULL, 0);
                all[i] = all[--running];
            }
        }
    }
}

/* Processor time of this process and of its children, which is what such a loop costs a machine. */
static double processor_seconds(void (*run)(void))
{
    struct rusage usage[4];

    getrusage(RUSAGE_SELF, &usage[0]);
    getrusage(RUSAGE_CHILDREN, &usage[1]);
    run();
    getrusage(RUSAGE_SELF, &usage[2]);
    getrusage(RUSAGE_CHILDREN, &usage[3]);
    double seconds = 0;
    for (int i = 0; i < 4; i++) {
        double used = (double)usage[i].ru_utime.tv_sec + (double)usage[i].ru_utime.tv_usec / 1e6 +
                      (double)usage[i].ru_stime.tv_sec + (double)usage[i].ru_stime.tv_usec / 1e6;
        seconds += i < 2 ? -used : used;
    }
    return seconds;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void measure_short(int rounds)
{
    double floor[64], loop[64];

    bench_check("loop", proc_loop_new(&batch.loop));
    for (int i = 0; i < rounds; i++) {
        floor[i] = processor_seconds(short_bare);
        loop[i] = processor_seconds(short_in_loop);
    }
    proc_loop_free(batch.loop);
    qsort(floor, (size_t)rounds, sizeof floor[0], compare_doubles);
    qsort(loop, (size_t)rounds, sizeof loop[0], compare_doubles);
    double ratio = loop[rounds / 2] / floor[rounds / 2];
    printf("\n%d short children, %d at a time, processor time:  bare posix_spawn %.0f ms, proc_loop_execfile %.0f ms,"
           " ratio %.2f, limit 1.20 %s\n",
           SHORT, AT_ONCE, floor[rounds / 2] * 1e3, loop[rounds / 2] * 1e3, ratio, bench_verdict(ratio, 1.2));
}

/* ---- an event, with few and with many ---- */

static struct {
    proc_loop *loop;
    proc_child **children;
    int count, events, wanted, fds[2];
} crowd;

static void take_byte(int fd, short revents, void *ctx)
{
    char byte;

    (void)revents;
    (void)ctx;
    if (read(fd, &byte, 1) != 1) {
        bench_die("read", errno);
    }
    if (++crowd.events == crowd.wanted) {
        proc_loop_stop(crowd.loop);
    } else if (write(crowd.fds[1], "x", 1) != 1) {
        bench_die("write", errno);
    }
}

static double event_ns(void)
{
    crowd.events = 0;
    crowd.wanted = 20000;
    int64_t begin = bench_now();
    if (write(crowd.fds[1], "x", 1) != 1) {
        bench_die("write", errno);
    }
    bench_check("run", proc_loop_run(crowd.loop, PROC_FOREVER));
    return (double)(bench_now() - begin) / crowd.wanted;
}

static double median_event(void)
{
    double times[9];

    for (int i = 0; i < 9; i++) {
        times[i] = event_ns();
    }
    qsort(times, 9, sizeof times[0], compare_doubles);
    return times[4];
}

static void fill_crowd(int count, int cancel_fd)
{
    static const proc_handlers none;
    const char *const sleeper[] = {"sleep", "1000", NULL};
    proc_options options = {.in.kind = PROC_NULL, .out.kind = PROC_NULL, .err.kind = PROC_NULL, .cancel_fd = cancel_fd};

    for (; crowd.count < count; crowd.count++) {
        proc_child **child = &crowd.children[crowd.count];
        int err = proc_spawn(child, sleeper, &options);
        if (err < 0) {
            printf("no more than %d children: %s\n", crowd.count, proc_strerror(err));
            return;
        }
        bench_check("add", proc_loop_add_child(crowd.loop, *child, &none, NULL));
    }
}

static int open_descriptors(void)
{
    DIR *directory = opendir("/proc/self/fd");
    int count = 0;

    while (directory != NULL && readdir(directory) != NULL) {
        count++;
    }
    if (directory != NULL) {
        closedir(directory);
    }
    return count;
}

static int most_children(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < MANY + 100) {
        limit.rlim_cur = limit.rlim_max < MANY + 100 ? limit.rlim_max : MANY + 100;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
    if (limit.rlim_cur < MANY + 100) {
        printf("only %d descriptors are allowed: fewer children than %d\n", (int)limit.rlim_cur, MANY);
        return (int)limit.rlim_cur - 100;
    }
    return MANY;
}

static void measure_crowd(void)
{
    int cancel[2], before = open_descriptors(), most = most_children();

    crowd.children = calloc((size_t)most, sizeof(proc_child *));
    if (crowd.children == NULL || pipe2(crowd.fds, O_CLOEXEC) < 0 || pipe2(cancel, O_CLOEXEC) < 0) {
        bench_die("pipe2", errno);
    }
    bench_check("loop", proc_loop_new(&crowd.loop));
    bench_check("add", proc_loop_add_fd(crowd.loop, crowd.fds[0], POLLIN, take_byte, NULL));
    fill_crowd(FEW, cancel[0]);
    double few = median_event();
    int64_t begin = bench_now();
    fill_crowd(most, cancel[0]);
    double start = (double)(bench_now() - begin) / 1e9, many = median_event();
    printf("\nAn event with %d children watched %.0f ns, with %d %.0f ns, ratio %.2f, limit 1.50 %s\n", FEW, few,
           crowd.count, many, many / few, bench_verdict(many / few, 1.5));
    begin = bench_now();
    bench_check("remove", proc_loop_remove_fd(crowd.loop, crowd.fds[0]));
    close(cancel[1]); /* all of them are stopped */
    bench_check("run", proc_loop_run(crowd.loop, PROC_FOREVER));
    double stop = (double)(bench_now() - begin) / 1e9;
    for (int i = 0; i < crowd.count; i++) {
        proc_child_free(crowd.children[i]);
    }
    proc_loop_free(crowd.loop);
    close(crowd.fds[0]);
    close(crowd.fds[1]);
    close(cancel[0]);
    free(crowd.children);
    bool child_left = waitpid(-1, NULL, WNOHANG) >= 0;
    printf("%d children started in %.1f s, stopped and reaped in %.1f s; left: %d descriptors, %s\n", crowd.count,
           start, stop, open_descriptors() - before, child_left ? "a child: over" : "no child");
}

/* ---- timers ---- */

static void nothing(void *ctx)
{
    (void)ctx;
}

static double timer_ns(int count)
{
    proc_loop *loop;
    int *ids = calloc((size_t)count, sizeof *ids);

    bench_check("loop", proc_loop_new(&loop));
    int64_t begin = bench_now();
    for (int i = 0; i < count; i++) {
        ids[i] = proc_loop_add_timer(loop, 1000 + rand() % 100000, 0, nothing, NULL);
    }
    for (int i = 0; i < count; i++) {
        bench_check("remove", proc_loop_remove_timer(loop, ids[i]));
    }
    double each = (double)(bench_now() - begin) / count;
    proc_loop_free(loop);
    free(ids);
    return each;
}

int main(int argc, char *argv[])
{
    int rounds = argc > 1 ? atoi(argv[1]) : 9;

    tiny_argv[0] = bench_tiny();
    printf("The loop, %d rounds\n", rounds);
    measure_short(rounds);
    measure_crowd();
    printf("\nA timer added and taken back: %.0f ns of 1000, %.0f ns of 10000, %.0f ns of 100000\n", timer_ns(1000),
           timer_ns(10000), timer_ns(100000));
    return 0;
}
