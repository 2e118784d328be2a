/* pollboth: one poll(2) for standard input and for a channel. What is typed
 * goes to a thread, which sends it back. */
#include <errno.h>
#include <poll.h>
#include <proc.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

static void *echo(void *arg)
{
    proc_message message;
    while (proc_channel_recv(arg, &message, PROC_FOREVER) == 0 &&
           proc_channel_send(arg, &message, PROC_FOREVER) == 0)
        ;
    (void)proc_channel_shutdown(arg);
    (void)proc_channel_flush(arg, PROC_FOREVER);
    return NULL;
}

static int serve(proc_channel *c)
{
    struct pollfd fds[3] = {{.fd = 0, .events = POLLIN}};
    char line[512];
    proc_message message;
    int err = 0;

    while (err == 0 || err == -ETIMEDOUT) {
        fds[1] = (struct pollfd){.fd = proc_channel_fd(c), .events = POLLIN};
        fds[2] = (struct pollfd){.fd = proc_channel_write_fd(c)};
        fds[2].events = proc_channel_events(c) & POLLOUT;
        if (fds[2].events == 0)
            fds[2].fd = -1;
        if (poll(fds, 3, proc_channel_timeout(c)) < 0 && errno != EINTR)
            return -errno;

        while ((err = proc_channel_recv(c, &message, 0)) == 0)
            printf("%.*s", (int)message.size, (const char *)message.data);
        if (err == -ETIMEDOUT)
            err = proc_channel_flush(c, 0);
        if ((err == 0 || err == -ETIMEDOUT) && fds[0].revents != 0) {
            ssize_t size = read(0, line, sizeof line);
            message = (proc_message){.data = line};
            message.size = size > 0 ? (size_t)size : 0;
            if (size > 0)
                err = proc_channel_post(c, &message); /* gone by next flush */
            else
                err = proc_channel_shutdown(c);
            if (size <= 0)
                fds[0].fd = -1;
        }
        fds[0].revents = 0;
    }
    return err == -EPIPE ? 0 : err; /* the thread has ended, as it should */
}

int main(void)
{
    proc_channel *ends[2];
    pthread_t thread;

    int err = proc_channel_pair(ends, NULL);
    if (err == 0 && (err = -pthread_create(&thread, NULL, echo, ends[1])) == 0) {
        err = serve(ends[0]);
        proc_channel_free(ends[0]);
        ends[0] = NULL;
        pthread_join(thread, NULL);
    }
    proc_channel_free(ends[0]);
    proc_channel_free(ends[1]);
    if (err < 0)
        fprintf(stderr, "pollboth: %s\n", proc_strerror(err));
    return err < 0;
}
