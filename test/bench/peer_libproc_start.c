/* Starts and captures by libproc. */
#include "bench.h"

#include <proc.h>
#include <sys/resource.h>

static void set_up(void)
{
    memset(bench_payload, 'x', bench_args_now.size);
}

static void spawn_with(const proc_options *options)
{
    proc_child *child;
    proc_status status;

    bench_check("proc_spawn", proc_spawn(&child, proc_argv(bench_tiny), options));
    bench_check("proc_child_wait", proc_child_wait(child, PROC_FOREVER, &status));
    if (!proc_status_ok(&status)) {
        bench_die("the tiny program", ECHILD);
    }
    proc_child_free(child);
}

static void spawn(int count)
{
    while (count-- > 0) {
        spawn_with(NULL);
    }
}

static void spawn_all(int count)
{
    static const char *const changes[] = {"ONE=1", "TWO=2", "HOME", NULL};
    static const proc_limit limit = {.resource = RLIMIT_CORE, .soft = 0, .hard = 0};
    static const mode_t mask = 027;
    static const proc_options options = {
        .cwd = "/",
        .env_changes = changes,
        .in = {.kind = PROC_NULL},
        .out = {.kind = PROC_FILE, .path = "/dev/null"},
        .err = {.kind = PROC_MERGE},
        .limits = &limit,
        .limit_count = 1,
        .umask = &mask,
        .group = PROC_GROUP_SESSION,
    };

    while (count-- > 0) {
        spawn_with(&options);
    }
}

/* Ends the case unless it said so many bytes, and 0. */
static void take(int err, proc_result *result, size_t size)
{
    bench_check("libproc", err);
    if (!proc_status_ok(&result->status) || result->out_size != size) {
        bench_die("the result", EIO);
    }
    proc_result_clear(result);
}

static void captured(int count)
{
    proc_result result;

    while (count-- > 0) {
        take(proc_execfile(&result, proc_argv(bench_tiny), NULL), &result, 0);
    }
}

static void shell(int count)
{
    proc_result result;

    while (count-- > 0) {
        take(proc_exec(&result, bench_tiny[0], NULL), &result, 0);
    }
}

static void capture(int count)
{
    static const proc_options options = {.max_buffer = PROC_UNLIMITED};
    proc_result result;

    while (count-- > 0) {
        take(proc_execfile(&result, proc_argv(bench_writer), &options), &result, bench_args_now.size);
    }
}

static void feed(int count)
{
    const char *const cat[] = {"/bin/cat", NULL};
    const proc_options options = {
        .max_buffer = PROC_UNLIMITED, .input = bench_payload, .input_size = bench_args_now.size};
    proc_result result;

    while (count-- > 0) {
        take(proc_execfile(&result, cat, &options), &result, bench_args_now.size);
    }
}

const bench_op bench_ops[] = {{.name = "spawn", .run = spawn},
                              {.name = "spawn_all", .run = spawn_all},
                              {.name = "captured", .run = captured},
                              {.name = "shell", .run = shell},
                              {.name = "capture", .run = capture},
                              {.name = "feed", .begin = set_up, .run = feed},
                              {0}};
