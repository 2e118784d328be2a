/*
 * What proc_options mean, before anything is done about them: checks, and the defaults that depend on the call.
 */
#ifndef OPTIONS_H
#define OPTIONS_H

#include "plan.h"

/* Does it get a channel? */
hidden bool options_fork(const plan_program *program, const proc_options *options);

hidden int options_check(const plan_program *program, const proc_options *options, proc_error *error);
hidden int options_check_run(const proc_options *options, proc_error *error); /* input, capture, drain_ms, cancel_fd */
hidden const char *options_stream_name(int stream);
hidden const proc_stdio *options_stream(const proc_options *options, int stream);
/* What the default is in this call. PROC_DEFAULT stays only where an entry of fds takes the stream's place. */
hidden proc_stdio_kind options_stream_kind(const proc_options *options, int stream, bool run);
hidden proc_group options_group(const proc_options *options, bool run);

#endif
