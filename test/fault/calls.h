/*
 * The calls of libc that the library makes and that can fail, with what each may fail with. X(name, flags, errors...): one
 * that Linux makes by syscall(2), and one that does several things (fcntl, kill), stands here once for each.
 */
#ifndef CALLS_H
#define CALLS_H

enum call_flags {
    CALL_INTERRUPTIBLE = 1, /* EINTR, where the thread has not blocked all signals */
    CALL_IN_CHILD_TOO = 2,  /* also counted and failed in other processes: in children before exec, in copies */
    CALL_CHILD_ONLY = 4     /* only there: the parent makes it where it cannot fail */
};

#define BOTH CALL_IN_CHILD_TOO
#define INTR CALL_INTERRUPTIBLE
#define CHILD (CALL_CHILD_ONLY | CALL_IN_CHILD_TOO)

/* ONCE(e): repeated for ever it would be no fault but another world ("try again", of what polls ready). */
#define ONCE(error) ((error) | ERROR_ONCE)
enum { ERROR_ONCE = 0x10000, MOST_ERRORS = 8 };

#define EACH_CALL(X)                                                                                                   \
    X(malloc, BOTH, ENOMEM)                                                                                            \
    X(calloc, BOTH, ENOMEM)                                                                                            \
    X(realloc, BOTH, ENOMEM)                                                                                           \
    X(open, BOTH | INTR, EMFILE, ENFILE, ENOMEM, EACCES)                                                               \
    X(close, BOTH, EINTR, EIO)                                                                                         \
    X(fcntl_dup, BOTH, EMFILE)                                                                                         \
    X(fcntl_pipe_size, BOTH, EPERM, EBUSY, ENOMEM)                                                                     \
    X(fcntl_flags, 0, EPERM)                                                                                           \
    X(dup2, CHILD | INTR, EBADF, ONCE(EBUSY), ONCE(EINTR))                                                             \
    X(pipe, BOTH, EMFILE, ENFILE, ENOMEM)                                                                              \
    X(read, BOTH | INTR, EIO)                                                                                          \
    X(write, BOTH | INTR, EPIPE, ONCE(EAGAIN))                                                                         \
    X(poll, BOTH | INTR, ENOMEM, EINVAL)                                                                               \
    X(epoll_create1, 0, EMFILE, ENFILE, ENOMEM)                                                                        \
    X(epoll_add, 0, ENOMEM, ENOSPC)                                                                                    \
    X(epoll_change, 0, ENOMEM)                                                                                         \
    X(epoll_wait, INTR, ONCE(EINTR))                                                                                   \
    X(socketpair, 0, EMFILE, ENFILE, ENOMEM)                                                                           \
    X(getsockopt, 0, ENOBUFS)                                                                                          \
    X(getsockname, 0, ENOBUFS)                                                                                         \
    X(setsockopt, 0, ENOBUFS, EPERM)                                                                                   \
    X(send, BOTH | INTR, EPIPE, ECONNRESET, ENOMEM, ONCE(EAGAIN), ONCE(ENOBUFS))                                       \
    X(sendmsg, BOTH | INTR, EPIPE, ECONNRESET, ENOMEM, ETOOMANYREFS, EMSGSIZE, ONCE(EAGAIN))                           \
    X(recv, BOTH | INTR, ECONNRESET, ONCE(EAGAIN))                                                                     \
    X(recvmsg, BOTH | INTR, ECONNRESET, ONCE(EAGAIN))                                                                  \
    X(clone, 0, EAGAIN, ENOMEM, ENOSYS, EPERM, EINVAL)                                                                 \
    X(fork, 0, EAGAIN, ENOMEM)                                                                                         \
    X(waitid, INTR, ECHILD, EPERM, EINVAL)                                                                             \
    X(wait, INTR, ECHILD)                                                                                              \
    X(kill, 0, EPERM)                                                                                                  \
    X(kill_group, 0, EPERM, ESRCH)                                                                                     \
    X(pidfd_send_signal, 0, ENOSYS, EPERM)                                                                             \
    X(pidfd_open, 0, ENOSYS, EPERM, EMFILE, ENOMEM)                                                                    \
    X(ioctl, BOTH, EIO, ENOTTY, EPERM)                                                                                 \
    X(mmap, 0, ENOMEM)                                                                                                 \
    X(mprotect, 0, ENOMEM)                                                                                             \
    X(madvise, 0, EINVAL, ENOMEM)                                                                                      \
    X(close_range, CHILD, ENOSYS, EPERM)                                                                               \
    X(getdents64, CHILD, ENOSYS, EIO)                                                                                  \
    X(prlimit64, CHILD, EPERM, EINVAL)                                                                                 \
    X(setrlimit, CHILD, EPERM, EINVAL)                                                                                 \
    X(getrlimit, CHILD, EPERM)                                                                                         \
    X(prctl, CHILD, EPERM, ENOSYS)                                                                                     \
    X(setsid, CHILD, EPERM)                                                                                            \
    X(setpgid, CHILD, EPERM)                                                                                           \
    X(nice, CHILD, EPERM, EACCES)                                                                                      \
    X(chdir, CHILD, ENOENT, EACCES, ENOMEM)                                                                            \
    X(setgroups, CHILD, EPERM, ENOMEM)                                                                                 \
    X(setregid, CHILD, EPERM)                                                                                          \
    X(setreuid, CHILD, EPERM, EAGAIN)                                                                                  \
    X(execve, CHILD, ENOENT, EACCES, ENOMEM, E2BIG, ENOEXEC, EAGAIN, ETXTBSY)                                          \
    X(sigaction, 0, EINVAL)                                                                                            \
    X(getgroups, 0, EPERM)                                                                                             \
    X(readlink, 0, EACCES)                                                                                             \
    X(stat, 0, EACCES)                                                                                                 \
    X(posix_openpt, 0, EMFILE, ENFILE, EAGAIN)                                                                         \
    X(grantpt, 0, EACCES)                                                                                              \
    X(unlockpt, 0, EINVAL)                                                                                             \
    X(ptsname, 0, ENOTTY)                                                                                              \
    X(pthread_create, 0, EAGAIN, ONCE(EINVAL))                                                                         \
    X(pthread_attr_init, 0, ENOMEM)                                                                                    \
    X(pthread_attr_setstacksize, 0, EINVAL)                                                                            \
    X(pthread_mutex_init, 0, ENOMEM, EAGAIN)                                                                           \
    X(pthread_cond_init, 0, ENOMEM, EAGAIN)                                                                            \
    X(pthread_condattr_init, 0, ENOMEM)                                                                                \
    X(pthread_condattr_setclock, 0, EINVAL)

#define CALL_ID(name, flags, ...) CALL_##name,
enum call { EACH_CALL(CALL_ID) CALL_COUNT };

#endif
