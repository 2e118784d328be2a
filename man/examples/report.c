/* report COMMAND [ARG...]: run a program, then say how it ended and what
 * it used, as time(1) does. */
#include <proc.h>
#include <stdio.h>

int main(int argc, char *argv[])
{
    if (argc < 2) {
        fprintf(stderr, "usage: report COMMAND [ARG...]\n");
        return 2;
    }
    proc_error error;
    proc_child *child;
    proc_status status = {0};
    char text[512];

    if (proc_spawn(&child, proc_argv(argv + 1),
                   &(proc_options){.error = &error}) < 0) {
        proc_error_format(&error, text, sizeof text);
        fprintf(stderr, "report: %s\n", text);
        return 127;
    }
    int err = proc_child_wait(child, PROC_FOREVER, &status);
    proc_child_free(child);
    if (err < 0) {
        fprintf(stderr, "report: %s\n", proc_strerror(err));
        return 125;
    }
    proc_status_format(&status, text, sizeof text);
    const proc_usage *usage = &status.usage;
    fprintf(stderr, "%s: %s after %lld ms, %lld ms user, %lld ms system\n",
            argv[1], text, (long long)status.wall_ns / 1000000,
            (long long)usage->user_ns / 1000000,
            (long long)usage->system_ns / 1000000);
    switch (status.state) {
    case PROC_EXITED:
        return status.code;
    case PROC_SIGNALED:
        return 128 + status.signal; /* as a shell tells it */
    default:
        return 125;
    }
}
