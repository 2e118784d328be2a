/*
 * The system calls that are the same everywhere. See sys.h for what they promise.
 */
#define _DEFAULT_SOURCE /* WCOREDUMP */
#include "os/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

int64_t sys_now(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail: the clock exists, the address is good */
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t sys_deadline(int64_t now, int ms)
{
    if (ms < 0 || now > SYS_NEVER - (int64_t)ms * SYS_MS) {
        return SYS_NEVER;
    }
    return now + (int64_t)ms * SYS_MS;
}

int sys_ms_until(int64_t deadline)
{
    if (deadline == SYS_NEVER) {
        return -1;
    }
    int64_t left = deadline == 0 ? 0 : deadline - sys_now();
    return left <= 0 ? 0 : (int)((left - 1) / SYS_MS + 1);
}

int sys_raise_fd(int *fd)
{
    if (*fd > 2) {
        return 0;
    }
    int raised = fcntl(*fd, F_DUPFD_CLOEXEC, 3);
    int err = raised < 0 ? -errno : 0;
    sys_close(fd);
    *fd = raised;
    return err;
}

int sys_open(const char *path, int flags, mode_t mode)
{
    int fd;
    do {
        fd = open(path, flags | O_CLOEXEC | O_NOCTTY, mode);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0) {
        return -errno;
    }
    int err = sys_raise_fd(&fd);
    return err < 0 ? err : fd;
}

int sys_pipe(int ends[2])
{
    int err = sys_pipe_cloexec(ends);
    if (err < 0) {
        ends[0] = ends[1] = -1;
        return err;
    }
    err = sys_raise_fd(&ends[0]);
    if (err == 0) {
        err = sys_raise_fd(&ends[1]);
    }
    if (err < 0) {
        sys_close(&ends[0]);
        sys_close(&ends[1]);
    }
    return err;
}

/*
 * Not repeated on EINTR: Linux has freed the number by then, and another thread may have it. Nothing of ours is lost when it
 * fails otherwise: these are pipes, sockets, terminals, and files that a child writes.
 */
void sys_close(int *fd)
{
    if (*fd >= 0) {
        int saved = errno;
        (void)close(*fd);
        errno = saved;
        *fd = -1;
    }
}

int sys_set_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
        return -errno;
    }
    return 0;
}

ssize_t sys_read(int fd, void *buffer, size_t size)
{
    if (size > INT_MAX) { /* some systems refuse more */
        size = INT_MAX;
    }
    for (;;) {
        ssize_t got = read(fd, buffer, size);
        if (got >= 0) {
            return got;
        }
        if (errno != EINTR) {
            return -errno;
        }
    }
}

static bool sigpipe_is_pending(void)
{
    sigset_t pending;
    (void)sigemptyset(&pending);
    (void)sigpending(&pending);
    return sigismember(&pending, SIGPIPE) == 1;
}

/*
 * A write to a pipe that nobody reads raises SIGPIPE in this thread. Block it around the write and take it back if the
 * write made it; one that was pending before can only have been so while the caller had it blocked, and stays.
 */
ssize_t sys_write(int fd, const void *data, size_t size)
{
    sigset_t sigpipe, old;
    (void)sigemptyset(&sigpipe);
    (void)sigaddset(&sigpipe, SIGPIPE);
    int err = pthread_sigmask(SIG_BLOCK, &sigpipe, &old);
    if (err != 0) {
        return -err;
    }
    bool was_blocked = sigismember(&old, SIGPIPE) == 1;
    bool was_pending = was_blocked && sigpipe_is_pending();

    ssize_t put;
    do {
        put = write(fd, data, size > INT_MAX ? INT_MAX : size);
    } while (put < 0 && errno == EINTR);
    if (put < 0) {
        put = -errno;
    }
    if (put == -EPIPE && !was_pending) {
        int taken;
        if (sigpipe_is_pending()) { /* it is not where the host ignores it */
            (void)sigwait(&sigpipe, &taken);
        }
    }
    if (!was_blocked) {
        (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    }
    return put;
}

void sys_close_terminal(sys_terminal *terminal)
{
    sys_close(&terminal->master);
    sys_close(&terminal->slave);
}

int sys_kill_group(pid_t group, int signal)
{
    return kill(-group, signal) < 0 ? -errno : 0;
}

void sys_tell_status(int word, proc_status *status)
{
    if (WIFEXITED(word)) {
        status->state = PROC_EXITED;
        status->code = WEXITSTATUS(word);
    } else {
        status->state = PROC_SIGNALED;
        status->signal = WTERMSIG(word);
#ifdef WCOREDUMP
        status->core_dumped = WCOREDUMP(word) != 0;
#endif
    }
}

static int wait_for_any(struct pollfd *fds, size_t count, int64_t deadline)
{
    for (;;) {
        int timeout = sys_ms_until(deadline);
        int ready = poll(fds, (nfds_t)count, timeout);
        if (ready > 0 || (ready == 0 && timeout == 0)) {
            return ready;
        }
        if (ready < 0 && errno != EINTR) {
            return -errno;
        }
    }
}

/* Only what there is goes to poll, which refuses more entries than RLIMIT_NOFILE even if they name nothing. */
int sys_poll(struct pollfd *fds, size_t count, int64_t deadline)
{
    enum { MOST = 8 };
    struct pollfd packed[MOST];
    size_t place[MOST], used = 0;
    bool all = true;
    while (count > 0 && fds[count - 1].fd < 0) {
        fds[--count].revents = 0;
    }
    for (size_t i = 0; i < count; i++) {
        fds[i].revents = 0;
        all = all && fds[i].fd >= 0;
    }
    if (all || count > MOST) {
        return wait_for_any(fds, count, deadline);
    }
    for (size_t i = 0; i < count; i++) {
        if (fds[i].fd >= 0) {
            place[used] = i;
            packed[used++] = fds[i];
        }
    }
    int ready = wait_for_any(packed, used, deadline);
    for (size_t i = 0; i < used; i++) {
        fds[place[i]].revents = packed[i].revents;
    }
    return ready;
}

int sys_hold_cancel(void)
{
    int state;
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    return state;
}

void sys_release_cancel(int state)
{
    (void)pthread_setcancelstate(state, NULL);
}
