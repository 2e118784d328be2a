/*
 * Messages between two ends, as programs use them.
 */
#include "peer.h"

#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/resource.h>

enum { MIB = 1024 * 1024 };

/* ---- to and fro ---- */

static void messages_arrive_in_order(void **state)
{
    (void)state;
    proc_channel *ends[2];

    make_pair(ends, NULL);
    for (uint32_t i = 0; i < 1000; i++) {
        assert_int_equal(proc_channel_send(ends[i % 2], MESSAGE(.type = i, .data = &i, .size = 4), 0), 0);
    }
    for (uint32_t i = 0; i < 1000; i++) {
        expect_message(ends[1 - i % 2], i, &i, 4);
    }
    free_pair(ends);
}

static void a_message_needs_no_hello_first(void **state)
{
    (void)state;
    proc_channel *ends[2];

    assert_int_equal(proc_channel_pair(ends, NULL), 0);
    assert_int_equal(proc_channel_send(ends[0], MESSAGE(.type = 1, .data = "x", .size = 1), 0), 0);
    expect_message(ends[1], 1, "x", 1);
    free_pair(ends);
}

static void large_messages_wait_for_the_hello(void **state)
{
    (void)state;
    char *data = pattern(64 * 1024 + 1);
    proc_channel *ends[2];

    assert_int_equal(proc_channel_pair(ends, NULL), 0);
    assert_int_equal(proc_channel_post(ends[0], MESSAGE(.data = data, .size = 64 * 1024 + 1)), -EAGAIN);
    assert_int_equal(proc_channel_send(ends[0], MESSAGE(.data = data, .size = 64 * 1024 + 1), IN_TIME), 0);
    expect_message(ends[1], 0, data, 64 * 1024 + 1);
    free_pair(ends);
}

typedef struct sender {
    proc_channel *channel;
    pthread_t thread;
    const char *data;
    size_t size;
    uint32_t count;
    int result;
} sender;

static void *send_all(void *arg)
{
    sender *s = arg;

    for (uint32_t i = 0; i < s->count && s->result == 0; i++) {
        s->result = proc_channel_send(s->channel, MESSAGE(.type = i, .data = s->data, .size = s->size), IN_TIME);
    }
    if (s->result == 0) {
        s->result = proc_channel_flush(s->channel, IN_TIME);
    }
    return NULL;
}

static void start_sender(sender *s, proc_channel *channel, const char *data, size_t size, uint32_t count)
{
    *s = (sender){.channel = channel, .data = data, .size = size, .count = count};
    assert_int_equal(pthread_create(&s->thread, NULL, send_all, s), 0);
}

static int finish_sender(sender *s)
{
    pthread_join(s->thread, NULL);
    return s->result;
}

static void expect_all(sender *s, proc_channel *from)
{
    for (uint32_t i = 0; i < s->count; i++) {
        expect_message(from, i, s->data, s->size);
    }
    assert_int_equal(finish_sender(s), 0);
}

static void every_size_arrives_whole(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 7, 8, 9, 16 * 1024, 64 * 1024, MIB, 16 * MIB};
    char *data = pattern(16 * MIB + 1);
    proc_channel *ends[2];

    make_pair(ends, NULL);
    for (size_t i = 0; i < COUNT(sizes); i++) {
        sender s;

        start_sender(&s, ends[0], data, sizes[i], 2);
        expect_all(&s, ends[1]);
    }
    assert_int_equal(proc_channel_send(ends[0], MESSAGE(.data = data, .size = 16 * MIB + 1), IN_TIME), -EMSGSIZE);
    assert_int_equal(proc_channel_post(ends[0], MESSAGE(.data = data, .size = 16 * MIB + 1)), -EMSGSIZE);
    assert_int_equal(proc_channel_send(ends[0], MESSAGE(.type = 1), IN_TIME), 0);
    assert_int_equal(proc_channel_flush(ends[0], IN_TIME), 0); /* sees what was acknowledged */
    expect_message(ends[1], 1, NULL, 0);
    free_pair(ends);
}

