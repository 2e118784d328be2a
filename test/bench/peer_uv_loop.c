/* The loop of libuv. */
#include "bench.h"

#include <uv.h>

static uv_loop_t loop;
static int left, running;

static void set_up(void)
{
    bench_check("uv_loop_init", uv_loop_init(&loop));
}

static void give_room(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    static char bytes[65536];

    (void)handle;
    (void)suggested;
    *buffer = uv_buf_init(bytes, sizeof bytes);
}

/* ---- events of children */

typedef struct watched {
    uv_process_t process;
    uv_pipe_t out;
} watched;

static void on_output(uv_stream_t *stream, ssize_t size, const uv_buf_t *buffer)
{
    (void)stream;
    (void)buffer;
    if (size < 0) {
        bench_die("a child", ECHILD);
    }
    if (--left > 0) {
        bench_talk();
    } else {
        uv_stop(&loop);
    }
}

static int watch(watched *w, int lifeline)
{
    uv_stdio_container_t stdio[3] = {
        {.flags = UV_INHERIT_FD, .data.fd = lifeline},
        {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&w->out},
        {.flags = UV_INHERIT_FD, .data.fd = 2}};
    uv_process_options_t options = {.file = bench_idle[0], .args = bench_idle, .stdio = stdio, .stdio_count = 3};

    uv_pipe_init(&loop, &w->out, 0);
    int err = uv_spawn(&loop, &w->process, &options);
    return err < 0 ? err : uv_read_start((uv_stream_t *)&w->out, give_room, on_output);
}

static void watch_children(void)
{
    int wanted = bench_args_now.count, most = (int)bench_descriptors((size_t)wanted + 100) - 100, count = 0;
    int lifeline = bench_lifeline();
    watched *all = calloc((size_t)wanted, sizeof *all);
    pid_t *pids = calloc((size_t)wanted, sizeof *pids);
    char text[100];

    set_up();
    for (; all != NULL && pids != NULL && count < wanted && count < most; count++) {
        int err = watch(&all[count], lifeline);
        if (err == UV_EAGAIN) {
            break;
        }
        bench_check("uv_spawn", err);
        pids[count] = uv_process_get_pid(&all[count].process);
    }
    if (count < wanted) {
        snprintf(text, sizeof text, "no more than %d children are allowed here", count);
        bench_remark(text);
    }
    bench_talkers(pids, count);
    free(pids);
}

static void take_events(int count)
{
    left = count;
    bench_talk();
    uv_run(&loop, UV_RUN_DEFAULT);
}

/* ---- short children */

typedef struct captured {
    uv_process_t process;
    uv_pipe_t pipes[3];
    int open;
} captured;

static void start_more(void);

static void on_closed(uv_handle_t *handle)
{
    captured *c = handle->data;

    if (--c->open == 0) {
        free(c);
        running--;
        start_more();
    }
}

static void on_end(uv_process_t *process, int64_t status, int signal)
{
    (void)signal;
    if (status != 0) {
        bench_die("a child", ECHILD);
    }
    uv_close((uv_handle_t *)process, on_closed);
}

static void on_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *buffer)
{
    (void)buffer;
    if (size < 0) {
        uv_close((uv_handle_t *)stream, on_closed);
    }
}

static void start_one(void)
{
    uv_stdio_container_t stdio[3];
    uv_process_options_t options = {
        .file = bench_tiny[0], .args = bench_tiny, .exit_cb = on_end, .stdio = stdio, .stdio_count = 3};
    captured *c = calloc(1, sizeof *c);

    if (c == NULL) {
        bench_die("calloc", ENOMEM);
    }
    c->open = 4;
    c->process.data = c;
    for (int i = 0; i < 3; i++) {
        uv_pipe_init(&loop, &c->pipes[i], 0);
        c->pipes[i].data = c;
        stdio[i].flags = UV_CREATE_PIPE | (i == 0 ? UV_READABLE_PIPE : UV_WRITABLE_PIPE);
        stdio[i].data.stream = (uv_stream_t *)&c->pipes[i];
    }
    bench_check("uv_spawn", uv_spawn(&loop, &c->process, &options));
    uv_close((uv_handle_t *)&c->pipes[0], on_closed);
    for (int i = 1; i < 3; i++) {
        bench_check("uv_read_start", uv_read_start((uv_stream_t *)&c->pipes[i], give_room, on_read));
    }
}

static void start_more(void)
{
    for (; left > 0 && running < bench_args_now.count; left--, running++) {
        start_one();
    }
}

static void short_children(int count)
{
    left = count;
    start_more();
    uv_run(&loop, UV_RUN_DEFAULT);
}

/* ---- timers */

static uv_timer_t *all_timers;

static void ring(uv_timer_t *timer)
{
    (void)timer;
}

static void set_up_timers(void)
{
    set_up();
    all_timers = calloc((size_t)bench_args_now.count, sizeof *all_timers);
    if (all_timers == NULL) {
        bench_die("calloc", ENOMEM);
    }
    for (int i = 0; i < bench_args_now.count; i++) {
        uv_timer_init(&loop, &all_timers[i]);
    }
}

static void timers(int count)
{
    while (count-- > 0) {
        for (int i = 0; i < bench_args_now.count; i++) {
            uv_timer_start(&all_timers[i], ring, 100000 + (uint64_t)(rand() % 100000), 0);
        }
        for (int i = 0; i < bench_args_now.count; i++) {
            uv_timer_stop(&all_timers[i]);
        }
    }
}

const bench_op bench_ops[] = {{.name = "events", .begin = watch_children, .run = take_events},
                              {.name = "short", .begin = set_up, .run = short_children},
                              {.name = "timers", .begin = set_up_timers, .run = timers},
                              {0}};
