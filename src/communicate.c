/*
 * Everything at once, so that no order of reads and writes can lock two processes: stdin is fed, both outputs are drained,
 * the end, the clock and cancel_fd are watched. exec and execFile are this machine on a child of their own.
 *
 * The end of the child is not the end of its output: others may hold the pipes. A child that ended by itself is drained
 * to the end of file, or for drain_ms. One that was stopped is drained until the grace is over (the rest of its group may
 * still be cleaning up), and then for a moment more, for what those who got SIGKILL had written.
 */
#include "communicate.h"

#include "options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    LAST_WORDS_MS = 100,          /* for a killed group to fall off its pipes */
    LARGE_PIPE = 256 * 1024,      /* what pipes that carry much are enlarged to */
    DEFAULT_BUFFER = 1024 * 1024, /* max_buffer */
};

static void note_child_end(communicate *m, int64_t now)
{
    if (!m->ended) {
        m->ended = child_has_ended(m->child);
        if (m->ended && m->drain_ms >= 0) {
            m->drain_at = sys_deadline(now, m->drain_ms);
        }
    }
}

void communicate_init(communicate *m, proc_child *child, const proc_options *options)
{
    size_t limit = options->max_buffer == 0 ? DEFAULT_BUFFER : options->max_buffer;
    *m = (communicate){
        .child = child,
        .input = options->input,
        .input_left = options->input_size,
        .cancel_fd = options->cancel_fd > 0 ? options->cancel_fd : child->cancel_fd,
        .drain_ms = options->drain_ms == 0 ? PROC_FOREVER : options->drain_ms,
        .drain_at = SYS_NEVER,
    };
    capture_init(&m->captures[0], options->overflow, limit);
    capture_init(&m->captures[1], options->overflow, limit);
    const child_view before = child_look(child);
    m->reason = before.reason == LIFE_ASKED ? LIFE_NO_REASON : before.reason;
    if (before.ended) {
        note_child_end(m, sys_now());
    }
    m->piped[1] = child->streams[1] >= 0;
    m->piped[2] = child->streams[2] >= 0 && child->streams[2] != child->streams[1];
    if (child->streams[0] >= 0 && !child->is_terminal[0]) {
        if (m->input_left == 0) {
            child_close_stream(child, 0);
        } else if (m->input_left > 64 * 1024) {
            sys_grow_pipe(child->streams[0], LARGE_PIPE);
        }
        m->piped[0] = m->input_left > 0;
    }
    int terminal = child->is_terminal[0] ? child->streams[0] : -1;
    m->echoes = terminal >= 0 && terminal != child->streams[1] && terminal != child->streams[2];
    m->piped[0] = m->piped[0] || m->echoes;
}

static int fd_of(const communicate *m, int stream)
{
    return m->piped[stream] ? m->child->streams[stream] : -1;
}

static void end_stream(communicate *m, int stream)
{
    child_close_stream(m->child, stream);
    m->piped[stream] = false;
}

int64_t communicate_want(communicate *m, struct pollfd wants[COMMUNICATE_WANTS])
{
    bool may_cancel = m->reason == LIFE_NO_REASON;
    wants[COMMUNICATE_IN] = (struct pollfd){.fd = fd_of(m, 0), .events = m->echoes ? POLLIN : POLLOUT};
    wants[COMMUNICATE_OUT] = (struct pollfd){.fd = fd_of(m, 1), .events = POLLIN};
    wants[COMMUNICATE_ERR] = (struct pollfd){.fd = fd_of(m, 2), .events = POLLIN};
    wants[COMMUNICATE_EXIT] = (struct pollfd){.fd = m->ended ? -1 : child_exit_fd(m->child), .events = POLLIN};
    wants[COMMUNICATE_CANCEL] = (struct pollfd){.fd = may_cancel ? m->cancel_fd : -1, .events = POLLIN};
    m->blind = !m->ended && wants[COMMUNICATE_EXIT].fd < 0;
    const child_view view = child_look(m->child);
    int64_t due = m->reason == LIFE_NO_REASON ? view.time_limit : view.deadline;
    return child_look_again_at(m->blind, due < m->drain_at ? due : m->drain_at);
}

static void stop(communicate *m, life_reason reason)
{
    if (m->reason == LIFE_NO_REASON) {
        m->reason = reason;
    }
    child_begin_stop(m->child, reason);
}

