/* SPDX-License-Identifier: MIT */
/*
 * pager_cycle -- out and back: what goes out is gone, what comes back is what went, for programs
 * and system calls alike; discard, relocate, thaw; and what may not go out stays.
 *
 * Over 600 lines because it follows one page through all states, and a state is little by itself.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/conf.h"
#include "os/os.h"
#include "pager/page.h"
#include "pager/pager.h"
#include "tests/fake/region.h"
#include "tests/unit/unit.h"

#define CHUNK_PAGES (ZA_CHUNK_SIZE / REGION_PAGE)
#define PAGES (2 * CHUNK_PAGES)
#define UNIT REGION_UNIT
#define RUN ((size_t)16) /* pages: whole units, whatever their size */

static void start(void)
{
    if (region_refused())
        UNIT_SKIP("userfaultfd is refused here");
    region_start(2 * ZA_CHUNK_SIZE);
}

static void evict(void)
{
    CHECK_EQ(za_pager_evict_all(), 0);
}

static uint64_t pages_out(void)
{
    return za_stat_get(ZA_STAT_PG_STORED) + za_stat_get(ZA_STAT_PG_LIMBO);
}

/*
 * Every page is in one place, and the gauges agree with the kernel.  The fault thread may be busy
 * still with the neighbours of the page somebody waited for.
 */
static void check_sums(size_t out)
{
    for (int i = 0; i < 1000 && pages_out() != out; i++)
        region_sleep_ms(1);
    CHECK_EQ(pages_out(), out);
    size_t heap = 0;
    for (int i = 0; i < 1000; i++) {
        za_pager_stats();
        heap = region_zeros_told() ? region_weight(0, PAGES) : region_present(0, PAGES);
        if (za_stat_get(ZA_STAT_FOOT_HEAP) == heap * REGION_PAGE)
            break;
        region_sleep_ms(1);
    }
    CHECK_EQ(za_stat_get(ZA_STAT_FOOT_HEAP), heap * REGION_PAGE);
    CHECK_EQ(za_stat_get(ZA_STAT_FOOT_LIMBO), region_mirrored(0, PAGES) * REGION_PAGE);
    CHECK_EQ(za_stat_get(ZA_STAT_FOOT_LIMBO), za_stat_get(ZA_STAT_PG_LIMBO) * REGION_PAGE);
    CHECK_EQ(za_stat_get(ZA_STAT_FOOT_TOTAL),
             za_stat_get(ZA_STAT_FOOT_HEAP) + za_stat_get(ZA_STAT_FOOT_LIMBO) +
                 za_stat_get(ZA_STAT_FOOT_STORE) + za_stat_get(ZA_STAT_FOOT_META));
    CHECK(za_stat_get(ZA_STAT_FOOT_RECORDS) >= za_stat_get(ZA_STAT_PG_STORED) * sizeof(uint64_t));
    CHECK(za_stat_get(ZA_STAT_FOOT_RECORDS) <= za_stat_get(ZA_STAT_FOOT_META));
    CHECK(za_stat_get(ZA_STAT_ST_BLOB_BYTES) <= za_stat_get(ZA_STAT_ST_LIVE));
    /* A blob lives until its last page has gone, and a moment longer. */
    CHECK(za_stat_get(ZA_STAT_ST_RAW) >= za_stat_get(ZA_STAT_PG_STORED) * REGION_PAGE);
}

UNIT_TEST(everything_goes_and_comes_back)
{
    start();
    region_fill(0, PAGES, 1);
    evict();
    CHECK_STR(za_pager_backend(), region_remaps() ? "remap" : "move");
    CHECK_EQ(region_present(0, PAGES), 0);
    CHECK_EQ(region_mirrored(0, PAGES), 0);
    CHECK_EQ(za_stat_get(ZA_STAT_PG_STORED), PAGES);
    CHECK_EQ(za_stat_get(ZA_STAT_PG_PACKED), PAGES);
    check_sums(PAGES);
    CHECK_EQ(za_stat_get(ZA_STAT_ST_RAW), PAGES * REGION_PAGE);
    CHECK(za_stat_get(ZA_STAT_FOOT_STORE) < PAGES * REGION_PAGE / 2);
    CHECK(region_holds(0, PAGES, 1));
    CHECK_EQ(region_present(0, PAGES), PAGES);
    CHECK_EQ(region_await(ZA_STAT_PG_STORED, 0), 0);
    CHECK_EQ(za_stat_get(ZA_STAT_PG_RESTORED), PAGES);
}

