/* wrap: setsockopt socketpair */
/*
 * Channels under bad conditions: the smallest buffers, signals without end, a peer that stands still, descriptors where none
 * belong and a kernel that cannot refuse them, a descriptor that was closed by somebody else.
 */
#include "events.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "channel.h"

/* ---- a kernel that knows no SO_PASSRIGHTS ---- */

static bool kernel_is_old;

int __real_setsockopt(int fd, int level, int name, const void *value, socklen_t size);
int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t size);

int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t size)
{
    if (kernel_is_old && level == SOL_SOCKET && name != SO_SNDBUF && name != SO_RCVBUF) {
        errno = ENOPROTOOPT;
        return -1;
    }
    return __real_setsockopt(fd, level, name, value, size);
}

/* ---- another thread that forks at the wrong moment ---- */

static bool passed_on; /* an end was not close-on-exec at once */

int __real_socketpair(int domain, int type, int protocol, int ends[2]);
int __wrap_socketpair(int domain, int type, int protocol, int ends[2]);

int __wrap_socketpair(int domain, int type, int protocol, int ends[2])
{
    int result = __real_socketpair(domain, type, protocol, ends);

    for (int i = 0; result == 0 && i < 2; i++) {
        passed_on = passed_on || (fcntl(ends[i], F_GETFD) & FD_CLOEXEC) == 0;
    }
    return result;
}

static void no_end_of_a_pair_can_reach_a_program_that_another_thread_starts(void **state)
{
    (void)state;
    proc_channel *ends[2];

    passed_on = false;
    make_pair(ends, NULL);
    free_pair(ends);

    assert_false(passed_on);
}

/* ---- the smallest buffers ---- */

typedef struct sender {
    proc_channel *channel;
    pthread_t thread;
    uint32_t count;
    int result;
} sender;

/* The sizes are the same for the sender and the receiver. */
static size_t size_of(uint32_t number)
{
    return number % 1000 == 999 ? 20000 : (number * 2654435761u >> 16) % 200;
}

static void *send_many(void *arg)
{
    sender *s = arg;
    char *data = malloc(20000);

    for (size_t i = 0; i < 20000; i++) {
        data[i] = pattern_at(i);
    }
    for (uint32_t i = 0; i < s->count && s->result == 0; i++) {
        s->result = proc_channel_send(s->channel, MESSAGE(.type = i, .data = data, .size = size_of(i)), IN_TIME);
    }
    if (s->result == 0) {
        s->result = proc_channel_flush(s->channel, IN_TIME);
    }
    free(data);
    return NULL;
}

static void start_sender(sender *s, proc_channel *c, uint32_t count)
{
    *s = (sender){.channel = c, .count = count};
    assert_int_equal(pthread_create(&s->thread, NULL, send_many, s), 0);
}

static void expect_many(sender *s, proc_channel *from)
{
    char *data = pattern(20000);

    for (uint32_t i = 0; i < s->count; i++) {
        expect_message(from, i, data, size_of(i));
    }
    pthread_join(s->thread, NULL);
    assert_int_equal(s->result, 0);
}

static void the_smallest_buffers_lose_nothing(void **state)
{
    (void)state;
    static const int least = 1;
    proc_channel *ends[2];
    sender s;

    make_pair(ends, NULL);
    for (int i = 0; i < 2; i++) {
        int fd = proc_channel_fd(ends[i]);
        assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &least, sizeof least), 0);
        assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &least, sizeof least), 0);
    }
    start_sender(&s, ends[0], under_valgrind() ? 2000 : 100000);
    expect_many(&s, ends[1]);
    free_pair(ends);
}

static void thousands_that_were_posted_go_with_one_flush(void **state)
{
    (void)state;
    enum { POSTED = 5000 }; /* more than one system call takes pieces */
    proc_channel *ends[2];

    make_pair(ends, NULL);
    for (uint32_t i = 0; i < POSTED; i++) {
        assert_int_equal(proc_channel_post(ends[0], MESSAGE(.type = i, .data = &i, .size = sizeof i)), 0);
    }
    assert_int_equal(proc_channel_flush(ends[0], IN_TIME), 0);
    for (uint32_t i = 0; i < POSTED; i++) {
        expect_message(ends[1], i, &i, sizeof i);
    }
    free_pair(ends);
}

