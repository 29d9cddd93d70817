/* SPDX-License-Identifier: MIT */
/*
 * pager_dense -- the second tier: what is packed again with a dictionary is smaller and comes back
 * as it was, whoever reads, writes or forks meanwhile; and what a target makes of it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/conf.h"
#include "compress/attempt.h"
#include "compress/store_private.h"
#include "pager/dense.h"
#include "pager/page.h"
#include "pager/pager.h"
#include "pager/state.h"
#include "tests/fake/region.h"
#include "tests/unit/unit.h"

#define USED (2 * ZA_CHUNK_SIZE)
#define PAGES (USED / REGION_PAGE)
#define PHRASE ((size_t)64)
#define PHRASES ((size_t)64)
#define PER_PAGE (REGION_PAGE / PHRASE)
#define READERS 3u
#define ROUNDS 3
#define DYING 8u

static char phrases[PHRASES][PHRASE];
static uint32_t stamps[PAGES]; /* of the thread that owns the page */

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static const char *phrase(size_t page, uint32_t stamp, size_t i)
{
    return phrases[mix((uint64_t)stamp << 40 ^ page << 8 ^ i) % PHRASES];
}

/* Phrases in random order: little repeats in a cluster, everything in the heap. */
static void fill(size_t page, uint32_t stamp)
{
    for (size_t i = 0; i < PER_PAGE; i++)
        memcpy(region_at(page) + i * PHRASE, phrase(page, stamp, i), PHRASE);
    stamps[page] = stamp;
}

/* So much of each phrase is what it says. */
static size_t said = PHRASE;

static bool holds(size_t page)
{
    for (size_t i = 0; i < PER_PAGE; i++)
        if (memcmp(region_at(page) + i * PHRASE, phrase(page, stamps[page], i), said) != 0)
            return false;
    return true;
}

static bool all_hold(void)
{
    for (size_t p = 0; p < PAGES; p++)
        if (!holds(p))
            return false;
    return true;
}

static void new_phrases(uint64_t seed)
{
    for (size_t i = 0; i < sizeof(phrases); i++)
        ((char *)phrases)[i] =
            (char)('a' + mix(i + seed) % 16); /* letters: random bytes stay out */
}

static void start(void)
{
    if (region_refused())
        UNIT_SKIP("userfaultfd is refused here");
    new_phrases(1);
    za_dense_least = ZA_MIB;
    if (REGION_PAGE > 16 * ZA_KIB) /* units of that size gain, but not enough in so small a heap */
        za_training_pays = 0;
    region_start(USED);
    for (size_t p = 0; p < PAGES; p++)
        fill(p, 1);
}

static uint64_t live_bytes(void)
{
    za_pager_stats();
    return za_stat_get(ZA_STAT_ST_LIVE);
}

UNIT_TEST(packed_again_it_is_smaller_and_the_same)
{
    start();
    CHECK_EQ(za_pager_evict_all(), 0);
    uint64_t fast = live_bytes();
    CHECK_EQ(za_pager_dense_all(), 0);
    CHECK(live_bytes() < fast / 2);
    CHECK(za_stat_get(ZA_STAT_PG_DENSE) >= PAGES);
    CHECK(za_stat_get(ZA_STAT_ST_DICTS) > 0);
    CHECK_EQ(region_present(0, PAGES), 0);
    region_check();
    CHECK(all_hold());
    region_check();
}

/* Beyond the blobs: records, table, and what the segments waste; at rest. */
UNIT_TEST(what_the_store_costs_is_bounded)
{
    struct za_store_stats s;
    start();
    for (uint32_t stamp = 2; stamp < 4; stamp++) {
        CHECK_EQ(za_pager_dense_all(), 0);
        for (size_t p = 0; p < PAGES; p++)
            if (mix(p + stamp) % 2)
                fill(p, stamp);
    }
    CHECK_EQ(za_pager_dense_all(), 0);
    for (int turns = 0; turns < 500; turns++) { /* the worker squeezes, and then rests */
        za_store_stats(za_pg.store, &s);
        if (s.held_bytes <= s.live_bytes + s.live_bytes / 20 + ZA_SEGMENT_BYTES / 16)
            break;
        usleep(20000);
    }
    CHECK(s.held_bytes <= s.live_bytes + s.live_bytes / 20 + ZA_SEGMENT_BYTES / 16);
    uint64_t stored = za_stat_get(ZA_STAT_PG_STORED);
    CHECK_EQ(stored, PAGES);
    uint64_t records = stored * sizeof(*za_pg.pages) +
                       s.blobs * (sizeof(struct za_ids) / ZA_GROUP_IDS + sizeof(struct za_blob));
    CHECK(records <= stored * 16 * (REGION_PAGE / 4096));
    CHECK(all_hold());
}

