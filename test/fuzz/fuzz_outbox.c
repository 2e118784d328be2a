/* wrap: sys_close */
/*
 * The outbox against two plain lists of frames: what its pieces hold is what the lists say comes next, whatever part of
 * each batch goes. The descriptors are numbers.
 */
#include "fuzz.h"

#include "outbox.h"

enum { MOST_FRAMES = 256, FIRST_FD = 1000, MOST_FDS = 3, AT_ONCE = 64 * 1024 };

typedef struct queued {
    frame f;
    unsigned seed;
    int first_fd;
    size_t begun; /* bytes of it that went */
} queued;

typedef struct list {
    queued frames[MOST_FRAMES];
    size_t first, count;
} list;

typedef struct model {
    list lists[OUTBOX_QUEUES];
    list *begun;
    uint32_t sent, acked, window, ack;
    size_t pending, replies;
    int next_fd;
} model;

static model m;
static outbox box;
static uint8_t open_fds[MOST_FRAMES * OUTBOX_QUEUES * MOST_FDS];
static unsigned char payload[256 * 1024], pattern[256 * 1024], expected[1024 * 1024], got[1024 * 1024];

void __wrap_sys_close(int *fd);

void __wrap_sys_close(int *fd)
{
    MUST(*fd >= FIRST_FD && open_fds[*fd - FIRST_FD] == 1);
    open_fds[*fd - FIRST_FD] = 0;
    *fd = -1;
}

static size_t wire_size(const frame *f)
{
    return FRAME_HEADER_SIZE + (f->size + 7) / 8 * 8;
}

static bool carries(const frame *f)
{
    return f->kind >= FRAME_MESSAGE && f->kind <= FRAME_ERROR;
}

static bool is_last_reply(const frame *f)
{
    return f->kind == FRAME_ERROR || (f->kind == FRAME_REPLY && f->flags == 0);
}

static void fill(unsigned char *at, size_t size, unsigned seed)
{
    memcpy(at, pattern + seed % 256, size);
}

static size_t encode(const queued *q, unsigned char *at)
{
    frame f = q->f;

    f.ack = m.ack;
    frame_encode(&f, at);
    memset(at + FRAME_HEADER_SIZE, 0, wire_size(&f) - FRAME_HEADER_SIZE);
    fill(at + FRAME_HEADER_SIZE, f.size, q->seed);
    return wire_size(&f);
}

/* ---- what is put ---- */

static frame take_frame(input *in, int *queue)
{
    static const uint8_t kinds[] = {FRAME_MESSAGE, FRAME_REQUEST, FRAME_REPLY, FRAME_ERROR,
                                    FRAME_CANCEL,  FRAME_PONG,    FRAME_ACK,   FRAME_END};
    unsigned shape = take8(in);
    frame f = {.kind = kinds[shape % COUNT(kinds)], .type = take8(in)};

    *queue = (shape & 8) != 0 ? OUTBOX_GATED : OUTBOX_URGENT;
    if (f.kind >= FRAME_REQUEST && f.kind <= FRAME_CANCEL) {
        f.id = 1 + (uint32_t)take_below(in, 4);
    } else if (f.kind == FRAME_PONG) {
        f.id = take_below(in, 4);
        *queue = OUTBOX_URGENT;
    }
    if (f.kind == FRAME_REPLY && (shape & 16) != 0) {
        f.flags = FRAME_MORE;
    }
    if (carries(&f)) {
        f.size = take8(in);
        f.size = f.size > 250 ? 10000 * (f.size - 249) : f.size;
        f.fd_count = (shape & 32) != 0 ? (uint8_t)(1 + take_below(in, MOST_FDS)) : 0;
    }
    if (frame_is_gated(&f) || f.kind == FRAME_END) {
        *queue = OUTBOX_GATED;
    }
    return f;
}

static void count_in(const frame *f)
{
    if (carries(f)) {
        m.pending += f->size < FRAME_HEADER_SIZE ? FRAME_HEADER_SIZE : f->size;
        m.replies += is_last_reply(f);
    }
}

static void count_out(const frame *f)
{
    if (carries(f)) {
        m.pending -= f->size < FRAME_HEADER_SIZE ? FRAME_HEADER_SIZE : f->size;
        m.replies -= is_last_reply(f);
    }
}

