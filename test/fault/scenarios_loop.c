/*
 * The loop: children, channels, commands, timers, descriptors and signals in it. What is added must come to its end, once
 * and in order, whatever fails meanwhile.
 */
#include "exchange.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- what handlers have seen ---- */

static struct {
    char output[64];
    size_t output_size;
    int ends_of_output, drains, exits, closes, messages, replies, disconnects, results, rings, repeats, readable,
        signals;
    int reason, run_errors[2];
    bool out_of_order;
    proc_status status;
    int64_t request;
    proc_loop *loop;
    proc_child *child;
    int repeating;
} seen;

static void take_output(proc_child *child, int stream, const void *data, size_t size, void *ctx)
{
    (void)child;
    (void)stream;
    (void)ctx;
    seen.out_of_order |= seen.closes > 0;
    seen.ends_of_output += size == 0;
    if (seen.output_size + size <= sizeof seen.output) {
        memcpy(seen.output + seen.output_size, data, size);
        seen.output_size += size;
    }
}

static void take_drain(proc_child *child, void *ctx)
{
    (void)child;
    (void)ctx;
    seen.drains++;
}

static void take_exit(proc_child *child, const proc_status *status, void *ctx)
{
    (void)child;
    (void)ctx;
    seen.out_of_order |= seen.closes > 0;
    seen.exits++;
    seen.status = *status;
}

static void take_close(proc_child *child, const proc_status *status, void *ctx)
{
    (void)child;
    (void)status;
    (void)ctx;
    seen.out_of_order |= seen.exits != 1;
    seen.closes++;
}

/* Messages go back; of requests the answer is what they asked. */
static void take_message(proc_channel *channel, proc_message *message, void *ctx)
{
    (void)ctx;
    if ((message->flags & PROC_REPLY) != 0) {
        seen.replies++;
        int err = proc_channel_shutdown(channel);
        if (failed(err, CHANNEL_CALL, "shutdown") && is_alive(err)) {
            (void)proc_channel_shutdown(channel);
        }
    } else if ((message->flags & PROC_REQUEST) != 0) {
        const proc_message reply = {.data = message->data, .size = message->size};
        int err = proc_channel_reply(channel, message, &reply, 0);
        if (failed(err, CHANNEL_CALL, "reply") && is_alive(err)) {
            (void)proc_channel_reply(channel, message, &reply, 0);
        }
    } else {
        seen.messages++;
    }
}

/* An end that fails by itself has to see to it that the other one hears of it. */
static void take_disconnect(proc_channel *channel, int reason, void *ctx)
{
    (void)ctx;
    if (reason != 0 && seen.child != NULL) {
        (void)proc_child_kill(seen.child, SIGKILL);
    }
    int err = proc_channel_shutdown(channel);
    if (failed(err, CHANNEL_CALL, "shutdown") && is_alive(err)) {
        (void)proc_channel_shutdown(channel);
    }
    seen.out_of_order |= seen.closes > 0;
    seen.disconnects++;
    seen.reason = reason;
}

static const proc_handlers handlers = {
    .on_output = take_output,
    .on_drain = take_drain,
    .on_message = take_message,
    .on_disconnect = take_disconnect,
    .on_exit = take_exit,
    .on_close = take_close,
};

/* ---- a loop, and its run ---- */

static proc_loop *new_loop(void)
{
    proc_loop *loop = (proc_loop *)(uintptr_t)1;
    memset(&seen, 0, sizeof seen);
    int err = proc_loop_new(&loop);
    if (failed(err, LOOP_CALL, "loop_new")) {
        expect(loop == NULL, "a loop that was not made is NULL");
    }
    seen.loop = loop;
    return loop;
}

static bool run(proc_loop *loop)
{
    int err = proc_loop_run(loop, 10000);
    if (failed(err, LOOP_CALL, "run")) {
        err = proc_loop_run(loop, 10000);
    }
    return expect_result(err, 0, "run") && expect(!seen.out_of_order, "handlers are called in order");
}

static bool add_child(proc_loop *loop, proc_child *child)
{
    int err = proc_loop_add_child(loop, child, &handlers, NULL);
    if (failed(err, LOOP_CALL, "add_child")) {
        err = proc_loop_add_child(loop, child, &handlers, NULL);
    }
    return expect_result(err, 0, "add_child");
}

