/* calc SUM...: one shell stays alive and answers every question, a line
 * each: calc '6 * 7' '1 << 20'. It is a shell: it will run any command that
 * is hidden in a sum, so these must not come from strangers. */
#include <errno.h>
#include <proc.h>
#include <stdio.h>

static int ask(proc_child *shell, const char *sum, char *answer, size_t size)
{
    char question[256];
    int length = snprintf(question, sizeof question, "echo $((%s))\n", sum);
    if (length >= (int)sizeof question)
        return -EMSGSIZE;

    ssize_t sent = proc_child_write(shell, question, (size_t)length, 2000);
    if (sent < 0)
        return (int)sent;
    if (sent < length)
        return -ETIMEDOUT;
    while (size > 1) { /* an answer may come in pieces */
        ssize_t got = proc_child_read(shell, 1, answer, size - 1, 2000);
        if (got <= 0)
            return got == 0 ? -EPIPE : (int)got;
        answer += got;
        size -= (size_t)got;
        *answer = '\0';
        if (answer[-1] == '\n')
            return 0;
    }
    return -EMSGSIZE;
}

int main(int argc, char *argv[])
{
    const char *const command[] = {"sh", NULL};
    proc_error error;
    proc_options options = {
        .in.kind = PROC_PIPE,
        .out.kind = PROC_PIPE,
        .error = &error,
    };
    proc_child *shell;
    char text[512];
    int err = 0;

    if (proc_spawn(&shell, command, &options) < 0) {
        proc_error_format(&error, text, sizeof text);
        fprintf(stderr, "calc: %s\n", text);
        return 1;
    }
    for (int i = 1; i < argc && err == 0; i++) {
        err = ask(shell, argv[i], text, sizeof text);
        if (err == 0)
            printf("%s = %s", argv[i], text);
        else
            fprintf(stderr, "calc: %s: %s\n", argv[i], proc_strerror(err));
    }
    /* At its end of file a shell ends; one that does not is killed. */
    proc_child_close(shell, 0);
    proc_child_wait(shell, 2000, NULL);
    proc_child_free(shell);
    return err < 0;
}
