/*
 * What a channel reads and writes: descriptors that are never waited for here, with their descriptors in tow.
 */
#ifndef OS_SOCKET_H
#define OS_SOCKET_H

#include "os/sys.h"

#include <sys/uio.h>

enum { SOCKET_MAX_FDS = 253 }; /* SCM_MAX_FD of Linux */

typedef struct socket_fds { /* that came with one read */
    size_t count;
    bool lost;                   /* there were more, which the system threw away */
    int fds[SOCKET_MAX_FDS + 1]; /* padding may let one more in than was asked for */
} socket_fds;

hidden int socket_pair(int ends[2]);
hidden bool socket_is_one(int fd);      /* a stream socket: sendmsg and recvmsg work on it */
hidden bool socket_carries_fds(int fd); /* a Unix-domain one */
/* Asks the kernel to turn away what comes with descriptors. True: it can (Linux 6.16), and none will come. */
hidden bool socket_refuse_fds(int fd);

/* What went, or -EAGAIN. Never SIGPIPE. fds: they go with the first byte. */
hidden ssize_t socket_send(int fd, const struct iovec *pieces, int count, const int *fds, size_t fd_count);
/* What came, 0 at the end, or -EAGAIN. fds NULL: none can come. */
hidden ssize_t socket_receive(int fd, void *buffer, size_t size, socket_fds *fds);
/* The same for anything that is no socket: the descriptor may be a blocking one, and stays it. */
hidden ssize_t socket_send_pipe(int fd, const struct iovec *pieces, int count);
hidden ssize_t socket_receive_pipe(int fd, void *buffer, size_t size);

#endif
