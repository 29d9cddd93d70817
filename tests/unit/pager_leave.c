/* SPDX-License-Identifier: MIT */
/*
 * pager_leave -- of every generation of a heap something survives; dictionaries go on being trained
 * all the same, and what survived is as it was, in memory and in the file.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/conf.h"
#include "compress/tier.h"
#include "compress/train.h"
#include "os/sys.h"
#include "pager/dense.h"
#include "pager/leave.h"
#include "pager/state.h"
#include "tests/fake/region.h"
#include "tests/unit/unit.h"

#define UNITS 48u /* 3 MiB */
#define PAGES (UNITS * REGION_UNIT)
#define FULL (ZA_DICTS_MAX - 1) /* generations that fill the shelf */
#define GENERATIONS (FULL + 6)
#define PHRASE ((size_t)64)
#define PHRASES ((size_t)64)

static char phrases[PHRASES][PHRASE];
static uint32_t sums[PAGES]; /* of what survivors hold */
static uint32_t survivors;   /* atomic: units from the front */

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

/* All but the survivors: phrases of its own, in random order. */
static void write_generation(unsigned g)
{
    for (size_t i = 0; i < sizeof(phrases); i++)
        ((char *)phrases)[i] = (char)('a' + mix(i + ((uint64_t)g << 32)) % 16);
    for (size_t p = survivors * REGION_UNIT; p < PAGES; p++)
        for (size_t i = 0; i < REGION_PAGE; i += PHRASE)
            memcpy(region_at(p) + i, phrases[mix((uint64_t)g << 40 ^ p << 16 ^ i) % PHRASES],
                   PHRASE);
}

/* The unit in front is not written any more. */
static void survive(void)
{
    size_t first = survivors * REGION_UNIT;
    for (size_t p = first; p < first + REGION_UNIT; p++)
        sums[p] = za_checksum(region_at(p), REGION_PAGE);
    __atomic_fetch_add(&survivors, 1, __ATOMIC_RELEASE);
}

static bool holds(size_t page)
{
    return za_checksum(region_at(page), REGION_PAGE) == sums[page];
}

static void all_survived(void)
{
    for (size_t p = 0; p < survivors * REGION_UNIT; p++)
        CHECK(holds(p));
    region_check();
}

static uint32_t current;

static void see(size_t arg)
{
    const struct za_dict *d = za_dense_dicts()->current;
    (void)arg;
    current = d ? d->id : ZA_DICT_NONE;
}

/* As if what was packed since had found it so. */
static void make_stale(size_t arg)
{
    struct za_dict *d = za_dense_dicts()->current;
    (void)arg;
    if (!d)
        return;
    d->noted = ZA_DICT_WINDOW;
    d->with = d->without = 100000;
}

/* A generation comes, and is packed with a dictionary of its own, if that is `trained`. */
static void live(unsigned g, bool trained)
{
    uint32_t before = current;
    write_generation(g);
    survive();
    if (before != ZA_DICT_NONE)
        region_on_worker(make_stale, 0);
    CHECK_EQ(za_pager_dense_all(), 0);
    region_on_worker(see, 0);
    CHECK(current != ZA_DICT_NONE);
    CHECK_EQ(current != before, trained);
}

static void start(bool file)
{
    if (region_refused())
        UNIT_SKIP("userfaultfd is refused here");
    if (file)
        strcpy(za_conf.file, access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    za_dense_least = ZA_MIB;
    za_training_pays = 0;
    za_conf.dedup = ZA_DEDUP_CONTENT; /* what leaves is not to be found as its own duplicate */
    region_start(ZA_CHUNK_SIZE);
}

/* ThreadSanitizer takes ten times as long, and sees the same threads do the same in the others. */
static void not_slowly(void)
{
    if (region_forks_confuse())
        UNIT_SKIP("ThreadSanitizer has seen it in the other tests");
}

static void nothing_leaves(size_t arg)
{
    (void)arg;
    CHECK_EQ(za_dense_dicts()->leaving, ZA_DICT_NONE);
    CHECK(za_dense_idle());
}

UNIT_TEST(there_is_always_another_dictionary)
{
    start(false);
    for (unsigned g = 0; g < GENERATIONS; g++)
        live(g, true);
    region_on_worker(nothing_leaves, 0);
    CHECK_EQ(region_present(0, PAGES), 0); /* and nobody came for the survivors */
    all_survived();
}

/* What survived is in memory again, and of a dictionary that it gains from, or of none. */
UNIT_TEST(also_where_survivors_are_in_the_file)
{
    not_slowly();
    start(true);
    for (unsigned g = 0; g < GENERATIONS; g++) {
        live(g, true);
        CHECK_EQ(za_pager_file_all(), 0);
        za_pager_stats();
        CHECK_EQ(za_stat_get(ZA_STAT_FILE_BLOBS), za_stat_get(ZA_STAT_ST_BLOBS));
    }
    region_on_worker(nothing_leaves, 0);
    CHECK_EQ(region_present(0, PAGES), 0);
    all_survived();
}

/* ---- others at work meanwhile ---- */

static uint32_t stop;

static void *read_survivors(void *unused)
{
    uint64_t x = 1;
    while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
        x = mix(x + 0x9e3779b97f4a7c15u);
        CHECK(holds(x % (__atomic_load_n(&survivors, __ATOMIC_ACQUIRE) * REGION_UNIT)));
        usleep(200);
    }
    return unused;
}

