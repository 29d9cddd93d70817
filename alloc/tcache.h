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
 * A thread may sleep for ever, and there may be no worker to take from it what it holds: so what
 * all caches together may hold is bounded, by ZA_TCACHE_TOTAL or 1/64 of the heap, whichever is
 * more.  A thread alone may take ZA_TCACHE_BYTES of that.  Once three quarters are taken a bin deepens only
 * within its thread's even share, and a thread that sweeps and has more gives back half.  A bin of
 * a thread that finds nothing left holds a single slot.
 *
 * A thread that ends leaves its bins as they are to the next that is born, unless all that is left so
 * could hold more than ZA_TCACHE_LEGACY then, or caches are crowded, or nothing is to be kept (dirty_decay_ms
 * 0): a server that makes a thread for each request needs no lock for their slots.  (A fork's child
 * inherits the caches of all threads that it does not have.)  What nobody has inherited between two looks
 * of the worker (alloc/gather.h), or by the next decay where there is none, is given back.
 *
 *  I1  base[0] is NULL; base < = top <= limit; the slots of a bin are base[1] .. *top, but for
 *      holes (NULL) that the worker has left there (alloc/gather.h).
 *  I2  Every slot in a bin is out of its span and with nobody else.
 *  I3  bytes = the sum over all bins with an array of depth * slot size, and the pocket's room.
 *  I4  The sum of bytes over all caches is at most the bound, but for the single slots and for what
 *      threads that ask at the same moment may add.
 *
 * Lock key: (o) the owning thread only, and what alloc/gather.h lets the worker do; (a) atomic;
 * (t) ZA_RANK_THREADS; (g) ZA_RANK_GATHER; an orphan's (o) is under (t), or belongs to whoever empties it.
 * Locks: ZA_RANK_THREADS inside (birth, death).  May sleep: there, and in central.  May fault: no.
 * Allocates: meta.
 */
#ifndef ZA_ALLOC_TCACHE_H
#define ZA_ALLOC_TCACHE_H

#include "alloc/class.h"
#include "alloc/pocket.h"

#define ZA_TCACHE_BYTES (8 * ZA_MIB)
#define ZA_TCACHE_TOTAL (16 * ZA_MIB)
#define ZA_TCACHE_LEGACY (1 * ZA_MIB)

struct za_bin_rest {
    void **base;     /* (o) the sentinel; NULL: no array yet */
    uint16_t room;   /* (o) pointers in the array, sentinel included */
    uint8_t depth;   /* (o) limit - base */
    uint8_t batches; /* (o) refills and flushes since the last change of depth or sweep */
};

/*
 * Born:  on its thread's first slow path, or taken over from the list of the recycled, slots and
 * all. Owned: its thread.  An orphan (its thread is gone, by exit or by fork) is in the recycled
 * list, or in that of the bare ones, or whoever is about to empty it has it.  Dies:  never; it is recycled.
 */
struct za_tcache {
    struct za_bin_rest rest[ZA_CLASS_LAST + 1];
    struct za_pocket pocket; /* (o) */
    size_t bytes;            /* (o) I3 */
    uint64_t refills;        /* (o) */
    uint64_t flushes;        /* (o) */
    uint32_t events;         /* (o) slow paths since the last sweep */
    uint32_t busy;           /* (o a) in a slow path: a fork now leaves the bins unreliable */
    uint32_t gate;           /* (a) not 0: closed to slow paths; futex word */
    uint32_t holes;          /* (o a) the worker has left some; it sets this behind the gate */
    bool idle;               /* (t) to be visited */
    uint64_t seen, given;    /* (t) how it looked the last time, and when it was emptied */
    struct za_tcache *next;  /* (t) */
    struct za_tcache **link; /* (t) what points here */
    /*
     * Of each bin. Apart: free finds top by one instruction, and the next malloc waits for it.
     * Not at the beginning of a page, which is where a span's first slots are: a load waits for
     * stores to the same place in another page.
     */
    void **top[ZA_CLASS_LAST + 1];   /* (o) */
    void **limit[ZA_CLASS_LAST + 1]; /* (o) the highest top may be */
};

#pragma GCC visibility push(hidden)
extern __thread struct za_tcache *za_tcache __attribute__((tls_model("initial-exec")));
extern struct za_tcache za_tcache_none;
#pragma GCC visibility pop

/* Waits until the gate is open, and closes up the holes (gather.c). */
void za_tcache_meet(struct za_tcache *tc);

/*
 * What is between these two a fork in another thread makes unreliable, and the worker keeps away
 * from. The worker's barrier is what orders busy before gate.
 */
ZA_INLINE void za_tcache_begin(struct za_tcache *tc)
{
    __atomic_store_n(&tc->busy, 1, __ATOMIC_RELAXED);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    if (ZA_UNLIKELY(__atomic_load_n(&tc->gate, __ATOMIC_ACQUIRE) ||
                    __atomic_load_n(&tc->holes, __ATOMIC_RELAXED)))
        za_tcache_meet(tc);
}

ZA_INLINE void za_tcache_end(struct za_tcache *tc)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    __atomic_store_n(&tc->busy, 0, __ATOMIC_RELEASE);
}

/* Counts so much more towards what the thread and all threads may hold; false: it would be too
 * much. */
bool za_tcache_charge(struct za_tcache *tc, size_t bytes);
void za_tcache_refund(struct za_tcache *tc, size_t bytes);

/* The slow half of malloc: a slot, or NULL. */
void *za_tcache_refill(unsigned cls);
/* The slow half of free: p is a checked start of a slot. */
void za_tcache_flush(unsigned cls, void *p);
/* Gives back every slot of the calling thread. */
void za_tcache_empty(void);
/* Between begin and end: moves what is left over the holes. */
void za_tcache_close_up(struct za_tcache *tc);
/* Paranoid: I1-I3 of the calling thread's cache. */
void za_tcache_check(void);

/* For alloc/caches.c, of a cache that is the caller's. */
void za_tcache_clear(struct za_tcache *tc);       /* no bin has an array */
void za_tcache_drop(struct za_tcache *tc);        /* gives back all it has */
void za_tcache_drop_pocket(struct za_tcache *tc); /* gives back the runs */
/* What an unreliable cache holds is nobody's: those slots stay out for ever. */
void za_tcache_forget(struct za_tcache *tc);
size_t za_tcache_holds(const struct za_tcache *tc); /* bytes in its bins */
bool za_tcache_crowded(void);                       /* three quarters of I4 are taken */
size_t za_tcache_all_bytes(void);                   /* I4's sum */

#endif
