/* lend FILE...: open files and lend them to a worker, which needs no right to
 * open them itself; it tells their sizes. */
#include <errno.h>
#include <fcntl.h>
#include <proc.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static int worker(void)
{
    proc_channel *channel;
    proc_message message;

    int err = proc_channel_open(&channel, 3, 3,
                                &(proc_channel_options){.max_fds = 1});
    while (err == 0 &&
           (err = proc_channel_recv(channel, &message, PROC_FOREVER)) == 0) {
        int fd = proc_message_take_fd(&message, 0); /* closed by us now */
        struct stat about;
        if (fd < 0 || fstat(fd, &about) < 0)
            fprintf(stderr, "lend: no descriptor\n");
        else
            printf("%.*s: %lld bytes\n", (int)message.size,
                   (const char *)message.data, (long long)about.st_size);
        if (fd >= 0)
            close(fd);
    }
    proc_channel_free(channel);
    return err != -EPIPE;
}

int main(int argc, char *argv[])
{
    if (argc == 2 && strcmp(argv[1], "--worker") == 0)
        return worker();

    const char *const command[] = {argv[0], "--worker", NULL};
    proc_child *child = NULL;
    proc_channel *channel = NULL;
    int ends[2];

    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0) {
        perror("lend: socketpair");
        return 1;
    }
    const proc_fd_map map = {.child = 3, .parent = ends[1]};
    int err = proc_spawn(&child, command,
                         &(proc_options){.fds = &map, .fd_count = 1});
    close(ends[1]);
    if (err == 0)
        err = proc_channel_open(&channel, ends[0], ends[0], NULL);
    if (err < 0)
        close(ends[0]);
    for (int i = 1; i < argc && err == 0; i++) {
        int fd = open(argv[i], O_RDONLY | O_CLOEXEC);
        if (fd < 0) {
            perror(argv[i]);
            continue;
        }
        proc_message message = {
            .data = argv[i],
            .size = strlen(argv[i]),
            .fds = &fd,
            .fd_count = 1,
        };
        err = proc_channel_send(channel, &message, 5000);
        close(fd); /* the library has a copy */
    }
    if (err == 0)
        err = proc_channel_flush(channel, 5000);
    proc_channel_free(channel);
    if (err == 0)
        err = proc_child_wait(child, 5000, NULL);
    if (err < 0)
        fprintf(stderr, "lend: %s\n", proc_strerror(err));
    proc_child_free(child);
    return err < 0;
}
