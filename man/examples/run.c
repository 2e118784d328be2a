/* run SECONDS COMMAND: run a shell command, but not for ever, and keep no
 * more than the last 4 KiB of its output. */
#include <errno.h>
#include <proc.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char *argv[])
{
    if (argc != 3) {
        fprintf(stderr, "usage: run SECONDS COMMAND\n");
        return 2;
    }
    proc_error error;
    proc_options options = {
        .timeout_ms = atoi(argv[1]) * 1000,
        .grace_ms = 500,
        .drain_ms = 1000,
        .max_buffer = 4096,
        .overflow = PROC_OVERFLOW_TAIL,
        .err = {.kind = PROC_MERGE},
        .error = &error,
    };
    proc_result result;
    char text[512];

    int err = proc_exec(&result, argv[2], &options);
    if (error.code < 0) {
        proc_error_format(&error, text, sizeof text);
        fprintf(stderr, "run: %s\n", text);
        proc_result_clear(&result);
        return 1;
    }
    if (err < 0 && err != -ETIMEDOUT)
        fprintf(stderr, "run: %s\n", proc_strerror(err));

    if (result.out_size > 0)
        fwrite(result.out, 1, result.out_size, stdout);
    proc_status_format(&result.status, text, sizeof text);
    fprintf(stderr, "run: %s%s\n", text,
            result.out_truncated ? ", output cut" : "");
    int code = proc_status_ok(&result.status) ? 0 : 1;
    proc_result_clear(&result);
    return code;
}
