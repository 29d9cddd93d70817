/* SPDX-License-Identifier: MIT */
/*
 * alloc_heap -- the page heap: fit, coalescing, dirt, age, growth, and what happens when the system
 * refuses.
 */
#include "alloc/heap.h"

#include "tests/unit/alloc_kit.h"

#define RUNS 200

static uint32_t take(uint32_t units, size_t *dirty)
{
    struct za_heap_want want = {
        .units = units, .align = 1, .kind = ZA_RUN_SPAN, .prefer = ZA_DIRTY};
    return za_heap_alloc(&want, dirty);
}

static size_t bytes(uint32_t units)
{
    return (size_t)units << ZA_UNIT_SHIFT;
}

UNIT_TEST(fresh_memory_is_clean_and_comes_back_dirty)
{
    size_t dirty = 1;
    kit_start();
    uint32_t a = take(3, &dirty);
    CHECK_EQ(dirty, 0);
    za_heap_free(a, bytes(3));
    CHECK_EQ(take(3, &dirty), a);
    CHECK_EQ(dirty, bytes(3));
    za_heap_check();
}

UNIT_TEST(what_was_not_written_stays_known_as_clean)
{
    size_t dirty;
    kit_start();
    uint32_t a = take(4, &dirty);
    za_heap_free(a, ZA_UNIT_SIZE + 100);
    CHECK_EQ(take(1, &dirty), a);
    CHECK_EQ(dirty, ZA_UNIT_SIZE);
    CHECK_EQ(take(1, &dirty), a + 1);
    CHECK_EQ(dirty, 100);
    za_heap_check();
}

UNIT_TEST(neighbours_become_one_run)
{
    size_t dirty;
    kit_start();
    uint32_t a = take(2, &dirty), b = take(3, &dirty), c = take(4, &dirty), end = take(1, &dirty);
    CHECK_EQ(b, a + 2);
    CHECK_EQ(c, b + 3);
    CHECK_EQ(end, c + 4);
    za_heap_free(a, bytes(2));
    za_heap_free(c, bytes(4));
    za_heap_check();
    za_heap_free(b, bytes(3));
    za_heap_check();
    CHECK_EQ(take(9, &dirty), a);
    CHECK_EQ(dirty, bytes(9));
}

UNIT_TEST(best_fit_lowest_address_dirty_first)
{
    size_t dirty;
    uint32_t run[6];
    static const uint32_t len[6] = {5, 2, 3, 2, 4, 2};
    kit_start();
    for (int i = 0; i < 6; i++) {
        run[i] = take(len[i], &dirty);
        (void)take(1, &dirty); /* keeps them apart */
    }
    for (int i = 0; i < 6; i++)
        za_heap_free(run[i], bytes(len[i]));
    CHECK_EQ(take(2, &dirty), run[1]);
    CHECK_EQ(take(2, &dirty), run[3]);
    CHECK_EQ(take(4, &dirty), run[4]);
    za_heap_check();
}

UNIT_TEST(alignment_in_units)
{
    size_t dirty;
    kit_start();
    (void)take(1, &dirty);
    struct za_heap_want want = {.units = 3, .align = 256, .kind = ZA_RUN_LARGE, .prefer = ZA_DIRTY};
    uint32_t a = za_heap_alloc(&want, &dirty);
    CHECK(a != ZA_NO_UNIT);
    CHECK_EQ(za_unit_addr(a) % bytes(256), 0);
    za_heap_check();
}

UNIT_TEST(only_old_enough_runs_are_purged)
{
    size_t dirty;
    kit_start();
    uint32_t a = take(2, &dirty);
    (void)take(1, &dirty);
    memset((void *)za_unit_addr(a), 7, bytes(2));
    uint64_t before = za_os->now();
    za_heap_free(a, bytes(2));
    CHECK(za_heap_oldest() >= before);
    CHECK_EQ(za_heap_purge(before - 1), 0);
    CHECK_EQ(za_heap_purge(za_os->now()), bytes(2));
    CHECK_EQ(za_heap_oldest(), UINT64_MAX);
    za_heap_check();
    CHECK_EQ(take(2, &dirty), a);
    CHECK_EQ(dirty, 0);
    CHECK_EQ(*(unsigned char *)za_unit_addr(a), 0);
}

