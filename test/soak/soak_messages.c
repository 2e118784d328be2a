/*
 * Messages by blocking calls of several threads, with workers that live long, and with workers that are killed or halted.
 */
#include "soak_worker.h"

#include <fcntl.h>

enum { KEPT = 2, THREADS = KEPT + 1, TURNS = 12 };

/* ---- by calls, with workers that live long ---- */

typedef struct post_office {
    proc_child *workers[KEPT];
    proc_channel *channels[KEPT];
} post_office;

static void send_or_give_up(proc_channel *c, const proc_message *m)
{
    int err = proc_channel_post(c, m);

    err = err == -EAGAIN ? proc_channel_send(c, m, IN_TIME) : err;
    if (err < 0) {
        give_up("send: %s", proc_strerror(err));
    }
}

static proc_message receive(proc_channel *c)
{
    proc_message m;
    int err = proc_channel_recv(c, &m, IN_TIME);

    if (err < 0) {
        give_up("recv: %s", proc_strerror(err));
    }
    return m;
}

static int64_t request(proc_channel *c, uint32_t type, const void *data, size_t size)
{
    int64_t id = proc_channel_request(c, MESSAGE(.type = type, .data = data, .size = size), IN_TIME);

    if (id <= 0) {
        give_up("request: %s", proc_strerror((int)id));
    }
    return id;
}

static void sink_many(proc_channel *c, chance *k)
{
    uint64_t count = 1 + chance_below(k, 8000);
    proc_message reply;
    sink s;

    for (uint64_t i = 0; i < count; i++) {
        send_or_give_up(c, MESSAGE(.type = SINK, .data = stamp(i, size_of(i)), .size = size_of(i)));
    }
    int err = proc_channel_call(c, MESSAGE(.type = SINK_END), &reply, IN_TIME);
    if (err < 0 || reply.size != sizeof s) {
        give_up("sink: %s", proc_strerror(err));
    }
    memcpy(&s, reply.data, sizeof s);
    proc_message_clear(&reply);
    count_messages(s.count);
    ADD(wrong, s.wrong);
    ADD(lost, s.count < count ? count - s.count : 0);
    EXPECT(s.count == count && s.wrong == 0, "sink: %llu of %llu came, %llu wrong", (unsigned long long)s.count,
           (unsigned long long)count, (unsigned long long)s.wrong);
}

/* The reply comes behind what was sent before it; or before that: final replies may overtake. */
static void be_flooded(proc_channel *c, chance *k)
{
    const order o = {.count = 1 + chance_below(k, 8000)};
    int64_t id = request(c, FLOOD, &o, sizeof o);
    bool replied = false;

    for (uint64_t next = 0; next < o.count || !replied;) {
        proc_message m = receive(c);

        if (m.flags == PROC_REPLY) {
            EXPECT(!replied && m.id == id, "flood: a strange reply");
            replied = true;
        } else {
            check_number("flood", &m, next++);
        }
    }
}

static void echo_many(proc_channel *c, chance *k)
{
    uint64_t from = chance_below(k, 1000000), count = 1 + chance_below(k, 200);

    for (uint64_t i = from; i < from + count; i++) {
        send_or_give_up(c, MESSAGE(.type = ECHO, .data = stamp(i, size_of(i)), .size = size_of(i)));
    }
    for (uint64_t i = from; i < from + count; i++) {
        proc_message m = receive(c);

        check_number("echo", &m, i);
    }
    count_messages(count); /* on the way out */
}

static void call_many(proc_channel *c, chance *k)
{
    for (unsigned count = 1 + chance_below(k, 100); count > 0; count--) {
        uint64_t number = chance_below(k, 1000000);
        proc_message reply;
        int err = proc_channel_call(
            c, MESSAGE(.type = CALL, .data = stamp(number, size_of(number)), .size = size_of(number)), &reply, IN_TIME);

        if (err < 0) {
            give_up("call: %s", proc_strerror(err));
        }
        check_number("call", &reply, number);
        count_messages(1);
        proc_message_clear(&reply);
    }
}

