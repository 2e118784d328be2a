/*
 * The system calls that Linux has a better form of: descriptors that name a process, close_range, raw signal masks.
 * Everything here falls back by itself on a kernel, or under a filter, that refuses the newer call.
 */
#include "os/sys.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

/* Older headers lack these; the numbers are the same on every architecture but alpha. */
#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif
#define WAIT_PIDFD 3 /* P_PIDFD, Linux 5.4 */

const bool sys_can_die_with_parent = true;

/*
 * The own number, in a page that a copy of this process finds wiped (MADV_WIPEONFORK, Linux 4.14): a system call less in
 * each call of a program that posts millions of messages. A child of vfork, which shares the page, never asks.
 */
static _Atomic(atomic_int *) pid_page;

static pid_t find_pid(atomic_int *page)
{
    pid_t pid = getpid();
    if (page == NULL) {
        void *memory = mmap(NULL, 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) {
            return pid;
        }
        if (madvise(memory, 1, MADV_WIPEONFORK) < 0) {
            (void)munmap(memory, 1);
            return pid;
        }
        if (!atomic_compare_exchange_strong(&pid_page, &page, (atomic_int *)memory)) {
            (void)munmap(memory, 1); /* another thread was quicker */
        } else {
            page = memory;
        }
    }
    atomic_store_explicit(page, pid, memory_order_relaxed);
    return pid;
}

pid_t sys_own_pid(void)
{
    atomic_int *page = atomic_load_explicit(&pid_page, memory_order_acquire);
    pid_t pid = page != NULL ? atomic_load_explicit(page, memory_order_relaxed) : 0;
    return pid != 0 ? pid : find_pid(page);
}

int sys_pipe_cloexec(int ends[2])
{
    return pipe2(ends, O_CLOEXEC) < 0 ? -errno : 0;
}

void sys_grow_pipe(int fd, size_t size)
{
    int saved = errno;
    (void)fcntl(fd, F_SETPIPE_SZ, (int)size); /* refused past the user's share: then it stays as it is */
    errno = saved;
}

/* MADV_POPULATE_WRITE, Linux 5.14: one call instead of a fault for each page. */
void sys_touch_memory(void *at, size_t size)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), end = ((uintptr_t)at + size) & ~(page - 1);
    uintptr_t start = ((uintptr_t)at + page - 1) & ~(page - 1);
    if (start < end) {
        int saved = errno;
        (void)madvise((void *)start, end - start, MADV_POPULATE_WRITE); /* refused: then the faults do it */
        errno = saved;
    }
}

/* musl's ioctl takes an int, which not every request fits in. */
static long call_ioctl(int fd, unsigned long request, void *argument)
{
    return syscall(SYS_ioctl, fd, request, argument);
}

/* TIOCGPTPEER (Linux 4.13) needs no path, and works where /dev/pts is another mount. */
static int open_slave(int master)
{
    int slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (slave >= 0) {
        int err = sys_raise_fd(&slave);
        return err < 0 ? err : slave;
    }
    unsigned number;
    char path[32];
    if ((errno != ENOTTY && errno != EINVAL) || call_ioctl(master, TIOCGPTN, &number) < 0) {
        return -errno;
    }
    (void)snprintf(path, sizeof path, "/dev/pts/%u", number);
    return sys_open(path, O_RDWR, 0);
}

int sys_open_terminal(sys_terminal *terminal)
{
    terminal->slave = -1;
    terminal->path[0] = '\0';
    terminal->master = sys_open("/dev/ptmx", O_RDWR, 0);
    if (terminal->master < 0) {
        return terminal->master;
    }
    int err = 0, unlock = 0;
    if (ioctl(terminal->master, TIOCSPTLCK, &unlock) < 0) {
        err = -errno;
    } else {
        terminal->slave = open_slave(terminal->master);
        err = terminal->slave < 0 ? terminal->slave : 0;
    }
    if (err == 0) {
        err = sys_set_nonblocking(terminal->master);
    }
    if (err < 0) {
        sys_close_terminal(terminal);
    }
    return err;
}

