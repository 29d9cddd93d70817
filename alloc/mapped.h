/* SPDX-License-Identifier: MIT */
/*
 * mapped -- blocks of the heap that the program got from mmap (`mmap:true`), and gives back by
 * munmap.
 *
 * To the page heap and the pager they are large blocks; to malloc's family they are not its own: their
 * first byte in the class map is ZA_MAP_MAPPED, which free and realloc refuse.  A block ends when it
 * is unmapped whole, by one call.  What is unmapped in pieces stays: its pages are empty, its addresses
 * are lost, and with them half the reservation at most.
 *
 * Once something has been mapped over a part of a block (MAP_FIXED), the block is ZA_MAP_OVERLAID and
 * stays for ever, too: the pager no longer watches all of its pages.
 *
 *  I1  A block is all zeros when it begins, and the caller has emptied it before its end.
 *  I2  What a block weighs is in `held` from its beginning to its end.
 *
 * Locks: those of large blocks.  May sleep: yes.  May fault: on the block, while it is nobody's.
 * Allocates: runs.
 */
#ifndef ZA_ALLOC_MAPPED_H
#define ZA_ALLOC_MAPPED_H

#include "base/base.h"

enum za_mapped_part {
    ZA_MAPPED_NONE,    /* nothing of a mapped block */
    ZA_MAPPED_PART,    /* a part of one */
    ZA_MAPPED_WHOLE,   /* one from its first to its last page */
    ZA_MAPPED_OVERLAID /* a part or all of one over which something was mapped */
};

/* len > 0; whole pages of zeros, or NULL: then the kernel's mmap is to be asked. */
void *za_mapped_new(size_t len);
/* The longest piece of [addr, end), in whole pages of the heap, that lies in one such block or in none. */
enum za_mapped_part za_mapped_piece(uintptr_t addr, uintptr_t end, size_t *len);
/* The end of a WHOLE, which is empty. */
void za_mapped_free(uintptr_t addr);
/* A WHOLE has become shorter; what lies behind is empty.  len > 0 */
void za_mapped_shrink(uintptr_t addr, size_t len);
/* Something is about to be mapped over [addr, end). */
void za_mapped_overlay(uintptr_t addr, uintptr_t end);

#endif
