/* SPDX-License-Identifier: MIT */
/*
 * pager_policy -- what the worker decides by arithmetic: the reserve, the credit, when to look
 * again, how old is cold, which units are the coldest.
 */
#include "pager/policy.h"

#include "tests/unit/unit.h"

#define MS 1000000ull
#define S (1000 * MS)

/* ---- the reserve ---- */

static struct za_reserve reserve_of(uint64_t limit)
{
    struct za_reserve r;

    za_reserve_start(&r, limit, 0);
    return r;
}

UNIT_TEST(reserve_by_the_limit)
{
    CHECK_EQ(reserve_of(32 * ZA_MIB).full, 8 * ZA_MIB);
    CHECK_EQ(reserve_of(120 * ZA_MIB).full, 16 * ZA_MIB);
    CHECK_EQ(reserve_of(ZA_GIB).full, 64 * ZA_MIB);
    CHECK_EQ(reserve_of(1000 * ZA_GIB).full, 512 * ZA_MIB);
    CHECK_EQ(reserve_of(0).full, 0);
}

/* The lower half is never granted: there the worker packs. */
UNIT_TEST(credit_ends_above_the_limit)
{
    struct za_reserve r = reserve_of(120 * ZA_MIB);

    CHECK_EQ(za_reserve_credit(&r, 100 * ZA_MIB), 92 * (int64_t)ZA_MIB);
    CHECK_EQ(za_reserve_credit(&r, 8 * ZA_MIB), 0);
    CHECK_EQ(za_reserve_credit(&r, 0), -8 * (int64_t)ZA_MIB);
}

UNIT_TEST(strain_has_hysteresis)
{
    struct za_reserve r = reserve_of(ZA_GIB); /* 64 MiB */

    CHECK_EQ(za_strain(ZA_STRAIN_NONE, 129 * ZA_MIB, &r, 0), ZA_STRAIN_NONE);
    CHECK_EQ(za_strain(ZA_STRAIN_NONE, 127 * ZA_MIB, &r, 0), ZA_STRAIN_HASTE);
    CHECK_EQ(za_strain(ZA_STRAIN_HASTE, 150 * ZA_MIB, &r, 0), ZA_STRAIN_HASTE);
    CHECK_EQ(za_strain(ZA_STRAIN_HASTE, 161 * ZA_MIB, &r, 0), ZA_STRAIN_NONE);
    CHECK_EQ(za_strain(ZA_STRAIN_HASTE, 63 * ZA_MIB, &r, 0), ZA_STRAIN_PRESS);
    CHECK_EQ(za_strain(ZA_STRAIN_PRESS, 70 * ZA_MIB, &r, 0), ZA_STRAIN_PRESS);
    CHECK_EQ(za_strain(ZA_STRAIN_PRESS, 81 * ZA_MIB, &r, 0), ZA_STRAIN_HASTE);
}

UNIT_TEST(stalls_make_haste)
{
    struct za_reserve r = reserve_of(0);

    CHECK_EQ(za_strain(ZA_STRAIN_NONE, UINT64_MAX, &r, 999), ZA_STRAIN_NONE);
    CHECK_EQ(za_strain(ZA_STRAIN_NONE, UINT64_MAX, &r, 1000), ZA_STRAIN_HASTE);
    CHECK_EQ(za_strain(ZA_STRAIN_HASTE, UINT64_MAX, &r, 600), ZA_STRAIN_HASTE);
    CHECK_EQ(za_strain(ZA_STRAIN_HASTE, UINT64_MAX, &r, 400), ZA_STRAIN_NONE);
}

