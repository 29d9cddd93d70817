/* SPDX-License-Identifier: MIT */
/*
 * mapped -- see mapped.h.
 *
 * What is nobody's goes to `fresh` first, a stack onto which anybody pushes, and from there to the lists,
 * by whoever takes from them, under the lock.  What is spoilt there stays behind, and is left out by
 * whoever comes by it.
 *
 * Locks: ZA_RANK_CENTRAL.  May sleep: yes.  May fault: see mapped.h.  Allocates: runs.
 */
#include "alloc/mapped.h"

#include <string.h>

#include "alloc/large.h"
#include "alloc/life.h"
#include "alloc/span.h"
#include "base/conf.h"
#include "base/lock.h"
#include "base/stat.h"
#include "os/os.h"
#include "pager/pager.h"

#define HELD_SHARE 2u /* of the reservation: malloc needs addresses, too */
#define LOST_MOST ((size_t)1 << 30)
#define DATA_SHARE 8u
#define AUTO_FROM (16 * ZA_MIB)
#define IDLE_LEAST (64 * ZA_MIB)
#define STEPS_SHIFT 2u /* four lists between two powers of two */
#define LISTS (32u << STEPS_SHIFT)
#define LOOKS 64u      /* at blocks of a list */
#define SPARE_SHARE 4u /* a block may be longer than what is asked for by this part of it */
#define WARM_UNITS ((2 * ZA_MIB) >> ZA_UNIT_SHIFT)
#define WARM_MOST (8 * ZA_MIB)
#define YOUNG_SHARE 2u /* of cold_ms: for so long nothing of a block can be in the store */

/* Lock key: (l) lock; (a) atomic. */
static struct za_lock lock = ZA_LOCK_INIT(ZA_RANK_CENTRAL);
static uint32_t lists[LISTS]; /* (l) by log2 of their units; a unit + 1, 0: none */
static uint32_t
    fresh; /* (a) likewise: those that are in no list yet; only pushed, or taken whole */
static size_t held, lost; /* (a) bytes */
static size_t idle;       /* (a) bytes of UNMAPPED ones */
static size_t warm;       /* (a) bytes of those that are kept with their pages */
static size_t mapped;     /* (a) bytes, with `mmap:auto`, until they are enough */

/* Those of a list differ by less than a quarter. */
static unsigned list_of(uint32_t units)
{
    unsigned lg = 31u - (unsigned)__builtin_clz(units);
    uint64_t behind = ((uint64_t)units << STEPS_SHIFT >> lg) - (1u << STEPS_SHIFT);
    return (lg << STEPS_SHIFT) + (unsigned)behind;
}

static size_t bytes_of(uint32_t unit)
{
    return (size_t)za_spans[unit].units << ZA_UNIT_SHIFT;
}

static uint32_t unit_of(uintptr_t addr)
{
    return (uint32_t)((addr - za_heap_base) >> ZA_UNIT_SHIFT);
}

static void weigh(size_t more)
{
    za_stat_set(ZA_STAT_MAPPED_HELD, __atomic_add_fetch(&held, more, __ATOMIC_RELAXED));
}

void za_mapped_lose(size_t len)
{
    za_stat_set(ZA_STAT_MAPPED_LOST, __atomic_add_fetch(&lost, len, __ATOMIC_RELAXED));
}

/* ---- which --------------------------------------------------------------------------------------
 */

static bool has_mapped_much(size_t len)
{
    return __atomic_load_n(&mapped, __ATOMIC_RELAXED) > AUTO_FROM ||
           __atomic_add_fetch(&mapped, za_min(len, AUTO_FROM + 1), __ATOMIC_RELAXED) > AUTO_FROM;
}

bool za_mapped_wanted(size_t len)
{
    if (za_conf.mmap != ZA_MMAP_AUTO)
        return za_conf.mmap == ZA_MMAP_TRUE;
    return za_conf.compress && za_conf.backend != ZA_BACKEND_NONE && has_mapped_much(len) &&
           !za_pager_given_up();
}

/* ---- birth ---------------------------------------------------------------- */

static bool change(uint32_t unit, uint8_t from, uint8_t to)
{
    return __atomic_compare_exchange_n(&za_map[unit], &from, to, false, __ATOMIC_ACQ_REL,
                                       __ATOMIC_ACQUIRE);
}

/* One that is nobody's becomes somebody's, or is spoilt. */
static bool leave(uint32_t unit)
{
    if (!change(unit, ZA_MAP_UNMAPPED, ZA_MAP_SPOILT))
        return false;
    (void)__atomic_sub_fetch(&idle, bytes_of(unit), __ATOMIC_RELAXED);
    return true;
}

