/* SPDX-License-Identifier: MIT */
/*
 * fill -- from the blob back to the heap: decompress, verify, copy in, let the waiting threads run.
 *
 * The page that was asked for comes first and wakes its threads; its neighbours from the same blob,
 * already decompressed, follow. A checksum that differs stops the process: wrong bytes are never
 * handed out (P1).
 *
 * I1  A blob is read inside a read section, so its bytes stay put while they are read
 *     (compress/store.h).
 * I2  References taken out of records (page.h I5) are dropped after the last byte was copied.
 * I3  A blob stays unpacked from one page to the next while one child is given everything: the
 *     record of the page before refers to it, and nobody takes contents away meanwhile (calm.c,
 *     page.h I8).
 *
 * Locks: none (F only).  May sleep: no (retries EAGAIN through the caller's `again`).
 * Allocates: nothing.
 */
#include <errno.h>

#include "base/stat.h"
#include "pager/dense.h"
#include "pager/private.h"

#define NUDGE_BYTES (4 * ZA_MIB)

static char staging[ZA_BLOB_MAX_RAW] __attribute__((aligned(64)));
/*
 * A bare fork may be answered in the middle of a restore: what is for the child has its own place.
 */
static char child_staging[ZA_BLOB_MAX_RAW] __attribute__((aligned(64)));
static uint32_t child_blob; /* I3: what is in it */

/* Decompresses the whole blob. */
static void unpack(uint32_t blob, char to[ZA_BLOB_MAX_RAW])
{
    struct za_blob_view v;
    za_store_read_begin(za_pg.store);
    if (!za_store_get(za_pg.store, blob, &v))
        za_fatal(
            "a stored page has no blob: the store is damaged; stopping before wrong data is seen");
    const char *bad = za_dense_unpack(&v, to, true);
    if (bad)
        za_fatal(bad);
    za_store_read_end(za_pg.store);
}

static const char *unpacked(const char *blob, unsigned index)
{
    return blob + ((size_t)index << za_pg.page_shift);
}

/*
 * One unpacked page to its heap address. EEXIST: it is there already (restored during a fork).
 */
static void copy_in(int fd, size_t page, const char *from, bool wake, void (*again)(void))
{
    size_t size = za_pg_page_size();
    char *to = za_pg_heap(page);
    for (;;) {
        int64_t r = za_os->uffd_copy(fd, to, from, size, wake);
        if (r != -EAGAIN && r != -ENOMEM) {
            if (r == -EEXIST && wake)
                (void)za_os->uffd_wake(fd, to, size);
            return;
        }
        again();
    }
}

/*
 * Takes the records of the cluster that share `blob` out of STORED, of those that are wanted;
 * bit i: page first + i is F's now.
 */
static unsigned take_group(size_t first, uint32_t blob, unsigned wanted,
                           unsigned index[ZA_CLUSTER_PAGES])
{
    unsigned taken = 0;
    for (unsigned i = 0; i < za_pg.cluster_pages; i++) {
        uint64_t *rec = &za_pg.pages[first + i];
        za_page r = za_page_get(rec);
        if (!(wanted >> i & 1) || za_page_state(r) != ZA_PAGE_STORED || za_page_blob(r) != blob)
            continue;
        index[i] = za_page_index(r);
        if (za_page_swap(rec, r, za_page_make(ZA_PAGE_FILLING, index[i], blob)))
            taken |= 1u << i;
    }
    return taken;
}

static void settle(size_t page)
{
    za_page_set(&za_pg.pages[page], ZA_PAGE_KERNEL);
}

/*
 * Blobs that are restored in a rush die in a rush:
 * W should hand their memory back before it adds up.
 */
static void nudge_after(unsigned pages)
{
    static unsigned since; /* F only */
    since += pages;
    if (since < NUDGE_BYTES >> za_pg.page_shift)
        return;
    since = 0;
    za_mail_nudge();
}

/*
 * Which pages of the cluster are to come back with the one asked for: all that are in its blob.  But
 * what is in the memory of a parent too costs nothing there, and memory of our own here; so of such a
 * blob the page comes alone, and the others with the second one that is asked for.
 */
static unsigned around(size_t first, unsigned asked, uint32_t blob)
{
    static size_t alone = ZA_NO_PAGE; /* F only: the cluster of the last page that came so */
    struct za_blob_view v;
    za_store_read_begin(za_pg.store);
    bool theirs = za_store_get(za_pg.store, blob, &v) && za_store_inherited(za_pg.store, v.place);
    za_store_read_end(za_pg.store);
    bool second = first == alone;
    alone = theirs && !second ? first : ZA_NO_PAGE;
    return theirs && !second ? 1u << asked : ~0u;
}

