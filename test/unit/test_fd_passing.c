/*
 * Descriptors of every kind that travel with messages: sockets that serve on in another process, descriptors with large
 * messages, in both directions at once, of nobody, of itself, and more than a user may have under way.
 */
#include "peer.h"

#include <arpa/inet.h>
#include <grp.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/socket.h>

enum { MIB = 1024 * 1024 };

static const proc_channel_options some_fds = {.max_fds = 16};

static proc_child *start_worker(proc_entry *entry, void *arg)
{
    proc_child *child = NULL;

    assert_int_equal(proc_fork_call(&child, entry, arg, OPTIONS(.channel = &some_fds)), 0);
    return child;
}

static void expect_exit_0(proc_child *child)
{
    proc_status status;

    assert_int_equal(proc_child_wait(child, IN_TIME, &status), 0);
    assert_true(proc_status_ok(&status));
    proc_child_free(child);
}

static void send_fd(proc_channel *c, uint32_t type, int fd)
{
    assert_int_equal(proc_channel_send(c, MESSAGE(.type = type, .fds = &fd, .fd_count = 1), IN_TIME), 0);
}

static int take_fd(proc_channel *c)
{
    proc_message m;

    return proc_channel_recv(c, &m, IN_TIME) == 0 ? proc_message_take_fd(&m, 0) : -1;
}

/* ---- sockets that serve on ---- */

static int listen_on_loopback(int type, struct sockaddr_in *address)
{
    socklen_t size = sizeof *address;
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

    *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_true(fd > 2);
    assert_int_equal(bind(fd, (struct sockaddr *)address, sizeof *address), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)address, &size), 0);
    assert_true(type != SOCK_STREAM || listen(fd, 16) == 0);
    return fd;
}

static int connect_to(const struct sockaddr_in *address)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(connect(fd, (const struct sockaddr *)address, sizeof *address), 0);
    return fd;
}

static void expect_text(int fd, const char *wanted)
{
    char said[64] = "";
    size_t size = 0;
    ssize_t got;

    while (size < sizeof said - 1 && (got = read(fd, said + size, sizeof said - 1 - size)) > 0) {
        size += (size_t)got;
    }
    assert_string_equal(said, wanted);
    close(fd);
}

static bool say(int fd, const char *word)
{
    return write(fd, word, strlen(word)) == (ssize_t)strlen(word);
}

/* Serves connections on a socket that it is sent, until there are no more messages. */
static int serve_connections(proc_channel *parent, void *arg)
{
    int listener = take_fd(parent);
    proc_message m;

    (void)arg;
    while (proc_channel_recv(parent, &m, IN_TIME) == 0) {
        int client = accept(listener, NULL, NULL);
        if (client < 0 || !say(client, "child")) {
            return 1;
        }
        close(client);
    }
    return 0;
}

static void a_listening_socket_serves_in_both_processes_and_on_in_one(void **state)
{
    (void)state;
    struct sockaddr_in address;
    int listener = listen_on_loopback(SOCK_STREAM, &address);
    proc_child *child = start_worker(serve_connections, NULL);
    proc_channel *c = proc_child_channel(child);

    send_fd(c, 1, listener);
    for (int i = 0; i < 4; i++) {
        int client = connect_to(&address);
        if (i == 1) {
            int served = accept(listener, NULL, NULL);
            assert_true(say(served, "parent"));
            close(served);
            close(listener); /* the child has its own */
        } else {
            assert_int_equal(proc_channel_send(c, MESSAGE(.type = 2), IN_TIME), 0);
        }
        expect_text(client, i == 1 ? "parent" : "child");
    }
    assert_int_equal(proc_channel_shutdown(c), 0);
    expect_exit_0(child);
}

static int echo_on_a_connection(proc_channel *parent, void *arg)
{
    int fd = take_fd(parent);
    char word[16];
    ssize_t got = read(fd, word, sizeof word);

    (void)arg;
    return got > 0 && write(fd, word, (size_t)got) == got ? 0 : 1;
}