UNIT_TEST(a_second_time_there_is_nothing_to_do)
{
    start();
    CHECK_EQ(za_pager_dense_all(), 0);
    uint64_t once = za_stat_get(ZA_STAT_PG_DENSE);
    CHECK_EQ(za_pager_dense_all(), 0);
    CHECK_EQ(za_stat_get(ZA_STAT_PG_DENSE), once);
}

static uint32_t dictionary(void)
{
    const struct za_dict *d = za_dense_dicts()->current;
    return d ? d->id : ZA_DICT_NONE;
}

static void write_all_and_pack(uint32_t stamp)
{
    for (size_t p = 0; p < PAGES; p++)
        fill(p, stamp);
    CHECK_EQ(za_pager_dense_all(), 0);
}

/* Days must pass until what came back is cold again, whatever it was due for while it was out. */
UNIT_TEST(what_came_back_before_it_was_packed_densely_stays)
{
    start();
    za_conf.dense_ms = 400;
    CHECK_EQ(za_pager_evict_all(), 0);
    CHECK(all_hold());
    CHECK_EQ(region_present(0, PAGES), PAGES);
    uint64_t due = za_os->now() + 500 * ZA_NS_PER_MS;
    while (za_os->now() < due)
        usleep(10000);
    for (uint64_t turns = za_stat_get(ZA_STAT_PG_TURNS); za_stat_get(ZA_STAT_PG_TURNS) < turns + 3;)
        usleep(1000);
    CHECK_EQ(region_present(0, PAGES), PAGES);
}

/* Who came for it before it was packed does not count. */
UNIT_TEST(what_is_packed_on_request_is_packed_densely_later)
{
    start();
    CHECK_EQ(za_pager_evict_all(), 0);
    za_conf.dense_ms = 100;
    for (size_t p = 0; p < PAGES; p++)
        CHECK(holds(p));
    CHECK_EQ(za_pager_evict_all(), 0);
    for (int i = 0; za_stat_get(ZA_STAT_PG_DENSE) < PAGES && i < 6000; i++)
        usleep(10000);
    CHECK(za_stat_get(ZA_STAT_PG_DENSE) >= PAGES);
    CHECK_EQ(region_present(0, PAGES), 0);
    CHECK(all_hold());
}

UNIT_TEST(a_heap_that_stays_keeps_its_dictionary)
{
    start();
    CHECK_EQ(za_pager_dense_all(), 0);
    uint32_t first = dictionary();
    CHECK(first != ZA_DICT_NONE);
    for (uint32_t stamp = 2; stamp < 4; stamp++) /* several windows each */
        write_all_and_pack(stamp);
    CHECK_EQ(dictionary(), first);
    CHECK(all_hold());
}

UNIT_TEST(a_heap_that_changes_gets_another_dictionary)
{
    start();
    CHECK_EQ(za_pager_dense_all(), 0);
    uint32_t first = dictionary();
    CHECK(first != ZA_DICT_NONE);
    new_phrases(1000000);
    for (uint32_t stamp = 2; stamp < 6 && dictionary() == first; stamp++)
        write_all_and_pack(stamp);
    CHECK(dictionary() != first);
    CHECK(dictionary() != ZA_DICT_NONE);
    write_all_and_pack(7);
    CHECK(all_hold());
    for (int turns = 0; turns < 200 && za_dicts_at(za_dense_dicts(), first); turns++)
        usleep(20000);
    CHECK(za_dicts_at(za_dense_dicts(), first) == NULL); /* no blob names it */
    region_check();
}

/*
 * Nothing for a dictionary to learn: the fast codec finds what is there twice, the dense one what
 * letters there are, and no two pages have anything in common.
 */
static void fill_alone(size_t page)
{
    char *p = region_at(page);
    for (size_t i = 0; i < REGION_PAGE / 2; i++)
        p[i] = p[i + REGION_PAGE / 2] = (char)('a' + mix(page * REGION_PAGE + i) % 16);
}

