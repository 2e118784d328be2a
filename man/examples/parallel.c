/* parallel COMMAND...: run shell commands at the same time and tell of
 * each end as it comes. */
#include <poll.h>
#include <proc.h>
#include <stdio.h>

#define MOST 64

int main(int argc, char *argv[])
{
    proc_child *children[MOST] = {NULL};
    struct pollfd ends[MOST];
    int count = argc - 1 < MOST ? argc - 1 : MOST;
    int failed = 0, running = 0;
    char text[512];

    for (int i = 0; i < count; i++) {
        const char *const shell[] = {"sh", "-c", argv[i + 1], NULL};
        proc_error error;
        ends[i] = (struct pollfd){.fd = -1, .events = POLLIN};
        if (proc_spawn(&children[i], shell,
                       &(proc_options){.error = &error}) < 0) {
            proc_error_format(&error, text, sizeof text);
            fprintf(stderr, "parallel: %s\n", text);
            failed = 1;
        } else if ((ends[i].fd = proc_child_exit_fd(children[i])) < 0) {
            fprintf(stderr, "parallel: %s\n", proc_strerror(ends[i].fd));
            failed = 1;
        } else {
            running++;
        }
    }
    while (running > 0) {
        /* Where a signal interrupts it, nobody is found to have ended. */
        (void)poll(ends, (nfds_t)count, -1);
        for (int i = 0; i < count; i++) {
            proc_status status;
            if (ends[i].fd < 0 ||
                proc_child_wait(children[i], 0, &status) < 0)
                continue;
            proc_status_format(&status, text, sizeof text);
            printf("%s: %s\n", argv[i + 1], text);
            failed |= !proc_status_ok(&status);
            ends[i].fd = -1;
            running--;
        }
    }
    for (int i = 0; i < count; i++)
        proc_child_free(children[i]);
    return failed;
}
