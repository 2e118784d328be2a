/*
 * The three standard streams: every kind on every stream as the child sees it, files, merging, and bytes that go through
 * pipes between the parent, one child and the next.
 */
#include "harness.h"

static const char *const stream_names[3] = {"in", "out", "err"};

static void set_stream(proc_options *options, int stream, proc_stdio stdio)
{
    proc_stdio *const streams[3] = {&options->in, &options->out, &options->err};

    *streams[stream] = stdio;
}

/* Starts the kid with one stream as given; it tells its descriptors through descriptor 9. */
static outcome view_with(int stream, proc_stdio stdio, fd_view *view)
{
    int report[2];
    outcome result = {0};
    proc_child *child;

    make_pipe(report);
    proc_options options = {
        .fds = &(proc_fd_map){.child = 9, .parent = report[1]}, .fd_count = 1, .error = &result.error};
    set_stream(&options, stream, stdio);
    result.err = proc_spawn(&child, KID("report", "9", "fds"), &options);
    close(report[1]);
    if (result.err == 0) {
        char buffer[4096] = "";
        size_t used = 0;
        ssize_t count;

        while ((count = read(report[0], buffer + used, sizeof buffer - used - 1)) > 0) {
            used += (size_t)count;
        }
        result.out = strcpy(keep(malloc(used + 1)), buffer);
        assert_int_equal(proc_child_wait(child, PROC_FOREVER, &result.status), 0);
        assert_int_equal(result.status.code, 0);
        assert_true(find_fd(result.out, stream, view));
        assert_int_equal(count_fds(result.out), 4); /* 0, 1, 2 and 9 */
        assert_false(view->close_on_exec);
        proc_child_free(child);
    } else {
        assert_null(child);
    }
    close(report[0]);
    return result;
}

static void assert_direction(const fd_view *view, int stream)
{
    assert_true(stream == 0 ? view->readable : view->writable);
}

/* ---- each kind ---- */

static void inherited_streams_are_the_parents(void **state)
{
    (void)state;
    static const proc_stdio_kind kinds[] = {PROC_DEFAULT, PROC_INHERIT};

    for (int stream = 0; stream < 3; stream++) {
        for (size_t i = 0; i < COUNT(kinds); i++) {
            fd_view view;

            view_with(stream, (proc_stdio){.kind = kinds[i]}, &view);
            assert_true(shows_file_of(&view, stream));
        }
    }
}

static void null_streams_are_the_null_device(void **state)
{
    (void)state;

    for (int stream = 0; stream < 3; stream++) {
        fd_view view;

        view_with(stream, (proc_stdio){.kind = PROC_NULL}, &view);
        assert_true(shows_null(&view));
        assert_direction(&view, stream);
    }
}

static void piped_streams_are_real_pipes_and_block_in_the_child(void **state)
{
    (void)state;

    for (int stream = 0; stream < 3; stream++) {
        fd_view view;

        view_with(stream, (proc_stdio){.kind = PROC_PIPE}, &view);
        assert_string_equal(view.kind, "fifo");
        assert_false(view.nonblocking);
        assert_direction(&view, stream);
    }
}

static void the_parents_ends_of_pipes_are_its_own(void **state)
{
    (void)state;
    proc_child *child =
        start_child(KID("cat"), OPTIONS(.in.kind = PROC_PIPE, .out.kind = PROC_PIPE, .err.kind = PROC_PIPE));

    for (int stream = 0; stream < 3; stream++) {
        int fd = proc_child_fd(child, stream);
        struct stat st;

        assert_true(fd > 2);
        assert_int_equal(fstat(fd, &st), 0);
        assert_true(S_ISFIFO(st.st_mode));
        assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
        assert_int_equal(fcntl(fd, F_GETFL) & O_NONBLOCK, stream == 0 ? O_NONBLOCK : 0);
        assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, stream == 0 ? O_WRONLY : O_RDONLY);
    }
    proc_child_free(child);
}

static void a_stream_that_is_no_pipe_has_no_end_in_the_parent(void **state)
{
    (void)state;
    proc_child *child =
        start_child(KID("exit", "0"), OPTIONS(.in.kind = PROC_NULL, .out.kind = PROC_INHERIT, .err.kind = PROC_MERGE));

    for (int stream = -1; stream < 5; stream++) {
        assert_int_equal(proc_child_fd(child, stream), -EBADF);
    }
    assert_int_equal(proc_child_wait(child, PROC_FOREVER, NULL), 0);
    proc_child_free(child);
}

