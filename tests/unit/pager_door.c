/* SPDX-License-Identifier: MIT */
/*
 * pager_door -- what is asked through the letter box: hold, release, statistics; and the thaw of a
 * dying process.
 */
#define _GNU_SOURCE
#include <sys/wait.h>
#include <unistd.h>

#include "os/os.h"
#include "pager/door.h"
#include "tests/fake/region.h"
#include "tests/unit/unit.h"

#define PAGES ((size_t)2048) /* a chunk */
#define HANG_MS 10000u

static void begin(void)
{
    if (region_refused())
        UNIT_SKIP("userfaultfd with kernel faults is not allowed here");
    region_start(PAGES * REGION_PAGE);
    region_fill(0, PAGES / 2, 1);
    CHECK_EQ(za_pager_evict_all(), 0);
}

/* As the command does it from outside. */
static void ask(enum za_door_op op)
{
    struct za_door *d = &za_anchor.door;
    uint32_t ring = __atomic_load_n(&d->ring, __ATOMIC_RELAXED) + 1;
    __atomic_store_n(&d->op, op, __ATOMIC_RELAXED);
    __atomic_store_n(&d->ring, ring, __ATOMIC_RELEASE);
    for (unsigned ms = 0; __atomic_load_n(&d->answered, __ATOMIC_ACQUIRE) != ring; ms++) {
        CHECK(ms < HANG_MS);
        region_sleep_ms(1);
    }
}

UNIT_TEST(the_anchor_tells_where_it_is)
{
    CHECK(za_anchor.self == &za_anchor);
    CHECK_EQ((uintptr_t)&za_anchor % ZA_ANCHOR_ALIGN, 0);
    CHECK_STR(za_anchor.magic, ZA_ANCHOR_MAGIC);
    CHECK(za_anchor.pager == &za_pg);
}

UNIT_TEST(hold_brings_all_back_and_keeps_it)
{
    begin();
    CHECK_EQ(region_present(0, PAGES / 2), 0);
    ask(ZA_DOOR_HOLD);
    CHECK_EQ(za_anchor.door.pages, PAGES / 2);
    CHECK_EQ(za_anchor.door.left, 0);
    CHECK_EQ(region_present(0, PAGES / 2), PAGES / 2);
    CHECK_EQ(za_pager_evict_all(), 0);
    CHECK_EQ(region_present(0, PAGES / 2), PAGES / 2);
    ask(ZA_DOOR_HOLD);
    CHECK_EQ(za_anchor.door.pages, 0);
    CHECK(region_holds(0, PAGES / 2, 1));
    CHECK(region_zero(PAGES / 2, PAGES / 2));
    region_check();
}

UNIT_TEST(release_lets_pages_go_again)
{
    begin();
    ask(ZA_DOOR_HOLD);
    region_fill(PAGES / 2, PAGES / 4, 2);
    ask(ZA_DOOR_RELEASE);
    CHECK_EQ(za_anchor.door.left, 0);
    CHECK_EQ(za_pager_evict_all(), 0);
    CHECK_EQ(region_present(0, 3 * PAGES / 4), 0);
    CHECK(region_holds(0, PAGES / 2, 1));
    CHECK(region_holds(PAGES / 2, PAGES / 4, 2));
    CHECK(region_zero(3 * PAGES / 4, PAGES / 4));
    region_check();
}

UNIT_TEST(a_held_block_is_copied_not_relocated)
{
    begin();
    ask(ZA_DOOR_HOLD);
    size_t len = 64 * REGION_PAGE;
    uintptr_t from = (uintptr_t)region_at(0), to = (uintptr_t)region_at(3 * PAGES / 4);
    CHECK(za_pager_relocate(from, to, len) < 0);
    CHECK(region_holds(0, PAGES / 2, 1));
    CHECK_EQ(za_pager_discard(from, len), 0);
    CHECK(region_zero(0, 64));
    CHECK(region_holds(64, PAGES / 2 - 64, 1));
}

UNIT_TEST(a_child_of_a_held_process_is_free)
{
    int status = -1;
    if (region_forks_confuse())
        UNIT_SKIP("ThreadSanitizer and forks");
    begin();
    ask(ZA_DOOR_HOLD);
    int pid = region_fork();
    if (pid == 0) {
        bool good = !za_door_held() && region_holds(0, PAGES / 2, 1);
        region_fill(0, PAGES / 2, 3);
        good = good && za_pager_evict_all() == 0 && region_present(0, PAGES / 2) == 0;
        _exit(good && region_holds(0, PAGES / 2, 3) ? 0 : 1);
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK_EQ(status, 0);
    CHECK(za_door_held());
    CHECK(region_holds(0, PAGES / 2, 1));
    ask(ZA_DOOR_RELEASE);
    CHECK_EQ(za_pager_evict_all(), 0);
    CHECK(region_holds(0, PAGES / 2, 1));
    region_check();
}

/* A thread that asks nobody: W and F go on meanwhile. */
UNIT_TEST(a_dying_process_needs_no_worker)
{
    begin();
    uint64_t before = za_pager_brought();
    za_pager_hold_begin();
    CHECK_EQ(za_pager_bring_all(), 0);
    CHECK(za_pager_brought() > before);
    CHECK_EQ(region_present(0, PAGES / 2), PAGES / 2);
    CHECK(region_holds(0, PAGES / 2, 1));
}

UNIT_TEST(statistics_are_measured_on_request)
{
    begin();
    za_stat_set(ZA_STAT_FOOT_STORE, 0);
    ask(ZA_DOOR_STATS);
    CHECK(za_stat_get(ZA_STAT_FOOT_STORE) > 0);
}

UNIT_TEST(an_unknown_request_is_answered)
{
    begin();
    ask((enum za_door_op)99);
    CHECK_EQ(region_present(0, PAGES / 2), 0);
    CHECK(region_holds(0, PAGES / 2, 1));
}
