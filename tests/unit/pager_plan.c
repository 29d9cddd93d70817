/* SPDX-License-Identifier: MIT */
/*
 * pager_plan -- what the worker makes of the policy: units that come back wait longer each time,
 * those used every so often are left alone; the rate is of what is there; stalls make haste,
 * thrashing is counted and ends in a longer age, and without credit, or room, only what is asked for
 * is done.
 *
 * The clock is the test's: it is ahead of the system's by as much as the test says, hours at once,
 * against which the time that the test really takes is nothing.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/conf.h"
#include "os/os.h"
#include "pager/pager.h"
#include "pager/policy.h"
#include "pager/private.h"
#include "tests/fake/region.h"
#include "tests/unit/unit.h"

#define HOUR_MS 3600000ull
#define PAGES (ZA_CHUNK_SIZE / REGION_PAGE)

static struct za_os os;
static uint64_t ahead_ms; /* atomic */
static uint64_t extra_ms; /* atomic: processor time that the worker seems to have taken */
static uint32_t stalled;  /* atomic */
static int worker;        /* atomic: its thread id */
static uint32_t asleep;   /* atomic: the worker is */

static uint64_t now(void)
{
    return za_os_linux->now() + __atomic_load_n(&ahead_ms, __ATOMIC_ACQUIRE) * ZA_NS_PER_MS;
}

static uint64_t thread_cpu(void)
{
    return za_os_linux->thread_cpu() + __atomic_load_n(&extra_ms, __ATOMIC_ACQUIRE) * ZA_NS_PER_MS;
}

static int wait_noted(uint32_t *word, uint32_t seen, uint64_t timeout_ns)
{
    bool mine = za_os_linux->tid() == __atomic_load_n(&worker, __ATOMIC_ACQUIRE);

    if (mine)
        __atomic_store_n(&asleep, timeout_ns != ZA_NEVER, __ATOMIC_RELEASE);
    int r = za_os_linux->wait(word, seen, timeout_ns);
    if (mine)
        __atomic_store_n(&asleep, 0, __ATOMIC_RELEASE);
    return r;
}

/* The worker alone asks. */
static int room(struct za_room *out)
{
    __atomic_store_n(&worker, za_os_linux->tid(), __ATOMIC_RELEASE);
    *out = (struct za_room){.limit = UINT64_MAX,
                            .stalled = __atomic_load_n(&stalled, __ATOMIC_ACQUIRE)};
    return 0;
}

static void start(uint64_t cold_ms)
{
    if (region_refused())
        UNIT_SKIP("userfaultfd is refused here");
    region_start(ZA_CHUNK_SIZE);
    os = *za_os;
    os.now = now;
    os.wait = wait_noted;
    os.thread_cpu = thread_cpu;
    os.room = room;
    za_os = &os;
    za_conf.dense_ms = 0;
    region_cold_ms(cold_ms);
    CHECK_EQ(za_pager_evict_all(), 0); /* there is a worker */
}

/*
 * The worker has had whole turns, at the time that it is: a request ends the one it falls into, so
 * the next comes when the worker sleeps.
 */
static void turn(void)
{
    for (unsigned i = 0; i < 3; i++) {
        za_pager_stats(); /* answered, it is awake */
        while (!__atomic_load_n(&asleep, __ATOMIC_ACQUIRE))
            region_sleep_ms(1);
    }
}

static void pass(uint64_t ms)
{
    __atomic_fetch_add(&ahead_ms, ms, __ATOMIC_RELEASE);
    turn();
}

/* How long until everything is stored, in steps of a quarter of an hour. */
static uint64_t quarters_until_stored(size_t n)
{
    uint64_t q = 0;
    for (; za_stat_get(ZA_STAT_PG_STORED) < n && q < 4000; q++)
        pass(HOUR_MS / 4);
    CHECK_EQ(za_stat_get(ZA_STAT_PG_STORED), n);
    return q;
}