static void a_descriptor_of_the_parent_may_be_a_stream_and_stays_open(void **state)
{
    (void)state;

    for (int stream = 0; stream < 3; stream++) {
        int fd = open(test_path(stream_names[stream]), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        fd_view view;

        view_with(stream, (proc_stdio){.kind = PROC_FD, .fd = fd}, &view);
        assert_true(shows_file_of(&view, fd));
        assert_true(is_open(fd));
        assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
        close(fd);
    }
}

static void one_descriptor_may_be_all_three_streams(void **state)
{
    (void)state;
    int fd = open(test_path("all"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    const proc_stdio all = {.kind = PROC_FD, .fd = fd};

    outcome result = run_child(KID("out", "a", "err", "b", "out", "c"), OPTIONS(.in = all, .out = all, .err = all));

    assert_ended(result, 0);
    assert_string_equal(read_file(test_path("all")), "abc");
    close(fd);
}

static void a_file_is_opened_for_its_stream(void **state)
{
    (void)state;

    for (int stream = 0; stream < 3; stream++) {
        const char *path = test_path(stream_names[stream]);
        fd_view view;
        int fd;

        write_file(path, "old content", 0600);
        view_with(stream, (proc_stdio){.kind = PROC_FILE, .path = path}, &view);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        assert_true(shows_file_of(&view, fd));
        assert_true(stream == 0 ? view.readable && !view.writable : view.writable && !view.readable);
        assert_string_equal(read_file(path), stream == 0 ? "old content" : "");
        close(fd);
    }
}

static void merge_sends_errors_wherever_output_goes(void **state)
{
    (void)state;
    int file = open(test_path("fd"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    const proc_stdio outs[] = {
        {.kind = PROC_DEFAULT}, {.kind = PROC_INHERIT},        {.kind = PROC_NULL},
        {.kind = PROC_PIPE},    {.kind = PROC_FD, .fd = file}, {.kind = PROC_FILE, .path = test_path("file")},
        {.kind = PROC_PTY},
    };

    for (size_t i = 0; i < COUNT(outs); i++) {
        int report[2];
        fd_view out, err;

        make_pipe(report);
        proc_child *child =
            start_child(KID("report", "9", "fds"), OPTIONS(.out = outs[i], .err.kind = PROC_MERGE, .fd_count = 1,
                                                           .fds = &(proc_fd_map){.child = 9, .parent = report[1]}));
        close(report[1]);
        char buffer[2048] = "";
        assert_true(read(report[0], buffer, sizeof buffer - 1) > 0);
        assert_true(find_fd(buffer, 1, &out));
        assert_true(find_fd(buffer, 2, &err));
        assert_int_equal(out.inode, err.inode);
        assert_int_equal(out.device, err.device);
        assert_int_equal(proc_child_fd(child, 2), -EBADF);
        assert_int_equal(proc_child_wait(child, PROC_FOREVER, NULL), 0);
        proc_child_free(child);
        close(report[0]);
    }
    close(file);
}

static void merge_follows_an_output_that_is_among_the_further_descriptors(void **state)
{
    (void)state;
    int file = open(test_path("mapped"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    proc_child *child =
        start_child(KID("out", "1", "err", "2", "out", "3"),
                    OPTIONS(.err.kind = PROC_MERGE, .fd_count = 1, .fds = &(proc_fd_map){.child = 1, .parent = file}));

    assert_int_equal(proc_child_wait(child, PROC_FOREVER, NULL), 0);
    assert_string_equal(read_file(test_path("mapped")), "123");
    proc_child_free(child);
    close(file);
}

static void merged_streams_keep_their_order(void **state)
{
    (void)state;
    const char *path = test_path("both");
    const char *const *argv = KID("out", "one ", "err", "two ", "out", "three ", "err", "four");
    outcome piped = run_child(argv, OPTIONS(.err.kind = PROC_MERGE));
    outcome filed = run_child(argv, OPTIONS(.out = {.kind = PROC_FILE, .path = path}, .err.kind = PROC_MERGE));

    assert_ended(piped, 0);
    assert_ended(filed, 0);
    assert_string_equal(piped.out, "one two three four");
    assert_string_equal(read_file(path), "one two three four");
}

/* ---- files ---- */

static void a_file_that_is_made_has_the_mode_that_was_asked_for_less_the_umask(void **state)
{
    (void)state;
    static const struct {
        mode_t asked, made;
    } cases[] = {{0, 0640}, {0600, 0600}, {0755, 0750}};
    const mode_t childs = 0777;
    mode_t before = umask(0027);

    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *path = test_path(text("made%zu", i));
        struct stat st;
        outcome result =
            run_child(KID("out", "x"),
                      OPTIONS(.out = {.kind = PROC_FILE, .path = path, .mode = cases[i].asked}, .umask = &childs));

        assert_ended(result, 0);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 07777, cases[i].made);
    }
    umask(before);
}

static void flags_of_a_file_replace_the_default(void **state)
{
    (void)state;
    const char *path = test_path("log");

    write_file(path, "first,", 0600);
    outcome appended = run_child(KID("out", "second"),
                                 OPTIONS(.out = {.kind = PROC_FILE, .path = path, .flags = O_WRONLY | O_APPEND}));
    outcome both =
        run_child(KID("out", "third"), OPTIONS(.in = {.kind = PROC_FILE, .path = path, .flags = O_RDWR | O_APPEND}));
    outcome exclusive = run_child(
        KID("out", "x"), OPTIONS(.out = {.kind = PROC_FILE, .path = path, .flags = O_WRONLY | O_CREAT | O_EXCL}));
    outcome absent =
        run_child(KID("out", "x"),
                  OPTIONS(.err = {.kind = PROC_FILE, .path = test_path("absent"), .flags = O_WRONLY | O_APPEND}));

    assert_ended(appended, 0);
    assert_ended(both, 0);
    assert_string_equal(read_file(path), "first,second");
    assert_refused(exclusive, -EEXIST, PROC_STEP_OPEN, path);
    assert_refused(absent, -ENOENT, PROC_STEP_OPEN, test_path("absent"));
}

static void a_file_that_cannot_be_opened_is_named_and_all_else_given_back(void **state)
{
    (void)state;
    const char *missing = test_path("missing/file");
    outcome in = run_child(KID("exit", "0"), OPTIONS(.in = {.kind = PROC_FILE, .path = missing}));
    outcome err =
        run_child(KID("exit", "0"), OPTIONS(.in.kind = PROC_PIPE, .err = {.kind = PROC_FILE, .path = missing}));
    outcome directory = run_child(KID("exit", "0"), OPTIONS(.out = {.kind = PROC_FILE, .path = test_dir()}));

    assert_refused(in, -ENOENT, PROC_STEP_OPEN, missing);
    assert_refused(err, -ENOENT, PROC_STEP_OPEN, missing);
    assert_refused(directory, -EISDIR, PROC_STEP_OPEN, test_dir());
}

static void start_in_the_test_directory(void *arg)
{
    assert_int_equal(chdir(arg), 0);
    outcome result = run_child(KID("cat"), OPTIONS(.cwd = "/", .in = {.kind = PROC_FILE, .path = "input"},
                                                   .out = {.kind = PROC_FILE, .path = "output"}));

    assert_ended(result, 0);
    assert_string_equal(read_file("output"), "found");
}

static void a_files_path_is_relative_to_the_parents_directory(void **state)
{
    (void)state;

    write_file(test_path("input"), "found", 0600);
    in_copy(start_in_the_test_directory, (void *)test_dir());
}

/* ---- bytes ---- */

static void what_is_written_to_a_child_it_reads_until_the_end(void **state)
{
    (void)state;
    proc_child *child =
        start_child(KID("cat"), OPTIONS(.in.kind = PROC_PIPE, .out.kind = PROC_PIPE, .err.kind = PROC_PIPE));
    proc_status status;

    assert_int_equal(proc_child_write(child, "hello", 5, PROC_FOREVER), 5);
    assert_int_equal(proc_child_write(child, " ", 1, PROC_FOREVER), 1);
    assert_int_equal(proc_child_write(child, "world", 5, PROC_FOREVER), 5);
    assert_int_equal(proc_child_close(child, 0), 0);

    assert_string_equal(read_stream(child, 1, NULL), "hello world");
    assert_string_equal(read_stream(child, 2, NULL), "");
    assert_int_equal(proc_child_wait(child, PROC_FOREVER, &status), 0);
    assert_true(proc_status_ok(&status));
    proc_child_free(child);
}

static void a_child_gets_every_byte_that_was_written_past_a_full_pipe(void **state)
{
    (void)state;
    static char block[10000];
    int go[2];
    make_pipe(go);
    proc_child *child =
        start_child(KID("readbyte", "5", "count"), OPTIONS(.in.kind = PROC_PIPE, .out.kind = PROC_PIPE, .fd_count = 1,
                                                           .fds = &(proc_fd_map){.child = 5, .parent = go[0]}));
    size_t total = 0;
    ssize_t count;

    while ((count = proc_child_write(child, block, sizeof block, 0)) > 0) {
        total += (size_t)count;
    }
    assert_int_equal(count, -ETIMEDOUT);
    assert_int_equal(write(go[1], "g", 1), 1);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(proc_child_write(child, block, sizeof block, PROC_FOREVER), sizeof block);
        total += sizeof block;
    }
    proc_child_close(child, 0);

    assert_string_equal(read_stream(child, 1, NULL), text("%zu\n", total));
    proc_child_free(child);
    close(go[0]);
    close(go[1]);
}

static void all_that_a_child_wrote_before_its_end_can_be_read(void **state)
{
    (void)state;
    outcome result = run_child(KID("write", "1", "500000", "write", "2", "1000", "exit", "0"), NULL);

    assert_ended(result, 0);
    assert_int_equal(result.out_size, 500000);
    assert_int_equal(result.complaint_size, 1000);
    for (size_t i = 0; i < result.out_size; i++) {
        if (result.out[i] != pattern_at(i)) {
            fail_msg("byte %zu is wrong", i);
        }
    }
}

static void output_is_still_there_after_the_child_was_waited_for(void **state)
{
    (void)state;
    proc_child *child = start_child(KID("out", "late"), OPTIONS(.out.kind = PROC_PIPE));

    assert_int_equal(proc_child_wait(child, PROC_FOREVER, NULL), 0);

    assert_string_equal(read_stream(child, 1, NULL), "late");
    proc_child_free(child);
}

static void output_that_nobody_reads_does_not_hold_up_wait_or_free(void **state)
{
    (void)state;
    proc_child *child = start_child(KID("write", "1", "1000"), OPTIONS(.out.kind = PROC_PIPE));
    proc_status status;

    assert_int_equal(proc_child_wait(child, PROC_FOREVER, &status), 0);
    assert_true(proc_status_ok(&status));
    proc_child_free(child);
}

static void one_big_write_of_a_child_is_never_cut_short(void **state)
{
    (void)state;
    outcome result = run_child(KID("report", "2", "writeonce", "1", "1000000"), NULL);

    assert_ended(result, 0);
    assert_string_equal(result.complaint, "wrote 1000000 errno 0\n");
    assert_int_equal(result.out_size, 1000000);
}

static void writing_to_a_child_that_ended_says_so_and_harms_nobody(void **state)
{
    (void)state;
    static char block[1 << 20];
    proc_child *child = start_child(KID("exit", "3"), OPTIONS(.in.kind = PROC_PIPE, .out.kind = PROC_PIPE));
    proc_status status;

    assert_int_equal(proc_child_wait(child, PROC_FOREVER, NULL), 0);
    assert_int_equal(proc_child_write(child, block, sizeof block, PROC_FOREVER), -EPIPE);

    assert_int_equal(proc_child_wait(child, 0, &status), 0);
    assert_int_equal(status.code, 3);
    proc_child_free(child);
}

static void a_child_may_open_its_streams_by_name(void **state)
{
    (void)state;
    proc_child *child = start_child(KID("reopen"), OPTIONS(.in.kind = PROC_PIPE, .out.kind = PROC_PIPE));

    assert_int_equal(proc_child_write(child, "through names", 13, PROC_FOREVER), 13);
    proc_child_close(child, 0);

    assert_string_equal(read_stream(child, 1, NULL), "through names");
    proc_child_free(child);
}

static void a_chain_of_children_passes_bytes_by_itself(void **state)
{
    (void)state;
    const char *path = test_path("lines");
    FILE *file = fopen(path, "we");
    proc_child *source, *filter, *sink;

    assert_non_null(file);
    for (int i = 0; i < 100000; i++) {
        fprintf(file, "%s line %d\n", i % 3 == 0 ? "x" : "y", i);
    }
    fclose(file);
    source = start_child(KID("cat"), OPTIONS(.in = {.kind = PROC_FILE, .path = path}, .out.kind = PROC_PIPE));
    filter = start_child(ARGV("grep", "x"),
                         OPTIONS(.in = {.kind = PROC_FD, .fd = proc_child_fd(source, 1)}, .out.kind = PROC_PIPE));
    proc_child_close(source, 1);
    sink = start_child(ARGV("wc", "-l"),
                       OPTIONS(.in = {.kind = PROC_FD, .fd = proc_child_fd(filter, 1)}, .out.kind = PROC_PIPE));
    proc_child_close(filter, 1);

    assert_int_equal(strtol(read_stream(sink, 1, NULL), NULL, 10), 33334);
    proc_child *const all[] = {source, filter, sink};
    for (size_t i = 0; i < COUNT(all); i++) {
        proc_status status;

        assert_int_equal(proc_child_wait(all[i], PROC_FOREVER, &status), 0);
        assert_true(proc_status_ok(&status));
        proc_child_free(all[i]);
    }
}

static void start_one_that_inherits(void *arg)
{
    int *ends = arg;

    dup2(ends[1], 1);
    close(ends[1]);
    close(ends[0]);
    proc_child *child = start_child(KID("grandchild", "out", "deep", "--", "reap", "out", "down"), NULL);
    assert_int_equal(proc_child_wait(child, PROC_FOREVER, NULL), 0);
    proc_child_free(child);
}

static void an_inherited_stream_reaches_down_to_grandchildren(void **state)
{
    (void)state;
    char got[32] = "";
    int ends[2];

    make_pipe(ends);
    in_copy(start_one_that_inherits, ends);
    close(ends[1]);

    assert_int_equal(read(ends[0], got, sizeof got - 1), 8);
    assert_string_equal(got, "deepdown");
    await_end(ends[0]);
    close(ends[0]);
}

static const struct CMUnitTest tests[] = {
    TEST(inherited_streams_are_the_parents),
    TEST(null_streams_are_the_null_device),
    TEST(piped_streams_are_real_pipes_and_block_in_the_child),
    TEST(the_parents_ends_of_pipes_are_its_own),
    TEST(a_stream_that_is_no_pipe_has_no_end_in_the_parent),
    TEST(a_descriptor_of_the_parent_may_be_a_stream_and_stays_open),
    TEST(one_descriptor_may_be_all_three_streams),
    TEST(a_file_is_opened_for_its_stream),
    TEST(merge_sends_errors_wherever_output_goes),
    TEST(merge_follows_an_output_that_is_among_the_further_descriptors),
    TEST(merged_streams_keep_their_order),
    TEST(a_file_that_is_made_has_the_mode_that_was_asked_for_less_the_umask),
    TEST(flags_of_a_file_replace_the_default),
    TEST(a_file_that_cannot_be_opened_is_named_and_all_else_given_back),
    TEST(a_files_path_is_relative_to_the_parents_directory),
    TEST(what_is_written_to_a_child_it_reads_until_the_end),
    TEST(a_child_gets_every_byte_that_was_written_past_a_full_pipe),
    TEST(all_that_a_child_wrote_before_its_end_can_be_read),
    TEST(output_is_still_there_after_the_child_was_waited_for),
    TEST(output_that_nobody_reads_does_not_hold_up_wait_or_free),
    TEST(one_big_write_of_a_child_is_never_cut_short),
    TEST(writing_to_a_child_that_ended_says_so_and_harms_nobody),
    TEST(a_child_may_open_its_streams_by_name),
    TEST(a_chain_of_children_passes_bytes_by_itself),
    TEST(an_inherited_stream_reaches_down_to_grandchildren),
};

HARNESS_MAIN(tests)