int sys_set_controlling_terminal(const sys_terminal *terminal)
{
    return ioctl(terminal->slave, TIOCSCTTY, 0) < 0 ? -errno : 0;
}

/*
 * Raw, and all ones: sigfillset and pthread_sigmask leave out the signals that libc keeps to itself (32 and 33), and a
 * handler of those must not run in a child that shares our memory either.
 */
#define SIGNAL_BYTES (_NSIG / 8)

static void change_mask(const void *set, sigset_t *old)
{
    if (old != NULL) {
        (void)sigemptyset(old);
    }
    (void)syscall(SYS_rt_sigprocmask, SIG_SETMASK, set, old, SIGNAL_BYTES); /* cannot fail: the arguments are good */
}

void sys_block_signals(sigset_t *old)
{
    static const unsigned char all[16] = {255, 255, 255, 255, 255, 255, 255, 255,
                                          255, 255, 255, 255, 255, 255, 255, 255};
    change_mask(all, old);
}

void sys_set_signal_mask(const sigset_t *mask)
{
    change_mask(mask, NULL);
}

/*
 * Set raw: libc's sigaction refuses 32 and 33. The kernel's struct differs between architectures, but all zero it is
 * SIG_DFL without flags on each of them.
 */
void sys_reset_signals(bool keep_ignored)
{
    static const unsigned long by_default[8];
    for (int signal = 1; signal < _NSIG; signal++) {
        struct sigaction now;
        if (signal == SIGKILL || signal == SIGSTOP) {
            continue;
        }
        if (keep_ignored && sigaction(signal, NULL, &now) == 0 &&
            (now.sa_handler == SIG_DFL || now.sa_handler == SIG_IGN)) {
            continue;
        }
        (void)syscall(SYS_rt_sigaction, signal, by_default, NULL, SIGNAL_BYTES);
    }
}

int sys_set_limit(const proc_limit *limit)
{
    const uint64_t wanted[2] = {limit->soft, limit->hard}; /* struct rlimit64; PROC_NO_LIMIT is RLIM64_INFINITY */
    return syscall(SYS_prlimit64, 0, limit->resource, wanted, NULL) < 0 ? -errno : 0;
}

int sys_die_with_parent(void)
{
    return prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 ? -errno : 0;
}

int sys_pidfd(pid_t pid)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (fd < 0) {
        return -errno;
    }
    int err = sys_raise_fd(&fd);
    return err < 0 ? err : fd;
}

/* ---- waiting and killing ---- */

struct kernel_rusage { /* what the kernel writes, whatever libc's own struct looks like */
    struct {
        long seconds, microseconds;
    } user, system;
    long max_rss, shared, data, stack, minor_faults, major_faults, swaps, in, out, sent, received, signals;
    long voluntary_switches, involuntary_switches;
};

/* By descriptor where there is one: the number may have been given to another child since somebody stole this one. */
static int wait_for(pid_t pid, int pidfd, int options, siginfo_t *info, struct kernel_rusage *usage)
{
    for (;;) {
        info->si_pid = 0;
        int type = pidfd >= 0 ? WAIT_PIDFD : P_PID;
        if (syscall(SYS_waitid, type, pidfd >= 0 ? pidfd : pid, info, WEXITED | options, usage) == 0) {
            return 0;
        }
        if (errno == EINVAL && pidfd >= 0) {
            pidfd = -1; /* before Linux 5.4 */
        } else if (errno != EINTR) {
            return -errno;
        }
    }
}

int sys_peek(pid_t pid, int pidfd)
{
    siginfo_t info;
    int err = wait_for(pid, pidfd, WNOHANG | WNOWAIT, &info, NULL);
    if (err < 0 && err != -ECHILD && pidfd >= 0) { /* a filter is in front of waitid */
        struct pollfd end = {.fd = pidfd, .events = POLLIN};
        return sys_poll(&end, 1, 0) > 0;
    }
    return err < 0 ? err : info.si_pid != 0;
}

