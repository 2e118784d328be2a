/*
 * An end of a channel, and at the other descriptor somebody who does what the input says: the protocol, nearly the
 * protocol, or anything at all. Whatever comes, every call returns one of its errors, memory and descriptors stay within
 * bounds, and what our end writes is the protocol. With somebody who keeps to the rules there is no error, and nothing is
 * lost.
 */
#include "channel.h"

#include "other_end.h"

#include <sys/resource.h>

enum { DESCRIPTORS = 256, SLACK = 8 * 1024 * 1024 };

typedef struct host {
    proc_channel *channel;
    size_t max_fds;
    int broken, recv_said; /* -EPROTO or -EPROTONOSUPPORT, once a call has said so; and the same of recv */
    bool may_be_late;      /* deadlines of a millisecond */
    proc_message current;
    bool has_current;
    proc_message requests[MOST_REQUESTS]; /* only id and flags */
    size_t request_count;
    int64_t asked[OWN_REQUESTS];
    size_t asked_count;
    size_t bytes_queued;
} host;

static host h;

extern size_t __sanitizer_get_current_allocated_bytes(void) __attribute__((weak));

static size_t count_open(void)
{
    struct pollfd all[DESCRIPTORS];
    size_t count = 0;

    for (int fd = 0; fd < DESCRIPTORS; fd++) {
        all[fd] = (struct pollfd){.fd = fd};
    }
    MUST(poll(all, DESCRIPTORS, 0) >= 0);
    for (int fd = 0; fd < DESCRIPTORS; fd++) {
        count += (all[fd].revents & POLLNVAL) == 0;
    }
    return count;
}

/* ---- our end ---- */

static bool is_one_of(int64_t result, const int *errors, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (result == -errors[i]) {
            return true;
        }
    }
    return false;
}

#define ONE_OF(result, ...) is_one_of(result, (const int[]){__VA_ARGS__}, COUNT(((const int[]){__VA_ARGS__})))

/* -EPROTO is for good, and nobody who keeps to the rules ever causes it. */
static void check_broken(int64_t result)
{
    if (h.broken != 0) {
        MUST(result == h.broken);
    } else if (ONE_OF(result, EPROTO, EPROTONOSUPPORT)) {
        MUST(!o.honest || h.may_be_late);
        h.broken = (int)result;
    }
}

static void check_sending(int64_t result, bool waits)
{
    check_broken(result);
    if (result < 0) {
        MUST(ONE_OF(result, EPIPE, EMSGSIZE, E2BIG, EMFILE, EPROTO, EPROTONOSUPPORT) ||
             (waits ? ONE_OF(result, ETIMEDOUT, EDEADLK) : result == -EAGAIN));
    }
}

static proc_message take_outgoing(input *in)
{
    static int fds[MOST_CHANNEL_FDS + 4];
    proc_message message = {.type = take8(in), .size = take_size(in)};
    unsigned shape = take8(in);

    for (size_t i = 0; i < COUNT(fds); i++) {
        fds[i] = null_fd;
    }
    message.data = content(message.type);
    message.fds = fds;
    message.fd_count = shape < 200 ? 0 : shape < 250 ? shape % 4 : COUNT(fds);
    h.bytes_queued += message.size + 4096;
    return message;
}

static void check_received(const proc_message *m)
{
    MUST((m->flags & ~(uint32_t)(PROC_REQUEST | PROC_REPLY | PROC_FAILURE | PROC_MORE | PROC_FDS_LOST)) == 0);
    MUST((uintptr_t)m->data % 8 == 0 && m->fd_count <= h.max_fds);
    if (o.honest && (m->flags & PROC_REPLY) == 0) {
        const sent *s = &o.sent[o.taken++];

        MUST(o.taken <= o.sent_count && m->type == s->type && m->size == s->size && m->id == s->id);
        MUST(((m->flags & PROC_REQUEST) != 0) == (s->kind == FRAME_REQUEST));
        MUST((m->flags & PROC_FDS_LOST) != 0 || m->fd_count == s->fds);
    }
    MUST(!o.honest || memcmp(m->data, content(m->type), m->size) == 0);
}

static int receive(int timeout_ms)
{
    int err = proc_channel_recv(h.channel, &h.current, timeout_ms);

    h.has_current = err == 0;
    MUST(err == 0 || ONE_OF(err, ETIMEDOUT, EPIPE, EPROTO, EPROTONOSUPPORT));
    if (h.recv_said != 0) {
        MUST(err == h.recv_said);
    } else if (err == -EPROTO || err == -EPROTONOSUPPORT) {
        check_broken(err);
        h.recv_said = err;
    }
    if (err == 0) {
        check_received(&h.current);
        if ((h.current.flags & PROC_REQUEST) != 0 && h.request_count < MOST_REQUESTS) {
            h.requests[h.request_count++] = (proc_message){.id = h.current.id, .flags = PROC_REQUEST};
        }
    } else {
        MUST(h.current.data == NULL && h.current.size == 0 && h.current.fd_count == 0);
    }
    return err;
}

