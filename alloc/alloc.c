/* SPDX-License-Identifier: MIT */
/*
 * alloc -- the public face: the fast paths of malloc and free, and what is built on them.
 *
 * The fast paths take no lock, write nothing but the thread's own cache, and contain no question
 * whether anything is initialised: before that, sizes have a class whose bin is empty and no
 * pointer lies below za_heap_used.
 *
 * Locks: none.  May sleep: in the slow paths.  May fault: on the program's bytes in calloc and
 * realloc, with no lock held. Allocates: that is its business.
 */
#include "alloc/alloc.h"

#include <string.h>

#include "alloc/fast.h"
#include "alloc/large.h"
#include "alloc/life.h"
#include "alloc/misuse.h"
#include "alloc/tcache.h"

#define ALIGN_PLAIN 16u /* what every block of 16 bytes or more has */

void (*za_free_foreign)(void *p);
void *(*za_realloc_foreign)(void *p, size_t size);
size_t (*za_usable_foreign)(const void *p);
bool za_foreign_maps;

/* --- malloc -------------------------------------------------------------- */

/* The class is 0 when the allocator has just been started by this very call. */
static void *ZA_NOINLINE malloc_slow(size_t size)
{
    return za_alloc_ready() ? za_tcache_refill(za_class_of(size)) : NULL;
}

ZA_INLINE void *malloc_small(size_t size, unsigned cls)
{
    void *p = za_fast_take(cls);
    return ZA_LIKELY(p != NULL) ? p : malloc_slow(size);
}

void *za_malloc(size_t size)
{
    if (ZA_LIKELY(size <= ZA_CLASS_LUT_SIZE))
        return malloc_small(size, za_class_lut[(size + 7) >> 3]);
    if (ZA_LIKELY(size <= ZA_CLASS_MAX_SIZE))
        return malloc_small(size, za_class_of_medium(size));
    return za_large_malloc(size);
}

void *za_calloc(size_t n, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes) || bytes > ZA_MALLOC_MAX)
        return NULL;
    if (bytes > ZA_CLASS_MAX_SIZE)
        return za_large_calloc(bytes);
    void *p = malloc_small(bytes, za_class_of(bytes));
    return p ? memset(p, 0, bytes) : NULL;
}

static void *memalign_small(size_t align, size_t size)
{
    unsigned cls = za_class_of_aligned(align, size);
    return malloc_small(za_class_cell[cls].size, cls);
}

void *za_memalign(size_t align, size_t size)
{
    if (size > ZA_MALLOC_MAX || !za_alloc_ready())
        return NULL;
    if (align <= ALIGN_PLAIN)
        return za_malloc(za_max(size, align));
    if (align <= ZA_CLASS_MAX_SIZE && size <= ZA_CLASS_MAX_SIZE)
        return memalign_small(align, size);
    return za_large_alloc(za_max(size, 1), align);
}

/* --- free ---------------------------------------------------------------- */

static void ZA_NOINLINE ZA_COLD free_twice(void *p)
{
    za_misuse_double(p);
}

/* What za_fast_free refuses, and slots that begin behind the first unit of their span. */
static void free_small(unsigned cls, void *p)
{
    struct za_tcache *tc = za_tcache;
    void **top = tc->top[cls];
    if (ZA_UNLIKELY(ZA_OWN_PEEK(top) == p)) {
        free_twice(p);
        return;
    }
    if (ZA_UNLIKELY(top == tc->limit[cls])) {
        za_tcache_flush(cls, p);
        return;
    }
    za_fast_put(tc, cls, top, p);
}

/* Ours or not, but not a block of a thread's cache. */
static void free_outside(void *p)
{
    if (za_owns(p))
        za_misuse_nothing(p);
    if (p && za_free_foreign)
        za_free_foreign(p);
}

/* A block of another allocator that has its heap from our mmap? */
static bool in_mapping(size_t unit)
{
    uint32_t head = za_foreign_maps ? za_large_head(unit) : ZA_NO_UNIT;
    unsigned byte = head == ZA_NO_UNIT ? ZA_MAP_NONE : za_map_get(head);
    return byte == ZA_MAP_MAPPED || byte == ZA_MAP_SPOILT;
}

static void free_slot(size_t unit, unsigned byte, void *p)
{
    unsigned cls = za_map_class(byte);
    uintptr_t in_span = (uintptr_t)p - za_unit_addr(za_span_head(unit, byte));
    if (ZA_UNLIKELY(!za_class_starts(&za_class_cell[cls], (uint32_t)in_span)))
        za_misuse_interior(p);
    free_small(cls, p);
}