/* PIDFD_GET_INFO (Linux 6.13) with PIDFD_INFO_EXIT (6.15): the kernel remembers how a process ended that others reaped. */
struct exit_info {
    uint64_t mask, cgroup;
    uint32_t ids[11];
    int32_t status;
};
#define EXIT_INFO_ASK _IOWR(0xFF, 11, struct exit_info)
#define EXIT_INFO_KNOWN (UINT64_C(1) << 3)

static bool ask_exit_info(int pidfd, int *status)
{
    for (int attempt = 0; attempt < 2; attempt++) {
        struct exit_info info = {.mask = EXIT_INFO_KNOWN};
        if (call_ioctl(pidfd, EXIT_INFO_ASK, &info) < 0) {
            return false;
        }
        if ((info.mask & EXIT_INFO_KNOWN) != 0) {
            *status = info.status;
            return true;
        }
        /* It is dead but not yet taken off the table by whoever reaps it; that shows as a hang-up. */
        struct pollfd gone = {.fd = pidfd, .events = 0};
        (void)sys_poll(&gone, 1, sys_deadline(sys_now(), 1000));
    }
    return false;
}

static void tell_of_lost(int pidfd, proc_status *status)
{
    int word;
    status->state = PROC_LOST;
    if (pidfd >= 0 && ask_exit_info(pidfd, &word)) {
        sys_tell_status(word, status);
    }
}

void sys_reap(pid_t pid, int pidfd, proc_status *status)
{
    siginfo_t info;
    struct kernel_rusage usage = {0};

    status->code = -1;
    status->signal = 0;
    status->core_dumped = false;
    status->usage = (proc_usage){0};
    int err = wait_for(pid, pidfd, 0, &info, &usage);
    if (err < 0) {
        int word = 0;
        pid_t got = -1;
        while (err != -ECHILD && (got = waitpid(pid, &word, 0)) < 0 && errno == EINTR) {
        }
        if (got == pid) {
            sys_tell_status(word, status);
        } else {
            tell_of_lost(pidfd, status);
        }
        return;
    }
    if (info.si_code == CLD_EXITED) {
        status->state = PROC_EXITED;
        status->code = info.si_status;
    } else {
        status->state = PROC_SIGNALED;
        status->signal = info.si_status;
        status->core_dumped = info.si_code == CLD_DUMPED;
    }
    status->usage = (proc_usage){
        .user_ns = (int64_t)usage.user.seconds * 1000000000 + (int64_t)usage.user.microseconds * 1000,
        .system_ns = (int64_t)usage.system.seconds * 1000000000 + (int64_t)usage.system.microseconds * 1000,
        .max_rss = (int64_t)usage.max_rss * 1024,
        .minor_faults = usage.minor_faults,
        .major_faults = usage.major_faults,
        .voluntary_switches = usage.voluntary_switches,
        .involuntary_switches = usage.involuntary_switches,
    };
}

int sys_kill(pid_t pid, int pidfd, int signal)
{
    if (pidfd >= 0) {
        if (syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0) == 0) {
            return 0;
        }
        if (pid == 0 || (errno != ENOSYS && errno != EPERM)) { /* EPERM: a filter, or the truth, which kill tells too */
            return -errno;
        }
    }
    return kill(pid, signal) < 0 ? -errno : 0;
}

/* ---- closing strangers ---- */

struct kernel_dirent {
    uint64_t inode;
    int64_t offset;
    unsigned short length;
    unsigned char type;
    char name[];
};

static int parse_number(const char *text)
{
    int number = 0;
    for (; *text >= '0' && *text <= '9' && number < INT_MAX / 10; text++) {
        number = number * 10 + (*text - '0');
    }
    return *text == '\0' ? number : -1;
}

