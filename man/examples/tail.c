/* tail COMMAND...: runs shell commands at once and shows their lines as they
 * come, each with the number of its command in front. */
#include <proc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct source {
    int number;
    size_t length; /* of a line that has begun */
    char line[4096];
} source;

static void print_line(source *s)
{
    printf("%d: %.*s\n", s->number, (int)s->length, s->line);
    s->length = 0;
}

static void show(proc_child *child, int stream, const void *data, size_t size,
                 void *ctx)
{
    source *s = ctx;
    const char *bytes = data;

    (void)child;
    (void)stream;
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] == '\n' || s->length == sizeof s->line)
            print_line(s);
        if (bytes[i] != '\n')
            s->line[s->length++] = bytes[i];
    }
    if (size == 0 && s->length > 0)
        print_line(s); /* the last one had no end */
    fflush(stdout);
}

static void show_end(proc_child *child, const proc_status *status, void *ctx)
{
    const source *s = ctx;
    char end[64];

    proc_status_format(status, end, sizeof end);
    printf("%d: [%s]\n", s->number, end);
    fflush(stdout);
    free(ctx);
    proc_child_free(child); /* it leaves the loop too */
}

static int start(proc_loop *loop, int number, const char *command)
{
    static const proc_handlers handlers = {
        .on_output = show, .on_close = show_end};
    const char *const argv[] = {"sh", "-c", command, NULL};
    proc_options options = {
        .in.kind = PROC_NULL, .out.kind = PROC_PIPE, .err.kind = PROC_MERGE};
    source *s = calloc(1, sizeof *s);
    proc_child *child = NULL;

    if (s == NULL)
        return -1;
    s->number = number;
    int err = proc_spawn(&child, argv, &options);
    if (err == 0)
        err = proc_loop_add_child(loop, child, &handlers, s);
    if (err < 0) {
        proc_child_free(child);
        free(s);
    }
    return err;
}

int main(int argc, char *argv[])
{
    proc_loop *loop;
    int err = proc_loop_new(&loop);

    for (int i = 1; i < argc && err == 0; i++)
        err = start(loop, i, argv[i]);
    if (err == 0)
        err = proc_loop_run(loop, PROC_FOREVER);
    if (err < 0)
        fprintf(stderr, "tail: %s\n", proc_strerror(err));
    proc_loop_free(loop);
    return err < 0;
}
