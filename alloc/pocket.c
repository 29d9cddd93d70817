/* SPDX-License-Identifier: MIT */
/*
 * pocket -- a thread's own parked runs.
 *
 * Locks: the shelves' words.  May sleep: no.  May fault: no.  Allocates: nothing.
 */
#include "alloc/pocket.h"

#include "alloc/shelf.h"
#include "alloc/tcache.h"
#include "base/stat.h"

#define POCKET_BYTES ((size_t)ZA_POCKET_UNITS << ZA_UNIT_SHIFT)

static uint32_t remove_at(struct za_pocket *k, unsigned i)
{
    uint32_t unit = k->unit[i];
    k->units = (uint8_t)(k->units - k->length[i]);
    k->n--;
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
    for (unsigned i = k->n; i > 0; i--) {
        if (k->length[i] != units)
            continue;
        za_tcache_begin(tc);
        unit = remove_at(k, i);
        za_pocket_count(&k->taken);
        za_tcache_end(tc);
        break;
    }
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
        tc->pocket.room = ZA_POCKET_UNITS;
    }
    return true;
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
    while (!za_pocket_has_room(k, units))
        dead = join(za_shelf_put(remove_at(k, 1)), dead);
    za_pocket_push(k, unit, units);
    za_tcache_end(tc);
    return dead;
}

uint32_t za_pocket_empty(struct za_tcache *tc)
{
    struct za_pocket *k = &tc->pocket;
    uint32_t dead = ZA_NO_UNIT;
    while (k->n)
        dead = join(za_shelf_put(remove_at(k, 1)), dead);
    if (k->room)
        za_tcache_refund(tc, POCKET_BYTES);
    k->room = 0;
    return dead;
}
