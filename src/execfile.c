/*
 * proc_execfile: a program, without a shell.
 */
#include "communicate.h"

int proc_execfile(proc_result *result, const char *const argv[], const proc_options *options)
{
    const plan_program program = {.argv = argv, .run = true};
    return communicate_execute(result, &program, options);
}