static bool add_channel(proc_loop *loop, proc_channel *channel)
{
    int err = proc_loop_add_channel(loop, channel, &handlers, NULL);
    if (failed(err, LOOP_CALL, "add_channel")) {
        err = proc_loop_add_channel(loop, channel, &handlers, NULL);
    }
    return expect_result(err, 0, "add_channel");
}

/* ---- a child ---- */

static bool write_in_loop(proc_loop *loop, proc_child *child, const char *text)
{
    int err = proc_loop_write(loop, child, text, strlen(text), true);
    if (failed(err, LOOP_CALL, "write")) {
        err = proc_loop_write(loop, child, text, strlen(text), true);
    }
    return expect_result(err, 0, "write");
}

static bool child_in_loop(void)
{
    proc_child *child = NULL;
    proc_error error;
    proc_loop *loop = new_loop();
    if (loop == NULL) {
        return false;
    }
    int err = proc_spawn(&child, CHILD_ARGV("copy"),
                         &(proc_options){.in = {PROC_PIPE, .fd = 0}, .out = {PROC_PIPE, .fd = 0}, .error = &error});
    bool complete = started(err, child, &error);
    if (complete) {
        complete = add_child(loop, child) && write_in_loop(loop, child, "hello") && run(loop) &&
                   expect(seen.exits == 1 && seen.closes == 1, "exit and close come once") &&
                   expect_exit(&seen.status, 0) && expect_text(seen.output, seen.output_size, "hello") &&
                   expect(seen.ends_of_output == 1, "the end of the output comes once") &&
                   expect(seen.drains == 1, "what was written goes out");
    }
    proc_child_free(child);
    proc_loop_free(loop);
    return complete;
}

/* Its time runs out, and what it is sent by then it ignores. */
static bool timeout_in_loop(void)
{
    proc_child *child = NULL;
    proc_error error;
    proc_loop *loop = new_loop();
    if (loop == NULL) {
        return false;
    }
    int err = proc_spawn(
        &child, CHILD_ARGV("mute"),
        &(proc_options){
            .timeout_ms = 5, .grace_ms = 3, .in = {PROC_PIPE, .fd = 0}, .error = &error, .out = {PROC_NULL, .fd = 0}});
    bool complete = started(err, child, &error);
    if (complete) {
        complete = add_child(loop, child);
        err = complete ? proc_loop_run(loop, atomic_load(&shim->refused) ? 100 : 4000) : 0;
        bool refused = atomic_load(&shim->refused);
        if (!refused && failed(err, LOOP_CALL, "run")) {
            err = proc_loop_run(loop, 4000);
        }
        complete =
            refused || (complete && expect_result(err, 0, "run") && expect(seen.closes == 1, "it comes to its end"));
    }
    proc_child_free(child);
    proc_loop_free(loop);
    return complete;
}

/* ---- channels ---- */

enum { GREETINGS = 12 };

/* More than a socket holds at once. */
static bool start_talk(proc_channel *channel)
{
    static char greeting[60000];
    const proc_message request = {.data = "question", .size = 8};
    memset(greeting, 'g', sizeof greeting - 1);
    for (int i = 0; i < GREETINGS; i++) {
        if (!send_text(channel, greeting, BY_POST)) {
            return false;
        }
    }
    seen.request = proc_channel_request(channel, &request, 300);
    if (failed((long)seen.request, CHANNEL_CALL, "request") && is_alive((int)seen.request)) {
        seen.request = proc_channel_request(channel, &request, 300);
    }
    return seen.request > 0;
}

static bool talked(int disconnects, int messages)
{
    expect(seen.disconnects == disconnects || may_be_cut(), "each end comes to its end, once");
    if (may_be_cut() || seen.reason != 0) {
        expect(seen.reason == 0 || seen.reason == -ENOMEM || seen.reason == -EPROTO, "a reason that is named");
        return false;
    }
    return expect(seen.replies == 1 && seen.messages == messages, "messages and reply arrive");
}

