/* fdserver DIRECTORY NAME...: counts the lines of files with a worker that may
 * not open anything. The parent opens what the worker asks for, if it is a file
 * right in DIRECTORY, and sends the descriptor; the worker, which runs as
 * nobody where we are root, sees no path of the file system but by these. */
#define _XOPEN_SOURCE 700
#include <errno.h>
#include <fcntl.h>
#include <proc.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NOBODY = 65534 };

/* ---- the worker: never root, and never trusted */

static long count_lines(int fd)
{
    char bytes[65536];
    ssize_t got;
    long lines = 0;

    while ((got = read(fd, bytes, sizeof bytes)) > 0) {
        for (ssize_t i = 0; i < got; i++)
            lines += bytes[i] == '\n';
    }
    return got < 0 ? -errno : lines;
}

static int count_file(proc_channel *parent, const char *name)
{
    proc_message request = {.data = name, .size = strlen(name)}, reply;
    int err = proc_channel_call(parent, &request, &reply, 10000);

    if (err == 0 && (reply.flags & PROC_FAILURE) != 0) {
        printf("%s: %s\n", name, proc_strerror((int)reply.type));
    } else if (err == 0) {
        int fd = proc_message_take_fd(&reply, 0);
        long lines = fd < 0 ? fd : count_lines(fd);
        printf("%s: %ld lines, counted by user %ld\n", name, lines, (long)getuid());
        if (fd >= 0)
            close(fd);
    }
    proc_message_clear(&reply);
    return err;
}

static int work(proc_channel *parent, char *names[])
{
    int err = 0;

    for (; err == 0 && *names != NULL; names++)
        err = count_file(parent, *names);
    fflush(stdout); /* it ends by _exit */
    if (err < 0)
        fprintf(stderr, "fdserver: worker: %s\n", proc_strerror(err));
    return err < 0;
}

/* ---- the parent: opens what may be opened */

static int open_allowed(int directory, const proc_message *request)
{
    char name[256];
    struct stat file;

    if (request->size == 0 || request->size >= sizeof name || memchr(request->data, '\0', request->size) != NULL)
        return -EINVAL;
    memcpy(name, request->data, request->size);
    name[request->size] = '\0';
    if (strchr(name, '/') != NULL || strcmp(name, "..") == 0)
        return -EACCES;
    int fd = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return errno == ELOOP ? -EACCES : -errno;
    if (fstat(fd, &file) < 0 || !S_ISREG(file.st_mode)) {
        close(fd);
        return -EACCES;
    }
    return fd;
}

static int serve(proc_channel *channel, int directory)
{
    proc_message request;
    int err;

    while ((err = proc_channel_recv(channel, &request, PROC_FOREVER)) == 0) {
        if ((request.flags & PROC_REQUEST) == 0)
            continue;
        int fd = open_allowed(directory, &request);
        proc_message reply = {.fds = &fd, .fd_count = 1};
        if (fd < 0)
            reply = (proc_message){.flags = PROC_FAILURE, .type = (uint32_t)-fd};
        err = proc_channel_reply(channel, &request, &reply, 10000);
        if (fd >= 0)
            close(fd); /* a copy is on its way */
        if (err < 0)
            break;
    }
    return err == -EPIPE ? 0 : err;
}

/* In a copy of this process: it need not find the program as nobody. */
static int start_work(proc_channel *parent, void *names)
{
    return work(parent, names);
}

int main(int argc, char *argv[])
{
    const proc_user nobody = {.uid = NOBODY, .gid = NOBODY};
    proc_channel_options channel = {.max_fds = 1};
    proc_options options = {.user = geteuid() == 0 ? &nobody : NULL, .cwd = "/", .channel = &channel};
    proc_child *child = NULL;
    proc_status status;

    if (argc < 3) {
        fprintf(stderr, "usage: fdserver DIRECTORY NAME...\n");
        return 2;
    }
    int directory = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int err = directory < 0 ? -errno : proc_fork_call(&child, start_work, argv + 2, &options);
    if (err == 0)
        err = serve(proc_child_channel(child), directory);
    if (err == 0)
        err = proc_child_wait(child, 10000, &status);
    if (err < 0)
        fprintf(stderr, "fdserver: %s\n", proc_strerror(err));
    proc_child_free(child);
    if (directory >= 0)
        close(directory);
    return err < 0 || !proc_status_ok(&status);
}
