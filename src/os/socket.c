/*
 * See socket.h. MSG_DONTWAIT with each call, never O_NONBLOCK: that flag belongs to all who share the descriptor.
 */
#define _DEFAULT_SOURCE /* MSG_DONTWAIT, CMSG_SPACE */
#include "os/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef SOCK_CLOEXEC
#define SOCK_CLOEXEC 0
#endif
#ifndef MSG_CMSG_CLOEXEC
#define MSG_CMSG_CLOEXEC 0
#endif
#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif
#ifndef PIPE_BUF
#define PIPE_BUF 512
#endif

enum { BUFFER_SIZE = 256 * 1024 };

int socket_pair(int ends[2])
{
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) {
        ends[0] = ends[1] = -1;
        return -errno;
    }
    int err = 0;
    for (int i = 0; i < 2; i++) {
        static const int size = BUFFER_SIZE;
        if (err == 0) {
            err = sys_raise_fd(&ends[i]);
        }
        if (SOCK_CLOEXEC == 0) {
            (void)fcntl(ends[i], F_SETFD, FD_CLOEXEC);
        }
        (void)setsockopt(ends[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof size); /* a wish */
        (void)setsockopt(ends[i], SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    }
    if (err < 0) {
        sys_close(&ends[0]);
        sys_close(&ends[1]);
    }
    return err;
}

bool socket_is_one(int fd)
{
    int type;
    socklen_t size = sizeof type;
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_STREAM;
}

/* Others take descriptors for a message, and throw them away. */
bool socket_carries_fds(int fd)
{
    struct sockaddr_storage name = {.ss_family = AF_UNSPEC};
    socklen_t size = sizeof name;
    return getsockname(fd, (struct sockaddr *)&name, &size) == 0 && name.ss_family == AF_UNIX;
}

bool socket_refuse_fds(int fd)
{
    static const int no = 0;
    return setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &no, sizeof no) == 0;
}

static int error_of_sending(void)
{
    return errno == EWOULDBLOCK || errno == ENOBUFS ? -EAGAIN : -errno;
}

static ssize_t send_plainly(int fd, const struct iovec *piece)
{
    ssize_t put;
    do {
        put = send(fd, piece->iov_base, piece->iov_len, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (put < 0 && errno == EINTR);
    return put < 0 ? error_of_sending() : put;
}

ssize_t socket_send(int fd, const struct iovec *pieces, int count, const int *fds, size_t fd_count)
{
    if (count == 1 && fd_count == 0) {
        return send_plainly(fd, pieces);
    }
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(SOCKET_MAX_FDS * sizeof(int))];
    } control;
    struct msghdr message;
    memset(&message, 0, sizeof message);
    message.msg_iov = (struct iovec *)(uintptr_t)pieces;
    message.msg_iovlen = (unsigned short)count; /* its type differs: an int, or a size_t */
    if (fd_count > 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = (socklen_t)CMSG_SPACE(fd_count * sizeof(int));
        memset(control.bytes, 0, message.msg_controllen);
        struct cmsghdr *header = &control.align; /* the first one */
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = (socklen_t)CMSG_LEN(fd_count * sizeof(int));
        memcpy(CMSG_DATA(header), fds, fd_count * sizeof(int));
    }
    for (;;) {
        ssize_t put = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (put >= 0) {
            return put;
        }
        if (errno != EINTR) {
            return error_of_sending();
        }
    }
}

static void take_fds(const struct cmsghdr *header, socket_fds *fds)
{
    size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; i++) {
        int fd;
        memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof fd);
        if (MSG_CMSG_CLOEXEC == 0) {
            (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
        }
        if (fds->count == SOCKET_MAX_FDS + 1 || sys_raise_fd(&fd) < 0) {
            sys_close(&fd);
            fds->lost = true;
            continue;
        }
        fds->fds[fds->count++] = fd;
    }
}

static ssize_t receive_plainly(int fd, void *buffer, size_t size)
{
    ssize_t got;
    do {
        got = recv(fd, buffer, size, MSG_DONTWAIT);
    } while (got < 0 && errno == EINTR);
    return got >= 0 ? got : errno == EWOULDBLOCK ? -EAGAIN : -errno;
}

ssize_t socket_receive(int fd, void *buffer, size_t size, socket_fds *fds)
{
    if (fds == NULL) {
        return receive_plainly(fd, buffer, size);
    }
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(SOCKET_MAX_FDS * sizeof(int)) + CMSG_SPACE(64)]; /* others may want to send credentials */
    } control;
    struct iovec piece = {.iov_base = buffer, .iov_len = size};
    struct msghdr message;
    ssize_t got;
    do {
        memset(&message, 0, sizeof message);
        message.msg_iov = &piece;
        message.msg_iovlen = 1;
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof control.bytes;
        got = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    } while (got < 0 && errno == EINTR);
    fds->count = 0;
    fds->lost = false;
    if (got < 0) {
        return errno == EWOULDBLOCK ? -EAGAIN : -errno;
    }
    fds->lost = (message.msg_flags & MSG_CTRUNC) != 0;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header != NULL; header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
            take_fds(header, fds);
        }
    }
    return got;
}

static bool is_ready(int fd, short events)
{
    struct pollfd look = {.fd = fd, .events = events};
    return sys_poll(&look, 1, 0) > 0;
}

/* A pipe that polls writable takes PIPE_BUF bytes without making anybody wait. */
ssize_t socket_send_pipe(int fd, const struct iovec *pieces, int count)
{
    ssize_t sent = 0;
    for (int i = 0; i < count; i++) {
        for (size_t at = 0; at < pieces[i].iov_len;) {
            size_t left = pieces[i].iov_len - at;
            ssize_t put = !is_ready(fd, POLLOUT)
                              ? -EAGAIN
                              : sys_write(fd, (char *)pieces[i].iov_base + at, left < PIPE_BUF ? left : PIPE_BUF);
            if (put < 0) {
                return sent > 0 ? sent : put;
            }
            at += (size_t)put;
            sent += put;
        }
    }
    return sent;
}

ssize_t socket_receive_pipe(int fd, void *buffer, size_t size)
{
    return is_ready(fd, POLLIN) ? sys_read(fd, buffer, size) : -EAGAIN;
}
