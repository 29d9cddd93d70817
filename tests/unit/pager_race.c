/* SPDX-License-Identifier: MIT */
/*
 * pager_race -- threads that use pages while the worker takes them out as fast as it can: every
 * read sees the last write.
 *
 * Each thread owns the clusters whose number is its own modulo THREADS, so neighbours in a unit
 * belong to different threads; and within the shared part all read what nobody writes.
 */
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/conf.h"
#include "os/os.h"
#include "pager/pager.h"
#include "tests/fake/region.h"
#include "tests/unit/unit.h"

#define THREADS 4u
#define PAGES 512u   /* pages with versions; behind them, as many places to relocate to */
#define SHARED 1024u /* pages that all read and nobody writes */
#define NSHARED 256u
#define RUN_MS 800u

static uint32_t stop;
static uint32_t version[PAGES]; /* [owner]; 0: zeros */
static unsigned cluster = 1;    /* pages that belong to one owner in a row */

struct owner {
    pthread_t thread;
    unsigned id;
    uint64_t random;
    uint64_t steps;
    void (*step)(struct owner *o);
};

static size_t next(struct owner *o, size_t below)
{
    o->random ^= o->random << 13;
    o->random ^= o->random >> 7;
    o->random ^= o->random << 17;
    return (size_t)(o->random >> 11) % below;
}

/* One of the owner's own pages. */
static size_t own_page(struct owner *o)
{
    size_t group = next(o, PAGES / cluster / THREADS) * THREADS + o->id;

    return group * cluster + next(o, cluster);
}

static void check_page(size_t p)
{
    CHECK(version[p] ? region_holds(p, 1, version[p]) : region_zero(p, 1));
}

static void write_page(size_t p)
{
    version[p]++;
    region_fill(p, 1, version[p]);
}

static void read_or_write(struct owner *o)
{
    size_t p = own_page(o);

    check_page(p);
    if (next(o, 3) == 0)
        write_page(p);
    if (next(o, 4) == 0)
        CHECK(region_holds(SHARED + next(o, NSHARED), 1, 7));
}

/* One word of the page, so that a write meets a page on its way. */
static void touch_a_word(struct owner *o)
{
    size_t p = own_page(o), at = next(o, 512);
    volatile uint64_t *w = (volatile uint64_t *)(void *)region_at(p);

    CHECK_EQ(w[at], version[p] ? region_word(p, version[p], at) : 0);
    w[at] = region_word(p, version[p] + 1, at);
    w[at] = version[p] ? region_word(p, version[p], at) : 0;
}

static void discard_too(struct owner *o)
{
    size_t p = own_page(o);

    if (next(o, 8) != 0) {
        read_or_write(o);
        return;
    }
    CHECK_EQ(za_pager_discard((uintptr_t)region_at(p), REGION_PAGE), 0);
    version[p] = 0;
    if (next(o, 2))
        check_page(p);
}

/* There and back again: the far place holds nothing but what is moved there. */
static void relocate_too(struct owner *o)
{
    size_t p = own_page(o), far = PAGES + p;
    uintptr_t a = (uintptr_t)region_at(p), b = (uintptr_t)region_at(far);

    if (next(o, 8) != 0 || version[p] == 0) {
        read_or_write(o);
        return;
    }
    if (za_pager_relocate(a, b, REGION_PAGE) < 0)
        return;
    if (next(o, 2))
        CHECK(region_zero(p, 1));
    if (next(o, 2))
        CHECK(region_holds_as(far, 1, p, version[p]));
    CHECK_EQ(za_pager_relocate(b, a, REGION_PAGE), 0);
    check_page(p);
}

static void *run(void *arg)
{
    struct owner *o = arg;

    while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
        o->step(o);
        o->steps++;
    }
    return NULL;
}

static uint64_t now_ms(void)
{
    return za_os_linux->now() / ZA_NS_PER_MS;
}

static void start(void)
{
    if (region_refused())
        UNIT_SKIP("userfaultfd is refused here");
    region_start(2048 * REGION_PAGE);
    for (size_t p = 0; p < PAGES; p++)
        write_page(p);
    region_fill(SHARED, NSHARED, 7);
    CHECK_EQ(za_pager_evict_all(), 0);
}

/* All threads take `step` after step while this one calls `disturb`. */
static void race(void (*step)(struct owner *o), void (*disturb)(void))
{
    static struct owner owners[THREADS];
    uint64_t end = now_ms() + RUN_MS;

    for (unsigned i = 0; i < THREADS; i++) {
        owners[i] = (struct owner){.id = i, .random = i * 77 + 12345, .step = step};
        CHECK_EQ(pthread_create(&owners[i].thread, NULL, run, &owners[i]), 0);
    }
    while (now_ms() < end)
        disturb();
    __atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(owners[i].thread, NULL);
        CHECK(owners[i].steps > 0);
    }
    for (size_t p = 0; p < PAGES; p++)
        check_page(p);
    CHECK(region_holds(SHARED, NSHARED, 7));
    region_check();
}

static void evict(void)
{
    CHECK_EQ(za_pager_evict_all(), 0);
}

static void evict_or_thaw(void)
{
    evict();
    CHECK_EQ(za_pager_thaw(), 0);
}

static void wait_a_little(void)
{
    region_sleep_ms(20);
}

UNIT_TEST(single_pages)
{
    start();
    race(read_or_write, evict);
}

UNIT_TEST(whole_clusters)
{
    start();
    cluster = 4;
    race(read_or_write, evict);
}

UNIT_TEST(single_words)
{
    start();
    race(touch_a_word, evict);
}

UNIT_TEST(with_discard)
{
    start();
    race(discard_too, evict);
}

UNIT_TEST(with_relocate)
{
    start();
    race(relocate_too, evict);
}

UNIT_TEST(with_thaw)
{
    start();
    race(read_or_write, evict_or_thaw);
}

/* The plan at work, with ages of a few milliseconds: pages stay in limbo for a while. */
UNIT_TEST(by_age)
{
    start();
    region_cold_ms(10);
    __atomic_store_n(&za_conf.cpu_limit, 100, __ATOMIC_RELAXED);
    race(read_or_write, wait_a_little);
}

UNIT_TEST(torture)
{
    za_conf.torture = true;
    start();
    race(discard_too, wait_a_little);
}

/* Forks while threads write: children must find whole pages, parents the last write. */
static void fork_and_check_shared(void)
{
    int status;
    int pid = region_fork();

    if (pid == 0) {
        CHECK(region_holds(SHARED, NSHARED, 7));
        _exit(0);
    }
    evict();
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}

/* Their allocators hold locks that a fork leaves locked in the child, for any thread it starts. */
static bool runtime_has_locks(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return true;
#else
    return false;
#endif
}

UNIT_TEST(with_fork)
{
    if (runtime_has_locks())
        UNIT_SKIP("a sanitizer's runtime does not survive a fork of several busy threads");
    start();
    race(read_or_write, fork_and_check_shared);
}

UNIT_TEST(with_fork_and_discard)
{
    if (runtime_has_locks())
        UNIT_SKIP("a sanitizer's runtime does not survive a fork of several busy threads");
    start();
    race(discard_too, fork_and_check_shared);
}
