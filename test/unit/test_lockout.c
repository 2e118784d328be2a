/* wrap: socket_receive */
/*
 * An end that says so much that there is always more to read: the thread that reads it leaves room for the others.
 */
#include "lifeline.h"
#include "peer.h"

#include <pthread.h>
#include <stdatomic.h>

#include "os/socket.h"

static atomic_bool endless;
static atomic_uint reads;

ssize_t __real_socket_receive(int fd, void *buffer, size_t size, socket_fds *fds);
ssize_t __wrap_socket_receive(int fd, void *buffer, size_t size, socket_fds *fds);

/* Fills what it gets with frames that say nothing. */
ssize_t __wrap_socket_receive(int fd, void *buffer, size_t size, socket_fds *fds)
{
    static const frame nothing = {.kind = FRAME_IGNORABLE | 72};
    static size_t at;
    unsigned char header[FRAME_HEADER_SIZE];

    if (!atomic_load(&endless) && at == 0) {
        return __real_socket_receive(fd, buffer, size, fds);
    }
    if (fds != NULL) {
        fds->count = 0;
        fds->lost = false;
    }
    if (!atomic_load(&endless)) {
        size = FRAME_HEADER_SIZE - at; /* the last frame is whole */
    }
    frame_encode(&nothing, header);
    for (size_t i = 0; i < size; i++) {
        ((unsigned char *)buffer)[i] = header[at];
        at = (at + 1) % FRAME_HEADER_SIZE;
    }
    atomic_fetch_add(&reads, 1);
    return (ssize_t)size;
}

static void *receive(void *arg)
{
    proc_message message;
    return (void *)(intptr_t)proc_channel_recv(arg, &message, PROC_FOREVER);
}

static void an_end_that_never_stops_talking_does_not_keep_other_threads_out(void **state)
{
    (void)state;
    pthread_t thread;
    void *result;
    raw r;

    raw_meet(&r, NULL);
    atomic_store(&endless, true);
    assert_int_equal(pthread_create(&thread, NULL, receive, r.channel), 0);
    raw_frame(&r, (frame){.kind = FRAME_MESSAGE}, NULL);
    while (atomic_load(&reads) < 100) {
        let_pass(1);
    }

    assert_int_equal(proc_channel_pending(r.channel), 0); /* has the lock */

    atomic_store(&endless, false);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_int_equal((intptr_t)result, 0);
    raw_end(&r);
}

static const struct CMUnitTest tests[] = {
    TEST(an_end_that_never_stops_talking_does_not_keep_other_threads_out),
};

HARNESS_MAIN(tests)
