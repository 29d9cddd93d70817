/* SPDX-License-Identifier: MIT */
/*
 * back -- from the mirror to the heap by copying, for whoever owns the record.
 *
 * The only way of `remap`; that of `move` for pages which the kernel does not move: those that are
 * not exclusively ours after a fork (D3), and all in a fork's window.  Where holes of the mirror
 * call F, only F copies, and owns the record (BACK), so that the mirror page cannot be purged under
 * the copy: F would wait for itself (page.h I9).
 *
 * Locks: none.  May sleep: no (retries EAGAIN through the caller's `again`).  Allocates: nothing.
 */
#include <errno.h>
#include <string.h>

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

/*
 * The page by copying; with `keep` the mirror stays as it is (page.h I8).
 * 1, or -errno; -EEXIST: it is there already.
 */
int za_back_copy(size_t page, bool keep, void (*again)(void))
{
    size_t size = za_pg_page_size();
    int64_t r;
    while (
        passing(r = za_os->uffd_copy(za_pg.uffd, za_pg_heap(page), za_pg_mirror(page), size, true)))
        again();
    if (r <= 0) {
        wake(page);
        return r < 0 ? (int)r : -EIO;
    }
    if (!keep)
        (void)za_os->purge(za_pg_mirror(page), size);
    return 1;
}

/*
 * A page that is there already (restored during a fork), or whose place a child has not inherited
 * (MADV_DONTFORK); or nowhere: then its bytes are lost, and we stop.
 */
void za_back_must_exist(size_t page)
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

/* A fork whose message F has not read yet: the kernel says EAGAIN for as long as it takes. */
static int64_t copy_in(size_t to, size_t from)
{
    int64_t r;
    while ((r = za_os->uffd_copy(za_pg.uffd, za_pg_heap(to), za_pg_heap(from), za_pg_page_size(),
                                 true)) == -EAGAIN)
        za_os->relax();
    return r;
}

/* A page of a block by copying, W; nothing of the block may stay behind. */
int za_back_carry(size_t to, size_t from)
{
    enum { TRIES = 1000 };
    int64_t r = 0;
    for (unsigned i = 0; i < TRIES && r <= 0; i++)
        r = copy_in(to, from);
    if (r <= 0)
        return -EIO;
    za_back_empty(from, 1);
    return 0;
}

/* Locked memory cannot be given back; it is resident, so W need not wait. */
void za_back_empty(size_t page, size_t n)
{
    if (za_os->purge(za_pg_heap(page), n << za_pg.page_shift) < 0)
        memset(za_pg_heap(page), 0, n << za_pg.page_shift);
}
