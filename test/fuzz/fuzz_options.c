/* wrap: launch */
/*
 * Any options, through every door that starts a child, up to the moment when it would be launched: what proc_options(3)
 * refuses is refused and nothing else is, and whatever happens nothing stays behind.
 */
#include "fuzz.h"

#include "os/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>

enum { MOST = 4, STUB_ERROR = -EXDEV, LOOKED_AT = 256 };

typedef enum door { SPAWN, EXECFILE, EXEC, FORK, FORK_CALL, DOORS } door;

/* Everything that a proc_options may point to. */
typedef struct call {
    door door;
    const char *argv[MOST + 1];
    proc_options options;
    proc_channel_options channel;
    proc_user user;
    gid_t groups[MOST];
    proc_limit limits[MOST];
    mode_t umask;
    proc_fd_map maps[MOST];
    const char *env[MOST + 1], *env_changes[MOST + 1];
    char *texts[6 * MOST];
    size_t text_count;
    bool no_argv, no_entry;
} call;

static bool launched;
static unsigned launch_choice;

int __wrap_launch(launch_plan *plan, pid_t *pid, int *pidfd, launch_failure *failure);

/* Nothing ever starts here: it fails, at any of the steps that the child takes. */
int __wrap_launch(launch_plan *plan, pid_t *pid, int *pidfd, launch_failure *failure)
{
    static const proc_step steps[] = {PROC_STEP_LAUNCH, PROC_STEP_PARENT, PROC_STEP_GROUP,   PROC_STEP_FDS,
                                      PROC_STEP_CHDIR,  PROC_STEP_UMASK,  PROC_STEP_LIMIT,   PROC_STEP_NICE,
                                      PROC_STEP_GROUPS, PROC_STEP_GID,    PROC_STEP_SIGNALS, PROC_STEP_EXEC};

    (void)pid;
    (void)pidfd;
    launched = true;
    *failure = (launch_failure){.step = steps[launch_choice % COUNT(steps)], .err = STUB_ERROR};
    if (failure->step == PROC_STEP_FDS) {
        MUST(plan->move_count >= 3);
        failure->index = (int)(launch_choice / COUNT(steps) % plan->move_count);
    } else if (failure->step == PROC_STEP_LIMIT && plan->limit_count > 0) {
        failure->index = (int)(launch_choice / COUNT(steps) % plan->limit_count);
    } else if (failure->step == PROC_STEP_LIMIT || (failure->step == PROC_STEP_CHDIR && plan->cwd == NULL)) {
        failure->step = PROC_STEP_EXEC;
    }
    return STUB_ERROR;
}

static size_t count_open(void)
{
    struct pollfd all[LOOKED_AT];
    size_t count = 0;

    for (int fd = 0; fd < LOOKED_AT; fd++) {
        all[fd] = (struct pollfd){.fd = fd};
    }
    MUST(poll(all, LOOKED_AT, 0) >= 0);
    for (int fd = 0; fd < LOOKED_AT; fd++) {
        count += (all[fd].revents & POLLNVAL) == 0;
    }
    return count;
}

/* ---- options, from the input ---- */

static const char *take_string(input *in, call *c)
{
    char *text = take_text(in, 24);

    MUST(c->text_count < COUNT(c->texts));
    return c->texts[c->text_count++] = text;
}

static void take_strings(input *in, call *c, const char *list[MOST + 1])
{
    static const char *const usual[] = {"A=1", "B=", "PATH=/a:/b", "C", "PATH", "A=2"};
    size_t count = take_below(in, MOST + 1);

    for (size_t i = 0; i < count; i++) {
        unsigned choice = take8(in);

        list[i] = choice < 128 ? usual[choice % COUNT(usual)] : take_string(in, c);
    }
    list[count] = NULL;
}

static int take_fd(input *in)
{
    static const int some[] = {0, 1, 2, -1, 250, 3000, INT32_MAX, INT32_MIN};
    unsigned choice = take8(in);

    return choice < 128 ? some[choice % 3] : some[choice % COUNT(some)];
}

