/*
 * A bounded byte buffer that a descriptor is read into without a copy: ask for space, read into it, say how much came.
 */
#ifndef CAPTURE_H
#define CAPTURE_H

#include "hidden.h"

typedef struct capture {
    proc_overflow overflow;
    size_t limit; /* at least 1 */
    char *data;
    size_t size;     /* bytes kept: never more than limit, but for a small tail until it is finished */
    size_t capacity; /* of data, not counting the byte for the NUL */
    size_t touched;  /* of a large one: how far its memory is there already */
    size_t start;    /* PROC_OVERFLOW_TAIL, once full: where the oldest byte is */
    bool truncated;
} capture;

hidden void capture_init(capture *c, proc_overflow overflow, size_t limit);
hidden int capture_space(capture *c, char **at, size_t *room); /* room is at least 1; -ENOMEM */
hidden void capture_add(capture *c, size_t size);              /* that much was put there */
/* Hands the bytes over, in order, with a NUL behind the last. -ENOMEM, with nothing handed over. */
hidden int capture_finish(capture *c, char **data, size_t *size);
hidden void capture_free(capture *c);

#endif
