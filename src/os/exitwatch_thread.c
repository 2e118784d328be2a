/*
 * The exit watch for systems whose kernel has no descriptor for a process: a thread in waitid with WNOWAIT, which sees the
 * end and leaves the status where it is. It lives as long as the child.
 */
#include "os/exitwatch.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

struct exitwatch_thread {
    pthread_t id;
    pid_t pid;
    int write_end;
    atomic_int owners; /* the watch and the thread: the last one frees */
};

static void release(exitwatch_thread *thread)
{
    if (atomic_fetch_sub(&thread->owners, 1) == 1) {
        free(thread);
    }
}

static void *watch_child(void *arg)
{
    exitwatch_thread *thread = arg;
    siginfo_t info;
    /* ECHILD: somebody else reaped it, or SIGCHLD is ignored. It has ended all the same. */
    while (waitid(P_PID, (id_t)thread->pid, &info, WEXITED | WNOWAIT) < 0 && errno == EINTR) {
    }
    /* A byte, and not the end of file alone: a copy of this process may hold the write end for as long as it likes. */
    (void)sys_write(thread->write_end, "", 1);
    sys_close(&thread->write_end);
    release(thread);
    return NULL;
}

static int start_thread(exitwatch_thread *thread)
{
    pthread_attr_t attributes;
    int err = pthread_attr_init(&attributes);
    if (err != 0) {
        return -err;
    }
    (void)pthread_attr_setstacksize(&attributes, 64 * 1024); /* refused where more is needed: then the default */
    /* The host's signals are for the host's threads. Those that libc keeps for itself stay open, or another thread's
     * setuid would wait for this one. */
    sigset_t all, mask;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &mask);
    err = pthread_create(&thread->id, &attributes, watch_child, thread);
    if (err == EINVAL) { /* thread-local variables alone need more */
        err = pthread_create(&thread->id, NULL, watch_child, thread);
    }
    (void)pthread_sigmask(SIG_SETMASK, &mask, NULL);
    (void)pthread_attr_destroy(&attributes);
    return -err;
}

static int watch_from_thread(exitwatch *watch, pid_t pid, int *write_end)
{
    exitwatch_thread *thread = malloc(sizeof *thread);
    if (thread == NULL) {
        return -ENOMEM;
    }
    thread->pid = pid;
    thread->write_end = *write_end;
    atomic_init(&thread->owners, 2);
    int err = start_thread(thread);
    if (err < 0) {
        free(thread);
        return err;
    }
    *write_end = -1;
    watch->thread = thread;
    return 0;
}

int exitwatch_thread_fd(exitwatch *watch, pid_t pid, bool reaped)
{
    if (watch->fd >= 0) {
        return watch->fd;
    }
    int ends[2];
    int err = sys_pipe(ends);
    if (err == 0 && !reaped) {
        err = watch_from_thread(watch, pid, &ends[1]);
    }
    sys_close(&ends[1]);
    if (err < 0) {
        sys_close(&ends[0]);
        return err;
    }
    watch->fd = ends[0];
    return watch->fd;
}

void exitwatch_settle(exitwatch *watch)
{
    if (watch->thread != NULL) {
        (void)pthread_join(watch->thread->id, NULL);
        release(watch->thread);
        watch->thread = NULL;
    }
}

void exitwatch_close(exitwatch *watch)
{
    if (watch->thread != NULL) {
        (void)pthread_detach(watch->thread->id);
        release(watch->thread);
        watch->thread = NULL;
    }
    sys_close(&watch->fd);
    sys_close(&watch->pidfd);
}

void exitwatch_forget(exitwatch *watch)
{
    if (watch->thread != NULL) {
        sys_close(&watch->thread->write_end);
        free(watch->thread);
        watch->thread = NULL;
    }
    sys_close(&watch->fd);
    sys_close(&watch->pidfd);
}
