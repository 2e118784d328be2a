/*
 * Messages in a loop, with many workers at once, some of which are killed or halted.
 */
#include "soak_worker.h"

enum { LOOP_WORKERS = 12, LOOP_AT_ONCE = 4 };

typedef struct hall {
    proc_loop *loop;
    chance k;
    unsigned started, running;
} hall;

typedef struct desk { /* a worker of the hall */
    hall *all;
    proc_child *child;
    uint64_t sent, received, target;
    bool killed, disconnected;
    int timer;
} desk;

static void start_desks(hall *all);

static void send_more(desk *d)
{
    proc_channel *c = proc_child_channel(d->child);
    int err = 0;

    while (err == 0 && d->sent < d->target && d->sent < d->received + 2000) {
        size_t size = size_of(d->sent);

        err = proc_channel_post(c, MESSAGE(.type = ECHO, .data = stamp(d->sent, size), .size = size));
        d->sent += err == 0;
    }
    EXPECT(err == 0 || err == -EAGAIN || (err == -EPIPE && d->killed), "hall: post says %s", proc_strerror(err));
}

static void on_message(proc_channel *c, proc_message *m, void *ctx)
{
    desk *d = ctx;

    check_number("hall", m, d->received++);
    count_messages(1);
    if (d->received == d->target) {
        EXPECT(proc_channel_shutdown(c) == 0 || d->killed, "hall: shutdown");
    } else {
        send_more(d);
    }
}

static void on_room(proc_channel *c, void *ctx)
{
    (void)c;
    send_more(ctx);
}

static void on_disconnect(proc_channel *c, int reason, void *ctx)
{
    desk *d = ctx;

    (void)c;
    EXPECT(reason == 0 && !d->disconnected, "hall: disconnected for %s", proc_strerror(reason));
    EXPECT(d->killed || d->received == d->target, "hall: %llu of %llu came", (unsigned long long)d->received,
           (unsigned long long)d->target);
    if (!d->killed) {
        ADD(lost, d->target - d->received);
    }
    d->disconnected = true;
}

static void on_close(proc_child *child, const proc_status *status, void *ctx)
{
    desk *d = ctx;
    hall *all = d->all;

    EXPECT(d->disconnected, "hall: closed before the channel");
    EXPECT(d->killed || proc_status_ok(status), "hall: code %d, signal %d", status->code, status->signal);
    if (d->timer > 0) {
        (void)proc_loop_remove_timer(all->loop, d->timer);
    }
    proc_child_free(child);
    free(d);
    all->running--;
    start_desks(all);
}

static void on_go_on(void *ctx)
{
    desk *d = ctx;
    int err = proc_child_kill(d->child, SIGCONT);

    d->timer = 0;
    EXPECT(err == 0 || err == -ESRCH, "hall: SIGCONT says %s", proc_strerror(err));
}

static void on_strike(void *ctx)
{
    desk *d = ctx;

    d->timer = 0;
    if (chance_below(&d->all->k, 2) == 0) {
        d->killed = true;
        (void)proc_child_kill(d->child, SIGKILL);
        ADD(killed, 1);
    } else if (proc_child_kill(d->child, SIGSTOP) == 0) {
        d->timer = proc_loop_add_timer(d->all->loop, 1 + (int)chance_below(&d->all->k, 30), 0, on_go_on, d);
    }
}

static void start_desks(hall *all)
{
    static const proc_handlers handlers = {
        .on_message = on_message, .on_room = on_room, .on_disconnect = on_disconnect, .on_close = on_close};

    while (all->running < LOOP_AT_ONCE && all->started < LOOP_WORKERS) {
        desk *d = calloc(1, sizeof *d);

        if (d == NULL) {
            give_up("out of memory");
        }
        d->all = all;
        d->target = 1 + chance_below(&all->k, 20000);
        d->child = start_worker(chance_below(&all->k, 2) == 0);
        if (proc_loop_add_child(all->loop, d->child, &handlers, d) < 0) {
            give_up("hall: cannot add");
        }
        if (chance_below(&all->k, 3) == 0) {
            d->timer = proc_loop_add_timer(all->loop, (int)chance_below(&all->k, 40), 0, on_strike, d);
        }
        all->started++;
        all->running++;
        send_more(d);
    }
}

int messages_in_loop(unsigned number, uint64_t share)
{
    picture p = {.looks = 0};

    for (uint64_t done = 0, round = 0; done < share; round++) {
        hall all = {.k = chance_of(number, 0, round)};
        unsigned long long before = own_messages();

        if (proc_loop_new(&all.loop) < 0) {
            give_up("no loop");
        }
        start_desks(&all);
        int err = proc_loop_run(all.loop, IN_TIME);
        EXPECT(err == 0 && all.running == 0, "hall: run says %d, %u are left", err, all.running);
        proc_loop_free(all.loop);
        done += own_messages() - before;
        picture_look(&p, "messages in a loop", false);
    }
    return 0;
}
