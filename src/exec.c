/*
 * proc_exec: a command line, through a shell; and the quoting that such a line needs.
 */
#include "communicate.h"

#include <errno.h>
#include <string.h>

/* A command that begins like an option is kept from being one; other shells than sh may not know "--". */
int proc_exec(proc_result *result, const char *command, const proc_options *options)
{
    const char *shell = options != NULL ? options->shell : NULL;
    const char *const with_shell[] = {shell, "-c", command, NULL};
    const char *const plainly[] = {"sh", "-c", command, NULL};
    const char *const guarded[] = {"sh", "-c", "--", command, NULL};

    plan_program program = {.file = shell, .argv = with_shell, .run = true, .shell = true};
    if (shell == NULL) {
        program.file = "/bin/sh";
        program.argv = command != NULL && (command[0] == '-' || command[0] == '+') ? guarded : plainly;
    }
    if (command == NULL) {
        program.argv = NULL;
    }
    return communicate_execute(result, &program, options);
}

static void put(char *buffer, size_t size, size_t *length, const char *text)
{
    for (; *text != '\0'; text++, (*length)++) {
        if (*length + 1 < size) {
            buffer[*length] = *text;
        }
    }
}

/* Single quotes take everything as it is but themselves. */
int proc_shell_quote(const char *word, char *buffer, size_t size)
{
    size_t length = 0;
    if (word == NULL || (buffer == NULL && size > 0)) {
        return -EINVAL;
    }
    if (strlen(word) > (INT_MAX - 2) / 4) {
        return -EOVERFLOW;
    }
    put(buffer, size, &length, "'");
    for (; *word != '\0'; word++) {
        const char letter[] = {*word, '\0'};
        put(buffer, size, &length, *word == '\'' ? "'\\''" : letter);
    }
    put(buffer, size, &length, "'");
    if (size > 0) {
        buffer[length < size ? length : size - 1] = '\0';
    }
    return (int)length;
}
