/*
 * The handle: its streams, its end, and the three ways to bring that about. Any number of threads may wait for one child;
 * each polls for itself, and whoever sees something due takes the lock and does it, once. The number of a child is only
 * used under the lock and before the reap, so that a signal never reaches a stranger.
 */
#include "child.h"

#include "channel.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

bool child_is_ours(const proc_child *c)
{
    return c != NULL && c->owner == sys_own_pid();
}

/* ---- the end, under the lock ---- */

static void note_end(proc_child *c)
{
    if (!c->ended) {
        c->ended = true;
        c->status.wall_ns = sys_now() - c->started;
    }
}

static bool look_whether_ended(proc_child *c)
{
    if (!c->ended) {
        int ended = sys_peek(c->pid, c->watch.pidfd);
        if (ended > 0 || ended == -ECHILD) { /* -ECHILD: somebody else reaped it */
            note_end(c);
        }
    }
    return c->ended;
}

/* Stolen children are not ours to signal: their number may be anybody's by now. */
static bool is_stolen(const proc_child *c)
{
    return sys_peek(c->pid, c->watch.pidfd) == -ECHILD;
}

/* While another thread is in the call that reaps it, the number may cease to be its own at any moment. */
static int signal_child(proc_child *c, int signal)
{
    return sys_kill(c->reaping ? 0 : c->pid, c->watch.pidfd, signal);
}

static int send_signal(proc_child *c, int signal)
{
    if (c->reaped || is_stolen(c)) {
        return -ESRCH;
    }
    if (!c->own_group) {
        return signal_child(c, signal);
    }
    int err = sys_kill_group(c->pid, signal);
    if (err == -ESRCH || signal == SIGKILL) { /* it may have left its group for another one, or its user */
        err = signal_child(c, signal);
    }
    return err;
}

static void perform(proc_child *c, life_act act)
{
    switch (act) {
    case LIFE_WAIT:
        break;
    case LIFE_SEND_STOP:
        /* Where they are refused SIGKILL will tell; a stopped process takes a signal when it goes on. */
        (void)send_signal(c, c->stop_signal);
        (void)send_signal(c, SIGCONT);
        break;
    case LIFE_SEND_KILL:
        c->forced = !look_whether_ended(c);
        c->refused = send_signal(c, SIGKILL) == -EPERM;
        break;
    }
}

static void step(proc_child *c, int64_t now)
{
    if (!c->reaped) {
        perform(c, life_step(&c->life, now));
    }
}

/* What the system does not know. SIGKILL may have come too late, behind the stop signal's own work. */
static void complete_status(proc_child *c)
{
    c->status.timed_out = c->life.reason == LIFE_TIMEOUT;
    c->status.forced = c->forced && c->status.state == PROC_SIGNALED && c->status.signal == SIGKILL;
    c->reaped = true;
}

static void finish(proc_child *c)
{
    while (c->reaping && !c->reaped) {
        (void)pthread_cond_wait(&c->reaped_now, &c->lock); /* it is dead: that thread comes back at once */
    }
    if (c->reaped) {
        return;
    }
    if (c->life.phase != LIFE_RUNNING && c->own_group && !is_stolen(c)) {
        (void)sys_kill_group(c->pid, SIGKILL); /* while the dead leader still holds the number */
    }
    exitwatch_settle(&c->watch);
    sys_reap(c->pid, c->watch.pidfd, &c->status);
    complete_status(c);
}

/* ---- the same for those who do not hold it ---- */

static void lock(proc_child *c)
{
    (void)pthread_mutex_lock(&c->lock);
}

static void unlock(proc_child *c)
{
    (void)pthread_mutex_unlock(&c->lock);
}

int child_exit_fd(proc_child *c)
{
    lock(c);
    int fd = exitwatch_fd(&c->watch, c->pid, c->reaped);
    unlock(c);
    return fd;
}

int child_exit_of(void *child)
{
    return child_exit_fd(child);
}

int64_t child_look_again_at(bool blind, int64_t deadline)
{
    enum { PAUSE_MS = 10 };
    int64_t next = blind ? sys_deadline(sys_now(), PAUSE_MS) : deadline;
    return next < deadline ? next : deadline;
}

bool child_has_ended(proc_child *c)
{
    lock(c);
    bool ended = look_whether_ended(c);
    unlock(c);
    return ended;
}

child_view child_look(proc_child *c)
{
    lock(c);
    int64_t deadline = c->reaped ? SYS_NEVER : life_deadline(&c->life);
    bool no_kill_follows = c->life.phase != LIFE_RUNNING && deadline == SYS_NEVER;
    child_view view = {
        .ended = c->ended,
        .stopping = c->reaped || c->life.phase != LIFE_RUNNING,
        .out_of_reach = c->reaped || !c->own_group || no_kill_follows,
        .refused = c->refused,
        .reason = c->life.reason,
        .deadline = deadline,
        .time_limit = c->life.timeout_at,
    };
    unlock(c);
    return view;
}

int child_kill_now(proc_child *c)
{
    lock(c);
    int err = send_signal(c, SIGKILL);
    unlock(c);
    return err;
}

