/* SPDX-License-Identifier: MIT */
/*
 * pager_again -- what came back is looked at again, whatever brought it back, and whose page it is now:
 * the worker's own plan is not the only one that changes what is out (fork, children, F, a lock).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/conf.h"
#include "os/os.h"
#include "pager/pager.h"
#include "pager/private.h"
#include "tests/fake/region.h"
#include "tests/unit/unit.h"

#define UNIT REGION_UNIT
#define PAGES (ZA_CHUNK_SIZE / REGION_PAGE)
#define AGE_MS 20
#define AGES 300 /* more than any wait of a unit that is not left alone for its own sake */

static struct za_os os;

/* All of it is out, and the worker's table of calls may be changed. */
static void start(void)
{
    if (region_forks_confuse())
        UNIT_SKIP("ThreadSanitizer cannot follow a fork of several threads");
    if (region_refused())
        UNIT_SKIP("userfaultfd is refused here");
    za_conf.dense_ms = 0;
    region_start(ZA_CHUNK_SIZE);
    region_fill(0, PAGES, 1);
    CHECK_EQ(za_pager_evict_all(), 0);
    os = *za_os;
    za_os = &os;
}

static void reap(pid_t pid)
{
    int status;

    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}

static void goes_out(size_t page, size_t n)
{
    for (unsigned i = 0; i < AGES * AGE_MS / 10 && region_present(page, n); i++)
        region_sleep_ms(10);
    CHECK_EQ(region_present(page, n), 0);
}

/* ---- in a child that begins anew ----------------------------------------------------------------
 */

static int no_pair(int fds[2])
{
    (void)fds;
    return -EMFILE;
}

UNIT_TEST(a_filled_child_packs_what_its_parent_had_packed)
{
    start();
    os.socketpair = no_pair;
    pid_t pid = region_fork();
    if (pid == 0) {
        CHECK(region_holds(0, PAGES, 1));
        region_fill(0, PAGES, 1); /* what it has in common with its parent cannot go */
        region_cold_ms(AGE_MS);
        za_conf.start_bytes = 0;
        region_grow(2 * ZA_CHUNK_SIZE);
        goes_out(0, PAGES);
        CHECK(region_holds(0, PAGES, 1));
        _exit(0);
    }
    reap(pid);
}

UNIT_TEST(a_child_without_a_store_shows_none)
{
    start();
    za_pager_stats();
    CHECK(za_stat_get(ZA_STAT_ST_BLOBS) > 0);
    os.socketpair = no_pair;
    pid_t pid = region_fork();
    if (pid == 0) {
        CHECK_EQ(za_stat_get(ZA_STAT_ST_BLOBS), 0);
        CHECK_EQ(za_stat_get(ZA_STAT_ST_LIVE), 0);
        CHECK_EQ(za_stat_get(ZA_STAT_PG_STORED), 0);
        _exit(0);
    }
    reap(pid);
}

/* mlockall is not inherited. */
UNIT_TEST(a_child_of_a_locked_process_is_not_locked)
{
    start();
    za_pager_keep_begin();
    pid_t pid = region_fork();
    if (pid == 0) {
        region_fill(0, PAGES, 1);
        CHECK_EQ(za_pager_evict_all(), 0);
        CHECK_EQ(region_present(0, PAGES), 0);
        CHECK(region_holds(0, PAGES, 1));
        _exit(0);
    }
    reap(pid);
    CHECK_EQ(region_present(0, PAGES), PAGES);
}

/* ---- around a fork ------------------------------------------------------------------------------
 */

static int no_call(int tid, int fd, uint64_t number)
{
    (void)tid, (void)fd, (void)number;
    return -ENOSYS;
}

/* Its word is the one for "there is no worker". */
UNIT_TEST(a_fork_does_not_wait_where_pidfd_getfd_is_missing)
{
    start();
    os.fetch_file = no_call;
    pid_t pid = region_fork();
    if (pid == 0) {
        CHECK(region_holds(0, PAGES, 1));
        _exit(0);
    }
    reap(pid);
}

UNIT_TEST(what_came_back_amid_a_fork_goes_out_again)
{
    start();
    region_cold_ms(AGE_MS);
    region_sleep_ms(10 * AGE_MS);
    goes_out(0, PAGES);
    za_pager_prefork();
    CHECK(region_holds(3, 1, 1));
    CHECK(region_holds(UNIT + 4, 1, 1));
    za_pager_postfork_parent();
    za_pager_stats();
    CHECK_EQ(za_stat_get(ZA_STAT_PG_RECONCILED), 2);
    goes_out(0, PAGES);
    CHECK(region_holds(0, PAGES, 1));
}

static int none_spare(unsigned n)
{
    (void)n;
    return -EMFILE;
}

static int heap_full;