static void call_in_vain(proc_channel *c, chance *k)
{
    const order o = {.count = chance_below(k, 4)};
    proc_message reply;
    int err = proc_channel_call(c, MESSAGE(.type = NAP, .data = &o, .size = sizeof o), &reply, (int)chance_below(k, 4));

    EXPECT(err == 0 || err == -ETIMEDOUT, "in vain: %s", proc_strerror(err));
    EXPECT(err < 0 || reply.type == NAP, "in vain: another reply");
    proc_message_clear(&reply);
    count_messages(1);
}

static void take_parts(proc_channel *c, chance *k)
{
    const order o = {.count = chance_below(k, 50)};
    int64_t id = request(c, PARTS, &o, sizeof o);
    proc_message m = receive(c);

    for (uint64_t next = 0; (m.flags & PROC_MORE) != 0; m = receive(c)) {
        EXPECT(m.id == id, "parts: of another request");
        check_number("parts", &m, next++);
    }
    EXPECT(m.id == id && m.flags == PROC_REPLY, "parts: ended by something else");
}

static void cancel_one(proc_channel *c, chance *k)
{
    uint64_t number = chance_below(k, 1000000);
    int64_t id = request(c, CALL, stamp(number, size_of(number)), size_of(number));

    if (chance_below(k, 2) == 0) {
        (void)poll(NULL, 0, (int)chance_below(k, 2));
    }
    if (proc_channel_cancel(c, id) < 0) { /* it is here already */
        proc_message m = receive(c);

        EXPECT(m.id == id, "cancel: another reply");
        check_number("cancel", &m, number);
    }
}

static void give_fd(proc_channel *c, chance *k)
{
    int ends[2];
    char byte;

    (void)k;
    if (pipe2(ends, O_CLOEXEC) < 0) {
        give_up("pipe: %s", strerror(errno));
    }
    int err = proc_channel_send(c, MESSAGE(.type = GIVE, .fds = &ends[1], .fd_count = 1), IN_TIME);
    EXPECT(err == 0, "give: %s", proc_strerror(err));
    close(ends[1]);
    if (proc_channel_flush(c, IN_TIME) < 0 || read(ends[0], &byte, 1) != 1 || read(ends[0], &byte, 1) != 0) {
        ADD(lost, 1);
        complain("give: the descriptor was not used, or was left open");
    }
    close(ends[0]);
    count_messages(1);
}

/* ---- workers that are killed ---- */

/* What comes before the end is a beginning of what was sent. */
static void kill_one(chance *k)
{
    proc_child *child = start_worker(false);
    proc_channel *c = proc_child_channel(child);
    uint64_t count = chance_below(k, 3000), kill_at = chance_below(k, 3000), next = 0;
    proc_message m;
    int err = 0;

    for (uint64_t i = 0; i < count && err == 0; i++) {
        err = proc_channel_send(c, MESSAGE(.type = ECHO, .data = stamp(i, size_of(i)), .size = size_of(i)), IN_TIME);
        if (i == kill_at) {
            (void)proc_child_kill(child, SIGKILL);
        }
    }
    EXPECT(err == 0 || (err == -EPIPE && kill_at < count), "kill: send says %s", proc_strerror(err));
    bool killed = kill_at < count;
    while ((killed || next < count) && (err = proc_channel_recv(c, &m, IN_TIME)) == 0) {
        check_number("kill", &m, next++);
    }
    EXPECT(killed ? err == -EPIPE && next <= kill_at + 1 : next == count, "kill: recv says %s after %llu of %llu",
           proc_strerror(err), (unsigned long long)next, (unsigned long long)count);
    count_messages(next);
    ADD(killed, killed);
    proc_child_free(child);
}

