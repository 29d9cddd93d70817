/* SPDX-License-Identifier: MIT */
/*
 * plan -- which unit is looked at when: probed after a cold age, packed after another one in limbo.
 *
 * A unit rests, is probed (its pages go to limbo), and after the cold age what nobody came for is
 * packed. Each time somebody came for a page the next probe is put off twice as long, so a hot heap
 * is left in peace; a unit whose pages are all stored is not looked at again until F says that
 * pages came back ("stirred"). Pages that do not compress are left out for long; their neighbours
 * are not.
 *
 * I1  A chunk's due is at most the least due of its units, so chunks that are not due need not be
 *     opened.
 *
 * Locks: none (W only; `touched` and `stirred` are F's, atomic).  May sleep: in probe and pack.
 * Allocates: nothing.
 */
#include "base/conf.h"
#include "base/remedy.h"
#include "base/stat.h"
#include "pager/dense.h"
#include "pager/filing.h"
#include "pager/private.h"

#define BACKOFF_WARM_MAX 6u  /* 64 cold ages */
#define BACKOFF_EMPTY_MAX 3u /* a unit with nothing to take may get new pages */
#define BACKOFF_RAW 7u       /* what does not compress: 128 cold ages */
#define SOON_TICKS 100u      /* while a dictionary is made */
#define REFUSED_FACTOR 8u    /* dense ages until too small a store is looked at again */
#define TARGET_HASTE 16u     /* above the target, ages pass this much faster */
#define TARGET_CHECK_TICKS 200u

static size_t cursor;         /* chunk where the budget ended the last turn */
static uint32_t target_check; /* tick of the next look at the footprint */
static bool above_target;

static uint32_t cold_ticks(void)
{
    uint64_t ms = __atomic_load_n(&za_conf.cold_ms, __ATOMIC_RELAXED);
    uint64_t ticks = ms * ZA_NS_PER_MS / ZA_TICK_NS;
    if (above_target)
        ticks /= TARGET_HASTE;
    return (uint32_t)za_max(ticks, 1);
}

static uint32_t dense_ticks(void)
{
    return (uint32_t)(za_conf.dense_ms * ZA_NS_PER_MS / ZA_TICK_NS);
}

static uint32_t later(uint32_t tick, unsigned backoff)
{
    uint64_t due = tick + ((uint64_t)cold_ticks() << backoff);
    return due < ZA_TICK_NEVER ? (uint32_t)due : ZA_TICK_NEVER - 1;
}

static uint8_t more(uint8_t backoff, unsigned most)
{
    return backoff < most && !za_without(D16_BACK_OFF) ? (uint8_t)(backoff + 1) : backoff;
}

/* Its pages that are known not to compress, bit by bit. */
uint16_t za_unit_raw(const struct za_unit *u)
{
    return za_without(D16_REMEMBER) ? 0 : u->raw;
}

/* Nothing is left to take: each page is stored, or known not to compress. */
static bool all_settled(size_t unit, const struct za_unit *u)
{
    const uint64_t *rec = &za_pg.pages[unit * za_pg.unit_pages];
    for (unsigned i = 0; i < za_pg.unit_pages; i++)
        if (za_page_state(za_page_get(&rec[i])) != ZA_PAGE_STORED && !(za_unit_raw(u) >> i & 1))
            return false;
    return true;
}

/* When a unit that is at rest is worth another look. */
static uint32_t next_look(size_t unit, const struct za_unit *u, uint32_t tick)
{
    if (!all_settled(unit, u))
        return later(tick, u->backoff);
    return za_unit_raw(u) ? u->raw_due : ZA_TICK_NEVER;
}

static void probe(size_t unit, struct za_unit *u, uint32_t tick)
{
    __atomic_store_n(&u->touched, 0, __ATOMIC_RELAXED);
    if (u->raw_due <= tick)
        u->raw = 0;
    if (za_probe_unit(unit) > 0) {
        u->phase = ZA_UNIT_PROBED;
        u->due = later(tick, za_pg.mover->patience);
        return;
    }
    u->backoff = more(u->backoff, BACKOFF_EMPTY_MAX);
    u->due = next_look(unit, u, tick);
}

