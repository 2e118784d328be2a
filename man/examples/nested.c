/* nested: a loop inside a poll loop of the program's own. Runs each line of
 * standard input as a shell command, all at once, while it waits for the next
 * line: poll watches both, the input and the descriptor of the loop. */
#include <errno.h>
#include <poll.h>
#include <proc.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int running;

static void told(int err, proc_result *result, void *ctx)
{
    (void)ctx;
    if (err < 0)
        printf("%s\n", proc_strerror(err));
    if (result->out != NULL) /* else memory ran out */
        printf("%s%s", result->out, result->err);
    fflush(stdout);
    running--;
}

/* Whole lines of what came; the rest stays for the next time. */
static int run_lines(proc_loop *loop, char *text, size_t *length)
{
    char *line = text, *end;
    int err = 0;

    while (err == 0 && (end = memchr(line, '\n', *length)) != NULL) {
        *end = '\0';
        err = proc_loop_exec(loop, line, NULL, told, NULL);
        running += err == 0;
        *length -= (size_t)(end + 1 - line);
        line = end + 1;
    }
    memmove(text, line, *length);
    return err;
}

int main(void)
{
    static char text[65536];
    size_t length = 0;
    bool open = true;
    proc_loop *loop;

    int err = proc_loop_new(&loop);
    if (err == 0 && proc_loop_fd(loop) < 0)
        err = proc_loop_fd(loop);
    while (err >= 0 && (open || running > 0)) {
        struct pollfd fds[] = {
            {.fd = open ? 0 : -1, .events = POLLIN},
            {.fd = proc_loop_fd(loop), .events = POLLIN},
        };
        if (poll(fds, 2, proc_loop_timeout(loop)) < 0 && errno != EINTR)
            err = -errno;
        if (err >= 0)
            err = proc_loop_step(loop, 0); /* whatever poll has said */
        if (err >= 0 && fds[0].revents != 0) {
            ssize_t got = read(0, text + length, sizeof text - 1 - length);
            open = got > 0;
            length += open ? (size_t)got : 0;
            if (!open && length > 0)
                text[length++] = '\n'; /* the last one had no end */
            err = run_lines(loop, text, &length);
            if (err == 0 && length == sizeof text - 1)
                err = -E2BIG; /* no line is as long as that */
        }
    }
    if (err < 0)
        fprintf(stderr, "nested: %s\n", proc_strerror(err));
    proc_loop_free(loop);
    return err < 0;
}
