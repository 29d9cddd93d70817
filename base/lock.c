/* SPDX-License-Identifier: MIT */
/*
 * lock -- the futex mutex, and in debug builds the check of its rank.
 *
 * I1  word is 0 (free), 1 (held) or 2 (held, and someone may be asleep on it); only the holder
 *     takes it from non-zero to 0.
 * I2  Whoever goes to sleep has set the word to 2 first, so the holder's unlock wakes one sleeper;
 *     that one sets 2 again, since it cannot know whether others still sleep.
 * I3  A thread's `mine` is more than 0 from before it takes its first lock, or begins to wait for it,
 *     until after it has given back the last.
 *
 * Locks: this is the lock.  May sleep: yes, in za_lock.  May fault: no.  Allocates: nothing.
 */
#include "base/lock.h"

#include "base/raw.h"
#include "base/stat.h"

/* Longer than our longest short section, shorter than a sleep and a wake. */
#define SPINS 100
#define SOON 10 /* times that */

static __thread uint32_t mine __attribute__((tls_model("initial-exec"))); /* I3 */

static inline void mine_more(void)
{
    mine++;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static inline void mine_less(void)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    mine--;
}

#ifdef ZA_DEBUG

static __thread uint16_t held[ZA_RANK_MAX]; /* locks of each rank this thread holds */

static uint32_t highest_held(void)
{
    uint32_t r = ZA_RANK_MAX - 1;

    while (r > ZA_RANK_NONE && !held[r])
        r--;
    return r;
}

static void rank_check(const struct za_lock *l)
{
    uint32_t top = highest_held();
    bool in_order = l->rank > top || (l->rank == top && held[ZA_RANK_FORK] && top > ZA_RANK_FORK);

    ZA_ASSERT(l->rank > ZA_RANK_NONE && l->rank < ZA_RANK_MAX);
    if (!in_order)
        za_fatal("lock taken out of rank order");
}

static void rank_taken(const struct za_lock *l)
{
    held[l->rank]++;
}

static void rank_dropped(const struct za_lock *l)
{
    if (!held[l->rank])
        za_fatal("lock released by a thread that does not hold it");
    held[l->rank]--;
}

#else

static inline void rank_check(const struct za_lock *l)
{
    (void)l;
}

static inline void rank_taken(const struct za_lock *l)
{
    (void)l;
}

static inline void rank_dropped(const struct za_lock *l)
{
    (void)l;
}

#endif

void za_lock_init(struct za_lock *l, enum za_rank rank)
{
    *l = (struct za_lock)ZA_LOCK_INIT(rank);
}

static bool take(struct za_lock *l)
{
    uint32_t expected = 0;

    return __atomic_compare_exchange_n(&l->word, &expected, 1, false, __ATOMIC_ACQUIRE,
                                       __ATOMIC_RELAXED);
}

static bool take_spinning(struct za_lock *l)
{
    for (int i = 0; i < SPINS; i++) {
        if (__atomic_load_n(&l->word, __ATOMIC_RELAXED) == 0 && take(l))
            return true;
        za_raw_pause();
    }
    return false;
}

static ZA_NOINLINE void take_slow(struct za_lock *l)
{
    za_stat_add(ZA_STAT_LOCK_WAITS, 1);
    if (take_spinning(l))
        return;
    za_stat_add(ZA_STAT_LOCK_SLEEPS, 1);
    while (__atomic_exchange_n(&l->word, 2, __ATOMIC_ACQUIRE) != 0) /* I2 */
        za_raw_futex_wait(&l->word, 2);
}

void za_lock(struct za_lock *l)
{
    rank_check(l);
    mine_more();
    if (ZA_UNLIKELY(!take(l)))
        take_slow(l);
    rank_taken(l);
}

bool za_trylock(struct za_lock *l)
{
    mine_more();
    if (!take(l)) {
        mine_less();
        return false;
    }
    rank_taken(l);
    return true;
}

bool za_lock_soon(struct za_lock *l)
{
    bool got = za_trylock(l);
    for (int i = 0; i < SOON && !got; i++) {
        mine_more();
        got = take_spinning(l);
        if (got)
            rank_taken(l);
        else
            mine_less();
    }
    return got;
}

/*
 * Signals do not lengthen it.  A wake that comes at the last moment is another sleeper's loss if this one goes
 * without a last try.
 */
static bool take_late(struct za_lock *l, uint64_t ns)
{
    za_stat_add(ZA_STAT_LOCK_WAITS, 1);
    if (take_spinning(l))
        return true;
    za_stat_add(ZA_STAT_LOCK_SLEEPS, 1);
    uint64_t now = za_raw_now(), end = now + ns;
    while (__atomic_exchange_n(&l->word, 2, __ATOMIC_ACQUIRE) != 0) { /* I2 */
        now = za_raw_now();
        if (now >= end)
            return false;
        za_raw_futex_wait_for(&l->word, 2, end - now);
    }
    return true;
}

bool za_lock_within(struct za_lock *l, uint64_t ns)
{
    rank_check(l);
    mine_more();
    if (ZA_LIKELY(take(l)) || take_late(l, ns)) {
        rank_taken(l);
        return true;
    }
    mine_less();
    return false;
}

void za_unlock(struct za_lock *l)
{
    rank_dropped(l);
    uint32_t was = __atomic_exchange_n(&l->word, 0, __ATOMIC_RELEASE);
    ZA_ASSERT(was != 0);
    if (ZA_UNLIKELY(was == 2))
        za_raw_futex_wake_one(&l->word);
    mine_less();
}

bool za_lock_any(void)
{
    return mine != 0;
}
