/* SPDX-License-Identifier: MIT */
/*
 * base_meta -- blocks are zeroed, aligned, apart from each other, found again, and well inside a
 * chunk.
 */
#include "base/meta.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/unit/unit.h"

#define TAIL ((size_t)4096)
#define MANY 2000

static int maps_left = 1 << 30;
static size_t bytes_mapped;

static void *map(size_t len)
{
    void *p;

    if (maps_left-- <= 0)
        return NULL;
    p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    bytes_mapped += len;
    return p;
}

static bool all_are(const unsigned char *p, size_t n, unsigned char v)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] != v)
            return false;
    return true;
}

/* Inside one chunk, with a page of it to spare behind. */
static bool well_inside(const void *p, size_t bytes)
{
    void *start;
    size_t len;

    for (unsigned i = 0; za_meta_chunk(i, &start, &len); i++) {
        uintptr_t off = (uintptr_t)p - (uintptr_t)start;
        if ((uintptr_t)p >= (uintptr_t)start && off < len)
            return off + bytes + TAIL <= len;
    }
    return false;
}

static uint32_t random_state = 12345;

static uint32_t next_random(void)
{
    random_state = random_state * 1664525u + 1013904223u;
    return random_state >> 8;
}

static size_t random_size(void)
{
    return 1 + next_random() % ((size_t)1 << next_random() % 17);
}

UNIT_TEST(nothing_before_init)
{
    CHECK(za_meta_alloc(100, 8) == NULL);
    CHECK_EQ(za_meta_mapped(), 0);
    CHECK_EQ(za_meta_used(), 0);
}

UNIT_TEST(every_size_and_alignment)
{
    za_meta_init(map);
    for (size_t size = 1; size <= 3 * ZA_MIB; size += size / 3 + 1) {
        for (size_t align = 1; align <= 4096; align *= 2) {
            unsigned char *p = za_meta_alloc(size, align);
            CHECK(p != NULL);
            CHECK_EQ((uintptr_t)p % align, 0);
            CHECK(well_inside(p, size));
            CHECK(all_are(p, size, 0));
            memset(p, 0xee, size);
        }
    }
}

struct kept {
    unsigned char *p;
    size_t size;
    unsigned char mark;
};

static void fill(struct kept *k, unsigned char mark)
{
    k->size = random_size();
    k->mark = mark;
    k->p = za_meta_alloc(k->size, (size_t)1 << next_random() % 13);
    CHECK(k->p != NULL);
    CHECK(all_are(k->p, k->size, 0));
    memset(k->p, mark, k->size);
}

/* Random life and death: a block that overlapped another would lose its mark. */
UNIT_TEST(blocks_do_not_overlap)
{
    static struct kept kept[MANY];
    size_t used;

    za_meta_init(map);
    for (int round = 0; round < 20000; round++) {
        struct kept *k = &kept[next_random() % MANY];
        if (k->p) {
            CHECK(all_are(k->p, k->size, k->mark));
            memset(k->p, 0xdd, k->size);
            za_meta_free(k->p, k->size);
        }
        fill(k, (unsigned char)round);
    }
    used = za_meta_used();
    CHECK(used > 0 && used <= za_meta_mapped());
    for (int i = 0; i < MANY; i++)
        if (kept[i].p)
            za_meta_free(kept[i].p, kept[i].size);
    CHECK_EQ(za_meta_used(), 0);
}

UNIT_TEST(freed_memory_comes_back_zeroed)
{
    unsigned char *p, *q;

    za_meta_init(map);
    p = za_meta_alloc(1000, 8);
    memset(p, 0xff, 1000);
    za_meta_free(p, 1000);
    q = za_meta_alloc(700, 8); /* the same class: the same block */
    CHECK_EQ(q, p);
    CHECK(all_are(q, 700, 0));
    za_meta_free(q, 700);
    q = za_meta_alloc(1024, 1024);
    CHECK_EQ(q, p);
    CHECK(all_are(q, 1024, 0));
}

