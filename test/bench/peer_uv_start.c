/* Starts and captures by libuv. */
#include "bench.h"

#include <uv.h>

typedef struct run {
    uv_process_t process;
    uv_pipe_t in, out, err;
    bench_bytes bytes;
    uv_write_t write;
    bool bad;
} run;

static void set_up(void)
{
    memset(bench_payload, 'x', bench_args_now.size);
}

static void on_exit_of(uv_process_t *process, int64_t status, int signal)
{
    run *r = process->data;

    r->bad = status != 0 || signal != 0;
    uv_close((uv_handle_t *)process, NULL);
}

static void give_room(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    run *r = handle->data;

    *buffer = uv_buf_init(bench_room(&r->bytes, suggested), (unsigned)suggested);
}

static void on_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *buffer)
{
    run *r = stream->data;

    (void)buffer;
    if (size < 0) {
        uv_close((uv_handle_t *)stream, NULL);
    } else {
        r->bytes.size += (size_t)size;
    }
}

static void on_written(uv_write_t *request, int err)
{
    run *r = request->data;

    bench_check("uv_write", err);
    uv_close((uv_handle_t *)&r->in, NULL);
}

/* In a loop of its own, as each thread needs one. */
static void run_one(char **argv, bool piped, const char *input, size_t input_size, size_t wanted)
{
    uv_loop_t loop;
    run r = {.process.data = &r, .write.data = &r};
    uv_stdio_container_t stdio[3] = {
        {.flags = UV_CREATE_PIPE | UV_READABLE_PIPE, .data.stream = (uv_stream_t *)&r.in},
        {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&r.out},
        {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&r.err}};
    uv_process_options_t options = {
        .file = argv[0], .args = argv, .exit_cb = on_exit_of, .stdio = stdio, .stdio_count = 3};

    bench_check("uv_loop_init", uv_loop_init(&loop));
    for (int i = 0; i < 3; i++) {
        if (piped) {
            uv_pipe_t *pipe = i == 0 ? &r.in : i == 1 ? &r.out : &r.err;
            uv_pipe_init(&loop, pipe, 0);
            pipe->data = &r;
        } else {
            stdio[i] = (uv_stdio_container_t){.flags = UV_INHERIT_FD, .data.fd = i};
        }
    }
    bench_check("uv_spawn", uv_spawn(&loop, &r.process, &options));
    if (piped) {
        uv_buf_t buffer = uv_buf_init((char *)input, (unsigned)input_size);
        if (input_size == 0) {
            uv_close((uv_handle_t *)&r.in, NULL);
        } else {
            bench_check("uv_write", uv_write(&r.write, (uv_stream_t *)&r.in, &buffer, 1, on_written));
        }
        uv_read_start((uv_stream_t *)&r.out, give_room, on_read);
        uv_read_start((uv_stream_t *)&r.err, give_room, on_read);
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    bench_check("uv_loop_close", uv_loop_close(&loop));
    if (r.bad || r.bytes.size != wanted) {
        bench_die("the output", EIO);
    }
    free(r.bytes.data);
}

static void spawn(int count)
{
    while (count-- > 0) {
        run_one(bench_tiny, false, NULL, 0, 0);
    }
}

static void captured(int count)
{
    while (count-- > 0) {
        run_one(bench_tiny, true, NULL, 0, 0);
    }
}

static void capture(int count)
{
    while (count-- > 0) {
        run_one(bench_writer, true, NULL, 0, bench_args_now.size);
    }
}

static void feed(int count)
{
    static char *cat[] = {"/bin/cat", NULL};

    while (count-- > 0) {
        run_one(cat, true, bench_payload, bench_args_now.size, bench_args_now.size);
    }
}

const bench_op bench_ops[] = {{.name = "spawn", .run = spawn},
                              {.name = "captured", .run = captured},
                              {.name = "capture", .run = capture},
                              {.name = "feed", .begin = set_up, .run = feed},
                              {0}};
