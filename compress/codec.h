/* SPDX-License-Identifier: MIT */
/*
 * codec -- compression methods as const tables, with workspaces given by the caller.
 *
 * pack and unpack are every codec's form.  compress and decompress are the short form of a codec
 * that knows no dictionary and needs no workspace to decompress; NULL in the others.
 *
 * A workspace belongs to one thread at a time, is aligned to ZA_CODEC_ALIGN and is opened once
 * before its first use: opening asks the processor what it can do, which a virtual machine makes
 * slow.  Beyond workspaces nothing here keeps state.
 *
 * Locks: none.  May sleep: no.  May fault: only on the buffers given.  Allocates: nothing.
 */
#ifndef ZA_COMPRESS_CODEC_H
#define ZA_COMPRESS_CODEC_H

#include "base/base.h"

/* In the blob header: numbers stay, also those of codecs that only unpack. */
enum za_codec_id { ZA_CODEC_NONE, ZA_CODEC_LZ4, ZA_CODEC_ZSTD, ZA_CODEC_SPLIT, ZA_CODEC_MAX };

#define ZA_CODEC_ALIGN ((size_t)64)

struct za_dict; /* compress/dict.h */

struct za_codec {
    const char *name;
    size_t workspace_bytes; /* for compress; decompress needs none */
    /* Bytes written to dst, or 0 when it does not fit in cap. */
    size_t (*compress)(void *workspace, const void *src, size_t len, void *dst, size_t cap);
    /*
     * Exactly `want` bytes written to dst
     * (a prefix of the original when want < original length), else false.
     */
    bool (*decompress)(const void *src, size_t len, void *dst, size_t want);

    size_t pack_bytes, unpack_bytes; /* of the workspaces; 0: pass NULL, and nothing to open */
    bool prefix;                     /* unpack can stop early: any want up to the original length */
    /* False: the library linked in needs more room than the table says.  Do without this codec. */
    bool (*open_pack)(void *workspace);
    bool (*open_unpack)(void *workspace);
    /* `dict` may be NULL; what was packed with a dictionary unpacks with that one only. */
    size_t (*pack)(void *workspace, const struct za_dict *dict, const void *src, size_t len,
                   void *dst, size_t cap);
    bool (*unpack)(void *workspace, const struct za_dict *dict, const void *src, size_t len,
                   void *dst, size_t want);
};

const struct za_codec *za_codec(
    enum za_codec_id id); /* never NULL for id < ZA_CODEC_MAX, except NONE */

/* True when the page is one 8-byte word over and over; *word is that word (0: a zero page). */
bool za_page_is_same(const void *page, size_t len, uint64_t *word);
/*
 * A quick look (a few hundred bytes read): true when compressing is surely in vain (looks random).
 */
bool za_page_looks_random(const void *page, size_t len);

#endif
