/* What is measured: the rows of each table. The aims are those of the project, as ratios to the floor above them. */
#include "bench.h"

#include <sys/mman.h>

/* ---- start and wait */

static const size_t MOST_HELD = (size_t)4096 * MIB;
static char *memory;
static size_t held;

/* Pages of 4 KiB: with huge ones a fork has less to copy. */
static bool hold(size_t wanted)
{
    /* Node, which is started afresh, needs as much again. */
    if ((double)sysconf(_SC_AVPHYS_PAGES) * (double)sysconf(_SC_PAGESIZE) < 1.2 * (double)(2 * wanted - held)) {
        return false;
    }
    if (memory == NULL) {
        memory = mmap(NULL, MOST_HELD, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) {
            memory = NULL;
            return false;
        }
        (void)madvise(memory, MOST_HELD, MADV_NOHUGEPAGE);
    }
    for (; held < wanted; held += 4096) {
        memory[held] = 1;
    }
    return true;
}

static void add_starts(bench_table *table)
{
    bench_add_floor(table, "vfork, execve: the floor", "floor_start", "vfork")->line = "vfork, execve";
    bench_add(table, "the same, signals and descriptors reset", "floor_start", "vfork_reset", 0);
    bench_add(table, "posix_spawn", "floor_start", "posix_spawn", 0)->line = "posix_spawn";
    bench_add(table, "fork, execve", "floor_start", "fork", 0)->line = "fork, execve";
    bench_add(table, "libproc: proc_spawn", "libproc_start", "spawn", 1.15)->line = "libproc";
    bench_add(table, "libproc: with directory, environment, ... *", "libproc_start", "spawn_all", 1.4);
    bench_add(table, "libuv: uv_spawn", "uv_start", "spawn", 0)->line = "libuv";
    bench_add(table, "GLib: g_subprocess", "glib", "spawn", 0)->line = "GLib";
    bench_add(table, "APR: apr_proc_create", "apr", "spawn", 0)->line = "APR";
    bench_add(table, "Node: spawnSync, stdio ignored", "node", "spawn", 0)->line = "Node";
    for (int i = 0; i < table->count; i++) {
        table->cases[i].group = "start, wait for the end";
    }
}

static void add_captures_of_nothing(bench_table *table)
{
    int first = table->count;

    bench_add_floor(table, "posix_spawn, three pipes, poll: the floor", "floor_start", "captured");
    bench_add(table, "libproc: proc_execfile", "libproc_start", "captured", 0.9);
    bench_add(table, "libuv: uv_spawn, three pipes", "uv_start", "captured", 0);
    bench_add(table, "GLib: g_subprocess_communicate", "glib", "captured", 0);
    bench_add(table, "APR: apr_proc_create, three pipes", "apr", "captured", 0);
    bench_add(table, "Node: spawnSync", "node", "captured", 0);
    for (int i = first; i < table->count; i++) {
        table->cases[i].group = "the same, and keep what it says (which is nothing)";
    }
    first = table->count;
    bench_add_floor(table, "popen, read, pclose: the floor", "floor_start", "popen");
    bench_add(table, "libproc: proc_exec", "libproc_start", "shell", 0);
    bench_add(table, "Node: execSync", "node", "shell", 0);
    for (int i = first; i < table->count; i++) {
        table->cases[i].group = "through a shell";
    }
}

/* Node has no threads here, and holds what is held by itself: so it is there once only. */
static bool left_out(const bench_case *one)
{
    return strcmp(one->peer, "node") == 0 &&
           (one->args.threads > 1 || (one->args.held > 0 && strcmp(one->op, "spawn") != 0));
}

static void starts(int threads, const char *title, double seconds, bool all)
{
    bench_table *table = bench_table_new("spawn", title, "us", 1e3);

    add_starts(table);
    if (all) {
        add_captures_of_nothing(table);
    }
    table->seconds = seconds;
    int kept = 0;
    for (int i = 0; i < table->count; i++) {
        bench_case *one = &table->cases[i];
        one->args.held = held;
        one->args.threads = threads;
        one->x = held == 0 ? 10 : (double)held / MIB;
        one->line = threads > 1 ? NULL : one->line;
        one->by_cpu = true;
        if (left_out(one)) {
            continue;
        }
        if (one->floor == i) {
            one->floor = kept;
        } else {
            one->floor = table->cases[kept - 1].floor;
        }
        table->cases[kept++] = *one;
    }
    table->count = kept;
    if (threads > 1) {
        table->sample_ms = 20;
    }
    bench_table_run(table);
}

