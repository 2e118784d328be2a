/*
 * What proc_exec and proc_execfile feed to stdin, and that no order of reads and writes can lock the two processes.
 */
#include "lifeline.h"

enum { MIB = 1024 * 1024 };

static proc_options with_input(const void *data, size_t size)
{
    return (proc_options){.input = data, .input_size = size, .max_buffer = PROC_UNLIMITED, .timeout_ms = LATEST_MS};
}

/* ---- bytes in, bytes out ---- */

static void input_goes_through_a_child_unchanged(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 11, 4096, 65535, 65536, 65537, MIB, 3 * MIB + 1};
    const char *data = pattern_text(0, 3 * MIB + 1);

    for (size_t i = 0; i < COUNT(sizes); i++) {
        proc_options options = with_input(data, sizes[i]);
        proc_result result;

        assert_int_equal(run_file(&result, KID("cat"), &options), 0);
        assert_exited(result.status, 0);
        assert_int_equal(result.out_size, sizes[i]);
        assert_memory_equal(result.out, data, sizes[i]);
        assert_string_equal(result.err, "");
    }
}

static void every_byte_survives_the_way_in_and_out(void **state)
{
    (void)state;
    enum { SIZE = 256 * 300 };
    char *data = keep(malloc(SIZE));
    proc_options options = with_input(data, SIZE);
    proc_result result;

    for (int i = 0; i < SIZE; i++) {
        data[i] = (char)(i * 7 + i / 256); /* NUL, CR, what is no UTF-8, and no newline at the end */
    }
    assert_int_equal(run_file(&result, KID("cat"), &options), 0);

    assert_int_equal(result.out_size, SIZE);
    assert_memory_equal(result.out, data, SIZE);
}

static void input_reaches_a_shell(void **state)
{
    (void)state;
    proc_options options = with_input("hello world", 11);
    proc_result result;

    assert_int_equal(run_command(&result, "tr a-z A-Z | cat", &options), 0);

    assert_string_equal(result.out, "HELLO WORLD");
}

static void stdin_says_its_end_where_there_is_no_input(void **state)
{
    (void)state;
    proc_result by_default, empty, piped, null;

    assert_int_equal(run_file(&by_default, KID("count"), NULL), 0);
    assert_int_equal(run_file(&empty, KID("count"), OPTIONS(.input = "unused", .input_size = 0)), 0);
    assert_int_equal(run_file(&piped, KID("count"), OPTIONS(.in.kind = PROC_PIPE)), 0);
    assert_int_equal(run_file(&null, KID("count"), OPTIONS(.in.kind = PROC_NULL)), 0);

    assert_string_equal(by_default.out, "0\n");
    assert_string_equal(empty.out, "0\n");
    assert_string_equal(piped.out, "0\n");
    assert_string_equal(null.out, "0\n");
}

static void input_may_come_from_a_file_or_a_descriptor_instead(void **state)
{
    (void)state;
    const char *path = test_path("input");
    proc_result from_file, from_fd;
    int fd;

    write_file(path, "from a file", 0644);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(run_file(&from_file, KID("cat"), OPTIONS(.in = {.kind = PROC_FILE, .path = path})), 0);
    assert_int_equal(run_file(&from_fd, KID("cat"), OPTIONS(.in = {.kind = PROC_FD, .fd = fd})), 0);

    assert_string_equal(from_file.out, "from a file");
    assert_string_equal(from_fd.out, "from a file");
    close(fd);
}

/* ---- no deadlock ---- */

static void a_child_may_write_much_before_it_reads_anything(void **state)
{
    (void)state;
    proc_options options = with_input(pattern_text(0, MIB), MIB);
    proc_result result;

    assert_int_equal(run_file(&result, KID("write", "1", "1048576", "check"), &options), 0);

    assert_int_equal(result.out_size, MIB + strlen("1048576 good\n"));
    assert_string_equal(result.out + MIB, "1048576 good\n");
}

static void a_child_may_fill_one_stream_before_the_other(void **state)
{
    (void)state;
    proc_options options = with_input(pattern_text(0, MIB), MIB);
    proc_result result;

    assert_int_equal(run_file(&result, KID("write", "2", "1048576", "write", "1", "1048576", "check"), &options), 0);

    assert_int_equal(result.err_size, MIB);
    assert_int_equal(result.out_size, MIB + strlen("1048576 good\n"));
}

static void both_streams_may_be_filled_at_once_while_input_flows(void **state)
{
    (void)state;
    proc_options options = with_input(pattern_text(0, MIB), MIB);
    proc_result result;

    assert_int_equal(run_file(&result, KID("grandchild", "write", "2", "1048576", "--", "cat", "reap"), &options), 0);

    assert_int_equal(result.out_size, MIB);
    assert_int_equal(result.err_size, MIB);
    assert_memory_equal(result.out, options.input, MIB);
    assert_memory_equal(result.err, options.input, MIB);
}

/* ---- a child that does not read all ---- */

static void a_child_that_reads_nothing_and_ends_is_no_failure(void **state)
{
    (void)state;
    proc_options options = with_input(pattern_text(0, MIB), MIB);

    for (int round = 0; round < 30; round++) {
        proc_result result;

        assert_int_equal(run_file(&result, KID("exit", "3"), &options), 0);
        assert_exited(result.status, 3);
    }
}

