/* SPDX-License-Identifier: MIT */
/*
 * heap -- the page heap.
 *
 * Every change of the tiling is a change of two records: a run's first (kind, units) and its last
 * (where the first is).
 *
 * Locks: ZA_RANK_HEAP.  May sleep: on it, in mprotect, in the pager without it.  May fault: no.
 * Allocates: the heap.
 */
#include "alloc/heap.h"

#include "base/conf.h"
#include "base/lock.h"
#include "os/os.h"
#include "pager/pager.h"

#define GROW_SHARE 16u          /* a step is at least this part of the heap */
#define GROW_MOST (64 * ZA_MIB) /* and no more than this unless asked for more */
#define CLOCK_FREES 16u         /* look at the clock once in so many frees */
#define TICK_FREES 64u          /* without a worker, look for what is due once in so many */

/* Lock key: (h) lock; (a) atomic. */
static struct {
    struct za_lock lock;
    struct za_runs runs; /* (h) */
    uint64_t clock_ns;   /* (h) time of the last look; never falls */
    uint32_t frees;      /* (h) runs that came back */
    uint32_t busy;       /* (h) busy runs */
} heap = {.lock = ZA_LOCK_INIT(ZA_RANK_HEAP)};

/* --- tiling -------------------------------------------------------------- */

static uint32_t top_unit(void)
{
    return (uint32_t)(za_space_used() >> ZA_UNIT_SHIFT);
}

static void set_run(uint32_t unit, uint32_t units, enum za_run_kind kind)
{
    za_spans[unit].kind = (uint8_t)kind;
    za_spans[unit].units = units;
    if (units > 1) {
        struct za_span *last = &za_spans[unit + units - 1];
        last->kind = ZA_RUN_TAIL;
        __atomic_store_n(&last->head, unit, __ATOMIC_RELAXED);
    }
}

static uint32_t run_before(uint32_t unit)
{
    if (!unit)
        return ZA_NO_UNIT;
    const struct za_span *last = &za_spans[unit - 1];
    return last->kind == ZA_RUN_TAIL ? __atomic_load_n(&last->head, __ATOMIC_RELAXED) : unit - 1;
}

static uint32_t run_after(uint32_t unit)
{
    uint32_t next = unit + za_spans[unit].units;
    return next < top_unit() ? next : ZA_NO_UNIT;
}

static bool is_free(uint32_t unit, enum za_dirt dirt)
{
    return unit != ZA_NO_UNIT && za_spans[unit].kind == ZA_RUN_FREE && za_run_dirt(unit) == dirt;
}

/* Takes a free neighbour into [*unit, + *units), whose first *dirty bytes may not be zero. */
static uint32_t absorb(uint32_t other, uint32_t *unit, uint32_t *units, size_t *dirty)
{
    struct za_span *o = &za_spans[other];
    uint32_t older = o->prev;
    za_runs_remove(&heap.runs, other);
    if (*dirty && other < *unit)
        *dirty += (size_t)o->units << ZA_UNIT_SHIFT;
    else if (*dirty)
        *dirty = ((size_t)*units << ZA_UNIT_SHIFT) + o->size;
    *unit = other < *unit ? other : *unit;
    *units += o->units;
    return older;
}

/*
 * Makes [unit, + units) free, one with its like neighbours.  The whole is as old as its oldest
 * part: a big run must not stay resident for ever because something small beside it comes and goes.
 */
static void insert_run(uint32_t unit, uint32_t units, size_t dirty, uint64_t since, uint32_t older)
{
    set_run(unit, units, ZA_RUN_FREE);
    enum za_dirt dirt = dirty ? ZA_DIRTY : ZA_CLEAN;
    uint32_t near[2] = {run_before(unit), run_after(unit)};
    /* The younger first, so that the place of the older in the list does not go away under us. */
    if (is_free(near[0], dirt) && is_free(near[1], dirt) &&
        za_spans[near[0]].since < za_spans[near[1]].since) {
        uint32_t swap = near[0];
        near[0] = near[1];
        near[1] = swap;
    }
    for (int i = 0; i < 2; i++) {
        if (!is_free(near[i], dirt))
            continue;
        uint64_t other_since = za_spans[near[i]].since;
        uint32_t place = absorb(near[i], &unit, &units, &dirty);
        if (dirty && (other_since <= since || older == near[i])) {
            since = za_min(since, other_since);
            older = place;
        }
    }
    set_run(unit, units, ZA_RUN_FREE);
    __atomic_store_n(&za_spans[unit].size, dirty, __ATOMIC_RELAXED);
    za_spans[unit].since = since;
    za_runs_insert(&heap.runs, unit, older);
}

