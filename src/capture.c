/*
 * Output that is kept: it doubles up to its limit. HEAD and KILL read what is past the limit into a little slack, so that
 * one byte too many is noticed and the rest can be dropped; TAIL turns into a ring when it is full.
 */
#include "capture.h"

#include "os/sys.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    FIRST_CAPACITY = 16 * 1024,
    SLACK = 64 * 1024,
    LEAST_ROOM = 4096,  /* for one read, unless the limit is nearer */
    LARGE = 1024 * 1024 /* from here on memory is asked for in one piece, not in a fault for each page */
};

void capture_init(capture *c, proc_overflow overflow, size_t limit)
{
    *c = (capture){.overflow = overflow, .limit = limit};
}

/* A small tail is kept in a larger ring, and cut at the end: else each read would be as small as it. */
static size_t ring_size(const capture *c)
{
    return c->limit < SLACK ? (size_t)SLACK : c->limit;
}

static size_t largest_capacity(const capture *c)
{
    if (c->overflow == PROC_OVERFLOW_TAIL) {
        return ring_size(c);
    }
    return c->limit > SIZE_MAX - 1 - SLACK ? SIZE_MAX - 1 : c->limit + SLACK;
}

static int grow(capture *c)
{
    size_t largest = largest_capacity(c);
    size_t capacity = c->capacity == 0 ? FIRST_CAPACITY : c->capacity <= largest / 2 ? 2 * c->capacity : largest;
    char *data = capacity > PTRDIFF_MAX - 1 ? NULL : realloc(c->data, capacity + 1);
    if (data == NULL) {
        return -ENOMEM;
    }
    c->data = data;
    c->capacity = capacity;
    return 0;
}

int capture_space(capture *c, char **at, size_t *room)
{
    if (c->capacity - c->size < LEAST_ROOM && c->capacity < largest_capacity(c)) {
        int err = grow(c);
        if (err < 0) {
            return err;
        }
    }
    size_t end = c->size;
    if (c->overflow == PROC_OVERFLOW_TAIL && c->size == ring_size(c)) {
        end = c->start;
    }
    *at = c->data + end;
    *room = c->capacity - end;
    if (c->size >= LARGE && c->size < c->limit) {
        *room = *room < LARGE ? *room : LARGE;
        if (end + *room > c->touched) {
            size_t from = end > c->touched ? end : c->touched;
            sys_touch_memory(c->data + from, end + *room - from);
            c->touched = end + *room;
        }
    }
    return 0;
}

void capture_add(capture *c, size_t size)
{
    if (c->overflow == PROC_OVERFLOW_TAIL) {
        if (c->size == ring_size(c)) {
            c->start = (c->start + size) % c->size;
            c->truncated = true;
        } else {
            c->size += size;
            c->truncated = c->size > c->limit;
        }
        return;
    }
    if (size > c->limit - c->size) {
        c->truncated = true;
        size = c->limit - c->size;
    }
    c->size += size;
}

static void reverse(char *data, size_t size)
{
    for (size_t i = 0; i < size / 2; i++) {
        char swapped = data[i];
        data[i] = data[size - 1 - i];
        data[size - 1 - i] = swapped;
    }
}

int capture_finish(capture *c, char **data, size_t *size)
{
    if (c->start != 0) { /* turn the ring so that its oldest byte comes first */
        reverse(c->data, c->start);
        reverse(c->data + c->start, c->size - c->start);
        reverse(c->data, c->size);
    }
    if (c->size > c->limit) { /* a small tail */
        memmove(c->data, c->data + (c->size - c->limit), c->limit);
        c->size = c->limit;
    }
    char *fitted = realloc(c->data, c->size + 1);
    if (fitted == NULL) {
        if (c->data == NULL) {
            return -ENOMEM;
        }
        fitted = c->data; /* could not be made smaller: it will do as it is */
    }
    fitted[c->size] = '\0';
    *data = fitted;
    *size = c->size;
    c->data = NULL;
    return 0;
}

void capture_free(capture *c)
{
    free(c->data);
    c->data = NULL;
}
