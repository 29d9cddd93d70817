/* SPDX-License-Identifier: MIT */
/*
 * probe -- takes the resident pages of a unit into limbo: whoever still uses one will come for it.
 *
 * The move is atomic and costs tens of nanoseconds a page, so it is also how we learn which pages
 * are warm: nothing is copied or compressed until a page has stayed untouched in limbo for the cold
 * age.
 *
 * I1  Only pages seen present enter MOVING.
 * I2  Every refusal by the kernel is counted by its reason and leaves the page where it was.
 * I3  `there` of all units together is za_probe_there.
 *
 * Locks: none (W only).  May sleep: mmap_lock.  May fault: no.  Allocates: nothing.
 */
#include <errno.h>

#include "base/remedy.h"
#include "base/stat.h"
#include "pager/private.h"

#define MOVE_TRIES 4

static size_t there_all; /* I3 */

/* Takes a page out of MOVING, which is W's own; F's claim for a bare child is short. */
void za_moving_end(size_t page, za_page to)
{
    uint64_t *rec = &za_pg.pages[page];
    za_page moving = ZA_PAGE_MOVING;
    while (
        !__atomic_compare_exchange_n(rec, &moving, to, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) {
        moving = ZA_PAGE_MOVING;
        za_os->relax();
    }
}

/*
 * After pages have left MOVING: whose threads F has left asleep meanwhile ask again (page.h I11).
 */
bool za_moving_over(size_t page, size_t n)
{
    bool awaited = __atomic_exchange_n(&za_pg.awaited, 0, __ATOMIC_SEQ_CST);
    if (awaited)
        (void)za_os->uffd_wake(za_pg.uffd, za_pg_heap(page), n << za_pg.page_shift);
    return awaited;
}

static void unclaim(size_t page, size_t n)
{
    for (size_t i = 0; i < n; i++)
        za_moving_end(page + i, ZA_PAGE_KERNEL);
}

static void settle(size_t page, size_t n)
{
    for (size_t i = 0; i < n; i++)
        za_moving_end(page + i, ZA_PAGE_LIMBO);
    za_stat_add(ZA_STAT_PG_PROBED, (int64_t)n);
    za_stat_add(ZA_STAT_PG_LIMBO, (int64_t)n);
}

static void count_refusal(int err, size_t n)
{
    enum za_stat_id id = ZA_STAT_PG_REFUSED_OTHER;
    if (err == EBUSY)
        id = ZA_STAT_PG_REFUSED_BUSY;
    else if (err == EINVAL)
        id = ZA_STAT_PG_REFUSED_LOCKED;
    else if (err == ENOMEM)
        id = ZA_STAT_PG_REFUSED_NOMEM;
    za_stat_add(id, (int64_t)n);
}

/*
 * The kernel refused the page at the head of a run:
 * how many pages to leave out (all: give up this run).
 */
static size_t refused(size_t n, int err, unsigned *tries)
{
    if (err == EAGAIN && (*tries)++ < MOVE_TRIES)
        return 0;
    bool one = err == EBUSY || err == ENOENT || err == EEXIST;
    size_t out = one ? 1 : n;
    if (err != ENOENT)
        count_refusal(err, out);
    return out;
}

/* Claims the pages at the head of a run that nobody else has; F may be filling one of them. */
static size_t claim(size_t page, size_t n)
{
    size_t got = 0;
    while (got < n && za_page_swap(&za_pg.pages[page + got], ZA_PAGE_KERNEL, ZA_PAGE_MOVING))
        got++;
    return got;
}

/* A run over two mappings is refused as a whole: then its pages go one by one. */
static size_t move_claimed(size_t page, size_t n)
{
    size_t kept = 0, at_once = n, first = page, all = n;
    unsigned tries = 0;
    while (n > 0) {
        size_t ask = za_min(n, at_once);
        int64_t r = za_pg.mover->out(page, ask);
        size_t done = r > 0 ? (size_t)r >> za_pg.page_shift : 0;
        settle(page, done);
        kept += done;
        if (done > 0)
            tries = 0;
        if (r == -EINVAL && ask > 1) {
            at_once = 1;
        } else if (r <= 0) {
            done = refused(ask, (int)-r, &tries);
            unclaim(page, done);
        }
        page += done;
        n -= done;
    }
    (void)za_moving_over(first, all);
    return kept;
}

/*
 * Pages shared with a forked child that is gone:
 * make them exclusively ours, so that MOVE takes them (D3).
 */
static size_t unshare(size_t first, unsigned n)
{
    uint64_t words[ZA_UNIT_PAGES_MAX];
    size_t made = 0;
    if (za_os->pagemap(za_pg_heap(first), n, words) != (int)n)
        return 0;
    for (unsigned i = 0; i < n; i++) {
        uint64_t w = words[i];
        if (!(w & ZA_PM_PRESENT) || !(w & ZA_PM_EXCLUSIVE) ||
            za_page_get(&za_pg.pages[first + i]) != ZA_PAGE_KERNEL)
            continue;
        made += za_os->populate(za_pg_heap(first + i), za_pg_page_size()) == 0;
    }
    za_stat_add(ZA_STAT_PG_UNSHARED, (int64_t)made);
    return made;
}

/* Pages of a unit that hold something: they are present, or their records say where they are. */
static void note_there(size_t first, unsigned n, const unsigned char *present)
{
    struct za_unit *u = &za_pg.units[za_pg_unit_of_page(first)];
    uint8_t count = 0;
    for (unsigned i = 0; i < n; i++)
        count += (present[i] & ZA_LOOK_TAKE) ||
                 za_page_state(za_page_get(&za_pg.pages[first + i])) != ZA_PAGE_KERNEL;
    there_all += (size_t)count - u->there;
    u->there = count;
}

/* Pages that were resident or out when the worker looked at their unit last. */
size_t za_probe_there(void)
{
    return there_all;
}

static size_t probe_once(size_t first, unsigned n)
{
    unsigned char there[ZA_UNIT_PAGES_MAX];
    size_t kept = 0;
    if (za_os->present(za_pg_heap(first), n, there) < 0) {
        za_stat_add(ZA_STAT_PG_REFUSED_OTHER, n);
        return 0;
    }
    note_there(first, n, there);
    za_pg.mover->look(first, n, there);
    uint16_t raw = za_unit_raw(&za_pg.units[za_pg_unit_of_page(first)]);
    for (unsigned i = 0; i < n; i++)
        if (raw >> i & 1)
            there[i] = 0;
    for (unsigned i = 0; i < n; i++) {
        unsigned run = 0;
        while (i + run < n && (there[i + run] & ZA_LOOK_TAKE) &&
               !(run && (there[i + run] & ZA_LOOK_APART)))
            run++;
        run = (unsigned)claim(first + i, run);
        kept += move_claimed(first + i, run);
        i += run ? run - 1 : 0;
    }
    return kept;
}

/* Returns how many pages of the unit are in limbo now because of this call. */
size_t za_probe_unit(size_t unit)
{
    unsigned n = za_pg.unit_pages;
    size_t first = unit * n;
    if (za_pin_holds(unit) || !za_place_register(za_pg_chunk_of_page(first)))
        return 0;
    uint64_t busy = za_stat_get(ZA_STAT_PG_REFUSED_BUSY);
    size_t kept = probe_once(first, n);
    bool refused_busy = za_stat_get(ZA_STAT_PG_REFUSED_BUSY) != busy;
    if (za_pg.mover->unshares && refused_busy && !za_without(D3_UNSHARE) && unshare(first, n))
        kept += probe_once(first, n);
    return kept;
}