/* The blobs of restored pages are given back. */
UNIT_TEST(restored_blobs_are_freed)
{
    start();
    region_fill(0, PAGES, 1);
    evict();
    za_pager_stats();
    CHECK_EQ(za_stat_get(ZA_STAT_ST_RAW), PAGES * REGION_PAGE);
    CHECK(region_holds(0, PAGES, 1));
    for (int i = 0; i < 1000 && za_stat_get(ZA_STAT_ST_BLOBS) > 0; i++) {
        region_sleep_ms(1);
        za_pager_stats();
    }
    CHECK_EQ(za_stat_get(ZA_STAT_ST_BLOBS), 0);
    CHECK_EQ(za_stat_get(ZA_STAT_ST_LIVE), 0);
    check_sums(0);
}

UNIT_TEST(many_rounds)
{
    start();
    for (uint32_t round = 1; round <= 8; round++) {
        region_fill(0, UNIT * 8, round);
        evict();
        CHECK_EQ(region_present(0, PAGES), 0);
        CHECK(region_holds(0, UNIT * 8, round));
    }
    check_sums(0);
    region_check();
}

UNIT_TEST(written_pages_are_kept_as_written)
{
    start();
    region_fill(0, UNIT * 4, 1);
    evict();
    for (size_t p = 0; p < UNIT * 4; p += 3)
        region_fill(p, 1, 2);
    evict();
    for (size_t p = 0; p < UNIT * 4; p++)
        CHECK(region_holds(p, 1, p % 3 ? 1 : 2));
}

/* --- system calls (P2) --- */

UNIT_TEST(write_takes_from_stored_memory)
{
    const size_t n = 64;
    int fd;
    char *copy;

    start();
    region_fill(0, n, 5);
    evict();
    fd = memfd_create("copy", MFD_CLOEXEC);
    CHECK_EQ(write(fd, region_at(0), n * REGION_PAGE), n * REGION_PAGE);
    copy = mmap(NULL, n * REGION_PAGE, PROT_READ, MAP_SHARED, fd, 0);
    CHECK(region_holds(0, n, 5));
    CHECK_EQ(memcmp(copy, region_at(0), n * REGION_PAGE), 0);
}

UNIT_TEST(read_puts_into_stored_memory)
{
    int fd;
    char text[100];

    start();
    region_fill(0, UNIT * 2, 5);
    evict();
    fd = memfd_create("source", MFD_CLOEXEC);
    memset(text, 'q', sizeof(text));
    CHECK_EQ(write(fd, text, sizeof(text)), sizeof(text));
    /* Across the border of two stored pages, and into fresh memory of a registered chunk. */
    CHECK_EQ(pread(fd, region_at(UNIT) - 50, sizeof(text), 0), sizeof(text));
    CHECK_EQ(pread(fd, region_at(UNIT * 20) - 50, sizeof(text), 0), sizeof(text));
    CHECK_EQ(memcmp(region_at(UNIT) - 50, text, sizeof(text)), 0);
    CHECK_EQ(memcmp(region_at(UNIT * 20) - 50, text, sizeof(text)), 0);
    memcpy(text, region_at(UNIT) - 50, sizeof(text));
    CHECK(region_holds(0, UNIT - 1, 5));
    CHECK(region_holds(UNIT + 1, UNIT - 1, 5));
}

static int read_of_other(pid_t pid)
{
    static char copy[8 * REGION_PAGE];
    struct iovec mine = {copy, sizeof(copy)}, its = {region_at(0), sizeof(copy)};

    if (process_vm_readv(pid, &mine, 1, &its, 1, 0) != (ssize_t)sizeof(copy))
        return 2;
    return memcmp(copy + REGION_PAGE, copy, REGION_PAGE) == 0; /* pages differ from each other */
}