static void what_has_come_is_received_without_waiting_each_time(void **state)
{
    (void)state;
    proc_channel *ends[2];
    proc_message message;

    make_pair(ends, NULL);
    for (uint32_t i = 0; i < 100; i++) {
        assert_int_equal(proc_channel_send(ends[0], MESSAGE(.type = i), 0), 0);
        assert_int_equal(proc_channel_recv(ends[1], &message, 0), 0);
        assert_int_equal(message.type, i);
    }
    free_pair(ends);
}

static void a_large_post_that_is_tried_again_goes_once_the_limits_are_here(void **state)
{
    (void)state;
    enum { SIZE = 70000 };
    char *data = pattern(SIZE);
    proc_channel *ends[2];
    raw r;

    raw_begin(&r, NULL);
    assert_int_equal(proc_channel_post(r.channel, MESSAGE(.data = data, .size = SIZE)), -EAGAIN);
    assert_int_equal(proc_channel_flush(r.channel, IN_TIME), 0);
    raw_greet(&r, 1024 * 1024);
    assert_int_equal(proc_channel_post(r.channel, MESSAGE(.data = data, .size = SIZE)), 0);
    raw_end(&r);

    /* Both have said theirs already. */
    assert_int_equal(proc_channel_pair(ends, NULL), 0);
    assert_int_equal(proc_channel_post(ends[0], MESSAGE(.data = data, .size = SIZE)), -EAGAIN);
    assert_int_equal(proc_channel_flush(ends[0], IN_TIME), 0);
    assert_int_equal(proc_channel_post(ends[0], MESSAGE(.type = 5, .data = data, .size = SIZE)), 0);
    assert_int_equal(proc_channel_flush(ends[0], IN_TIME), 0);
    expect_message(ends[1], 5, data, SIZE);
    free_pair(ends);
}

static void the_rest_of_a_message_that_has_begun_is_pending(void **state)
{
    (void)state;
    enum { SIZE = 900 * 1024 }; /* more than a socket takes, less than a window */
    char *data = pattern(SIZE);
    proc_channel *ends[2];

    make_pair(ends, CHANNEL_OPTIONS(.high_water = SIZE));
    assert_int_equal(proc_channel_send(ends[0], MESSAGE(.type = 1, .data = data, .size = SIZE), 0), 0);
    size_t left = proc_channel_pending(ends[0]);
    assert_true(left > 0 && left < SIZE);
    assert_int_equal(proc_channel_post(ends[0], MESSAGE(.data = data, .size = SIZE - left + 1)), -EAGAIN);
    assert_int_equal(proc_channel_post(ends[0], MESSAGE(.type = 2, .data = data, .size = 1)), 0);

    while (proc_channel_flush(ends[0], 0) < 0) {
        proc_message message;
        assert_int_equal(proc_channel_recv(ends[1], &message, 0), -ETIMEDOUT);
    }
    assert_int_equal(proc_channel_pending(ends[0]), 0);
    expect_message(ends[1], 1, data, SIZE);
    expect_message(ends[1], 2, data, 1);
    free_pair(ends);
}

static void no_size_is_too_large_for_a_limit_of_this_end(void **state)
{
    (void)state;
    proc_channel *ends[2];

    make_pair(ends, CHANNEL_OPTIONS(.high_water = PROC_UNLIMITED, .backlog = PROC_UNLIMITED));
    for (uint32_t i = 0; i < 100; i++) {
        assert_int_equal(proc_channel_post(ends[0], MESSAGE(.type = i, .data = "x", .size = 1)), 0);
    }
    assert_int_equal(proc_channel_flush(ends[0], IN_TIME), 0);
    for (uint32_t i = 0; i < 100; i++) {
        expect_message(ends[1], i, "x", 1);
    }
    free_pair(ends);
}

static void what_was_posted_goes_with_a_recv_whose_message_is_here_already(void **state)
{
    (void)state;
    proc_channel *ends[2];

    make_pair(ends, NULL);
    assert_int_equal(proc_channel_post(ends[1], MESSAGE(.type = 1)), 0);
    assert_int_equal(proc_channel_post(ends[1], MESSAGE(.type = 2)), 0);
    assert_int_equal(proc_channel_flush(ends[1], 0), 0);
    expect_message(ends[0], 1, NULL, 0);
    assert_int_equal(proc_channel_post(ends[0], MESSAGE(.type = 3)), 0);
    expect_message(ends[0], 2, NULL, 0);

    expect_message(ends[1], 3, NULL, 0);
    free_pair(ends);
}

