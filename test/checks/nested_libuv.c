/* The loop in a loop of libuv: a poll handle for its descriptor, and before each wait a timer for its time. */
#include "nested.h"

#include <uv.h>

static uv_timer_t timer, beat;

static void step(void)
{
    int ran = proc_loop_step(nested.loop, 0);

    must("step", ran);
    if (nested_done()) {
        uv_stop(uv_default_loop());
    }
}

static void on_poll(uv_poll_t *handle, int status, int events)
{
    (void)handle;
    (void)status;
    (void)events;
    step();
}

static void on_timer(uv_timer_t *handle)
{
    (void)handle;
    step();
}

static void on_prepare(uv_prepare_t *handle)
{
    int timeout = proc_loop_timeout(nested.loop);

    (void)handle;
    uv_timer_stop(&timer);
    if (timeout >= 0) {
        uv_timer_start(&timer, on_timer, (uint64_t)timeout, 0);
    }
}

static void on_beat(uv_timer_t *handle)
{
    (void)handle;
    nested.beats++;
}

int main(void)
{
    uv_loop_t *loop = uv_default_loop();
    uv_poll_t poll;
    uv_prepare_t prepare;

    nested_begin();
    uv_poll_init(loop, &poll, proc_loop_fd(nested.loop));
    uv_poll_start(&poll, UV_READABLE, on_poll);
    uv_timer_init(loop, &timer);
    uv_timer_init(loop, &beat);
    uv_timer_start(&beat, on_beat, 5, 5);
    uv_prepare_init(loop, &prepare);
    uv_prepare_start(&prepare, on_prepare);
    uv_run(loop, UV_RUN_DEFAULT);
    uv_poll_stop(&poll);
    return nested_end();
}