/* W reads it. */
static void set_pause(size_t ns)
{
    za_attempt_pause_ns = ns;
}

static void look(size_t id)
{
    *(uint32_t *)id = dictionary();
}

/* While the worker may retire it at any moment. */
static uint32_t dictionary_now(void)
{
    uint32_t id;
    region_on_worker(look, (size_t)&id);
    return id;
}

static void start_alone(void)
{
    start();
    for (size_t p = 0; p < PAGES; p++)
        fill_alone(p);
    CHECK_EQ(za_pager_dense_all(), 0);
    CHECK_EQ(dictionary_now(), ZA_DICT_NONE);
    CHECK(za_stat_get(ZA_STAT_PG_DENSE) >= PAGES);
}

UNIT_TEST(a_heap_that_had_no_use_for_a_dictionary_changes)
{
    start_alone();
    for (uint32_t stamp = 2; stamp < 5; stamp++)
        write_all_and_pack(stamp);
    CHECK_EQ(dictionary(), ZA_DICT_NONE); /* a pause has to pass */
    CHECK(all_hold());
}

/* A quarter at a time: neither has it grown, nor was it ever small. */
UNIT_TEST(after_a_pause_it_gets_one)
{
    za_attempt_pause_ns = 1;
    start_alone();
    for (uint32_t stamp = 2; stamp < 10 && dictionary_now() == ZA_DICT_NONE; stamp++) {
        for (size_t p = 0; p < PAGES / 4; p++)
            fill(stamp % 4 * PAGES / 4 + p, stamp);
        CHECK_EQ(za_pager_dense_all(), 0);
    }
    CHECK(dictionary_now() != ZA_DICT_NONE);
    write_all_and_pack(10);
    CHECK(all_hold());
    region_check();
}

/* The kernel has nothing as large as a training's samples. */
static bool poor; /* atomic: the worker reads it */
static const struct za_os *rich;

static int map_if_rich(void **p, size_t len)
{
    if (__atomic_load_n(&poor, __ATOMIC_ACQUIRE) && len >= 128 * ZA_KIB && len < ZA_MIB / 2)
        return -ENOMEM;
    return rich->map(p, len);
}

UNIT_TEST(memory_for_a_training_comes_back)
{
    static struct za_os table;
    start();
    rich = za_os;
    table = *za_os;
    table.map = map_if_rich;
    za_os = &table;
    __atomic_store_n(&poor, true, __ATOMIC_RELEASE);
    CHECK_EQ(za_pager_dense_all(), 0);
    CHECK_EQ(dictionary(), ZA_DICT_NONE);
    __atomic_store_n(&poor, false, __ATOMIC_RELEASE);
    for (uint32_t stamp = 2; stamp < 200 && dictionary() == ZA_DICT_NONE; stamp++) {
        write_all_and_pack(stamp);
        usleep(50000);
    }
    CHECK(dictionary() != ZA_DICT_NONE);
    CHECK(all_hold());
}

static void shrink_to(size_t pages)
{
    CHECK_EQ(za_pager_discard((uintptr_t)region_at(pages), (PAGES - pages) * REGION_PAGE), 0);
}

/* After a turn more of the worker. */
static uint32_t dictionary_then(void)
{
    uint64_t turns = za_stat_get(ZA_STAT_PG_TURNS);
    while (za_stat_get(ZA_STAT_PG_TURNS) == turns)
        usleep(1000);
    return dictionary_now();
}

UNIT_TEST(a_heap_that_shrank_and_grows_again_is_tried)
{
    start_alone();
    shrink_to(PAGES / 16);
    region_on_worker(set_pause, 1);
    CHECK_EQ(dictionary_then(), ZA_DICT_NONE);
    CHECK_EQ(dictionary_then(), ZA_DICT_NONE);
    region_on_worker(set_pause, SIZE_MAX / 64); /* growth alone is the reason */
    for (size_t p = 0; p < PAGES / 2; p++)
        fill(p, 2);
    CHECK_EQ(za_pager_dense_all(), 0);
    CHECK(dictionary() != ZA_DICT_NONE);
    for (size_t p = 0; p < PAGES / 2; p++)
        CHECK(holds(p));
}

