/*
 * Many children, channels and timers in one thread: what the loop itself does, whatever its members are. A step attends to
 * those in the queue, waits once, and hands out what came.
 */
#include "loop.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

enum { MOST_AT_ONCE_EVENTS = 128 };

struct loop_port {
    int fd;
    short events;
    loop_source *first;
    loop_source *cursor; /* who is told next, while an event is handed out */
    loop_port *next_old;
};

bool loop_is_ours(const proc_loop *loop)
{
    return loop != NULL && loop->owner == sys_own_pid();
}

int loop_check(const proc_loop *loop)
{
    return loop_is_ours(loop) && !loop->doomed ? 0 : -EINVAL;
}

/* ---- sources and ports ---- */

static int reserve_port(proc_loop *loop, int fd)
{
    size_t count = loop->port_count == 0 ? 64 : loop->port_count;
    while (count <= (size_t)fd) {
        count *= 2;
    }
    if (count != loop->port_count) {
        loop_port **ports = realloc(loop->ports, count * sizeof(loop_port *));
        if (ports == NULL) {
            return -ENOMEM;
        }
        for (size_t i = loop->port_count; i < count; i++) {
            ports[i] = NULL;
        }
        loop->ports = ports;
        loop->port_count = count;
    }
    return 0;
}

/* Thousands may share a descriptor; most often the first of them will do. */
static short wanted_events(const loop_port *port)
{
    short events = 0;
    for (const loop_source *s = port->first; s != NULL && events != port->events; s = s->next) {
        events |= s->events;
    }
    return events;
}

static int open_port(proc_loop *loop, int fd, short events, loop_port **opened)
{
    loop_port *port = calloc(1, sizeof *port);
    if (port == NULL) {
        return -ENOMEM;
    }
    port->fd = fd;
    port->events = events;
    int err = poller_add(&loop->poller, fd, events, port);
    if (err == 0) { /* only now: a number that is not open may be any, and wants that much memory */
        err = reserve_port(loop, fd);
        if (err < 0) {
            poller_remove(&loop->poller, fd);
        }
    }
    if (err < 0) {
        free(port);
        return err;
    }
    loop->ports[fd] = *opened = port;
    return 0;
}

/* A copy of the process shares the set of epoll with its maker. */
static int update_port(proc_loop *loop, loop_port *port, short events)
{
    bool changes = events != port->events && loop_is_ours(loop);
    int err = changes ? poller_change(&loop->poller, port->fd, events, port) : 0;
    port->events = err == 0 ? events : port->events;
    return err;
}

static void close_port(proc_loop *loop, loop_port *port)
{
    if (loop_is_ours(loop)) {
        poller_remove(&loop->poller, port->fd);
    }
    loop->ports[port->fd] = NULL;
    port->next_old = loop->old_ports;
    loop->old_ports = port;
}

void loop_unwatch(loop_source *s)
{
    loop_port *port = s->port;
    if (port == NULL) {
        return;
    }
    if (port->cursor == s) {
        port->cursor = s->next;
    }
    *(s->prev != NULL ? &s->prev->next : &port->first) = s->next;
    if (s->next != NULL) {
        s->next->prev = s->prev;
    }
    s->port = NULL;
    s->fd = -1;
    if (port->first == NULL) {
        close_port(s->member->loop, port);
    } else {
        (void)update_port(s->member->loop, port, wanted_events(port)); /* too much is told, at the worst */
    }
}

int loop_watch(loop_source *s, int fd, short events)
{
    proc_loop *loop = s->member->loop;
    if (s->port != NULL && s->fd != fd) {
        loop_unwatch(s);
    }
    if (fd < 0 || (s->port != NULL && s->events == events)) {
        return 0;
    }
    if (s->port != NULL) {
        short before = s->events;
        s->events = events;
        int err = update_port(loop, s->port, (short)(events | wanted_events(s->port)));
        s->events = err < 0 ? before : events;
        return err;
    }
    loop_port *port = (size_t)fd < loop->port_count ? loop->ports[fd] : NULL;
    int err = port == NULL ? open_port(loop, fd, events, &port) : update_port(loop, port, port->events | events);
    if (err < 0) {
        return err;
    }
    s->fd = fd;
    s->events = events;
    s->port = port;
    s->since = loop->waits;
    s->prev = NULL;
    s->next = port->first;
    if (s->next != NULL) {
        s->next->prev = s;
    }
    port->first = s;
    return 0;
}

