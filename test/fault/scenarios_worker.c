/*
 * Workers: a program or a function in a copy of this process, with a channel between the two. The program is this one,
 * where nobody has told the shim anything; in the copy calls fail as they do here.
 */
#include "exchange.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Sends messages back, and answers requests with what they said; until the other end has no more. */
static int serve(proc_channel *channel)
{
    for (;;) {
        proc_message message;
        int err = proc_channel_recv(channel, &message, 20000);
        if (err < 0) {
            return err == -EPIPE ? 0 : 1;
        }
        if ((message.flags & PROC_REQUEST) != 0) {
            const proc_message reply = {.type = message.type, .data = message.data, .size = message.size};
            err = proc_channel_reply(channel, &message, &reply, patience_ms());
        } else {
            err = proc_channel_send(channel, &message, patience_ms()); /* its descriptors and flags are none */
        }
        if (err == 0) {
            err = proc_channel_flush(channel, patience_ms());
        }
        if (err < 0) {
            return err == -EPIPE ? 0 : 1;
        }
    }
}

int worker_main(void)
{
    proc_channel *channel;
    if (proc_channel_parent(&channel, NULL) < 0) {
        return 2;
    }
    int code = serve(channel);
    proc_channel_free(channel);
    return code;
}

static int entry(proc_channel *channel, void *arg)
{
    (void)arg;
    return serve(channel);
}

static bool call(proc_channel *channel)
{
    const proc_message request = {.type = 7, .data = "question", .size = 8};
    proc_message reply;
    int err = proc_channel_call(channel, &request, &reply, patience_ms());
    if (failed(err, CHANNEL_CALL, "call")) {
        expect(reply.data == NULL && reply.size == 0, "a call that failed gives no reply");
        if (!is_alive(err) || err == -ENOMEM || may_be_cut()) {
            return false;
        }
        err = proc_channel_call(channel, &request, &reply, patience_ms());
        if (err == -EPIPE) { /* it was the other end that the fault has hit */
            return false;
        }
    }
    bool complete = expect_result(err, 0, "call") && expect(reply.type == 7 && reply.size == 8, "the reply is right");
    proc_message_clear(&reply);
    return complete;
}

/* A fault on the other side may end the worker at any time: that shows here as the end of the channel. */
static bool talk_and_end(proc_child *child)
{
    proc_channel *channel = proc_child_channel(child);
    bool complete = expect(channel != NULL, "a forked child has a channel") && send_text(channel, "hello", BY_SEND) &&
                    flush(channel) && receive_text(channel, NULL, "hello") && call(channel) && shut_down(channel) &&
                    receive_end(channel, NULL);
    proc_status status;
    if (!complete) {
        proc_child_free(child);
        return false;
    }
    int err = proc_child_wait(child, 10000, &status);
    if (failed(err, CHILD_CALL, "wait")) {
        err = proc_child_wait(child, 10000, &status);
    }
    bool hit = atomic_load(&shim->hits) > 0 && (shim->side == SIDE_CHILD || shim->mode == FAULT_RANDOM);
    complete = expect_result(err, 0, "wait") && (hit || expect_exit(&status, 0));
    proc_child_free(child);
    return complete;
}

static bool fork_with(const char *const argv[])
{
    proc_child *child = NULL;
    proc_error error;
    int err = proc_fork(&child, argv, &(proc_options){.error = &error});
    return started(err, child, &error) && talk_and_end(child);
}

static bool fork_program(void)
{
    return fork_with((const char *const[]){own_path(), NULL});
}

static bool fork_self(void)
{
    return fork_with(NULL);
}

static bool has_own_program(void)
{
    return !LAUNCHES_BY_FORK_ONLY;
}

static bool fork_function(void)
{
    proc_child *child = NULL;
    proc_error error;
    int err = proc_fork_call(&child, entry, NULL, &(proc_options){.error = &error});
    return started(err, child, &error) && talk_and_end(child);
}

/* Inherits what is open here, but for what is close-on-exec. */
static bool fork_function_with_all(void)
{
    proc_child *child = NULL;
    proc_error error;
    int err = proc_fork_call(&child, entry, NULL, &(proc_options){.inherit_fds = true, .error = &error});
    return started(err, child, &error) && talk_and_end(child);
}

/* The handle is freed while the worker waits for more: it gets the end, and then SIGKILL. */
static bool leave_worker(void)
{
    proc_child *child = NULL;
    proc_error error;
    int err = proc_fork_call(&child, entry, NULL, &(proc_options){.error = &error});
    if (!started(err, child, &error)) {
        return false;
    }
    bool complete = send_text(proc_child_channel(child), "hello", BY_POST);
    proc_child_free(child);
    return complete;
}

/* What proc_fork's program does first, here: claims the end that the environment names. */
static bool claim(void)
{
    char name[32];
    int ends[2];
    proc_channel *channel = (proc_channel *)(uintptr_t)1;
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0) {
        return complain("socketpair: %s", strerror(errno));
    }
    (void)snprintf(name, sizeof name, "%d:1", ends[0]);
    (void)setenv("PROC_CHANNEL", name, 1);
    int err = proc_channel_parent(&channel, NULL);
    if (failed(err, CHANNEL_CALL, "parent")) { /* not claimed: the next try may */
        expect(channel == NULL, "a channel that was not made is NULL");
        err = proc_channel_parent(&channel, NULL);
    }
    bool complete = expect_result(err, 0, "parent") && expect(getenv("PROC_CHANNEL") == NULL, "it can be claimed once");
    (void)unsetenv("PROC_CHANNEL");
    if (err < 0) {
        (void)close(ends[0]);
    }
    proc_channel_free(channel);
    (void)close(ends[1]);
    return complete;
}

/* ---- two threads ---- */

static void *serve_in_thread(void *arg)
{
    static int code;
    code = serve(arg);
    proc_channel_free(arg);
    return &code;
}

static bool call_thread(void)
{
    proc_channel *ends[2];
    pthread_t thread;
    int err = proc_channel_pair(ends, NULL);
    if (failed(err, CHANNEL_CALL, "pair")) {
        return false;
    }
    if (pthread_create(&thread, NULL, serve_in_thread, ends[1]) != 0) {
        complain("no thread");
    }
    bool complete = call(ends[0]) && call(ends[0]) && shut_down(ends[0]);
    void *code = NULL;
    proc_channel_free(ends[0]); /* that is the other end's end, whatever went wrong */
    (void)pthread_join(thread, &code);
    return complete && (atomic_load(&shim->hits) > 0 || expect(*(int *)code == 0, "the server ends well"));
}

const scenario worker_scenarios[] = {
    {"claim", claim, NULL, NULL},
    {"call_thread", call_thread, NULL, NULL},
    {"fork_program", fork_program, NULL, NULL},
    {"fork_self", fork_self, NULL, has_own_program},
    {"fork_function", fork_function, NULL, NULL},
    {"fork_function_with_all", fork_function_with_all, NULL, NULL},
    {"leave_worker", leave_worker, NULL, NULL},
    {0},
};
