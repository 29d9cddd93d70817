/* SPDX-License-Identifier: MIT */
/*
 * object -- a piece of heap memory whose every byte is known, for the stress programs.
 *
 * The bytes of an object follow from its id and size: a head and a tail cookie (when there is
 * room) and between them one of four patterns, chosen by the id: position-dependent words, random
 * words, one repeated word, mostly zeros. So a page that comes back from the wrong place, from an
 * earlier life, shifted or empty is seen at once, and an evicting allocator meets pages that
 * compress well, badly and not at all.
 *
 * A wrong byte ends the process with one line on standard error and status 1, by means that are
 * safe in a forked child of a program with threads.
 */
#ifndef ZA_TESTS_STRESS_OBJECT_H
#define ZA_TESTS_STRESS_OBJECT_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* dlsym's RTLD_DEFAULT, and what the programs want of the C library */
#endif

#include <dlfcn.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ZA_HEAD 0x6865616420636f6bULL
#define ZA_TAIL 0x7461696c20636f6bULL

struct object {
    unsigned char *bytes;
    size_t size;
    uint64_t id;
};

struct rng {
    uint64_t state;
};

static inline uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    return x ^ (x >> 31);
}

static inline uint64_t rng_next(struct rng *rng)
{
    rng->state += 0x9e3779b97f4a7c15ULL;
    return mix(rng->state);
}

static inline uint64_t rng_below(struct rng *rng, uint64_t bound)
{
    return rng_next(rng) % bound;
}

/* Stops the process, forked or not, without touching stdio's locks. */
__attribute__((noreturn, format(printf, 1, 2))) static inline void die(const char *format, ...)
{
    char line[400];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(line, sizeof(line) - 1, format, args);
    va_end(args);
    if (length < 0 || (size_t)length > sizeof(line) - 2)
        length = (int)sizeof(line) - 2;
    line[length] = '\n';
    if (write(STDERR_FILENO, line, (size_t)length + 1) < 0)
        _exit(2);
    _exit(1);
}

static inline void sleep_ms(unsigned ms)
{
    struct timespec left = {ms / 1000, (long)(ms % 1000) * 1000000L};
    while (nanosleep(&left, &left) != 0) {
    }
}

/* Lets `ms` pass, then orders everything out, if there is a zalloc in the process to be ordered. */
static inline void make_cold(unsigned ms)
{
    typedef int order_fn(const char *, void *, size_t *, const void *, size_t);
    order_fn *order = (order_fn *)dlsym(RTLD_DEFAULT, "zallctl");
    sleep_ms(ms);
    if (order)
        order("pager.evict", NULL, NULL, NULL, 0);
}

static inline uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* The word at index `at` (in words) of an object's body. */
static inline uint64_t object_word(uint64_t id, size_t size, size_t at)
{
    if (size >= 24 && at == 0)
        return id ^ ZA_HEAD;
    if (size >= 24 && at == size / 8 - 1)
        return id ^ size ^ ZA_TAIL;
    switch ((id ^ id >> 8) & 3) {
    case 0: return (id << 16) ^ (at >> 3);
    case 1: return mix(id + at * 0x9e3779b97f4a7c15ULL);
    case 2: return id * 0x0101010101010101ULL;
    default: return at % 64 ? 0 : id ^ at;
    }
}

/* Up to eight bytes at a time: the length of the word that starts at `offset`. */
static inline size_t object_step(const struct object *object, size_t offset)
{
    return object->size - offset < 8 ? object->size - offset : 8;
}

static inline void object_fill(struct object *object, uint64_t id)
{
    object->id = id;
    for (size_t offset = 0; offset < object->size; offset += 8) {
        uint64_t word = object_word(id, object->size, offset / 8);
        memcpy(object->bytes + offset, &word, object_step(object, offset));
    }
}

/* Where `bytes` first differs from what the object must hold; its size if nowhere. */
static inline size_t object_mismatch(const struct object *object, const unsigned char *bytes,
                                     size_t limit)
{
    for (size_t offset = 0; offset < limit; offset += 8) {
        uint64_t word = object_word(object->id, object->size, offset / 8);
        size_t step = limit - offset < 8 ? limit - offset : 8;
        if (memcmp(bytes + offset, &word, step) != 0)
            return offset;
    }
    return limit;
}

/* Bytes from `offset` on that differ: tells a lost page from a stray write. */
static inline size_t object_count_wrong(const struct object *object, const unsigned char *bytes,
                                        size_t limit, size_t *nzero)
{
    size_t wrong = 0;
    *nzero = 0;
    for (size_t at = 0; at < limit; at++) {
        uint64_t word = object_word(object->id, object->size, at / 8);
        unsigned char expected = (unsigned char)(word >> (at % 8 * 8));
        wrong += bytes[at] != expected;
        *nzero += bytes[at] != expected && bytes[at] == 0;
    }
    return wrong;
}

/* Checks `limit` bytes at `bytes`, which must equal the start of the object. */
static inline void object_check_copy(const struct object *object, const unsigned char *bytes,
                                     size_t limit, const char *where)
{
    size_t at = object_mismatch(object, bytes, limit);
    if (at == limit)
        return;
    size_t nzero;
    size_t wrong = object_count_wrong(object, bytes, limit, &nzero);
    uint64_t expected = object_word(object->id, object->size, at / 8), got = 0;
    memcpy(&got, bytes + at, limit - at < 8 ? limit - at : 8);
    die("WRONG (%s, process %d): object %p id %#llx size %zu: at %zu is %#llx, not %#llx; "
        "%zu bytes of %zu differ, %zu of them are zero",
        where, (int)getpid(), (void *)object->bytes, (unsigned long long)object->id, object->size,
        at, (unsigned long long)got, (unsigned long long)expected, wrong, limit, nzero);
}

static inline void object_check(const struct object *object, const char *where)
{
    object_check_copy(object, object->bytes, object->size, where);
}

/* A size as real programs ask for them: mostly small, now and then megabytes. */
static inline size_t object_random_size(struct rng *rng)
{
    static const struct {
        unsigned percent10;
        size_t low, high;
    } kinds[] = {{10, 0, 8},           {500, 8, 128},       {250, 128, 1024},
                 {150, 1024, 16384},   {65, 16384, 131072}, {20, 131072, 1 << 20},
                 {5, 1 << 20, 4 << 20}};
    uint64_t roll = rng_below(rng, 1000);
    size_t kind = 0;
    while (roll >= kinds[kind].percent10)
        roll -= kinds[kind++].percent10;
    return kinds[kind].low + rng_below(rng, kinds[kind].high - kinds[kind].low);
}

/* A fresh object from malloc, filled. */
static inline struct object object_new(size_t size, uint64_t id)
{
    struct object object = {malloc(size), size, id};
    if (!object.bytes)
        die("malloc(%zu) failed", size);
    object_fill(&object, id);
    return object;
}

#endif
