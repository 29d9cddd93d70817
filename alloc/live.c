/* SPDX-License-Identifier: MIT */
/*
 * live -- liveness of a page, read without a lock while the program allocates and frees.
 *
 * Nothing read here is trusted to be of one moment: indices are bounded before use, a bitmap is
 * read only within what its class needs (a class's bitmaps are never used for anything else), and
 * what decided is read again; if it changed the page is called live, which costs some compression
 * and is never wrong.
 *
 * Locks: none.  May sleep: no (decay: see life.c).  May fault: no.  Allocates: nothing.
 */
#include "alloc/live.h"

#include <string.h>

#include "alloc/alloc.h"
#include "alloc/gather.h"
#include "alloc/large.h"
#include "alloc/span.h"
#include "base/conf.h"

#define GRANULE 16u
#define LOOK_AGAIN_NS ZA_NS_PER_S /* with nothing to give back: no free tells the worker */

static size_t all_live(size_t page_size, uint64_t *mask)
{
    size_t n = page_size / GRANULE;
    for (size_t i = 0; i < n; i++)
        mask[i / 64] |= (uint64_t)1 << i % 64;
    return n;
}

/* Sets the granules of [from, to), offsets in the page. */
static void mark(size_t from, size_t to, uint64_t *mask)
{
    for (size_t g = from / GRANULE; g < (to + GRANULE - 1) / GRANULE; g++)
        mask[g / 64] |= (uint64_t)1 << g % 64;
}

static size_t count(size_t page_size, const uint64_t *mask)
{
    size_t n = 0;
    for (size_t i = 0; i < page_size / GRANULE / 64; i++)
        n += (size_t)__builtin_popcountl(mask[i]);
    return n;
}

/* Marks the slots of class cls that are out and reach into [start, start + page_size), offsets in
 * the span. */
static void mark_slots(unsigned cls, const uint64_t *bits, size_t start, size_t page_size,
                       uint64_t *mask)
{
    size_t size = za_class_cell[cls].size, end = start + page_size;
    size_t last = za_min((end - 1) / size + 1, za_class_info[cls].nslots);
    for (size_t slot = start / size; slot < last; slot++) {
        if (!(__atomic_load_n(&bits[slot / 64], __ATOMIC_ACQUIRE) >> slot % 64 & 1))
            continue;
        size_t from = slot * size, to = from + size;
        mark(za_max(from, start) - start, za_min(to, end) - start, mask);
    }
}

static size_t live_in_span(uintptr_t page, size_t page_size, uint64_t *mask)
{
    size_t unit = (page - za_heap_base) >> ZA_UNIT_SHIFT;
    unsigned byte = za_map_get(unit), cls = za_map_class(byte);
    if (!cls)
        return all_live(page_size, mask);
    size_t head = za_span_head(unit, byte);
    if (head > unit || unit - head >= za_class_info[cls].units || za_map_get(head) != cls)
        return all_live(page_size, mask);
    const uint64_t *bits = za_span_bits(&za_spans[head]);
    if (!bits)
        return all_live(page_size, mask);
    mark_slots(cls, bits, page - za_unit_addr(head), page_size, mask);
    /* The words were loaded with acquire: these loads come after them. */
    if (za_map_get(unit) != byte || za_map_get(head) != cls ||
        za_span_bits(&za_spans[head]) != bits)
        return all_live(page_size, mask);
    return count(page_size, mask);
}

static size_t live_in_large(uintptr_t page, size_t page_size, uint64_t *mask)
{
    uint32_t head = za_large_head((page - za_heap_base) >> ZA_UNIT_SHIFT);
    if (head == ZA_NO_UNIT)
        return all_live(page_size, mask);
    if (za_map_sleeps(za_map_get(head)))
        return 0;
    size_t size = __atomic_load_n(&za_spans[head].size, __ATOMIC_ACQUIRE);
    return page - za_unit_addr(head) < size ? all_live(page_size, mask) : 0;
}

static size_t live(uintptr_t page, size_t page_size, uint64_t *mask)
{
    size_t off = page - za_heap_base;
    if (off >= __atomic_load_n(&za_heap_used, __ATOMIC_ACQUIRE))
        return 0;
    unsigned byte = za_map_get(off >> ZA_UNIT_SHIFT);
    if (byte == ZA_MAP_NONE || za_map_sleeps(byte))
        return 0;
    if (za_map_lives(byte) || byte >= ZA_MAP_LARGE_TAIL)
        return live_in_large(page, page_size, mask);
    return live_in_span(page, page_size, mask);
}

/* Slots of one class are alike; of large blocks, those that share a number by chance may not be. */
static uint8_t kind(uintptr_t page)
{
    size_t unit = (page - za_heap_base) >> ZA_UNIT_SHIFT;
    if (page - za_heap_base >= __atomic_load_n(&za_heap_used, __ATOMIC_ACQUIRE))
        return ZA_MAP_NONE;
    unsigned cls = za_map_class(za_map_get(unit));
    return (uint8_t)(cls ? cls : ZA_MAP_TAIL + za_large_head(unit) % ZA_MAP_TAIL);
}

static uint64_t decay(uint64_t now_ns)
{
    (void)za_gather(now_ns);
    za_alloc_decay(now_ns);
    uint64_t due = za_conf.torture ? now_ns : za_alloc_decay_due(now_ns);
    return due == UINT64_MAX ? now_ns + LOOK_AGAIN_NS : due;
}

const struct za_region_ops za_alloc_region_ops = {
    .live = live, .decay = decay, .kind = kind, .stats = za_alloc_stats};
