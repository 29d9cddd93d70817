/* SPDX-License-Identifier: MIT */
/*
 * base_lock -- exclusion and wake-ups with more threads than processors, and ranks that bite.
 */
#include "base/lock.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "tests/unit/unit.h"

#define NTHREADS 8
#define ROUNDS 20000

static struct za_lock lock = ZA_LOCK_INIT(ZA_RANK_HEAP);
static uint64_t plain_a, plain_b; /* written under the lock only; equal whenever it is free */

static void *add_up(void *arg)
{
    (void)arg;
    for (int i = 0; i < ROUNDS; i++) {
        za_lock(&lock);
        CHECK_EQ(plain_a, plain_b);
        plain_a++;
        if (i % 512 == 0)
            usleep(1); /* held across a reschedule: others spin out and sleep */
        plain_b++;
        za_unlock(&lock);
    }
    return NULL;
}

static void run_threads(void *(*fn)(void *))
{
    pthread_t t[NTHREADS];

    for (int i = 0; i < NTHREADS; i++)
        CHECK_EQ(pthread_create(&t[i], NULL, fn, NULL), 0);
    for (int i = 0; i < NTHREADS; i++)
        pthread_join(t[i], NULL);
}

UNIT_TEST(excludes_and_wakes)
{
    run_threads(add_up);
    CHECK_EQ(plain_a, NTHREADS * ROUNDS);
    CHECK_EQ(lock.word, 0);
}

static void *try_up(void *arg)
{
    (void)arg;
    for (int done = 0; done < ROUNDS / 10;) {
        if (!za_trylock(&lock))
            continue;
        plain_a++;
        za_unlock(&lock);
        done++;
    }
    return NULL;
}

UNIT_TEST(try_excludes)
{
    run_threads(try_up);
    CHECK_EQ(plain_a, NTHREADS * (ROUNDS / 10));
}

UNIT_TEST(try_does_not_wait)
{
    za_lock(&lock);
    CHECK(!za_trylock(&lock));
    za_unlock(&lock);
    CHECK(za_trylock(&lock));
    za_unlock(&lock);
}

UNIT_TEST(who_has_one_knows)
{
    struct za_lock a = ZA_LOCK_INIT(ZA_RANK_CENTRAL), b = ZA_LOCK_INIT(ZA_RANK_META);

    CHECK(!za_lock_any());
    za_lock(&a);
    CHECK(za_lock_any());
    CHECK(!za_trylock(&a));
    CHECK(za_trylock(&b));
    za_unlock(&a);
    CHECK(za_lock_any());
    za_unlock(&b);
    CHECK(!za_lock_any());
}

static void *try_soon(void *arg)
{
    bool got = za_lock_soon(&lock);
    CHECK_EQ(za_lock_any(), got);
    if (got)
        za_unlock(&lock);
    return got ? arg : NULL;
}

UNIT_TEST(soon_or_not_at_all)
{
    pthread_t t;
    void *got = NULL;
    for (int held = 0; held < 2; held++) {
        if (held)
            za_lock(&lock);
        CHECK_EQ(pthread_create(&t, NULL, try_soon, &lock), 0);
        CHECK_EQ(pthread_join(t, &got), 0);
        CHECK_EQ(got != NULL, !held);
    }
    za_unlock(&lock);
}

static bool waits; /* atomic */

static void see(int sig)
{
    (void)sig;
    __atomic_store_n(&waits, za_lock_any(), __ATOMIC_RELAXED);
}

static void *wait_for_it(void *arg)
{
    (void)arg;
    za_lock(&lock);
    za_unlock(&lock);
    return za_lock_any() ? arg : NULL;
}

UNIT_TEST(so_does_who_waits_for_one)
{
    pthread_t t;
    void *left = NULL;
    const struct sigaction sa = {.sa_handler = see};
    CHECK_EQ(sigaction(SIGUSR1, &sa, NULL), 0);
    za_lock(&lock);
    CHECK_EQ(pthread_create(&t, NULL, wait_for_it, &lock), 0);
    while (__atomic_load_n(&lock.word, __ATOMIC_RELAXED) != 2)
        usleep(100);
    CHECK_EQ(pthread_kill(t, SIGUSR1), 0);
    for (int i = 0; i < 5000 && !__atomic_load_n(&waits, __ATOMIC_RELAXED); i++)
        usleep(1000);
    CHECK(__atomic_load_n(&waits, __ATOMIC_RELAXED));
    za_unlock(&lock);
    CHECK_EQ(pthread_join(t, &left), 0);
    CHECK(!left);
}

static void *take_and_release(void *arg)
{
    (void)arg;
    errno = ENOTTY;
    za_lock(&lock);
    za_unlock(&lock);
    CHECK_EQ(errno, ENOTTY);
    return NULL;
}