/* ---- signals ---- */

static atomic_int interruptions;

static void on_alarm(int signo)
{
    (void)signo;
    atomic_fetch_add(&interruptions, 1);
}

static void *answer_all(void *arg)
{
    proc_message m;
    int err;

    while ((err = proc_channel_recv(arg, &m, IN_TIME)) == 0) {
        if ((m.flags & PROC_REQUEST) != 0) {
            (void)proc_channel_reply(arg, &m, ANSWER(.type = m.type + 1), IN_TIME);
        }
    }
    return (void *)(intptr_t)err;
}

static void talk_in_a_storm(void *arg)
{
    struct sigaction action = {.sa_handler = on_alarm}; /* no SA_RESTART */
    const struct itimerval each_ms = {{.tv_usec = 1000}, {.tv_usec = 1000}}, never = {{0}, {0}};
    proc_channel *ends[2];
    pthread_t server;
    proc_message reply;
    void *result;
    sender s;

    (void)arg;
    sigemptyset(&action.sa_mask);
    assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &each_ms, NULL), 0);
    make_pair(ends, NULL);
    start_sender(&s, ends[0], 20000);
    expect_many(&s, ends[1]);

    int64_t begin = now_ms();
    assert_int_equal(proc_channel_recv(ends[1], &reply, 200), -ETIMEDOUT);
    assert_true(now_ms() - begin >= 200); /* the time that is left, not all of it again and not nothing */
    assert_true(now_ms() - begin < IN_TIME);
    assert_int_equal(pthread_create(&server, NULL, answer_all, ends[1]), 0);
    for (uint32_t i = 0; i < 2000; i++) {
        assert_int_equal(proc_channel_call(ends[0], ASK(.type = i), &reply, IN_TIME), 0);
        assert_int_equal(reply.type, i + 1);
        proc_message_clear(&reply);
    }
    assert_int_equal(proc_channel_shutdown(ends[0]), 0);
    pthread_join(server, &result);
    assert_int_equal((intptr_t)result, -EPIPE);
    free_pair(ends);

    proc_loop *loop = make_loop();
    events e = {.length = 0};
    proc_child *child =
        add_noted(loop, &e, KID("readbyte", "0", "out", "text", "exit", "3"), OPTIONS(.in.kind = PROC_PIPE));
    begin = now_ms();
    assert_int_equal(proc_loop_run(loop, 20), -ETIMEDOUT);
    assert_true(now_ms() - begin >= 20);
    assert_int_equal(proc_child_close(child, 0), 0);
    run_loop(loop);
    assert_non_null(strstr(e.log, "out1=text "));
    assert_non_null(strstr(e.log, "[exit 3] close "));
    proc_child_free(child);
    proc_loop_free(loop);
    assert_int_equal(setitimer(ITIMER_REAL, &never, NULL), 0);
    assert_true(atomic_load(&interruptions) > 10); /* on a busy machine many of a thousand a second are one */
}

static void interrupted_channels_and_loops_go_on(void **state)
{
    (void)state;
    NOT_UNDER_VALGRIND();

    in_copy(talk_in_a_storm, NULL);
}

/* ---- a peer that stands still ---- */

static int echo_types(proc_channel *parent, void *arg)
{
    proc_message m;
    uint32_t next = 0;
    int err;

    (void)arg;
    while ((err = proc_channel_recv(parent, &m, IN_TIME)) == 0) {
        if (m.type != next++) {
            return 1;
        }
    }
    return err == -EPIPE ? (int)(next % 200) : 2;
}

