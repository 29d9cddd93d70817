/* SPDX-License-Identifier: MIT */
/*
 * lz4 -- the fast codec: an LZ4 block behind two bytes that hold the original length less one.
 *
 * The length decides which decoder runs.  LZ4_decompress_safe wants the whole and is fast
 * everywhere; LZ4_decompress_safe_partial stops anywhere, but copies a match that reaches the end
 * byte by byte: 7.7 against 0.5 us for a zero page, and pages that end in dead, zeroed slots are
 * common. The workspace may hold anything: liblz4 clears its 16 KiB table at every call.
 *
 * Locks: none.  May sleep: no.  May fault: only on the buffers given.  Allocates: nothing.
 */
#include "compress/lz4.h"

#include <lz4.h>
#include <string.h>

/* Measured: doc/decisions/0002-lz4-group-size.md. */
#define ACCELERATION 1
#define MAX_RAW ((size_t)64 * 1024)

struct head {
    uint16_t raw_less_one;
};

static size_t compress(void *workspace, const void *src, size_t len, void *dst, size_t cap)
{
    struct head h = {(uint16_t)(len - 1)};
    char *out = dst;

    if (len == 0 || len > MAX_RAW || cap <= sizeof(h))
        return 0;
    int room = (int)za_min(cap - sizeof(h), 2 * MAX_RAW);
    int size =
        LZ4_compress_fast_extState(workspace, src, out + sizeof(h), (int)len, room, ACCELERATION);
    if (size <= 0)
        return 0;
    memcpy(out, &h, sizeof(h));
    return (size_t)size + sizeof(h);
}

/*
 * Both decoders want the exact compressed length;
 * the partial one returns less when input is missing.
 */
static bool decompress(const void *src, size_t len, void *dst, size_t want)
{
    struct head h;
    const char *block = (const char *)src + sizeof(h);

    if (len <= sizeof(h) || len > 2 * MAX_RAW || want > MAX_RAW)
        return false;
    memcpy(&h, src, sizeof(h));
    int size = (int)(len - sizeof(h)), n = (int)want;
    if (want == (size_t)h.raw_less_one + 1)
        return LZ4_decompress_safe(block, dst, size, n) == n;
    return want <= h.raw_less_one && LZ4_decompress_safe_partial(block, dst, size, n, n) == n;
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

const struct za_codec za_codec_lz4 = {
    .name = "lz4",
    .workspace_bytes = sizeof(LZ4_stream_t),
    .compress = compress,
    .decompress = decompress,
    .pack_bytes = sizeof(LZ4_stream_t),
    .prefix = true,
    .open_pack = open_nothing,
    .open_unpack = open_nothing,
    .pack = pack,
    .unpack = unpack,
};