UNIT_TEST(while_survivors_are_read)
{
    pthread_t t;
    start(true);
    for (unsigned g = 0; g < FULL; g++)
        live(g, true);
    CHECK_EQ(pthread_create(&t, NULL, read_survivors, NULL), 0);
    for (unsigned g = FULL; g < 2 * FULL; g++) {
        write_generation(g);
        survive();
        region_on_worker(make_stale, 0);
        CHECK_EQ(za_pager_dense_all(), 0);
        if (g % 2)
            CHECK_EQ(za_pager_file_all(), 0);
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
    CHECK_EQ(pthread_join(t, NULL), 0);
    all_survived();
}

/* What is in its parent's memory too does not keep a child from it. */
UNIT_TEST(in_a_child)
{
    int status;
    if (region_forks_confuse())
        UNIT_SKIP("ThreadSanitizer takes the threads that a child does not have for running ones");
    start(false);
    for (unsigned g = 0; g < FULL; g++)
        live(g, true);
    int pid = region_fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        live(FULL, true);
        live(FULL + 1, true);
        all_survived();
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    live(FULL, true);
    all_survived();
}

/* ---- those that cannot leave ---- */

static void cut_files_short(size_t arg)
{
    (void)arg;
    for (unsigned i = 0; i < ZA_TIER_FILES; i++) {
        const struct za_tier_file *f = &za_store_tier(za_pg.store)->file[i];
        if (f->used)
            CHECK_EQ(za_sys2(SYS_ftruncate, f->fd, 0), 0);
    }
}

/* On the worker, which reads it. */
static void set_pause(size_t ns)
{
    za_leave_pause_ns = ns;
}

static void end_pause(size_t arg)
{
    (void)arg;
    za_leave_forget();
}

static uint32_t tried; /* dictionaries that were to leave */

static void count_tried(size_t arg)
{
    (void)arg;
    tried = 0;
    for (uint32_t id = 1; id < ZA_DICTS_MAX; id++)
        tried += za_dense_dicts()->slot[id]->stayed != 0;
}

static uint32_t tried_by(unsigned generation)
{
    live(generation, false);
    survivors--; /* it can be written again */
    region_on_worker(nothing_leaves, 0);
    region_on_worker(count_tried, 0);
    return tried;
}

/* Nobody dies of what nobody asked for; it is given up, and after a pause it is another's turn. */
UNIT_TEST(what_cannot_be_read_stays)
{
    not_slowly();
    start(true);
    for (unsigned g = 0; g < FULL; g++)
        live(g, true);
    CHECK_EQ(za_pager_file_all(), 0);
    CHECK_EQ(za_pager_discard((uintptr_t)region_at(FULL * REGION_UNIT),
                              (PAGES - FULL * REGION_UNIT) * REGION_PAGE),
             0);
    region_on_worker(cut_files_short, 0);
    region_on_worker(set_pause, SIZE_MAX / 64);
    CHECK_EQ(tried_by(FULL), 1);
    CHECK_EQ(tried_by(FULL + 1), 1); /* the pause is not over */
    region_on_worker(end_pause, 0);
    CHECK_EQ(tried_by(FULL + 2), 2);
}

static void bound_store(size_t bytes)
{
    za_conf.max_store = bytes;
}

static uint32_t dictionary(void)
{
    region_on_worker(see, 0);
    return current;
}

/* Where the store has no room it is put off, and what is stored stays as it is. */
UNIT_TEST(without_room_they_stay)
{
    not_slowly();
    start(false);
    for (unsigned g = 0; g < FULL; g++)
        live(g, true);
    uint32_t before = current;
    region_on_worker(set_pause, SIZE_MAX / 64);
    write_generation(FULL);
    CHECK_EQ(za_pager_evict_all(), 0);
    region_on_worker(make_stale, 0);
    region_on_worker(bound_store, 1);
    CHECK_EQ(za_pager_dense_all(), 0);
    region_on_worker(nothing_leaves, 0);
    region_on_worker(count_tried, 0);
    CHECK_EQ(tried, 1);
    CHECK_EQ(dictionary(), before);
    region_on_worker(bound_store, 0);
    region_on_worker(end_pause, 0);
    CHECK_EQ(za_pager_dense_all(), 0);
    CHECK(dictionary() != before);
    all_survived();
}

/* ---- without being asked ---- */

UNIT_TEST(the_worker_does_it_when_units_are_due)
{
    start(false);
    for (unsigned g = 0; g < FULL; g++)
        live(g, true);
    uint32_t before = current;
    write_generation(FULL);
    region_on_worker(make_stale, 0);
    za_conf.dense_ms = 50;
    CHECK_EQ(za_pager_evict_all(), 0);
    for (int i = 0; dictionary() == before && i < 6000; i++)
        usleep(10000);
    CHECK(dictionary() != before);
    all_survived();
}