void child_begin_stop(proc_child *c, life_reason reason)
{
    lock(c);
    if (!c->reaped) {
        perform(c, life_stop(&c->life, reason, c->life.grace_ms, sys_now()));
    }
    unlock(c);
}

void child_step(proc_child *c, int64_t now)
{
    lock(c);
    step(c, now);
    unlock(c);
}

void child_finish(proc_child *c, proc_status *status)
{
    lock(c);
    finish(c);
    *status = c->status;
    unlock(c);
}

/* ---- waiting ---- */

/* Somebody may still read what a child left behind: its time is of no interest then, unless others of its group live on. */
static void step_unless_over(proc_child *c, int64_t now)
{
    lock(c);
    if (!c->reaped && c->life.phase == LIFE_RUNNING && !c->own_group && look_whether_ended(c)) {
        c->life.timeout_at = SYS_NEVER;
    } else {
        step(c, now);
    }
    unlock(c);
}

int child_await(proc_child *c, int stream_fd, short events, int64_t deadline)
{
    enum { STREAM, END, CANCEL, COUNT };
    const child_view view = child_look(c);
    struct pollfd fds[COUNT] = {
        {.fd = stream_fd, .events = events},
        {.fd = -1, .events = POLLIN},
        {.fd = view.stopping ? -1 : c->cancel_fd, .events = POLLIN},
    };
    int64_t due = view.deadline, until = due < deadline ? due : deadline;
    bool blind = false;
    if (stream_fd < 0) {
        fds[END].fd = child_exit_fd(c);
        blind = fds[END].fd < 0;
        until = child_look_again_at(blind, until);
    }
    int ready = sys_poll(fds, COUNT, until);
    if (ready == -EINVAL && stream_fd < 0) { /* RLIMIT_NOFILE is below even this few: a sandbox */
        blind = true;
        ready = sys_poll(NULL, 0, child_look_again_at(blind, until));
    }
    if (ready < 0) {
        return ready;
    }
    if (fds[END].revents != 0 || (blind && child_has_ended(c))) {
        return 1; /* before anything is stopped that has ended by itself */
    }
    if (fds[CANCEL].revents != 0) {
        child_begin_stop(c, LIFE_CANCEL);
    }
    int64_t now = sys_now();
    if (due <= now) {
        step_unless_over(c, now);
    }
    if (fds[STREAM].revents != 0) {
        return 1;
    }
    return deadline != SYS_NEVER && deadline <= now ? -ETIMEDOUT : 0;
}

/* Reaps it if it has ended, of which the caller may know already; false while it runs. */
static bool finish_if_ended(proc_child *c, bool known, proc_status *status)
{
    lock(c);
    if (known) {
        note_end(c);
    }
    bool ended = look_whether_ended(c);
    if (ended) {
        finish(c);
    }
    *status = c->status;
    unlock(c);
    return ended;
}

/* Asked once: a filter in front of the call makes sys_kill fall back to the number. */
static bool signals_go_by_descriptor(const proc_child *c)
{
    static atomic_bool they_do;
    if (!atomic_load_explicit(&they_do, memory_order_relaxed)) {
        bool now = sys_kill(0, c->watch.pidfd, 0) == 0;
        atomic_store_explicit(&they_do, now, memory_order_relaxed);
        return now;
    }
    return true;
}

/*
 * The plainest wait takes one system call: nothing has to be looked after on the way, and no signal of another thread's can
 * go astray after the reap, since it goes by descriptor and not by number.
 */
static bool may_reap_directly(const proc_child *c)
{
    return !c->own_group && c->watch.pidfd >= 0 && c->cancel_fd < 0 && life_deadline(&c->life) == SYS_NEVER &&
           !c->reaping && !c->ended && !c->refused && signals_go_by_descriptor(c);
}

static bool reap_directly(proc_child *c, proc_status *status)
{
    proc_status end = {.state = PROC_RUNNING};
    lock(c);
    bool direct = may_reap_directly(c);
    c->reaping = c->reaping || direct;
    unlock(c);
    if (!direct) {
        return false;
    }
    sys_reap(c->pid, c->watch.pidfd, &end);
    lock(c);
    note_end(c);
    end.wall_ns = c->status.wall_ns;
    c->status = end;
    complete_status(c);
    *status = c->status;
    (void)pthread_cond_broadcast(&c->reaped_now);
    unlock(c);
    return true;
}

static int wait_for_end(proc_child *c, int timeout_ms, bool stopping, proc_status *status)
{
    if (timeout_ms == PROC_FOREVER && reap_directly(c, status)) {
        return 0;
    }
    int64_t deadline = timeout_ms == 0 ? 0 : sys_deadline(sys_now(), timeout_ms);
    if (timeout_ms == 0 || child_look(c).ended) { /* no need for a descriptor */
        if (finish_if_ended(c, false, status)) {
            return 0;
        }
    }
    int ready = 0;
    while (ready == 0) {
        ready = stopping && child_look(c).refused ? -EPERM : child_await(c, -1, 0, deadline);
    }
    /* At the deadline it may have ended just now. */
    return finish_if_ended(c, ready > 0, status) ? 0 : ready;
}

