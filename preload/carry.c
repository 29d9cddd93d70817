/* SPDX-License-Identifier: MIT */
/*
 * carry -- see carry.h.
 *
 * I1  The kernel moves only what is one mapping, so that it moves all of it or nothing, and only to where no
 *     neighbour is registered.
 * I2  No hole is left in the heap: what is mapped there for a move that fails stays.
 *
 * Locks, sleep, faults: see carry.h.
 */
#define _GNU_SOURCE
#include "preload/carry.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "alloc/mapped.h"
#include "os/os.h"
#include "os/sys.h"
#include "pager/pager.h"

#ifndef MLOCK_ONFAULT
#define MLOCK_ONFAULT 1u
#endif
#define READ_WRITE (PROT_READ | PROT_WRITE)

static bool is_error(long r)
{
    return (unsigned long)r > -4096ul;
}

/*
 * 0: one mapping.  -EFAULT: more than one, of which some kernels move what they can, and stop.  -EPERM: sealed.
 * Growing in place has no room, which the kernel says after it has looked.
 */
static long look_at(uintptr_t at, size_t len)
{
    size_t page = za_os->page_size;
    long r = za_sys4(SYS_mremap, at, len, len + page, 0);
    if (!is_error(r))
        (void)za_sys2(SYS_munmap, at + len, page);
    return r == -EFAULT || r == -EPERM ? r : 0;
}

/*
 * May the kernel move page tables there?  What it moves is still registered when it arrives, and one of which
 * nothing was touched yet becomes one mapping with a neighbour that is, too; then all of that is registered no
 * more, and what is out of it is zeros.
 */
static bool is_apart(uintptr_t at, size_t len)
{
    size_t page = za_os->page_size, mirror_len;
    uintptr_t mirror = za_pager_mirror(&mirror_len), from = at - page, to = at + len + page;
    return (to <= za_heap_base || from >= za_heap_base + za_heap_size) &&
           (!mirror || to <= mirror || from >= mirror + mirror_len);
}

/* For anonymous memory this does nothing but say so. */
static bool is_locked(uintptr_t at, size_t len)
{
    return za_sys3(SYS_msync, at, len, MS_ASYNC | MS_INVALIDATE) == -EBUSY;
}

/* Nobody says whether that was MLOCK_ONFAULT; what is not all there was not locked in full. */
static bool is_all_there(uintptr_t at, size_t len)
{
    uint64_t there = 0;
    return za_os->resident((void *)at, len, &there) == 0 && there >= len;
}

static void lock_again(uintptr_t at, size_t len, bool all_there)
{
    (void)za_sys3(SYS_mlock2, at, len, all_there ? 0 : MLOCK_ONFAULT);
}

/*
 * The kernel takes the lock off all of the mapping that it moves a part of: without a lock the part is a
 * mapping of its own.
 */
static int remap_locked(uintptr_t from, uintptr_t to, size_t len)
{
    bool locked = is_locked(from, len), all_there = locked && is_all_there(from, len);
    if (locked)
        (void)za_sys2(SYS_munlock, from, len);
    int rc = za_os->remap((void *)from, (void *)to, len);
    if (locked)
        lock_again(rc < 0 ? from : to, len, all_there);
    return rc;
}

/* The end of the chunk that `at` lies in, or `end`. */
static uintptr_t piece_end(uintptr_t at, uintptr_t end)
{
    return za_min(za_align_up(at + 1, ZA_CHUNK_SIZE), end);
}

static long look_at_chunks(uintptr_t at, uintptr_t end)
{
    long rc = 0;
    for (uintptr_t next; rc == 0 && at < end; at = next) {
        next = piece_end(at, end);
        rc = look_at(at, next - at);
    }
    return rc;
}

/*
 * What is registered nowhere any more may go into the heap.  `first`: where it has come from, which says
 * where one of its mappings may end.
 */
static void go_on(uintptr_t first, uintptr_t from, uintptr_t to, size_t len)
{
    if (look_at(from, len) == 0 &&
        za_sys5(SYS_mremap, from, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, to) == (long)to)
        return;
    for (size_t at = 0, n; at < len; at += n) {
        n = piece_end(first + at, first + len) - (first + at);
        if (za_sys5(SYS_mremap, from + at, n, n, MREMAP_MAYMOVE | MREMAP_FIXED, to + at) ==
            (long)(to + at))
            continue;
        (void)za_sys3(SYS_mprotect, from + at, n, READ_WRITE);
        memcpy((void *)(to + at), (const void *)(from + at), n);
        (void)za_sys2(SYS_munmap, from + at, n);
    }
}

/* It is mapped over the heap then, which leaves it alone. */
static void put_back(const struct za_range *from, uintptr_t at, size_t len)
{
    za_mapped_give_up((void *)from->addr, len);
    go_on(from->addr, at, from->addr, len);
}

/* Like the heap's own memory, whatever mappings it is: bytes are all that there is to it. */
static bool may_be_copied(const struct za_range *from, size_t len)
{
    return za_mapped_unspoilt(from) || za_os->ordinary((void *)from->addr, len) == 0;
}

/*
 * Chunk by chunk: what the program knows as one mapping is two, if one is registered already.  -EFAULT: it
 * is more than that, or more than one to the program, too.
 */
