/* Starts and captures by GLib. */
#include "bench.h"

#include <gio/gio.h>

static void set_up(void)
{
    memset(bench_payload, 'x', bench_args_now.size);
}

static void check(gboolean good, GError *error)
{
    if (!good) {
        bench_die(error != NULL ? error->message : "GLib", EIO);
    }
}

static GSubprocess *start(char *const argv[], GSubprocessFlags flags)
{
    GError *error = NULL;
    GSubprocess *child = g_subprocess_newv((const char *const *)argv, flags, &error);

    check(child != NULL, error);
    return child;
}

static void spawn(int count)
{
    while (count-- > 0) {
        GSubprocess *child = start(bench_tiny, G_SUBPROCESS_FLAGS_NONE);
        GError *error = NULL;
        check(g_subprocess_wait_check(child, NULL, &error), error);
        g_object_unref(child);
    }
}

static const GSubprocessFlags piped = G_SUBPROCESS_FLAGS_STDOUT_PIPE | G_SUBPROCESS_FLAGS_STDERR_PIPE;

static void take(GSubprocess *child, GBytes *out, GBytes *err, size_t wanted)
{
    if (!g_subprocess_get_successful(child) || g_bytes_get_size(out) != wanted) {
        bench_die("the output", EIO);
    }
    g_bytes_unref(out);
    g_bytes_unref(err);
    g_object_unref(child);
}

static void run_one(char *const argv[], GBytes *input, size_t wanted)
{
    GSubprocess *child = start(argv, piped | (input != NULL ? G_SUBPROCESS_FLAGS_STDIN_PIPE : 0));
    GBytes *out = NULL, *err = NULL;
    GError *error = NULL;

    check(g_subprocess_communicate(child, input, NULL, &out, &err, &error), error);
    take(child, out, err, wanted);
}

static void captured(int count)
{
    while (count-- > 0) {
        run_one(bench_tiny, NULL, 0);
    }
}

static void capture(int count)
{
    while (count-- > 0) {
        run_one(bench_writer, NULL, bench_args_now.size);
    }
}

static void feed(int count)
{
    static char *cat[] = {"/bin/cat", NULL};

    while (count-- > 0) {
        GBytes *input = g_bytes_new_static(bench_payload, bench_args_now.size);
        run_one(cat, input, bench_args_now.size);
        g_bytes_unref(input);
    }
}

/* ---- many at once */

static int left, running;

static void start_more(void);

static void on_end(GObject *object, GAsyncResult *result, gpointer data)
{
    GBytes *out = NULL, *err = NULL;
    GError *error = NULL;

    (void)data;
    check(g_subprocess_communicate_finish(G_SUBPROCESS(object), result, &out, &err, &error), error);
    take(G_SUBPROCESS(object), out, err, 0);
    running--;
    start_more();
}

static void start_more(void)
{
    for (; left > 0 && running < bench_args_now.count; left--, running++) {
        g_subprocess_communicate_async(start(bench_tiny, piped), NULL, NULL, on_end, NULL);
    }
}

static void short_children(int count)
{
    left = count;
    start_more();
    while (running > 0) {
        g_main_context_iteration(NULL, TRUE);
    }
}

const bench_op bench_ops[] = {{.name = "spawn", .run = spawn},          {.name = "captured", .run = captured},
                              {.name = "capture", .run = capture},      {.name = "feed", .begin = set_up, .run = feed},
                              {.name = "short", .run = short_children}, {0}};
