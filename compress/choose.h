/* SPDX-License-Identifier: MIT */
/*
 * choose -- packs with LZ4, or with pointers taken apart before LZ4: what a sample says pays.
 *
 * Pages of one kind (objects of one size, one large block) hold the same sort of things. Of each
 * kind the first ZA_CHOICE_SAMPLE blobs are packed both ways, and then, for the next
 * ZA_CHOICE_LASTS, the way that won: pointers taken apart, if that saves ZA_CHOICE_GAIN percent.
 * Then it is sampled again.
 *
 * I1  While a kind is sampled the smaller of the two is what is stored: a sample costs time only.
 *
 * Locks: none (one thread).  May sleep: no.  May fault: only on the buffers given.
 * Allocates: nothing.
 */
#ifndef ZA_COMPRESS_CHOOSE_H
#define ZA_COMPRESS_CHOOSE_H

#include "compress/codec.h"

#define ZA_CHOICE_SAMPLE 8u   /* blobs, of up to four pages each */
#define ZA_CHOICE_LASTS 2048u /* blobs */
#define ZA_CHOICE_GAIN 4u     /* percent; it makes a restore a microsecond a page slower */

/* Born: zeroed.  Owned: by one thread (every field).  Dies: with its memory. */
struct za_choice {
    uint32_t plain, split; /* bytes of the sample so far, packed the one way and the other */
    uint16_t seen;         /* blobs since the sample began */
    uint16_t codec;        /* enum za_codec_id of the last verdict; 0: none yet */
};

/* Aligned to ZA_CODEC_ALIGN; anything may be in it. */
size_t za_choose_room_bytes(void);

/*
 * Packs `len` bytes, at most ZA_BLOB_MAX_RAW, of the kind that `c` speaks of; *codec says how.
 * Bytes written to dst, or 0 when it does not fit in cap.
 */
size_t za_choose_pack(struct za_choice *c, void *room, const void *src, size_t len, void *dst,
                      size_t cap, enum za_codec_id *codec);

#endif
