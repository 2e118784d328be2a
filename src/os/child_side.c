/*
 * The child between clone or fork and exec: walks a launch_plan in the one order that works (limits that need rights
 * before the ids change, the directory after them, descriptors last). In a child of clone(CLONE_VM) every store is the
 * parent's memory, so it writes to its own stack, the moves' notes and the report, and nowhere else; in a child of fork
 * in a program with threads malloc's lock may be held for ever. Hence: system calls only.
 */
#define _DEFAULT_SOURCE /* setgroups */
#include "os/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* Sanitizers keep their books in memory that the parent sees; the child must leave those alone. */
#define CHILD_SIDE __attribute__((noinline, no_sanitize("address", "thread", "undefined")))

/* ---- descriptors ---- */

static bool is_wanted(const launch_plan *plan, int fd)
{
    size_t low = 0, high = plan->move_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (plan->moves[middle].to == fd) {
            return true;
        }
        if (plan->moves[middle].to < fd) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return false;
}

/* A copy on a number that no move wants. */
CHILD_SIDE static int lift(const launch_plan *plan, int fd)
{
    int lowest = 3;
    for (;;) {
        int copy = fcntl(fd, F_DUPFD_CLOEXEC, lowest);
        if (copy < 0) {
            return errno == EINVAL ? -EMFILE : -errno;
        }
        if (!is_wanted(plan, copy)) {
            return copy;
        }
        (void)close(copy);
        lowest = copy + 1;
    }
}

CHILD_SIDE static int place(int from, int to)
{
    /* EBUSY: another thread's open has the number reserved; only where the table is shared, but it costs nothing. */
    while (dup2(from, to) < 0) {
        if (errno == EBADF) {
            return fcntl(from, F_GETFD) < 0 ? -EBADF : -EMFILE; /* `from` is open: `to` is past RLIMIT_NOFILE */
        }
        if (errno != EINTR && errno != EBUSY) {
            return -errno;
        }
    }
    return 0;
}

CHILD_SIDE static int place_null(int to)
{
    (void)close(to);
    /* The lowest number that is free: those below were placed before. */
    return open("/dev/null", to == 0 ? O_RDONLY : O_WRONLY) < 0 ? -errno : 0;
}

/* dup2 onto itself does nothing, and keeps close-on-exec. */
CHILD_SIDE static int keep_open(int fd)
{
    return fcntl(fd, F_SETFD, 0) < 0 ? -errno : 0;
}

CHILD_SIDE static int make_move(const launch_move *move)
{
    switch (move->source) {
    case LAUNCH_NULL:
        return place_null(move->to);
    case LAUNCH_INHERIT:
        return keep_open(move->to) < 0 ? place_null(move->to) : 0;
    case LAUNCH_CHILD:
        return place(move->from, move->to);
    case LAUNCH_FD:
        break;
    }
    int from = move->lift ? move->lifted : move->from;
    return from == move->to ? keep_open(from) : place(from, move->to);
}

CHILD_SIDE static int set_descriptors(launch_plan *plan, int *report_fd, int *index)
{
    for (size_t i = 0; i < plan->move_count; i++) {
        launch_move *move = &plan->moves[i];
        if (move->lift) {
            *index = (int)i;
            move->lifted = lift(plan, move->from);
            if (move->lifted < 0) {
                return move->lifted;
            }
        }
    }
    if (*report_fd >= 0 && is_wanted(plan, *report_fd)) {
        int lifted = lift(plan, *report_fd);
        if (lifted < 0) {
            return lifted;
        }
        *report_fd = lifted;
    }
    for (size_t i = 0; i < plan->move_count; i++) {
        *index = (int)i;
        int err = make_move(&plan->moves[i]);
        if (err < 0) {
            return err;
        }
    }
    return 0;
}

CHILD_SIDE static void close_between(int first, int last, int spare)
{
    if (first <= spare && spare <= last) {
        sys_close_range(first, spare - 1);
        first = spare + 1;
    }
    sys_close_range(first, last);
}

CHILD_SIDE static void close_others(const launch_plan *plan, int report_fd)
{
    int first = 0;
    for (size_t i = 0; i < plan->move_count; i++) {
        close_between(first, plan->moves[i].to - 1, report_fd);
        first = plan->moves[i].to + 1;
    }
    close_between(first, INT_MAX, report_fd);
}

