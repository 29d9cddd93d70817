/* SPDX-License-Identifier: MIT */
/*
 * same -- the codecs of pages that need no compression: the word of a page that is one 8-byte word
 * over and over, and the bytes themselves.
 *
 * Locks: none.  May sleep: no.  May fault: only on the buffers given.  Allocates: nothing.
 */
#include "compress/same.h"

#include <string.h>

#define WORD sizeof(uint64_t)

static size_t compress(void *workspace, const void *src, size_t len, void *dst, size_t cap)
{
    uint64_t word;

    (void)workspace;
    if (len < WORD || len % WORD || cap < WORD || !za_page_is_same(src, len, &word))
        return 0;
    memcpy(dst, &word, WORD);
    return WORD;
}

static bool decompress(const void *src, size_t len, void *dst, size_t want)
{
    char *to = dst;

    if (len != WORD)
        return false;
    for (size_t at = 0; at < want; at += WORD)
        memcpy(to + at, src, za_min(WORD, want - at));
    return true;
}

static bool open_nothing(void *workspace)
{
    (void)workspace;
    return true;
}

static size_t pack(void *workspace, const struct za_dict *dict, const void *src, size_t len,
                   void *dst, size_t cap)
{
    (void)dict;
    return compress(workspace, src, len, dst, cap);
}

static bool unpack(void *workspace, const struct za_dict *dict, const void *src, size_t len,
                   void *dst, size_t want)
{
    (void)workspace;
    (void)dict;
    return decompress(src, len, dst, want);
}

const struct za_codec za_codec_same = {
    .name = "same",
    .compress = compress,
    .decompress = decompress,
    .prefix = true,
    .open_pack = open_nothing,
    .open_unpack = open_nothing,
    .pack = pack,
    .unpack = unpack,
};

static size_t copy(void *workspace, const void *src, size_t len, void *dst, size_t cap)
{
    (void)workspace;
    if (len > cap)
        return 0;
    memcpy(dst, src, len);
    return len;
}

static bool copy_back(const void *src, size_t len, void *dst, size_t want)
{
    if (want > len)
        return false;
    memcpy(dst, src, want);
    return true;
}

static size_t copy_with(void *workspace, const struct za_dict *dict, const void *src, size_t len,
                        void *dst, size_t cap)
{
    (void)dict;
    return copy(workspace, src, len, dst, cap);
}

static bool copy_back_with(void *workspace, const struct za_dict *dict, const void *src, size_t len,
                           void *dst, size_t want)
{
    (void)workspace;
    (void)dict;
    return copy_back(src, len, dst, want);
}

const struct za_codec za_codec_raw = {
    .name = "raw",
    .compress = copy,
    .decompress = copy_back,
    .prefix = true,
    .open_pack = open_nothing,
    .open_unpack = open_nothing,
    .pack = copy_with,
    .unpack = copy_back_with,
};
