/* SPDX-License-Identifier: MIT */
/*
 * pattern -- what byte `i` of block `id` is, for victim, which writes it, and readcore, which knows
 * nothing of zalloc and looks for it in a core file.
 */
#ifndef ZA_TESTS_CORES_PATTERN_H
#define ZA_TESTS_CORES_PATTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* In the upper half of an id; any other: text too, of another sort. */
#define PATTERN_ZERO 1ull
#define PATTERN_RANDOM 2ull
#define PATTERN_TEXT 3ull

static inline uint64_t pattern_mix(uint64_t x)
{
    x ^= x >> 31;
    x *= 0x9e3779b97f4a7c15ull;
    x ^= x >> 29;
    x *= 0xbf58476d1ce4e5b9ull;
    return x ^ x >> 32;
}

/* Records that begin alike and go on with numbers of their own: they compress, no two are equal. */
static inline unsigned char pattern_byte(uint64_t id, size_t i)
{
    static const char words[] = "user:session=\"active\",visits=,name:the quick brown fox;";
    uint64_t record = i / 128, at = i % 128;
    switch (id >> 32) {
    case PATTERN_ZERO: return 0;
    case PATTERN_RANDOM: return (unsigned char)(pattern_mix(id + i / 8) >> i % 8 * 8);
    default: break;
    }
    if (at < 12)
        return (unsigned char)(pattern_mix(id * 8191 + record) >> at % 8 * 8);
    return (unsigned char)words[(at + (id >> 32)) % (sizeof(words) - 1)];
}

static inline void pattern_fill(void *p, size_t len, uint64_t id)
{
    unsigned char *b = p;
    for (size_t i = 0; i < len; i++)
        b[i] = pattern_byte(id, i);
}

static inline bool pattern_is(const void *p, size_t len, uint64_t id)
{
    const unsigned char *b = p;
    for (size_t i = 0; i < len; i++)
        if (b[i] != pattern_byte(id, i))
            return false;
    return true;
}

#endif
