/* SPDX-License-Identifier: MIT */
/*
 * pager_share -- pages of equal bytes share a blob: found, counted, brought back, dropped, forked
 * and packed again, whoever touches them meanwhile; and nothing is shared that differs.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/conf.h"
#include "pager/dense.h"
#include "pager/pager.h"
#include "pager/private.h"
#include "pager/share.h"
#include "tests/fake/region.h"
#include "tests/unit/unit.h"

#define USED ZA_CHUNK_SIZE
#define PAGES (USED / 2 / REGION_PAGE)
#define HALF (PAGES / 2)
#define UNIT REGION_UNIT
#define WORDS (REGION_PAGE / sizeof(uint64_t))
#define KINDS 24u /* different contents in the random tests */
#define READERS 3u
#define ROUNDS 12
#define BOOK 64u    /* phrases */
#define LOOKS 8192u /* before the first look at the yield */
#define WORD ((uint64_t)0x1234)

static void start(void)
{
    if (region_refused())
        UNIT_SKIP("userfaultfd is refused here");
    za_conf.dedup = ZA_DEDUP_CONTENT;
    za_dense_least = ZA_MIB;
    region_start(USED);
}

static void evict(void)
{
    CHECK_EQ(za_pager_evict_all(), 0);
}

static uint64_t stat(enum za_stat_id id)
{
    za_pager_stats();
    return za_stat_get(id);
}

/* Page p has the contents of page `as`. */
static void fill_as(size_t p, size_t as, uint32_t stamp)
{
    uint64_t *w = (uint64_t *)(void *)region_at(p);
    for (size_t i = 0; i < WORDS; i++)
        w[i] = region_word(as, stamp, i);
}

static void fill_word(size_t p, uint64_t word)
{
    uint64_t *w = (uint64_t *)(void *)region_at(p);
    for (size_t i = 0; i < WORDS; i++)
        w[i] = word;
}

static bool holds_word(size_t p, uint64_t word)
{
    const uint64_t *w = (const uint64_t *)(const void *)region_at(p);
    for (size_t i = 0; i < WORDS; i++)
        if (w[i] != word)
            return false;
    return true;
}

static void check_sums(void)
{
    CHECK_EQ(za_stat_get(ZA_STAT_DD_SCANNED),
             za_stat_get(ZA_STAT_DD_ZERO) + za_stat_get(ZA_STAT_DD_SAME) +
                 za_stat_get(ZA_STAT_DD_DUPLICATE) + za_stat_get(ZA_STAT_DD_UNIQUE) +
                 za_stat_get(ZA_STAT_DD_SKIPPED));
}

/* Two copies of half the region, the second one `shift` pages out of step. */
static void two_copies(size_t shift)
{
    for (size_t p = 0; p < HALF; p++) {
        fill_as(p, p, 1);
        fill_as(HALF + p, (p + shift) % HALF, 1);
    }
}

static bool two_copies_hold(size_t shift)
{
    for (size_t p = 0; p < HALF; p++)
        if (!region_holds(p, 1, 1) || !region_holds_as(HALF + p, 1, (p + shift) % HALF, 1))
            return false;
    return true;
}

/* No blob, a moment later. */
static void none_is_left(void)
{
    for (int i = 0; i < 1000 && stat(ZA_STAT_ST_BLOBS) > 0; i++)
        region_sleep_ms(1);
    CHECK_EQ(stat(ZA_STAT_ST_BLOBS), 0);
}