loop_source *loop_find_source(proc_loop *loop, int fd, void (*ready)(loop_source *source, short revents))
{
    const loop_port *port = fd >= 0 && (size_t)fd < loop->port_count ? loop->ports[fd] : NULL;
    loop_source *s = port != NULL ? port->first : NULL;
    while (s != NULL && s->ready != ready) {
        s = s->next;
    }
    return s;
}

/* Whoever is told may take any source out, the next one too. One that came after the wait is not told: what was ready then
 * may have been taken back since, before it came. */
static void hand_out(loop_port *port, short revents, uint64_t wait)
{
    for (loop_source *s = port->first; s != NULL; s = port->cursor) {
        port->cursor = s->next;
        short told = revents & (short)(s->events | POLLERR | POLLHUP | POLLNVAL);
        if (told != 0 && s->since != wait && !loop_has_left(s->member)) {
            s->ready(s, told);
        }
    }
}

/* ---- members ---- */

void *loop_new_member(proc_loop *loop, size_t size)
{
    return timers_reserve(&loop->timers, loop->member_count + 1) == 0 ? calloc(1, size) : NULL;
}

void loop_join(proc_loop *loop, loop_member *m, const loop_kind *kind)
{
    loop->member_count++;
    m->kind = kind;
    m->loop = loop;
    m->prev = NULL;
    m->next = loop->members;
    if (m->next != NULL) {
        m->next->prev = m;
    }
    loop->members = m;
    loop_set_live(m, true);
}

bool loop_has_left(const loop_member *m)
{
    return m->gone || !loop_is_ours(m->loop);
}

void loop_set_live(loop_member *m, bool live)
{
    if (m->live != live) {
        m->live = live;
        m->loop->live += live ? 1 : (size_t)-1;
    }
}

static void bury(proc_loop *loop)
{
    if (loop->inside) {
        return;
    }
    while (loop->bodies != NULL) {
        loop_member *m = loop->bodies;
        loop->bodies = m->next;
        free(m);
    }
    while (loop->old_ports != NULL) {
        loop_port *port = loop->old_ports;
        loop->old_ports = port->next_old;
        free(port);
    }
}

static void add_body(loop_member *m)
{
    m->next = m->loop->bodies;
    m->loop->bodies = m;
}

void loop_leave(loop_member *m)
{
    proc_loop *loop = m->loop;
    m->gone = true;
    m->kind->leave(m);
    loop_set_live(m, false);
    timers_clear(&loop->timers, &m->alarm);
    loop->member_count--;
    *(m->prev != NULL ? &m->prev->next : &loop->members) = m->next;
    if (m->next != NULL) {
        m->next->prev = m->prev;
    }
    if (!atomic_load(&m->queued)) { /* nobody queues it any more; who finds it in the queue frees it */
        add_body(m);
    }
    bury(loop);
}

void loop_set_alarm(loop_member *m, int64_t due)
{
    if (due == SYS_NEVER) {
        timers_clear(&m->loop->timers, &m->alarm);
    } else if (m->alarm.place == 0 || m->alarm.due != due) {
        timers_set(&m->loop->timers, &m->alarm, due);
    }
}

/* ---- the queue, and waking ---- */

void loop_wake(proc_loop *loop)
{
    if (atomic_exchange(&loop->idle, false)) {
        int saved = errno, cancel = sys_hold_cancel();
        (void)!write(loop->wake[1], "", 1); /* the other end is ours too: no SIGPIPE, and one byte always fits */
        sys_release_cancel(cancel);
        errno = saved;
    }
}

void loop_attend(loop_member *m)
{
    proc_loop *loop = m->loop;
    if (atomic_exchange(&m->queued, true)) {
        return;
    }
    m->next_queued = atomic_load(&loop->queue);
    while (!atomic_compare_exchange_weak(&loop->queue, &m->next_queued, m)) {
    }
    loop_wake(loop);
}

