/*
 * Workers: programs and functions that are started with a channel to them, what they find, and how the two part. The
 * program that is forked is this one: with a channel in its environment it is the worker that its arguments name.
 */
#include "peer.h"

#include <pthread.h>
#include <sys/resource.h>
#include <sys/socket.h>

static const char *self; /* the path of this program */
#define WORKER(...) ((const char *const[]){self, __VA_ARGS__, NULL})

enum { CLAIMED_AGAIN = 90, NO_CHANNEL = 91 };

/* ---- workers ---- */

/* Answers requests with their own content and type + 1, and sends messages back, until there are no more. */
static int echo(proc_channel *parent, void *arg)
{
    proc_message m;
    int err;

    (void)arg;
    while ((err = proc_channel_recv(parent, &m, IN_TIME)) == 0) {
        if ((m.flags & PROC_REQUEST) != 0) {
            err = proc_channel_reply(parent, &m, ANSWER(.type = m.type + 1, .data = m.data, .size = m.size), IN_TIME);
        } else {
            err = proc_channel_send(parent, MESSAGE(.type = m.type, .data = m.data, .size = m.size), IN_TIME);
        }
        if (err < 0) {
            return -err;
        }
    }
    return err == -EPIPE ? 0 : -err;
}

/* 1 MiB and ten of 64 KiB, and out. */
static int burst(proc_channel *parent, void *arg)
{
    char *bytes = calloc(1, 1024 * 1024);
    int err = proc_channel_send(parent, MESSAGE(.data = bytes, .size = 1024 * 1024), IN_TIME);

    (void)arg;
    for (uint32_t i = 0; i < 10 && err == 0; i++) {
        err = proc_channel_send(parent, MESSAGE(.type = i + 1, .data = bytes, .size = 64 * 1024), IN_TIME);
    }
    free(bytes);
    return -err;
}

/* What a program that this one starts finds of the channel. */
static int tell_of_a_child(proc_channel *parent, void *arg)
{
    proc_channel *again = parent;
    proc_result result;
    int err;

    (void)arg;
    if (proc_channel_parent(&again, NULL) != -ENOTCONN || again != NULL) {
        return CLAIMED_AGAIN;
    }
    err = proc_execfile(&result, KID("fds", "env"), OPTIONS(.inherit_fds = true));
    if (err == 0) {
        err = proc_channel_send(parent, MESSAGE(.data = result.out, .size = result.out_size), IN_TIME);
    }
    proc_result_clear(&result);
    return -err;
}

/* Leaves somebody behind who has the channel open until its standard input ends. */
static int leave_a_holder(proc_channel *parent, void *arg)
{
    char byte;

    (void)arg;
    if (proc_channel_send(parent, MESSAGE(.data = "last", .size = 4), IN_TIME) < 0) {
        return 1;
    }
    if (fork() == 0) {
        while (read(0, &byte, 1) > 0) {
        }
        _exit(0);
    }
    return 7;
}

static const struct {
    const char *name;
    proc_entry *entry;
} workers[] = {
    {"echo", echo},
    {"burst", burst},
    {"tell", tell_of_a_child},
    {"leave", leave_a_holder},
};

static int work(const char *name)
{
    proc_channel *parent;

    if (proc_channel_parent(&parent, CHANNEL_OPTIONS(.max_fds = 4)) < 0) {
        return NO_CHANNEL;
    }
    for (size_t i = 0; i < COUNT(workers); i++) {
        if (strcmp(name, workers[i].name) == 0) {
            int code = workers[i].entry(parent, NULL);
            proc_channel_free(parent);
            return code;
        }
    }
    return NO_CHANNEL;
}

/* ---- starting one ---- */

static proc_child *fork_program(const char *const argv[], const proc_options *options)
{
    proc_child *child = NULL;

    assert_int_equal(proc_fork(&child, argv, options), 0);
    assert_non_null(child);
    assert_non_null(proc_child_channel(child));
    return child;
}

static proc_child *fork_function(proc_entry *entry, void *arg, const proc_options *options)
{
    proc_child *child = NULL;

    assert_int_equal(proc_fork_call(&child, entry, arg, options), 0);
    assert_non_null(child);
    assert_non_null(proc_child_channel(child));
    return child;
}

