/*
 * PROC_PTY: a new terminal for the streams that say so, which controls the child; one end of it in the parent, shared by
 * those streams.
 */
#include "harness.h"

#define ON_TERMINAL .in.kind = PROC_PTY, .out.kind = PROC_PTY, .err.kind = PROC_PTY

/* Reads until what was read ends with this. */
static void await_text(proc_child *child, const char *ending)
{
    char got[1024] = "";
    size_t size = 0, length = strlen(ending);

    while (size < length || strcmp(got + size - length, ending) != 0) {
        ssize_t count = proc_child_read(child, 1, got + size, sizeof got - 1 - size, 30000);

        if (count <= 0) {
            fail_msg("read said %zd after '%s', not '%s'", count, got, ending);
        }
        size += (size_t)count;
        got[size] = '\0';
    }
}

static void the_terminal_controls_the_child(void **state)
{
    (void)state;
    outcome result = run_child(KID("isatty", "0", "isatty", "1", "isatty", "2", "job", "fds"), OPTIONS(ON_TERMINAL));

    assert_ended(result, 0);
    assert_non_null(strstr(result.out, "isatty 0 1"));
    assert_non_null(strstr(result.out, "isatty 1 1"));
    assert_non_null(strstr(result.out, "isatty 2 1"));
    assert_non_null(strstr(result.out, "tty yes"));
    assert_int_equal(number_field(result.out, "sid"), number_field(result.out, "pid"));
    assert_int_equal(number_field(result.out, "pgid"), number_field(result.out, "pid"));
    assert_int_equal(number_field(result.out, "foreground"), number_field(result.out, "pid"));
    assert_int_equal(count_fds(result.out), 3); /* the parent's end is not among them */
}

