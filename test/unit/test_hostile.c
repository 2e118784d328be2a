/*
 * A peer that breaks the protocol, writing its bytes by hand. What it sent whole before that is delivered; then its channel
 * has failed for good, and no other has. harness_end sees that no descriptor stays, and SIGPIPE, which nobody handles
 * here, would end the program.
 */
#include "peer.h"

#include <poll.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "channel.h"

static const frame greeting = {.kind = FRAME_MESSAGE, .type = 7, .size = 5};

/* The message that came first is delivered, then the failure, again and again and from every call; another channel lives. */
static void expect_failure_after_greeting(raw *r, int error)
{
    proc_channel *other[2];
    proc_message reply;

    expect_message(r->channel, 7, "hello", 5);
    expect_end(r->channel, error);
    if (error == -EPROTO) {
        assert_int_equal(proc_channel_send(r->channel, MESSAGE(.type = 1), 0), -EPROTO);
        assert_int_equal(proc_channel_post(r->channel, MESSAGE(.type = 1)), -EPROTO);
        assert_int_equal(proc_channel_flush(r->channel, 0), -EPROTO);
        assert_int_equal(proc_channel_request(r->channel, MESSAGE(.type = 1), 0), -EPROTO);
        assert_int_equal(proc_channel_call(r->channel, MESSAGE(.type = 1), &reply, 0), -EPROTO);
        assert_int_equal(proc_channel_shutdown(r->channel), -EPROTO);
    }
    make_pair(other, NULL);
    assert_int_equal(proc_channel_send(other[0], MESSAGE(.type = 2), 0), 0);
    expect_message(other[1], 2, NULL, 0);
    free_pair(other);
}

/* A breach: the frame, and as many bytes of nothing as it claims. */
static void assert_breach(frame f)
{
    static const unsigned char nothing[300];
    raw r;

    raw_meet(&r, NULL);
    raw_frame(&r, greeting, "hello");
    raw_frame(&r, f, nothing);
    expect_failure_after_greeting(&r, -EPROTO);
    raw_end(&r);
}

/* ---- HELLO ---- */

static void no_hello_in_time_is_a_breach(void **state)
{
    (void)state;
    raw r;

    raw_begin(&r, CHANNEL_OPTIONS(.hello_ms = 50));
    expect_end(r.channel, -EPROTO);
    raw_end(&r);
}

static void no_hello_in_time_is_seen_by_a_poll_loop(void **state)
{
    (void)state;
    proc_message message;
    int64_t end = now_ms() + IN_TIME;
    int err;
    raw r;

    raw_begin(&r, CHANNEL_OPTIONS(.hello_ms = 50));
    do {
        struct pollfd look = {.fd = proc_channel_fd(r.channel), .events = POLLIN};

        poll(&look, 1, proc_channel_timeout(r.channel));
        err = proc_channel_recv(r.channel, &message, 0);
    } while (err == -ETIMEDOUT && now_ms() < end);

    assert_int_equal(err, -EPROTO);
    raw_end(&r);
}

static void a_frame_before_hello_is_a_breach(void **state)
{
    (void)state;

    for (uint8_t kind = FRAME_MESSAGE; kind < FRAME_KINDS; kind++) {
        frame f = {.kind = kind, .id = kind >= FRAME_REQUEST && kind <= FRAME_CANCEL ? 1 : 0};
        raw r;

        raw_begin(&r, NULL);
        raw_frame(&r, f, NULL);
        expect_end(r.channel, -EPROTO);
        raw_end(&r);
    }
}

static void a_second_hello_is_a_breach(void **state)
{
    (void)state;
    raw r;

    raw_meet(&r, NULL);
    raw_frame(&r, greeting, "hello");
    raw_hello(&r);
    expect_failure_after_greeting(&r, -EPROTO);
    raw_end(&r);
}

static void a_hello_that_says_nothing_is_a_breach(void **state)
{
    (void)state;
    static const unsigned char nothing[256];
    raw r;

    for (uint32_t size = 0; size <= 256; size += 32) {
        raw_begin(&r, NULL);
        raw_frame(&r, (frame){.kind = FRAME_HELLO, .type = FRAME_HELLO_TYPE, .size = size}, nothing);
        expect_end(r.channel, -EPROTO);
        raw_end(&r);
    }
}

