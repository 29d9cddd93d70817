/* SPDX-License-Identifier: MIT */
/* alloc_mapped -- blocks for mmap: which piece of a range is what, and what they weigh. */
#include "alloc/mapped.h"

#include <pthread.h>

#include "alloc/heap.h"
#include "alloc/live.h"
#include "alloc/space.h"
#include "base/stat.h"
#include "pager/pager.h"
#include "tests/unit/alloc_kit.h"

#define LEN (3 * ZA_UNIT_SIZE + KIT_PAGE)
#define UNITS (4 * ZA_UNIT_SIZE) /* what LEN weighs */

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

static uint64_t lost(void)
{
    return za_stat_get(ZA_STAT_MAPPED_LOST);
}

static void end(uintptr_t p, size_t len)
{
    CHECK(za_mapped_claim(p));
    (void)za_os->purge((void *)p, len); /* as munmap does */
    za_mapped_end(p);
}

static void *map_one(void *arg)
{
    (void)arg;
    return za_mapped_new(LEN);
}

UNIT_TEST(a_block_is_whole_or_in_part)
{
    kit_start();
    uintptr_t p = some(LEN - 7);
    CHECK_EQ(held(), UNITS);
    CHECK_EQ(piece(p, p + LEN, UNITS), ZA_MAPPED_WHOLE);
    CHECK_EQ(piece(p, p + KIT_PAGE, KIT_PAGE), ZA_MAPPED_PART);
    CHECK_EQ(piece(p + KIT_PAGE, p + LEN, LEN - KIT_PAGE), ZA_MAPPED_PART);
    CHECK_EQ(piece(p + ZA_UNIT_SIZE, p + LEN, LEN - ZA_UNIT_SIZE), ZA_MAPPED_PART);
    CHECK_EQ(piece(p, p + 20 * ZA_UNIT_SIZE, UNITS), ZA_MAPPED_WHOLE);
    end(p, LEN);
    CHECK_EQ(held(), 0);
    CHECK_EQ(lost(), 0);
    CHECK_EQ(piece(p, p + LEN, LEN), ZA_MAPPED_GONE);
    CHECK(!za_mapped_claim(p));
    za_alloc_check();
}

/* A program may map over what it has unmapped: that is never malloc's. */
UNIT_TEST(the_next_mapping_gets_it_and_malloc_does_not)
{
    kit_start();
    uintptr_t p = some(LEN);
    end(p, LEN);
    (void)za_trim();
    for (int i = 0; i < 200; i++) {
        uintptr_t q = (uintptr_t)za_malloc(LEN - (size_t)i * KIT_PAGE % LEN);
        CHECK(q && (q < p || q >= p + UNITS));
    }
    CHECK_EQ(some(UNITS), p); /* zeros to the end of its last unit */
    uintptr_t other = some(LEN);
    CHECK(other != p);
    end(other, LEN);
    CHECK(some(ZA_UNIT_SIZE) != other); /* much too long for that */
    za_alloc_check();
}

UNIT_TEST(what_comes_next_is_zeros)
{
    kit_start();
    for (size_t i = 0; i < 50; i++) {
        uintptr_t p = some(LEN + i % 16 * KIT_PAGE), q = some(LEN * 9);
        end(p, LEN + i % 16 * KIT_PAGE);
        char *r = za_malloc(LEN);
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
        CHECK(len > 0 && (len <= high - at || part == ZA_MAPPED_WHOLE));
        CHECK(part == ZA_MAPPED_NONE || part == ZA_MAPPED_WHOLE);
        whole += part == ZA_MAPPED_WHOLE;
    }
    CHECK_EQ(whole, MANY - MANY / 3);
}

UNIT_TEST(what_is_spoilt_is_not_used_again)
{
    kit_start();
    uintptr_t p = some(LEN), q = some(LEN), r = some(LEN);
    za_mapped_spoil(p + 2 * ZA_UNIT_SIZE, p + 2 * ZA_UNIT_SIZE + KIT_PAGE);
    CHECK_EQ(piece(p, p + LEN, LEN), ZA_MAPPED_SPOILT);
    CHECK_EQ(piece(p + KIT_PAGE, p + LEN, LEN - KIT_PAGE), ZA_MAPPED_SPOILT);
    CHECK(!za_mapped_claim(p));
    CHECK_EQ(held(), 2 * UNITS);
    CHECK_EQ(lost(), UNITS);
    end(q, LEN);
    end(r, LEN);
    za_mapped_spoil(q, q + LEN); /* in a list, and not the first there */
    CHECK_EQ(piece(q, q + LEN, LEN), ZA_MAPPED_SPOILT);
    CHECK_EQ(lost(), 2 * UNITS);
    za_mapped_spoil(q, q + LEN);
    CHECK_EQ(lost(), 2 * UNITS);
    CHECK_EQ(some(LEN), r);
    CHECK(some(LEN) != q);
    za_alloc_check();
}

