/*
 * What the tests of channels share: pairs of ends, and a peer that writes the bytes of the protocol by hand.
 */
#ifndef PEER_H
#define PEER_H

#include "harness.h"

#include "frame.h"

enum { IN_TIME = 20000 }; /* ms; more than anything here takes */

#define MESSAGE(...) (&(const proc_message){__VA_ARGS__})
#define ASK(...) MESSAGE(.flags = PROC_REQUEST, __VA_ARGS__)
#define ANSWER(...) MESSAGE(.flags = PROC_REPLY, __VA_ARGS__)
#define CHANNEL_OPTIONS(...) (&(const proc_channel_options){__VA_ARGS__})

uint32_t random_below(uint32_t end); /* the same sequence on every machine and in every run */

void make_pair(proc_channel *ends[2], const proc_channel_options *options); /* they know each other's limits */
void free_pair(proc_channel *ends[2]);
void meet(proc_channel *a, proc_channel *b); /* each takes in the other's HELLO */
void make_sockets(int ends[2]);
char *pattern(size_t size); /* of pattern_at, kept until the end of the test */

void expect_message(proc_channel *c, uint32_t type, const void *data, size_t size);
void expect_end(proc_channel *c, int error); /* of recv, now and the next time */

void expect_nothing(proc_channel *c);
proc_message expect_request(proc_channel *c);
proc_message expect_reply(proc_channel *c, int64_t id, uint32_t flags);
int64_t ask(proc_channel *c, uint32_t type); /* the id of a new request */
void await_driver(proc_channel *c);          /* until another thread polls for everybody */

/* ---- an end, and whoever holds the other descriptor ---- */

typedef struct raw {
    proc_channel *channel;
    int fd;
} raw;

void raw_begin(raw *r, const proc_channel_options *options); /* nothing is said */
void raw_meet(raw *r, const proc_channel_options *options);  /* both have said HELLO */
void raw_end(raw *r);
void raw_write(raw *r, const void *bytes, size_t size);
bool raw_send(raw *r, const void *bytes, size_t size, const int *fds,
              size_t count);                                                  /* false: the kernel refused them */
size_t raw_encode(const frame *f, const void *payload, unsigned char *bytes); /* what it takes */
void raw_frame(raw *r, frame f, const void *payload);
void raw_hello(raw *r);                          /* with the least limits */
void raw_greet(raw *r, uint32_t max_size);       /* the same, but for the size of messages and the window */
bool raw_read(raw *r, frame *f, int timeout_ms); /* its payload is passed over; false: nothing came */
frame raw_await(raw *r, uint8_t kind);           /* skips others */

#endif
