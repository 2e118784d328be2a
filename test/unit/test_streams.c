/*
 * Streams of a child that others have changed, buffers larger than a system takes at once, channels that the environment
 * names wrongly, and a command that is to outlive its caller.
 */
#include "lifeline.h"
#include "peer.h"

#include <limits.h>
#include <sys/mman.h>
#include <sys/socket.h>

/* The flag belongs to all who share the pipe's end. */
static void a_read_end_that_somebody_made_nonblocking_is_waited_for(void **state)
{
    (void)state;
    char byte;
    proc_child *child =
        start_child(KID("readbyte", "0", "out", "x"), OPTIONS(.in.kind = PROC_PIPE, .out.kind = PROC_PIPE));
    int fd = proc_child_fd(child, 1);

    assert_int_equal(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK), 0);
    assert_int_equal(proc_child_read(child, 1, &byte, 1, 0), -ETIMEDOUT);
    assert_int_equal(proc_child_write(child, "g", 1, PROC_FOREVER), 1);
    assert_int_equal(proc_child_read(child, 1, &byte, 1, PROC_FOREVER), 1);
    assert_int_equal(byte, 'x');
    proc_child_free(child);
}

static void more_room_than_an_int_can_tell_is_no_hindrance(void **state)
{
    (void)state;
    const size_t room = (size_t)INT_MAX + 4096;
    char *buffer = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    proc_child *child = start_child(KID("out", "hello"), OPTIONS(.out.kind = PROC_PIPE));

    assert_true(buffer != MAP_FAILED);
    assert_int_equal(proc_child_read(child, 1, buffer, room, PROC_FOREVER), 5);
    assert_memory_equal(buffer, "hello", 5);
    munmap(buffer, room);
    proc_child_free(child);
}

/* ---- a channel by its name in the environment ---- */

static void claim_what_is_none(void *arg)
{
    const int *fds = arg;
    const char *const names[] = {
        "",
        "3",
        ":1",
        "x:1",
        "-3:1",
        "3:",
        "3:0",
        "3:1x",
        "3000000000:1",
        "99999999999999999999:1",
        "60000:1",
        text("%d:1", fds[0]), /* a pipe */
        text("%d:1", fds[1]), /* a socket, but not a stream */
    };

    for (size_t i = 0; i < COUNT(names); i++) {
        proc_channel *channel = (proc_channel *)arg;

        assert_int_equal(setenv("PROC_CHANNEL", names[i], 1), 0);
        assert_int_equal(proc_channel_parent(&channel, NULL), -ENOTCONN);
        assert_null(channel);
        assert_string_equal(getenv("PROC_CHANNEL"), names[i]); /* it is somebody else's */
    }
}

static void a_channel_that_the_environment_names_wrongly_is_none(void **state)
{
    (void)state;
    int pipe_ends[2], ends[2];

    make_pipe(pipe_ends);
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ends), 0);
    in_copy(claim_what_is_none, (int[]){pipe_ends[0], ends[0]});
    for (int i = 0; i < 2; i++) {
        close(pipe_ends[i]);
        close(ends[i]);
    }
}

/* ---- a caller that is killed ---- */

static pid_t fork_caller(const proc_options *options)
{
    pid_t pid = fork();

    if (pid == 0) {
        proc_result result;

        alarm(60);
        (void)proc_execfile(&result, KID("ready", "5", "readbyte", "6", "ready", "5"), options);
        _exit(1);
    }
    assert_true(pid > 0);
    return pid;
}

static void a_detached_command_outlives_a_killed_caller(void **state)
{
    (void)state;
    lifeline line = lifeline_make();
    int go[2];

    make_pipe(go);
    const proc_fd_map maps[] = {line.map, {.child = 6, .parent = go[0]}};
    pid_t caller = fork_caller(OPTIONS(.fds = maps, .fd_count = 2, .detached = true));
    lifeline_await_ready(&line);
    assert_int_equal(kill(caller, SIGKILL), 0);
    assert_int_equal(waitpid(caller, NULL, 0), caller);
    assert_int_equal(write(go[1], "x", 1), 1);

    await_byte(line.read_end);
    lifeline_await_end(&line);
    close(go[0]);
    close(go[1]);
}

static const struct CMUnitTest tests[] = {
    TEST(a_read_end_that_somebody_made_nonblocking_is_waited_for),
    TEST(more_room_than_an_int_can_tell_is_no_hindrance),
    TEST(a_channel_that_the_environment_names_wrongly_is_none),
    TEST(a_detached_command_outlives_a_killed_caller),
};

HARNESS_MAIN(tests)
