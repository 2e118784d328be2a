/*
 * The other half of stand_ins.c: processes, rights, terminals, threads.
 */
#include "scenario.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stand_ins.h"

#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif

enum { BY_PIDFD = 3 }; /* P_PIDFD */

/* ---- starting ---- */

int fault_clone(int (*run)(void *), void *stack, int flags, void *arg, ...)
{
    va_list args;
    va_start(args, arg);
    pid_t *parent_tid = va_arg(args, pid_t *);
    void *tls = va_arg(args, void *);
    pid_t *child_tid = va_arg(args, pid_t *);
    va_end(args);
    return shim_fails(CALL_clone) ? -1 : clone(run, stack, flags, arg, parent_tid, tls, child_tid);
}

pid_t fault_fork(void)
{
    return shim_fails(CALL_fork) ? -1 : fork();
}

int fault_execve(const char *path, char *const argv[], char *const envp[])
{
    return shim_fails(CALL_execve) ? -1 : execve(path, argv, envp);
}

/* ---- waiting and killing ---- */

/*
 * ECHILD means that somebody else has reaped it: so that is done here. While it still runs there is nothing to reap, and
 * that error cannot be.
 */
static bool wait_fails(enum call call, idtype_t type, id_t id)
{
    if (!shim_fails(call)) {
        return false;
    }
    siginfo_t info = {.si_pid = 0};
    bool faithful = true;
    if (errno == ECHILD) {
        faithful = waitid(type, id, &info, WEXITED | WNOHANG) == 0 && info.si_pid != 0;
        atomic_store(&shim->stolen, atomic_load(&shim->stolen) || faithful);
        errno = ECHILD;
    } else if (errno == EINVAL) { /* what old systems say to P_PIDFD */
        faithful = type == (idtype_t)BY_PIDFD;
    }
    if (!faithful) {
        (void)atomic_fetch_sub(&shim->hits, 1);
    }
    return faithful;
}

int fault_waitid(idtype_t type, id_t id, siginfo_t *info, int options)
{
    return wait_fails(CALL_wait, type, id) ? -1 : waitid(type, id, info, options);
}

pid_t fault_waitpid(pid_t pid, int *status, int options)
{
    return wait_fails(CALL_wait, P_PID, (id_t)pid) ? -1 : waitpid(pid, status, options);
}

pid_t fault_wait4(pid_t pid, int *status, int options, struct rusage *usage)
{
    return wait_fails(CALL_wait, P_PID, (id_t)pid) ? -1 : wait4(pid, status, options, usage);
}

static bool signal_fails(enum call call)
{
    bool fails = shim_fails(call);
    if (fails && errno == EPERM) {
        atomic_store(&shim->refused, true);
    }
    return fails;
}

/* A child that is not reaped yet, which its group is named after, or itself: the library has nobody else to signal. */
static bool may_be_signalled(pid_t pid)
{
    siginfo_t info;
    pid_t leader = pid < 0 ? -pid : pid;
    return leader > 1 && (pid == getpid() || waitid(P_PID, (id_t)leader, &info, WEXITED | WNOHANG | WNOWAIT) == 0);
}

int fault_kill(pid_t pid, int signal)
{
    if (!may_be_signalled(pid)) {
        (void)complain("it signals a stranger: kill(%d, %d)", (int)pid, signal);
        errno = ESRCH;
        return -1;
    }
    return signal_fails(pid < 0 ? CALL_kill_group : CALL_kill) ? -1 : kill(pid, signal);
}

/* ---- what Linux has no function for ---- */

static bool system_call_fails(long number, const long arguments[6])
{
    switch (number) {
    case SYS_waitid:
        return wait_fails(CALL_waitid, (idtype_t)arguments[0], (id_t)arguments[1]);
    case SYS_pidfd_send_signal:
        return signal_fails(CALL_pidfd_send_signal);
    case SYS_pidfd_open:
        return shim_fails(CALL_pidfd_open);
    case SYS_close_range:
        return shim_fails(CALL_close_range);
    case SYS_getdents64:
        return shim_fails(CALL_getdents64);
    case SYS_prlimit64:
        return shim_fails(CALL_prlimit64);
    case SYS_ioctl:
        return shim_fails(CALL_ioctl);
    default: /* signal masks and dispositions: cannot fail */
        return false;
    }
}

long fault_syscall(long number, ...)
{
    long arguments[6];
    va_list args;
    va_start(args, number);
    for (int i = 0; i < 6; i++) {
        arguments[i] = va_arg(args, long);
    }
    va_end(args);
    if (system_call_fails(number, arguments)) {
        return -1;
    }
    return syscall(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]);
}

