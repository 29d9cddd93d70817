/* SPDX-License-Identifier: MIT */
/*
 * policy -- decisions of the worker that are arithmetic only: how near the end of memory is, how
 * much is kept free, how old is cold, and which units are the coldest. Pure: no system call, no
 * clock, nothing of the pager's state.
 *
 * Ideas: far memory as a promotion rate held below a share of the working set (Google, 2019); the
 * reserve as a ration that shrinks while it only moves memory to and fro.
 */
#ifndef ZA_PAGER_POLICY_H
#define ZA_PAGER_POLICY_H

#include "base/base.h"

/* ---- how near the end is ---- */

enum za_strain {
    ZA_STRAIN_NONE,
    ZA_STRAIN_HASTE, /* memory gets short: ages pass faster, processor time is not saved */
    ZA_STRAIN_PRESS  /* less than the reserve is left: out with the coldest, whatever its age */
};

/* What is kept free below the limit: [w] all of it. */
struct za_reserve {
    uint64_t full, now; /* bytes: wanted, and at present */
    uint64_t began;     /* ns: of the interval in which is counted */
    uint64_t rested;    /* ns: since when nothing is pressed */
    uint64_t refaults;  /* counters at its beginning */
    uint64_t pressed;
    bool tight; /* least is kept, and more would not help: only who waits is made room for */
};

/* At the first look, and whenever the limit is another one. */
void za_reserve_start(struct za_reserve *r, uint64_t limit, uint64_t now);
/*
 * Pages pressed out and pages that came back, so far. When what goes out comes back as fast, the
 * reserve buys nothing: less is kept. True: that is so (once for each interval).
 */
bool za_reserve_look(struct za_reserve *r, uint64_t now, uint64_t pressed, uint64_t refaults);
/* Bytes `left` below the limit; `stalled` as in struct za_room. Hysteresis by `was`. */
enum za_strain za_strain(enum za_strain was, uint64_t left, const struct za_reserve *r,
                         uint32_t stalled);
/* Bytes that may be restored before the worker has looked again; the rest is the worker's. */
int64_t za_reserve_credit(const struct za_reserve *r, uint64_t left);

/* When to look again. */
struct za_watch {
    uint64_t seen; /* ns of the last look; 0: none */
    uint64_t used; /* bytes then */
    uint64_t rate; /* bytes a second that it grew, of late */
};

/* ns until half of what is left above the reserve may be gone. */
uint64_t za_watch_look(struct za_watch *w, uint64_t now, uint64_t used, uint64_t left,
                       enum za_strain s, const struct za_reserve *r);

/* ---- how old is cold ---- */

/*
 * An age is good when little of what is there has to be brought back: RATE_HIGH, 0.2 % a minute.
 * That is judged at the end of intervals (an age, but 5 s to a minute), by what the last minutes
 * came to and not by one interval: programs sweep through their memory every minute or so, and that
 * nothing comes back between two sweeps says nothing in favour of the age.
 *
 * Averaged are `back` and `out`, pages that came back and that were stored: sums that fade by a
 * factor of e in MEMORY, three minutes, or the configured age where that is longer. Everything at
 * once is remembered for a quarter of an hour by that. That is about what the longest age, rest and
 * limbo together, keeps a page in place: what is forgotten, no age could have kept.
 *
 * A burst is an interval over the rate. The first one only keeps the age from shrinking, until the
 * average is down to a quarter of the rate. The age grows with a burst that comes while the average
 * is still over the rate without it (and without the interval before it: a burst may last from one
 * into the next), and with any that comes while the age is below where it had been driven to. So a
 * period is learnt from its second burst on, by doublings; fourfold while it is thrashing: as much
 * went out as came back, in whatever intervals, and that is more than RATE_THRASH. Nothing of this
 * puts off what goes out for the first time, in a program to which little comes back.
 *
 * Why it does not swing. What comes back within two ages of a growth went out before it, and makes
 * nothing grow; that is also how long it takes until something is out at the new age. Down it goes
 * by quarters, each after QUIET quiet intervals, twice as many for each growth (QUIET_MOST at
 * most), until it is back at what is configured: so an age that has proved too short is tried again
 * more and more seldom. Below what is configured, where idle programs get, the first growth is to
 * that at once.
 *
 * What it is a share of: `pages`, those that were resident or out when the worker probed their unit
 * last. Not what is free, nor what nobody ever touched. Google's working set is less, what was
 * touched in the last two minutes; but of an idle program that is next to nothing, and a share of
 * that would let a request now and then keep all that it is given from then on in memory. Of all
 * that is there, the rate says how long a page stays out on average: 500 minutes for one restore.
 * It is laxer than Google's by what is cold.
 *
 * While pages go out for want of room or to a target, what comes back says nothing about the age:
 * it stays, and both sums begin anew, also afterwards. Thrashing is counted all the same. Nothing
 * slows it down then but cpu_limit, for packing, and the reserve above: it is what was asked for.
 */
struct za_age {
    uint64_t ms;       /* a page untouched for this long is cold, now */
    uint64_t start_ms; /* as configured */
    uint64_t began;    /* ns: of the interval */
    uint64_t refaults; /* counters at its beginning */
    uint64_t packed;
    uint64_t back, out; /* pages, fading */
    uint64_t last;      /* of `back`, what came in the last interval */
    uint64_t proved_ms; /* where it was driven to; 0: nowhere */
    uint64_t tried;     /* ns: until then, what comes back went out before it grew */
    uint8_t quiet;      /* intervals on end without too many */
    uint8_t need;       /* so many, and it shrinks */
    bool forced;        /* in this interval, at least once */
    bool was_forced;    /* in those of which `back` and `out` are */
};

struct za_age_seen {
    uint64_t configured_ms;
    uint64_t refaults; /* pages that were asked for while they were stored: counter */
    uint64_t packed;   /* pages stored: counter */
    uint64_t pages;    /* resident or out, of what the worker looks at */
    bool forced;       /* pages go out for want of room: refaults say nothing about the age */
};

enum za_age_step { ZA_AGE_SAME, ZA_AGE_CHANGED, ZA_AGE_THRASH };

void za_age_start(struct za_age *a, uint64_t configured_ms);
/* At most once an interval does something. THRASH: what is stored comes back as fast. */
enum za_age_step za_age_look(struct za_age *a, uint64_t now, const struct za_age_seen *seen);
/* What happened since the last look was asked for: it does not count, nor what went before. */
void za_age_skip(struct za_age *a, const struct za_age_seen *seen, uint64_t now);

/* ---- which are the coldest ---- */

/*
 * The n-th smallest of 32-bit keys, found in four passes over all of them:
 *     za_select_start(&s, n); do { for all keys: za_select_add(&s, key); } while (za_select_next(&s));
 * Then s.key is such that at least n keys are <= it (all of them, if there are fewer), and as few
 * more as equal keys make.
 */
struct za_select {
    uint32_t key;
    unsigned shift;
    uint64_t want;
    uint32_t count[256];
};

void za_select_start(struct za_select *s, uint64_t n);
void za_select_add(struct za_select *s, uint32_t key);
bool za_select_next(struct za_select *s); /* true: another pass */

#endif
