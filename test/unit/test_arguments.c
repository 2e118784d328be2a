/*
 * Arguments that make no sense: each call refuses them with the error that is said for it, touches nothing, and goes on to
 * work with those that do.
 */
#include "events.h"

#include <limits.h>
#include <poll.h>
#include <sys/mman.h>

static void streams_want_a_buffer_a_size_and_a_time(void **state)
{
    (void)state;
    char byte;
    proc_child *child = start_child(KID("cat"), OPTIONS(.in.kind = PROC_PIPE, .out.kind = PROC_PIPE));

    assert_int_equal(proc_child_read(child, 1, NULL, 1, 0), -EINVAL);
    assert_int_equal(proc_child_read(child, 1, &byte, 0, 0), -EINVAL);
    assert_int_equal(proc_child_read(child, 1, &byte, 1, -2), -EINVAL);
    assert_int_equal(proc_child_read(NULL, 1, &byte, 1, 0), -EINVAL);
    assert_int_equal(proc_child_write(child, NULL, 1, 0), -EINVAL);
    assert_int_equal(proc_child_write(child, "x", (size_t)SSIZE_MAX + 1, 0), -EINVAL);
    assert_int_equal(proc_child_write(child, "x", 1, -2), -EINVAL);
    assert_int_equal(proc_child_write(NULL, "x", 1, 0), -EINVAL);
    assert_int_equal(proc_child_write(child, NULL, 0, 0), 0);

    assert_int_equal(proc_child_write(child, "x", 1, PROC_FOREVER), 1);
    assert_int_equal(proc_child_read(child, 1, &byte, 1, PROC_FOREVER), 1);
    proc_child_free(child);
}

static void streams_that_are_not_there_say_so(void **state)
{
    (void)state;
    char byte;
    proc_child *child = start_child(KID("hang"), OPTIONS(.out.kind = PROC_PIPE));

    assert_int_equal(proc_child_read(child, 2, &byte, 1, 0), -EBADF);
    assert_int_equal(proc_child_read(child, 3, &byte, 1, 0), -EBADF);
    assert_int_equal(proc_child_read(child, -1, &byte, 1, 0), -EBADF);
    assert_int_equal(proc_child_write(child, "x", 1, 0), -EBADF);
    assert_int_equal(proc_child_fd(child, 0), -EBADF);
    assert_int_equal(proc_child_close(child, 0), -EBADF);
    proc_child_free(child);

    child = start_child(KID("hang"), OPTIONS(.in.kind = PROC_PIPE));
    assert_int_equal(proc_child_read(child, 0, &byte, 1, 0), -EBADF); /* written, not read: it is no terminal */
    proc_child_free(child);
}

static void a_wait_a_stop_and_a_signal_want_a_child(void **state)
{
    (void)state;

    assert_int_equal(proc_child_wait(NULL, 0, NULL), -EINVAL);
    assert_int_equal(proc_child_stop(NULL, 0, NULL), -EINVAL);
    assert_int_equal(proc_child_kill(NULL, 0), -EINVAL);
    assert_int_equal(proc_child_exit_fd(NULL), -EINVAL);
    assert_int_equal(proc_child_close(NULL, 0), -EINVAL);
    assert_int_equal(proc_child_fd(NULL, 0), -EINVAL);
    assert_int_equal(proc_child_pid(NULL), -EINVAL);
    assert_null(proc_child_channel(NULL));
}

