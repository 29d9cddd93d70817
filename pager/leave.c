/* SPDX-License-Identifier: MIT */
/*
 * leave -- a dictionary leaves the shelf: all units are walked, and what holds it is packed again.
 *
 * A dictionary stays as long as one blob holds it, dense blobs are not packed again by themselves,
 * and ids are few. Of every generation of a heap some page survives; so without this there would be
 * no dictionary any more after fifteen of them. It is done only when another dictionary is wanted
 * and the shelf is full, and for the one that fewest blobs hold.
 *
 * The walk is one, from the first unit to the last, a few milliseconds a turn, within the budget.
 * What is stored behind the cursor meanwhile does not get the dictionary: it is not the current one,
 * and nobody shares a page with its blobs (share.c). What the walk does not reach are pages that
 * F is about to bring back, which lets go of the blob anyway, and blobs that cannot be read from
 * their file, or for which the store has no room. Then the dictionary stays, and after a pause,
 * twice as long each time it is in vain, another one is told to leave.
 *
 * I1  The walk ends; and none begins before the pause is over.
 * I2  Where nothing leaves nothing is done.
 *
 * Locks: none (W only).  May sleep: mmap_lock, in I/O.  Allocates: in the store.
 */
#include "pager/leave.h"

#include "pager/dense.h"
#include "pager/private.h"

#define STEP_UNITS 1024u   /* looked at in a millisecond or two, if none of them holds it */
#define PAUSE_DOUBLINGS 4u /* to about an hour */

uint64_t za_leave_pause_ns = 240 * ZA_NS_PER_S;

static size_t next;                   /* unit */
static uint64_t not_before, pause_ns; /* the pause, and how long it was */

const struct za_dict *za_leave_begin(struct za_dicts *ds, uint64_t now)
{
    if (now < not_before)
        return NULL;
    next = 0;
    return za_dicts_leave(ds);
}

bool za_leave_held(const struct za_dicts *ds, size_t first, unsigned n)
{
    uint32_t last = ZA_BLOB_NONE;
    struct za_blob_view v;
    for (unsigned i = 0; i < n; i++) {
        za_page r = za_page_get(&za_pg.pages[first + i]);
        if (za_page_state(r) != ZA_PAGE_STORED || za_page_blob(r) == last)
            continue;
        last = za_page_blob(r);
        if (za_store_get(za_pg.store, last, &v) && za_dict_of(v.codec) == ds->leaving)
            return true;
    }
    return false;
}

static bool unit_holds(const struct za_dicts *ds, size_t unit)
{
    size_t first = unit * za_pg.unit_pages;
    return za_pg_registered(first) && za_leave_held(ds, first, za_pg.unit_pages);
}

/* Blobs that hold it, now. */
static uint64_t holds(const struct za_dicts *ds)
{
    return za_store_blobs_of(za_pg.store, za_codec_word(ZA_CODEC_ZSTD, ds->leaving));
}

/* One unit is packed again in a step, at most: some milliseconds. */
bool za_leave_step(struct za_dicts *ds)
{
    size_t units = za_pg.records_ready * ZA_UNITS_PER_CHUNK;
    if (!za_dicts_full(ds) || !holds(ds))
        return false;
    for (unsigned i = 0; i < STEP_UNITS && next < units; i++)
        if (unit_holds(ds, next++))
            return za_dense_again(next - 1);
    return next < units;
}

bool za_leave_over(struct za_dicts *ds, uint64_t now)
{
    if (za_dicts_full(ds) && !holds(ds))
        return false;
    if (!za_dicts_full(ds)) {
        za_dicts_stay(ds, ZA_DICTS_NO_NEED);
        pause_ns = 0;
        return true;
    }
    za_dicts_stay(ds, ZA_DICTS_IN_VAIN);
    pause_ns = za_max(2 * pause_ns, za_leave_pause_ns);
    pause_ns = za_min(pause_ns, za_leave_pause_ns << PAUSE_DOUBLINGS);
    not_before = now + pause_ns;
    return true;
}

void za_leave_forget(void)
{
    next = 0;
    not_before = pause_ns = 0;
}
