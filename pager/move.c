/* SPDX-License-Identifier: MIT */
/*
 * move -- the back-end on UFFDIO_MOVE: the frame itself goes to the mirror and comes back.
 *
 * What MOVE answers is not always what it has done.  Linux 6.18 tries a page again whose entry has
 * changed under its hands (a copy-on-write beside it), moves it then, does not count it, and on the
 * next look finds it in its own way: EEXIST, or a count that is too small, for pages that have been
 * moved.  So whoever gets EEXIST moves the page at the destination back first: that works if it is
 * the page, and leaves what else is there to be purged.
 *
 * MOVE refuses by itself what must stay: locked, protected and keyed ranges, runs over two mappings
 * (EINVAL), pages that are shared after a fork, merged, or pinned by a device (EBUSY).  What it will
 * not move back is copied page by page, if F asks.
 *
 * Locks: none.  May sleep: mmap_lock.  Allocates: nothing.
 */
#include <errno.h>

#include "base/remedy.h"
#include "base/stat.h"
#include "pager/mover.h"
#include "pager/private.h"

#define TRIES 1000u
#define OUT_TRIES 4u

static const char *trial(int fd)
{
    if (!za_pg.caps.any_move)
        return "this kernel has no UFFDIO_MOVE (6.8 or later)";
    return za_os_try_move(fd) == 0 ? NULL : "UFFDIO_MOVE was tried here and does not work";
}

static bool may(void)
{
    return true;
}

static void look(size_t first, unsigned n, unsigned char *pages)
{
    (void)first;
    (void)n;
    (void)pages;
}

static bool passing(int64_t r)
{
    return r == -EAGAIN || r == -ENOMEM;
}

/* The page at `to`, on W, which MOVE found in its way: moved from `from` unsaid, or garbage. */
static void clear_way(char *to, char *from)
{
    size_t size = za_pg_page_size();
    int64_t r;
    while (passing(r = za_os->uffd_move(za_pg.uffd, from, to, size, true)))
        za_os->relax();
    if (r > 0 || r == -ENOENT) {
        za_stat_add(ZA_STAT_PG_UNSAID, r > 0);
        return;
    }
    while (r != -EEXIST && passing(r = za_os->uffd_copy(za_pg.uffd, from, to, size, true)))
        za_os->relax(); /* what MOVE does not take back is copied, unless a page is there */
    if (r > 0 || r == -EEXIST)
        (void)za_os->purge(to, size);
}

static int64_t out(size_t page, size_t n)
{
    int64_t r = -EEXIST;
    for (unsigned i = 0; i < OUT_TRIES && r == -EEXIST; i++) {
        r = za_os->uffd_move(za_pg.uffd, za_pg_mirror(page), za_pg_heap(page),
                             n << za_pg.page_shift, false);
        if (r == -EEXIST)
            clear_way(za_pg_mirror(page), za_pg_heap(page));
    }
    return r;
}

static int64_t move_some(size_t page, size_t n, void (*again)(void))
{
    for (;;) {
        int64_t r = za_os->uffd_move(za_pg.uffd, za_pg_heap(page), za_pg_mirror(page),
                                     n << za_pg.page_shift, true);
        if (!passing(r))
            return r;
        again();
    }
}

/* Wakes the page's threads in any case. */
static int back(size_t page, void (*again)(void))
{
    int64_t r = move_some(page, 1, again);
    if (r > 0)
        return 1;
    (void)za_os->uffd_wake(za_pg.uffd, za_pg_heap(page), za_pg_page_size());
    return r == -EEXIST || r == -ENOENT ? 0 : (int)r;
}

static int fetch(size_t page, void (*again)(void))
{
    int moved = back(page, again);
    if (moved < 0 && za_place_exists(page, true)) /* a hole in the mirror would call F itself */
        moved = za_back_copy(page, false, again);
    return moved;
}

static size_t fetch_one(size_t page, void (*again)(void))
{
    int64_t r = move_some(page, 1, again);
    if (r == -EEXIST || r == -ENOENT)
        za_back_must_exist(page);
    else if (r <= 0 && !za_without(D3_COPY))
        (void)za_back_copy(page, false, again);
    return 1;
}

/* A run that is refused at its head goes one by one: what is wrong may be wrong with any page. */
static void fetch_run(size_t page, size_t n, void (*again)(void))
{
    size_t at_once = n;
    while (n > 0) {
        int64_t r = at_once > 1 ? move_some(page, za_min(n, at_once), again) : 0;
        size_t done = r > 0 ? (size_t)r >> za_pg.page_shift : fetch_one(page, again);
        if (r <= 0)
            at_once = 1;
        page += done;
        n -= done;
    }
}

/* A fork whose message F has not read yet: the kernel says EAGAIN for as long as it takes. */
static int64_t move_in(size_t to, size_t from)
{
    int64_t r;
    while ((r = za_os->uffd_move(za_pg.uffd, za_pg_heap(to), za_pg_heap(from), za_pg_page_size(),
                                 true)) == -EAGAIN)
        za_os->relax();
    return r;
}

/* One page that is at its heap address, or a hole; what MOVE refuses is copied. */
static int carry(size_t to, size_t from)
{
    int64_t r = -EEXIST;
    for (unsigned i = 0; i < TRIES && r == -EEXIST; i++) {
        r = move_in(to, from);
        if (r == -EEXIST)
            clear_way(za_pg_heap(to), za_pg_heap(from));
    }
    if (r > 0 || r == -ENOENT || za_without(D8_MOVED))
        return 0;
    return za_back_carry(to, from);
}

static size_t carry_run(size_t to, size_t from, size_t n)
{
    int64_t r =
        za_os->uffd_move(za_pg.uffd, za_pg_heap(to), za_pg_heap(from), n << za_pg.page_shift, true);
    return r > 0 ? (size_t)r >> za_pg.page_shift : 0;
}

const struct za_mover za_mover_move = {
    .name = "move",
    .reported = true,
    .unshares = true,
    .patience = 0,
    .around = ZA_CLUSTER_PAGES,
    .trial = trial,
    .may = may,
    .look = look,
    .out = out,
    .back = back,
    .fetch = fetch,
    .fetch_run = fetch_run,
    .tidy = za_clear_dead,
    .carry = carry,
    .carry_run = carry_run,
};