static void channels_want_a_channel_and_a_time(void **state)
{
    (void)state;
    static const proc_message request = {.id = 1, .flags = PROC_REQUEST};
    proc_message m;
    proc_channel *ends[2];

    assert_int_equal(proc_channel_fd(NULL), -EINVAL);
    assert_int_equal(proc_channel_write_fd(NULL), -EINVAL);
    assert_int_equal(proc_channel_events(NULL), 0);
    assert_int_equal(proc_channel_timeout(NULL), 0);
    assert_int_equal(proc_channel_pending(NULL), 0);
    assert_int_equal(proc_channel_recv(NULL, &m, 0), -EINVAL);
    assert_int_equal(proc_channel_post(NULL, MESSAGE(.type = 1)), -EINVAL);
    assert_int_equal(proc_channel_flush(NULL, 0), -EINVAL);
    assert_int_equal(proc_channel_shutdown(NULL), -EINVAL);
    assert_int_equal(proc_channel_cancel(NULL, 1), -EINVAL);
    assert_int_equal(proc_channel_reply(NULL, &request, ANSWER(.type = 1), 0), -EINVAL);
    assert_false(proc_channel_cancelled(NULL, &request));
    proc_channel_free(NULL);

    make_pair(ends, NULL);
    assert_int_equal(proc_channel_recv(ends[0], NULL, 0), -EINVAL);
    assert_int_equal(proc_channel_recv(ends[0], &m, -2), -EINVAL);
    assert_int_equal(proc_channel_send(ends[0], MESSAGE(.type = 1), -2), -EINVAL);
    assert_int_equal(proc_channel_flush(ends[0], -2), -EINVAL);
    assert_int_equal(proc_channel_call(ends[0], MESSAGE(.type = 1), &m, -2), -EINVAL);
    assert_int_equal(proc_channel_call(ends[0], MESSAGE(.type = 1), NULL, 0), -EINVAL);
    assert_int_equal(proc_channel_request(ends[0], MESSAGE(.type = 1), -2), -EINVAL);
    assert_int_equal(proc_channel_reply(ends[0], NULL, ANSWER(.type = 1), 0), -EINVAL);
    assert_int_equal(proc_channel_reply(ends[0], &request, ANSWER(.type = 1), -2), -EINVAL);
    assert_int_equal(proc_channel_cancel(ends[0], 0), -EINVAL);
    assert_int_equal(proc_channel_cancel(ends[0], (int64_t)1 << 32), -EINVAL);
    assert_false(proc_channel_cancelled(ends[0], NULL));
    expect_nothing(ends[1]);
    free_pair(ends);
}

static void messages_want_what_they_count(void **state)
{
    (void)state;
    proc_channel *ends[2];

    make_pair(ends, NULL);
    assert_int_equal(proc_channel_post(ends[0], NULL), -EINVAL);
    assert_int_equal(proc_channel_post(ends[0], MESSAGE(.size = 1)), -EINVAL);
    assert_int_equal(proc_channel_post(ends[0], MESSAGE(.fd_count = 1)), -EINVAL);
    assert_int_equal(proc_channel_post(ends[0], ASK(.type = 1)), -EINVAL);
    assert_int_equal(proc_channel_send(ends[0], MESSAGE(.size = 1), 0), -EINVAL);
    assert_int_equal(proc_channel_request(ends[0], MESSAGE(.size = 1), 0), -EINVAL);
    assert_int_equal(proc_channel_request(ends[0], ANSWER(.type = 1), 0), -EINVAL);
    assert_int_equal(proc_channel_pending(ends[0]), 0);
    expect_nothing(ends[1]);
    free_pair(ends);
}

static void descriptors_are_taken_from_messages_that_have_them(void **state)
{
    (void)state;
    proc_message none = {.type = 1}, m;
    proc_channel *ends[2];

    assert_int_equal(proc_message_take_fd(NULL, 0), -EINVAL);
    assert_int_equal(proc_message_take_fd(&none, 0), -EBADF);
    proc_message_clear(NULL);

    make_pair(ends, CHANNEL_OPTIONS(.max_fds = 1));
    assert_int_equal(proc_channel_send(ends[0], MESSAGE(.fds = (const int[]){1}, .fd_count = 1), IN_TIME), 0);
    assert_int_equal(proc_channel_recv(ends[1], &m, IN_TIME), 0);
    assert_int_equal(proc_message_take_fd(&m, 1), -EBADF);
    int fd = proc_message_take_fd(&m, 0);
    assert_true(fd > 2);
    assert_int_equal(proc_message_take_fd(&m, 0), -EBADF);
    close(fd);
    free_pair(ends);
}

