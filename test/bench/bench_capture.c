/*
 * What it costs to run a program to its end and keep what it says: the set-up, against posix_spawn with three pipes; many
 * bytes, against a bare read loop; and the memory that it takes. bench_capture [ROUNDS]
 */
#include "bench.h"

#include <fcntl.h>
#include <poll.h>
#include <proc.h>
#include <spawn.h>
#include <sys/wait.h>

extern char **environ;

enum { MIB = 1 << 20, STREAM_MIB = 192 };

static char *tiny_argv[2];
static char self[4096], writers_processor[16];

static void await(pid_t pid)
{
    int status;

    if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        bench_die("waitpid", errno);
    }
}

/* ---- the child that says much: this program again, as "bench_capture PROCESSOR --write MIB" */

static int write_mib(int processor, int count)
{
    static char chunk[MIB];

    (void)bench_pin(processor);
    memset(chunk, 'x', sizeof chunk);
    for (size_t left = (size_t)count * MIB; left > 0;) {
        ssize_t written = write(1, chunk, left < sizeof chunk ? left : sizeof chunk);

        if (written < 0 && errno != EINTR) {
            return 1;
        }
        left -= written > 0 ? (size_t)written : 0;
    }
    return 0;
}

/* ---- setting up: a program that says nothing */

static void drain(int out, int err)
{
    struct pollfd polled[2] = {{.fd = out, .events = POLLIN}, {.fd = err, .events = POLLIN}};
    char bytes[4096];

    while (polled[0].fd >= 0 || polled[1].fd >= 0) {
        if (poll(polled, 2, -1) < 0) {
            bench_die("poll", errno);
        }
        for (int i = 0; i < 2; i++) {
            if (polled[i].revents != 0 && read(polled[i].fd, bytes, sizeof bytes) <= 0) {
                close(polled[i].fd);
                polled[i].fd = -1;
            }
        }
    }
}

static void by_hand(void)
{
    posix_spawn_file_actions_t actions;
    int pipes[3][2];
    pid_t pid;

    bench_check("posix_spawn_file_actions_init", posix_spawn_file_actions_init(&actions));
    for (int i = 0; i < 3; i++) {
        bench_check("pipe2", pipe2(pipes[i], O_CLOEXEC) < 0 ? errno : 0);
        bench_check("adddup2", posix_spawn_file_actions_adddup2(&actions, pipes[i][i == 0 ? 0 : 1], i));
    }
    bench_check("posix_spawn", posix_spawn(&pid, tiny_argv[0], &actions, NULL, tiny_argv, environ));
    posix_spawn_file_actions_destroy(&actions);
    close(pipes[0][0]);
    close(pipes[0][1]);
    close(pipes[1][1]);
    close(pipes[2][1]);
    drain(pipes[1][0], pipes[2][0]);
    await(pid);
}

static void capture_nothing(void)
{
    proc_result result;

    bench_check("proc_execfile", proc_execfile(&result, proc_argv(tiny_argv), NULL));
    proc_result_clear(&result);
}

/* ---- many bytes */

static const char *const *writer_argv(int count)
{
    static char number[16];
    static const char *argv[5];

    snprintf(number, sizeof number, "%d", count);
    argv[0] = self;
    argv[1] = writers_processor;
    argv[2] = "--write";
    argv[3] = number;
    return argv;
}

static pid_t start_writer(int *from)
{
    char *const *argv = (char *const *)writer_argv(STREAM_MIB);
    int ends[2];
    pid_t pid;

    bench_check("pipe2", pipe2(ends, O_CLOEXEC) < 0 ? errno : 0);
    (void)fcntl(ends[0], F_SETPIPE_SZ, MIB);
    pid = vfork();
    if (pid == 0) {
        dup2(ends[1], 1);
        execve(self, argv, environ);
        _exit(127);
    }
    close(ends[1]);
    *from = ends[0];
    return pid;
}

/* Reads on and on into the same place, or one after the other. */
static void read_loop(char *memory, size_t room, bool keep)
{
    size_t total = 0;
    ssize_t size;
    int from;
    pid_t pid = start_writer(&from);

    while ((size = read(from, memory + (keep ? total : 0), keep ? room - total : room)) > 0) {
        total += (size_t)size;
    }
    close(from);
    await(pid);
    if (total != (size_t)STREAM_MIB * MIB) {
        bench_die("the bare loop", EIO);
    }
}

static void read_and_drop(void)
{
    static char memory[65536];

    read_loop(memory, sizeof memory, false);
}

static void read_and_keep(void)
{
    size_t room = (size_t)STREAM_MIB * MIB + 1;
    char *memory = malloc(room);

    if (memory == NULL) {
        bench_die("malloc", ENOMEM);
    }
    read_loop(memory, room, true);
    free(memory);
}

