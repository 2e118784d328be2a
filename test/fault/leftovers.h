/*
 * A picture of the process before a scenario, and what is different after it.
 */
#ifndef LEFTOVERS_H
#define LEFTOVERS_H

#include <signal.h>
#include <stdint.h>
#include <sys/stat.h>

enum { PICTURE_FDS = 256, PICTURE_SIGNALS = 65 };

typedef struct picture {
    int fds[PICTURE_FDS]; /* flags, -1 where closed */
    uint64_t mask, pending;
    struct sigaction actions[PICTURE_SIGNALS];
    mode_t umask;
    struct stat cwd;
    int threads, blocks;
} picture;

void picture_take(picture *now);
/* Complains of what is left. Children and threads that are about to end get a moment for it. */
void picture_compare(const picture *then);

/* All that this process has, and reaps them. */
void kill_children(void);

#endif