static void posts_stay_below_high_water_and_go_with_a_flush(void **state)
{
    (void)state;
    char *data = pattern(1000);
    proc_channel *ends[2];
    proc_message message;
    uint32_t count = 0;
    int err;

    make_pair(ends, CHANNEL_OPTIONS(.high_water = 10000));
    while ((err = proc_channel_post(ends[0], MESSAGE(.type = count, .data = data, .size = 1000))) == 0) {
        count++;
        assert_int_equal(proc_channel_pending(ends[0]), 1000 * count);
    }
    assert_int_equal(err, -EAGAIN);
    assert_int_equal(count, 10);
    assert_int_equal(proc_channel_recv(ends[1], &message, 0), -ETIMEDOUT);

    assert_int_equal(proc_channel_flush(ends[0], 0), 0);
    assert_int_equal(proc_channel_pending(ends[0]), 0);
    for (uint32_t i = 0; i < count; i++) {
        expect_message(ends[1], i, data, 1000);
    }
    assert_int_equal(proc_channel_post(ends[0], MESSAGE(.data = data, .size = 1000)), 0);
    free_pair(ends);
}

static void an_empty_message_counts_as_its_header(void **state)
{
    (void)state;
    proc_channel *ends[2];

    make_pair(ends, CHANNEL_OPTIONS(.high_water = 2 * 24));
    assert_int_equal(proc_channel_post(ends[0], MESSAGE(.type = 1)), 0);
    assert_int_equal(proc_channel_post(ends[0], MESSAGE(.type = 2)), 0);
    assert_int_equal(proc_channel_pending(ends[0]), 2 * 24);
    assert_int_equal(proc_channel_post(ends[0], MESSAGE(.type = 3)), -EAGAIN);
    free_pair(ends);
}

static void what_exceeds_high_water_goes_when_nothing_waits(void **state)
{
    (void)state;
    char *data = pattern(5000);
    proc_channel *ends[2];

    make_pair(ends, CHANNEL_OPTIONS(.high_water = 100));
    assert_int_equal(proc_channel_post(ends[0], MESSAGE(.data = data, .size = 5000)), 0);
    assert_int_equal(proc_channel_post(ends[0], MESSAGE(.type = 1)), -EAGAIN);
    assert_int_equal(proc_channel_flush(ends[0], 0), 0);
    expect_message(ends[1], 0, data, 5000);
    free_pair(ends);
}

static void time_runs_out_at_once_or_later(void **state)
{
    (void)state;
    char *data = pattern(MIB);
    proc_channel *ends[2];
    proc_message message;
    int64_t begin = now_ms();
    int err;

    make_pair(ends, NULL);
    assert_int_equal(proc_channel_recv(ends[0], &message, 0), -ETIMEDOUT);
    assert_int_equal(proc_channel_recv(ends[0], &message, 40), -ETIMEDOUT);
    assert_true(now_ms() - begin >= 40);
    do {
        err = proc_channel_send(ends[0], MESSAGE(.data = data, .size = MIB), 0);
    } while (err == 0);
    assert_int_equal(err, -ETIMEDOUT);
    assert_int_equal(proc_channel_send(ends[0], MESSAGE(.data = data, .size = MIB), 10), -ETIMEDOUT);
    assert_int_equal(proc_channel_flush(ends[0], 10), -ETIMEDOUT);
    proc_channel_free(ends[1]);
    proc_channel_free(ends[0]);
}

/* ---- the end ---- */

static void the_end_comes_after_all_messages(void **state)
{
    (void)state;
    proc_channel *ends[2];

    make_pair(ends, NULL);
    for (uint32_t i = 0; i < 100; i++) {
        assert_int_equal(proc_channel_post(ends[0], MESSAGE(.type = i)), 0);
    }
    proc_channel_free(ends[0]); /* flushes */
    ends[0] = NULL;

    for (uint32_t i = 0; i < 100; i++) {
        expect_message(ends[1], i, NULL, 0);
    }
    expect_end(ends[1], -EPIPE);
    free_pair(ends);
}