/* Those of a reply are none of a message's that recv handed out: the reply owns its memory, and may have no descriptors. */
static void a_reply_without_descriptors_gives_none(void **state)
{
    (void)state;
    proc_channel *ends[2];
    proc_message request, reply;

    make_pair(ends, NULL);
    int64_t id = ask(ends[0], 1);
    assert_true(id > 0);
    request = expect_request(ends[1]);
    assert_int_equal(proc_channel_reply(ends[1], &request, ANSWER(.type = 2), IN_TIME), 0);
    reply = expect_reply(ends[0], id, PROC_REPLY);
    assert_int_equal(proc_message_take_fd(&reply, 0), -EBADF);
    free_pair(ends);
}

static void what_is_cleared_early_closes_its_descriptors_then(void **state)
{
    (void)state;
    proc_channel *ends[2];
    proc_message m;
    int pipe_ends[2];

    make_pair(ends, CHANNEL_OPTIONS(.max_fds = 1));
    make_pipe(pipe_ends);
    assert_int_equal(
        proc_channel_send(ends[0], MESSAGE(.fds = &pipe_ends[1], .fd_count = 1, .data = "x", .size = 1), IN_TIME), 0);
    close(pipe_ends[1]);
    assert_int_equal(proc_channel_recv(ends[1], &m, IN_TIME), 0);
    proc_message_clear(&m);

    await_end(pipe_ends[0]);
    assert_memory_equal(m.data, "x", 1); /* the bytes stay until the next recv */
    assert_int_equal(proc_message_take_fd(&m, 0), -EBADF);
    close(pipe_ends[0]);
    free_pair(ends);
}

static void channel_options_have_bounds(void **state)
{
    (void)state;
    const proc_channel_options bad[] = {
        {.max_message = 1},      {.max_message = (size_t)512 * 1024 * 1024},
        {.max_fds = 251},        {.frame_ms = -2},
        {.hello_ms = -2},        {.linger_ms = -2},
        {.reserved = {[7] = 1}},
    };

    for (size_t i = 0; i < COUNT(bad); i++) {
        proc_channel *ends[2] = {(proc_channel *)&bad, (proc_channel *)&bad};

        assert_int_equal(proc_channel_pair(ends, &bad[i]), -EINVAL);
        assert_null(ends[0]);
        assert_null(ends[1]);
    }
    assert_int_equal(proc_channel_pair(NULL, NULL), -EINVAL);
}

static void ring(void *ctx)
{
    ++*(int *)ctx;
}

static void see_fd(int fd, short revents, void *ctx)
{
    (void)fd;
    (void)revents;
    ring(ctx);
}

static void see_signal(int signal, void *ctx)
{
    (void)signal;
    ring(ctx);
}

static void loops_want_a_loop(void **state)
{
    (void)state;
    int count = 0;
    proc_channel *ends[2];

    make_pair(ends, NULL);
    assert_int_equal(proc_loop_timeout(NULL), 0);
    assert_int_equal(proc_loop_fd(NULL), -EINVAL);
    assert_int_equal(proc_loop_run(NULL, 0), -EINVAL);
    assert_int_equal(proc_loop_step(NULL, 0), -EINVAL);
    assert_int_equal(proc_loop_add_fd(NULL, 1, POLLIN, see_fd, &count), -EINVAL);
    assert_int_equal(proc_loop_add_timer(NULL, 0, 0, ring, &count), -EINVAL);
    assert_int_equal(proc_loop_add_signal(NULL, SIGUSR1, see_signal, &count), -EINVAL);
    assert_int_equal(proc_loop_add_channel(NULL, ends[0], &noting, NULL), -EINVAL);
    assert_int_equal(proc_loop_remove_fd(NULL, 1), -EINVAL);
    assert_int_equal(proc_loop_remove_timer(NULL, 1), -EINVAL);
    assert_int_equal(proc_loop_remove_signal(NULL, SIGUSR1), -EINVAL);
    assert_int_equal(proc_loop_remove_channel(NULL, ends[0]), -EINVAL);
    assert_int_equal(proc_loop_remove_child(NULL, NULL), -EINVAL);
    proc_loop_stop(NULL);
    proc_loop_free(NULL);
    assert_int_equal(count, 0);
    free_pair(ends);
}

