/* SPDX-License-Identifier: MIT */
/*
 * policy -- see policy.h.
 *
 * Locks: none.  May sleep: no.  May fault: no.  Allocates: nothing.
 */
#include "pager/policy.h"

#include <string.h>

/* ---- how near the end is ---- */

#define RESERVE_SHARE 16u          /* of the limit */
#define RESERVE_MIN (16 * ZA_MIB)  /* but a quarter of a small limit */
#define RESERVE_MAX (512 * ZA_MIB) /* of memory that fills within tens of milliseconds */
#define RESERVE_FLOOR (8 * ZA_MIB) /* always kept: between half and a quarter of the reserve */
#define RESERVE_INTERVAL_NS (ZA_NS_PER_S / 2)
#define RESERVE_REST_NS (10 * ZA_NS_PER_S)
#define PRESSED_MIN 256u   /* pages: less says nothing */
#define STALLED_HIGH 1000u /* 10 % of the time */
#define STALLED_LOW 500u

#define LOOK_MIN_NS (2 * ZA_NS_PER_MS)
#define LOOK_STRAINED_NS (100 * ZA_NS_PER_MS)
#define LOOK_MAX_NS ZA_NS_PER_S

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t most(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

void za_reserve_start(struct za_reserve *r, uint64_t limit, uint64_t now)
{
    uint64_t small = least(RESERVE_MIN, limit / 4);
    r->full = least(most(limit / RESERVE_SHARE, small), RESERVE_MAX);
    r->now = r->full;
    r->tight = false;
    r->began = r->rested = now;
    r->refaults = r->pressed = UINT64_MAX; /* no interval has begun */
}

static uint64_t floor_of(const struct za_reserve *r)
{
    return most(r->full / 4, least(r->full / 2, RESERVE_FLOOR));
}

bool za_reserve_look(struct za_reserve *r, uint64_t now, uint64_t pressed, uint64_t refaults)
{
    if (r->pressed != UINT64_MAX && now - r->began < RESERVE_INTERVAL_NS)
        return false;
    uint64_t out = r->pressed == UINT64_MAX ? 0 : pressed - r->pressed;
    uint64_t back = r->pressed == UINT64_MAX ? 0 : refaults - r->refaults;
    r->began = now;
    r->pressed = pressed;
    r->refaults = refaults;
    if (out)
        r->rested = now;
    if (out >= PRESSED_MIN && 2 * back >= out) {
        r->tight = r->now <= floor_of(r);
        r->now = most(r->now / 2, floor_of(r));
        return true;
    }
    if (now - r->rested >= RESERVE_REST_NS) {
        r->now = least(2 * r->now, r->full);
        r->tight = false;
        r->rested = now;
    }
    return false;
}

enum za_strain za_strain(enum za_strain was, uint64_t left, const struct za_reserve *r,
                         uint32_t stalled)
{
    uint64_t press = was == ZA_STRAIN_PRESS ? r->now + r->now / 4 : r->now;
    uint64_t haste = was == ZA_STRAIN_NONE ? 2 * r->now : 2 * r->now + r->now / 2;
    if (left < press)
        return ZA_STRAIN_PRESS;
    if (left < haste || stalled >= (was == ZA_STRAIN_NONE ? STALLED_HIGH : STALLED_LOW))
        return ZA_STRAIN_HASTE;
    return ZA_STRAIN_NONE;
}

int64_t za_reserve_credit(const struct za_reserve *r, uint64_t left)
{
    return (int64_t)left - (int64_t)(r->now / 2);
}

uint64_t za_watch_look(struct za_watch *w, uint64_t now, uint64_t used, uint64_t left,
                       enum za_strain s, const struct za_reserve *r)
{
    uint64_t span = now - w->seen, grown = used > w->used ? used - w->used : 0;
    uint64_t rate = 0;
    if (w->seen && span)
        rate = grown * 1000 / (span / 1000000 + 1);
    w->rate = most(rate, w->rate / 2);
    w->seen = now;
    w->used = used;
    uint64_t spare = left > r->now ? left - r->now : 0;
    uint64_t wait = w->rate ? spare / 2 * 1000 / w->rate * 1000000 : LOOK_MAX_NS;
    return least(most(wait, LOOK_MIN_NS), s == ZA_STRAIN_NONE ? LOOK_MAX_NS : LOOK_STRAINED_NS);
}

/* ---- how old is cold ---- */

#define INTERVAL_MIN_NS (5 * ZA_NS_PER_S)
#define INTERVAL_MAX_NS (60 * ZA_NS_PER_S)
#define MEMORY_MS 180000u
#define AGE_MOST 64u    /* times what is configured */
#define AGE_LEAST 4u    /* a fraction of it */
#define REFAULTS_MIN 64 /* in memory: fewer say nothing */
/* Refaults a minute, in thousandths of the pages. */
#define RATE_HIGH 2u
#define RATE_THRASH 100u
#define MINUTE_MS 60000u
#define QUIET 3u       /* intervals until it shrinks */
#define QUIET_MOST 24u /* where it grew again and again */

void za_age_start(struct za_age *a, uint64_t configured_ms)
{
    *a = (struct za_age){.ms = configured_ms, .start_ms = configured_ms, .need = QUIET};
}

static void begin(struct za_age *a, const struct za_age_seen *seen, uint64_t now)
{
    a->began = now;
    a->refaults = seen->refaults;
    a->packed = seen->packed;
    a->forced = false;
}

static void forget(struct za_age *a)
{
    a->back = a->last = a->out = 0;
}

void za_age_skip(struct za_age *a, const struct za_age_seen *seen, uint64_t now)
{
    begin(a, seen, now);
    forget(a);
}

static void grow(struct za_age *a, uint64_t factor, uint64_t now)
{
    a->ms = least(most(a->ms * factor, a->start_ms), a->start_ms * AGE_MOST);
    a->proved_ms = a->ms;
    a->tried = now + 2 * a->ms * ZA_NS_PER_MS;
    a->need = (uint8_t)least(2 * (uint64_t)a->need, QUIET_MOST);
}

static void shrink(struct za_age *a)
{
    a->ms = most(a->ms - a->ms / 4, most(a->start_ms / AGE_LEAST, 1));
    a->quiet = 0;
    if (a->ms > a->start_ms)
        return;
    a->proved_ms = 0;
    a->need = QUIET;
}

static uint64_t memory_ms(const struct za_age *a)
{
    return most(MEMORY_MS, a->start_ms);
}

/* A share of the pages, in thousandths a minute, of which `n` in `ms` are more. */
static bool beyond(uint64_t n, uint64_t ms, uint64_t pages, uint64_t rate)
{
    return n * MINUTE_MS / ms * 1000 > pages * rate;
}

/* The interval of `span` ms is over: `back` pages came back in it, `out` were stored. */
static enum za_age_step judge(struct za_age *a, uint64_t now, uint64_t span, uint64_t back,
                              uint64_t out, uint64_t pages)
{
    uint64_t was = a->ms, memory = memory_ms(a);
    uint64_t before = (a->back - a->last) * memory / (memory + span);
    a->back = a->back * memory / (memory + span) + back;
    a->last = back;
    a->out = a->out * memory / (memory + span) + out;
    bool burst = a->back >= REFAULTS_MIN && beyond(back, span, pages, RATE_HIGH);
    bool again = burst && beyond(before, memory, pages, RATE_HIGH);
    bool churn = again && 2 * a->out >= a->back && beyond(back, span, pages, RATE_THRASH) &&
                 beyond(a->back, memory + span, pages, RATE_THRASH);
    bool quiet = a->back < REFAULTS_MIN || !beyond(4 * a->back, memory + span, pages, RATE_HIGH);
    a->quiet = quiet ? (uint8_t)(a->quiet + 1) : 0;
    if (a->was_forced)
        a->quiet = 0;
    else if (now >= a->tried && (again || (burst && a->ms < a->proved_ms)))
        grow(a, churn ? 4 : 2, now);
    else if (a->quiet >= a->need)
        shrink(a);
    if (churn)
        return ZA_AGE_THRASH;
    return a->ms != was ? ZA_AGE_CHANGED : ZA_AGE_SAME;
}

enum za_age_step za_age_look(struct za_age *a, uint64_t now, const struct za_age_seen *seen)
{
    if (seen->configured_ms != a->start_ms)
        za_age_start(a, seen->configured_ms);
    if (!a->began) {
        za_age_skip(a, seen, now);
        return ZA_AGE_CHANGED;
    }
    a->forced |= seen->forced;
    uint64_t span = now > a->began ? now - a->began : 0;
    if (span < least(most(a->ms * ZA_NS_PER_MS, INTERVAL_MIN_NS), INTERVAL_MAX_NS))
        return ZA_AGE_SAME;
    uint64_t back = seen->refaults - a->refaults, out = seen->packed - a->packed;
    if (a->forced != a->was_forced)
        forget(a); /* one says nothing about the other */
    a->was_forced = a->forced;
    begin(a, seen, now);
    return judge(a, now, span / ZA_NS_PER_MS, back, out, seen->pages);
}

/* ---- which are the coldest ---- */

void za_select_start(struct za_select *s, uint64_t n)
{
    s->key = 0;
    s->shift = 24;
    s->want = most(n, 1);
    memset(s->count, 0, sizeof(s->count));
}

void za_select_add(struct za_select *s, uint32_t key)
{
    if (s->shift == 24 || key >> (s->shift + 8) == s->key >> (s->shift + 8))
        s->count[key >> s->shift & 255]++;
}

bool za_select_next(struct za_select *s)
{
    unsigned digit = 0;
    for (; digit < 255 && s->count[digit] < s->want; digit++)
        s->want -= s->count[digit];
    s->key |= (uint32_t)digit << s->shift;
    memset(s->count, 0, sizeof(s->count));
    if (s->shift == 0)
        return false;
    s->shift -= 8;
    return true;
}
