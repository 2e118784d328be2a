/*
 * Linux: epoll. What it refuses to watch (regular files, /dev/null) poll finds ready at all times, and so does this.
 */
#include "os/poller.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>

enum { MOST_EVENTS = 64 };

int poller_init(poller *p)
{
    *p = (poller){.fd = epoll_create1(EPOLL_CLOEXEC)};
    return p->fd < 0 ? -errno : sys_raise_fd(&p->fd);
}

void poller_free(poller *p)
{
    sys_close(&p->fd);
    free(p->entries);
    p->entries = NULL;
}

int poller_fd(const poller *p)
{
    return p->fd;
}

/* ---- those that are always ready ---- */

static int add_ready(poller *p, int fd, short events, void *data)
{
    if (p->count == p->capacity) {
        size_t capacity = p->capacity == 0 ? 4 : 2 * p->capacity;
        poller_entry *entries = realloc(p->entries, capacity * sizeof *entries);
        if (entries == NULL) {
            return -ENOMEM;
        }
        p->entries = entries;
        p->capacity = capacity;
    }
    p->entries[p->count++] = (poller_entry){.fd = fd, .events = events, .data = data};
    return 0;
}

static poller_entry *find_ready(poller *p, int fd)
{
    for (size_t i = 0; i < p->count; i++) {
        if (p->entries[i].fd == fd) {
            return &p->entries[i];
        }
    }
    return NULL;
}

static short ready_events(const poller_entry *entry)
{
    return entry->events & (POLLIN | POLLOUT);
}

bool poller_is_blind(const poller *p)
{
    for (size_t i = 0; i < p->count; i++) {
        if (ready_events(&p->entries[i]) != 0) {
            return true;
        }
    }
    return false;
}

/* Each wait begins where the last one had no more room. */
static int tell_ready(poller *p, poller_event *events, int room)
{
    int told = 0;
    for (size_t n = 0; n < p->count && told < room; n++) {
        const poller_entry *entry = &p->entries[p->next < p->count ? p->next : 0];
        p->next = (size_t)(entry - p->entries) + 1;
        if (ready_events(entry) != 0) {
            events[told++] = (poller_event){.data = entry->data, .revents = ready_events(entry)};
        }
    }
    return told;
}

/* ---- all ---- */

/* The bits of epoll that are used here are those of poll. */
static int control(poller *p, int operation, int fd, short events, void *data)
{
    struct epoll_event event = {.events = (uint32_t)(unsigned short)events, .data.ptr = data};
    return epoll_ctl(p->fd, operation, fd, &event) < 0 ? -errno : 0;
}

int poller_add(poller *p, int fd, short events, void *data)
{
    int err = control(p, EPOLL_CTL_ADD, fd, events, data);
    return err == -EPERM ? add_ready(p, fd, events, data) : err;
}

int poller_change(poller *p, int fd, short events, void *data)
{
    int err = control(p, EPOLL_CTL_MOD, fd, events, data);
    if (err < 0) {
        poller_entry *entry = find_ready(p, fd);
        if (entry != NULL) {
            *entry = (poller_entry){.fd = fd, .events = events, .data = data};
            return 0;
        }
    }
    return err == -ENOENT ? poller_add(p, fd, events, data) : err; /* it was closed, and opened again */
}

void poller_remove(poller *p, int fd)
{
    poller_entry *entry = p->count > 0 ? find_ready(p, fd) : NULL;
    if (entry != NULL) {
        *entry = p->entries[--p->count];
    } else {
        (void)control(p, EPOLL_CTL_DEL, fd, 0, NULL); /* what was closed without a word is out already */
    }
}

int poller_wait(poller *p, poller_event *events, int room, int64_t deadline)
{
    struct epoll_event found[MOST_EVENTS];
    int told = tell_ready(p, events, room / 2), most = room - told < MOST_EVENTS ? room - told : MOST_EVENTS, count;
    do {
        count = epoll_wait(p->fd, found, most, sys_ms_until(told > 0 ? 0 : deadline));
    } while (count < 0 && errno == EINTR);
    if (count < 0) {
        return -errno;
    }
    for (int i = 0; i < count; i++) {
        events[told++] = (poller_event){.data = found[i].data.ptr, .revents = (short)found[i].events};
    }
    return told;
}
