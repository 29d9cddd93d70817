/* SPDX-License-Identifier: MIT */
/*
 * split -- pointers taken apart: what they have in common once, what they differ in sorted by
 * significance, and the rest as it was.
 *
 * Addresses of one heap agree in their upper half and differ in the lower, so LZ4, which looks for
 * repetitions of four bytes and more, finds little in them. Each 8-byte word gets a tag of two
 * bits:
 *     ZERO   nothing more
 *     NEAR   the upper half is the block's common one; the lower half goes to four planes, a byte
 *            to each
 *     SMALL  the upper half is zero; the lower half goes behind the planes
 *     FAR    anything else, text above all: the word goes behind those, whole, so that text stays
 *            together
 * A block is: head | LZ4 of (tags | planes | small | far | the bytes behind the last whole word).
 *
 * I1  What is unpacked is damaged until proven otherwise: the tags say how long every part is, and
 *     unless the sum is what LZ4 gave nothing is read by them.
 * I2  Nothing is written outside the workspace and `want` bytes of dst.
 *
 * Locks: none.  May sleep: no.  May fault: only on the buffers given.  Allocates: nothing.
 */
#include "compress/split.h"

#include <lz4.h>
#include <string.h>

#define ACCELERATION 1
#define MAX_RAW ((size_t)64 * 1024)
#define WORD ((size_t)8)
#define HALF ((size_t)4)
#define TAGS_A_BYTE ((size_t)4)
#define MAX_TAGS (MAX_RAW / WORD / TAGS_A_BYTE)
#define MAX_PARTS (MAX_TAGS + MAX_RAW)
/* Upper halves of a program's addresses: not zero, and the top 17 bits are. */
#define USER_HIGH 0x8000u

enum tag { ZERO, NEAR, SMALL, FAR, TAGS };

struct head {
    uint16_t raw_less_one;
    uint16_t spare;
    uint32_t high; /* the common upper half */
};

struct pack_room {
    LZ4_stream_t lz4;
    uint8_t parts[MAX_PARTS];
};

struct unpack_room {
    uint8_t parts[MAX_PARTS];
};

/* Where each part of a block begins; the cursors of packing and unpacking. */
struct parts {
    uint8_t *plane, *small, *far, *tail, *end;
    size_t near; /* bytes in a plane */
};

static uint64_t word_at(const uint8_t *p)
{
    uint64_t w;

    memcpy(&w, p, sizeof(w));
    return w;
}

/* The upper half that most words have which look like addresses (majority vote). */
static uint32_t common_high(const uint8_t *src, size_t words)
{
    uint32_t high = 0;
    size_t votes = 0;

    for (size_t i = 0; i < words; i++) {
        uint32_t h = (uint32_t)(word_at(src + i * WORD) >> 32);
        if (h - 1 >= USER_HIGH - 1)
            continue;
        if (votes == 0)
            high = h;
        votes = high == h ? votes + 1 : votes - 1;
    }
    return high;
}

static enum tag tag_of(uint64_t w, uint32_t high)
{
    uint32_t h = (uint32_t)(w >> 32);

    if (h == 0)
        return w ? SMALL : ZERO;
    return h == high ? NEAR : FAR;
}

static size_t tag_bytes(size_t words)
{
    return (words + TAGS_A_BYTE - 1) / TAGS_A_BYTE;
}

static struct parts lay_out(uint8_t *base, size_t words, const size_t n[TAGS], size_t tail)
{
    struct parts p = {.near = n[NEAR]};

    p.plane = base + tag_bytes(words);
    p.small = p.plane + n[NEAR] * HALF;
    p.far = p.small + n[SMALL] * HALF;
    p.tail = p.far + n[FAR] * WORD;
    p.end = p.tail + tail;
    return p;
}

/* Writes the tags and counts them. */
static void tag_all(const uint8_t *src, size_t words, uint32_t high, uint8_t *tags, size_t n[TAGS])
{
    memset(tags, 0, tag_bytes(words));
    for (size_t i = 0; i < words; i++) {
        enum tag t = tag_of(word_at(src + i * WORD), high);
        tags[i / TAGS_A_BYTE] |= (uint8_t)(t << i % TAGS_A_BYTE * 2);
        n[t]++;
    }
}

static void put_near(struct parts *p, uint64_t w)
{
    for (size_t plane = 0; plane < HALF; plane++)
        p->plane[plane * p->near] = (uint8_t)(w >> 8 * plane);
    p->plane++;
}

