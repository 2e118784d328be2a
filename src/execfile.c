/*
 * proc_execfile and proc_loop_execfile: a program, without a shell.
 */
#include "communicate.h"
#include "loop.h"

int proc_execfile(proc_result *result, const char *const argv[], const proc_options *options)
{
    const plan_program program = {.argv = argv, .run = true};
    return communicate_execute(result, &program, options);
}

int proc_loop_execfile(proc_loop *loop, const char *const argv[], const proc_options *options,
                       proc_result_handler *handler, void *ctx)
{
    const plan_program program = {.argv = argv, .run = true};
    return loop_execute(loop, &program, options, handler, ctx);
}