void topic_spawn(void)
{
    static const struct {
        size_t mib;
        const char *one, *eight;
    } steps[] = {{0, "Start and wait: 1 thread, nothing held", "Start and wait: 8 threads, nothing held"},
                 {64, "Start and wait: 1 thread, 64 MiB held", NULL},
                 {256, "Start and wait: 1 thread, 256 MiB held", NULL},
                 {1024, "Start and wait: 1 thread, 1 GiB held", "Start and wait: 8 threads, 1 GiB held"},
                 {4096, "Start and wait: 1 thread, 4 GiB held", "Start and wait: 8 threads, 4 GiB held"}};

    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        if (!hold(steps[i].mib * MIB)) {
            printf("\nThere is no memory to hold %zu MiB.\n", steps[i].mib);
            break;
        }
        starts(0, steps[i].one, steps[i].eight == NULL ? 3 : 7, steps[i].eight != NULL);
        if (steps[i].eight != NULL) {
            starts(8, steps[i].eight, 5, held == 0);
        }
    }
    munmap(memory, MOST_HELD);
    printf("\n  * directory, 2 variables set and 1 removed, new session, umask, a limit, three redirections\n"
           "  What the parent holds is in pages of 4 KiB. With 8 threads a time is that of all of them, for each "
           "start.\n");
}

/* ---- many bytes */

static void set_group(bench_table *table, int first, const char *group, size_t size, double x)
{
    for (int i = first; i < table->count; i++) {
        table->cases[i].group = group;
        table->cases[i].args.size = size;
        table->cases[i].x = x;
    }
}

static void add_captures(bench_table *table, size_t mib, const char *group, double aim)
{
    int first = table->count;

    bench_add_floor(table, "read loop, 1 MiB pipe, kept: the floor", "floor_capture", "keep")->line = "bare read loop";
    bench_add(table, "the same, but dropped", "floor_capture", "drop", 0);
    bench_add(table, "libproc: proc_execfile", "libproc_start", "capture", aim)->line = "libproc";
    bench_add(table, "popen, fread", "floor_capture", "popen", 0)->line = "popen, fread";
    bench_add(table, "libuv: uv_spawn, uv_read_start", "uv_start", "capture", 0)->line = "libuv";
    bench_add(table, "GLib: g_subprocess_communicate", "glib", "capture", 0)->line = "GLib";
    bench_add(table, "APR: apr_file_read", "apr", "capture", 0)->line = "APR";
    bench_add(table, "Node: spawnSync", "node", "capture", 0)->line = "Node";
    set_group(table, first, group, mib * MIB, (double)mib);
}

static void add_feeds(bench_table *table, size_t mib, const char *group)
{
    int first = table->count;

    bench_add_floor(table, "poll loop, 1 MiB pipes, kept: the floor", "floor_capture", "feed");
    bench_add(table, "libproc: proc_execfile with input", "libproc_start", "feed", 0);
    bench_add(table, "libuv: uv_write, uv_read_start", "uv_start", "feed", 0);
    bench_add(table, "GLib: g_subprocess_communicate", "glib", "feed", 0);
    bench_add(table, "Node: spawnSync with input", "node", "feed", 0);
    set_group(table, first, group, mib * MIB, (double)mib);
}

void topic_capture(void)
{
    bench_table *table = bench_table_new("capture", "Run a program, keep its output", "ms", 1e6);

    add_captures(table, 1, "1 MiB", 0);
    add_captures(table, 8, "8 MiB", 0);
    add_captures(table, 32, "32 MiB", 1.1);
    add_captures(table, 256, "256 MiB", 1.1);
    add_feeds(table, 256, "256 MiB through cat, and back");
    table->seconds = 35;
    bench_table_run(table);
}

/* ---- messages */

