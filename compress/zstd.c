/* SPDX-License-Identifier: MIT */
/*
 * zstd -- the dense codec: one zstd frame without magic number,
 * content size, dictionary id or checksum.
 *
 * All state is in the workspace: a static context, which refuses instead of allocating.  A frame
 * holds one block, and zstd decodes whole blocks, so there is no prefix: want is the original
 * length.  Dictionaries are raw content (doc/decisions/0006-dictionary.md).
 *
 * I1  A workspace that was opened never needs more room: open_pack checks against the largest
 *     parameters any effort or dictionary brings.
 * I2  libzstd is given exactly one frame to decode: behind one it looks for the next, and reads
 *     four bytes for a magic number even where fewer are left (1.5.4).
 *
 * Locks: none.  May sleep: no.  May fault: only on the buffers given.  Allocates: nothing.
 */
#include "compress/zstd.h"

#define ZSTD_STATIC_LINKING_ONLY
#include <zstd.h>

#include "compress/dict.h"

#define MAX_RAW ((size_t)64 * 1024)
#define PACK_BYTES ((size_t)768 * 1024)
#define UNPACK_BYTES ((size_t)112 * 1024)
#define WINDOW_LOG 16
#define HASH_LOG_MIN 12

/* Written out: a level's meaning changes with the library's version and with the source size. */
static const ZSTD_compressionParameters params[ZA_ZSTD_EFFORTS] = {
    [ZA_ZSTD_1] = {WINDOW_LOG, .chainLog = 12, .hashLog = 14, .searchLog = 1, .minMatch = 5,
                   .strategy = ZSTD_fast},
    [ZA_ZSTD_3] = {WINDOW_LOG, .chainLog = 15, .hashLog = 16, .searchLog = 1, .minMatch = 5,
                   .strategy = ZSTD_dfast},
    [ZA_ZSTD_LAZY] = {WINDOW_LOG, .chainLog = 14, .hashLog = 15, .searchLog = 4, .minMatch = 5,
                      .targetLength = 2, .strategy = ZSTD_lazy},
};

/*
 * libzstd calls these when they are there.  Left undefined they would be found in a program that
 * traces its own zstd, and called on our threads.  A context of 0 means: not traced.
 */
unsigned long long ZSTD_trace_compress_begin(const void *cctx);
void ZSTD_trace_compress_end(unsigned long long ctx, const void *trace);
unsigned long long ZSTD_trace_decompress_begin(const void *dctx);
void ZSTD_trace_decompress_end(unsigned long long ctx, const void *trace);

unsigned long long ZSTD_trace_compress_begin(const void *cctx)
{
    (void)cctx;
    return 0;
}

void ZSTD_trace_compress_end(unsigned long long ctx, const void *trace)
{
    (void)ctx;
    (void)trace;
}

unsigned long long ZSTD_trace_decompress_begin(const void *dctx)
{
    (void)dctx;
    return 0;
}

void ZSTD_trace_decompress_end(unsigned long long ctx, const void *trace)
{
    (void)ctx;
    (void)trace;
}

static bool set(ZSTD_CCtx *c, ZSTD_cParameter what, int value)
{
    return !ZSTD_isError(ZSTD_CCtx_setParameter(c, what, value));
}

/* A dictionary's tables are copied for every frame: to search its and the frame's own costs more. */
static bool set_frame(ZSTD_CCtx *c)
{
    return set(c, ZSTD_c_forceAttachDict, ZSTD_dictForceCopy) &&
           set(c, ZSTD_c_format, ZSTD_f_zstd1_magicless) && set(c, ZSTD_c_contentSizeFlag, 0) &&
           set(c, ZSTD_c_checksumFlag, 0) && set(c, ZSTD_c_dictIDFlag, 0);
}

static bool set_params(ZSTD_CCtx *c, ZSTD_compressionParameters p)
{
    return set(c, ZSTD_c_windowLog, (int)p.windowLog) && set(c, ZSTD_c_chainLog, (int)p.chainLog) &&
           set(c, ZSTD_c_hashLog, (int)p.hashLog) && set(c, ZSTD_c_searchLog, (int)p.searchLog) &&
           set(c, ZSTD_c_minMatch, (int)p.minMatch) &&
           set(c, ZSTD_c_targetLength, (int)p.targetLength) &&
           set(c, ZSTD_c_strategy, (int)p.strategy);
}

/* I1; a dictionary brings its own parameters into a workspace of any effort. */
static bool room_is_enough(void)
{
    for (unsigned e = 0; e < ZA_ZSTD_EFFORTS; e++)
        if (ZSTD_estimateCCtxSize_usingCParams(params[e]) > PACK_BYTES)
            return false;
    return true;
}