/* The reader is older than the pager, so it has nothing of the region of its own. */
UNIT_TEST(another_process_may_read)
{
    int go[2], status;
    pid_t reader, self = getpid();
    char byte;

    if (region_refused())
        UNIT_SKIP("userfaultfd is refused here");
    region_start(2 * ZA_CHUNK_SIZE);
    CHECK_EQ(pipe(go), 0);
    reader = fork();
    if (reader == 0)
        _exit(read(go[0], &byte, 1) == 1 ? read_of_other(self) : 3);
    region_fill(0, UNIT, 9);
    evict();
    CHECK_EQ(write(go[1], "g", 1), 1);
    CHECK_EQ(waitpid(reader, &status, 0), reader);
    CHECK_EQ(status, 0);
    CHECK(region_holds(0, UNIT, 9));
}

/* --- fresh pages and growth --- */

UNIT_TEST(fresh_pages_of_registered_chunks_are_zeros)
{
    start();
    region_fill(0, 1, 1);
    evict();
    CHECK(region_zero(UNIT, 10 * UNIT));
    region_fill(40 * UNIT, 10 * UNIT, 2);
    CHECK(region_holds(40 * UNIT, 10 * UNIT, 2));
    CHECK(za_stat_get(ZA_STAT_PG_FILLED) >= 10 * UNIT);
    CHECK(region_holds(0, 1, 1));
}

UNIT_TEST(growth_is_noticed)
{
    start();
    region_fill(0, UNIT, 1);
    evict();
    region_grow(4 * ZA_CHUNK_SIZE);
    region_fill(3 * CHUNK_PAGES, CHUNK_PAGES, 2);
    evict();
    CHECK_EQ(region_present(0, 4 * CHUNK_PAGES), 0);
    CHECK_EQ(za_stat_get(ZA_STAT_PG_STORED), UNIT + CHUNK_PAGES);
    CHECK(region_holds(3 * CHUNK_PAGES, CHUNK_PAGES, 2));
    CHECK(region_holds(0, UNIT, 1));
}

/* --- limbo --- */

UNIT_TEST(limbo_comes_back_untouched)
{
    start();
    region_fill(0, PAGES, 1);
    evict();
    region_fill(0, PAGES, 2);
    region_limbo(0, 8 * UNIT);
    CHECK_EQ(region_present(0, 8 * UNIT), 0);
    CHECK_EQ(region_mirrored(0, 8 * UNIT), 8 * UNIT);
    check_sums(8 * UNIT);
    CHECK(region_holds(0, PAGES, 2));
    CHECK_EQ(region_await(ZA_STAT_PG_WARM, 8 * UNIT), 8 * UNIT);
    check_sums(0);
}

UNIT_TEST(limbo_is_packed_by_the_next_eviction)
{
    start();
    region_fill(0, 8 * UNIT, 1);
    evict();
    region_fill(0, 8 * UNIT, 2);
    region_limbo(0, 4 * UNIT);
    evict();
    CHECK_EQ(za_stat_get(ZA_STAT_PG_STORED), 8 * UNIT);
    check_sums(8 * UNIT);
    CHECK(region_holds(0, 8 * UNIT, 2));
}

/* --- thaw and discard --- */

UNIT_TEST(thaw_brings_everything_back)
{
    start();
    CHECK_EQ(za_pager_thaw(), 0); /* nothing to do yet */
    region_fill(0, PAGES, 1);
    evict();
    region_fill(0, 4 * UNIT, 2);
    region_limbo(0, 4 * UNIT);
    CHECK_EQ(za_pager_thaw(), 0);
    CHECK_EQ(region_present(0, PAGES), PAGES);
    check_sums(0);
    CHECK(region_holds(0, 4 * UNIT, 2));
    CHECK(region_holds(4 * UNIT, PAGES - 4 * UNIT, 1));
}

static void discard(size_t page, size_t n)
{
    CHECK_EQ(za_pager_discard((uintptr_t)region_at(page), n * REGION_PAGE), 0);
}

UNIT_TEST(discarded_pages_are_zeros)
{
    start();
    region_fill(0, 6 * RUN, 1);
    evict();
    region_fill(0, 2 * RUN, 2);
    region_limbo(RUN, RUN);
    discard(3, 4);           /* resident */
    discard(RUN + 3, 4);     /* in limbo */
    discard(4 * RUN + 3, 4); /* stored */
    discard(10 * RUN, 4);    /* never touched */
    CHECK_EQ(za_stat_get(ZA_STAT_PG_DISCARDED), 4);
    check_sums(4 * RUN - 4 + RUN - 4);
    CHECK(region_zero(3, 4) && region_zero(RUN + 3, 4) && region_zero(4 * RUN + 3, 4));
    CHECK(region_zero(10 * RUN, 4));
    CHECK(region_holds(0, 3, 2) && region_holds(7, RUN - 4, 2));
    CHECK(region_holds(RUN + 7, RUN - 7, 2) && region_holds(2 * RUN, 2 * RUN + 3, 1));
    CHECK(region_holds(4 * RUN + 7, 2 * RUN - 7, 1));
    check_sums(0);
}

