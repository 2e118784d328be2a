/*
 * Many descriptors at once, level-triggered: epoll where there is one, else poll. Each descriptor has one entry. Events in
 * the terms of poll; errors and hang-ups are told whether they were asked for or not.
 */
#ifndef OS_POLLER_H
#define OS_POLLER_H

#include "os/sys.h"

typedef struct poller_entry {
    int fd;
    short events;
    void *data;
} poller_entry;

typedef struct poller {
    int fd; /* of epoll */
    poller_entry *entries;
    size_t count, capacity;
    struct pollfd *polled; /* beside the entries, where poll does the work */
    size_t *places;        /* by descriptor: 1 + its entry's */
    size_t place_count, next;
} poller;

typedef struct poller_event {
    void *data;
    short revents;
} poller_event;

hidden int poller_init(poller *p);
hidden void poller_free(poller *p);           /* also in a copy of the process: its maker notices nothing */
hidden int poller_fd(const poller *p);        /* readable when a wait would find something; -ENOTSUP */
hidden bool poller_is_blind(const poller *p); /* there is something ready that this descriptor does not tell of */
hidden int poller_add(poller *p, int fd, short events, void *data); /* -EBADF, -ENOMEM, -ENOSPC */
hidden int poller_change(poller *p, int fd, short events, void *data);
hidden void poller_remove(poller *p, int fd); /* before it is closed */
/* How many of events were filled; 0: the time is up. */
hidden int poller_wait(poller *p, poller_event *events, int room, int64_t deadline);

#endif
