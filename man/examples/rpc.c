/* rpc: a parent and its worker in one file. Calls from four threads at once, a
 * call whose time runs out, one that fails, a request that is taken back. The
 * worker does one thing at a time, and stops when nobody waits for it. */
#include <errno.h>
#include <poll.h>
#include <proc.h>
#include <pthread.h>
#include <stdio.h>

enum { SQUARE = 1,
       DIVIDE,
       DREAM,
       /* requests */ WOKE /* a message */ };
enum { SECONDS = 1000 };

/* ---- the worker */

static int answer(proc_channel *parent, const proc_message *request, int value)
{
    proc_message reply = {.data = &value, .size = sizeof value};

    return proc_channel_reply(parent, request, &reply, PROC_FOREVER);
}

static int fail(proc_channel *parent, const proc_message *request, int error)
{
    proc_message reply = {.flags = PROC_FAILURE, .type = (uint32_t)error};

    return proc_channel_reply(parent, request, &reply, PROC_FOREVER);
}

static int dream(proc_channel *parent, const proc_message *request)
{
    proc_message woke = {.type = WOKE};

    while (!proc_channel_cancelled(parent, request))
        poll(NULL, 0, 5); /* a piece of the work */
    int err = fail(parent, request, ETIMEDOUT);
    return err < 0 ? err : proc_channel_send(parent, &woke, PROC_FOREVER);
}

static int serve(proc_channel *parent, const proc_message *request)
{
    const int *numbers = request->data;

    if (request->type == SQUARE && request->size == sizeof numbers[0])
        return answer(parent, request, numbers[0] * numbers[0]);
    if (request->type == DIVIDE && request->size == 2 * sizeof numbers[0])
        return numbers[1] == 0
                   ? fail(parent, request, EDOM)
                   : answer(parent, request, numbers[0] / numbers[1]);
    if (request->type == DREAM)
        return dream(parent, request);
    return fail(parent, request, ENOSYS);
}

static int work(proc_channel *parent)
{
    proc_message request;
    int err = 0;

    while (err == 0 && (err = proc_channel_recv(parent, &request, PROC_FOREVER)) == 0)
        err = serve(parent, &request);
    proc_channel_free(parent);
    return err != -EPIPE;
}

/* ---- the parent */

typedef struct caller {
    pthread_t thread;
    proc_channel *channel;
    int number, square, err;
} caller;

static void *call_square(void *arg)
{
    caller *c = arg;
    proc_message request = {.type = SQUARE, .data = &c->number, .size = sizeof c->number}, reply;

    c->err = proc_channel_call(c->channel, &request, &reply, 10 * SECONDS);
    if (c->err == 0)
        c->square = *(const int *)reply.data;
    proc_message_clear(&reply);
    return NULL;
}

static int call_at_once(proc_channel *channel)
{
    caller callers[4];
    int started = 0, err = 0;

    for (; started < 4 && err == 0; started++) {
        callers[started] = (caller){.channel = channel, .number = started + 5};
        err = -pthread_create(&callers[started].thread, NULL, call_square, &callers[started]);
    }
    started -= err < 0;
    for (int i = 0; i < started; i++) {
        pthread_join(callers[i].thread, NULL);
        err = callers[i].err < 0 ? callers[i].err : err;
        if (callers[i].err == 0)
            printf("%d squared is %d\n", callers[i].number, callers[i].square);
    }
    return err;
}

static int divide(proc_channel *channel, int dividend, int divisor)
{
    const int numbers[] = {dividend, divisor};
    proc_message request = {.type = DIVIDE, .data = numbers, .size = sizeof numbers}, reply;
    int err = proc_channel_call(channel, &request, &reply, 10 * SECONDS);

    if (err == 0 && (reply.flags & PROC_FAILURE) != 0)
        printf("%d / %d fails: %s\n", dividend, divisor, proc_strerror((int)reply.type));
    else if (err == 0)
        printf("%d / %d is %d\n", dividend, divisor, *(const int *)reply.data);
    proc_message_clear(&reply);
    return err;
}

static int expect_woken(proc_channel *channel)
{
    proc_message m;
    int err = proc_channel_recv(channel, &m, 10 * SECONDS);

    if (err == 0)
        printf("the worker has %s\n", m.type == WOKE ? "woken up" : "said something else");
    return err;
}

static int lose_patience(proc_channel *channel)
{
    proc_message request = {.type = DREAM}, reply;
    int err = proc_channel_call(channel, &request, &reply, 50);

    /* Both look at the time, and either may be the first to say so. */
    if (err == 0 && (reply.flags & PROC_FAILURE) != 0)
        err = -(int)reply.type;
    printf("a dream of 50 ms: %s\n", proc_strerror(err));
    proc_message_clear(&reply);
    return err == -ETIMEDOUT ? expect_woken(channel) : err;
}

static int take_back(proc_channel *channel)
{
    proc_message request = {.type = DREAM};
    int64_t id = proc_channel_request(channel, &request, 10 * SECONDS);
    int err = id < 0 ? (int)id : proc_channel_cancel(channel, id);

    if (err == 0)
        printf("a dream is taken back\n");
    /* One that the worker has begun is woken from, any other never was: ask. */
    return err < 0 ? err : divide(channel, 84, 2);
}

int main(int argc, char *argv[])
{
    const char *const command[] = {argv[0], NULL};
    proc_channel *channel;
    proc_child *child;

    (void)argc;
    if (proc_channel_parent(&channel, NULL) == 0)
        return work(channel);

    int err = proc_fork(&child, command, NULL);
    channel = proc_child_channel(child);
    if (err == 0)
        err = call_at_once(channel);
    if (err == 0)
        err = divide(channel, 7, 0);
    if (err == 0)
        err = lose_patience(channel);
    if (err == 0)
        err = take_back(channel);
    if (err == 0)
        err = proc_channel_shutdown(channel);
    if (err == 0)
        err = proc_child_wait(child, 10 * SECONDS, NULL);
    if (err < 0)
        fprintf(stderr, "rpc: %s\n", proc_strerror(err));
    proc_child_free(child);
    return err < 0;
}