static void an_accepted_connection_is_answered_by_the_child(void **state)
{
    (void)state;
    struct sockaddr_in address;
    int listener = listen_on_loopback(SOCK_STREAM, &address), client = connect_to(&address);
    int connection = accept(listener, NULL, NULL);
    proc_child *child = start_worker(echo_on_a_connection, NULL);

    send_fd(proc_child_channel(child), 1, connection);
    close(connection); /* at once: what travels is a copy */
    assert_true(say(client, "echo"));
    expect_text(client, "echo"); /* and the end: nobody else has it open */
    expect_exit_0(child);
    close(listener);
}

static int say_child(proc_channel *parent, void *arg)
{
    int fd = take_fd(parent);

    (void)arg;
    return say(fd, "child") ? 0 : 1;
}

static void a_connection_may_be_used_by_both(void **state)
{
    (void)state;
    struct sockaddr_in address;
    int listener = listen_on_loopback(SOCK_STREAM, &address), client = connect_to(&address);
    int connection = accept(listener, NULL, NULL);
    proc_child *child = start_worker(say_child, NULL);

    send_fd(proc_child_channel(child), 1, connection);
    expect_exit_0(child);
    assert_true(say(connection, "parent"));
    close(connection);
    expect_text(client, "childparent");
    close(listener);
}

static int receive_a_datagram(proc_channel *parent, void *arg)
{
    char byte;
    int fd = take_fd(parent);

    (void)arg;
    return recv(fd, &byte, 1, 0) == 1 && byte == 'c' && proc_channel_send(parent, MESSAGE(.type = 1), IN_TIME) == 0 ? 0
                                                                                                                    : 1;
}

static void datagrams_of_one_socket_reach_both_processes(void **state)
{
    (void)state;
    struct sockaddr_in address;
    int receiver = listen_on_loopback(SOCK_DGRAM, &address), sender = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    proc_child *child = start_worker(receive_a_datagram, NULL);
    char byte;

    assert_int_equal(connect(sender, (struct sockaddr *)&address, sizeof address), 0);
    send_fd(proc_child_channel(child), 1, receiver);
    assert_true(say(sender, "c"));
    expect_message(proc_child_channel(child), 1, NULL, 0); /* the child has it */
    assert_true(say(sender, "p"));
    assert_int_equal(recv(receiver, &byte, 1, 0), 1);
    assert_int_equal(byte, 'p');
    expect_exit_0(child);
    close(receiver);
    close(sender);
}

static void a_connection_may_be_the_output_of_a_child(void **state)
{
    (void)state;
    struct sockaddr_in address;
    int listener = listen_on_loopback(SOCK_STREAM, &address), client = connect_to(&address);
    int connection = accept(listener, NULL, NULL);
    proc_child *child = start_child(KID("out", "straight"), OPTIONS(.out = {.kind = PROC_FD, .fd = connection}));

    close(connection);
    expect_text(client, "straight");
    expect_exit_0(child);
    close(listener);
}

/* ---- what kinds, how many, with what ---- */