static void expect_exit(proc_child *child, int code)
{
    proc_status status;

    assert_int_equal(proc_child_wait(child, IN_TIME, &status), 0);
    assert_int_equal(status.state, PROC_EXITED);
    assert_int_equal(status.code, code);
}

static void expect_echo(proc_child *child)
{
    proc_channel *c = proc_child_channel(child);
    proc_message reply;

    assert_int_equal(proc_channel_call(c, MESSAGE(.type = 5, .data = "ask", .size = 3), &reply, IN_TIME), 0);
    assert_int_equal(reply.type, 6);
    assert_int_equal(reply.size, 3);
    assert_memory_equal(reply.data, "ask", 3);
    proc_message_clear(&reply);
    assert_int_equal(proc_channel_send(c, MESSAGE(.type = 9, .data = "say", .size = 3), IN_TIME), 0);
    expect_message(c, 9, "say", 3);
}

static void end_echo(proc_child *child)
{
    assert_int_equal(proc_channel_shutdown(proc_child_channel(child)), 0);
    expect_exit(child, 0);
    expect_end(proc_child_channel(child), -EPIPE);
    proc_child_free(child);
}

static void a_program_and_its_parent_talk(void **state)
{
    (void)state;
    proc_child *child = fork_program(WORKER("echo"), NULL);

    expect_echo(child);
    end_echo(child);
}

static void a_function_and_its_parent_talk(void **state)
{
    (void)state;
    proc_child *child = fork_function(echo, NULL, NULL);

    expect_echo(child);
    end_echo(child);
}

static void spawn_with_channel_options_is_fork(void **state)
{
    (void)state;
    proc_child *child = start_child(WORKER("echo"), OPTIONS(.channel = CHANNEL_OPTIONS(.max_message = 65536)));
    proc_channel *c = proc_child_channel(child);

    expect_echo(child);
    assert_int_equal(proc_channel_shutdown(c), 0);
    expect_exit(child, 0);
    proc_child_free(child);
}

static void a_child_of_spawn_has_no_channel(void **state)
{
    (void)state;
    proc_child *child = start_child(KID("exit", "0"), NULL);

    assert_null(proc_child_channel(child));
    assert_null(proc_child_channel(NULL));
    expect_exit(child, 0);
    proc_child_free(child);
}

/* This program again is one that was forked too: it is told so by its own arguments. */
static int fork_itself(proc_channel *parent, void *arg)
{
    proc_child *child;
    int err = proc_fork(&child, NULL, NULL);

    (void)arg;
    (void)parent;
    if (err < 0) {
        return -err;
    }
    proc_message reply;
    err = proc_channel_call(proc_child_channel(child), MESSAGE(.type = 1), &reply, IN_TIME);
    proc_message_clear(&reply);
    proc_child_free(child);
    return -err;
}

static void without_arguments_this_program_runs_again_with_its_own(void **state)
{
    (void)state;
    proc_child *child = NULL;
    proc_error error;

    if (POSIX_BUILD) {
        assert_int_equal(proc_fork(&child, NULL, OPTIONS(.error = &error)), -ENOTSUP);
        assert_null(child);
        assert_int_equal(error.step, PROC_STEP_OPTIONS);
        assert_string_equal(error.subject, "argv");
        return;
    }
    child = fork_program(WORKER("twice", "echo"), NULL);
    expect_exit(child, 0);
    proc_child_free(child);
}

/* ---- what the child finds ---- */

static void the_channel_is_descriptor_3_and_named_in_the_environment(void **state)
{
    (void)state;
    proc_child *child = fork_program(
        KID("fds", "env"), OPTIONS(.out.kind = PROC_PIPE, .env_changes = ARGV("PROC_CHANNEL=77:9", "OTHER=yes")));
    fd_view view;

    outcome result = finish_child(child);
    assert_ended(result, 0);
    assert_int_equal(count_fds(result.out), 4);
    assert_true(find_fd(result.out, 3, &view));
    assert_string_equal(view.kind, "sock");
    assert_true(view.readable && view.writable);
    assert_false(view.nonblocking);
    assert_true(has_line(result.out, "PROC_CHANNEL=3:1"));
    assert_true(has_line(result.out, "OTHER=yes"));
}