static void share_and_come_back(size_t shift)
{
    start();
    two_copies(shift);
    evict();
    CHECK_EQ(za_stat_get(ZA_STAT_PG_STORED), PAGES);
    CHECK_EQ(stat(ZA_STAT_ST_RAW), HALF * REGION_PAGE);
    CHECK_EQ(za_stat_get(ZA_STAT_DD_SHARED), HALF);
    CHECK_EQ(za_stat_get(ZA_STAT_DD_DUPLICATE), HALF);
    CHECK_EQ(za_stat_get(ZA_STAT_DD_UNIQUE), HALF);
    CHECK_EQ(za_stat_get(ZA_STAT_DD_ENTRIES), HALF);
    CHECK(za_stat_get(ZA_STAT_DD_INDEX) > 0);
    CHECK_EQ(za_stat_get(ZA_STAT_DD_FALSE), 0);
    check_sums();
    region_check();
    CHECK(two_copies_hold(shift));
    CHECK_EQ(region_await(ZA_STAT_PG_STORED, 0), 0);
    region_check();
    none_is_left();
}

UNIT_TEST(two_copies_are_stored_once)
{
    share_and_come_back(0);
}

/* Pages of one cluster come from two blobs. */
UNIT_TEST(copies_out_of_step_too)
{
    share_and_come_back(1);
}

UNIT_TEST(without_content_nothing_is_shared)
{
    start();
    za_conf.dedup = ZA_DEDUP_ZERO;
    two_copies(0);
    evict();
    CHECK_EQ(stat(ZA_STAT_ST_RAW), PAGES * REGION_PAGE);
    CHECK_EQ(za_stat_get(ZA_STAT_DD_DUPLICATE), 0);
    CHECK_EQ(za_stat_get(ZA_STAT_DD_SKIPPED), PAGES);
    CHECK_EQ(za_stat_get(ZA_STAT_DD_INDEX), 0);
    check_sums();
    CHECK(two_copies_hold(0));
}

/* One content all over a cluster: one page of one blob, many times. */
UNIT_TEST(equal_pages_of_one_cluster)
{
    start();
    for (size_t p = 0; p < UNIT; p++)
        fill_as(p, 7, 3);
    evict();
    CHECK_EQ(stat(ZA_STAT_ST_RAW), REGION_PAGE);
    CHECK_EQ(za_stat_get(ZA_STAT_DD_DUPLICATE), UNIT - 1);
    region_check();
    for (size_t p = 0; p < UNIT; p++)
        CHECK(region_holds_as(p, 1, 7, 3));
    CHECK_EQ(region_await(ZA_STAT_PG_STORED, 0), 0);
    CHECK_EQ(stat(ZA_STAT_PG_RESTORED), UNIT);
}

UNIT_TEST(one_word_over_and_over)
{
    start();
    for (size_t p = 0; p < UNIT; p++)
        fill_word(p, p % 4 == 3 ? 0 : 0x0101010101010101u * (p % 4 + 1));
    region_fill(UNIT, UNIT, 1);
    evict();
    size_t zeros = UNIT / 4;
    CHECK_EQ(za_stat_get(ZA_STAT_PG_ZERO), zeros);
    CHECK_EQ(za_stat_get(ZA_STAT_PG_SAME), UNIT - zeros);
    CHECK_EQ(za_stat_get(ZA_STAT_DD_SAME), UNIT - zeros);
    CHECK_EQ(stat(ZA_STAT_ST_RAW), (za_min(UNIT, 3) + UNIT) * REGION_PAGE);
    check_sums();
    CHECK_EQ(za_pager_dense_all(), 0);
    region_check();
    for (size_t p = 0; p < UNIT; p++)
        CHECK(holds_word(p, p % 4 == 3 ? 0 : 0x0101010101010101u * (p % 4 + 1)));
    CHECK(region_holds(UNIT, UNIT, 1));
}

/* More words than are remembered, in rounds that free and reuse the blobs. */
UNIT_TEST(many_words)
{
    start();
    for (uint64_t round = 1; round <= 3; round++) {
        for (size_t p = 0; p < PAGES; p++)
            fill_word(p, (p % 100 + 1) * round);
        evict();
        region_check();
        for (size_t p = 0; p < PAGES; p++)
            CHECK(holds_word(p, (p % 100 + 1) * round));
    }
}

static bool first_half_dies;

