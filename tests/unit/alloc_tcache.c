/* SPDX-License-Identifier: MIT */
/*
 * alloc_tcache -- malloc and free through a thread's cache: a shadow model, misuse, memory given
 * back, thread life.
 */
#include "alloc/tcache.h"

#include <pthread.h>
#include <sys/wait.h>

#include "alloc/caches.h"
#include "alloc/central.h"
#include "alloc/gather.h"
#include "alloc/heap.h"
#include "base/meta.h"
#include "base/stat.h"
#include "tests/unit/alloc_kit.h"

#define BLOCKS 3000

static struct {
    unsigned char *p;
    size_t size;
    unsigned char cookie;
} block[BLOCKS];

static void *some_block(struct kit_random *r, size_t size)
{
    switch (kit_next(r) % 4) {
    case 0: {
        unsigned char *p = za_calloc(1, size);
        CHECK(kit_zero(p, size));
        return p;
    }
    case 1: {
        size_t align = (size_t)1 << kit_next(r) % 19;
        void *p = za_memalign(align, size);
        CHECK_EQ((uintptr_t)p % align, 0);
        return p;
    }
    default: return za_malloc(size);
    }
}

static void step(struct kit_random *r)
{
    uint64_t k = kit_next(r) % BLOCKS;
    if (block[k].p) {
        CHECK(kit_signed(block[k].p, block[k].size, block[k].cookie));
        za_free(block[k].p);
        block[k].p = NULL;
        return;
    }
    block[k].size = kit_size(r);
    block[k].cookie = (unsigned char)kit_next(r);
    block[k].p = some_block(r, block[k].size);
    CHECK(block[k].p && za_usable(block[k].p) >= block[k].size);
    CHECK(block[k].size <= 8 || (uintptr_t)block[k].p % 16 == 0);
    kit_sign(block[k].p, block[k].size, block[k].cookie);
}

UNIT_TEST(random_blocks_keep_their_cookies)
{
    struct kit_random r = {777};
    kit_start();
    for (int i = 0; i < 120000; i++) {
        step(&r);
        if (i % 30000 == 0)
            za_alloc_check();
        if (i % 20000 == 19999)
            (void)za_trim();
    }
    for (int i = 0; i < BLOCKS; i++)
        za_free(block[i].p);
    (void)za_trim();
    za_alloc_check();
    za_alloc_stats();
    CHECK_EQ(za_stat_get(ZA_STAT_HEAP_ALLOCATED), 0);
    CHECK_EQ(za_stat_get(ZA_STAT_HEAP_ACTIVE), 0);
    CHECK_EQ(za_stat_get(ZA_STAT_HEAP_DIRTY), 0);
}

UNIT_TEST(size_zero_gives_distinct_blocks)
{
    kit_start();
    void *a = za_malloc(0), *b = za_malloc(0);
    CHECK(a && b && a != b);
    CHECK_EQ(za_usable(a), za_good_size(0));
    za_free(a);
    za_free(b);
}

UNIT_TEST(used_counts_what_is_out)
{
    struct za_class_stats s;
    void *p[1000];
    kit_start();
    for (int i = 0; i < 1000; i++)
        p[i] = za_malloc(200);
    CHECK(za_class_stats(za_class_of(200), &s));
    CHECK(s.used >= 1000 && s.used <= 1000 + ZA_CLASS_DEPTH);
    for (int i = 0; i < 1000; i++)
        za_free(p[i]);
    (void)za_trim();
    CHECK(za_class_stats(za_class_of(200), &s));
    CHECK_EQ(s.used, 0);
    CHECK_EQ(s.spans, 0);
    CHECK(!za_class_stats(0, &s));
    CHECK(!za_class_stats(ZA_CLASS_LAST + 1, &s));
}

UNIT_TEST(nothing_is_left_after_decay)
{
    kit_start();
    void **p = za_malloc(50000 * sizeof(void *));
    for (int i = 0; i < 50000; i++)
        memset(p[i] = za_malloc(1000), 1, 1000);
    for (int i = 0; i < 50000; i++)
        za_free(p[i]);
    za_free(p);
    za_thread_exit();
    /* Two looks find the cache that is left, two decays the transfer cache; one may miss the worker. */
    uint64_t now = za_os->now();
    for (int i = 0; i < 8; i++) {
        now += za_conf.dirty_decay_ms * ZA_NS_PER_MS;
        (void)za_gather(now);
        za_alloc_decay(now);
    }
    za_alloc_stats();
    CHECK_EQ(za_stat_get(ZA_STAT_HEAP_ALLOCATED), 0);
    CHECK_EQ(za_stat_get(ZA_STAT_HEAP_DIRTY), 0);
    za_alloc_check();
}

