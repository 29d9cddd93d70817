/* SPDX-License-Identifier: MIT */
/*
 * caches -- the caches of all threads (alloc/tcache.h): their birth, their end, and what is left.
 *
 *  I1  A cache is in exactly one list: alive, of a thread; recycled or bare, of the orphans that may hold
 *      something and those that hold nothing; emptying, an orphan somebody has taken out of recycled to
 *      give back what it holds.
 *  I2  legacy = the sum of bytes over recycled.
 *
 * Locks: ZA_RANK_THREADS inside.  May sleep: on it, and in central.  May fault: no.  Allocates: meta.
 */
#ifndef ZA_ALLOC_CACHES_H
#define ZA_ALLOC_CACHES_H

#include "alloc/tcache.h"

/* The calling thread's cache, made if need be; NULL: it lives without one. */
struct za_tcache *za_tcache_mine(void);
/* Called once on a thread when it got a cache, without any lock; may allocate.  Set by preload.c.
 */
extern void (*za_thread_born)(void);

size_t za_caches_threads(void); /* that have one; not exact meanwhile */

/* For alloc/gather.c.  Looks at all caches; then those that look as they did the last time, or all, at most
 * `most` of them with each call. */
void za_tcache_look(bool all);
unsigned za_tcache_idle(struct za_tcache **out, unsigned most);
/* Gives back the slots of caches without a thread. */
void za_tcache_empty_orphans(void);
/* The same for malloc and free: not if the list's lock is held for long, by a thread that is not in this
 * process or was stopped. */
void za_tcache_decay_orphans(void);
/* The same for alloc/gather.c, of those that za_tcache_look found idle; how many bytes that were. */
size_t za_tcache_empty_idle_orphans(void);

struct za_tcache_stats {
    size_t threads, bytes;
    uint64_t refills, flushes, pocket_takes, pocket_puts;
};
void za_tcache_stats(struct za_tcache_stats *out);

void za_tcache_prefork(void);
void za_tcache_postfork_parent(void);
void za_tcache_postfork_child(void);

#endif
