/* feed FILTER [ARG...]: send standard input through a filter and print
 * what comes back only if the filter succeeded: all of it or nothing. */
#include <proc.h>
#include <stdio.h>
#include <stdlib.h>

static char *read_all(FILE *file, size_t *size)
{
    size_t room = 65536;
    char *text = malloc(room);

    *size = 0;
    while (text) {
        *size += fread(text + *size, 1, room - *size, file);
        if (*size < room)
            break;
        char *more = realloc(text, room *= 2);
        if (!more)
            free(text);
        text = more;
    }
    return text;
}

int main(int argc, char *argv[])
{
    proc_error error;
    proc_options options = {
        .in.kind = PROC_PIPE,
        .out.kind = PROC_PIPE,
        .max_buffer = PROC_UNLIMITED,
        .error = &error,
    };
    proc_child *child;
    proc_result result;
    char text[512];
    char *input = argc > 1 ? read_all(stdin, &options.input_size) : NULL;

    if (!input)
        return 2;
    options.input = input;
    if (proc_spawn(&child, proc_argv(argv + 1), &options) < 0) {
        proc_error_format(&error, text, sizeof text);
        fprintf(stderr, "feed: %s\n", text);
        free(input);
        return 1;
    }
    int err = proc_child_communicate(child, &options, &result);
    proc_child_free(child);
    free(input);
    int good = err == 0 && proc_status_ok(&result.status);
    if (good) {
        fwrite(result.out, 1, result.out_size, stdout);
    } else {
        proc_status_format(&result.status, text, sizeof text);
        fprintf(stderr, "feed: %s: %s\n", argv[1],
                err < 0 ? proc_strerror(err) : text);
    }
    proc_result_clear(&result);
    return good && fflush(stdout) == 0 && !ferror(stdout) ? 0 : 1;
}
