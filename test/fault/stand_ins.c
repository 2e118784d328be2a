/*
 * What the library calls instead of libc's functions: fault_NAME for NAME. Each asks the shim, and then makes the real call.
 */
#include "shim.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stand_ins.h"
#include "os/launch.h"

/* ---- memory ---- */

static atomic_int blocks, pages;

int shim_blocks(void)
{
    return atomic_load(&blocks);
}

int shim_pages(void)
{
    return atomic_load(&pages);
}

static void *count_block(void *memory)
{
    (void)atomic_fetch_add(&blocks, memory != NULL);
    return memory;
}

void *fault_malloc(size_t size)
{
    return shim_fails(CALL_malloc) ? NULL : count_block(malloc(size));
}

void *fault_calloc(size_t count, size_t size)
{
    return shim_fails(CALL_calloc) ? NULL : count_block(calloc(count, size));
}

void *fault_realloc(void *memory, size_t size)
{
    if (shim_fails(CALL_realloc)) {
        return NULL;
    }
    return memory == NULL ? count_block(malloc(size)) : realloc(memory, size);
}

void fault_free(void *memory)
{
    (void)atomic_fetch_sub(&blocks, memory != NULL);
    free(memory);
}

void *fault_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
    void *memory = shim_fails(CALL_mmap) ? MAP_FAILED : mmap(at, size, protection, flags, fd, offset);
    (void)atomic_fetch_add(&pages, memory != MAP_FAILED);
    return memory;
}

int fault_munmap(void *at, size_t size)
{
    (void)atomic_fetch_sub(&pages, 1);
    return munmap(at, size);
}

int fault_mprotect(void *at, size_t size, int protection)
{
    return shim_fails(CALL_mprotect) ? -1 : mprotect(at, size, protection);
}

int fault_madvise(void *at, size_t size, int advice)
{
    return shim_fails(CALL_madvise) ? -1 : madvise(at, size, advice);
}

/* ---- descriptors ---- */

int fault_open(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = (flags & O_CREAT) != 0 ? va_arg(args, mode_t) : 0;
    va_end(args);
    return shim_fails(CALL_open) ? -1 : open(path, flags, mode);
}

/* One that fails has closed it all the same. */
int fault_close(int fd)
{
    bool fails = shim_fails(CALL_close);
    int error = errno, result = close(fd);
    if (fails) {
        errno = error;
    }
    return fails ? -1 : result;
}

static bool fcntl_fails(int command)
{
    switch (command) {
    case F_DUPFD:
    case F_DUPFD_CLOEXEC:
        return shim_fails(CALL_fcntl_dup);
    case F_SETPIPE_SZ:
        return shim_fails(CALL_fcntl_pipe_size);
    case F_SETFL:
        return shim_fails(CALL_fcntl_flags);
    default: /* of a descriptor that is open these cannot fail */
        return false;
    }
}

int fault_fcntl(int fd, int command, ...)
{
    va_list args;
    va_start(args, command);
    long argument = va_arg(args, long);
    va_end(args);
    return fcntl_fails(command) ? -1 : fcntl(fd, command, argument);
}

int fault_dup2(int from, int to)
{
    return shim_fails(CALL_dup2) ? -1 : dup2(from, to);
}

int fault_pipe(int ends[2])
{
    return shim_fails(CALL_pipe) ? -1 : pipe(ends);
}

int fault_pipe2(int ends[2], int flags)
{
    return shim_fails(CALL_pipe) ? -1 : pipe2(ends, flags);
}

/*
 * A report is smaller than PIPE_BUF, so the system neither takes nor gives a part of one. A byte in a socket takes room for
 * hundreds: after some thousands it is enough.
 */
static size_t shorten(size_t size)
{
    enum { MOST_SHORT = 20000 };
    bool may = size > 1 && size != sizeof(launch_report) && shim_bends(KIND_SHORT);
    return may && atomic_fetch_add(&shim->shortened, 1) < MOST_SHORT ? 1 : size;
}

/* A report that cannot be read, of a child that cannot be killed, is more than can be: it would be waited for. */
ssize_t fault_read(int fd, void *buffer, size_t size)
{
    bool sure = size == sizeof(launch_report) && shim->mode == FAULT_RANDOM;
    return !sure && shim_fails(CALL_read) ? -1 : read(fd, buffer, shorten(size));
}

/* Nor is there a way for it to fail: the parent reads, and the pipe has room. */
ssize_t fault_write(int fd, const void *data, size_t size)
{
    return size != sizeof(launch_report) && shim_fails(CALL_write) ? -1 : write(fd, data, shorten(size));
}

/* ---- polling ---- */

/* Only there may something look ready that is not: reads of the others would wait. */
static bool may_deceive(int fd)
{
    struct stat st;
    int flags = fcntl(fd, F_GETFL);
    return fstat(fd, &st) == 0 && (S_ISSOCK(st.st_mode) || (flags >= 0 && (flags & O_NONBLOCK) != 0));
}

static int pretend(struct pollfd *fds, nfds_t count)
{
    int ready = 0;
    for (nfds_t i = 0; i < count; i++) {
        fds[i].revents = fds[i].fd >= 0 && may_deceive(fds[i].fd) ? fds[i].events : 0;
        ready += fds[i].revents != 0;
    }
    return ready;
}

