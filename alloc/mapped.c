/* SPDX-License-Identifier: MIT */
/*
 * mapped -- see mapped.h.
 *
 * Locks: those of large blocks.  May sleep: yes.  May fault: see mapped.h.  Allocates: runs.
 */
#include "alloc/mapped.h"

#include "alloc/large.h"
#include "alloc/life.h"
#include "alloc/span.h"
#include "base/stat.h"
#include "os/os.h"

#define HELD_SHARE 2u /* of the reservation: malloc needs addresses, too */

static size_t held; /* atomic: bytes */

static void weigh(size_t more)
{
    size_t now = __atomic_add_fetch(&held, more, __ATOMIC_RELAXED);
    za_stat_set(ZA_STAT_MAPPED_HELD, now);
}

void *za_mapped_new(size_t len)
{
    size_t now = __atomic_load_n(&held, __ATOMIC_RELAXED);
    if (!za_alloc_ready() || len > za_heap_size / HELD_SHARE ||
        now + len > za_heap_size / HELD_SHARE)
        return NULL;
    void *p = za_large_calloc(len);
    if (!p)
        return NULL;
    uint32_t unit = (uint32_t)(((uintptr_t)p - za_heap_base) >> ZA_UNIT_SHIFT);
    weigh(za_spans[unit].size);
    za_map_set(unit, ZA_MAP_MAPPED);
    za_stat_add(ZA_STAT_MAPPED_BLOCKS, 1);
    return p;
}

static bool is_mapped(unsigned byte)
{
    return byte == ZA_MAP_MAPPED || byte == ZA_MAP_OVERLAID;
}

/* The block that an address lies in; ZA_NO_UNIT: in none. */
static uint32_t head_of(uintptr_t addr)
{
    uint32_t head = za_large_head((addr - za_heap_base) >> ZA_UNIT_SHIFT);
    return head != ZA_NO_UNIT && is_mapped(za_map_get(head)) ? head : ZA_NO_UNIT;
}

/* Where the next block begins. */
static uintptr_t next_block(uintptr_t addr, uintptr_t end)
{
    uintptr_t unit = za_align_up(addr + 1, ZA_UNIT_SIZE);
    while (unit < end && !is_mapped(za_map_get((unit - za_heap_base) >> ZA_UNIT_SHIFT)))
        unit += ZA_UNIT_SIZE;
    return za_min(unit, end);
}

enum za_mapped_part za_mapped_piece(uintptr_t addr, uintptr_t end, size_t *len)
{
    uint32_t head = head_of(addr);
    if (head == ZA_NO_UNIT) {
        *len = next_block(addr, end) - addr;
        return ZA_MAPPED_NONE;
    }
    const struct za_span *s = &za_spans[head];
    uintptr_t begin = za_unit_addr(head), behind = begin + ((size_t)s->units << ZA_UNIT_SHIFT);
    *len = za_min(end, behind) - addr;
    if (za_map_get(head) == ZA_MAP_OVERLAID)
        return ZA_MAPPED_OVERLAID;
    return addr == begin && *len >= s->size ? ZA_MAPPED_WHOLE : ZA_MAPPED_PART;
}

void za_mapped_free(uintptr_t addr)
{
    uint32_t unit = head_of(addr);
    weigh(-za_spans[unit].size);
    za_map_set(unit, ZA_MAP_LARGE);
    za_large_free_empty((void *)addr);
}

void za_mapped_shrink(uintptr_t addr, size_t len)
{
    struct za_span *s = &za_spans[head_of(addr)];
    weigh(len - s->size);
    __atomic_store_n(&s->size, len, __ATOMIC_RELEASE);
}

void za_mapped_overlay(uintptr_t addr, uintptr_t end)
{
    for (size_t len; addr < end; addr += len) {
        enum za_mapped_part part = za_mapped_piece(addr, end, &len);
        if (part == ZA_MAPPED_PART || part == ZA_MAPPED_WHOLE)
            za_map_set(head_of(addr), ZA_MAP_OVERLAID);
    }
}