/* Cuts [from, + units) out of the free run `run`; what is left over on either side stays as old as
 * it was. */
static size_t carve(uint32_t run, uint32_t from, uint32_t units, enum za_run_kind kind)
{
    struct za_span old = za_spans[run];
    uint32_t before = from - run, after = old.units - before - units;
    size_t skip = (size_t)before << ZA_UNIT_SHIFT, len = (size_t)units << ZA_UNIT_SHIFT;
    size_t dirty = old.size > skip ? za_min(old.size - skip, len) : 0;
    uint32_t older = old.prev;
    za_runs_remove(&heap.runs, run);
    set_run(from, units, kind);
    if (before) {
        insert_run(run, before, za_min(old.size, skip), old.since, older);
        older = old.size ? run : older;
    }
    if (after) {
        size_t rest = old.size > skip + len ? old.size - skip - len : 0;
        insert_run(from + units, after, rest, old.since, older);
    }
    return dirty;
}

/* --- growth -------------------------------------------------------------- */

/* Commits memory so that a clean run of `units` ends at the top. */
static bool grow(uint32_t units)
{
    size_t used = za_space_used(), room = za_heap_size - used;
    uint32_t top = top_unit(), last = run_before(top);
    uint32_t have = is_free(last, ZA_CLEAN) ? za_spans[last].units : 0;
    size_t need =
        za_align_up((size_t)(units > have ? units - have : 0) << ZA_UNIT_SHIFT, ZA_CHUNK_SIZE);
    size_t step = za_align_down(za_min(used / GROW_SHARE, GROW_MOST), ZA_CHUNK_SIZE);
    step = za_min(za_max(za_max(step, need), ZA_CHUNK_SIZE), room);
    if (!need || need > room)
        return false;
    if (za_space_grow(step) < 0) {
        if (step == need || za_space_grow(need) < 0)
            return false;
        step = need;
    }
    insert_run(top, (uint32_t)(step >> ZA_UNIT_SHIFT), 0, 0, ZA_NO_UNIT);
    return true;
}

/* Tells the pager, without the lock, if the heap has grown since `used`. */
static void tell_grown(size_t used)
{
    size_t now = za_space_used();
    if (now != used)
        za_pager_grown(za_heap_base + now);
}

/* --- alloc and free ------------------------------------------------------ */

static uint32_t take(const struct za_heap_want *want, size_t *dirty)
{
    uint32_t least = want->units + want->align - 1;
    uint32_t run = za_runs_find(&heap.runs, want->prefer, least);
    if (run == ZA_NO_UNIT)
        run = za_runs_find(&heap.runs, want->prefer == ZA_DIRTY ? ZA_CLEAN : ZA_DIRTY, least);
    if (run == ZA_NO_UNIT)
        return ZA_NO_UNIT;
    uintptr_t align = (uintptr_t)want->align << ZA_UNIT_SHIFT;
    uintptr_t addr = za_align_up(za_unit_addr(run), align);
    uint32_t from = (uint32_t)((addr - za_heap_base) >> ZA_UNIT_SHIFT);
    *dirty = carve(run, from, want->units, want->kind);
    return from;
}

static uint32_t take_or_grow(const struct za_heap_want *want, size_t *dirty)
{
    if (!want->soon)
        za_lock(&heap.lock);
    else if (!za_lock_soon(&heap.lock))
        return ZA_NO_UNIT;
    size_t used = za_space_used();
    uint32_t unit = take(want, dirty);
    if (unit == ZA_NO_UNIT && grow(want->units + want->align - 1))
        unit = take(want, dirty);
    za_unlock(&heap.lock);
    tell_grown(used);
    return unit;
}

