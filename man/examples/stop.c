/* stop SECONDS COMMAND [ARG...]: run a program for so long at most, then
 * ask it to end; two seconds later it must. */
#include <errno.h>
#include <proc.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char *argv[])
{
    if (argc < 3) {
        fprintf(stderr, "usage: stop SECONDS COMMAND [ARG...]\n");
        return 2;
    }
    proc_error error;
    proc_options options = {
        .in.kind = PROC_NULL,
        .group = PROC_GROUP_OWN,
        .error = &error,
    };
    proc_child *child;
    proc_status status = {0};
    char text[512];

    if (proc_spawn(&child, proc_argv(argv + 2), &options) < 0) {
        proc_error_format(&error, text, sizeof text);
        fprintf(stderr, "stop: %s\n", text);
        return 1;
    }
    int err = proc_child_wait(child, atoi(argv[1]) * 1000, &status);
    if (err == -ETIMEDOUT) {
        fprintf(stderr, "stop: enough\n");
        err = proc_child_stop(child, 2000, &status);
    }
    proc_child_free(child);
    proc_status_format(&status, text, sizeof text);
    fprintf(stderr, "stop: %s\n", err < 0 ? proc_strerror(err) : text);
    return err < 0;
}
