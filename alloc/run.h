/* SPDX-License-Identifier: MIT */
/*
 * run -- the free runs: found by length and address, and, the dirty ones, by age.
 *
 * Two treaps (a search tree by (units, address), a heap by a hash of the address) of span records
 * linked by unit index: clean runs, whose bytes are all zero and not resident, and dirty ones.
 * Dirty runs are also in a list, oldest first.
 *
 *  I1  A run is in the dirty tree and the age list exactly if size > 0 in its record, else in the
 * clean tree. I2  The age list is sorted by `since`.
 *
 * Locks: the page heap's, held by every caller.  May sleep: no.  May fault: no.  Allocates:
 * nothing.
 */
#ifndef ZA_ALLOC_RUN_H
#define ZA_ALLOC_RUN_H

#include "alloc/span.h"

struct za_runs {
    uint32_t root[2]; /* by enum za_dirt; ZA_NO_UNIT: empty */
    uint32_t oldest;  /* age list */
    uint32_t youngest;
    uint64_t dirty_units; /* in dirty runs */
    uint64_t free_units;  /* in all */
};

void za_runs_init(struct za_runs *r);
/* The record's kind, units, size and since are set; a dirty run goes behind `older` (ZA_NO_UNIT:
 * first). */
void za_runs_insert(struct za_runs *r, uint32_t unit, uint32_t older);
void za_runs_remove(struct za_runs *r, uint32_t unit);
/* The shortest run of at least `units`, the lowest of these; ZA_NO_UNIT: none. */
uint32_t za_runs_find(const struct za_runs *r, enum za_dirt dirt, uint32_t units);
/* Paranoid: I1, I2, the trees' order; returns how many runs there are. */
size_t za_runs_check(const struct za_runs *r);

ZA_INLINE enum za_dirt za_run_dirt(uint32_t unit)
{
    return za_spans[unit].size ? ZA_DIRTY : ZA_CLEAN;
}

#endif
