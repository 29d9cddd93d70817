/* SPDX-License-Identifier: MIT */
/*
 * pager_calm -- W and F wait for each other without standing in each other's way: who goes first
 * may be on the processor of who is waited for.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/conf.h"
#include "os/os.h"
#include "pager/private.h"
#include "tests/fake/region.h"
#include "tests/unit/unit.h"

#define LOOKS 5u
#define POLLS 3u
#define POLLING_MS 5000u   /* F polls every few milliseconds, before everybody else */
#define PATIENCE_MS 30000u /* on a busy machine, too, W gets its turn within that */

static struct za_os table, below;                    /* the test's, and the one that it stands on */
static uint32_t n_looks, n_taking, n_polls, in_step; /* atomics */

static uint32_t read_of(uint32_t *counter)
{
    return __atomic_load_n(counter, __ATOMIC_SEQ_CST);
}

static void count(uint32_t *counter, uint32_t n)
{
    __atomic_fetch_add(counter, n, __ATOMIC_SEQ_CST);
}

/* After region_start, which has a table of its own where pages are imitated. */
static void begin(void)
{
    below = *za_os;
    table = below;
    za_os = &table;
}

/* A fork is on its way for so many looks. */
static int64_t forking(int fd, void *dst, const void *src, size_t len, bool wake)
{
    (void)fd, (void)dst, (void)src, (void)wake;
    CHECK_EQ(len, 0);
    count(&n_taking, read_of(&za_pg.taking));
    count(&n_looks, 1);
    return read_of(&n_looks) <= LOOKS ? -EAGAIN : -EINVAL;
}

/* F, which finds a step under way, waits for its end; so W is in none while it waits itself. */
UNIT_TEST(the_worker_waits_before_its_step)
{
    table = *za_os_linux;
    table.uffd_copy = forking;
    za_os = &table;
    za_pg.caps.event_fork = true;
    za_calm_begin();
    CHECK_EQ(read_of(&za_pg.taking), 1);
    CHECK_EQ(read_of(&n_looks), LOOKS + 2);
    CHECK_EQ(read_of(&n_taking), 2); /* the first look, and the last */
    za_calm_end();
    CHECK_EQ(read_of(&za_pg.taking), 0);
}

static int counted_poll(const int *fds, unsigned n, uint64_t ns)
{
    count(&n_polls, read_of(&za_pg.fault_seq) & 1);
    return below.poll(fds, n, ns);
}

static void long_step(size_t arg)
{
    (void)arg;
    za_calm_begin();
    __atomic_store_n(&in_step, 1, __ATOMIC_SEQ_CST);
    uint64_t limit = za_os_linux->now() + POLLING_MS * ZA_NS_PER_MS;
    while (read_of(&n_polls) < POLLS && za_os_linux->now() < limit)
        (void)za_os_linux->wait(&in_step, 1, ZA_NS_PER_MS);
    za_calm_end();
}

static void *make_child(void *arg)
{
    int *status = arg;
    while (!read_of(&in_step))
        region_sleep_ms(1);
    pid_t pid = region_fork_bare();
    if (pid == 0)
        _exit(!region_holds(0, REGION_UNIT, 1));
    if (pid < 0 || waitpid(pid, status, 0) != pid)
        *status = -1;
    return NULL;
}

/* F, which goes before everybody else, sleeps while it waits for the end of a step. */
UNIT_TEST(the_fault_thread_sleeps_for_the_worker)
{
    pthread_t t;
    int status = -1;
    if (region_forks_confuse())
        UNIT_SKIP("ThreadSanitizer cannot follow a fork of several threads");
    if (region_refused())
        UNIT_SKIP("userfaultfd is refused here");
    region_start(ZA_CHUNK_SIZE);
    begin();
    table.poll = counted_poll;
    region_fill(0, REGION_UNIT, 1);
    CHECK_EQ(za_pager_evict_all(), 0);
    if (!za_pg.caps.event_fork)
        UNIT_SKIP("children are not announced here");
    CHECK_EQ(pthread_create(&t, NULL, make_child, &status), 0);
    region_on_worker(long_step, 0);
    CHECK_EQ(pthread_join(t, NULL), 0);
    CHECK_EQ(status, 0);
    CHECK(read_of(&n_polls) >= POLLS);
    CHECK(region_holds(0, REGION_UNIT, 1));
}

/* ---- a page that W brings back by copying -------------------------------------------------------
 */

enum { IDLE, COPYING, FORKED, WAITS };

static uint32_t stage; /* atomic */

/* Not a spin: F goes before everybody else, and W after them. */
static void pause_briefly(void)
{
    static uint32_t never;
    (void)za_os_linux->wait(&never, 0, ZA_NS_PER_MS / 10);
}

static void become(uint32_t next)
{
    __atomic_store_n(&stage, next, __ATOMIC_SEQ_CST);
}

