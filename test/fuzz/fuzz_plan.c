/*
 * Where every descriptor of a child comes from: any options, on any table of descriptors, through the code that plans the
 * moves and the code that makes them. The table is a model of what a kernel keeps for a process.
 */
#include "fuzz.h"

#include "environment.h"
#include "options.h"
#include "os/launch.h"
#include "os/socket.h"
#include "plan.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NUMBERS = 320, MOST_MAPS = 24, OBJECT_NULL = 1 };

typedef struct slot {
    int object; /* an open file; 0: closed */
    bool close_on_exec;
} slot;

typedef struct process {
    slot slots[NUMBERS];
    int limit; /* RLIMIT_NOFILE */
} process;

static process *running; /* whose system calls these are */
static int objects;

/* ---- the kernel ---- */

static bool is_open(int fd)
{
    return fd >= 0 && fd < NUMBERS && running->slots[fd].object != 0;
}

static int fail_with(int err)
{
    errno = err;
    return -1;
}

static int take_lowest(int lowest, slot s)
{
    for (int fd = lowest; fd < running->limit; fd++) {
        if (!is_open(fd)) {
            running->slots[fd] = s;
            return fd;
        }
    }
    return fail_with(EMFILE);
}

static int table_fcntl(int fd, int command, ...)
{
    va_list args;
    int arg = 0;

    va_start(args, command);
    if (command != F_GETFD) {
        arg = va_arg(args, int);
    }
    va_end(args);
    if (!is_open(fd)) {
        return fail_with(EBADF);
    }
    switch (command) {
    case F_GETFD:
        return running->slots[fd].close_on_exec ? FD_CLOEXEC : 0;
    case F_SETFD:
        running->slots[fd].close_on_exec = (arg & FD_CLOEXEC) != 0;
        return 0;
    default:
        MUST(command == F_DUPFD_CLOEXEC);
        return arg >= running->limit ? fail_with(EINVAL) : take_lowest(arg, (slot){running->slots[fd].object, true});
    }
}

static int table_dup2(int from, int to)
{
    if (!is_open(from) || to < 0 || to >= running->limit) {
        return fail_with(EBADF);
    }
    if (from != to) {
        running->slots[to] = (slot){running->slots[from].object, false};
    }
    return to;
}

static int table_close(int fd)
{
    if (!is_open(fd)) {
        return fail_with(EBADF);
    }
    running->slots[fd].object = 0;
    return 0;
}

static int table_open(const char *path, int flags)
{
    (void)flags;
    MUST(strcmp(path, "/dev/null") == 0);
    return take_lowest(0, (slot){OBJECT_NULL, false});
}

static void table_close_range(int first, int last)
{
    for (int fd = first < 0 ? 0 : first; fd <= last && fd < NUMBERS; fd++) {
        running->slots[fd].object = 0;
    }
}

/* ---- what the library makes of it: descriptors above 2 that are close-on-exec ---- */

static void table_sys_close(int *fd)
{
    MUST(*fd < 0 || table_close(*fd) == 0);
    *fd = -1;
}

static int table_new(void)
{
    int fd = take_lowest(3, (slot){objects + 1, true});

    objects += fd >= 0;
    return fd < 0 ? -EMFILE : fd;
}

static int table_two(int ends[2])
{
    ends[0] = table_new();
    ends[1] = ends[0] < 0 ? -EMFILE : table_new();
    if (ends[1] < 0) {
        if (ends[0] >= 0) {
            table_sys_close(&ends[0]);
        }
        ends[0] = ends[1] = -1;
        return -EMFILE;
    }
    return 0;
}

static int table_open_terminal(sys_terminal *terminal)
{
    int ends[2], err = table_two(ends);

    terminal->master = ends[0];
    terminal->slave = ends[1];
    return err;
}