static void a_child_that_stops_reading_runs_on(void **state)
{
    (void)state;
    proc_options options = with_input(pattern_text(0, MIB), MIB);
    proc_result some, closed;

    assert_int_equal(
        run_file(&some, KID("readbyte", "0", "closefd", "0", "write", "1", "200000", "exit", "1"), &options), 0);
    assert_int_equal(run_file(&closed, KID("closefd", "0", "sleep", "50", "out", "done"), &options), 0);

    assert_exited(some.status, 1);
    assert_int_equal(some.out_size, 200000);
    assert_exited(closed.status, 0);
    assert_string_equal(closed.out, "done");
}

static void a_child_that_never_reads_is_bounded_by_its_time(void **state)
{
    (void)state;
    proc_options options = with_input(pattern_text(0, MIB), MIB);
    proc_result result;

    options.timeout_ms = 100;
    assert_int_equal(run_file(&result, KID("hang"), &options), -ETIMEDOUT);

    assert_killed(result.status, SIGTERM);
    assert_true(result.status.timed_out);
}

static void a_child_that_never_reads_does_not_hold_up_its_output(void **state)
{
    (void)state;
    proc_options options = with_input(pattern_text(0, MIB), MIB);
    proc_result result;

    assert_int_equal(run_file(&result, KID("write", "1", "300000", "write", "2", "300000", "exit", "4"), &options), 0);

    assert_exited(result.status, 4);
    assert_int_equal(result.out_size, 300000);
    assert_int_equal(result.err_size, 300000);
}

static void input_that_nobody_takes_costs_no_processor_time(void **state)
{
    (void)state;
    proc_options options = with_input(pattern_text(0, MIB), MIB);
    proc_result unread, closed;
    int64_t begin = own_cpu_ms();

    assert_int_equal(run_file(&unread, KID("sleep", "300"), &options), 0);
    assert_int_equal(run_file(&closed, KID("closefd", "0", "sleep", "300"), &options), 0);

    assert_true(own_cpu_ms() - begin < 250);
}

/* ---- SIGPIPE ---- */

static volatile sig_atomic_t pipe_signals;

static void count_pipe_signal(int signo)
{
    (void)signo;
    pipe_signals++;
}

static void a_host_with_a_handler_for_sigpipe_sees_none(void **state)
{
    (void)state;
    proc_options options = with_input(pattern_text(0, MIB), MIB);
    struct sigaction counting = {.sa_handler = count_pipe_signal}, before;
    proc_result result;

    pipe_signals = 0;
    assert_int_equal(sigaction(SIGPIPE, &counting, &before), 0);
    assert_int_equal(run_file(&result, KID("closefd", "0", "exit", "0"), &options), 0);
    assert_int_equal(sigaction(SIGPIPE, &before, NULL), 0);

    assert_int_equal(pipe_signals, 0);
}

static void a_sigpipe_that_was_pending_stays_pending(void **state)
{
    (void)state;
    proc_options options = with_input(pattern_text(0, MIB), MIB);
    struct sigaction counting = {.sa_handler = count_pipe_signal}, before;
    sigset_t mask, old, pending;
    proc_result result;

    pipe_signals = 0;
    sigemptyset(&mask);
    sigaddset(&mask, SIGPIPE);
    assert_int_equal(pthread_sigmask(SIG_BLOCK, &mask, &old), 0);
    assert_int_equal(sigaction(SIGPIPE, &counting, &before), 0);
    raise(SIGPIPE);
    assert_int_equal(run_file(&result, KID("closefd", "0", "exit", "0"), &options), 0);
    sigpending(&pending);
    assert_int_equal(sigismember(&pending, SIGPIPE), 1);
    assert_int_equal(pthread_sigmask(SIG_SETMASK, &old, NULL), 0);
    assert_int_equal(sigaction(SIGPIPE, &before, NULL), 0);

    assert_int_equal(pipe_signals, 1);
}

static void with_sigpipe_blocked_none_is_left_pending(void **state)
{
    (void)state;
    proc_options options = with_input(pattern_text(0, MIB), MIB);
    sigset_t mask, old, pending;
    proc_result result;

    sigemptyset(&mask);
    sigaddset(&mask, SIGPIPE);
    assert_int_equal(pthread_sigmask(SIG_BLOCK, &mask, &old), 0);
    assert_int_equal(run_file(&result, KID("closefd", "0", "exit", "0"), &options), 0);
    sigpending(&pending);
    assert_int_equal(pthread_sigmask(SIG_SETMASK, &old, NULL), 0);

    assert_int_equal(sigismember(&pending, SIGPIPE), 0);
}

static const struct CMUnitTest tests[] = {
    TEST(input_goes_through_a_child_unchanged),
    TEST(every_byte_survives_the_way_in_and_out),
    TEST(input_reaches_a_shell),
    TEST(stdin_says_its_end_where_there_is_no_input),
    TEST(input_may_come_from_a_file_or_a_descriptor_instead),
    TEST(a_child_may_write_much_before_it_reads_anything),
    TEST(a_child_may_fill_one_stream_before_the_other),
    TEST(both_streams_may_be_filled_at_once_while_input_flows),
    TEST(a_child_that_reads_nothing_and_ends_is_no_failure),
    TEST(a_child_that_stops_reading_runs_on),
    TEST(a_child_that_never_reads_is_bounded_by_its_time),
    TEST(a_child_that_never_reads_does_not_hold_up_its_output),
    TEST(input_that_nobody_takes_costs_no_processor_time),
    TEST(a_host_with_a_handler_for_sigpipe_sees_none),
    TEST(a_sigpipe_that_was_pending_stays_pending),
    TEST(with_sigpipe_blocked_none_is_left_pending),
};

HARNESS_MAIN(tests)
