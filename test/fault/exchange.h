/*
 * Sending and receiving as scenarios do it: what fails and leaves the channel alive is done again, without faults, and must
 * succeed then. False: the channel is of no use any more.
 */
#ifndef EXCHANGE_H
#define EXCHANGE_H

#include "scenario.h"

enum how { BY_POST, BY_SEND };

/* Does that error leave the channel as it was? */
bool is_alive(int err);
bool send_text(proc_channel *channel, const char *text, enum how how);
bool flush(proc_channel *channel);
bool shut_down(proc_channel *channel);
/* sender: the other end, whose turn it is now and then, where that is in this thread too; else NULL. */
bool receive_message(proc_channel *channel, proc_channel *sender, proc_message *message);
bool receive(proc_channel *channel, proc_channel *sender, const void *data, size_t size);
bool receive_text(proc_channel *channel, proc_channel *sender, const char *text);
bool receive_end(proc_channel *channel, proc_channel *sender);

#endif
