/*
 * The kid and what it says: starting it, reading it to the end, and finding a field, a line or a descriptor in its report.
 */
#include "harness.h"

#include <dirent.h>
#include <poll.h>
#include <sys/sysmacros.h>
#include <time.h>

enum { PATIENCE_MS = 50000 };

/* ---- time, text, files ---- */

int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

char *text(const char *format, ...)
{
    va_list list;
    char *line = NULL;

    va_start(list, format);
    if (vasprintf(&line, format, list) < 0) {
        line = NULL;
    }
    va_end(list);
    return keep(line);
}

const char *test_path(const char *name)
{
    return text("%s/%s", test_dir(), name);
}

const char *top_dir(void)
{
    const char *top = getenv("PROC_TEST_TOP");

    return top == NULL ? "." : top;
}

void write_file(const char *path, const char *content, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, content, strlen(content)), strlen(content));
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static char *read_fd(int fd, size_t *size)
{
    size_t room = 4096, used = 0;
    char *data = malloc(room);
    ssize_t count;

    assert_non_null(data);
    while ((count = read(fd, data + used, room - used - 1)) > 0) {
        used += (size_t)count;
        if (room - used < room / 2) {
            room *= 2;
            data = realloc(data, room);
            assert_non_null(data);
        }
    }
    data[used] = '\0';
    *size = used;
    return keep(data);
}

char *read_file(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t size;
    char *content;

    if (fd < 0) {
        fail_msg("%s: %s", path, strerror(errno));
    }
    content = read_fd(fd, &size);
    close(fd);
    return content;
}

void copy_file(const char *from, const char *to, mode_t mode)
{
    int in = open(from, O_RDONLY | O_CLOEXEC), out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    char chunk[65536];
    ssize_t count;

    assert_true(in >= 0 && out >= 0);
    while ((count = read(in, chunk, sizeof chunk)) > 0) {
        assert_int_equal(write(out, chunk, (size_t)count), count);
    }
    assert_int_equal(fchmod(out, mode), 0);
    close(in);
    close(out);
}

/* ---- descriptors ---- */

void make_pipe(int ends[2])
{
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    for (int i = 0; i < 2; i++) {
        if (ends[i] < 3) { /* this process began with a standard descriptor closed */
            int raised = fcntl(ends[i], F_DUPFD_CLOEXEC, 3);

            close(ends[i]);
            ends[i] = raised;
        }
    }
}

static int poll_in_time(int fd)
{
    struct pollfd one = {.fd = fd, .events = POLLIN};
    int ready;

    do {
        ready = poll(&one, 1, PATIENCE_MS);
    } while (ready < 0 && errno == EINTR);
    return ready;
}

void await_byte(int fd)
{
    char byte;

    if (poll_in_time(fd) != 1) {
        fail_msg("no byte came");
    }
    assert_int_equal(read(fd, &byte, 1), 1);
}

void await_end(int fd)
{
    char byte;

    if (poll_in_time(fd) != 1) {
        fail_msg("the stream did not end");
    }
    assert_int_equal(read(fd, &byte, 1), 0);
}

bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

size_t count_open(void)
{
    DIR *dir = opendir("/proc/self/fd");
    struct dirent *entry;
    size_t count = 0;

    assert_non_null(dir);
    while ((entry = readdir(dir)) != NULL) {
        count += entry->d_name[0] != '.' && is_open(atoi(entry->d_name));
    }
    closedir(dir);
    return count - 1; /* its own */
}

/* ---- starting and reading ---- */

const char *kid_path(void)
{
    return getenv("PROC_TEST_KID");
}

char pattern_at(size_t offset)
{
    return (char)('!' + offset % 89);
}

typedef struct gathered {
    int fd; /* -1: at its end */
    char *data;
    size_t size, room;
} gathered;

/* Reads what is there. A terminal that hung up says EIO, which is an end too. */
static void gather(gathered *stream)
{
    ssize_t count;

    if (stream->room - stream->size < 2) {
        stream->room = stream->room == 0 ? 4096 : stream->room * 2;
        stream->data = realloc(stream->data, stream->room);
        assert_non_null(stream->data);
    }
    count = read(stream->fd, stream->data + stream->size, stream->room - stream->size - 1);
    if (count > 0) {
        stream->size += (size_t)count;
    } else if (count == 0 || (errno != EINTR && errno != EAGAIN)) {
        stream->fd = -1;
    }
    stream->data[stream->size] = '\0';
}