UNIT_TEST(what_is_spoilt_in_a_list_is_left_out)
{
    enum { MANY = 9 };
    uintptr_t p[MANY];
    kit_start();
    for (unsigned i = 0; i < MANY; i++)
        p[i] = some(LEN);
    for (unsigned i = 0; i < MANY; i++)
        end(p[i], LEN);
    uintptr_t q = some(LEN); /* all of them are in a list now */
    for (unsigned i = 0; i < MANY; i += 2)
        za_mapped_spoil(p[i], p[i] + KIT_PAGE);
    for (unsigned i = 0, left = MANY; i < left; i++) {
        uintptr_t r = some(LEN);
        for (unsigned k = 0; k < MANY; k += 2)
            CHECK(r != p[k] && r != q);
    }
    za_alloc_check();
}

UNIT_TEST(a_shorter_block_is_whole_earlier)
{
    kit_start();
    uintptr_t p = some(LEN);
    za_mapped_shrink(p, KIT_PAGE);
    CHECK_EQ(piece(p, p + KIT_PAGE, UNITS), ZA_MAPPED_WHOLE);
    end(p, LEN);
    CHECK_EQ(held(), 0);
    CHECK_EQ(some(LEN), p);
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

UNIT_TEST(when_much_is_lost_nothing_is_served)
{
    kit_start();
    za_mapped_lose((size_t)1 << 30);
    CHECK(za_mapped_new(LEN) != NULL);
    za_mapped_lose(1);
    CHECK(za_mapped_new(LEN) == NULL);
}

/* Its holder may have been stopped by the thread that maps. */
UNIT_TEST(who_finds_a_lock_held_asks_the_kernel)
{
    kit_start();
    uintptr_t p = some(LEN);
    za_mapped_prefork();
    za_heap_prefork();
    CHECK(za_pager_amid());
    CHECK(za_mapped_new(LEN) == NULL);
    pthread_t t;
    void *got = &t;
    CHECK_EQ(pthread_create(&t, NULL, map_one, NULL), 0);
    CHECK_EQ(pthread_join(t, &got), 0);
    CHECK(!got);
    end(p, LEN); /* takes none */
    za_heap_postfork_parent();
    za_mapped_postfork();
    CHECK_EQ(some(LEN), p);
    za_alloc_check();
}

UNIT_TEST(by_itself_only_of_a_program_that_maps_much)
{
    kit_os();
    za_conf.mmap = ZA_MMAP_FALSE;
    CHECK(!za_mapped_wanted(ZA_GIB));
    za_conf.mmap = ZA_MMAP_TRUE;
    CHECK(za_mapped_wanted(KIT_PAGE));
    za_conf.mmap = ZA_MMAP_AUTO;
    for (unsigned i = 0; i < 16; i++)
        CHECK(!za_mapped_wanted(ZA_MIB));
    CHECK(za_mapped_wanted(KIT_PAGE));
    CHECK(za_mapped_wanted(SIZE_MAX));
    CHECK(za_mapped_wanted(KIT_PAGE));
}

UNIT_TEST(by_itself_at_once_of_what_is_long)
{
    kit_os();
    za_conf.mmap = ZA_MMAP_AUTO;
    CHECK(!za_mapped_wanted(16 * ZA_MIB));
    CHECK(za_mapped_wanted(SIZE_MAX));
    CHECK(za_mapped_wanted(1));
}

UNIT_TEST(by_itself_only_where_something_compresses)
{
    kit_start(); /* compress:false */
    za_conf.mmap = ZA_MMAP_AUTO;
    CHECK(!za_mapped_wanted(ZA_GIB));
    za_conf.compress = true;
    za_conf.backend = ZA_BACKEND_NONE;
    CHECK(!za_mapped_wanted(ZA_GIB));
    za_conf.backend = ZA_BACKEND_AUTO;
    CHECK(za_mapped_wanted(ZA_GIB)); /* what nobody has found out yet */
}

UNIT_TEST(while_much_lies_idle_no_addresses_are_taken)
{
    kit_start();
    const size_t len = 24 * ZA_MIB;
    uintptr_t p[4];
    for (unsigned i = 0; i < 4; i++)
        p[i] = (uintptr_t)za_mapped_new(len);
    for (unsigned i = 0; i < 4; i++)
        end(p[i], len);
    CHECK(!za_mapped_new(len / 2)); /* nothing that fits, and 96 MiB of the others */
    for (unsigned i = 0; i < 2; i++)
        CHECK(za_mapped_new(len));
    CHECK(za_mapped_new(len / 2)); /* 48 */
    za_alloc_check();
}

UNIT_TEST(a_fit_is_found_among_many_others)
{
    kit_start();
    uintptr_t p[200], q = some(50 * ZA_UNIT_SIZE);
    for (unsigned i = 0; i < 200; i++)
        p[i] = some((30 + i % 3) * ZA_UNIT_SIZE);
    end(q, 50 * ZA_UNIT_SIZE);
    for (unsigned i = 0; i < 200; i++)
        end(p[i], (30 + i % 3) * ZA_UNIT_SIZE);
    CHECK_EQ(some(49 * ZA_UNIT_SIZE), q);
}

UNIT_TEST(it_grows_in_its_last_unit)
{
    kit_start();
    if (LEN == UNITS)
        UNIT_SKIP("a unit is one page");
    uintptr_t p = some(LEN);
    CHECK(za_mapped_grow(p, UNITS));
    CHECK(kit_zero((char *)p + LEN, UNITS - LEN));
    CHECK_EQ(piece(p, p + LEN, LEN), ZA_MAPPED_PART);
    CHECK(!za_mapped_grow(p, UNITS + KIT_PAGE));
    end(p, UNITS);
}

UNIT_TEST(parts_are_lost_until_all_of_it_ends)
{
    kit_start();
    uintptr_t p = some(LEN);
    za_mapped_lose_part(p + KIT_PAGE, KIT_PAGE);
    za_mapped_lose_part(p + KIT_PAGE, KIT_PAGE);
    CHECK_EQ(lost(), 2 * KIT_PAGE);
    end(p, LEN);
    CHECK_EQ(lost(), 0);
    p = some(LEN);
    za_mapped_lose_part(p, KIT_PAGE);
    za_mapped_spoil(p, p + KIT_PAGE);
    CHECK_EQ(lost(), UNITS);
}

UNIT_TEST(its_pages_are_alive)
{
    uint64_t mask[ZA_CHUNK_SIZE / 16 / 64] = {0};
    kit_start();
    uintptr_t p = some(LEN);
    CHECK_EQ(za_alloc_region_ops.live(p + KIT_PAGE, KIT_PAGE, mask), KIT_PAGE / 16);
    za_mapped_spoil(p, p + LEN);
    CHECK_EQ(za_alloc_region_ops.live(p + ZA_UNIT_SIZE, KIT_PAGE, mask), KIT_PAGE / 16);
    p = some(LEN);
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

static const void *asked; /* the last one that was the other allocator's business */

static void theirs_free(void *p)
{
    asked = p;
}

static void *theirs_realloc(void *p, size_t size)
{
    (void)size;
    asked = p;
    return NULL;
}

static size_t theirs_usable(const void *p)
{
    asked = p;
    return 77;
}

/* Its heap is in what it has mapped. */
UNIT_TEST(it_may_be_another_allocators)
{
    kit_start();
    uintptr_t p = some(LEN);
    za_foreign_maps = true;
    za_free_foreign = theirs_free;
    za_realloc_foreign = theirs_realloc;
    za_usable_foreign = theirs_usable;
    za_free((void *)(p + 48));
    CHECK_EQ((uintptr_t)asked, p + 48);
    CHECK(!za_realloc((void *)(p + LEN - 16), 100));
    CHECK_EQ((uintptr_t)asked, p + LEN - 16);
    CHECK_EQ(za_usable((void *)p), 77);
    za_mapped_spoil(p, p + KIT_PAGE);
    za_free((void *)(p + 64));
    CHECK_EQ((uintptr_t)asked, p + 64);
    p = some(LEN);
    end(p, LEN);
    kit_must_die(KIT_NOTHING);
    za_free((void *)p);
    KIT_SURVIVED();
}

#define LIMIT ((uint64_t)1 << 30)

static uint64_t a_gib(void)
{
    return LIMIT;
}

/* The kernel counts it as the program's, which thinks that it has given it back: against RLIMIT_DATA. */
UNIT_TEST(what_is_lost_is_little_of_what_a_program_may_have)
{
    static struct za_os os;
    kit_start();
    os = *za_os;
    os.data_limit = a_gib;
    za_os = &os;
    for (unsigned i = 0; lost() <= LIMIT / 8; i++) {
        uintptr_t p = some(LEN);
        za_mapped_lose_part(p, LEN);
        CHECK(i <= LIMIT / 8 / LEN);
    }
    CHECK(!za_mapped_new(LEN));
    os.data_limit = za_os_linux->data_limit;
    CHECK(za_mapped_new(LEN) != NULL);
}