/* Few enough pages that the age itself does not change. */
UNIT_TEST(a_unit_that_comes_back_waits_twice_as_long)
{
    const size_t n = za_min(REGION_UNIT, 16);
    uint64_t waited[5];

    start(4 * HOUR_MS);
    while (za_stat_get(ZA_STAT_PG_COLD_MS) != HOUR_MS) /* nothing comes back: it cannot be less */
        pass(HOUR_MS);
    region_fill(0, n, 1);
    (void)quarters_until_stored(n);
    for (unsigned i = 0; i < ZA_ARRAY_LEN(waited); i++) {
        CHECK(region_holds(0, n, 1));
        turn();
        waited[i] = quarters_until_stored(n);
    }
    CHECK_EQ(za_stat_get(ZA_STAT_PG_COLD_MS), HOUR_MS);
    CHECK(za_stat_get(ZA_STAT_PG_REFAULTS) >= ZA_ARRAY_LEN(waited));
    for (unsigned i = 1; i < ZA_ARRAY_LEN(waited); i++)
        CHECK(2 * waited[i] > 3 * waited[i - 1]);
    pass(HOUR_MS * 4 * 64 * 9); /* not soon, by what it waits now: all is forgiven */
    CHECK(region_holds(0, n, 1));
    turn();
    CHECK(quarters_until_stored(n) <= waited[0]);
    region_check();
}

/* The age has come down to an hour; a step is a quarter of that. */
static void start_old(size_t n)
{
    start(4 * HOUR_MS);
    while (za_stat_get(ZA_STAT_PG_COLD_MS) != HOUR_MS)
        pass(HOUR_MS);
    region_fill(0, n, 1);
}

/* All of it is used every `period` hours, `times`: how often anything had to come back. */
static unsigned used_every(size_t n, unsigned period, unsigned times)
{
    unsigned back = 0;
    for (unsigned t = 0; t < times; t++) {
        for (unsigned h = 0; h < period; h += 2)
            pass(2 * HOUR_MS);
        uint64_t restored = za_stat_get(ZA_STAT_PG_RESTORED);
        CHECK(region_holds(0, n, 1));
        turn();
        back += za_stat_get(ZA_STAT_PG_RESTORED) != restored;
    }
    return back;
}

/* Thirty ages, seven and a half of what is configured. */
UNIT_TEST(a_use_every_minute_is_learnt)
{
    const size_t n = za_min(REGION_UNIT, 8);

    start_old(n);
    CHECK(used_every(n, 30, 16) >= 2);
    CHECK_EQ(za_stat_get(ZA_STAT_PG_COLD_MS), HOUR_MS);
    CHECK_EQ(used_every(n, 30, 12), 0);
    /* What is new there has not learnt it. */
    CHECK_EQ(za_pager_discard((uintptr_t)region_at(0), REGION_UNIT * REGION_PAGE), 0);
    region_fill(0, n, 1);
    CHECK(quarters_until_stored(n) <= 20);
    region_check();
}

/* Page after page of a unit is wanted, over hours. */
UNIT_TEST(a_unit_counts_once_each_time_it_was_stored)
{
    const size_t n = REGION_UNIT;

    start_old(n);
    (void)quarters_until_stored(n);
    for (size_t i = 0; i < n; i++) {
        CHECK(region_holds(i, 1, 1));
        pass(HOUR_MS / 8);
    }
    CHECK_EQ(za_stat_get(ZA_STAT_PG_REFAULTS), 1);
    region_check();
}

UNIT_TEST(a_use_once_in_a_while_costs_no_memory)
{
    const size_t n = REGION_UNIT;

    start_old(n);
    CHECK_EQ(used_every(n, 100, 6), 6);
    CHECK_EQ(za_stat_get(ZA_STAT_PG_REFAULTS), 0);
    CHECK(quarters_until_stored(n) <= 16);
    region_check();
}

/* Four units of 128: resident, in limbo, stored; what is freed no longer. */
UNIT_TEST(what_is_there_is_counted)
{
    const size_t n = 4 * REGION_UNIT;

    start(HOUR_MS);
    CHECK_EQ(za_probe_there(), 0);
    region_fill(0, n, 1);
    CHECK_EQ(za_pager_evict_all(), 0);
    CHECK_EQ(za_probe_there(), n);
    CHECK(region_holds(0, n, 1));
    CHECK_EQ(za_pager_evict_all(), 0);
    CHECK_EQ(za_probe_there(), n);
    CHECK_EQ(za_pager_discard((uintptr_t)region_at(0), REGION_UNIT * REGION_PAGE), 0);
    CHECK_EQ(za_pager_evict_all(), 0);
    CHECK_EQ(za_probe_there(), n - REGION_UNIT);
    region_check();
}

