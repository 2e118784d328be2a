/*
 * What the parts of the soak share: chance, the tally, and the picture of a process that must not grow.
 */
#ifndef SOAK_H
#define SOAK_H

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proc.h"

enum { IN_TIME = 120000 }; /* ms: nothing takes that long unless it hangs */

/* ---- chance: the same choices for the same seed ---- */

typedef struct chance {
    uint64_t state;
} chance;

chance chance_of(unsigned number, unsigned part, uint64_t round);
uint32_t chance_below(chance *c, uint32_t end);

/* ---- the tally, shared by all processes of a run ---- */

typedef struct tally {
    atomic_ullong children, killed, stopped, timed_out, messages;
    atomic_ullong lost, wrong, zombies, faults;
    atomic_llong rss_growth; /* KiB, the most of any process */
} tally;

extern tally *sum;
extern uint64_t soak_seed;

#define ADD(member, count) ((void)atomic_fetch_add(&sum->member, (unsigned long long)(count)))

/* Messages are so many that each process counts them by itself, and adds them up now and then. */
void count_messages(unsigned long long count);
unsigned long long own_messages(void);

/* Something is wrong: it is told and counted, and the soak goes on. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* ... and this process cannot go on. */
_Noreturn void give_up(const char *format, ...) __attribute__((format(printf, 1, 2)));

#define EXPECT(condition, ...)                                                                                         \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            complain(__VA_ARGS__);                                                                                     \
        }                                                                                                              \
    } while (0)

/* ---- a process that must not grow ---- */

typedef struct usage {
    long rss_kib;
    long fds;
} usage;

typedef struct picture {
    usage first; /* once it is warm */
    unsigned looks;
} picture;

usage usage_now(void);
/* At a quiet moment: no descriptor more than at first, hardly any memory; no child but `kept`. */
void picture_look(picture *p, const char *who, bool kept);
void picture_compare(picture *p, usage now, const char *who);

/* ---- roles: each runs in a process of its own until it has done its share ---- */

typedef int role(unsigned number, uint64_t share);
role children_by_calls, children_in_loop, messages_by_calls, messages_in_loop;

const char *const *soak_argv(const char *verb, const char *argument); /* this program as a child; static per thread */
int child_main(const char *verb, const char *argument);               /* what it does then */
int worker(proc_channel *parent, void *arg);

unsigned char pattern_at(uint64_t seed, size_t offset);

#endif