/* Back to rest; with nothing left to take, for as long as nobody comes for a page. */
static void rest(size_t unit, struct za_unit *u, uint32_t tick)
{
    u->phase = ZA_UNIT_RESTING;
    u->due = next_look(unit, u, tick);
}

static bool any_stored(size_t unit)
{
    for (unsigned i = 0; i < za_pg.unit_pages; i++)
        if (za_page_state(za_page_get(&za_pg.pages[unit * za_pg.unit_pages + i])) == ZA_PAGE_STORED)
            return true;
    return false;
}

static void pack(size_t unit, struct za_unit *u, uint32_t tick)
{
    uint16_t raw = u->raw;
    bool room = za_pack_unit(unit);
    bool warm = __atomic_exchange_n(&u->touched, 0, __ATOMIC_RELAXED);
    u->backoff = warm ? more(u->backoff, BACKOFF_WARM_MAX) : 0;
    if (!room)
        u->backoff = BACKOFF_RAW;
    if (u->raw != raw)
        u->raw_due = later(tick, BACKOFF_RAW);
    rest(unit, u, tick);
    if (warm || !za_conf.dense_ms || !any_stored(unit))
        return;
    u->phase = ZA_UNIT_PACKED;
    u->due = tick + dense_ticks();
}

static void densify(size_t unit, struct za_unit *u, uint32_t tick)
{
    switch (za_dense_unit(unit)) {
    case ZA_DENSE_DONE: rest(unit, u, tick); break;
    case ZA_DENSE_LATER: u->due = tick + SOON_TICKS; break;
    case ZA_DENSE_REFUSED: u->due = tick + REFUSED_FACTOR * dense_ticks(); break;
    }
}

static void step(size_t unit, struct za_unit *u, uint32_t tick)
{
    za_still_look();
    if (u->due == 0 || (u->phase != ZA_UNIT_PACKED && (!za_pg.mover->may() || za_filing_full())))
        u->due = later(tick, 0);
    else if (u->phase == ZA_UNIT_PROBED)
        pack(unit, u, tick);
    else if (u->phase == ZA_UNIT_PACKED)
        densify(unit, u, tick);
    else
        probe(unit, u, tick);
}

/* Pages came back in a unit at rest: it will be worth another look, later if that happens often. */
static void stir(struct za_unit *u, uint32_t tick)
{
    if (u->phase == ZA_UNIT_PROBED || u->due == 0 ||
        !__atomic_exchange_n(&u->touched, 0, __ATOMIC_RELAXED))
        return;
    bool settled = u->phase == ZA_UNIT_PACKED || u->due == ZA_TICK_NEVER || u->raw;
    u->phase = ZA_UNIT_RESTING;
    if (settled)
        u->backoff = more(u->backoff, BACKOFF_WARM_MAX);
    uint32_t due = later(tick, u->backoff);
    if (due < u->due)
        u->due = due;
}

static bool budget_left(void)
{
    uint64_t percent = __atomic_load_n(&za_conf.cpu_limit, __ATOMIC_RELAXED);
    return za_without(P5_BUDGET) ||
           za_budget_look(&za_pg.budget, za_os->now(), za_os->thread_cpu(), percent);
}

static enum za_plan_end walk_chunk(size_t c, uint32_t tick)
{
    struct za_chunk *chunk = &za_pg.chunks[c];
    bool stirred = __atomic_exchange_n(&chunk->stirred, 0, __ATOMIC_ACQ_REL);
    if (!stirred && chunk->due > tick)
        return ZA_PLAN_DONE;
    uint32_t least = ZA_TICK_NEVER;
    enum za_plan_end end = ZA_PLAN_DONE;
    for (size_t i = 0; i < ZA_UNITS_PER_CHUNK; i++) {
        size_t unit = c * ZA_UNITS_PER_CHUNK + i;
        struct za_unit *u = &za_pg.units[unit];
        if (stirred)
            stir(u, tick);
        if (end == ZA_PLAN_DONE && u->due <= tick) {
            step(unit, u, tick);
            if (!budget_left())
                end = ZA_PLAN_THROTTLED;
            else if (za_mail_waiting())
                end = ZA_PLAN_CALLED;
        }
        if (u->due < least)
            least = u->due;
    }
    chunk->due = least;
    return end;
}