static void gather_all(gathered *streams, size_t count)
{
    for (;;) {
        struct pollfd polled[2];
        bool open = false;

        for (size_t i = 0; i < count; i++) {
            polled[i] = (struct pollfd){.fd = streams[i].fd, .events = POLLIN};
            open = open || streams[i].fd >= 0;
        }
        if (!open) {
            break;
        }
        if (poll(polled, (nfds_t)count, PATIENCE_MS) == 0) {
            fail_msg("the child says nothing and does not end");
        }
        for (size_t i = 0; i < count; i++) {
            if (polled[i].fd >= 0 && polled[i].revents != 0) {
                gather(&streams[i]);
            }
        }
    }
    for (size_t i = 0; i < count; i++) {
        streams[i].data = keep(streams[i].data == NULL ? calloc(1, 1) : streams[i].data);
    }
}

char *read_stream(proc_child *child, int stream, size_t *size)
{
    gathered one = {.fd = proc_child_fd(child, stream)};

    assert_true(one.fd >= 0);
    gather_all(&one, 1);
    if (size != NULL) {
        *size = one.size;
    }
    return one.data;
}

static void print_start_error(int err, const proc_error *error)
{
    print_error("the start failed: %d (%s), error {%d, step %d, '%s'}\n", err, strerror(-err), error->code,
                (int)error->step, error->subject);
}

proc_child *start_child(const char *const argv[], const proc_options *options)
{
    proc_error error = {0};
    proc_options own = {0};
    proc_child *child;
    int err;

    if (options != NULL) {
        own = *options;
    }
    own.error = &error;
    err = proc_spawn(&child, argv, &own);
    if (err != 0) {
        print_start_error(err, &error);
        fail();
    }
    return child;
}

outcome finish_child(proc_child *child)
{
    gathered streams[2] = {{.fd = proc_child_fd(child, 1)}, {.fd = proc_child_fd(child, 2)}};
    outcome result = {0};

    if (streams[1].fd == streams[0].fd) {
        streams[1].fd = -1; /* the one end of a terminal */
    }
    gather_all(streams, 2);
    result.out = streams[0].data;
    result.out_size = streams[0].size;
    result.complaint = streams[1].data;
    result.complaint_size = streams[1].size;
    assert_int_equal(proc_child_wait(child, PATIENCE_MS, &result.status), 0);
    proc_child_free(child);
    return result;
}

outcome run_child(const char *const argv[], const proc_options *options)
{
    proc_options own = {0};
    proc_error error, *callers = NULL;
    proc_child *child = (proc_child *)&own; /* anything but NULL */
    outcome result = {0};
    int err;

    memset(&error, 0x55, sizeof error);
    if (options != NULL) {
        own = *options;
        callers = own.error;
    }
    own.out.kind = own.out.kind == PROC_DEFAULT ? PROC_PIPE : own.out.kind;
    own.err.kind = own.err.kind == PROC_DEFAULT ? PROC_PIPE : own.err.kind;
    own.error = &error;
    err = proc_spawn(&child, argv, &own);
    if (err == 0) {
        assert_non_null(child);
        result = finish_child(child);
    } else {
        assert_null(child);
        result.status.code = -1;
    }
    result.err = err;
    result.error = error;
    if (callers != NULL) {
        *callers = error;
    }
    return result;
}

void assert_ended_at(const outcome *result, int code, const char *file, int line)
{
    if (result->err != 0) {
        print_start_error(result->err, &result->error);
        _fail(file, line);
    }
    if (result->error.code != 0 || result->error.step != PROC_STEP_NONE || result->error.subject[0] != '\0') {
        print_error("it started, but its error is not zero\n");
        _fail(file, line);
    }
    if (result->status.state != PROC_EXITED || result->status.code != code) {
        print_error("state %d, code %d, signal %d instead of exit %d; it says: %s\n", (int)result->status.state,
                    result->status.code, result->status.signal, code, result->complaint);
        _fail(file, line);
    }
}

