/* SPDX-License-Identifier: MIT */
/*
 * chacha -- four blocks at a time, in vectors of four words.
 *
 * Written from RFC 8439, section 2.
 * Locks: none.  May sleep: no.  May fault: only on the bytes given.  Allocates: nothing.
 */
#include "compress/chacha.h"

#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "words are loaded as they stand");

#define LANES 4u
#define BLOCK 64u
#define BATCH ((size_t)(LANES * BLOCK))
#define WORDS 16u
#define DOUBLE_ROUNDS 10

typedef uint32_t lanes __attribute__((vector_size(LANES * sizeof(uint32_t))));

ZA_INLINE lanes turn(lanes x, int bits)
{
    return x << bits | x >> (32 - bits);
}

ZA_INLINE void quarter(lanes x[WORDS], int a, int b, int c, int d)
{
    x[a] += x[b];
    x[d] = turn(x[d] ^ x[a], 16);
    x[c] += x[d];
    x[b] = turn(x[b] ^ x[c], 12);
    x[a] += x[b];
    x[d] = turn(x[d] ^ x[a], 8);
    x[c] += x[d];
    x[b] = turn(x[b] ^ x[c], 7);
}

static void mix(lanes x[WORDS])
{
    for (int i = 0; i < DOUBLE_ROUNDS; i++) {
        quarter(x, 0, 4, 8, 12);
        quarter(x, 1, 5, 9, 13);
        quarter(x, 2, 6, 10, 14);
        quarter(x, 3, 7, 11, 15);
        quarter(x, 0, 5, 10, 15);
        quarter(x, 1, 6, 11, 12);
        quarter(x, 2, 7, 8, 13);
        quarter(x, 3, 4, 9, 14);
    }
}

/* The four blocks from the one that `start` counts. */
static void make(const uint32_t start[WORDS], uint32_t out[LANES][WORDS])
{
    lanes first[WORDS], x[WORDS];
    for (unsigned i = 0; i < WORDS; i++)
        first[i] = (lanes){start[i], start[i], start[i], start[i]};
    first[12] += (lanes){0, 1, 2, 3};
    memcpy(x, first, sizeof(x));
    mix(x);
    for (unsigned i = 0; i < WORDS; i++) {
        lanes sum = x[i] + first[i];
        for (unsigned lane = 0; lane < LANES; lane++)
            out[lane][i] = sum[lane];
    }
}

static void mingle(uint8_t *p, const uint8_t *with, size_t len)
{
    for (size_t i = 0; i < len; i++)
        p[i] ^= with[i];
}

void za_chacha20(const uint8_t key[ZA_CHACHA_KEY], const uint8_t nonce[ZA_CHACHA_NONCE],
                 uint64_t at, void *p, size_t len)
{
    uint32_t start[WORDS] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
    uint32_t stream[LANES][WORDS];
    uint8_t *to = p;
    memcpy(start + 4, key, ZA_CHACHA_KEY);
    memcpy(start + 13, nonce, ZA_CHACHA_NONCE);
    while (len > 0) {
        size_t skip = at % BATCH, n = za_min(BATCH - skip, len);
        start[12] = (uint32_t)(at / BATCH * LANES);
        make(start, stream);
        mingle(to, (const uint8_t *)stream + skip, n);
        to += n;
        at += n;
        len -= n;
    }
}