UNIT_TEST(a_dictionary_goes_when_the_heap_is_too_small_for_it)
{
    start();
    CHECK_EQ(za_pager_dense_all(), 0);
    uint32_t id = dictionary();
    CHECK(id != ZA_DICT_NONE);
    shrink_to(ZA_CLUSTER_PAGES);
    CHECK_EQ(dictionary_then(), id); /* for a moment only */
    region_on_worker(set_pause, 1);
    CHECK_EQ(dictionary_then(), ZA_DICT_NONE);
    for (size_t p = 0; p < ZA_CLUSTER_PAGES; p++)
        CHECK(holds(p)); /* what is packed with it keeps it */
    region_check();
}

static void some_pages_die(size_t page, uint64_t mask[REGION_GRANULES / 64])
{
    memset(mask, page % DYING ? 0xff : 0, REGION_GRANULES / 8);
}

UNIT_TEST(what_died_in_the_store_is_left_out)
{
    start();
    CHECK_EQ(za_pager_evict_all(), 0);
    region_live(some_pages_die);
    CHECK_EQ(za_pager_dense_all(), 0);
    CHECK_EQ(za_stat_get(ZA_STAT_PG_DEAD), PAGES / DYING);
    CHECK_EQ(za_stat_get(ZA_STAT_PG_STORED), PAGES - PAGES / DYING);
    region_check();
    for (size_t p = 0; p < PAGES; p++)
        CHECK(p % DYING ? holds(p) : region_zero(p, 1));
}

static uint32_t stop;

/* Reads and writes pages of its own, those with p % READERS == its number. */
static void *use(void *number)
{
    uint64_t x = (uintptr_t)number + 1;
    while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
        x = mix(x + 0x9e3779b97f4a7c15u);
        size_t p = x % (PAGES / READERS) * READERS + (uintptr_t)number;
        CHECK(holds(p));
        if (x >> 60 == 0)
            fill(p, stamps[p] + 1);
    }
    return NULL;
}

UNIT_TEST(while_it_is_read_and_written)
{
    pthread_t t[READERS];
    start();
    for (uintptr_t i = 0; i < READERS; i++)
        CHECK_EQ(pthread_create(&t[i], NULL, use, (void *)i), 0);
    for (int round = 0; round < ROUNDS; round++)
        CHECK_EQ(za_pager_dense_all(), 0);
    __atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
    for (unsigned i = 0; i < READERS; i++)
        CHECK_EQ(pthread_join(t[i], NULL), 0);
    CHECK(all_hold());
    region_check();
}

UNIT_TEST(a_child_reads_dense_blobs_too)
{
    int status;
    if (region_forks_confuse())
        UNIT_SKIP("ThreadSanitizer takes the threads that a child does not have for running ones");
    start();
    CHECK_EQ(za_pager_dense_all(), 0);
    int pid = region_fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        CHECK(all_hold());
        for (size_t p = 0; p < PAGES / 2; p++)
            fill(p, 7);
        CHECK_EQ(za_pager_dense_all(), 0);
        CHECK(all_hold());
        exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    CHECK(all_hold());
}

/* ---- a target that the first tier cannot reach ---- */

#define AWAIT 6000 /* times 10 ms, on however busy a machine */

static void set_target(uint64_t bytes)
{
    __atomic_store_n(&za_conf.target, bytes, __ATOMIC_RELAXED);
}

static uint64_t footprint(void)
{
    za_pager_stats();
    return za_stat_get(ZA_STAT_FOOT_TOTAL);
}

static uint64_t await_footprint(uint64_t most)
{
    for (int i = 0; footprint() > most && i < AWAIT; i++)
        usleep(10000);
    return footprint();
}

/* Days must pass until anything is due; what it takes to pack densely is there. */
static void start_for_target(void)
{
    start();
    za_conf.dense_ms = REGION_DAY_MS;
    __atomic_store_n(&za_conf.cpu_limit, 100, __ATOMIC_RELAXED);
    CHECK_EQ(za_pager_dense_all(), 0);
    for (size_t p = 0; p < PAGES; p++)
        fill(p, 2);
}

/* On the worker: compaction has nothing left to win. */
static void tidy(size_t arg)
{
    (void)arg;
    while (za_store_compact(za_pg.store, SIZE_MAX))
        za_store_reclaim(za_pg.store);
    for (int i = 0; i < 4 || za_store_leaving(za_pg.store); i++)
        za_store_reclaim(za_pg.store);
}

static size_t dense_counted;

