/* SPDX-License-Identifier: MIT */
/*
 * shelf -- stacks of parked runs.
 *
 * Locks: the shelves' words.  May sleep: no.  May fault: no.  Allocates: nothing.
 */
#include "alloc/shelf.h"

#include "alloc/tcache.h"
#include "base/stat.h"
#include "os/os.h"

#define SHELVES 8u
#define ROOM 32u
#define SHELF_BYTES (2 * ZA_MIB)
#define SHELF_FULL ((uint32_t)(SHELF_BYTES >> ZA_UNIT_SHIFT))
#define CACHE_SHIFT 12 /* thread caches are about so far apart */

/*
 * Born: static.  Owned: by whoever holds its word.  Dies: never.
 */
static struct shelf {
    uint32_t word;  /* (a) 1: held */
    uint32_t n;     /* (s a) runs */
    uint32_t units; /* (s a) in all of them */
    uint32_t idle;  /* (s) I3 */
    uint32_t taken; /* (s) since the last statistics */
    uint8_t length[ROOM];
    uint32_t unit[ROOM];
} __attribute__((aligned(ZA_CACHELINE))) shelves[SHELVES];

/* The place for a long run: its first unit + 1, and its length below; 0: empty. */
static uint64_t long_run;  /* atomic */
static uint64_t long_idle; /* atomic: what decay saw there last; two at once may keep it longer */

static bool enter(struct shelf *s)
{
    return !__atomic_load_n(&s->word, __ATOMIC_RELAXED) &&
           !__atomic_exchange_n(&s->word, 1, __ATOMIC_ACQUIRE);
}

static void leave(struct shelf *s)
{
    __atomic_store_n(&s->word, 0, __ATOMIC_RELEASE);
}

static void enter_waiting(struct shelf *s)
{
    while (!enter(s))
        za_os->relax();
}

static uint32_t count(const struct shelf *s)
{
    return __atomic_load_n(&s->n, __ATOMIC_RELAXED);
}

static void set_sums(struct shelf *s, uint32_t n, uint32_t units)
{
    __atomic_store_n(&s->n, n, __ATOMIC_RELAXED);
    __atomic_store_n(&s->units, units, __ATOMIC_RELAXED);
}

static unsigned own(void)
{
    return (unsigned)((uintptr_t)za_tcache >> CACHE_SHIFT) % SHELVES;
}

/* --- one shelf ----------------------------------------------------------- */

/* Takes entry i out; those above it come down. */
static void close_gap(struct shelf *s, uint32_t i)
{
    set_sums(s, s->n - 1, s->units - s->length[i]);
    s->idle -= i < s->idle;
    for (; i < s->n; i++) {
        s->unit[i] = s->unit[i + 1];
        s->length[i] = s->length[i + 1];
    }
}

static uint32_t take(struct shelf *s, uint32_t units)
{
    for (uint32_t i = s->n; i-- > 0;) {
        if (s->length[i] != units)
            continue;
        uint32_t unit = s->unit[i];
        close_gap(s, i);
        s->taken++;
        return unit;
    }
    return ZA_NO_UNIT;
}

/* Takes the lowest k runs off, onto the list. */
static uint32_t drop(struct shelf *s, uint32_t k, uint32_t dead)
{
    uint32_t units = s->units;
    for (uint32_t i = 0; i < k; i++) {
        units -= s->length[i];
        za_spans[s->unit[i]].next = dead;
        dead = s->unit[i];
    }
    set_sums(s, s->n - k, units);
    s->idle -= (uint32_t)za_min(s->idle, k);
    for (uint32_t i = 0; i < s->n; i++) {
        s->unit[i] = s->unit[i + k];
        s->length[i] = s->length[i + k];
    }
    return dead;
}

/* The older half leaves when there is no room, so that it does so seldom. */
static uint32_t put(struct shelf *s, uint32_t unit)
{
    uint32_t units = za_spans[unit].units, dead = ZA_NO_UNIT;
    while (s->n == ROOM || s->units + units > SHELF_FULL)
        dead = drop(s, (s->n + 1) / 2, dead);
    s->unit[s->n] = unit;
    s->length[s->n] = (uint8_t)units;
    set_sums(s, s->n + 1, s->units + units);
    return dead;
}

/* --- all of them --------------------------------------------------------- */

static uint64_t long_word(uint32_t unit)
{
    return (uint64_t)(unit + 1) << 32 | za_spans[unit].units;
}

/* What was there before, as a list. */
static uint32_t change_long(uint64_t with)
{
    uint64_t old = __atomic_exchange_n(&long_run, with, __ATOMIC_ACQ_REL);
    if (!old)
        return ZA_NO_UNIT;
    uint32_t unit = (uint32_t)(old >> 32) - 1;
    za_spans[unit].next = ZA_NO_UNIT;
    return unit;
}

