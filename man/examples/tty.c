/* tty COMMAND [ARG...]: run a program that believes it writes to a
 * terminal, and pass on what it writes: tty ls --color=auto | less -R */
#include <proc.h>
#include <stdio.h>

int main(int argc, char *argv[])
{
    if (argc < 2) {
        fprintf(stderr, "usage: tty COMMAND [ARG...]\n");
        return 2;
    }
    proc_error error;
    proc_options options = {
        .in.kind = PROC_PTY,
        .out.kind = PROC_PTY,
        .err.kind = PROC_PTY,
        .error = &error,
    };
    proc_child *child;
    proc_status status = {0};
    char buffer[4096];
    ssize_t size;

    if (proc_spawn(&child, proc_argv(argv + 1), &options) < 0) {
        proc_error_format(&error, buffer, sizeof buffer);
        fprintf(stderr, "tty: %s\n", buffer);
        return 1;
    }
    proc_child_write(child, "\4", 1, 0); /* ^D: nobody types here */
    do {
        size = proc_child_read(child, 1, buffer, sizeof buffer, PROC_FOREVER);
        fwrite(buffer, 1, size > 0 ? (size_t)size : 0, stdout);
    } while (size > 0);
    int err = proc_child_wait(child, PROC_FOREVER, &status);
    proc_child_free(child);
    if (size < 0)
        err = (int)size;
    if (err < 0 || fflush(stdout) != 0) {
        fprintf(stderr, "tty: %s\n",
                err < 0 ? proc_strerror(err) : "write error");
        return 1;
    }
    return status.state == PROC_EXITED ? status.code : 128 + status.signal;
}
