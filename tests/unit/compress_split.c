/* SPDX-License-Identifier: MIT */
/*
 * compress_split -- pointers taken apart come back as they were; damage is refused or noticed, and
 * nothing is touched beyond the buffers; the sample chooses what is smaller.
 */
#include "compress/choose.h"
#include "compress/split.h"
#include "compress/store.h"
#include "tests/unit/compress_data.h"
#include "tests/unit/unit.h"

#include <stdlib.h>

#define MAX_RAW ((size_t)64 * 1024)
#define GROUP ((size_t)16384)
#define HEAD ((size_t)8)

static void *room(size_t bytes)
{
    void *p = NULL;
    CHECK_EQ(posix_memalign(&p, ZA_CODEC_ALIGN, bytes), 0);
    memset(p, 0xa5, bytes);
    return p;
}

static void *exactly(const void *bytes, size_t len)
{
    char *p = malloc(len ? len : 1);
    memcpy(p, bytes, len);
    return p;
}

/* Buffers of exact size, so that AddressSanitizer sees one byte too many on either side. */
static void round_trip(void *in, void *from, size_t len, enum data_kind kind)
{
    const struct za_codec *c = &za_codec_split;
    size_t cap = len + len / 16 + 64;
    char *raw = malloc(len), *packed = malloc(cap), *out = malloc(len);
    data_fill(raw, len, kind);
    size_t size = c->pack(in, NULL, raw, len, packed, cap);
    CHECK(size > HEAD);
    char *exact = exactly(packed, size);
    CHECK(c->unpack(from, NULL, exact, size, out, len));
    CHECK(memcmp(out, raw, len) == 0);
    CHECK(!c->unpack(from, NULL, exact, size, out, len - 1)); /* no prefix of it */
    CHECK(!c->unpack(from, NULL, exact, size - 1, out, len));
    free(raw);
    free(packed);
    free(out);
    free(exact);
}

UNIT_TEST(every_kind_and_size_comes_back)
{
    static const size_t sizes[] = {1, 7, 8, 9, 31, 32, 33, 64, 4095, 4096, 12288, GROUP, MAX_RAW};
    void *in = room(za_codec_split.pack_bytes), *from = room(za_codec_split.unpack_bytes);
    for (enum data_kind k = 0; k < DATA_KINDS; k++)
        for (size_t i = 0; i < ZA_ARRAY_LEN(sizes); i++)
            for (int n = 0; n < 4; n++)
                round_trip(in, from, sizes[i], k);
    for (int i = 0; i < 2000; i++)
        round_trip(in, from, 1 + data_rnd() % 20000, data_rnd() % DATA_KINDS);
    free(in);
    free(from);
}

/* Nodes of 32 bytes: two addresses, a number, text. */
static void nodes(char *p, size_t len)
{
    for (size_t i = 0; i + 32 <= len; i += 32) {
        uint64_t w[3] = {0x7f3200000000ull + data_rnd() % (1u << 26) * 16,
                         0x7f3200000000ull + data_rnd() % (1u << 26) * 16, data_rnd() % 1000};
        memcpy(p + i, w, sizeof(w));
        static const char words[] = "name    \"value\":";
        memcpy(p + i + 24, words + i % 64 / 32 * 8, 8);
    }
}

UNIT_TEST(addresses_get_smaller_than_lz4_makes_them)
{
    static char raw[GROUP], packed[2 * GROUP];
    const struct za_codec *plain = za_codec(ZA_CODEC_LZ4);
    void *in = room(za_codec_split.pack_bytes), *ws = room(plain->pack_bytes);
    nodes(raw, sizeof(raw));
    size_t lz4 = plain->pack(ws, NULL, raw, sizeof(raw), packed, sizeof(packed));
    size_t split = za_codec_split.pack(in, NULL, raw, sizeof(raw), packed, sizeof(packed));
    CHECK(split > 0 && split < lz4 * 3 / 4);
    CHECK_EQ(za_codec_split.pack(in, NULL, raw, sizeof(raw), packed, split), split);
    CHECK_EQ(za_codec_split.pack(in, NULL, raw, sizeof(raw), packed, split - 1), 0);
    CHECK_EQ(za_codec_split.pack(in, NULL, raw, sizeof(raw), packed, HEAD), 0);
    free(in);
    free(ws);
}