int fault_poll(struct pollfd *fds, nfds_t count, int timeout)
{
    static atomic_uint turn;
    if (count > 0 && shim_fails(CALL_poll)) {
        return -1;
    }
    if (timeout == 0 || count == 0 || !shim_bends(KIND_SPURIOUS)) {
        return poll(fds, count, timeout);
    }
    int ready = poll(fds, count, 0);
    switch (ready == 0 ? atomic_fetch_add(&turn, 1) % 3 : 3) {
    case 0:
        return 0;
    case 1:
        ready = pretend(fds, count);
        return ready > 0 ? ready : poll(fds, count, timeout);
    case 2:
        return poll(fds, count, timeout);
    default:
        return ready;
    }
}

enum { WATCHED_END = 256 };
static struct epoll_event watched[WATCHED_END];

int fault_epoll_create1(int flags)
{
    return shim_fails(CALL_epoll_create1) ? -1 : epoll_create1(flags);
}

static bool control_fails(int operation)
{
    switch (operation) {
    case EPOLL_CTL_ADD:
        return shim_fails(CALL_epoll_add);
    case EPOLL_CTL_MOD:
        return shim_fails(CALL_epoll_change);
    default:
        return false;
    }
}

int fault_epoll_ctl(int set, int operation, int fd, struct epoll_event *event)
{
    int result = control_fails(operation) ? -1 : epoll_ctl(set, operation, fd, event);
    if (result == 0 && fd < WATCHED_END) {
        watched[fd] = operation == EPOLL_CTL_DEL ? (struct epoll_event){.events = 0} : *event;
    }
    return result;
}

static int pretend_events(struct epoll_event *events, int most)
{
    int ready = 0;
    for (int fd = 3; fd < WATCHED_END && ready < most; fd++) {
        if (watched[fd].events != 0 && may_deceive(fd)) {
            events[ready++] = watched[fd];
        }
    }
    return ready;
}

int fault_epoll_wait(int set, struct epoll_event *events, int most, int timeout)
{
    static atomic_uint turn;
    if (shim_fails(CALL_epoll_wait)) {
        return -1;
    }
    if (timeout == 0 || !shim_bends(KIND_SPURIOUS)) {
        return epoll_wait(set, events, most, timeout);
    }
    int ready = epoll_wait(set, events, most, 0);
    switch (ready == 0 ? atomic_fetch_add(&turn, 1) % 3 : 3) {
    case 0:
        return 0;
    case 1:
        ready = pretend_events(events, most);
        return ready > 0 ? ready : epoll_wait(set, events, most, timeout);
    case 2:
        return epoll_wait(set, events, most, timeout);
    default:
        return ready;
    }
}

/* ---- sockets ---- */

int fault_socketpair(int domain, int type, int protocol, int ends[2])
{
    return shim_fails(CALL_socketpair) ? -1 : socketpair(domain, type, protocol, ends);
}

int fault_getsockopt(int fd, int level, int name, void *value, socklen_t *size)
{
    return shim_fails(CALL_getsockopt) ? -1 : getsockopt(fd, level, name, value, size);
}

int fault_getsockname(int fd, struct sockaddr *name, socklen_t *size)
{
    return shim_fails(CALL_getsockname) ? -1 : getsockname(fd, name, size);
}

int fault_setsockopt(int fd, int level, int name, const void *value, socklen_t size)
{
    return shim_fails(CALL_setsockopt) ? -1 : setsockopt(fd, level, name, value, size);
}

/* EPIPE and ECONNRESET mean that the other end is gone: so that end has to notice as well. */
static bool transfer_fails(enum call call, int fd)
{
    bool fails = shim_fails(call);
    int error = errno;
    if (fails && (error == EPIPE || error == ECONNRESET)) {
        (void)shutdown(fd, SHUT_RDWR);
        errno = error;
    }
    return fails;
}

ssize_t fault_send(int fd, const void *data, size_t size, int flags)
{
    return transfer_fails(CALL_send, fd) ? -1 : send(fd, data, shorten(size), flags);
}

ssize_t fault_recv(int fd, void *buffer, size_t size, int flags)
{
    return transfer_fails(CALL_recv, fd) ? -1 : recv(fd, buffer, shorten(size), flags);
}

static void shorten_message(struct msghdr *message, struct iovec *piece)
{
    size_t first = 0;
    while (first + 1 < message->msg_iovlen && message->msg_iov[first].iov_len == 0) {
        first++;
    }
    *piece = message->msg_iov[first];
    piece->iov_len = shorten(piece->iov_len);
    if (piece->iov_len < message->msg_iov[first].iov_len) {
        message->msg_iov = piece;
        message->msg_iovlen = 1;
    }
}

ssize_t fault_sendmsg(int fd, const struct msghdr *message, int flags)
{
    struct msghdr part = *message;
    struct iovec piece;
    shorten_message(&part, &piece);
    return transfer_fails(CALL_sendmsg, fd) ? -1 : sendmsg(fd, &part, flags);
}

ssize_t fault_recvmsg(int fd, struct msghdr *message, int flags)
{
    struct iovec *pieces = message->msg_iov, piece;
    if (transfer_fails(CALL_recvmsg, fd)) {
        return -1;
    }
    shorten_message(message, &piece);
    ssize_t got = recvmsg(fd, message, flags);
    message->msg_iov = pieces;
    return got;
}