static void dead_bytes(size_t page, uint64_t mask[REGION_GRANULES / 64])
{
    (void)page;
    memset(mask, 0xff, REGION_GRANULES / 8);
    if (first_half_dies)
        memset(mask, 0x55, REGION_GRANULES / 8);
}

/* What differs in dead bytes only is equal. */
UNIT_TEST(dead_bytes_do_not_count)
{
    start();
    region_live(dead_bytes);
    for (size_t p = 0; p < HALF; p++) {
        fill_as(p, p % UNIT, 1);
        memset(region_at(p) + 16, (int)(p % 251), 16);
    }
    first_half_dies = true;
    evict();
    CHECK_EQ(stat(ZA_STAT_ST_RAW), UNIT * REGION_PAGE);
    for (size_t p = 0; p < HALF; p++)
        for (size_t i = 0; i < WORDS; i += 4)
            CHECK_EQ(((uint64_t *)(void *)region_at(p))[i], region_word(p % UNIT, 1, i));
}

UNIT_TEST(one_of_the_sharers_goes)
{
    start();
    two_copies(0);
    evict();
    CHECK_EQ(za_pager_discard((uintptr_t)region_at(0), HALF * REGION_PAGE), 0);
    region_check();
    CHECK_EQ(stat(ZA_STAT_ST_RAW), HALF * REGION_PAGE);
    CHECK_EQ(za_stat_get(ZA_STAT_DD_SHARED), 0);
    CHECK(region_zero(0, HALF));
    for (size_t p = 0; p < HALF; p++)
        CHECK(region_holds_as(HALF + p, 1, p, 1));
}

/* Hints that are stale: the blobs have died, and their ids belong to others. */
UNIT_TEST(stale_hints_are_not_believed)
{
    start();
    for (uint32_t stamp = 1; stamp <= 4; stamp++) {
        region_fill(0, PAGES, stamp);
        evict();
        CHECK(region_holds(0, PAGES, stamp));
        CHECK_EQ(region_await(ZA_STAT_PG_STORED, 0), 0);
    }
    region_fill(0, PAGES, 1);
    evict();
    region_check();
    CHECK(region_holds(0, PAGES, 1));
    check_sums();
}

static char strange[REGION_PAGE];

/* Tells the index that page 0's place in the store holds what it does not hold. */
static void lie(size_t as)
{
    uint64_t *w = (uint64_t *)(void *)strange;
    za_page r = za_page_get(&za_pg.pages[0]);
    for (size_t i = 0; i < WORDS; i++)
        w[i] = region_word(as, 1, i);
    za_share_begin();
    uint64_t tag = za_share_tag(strange);
    CHECK_EQ(za_share_find(strange, tag, ZA_SHARE_ANY).blob, ZA_BLOB_NONE);
    CHECK_EQ(za_page_state(r), ZA_PAGE_STORED);
    za_share_note(tag, za_page_blob(r), za_page_index(r));
}

UNIT_TEST(a_digest_that_lies_is_not_believed)
{
    start();
    region_fill(0, UNIT, 1);
    evict();
    region_on_worker(lie, 2 * UNIT);
    region_fill(2 * UNIT, UNIT, 1);
    evict();
    CHECK_EQ(za_stat_get(ZA_STAT_DD_FALSE), 1);
    CHECK_EQ(za_stat_get(ZA_STAT_DD_DUPLICATE), 0);
    CHECK(region_holds(2 * UNIT, UNIT, 1));
    CHECK(region_holds(0, UNIT, 1));
}

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

/* Letters: words out of a small book, in random order; only the dense codec makes much of that. */
static uint64_t letters(size_t as, size_t i)
{
    uint64_t phrase = mix((as + 1) << 8 ^ i / 8) % BOOK, x = mix(phrase << 8 ^ i % 8), word = 0;
    for (unsigned b = 0; b < 8; b++, x >>= 4)
        word = word << 8 | ('a' + x % 16);
    return word;
}

