/*
 * See events.h.
 */
#include "events.h"

void note(events *e, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    e->length += (size_t)vsnprintf(e->log + e->length, sizeof e->log - e->length, format, args);
    va_end(args);
    assert_true(e->length < sizeof e->log);
}

static void note_output(proc_child *child, int stream, const void *data, size_t size, void *ctx)
{
    (void)child;
    if (size == 0) {
        note(ctx, "end%d ", stream);
    } else {
        note(ctx, "out%d=%.*s ", stream, (int)size, (const char *)data);
    }
}

static void note_drain(proc_child *child, void *ctx)
{
    (void)child;
    note(ctx, "drain ");
}

static void note_message(proc_channel *channel, proc_message *message, void *ctx)
{
    (void)channel;
    note(ctx, "message=%u ", message->type);
}

static void note_room(proc_channel *channel, void *ctx)
{
    (void)channel;
    note(ctx, "room ");
}

static void note_disconnect(proc_channel *channel, int reason, void *ctx)
{
    (void)channel;
    note(ctx, "disconnect=%d ", reason);
}

static void note_exit(proc_child *child, const proc_status *status, void *ctx)
{
    char text[64];

    (void)child;
    proc_status_format(status, text, sizeof text);
    note(ctx, "[%s] ", text);
}

static void note_close(proc_child *child, const proc_status *status, void *ctx)
{
    (void)child;
    (void)status;
    note(ctx, "close ");
}

const proc_handlers noting = {
    .on_output = note_output,
    .on_drain = note_drain,
    .on_message = note_message,
    .on_room = note_room,
    .on_disconnect = note_disconnect,
    .on_exit = note_exit,
    .on_close = note_close,
};

proc_loop *make_loop(void)
{
    proc_loop *loop = NULL;

    assert_int_equal(proc_loop_new(&loop), 0);
    assert_non_null(loop);
    return loop;
}

proc_child *start_piped(const char *const argv[])
{
    return start_child(argv, OPTIONS(.in.kind = PROC_PIPE, .out.kind = PROC_PIPE, .err.kind = PROC_PIPE));
}

proc_child *add_noted(proc_loop *loop, events *e, const char *const argv[], const proc_options *options)
{
    proc_options piped = options != NULL ? *options : (proc_options){.in.kind = PROC_NULL};

    piped.out.kind = piped.out.kind == PROC_DEFAULT ? PROC_PIPE : piped.out.kind;
    piped.err.kind = piped.err.kind == PROC_DEFAULT ? PROC_PIPE : piped.err.kind;
    proc_child *child = start_child(argv, &piped);
    assert_int_equal(proc_loop_add_child(loop, child, &noting, e), 0);
    return child;
}

void run_loop(proc_loop *loop)
{
    assert_int_equal(proc_loop_run(loop, IN_TIME), 0);
}
