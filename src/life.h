/*
 * How a child is brought to its end, as a state machine without a process: what is due at a given time, given why. Whoever
 * waits for the child asks it and does what it says.
 */
#ifndef LIFE_H
#define LIFE_H

#include "hidden.h"

typedef enum life_phase {
    LIFE_RUNNING,
    LIFE_STOPPING, /* the stop signal went out, the grace runs */
    LIFE_KILLED    /* SIGKILL went out */
} life_phase;

typedef enum life_reason {
    LIFE_NO_REASON,
    LIFE_TIMEOUT,
    LIFE_CANCEL,
    LIFE_OVERFLOW,
    LIFE_ASKED /* proc_child_stop */
} life_reason;

typedef enum life_act { LIFE_WAIT, LIFE_SEND_STOP, LIFE_SEND_KILL } life_act;

typedef struct life {
    life_phase phase;
    life_reason reason; /* the first one that stopped it */
    int64_t timeout_at; /* SYS_NEVER for none, as everywhere */
    int64_t kill_at;
    int grace_ms; /* negative: no SIGKILL */
} life;

hidden void life_init(life *l, int64_t started, int timeout_ms, int grace_ms);
/* Stop it now. A second stop only shortens the grace. */
hidden life_act life_stop(life *l, life_reason reason, int grace_ms, int64_t now);
hidden life_act life_step(life *l, int64_t now);
hidden int64_t life_deadline(const life *l); /* when life_step has work again */

#endif
