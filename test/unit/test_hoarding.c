/*
 * What another end can make this one hold, in memory: never more than some multiple of what it was allowed to send, however
 * it cuts that up, and whoever receives.
 */
#include "events.h"

#include <fcntl.h>
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

static const struct CMUnitTest tests[] = {
    TEST(a_flood_of_small_messages_waits_outside_of_the_loop),
};

HARNESS_MAIN(tests)
