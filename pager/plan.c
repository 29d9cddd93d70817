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
 * The cold age is what is configured, to begin with; it follows the rate at which pages come back
 * (policy.h). A unit that is wanted soon after it was stored waits twice as long each time, a
 * doubling of what is configured, at rest and again in limbo: what is used at rest nobody sees, so
 * rest makes returns rarer, and a limbo longer than the time between two uses ends them. The age
 * and the unit's own wait do not multiply, the longer counts. Soon is measured by that wait, so a
 * use every minute is learnt from the first on, and one every hour is no reason to wait. In haste
 * all is due earlier by most of an age. Pressed, for room in the control group or for the target,
 * the units that would be due first are probed and packed at once, as many as are needed. For the
 * target that is done within the budget, and hardest last: what nobody has come for lately; then
 * what is stored already is packed densely before its time, and the coldest blobs go to the file;
 * then what is warm, but for what came back a moment ago.
 * Walking, pressing and both of `everything` are one file, of over 600 lines, because they keep the
 * same books.
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
#define BACKOFF_BARE 3u      /* beside the last: with nothing resident F tells of new pages */
#define BACKOFF_RAW 7u       /* what does not compress: 128 cold ages */
#define SOON_TICKS 100u      /* while a dictionary is made */
#define REFUSED_FACTOR 8u    /* dense ages until too small a store is looked at again */
#define HASTE 16u            /* in haste, cold is what is untouched for this fraction of an age */
#define HASTY_TICKS 5u
#define ROOM_UNITS 64u
#define TARGET_CHECK_TICKS 200u
#define ABOVE_CHECK_TICKS 20u
#define PRESS_BYTES (4 * ZA_MIB) /* at once, or this share of a large heap */
#define PRESS_SHARE 1024u
#define PRESS_MOST 4096u          /* units at once */
#define SOON_WAITS 8u             /* wanted again within so many times what it waits: soon */
#define CLOCK_BACK (1u << 30)     /* ticks: four months */
#define SQUEEZE_GAIN (8 * ZA_KIB) /* about what packing a unit densely wins */

/* How units are pressed; for the target in this order, each when there is no more of the last. */
enum pressing {
    PRESS_COOL,   /* resident, and as far as is known nobody came for it within a cold age */
    PRESS_STORED, /* stored for a moment, and to be packed densely some time */
    PRESS_WARM,   /* resident, and nobody came for it within a moment */
    PRESS_END,
    PRESS_ANY /* resident: for room, where memory is short */
};

uint32_t za_plan_clock_end = 1u << 31;

static size_t cursor;          /* chunk where the budget ended the last turn */
static struct za_age age;      /* how old is cold */
static uint32_t target_check;  /* tick of the next look at the footprint */
static uint64_t above_target;  /* bytes to be taken out until then */
static uint64_t target_seen;   /* the target then */
static enum pressing pressing; /* for it */
static uint32_t
    squeeze_last;   /* rank up to which what is stored is packed densely, for the target */
static bool forced; /* something was pressed since the age was looked at */

/* Chunks in use that have records; there may be some beyond, for memory to come (pressure.c). */
static size_t known(void)
{
    return za_min(za_pg.records_ready, za_pg_nchunks());
}

static size_t used_bytes(void)
{
    return __atomic_load_n(&za_pg.top, __ATOMIC_ACQUIRE) - za_pg.base;
}

static uint32_t cold_ticks(void)
{
    /* An order may come before the first turn. */
    uint64_t ms = age.ms ? age.ms : __atomic_load_n(&za_conf.cold_ms, __ATOMIC_RELAXED);
    return (uint32_t)za_max(ms * ZA_NS_PER_MS / ZA_TICK_NS, 1);
}

