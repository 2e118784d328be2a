/* wrap: sys_close malloc realloc */
/*
 * The decoder and the inbox: a stream and its descriptors, fed in pieces of every size, against a reader that has the whole
 * stream before it. Nothing here is a system call: the descriptors are numbers.
 */
#include "fuzz.h"

#include "inbox.h"

#include <errno.h>

enum { MOST_STREAM = 900 * 1024, MOST_FRAMES = 600, MOST_BATCHES = 40, MOST_FDS = 8, FIRST_FD = 1000 };

typedef struct batch {
    size_t at; /* comes with the byte that is there */
    size_t count;
    bool lost;
    int first;
} batch;

typedef struct stream {
    unsigned char bytes[MOST_STREAM];
    size_t size;
    batch batches[MOST_BATCHES];
    size_t batch_count;
    bool orderly; /* every batch comes with the first byte of its frame */
    frame_limits limits;
} stream;

typedef struct seen { /* a frame, as it was handed out */
    size_t offset;
    int first_fd; /* -1: none */
    bool lost;
} seen;

typedef struct outcome {
    seen frames[MOST_FRAMES];
    size_t count;
    bool failed;
} outcome;

static stream s;
static unsigned char filler[MOST_STREAM + 256];
static outcome whole, split;

/* ---- what is replaced ---- */

static bool counting;
static size_t allowed; /* the most that one piece of memory may have */
static uint8_t open_fds[MOST_BATCHES * 256];

void __wrap_sys_close(int *fd);
void *__wrap_malloc(size_t size);
void *__wrap_realloc(void *memory, size_t size);
void *__real_malloc(size_t size);
void *__real_realloc(void *memory, size_t size);

void __wrap_sys_close(int *fd)
{
    if (*fd >= 0) {
        MUST(*fd >= FIRST_FD && open_fds[*fd - FIRST_FD] == 1);
        open_fds[*fd - FIRST_FD] = 0;
    }
    *fd = -1;
}

void *__wrap_malloc(size_t size)
{
    MUST(!counting || size <= allowed);
    return __real_malloc(size);
}

void *__wrap_realloc(void *memory, size_t size)
{
    MUST(!counting || size <= allowed);
    return __real_realloc(memory, size);
}

/* ---- the stream, from the input ---- */

static void put_bytes(const void *bytes, size_t size)
{
    size = size < MOST_STREAM - s.size ? size : MOST_STREAM - s.size;
    if (size > 0) {
        memcpy(s.bytes + s.size, bytes, size);
        s.size += size;
    }
}

static void put_filler(size_t size, unsigned seed)
{
    size = size < MOST_STREAM - s.size ? size : MOST_STREAM - s.size;
    memcpy(s.bytes + s.size, filler + seed % 256, size);
    s.size += size;
}

static void put_batch(size_t count, bool lost)
{
    static int next;

    if (s.batch_count == 0) {
        next = FIRST_FD;
    }
    if (s.batch_count < MOST_BATCHES && (s.batch_count == 0 || s.batches[s.batch_count - 1].at < s.size)) {
        s.batches[s.batch_count++] = (batch){.at = s.size, .count = count, .lost = lost, .first = next};
        next += (int)count;
    } else {
        s.orderly = false; /* it comes without */
    }
}

static void put_frame(input *in, bool mutated)
{
    static const uint8_t kinds[] = {FRAME_MESSAGE, FRAME_REQUEST, FRAME_REPLY, FRAME_ERROR,
                                    FRAME_ACK,     FRAME_PING,    0x90};
    unsigned shape = take8(in);
    frame f = {.kind = kinds[shape % COUNT(kinds)], .type = take8(in), .ack = take8(in)};
    unsigned char header[FRAME_HEADER_SIZE];

    if (f.kind == FRAME_REQUEST || f.kind == FRAME_REPLY || f.kind == FRAME_ERROR) {
        f.id = 1 + (uint32_t)take8(in);
        f.flags = f.kind == FRAME_REPLY ? shape >> 7 : 0;
    }
    if (f.kind < FRAME_ACK || f.kind == 0x90) {
        f.size = take8(in);
        f.size = f.size > 252 ? 50000u * (1 + take_below(in, 16)) : f.size;
        f.size = f.size < s.limits.max_size ? f.size : s.limits.max_size;
    }
    if (f.kind < FRAME_ACK && (shape & 64) != 0 && s.limits.max_fds > 0) {
        bool lost = take_below(in, 8) == 0;
        size_t count = 1 + take_below(in, s.limits.max_fds);

        f.fd_count = (uint8_t)count;
        if (take_below(in, 16) == 0) {
            f.fd_count = take8(in);
        }
        s.orderly = s.orderly && f.fd_count == count;
        put_batch(count, lost);
    }
    frame_encode(&f, header);
    if (mutated) {
        header[take_below(in, FRAME_HEADER_SIZE)] ^= take8(in);
    }
    put_bytes(header, sizeof header);
    put_filler(mutated ? take8(in) : frame_padded(f.size), f.type);
}

