/*
 * Ends that are killed at any moment, some thousand times: the other end gets every whole message, then -EPIPE; nobody
 * hangs, nothing is left behind, and no end takes the other with it.
 */
#include "peer.h"

#include <poll.h>
#include <pthread.h>
#include <time.h>

/* How long a child lives, in a spread that meets all phases of what it does. */
static void let_live(uint32_t most_us)
{
    struct timespec moment = {.tv_nsec = (long)random_below(most_us + 1) * 1000};

    nanosleep(&moment, NULL);
}

static proc_child *start_worker(proc_entry *entry, void *arg, const proc_channel_options *channel)
{
    proc_child *child = NULL;

    assert_int_equal(proc_fork_call(&child, entry, arg, OPTIONS(.channel = channel)), 0);
    return child;
}

/* Each message is its number, again and again. */
static bool is_whole(const proc_message *m, uint32_t number)
{
    const uint32_t *words = m->data;

    for (size_t i = 0; i < m->size / sizeof number; i++) {
        if (words[i] != number) {
            return false;
        }
    }
    return m->type == number;
}

static void fill(uint32_t *words, size_t size, uint32_t number)
{
    for (size_t i = 0; i < size / sizeof number; i++) {
        words[i] = number;
    }
}

/* ---- it sends ---- */

static const size_t sizes[] = {8, 200, 5000, 70000, 1024 * 1024};

static int send_for_ever(proc_channel *parent, void *arg)
{
    size_t size = *(const size_t *)arg;
    uint32_t *words = malloc(size);

    for (uint32_t number = 0;; number++) {
        fill(words, size, number);
        if (proc_channel_send(parent, MESSAGE(.type = number, .data = words, .size = size), PROC_FOREVER) < 0) {
            return 1;
        }
    }
}

static void every_whole_message_of_a_killed_sender_is_received(void **state)
{
    (void)state;

    for (int round = 0; round < 200; round++) {
        size_t size = sizes[random_below(COUNT(sizes))];
        proc_child *child = start_worker(send_for_ever, &size, NULL);
        proc_channel *c = proc_child_channel(child);
        proc_message m;
        uint32_t number = 0;
        int err;

        let_live(1500);
        for (uint32_t first = random_below(20); first > 0; first--) {
            assert_int_equal(proc_channel_recv(c, &m, IN_TIME), 0);
            assert_true(is_whole(&m, number++));
        }
        assert_int_equal(proc_child_kill(child, SIGKILL), 0);
        while ((err = proc_channel_recv(c, &m, IN_TIME)) == 0) {
            assert_int_equal(m.size, size);
            assert_true(is_whole(&m, number++));
        }
        assert_int_equal(err, -EPIPE);
        assert_int_equal(proc_channel_send(c, MESSAGE(.type = 1), IN_TIME), -EPIPE);
        proc_child_free(child);
    }
}

/* ---- it receives ---- */

static int receive_for_ever(proc_channel *parent, void *arg)
{
    proc_message m;

    (void)arg;
    while (proc_channel_recv(parent, &m, PROC_FOREVER) == 0) {
    }
    return 1;
}

static void a_sender_whose_receiver_is_killed_is_told(void **state)
{
    (void)state;

    for (int round = 0; round < 200; round++) {
        size_t size = sizes[random_below(COUNT(sizes))];
        uint32_t *words = calloc(1, size);
        proc_child *child = start_worker(receive_for_ever, NULL, NULL);
        proc_channel *c = proc_child_channel(child);
        int err = 0, sent = 0, most = (int)random_below(200);

        while (sent < most && err == 0) {
            err = proc_channel_send(c, MESSAGE(.data = words, .size = size), IN_TIME);
            sent++;
        }
        assert_int_equal(err, 0);
        assert_int_equal(proc_child_kill(child, SIGKILL), 0);
        while (err == 0) { /* what the kernel still takes, it takes */
            err = proc_channel_send(c, MESSAGE(.data = words, .size = size), IN_TIME);
        }
        assert_int_equal(err, -EPIPE);
        proc_child_free(child);
        free(words);
    }
}