int proc_child_wait(proc_child *child, int timeout_ms, proc_status *status)
{
    proc_status unused;
    if (!child_is_ours(child) || !child_is_time(timeout_ms)) {
        return -EINVAL;
    }
    int cancel = sys_hold_cancel();
    int err = wait_for_end(child, timeout_ms, false, status != NULL ? status : &unused);
    sys_release_cancel(cancel);
    return err;
}

/* ---- killing ---- */

int proc_child_kill(proc_child *child, int signal)
{
    if (!child_is_ours(child)) {
        return -EINVAL;
    }
    int cancel = sys_hold_cancel();
    lock(child);
    int err = send_signal(child, signal);
    unlock(child);
    sys_release_cancel(cancel);
    return err;
}

/* In a loop, which goes on with it: nobody waits. */
static int leave_stop_to_loop(proc_child *c, proc_status *status)
{
    if (finish_if_ended(c, false, status)) {
        return 0;
    }
    c->observer->stopping(c->observer);
    return child_look(c).refused ? -EPERM : 0;
}

int proc_child_stop(proc_child *child, int grace_ms, proc_status *status)
{
    proc_status unused;
    if (!child_is_ours(child) || !child_is_time(grace_ms)) {
        return -EINVAL;
    }
    status = status != NULL ? status : &unused;
    int cancel = sys_hold_cancel();
    lock(child);
    if (!child->reaped && !look_whether_ended(child)) {
        int64_t now = sys_now();
        perform(child, life_stop(&child->life, LIFE_ASKED, grace_ms, now));
        step(child, now);
    }
    unlock(child);
    int err =
        child->observer != NULL ? leave_stop_to_loop(child, status) : wait_for_end(child, PROC_FOREVER, true, status);
    sys_release_cancel(cancel);
    return err;
}

/* ---- the rest ---- */

void child_close_stream(proc_child *c, int stream)
{
    lock(c); /* the streams of a terminal share one descriptor */
    int fd = c->streams[stream], closed = fd;
    c->streams[stream] = -1;
    for (int other = 0; other < 3; other++) {
        if (c->streams[other] == fd) {
            closed = -1;
        }
    }
    unlock(c);
    if (c->observer != NULL && fd >= 0) {
        c->observer->closing(c->observer, fd);
    }
    sys_close(&closed);
}

pid_t proc_child_pid(const proc_child *child)
{
    return child_is_ours(child) ? child->pid : -EINVAL;
}

int proc_child_exit_fd(proc_child *child)
{
    if (!child_is_ours(child)) {
        return -EINVAL;
    }
    int cancel = sys_hold_cancel();
    int fd = child_exit_fd(child);
    sys_release_cancel(cancel);
    return fd;
}

proc_channel *proc_child_channel(const proc_child *child)
{
    return child_is_ours(child) ? child->channel : NULL;
}

static void end_now(proc_child *c)
{
    if (c->reaped) {
        return;
    }
    if (!look_whether_ended(c)) {
        if (c->detached || send_signal(c, SIGKILL) == -EPERM) { /* it has become somebody else: not ours to end */
            return;
        }
    }
    /* The group gets its SIGKILL once more when the leader is dead: until then it could still fork. */
    if (!c->ended) {
        c->life.phase = LIFE_KILLED;
        struct pollfd end = {.fd = c->watch.pidfd >= 0 ? c->watch.pidfd : c->watch.fd, .events = POLLIN};
        if (end.fd >= 0) {
            (void)sys_poll(&end, 1, SYS_NEVER);
        }
    }
    finish(c);
}

/* The streams go last: an end of file on its stdin is an answer, and a child that is being killed should not act on it. */
void child_destroy(proc_child *c)
{
    if (c->observer != NULL) {
        c->observer->leaving(c->observer);
    }
    lock(c);
    end_now(c);
    bool gone = c->reaped;
    unlock(c);
    channel_close(c->channel, gone); /* nobody reads any more: nothing to linger for */
    for (int stream = 0; stream < 3; stream++) {
        child_close_stream(c, stream);
    }
    exitwatch_close(&c->watch);
    (void)pthread_cond_destroy(&c->reaped_now);
    (void)pthread_mutex_destroy(&c->lock);
    free(c->input.data);
    free(c);
}

/* In a copy of the process: no lock, which may be held for ever, and nobody else's child is touched. */
static void forget(proc_child *c)
{
    if (c->observer != NULL) {
        c->observer->leaving(c->observer);
    }
    for (int stream = 0; stream < 3; stream++) {
        int fd = c->streams[stream];
        for (int other = stream; other < 3; other++) {
            if (c->streams[other] == fd) {
                c->streams[other] = -1;
            }
        }
        sys_close(&fd);
    }
    exitwatch_forget(&c->watch);
    proc_channel_free(c->channel);
    free(c->input.data);
    free(c);
}

void proc_child_free(proc_child *child)
{
    if (child == NULL) {
        return;
    }
    int cancel = sys_hold_cancel();
    if (child_is_ours(child)) {
        child_destroy(child);
    } else {
        forget(child);
    }
    sys_release_cancel(cancel);
}
