/* SPDX-License-Identifier: MIT */
/*
 * lock -- a four-byte futex mutex with a rank, and the one order all locks are taken in.
 *
 * Refuses to be recursive.  A zeroed struct with a rank is an unlocked lock.  In ZA_DEBUG builds
 * the ranks a thread holds are checked (thread-local counts): taking a rank at or below one held
 * asserts; only a thread that holds ZA_RANK_FORK may take several locks of one rank, because the
 * fork handlers take every size class's lock.  A try never waits, or not for long, and is not checked.
 *
 * The slow path sleeps in FUTEX_WAIT_PRIVATE (raw system call, errno untouched) after a short spin.
 * After fork the child owns what the forking thread held and simply unlocks it.
 *
 * A signal handler may ask whether the thread that it has interrupted holds a lock, or waits for one.
 * The number of these is the thread's own: a child has that of the thread it is a copy of, however it
 * was made.  Only where what was held is reset there (pager/fork.c), and the handler never returns,
 * does it stay too high, which costs what za_lock_any costs, and is never wrong.
 */
#ifndef ZA_BASE_LOCK_H
#define ZA_BASE_LOCK_H

#include "base/base.h"

/* Acquisition order: a thread may take only ranks greater than all it holds. */
enum za_rank {
    ZA_RANK_NONE,
    ZA_RANK_FORK,    /* one fork at a time */
    ZA_RANK_INIT,    /* process initialisation */
    ZA_RANK_CTL,     /* one zallctl request to the worker at a time */
    ZA_RANK_GATHER,  /* one look at sleeping threads' caches at a time */
    ZA_RANK_THREADS, /* list of thread caches */
    ZA_RANK_CENTRAL, /* a size class's partial spans and transfer cache (one of each at a time) */
    ZA_RANK_HEAP,    /* page heap */
    ZA_RANK_META,    /* metadata memory */
    ZA_RANK_MAX
};

struct za_lock {
    uint32_t word; /* 0 free, 1 held, 2 held with waiters; accessed atomically */
    uint32_t rank;
};

#define ZA_LOCK_INIT(r) \
    { \
        0, (r) \
    }

void za_lock_init(struct za_lock *l, enum za_rank rank);
void za_lock(struct za_lock *l);
bool za_trylock(struct za_lock *l);
/* Tries for some ten microseconds, for who can do without: the holder may be stopped, for ever. */
bool za_lock_soon(struct za_lock *l);
/* Waits for `ns` at most, and a little longer; true: the lock is had. */
bool za_lock_within(struct za_lock *l, uint64_t ns);
void za_unlock(struct za_lock *l);
/* In a signal handler: has the calling thread, or will it have, a lock that it cannot give back? */
bool za_lock_any(void);

#endif