static void an_end_of_a_later_protocol_is_told_so(void **state)
{
    (void)state;
    static const frame_hello hello = {
        .protocol_min = 2, .protocol_max = 9, .max_size = 65536, .window = 65536, .max_requests = 16};
    unsigned char payload[FRAME_HELLO_SIZE];
    frame f = {.kind = FRAME_HELLO, .type = FRAME_HELLO_TYPE};
    raw r;

    raw_begin(&r, NULL);
    f.size = (uint32_t)frame_encode_hello(&hello, payload);
    raw_frame(&r, f, payload);
    expect_end(r.channel, -EPROTONOSUPPORT);
    assert_int_equal(proc_channel_send(r.channel, MESSAGE(.type = 1), 0), -EPROTONOSUPPORT);

    assert_true(raw_await(&r, FRAME_GOAWAY).size > 0);
    assert_false(raw_read(&r, &f, 0));
    raw_end(&r);
}

static void an_end_of_this_and_later_protocols_is_none(void **state)
{
    (void)state;
    static const frame_hello hello = {
        .protocol_min = 1, .protocol_max = 9, .max_size = 65536, .window = 65536, .max_requests = 16};
    unsigned char payload[FRAME_HELLO_SIZE];
    frame f = {.kind = FRAME_HELLO, .type = FRAME_HELLO_TYPE};
    raw r;

    raw_begin(&r, NULL);
    f.size = (uint32_t)frame_encode_hello(&hello, payload);
    raw_frame(&r, f, payload);
    raw_frame(&r, greeting, "hello");
    expect_message(r.channel, 7, "hello", 5);
    raw_end(&r);
}

static void an_end_that_goes_away_finishes_what_is_under_way(void **state)
{
    (void)state;
    proc_message message;
    raw r;

    raw_meet(&r, NULL);
    int64_t id = ask(r.channel, 1);
    raw_frame(&r, (frame){.kind = FRAME_REQUEST, .id = 5}, NULL);
    raw_frame(&r, (frame){.kind = FRAME_GOAWAY, .size = 5}, "sorry");
    proc_message theirs = expect_request(r.channel);
    expect_nothing(r.channel);

    assert_int_equal(proc_channel_send(r.channel, MESSAGE(.type = 1), 0), -EPIPE);
    assert_int_equal(proc_channel_request(r.channel, MESSAGE(.type = 1), 0), -EPIPE);
    assert_int_equal(proc_channel_reply(r.channel, &theirs, ANSWER(.type = 6), 0), 0);
    assert_int_equal(raw_await(&r, FRAME_REPLY).id, 5);
    raw_frame(&r, (frame){.kind = FRAME_REPLY, .id = (uint32_t)id}, NULL);
    message = expect_reply(r.channel, id, PROC_REPLY);
    assert_int_equal(message.size, 0);
    expect_end(r.channel, -EPIPE);
    raw_end(&r);
}

static void a_peer_that_claims_to_take_255_descriptors_gets_250_at_most(void **state)
{
    (void)state;
    static const frame_hello hello = {
        .protocol_min = 1, .protocol_max = 1, .max_size = 65536, .window = 65536, .max_requests = 16, .max_fds = 255};
    unsigned char payload[FRAME_HELLO_SIZE];
    frame f = {.kind = FRAME_HELLO, .type = FRAME_HELLO_TYPE};
    proc_message message;
    int fds[255];
    raw r;

    raw_begin(&r, NULL);
    f.size = (uint32_t)frame_encode_hello(&hello, payload);
    raw_frame(&r, f, payload);
    assert_int_equal(proc_channel_recv(r.channel, &message, 0), -ETIMEDOUT);
    for (size_t i = 0; i < COUNT(fds); i++) {
        fds[i] = r.fd;
    }

    assert_int_equal(proc_channel_send(r.channel, MESSAGE(.fds = fds, .fd_count = 255), 0), -E2BIG);
    assert_int_equal(proc_channel_send(r.channel, MESSAGE(.fds = fds, .fd_count = 251), 0), -E2BIG);
    assert_int_equal(proc_channel_pending(r.channel), 0);
    raw_end(&r);
}

