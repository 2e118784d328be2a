/*
 * What another end can make this one hold, in memory: never more than some multiple of what it was allowed to send, however
 * it cuts that up, and whoever receives.
 */
#include "events.h"

#include <pthread.h>
#include <sys/socket.h>

#include "channel.h"

/* As much of it as the socket takes now, and where it stopped: the next time it goes on from there. */
static void pour(raw *r, const unsigned char *bytes, size_t size, size_t *at)
{
    ssize_t put;

    do {
        put = send(r->fd, bytes + *at, size - *at, MSG_NOSIGNAL | MSG_DONTWAIT);
        *at = put > 0 ? (*at + (size_t)put) % size : *at;
    } while (put > 0);
}

/* ---- many small ones ---- */

static void count_message(proc_channel *c, proc_message *m, void *ctx)
{
    (void)c;
    (void)m;
    ++*(size_t *)ctx;
}

/* It cares for no window: what it sends is always there. */
static void a_flood_of_small_messages_waits_outside_of_the_loop(void **state)
{
    (void)state;
    static const proc_handlers counting = {.on_message = count_message};
    enum { FRAMES = 4096, STEPS = 2000 };
    unsigned char *bytes = keep(malloc(FRAMES * FRAME_HEADER_SIZE));
    proc_loop *loop = make_loop();
    size_t count = 0, at = 0, largest = 0;
    raw r;

    for (size_t i = 0; i < FRAMES; i++) {
        frame_encode(&(const frame){.kind = FRAME_MESSAGE}, bytes + i * FRAME_HEADER_SIZE);
    }
    raw_meet(&r, NULL);
    assert_int_equal(proc_loop_add_channel(loop, r.channel, &counting, &count), 0);
    for (int i = 0; i < STEPS; i++) {
        pour(&r, bytes, FRAMES * FRAME_HEADER_SIZE, &at);
        assert_true(proc_loop_step(loop, 0) >= 0);
        size_t held = r.channel->in.end - r.channel->in.start;
        largest = held > largest ? held : largest;
    }

    assert_true(count >= STEPS);
    assert_true(largest <= 1024 * 1024);
    raw_end(&r);
    proc_loop_free(loop);
}

/* ---- small ones between large ones that are nothing ---- */

/* A message of 8 bytes, and one of `size` of a kind that may be ignored: that does not count for any window. */
static unsigned char *message_and_filler(size_t size, size_t *length)
{
    const frame message = {.kind = FRAME_MESSAGE, .type = 7, .size = 8};
    const frame filler = {.kind = 0x80, .size = (uint32_t)size};
    unsigned char *bytes = keep(calloc(1, 2 * FRAME_HEADER_SIZE + 8 + frame_padded(size)));
    char *zeros = keep(calloc(1, size));

    *length = raw_encode(&message, "12345678", bytes);
    *length += raw_encode(&filler, zeros, bytes + *length);
    return bytes;
}

/* The memory that is held by what is kept for recv. */
static size_t held_by_kept(const proc_channel *c)
{
    const slab *last = NULL;
    size_t sum = 0;

    for (size_t i = 0; i < c->kept_count; i++) {
        const slab *s = c->kept[(c->kept_first + i) & (c->kept_capacity - 1)].slab;
        sum += s != last ? s->capacity : 0;
        last = s;
    }
    return sum;
}

static void what_is_kept_holds_no_memory_of_what_came_beside_it(void **state)
{
    (void)state;
    static const size_t fillers[] = {200 * 1024, 5 * 1024 * 1024};

    for (size_t i = 0; i < COUNT(fillers); i++) {
        size_t length, at = 0, kept = 0;
        unsigned char *bytes = message_and_filler(fillers[i], &length);
        raw r;

        raw_meet(&r, NULL);
        while (r.channel->kept_count < 12) { /* a call keeps what it does not wait for */
            proc_message reply;
            pour(&r, bytes, length, &at);
            assert_int_equal(proc_channel_call(r.channel, MESSAGE(.type = 1), &reply, 1), -ETIMEDOUT);
        }
        kept = r.channel->kept_count;
        assert_true(held_by_kept(r.channel) < 256 * 1024);
        for (size_t k = 0; k < kept; k++) {
            expect_message(r.channel, 7, "12345678", 8);
        }
        raw_end(&r);
    }
}

static void what_was_kept_leaves_no_memory_behind(void **state)
{
    (void)state;
    enum { MESSAGES = 5000 };
    proc_channel *ends[2];
    proc_message reply;

    make_pair(ends, NULL);
    for (int round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < MESSAGES; i++) {
            assert_int_equal(proc_channel_post(ends[1], MESSAGE(.type = i)), 0);
        }
        assert_int_equal(proc_channel_flush(ends[1], IN_TIME), 0);
        assert_int_equal(proc_channel_call(ends[0], ASK(.type = 1), &reply, 1), -ETIMEDOUT);
        assert_int_equal(ends[0]->kept_count, MESSAGES);
        for (uint32_t i = 0; i < MESSAGES; i++) {
            expect_message(ends[0], i, NULL, 0);
        }
        assert_in_range(ends[0]->kept_capacity, 0, 1024);
    }
    free_pair(ends);
}

static void *answer_with_a_filler(void *arg)
{
    raw *r = arg;
    size_t length, ignored;
    unsigned char *bytes = message_and_filler(5 * 1024 * 1024, &length);
    frame request = raw_await(r, FRAME_REQUEST);

    ignored = FRAME_HEADER_SIZE + 8;
    raw_write(r, bytes + ignored, length - ignored);
    raw_frame(r, (frame){.kind = FRAME_REPLY, .id = request.id, .size = 8}, "12345678");
    return NULL;
}

static void a_small_reply_holds_no_memory_of_what_came_before_it(void **state)
{
    (void)state;
    proc_message reply;
    pthread_t thread;
    raw r;

    raw_meet(&r, NULL);
    assert_int_equal(pthread_create(&thread, NULL, answer_with_a_filler, &r), 0);
    assert_int_equal(proc_channel_call(r.channel, MESSAGE(.type = 1), &reply, IN_TIME), 0);
    pthread_join(thread, NULL);
    assert_memory_equal(reply.data, "12345678", 8);
    assert_true(((slab *)reply.owner)->capacity <= 256 * 1024);
    raw_end(&r);
    assert_memory_equal(reply.data, "12345678", 8);
    proc_message_clear(&reply);
}

static const struct CMUnitTest tests[] = {
    TEST(a_flood_of_small_messages_waits_outside_of_the_loop),
    TEST(what_is_kept_holds_no_memory_of_what_came_beside_it),
    TEST(what_was_kept_leaves_no_memory_behind),
    TEST(a_small_reply_holds_no_memory_of_what_came_before_it),
};

HARNESS_MAIN(tests)