static void ZA_NOINLINE free_large(size_t unit, void *p)
{
    if (in_mapping(unit))
        za_free_foreign(p);
    else
        za_large_free(p);
}

void za_free_rest(void *p)
{
    size_t off = (uintptr_t)p - za_heap_base, unit = off >> ZA_UNIT_SHIFT;
    if (off >= za_space_used()) {
        free_outside(p);
        return;
    }
    unsigned byte = za_map_get(unit);
    if (za_map_class(byte))
        free_slot(unit, byte, p);
    else if (byte != ZA_MAP_LARGE || ((uintptr_t)p & (ZA_UNIT_SIZE - 1)) ||
             !za_fast_large_free((uint32_t)unit))
        free_large(unit, p);
}

void za_free(void *p)
{
    if (ZA_UNLIKELY(!za_fast_free(p)))
        za_free_rest(p);
}

/* --- sizes --------------------------------------------------------------- */

bool za_owns(const void *p)
{
    return (uintptr_t)p - za_heap_base < za_heap_size;
}

/* The class of the span p lies in; 0: in none. */
static unsigned class_at(const void *p)
{
    return za_map_class(za_map_get(((uintptr_t)p - za_heap_base) >> ZA_UNIT_SHIFT));
}

size_t za_usable(const void *p)
{
    size_t off = (uintptr_t)p - za_heap_base;
    if (!p)
        return 0;
    if (off >= za_space_used())
        return za_usable_foreign && off >= za_heap_size ? za_usable_foreign(p) : 0;
    unsigned cls = class_at(p);
    if (cls)
        return za_class_cell[cls].size;
    return in_mapping(off >> ZA_UNIT_SHIFT) ? za_usable_foreign(p) : za_large_usable(p);
}

size_t za_good_size(size_t size)
{
    if (!za_alloc_ready() || size > ZA_MALLOC_MAX)
        return 0;
    if (size <= ZA_CLASS_MAX_SIZE)
        return za_class_cell[za_class_of(size)].size;
    return za_large_good_size(size);
}

/* --- realloc ------------------------------------------------------------- */

static void *move_to(void *p, size_t old, size_t size)
{
    void *to = za_malloc(size);
    if (!to)
        return NULL;
    memcpy(to, p, za_min(old, size));
    za_free(p);
    return to;
}

/* What free would find wrong with p, before anything is done with it. */
static void check_slot(unsigned cls, void *p)
{
    size_t unit = ((uintptr_t)p - za_heap_base) >> ZA_UNIT_SHIFT;
    uintptr_t head = za_unit_addr(za_span_head(unit, za_map_get(unit)));
    if (!za_class_starts(&za_class_cell[cls], (uint32_t)((uintptr_t)p - head)))
        za_misuse_interior(p);
    if (ZA_OWN_PEEK(za_tcache->top[cls]) == p)
        za_misuse_double(p);
}

/* Is that a large block of just so many pages, and is it to be one? */
ZA_INLINE bool is_of_size(const void *p, size_t size)
{
    size_t off = (uintptr_t)p - za_heap_base, unit = off >> ZA_UNIT_SHIFT;
    return size > ZA_CLASS_MAX_SIZE && za_map_get(unit) == ZA_MAP_LARGE &&
           !(off & (ZA_UNIT_SIZE - 1)) &&
           ((size + za_page_mask) & ~za_page_mask) == za_spans[unit].size;
}

static void *realloc_outside(void *p, size_t size)
{
    if (za_owns(p))
        za_misuse_nothing(p);
    return za_realloc_foreign ? za_realloc_foreign(p, size) : NULL;
}

void *za_realloc(void *p, size_t size)
{
    if (!p)
        return za_malloc(size);
    if ((uintptr_t)p - za_heap_base >= za_space_used())
        return realloc_outside(p, size);
    if (size > ZA_MALLOC_MAX)
        return NULL;
    if (is_of_size(p, size))
        return p;
    unsigned cls = class_at(p);
    if (cls)
        check_slot(cls, p);
    else if (in_mapping(((uintptr_t)p - za_heap_base) >> ZA_UNIT_SHIFT))
        return za_realloc_foreign(p, size);
    else if (!za_large_usable(p))
        za_large_misuse(p);
    if (cls && size <= ZA_CLASS_MAX_SIZE && za_class_of(size) == cls)
        return p;
    if (cls || size <= ZA_CLASS_MAX_SIZE)
        return move_to(p, za_usable(p), size);
    return za_large_realloc(p, size);
}
