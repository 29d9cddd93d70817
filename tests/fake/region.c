/* SPDX-License-Identifier: MIT */
/*
 * region -- see region.h.
 *
 * The worker calls the owner's decay once a turn, which is where a test's step runs.  Waiting is
 * done by sleeping in small pieces: no test depends on how long.
 *
 * Locks: none.  May sleep: yes.  May fault: on the region.  Allocates: address space.
 */
#define _GNU_SOURCE
#include "tests/fake/region.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "base/conf.h"
#include "os/os.h"
#include "pager/private.h"
#include "tests/fake/wide.h"
#include "tests/unit/unit.h"

#define WORDS (REGION_PAGE / sizeof(uint64_t))
#define TURN_NS (2 * ZA_NS_PER_MS)
#define PATIENCE_MS 10000u
#define HANG_S 150 /* a test that takes this long hangs, on however busy a machine */

static char *base;
static region_live_fn *live_fn;
static void (*step_fn)(size_t arg); /* atomic; the worker takes it and clears it when done */
static size_t step_arg;

/* --- the owner ----------------------------------------------------------- */

static size_t live(uintptr_t addr, size_t page_size, uint64_t *mask)
{
    size_t n = page_size / 16, count = 0;

    if (live_fn)
        live_fn((addr - (uintptr_t)base) / page_size, mask);
    else
        memset(mask, 0xff, n / 8);
    for (size_t i = 0; i < n / 64; i++)
        count += (size_t)__builtin_popcountll(mask[i]);
    return count;
}

static uint64_t decay(uint64_t now_ns)
{
    void (*fn)(size_t arg) = __atomic_load_n(&step_fn, __ATOMIC_ACQUIRE);

    if (fn) {
        fn(step_arg);
        __atomic_store_n(&step_fn, NULL, __ATOMIC_RELEASE);
    }
    return now_ns + TURN_NS;
}

static const struct za_region_ops owner = {.live = live, .decay = decay};

void region_live(region_live_fn *fn)
{
    live_fn = fn;
}

/* --- start --------------------------------------------------------------- */

static void start(size_t used)
{
    void *p;

    alarm(HANG_S);
    za_os_init();
    wide_start(REGION_PAGE);
    if (za_os->page_size != REGION_PAGE)
        UNIT_SKIP("this machine's pages are larger than the test's");
    za_conf.cold_ms = REGION_DAY_MS;
    za_conf.start_bytes = UINT64_MAX >> 1;
    if (getenv("BACKEND"))
        za_conf.backend = region_remaps() ? ZA_BACKEND_REMAP : ZA_BACKEND_MOVE;
    CHECK_EQ(za_os_linux->reserve(&p, REGION_SIZE, ZA_CHUNK_SIZE), 0);
    base = p;
    CHECK(za_pager_init((uintptr_t)p, REGION_SIZE, &owner));
    region_grow(used);
}

/* With huge pages the kernel decides how much of what was touched is resident. */
void region_start(size_t used)
{
    (void)prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    start(used);
}

void region_start_huge(size_t used)
{
    start(used);
    (void)madvise(base, used, MADV_HUGEPAGE);
}

void region_cold_ms(uint64_t ms)
{
    __atomic_store_n(&za_conf.cold_ms, ms, __ATOMIC_RELAXED);
}

void region_grow(size_t used)
{
    CHECK_EQ(za_os_linux->commit(base, used), 0);
    za_pager_grown((uintptr_t)base + used);
}

char *region_at(size_t page)
{
    return base + page * REGION_PAGE;
}

/* Environment: BACKEND, move (default) or remap. */
bool region_remaps(void)
{
    const char *name = getenv("BACKEND");

    return name && strcmp(name, "remap") == 0;
}

bool region_refused(void)
{
    struct za_uffd_caps caps;
    int fd = za_os_linux->uffd_open(&caps);
    bool works = fd >= 0 && (region_remaps() ? za_os_try_remap(fd) == 0 : caps.move);

    if (fd >= 0)
        (void)za_os_linux->close(fd);
    return !works;
}

/* --- contents ------------------------------------------------------------ */

/* Repeats enough to compress to a fourth or so, and differs at every offset of every page. */
uint64_t region_word(size_t as, uint32_t stamp, size_t i)
{
    uint64_t tag = ((uint64_t)stamp << 32 | (uint64_t)as) + 0x100000001u;

    return i % 16 == 0 ? tag + (i << 20) : tag ^ i % 8;
}

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

void region_fill(size_t page, size_t n, uint32_t stamp)
{
    uint64_t *w = (uint64_t *)(void *)region_at(page);

    for (size_t i = 0; i < n * WORDS; i++)
        w[i] = region_word(page + i / WORDS, stamp, i % WORDS);
}

bool region_holds_as(size_t page, size_t n, size_t as, uint32_t stamp)
{
    const uint64_t *w = (const uint64_t *)(const void *)region_at(page);

    for (size_t i = 0; i < n * WORDS; i++)
        if (w[i] != region_word(as + i / WORDS, stamp, i % WORDS))
            return false;
    return true;
}

