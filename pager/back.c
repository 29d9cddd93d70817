/* SPDX-License-Identifier: MIT */
/*
 * back -- brings pages from the mirror to their heap address, for whoever owns their records.
 *
 * MOVE refuses pages that are not exclusively ours after a fork (D3), locked ranges, and runs over
 * two mappings. What it refuses is copied page by page, if F asks: F owns the record (BACK), so the
 * mirror page cannot be purged under the copy, which would make F wait for itself (page.h I9).
 *
 * Locks: none.  May sleep: no (retries EAGAIN through the caller's `again`).  Allocates: nothing.
 */
#include <errno.h>

#include "base/remedy.h"
#include "pager/private.h"

static bool passing(int64_t r)
{
    return r == -EAGAIN || r == -ENOMEM;
}

static void wake(size_t page)
{
    (void)za_os->uffd_wake(za_pg.uffd, za_pg_heap(page), za_pg_page_size());
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

/*
 * The page by copying; with `keep` the mirror stays as it is (page.h I8).
 * False: it is there already.
 */
bool za_back_copy(size_t page, bool keep, void (*again)(void))
{
    size_t size = za_pg_page_size();
    int64_t r;
    while (
        passing(r = za_os->uffd_copy(za_pg.uffd, za_pg_heap(page), za_pg_mirror(page), size, true)))
        again();
    if (r <= 0)
        wake(page);
    if (r > 0 && !keep)
        (void)za_os->purge(za_pg_mirror(page), size);
    return r > 0;
}

/*
 * One page by MOVE alone. 1 moved, 0 nothing to move or somebody was faster, or -errno.
 * Wakes its threads.
 */
int za_back_move(size_t page, void (*again)(void))
{
    int64_t r = move_some(page, 1, again);
    if (r > 0)
        return 1;
    wake(page);
    return r == -EEXIST || r == -ENOENT ? 0 : (int)r;
}

/*
 * A page that is there already (restored during a fork), or whose place a child has not inherited
 * (MADV_DONTFORK); or nowhere: then its bytes are lost, and we stop.
 */
static void must_exist(size_t page)
{
    unsigned char there;
    if (!za_place_exists(page, false) && !za_without(P1_LIMBO_GONE) &&
        za_os->present(za_pg_heap(page), 1, &there) != -ENOMEM)
        za_fatal(
            "a page in limbo is gone: something unmapped or dropped memory of the heap or of its mirror; "
            "stopping before wrong data is seen");
    (void)za_os->purge(za_pg_mirror(page), za_pg_page_size());
    wake(page);
}

static size_t back_one(size_t page, void (*again)(void))
{
    int64_t r = move_some(page, 1, again);
    if (r == -EEXIST || r == -ENOENT)
        must_exist(page);
    else if (r <= 0 && !za_without(D3_COPY))
        (void)za_back_copy(page, false, again);
    return 1;
}

/*
 * F, pages in BACK: brings them all. A run that is refused at its head goes one by one: what is
 * wrong may be wrong with any of its pages.
 */
void za_back_run(size_t page, size_t n, void (*again)(void))
{
    size_t at_once = n;
    while (n > 0) {
        int64_t r = at_once > 1 ? move_some(page, za_min(n, at_once), again) : 0;
        size_t done = r > 0 ? (size_t)r >> za_pg.page_shift : back_one(page, again);
        if (r <= 0)
            at_once = 1;
        page += done;
        n -= done;
    }
}
