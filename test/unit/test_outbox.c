/*
 * What waits to be sent, without a system call: order, window, partial sends.
 */
#include "peer.h"

#include "outbox.h"

static const frame_limits limits = {.max_size = 64 * 1024 * 1024, .max_fds = 4};

typedef struct wire { /* what went */
    unsigned char bytes[4096];
    size_t size, at;
} wire;

/* At most `most` bytes of the next batch. */
static bool transmit(outbox *o, uint32_t ack, size_t most, wire *w)
{
    outbox_batch batch;
    size_t went = 0;

    if (!outbox_next(o, ack, &batch)) {
        return false;
    }
    for (int i = 0; i < batch.piece_count; i++) {
        size_t size = batch.pieces[i].iov_len;

        size = size < most - went ? size : most - went;
        assert_true(w->size + size <= sizeof w->bytes);
        memcpy(w->bytes + w->size, batch.pieces[i].iov_base, size);
        w->size += size;
        went += size;
    }
    outbox_sent(o, &batch, went);
    return true;
}

static bool next_on(wire *w, frame *f)
{
    if (w->at == w->size) {
        return false;
    }
    assert_null(frame_decode(f, w->bytes + w->at, &limits));
    w->at += FRAME_HEADER_SIZE + frame_padded(f->size);
    assert_true(w->at <= w->size);
    return true;
}

static void put(outbox *o, int queue, frame f)
{
    char payload[1024];

    memset(payload, (int)f.type, sizeof payload);
    assert_int_equal(outbox_put(o, queue, &f, payload, NULL), 0);
}

static void put_message(outbox *o, uint32_t type, uint32_t size)
{
    put(o, OUTBOX_GATED, (frame){.kind = FRAME_MESSAGE, .type = type, .size = size});
}

static void expect_on(wire *w, uint8_t kind, uint32_t type)
{
    frame f;

    assert_true(next_on(w, &f));
    assert_int_equal(f.kind, kind);
    assert_int_equal(f.type, type);
}

static void frames_go_in_order_and_carry_the_ack(void **state)
{
    (void)state;
    wire w = {.size = 0};
    outbox o;
    frame f;

    outbox_init(&o, 65536);
    for (uint32_t i = 1; i <= 5; i++) {
        put_message(&o, i, i);
    }
    assert_true(transmit(&o, 0x01020304, 4096, &w));

    for (uint32_t i = 1; i <= 5; i++) {
        assert_true(next_on(&w, &f));
        assert_int_equal(f.type, i);
        assert_int_equal(f.ack, 0x01020304);
    }
    assert_true(outbox_is_empty(&o));
    assert_false(transmit(&o, 0, 4096, &w));
    outbox_free(&o);
}

static void partial_sends_lose_nothing(void **state)
{
    (void)state;

    for (size_t most = 1; most < 220; most++) {
        wire w = {.size = 0};
        outbox o;

        outbox_init(&o, 65536);
        for (uint32_t i = 1; i <= 5; i++) {
            put_message(&o, i, 7 * i);
            put(&o, OUTBOX_URGENT, (frame){.kind = FRAME_REPLY, .id = i, .type = 10 + i, .size = 3});
        }
        while (transmit(&o, 0, most, &w)) {
        }
        assert_true(outbox_is_empty(&o));
        assert_int_equal(o.pending, 0);
        for (uint32_t i = 1; i <= 5; i++) {
            expect_on(&w, FRAME_REPLY, 10 + i);
        }
        for (uint32_t i = 1; i <= 5; i++) {
            expect_on(&w, FRAME_MESSAGE, i);
        }
        outbox_free(&o);
    }
}

static void what_is_urgent_overtakes_what_waits_but_not_what_has_begun(void **state)
{
    (void)state;
    wire w = {.size = 0};
    outbox o;

    outbox_init(&o, 65536);
    put_message(&o, 1, 100);
    put_message(&o, 2, 100);
    assert_true(transmit(&o, 0, 50, &w));
    put(&o, OUTBOX_URGENT, (frame){.kind = FRAME_PONG, .type = 3});
    while (transmit(&o, 0, 4096, &w)) {
    }

    expect_on(&w, FRAME_MESSAGE, 1);
    expect_on(&w, FRAME_PONG, 3);
    expect_on(&w, FRAME_MESSAGE, 2);
    outbox_free(&o);
}

