/* SPDX-License-Identifier: MIT */
/* compress_data -- made-up pages of several kinds for the tests of codecs and dictionaries. */
#ifndef ZA_TESTS_UNIT_COMPRESS_DATA_H
#define ZA_TESTS_UNIT_COMPRESS_DATA_H

#include <string.h>

#include "base/base.h"

static uint64_t data_seed = 88172645463325252ull;

static inline uint64_t data_rnd(void)
{
    data_seed ^= data_seed << 13;
    data_seed ^= data_seed >> 7;
    data_seed ^= data_seed << 17;
    return data_seed;
}

enum data_kind {
    DATA_ZERO,
    DATA_TEXT,
    DATA_POINTERS,
    DATA_INTEGERS,
    DATA_BASE64,
    DATA_RANDOM,
    DATA_MIXED,
    DATA_KINDS
};

static inline void data_fill_text(char *p, size_t len)
{
    static const char *const words[] = {"page ", "cold ",  "the ",  "memory ", "\"id\":", "index, ",
                                        "and ",  "value=", "1024 ", "of ",     "zq ",     "heap\n"};
    size_t at = 0;

    while (at < len) {
        const char *w = words[data_rnd() % ZA_ARRAY_LEN(words)];
        for (; *w && at < len; w++)
            p[at++] = data_rnd() % 40 ? *w : (char)('a' + data_rnd() % 26);
    }
}

static inline void data_fill_words(char *p, size_t len, enum data_kind kind)
{
    for (size_t i = 0; i + 8 <= len; i += 8) {
        uint64_t w = kind == DATA_POINTERS ? 0x7f3200000000ull + (data_rnd() % (1u << 30)) * 16
                                           : data_rnd() % 100000;
        memcpy(p + i, &w, 8);
    }
}

static inline void data_fill(char *p, size_t len, enum data_kind kind)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    memset(p, 0, len);
    if (kind == DATA_TEXT)
        data_fill_text(p, len);
    else if (kind == DATA_POINTERS || kind == DATA_INTEGERS)
        data_fill_words(p, len, kind);
    for (size_t i = 0; i < len && (kind == DATA_BASE64 || kind == DATA_RANDOM); i++)
        p[i] = kind == DATA_RANDOM ? (char)data_rnd() : alphabet[data_rnd() % 64];
    if (kind == DATA_MIXED)
        for (size_t i = 0; i < len; i += 1024)
            data_fill(p + i, za_min(1024, len - i), data_rnd() % DATA_MIXED);
}

#endif