static void free_lingers_no_longer_than_it_may(void **state)
{
    (void)state;
    char *data = pattern(900 * 1024);
    proc_channel *ends[2];
    int64_t begin;

    make_pair(ends, CHANNEL_OPTIONS(.linger_ms = 50));
    assert_int_equal(proc_channel_send(ends[0], MESSAGE(.data = data, .size = 900 * 1024), 0), 0);
    begin = now_ms();
    proc_channel_free(ends[0]);
    assert_true(now_ms() - begin >= 50 && now_ms() - begin < 5000);
    proc_channel_free(ends[1]);
}

static void shutdown_ends_one_direction(void **state)
{
    (void)state;
    proc_channel *ends[2];

    make_pair(ends, NULL);
    assert_int_equal(proc_channel_post(ends[0], MESSAGE(.type = 1)), 0);
    assert_int_equal(proc_channel_shutdown(ends[0]), 0);
    assert_int_equal(proc_channel_shutdown(ends[0]), 0);
    assert_int_equal(proc_channel_send(ends[0], MESSAGE(.type = 2), 0), -EPIPE);
    assert_int_equal(proc_channel_post(ends[0], MESSAGE(.type = 2)), -EPIPE);
    assert_int_equal(proc_channel_request(ends[0], MESSAGE(.type = 2), 0), -EPIPE);

    expect_message(ends[1], 1, NULL, 0);
    expect_end(ends[1], -EPIPE);
    assert_int_equal(proc_channel_send(ends[1], MESSAGE(.type = 3), 0), 0);
    expect_message(ends[0], 3, NULL, 0);
    assert_int_equal(proc_channel_shutdown(ends[1]), 0);
    expect_end(ends[0], -EPIPE);
    free_pair(ends);
}

static void replies_still_come_after_a_shutdown(void **state)
{
    (void)state;
    proc_channel *ends[2];
    proc_message request, reply;
    int64_t id;

    make_pair(ends, NULL);
    id = proc_channel_request(ends[0], MESSAGE(.type = 1), 0);
    assert_int_equal(proc_channel_shutdown(ends[1]), 0);
    assert_int_equal(proc_channel_recv(ends[0], &reply, 10), -ETIMEDOUT);
    assert_int_equal(proc_channel_recv(ends[1], &request, IN_TIME), 0);
    assert_int_equal(proc_channel_reply(ends[1], &request, MESSAGE(.type = 9), 0), 0);

    assert_int_equal(proc_channel_recv(ends[0], &reply, IN_TIME), 0);
    assert_int_equal(reply.id, id);
    expect_end(ends[0], -EPIPE);
    free_pair(ends);
}

/* ---- over descriptors of the program ---- */

static void pipes_carry_a_channel_and_keep_their_flags(void **state)
{
    (void)state;
    char *data = pattern(MIB);
    int to[2], from[2], flags;
    proc_channel *ends[2];
    sender s;

    make_pipe(to);
    make_pipe(from);
    flags = fcntl(to[1], F_GETFL);
    assert_int_equal(proc_channel_open(&ends[0], from[0], to[1], NULL), 0);
    assert_int_equal(proc_channel_open(&ends[1], to[0], from[1], NULL), 0);
    start_sender(&s, ends[0], data, MIB, 4);
    expect_all(&s, ends[1]);
    assert_int_equal(fcntl(to[1], F_GETFL), flags);
    assert_int_equal(flags & O_NONBLOCK, 0);
    assert_int_equal(proc_channel_send(ends[0], MESSAGE(.fds = to, .fd_count = 1), 0), -E2BIG);

    proc_channel_free(ends[1]);
    expect_end(ends[0], -EPIPE);
    proc_channel_free(ends[0]);
    assert_false(is_open(to[1]));
    assert_false(is_open(from[0]));
}

static void descriptors_stay_the_caller_s_when_open_fails(void **state)
{
    (void)state;
    proc_channel *c = (proc_channel *)1;
    int ends[2];

    make_pipe(ends);
    assert_int_equal(proc_channel_open(&c, ends[1], ends[1], NULL), -EINVAL);
    assert_null(c);
    assert_int_equal(proc_channel_open(&c, ends[0], ends[0], NULL), -EINVAL);
    assert_int_equal(proc_channel_open(&c, ends[0], -1, NULL), -EBADF);
    assert_int_equal(proc_channel_open(&c, ends[0], ends[1], CHANNEL_OPTIONS(.max_fds = 251)), -EINVAL);
    assert_int_equal(proc_channel_open(NULL, ends[0], ends[1], NULL), -EINVAL);
    assert_true(is_open(ends[0]) && is_open(ends[1]));
    close(ends[0]);
    close(ends[1]);
}

