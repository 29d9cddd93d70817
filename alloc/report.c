/* SPDX-License-Identifier: MIT */
/*
 * report -- the allocator's gauges, the figures of one class, and the walker over every invariant.
 *
 * Locks: each of alloc's, one after the other.  May sleep: on them.  May fault: no.  Allocates:
 * nothing.
 */
#include "alloc/alloc.h"
#include "alloc/caches.h"
#include "alloc/central.h"
#include "alloc/heap.h"
#include "alloc/life.h"
#include "alloc/shelf.h"
#include "base/stat.h"

bool za_class_stats(unsigned cls, struct za_class_stats *out)
{
    if (cls < 1 || cls > ZA_CLASS_LAST || !za_alloc_ready())
        return false;
    struct za_central *c = &za_central[cls];
    out->slot_size = za_class_cell[cls].size;
    out->span_units = za_class_info[cls].units;
    za_lock(&c->lock);
    out->spans = c->nspans;
    out->slots = (size_t)c->nspans * za_class_info[cls].nslots;
    out->used = out->slots - c->nfree;
    za_unlock(&c->lock);
    return true;
}

static void sum_large(uint32_t unit, void *arg)
{
    if (za_spans[unit].kind == ZA_RUN_LARGE && za_map_lives(za_map_get(unit)))
        *(uint64_t *)arg += __atomic_load_n(&za_spans[unit].size, __ATOMIC_RELAXED);
}

/* The pockets' counts only grow: what is new since the last time is added. */
static void add_new(enum za_stat_id id, uint64_t *seen, uint64_t now)
{
    uint64_t before = __atomic_load_n(seen, __ATOMIC_RELAXED);
    while (now > before)
        if (__atomic_compare_exchange_n(seen, &before, now, false, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED)) {
            za_stat_add(id, (int64_t)(now - before));
            return;
        }
}

void za_alloc_stats(void)
{
    struct za_heap_stats heap;
    struct za_tcache_stats caches;
    struct za_class_stats cs;
    static uint64_t takes, puts; /* atomic */
    uint64_t allocated = 0;
    if (!za_alloc_ready())
        return;
    za_heap_walk(sum_large, &allocated);
    for (unsigned cls = 1; za_class_stats(cls, &cs); cls++)
        allocated += cs.used * cs.slot_size;
    za_heap_stats(&heap);
    size_t parked = za_min(za_shelf_stats(), heap.active_bytes);
    za_tcache_stats(&caches);
    za_stat_set(ZA_STAT_HEAP_COMMITTED, za_space_used());
    za_stat_set(ZA_STAT_HEAP_ACTIVE, heap.active_bytes - parked);
    za_stat_set(ZA_STAT_HEAP_DIRTY, heap.dirty_bytes + parked);
    za_stat_set(ZA_STAT_HEAP_ALLOCATED, allocated);
    za_stat_set(ZA_STAT_CACHE_REFILLS, caches.refills);
    za_stat_set(ZA_STAT_CACHE_FLUSHES, caches.flushes);
    za_stat_set(ZA_STAT_THREADS, caches.threads);
    add_new(ZA_STAT_LARGE_ALLOCS, &takes, caches.pocket_takes);
    add_new(ZA_STAT_LARGE_FREES, &puts, caches.pocket_puts);
}

/* Exact only while no other thread allocates. */
void za_alloc_check(void)
{
    if (!za_alloc_ready())
        return;
    za_heap_check();
    za_shelf_check();
    for (unsigned cls = 1; cls <= ZA_CLASS_LAST; cls++)
        za_central_check(cls);
    za_tcache_check();
}