UNIT_TEST(extend_and_shrink_in_place)
{
    size_t dirty;
    kit_start();
    uint32_t a = take(2, &dirty), b = take(2, &dirty);
    CHECK(!za_heap_extend(a, 1));
    za_heap_free(b, bytes(2));
    CHECK(za_heap_extend(a, 3)); /* over the dirty run into the clean one behind it */
    za_heap_check();
    za_heap_shrink(a, 1);
    za_heap_check();
    CHECK(za_heap_extend(a, 1));
    CHECK(za_heap_extend(a, 100000 / 64));
    za_heap_check();
}

UNIT_TEST(random_runs_against_the_walker)
{
    struct kit_random r = {12345};
    uint32_t run[RUNS], len[RUNS] = {0};
    size_t dirty;
    kit_start();
    for (int i = 0; i < 40000; i++) {
        uint64_t k = kit_next(&r) % RUNS;
        if (!len[k]) {
            len[k] = 1 + (uint32_t)(kit_next(&r) % (i % 7 ? 8 : 90));
            run[k] = take(len[k], &dirty);
            CHECK(run[k] != ZA_NO_UNIT && dirty <= bytes(len[k]));
        } else {
            za_heap_free(run[k], kit_next(&r) % 3 ? bytes(len[k]) : kit_next(&r) % bytes(len[k]));
            len[k] = 0;
        }
        if (i % 200 == 0)
            za_heap_check();
        if (i % 1000 == 0)
            (void)za_heap_purge(za_heap_oldest());
    }
    (void)za_heap_purge(UINT64_MAX);
    za_heap_check();
}

/* --- refusals ------------------------------------------------------------ */

static struct za_os fake;
static const struct za_os *real;
static long calls_left;

static int refuse_reserve(void **out, size_t len, size_t align)
{
    return calls_left-- > 0 ? real->reserve(out, len, align) : -12;
}

static int refuse_commit(void *p, size_t len)
{
    return calls_left-- > 0 ? real->commit(p, len) : -12;
}

static void refuse_after(long calls)
{
    za_os_init();
    za_conf.compress = false;
    za_conf.reserve = 4 * ZA_GIB;
    real = za_os;
    fake = *za_os;
    fake.reserve = refuse_reserve;
    fake.commit = refuse_commit;
    za_os = &fake;
    calls_left = calls;
}

UNIT_TEST(no_address_space_gives_null_until_there_is_some)
{
    refuse_after(0);
    CHECK(!za_alloc_init(za_conf.reserve));
    CHECK(!za_malloc(10));
    CHECK(!za_malloc(1 << 20));
    CHECK(!za_calloc(3, 100));
    CHECK(!za_memalign(4096, 100));
    za_free(NULL);
    calls_left = INT32_MAX;
    CHECK(za_malloc(10));
    za_alloc_check();
}

UNIT_TEST(a_smaller_reservation_is_taken_if_the_large_is_refused)
{
    refuse_after(1); /* the heap, but not its map */
    za_conf.reserve = 64 * ZA_MIB;
    CHECK(!za_alloc_init(za_conf.reserve));
    calls_left = INT32_MAX;
    CHECK(za_alloc_init(za_conf.reserve));
    CHECK_EQ(za_heap_size, 64 * ZA_MIB);
}

UNIT_TEST(no_memory_gives_null_and_recovers)
{
    refuse_after(INT32_MAX);
    CHECK(za_alloc_init(za_conf.reserve));
    for (long n = 0; n < 12; n++) {
        calls_left = n;
        void *big = za_malloc(900 * ZA_MIB);
        calls_left = INT32_MAX;
        CHECK(!big || n > 0);
        za_free(big);
        za_alloc_check();
    }
    calls_left = 0;
    size_t got = 0;
    while (za_malloc(4 * ZA_MIB))
        got++;
    CHECK(got < 1000);
    CHECK(!za_malloc(8 * ZA_MIB));
    za_alloc_check();
    calls_left = INT32_MAX;
    CHECK(za_malloc(8 * ZA_MIB));
    za_alloc_check();
}

UNIT_TEST(a_full_reservation_gives_null_and_recovers)
{
    void *p[64];
    unsigned n = 0;
    kit_start();
    while ((p[n] = za_malloc(100 * ZA_MIB)))
        n++;
    CHECK(n >= 38 && n <= 40);
    CHECK(!za_malloc(5 * ZA_GIB));
    CHECK(!za_malloc(SIZE_MAX));
    CHECK(!za_malloc(ZA_MALLOC_MAX));
    CHECK(!za_calloc(SIZE_MAX / 2, 3));
    CHECK(!za_memalign((size_t)1 << 62, 1));
    CHECK(za_malloc(100));
    za_free(p[0]);
    CHECK(za_malloc(100 * ZA_MIB));
    za_alloc_check();
}