static void attend_queued(proc_loop *loop)
{
    loop_member *first = NULL, *m = atomic_exchange(&loop->queue, NULL);
    while (m != NULL) { /* those that came first, first */
        loop_member *next = m->next_queued;
        m->next_queued = first;
        first = m;
        m = next;
    }
    while ((m = first) != NULL) {
        first = m->next_queued;
        atomic_store(&m->queued, false);
        if (m->gone) {
            add_body(m);
        } else if (!loop_has_left(m)) {
            m->kind->attend(m);
        }
    }
}

static void take_wake(loop_source *s, short revents)
{
    char bytes[64];
    (void)revents;
    (void)!read(s->fd, bytes, sizeof bytes); /* hardly ever more than one; what is left would only wake us again */
}

/* ---- a step ---- */

/* Not those that are set meanwhile: a timer of 0 ms that sets another one would never end. */
static void ring_due(proc_loop *loop)
{
    int64_t now = sys_now();
    uint64_t end = loop->timers.next_order;
    for (timer *t; (t = timers_first(&loop->timers)) != NULL && t->due <= now && t->order < end;) {
        loop_member *m = (loop_member *)(void *)((char *)t - offsetof(loop_member, alarm));
        timers_clear(&loop->timers, t);
        if (!loop_has_left(m)) {
            m->kind->ring(m);
        }
    }
}

static bool has_news(proc_loop *loop)
{
    return atomic_load(&loop->queue) != NULL || atomic_load(&loop->signalled);
}

static int wait_once(proc_loop *loop, int64_t deadline)
{
    poller_event events[MOST_AT_ONCE_EVENTS];
    const timer *first = timers_first(&loop->timers);
    if (first != NULL && first->due < deadline) {
        deadline = first->due < 0 ? 0 : first->due;
    }
    atomic_store(&loop->idle, true); /* what is queued from here on wakes us */
    if (loop->ran > 0 || has_news(loop) || atomic_load(&loop->stopped)) {
        deadline = 0;
    }
    int count = poller_wait(&loop->poller, events, MOST_AT_ONCE_EVENTS, deadline);
    loop->waits++;
    atomic_store(&loop->idle, false);
    if (atomic_exchange(&loop->signalled, false)) {
        loop_run_signals(loop);
    }
    ring_due(loop);
    for (int i = 0; i < count; i++) {
        hand_out(events[i].data, events[i].revents, loop->waits);
    }
    return count < 0 ? count : 0;
}

static void close_descriptors(proc_loop *loop)
{
    poller_free(&loop->poller);
    sys_close(&loop->wake[0]);
    sys_close(&loop->wake[1]);
}

static void destroy_loop(proc_loop *loop)
{
    attend_queued(loop); /* only bodies are left in it */
    bury(loop);
    close_descriptors(loop);
    timers_free(&loop->timers);
    free(loop->ports);
    free(loop->timer_slots);
    free(loop);
}

/* How many handlers ran. *over: it was stopped, or freed. */
static int step_loop(proc_loop *loop, int64_t deadline, bool *over)
{
    loop->inside = true;
    loop->ran = 0;
    attend_queued(loop);
    int err = loop_check(loop) < 0 ? 0 : wait_once(loop, deadline);
    attend_queued(loop);
    loop->inside = false;
    int ran = loop_is_ours(loop) ? loop->ran : -EINVAL; /* a handler has forked, and this is the copy */
    if (loop->doomed) {
        destroy_loop(loop);
        *over = true;
        return ran;
    }
    bury(loop);
    if (ran < 0) {
        *over = true;
        return ran;
    }
    *over = atomic_exchange(&loop->stopped, false);
    atomic_store(&loop->idle, true);
    if (has_news(loop)) {
        loop_wake(loop); /* so that the descriptor of a nested loop tells of it */
    }
    return err < 0 ? err : ran;
}

/* ---- what programs call ---- */