static void take_stream(input *in, proc_stdio *stdio)
{
    static const char *const paths[] = {"/dev/null", "/dev/null", "/no/such/file", "", "/", NULL};
    static const int flags[] = {0, 0, O_RDONLY, O_RDWR, O_WRONLY | O_APPEND, O_DIRECTORY};
    unsigned kind = take8(in);

    stdio->kind = kind < 250 ? (proc_stdio_kind)(kind % 8) : (proc_stdio_kind)take_int(in);
    stdio->fd = take_fd(in);
    stdio->path = paths[take_below(in, COUNT(paths))];
    stdio->flags = flags[take_below(in, COUNT(flags))];
    stdio->mode = take8(in);
}

static void take_rights(input *in, call *c)
{
    proc_options *o = &c->options;

    if (take_bool(in)) {
        o->user = &c->user;
        c->user = (proc_user){.uid = (uid_t)take_int(in), .gid = (gid_t)take_int(in)};
        c->user.groups = take_bool(in) ? c->groups : NULL;
        c->user.group_count = take_below(in, MOST + 1);
    }
    o->limits = take_bool(in) ? c->limits : NULL;
    o->limit_count = take_below(in, 8) == 0 ? take_below(in, MOST + 1) : 0;
    if (take_bool(in)) {
        o->umask = &c->umask;
        c->umask = (mode_t)take_int(in);
    }
    o->nice = take_int(in);
    o->keep_signals = take_bool(in);
}

static void take_channel(input *in, call *c)
{
    proc_channel_options *o = &c->channel;

    c->options.channel = o;
    o->max_message = take_bool(in) ? (size_t)take_int(in) << take_below(in, 32) : 0;
    o->high_water = (size_t)take_int(in);
    o->backlog = (size_t)take_int(in);
    o->max_fds = take8(in) + (size_t)take_below(in, 2);
    o->frame_ms = take_int(in);
    o->hello_ms = take_int(in);
    o->linger_ms = take_int(in);
    o->reserved[take_below(in, COUNT(o->reserved))] = take8(in) > 250;
}

static void take_run(input *in, call *c)
{
    static const char data[16];
    proc_options *o = &c->options;

    o->input = take_bool(in) ? data : NULL;
    o->input_size = take_below(in, 4) == 0 ? take_below(in, sizeof data + 1) : 0;
    o->max_buffer = take_below(in, 4) == 0 ? (size_t)take_int(in) : 0;
    o->overflow = (proc_overflow)take_int(in);
    o->drain_ms = take_int(in);
}

static void take_life(input *in, proc_options *o)
{
    o->group = (proc_group)take_below(in, 6);
    o->die_with_parent = take_bool(in);
    o->detached = take_below(in, 3) == 0;
    o->timeout_ms = take_int(in);
    o->stop_signal = take_int(in);
    o->grace_ms = take_int(in);
    o->cancel_fd = take_fd(in);
}

static void take_descriptors(input *in, call *c)
{
    proc_options *o = &c->options;

    take_stream(in, &o->in);
    take_stream(in, &o->out);
    take_stream(in, &o->err);
    o->fds = take_below(in, 16) != 0 ? c->maps : NULL;
    o->fd_count = take_below(in, MOST + 1);
    for (size_t i = 0; i < o->fd_count; i++) {
        c->maps[i] = (proc_fd_map){.child = take_int(in), .parent = take_fd(in)};
    }
    if (take8(in) > 253) {
        o->fd_count = SIZE_MAX / 2 + take8(in);
    }
    o->inherit_fds = take_bool(in);
}

