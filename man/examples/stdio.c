/* stdio TEXT...: a worker that speaks over its standard input and output, as
 * a program does that ssh or any other launcher starts. It sends each text
 * back in capitals. */
#include <ctype.h>
#include <errno.h>
#include <proc.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int worker(void)
{
    proc_channel *channel;
    proc_message text;
    char capitals[256];

    int err = proc_channel_open(&channel, 0, 1, NULL);
    while (err == 0 &&
           (err = proc_channel_recv(channel, &text, PROC_FOREVER)) == 0) {
        size_t size = text.size < sizeof capitals ? text.size : sizeof capitals;
        for (size_t i = 0; i < size; i++)
            capitals[i] = (char)toupper(((const unsigned char *)text.data)[i]);
        proc_message answer = {.data = capitals, .size = size};
        err = proc_channel_send(channel, &answer, PROC_FOREVER);
    }
    proc_channel_free(channel); /* sends what still waits */
    return err != -EPIPE;       /* that is the end, as it should be */
}

int main(int argc, char *argv[])
{
    if (argc == 2 && strcmp(argv[1], "--worker") == 0)
        return worker();

    const char *const command[] = {argv[0], "--worker", NULL};
    proc_child *child = NULL;
    proc_channel *channel = NULL;
    proc_message answer;
    int ends[2];

    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0) {
        perror("stdio: socketpair");
        return 1;
    }
    proc_options options = {
        .in = {.kind = PROC_FD, .fd = ends[1]},
        .out = {.kind = PROC_FD, .fd = ends[1]},
    };
    int err = proc_spawn(&child, command, &options);
    close(ends[1]); /* else the channel never ends when the worker does */
    if (err == 0)
        err = proc_channel_open(&channel, ends[0], ends[0], NULL);
    if (err < 0)
        close(ends[0]);
    for (int i = 1; i < argc && err == 0; i++) {
        proc_message text = {.data = argv[i], .size = strlen(argv[i])};
        err = proc_channel_send(channel, &text, 5000);
        if (err == 0)
            err = proc_channel_recv(channel, &answer, 5000);
        if (err == 0)
            printf("%.*s\n", (int)answer.size, (const char *)answer.data);
    }
    proc_channel_free(channel); /* the worker's recv now says -EPIPE */
    if (err == 0)
        err = proc_child_wait(child, 5000, NULL);
    if (err < 0)
        fprintf(stderr, "stdio: %s\n", proc_strerror(err));
    proc_child_free(child);
    return err < 0;
}
