/*
 * What the program itself has a loop watch: descriptors, timers, signals.
 */
#include "loop.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#ifndef NSIG
#define NSIG 65
#endif

/* ---- descriptors ---- */

typedef struct loop_fd {
    loop_member member;
    loop_source source;
    proc_fd_handler *handler;
    void *ctx;
} loop_fd;

static void leave_fd(loop_member *m)
{
    loop_unwatch(&((loop_fd *)m)->source);
}

static const loop_kind fd_kind = {.leave = leave_fd};

static void fd_ready(loop_source *s, short revents)
{
    loop_fd *f = (loop_fd *)s->member;
    int fd = s->fd;
    if ((revents & POLLNVAL) != 0) {
        loop_leave(&f->member); /* it was closed: this would never end */
    }
    f->member.loop->ran++;
    f->handler(fd, revents, f->ctx);
}

static loop_member *find_fd(proc_loop *loop, int fd)
{
    const loop_source *source = loop_find_source(loop, fd, fd_ready);
    return source != NULL ? source->member : NULL;
}

int proc_loop_add_fd(proc_loop *loop, int fd, short events, proc_fd_handler *handler, void *ctx)
{
    int err = loop_check(loop);
    if (err < 0 || handler == NULL || (events & ~(POLLIN | POLLOUT | POLLPRI)) != 0) {
        return -EINVAL;
    }
    if (fd < 0) {
        return -EBADF;
    }
    if (find_fd(loop, fd) != NULL) {
        return -EEXIST;
    }
    loop_fd *f = loop_new_member(loop, sizeof *f);
    if (f == NULL) {
        return -ENOMEM;
    }
    f->handler = handler;
    f->ctx = ctx;
    f->source = (loop_source){.member = &f->member, .ready = fd_ready, .fd = -1};
    loop_join(loop, &f->member, &fd_kind);
    err = loop_watch(&f->source, fd, events);
    if (err < 0) {
        loop_leave(&f->member);
    }
    return err;
}

int proc_loop_remove_fd(proc_loop *loop, int fd)
{
    if (!loop_is_ours(loop)) {
        return -EINVAL;
    }
    loop_member *m = find_fd(loop, fd);
    if (m == NULL) {
        return -ENOENT;
    }
    loop_leave(m);
    return 0;
}

/* ---- timers: an id is a place in a table, and how often that has been used ---- */

enum { PLACE_BITS_OF_TIMER = 22, MOST_TIMERS = 1 << PLACE_BITS_OF_TIMER, USES = 1 << (31 - PLACE_BITS_OF_TIMER) };

struct loop_timer {
    loop_member member;
    int id;
    int64_t period;
    proc_timer_handler *handler;
    void *ctx;
};

struct timer_slot {
    loop_timer *timer; /* NULL: free */
    int uses;
    size_t next_free; /* 1 + the place; 0: none */
};

static timer_slot *slot_of(proc_loop *loop, int id)
{
    size_t place = (size_t)id & (MOST_TIMERS - 1);
    if (id <= 0 || place >= loop->timer_count) {
        return NULL;
    }
    timer_slot *slot = &loop->timer_slots[place];
    return slot->timer != NULL && slot->timer->id == id ? slot : NULL;
}

static int grow_slots(proc_loop *loop)
{
    size_t count = loop->timer_count == 0 ? 16 : 2 * loop->timer_count;
    timer_slot *slots = count > MOST_TIMERS ? NULL : realloc(loop->timer_slots, count * sizeof *slots);
    if (slots == NULL) {
        return -ENOMEM;
    }
    for (size_t i = count; i-- > loop->timer_count;) {
        slots[i] = (timer_slot){.next_free = loop->free_timer};
        loop->free_timer = i + 1;
    }
    loop->timer_slots = slots;
    loop->timer_count = count;
    return 0;
}

/* The id 0 is none. */
static int take_slot(proc_loop *loop, loop_timer *t)
{
    if (loop->free_timer == 0 && grow_slots(loop) < 0) {
        return -ENOMEM;
    }
    size_t place = loop->free_timer - 1;
    timer_slot *slot = &loop->timer_slots[place];
    loop->free_timer = slot->next_free;
    slot->timer = t;
    slot->uses = (slot->uses + 1) % USES;
    if (slot->uses == 0 && place == 0) {
        slot->uses = 1;
    }
    t->id = slot->uses << PLACE_BITS_OF_TIMER | (int)place;
    return 0;
}

static void leave_timer(loop_member *m)
{
    loop_timer *t = (loop_timer *)m;
    timer_slot *slot = slot_of(m->loop, t->id);
    if (slot != NULL) {
        slot->timer = NULL;
        slot->next_free = m->loop->free_timer;
        m->loop->free_timer = (size_t)(slot - m->loop->timer_slots) + 1;
    }
}

/* One that repeats and has missed some of its times goes on with the next that is to come. */
static void ring_timer(loop_member *m)
{
    loop_timer *t = (loop_timer *)m;
    if (t->period == 0) {
        loop_leave(m);
    } else {
        int64_t due = m->alarm.due + t->period, now = sys_now();
        if (due <= now) {
            due += (now - due) / t->period * t->period + t->period;
        }
        loop_set_alarm(m, due);
    }
    m->loop->ran++;
    t->handler(t->ctx);
}

static const loop_kind timer_kind = {.ring = ring_timer, .leave = leave_timer};