/* ---- rights and surroundings ---- */

int fault_setrlimit(int resource, const struct rlimit *limit)
{
    return shim_fails(CALL_setrlimit) ? -1 : setrlimit((unsigned)resource, limit);
}

int fault_getrlimit(int resource, struct rlimit *limit)
{
    return shim_fails(CALL_getrlimit) ? -1 : getrlimit((unsigned)resource, limit);
}

int fault_prctl(int option, ...)
{
    va_list args;
    va_start(args, option);
    unsigned long argument = va_arg(args, unsigned long);
    va_end(args);
    return shim_fails(CALL_prctl) ? -1 : prctl(option, argument);
}

pid_t fault_setsid(void)
{
    return shim_fails(CALL_setsid) ? -1 : setsid();
}

int fault_setpgid(pid_t pid, pid_t group)
{
    return shim_fails(CALL_setpgid) ? -1 : setpgid(pid, group);
}

int fault_nice(int increment)
{
    return shim_fails(CALL_nice) ? -1 : nice(increment);
}

int fault_chdir(const char *path)
{
    return shim_fails(CALL_chdir) ? -1 : chdir(path);
}

int fault_setgroups(size_t count, const gid_t *groups)
{
    return shim_fails(CALL_setgroups) ? -1 : setgroups(count, groups);
}

int fault_setregid(gid_t real, gid_t effective)
{
    return shim_fails(CALL_setregid) ? -1 : setregid(real, effective);
}

int fault_setreuid(uid_t real, uid_t effective)
{
    return shim_fails(CALL_setreuid) ? -1 : setreuid(real, effective);
}

/* What it took once it takes again. */
int fault_sigaction(int signal, const struct sigaction *action, struct sigaction *old)
{
    return action != NULL && old != NULL && shim_fails(CALL_sigaction) ? -1 : sigaction(signal, action, old);
}

int fault_getgroups(int count, gid_t *groups)
{
    return shim_fails(CALL_getgroups) ? -1 : getgroups(count, groups);
}

ssize_t fault_readlink(const char *path, char *buffer, size_t size)
{
    return shim_fails(CALL_readlink) ? -1 : readlink(path, buffer, size);
}

int fault_stat(const char *path, struct stat *st)
{
    return shim_fails(CALL_stat) ? -1 : stat(path, st);
}

/* ---- terminals ---- */

int fault_ioctl(int fd, unsigned long request, ...)
{
    va_list args;
    va_start(args, request);
    void *argument = va_arg(args, void *);
    va_end(args);
    return shim_fails(CALL_ioctl) ? -1 : ioctl(fd, request, argument);
}

int fault_posix_openpt(int flags)
{
    return shim_fails(CALL_posix_openpt) ? -1 : posix_openpt(flags);
}

int fault_grantpt(int fd)
{
    return shim_fails(CALL_grantpt) ? -1 : grantpt(fd);
}

int fault_unlockpt(int fd)
{
    return shim_fails(CALL_unlockpt) ? -1 : unlockpt(fd);
}

char *fault_ptsname(int fd)
{
    return shim_fails(CALL_ptsname) ? NULL : ptsname(fd);
}

/* ---- threads ---- */

int fault_pthread_create(pthread_t *id, const pthread_attr_t *attributes, void *(*run)(void *), void *arg)
{
    return shim_fails(CALL_pthread_create) ? errno : pthread_create(id, attributes, run, arg);
}

int fault_pthread_attr_init(pthread_attr_t *attributes)
{
    return shim_fails(CALL_pthread_attr_init) ? errno : pthread_attr_init(attributes);
}

int fault_pthread_attr_setstacksize(pthread_attr_t *attributes, size_t size)
{
    return shim_fails(CALL_pthread_attr_setstacksize) ? errno : pthread_attr_setstacksize(attributes, size);
}

int fault_pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attributes)
{
    return shim_fails(CALL_pthread_mutex_init) ? errno : pthread_mutex_init(mutex, attributes);
}

int fault_pthread_cond_init(pthread_cond_t *cond, const pthread_condattr_t *attributes)
{
    return shim_fails(CALL_pthread_cond_init) ? errno : pthread_cond_init(cond, attributes);
}

int fault_pthread_condattr_init(pthread_condattr_t *attributes)
{
    return shim_fails(CALL_pthread_condattr_init) ? errno : pthread_condattr_init(attributes);
}

int fault_pthread_condattr_setclock(pthread_condattr_t *attributes, clockid_t clock)
{
    return shim_fails(CALL_pthread_condattr_setclock) ? errno : pthread_condattr_setclock(attributes, clock);
}
