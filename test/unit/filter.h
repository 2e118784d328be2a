/*
 * A system that refuses calls: a seccomp filter for the rest of this process' life and of what it starts, so for use in a
 * forked copy only.
 */
#ifndef FILTER_H
#define FILTER_H

#include <stdbool.h>
#include <stddef.h>

typedef struct refusal {
    long call;     /* SYS_* */
    unsigned mask; /* not 0: only where these bits of the first argument ... */
    unsigned bits; /* ... are these */
    int err;       /* what the call says, positive */
} refusal;

bool filter_works(void); /* here, on this machine */
void filter_install(const refusal *refusals, size_t count);

#endif