static bool channels_in_loop(void)
{
    proc_channel *ends[2] = {NULL, NULL};
    proc_loop *loop = new_loop();
    if (loop == NULL) {
        return false;
    }
    int err = proc_channel_pair(ends, NULL);
    bool complete = !failed(err, CHANNEL_CALL, "pair") && add_channel(loop, ends[0]) && add_channel(loop, ends[1]) &&
                    start_talk(ends[0]);
    /* where an end fails by itself the other one does not hear of it before it is freed */
    complete =
        complete && proc_loop_run(loop, seen.reason != 0 || may_be_cut() ? 100 : 2000) == 0 && talked(2, GREETINGS);
    if (!complete && atomic_load(&shim->hits) == 0) {
        complain("they talk, and come to an end: %d messages, %d replies, %d ends", seen.messages, seen.replies,
                 seen.disconnects);
    }
    proc_channel_free(ends[0]);
    proc_channel_free(ends[1]);
    proc_loop_free(loop);
    return complete;
}

static bool worker_in_loop(void)
{
    proc_child *child = NULL;
    proc_error error;
    proc_loop *loop = new_loop();
    if (loop == NULL) {
        return false;
    }
    int err = proc_fork(&child, (const char *const[]){own_path(), NULL}, &(proc_options){.error = &error});
    bool complete = started(err, child, &error);
    seen.child = child;
    if (complete) {
        complete = add_child(loop, child) && start_talk(proc_child_channel(child));
        err = complete ? proc_loop_run(loop, patience_ms()) : 0;
        if (failed(err, LOOP_CALL, "run") && !may_be_cut()) {
            err = proc_loop_run(loop, 10000);
        }
        complete = complete && (may_be_cut() || expect_result(err, 0, "run")) && talked(1, GREETINGS) &&
                   expect(seen.exits == 1 && seen.closes == 1, "exit and close come once") &&
                   expect_exit(&seen.status, 0);
    }
    proc_child_free(child);
    proc_loop_free(loop);
    return complete;
}

/* ---- commands ---- */

static void take_result(int err, proc_result *result, void *ctx)
{
    int which = ctx != NULL;
    seen.results++;
    seen.run_errors[which] = err;
    if (which == 0 && err == 0) {
        (void)expect_text(result->out, result->out_size, "out");
    }
}

static bool start_command(proc_loop *loop, const char *verb, const proc_options *options, void *ctx)
{
    int err = proc_loop_execfile(loop, CHILD_ARGV(verb), options, take_result, ctx);
    if (failed(err, START, "execfile")) {
        err = proc_loop_execfile(loop, CHILD_ARGV(verb), options, take_result, ctx);
    }
    return expect_result(err, 0, "execfile");
}

/* One that ends by itself, and one whose time runs out. */
static bool commands_in_loop(void)
{
    proc_loop *loop = new_loop();
    if (loop == NULL) {
        return false;
    }
    bool complete = start_command(loop, "say", &(proc_options){.input = "hello", .input_size = 5}, NULL) &&
                    start_command(loop, "mute", &(proc_options){.timeout_ms = 5, .grace_ms = 3}, loop);
    int err = complete ? proc_loop_run(loop, 4000) : 0;
    bool refused = atomic_load(&shim->refused);
    if (!refused && failed(err, LOOP_CALL, "run")) {
        err = proc_loop_run(loop, 4000);
    }
    if (complete && !refused) {
        complete = expect_result(err, 0, "run") && expect(seen.results == 2, "each has its result, once");
        bool early = seen.run_errors[0] != 0 || seen.run_errors[1] != -ETIMEDOUT;
        if (early) {
            (void)failed(seen.run_errors[0], START, "result of the first");
            expect(atomic_load(&shim->hits) > 0 && seen.run_errors[1] < 0, "the second runs into its time");
            complete = false;
        }
    }
    proc_loop_free(loop);
    return complete && !refused;
}

/* Freed while it runs: it is killed, and its handler told. */
static bool free_with_command(void)
{
    proc_loop *loop = new_loop();
    if (loop == NULL) {
        return false;
    }
    bool complete = start_command(loop, "stubborn", &(proc_options){.err = {PROC_NULL, .fd = 0}}, loop);
    proc_loop_free(loop);
    if (complete) {
        complete = expect(seen.results == 1, "it has its result") &&
                   expect(seen.run_errors[1] == -ECANCELED || atomic_load(&shim->hits) > 0, "it was cancelled");
    }
    return complete;
}

