/*
 * Linked into every program of the coverage build. A forked child takes its counters along when it ends by _exit or exec.
 * Here it first adds what it has counted to memory that it shares with the program, which writes all of it when it ends:
 * no file is opened in the child, which may have no right, no descriptor and no memory left for that. What a child has
 * counted that is killed is lost. A child of clone(CLONE_VM) counts in its parent's memory, so nothing is done for it.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

extern uint64_t counters_begin[], counters_end[]; /* counters.ld */

static pid_t program, self; /* self: whose memory this is */
static size_t count;
static uint64_t *at_fork;         /* what the counters were when this copy was made, or has handed over last */
static _Atomic(uint64_t) *shared; /* of all copies */

static void begin_copy(void)
{
    self = getpid();
    memcpy(at_fork, counters_begin, count * sizeof *at_fork);
}

static void hand_over(void)
{
    if (getpid() != self || self == program) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        if (counters_begin[i] != at_fork[i]) {
            atomic_fetch_add(&shared[i], counters_begin[i] - at_fork[i]);
            at_fork[i] = counters_begin[i];
        }
    }
}

static void *map(size_t size, int flags)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED) {
        abort();
    }
    return memory;
}

__attribute__((constructor)) static void begin_program(void)
{
    count = (size_t)(counters_end - counters_begin);
    program = self = getpid();
    shared = map(count * sizeof *shared, MAP_SHARED);
    at_fork = map(count * sizeof *at_fork, MAP_PRIVATE);
    if (pthread_atfork(NULL, NULL, begin_copy) != 0) {
        abort();
    }
}

/* Before gcov writes. */
__attribute__((destructor)) static void end_program(void)
{
    if (getpid() == program) {
        for (size_t i = 0; i < count; i++) {
            counters_begin[i] += atomic_exchange(&shared[i], 0);
        }
    } else {
        hand_over();
        memset(counters_begin, 0, count * sizeof *counters_begin); /* the program writes it */
    }
}

/* ---- the ways in which a copy ends: in place of libc's ---- */

void _exit(int status)
{
    hand_over();
    for (;;) {
        syscall(SYS_exit_group, status);
    }
}

int execve(const char *path, char *const argv[], char *const envp[])
{
    hand_over();
    return (int)syscall(SYS_execve, path, argv, envp);
}

/* A child that reports that it could not start is killed as soon as that is read. */
ssize_t write(int fd, const void *data, size_t size)
{
    hand_over();
    return (ssize_t)syscall(SYS_write, fd, data, size);
}

int kill(pid_t pid, int signal)
{
    if (pid == getpid()) {
        hand_over();
    }
    return (int)syscall(SYS_kill, pid, signal);
}