bool region_holds(size_t page, size_t n, uint32_t stamp)
{
    return region_holds_as(page, n, page, stamp);
}

void region_fill_random(size_t page, size_t n)
{
    uint64_t *w = (uint64_t *)(void *)region_at(page);

    for (size_t i = 0; i < n * WORDS; i++)
        w[i] = mix(page * WORDS + i + 1);
}

bool region_holds_random(size_t page, size_t n)
{
    const uint64_t *w = (const uint64_t *)(const void *)region_at(page);

    for (size_t i = 0; i < n * WORDS; i++)
        if (w[i] != mix(page * WORDS + i + 1))
            return false;
    return true;
}

bool region_zero(size_t page, size_t n)
{
    const uint64_t *w = (const uint64_t *)(const void *)region_at(page);

    for (size_t i = 0; i < n * WORDS; i++)
        if (w[i])
            return false;
    return true;
}

/* --- where the pages are ------------------------------------------------- */

static size_t count_present(const char *at, size_t n)
{
    uint64_t bytes = 0;

    /* The table in use knows the page size; where its call is made to fail, the kernel is asked. */
    if (za_os->resident(at, n * REGION_PAGE, &bytes) < 0)
        CHECK_EQ(za_os_linux->resident(at, n * REGION_PAGE, &bytes), 0);
    return bytes / REGION_PAGE;
}

size_t region_present(size_t page, size_t n)
{
    return count_present(region_at(page), n);
}

size_t region_weight(size_t page, size_t n)
{
    unsigned long from = 0, to = 0, kib, sum = 0;
    unsigned long first = (unsigned long)(uintptr_t)region_at(page), end = first + n * REGION_PAGE;
    char line[512];
    FILE *f = fopen("/proc/self/smaps", "re");

    CHECK(f != NULL);
    while (fgets(line, sizeof(line), f)) {
        if (sscanf(line, "Rss: %lu kB", &kib) == 1)
            sum += from >= first && to <= end ? kib : 0;
        else
            (void)sscanf(line, "%lx-%lx ", &from, &to);
    }
    fclose(f);
    return sum * 1024 / REGION_PAGE;
}

bool region_zeros_told(void)
{
#ifdef ZA_TEST_PAGE
    return false; /* wide.c counts by the page of the test */
#else
    struct utsname u;
    unsigned major = 0, minor = 0;

    CHECK_EQ(uname(&u), 0);
    (void)sscanf(u.release, "%u.%u", &major, &minor);
    return major > 6 || (major == 6 && minor >= 7);
#endif
}

size_t region_mirrored(size_t page, size_t n)
{
    return count_present(za_pg_mirror(page), n);
}

/* --- the worker ---------------------------------------------------------- */

void region_sleep_ms(unsigned ms)
{
    struct timespec t = {ms / 1000, (long)(ms % 1000) * 1000000};

    nanosleep(&t, NULL);
}

void region_on_worker(void (*fn)(size_t arg), size_t arg)
{
    step_arg = arg;
    __atomic_store_n(&step_fn, fn, __ATOMIC_RELEASE);
    for (unsigned i = 0; __atomic_load_n(&step_fn, __ATOMIC_ACQUIRE); i++) {
        CHECK(i < PATIENCE_MS);
        za_pager_stats(); /* a request wakes the worker, and a turn follows */
        region_sleep_ms(1);
    }
}

static void check(size_t arg)
{
    (void)arg;
    za_pager_check();
}

void region_check(void)
{
    region_on_worker(check, 0);
}

/* The plan remembers that the unit was probed, as it does after a probe of its own. */
static void probe(size_t unit)
{
    if (!za_place_records(za_pg_nchunks()) || za_probe_unit(unit) == 0)
        return;
    za_pg.units[unit].phase = ZA_UNIT_PROBED;
    za_pg.units[unit].due = ZA_TICK_NEVER - 1;
}

void region_limbo(size_t page, size_t n)
{
    for (size_t u = page / za_pg.unit_pages; u < (page + n) / za_pg.unit_pages; u++)
        region_on_worker(probe, u);
}

/* --- fork ---------------------------------------------------------------- */

int region_lock(size_t page, size_t n)
{
    return (int)syscall(SYS_mlock, region_at(page), n * REGION_PAGE);
}

int region_unlock(size_t page, size_t n)
{
    return (int)syscall(SYS_munlock, region_at(page), n * REGION_PAGE);
}

bool region_forks_confuse(void)
{
#ifdef __SANITIZE_THREAD__
    return true;
#else
    return false;
#endif
}

int region_fork(void)
{
    za_pager_prefork();
    int pid = fork();
    if (pid == 0) {
        alarm(HANG_S);
        za_pager_postfork_child();
    } else {
        za_pager_postfork_parent();
    }
    return pid;
}

int region_fork_bare(void)
{
    int pid = (int)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (pid == 0)
        alarm(HANG_S);
    return pid;
}

/* --- waiting ------------------------------------------------------------- */

uint64_t region_await(enum za_stat_id id, uint64_t want)
{
    for (unsigned i = 0; za_stat_get(id) != want && i < PATIENCE_MS; i++)
        region_sleep_ms(1);
    return za_stat_get(id);
}