/* What is due within so many ticks is due now. */
static uint32_t early(void)
{
    uint32_t cold = cold_ticks();
    return za_room_strain() == ZA_STRAIN_NONE ? 0 : cold - cold / HASTE;
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

/* What a unit waits at least that came back so often: doublings of the configured age, in ticks. */
static uint64_t own_ticks(unsigned returns)
{
    return returns ? age.start_ms * ZA_NS_PER_MS / ZA_TICK_NS << returns : 0;
}

static uint32_t later_own(const struct za_unit *u, uint32_t tick, unsigned backoff)
{
    uint64_t due = tick + own_ticks(u->returns);
    return (uint32_t)za_max(za_min(due, ZA_TICK_NEVER - 1), later(tick, backoff));
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

static bool any(size_t unit, enum za_page_state state)
{
    for (unsigned i = 0; i < za_pg.unit_pages; i++)
        if (za_page_state(za_page_get(&za_pg.pages[unit * za_pg.unit_pages + i])) == state)
            return true;
    return false;
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
        return later_own(u, tick, u->backoff);
    return za_unit_raw(u) ? u->raw_due : ZA_TICK_NEVER;
}

/*
 * Of a unit that has just been looked at: it is out, and holes. Looks are for what F does not tell of:
 * of pages that came amid a fork, or that the kernel had swapped out.
 */
static bool is_bare(size_t unit, const struct za_unit *u)
{
    size_t first = unit * za_pg.unit_pages;
    unsigned out = 0;
    for (unsigned i = 0; i < za_pg.unit_pages; i++)
        out += za_page_get(&za_pg.pages[first + i]) != ZA_PAGE_KERNEL;
    return u->there == out && za_pg_registered(first) && !za_pin_holds(unit);
}

static void probe(size_t unit, struct za_unit *u, uint32_t tick)
{
    __atomic_store_n(&u->touched, 0, __ATOMIC_RELAXED);
    if (u->raw_due <= tick)
        u->raw = 0;
    /* In limbo without that: it was to be packed, and F wanted it for a moment (fill.c). */
    if (za_probe_unit(unit) > 0 || any(unit, ZA_PAGE_LIMBO)) {
        if (u->backoff) /* somebody came the last time */
            za_pack_zeros(unit);
        u->phase = ZA_UNIT_PROBED;
        u->due = later_own(u, tick, za_pg.mover->patience);
        return;
    }
    u->backoff = more(u->backoff, BACKOFF_EMPTY_MAX);
    u->due = next_look(unit, u, tick);
    if (is_bare(unit, u))
        u->due = (uint32_t)za_max(u->due, later(tick, u->backoff + BACKOFF_BARE));
}

/* Back to rest; with nothing left to take, for as long as nobody comes for a page. */
static void rest(size_t unit, struct za_unit *u, uint32_t tick)
{
    u->phase = ZA_UNIT_RESTING;
    u->due = next_look(unit, u, tick);
}

/* What of a chunk is known not to compress, and what is stored, in units. */
static void show_kernel(size_t chunk)
{
    unsigned raw = 0, stored = 0;
    for (size_t i = 0; i < ZA_UNITS_PER_CHUNK; i++) {
        size_t unit = chunk * ZA_UNITS_PER_CHUNK + i;
        raw += (unsigned)__builtin_popcount(za_pg.units[unit].raw);
        stored += za_pg.units[unit].raw == 0 && any(unit, ZA_PAGE_STORED);
    }
    za_ksm_look(chunk, raw / za_pg.unit_pages, stored);
}

/* Something of a unit that was stored is wanted again: that counts once for each storing. */
static void returned(struct za_unit *u, uint32_t tick)
{
    uint64_t wait = za_max(cold_ticks(), own_ticks(za_max(u->returns, 1)));
    if (u->stored && tick - u->stored < SOON_WAITS * wait) {
        u->returns = more(u->returns, BACKOFF_WARM_MAX);
        za_stat_add(ZA_STAT_PG_REFAULTS, 1);
    } else if (u->stored) {
        u->returns = 0;
    }
    u->stored = 0;
    u->backoff = more(u->backoff, 1);
}

static void pack(size_t unit, struct za_unit *u, uint32_t tick)
{
    uint16_t raw = u->raw;
    bool room = za_pack_unit(unit);
    uint8_t warm = __atomic_exchange_n(&u->touched, 0, __ATOMIC_RELAXED);
    u->backoff = warm ? more(u->backoff, BACKOFF_WARM_MAX) : 0;
    if (warm & ZA_CAME_STORED)
        returned(u, tick);
    if (!room)
        u->backoff = BACKOFF_RAW;
    if (u->raw != raw)
        u->raw_due = later(tick, BACKOFF_RAW);
    u->stored = tick;
    if (za_conf.ksm)
        show_kernel(unit / ZA_UNITS_PER_CHUNK);
    rest(unit, u, tick);
    if (warm || !za_conf.dense_ms || !any(unit, ZA_PAGE_STORED))
        return;
    u->phase = ZA_UNIT_PACKED;
    u->due = tick + dense_ticks();
}

static enum za_dense_end densify(size_t unit, struct za_unit *u, uint32_t tick)
{
    enum za_dense_end end = za_room_scarce() ? ZA_DENSE_FULL : za_dense_unit(unit);
    switch (end) {
    case ZA_DENSE_DONE: rest(unit, u, tick); break;
    case ZA_DENSE_LATER: u->due = tick + SOON_TICKS; break;
    case ZA_DENSE_FULL: u->due = tick + (uint32_t)za_max(SOON_TICKS, dense_ticks()); break;
    case ZA_DENSE_REFUSED: u->due = tick + REFUSED_FACTOR * dense_ticks(); break;
    }
    return end;
}

static void step(size_t unit, struct za_unit *u, uint32_t tick)
{
    za_still_look();
    if (u->due == 0 || (u->phase != ZA_UNIT_PACKED && (!za_pg.mover->may() || za_filing_full())))
        u->due = later(tick, 0);
    else if (u->phase == ZA_UNIT_PROBED)
        pack(unit, u, tick);
    else if (u->phase == ZA_UNIT_PACKED)
        (void)densify(unit, u, tick);
    else
        probe(unit, u, tick);
}

/*
 * Pages came back in a unit at rest: it will be worth another look, later if that happens often.
 * Where a look was due anyway, new pages may bring it forward, and such as come back put it off.
 */
static uint32_t stirred_due(const struct za_unit *u, uint32_t tick, bool settled, bool stored)
{
    if (stored)
        return settled ? later_own(u, tick, u->backoff)
                       : (uint32_t)za_max(u->due, later_own(u, tick, 0));
    uint32_t due = later(tick, u->backoff);
    return settled ? due : (uint32_t)za_min(u->due, due);
}

static void stir(struct za_unit *u, uint32_t tick)
{
    if (u->phase == ZA_UNIT_PROBED || u->due == 0)
        return;
    uint8_t came = __atomic_exchange_n(&u->touched, 0, __ATOMIC_RELAXED);
    if (!came)
        return;
    bool packed = u->phase == ZA_UNIT_PACKED; /* due to be packed densely: that is over */
    u->phase = ZA_UNIT_RESTING;
    if (came & ZA_CAME_STORED)
        returned(u, tick);
    u->due = stirred_due(u, tick, packed || u->due == ZA_TICK_NEVER, came & ZA_CAME_STORED);
}

/* Where memory is short, time is not saved. */
static bool budget_left(void)
{
    uint64_t percent = __atomic_load_n(&za_conf.cpu_limit, __ATOMIC_RELAXED);
    if (za_room_strain() != ZA_STRAIN_NONE)
        percent = 100;
    return za_without(P5_BUDGET) ||
           za_budget_look(&za_pg.budget, za_os->now(), za_os->thread_cpu(), percent);
}

/* What is due by `due` is due now, but packing densely can wait. */
static enum za_plan_end walk_chunk(size_t c, uint32_t tick, uint32_t due)
{
    struct za_chunk *chunk = &za_pg.chunks[c];
    bool stirred = __atomic_exchange_n(&chunk->stirred, 0, __ATOMIC_ACQ_REL);
    if (!stirred && chunk->due > due)
        return ZA_PLAN_DONE;
    uint32_t least = ZA_TICK_NEVER;
    enum za_plan_end end = ZA_PLAN_DONE;
    for (size_t i = 0; i < ZA_UNITS_PER_CHUNK; i++) {
        size_t unit = c * ZA_UNITS_PER_CHUNK + i;
        struct za_unit *u = &za_pg.units[unit];
        if (stirred)
            stir(u, tick);
        if (end == ZA_PLAN_DONE && u->due <= (u->phase == ZA_UNIT_PACKED ? tick : due)) {
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

/* ---- pressed ----------------------------------------------------------------------------------
 */

/* What happened within this is not undone at once. */
static uint32_t moment(uint32_t ticks)
{
    return za_min(SOON_TICKS, ticks / HASTE);
}

/* Waits to be packed densely: when it is time, or until a dictionary is made. */
static bool squeezed_some_time(const struct za_unit *u, uint32_t tick)
{
    return u->phase == ZA_UNIT_PACKED && u->due <= tick + dense_ticks();
}

/* Not what was stored a moment ago, nor what waits for the dictionary that is in the making. */
static bool squeezable(const struct za_unit *u, uint32_t tick)
{
    return u->phase == ZA_UNIT_PACKED && u->due <= tick + dense_ticks() - moment(dense_ticks()) &&
           (za_dense_idle() || u->due <= tick || u->due > tick + SOON_TICKS);
}

/* May be pressed: at rest, or in limbo already; not what is stored, and not what does not compress. */
static bool pressable(const struct za_unit *u, enum pressing how, uint32_t tick)
{
    if (how == PRESS_STORED)
        return squeezable(u, tick);
    bool settled = u->due == ZA_TICK_NEVER || (u->raw && u->due == u->raw_due);
    if (u->phase == ZA_UNIT_PACKED || settled || u->due == 0 || u->backoff == BACKOFF_RAW)
        return false;
    if (u->phase == ZA_UNIT_PROBED || how == PRESS_ANY)
        return true;
    return u->due <= (how == PRESS_COOL ? later(tick, 0)
                                        : later_own(u, tick, u->backoff) - moment(cold_ticks()));
}

/* Before units are compared: what F has noticed, and what is new. */
static void stir_all(uint32_t tick)
{
    for (size_t c = 0; c < known(); c++) {
        struct za_chunk *chunk = &za_pg.chunks[c];
        if (!__atomic_exchange_n(&chunk->stirred, 0, __ATOMIC_ACQ_REL) && chunk->due)
            continue;
        for (size_t u = c * ZA_UNITS_PER_CHUNK; u < (c + 1) * ZA_UNITS_PER_CHUNK; u++) {
            stir(&za_pg.units[u], tick);
            if (za_pg.units[u].due == 0)
                za_pg.units[u].due = later(tick, 0);
        }
        chunk->due = 1; /* I1 */
    }
}

/* A unit was looked at outside a walk (I1). */
static void note_due(size_t unit)
{
    struct za_chunk *c = &za_pg.chunks[unit / ZA_UNITS_PER_CHUNK];
    if (c->due > za_pg.units[unit].due)
        c->due = za_pg.units[unit].due;
}

/* Who has least goes first. */
static uint32_t rank(const struct za_unit *u, enum pressing how)
{
    return how == PRESS_STORED ? u->stored : u->due;
}

/* The rank before which `n` units are. */
static uint32_t horizon(size_t n, enum pressing how, uint32_t tick)
{
    struct za_select s;
    za_select_start(&s, n);
    do {
        for (size_t u = 0; u < known() * ZA_UNITS_PER_CHUNK; u++)
            if (pressable(&za_pg.units[u], how, tick))
                za_select_add(&s, rank(&za_pg.units[u], how));
    } while (za_select_next(&s));
    return s.key;
}

static uint64_t taken_out(void)
{
    return za_stat_get(ZA_STAT_PG_PACKED) + za_stat_get(ZA_STAT_PG_ZERO) +
           za_stat_get(ZA_STAT_PG_DEAD);
}

/*
 * Takes out what is due first, `bytes` of it or a little more. All of it goes to limbo before any
 * is packed: who uses some has a moment to come for it. Returns pages, and how many units were looked at.
 */
static size_t press(size_t bytes, enum pressing how, uint32_t tick, size_t *tried)
{
    uint64_t before = taken_out();
    size_t n = bytes / ZA_UNIT_SIZE + 1, units = known() * ZA_UNITS_PER_CHUNK;
    forced = true;
    stir_all(tick);
    uint32_t last = horizon(n, how, tick);
    static size_t chosen[PRESS_MOST];
    size_t got = 0;
    for (size_t i = 0; i < units && got < za_min(n, PRESS_MOST); i++) {
        struct za_unit *u = &za_pg.units[i];
        if (!pressable(u, how, tick) || rank(u, how) > last)
            continue;
        ++*tried;
        za_still_look();
        if (u->phase != ZA_UNIT_PROBED)
            probe(i, u, tick);
        if (u->phase == ZA_UNIT_PROBED)
            chosen[got++] = i;
        note_due(i);
        if (how != PRESS_ANY && !budget_left())
            break;
    }
    for (size_t i = 0; i < got; i++) {
        za_still_look();
        if (za_pg.units[chosen[i]].phase == ZA_UNIT_PROBED && za_pg.mover->may())
            pack(chosen[i], &za_pg.units[chosen[i]], tick);
        note_due(chosen[i]);
        if (how != PRESS_ANY && (!budget_left() || za_filing_full()))
            break; /* the others are in limbo, and may be pressed again */
    }
    return (size_t)(taken_out() - before);
}

static size_t press_bytes(uint64_t need)
{
    return za_min(need, za_max(PRESS_BYTES, used_bytes() / PRESS_SHARE));
}

/* For the target: how much too much it is, but for what is about to be given back. */
static void look_at_target(uint32_t tick)
{
    uint64_t target = __atomic_load_n(&za_conf.target, __ATOMIC_RELAXED);
    if (!target)
        above_target = 0;
    if (!target || (tick < target_check && target == target_seen))
        return;
    za_footprint();
    uint64_t total = za_stat_get(ZA_STAT_FOOT_TOTAL);
    uint64_t leaving = za_store_leaving(za_pg.store) + za_dense_leaving();
    above_target = total > target ? total - target : 0;
    target_check = tick + (above_target ? ABOVE_CHECK_TICKS : TARGET_CHECK_TICKS);
    above_target -= za_min(above_target, leaving);
    target_seen = target;
    pressing = PRESS_COOL;
}

/* What it came to is known when it is counted. */
static void won(uint64_t bytes, uint32_t tick)
{
    above_target -= za_min(above_target, bytes);
    if (!above_target)
        target_check = tick;
}

/* Where max_store has no room it would be compressed in vain, every time that the target is missed. */
static bool press_resident(uint32_t tick)
{
    if (!za_filing_room())
        return false;
    size_t tried = 0, pages = press(press_bytes(above_target), pressing, tick, &tried);
    won((uint64_t)pages << za_pg.page_shift, tick);
    return pages != 0;
}

static uint64_t stored_bytes(void)
{
    struct za_store_stats s;
    za_store_stats(za_pg.store, &s);
    return s.live_bytes;
}

/* Packs densely what was stored first, until that is enough; a pass may take several turns. */
static size_t squeeze_some(uint32_t tick)
{
    static size_t next = SIZE_MAX;
    size_t units = known() * ZA_UNITS_PER_CHUNK, tried = 0;
    uint64_t before = stored_bytes();
    if (next >= units) {
        next = 0;
        stir_all(tick);
        squeeze_last = horizon(above_target / SQUEEZE_GAIN + 1, PRESS_STORED, tick);
    }
    while (next < units && stored_bytes() + above_target > before) {
        struct za_unit *u = &za_pg.units[next++];
        if (!squeezable(u, tick) || rank(u, PRESS_STORED) > squeeze_last)
            continue;
        za_still_look();
        enum za_dense_end end = densify(next - 1, u, tick);
        note_due(next - 1);
        tried += end != ZA_DENSE_FULL;
        if (end == ZA_DENSE_FULL || !budget_left() || za_mail_waiting())
            break;
    }
    won(before - za_min(before, stored_bytes()), tick);
    return tried;
}

/* Is there going to be enough to squeeze? */
static bool squeezed_soon(uint32_t tick)
{
    uint64_t gain = 0;
    for (size_t u = 0; u < known() * ZA_UNITS_PER_CHUNK && gain < above_target; u++)
        gain += squeezed_some_time(&za_pg.units[u], tick) ? SQUEEZE_GAIN : 0;
    return gain >= above_target;
}

/* *wait: there is more to win of what is stored, but not yet. */
static bool squeeze(uint32_t tick, bool *wait)
{
    bool dense = za_conf.dense_ms && za_dense_possible() && !za_room_scarce();
    for (int passes = 0; dense && passes < 2; passes++) /* the first may be the end of one */
        if (squeeze_some(tick))
            return true;
    uint64_t bytes = dense ? za_filing_early(ZA_FILING_DENSE) : 0;
    *wait = !bytes && dense && squeezed_soon(tick);
    if (!bytes && !*wait)
        bytes = za_filing_early(ZA_FILING_ANY);
    won(bytes, tick);
    return bytes != 0;
}

/* Within the budget; true: more is to be done at once. */
static bool press_to_target(uint32_t tick)
{
    bool wait = false;
    look_at_target(tick);
    while (above_target && !wait && pressing < PRESS_END) {
        if (pressing == PRESS_STORED ? squeeze(tick, &wait) : press_resident(tick))
            return above_target != 0;
        if (!wait)
            pressing++;
    }
    if (above_target)
        target_check = tick + (wait ? ABOVE_CHECK_TICKS : TARGET_CHECK_TICKS);
    above_target = 0;
    return false;
}

/*
 * One batch for want of room in the control group, whatever it costs; true: more is wanted at once.
 */
bool za_plan_press(uint64_t now)
{
    static size_t fruitless; /* units looked at since there was a page in one */
    uint64_t need = za_room_need(now);
    if (!need || !za_pg.mover->may())
        return false;
    (void)za_place_records(za_pg_nchunks());
    size_t tried = 0, pages = press(press_bytes(need), PRESS_ANY, za_pg_tick(now), &tried);
    fruitless = pages || !tried ? 0 : fruitless + tried;
    bool all = !pages && (!tried || fruitless > known() * ZA_UNITS_PER_CHUNK);
    za_room_pressed(za_os->now(), pages, all);
    return !all;
}

/* ---- turns ------------------------------------------------------------------------------------
 */

static struct za_age_seen seen_now(void)
{
    return (struct za_age_seen){
        .configured_ms = __atomic_load_n(&za_conf.cold_ms, __ATOMIC_RELAXED),
        .refaults = za_stat_get(ZA_STAT_PG_RESTORED),
        .packed = za_stat_get(ZA_STAT_PG_PACKED),
        .pages = za_probe_there(),
        .forced = forced || above_target || za_room_strain() != ZA_STRAIN_NONE};
}

static void look_at_age(uint64_t now)
{
    const struct za_age_seen seen = seen_now();
    enum za_age_step step = za_age_look(&age, now, &seen);
    forced = false;
    if (step == ZA_AGE_SAME)
        return;
    za_stat_set(ZA_STAT_PG_COLD_MS, age.ms);
    za_stat_add(ZA_STAT_PG_THRASH, step == ZA_AGE_THRASH);
}

/* May W do now what can wait? It may always where memory is short. */
bool za_plan_credit(void)
{
    return za_room_strain() != ZA_STRAIN_NONE || budget_left();
}

static void earlier(uint32_t *tick, uint32_t by)
{
    if (*tick && *tick != ZA_TICK_NEVER)
        *tick = *tick > by ? *tick - by : 1;
}

/* A process may live for longer than there are ticks: once in some months all of them are put back. */
static void put_clock_back(void)
{
    uint32_t by = CLOCK_BACK;
    for (size_t i = 0; i < za_pg.records_ready * ZA_UNITS_PER_CHUNK; i++) {
        earlier(&za_pg.units[i].due, by);
        earlier(&za_pg.units[i].raw_due, by);
        earlier(&za_pg.units[i].stored, by);
    }
    for (size_t c = 0; c < za_pg.records_ready; c++)
        earlier(&za_pg.chunks[c].due, by);
    earlier(&target_check, by);
    earlier(&squeeze_last, by);
    za_pg.epoch += by * (uint64_t)ZA_TICK_NS;
}

/* Does what is due; *next: the tick at which something is due again. */
enum za_plan_end za_plan_turn(uint64_t now, uint32_t *next)
{
    if (za_pg_tick(now) >= za_plan_clock_end)
        put_clock_back();
    uint32_t tick = za_pg_tick(now);
    if (!budget_left()) {
        za_stat_add(ZA_STAT_PG_THROTTLED, 1);
        return ZA_PLAN_THROTTLED;
    }
    (void)za_place_records(za_pg_nchunks());
    look_at_age(now);
    if (press_to_target(tick))
        return ZA_PLAN_CALLED;
    size_t n = known();
    uint32_t reach = early();
    for (size_t i = 0; i < n; i++) {
        size_t c = (cursor + i) % n;
        enum za_plan_end end = walk_chunk(c, tick, tick + reach);
        if (end != ZA_PLAN_DONE) {
            cursor = c;
            za_stat_add(ZA_STAT_PG_THROTTLED, end == ZA_PLAN_THROTTLED);
            return end;
        }
        if (za_pg.chunks[c].due < *next)
            *next = za_pg.chunks[c].due;
    }
    if (reach && *next != ZA_TICK_NEVER)
        *next = (uint32_t)za_max(*next - za_min(reach, *next), tick + HASTY_TICKS);
    return ZA_PLAN_DONE;
}

/* In the middle of long work: who forks, and who waits for the room that was made. */
static void look_around(size_t unit)
{
    za_still_look();
    if (unit % ROOM_UNITS == 0)
        (void)za_room_look(za_os->now());
}

/* Everything evictable, now, whatever its age; with `polite`, until a request comes. */
void za_plan_everything(bool polite)
{
    uint32_t tick = za_pg_tick(za_os->now());
    (void)za_place_records(za_pg_nchunks());
    if (!za_pg_active())
        return;
    if (!polite) {
        const struct za_age_seen seen = seen_now();
        za_age_skip(&age, &seen, za_os->now());
        za_pg.held_until = 0;
        za_fault_quiesce(); /* a message F has in hand may be old, and would bring its page back */
    }
    size_t units = known() * ZA_UNITS_PER_CHUNK;
    for (size_t unit = 0; unit < units && !(polite && za_mail_waiting()); unit++) {
        struct za_unit *u = &za_pg.units[unit];
        look_around(unit);
        if (!za_pg.mover->may())
            continue;
        u->raw = 0;
        __atomic_store_n(&u->touched, 0, __ATOMIC_RELAXED); /* else what is packed looks warm */
        /* Probed also when it was before: pages may have come back since. */
        if (za_probe_unit(unit) > 0 || u->phase == ZA_UNIT_PROBED)
            pack(unit, u, tick);
        note_due(unit);
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
            look_around(unit);
            if (za_pg_registered(unit * za_pg.unit_pages) && za_dense_unit(unit) == ZA_DENSE_LATER)
                again = !polite;
        }
        while (za_dense_turn() && !polite)
            ;
    }
}

/* In a child that begins anew: nothing is out, whatever was. */
void za_plan_forget(void)
{
    for (size_t i = 0; i < za_pg.records_ready * ZA_UNITS_PER_CHUNK; i++) {
        struct za_unit *u = &za_pg.units[i];
        u->due = u->stored = 0;
        u->phase = ZA_UNIT_RESTING;
        u->returns = u->backoff = u->touched = 0;
    }
    for (size_t c = 0; c < za_pg.records_ready; c++)
        za_pg.chunks[c].due = 0;
}

static void sooner(uint32_t *due, uint32_t at)
{
    uint32_t was = __atomic_load_n(due, __ATOMIC_RELAXED);
    while (was > at &&
           !__atomic_compare_exchange_n(due, &was, at, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        ;
}

/*
 * The pages' contents are new or gone: their units start over.  By W, or while it stands still (amid.c), by several
 * threads at once, which may write the same of the same units.
 */
void za_plan_rested(size_t first_page, size_t npages)
{
    size_t end = first_page + npages, known = za_pg.records_ready * ZA_UNITS_PER_CHUNK;
    uint32_t due = later(za_pg_tick(za_os->now()), 0);
    for (size_t i = za_pg_unit_of_page(first_page); i * za_pg.unit_pages < end && i < known; i++) {
        struct za_unit *u = &za_pg.units[i];
        u->raw = 0;
        u->returns = u->backoff = 0;
        if (u->due == 0)
            continue;
        if (u->phase != ZA_UNIT_PROBED)
            u->phase = ZA_UNIT_RESTING;
        else if (u->due < due)
            continue; /* some of it may be in limbo */
        u->due = due;
        sooner(&za_pg.chunks[i / ZA_UNITS_PER_CHUNK].due, due);
    }
}
