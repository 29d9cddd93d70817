/* SPDX-License-Identifier: MIT */
/* same -- the codec of pages that are one 8-byte word over and over: the word (same.c). */
#ifndef ZA_COMPRESS_SAME_H
#define ZA_COMPRESS_SAME_H

#include "compress/codec.h"

extern const struct za_codec za_codec_same;

#endif