/* ---- descriptors ---- */

static void send_fds(proc_channel *c, uint32_t type, size_t count, int expected)
{
    int fds[251];

    for (size_t i = 0; i < count; i++) {
        fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
        assert_true(fds[i] > 2);
    }
    assert_int_equal(
        proc_channel_send(c, MESSAGE(.type = type, .data = "fds", .size = 3, .fds = fds, .fd_count = count), 0),
        expected);
    for (size_t i = 0; i < count; i++) {
        close(fds[i]);
    }
}

static void descriptors_travel_up_to_the_limit(void **state)
{
    (void)state;
    static const size_t counts[] = {0, 1, 2, 16, 100};
    proc_channel *ends[2];
    struct stat null, st;
    proc_message message;

    assert_int_equal(stat("/dev/null", &null), 0);
    make_pair(ends, CHANNEL_OPTIONS(.max_fds = 100));
    for (size_t i = 0; i < COUNT(counts); i++) {
        send_fds(ends[0], (uint32_t)i, counts[i], 0);
    }
    send_fds(ends[0], 9, 101, -E2BIG);
    for (size_t i = 0; i < COUNT(counts); i++) {
        assert_int_equal(proc_channel_recv(ends[1], &message, IN_TIME), 0);
        assert_int_equal(message.type, i);
        assert_int_equal(message.fd_count, counts[i]);
        for (size_t k = 0; k < counts[i]; k++) {
            assert_int_equal(fstat(message.fds[k], &st), 0);
            assert_true(st.st_rdev == null.st_rdev && message.fds[k] > 2);
            assert_int_equal(fcntl(message.fds[k], F_GETFD), FD_CLOEXEC);
        }
        (void)proc_channel_flush(ends[0], 0);
    }
    free_pair(ends);
}

static void a_descriptor_is_taken_once_and_closed_else(void **state)
{
    (void)state;
    proc_channel *ends[2];
    proc_message message;
    int taken, left;

    make_pair(ends, CHANNEL_OPTIONS(.max_fds = 2));
    send_fds(ends[0], 1, 2, 0);
    assert_int_equal(proc_channel_recv(ends[1], &message, IN_TIME), 0);
    left = message.fds[1];
    taken = proc_message_take_fd(&message, 0);
    assert_true(is_open(taken) && is_open(left));
    assert_int_equal(proc_message_take_fd(&message, 0), -EBADF);
    assert_int_equal(proc_message_take_fd(&message, 2), -EBADF);

    assert_int_equal(proc_channel_recv(ends[1], &message, 0), -ETIMEDOUT);
    assert_true(is_open(taken));
    assert_false(is_open(left));
    close(taken);
    free_pair(ends);
}

static void connect_over_ip(int ends[2])
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ends[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &size), 0);
    assert_int_equal(connect(ends[0], (struct sockaddr *)&at, sizeof at), 0);
    ends[1] = accept(listener, NULL, NULL);
    assert_true(ends[1] >= 0);
    close(listener);
}

static void descriptors_are_refused_where_they_cannot_travel(void **state)
{
    (void)state;
    proc_channel *ends[2];
    int sockets[2];

    connect_over_ip(sockets);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(proc_channel_open(&ends[i], sockets[i], sockets[i], CHANNEL_OPTIONS(.max_fds = 1)), 0);
    }
    assert_int_equal(proc_channel_send(ends[1], MESSAGE(.type = 1), 0), 0);
    expect_message(ends[0], 1, NULL, 0); /* its HELLO, which says that it takes some, is in */

    assert_int_equal(proc_channel_send(ends[0], MESSAGE(.fds = sockets, .fd_count = 1), 0), -E2BIG);
    assert_int_equal(proc_channel_send(ends[0], MESSAGE(.type = 2), 0), 0);
    expect_message(ends[1], 2, NULL, 0);
    free_pair(ends);
}