static void descriptors_of_every_kind_stay_what_they_are(void **state)
{
    (void)state;
    int pipe_ends[2], sockets[2], kinds[6];
    proc_channel *ends[2];
    proc_message m;
    struct stat sent[6], got;

    make_pipe(pipe_ends);
    make_sockets(sockets);
    assert_int_equal(mkfifo(test_path("fifo"), 0600), 0);
    kinds[0] = pipe_ends[0];
    kinds[1] = sockets[0];
    kinds[2] = open(test_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    kinds[3] = open(test_path("file"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    kinds[4] = open("/dev/null", O_WRONLY | O_CLOEXEC);
    kinds[5] = open(test_path("fifo"), O_RDONLY | O_NONBLOCK | O_CLOEXEC); /* of which nobody has the other end */
    for (size_t i = 0; i < COUNT(kinds); i++) {
        assert_int_equal(fstat(kinds[i], &sent[i]), 0);
    }
    make_pair(ends, &some_fds);
    assert_int_equal(proc_channel_send(ends[0], MESSAGE(.fds = kinds, .fd_count = COUNT(kinds)), 0), 0);
    assert_int_equal(proc_channel_recv(ends[1], &m, IN_TIME), 0);
    assert_int_equal(m.fd_count, COUNT(kinds));
    for (size_t i = 0; i < COUNT(kinds); i++) {
        assert_int_equal(fstat(m.fds[i], &got), 0);
        assert_true(got.st_dev == sent[i].st_dev && got.st_ino == sent[i].st_ino && got.st_mode == sent[i].st_mode);
        close(kinds[i]);
    }
    free_pair(ends);
    close(pipe_ends[1]);
    close(sockets[1]);
}

static void a_descriptor_may_be_sent_twice(void **state)
{
    (void)state;
    proc_channel *ends[2];
    int pipe_ends[2], first, second;

    make_pipe(pipe_ends);
    make_pair(ends, &some_fds);
    send_fd(ends[0], 1, pipe_ends[1]);
    send_fd(ends[0], 2, pipe_ends[1]);
    close(pipe_ends[1]);
    first = take_fd(ends[1]);
    second = take_fd(ends[1]);
    assert_true(first > 2 && second > 2 && first != second);
    close(first);
    assert_true(say(second, "x"));
    await_byte(pipe_ends[0]);
    close(second);
    await_end(pipe_ends[0]);
    close(pipe_ends[0]);
    free_pair(ends);
}

typedef struct sender {
    proc_channel *channel;
    pthread_t thread;
    const char *data;
    size_t size;
    int fd, count, result;
} sender;

static void *send_all(void *arg)
{
    sender *s = arg;

    for (int i = 0; i < s->count && s->result == 0; i++) {
        const proc_message *m = MESSAGE(.data = s->data, .size = s->size, .fds = &s->fd, .fd_count = 1);
        s->result = proc_channel_send(s->channel, m, IN_TIME);
    }
    return NULL;
}

/* Both ends send so many before either receives. */
static void cross(proc_channel *ends[2], size_t size, int count)
{
    sender senders[2];
    struct stat null, st;
    char *data = pattern(size);
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

    assert_int_equal(fstat(fd, &null), 0);
    for (int i = 0; i < 2; i++) {
        senders[i] = (sender){.channel = ends[i], .data = data, .size = size, .fd = fd, .count = count};
        assert_int_equal(pthread_create(&senders[i].thread, NULL, send_all, &senders[i]), 0);
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(senders[i].thread, NULL);
        assert_int_equal(senders[i].result, 0);
    }
    for (int got = 0; got < 2 * count;) {
        for (int i = 0; i < 2; i++) {
            proc_message m;
            int err = proc_channel_recv(ends[i], &m, 0);
            if (err == 0) {
                assert_int_equal(m.size, size);
                assert_memory_equal(m.data, data, size);
                assert_int_equal(m.fd_count, 1);
                assert_int_equal(fstat(m.fds[0], &st), 0);
                assert_true(st.st_rdev == null.st_rdev);
                got++;
            }
            assert_true(err == 0 || err == -ETIMEDOUT);
            (void)proc_channel_flush(ends[1 - i], 0);
        }
    }
    close(fd);
}

static void a_large_message_brings_its_descriptor_in_both_directions(void **state)
{
    (void)state;
    proc_channel *ends[2];

    make_pair(ends, &some_fds);
    for (int round = 0; round < 3; round++) {
        cross(ends, 800004, 1);
    }
    free_pair(ends);
}

static void both_ends_may_send_descriptors_at_once(void **state)
{
    (void)state;
    proc_channel *ends[2];

    make_pair(ends, &some_fds);
    cross(ends, 10, 200);
    free_pair(ends);
}

/* ---- descriptors that nobody takes, or that cannot be had ---- */

static void a_reply_that_comes_too_late_loses_its_descriptors(void **state)
{
    (void)state;
    proc_channel *ends[2];
    proc_message request;
    int pipe_ends[2];
    int64_t id;

    make_pipe(pipe_ends);
    make_pair(ends, &some_fds);
    id = ask(ends[0], 1);
    request = expect_request(ends[1]);
    assert_int_equal(proc_channel_reply(ends[1], &request, ANSWER(.type = 2, .fds = &pipe_ends[1], .fd_count = 1), 0),
                     0);
    assert_int_equal(proc_channel_cancel(ends[0], id), 0); /* while the reply is under way */
    close(pipe_ends[1]);
    expect_nothing(ends[0]);
    await_end(pipe_ends[0]);
    close(pipe_ends[0]);
    free_pair(ends);
}

/* Linux looks for sockets that hold nothing but each other when one is closed, unless it is at that just then. */
static void await_collection(int fd)
{
    struct pollfd wanted = {.fd = fd, .events = POLLIN};

    for (int64_t end = now_ms() + IN_TIME; poll(&wanted, 1, 1) == 0 && now_ms() < end;) {
        int pair[2];

        make_sockets(pair);
        close(pair[0]);
        close(pair[1]);
    }
    await_end(fd);
}

static void a_channel_that_travels_through_itself_leaks_nothing(void **state)
{
    (void)state;
    proc_channel *ends[2];
    int pipe_ends[2];

    make_pipe(pipe_ends);
    make_pair(ends, &some_fds);
    const int cycle[] = {proc_channel_fd(ends[0]), proc_channel_fd(ends[1]), pipe_ends[1]};
    assert_int_equal(proc_channel_send(ends[0], MESSAGE(.fds = cycle, .fd_count = 3), 0), 0);
    assert_int_equal(proc_channel_send(ends[1], MESSAGE(.fds = cycle, .fd_count = 3), 0), 0);
    close(pipe_ends[1]);
    free_pair(ends);

    await_collection(pipe_ends[0]); /* the last holder of the other end is gone */
    close(pipe_ends[0]);
}

static void receive_without_standard_descriptors(void *arg)
{
    proc_channel *ends[2];
    int fds[5], report = fcntl(2, F_DUPFD_CLOEXEC, 50), wrong = 0;
    proc_message m;

    (void)arg;
    make_pair(ends, &some_fds);
    for (size_t i = 0; i < COUNT(fds); i++) {
        fds[i] = proc_channel_fd(ends[1]);
    }
    assert_int_equal(proc_channel_send(ends[0], MESSAGE(.fds = fds, .fd_count = COUNT(fds)), 0), 0);
    for (int fd = 0; fd < 3; fd++) {
        close(fd);
    }
    wrong += proc_channel_recv(ends[1], &m, IN_TIME) != 0 || m.fd_count != COUNT(fds) || m.flags != 0;
    for (size_t i = 0; i < m.fd_count; i++) {
        wrong += m.fds[i] < 3 || fcntl(m.fds[i], F_GETFD) != FD_CLOEXEC;
    }
    for (int fd = 0; fd < 3; fd++) {
        wrong += is_open(fd);
    }
    dup2(report, 2); /* so that an assertion that fails can say so */
    dup2(report, 1);
    dup2(report, 0);
    assert_int_equal(wrong, 0);
    free_pair(ends);
    close(report);
}

static void a_received_descriptor_never_takes_a_standard_number(void **state)
{
    (void)state;

    in_copy(receive_without_standard_descriptors, NULL);
}

/* ---- more under way than a user may have ---- */

/* Linux counts those of all sockets of a user, up to the soft limit of open files, and spares who has CAP_SYS_RESOURCE. */
static void send_more_than_may_be_under_way(void *arg)
{
    enum { EACH = 10, FEW = 64, MESSAGES = 2 * FEW / EACH };
    int fds[EACH];
    proc_channel *ends[2];
    proc_message m;
    int got = 0;

    (void)arg;
    make_pair(ends, &some_fds);
    for (int i = 0; i < EACH; i++) {
        fds[i] = 1;
    }
    (void)setgroups(0, NULL);
    assert_int_equal(setgid(54321), 0); /* an id that no other program here has */
    assert_int_equal(setuid(54321), 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &(struct rlimit){.rlim_cur = 512, .rlim_max = 512}), 0);
    for (int i = 0; i < MESSAGES; i++) {
        assert_int_equal(proc_channel_post(ends[0], MESSAGE(.type = (uint32_t)i, .fds = fds, .fd_count = EACH)), 0);
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &(struct rlimit){.rlim_cur = FEW, .rlim_max = 512}), 0);
    assert_int_equal(proc_channel_flush(ends[0], 50), -ETIMEDOUT); /* it cannot all be under way */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &(struct rlimit){.rlim_cur = 512, .rlim_max = 512}), 0);
    while (got < MESSAGES) { /* and goes on when there is room again */
        int err = proc_channel_recv(ends[1], &m, 0);
        if (err == 0) {
            assert_int_equal(m.type, got++);
            assert_int_equal(m.fd_count, EACH);
            assert_int_equal(m.flags, 0);
        } else {
            assert_int_equal(err, -ETIMEDOUT);
            (void)proc_channel_flush(ends[0], 5);
        }
    }
    free_pair(ends);
}

