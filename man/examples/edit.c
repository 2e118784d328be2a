/* edit FILE: let the user edit a file with the editor of their choice,
 * on this terminal, and wait for it. */
#include <proc.h>
#include <stdio.h>

int main(int argc, char *argv[])
{
    if (argc != 2) {
        fprintf(stderr, "usage: edit FILE\n");
        return 2;
    }
    /* EDITOR may hold arguments, so a shell reads it; the name of the file
     * is passed beside it and needs no quotes. */
    const char *script = "exec ${VISUAL:-${EDITOR:-vi}} \"$1\"";
    const char *const command[] = {"sh", "-c", script, "sh", argv[1], NULL};
    proc_error error;
    proc_child *child;
    proc_status status = {0};
    char text[512];

    if (proc_spawn(&child, command, &(proc_options){.error = &error}) < 0) {
        proc_error_format(&error, text, sizeof text);
        fprintf(stderr, "edit: %s\n", text);
        return 1;
    }
    int err = proc_child_wait(child, PROC_FOREVER, &status);
    proc_child_free(child);
    if (err < 0 || !proc_status_ok(&status)) {
        proc_status_format(&status, text, sizeof text);
        fprintf(stderr, "edit: %s\n", err < 0 ? proc_strerror(err) : text);
        return 1;
    }
    return 0;
}