static void an_environment_that_is_given_gets_it_too(void **state)
{
    (void)state;
    proc_child *child =
        fork_program(KID("env"), OPTIONS(.out.kind = PROC_PIPE, .env = ARGV("A=1", "PROC_CHANNEL=none")));

    outcome result = finish_child(child);
    assert_ended(result, 0);
    assert_true(has_line(result.out, "A=1"));
    assert_true(has_line(result.out, "PROC_CHANNEL=3:1"));
    assert_false(has_line(result.out, "PROC_CHANNEL=none"));
}

static void other_descriptors_go_along_whatever_their_numbers(void **state)
{
    (void)state;
    int pipe_ends[2], three;
    fd_view view;

    make_pipe(pipe_ends);
    three = fcntl(pipe_ends[1], F_DUPFD_CLOEXEC, 3); /* often 3 itself here: it must not be trodden on */
    const proc_fd_map maps[] = {{.child = 4, .parent = three}, {.child = 9, .parent = pipe_ends[1]}};
    proc_child *child = fork_program(KID("fds"), OPTIONS(.out.kind = PROC_PIPE, .fds = maps, .fd_count = COUNT(maps)));

    outcome result = finish_child(child);
    assert_ended(result, 0);
    assert_int_equal(count_fds(result.out), 6);
    assert_true(find_fd(result.out, 3, &view));
    assert_string_equal(view.kind, "sock");
    assert_true(find_fd(result.out, 4, &view));
    assert_true(shows_file_of(&view, pipe_ends[1]));
    assert_true(find_fd(result.out, 9, &view));
    assert_true(shows_file_of(&view, pipe_ends[1]));
    close(three);
    close(pipe_ends[0]);
    close(pipe_ends[1]);
}

static void what_the_worker_starts_does_not_find_it(void **state)
{
    (void)state;
    proc_child *child = fork_program(WORKER("tell"), NULL);
    proc_message m;
    fd_view view;

    assert_int_equal(proc_channel_recv(proc_child_channel(child), &m, IN_TIME), 0);
    char *report = text("%.*s", (int)m.size, (const char *)m.data);
    assert_null(strstr(report, "PROC_CHANNEL"));
    assert_false(find_fd(report, 3, &view) && strcmp(view.kind, "sock") == 0);
    expect_exit(child, 0);
    proc_child_free(child);
}

static void a_shell_in_between_passes_it_on(void **state)
{
    (void)state;
    proc_child *child = fork_program(ARGV("sh", "-c", text("'%s' echo; exit $?", self)), NULL);

    expect_echo(child);
    end_echo(child);
}

static void output_goes_through_pipes_beside_the_messages(void **state)
{
    (void)state;
    proc_child *child = fork_program(KID("out", "text"), OPTIONS(.out.kind = PROC_PIPE, .err.kind = PROC_PIPE));

    outcome result = finish_child(child);
    assert_ended(result, 0);
    assert_string_equal(result.out, "text");
}

/* ---- claiming ---- */

static void expect_no_parent(const char *value)
{
    proc_channel *c = (proc_channel *)&c;

    if (value == NULL) {
        assert_int_equal(unsetenv("PROC_CHANNEL"), 0);
    } else {
        assert_int_equal(setenv("PROC_CHANNEL", value, 1), 0);
    }
    assert_int_equal(proc_channel_parent(&c, NULL), -ENOTCONN);
    assert_null(c);
}

static void a_program_that_was_not_forked_has_no_parent(void **state)
{
    (void)state;
    int pipe_ends[2];

    make_pipe(pipe_ends);
    expect_no_parent(NULL);
    const char *bad[] = {"",
                         ":",
                         "3",
                         "3:",
                         "3:0",
                         "x:1",
                         "-1:1",
                         " 3:1",
                         "3 :1",
                         "3:1x",
                         "3:+1",
                         "3:-1",
                         "+3:1",
                         "3::1",
                         "99999999999999999999:1",
                         "512:1",
                         text("%d:1", pipe_ends[0])};
    for (size_t i = 0; i < COUNT(bad); i++) {
        expect_no_parent(bad[i]);
        assert_string_equal(getenv("PROC_CHANNEL"), bad[i]);
    }
    unsetenv("PROC_CHANNEL");
    assert_true(is_open(pipe_ends[0]));
    close(pipe_ends[0]);
    close(pipe_ends[1]);
}

