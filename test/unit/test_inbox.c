/*
 * What has arrived, without a system call: every split of the stream, descriptors in every number.
 */
#include "peer.h"

#include "inbox.h"

static const frame_limits limits = {.max_size = 64 * 1024 * 1024, .max_fds = 4};

/* ---- three frames ---- */

typedef struct sample {
    frame f;
    const char *payload;
} sample;

static const sample samples[] = {
    {{.kind = FRAME_MESSAGE, .type = 1, .size = 5}, "hello"},
    {{.kind = FRAME_REQUEST, .id = 9, .type = 2}, ""},
    {{.kind = FRAME_REPLY, .id = 4, .flags = FRAME_MORE, .size = 17, .ack = 77}, "seventeen letters"},
};

static size_t encode_samples(unsigned char *bytes)
{
    size_t size = 0;

    for (size_t i = 0; i < COUNT(samples); i++) {
        size += raw_encode(&samples[i].f, samples[i].payload, bytes + size);
    }
    return size;
}

static void feed(inbox *in, const unsigned char *bytes, size_t size)
{
    while (size > 0) {
        unsigned char *at;
        size_t room;

        assert_int_equal(inbox_space(in, &at, &room), 0);
        room = size < room ? size : room;
        memcpy(at, bytes, room);
        inbox_add(in, room);
        bytes += room;
        size -= room;
    }
}

static void let_go(inbox *in, inbox_frame *f)
{
    fd_batch_free(f->batch);
    inbox_return(in, f->slab);
}

/* As bytes of the wire: the struct has padding. */
static void assert_same_header(const frame *f, const frame *expected)
{
    unsigned char bytes[FRAME_HEADER_SIZE], expected_bytes[FRAME_HEADER_SIZE];

    frame_encode(f, bytes);
    frame_encode(expected, expected_bytes);
    assert_memory_equal(bytes, expected_bytes, sizeof bytes);
}

/* Takes what is whole, in the order of the samples from `next` on; where it is then. */
static size_t take_samples(inbox *in, size_t next)
{
    const char *why = NULL;
    inbox_frame f;

    while (inbox_next(in, &limits, &f, &why) == 1) {
        const sample *s = &samples[next % COUNT(samples)];

        assert_same_header(&f.header, &s->f);
        assert_memory_equal(f.payload, s->payload, s->f.size);
        assert_int_equal((uintptr_t)f.payload % FRAME_ALIGNMENT, 0);
        let_go(in, &f);
        next++;
    }
    assert_null(why);
    return next;
}

static void a_stream_split_anywhere_gives_the_same_frames(void **state)
{
    (void)state;
    unsigned char bytes[256];
    size_t size = encode_samples(bytes);

    for (size_t split = 0; split <= size; split++) {
        size_t next;
        inbox in;

        inbox_init(&in);
        feed(&in, bytes, split);
        next = take_samples(&in, 0);
        feed(&in, bytes + split, size - split);
        assert_int_equal(take_samples(&in, next), COUNT(samples));
        assert_false(inbox_has_part(&in));
        inbox_free(&in);
    }
}

static void every_framing_tells_a_whole_frame_from_its_beginning(void **state)
{
    (void)state;
    unsigned char bytes[256];
    const size_t size = encode_samples(bytes);

    for (size_t i = 0; i < FRAMINGS; i++) {
        size_t at = 0, frames = 0, payload, length;
        const char *why = NULL;
        frame f;

        assert_non_null(framings[i].name);
        for (size_t have = 1; at < size; have++) {
            int whole = framings[i].next(&f, bytes + at, have, &limits, &payload, &length, &why);

            assert_true(whole == 0 || whole == 1);
            assert_null(why);
            if (whole == 1) {
                assert_int_equal(length, have); /* with its last byte, not before */
                assert_true(payload <= length);
                at += length;
                have = 0;
                frames++;
            }
        }
        assert_int_equal(at, size);
        assert_int_equal(frames, COUNT(samples));
    }
}

