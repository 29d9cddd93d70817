/* SPDX-License-Identifier: MIT */
/*
 * remap -- the back-end on mremap(MREMAP_DONTUNMAP), for kernels with userfaultfd but without a
 * sound UFFDIO_MOVE (5.14 to 6.15).
 *
 * THEORY
 *
 * mremap takes the page tables of a run to the mirror under the kernel's write lock: before, the
 * program has the page; afterwards it faults.  There is no half.  The heap's mapping stays, empty and
 * registered; the place in the mirror becomes a new mapping, which nobody reports on: a hole there
 * reads as zeros.  There is no way back by mremap, which would put an unreported mapping in place of
 * the registered one: a page comes back by UFFDIO_COPY, and its copy in the mirror is purged.
 *
 * What differs from `move` in the rules of page.h:
 *
 * R1  The mirror of a page is empty when W claims it (KERNEL -> MOVING): F purges before the record
 *     leaves BACK, W what it brought back afterwards, and W looks before it claims, because its own
 *     late reading may have left a page of zeros there.
 * R2  In MOVING F puts nothing at the heap address (page.h I11): mremap would take it along. W makes
 *     sure that every page it took is in the mirror (a page the program dropped by a system call of
 *     its own in between becomes zeros).
 * R3  In LIMBO, PACKING and BACK a hole in the mirror is a page that is gone: F looks, and stops the
 *     process rather than return zeros.
 * R4  In RETURNING both W and F may copy.  The second finds the page there (EEXIST) and purges
 *     nothing that the other still reads: whoever copies, copies from a page that is purged only
 *     after a copy has succeeded, and after that every other copy fails.
 * R5  W's copy of a PACKING page may be torn by F's purge (zeros); the commit fails, as in page.h I6.
 * R6  A bare child made before W's copy finds nothing at the heap address, and F gives it the page
 *     from the mirror (heir.c): W keeps it there, and the record in RETURNING, until it has looked
 *     for such children (calm.c). UFFDIO_MOVE refuses what a child shares.
 * R7  The mirror of a unit is reserved anew (tidy) when every record of the unit is KERNEL, STORED
 *     or FILLING.  F makes no other state from these, so it cannot be reading there.
 *
 * mremap looks at nothing by itself.  Left where they are by us (look): pages shared with a living
 * relative, as evicting them saves nothing; ranges that are locked or not writable, which the kernel
 * is asked about before each call.  The program's own calls that make them so hold a pin meanwhile
 * (pin.c), so the answer stays true until mremap is over; the same calls by syscall(2) may come in
 * between.  What the program keyed is pinned for good (preload/memory.c).
 *
 * Memory that a device writes to (D8).  The frame that comes back is another one, so a transfer into
 * the old frame would be lost, and nothing tells us which pages one is under way for.  So nothing is
 * taken out, and nothing packed, while there can be any: while the kernel counts pinned pages in
 * this process, a file is open for direct I/O, or there is an io_uring (os/held.c).  The answer is
 * some milliseconds old.  A transfer begun in between is lost only if it is still under way when
 * somebody touches that very page, or when it is packed; therefore limbo lasts twice as long, and
 * nothing comes back from there that nobody touched.
 *
 * Mappings (D15): each run that reaches the mirror has up to two borders there.  They are counted as
 * if all neighbours that were taken out had merged, which carry_off sees to, and from BORDERS_MAX on
 * nothing more is taken out until limbo has been packed.
 *
 * Locks: none (out, look, tidy: W; fetch: F).  May sleep: mmap_lock.  Allocates: nothing.
 */
#include <errno.h>

#include "base/stat.h"
#include "pager/mover.h"
#include "pager/private.h"

#define BORDERS_MAX 16384u /* of the 65530 mappings that a process may have */
#define ASK_SHARE 100u
#define CARRY_MAX 512u

static const char *trial(int fd)
{
    return za_os_try_remap(fd) == 0
               ? NULL
               : "mremap(MREMAP_DONTUNMAP) was tried here and does not work (5.14 or later, /proc)";
}

/* --- what may be taken out --- */

/* The answer holds for as long as it took to find it, times a hundred. */
static bool may(void)
{
    static bool answer;
    uint64_t now = za_os->now();
    if (now < za_pg.held_until)
        return answer;
    answer = za_os->held() == 0;
    uint64_t then = za_os->now();
    za_pg.held_until = then + ASK_SHARE * (then - now);
    za_stat_add(ZA_STAT_PG_HELD, !answer);
    return answer;
}

