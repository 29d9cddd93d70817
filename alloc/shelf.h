/* SPDX-License-Identifier: MIT */
/*
 * shelf -- the runs of freed large blocks, kept whole for the next block of that length.
 *
 * A large block of up to a MiB that is freed and asked for again would go through the page heap
 * each time: its lock, two trees, the class map of every unit.  Instead its run is parked here as
 * it is.  There are a few shelves; a thread puts on its own and takes from its own first, then from
 * the others, so that what one thread frees another finds.  Each is a short stack: taken from the
 * top down, so that the bottom holds what nobody wants, and given up from there by decay.
 *
 * A parked run is still a large block to the page heap (kind LARGE) and keeps the class map bytes
 * of its tails.  Its first byte is ZA_MAP_PARKED, which no free and no realloc accepts, and by
 * which the pager knows that no byte in it is alive (alloc/span.h).
 *
 * Of the longer runs, up to 8 MiB, the one freed last is kept in a place of its own: a buffer that
 * is had and given back in a loop.  The place is one word, exchanged as a whole; what was there
 * before has to leave.
 *
 *  I1  A run on a shelf is parked, of at most ZA_SHELF_UNITS units, and on no other shelf.
 *  I2  A shelf holds at most ROOM runs and SHELF_BYTES.
 *  I3  idle <= n: the lowest `idle` runs have not been touched since the last decay.
 *
 * Lock key: (s) the shelf's word; (a) also read without it.
 * Locks: the shelf's word, never waited for except by fork: who finds it taken goes elsewhere.
 * Nothing is called while it is held.  May sleep: no.  May fault: no.  Allocates: nothing.
 */
#ifndef ZA_ALLOC_SHELF_H
#define ZA_ALLOC_SHELF_H

#include "alloc/span.h"

#define ZA_SHELF_UNITS 16u /* longer runs do not go on a shelf */
#define ZA_SHELF_LONG 128u /* and what is longer than this is not kept at all */

/* A run of exactly `units`, at most ZA_SHELF_LONG, still parked; ZA_NO_UNIT: none. */
uint32_t za_shelf_take(uint32_t units);
/*
 * Keeps a parked run of at most ZA_SHELF_LONG units.  Runs that must leave, perhaps this one, come back as a list through `next`
 * for the caller to end; ZA_NO_UNIT: none.
 */
uint32_t za_shelf_put(uint32_t unit);
/* What was not touched since the last call, as a list. */
uint32_t za_shelf_idle(void);
/* All there is, as a list. */
uint32_t za_shelf_all(void);

/* Bytes kept; moves the shelves' count of blocks into the statistics. */
size_t za_shelf_stats(void);
bool za_shelf_empty(void);
/* Paranoid: I1 to I3. */
void za_shelf_check(void);

void za_shelf_prefork(void);
void za_shelf_postfork(void);

#endif