static void a_stream_byte_by_byte_gives_the_same_frames(void **state)
{
    (void)state;
    unsigned char bytes[256];
    size_t size = encode_samples(bytes), next = 0;
    inbox in;

    inbox_init(&in);
    for (int round = 0; round < 5000; round++) { /* over the ends of slabs */
        for (size_t i = 0; i < size; i++) {
            feed(&in, bytes + i, 1);
            next = take_samples(&in, next);
        }
    }
    assert_int_equal(next, 5000 * COUNT(samples));
    inbox_free(&in);
}

static void a_stream_in_random_pieces_gives_the_same_frames(void **state)
{
    (void)state;
    enum { REPEATS = 4000 };
    unsigned char *bytes = keep(malloc(256 * REPEATS));
    size_t size = 0, next = 0;
    inbox in;

    for (int i = 0; i < REPEATS; i++) {
        size += encode_samples(bytes + size);
    }
    inbox_init(&in);
    for (size_t at = 0; at < size;) {
        size_t piece = 1 + random_below(100000);

        piece = piece < size - at ? piece : size - at;
        feed(&in, bytes + at, piece);
        at += piece;
        next = take_samples(&in, next);
    }
    assert_int_equal(next, REPEATS * COUNT(samples));
    inbox_free(&in);
}

static void a_view_stays_while_more_arrives(void **state)
{
    (void)state;
    unsigned char bytes[256];
    size_t size = encode_samples(bytes);
    const char *why = NULL;
    inbox_frame first, f;
    inbox in;

    inbox_init(&in);
    feed(&in, bytes, size);
    assert_int_equal(inbox_next(&in, &limits, &first, &why), 1);
    for (int i = 0; i < 10000; i++) {
        while (inbox_next(&in, &limits, &f, &why) == 1) {
            let_go(&in, &f);
        }
        feed(&in, bytes, size);
    }

    assert_memory_equal(first.payload, "hello", 5);
    let_go(&in, &first);
    inbox_free(&in);
}

static void a_large_claim_with_few_bytes_takes_little_memory(void **state)
{
    (void)state;
    const frame f = {.kind = FRAME_MESSAGE, .size = 60 * 1024 * 1024};
    unsigned char header[FRAME_HEADER_SIZE], payload[1000] = {0};
    const char *why = NULL;
    inbox_frame got;
    inbox in;

    inbox_init(&in);
    frame_encode(&f, header);
    feed(&in, header, sizeof header);
    for (size_t i = 1; i < 1000; i++) {
        feed(&in, payload, 1000);
        assert_int_equal(inbox_next(&in, &limits, &got, &why), 0);
        assert_true(in.slab->capacity <= 512 * 1024 + 4 * i * 1000);
    }
    inbox_free(&in);
}

/* ---- descriptors ---- */

static void add_pipe(inbox *in, size_t count, bool lost)
{
    int fds[4];

    for (size_t i = 0; i < count; i++) {
        fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
        assert_true(fds[i] > 2);
    }
    assert_int_equal(inbox_add_fds(in, fds, count, lost), 0);
}

static void feed_frame(inbox *in, frame f)
{
    unsigned char bytes[64];

    feed(in, bytes, raw_encode(&f, "abcdefgh", bytes));
}

static const frame with_two = {.kind = FRAME_MESSAGE, .fd_count = 2, .size = 8};
static const frame with_none = {.kind = FRAME_MESSAGE, .size = 8};

static void each_marked_frame_takes_one_batch_in_order(void **state)
{
    (void)state;
    static const uint8_t fd_counts[] = {2, 0, 1, 0, 0, 4};
    const char *why = NULL;
    inbox_frame f;
    inbox in;

    inbox_init(&in);
    for (size_t i = 0; i < COUNT(fd_counts); i++) {
        if (fd_counts[i] > 0) {
            add_pipe(&in, fd_counts[i], false);
        }
        feed_frame(&in, (frame){.kind = FRAME_MESSAGE, .fd_count = fd_counts[i]});
    }
    for (size_t i = 0; i < COUNT(fd_counts); i++) {
        assert_int_equal(inbox_next(&in, &limits, &f, &why), 1);
        assert_int_equal(f.batch == NULL ? 0 : f.batch->count, fd_counts[i]);
        let_go(&in, &f);
    }
    assert_int_equal(inbox_next(&in, &limits, &f, &why), 0);
    inbox_free(&in);
}

