/*
 * An end in another language: test/unit/peer.py, which was written from libproc-protocol(7) and shares no code with us.
 */
#include "peer.h"

static proc_child *python;
static proc_channel *channel;

static bool has_python(void)
{
    proc_result result;
    int err = proc_execfile(
        &result, ARGV("python3", "-c", "import socket, array, sys; assert sys.version_info >= (3, 8)"), NULL);
    bool good = err == 0 && result.status.code == 0;

    proc_result_clear(&result);
    return good;
}

#define NEED_PYTHON()                                                                                                  \
    do {                                                                                                               \
        if (!has_python()) {                                                                                           \
            SKIP("python3 is missing, or older than 3.8");                                                             \
        }                                                                                                              \
    } while (0)

static void begin(void)
{
    const char *path = text("%s/test/unit/peer.py", top_dir());

    assert_int_equal(proc_fork(&python, ARGV("python3", "-S", "-E", "-s", path),
                               OPTIONS(.channel = CHANNEL_OPTIONS(.max_fds = 4, .max_message = 32 * 1024 * 1024))),
                     0);
    channel = proc_child_channel(python);
}

/* Both say that they have said all; it ends well. */
static void end(void)
{
    proc_status status;

    assert_int_equal(proc_channel_shutdown(channel), 0);
    expect_end(channel, -EPIPE);
    assert_int_equal(proc_child_wait(python, IN_TIME, &status), 0);
    assert_int_equal(status.code, 0);
    proc_child_free(python);
}

static void messages_of_every_size_come_back(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 7, 8, 9, 4096, 65535, 65536, 65537, 1024 * 1024 + 3, 16 * 1024 * 1024};

    NEED_PYTHON();
    begin();
    for (size_t i = 0; i < COUNT(sizes); i++) {
        char *data = pattern(sizes[i]);
        assert_int_equal(
            proc_channel_send(channel, MESSAGE(.type = 100 + (uint32_t)i, .data = data, .size = sizes[i]), IN_TIME), 0);
        expect_message(channel, 100 + (uint32_t)i, data, sizes[i]);
    }
    end();
}

static void calls_are_answered(void **state)
{
    (void)state;
    const uint32_t error = ENOENT;
    proc_message reply;

    NEED_PYTHON();
    begin();
    assert_int_equal(proc_channel_call(channel, MESSAGE(.type = 10, .data = "upper", .size = 5), &reply, IN_TIME), 0);
    assert_int_equal(reply.size, 5);
    assert_memory_equal(reply.data, "UPPER", 5);
    proc_message_clear(&reply);

    assert_int_equal(
        proc_channel_call(channel, MESSAGE(.type = 11, .data = &error, .size = sizeof error), &reply, IN_TIME), 0);
    assert_int_equal(reply.flags & PROC_FAILURE, PROC_FAILURE);
    assert_int_equal(reply.type, ENOENT);
    assert_memory_equal(reply.data, "refused", 7);
    proc_message_clear(&reply);
    assert_int_equal(proc_channel_call(channel, MESSAGE(.type = 12), &reply, IN_TIME), -EBADMSG);
    assert_int_equal(proc_channel_call(channel, MESSAGE(.type = 1000), &reply, IN_TIME), 0);
    assert_int_equal(reply.type, ENOSYS);
    proc_message_clear(&reply);
    end();
}

static void replies_in_parts_and_cancellations_are_understood(void **state)
{
    (void)state;
    proc_message m;

    NEED_PYTHON();
    begin();
    int64_t id = proc_channel_request(channel, MESSAGE(.type = 12), IN_TIME);
    assert_true(id > 0);
    for (int part = 0; part < 4; part++) {
        assert_int_equal(proc_channel_recv(channel, &m, IN_TIME), 0);
        assert_int_equal(m.id, id);
        assert_int_equal(m.flags, part < 3 ? PROC_REPLY | PROC_MORE : PROC_REPLY);
        const char *expected = part < 3 ? text("part %d", part) : "last";
        assert_int_equal(m.size, strlen(expected));
        assert_memory_equal(m.data, expected, m.size);
    }
    id = proc_channel_request(channel, MESSAGE(.type = 13), IN_TIME);
    assert_true(id > 0);
    assert_int_equal(proc_channel_cancel(channel, id), 0);
    /* A request that has not left is simply taken out: ask for another one that surely has. */
    if (proc_channel_recv(channel, &m, 200) < 0) {
        id = proc_channel_request(channel, MESSAGE(.type = 13), IN_TIME);
        assert_int_equal(proc_channel_flush(channel, IN_TIME), 0);
        assert_int_equal(proc_channel_cancel(channel, id), 0);
        assert_int_equal(proc_channel_recv(channel, &m, IN_TIME), 0);
    }
    assert_int_equal(m.type, 13);
    assert_memory_equal(m.data, "cancelled", 9);
    end();
}

