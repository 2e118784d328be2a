/* Many bytes, by hand and by libc. */
#include "bench.h"

#include <fcntl.h>
#include <poll.h>

static char *cat[] = {"/bin/cat", NULL};

static void set_up(void)
{
    memset(bench_payload, 'x', bench_args_now.size);
}

static void large(int fd)
{
    (void)fcntl(fd, F_SETPIPE_SZ, MIB);
}

/* Reads on and on into the same place, or one after the other. */
static void read_loop(bool keep)
{
    size_t total = 0, room = keep ? bench_args_now.size + 1 : 65536;
    char *memory = malloc(room);
    ssize_t size;
    int ends[3];
    pid_t pid = bench_spawn_piped(bench_writer, ends);

    if (memory == NULL) {
        bench_die("malloc", ENOMEM);
    }
    large(ends[1]);
    while ((size = read(ends[1], memory + (keep ? total : 0), keep ? room - total : room)) > 0) {
        total += (size_t)size;
    }
    for (int i = 0; i < 3; i++) {
        close(ends[i]);
    }
    bench_await(pid);
    free(memory);
    if (total != bench_args_now.size) {
        bench_die("the read loop", EIO);
    }
}

static void keep(int count)
{
    while (count-- > 0) {
        read_loop(true);
    }
}

static void drop(int count)
{
    while (count-- > 0) {
        read_loop(false);
    }
}

static void by_popen(int count)
{
    char command[8192];

    snprintf(command, sizeof command, "exec %s %s %s %s", bench_writer[0], bench_writer[1], bench_writer[2],
             bench_writer[3]);
    while (count-- > 0) {
        FILE *stream = popen(command, "re");
        bench_bytes bytes = {0};
        size_t size;
        if (stream == NULL) {
            bench_die("popen", errno);
        }
        while ((size = fread(bench_room(&bytes, 65536), 1, 65536, stream)) > 0) {
            bytes.size += size;
        }
        bench_check("pclose", pclose(stream));
        bench_came(&bytes);
    }
}

static void feed_once(char *memory)
{
    size_t put = 0, got = 0, size = bench_args_now.size;
    int ends[3];
    pid_t pid = bench_spawn_piped(cat, ends);
    struct pollfd polled[2] = {{.fd = ends[0], .events = POLLOUT}, {.fd = ends[1], .events = POLLIN}};

    large(ends[0]);
    large(ends[1]);
    (void)fcntl(ends[0], F_SETFL, O_NONBLOCK);
    for (ssize_t some = 1; some > 0;) {
        bench_must("poll", poll(polled, 2, -1));
        if (polled[0].revents != 0) {
            ssize_t more = write(ends[0], bench_payload + put, size - put);
            put += more > 0 ? (size_t)more : 0;
            if (put == size) {
                close(ends[0]);
                polled[0].fd = -1;
            }
        }
        if (polled[1].revents != 0) {
            some = read(ends[1], memory + got, size + 1 - got);
            got += some > 0 ? (size_t)some : 0;
        }
    }
    close(ends[1]);
    close(ends[2]);
    bench_await(pid);
    if (got != size) {
        bench_die("cat", EIO);
    }
}

static void feed(int count)
{
    while (count-- > 0) {
        char *memory = malloc(bench_args_now.size + 1);
        if (memory == NULL) {
            bench_die("malloc", ENOMEM);
        }
        feed_once(memory);
        free(memory);
    }
}

const bench_op bench_ops[] = {{.name = "keep", .run = keep},
                              {.name = "drop", .run = drop},
                              {.name = "popen", .run = by_popen},
                              {.name = "feed", .begin = set_up, .run = feed},
                              {0}};
