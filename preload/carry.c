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

#define READ_WRITE (PROT_READ | PROT_WRITE)

/*
 * 0: one mapping.  -EFAULT: more than one, of which some kernels move what they can, and stop.  -EPERM: sealed.
 * Growing in place has no room, which the kernel says after it has looked.
 */
static long look_at(uintptr_t at, size_t len)
{
    size_t page = za_os->page_size;
    long r = za_sys4(SYS_mremap, at, len, len + page, 0);
    if ((unsigned long)r <= -4096ul)
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

/* Chunk by chunk: a block may lie in two mappings, of which one is registered already. */
static void move_by_chunks(const struct za_range *from, uintptr_t to, size_t len)
{
    uintptr_t at = from->addr, end = from->addr + len, next;
    for (; at < end; at = next) {
        next = za_min(za_align_up(at + 1, ZA_CHUNK_SIZE), end);
        void *there = (void *)(to + (at - from->addr));
        if (look_at(at, next - at) < 0 || za_os->remap((void *)at, there, next - at) < 0)
            memcpy(there, (const void *)at, next - at);
    }
}

/* All or nothing; to where nothing is registered around.  -EPERM: it is sealed. */
static long move_pages(const struct za_range *from, long to, size_t len)
{
    bool pinned = za_pager_pin(from->addr, from->len, ZA_PIN_CALL) == 0;
    long rc = look_at(from->addr, len);
    if (rc == 0)
        rc = za_os->remap((void *)from->addr, (void *)to, len);
    if (rc < 0 && rc != -EPERM &&
        (za_mapped_ordinary(from) || za_os->ordinary((void *)from->addr, len) == 0)) {
        move_by_chunks(from, (uintptr_t)to, len);
        rc = 0;
    }
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
    return (unsigned long)at > -4096ul ? at : at + (long)page;
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
    if ((unsigned long)to > -4096ul)
        return to;
    long rc = move_pages(from, to, za_min(len, from->len));
    leave_place(to, len);
    if (rc >= 0)
        return to;
    (void)za_sys2(SYS_munmap, to, len);
    return rc;
}

/* What is registered nowhere any more may go into the heap. */
static void go_on(long from, long to, size_t len)
{
    long r = za_sys5(SYS_mremap, from, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, to);
    if (r == to)
        return;
    (void)za_sys3(SYS_mprotect, from, len, READ_WRITE);
    memcpy((void *)to, (const void *)from, len);
    (void)za_sys2(SYS_munmap, from, len);
}

/* When it fails, an empty mapping stays there: a hole could be the heap's. */
static long carry_to(const struct za_move *m)
{
    size_t len = za_min(m->len, m->from.len);
    long to = za_sys6(SYS_mmap, (long)m->to, (long)m->len, READ_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    if ((unsigned long)to > -4096ul)
        return to;
    if (is_apart((uintptr_t)to, len)) {
        long rc = move_pages(&m->from, to, len);
        return rc < 0 ? rc : to;
    }
    long on_the_way = carry_apart(&m->from, len);
    if ((unsigned long)on_the_way > -4096ul)
        return on_the_way;
    go_on(on_the_way, to, len);
    return to;
}

long za_carry(const struct za_move *m)
{
    return m->flags & MREMAP_FIXED ? carry_to(m) : carry_apart(&m->from, m->len);
}

/* What was never touched is not to take memory where it goes. */
static void copy_sparse(char *to, const char *from, size_t len)
{
    const size_t page = za_os->page_size;
    for (size_t at = 0; at < len; at += page)
        if (from[at] || memcmp(from + at, from + at + 1, page - 1) != 0)
            memcpy(to + at, from + at, page);
}

long za_carry_grow(long at, size_t have, size_t len)
{
    if (have < len)
        (void)za_sys2(SYS_munmap, at + (long)have, len - have);
    long one = za_sys4(SYS_mremap, at, have, len, MREMAP_MAYMOVE);
    if (one != -EFAULT)
        return one;
    one = za_sys6(SYS_mmap, 0, (long)len, READ_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if ((unsigned long)one <= -4096ul) {
        copy_sparse((char *)one, (const char *)at, have);
        (void)za_sys2(SYS_munmap, at, have);
    }
    return one;
}