/* Restores a STORED page and its group; returns how many pages, 0: W was faster and dropped it. */
size_t za_fill_stored(size_t page, void (*again)(void))
{
    unsigned index[ZA_CLUSTER_PAGES] = {0};
    size_t first = page - page % za_pg.cluster_pages;
    za_page r = za_page_get(&za_pg.pages[page]);
    if (za_page_state(r) != ZA_PAGE_STORED)
        return 0;
    unsigned asked = (unsigned)(page - first);
    unsigned wanted = around(first, asked, za_page_blob(r));
    unsigned taken = take_group(first, za_page_blob(r), wanted, index);
    if (!taken)
        return 0;
    unpack(za_page_blob(r), staging);
    if (taken >> asked & 1) {
        copy_in(za_pg.uffd, page, unpacked(staging, index[asked]), true, again);
        settle(page);
    } else { /* W dropped it in between: whoever waits finds a hole to be filled */
        (void)za_os->uffd_wake(za_pg.uffd, za_pg_heap(page), za_pg_page_size());
    }
    unsigned refs = 0;
    for (unsigned i = 0; i < za_pg.cluster_pages; i++) {
        if (!(taken >> i & 1))
            continue;
        refs++;
        if (i == asked)
            continue;
        copy_in(za_pg.uffd, first + i, unpacked(staging, index[i]), true, again);
        settle(first + i);
    }
    za_store_drop_later(za_pg.store, za_page_blob(r), refs);
    nudge_after(refs);
    za_room_spend(refs);
    za_stat_add(ZA_STAT_PG_RESTORED, refs);
    za_stat_add(ZA_STAT_PG_AROUND, refs - 1);
    za_stat_add(ZA_STAT_PG_STORED, -(int64_t)refs);
    return refs;
}

/* In a fork's window: the page alone, and no record changes (page.h I8). */
void za_fill_window(size_t page, void (*again)(void))
{
    za_page r = za_page_get(&za_pg.pages[page]);
    if (za_page_state(r) != ZA_PAGE_STORED)
        return;
    unpack(za_page_blob(r), staging);
    copy_in(za_pg.uffd, page, unpacked(staging, za_page_index(r)), true, again);
}

static bool passing(int64_t r)
{
    return r == -EAGAIN || r == -ENOMEM;
}

static void copy_to_child(int fd, size_t page, za_page r, void (*again)(void))
{
    size_t size = za_pg_page_size();
    enum za_page_state s = za_page_state(r);
    if (s == ZA_PAGE_STORED || (s == ZA_PAGE_FILLING && za_page_blob(r) != ZA_BLOB_NONE)) {
        if (za_page_blob(r) != child_blob)
            unpack(za_page_blob(r), child_staging);
        child_blob = za_page_blob(r);
        copy_in(fd, page, unpacked(child_staging, za_page_index(r)), true, again);
    } else if (s != ZA_PAGE_KERNEL && s != ZA_PAGE_FILLING &&
               (za_pg.mover->reported ? za_place_exists(page, true) : !za_place_gone(page, true))) {
        while (passing(za_os->uffd_copy(fd, za_pg_heap(page), za_pg_mirror(page), size, true)))
            again();
    } else {
        while (passing(za_os->uffd_zero(fd, za_pg_heap(page), size, true)))
            again();
    }
}

/*
 * F owns a record while it reads what the record speaks of (page.h I2); in the window it need not:
 * W is parked. True: claimed, and *r is what it was.
 */
static bool claim_for_child(uint64_t *rec, za_page *r)
{
    for (;;) {
        *r = za_page_get(rec);
        enum za_page_state s = za_page_state(*r);
        za_page mine = ZA_PAGE_BACK;
        if (s == ZA_PAGE_KERNEL || s == ZA_PAGE_BACK || s == ZA_PAGE_FILLING ||
            __atomic_load_n(&za_pg.window, __ATOMIC_SEQ_CST))
            return false;
        if (s == ZA_PAGE_STORED)
            mine = za_page_make(ZA_PAGE_FILLING, za_page_index(*r), za_page_blob(*r));
        if (za_page_swap(rec, *r, mine))
            return true;
    }
}

static void give_child(int fd, size_t page, void (*again)(void))
{
    uint64_t *rec = &za_pg.pages[page];
    za_page r;
    bool mine = claim_for_child(rec, &r);
    copy_to_child(fd, page, r, again);
    /* W's commit of a PACKING page may have failed on our claim: to W it is a page that F took. */
    if (mine)
        za_page_set(rec, r == ZA_PAGE_PACKING ? ZA_PAGE_LIMBO : r);
    (void)za_os->uffd_wake(fd, za_pg_heap(page), za_pg_page_size());
}

/*
 * A page of a child, through the child's userfaultfd, as our records have it; zeros where they have
 * nothing. EAGAIN: the child forks in its turn, which `again` takes note of.
 */
void za_fill_child_page(int fd, size_t page, void (*again)(void))
{
    child_blob = ZA_BLOB_NONE;
    give_child(fd, page, again);
}

/* Every page that is not there. */
void za_fill_child(int fd, void (*again)(void))
{
    size_t per_chunk = ZA_CHUNK_SIZE >> za_pg.page_shift;
    child_blob = ZA_BLOB_NONE;
    for (size_t c = 0; c < za_pg.records_ready; c++) {
        if (!za_pg_registered(c * per_chunk))
            continue;
        for (size_t i = c * per_chunk; i < (c + 1) * per_chunk; i++)
            if (za_page_get(&za_pg.pages[i]) != ZA_PAGE_KERNEL)
                give_child(fd, i, again);
        (void)za_os->uffd_wake(fd, za_pg_heap(c * per_chunk), ZA_CHUNK_SIZE);
    }
}