static void a_peer_that_stands_still_costs_no_more_than_the_mark(void **state)
{
    (void)state;
    enum { SIZE = 10000, MARK = 300000 };
    char *data = pattern(SIZE);
    proc_child *child = NULL;
    proc_status status;
    proc_message reply;
    uint32_t sent = 0;
    int err;

    assert_int_equal(proc_fork_call(&child, echo_types, NULL, OPTIONS(.channel = CHANNEL_OPTIONS(.high_water = MARK))),
                     0);
    proc_channel *c = proc_child_channel(child);
    assert_int_equal(proc_child_kill(child, SIGSTOP), 0);
    while ((err = proc_channel_send(c, MESSAGE(.type = sent, .data = data, .size = SIZE), 0)) == 0) {
        assert_true(++sent < 1000);
    }
    assert_int_equal(err, -ETIMEDOUT);
    assert_true(proc_channel_pending(c) <= MARK + SIZE);
    assert_int_equal(proc_channel_call(c, ASK(.type = 1), &reply, 20), -ETIMEDOUT);
    assert_int_equal(proc_channel_flush(c, 20), -ETIMEDOUT);
    assert_int_equal(proc_child_wait(child, 0, NULL), -ETIMEDOUT);

    assert_int_equal(proc_child_kill(child, SIGCONT), 0);
    assert_int_equal(proc_channel_shutdown(c), 0);
    assert_int_equal(proc_channel_flush(c, IN_TIME), 0);
    assert_int_equal(proc_child_wait(child, IN_TIME, &status), 0);
    assert_int_equal(status.code, sent % 200); /* each came, once and in order */
    proc_child_free(child);
}

/* ---- bytes that are no one's business ---- */

static void padding_is_zero_on_the_wire_and_of_no_account_when_it_comes(void **state)
{
    (void)state;
    unsigned char bytes[24000];
    char *data = pattern(20000);
    frame f = {.kind = FRAME_MESSAGE, .type = 7};
    raw r;

    raw_meet(&r, NULL);
    for (uint32_t size = 1; size < 18; size++) {
        f.size = size < 10 ? size : 19980 + size; /* those that are queued, and those that go straight */
        f.ack = r.channel->out.sent;
        size_t whole = raw_encode(&f, data, bytes);
        memset(bytes + FRAME_HEADER_SIZE + f.size, 0xEE, whole - FRAME_HEADER_SIZE - f.size);
        raw_write(&r, bytes, whole);
        expect_message(r.channel, 7, data, f.size);

        memset(bytes, 0xEE, sizeof bytes);
        assert_int_equal(proc_channel_send(r.channel, MESSAGE(.type = 7, .data = data, .size = f.size), 0), 0);
        assert_int_equal(recv(r.fd, bytes, whole, MSG_WAITALL), whole);
        assert_memory_equal(bytes + FRAME_HEADER_SIZE, data, f.size);
        for (size_t i = FRAME_HEADER_SIZE + f.size; i < whole; i++) {
            assert_int_equal(bytes[i], 0);
        }
        raw_frame(&r, (frame){.kind = FRAME_ACK, .ack = r.channel->out.sent}, NULL);
        expect_nothing(r.channel);
    }
    raw_end(&r);
}

static void what_looks_like_a_frame_is_data_in_a_message(void **state)
{
    (void)state;
    static const frame looks[] = {{.kind = FRAME_END},
                                  {.kind = FRAME_GOAWAY},
                                  {.kind = FRAME_REPLY, .id = 1},
                                  {.kind = FRAME_CANCEL, .id = 1},
                                  {.kind = FRAME_HELLO, .type = FRAME_HELLO_TYPE, .size = 26}};
    unsigned char bytes[COUNT(looks) * FRAME_HEADER_SIZE];
    proc_channel *ends[2];

    for (size_t i = 0; i < COUNT(looks); i++) {
        frame_encode(&looks[i], bytes + i * FRAME_HEADER_SIZE);
    }
    make_pair(ends, NULL);
    for (size_t size = 1; size <= sizeof bytes; size++) {
        assert_int_equal(proc_channel_send(ends[0], MESSAGE(.type = 1, .data = bytes, .size = size), 0), 0);
        expect_message(ends[1], 1, bytes, size);
    }
    assert_int_equal(proc_channel_send(ends[0], MESSAGE(.type = FRAME_HELLO_TYPE), 0), 0);
    expect_message(ends[1], FRAME_HELLO_TYPE, NULL, 0);
    free_pair(ends);
}