/* ---- calls ---- */

static int answer_for_ever(proc_channel *parent, void *arg)
{
    proc_message m;

    (void)arg;
    while (proc_channel_recv(parent, &m, PROC_FOREVER) == 0) {
        if (proc_channel_reply(parent, &m, ANSWER(.type = m.type + 1, .data = m.data, .size = m.size), PROC_FOREVER) <
            0) {
            break;
        }
    }
    return 1;
}

static void *call_until_it_fails(void *arg)
{
    uint32_t words[50];

    for (uint32_t number = 0;; number++) {
        proc_message reply;
        fill(words, sizeof words, number + 1);
        int err = proc_channel_call(arg, MESSAGE(.type = number, .data = words, .size = sizeof words), &reply, IN_TIME);
        bool right = err < 0 || is_whole(&reply, number + 1);
        proc_message_clear(&reply);
        if (err < 0 || !right) {
            return (void *)(intptr_t)(right ? err : 1);
        }
    }
}

static void calls_to_a_killed_worker_all_end_with_epipe(void **state)
{
    (void)state;

    for (int round = 0; round < 125; round++) {
        proc_child *child = start_worker(answer_for_ever, NULL, NULL);
        pthread_t threads[4];

        for (size_t i = 0; i < COUNT(threads); i++) {
            assert_int_equal(pthread_create(&threads[i], NULL, call_until_it_fails, proc_child_channel(child)), 0);
        }
        let_live(3000);
        assert_int_equal(proc_child_kill(child, SIGKILL), 0);
        for (size_t i = 0; i < COUNT(threads); i++) {
            void *err;
            assert_int_equal(pthread_join(threads[i], &err), 0);
            assert_int_equal((intptr_t)err, -EPIPE);
        }
        proc_child_free(child);
    }
}

static int call_for_ever(proc_channel *parent, void *arg)
{
    (void)arg;
    for (;;) {
        proc_message reply;
        if (proc_channel_call(parent, MESSAGE(.type = 1), &reply, PROC_FOREVER) < 0) {
            return 1;
        }
        proc_message_clear(&reply);
    }
}

static void a_killed_caller_leaves_its_requests_to_be_answered_in_vain(void **state)
{
    (void)state;

    for (int round = 0; round < 125; round++) {
        proc_child *child = start_worker(call_for_ever, NULL, NULL);
        proc_channel *c = proc_child_channel(child);
        proc_message m;
        int err, most = (int)random_below(30);

        while ((err = proc_channel_recv(c, &m, IN_TIME)) == 0) {
            if (most-- == 0) {
                assert_int_equal(proc_child_kill(child, SIGKILL), 0);
            }
            int replied = proc_channel_reply(c, &m, ANSWER(.type = 2), IN_TIME);
            assert_true(replied == 0 || replied == -EPIPE);
        }
        assert_int_equal(err, -EPIPE);
        proc_child_free(child);
    }
}

/* ---- descriptors ---- */

static int send_descriptors(proc_channel *parent, void *arg)
{
    int fds[3] = {1, 2, 0};

    (void)arg;
    while (proc_channel_send(parent, MESSAGE(.fds = fds, .fd_count = 1 + random_below(3)), PROC_FOREVER) == 0) {
    }
    return 1;
}

static void descriptors_of_a_killed_sender_are_whole_or_closed(void **state)
{
    (void)state;
    size_t before = count_open();

    for (int round = 0; round < 150; round++) {
        proc_child *child = start_worker(send_descriptors, NULL, CHANNEL_OPTIONS(.max_fds = 3));
        proc_message m;
        int err;

        let_live(800);
        assert_int_equal(proc_child_kill(child, SIGKILL), 0);
        while ((err = proc_channel_recv(proc_child_channel(child), &m, IN_TIME)) == 0) {
            assert_true(m.fd_count >= 1 && m.fd_count <= 3);
            if (random_below(2) == 0) {
                int fd = proc_message_take_fd(&m, 0);
                assert_true(is_open(fd));
                close(fd);
            }
        }
        assert_int_equal(err, -EPIPE);
        proc_child_free(child);
        assert_int_equal(count_open(), before);
    }
}