static bool text(size_t p, size_t as, bool write)
{
    uint64_t *w = (uint64_t *)(void *)region_at(p);
    for (size_t i = 0; i < WORDS; i++) {
        if (write)
            w[i] = letters(as, i);
        else if (w[i] != letters(as, i))
            return false;
    }
    return true;
}

static bool two_texts(bool write)
{
    for (size_t p = 0; p < HALF; p++)
        if (!text(p, p, write) || !text(HALF + p, (p + 1) % HALF, write))
            return false;
    return true;
}

UNIT_TEST(packed_again_they_still_share)
{
    start();
    two_texts(true);
    evict();
    CHECK_EQ(za_pager_dense_all(), 0);
    CHECK_EQ(za_stat_get(ZA_STAT_PG_STORED), PAGES);
    CHECK_EQ(region_present(0, PAGES), 0);
    for (int i = 0; i < 1000 && stat(ZA_STAT_ST_RAW) > HALF * REGION_PAGE; i++)
        region_sleep_ms(1);
    CHECK_EQ(stat(ZA_STAT_ST_RAW), HALF * REGION_PAGE);
    CHECK(za_stat_get(ZA_STAT_PG_DENSE) >= PAGES);
    region_check();
    check_sums();
    CHECK(two_texts(false));
    CHECK_EQ(region_await(ZA_STAT_PG_STORED, 0), 0);
    two_texts(true);
    evict();
    CHECK(two_texts(false));
}

/* A third copy comes when the first two are dense: it shares with them at once. */
UNIT_TEST(a_fast_page_shares_a_dense_blob)
{
    start();
    region_fill(0, HALF, 1);
    evict();
    CHECK_EQ(za_pager_dense_all(), 0);
    for (size_t p = 0; p < HALF; p++)
        fill_as(HALF + p, p, 1);
    evict();
    CHECK_EQ(za_stat_get(ZA_STAT_DD_DUPLICATE), HALF);
    for (int i = 0; i < 1000 && stat(ZA_STAT_ST_RAW) > HALF * REGION_PAGE; i++)
        region_sleep_ms(1);
    CHECK_EQ(stat(ZA_STAT_ST_RAW), HALF * REGION_PAGE);
    CHECK(two_copies_hold(0));
}

/* New contents all over, none of it fetched first. */
static void fresh(uint32_t stamp)
{
    CHECK_EQ(za_pager_discard((uintptr_t)region_at(0), PAGES * REGION_PAGE), 0);
    region_fill(0, PAGES, stamp);
    evict();
}

/* No duplicates for long: a sample only; then many: all are found. */
UNIT_TEST(effort_follows_yield)
{
    start();
    for (uint32_t stamp = 1; stamp <= LOOKS / PAGES + 2 && !stat(ZA_STAT_DD_SKIPPED); stamp++)
        fresh(stamp);
    CHECK(za_stat_get(ZA_STAT_DD_SKIPPED) > 0);
    uint64_t before = stat(ZA_STAT_DD_SKIPPED), scanned = za_stat_get(ZA_STAT_DD_SCANNED);
    fresh(200);
    uint64_t skipped = stat(ZA_STAT_DD_SKIPPED) - before;
    CHECK_EQ(za_stat_get(ZA_STAT_DD_SCANNED) - scanned, PAGES);
    CHECK(skipped > PAGES / 2 && skipped < PAGES);
    /* The first contents are dead: the index forgets them. */
    for (int i = 0; i < 10000 && stat(ZA_STAT_DD_ENTRIES) > 2 * PAGES; i++)
        region_sleep_ms(1);
    CHECK(za_stat_get(ZA_STAT_DD_ENTRIES) <= 2 * PAGES);
    for (uint32_t stamp = 300; stamp < 400; stamp++) {
        before = stat(ZA_STAT_DD_SKIPPED);
        CHECK_EQ(za_pager_discard((uintptr_t)region_at(0), PAGES * REGION_PAGE), 0);
        for (size_t p = 0; p < PAGES; p++)
            fill_as(p, p % (PAGES / 4), stamp);
        evict();
        if (stat(ZA_STAT_DD_SKIPPED) == before)
            break;
    }
    before = stat(ZA_STAT_DD_SKIPPED);
    two_copies(0);
    evict();
    CHECK_EQ(stat(ZA_STAT_DD_SKIPPED), before);
    check_sums();
    CHECK(two_copies_hold(0));
}