/* ENOMEM: as many mappings as a process may have. */
static int no_register(int fd, void *p, size_t len)
{
    bool heap = (uintptr_t)p == (uintptr_t)region_at(0);
    return heap && __atomic_load_n(&heap_full, __ATOMIC_ACQUIRE)
               ? -ENOMEM
               : za_os_linux->uffd_register(fd, p, len);
}

UNIT_TEST(what_cannot_be_registered_again_stays)
{
    start();
    os.spare_files = none_spare;
    os.uffd_register = no_register;
    __atomic_store_n(&heap_full, 1, __ATOMIC_RELEASE);
    pid_t pid = region_fork();
    if (pid == 0)
        _exit(0);
    reap(pid);
    za_pager_stats();
    CHECK(region_holds(0, PAGES, 1));
    __atomic_store_n(&heap_full, 0, __ATOMIC_RELEASE);
    CHECK_EQ(za_pager_evict_all(), 0);
    CHECK_EQ(region_present(0, PAGES), PAGES);
    CHECK(region_holds(0, PAGES, 1));
}

/* By a system call of the program's own, of which nobody tells us. */
UNIT_TEST(what_may_only_be_read_comes_back_before_a_fork_all_the_same)
{
    start();
    os.spare_files = none_spare;
    CHECK_EQ(syscall(SYS_mprotect, region_at(UNIT), UNIT * REGION_PAGE, PROT_READ), 0);
    pid_t pid = region_fork();
    if (pid == 0) {
        CHECK(region_holds(0, PAGES, 1));
        _exit(0);
    }
    reap(pid);
    CHECK(region_holds(0, PAGES, 1));
}

/* ---- F and the worker ---------------------------------------------------------------------------
 */

/* A commit has failed on F's claim for a bare child. */
static void leave_in_limbo(size_t unit)
{
    za_pg.units[unit].phase = ZA_UNIT_RESTING;
    za_pg.units[unit].due = 1;
    za_pg.chunks[0].due = 1;
}

UNIT_TEST(a_page_that_was_left_in_limbo_is_packed_some_time)
{
    start();
    CHECK(region_holds(0, 1, 1));
    region_limbo(0, UNIT);
    region_cold_ms(AGE_MS);
    region_sleep_ms(10 * AGE_MS);
    CHECK(za_stat_get(ZA_STAT_PG_LIMBO) > 0);
    region_on_worker(leave_in_limbo, 0);
    CHECK_EQ(region_await(ZA_STAT_PG_LIMBO, 0), 0);
}

static void end_soon(size_t ticks)
{
    za_plan_clock_end = za_pg_tick(za_os->now()) + (uint32_t)ticks;
}

static void age_clock(size_t ticks)
{
    za_pg.epoch -= ticks * ZA_TICK_NS;
}

/* After months. */
UNIT_TEST(the_clock_is_put_back_and_nothing_is_forgotten)
{
    start();
    region_on_worker(age_clock, (size_t)1 << 31);
    region_cold_ms(AGE_MS);
    region_fill(0, PAGES, 2);
    goes_out(0, PAGES);
    CHECK(za_pg_tick(za_os->now()) < 1u << 31);
    region_fill(UNIT, UNIT, 3);
    region_on_worker(end_soon, 5);
    goes_out(UNIT, UNIT);
    CHECK(region_holds(0, UNIT, 2));
    CHECK(region_holds(UNIT, UNIT, 3));
}

enum { IDLE, ARMED, NUDGED, JUDGED };
static uint32_t nudge; /* atomic */
static bool slept;

/* The last time behind its turn. */
static uint64_t cpu_and_nudge(void)
{
    if (za_os->tid() == za_pg.worker_tid && __atomic_load_n(&nudge, __ATOMIC_SEQ_CST) % JUDGED) {
        za_mail_nudge();
        __atomic_store_n(&nudge, NUDGED, __ATOMIC_SEQ_CST);
    }
    return za_os_linux->thread_cpu();
}

static int wait_and_see(uint32_t *word, uint32_t seen, uint64_t timeout_ns)
{
    if (za_os->tid() == za_pg.worker_tid && __atomic_load_n(&nudge, __ATOMIC_SEQ_CST) == NUDGED) {
        slept = __atomic_load_n(word, __ATOMIC_SEQ_CST) == seen;
        __atomic_store_n(&nudge, JUDGED, __ATOMIC_SEQ_CST);
    }
    return za_os_linux->wait(word, seen, timeout_ns);
}

/* Else a fault that waits for room waits for the end of a sleep that has just begun. */
UNIT_TEST(the_worker_hears_in_its_turn_that_it_is_wanted)
{
    start();
    os.thread_cpu = cpu_and_nudge;
    os.wait = wait_and_see;
    __atomic_store_n(&nudge, ARMED, __ATOMIC_SEQ_CST);
    za_pager_stats();
    while (__atomic_load_n(&nudge, __ATOMIC_SEQ_CST) != JUDGED)
        region_sleep_ms(1);
    CHECK(!slept);
}
