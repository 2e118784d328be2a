/*
 * Starting programs: every option, each launcher, systems that lack what is new.
 */
#include "scenario.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os/exitwatch.h"
#include "os/launch.h"

/* ---- all that a start can do ---- */

static bool write_input(proc_child *child, const char *text)
{
    long size = (long)strlen(text);
    ssize_t put = proc_child_write(child, text, strlen(text), 10000);
    if (failed(put, CHILD_CALL, "write")) {
        put = proc_child_write(child, text, strlen(text), 10000);
    }
    return expect_result(put, size, "write") && expect_result(proc_child_close(child, 0), 0, "close");
}

/* Feeds it, and compares what it says of itself. */
static bool check_view(proc_child *child, const char *expected)
{
    char text[2048], none[16];
    size_t size, none_size;
    bool complete = write_input(child, "hello") && read_all(child, 1, text, sizeof text, &size) &&
                    read_all(child, 2, none, sizeof none, &none_size) && expect_text(text, size, expected) &&
                    expect_text(none, none_size, "");
    return finish(child, 0) && complete;
}

static bool spawn_all_with(int launcher)
{
    int ends[2];
    char expected[256];
    const mode_t mask = 027;
    proc_child *child = NULL;
    proc_error error;
    if (pipe2(ends, O_CLOEXEC) < 0) {
        return complain("pipe: %s", strerror(errno));
    }
    const proc_fd_map fds[] = {{ends[1], ends[0]}, {ends[0], ends[1]}, {9, 0}};
    const proc_limit limits[] = {{RLIMIT_CORE, 0, PROC_NO_LIMIT}, {RLIMIT_NOFILE, 64, 64}};
    launch_force = launcher;
    int err = proc_spawn(&child, CHILD_ARGV("view"),
                         &(proc_options){
                             .cwd = "/",
                             .env = (const char *const[]){"A=1", NULL},
                             .env_changes = (const char *const[]){"X=y", "A", NULL},
                             .in = {PROC_PIPE, .fd = 0},
                             .out = {PROC_PIPE, .fd = 0},
                             .err = {PROC_PIPE, .fd = 0},
                             .fds = fds,
                             .fd_count = 3,
                             .limits = limits,
                             .limit_count = 2,
                             .umask = &mask,
                             .nice = 1,
                             .group = PROC_GROUP_OWN,
                             .error = &error,
                         });
    (void)snprintf(expected, sizeof expected,
                   "cwd=/ umask=027 X=y core=0 group=own nice=%d fds=0,1,2,%d,%d,9, in=hello",
                   getpriority(PRIO_PROCESS, 0) + 1, ends[0], ends[1]);
    bool complete = started(err, child, &error) && check_view(child, expected);
    launch_force = LAUNCH_ANY;
    (void)close(ends[0]);
    (void)close(ends[1]);
    return complete;
}

static bool spawn_all(void)
{
    return spawn_all_with(LAUNCH_ANY);
}

static bool spawn_by_fork(void)
{
    return spawn_all_with(LAUNCH_FORK);
}

/* The second start finds the spare stack, and knows that memory is shared. */
static bool spawn_again(void)
{
    bool armed = atomic_load(&shim->armed);
    shim_arm(false);
    bool complete = spawn_all();
    shim_arm(armed);
    return spawn_all() && complete;
}

/* ---- the others ---- */

static bool spawn_files(void)
{
    char in[300], out[300], text[64] = "";
    proc_child *child = NULL;
    proc_error error;
    (void)snprintf(in, sizeof in, "%s/in", work_dir());
    (void)snprintf(out, sizeof out, "%s/out", work_dir());
    int err = proc_spawn(&child, CHILD_ARGV("copy"),
                         &(proc_options){
                             .in = {PROC_FILE, .path = in},
                             .out = {PROC_FILE, .path = out},
                             .err = {PROC_MERGE, .fd = 0},
                             .group = PROC_GROUP_SESSION,
                             .keep_signals = true,
                             .error = &error,
                         });
    if (!started(err, child, &error) || !finish(child, 0)) {
        return false;
    }
    int fd = open(out, O_RDONLY | O_CLOEXEC);
    ssize_t got = read(fd, text, sizeof text);
    (void)close(fd);
    return expect_text(text, got < 0 ? 0 : (size_t)got, "from a file");
}

/* Looked up in PATH, where the first entry does not have it; nothing but a wait. */
static bool spawn_plain(void)
{
    char path[400];
    proc_child *child = NULL;
    proc_error error;
    const char *slash = strrchr(child_path(), '/');
    (void)snprintf(path, sizeof path, "PATH=/nowhere:%.*s", (int)(slash - child_path()), child_path());
    int err = proc_spawn(&child, (const char *const[]){slash + 1, "copy", NULL},
                         &(proc_options){
                             .in = {PROC_NULL, .fd = 0},
                             .env_changes = (const char *const[]){path, NULL},
                             .die_with_parent = !(bool)LAUNCHES_BY_FORK_ONLY,
                             .error = &error,
                         });
    if (!started(err, child, &error)) {
        return false;
    }
    proc_status status;
    err = proc_child_wait(child, PROC_FOREVER, &status);
    if (failed(err, CHILD_CALL, "wait")) {
        err = proc_child_wait(child, PROC_FOREVER, &status);
    }
    bool complete = expect_result(err, 0, "wait") && expect_exit(&status, 0);
    proc_child_free(child);
    return complete;
}

