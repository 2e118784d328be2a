/* worker NUMBER...: asks a worker, which is this program again, for the
 * smallest factor of each number. */
#include <errno.h>
#include <proc.h>
#include <stdio.h>
#include <stdlib.h>

static int work(proc_channel *parent)
{
    proc_message request;
    int err;

    while ((err = proc_channel_recv(parent, &request, PROC_FOREVER)) == 0) {
        uint64_t number = *(const uint64_t *)request.data, factor = 2;
        while (factor <= number / factor && number % factor != 0)
            factor++;
        factor = factor <= number / factor ? factor : number;
        proc_message reply = {.data = &factor, .size = sizeof factor};
        err = proc_channel_reply(parent, &request, &reply, PROC_FOREVER);
        if (err < 0)
            break;
    }
    proc_channel_free(parent);
    return err != -EPIPE; /* that is the end, as it should be */
}

int main(int argc, char *argv[])
{
    const char *const command[] = {argv[0], NULL};
    proc_channel *channel;
    proc_child *child;
    proc_message reply;

    if (proc_channel_parent(&channel, NULL) == 0)
        return work(channel);

    int err = proc_fork(&child, command, NULL);
    channel = proc_child_channel(child);
    for (int i = 1; i < argc && err == 0; i++) {
        uint64_t number = strtoull(argv[i], NULL, 10);
        proc_message request = {.data = &number, .size = sizeof number};
        err = proc_channel_call(channel, &request, &reply, 10000);
        if (err == 0)
            printf("%s: %llu\n", argv[i],
                   (unsigned long long)*(const uint64_t *)reply.data);
        proc_message_clear(&reply);
    }
    if (err < 0)
        fprintf(stderr, "worker: %s\n", proc_strerror(err));
    proc_child_free(child); /* and its channel; it would be killed if it ran */
    return err < 0;
}
