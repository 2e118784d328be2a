/*
 * The checks of proc_options: nothing is opened, nothing is made. One function for each group of options; each names the
 * option that it refuses.
 */
#include "options.h"

#include "channel.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>

#ifndef NSIG
#define NSIG 65
#endif

static const char *const stream_names[3] = {"in", "out", "err"};

const char *options_stream_name(int stream)
{
    return stream_names[stream];
}

const proc_stdio *options_stream(const proc_options *options, int stream)
{
    const proc_stdio *const streams[3] = {&options->in, &options->out, &options->err};
    return streams[stream];
}

static bool fds_name(const proc_options *options, int child)
{
    for (size_t i = 0; i < options->fd_count; i++) {
        if (options->fds[i].child == child) {
            return true;
        }
    }
    return false;
}

proc_stdio_kind options_stream_kind(const proc_options *options, int stream, bool run)
{
    proc_stdio_kind kind = options_stream(options, stream)->kind;
    if (kind != PROC_DEFAULT || fds_name(options, stream)) {
        return kind;
    }
    if (!run) {
        return PROC_INHERIT;
    }
    return stream == 0 && options->input == NULL ? PROC_NULL : PROC_PIPE;
}

proc_group options_group(const proc_options *options, bool run)
{
    if (options->group != PROC_GROUP_DEFAULT) {
        return options->group;
    }
    for (int stream = 0; stream < 3; stream++) {
        if (options_stream(options, stream)->kind == PROC_PTY) {
            return PROC_GROUP_SESSION;
        }
    }
    return run && options->in.kind != PROC_INHERIT ? PROC_GROUP_OWN : PROC_GROUP_SHARED;
}

/* ---- checks ---- */

static int refuse(proc_error *error, int code, const char *option)
{
    return plan_refuse(error, code, PROC_STEP_OPTIONS, option);
}

static int check_program(const plan_program *program, const proc_options *options, proc_error *error)
{
    if (program->shell ? options->file != NULL : options->shell != NULL) {
        return refuse(error, -EINVAL, program->shell ? "file" : "shell");
    }
    if (program->call) {
        return program->entry == NULL ? refuse(error, -EINVAL, "entry") : 0;
    }
    if (program->argv == NULL || program->argv[0] == NULL) {
        return refuse(error, -EINVAL, program->shell ? "command" : "argv");
    }
    if (program->file != NULL && program->file[0] == '\0') {
        return refuse(error, -EINVAL, "shell");
    }
    if (options->file != NULL && options->file[0] == '\0') {
        return refuse(error, -EINVAL, "file");
    }
    if (program->file == NULL && options->file == NULL && program->argv[0][0] == '\0') {
        return refuse(error, -EINVAL, "argv[0]");
    }
    return 0;
}

bool options_fork(const plan_program *program, const proc_options *options)
{
    return program->fork || options->channel != NULL;
}

static int check_channel(const plan_program *program, const proc_options *options, proc_error *error)
{
    if (options->channel != NULL && (program->run || channel_check_options(options->channel) < 0)) {
        return refuse(error, -EINVAL, "channel");
    }
    return 0;
}

static int check_stream(const proc_options *options, int stream, proc_error *error)
{
    const proc_stdio *stdio = options_stream(options, stream);
    if ((unsigned)stdio->kind > PROC_PTY || (stdio->kind == PROC_MERGE && stream != 2)) {
        return refuse(error, -EINVAL, stream_names[stream]);
    }
    if (stdio->kind == PROC_FILE && stdio->path == NULL) {
        char subject[16];
        (void)snprintf(subject, sizeof subject, "%s.path", stream_names[stream]);
        return refuse(error, -EINVAL, subject);
    }
    if (stdio->kind == PROC_PTY && (options->group == PROC_GROUP_OWN || options->group == PROC_GROUP_SHARED)) {
        return refuse(error, -EINVAL, "group");
    }
    return 0;
}

static int check_streams(const proc_options *options, bool run, proc_error *error)
{
    for (int stream = 0; stream < 3; stream++) {
        int err = check_stream(options, stream, error);
        if (err < 0) {
            return err;
        }
    }
    bool fed = options_stream_kind(options, 0, true) == PROC_PIPE;
    return run && options->input != NULL && !fed ? refuse(error, -EINVAL, "input") : 0;
}