static void a_bad_descriptor_fails_alone(void **state)
{
    (void)state;
    const int bad = 9999;
    proc_channel *ends[2];

    make_pair(ends, CHANNEL_OPTIONS(.max_fds = 1));
    assert_int_equal(proc_channel_send(ends[0], MESSAGE(.fds = &bad, .fd_count = 1), 0), -EBADF);
    assert_int_equal(proc_channel_send(ends[0], MESSAGE(.type = 1), 0), 0);
    expect_message(ends[1], 1, NULL, 0);
    free_pair(ends);
}

static void lose_descriptors(void *arg)
{
    struct rlimit few;
    proc_channel *ends[2];
    proc_message message;
    int next;

    (void)arg;
    make_pair(ends, CHANNEL_OPTIONS(.max_fds = 4));
    send_fds(ends[0], 1, 4, 0);
    send_fds(ends[0], 2, 1, 0);
    next = open("/dev/null", O_RDONLY);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &few), 0);
    few.rlim_cur = (rlim_t)next + 2;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);

    assert_int_equal(proc_channel_recv(ends[1], &message, IN_TIME), 0);
    assert_int_equal(message.flags, PROC_FDS_LOST);
    assert_int_equal(message.fd_count, 0);
    assert_memory_equal(message.data, "fds", 3);
    assert_int_equal(proc_channel_recv(ends[1], &message, IN_TIME), 0);
    assert_int_equal(message.flags, 0);
    assert_int_equal(message.fd_count, 1);
    free_pair(ends);
}

static void descriptors_that_do_not_fit_are_lost_and_the_message_is_not(void **state)
{
    (void)state;
    NOT_UNDER_VALGRIND();

    in_copy(lose_descriptors, NULL);
}

/* ---- the rest ---- */

static void use_in_a_fork(void *arg)
{
    proc_channel *c = arg;
    proc_message message;

    assert_int_equal(proc_channel_send(c, MESSAGE(.type = 1), 0), -EINVAL);
    assert_int_equal(proc_channel_post(c, MESSAGE(.type = 1)), -EINVAL);
    assert_int_equal(proc_channel_recv(c, &message, 0), -EINVAL);
    assert_int_equal(proc_channel_flush(c, 0), -EINVAL);
    assert_int_equal(proc_channel_request(c, MESSAGE(.type = 1), 0), -EINVAL);
    assert_int_equal(proc_channel_call(c, MESSAGE(.type = 1), &message, 0), -EINVAL);
    assert_int_equal(proc_channel_cancel(c, 1), -EINVAL);
    assert_int_equal(proc_channel_shutdown(c), -EINVAL);
    assert_int_equal(proc_channel_fd(c), -EINVAL);
    proc_channel_free(c);
}

static void a_channel_is_dead_in_a_copy_of_the_process(void **state)
{
    (void)state;
    proc_channel *ends[2];

    make_pair(ends, NULL);
    assert_int_equal(proc_channel_post(ends[0], MESSAGE(.type = 1)), 0);
    in_copy(use_in_a_fork, ends[0]);
    assert_int_equal(proc_channel_flush(ends[0], 0), 0);
    expect_message(ends[1], 1, NULL, 0);
    free_pair(ends);
}

static void a_poll_loop_of_one_s_own_sees_everything(void **state)
{
    (void)state;
    char *data = pattern(20000);
    proc_channel *ends[2];
    proc_message message;
    uint32_t got = 0;
    sender s;

    make_pair(ends, NULL);
    assert_int_equal(proc_channel_events(ends[0]), POLLIN);
    assert_int_equal(proc_channel_timeout(ends[0]), PROC_FOREVER);
    assert_int_equal(proc_channel_post(ends[0], MESSAGE(.type = 1)), 0);
    assert_int_equal(proc_channel_events(ends[0]), POLLIN | POLLOUT);
    start_sender(&s, ends[1], data, 20000, 500);
    while (got < 500) {
        struct pollfd look[] = {{.fd = proc_channel_fd(ends[0]), .events = POLLIN},
                                {.fd = proc_channel_write_fd(ends[0]), .events = proc_channel_events(ends[0])}};
        int timeout = proc_channel_timeout(ends[0]);

        assert_true(poll(look, 2, timeout < 0 ? IN_TIME : timeout) > 0 || timeout == 0);
        while (proc_channel_recv(ends[0], &message, 0) == 0) {
            assert_int_equal(message.type, got++);
        }
        (void)proc_channel_flush(ends[0], 0);
    }
    assert_int_equal(finish_sender(&s), 0);
    expect_message(ends[1], 1, NULL, 0);
    free_pair(ends);
}

