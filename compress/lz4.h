/* SPDX-License-Identifier: MIT */
/* lz4 -- the fast codec's entry in the table. */
#ifndef ZA_COMPRESS_LZ4_H
#define ZA_COMPRESS_LZ4_H

#include "compress/codec.h"

extern const struct za_codec za_codec_lz4;

#endif