/* What does not compress is kept once all the same, when it is there twice. */
UNIT_TEST(equal_noise_is_stored_as_it_is)
{
    start();
    region_fill_random(0, 4 * UNIT);
    memcpy(region_at(HALF), region_at(0), 4 * UNIT * REGION_PAGE);
    region_fill_random(HALF + 8 * UNIT, UNIT);
    evict(); /* the first copy is seen, the second one stored */
    evict(); /* and the first one finds it */
    CHECK_EQ(stat(ZA_STAT_PG_STORED), 8 * UNIT);
    CHECK_EQ(stat(ZA_STAT_ST_RAW), 4 * UNIT * REGION_PAGE);
    CHECK_EQ(region_present(0, PAGES), UNIT);
    za_dense_least = 0; /* nothing here to learn a dictionary from, and nobody waits for it */
    CHECK_EQ(za_pager_dense_all(), 0);
    CHECK_EQ(stat(ZA_STAT_PG_DENSE), 0);
    region_check();
    check_sums();
    CHECK(region_holds_random(0, 4 * UNIT));
    CHECK_EQ(memcmp(region_at(HALF), region_at(0), 4 * UNIT * REGION_PAGE), 0);
    CHECK(region_holds_random(HALF + 8 * UNIT, UNIT));
}

/* Alone it stays, however often it is looked at. */
UNIT_TEST(noise_that_is_there_once_stays)
{
    start();
    region_fill_random(0, 4 * UNIT);
    for (int round = 0; round < 4; round++)
        evict();
    CHECK_EQ(stat(ZA_STAT_PG_STORED), 0);
    CHECK_EQ(region_present(0, 4 * UNIT), 4 * UNIT);
    CHECK_EQ(za_stat_get(ZA_STAT_DD_ENTRIES), 4 * UNIT);
}

/* What is stored as it is, and words that nobody had before, need room below max_store as well. */
UNIT_TEST(equal_noise_stays_below_max_store)
{
    za_conf.max_store = 2 * ZA_MIB;
    start();
    region_fill_random(0, PAGES);
    memcpy(region_at(PAGES), region_at(0), PAGES * REGION_PAGE);
    for (int round = 0; round < 3; round++)
        evict();
    CHECK(stat(ZA_STAT_PG_STORED) > 0);
    CHECK(stat(ZA_STAT_PG_REFUSED_FULL) > 0);
    CHECK(stat(ZA_STAT_ST_MAPPED) <= 3 * ZA_MIB);
    size_t words = 0; /* where nothing is stored, so that nothing dies and makes room */
    while (region_present(words, UNIT) < UNIT)
        words += UNIT;
    uint64_t same = stat(ZA_STAT_PG_SAME), refused = stat(ZA_STAT_PG_REFUSED_FULL);
    for (size_t p = words; p < words + UNIT; p++)
        fill_word(p, WORD + p);
    evict();
    CHECK_EQ(stat(ZA_STAT_PG_SAME), same);
    CHECK(stat(ZA_STAT_PG_REFUSED_FULL) >= refused + UNIT);
    for (size_t p = words; p < words + UNIT; p++)
        CHECK(holds_word(p, WORD + p));
    for (size_t p = 0; p < PAGES; p++)
        CHECK(p - words < UNIT || memcmp(region_at(PAGES + p), region_at(p), REGION_PAGE) == 0);
    region_check();
    check_sums();
}

/* --- everybody at once --- */

static uint32_t stop;
static uint32_t kind[PAGES]; /* of the thread that owns the page */