static long move_by_chunks(const struct za_range *from, uintptr_t to, size_t len)
{
    uintptr_t at = from->addr, end = from->addr + len, next;
    bool copies = may_be_copied(from, len);
    long rc = copies ? 0 : look_at_chunks(at, end);
    for (; rc == 0 && at < end; at = next) {
        uintptr_t there = to + (at - from->addr);
        next = piece_end(at, end);
        rc = look_at(at, next - at);
        rc = rc < 0 ? rc : remap_locked(at, there, next - at);
        if (rc < 0 && copies) {
            memcpy((void *)there, (const void *)at, next - at);
            rc = 0;
        }
        if (rc < 0 && at > from->addr)
            put_back(from, to, at - from->addr);
    }
    return rc;
}

/* All or nothing; to where nothing is registered around.  -EPERM: it is sealed. */
static long move_pages(const struct za_range *from, long to, size_t len)
{
    bool pinned = za_pager_pin(from->addr, from->len, ZA_PIN_CALL) == 0;
    long rc = look_at(from->addr, len);
    if (rc == 0)
        rc = remap_locked(from->addr, (uintptr_t)to, len);
    if (rc < 0 && rc != -EPERM)
        rc = move_by_chunks(from, (uintptr_t)to, len);
    if (pinned)
        za_pager_unpin(from->addr, from->len, ZA_PIN_CALL);
    return rc;
}

/* A page on either side keeps it apart from others until the pages have come. */
static long place_for(size_t len)
{
    size_t page = za_os->page_size;
    long at = za_sys6(SYS_mmap, 0, (long)(len + 2 * page), READ_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return is_error(at) ? at : at + (long)page;
}

static void leave_place(long at, size_t len)
{
    size_t page = za_os->page_size;
    (void)za_sys2(SYS_munmap, at - (long)page, page);
    (void)za_sys2(SYS_munmap, at + (long)len, page);
}

static long carry_apart(const struct za_range *from, size_t len)
{
    long to = place_for(len);
    if (is_error(to))
        return to;
    long rc = move_pages(from, to, za_min(len, from->len));
    leave_place(to, len);
    if (rc >= 0)
        return to;
    (void)za_sys2(SYS_munmap, to, len);
    return rc;
}

/* Empty; when what is to come does not, it stays there: a hole could be the heap's. */
static long clear_place(const struct za_move *m)
{
    return za_sys6(SYS_mmap, (long)m->to, (long)m->len, READ_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

static long carry_to(const struct za_move *m)
{
    long to = clear_place(m);
    if (is_error(to))
        return to;
    if (is_apart((uintptr_t)to, m->len)) {
        long rc = move_pages(&m->from, to, m->len);
        return rc < 0 ? rc : to;
    }
    long on_the_way = carry_apart(&m->from, m->len);
    if (is_error(on_the_way))
        return on_the_way;
    go_on(m->from.addr, (uintptr_t)on_the_way, (uintptr_t)to, m->len);
    return to;
}

/* What was never touched is not to take memory where it goes. */
static void copy_sparse(char *to, const char *from, size_t len)
{
    const size_t page = za_os->page_size;
    for (size_t at = 0; at < len; at += page)
        if (from[at] || memcmp(from + at, from + at + 1, page - 1) != 0)
            memcpy(to + at, from + at, page);
}

/* Bytes become one mapping again; of what cannot be copied the last one grows where it is, this once. */
static long grow_several(const struct za_range *from, long at, size_t len)
{
    size_t page = za_os->page_size;
    uintptr_t last = (uintptr_t)at + from->len - page;
    if (!za_mapped_unspoilt(from)) {
        long r = za_sys4(SYS_mremap, last, page, page + len - from->len, 0);
        return is_error(r) ? r : at;
    }
    long one = za_sys6(SYS_mmap, 0, (long)len, READ_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!is_error(one)) {
        copy_sparse((char *)one, (const char *)at, from->len);
        (void)za_sys2(SYS_munmap, at, from->len);
    }
    return one;
}

/*
 * Pages that were moved are a mapping of their own, or two, and what is not one could
 * not grow another time.  So what is behind them goes, and they grow there, or where there is room: with all
 * that was done to them.  -errno: there is none, and nothing behind them.
 */
static long grow(const struct za_range *from, long at, size_t len)
{
    (void)za_sys2(SYS_munmap, at + (long)from->len, len - from->len);
    long one = za_sys4(SYS_mremap, at, from->len, len, MREMAP_MAYMOVE);
    return one == -EFAULT ? grow_several(from, at, len) : one;
}

/* Its lock comes along, if it is put back. */
static void take_back(const struct za_range *from, long at)
{
    bool locked = is_locked((uintptr_t)at, from->len);
    if (!za_mapped_unspoilt(from)) {
        put_back(from, (uintptr_t)at, from->len);
        return;
    }
    memcpy((void *)from->addr, (const void *)at, from->len);
    (void)za_sys2(SYS_munmap, at, from->len);
    if (locked)
        lock_again(from->addr, from->len, true);
}

/* Where it is to go is as good as taken before anything moves. */
static long carry_longer(const struct za_move *m)
{
    long to = m->flags & MREMAP_FIXED ? clear_place(m) : 0;
    if (is_error(to))
        return to;
    long at = carry_apart(&m->from, m->len);
    if (is_error(at))
        return at;
    long longer = grow(&m->from, at, m->len);
    if (is_error(longer))
        take_back(&m->from, at);
    else if (to)
        go_on(m->from.addr, (uintptr_t)longer, (uintptr_t)to, m->len);
    return is_error(longer) || !to ? longer : to;
}

long za_carry(const struct za_move *m)
{
    if (m->len > m->from.len)
        return carry_longer(m);
    return m->flags & MREMAP_FIXED ? carry_to(m) : carry_apart(&m->from, m->len);
}
