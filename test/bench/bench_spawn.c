/*
 * What it costs to start a tiny program and wait for its end, against vfork, execve and waitpid by hand, in a parent that
 * holds little memory and in one that holds much. bench_spawn [ROUNDS]
 */
#include "bench.h"

#include <proc.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

extern char **environ;

static char *tiny_argv[2];

static void await(pid_t pid)
{
    int status;

    if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        bench_die("waitpid", errno);
    }
}

static void raw(void)
{
    pid_t pid = vfork();

    if (pid == 0) {
        execve(tiny_argv[0], tiny_argv, environ);
        _exit(127);
    }
    await(pid);
}

static void libc_spawn(void)
{
    pid_t pid;

    bench_check("posix_spawn", posix_spawn(&pid, tiny_argv[0], NULL, NULL, tiny_argv, environ));
    await(pid);
}

static void spawn_with(const proc_options *options)
{
    proc_child *child;
    proc_status status;

    bench_check("proc_spawn", proc_spawn(&child, proc_argv(tiny_argv), options));
    bench_check("proc_child_wait", proc_child_wait(child, PROC_FOREVER, &status));
    if (!proc_status_ok(&status)) {
        bench_die("the tiny program", ECHILD);
    }
    proc_child_free(child);
}

static void spawn_plain(void)
{
    spawn_with(NULL);
}

static void spawn_with_all(void)
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

    spawn_with(&options);
}

static void measure(const char *title, int rounds)
{
    bench_case cases[] = {
        {.name = "vfork, execve, waitpid: the floor", .run = raw},
        {.name = "proc_spawn, wait, free", .run = spawn_plain, .limit = 1.25},
        {.name = "with cwd, env, session, umask, limit, redirections", .run = spawn_with_all, .limit = 1.6},
        {.name = "posix_spawn, waitpid", .run = libc_spawn},
    };

    bench_run(title, "us", 1e3, cases, sizeof cases / sizeof cases[0], rounds);
}

static void *hold(size_t size)
{
    char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED) {
        return NULL;
    }
    for (size_t i = 0; i < size; i += 4096) {
        memory[i] = 1;
    }
    return memory;
}

static bool is_free(size_t size)
{
    return (double)sysconf(_SC_AVPHYS_PAGES) * (double)sysconf(_SC_PAGESIZE) > 1.2 * (double)size;
}

int main(int argc, char *argv[])
{
    static const size_t small = (size_t)10 << 20, large = (size_t)3 << 30;
    int rounds = argc > 1 ? atoi(argv[1]) : 1500;

    tiny_argv[0] = bench_tiny();
    printf("Start and wait, on processor %d, %d rounds, %s\n", bench_pin(bench_processor(true)), rounds, tiny_argv[0]);
    if (hold(small) == NULL) {
        bench_die("mmap", errno);
    }
    measure("The parent holds 10 MB", rounds);
    if (is_free(large) && hold(large) != NULL) {
        measure("The parent holds 3 GB", rounds);
    } else {
        printf("\nThere are no 3 GB to hold.\n");
    }
    return 0;
}
