/*
 * proc_options become a launch_plan: strings, candidates and ids are made ready, files, pipes and the terminal are opened.
 * What was opened is in the plan from the moment it is open, so that one function gives all of it back.
 */
#include "plan.h"

#include "environment.h"
#include "options.h"
#include "os/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern char **environ;

enum { NO_OPTION = -1 }; /* of a move that the channel needs */

int plan_refuse(proc_error *error, int code, proc_step step, const char *subject)
{
    error->code = code;
    error->step = step;
    (void)snprintf(error->subject, sizeof error->subject, "%s", subject);
    return code;
}

/* ---- descriptors ---- */

static int compare_moves(const void *left, const void *right)
{
    int a = ((const launch_move *)left)->to, b = ((const launch_move *)right)->to;
    return (a > b) - (a < b);
}

static bool is_target(const launch_move *moves, size_t count, int fd)
{
    const launch_move wanted = {.to = fd};
    return bsearch(&wanted, moves, count, sizeof *moves, compare_moves) != NULL;
}

/* Where the order is broken first; count if it is not. */
static size_t first_disorder(const launch_move *moves, size_t count)
{
    size_t i = 1;
    while (i < count && moves[i - 1].to < moves[i].to) {
        i++;
    }
    return i < count ? i : count;
}

bool plan_arrange_moves(launch_move *moves, size_t count)
{
    if (first_disorder(moves, count) < count) {
        qsort(moves, count, sizeof *moves, compare_moves);
        if (first_disorder(moves, count) < count) {
            return false;
        }
    }
    for (size_t i = 0; i < count; i++) {
        launch_move *move = &moves[i];
        move->lift = move->source == LAUNCH_FD && move->from != move->to && is_target(moves, count, move->from);
    }
    return true;
}

static int open_file(const proc_stdio *stdio, int stream)
{
    int flags = stdio->flags;
    if (flags == 0) {
        flags = stream == 0 ? O_RDONLY : O_WRONLY | O_CREAT | O_TRUNC;
    }
    return sys_open(stdio->path, flags, stdio->mode == 0 ? 0666 : stdio->mode);
}

static int open_pipe(plan *p, int stream)
{
    int ends[2];
    int err = sys_pipe(ends);
    if (err < 0) {
        return err;
    }
    p->child_ends[stream] = ends[stream != 0];
    p->parent_ends[stream] = ends[stream == 0];
    return stream == 0 ? sys_set_nonblocking(p->parent_ends[0]) : 0;
}

static int open_terminal(plan *p, int stream)
{
    if (p->terminal.master < 0) {
        int err = sys_open_terminal(&p->terminal);
        if (err < 0) {
            return err;
        }
        p->launch.terminal = &p->terminal;
    }
    p->parent_ends[stream] = p->terminal.master;
    return 0;
}

/* One stream's move; what it needs is opened. */
static int plan_stream(plan *p, int stream, const proc_stdio *stdio, proc_stdio_kind kind, proc_error *error)
{
    launch_move *move = &p->launch.moves[p->launch.move_count];
    *move = (launch_move){.to = stream, .source = LAUNCH_FD, .option = stream};
    int err = 0;
    switch (kind) {
    case PROC_DEFAULT:
        return 0; /* an entry of fds has its place */
    case PROC_INHERIT:
        move->source = LAUNCH_INHERIT;
        break;
    case PROC_NULL:
        move->source = LAUNCH_NULL;
        break;
    case PROC_MERGE:
        move->source = LAUNCH_CHILD;
        move->from = 1;
        break;
    case PROC_FD:
        move->from = stdio->fd;
        break;
    case PROC_FILE:
        move->from = p->child_ends[stream] = open_file(stdio, stream);
        if (move->from < 0) {
            p->child_ends[stream] = -1;
            return plan_refuse(error, move->from, PROC_STEP_OPEN, stdio->path);
        }
        break;
    case PROC_PIPE:
        err = open_pipe(p, stream);
        move->from = p->child_ends[stream];
        break;
    case PROC_PTY:
        err = open_terminal(p, stream);
        move->from = p->terminal.slave;
        break;
    }
    if (err < 0) {
        return plan_refuse(error, err, PROC_STEP_PIPE, options_stream_name(stream));
    }
    p->launch.move_count++;
    return 0;
}

static int plan_channel(plan *p, proc_error *error)
{
    int ends[2];
    int err = socket_pair(ends);
    if (err < 0) {
        return plan_refuse(error, err, PROC_STEP_PIPE, "channel");
    }
    p->channel_end = ends[0];
    p->child_channel_end = ends[1];
    p->launch.moves[p->launch.move_count++] = (launch_move){
        .to = PLAN_CHANNEL_FD,
        .from = ends[1],
        .source = LAUNCH_FD,
        .option = NO_OPTION,
    };
    return 0;
}