uint32_t za_heap_alloc(const struct za_heap_want *want, size_t *dirty)
{
    if ((uint64_t)want->units + want->align > za_heap_size >> ZA_UNIT_SHIFT)
        return ZA_NO_UNIT;
    uint32_t unit = take_or_grow(want, dirty);
    /* Clean and dirty runs do not join: once all are clean a longer one may appear. */
    if (unit == ZA_NO_UNIT && !want->soon && za_heap_purge(UINT64_MAX))
        unit = take_or_grow(want, dirty);
    return unit;
}

/* Time of this free, to within a few: a clock is dearer than the rest of a free. */
static void look_at_clock(void)
{
    if (heap.frees++ % CLOCK_FREES == 0)
        heap.clock_ns = za_max(heap.clock_ns, za_os->now());
}

/* Without a worker: now and then purge what has been free for long enough. */
static uint64_t tick(void)
{
    uint64_t decay = za_conf.dirty_decay_ms * ZA_NS_PER_MS;
    if (heap.frees % TICK_FREES || heap.clock_ns <= decay || za_pager_has_worker())
        return 0;
    return heap.clock_ns - decay;
}

static void put(uint32_t unit, uint32_t units, size_t dirty)
{
    look_at_clock();
    insert_run(unit, units, dirty, heap.clock_ns, heap.runs.youngest);
}

void za_heap_free(uint32_t unit, size_t dirty)
{
    za_lock(&heap.lock);
    put(unit, za_spans[unit].units, dirty);
    uint64_t before = tick();
    za_unlock(&heap.lock);
    if (ZA_UNLIKELY(before))
        (void)za_heap_purge(before);
}

/* How many units from `from` on are free, whatever their dirt; stops looking at `enough`. */
static uint32_t free_units_at(uint32_t from, uint32_t enough)
{
    uint32_t n = 0;
    while (n < enough && from + n < top_unit() && za_spans[from + n].kind == ZA_RUN_FREE)
        n += za_spans[from + n].units;
    return n;
}

/* The same, but the heap grows if only its top is in the way. */
static uint32_t free_units_or_grow(uint32_t from, uint32_t enough)
{
    uint32_t n = free_units_at(from, enough), top = top_unit();
    if (n >= enough || from + n != top)
        return n;
    uint32_t last = run_before(top);
    uint32_t clean = n && is_free(last, ZA_CLEAN) ? za_spans[last].units : 0;
    return grow(enough - n + clean) ? free_units_at(from, enough) : n;
}

bool za_heap_extend(uint32_t unit, uint32_t more)
{
    za_lock(&heap.lock);
    size_t used = za_space_used();
    uint32_t units = za_spans[unit].units, from = unit + units;
    bool fits = free_units_or_grow(from, more) >= more;
    for (uint32_t got = 0, k; fits && got < more; got += k) {
        k = (uint32_t)za_min(za_spans[from + got].units, more - got);
        (void)carve(from + got, from + got, k, ZA_RUN_LARGE);
    }
    if (fits)
        set_run(unit, units + more, ZA_RUN_LARGE);
    za_unlock(&heap.lock);
    tell_grown(used);
    return fits;
}

void za_heap_shrink(uint32_t unit, uint32_t keep)
{
    za_lock(&heap.lock);
    uint32_t units = za_spans[unit].units;
    set_run(unit, keep, (enum za_run_kind)za_spans[unit].kind);
    put(unit + keep, units - keep, (size_t)(units - keep) << ZA_UNIT_SHIFT);
    za_unlock(&heap.lock);
}

/* --- giving memory back -------------------------------------------------- */