/* ---- who it is, and what it may ---- */

CHILD_SIDE static int set_limits(const launch_plan *plan, bool descriptors, int *index)
{
    for (size_t i = 0; i < plan->limit_count; i++) {
        if ((plan->limits[i].resource == RLIMIT_NOFILE) == descriptors) {
            *index = (int)i;
            int err = sys_set_limit(&plan->limits[i]);
            if (err < 0) {
                return err;
            }
        }
    }
    return 0;
}

CHILD_SIDE static int add_nice(int increment)
{
    errno = 0; /* -1 is a good answer too */
    return nice(increment) == -1 && errno != 0 ? -errno : 0;
}

/* Real, effective and saved id, with the one call that POSIX has for it; then see that there is no way back. */
CHILD_SIDE static int set_gid(gid_t gid)
{
    if (setregid(gid, gid) < 0) {
        return -errno;
    }
    return getgid() == gid && getegid() == gid ? 0 : -EPERM;
}

CHILD_SIDE static int set_uid(uid_t uid)
{
    uid_t before = geteuid();
    if (setreuid(uid, uid) < 0) {
        return -errno;
    }
    if (getuid() != uid || geteuid() != uid) {
        return -EPERM;
    }
    return uid != 0 && before != uid && seteuid(before) == 0 ? -EPERM : 0; /* root may be anybody */
}

CHILD_SIDE static int set_ids(const launch_ids *ids, proc_step *step)
{
    *step = PROC_STEP_GROUPS;
    if (ids->set_groups && setgroups(ids->group_count, ids->groups) < 0) {
        return -errno;
    }
    *step = PROC_STEP_GID;
    int err = set_gid(ids->gid);
    if (err < 0) {
        return err;
    }
    *step = PROC_STEP_UID;
    return set_uid(ids->uid);
}

CHILD_SIDE static int set_group(const launch_plan *plan)
{
    if (plan->new_session && setsid() < 0) {
        return -errno;
    }
    if (plan->new_group && setpgid(0, 0) < 0) {
        return -errno;
    }
    return plan->terminal != NULL ? sys_set_controlling_terminal(plan->terminal) : 0;
}

CHILD_SIDE static int follow_parent(pid_t parent)
{
    int err = sys_die_with_parent();
    pid_t now = getppid(); /* 0: it is in another namespace, dead or alive */
    if (err == 0 && now != parent && now != 0) {
        (void)kill(getpid(), SIGKILL); /* it died before we asked */
    }
    return err;
}

/* ---- the report ---- */

typedef struct walk {
    launch_plan *plan;
    volatile launch_report *report; /* the parent's, where that is shared */
    int report_fd;
    launch_failure at;
} walk;

CHILD_SIDE static void write_report(int fd, const launch_report *report)
{
    if (fd >= 0) {
        while (write(fd, report, sizeof *report) < 0 && errno == EINTR) {
        }
    }
}

/* A child that dies while it only prepares never ran the program. */
CHILD_SIDE static void announce(const walk *w, int progress)
{
    const launch_report report = {.progress = progress};
    w->report->progress = progress;
    write_report(w->report_fd, &report);
}

/* ---- the program ---- */

/* A writer's descriptor may live on for a moment in another thread's child that has not come to its exec yet. */
CHILD_SIDE static int execute(const walk *w, const char *path)
{
    const launch_plan *plan = w->plan;
    for (int pause_ms = 1;; pause_ms *= 2) {
        (void)execve(path, (char *const *)(uintptr_t)plan->argv, (char *const *)(uintptr_t)plan->envp);
        if (errno != ETXTBSY || pause_ms > 32) { /* 1 + 2 + ... + 32 = 63 ms in all, at the most */
            return -errno;
        }
        announce(w, LAUNCH_SETTING_UP);
        (void)poll(NULL, 0, pause_ms);
        announce(w, LAUNCH_EXECUTING);
    }
}

