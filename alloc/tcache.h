/* SPDX-License-Identifier: MIT */
/*
 * tcache -- a thread's own slots: per class a stack of pointers, so that most mallocs and frees
 * take no lock.
 *
 * A bin is a stack growing upwards from a NULL sentinel; its top is the last freed.  A thread
 * without a cache points at one static cache whose bins are all empty and full at once, so that the
 * fast paths need no question whether there is one.  Depth follows use: it doubles while a bin
 * keeps coming for batches, and halves with a sweep that finds it unused.
 *
 * Nobody but its thread can empty a cache, and a thread may sleep for ever: so what all caches
 * together may hold is bounded, by ZA_TCACHE_TOTAL or 1/64 of the heap, whichever is more.  A
 * thread alone may take ZA_TCACHE_BYTES of that.  Once three quarters are taken a bin deepens only
 * within its thread's even share, and a thread that sweeps and has more gives back half.  A bin of
 * a thread that finds nothing left holds a single slot.
 *
 *  I1  base[0] is NULL; base < = top <= limit; the slots of a bin are base[1] .. *top.
 *  I2  Every slot in a bin is out of its span and with nobody else.
 *  I3  bytes = the sum over all bins with an array of depth * slot size, and the pocket's room.
 *  I4  The sum of bytes over all caches is at most the bound, but for the single slots and for what
 *      threads that ask at the same moment may add.
 *
 * Lock key: (o) the owning thread only; (t) ZA_RANK_THREADS; an orphan's (o) is under (t).
 * Locks: ZA_RANK_THREADS inside (birth, death).  May sleep: there, and in central.  May fault: no.
 * Allocates: meta.
 */
#ifndef ZA_ALLOC_TCACHE_H
#define ZA_ALLOC_TCACHE_H

#include "alloc/class.h"
#include "alloc/pocket.h"

#define ZA_TCACHE_BYTES (4 * ZA_MIB)
#define ZA_TCACHE_TOTAL (16 * ZA_MIB)

/* What the fast paths touch: four to a cache line. */
struct za_bin {
    void **top;   /* (o) */
    void **limit; /* (o) the highest top may be */
};

struct za_bin_rest {
    void **base;     /* (o) the sentinel; NULL: no array yet */
    uint16_t room;   /* (o) pointers in the array, sentinel included */
    uint8_t depth;   /* (o) limit - base */
    uint8_t batches; /* (o) refills and flushes since the last change of depth or sweep */
};

/*
 * Born:  on its thread's first slow path, or taken over from the list of the recycled, slots and
 * all. Owned: its thread.  An orphan (its thread is gone, by exit or by fork) is in the recycled
 * list. Dies:  never; it is recycled.
 */
struct za_tcache {
    struct za_bin bin[ZA_CLASS_LAST + 1];
    struct za_bin_rest rest[ZA_CLASS_LAST + 1];
    struct za_pocket pocket; /* (o) */
    size_t bytes;            /* (o) I3 */
    uint64_t refills;        /* (o) */
    uint64_t flushes;        /* (o) */
    uint32_t events;         /* (o) slow paths since the last sweep */
    uint32_t busy;           /* (o) in a slow path: a fork now leaves the bins unreliable */
    struct za_tcache *next;  /* (t) */
    struct za_tcache **link; /* (t) what points here */
};

#pragma GCC visibility push(hidden)
extern __thread struct za_tcache *za_tcache __attribute__((tls_model("initial-exec")));
extern struct za_tcache za_tcache_none;
#pragma GCC visibility pop

/* What is between these two a fork in another thread makes unreliable. */
ZA_INLINE void za_tcache_begin(struct za_tcache *tc)
{
    tc->busy = 1;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

ZA_INLINE void za_tcache_end(struct za_tcache *tc)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    tc->busy = 0;
}

/* The calling thread's cache, made if need be; NULL: it lives without one. */
struct za_tcache *za_tcache_mine(void);
/* Counts so much more towards what the thread and all threads may hold; false: it would be too
 * much. */
bool za_tcache_charge(struct za_tcache *tc, size_t bytes);
void za_tcache_refund(struct za_tcache *tc, size_t bytes);

/* Called once on a thread when it got a cache, without any lock; may allocate.  Set by preload.c.
 */
extern void (*za_thread_born)(void);

/* The slow half of malloc: a slot, or NULL. */
void *za_tcache_refill(unsigned cls);
/* The slow half of free: p is a checked start of a slot. */
void za_tcache_flush(unsigned cls, void *p);
/* Gives back every slot of the calling thread. */
void za_tcache_empty(void);
/* Gives back the slots of caches without a thread. */
void za_tcache_empty_orphans(void);

struct za_tcache_stats {
    size_t threads, bytes;
    uint64_t refills, flushes, pocket_takes, pocket_puts;
};
void za_tcache_stats(struct za_tcache_stats *out);
/* Paranoid: I1-I3 of the calling thread's cache. */
void za_tcache_check(void);

void za_tcache_prefork(void);
void za_tcache_postfork_parent(void);
void za_tcache_postfork_child(void);

#endif
