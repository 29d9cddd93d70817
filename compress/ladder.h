/* SPDX-License-Identifier: MIT */
/*
 * ladder -- an array that grows by doubling rungs and never moves,
 * so readers need no lock to index it.
 *
 * Rung k is one mapping of (first << k) items; item i lives in the rung found by the top bit of i +
 * first. The tail of the last rung is mapped but untouched: it costs address space, not memory. One
 * thread grows; any thread may index items it learned of after they existed.
 *
 * I1  A rung's address is stored once, with release, before any item in it is named to another
 *     thread.
 * I2  Nothing is unmapped before the whole ladder is.
 *
 * Locks: none.  May sleep: in map (growing).  May fault: own memory only.  Allocates: via map.
 */
#ifndef ZA_COMPRESS_LADDER_H
#define ZA_COMPRESS_LADDER_H

#include "base/base.h"
#include "compress/store.h"

#define ZA_LADDER_RUNGS 20u

struct za_ladder {
    char *rung[ZA_LADDER_RUNGS]; /* release once, acquire to index */
    uint32_t rungs;              /* grower only */
    uint32_t given;              /* constant; 1: rung 0 is its owner's memory, not a mapping */
    uint32_t item_bytes;         /* constant */
    uint32_t first_shift;        /* constant; log2 of the items in rung 0 */
};

ZA_INLINE size_t za_ladder_rung_bytes(const struct za_ladder *l, uint32_t k)
{
    return ((size_t)l->item_bytes << l->first_shift) << k;
}

ZA_INLINE void *za_ladder_at(const struct za_ladder *l, uint32_t i)
{
    uint64_t n = (uint64_t)i + ((uint64_t)1 << l->first_shift);
    uint32_t top = 63u - (uint32_t)__builtin_clzll(n);
    char *rung = __atomic_load_n(&l->rung[top - l->first_shift], __ATOMIC_ACQUIRE);

    return rung + (n - ((uint64_t)1 << top)) * l->item_bytes;
}

/* Makes item i exist (items are added in order, so one more rung is enough). */
ZA_INLINE bool za_ladder_reach(struct za_ladder *l, uint32_t i, const struct za_store_ops *ops)
{
    uint64_t items = (((uint64_t)1 << l->rungs) - 1) << l->first_shift;

    if (ZA_LIKELY(i < items))
        return true;
    if (l->rungs == ZA_LADDER_RUNGS)
        return false;
    char *rung = ops->map(za_ladder_rung_bytes(l, l->rungs));
    if (!rung)
        return false;
    __atomic_store_n(&l->rung[l->rungs++], rung, __ATOMIC_RELEASE);
    return true;
}

ZA_INLINE void za_ladder_free(struct za_ladder *l, const struct za_store_ops *ops)
{
    for (uint32_t k = l->given; k < l->rungs; k++)
        ops->unmap(l->rung[k], za_ladder_rung_bytes(l, k));
    l->rungs = 0;
}

#endif