static void capture_stream(void)
{
    static const proc_options options = {.max_buffer = PROC_UNLIMITED};
    proc_result result;

    bench_check("proc_execfile", proc_execfile(&result, writer_argv(STREAM_MIB), &options));
    if (result.out_size != (size_t)STREAM_MIB * MIB) {
        bench_die("proc_execfile", EIO);
    }
    proc_result_clear(&result);
}

/* ---- memory: each capture in a process of its own, whose peak the kernel knows */

static double peak_mib(void)
{
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    double kib = 0;

    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        (void)sscanf(line, "VmHWM: %lf", &kib);
    }
    if (file != NULL) {
        fclose(file);
    }
    return kib / 1024;
}

static double growth_in_here(int count, const proc_options *options)
{
    double before = peak_mib(), after;
    proc_result result;
    int err = proc_execfile(&result, writer_argv(count), options);

    after = peak_mib();
    proc_result_clear(&result);
    return err == 0 || err == -ENOBUFS ? after - before : -1;
}

/* MiB that the peak grew by while a capture was under way and its result was there. */
static double growth(int count, const proc_options *options)
{
    double grown = -1;
    int ends[2];
    pid_t pid;

    bench_check("pipe2", pipe2(ends, O_CLOEXEC) < 0 ? errno : 0);
    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        grown = growth_in_here(count, options);
        _exit(write(ends[1], &grown, sizeof grown) != sizeof grown);
    }
    close(ends[1]);
    if (read(ends[0], &grown, sizeof grown) != sizeof grown) {
        grown = -1;
    }
    close(ends[0]);
    await(pid);
    return grown;
}

static void measure_memory(void)
{
    static const int sizes[] = {48, 64, 65, 192};
    static const struct {
        const char *name;
        proc_overflow overflow;
    } modes[] = {{"kill", PROC_OVERFLOW_KILL}, {"head", PROC_OVERFLOW_HEAD}, {"tail", PROC_OVERFLOW_TAIL}};
    char name[64];

    printf("\n%-52s %9s %27s %6s\n", "Memory of a capture", "MiB", "ratio", "limit");
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        double grown = growth(sizes[i], &(proc_options){.max_buffer = PROC_UNLIMITED});

        snprintf(name, sizeof name, "%d MiB, without a limit", sizes[i]);
        printf("  %-50s %9.1f %27.2f %6.2f %s\n", name, grown, grown / sizes[i], 2.0,
               bench_verdict(grown < 0 ? 1e9 : grown / sizes[i], 2.0));
    }
    printf("%-52s %9s %27s %6s\n", "", "", "past it", "limit");
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        double grown = growth(128, &(proc_options){.max_buffer = (size_t)16 * MIB, .overflow = modes[i].overflow});

        snprintf(name, sizeof name, "128 MiB, max_buffer 16 MiB, %s", modes[i].name);
        printf("  %-50s %9.1f %27.2f %6.2f %s\n", name, grown, grown - 16, 1.0,
               bench_verdict(grown < 0 ? 1e9 : grown - 16, 1.0));
    }
}

int main(int argc, char *argv[])
{
    bench_case set_up[] = {
        {.name = "posix_spawn, three pipes, poll to the end, waitpid", .run = by_hand},
        {.name = "proc_execfile, both outputs captured", .run = capture_nothing, .limit = 1.0},
    };
    bench_case stream[] = {
        {.name = "read loop over a 1 MiB pipe, kept in malloc memory", .run = read_and_keep},
        {.name = "the same, but dropped", .run = read_and_drop},
        {.name = "proc_execfile, all captured", .run = capture_stream, .limit = 1.1},
        {.name = "... against the loop that drops", .run = capture_stream, .floor = 1},
    };
    int rounds = argc > 1 ? atoi(argv[1]) : 1500;

    if (argc > 3 && strcmp(argv[2], "--write") == 0) {
        return write_mib(atoi(argv[1]), atoi(argv[3]));
    }
    if (readlink("/proc/self/exe", self, sizeof self - 1) < 0) {
        bench_die("/proc/self/exe", errno);
    }
    tiny_argv[0] = bench_tiny();
    snprintf(writers_processor, sizeof writers_processor, "%d", bench_processor(false));
    printf("Capture, on processor %d, %d rounds, %s\n", bench_pin(bench_processor(true)), rounds, tiny_argv[0]);
    bench_run("A program that says nothing", "us", 1e3, set_up, 2, rounds);
    bench_run("A program that says 192 MiB", "ms", 1e6, stream, 4, rounds / 100 < 5 ? 5 : rounds / 100);
    measure_memory();
    return 0;
}