static int take_moves(plan *p, size_t most)
{
    p->launch.moves = p->few_moves;
    if (most > sizeof p->few_moves / sizeof p->few_moves[0]) {
        p->launch.moves = p->move_memory = calloc(most, sizeof(launch_move));
    }
    return p->launch.moves != NULL ? 0 : -ENOMEM;
}

/* Before anything is opened here: what is opened takes the lowest numbers, which a stale number of the caller's may name. */
static int check_sources(const proc_options *options, proc_error *error)
{
    for (int stream = 0; stream < 3; stream++) {
        const proc_stdio *stdio = options_stream(options, stream);
        if (stdio->kind == PROC_FD && fcntl(stdio->fd, F_GETFD) < 0) {
            return plan_refuse(error, -EBADF, PROC_STEP_FDS, options_stream_name(stream));
        }
    }
    for (size_t i = 0; i < options->fd_count; i++) {
        if (fcntl(options->fds[i].parent, F_GETFD) < 0) {
            char subject[32];
            (void)snprintf(subject, sizeof subject, "fds[%zu]", i);
            return plan_refuse(error, -EBADF, PROC_STEP_FDS, subject);
        }
    }
    return 0;
}

static int plan_descriptors(plan *p, const plan_program *program, const proc_options *options, proc_error *error)
{
    int err = check_sources(options, error);
    if (err < 0) {
        return err;
    }
    err = take_moves(p, 4 + options->fd_count);
    if (err < 0) {
        return plan_refuse(error, err, PROC_STEP_OPTIONS, "fds");
    }
    for (size_t i = 0; i < options->fd_count; i++) {
        p->launch.moves[p->launch.move_count++] = (launch_move){
            .to = options->fds[i].child,
            .from = options->fds[i].parent,
            .source = LAUNCH_FD,
            .option = 3 + (int)i,
        };
    }
    if (!plan_arrange_moves(p->launch.moves, p->launch.move_count)) {
        const launch_move *twins = &p->launch.moves[first_disorder(p->launch.moves, p->launch.move_count) - 1];
        int later = twins[0].option > twins[1].option ? twins[0].option : twins[1].option;
        char subject[32];
        (void)snprintf(subject, sizeof subject, "fds[%d]", later - 3);
        return plan_refuse(error, -EINVAL, PROC_STEP_OPTIONS, subject);
    }
    for (int stream = 0; stream < 3; stream++) { /* from here on files are opened, and perhaps truncated */
        proc_stdio_kind kind = options_stream_kind(options, stream, program->run);
        err = plan_stream(p, stream, options_stream(options, stream), kind, error);
        if (err < 0) {
            return err;
        }
    }
    if (options_fork(program, options) && (err = plan_channel(p, error)) < 0) {
        return err;
    }
    (void)plan_arrange_moves(p->launch.moves, p->launch.move_count); /* a stream that fds names has no move */
    p->launch.close_others = !options->inherit_fds;
    return 0;
}

/* ---- program and environment ---- */

static int refuse_environment(proc_error *error, int err, const char *option, const char *const *list,
                              const char *const *bad)
{
    char subject[64];
    if (bad != NULL) {
        (void)snprintf(subject, sizeof subject, "%s[%td]", option, bad - list);
        option = subject;
    }
    return plan_refuse(error, err, PROC_STEP_OPTIONS, option);
}

static int plan_environment(plan *p, bool fork, const proc_options *options, proc_error *error)
{
    static const char channel[] = PLAN_CHANNEL_NAME "=3:1"; /* the descriptor, and the protocol's version */
    const char *const *base = (const char *const *)environ;
    const char *const *bad = NULL;
    if (options->env != NULL) {
        base = options->env;
        int err = environment_check(base, &bad);
        if (err < 0) {
            return refuse_environment(error, err, "env", base, bad);
        }
    } else if (options->env_changes == NULL && !fork) {
        p->launch.envp = base;
        return 0;
    }
    const char *last = fork ? channel : NULL;
    int err = environment_merge(base, options->env_changes, last, &p->env_memory, &p->launch.envp, &bad);
    return err < 0 ? refuse_environment(error, err, "env_changes", options->env_changes, bad) : 0;
}

static int plan_paths(plan *p, const plan_program *program, const proc_options *options, proc_error *error)
{
    p->name = program->file;
    if (p->name == NULL) {
        p->name = options->file != NULL ? options->file : program->argv[0];
    }
    p->launch.argv = program->argv;
    if (strchr(p->name, '/') != NULL) {
        p->single_path[0] = p->name;
        p->launch.paths = p->single_path;
        return 0;
    }
    p->launch.searched = true;
    int err = environment_search(p->name, p->launch.envp, &p->path_memory, &p->launch.paths);
    return err < 0 ? plan_refuse(error, err, PROC_STEP_EXEC, p->name) : 0;
}

/* ---- rights ---- */

static bool contains(const gid_t *groups, size_t count, gid_t gid)
{
    for (size_t i = 0; i < count; i++) {
        if (groups[i] == gid) {
            return true;
        }
    }
    return false;
}