/* Claims the oldest dirty run if it is old enough. */
static uint32_t purge_begin(uint64_t before_ns)
{
    za_lock(&heap.lock);
    uint32_t unit = heap.runs.oldest;
    if (unit != ZA_NO_UNIT && za_spans[unit].since <= before_ns) {
        za_runs_remove(&heap.runs, unit);
        set_run(unit, za_spans[unit].units, ZA_RUN_BUSY);
        heap.busy++;
    } else {
        unit = ZA_NO_UNIT;
    }
    za_unlock(&heap.lock);
    return unit;
}

/* Puts it back: clean, or as it was but young, so that it is not tried again soon. */
static void purge_commit(uint32_t unit, bool done)
{
    za_lock(&heap.lock);
    heap.busy--;
    put(unit, za_spans[unit].units, done ? 0 : za_spans[unit].size);
    za_unlock(&heap.lock);
}

size_t za_heap_purge(uint64_t before_ns)
{
    size_t total = 0;
    uint32_t unit;
    while ((unit = purge_begin(before_ns)) != ZA_NO_UNIT) {
        size_t len = za_align_up(za_spans[unit].size, za_os->page_size);
        bool done = za_pager_discard(za_unit_addr(unit), len) >= 0;
        purge_commit(unit, done);
        if (!done)
            break;
        total += len;
    }
    return total;
}

uint64_t za_heap_oldest(void)
{
    za_lock(&heap.lock);
    uint32_t unit = heap.runs.oldest;
    uint64_t since = unit == ZA_NO_UNIT ? UINT64_MAX : za_spans[unit].since;
    za_unlock(&heap.lock);
    return since;
}

/* --- looking ------------------------------------------------------------- */

void za_heap_stats(struct za_heap_stats *out)
{
    za_lock(&heap.lock);
    out->active_bytes = za_space_used() - (heap.runs.free_units << ZA_UNIT_SHIFT);
    out->dirty_bytes = heap.runs.dirty_units << ZA_UNIT_SHIFT;
    za_unlock(&heap.lock);
}

void za_heap_walk(void (*fn)(uint32_t unit, void *arg), void *arg)
{
    za_lock(&heap.lock);
    for (uint32_t u = 0; u < top_unit(); u += za_spans[u].units)
        fn(u, arg);
    za_unlock(&heap.lock);
}

void za_heap_check(void)
{
    za_lock(&heap.lock);
    size_t nfree = 0, busy = 0;
    uint32_t last = ZA_NO_UNIT, u = 0;
    for (; u < top_unit(); last = u, u += za_spans[u].units) {
        const struct za_span *s = &za_spans[u];
        ZA_ASSERT(s->units && s->kind >= ZA_RUN_FREE && s->kind <= ZA_RUN_LARGE);
        ZA_ASSERT(run_before(u + s->units) == u);
        nfree += s->kind == ZA_RUN_FREE;
        busy += s->kind == ZA_RUN_BUSY;
        if (s->kind != ZA_RUN_FREE)
            continue;
        ZA_ASSERT(!is_free(last, za_run_dirt(u)));
        ZA_ASSERT(s->size <= (size_t)s->units << ZA_UNIT_SHIFT);
        for (uint32_t i = 0; i < s->units; i++)
            ZA_ASSERT(za_map_get(u + i) == ZA_MAP_NONE);
    }
    ZA_ASSERT(u == top_unit() && busy == heap.busy);
    ZA_ASSERT(za_runs_check(&heap.runs) == nfree);
    za_unlock(&heap.lock);
}

/* --- life ---------------------------------------------------------------- */

void za_heap_init(void)
{
    za_runs_init(&heap.runs);
}

void za_heap_prefork(void)
{
    za_lock(&heap.lock);
}

void za_heap_postfork_parent(void)
{
    za_unlock(&heap.lock);
}

/* Runs that were on their way back to the system: nobody finishes that here, so they are dirty
 * again. */
void za_heap_postfork_child(void)
{
    for (uint32_t u = 0; heap.busy && u < top_unit(); u += za_spans[u].units) {
        if (za_spans[u].kind != ZA_RUN_BUSY)
            continue;
        heap.busy--;
        put(u, za_spans[u].units, za_max(za_spans[u].size, za_os->page_size));
    }
    za_unlock(&heap.lock);
}