UNIT_TEST(steady_use_does_not_grow)
{
    static const size_t sizes[] = {1, 24, 100, 4096, 5000, 70000, 300000, 5000000};
    void *p[ZA_ARRAY_LEN(sizes)];
    size_t mapped = 0;

    za_meta_init(map);
    for (int round = 0; round < 200; round++) {
        for (size_t i = 0; i < ZA_ARRAY_LEN(sizes); i++)
            p[i] = za_meta_alloc(sizes[i], i % 2 ? 8 : 4096);
        for (size_t i = 0; i < ZA_ARRAY_LEN(sizes); i++)
            za_meta_free(p[i], sizes[i]);
        if (round == 1)
            mapped = za_meta_mapped();
    }
    CHECK_EQ(za_meta_mapped(), mapped);
}

UNIT_TEST(leftovers_are_used)
{
    za_meta_init(map);
    CHECK(za_meta_alloc(16, 16) != NULL);
    CHECK(za_meta_alloc(16, 4096) != NULL); /* skips nearly a page */
    CHECK_EQ(za_meta_mapped(), ZA_MIB);
    /* All but the header, the tail page and rounding can still be had in small pieces. */
    for (size_t i = 0; i < (ZA_MIB - 2 * TAIL) / 16; i++)
        CHECK(za_meta_alloc(16, 1) != NULL);
    CHECK_EQ(za_meta_mapped(), ZA_MIB);
}

UNIT_TEST(chunks_add_up_to_mapped)
{
    size_t sum = 0, len;
    void *addr;

    za_meta_init(map);
    for (int i = 0; i < 300; i++)
        CHECK(za_meta_alloc(random_size() * 8, 8) != NULL);
    for (unsigned i = 0; za_meta_chunk(i, &addr, &len); i++)
        sum += len;
    CHECK_EQ(sum, za_meta_mapped());
    CHECK_EQ(sum, bytes_mapped);
}

UNIT_TEST(no_memory_is_null_and_harmless)
{
    size_t used;

    za_meta_init(map);
    CHECK(za_meta_alloc(100, 8) != NULL);
    used = za_meta_used();
    maps_left = 0;
    CHECK(za_meta_alloc(10 * ZA_MIB, 8) == NULL);
    CHECK(za_meta_alloc(SIZE_MAX, 8) == NULL);
    CHECK(za_meta_alloc(SIZE_MAX / 2 + 2, 8) == NULL);
    CHECK_EQ(za_meta_used(), used);
    while (za_meta_alloc(4096, 8)) /* drains the chunk */
        ;
    maps_left = 1;
    CHECK(za_meta_alloc(4096, 8) != NULL);
}

static void *churn(void *arg)
{
    unsigned char mark = (unsigned char)(uintptr_t)arg;

    for (int i = 0; i < 3000; i++) {
        size_t size = 16 + (size_t)i % 2000;
        unsigned char *p = za_meta_alloc(size, 8);
        CHECK(all_are(p, size, 0));
        memset(p, mark, size);
        CHECK(all_are(p, size, mark));
        za_meta_free(p, size);
    }
    return NULL;
}

UNIT_TEST(threads_do_not_share_blocks)
{
    pthread_t t[4];

    za_meta_init(map);
    for (uintptr_t i = 0; i < 4; i++)
        CHECK_EQ(pthread_create(&t[i], NULL, churn, (void *)(i + 1)), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    CHECK_EQ(za_meta_used(), 0);
}

UNIT_TEST(fork_holds_and_releases)
{
    za_meta_init(map);
    za_meta_prefork();
    za_meta_postfork();
    CHECK(za_meta_alloc(8, 8) != NULL);
}

UNIT_DIES(alignment_beyond_a_page_dies, "zalloc: assertion failed: za_is_pow2(align) && *")
{
    za_meta_alloc(8, 8192);
}

UNIT_DIES(crooked_alignment_dies, "zalloc: assertion failed: za_is_pow2(align) && *")
{
    za_meta_alloc(8, 24);
}
