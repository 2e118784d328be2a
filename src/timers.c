/*
 * See timers.h.
 */
#include "timers.h"

#include <errno.h>
#include <stdlib.h>

void timers_free(timers *t)
{
    free(t->heap);
    *t = (timers){.heap = NULL};
}

static bool is_before(const timer *a, const timer *b)
{
    return a->due != b->due ? a->due < b->due : a->order < b->order;
}

static void put_at(timers *t, size_t place, timer *at)
{
    t->heap[place] = at;
    at->place = place;
}

static void sift_up(timers *t, size_t place, timer *at)
{
    for (; place > 1 && is_before(at, t->heap[place / 2]); place /= 2) {
        put_at(t, place, t->heap[place / 2]);
    }
    put_at(t, place, at);
}

static void sift_down(timers *t, size_t place, timer *at)
{
    for (size_t child; (child = 2 * place) <= t->count; place = child) {
        if (child < t->count && is_before(t->heap[child + 1], t->heap[child])) {
            child++;
        }
        if (!is_before(t->heap[child], at)) {
            break;
        }
        put_at(t, place, t->heap[child]);
    }
    put_at(t, place, at);
}

static void settle(timers *t, size_t place, timer *at)
{
    if (place > 1 && is_before(at, t->heap[place / 2])) {
        sift_up(t, place, at);
    } else {
        sift_down(t, place, at);
    }
}

int timers_reserve(timers *t, size_t count)
{
    if (count >= t->capacity) {
        size_t capacity = t->capacity == 0 ? 16 : 2 * t->capacity;
        while (count >= capacity) {
            capacity *= 2;
        }
        timer **heap = realloc(t->heap, capacity * sizeof(timer *));
        if (heap == NULL) {
            return -ENOMEM;
        }
        t->heap = heap;
        t->capacity = capacity;
    }
    return 0;
}

void timers_set(timers *t, timer *at, int64_t due)
{
    at->due = due;
    at->order = t->next_order++;
    settle(t, at->place != 0 ? at->place : ++t->count, at);
}

void timers_clear(timers *t, timer *at)
{
    if (at->place == 0) {
        return;
    }
    timer *last = t->heap[t->count--];
    if (last != at) {
        settle(t, at->place, last);
    }
    at->place = 0;
}

timer *timers_first(const timers *t)
{
    return t->count > 0 ? t->heap[1] : NULL;
}
