/* background LOG COMMAND [ARG...]: start a program that outlives this one,
 * as nohup(1) does, and print its process ID. */
#include <fcntl.h>
#include <proc.h>
#include <stdio.h>

int main(int argc, char *argv[])
{
    if (argc < 3) {
        fprintf(stderr, "usage: background LOG COMMAND [ARG...]\n");
        return 2;
    }
    proc_error error;
    proc_options options = {
        .in.kind = PROC_NULL,
        .out.kind = PROC_FILE,
        .out.path = argv[1],
        .out.flags = O_WRONLY | O_CREAT | O_APPEND,
        .err.kind = PROC_MERGE,
        .group = PROC_GROUP_SESSION,
        .detached = true,
        .error = &error,
    };
    proc_child *child;
    char text[512];

    if (proc_spawn(&child, proc_argv(argv + 2), &options) < 0) {
        proc_error_format(&error, text, sizeof text);
        fprintf(stderr, "background: %s\n", text);
        return 1;
    }
    printf("%ld\n", (long)proc_child_pid(child));
    proc_child_free(child); /* it runs on */
    return fflush(stdout) == 0 ? 0 : 1;
}
