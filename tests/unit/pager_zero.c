/* SPDX-License-Identifier: MIT */
/*
 * pager_zero -- pages of zeros: out they are nothing, read they are the kernel's zero page, which is
 * nobody's memory, and where they are read again and again they become so soon.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <string.h>

#include "base/conf.h"
#include "os/os.h"
#include "pager/pager.h"
#include "pager/private.h"
#include "tests/fake/region.h"
#include "tests/unit/unit.h"

#define USED ZA_CHUNK_SIZE
#define PAGES (USED / REGION_PAGE)
#define UNIT REGION_UNIT
#define WORDS (REGION_PAGE / sizeof(uint64_t))
#define ROUNDS 200
#define WRITERS 2u
#define SOON_MS 200u
#define FEW (4 * UNIT)

static void start(void)
{
    if (region_refused())
        UNIT_SKIP("userfaultfd is refused here");
    region_start(USED);
    CHECK_EQ(za_pager_evict_all(), 0); /* the threads are there */
}

static enum za_page_state state_of(size_t page)
{
    return za_page_state(za_page_get(&za_pg.pages[page]));
}

UNIT_TEST(reading_zeros_takes_no_memory)
{
    start();
    memset(region_at(0), 0, USED);
    CHECK_EQ(region_weight(0, PAGES), PAGES);
    CHECK_EQ(za_pager_evict_all(), 0);
    CHECK_EQ(za_stat_get(ZA_STAT_PG_ZERO), PAGES);
    CHECK_EQ(region_weight(0, PAGES), 0);
    for (int round = 0; round < 3; round++) {
        CHECK(region_zero(0, PAGES));
        CHECK_EQ(region_weight(0, PAGES), 0);
        za_pager_stats();
        if (region_zeros_told())
            CHECK_EQ(za_stat_get(ZA_STAT_FOOT_HEAP), 0);
        CHECK_EQ(za_pager_evict_all(), 0);
    }
    region_fill(3, 1, 1);
    CHECK(region_weight(0, PAGES) >= 1 && region_weight(0, PAGES) <= UNIT);
    CHECK(region_holds(3, 1, 1) && region_zero(0, 3) && region_zero(4, PAGES - 4));
}

/* Every other page of the first unit is zero. */
static void fill_half(void)
{
    for (size_t p = 0; p < UNIT; p++) {
        if (p % 2)
            memset(region_at(p), 0, REGION_PAGE);
        else
            region_fill(p, 1, 1);
    }
}

static bool half_holds(void)
{
    for (size_t p = 0; p < UNIT; p++)
        if (p % 2 ? !region_zero(p, 1) : !region_holds(p, 1, 1))
            return false;
    return true;
}

UNIT_TEST(zeros_leave_limbo_at_once)
{
    start();
    fill_half();
    region_limbo(0, UNIT);
    region_on_worker(za_pack_zeros, 0);
    for (size_t p = 0; p < UNIT; p++)
        CHECK_EQ(state_of(p), p % 2 ? ZA_PAGE_KERNEL : ZA_PAGE_LIMBO);
    CHECK_EQ(region_mirrored(0, UNIT), (UNIT + 1) / 2);
    CHECK_EQ(za_stat_get(ZA_STAT_PG_LIMBO), (UNIT + 1) / 2);
    CHECK_EQ(za_stat_get(ZA_STAT_PG_ZERO), UNIT / 2);
    CHECK_EQ(za_stat_get(ZA_STAT_DD_ZERO), UNIT / 2);
    CHECK_EQ(za_stat_get(ZA_STAT_DD_SCANNED), UNIT / 2);
    region_check();
    CHECK(half_holds());
}

UNIT_TEST(switched_off_they_stay)
{
    start();
    za_conf.dedup = ZA_DEDUP_OFF;
    fill_half();
    region_limbo(0, UNIT);
    region_on_worker(za_pack_zeros, 0);
    CHECK_EQ(za_stat_get(ZA_STAT_PG_LIMBO), UNIT);
    CHECK_EQ(za_stat_get(ZA_STAT_PG_ZERO), 0);
    CHECK(half_holds());
}

static uint32_t stop;

static void *read_on(void *arg)
{
    (void)arg;
    while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE))
        CHECK(region_zero(0, FEW));
    return NULL;
}

/* They never lie still long enough to be packed, and take no memory all the same. */
UNIT_TEST(zeros_that_are_read_all_the_time_take_no_memory)
{
    pthread_t t;
    start();
    za_conf.cpu_limit = 100;
    region_cold_ms(SOON_MS); /* before the worker looks at what is written */
    memset(region_at(0), 0, FEW * REGION_PAGE);
    CHECK_EQ(pthread_create(&t, NULL, read_on, NULL), 0);
    size_t weight = FEW; /* looked at once: a page may be on its way out again */
    for (int i = 0; i < 2000 && weight > 0; i++) {
        region_sleep_ms(10);
        weight = region_weight(0, PAGES);
    }
    CHECK_EQ(weight, 0);
    region_cold_ms(REGION_DAY_MS);
    __atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
    CHECK_EQ(pthread_join(t, NULL), 0);
    region_check();
}

/* Each has words of its own, in pages of all; what it wrote last is there, zero or not. */
static void *write_on(void *number)
{
    size_t at = (uintptr_t)number;
    uint64_t mine[UNIT] = {0};
    for (uint64_t x = 1; !__atomic_load_n(&stop, __ATOMIC_ACQUIRE); x++) {
        size_t p = x * 7 % UNIT;
        uint64_t *w = (uint64_t *)(void *)region_at(p) + at * (WORDS / WRITERS);
        CHECK_EQ(*w, mine[p]);
        *w = mine[p] = x % 3 ? x : 0;
    }
    for (size_t p = 0; p < UNIT; p++)
        CHECK_EQ(((uint64_t *)(void *)region_at(p))[at * (WORDS / WRITERS)], mine[p]);
    return NULL;
}

UNIT_TEST(while_they_are_written)
{
    pthread_t t[WRITERS];
    start();
    memset(region_at(0), 0, UNIT * REGION_PAGE);
    for (uintptr_t i = 0; i < WRITERS; i++)
        CHECK_EQ(pthread_create(&t[i], NULL, write_on, (void *)i), 0);
    for (int round = 0; round < ROUNDS; round++) {
        region_limbo(0, UNIT);
        region_on_worker(za_pack_zeros, 0);
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
    for (unsigned i = 0; i < WRITERS; i++)
        CHECK_EQ(pthread_join(t[i], NULL), 0);
    region_check();
}