static bool candidate(size_t page, unsigned char flags)
{
    return (flags & ZA_LOOK_TAKE) && za_page_get(&za_pg.pages[page]) == ZA_PAGE_KERNEL;
}

static void leave_all(unsigned n, unsigned char *pages)
{
    for (unsigned i = 0; i < n; i++)
        pages[i] = 0;
}

/* R1 */
static void leave_unclean(size_t first, unsigned n, unsigned char *pages)
{
    unsigned char there[ZA_UNIT_PAGES_MAX];
    if (za_os->present(za_pg_mirror(first), n, there) < 0) {
        za_stat_add(ZA_STAT_PG_REFUSED_OTHER, n);
        leave_all(n, pages);
        return;
    }
    for (unsigned i = 0; i < n; i++) {
        if (!(there[i] & 1) || !candidate(first + i, pages[i]))
            continue;
        if (za_os->purge(za_pg_mirror(first + i), za_pg_page_size()) < 0) {
            za_stat_add(ZA_STAT_PG_REFUSED_OTHER, 1);
            pages[i] = 0;
        }
    }
}

static bool has_relatives(void)
{
    return za_stat_get(ZA_STAT_FORKS) + za_stat_get(ZA_STAT_FORKS_BARE) > 0;
}

/* D3; where /proc cannot be read, what was forked once stays. */
static void leave_shared(size_t first, unsigned n, unsigned char *pages)
{
    uint64_t words[ZA_UNIT_PAGES_MAX];
    if (!has_relatives())
        return;
    bool known = za_os->pagemap(za_pg_heap(first), n, words) == (int)n;
    for (unsigned i = 0; i < n; i++) {
        if (!candidate(first + i, pages[i]) || (known && (words[i] & ZA_PM_EXCLUSIVE)))
            continue;
        za_stat_add(ZA_STAT_PG_REFUSED_BUSY, 1);
        pages[i] = 0;
    }
}

/* How many pages from the head of a run are in one mapping, and may they go? */
static unsigned leave_special(size_t page, unsigned run, unsigned char *pages)
{
    int r = -EFAULT;
    while (r == -EFAULT && run > 0) {
        r = za_os->ordinary(za_pg_heap(page), (size_t)run << za_pg.page_shift);
        run -= r == -EFAULT;
    }
    run += run == 0;
    if (r < 0) {
        za_stat_add(ZA_STAT_PG_REFUSED_LOCKED, run);
        leave_all(run, pages);
    }
    pages[0] |= ZA_LOOK_APART;
    return run;
}

static void look(size_t first, unsigned n, unsigned char *pages)
{
    leave_unclean(first, n, pages);
    leave_shared(first, n, pages);
    for (unsigned i = 0; i < n;) {
        unsigned run = 0;
        while (i + run < n && candidate(first + i + run, pages[i + run]))
            run++;
        if (run)
            i += leave_special(first + i, run, pages + i);
        else
            pages[i++] = 0;
    }
}

/* --- out --- */

static bool carried(size_t page)
{
    return za_pg.units[za_pg_unit_of_page(page)].carried >> page % za_pg.unit_pages & 1;
}

static void count_border(size_t page, int sign)
{
    size_t end = za_pg.records_ready << (ZA_CHUNK_SHIFT - za_pg.page_shift);
    bool before = page > 0 && carried(page - 1), here = page < end && carried(page);
    if (before != here)
        za_pg.borders = (uint32_t)((int)za_pg.borders + sign);
}

/* Pages of one unit; W only. */
static void mark_carried(size_t page, size_t n, bool is)
{
    struct za_unit *u = &za_pg.units[za_pg_unit_of_page(page)];
    unsigned mask = ((1u << n) - 1) << page % za_pg.unit_pages;
    for (size_t i = 0; i <= n; i++)
        count_border(page + i, -1);
    u->carried = (uint16_t)(is ? u->carried | mask : u->carried & ~mask);
    for (size_t i = 0; i <= n; i++)
        count_border(page + i, 1);
}

/*
 * -ENXIO: a place of the mirror is not ours any more, and somebody's mapping may come to lie there.
 * Nothing is taken out of this chunk from now on, and nothing touched in its mirror but what pages
 * in limbo have there.
 */