/* W begins to copy its first page back, and F hears of a child just before. */
static int64_t copy_late(int fd, void *dst, const void *src, size_t len, bool wake)
{
    uint64_t limit = za_os_linux->now() + PATIENCE_MS * ZA_NS_PER_MS;
    bool back = (uintptr_t)src - za_pg.mirror < za_pg.size;
    if (len > 0 && back && fd == za_pg.uffd && read_of(&stage) == IDLE) {
        become(COPYING);
        while (read_of(&stage) == COPYING && za_os_linux->now() < limit)
            pause_briefly();
    }
    return below.uffd_copy(fd, dst, src, len, wake);
}

static int noted_wait(uint32_t *word, uint32_t seen, uint64_t ns)
{
    if (word == &za_pg.giving)
        become(WAITS);
    return below.wait(word, seen, ns);
}

/* F begins to give the child what it needs when W has gone on, or waits. */
static int64_t zero_late(int fd, void *dst, size_t len, bool wake)
{
    uint64_t limit = za_os_linux->now() + PATIENCE_MS * ZA_NS_PER_MS;
    if (fd != za_pg.uffd && read_of(&stage) == COPYING)
        become(FORKED);
    while (fd != za_pg.uffd && read_of(&stage) != WAITS &&
           za_page_get(&za_pg.pages[0]) != ZA_PAGE_KERNEL && za_os_linux->now() < limit)
        pause_briefly();
    return below.uffd_zero(fd, dst, len, wake);
}

static void *make_raw_child(void *arg)
{
    int *status = arg;
    while (read_of(&stage) != COPYING)
        region_sleep_ms(1);
    pid_t pid = region_fork_bare();
    if (pid == 0)
        _exit(!region_holds_random(0, 1));
    if (pid < 0 || waitpid(pid, status, 0) != pid)
        *status = -1;
    return NULL;
}

UNIT_TEST(what_goes_back_is_not_lost_to_a_child)
{
    pthread_t t;
    int status = -1;
    if (region_forks_confuse())
        UNIT_SKIP("ThreadSanitizer cannot follow a fork of several threads");
    if (region_refused())
        UNIT_SKIP("userfaultfd is refused here");
    region_start(ZA_CHUNK_SIZE);
    za_conf.backend = ZA_BACKEND_REMAP; /* UFFDIO_MOVE leaves in the mirror what a child shares */
    begin();
    table.uffd_copy = copy_late;
    table.uffd_zero = zero_late;
    table.wait = noted_wait;
    CHECK_EQ(za_pager_evict_all(), 0);
    if (!za_pg.caps.event_fork || strcmp(za_pager_backend(), "remap") != 0)
        UNIT_SKIP("children are not announced here, or there is no remap");
    region_fill_random(0, REGION_UNIT);
    CHECK_EQ(pthread_create(&t, NULL, make_raw_child, &status), 0);
    CHECK_EQ(za_pager_evict_all(), 0);
    CHECK_EQ(pthread_join(t, NULL), 0);
    CHECK_EQ(read_of(&stage), WAITS);
    CHECK_EQ(status, 0);
    CHECK(region_holds_random(0, REGION_UNIT));
}

/* ---- a child that begins anew -------------------------------------------------------------------
 */

static uint32_t *shared; /* with the child: what has happened; atomic */
enum { NOTHING, BEGINS, BEGUN, FULL };

/* F begins to fill the child when that has begun, or stands at the doorbell and says nothing. */
static int64_t fill_late(int fd, void *dst, const void *src, size_t len, bool wake)
{
    uint64_t limit = za_os_linux->now() + ZA_NS_PER_S / 2;
    while (fd != za_pg.uffd && read_of(shared) <= BEGINS && za_os_linux->now() < limit)
        za_os_linux->relax();
    return below.uffd_copy(fd, dst, src, len, wake);
}

static int close_child(int fd)
{
    uint32_t was = BEGINS;
    (void)__atomic_compare_exchange_n(shared, &was, FULL, false, __ATOMIC_SEQ_CST,
                                      __ATOMIC_SEQ_CST);
    return below.close(fd);
}

UNIT_TEST(a_child_begins_when_it_is_full)
{
    int status;
    if (region_forks_confuse())
        UNIT_SKIP("ThreadSanitizer cannot follow a fork of several threads");
    if (region_refused())
        UNIT_SKIP("userfaultfd is refused here");
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(shared != MAP_FAILED);
    region_start(ZA_CHUNK_SIZE);
    begin();
    table.uffd_copy = fill_late;
    table.close = close_child;
    region_fill(0, REGION_UNIT, 1);
    CHECK_EQ(za_pager_evict_all(), 0);
    if (!za_pg.caps.event_fork)
        UNIT_SKIP("children are not announced here");
    pid_t pid = region_fork_bare();
    if (pid == 0) {
        uint32_t was = BEGINS;
        __atomic_store_n(shared, BEGINS, __ATOMIC_SEQ_CST);
        (void)za_pager_evict_all(); /* finds out, and begins */
        (void)__atomic_compare_exchange_n(shared, &was, BEGUN, false, __ATOMIC_SEQ_CST,
                                          __ATOMIC_SEQ_CST);
        _exit(was != FULL);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}
