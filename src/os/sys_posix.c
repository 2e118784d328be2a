/*
 * The same in plain POSIX.1-2008, with wait4 and setgroups, which every system has. Correct, and slower.
 */
#define _DEFAULT_SOURCE /* wait4 */
#include "os/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

const bool sys_can_die_with_parent = false;

/* Another thread's fork may copy the ends before they are marked; that is why the child closes all that it was not given. */
int sys_pipe_cloexec(int ends[2])
{
    if (pipe(ends) < 0) {
        return -errno;
    }
    if (fcntl(ends[0], F_SETFD, FD_CLOEXEC) < 0 || fcntl(ends[1], F_SETFD, FD_CLOEXEC) < 0) {
        int err = -errno;
        sys_close(&ends[0]);
        sys_close(&ends[1]);
        return err;
    }
    return 0;
}

void sys_grow_pipe(int fd, size_t size)
{
    (void)fd;
    (void)size;
}

void sys_touch_memory(void *at, size_t size)
{
    (void)at;
    (void)size;
}

/* ptsname keeps its answer in one place for the whole process. */
static int slave_path(int master, char *path, size_t size)
{
    static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
    int err = 0;
    (void)pthread_mutex_lock(&one_at_a_time);
    const char *name = ptsname(master);
    if (name == NULL) {
        err = errno != 0 ? -errno : -ENOTTY;
    } else if (strlen(name) >= size) {
        err = -ENAMETOOLONG;
    } else {
        memcpy(path, name, strlen(name) + 1);
    }
    (void)pthread_mutex_unlock(&one_at_a_time);
    return err;
}

int sys_open_terminal(sys_terminal *terminal)
{
    terminal->slave = -1;
    terminal->master = posix_openpt(O_RDWR | O_NOCTTY);
    if (terminal->master < 0) {
        return -errno;
    }
    int err = 0;
    if (fcntl(terminal->master, F_SETFD, FD_CLOEXEC) < 0 || grantpt(terminal->master) < 0 ||
        unlockpt(terminal->master) < 0) {
        err = -errno;
    }
    if (err == 0) {
        err = sys_raise_fd(&terminal->master);
    }
    if (err == 0) {
        err = slave_path(terminal->master, terminal->path, sizeof terminal->path);
    }
    if (err == 0) {
        terminal->slave = sys_open(terminal->path, O_RDWR, 0);
        err = terminal->slave < 0 ? terminal->slave : sys_set_nonblocking(terminal->master);
    }
    if (err < 0) {
        sys_close_terminal(terminal);
    }
    return err;
}

/* A session leader without a terminal gets the first one that it opens. */
int sys_set_controlling_terminal(const sys_terminal *terminal)
{
    int fd = open(terminal->path, O_RDWR);
    if (fd < 0) {
        return -errno;
    }
    (void)close(fd);
    return 0;
}

void sys_block_signals(sigset_t *old)
{
    sigset_t all;
    (void)sigfillset(&all);
    (void)sigemptyset(old);
    (void)pthread_sigmask(SIG_SETMASK, &all, old);
}

void sys_set_signal_mask(const sigset_t *mask)
{
    (void)pthread_sigmask(SIG_SETMASK, mask, NULL);
}

void sys_reset_signals(bool keep_ignored)
{
    struct sigaction by_default;
    memset(&by_default, 0, sizeof by_default);
    by_default.sa_handler = SIG_DFL;
    for (int signal = 1; signal < NSIG; signal++) {
        struct sigaction now;
        if (sigaction(signal, NULL, &now) < 0) {
            continue; /* a number that is none */
        }
        if ((now.sa_flags & SA_SIGINFO) == 0 &&
            (now.sa_handler == SIG_DFL || (keep_ignored && now.sa_handler == SIG_IGN))) {
            continue;
        }
        (void)sigaction(signal, &by_default, NULL);
    }
}

int sys_set_limit(const proc_limit *limit)
{
    struct rlimit wanted;
    wanted.rlim_cur = limit->soft == PROC_NO_LIMIT ? RLIM_INFINITY : (rlim_t)limit->soft;
    wanted.rlim_max = limit->hard == PROC_NO_LIMIT ? RLIM_INFINITY : (rlim_t)limit->hard;
    if ((limit->soft != PROC_NO_LIMIT && wanted.rlim_cur != limit->soft) ||
        (limit->hard != PROC_NO_LIMIT && wanted.rlim_max != limit->hard)) {
        return -EINVAL; /* more than this system can count to */
    }
    return setrlimit(limit->resource, &wanted) < 0 ? -errno : 0;
}

int sys_die_with_parent(void)
{
    return -ENOTSUP;
}

int sys_pidfd(pid_t pid)
{
    (void)pid;
    return -ENOSYS;
}

int sys_peek(pid_t pid, int pidfd)
{
    (void)pidfd;
    siginfo_t info;
    info.si_pid = 0;
    while (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0) {
        if (errno != EINTR) {
            return -errno;
        }
    }
    return info.si_pid != 0;
}

static int64_t timeval_ns(struct timeval time)
{
    return (int64_t)time.tv_sec * 1000000000 + (int64_t)time.tv_usec * 1000;
}

void sys_reap(pid_t pid, int pidfd, proc_status *status)
{
    (void)pidfd;
    struct rusage usage;
    int word;
    pid_t got;

    status->state = PROC_LOST;
    status->code = -1;
    status->signal = 0;
    status->core_dumped = false;
    status->usage = (proc_usage){0};
    do {
        got = wait4(pid, &word, 0, &usage);
    } while (got < 0 && errno == EINTR);
    if (got != pid) {
        return;
    }
    sys_tell_status(word, status);
#ifdef __APPLE__
    const int64_t rss_unit = 1;
#else
    const int64_t rss_unit = 1024;
#endif
    status->usage = (proc_usage){
        .user_ns = timeval_ns(usage.ru_utime),
        .system_ns = timeval_ns(usage.ru_stime),
        .max_rss = (int64_t)usage.ru_maxrss * rss_unit,
        .minor_faults = usage.ru_minflt,
        .major_faults = usage.ru_majflt,
        .voluntary_switches = usage.ru_nvcsw,
        .involuntary_switches = usage.ru_nivcsw,
    };
}

int sys_kill(pid_t pid, int pidfd, int signal)
{
    (void)pidfd;
    return kill(pid, signal) < 0 ? -errno : 0;
}

/*
 * poll tells which of many descriptors are open in one call; opening a directory of them takes memory, which a forked
 * child of a program with threads must not. Descriptors above the soft limit (it was lowered since) are not found.
 */
void sys_close_range(int first, int last)
{
    enum { BATCH = 256, MOST = 1 << 20 };
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur > MOST) {
        limit.rlim_cur = MOST;
    }
    if (last >= (int)limit.rlim_cur) {
        last = (int)limit.rlim_cur - 1;
    }
    while (first <= last) {
        struct pollfd batch[BATCH];
        int count = last - first < BATCH ? last - first + 1 : BATCH;
        for (int i = 0; i < count; i++) {
            batch[i] = (struct pollfd){.fd = first + i, .events = 0};
        }
        bool told = poll(batch, (nfds_t)count, 0) >= 0; /* EINVAL where the limit is smaller than the batch */
        for (int i = 0; i < count; i++) {
            if (!told || (batch[i].revents & POLLNVAL) == 0) {
                (void)close(first + i);
            }
        }
        first += count;
    }
}

int sys_own_program(void **memory, const char **file, const char *const **argv)
{
    (void)memory;
    (void)file;
    (void)argv;
    return -ENOTSUP;
}

pid_t sys_own_pid(void)
{
    return getpid();
}
