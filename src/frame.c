/*
 * See frame.h. A table says what each kind may carry; whatever a peer sends is measured by it before a byte of memory is
 * taken. Another table names the ways to cut a stream into frames: so far the channel's own.
 */
#include "frame.h"

#include <string.h>

enum { HELLO_FIXED_SIZE = 26, LEAST_LIMIT = 64 * 1024 };

static uint16_t get16(const unsigned char *bytes)
{
    return (uint16_t)(bytes[0] | bytes[1] << 8);
}

static uint64_t get64(const unsigned char *bytes)
{
    return frame_get32(bytes) | (uint64_t)frame_get32(bytes + 4) << 32;
}

static void put16(unsigned char *bytes, uint16_t value)
{
    bytes[0] = (unsigned char)value;
    bytes[1] = (unsigned char)(value >> 8);
}

static void put64(unsigned char *bytes, uint64_t value)
{
    frame_put32(bytes, (uint32_t)value);
    frame_put32(bytes + 4, (uint32_t)(value >> 32));
}

/* ---- the header ---- */

typedef enum id_rule { ID_ZERO, ID_NEEDED, ID_ANY } id_rule;

typedef struct kind_rule {
    bool known;
    uint8_t flags; /* that it may have */
    id_rule id;
    bool carries;      /* a program's payload, type and descriptors */
    uint32_t max_size; /* of what the library itself carries in it */
} kind_rule;

static const kind_rule kind_rules[FRAME_KINDS] = {
    [FRAME_HELLO] = {.known = true, .max_size = FRAME_HELLO_SIZE},
    [FRAME_MESSAGE] = {.known = true, .carries = true},
    [FRAME_REQUEST] = {.known = true, .flags = FRAME_DEADLINE, .id = ID_NEEDED, .carries = true},
    [FRAME_REPLY] = {.known = true, .flags = FRAME_MORE, .id = ID_NEEDED, .carries = true},
    [FRAME_ERROR] = {.known = true, .id = ID_NEEDED, .carries = true},
    [FRAME_CANCEL] = {.known = true, .id = ID_NEEDED},
    [FRAME_ACK] = {.known = true},
    [FRAME_GOAWAY] = {.known = true, .max_size = FRAME_HELLO_SIZE},
    [FRAME_PING] = {.known = true, .id = ID_ANY},
    [FRAME_PONG] = {.known = true, .id = ID_ANY},
    [FRAME_END] = {.known = true},
};

static const char *check_known(const frame *f, const kind_rule *rule, const frame_limits *limits)
{
    if ((f->flags & ~rule->flags) != 0) {
        return "a flag that this kind of frame does not have";
    }
    if ((rule->id == ID_NEEDED && f->id == 0) || (rule->id == ID_ZERO && f->id != 0)) {
        return "an id where none belongs, or none where one does";
    }
    if (f->size > (rule->carries ? limits->max_size : rule->max_size)) {
        return "a frame larger than this end takes";
    }
    if (f->fd_count > (rule->carries ? limits->max_fds : 0)) {
        return "more descriptors than this end takes";
    }
    if (f->kind == FRAME_HELLO && f->type != FRAME_HELLO_TYPE) {
        return "a HELLO of another protocol";
    }
    if (f->timeout_ms != 0 && (f->flags & FRAME_DEADLINE) == 0) {
        return "a time without its flag";
    }
    return NULL;
}

const char *frame_decode(frame *f, const unsigned char bytes[FRAME_HEADER_SIZE], const frame_limits *limits)
{
    *f = (frame){
        .size = frame_get32(bytes),
        .kind = bytes[4],
        .flags = bytes[5],
        .fd_count = bytes[6],
        .id = frame_get32(bytes + 8),
        .type = frame_get32(bytes + 12),
        .timeout_ms = frame_get32(bytes + 16),
        .ack = frame_get32(bytes + 20),
    };
    if (frame_is_plain(bytes, limits)) {
        return NULL;
    }
    if (bytes[7] != FRAME_MAGIC) {
        return "no frame where one should begin";
    }
    if (f->kind < FRAME_KINDS && kind_rules[f->kind].known) {
        return check_known(f, &kind_rules[f->kind], limits);
    }
    if ((f->kind & FRAME_IGNORABLE) == 0) {
        return "an unknown kind of frame";
    }
    if (f->size > limits->max_size) {
        return "a frame larger than this end takes";
    }
    return f->fd_count != 0 ? "descriptors with an unknown kind of frame" : NULL;
}

/* ---- framings ---- */

static int next_of_channel(frame *f, const unsigned char *bytes, size_t have, const frame_limits *limits,
                           size_t *payload, size_t *size, const char **why)
{
    if (have < FRAME_HEADER_SIZE) {
        return 0;
    }
    *why = frame_decode(f, bytes, limits);
    if (*why != NULL) {
        return -1;
    }
    *payload = FRAME_HEADER_SIZE;
    *size = FRAME_HEADER_SIZE + frame_padded(f->size);
    return have >= *size;
}

const framing framings[FRAMINGS] = {
    [FRAMING_CHANNEL] = {"channel", next_of_channel},
};

/* ---- HELLO ---- */

size_t frame_encode_hello(const frame_hello *hello, unsigned char bytes[FRAME_HELLO_SIZE])
{
    put16(bytes, hello->protocol_min);
    put16(bytes + 2, hello->protocol_max);
    frame_put32(bytes + 4, hello->max_size);
    frame_put32(bytes + 8, hello->window);
    put16(bytes + 12, hello->max_requests);
    bytes[14] = hello->max_fds;
    bytes[15] = 0;
    put64(bytes + 16, hello->features);
    put16(bytes + 24, hello->name_size);
    memcpy(bytes + HELLO_FIXED_SIZE, hello->name, hello->name_size);
    return HELLO_FIXED_SIZE + (size_t)hello->name_size;
}

/* What follows the name belongs to later versions and is passed over. */
const char *frame_decode_hello(frame_hello *hello, const unsigned char *bytes, size_t size)
{
    if (size < HELLO_FIXED_SIZE) {
        return "a HELLO that is too short";
    }
    *hello = (frame_hello){
        .protocol_min = get16(bytes),
        .protocol_max = get16(bytes + 2),
        .max_size = frame_get32(bytes + 4),
        .window = frame_get32(bytes + 8),
        .max_requests = get16(bytes + 12),
        .max_fds = bytes[14],
        .features = get64(bytes + 16),
        .name_size = get16(bytes + 24),
    };
    if (hello->protocol_min == 0 || hello->protocol_min > hello->protocol_max) {
        return "a HELLO with no version";
    }
    if (hello->max_size < LEAST_LIMIT || hello->window < LEAST_LIMIT || hello->max_requests < 16) {
        return "a HELLO with limits below the least";
    }
    if (hello->name_size > FRAME_NAME_SIZE || hello->name_size > size - HELLO_FIXED_SIZE) {
        return "a HELLO with a name that is too long";
    }
    memcpy(hello->name, bytes + HELLO_FIXED_SIZE, hello->name_size);
    return NULL;
}
