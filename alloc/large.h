/* SPDX-License-Identifier: MIT */
/*
 * large -- blocks of more than 32 KiB: a run of units each, usable to the next page.
 *
 *  I1  A large block's record has kind LARGE and its usable size, whole pages, at most the run's
 * bytes. I2  The class map bytes of all its units are those of space.h I2, the first one set last
 * and cleared first. I3  `rest` of the record is clean only if no page behind the usable size is
 * resident.
 *
 * The runs of short blocks are parked when they die, in the thread's pocket or on a shelf
 * (alloc/pocket.h, alloc/shelf.h), and live again from there without the page heap.
 *
 * Locks: the page heap's inside.  May sleep: as the page heap.  May fault: on the program's bytes,
 * with no lock held. Allocates: runs.
 */
#ifndef ZA_ALLOC_LARGE_H
#define ZA_ALLOC_LARGE_H

#include "alloc/span.h"

#pragma GCC visibility push(hidden)
extern size_t za_page_mask; /* the system's page size - 1 */
#pragma GCC visibility pop

/* Once, before the first block; single-threaded. */
void za_large_init(void);
/* `align` is any power of two. */
void *za_large_alloc(size_t size, size_t align);
void *za_large_malloc(size_t size); /* za_large_alloc(size, 1); any size */
void *za_large_calloc(size_t size);
/*
 * A block of zeros to the end of its last unit, from the page heap alone: nothing of what the calling
 * thread keeps is touched, nor what is parked, so that a signal handler may ask which has interrupted
 * its thread there.  NULL also where the page heap's lock is not to be had soon.
 */
void *za_large_zeros(uint32_t units);
/* p lies in the heap, at a unit whose class map byte is no span's; a misuse is fatal. */
void za_large_free(void *p);
/* Both large; in place, moved by page tables, or copied. NULL: no memory, p is untouched. */
void *za_large_realloc(void *p, size_t size);
/* Usable bytes of the block starting at p; 0: none does. */
size_t za_large_usable(const void *p);
/* What za_large_alloc(size) would give. */
size_t za_large_good_size(size_t size);
/* p is not the start of a large block nor in a span: says what it is and ends. */
_Noreturn void za_large_misuse(const void *p);

/* Ends the parked runs nobody has asked for since the last call. */
void za_large_decay(void);
/* Ends all parked runs on shelves and in the thread's pocket; how many units that were. */
size_t za_large_trim(void);
/* Gives a list of parked runs back to the page heap. */
void za_large_release(uint32_t dead);

/*
 * The first unit of the large block, living or parked, a unit lies in, from class map bytes alone;
 * ZA_NO_UNIT: none. Any thread, any time: each step jumps back by at least half the distance, so
 * garbage ends it soon too.
 */
uint32_t za_large_head(size_t unit);

#endif