typedef struct message_size {
    size_t size;
    const char *group;
    double trip_aim, rate_aim;
} message_size;

static const message_size sizes[] = {{64, "64 bytes", 1.1, 20},
                                     {KIB, "1 KiB", 0, 2},
                                     {8 * (size_t)KIB, "8 KiB", 0, 0},
                                     {64 * (size_t)KIB, "64 KiB", 0, 1},
                                     {256 * (size_t)KIB, "256 KiB", 0, 0},
                                     {MIB, "1 MiB", 0, 0}};

static void add_trips(bench_table *table, double aim)
{
    bench_add_floor(table, "bare socket pair: the floor", "floor_messages", "trip")->line = "bare socket pair";
    bench_add(table, "libproc: proc_channel_call", "libproc_messages", "trip", aim)->line = "libproc";
    bench_add(table, "libuv: pipes, lengths by hand", "uv_messages", "trip", 0)->line = "libuv";
    bench_add(table, "nng: pair, ipc", "nng", "trip", 0)->line = "nng";
    bench_add(table, "ZeroMQ: pair, ipc", "zmq", "trip", 0)->line = "ZeroMQ";
    bench_add(table, "Node: fork, process.send, advanced", "node", "trip", 0)->line = "Node";
    bench_add(table, "imsg", "imsg", "trip", 0);
}

static void add_rates(bench_table *table, double aim)
{
    bench_add_floor(table, "bare socket pair, one writev each: the floor", "floor_messages", "send")->line =
        "bare socket pair";
    bench_add(table, "libproc: proc_channel_post", "libproc_messages", "post", aim)->line = "libproc, post";
    bench_add(table, "libproc: proc_channel_send", "libproc_messages", "send", 0)->line = "libproc, send";
    bench_add(table, "libuv: uv_write, 64 under way", "uv_messages", "send", 0)->line = "libuv";
    bench_add(table, "nng: nng_send", "nng", "send", 0)->line = "nng";
    bench_add(table, "ZeroMQ: zmq_send", "zmq", "send", 0)->line = "ZeroMQ";
    bench_add(table, "Node: process.send", "node", "send", 0)->line = "Node";
    bench_add(table, "imsg", "imsg", "send", 0);
}

static void add_descriptors(bench_table *table)
{
    bench_add_floor(table, "bare socket pair, SCM_RIGHTS: the floor", "floor_messages", "descriptor");
    bench_add(table, "libproc: proc_channel_post", "libproc_messages", "descriptor_post", 0);
    bench_add(table, "libproc: proc_channel_send", "libproc_messages", "descriptor_send", 0);
    bench_add(table, "libuv: uv_write2 of a pipe", "uv_messages", "descriptor", 0);
    bench_add(table, "Node: process.send of a server", "node", "descriptor", 0);
    bench_add(table, "imsg", "imsg", "descriptor", 0);
}

/* On one processor the processor time is the time; other programs do not count in it. */
static void settle(bench_table *table, bool two, double seconds)
{
    for (int i = 0; i < table->count; i++) {
        table->cases[i].args.two = two;
        table->cases[i].by_cpu = !two;
    }
    table->seconds = seconds;
    bench_table_run(table);
}

static void trips(bool two)
{
    bench_table *table = bench_table_new(two ? "trip2" : "trip1",
                                         two ? "Round trip, two processors" : "Round trip, one processor", "us", 1e3);

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        int first = table->count;
        add_trips(table, two ? 0 : sizes[i].trip_aim);
        set_group(table, first, sizes[i].group, sizes[i].size, (double)sizes[i].size);
    }
    settle(table, two, 9);
}

static void rates(bool two)
{
    bench_table *table = bench_table_new(two ? "rate2" : "rate1",
                                         two ? "One way, two processors" : "One way, one processor", "1000/s", 1e3);

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        int first = table->count;
        add_rates(table, sizes[i].rate_aim);
        set_group(table, first, sizes[i].group, sizes[i].size, (double)sizes[i].size);
    }
    int first = table->count;
    add_descriptors(table);
    set_group(table, first, "64 bytes and a descriptor each", 64, 64);
    /* So many that they follow one another, and do not wait for each other. */
    for (int i = 0; i < table->count; i++) {
        table->cases[i].least = table->cases[i].args.size <= 8 * (size_t)KIB ? 2000 : 40;
    }
    table->rate = true;
    table->sample_ms = 8;
    settle(table, two, 14);
}