/* ---- frames ---- */

static void frames_that_break_the_rules_of_their_kind_are_a_breach(void **state)
{
    (void)state;

    assert_breach((frame){.kind = 0});
    assert_breach((frame){.kind = FRAME_BUFFER});
    assert_breach((frame){.kind = FRAME_RELEASE});
    assert_breach((frame){.kind = 14});
    assert_breach((frame){.kind = FRAME_MESSAGE, .flags = FRAME_IN_BUFFER});
    assert_breach((frame){.kind = FRAME_MESSAGE, .id = 1});
    assert_breach((frame){.kind = FRAME_REQUEST});
    assert_breach((frame){.kind = FRAME_ACK, .size = 8});
    assert_breach((frame){.kind = FRAME_MESSAGE, .fd_count = 1});
}

static void garbage_is_a_breach(void **state)
{
    (void)state;
    raw r;

    raw_meet(&r, NULL);
    raw_frame(&r, greeting, "hello");
    raw_write(&r, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 35);
    expect_failure_after_greeting(&r, -EPROTO);
    raw_end(&r);
}

static void a_claim_beyond_the_limit_is_a_breach_at_once(void **state)
{
    (void)state;
    static const uint32_t claims[] = {64 * 1024 + 1, 256 * 1024 * 1024, UINT32_MAX - 7, UINT32_MAX};

    for (size_t i = 0; i < COUNT(claims); i++) {
        const frame f = {.kind = FRAME_MESSAGE, .size = claims[i]};
        unsigned char header[FRAME_HEADER_SIZE];
        raw r;

        raw_meet(&r, CHANNEL_OPTIONS(.max_message = 64 * 1024));
        raw_frame(&r, greeting, "hello");
        frame_encode(&f, header);
        raw_write(&r, header, sizeof header);
        expect_failure_after_greeting(&r, -EPROTO);
        raw_end(&r);
    }
}

static void unknown_kinds_that_may_be_ignored_are(void **state)
{
    (void)state;
    raw r;

    raw_meet(&r, NULL);
    raw_frame(&r, (frame){.kind = 0x8E, .flags = 0xFF, .id = 3, .size = 9}, "ignore me");
    raw_frame(&r, greeting, "hello");
    expect_message(r.channel, 7, "hello", 5);
    raw_end(&r);
}

/* ---- flow ---- */

static void an_ack_beyond_what_was_sent_is_a_breach(void **state)
{
    (void)state;

    assert_breach((frame){.kind = FRAME_ACK, .ack = 1});
    assert_breach((frame){.kind = FRAME_ACK, .ack = UINT32_MAX});
    assert_breach((frame){.kind = FRAME_MESSAGE, .ack = 24});
}

static void an_ack_that_goes_backwards_is_a_breach(void **state)
{
    (void)state;
    raw r;

    raw_meet(&r, NULL);
    assert_int_equal(proc_channel_send(r.channel, MESSAGE(.type = 1), 0), 0);
    (void)raw_await(&r, FRAME_MESSAGE);
    raw_frame(&r, (frame){.kind = FRAME_ACK, .ack = 24}, NULL);
    raw_frame(&r, (frame){.kind = FRAME_MESSAGE, .type = 7, .size = 5, .ack = 24}, "hello");
    raw_frame(&r, (frame){.kind = FRAME_ACK, .ack = 0}, NULL);
    expect_failure_after_greeting(&r, -EPROTO);
    raw_end(&r);
}

static void keep_reading(proc_channel *c)
{
    (void)proc_channel_cancelled(c, MESSAGE(.id = 1, .flags = PROC_REQUEST));
}

static void a_peer_that_ignores_the_window_is_cut_off(void **state)
{
    (void)state;
    char *payload = pattern(64 * 1024);
    proc_message message;
    uint32_t got = 0;
    raw r;
    int err;

    raw_meet(&r, NULL);
    for (uint32_t i = 0; i < 17; i++) { /* 16 and their headers are beyond 1 MiB already */
        raw_frame(&r, (frame){.kind = FRAME_MESSAGE, .type = i, .size = 64 * 1024}, payload);
        keep_reading(r.channel);
    }
    while ((err = proc_channel_recv(r.channel, &message, IN_TIME)) == 0) {
        assert_int_equal(message.type, got++);
    }

    assert_int_equal(err, -EPROTO);
    assert_int_equal(got, 15);
    raw_end(&r);
}

