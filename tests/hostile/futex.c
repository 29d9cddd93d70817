/* SPDX-License-Identifier: MIT */
/*
 * futex -- locks and words that threads sleep on, in memory that goes cold below the sleepers.
 *
 * The kernel itself changes a futex word for the operations with priority inheritance and for
 * WAKE_OP, and it does so in a way that userfaultfd does not serve: for a private futex in a page
 * that is out they fail with EFAULT.  libc's mutexes must never meet that.
 */
#include "arena.h"

#include <linux/futex.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#define ROUNDS 300u
#define ROUNDS_MOST 100000u /* until somebody has had the lock, on a busy machine */
#define NTHREADS 3u

static struct arena arena;

static long futex(void *word, int op, uint32_t value, void *timeout, void *other, uint32_t value3)
{
    return syscall(SYS_futex, word, op, value, timeout, other, value3);
}

static void evict(void)
{
    (void)ctl("pager.evict", NULL, NULL, NULL, 0);
}

/* ---- by system call -----------------------------------------------------------------------------
 */

static void words(int private, const char *how)
{
    uint32_t *a = take(&arena, 4), *b = take(&arena, 4), *c = take(&arena, 4), *d = take(&arena, 4);
    struct timespec *ts = take(&arena, sizeof(*ts));
    char name[80];
    ts->tv_nsec = 1000000;
    *c = 5;
    cool(&arena);
    bool good = futex(a, FUTEX_WAIT | private, 1, ts, NULL, 0) < 0 && errno == EAGAIN;
    good = good && futex(b, FUTEX_WAIT_BITSET | private, 0, NULL, NULL, 0) < 0 && errno == EINVAL;
    good = good && futex(d, FUTEX_WAIT | private, 0, ts, NULL, 0) < 0 && errno == ETIMEDOUT;
    snprintf(name, sizeof(name), "wait%s", how);
    point(name, good);
    evict();
    good = futex(a, FUTEX_WAKE | private, 1, NULL, NULL, 0) == 0;
    good = good && futex(c, FUTEX_CMP_REQUEUE | private, 1, (void *)1, d, 4) < 0 && errno == EAGAIN;
    evict();
    good = good && futex(c, FUTEX_CMP_REQUEUE | private, 1, (void *)1, d, 5) == 0;
    snprintf(name, sizeof(name), "wake and requeue%s", how);
    point(name, good && *c == 5 && *a == 0);
    arena_again(&arena);
}

/* What the kernel finds by the page and not by the address it brings back first. */
static void shared_words(void)
{
    uint32_t *a = take(&arena, 4), *b = take(&arena, 4), *c = take(&arena, 4), *d = take(&arena, 4);
    cool(&arena);
    point("lock_pi of a shared futex", futex(a, FUTEX_LOCK_PI, 0, NULL, NULL, 0) == 0 &&
                                           (*a & FUTEX_TID_MASK) == (uint32_t)gettid());
    evict();
    point("unlock_pi of a shared futex", futex(a, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0) == 0 && !*a);
    const uint32_t set = FUTEX_OP(FUTEX_OP_SET, 7, FUTEX_OP_CMP_EQ, 0);
    point("wake_op of shared futexes",
          futex(b, FUTEX_WAKE_OP, 1, (void *)1, c, set) == 0 && *c == 7 && *b == 0);
    point("cmp_requeue_pi of shared futexes",
          futex(d, FUTEX_CMP_REQUEUE_PI, 1, (void *)1, a, 0) >= 0);
    arena_again(&arena);
}

/* ---- libc's locks -------------------------------------------------------------------------------
 */

struct guarded {
    pthread_mutex_t mutex;
    uint64_t count;
};

static volatile bool stop;

/* A lock that is held for a moment, while others wait for it and the worker takes pages out. */
static void *locker(void *arg)
{
    struct guarded *g = arg;
    uintptr_t bad = 0;
    while (!stop && !bad) {
        bad = (uintptr_t)pthread_mutex_lock(&g->mutex);
        for (volatile unsigned i = 0; i < 200; i++)
            ;
        g->count++;
        if (!bad)
            bad = (uintptr_t)pthread_mutex_unlock(&g->mutex);
    }
    return (void *)bad;
}

