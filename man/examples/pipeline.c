/* pipeline: tr -cs A-Za-z '\n' | sort | uniq -c with no shell. The bytes
 * flow from child to child; this program only starts them. */
#include <proc.h>
#include <stdio.h>

#define STAGES 3

int main(void)
{
    const char *const stages[STAGES][5] = {
        {"tr", "-cs", "A-Za-z", "\n"}, {"sort"}, {"uniq", "-c"}};
    proc_child *children[STAGES] = {NULL};
    int failed = 0;
    char text[512];

    for (int i = 0; i < STAGES && !failed; i++) {
        proc_error error;
        proc_options options = {.error = &error};
        if (i > 0) {
            options.in.kind = PROC_FD;
            options.in.fd = proc_child_fd(children[i - 1], 1);
        }
        if (i < STAGES - 1)
            options.out.kind = PROC_PIPE;
        if (proc_spawn(&children[i], stages[i], &options) < 0) {
            proc_error_format(&error, text, sizeof text);
            fprintf(stderr, "pipeline: %s\n", text);
            failed = 1;
        }
        /* Else the writer would never learn that its reader has gone. */
        if (i > 0)
            proc_child_close(children[i - 1], 1);
    }
    for (int i = 0; i < STAGES && !failed; i++) {
        proc_status status = {0};
        if (proc_child_wait(children[i], PROC_FOREVER, &status) < 0 ||
            !proc_status_ok(&status)) {
            proc_status_format(&status, text, sizeof text);
            fprintf(stderr, "pipeline: %s: %s\n", stages[i][0], text);
            failed = 1;
        }
    }
    for (int i = 0; i < STAGES; i++)
        proc_child_free(children[i]);
    return failed;
}