static void make_stream(input *in)
{
    s.size = s.batch_count = 0;
    s.orderly = true;
    s.limits.max_size = 1u << (10 + take_below(in, 11));
    s.limits.max_fds = (uint8_t)take_below(in, MOST_FDS);
    for (unsigned ops = 1 + take_below(in, 60); ops > 0; ops--) {
        unsigned op = take_below(in, 16);
        size_t size = 32;

        if (op < 12) {
            put_frame(in, false);
        } else if (op < 14) {
            put_frame(in, true);
            s.orderly = false;
        } else if (op < 15) {
            const uint8_t *bytes = take_bytes(in, &size);

            put_bytes(bytes, size);
            s.orderly = false;
        } else {
            put_batch(1 + take_below(in, MOST_FDS), take_bool(in));
            s.orderly = false;
        }
    }
    s.size -= take_bool(in) ? take8(in) % (s.size + 1) : 0; /* cut off */
    while (s.batch_count > 0 && s.batches[s.batch_count - 1].at >= s.size) {
        s.batch_count--;
    }
}

/* ---- reading it ---- */

static bool is_valid(const unsigned char *h)
{
    static const uint8_t flags[FRAME_KINDS] = {[FRAME_REQUEST] = FRAME_DEADLINE, [FRAME_REPLY] = FRAME_MORE};
    uint32_t size = frame_get32(h), id = frame_get32(h + 8), time = frame_get32(h + 16);
    bool carries = h[4] >= FRAME_MESSAGE && h[4] <= FRAME_ERROR;
    bool small = h[4] == FRAME_HELLO || h[4] == FRAME_GOAWAY;

    if (h[7] != FRAME_MAGIC || size > s.limits.max_size) {
        return false;
    }
    if ((h[4] & FRAME_IGNORABLE) != 0) {
        return h[6] == 0;
    }
    if (h[4] == 0 || h[4] >= FRAME_KINDS || h[4] == FRAME_BUFFER || h[4] == FRAME_RELEASE) {
        return false;
    }
    if ((h[5] & ~flags[h[4]]) != 0 || (time != 0 && (h[5] & FRAME_DEADLINE) == 0)) {
        return false;
    }
    if (!carries && (size > (small ? 256u : 0u) || h[6] != 0)) {
        return false;
    }
    if (h[6] > s.limits.max_fds || (h[4] == FRAME_HELLO && memcmp(h + 12, "PRC1", 4) != 0)) {
        return false;
    }
    bool answers = h[4] >= FRAME_REQUEST && h[4] <= FRAME_CANCEL, free_id = h[4] == FRAME_PING || h[4] == FRAME_PONG;
    return free_id || (id != 0) == answers;
}

/* With all of it at hand, and each batch given to the frame at whose first byte it comes. */
static void check_orderly(const outcome *o)
{
    size_t at = 0, count = 0, next = 0;

    while (s.size - at >= FRAME_HEADER_SIZE && is_valid(s.bytes + at)) {
        const unsigned char *h = s.bytes + at;
        size_t size = FRAME_HEADER_SIZE + frame_padded(frame_get32(h));

        if (s.size - at < size) {
            break;
        }
        MUST(count < o->count && o->frames[count].offset == at);
        if (h[6] > 0) {
            MUST(next < s.batch_count && s.batches[next].at == at);
            MUST(o->frames[count].lost == s.batches[next].lost);
            MUST(s.batches[next].lost || o->frames[count].first_fd == s.batches[next].first);
            next++;
        } else {
            MUST(o->frames[count].first_fd < 0 && !o->frames[count].lost);
        }
        count++;
        at += size;
    }
    MUST(o->count == count);
    MUST(o->failed == (s.size - at >= FRAME_HEADER_SIZE && !is_valid(s.bytes + at)));
}

static void check_frame(const inbox_frame *f, size_t at)
{
    unsigned char header[FRAME_HEADER_SIZE];

    frame_encode(&f->header, header);
    MUST(is_valid(s.bytes + at) && memcmp(header, s.bytes + at, sizeof header) == 0);
    MUST((uintptr_t)f->payload % FRAME_ALIGNMENT == 0);
    MUST(memcmp(f->payload, s.bytes + at + FRAME_HEADER_SIZE, f->header.size) == 0);
}

/* ---- feeding it ---- */

typedef struct held { /* frames that are looked at for a while */
    inbox_frame f;
    size_t at;
    bool given;
} held;

