/*
 * The bytes of a channel, as libproc-protocol(7) has them: written out by hand, kind by kind and rule by rule.
 */
#include "peer.h"

static const frame_limits limits = {.max_size = 100000, .max_fds = 3};

/* ---- golden bytes ---- */

typedef struct golden {
    frame f;
    unsigned char bytes[FRAME_HEADER_SIZE];
} golden;

/* Columns: len, kind, flags, nfds, magic, id, type, timeout_ms, ack. */
static const golden goldens[] = {
    {{.size = 26, .kind = FRAME_HELLO, .type = FRAME_HELLO_TYPE},
     {26, 0, 0, 0, 1, 0, 0, 0xC7, 0, 0, 0, 0, 'P', 'R', 'C', '1', 0, 0, 0, 0, 0, 0, 0, 0}},
    {{.size = 0x00010203, .kind = FRAME_MESSAGE, .fd_count = 3, .type = 0xA1B2C3D4, .ack = 0xFFFEFDFC},
     {3, 2, 1, 0, 2, 0, 3, 0xC7, 0, 0, 0, 0, 0xD4, 0xC3, 0xB2, 0xA1, 0, 0, 0, 0, 0xFC, 0xFD, 0xFE, 0xFF}},
    {{.kind = FRAME_REQUEST, .flags = FRAME_DEADLINE, .id = 0x01020304, .type = 5, .timeout_ms = 0x7FFFFFFE},
     {0, 0, 0, 0, 3, 4, 0, 0xC7, 4, 3, 2, 1, 5, 0, 0, 0, 0xFE, 0xFF, 0xFF, 0x7F, 0, 0, 0, 0}},
    {{.size = 1, .kind = FRAME_REPLY, .flags = FRAME_MORE, .id = 0x80000000},
     {1, 0, 0, 0, 4, 1, 0, 0xC7, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
    {{.kind = FRAME_ERROR, .id = 7, .type = 38}, {0, 0, 0, 0, 5, 0, 0, 0xC7, 7, 0, 0, 0, 38, 0, 0, 0}},
    {{.kind = FRAME_CANCEL, .id = 7}, {0, 0, 0, 0, 6, 0, 0, 0xC7, 7}},
    {{.kind = FRAME_ACK, .ack = 1}, {0, 0, 0, 0, 7, 0, 0, 0xC7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}},
    {{.size = 2, .kind = FRAME_GOAWAY}, {2, 0, 0, 0, 10, 0, 0, 0xC7}},
    {{.kind = FRAME_PING, .id = 9}, {0, 0, 0, 0, 11, 0, 0, 0xC7, 9}},
    {{.kind = FRAME_PONG, .id = 9}, {0, 0, 0, 0, 12, 0, 0, 0xC7, 9}},
    {{.kind = FRAME_END}, {0, 0, 0, 0, 13, 0, 0, 0xC7}},
};

static bool same(const frame *a, const frame *b)
{
    return a->size == b->size && a->kind == b->kind && a->flags == b->flags && a->fd_count == b->fd_count &&
           a->id == b->id && a->type == b->type && a->timeout_ms == b->timeout_ms && a->ack == b->ack;
}

static void every_kind_has_its_golden_bytes(void **state)
{
    (void)state;

    for (size_t i = 0; i < COUNT(goldens); i++) {
        unsigned char bytes[FRAME_HEADER_SIZE];

        memset(bytes, 0xAA, sizeof bytes);
        frame_encode(&goldens[i].f, bytes);
        assert_memory_equal(bytes, goldens[i].bytes, sizeof bytes);
    }
}

static void golden_bytes_are_understood(void **state)
{
    (void)state;

    for (size_t i = 0; i < COUNT(goldens); i++) {
        frame f;

        assert_null(frame_decode(&f, goldens[i].bytes, &limits));
        assert_true(same(&f, &goldens[i].f));
    }
}

static void hello_has_its_golden_bytes(void **state)
{
    (void)state;
    static const frame_hello hello = {.protocol_min = 1,
                                      .protocol_max = 0x0201,
                                      .max_size = 0x01000000,
                                      .window = 0x00100000,
                                      .max_requests = 64,
                                      .max_fds = 250,
                                      .features = 0x0807060504030201,
                                      .name_size = 3,
                                      .name = "abc"};
    static const unsigned char expected[] = {1, 0, 1, 2, 0, 0, 0, 1, 0, 0, 0x10, 0,   64,  0,  250,
                                             0, 1, 2, 3, 4, 5, 6, 7, 8, 3, 0,    'a', 'b', 'c'};
    unsigned char bytes[FRAME_HELLO_SIZE];
    frame_hello back;

    assert_int_equal(frame_encode_hello(&hello, bytes), sizeof expected);

    assert_memory_equal(bytes, expected, sizeof expected);
    assert_null(frame_decode_hello(&back, expected, sizeof expected));
    assert_int_equal(back.protocol_max, 0x0201);
    assert_int_equal(back.max_size, 0x01000000);
    assert_int_equal(back.window, 0x00100000);
    assert_int_equal(back.max_requests, 64);
    assert_int_equal(back.max_fds, 250);
    assert_true(back.features == hello.features);
    assert_memory_equal(back.name, "abc", 3);
}

/* ---- rules ---- */

static const char *decoded(const frame *f)
{
    unsigned char bytes[FRAME_HEADER_SIZE];
    frame back;

    frame_encode(f, bytes);
    return frame_decode(&back, bytes, &limits);
}

#define assert_taken(...) assert_null(decoded(&(const frame){__VA_ARGS__}))
#define assert_refused_frame(...) assert_non_null(decoded(&(const frame){__VA_ARGS__}))

static void a_header_without_the_magic_byte_is_refused(void **state)
{
    (void)state;
    unsigned char bytes[FRAME_HEADER_SIZE];
    frame f;

    for (int magic = 0; magic < 256; magic++) {
        memcpy(bytes, goldens[1].bytes, sizeof bytes);
        bytes[7] = (unsigned char)magic;
        assert_int_equal(frame_decode(&f, bytes, &limits) == NULL, magic == 0xC7);
    }
}

static void unknown_kinds_are_refused_unless_they_may_be_ignored(void **state)
{
    (void)state;

    for (int kind = 0; kind < 256; kind++) {
        bool known = (kind >= 1 && kind <= 7) || (kind >= 10 && kind <= 13);
        frame f = {.kind = (uint8_t)kind};

        f.id = kind >= FRAME_REQUEST && kind <= FRAME_CANCEL ? 1 : 0;
        f.type = kind == FRAME_HELLO ? FRAME_HELLO_TYPE : 0;
        assert_int_equal(decoded(&f) == NULL, known || kind >= 0x80);
    }
    assert_refused_frame(.kind = FRAME_BUFFER);
    assert_refused_frame(.kind = FRAME_RELEASE);
}

static void an_ignorable_kind_may_say_anything_but_has_no_descriptors(void **state)
{
    (void)state;

    assert_taken(.kind = 0x80, .flags = 0xFF, .id = 5, .type = 6, .timeout_ms = 7, .size = 100000);
    assert_refused_frame(.kind = 0xFF, .size = 100001);
    assert_refused_frame(.kind = 0x8E, .fd_count = 1);
}

static void only_the_flags_of_its_kind_are_taken(void **state)
{
    (void)state;

    for (uint8_t kind = FRAME_HELLO; kind < FRAME_KINDS; kind++) {
        for (unsigned flags = 1; flags < 256; flags++) {
            frame f = {.kind = kind, .flags = (uint8_t)flags};
            bool good = (kind == FRAME_REQUEST && flags == 4) || (kind == FRAME_REPLY && flags == 1);

            f.id = kind >= FRAME_REQUEST && kind <= FRAME_CANCEL ? 1 : 0;
            f.type = kind == FRAME_HELLO ? FRAME_HELLO_TYPE : 0;
            assert_int_equal(decoded(&f) == NULL, good);
        }
    }
}

static void ids_are_where_they_belong_and_nowhere_else(void **state)
{
    (void)state;
    static const uint8_t with[] = {FRAME_REQUEST, FRAME_REPLY, FRAME_ERROR, FRAME_CANCEL};
    static const uint8_t without[] = {FRAME_MESSAGE, FRAME_ACK, FRAME_GOAWAY, FRAME_END};

    for (size_t i = 0; i < COUNT(with); i++) {
        assert_taken(.kind = with[i], .id = 1);
        assert_taken(.kind = with[i], .id = UINT32_MAX);
        assert_refused_frame(.kind = with[i], .id = 0);
    }
    for (size_t i = 0; i < COUNT(without); i++) {
        assert_taken(.kind = without[i], .id = 0);
        assert_refused_frame(.kind = without[i], .id = 1);
    }
    assert_refused_frame(.kind = FRAME_HELLO, .type = FRAME_HELLO_TYPE, .id = 1);
    assert_taken(.kind = FRAME_PING, .id = 0);
    assert_taken(.kind = FRAME_PONG, .id = 3);
}

static void payloads_stay_within_the_limit_of_this_end(void **state)
{
    (void)state;

    for (uint8_t kind = FRAME_MESSAGE; kind <= FRAME_ERROR; kind++) {
        uint32_t id = kind == FRAME_MESSAGE ? 0 : 1;

        assert_taken(.kind = kind, .id = id, .size = 100000);
        assert_refused_frame(.kind = kind, .id = id, .size = 100001);
        assert_refused_frame(.kind = kind, .id = id, .size = UINT32_MAX);
        assert_taken(.kind = kind, .id = id, .fd_count = 3);
        assert_refused_frame(.kind = kind, .id = id, .fd_count = 4);
    }
}

static void what_the_library_says_itself_is_small_and_has_no_descriptors(void **state)
{
    (void)state;
    static const uint8_t empty[] = {FRAME_CANCEL, FRAME_ACK, FRAME_PING, FRAME_PONG, FRAME_END};

    for (size_t i = 0; i < COUNT(empty); i++) {
        uint32_t id = empty[i] == FRAME_CANCEL ? 1 : 0;

        assert_refused_frame(.kind = empty[i], .id = id, .size = 1);
        assert_refused_frame(.kind = empty[i], .id = id, .fd_count = 1);
    }
    assert_taken(.kind = FRAME_GOAWAY, .size = 256);
    assert_refused_frame(.kind = FRAME_GOAWAY, .size = 257);
    assert_taken(.kind = FRAME_HELLO, .type = FRAME_HELLO_TYPE, .size = 256);
    assert_refused_frame(.kind = FRAME_HELLO, .type = FRAME_HELLO_TYPE, .size = 257);
    assert_refused_frame(.kind = FRAME_HELLO, .type = FRAME_HELLO_TYPE, .fd_count = 1);
    assert_refused_frame(.kind = FRAME_HELLO, .type = FRAME_HELLO_TYPE + 1);
}

static void a_time_needs_its_flag(void **state)
{
    (void)state;

    assert_refused_frame(.kind = FRAME_REQUEST, .id = 1, .timeout_ms = 1);
    assert_refused_frame(.kind = FRAME_MESSAGE, .timeout_ms = 1);
    assert_taken(.kind = FRAME_REQUEST, .id = 1, .flags = FRAME_DEADLINE, .timeout_ms = 0);
    assert_taken(.kind = FRAME_REQUEST, .id = 1, .flags = FRAME_DEADLINE, .timeout_ms = UINT32_MAX);
}

static void messages_requests_and_parts_are_gated(void **state)
{
    (void)state;

    for (uint8_t kind = FRAME_HELLO; kind < FRAME_KINDS; kind++) {
        frame f = {.kind = kind};

        assert_int_equal(frame_is_gated(&f), kind == FRAME_MESSAGE || kind == FRAME_REQUEST);
    }
    assert_true(frame_is_gated(&(const frame){.kind = FRAME_REPLY, .flags = FRAME_MORE}));
}

/* ---- HELLO ---- */

static const frame_hello least = {.protocol_min = 1,
                                  .protocol_max = 1,
                                  .max_size = 65536,
                                  .window = 65536,
                                  .max_requests = 16,
                                  .name_size = 2,
                                  .name = "me"};

static const char *decoded_hello(const frame_hello *hello, size_t cut, size_t extra)
{
    unsigned char *bytes = keep(calloc(1, FRAME_HELLO_SIZE + extra)), *exact;
    size_t size = frame_encode_hello(hello, bytes) - cut + extra;
    frame_hello back;

    exact = keep(malloc(size + 1)); /* a checker sees what is read beyond it */
    memcpy(exact + 1, bytes, size);
    return frame_decode_hello(&back, exact + 1, size);
}

static void a_hello_with_the_least_limits_is_taken(void **state)
{
    (void)state;

    assert_null(decoded_hello(&least, 0, 0));
}

static void a_hello_that_is_cut_off_is_refused(void **state)
{
    (void)state;

    for (size_t cut = 1; cut <= 28; cut++) {
        assert_non_null(decoded_hello(&least, cut, 0));
    }
}

static void what_follows_the_name_is_passed_over(void **state)
{
    (void)state;

    assert_null(decoded_hello(&least, 0, 1));
    assert_null(decoded_hello(&least, 0, 228));
}

#define assert_bad_hello(member, value)                                                                                \
    do {                                                                                                               \
        frame_hello bad = least;                                                                                       \
        bad.member = value;                                                                                            \
        assert_non_null(decoded_hello(&bad, 0, 0));                                                                    \
    } while (0)

static void a_hello_below_the_least_is_refused(void **state)
{
    (void)state;

    assert_bad_hello(protocol_min, 0);
    assert_bad_hello(protocol_min, 2);
    assert_bad_hello(max_size, 65535);
    assert_bad_hello(max_size, 0);
    assert_bad_hello(window, 65535);
    assert_bad_hello(max_requests, 15);
}

static void a_hello_with_a_long_name_is_refused(void **state)
{
    (void)state;
    unsigned char bytes[FRAME_HELLO_SIZE] = {0};
    frame_hello back;

    (void)frame_encode_hello(&least, bytes);
    bytes[24] = 64;
    assert_null(frame_decode_hello(&back, bytes, 26 + 64));
    assert_non_null(frame_decode_hello(&back, bytes, 26 + 63));
    bytes[24] = 65;
    assert_non_null(frame_decode_hello(&back, bytes, sizeof bytes));
    bytes[24] = 0;
    bytes[25] = 1;
    assert_non_null(frame_decode_hello(&back, bytes, sizeof bytes));
}

/* ---- any ---- */

static uint32_t random_word(void)
{
    return random_below(1 << 16) << 16 | random_below(1 << 16);
}

static void random_frames_come_back_as_they_were(void **state)
{
    (void)state;
    static const uint8_t kinds[] = {FRAME_MESSAGE, FRAME_REQUEST, FRAME_REPLY, FRAME_ERROR};

    for (int round = 0; round < 100000; round++) {
        unsigned char bytes[FRAME_HEADER_SIZE];
        frame back, f = {.kind = kinds[random_below(4)], .type = random_word(), .ack = random_word()};

        f.size = random_below(100001);
        f.fd_count = (uint8_t)random_below(4);
        f.id = f.kind == FRAME_MESSAGE ? 0 : random_word() | 1;
        f.flags = f.kind == FRAME_REQUEST ? FRAME_DEADLINE : f.kind == FRAME_REPLY ? (uint8_t)random_below(2) : 0;
        f.timeout_ms = f.kind == FRAME_REQUEST ? random_word() : 0;
        frame_encode(&f, bytes);
        assert_null(frame_decode(&back, bytes, &limits));
        assert_true(same(&f, &back));
    }
}

static void random_headers_are_taken_only_within_the_limits(void **state)
{
    (void)state;

    for (int round = 0; round < 200000; round++) {
        unsigned char bytes[FRAME_HEADER_SIZE];
        frame f;

        for (size_t i = 0; i < sizeof bytes; i++) {
            bytes[i] = (unsigned char)random_below(round % 2 == 0 ? 256 : 4);
        }
        bytes[7] = FRAME_MAGIC;
        if (frame_decode(&f, bytes, &limits) == NULL) {
            assert_true(f.kind != 0 && f.size <= limits.max_size && f.fd_count <= limits.max_fds);
        }
    }
}

static void padding_is_to_eight_bytes(void **state)
{
    (void)state;

    for (size_t size = 0; size < 100; size++) {
        assert_int_equal(frame_padded(size) % 8, 0);
        assert_true(frame_padded(size) >= size && frame_padded(size) < size + 8);
    }
}

static const struct CMUnitTest tests[] = {
    TEST(every_kind_has_its_golden_bytes),
    TEST(golden_bytes_are_understood),
    TEST(hello_has_its_golden_bytes),
    TEST(a_header_without_the_magic_byte_is_refused),
    TEST(unknown_kinds_are_refused_unless_they_may_be_ignored),
    TEST(an_ignorable_kind_may_say_anything_but_has_no_descriptors),
    TEST(only_the_flags_of_its_kind_are_taken),
    TEST(ids_are_where_they_belong_and_nowhere_else),
    TEST(payloads_stay_within_the_limit_of_this_end),
    TEST(what_the_library_says_itself_is_small_and_has_no_descriptors),
    TEST(a_time_needs_its_flag),
    TEST(messages_requests_and_parts_are_gated),
    TEST(a_hello_with_the_least_limits_is_taken),
    TEST(a_hello_that_is_cut_off_is_refused),
    TEST(what_follows_the_name_is_passed_over),
    TEST(a_hello_below_the_least_is_refused),
    TEST(a_hello_with_a_long_name_is_refused),
    TEST(random_frames_come_back_as_they_were),
    TEST(random_headers_are_taken_only_within_the_limits),
    TEST(padding_is_to_eight_bytes),
};

HARNESS_MAIN(tests)
