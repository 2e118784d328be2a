/* heartbeat COMMAND: runs a shell command, tells every second that it still
 * runs, and at SIGUSR1 for how long; the end of standard input, or SIGINT,
 * gives up. */
#include <poll.h>
#include <proc.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

static proc_loop *loop;
static int seconds;

static void beat(void *ctx)
{
    (void)ctx;
    seconds++;
    fputc('.', stderr);
}

static void on_signal(int signal, void *ctx)
{
    (void)ctx;
    fprintf(stderr, "\nfor %d seconds\n", seconds);
    if (signal == SIGINT)
        proc_loop_stop(loop);
}

static void on_input(int fd, short revents, void *ctx)
{
    char bytes[512];

    (void)revents;
    (void)ctx;
    if (read(fd, bytes, sizeof bytes) <= 0)
        proc_loop_stop(loop);
}

static void told(int err, proc_result *result, void *ctx)
{
    int *code = ctx;

    if (result->out != NULL) /* else memory ran out */
        printf("%s%s", result->out, result->err);
    *code = err < 0 ? 1 : result->status.code;
    proc_loop_stop(loop); /* the beat would go on */
}

int main(int argc, char *argv[])
{
    int code = 1;

    if (argc != 2) {
        fprintf(stderr, "usage: heartbeat COMMAND\n");
        return 2;
    }
    int err = proc_loop_new(&loop);
    if (err == 0)
        err = proc_loop_add_timer(loop, 1000, 1000, beat, NULL);
    if (err > 0) /* the id of the timer */
        err = proc_loop_add_signal(loop, SIGUSR1, on_signal, NULL);
    if (err == 0)
        err = proc_loop_add_signal(loop, SIGINT, on_signal, NULL);
    if (err == 0)
        err = proc_loop_add_fd(loop, 0, POLLIN, on_input, NULL);
    if (err == 0)
        err = proc_loop_exec(loop, argv[1], NULL, told, &code);
    if (err == 0)
        err = proc_loop_run(loop, PROC_FOREVER);
    if (err < 0)
        fprintf(stderr, "heartbeat: %s\n", proc_strerror(err));
    proc_loop_free(loop); /* stops the command, if it still runs */
    return err < 0 ? 1 : code;
}