/* EPIPE: the child does not read on. That is its right, and no failure. */
static void feed(communicate *m)
{
    size_t size = m->input_left < LARGE_PIPE ? m->input_left : LARGE_PIPE; /* the rest of the work waits meanwhile */
    ssize_t put = sys_write(m->child->streams[0], m->input, size);
    if (put > 0) {
        m->input += put;
        m->input_left -= (size_t)put;
    }
    if (m->input_left == 0 || (put < 0 && put != -EAGAIN)) {
        end_stream(m, 0);
    }
}

/* Nobody reads this terminal but us, and a child that fills it would stand still. */
static void drop_echo(communicate *m)
{
    char dropped[1024];
    ssize_t got = child_read_stream(m->child, 0, dropped, sizeof dropped);
    if (got <= 0 && got != -EAGAIN) {
        end_stream(m, 0);
    }
}

static void drain(communicate *m, int stream, bool late)
{
    capture *c = &m->captures[stream - 1];
    char *at;
    size_t room;
    m->err = capture_space(c, &at, &room);
    if (m->err < 0) {
        return;
    }
    ssize_t got = child_read_stream(m->child, stream, at, room);
    if (got == -EAGAIN) {
        return;
    }
    if (got <= 0) {
        m->err = (int)got;
        end_stream(m, stream);
        return;
    }
    capture_add(c, (size_t)got);
    m->overtime += late ? (size_t)got : 0;
    if (c->truncated && c->overflow == PROC_OVERFLOW_KILL) {
        stop(m, LIFE_OVERFLOW);
    }
}

/* A pipe that came back full carries much: from now on more at a time. */
static void enlarge(communicate *m, int stream, size_t before)
{
    enum { FULL = 64 * 1024 };
    const capture *c = &m->captures[stream - 1];
    if (m->piped[stream] && !m->child->is_terminal[stream] && before < FULL && c->size >= FULL) {
        sys_grow_pipe(m->child->streams[stream], LARGE_PIPE);
    }
}

static bool is_drained(const communicate *m)
{
    return m->ended && !m->piped[1] && !m->piped[2];
}

/* What was in the pipes when the time ran out still counts, but a stranger who goes on writing does not. */
static bool has_last_words(const communicate *m, bool quiet)
{
    return m->ended && !quiet && m->overtime < 2 * LARGE_PIPE;
}

static bool is_over(communicate *m, bool quiet, int64_t now)
{
    if (!m->ended) {
        return child_look(m->child).refused;
    }
    if (is_drained(m)) {
        return true;
    }
    if (now < m->drain_at || has_last_words(m, quiet)) {
        return false;
    }
    m->incomplete = true;
    return true;
}

/* Nobody whom we could still stop: the pipes' last words, and that is all. */
static void note_child_stop(communicate *m, int64_t now)
{
    const child_view view = child_look(m->child);
    bool stopped = m->reason != LIFE_NO_REASON || view.reason != LIFE_NO_REASON;
    if (m->ended && stopped && view.out_of_reach) {
        int64_t last = sys_deadline(now, LAST_WORDS_MS);
        m->drain_at = last < m->drain_at ? last : m->drain_at;
    }
}

/* Whoever drives this may be late: one that ended by itself has not timed out while all that it left can be read. */
static void look_at_clock(communicate *m, bool quiet, int64_t now)
{
    if (child_look(m->child).reason == LIFE_NO_REASON && (is_drained(m) || has_last_words(m, quiet))) {
        return;
    }
    child_step(m->child, now);
    if (m->reason == LIFE_NO_REASON && child_look(m->child).time_limit <= now) {
        m->reason = LIFE_TIMEOUT; /* the step has seen to it, if there was anybody left to stop */
    }
}

