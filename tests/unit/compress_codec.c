/* SPDX-License-Identifier: MIT */
/*
 * compress_codec -- codecs give back what they were given, whole and by prefix, and refuse the
 * rest; page looks.
 */
#include "compress/codec.h"
#include "compress/store.h"
#include "tests/unit/compress_data.h"
#include "tests/unit/unit.h"

#include <stdlib.h>

#define MAX_RAW ((size_t)64 * 1024)

/* Buffers of exact size, so that AddressSanitizer sees one byte too many on either side. */
static void round_trip(const struct za_codec *c, void *ws, size_t len, enum data_kind kind)
{
    char *raw = malloc(len), *packed = malloc(len + len / 255 + 16);
    data_fill(raw, len, kind);
    size_t size = c->compress(ws, raw, len, packed, len + len / 255 + 16);
    CHECK(size > 0);
    char *exact = malloc(size);
    memcpy(exact, packed, size);
    for (int i = 0; i < 8; i++) {
        size_t want = i ? 1 + data_rnd() % len : len;
        char *out = malloc(want);
        CHECK(c->decompress(exact, size, out, want));
        CHECK(memcmp(out, raw, want) == 0);
        free(out);
    }
    free(raw);
    free(packed);
    free(exact);
}

UNIT_TEST(lz4_round_trips_every_kind_and_size)
{
    const struct za_codec *c = za_codec(ZA_CODEC_LZ4);
    void *ws = malloc(c->workspace_bytes);
    static const size_t sizes[] = {1, 5, 12, 13, 64, 4095, 4096, 8192, 12288, 16384, MAX_RAW};

    memset(ws, 0xa5, c->workspace_bytes);
    for (enum data_kind k = 0; k < DATA_KINDS; k++)
        for (size_t i = 0; i < ZA_ARRAY_LEN(sizes); i++)
            for (int n = 0; n < 8; n++)
                round_trip(c, ws, sizes[i], k);
    for (int i = 0; i < 2000; i++)
        round_trip(c, ws, 1 + data_rnd() % 20000, data_rnd() % DATA_KINDS);
    free(ws);
}

UNIT_TEST(lz4_every_prefix_of_a_group)
{
    const struct za_codec *c = za_codec(ZA_CODEC_LZ4);
    static char ws[1 << 16], raw[8192], packed[9000];

    data_fill(raw, sizeof(raw), DATA_MIXED);
    size_t size = c->compress(ws, raw, sizeof(raw), packed, sizeof(packed));
    for (size_t want = 1; want <= sizeof(raw); want++) {
        char *out = malloc(want);
        CHECK(c->decompress(packed, size, out, want));
        CHECK(memcmp(out, raw, want) == 0);
        free(out);
    }
}

UNIT_TEST(lz4_refuses_what_does_not_fit)
{
    const struct za_codec *c = za_codec(ZA_CODEC_LZ4);
    static char ws[1 << 16], raw[4096], packed[5000];

    CHECK(c->workspace_bytes <= sizeof(ws));
    data_fill(raw, sizeof(raw), DATA_RANDOM);
    CHECK_EQ(c->compress(ws, raw, sizeof(raw), packed, 3072), 0);
    CHECK_EQ(c->compress(ws, raw, sizeof(raw), packed, 0), 0);
    data_fill(raw, sizeof(raw), DATA_TEXT);
    size_t size = c->compress(ws, raw, sizeof(raw), packed, sizeof(packed));
    CHECK(size > 0 && size < 3072);
    CHECK_EQ(c->compress(ws, raw, sizeof(raw), packed, size), size);
    CHECK_EQ(c->compress(ws, raw, sizeof(raw), packed, size - 1), 0);
}

/* Damaged input may decode to something, but never writes outside `want` and never passes the
 * checksum. */
UNIT_TEST(lz4_damage_is_noticed)
{
    const struct za_codec *c = za_codec(ZA_CODEC_LZ4);
    static char ws[1 << 16], raw[4096], packed[5000];
    unsigned refused = 0;

    for (int i = 0; i < 20000; i++) {
        data_fill(raw, sizeof(raw), i % 2 ? DATA_TEXT : DATA_MIXED);
        size_t size = c->compress(ws, raw, sizeof(raw), packed, sizeof(packed));
        char *exact = malloc(size), *out = malloc(sizeof(raw));
        memcpy(exact, packed, size);
        exact[data_rnd() % size] ^= (char)(1 + data_rnd() % 255);
        bool ok = c->decompress(exact, size, out, sizeof(raw));
        refused += !ok;
        if (ok && memcmp(out, raw, sizeof(raw)) != 0)
            CHECK(za_checksum(out, sizeof(raw)) != za_checksum(raw, sizeof(raw)));
        free(exact);
        free(out);
    }
    CHECK(refused > 0);
}

UNIT_TEST(lz4_truncation_is_refused)
{
    const struct za_codec *c = za_codec(ZA_CODEC_LZ4);
    static char ws[1 << 16], raw[4096], packed[5000], out[4096];

    data_fill(raw, sizeof(raw), DATA_TEXT);
    size_t size = c->compress(ws, raw, sizeof(raw), packed, sizeof(packed));
    for (size_t len = 0; len < size; len++)
        CHECK(!c->decompress(packed, len, out, sizeof(out)));
}

/* A prefix is whole or refused, however much of the input is missing; more than the original never
 * comes. */