static void the_window_holds_back_what_is_gated(void **state)
{
    (void)state;
    wire w = {.size = 0};
    outbox o;

    outbox_init(&o, 300); /* two of 128 */
    for (uint32_t i = 1; i <= 4; i++) {
        put_message(&o, i, 104);
    }
    assert_true(transmit(&o, 0, 4096, &w));
    assert_int_equal(w.size, 256);
    assert_false(transmit(&o, 0, 4096, &w));
    put(&o, OUTBOX_URGENT, (frame){.kind = FRAME_ERROR, .id = 1, .size = 500});
    assert_true(transmit(&o, 0, 4096, &w));
    assert_int_equal(w.size, 256 + 24 + 504);

    assert_true(outbox_acknowledge(&o, 128));
    assert_true(transmit(&o, 0, 4096, &w));
    assert_int_equal(w.size, 256 + 24 + 504 + 128);
    outbox_free(&o);
}

static void a_frame_beyond_the_window_goes_when_nothing_is_out(void **state)
{
    (void)state;
    wire w = {.size = 0};
    outbox o;

    outbox_init(&o, 300);
    put_message(&o, 1, 8);
    put_message(&o, 2, 1000);
    assert_true(transmit(&o, 0, 4096, &w));
    assert_int_equal(w.size, 32);
    assert_true(outbox_acknowledge(&o, 32));
    assert_true(transmit(&o, 0, 4096, &w));
    assert_int_equal(w.size, 32 + 1024);
    outbox_free(&o);
}

static void acks_move_forward_and_never_beyond_what_was_sent(void **state)
{
    (void)state;
    wire w = {.size = 0};
    outbox o;

    outbox_init(&o, 65536);
    o.sent = o.acked = UINT32_MAX - 31; /* wraps within the second frame */
    assert_false(outbox_acknowledge(&o, UINT32_MAX - 30));
    put_message(&o, 1, 0);
    put_message(&o, 2, 8);
    assert_true(transmit(&o, 0, 4096, &w));

    assert_false(outbox_acknowledge(&o, 25));
    assert_true(outbox_acknowledge(&o, UINT32_MAX - 7));
    assert_false(outbox_acknowledge(&o, UINT32_MAX - 8));
    assert_true(outbox_acknowledge(&o, 24));
    assert_true(outbox_acknowledge(&o, 24));
    assert_false(outbox_acknowledge(&o, UINT32_MAX));
    assert_false(outbox_acknowledge(&o, 25));
    outbox_free(&o);
}

static void only_what_has_not_begun_can_be_taken_out(void **state)
{
    (void)state;
    wire w = {.size = 0};
    outbox o;

    outbox_init(&o, 65536);
    for (uint32_t id = 1; id <= 3; id++) {
        put(&o, OUTBOX_GATED, (frame){.kind = FRAME_REQUEST, .id = id, .type = id, .size = 40});
    }
    assert_true(transmit(&o, 0, 1, &w));
    assert_int_equal(outbox_remove(&o, OUTBOX_GATED, FRAME_REQUEST, 1), 0);
    assert_int_equal(outbox_remove(&o, OUTBOX_GATED, FRAME_MESSAGE, 2), 0);
    assert_int_equal(outbox_remove(&o, OUTBOX_GATED, FRAME_REQUEST, 2), 1);
    assert_false(outbox_has(&o, OUTBOX_GATED, FRAME_REQUEST, 2));
    assert_true(outbox_has(&o, OUTBOX_GATED, FRAME_REQUEST, 3));
    assert_int_equal(o.pending, 40);
    while (transmit(&o, 0, 4096, &w)) {
    }

    expect_on(&w, FRAME_REQUEST, 1);
    expect_on(&w, FRAME_REQUEST, 3);
    assert_int_equal(w.at, w.size);
    outbox_free(&o);
}

static void pending_counts_messages_and_not_the_library_s_own_frames(void **state)
{
    (void)state;
    wire w = {.size = 0};
    outbox o;

    outbox_init(&o, 65536);
    put(&o, OUTBOX_URGENT, (frame){.kind = FRAME_PING, .id = 1});
    assert_int_equal(o.pending, 0);
    put_message(&o, 1, 100);
    put_message(&o, 2, 0); /* which takes its header's bytes at least */
    assert_int_equal(o.pending, 100 + 24);
    while (transmit(&o, 0, 4096, &w)) {
    }
    assert_int_equal(o.pending, 0);
    outbox_free(&o);
}