static void sort_fresh_locked(void)
{
    uint32_t next, found = __atomic_exchange_n(&fresh, 0, __ATOMIC_ACQUIRE);
    for (; found; found = next) {
        struct za_span *s = &za_spans[found - 1];
        uint32_t *list = &lists[list_of(s->units)];
        next = s->next;
        s->next = *list;
        *list = found;
    }
}

/* One of the list that is long enough and not much too long; 0: none, else its unit + 1. */
static uint32_t take_from(uint32_t *list, uint32_t units)
{
    for (unsigned i = 0; *list && i < LOOKS; i++) {
        uint32_t found = *list;
        struct za_span *s = &za_spans[found - 1];
        bool fits = s->units >= units && s->units - units <= units / SPARE_SHARE;
        if (!fits && za_map_get(found - 1) == ZA_MAP_UNMAPPED) {
            list = &s->next;
            continue;
        }
        *list = s->next;
        if (fits && leave(found - 1)) /* I4 */
            return found;
    }
    return 0;
}

static uint32_t take(uint32_t units)
{
    unsigned first = list_of(units);
    if (!za_lock_soon(&lock))
        return 0;
    sort_fresh_locked();
    uint32_t found = take_from(&lists[first], units);
    if (!found && first + 1 < LISTS)
        found = take_from(&lists[first + 1], units);
    za_unlock(&lock);
    return found;
}

/* The kernel counts what the program has unmapped, and we keep, as the program's: against RLIMIT_DATA. */
static bool may_waste(void)
{
    size_t kept =
        __atomic_load_n(&idle, __ATOMIC_RELAXED) + __atomic_load_n(&lost, __ATOMIC_RELAXED);
    return kept <= za_os->data_limit() / DATA_SHARE;
}

/*
 * A new one, zeros to the end of its last unit.  None where as much as the program holds lies idle: it maps
 * what fits into nothing that it has unmapped, and would go on until there are no addresses.
 */
static uint32_t make(uint32_t units)
{
    size_t most = za_max(__atomic_load_n(&held, __ATOMIC_RELAXED), IDLE_LEAST);
    if (__atomic_load_n(&idle, __ATOMIC_RELAXED) > most || !may_waste())
        return 0;
    void *p = za_large_zeros(units);
    return p ? unit_of((uintptr_t)p) + 1 : 0;
}

static bool may_serve(size_t len)
{
    size_t most = za_heap_size / HELD_SHARE, now = __atomic_load_n(&held, __ATOMIC_RELAXED);
    return len <= most && now + len <= most &&
           __atomic_load_n(&lost, __ATOMIC_RELAXED) <= LOST_MOST;
}

static bool is_young(const struct za_span *s)
{
    return za_os->now() - s->since < za_conf.cold_ms * ZA_NS_PER_MS / YOUNG_SHARE;
}

static void cool(uint32_t unit)
{
    struct za_span *s = &za_spans[unit];
    if (s->size)
        za_stat_set(ZA_STAT_MAPPED_WARM,
                    __atomic_sub_fetch(&warm, bytes_of(unit), __ATOMIC_RELAXED));
}

/* One that was kept with its pages is all zeros again; clearing what is resident costs less than faults. */
static void clear(uint32_t unit)
{
    struct za_span *s = &za_spans[unit];
    void *p = (void *)za_unit_addr(unit);
    if (!s->size)
        return;
    if (is_young(s) || za_pager_discard_soon((uintptr_t)p, bytes_of(unit)) < 0)
        memset(p, 0, s->size);
    cool(unit);
}

void *za_mapped_new(size_t len)
{
    if (!za_alloc_ready() || !may_serve(len) || za_pager_amid())
        return NULL;
    uint32_t units = (uint32_t)(za_align_up(len, ZA_UNIT_SIZE) >> ZA_UNIT_SHIFT);
    uint32_t found = take(units);
    if (found)
        clear(found - 1);
    else
        found = make(units);
    if (!found)
        return NULL;
    uint32_t unit = found - 1;
    weigh(bytes_of(unit));
    za_spans[unit].since = za_os->now();
    za_spans[unit].left = 0;
    __atomic_store_n(&za_spans[unit].size, za_align_up(len, za_os->page_size), __ATOMIC_RELEASE);
    za_map_set(unit, ZA_MAP_MAPPED);
    za_stat_add(ZA_STAT_MAPPED_BLOCKS, 1);
    return (void *)za_unit_addr(unit);
}

/* ---- which is what -------------------------------------------------------- */

static bool is_mapped(unsigned byte)
{
    return byte == ZA_MAP_MAPPED || byte == ZA_MAP_UNMAPPED || byte == ZA_MAP_SPOILT;
}

/* The block that an address lies in; ZA_NO_UNIT: in none. */
static uint32_t head_of(uintptr_t addr)
{
    uint32_t head = za_large_head(unit_of(addr));
    return head != ZA_NO_UNIT && is_mapped(za_map_get(head)) ? head : ZA_NO_UNIT;
}

