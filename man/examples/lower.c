/* lower COMMAND [ARG...]: run a program; if it still works after a second,
 * lower its priority, so that what is quick stays quick. */
#include <errno.h>
#include <proc.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

int main(int argc, char *argv[])
{
    if (argc < 2) {
        fprintf(stderr, "usage: lower COMMAND [ARG...]\n");
        return 2;
    }
    proc_error error;
    proc_child *child;
    proc_status status = {0};
    char text[512];

    if (proc_spawn(&child, proc_argv(argv + 1),
                   &(proc_options){.error = &error}) < 0) {
        proc_error_format(&error, text, sizeof text);
        fprintf(stderr, "lower: %s\n", text);
        return 1;
    }
    int err = proc_child_wait(child, 1000, &status);
    if (err == -ETIMEDOUT) {
        /* It was not reaped, so the number is still its own. */
        if (setpriority(PRIO_PROCESS, (id_t)proc_child_pid(child), 10) < 0)
            fprintf(stderr, "lower: %s\n", strerror(errno));
        err = proc_child_wait(child, PROC_FOREVER, &status);
    }
    proc_child_free(child);
    return err == 0 && proc_status_ok(&status) ? 0 : 1;
}