static void bad_arguments_are_refused(void **state)
{
    (void)state;
    proc_channel *ends[2];
    proc_message message;

    assert_int_equal(proc_channel_pair(NULL, NULL), -EINVAL);
    assert_int_equal(proc_channel_pair(ends, CHANNEL_OPTIONS(.max_message = 65535)), -EINVAL);
    assert_null(ends[0]);
    assert_int_equal(proc_channel_pair(ends, CHANNEL_OPTIONS(.max_message = 256 * MIB + 1)), -EINVAL);
    assert_int_equal(proc_channel_pair(ends, CHANNEL_OPTIONS(.hello_ms = -2)), -EINVAL);
    assert_int_equal(proc_channel_pair(ends, CHANNEL_OPTIONS(.reserved = {1})), -EINVAL);
    make_pair(ends, NULL);
    assert_int_equal(proc_channel_send(NULL, MESSAGE(.type = 1), 0), -EINVAL);
    assert_int_equal(proc_channel_send(ends[0], NULL, 0), -EINVAL);
    assert_int_equal(proc_channel_send(ends[0], MESSAGE(.type = 1), -2), -EINVAL);
    assert_int_equal(proc_channel_send(ends[0], MESSAGE(.size = 1), 0), -EINVAL);
    assert_int_equal(proc_channel_send(ends[0], MESSAGE(.fd_count = 1), 0), -EINVAL);
    assert_int_equal(proc_channel_send(ends[0], MESSAGE(.flags = PROC_REQUEST), 0), -EINVAL);
    assert_int_equal(proc_channel_post(ends[0], MESSAGE(.flags = PROC_REPLY)), -EINVAL);
    assert_int_equal(proc_channel_recv(ends[0], NULL, 0), -EINVAL);
    assert_int_equal(proc_channel_recv(ends[0], &message, -2), -EINVAL);
    assert_int_equal(proc_channel_flush(ends[0], -2), -EINVAL);
    proc_channel_free(NULL);
    free_pair(ends);
}

static const struct CMUnitTest tests[] = {
    TEST(messages_arrive_in_order),
    TEST(a_message_needs_no_hello_first),
    TEST(large_messages_wait_for_the_hello),
    TEST(every_size_arrives_whole),
    TEST(what_has_come_is_received_without_waiting_each_time),
    TEST(a_large_post_that_is_tried_again_goes_once_the_limits_are_here),
    TEST(the_rest_of_a_message_that_has_begun_is_pending),
    TEST(no_size_is_too_large_for_a_limit_of_this_end),
    TEST(what_was_posted_goes_with_a_recv_whose_message_is_here_already),
    TEST(posts_stay_below_high_water_and_go_with_a_flush),
    TEST(an_empty_message_counts_as_its_header),
    TEST(what_exceeds_high_water_goes_when_nothing_waits),
    TEST(time_runs_out_at_once_or_later),
    TEST(the_end_comes_after_all_messages),
    TEST(free_lingers_no_longer_than_it_may),
    TEST(shutdown_ends_one_direction),
    TEST(replies_still_come_after_a_shutdown),
    TEST(pipes_carry_a_channel_and_keep_their_flags),
    TEST(descriptors_stay_the_caller_s_when_open_fails),
    TEST(descriptors_travel_up_to_the_limit),
    TEST(a_descriptor_is_taken_once_and_closed_else),
    TEST(descriptors_are_refused_where_they_cannot_travel),
    TEST(a_bad_descriptor_fails_alone),
    TEST(descriptors_that_do_not_fit_are_lost_and_the_message_is_not),
    TEST(a_channel_is_dead_in_a_copy_of_the_process),
    TEST(a_poll_loop_of_one_s_own_sees_everything),
    TEST(bad_arguments_are_refused),
};

HARNESS_MAIN(tests)
