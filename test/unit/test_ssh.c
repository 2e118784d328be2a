/*
 * A channel over standard input and output of a program that something else starts: here, there through a shell, and
 * through an ssh server of our own on the loopback. The worker is man/examples/stdio.c, which answers in capitals.
 */
#include "peer.h"

#include <netinet/in.h>
#include <pwd.h>
#include <sys/socket.h>

static const char *worker_path(void)
{
    const char *build = getenv("PROC_TEST_BUILD");
    const char *path = text("%s/examples/stdio", build == NULL ? "build/native" : build);
    char *absolute = realpath(path, NULL);

    return keep(absolute);
}

/* ---- a launcher and the channel over its pipes ---- */

typedef struct line {
    proc_child *launcher;
    proc_channel *channel;
} line;

/* The descriptors are the child's: the channel gets copies, and only these stay. */
static void call_up(line *l, const char *const argv[])
{
    l->launcher = start_child(argv, OPTIONS(.in.kind = PROC_PIPE, .out.kind = PROC_PIPE, .err.kind = PROC_NULL));
    int to = fcntl(proc_child_fd(l->launcher, 0), F_DUPFD_CLOEXEC, 3);
    int from = fcntl(proc_child_fd(l->launcher, 1), F_DUPFD_CLOEXEC, 3);

    assert_true(to >= 0 && from >= 0);
    assert_int_equal(proc_child_close(l->launcher, 0), 0);
    assert_int_equal(proc_child_close(l->launcher, 1), 0);
    assert_int_equal(proc_channel_open(&l->channel, from, to, NULL), 0);
}

static void expect_capitals(line *l, const char *said, const char *expected)
{
    assert_int_equal(proc_channel_send(l->channel, MESSAGE(.data = said, .size = strlen(said)), IN_TIME), 0);
    expect_message(l->channel, 0, expected, strlen(expected));
}

static void converse(line *l)
{
    enum { MESSAGES = 2000 };
    char *large = pattern(1024 * 1024);
    proc_message m;

    expect_capitals(l, "hello", "HELLO");
    expect_capitals(l, "", "");
    assert_int_equal(proc_channel_send(l->channel, MESSAGE(.fds = (const int[]){1}, .fd_count = 1), IN_TIME), -E2BIG);
    assert_int_equal(proc_channel_send(l->channel, MESSAGE(.data = large, .size = 1024 * 1024), IN_TIME), 0);
    assert_int_equal(proc_channel_recv(l->channel, &m, IN_TIME), 0);
    assert_int_equal(m.size, 256); /* the worker looks no further */
    for (int i = 0; i < MESSAGES; i++) {
        assert_int_equal(proc_channel_send(l->channel, MESSAGE(.data = large, .size = 20000), IN_TIME), 0);
    }
    for (int i = 0; i < MESSAGES; i++) {
        assert_int_equal(proc_channel_recv(l->channel, &m, IN_TIME), 0);
        assert_int_equal(m.size, 256);
    }
}

static void hang_up(line *l)
{
    proc_status status;

    assert_int_equal(proc_channel_shutdown(l->channel), 0);
    expect_end(l->channel, -EPIPE);
    proc_channel_free(l->channel);
    assert_int_equal(proc_child_wait(l->launcher, IN_TIME, &status), 0);
    assert_int_equal(status.code, 0);
    proc_child_free(l->launcher);
}

static void a_worker_speaks_over_its_pipes(void **state)
{
    (void)state;
    line l;

    call_up(&l, ARGV(worker_path(), "--worker"));
    converse(&l);
    hang_up(&l);
}

static void a_shell_and_env_in_between_are_not_noticed(void **state)
{
    (void)state;
    line l;

    call_up(&l, ARGV("sh", "-c", text("exec env SOMETHING=1 nohup '%s' --worker 2>/dev/null", worker_path())));
    converse(&l);
    hang_up(&l);
}

static void a_launcher_that_is_killed_is_the_end(void **state)
{
    (void)state;
    line l;

    call_up(&l, ARGV(worker_path(), "--worker"));
    expect_capitals(&l, "a", "A");
    assert_int_equal(proc_child_kill(l.launcher, SIGKILL), 0);
    expect_end(l.channel, -EPIPE);
    assert_int_equal(proc_child_wait(l.launcher, IN_TIME, NULL), 0); /* its two pipes do not go at the very same time */
    assert_int_equal(proc_channel_send(l.channel, MESSAGE(.type = 1), IN_TIME), -EPIPE);
    proc_channel_free(l.channel);
    proc_child_free(l.launcher);
}

static void output_that_is_no_protocol_is_told_from_it(void **state)
{
    (void)state;
    line l;
    proc_message m;

    call_up(&l, ARGV("sh", "-c", "echo 'Welcome to this host. Have a nice day.'; exec cat"));
    assert_int_equal(proc_channel_recv(l.channel, &m, IN_TIME), -EPROTO);
    proc_channel_free(l.channel);
    proc_child_free(l.launcher);
}

/* ---- the server ---- */

typedef struct server {
    proc_child *child;
    int port;
} server;

