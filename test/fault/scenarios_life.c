/*
 * Children that are watched, waited for, stopped, and left to the last; and terminals.
 */
#include "scenario.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

#include "os/exitwatch.h"

static proc_child *start_waiting(const char *verb, const proc_options *options)
{
    proc_child *child = NULL;
    char ready[5] = "";
    size_t size = 0;
    proc_error error;
    proc_options with_pipes = *options;
    with_pipes.in.kind = with_pipes.out.kind = PROC_PIPE;
    with_pipes.error = &error;
    int err = proc_spawn(&child, CHILD_ARGV(verb), &with_pipes);
    if (!started(err, child, &error)) {
        return NULL;
    }
    while (size < sizeof ready) {
        ssize_t got = proc_child_read(child, 1, ready + size, sizeof ready - size, 10000);
        if (failed(got, CHILD_CALL, "read")) {
            continue;
        }
        if (got == 0) { /* its time may be short */
            expect(options->timeout_ms > 0, "it says that it is ready");
            break;
        }
        size += (size_t)got;
    }
    return child;
}

static bool was_killed(const proc_status *status)
{
    return expect((status->state == PROC_SIGNALED && (status->signal == SIGKILL || status->signal == SIGTERM)) ||
                      (status->state == PROC_LOST && atomic_load(&shim->stolen)),
                  "a signal ended it");
}

/* -EPERM: it may not be signalled, and is nobody's to wait for. */
static bool stop(void)
{
    proc_status status;
    proc_child *child = start_waiting("stubborn", &(proc_options){.group = PROC_GROUP_OWN});
    if (child == NULL) {
        return false;
    }
    int err = proc_child_stop(child, 3, &status);
    if (failed(err, CHILD_CALL, "stop")) {
        err = proc_child_stop(child, 3, &status);
    }
    bool complete =
        (err == -EPERM && atomic_load(&shim->refused)) || (expect_result(err, 0, "stop") && was_killed(&status));
    proc_child_free(child);
    return complete;
}

static bool stop_by_timeout(void)
{
    proc_status status;
    proc_child *child = start_waiting("stubborn", &(proc_options){.timeout_ms = 5, .grace_ms = 3});
    if (child == NULL) {
        return false;
    }
    int err = proc_child_wait(child, 2000, &status);
    bool refused = atomic_load(&shim->refused);
    if (!refused && failed(err, CHILD_CALL, "wait")) {
        err = proc_child_wait(child, 2000, &status);
    }
    bool complete = refused || (expect_result(err, 0, "wait") && was_killed(&status) &&
                                expect(status.timed_out || atomic_load(&shim->stolen), "timed_out"));
    proc_child_free(child);
    return complete;
}

static bool wait_in_vain(void)
{
    proc_status status;
    proc_child *child = start_waiting("wait", &(proc_options){.group = PROC_GROUP_OWN});
    if (child == NULL) {
        return false;
    }
    int err = proc_child_wait(child, 3, &status);
    if (err != -ETIMEDOUT) {
        (void)failed(err, CHILD_CALL, "wait");
    }
    expect(err < 0 && status.state == PROC_RUNNING, "a child that runs has not ended");
    err = proc_child_kill(child, SIGKILL);
    if (failed(err, CHILD_CALL, "kill")) {
        err = proc_child_kill(child, SIGKILL);
    }
    bool complete = expect_result(err, 0, "kill");
    err = proc_child_wait(child, 10000, &status);
    if (failed(err, CHILD_CALL, "wait")) {
        err = proc_child_wait(child, 10000, &status);
    }
    complete = expect_result(err, 0, "wait") && was_killed(&status) && complete;
    proc_child_free(child);
    return complete;
}

/* Nothing but a free, of one that runs. */
static bool free_at_once(void)
{
    proc_child *child = start_waiting("wait", &(proc_options){.group = PROC_GROUP_OWN});
    proc_child_free(child);
    return child != NULL;
}

static bool by_thread(bool (*scene)(void))
{
    exitwatch_force = EXITWATCH_THREAD;
    bool complete = scene();
    exitwatch_force = EXITWATCH_ANY;
    return complete;
}

static bool stop_by_thread(void)
{
    return by_thread(stop);
}

static bool free_by_thread(void)
{
    return by_thread(free_at_once);
}

static bool terminal(void)
{
    char text[64] = "";
    size_t size = 0;
    proc_child *child = NULL;
    proc_error error;
    const proc_stdio pty = {PROC_PTY, .fd = 0};
    int err =
        proc_spawn(&child, CHILD_ARGV("say"), &(proc_options){.in = pty, .out = pty, .err = pty, .error = &error});
    if (!started(err, child, &error)) {
        return false;
    }
    bool complete = read_all(child, 1, text, sizeof text, &size) && expect_text(text, size, "outerr");
    return finish(child, 3) && complete;
}

const scenario life_scenarios[] = {
    {"stop", stop, NULL, NULL},
    {"stop_by_timeout", stop_by_timeout, NULL, NULL},
    {"stop_by_thread", stop_by_thread, NULL, NULL},
    {"wait_in_vain", wait_in_vain, NULL, NULL},
    {"free_at_once", free_at_once, NULL, NULL},
    {"free_by_thread", free_by_thread, NULL, NULL},
    {"terminal", terminal, NULL, NULL},
    {0},
};
