/* SPDX-License-Identifier: MIT */
/*
 * span -- slots in and out of a span's bitmap.
 *
 * Locks: the class's central lock, held by every caller.
 * May sleep: in meta.  May fault: no.  Allocates: bitmaps, from meta.
 */
#include "alloc/span.h"

#include "base/meta.h"

/* --- bitmaps ------------------------------------------------------------- */

/*
 * Bitmaps no span uses, by class, linked by their first word; under the class's central lock.  They
 * stay with their class because the pager may still be reading one.
 */
static uint64_t *spare[ZA_CLASS_LAST + 1];

static uint64_t *bitmap_new(unsigned cls)
{
    const struct za_class_info *in = &za_class_info[cls];
    uint64_t *bits = spare[cls];
    if (bits)
        spare[cls] = (uint64_t *)bits[0];
    else
        bits = za_meta_alloc(in->words * sizeof(uint64_t), sizeof(uint64_t));
    for (unsigned i = 0; bits && i < in->words; i++)
        __atomic_store_n(&bits[i], 0, __ATOMIC_RELAXED);
    if (bits && in->nslots % 64)
        __atomic_store_n(&bits[in->words - 1], ~(uint64_t)0 << in->nslots % 64, __ATOMIC_RELAXED);
    return bits;
}

static void bitmap_end(unsigned cls, uint64_t *bits)
{
    __atomic_store_n(&bits[0], (uint64_t)(uintptr_t)spare[cls], __ATOMIC_RELAXED);
    spare[cls] = bits;
}

/* --- spans --------------------------------------------------------------- */

bool za_span_born(uint32_t unit, unsigned cls)
{
    const struct za_class_info *in = &za_class_info[cls];
    struct za_span *s = &za_spans[unit];
    uint64_t *bits = bitmap_new(cls);
    if (!bits)
        return false;
    s->nfree = in->nslots;
    s->hint = 0;
    s->bucket = ZA_SPAN_FULL;
    for (uint32_t i = 1; i < in->units; i++)
        __atomic_store_n(&za_spans[unit + i].head, unit, __ATOMIC_RELAXED);
    __atomic_store_n(&s->bits, bits, __ATOMIC_RELEASE);
    za_map_set(unit, cls);
    for (uint32_t i = 1; i < in->units; i++)
        za_map_set(unit + i, ZA_MAP_TAIL + cls);
    return true;
}

void za_span_dies(uint32_t unit, unsigned cls)
{
    const struct za_class_info *in = &za_class_info[cls];
    struct za_span *s = &za_spans[unit];
    ZA_DASSERT(s->nfree == in->nslots);
    uint64_t *bits = s->bits;
    for (uint32_t i = 0; i < in->units; i++)
        za_map_set(unit + i, ZA_MAP_NONE);
    __atomic_store_n(&s->bits, NULL, __ATOMIC_RELEASE);
    bitmap_end(cls, bits);
}

/* --- slots --------------------------------------------------------------- */

/* Takes up to `want` clear bits of one word, lowest first; `at` is the address of its first slot.
 */
static unsigned take_word(uint64_t *word, uintptr_t at, uint32_t size, void **end, unsigned want)
{
    uint64_t w = *word, in = ~w;
    unsigned n = 0;
    while (in && n < want) {
        *--end = (void *)(at + (uintptr_t)(unsigned)__builtin_ctzl(in) * size);
        in &= in - 1;
        n++;
    }
    /* Everything that was clear and is not left over is out now. */
    __atomic_store_n(word, ~in, __ATOMIC_RELEASE);
    return n;
}

unsigned za_span_take(uint32_t unit, unsigned cls, void **end, unsigned want)
{
    struct za_span *s = &za_spans[unit];
    uint32_t size = za_class_cell[cls].size;
    uintptr_t base = za_unit_addr(unit);
    unsigned i = s->hint, n = 0;
    want = (unsigned)za_min(want, s->nfree);
    while (n < want) {
        ZA_DASSERT(i < za_class_info[cls].words);
        n += take_word(&s->bits[i], base + (uintptr_t)i * 64 * size, size, end - n, want - n);
        if (n < want)
            i++;
    }
    s->hint = (uint16_t)i;
    s->nfree = (uint16_t)(s->nfree - n);
    return n;
}

bool za_span_is_out(uint32_t unit, unsigned cls, const void *p)
{
    const struct za_class_cell *c = &za_class_cell[cls];
    uint32_t off = (uint32_t)((uintptr_t)p - za_unit_addr(unit));
    if (!za_class_starts(c, off) || za_class_slot(c, off) >= za_class_info[cls].nslots)
        return false;
    uint32_t slot = za_class_slot(c, off);
    return __atomic_load_n(&za_spans[unit].bits[slot / 64], __ATOMIC_RELAXED) >> slot % 64 & 1;
}

void za_span_check(uint32_t unit, unsigned cls)
{
    const struct za_class_info *in = &za_class_info[cls];
    const struct za_span *s = &za_spans[unit];
    unsigned out = 0;
    for (unsigned i = 0; i < in->words; i++)
        out += (unsigned)__builtin_popcountl(s->bits[i]);
    ZA_ASSERT(out == in->words * 64u - s->nfree);
    ZA_ASSERT(s->units == in->units);
    ZA_ASSERT(s->bucket == za_span_bucket(cls, s->nfree));
    for (unsigned i = 0; i < s->hint; i++)
        ZA_ASSERT(!~s->bits[i]);
    for (uint32_t i = 1; i < in->units; i++) {
        ZA_ASSERT(za_spans[unit + i].head == unit);
        ZA_ASSERT(za_map_get(unit + i) == ZA_MAP_TAIL + cls);
    }
}