void topic_messages(void)
{
    trips(false);
    trips(true);
    rates(false);
    rates(true);
}

/* ---- the loop */

/* Each row against the same library with ten children; all of these children are there at once. */
static void events(const char *title, const char *name, const char *peer, const char *line, double aim)
{
    static const int counts[] = {10, 100, 1000, 10000};
    static char names[4][64];
    bench_table *table = bench_table_new("events", title, "ns", 1);

    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        snprintf(names[i], sizeof names[i], "%s, %d children%s", name, counts[i], i == 0 ? ": the floor" : "");
        bench_case *one = i == 0 ? bench_add_floor(table, names[i], peer, "events")
                                 : bench_add(table, names[i], peer, "events", counts[i] == 10000 ? aim : 0);
        one->args.count = counts[i];
        one->line = line;
        one->x = counts[i];
    }
    table->seconds = 3;
    bench_table_run(table);
}

static void few_events(void)
{
    bench_table *table = bench_table_new("few", "An event, ten children watched", "ns", 1);

    bench_add_floor(table, "epoll_wait, read: the floor", "floor_loop", "events");
    bench_add(table, "libproc: proc_loop_run", "libproc_loop", "events", 0);
    bench_add(table, "libuv: uv_run", "uv_loop", "events", 0);
    table->seconds = 2;
    for (int i = 0; i < table->count; i++) {
        table->cases[i].args.count = 10;
    }
    bench_table_run(table);
}

static void short_children(int at_once, const char *title, double aim)
{
    bench_table *table = bench_table_new("short", title, "us", 1e3);

    bench_add_floor(table, "posix_spawn, three pipes, poll: the floor", "floor_loop", "short")->line =
        "bare posix_spawn";
    bench_case *one = bench_add(table, "libproc: proc_loop_execfile", "libproc_loop", "short", aim);
    one->by_cpu = true;
    one->line = "libproc";
    bench_add(table, "libuv: uv_spawn, three pipes", "uv_loop", "short", 0)->line = "libuv";
    bench_add(table, "GLib: g_subprocess_communicate_async", "glib", "short", 0)->line = "GLib";
    bench_add(table, "Node: execFile", "node", "short", 0)->line = "Node";
    table->seconds = 5;
    table->sample_ms = at_once == BENCH_AT_ONCE ? 400 : 100;
    for (int i = 0; i < table->count; i++) {
        table->cases[i].args.count = at_once;
        table->cases[i].x = at_once;
    }
    bench_table_run(table);
}

static void timers(void)
{
    static const int counts[] = {1000, 10000, 100000};
    static const char *const groups[] = {"1000 of them", "10 000 of them", "100 000 of them"};
    bench_table *table = bench_table_new("timers", "Timers added, and taken back: each", "ns", 1);

    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        int first = table->count;
        bench_add_floor(table, "qsort of as many times: n log n", "floor_loop", "timers")->line = "qsort: n log n";
        bench_add(table, "libproc: proc_loop_add_timer, ...", "libproc_loop", "timers", 0)->line = "libproc";
        bench_add(table, "libuv: uv_timer_start, uv_timer_stop", "uv_loop", "timers", 0)->line = "libuv";
        for (int j = first; j < table->count; j++) {
            bench_case *one = &table->cases[j];
            one->args.count = one->units = counts[i];
            one->x = counts[i];
            one->group = groups[i];
        }
    }
    table->seconds = 5;
    bench_table_run(table);
}

void topic_loop(void)
{
    few_events();
    events("An event, many children watched: libproc", "libproc", "libproc_loop", "libproc", 1.5);
    events("An event, many children watched: libuv", "libuv", "uv_loop", "libuv", 0);
    short_children(1, "A short child, captured, one at a time", 0);
    short_children(8, "A short child, captured, 8 at a time", 0);
    short_children(BENCH_AT_ONCE, "A short child, captured, 64 at a time", 1.2);
    timers();
}