static void a_reset_by_the_other_end_is_an_end_like_any_other(void **state)
{
    (void)state;
    raw r;

    raw_meet(&r, NULL);
    raw_frame(&r, (frame){.kind = FRAME_MESSAGE, .type = 7, .size = 5}, "hello");
    assert_int_equal(proc_channel_send(r.channel, MESSAGE(.type = 1), 0), 0);
    close(r.fd); /* with something unread: ECONNRESET here, not the plain end */
    r.fd = -1;

    expect_message(r.channel, 7, "hello", 5);
    expect_end(r.channel, -EPIPE);
    assert_int_equal(proc_channel_send(r.channel, MESSAGE(.type = 1), 0), -EPIPE);
    raw_end(&r);
}

static void a_descriptor_that_somebody_else_closed_is_an_end(void **state)
{
    (void)state;
    proc_channel *ends[2];
    proc_message m;
    int fd;

    make_pair(ends, NULL);
    fd = proc_channel_fd(ends[0]);
    close(fd); /* a bug of the host: poll says POLLNVAL */
    assert_int_equal(proc_channel_recv(ends[0], &m, IN_TIME), -EPIPE);
    assert_int_equal(proc_channel_send(ends[0], MESSAGE(.type = 1), IN_TIME), -EPIPE);
    assert_int_equal(fcntl(1, F_DUPFD_CLOEXEC, fd), fd); /* something for the channel to close */
    free_pair(ends);
}

/* ---- descriptors where none belong ---- */

static void send_strangers_again_and_again(int rounds)
{
    size_t open_before = count_open();
    unsigned char bytes[64];
    const frame f = {.kind = FRAME_MESSAGE, .type = 3};
    int fds[252]; /* as many as one call takes: 253 in the kernel, and musl passes on 1024 bytes of control data */

    for (int i = 0; i < rounds; i++) {
        raw r;
        raw_meet(&r, i % 2 == 0 ? NULL : CHANNEL_OPTIONS(.max_fds = 4));
        for (size_t k = 0; k < COUNT(fds); k++) {
            fds[k] = r.fd;
        }
        if (raw_send(&r, bytes, raw_encode(&f, NULL, bytes), fds, COUNT(fds))) {
            expect_message(r.channel, 3, NULL, 0);
            expect_end(r.channel, -EPROTO);
            assert_int_equal(count_open(), open_before + 2); /* the two sockets */
        } else {
            assert_false(kernel_is_old); /* it was refused */
        }
        raw_end(&r);
        assert_int_equal(count_open(), open_before);
    }
}

static void strangers_by_the_hundreds_are_refused_or_closed(void **state)
{
    (void)state;
    struct rlimit limit, larger;

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    larger = (struct rlimit){.rlim_cur = limit.rlim_max < 4096 ? limit.rlim_max : 4096, .rlim_max = limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &larger), 0);
    send_strangers_again_and_again(under_valgrind() ? 4 : 200);
    kernel_is_old = true;
    send_strangers_again_and_again(under_valgrind() ? 4 : 200);
    kernel_is_old = false;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static void a_channel_without_descriptors_works_where_the_kernel_cannot_refuse_them(void **state)
{
    (void)state;
    proc_channel *ends[2];

    kernel_is_old = true;
    make_pair(ends, NULL);
    assert_false(ends[0]->refuses_fds);
    assert_int_equal(proc_channel_send(ends[0], MESSAGE(.type = 1, .data = "x", .size = 1), 0), 0);
    expect_message(ends[1], 1, "x", 1);
    assert_int_equal(proc_channel_send(ends[0], MESSAGE(.fds = (const int[]){1}, .fd_count = 1), 0), -E2BIG);
    free_pair(ends);
    kernel_is_old = false;
}