static void lose(size_t page, size_t n)
{
    za_pg.chunks[za_pg_chunk_of_page(page)].lost = 1;
    mark_carried(page, n, false);
}

/* R2 */
static void make_present(size_t page, size_t n)
{
    unsigned char there[ZA_UNIT_PAGES_MAX];
    bool known = za_os->present(za_pg_mirror(page), n, there) == 0;
    for (size_t i = 0; i < n; i++)
        if (!known || !(there[i] & 1))
            (void)*(volatile char *)za_pg_mirror(page + i);
}

static int64_t out(size_t page, size_t n)
{
    size_t len = n << za_pg.page_shift;
    if (za_pg.borders >= BORDERS_MAX || za_pg.chunks[za_pg_chunk_of_page(page)].lost)
        return -ENOMEM;
    int r = za_os->carry_off(za_pg_heap(page), za_pg_mirror(page), len);
    if (r == -ENXIO)
        lose(page, n);
    if (r < 0)
        return r == -EFAULT ? -EINVAL : r;
    mark_carried(page, n, true);
    make_present(page, n);
    return (int64_t)len;
}

/* --- back --- */

/* R4, R6 */
static int back(size_t page, void (*again)(void))
{
    int r = za_back_copy(page, true, again);
    return r == -EEXIST ? 0 : r;
}

static int fetch(size_t page, void (*again)(void))
{
    if (za_place_exists(page, true)) {
        int r = za_back_copy(page, false, again);
        return r == -EEXIST ? 0 : r;
    }
    (void)za_os->uffd_wake(za_pg.uffd, za_pg_heap(page), za_pg_page_size());
    return 0;
}

static void fetch_run(size_t page, size_t n, void (*again)(void))
{
    for (size_t i = 0; i < n; i++)
        if (za_place_gone(page + i, true) || za_back_copy(page + i, false, again) < 0)
            za_back_must_exist(page + i);
}

/* --- the mirror afterwards --- */

static bool holds_nothing(size_t unit)
{
    for (size_t i = unit * za_pg.unit_pages; i < (unit + 1) * za_pg.unit_pages; i++)
        if (!za_page_mirror_dead(za_page_get(&za_pg.pages[i])))
            return false;
    return true;
}

static void clear_carried(size_t first)
{
    for (size_t page = first; page < first + za_pg.unit_pages; page++)
        if (carried(page))
            za_clear_dead(page, 1);
}

/* R7 */
static void tidy_unit(size_t unit)
{
    size_t page = unit * za_pg.unit_pages;
    if (!za_pg.units[unit].carried)
        return;
    if (za_pg.chunks[za_pg_chunk_of_page(page)].lost || !holds_nothing(unit)) {
        clear_carried(page);
        return;
    }
    int r = za_os->reserve_again(za_pg_mirror(page), ZA_UNIT_SIZE);
    if (r == 0)
        mark_carried(page, za_pg.unit_pages, false);
    else if (r == -ENXIO)
        lose(page, za_pg.unit_pages);
    else
        clear_carried(page);
}

static void tidy(size_t first, size_t n)
{
    for (size_t unit = za_pg_unit_of_page(first); unit * za_pg.unit_pages < first + n; unit++)
        tidy_unit(unit);
}

/* --- relocation --- */

static int carry(size_t to, size_t from)
{
    return za_place_gone(from, false) ? 0 : za_back_carry(to, from);
}

static size_t carry_run(size_t to, size_t from, size_t n)
{
    unsigned char there[CARRY_MAX];
    size_t run = 0;
    n = za_min(n, CARRY_MAX);
    if (za_os->present(za_pg_heap(from), n, there) < 0)
        return 0;
    while (run < n && (there[run] & 1))
        run++;
    if (run == 0)
        return 0;
    int64_t r = za_os->uffd_copy(za_pg.uffd, za_pg_heap(to), za_pg_heap(from),
                                 run << za_pg.page_shift, true);
    size_t done = r > 0 ? (size_t)r >> za_pg.page_shift : 0;
    if (done)
        za_back_empty(from, done);
    return done;
}

const struct za_mover za_mover_remap = {
    .name = "remap",
    .reported = false,
    .unshares = false,
    .patience = 1,
    .around = 1,
    .trial = trial,
    .may = may,
    .look = look,
    .out = out,
    .back = back,
    .fetch = fetch,
    .fetch_run = fetch_run,
    .tidy = tidy,
    .carry = carry,
    .carry_run = carry_run,
};