static size_t take_apart(const uint8_t *src, size_t len, uint32_t high, uint8_t *to)
{
    size_t words = len / WORD, n[TAGS] = {0};

    tag_all(src, words, high, to, n);
    struct parts p = lay_out(to, words, n, len % WORD);
    memcpy(p.tail, src + words * WORD, len % WORD);
    for (size_t i = 0; i < words; i++) {
        uint64_t w = word_at(src + i * WORD);
        switch (tag_of(w, high)) {
        case NEAR: put_near(&p, w); break;
        case SMALL: memcpy(p.small, &w, HALF), p.small += HALF; break;
        case FAR: memcpy(p.far, &w, WORD), p.far += WORD; break;
        default: break;
        }
    }
    return (size_t)(p.end - to);
}

static enum tag tag_at(const uint8_t *tags, size_t i)
{
    return (enum tag)(tags[i / TAGS_A_BYTE] >> i % TAGS_A_BYTE * 2 & 3);
}

static uint64_t get_near(struct parts *p, uint32_t high)
{
    uint64_t w = (uint64_t)high << 32;

    for (size_t plane = 0; plane < HALF; plane++)
        w |= (uint64_t)p->plane[plane * p->near] << 8 * plane;
    p->plane++;
    return w;
}

static void put_together(struct parts p, const uint8_t *tags, uint32_t high, uint8_t *dst,
                         size_t words)
{
    for (size_t i = 0; i < words; i++) {
        uint64_t w = 0;
        switch (tag_at(tags, i)) {
        case NEAR: w = get_near(&p, high); break;
        case SMALL: memcpy(&w, p.small, HALF), p.small += HALF; break;
        case FAR: memcpy(&w, p.far, WORD), p.far += WORD; break;
        default: break;
        }
        memcpy(dst + i * WORD, &w, WORD);
    }
}

static size_t pack(void *workspace, const struct za_dict *dict, const void *src, size_t len,
                   void *dst, size_t cap)
{
    struct pack_room *room = workspace;
    struct head h = {.raw_less_one = (uint16_t)(len - 1)};
    char *out = dst;

    (void)dict;
    if (len == 0 || len > MAX_RAW || cap <= sizeof(h))
        return 0;
    h.high = common_high(src, len / WORD);
    int n = (int)take_apart(src, len, h.high, room->parts);
    int left = (int)za_min(cap - sizeof(h), 2 * MAX_RAW);
    int size = LZ4_compress_fast_extState(&room->lz4, (const char *)room->parts, out + sizeof(h), n,
                                          left, ACCELERATION);
    if (size <= 0)
        return 0;
    memcpy(out, &h, sizeof(h));
    return (size_t)size + sizeof(h);
}

/* I1: do the tags describe exactly n bytes? */
static bool lay_out_checked(uint8_t *room, size_t n, size_t want, struct parts *p)
{
    size_t words = want / WORD, count[TAGS] = {0};

    if (n < tag_bytes(words))
        return false;
    for (size_t i = 0; i < words; i++)
        count[tag_at(room, i)]++;
    *p = lay_out(room, words, count, want % WORD);
    return (size_t)(p->end - room) == n;
}

static bool unpack(void *workspace, const struct za_dict *dict, const void *src, size_t len,
                   void *dst, size_t want)
{
    struct unpack_room *room = workspace;
    struct head h;
    struct parts p;

    (void)dict;
    if (len <= sizeof(h) || len > 2 * MAX_RAW)
        return false;
    memcpy(&h, src, sizeof(h));
    if (want != (size_t)h.raw_less_one + 1)
        return false;
    int n = LZ4_decompress_safe((const char *)src + sizeof(h), (char *)room->parts,
                                (int)(len - sizeof(h)), (int)sizeof(room->parts));
    if (n < 0 || !lay_out_checked(room->parts, (size_t)n, want, &p))
        return false;
    memcpy((uint8_t *)dst + want / WORD * WORD, p.tail, want % WORD);
    put_together(p, room->parts, h.high, dst, want / WORD);
    return true;
}

static bool open_nothing(void *workspace)
{
    (void)workspace;
    return true;
}

const struct za_codec za_codec_split = {
    .name = "split-lz4",
    .workspace_bytes = sizeof(struct pack_room),
    .pack_bytes = sizeof(struct pack_room),
    .unpack_bytes = sizeof(struct unpack_room),
    .open_pack = open_nothing,
    .open_unpack = open_nothing,
    .pack = pack,
    .unpack = unpack,
};
