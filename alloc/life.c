/* SPDX-License-Identifier: MIT */
/*
 * life -- start, decay, trim, fork.
 *
 * Locks: all of alloc in prefork, in the order of base/lock.h; else none.  May sleep: there, and in
 * za_trim and za_alloc_decay in the pager.  May fault: no.  Allocates: the reservation.
 */
#include "alloc/life.h"

#include "alloc/alloc.h"
#include "alloc/caches.h"
#include "alloc/central.h"
#include "alloc/gather.h"
#include "alloc/heap.h"
#include "alloc/large.h"
#include "alloc/live.h"
#include "alloc/mapped.h"
#include "alloc/shelf.h"
#include "base/conf.h"
#include "base/meta.h"
#include "os/os.h"
#include "pager/pager.h"

#define CACHE_DECAYS 4u /* looks at the transfer caches and shelves per decay time */

uint32_t za_life; /* enum za_life; atomic */

static void start(uint32_t *next, size_t reserve_bytes)
{
    za_os_init();
    za_class_init();
    if (!za_space_init(reserve_bytes))
        return;
    za_heap_init();
    za_central_init();
    za_large_init();
    /* Without the pager the heap is a plain one: nothing to do about a refusal. */
    (void)za_pager_init(za_heap_base, za_heap_size, &za_alloc_region_ops);
    *next = ZA_LIFE_READY;
}

bool za_alloc_init(size_t reserve_bytes)
{
    uint32_t expect = ZA_LIFE_UNBORN, next = ZA_LIFE_UNBORN;
    while (!__atomic_compare_exchange_n(&za_life, &expect, ZA_LIFE_STARTING, false,
                                        __ATOMIC_ACQUIRE, __ATOMIC_ACQUIRE)) {
        if (expect == ZA_LIFE_READY)
            return true;
        expect = ZA_LIFE_UNBORN;
        za_os->relax();
    }
    start(&next, reserve_bytes);
    __atomic_store_n(&za_life, next, __ATOMIC_RELEASE);
    return next == ZA_LIFE_READY;
}

bool ZA_COLD za_life_start(void)
{
    if (za_preload_init)
        za_preload_init();
    return za_alloc_init(za_conf.reserve);
}

/* --- giving memory back -------------------------------------------------- */

static uint64_t decay_ns(void)
{
    return za_conf.dirty_decay_ms * ZA_NS_PER_MS;
}

static uint64_t caches_due; /* atomic: next look at transfer caches and shelves */

/* One of those who come when they are due does it. */
static void decay_caches(uint64_t now_ns)
{
    uint64_t due = __atomic_load_n(&caches_due, __ATOMIC_RELAXED);
    uint64_t next = now_ns + decay_ns() / CACHE_DECAYS;
    if (now_ns < due || !__atomic_compare_exchange_n(&caches_due, &due, next, false,
                                                     __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        return;
    if (!za_pager_has_worker()) /* else it gathers */
        za_tcache_decay_orphans();
    for (unsigned cls = 1; cls <= ZA_CLASS_LAST; cls++)
        za_central_decay(cls);
    za_large_decay();
}

/* On the worker, which has no thread-local storage of libc's, no thread cache may be touched. */
void za_alloc_decay(uint64_t now_ns)
{
    decay_caches(now_ns);
    if (now_ns >= decay_ns())
        (void)za_heap_purge(now_ns - decay_ns());
}

void za_alloc_decay_unless_worker(void)
{
    if (!za_pager_has_worker())
        za_alloc_decay(za_os->now());
}

static bool caches_idle(void)
{
    for (unsigned cls = 1; cls <= ZA_CLASS_LAST; cls++)
        if (!za_central_idle(cls))
            return false;
    return za_shelf_empty();
}

uint64_t za_alloc_decay_due(uint64_t now_ns)
{
    uint64_t oldest = za_heap_oldest();
    uint64_t due = oldest == UINT64_MAX ? UINT64_MAX : oldest + decay_ns();
    if (!caches_idle())
        due = za_min(due, now_ns + decay_ns() / CACHE_DECAYS);
    return za_max(due, now_ns + ZA_NS_PER_MS);
}

void za_thread_idle(void)
{
    za_tcache_empty();
}

size_t za_trim(void)
{
    if (!za_alloc_ready())
        return 0;
    za_tcache_empty();
    za_tcache_empty_orphans();
    for (unsigned cls = 1; cls <= ZA_CLASS_LAST; cls++)
        za_central_trim(cls);
    (void)za_large_trim();
    return za_heap_purge(UINT64_MAX);
}

/* --- fork ---------------------------------------------------------------- */

void za_alloc_prefork(void)
{
    za_gather_prefork();
    za_tcache_prefork();
    za_mapped_prefork();
    za_central_prefork();
    za_shelf_prefork();
    za_heap_prefork();
    za_meta_prefork();
}

void za_alloc_postfork_parent(void)
{
    za_meta_postfork();
    za_heap_postfork_parent();
    za_shelf_postfork();
    za_central_postfork();
    za_mapped_postfork();
    za_tcache_postfork_parent();
    za_gather_postfork_parent();
}

void za_alloc_postfork_child(void)
{
    za_meta_postfork();
    za_heap_postfork_child();
    za_shelf_postfork();
    za_central_postfork();
    za_mapped_postfork();
    za_tcache_postfork_child();
    za_gather_postfork_child();
}