/* Where the next block begins. */
static uintptr_t next_block(uintptr_t addr, uintptr_t end)
{
    uintptr_t unit = za_align_up(addr + 1, ZA_UNIT_SIZE);
    while (unit < end && !is_mapped(za_map_get(unit_of(unit))))
        unit += ZA_UNIT_SIZE;
    return za_min(unit, end);
}

/* Such a block is one for ever, so that what is read of it fits together. */
enum za_mapped_part za_mapped_piece(uintptr_t addr, uintptr_t end, size_t *len)
{
    uint32_t head = head_of(addr);
    if (head == ZA_NO_UNIT) {
        *len = next_block(addr, end) - addr;
        return ZA_MAPPED_NONE;
    }
    uintptr_t begin = za_unit_addr(head), behind = begin + bytes_of(head);
    *len = za_min(end, behind) - addr;
    switch (za_map_get(head)) {
    case ZA_MAP_UNMAPPED: return ZA_MAPPED_GONE;
    case ZA_MAP_SPOILT: return ZA_MAPPED_SPOILT;
    default: break;
    }
    if (addr != begin || *len < __atomic_load_n(&za_spans[head].size, __ATOMIC_ACQUIRE))
        return ZA_MAPPED_PART;
    *len = behind - addr;
    return ZA_MAPPED_WHOLE;
}

/* ---- end ------------------------------------------------------------------ */

void za_mapped_lose_part(uintptr_t addr, size_t len)
{
    uint32_t head = head_of(addr);
    if (head == ZA_NO_UNIT)
        return;
    za_mapped_lose(len);
    (void)__atomic_add_fetch(&za_spans[head].left, (uint32_t)(len / za_os->page_size),
                             __ATOMIC_RELAXED);
}

bool za_mapped_claim(uintptr_t addr)
{
    uint32_t unit = unit_of(addr);
    if (!change(unit, ZA_MAP_MAPPED, ZA_MAP_SPOILT))
        return false;
    weigh(-bytes_of(unit));
    uint32_t parts = __atomic_exchange_n(&za_spans[unit].left, 0, __ATOMIC_RELAXED);
    if (parts)
        za_mapped_lose(-(parts * za_os->page_size));
    return true;
}

static void set_free(uint32_t unit)
{
    uint32_t top = __atomic_load_n(&fresh, __ATOMIC_RELAXED);
    (void)__atomic_add_fetch(&idle, bytes_of(unit), __ATOMIC_RELAXED);
    za_map_set(unit, ZA_MAP_UNMAPPED);
    do
        za_spans[unit].next = top;
    while (!__atomic_compare_exchange_n(&fresh, &top, unit + 1, false, __ATOMIC_RELEASE,
                                        __ATOMIC_RELAXED));
}

bool za_mapped_keep(uintptr_t addr)
{
    uint32_t unit = unit_of(addr);
    struct za_span *s = &za_spans[unit];
    size_t len = bytes_of(unit);
    if (s->units > WARM_UNITS || !za_pager_active() || !is_young(s) ||
        __atomic_load_n(&warm, __ATOMIC_RELAXED) + len > WARM_MOST)
        return false;
    za_stat_set(ZA_STAT_MAPPED_WARM, __atomic_add_fetch(&warm, len, __ATOMIC_RELAXED));
    s->since = za_os->now();
    set_free(unit);
    return true;
}

void za_mapped_end(uintptr_t addr)
{
    __atomic_store_n(&za_spans[unit_of(addr)].size, 0, __ATOMIC_RELEASE);
    set_free(unit_of(addr));
}

void za_mapped_shrink(uintptr_t addr, size_t len)
{
    __atomic_store_n(&za_spans[unit_of(addr)].size, len, __ATOMIC_RELEASE);
}

bool za_mapped_grow(uintptr_t addr, size_t len)
{
    uint32_t unit = unit_of(addr);
    if (len > bytes_of(unit))
        return false;
    za_mapped_shrink(addr, len);
    return true;
}

void za_mapped_spoil(uintptr_t addr, uintptr_t end)
{
    for (size_t len; addr < end; addr += len) {
        uint32_t head =
            za_mapped_piece(addr, end, &len) == ZA_MAPPED_NONE ? ZA_NO_UNIT : head_of(addr);
        if (head == ZA_NO_UNIT)
            continue;
        bool gone = leave(head);
        if (gone)
            cool(head);
        if (gone || za_mapped_claim(za_unit_addr(head)))
            za_mapped_lose(bytes_of(head));
    }
}

/* ---- fork ----------------------------------------------------------------- */

void za_mapped_prefork(void)
{
    za_lock(&lock);
}

void za_mapped_postfork(void)
{
    za_unlock(&lock);
}
