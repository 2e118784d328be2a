/*
 * A descriptor that becomes readable, and stays so, when a child has ended: the kernel's own where there is one, else the
 * read end of a pipe that a small thread closes. The thread is made when somebody first asks for the descriptor.
 */
#ifndef OS_EXITWATCH_H
#define OS_EXITWATCH_H

#include "os/sys.h"

typedef struct exitwatch_thread exitwatch_thread;

typedef struct exitwatch {
    int pidfd; /* -1: none */
    int fd;    /* of the thread's pipe, -1: none yet */
    exitwatch_thread *thread;
} exitwatch;

hidden void exitwatch_init(exitwatch *watch, int pidfd); /* takes pidfd */
/* The descriptor, or -errno. `reaped`: the child is gone, and its number is not to be used. */
hidden int exitwatch_fd(exitwatch *watch, pid_t pid, bool reaped);
/* The child has ended: after this the thread waits for it no more, and it may be reaped. */
hidden void exitwatch_settle(exitwatch *watch);
/* Leaves a thread that still waits to itself. */
hidden void exitwatch_close(exitwatch *watch);
/* In a copy of the process, which the thread did not come along to. */
hidden void exitwatch_forget(exitwatch *watch);

/* For tests. */
enum { EXITWATCH_ANY, EXITWATCH_THREAD };
hidden_data int exitwatch_force;

/* The thread's way to a descriptor, for the two forms of exitwatch_fd. */
hidden int exitwatch_thread_fd(exitwatch *watch, pid_t pid, bool reaped);

#endif
