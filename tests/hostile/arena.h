/* SPDX-License-Identifier: MIT */
/*
 * arena -- many pieces of cold memory for the price of one wait.
 *
 * A program takes pieces, prepares what it wants in them, lets all of them go cold at once, and has
 * each used by one system call.  No two pieces share a unit, so bringing one back brings no other.
 */
#ifndef ZA_TESTS_HOSTILE_ARENA_H
#define ZA_TESTS_HOSTILE_ARENA_H

#include "hostile.h"

struct arena {
    char *start;
    size_t len, used;
};

static inline struct arena arena_new(size_t units, uint64_t id)
{
    return (struct arena){block(units * UNIT, id), units * UNIT, 0};
}

/* Zeroed; the program ends if the arena is too small for what it does. */
static inline void *take(struct arena *a, size_t len)
{
    char *p = a->start + a->used;
    a->used += (len + UNIT - 1) / UNIT * UNIT;
    if (a->used > a->len) {
        fprintf(stderr, "the arena is too small\n");
        exit(2);
    }
    return memset(p, 0, len);
}

static inline void *take_filled(struct arena *a, size_t len, uint64_t id)
{
    void *p = take(a, len);
    fill(p, len, id);
    return p;
}

static inline void *take_copy(struct arena *a, const void *from, size_t len)
{
    return memcpy(take(a, len), from, len);
}

static inline char *take_string(struct arena *a, const char *s)
{
    return take_copy(a, s, strlen(s) + 1);
}

/* The kernel lets go of what it had pinned a while after a descriptor was closed. */
static inline void cool(const struct arena *a)
{
    bool cold = go_cold(a->start, a->len);
    for (unsigned i = 0; i < 1000 && !cold; i++) {
        sleep_ms(5);
        cold = go_cold(a->start, a->len);
    }
    point("all of it goes cold", cold);
}

static inline void arena_again(struct arena *a)
{
    a->used = 0;
}

#endif
