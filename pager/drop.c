/* SPDX-License-Identifier: MIT */
/*
 * drop -- contents that no longer matter: blobs freed, mirror pages and heap pages given back.
 *
 * I1  When za_drop_range returns, every page of the range is a hole that reads as zeros, and stays
 *     one until the program touches it: F's work on the range is waited for before the heap is
 *     purged, and later faults find KERNEL records, which are filled with zeros.
 *
 * Locks: none (W only).  May sleep: mmap_lock.  Waits for F.  Allocates: nothing.
 */
#include "base/stat.h"
#include "pager/private.h"

static bool drop_stored(uint64_t *rec, za_page r)
{
    if (!za_page_swap(rec, r, ZA_PAGE_KERNEL))
        return false;
    za_store_release(za_pg.store, za_page_blob(r), 1);
    za_stat_add(ZA_STAT_PG_STORED, -1);
    za_stat_add(ZA_STAT_PG_DISCARDED, 1);
    return true;
}

static bool drop_limbo(size_t page)
{
    if (!za_page_swap(&za_pg.pages[page], ZA_PAGE_LIMBO, ZA_PAGE_KERNEL))
        return false;
    (void)za_os->purge(za_pg_mirror(page), za_pg_page_size());
    za_stat_add(ZA_STAT_PG_LIMBO, -1);
    return true;
}

static void drop_page(size_t page)
{
    uint64_t *rec = &za_pg.pages[page];
    for (;;) {
        za_page r = za_page_get(rec);
        if (r == ZA_PAGE_KERNEL)
            return;
        if (za_page_state(r) == ZA_PAGE_STORED && drop_stored(rec, r))
            return;
        if (r == ZA_PAGE_LIMBO && drop_limbo(page))
            return;
        za_os->relax(); /* BACK or FILLING: F is about to finish */
    }
}

int za_drop_range(uintptr_t addr, size_t len)
{
    size_t first = za_pg_page_of(addr), n = len >> za_pg.page_shift;
    size_t known = za_pg.records_ready << (ZA_CHUNK_SHIFT - za_pg.page_shift);
    if (za_pg_active()) {
        for (size_t i = 0; i < n && first + i < known; i++)
            if (za_pg_registered(first + i))
                drop_page(first + i);
        za_plan_rested(first, n);
        (void)za_unpin_range(addr, len, ZA_PIN_THREAD);
    }
    int r = za_os->purge((void *)addr, len);
    if (r == 0)
        za_stat_add(ZA_STAT_HEAP_PURGED, (int64_t)len);
    return r;
}
