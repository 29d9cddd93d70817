/* SPDX-License-Identifier: MIT */
/*
 * relocate -- a block's contents move to another address without being copied or brought back.
 *
 * Resident pages move as the back-end moves them, stored ones by their record alone.
 * The block's only user waits in realloc.
 *
 * I1  The records of `to` are W's (MOVING) until each has its content, and that of a resident page of
 *     `from` while it is on its way: nobody fills them with zeros meanwhile.
 * I2  Afterwards `from` is all holes, and each page of `to` has what the page of `from` had.
 * I3  No page of `to` is pinned: what the program mapped there in an earlier life of that memory is not registered,
 *     and the kernel puts pages only into what is.
 *
 * Locks: none (W only).  May sleep: mmap_lock.  Waits for F.  Allocates: nothing.
 */
#include <errno.h>
#include <string.h>

#include "base/remedy.h"
#include "base/stat.h"
#include "pager/door.h"
#include "pager/private.h"

#define RUN_MAX 512u

static bool register_range(size_t first, size_t n)
{
    for (size_t c = za_pg_chunk_of_page(first); c <= za_pg_chunk_of_page(first + n - 1); c++)
        if (c >= za_pg.records_ready || !za_place_register(c))
            return false;
    return true;
}

static void wait_a_moment(void)
{
    za_os->relax();
}

/* A page in limbo goes to its heap address first, by MOVE or by copying; F may be faster. */
static void out_of_limbo(size_t page)
{
    uint64_t *rec = &za_pg.pages[page];
    if (!za_page_swap(rec, ZA_PAGE_LIMBO, ZA_PAGE_RETURNING))
        return;
    za_stat_add(ZA_STAT_PG_LIMBO, -1);
    int r = za_pg.mover->back(page, wait_a_moment);
    bool copied = r < 0 ? za_back_copy(page, true, wait_a_moment) > 0 : !za_pg.mover->reported;
    while (!za_page_swap(rec, ZA_PAGE_RETURNING, ZA_PAGE_KERNEL) &&
           za_page_get(rec) != ZA_PAGE_KERNEL)
        za_os->relax();
    if (copied)
        (void)za_os->purge(za_pg_mirror(page), za_pg_page_size());
}

/* False: not yet, look again. */
static bool try_page(size_t from, size_t to, int *err)
{
    uint64_t *rec = &za_pg.pages[from];
    za_page r = za_page_get(rec);
    if (r == ZA_PAGE_KERNEL) {
        if (!za_page_swap(rec, ZA_PAGE_KERNEL, ZA_PAGE_MOVING))
            return false;
        *err = za_pg.mover->carry(to, from);
        za_moving_end(from, ZA_PAGE_KERNEL);
        za_moving_end(to, ZA_PAGE_KERNEL);
        return true;
    }
    if (r == ZA_PAGE_LIMBO)
        out_of_limbo(from);
    if (za_page_state(r) != ZA_PAGE_STORED || !za_page_swap(rec, r, ZA_PAGE_KERNEL))
        return false;
    za_moving_end(to, r);
    za_stat_add(ZA_STAT_PG_MOVED, 1);
    return true;
}

/* `to` is W's from here on, and empty; with remap its mirror has to be so too (remap.c R1). */
static int take_place(size_t t, size_t n)
{
    int r = za_drop_range((uintptr_t)za_pg_heap(t), n << za_pg.page_shift);
    if (r == 0 && !za_pg.mover->reported)
        r = za_os->purge(za_pg_mirror(t), n << za_pg.page_shift);
    for (size_t i = 0; r == 0 && i < n; i++)
        while (!za_page_swap(&za_pg.pages[t + i], ZA_PAGE_KERNEL, ZA_PAGE_MOVING))
            za_os->relax();
    if (r < 0)
        return r;
    r = za_os->purge(za_pg_heap(t), n << za_pg.page_shift);
    for (size_t i = 0; r < 0 && i < n; i++)
        za_moving_end(t + i, ZA_PAGE_KERNEL); /* locked in between: not ours after all */
    (void)za_moving_over(t, n);
    return r;
}

/*
 * The resident pages at the head of a block, in one move as far as it goes;
 * returns how many are done.
 */
static size_t carry_run(size_t from, size_t to, size_t n)
{
    size_t run = 0, done = 0;
    while (run < n && run < RUN_MAX &&
           za_page_swap(&za_pg.pages[from + run], ZA_PAGE_KERNEL, ZA_PAGE_MOVING))
        run++;
    if (run > 1)
        done = za_pg.mover->carry_run(to, from, run);
    for (size_t i = 0; i < run; i++)
        za_moving_end(from + i, ZA_PAGE_KERNEL);
    for (size_t i = 0; i < done; i++)
        za_moving_end(to + i, ZA_PAGE_KERNEL);
    return done;
}

static void carry_page(size_t from, size_t to)
{
    int err = 0;
    while (!try_page(from, to, &err))
        za_os->relax();
    if (err < 0)
        za_fatal(
            "realloc: the kernel neither moves nor copies a page of the block; stopping before "
            "its contents are lost");
}

int za_relocate_range(uintptr_t from, uintptr_t to, size_t len)
{
    size_t f = za_pg_page_of(from), t = za_pg_page_of(to), n = len >> za_pg.page_shift;
    if (!za_pg_active() || za_door_withdrawn() || n == 0 || !register_range(f, n) ||
        !register_range(t, n) || za_pin_marked(to, len) || take_place(t, n) < 0)
        return -ENOSYS;
    for (size_t i = 0; i < n;) {
        size_t done = carry_run(f + i, t + i, n - i);
        if (!done) {
            carry_page(f + i, t + i);
            done = 1;
        }
        i += done;
    }
    if (za_moving_over(f, n))
        (void)za_os->uffd_wake(za_pg.uffd, za_pg_heap(t), n << za_pg.page_shift);
    za_plan_rested(f, n);
    za_plan_rested(t, n);
    return 0;
}
