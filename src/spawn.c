/*
 * proc_spawn: options -> plan -> launch -> handle. Every other start comes by here too.
 */
#include "channel.h"
#include "child.h"
#include "options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void adopt(proc_child *c, plan *p, const proc_options *options, pid_t pid, int pidfd)
{
    c->pid = pid;
    c->own_group = p->own_group;
    c->detached = options->detached;
    c->stop_signal = options->stop_signal == 0 ? SIGTERM : options->stop_signal;
    c->cancel_fd = options->cancel_fd == 0 ? -1 : options->cancel_fd;
    for (int stream = 0; stream < 3; stream++) {
        c->streams[stream] = p->parent_ends[stream];
        c->is_terminal[stream] = c->streams[stream] >= 0 && c->streams[stream] == p->terminal.master;
        p->parent_ends[stream] = -1;
    }
    exitwatch_init(&c->watch, pidfd);
    int timeout_ms = options->timeout_ms == 0 ? PROC_FOREVER : options->timeout_ms;
    if (c->channel != NULL) {
        p->channel_end = -1;
        channel_follow(c->channel, child_exit_of, c);
    }
    life_init(&c->life, c->started, timeout_ms, options->grace_ms == 0 ? 5000 : options->grace_ms);
    c->status.code = -1;
}

/* ---- with a channel ---- */

typedef struct entry_call {
    proc_entry *entry;
    void *arg;
    proc_channel *channel; /* made before the fork: the child need not take memory, nor can it fail to */
} entry_call;

static int run_entry(void *arg)
{
    entry_call *call = arg;
    channel_adopt(call->channel, PLAN_CHANNEL_FD);
    int code = call->entry(call->channel, call->arg);
    proc_channel_free(call->channel);
    return code;
}

static int make_channels(proc_child *c, plan *p, const proc_channel_options *options, entry_call *call,
                         proc_error *error)
{
    static const proc_channel_options defaults;
    options = options != NULL ? options : &defaults;
    int err = channel_new(&c->channel, p->channel_end, p->channel_end, options);
    if (err == 0 && call->entry != NULL) {
        err = channel_new(&call->channel, p->child_channel_end, p->child_channel_end, options);
        p->launch.entry = run_entry;
        p->launch.entry_arg = call;
    }
    return err < 0 ? plan_refuse(error, err, PROC_STEP_PIPE, "channel") : 0;
}

static void drop_channel(proc_channel **channel)
{
    if (*channel != NULL) {
        channel_destroy(*channel);
        *channel = NULL;
    }
}

/* ---- all of them ---- */

static int start(proc_child *c, const plan_program *program, const proc_options *options, proc_error *error)
{
    plan p;
    launch_failure failure;
    pid_t pid = -1;
    int pidfd = -1;

    int err = plan_make(&p, program, options, error);
    if (err < 0) {
        return err;
    }
    entry_call call = {.entry = program->entry, .arg = program->entry_arg};
    if (p.channel_end >= 0) {
        err = make_channels(c, &p, options->channel, &call, error);
    }
    if (err == 0) {
        p.launch.parent = c->owner;
        c->started = sys_now();
        err = launch(&p.launch, &pid, &pidfd, &failure);
        if (err < 0) {
            (void)plan_explain(&p, options, &failure, error);
        }
    }
    plan_close_child_ends(&p);
    drop_channel(&call.channel); /* here it was never used */
    if (err < 0) {
        drop_channel(&c->channel);
    } else {
        adopt(c, &p, options, pid, pidfd);
    }
    plan_free(&p);
    return err;
}

int child_start(proc_child **child, const plan_program *program, const proc_options *options)
{
    proc_error unused;
    proc_error *error = options->error != NULL ? options->error : &unused;
    proc_child *c = malloc(sizeof *c);
    if (c == NULL) {
        return plan_refuse(error, -ENOMEM, PROC_STEP_LAUNCH, "");
    }
    *c = (proc_child){
        .owner = sys_own_pid(),
        .lock = PTHREAD_MUTEX_INITIALIZER,
        .reaped_now = PTHREAD_COND_INITIALIZER,
    };
    int err = start(c, program, options, error);
    if (err < 0) {
        free(c);
        return err;
    }
    memset(error, 0, sizeof *error);
    *child = c;
    return 0;
}

int child_spawn(proc_child **child, const plan_program *program, const proc_options *options)
{
    static const proc_options defaults;
    options = options != NULL ? options : &defaults;
    if (child == NULL) {
        return options->error != NULL ? plan_refuse(options->error, -EINVAL, PROC_STEP_OPTIONS, "child") : -EINVAL;
    }
    *child = NULL;
    int cancel = sys_hold_cancel();
    int err = child_start(child, program, options);
    sys_release_cancel(cancel);
    return err;
}

int proc_spawn(proc_child **child, const char *const argv[], const proc_options *options)
{
    const plan_program program = {.argv = argv};
    return child_spawn(child, &program, options);
}
