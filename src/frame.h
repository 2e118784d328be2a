/*
 * The bytes of a channel, and nothing but the bytes: no system calls, no memory, no state. libproc-protocol(7) describes
 * them; the fuzzer comes in here.
 */
#ifndef FRAME_H
#define FRAME_H

#include "hidden.h"

enum {
    FRAME_HEADER_SIZE = 24,
    FRAME_ALIGNMENT = 8,    /* of header and payload in the stream */
    FRAME_HELLO_SIZE = 256, /* most bytes in the payload of a HELLO or a GOAWAY */
    FRAME_NAME_SIZE = 64,
    FRAME_ACK_OFFSET = 20,
    FRAME_PROTOCOL = 1, /* the version that this end speaks */
    FRAME_MAGIC = 0xC7,
    FRAME_HELLO_TYPE = 0x31435250 /* "PRC1" */
};

typedef enum frame_kind {
    FRAME_HELLO = 1,
    FRAME_MESSAGE,
    FRAME_REQUEST,
    FRAME_REPLY,
    FRAME_ERROR,
    FRAME_CANCEL,
    FRAME_ACK,
    FRAME_BUFFER, /* reserved, as is RELEASE */
    FRAME_RELEASE,
    FRAME_GOAWAY,
    FRAME_PING,
    FRAME_PONG,
    FRAME_END,
    FRAME_KINDS,
    FRAME_IGNORABLE = 0x80 /* a kind with this bit that is not known is skipped */
} frame_kind;

enum { FRAME_MORE = 1, FRAME_IN_BUFFER = 2, FRAME_DEADLINE = 4 }; /* flags; IN_BUFFER is reserved */

typedef struct frame {
    uint32_t size; /* of the payload, without padding */
    uint8_t kind, flags, fd_count;
    uint32_t id, type, timeout_ms, ack;
} frame;

typedef struct frame_limits { /* what this end takes */
    uint32_t max_size;
    uint8_t max_fds;
} frame_limits;

typedef struct frame_hello {
    uint16_t protocol_min, protocol_max;
    uint32_t max_size, window;
    uint16_t max_requests;
    uint8_t max_fds;
    uint64_t features;
    uint16_t name_size;
    char name[FRAME_NAME_SIZE];
} frame_hello;

/* What a payload takes in the stream: padded with zeros. */
static inline size_t frame_padded(size_t size)
{
    return (size + (FRAME_ALIGNMENT - 1)) & ~(size_t)(FRAME_ALIGNMENT - 1);
}

/* NULL, or why the bytes are no header that this end may be sent. */
hidden const char *frame_decode(frame *f, const unsigned char bytes[FRAME_HEADER_SIZE], const frame_limits *limits);

/* How a stream is cut into frames; each way is a row. */
typedef struct framing {
    const char *name;
    /* What begins at bytes, of which `have` are here (more than 0): 1 and a whole frame, the payload at *payload and all of
     * it *size bytes long; 0: not whole yet; -1: it never will be, and why. */
    int (*next)(frame *f, const unsigned char *bytes, size_t have, const frame_limits *limits, size_t *payload,
                size_t *size, const char **why);
} framing;

enum { FRAMING_CHANNEL, FRAMINGS };
hidden_data const framing framings[FRAMINGS];

/* In one expression, which compilers make one load, or one store, of. */
static inline uint32_t frame_get32(const unsigned char *bytes)
{
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static inline void frame_put32(unsigned char *bytes, uint32_t value)
{
    bytes[0] = (unsigned char)value;
    bytes[1] = (unsigned char)(value >> 8);
    bytes[2] = (unsigned char)(value >> 16);
    bytes[3] = (unsigned char)(value >> 24);
}

static inline void frame_encode(const frame *f, unsigned char bytes[FRAME_HEADER_SIZE])
{
    frame_put32(bytes, f->size);
    frame_put32(bytes + 4, (uint32_t)f->kind | (uint32_t)f->flags << 8 | (uint32_t)f->fd_count << 16 |
                               (uint32_t)FRAME_MAGIC << 24);
    frame_put32(bytes + 8, f->id);
    frame_put32(bytes + 12, f->type);
    frame_put32(bytes + 16, f->timeout_ms);
    frame_put32(bytes + FRAME_ACK_OFFSET, f->ack);
}

/* Most frames are a message with nothing but itself: known by one word, and three that are 0 or small. */
static inline bool frame_is_plain(const unsigned char bytes[FRAME_HEADER_SIZE], const frame_limits *limits)
{
    return frame_get32(bytes + 4) == ((uint32_t)FRAME_MESSAGE | (uint32_t)FRAME_MAGIC << 24) &&
           (frame_get32(bytes + 8) | frame_get32(bytes + 16)) == 0 && frame_get32(bytes) <= limits->max_size;
}

/* Of a header that this end has encoded: size, kind, flags, fd_count and id, without a check. */
static inline void frame_read_own(frame *f, const unsigned char bytes[FRAME_HEADER_SIZE])
{
    const uint32_t word = frame_get32(bytes + 4);
    f->size = frame_get32(bytes);
    f->kind = (uint8_t)word;
    f->flags = (uint8_t)(word >> 8);
    f->fd_count = (uint8_t)(word >> 16);
    f->id = frame_get32(bytes + 8);
}

static inline void frame_set_ack(unsigned char bytes[FRAME_HEADER_SIZE], uint32_t ack)
{
    frame_put32(bytes + FRAME_ACK_OFFSET, ack);
}

/* Does it count against the window, and is it held back by it? */
static inline bool frame_is_gated(const frame *f)
{
    return f->kind == FRAME_MESSAGE || f->kind == FRAME_REQUEST ||
           (f->kind == FRAME_REPLY && (f->flags & FRAME_MORE) != 0);
}

hidden size_t frame_encode_hello(const frame_hello *hello, unsigned char bytes[FRAME_HELLO_SIZE]); /* its size */
hidden const char *frame_decode_hello(frame_hello *hello, const unsigned char *bytes, size_t size);

#endif