/* Words at the borders of what an address is. */
UNIT_TEST(every_upper_half_comes_back)
{
    static const uint32_t highs[] = {0, 1, 0x7f32, 0x7fff, 0x8000, 0xffff, 0x10000, UINT32_MAX};
    static char packed[4096];
    void *in = room(za_codec_split.pack_bytes), *from = room(za_codec_split.unpack_bytes);
    for (int round = 0; round < 2000; round++) {
        uint64_t raw[64], out[64];
        for (size_t i = 0; i < ZA_ARRAY_LEN(raw); i++)
            raw[i] = (uint64_t)highs[data_rnd() % ZA_ARRAY_LEN(highs)] << 32 |
                     (data_rnd() % 3 ? (uint32_t)data_rnd() : 0);
        size_t size = za_codec_split.pack(in, NULL, raw, sizeof(raw), packed, sizeof(packed));
        CHECK(za_codec_split.unpack(from, NULL, packed, size, out, sizeof(out)));
        CHECK(memcmp(raw, out, sizeof(raw)) == 0);
    }
    free(in);
    free(from);
}

/* ---- damage ---- */

UNIT_TEST(damage_is_refused_or_fails_the_checksum)
{
    static char raw[4096], packed[8192];
    void *in = room(za_codec_split.pack_bytes), *from = room(za_codec_split.unpack_bytes);
    unsigned refused = 0;
    for (int i = 0; i < 20000; i++) {
        data_fill(raw, sizeof(raw),
                  i % 3 == 0   ? DATA_POINTERS
                  : i % 3 == 1 ? DATA_TEXT
                               : DATA_MIXED);
        size_t size = za_codec_split.pack(in, NULL, raw, sizeof(raw), packed, sizeof(packed));
        char *exact = exactly(packed, size), *out = malloc(sizeof(raw));
        for (uint64_t hits = 1 + data_rnd() % 3; hits; hits--)
            exact[data_rnd() % size] ^= (char)(1 + data_rnd() % 255);
        bool ok = za_codec_split.unpack(from, NULL, exact, size, out, sizeof(raw));
        refused += !ok;
        if (ok && memcmp(out, raw, sizeof(raw)) != 0)
            CHECK(za_checksum(out, sizeof(raw)) != za_checksum(raw, sizeof(raw)));
        free(exact);
        free(out);
    }
    CHECK(refused > 1000);
    free(in);
    free(from);
}

/* Tags that promise more or less than there is: LZ4 is content, the parts are not. */
UNIT_TEST(random_parts_behind_a_sound_lz4_block)
{
    static char parts[MAX_RAW], block[2 * MAX_RAW];
    const struct za_codec *lz4 = za_codec(ZA_CODEC_LZ4);
    void *ws = room(lz4->pack_bytes), *from = room(za_codec_split.unpack_bytes);
    unsigned taken = 0;
    for (int i = 0; i < 20000; i++) {
        size_t n = 1 + data_rnd() % 6000, want = 1 + data_rnd() % 5000;
        data_fill(parts, n, data_rnd() % DATA_KINDS);
        size_t size = lz4->pack(ws, NULL, parts, n, block + HEAD - 2, sizeof(block) - HEAD);
        uint16_t less_one = (uint16_t)(want - 1);
        memset(block, 0x5a, HEAD);
        memcpy(block, &less_one, sizeof(less_one)); /* what lz4 puts in front is overwritten */
        char *exact = exactly(block, size + HEAD - 2), *out = malloc(want);
        taken += za_codec_split.unpack(from, NULL, exact, size + HEAD - 2, out, want);
        free(exact);
        free(out);
    }
    CHECK(taken < 200);
    free(ws);
    free(from);
}

