/* SPDX-License-Identifier: MIT */
/*
 * alloc_ages -- what is allocated while the rest is out does not bring it back, as long as little of that is free.
 */
#include "alloc/span.h"
#include "base/stat.h"
#include "pager/pager.h"
#include "tests/unit/alloc_kit.h"

#define N 60000u
#define SIZE 176u

static void *blocks[N];

static void start(void)
{
    struct za_uffd_caps caps;
    kit_os();
    int fd = za_os->uffd_open(&caps);
    if (fd < 0)
        UNIT_SKIP("userfaultfd is refused here");
    (void)za_os->close(fd);
    za_conf.reserve = 4 * ZA_GIB;
    za_conf.start_bytes = UINT64_MAX >> 1; /* on request */
    za_conf.cold_ms = 86400000;
    CHECK(za_alloc_init(za_conf.reserve));
    for (unsigned i = 0; i < N; i++) {
        blocks[i] = za_malloc(SIZE);
        memset(blocks[i], (int)i, SIZE);
    }
}

/* Frees one of so many, evicts what there is, allocates as many; pages that came back meanwhile. */
static int64_t renew(unsigned one_of)
{
    for (unsigned i = 0; i < N; i += one_of)
        za_free(blocks[i]);
    (void)za_trim();
    CHECK_EQ(za_pager_evict_all(), 0);
    int64_t before = za_stat_get(ZA_STAT_PG_RESTORED) + za_stat_get(ZA_STAT_PG_WARM);
    for (unsigned i = 0; i < N; i += one_of) {
        blocks[i] = za_malloc(SIZE);
        memset(blocks[i], (int)i, SIZE);
    }
    return za_stat_get(ZA_STAT_PG_RESTORED) + za_stat_get(ZA_STAT_PG_WARM) - before;
}

static void check_all(void)
{
    for (unsigned i = 0; i < N; i++) {
        const unsigned char *b = blocks[i];
        CHECK(b[0] == (unsigned char)i && memcmp(b, b + 1, SIZE - 1) == 0);
    }
    za_alloc_check();
}

UNIT_TEST(a_few_new_ones_bring_nothing_back)
{
    start();
    CHECK(renew(25) <= 64);
    check_all();
}

/* What lies free in what is out is not left there for good. */
UNIT_TEST(many_fill_the_holes)
{
    start();
    size_t used = za_space_used();
    CHECK(renew(2) > 64);
    CHECK_EQ(za_space_used(), used);
    check_all();
}

UNIT_TEST(time_after_time_it_does_not_grow_for_ever)
{
    start();
    size_t used = za_space_used();
    for (unsigned i = 0; i < 30; i++)
        (void)renew(20 + i);
    CHECK(za_space_used() - used <= used / 4 + ZA_CHUNK_SIZE);
    check_all();
}
