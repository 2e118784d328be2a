/* What peers use, in the process of their case. */
#include "bench.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "process.h"

enum { WATCHED = 4, TALKERS = 10 };

bench_args bench_args_now;
const char *bench_op_now;
char *bench_payload;

static clockid_t watched[WATCHED];
static int watched_count;
static bool cpu_unknown;
static int talkers[TALKERS], next_talker;

/* ---- time */

static int64_t clock_ns(clockid_t clock)
{
    struct timespec now;

    return clock_gettime(clock, &now) == 0 ? (int64_t)now.tv_sec * 1000000000 + now.tv_nsec : 0;
}

int64_t bench_now(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

/* Of this process, of the children that it has waited for, and of the other end. */
int64_t bench_processor_time(void)
{
    struct rusage children;
    int64_t sum = clock_ns(CLOCK_PROCESS_CPUTIME_ID);

    getrusage(RUSAGE_CHILDREN, &children);
    sum += ((int64_t)children.ru_utime.tv_sec + children.ru_stime.tv_sec) * 1000000000;
    sum += ((int64_t)children.ru_utime.tv_usec + children.ru_stime.tv_usec) * 1000;
    for (int i = 0; i < watched_count; i++) {
        sum += clock_ns(watched[i]);
    }
    return cpu_unknown ? -1 : sum;
}

void bench_watch(pid_t pid)
{
    if (watched_count < WATCHED && clock_getcpuclockid(pid, &watched[watched_count]) == 0) {
        watched_count++;
    }
}

void bench_no_processor_time(void)
{
    cpu_unknown = true;
}

/* ---- errors */

void bench_check(const char *what, int err)
{
    if (err != 0) {
        bench_die(what, err < 0 ? -err : err);
    }
}

int bench_must(const char *what, int value)
{
    if (value < 0) {
        bench_die(what, errno);
    }
    return value;
}

/* ---- other processes */

void bench_await(pid_t pid)
{
    int status;

    if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        bench_die("a child", ECHILD);
    }
}

void bench_be_other_end(void)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (bench_args_now.threads == 0) {
        bench_pin(bench_args_now.two ? bench_second_processor : bench_first_processor);
    }
}

pid_t bench_other_end(void (*serve)(int fd), int fd, int first)
{
    pid_t pid = bench_must("fork", fork());

    if (pid == 0) {
        close(first);
        close(BENCH_TO_HARNESS);
        close(BENCH_FROM_HARNESS);
        bench_be_other_end();
        serve(fd);
        _exit(0);
    }
    bench_watch(pid);
    return pid;
}

int bench_lifeline(void)
{
    int ends[2];

    bench_must("pipe2", pipe2(ends, O_CLOEXEC));
    return ends[0];
}

/* The very descriptor that is a child's stdout, be it a pipe or a socket. */
static int stdout_of(pid_t pid)
{
    int child = bench_must("pidfd_open", (int)syscall(SYS_pidfd_open, pid, 0));
    int fd = bench_must("pidfd_getfd", (int)syscall(SYS_pidfd_getfd, child, 1, 0));

    close(child);
    return fd;
}

void bench_talkers(const pid_t *pids, int count)
{
    for (int i = 0; i < TALKERS; i++) {
        talkers[i] = stdout_of(pids[(long)i * count / TALKERS]);
    }
}

void bench_talk(void)
{
    bench_write_all(talkers[next_talker], "x", 1);
    next_talker = (next_talker + 1) % TALKERS;
}

pid_t bench_spawn_piped(char *const argv[], int ends[3])
{
    posix_spawn_file_actions_t actions;
    int pipes[3][2];
    pid_t pid;

    bench_check("posix_spawn_file_actions_init", posix_spawn_file_actions_init(&actions));
    for (int i = 0; i < 3; i++) {
        bench_must("pipe2", pipe2(pipes[i], O_CLOEXEC));
        bench_check("adddup2", posix_spawn_file_actions_adddup2(&actions, pipes[i][i == 0 ? 0 : 1], i));
    }
    bench_check("posix_spawn", posix_spawn(&pid, argv[0], &actions, NULL, argv, environ));
    posix_spawn_file_actions_destroy(&actions);
    for (int i = 0; i < 3; i++) {
        close(pipes[i][i == 0 ? 0 : 1]);
        ends[i] = pipes[i][i == 0 ? 1 : 0];
    }
    return pid;
}

size_t bench_descriptors(size_t needed)
{
    struct rlimit limit, wider;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= needed) {
        return needed;
    }
    wider = (struct rlimit){.rlim_cur = needed, .rlim_max = limit.rlim_max < needed ? needed : limit.rlim_max};
    if (setrlimit(RLIMIT_NOFILE, &wider) == 0) {
        return needed;
    }
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    return limit.rlim_cur < needed ? (size_t)limit.rlim_cur : needed;
}

/* ---- bytes */

void bench_write_all(int fd, const void *data, size_t size)
{
    const char *at = data;

    while (size > 0) {
        ssize_t put = write(fd, at, size);
        if (put < 0) {
            bench_die("write", errno);
        }
        at += put;
        size -= (size_t)put;
    }
}

bool bench_read_all(int fd, void *data, size_t size)
{
    char *at = data;

    while (size > 0) {
        ssize_t got = read(fd, at, size);
        if (got <= 0) {
            return false;
        }
        at += got;
        size -= (size_t)got;
    }
    return true;
}

char *bench_room(bench_bytes *bytes, size_t more)
{
    if (bytes->room - bytes->size < more) {
        while (bytes->room - bytes->size < more) {
            bytes->room = bytes->room == 0 ? 65536 : 2 * bytes->room;
        }
        bytes->data = realloc(bytes->data, bytes->room);
        if (bytes->data == NULL) {
            bench_die("realloc", ENOMEM);
        }
    }
    return bytes->data + bytes->size;
}

void bench_came(bench_bytes *bytes)
{
    if (bytes->size != bench_args_now.size) {
        bench_die("not all of the output came", EIO);
    }
    free(bytes->data);
    *bytes = (bench_bytes){0};
}

void bench_mark(uint32_t left)
{
    memcpy(bench_payload, &left, sizeof left);
}

uint32_t bench_mark_of(const void *message)
{
    uint32_t left;

    memcpy(&left, message, sizeof left);
    return left;
}