UNIT_TEST(random_bytes)
{
    void *from = room(za_codec_split.unpack_bytes);
    for (int i = 0; i < 50000; i++) {
        size_t len = data_rnd() % 300, want = 1 + data_rnd() % 4096;
        char *in = malloc(len + 1), *exact, *out = malloc(want);
        data_fill(in, len, DATA_RANDOM);
        if (len >= 2 && i % 2) { /* past the first check */
            uint16_t less_one = (uint16_t)(want - 1);
            memcpy(in, &less_one, sizeof(less_one));
        }
        exact = exactly(in, len);
        (void)za_codec_split.unpack(from, NULL, exact, len, out, want);
        free(in);
        free(exact);
        free(out);
    }
    free(from);
}

/* ---- the choice ---- */

static enum za_codec_id choose(struct za_choice *c, void *ws, enum data_kind kind, unsigned blobs)
{
    static char raw[GROUP], packed[GROUP], out[GROUP];
    void *from = room(za_codec_split.unpack_bytes);
    enum za_codec_id id = ZA_CODEC_NONE;
    for (unsigned i = 0; i < blobs; i++) {
        if (kind == DATA_POINTERS)
            nodes(raw, sizeof(raw));
        else
            data_fill(raw, sizeof(raw), kind);
        size_t size = za_choose_pack(c, ws, raw, sizeof(raw), packed, sizeof(packed), &id);
        if (!size)
            continue;
        CHECK(za_codec(id)->unpack(from, NULL, packed, size, out, sizeof(out)));
        CHECK(memcmp(raw, out, sizeof(raw)) == 0);
    }
    free(from);
    return id;
}

UNIT_TEST(the_sample_chooses)
{
    struct za_choice pointers = {0}, text = {0};
    void *ws = room(za_choose_room_bytes());
    CHECK_EQ(choose(&pointers, ws, DATA_POINTERS, ZA_CHOICE_SAMPLE + 1), ZA_CODEC_SPLIT);
    CHECK_EQ(choose(&text, ws, DATA_TEXT, ZA_CHOICE_SAMPLE + 1), ZA_CODEC_LZ4);
    CHECK_EQ(pointers.codec, ZA_CODEC_SPLIT);
    CHECK_EQ(text.codec, ZA_CODEC_LZ4);
    free(ws);
}

UNIT_TEST(a_kind_that_changes_is_found_out)
{
    struct za_choice c = {0};
    void *ws = room(za_choose_room_bytes());
    (void)choose(&c, ws, DATA_TEXT, ZA_CHOICE_SAMPLE);
    CHECK_EQ(choose(&c, ws, DATA_POINTERS, ZA_CHOICE_LASTS), ZA_CODEC_LZ4);
    CHECK_EQ(choose(&c, ws, DATA_POINTERS, ZA_CHOICE_SAMPLE + 1), ZA_CODEC_SPLIT);
    CHECK_EQ(c.codec, ZA_CODEC_SPLIT);
    free(ws);
}

/* What does not fit is refused either way, and a verdict is no worse than LZ4. */
UNIT_TEST(a_verdict_never_refuses_what_lz4_would_take)
{
    static char raw[GROUP], packed[2 * GROUP];
    struct za_choice c = {.seen = ZA_CHOICE_SAMPLE, .codec = ZA_CODEC_SPLIT};
    enum za_codec_id id;
    void *ws = room(za_choose_room_bytes()), *plain = room(za_codec(ZA_CODEC_LZ4)->pack_bytes);
    for (int i = 0; i < 200; i++) {
        data_fill(raw, sizeof(raw), data_rnd() % DATA_KINDS);
        size_t lz4 = za_codec(ZA_CODEC_LZ4)->pack(plain, NULL, raw, sizeof(raw), packed, GROUP);
        size_t cap = lz4 ? lz4 : GROUP;
        size_t size = za_choose_pack(&c, ws, raw, sizeof(raw), packed, cap, &id);
        CHECK(size <= cap && (size > 0) >= (lz4 > 0));
    }
    free(ws);
    free(plain);
}
