/* SPDX-License-Identifier: MIT */
/*
 * pager_ksm -- what does not compress is shown to the kernel, by the chunk; what the kernel merges
 * stays, is refused and counted, and reads as before.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/conf.h"
#include "os/os.h"
#include "pager/pager.h"
#include "pager/private.h"
#include "tests/fake/failing.h"
#include "tests/fake/region.h"
#include "tests/unit/unit.h"

#define USED (2 * ZA_CHUNK_SIZE)
#define PAGES (USED / REGION_PAGE)
#define HALF (PAGES / 2)
#define UNIT REGION_UNIT
#define KSM "/sys/kernel/mm/ksm/"
#define PATIENCE_NS (15 * ZA_NS_PER_S)
#define SOME 64u /* pages */

static void start(void)
{
    if (region_refused())
        UNIT_SKIP("userfaultfd is refused here");
    if (region_remaps())
        UNIT_SKIP("this is of the other back-end");
    za_conf.ksm = true;
    region_start(USED);
}

static uint64_t word_of[HALF]; /* the first one of each page */

/* Two chunks of noise, one the copy of the other. */
static void fill(void)
{
    region_fill_random(0, HALF);
    memcpy(region_at(HALF), region_at(0), HALF * REGION_PAGE);
    for (size_t p = 0; p < HALF; p++)
        word_of[p] = *(uint64_t *)(void *)region_at(p);
}

static bool holds(void)
{
    return region_holds_random(0, HALF) &&
           memcmp(region_at(HALF), region_at(0), HALF * REGION_PAGE) == 0;
}

UNIT_TEST(noise_is_marked_and_text_is_not)
{
    start();
    region_fill_random(0, HALF);
    region_fill(HALF, HALF, 1);
    CHECK_EQ(za_pager_evict_all(), 0);
    CHECK_EQ(za_stat_get(ZA_STAT_KSM_CHUNKS) + za_stat_get(ZA_STAT_KSM_REFUSED), 1);
    CHECK(region_holds_random(0, HALF) && region_holds(HALF, HALF, 1));
}

/* The noise has become text: the mark goes. */
UNIT_TEST(a_mark_is_taken_back)
{
    start();
    region_fill_random(0, HALF);
    CHECK_EQ(za_pager_evict_all(), 0);
    if (!za_stat_get(ZA_STAT_KSM_CHUNKS))
        UNIT_SKIP("this kernel has no KSM");
    region_fill(0, HALF, 1);
    CHECK_EQ(za_pager_evict_all(), 0);
    CHECK_EQ(za_stat_get(ZA_STAT_KSM_CHUNKS), 0);
    CHECK_EQ(region_present(0, HALF), 0);
    CHECK(region_holds(0, HALF, 1));
}

UNIT_TEST(a_refusal_is_counted)
{
    start();
    failing_start();
    failing_arm(FAILING_mergeable, 1, true, 22);
    fill();
    CHECK_EQ(za_pager_evict_all(), 0);
    CHECK_EQ(za_stat_get(ZA_STAT_KSM_CHUNKS), 0);
    CHECK(za_stat_get(ZA_STAT_KSM_REFUSED) > 0);
    CHECK(holds());
}

UNIT_TEST(switched_off_nothing_is_marked)
{
    start();
    za_conf.ksm = false;
    fill();
    CHECK_EQ(za_pager_evict_all(), 0);
    CHECK_EQ(za_stat_get(ZA_STAT_KSM_CHUNKS) + za_stat_get(ZA_STAT_KSM_REFUSED), 0);
    CHECK(holds());
}

/* --- with ksmd --- */

static bool put(const char *name, const char *value)
{
    char path[64];
    snprintf(path, sizeof(path), KSM "%s", name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool good = fd >= 0 && write(fd, value, strlen(value)) > 0;
    if (fd >= 0)
        close(fd);
    return good;
}

static void get(const char *name, char value[16])
{
    char path[64];
    snprintf(path, sizeof(path), KSM "%s", name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, value, 15) : 0;
    value[n > 0 ? n : 0] = 0;
    if (fd >= 0)
        close(fd);
}

static uint64_t merged(void)
{
    za_pager_stats();
    return za_stat_get(ZA_STAT_KSM_MERGED);
}

static char was_run[16], was_pages[16];

static void give_back(void)
{
    put("run", was_run);
    put("pages_to_scan", was_pages);
}

/* ksmd runs for seconds at most, and for as long as it takes to merge some. */
static bool let_it_merge(void)
{
    uint64_t end = za_os->now() + PATIENCE_NS;
    if (!put("pages_to_scan", "20000") || !put("run", "1"))
        return false;
    while (merged() < SOME && za_os->now() < end)
        region_sleep_ms(20);
    give_back();
    return merged() >= SOME;
}

UNIT_TEST(merged_pages_stay_and_are_counted)
{
    start();
    get("run", was_run);
    get("pages_to_scan", was_pages);
    if (was_run[0] != '0')
        UNIT_SKIP("KSM is not there, or in use");
    fill();
    CHECK_EQ(za_pager_evict_all(), 0);
    if (!let_it_merge())
        UNIT_SKIP("KSM is not ours to switch, or too slow here");
    uint64_t busy = za_stat_get(ZA_STAT_PG_REFUSED_BUSY);
    CHECK_EQ(za_pager_evict_all(), 0);
    CHECK(za_stat_get(ZA_STAT_PG_REFUSED_BUSY) > busy);
    CHECK(holds());
    region_fill(0, HALF, 1);
    CHECK_EQ(za_pager_evict_all(), 0);
    CHECK(region_holds(0, HALF, 1));
    for (size_t p = 0; p < HALF; p += 97) /* the copy is as it was */
        CHECK_EQ(*(uint64_t *)(void *)region_at(HALF + p), word_of[p]);
}