static void put(input *in)
{
    int queue, fds[MOST_FDS];
    frame f = take_frame(in, &queue);
    list *l = &m.lists[queue];
    queued *q = &l->frames[l->first + l->count];

    if (l->first + l->count == MOST_FRAMES) {
        return;
    }
    *q = (queued){.f = f, .seed = f.type, .first_fd = f.fd_count > 0 ? m.next_fd : -1};
    for (int i = 0; i < f.fd_count; i++) {
        fds[i] = m.next_fd++;
        open_fds[fds[i] - FIRST_FD] = 1;
    }
    fill(payload, f.size, q->seed);
    MUST(outbox_put(&box, queue, &f, payload, fds) == 0);
    l->count++;
    count_in(&f);
}

static bool admits(uint32_t sent, const frame *f)
{
    uint32_t outstanding = sent - m.acked;

    return !frame_is_gated(f) || outstanding == 0 || outstanding + wire_size(f) <= m.window;
}

/* A message that went straight to the kernel, in part. */
static void put_rest(input *in)
{
    int queue;
    frame f = take_frame(in, &queue);
    queued q = {.f = f, .seed = f.type, .first_fd = -1};
    list *l = &m.lists[queue];

    q.f.fd_count = f.fd_count = 0;
    q.f.ack = f.ack = m.ack;
    if (!outbox_is_empty(&box) || !carries(&f) || !admits(m.sent, &f) || l->first == MOST_FRAMES) {
        return;
    }
    q.begun = 1 + take16(in) % wire_size(&f);
    fill(payload, f.size, q.seed);
    MUST(outbox_put_rest(&box, queue, &f, payload, q.begun) == 0);
    m.sent += frame_is_gated(&f) ? (uint32_t)wire_size(&f) : 0;
    if (q.begun < wire_size(&f)) {
        l->frames[l->first] = q;
        l->count = 1;
        m.begun = l;
    }
}

/* ---- what comes next ---- */

/* All that could go by now, in order; *alone: the first frame to begin has descriptors. */
static size_t expect(const queued **alone)
{
    uint32_t sent = m.sent;
    size_t size = 0;

    *alone = NULL;
    if (m.begun != NULL) {
        const queued *q = &m.begun->frames[m.begun->first];

        /* What a frame says of the ack was settled when it began. */
        size = encode(q, expected) - q->begun;
        memmove(expected, expected + q->begun, size);
    }
    for (int i = 0; i < OUTBOX_QUEUES; i++) {
        const list *l = &m.lists[i];

        for (size_t k = m.begun == l; k < l->count; k++) {
            const queued *q = &l->frames[l->first + k];

            if (!admits(sent, &q->f) || size + wire_size(&q->f) > sizeof expected) {
                return size;
            }
            if (q->f.fd_count > 0) {
                if (size > 0) {
                    return size;
                }
                *alone = q;
                return encode(q, expected);
            }
            size += encode(q, expected + size);
            sent += frame_is_gated(&q->f) ? (uint32_t)wire_size(&q->f) : 0;
        }
    }
    return size;
}

static size_t gather(const outbox_batch *batch)
{
    size_t size = 0;

    MUST(batch->piece_count >= 1 && batch->piece_count <= OUTBOX_PIECES);
    for (int i = 0; i < batch->piece_count; i++) {
        MUST(size + batch->pieces[i].iov_len <= sizeof got);
        memcpy(got + size, batch->pieces[i].iov_base, batch->pieces[i].iov_len);
        size += batch->pieces[i].iov_len;
    }
    MUST(size == batch->size);
    return size;
}

/* The header's last four bytes of a frame that has begun hold the ack of then. */
static bool same_bytes(size_t size, size_t begun)
{
    size_t from = begun > 0 && begun < FRAME_HEADER_SIZE ? FRAME_HEADER_SIZE - begun : 0;

    return memcmp(expected + from, got + from, size > from ? size - from : 0) == 0;
}

static size_t go_on(list *l, size_t size)
{
    queued *q = &l->frames[l->first];
    size_t left = wire_size(&q->f) - q->begun, step = size < left ? size : left;

    if (q->begun == 0 && step > 0) {
        m.sent += frame_is_gated(&q->f) ? (uint32_t)wire_size(&q->f) : 0;
        count_out(&q->f);
        for (int i = 0; i < q->f.fd_count; i++) {
            MUST(open_fds[q->first_fd + i - FIRST_FD] == 0); /* they went with the first byte */
        }
    }
    q->begun += step;
    m.begun = l;
    if (q->begun == wire_size(&q->f)) {
        l->first++;
        l->count--;
        m.begun = NULL;
    }
    return step;
}