static const char *find_server(void)
{
    static const char *const paths[] = {"/usr/sbin/sshd", "/usr/local/sbin/sshd", "/sbin/sshd", "/usr/bin/sshd"};

    for (size_t i = 0; i < COUNT(paths); i++) {
        if (access(paths[i], X_OK) == 0) {
            return paths[i];
        }
    }
    return NULL;
}

static bool has_client(void)
{
    proc_result result;
    int err = proc_exec(&result, "command -v ssh && command -v ssh-keygen", NULL);
    bool there = err == 0 && result.status.code == 0;

    proc_result_clear(&result);
    return there;
}

static void make_key(const char *name)
{
    proc_result result;
    int err = proc_execfile(
        &result, ARGV("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", test_path(name)), NULL);

    assert_int_equal(err, 0);
    assert_int_equal(result.status.code, 0);
    proc_result_clear(&result);
}

static int free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    close(fd);
    return ntohs(address.sin_port);
}

static bool answers(int port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool connected = connect(fd, (struct sockaddr *)&address, sizeof address) == 0;

    close(fd);
    return connected;
}

static void write_configuration(int port)
{
    write_file(test_path("sshd_config"),
               text("Port %d\nListenAddress 127.0.0.1\nHostKey %s\nAuthorizedKeysFile %s\nPidFile none\nUsePAM no\n"
                    "StrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
                    "PermitRootLogin yes\nPrintMotd no\nLogLevel ERROR\n",
                    port, test_path("host"), test_path("user.pub")),
               0600);
}

/* Until it answers, or has ended: NULL then, and why. */
static const char *start_server(server *s)
{
    s->port = free_port();
    make_key("host");
    make_key("user");
    write_configuration(s->port);
    (void)mkdir("/run/sshd", 0755); /* it insists on it; it stays, for another server may use it by now */
    s->child = start_child(
        ARGV(find_server(), "-D", "-e", "-f", test_path("sshd_config")),
        OPTIONS(.in.kind = PROC_NULL, .err = {.kind = PROC_FILE, .path = test_path("log")}, .group = PROC_GROUP_OWN));
    for (int64_t until = now_ms() + IN_TIME; now_ms() < until;) {
        if (answers(s->port)) {
            return NULL;
        }
        if (proc_child_wait(s->child, 20, NULL) == 0) {
            return read_file(test_path("log"));
        }
    }
    return "it does not answer";
}

static void stop_server(server *s)
{
    assert_int_equal(proc_child_stop(s->child, 2000, NULL), 0);
    proc_child_free(s->child);
}

static const char *const *client(const server *s)
{
    const struct passwd *user = getpwuid(getuid());
    const char **argv = keep(calloc(32, sizeof *argv));
    const char *const options[] = {"BatchMode=yes",    "StrictHostKeyChecking=no", "IdentitiesOnly=yes",
                                   "ControlMaster=no", "LogLevel=ERROR",           "UserKnownHostsFile=/dev/null",
                                   "ConnectTimeout=10"};
    size_t count = 0;

    argv[count++] = "ssh";
    argv[count++] = "-F";
    argv[count++] = "none";
    for (size_t i = 0; i < COUNT(options); i++) {
        argv[count++] = "-o";
        argv[count++] = options[i];
    }
    argv[count++] = "-i";
    argv[count++] = test_path("user");
    argv[count++] = "-p";
    argv[count++] = text("%d", s->port);
    argv[count++] = text("%s@127.0.0.1", user != NULL ? user->pw_name : "root");
    argv[count++] = text("%s --worker", worker_path());
    return argv;
}

#define NEED_SERVER(server)                                                                                            \
    do {                                                                                                               \
        if (find_server() == NULL || !has_client()) {                                                                  \
            SKIP("sshd, ssh or ssh-keygen is missing: install openssh-server and openssh-client");                     \
        }                                                                                                              \
        const char *why_not = start_server(server);                                                                    \
        if (why_not != NULL) {                                                                                         \
            stop_server(server);                                                                                       \
            SKIP("sshd does not start: %s", why_not);                                                                  \
        }                                                                                                              \
    } while (0)

static void ssh_carries_the_channel_to_a_worker(void **state)
{
    (void)state;
    server s;
    line l;

    NEED_SERVER(&s);
    call_up(&l, client(&s));
    converse(&l);
    hang_up(&l);
    stop_server(&s);
}

static void an_ssh_that_is_killed_is_the_end(void **state)
{
    (void)state;
    server s;
    line l;

    NEED_SERVER(&s);
    call_up(&l, client(&s));
    expect_capitals(&l, "over there", "OVER THERE");
    assert_int_equal(proc_child_kill(l.launcher, SIGKILL), 0);
    expect_end(l.channel, -EPIPE);
    proc_channel_free(l.channel);
    proc_child_free(l.launcher);
    stop_server(&s);
}

static const struct CMUnitTest tests[] = {
    TEST(a_worker_speaks_over_its_pipes),       TEST(a_shell_and_env_in_between_are_not_noticed),
    TEST(a_launcher_that_is_killed_is_the_end), TEST(output_that_is_no_protocol_is_told_from_it),
    TEST(ssh_carries_the_channel_to_a_worker),  TEST(an_ssh_that_is_killed_is_the_end),
};

HARNESS_MAIN(tests)