UNIT_TEST(lz4_a_prefix_is_whole_or_refused)
{
    const struct za_codec *c = za_codec(ZA_CODEC_LZ4);
    static char ws[1 << 16], raw[4096], packed[5000], out[8192];

    data_fill(raw, sizeof(raw), DATA_TEXT);
    size_t size = c->compress(ws, raw, sizeof(raw), packed, sizeof(packed));
    CHECK(!c->decompress(packed, size, out, sizeof(raw) + 1));
    for (size_t len = 0; len < size; len++)
        for (size_t want = 1; want < sizeof(raw); want += 7) {
            memset(out, 0xff, want);
            if (c->decompress(packed, len, out, want))
                CHECK(memcmp(out, raw, want) == 0);
        }
}

UNIT_TEST(codec_table)
{
    CHECK(za_codec(ZA_CODEC_NONE) == NULL);
    CHECK_STR(za_codec(ZA_CODEC_LZ4)->name, "lz4");
}

UNIT_TEST(same_word_is_found_and_nothing_else)
{
    static char page[4096];
    uint64_t word, want = 0x0102030405060708ull;

    CHECK(za_page_is_same(page, sizeof(page), &word));
    CHECK_EQ(word, 0);
    for (size_t i = 0; i < sizeof(page); i += 8)
        memcpy(page + i, &want, 8);
    CHECK(za_page_is_same(page, sizeof(page), &word));
    CHECK_EQ(word, want);
    for (size_t i = 0; i < sizeof(page); i++) {
        page[i] ^= 1;
        CHECK(!za_page_is_same(page, sizeof(page), &word));
        page[i] ^= 1;
    }
    CHECK(za_page_is_same(page, 8, &word));
}

UNIT_TEST(a_pattern_of_two_words_is_not_same)
{
    static char page[4096];
    uint64_t word;

    for (size_t i = 0; i < sizeof(page); i++)
        page[i] = (char)(i & 15);
    CHECK(!za_page_is_same(page, sizeof(page), &word));
}

UNIT_TEST(only_random_looks_random)
{
    static char page[16384];

    for (enum data_kind k = 0; k < DATA_MIXED; k++)
        for (int i = 0; i < 4000; i++) {
            size_t len = i % 2 ? 4096 : sizeof(page);
            data_fill(page, len, k);
            CHECK_EQ(za_page_looks_random(page, len), k == DATA_RANDOM);
        }
    CHECK(!za_page_looks_random(page, 255)); /* too short to tell */
}

/* A group with one page of text in it is worth compressing. */
UNIT_TEST(a_quarter_of_text_is_not_random)
{
    static char group[16384];

    for (int i = 0; i < 4000; i++) {
        data_fill(group, sizeof(group), DATA_RANDOM);
        data_fill(group + (size_t)4096 * (i % 4), 4096, DATA_TEXT);
        CHECK(!za_page_looks_random(group, sizeof(group)));
    }
}

UNIT_TEST(checksum_changes_with_every_bit)
{
    static char page[4096];
    data_fill(page, sizeof(page), DATA_TEXT);
    uint32_t sum = za_checksum(page, sizeof(page));

    for (size_t bit = 0; bit < sizeof(page) * 8; bit++) {
        page[bit / 8] ^= (char)(1 << bit % 8);
        CHECK(za_checksum(page, sizeof(page)) != sum);
        page[bit / 8] ^= (char)(1 << bit % 8);
    }
    CHECK_EQ(za_checksum(page, sizeof(page)), sum);
}

UNIT_TEST(a_word_over_and_over_is_its_word)
{
    const struct za_codec *c = za_codec(ZA_CODEC_SAME);
    static uint64_t page[512], back[512];
    char out[16];

    for (size_t i = 0; i < ZA_ARRAY_LEN(page); i++)
        page[i] = 0x1122334455667788u;
    CHECK_EQ(c->pack(NULL, NULL, page, sizeof(page), out, sizeof(out)), sizeof(page[0]));
    CHECK_EQ(c->pack(NULL, NULL, page, sizeof(page), out, 7), 0);
    CHECK(c->unpack(NULL, NULL, out, 8, back, sizeof(back)));
    CHECK_EQ(memcmp(page, back, sizeof(page)), 0);
    memset(back, 0, sizeof(back));
    CHECK(c->unpack(NULL, NULL, out, 8, back, 20));
    CHECK(memcmp(page, back, 20) == 0 && ((char *)back)[20] == 0);
    CHECK(!c->unpack(NULL, NULL, out, 7, back, sizeof(back)));
    CHECK(!c->unpack(NULL, NULL, out, 9, back, sizeof(back)));
    page[511]++;
    CHECK_EQ(c->pack(NULL, NULL, page, sizeof(page), out, sizeof(out)), 0);
}

UNIT_TEST(raw_is_the_bytes)
{
    const struct za_codec *c = za_codec(ZA_CODEC_RAW);
    char in[100], out[100], back[100] = {0};

    for (size_t i = 0; i < sizeof(in); i++)
        in[i] = (char)(i * 37);
    CHECK_EQ(c->pack(NULL, NULL, in, sizeof(in), out, sizeof(out)), sizeof(in));
    CHECK_EQ(c->pack(NULL, NULL, in, sizeof(in), out, sizeof(out) - 1), 0);
    CHECK(c->unpack(NULL, NULL, out, sizeof(out), back, 60));
    CHECK(memcmp(in, back, 60) == 0 && back[60] == 0);
    CHECK(!c->unpack(NULL, NULL, out, 60, back, 61));
}
