/* SPDX-License-Identifier: MIT */
/*
 * mapped -- `mmap:true` and `mmap:auto` for preload/memory.c: which mappings the heap serves, what spoils them, and
 * how they end (alloc/mapped.h); and what both files say of ranges.
 *
 * Locks: those of the pager, but not in a signal handler (pager/amid.c).  May sleep: on the worker.
 * May fault: no.  Allocates: nothing.
 */
#ifndef ZA_PRELOAD_MAPPED_H
#define ZA_PRELOAD_MAPPED_H

#include <sys/types.h>

#include "alloc/mapped.h"
#include "alloc/space.h"
#include "os/os.h"

struct za_range {
    uintptr_t addr;
    size_t len;
};

ZA_INLINE bool za_touches_heap(const void *p, size_t len)
{
    uintptr_t a = (uintptr_t)p;
    return a < za_heap_base + za_space_used() && len > za_heap_base - za_min(a, za_heap_base);
}

/* The pages of a range that are the heap's; only for one that touches it. */
ZA_INLINE struct za_range za_in_heap(const void *p, size_t len)
{
    size_t page = za_os->page_size;
    uintptr_t from = za_align_down((uintptr_t)p, page), end = za_heap_base + za_space_used();
    uintptr_t to = len > end - from ? end : za_align_up((uintptr_t)p + len, page);
    from = za_max(from, za_heap_base);
    return (struct za_range){from, za_min(to, end) - from};
}

/* Memory like malloc's, which the program may not tell from it. */
bool za_mapped_serves(const void *p, size_t len, int prot, int flags, off_t offset);
/* mlockall(MCL_FUTURE) is in force: what is mapped is to be locked, and that is the kernel's. */
void za_mapped_lock_future(bool on);
/* The next owner of [p, p + len) would feel what is done to it. */
void za_mapped_touch(const void *p, size_t len);
/* Somebody else's memory is about to be mapped over [p, p + len): what of it is the heap's is no more. */
void za_mapped_give_up(const void *p, size_t len);
/* munmap of a piece that is one, as za_mapped_piece says; 0 or -errno. */
long za_mapped_unmap(const struct za_range *r, enum za_mapped_part part);
/* Is all of it one block, to which nothing has been done? */
bool za_mapped_ordinary(const struct za_range *r);
/* Is it a part or all of such a block? */
bool za_mapped_unspoilt(const struct za_range *r);
/* Of one that is one: has some of it been unmapped, or does it end before? */
bool za_mapped_has_holes(const struct za_range *r);

#endif