static void what_cannot_be_under_way_yet_goes_later(void **state)
{
    (void)state;
    NOT_UNDER_VALGRIND();

    if (!is_root()) {
        SKIP("only root can become a user whom nobody else counts for");
    }
    in_copy(send_more_than_may_be_under_way, NULL);
}

/* ---- to nobody ---- */

typedef struct lent_pipe {
    int read_end, write_end;
} lent_pipe;

static lent_pipe make_lent_pipe(void)
{
    int ends[2];
    make_pipe(ends);
    return (lent_pipe){.read_end = ends[0], .write_end = ends[1]};
}

/* Ours is closed, and the channel has no copy left. */
static void expect_given_back(lent_pipe *p)
{
    char byte;
    close(p->write_end);
    assert_int_equal(fcntl(p->read_end, F_SETFL, O_NONBLOCK), 0);
    assert_int_equal(read(p->read_end, &byte, 1), 0);
    close(p->read_end);
}

static void descriptors_that_nobody_will_read_are_closed_at_once(void **state)
{
    (void)state;
    proc_channel *ends[2];
    lent_pipe posted = make_lent_pipe(), sent = make_lent_pipe();

    make_pair(ends, &some_fds);
    assert_int_equal(proc_channel_post(ends[0], MESSAGE(.fds = &posted.write_end, .fd_count = 1)), 0);
    proc_channel_free(ends[1]);
    assert_int_equal(proc_channel_pending(ends[0]), FRAME_HEADER_SIZE);
    assert_int_equal(proc_channel_send(ends[0], MESSAGE(.fds = &sent.write_end, .fd_count = 1), 0), -EPIPE);

    assert_int_equal(proc_channel_pending(ends[0]), 0);
    expect_given_back(&posted);
    expect_given_back(&sent);
    assert_int_equal(proc_channel_flush(ends[0], 0), -EPIPE); /* what was posted is lost */
    proc_channel_free(ends[0]);
}