/* What goes out comes back: less is kept, down to a floor, where only who waits is made room for. */
UNIT_TEST(reserve_that_buys_nothing_shrinks)
{
    struct za_reserve r = reserve_of(ZA_GIB);
    uint64_t now = 0, out = 5000, back = 3000;

    CHECK(!za_reserve_look(&r, now, out, back));
    for (unsigned i = 0; i < 8; i++) {
        CHECK(!za_reserve_look(&r, now + 100 * MS, out + 300, back + 300)); /* no interval */
        now += S;
        out += 1000;
        back += 600;
        CHECK(za_reserve_look(&r, now, out, back));
    }
    CHECK_EQ(r.now, r.full / 4);
    CHECK(r.tight);
    for (unsigned i = 0; i < 22; i++) {
        now += S;
        CHECK(!za_reserve_look(&r, now, out, back));
    }
    CHECK_EQ(r.now, r.full);
    CHECK(!r.tight);
}

UNIT_TEST(reserve_that_holds_stays)
{
    struct za_reserve r = reserve_of(120 * ZA_MIB);
    uint64_t now = 0, out = 0, back = 0;

    for (unsigned i = 0; i < 100; i++) {
        CHECK(!za_reserve_look(&r, now, out, back));
        now += S;
        out += 1000;
        back += 400;
    }
    CHECK_EQ(r.now, r.full);
    for (unsigned i = 0; i < 10; i++) {
        now += S;
        out += 10000;
        back += 10000;
        (void)za_reserve_look(&r, now, out, back);
    }
    CHECK_EQ(r.now, 8 * ZA_MIB); /* of 16: it is little already */
}

/* ---- when to look ---- */

UNIT_TEST(looks_by_the_speed)
{
    struct za_reserve r = reserve_of(120 * ZA_MIB);
    struct za_watch w = {.seen = 0};
    uint64_t left = 116 * ZA_MIB; /* 100 above the reserve */

    CHECK_EQ(za_watch_look(&w, 5 * S, 4 * ZA_MIB, left, ZA_STRAIN_NONE, &r), S);
    CHECK_EQ(za_watch_look(&w, 6 * S, 4 * ZA_MIB, left, ZA_STRAIN_NONE, &r), S);
    /* 40 MiB in a tenth of a second; 60 are left: half of it may be gone in 75 ms */
    uint64_t wait =
        za_watch_look(&w, 6100 * MS, 44 * ZA_MIB, left - 40 * ZA_MIB, ZA_STRAIN_NONE, &r);
    CHECK(wait > 70 * MS);
    CHECK(wait < 80 * MS);
    CHECK(za_watch_look(&w, 6110 * MS, 95 * ZA_MIB, 18 * ZA_MIB, ZA_STRAIN_HASTE, &r) <= 2 * MS);
    /* It has stopped: soon there is nothing to look at. */
    for (unsigned i = 1; i < 40; i++)
        wait = za_watch_look(&w, 6110 * MS + i * S, 95 * ZA_MIB, 18 * ZA_MIB, ZA_STRAIN_HASTE, &r);
    CHECK_EQ(wait, 100 * MS);
}

/* ---- how old is cold ---- */

#define PAGES 1000000u
#define COLD 8000u

static enum za_age_step after(struct za_age *a, uint64_t *now, struct za_age_seen *seen,
                              uint64_t back, uint64_t out)
{
    uint64_t ms = a->ms < 5000 ? 5000 : a->ms;
    *now += ms > 60000 ? 60 * S : ms * MS;
    seen->refaults += back;
    seen->packed += out;
    return za_age_look(a, *now, seen);
}

UNIT_TEST(age_begins_as_configured)
{
    struct za_age a = {.ms = 0};
    struct za_age_seen seen = {.configured_ms = COLD, .pages = PAGES, .refaults = 99999};
    uint64_t now = S;

    CHECK_EQ(za_age_look(&a, now, &seen), ZA_AGE_CHANGED);
    CHECK_EQ(a.ms, COLD);
    seen.configured_ms = 500;
    CHECK_EQ(za_age_look(&a, now + MS, &seen), ZA_AGE_CHANGED);
    CHECK_EQ(a.ms, 500);
}