static void a_flood_of_pings_takes_no_memory(void **state)
{
    (void)state;
    const outbox_queue *urgent;
    raw r;

    raw_meet(&r, NULL);
    for (uint32_t i = 1; i <= 50000; i++) {
        raw_frame(&r, (frame){.kind = FRAME_PING, .id = i}, NULL);
        if (i % 5 == 0) {
            proc_message message;

            assert_int_equal(proc_channel_recv(r.channel, &message, 0), -ETIMEDOUT);
        }
    }
    urgent = &r.channel->out.queues[OUTBOX_URGENT];
    assert_true(urgent->end - urgent->start < 1024);
    raw_end(&r);
}

/* ---- descriptors ---- */

typedef struct counts {
    uint8_t announced;
    size_t sent;
} counts;

static void descriptors_in_another_number_than_announced_are_a_breach(void **state)
{
    (void)state;
    static const counts wrong[] = {{2, 1}, {2, 3}, {2, 0}, {0, 1}, {0, 3}, {1, 250}, {5, 5}, {255, 1}};
    size_t open_before = count_open();

    for (size_t i = 0; i < COUNT(wrong); i++) {
        unsigned char bytes[64];
        frame f = {.kind = FRAME_MESSAGE, .fd_count = wrong[i].announced};
        int fds[250];
        raw r;

        raw_meet(&r, CHANNEL_OPTIONS(.max_fds = 4));
        for (size_t k = 0; k < COUNT(fds); k++) {
            fds[k] = r.fd;
        }
        raw_frame(&r, greeting, "hello");
        assert_true(raw_send(&r, bytes, raw_encode(&f, NULL, bytes), fds, wrong[i].sent));
        expect_message(r.channel, 7, "hello", 5);
        if (wrong[i].announced == 0) {
            expect_message(r.channel, 0, NULL, 0); /* whole, but what came with it is nobody's */
        }
        expect_end(r.channel, -EPROTO);
        raw_end(&r);
        assert_int_equal(count_open(), open_before);
    }
}

static void descriptors_for_an_end_that_takes_none_are_refused_or_closed(void **state)
{
    (void)state;
    size_t open_before = count_open();
    unsigned char bytes[64];
    const frame f = {.kind = FRAME_MESSAGE, .fd_count = 1};
    raw r;

    raw_meet(&r, NULL);
    raw_frame(&r, greeting, "hello");
    if (raw_send(&r, bytes, raw_encode(&f, NULL, bytes), &r.fd, 1)) {
        expect_failure_after_greeting(&r, -EPROTO);
    } else {
        expect_message(r.channel, 7, "hello", 5);
    }
    raw_end(&r);
    assert_int_equal(count_open(), open_before);
}

static void descriptors_with_every_byte_of_a_frame_do_not_pile_up(void **state)
{
    (void)state;
    size_t open_before = count_open();
    unsigned char bytes[FRAME_HEADER_SIZE + 64];
    const frame f = {.kind = FRAME_MESSAGE, .fd_count = 4, .size = 64};
    int fds[4];
    raw r;

    raw_meet(&r, CHANNEL_OPTIONS(.max_fds = 4));
    for (size_t k = 0; k < COUNT(fds); k++) {
        fds[k] = r.fd;
    }
    raw_encode(&f, pattern(64), bytes);
    raw_frame(&r, greeting, "hello");
    for (size_t i = 0; i < 40; i++) {
        (void)raw_send(&r, bytes + i, 1, fds, COUNT(fds));
        keep_reading(r.channel);
    }

    assert_true(count_open() <= open_before + 2 + 2 * COUNT(fds)); /* what two reads brought */
    expect_failure_after_greeting(&r, -EPROTO);
    raw_end(&r);
    assert_int_equal(count_open(), open_before);
}

/* ---- time and the end ---- */

