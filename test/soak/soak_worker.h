/*
 * Numbered messages, whose bytes follow from their number, and the workers that they are exchanged with.
 */
#ifndef SOAK_WORKER_H
#define SOAK_WORKER_H

#include "soak.h"

enum { MOST_SIZE = 300000 };

/* Types. Those up to GIVE are what a worker is sent. */
enum { ECHO = 1, CALL, SINK, SINK_END, FLOOD, NAP, PARTS, GIVE, STATS, SOURCE, PART };

#define MESSAGE(...) (&(const proc_message){__VA_ARGS__})

typedef struct order { /* with NAP, FLOOD, PARTS */
    uint64_t count, size;
} order;

typedef struct stamped {
    uint64_t number;
    unsigned char bytes[MOST_SIZE];
} stamped;

const stamped *stamp(uint64_t number, size_t size); /* until the next one of this thread */
/* How large the message of that number is; most are small. */
size_t size_of(uint64_t number);
void check_number(const char *what, const proc_message *m, uint64_t number);

typedef struct sink { /* what a worker says of messages that it has only taken */
    uint64_t count, wrong;
} sink;

proc_child *start_worker(bool by_call);

#endif
