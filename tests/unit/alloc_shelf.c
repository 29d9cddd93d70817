/* SPDX-License-Identifier: MIT */
/*
 * alloc_shelf -- runs of freed large blocks kept for the next: found again, dead while kept, caught
 * when freed twice, given up by age, by trim, and when there is no memory.
 */
#include "alloc/shelf.h"

#include <pthread.h>

#include "alloc/caches.h"
#include "alloc/heap.h"
#include "alloc/live.h"
#include "alloc/tcache.h"
#include "base/stat.h"
#include "tests/unit/alloc_kit.h"

#define PAGE KIT_PAGE

/* A thread that is said to be gone has no cache, and so no pocket. */
static void start_without_pocket(void)
{
    kit_start();
    za_thread_exit();
}

static size_t live_bytes(const char *p, size_t len)
{
    size_t n = 0;
    for (size_t at = 0; at < len; at += PAGE) {
        uint64_t mask[PAGE / 16 / 64] = {0};
        n += za_alloc_region_ops.live((uintptr_t)p + at, PAGE, mask) * 16;
    }
    return n;
}

UNIT_TEST(a_freed_run_serves_the_next_block_of_its_length)
{
    start_without_pocket();
    void *p = za_malloc(100000);
    za_free(p);
    CHECK(!za_shelf_empty());
    CHECK(za_malloc(120000) == p);
    CHECK(za_shelf_empty());
    CHECK_EQ(za_usable(p), za_align_up(120000, PAGE));
    za_alloc_check();
}

UNIT_TEST(a_kept_run_is_dead_to_the_pager)
{
    start_without_pocket();
    char *p = za_malloc(300000);
    CHECK_EQ(live_bytes(p, 5 * ZA_UNIT_SIZE), za_usable(p));
    za_free(p);
    CHECK(!za_shelf_empty());
    CHECK_EQ(live_bytes(p, 5 * ZA_UNIT_SIZE), 0);
    CHECK(za_malloc(290000) == p);
    CHECK_EQ(live_bytes(p, 5 * ZA_UNIT_SIZE), za_usable(p));
    za_alloc_check();
}

UNIT_TEST(kept_runs_are_not_zero_and_calloc_knows)
{
    start_without_pocket();
    for (size_t size = 33000; size < ZA_MIB; size += 77777) {
        void *p = za_malloc(size + 30000);
        memset(p, 0xff, size + 30000);
        za_free(p);
        unsigned char *q = za_calloc(1, size);
        CHECK(kit_zero(q, za_usable(q)));
        memset(q, 0xff, za_usable(q));
        za_free(q);
    }
}

UNIT_TEST(kept_runs_count_as_dirty)
{
    start_without_pocket();
    void *p = za_malloc(200000);
    za_alloc_stats();
    size_t active = za_stat_get(ZA_STAT_HEAP_ACTIVE);
    za_free(p);
    za_alloc_stats();
    CHECK_EQ(za_stat_get(ZA_STAT_HEAP_ACTIVE), active - 4 * ZA_UNIT_SIZE);
    CHECK_EQ(za_stat_get(ZA_STAT_HEAP_DIRTY), 4 * ZA_UNIT_SIZE);
    CHECK_EQ(za_stat_get(ZA_STAT_HEAP_ALLOCATED), 0);
    CHECK_EQ(za_stat_get(ZA_STAT_LARGE_ALLOCS), 1);
    CHECK_EQ(za_stat_get(ZA_STAT_LARGE_FREES), 1);
}

UNIT_TEST(a_shelf_is_bounded_and_keeps_the_young)
{
    static void *p[200];
    start_without_pocket();
    for (int i = 0; i < 200; i++)
        p[i] = za_malloc(100000);
    for (int i = 0; i < 200; i++)
        za_free(p[i]);
    za_alloc_check();
    CHECK(za_shelf_stats() <= 2 * ZA_MIB);
    CHECK(za_malloc(100000) == p[199]);
    za_alloc_check();
}

UNIT_TEST(what_nobody_wants_is_given_up_by_age)
{
    start_without_pocket();
    uint64_t now = za_os->now(), decay = za_conf.dirty_decay_ms * ZA_NS_PER_MS;
    void *p = za_malloc(100000);
    za_free(p);
    CHECK(za_alloc_decay_due(now) != UINT64_MAX);
    za_alloc_decay(now += decay);
    za_alloc_decay(now += decay);
    CHECK(za_shelf_empty());
    za_alloc_decay(now += decay);
    za_thread_exit();
    CHECK_EQ(za_alloc_decay_due(now), UINT64_MAX);
    za_free(za_malloc(100000));
    CHECK(za_alloc_decay_due(now) != UINT64_MAX);
}