static void the_rest_of_a_frame_has_to_come_in_time(void **state)
{
    (void)state;
    unsigned char bytes[64];
    raw r;

    raw_meet(&r, CHANNEL_OPTIONS(.frame_ms = 60));
    raw_frame(&r, greeting, "hello");
    raw_encode(&greeting, "hello", bytes);
    raw_write(&r, bytes, 25);
    expect_failure_after_greeting(&r, -EPROTO);
    raw_end(&r);
}

/* Sends what makes the other end busy until that is gone: whatever comes from there is thrown away. */
static void *never_stop_talking(void *arg)
{
    raw *r = arg;
    unsigned char frames[512 * FRAME_HEADER_SIZE], sink[4096];
    const frame ping = {.kind = FRAME_PING, .id = 1};

    for (size_t i = 0; i < sizeof frames; i += FRAME_HEADER_SIZE) {
        frame_encode(&ping, frames + i);
    }
    while (send(r->fd, frames, sizeof frames, MSG_NOSIGNAL) == (ssize_t)sizeof frames) {
        while (recv(r->fd, sink, sizeof sink, MSG_DONTWAIT) > 0) {
        }
    }
    return NULL;
}

static void an_end_that_never_stops_talking_keeps_nobody_past_the_deadline(void **state)
{
    (void)state;
    proc_message message, reply;
    pthread_t talker;
    raw r;

    raw_meet(&r, NULL);
    assert_int_equal(pthread_create(&talker, NULL, never_stop_talking, &r), 0);

    assert_int_equal(proc_channel_recv(r.channel, &message, 100), -ETIMEDOUT);
    assert_int_equal(proc_channel_call(r.channel, MESSAGE(.type = 1), &reply, 100), -ETIMEDOUT);
    assert_false(proc_channel_cancelled(r.channel, MESSAGE(.id = 1, .flags = PROC_REQUEST)));
    assert_int_equal(shutdown(r.fd, SHUT_RDWR), 0);
    assert_int_equal(pthread_join(talker, NULL), 0);
    raw_end(&r);
}

static void no_more_than_1024_descriptors_are_kept(void **state)
{
    (void)state;
    struct rlimit limit, larger;
    enum { EACH = 4, MOST = 1024 / EACH };
    const frame f = {.kind = FRAME_MESSAGE, .fd_count = EACH};
    unsigned char bytes[64];
    int sent = 0, got = 0, err = -ETIMEDOUT;
    proc_message message;
    raw r;

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    larger = (struct rlimit){.rlim_cur = limit.rlim_max < 4096 ? limit.rlim_max : 4096, .rlim_max = limit.rlim_max};
    if (larger.rlim_cur < 2048) {
        SKIP("a limit of %llu descriptors is too low for this", (unsigned long long)limit.rlim_max);
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &larger), 0);
    raw_meet(&r, CHANNEL_OPTIONS(.max_fds = EACH));
    assert_int_equal(fcntl(r.fd, F_SETFL, O_NONBLOCK), 0);
    const int fds[EACH] = {r.fd, r.fd, r.fd, r.fd};

    /* A call keeps what it does not wait for. */
    while (err == -ETIMEDOUT && sent < 4 * MOST) {
        proc_message reply;

        for (int i = 0; i < 16; i++) {
            sent += raw_send(&r, bytes, raw_encode(&f, NULL, bytes), fds, EACH);
        }
        err = proc_channel_call(r.channel, MESSAGE(.type = 1), &reply, 1);
    }
    assert_int_equal(err, -EDEADLK);
    assert_true(count_open() < 1024 + 64);
    while (proc_channel_recv(r.channel, &message, 0) == 0) {
        assert_int_equal(message.fd_count, EACH);
        got++;
    }
    assert_int_equal(got, sent);
    raw_end(&r);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static void a_frame_that_drips_does_not_win_time(void **state)
{
    (void)state;
    unsigned char bytes[64];
    int64_t begin;
    proc_message message;
    int err = -ETIMEDOUT;
    raw r;

    raw_meet(&r, CHANNEL_OPTIONS(.frame_ms = 100));
    raw_encode(&greeting, "hello", bytes);
    begin = now_ms();
    for (size_t i = 0; i < 31 && err == -ETIMEDOUT; i++) {
        raw_write(&r, bytes + i, 1);
        err = proc_channel_recv(r.channel, &message, 20);
    }

    assert_int_equal(err, -EPROTO);
    assert_true(now_ms() - begin >= 100);
    raw_end(&r);
}

