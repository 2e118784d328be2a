/* Starts and captures by the Apache Portable Runtime. */
#include "bench.h"

#include <apr_general.h>
#include <apr_thread_proc.h>

static void set_up(void)
{
    bench_check("apr_initialize", apr_initialize());
}

static void read_all(apr_file_t *file, bench_bytes *bytes)
{
    apr_size_t size = 65536;

    while (apr_file_read(file, bench_room(bytes, size), &size) == APR_SUCCESS) {
        bytes->size += size;
        size = 65536;
    }
    apr_file_close(file);
}

/* One stream after the other, as its blocking files go: right only where little is said on the second. */
static void run_one(char *const argv[], bool piped)
{
    apr_pool_t *pool;
    apr_procattr_t *attributes;
    apr_proc_t child;
    bench_bytes out = {0}, err = {0};
    int code;
    apr_exit_why_e why;

    bench_check("apr_pool_create", apr_pool_create_unmanaged_ex(&pool, NULL, NULL));
    bench_check("apr_procattr_create", apr_procattr_create(&attributes, pool));
    bench_check("apr_procattr_cmdtype_set", apr_procattr_cmdtype_set(attributes, APR_PROGRAM_ENV));
    if (piped) {
        bench_check("apr_procattr_io_set",
                    apr_procattr_io_set(attributes, APR_FULL_BLOCK, APR_FULL_BLOCK, APR_FULL_BLOCK));
    }
    bench_check("apr_proc_create", apr_proc_create(&child, argv[0], (const char *const *)argv, NULL, attributes, pool));
    if (piped) {
        apr_file_close(child.in);
        read_all(child.out, &out);
        read_all(child.err, &err);
        bench_came(&out);
        free(err.data);
    }
    if (apr_proc_wait(&child, &code, &why, APR_WAIT) != APR_CHILD_DONE || code != 0) {
        bench_die("apr_proc_wait", ECHILD);
    }
    apr_pool_destroy(pool);
}

static void spawn(int count)
{
    while (count-- > 0) {
        run_one(bench_tiny, false);
    }
}

static void captured(int count)
{
    while (count-- > 0) {
        run_one(bench_tiny, true);
    }
}

static void capture(int count)
{
    while (count-- > 0) {
        run_one(bench_writer, true);
    }
}

const bench_op bench_ops[] = {{.name = "spawn", .begin = set_up, .run = spawn},
                              {.name = "captured", .begin = set_up, .run = captured},
                              {.name = "capture", .begin = set_up, .run = capture},
                              {0}};