UNIT_TEST(discarded_pages_live_again)
{
    start();
    region_fill(0, 4 * UNIT, 1);
    evict();
    discard(UNIT, UNIT);
    region_fill(UNIT, UNIT, 2);
    evict();
    CHECK_EQ(region_present(0, PAGES), 0);
    CHECK(region_holds(UNIT, UNIT, 2));
    CHECK(region_holds(0, UNIT, 1) && region_holds(2 * UNIT, 2 * UNIT, 1));
}

UNIT_TEST(discard_before_the_start)
{
    start();
    region_fill(0, UNIT, 1);
    discard(0, UNIT);
    CHECK(region_zero(0, UNIT));
}

/* --- relocate --- */

static int relocate(size_t from, size_t to, size_t n)
{
    return za_pager_relocate((uintptr_t)region_at(from), (uintptr_t)region_at(to), n * REGION_PAGE);
}

/* Thirds: resident, stored, limbo; with holes in each. */
static void mixture(size_t page, uint32_t stamp)
{
    region_fill(page, 3 * RUN, stamp);
    evict();
    region_fill(page, RUN, stamp);
    region_fill(page + 2 * RUN, RUN, stamp);
    region_limbo(page + 2 * RUN, RUN);
    for (size_t third = 0; third < 3; third++)
        discard(page + third * RUN + 5, 2);
}

static bool mixture_holds(size_t page, size_t as, uint32_t stamp)
{
    for (size_t p = 0; p < 3 * RUN; p++) {
        bool hole = p % RUN == 5 || p % RUN == 6;
        if (hole ? !region_zero(page + p, 1) : !region_holds_as(page + p, 1, as + p, stamp))
            return false;
    }
    return true;
}

UNIT_TEST(relocate_takes_all_kinds_along)
{
    start();
    mixture(0, 3);
    CHECK_EQ(relocate(0, 12 * RUN, 3 * RUN), 0);
    CHECK_EQ(region_present(RUN, RUN), 0);
    CHECK_EQ(za_stat_get(ZA_STAT_PG_MOVED), RUN - 2);
    CHECK_EQ(za_stat_get(ZA_STAT_PG_STORED), RUN - 2); /* nothing was brought back */
    CHECK(mixture_holds(12 * RUN, 0, 3));
    CHECK(region_zero(0, 3 * RUN));
    check_sums(0);
}

/* From one page and to another place in the cluster: blobs keep their index, not their place. */
UNIT_TEST(relocate_by_an_odd_distance)
{
    start();
    mixture(0, 3);
    CHECK_EQ(relocate(0, 4 * RUN + 1, 3 * RUN), 0);
    CHECK(mixture_holds(4 * RUN + 1, 0, 3));
    CHECK(region_zero(0, 3 * RUN));
    evict();
    CHECK(mixture_holds(4 * RUN + 1, 0, 3));
}

UNIT_TEST(relocate_over_old_contents)
{
    start();
    mixture(0, 3);
    mixture(8 * RUN, 4);
    CHECK_EQ(relocate(0, 8 * RUN, 3 * RUN), 0);
    CHECK(mixture_holds(8 * RUN, 0, 3));
    CHECK(region_zero(0, 3 * RUN));
    check_sums(0);
}

UNIT_TEST(relocated_pages_go_out_and_come_back)
{
    start();
    mixture(0, 3);
    CHECK_EQ(relocate(0, CHUNK_PAGES + 7, 3 * RUN), 0);
    evict();
    CHECK_EQ(region_present(0, PAGES), 0);
    CHECK_EQ(relocate(CHUNK_PAGES + 7, 3, 3 * RUN), 0);
    CHECK(mixture_holds(3, 0, 3));
    CHECK(region_zero(CHUNK_PAGES, 4 * RUN));
}