/* Everything once: that is one sweep, and nothing is learnt from it. */
UNIT_TEST(a_sweep_changes_nothing)
{
    struct za_age a = {.ms = 0};
    struct za_age_seen seen = {.configured_ms = COLD, .pages = PAGES};
    uint64_t now = S;

    (void)za_age_look(&a, now, &seen);
    CHECK_EQ(after(&a, &now, &seen, 0, PAGES), ZA_AGE_SAME);
    CHECK_EQ(after(&a, &now, &seen, PAGES / 2, 0), ZA_AGE_SAME);
    CHECK_EQ(after(&a, &now, &seen, PAGES / 2, 0), ZA_AGE_SAME); /* it may last until the next */
    for (unsigned i = 0; i < 60; i++)                            /* for minutes */
        CHECK_EQ(after(&a, &now, &seen, 0, 0), ZA_AGE_SAME);
    for (unsigned i = 0; i < 600; i++)
        (void)after(&a, &now, &seen, 0, 0);
    CHECK_EQ(a.ms, COLD / 4);
    /* Another may: at once to what is configured. */
    CHECK_EQ(after(&a, &now, &seen, PAGES / 10, 0), ZA_AGE_SAME);
    CHECK_EQ(after(&a, &now, &seen, 0, 0), ZA_AGE_SAME);
    CHECK_EQ(after(&a, &now, &seen, PAGES / 10, 0), ZA_AGE_CHANGED);
    CHECK_EQ(a.ms, COLD);
}

UNIT_TEST(age_grows_while_pages_come_back)
{
    struct za_age a = {.ms = 0};
    struct za_age_seen seen = {.configured_ms = COLD, .pages = PAGES};
    uint64_t now = S;

    (void)za_age_look(&a, now, &seen);
    for (unsigned i = 0; i < 200; i++) /* 0.3 % a minute */
        (void)after(&a, &now, &seen, PAGES * 3 / 1000 * (a.ms < 60000 ? a.ms : 60000) / 60000 + 1,
                    0);
    CHECK_EQ(a.ms, 64 * COLD);
    for (unsigned i = 0; i < 100; i++) /* 0.1 %: as it should be */
        CHECK_EQ(after(&a, &now, &seen, PAGES / 1000, 0), ZA_AGE_SAME);
    for (unsigned i = 0; i < 600; i++)
        (void)after(&a, &now, &seen, 0, 0);
    CHECK_EQ(a.ms, COLD / 4);
}

/* In a small heap, fewer than 64 within minutes are noise, whatever their share; more are not. */
UNIT_TEST(few_pages_say_nothing)
{
    struct za_age a = {.ms = 0};
    struct za_age_seen seen = {.configured_ms = COLD, .pages = 1000};
    uint64_t now = S;

    (void)za_age_look(&a, now, &seen);
    for (unsigned i = 0; i < 100; i++) {
        (void)after(&a, &now, &seen, 2, 0);
        CHECK(a.ms <= COLD);
    }
    CHECK_EQ(a.ms, COLD / 4);
    for (unsigned i = 0; i < 100; i++)
        (void)after(&a, &now, &seen, 10, 0);
    CHECK(a.ms > COLD);
}

/* As much out as back, and that much of all, again: it costs more than it saves. */
UNIT_TEST(thrashing_backs_off_fast)
{
    struct za_age a = {.ms = 0};
    struct za_age_seen seen = {.configured_ms = COLD, .pages = PAGES};
    uint64_t now = S;

    (void)za_age_look(&a, now, &seen);
    for (unsigned i = 0; a.ms == COLD && i < 5; i++)
        CHECK_EQ(after(&a, &now, &seen, PAGES / 4, PAGES / 4), i > 1 ? ZA_AGE_THRASH : ZA_AGE_SAME);
    CHECK_EQ(a.ms, 4 * COLD);
    /* That has to show first: what comes back now went out before. */
    CHECK_EQ(after(&a, &now, &seen, PAGES / 4, PAGES / 4), ZA_AGE_THRASH);
    CHECK_EQ(a.ms, 4 * COLD);
    seen.forced = true;
    for (unsigned i = 0; i < 10; i++)
        CHECK_EQ(after(&a, &now, &seen, PAGES, PAGES), i > 1 ? ZA_AGE_THRASH : ZA_AGE_SAME);
    CHECK_EQ(a.ms, 4 * COLD);
}