static void let_go(inbox *in, held *h)
{
    if (h->f.slab != NULL) {
        check_frame(&h->f, h->at);
        fd_batch_free(h->f.batch);
        if (h->given) {
            slab_release(h->f.slab);
        } else {
            inbox_return(in, h->f.slab);
        }
    }
    h->f.slab = NULL;
}

/* Takes what is whole; false: it has failed. */
static bool take_frames(inbox *in, outcome *o, size_t *at, held *hold, unsigned habit)
{
    for (;;) {
        const char *why = NULL;
        inbox_frame f;
        int more = inbox_next(in, &s.limits, &f, &why);
        held *h = &hold[o->count % 4 * (habit & 1)];

        MUST(more == 1 || more == 0 || (more == -EPROTO && why != NULL));
        MUST((more < 0) == (why != NULL));
        if (more <= 0) {
            o->failed = more < 0;
            return more == 0;
        }
        MUST(o->count < MOST_FRAMES);
        check_frame(&f, *at);
        o->frames[o->count++] = (seen){
            .offset = *at,
            .lost = f.batch != NULL && f.batch->lost,
            .first_fd = f.batch != NULL && f.batch->count > 0 ? f.batch->fds[0] : -1,
        };
        MUST(f.batch == NULL || f.batch->lost || f.batch->count == f.header.fd_count);
        let_go(in, h);
        *h = (held){.f = f, .at = *at, .given = (habit & 2) != 0 && o->count % 3 == 0};
        if (h->given) {
            inbox_give_away(in, f.slab);
        }
        *at += FRAME_HEADER_SIZE + frame_padded(f.header.size);
    }
}

static size_t piece_size(input *in, bool in_pieces)
{
    unsigned size = in_pieces ? take8(in) : 0;

    return !in_pieces ? MOST_STREAM : size == 0 ? 8192 : size > 250 ? 30000u * (size - 249) : size;
}

static void add_fds(inbox *in, const batch *b)
{
    int fds[256];

    for (size_t i = 0; i < b->count; i++) {
        fds[i] = b->first + (int)i;
        open_fds[fds[i] - FIRST_FD] = 1;
    }
    MUST(inbox_add_fds(in, fds, b->count, b->lost) == 0);
}

/* As a channel does: space, read, descriptors, then the frames. A read ends where the system would end it: it brings
 * one batch, and nothing behind what was sent with it. */
static void feed(input *in, outcome *o, bool in_pieces, unsigned habit)
{
    held hold[4] = {{.at = 0}};
    size_t fed = 0, at = 0, next = 0;
    inbox box;

    o->count = 0;
    o->failed = false;
    inbox_init(&box);
    while (fed < s.size && !o->failed) {
        size_t room, piece = piece_size(in, in_pieces), have = box.end - box.start;
        size_t second = next + 1 < s.batch_count ? s.batches[next + 1].at : s.size;
        unsigned char *to;

        allowed = 2 * have + 512 * 1024;
        counting = true;
        MUST(inbox_space(&box, &to, &room) == 0 && room > 0);
        counting = false;
        piece = piece < room ? piece : room;
        piece = piece < second - fed ? piece : second - fed;
        memcpy(to, s.bytes + fed, piece);
        if (next < s.batch_count && s.batches[next].at < fed + piece) {
            add_fds(&box, &s.batches[next++]);
        }
        inbox_add(&box, piece);
        fed += piece;
        (void)take_frames(&box, o, &at, hold, habit);
    }
    MUST(o->failed || inbox_has_part(&box) == (at < s.size));
    if (o->failed) {
        inbox_drop_fds(&box);
    }
    for (size_t i = 0; i < COUNT(hold); i++) {
        let_go(&box, &hold[i]);
    }
    inbox_free(&box);
    MUST(memchr(open_fds, 1, sizeof open_fds) == NULL);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    for (size_t i = 0; i < sizeof filler; i++) {
        filler[i] = (unsigned char)(i * 7 + i / 256);
    }
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    input in = {.at = data, .left = size};
    frame_hello hello;

    (void)frame_decode_hello(&hello, data, size);
    make_stream(&in);
    feed(&in, &whole, false, 0);
    feed(&in, &split, true, take8(&in));

    /* A stray batch is found out sooner or later, as the reads fall; until then nothing differs. */
    size_t common = whole.count < split.count ? whole.count : split.count;
    for (size_t i = 0; i < common; i++) {
        MUST(whole.frames[i].offset == split.frames[i].offset);
    }
    MUST(whole.count == common || split.failed);
    MUST(split.count == common || whole.failed);
    if (s.orderly) {
        check_orderly(&whole);
        check_orderly(&split);
    }
    return 0;
}
