/*
 * Both ends of a channel in one thread.
 */
#include "scenario.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "exchange.h"

static bool open_pair(proc_channel *ends[2], const proc_channel_options *options)
{
    ends[0] = ends[1] = (proc_channel *)(uintptr_t)1;
    int err = proc_channel_pair(ends, options);
    if (failed(err, CHANNEL_CALL, "pair")) {
        return expect(ends[0] == NULL && ends[1] == NULL, "a pair that was not made is NULL");
    }
    return true;
}

static bool made(proc_channel *ends[2])
{
    return ends[0] != NULL;
}

static void free_pair(proc_channel *ends[2])
{
    proc_channel_free(ends[0]);
    proc_channel_free(ends[1]);
}

/* ---- messages ---- */

static bool exchange(proc_channel *ends[2])
{
    static char large[70000]; /* more than goes before the other end's limits are in */
    memset(large, 'l', sizeof large - 1);
    return send_text(ends[0], "one", BY_POST) && flush(ends[0]) && receive_text(ends[1], ends[0], "one") &&
           send_text(ends[1], "two", BY_SEND) && send_text(ends[1], "three", BY_SEND) &&
           receive_text(ends[0], ends[1], "two") && receive_text(ends[0], ends[1], "three") &&
           send_text(ends[0], large, BY_SEND) && receive_text(ends[1], ends[0], large) && shut_down(ends[0]) &&
           receive_end(ends[1], ends[0]);
}

static bool messages(void)
{
    proc_channel *ends[2];
    if (!open_pair(ends, NULL) || !made(ends)) {
        return false;
    }
    bool complete = exchange(ends);
    free_pair(ends);
    return complete;
}

/* More than a window: the receiver has to tell how far it came. */
static bool window(void)
{
    static char block[60000];
    proc_channel *ends[2];
    memset(block, 'b', sizeof block - 1);
    if (!open_pair(ends, NULL) || !made(ends)) {
        return false;
    }
    bool complete = true;
    for (int i = 0; i < 20 && complete; i++) {
        complete = send_text(ends[0], block, BY_SEND) && receive_text(ends[1], ends[0], block);
    }
    free_pair(ends);
    return complete;
}

/* Nothing is received: post says -EAGAIN in time. */
static bool high_water(void)
{
    proc_channel *ends[2];
    char block[3000];
    int posted = 0;
    memset(block, 'b', sizeof block);
    if (!open_pair(ends, &(proc_channel_options){.high_water = 4096}) || !made(ends)) {
        return false;
    }
    const proc_message message = {.data = block, .size = sizeof block};
    int err = 0;
    while (err == 0 && posted < 1000) {
        err = proc_channel_post(ends[0], &message);
        posted += err == 0;
    }
    bool complete = err == -EAGAIN;
    if (!complete) {
        (void)failed(err, CHANNEL_CALL, "post");
    }
    for (int i = 0; i < posted && complete; i++) {
        complete = receive(ends[1], ends[0], block, sizeof block);
    }
    free_pair(ends);
    return complete;
}

/* ---- descriptors ---- */

static bool send_fd(proc_channel *channel, int fd)
{
    const proc_message message = {.data = "fd", .size = 2, .fds = &fd, .fd_count = 1};
    int err = proc_channel_send(channel, &message, 300);
    if (failed(err, CHANNEL_CALL, "send") && is_alive(err) && err != -E2BIG) {
        err = proc_channel_send(channel, &message, 300);
    }
    return err == 0 && flush(channel);
}

static bool receive_fd(proc_channel *channel, proc_channel *sender)
{
    proc_message message;
    char text[8] = "";
    if (!receive_message(channel, sender, &message)) {
        return false;
    }
    if ((message.flags & PROC_FDS_LOST) != 0) {
        return expect(atomic_load(&shim->hits) > 0, "its descriptor comes with it") && false;
    }
    int fd = proc_message_take_fd(&message, 0);
    bool complete = expect(fd > 2, "a message brings its descriptor") &&
                    expect_result(read(fd, text, sizeof text), 6, "what is in the pipe");
    (void)close(fd);
    return complete;
}