static void a_frame_with_descriptors_goes_alone(void **state)
{
    (void)state;
    const frame f = {.kind = FRAME_MESSAGE, .type = 2, .size = 5000, .fd_count = 2};
    char *payload = pattern(5000);
    wire w = {.size = 0};
    outbox_batch batch;
    int fds[2];
    outbox o;

    make_pipe(fds);
    outbox_init(&o, 65536);
    put_message(&o, 1, 8);
    assert_int_equal(outbox_put(&o, OUTBOX_GATED, &f, payload, fds), 0);
    put_message(&o, 3, 8);

    assert_true(transmit(&o, 0, 4096, &w)); /* what is in front of it goes first */
    assert_int_equal(w.size, 32);
    assert_true(outbox_next(&o, 0, &batch));
    assert_int_equal(batch.fd_count, 2);
    assert_int_equal(batch.fds[0], fds[0]);
    assert_int_equal(batch.piece_count, 1);
    assert_true(batch.pieces[0].iov_len <= 24 + 4096);
    outbox_sent(&o, &batch, 1); /* and are closed */
    assert_false(is_open(fds[0]));
    assert_true(outbox_next(&o, 0, &batch));
    assert_int_equal(batch.fd_count, 0);
    assert_int_equal(batch.pieces[0].iov_len, 24 + 5000 - 1);
    outbox_free(&o);
}

static void descriptors_that_never_went_are_closed(void **state)
{
    (void)state;
    const frame f = {.kind = FRAME_MESSAGE, .fd_count = 2};
    int fds[2];
    outbox o;

    make_pipe(fds);
    outbox_init(&o, 65536);
    assert_int_equal(outbox_put(&o, OUTBOX_GATED, &f, NULL, fds), 0);
    outbox_free(&o);
    assert_false(is_open(fds[0]));
    assert_false(is_open(fds[1]));
}

/* ---- what the kernel took straight from the caller's memory ---- */

static void the_rest_of_a_frame_goes_wherever_it_was_cut(void **state)
{
    (void)state;

    for (uint32_t size = 0; size <= 17; size++) {
        const frame f = {.kind = FRAME_REQUEST, .id = 9, .type = 5, .size = size, .ack = 77};
        const size_t whole = FRAME_HEADER_SIZE + frame_padded(size);
        unsigned char bytes[64] = {0};

        frame_encode(&f, bytes);
        memset(bytes + FRAME_HEADER_SIZE, 'p', size);
        for (size_t went = 1; went <= whole; went++) {
            wire w = {.size = 0};
            outbox o;

            outbox_init(&o, 65536);
            assert_int_equal(outbox_put_rest(&o, OUTBOX_GATED, &f, bytes + FRAME_HEADER_SIZE, went), 0);
            assert_int_equal(outbox_pending(&o), whole - went);
            assert_int_equal(outbox_holds_request(&o, 9), went < whole);
            assert_false(outbox_holds_request(&o, 8));
            while (transmit(&o, 0, 5, &w)) {
            }
            assert_int_equal(w.size, whole - went);
            assert_memory_equal(w.bytes, bytes + went, whole - went);
            assert_true(outbox_is_empty(&o));
            assert_int_equal(outbox_pending(&o), 0);
            assert_int_equal(o.sent, whole);
            outbox_free(&o);
        }
    }
}

static void what_the_library_says_by_itself_does_not_count_as_pending(void **state)
{
    (void)state;
    wire w = {.size = 0};
    outbox o;

    outbox_init(&o, 65536);
    put(&o, OUTBOX_URGENT, (frame){.kind = FRAME_PING, .id = 1});
    assert_int_equal(outbox_pending(&o), 0);
    assert_true(transmit(&o, 0, 10, &w)); /* it has begun */
    assert_int_equal(outbox_pending(&o), 0);
    assert_true(transmit(&o, 0, 100, &w));
    assert_int_equal(w.size, FRAME_HEADER_SIZE);
    outbox_free(&o);
}

static const struct CMUnitTest tests[] = {
    TEST(frames_go_in_order_and_carry_the_ack),
    TEST(partial_sends_lose_nothing),
    TEST(what_is_urgent_overtakes_what_waits_but_not_what_has_begun),
    TEST(the_window_holds_back_what_is_gated),
    TEST(a_frame_beyond_the_window_goes_when_nothing_is_out),
    TEST(acks_move_forward_and_never_beyond_what_was_sent),
    TEST(only_what_has_not_begun_can_be_taken_out),
    TEST(pending_counts_messages_and_not_the_library_s_own_frames),
    TEST(a_frame_with_descriptors_goes_alone),
    TEST(descriptors_that_never_went_are_closed),
    TEST(the_rest_of_a_frame_goes_wherever_it_was_cut),
    TEST(what_the_library_says_by_itself_does_not_count_as_pending),
};

HARNESS_MAIN(tests)
