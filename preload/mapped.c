/* SPDX-License-Identifier: MIT */
/*
 * mapped -- see mapped.h.
 *
 * An ordinary block needs one thing at its end: that its pages are dropped.  Whatever else was done to
 * it has spoilt it; it gets new memory over it, which has none of that, and is not used again.
 *
 * Locks, sleep, faults: see mapped.h.
 */
#define _GNU_SOURCE
#include "preload/mapped.h"

#include <sys/mman.h>

#include "alloc/span.h"
#include "base/conf.h"
#include "base/remedy.h"
#include "os/sys.h"
#include "pager/pager.h"

#define LEAST (128 * ZA_KIB)
#define READ_WRITE (PROT_READ | PROT_WRITE)

static bool lock_future; /* atomic */

void za_mapped_lock_future(bool on)
{
    __atomic_store_n(&lock_future, on, __ATOMIC_RELAXED);
}

bool za_mapped_serves(const void *p, size_t len, int prot, int flags, off_t offset)
{
    return za_conf.mmap != ZA_MMAP_FALSE && !p && len >= LEAST && prot == READ_WRITE &&
           (flags & ~MAP_NORESERVE) == (MAP_PRIVATE | MAP_ANONYMOUS) &&
           (size_t)offset % za_os->page_size == 0 &&
           !__atomic_load_n(&lock_future, __ATOMIC_RELAXED) && za_mapped_wanted(len);
}

void za_mapped_touch(const void *p, size_t len)
{
    if (za_conf.mmap == ZA_MMAP_FALSE || !za_touches_heap(p, len))
        return;
    const struct za_range r = za_in_heap(p, len);
    za_mapped_spoil(r.addr, r.addr + r.len);
}

void za_mapped_give_up(const void *p, size_t len)
{
    if (!za_touches_heap(p, len) || za_without(D7_MAP_OVER))
        return;
    const struct za_range r = za_in_heap(p, len);
    (void)za_pager_pin(r.addr, r.len, ZA_PIN_FOREIGN);
}

/* There is ordinary memory again, which is no longer watched and stays as it is. */
static long uncover(const struct za_range *r)
{
    (void)za_pager_discard_soon(r->addr, r->len);
    (void)za_pager_pin(r->addr, r->len, ZA_PIN_FOREIGN);
    long at = za_sys6(SYS_mmap, (long)r->addr, (long)r->len, READ_WRITE,
                      MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return (unsigned long)at > -4096ul ? at : 0;
}

/* Locked by mlockall, or there is no room for one more mapping: it cannot be emptied as it is. */
static long end_whole(const struct za_range *r)
{
    if (!za_mapped_claim(r->addr))
        return 0; /* another thread ends it */
    if (za_mapped_keep(r->addr))
        return 0;
    if (za_pager_discard_soon(r->addr, r->len) >= 0) {
        za_mapped_end(r->addr);
        return 0;
    }
    za_mapped_lose(r->len);
    return uncover(r);
}

static long end_part(const struct za_range *r)
{
    za_mapped_lose_part(r->addr, r->len);
    if (za_pager_discard_soon(r->addr, r->len) >= 0)
        return 0;
    za_mapped_spoil(r->addr, r->addr + r->len);
    return uncover(r);
}

long za_mapped_unmap(const struct za_range *r, enum za_mapped_part part)
{
    switch (part) {
    case ZA_MAPPED_WHOLE: return end_whole(r);
    case ZA_MAPPED_PART: return end_part(r);
    case ZA_MAPPED_SPOILT: return uncover(r);
    default: return 0;
    }
}

bool za_mapped_ordinary(const struct za_range *r)
{
    size_t len;
    return za_mapped_piece(r->addr, r->addr + r->len, &len) == ZA_MAPPED_WHOLE && len >= r->len;
}

bool za_mapped_unspoilt(const struct za_range *r)
{
    size_t len;
    enum za_mapped_part part = za_mapped_piece(r->addr, r->addr + r->len, &len);
    return (part == ZA_MAPPED_WHOLE || part == ZA_MAPPED_PART) && len >= r->len;
}

bool za_mapped_has_holes(const struct za_range *r)
{
    const struct za_span *s = &za_spans[(r->addr - za_heap_base) >> ZA_UNIT_SHIFT];
    return r->len > __atomic_load_n(&s->size, __ATOMIC_ACQUIRE) ||
           __atomic_load_n(&s->left, __ATOMIC_RELAXED) > 0;
}