static void one_end_in_the_parent_serves_all_streams_of_the_terminal(void **state)
{
    (void)state;
    proc_child *child = start_child(KID("cat"), OPTIONS(ON_TERMINAL));
    int fd = proc_child_fd(child, 0);

    assert_true(fd > 2);
    assert_int_equal(proc_child_fd(child, 1), fd);
    assert_int_equal(proc_child_fd(child, 2), fd);
    assert_true((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    proc_child_free(child);
}

static void only_the_streams_that_say_so_are_the_terminal(void **state)
{
    (void)state;
    const char *const *argv = KID("report", "9", "isatty", "0", "isatty", "1", "isatty", "2", "job");

    for (int stream = 0; stream < 3; stream++) {
        int report[2];
        char said[1024] = "";
        size_t size = 0;
        ssize_t count;

        make_pipe(report);
        proc_options options = {.in.kind = PROC_NULL,
                                .out.kind = PROC_PIPE,
                                .err.kind = PROC_PIPE,
                                .fds = &(proc_fd_map){.child = 9, .parent = report[1]},
                                .fd_count = 1};
        *(stream == 0 ? &options.in : stream == 1 ? &options.out : &options.err) = (proc_stdio){.kind = PROC_PTY};
        proc_child *child = start_child(argv, &options);
        close(report[1]);
        while ((count = read(report[0], said + size, sizeof said - 1 - size)) > 0) {
            size += (size_t)count;
        }

        for (int other = 0; other < 3; other++) {
            assert_true(has_line(said, text("isatty %d %d", other, other == stream)));
        }
        assert_true(has_line(said, "tty yes"));
        assert_true(proc_child_fd(child, stream) >= 0);
        assert_int_equal(proc_child_wait(child, PROC_FOREVER, NULL), 0);
        proc_child_free(child);
        close(report[0]);
    }
}

static void a_group_that_cannot_have_the_terminal_is_refused(void **state)
{
    (void)state;
    outcome own = run_child(KID("exit", "0"), OPTIONS(.in.kind = PROC_PTY, .group = PROC_GROUP_OWN));
    outcome shared = run_child(KID("exit", "0"), OPTIONS(.err.kind = PROC_PTY, .group = PROC_GROUP_SHARED));
    outcome session = run_child(KID("exit", "0"), OPTIONS(ON_TERMINAL, .group = PROC_GROUP_SESSION));

    assert_refused(own, -EINVAL, PROC_STEP_OPTIONS, "group");
    assert_refused(shared, -EINVAL, PROC_STEP_OPTIONS, "group");
    assert_ended(session, 0);
}

static void read_says_0_when_the_terminal_hangs_up(void **state)
{
    (void)state;
    proc_child *child = start_child(KID("out", "last words"), OPTIONS(ON_TERMINAL));
    char got[32] = "";

    assert_int_equal(proc_child_read(child, 1, got, sizeof got - 1, 30000), 10);
    assert_string_equal(got, "last words");
    assert_int_equal(proc_child_read(child, 1, got, sizeof got, 30000), 0);
    assert_int_equal(proc_child_read(child, 0, got, sizeof got, 30000), 0);
    assert_int_equal(proc_child_wait(child, PROC_FOREVER, NULL), 0);
    proc_child_free(child);
}

static void a_read_with_nothing_to_read_times_out(void **state)
{
    (void)state;
    proc_child *child = start_child(KID("hang"), OPTIONS(ON_TERMINAL));
    char byte;

    assert_int_equal(proc_child_read(child, 1, &byte, 1, 0), -ETIMEDOUT);
    proc_child_free(child);
}

static void an_end_of_input_is_written_as_control_d(void **state)
{
    (void)state;
    proc_child *child = start_child(KID("noecho", "out", "ready", "cat", "out", "[end]"), OPTIONS(ON_TERMINAL));
    char byte;

    await_text(child, "ready");
    assert_int_equal(proc_child_write(child, "hello\n", 6, 30000), 6);
    await_text(child, "hello\n");
    assert_int_equal(proc_child_write(child, "\4", 1, 30000), 1);
    await_text(child, "[end]");

    assert_int_equal(proc_child_read(child, 1, &byte, 1, 30000), 0);
    assert_int_equal(proc_child_wait(child, PROC_FOREVER, NULL), 0);
    proc_child_free(child);
}

static void control_c_interrupts_the_child(void **state)
{
    (void)state;
    proc_child *child = start_child(KID("out", "ready", "hang"), OPTIONS(ON_TERMINAL));
    proc_status status;

    await_text(child, "ready");
    assert_int_equal(proc_child_write(child, "\3", 1, 30000), 1);

    assert_int_equal(proc_child_wait(child, PROC_FOREVER, &status), 0);
    assert_int_equal(status.state, PROC_SIGNALED);
    assert_int_equal(status.signal, SIGINT);
    proc_child_free(child);
}

static void the_terminal_hangs_up_when_the_last_stream_is_closed(void **state)
{
    (void)state;
    proc_child *child = start_child(KID("out", "ready", "hang"), OPTIONS(ON_TERMINAL));
    proc_status status;
    int fd = proc_child_fd(child, 1);

    await_text(child, "ready");
    assert_int_equal(proc_child_close(child, 0), 0);
    assert_int_equal(proc_child_close(child, 0), -EBADF);
    assert_int_equal(proc_child_fd(child, 0), -EBADF);
    assert_int_equal(proc_child_close(child, 2), 0);
    assert_int_equal(proc_child_fd(child, 1), fd);
    assert_true(is_open(fd));
    assert_int_equal(proc_child_wait(child, 0, &status), -ETIMEDOUT);
    assert_int_equal(proc_child_close(child, 1), 0);
    assert_false(is_open(fd));

    assert_int_equal(proc_child_wait(child, PROC_FOREVER, &status), 0);
    assert_int_equal(status.state, PROC_SIGNALED);
    assert_int_equal(status.signal, SIGHUP);
    proc_child_free(child);
}

static void much_output_comes_through_a_terminal_whole(void **state)
{
    (void)state;
    outcome result = run_child(KID("noecho", "write", "1", "200000"), OPTIONS(ON_TERMINAL));

    assert_ended(result, 0);
    assert_int_equal(result.out_size, 200000);
    for (size_t i = 0; i < result.out_size; i++) {
        if (result.out[i] != pattern_at(i)) {
            fail_msg("byte %zu is wrong", i);
        }
    }
}

static void terminals_are_given_back(void **state)
{
    (void)state;

    for (int i = 0; i < 300; i++) {
        outcome good = run_child(KID("out", "x"), OPTIONS(ON_TERMINAL));
        outcome bad = run_child(ARGV("/nonexistent/program"), OPTIONS(ON_TERMINAL));

        assert_ended(good, 0);
        assert_refused(bad, -ENOENT, PROC_STEP_EXEC, NULL);
    }
}

static void start_on_a_terminal_of_its_own(void *arg)
{
    (void)arg;
    assert_true(setsid() >= 0);
    outcome result = run_child(KID("job"), OPTIONS(ON_TERMINAL));

    assert_ended(result, 0);
    assert_int_equal(open("/dev/tty", O_RDWR | O_CLOEXEC), -1); /* it has become nobody else's */
}

static void a_session_leader_without_a_terminal_does_not_get_the_childs(void **state)
{
    (void)state;

    in_copy(start_on_a_terminal_of_its_own, NULL);
}

static const struct CMUnitTest tests[] = {
    TEST(the_terminal_controls_the_child),
    TEST(one_end_in_the_parent_serves_all_streams_of_the_terminal),
    TEST(only_the_streams_that_say_so_are_the_terminal),
    TEST(a_group_that_cannot_have_the_terminal_is_refused),
    TEST(read_says_0_when_the_terminal_hangs_up),
    TEST(a_read_with_nothing_to_read_times_out),
    TEST(an_end_of_input_is_written_as_control_d),
    TEST(control_c_interrupts_the_child),
    TEST(the_terminal_hangs_up_when_the_last_stream_is_closed),
    TEST(much_output_comes_through_a_terminal_whole),
    TEST(terminals_are_given_back),
    TEST(a_session_leader_without_a_terminal_does_not_get_the_childs),
};

HARNESS_MAIN(tests)
