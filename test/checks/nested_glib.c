/* The loop as a source of GLib's main loop: prepare tells its time, check and dispatch take a step. */
#include "nested.h"

#include <glib.h>

static GMainLoop *outer;
static GPollFD poll_fd;

static gboolean prepare(GSource *source, gint *timeout)
{
    (void)source;
    *timeout = proc_loop_timeout(nested.loop);
    return *timeout == 0;
}

static gboolean check(GSource *source)
{
    (void)source;
    return poll_fd.revents != 0 || proc_loop_timeout(nested.loop) == 0;
}

static gboolean dispatch(GSource *source, GSourceFunc callback, gpointer data)
{
    (void)source;
    (void)callback;
    (void)data;
    must("step", proc_loop_step(nested.loop, 0));
    if (nested_done()) {
        g_main_loop_quit(outer);
    }
    return G_SOURCE_CONTINUE;
}

static gboolean on_beat(gpointer data)
{
    (void)data;
    nested.beats++;
    return G_SOURCE_CONTINUE;
}

int main(void)
{
    GSourceFuncs functions = {.prepare = prepare, .check = check, .dispatch = dispatch};
    GSource *source = g_source_new(&functions, sizeof *source);

    nested_begin();
    outer = g_main_loop_new(NULL, FALSE);
    poll_fd = (GPollFD){.fd = proc_loop_fd(nested.loop), .events = G_IO_IN};
    g_source_add_poll(source, &poll_fd);
    g_source_attach(source, NULL);
    g_timeout_add(5, on_beat, NULL);
    g_main_loop_run(outer);
    g_source_destroy(source);
    g_source_unref(source);
    g_main_loop_unref(outer);
    return nested_end();
}
