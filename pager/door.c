/* SPDX-License-Identifier: MIT */
/*
 * door -- the anchor, the worker's look into the letter box, and bringing everything back.
 *
 * I1  Only W takes pages out, and it looks at `held` before each unit (pin.c): once W itself has
 *     set it, or has begun another unit since, what is brought back stays.
 * I2  `withdrawn` is set only when no page is out: then nothing need be registered, and a debugger
 *     reads pages that were never there as zeros, where a registered range would tell it EIO.
 *     The bell alone stays registered: whoever calls F must reach it (mail.c, renew.c).
 * I3  Bringing back needs no lock and no worker, only F: a dying process may do it on any thread.
 *
 * Locks: none.  May sleep: in page faults that F serves.  May fault: on pages that are out.
 * Allocates: nothing.
 */
#include "pager/door.h"

#include "pager/dense.h"
#include "pager/private.h"

#define PASSES 4u /* the unit W was about to take out when told not to, and some patience */

struct za_anchor za_anchor = {
    .magic = ZA_ANCHOR_MAGIC,
    .self = &za_anchor,
    .bytes = sizeof(struct za_anchor),
    .layout = ZA_LAYOUT,
    .pager = &za_pg,
    .stats = za_stats,
};

static size_t npages(void)
{
    size_t chunks = __atomic_load_n(&za_pg.records_ready, __ATOMIC_ACQUIRE);
    return za_pg_active() ? chunks << (ZA_CHUNK_SHIFT - za_pg.page_shift) : 0;
}

static bool is_out(size_t page)
{
    return za_pg_registered(page) && za_page_get(&za_pg.pages[page]) != ZA_PAGE_KERNEL;
}

static size_t count_out(void)
{
    size_t n = npages(), out = 0;
    for (size_t i = 0; i < n; i++)
        out += is_out(i);
    return out;
}

/* The kernel touches every page that is out, and F brings each back. */
static void touch_all(void)
{
    size_t n = npages();
    za_room_suspend(); /* who touches them may be W */
    for (size_t i = 0; i < n; i++) {
        if (!is_out(i))
            continue;
        za_pin_fetch(i);
        __atomic_fetch_add(&za_anchor.door.progress, 1, __ATOMIC_RELAXED);
    }
    za_fault_quiesce(); /* a page is there a moment before its record says so */
    za_room_resume();
}

/* Returns how many pages are still out: of a program that takes no more out, none. */
size_t za_pager_bring_all(void)
{
    size_t out = count_out();
    for (unsigned i = 0; i < PASSES && out > 0; i++) {
        touch_all();
        out = count_out();
    }
    return out;
}

void za_pager_hold_begin(void)
{
    __atomic_store_n(&za_anchor.door.held, 1, __ATOMIC_SEQ_CST);
}

/* W. The same, and F is done with it: the last ones are counted, too. */
size_t za_thaw(void)
{
    size_t out = za_pager_bring_all();
    za_fault_quiesce();
    return out;
}

uint64_t za_pager_brought(void)
{
    return __atomic_load_n(&za_anchor.door.progress, __ATOMIC_RELAXED);
}

static void hold(struct za_door *d)
{
    za_pager_hold_begin();
    size_t before = count_out(), left = za_thaw();
    d->pages = before - za_min(left, before);
    d->left = left;
    if (left > 0 || d->withdrawn || !__atomic_load_n(&za_pg.nregistered, __ATOMIC_ACQUIRE))
        return;
    za_place_unregister_chunks(); /* I2 */
    d->withdrawn = 1;
}

static void release(struct za_door *d)
{
    if (d->withdrawn && za_place_register_again(za_pg.uffd) < 0) {
        d->left = 1;
        return;
    }
    d->withdrawn = 0;
    if (!__atomic_exchange_n(&d->held, 0, __ATOMIC_SEQ_CST))
        return;
    za_plan_rested(0, npages());
}

/* To the owner, who takes alloc's locks, W is at rest (still.c I1). */
static void refresh(void)
{
    if (za_pg.owner->stats) {
        za_still_leave();
        za_pg.owner->stats();
        za_still_enter();
    }
    za_footprint();
}

/* W, once a turn. */
void za_door_serve(void)
{
    struct za_door *d = &za_anchor.door;
    za_anchor.dicts = za_dense_dicts();
    uint32_t ring = __atomic_load_n(&d->ring, __ATOMIC_ACQUIRE);
    if (ring == d->answered)
        return;
    __atomic_store_n(&d->working, ring, __ATOMIC_RELEASE);
    d->pages = d->left = 0;
    switch (__atomic_load_n(&d->op, __ATOMIC_RELAXED)) {
    case ZA_DOOR_HOLD: hold(d); break;
    case ZA_DOOR_RELEASE: release(d); break;
    case ZA_DOOR_STATS: refresh(); break;
    default: break;
    }
    __atomic_store_n(&d->answered, ring, __ATOMIC_RELEASE);
}

/* In a child: what was asked of its parent, and the parent's being held, are not its own. */
void za_door_forget(void)
{
    struct za_door *d = &za_anchor.door;
    d->held = d->withdrawn = 0;
    d->working = d->answered = d->ring;
}
