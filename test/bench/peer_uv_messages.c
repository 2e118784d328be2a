/* Messages through pipes of libuv, each a 4-byte length and its bytes, which the program has to put together by itself. */
#include "bench.h"

#include <sys/socket.h>
#include <uv.h>

enum { LENGTH = sizeof(uint32_t), UNDER_WAY = 64 };

typedef struct message_write {
    uv_write_t request;
    uint32_t length;
    char head[LENGTH]; /* what the payload begins with: each write has its own mark */
} message_write;

static uv_loop_t loop;
static uv_pipe_t stream, passed;
static message_write writes[UNDER_WAY];
static int free_writes[UNDER_WAY], free_count;
static bench_bytes bytes;
static int left, answers;
static bool serving, passes;

/* ---- writing */

static void fill(void);

static void on_written(uv_write_t *request, int err)
{
    bench_check("uv_write", err);
    free_writes[free_count++] = (int)((message_write *)request - writes);
    fill();
}

static void put(const char *payload, uint32_t mark)
{
    message_write *w = &writes[free_writes[--free_count]];

    w->length = (uint32_t)bench_args_now.size;
    memcpy(w->head, &mark, LENGTH);
    const uv_buf_t pieces[] = {uv_buf_init((char *)&w->length, LENGTH), uv_buf_init(w->head, LENGTH),
                               uv_buf_init((char *)payload + LENGTH, w->length - LENGTH)};
    if (passes) {
        bench_check("uv_write2",
                    uv_write2(&w->request, (uv_stream_t *)&stream, pieces, 3, (uv_stream_t *)&passed, on_written));
    } else {
        bench_check("uv_write", uv_write(&w->request, (uv_stream_t *)&stream, pieces, 3, on_written));
    }
}

static void fill(void)
{
    while (left > 0 && free_count > 0) {
        put(bench_payload, (uint32_t)left--);
    }
}

/* ---- reading */

static void drop_passed(void)
{
    while (uv_pipe_pending_count(&stream) > 0) {
        uv_pipe_t *taken = malloc(sizeof *taken);
        if (taken == NULL) {
            bench_die("malloc", ENOMEM);
        }
        uv_pipe_init(&loop, taken, 0);
        bench_check("uv_accept", uv_accept((uv_stream_t *)&stream, (uv_stream_t *)taken));
        uv_close((uv_handle_t *)taken, (uv_close_cb)free);
    }
}

static void take(const char *message)
{
    uint32_t mark = bench_mark_of(message);

    if (!serving) {
        answers++;
        uv_stop(&loop);
    } else if (mark == BENCH_ECHO || mark == BENCH_LAST) {
        put(message, mark);
    }
}

static void give_room(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    (void)handle;
    *buffer = uv_buf_init(bench_room(&bytes, suggested), (unsigned)suggested);
}

static void on_read(uv_stream_t *from, ssize_t size, const uv_buf_t *buffer)
{
    size_t at = 0;

    (void)buffer;
    if (size < 0) {
        uv_close((uv_handle_t *)from, NULL);
        return;
    }
    if (passes || serving) {
        drop_passed();
    }
    bytes.size += (size_t)size;
    while (bytes.size - at >= LENGTH && bytes.size - at >= LENGTH + bench_mark_of(bytes.data + at)) {
        take(bytes.data + at + LENGTH);
        at += LENGTH + bench_mark_of(bytes.data + at);
    }
    memmove(bytes.data, bytes.data + at, bytes.size - at);
    bytes.size -= at;
}

/* ---- both ends */

static void open_end(int fd)
{
    bench_check("uv_loop_init", uv_loop_init(&loop));
    bench_check("uv_pipe_init", uv_pipe_init(&loop, &stream, passes));
    bench_check("uv_pipe_open", uv_pipe_open(&stream, fd));
    for (free_count = 0; free_count < UNDER_WAY; free_count++) {
        free_writes[free_count] = free_count;
    }
    bench_check("uv_read_start", uv_read_start((uv_stream_t *)&stream, give_room, on_read));
}

/* An echo is still being written when the next message takes its place: only with one message at a time. */
static void serve(int fd)
{
    serving = true;
    open_end(fd);
    passes = false;
    uv_run(&loop, UV_RUN_DEFAULT);
}

static void set_up(void)
{
    int ends[2];

    bench_must("socketpair", socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
    bench_other_end(serve, ends[1], ends[0]);
    close(ends[1]);
    open_end(ends[0]);
}

static void set_up_descriptors(void)
{
    int ends[2];

    passes = true;
    set_up();
    bench_must("socketpair", socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
    bench_check("uv_pipe_init", uv_pipe_init(&loop, &passed, 0));
    bench_check("uv_pipe_open", uv_pipe_open(&passed, ends[0]));
}

static void await_answer(void)
{
    for (answers = 0; answers == 0;) {
        uv_run(&loop, UV_RUN_DEFAULT);
    }
}

static void trip(int count)
{
    while (count-- > 0) {
        put(bench_payload, BENCH_ECHO);
        await_answer();
    }
}

static void send_all(int count)
{
    left = count;
    fill();
    await_answer();
}

const bench_op bench_ops[] = {{.name = "trip", .begin = set_up, .run = trip},
                              {.name = "send", .begin = set_up, .run = send_all},
                              {.name = "descriptor", .begin = set_up_descriptors, .run = send_all},
                              {0}};
