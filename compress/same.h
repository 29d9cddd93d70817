/* SPDX-License-Identifier: MIT */
/*
 * same -- the codecs of pages that need no compression: one 8-byte word over and over (same), and
 * pages that do not compress but are shared (raw).
 */
#ifndef ZA_COMPRESS_SAME_H
#define ZA_COMPRESS_SAME_H

#include "compress/codec.h"

extern const struct za_codec za_codec_same, za_codec_raw;

#endif