static void loops_want_what_can_be_in_them(void **state)
{
    (void)state;
    static const proc_handlers reserved = {.reserved = {[3] = abort}};
    proc_loop *loop = make_loop(), *other = make_loop();
    proc_channel *ends[2];

    make_pair(ends, NULL);
    assert_int_equal(proc_loop_add_channel(loop, NULL, &noting, NULL), -EINVAL);
    assert_int_equal(proc_loop_add_channel(loop, ends[0], NULL, NULL), -EINVAL);
    assert_int_equal(proc_loop_add_channel(loop, ends[0], &reserved, NULL), -EINVAL);
    assert_int_equal(proc_loop_remove_channel(loop, NULL), -EINVAL);
    assert_int_equal(proc_loop_remove_channel(loop, ends[0]), -ENOENT);
    assert_int_equal(proc_loop_add_channel(other, ends[0], &noting, NULL), 0);
    assert_int_equal(proc_loop_add_channel(loop, ends[0], &noting, NULL), -EEXIST);
    assert_int_equal(proc_loop_remove_channel(loop, ends[0]), -ENOENT);

    assert_int_equal(proc_loop_remove_fd(loop, -1), -ENOENT);
    assert_int_equal(proc_loop_remove_fd(loop, 60000), -ENOENT);
    assert_int_equal(proc_loop_remove_timer(loop, 0), -ENOENT);
    assert_int_equal(proc_loop_remove_timer(loop, -1), -ENOENT);
    assert_int_equal(proc_loop_remove_timer(loop, INT_MAX), -ENOENT);
    assert_int_equal(proc_loop_remove_signal(loop, 0), -EINVAL);
    assert_int_equal(proc_loop_remove_signal(loop, 10000), -EINVAL);
    assert_int_equal(proc_loop_remove_signal(loop, SIGUSR1), -ENOENT);
    proc_loop_free(other);
    proc_loop_free(loop);
    free_pair(ends);
}

static void the_id_of_a_timer_that_is_gone_is_nobodys(void **state)
{
    (void)state;
    proc_loop *loop = make_loop();
    int count = 0, first = proc_loop_add_timer(loop, 0, 0, ring, &count);

    assert_true(first > 0);
    assert_int_equal(proc_loop_remove_timer(loop, first), 0);
    int second = proc_loop_add_timer(loop, 0, 0, ring, &count); /* in the very same place */
    assert_int_not_equal(first, second);
    assert_int_equal(proc_loop_remove_timer(loop, first), -ENOENT);
    run_loop(loop);
    assert_int_equal(count, 1);
    assert_int_equal(proc_loop_remove_timer(loop, second), -ENOENT);
    proc_loop_free(loop);
}

static void options_of_a_start_have_bounds(void **state)
{
    (void)state;
    const mode_t mask = 01777;
    const proc_fd_map map = {.child = 5, .parent = 1};

    outcome odd_umask = run_child(KID("out", "ran"), OPTIONS(.umask = &mask));
    outcome many = run_child(KID("out", "ran"), OPTIONS(.fds = &map, .fd_count = (size_t)INT_MAX / 2 + 1));

    assert_refused(odd_umask, -EINVAL, PROC_STEP_OPTIONS, "umask");
    assert_refused(many, -EINVAL, PROC_STEP_OPTIONS, "fd_count");
}

static void a_run_without_a_place_for_its_result_says_so(void **state)
{
    (void)state;
    proc_error error;

    assert_int_equal(proc_exec(NULL, "true", OPTIONS(.error = &error)), -EINVAL);
    assert_int_equal(error.step, PROC_STEP_OPTIONS);
    assert_string_equal(error.subject, "result");
    assert_int_equal(proc_execfile(NULL, ARGV("true"), NULL), -EINVAL);
    assert_int_equal(proc_spawn(NULL, ARGV("true"), OPTIONS(.error = &error)), -EINVAL);
    assert_string_equal(error.subject, "child");
    assert_int_equal(proc_spawn(NULL, ARGV("true"), NULL), -EINVAL);
}

