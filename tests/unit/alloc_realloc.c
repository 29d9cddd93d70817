/* SPDX-License-Identifier: MIT */
/*
 * alloc_realloc -- realloc keeps contents, stays where it can, and moves page tables where it may.
 */
#include "alloc/large.h"
#include "base/stat.h"
#include "tests/unit/alloc_kit.h"

#define PAGE KIT_PAGE

/* A large block may have no more pages than a request needs that is a slot's. */
UNIT_TEST(a_small_one_is_not_left_in_its_unit)
{
    kit_start();
    void *p = za_realloc(za_memalign(2 * ZA_UNIT_SIZE, 100), 50);
    CHECK(za_usable(p) <= 64);
    p = za_realloc(za_malloc(40000), 1);
    CHECK(za_usable(p) <= 64);
    void *q = za_malloc(100000);
    CHECK(za_realloc(q, 100001) == q && za_realloc(q, 99999) == q);
}

UNIT_TEST(the_same_class_and_page_stay)
{
    kit_start();
    void *p = za_malloc(1000);
    CHECK(za_realloc(p, 1024) == p);
    CHECK(za_realloc(p, 961) == p);
    void *q = za_malloc(100000);
    CHECK(za_realloc(q, 100001) == q);
    CHECK(za_realloc(NULL, 10) != NULL);
}

UNIT_TEST(large_blocks_shrink_and_grow_in_place)
{
    kit_start();
    char *p = za_malloc(1 * ZA_MIB);
    memset(p, 5, 1 * ZA_MIB);
    CHECK(za_realloc(p, 300000) == p);
    CHECK_EQ(za_usable(p), za_align_up(300000, PAGE));
    za_alloc_check();
    CHECK(za_realloc(p, 20 * ZA_MIB) == p);
    for (size_t i = 0; i < 300000; i++)
        CHECK_EQ(p[i], 5);
    za_alloc_check();
    za_free(p);
    za_alloc_check();
}

UNIT_TEST(growth_past_a_neighbour_moves_page_tables)
{
    kit_start();
    size_t len = 16 * ZA_MIB;
    unsigned char *p = za_malloc(len);
    void *wall = za_malloc(1 * ZA_MIB);
    CHECK((char *)wall == (char *)p + len);
    for (size_t i = 0; i < len; i += 512)
        p[i] = (unsigned char)(i / 512);
    unsigned char *q = za_realloc(p, 32 * ZA_MIB);
    CHECK(q && q != p);
    for (size_t i = 0; i < len; i += 512)
        CHECK_EQ(q[i], (unsigned char)(i / 512));
    CHECK(za_stat_get(ZA_STAT_LARGE_MOVES) == 1);
    memset(q, 1, 32 * ZA_MIB);
    /* What was moved away is zero, and known to be. */
    unsigned char *z = za_calloc(1, len);
    CHECK(z == p);
    CHECK(kit_zero(z, len));
    za_alloc_check();
}

UNIT_TEST(without_the_kernel_contents_are_copied)
{
    kit_start();
    za_conf.compress = true; /* the pager may start any time: page tables are not ours to move */
    size_t len = 4 * ZA_MIB;
    unsigned char *p = za_malloc(len);
    (void)za_malloc(1 * ZA_MIB);
    memset(p, 9, len);
    unsigned char *q = za_realloc(p, 5 * ZA_MIB);
    CHECK(q != p && q[0] == 9 && q[len - 1] == 9);
    za_alloc_check();
}

UNIT_TEST(small_steps_of_growth)
{
    kit_start();
    size_t size = 1;
    unsigned char *p = za_malloc(size);
    unsigned moves = 0;
    p[0] = 1;
    while (size < 30 * ZA_MIB) {
        size_t more = size + size / 50 + 40;
        unsigned char *q = za_realloc(p, more);
        CHECK(q);
        moves += q != p;
        CHECK(q[0] == 1 && q[size - 1] == 1);
        memset(q + size, 1, more - size);
        p = q;
        size = more;
        if (size % 3 == 0)
            (void)za_malloc(za_min(size, 100000)); /* something in the way */
    }
    CHECK(moves < 150);
    za_alloc_check();
}

UNIT_TEST(random_sizes)
{
    struct kit_random r = {31337};
    static struct {
        void *p;
        size_t size;
    } b[200];
    kit_start();
    for (int i = 0; i < 40000; i++) {
        uint64_t k = kit_next(&r) % 200;
        size_t size = kit_size(&r) + 1;
        size_t keep = za_min(size, b[k].size);
        unsigned char *q = za_realloc(b[k].p, size);
        CHECK(q);
        for (size_t j = 0; j < za_min(keep, 16); j++)
            CHECK_EQ(q[j], (unsigned char)k);
        for (size_t j = keep; j-- > (keep > 16 ? keep - 16 : 0);)
            CHECK_EQ(q[j], (unsigned char)k);
        memset(q, (int)k, size);
        b[k].p = q;
        b[k].size = size;
        if (i % 4000 == 0)
            za_alloc_check();
    }
    za_alloc_check();
}

UNIT_TEST(a_refused_realloc_leaves_the_block)
{
    kit_start();
    char *p = za_malloc(100000);
    memset(p, 3, 100000);
    CHECK(!za_realloc(p, 100 * ZA_GIB));
    CHECK(!za_realloc(p, SIZE_MAX));
    CHECK(p[99999] == 3);
    za_free(p);
    za_alloc_check();
}

UNIT_TEST(calloc_of_used_memory_is_zero)
{
    kit_start();
    for (size_t size = 40 * ZA_KIB; size < 6 * ZA_MIB; size = size * 3 / 2) {
        void *p = za_malloc(size + 70000);
        memset(p, 0xff, size + 70000);
        za_free(p);
        unsigned char *q = za_calloc(1, size);
        CHECK(kit_zero(q, za_usable(q)));
        memset(q, 0xff, size);
        za_free(q);
    }
}
