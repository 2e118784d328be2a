/*
 * Stands between the library and libc: counts each call, fails the one that it is told to, and in the kind modes bends all
 * of them without breaking any. The library's objects are made to call these instead (see redefined); all that the tests
 * call themselves goes past them. What the shim knows is in memory that children share, so a call between fork and exec,
 * or in a copy of the process, is counted like any other.
 */
#ifndef SHIM_H
#define SHIM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "calls.h"

enum side { SIDE_PARENT, SIDE_CHILD, SIDES }; /* the process under test, and all others */

typedef enum fault_mode {
    FAULT_NONE,
    FAULT_ONCE,   /* call number `ordinal` fails */
    FAULT_FROM,   /* it and all that follow */
    FAULT_RANDOM, /* one call in `ordinal`, each with any of its errors: what goes wrong on the way out of an error */
    /* the kind ones */
    KIND_EINTR,    /* every second call that can be interrupted is */
    KIND_SHORT,    /* one byte at a time */
    KIND_SPURIOUS, /* poll and epoll wake up for nothing */
    KIND_DELAY,    /* pauses, at random */
    KIND_ALL
} fault_mode;

typedef struct shim_state {
    pid_t main_process;
    atomic_bool armed;
    fault_mode mode;
    int side, call, ordinal, error;
    int always[CALL_COUNT]; /* an error for each call of that kind: a system that cannot do it at all */
    atomic_int counts[SIDES][CALL_COUNT];
    atomic_int total;
    atomic_int hits; /* faults that were injected */
    atomic_int shortened;
    atomic_bool reached; /* the call that was to fail was made */
    atomic_bool stolen;  /* a child was reaped behind the library's back */
    atomic_bool refused; /* a signal to a child was */
    atomic_uint random;
    char complaint[600]; /* the first one */
    bool afterwards;     /* it came in the run without faults, after the one with */
} shim_state;

extern shim_state *shim;

typedef struct call_info {
    const char *name;
    unsigned flags;
    int errors[MOST_ERRORS]; /* 0-ended */
} call_info;

extern const call_info calls[CALL_COUNT];

void shim_open(void); /* makes the shared memory */
void shim_reset(void);
void shim_arm(bool armed);
bool shim_is_kind(fault_mode mode);

/* What the library holds in this process. */
int shim_blocks(void);
int shim_pages(void);

/* Decides on one call: true, with errno set: it is to fail. */
bool shim_fails(enum call call);
/* The next of a kind mode's turns: true on every second. */
bool shim_bends(fault_mode mode);
unsigned shim_random(void);

#endif
