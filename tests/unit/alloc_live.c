/* SPDX-License-Identifier: MIT */
/*
 * alloc_live -- what the pager is told is alive: exact at rest, never too little while threads run.
 */
#include "alloc/live.h"

#include <pthread.h>

#include "alloc/space.h"
#include "tests/unit/alloc_kit.h"

#define PAGE KIT_PAGE
#define WORDS (PAGE / 16 / 64) /* of a mask */

static size_t live(uintptr_t page, uint64_t mask[WORDS])
{
    memset(mask, 0, WORDS * sizeof(*mask));
    return za_alloc_region_ops.live(page, PAGE, mask);
}

static bool granule(const uint64_t mask[WORDS], uintptr_t addr)
{
    size_t g = addr % PAGE / 16;
    return mask[g / 64] >> g % 64 & 1;
}

/* Is every byte of [p, p + size) live? */
static bool block_live(const void *p, size_t size)
{
    uint64_t mask[WORDS];
    for (uintptr_t a = (uintptr_t)p & ~15ul; a < (uintptr_t)p + size; a += 16) {
        (void)live(za_align_down(a, PAGE), mask);
        if (!granule(mask, a))
            return false;
    }
    return true;
}

static size_t live_granules_of_heap(void)
{
    uint64_t mask[WORDS];
    size_t n = 0;
    for (uintptr_t a = za_heap_base; a < za_heap_base + za_space_used(); a += PAGE)
        n += live(a, mask);
    return n;
}

UNIT_TEST(blocks_of_every_class_are_live_to_the_byte)
{
    kit_start();
    for (size_t size = 1; size < 40000; size += size / 9 + 1) {
        void *p = za_malloc(size);
        CHECK(block_live(p, za_usable(p)));
    }
}

UNIT_TEST(everything_freed_is_dead)
{
    struct kit_random r = {5};
    static void *p[2000];
    kit_start();
    for (int i = 0; i < 2000; i++)
        p[i] = za_malloc(kit_size(&r));
    CHECK(live_granules_of_heap() > 0);
    for (int i = 0; i < 2000; i++)
        za_free(p[i]);
    (void)za_trim();
    CHECK_EQ(live_granules_of_heap(), 0);
}

UNIT_TEST(one_slot_of_a_page)
{
    uint64_t mask[WORDS];
    void *p[200];
    kit_start();
    for (int i = 0; i < 200; i++)
        p[i] = za_malloc(256);
    for (int i = 0; i < 200; i++)
        if (i != 100)
            za_free(p[i]);
    za_thread_exit(); /* the cache gives its slots back */
    (void)za_trim();
    uintptr_t page = za_align_down((uintptr_t)p[100], PAGE);
    CHECK_EQ(live(page, mask), 16);
    CHECK(block_live(p[100], 256));
    CHECK(!granule(mask, (uintptr_t)p[100] + 256) || (uintptr_t)p[100] + 256 >= page + PAGE);
}

UNIT_TEST(large_blocks_live_up_to_their_usable_size)
{
    uint64_t mask[WORDS];
    kit_start();
    static const size_t sizes[] = {40000, 65536, 65537, 300000, 5000000, 70000000};
    for (size_t i = 0; i < ZA_ARRAY_LEN(sizes); i++) {
        char *p = za_malloc(sizes[i]);
        size_t usable = za_usable(p), run = za_align_up(usable, ZA_UNIT_SIZE);
        for (size_t at = 0; at < run; at += PAGE)
            CHECK_EQ(live((uintptr_t)p + at, mask), at < usable ? PAGE / 16 : 0);
        p = za_realloc(p, usable / 2);
        if (usable / 2 > 40000)
            CHECK_EQ(live((uintptr_t)p + za_usable(p), mask), 0);
        za_free(p);
    }
}

UNIT_TEST(outside_the_heap_nothing_lives)
{
    uint64_t mask[WORDS];
    kit_start();
    (void)za_malloc(1);
    CHECK_EQ(live(za_heap_base + za_space_used(), mask), 0);
    CHECK_EQ(live(za_heap_base + za_heap_size, mask), 0);
}

/* --- while threads run --------------------------------------------------- */

static bool stop;

static void *churn(void *arg)
{
    struct kit_random r = {(uintptr_t)arg};
    void *p[100] = {0};
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        uint64_t k = kit_next(&r) % 100;
        za_free(p[k]);
        p[k] = za_malloc(kit_size(&r));
    }
    for (int i = 0; i < 100; i++)
        za_free(p[i]);
    za_thread_exit();
    return NULL;
}

UNIT_TEST(a_living_block_is_live_whatever_others_do)
{
    pthread_t t[2];
    void *mine[60];
    size_t size[60];
    uint64_t mask[WORDS];
    struct kit_random r = {42};
    kit_start();
    for (uintptr_t i = 0; i < 2; i++)
        CHECK_EQ(pthread_create(&t[i], NULL, churn, (void *)(i + 1)), 0);
    for (int i = 0; i < 60; i++) {
        size[i] = kit_size(&r) % 3000 + 1;
        mine[i] = za_malloc(size[i]);
    }
    for (int round = 0; round < 300; round++) {
        int i = (int)(kit_next(&r) % 60);
        CHECK(block_live(mine[i], size[i]));
        (void)live(za_heap_base + za_align_down(kit_next(&r) % za_space_used(), PAGE), mask);
        if (round % 50 == 0)
            za_alloc_decay(za_os->now());
    }
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    for (int i = 0; i < 2; i++)
        CHECK_EQ(pthread_join(t[i], NULL), 0);
    za_alloc_check();
}
