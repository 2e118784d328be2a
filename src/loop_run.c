/*
 * exec and execFile that do not wait: the machine of communicate.c, driven by a loop.
 */
#include "loop.h"

#include "communicate.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum { TRY_AGAIN_MS = 20 }; /* where the system had no room for a descriptor to be watched */

typedef struct loop_run {
    loop_member member;
    child_observer observer;
    proc_child *child;
    communicate machine;
    loop_source sources[COMMUNICATE_WANTS];
    struct pollfd wants[COMMUNICATE_WANTS];
    void *input; /* our copy */
    proc_result_handler *handler;
    void *ctx;
} loop_run;

static void run_is_closing(child_observer *o, int fd)
{
    loop_run *r = (loop_run *)(void *)((char *)o - offsetof(loop_run, observer));
    for (int i = 0; i < COMMUNICATE_WANTS; i++) {
        if (r->sources[i].fd == fd) {
            loop_unwatch(&r->sources[i]);
        }
    }
}

static void run_is_leaving(child_observer *o)
{
    (void)o; /* it is we who free the child */
}

static void refresh_run(loop_run *r)
{
    int err = 0;
    int64_t due = communicate_want(&r->machine, r->wants);
    for (int i = 0; i < COMMUNICATE_WANTS && err == 0; i++) {
        err = loop_watch(&r->sources[i], r->wants[i].fd, r->wants[i].events);
    }
    if (err < 0) {
        int64_t again = sys_deadline(sys_now(), TRY_AGAIN_MS);
        due = again < due ? again : due;
    }
    loop_set_alarm(&r->member, due);
}

/* Tells the result, once; the child is gone by then, and with cancelled it is so at once. */
static void finish_run(loop_run *r, bool cancelled)
{
    proc_result result = {.status.code = -1};
    if (cancelled && child_kill_now(r->child) == -EPERM) {
        r->machine.err = -ECANCELED; /* it runs as another user now: it is not waited for */
    } else if (cancelled) {
        r->machine.reason = LIFE_CANCEL;
    }
    int err = communicate_finish(&r->machine, &result);
    child_destroy(r->child);
    r->child = NULL;
    free(r->input);
    r->input = NULL;
    r->member.loop->ran++;
    r->handler(err, &result, r->ctx);
    proc_result_clear(&result);
}

/* Removed before it has ended: the loop is being freed. In a copy of the process the child is none of ours. */
static void leave_run(loop_member *m)
{
    loop_run *r = (loop_run *)m;
    for (int i = 0; i < COMMUNICATE_WANTS; i++) {
        loop_unwatch(&r->sources[i]);
    }
    if (r->child != NULL && loop_is_ours(m->loop)) {
        finish_run(r, true);
    } else if (r->child != NULL) {
        r->child->observer = NULL;
        proc_child_free(r->child);
        capture_free(&r->machine.captures[0]);
        capture_free(&r->machine.captures[1]);
        free(r->input);
    }
}

/* All of it is looked at, whatever has rung: the loop may be late, and what has ended in time has not timed out. */
static void step_run(loop_run *r)
{
    int ready = sys_poll(r->wants, COMMUNICATE_WANTS, 0);
    if (ready < 0) {
        r->machine.err = ready;
    } else if (!communicate_step(&r->machine, r->wants, sys_now())) {
        refresh_run(r);
        return;
    }
    proc_child *child = r->child;
    r->child = NULL; /* so that leaving only takes the sources out */
    loop_leave(&r->member);
    r->child = child;
    finish_run(r, false);
}

static void run_ready(loop_source *s, short revents)
{
    (void)revents;
    step_run((loop_run *)s->member);
}

static void ring_run(loop_member *m)
{
    step_run((loop_run *)m);
}

static const loop_kind run_kind = {ring_run, ring_run, leave_run};

static int start_run(proc_loop *loop, loop_run *r, const plan_program *program, const proc_options *options)
{
    proc_options copy = *options;
    if (options->input_size > 0 && options->input != NULL) {
        r->input = malloc(options->input_size);
        if (r->input == NULL) {
            return options->error != NULL ? plan_refuse(options->error, -ENOMEM, PROC_STEP_OPTIONS, "input") : -ENOMEM;
        }
        memcpy(r->input, options->input, options->input_size);
        copy.input = r->input;
    }
    int err = child_start(&r->child, program, &copy);
    if (err < 0) {
        return err;
    }
    r->observer = (child_observer){run_is_closing, run_is_leaving, NULL};
    r->child->observer = &r->observer;
    for (int i = 0; i < COMMUNICATE_WANTS; i++) {
        r->sources[i] = (loop_source){.member = &r->member, .ready = run_ready, .fd = -1};
    }
    communicate_init(&r->machine, r->child, &copy);
    loop_join(loop, &r->member, &run_kind);
    refresh_run(r);
    return 0;
}

int loop_execute(proc_loop *loop, const plan_program *program, const proc_options *options,
                 proc_result_handler *handler, void *ctx)
{
    static const proc_options defaults;
    plan_program later = *program;
    options = options != NULL ? options : &defaults;
    if (loop_check(loop) < 0 || handler == NULL) {
        const char *subject = handler == NULL ? "handler" : "loop";
        return options->error != NULL ? plan_refuse(options->error, -EINVAL, PROC_STEP_OPTIONS, subject) : -EINVAL;
    }
    loop_run *r = loop_new_member(loop, sizeof *r);
    if (r == NULL) {
        return options->error != NULL ? plan_refuse(options->error, -ENOMEM, PROC_STEP_LAUNCH, "") : -ENOMEM;
    }
    later.later = true;
    r->handler = handler;
    r->ctx = ctx;
    int cancel = sys_hold_cancel();
    int err = start_run(loop, r, &later, options);
    if (err < 0) {
        free(r->input);
        free(r);
    }
    sys_release_cancel(cancel); /* NOLINT(clang-analyzer-unix.Malloc): the loop has r, by its member */
    return err;
}