static void an_end_inside_a_frame_drops_it(void **state)
{
    (void)state;
    unsigned char bytes[64];

    raw_encode(&greeting, "hello", bytes);
    for (size_t cut = 0; cut < FRAME_HEADER_SIZE + 8; cut++) {
        raw r;

        raw_meet(&r, NULL);
        raw_frame(&r, greeting, "hello");
        raw_write(&r, bytes, cut);
        close(r.fd);
        r.fd = -1;
        expect_failure_after_greeting(&r, -EPIPE);
        raw_end(&r);
    }
}

static void writing_to_a_peer_that_is_gone_raises_no_signal(void **state)
{
    (void)state;
    struct sigaction old, standard = {.sa_handler = SIG_DFL};
    raw r;
    int err = 0;

    assert_int_equal(sigaction(SIGPIPE, &standard, &old), 0);
    raw_meet(&r, NULL);
    close(r.fd);
    r.fd = -1;
    for (int i = 0; i < 3; i++) {
        err = proc_channel_send(r.channel, MESSAGE(.type = 1), 0);
    }

    assert_int_equal(err, -EPIPE);
    expect_end(r.channel, -EPIPE);
    raw_end(&r);
    assert_int_equal(sigaction(SIGPIPE, &old, NULL), 0);
}

/* ---- requests ---- */

static void a_reply_to_no_request_is_a_breach(void **state)
{
    (void)state;

    assert_breach((frame){.kind = FRAME_REPLY, .id = 1});
    assert_breach((frame){.kind = FRAME_ERROR, .id = 0x10001});
    assert_breach((frame){.kind = FRAME_REPLY, .flags = FRAME_MORE, .id = 0x10000});
    assert_breach((frame){.kind = FRAME_REPLY, .id = UINT32_MAX});
}

static void a_second_reply_to_a_request_is_a_breach(void **state)
{
    (void)state;
    proc_message message;
    int64_t id;
    raw r;

    raw_meet(&r, NULL);
    id = proc_channel_request(r.channel, MESSAGE(.type = 1), 0);
    assert_true(id > 0);
    raw_frame(&r, (frame){.kind = FRAME_REPLY, .id = (uint32_t)id}, NULL);
    assert_int_equal(proc_channel_recv(r.channel, &message, IN_TIME), 0);
    assert_int_equal(message.id, id);
    raw_frame(&r, greeting, "hello");
    raw_frame(&r, (frame){.kind = FRAME_REPLY, .id = (uint32_t)id}, NULL);
    expect_failure_after_greeting(&r, -EPROTO);
    raw_end(&r);
}

static void an_id_in_use_is_a_breach(void **state)
{
    (void)state;
    proc_message message;
    raw r;

    raw_meet(&r, NULL);
    raw_frame(&r, (frame){.kind = FRAME_REQUEST, .id = 5}, NULL);
    assert_int_equal(proc_channel_recv(r.channel, &message, IN_TIME), 0);
    raw_frame(&r, greeting, "hello");
    raw_frame(&r, (frame){.kind = FRAME_REQUEST, .id = 5}, NULL);
    expect_failure_after_greeting(&r, -EPROTO);
    raw_end(&r);
}

static void more_requests_than_this_end_takes_are_a_breach(void **state)
{
    (void)state;
    proc_message message;
    raw r;

    raw_meet(&r, NULL);
    for (uint32_t id = 1; id <= 65; id++) {
        raw_frame(&r, (frame){.kind = FRAME_REQUEST, .id = id}, NULL);
    }
    for (uint32_t id = 1; id <= 64; id++) {
        assert_int_equal(proc_channel_recv(r.channel, &message, IN_TIME), 0);
        assert_int_equal(message.id, id);
    }
    expect_end(r.channel, -EPROTO);
    raw_end(&r);
}

