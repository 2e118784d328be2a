/*
 * Workers: a program, or a function in a copy of this process, with a channel between the two; and the worker's own end.
 */
#include "channel.h"
#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

int proc_fork(proc_child **child, const char *const argv[], const proc_options *options)
{
    plan_program program = {.argv = argv, .fork = true};
    void *memory = NULL;
    int err = 0, cancel = sys_hold_cancel();
    if (argv == NULL) {
        err = sys_own_program(&memory, &program.file, &program.argv);
        if (options != NULL && options->file != NULL) {
            program.file = NULL;
        }
    }
    if (err == 0) {
        err = child_spawn(child, &program, options);
    } else {
        if (child != NULL) {
            *child = NULL;
        }
        if (options != NULL && options->error != NULL) {
            (void)plan_refuse(options->error, err, PROC_STEP_OPTIONS, "argv");
        }
    }
    free(memory);
    sys_release_cancel(cancel);
    return err;
}

int proc_fork_call(proc_child **child, proc_entry *entry, void *arg, const proc_options *options)
{
    const plan_program program = {.fork = true, .call = true, .entry = entry, .entry_arg = arg};
    return child_spawn(child, &program, options);
}

/* ---- in the worker ---- */

/* "3:1": the descriptor, and the version of the protocol, whose end is not looked at: HELLO has it too. */
static int read_number(const char *text)
{
    char *end = NULL;
    if (text == NULL || *text < '0' || *text > '9') {
        return -ENOTCONN;
    }
    errno = 0;
    long number = strtol(text, &end, 10);
    bool whole = *end == ':' && end[1] >= '1' && end[1] <= '9' && end[1 + strspn(end + 1, "0123456789")] == '\0';
    return errno != 0 || number > INT_MAX || !whole ? -ENOTCONN : (int)number;
}

int proc_channel_parent(proc_channel **channel, const proc_channel_options *options)
{
    static const proc_channel_options defaults;
    if (channel == NULL) {
        return -EINVAL;
    }
    *channel = NULL;
    options = options != NULL ? options : &defaults;
    int err = channel_check_options(options);
    if (err < 0) {
        return err;
    }
    int saved = errno, cancel = sys_hold_cancel();
    int fd = read_number(getenv(PLAN_CHANNEL_NAME));
    err = fd < 0 ? fd : channel_is_possible(fd) ? channel_new(channel, fd, fd, options) : -ENOTCONN;
    if (err == 0) {
        (void)fcntl(fd, F_SETFD, FD_CLOEXEC); /* it is open: this cannot fail */
        (void)unsetenv(PLAN_CHANNEL_NAME);    /* nor this, by its name */
    }
    sys_release_cancel(cancel);
    errno = saved;
    return err;
}