static void reply(input *in)
{
    unsigned shape = take8(in);
    proc_message message = take_outgoing(in);

    if (h.request_count == 0) {
        return;
    }
    size_t i = shape % h.request_count;
    message.flags = PROC_REPLY | ((shape & 64) != 0 ? PROC_FAILURE : (shape & 128) != 0 ? PROC_MORE : 0u);
    int err = proc_channel_reply(h.channel, &h.requests[i], &message, 0);
    MUST(err != -EINVAL || h.broken != 0 || !o.honest);
    if (err != -EINVAL) {
        check_sending(err, true);
    }
    if (err == 0 && (message.flags & PROC_MORE) == 0) {
        h.requests[i] = h.requests[--h.request_count];
    }
}

static void request(input *in)
{
    proc_message message = take_outgoing(in);
    int64_t id = proc_channel_request(h.channel, &message, 0);

    check_sending(id, true);
    MUST(id != 0);
    if (id > 0 && h.asked_count < OWN_REQUESTS) {
        h.asked[h.asked_count++] = id;
    }
}

/* Nobody answers while our end waits: what is to be there then goes before, to the id that the next request will have. */
static void answer_next(input *in)
{
    const proc_channel *c = h.channel;
    size_t place = 0;

    while (place < c->own_capacity && c->own[place].state != REQUEST_FREE) {
        place++;
    }
    uint32_t generation = place < c->own_capacity ? (uint16_t)(c->own[place].generation + 1) : 1;
    for (unsigned count = take_below(in, 4); count > 0; count--) {
        unsigned shape = take8(in);
        frame f = {
            .kind = FRAME_REPLY, .type = take8(in), .id = generation << 16 | (uint32_t)(place + 1), .size = shape};

        f.flags = (shape & 1) != 0 ? FRAME_MORE : 0;
        f.fd_count = (shape & 2) != 0 ? 1 : 0;
        o.honest = false;
        (void)write_with_fds(f, f.fd_count);
    }
}

static void call(input *in)
{
    proc_message message = take_outgoing(in), answer;

    answer_next(in);
    int err = proc_channel_call(h.channel, &message, &answer, take8(in) > 250);

    if (err != -EBADMSG) {
        check_sending(err, true);
    }
    MUST(err == 0 || (answer.data == NULL && answer.owner == NULL));
    if (err == 0) {
        MUST((answer.flags & (PROC_REPLY | PROC_MORE | PROC_REQUEST)) == PROC_REPLY);
        MUST(!o.honest || memcmp(answer.data, content(answer.type), answer.size) == 0);
    }
    if (err == 0 && answer.fd_count > 0 && (message.type & 1) != 0) {
        close(proc_message_take_fd(&answer, 0));
    }
    proc_message_clear(&answer);
}

static void send_one(input *in)
{
    proc_message message = take_outgoing(in);

    if ((message.type & 1) != 0) {
        check_sending(proc_channel_send(h.channel, &message, 0), true);
    } else {
        check_sending(proc_channel_post(h.channel, &message), false);
    }
}

static void do_something_else(input *in)
{
    unsigned choice = take8(in);
    int err;

    switch (choice % 8) {
    case 0:
        err = proc_channel_flush(h.channel, 0);
        check_broken(err);
        MUST(err == 0 || ONE_OF(err, ETIMEDOUT, EPIPE, EDEADLK, EPROTO, EPROTONOSUPPORT));
        break;
    case 1:
        if (choice > 200) {
            err = proc_channel_shutdown(h.channel);
            check_broken(err);
            MUST(err == 0 || ONE_OF(err, EPIPE, EPROTO, EPROTONOSUPPORT));
        }
        break;
    case 2:
        if (h.asked_count > 0) {
            err = proc_channel_cancel(h.channel, h.asked[--h.asked_count]);
            MUST(err == 0 || err == -EINVAL);
        }
        break;
    case 3:
        if (h.request_count > 0) {
            (void)proc_channel_cancelled(h.channel, &h.requests[choice % h.request_count]);
        }
        break;
    case 4:
        MUST((proc_channel_events(h.channel) & ~(POLLIN | POLLOUT)) == 0);
        break;
    case 5:
        MUST(proc_channel_timeout(h.channel) >= PROC_FOREVER);
        break;
    case 6:
        MUST(proc_channel_pending(h.channel) <= h.bytes_queued);
        break;
    case 7:
        if (h.has_current && h.current.fd_count > 0) {
            int fd = proc_message_take_fd(&h.current, choice % h.current.fd_count);

            MUST(fd == -EBADF || (fd > 2 && close(fd) == 0));
        }
        proc_message_clear(&h.current);
        break;
    }
}

/* ---- a run ---- */

