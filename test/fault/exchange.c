/*
 * See exchange.h.
 */
#include "exchange.h"

#include <errno.h>
#include <string.h>

enum { SHORT_MS = 300 };

bool is_alive(int err)
{
    return err != -EPIPE && err != -EPROTO;
}

/* Out of memory in the middle of a read is for good, and another fault may have hit the other end meanwhile. */
static bool is_final(int err)
{
    return err == -ENOMEM || (err == -EPIPE && shim->mode == FAULT_RANDOM);
}

bool send_text(proc_channel *channel, const char *text, enum how how)
{
    const proc_message message = {.data = text, .size = strlen(text)};
    int err = how == BY_POST ? proc_channel_post(channel, &message) : proc_channel_send(channel, &message, SHORT_MS);
    if (failed(err, CHANNEL_CALL, "send") && is_alive(err)) {
        err = proc_channel_send(channel, &message, patience_ms());
        return !is_final(err) && expect_result(err, 0, "send, again");
    }
    return err == 0;
}

bool flush(proc_channel *channel)
{
    int err = proc_channel_flush(channel, SHORT_MS);
    if (failed(err, CHANNEL_CALL, "flush") && is_alive(err)) {
        err = proc_channel_flush(channel, patience_ms());
        return !is_final(err) && expect_result(err, 0, "flush, again");
    }
    return err == 0;
}

bool shut_down(proc_channel *channel)
{
    int err = proc_channel_shutdown(channel);
    if (failed(err, CHANNEL_CALL, "shutdown") && is_alive(err)) {
        err = proc_channel_shutdown(channel);
        return !is_final(err) && expect_result(err, 0, "shutdown, again");
    }
    return err == 0;
}

/* Where a send may have failed for good there is little to wait for. */
static int receive_in_turns(proc_channel *channel, proc_channel *sender, proc_message *message)
{
    enum { TURN_MS = 5 };
    int err = -ETIMEDOUT;
    *message = (proc_message){.type = 0};
    for (int waited = 0; err == -ETIMEDOUT && waited < (may_be_cut() ? SHORT_MS : patience_ms()); waited += TURN_MS) {
        int sent = sender != NULL ? proc_channel_flush(sender, 0) : 0;
        if (sent != -ETIMEDOUT && failed(sent, CHANNEL_CALL, "flush")) {
            sent = proc_channel_flush(sender, 0);
            if (sent < 0 && sent != -ETIMEDOUT) {
                return sent; /* for good: nothing will come */
            }
        }
        err = proc_channel_recv(channel, message, 0);
        if (err == -ETIMEDOUT) {
            err = proc_channel_recv(channel, message, TURN_MS);
        }
    }
    return err;
}

bool receive_message(proc_channel *channel, proc_channel *sender, proc_message *message)
{
    int err = receive_in_turns(channel, sender, message);
    if (!failed(err, CHANNEL_CALL, "recv")) {
        return true;
    }
    expect(message->data == NULL && message->size == 0 && message->fd_count == 0, "what was not received is zero");
    expect(err != -ETIMEDOUT || may_be_cut(), "what was sent arrives");
    if (is_alive(err) && err != -ENOMEM && !may_be_cut()) {
        err = receive_in_turns(channel, sender, message);
        return expect_result(err, 0, "recv, again");
    }
    return false;
}

bool receive(proc_channel *channel, proc_channel *sender, const void *data, size_t size)
{
    proc_message message;
    return receive_message(channel, sender, &message) &&
           expect(message.size == size && memcmp(message.data, data, size) == 0, "what was sent is what arrives");
}

bool receive_text(proc_channel *channel, proc_channel *sender, const char *text)
{
    return receive(channel, sender, text, strlen(text));
}

bool receive_end(proc_channel *channel, proc_channel *sender)
{
    proc_message message;
    int err = receive_in_turns(channel, sender, &message);
    if (err == -EPIPE) {
        return true;
    }
    expect(err < 0, "after the end nothing comes");
    return failed(err, CHANNEL_CALL, "recv") && false;
}