/* Of the pages of `half`, which are all stored; on the worker. */
static void count_dense(size_t half)
{
    dense_counted = 0;
    for (size_t p = half * PAGES / 2; p < (half + 1) * PAGES / 2; p++) {
        struct za_blob_view v;
        CHECK(za_store_get(za_pg.store, za_page_blob(za_page_get(&za_pg.pages[p])), &v));
        dense_counted += za_codec_of(v.codec) == ZA_CODEC_ZSTD;
    }
}

static size_t dense_in(size_t half)
{
    region_on_worker(count_dense, half);
    return dense_counted;
}

/* The half that was stored first goes first, and no more than it takes; and nothing is warm. */
UNIT_TEST(a_target_packs_densely_before_it_is_time)
{
    start_for_target();
    CHECK_EQ(za_pager_evict_all(), 0);
    for (size_t p = PAGES / 2; p < PAGES; p++)
        CHECK(holds(p));
    za_pager_stats();
    usleep(50000); /* a few of the worker's ticks: no more than a difference */
    CHECK_EQ(za_pager_evict_all(), 0);
    region_on_worker(tidy, 0);
    uint64_t fast = footprint(), again = za_stat_get(ZA_STAT_PG_RESTORED);
    CHECK_EQ(dense_in(0) + dense_in(1), 0);
    set_target(fast - fast / 16);
    CHECK(await_footprint(fast - fast / 16) <= fast - fast / 16);
    CHECK(dense_in(0) > 0);
    CHECK_EQ(dense_in(1), 0);
    if (REGION_PAGE == 4096) { /* large pages are dense without, and half of it is out of reach */
        set_target(fast / 2);
        CHECK(await_footprint(fast / 2) <= fast / 2);
        CHECK_EQ(dense_in(0), PAGES / 2);
        CHECK(dense_in(1) > 0);
    }
    set_target(2 * USED);
    (void)footprint();
    uint64_t dense = za_stat_get(ZA_STAT_PG_DENSE);
    for (int i = 0; i < 20; i++)
        (void)footprint();
    CHECK_EQ(za_stat_get(ZA_STAT_PG_DENSE), dense);
    CHECK_EQ(za_stat_get(ZA_STAT_PG_RESTORED), again);
    CHECK(all_hold());
    region_check();
}

/* Phrases that end in letters of their own, so that what is packed densely fills segments. */
static void fill_heavily(size_t page)
{
    said = PHRASE / 2;
    fill(page, 3);
    for (size_t i = 0; i < REGION_PAGE; i++)
        if (i % PHRASE >= said)
            region_at(page)[i] = (char)('a' + mix(page * REGION_PAGE + i) % 16);
}

static bool in_file(size_t page)
{
    struct za_blob_view v;
    CHECK(za_store_get(za_pg.store, za_page_blob(za_page_get(&za_pg.pages[page])), &v));
    return !v.bytes;
}

static bool filed[2];

/* The first page, and the last; on the worker. */
static void see_filed(size_t arg)
{
    (void)arg;
    filed[0] = in_file(0);
    filed[1] = in_file(PAGES - 1);
}

UNIT_TEST(a_target_below_that_takes_the_coldest_to_the_file)
{
    strcpy(za_conf.file, access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    start();
    za_conf.dense_ms = REGION_DAY_MS;
    __atomic_store_n(&za_conf.cpu_limit, 100, __ATOMIC_RELAXED);
    for (size_t p = 0; p < PAGES; p++)
        fill_heavily(p);
    CHECK_EQ(za_pager_dense_all(), 0);
    region_on_worker(tidy, 0);
    uint64_t target = footprint() - 3 * ZA_MIB / 2, again = za_stat_get(ZA_STAT_PG_RESTORED);
    CHECK_EQ(za_stat_get(ZA_STAT_FILE_BLOBS), 0);
    set_target(target);
    CHECK(await_footprint(target) <= target);
    region_on_worker(see_filed, 0);
    CHECK(filed[0]);
    CHECK(!filed[1]);
    CHECK(za_stat_get(ZA_STAT_FILE_BLOBS) > 0);
    set_target(2 * USED);
    (void)footprint();
    uint64_t blobs = za_stat_get(ZA_STAT_FILE_BLOBS);
    for (int i = 0; i < 20; i++)
        (void)footprint();
    CHECK_EQ(za_stat_get(ZA_STAT_FILE_BLOBS), blobs);
    CHECK_EQ(za_stat_get(ZA_STAT_PG_RESTORED), again);
    CHECK(all_hold());
    region_check();
}