static void act(input *in)
{
    unsigned op = take_below(in, 32);

    if (op < 5) {
        (void)receive(0);
    } else if (op < 8) {
        send_one(in);
    } else if (op < 10) {
        reply(in);
    } else if (op < 12) {
        request(in);
    } else if (op < 13) {
        call(in);
    } else if (op < 15) {
        do_something_else(in);
    } else if (op < 18) {
        put_message(in, NULL);
    } else if (op < 20) {
        put_reply(in, NULL);
    } else if (op < 21) {
        put_control(in, NULL);
    } else if (op < 22) {
        send_fds(in);
    } else if (op < 25) {
        (void)write_queued(MOST_QUEUED);
    } else if (op < 26) {
        (void)write_queued(take16(in));
    } else if (op < 28) {
        read_host();
        o.told = take_bool(in) ? o.gated_in : o.told;
    } else if (op < 29) {
        void (*const puts[])(input *, input *) = {put_message, put_reply, put_control};

        puts[take_below(in, COUNT(puts))](in, in);
    } else if (op < 30) {
        put_garbage(in);
    } else if (op < 31) {
        put_hello(in);
    } else {
        close_other(in);
    }
}

/* What our end reads and writes: a socket, or two pipes. */
static void connect_ends(int ends[2], bool pipes)
{
    int there[2], back[2];

    if (!pipes) {
        MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, there) == 0);
        ends[0] = ends[1] = there[0];
        o.fd = o.read_fd = there[1];
        return;
    }
    MUST(pipe2(there, O_CLOEXEC) == 0 && pipe2(back, O_CLOEXEC) == 0);
    ends[0] = there[0];
    ends[1] = back[1];
    o.fd = there[1];
    o.read_fd = back[0];
    MUST(fcntl(o.fd, F_SETFL, O_NONBLOCK) == 0 && fcntl(o.read_fd, F_SETFL, O_NONBLOCK) == 0);
}

static void begin(input *in)
{
    static const size_t sizes[] = {0, 1, 100, 5000, 100000};
    proc_channel_options options = {.linger_ms = 1};
    unsigned shape = take8(in), more = take8(in);
    int ends[2];

    memset(&h, 0, sizeof h);
    connect_ends(ends, (shape & 128) != 0 && (more & 8) != 0);
    o.honest = true;
    o.window = 64 * 1024;
    o.max_fds = more & 7;
    o.max_size = 64 * 1024;
    o.host_takes = h.max_fds = options.max_fds = (shape & 3) == 0   ? 0
                                                 : (shape & 3) == 1 ? MOST_CHANNEL_FDS
                                                                    : shape >> 4;
    options.high_water = sizes[take_below(in, COUNT(sizes))];
    options.backlog = sizes[take_below(in, COUNT(sizes))];
    options.max_message = o.host_max_size = (more & 8) != 0 ? 64 * 1024 : 1024 * 1024;
    options.frame_ms = more >> 4 == 15 ? 1 : 0;
    options.hello_ms = more >> 4 == 14 ? 1 : 0;
    h.may_be_late = more >> 4 >= 14;
    MUST(proc_channel_open(&h.channel, ends[0], ends[1], &options) == 0);
    if ((shape & 12) != 12) {
        put_hello(in);
        (void)write_queued(MOST_QUEUED);
    }
}

/* Whoever has kept to the rules to the end: all that was sent comes, then the end. */
static void finish_honestly(void)
{
    int err;

    while (!write_queued(MOST_QUEUED)) {
        while ((err = receive(0)) == 0) {
        }
        MUST(err == -ETIMEDOUT || err == -EPIPE);
        read_host();
    }
    read_host();
    close_both();
    while ((err = receive(0)) == 0) {
    }
    MUST(err == -EPIPE && o.taken == o.sent_count);
}

static void check_memory(size_t before)
{
    if (__sanitizer_get_current_allocated_bytes != NULL) {
        size_t memory = __sanitizer_get_current_allocated_bytes();

        MUST(memory < before + SLACK + o.read_capacity + 8 * (o.bytes_written + h.bytes_queued));
    }
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    struct rlimit limit;

    (void)argc;
    (void)argv;
    MUST(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = DESCRIPTORS; /* so that a crowd of descriptors is too much now and then */
    MUST(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (size_t i = 0; i < sizeof pattern; i++) {
        pattern[i] = (unsigned char)(i * 7 + i / 256);
    }
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t memory = __sanitizer_get_current_allocated_bytes != NULL ? __sanitizer_get_current_allocated_bytes() : 0;
    size_t open_before = count_open();
    input in = {.at = data, .left = size};

    memset(&o, 0, offsetof(other, queued));
    memset(&o.queued_start, 0, sizeof o - offsetof(other, queued_start));
    begin(&in);
    while (in.left > 0) {
        act(&in);
        check_memory(memory);
    }
    if (o.honest && o.said_hello && !h.may_be_late) {
        finish_honestly();
    }
    proc_channel_free(h.channel);
    close_both();
    free(o.read);
    MUST(count_open() == open_before);
    return 0;
}