static void the_other_end_calls_us(void **state)
{
    (void)state;
    proc_message m;

    NEED_PYTHON();
    begin();
    int64_t id = proc_channel_request(channel, MESSAGE(.type = 15, .data = "question", .size = 8), IN_TIME);
    assert_int_equal(proc_channel_recv(channel, &m, IN_TIME), 0);
    assert_int_equal(m.flags, PROC_REQUEST);
    assert_int_equal(m.type, 20);
    assert_int_equal(m.size, 8);
    assert_memory_equal(m.data, "question", 8);
    assert_true(m.time_left > 0 && m.time_left <= 5000);
    assert_int_equal(proc_channel_reply(channel, &m, ANSWER(.type = 5, .data = "answer", .size = 6), IN_TIME), 0);
    m = expect_reply(channel, id, PROC_REPLY);
    assert_memory_equal(m.data, "answer", 6);
    end();
}

static void floods_go_both_ways_within_the_window(void **state)
{
    (void)state;
    enum { MESSAGES = 2000 };
    const uint32_t count = MESSAGES;
    char *data = pattern(20000);

    NEED_PYTHON();
    begin();
    for (int i = 0; i < MESSAGES; i++) { /* dropped there */
        assert_int_equal(proc_channel_send(channel, MESSAGE(.type = 4, .data = data, .size = 20000), IN_TIME), 0);
    }
    assert_int_equal(proc_channel_send(channel, MESSAGE(.type = 3, .data = &count, .size = sizeof count), IN_TIME), 0);
    for (uint32_t i = 0; i < MESSAGES; i++) {
        proc_message m;
        assert_int_equal(proc_channel_recv(channel, &m, IN_TIME), 0);
        assert_int_equal(m.type, 3);
        assert_int_equal(m.size, 20000);
        assert_int_equal(((const uint32_t *)m.data)[0], i);
        assert_int_equal(((const uint32_t *)m.data)[4999], i);
    }
    end();
}

static void both_flood_at_once(void **state)
{
    (void)state;
    enum { MESSAGES = 1000 };
    const uint32_t count = MESSAGES;
    char *data = pattern(20000);
    uint32_t came = 0, echoes = 0;

    NEED_PYTHON();
    begin();
    assert_int_equal(proc_channel_send(channel, MESSAGE(.type = 3, .data = &count, .size = sizeof count), IN_TIME), 0);
    for (uint32_t i = 0; i < MESSAGES; i++) { /* each comes back */
        assert_int_equal(proc_channel_send(channel, MESSAGE(.type = 5, .data = data, .size = 20000), IN_TIME), 0);
    }
    while (came + echoes < 2 * MESSAGES) {
        proc_message m;
        assert_int_equal(proc_channel_recv(channel, &m, IN_TIME), 0);
        assert_int_equal(m.size, 20000);
        came += m.type == 3;
        echoes += m.type == 5;
    }
    assert_int_equal(came, MESSAGES);
    end();
}

static void descriptors_go_both_ways(void **state)
{
    (void)state;
    proc_message reply;
    int fds[2];
    char bytes[32] = {0};

    NEED_PYTHON();
    begin();
    for (int i = 0; i < 3; i++) {
        make_pipe(fds);
        assert_int_equal(write(fds[1], "from c", 6), 6);
        close(fds[1]);
        assert_int_equal(proc_channel_send(channel, MESSAGE(.type = 2, .fds = fds, .fd_count = 1), IN_TIME), 0);
        close(fds[0]);
        expect_message(channel, 2, "from c", 6);
    }
    assert_int_equal(proc_channel_call(channel, MESSAGE(.type = 14), &reply, IN_TIME), 0);
    assert_int_equal(reply.fd_count, 1);
    int fd = proc_message_take_fd(&reply, 0);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    assert_int_equal(read(fd, bytes, sizeof bytes), 11);
    assert_string_equal(bytes, "from python");
    close(fd);
    proc_message_clear(&reply);
    end();
}

static void killed_in_the_middle_it_is_simply_gone(void **state)
{
    (void)state;
    const uint32_t count = 5000;
    proc_message m;
    int err, came = 0;

    NEED_PYTHON();
    begin();
    assert_int_equal(proc_channel_send(channel, MESSAGE(.type = 3, .data = &count, .size = sizeof count), IN_TIME), 0);
    while ((err = proc_channel_recv(channel, &m, IN_TIME)) == 0) {
        if (++came == 100) {
            assert_int_equal(proc_child_kill(python, SIGKILL), 0);
        }
        assert_int_equal(m.size, 20000);
    }
    assert_int_equal(err, -EPIPE);
    assert_true(came >= 100);
    proc_child_free(python);
}

static const struct CMUnitTest tests[] = {
    TEST(messages_of_every_size_come_back),
    TEST(calls_are_answered),
    TEST(replies_in_parts_and_cancellations_are_understood),
    TEST(the_other_end_calls_us),
    TEST(floods_go_both_ways_within_the_window),
    TEST(both_flood_at_once),
    TEST(descriptors_go_both_ways),
    TEST(killed_in_the_middle_it_is_simply_gone),
};

HARNESS_MAIN(tests)
