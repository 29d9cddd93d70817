/* SPDX-License-Identifier: MIT */
/* zstd -- the dense codec's entries in the table, one for each effort; all unpack the same. */
#ifndef ZA_COMPRESS_ZSTD_H
#define ZA_COMPRESS_ZSTD_H

#include "compress/codec.h"

enum za_zstd_effort { ZA_ZSTD_1, ZA_ZSTD_3, ZA_ZSTD_LAZY, ZA_ZSTD_EFFORTS };

extern const struct za_codec za_codec_zstd[ZA_ZSTD_EFFORTS];

/*
 * A dictionary's content made ready for packing: tables over the content, in `room` (aligned to
 * ZA_CODEC_ALIGN), which must outlive their use, as must the content.  NULL: room is too small.
 */
size_t za_zstd_ready_bytes(enum za_zstd_effort effort, size_t content_bytes);
const void *za_zstd_ready(enum za_zstd_effort effort, const void *content, size_t content_bytes,
                          void *room, size_t room_bytes);

#endif