/* Groups of options are left alone as a whole now and then, or hardly any start would get far. */
static void take_call(input *in, call *c)
{
    unsigned groups = take8(in), strings = take8(in);
    proc_options *o = &c->options;

    memset(c, 0, sizeof *c);
    c->door = (door)take_below(in, DOORS);
    take_strings(in, c, c->argv);
    if ((groups & 1) != 0) {
        take_descriptors(in, c);
    }
    if ((groups & 2) != 0) {
        take_rights(in, c);
    }
    if ((groups & 4) != 0) {
        take_life(in, o);
    }
    if ((groups & 8) != 0) {
        take_run(in, c);
    }
    if ((groups & 16) != 0) {
        take_channel(in, c);
    }
    o->file = (strings & 1) != 0 ? take_string(in, c) : NULL;
    o->cwd = (strings & 2) != 0 ? take_string(in, c) : NULL;
    o->shell = (strings & 4) != 0 ? take_string(in, c) : NULL;
    if ((strings & 8) != 0) {
        take_strings(in, c, c->env);
        o->env = c->env;
    }
    if ((strings & 16) != 0) {
        take_strings(in, c, c->env_changes);
        o->env_changes = c->env_changes;
    }
    c->no_argv = (strings & 96) == 96;
    c->no_entry = (strings & 160) == 160;
    o->reserved[groups % COUNT(o->reserved)] = groups > 253;
}

/* ---- what the manual refuses ---- */

static bool runs(const call *c)
{
    return c->door == EXEC || c->door == EXECFILE;
}

static bool has_channel(const call *c)
{
    return c->door == FORK || c->door == FORK_CALL || c->options.channel != NULL;
}

static bool is_empty(const char *text)
{
    return text != NULL && text[0] == '\0';
}

static bool names_no_program(const call *c)
{
    const proc_options *o = &c->options;

    switch (c->door) {
    case FORK_CALL:
        return c->no_entry || o->shell != NULL;
    case EXEC:
        return c->no_argv || c->argv[0] == NULL || o->file != NULL || is_empty(o->shell);
    case FORK:
        if (c->no_argv) { /* this program again */
            return o->shell != NULL || is_empty(o->file);
        }
        break;
    case SPAWN:
    case EXECFILE:
    case DOORS:
        break;
    }
    return c->no_argv || c->argv[0] == NULL || o->shell != NULL || is_empty(o->file) ||
           (o->file == NULL && is_empty(c->argv[0]));
}

static bool bad_list(const char *const *list, bool may_remove)
{
    for (; list != NULL && *list != NULL; list++) {
        if (is_empty(*list) || **list == '=' || (!may_remove && strchr(*list, '=') == NULL)) {
            return true;
        }
    }
    return false;
}

static bool bad_stream(const proc_options *o, const proc_stdio *stdio, int stream)
{
    return (unsigned)stdio->kind > PROC_PTY || (stdio->kind == PROC_MERGE && stream != 2) ||
           (stdio->kind == PROC_FILE && stdio->path == NULL) ||
           (stdio->kind == PROC_PTY && (o->group == PROC_GROUP_OWN || o->group == PROC_GROUP_SHARED));
}

static bool bad_descriptors(const call *c)
{
    const proc_options *o = &c->options;
    const proc_stdio *const streams[] = {&o->in, &o->out, &o->err};
    bool fed = o->in.kind == PROC_DEFAULT || o->in.kind == PROC_PIPE;

    if (o->fd_count > MOST || (o->fd_count > 0 && o->fds == NULL)) {
        return true;
    }
    for (int stream = 0; stream < 3; stream++) {
        if (bad_stream(o, streams[stream], stream)) {
            return true;
        }
    }
    for (size_t i = 0; i < o->fd_count; i++) {
        int number = o->fds[i].child;

        if (number < 0 || (number < 3 && streams[number]->kind != PROC_DEFAULT) || (number == 3 && has_channel(c))) {
            return true;
        }
        for (size_t k = 0; k < i; k++) {
            if (o->fds[k].child == number) {
                return true;
            }
        }
        fed = fed && number != 0;
    }
    return runs(c) && o->input != NULL && !fed;
}

