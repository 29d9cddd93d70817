/* SPDX-License-Identifier: MIT */
/*
 * space -- the one reservation the heap lives in, and the flat arrays that describe its units.
 *
 * [base, base + size) is reserved, [base, base + used) is committed: readable, writable, never
 * unmapped. Beside it lie the class map (one byte a unit) and the span records (alloc/span.h),
 * committed in step.
 *
 *  I1  used is chunk-aligned, never falls, and map and records are readable for every unit below
 *      it.
 *  I2  A map byte is: 0 no block; 1 .. 73 the first unit of a span of that class; ZA_MAP_TAIL +
 *      class a further unit of such a span; ZA_MAP_LARGE the first unit of a large block,
 *      ZA_MAP_PARKED of one that is dead and kept (alloc/shelf.h), ZA_MAP_MAPPED, ZA_MAP_UNMAPPED
 *      and ZA_MAP_SPOILT of one for mmap (alloc/mapped.h); ZA_MAP_LARGE_TAIL + k a unit of either
 *      d units behind its first, k = floor(log2 d).
 *
 * Locks: za_space_grow wants the page heap's.  May sleep: in mprotect.  May fault: no.  Allocates:
 * address space.
 */
#ifndef ZA_ALLOC_SPACE_H
#define ZA_ALLOC_SPACE_H

#include "base/base.h"

#define ZA_MAP_NONE 0u
#define ZA_MAP_LARGE 120u
#define ZA_MAP_PARKED 121u
#define ZA_MAP_MAPPED 122u
#define ZA_MAP_UNMAPPED 123u
#define ZA_MAP_SPOILT 124u
#define ZA_MAP_TAIL 128u
#define ZA_MAP_LARGE_TAIL 208u

struct za_span;

/* Hidden by declaration too: the fast paths then reach them without a global offset table. */
#pragma GCC visibility push(hidden)
extern uintptr_t za_heap_base;
extern size_t za_heap_size;      /* reserved bytes; 0 before za_space_init */
extern size_t za_heap_used;      /* committed bytes; atomic */
extern uint8_t *za_map;          /* the class map; atomic bytes */
extern struct za_span *za_spans; /* the span records */

#pragma GCC visibility pop

/* Reserves `want` bytes, or by the machine's memory if 0, or what can be had down to 64 MiB. */
bool za_space_init(size_t want);
/* Commits `bytes` (chunk-aligned) more; 0 or -errno. */
int za_space_grow(size_t bytes);

ZA_INLINE size_t za_space_used(void)
{
    return __atomic_load_n(&za_heap_used, __ATOMIC_RELAXED);
}

ZA_INLINE unsigned za_map_get(size_t unit)
{
    return __atomic_load_n(&za_map[unit], __ATOMIC_ACQUIRE);
}

ZA_INLINE void za_map_set(size_t unit, unsigned byte)
{
    __atomic_store_n(&za_map[unit], (uint8_t)byte, __ATOMIC_RELEASE);
}

/* The same for n units, in words where they are aligned: no reader sees anything but old and new.
 */
ZA_INLINE void za_map_fill(size_t unit, size_t n, unsigned byte)
{
    const uint64_t word = byte * 0x0101010101010101u;
    for (; n && (unit & 7 || n < 8); unit++, n--)
        za_map_set(unit, byte);
    for (; n >= 8; unit += 8, n -= 8)
        __atomic_store_n((uint64_t *)(za_map + unit), word, __ATOMIC_RELEASE);
    for (; n; unit++, n--)
        za_map_set(unit, byte);
}

/* The class of the span a map byte speaks of; 0: of none. */
ZA_INLINE unsigned za_map_class(unsigned byte)
{
    unsigned cls = byte & ~ZA_MAP_TAIL;
    return byte < ZA_MAP_LARGE_TAIL && cls < ZA_MAP_LARGE ? cls : 0;
}

/* The first unit of a large block that is dead and kept. */
ZA_INLINE bool za_map_sleeps(unsigned byte)
{
    return byte == ZA_MAP_PARKED || byte == ZA_MAP_UNMAPPED;
}

/* The first unit of a large block that lives, whoever asked for it. */
ZA_INLINE bool za_map_lives(unsigned byte)
{
    return byte == ZA_MAP_LARGE || byte == ZA_MAP_MAPPED || byte == ZA_MAP_SPOILT;
}

ZA_INLINE uintptr_t za_unit_addr(size_t unit)
{
    return za_heap_base + (unit << ZA_UNIT_SHIFT);
}

#endif
