/*
 * proc_exec and proc_loop_exec: a command line, through a shell; and the quoting that such a line needs.
 */
#include "communicate.h"
#include "loop.h"

#include <errno.h>
#include <string.h>

/* A command that begins like an option is kept from being one; other shells than sh may not know "--". */
typedef struct command_line {
    const char *argv[5];
    plan_program program;
} command_line;

static void make_command_line(command_line *line, const char *command, const proc_options *options)
{
    const char *shell = options != NULL ? options->shell : NULL;
    bool guarded = shell == NULL && command != NULL && (command[0] == '-' || command[0] == '+');
    size_t count = 0;
    line->argv[count++] = shell != NULL ? shell : "sh";
    line->argv[count++] = "-c";
    if (guarded) {
        line->argv[count++] = "--";
    }
    line->argv[count++] = command;
    line->argv[count] = NULL;
    line->program = (plan_program){
        .file = shell != NULL ? shell : "/bin/sh",
        .argv = command != NULL ? line->argv : NULL,
        .run = true,
        .shell = true,
    };
}

int proc_exec(proc_result *result, const char *command, const proc_options *options)
{
    command_line line;
    make_command_line(&line, command, options);
    return communicate_execute(result, &line.program, options);
}

int proc_loop_exec(proc_loop *loop, const char *command, const proc_options *options, proc_result_handler *handler,
                   void *ctx)
{
    command_line line;
    make_command_line(&line, command, options);
    return loop_execute(loop, &line.program, options, handler, ctx);
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