static void send_some(input *in, bool all)
{
    const queued *alone;
    size_t most = expect(&alone), begun = m.begun != NULL ? m.begun->frames[m.begun->first].begun : 0;
    outbox_batch batch;
    bool some = outbox_next(&box, m.ack, &batch);

    MUST(outbox_can_send(&box) == (most > 0) && some == (most > 0));
    if (!some) {
        return;
    }
    size_t size = gather(&batch);
    MUST(size <= most && same_bytes(size, begun));
    MUST(size == most || size >= AT_ONCE || alone != NULL);
    MUST((batch.fd_count > 0) == (alone != NULL));
    MUST(alone == NULL || (batch.fd_count == alone->f.fd_count && batch.fds[0] == alone->first_fd));
    MUST(alone == NULL || size <= 4096 + FRAME_HEADER_SIZE);
    MUST(batch.begins == (size > (m.begun != NULL ? wire_size(&m.begun->frames[m.begun->first].f) - begun : 0)));

    size_t went = all ? size : 1 + take16(in) % size;
    outbox_sent(&box, &batch, went);
    while (went > 0) {
        list *l = m.begun != NULL                    ? m.begun
                  : m.lists[OUTBOX_URGENT].count > 0 ? &m.lists[OUTBOX_URGENT]
                                                     : &m.lists[OUTBOX_GATED];

        MUST(l->count > 0);
        went -= go_on(l, went);
    }
}

/* ---- the rest ---- */

static void take_out(input *in)
{
    static const uint8_t kinds[] = {FRAME_REQUEST, FRAME_PONG};
    unsigned choice = take8(in), queue = choice & 1;
    uint8_t kind = kinds[choice & 1];
    uint32_t id = choice >> 1 & 3;
    list *l = &m.lists[queue = kind == FRAME_PONG ? OUTBOX_URGENT : OUTBOX_GATED];
    size_t removed = 0, kept = m.begun == l;

    for (size_t i = kept; i < l->count; i++) {
        queued *q = &l->frames[l->first + i];

        if (q->f.kind == kind && q->f.id == id && q->f.fd_count == 0) {
            count_out(&q->f);
            removed++;
        } else {
            l->frames[l->first + kept++] = *q;
        }
    }
    l->count = kept;
    MUST(outbox_remove(&box, (int)queue, kind, id) == removed);
}

static void look_for(input *in)
{
    unsigned choice = take8(in);
    int queue = choice & 1;
    uint8_t kind = (uint8_t)(FRAME_MESSAGE + (choice >> 1) % 5);
    uint32_t id = choice >> 5;
    const list *l = &m.lists[queue];
    bool found = false;

    for (size_t i = m.begun == l; i < l->count; i++) {
        const queued *q = &l->frames[l->first + i];

        found = found || (q->f.kind == kind && q->f.id == id);
    }
    MUST(outbox_has(&box, queue, kind, id) == found);
}

static void acknowledge(input *in)
{
    uint32_t outstanding = m.sent - m.acked;
    uint32_t ack = take_bool(in) ? m.acked + take16(in) % (outstanding + 1) : take32(in);
    bool good = ack - m.acked <= outstanding;

    MUST(outbox_acknowledge(&box, ack) == good);
    m.acked = good ? ack : m.acked;
}

static void check_state(void)
{
    const queued *begun = m.begun != NULL ? &m.begun->frames[m.begun->first] : NULL;
    size_t left = begun != NULL && carries(&begun->f) ? wire_size(&begun->f) - begun->begun : 0;

    MUST(outbox_pending(&box) == m.pending + left);
    MUST(box.replies == m.replies && box.sent == m.sent && box.acked == m.acked);
    MUST(outbox_is_empty(&box) == (m.lists[0].count + m.lists[1].count == 0));
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    for (size_t i = 0; i < sizeof pattern; i++) {
        pattern[i] = (unsigned char)(i * 7 + i / 256);
    }
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    input in = {.at = data, .left = size};

    memset(&m, 0, sizeof m);
    m.next_fd = FIRST_FD;
    m.window = take_bool(&in) ? 64 * 1024 : 256 + (uint32_t)take16(&in);
    outbox_init(&box, m.window);
    box.sent = box.acked = m.sent = m.acked = take_bool(&in) ? 0 : UINT32_MAX - take8(&in) * 16u; /* over the edge */
    while (in.left > 0) {
        unsigned op = take_below(&in, 16);

        if (op < 7) {
            put(&in);
        } else if (op < 11) {
            send_some(&in, op == 7);
        } else if (op < 12) {
            put_rest(&in);
        } else if (op < 13) {
            take_out(&in);
        } else if (op < 14) {
            look_for(&in);
        } else if (op < 15) {
            acknowledge(&in);
        } else {
            m.ack += take8(&in) * 8u;
        }
        check_state();
    }
    outbox_free(&box);
    MUST(memchr(open_fds, 1, sizeof open_fds) == NULL);
    return 0;
}
