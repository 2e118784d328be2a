/*
 * See soak_worker.h.
 */
#include "soak_worker.h"

/* ---- numbered messages ---- */

static _Thread_local stamped scratch;

const stamped *stamp(uint64_t number, size_t size)
{
    scratch.number = number;
    for (size_t i = 0; i < size - sizeof number; i++) {
        scratch.bytes[i] = pattern_at(number, i);
    }
    return &scratch;
}

size_t size_of(uint64_t number)
{
    uint64_t x = number * 0x9e3779b97f4a7c15u >> 40;

    return sizeof number + (x % 5000 == 0 ? x % MOST_SIZE : x % 100 == 0 ? x % 5000 : x % 40);
}

static bool is_stamped(const proc_message *m, uint64_t number)
{
    const stamped *s = m->data;
    size_t size = size_of(number);

    if (m->size != size || s->number != number) {
        return false;
    }
    for (size_t i = 0; i < size - sizeof number; i++) {
        if (s->bytes[i] != pattern_at(number, i)) {
            return false;
        }
    }
    return true;
}

void check_number(const char *what, const proc_message *m, uint64_t number)
{
    if (!is_stamped(m, number)) {
        ADD(wrong, 1);
        complain("%s: type %u, %zu bytes are not number %llu", what, m->type, m->size, (unsigned long long)number);
    }
    count_messages(1);
}

/* ---- a worker ---- */

static int flood_parent(proc_channel *parent, const proc_message *request)
{
    order o;
    int err = 0;

    memcpy(&o, request->data, sizeof o);
    for (uint64_t i = 0; i < o.count && err == 0; i++) {
        const proc_message m = {.type = SOURCE, .data = stamp(i, size_of(i)), .size = size_of(i)};

        err = proc_channel_post(parent, &m);
        err = err == -EAGAIN ? proc_channel_send(parent, &m, PROC_FOREVER) : err;
    }
    return err == 0 ? proc_channel_reply(parent, request, MESSAGE(.flags = PROC_REPLY), PROC_FOREVER) : err;
}

static int give_parts(proc_channel *parent, const proc_message *request)
{
    order o;
    int err = 0;

    memcpy(&o, request->data, sizeof o);
    for (uint64_t i = 0; i < o.count && err == 0; i++) {
        err = proc_channel_reply(
            parent, request,
            MESSAGE(.flags = PROC_REPLY | PROC_MORE, .type = PART, .data = stamp(i, size_of(i)), .size = size_of(i)),
            PROC_FOREVER);
    }
    return err == 0 ? proc_channel_reply(parent, request, MESSAGE(.flags = PROC_REPLY), PROC_FOREVER) : err;
}

static int take_nap(proc_channel *parent, const proc_message *m)
{
    order o;

    memcpy(&o, m->data, sizeof o);
    (void)poll(NULL, 0, (int)o.count);
    return (m->flags & PROC_REQUEST) == 0
               ? 0
               : proc_channel_reply(parent, m, MESSAGE(.flags = PROC_REPLY, .type = NAP), PROC_FOREVER);
}

static int use_given(proc_message *m)
{
    int fd = proc_message_take_fd(m, 0);
    ssize_t put = fd < 0 ? -1 : write(fd, "x", 1);

    if (fd >= 0) {
        close(fd);
    }
    return put == 1 ? 0 : -EBADF;
}

static int serve(proc_channel *parent, proc_message *m, sink *s)
{
    proc_message answer = {.flags = PROC_REPLY, .type = m->type, .data = m->data, .size = m->size};
    usage now;

    switch (m->type) {
    case ECHO:
        return proc_channel_send(parent, MESSAGE(.type = ECHO, .data = m->data, .size = m->size), PROC_FOREVER);
    case SINK:
        s->wrong += !is_stamped(m, s->count++);
        return 0;
    case SINK_END:
        answer.data = s;
        answer.size = sizeof *s;
        break;
    case FLOOD:
        return flood_parent(parent, m);
    case NAP:
        return take_nap(parent, m);
    case PARTS:
        return give_parts(parent, m);
    case GIVE:
        return use_given(m);
    case STATS:
        now = usage_now();
        answer.data = &now;
        answer.size = sizeof now;
        break;
    default:
        break;
    }
    int err = proc_channel_reply(parent, m, &answer, PROC_FOREVER);
    if (m->type == SINK_END) {
        *s = (sink){.count = 0};
    }
    return err;
}

int worker(proc_channel *parent, void *arg)
{
    sink s = {.count = 0};
    proc_message m;
    int err;

    (void)arg;
    while ((err = proc_channel_recv(parent, &m, PROC_FOREVER)) == 0) {
        err = serve(parent, &m, &s);
        if (err < 0) {
            break;
        }
    }
    return err == -EPIPE ? 0 : 90;
}

proc_child *start_worker(bool by_call)
{
    static const proc_channel_options channel = {.max_fds = 4, .linger_ms = 1};
    const proc_options options = {.channel = &channel};
    proc_child *child;
    int err = by_call ? proc_fork_call(&child, worker, NULL, &options)
                      : proc_fork(&child, soak_argv("worker", NULL), &options);

    if (err < 0) {
        give_up("no worker: %s", proc_strerror(err));
    }
    ADD(children, 1);
    return child;
}