/* --- threads ------------------------------------------------------------- */

static unsigned born;

static void count_birth(void)
{
    __atomic_fetch_add(&born, 1, __ATOMIC_RELAXED);
    za_free(za_malloc(24)); /* it may recurse */
}

static void *short_life(void *arg)
{
    void *p = za_malloc(24);
    za_free(za_malloc(5000));
    za_thread_exit();
    void *late = za_malloc(100);
    za_free(late);
    za_free(p);
    return arg;
}

static void run_threads(int n)
{
    for (int i = 0; i < n; i++) {
        pthread_t t;
        CHECK_EQ(pthread_create(&t, NULL, short_life, NULL), 0);
        CHECK_EQ(pthread_join(t, NULL), 0);
    }
}

UNIT_TEST(short_lived_threads_leave_nothing)
{
    kit_start();
    za_thread_born = count_birth;
    run_threads(50);
    size_t meta = za_meta_mapped(), used = za_space_used();
    run_threads(1000);
    CHECK_EQ(za_meta_mapped(), meta);
    CHECK_EQ(za_space_used(), used);
    CHECK(born >= 1050);
    za_alloc_stats();
    CHECK(za_stat_get(ZA_STAT_THREADS) <= 1);
    (void)za_trim();
    za_alloc_stats();
    CHECK_EQ(za_stat_get(ZA_STAT_HEAP_ALLOCATED), 0);
    za_alloc_check();
}

/* --- what a thread leaves ------------------------------------------------ */

static uint64_t refills(void)
{
    struct za_tcache_stats s;
    za_tcache_stats(&s);
    return s.refills;
}

static size_t held(void)
{
    struct za_tcache_stats s;
    za_tcache_stats(&s);
    return s.bytes;
}

UNIT_TEST(the_next_thread_inherits)
{
    kit_start();
    run_threads(1);
    uint64_t first = refills();
    CHECK(first > 0 && held() > 0);
    run_threads(100);
    CHECK(refills() - first <= 25); /* each frees a block without a cache; 200 without heirs */
    za_alloc_check();
}

UNIT_TEST(nobody_inherits_where_nothing_is_kept)
{
    kit_start();
    za_conf.dirty_decay_ms = 0;
    run_threads(2);
    CHECK_EQ(held(), 0);
}

static pthread_barrier_t rich;

static void *become_rich(void *arg)
{
    static const size_t sizes[] = {100, 1000, 3000, 5000, 9000, 20000};
    void *p[40];
    for (size_t s = 0; s < ZA_ARRAY_LEN(sizes); s++) {
        for (size_t i = 0; i < ZA_ARRAY_LEN(p); i++)
            p[i] = za_malloc(sizes[s]);
        for (size_t i = 0; i < ZA_ARRAY_LEN(p); i++)
            za_free(p[i]);
    }
    pthread_barrier_wait(&rich);
    za_thread_exit();
    return arg;
}

UNIT_TEST(legacies_are_bounded_together)
{
    enum { THREADS = 16 };
    pthread_t t[THREADS];
    kit_start();
    pthread_barrier_init(&rich, NULL, THREADS + 1);
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&t[i], NULL, become_rich, NULL), 0);
    pthread_barrier_wait(&rich);
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_join(t[i], NULL), 0);
    CHECK(held() > 0 && held() <= ZA_TCACHE_LEGACY);
    za_alloc_check();
}

UNIT_TEST(what_nobody_inherits_goes_back)
{
    kit_start();
    run_threads(1);
    CHECK(held() > 0);
    uint64_t now = za_os->now();
    for (int i = 0; i < 8; i++)
        (void)za_gather(now += za_conf.dirty_decay_ms * ZA_NS_PER_MS);
    CHECK_EQ(held(), 0);
    run_threads(1); /* with a cache that was emptied */
    CHECK(held() > 0);
    za_alloc_check();
}

/* --- ... at a fork ------------------------------------------------------- */

static pthread_barrier_t central_held, forked;

static struct za_lock *central_lock(void)
{
    return &za_central[za_class_of(5000)].lock;
}

static void *hold_central(void *arg)
{
    za_lock(central_lock());
    pthread_barrier_wait(&central_held);
    pthread_barrier_wait(&forked);
    za_unlock(central_lock());
    return arg;
}

static void *empty_orphans(void *arg)
{
    za_tcache_empty_orphans();
    return arg;
}

