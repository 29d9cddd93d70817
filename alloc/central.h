/* SPDX-License-Identifier: MIT */
/*
 * central -- per size class: the spans with free slots, and a transfer cache between threads.
 *
 * Thread caches come here for batches.  A batch coming in goes to the transfer cache as it is if
 * there is room, so that a thread that frees what another allocates costs one lock a batch; else
 * slot by slot to its spans, where every bit is checked.  A batch going out comes from the transfer
 * cache, else from the fullest span of those whose next slot is not out, lowest address first: what is new
 * and warm does not go to where everything is cold (doc/decisions/0022).
 *
 *  I1  Every slot in a transfer cache is out of its span and with nobody else.
 *  I2  A span all of whose slots are in is kept only while the class has no other span with a free
 * slot.
 *
 * Locks: ZA_RANK_CENTRAL inside, one class at a time, never across a call that may sleep on
 * anything but meta's lock. May sleep: on it; za_central_take and za_central_put in the page heap
 * without it.  May fault: no. Allocates: spans, and from meta the bitmaps and transfer caches.
 */
#ifndef ZA_ALLOC_CENTRAL_H
#define ZA_ALLOC_CENTRAL_H

#include "alloc/span.h"
#include "base/lock.h"

/*
 * Lock key: (c) lock; (a) also read without it.
 * Born:  static.   Owned: by its class.   Dies: never.
 */
struct za_central {
    struct za_lock lock;
    uint32_t list[ZA_SPAN_BUCKETS]; /* (c) first span by bucket, ZA_NO_UNIT: none */
    uint32_t spare;                 /* (c a) the empty span of I2, ZA_NO_UNIT: none */
    uint32_t nspans;                /* (c) spans of the class */
    uint32_t ntransfer;             /* (c a) slots in the transfer cache */
    uint32_t low;                   /* (c) the fewest there were since the last decay */
    size_t nfree;                   /* (c) slots that are in, over all spans */
    void **transfer;                /* (c) za_class_info.transfer pointers; NULL until first used */
} __attribute__((aligned(ZA_CACHELINE)));

extern struct za_central za_central[ZA_CLASS_LAST + 1];

void za_central_init(void);
/* Writes up to `want` slots to out[0 ..], the lowest address last; returns how many, 0: no memory.
 */
unsigned za_central_take(unsigned cls, void **out, unsigned want);
/* Takes n slots back. */
void za_central_put(unsigned cls, void **slots, unsigned n);
/* Gives up what nobody used since the last call: idle transfer slots, empty spans. */
void za_central_decay(unsigned cls);
/* Has it nothing to give up?  Reads without the lock. */
bool za_central_idle(unsigned cls);
/* Gives up all that. */
void za_central_trim(unsigned cls);
/* Paranoid: the class's spans, lists and transfer cache. */
void za_central_check(unsigned cls);

void za_central_prefork(void);
void za_central_postfork(void);

#endif
