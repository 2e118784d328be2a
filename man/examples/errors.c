/* errors DIRECTORY COMMAND [ARG...]: run a program in a directory; where
 * that fails, say what a user can do about it. */
#include <errno.h>
#include <proc.h>
#include <stdio.h>

static const char *advice(const proc_error *error)
{
    switch (error->step) {
    case PROC_STEP_CHDIR:
        return "is it there, and may you enter it?";
    case PROC_STEP_EXEC:
        if (error->code == -ENOENT)
            return "look at PATH, or at the first line of a script";
        if (error->code == -EACCES)
            return "it is no file that you may execute: chmod +x?";
        if (error->code == -ENOEXEC)
            return "a script needs a first line such as #!/bin/sh";
        return "see execve(2)";
    case PROC_STEP_LAUNCH:
    case PROC_STEP_PIPE:
        return "short of processes, memory or descriptors: try later";
    case PROC_STEP_OPTIONS:
        return "this is a mistake in the program";
    default:
        return "see proc_options(3)";
    }
}

int main(int argc, char *argv[])
{
    if (argc < 3) {
        fprintf(stderr, "usage: errors DIRECTORY COMMAND [ARG...]\n");
        return 2;
    }
    proc_error error;
    proc_child *child;
    proc_status status = {0};
    char text[512];

    if (proc_spawn(&child, proc_argv(argv + 2),
                   &(proc_options){.cwd = argv[1], .error = &error}) < 0) {
        proc_error_format(&error, text, sizeof text);
        fprintf(stderr, "errors: %s\nerrors: %s\n", text, advice(&error));
        return 125;
    }
    int err = proc_child_wait(child, PROC_FOREVER, &status);
    proc_child_free(child);
    return err == 0 && proc_status_ok(&status) ? 0 : 1;
}
