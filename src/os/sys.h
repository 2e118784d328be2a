/*
 * System calls with the rules of the house built in: results are 0 or more, or -errno; EINTR never comes back; what makes
 * a descriptor makes it close-on-exec and above 2. The first part is plain POSIX (sys.c); the second has a Linux form
 * (sys_linux.c) and a plain one (sys_posix.c).
 */
#ifndef OS_SYS_H
#define OS_SYS_H

#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "hidden.h"

#define SYS_NEVER INT64_MAX /* a deadline that does not come */
#define SYS_MS INT64_C(1000000)

hidden int64_t sys_now(void);                     /* CLOCK_MONOTONIC, in ns */
hidden int64_t sys_deadline(int64_t now, int ms); /* now + ms; never, for a negative ms; saturates */
/* Milliseconds from now on, for poll: 0 if it has passed, -1 for never; rounded up, so never early. Every deadline is made
 * of a number of them that an int holds. */
hidden int sys_ms_until(int64_t deadline);

hidden int sys_open(const char *path, int flags, mode_t mode);
hidden int sys_pipe(int ends[2]);
hidden int sys_raise_fd(int *fd); /* moves a descriptor below 3 above 2; closes it on failure */
hidden void sys_close(int *fd);   /* leaves -1 behind; -1 is fine */
hidden int sys_set_nonblocking(int fd);
hidden ssize_t sys_read(int fd, void *buffer, size_t size);
hidden ssize_t sys_write(int fd, const void *data, size_t size);         /* -EPIPE without the signal */
hidden int sys_poll(struct pollfd *fds, size_t count, int64_t deadline); /* how many are ready; 0: the time is up */

hidden int sys_kill_group(pid_t group, int signal);
hidden void sys_tell_status(int word, proc_status *status); /* state, code, signal, core_dumped, of a wait status */

/* pthread_setcancelstate: nothing here may be left halfway. */
hidden int sys_hold_cancel(void);
hidden void sys_release_cancel(int state);

/* ---- twins ---- */

hidden pid_t sys_own_pid(void); /* getpid, in less time where the system tells a copy of the process of itself */

hidden int sys_pipe_cloexec(int ends[2]);
hidden void sys_grow_pipe(int fd, size_t size); /* as far as the system allows it; a wish */

hidden void sys_touch_memory(void *at, size_t size); /* about to be written: get its pages now; a wish */

typedef struct sys_terminal {
    int master, slave;
    char path[64]; /* of the slave, where that is needed to make it the controlling terminal */
} sys_terminal;
hidden int sys_open_terminal(sys_terminal *terminal);
hidden void sys_close_terminal(sys_terminal *terminal); /* in sys.c */

/* Every signal there is, those that libc keeps for itself too. */
hidden void sys_block_signals(sigset_t *old);
hidden void sys_set_signal_mask(const sigset_t *mask);

/* Has it ended? 1, 0, or -ECHILD if somebody else reaped it. pidfd: -1 where there is none. */
hidden int sys_peek(pid_t pid, int pidfd);
/* Waits for the end, takes it off the process table and tells state, code, signal, core_dumped and usage. */
hidden void sys_reap(pid_t pid, int pidfd, proc_status *status);
hidden int sys_kill(pid_t pid, int pidfd, int signal); /* pid 0: by pidfd or not at all */
hidden int sys_pidfd(pid_t pid);                       /* -ENOSYS where there is no such thing */

/* In the child, before exec: no memory, no locks. */
hidden void sys_reset_signals(bool keep_ignored);
hidden int sys_set_controlling_terminal(const sys_terminal *terminal);
hidden int sys_set_limit(const proc_limit *limit);
hidden int sys_die_with_parent(void); /* -ENOTSUP where the system cannot */
hidden void sys_close_range(int first, int last);

hidden_data const bool sys_can_die_with_parent;

/* This program, and the arguments that it was started with, in one block of memory; -ENOTSUP where nobody can tell. */
hidden int sys_own_program(void **memory, const char **file, const char *const **argv);

#endif