UNIT_TEST(without_decay_nothing_is_kept)
{
    start_without_pocket();
    za_conf.dirty_decay_ms = 0;
    za_free(za_malloc(100000));
    CHECK(za_shelf_empty());
}

UNIT_TEST(no_memory_empties_the_shelves)
{
    void *p[40];
    za_os_init();
    za_conf.compress = false;
    CHECK(za_alloc_init(64 * ZA_MIB));
    za_thread_exit();
    for (int i = 0; i < 40; i++)
        p[i] = za_malloc(60000);
    for (int i = 0; i < 40; i++)
        za_free(p[i]);
    CHECK(!za_shelf_empty());
    CHECK(za_malloc(64 * ZA_MIB - ZA_UNIT_SIZE));
    CHECK(za_shelf_empty());
    za_alloc_check();
}

UNIT_TEST(freed_twice_while_kept)
{
    start_without_pocket();
    kit_must_die(KIT_NOTHING);
    void *p = za_malloc(100000);
    za_free(p);
    CHECK(!za_shelf_empty());
    za_free(p);
    KIT_SURVIVED();
}

UNIT_TEST(realloc_of_a_kept_run)
{
    start_without_pocket();
    kit_must_die(KIT_NOTHING);
    void *p = za_malloc(100000);
    za_free(p);
    (void)za_realloc(p, 200000);
    KIT_SURVIVED();
}

UNIT_TEST(inside_a_kept_run)
{
    start_without_pocket();
    kit_must_die(KIT_NOTHING);
    char *p = za_malloc(200000);
    za_free(p);
    za_free(p + ZA_UNIT_SIZE);
    KIT_SURVIVED();
}

/* --- the pocket ---------------------------------------------------------- */

UNIT_TEST(a_thread_finds_its_own_run_first)
{
    kit_start();
    void *p = za_malloc(100000), *q = za_malloc(300000);
    za_free(p);
    za_free(q);
    CHECK(za_shelf_empty());
    CHECK_EQ(live_bytes(p, 2 * ZA_UNIT_SIZE), 0);
    CHECK(za_malloc(110000) == p);
    CHECK(za_malloc(310000) == q);
    za_alloc_check();
    za_free(p);
    za_free(q);
    za_alloc_stats();
    za_alloc_stats();
    CHECK_EQ(za_stat_get(ZA_STAT_LARGE_ALLOCS), 4);
    CHECK_EQ(za_stat_get(ZA_STAT_LARGE_FREES), 4);
    CHECK_EQ(za_stat_get(ZA_STAT_HEAP_ALLOCATED), 0);
    (void)za_trim();
    za_alloc_stats();
    CHECK_EQ(za_stat_get(ZA_STAT_HEAP_ACTIVE), 0);
}

UNIT_TEST(a_full_pocket_goes_on_to_the_shelf)
{
    void *p[12];
    kit_start();
    for (int i = 0; i < 12; i++)
        p[i] = za_malloc(60000);
    for (int i = 0; i < 12; i++)
        za_free(p[i]);
    CHECK_EQ(za_shelf_stats(), (12 - ZA_POCKET_UNITS) * ZA_UNIT_SIZE);
    za_alloc_check();
    CHECK(za_malloc(60000) == p[11]);
    za_alloc_check();
    za_thread_exit();
    CHECK_EQ(za_shelf_stats(), 11 * ZA_UNIT_SIZE);
    za_alloc_check();
}

UNIT_TEST(freed_twice_from_the_pocket)
{
    kit_start();
    kit_must_die(KIT_NOTHING);
    void *p = za_malloc(100000);
    za_free(p);
    za_free(p);
    KIT_SURVIVED();
}

UNIT_TEST(long_runs_do_not_go_into_the_pocket)
{
    kit_start();
    void *p = za_malloc(ZA_MIB);
    za_free(p);
    CHECK(!za_shelf_empty());
    CHECK(za_malloc(ZA_MIB) == p);
}

/* --- long runs ----------------------------------------------------------- */

UNIT_TEST(the_long_run_freed_last_is_kept)
{
    kit_start();
    char *p = za_malloc(4 * ZA_MIB), *q = za_malloc(3 * ZA_MIB);
    za_free(p);
    za_free(q);
    za_alloc_check();
    CHECK_EQ(za_shelf_stats(), 3 * ZA_MIB);
    CHECK_EQ(live_bytes(q, 3 * ZA_MIB), 0);
    CHECK(za_malloc(3 * ZA_MIB - 9) == q);
    CHECK(za_shelf_empty());
    CHECK_EQ(live_bytes(q, 3 * ZA_MIB), 3 * ZA_MIB);
    memset(q, 0xff, 3 * ZA_MIB - 9);
    za_free(q);
    unsigned char *z = za_calloc(1, 3 * ZA_MIB - 9);
    CHECK(kit_zero(z, 3 * ZA_MIB - 9));
    za_free(z);
    za_alloc_check();
    (void)za_trim();
    CHECK(za_shelf_empty());
    za_alloc_stats();
    CHECK_EQ(za_stat_get(ZA_STAT_LARGE_ALLOCS), 4);
    CHECK_EQ(za_stat_get(ZA_STAT_LARGE_FREES), 4);
    CHECK_EQ(za_stat_get(ZA_STAT_HEAP_ACTIVE), 0);
}

