/*
 * What the tests of the loop share: handlers that write down what they are told.
 */
#ifndef EVENTS_H
#define EVENTS_H

#include "peer.h"

typedef struct events {
    const char *name;
    char log[4096]; /* "A.out1=text A.end1 A.exit=3 A.close ", in the order in which it came */
    size_t length;
} events;

void note(events *e, const char *format, ...) __attribute__((format(printf, 2, 3)));
extern const proc_handlers noting; /* ctx is an events */

proc_loop *make_loop(void);
proc_child *start_piped(const char *const argv[]); /* all three streams */
/* Starts it with its output in pipes, adds it with the handlers that note. */
proc_child *add_noted(proc_loop *loop, events *e, const char *const argv[], const proc_options *options);
void run_loop(proc_loop *loop); /* to its end, in time */

#endif
