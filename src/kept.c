/*
 * What has arrived and waits for recv: a ring of frames, which grows with what comes, is bounded by the backlog (whoever
 * reads looks at channel_is_full first), and gives its memory back when a flood is over.
 */
#include "channel.h"

#include <errno.h>
#include <stdlib.h>

static bool grow_kept(proc_channel *c)
{
    size_t capacity = c->kept_capacity == 0 ? 64 : 2 * c->kept_capacity;
    inbox_frame *kept = malloc(capacity * sizeof *kept);
    if (kept == NULL) {
        return false;
    }
    for (size_t i = 0; i < c->kept_count; i++) {
        kept[i] = c->kept[(c->kept_first + i) & (c->kept_capacity - 1)];
    }
    free(c->kept);
    c->kept = kept;
    c->kept_first = 0;
    c->kept_capacity = capacity;
    return true;
}

void channel_keep(proc_channel *c, inbox_frame *f)
{
    if (c->closing) {
        channel_consume(c, &f->header);
        return;
    }
    if (c->wants_next) {
        c->wants_next = false;
        c->current = *f;
        channel_consume(c, &f->header);
        f->slab = NULL;
        f->batch = NULL;
        return;
    }
    if (c->kept_count == c->kept_capacity && !grow_kept(c)) {
        channel_fail(c, -ENOMEM, "out of memory");
        return;
    }
    inbox_tighten(&c->in, f);
    c->kept[(c->kept_first + c->kept_count++) & (c->kept_capacity - 1)] = *f;
    c->kept_bytes += FRAME_HEADER_SIZE + frame_padded(f->header.size);
    c->kept_fds += f->batch != NULL ? f->batch->count : 0;
    f->slab = NULL;
    f->batch = NULL;
}

void channel_take_kept(proc_channel *c, inbox_frame *f)
{
    *f = c->kept[c->kept_first];
    c->kept_first = (c->kept_first + 1) & (c->kept_capacity - 1);
    c->kept_count--;
    c->kept_bytes -= FRAME_HEADER_SIZE + frame_padded(f->header.size);
    c->kept_fds -= f->batch != NULL ? f->batch->count : 0;
    if (c->kept_count == 0 && c->kept_capacity > CHANNEL_KEPT_RING) { /* a flood is over */
        free(c->kept);
        c->kept = NULL;
        c->kept_first = c->kept_capacity = 0;
    }
    channel_consume(c, &f->header);
}

void channel_stop_keeping(proc_channel *c)
{
    c->closing = true;
    while (c->kept_count > 0) {
        inbox_frame f;
        channel_take_kept(c, &f);
        channel_drop_frame(c, &f);
    }
}

bool channel_is_full(const proc_channel *c)
{
    return c->kept_bytes >= c->backlog || c->kept_fds + c->in.batch_fds >= CHANNEL_KEPT_FDS;
}
