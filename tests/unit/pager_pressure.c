/* SPDX-License-Identifier: MIT */
/*
 * pager_pressure -- below a control group's limit, and below a target: what goes out, what waits,
 * and that nothing waits for ever.
 *
 * The limit is the test's own: `room` of the operating system is replaced, and counts what the
 * region really holds.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/conf.h"
#include "os/os.h"
#include "pager/pager.h"
#include "pager/private.h"
#include "tests/fake/region.h"
#include "tests/unit/unit.h"

#define USED (4 * ZA_CHUNK_SIZE) /* 32 MiB with small pages */
#define PAGES (USED / REGION_PAGE)
#define HALF (PAGES / 2)
#define BYTES(pages) ((uint64_t)(pages)*REGION_PAGE)
#define LIMIT BYTES(PAGES * 3 / 4) /* its reserve is a quarter of it */

static struct za_os os;
static uint64_t limit = UINT64_MAX; /* atomic */
static uint64_t elsewhere;          /* atomic: bytes that others hold */
static uint64_t most_used;          /* atomic: seen by the worker */

static uint64_t used_now(void)
{
    return BYTES(region_present(0, PAGES) + region_mirrored(0, PAGES)) +
           __atomic_load_n(&elsewhere, __ATOMIC_ACQUIRE);
}

static int room(struct za_room *out)
{
    *out = (struct za_room){.limit = __atomic_load_n(&limit, __ATOMIC_ACQUIRE)};
    if (out->limit == UINT64_MAX)
        return -ENOENT;
    uint64_t used = used_now();
    if (used > __atomic_load_n(&most_used, __ATOMIC_RELAXED))
        __atomic_store_n(&most_used, used, __ATOMIC_RELAXED);
    out->used = za_min(used, out->limit);
    return 0;
}

static void start(void)
{
    if (region_refused())
        UNIT_SKIP("userfaultfd is refused here");
    region_start(USED);
    os = *za_os;
    os.room = room;
    za_os = &os;
    region_fill(0, PAGES, 1);
}

/* From the worker's next turn on. */
static void set_limit(uint64_t bytes)
{
    __atomic_store_n(&limit, bytes, __ATOMIC_RELEASE);
    za_pager_stats();
    region_await(ZA_STAT_GROUP_LIMIT, bytes == UINT64_MAX ? 0 : bytes);
}

/* Waits until `page ... page + n - 1` hold at most `most` pages; how many they hold. */
static size_t await_present(size_t page, size_t n, size_t most)
{
    for (unsigned i = 0; region_present(page, n) > most && i < 10000; i++)
        region_sleep_ms(1);
    return region_present(page, n);
}

static void set_target(uint64_t bytes)
{
    __atomic_store_n(&za_conf.target, bytes, __ATOMIC_RELAXED);
}

/* ---- the limit ---- */

UNIT_TEST(room_is_made_before_the_limit)
{
    start();
    CHECK_EQ(za_pager_evict_all(), 0);
    CHECK(region_holds(0, PAGES / 2, 1)); /* half of it is in, which is below the limit */
    set_limit(LIMIT);
    /* A reserve of a quarter of the limit is kept free. */
    CHECK(await_present(0, PAGES, PAGES * 9 / 16) <= PAGES * 9 / 16);
    CHECK(region_holds(0, PAGES, 1));
    region_check();
}

/* Twice, in order: more than fits passes through, and never is there more than fits. */
UNIT_TEST(a_sweep_stays_below_the_limit)
{
    start();
    CHECK_EQ(za_pager_evict_all(), 0);
    set_limit(LIMIT);
    for (unsigned round = 1; round < 3; round++)
        for (size_t i = 0; i < PAGES; i += 4) {
            CHECK(region_holds(i, 4, round));
            region_fill(i, 4, round + 1);
        }
    CHECK(__atomic_load_n(&most_used, __ATOMIC_RELAXED) <= LIMIT);
    CHECK(za_stat_get(ZA_STAT_PG_PRESSED) > 0);
    CHECK(region_holds(0, PAGES, 3));
    region_check();
}

/* First touches count, where nothing was ever taken out, too. */
UNIT_TEST(fresh_pages_stay_below_the_limit)
{
    start();
    CHECK_EQ(za_pager_discard((uintptr_t)region_at(0), USED), 0);
    za_pager_stats();
    CHECK_EQ(za_pager_evict_all(), 0); /* there is a worker */
    set_limit(LIMIT);
    region_fill(0, PAGES, 2);
    CHECK(__atomic_load_n(&most_used, __ATOMIC_RELAXED) <= LIMIT);
    CHECK(region_holds(0, PAGES, 2));
    region_check();
}

/* What came back last goes last. */
UNIT_TEST(the_coldest_goes_first)
{
    start();
    CHECK_EQ(za_pager_evict_all(), 0);
    CHECK(region_holds(0, HALF, 1));
    za_pager_stats();
    region_sleep_ms(50); /* a few of the worker's ticks: no more than a difference */
    CHECK(region_holds(HALF, HALF, 1));
    za_pager_stats();
    set_target(1);
    (void)await_present(0, HALF, HALF / 2);
    set_target(UINT64_MAX >> 1);
    CHECK(region_present(HALF, HALF) > region_present(0, HALF));
    CHECK(region_holds(0, PAGES, 1));
}