/* Reading the directory with the raw call: opendir takes memory. */
static bool close_listed(int first, int last)
{
    (void)close(first); /* makes room for the descriptor of the directory, if there is none */
    int directory = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0) {
        return false;
    }
    _Alignas(uint64_t) char buffer[1024];
    long size;
    while ((size = syscall(SYS_getdents64, directory, buffer, sizeof buffer)) > 0) {
        for (long at = 0; at < size;) {
            const struct kernel_dirent *entry = (const void *)(buffer + at);
            int fd = entry->name[0] == '.' ? -1 : parse_number(entry->name);
            if (fd >= first && fd <= last && fd != directory) {
                (void)close(fd);
            }
            at += entry->length;
        }
    }
    (void)close(directory);
    return size == 0;
}

static void close_one_by_one(int first, int last)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < (rlim_t)last) {
        last = (int)limit.rlim_cur;
    }
    for (int fd = first; fd <= last && fd < 1 << 20; fd++) {
        (void)close(fd);
    }
}

void sys_close_range(int first, int last)
{
    if (first > last || syscall(SYS_close_range, (unsigned)first, (unsigned)last, 0) == 0) {
        return;
    }
    if (!close_listed(first, last)) {
        close_one_by_one(first, last);
    }
}

/* ---- this program again ---- */

/* A whole file of /proc, which does not say how long it is, with a NUL behind it. */
static int read_whole(const char *path, char **text, size_t *size)
{
    size_t capacity = 4096, end = 0;
    int fd = sys_open(path, O_RDONLY, 0);
    if (fd < 0) {
        return fd;
    }
    ssize_t got = 0;
    *text = malloc(capacity);
    while (*text != NULL && (got = sys_read(fd, *text + end, capacity - end - 1)) > 0) {
        end += (size_t)got;
        if (capacity - end == 1) {
            char *larger = realloc(*text, capacity *= 2);
            if (larger == NULL) {
                free(*text);
            }
            *text = larger;
        }
    }
    sys_close(&fd);
    int err = *text == NULL ? -ENOMEM : (int)got;
    if (err < 0) {
        free(*text);
        return err;
    }
    (*text)[end] = '\0';
    *size = end;
    return 0;
}

/* The path tells more than /proc/self/exe would, which ps then calls "exe"; but the file may have been replaced. */
static void name_own_program(char *path, size_t room)
{
    static const char link[] = "/proc/self/exe";
    struct stat here, there;
    ssize_t length = readlink(link, path, room - 1);
    path[length > 0 ? length : 0] = '\0';
    if (length <= 0 || stat(link, &here) < 0 || stat(path, &there) < 0 || here.st_dev != there.st_dev ||
        here.st_ino != there.st_ino) {
        memcpy(path, link, sizeof link);
    }
}

int sys_own_program(void **memory, const char **file, const char *const **argv)
{
    char *text = NULL;
    size_t size = 0, count = 0;
    int err = read_whole("/proc/self/cmdline", &text, &size);
    if (err < 0) {
        return err == -ENOENT || err == -EACCES ? -ENOTSUP : err;
    }
    for (size_t at = 0; at < size; at += strlen(text + at) + 1) {
        count++;
    }
    char **list = malloc((count + 2) * sizeof *list + PATH_MAX + size + 1);
    if (list == NULL) {
        free(text);
        return -ENOMEM;
    }
    char *path = (char *)(list + count + 2), *words = path + PATH_MAX;
    name_own_program(path, PATH_MAX);
    memcpy(words, text, size + 1);
    free(text);
    list[0] = path; /* where there are no arguments at all */
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        list[i] = words + at;
        at += strlen(words + at) + 1;
    }
    list[count > 0 ? count : 1] = NULL;
    *memory = list;
    *file = path;
    *argv = (const char *const *)list;
    return 0;
}