UNIT_TEST(a_long_run_is_given_up_by_age)
{
    kit_start();
    uint64_t now = za_os->now(), decay = za_conf.dirty_decay_ms * ZA_NS_PER_MS;
    za_free(za_malloc(4 * ZA_MIB));
    CHECK(!za_shelf_empty());
    za_alloc_decay(now += decay);
    za_alloc_decay(now + decay);
    CHECK(za_shelf_empty());
    za_alloc_check();
}

UNIT_TEST(what_is_longer_still_is_not_kept)
{
    kit_start();
    za_free(za_malloc(9 * ZA_MIB));
    CHECK(za_shelf_empty());
}

/* --- threads ------------------------------------------------------------- */

#define SLOTS 64

static unsigned char *slot[SLOTS];

static void *exchange(void *arg)
{
    struct kit_random r = {(uintptr_t)arg * 7919 + 1};
    (void)za_malloc(10); /* a cache, and so a shelf, of its own */
    for (int i = 0; i < 20000; i++) {
        size_t size = 33000 + kit_next(&r) % 400000;
        if (i % 16 == 0)
            size *= 9;
        unsigned char *p = za_malloc(size);
        CHECK(p);
        p[0] = p[size - 1] = (unsigned char)(uintptr_t)arg;
        CHECK(p[0] == p[size - 1]);
        za_free(__atomic_exchange_n(&slot[kit_next(&r) % SLOTS], p, __ATOMIC_ACQ_REL));
        if (i % 5000 == 0)
            za_alloc_decay(za_os->now());
    }
    za_thread_exit();
    return NULL;
}

UNIT_TEST(large_blocks_change_hands)
{
    pthread_t t[4];
    start_without_pocket();
    for (uintptr_t i = 0; i < 4; i++)
        CHECK_EQ(pthread_create(&t[i], NULL, exchange, (void *)(i + 1)), 0);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(pthread_join(t[i], NULL), 0);
    for (int i = 0; i < SLOTS; i++)
        za_free(slot[i]);
    za_alloc_check();
    (void)za_trim();
    za_alloc_stats();
    CHECK(za_shelf_empty());
    CHECK_EQ(za_stat_get(ZA_STAT_LARGE_ALLOCS), 80000);
    CHECK_EQ(za_stat_get(ZA_STAT_LARGE_FREES), 80000);
}

/* --- how much the caches of many threads hold ---------------------------- */

#define MANY 200

static pthread_barrier_t filled, looked;

/* Fills bins of many classes as deep as it is let. */
static void *hoard(void *arg)
{
    static const size_t sizes[] = {64, 256, 1000, 4000, 9000, 20000};
    void *p[256];
    for (int round = 0; round < 4; round++)
        for (size_t s = 0; s < ZA_ARRAY_LEN(sizes); s++) {
            for (int i = 0; i < 256; i++)
                p[i] = za_malloc(sizes[s]);
            for (int i = 0; i < 256; i++)
                za_free(p[i]);
        }
    za_tcache_check();
    pthread_barrier_wait(&filled);
    pthread_barrier_wait(&looked);
    za_thread_exit();
    return arg;
}

UNIT_TEST(sleeping_threads_hold_little_together)
{
    static pthread_t t[MANY];
    struct za_tcache_stats s;
    start_without_pocket();
    pthread_barrier_init(&filled, NULL, MANY + 1);
    pthread_barrier_init(&looked, NULL, MANY + 1);
    for (int i = 0; i < MANY; i++)
        CHECK_EQ(pthread_create(&t[i], NULL, hoard, NULL), 0);
    pthread_barrier_wait(&filled);
    za_tcache_stats(&s);
    /* The bound, the single slots, and some that were asked for at once. */
    CHECK(s.bytes <= za_max(ZA_TCACHE_TOTAL, za_space_used() / 64) + MANY * (size_t)40000 + ZA_MIB);
    pthread_barrier_wait(&looked);
    for (int i = 0; i < MANY; i++)
        CHECK_EQ(pthread_join(t[i], NULL), 0);
    za_tcache_stats(&s);
    CHECK(s.bytes <= ZA_TCACHE_LEGACY);
    (void)za_trim();
    za_tcache_stats(&s);
    CHECK_EQ(s.bytes, 0);
}
