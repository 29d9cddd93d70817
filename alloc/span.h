/* SPDX-License-Identifier: MIT */
/*
 * span -- the record of a run of units, and the bitmap of a span's slots.
 *
 * THEORY
 *
 * The heap is tiled by runs of units.  A run is one of
 *   free    nobody's: in the page heap's trees (alloc/run.h), clean or dirty;
 *   busy    taken out of the trees while its memory goes back to the system without a lock held;
 *   span    slots of one size class, owned by that class's central list (alloc/central.h);
 *   large   one block, owned by whoever holds the block (alloc/large.h);
 *   parked  the run of a dead large block, owned by a shelf (alloc/shelf.h).  To the page heap it
 * is a large block. Each unit has a record in one flat array.  The record of a run's first unit
 * describes the run; that of its last unit says where the first is, so a neighbour can find it: the
 * classical boundary tag, out of band.  Records in between are stale, except in a span, where every
 * further unit says where the first is: free of a pointer into the middle of a span needs it.  (A
 * large block needs no such help: its class map bytes say how far to jump back.)
 *
 * A slot is *out* when its bit is set: with the program, in a thread's cache, or in a transfer
 * cache. A slot is *in* when its bit is clear: only then may its bytes be given away by a refill,
 * and only then does the pager regard them as dead.  Bits change only under the class's central
 * lock; the pager reads them at any time without a lock.  What it can see is therefore old, and
 * this is why that does no harm:
 *   - A slot live when its page left had its bit set before the program got it, and the bit stays
 * set while it lives.  Nobody can see it clear.
 *   - A slot that dies or is born after the page left has undefined contents either way.
 *   - The span itself may be given back and its units and bitmap reused while the pager looks. Then
 * every slot of it had died.  The reader takes the class from the map, the bitmap's address from
 * the record, reads words (a bitmap once made for a class serves only spans of that class, for
 * ever), and reads class and address again; if either changed it calls the page live, which is
 * always allowed.
 *   - A large block lives while its first map byte is LARGE.  Its death is that byte's change to
 * PARKED; its next life is the new size, then LARGE (release), then the pointer.  (One for mmap:
 * MAPPED or SPOILT; UNMAPPED; MAPPED: alloc/mapped.h.)  The
 * bytes of a block that lives do not change, so whoever reads PARKED, or a size that ends before
 * the page, looked after the page's block died.  (Two threads that free the same block at the same
 * moment may park it twice; whoever takes it second finds it not PARKED, and that is fatal.)
 *   - The same bitmap may come back for a new span of the same class in the same place between the
 *     two looks.  Then the bits speak of the new span, whose slots are all born after the page
 * left.
 *
 * Order of publication.  Birth: record and bitmap, then (release) the class map bytes, then slots.
 * Death: class map bytes to 0, then the bitmap's address to NULL, then the bitmap to the class's
 * spare ones, then the run to the page heap.
 *
 *  I1  Runs tile [0, used): the record after a run's last unit is the first of another run.
 *  I2  In a span, nfree = the number of clear bits below nslots; bits at and above nslots are set.
 *  I3  A span with 0 < nfree is in its class's list for za_span_bucket(); one with nfree = 0 is in
 * none. I4  A span's `bits` is NULL or at least za_class_info[cls].words words.
 *
 * Lock key:
 *   (h) page heap lock          (c) central lock of the class
 *   (o) owner: whoever got the run from the page heap, until he gives it back
 *   (a) also read without a lock by the pager: atomic accesses only
 *
 * Locks: the class's central lock, held by every caller.  May sleep: only in meta.  May fault: no.
 * Allocates: bitmaps, from meta.
 */
#ifndef ZA_ALLOC_SPAN_H
#define ZA_ALLOC_SPAN_H

#include "alloc/class.h"
#include "alloc/misuse.h"
#include "alloc/space.h"

#define ZA_NO_UNIT UINT32_MAX
#define ZA_SPAN_BUCKETS 4u
#define ZA_SPAN_FULL ZA_SPAN_BUCKETS /* the "bucket" of a span without a free slot */

enum za_dirt { ZA_CLEAN, ZA_DIRTY };

enum za_run_kind { ZA_RUN_NONE, ZA_RUN_TAIL, ZA_RUN_FREE, ZA_RUN_BUSY, ZA_RUN_SPAN, ZA_RUN_LARGE };

/*
 * Born:  zeroed, with the committed memory; becomes a run's first or last by the page heap.
 * Owned: the page heap; for a span then the central list, for a large block the block's holder.
 * Dies:  never; it is overwritten by the next run.
 */