bool communicate_step(communicate *m, const struct pollfd wants[COMMUNICATE_WANTS], int64_t now)
{
    int64_t limit = child_look(m->child).time_limit;
    bool quiet = true, late = now >= m->drain_at || now >= limit;
    if (wants[COMMUNICATE_IN].revents != 0) {
        (m->echoes ? drop_echo : feed)(m);
    }
    for (int stream = 1; stream <= 2 && m->err == 0; stream++) {
        if (wants[COMMUNICATE_IN + stream].revents != 0) {
            size_t before = m->captures[stream - 1].size;
            drain(m, stream, late);
            enlarge(m, stream, before);
            quiet = false;
        }
    }
    if (wants[COMMUNICATE_EXIT].revents != 0 || m->blind) {
        note_child_end(m, now);
    }
    if (wants[COMMUNICATE_CANCEL].revents != 0) {
        stop(m, LIFE_CANCEL);
    }
    look_at_clock(m, quiet, now);
    note_child_stop(m, now);
    return m->err < 0 || is_over(m, quiet, now);
}

static int reason_to_error(life_reason reason)
{
    switch (reason) {
    case LIFE_TIMEOUT:
        return -ETIMEDOUT;
    case LIFE_CANCEL:
        return -ECANCELED;
    case LIFE_OVERFLOW:
        return -ENOBUFS;
    case LIFE_NO_REASON:
    case LIFE_ASKED:
        break;
    }
    return 0;
}

static void clear(proc_result *result)
{
    free(result->out);
    free(result->err);
    *result = (proc_result){.status.code = -1};
}

int communicate_finish(communicate *m, proc_result *result)
{
    int err = m->err;
    bool refused = child_look(m->child).refused;
    if (err < 0) { /* what it wrote is lost anyway; before its input ends, which it might take for an answer */
        refused = child_kill_now(m->child) == -EPERM;
    }
    for (int stream = 0; stream < 3; stream++) {
        if (m->piped[stream]) {
            end_stream(m, stream);
        }
    }
    if (m->ended || !refused) {
        child_finish(m->child, &result->status);
    }
    if (err == 0) {
        err = capture_finish(&m->captures[0], &result->out, &result->out_size);
    }
    if (err == 0) {
        err = capture_finish(&m->captures[1], &result->err, &result->err_size);
    }
    capture_free(&m->captures[0]);
    capture_free(&m->captures[1]);
    if (err < 0) {
        clear(result);
        return err;
    }
    result->out_truncated = m->captures[0].truncated;
    result->err_truncated = m->captures[1].truncated;
    result->incomplete = m->incomplete;
    return reason_to_error(m->reason);
}

int communicate_run(proc_child *child, const proc_options *options, proc_result *result)
{
    communicate m;
    struct pollfd wants[COMMUNICATE_WANTS];
    communicate_init(&m, child, options);
    if (m.input_left > 0) {
        feed(&m);
    }
    for (bool over = is_over(&m, true, 0); !over;) {
        int64_t deadline = communicate_want(&m, wants);
        int ready = sys_poll(wants, COMMUNICATE_WANTS, deadline);
        m.err = ready < 0 ? ready : 0;
        over = m.err < 0 || communicate_step(&m, wants, sys_now());
    }
    return communicate_finish(&m, result);
}

int proc_child_communicate(proc_child *child, const proc_options *options, proc_result *result)
{
    static const proc_options defaults;
    proc_error unused;
    if (options == NULL) {
        options = &defaults;
    }
    if (result == NULL) {
        return -EINVAL;
    }
    *result = (proc_result){.status.code = -1};
    if (!child_is_ours(child)) {
        return -EINVAL;
    }
    int err = options_check_run(options, &unused);
    if (err < 0) {
        return err;
    }
    if (options->input_size > 0 && (child->streams[0] < 0 || child->is_terminal[0])) {
        return -EBADF;
    }
    int cancel = sys_hold_cancel();
    err = communicate_run(child, options, result);
    sys_release_cancel(cancel);
    return err;
}

int communicate_execute(proc_result *result, const plan_program *program, const proc_options *options)
{
    static const proc_options defaults;
    options = options != NULL ? options : &defaults;
    if (result == NULL) {
        return options->error != NULL ? plan_refuse(options->error, -EINVAL, PROC_STEP_OPTIONS, "result") : -EINVAL;
    }
    *result = (proc_result){.status.code = -1};
    int cancel = sys_hold_cancel();
    proc_child *child = NULL;
    int err = child_start(&child, program, options);
    if (err == 0) {
        err = communicate_run(child, options, result);
        child_destroy(child);
    }
    sys_release_cancel(cancel);
    return err;
}

void proc_result_clear(proc_result *result)
{
    if (result != NULL) {
        clear(result);
    }
}