/* A path that was given is tried alone; of a search, "permission denied" is worth more than "not there". */
CHILD_SIDE static int execute_first(const walk *w)
{
    const launch_plan *plan = w->plan;
    int worst = -ENOENT;
    for (const char *const *path = plan->paths; *path != NULL; path++) {
        int err = execute(w, *path);
        if (!plan->searched) {
            return err;
        }
        switch (err) {
        case -EACCES:
            worst = err;
            break;
        case -ENOENT:
        case -ENOTDIR:
        case -ESTALE:
        case -ENODEV:
        case -ETIMEDOUT:
            break;
        default:
            return err;
        }
    }
    return worst;
}

/* No exec closes what is close-on-exec, so it is done here. */
CHILD_SIDE static void close_as_exec_would(int report_fd)
{
    enum { MOST = 1 << 20 };
    struct rlimit limit;
    int end = getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur > MOST ? MOST : (int)limit.rlim_cur;
    for (int fd = 0; fd < end; fd++) {
        int flags = fcntl(fd, F_GETFD);
        if (flags > 0 && (flags & FD_CLOEXEC) != 0 && fd != report_fd) {
            (void)close(fd);
        }
    }
}

/* Ordinary code from here on: this child has its own memory. */
static _Noreturn void call_entry(walk *w, const sigset_t *mask)
{
    if (!w->plan->close_others) {
        close_as_exec_would(w->report_fd);
    }
    announce(w, LAUNCH_RUNNING);
    sys_close(&w->report_fd);
    sys_set_signal_mask(mask);
    _exit(w->plan->entry(w->plan->entry_arg));
}

/* ---- the walk ---- */

CHILD_SIDE static int walk_plan(walk *w)
{
    launch_plan *plan = w->plan;
    int err;

    sys_reset_signals(plan->keep_signals); /* before anything is unblocked: no handler of the parent's may run here */

    w->at.step = PROC_STEP_GROUP;
    if ((err = set_group(plan)) < 0) {
        return err;
    }
    w->at.step = PROC_STEP_NICE;
    if (plan->nice != 0 && (err = add_nice(plan->nice)) < 0) {
        return err;
    }
    w->at.step = PROC_STEP_LIMIT;
    if ((err = set_limits(plan, false, &w->at.index)) < 0) {
        return err;
    }
    if (plan->umask != NULL) {
        (void)umask(*plan->umask);
    }
    if (plan->ids != NULL && (err = set_ids(plan->ids, &w->at.step)) < 0) {
        return err;
    }
    w->at.step = PROC_STEP_CHDIR;
    if (plan->cwd != NULL && chdir(plan->cwd) < 0) {
        return -errno;
    }
    w->at.step = PROC_STEP_PARENT; /* after the ids: changing them takes it back */
    if (plan->die_with_parent && (err = follow_parent(plan->parent)) < 0 && !plan->die_if_possible) {
        return err;
    }
    w->at.step = PROC_STEP_FDS;
    if ((err = set_descriptors(plan, &w->report_fd, &w->at.index)) < 0) {
        return err;
    }
    if (plan->close_others) {
        close_others(plan, w->report_fd);
    }
    w->at.step = PROC_STEP_LIMIT; /* this one would have hindered the descriptors */
    return set_limits(plan, true, &w->at.index);
}

CHILD_SIDE _Noreturn void launch_child_side(launch_plan *plan, const sigset_t *caller_mask,
                                            volatile launch_report *report, int report_fd)
{
    walk w = {.plan = plan, .report = report, .report_fd = report_fd};
    report->progress = LAUNCH_SETTING_UP;

    int err = walk_plan(&w);
    if (err == 0) {
        w.at = (launch_failure){.step = PROC_STEP_EXEC};
        sigset_t none;
        (void)sigemptyset(&none);
        const sigset_t *mask = plan->keep_signals ? caller_mask : &none;
        if (plan->entry != NULL) {
            call_entry(&w, mask);
        }
        announce(&w, LAUNCH_EXECUTING);
        sys_set_signal_mask(mask);
        err = execute_first(&w);
    }
    w.at.err = err;
    report->failure.step = w.at.step;
    report->failure.index = w.at.index;
    report->failure.err = err;
    launch_report last = {.progress = report->progress, .failure = w.at};
    write_report(w.report_fd, &last);
    _exit(127);
}
