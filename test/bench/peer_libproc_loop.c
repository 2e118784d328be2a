/* The loop of libproc. */
#include "bench.h"

#include <proc.h>

static proc_loop *loop;
static int left, running;

static void set_up(void)
{
    bench_check("proc_loop_new", proc_loop_new(&loop));
}

/* ---- events of children */

static void on_output(proc_child *child, int stream, const void *data, size_t size, void *ctx)
{
    (void)child;
    (void)stream;
    (void)data;
    (void)ctx;
    if (size == 0) {
        bench_die("a child", ECHILD);
    }
    if (--left > 0) {
        bench_talk();
    } else {
        proc_loop_stop(loop);
    }
}

static void watch_children(void)
{
    static const proc_handlers handlers = {.on_output = on_output};
    const proc_options options = {.in = {.kind = PROC_FD, .fd = bench_lifeline()}, .out = {.kind = PROC_PIPE}};
    int wanted = bench_args_now.count, most = (int)((bench_descriptors(2 * (size_t)wanted + 100) - 100) / 2);
    pid_t *pids = calloc((size_t)wanted, sizeof *pids);
    int count = 0;
    char text[100];

    set_up();
    for (; pids != NULL && count < wanted && count < most; count++) {
        proc_child *child;
        int err = proc_spawn(&child, proc_argv(bench_idle), &options);
        if (err == -EAGAIN) {
            break;
        }
        bench_check("proc_spawn", err);
        bench_check("proc_loop_add_child", proc_loop_add_child(loop, child, &handlers, NULL));
        pids[count] = proc_child_pid(child);
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
    bench_check("proc_loop_run", proc_loop_run(loop, PROC_FOREVER));
}

/* ---- short children */

static void start_more(void);

static void end_one(int err, proc_result *result, void *ctx)
{
    (void)result;
    (void)ctx;
    bench_check("proc_loop_execfile", err);
    running--;
    start_more();
}

static void start_more(void)
{
    for (; left > 0 && running < bench_args_now.count; left--, running++) {
        bench_check("proc_loop_execfile", proc_loop_execfile(loop, proc_argv(bench_tiny), NULL, end_one, NULL));
    }
}

static void short_children(int count)
{
    left = count;
    start_more();
    bench_check("proc_loop_run", proc_loop_run(loop, PROC_FOREVER));
}

/* ---- timers */

static int *ids;

static void ring(void *ctx)
{
    (void)ctx;
}

static void set_up_timers(void)
{
    set_up();
    ids = calloc((size_t)bench_args_now.count, sizeof *ids);
    if (ids == NULL) {
        bench_die("calloc", ENOMEM);
    }
}

static void timers(int count)
{
    while (count-- > 0) {
        for (int i = 0; i < bench_args_now.count; i++) {
            ids[i] = proc_loop_add_timer(loop, 100000 + rand() % 100000, 0, ring, NULL);
        }
        for (int i = 0; i < bench_args_now.count; i++) {
            bench_check("proc_loop_remove_timer", proc_loop_remove_timer(loop, ids[i]));
        }
    }
}

const bench_op bench_ops[] = {{.name = "events", .begin = watch_children, .run = take_events},
                              {.name = "short", .begin = set_up, .run = short_children},
                              {.name = "timers", .begin = set_up_timers, .run = timers},
                              {0}};
