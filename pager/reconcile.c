/* SPDX-License-Identifier: MIT */
/*
 * reconcile -- after a fork: pages that were restored while
 * no record could change get their records put right.
 *
 * A page present at its heap address is the program's, whatever its record says (page.h I1, I8). F
 * may be at work meanwhile: every change is a compare-and-swap from what was read, and F never
 * works on a page that is present, except as a neighbour, which it then finds present too.
 *
 * Locks: none (W only).  May sleep: mmap_lock.  Allocates: nothing.
 */
#include <string.h>

#include "base/stat.h"
#include "pager/private.h"

/*
 * What F has served in windows since the last reconciling. In a child that opens a userfaultfd of
 * its own, a page that is present although it is out, and not among these, was made by libc before
 * our handler ran: it touched a hole (the values of other threads' keys, say, which it clears).
 */
#define WINDOWED_MAX 4096u
static uint32_t windowed[WINDOWED_MAX];
static bool
    inherited; /* the list is the parent's: F may have been about to bring the last of it back */

void za_windowed_add(size_t page)
{
    uint32_t n = __atomic_load_n(&za_pg.windowed, __ATOMIC_RELAXED);
    if (n < WINDOWED_MAX)
        windowed[n] = (uint32_t)page;
    __atomic_store_n(&za_pg.windowed, n + 1, __ATOMIC_RELEASE);
}

static bool is_windowed(size_t page)
{
    for (uint32_t i = 0; i < za_pg.windowed; i++)
        if (windowed[i] == page)
            return true;
    return false;
}

void za_windowed_inherited(void)
{
    inherited = true;
}

bool za_windowed_all(void)
{
    return __atomic_load_n(&za_pg.windowed, __ATOMIC_ACQUIRE) <= WINDOWED_MAX;
}

/* As if F had come for it: its unit may have had nothing left to look at. */
static void stir(size_t page)
{
    __atomic_fetch_or(&za_pg.units[za_pg_unit_of_page(page)].touched, ZA_CAME | ZA_CAME_STORED,
                      __ATOMIC_RELAXED);
    __atomic_store_n(&za_pg.chunks[za_pg_chunk_of_page(page)].stirred, 1, __ATOMIC_RELEASE);
}

static void put_right(size_t page)
{
    uint64_t *rec = &za_pg.pages[page];
    za_page r = za_page_get(rec);
    if (za_page_state(r) == ZA_PAGE_STORED && za_page_swap(rec, r, ZA_PAGE_KERNEL)) {
        za_store_release(za_pg.store, za_page_blob(r), 1);
        za_stat_add(ZA_STAT_PG_STORED, -1);
        za_stat_add(ZA_STAT_PG_RECONCILED, 1);
        stir(page);
    } else if (r == ZA_PAGE_LIMBO && za_page_swap(rec, r, ZA_PAGE_KERNEL)) {
        (void)za_os->purge(za_pg_mirror(page), za_pg_page_size());
        za_stat_add(ZA_STAT_PG_LIMBO, -1);
        za_stat_add(ZA_STAT_PG_RECONCILED, 1);
    }
}

#define BATCH 512u
#define SOMEWHERE (ZA_PM_PRESENT | ZA_PM_SWAPPED)

/*
 * The kernel's own words where /proc can be read:
 * a page that was written and swapped out is the program's too.
 */
static void look(size_t first, size_t n, uint64_t words[BATCH])
{
    unsigned char there[BATCH];
    if (za_os->pagemap(za_pg_heap(first), n, words) == (int)n)
        return;
    if (za_os->present(za_pg_heap(first), n, there) < 0)
        memset(there, 0, sizeof(there));
    for (size_t i = 0; i < n; i++)
        words[i] = there[i] & 1 ? ZA_PM_PRESENT : 0;
}

static bool any_out(size_t first, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (za_page_get(&za_pg.pages[first + i]) != ZA_PAGE_KERNEL)
            return true;
    return false;
}

static void undo_batch(size_t first, size_t n)
{
    uint64_t words[BATCH];
    look(first, n, words);
    for (size_t i = 0; i < n; i++)
        if ((words[i] & SOMEWHERE) && za_page_get(&za_pg.pages[first + i]) != ZA_PAGE_KERNEL &&
            !is_windowed(first + i))
            (void)za_os->purge(za_pg_heap(first + i), za_pg_page_size());
}

/*
 * Such a page becomes a hole again, and what libc wrote there is lost: it concerns threads that the
 * child does not have. What must not be lost (FILEs) is resident, or pinned, before the fork.
 */
void za_undo_early(void)
{
    size_t per_chunk = ZA_CHUNK_SIZE >> za_pg.page_shift, n = za_min(BATCH, per_chunk);
    if (za_pg.windowed > WINDOWED_MAX)
        return;
    for (size_t c = 0; c < za_pg.records_ready; c++)
        for (size_t i = 0; za_pg.chunks[c].registered && i < per_chunk; i += n)
            if (any_out(c * per_chunk + i, n))
                undo_batch(c * per_chunk + i, n);
}

static bool left_batch(size_t first, size_t n)
{
    uint64_t words[BATCH];
    if (!any_out(first, n))
        return false;
    look(first, n, words);
    for (size_t i = 0; i < n; i++)
        if (!(words[i] & SOMEWHERE) && za_page_get(&za_pg.pages[first + i]) != ZA_PAGE_KERNEL)
            return true;
    return false;
}

/* In a child to which all was to be brought back, and which has no F. */
bool za_left_behind(void)
{
    size_t per_chunk = ZA_CHUNK_SIZE >> za_pg.page_shift, n = za_min(BATCH, per_chunk);
    for (size_t c = 0; c < za_pg.records_ready; c++)
        for (size_t i = 0; za_pg.chunks[c].registered && i < per_chunk; i += n)
            if (left_batch(c * per_chunk + i, n))
                return true;
    return false;
}

static void reconcile_batch(size_t first, size_t n)
{
    uint64_t words[BATCH];
    look(first, n, words);
    for (size_t i = 0; i < n; i++)
        if ((words[i] & SOMEWHERE) && za_page_get(&za_pg.pages[first + i]) != ZA_PAGE_KERNEL)
            put_right(first + i);
    za_pg.mover->tidy(first, n);
}

void za_reconcile(void)
{
    size_t per_chunk = ZA_CHUNK_SIZE >> za_pg.page_shift, n = za_min(BATCH, per_chunk);
    /*
     * What was brought back here, in this process's window, and is not there has been mapped over
     * (amid.c). F has done all of it: whoever closed the window has waited for that.
     */
    for (uint32_t i = 0; !inherited && i < za_min(za_pg.windowed, WINDOWED_MAX); i++)
        put_right(windowed[i]);
    inherited = false;
    za_pg.windowed = 0; /* before the look: what is served from now on is in the list */
    for (size_t c = 0; c < za_pg.records_ready; c++)
        for (size_t i = 0; za_pg.chunks[c].registered && i < per_chunk; i += n)
            reconcile_batch(c * per_chunk + i, n);
}