static bool descriptors(void)
{
    int ends_of_pipe[2];
    proc_channel *ends[2];
    if (!open_pair(ends, &(proc_channel_options){.max_fds = 4}) || !made(ends)) {
        return false;
    }
    bool complete = pipe(ends_of_pipe) == 0 && write(ends_of_pipe[1], "inside", 6) == 6;
    complete = complete && send_fd(ends[0], ends_of_pipe[0]) && receive_fd(ends[1], ends[0]);
    /* nobody takes this one */
    complete = complete && send_fd(ends[0], ends_of_pipe[0]) && receive(ends[1], ends[0], "fd", 2);
    (void)close(ends_of_pipe[0]);
    (void)close(ends_of_pipe[1]);
    free_pair(ends);
    return complete;
}

/* ---- requests ---- */

static bool answer(proc_channel *channel, proc_channel *asker, const char *text)
{
    proc_message request;
    if (!receive_message(channel, asker, &request) || !expect((request.flags & PROC_REQUEST) != 0, "a request comes")) {
        return false;
    }
    const proc_message reply = {.data = text, .size = strlen(text)};
    int err = proc_channel_reply(channel, &request, &reply, 300);
    if (failed(err, CHANNEL_CALL, "reply") && is_alive(err)) {
        err = proc_channel_reply(channel, &request, &reply, 300);
    }
    return err == 0 && flush(channel);
}

static bool ask(proc_channel *channel, int64_t *id)
{
    const proc_message request = {.data = "question", .size = 8};
    *id = proc_channel_request(channel, &request, 300);
    if (failed((long)*id, CHANNEL_CALL, "request") && is_alive((int)*id)) {
        *id = proc_channel_request(channel, &request, 300);
    }
    return *id > 0 && flush(channel);
}

static bool cancel(proc_channel *channel, int64_t id)
{
    int err = proc_channel_cancel(channel, id);
    if (failed(err, CHANNEL_CALL, "cancel")) {
        err = proc_channel_cancel(channel, id);
    }
    return expect_result(err, 0, "cancel") && flush(channel);
}

/* The second request is cancelled, and its answer goes nowhere. */
static bool talk(proc_channel *ends[2])
{
    int64_t first, second;
    proc_message none;
    if (!ask(ends[0], &first) || !answer(ends[1], ends[0], "answer") || !receive_text(ends[0], ends[1], "answer") ||
        !ask(ends[0], &second) || !cancel(ends[0], second) || !answer(ends[1], ends[0], "too late")) {
        return false;
    }
    int err = proc_channel_recv(ends[0], &none, 0);
    return err == -ETIMEDOUT || (failed(err, CHANNEL_CALL, "recv") && false);
}

static bool requests(void)
{
    proc_channel *ends[2];
    if (!open_pair(ends, NULL) || !made(ends)) {
        return false;
    }
    bool complete = talk(ends);
    free_pair(ends);
    return complete;
}

/* ---- over pipes ---- */

static void close_both(int ends[2])
{
    (void)close(ends[0]);
    (void)close(ends[1]);
}

static bool over_pipes(void)
{
    int there[2], back[2];
    proc_channel *ends[2] = {NULL, NULL};
    bool complete = pipe(there) == 0 && pipe(back) == 0;
    int err = proc_channel_open(&ends[0], back[0], there[1], NULL);
    if (failed(err, CHANNEL_CALL, "open")) { /* the descriptors are still ours */
        err = proc_channel_open(&ends[0], back[0], there[1], NULL);
    }
    complete = expect_result(err, 0, "open") && complete;
    err = proc_channel_open(&ends[1], there[0], back[1], NULL);
    if (failed(err, CHANNEL_CALL, "open")) {
        err = proc_channel_open(&ends[1], there[0], back[1], NULL);
    }
    complete = expect_result(err, 0, "open") && complete;
    if (ends[0] == NULL || ends[1] == NULL) {
        close_both(there);
        close_both(back);
        return false;
    }
    complete = exchange(ends) && complete;
    free_pair(ends);
    return complete;
}

const scenario channel_scenarios[] = {
    {"messages", messages, NULL, NULL},
    {"window", window, NULL, NULL},
    {"high_water", high_water, NULL, NULL},
    {"descriptors", descriptors, NULL, NULL},
    {"requests", requests, NULL, NULL},
    {"over_pipes", over_pipes, NULL, NULL},
    {0},
};
