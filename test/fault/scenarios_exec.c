/*
 * Commands that are run to their end, with what they say captured.
 */
#include "scenario.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Why a run that has begun came to an early end; those have a result. */
static bool is_verdict(int err)
{
    return err == -ETIMEDOUT || err == -ENOBUFS || err == -ECANCELED;
}

/* True: it ran, and returned what it should. */
static bool ran(int err, int expected, const proc_result *result, const proc_error *error)
{
    if (err == expected || is_verdict(err)) {
        expect(result->out != NULL && result->err != NULL, "a result has its outputs");
        return expect_result(err, expected, "run");
    }
    (void)failed(err, START, "run");
    expect(result->out == NULL && result->err == NULL && result->out_size == 0 && result->status.code == -1,
           "a run that failed leaves an empty result");
    expect(error->code == 0 || error->code == err, "the error is what was returned");
    return false;
}

static bool exec_says(void)
{
    proc_result result;
    proc_error error;
    int err = proc_exec(&result, "printf out; printf err >&2; exit 3", &(proc_options){.error = &error});
    bool complete = ran(err, 0, &result, &error);
    if (complete) {
        complete = expect_exit(&result.status, 3) && expect_text(result.out, result.out_size, "out") &&
                   expect_text(result.err, result.err_size, "err");
    }
    proc_result_clear(&result);
    return complete;
}

enum { LARGE = 90000 };

static bool execfile_copies(void)
{
    char *input = malloc(LARGE + 1);
    proc_result result;
    proc_error error;
    memset(input, 'i', LARGE);
    input[LARGE] = '\0';
    int err = proc_execfile(&result, CHILD_ARGV("copy"),
                            &(proc_options){.input = input, .input_size = LARGE, .error = &error});
    bool complete = ran(err, 0, &result, &error);
    if (complete) {
        complete = expect_exit(&result.status, 0) && expect_text(result.out, result.out_size, input) &&
                   expect_text(result.err, result.err_size, "");
    }
    proc_result_clear(&result);
    free(input);
    return complete;
}

static bool overflow(proc_overflow how, int expected, size_t limit)
{
    proc_result result;
    proc_error error;
    int err = proc_execfile(&result, CHILD_ARGV("much", "200000"),
                            &(proc_options){.overflow = how, .max_buffer = limit, .error = &error});
    bool complete = ran(err, expected, &result, &error);
    if (complete && !may_be_cut()) {
        complete = expect_result((long)result.out_size, (long)limit, "what is kept") &&
                   expect(result.out_truncated, "it is cut, and says so");
    }
    proc_result_clear(&result);
    return complete;
}

static bool exec_overflow_kill(void)
{
    return overflow(PROC_OVERFLOW_KILL, -ENOBUFS, 1000);
}

static bool exec_overflow_tail(void)
{
    return overflow(PROC_OVERFLOW_TAIL, 0, 1000);
}

static bool stopped(const proc_options *options, int expected)
{
    proc_result result;
    int err = proc_execfile(&result, CHILD_ARGV("stubborn"), options);
    bool complete = ran(err, expected, &result, options->error);
    if (complete && !atomic_load(&shim->stolen) && !atomic_load(&shim->refused)) {
        complete = expect(result.status.state == PROC_SIGNALED, "it was killed") && /* perhaps before it was stubborn */
                   expect(result.status.timed_out == (expected == -ETIMEDOUT), "timed_out tells why");
    }
    proc_result_clear(&result);
    return complete;
}

static bool exec_timeout(void)
{
    proc_error error;
    return stopped(&(proc_options){.timeout_ms = 5, .grace_ms = 3, .error = &error}, -ETIMEDOUT);
}

static bool exec_cancel(void)
{
    int ends[2];
    proc_error error;
    if (pipe(ends) < 0) {
        return complain("pipe failed");
    }
    (void)close(ends[1]);
    bool complete = stopped(&(proc_options){.cancel_fd = ends[0], .grace_ms = 3, .error = &error}, -ECANCELED);
    (void)close(ends[0]);
    return complete;
}

static bool communicate(void)
{
    proc_child *child = NULL;
    proc_error error;
    proc_result result;
    int err = proc_spawn(&child, CHILD_ARGV("copy"),
                         &(proc_options){
                             .in = {PROC_PIPE, .fd = 0},
                             .out = {PROC_PIPE, .fd = 0},
                             .err = {PROC_PIPE, .fd = 0},
                             .error = &error,
                         });
    if (!started(err, child, &error)) {
        return false;
    }
    err = proc_child_communicate(child, &(proc_options){.input = "hello", .input_size = 5}, &result);
    bool complete = !failed(err, CHILD_CALL, "communicate");
    if (complete) {
        complete = expect_exit(&result.status, 0) && expect_text(result.out, result.out_size, "hello");
    } else {
        expect(result.out == NULL && result.err == NULL, "what failed leaves an empty result");
    }
    proc_result_clear(&result);
    proc_child_free(child);
    return complete;
}

const scenario exec_scenarios[] = {
    {"exec", exec_says, NULL, NULL},
    {"execfile_with_input", execfile_copies, NULL, NULL},
    {"exec_overflow_kill", exec_overflow_kill, NULL, NULL},
    {"exec_overflow_tail", exec_overflow_tail, NULL, NULL},
    {"exec_timeout", exec_timeout, NULL, NULL},
    {"exec_cancel", exec_cancel, NULL, NULL},
    {"communicate", communicate, NULL, NULL},
    {0},
};