static bool bad_channel(const call *c)
{
    const proc_channel_options *o = c->options.channel;

    if (o == NULL) {
        return false;
    }
    for (size_t i = 0; i < COUNT(o->reserved); i++) {
        if (o->reserved[i] != 0) {
            return true;
        }
    }
    return runs(c) || (o->max_message != 0 && (o->max_message < 65536 || o->max_message > 268435456)) ||
           o->max_fds > 250 || o->frame_ms < -1 || o->hello_ms < -1 || o->linger_ms < -1;
}

static bool bad_rights_or_life(const proc_options *o)
{
    const proc_user *user = o->user;

    return (user != NULL && (user->uid == (uid_t)-1 || user->gid == (gid_t)-1)) ||
           (user != NULL && user->groups == NULL && user->group_count > 0) ||
           (o->limits == NULL && o->limit_count > 0) || (o->umask != NULL && *o->umask > 0777) ||
           (unsigned)o->group > PROC_GROUP_SESSION || (o->die_with_parent && o->detached) || o->stop_signal < 0 ||
           o->stop_signal >= NSIG || o->timeout_ms < -1 || o->grace_ms < -1 || o->cancel_fd < -1;
}

static bool makes_no_sense(const call *c)
{
    const proc_options *o = &c->options;

    for (size_t i = 0; i < COUNT(o->reserved); i++) {
        if (o->reserved[i] != 0) {
            return true;
        }
    }
    if (c->door != FORK_CALL && (bad_list(o->env, false) || bad_list(o->env_changes, true))) {
        return true;
    }
    if (runs(c) &&
        ((o->input == NULL && o->input_size > 0) || (unsigned)o->overflow > PROC_OVERFLOW_TAIL || o->drain_ms < -1)) {
        return true;
    }
    return names_no_program(c) || bad_descriptors(c) || bad_channel(c) || bad_rights_or_life(o);
}

/* ---- the call ---- */

static int never_called(proc_channel *parent, void *arg)
{
    (void)parent;
    (void)arg;
    abort();
}

static int start(const call *c, proc_child **child, proc_result *result)
{
    const char *const *argv = c->no_argv ? NULL : c->argv;

    switch (c->door) {
    case EXECFILE:
        return proc_execfile(result, argv, &c->options);
    case EXEC:
        return proc_exec(result, argv == NULL ? NULL : argv[0], &c->options);
    case FORK:
        return proc_fork(child, argv, &c->options);
    case FORK_CALL:
        return proc_fork_call(child, c->no_entry ? NULL : never_called, NULL, &c->options);
    case SPAWN:
    case DOORS:
        break;
    }
    return proc_spawn(child, argv, &c->options);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    input in = {.at = data, .left = size};
    proc_child *child = NULL;
    proc_result result;
    proc_error error;
    char text[400];
    call c;

    launch_choice = take8(&in);
    take_call(&in, &c);
    memset(&error, 0x55, sizeof error);
    memset(&result, 0x55, sizeof result);
    c.options.error = &error;
    launched = false;

    size_t open_before = count_open();
    int err = start(&c, &child, &result);
    MUST(count_open() == open_before);
    MUST(err < 0 && child == NULL && error.code == err);
    MUST(error.step > PROC_STEP_NONE && error.step <= PROC_STEP_EXEC);
    MUST(memchr(error.subject, '\0', sizeof error.subject) != NULL);
    MUST(proc_error_format(&error, text, sizeof text) > 0);
    MUST(launched == (err == STUB_ERROR));
    if (makes_no_sense(&c)) {
        MUST(!launched);
    } else {
        MUST(err != -EINVAL || error.step != PROC_STEP_OPTIONS);
    }
    if (runs(&c)) {
        MUST(result.out == NULL && result.err == NULL && result.status.code == -1);
        proc_result_clear(&result);
    }
    for (size_t i = 0; i < c.text_count; i++) {
        free(c.texts[i]);
    }
    return 0;
}
