/* SPDX-License-Identifier: MIT */
/*
 * pocket -- a thread's own parked runs.
 *
 * Locks: the shelves' words.  May sleep: no.  May fault: no.  Allocates: nothing.
 */
#include "alloc/pocket.h"

#include "alloc/caches.h"
#include "alloc/shelf.h"
#include "alloc/tcache.h"
#include "base/stat.h"

#define POCKET_BYTES ((size_t)ZA_POCKET_UNITS << ZA_UNIT_SHIFT)

static uint32_t remove_at(struct za_pocket *k, unsigned i)
{
    uint32_t unit = k->unit[i];
    k->left = (uint8_t)(k->left + k->length[i]);
    __atomic_store_n(&k->n, (uint8_t)(k->n - 1), __ATOMIC_RELAXED);
    for (; i <= k->n; i++) {
        k->unit[i] = k->unit[i + 1];
        k->length[i] = k->length[i + 1];
    }
    return unit;
}

uint32_t za_pocket_take(uint32_t units)
{
    struct za_tcache *tc = za_tcache;
    struct za_pocket *k = &tc->pocket;
    uint32_t unit = ZA_NO_UNIT;
    if (!k->n) /* nor has a thread without a cache anything */
        return unit;
    za_tcache_begin(tc);
    for (unsigned i = k->n; i > 0; i--) {
        if (k->length[i] != units)
            continue;
        unit = remove_at(k, i);
        break;
    }
    za_tcache_end(tc);
    return unit;
}

/* Appends a list to another. */
static uint32_t join(uint32_t list, uint32_t more)
{
    if (list == ZA_NO_UNIT)
        return more;
    uint32_t last = list;
    while (za_spans[last].next != ZA_NO_UNIT)
        last = za_spans[last].next;
    za_spans[last].next = more;
    return list;
}

/* Has the calling thread a pocket that could hold so much? */
static bool fits(struct za_tcache *tc, uint32_t units)
{
    if (ZA_UNLIKELY(!tc || units > ZA_POCKET_UNITS))
        return false;
    if (ZA_UNLIKELY(!tc->pocket.room)) {
        if (!za_tcache_charge(tc, POCKET_BYTES))
            return false;
        tc->pocket.room = tc->pocket.left = ZA_POCKET_UNITS;
    }
    return true;
}

/* The oldest run goes on to a shelf; the list of those that must leave there. */
static uint32_t lose(struct za_pocket *k)
{
    __atomic_store_n(&k->lost, k->lost + 1, __ATOMIC_RELAXED);
    return za_shelf_put(remove_at(k, 1));
}

uint32_t za_pocket_put(uint32_t unit)
{
    struct za_tcache *tc = za_tcache_mine();
    uint32_t units = za_spans[unit].units, dead = ZA_NO_UNIT;
    if (!fits(tc, units)) {
        za_stat_add(ZA_STAT_LARGE_FREES, 1);
        return za_shelf_put(unit);
    }
    struct za_pocket *k = &tc->pocket;
    za_tcache_begin(tc);
    while (units > k->left)
        dead = join(lose(k), dead);
    za_pocket_push(k, unit, units);
    za_tcache_end(tc);
    return dead;
}

uint32_t za_pocket_empty(struct za_tcache *tc)
{
    struct za_pocket *k = &tc->pocket;
    uint32_t dead = ZA_NO_UNIT;
    while (k->n)
        dead = join(lose(k), dead);
    if (k->room)
        za_tcache_refund(tc, POCKET_BYTES);
    k->room = k->left = 0;
    return dead;
}

void za_pocket_close_up(struct za_pocket *k)
{
    unsigned n = 0, was = k->n;
    for (unsigned i = 1; i <= was; i++) {
        if (!k->length[i])
            continue;
        n++;
        k->unit[n] = k->unit[i];
        k->length[n] = k->length[i];
    }
    __atomic_store_n(&k->n, (uint8_t)n, __ATOMIC_RELAXED);
    __atomic_store_n(&k->lost, k->lost + was - n, __ATOMIC_RELAXED);
    za_pocket_mend(k);
}

void za_pocket_mend(struct za_pocket *k)
{
    k->left = k->room;
    for (unsigned i = 1; i <= k->n; i++)
        k->left = (uint8_t)(k->left - k->length[i]);
}

uint64_t za_pocket_taken(const struct za_pocket *k)
{
    uint64_t put = __atomic_load_n(&k->put, __ATOMIC_RELAXED);
    uint64_t rest = __atomic_load_n(&k->lost, __ATOMIC_RELAXED);
    rest += __atomic_load_n(&k->n, __ATOMIC_RELAXED);
    return put > rest ? put - rest : 0;
}