static int make_wake(proc_loop *loop)
{
    int err = sys_pipe(loop->wake);
    if (err == 0) {
        err = sys_set_nonblocking(loop->wake[0]);
    }
    if (err == 0) {
        err = sys_set_nonblocking(loop->wake[1]);
    }
    loop->self = (loop_member){.loop = loop};
    loop->woken = (loop_source){.member = &loop->self, .ready = take_wake};
    return err < 0 ? err : loop_watch(&loop->woken, loop->wake[0], POLLIN);
}

int proc_loop_new(proc_loop **loop)
{
    if (loop == NULL) {
        return -EINVAL;
    }
    *loop = NULL;
    proc_loop *made = calloc(1, sizeof *made);
    if (made == NULL) {
        return -ENOMEM;
    }
    made->owner = sys_own_pid();
    made->wake[0] = made->wake[1] = -1;
    atomic_init(&made->idle, true);
    int cancel = sys_hold_cancel();
    int err = poller_init(&made->poller);
    if (err == 0) {
        err = make_wake(made);
    }
    if (err < 0) {
        loop_unwatch(&made->woken);
        destroy_loop(made);
    } else {
        *loop = made;
    }
    sys_release_cancel(cancel);
    return err;
}

void proc_loop_free(proc_loop *loop)
{
    if (loop == NULL || loop->doomed) {
        return;
    }
    int cancel = sys_hold_cancel();
    loop->doomed = true; /* nothing can be added any more, by the handlers of what is taken out either */
    while (loop->members != NULL) {
        loop_leave(loop->members);
    }
    loop_unwatch(&loop->woken);
    close_descriptors(loop);
    if (!loop->inside) { /* else when the handlers have returned */
        destroy_loop(loop);
    }
    sys_release_cancel(cancel);
}

static int check_step(const proc_loop *loop, int timeout_ms)
{
    if (!loop_is_ours(loop) || loop->doomed || timeout_ms < PROC_FOREVER) {
        return -EINVAL;
    }
    return loop->inside ? -EBUSY : 0;
}

int proc_loop_step(proc_loop *loop, int timeout_ms)
{
    int err = check_step(loop, timeout_ms);
    if (err < 0) {
        return err;
    }
    bool over;
    int cancel = sys_hold_cancel();
    int ran = step_loop(loop, timeout_ms == 0 ? 0 : sys_deadline(sys_now(), timeout_ms), &over);
    sys_release_cancel(cancel);
    return ran;
}

static bool has_nothing_to_wait_for(proc_loop *loop)
{
    return loop->live == 0 && atomic_load(&loop->queue) == NULL;
}

int proc_loop_run(proc_loop *loop, int timeout_ms)
{
    int err = check_step(loop, timeout_ms);
    if (err < 0) {
        return err;
    }
    int cancel = sys_hold_cancel();
    int64_t deadline = sys_deadline(sys_now(), timeout_ms);
    bool over = atomic_exchange(&loop->stopped, false);
    while (!over && !has_nothing_to_wait_for(loop)) {
        err = step_loop(loop, deadline, &over);
        if (err < 0 || over) {
            break;
        }
        err = 0;
        if (deadline != SYS_NEVER && deadline <= sys_now() && !has_nothing_to_wait_for(loop)) {
            err = -ETIMEDOUT;
            break;
        }
    }
    sys_release_cancel(cancel);
    return err < 0 ? err : 0;
}

void proc_loop_stop(proc_loop *loop)
{
    if (loop_is_ours(loop)) {
        atomic_store(&loop->stopped, true);
        loop_wake(loop);
    }
}

int proc_loop_fd(const proc_loop *loop)
{
    return loop_is_ours(loop) ? poller_fd(&loop->poller) : -EINVAL;
}

int proc_loop_timeout(const proc_loop *loop)
{
    if (!loop_is_ours(loop)) {
        return 0;
    }
    const timer *first = timers_first(&loop->timers);
    if (atomic_load(&loop->queue) != NULL || atomic_load(&loop->signalled) || poller_is_blind(&loop->poller)) {
        return 0;
    }
    return sys_ms_until(first != NULL ? first->due : SYS_NEVER);
}
