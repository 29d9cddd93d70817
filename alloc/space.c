/* SPDX-License-Identifier: MIT */
/*
 * space -- reserves the heap and its flat arrays, and commits them in step.
 *
 * Locks: the page heap's, held by the caller of za_space_grow.  May sleep: mprotect.  May fault:
 * no. Allocates: address space.
 */
#include "alloc/space.h"

#include "alloc/span.h"
#include "base/meta.h"
#include "base/remedy.h"
#include "os/os.h"

#define RESERVE_DEFAULT ((size_t)1 << 40)
#define RESERVE_LEAST (64 * ZA_MIB)

uintptr_t za_heap_base;
size_t za_heap_size;
size_t za_heap_used;
uint8_t *za_map;
struct za_span *za_spans;

static size_t map_committed;   /* bytes of the class map committed; read by za_meta_chunk */
static size_t spans_committed; /* bytes of the span records committed; likewise */

static size_t wanted(size_t want)
{
    uint64_t limit = za_os->address_limit();
    if (!want) {
        want = za_max(RESERVE_DEFAULT, (size_t)za_os->memory_total() * 8);
        if (limit != UINT64_MAX && !za_without(D12_ADDRESS_LIMIT))
            want = za_min(want, (size_t)limit / 2);
    }
    return za_max(za_align_down(want, ZA_CHUNK_SIZE), RESERVE_LEAST);
}

/* All three or none. */
static bool reserve_all(size_t size)
{
    void *heap, *map, *spans;
    size_t units = size >> ZA_UNIT_SHIFT, page = za_os->page_size;
    size_t map_bytes = za_align_up(units, page);
    if (za_os->reserve(&heap, size, ZA_CHUNK_SIZE) < 0)
        return false;
    if (za_os->reserve(&map, map_bytes, page) < 0)
        goto no_map;
    if (za_os->reserve(&spans, za_align_up(units * sizeof(struct za_span), page), page) < 0)
        goto no_spans;
    za_heap_base = (uintptr_t)heap;
    za_map = map;
    za_spans = spans;
    za_heap_size = size;
    return true;
no_spans:
    (void)za_os->unmap(map, map_bytes);
no_map:
    (void)za_os->unmap(heap, size);
    return false;
}

bool za_space_init(size_t want)
{
    if (za_heap_size)
        return true;
    for (size_t size = wanted(want); size >= RESERVE_LEAST;
         size = za_without(D12_ADDRESS_LIMIT) ? 0 : za_align_down(size / 2, ZA_CHUNK_SIZE))
        if (reserve_all(size)) {
            za_meta_note(za_map, &map_committed);
            za_meta_note(za_spans, &spans_committed);
            return true;
        }
    return false;
}

/* Extends a committed prefix of an array to at least `bytes`. */
static int commit_to(void *array, size_t *committed, size_t bytes)
{
    bytes = za_align_up(bytes, za_os->page_size);
    if (bytes <= *committed)
        return 0;
    int r = za_os->commit((char *)array + *committed, bytes - *committed);
    if (r >= 0)
        __atomic_store_n(committed, bytes, __ATOMIC_RELAXED);
    return r;
}

int za_space_grow(size_t bytes)
{
    size_t used = za_space_used(), units = (used + bytes) >> ZA_UNIT_SHIFT;
    int r = commit_to(za_map, &map_committed, units);
    if (r >= 0)
        r = commit_to(za_spans, &spans_committed, units * sizeof(struct za_span));
    if (r >= 0)
        r = za_os->commit((void *)(za_heap_base + used), bytes);
    if (r >= 0)
        __atomic_store_n(&za_heap_used, used + bytes, __ATOMIC_RELEASE);
    return r < 0 ? r : 0;
}
