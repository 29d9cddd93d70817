/* SPDX-License-Identifier: MIT */
/*
 * alloc_threads -- four threads that free each other's blocks, producers and consumers, and fork
 * among them.
 */
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/lock.h"
#include "base/stat.h"
#include "tests/unit/alloc_kit.h"

#define THREADS 4
#define SLOTS 512
#define ROUNDS 60000

struct head {
    size_t size;
    unsigned char cookie;
};

static struct head *slot[SLOTS];

static void check_and_free(struct head *h)
{
    if (!h)
        return;
    struct head copy = *h;
    CHECK(kit_signed(h + 1, copy.size - sizeof(*h), copy.cookie));
    za_free(h);
}

static void *swap_blocks(void *arg)
{
    struct kit_random r = {(uintptr_t)arg * 7919 + 1};
    for (int i = 0; i < ROUNDS; i++) {
        size_t size = kit_size(&r) % 200000 + sizeof(struct head) + KIT_COOKIE;
        struct head *h = za_malloc(size);
        CHECK(h);
        h->size = size;
        h->cookie = (unsigned char)kit_next(&r);
        kit_sign(h + 1, size - sizeof(*h), h->cookie);
        check_and_free(__atomic_exchange_n(&slot[kit_next(&r) % SLOTS], h, __ATOMIC_ACQ_REL));
        if (i % 20000 == 0)
            (void)za_trim();
    }
    za_thread_exit();
    return NULL;
}

static void start_threads(pthread_t *t, int n, void *(*fn)(void *))
{
    for (intptr_t i = 0; i < n; i++)
        CHECK_EQ(pthread_create(&t[i], NULL, fn, (void *)(i + 1)), 0);
}

static void join_threads(const pthread_t *t, int n)
{
    for (int i = 0; i < n; i++)
        CHECK_EQ(pthread_join(t[i], NULL), 0);
}

static void expect_empty(void)
{
    for (int i = 0; i < SLOTS; i++) {
        check_and_free(slot[i]);
        slot[i] = NULL;
    }
    (void)za_trim();
    za_alloc_check();
    za_alloc_stats();
    CHECK_EQ(za_stat_get(ZA_STAT_HEAP_ALLOCATED), 0);
}

UNIT_TEST(blocks_change_hands)
{
    pthread_t t[THREADS];
    kit_start();
    start_threads(t, THREADS, swap_blocks);
    join_threads(t, THREADS);
    expect_empty();
}

/* --- producer and consumer ----------------------------------------------- */

static void *belt[64];

static void *produce(void *arg)
{
    for (int i = 0; i < 200000; i++) {
        void **p = za_malloc(64), *none = NULL;
        *p = arg;
        while (!__atomic_compare_exchange_n(&belt[i % 64], &none, p, false, __ATOMIC_RELEASE,
                                            __ATOMIC_RELAXED)) {
            none = NULL;
            sched_yield();
        }
    }
    za_thread_exit();
    return NULL;
}

static void *consume(void *arg)
{
    for (int i = 0; i < 200000; i++) {
        void **p;
        while (!(p = __atomic_exchange_n(&belt[i % 64], NULL, __ATOMIC_ACQUIRE)))
            sched_yield();
        CHECK(*p != arg);
        za_free(p);
    }
    za_thread_exit();
    return NULL;
}

UNIT_TEST(one_allocates_the_other_frees)
{
    pthread_t p, c;
    kit_start();
    CHECK_EQ(pthread_create(&p, NULL, produce, belt), 0);
    CHECK_EQ(pthread_create(&c, NULL, consume, NULL), 0);
    join_threads(&p, 1);
    join_threads(&c, 1);
    expect_empty();
    /* What is under way bounds what was ever needed. */
    CHECK(za_stat_get(ZA_STAT_HEAP_COMMITTED) <= 8 * ZA_MIB);
}

/* --- fork ---------------------------------------------------------------- */

static struct za_lock one_fork = ZA_LOCK_INIT(ZA_RANK_FORK);
static bool stop;

static void *churn(void *arg)
{
    struct kit_random r = {(uintptr_t)arg + 10};
    void *p[50] = {0};
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        uint64_t k = kit_next(&r) % 50;
        za_free(p[k]);
        p[k] = za_malloc(kit_next(&r) % 3000);
        memset(p[k], (int)k, 8);
    }
    for (int i = 0; i < 50; i++)
        za_free(p[i]);
    za_thread_exit();
    return NULL;
}

static void child_life(void)
{
    struct kit_random r = {3};
    static void *p[1000];
    for (int i = 0; i < 1000; i++)
        memset(p[i] = za_malloc(kit_next(&r) % 5000), i, 4);
    za_alloc_check();
    for (int i = 0; i < 1000; i++)
        za_free(p[i]);
    (void)za_trim();
    za_alloc_check();
}

UNIT_TEST(children_of_a_busy_process_allocate)
{
    pthread_t t[2];
    kit_start();
    (void)za_malloc(10);
    start_threads(t, 2, churn);
    for (int i = 0; i < 30; i++) {
        za_lock(&one_fork);
        za_alloc_prefork();
        pid_t pid = fork();
        if (pid == 0) {
            za_alloc_postfork_child();
            za_unlock(&one_fork);
            child_life();
            _exit(0);
        }
        za_alloc_postfork_parent();
        za_unlock(&one_fork);
        int status;
        CHECK(waitpid(pid, &status, 0) == pid);
        CHECK_EQ(status, 0);
    }
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    join_threads(t, 2);
    (void)za_trim();
    za_alloc_check();
}