UNIT_TEST(stalls_make_haste_without_any_limit)
{
    start(HOUR_MS);
    region_fill(0, PAGES, 1);
    turn();
    for (unsigned i = 0; i < 5; i++)
        pass(HOUR_MS / 16);
    CHECK_EQ(za_stat_get(ZA_STAT_PG_STORED), 0); /* 19 minutes are not an hour */
    CHECK_EQ(za_stat_get(ZA_STAT_PG_STRAIN), ZA_STRAIN_NONE);
    __atomic_store_n(&stalled, 2000, __ATOMIC_RELEASE); /* a fifth of the time */
    for (unsigned i = 0; i < 8; i++) {
        pass(HOUR_MS / 16);
        for (unsigned k = 0; k < 20 && za_stat_get(ZA_STAT_PG_STORED) < PAGES; k++)
            turn();
    }
    CHECK_EQ(za_stat_get(ZA_STAT_PG_STORED), PAGES);
    CHECK_EQ(za_stat_get(ZA_STAT_PG_STRAIN), ZA_STRAIN_HASTE);
    CHECK_EQ(za_stat_get(ZA_STAT_GROUP_LIMIT), 0);
    __atomic_store_n(&stalled, 0, __ATOMIC_RELEASE);
    turn();
    CHECK_EQ(za_stat_get(ZA_STAT_PG_STRAIN), ZA_STRAIN_NONE);
    CHECK(region_holds(0, PAGES, 1));
}

/* As soon as everything is out it is wanted. */
static void want_when_out(uint64_t cold)
{
    for (unsigned i = 0; i < 200 && za_stat_get(ZA_STAT_PG_STORED) < PAGES; i++)
        pass(cold / 4);
    CHECK(region_holds(0, PAGES, 1));
}

/* What has gone out after two ages is wanted. */
static void sweep(uint64_t cold)
{
    pass(cold * 5 / 4);
    pass(cold * 5 / 4);
    for (unsigned k = 0; k < 20 && region_present(0, PAGES); k++)
        turn();
    CHECK(region_holds(0, PAGES, 1));
}

/* What goes out and is wanted at once is found out, said, and not gone on with. */
UNIT_TEST(thrashing_is_counted_and_backed_off_from)
{
    const uint64_t cold = 20000;

    start(cold);
    region_grow(REGION_SIZE); /* the rate is of what was touched, not of this */
    region_fill(0, PAGES, 1);
    for (unsigned i = 0; i < 4; i++)
        want_when_out(cold);
    pass(cold);
    CHECK(za_stat_get(ZA_STAT_PG_THRASH) > 0);
    uint64_t packed = za_stat_get(ZA_STAT_PG_PACKED);
    for (unsigned i = 0; i < 8; i++)
        sweep(cold);
    CHECK(za_stat_get(ZA_STAT_PG_PACKED) - packed < 8 * PAGES / 2);
    region_check();
}

/* ---- the budget ---- */

static uint64_t compacted(void)
{
    za_pager_stats();
    return za_stat_get(ZA_STAT_ST_COMPACTED);
}

/* Every second unit dies, one request each. */
static void discard_half(void)
{
    for (size_t p = 0; p < PAGES; p += 2 * REGION_UNIT)
        CHECK_EQ(za_pager_discard((uintptr_t)region_at(p), ZA_UNIT_SIZE), 0);
}

/* Half of each page compresses. */
static void fill_heavy(size_t page, size_t n)
{
    region_fill_random(page, n);
    for (size_t p = page; p < page + n; p++)
        memset(region_at(p) + REGION_PAGE / 2, 0, REGION_PAGE / 2);
}

