/* SPDX-License-Identifier: MIT */
/*
 * mapped -- blocks of the heap that the program got from mmap (`mmap:true`, `mmap:auto`), and gives back by
 * munmap.
 *
 * To the page heap they are large blocks, and for ever: a program may map something of its own
 * where it has unmapped (a ring buffer's two halves), and must not find malloc's blocks there.  To
 * malloc's family they are nothing: their first byte in the class map is none that free and
 * realloc accept.
 *
 *   MAPPED    the program's.  Ordinary: nothing was done to it that the next owner would feel.
 *   UNMAPPED  nobody's: in a list of those of about that length, for the next mmap.  Empty, or warm.
 *   SPOILT    protected, locked, advised or mapped over, wholly or in part.  The program's, or nobody's: it
 *             is not used again.
 *
 * A block ends when it is unmapped whole, by one call, which may unmap others, too.  What is
 * unmapped in pieces is emptied, and its addresses are lost.  So that neither these nor their books
 * come to much, nothing is served any more once a GiB of addresses is lost; and none is made while
 * more lies UNMAPPED than the program holds, of which none is of the right length.
 *
 * Warm: a short one that has not lived for long keeps its pages, for a program that maps and unmaps all the
 * time: clearing them costs less than dropping, which while the pager works is a request to it, and than
 * the faults after that.  To the pager they are dead, and it drops them when they are cold.
 *
 *  I1  A block is all zeros when it becomes MAPPED, to the end of its last unit: who makes it
 *      UNMAPPED has seen the kernel drop its pages and says so by a size of 0, or who takes it clears it.
 *  I2  Who ends a block has claimed it, by a compare-and-exchange of its byte (MAPPED to SPOILT).
 *  I3  What a block weighs is in `held` while it is MAPPED, and in `lost` from when it is spoilt.
 *  I4  Whoever makes an UNMAPPED one another's, or spoils it, does so by a compare-and-exchange of its
 *      byte, too; that it is still in a list says nothing.
 *  I5  Only a birth takes a lock, and there is none in a signal handler that has interrupted its thread
 *      where that has one, or waits for the pager (za_pager_amid), nor one that is not to be had soon: who
 *      has it may have been stopped by who maps (a collector's). Then the kernel maps.  Nothing here
 *      touches what the calling thread keeps for malloc.
 *
 * Locks: ZA_RANK_CENTRAL, for the lists, and the page heap's; only in a birth.  May sleep: yes.  May fault: on the
 * block, while it is nobody's.  Allocates: runs.
 */
#ifndef ZA_ALLOC_MAPPED_H
#define ZA_ALLOC_MAPPED_H

#include "base/base.h"

enum za_mapped_part {
    ZA_MAPPED_NONE,  /* nothing of such a block */
    ZA_MAPPED_GONE,  /* of one that is UNMAPPED */
    ZA_MAPPED_PART,  /* a part of an ordinary one */
    ZA_MAPPED_WHOLE, /* an ordinary one from its first to its last page */
    ZA_MAPPED_SPOILT /* a part or all of one that is SPOILT */
};

/*
 * Is a mapping of that length, which is like malloc's memory, to come from the heap?  Counts it.  With
 * `auto` it is from when all these have been longer together than 16 MiB, the last included: a small
 * program is left alone, and a large one is most often large at once.  What is unmapped meanwhile does
 * not count against that: nobody knows whether that was one of these, and who maps the same again and
 * again is not to come and go.  Nor is it served where nothing will be compressed, as far as is known: the
 * pager finds out when the heap has reached start_bytes.
 */
bool za_mapped_wanted(size_t len);
/* len > 0; whole pages of zeros, or NULL: then the kernel's mmap is to be asked.  All but this is safe in
 * signal handlers that have interrupted anything, and this says NULL there. */
void *za_mapped_new(size_t len);
/*
 * What [addr, end), in whole pages of the heap, begins with; *len: to the end of that block or of the
 * range.  A WHOLE's *len goes to the end of its last unit, even behind the range.
 */
enum za_mapped_part za_mapped_piece(uintptr_t addr, uintptr_t end, size_t *len);
/* A WHOLE is the caller's to end; false: another thread's, or it has been spoilt. */
bool za_mapped_claim(uintptr_t addr);
/* The end of a claimed one, which stays warm; false: its pages are to be dropped first. */
bool za_mapped_keep(uintptr_t addr);
/* The end of a claimed one: all its pages were dropped. */
void za_mapped_end(uintptr_t addr);
/* So many bytes will not be used again. */
void za_mapped_lose(size_t len);
/* Those of a part of an ordinary one, until that ends whole. */
void za_mapped_lose_part(uintptr_t addr, size_t len);
/* A WHOLE has become shorter; what lies behind is empty.  len > 0 */
void za_mapped_shrink(uintptr_t addr, size_t len);
/* A WHOLE becomes longer, if there is room in its last unit, which is empty behind it. */
bool za_mapped_grow(uintptr_t addr, size_t len);
/* Something has been, or will be done to [addr, end) that the next owner would feel. */
void za_mapped_spoil(uintptr_t addr, uintptr_t end);

void za_mapped_prefork(void);
void za_mapped_postfork(void);

#endif