/* ---- timers, descriptors, signals ---- */

static void ring(void *ctx)
{
    (void)ctx;
    seen.rings++;
}

static void ring_again(void *ctx)
{
    (void)ctx;
    if (++seen.repeats == 3) {
        (void)expect_result(proc_loop_remove_timer(seen.loop, seen.repeating), 0, "remove_timer");
    }
}

static void take_readable(int fd, short revents, void *ctx)
{
    char byte;
    (void)ctx;
    if ((revents & POLLIN) != 0) {
        seen.readable++;
        (void)expect_result(read(fd, &byte, 1), 1, "read");
    }
    (void)expect_result(proc_loop_remove_fd(seen.loop, fd), 0, "remove_fd");
}

static void take_signal(int number, void *ctx)
{
    (void)ctx;
    seen.signals += number == SIGUSR1;
    (void)expect_result(proc_loop_remove_signal(seen.loop, number), 0, "remove_signal");
}

static bool add_timer(proc_loop *loop, int delay_ms, int repeat_ms, proc_timer_handler *handler, int *id)
{
    *id = proc_loop_add_timer(loop, delay_ms, repeat_ms, handler, NULL);
    if (failed(*id, LOOP_CALL, "add_timer")) {
        *id = proc_loop_add_timer(loop, delay_ms, repeat_ms, handler, NULL);
    }
    return expect(*id > 0, "a timer has an id");
}

static bool timers_in_loop(void)
{
    int id;
    proc_loop *loop = new_loop();
    if (loop == NULL) {
        return false;
    }
    bool complete = add_timer(loop, 1, 1, ring_again, &seen.repeating);
    for (int i = 0; i < 20 && complete; i++) { /* more than there is room for at first */
        complete = add_timer(loop, i % 3, 0, ring, &id);
    }
    complete = complete && run(loop) && expect(seen.rings == 20 && seen.repeats == 3, "all of them ring");
    proc_loop_free(loop);
    return complete;
}

static bool add_fd(proc_loop *loop, int fd)
{
    int err = proc_loop_add_fd(loop, fd, POLLIN, take_readable, NULL);
    if (failed(err, LOOP_CALL, "add_fd")) {
        err = proc_loop_add_fd(loop, fd, POLLIN, take_readable, NULL);
    }
    return expect_result(err, 0, "add_fd");
}

static bool add_signal(proc_loop *loop)
{
    int err = proc_loop_add_signal(loop, SIGUSR1, take_signal, NULL);
    if (failed(err, LOOP_CALL, "add_signal")) {
        err = proc_loop_add_signal(loop, SIGUSR1, take_signal, NULL);
    }
    return expect_result(err, 0, "add_signal");
}

static bool events_in_loop(void)
{
    int ends[2];
    proc_loop *loop = new_loop();
    if (loop == NULL || pipe(ends) < 0) {
        proc_loop_free(loop);
        return false;
    }
    bool complete = write(ends[1], "x", 1) == 1 && add_fd(loop, ends[0]) && add_signal(loop);
    complete = complete && raise(SIGUSR1) == 0 && run(loop);
    for (int i = 0; i < 100 && complete && seen.signals == 0; i++) {
        (void)proc_loop_step(loop, 10);
    }
    complete = complete && expect(seen.readable == 1 && seen.signals == 1, "descriptor and signal are told once");
    proc_loop_free(loop);
    (void)close(ends[0]);
    (void)close(ends[1]);
    return complete;
}

const scenario loop_scenarios[] = {
    {"child_in_loop", child_in_loop, NULL, NULL},
    {"timeout_in_loop", timeout_in_loop, NULL, NULL},
    {"channels_in_loop", channels_in_loop, NULL, NULL},
    {"worker_in_loop", worker_in_loop, NULL, NULL},
    {"commands_in_loop", commands_in_loop, NULL, NULL},
    {"free_with_command", free_with_command, NULL, NULL},
    {"timers_in_loop", timers_in_loop, NULL, NULL},
    {"events_in_loop", events_in_loop, NULL, NULL},
    {0},
};
