/* logger COUNT: one thread posts COUNT records, another writes them out. The
 * pair bounds what waits between them. */
#include <errno.h>
#include <proc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static void *write_out(void *arg)
{
    proc_channel *in = arg;
    proc_message record;
    int err;

    while ((err = proc_channel_recv(in, &record, PROC_FOREVER)) == 0)
        printf("%u: %.*s\n", (unsigned)record.type, (int)record.size,
               (const char *)record.data);
    if (err != -EPIPE) /* which is the end */
        fprintf(stderr, "logger: recv: %s\n", proc_strerror(err));
    return NULL;
}

static int put_in(proc_channel *out, int count)
{
    int err = 0;
    for (int i = 0; i < count && err == 0; i++) {
        char text[64];
        int size = snprintf(text, sizeof text, "record %d of %d", i + 1, count);
        proc_message record = {.type = 1, .data = text, .size = (size_t)size};
        err = proc_channel_post(out, &record);
        if (err == -EAGAIN) /* much waits already, or something large */
            err = proc_channel_send(out, &record, PROC_FOREVER);
    }
    if (err == 0)
        err = proc_channel_shutdown(out);
    if (err == 0)
        err = proc_channel_flush(out, PROC_FOREVER);
    return err;
}

int main(int argc, char *argv[])
{
    proc_channel *ends[2];
    pthread_t writer;

    int err = proc_channel_pair(ends, NULL);
    if (err == 0) {
        err = -pthread_create(&writer, NULL, write_out, ends[1]);
        if (err == 0) {
            err = put_in(ends[0], argc > 1 ? atoi(argv[1]) : 3);
            proc_channel_free(ends[0]); /* the writer ends, whatever failed */
            ends[0] = NULL;
            pthread_join(writer, NULL);
        }
    }
    proc_channel_free(ends[0]);
    proc_channel_free(ends[1]);
    if (err < 0)
        fprintf(stderr, "logger: %s\n", proc_strerror(err));
    return err < 0;
}
