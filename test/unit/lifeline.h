/*
 * What tests of a child's life have in common: a pipe whose write end a child and all that it starts hold as descriptor
 * 5, so that a byte on it says "ready" and its end says that all of them are gone; what /proc tells of a process; and
 * results of proc_exec that a test need not give back.
 */
#ifndef LIFELINE_H
#define LIFELINE_H

#include "harness.h"

#include <poll.h>
#include <sched.h>
#include <sys/resource.h>
#include <time.h>

enum {
    LATEST_MS = 50000, /* nothing here takes that long unless it hangs */
    MILLION = 1000000
};

typedef struct lifeline {
    int read_end, write_end;
    proc_fd_map map;
} lifeline;

static inline lifeline lifeline_make(void)
{
    lifeline line;
    int ends[2];

    make_pipe(ends);
    line.read_end = ends[0];
    line.write_end = ends[1];
    line.map = (proc_fd_map){.child = 5, .parent = ends[1]};
    return line;
}

/* The options that give it to a child. */
#define HOLDS(line) .fds = &(line).map, .fd_count = 1

/* From here on only children hold the other end. */
static inline void lifeline_let_go(lifeline *line)
{
    if (line->write_end >= 0) {
        close(line->write_end);
        line->write_end = -1;
    }
}

static inline void lifeline_await_ready(lifeline *line)
{
    lifeline_let_go(line);
    await_byte(line->read_end);
}

static inline bool lifeline_has_end(const lifeline *line)
{
    struct pollfd one = {.fd = line->read_end, .events = POLLIN};

    return poll(&one, 1, 0) == 1 && (one.revents & POLLHUP) != 0;
}

static inline void lifeline_await_end(lifeline *line)
{
    char byte;

    lifeline_let_go(line);
    while (poll(&(struct pollfd){.fd = line->read_end, .events = POLLIN}, 1, LATEST_MS) == 1 &&
           read(line->read_end, &byte, 1) == 1) {
    }
    await_end(line->read_end);
    close(line->read_end);
}

/* The state letter of a process: 'Z' of one that ended and was not reaped, '-' of one that is gone. */
static inline char process_state(pid_t pid)
{
    char path[64], line[512] = "";
    ssize_t count;
    int fd;

    snprintf(path, sizeof path, "/proc/%ld/stat", (long)pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    count = fd < 0 ? -1 : read(fd, line, sizeof line - 1);
    if (fd >= 0) {
        close(fd);
    }
    return count > 0 && strrchr(line, ')') != NULL ? strrchr(line, ')')[2] : '-';
}

static inline void await_state(pid_t pid, const char *letters)
{
    int64_t end = now_ms() + LATEST_MS;

    while (strchr(letters, process_state(pid)) == NULL) {
        if (now_ms() > end) {
            fail_msg("process %ld has state %c, not one of %s", (long)pid, process_state(pid), letters);
        }
        sched_yield();
    }
}

static inline bool is_alive(pid_t pid)
{
    return strchr("-ZX", process_state(pid)) == NULL;
}

/* For a process that is nobody's child of ours: a grandchild whose end the test needs. */
static inline void kill_stranger(const char *pid_as_text)
{
    pid_t pid = (pid_t)atol(pid_as_text);

    assert_true(pid > 1);
    assert_int_equal(kill(pid, SIGKILL), 0);
}

/* Processor time of this thread, so that a wait that spins is seen. */
static inline int64_t own_cpu_ms(void)
{
    struct timespec used;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return (int64_t)used.tv_sec * 1000 + used.tv_nsec / MILLION;
}

/* A time that has to pass for its own sake. */
static inline void let_pass(int ms)
{
    struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * MILLION};

    while (nanosleep(&left, &left) != 0 && errno == EINTR) {
    }
}

/* Kept by the harness from now on; the caller does not clear it. */
static inline void keep_result(proc_result *result)
{
    assert_non_null(result->out);
    assert_non_null(result->err);
    assert_int_equal(result->out[result->out_size], 0);
    assert_int_equal(result->err[result->err_size], 0);
    keep(result->out);
    keep(result->err);
}

static inline int run_file(proc_result *result, const char *const argv[], const proc_options *options)
{
    int err;

    memset(result, 0x55, sizeof *result); /* what was in it before must not matter */
    err = proc_execfile(result, argv, options);
    if (err == 0 || err == -ETIMEDOUT || err == -ENOBUFS || err == -ECANCELED) {
        keep_result(result);
    }
    return err;
}

static inline int run_command(proc_result *result, const char *command, const proc_options *options)
{
    int err;

    memset(result, 0x55, sizeof *result);
    err = proc_exec(result, command, options);
    if (err == 0 || err == -ETIMEDOUT || err == -ENOBUFS || err == -ECANCELED) {
        keep_result(result);
    }
    return err;
}

static inline void assert_status(proc_status status, proc_state state, int code, int signo, const char *file, int line)
{
    if (status.state != state || status.code != code || status.signal != signo) {
        print_error("state %d, code %d, signal %d instead of %d, %d, %d\n", (int)status.state, status.code,
                    status.signal, (int)state, code, signo);
        _fail(file, line);
    }
}

#define assert_exited(status, code) assert_status(status, PROC_EXITED, code, 0, __FILE__, __LINE__)
#define assert_killed(status, signo) assert_status(status, PROC_SIGNALED, -1, signo, __FILE__, __LINE__)

static inline char *pattern_text(size_t offset, size_t size)
{
    char *data = keep(malloc(size + 1));

    for (size_t i = 0; i < size; i++) {
        data[i] = pattern_at(offset + i);
    }
    data[size] = '\0';
    return data;
}

#endif