static int check_fds(const proc_options *options, bool fork, proc_error *error)
{
    if (options->fd_count > 0 && options->fds == NULL) {
        return refuse(error, -EINVAL, "fds");
    }
    if (options->fd_count > INT_MAX / 2) {
        return refuse(error, -EINVAL, "fd_count");
    }
    for (size_t i = 0; i < options->fd_count; i++) {
        int child = options->fds[i].child;
        if (child < 0 || (child < 3 && options_stream(options, child)->kind != PROC_DEFAULT) ||
            (fork && child == PLAN_CHANNEL_FD)) {
            char subject[32];
            (void)snprintf(subject, sizeof subject, "fds[%zu]", i);
            return refuse(error, -EINVAL, subject);
        }
    }
    return 0;
}

static int check_rights(const proc_options *options, proc_error *error)
{
    const proc_user *user = options->user;
    if (user != NULL && (user->uid == (uid_t)-1 || user->gid == (gid_t)-1 || /* "leave it" to the system */
                         (user->groups == NULL && user->group_count > 0))) {
        return refuse(error, -EINVAL, "user");
    }
    if (options->limits == NULL && options->limit_count > 0) {
        return refuse(error, -EINVAL, "limits");
    }
    if (options->umask != NULL && (*options->umask & ~(mode_t)0777) != 0) {
        return refuse(error, -EINVAL, "umask");
    }
    return 0;
}

static int check_time(const char *name, int ms, proc_error *error)
{
    return ms < PROC_FOREVER ? refuse(error, -EINVAL, name) : 0;
}

static int check_life(const proc_options *options, proc_error *error)
{
    if ((unsigned)options->group > PROC_GROUP_SESSION) {
        return refuse(error, -EINVAL, "group");
    }
    if (options->die_with_parent && options->detached) {
        return refuse(error, -EINVAL, "die_with_parent");
    }
    if (options->stop_signal < 0 || options->stop_signal >= NSIG) {
        return refuse(error, -EINVAL, "stop_signal");
    }
    int err = check_time("timeout_ms", options->timeout_ms, error);
    return err < 0 ? err : check_time("grace_ms", options->grace_ms, error);
}

static int check_cancel(const proc_options *options, proc_error *error)
{
    if (options->cancel_fd < -1) {
        return refuse(error, -EINVAL, "cancel_fd");
    }
    if (options->cancel_fd > 0 && fcntl(options->cancel_fd, F_GETFD) < 0) {
        return refuse(error, -EBADF, "cancel_fd");
    }
    return 0;
}

int options_check_run(const proc_options *options, proc_error *error)
{
    if (options->input == NULL && options->input_size > 0) {
        return refuse(error, -EINVAL, "input");
    }
    if ((unsigned)options->overflow > PROC_OVERFLOW_TAIL) {
        return refuse(error, -EINVAL, "overflow");
    }
    int err = check_time("drain_ms", options->drain_ms, error);
    return err < 0 ? err : check_cancel(options, error);
}

static int check_reserved(const proc_options *options, proc_error *error)
{
    for (size_t i = 0; i < sizeof options->reserved / sizeof options->reserved[0]; i++) {
        if (options->reserved[i] != 0) {
            return refuse(error, -EINVAL, "reserved");
        }
    }
    return 0;
}

int options_check(const plan_program *program, const proc_options *options, proc_error *error)
{
    int err = check_reserved(options, error);
    if (err == 0) {
        err = check_program(program, options, error);
    }
    if (err == 0) {
        err = check_channel(program, options, error);
    }
    if (err == 0) {
        err = check_fds(options, options_fork(program, options), error);
    }
    if (err == 0) {
        err = check_streams(options, program->run, error);
    }
    if (err == 0) {
        err = check_rights(options, error);
    }
    if (err == 0) {
        err = check_life(options, error);
    }
    if (err < 0) {
        return err;
    }
    return program->run ? options_check_run(options, error) : check_cancel(options, error);
}