struct za_span {
    uint64_t *bits; /* (c a) span: 1 = slot is out */
    size_t size;    /* (o a) large: usable bytes, whole pages; (o) parked, (h) free: bytes from its
                       start that may not be zero */
    uint32_t next;  /* (c) span: list of its bucket; (h) free and dirty: younger in the age list;
                       (o) on its way to the page heap: list of the dead */
    uint32_t prev;  /* (c) span; (h) free and dirty: older */
    uint32_t left;  /* (h) free: tree; (a) mapped: pages that were unmapped by themselves */
    uint32_t right; /* (h) free: tree */
    uint32_t units; /* (h, o read) length of the run, in its first record */
    uint32_t head;  /* (h, o, a) tail: first unit of the run */
    uint64_t since; /* (h) free and dirty: when it became free, ns; (o) large: when its run came
                       from the page heap, if long enough to be moved by records, else any time
                       before */
    uint16_t nfree; /* (c) span: slots that are in */
    uint16_t hint;  /* (c) span: no clear bit in a word below this one */
    uint8_t kind;   /* (h, o read) enum za_run_kind */
    uint8_t bucket; /* (c) span: list it is in, or ZA_SPAN_FULL */
    uint8_t rest; /* (o) large: ZA_DIRTY unless what lies behind its size is clean; parked: clean */
    uint8_t sparse; /* (o) large, parked: not 0: calloc'ed and perhaps never touched (large.c) */
} __attribute__((aligned(ZA_CACHELINE)));

_Static_assert(sizeof(struct za_span) == ZA_CACHELINE, "one line per unit");

ZA_INLINE uint64_t *za_span_bits(const struct za_span *s)
{
    return __atomic_load_n(&s->bits, __ATOMIC_ACQUIRE);
}

/* First unit of the span that unit `unit`, with map byte `byte` of a span, belongs to. */
ZA_INLINE uint32_t za_span_head(size_t unit, unsigned byte)
{
    if (byte < ZA_MAP_TAIL)
        return (uint32_t)unit;
    return __atomic_load_n(&za_spans[unit].head, __ATOMIC_RELAXED);
}

/* Which list a span with so many free slots belongs in: 0 is nearly full. */
ZA_INLINE unsigned za_span_bucket(unsigned cls, unsigned nfree)
{
    unsigned n = za_class_info[cls].nslots; /* quarters, without a division */
    if (!nfree)
        return ZA_SPAN_FULL;
    return (nfree * 4 >= n) + (nfree * 2 >= n) + (nfree * 4 >= n * 3);
}

/* Makes a run of the class's units a span, all slots in; false: no memory for the bitmap. */
bool za_span_born(uint32_t unit, unsigned cls);
/* The end of that: no slot may be out.  The run still belongs to the caller. */
void za_span_dies(uint32_t unit, unsigned cls);
/* Takes up to `want` slots out, lowest address first, writing them downwards from `end`. */
unsigned za_span_take(uint32_t unit, unsigned cls, void **end, unsigned want);
/* Clears the bit of the slot at p and returns the number of its word; a misuse is fatal. */
ZA_INLINE unsigned za_span_clear(struct za_span *s, unsigned cls, uintptr_t base, void *p)
{
    const struct za_class_cell *c = &za_class_cell[cls];
    uint32_t off = (uint32_t)((uintptr_t)p - base), slot = za_class_slot(c, off);
    if (ZA_UNLIKELY(slot * c->size != off || slot >= za_class_info[cls].nslots))
        za_misuse_interior(p);
    uint64_t bit = (uint64_t)1 << slot % 64, *word = &s->bits[slot / 64];
    if (ZA_UNLIKELY(!(*word & bit)))
        za_misuse_double(p);
    __atomic_store_n(word, *word & ~bit, __ATOMIC_RELEASE);
    return slot / 64;
}

/* Puts the first slot back in, and those behind it up to one of another span; says how many. */
ZA_INLINE unsigned za_span_put(uint32_t unit, unsigned cls, void **slots, unsigned n)
{
    struct za_span *s = &za_spans[unit];
    uintptr_t base = za_unit_addr(unit);
    size_t len = (size_t)za_class_info[cls].units << ZA_UNIT_SHIFT;
    unsigned i = 0, hint = s->hint;
    do {
        unsigned word = za_span_clear(s, cls, base, slots[i]);
        hint = word < hint ? word : hint;
    } while (++i < n && (uintptr_t)slots[i] - base < len);
    s->hint = (uint16_t)hint;
    s->nfree = (uint16_t)(s->nfree + i);
    return i;
}

/* Is p the start of a slot that is out? */
bool za_span_is_out(uint32_t unit, unsigned cls, const void *p);
/* Paranoid: I2 of one span. */
void za_span_check(uint32_t unit, unsigned cls);

#endif