static void a_lost_batch_belongs_to_its_frame_and_keeps_the_others_in_step(void **state)
{
    (void)state;
    const char *why = NULL;
    inbox_frame f;
    inbox in;

    inbox_init(&in);
    add_pipe(&in, 1, true); /* one of two came */
    feed_frame(&in, with_two);
    add_pipe(&in, 2, false);
    feed_frame(&in, with_two);

    assert_int_equal(inbox_next(&in, &limits, &f, &why), 1);
    assert_true(f.batch->lost);
    assert_int_equal(f.batch->count, 0);
    let_go(&in, &f);
    assert_int_equal(inbox_next(&in, &limits, &f, &why), 1);
    assert_false(f.batch->lost);
    assert_int_equal(f.batch->count, 2);
    let_go(&in, &f);
    inbox_free(&in);
}

static void descriptors_in_the_wrong_number_are_refused_and_closed(void **state)
{
    (void)state;

    for (size_t count = 0; count <= 4; count++) {
        const char *why = NULL;
        inbox_frame f;
        inbox in;

        inbox_init(&in);
        if (count > 0) {
            add_pipe(&in, count, false);
        }
        feed_frame(&in, with_two);
        assert_int_equal(inbox_next(&in, &limits, &f, &why), count == 2 ? 1 : -EPROTO);
        assert_int_equal(why != NULL, count != 2);
        if (count == 2) {
            let_go(&in, &f);
        }
        inbox_free(&in);
    }
}

static void descriptors_that_belong_to_no_frame_are_refused(void **state)
{
    (void)state;
    const char *why = NULL;
    inbox_frame f;
    inbox in;

    inbox_init(&in);
    add_pipe(&in, 1, false);
    feed_frame(&in, with_none);
    assert_int_equal(inbox_next(&in, &limits, &f, &why), 1);
    let_go(&in, &f);
    assert_int_equal(inbox_next(&in, &limits, &f, &why), -EPROTO);
    inbox_free(&in);
}

static void a_frame_that_has_begun_takes_one_batch_at_most(void **state)
{
    (void)state;
    unsigned char bytes[64];
    const char *why = NULL;
    inbox_frame f;
    inbox in;

    inbox_init(&in);
    raw_encode(&with_two, "abcdefgh", bytes);
    feed(&in, bytes, 3);
    add_pipe(&in, 2, false);
    assert_int_equal(inbox_next(&in, &limits, &f, &why), 0);
    feed(&in, bytes + 3, 23);
    add_pipe(&in, 2, false);
    assert_int_equal(inbox_next(&in, &limits, &f, &why), -EPROTO);
    inbox_free(&in);
}

static const struct CMUnitTest tests[] = {
    TEST(a_stream_split_anywhere_gives_the_same_frames),
    TEST(every_framing_tells_a_whole_frame_from_its_beginning),
    TEST(a_stream_byte_by_byte_gives_the_same_frames),
    TEST(a_stream_in_random_pieces_gives_the_same_frames),
    TEST(a_view_stays_while_more_arrives),
    TEST(a_large_claim_with_few_bytes_takes_little_memory),
    TEST(each_marked_frame_takes_one_batch_in_order),
    TEST(a_lost_batch_belongs_to_its_frame_and_keeps_the_others_in_step),
    TEST(descriptors_in_the_wrong_number_are_refused_and_closed),
    TEST(descriptors_that_belong_to_no_frame_are_refused),
    TEST(a_frame_that_has_begun_takes_one_batch_at_most),
};

HARNESS_MAIN(tests)