#define fcntl(...) table_fcntl(__VA_ARGS__)
#define dup2(from, to) table_dup2(from, to)
#define close(fd) table_close(fd)
#define open(path, flags) table_open(path, flags)
#define sys_close_range(first, last) table_close_range(first, last)
#define sys_close(fd) table_sys_close(fd)
#define sys_open(path, flags, mode) table_new()
#define sys_pipe(ends) table_two(ends)
#define sys_set_nonblocking(fd) (MUST_BE_OPEN(fd))
#define sys_open_terminal(terminal) table_open_terminal(terminal)
#define socket_pair(ends) table_two(ends)
#define MUST_BE_OPEN(fd) (is_open(fd) ? 0 : -EBADF)
#undef _DEFAULT_SOURCE                    /* which one of them defines */
#pragma GCC diagnostic ignored "-Wshadow" /* they were never meant to be one file with all of these headers */

#include "../../src/plan.c"
#include "../../src/os/child_side.c"

#undef fcntl
#undef dup2
#undef close
#undef open
#undef sys_close

/* ---- what was asked for ---- */

static process parent, child, before;
static proc_fd_map maps[MOST_MAPS];

/* Numbers that meet: few, the edges of the limit, and those that are named already. */
static int take_number(input *in)
{
    unsigned choice = take8(in);

    if (choice < 200) {
        return (int)choice % 24;
    }
    return choice < 230 ? parent.limit - 2 + (int)choice % 4 : choice < 250 ? (int)take8(in) : -1;
}

static void take_table(input *in)
{
    memset(&parent, 0, sizeof parent);
    parent.limit = 12 + take8(in);
    objects = OBJECT_NULL;
    for (unsigned count = take_below(in, 48), fd = 0; count > 0 && fd < NUMBERS; count--) {
        unsigned shape = take8(in);

        fd += shape >> 4 == 15 ? shape & 7 : shape >> 6;
        if (fd < NUMBERS) {
            parent.slots[fd] = (slot){++objects, (shape & 8) != 0};
        }
        fd++;
    }
}

static void take_options(input *in, proc_options *options)
{
    static const proc_stdio_kind kinds[] = {PROC_DEFAULT, PROC_DEFAULT, PROC_INHERIT, PROC_NULL, PROC_PIPE,
                                            PROC_FD,      PROC_FILE,    PROC_PTY,     PROC_MERGE};
    proc_stdio *const streams[] = {&options->in, &options->out, &options->err};

    for (int stream = 0; stream < 3; stream++) {
        proc_stdio_kind kind = kinds[take_below(in, COUNT(kinds))];

        if (kind == PROC_MERGE && stream != 2) {
            kind = PROC_DEFAULT;
        }
        *streams[stream] = (proc_stdio){.kind = kind, .path = "file"};
        streams[stream]->fd = kind == PROC_FD ? take_number(in) : 0;
    }
    options->inherit_fds = take_bool(in);
    options->fds = maps;
    options->fd_count = take_below(in, MOST_MAPS + 1);
    for (size_t i = 0; i < options->fd_count; i++) {
        maps[i].child = take_number(in);
        maps[i].parent = take_number(in);
    }
}

static const proc_fd_map *map_of(const proc_options *options, int number)
{
    for (size_t i = 0; i < options->fd_count; i++) {
        if (options->fds[i].child == number) {
            return &options->fds[i];
        }
    }
    return NULL;
}

/* What has to be refused, whatever the table has room for. */
static int refusal(const proc_options *options, bool channel)
{
    for (size_t i = 0; i < options->fd_count; i++) {
        int number = options->fds[i].child;

        if (number < 0 || (channel && number == PLAN_CHANNEL_FD) ||
            (number < 3 && options_stream(options, number)->kind != PROC_DEFAULT)) {
            return -EINVAL;
        }
    }
    for (int stream = 0; stream < 3; stream++) {
        const proc_stdio *stdio = options_stream(options, stream);

        if (stdio->kind == PROC_FD && !is_open(stdio->fd)) {
            return -EBADF;
        }
    }
    for (size_t i = 0; i < options->fd_count; i++) {
        if (!is_open(options->fds[i].parent)) {
            return -EBADF;
        }
    }
    for (size_t i = 0; i < options->fd_count; i++) {
        if (map_of(options, options->fds[i].child) != &options->fds[i]) {
            return -EINVAL;
        }
    }
    return 0;
}

/* ---- what has to come of it ---- */

static int object_of(const process *p, int fd)
{
    MUST(fd >= 0 && fd < NUMBERS && p->slots[fd].object != 0);
    return p->slots[fd].object;
}

