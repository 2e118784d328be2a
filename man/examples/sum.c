/* sum NUMBER...: a worker, which is this program once more, adds them up. */
#include <errno.h>
#include <proc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int worker(void)
{
    proc_channel *channel;
    proc_message request;

    int err = proc_channel_open(&channel, 3, 3, NULL);
    while (err == 0 &&
           (err = proc_channel_recv(channel, &request, PROC_FOREVER)) == 0) {
        if ((request.flags & PROC_REQUEST) == 0)
            continue;
        const double *numbers = request.data; /* aligned to 8 bytes */
        double sum = 0;
        proc_message reply = {.data = &sum, .size = sizeof sum};
        if (request.size % sizeof *numbers != 0)
            reply = (proc_message){.type = EINVAL, .flags = PROC_FAILURE};
        for (size_t i = 0; i < request.size / sizeof *numbers; i++)
            sum += numbers[i];
        err = proc_channel_reply(channel, &request, &reply, PROC_FOREVER);
    }
    proc_channel_free(channel);
    return err != -EPIPE;
}

static int add(proc_channel *channel, int count, char *texts[], double *sum)
{
    double numbers[64];
    size_t size = 0;
    while ((int)size < count && size < 64) {
        numbers[size] = atof(texts[size]);
        size++;
    }
    proc_message request = {.data = numbers, .size = size * sizeof *numbers};
    proc_message reply;
    int err = proc_channel_call(channel, &request, &reply, 5000);
    if (err == 0 && (reply.flags & PROC_FAILURE) != 0)
        err = -(int)reply.type;
    else if (err == 0 && reply.size != sizeof *sum)
        err = -EBADMSG;
    else if (err == 0)
        memcpy(sum, reply.data, sizeof *sum);
    proc_message_clear(&reply);
    return err;
}

int main(int argc, char *argv[])
{
    if (argc == 2 && strcmp(argv[1], "--worker") == 0)
        return worker();

    const char *const command[] = {argv[0], "--worker", NULL};
    proc_child *child = NULL;
    proc_channel *channel = NULL;
    double sum;
    int ends[2];

    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0) {
        perror("sum: socketpair");
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
    if (err == 0)
        err = add(channel, argc - 1, argv + 1, &sum);
    if (err == 0)
        printf("%g\n", sum);
    else
        fprintf(stderr, "sum: %s\n", proc_strerror(err));
    proc_channel_free(channel);
    proc_child_free(child);
    return err < 0;
}