static void a_bad_argument_leaves_the_channel_to_be_claimed(void **state)
{
    (void)state;
    proc_channel *c;
    int ends[2];

    make_sockets(ends);
    setenv("PROC_CHANNEL", text("%d:1", ends[1]), 1);
    assert_int_equal(proc_channel_parent(NULL, NULL), -EINVAL);
    assert_int_equal(proc_channel_parent(&c, CHANNEL_OPTIONS(.max_message = 1)), -EINVAL);
    assert_null(c);
    assert_int_equal(proc_channel_parent(&c, CHANNEL_OPTIONS(.reserved = {1})), -EINVAL);
    assert_non_null(getenv("PROC_CHANNEL"));

    assert_int_equal(proc_channel_parent(&c, NULL), 0);
    assert_null(getenv("PROC_CHANNEL"));
    assert_int_equal(fcntl(ends[1], F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    proc_channel_free(c);
    assert_false(is_open(ends[1]));
    close(ends[0]);
}

/* ---- refused ---- */

static void options_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    const proc_fd_map three = {.child = 3, .parent = 1};
    proc_child *child = (proc_child *)&child;
    proc_result result;
    proc_error error;

    assert_int_equal(proc_fork(&child, KID("exit", "0"), OPTIONS(.fds = &three, .fd_count = 1, .error = &error)),
                     -EINVAL);
    assert_null(child);
    assert_string_equal(error.subject, "fds[0]");
    assert_int_equal(
        proc_fork(&child, KID("exit", "0"), OPTIONS(.channel = CHANNEL_OPTIONS(.max_fds = 251), .error = &error)),
        -EINVAL);
    assert_string_equal(error.subject, "channel");
    assert_int_equal(proc_fork_call(&child, NULL, NULL, OPTIONS(.error = &error)), -EINVAL);
    assert_null(child);
    assert_string_equal(error.subject, "entry");
    assert_int_equal(proc_fork_call(&child, echo, NULL, OPTIONS(.shell = "/bin/sh", .error = &error)), -EINVAL);
    assert_null(child);
    assert_string_equal(error.subject, "shell");
    assert_int_equal(proc_fork(NULL, KID("exit", "0"), OPTIONS(.error = &error)), -EINVAL);
    assert_string_equal(error.subject, "child");
    assert_int_equal(proc_fork_call(NULL, echo, NULL, NULL), -EINVAL);
    assert_int_equal(proc_fork(&child, ARGV(NULL), OPTIONS(.error = &error)), -EINVAL);
    assert_string_equal(error.subject, "argv");

    assert_int_equal(proc_exec(&result, "true", OPTIONS(.channel = CHANNEL_OPTIONS(0), .error = &error)), -EINVAL);
    assert_string_equal(error.subject, "channel");
    assert_int_equal(proc_execfile(&result, KID("exit", "0"), OPTIONS(.channel = CHANNEL_OPTIONS(0), .error = &error)),
                     -EINVAL);
    assert_string_equal(error.subject, "channel");
}

static void a_start_that_fails_leaves_nothing(void **state)
{
    (void)state;
    proc_child *child;
    proc_error error;

    assert_int_equal(proc_fork(&child, ARGV("/nonexistent/program"), OPTIONS(.error = &error)), -ENOENT);
    assert_null(child);
    assert_int_equal(error.step, PROC_STEP_EXEC);
    assert_int_equal(proc_fork_call(&child, echo, NULL, OPTIONS(.cwd = "/nonexistent", .error = &error)), -ENOENT);
    assert_null(child);
    assert_int_equal(error.step, PROC_STEP_CHDIR);
    assert_string_equal(error.subject, "/nonexistent");
}

static void out_of_descriptors(void *arg)
{
    struct rlimit limit = {.rlim_cur = 3, .rlim_max = 3};
    proc_child *child;
    proc_error error;

    (void)arg;
    for (int fd = 3; fd < 64; fd++) {
        close(fd);
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(proc_fork(&child, KID("exit", "0"), OPTIONS(.error = &error)), -EMFILE);
    assert_null(child);
    assert_int_equal(error.step, PROC_STEP_PIPE);
    assert_string_equal(error.subject, "channel");
}

static void without_a_descriptor_for_the_channel_nothing_starts(void **state)
{
    (void)state;
    NOT_UNDER_VALGRIND();
    in_copy(out_of_descriptors, NULL);
}

/* ---- functions ---- */

static int return_number(proc_channel *parent, void *arg)
{
    (void)parent;
    return *(const int *)arg;
}

static void what_a_function_returns_is_the_exit_code(void **state)
{
    (void)state;

    for (int number = 0; number < 256; number += 51) {
        proc_child *child = fork_function(return_number, &number, NULL);
        expect_exit(child, number);
        proc_child_free(child);
    }
}

static int tell_descriptors(proc_channel *parent, void *arg)
{
    const int *strangers = arg;
    char answer[8] = {0};

    for (int i = 0; i < 4; i++) {
        answer[i] = is_open(strangers[i]) ? 'o' : 'c';
    }
    answer[4] = is_open(0) && is_open(1) && is_open(2) ? 'o' : 'c';
    answer[5] = (fcntl(3, F_GETFD) & FD_CLOEXEC) != 0 ? 'x' : '-';
    answer[6] = (char)('0' + (int)count_open());
    return -proc_channel_send(parent, MESSAGE(.data = answer, .size = sizeof answer), IN_TIME);
}

/* Two of a pipe above what the child places, one of them close-on-exec; the channel's other end; one that is mapped. */
static void a_function_has_only_what_it_was_given(void **state)
{
    (void)state;
    int ends[2], strangers[4];
    const proc_fd_map map = {.child = 60, .parent = 1};

    make_pipe(ends);
    strangers[0] = fcntl(ends[0], F_DUPFD, 100);
    strangers[1] = fcntl(ends[0], F_DUPFD_CLOEXEC, 101);
    strangers[2] = ends[1];
    strangers[3] = 60;
    for (int inherit = 0; inherit < 2; inherit++) {
        proc_child *child =
            fork_function(tell_descriptors, strangers,
                          OPTIONS(.inherit_fds = inherit, .fds = &map, .fd_count = 1, .in.kind = PROC_PIPE));
        proc_message m;

        assert_int_equal(proc_channel_recv(proc_child_channel(child), &m, IN_TIME), 0);
        assert_int_equal(m.size, 8);
        const char *answer = m.data;
        assert_int_equal(answer[0], inherit ? 'o' : 'c');
        assert_int_equal(answer[1], 'c');
        assert_int_equal(answer[2], 'c');
        assert_int_equal(answer[3], 'o');
        assert_int_equal(answer[4], 'o');
        assert_int_equal(answer[5], 'x');
        assert_true(inherit || under_valgrind() || answer[6] == '5'); /* 0 to 2, 3, 60; and valgrind's own */
        expect_exit(child, 0);
        proc_child_free(child);
    }
    close(strangers[0]);
    close(strangers[1]);
    close(ends[0]);
    close(ends[1]);
}

static int drain_stdin(proc_channel *parent, void *arg)
{
    char bytes[64];
    ssize_t got, all = 0;

    (void)parent;
    (void)arg;
    while ((got = read(0, bytes, sizeof bytes)) > 0) {
        all += got;
    }
    return got < 0 ? 255 : (int)all;
}

static void a_function_that_inherits_sees_the_end_of_its_input(void **state)
{
    (void)state;
    proc_child *child = fork_function(drain_stdin, NULL, OPTIONS(.inherit_fds = true, .in.kind = PROC_PIPE));

    assert_int_equal(proc_child_write(child, "abc", 3, IN_TIME), 3);
    assert_int_equal(proc_child_close(child, 0), 0);
    expect_exit(child, 3);
    proc_child_free(child);
}

static void at_exit(void)
{
    (void)!write(1, "atexit", 6);
}

static int print_and_return(proc_channel *parent, void *arg)
{
    (void)parent;
    (void)arg;
    atexit(at_exit);
    fputs("buffered", stdout);
    (void)!write(1, "raw", 3);
    return 0;
}

static void a_function_ends_without_exit_handlers(void **state)
{
    (void)state;
    if (THREAD_SANITIZER || under_valgrind()) {
        SKIP("a checker's _exit writes what is buffered");
    }
    fflush(stdout);
    proc_child *child = fork_function(print_and_return, NULL, OPTIONS(.out.kind = PROC_PIPE));

    assert_string_equal(read_stream(child, 1, NULL), "raw");
    expect_exit(child, 0);
    proc_child_free(child);
}

static int tell_attributes(proc_channel *parent, void *arg)
{
    struct {
        char cwd[256];
        mode_t mask;
        bool blocked, ignored;
        pid_t group;
    } told = {.mask = umask(0)};
    sigset_t now;
    struct sigaction action;

    (void)arg;
    (void)!getcwd(told.cwd, sizeof told.cwd);
    pthread_sigmask(SIG_SETMASK, NULL, &now);
    told.blocked = sigismember(&now, SIGUSR1) == 1;
    sigaction(SIGUSR2, NULL, &action);
    told.ignored = action.sa_handler == SIG_IGN;
    told.group = getpgrp();
    char *line =
        text("%s %o %d %d %d", told.cwd, (unsigned)told.mask, told.blocked, told.ignored, told.group == getpid());
    return -proc_channel_send(parent, MESSAGE(.data = line, .size = strlen(line)), IN_TIME);
}

static void options_hold_for_a_function(void **state)
{
    (void)state;
    const mode_t mask = 027;
    sigset_t usr1, old;
    struct sigaction ignore = {.sa_handler = SIG_IGN}, was;

    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &usr1, &old);
    sigaction(SIGUSR2, &ignore, &was);
    for (int kept = 0; kept < 2; kept++) {
        proc_child *child =
            fork_function(tell_attributes, NULL,
                          OPTIONS(.cwd = "/", .umask = &mask, .group = PROC_GROUP_OWN, .keep_signals = kept,
                                  .file = "/nonexistent", .env = ARGV("bad entry")));
        char *expected = text("/ 27 %d %d 1", kept, kept);

        expect_message(proc_child_channel(child), 0, expected, strlen(expected));
        expect_exit(child, 0);
        proc_child_free(child);
    }
    sigaction(SIGUSR2, &was, NULL);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

static int tell_user(proc_channel *parent, void *arg)
{
    uid_t ids[2] = {getuid(), geteuid()};

    (void)arg;
    return -proc_channel_send(parent, MESSAGE(.data = ids, .size = sizeof ids), IN_TIME);
}

static void a_function_may_run_as_another_user(void **state)
{
    (void)state;
    if (!is_root()) {
        SKIP("only root may change its user");
    }
    CHANGES_IDS();
    const proc_user user = {.uid = 65534, .gid = 65534};
    proc_child *child = fork_function(tell_user, NULL, OPTIONS(.user = &user));
    const uid_t expected[2] = {65534, 65534};

    expect_message(proc_child_channel(child), 0, expected, sizeof expected);
    expect_exit(child, 0);
    proc_child_free(child);
}

static void a_function_is_stopped_and_timed_out_like_a_program(void **state)
{
    (void)state;
    proc_child *child = fork_function(echo, NULL, NULL);
    proc_status status;

    expect_echo(child);
    assert_int_equal(proc_child_stop(child, PROC_FOREVER, &status), 0);
    assert_int_equal(status.signal, SIGTERM);
    expect_end(proc_child_channel(child), -EPIPE);
    proc_child_free(child);

    child = fork_function(echo, NULL, OPTIONS(.timeout_ms = 20));
    assert_int_equal(proc_child_wait(child, IN_TIME, &status), 0);
    assert_true(status.timed_out);
    proc_child_free(child);
}

/* ---- parting ---- */

static void expect_burst(proc_child *child)
{
    proc_channel *c = proc_child_channel(child);
    char *zeros = keep(calloc(1, 1024 * 1024));

    expect_message(c, 0, zeros, 1024 * 1024);
    for (uint32_t i = 1; i <= 10; i++) {
        expect_message(c, i, zeros, 64 * 1024);
    }
    expect_end(c, -EPIPE);
    expect_exit(child, 0);
    proc_child_free(child);
}

static void all_that_was_sent_before_the_end_arrives(void **state)
{
    (void)state;

    expect_burst(fork_program(WORKER("burst"), NULL));
    expect_burst(fork_function(burst, NULL, NULL));
}

/* The library's own channel end of the grandchild: it inherits descriptor 3 and never closes it. */
static void the_channel_ends_with_the_child_though_a_grandchild_holds_it(void **state)
{
    (void)state;

    for (int timeout_ms = IN_TIME; timeout_ms >= 0; timeout_ms -= IN_TIME) {
        proc_child *child = fork_program(WORKER("leave"), OPTIONS(.in.kind = PROC_PIPE));
        proc_channel *c = proc_child_channel(child);
        proc_message reply;

        expect_message(c, 0, "last", 4);
        expect_exit(child, 7);
        expect_end(c, -EPIPE);
        assert_int_equal(proc_channel_recv(c, &reply, timeout_ms), -EPIPE);
        assert_int_equal(proc_channel_send(c, MESSAGE(.type = 1), timeout_ms), -EPIPE);
        assert_int_equal(proc_channel_call(c, MESSAGE(.type = 1), &reply, timeout_ms), -EPIPE);
        proc_child_free(child); /* which ends the grandchild's input */
    }
}

static void *call_for_ever(void *arg)
{
    proc_message reply;

    return (void *)(intptr_t)proc_channel_call(arg, MESSAGE(.type = 1), &reply, PROC_FOREVER);
}

/* Nobody answers; what waits for an answer must be told when the child is gone. */
static void calls_that_wait_end_with_the_child(void **state)
{
    (void)state;
    proc_child *child = fork_program(ARGV("sh", "-c", "echo r; (read x) <&0 & wait; read y"),
                                     OPTIONS(.in.kind = PROC_PIPE, .out.kind = PROC_PIPE));
    pthread_t callers[3];
    void *result;

    await_byte(proc_child_fd(child, 1));
    for (size_t i = 0; i < COUNT(callers); i++) {
        assert_int_equal(pthread_create(&callers[i], NULL, call_for_ever, proc_child_channel(child)), 0);
    }
    assert_int_equal(proc_child_kill(child, SIGKILL), 0); /* the shell alone */
    for (size_t i = 0; i < COUNT(callers); i++) {
        assert_int_equal(pthread_join(callers[i], &result), 0);
        assert_int_equal((intptr_t)result, -EPIPE);
    }
    proc_child_free(child);
}

static void a_child_that_never_claims_it_does_no_harm(void **state)
{
    (void)state;
    proc_child *child = fork_program(KID("hang"), NULL);
    proc_channel *c = proc_child_channel(child);
    proc_message m;

    assert_int_equal(proc_channel_post(c, MESSAGE(.data = "x", .size = 1)), 0);
    assert_int_equal(proc_channel_recv(c, &m, 0), -ETIMEDOUT);
    assert_int_equal(proc_channel_flush(c, IN_TIME), 0); /* the kernel has it */
    proc_child_free(child);

    child = fork_program(KID("exit", "3"), OPTIONS(.channel = CHANNEL_OPTIONS(.hello_ms = PROC_FOREVER)));
    expect_end(proc_child_channel(child), -EPIPE);
    expect_exit(child, 3);
    proc_child_free(child);
}

static int write_what_comes(proc_channel *parent, void *arg)
{
    proc_message m;

    (void)arg;
    while (proc_channel_recv(parent, &m, IN_TIME) == 0) {
        if (write(1, m.data, m.size) < 0) {
            return 1;
        }
    }
    return 0;
}

static void a_detached_child_gets_what_waited_when_it_is_freed(void **state)
{
    (void)state;
    int out[2];

    make_pipe(out);
    proc_child *child =
        fork_function(write_what_comes, NULL, OPTIONS(.detached = true, .out = {.kind = PROC_FD, .fd = out[1]}));
    pid_t pid = proc_child_pid(child);
    close(out[1]);
    assert_int_equal(proc_channel_post(proc_child_channel(child), MESSAGE(.data = "waited", .size = 6)), 0);
    proc_child_free(child);

    for (int i = 0; i < 6; i++) {
        await_byte(out[0]);
    }
    await_end(out[0]);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    close(out[0]);
}

static void use_after_the_hosts_fork(void *arg)
{
    proc_child *child = arg;
    proc_channel *c = proc_child_channel(child);
    size_t before = count_open();

    assert_null(c); /* the child is none of ours */
    proc_child_free(child);
    assert_true(count_open() < before);
}

static void in_a_copy_of_the_host_the_channel_is_dead(void **state)
{
    (void)state;
    proc_child *child = fork_function(echo, NULL, NULL);

    in_copy(use_after_the_hosts_fork, child);
    expect_echo(child);
    end_echo(child);
}

static void *fork_and_talk(void *arg)
{
    for (int i = 0; i < 20; i++) {
        proc_child *child = NULL;
        proc_message reply = {.type = 0};

        if (proc_fork_call(&child, echo, NULL, NULL) < 0 ||
            proc_channel_call(proc_child_channel(child), MESSAGE(.type = 1), &reply, IN_TIME) < 0) {
            return "failed";
        }
        proc_message_clear(&reply);
        proc_child_free(child);
    }
    (void)arg;
    return NULL;
}

static void many_threads_fork_at_once(void **state)
{
    (void)state;
    pthread_t threads[4];

    if (ADDRESS_SANITIZER) { /* the copy waits for a lock that another thread held at the fork; libc releases its own */
        SKIP("the address sanitizer's malloc may hang in a copy of a process with threads");
    }
    for (size_t i = 0; i < COUNT(threads); i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, fork_and_talk, NULL), 0);
    }
    for (size_t i = 0; i < COUNT(threads); i++) {
        void *failed = NULL;
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
}

static const struct CMUnitTest tests[] = {
    TEST(a_program_and_its_parent_talk),
    TEST(a_function_and_its_parent_talk),
    TEST(spawn_with_channel_options_is_fork),
    TEST(a_child_of_spawn_has_no_channel),
    TEST(without_arguments_this_program_runs_again_with_its_own),
    TEST(the_channel_is_descriptor_3_and_named_in_the_environment),
    TEST(an_environment_that_is_given_gets_it_too),
    TEST(other_descriptors_go_along_whatever_their_numbers),
    TEST(what_the_worker_starts_does_not_find_it),
    TEST(a_shell_in_between_passes_it_on),
    TEST(output_goes_through_pipes_beside_the_messages),
    TEST(a_program_that_was_not_forked_has_no_parent),
    TEST(a_bad_argument_leaves_the_channel_to_be_claimed),
    TEST(options_that_make_no_sense_are_refused),
    TEST(a_start_that_fails_leaves_nothing),
    TEST(without_a_descriptor_for_the_channel_nothing_starts),
    TEST(what_a_function_returns_is_the_exit_code),
    TEST(a_function_has_only_what_it_was_given),
    TEST(a_function_that_inherits_sees_the_end_of_its_input),
    TEST(a_function_ends_without_exit_handlers),
    TEST(options_hold_for_a_function),
    TEST(a_function_may_run_as_another_user),
    TEST(a_function_is_stopped_and_timed_out_like_a_program),
    TEST(all_that_was_sent_before_the_end_arrives),
    TEST(the_channel_ends_with_the_child_though_a_grandchild_holds_it),
    TEST(calls_that_wait_end_with_the_child),
    TEST(a_child_that_never_claims_it_does_no_harm),
    TEST(a_detached_child_gets_what_waited_when_it_is_freed),
    TEST(in_a_copy_of_the_host_the_channel_is_dead),
    TEST(many_threads_fork_at_once),
};

int main(int argc, char **argv)
{
    static char path[4096];

    self = realpath(argv[0], path);
    if (getenv("PROC_CHANNEL") == NULL) {
        return harness_main(argc, argv, tests, COUNT(tests));
    }
    /* "twice echo": forks itself, which then has no reason to do so again. */
    if (argc == 3 && getenv("FORKED_TWICE") == NULL) {
        proc_channel *parent;

        setenv("FORKED_TWICE", "yes", 1);
        if (proc_channel_parent(&parent, NULL) < 0) {
            return NO_CHANNEL;
        }
        int code = fork_itself(parent, NULL);
        proc_channel_free(parent);
        return code;
    }
    return work(argv[argc - 1]);
}
