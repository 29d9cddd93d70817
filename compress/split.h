/* SPDX-License-Identifier: MIT */
/*
 * split -- the fast codec for pages full of pointers: words taken apart before LZ4 sees them.
 *
 * Whether it pays is a question of what lies in the pages: compress/choose.h finds out.
 */
#ifndef ZA_COMPRESS_SPLIT_H
#define ZA_COMPRESS_SPLIT_H

#include "compress/codec.h"

extern const struct za_codec za_codec_split;

#endif
