/* SPDX-License-Identifier: MIT */
/*
 * fast -- the fast halves of malloc and free, for those who give them a name.
 *
 * What it does: takes a slot, or a kept run, from what the calling thread has at hand. What it
 * refuses: everything else, which is za_malloc's. Whoever inlines it saves a call and its test for
 * errno.
 *
 * Locks: none.  May sleep: no.  May fault: no.  Allocates: from the thread's cache.
 */
#ifndef ZA_ALLOC_FAST_H
#define ZA_ALLOC_FAST_H

#include "alloc/class.h"
#include "alloc/large.h"
#include "alloc/tcache.h"

/* NULL: nothing there. */
ZA_INLINE void *za_fast_take(unsigned cls)
{
    struct za_tcache *tc = za_tcache;
    void **top = tc->top[cls];
    void *p = ZA_OWN_LOAD(top);
    if (ZA_LIKELY(p != NULL))
        ZA_OWN_STORE(&tc->top[cls], top - 1);
    return p;
}

/* NULL: ask za_malloc. */
ZA_INLINE void *za_fast_malloc(size_t size)
{
    if (ZA_LIKELY(size <= ZA_CLASS_LUT_SIZE))
        return za_fast_take(za_class_lut[(size + 7) >> 3]);
    if (ZA_LIKELY(size <= ZA_CLASS_MAX_SIZE))
        return za_fast_take(za_class_of_medium(size));
    return NULL;
}

/* `top` is below the bin's limit. */
ZA_INLINE void za_fast_put(struct za_tcache *tc, unsigned cls, void **top, void *p)
{
    ZA_OWN_STORE(top + 1, p);
    /* fork may stop us here: slot before top; and so the worker finds it (gather.h) */
    ZA_OWN_RELEASE(&tc->top[cls], top + 1);
}

/*
 * The slot p, if it begins in its span's first unit and the bin has room; false: ask za_free_rest.  Of
 * what is wrong with p nothing is said here.
 */
ZA_INLINE bool za_fast_free(void *p)
{
    size_t off = (uintptr_t)p - za_heap_base;
    if (ZA_UNLIKELY(off >= za_space_used()))
        return false;
    unsigned cls = __atomic_load_n(&za_map[off >> ZA_UNIT_SHIFT], __ATOMIC_RELAXED);
    if (ZA_UNLIKELY(cls - 1 >= ZA_CLASS_LAST ||
                    !za_class_starts(&za_class_cell[cls], off & (ZA_UNIT_SIZE - 1))))
        return false;
    struct za_tcache *tc = za_tcache;
    void **top = tc->top[cls];
    if (ZA_UNLIKELY(ZA_OWN_PEEK(top) == p || top == tc->limit[cls]))
        return false;
    za_fast_put(tc, cls, top, p);
    return true;
}

/*
 * A large block: the run on top of the thread's pocket, if it has the length.
 * size > 0; NULL: ask za_malloc.
 */
ZA_INLINE void *za_fast_large_malloc(size_t size)
{
    struct za_pocket *k = &za_tcache->pocket;
    unsigned n = k->n, length = ZA_OWN_LOAD(&k->length[n]);
    uint32_t unit = k->unit[n];
    size_t usable = (size + za_page_mask) & ~za_page_mask;
    struct za_span *s = &za_spans[unit];
    /* Not 0 units, whatever the size: pocket.h I3. */
    if (length != ((size - 1) >> ZA_UNIT_SHIFT) + 1 || za_map_get(unit) != ZA_MAP_PARKED)
        return NULL;
    za_pocket_pop(k, length);
    /* Less than a unit: not worth a purge (large.c). */
    s->rest = s->size > usable ? ZA_DIRTY : ZA_CLEAN;
    __atomic_store_n(&s->size, usable, __ATOMIC_RELEASE);
    za_map_set(unit, ZA_MAP_LARGE);
    return (void *)za_unit_addr(unit);
}

/*
 * The end of the large block that begins with `unit`; false: ask za_large_free.  A pocket without
 * room is also that of a thread without a cache, or where nothing is kept.
 */
ZA_INLINE bool za_fast_large_free(uint32_t unit)
{
    struct za_span *s = &za_spans[unit];
    struct za_pocket *k = &za_tcache->pocket;
    if (s->units > k->left)
        return false;
    za_map_set(unit, ZA_MAP_PARKED);
    if (s->rest == ZA_DIRTY) {
        __atomic_store_n(&s->size, (size_t)s->units << ZA_UNIT_SHIFT, __ATOMIC_RELEASE);
        s->rest = ZA_CLEAN;
    }
    za_pocket_push(k, unit, s->units);
    return true;
}

#endif