/* Its slots are lost: who was emptying it is not in this process.  It itself and what it counts are not. */
static void expect_all_caches(void)
{
    za_tcache_postfork_child();
    za_lock_init(central_lock(), ZA_RANK_CENTRAL);
    size_t meta = za_meta_used();
    CHECK_EQ(held(), 0);
    CHECK(za_tcache_mine() != NULL); /* and is there for who wants one */
    CHECK_EQ(za_meta_used(), meta);
    _exit(0);
}

UNIT_TEST(a_cache_on_its_way_comes_along)
{
    pthread_t holder, emptier;
    int status;
    kit_start();
    pthread_barrier_init(&central_held, NULL, 2);
    pthread_barrier_init(&forked, NULL, 2);
    run_threads(1);
    CHECK(held() > 0);
    CHECK_EQ(pthread_create(&holder, NULL, hold_central, NULL), 0);
    pthread_barrier_wait(&central_held);
    CHECK_EQ(pthread_create(&emptier, NULL, empty_orphans, NULL), 0);
    while (__atomic_load_n(&central_lock()->word, __ATOMIC_RELAXED) != 2)
        za_os->relax(); /* it waits amid the cache */
    za_tcache_prefork();
    pid_t pid = fork();
    if (pid == 0)
        expect_all_caches();
    za_tcache_postfork_parent();
    pthread_barrier_wait(&forked);
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK_EQ(status, 0);
    CHECK_EQ(pthread_join(holder, NULL), 0);
    CHECK_EQ(pthread_join(emptier, NULL), 0);
    CHECK_EQ(held(), 0);
    za_alloc_check();
}

static void *free_and_end(void *p)
{
    za_free(p);
    za_thread_exit();
    return NULL;
}

UNIT_TEST(an_heir_finds_what_was_freed_last)
{
    pthread_t t;
    kit_start();
    kit_must_die(KIT_DOUBLE);
    void *p = za_malloc(100);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(pthread_create(&t, NULL, free_and_end, p), 0);
        CHECK_EQ(pthread_join(t, NULL), 0);
    }
    KIT_SURVIVED();
}

/* --- misuse -------------------------------------------------------------- */

UNIT_TEST(small_double_free)
{
    kit_start();
    kit_must_die(KIT_DOUBLE);
    void *p = za_malloc(100);
    za_free(p);
    za_free(p);
    KIT_SURVIVED();
}

UNIT_TEST(double_free_found_at_home)
{
    kit_start();
    kit_must_die(KIT_DOUBLE);
    void *p = za_malloc(100), *q = za_malloc(100);
    za_free(p);
    za_free(q);
    za_free(p);
    (void)za_trim();
    KIT_SURVIVED();
}

UNIT_TEST(small_interior)
{
    kit_start();
    kit_must_die(KIT_INTERIOR);
    za_free((char *)za_malloc(100) + 16);
    KIT_SURVIVED();
}

UNIT_TEST(interior_of_a_span_of_several_units)
{
    kit_start();
    kit_must_die(KIT_INTERIOR);
    char *p = za_malloc(24 * ZA_KIB);
    while (((uintptr_t)p - za_heap_base) % ZA_UNIT_SIZE + 24 * ZA_KIB <= ZA_UNIT_SIZE)
        p = za_malloc(24 * ZA_KIB);
    za_free((void *)za_align_up((uintptr_t)p, ZA_UNIT_SIZE));
    KIT_SURVIVED();
}

UNIT_TEST(large_double_free)
{
    kit_start();
    kit_must_die(KIT_NOTHING);
    void *p = za_malloc(1 << 20);
    za_free(p);
    za_free(p);
    KIT_SURVIVED();
}

UNIT_TEST(large_interior)
{
    kit_start();
    kit_must_die(KIT_INTERIOR);
    za_free((char *)za_malloc(1 << 20) + 200000);
    KIT_SURVIVED();
}

UNIT_TEST(reserved_but_never_used)
{
    kit_start();
    kit_must_die(KIT_NOTHING);
    (void)za_malloc(1);
    za_free((void *)(za_heap_base + za_heap_size - 4096));
    KIT_SURVIVED();
}

UNIT_TEST(realloc_of_an_interior_pointer)
{
    kit_start();
    kit_must_die(KIT_INTERIOR);
    (void)za_realloc((char *)za_malloc(1 << 20) + 4096, 10);
    KIT_SURVIVED();
}

/* --- foreign ------------------------------------------------------------- */

static void *foreign;

static void take_foreign(void *p)
{
    foreign = p;
}

UNIT_TEST(foreign_pointers_go_their_way)
{
    int here;
    kit_start();
    za_free(&here); /* nobody asked: ignored */
    za_free_foreign = take_foreign;
    za_free(&here);
    CHECK(foreign == &here);
    CHECK(!za_owns(&here));
    CHECK_EQ(za_usable(&here), 0);
}
