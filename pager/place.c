/* SPDX-License-Identifier: MIT */
/*
 * place -- where the pager's own arrays and the mirror lie,
 * and which chunks the kernel reports to us.
 *
 * Arrays are reserved once for the whole region and committed in step with its used part. A chunk
 * is registered when its first page is to be taken out: heap and, where the back-end wants it, mirror
 * side by side, so that MOVE may go either way.
 *
 * I1  A chunk is registered only after its records are committed: F finds a record for every
 *     address reported.
 * I2  Registration is by whole chunk, so neighbours merge and the number of mappings stays small
 *     (D15).
 *
 * Locks: none (W only, or a single-threaded child).  May sleep: mmap_lock.  Allocates: by os.
 */
#include <errno.h>

#include "base/remedy.h"
#include "base/stat.h"
#include "pager/private.h"

static bool reserve_array(void **out, size_t bytes)
{
    return za_os->reserve(out, za_align_up(bytes, ZA_UNIT_SIZE), ZA_UNIT_SIZE) == 0;
}

bool za_place_reserve(void)
{
    size_t nchunks = za_pg.size >> ZA_CHUNK_SHIFT, page = za_pg_page_size();
    void *pages, *units, *chunks, *mirror;
    if (!reserve_array(&pages, (za_pg.size >> za_pg.page_shift) * sizeof(uint64_t)) ||
        !reserve_array(&units, nchunks * ZA_UNITS_PER_CHUNK * sizeof(struct za_unit)) ||
        !reserve_array(&chunks, nchunks * sizeof(struct za_chunk)))
        return false;
    if (za_os->commit(chunks, za_align_up(nchunks * sizeof(struct za_chunk), page)) < 0)
        return false;
    if (za_os->reserve(&mirror, za_pg.size + ZA_CHUNK_SIZE, ZA_CHUNK_SIZE) < 0 ||
        za_os->commit((char *)mirror + za_pg.size, 2 * page) < 0)
        return false;
    za_pg.pages = pages;
    za_pg.units = units;
    za_pg.chunks = chunks;
    za_pg.mirror = (uintptr_t)mirror;
    return true;
}

static bool commit_more(void *array, size_t from, size_t to)
{
    size_t page = za_pg_page_size();
    from = za_align_up(from, page);
    to = za_align_up(to, page);
    return to <= from || za_os->commit((char *)array + from, to - from) == 0;
}

/*
 * Makes records for the first nchunks chunks; false: no memory, try again later.  While W stands still
 * several threads may at once: committing twice does nothing.
 */
bool za_place_records(size_t nchunks)
{
    size_t have = za_pg.records_ready;
    if (nchunks <= have)
        return true;
    size_t per_pages = (ZA_CHUNK_SIZE >> za_pg.page_shift) * sizeof(uint64_t);
    size_t per_units = ZA_UNITS_PER_CHUNK * sizeof(struct za_unit);
    if (!commit_more(za_pg.pages, have * per_pages, nchunks * per_pages) ||
        !commit_more(za_pg.units, have * per_units, nchunks * per_units)) {
        za_stat_add(ZA_STAT_PG_REG_FAILED, 1);
        return false;
    }
    while (have < nchunks &&
           !__atomic_compare_exchange_n(&za_pg.records_ready, &have, nchunks, false,
                                        __ATOMIC_RELEASE, __ATOMIC_RELAXED))
        ;
    return true;
}

#ifdef ZA_TEST_WITHOUT
/* As if every unit were registered by itself, when it goes cold: here, every other one. */
static int register_pieces(int fd, char *heap, char *mirror)
{
    int r = 0;
    for (size_t at = 0; r == 0 && at < ZA_CHUNK_SIZE; at += 2 * ZA_UNIT_SIZE) {
        r = za_os->uffd_register(fd, mirror + at, ZA_UNIT_SIZE);
        r = r < 0 ? r : za_os->uffd_register(fd, heap + at, ZA_UNIT_SIZE);
    }
    return r;
}
#else
#define register_pieces(fd, heap, mirror) 0
#endif

static int register_both(int fd, size_t chunk)
{
    char *heap = (char *)za_pg.base + (chunk << ZA_CHUNK_SHIFT);
    char *mirror = (char *)za_pg.mirror + (chunk << ZA_CHUNK_SHIFT);
    if (za_without(D15_CHUNKS))
        return register_pieces(fd, heap, mirror);
    int r = za_pg.mover->reported ? za_os->uffd_register(fd, mirror, ZA_CHUNK_SIZE) : 0;
    if (r < 0)
        return r;
    r = za_os->uffd_register(fd, heap, ZA_CHUNK_SIZE);
    if (r < 0 && za_pg.mover->reported)
        (void)za_os->uffd_unregister(fd, mirror, ZA_CHUNK_SIZE);
    return r;
}

