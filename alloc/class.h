/* SPDX-License-Identifier: MIT */
/*
 * class -- size classes: from a size to a class, from a class to its slots and spans.
 *
 * Classes are numbered from 1 so that a zero byte of the class map means "no block".  Sizes are 8,
 * 16, then by 16 up to 128, then eight to a doubling up to 32 KiB: a slot is never more than 12.5 %
 * larger than a request above 64.
 *
 *  I1  A slot size is a multiple of 16 except class 1 (8 bytes).
 *  I2  For a class c >= 1 and any offset inside its span, za_class_slot(c, off) * size == off
 *      exactly when off is the start of a slot's cell (see the proof at za_class_slot).
 *  I3  A span of class c wastes at most 1/5 of its units behind its last slot: addresses, since nobody
 *      touches what lies there (of a run that was dirty, pages as well, until the pager finds them dead).
 *      Most spans then are a single unit, where free needs no record.
 *
 * Before za_class_init the tables are all zero: every size up to 1 KiB has class 0, whose bin is
 * always empty. Locks: none, the tables are written once.  May sleep: no.  May fault: no.
 * Allocates: nothing.
 */
#ifndef ZA_ALLOC_CLASS_H
#define ZA_ALLOC_CLASS_H

#include "base/base.h"

#define ZA_CLASS_LAST 73u                   /* classes are 1 .. ZA_CLASS_LAST */
#define ZA_CLASS_MAX_SIZE (32 * ZA_KIB)     /* larger requests are large blocks */
#define ZA_CLASS_LUT_SIZE ((size_t)1 << 10) /* sizes up to here go by table */
#define ZA_CLASS_SPAN_UNITS 8u              /* no span is longer */
#define ZA_CLASS_DEPTH 255u                 /* no thread keeps more slots of a class */

/* What free needs of a class: eight to a cache line. */
struct za_class_cell {
    uint32_t size;
    uint32_t magic; /* 2^32 / size rounded up */
};

struct za_class_info {
    uint16_t nslots;     /* slots in a span */
    uint16_t words;      /* 64-bit words of its bitmap */
    uint8_t units;       /* units of a span */
    uint8_t depth_first; /* slots a new bin of a thread cache may hold: 2^k - 1 */
    uint8_t depth_max;   /* ... and a busy one */
    uint16_t transfer;   /* slots the class's transfer cache may hold */
};

#pragma GCC visibility push(hidden)
extern struct za_class_cell za_class_cell[ZA_CLASS_LAST + 1];
extern struct za_class_info za_class_info[ZA_CLASS_LAST + 1];
extern uint8_t za_class_lut[(ZA_CLASS_LUT_SIZE >> 3) + 1];
#pragma GCC visibility pop

/* Idempotent; single-threaded. */
void za_class_init(void);

/* The class of a size above 1 KiB and up to 32 KiB. */
ZA_INLINE unsigned za_class_of_medium(size_t size)
{
    unsigned lg = 63u - (unsigned)__builtin_clzl(size - 1);
    return 10u + (lg - 7u) * 8u + (unsigned)((size - 1) >> (lg - 3u)) - 8u;
}

/* The class of a size of at most 32 KiB; 0 has the class of 1. */
ZA_INLINE unsigned za_class_of(size_t size)
{
    if (ZA_LIKELY(size <= ZA_CLASS_LUT_SIZE))
        return za_class_lut[(size + 7) >> 3];
    return za_class_of_medium(size);
}

/*
 * The same for aligned slots; `align` is a power of two, of at most 32 KiB.  Slots of a class whose size is
 * a multiple of the alignment are aligned: span heads are unit-aligned.
 */
ZA_INLINE unsigned za_class_of_aligned(size_t align, size_t size)
{
    unsigned cls = za_class_of(za_max(size, align));
    while (za_class_cell[cls].size & (align - 1))
        cls++;
    return cls;
}

/*
 * off / size for an offset that starts a cell; for any other offset some number whose product with
 * size is not off.  With magic = (2^32 + e) / size, 0 <= e < size: off = q * size gives q + q * e /
 * 2^32, and q * e is at most the span's bytes (2^19), so the quotient is exact (I2).
 */
ZA_INLINE uint32_t za_class_slot(const struct za_class_cell *c, uint32_t off)
{
    return (uint32_t)(((uint64_t)off * c->magic) >> 32);
}

ZA_INLINE bool za_class_starts(const struct za_class_cell *c, uint32_t off)
{
    return za_class_slot(c, off) * c->size == off;
}

#endif