/* What number `fd` has to be in the child that asked for it; 0: nothing did. */
static int wanted_object(const proc_options *options, const plan *p, int fd)
{
    const proc_fd_map *map = map_of(options, fd);

    if (map != NULL) {
        return object_of(&before, map->parent);
    }
    if (fd == PLAN_CHANNEL_FD && p->child_channel_end >= 0) {
        return object_of(&parent, p->child_channel_end);
    }
    if (fd > 2) {
        return 0;
    }
    switch (options_stream(options, fd)->kind) {
    case PROC_DEFAULT:
    case PROC_INHERIT:
        return before.slots[fd].object != 0 ? before.slots[fd].object : OBJECT_NULL;
    case PROC_NULL:
        return OBJECT_NULL;
    case PROC_FD:
        return object_of(&before, options_stream(options, fd)->fd);
    case PROC_PIPE:
    case PROC_FILE:
        return object_of(&parent, p->child_ends[fd]);
    case PROC_PTY:
        return object_of(&parent, p->terminal.slave);
    case PROC_MERGE:
        return wanted_object(options, p, 1);
    }
    return 0;
}

static void exec(process *p)
{
    for (int fd = 0; fd < NUMBERS; fd++) {
        if (p->slots[fd].close_on_exec) {
            p->slots[fd].object = 0;
        }
    }
}

static void check_child(const proc_options *options, const plan *p)
{
    exec(&child);
    for (int fd = 0; fd < NUMBERS; fd++) {
        int wanted = wanted_object(options, p, fd);

        if (wanted == 0 && options->inherit_fds && !before.slots[fd].close_on_exec) {
            wanted = before.slots[fd].object;
        }
        MUST(child.slots[fd].object == wanted);
    }
}

/* Is there a number that the limit forbids, and is it the one that is complained of? */
static void check_failure(const plan *p, int err, int index)
{
    const launch_move *move = &p->launch.moves[index];
    int used = 0;

    MUST(err == -EMFILE && index >= 0 && (size_t)index < p->launch.move_count);
    for (int fd = 0; fd < parent.limit; fd++) {
        used += parent.slots[fd].object != 0 || is_wanted(&p->launch, fd);
    }
    MUST(move->to >= parent.limit || used + (int)p->launch.move_count + 1 > parent.limit);
}

static void run_child(const proc_options *options, plan *p, int report_fd)
{
    int index = 0;

    child = parent;
    running = &child;
    int err = set_descriptors(&p->launch, &report_fd, &index);
    if (err < 0) {
        check_failure(p, err, index);
        return;
    }
    for (size_t i = 0; i < p->launch.move_count; i++) {
        const launch_move *move = &p->launch.moves[i];

        MUST(move->to < parent.limit || (move->source == LAUNCH_FD && move->from == move->to));
    }
    if (p->launch.close_others) {
        close_others(&p->launch, report_fd);
    }
    MUST(report_fd < 0 || is_open(report_fd));
    check_child(options, p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const argv[] = {"/program", NULL}, *const env[] = {NULL};
    input in = {.at = data, .left = size};
    proc_options options;
    proc_error error;
    plan p;

    memset(&options, 0, sizeof options);
    options.env = env;
    take_table(&in);
    take_options(&in, &options);
    const plan_program program = {.argv = argv, .fork = take_bool(&in)};
    bool pipe_for_report = take_bool(&in);

    running = &parent;
    before = parent;
    int refused = refusal(&options, program.fork);
    int err = plan_make(&p, &program, &options, &error);
    MUST(refused == 0 ? err == 0 || err == -EMFILE : err == refused);
    if (err < 0) {
        MUST(error.code == err && error.subject[0] != '\0');
    } else {
        int report[2] = {-1, -1};

        if (!pipe_for_report || table_two(report) == 0) {
            run_child(&options, &p, report[1]);
        }
        running = &parent;
        table_sys_close(&report[0]);
        table_sys_close(&report[1]);
        plan_free(&p);
    }
    for (int fd = 0; fd < NUMBERS; fd++) {
        MUST(parent.slots[fd].object == before.slots[fd].object);
    }
    return 0;
}
