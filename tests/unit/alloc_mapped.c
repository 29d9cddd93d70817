/* SPDX-License-Identifier: MIT */
/* alloc_mapped -- blocks for mmap: which piece of a range is what, and what they weigh. */
#include "alloc/mapped.h"

#include "alloc/live.h"
#include "alloc/space.h"
#include "base/stat.h"
#include "tests/unit/alloc_kit.h"

#define LEN (3 * ZA_UNIT_SIZE + KIT_PAGE)

static uintptr_t some(size_t len)
{
    char *p = za_mapped_new(len);
    CHECK(p && (uintptr_t)p % ZA_UNIT_SIZE == 0 && kit_zero(p, len));
    memset(p, 0x5a, len);
    return (uintptr_t)p;
}

static uint64_t held(void)
{
    return za_stat_get(ZA_STAT_MAPPED_HELD);
}

static enum za_mapped_part piece(uintptr_t from, uintptr_t to, size_t want)
{
    size_t len = 0;
    enum za_mapped_part part = za_mapped_piece(from, to, &len);
    CHECK_EQ(len, want);
    return part;
}

static void end(uintptr_t p, size_t len)
{
    (void)za_os->purge((void *)p, len); /* as munmap does */
    za_mapped_free(p);
}

UNIT_TEST(a_block_is_whole_or_in_part)
{
    kit_start();
    uintptr_t p = some(LEN - 7);
    CHECK_EQ(held(), LEN);
    CHECK_EQ(piece(p, p + LEN, LEN), ZA_MAPPED_WHOLE);
    CHECK_EQ(piece(p, p + KIT_PAGE, KIT_PAGE), ZA_MAPPED_PART);
    CHECK_EQ(piece(p + KIT_PAGE, p + LEN, LEN - KIT_PAGE), ZA_MAPPED_PART);
    CHECK_EQ(piece(p + ZA_UNIT_SIZE, p + LEN, LEN - ZA_UNIT_SIZE), ZA_MAPPED_PART);
    CHECK_EQ(piece(p, p + 4 * ZA_UNIT_SIZE, 4 * ZA_UNIT_SIZE), ZA_MAPPED_WHOLE);
    end(p, LEN);
    CHECK_EQ(held(), 0);
    CHECK_EQ(piece(p, p + LEN, LEN), ZA_MAPPED_NONE);
    za_alloc_check();
}

UNIT_TEST(what_comes_next_is_zeros)
{
    kit_start();
    for (int i = 0; i < 50; i++) {
        uintptr_t p = some(LEN), q = some(LEN * 9);
        end(p, LEN);
        char *r = za_malloc(LEN); /* may get its run */
        memset(r, 1, LEN);
        za_free(r);
        end(q, LEN * 9);
    }
    CHECK_EQ(held(), 0);
    CHECK_EQ(za_stat_get(ZA_STAT_MAPPED_BLOCKS), 100);
    za_alloc_check();
}

UNIT_TEST(pieces_tile_a_range)
{
    enum { MANY = 20 };
    uintptr_t p[MANY], low = UINTPTR_MAX, high = 0;
    size_t len;
    unsigned whole = 0;
    kit_start();
    for (unsigned i = 0; i < MANY; i++) {
        p[i] = i % 3 == 2 ? (uintptr_t)za_malloc(LEN) : some(LEN);
        low = za_min(low, p[i]);
        high = za_max(high, p[i] + LEN);
    }
    for (uintptr_t at = low; at < high; at += len) {
        enum za_mapped_part part = za_mapped_piece(at, high, &len);
        CHECK(len > 0 && len <= high - at && part != ZA_MAPPED_OVERLAID);
        whole += part == ZA_MAPPED_WHOLE;
    }
    CHECK_EQ(whole, MANY - MANY / 3);
}

UNIT_TEST(what_is_mapped_over_stays)
{
    kit_start();
    uintptr_t p = some(LEN), q = some(LEN);
    za_mapped_overlay(p + 2 * ZA_UNIT_SIZE, p + 2 * ZA_UNIT_SIZE + KIT_PAGE);
    CHECK_EQ(piece(p, p + LEN, LEN), ZA_MAPPED_OVERLAID);
    CHECK_EQ(piece(p + KIT_PAGE, p + LEN, LEN - KIT_PAGE), ZA_MAPPED_OVERLAID);
    CHECK_EQ(piece(q, q + LEN, LEN), ZA_MAPPED_WHOLE);
    end(q, LEN);
    CHECK_EQ(held(), LEN);
}

UNIT_TEST(a_shorter_block_is_whole_earlier)
{
    kit_start();
    uintptr_t p = some(LEN);
    za_mapped_shrink(p, KIT_PAGE);
    CHECK_EQ(held(), KIT_PAGE);
    CHECK_EQ(piece(p, p + KIT_PAGE, KIT_PAGE), ZA_MAPPED_WHOLE);
    (void)za_os->purge((void *)p, LEN);
    end(p, KIT_PAGE);
    CHECK_EQ(held(), 0);
    (void)za_trim();
    za_alloc_check();
    p = some(LEN);
    end(p, LEN);
}

UNIT_TEST(malloc_keeps_half_of_the_addresses)
{
    kit_start();
    const size_t big = za_heap_size / 8;
    unsigned n = 0;
    while (n < 20 && za_mapped_new(big))
        n++;
    CHECK(n == 3 || n == 4);
    CHECK(za_mapped_new(za_heap_size) == NULL);
    CHECK(za_mapped_new(SIZE_MAX / 2) == NULL);
    CHECK(za_malloc(big) != NULL);
}

UNIT_TEST(its_pages_are_alive)
{
    uint64_t mask[ZA_CHUNK_SIZE / 16 / 64] = {0};
    kit_start();
    uintptr_t p = some(LEN);
    CHECK_EQ(za_alloc_region_ops.live(p + KIT_PAGE, KIT_PAGE, mask), KIT_PAGE / 16);
    CHECK_EQ(za_alloc_region_ops.live(p + ZA_UNIT_SIZE, KIT_PAGE, mask), KIT_PAGE / 16);
    end(p, LEN);
    CHECK_EQ(za_alloc_region_ops.live(p + ZA_UNIT_SIZE, KIT_PAGE, mask), 0);
}

UNIT_TEST(it_is_not_mallocs)
{
    kit_start();
    uintptr_t p = some(LEN);
    CHECK_EQ(za_usable((void *)p), 0);
    kit_must_die(KIT_NOTHING);
    za_free((void *)p);
    KIT_SURVIVED();
}
