/* SPDX-License-Identifier: MIT */
/*
 * checksum -- XXH3 of a page's bytes, folded to 32 bits: what a restored page must match.
 *
 * Against damage, not against an attacker: no seed.  A damaged page passes with probability 2^-32.
 * Locks: none.  May sleep: no.  May fault: only on the bytes given.  Allocates: nothing.
 */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "compress/store.h"

uint32_t za_checksum(const void *p, size_t len)
{
    uint64_t h = XXH3_64bits(p, len);

    return (uint32_t)(h ^ h >> 32);
}
