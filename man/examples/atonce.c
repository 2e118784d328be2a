/* atonce COMMAND...: runs shell commands, all at once, and tells how each
 * ended, as they do: atonce 'sleep 2; echo slow' 'echo quick' 'exit 3'. */
#include <proc.h>
#include <stdio.h>

static void told(int err, proc_result *result, void *command)
{
    char end[64];

    proc_status_format(&result->status, end, sizeof end);
    printf("%s: %s\n", (const char *)command,
           err < 0 ? proc_strerror(err) : end);
    if (result->out != NULL) /* else memory ran out */
        printf("%s%s", result->out, result->err);
}

int main(int argc, char *argv[])
{
    proc_options options = {.timeout_ms = 60000};
    proc_loop *loop;

    int err = proc_loop_new(&loop);
    for (int i = 1; i < argc && err == 0; i++)
        err = proc_loop_exec(loop, argv[i], &options, told, argv[i]);
    if (err == 0)
        err = proc_loop_run(loop, PROC_FOREVER); /* until all have ended */
    if (err < 0)
        fprintf(stderr, "atonce: %s\n", proc_strerror(err));
    proc_loop_free(loop);
    return err < 0;
}