static void this_program_again_is_another_one_where_the_options_name_it(void **state)
{
    (void)state;
    proc_error error;
    proc_status status;
    proc_child *child = (proc_child *)&error;

    if (POSIX_BUILD) { /* which cannot tell how it was started */
        assert_int_equal(proc_fork(&child, NULL, OPTIONS(.error = &error)), -ENOTSUP);
        assert_null(child);
        assert_int_equal(error.step, PROC_STEP_OPTIONS);
        assert_string_equal(error.subject, "argv");
        assert_int_equal(proc_fork(&child, NULL, NULL), -ENOTSUP);
        assert_int_equal(proc_fork(&child, NULL, OPTIONS(.cwd = "/")), -ENOTSUP);
        assert_true(proc_fork(NULL, NULL, NULL) < 0);
        return;
    }
    assert_int_equal(proc_fork(NULL, NULL, NULL), -EINVAL);
    assert_int_equal(proc_fork(&child, NULL, OPTIONS(.file = "/nonexistent/program", .error = &error)), -ENOENT);
    assert_string_equal(error.subject, "/nonexistent/program");
    assert_int_equal(proc_fork(&child, NULL, OPTIONS(.file = "true")), 0);
    assert_int_equal(proc_child_wait(child, IN_TIME, &status), 0);
    assert_true(proc_status_ok(&status));
    proc_child_free(child);
}

/* Half a gigabyte that takes no memory: the same pages again and again. */
static void a_word_whose_quoted_length_no_int_can_tell_is_refused(void **state)
{
    (void)state;
    const size_t piece = (size_t)1 << 22, count = ((size_t)INT_MAX / 4) / piece + 1;
    int fd = open(test_path("word"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    char *letters = keep(malloc(piece));

    memset(letters, 'a', piece);
    assert_true(write(fd, letters, piece) == (ssize_t)piece);
    char *word =
        mmap(NULL, (count + 1) * piece, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_true(word != MAP_FAILED);
    for (size_t i = 0; i < count; i++) {
        assert_true(mmap(word + i * piece, piece, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0) != MAP_FAILED);
    }
    assert_int_equal(proc_shell_quote(word, NULL, 0), -EOVERFLOW);
    munmap(word, (count + 1) * piece);
    close(fd);
}

static void a_status_that_is_none_has_a_text(void **state)
{
    (void)state;
    char buffer[64];
    const proc_status odd = {.state = (proc_state)99};

    assert_int_equal(proc_status_format(&odd, buffer, sizeof buffer), 7);
    assert_string_equal(buffer, "unknown");
    assert_int_equal(proc_status_format(NULL, buffer, sizeof buffer), -EINVAL);
    assert_int_equal(proc_status_format(&odd, NULL, 1), -EINVAL);
}

static const struct CMUnitTest tests[] = {
    TEST(streams_want_a_buffer_a_size_and_a_time),
    TEST(streams_that_are_not_there_say_so),
    TEST(a_wait_a_stop_and_a_signal_want_a_child),
    TEST(channels_want_a_channel_and_a_time),
    TEST(messages_want_what_they_count),
    TEST(descriptors_are_taken_from_messages_that_have_them),
    TEST(a_reply_without_descriptors_gives_none),
    TEST(what_is_cleared_early_closes_its_descriptors_then),
    TEST(channel_options_have_bounds),
    TEST(loops_want_a_loop),
    TEST(loops_want_what_can_be_in_them),
    TEST(the_id_of_a_timer_that_is_gone_is_nobodys),
    TEST(options_of_a_start_have_bounds),
    TEST(a_run_without_a_place_for_its_result_says_so),
    TEST(this_program_again_is_another_one_where_the_options_name_it),
    TEST(a_word_whose_quoted_length_no_int_can_tell_is_refused),
    TEST(a_status_that_is_none_has_a_text),
};

HARNESS_MAIN(tests)