enum { SENT_BEFORE_THE_END = 5 };

static int send_descriptors_and_end(proc_channel *parent, void *arg)
{
    static const int fd = 0;
    proc_message hello;

    (void)arg;
    if (proc_channel_recv(parent, &hello, PROC_FOREVER) < 0) {
        return 1;
    }
    for (uint32_t i = 0; i < SENT_BEFORE_THE_END; i++) {
        if (proc_channel_send(parent, MESSAGE(.type = i, .fds = &fd, .fd_count = 1), PROC_FOREVER) < 0) {
            return 1;
        }
    }
    return proc_channel_flush(parent, PROC_FOREVER) < 0;
}

static void all_descriptors_of_a_child_that_has_ended_are_received(void **state)
{
    (void)state;
    proc_child *child = start_worker(send_descriptors_and_end, NULL, CHANNEL_OPTIONS(.max_fds = 1));
    proc_channel *c = proc_child_channel(child);
    proc_message m;

    assert_int_equal(proc_channel_send(c, MESSAGE(.type = 1), IN_TIME), 0);
    assert_int_equal(proc_child_wait(child, IN_TIME, NULL), 0);

    for (uint32_t i = 0; i < SENT_BEFORE_THE_END; i++) {
        assert_int_equal(proc_channel_recv(c, &m, IN_TIME), 0);
        assert_int_equal(m.type, i);
        assert_int_equal(m.fd_count, 1);
    }
    expect_end(c, -EPIPE);
    proc_child_free(child);
}

/* ---- the first words, and the last ---- */

static void killed_before_it_has_said_a_word(void **state)
{
    (void)state;

    for (int round = 0; round < 200; round++) {
        proc_child *child = start_worker(answer_for_ever, NULL, NULL);
        proc_channel *c = proc_child_channel(child);
        proc_message reply;

        if (random_below(2) == 0) {
            let_live(200);
        }
        assert_int_equal(proc_child_kill(child, SIGKILL), 0);
        int err = proc_channel_call(c, MESSAGE(.type = 1, .data = "x", .size = 1), &reply, IN_TIME);
        assert_int_equal(err, -EPIPE);
        assert_int_equal(proc_channel_recv(c, &reply, IN_TIME), -EPIPE);
        proc_child_free(child);
    }
}

static void freed_in_the_middle_of_everything(void **state)
{
    (void)state;

    for (int round = 0; round < 150; round++) {
        size_t size = sizes[random_below(COUNT(sizes))];
        proc_child *child = start_worker(round % 2 == 0 ? send_for_ever : receive_for_ever, &size, NULL);
        char bytes[100] = {0};

        for (uint32_t i = random_below(50); i > 0; i--) {
            (void)proc_channel_post(proc_child_channel(child), MESSAGE(.data = bytes, .size = sizeof bytes));
        }
        let_live(300);
        proc_child_free(child); /* with no wait for its linger_ms: it is killed */
    }
}

/* ---- the parent is killed ---- */

typedef struct family {
    int told; /* where the worker says how it ended */
    size_t size;
} family;

static int end_with_the_parent(proc_channel *parent, void *arg)
{
    const family *f = arg;
    uint32_t *words = calloc(1, f->size);
    proc_message m;
    int err = 0;

    while (err == 0) {
        err = proc_channel_send(parent, MESSAGE(.data = words, .size = f->size), PROC_FOREVER);
        while (err == 0 && (err = proc_channel_recv(parent, &m, 0)) == 0) {
        }
        err = err == -ETIMEDOUT ? 0 : err;
    }
    char byte = err == -EPIPE || err == -EDEADLK ? 'p' : 'x';
    (void)!write(f->told, &byte, 1);
    return 0;
}

