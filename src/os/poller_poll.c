/*
 * Plain POSIX: poll over an array that is kept from one wait to the next.
 */
#include "os/poller.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

int poller_init(poller *p)
{
    *p = (poller){.fd = -1};
    return 0;
}

void poller_free(poller *p)
{
    free(p->entries);
    free(p->polled);
    free(p->places);
    *p = (poller){.fd = -1};
}

int poller_fd(const poller *p)
{
    (void)p;
    return -ENOTSUP;
}

bool poller_is_blind(const poller *p)
{
    (void)p;
    return false;
}

static int reserve_entry(poller *p)
{
    if (p->count < p->capacity) {
        return 0;
    }
    size_t capacity = p->capacity == 0 ? 16 : 2 * p->capacity;
    poller_entry *entries = realloc(p->entries, capacity * sizeof *entries);
    if (entries == NULL) {
        return -ENOMEM;
    }
    p->entries = entries;
    struct pollfd *polled = realloc(p->polled, capacity * sizeof *polled);
    if (polled == NULL) {
        return -ENOMEM;
    }
    p->polled = polled;
    p->capacity = capacity;
    return 0;
}

static int reserve_place(poller *p, int fd)
{
    size_t count = p->place_count == 0 ? 64 : p->place_count;
    while (count <= (size_t)fd) {
        count *= 2;
    }
    if (count != p->place_count) {
        size_t *places = realloc(p->places, count * sizeof *places);
        if (places == NULL) {
            return -ENOMEM;
        }
        for (size_t i = p->place_count; i < count; i++) {
            places[i] = 0;
        }
        p->places = places;
        p->place_count = count;
    }
    return 0;
}

static void set_entry(poller *p, size_t i, poller_entry entry)
{
    p->entries[i] = entry;
    p->polled[i] = (struct pollfd){.fd = entry.fd, .events = entry.events};
    p->places[entry.fd] = i + 1;
}

int poller_add(poller *p, int fd, short events, void *data)
{
    if (fd < 0 || fcntl(fd, F_GETFD) < 0) {
        return -EBADF;
    }
    int err = reserve_place(p, fd);
    if (err == 0) {
        err = reserve_entry(p);
    }
    if (err == 0) {
        set_entry(p, p->count++, (poller_entry){.fd = fd, .events = events, .data = data});
    }
    return err;
}

int poller_change(poller *p, int fd, short events, void *data)
{
    set_entry(p, p->places[fd] - 1, (poller_entry){.fd = fd, .events = events, .data = data});
    return 0;
}

void poller_remove(poller *p, int fd)
{
    size_t i = p->places[fd] - 1;
    p->places[fd] = 0;
    if (i != --p->count) {
        set_entry(p, i, p->entries[p->count]);
    }
}

/* Each wait begins where the last one had no more room, so that the first do not keep the others waiting. */
int poller_wait(poller *p, poller_event *events, int room, int64_t deadline)
{
    int ready = sys_poll(p->polled, p->count, deadline), told = 0;
    if (ready <= 0) {
        return ready;
    }
    for (size_t n = 0; n < p->count && told < room && told < ready; n++) {
        size_t i = p->next < p->count ? p->next : 0;
        p->next = i + 1;
        if (p->polled[i].revents != 0) {
            events[told++] = (poller_event){.data = p->entries[i].data, .revents = p->polled[i].revents};
        }
    }
    return told;
}
