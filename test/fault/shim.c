/*
 * See shim.h. Everything here may run in a child that shares our memory, on a small stack: system calls and atomics only.
 */
#include "shim.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static shim_state at_rest; /* of a program that nobody has told anything */
shim_state *shim = &at_rest;

#define CALL_INFO(name, flags, ...) {#name, flags, {__VA_ARGS__}},
const call_info calls[CALL_COUNT] = {EACH_CALL(CALL_INFO)};

void shim_open(void)
{
    void *memory = mmap(NULL, sizeof *shim, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        abort();
    }
    shim = memory;
}

void shim_reset(void)
{
    memset(shim, 0, sizeof *shim);
    shim->main_process = getpid();
    atomic_init(&shim->random, 1);
}

void shim_arm(bool armed)
{
    atomic_store(&shim->armed, armed);
}

bool shim_is_kind(fault_mode mode)
{
    return mode >= KIND_EINTR;
}

unsigned shim_random(void)
{
    unsigned next, now = atomic_load(&shim->random);
    do {
        next = now * 1664525u + 1013904223u;
    } while (!atomic_compare_exchange_weak(&shim->random, &now, next));
    return next >> 16;
}

bool shim_bends(fault_mode mode)
{
    if (!atomic_load(&shim->armed)) {
        return false;
    }
    if (shim->mode == KIND_ALL) {
        return shim_random() % 3 == 0;
    }
    return shim->mode == mode;
}

/* No signal comes through to a child before its exec, nor to a thread that the library has made. */
static bool may_be_interrupted(void)
{
    unsigned long mask[16] = {0};
    (void)syscall(SYS_rt_sigprocmask, SIG_SETMASK, NULL, mask, _NSIG / 8);
    return (mask[0] & (1ul << (SIGUSR1 - 1))) == 0;
}

static void pause_at_random(void)
{
    unsigned chance = shim_random();
    if (chance % 16 == 0) {
        struct timespec pause = {.tv_nsec = (long)(chance % 50) * 1000};
        (void)syscall(SYS_nanosleep, &pause, NULL);
    } else if (chance % 4 == 0) {
        (void)sched_yield();
    }
}

static bool is_due(enum call call, int side, int number)
{
    return call == (enum call)shim->call && side == shim->side &&
           (number == shim->ordinal || (shim->mode == FAULT_FROM && number > shim->ordinal));
}

static bool is_ours(enum call call, int side)
{
    unsigned flags = calls[call].flags;
    return side == SIDE_CHILD ? (flags & CALL_IN_CHILD_TOO) != 0 : (flags & CALL_CHILD_ONLY) == 0;
}

static bool is_interruption(enum call call, int number)
{
    return (calls[call].flags & CALL_INTERRUPTIBLE) != 0 && (shim->mode == KIND_EINTR || shim->mode == KIND_ALL) &&
           (number % 2 == 1 || shim->mode == KIND_ALL) && shim_bends(KIND_EINTR) && may_be_interrupted();
}

static int error_at_random(enum call call)
{
    int count = 0;
    while (count < MOST_ERRORS && calls[call].errors[count] != 0) {
        count++;
    }
    return calls[call].errors[shim_random() % (unsigned)count] & ~ERROR_ONCE;
}

static bool is_hit_at_random(enum call call, int side)
{
    return shim->mode == FAULT_RANDOM && is_ours(call, side) && shim_random() % (unsigned)shim->ordinal == 0;
}

bool shim_fails(enum call call)
{
    if (!atomic_load(&shim->armed)) {
        return false;
    }
    int side = getpid() == shim->main_process ? SIDE_PARENT : SIDE_CHILD;
    int number = atomic_fetch_add(&shim->counts[side][call], 1) + 1;
    (void)atomic_fetch_add(&shim->total, 1);
    int saved = errno;
    if (shim_bends(KIND_DELAY)) {
        pause_at_random();
        errno = saved;
    }
    if (shim->always[call] != 0 && is_ours(call, side)) {
        errno = shim->always[call];
        return true;
    }
    if (is_interruption(call, number)) {
        errno = EINTR;
        return true;
    }
    errno = saved;
    if (is_hit_at_random(call, side)) {
        (void)atomic_fetch_add(&shim->hits, 1);
        errno = error_at_random(call);
        return true;
    }
    if ((shim->mode != FAULT_ONCE && shim->mode != FAULT_FROM) || !is_due(call, side, number)) {
        return false;
    }
    atomic_store(&shim->reached, true);
    (void)atomic_fetch_add(&shim->hits, 1);
    errno = shim->error;
    return true;
}