static int be_a_parent(proc_channel *none, void *arg)
{
    family *f = arg;
    proc_child *child = NULL;
    const proc_fd_map map = {.child = f->told, .parent = f->told};
    proc_message m;

    (void)none;
    if (proc_fork_call(&child, end_with_the_parent, f, OPTIONS(.fds = &map, .fd_count = 1)) < 0) {
        return 1;
    }
    uint32_t *words = calloc(1, f->size);
    for (;;) {
        (void)proc_channel_send(proc_child_channel(child), MESSAGE(.data = words, .size = f->size), 0);
        (void)proc_channel_recv(proc_child_channel(child), &m, 0);
    }
}

static void a_worker_whose_parent_is_killed_is_told_and_ends(void **state)
{
    (void)state;

    for (int round = 0; round < 200; round++) {
        int told[2];
        make_pipe(told);
        family f = {.told = told[1], .size = sizes[random_below(3)]};
        const proc_fd_map map = {.child = told[1], .parent = told[1]};
        proc_child *parent = NULL;

        assert_int_equal(proc_fork_call(&parent, be_a_parent, &f, OPTIONS(.fds = &map, .fd_count = 1)), 0);
        close(told[1]);
        let_live(3000);
        assert_int_equal(proc_child_kill(parent, SIGKILL), 0);
        char byte = 'n';
        struct pollfd end = {.fd = told[0], .events = POLLIN};
        assert_int_equal(poll(&end, 1, IN_TIME), 1);
        if (read(told[0], &byte, 1) == 1) {
            assert_int_equal(byte, 'p');
            assert_int_equal(read(told[0], &byte, 1), 0); /* and it has ended */
        }                                                 /* else it was killed before it had a worker */
        proc_child_free(parent);
        close(told[0]);
    }
}

/* Somebody else holds on to the channel until its standard input ends. */
static int ask_and_leave_a_holder(proc_channel *parent, void *arg)
{
    char byte;
    (void)arg;
    if (proc_channel_request(parent, MESSAGE(.type = 1), IN_TIME) < 0) {
        return 1;
    }
    if (fork() == 0) {
        while (read(0, &byte, 1) > 0) {
        }
        _exit(0);
    }
    return 0;
}

static void a_request_of_a_child_that_has_ended_is_given_up_though_a_grandchild_holds_the_channel(void **state)
{
    (void)state;
    proc_child *child = NULL;
    assert_int_equal(proc_fork_call(&child, ask_and_leave_a_holder, NULL, OPTIONS(.in.kind = PROC_PIPE)), 0);
    proc_channel *c = proc_child_channel(child);

    proc_message request = expect_request(c);
    struct pollfd end = {.fd = proc_child_exit_fd(child), .events = POLLIN};
    assert_int_equal(poll(&end, 1, IN_TIME), 1);

    assert_true(proc_channel_cancelled(c, &request));
    proc_child_free(child);
}

static const struct CMUnitTest tests[] = {
    TEST(every_whole_message_of_a_killed_sender_is_received),
    TEST(a_sender_whose_receiver_is_killed_is_told),
    TEST(calls_to_a_killed_worker_all_end_with_epipe),
    TEST(a_killed_caller_leaves_its_requests_to_be_answered_in_vain),
    TEST(descriptors_of_a_killed_sender_are_whole_or_closed),
    TEST(all_descriptors_of_a_child_that_has_ended_are_received),
    TEST(killed_before_it_has_said_a_word),
    TEST(freed_in_the_middle_of_everything),
    TEST(a_worker_whose_parent_is_killed_is_told_and_ends),
    TEST(a_request_of_a_child_that_has_ended_is_given_up_though_a_grandchild_holds_the_channel),
};

HARNESS_MAIN(tests)
