/* SPDX-License-Identifier: MIT */
/*
 * fast -- the fast half of malloc, for those who give it a name.
 *
 * What it does: takes a slot from the calling thread's cache if there is one.  What it refuses:
 * everything else, which is za_malloc's. Whoever inlines it saves a call and its test for errno.
 *
 * Locks: none.  May sleep: no.  May fault: no.  Allocates: from the thread's cache.
 */
#ifndef ZA_ALLOC_FAST_H
#define ZA_ALLOC_FAST_H

#include "alloc/class.h"
#include "alloc/tcache.h"

/* NULL: nothing there. */
ZA_INLINE void *za_fast_take(unsigned cls)
{
    struct za_bin *b = &za_tcache->bin[cls];
    void **top = b->top;
    void *p = *top;
    if (ZA_LIKELY(p != NULL))
        b->top = top - 1;
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

#endif