static bool spawn_missing(void)
{
    proc_child *child = NULL;
    proc_error error;
    int err = proc_spawn(&child, (const char *const[]){"/nowhere/program", NULL},
                         &(proc_options){.out = {PROC_PIPE, .fd = 0}, .error = &error});
    expect(child == NULL && err < 0, "what is not there is not started");
    if (err == -ENOENT && error.step == PROC_STEP_EXEC) {
        return true;
    }
    return failed(err, START, "start") && false;
}

/* The host ignores SIGCHLD: of a child that has ended nothing is left but a number, which may be another's by now. */
static bool spawn_missing_unwaited(void)
{
    struct sigaction before;
    const struct sigaction ignore = {.sa_handler = SIG_IGN};
    (void)sigaction(SIGCHLD, &ignore, &before);
    bool complete = spawn_missing();
    (void)sigaction(SIGCHLD, &before, NULL);
    return complete;
}

static bool spawn_as_user(void)
{
    static const gid_t groups[] = {65534};
    const proc_user user = {.uid = 65534, .gid = 65534, .groups = groups, .group_count = 1};
    proc_child *child = NULL;
    proc_error error;
    int err = proc_spawn(&child, CHILD_ARGV("ids"),
                         &(proc_options){.user = &user, .out = {PROC_PIPE, .fd = 0}, .error = &error});
    if (!started(err, child, &error)) {
        return false;
    }
    char text[64];
    size_t size;
    bool complete = read_all(child, 1, text, sizeof text, &size) && expect_text(text, size, "65534 65534 1 65534");
    return finish(child, 0) && complete;
}

static bool is_root(void)
{
    return geteuid() == 0;
}

static bool is_native(void)
{
    return !LAUNCHES_BY_FORK_ONLY;
}

/* ---- the end told by a thread ---- */

static bool watch_by_thread(void)
{
    proc_child *child = NULL;
    proc_error error;
    exitwatch_force = EXITWATCH_THREAD;
    int err = proc_spawn(&child, CHILD_ARGV("wait"),
                         &(proc_options){.in = {PROC_PIPE, .fd = 0}, .out = {PROC_NULL, .fd = 0}, .error = &error});
    bool complete = started(err, child, &error);
    if (complete) {
        int fd = proc_child_exit_fd(child);
        if (failed(fd, CHILD_CALL, "exit_fd")) {
            fd = proc_child_exit_fd(child);
        }
        complete = expect(fd > 2, "there is a descriptor that tells the end");
        struct pollfd end = {.fd = fd, .events = POLLIN};
        complete = expect_result(poll(&end, 1, 0), 0, "a child that runs") && complete;
        complete = expect_result(proc_child_close(child, 0), 0, "close") && complete;
        complete = expect_result(poll(&end, 1, 10000), 1, "the end") && complete;
        complete = finish(child, 0) && complete;
    }
    exitwatch_force = EXITWATCH_ANY;
    return complete;
}

/* ---- systems that cannot ---- */

static const always old_kernel[] = {
    {CALL_close_range, ENOSYS}, {CALL_pidfd_open, ENOSYS}, {CALL_pidfd_send_signal, ENOSYS}, {0, 0}};
static const always filter[] = {{CALL_clone, EPERM},      {CALL_close_range, EPERM},       {CALL_getdents64, EPERM},
                                {CALL_pidfd_open, EPERM}, {CALL_pidfd_send_signal, EPERM}, {0, 0}};
static const always no_waitid[] = {{CALL_waitid, EPERM}, {CALL_close_range, ENOSYS}, {0, 0}};

const scenario spawn_scenarios[] = {
    {"spawn", spawn_all, NULL, NULL},
    {"spawn_again", spawn_again, NULL, NULL},
    {"spawn_by_fork", spawn_by_fork, NULL, is_native},
    {"spawn_on_old_kernel", spawn_all, old_kernel, is_native},
    {"spawn_under_filter", spawn_all, filter, is_native},
    {"spawn_without_waitid", spawn_all, no_waitid, is_native},
    {"spawn_files", spawn_files, NULL, NULL},
    {"spawn_plain", spawn_plain, NULL, NULL},
    {"spawn_missing", spawn_missing, NULL, NULL},
    {"spawn_missing_unwaited", spawn_missing_unwaited, NULL, NULL},
    {"unwaited_on_old_kernel", spawn_missing_unwaited, old_kernel, is_native},
    {"spawn_as_user", spawn_as_user, NULL, is_root},
    {"watch_by_thread", watch_by_thread, NULL, NULL},
    {0},
};
