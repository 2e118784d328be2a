/*
 * See leftovers.h.
 */
#include "leftovers.h"

#include "scenario.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PATIENCE_MS = 10000, MOST_PAGES = 2 }; /* the spare stack and the page with the process's number are kept */

static int count_threads(void)
{
    struct stat st;
    return stat("/proc/self/task", &st) == 0 ? (int)st.st_nlink - 2 : 1;
}

void picture_take(picture *now)
{
    memset(now, 0, sizeof *now);
    for (int fd = 0; fd < PICTURE_FDS; fd++) {
        now->fds[fd] = fcntl(fd, F_GETFL);
    }
    (void)syscall(SYS_rt_sigprocmask, SIG_SETMASK, NULL, &now->mask, sizeof now->mask);
    (void)syscall(SYS_rt_sigpending, &now->pending, sizeof now->pending);
    for (int signal = 1; signal < PICTURE_SIGNALS; signal++) {
        (void)sigaction(signal, NULL, &now->actions[signal]); /* libc keeps two for itself: those stay zero */
    }
    now->umask = umask(0);
    (void)umask(now->umask);
    (void)stat(".", &now->cwd);
    now->threads = count_threads();
    now->blocks = shim_blocks();
}

static void compare_threads(const picture *then)
{
    for (int waited = 0; count_threads() > then->threads; waited++) {
        if (waited == PATIENCE_MS) {
            (void)complain("left behind: %d threads", count_threads() - then->threads);
            return;
        }
        (void)poll(NULL, 0, 1);
    }
}

void kill_children(void)
{
    char path[64], list[4096] = "";
    (void)snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    FILE *file = fopen(path, "r");
    if (file == NULL || fgets(list, sizeof list, file) == NULL) {
        list[0] = '\0';
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    for (char *at = list, *end;; at = end) {
        long pid = strtol(at, &end, 10);
        if (end == at) {
            return;
        }
        (void)kill((pid_t)pid, SIGKILL);
        (void)waitpid((pid_t)pid, NULL, 0);
    }
}

static void compare_children(void)
{
    siginfo_t info = {.si_pid = 0};
    if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0) {
        (void)complain("left behind: a child that %s", info.si_pid != 0 ? "has ended" : "runs");
    }
}

void picture_compare(const picture *then)
{
    picture now;
    int state;
    if (atomic_load(&shim->stolen) || atomic_load(&shim->refused)) {
        kill_children(); /* whom the library could not signal, or who were taken from it */
    }
    compare_threads(then);
    picture_take(&now);
    for (int fd = 0; fd < PICTURE_FDS; fd++) {
        if (now.fds[fd] != then->fds[fd]) {
            (void)complain("left behind: descriptor %d (%s)", fd,
                           now.fds[fd] < 0     ? "was closed"
                           : then->fds[fd] < 0 ? "open"
                                               : "its flags");
        }
    }
    if (now.mask != then->mask || now.pending != then->pending) {
        (void)complain("left behind: a signal mask of %llx instead of %llx, or pending signals %llx",
                       (unsigned long long)now.mask, (unsigned long long)then->mask, (unsigned long long)now.pending);
    }
    for (int signal = 1; signal < PICTURE_SIGNALS; signal++) {
        if (now.actions[signal].sa_handler != then->actions[signal].sa_handler) {
            (void)complain("left behind: the disposition of signal %d", signal);
        }
    }
    if (now.umask != then->umask || now.cwd.st_ino != then->cwd.st_ino) {
        (void)complain("left behind: umask or directory");
    }
    (void)pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &state);
    if (state != PTHREAD_CANCEL_ENABLE) {
        (void)complain("left behind: cancellation held off");
    }
    compare_children();
    if (shim_blocks() != then->blocks || shim_pages() > MOST_PAGES) {
        (void)complain("left behind: %d blocks of memory, %d mappings", shim_blocks() - then->blocks, shim_pages());
    }
}