UNIT_TEST(sleeper_is_woken_and_errno_kept)
{
    pthread_t t;

    za_lock(&lock);
    CHECK_EQ(pthread_create(&t, NULL, take_and_release, NULL), 0);
    while (__atomic_load_n(&lock.word, __ATOMIC_RELAXED) != 2)
        usleep(100);
    usleep(1000);
    za_unlock(&lock);
    pthread_join(t, NULL);
    CHECK_EQ(lock.word, 0);
}

UNIT_TEST(zeroed_with_a_rank_is_free)
{
    struct za_lock l = {0};

    l.rank = ZA_RANK_CTL;
    za_lock(&l);
    CHECK_EQ(l.word, 1);
    za_unlock(&l);
    za_lock_init(&l, ZA_RANK_META);
    CHECK_EQ(l.rank, ZA_RANK_META);
    CHECK_EQ(l.word, 0);
}

UNIT_TEST(ascending_ranks_are_fine)
{
    struct za_lock a = ZA_LOCK_INIT(ZA_RANK_CENTRAL), b = ZA_LOCK_INIT(ZA_RANK_META);

    for (int i = 0; i < 3; i++) {
        za_lock(&a);
        za_lock(&b);
        za_unlock(&a); /* in any order */
        za_unlock(&b);
    }
}

UNIT_TEST(fork_may_take_many_of_one_rank)
{
    struct za_lock f = ZA_LOCK_INIT(ZA_RANK_FORK);
    struct za_lock a = ZA_LOCK_INIT(ZA_RANK_CENTRAL), b = a, c = a;

    za_lock(&f);
    za_lock(&a);
    za_lock(&b);
    za_lock(&c);
    za_unlock(&b);
    za_unlock(&a);
    za_unlock(&c);
    za_unlock(&f);
}

static void *keep_it(void *arg)
{
    za_lock(&lock);
    __atomic_store_n((bool *)arg, true, __ATOMIC_RELEASE);
    while (__atomic_load_n((bool *)arg, __ATOMIC_ACQUIRE))
        usleep(100);
    za_unlock(&lock);
    return NULL;
}

UNIT_TEST(a_wait_may_have_an_end)
{
    pthread_t t;
    bool kept = false;
    CHECK_EQ(pthread_create(&t, NULL, keep_it, &kept), 0);
    while (!__atomic_load_n(&kept, __ATOMIC_ACQUIRE))
        usleep(100);
    CHECK(!za_lock_within(&lock, 20 * ZA_NS_PER_MS));
    CHECK(!za_lock_any());
    __atomic_store_n(&kept, false, __ATOMIC_RELEASE);
    CHECK(za_lock_within(&lock, 3600 * ZA_NS_PER_S));
    CHECK(za_lock_any());
    za_unlock(&lock);
    CHECK_EQ(pthread_join(t, NULL), 0);
    CHECK(za_lock_within(&lock, 0));
    za_unlock(&lock);
    CHECK_EQ(lock.word, 0);
}

#define OUT_OF_ORDER "zalloc: lock taken out of rank order"

UNIT_DIES(descending_ranks_die, OUT_OF_ORDER)
{
    struct za_lock a = ZA_LOCK_INIT(ZA_RANK_HEAP), b = ZA_LOCK_INIT(ZA_RANK_CENTRAL);

    za_lock(&a);
    za_lock(&b);
}

UNIT_DIES(equal_ranks_die, OUT_OF_ORDER)
{
    struct za_lock a = ZA_LOCK_INIT(ZA_RANK_CENTRAL), b = ZA_LOCK_INIT(ZA_RANK_CENTRAL);

    za_lock(&a);
    za_lock(&b);
}

UNIT_DIES(recursion_dies, OUT_OF_ORDER)
{
    za_lock(&lock);
    za_lock(&lock);
}

UNIT_DIES(fork_is_no_licence_to_descend, OUT_OF_ORDER)
{
    struct za_lock f = ZA_LOCK_INIT(ZA_RANK_FORK);
    struct za_lock a = ZA_LOCK_INIT(ZA_RANK_HEAP), b = ZA_LOCK_INIT(ZA_RANK_CENTRAL);

    za_lock(&f);
    za_lock(&a);
    za_lock(&b);
}

UNIT_DIES(tried_locks_count, OUT_OF_ORDER)
{
    struct za_lock a = ZA_LOCK_INIT(ZA_RANK_HEAP), b = ZA_LOCK_INIT(ZA_RANK_CENTRAL);

    CHECK(za_trylock(&a));
    za_lock(&b);
}

UNIT_DIES(two_forks_die, OUT_OF_ORDER)
{
    struct za_lock a = ZA_LOCK_INIT(ZA_RANK_FORK), b = ZA_LOCK_INIT(ZA_RANK_FORK);

    za_lock(&a);
    za_lock(&b);
}

UNIT_DIES(no_rank_dies, "zalloc: assertion failed: l->rank > ZA_RANK_NONE*")
{
    struct za_lock a = {0};

    za_lock(&a);
}

UNIT_DIES(unlock_without_lock_dies, "zalloc: lock released by a thread that does not hold it")
{
    za_unlock(&lock);
}