static void look_at_target(uint32_t tick)
{
    uint64_t target = __atomic_load_n(&za_conf.target, __ATOMIC_RELAXED);
    bool was = above_target;
    above_target = false;
    if (!target || tick < target_check) {
        above_target = target && was;
        return;
    }
    target_check = tick + TARGET_CHECK_TICKS;
    za_footprint();
    above_target = za_stat_get(ZA_STAT_FOOT_TOTAL) > target;
    if (above_target && !was)
        za_plan_rested(0, za_pg.records_ready << (ZA_CHUNK_SHIFT - za_pg.page_shift));
}

/* Does what is due; *next: the tick at which something is due again. */
enum za_plan_end za_plan_turn(uint64_t now, uint32_t *next)
{
    uint32_t tick = za_pg_tick(now);
    if (!budget_left()) {
        za_stat_add(ZA_STAT_PG_THROTTLED, 1);
        return ZA_PLAN_THROTTLED;
    }
    (void)za_place_records(za_pg_nchunks());
    look_at_target(tick);
    size_t n = za_pg.records_ready;
    for (size_t i = 0; i < n; i++) {
        size_t c = (cursor + i) % n;
        enum za_plan_end end = walk_chunk(c, tick);
        if (end != ZA_PLAN_DONE) {
            cursor = c;
            za_stat_add(ZA_STAT_PG_THROTTLED, end == ZA_PLAN_THROTTLED);
            return end;
        }
        if (za_pg.chunks[c].due < *next)
            *next = za_pg.chunks[c].due;
    }
    return ZA_PLAN_DONE;
}

/* Everything evictable, now, whatever its age; with `polite`, until a request comes. */
void za_plan_everything(bool polite)
{
    uint32_t tick = za_pg_tick(za_os->now());
    (void)za_place_records(za_pg_nchunks());
    if (!za_pg_active())
        return;
    if (!polite)
        za_pg.held_until = 0;
    if (!polite)
        za_fault_quiesce(); /* a message F has in hand may be old, and would bring its page back */
    size_t units = za_pg.records_ready * ZA_UNITS_PER_CHUNK;
    for (size_t unit = 0; unit < units && !(polite && za_mail_waiting()); unit++) {
        struct za_unit *u = &za_pg.units[unit];
        za_still_look();
        if (!za_pg.mover->may())
            continue;
        u->raw = 0;
        /* Probed also when it was before: pages may have come back since. */
        if (za_probe_unit(unit) > 0 || u->phase == ZA_UNIT_PROBED)
            pack(unit, u, tick);
    }
}

/* Everything stored, as dense as it gets; without `polite` also the dictionary it takes. */
void za_plan_dense(bool polite)
{
    size_t units = za_pg_active() ? za_pg.records_ready * ZA_UNITS_PER_CHUNK : 0;
    bool again = true;
    while (again) {
        again = false;
        for (size_t unit = 0; unit < units && !(polite && za_mail_waiting()); unit++) {
            za_still_look();
            if (za_pg_registered(unit * za_pg.unit_pages) && za_dense_unit(unit) == ZA_DENSE_LATER)
                again = !polite;
        }
        while (za_dense_turn() && !polite)
            ;
    }
}

/* The pages' contents are new or gone: their units start over. */
void za_plan_rested(size_t first_page, size_t npages)
{
    size_t end = first_page + npages, known = za_pg.records_ready * ZA_UNITS_PER_CHUNK;
    uint32_t due = later(za_pg_tick(za_os->now()), 0);
    for (size_t u = za_pg_unit_of_page(first_page); u * za_pg.unit_pages < end && u < known; u++) {
        za_pg.units[u].raw = 0;
        if (za_pg.units[u].phase == ZA_UNIT_PROBED || za_pg.units[u].due == 0)
            continue;
        za_pg.units[u].phase = ZA_UNIT_RESTING;
        za_pg.units[u].backoff = 0;
        za_pg.units[u].due = due;
        struct za_chunk *c = &za_pg.chunks[u / ZA_UNITS_PER_CHUNK];
        if (c->due > due)
            c->due = due;
    }
}