/* Compared as sets. A program without rights may keep the supplementary groups that it has. */
static bool has_groups_already(const proc_user *user)
{
    int count = getgroups(0, NULL);
    gid_t *now = count < 0 ? NULL : malloc(((size_t)count + 1) * sizeof *now);
    if (now == NULL) {
        return false;
    }
    count = getgroups(count, now);
    bool same = count >= 0;
    for (int i = 0; i < count && same; i++) {
        same = contains(user->groups, user->group_count, now[i]);
    }
    for (size_t i = 0; i < user->group_count && same; i++) {
        same = contains(now, (size_t)count, user->groups[i]);
    }
    free(now);
    return same;
}

static void plan_rights(plan *p, const proc_options *options)
{
    if (options->user != NULL) {
        p->ids = (launch_ids){
            .uid = options->user->uid,
            .gid = options->user->gid,
            .groups = options->user->groups,
            .group_count = options->user->group_count,
            .set_groups = geteuid() == 0 || !has_groups_already(options->user),
        };
        p->launch.ids = &p->ids;
    }
    p->launch.cwd = options->cwd;
    p->launch.umask = options->umask;
    p->launch.limits = options->limits;
    p->launch.limit_count = options->limit_count;
    p->launch.nice = options->nice;
    p->launch.keep_signals = options->keep_signals;
}

static void plan_group(plan *p, const plan_program *program, const proc_options *options)
{
    proc_group group = options_group(options, program->run);
    p->own_group = group != PROC_GROUP_SHARED;
    p->launch.new_group = group == PROC_GROUP_OWN;
    p->launch.new_session = group == PROC_GROUP_SESSION;
    /* A call that blocks until the child has ended may ask for this by itself: its thread cannot end first. */
    bool by_itself = program->run && !program->later && !options->detached && sys_can_die_with_parent;
    p->launch.die_with_parent = options->die_with_parent || by_itself;
    p->launch.die_if_possible = !options->die_with_parent;
}

int plan_make(plan *p, const plan_program *program, const proc_options *options, proc_error *error)
{
    int err = options_check(program, options, error);
    if (err < 0) {
        return err;
    }
    *p = (plan){
        .parent_ends = {-1, -1, -1},
        .child_ends = {-1, -1, -1},
        .channel_end = -1,
        .child_channel_end = -1,
        .terminal = {.master = -1, .slave = -1},
    };
    plan_rights(p, options);
    plan_group(p, program, options);
    if (!program->call) {
        err = plan_environment(p, options_fork(program, options), options, error);
        if (err == 0) {
            err = plan_paths(p, program, options, error);
        }
    } else {
        p->name = "";
    }
    if (err == 0) {
        err = plan_descriptors(p, program, options, error);
    }
    if (err < 0) {
        plan_free(p);
    }
    return err;
}

void plan_close_child_ends(plan *p)
{
    for (int stream = 0; stream < 3; stream++) {
        sys_close(&p->child_ends[stream]);
    }
    sys_close(&p->child_channel_end);
    sys_close(&p->terminal.slave);
}

void plan_free(plan *p)
{
    plan_close_child_ends(p);
    for (int stream = 0; stream < 3; stream++) {
        int fd = p->parent_ends[stream];
        for (int other = stream; other < 3; other++) { /* a terminal is the end of several */
            if (p->parent_ends[other] == fd) {
                p->parent_ends[other] = -1;
            }
        }
        sys_close(&fd);
    }
    sys_close(&p->channel_end);
    free(p->path_memory);
    free(p->env_memory);
    free(p->move_memory);
}

/* ---- what went wrong in the child ---- */

int plan_explain(const plan *p, const proc_options *options, const launch_failure *failure, proc_error *error)
{
    static const char *const fixed[] = {
        [PROC_STEP_PARENT] = "die_with_parent",
        [PROC_STEP_GROUP] = "group",
        [PROC_STEP_UMASK] = "umask",
        [PROC_STEP_NICE] = "nice",
        [PROC_STEP_GROUPS] = "user",
        [PROC_STEP_GID] = "user",
        [PROC_STEP_UID] = "user",
        [PROC_STEP_SIGNALS] = "keep_signals",
        [PROC_STEP_EXEC] = NULL,
    };
    char entry[64];
    const char *subject = fixed[failure->step];
    if (failure->step == PROC_STEP_CHDIR) {
        subject = options->cwd;
    } else if (failure->step == PROC_STEP_LIMIT) {
        (void)snprintf(entry, sizeof entry, "limits[%d]", failure->index);
        subject = entry;
    } else if (failure->step == PROC_STEP_FDS) {
        int option = p->launch.moves[failure->index].option;
        (void)snprintf(entry, sizeof entry, "fds[%d]", option - 3);
        subject = option == NO_OPTION ? "channel" : option < 3 ? options_stream_name(option) : entry;
    } else if (subject == NULL) { /* LAUNCH, EXEC */
        subject = p->name;
    }
    return plan_refuse(error, failure->err, failure->step, subject);
}
