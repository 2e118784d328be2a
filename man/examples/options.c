/* options LOG COMMAND [ARG...]: run a program as a careful server would:
 * in / with a small environment, a session of its own, at most 10 s of CPU
 * time, no core dump, private files of at most 16 MiB, and a log. */
#include <fcntl.h>
#include <proc.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>

int main(int argc, char *argv[])
{
    if (argc < 3) {
        fprintf(stderr, "usage: options LOG COMMAND [ARG...]\n");
        return 2;
    }
    const char *const env[] = {"PATH=/usr/bin:/bin", "HOME=/", NULL};
    const proc_limit limits[] = {
        {.resource = RLIMIT_CPU, .soft = 10, .hard = 11},
        {.resource = RLIMIT_CORE, .soft = 0, .hard = 0},
        {.resource = RLIMIT_FSIZE, .soft = 16 << 20, .hard = 16 << 20},
    };
    const mode_t private = S_IRWXG | S_IRWXO;
    proc_error error;
    proc_options options = {
        .cwd = "/",
        .env = env,
        .in.kind = PROC_NULL,
        .out.kind = PROC_FILE,
        .out.path = argv[1],
        .out.flags = O_WRONLY | O_CREAT | O_APPEND,
        .out.mode = S_IRUSR | S_IWUSR,
        .err.kind = PROC_MERGE,
        .limits = limits,
        .limit_count = sizeof limits / sizeof limits[0],
        .umask = &private,
        .nice = 5,
        .group = PROC_GROUP_SESSION,
        .timeout_ms = 60000,
        .error = &error,
    };
    proc_child *child;
    proc_status status = {0};
    char text[512];

    if (proc_spawn(&child, proc_argv(argv + 2), &options) < 0) {
        proc_error_format(&error, text, sizeof text);
        fprintf(stderr, "options: %s\n", text);
        return 125;
    }
    /* It is in here that timeout_ms stops it. */
    int err = proc_child_wait(child, PROC_FOREVER, &status);
    proc_child_free(child);
    proc_status_format(&status, text, sizeof text);
    fprintf(stderr, "options: %s\n", err < 0 ? proc_strerror(err) : text);
    return err == 0 && proc_status_ok(&status) ? 0 : 1;
}