UNIT_TEST(relocate_before_the_start_is_refused)
{
    start();
    region_fill(0, UNIT, 1);
    CHECK_EQ(relocate(0, UNIT, UNIT), -38); /* ENOSYS */
    CHECK(region_holds(0, UNIT, 1));
}

/* What the program mapped over the heap is not registered: no page can be put there by the kernel. */
UNIT_TEST(relocate_to_where_something_was_mapped_is_refused)
{
    start();
    mixture(0, 3);
    void *over = region_at(13 * RUN);
    CHECK_EQ(za_pager_pin((uintptr_t)over, RUN * REGION_PAGE, ZA_PIN_FOREIGN), 0);
    CHECK(mmap(over, RUN * REGION_PAGE, PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == over);
    CHECK_EQ(relocate(0, 12 * RUN, 3 * RUN), -38); /* ENOSYS */
    CHECK(mixture_holds(0, 0, 3));
    CHECK(region_zero(12 * RUN, 3 * RUN));
    check_sums(0);
}

/* --- contents that need no blob, and contents that get none --- */

UNIT_TEST(zero_pages_need_no_blob)
{
    start();
    memset(region_at(0), 0, 8 * UNIT * REGION_PAGE);
    region_fill(3, 1, 1);
    CHECK_EQ(region_present(0, 8 * UNIT), 8 * UNIT);
    evict();
    CHECK_EQ(za_stat_get(ZA_STAT_PG_ZERO), 8 * UNIT - 1);
    CHECK_EQ(region_present(0, 8 * UNIT), 0);
    check_sums(1);
    CHECK(region_zero(0, 3) && region_holds(3, 1, 1) && region_zero(4, 8 * UNIT - 4));
}

/* Every third granule dies; pages 8 to 11 of each run die altogether. */
static void some_die(size_t page, uint64_t mask[REGION_GRANULES / 64])
{
    for (unsigned g = 0; page % RUN / 4 != 2 && g < REGION_GRANULES; g++)
        if (g % 3)
            mask[g / 64] |= 1ull << g % 64;
}

static bool granules_hold(size_t page, uint32_t stamp)
{
    const uint64_t *w = (const uint64_t *)(const void *)region_at(page);

    for (size_t i = 0; i < REGION_PAGE / sizeof(*w); i++) {
        bool dead = i / 2 % 3 == 0;
        if (w[i] != region_word(page, stamp, i) && !(dead && w[i] == 0))
            return false;
    }
    return true;
}

UNIT_TEST(dead_granules_are_scrubbed_and_dead_pages_dropped)
{
    start();
    region_live(some_die);
    region_fill(0, 4 * RUN, 6);
    evict();
    CHECK_EQ(za_stat_get(ZA_STAT_PG_DEAD), RUN);
    check_sums(3 * RUN);
    for (size_t p = 0; p < 4 * RUN; p++) {
        bool dead = p % RUN / 4 == 2;
        CHECK(dead ? region_zero(p, 1) : granules_hold(p, 6));
    }
}

/* A page that does not compress stays where it is, and the unit is left alone for long. */
UNIT_TEST(what_does_not_compress_is_left_alone)
{
    uint64_t tried;

    start();
    region_fill_random(0, 4 * UNIT);
    region_fill(4 * UNIT, UNIT, 1);
    region_cold_ms(10);
    evict();
    CHECK(region_await(ZA_STAT_PG_RAW, 4 * UNIT) >= 4 * UNIT);
    CHECK_EQ(region_present(0, 4 * UNIT), 4 * UNIT);
    tried = za_stat_get(ZA_STAT_PG_RAW);
    region_sleep_ms(400); /* forty cold ages */
    CHECK_EQ(za_stat_get(ZA_STAT_PG_RAW), tried);
    CHECK_EQ(za_stat_get(ZA_STAT_PG_STORED), UNIT);
    CHECK_EQ(region_present(0, 4 * UNIT), 4 * UNIT);
    CHECK(region_holds_random(0, 4 * UNIT));
    CHECK(region_holds(4 * UNIT, UNIT, 1));
}

/* They come back and go again, cold age after cold age, beside pages that are not tried again. */
UNIT_TEST(neighbours_of_what_does_not_compress_go_again)
{
    const size_t raw = ZA_CLUSTER_PAGES, good = UNIT - raw;

    if (UNIT <= raw)
        UNIT_SKIP("a unit is one cluster");
    start();
    region_fill_random(0, raw);
    region_fill(raw, good, 1);
    region_cold_ms(40); /* the raw pages' time is 128 of these */
    evict();
    for (int round = 0; round < 3; round++) {
        CHECK_EQ(region_await(ZA_STAT_PG_STORED, good), good);
        CHECK(region_holds(raw, good, 1));
    }
    CHECK(region_holds_random(0, raw));
}

/* Clusters of two random pages and two others in turn with those of three and one. */
static bool is_random(size_t page)
{
    return page / 4 % 2 ? page % 4 != 3 : page % 2;
}

/* The others go, and go again cold age after cold age; the random ones stay, and are not tried again. */
UNIT_TEST(good_pages_among_bad_ones_go)
{
    const size_t n = 8 * RUN, good = n * 3 / 8;

    start();
    for (size_t p = 0; p < n; p++)
        is_random(p) ? region_fill_random(p, 1) : region_fill(p, 1, 1);
    evict(); /* the random pages' time is 128 cold ages, of a day */
    region_cold_ms(100);
    for (int round = 0; round < 3; round++) {
        CHECK_EQ(region_await(ZA_STAT_PG_STORED, good), good);
        CHECK_EQ(za_stat_get(ZA_STAT_PG_RAW), n - good);
        for (size_t p = 0; p < n; p++)
            CHECK_EQ(region_present(p, 1), is_random(p));
        region_check();
        for (size_t p = 0; p < n; p++)
            CHECK(is_random(p) ? region_holds_random(p, 1) : region_holds(p, 1, 1));
    }
}

/* What looks like text, and does not compress: found out page by page where a cluster is refused. */
UNIT_TEST(a_good_page_among_codes_goes)
{
    const size_t n = 8 * RUN;
    uint32_t x = 1;

    start();
    for (size_t p = 0; p < n; p++)
        for (size_t i = 0; p % 4 && i < REGION_PAGE; i++)
            region_at(p)[i] = (char)(' ' + ((x = x * 1664525 + 1013904223) >> 26));
    for (size_t p = 0; p < n; p += 4)
        region_fill(p, 1, 1);
    evict();
    for (size_t p = 0; p < n; p++)
        CHECK_EQ(region_present(p, 1), p % 4 != 0);
    CHECK_EQ(za_stat_get(ZA_STAT_PG_STORED), n / 4);
    for (size_t p = 0; p < n; p += 4)
        CHECK(region_holds(p, 1, 1));
    check_sums(0);
}

/* Contents that are gone are not held against what comes after them. */
UNIT_TEST(a_discard_forgets_what_did_not_compress)
{
    start();
    region_fill_random(0, 4 * UNIT);
    region_cold_ms(200); /* half a minute until they would be tried again */
    evict();
    CHECK_EQ(region_present(0, 4 * UNIT), 4 * UNIT);
    CHECK_EQ(za_pager_discard((uintptr_t)region_at(0), 4 * UNIT * REGION_PAGE), 0);
    region_fill(0, 4 * UNIT, 2);
    CHECK_EQ(region_await(ZA_STAT_PG_STORED, 4 * UNIT), 4 * UNIT);
    CHECK(region_holds(0, 4 * UNIT, 2));
}

/* --- pages of a cluster that differ in kind --- */

UNIT_TEST(mixed_clusters)
{
    start();
    for (size_t p = 0; p < 8 * UNIT; p += 4) {
        region_fill(p, 1, 1);
        region_fill(p + 2, 1, 1);
        memset(region_at(p + 3), 0, REGION_PAGE);
    }
    evict();
    for (size_t p = 0; p < 8 * UNIT; p += 4) {
        CHECK(region_zero(p + 1, 1));
        CHECK(region_holds(p + 2, 1, 1) && region_zero(p + 3, 1) && region_holds(p, 1, 1));
    }
    check_sums(0);
}

/* --- locked memory (D6) --- */

UNIT_TEST(locked_memory_stays)
{
    start();
    region_fill(0, 8 * UNIT, 1);
    if (region_lock(2 * UNIT, 2 * UNIT) < 0)
        UNIT_SKIP("mlock is refused here");
    evict();
    CHECK_EQ(region_present(2 * UNIT, 2 * UNIT), 2 * UNIT);
    CHECK_EQ(za_stat_get(ZA_STAT_PG_REFUSED_LOCKED), 2 * UNIT);
    check_sums(6 * UNIT);
    CHECK(region_holds(0, 8 * UNIT, 1));
    CHECK_EQ(region_unlock(2 * UNIT, 2 * UNIT), 0);
    evict();
    CHECK_EQ(region_present(0, 8 * UNIT), 0);
    CHECK(region_holds(0, 8 * UNIT, 1));
}

/* Locking brings back what is out, from the store and from limbo, and keeps it. */
UNIT_TEST(locking_brings_back)
{
    start();
    region_fill(0, 4 * UNIT, 1);
    evict();
    region_fill(0, 2 * UNIT, 2);
    region_limbo(UNIT, UNIT);
    if (region_lock(0, 4 * UNIT) < 0)
        UNIT_SKIP("mlock is refused here");
    CHECK_EQ(region_present(0, 4 * UNIT), 4 * UNIT);
    evict();
    CHECK_EQ(region_present(0, 4 * UNIT), 4 * UNIT);
    check_sums(0);
    CHECK(region_holds(0, 2 * UNIT, 2) && region_holds(2 * UNIT, 2 * UNIT, 1));
}

/* A block the program locked grows: moved or refused, but the process lives and nothing is lost. */
UNIT_TEST(locked_memory_is_relocated)
{
    start();
    region_fill(0, 4 * UNIT, 1);
    evict();
    if (region_lock(UNIT, 2 * UNIT) < 0)
        UNIT_SKIP("mlock is refused here");
    if (relocate(0, 32 * UNIT, 4 * UNIT) == 0) {
        CHECK(region_holds_as(32 * UNIT, 4 * UNIT, 0, 1));
        CHECK(region_zero(0, 4 * UNIT));
    } else {
        CHECK(region_holds(0, 4 * UNIT, 1));
    }
}

UNIT_TEST(relocate_to_locked_memory)
{
    start();
    region_fill(0, 4 * UNIT, 1);
    evict();
    if (region_lock(33 * UNIT, 2 * UNIT) < 0)
        UNIT_SKIP("mlock is refused here");
    if (relocate(0, 32 * UNIT, 4 * UNIT) == 0)
        CHECK(region_holds_as(32 * UNIT, 4 * UNIT, 0, 1));
    else
        CHECK(region_holds(0, 4 * UNIT, 1));
}

/* The caller hears of it when locked memory cannot be given back; what was there is not half gone.
 */
UNIT_TEST(locked_memory_is_discarded)
{
    start();
    region_fill(0, 4 * UNIT, 1);
    evict();
    if (region_lock(UNIT, UNIT) < 0)
        UNIT_SKIP("mlock is refused here");
    int r = za_pager_discard((uintptr_t)region_at(0), 4 * UNIT * REGION_PAGE);
    if (r == 0)
        CHECK(region_zero(0, 4 * UNIT));
    region_fill(0, 4 * UNIT, 2);
    evict();
    CHECK(region_holds(0, 4 * UNIT, 2));
}

/* --- huge pages --- */

UNIT_TEST(huge_pages_go_out_and_come_back)
{
    if (region_refused())
        UNIT_SKIP("userfaultfd is refused here");
    region_start_huge(2 * ZA_CHUNK_SIZE);
    region_fill(5, PAGES - 100, 1);
    evict();
    CHECK_EQ(region_present(0, PAGES), 0);
    CHECK_EQ(za_stat_get(ZA_STAT_PG_STORED), PAGES - 100);
    CHECK(region_holds(5, PAGES - 100, 1));
    CHECK(region_zero(0, 5) && region_zero(PAGES - 95, 95));
}

/* --- by itself, with age --- */

UNIT_TEST(cold_pages_go_by_themselves)
{
    start();
    region_cold_ms(20);
    za_conf.start_bytes = 0;
    region_fill(0, 8 * UNIT, 1);
    region_grow(2 * ZA_CHUNK_SIZE);
    CHECK_EQ(region_await(ZA_STAT_PG_STORED, 8 * UNIT), 8 * UNIT);
    CHECK_EQ(region_present(0, 8 * UNIT), 0);
    CHECK(region_holds(0, 8 * UNIT, 1));
}
