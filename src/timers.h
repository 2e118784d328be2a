/*
 * What is due next, of many: a heap of timers that live in what they belong to. Pure: no clock, no memory but its own.
 */
#ifndef TIMERS_H
#define TIMERS_H

#include "hidden.h"

typedef struct timer {
    int64_t due;
    uint64_t order; /* among those that are due at the same time: first come, first served */
    size_t place;   /* in the heap, from 1; 0: not set */
} timer;

typedef struct timers {
    timer **heap; /* from 1 */
    size_t count, capacity;
    uint64_t next_order;
} timers;

hidden void timers_free(timers *t);
hidden int timers_reserve(timers *t, size_t count);        /* room for so many in all; -ENOMEM */
hidden void timers_set(timers *t, timer *at, int64_t due); /* or moves one that is set; there must be room */
hidden void timers_clear(timers *t, timer *at);            /* one that is not set: nothing */
hidden timer *timers_first(const timers *t);

#endif