static void a_message_after_end_is_a_breach(void **state)
{
    (void)state;
    static const uint8_t kinds[] = {FRAME_MESSAGE, FRAME_REQUEST};

    for (size_t i = 0; i < COUNT(kinds); i++) {
        raw r;

        raw_meet(&r, NULL);
        assert_true(proc_channel_request(r.channel, MESSAGE(.type = 1), 0) > 0); /* whose reply is still awaited */
        raw_frame(&r, greeting, "hello");
        raw_frame(&r, (frame){.kind = FRAME_END}, NULL);
        raw_frame(&r, (frame){.kind = kinds[i], .id = kinds[i] == FRAME_REQUEST}, NULL);
        expect_failure_after_greeting(&r, -EPROTO);
        raw_end(&r);
    }
}

static void cancelling_what_is_not_open_is_no_breach(void **state)
{
    (void)state;
    raw r;

    raw_meet(&r, NULL);
    raw_frame(&r, (frame){.kind = FRAME_CANCEL, .id = 99}, NULL);
    raw_frame(&r, greeting, "hello");
    expect_message(r.channel, 7, "hello", 5);
    raw_end(&r);
}

static void random_bytes_never_do_harm(void **state)
{
    (void)state;

    for (int round = 0; round < 300; round++) {
        unsigned char bytes[4096];
        proc_message message;
        int err;
        raw r;

        raw_meet(&r, CHANNEL_OPTIONS(.linger_ms = 1));
        for (size_t at = 0; at < sizeof bytes; at += 8) {
            frame f = {.kind = (uint8_t)random_below(16), .size = random_below(40), .id = random_below(3)};

            if (at % 32 == 0 && at + FRAME_HEADER_SIZE < sizeof bytes) {
                frame_encode(&f, bytes + at);
                at += FRAME_HEADER_SIZE - 8;
            } else {
                memset(bytes + at, (int)random_below(256), 8);
            }
        }
        raw_write(&r, bytes, sizeof bytes);
        close(r.fd);
        r.fd = -1;
        while ((err = proc_channel_recv(r.channel, &message, IN_TIME)) == 0) {
        }
        assert_true(err == -EPROTO || err == -EPIPE);
        raw_end(&r);
    }
}

static const struct CMUnitTest tests[] = {
    TEST(no_hello_in_time_is_a_breach),
    TEST(no_hello_in_time_is_seen_by_a_poll_loop),
    TEST(a_frame_before_hello_is_a_breach),
    TEST(a_second_hello_is_a_breach),
    TEST(a_hello_that_says_nothing_is_a_breach),
    TEST(an_end_of_a_later_protocol_is_told_so),
    TEST(an_end_of_this_and_later_protocols_is_none),
    TEST(an_end_that_goes_away_finishes_what_is_under_way),
    TEST(a_peer_that_claims_to_take_255_descriptors_gets_250_at_most),
    TEST(frames_that_break_the_rules_of_their_kind_are_a_breach),
    TEST(garbage_is_a_breach),
    TEST(a_claim_beyond_the_limit_is_a_breach_at_once),
    TEST(unknown_kinds_that_may_be_ignored_are),
    TEST(an_ack_beyond_what_was_sent_is_a_breach),
    TEST(an_ack_that_goes_backwards_is_a_breach),
    TEST(a_peer_that_ignores_the_window_is_cut_off),
    TEST(a_flood_of_pings_takes_no_memory),
    TEST(descriptors_in_another_number_than_announced_are_a_breach),
    TEST(descriptors_for_an_end_that_takes_none_are_refused_or_closed),
    TEST(descriptors_with_every_byte_of_a_frame_do_not_pile_up),
    TEST(the_rest_of_a_frame_has_to_come_in_time),
    TEST(an_end_that_never_stops_talking_keeps_nobody_past_the_deadline),
    TEST(no_more_than_1024_descriptors_are_kept),
    TEST(a_frame_that_drips_does_not_win_time),
    TEST(an_end_inside_a_frame_drops_it),
    TEST(writing_to_a_peer_that_is_gone_raises_no_signal),
    TEST(a_reply_to_no_request_is_a_breach),
    TEST(a_second_reply_to_a_request_is_a_breach),
    TEST(an_id_in_use_is_a_breach),
    TEST(more_requests_than_this_end_takes_are_a_breach),
    TEST(a_message_after_end_is_a_breach),
    TEST(cancelling_what_is_not_open_is_no_breach),
    TEST(random_bytes_never_do_harm),
};

HARNESS_MAIN(tests)
