/*
 * proc_spawn: options -> plan -> launch -> handle.
 */
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
    life_init(&c->life, c->started, timeout_ms, options->grace_ms == 0 ? 5000 : options->grace_ms);
    c->status.code = -1;
}

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
    p.launch.parent = c->owner;
    c->started = sys_now();
    err = launch(&p.launch, &pid, &pidfd, &failure);
    plan_close_child_ends(&p);
    if (err < 0) {
        (void)plan_explain(&p, options, &failure, error);
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
        .owner = getpid(),
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

int proc_spawn(proc_child **child, const char *const argv[], const proc_options *options)
{
    static const proc_options defaults;
    const plan_program program = {.argv = argv};
    options = options != NULL ? options : &defaults;
    if (child == NULL) {
        return options->error != NULL ? plan_refuse(options->error, -EINVAL, PROC_STEP_OPTIONS, "child") : -EINVAL;
    }
    *child = NULL;
    int cancel = sys_hold_cancel();
    int err = child_start(child, &program, options);
    sys_release_cancel(cancel);
    return err;
}