static void descriptors_that_wait_when_the_channel_fails_are_closed_at_once(void **state)
{
    (void)state;
    enum { SIZE = 40 * 1024 }; /* more than half of the least window: the second one waits */
    lent_pipe lent = make_lent_pipe();
    raw r;

    raw_meet(&r, NULL);
    assert_int_equal(proc_channel_send(r.channel, MESSAGE(.data = pattern(SIZE), .size = SIZE), 0), 0);
    assert_int_equal(
        proc_channel_send(r.channel,
                          MESSAGE(.data = pattern(SIZE), .size = SIZE, .fds = &lent.write_end, .fd_count = 1), 0),
        0);
    raw_frame(&r, (frame){.kind = FRAME_HELLO, .type = FRAME_HELLO_TYPE}, NULL); /* a second one */
    expect_end(r.channel, -EPROTO);

    expect_given_back(&lent);
    assert_int_equal(proc_channel_pending(r.channel), 0);
    raw_end(&r);
}

static const struct CMUnitTest tests[] = {
    TEST(a_listening_socket_serves_in_both_processes_and_on_in_one),
    TEST(an_accepted_connection_is_answered_by_the_child),
    TEST(a_connection_may_be_used_by_both),
    TEST(datagrams_of_one_socket_reach_both_processes),
    TEST(a_connection_may_be_the_output_of_a_child),
    TEST(descriptors_of_every_kind_stay_what_they_are),
    TEST(a_descriptor_may_be_sent_twice),
    TEST(a_large_message_brings_its_descriptor_in_both_directions),
    TEST(both_ends_may_send_descriptors_at_once),
    TEST(a_reply_that_comes_too_late_loses_its_descriptors),
    TEST(a_channel_that_travels_through_itself_leaks_nothing),
    TEST(a_received_descriptor_never_takes_a_standard_number),
    TEST(what_cannot_be_under_way_yet_goes_later),
    TEST(descriptors_that_nobody_will_read_are_closed_at_once),
    TEST(descriptors_that_wait_when_the_channel_fails_are_closed_at_once),
};

HARNESS_MAIN(tests)