/* The program asked for credentials on the socket that it then made a channel of. */
static void credentials_beside_descriptors_are_passed_over(void **state)
{
    (void)state;
    static const int yes = 1;
    proc_channel *ends[2];
    proc_message m;
    int sockets[2];

    make_sockets(sockets);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(setsockopt(sockets[i], SOL_SOCKET, SO_PASSCRED, &yes, sizeof yes), 0);
        assert_int_equal(proc_channel_open(&ends[i], sockets[i], sockets[i], CHANNEL_OPTIONS(.max_fds = 250)), 0);
    }
    meet(ends[0], ends[1]);
    for (uint32_t count = 0; count <= 250; count += 50) {
        int fds[250];
        for (uint32_t i = 0; i < count; i++) {
            fds[i] = sockets[0];
        }
        assert_int_equal(proc_channel_send(ends[0], MESSAGE(.type = count, .fds = fds, .fd_count = count), 0), 0);
        assert_int_equal(proc_channel_recv(ends[1], &m, IN_TIME), 0);
        assert_int_equal(m.type, count);
        assert_int_equal(m.flags, 0);
        assert_int_equal(m.fd_count, count);
    }
    free_pair(ends);
}

/* ---- one that floods, and ninety-nine that do not ---- */

typedef struct crowd {
    proc_loop *loop;
    proc_channel *others[100];
    size_t flooded, asked, answered;
} crowd;

static void take_message(proc_channel *c, proc_message *m, void *ctx)
{
    crowd *all = ctx;

    (void)c;
    all->flooded += m->type == 1;
    all->answered += m->type == 2;
    if (all->answered == 99) {
        proc_loop_stop(all->loop);
    }
}

/* Below the mark again: more of the same. */
static void flood_on(proc_channel *c, void *ctx)
{
    static char data[100];

    (void)ctx;
    while (proc_channel_post(c, MESSAGE(.type = 1, .data = data, .size = sizeof data)) == 0) {
    }
}

static void one_that_floods_does_not_starve_ninety_nine_that_are_quiet(void **state)
{
    (void)state;
    static const proc_handlers taking = {.on_message = take_message}, flooding = {.on_room = flood_on};
    crowd all = {.loop = make_loop()};
    proc_channel *ends[100][2];

    for (int i = 0; i < 100; i++) {
        make_pair(ends[i], NULL);
        assert_int_equal(proc_loop_add_channel(all.loop, ends[i][0], &taking, &all), 0);
    }
    assert_int_equal(proc_loop_add_channel(all.loop, ends[0][1], &flooding, &all), 0);
    flood_on(ends[0][1], &all);
    while (all.flooded < 10000) { /* it is at full speed */
        assert_true(proc_loop_step(all.loop, IN_TIME) >= 0);
    }
    for (int i = 1; i < 100; i++) {
        assert_int_equal(proc_channel_send(ends[i][1], MESSAGE(.type = 2), 0), 0);
    }
    size_t before = all.flooded;
    assert_int_equal(proc_loop_run(all.loop, IN_TIME), 0);
    assert_int_equal(all.answered, 99);
    assert_true(all.flooded - before < 20000); /* a few turns of its own, while each of the others had one */
    assert_int_equal(proc_loop_remove_channel(all.loop, ends[0][1]), 0);
    for (int i = 0; i < 100; i++) {
        free_pair(ends[i]);
    }
    proc_loop_free(all.loop);
}

static const struct CMUnitTest tests[] = {
    TEST(no_end_of_a_pair_can_reach_a_program_that_another_thread_starts),
    TEST(the_smallest_buffers_lose_nothing),
    TEST(thousands_that_were_posted_go_with_one_flush),
    TEST(interrupted_channels_and_loops_go_on),
    TEST(a_peer_that_stands_still_costs_no_more_than_the_mark),
    TEST(padding_is_zero_on_the_wire_and_of_no_account_when_it_comes),
    TEST(what_looks_like_a_frame_is_data_in_a_message),
    TEST(a_reset_by_the_other_end_is_an_end_like_any_other),
    TEST(a_descriptor_that_somebody_else_closed_is_an_end),
    TEST(strangers_by_the_hundreds_are_refused_or_closed),
    TEST(a_channel_without_descriptors_works_where_the_kernel_cannot_refuse_them),
    TEST(credentials_beside_descriptors_are_passed_over),
    TEST(one_that_floods_does_not_starve_ninety_nine_that_are_quiet),
};

HARNESS_MAIN(tests)
