/*
 * See life.h. Pure: no clock, no process.
 */
#include "life.h"

#include "os/sys.h"

void life_init(life *l, int64_t started, int timeout_ms, int grace_ms)
{
    *l = (life){
        .timeout_at = sys_deadline(started, timeout_ms),
        .kill_at = SYS_NEVER,
        .grace_ms = grace_ms,
    };
}

life_act life_stop(life *l, life_reason reason, int grace_ms, int64_t now)
{
    int64_t kill_at = sys_deadline(now, grace_ms);
    switch (l->phase) {
    case LIFE_RUNNING:
        l->phase = LIFE_STOPPING;
        l->reason = reason;
        l->kill_at = kill_at;
        return LIFE_SEND_STOP;
    case LIFE_STOPPING:
        if (kill_at < l->kill_at) {
            l->kill_at = kill_at;
        }
        break;
    case LIFE_KILLED:
        break;
    }
    return LIFE_WAIT;
}

life_act life_step(life *l, int64_t now)
{
    int64_t deadline = life_deadline(l);
    if (deadline == SYS_NEVER || now < deadline) {
        return LIFE_WAIT;
    }
    if (l->phase == LIFE_RUNNING) {
        return life_stop(l, LIFE_TIMEOUT, l->grace_ms, now);
    }
    l->phase = LIFE_KILLED;
    return LIFE_SEND_KILL;
}

int64_t life_deadline(const life *l)
{
    switch (l->phase) {
    case LIFE_RUNNING:
        return l->timeout_at;
    case LIFE_STOPPING:
        return l->kill_at;
    case LIFE_KILLED:
        break;
    }
    return SYS_NEVER;
}