/* What went out in one interval comes back in another. */
UNIT_TEST(thrashing_is_seen_across_intervals)
{
    struct za_age a = {.ms = 0};
    struct za_age_seen seen = {.configured_ms = COLD, .pages = PAGES};
    uint64_t now = S;
    unsigned thrash = 0;

    (void)za_age_look(&a, now, &seen);
    for (unsigned i = 0; i < 12; i++) {
        bool even = i % 2 == 0;
        thrash += after(&a, &now, &seen, even ? 0 : PAGES, even ? PAGES : 0) == ZA_AGE_THRASH;
    }
    CHECK_EQ(thrash, 5); /* each but the first time */
    CHECK(a.ms >= 4ul * COLD);
    CHECK(after(&a, &now, &seen, PAGES / 100, 0) != ZA_AGE_THRASH); /* a few more are none */
}

/* Pressed for a moment only: all of the interval says nothing, nor what went before it. */
UNIT_TEST(what_is_forced_says_nothing)
{
    struct za_age a = {.ms = 0};
    struct za_age_seen seen = {.configured_ms = COLD, .pages = PAGES};
    uint64_t now = S;

    (void)za_age_look(&a, now, &seen);
    for (unsigned i = 0; i < 10; i++) {
        seen.forced = true;
        CHECK_EQ(za_age_look(&a, now + S, &seen), ZA_AGE_SAME);
        seen.forced = false;
        CHECK_EQ(after(&a, &now, &seen, PAGES, 0), ZA_AGE_SAME);
    }
    CHECK_EQ(after(&a, &now, &seen, PAGES, 0), ZA_AGE_SAME); /* the first of its own */
    (void)after(&a, &now, &seen, 0, 0);
    (void)after(&a, &now, &seen, PAGES, 0);
    CHECK_EQ(a.ms, 2 * COLD);
}

/* A program that touches `share` pages every `period` seconds; they are out after two ages. */
struct sweeper {
    struct za_age a;
    struct za_age_seen seen;
    uint64_t second, touched, period, share;
    unsigned back, sweeps;
    bool out;
};

static struct sweeper sweeper(uint64_t period, uint64_t share)
{
    struct sweeper w = {.seen = {.configured_ms = COLD, .pages = PAGES},
                        .period = period,
                        .share = share,
                        .second = 1};
    (void)za_age_look(&w.a, w.second * S, &w.seen);
    return w;
}

static void second_of(struct sweeper *w)
{
    w->second++;
    if (!w->out && (w->second - w->touched) * 1000 >= 2 * w->a.ms) {
        w->out = true;
        w->seen.packed += w->share;
    }
    if (w->period && w->second % w->period == 0) {
        w->seen.refaults += w->out ? w->share : 0;
        w->back += w->out;
        w->sweeps++;
        w->out = false;
        w->touched = w->second;
    }
    (void)za_age_look(&w->a, w->second * S, &w->seen);
}

static void minutes_of(struct sweeper *w, unsigned minutes)
{
    w->back = w->sweeps = 0;
    for (unsigned i = 0; i < 60 * minutes; i++)
        second_of(w);
}

/* The age outgrows the period, seldom tries a shorter one, and comes down in the end. */
static void learns(uint64_t period, uint64_t share)
{
    struct sweeper w = sweeper(period, share);

    minutes_of(&w, 60);
    CHECK(w.back <= 9);
    CHECK(2 * w.a.ms > period * 1000);
    minutes_of(&w, 240);
    CHECK(20 * w.back <= w.sweeps + 40);
    w.period = 0;
    uint64_t was = w.a.ms;
    for (unsigned i = 0; i < 480; i++) {
        minutes_of(&w, 1);
        CHECK(w.a.ms <= was);
        CHECK(w.a.ms > COLD ? w.a.ms >= was - was / 4 : true);
        was = w.a.ms;
    }
    CHECK_EQ(w.a.ms, COLD / 4);
}