static void refill(size_t p, uint64_t x)
{
    kind[p] = (uint32_t)(x % KINDS);
    if (kind[p] < 2)
        fill_word(p, kind[p] * WORD);
    else
        fill_as(p, kind[p], 1);
}

static bool right(size_t p)
{
    return kind[p] < 2 ? holds_word(p, kind[p] * WORD) : region_holds_as(p, 1, kind[p], 1);
}

static bool all_right(void)
{
    for (size_t p = 0; p < PAGES; p++)
        if (!right(p))
            return false;
    return true;
}

/* Reads and writes pages of its own, those with p % READERS == its number. */
static void *use(void *number)
{
    uint64_t x = (uintptr_t)number + 1;
    while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
        x = mix(x + 0x9e3779b97f4a7c15u);
        size_t p = x % (PAGES / READERS) * READERS + (uintptr_t)number;
        CHECK(right(p));
        if (x >> 62 == 0)
            refill(p, x >> 8);
        if (x >> 56 == 0)
            CHECK_EQ(za_pager_discard((uintptr_t)region_at(p), REGION_PAGE), 0);
        if (x >> 56 == 0)
            kind[p] = 0;
    }
    return NULL;
}

UNIT_TEST(while_they_are_read_written_and_dropped)
{
    pthread_t t[READERS];
    start();
    for (size_t p = 0; p < PAGES; p++)
        refill(p, mix(p));
    for (uintptr_t i = 0; i < READERS; i++)
        CHECK_EQ(pthread_create(&t[i], NULL, use, (void *)i), 0);
    for (int round = 0; round < ROUNDS; round++) {
        evict();
        if (round % 4 == 3)
            CHECK_EQ(za_pager_dense_all(), 0);
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
    for (unsigned i = 0; i < READERS; i++)
        CHECK_EQ(pthread_join(t[i], NULL), 0);
    CHECK(stat(ZA_STAT_DD_DUPLICATE) > 0);
    CHECK(all_right());
    region_check();
    check_sums();
    CHECK_EQ(za_pager_discard((uintptr_t)region_at(0), PAGES * REGION_PAGE), 0);
    none_is_left(); /* whoever lost a race has given its reference back */
}

static void in_child(void)
{
    uint64_t before = za_stat_get(ZA_STAT_DD_DUPLICATE);
    CHECK(two_copies_hold(0));
    for (size_t p = 0; p < HALF; p += 2)
        fill_as(p, PAGES + p, 5);
    evict();
    CHECK(stat(ZA_STAT_DD_DUPLICATE) > before);
    CHECK_EQ(za_pager_dense_all(), 0);
    region_check();
    for (size_t p = 0; p < HALF; p++) {
        CHECK(region_holds_as(p, 1, p % 2 ? p : PAGES + p, p % 2 ? 1 : 5));
        CHECK(region_holds_as(HALF + p, 1, p, 1));
    }
    exit(0);
}

UNIT_TEST(parent_and_child_go_on_sharing)
{
    int status;
    if (region_forks_confuse())
        UNIT_SKIP("ThreadSanitizer takes the threads that a child does not have for running ones");
    start();
    two_copies(0);
    evict();
    int pid = region_fork();
    CHECK(pid >= 0);
    if (pid == 0)
        in_child();
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    CHECK(two_copies_hold(0));
    evict();
    CHECK(two_copies_hold(0));
    region_check();
}

/* A child that nobody told: the parent's pages, then a life of its own. */
UNIT_TEST(a_bare_child_reads_what_was_shared)
{
    int status;
    if (region_forks_confuse())
        UNIT_SKIP("ThreadSanitizer takes the threads that a child does not have for running ones");
    start();
    two_copies(1);
    evict();
    if (!za_pg.caps.event_fork)
        UNIT_SKIP("children are not announced here");
    int pid = region_fork_bare();
    CHECK(pid >= 0);
    if (pid == 0)
        _exit(two_copies_hold(1) ? 0 : 1);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    CHECK(two_copies_hold(1));
}