/* One that is stopped for a while loses nothing. */
static void halt_one(chance *k)
{
    proc_child *child = start_worker(false);
    proc_channel *c = proc_child_channel(child);
    uint64_t count = 200 + chance_below(k, 3000), sent = 0;
    proc_status status;

    EXPECT(proc_child_kill(child, SIGSTOP) == 0, "halt: SIGSTOP");
    for (bool halted = true; sent < count;) {
        int err = proc_channel_send(c, MESSAGE(.type = SINK, .data = stamp(sent, size_of(sent)), .size = size_of(sent)),
                                    halted ? (int)chance_below(k, 3) : IN_TIME);

        EXPECT(err == 0 || (err == -ETIMEDOUT && halted), "halt: send says %s", proc_strerror(err));
        sent += err == 0;
        if (halted && (err < 0 || chance_below(k, 500) == 0)) {
            halted = false;
            EXPECT(proc_child_kill(child, SIGCONT) == 0, "halt: SIGCONT");
        }
    }
    EXPECT(proc_child_kill(child, SIGCONT) == 0, "halt: SIGCONT");
    proc_message reply;
    int err = proc_channel_call(c, MESSAGE(.type = SINK_END), &reply, IN_TIME);
    sink s = {.count = 0};
    if (err == 0 && reply.size == sizeof s) {
        memcpy(&s, reply.data, sizeof s);
    }
    EXPECT(err == 0 && s.count == count && s.wrong == 0, "halt: %s, %llu of %llu", proc_strerror(err),
           (unsigned long long)s.count, (unsigned long long)count);
    proc_message_clear(&reply);
    count_messages(s.count);
    EXPECT(proc_channel_shutdown(c) == 0, "halt: shutdown");
    err = proc_child_wait(child, IN_TIME, &status);
    EXPECT(err == 0 && proc_status_ok(&status), "halt: it ended with code %d, signal %d", status.code, status.signal);
    proc_child_free(child);
}

typedef struct clerk {
    pthread_t thread;
    post_office *office;
    unsigned number;
    chance k;
} clerk;

typedef void turn(proc_channel *c, chance *k);

/* Each kept channel has one thread that receives; any thread may call. */
static void *take_turns(void *arg)
{
    static turn *const turns[] = {sink_many, be_flooded, echo_many, take_parts, cancel_one, give_fd};
    clerk *me = arg;

    for (int i = 0; i < TURNS; i++) {
        proc_channel *any = me->office->channels[chance_below(&me->k, KEPT)];

        switch (chance_below(&me->k, 4)) {
        case 0:
            call_many(any, &me->k);
            break;
        case 1:
            call_in_vain(any, &me->k);
            break;
        default:
            if (me->number < KEPT) {
                turns[chance_below(&me->k, sizeof turns / sizeof turns[0])](me->office->channels[me->number], &me->k);
            } else if (chance_below(&me->k, 3) == 0) {
                halt_one(&me->k);
            } else {
                kill_one(&me->k);
            }
        }
    }
    return NULL;
}

static void look_at_workers(post_office *office, picture *pictures)
{
    for (int i = 0; i < KEPT; i++) {
        proc_message reply;
        usage now;

        if (proc_channel_call(office->channels[i], MESSAGE(.type = STATS), &reply, IN_TIME) < 0) {
            give_up("a worker does not answer");
        }
        memcpy(&now, reply.data, sizeof now);
        proc_message_clear(&reply);
        picture_compare(&pictures[i], now, "a worker");
    }
}

int messages_by_calls(unsigned number, uint64_t share)
{
    picture own = {.looks = 0}, pictures[KEPT] = {{.looks = 0}};
    unsigned long long before = 0;
    post_office office;

    for (int i = 0; i < KEPT; i++) {
        office.workers[i] = start_worker(false);
        office.channels[i] = proc_child_channel(office.workers[i]);
    }
    for (uint64_t done = 0, round = 0; done < share; round++) {
        clerk clerks[THREADS];

        before = own_messages();
        for (unsigned i = 0; i < THREADS; i++) {
            clerks[i] = (clerk){.office = &office, .number = i, .k = chance_of(number, i, round)};
            if (pthread_create(&clerks[i].thread, NULL, take_turns, &clerks[i]) != 0) {
                give_up("no thread");
            }
        }
        for (unsigned i = 0; i < THREADS; i++) {
            (void)pthread_join(clerks[i].thread, NULL);
        }
        done += own_messages() - before;
        look_at_workers(&office, pictures);
        picture_look(&own, "messages by calls", true);
    }
    for (int i = 0; i < KEPT; i++) {
        proc_status status;

        EXPECT(proc_channel_shutdown(office.channels[i]) == 0, "shutdown");
        int err = proc_child_wait(office.workers[i], IN_TIME, &status);
        EXPECT(err == 0 && proc_status_ok(&status), "a worker ended with code %d, signal %d", status.code,
               status.signal);
        proc_child_free(office.workers[i]);
    }
    picture_look(&own, "messages by calls", false);
    return 0;
}