static void fill_store(void)
{
    fill_heavy(0, PAGES);
    CHECK_EQ(za_pager_evict_all(), 0);
    CHECK_EQ(za_stat_get(ZA_STAT_PG_STORED), PAGES);
}

static void await_compaction(uint64_t before)
{
    for (unsigned i = 0; i < 1000 && compacted() == before; i++)
        turn();
    CHECK(compacted() > before);
}

/*
 * Each request makes a turn, and what it asks for is done; but a turn without credit does nothing
 * else, however many there are. With the credit comes what has been left undone.
 */
UNIT_TEST(requests_bring_no_work_of_their_own_without_credit)
{
    start(24 * HOUR_MS);
    fill_store();
    turn(); /* that request is over and forgotten */
    __atomic_store_n(&extra_ms, HOUR_MS, __ATOMIC_RELEASE);
    turn();
    uint64_t before = compacted(), throttled = za_stat_get(ZA_STAT_PG_THROTTLED);
    discard_half();
    for (unsigned i = 0; i < 200; i++)
        CHECK_EQ(compacted(), before);
    CHECK(za_stat_get(ZA_STAT_PG_THROTTLED) > throttled);
    for (size_t p = 0; p < PAGES; p += 2 * REGION_UNIT)
        CHECK(region_zero(p, REGION_UNIT));
    pass(8 * HOUR_MS); /* at 15 % */
    await_compaction(before);
    region_check();
}

/* The owner is asked what lives when pages are packed, and seems to think for an hour. */
static void ponder(size_t page, uint64_t mask[REGION_GRANULES / 64])
{
    (void)page;
    memset(mask, 0xff, REGION_GRANULES / 8);
    __atomic_fetch_add(&extra_ms, HOUR_MS, __ATOMIC_RELEASE);
}

UNIT_TEST(the_time_that_a_request_takes_is_not_counted)
{
    start(24 * HOUR_MS);
    region_live(ponder);
    fill_store();
    CHECK(__atomic_load_n(&extra_ms, __ATOMIC_ACQUIRE) >= HOUR_MS);
    uint64_t before = compacted();
    discard_half();
    await_compaction(before);
    region_check();
}

/* ---- max_store and the target ---- */

static bool is_stored(size_t page)
{
    return za_page_state(za_page_get(&za_pg.pages[page])) == ZA_PAGE_STORED;
}

/* Minute after minute the target is missed, and nothing is compressed in vain; until there is room. */
UNIT_TEST(a_full_store_is_not_pressed)
{
    bool dies[2 * PAGES / REGION_UNIT];

    za_conf.max_store = 2 * ZA_MIB;
    start(HOUR_MS);
    region_grow(2 * ZA_CHUNK_SIZE);
    fill_heavy(0, 2 * PAGES);
    __atomic_store_n(&za_conf.target, 1, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < 40; i++)
        pass(HOUR_MS / 60);
    uint64_t stored = za_stat_get(ZA_STAT_PG_STORED),
             refused = za_stat_get(ZA_STAT_PG_REFUSED_FULL);
    CHECK(stored > 0 && stored < 2 * PAGES);
    for (unsigned i = 0; i < 60; i++)
        pass(HOUR_MS / 60);
    CHECK_EQ(za_stat_get(ZA_STAT_PG_REFUSED_FULL), refused);
    CHECK_EQ(za_stat_get(ZA_STAT_PG_STORED), stored);
    uint64_t packed = za_stat_get(ZA_STAT_PG_PACKED);
    for (size_t u = 0; u < ZA_ARRAY_LEN(dies); u++)
        dies[u] = is_stored(u * REGION_UNIT);
    for (size_t p = 0; p < 2 * PAGES; p += REGION_UNIT)
        if (dies[p / REGION_UNIT]) /* more is stored meanwhile */
            CHECK_EQ(za_pager_discard((uintptr_t)region_at(p), ZA_UNIT_SIZE), 0);
    for (unsigned i = 0; i < 100 && za_stat_get(ZA_STAT_PG_PACKED) <= packed + stored / 2; i++)
        pass(HOUR_MS / 60);
    CHECK(za_stat_get(ZA_STAT_PG_PACKED) > packed + stored / 2);
    region_check();
}