void assert_signaled_at(const outcome *result, int signo, const char *file, int line)
{
    if (result->err != 0) {
        print_start_error(result->err, &result->error);
        _fail(file, line);
    }
    if (result->status.state != PROC_SIGNALED || result->status.signal != signo || result->status.code != -1) {
        print_error("state %d, code %d, signal %d instead of signal %d\n", (int)result->status.state,
                    result->status.code, result->status.signal, signo);
        _fail(file, line);
    }
}

void assert_refused_at(const outcome *result, int code, proc_step step, const char *subject, const char *file, int line)
{
    if (result->err != code || result->error.code != code || result->error.step != step ||
        (subject != NULL && strncmp(result->error.subject, subject, sizeof result->error.subject - 1) != 0)) {
        print_error("%d, {%d, step %d, '%s'} instead of {%d, step %d, '%s'}\n", result->err, result->error.code,
                    (int)result->error.step, result->error.subject, code, (int)step, subject == NULL ? "" : subject);
        _fail(file, line);
    }
}

/* ---- reports ---- */

static const char *next_line(const char *line)
{
    const char *end = strchr(line, '\n');

    return end == NULL ? line + strlen(line) : end + 1;
}

const char *field(const char *report, const char *name)
{
    size_t length = strlen(name);

    for (const char *line = report; *line != '\0'; line = next_line(line)) {
        if (strncmp(line, name, length) != 0 || (line[length] != ' ' && line[length] != '\n')) {
            continue;
        }
        line += length + (line[length] == ' ');
        return text("%.*s", (int)strcspn(line, "\n"), line);
    }
    return NULL;
}

long number_field(const char *report, const char *name)
{
    const char *value = field(report, name);

    if (value == NULL) {
        fail_msg("no '%s' in: %s", name, report);
    }
    return strtol(value, NULL, 10);
}

bool has_line(const char *report, const char *wanted)
{
    size_t length = strlen(wanted);

    for (const char *line = report; *line != '\0'; line = next_line(line)) {
        if (strncmp(line, wanted, length) == 0 && (line[length] == '\n' || line[length] == '\0')) {
            return true;
        }
    }
    return false;
}

bool has_word(const char *words, const char *word)
{
    size_t length = strlen(word);

    for (const char *at = words; *at != '\0'; at += strcspn(at, " ")) {
        at += strspn(at, " ");
        if (strcspn(at, " ") == length && strncmp(at, word, length) == 0) {
            return true;
        }
    }
    return false;
}

static bool read_fd_line(const char *line, fd_view *view)
{
    char access[4] = "", *end;
    int used = 0;

    *view = (fd_view){0};
    view->fd = (int)strtol(line, &end, 10);
    if (end == line || sscanf(end, " %7s %llu:%llu %llu %3s%n", view->kind, &view->device, &view->inode, &view->special,
                              access, &used) != 5) {
        return false;
    }
    line = text("%.*s", (int)strcspn(end + used, "\n"), end + used);
    view->readable = strchr(access, 'r') != NULL;
    view->writable = strchr(access, 'w') != NULL;
    view->close_on_exec = has_word(line, "cloexec");
    view->nonblocking = has_word(line, "nonblock");
    view->appending = has_word(line, "append");
    return true;
}

bool find_fd(const char *report, int fd, fd_view *view)
{
    for (const char *line = report; *line != '\0'; line = next_line(line)) {
        if (read_fd_line(line, view) && view->fd == fd) {
            return true;
        }
    }
    *view = (fd_view){.fd = -1};
    return false;
}

size_t count_fds(const char *report)
{
    fd_view view;
    size_t count = 0;

    for (const char *line = report; *line != '\0'; line = next_line(line)) {
        count += read_fd_line(line, &view);
    }
    return count;
}

bool shows_file_of(const fd_view *view, int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && view->device == st.st_dev && view->inode == st.st_ino;
}

bool shows_null(const fd_view *view)
{
    return strcmp(view->kind, "chr") == 0 && view->special == makedev(1, 3);
}
