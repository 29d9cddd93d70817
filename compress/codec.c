/* SPDX-License-Identifier: MIT */
/*
 * codec -- the table of codecs.
 *
 * Locks: none.  May sleep: no.  May fault: no.  Allocates: nothing.
 */
#include "compress/lz4.h"
#include "compress/split.h"
#include "compress/zstd.h"

static const struct za_codec *const codecs[ZA_CODEC_MAX] = {
    [ZA_CODEC_LZ4] = &za_codec_lz4,
    [ZA_CODEC_ZSTD] = &za_codec_zstd[ZA_ZSTD_LAZY],
    [ZA_CODEC_SPLIT] = &za_codec_split,
};

const struct za_codec *za_codec(enum za_codec_id id)
{
    ZA_DASSERT(id < ZA_CODEC_MAX);
    return codecs[id];
}