static void contend(const char *name, int protocol, int type, int robust)
{
    struct guarded *g = take(&arena, sizeof(*g));
    pthread_mutexattr_t attr;
    pthread_t t[NTHREADS];
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setprotocol(&attr, protocol);
    pthread_mutexattr_settype(&attr, type);
    pthread_mutexattr_setrobust(&attr, robust);
    bool good = pthread_mutex_init(&g->mutex, &attr) == 0;
    stop = false;
    for (unsigned i = 0; i < NTHREADS; i++)
        good &= pthread_create(&t[i], NULL, locker, g) == 0;
    for (unsigned i = 0;
         i < ROUNDS || (i < ROUNDS_MOST && !__atomic_load_n(&g->count, __ATOMIC_RELAXED)); i++)
        evict();
    stop = true;
    for (unsigned i = 0; i < NTHREADS; i++) {
        void *bad = NULL;
        good &= pthread_join(t[i], &bad) == 0 && !bad;
    }
    point(name, good && g->count > 0);
    pthread_mutexattr_destroy(&attr);
    pthread_mutex_destroy(&g->mutex);
}

static void *times_out(void *arg)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 50000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    return (void *)(intptr_t)pthread_mutex_timedlock(arg, &until);
}

/* Its waiter sleeps in the kernel and gives up when everything is cold. */
static void given_up(void)
{
    struct guarded *g = take(&arena, sizeof(*g));
    pthread_mutexattr_t attr;
    pthread_t t;
    void *result = NULL;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setprotocol(&attr, PTHREAD_PRIO_INHERIT);
    bool good = pthread_mutex_init(&g->mutex, &attr) == 0 && pthread_mutex_lock(&g->mutex) == 0 &&
                pthread_create(&t, NULL, times_out, &g->mutex) == 0;
    for (unsigned i = 0; i < 40; i++) {
        evict();
        sleep_ms(2);
    }
    good = good && pthread_join(t, &result) == 0 && (intptr_t)result == ETIMEDOUT;
    point("a waiter with priority inheritance gives up",
          good && pthread_mutex_unlock(&g->mutex) == 0);
    pthread_mutexattr_destroy(&attr);
}

/* ---- everything else that waits -----------------------------------------------------------------
 */

struct meeting {
    pthread_rwlock_t lock;
    pthread_barrier_t barrier;
    sem_t semaphore, back;
    pthread_spinlock_t spin;
    pthread_once_t once;
    uint64_t count;
};

static void do_once(void)
{
}

static void *meet(void *arg)
{
    struct meeting *m = arg;
    for (unsigned i = 0; i < 20; i++) {
        pthread_barrier_wait(&m->barrier);
        pthread_rwlock_wrlock(&m->lock);
        m->count++;
        pthread_rwlock_unlock(&m->lock);
        sem_wait(&m->semaphore);
        pthread_spin_lock(&m->spin);
        m->count++;
        pthread_spin_unlock(&m->spin);
        pthread_once(&m->once, do_once);
        sem_post(&m->back);
    }
    return NULL;
}

static void meetings(void)
{
    struct meeting *m = take(&arena, sizeof(*m));
    pthread_t t;
    pthread_rwlock_init(&m->lock, NULL);
    pthread_barrier_init(&m->barrier, NULL, 2);
    sem_init(&m->semaphore, 0, 0);
    sem_init(&m->back, 0, 0);
    pthread_spin_init(&m->spin, PTHREAD_PROCESS_PRIVATE);
    m->once = (pthread_once_t)PTHREAD_ONCE_INIT;
    pthread_create(&t, NULL, meet, m);
    for (unsigned i = 0; i < 20; i++) {
        evict();
        pthread_barrier_wait(&m->barrier);
        evict();
        pthread_rwlock_rdlock(&m->lock);
        pthread_rwlock_unlock(&m->lock);
        evict();
        sem_post(&m->semaphore);
        evict();
        sem_wait(&m->back);
    }
    pthread_join(t, NULL);
    point("rwlock, barrier, semaphores, spinlock, once", m->count == 40);
    arena_again(&arena);
}

int main(int argc, char **argv)
{
    if (!begin(argc, argv))
        return 77;
    arena = arena_new(12, 1);
    words(FUTEX_PRIVATE_FLAG, " on private futexes");
    words(0, " on shared futexes");
    shared_words();
    contend("a plain mutex", PTHREAD_PRIO_NONE, PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_STALLED);
    contend("a robust mutex", PTHREAD_PRIO_NONE, PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_ROBUST);
    contend("a mutex with priority inheritance", PTHREAD_PRIO_INHERIT, PTHREAD_MUTEX_NORMAL,
            PTHREAD_MUTEX_STALLED);
    contend("the same, recursive and robust", PTHREAD_PRIO_INHERIT, PTHREAD_MUTEX_RECURSIVE,
            PTHREAD_MUTEX_ROBUST);
    given_up();
    arena_again(&arena);
    meetings();
    return end();
}