/* And the knocker behind it. */
int za_place_register_bell(int fd)
{
    return za_os->uffd_register(fd, (void *)za_pg_bell(), 2 * za_pg_page_size());
}

/*
 * W: from here on F hears the doorbell, and forks are announced. Comes with the first chunk, or
 * before it when somebody has to ring.
 */
bool za_place_ready_bell(void)
{
    if (za_pg.nregistered)
        return true;
    if (za_place_register_bell(za_pg.uffd) < 0)
        return false;
    __atomic_store_n(&za_pg.nregistered, 1, __ATOMIC_RELEASE);
    return true;
}

bool za_place_register(size_t chunk)
{
    struct za_chunk *c = &za_pg.chunks[chunk];
    if (c->lost) {
        za_stat_add(ZA_STAT_PG_REG_FAILED, 1);
        return false;
    }
    if (c->registered)
        return true;
    char *mirror = (char *)za_pg.mirror + (chunk << ZA_CHUNK_SHIFT);
    if ((za_pg.mover->reported && za_os->commit(mirror, ZA_CHUNK_SIZE) < 0) ||
        !za_place_ready_bell() || register_both(za_pg.uffd, chunk) < 0) {
        za_stat_add(ZA_STAT_PG_REG_FAILED, 1);
        return false;
    }
    __atomic_store_n(&c->registered, 1, __ATOMIC_RELEASE);
    __atomic_fetch_add(&za_pg.nregistered, 1, __ATOMIC_RELAXED);
    return true;
}

/* Records stay; za_place_register_again makes it undone. Nothing may be out. */
void za_place_unregister_chunks(void)
{
    for (size_t c = 0; c < za_pg.records_ready; c++) {
        if (!za_pg.chunks[c].registered)
            continue;
        (void)za_os->uffd_unregister(za_pg.uffd, (char *)za_pg.base + (c << ZA_CHUNK_SHIFT),
                                     ZA_CHUNK_SIZE);
        if (za_pg.mover->reported)
            (void)za_os->uffd_unregister(za_pg.uffd, (char *)za_pg.mirror + (c << ZA_CHUNK_SHIFT),
                                         ZA_CHUNK_SIZE);
    }
}

void za_place_unregister_all(void)
{
    za_place_unregister_chunks();
    (void)za_os->uffd_unregister(za_pg.uffd, (void *)za_pg_bell(), 2 * za_pg_page_size());
}

/*
 * A chunk over part of which the program has mapped what cannot be registered, a file, since it was.  Nothing is out
 * there: those units are pinned.
 */
static int register_units(int fd, size_t chunk)
{
    char *heap = (char *)za_pg.base + (chunk << ZA_CHUNK_SHIFT);
    char *mirror = (char *)za_pg.mirror + (chunk << ZA_CHUNK_SHIFT);
    int r = za_pg.mover->reported ? za_os->uffd_register(fd, mirror, ZA_CHUNK_SIZE) : 0;
    for (size_t i = 0; r == 0 && i < ZA_UNITS_PER_CHUNK; i++) {
        r = za_os->uffd_register(fd, heap + (i << ZA_UNIT_SHIFT), ZA_UNIT_SIZE);
        if (r < 0 && za_pin_holds(chunk * ZA_UNITS_PER_CHUNK + i))
            r = 0;
    }
    return r;
}

/*
 * A child without an inherited userfaultfd: everything registered once is registered with its own.
 */
int za_place_register_again(int fd)
{
    int bell = za_place_register_bell(fd);
    if (bell < 0)
        return bell;
    for (size_t c = 0; c < za_pg.records_ready; c++) {
        if (!za_pg.chunks[c].registered || register_both(fd, c) == 0)
            continue;
        int r = za_without(D7_FILE) ? -EINVAL : register_units(fd, c);
        if (r < 0)
            return r;
    }
    return 0;
}

enum seen { HOLE, PAGE, UNKNOWN };

/*
 * mincore needs no /proc and is cheap, but cannot tell a page that is swapped out from a hole;
 * pagemap can.
 */
static enum seen look_at(size_t page, bool in_mirror)
{
    unsigned char there = 0;
    uint64_t word;
    char *at = in_mirror ? za_pg_mirror(page) : za_pg_heap(page);
    if (za_os->present(at, 1, &there) == 0 && (there & 1))
        return PAGE;
    if (za_os->pagemap(at, 1, &word) == 1)
        return word & (ZA_PM_PRESENT | ZA_PM_SWAPPED) ? PAGE : HOLE;
    return UNKNOWN;
}

bool za_place_exists(size_t page, bool in_mirror)
{
    return look_at(page, in_mirror) == PAGE;
}

bool za_place_gone(size_t page, bool in_mirror)
{
    return look_at(page, in_mirror) == HOLE;
}