/* The context lies at the start of its workspace. */
static bool open_pack(void *workspace, enum za_zstd_effort effort)
{
    ZSTD_CCtx *c = ZSTD_initStaticCCtx(workspace, PACK_BYTES);

    ZA_ASSERT(!c || (void *)c == workspace);
    return c && room_is_enough() && set_frame(c) && set_params(c, params[effort]);
}

static bool open_pack_1(void *workspace)
{
    return open_pack(workspace, ZA_ZSTD_1);
}

static bool open_pack_3(void *workspace)
{
    return open_pack(workspace, ZA_ZSTD_3);
}

static bool open_pack_lazy(void *workspace)
{
    return open_pack(workspace, ZA_ZSTD_LAZY);
}

static bool open_unpack(void *workspace)
{
    ZSTD_DCtx *d = ZSTD_initStaticDCtx(workspace, UNPACK_BYTES);

    ZA_ASSERT(!d || (void *)d == workspace);
    return d && !ZSTD_isError(ZSTD_DCtx_setParameter(d, ZSTD_d_format, ZSTD_f_zstd1_magicless));
}

static size_t pack(void *workspace, const struct za_dict *dict, const void *src, size_t len,
                   void *dst, size_t cap)
{
    ZSTD_CCtx *c = workspace;

    if (len == 0 || len > MAX_RAW)
        return 0;
    if (ZSTD_isError(ZSTD_CCtx_refCDict(c, dict ? za_dict_ready(dict) : NULL)))
        return 0;
    size_t size = ZSTD_compress2(c, dst, cap, src, len);
    if (!ZSTD_isError(size))
        return size;
    ZSTD_CCtx_reset(c,
                    ZSTD_reset_session_only); /* or the next call is told of a frame in progress */
    return 0;
}

#define FRAME_HEAD ((size_t)2) /* descriptor 0: none of the optional fields; window */
#define BLOCK_HEAD ((size_t)3) /* 1 bit: the last one; 2 bits: type; 21 bits: size */
enum block_type { BLOCK_RAW, BLOCK_RLE, BLOCK_PACKED, BLOCK_BAD };

/* I2 */
static bool is_one_frame(const uint8_t *p, size_t len)
{
    size_t at = FRAME_HEAD;
    bool last = false;

    if (len < FRAME_HEAD || p[0] != 0)
        return false;
    while (!last) {
        if (len - at < BLOCK_HEAD)
            return false;
        uint32_t head = p[at] | (uint32_t)p[at + 1] << 8 | (uint32_t)p[at + 2] << 16;
        enum block_type type = head >> 1 & 3;
        size_t size = type == BLOCK_RLE ? 1 : head >> 3;
        at += BLOCK_HEAD;
        if (type == BLOCK_BAD || len - at < size)
            return false;
        at += size;
        last = head & 1;
    }
    return at == len;
}

static bool unpack(void *workspace, const struct za_dict *dict, const void *src, size_t len,
                   void *dst, size_t want)
{
    ZSTD_DCtx *d = workspace;

    if (want == 0 || want > MAX_RAW || !is_one_frame(src, len))
        return false;
    size_t n = dict ? ZSTD_decompress_usingDict(d, dst, want, src, len, dict->content, dict->bytes)
                    : ZSTD_decompressDCtx(d, dst, want, src, len);
    return n == want;
}

#define ENTRY(label, open) \
    { \
        .name = (label), .pack_bytes = PACK_BYTES, .unpack_bytes = UNPACK_BYTES, \
        .open_pack = (open), .open_unpack = open_unpack, .pack = pack, .unpack = unpack, \
    }

const struct za_codec za_codec_zstd[ZA_ZSTD_EFFORTS] = {
    [ZA_ZSTD_1] = ENTRY("zstd1", open_pack_1),
    [ZA_ZSTD_3] = ENTRY("zstd3", open_pack_3),
    [ZA_ZSTD_LAZY] = ENTRY("zstd-lazy", open_pack_lazy),
};

/* Tables of the size of the content are enough, and what dictionaries of small heaps cost. */
static ZSTD_compressionParameters params_for(enum za_zstd_effort effort, size_t content_bytes)
{
    ZSTD_compressionParameters p = params[effort];
    unsigned log = HASH_LOG_MIN;

    while (log < p.hashLog && ((size_t)1 << log) < content_bytes)
        log++;
    p.chainLog -= p.hashLog - log;
    p.hashLog = log;
    return p;
}

size_t za_zstd_ready_bytes(enum za_zstd_effort effort, size_t content_bytes)
{
    return ZSTD_estimateCDictSize_advanced(content_bytes, params_for(effort, content_bytes),
                                           ZSTD_dlm_byRef);
}

const void *za_zstd_ready(enum za_zstd_effort effort, const void *content, size_t content_bytes,
                          void *room, size_t room_bytes)
{
    return ZSTD_initStaticCDict(room, room_bytes, content, content_bytes, ZSTD_dlm_byRef,
                                ZSTD_dct_rawContent, params_for(effort, content_bytes));
}
