/*
 * What the loop does while it is nested in another one: a child that is fed and read, a command, a timer, a worker with its
 * channel. The other loop has a timer of its own. done() says when all has come.
 */
#ifndef NESTED_H
#define NESTED_H

#include <proc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct {
    proc_loop *loop;
    proc_child *cat, *worker;
    char read[64];
    int closes, results, rings, messages, beats;
} nested;

static void must(const char *what, int err)
{
    if (err < 0) {
        fprintf(stderr, "%s: %s\n", what, proc_strerror(err));
        exit(1);
    }
}

static void on_output(proc_child *child, int stream, const void *data, size_t size, void *ctx)
{
    (void)child;
    (void)stream;
    (void)ctx;
    strncat(nested.read, data, size);
}

static void on_message(proc_channel *channel, proc_message *message, void *ctx)
{
    (void)ctx;
    nested.messages += message->type == 42;
    must("post", proc_channel_post(channel, &(proc_message){.type = 43}));
}

static void on_close(proc_child *child, const proc_status *status, void *ctx)
{
    (void)child;
    (void)ctx;
    nested.closes += status->code == 0;
}

static void on_result(int err, proc_result *result, void *ctx)
{
    (void)ctx;
    nested.results += err == 0 && strcmp(result->out, "command\n") == 0;
}

static void on_ring(void *ctx)
{
    (void)ctx;
    nested.rings++;
    must("write", proc_loop_write(nested.loop, nested.cat, "fed", 3, true));
}

/* Sends, and ends well when it has been answered. */
static int work(proc_channel *parent, void *arg)
{
    proc_message m;

    (void)arg;
    if (proc_channel_send(parent, &(proc_message){.type = 42}, 10000) < 0) {
        return 1;
    }
    return proc_channel_recv(parent, &m, 10000) == 0 && m.type == 43 ? 0 : 2;
}

static void nested_begin(void)
{
    static const proc_handlers handlers = {.on_output = on_output, .on_message = on_message, .on_close = on_close};
    const char *const cat[] = {"cat", NULL};
    proc_options piped = {.in.kind = PROC_PIPE, .out.kind = PROC_PIPE};

    must("loop", proc_loop_new(&nested.loop));
    must("fork", proc_fork_call(&nested.worker, work, NULL, NULL));
    must("spawn", proc_spawn(&nested.cat, cat, &piped));
    must("add", proc_loop_add_child(nested.loop, nested.cat, &handlers, NULL));
    must("add", proc_loop_add_child(nested.loop, nested.worker, &handlers, NULL));
    must("exec", proc_loop_exec(nested.loop, "sleep 0.1; echo command", NULL, on_result, NULL));
    must("timer", proc_loop_add_timer(nested.loop, 50, 0, on_ring, NULL));
}

static int nested_done(void)
{
    return nested.closes == 2 && nested.results == 1 && nested.rings == 1 && nested.messages == 1 &&
           nested.beats >= 3 && strcmp(nested.read, "fed") == 0;
}

static int nested_end(void)
{
    proc_child_free(nested.cat);
    proc_child_free(nested.worker);
    proc_loop_free(nested.loop);
    printf(nested_done() ? "all came\n" : "closes %d, results %d, rings %d, messages %d, beats %d, read '%s'\n",
           nested.closes, nested.results, nested.rings, nested.messages, nested.beats, nested.read);
    return !nested_done();
}

#endif