int proc_loop_add_timer(proc_loop *loop, int delay_ms, int repeat_ms, proc_timer_handler *handler, void *ctx)
{
    if (loop_check(loop) < 0 || handler == NULL || delay_ms < 0 || repeat_ms < 0) {
        return -EINVAL;
    }
    loop_timer *t = loop_new_member(loop, sizeof *t);
    if (t == NULL) {
        return -ENOMEM;
    }
    t->period = repeat_ms * SYS_MS;
    t->handler = handler;
    t->ctx = ctx;
    loop_join(loop, &t->member, &timer_kind);
    int err = take_slot(loop, t);
    if (err == 0) {
        loop_set_alarm(&t->member, sys_deadline(sys_now(), delay_ms));
    }
    int id = t->id;
    if (err < 0) {
        loop_leave(&t->member);
    }
    return err < 0 ? err : id;
}

int proc_loop_remove_timer(proc_loop *loop, int id)
{
    if (!loop_is_ours(loop)) {
        return -EINVAL;
    }
    timer_slot *slot = slot_of(loop, id);
    if (slot == NULL) {
        return -ENOENT;
    }
    loop_leave(&slot->timer->member);
    return 0;
}

/* ---- signals ---- */

typedef struct loop_signal {
    loop_member member;
    int number;
    bool caught;
    struct sigaction before;
    proc_signal_handler *handler;
    void *ctx;
} loop_signal;

/* Dispositions belong to the whole process, and so does this: one loop for each signal. */
static pthread_mutex_t signals_lock = PTHREAD_MUTEX_INITIALIZER;
static loop_signal *signal_members[NSIG];
static _Atomic(proc_loop *) signal_loops[NSIG];
static atomic_bool signals_pending[NSIG];
static atomic_int handlers_inside;

static void note_signal(int number)
{
    atomic_fetch_add(&handlers_inside, 1);
    proc_loop *loop = atomic_load(&signal_loops[number]);
    if (loop_is_ours(loop)) { /* in a copy of the process there is nobody to tell */
        atomic_store(&signals_pending[number], true);
        atomic_store(&loop->signalled, true);
        loop_wake(loop);
    }
    atomic_fetch_sub(&handlers_inside, 1);
}

void loop_run_signals(proc_loop *loop)
{
    for (int number = 1; number < NSIG; number++) {
        if (atomic_load(&signal_loops[number]) == loop && atomic_exchange(&signals_pending[number], false)) {
            loop_signal *s = signal_members[number];
            loop->ran++;
            s->handler(number, s->ctx);
        }
        if (!loop_is_ours(loop)) {
            return;
        }
    }
}

/* The disposition goes back to what it was, unless somebody has changed it since. In a copy of the process the lock may be
 * held for ever, and so may the count of those inside. */
static void leave_signal(loop_member *m)
{
    loop_signal *s = (loop_signal *)m;
    struct sigaction now;
    bool ours = loop_is_ours(m->loop);
    if (!s->caught) {
        return;
    }
    if (ours) {
        (void)pthread_mutex_lock(&signals_lock);
    }
    if (sigaction(s->number, NULL, &now) == 0 && now.sa_handler == note_signal) {
        (void)sigaction(s->number, &s->before, NULL);
    }
    atomic_store(&signal_loops[s->number], NULL);
    while (ours && atomic_load(&handlers_inside) > 0) { /* in another thread, with our pointer in its hand */
        (void)sched_yield();
    }
    signal_members[s->number] = NULL;
    if (ours) {
        (void)pthread_mutex_unlock(&signals_lock);
    }
}

static const loop_kind signal_kind = {.leave = leave_signal};

static int catch_signal(proc_loop *loop, loop_signal *s)
{
    struct sigaction action = {.sa_handler = note_signal, .sa_flags = SA_RESTART};
    int err = 0;
    (void)sigemptyset(&action.sa_mask);
    (void)pthread_mutex_lock(&signals_lock);
    if (signal_members[s->number] != NULL) {
        err = atomic_load(&signal_loops[s->number]) == loop ? -EEXIST : -EBUSY;
    } else {
        atomic_store(&signals_pending[s->number], false);
        atomic_store(&signal_loops[s->number], loop);
        if (sigaction(s->number, &action, &s->before) < 0) {
            err = -errno;
            atomic_store(&signal_loops[s->number], NULL);
        } else {
            signal_members[s->number] = s;
            s->caught = true;
        }
    }
    (void)pthread_mutex_unlock(&signals_lock);
    return err;
}

int proc_loop_add_signal(proc_loop *loop, int signal, proc_signal_handler *handler, void *ctx)
{
    if (loop_check(loop) < 0 || handler == NULL || signal <= 0 || signal >= NSIG) {
        return -EINVAL;
    }
    loop_signal *s = loop_new_member(loop, sizeof *s);
    if (s == NULL) {
        return -ENOMEM;
    }
    s->number = signal;
    s->handler = handler;
    s->ctx = ctx;
    loop_join(loop, &s->member, &signal_kind);
    loop_set_live(&s->member, false);
    int err = catch_signal(loop, s);
    if (err < 0) {
        loop_leave(&s->member);
    }
    return err;
}

int proc_loop_remove_signal(proc_loop *loop, int signal)
{
    if (!loop_is_ours(loop) || signal <= 0 || signal >= NSIG) {
        return -EINVAL;
    }
    if (atomic_load(&signal_loops[signal]) != loop) { /* else the rest is another thread's */
        return -ENOENT;
    }
    loop_leave(&signal_members[signal]->member);
    return 0;
}
