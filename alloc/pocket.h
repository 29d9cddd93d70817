/* SPDX-License-Identifier: MIT */
/*
 * pocket -- the last few parked runs a thread freed, within its own reach: no lock, no search.
 *
 * In front of the shelves (alloc/shelf.h) as a bin is in front of a central list.  What does not
 * fit goes on to a shelf, the oldest first, and so do all at the thread's end and at trim.  A
 * pocket's room is charged to the bytes of its thread's cache, so that sleeping threads are bounded
 * together (alloc/tcache.h).
 *
 *  I1  A run in a pocket is parked, and with nobody else.
 *  I2  A pocket holds at most ZA_POCKET_RUNS runs and `room` units.
 *  I3  Runs stand at 1 .. n; length[0] is 0, which no run is: an empty pocket needs no question.
 *
 * Lock key: (o) the owning thread only.
 * Locks: the shelves' words.  May sleep: no.  May fault: no.  Allocates: nothing.
 */
#ifndef ZA_ALLOC_POCKET_H
#define ZA_ALLOC_POCKET_H

#include "base/base.h"

#define ZA_POCKET_RUNS 4u
#define ZA_POCKET_UNITS 8u

struct za_tcache;

/* Born, owned and recycled with its thread's cache. */
struct za_pocket {
    uint32_t unit[ZA_POCKET_RUNS + 1];  /* (o) first units of the runs, the last freed on top */
    uint8_t length[ZA_POCKET_RUNS + 1]; /* (o) theirs, in units */
    uint8_t n;                          /* (o) runs */
    uint8_t units;                      /* (o) in all of them */
    uint8_t room;                       /* (o) units it may hold; 0: not charged for yet */
    uint64_t taken;                     /* (o) blocks served, since its birth */
    uint64_t put;                       /* (o) runs that came in */
};

/* Counters of the owner alone that za_tcache_stats reads meanwhile. */
ZA_INLINE void za_pocket_count(uint64_t *counter)
{
    __atomic_store_n(counter, *counter + 1, __ATOMIC_RELAXED);
}

/* There is room (I2). */
ZA_INLINE void za_pocket_push(struct za_pocket *k, uint32_t unit, uint32_t units)
{
    unsigned n = k->n + 1u;
    k->unit[n] = unit;
    k->length[n] = (uint8_t)units;
    k->units = (uint8_t)(k->units + units);
    k->n = (uint8_t)n;
    za_pocket_count(&k->put);
}

ZA_INLINE bool za_pocket_has_room(const struct za_pocket *k, uint32_t units)
{
    return k->n < ZA_POCKET_RUNS && k->units + units <= k->room;
}

/* Takes a run of that length out of the calling thread's pocket; ZA_NO_UNIT: there is none. */
uint32_t za_pocket_take(uint32_t units);
/*
 * Keeps a parked run, in the calling thread's pocket or on a shelf; returns the list of those that
 * must leave.
 */
uint32_t za_pocket_put(uint32_t unit);
/* Takes everything out of the pocket and gives up its room; the list of those that must leave. */
uint32_t za_pocket_empty(struct za_tcache *tc);

#endif
