/* SPDX-License-Identifier: MIT */
/*
 * heap -- the page heap: runs of units, taken and given back.
 *
 * Best fit, lowest address; dirty (resident) runs before clean ones unless the caller needs zeros.
 * Free runs of the same dirt that touch are one run.  Knows of each run how much may not be zero.
 * Refuses to touch the bytes themselves: memory goes back through za_pager_discard, never with a
 * lock held.
 *
 *  I1  No two free runs of the same dirt touch.
 *  I2  A busy run is in no tree; whoever made it busy puts it back.
 *  I3  A clean free run reads as zeros and none of its pages is resident.
 *
 * Locks: ZA_RANK_HEAP inside.  May sleep: on it, in mprotect; za_heap_purge and, when there is no
 * worker, now and then za_heap_free: in the pager.  No central lock may be held by a caller of
 * those, of za_heap_alloc or of za_heap_extend. May fault: no.  Allocates: the heap.
 */
#ifndef ZA_ALLOC_HEAP_H
#define ZA_ALLOC_HEAP_H

#include "alloc/run.h"

/* What a run is wanted for. */
struct za_heap_want {
    uint32_t units;
    uint32_t align;        /* in units, a power of two */
    enum za_run_kind kind; /* ZA_RUN_SPAN or ZA_RUN_LARGE */
    enum za_dirt prefer;
    bool soon; /* or not at all: somebody may hold the lock who has been stopped */
};

/* The run's first unit, and in *dirty how many of its first bytes may not be zero; ZA_NO_UNIT: no
 * memory. */
uint32_t za_heap_alloc(const struct za_heap_want *want, size_t *dirty);
/* Gives a run back, of which the first `dirty` bytes may not be zero. */
void za_heap_free(uint32_t unit, size_t dirty);
/* Lengthens a run in place by `more` units; false: not possible. */
bool za_heap_extend(uint32_t unit, uint32_t more);
/* Shortens a run in place to `keep` units; the rest is dirty. */
void za_heap_shrink(uint32_t unit, uint32_t keep);
/* Gives every run back to the system that has been dirty since before `before_ns`; bytes given
 * back. */
size_t za_heap_purge(uint64_t before_ns);
/* When the oldest dirty run became free; UINT64_MAX: there is none. */
uint64_t za_heap_oldest(void);

struct za_heap_stats {
    size_t active_bytes, dirty_bytes;
};
void za_heap_stats(struct za_heap_stats *out);

/* Calls fn for the first unit of every run, under the lock. */
void za_heap_walk(void (*fn)(uint32_t unit, void *arg), void *arg);
void za_heap_check(void);

void za_heap_init(void);
void za_heap_prefork(void);
void za_heap_postfork_parent(void);
void za_heap_postfork_child(void);

#endif