/* If it has been taken and put back meanwhile, with the same length, so much the better. */
static uint32_t take_long(uint32_t units)
{
    uint64_t seen = __atomic_load_n(&long_run, __ATOMIC_RELAXED);
    if (!seen || (uint32_t)seen != units ||
        !__atomic_compare_exchange_n(&long_run, &seen, 0, false, __ATOMIC_ACQ_REL,
                                     __ATOMIC_RELAXED))
        return ZA_NO_UNIT;
    za_stat_add(ZA_STAT_LARGE_ALLOCS, 1);
    return (uint32_t)(seen >> 32) - 1;
}

static uint32_t idle_long(void)
{
    uint64_t there = __atomic_load_n(&long_run, __ATOMIC_RELAXED);
    uint64_t before = __atomic_exchange_n(&long_idle, there, __ATOMIC_RELAXED);
    return there && there == before ? change_long(0) : ZA_NO_UNIT;
}

uint32_t za_shelf_take(uint32_t units)
{
    if (units > ZA_SHELF_UNITS)
        return take_long(units);
    unsigned first = own();
    for (unsigned i = 0; i < SHELVES; i++) {
        struct shelf *s = &shelves[(first + i) % SHELVES];
        if (!count(s) || !enter(s))
            continue;
        uint32_t unit = take(s, units);
        leave(s);
        if (unit != ZA_NO_UNIT)
            return unit;
    }
    return ZA_NO_UNIT;
}

uint32_t za_shelf_put(uint32_t unit)
{
    if (za_spans[unit].units > ZA_SHELF_UNITS)
        return change_long(long_word(unit));
    struct shelf *s = &shelves[own()];
    if (!enter(s)) {
        za_spans[unit].next = ZA_NO_UNIT;
        return unit;
    }
    uint32_t dead = put(s, unit);
    leave(s);
    return dead;
}

uint32_t za_shelf_idle(void)
{
    uint32_t dead = idle_long();
    for (unsigned i = 0; i < SHELVES; i++) {
        struct shelf *s = &shelves[i];
        if (!count(s) || !enter(s))
            continue;
        dead = drop(s, s->idle, dead);
        s->idle = s->n;
        leave(s);
    }
    return dead;
}

uint32_t za_shelf_all(void)
{
    uint32_t dead = change_long(0);
    for (unsigned i = 0; i < SHELVES; i++) {
        struct shelf *s = &shelves[i];
        enter_waiting(s);
        dead = drop(s, s->n, dead);
        leave(s);
    }
    return dead;
}

/* --- looking ------------------------------------------------------------- */

size_t za_shelf_stats(void)
{
    size_t units = (uint32_t)__atomic_load_n(&long_run, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < SHELVES; i++) {
        struct shelf *s = &shelves[i];
        enter_waiting(s);
        units += s->units;
        za_stat_add(ZA_STAT_LARGE_ALLOCS, s->taken);
        s->taken = 0;
        leave(s);
    }
    return units << ZA_UNIT_SHIFT;
}

bool za_shelf_empty(void)
{
    for (unsigned i = 0; i < SHELVES; i++)
        if (count(&shelves[i]))
            return false;
    return !__atomic_load_n(&long_run, __ATOMIC_RELAXED);
}

static void check(const struct shelf *s)
{
    uint32_t units = 0;
    ZA_ASSERT(s->n <= ROOM && s->idle <= s->n);
    for (uint32_t i = 0; i < s->n; i++) {
        const struct za_span *r = &za_spans[s->unit[i]];
        ZA_ASSERT(r->kind == ZA_RUN_LARGE && r->units == s->length[i] && r->rest == ZA_CLEAN);
        ZA_ASSERT(r->units <= ZA_SHELF_UNITS && za_map_get(s->unit[i]) == ZA_MAP_PARKED);
        units += r->units;
    }
    ZA_ASSERT(units == s->units && units <= SHELF_FULL);
}

void za_shelf_check(void)
{
    for (unsigned i = 0; i < SHELVES; i++) {
        enter_waiting(&shelves[i]);
        check(&shelves[i]);
        leave(&shelves[i]);
    }
}

/* --- fork ---------------------------------------------------------------- */

void za_shelf_prefork(void)
{
    for (unsigned i = 0; i < SHELVES; i++)
        enter_waiting(&shelves[i]);
}

void za_shelf_postfork(void)
{
    for (unsigned i = 0; i < SHELVES; i++)
        leave(&shelves[i]);
}