UNIT_TEST(bursts_every_half_minute_are_learnt)
{
    learns(30, PAGES);
    learns(30, PAGES / 100);
}

UNIT_TEST(bursts_every_minute_are_learnt)
{
    learns(60, PAGES);
    learns(60, PAGES / 10);
    learns(60, PAGES / 100);
}

UNIT_TEST(bursts_every_two_minutes_are_learnt)
{
    learns(120, PAGES);
    learns(120, PAGES / 10);
    learns(120, PAGES / 100);
}

UNIT_TEST(bursts_every_five_minutes_are_learnt)
{
    learns(300, PAGES);
    learns(300, PAGES / 10);
}

/* No age would keep it, and what is new is not to wait for it. */
UNIT_TEST(sweeps_once_in_a_while_are_let_be)
{
    struct sweeper w = sweeper(1200, PAGES);

    minutes_of(&w, 600);
    CHECK_EQ(w.back, w.sweeps);
    CHECK(w.a.ms <= COLD);
}

/* The rate of 0.2 % a minute is of all that is there. */
UNIT_TEST(bursts_below_the_rate_are_let_be)
{
    struct sweeper w = sweeper(60, PAGES * 15 / 10000);

    minutes_of(&w, 120);
    CHECK_EQ(w.back, w.sweeps);
    CHECK(w.a.ms <= COLD);
}

UNIT_TEST(what_was_asked_for_does_not_count)
{
    struct za_age a = {.ms = 0};
    struct za_age_seen seen = {.configured_ms = COLD, .pages = PAGES};
    uint64_t now = S;

    (void)za_age_look(&a, now, &seen);
    for (unsigned i = 0; i < 10; i++) {
        seen.refaults += PAGES;
        za_age_skip(&a, &seen, now);
        (void)after(&a, &now, &seen, 0, 0);
    }
    CHECK(a.ms <= COLD);
}

/* ---- the coldest ---- */

static uint32_t nth(const uint32_t *keys, size_t count, uint64_t n)
{
    struct za_select s;

    za_select_start(&s, n);
    do {
        for (size_t i = 0; i < count; i++)
            za_select_add(&s, keys[i]);
    } while (za_select_next(&s));
    return s.key;
}

UNIT_TEST(selects_the_nth)
{
    static const uint32_t keys[] = {7, 0x10000, 3, UINT32_MAX, 7, 0x10001, 0x1000000, 9};
    static const uint32_t sorted[] = {3, 7, 7, 9, 0x10000, 0x10001, 0x1000000, UINT32_MAX};

    for (unsigned i = 0; i < 8; i++)
        CHECK_EQ(nth(keys, 8, i + 1), sorted[i]);
    CHECK_EQ(nth(keys, 8, 0), 3);
    CHECK_EQ(nth(keys, 8, 100), UINT32_MAX);
    CHECK_EQ(nth(keys, 0, 1), UINT32_MAX);
}

UNIT_TEST(selects_among_many)
{
    static uint32_t keys[5000];
    uint32_t x = 1;

    for (unsigned i = 0; i < 5000; i++)
        keys[i] = (x = x * 1664525 + 1013904223) >> (i % 3 * 9);
    for (uint64_t n = 1; n <= 5000; n += 313) {
        uint32_t key = nth(keys, 5000, n);
        uint64_t below = 0, upto = 0;
        for (unsigned i = 0; i < 5000; i++) {
            below += keys[i] < key;
            upto += keys[i] <= key;
        }
        CHECK(below < n);
        CHECK(upto >= n);
    }
}
