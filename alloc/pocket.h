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
 *  I2  left + the lengths of its runs = room.  No run is shorter than a unit, so there is a place
 *      for each that there is room for.
 *  I3  Runs stand at 1 .. n; length[0] is 0, which no run is: an empty pocket needs no question.
 *      Other zeros are holes, whose runs the worker has taken (alloc/gather.h); left counts them
 *      as if they were there.
 *
 * fork: I1 and I3 hold at every instruction, since n is lowered before a run is used and raised
 * after it was written; I2 is mended in the child (za_pocket_mend).  A run that was on its way in
 * or out is nobody's there, and stays parked for ever.
 *
 * Lock key: (o) the owning thread only, and what alloc/gather.h lets the worker do; (a) atomic.
 * Locks: the shelves' words.  May sleep: no.  May fault: no.  Allocates: nothing.
 */
#ifndef ZA_ALLOC_POCKET_H
#define ZA_ALLOC_POCKET_H

#include "base/base.h"

#define ZA_POCKET_UNITS 8u

/*
 * A fast path's accesses to what alloc/gather.c may touch at the same moment: each is one
 * instruction.  gcc and clang make worse code of relaxed atomics, which they neither fold into other
 * instructions nor move; ThreadSanitizer has to see them.  PEEK: a value that is only compared.
 */
#ifdef __SANITIZE_THREAD__
#define ZA_OWN_LOAD(p) __atomic_load_n((p), __ATOMIC_RELAXED)
#define ZA_OWN_PEEK(p) __atomic_load_n((p), __ATOMIC_RELAXED)
#define ZA_OWN_STORE(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
#else
#define ZA_OWN_LOAD(p) (*(__typeof__(*(p)) volatile *)(p))
#define ZA_OWN_PEEK(p) (*(p))
#define ZA_OWN_STORE(p, v) ((void)(*(p) = (v)))
#endif
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
/* Stores are seen in order by all. */
#define ZA_OWN_RELEASE(p, v) (__atomic_signal_fence(__ATOMIC_RELEASE), (void)(*(p) = (v)))
#else
#define ZA_OWN_RELEASE(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
#endif

struct za_tcache;

/* Born, owned and recycled with its thread's cache. */
struct za_pocket {
    uint32_t unit[ZA_POCKET_UNITS + 1];  /* (o) first units of the runs, the last freed on top */
    uint8_t length[ZA_POCKET_UNITS + 1]; /* (o a) theirs, in units */
    uint8_t n;                           /* (o a) runs */
    uint8_t left;                        /* (o) units it may still hold */
    uint8_t room;                        /* (o) units it may hold; 0: not charged for yet */
    uint64_t put;                        /* (o a) runs that came in, since its birth */
    uint64_t lost;                       /* (o a) of these, went to a shelf */
};

/* There is room for it. */
ZA_INLINE void za_pocket_push(struct za_pocket *k, uint32_t unit, uint32_t units)
{
    unsigned n = k->n + 1u;
    k->unit[n] = unit;
    ZA_OWN_STORE(&k->length[n], (uint8_t)units);
    k->left = (uint8_t)(k->left - units);
    /* fork may stop us here: the run before n; and so the worker finds it */
    ZA_OWN_RELEASE(&k->n, (uint8_t)n);
    __atomic_store_n(&k->put, k->put + 1, __ATOMIC_RELAXED);
}

/* Takes the top run, of `units`, off. */
ZA_INLINE void za_pocket_pop(struct za_pocket *k, unsigned units)
{
    __atomic_store_n(&k->n, (uint8_t)(k->n - 1), __ATOMIC_RELAXED);
    __atomic_signal_fence(__ATOMIC_RELEASE); /* fork may stop us here: n before the run is used */
    k->left = (uint8_t)(k->left + units);
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
/* Moves what is left over the holes. */
void za_pocket_close_up(struct za_pocket *k);
/* In a fork's child: restores I2 of a thread that is gone. */
void za_pocket_mend(struct za_pocket *k);
/* Blocks it has served; any thread, not exact meanwhile. */
uint64_t za_pocket_taken(const struct za_pocket *k);

#endif
