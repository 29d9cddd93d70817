/* SPDX-License-Identifier: MIT */
/*
 * alloc_calloc -- blocks that were never touched are not cleared but dropped, as long as that is quick.
 *
 * The clock is the test's: a drop takes as long as it says.
 */
#include "alloc/large.h"
#include "tests/unit/alloc_kit.h"

#define SIZE ((size_t)300000)
#define LONG_TIME (10 * ZA_NS_PER_MS)

static struct za_os table;
static const struct za_os *below;
static uint64_t clock_ns, takes_ns;
static unsigned drops;

static uint64_t test_now(void)
{
    return clock_ns;
}

static int test_purge(void *p, size_t len)
{
    drops++;
    clock_ns += takes_ns;
    return below->purge(p, len);
}

static void start(void)
{
    kit_os();
    below = za_os;
    table = *za_os;
    table.now = test_now;
    table.purge = test_purge;
    za_os = &table;
    za_conf.compress = false;
    za_conf.reserve = 4 * ZA_GIB;
    CHECK(za_alloc_init(za_conf.reserve));
    drops = 0;
}

/* One life of a block; it must begin with zeros. */
static char *live_once(size_t size)
{
    char *p = za_calloc(1, size);
    CHECK(kit_zero(p, za_usable(p)));
    za_free(p);
    return p;
}

UNIT_TEST(an_untouched_block_is_dropped_and_not_cleared)
{
    start();
    char *p = live_once(SIZE);
    CHECK_EQ(drops, 0); /* it came clean */
    for (unsigned i = 1; i <= 5; i++) {
        CHECK(live_once(SIZE) == p);
        CHECK_EQ(drops, i);
    }
    za_alloc_check();
}

UNIT_TEST(a_block_whose_drop_takes_long_is_cleared_from_the_second_time_on)
{
    start();
    char *p = live_once(SIZE);
    takes_ns = LONG_TIME;
    CHECK(live_once(SIZE) == p);
    takes_ns = 0;
    CHECK(live_once(SIZE) == p); /* once in between it was an interrupt */
    takes_ns = LONG_TIME;
    CHECK(live_once(SIZE) == p && live_once(SIZE) == p);
    CHECK_EQ(drops, 4);
    for (unsigned i = 0; i < 5; i++) {
        char *q = za_calloc(1, SIZE);
        CHECK(q == p && kit_zero(q, za_usable(q)));
        memset(q, 0xff, za_usable(q));
        za_free(q);
    }
    CHECK_EQ(drops, 4);
}

UNIT_TEST(a_block_that_malloc_had_first_is_cleared)
{
    start();
    char *p = za_malloc(SIZE);
    memset(p, 0xff, za_usable(p));
    za_free(p);
    for (unsigned i = 0; i < 5; i++)
        CHECK(live_once(SIZE) == p);
    CHECK_EQ(drops, 0);
}

UNIT_TEST(a_sparse_block_that_malloc_had_meanwhile_is_zero_again)
{
    start();
    char *p = live_once(SIZE);
    for (unsigned i = 0; i < 5; i++) {
        char *q = za_malloc(SIZE);
        CHECK(q == p);
        memset(q, 0xff, za_usable(q));
        za_free(q);
        CHECK(live_once(SIZE) == p);
    }
    CHECK_EQ(drops, 5);
}

UNIT_TEST(what_is_short_is_cleared)
{
    start();
    if (KIT_PAGE > 16384)
        UNIT_SKIP("the shortest block is long enough");
    char *p = live_once(40000);
    CHECK(live_once(40000) == p);
    CHECK_EQ(drops, 0);
}