/* All of the room is taken by others, and nothing is left to go out: faults are answered late. */
UNIT_TEST(without_hope_nobody_waits_long)
{
    start();
    CHECK_EQ(za_pager_evict_all(), 0);
    __atomic_store_n(&elsewhere, LIMIT, __ATOMIC_RELEASE);
    set_limit(LIMIT);
    CHECK(region_holds(0, 64, 1));
    CHECK(za_stat_get(ZA_STAT_PG_DELAYED) > 0);
    CHECK(za_stat_get(ZA_STAT_PG_OVERDUE) > 0);
}

static void *reads_all(void *arg)
{
    *(bool *)arg = region_holds(0, 256, 1);
    return NULL;
}

/* A request that brings everything back is the worker's own fault to answer; so is a fork's. */
UNIT_TEST(who_makes_room_does_not_wait)
{
    bool good = false;
    pthread_t t;

    start();
    CHECK_EQ(za_pager_evict_all(), 0);
    __atomic_store_n(&elsewhere, LIMIT, __ATOMIC_RELEASE);
    set_limit(LIMIT);
    CHECK_EQ(pthread_create(&t, NULL, reads_all, &good), 0);
    CHECK_EQ(za_pager_thaw(), 0);
    pthread_join(t, NULL);
    CHECK(good);
    CHECK(region_holds(0, PAGES, 1));
}

struct reader {
    uint32_t running, parted; /* atomic */
    bool good;
};

/* A sanitizer's runtime holds locks while it sets a thread up and while it takes one down, and a
 * child forked then would keep them: the fork falls between. */
static void *reads_over_a_fork(void *arg)
{
    struct reader *r = arg;
    __atomic_store_n(&r->running, 1, __ATOMIC_RELEASE);
    r->good = region_holds(0, 256, 1);
    while (!__atomic_load_n(&r->parted, __ATOMIC_ACQUIRE))
        region_sleep_ms(1);
    return NULL;
}

UNIT_TEST(forks_do_not_wait)
{
    start();
    if (region_forks_confuse())
        UNIT_SKIP("the sanitizer takes threads that a child does not have for running ones");
    CHECK_EQ(za_pager_evict_all(), 0);
    __atomic_store_n(&elsewhere, LIMIT, __ATOMIC_RELEASE);
    set_limit(LIMIT);
    for (unsigned i = 0; i < 4; i++) {
        struct reader r = {.good = false};
        int status = -1;
        pthread_t t;
        CHECK_EQ(pthread_create(&t, NULL, reads_over_a_fork, &r), 0);
        while (!__atomic_load_n(&r.running, __ATOMIC_ACQUIRE))
            sched_yield();
        int pid = region_fork();
        if (pid == 0)
            _exit(region_holds(0, 256, 1) ? 0 : 1);
        __atomic_store_n(&r.parted, 1, __ATOMIC_RELEASE);
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        CHECK_EQ(status, 0);
        pthread_join(t, NULL);
        CHECK(r.good);
    }
}

/* Where the limit is lifted, nothing is held up and nothing pressed any more. */
UNIT_TEST(a_limit_that_goes_is_forgotten)
{
    start();
    CHECK_EQ(za_pager_evict_all(), 0);
    CHECK(region_holds(0, PAGES, 1));
    set_limit(LIMIT);
    (void)await_present(0, PAGES, PAGES * 9 / 16);
    set_limit(UINT64_MAX);
    CHECK_EQ(region_await(ZA_STAT_PG_STRAIN, 0), 0);
    uint64_t pressed = za_stat_get(ZA_STAT_PG_PRESSED);
    CHECK(region_holds(0, PAGES, 1));
    za_pager_stats();
    CHECK_EQ(za_stat_get(ZA_STAT_PG_PRESSED), pressed);
    CHECK_EQ(region_present(0, PAGES), PAGES);
}

/* ---- the target ---- */

static uint64_t footprint(void)
{
    za_pager_stats();
    return za_stat_get(ZA_STAT_FOOT_TOTAL);
}

static uint64_t await_footprint(uint64_t most)
{
    for (unsigned i = 0; footprint() > most && i < 10000; i++)
        region_sleep_ms(10);
    return footprint();
}

/* Down to it, not far below it, down again after everything was used, and no longer when raised. */
UNIT_TEST(a_target_is_reached_and_held)
{
    const uint64_t target = USED / 2;

    start();
    __atomic_store_n(&za_conf.cpu_limit, 100, __ATOMIC_RELAXED); /* imitated pages are dear */
    set_target(target);
    CHECK_EQ(za_pager_evict_all(), 0); /* there is a worker */
    CHECK(region_holds(0, PAGES, 1));
    CHECK(await_footprint(target) <= target);
    CHECK(region_present(0, PAGES) > PAGES / 8); /* the warmer part stays */
    CHECK(region_holds(0, PAGES, 1));
    CHECK(await_footprint(target) <= target);
    set_target(4 * USED);
    CHECK(region_holds(0, PAGES, 1));
    uint64_t packed = za_stat_get(ZA_STAT_PG_PACKED);
    for (unsigned i = 0; i < 3; i++)
        (void)footprint();
    CHECK_EQ(za_stat_get(ZA_STAT_PG_PACKED), packed);
    region_check();
}
