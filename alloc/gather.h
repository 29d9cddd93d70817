/* SPDX-License-Identifier: MIT */
/*
 * gather -- what the caches of sleeping threads hold goes back, without their help.
 *
 * THEORY
 *
 * Only its own thread takes from a cache and puts there, without a lock and without an atomic
 * operation; a thread that sleeps for ever would keep what it has for ever.  The worker takes it
 * away, at the fast paths' cost of nothing at all: no instruction is added to them.
 *
 * A fast path touches two words of a bin: top, and the entry at top (to take) or above it (to put).
 * So whatever lies below the entry at top is the worker's to take, as soon as it is certain that the
 * thread does not come down to it meanwhile.  It cannot come down past an entry that is NULL: there
 * it finds the bin empty and takes the slow path, which is closed to it (the gate).
 *
 *   thread, slow path   busy = 1; while the gate is closed, wait; close up holes; ... ; busy = 0
 *   worker  1  closes the gate.  Barrier in all threads (membarrier).
 *           2  busy? then opens it and leaves this cache alone.
 *           3  holes = 1.  Of each bin: f = the entry below the one at top; x = exchange(*f, NULL), the fence.
 *           4  Barrier.
 *           5  top > f and *f is NULL: x and all below f are the worker's.  It leaves NULLs: holes.
 *              Else: compare-and-exchange (*f: NULL -> x); nothing of this bin is taken.
 *           6  opens the gate; gives the slots to the central lists.
 *
 *  I1  While the gate is closed and busy was 0 after the barrier, the thread is in fast paths only:
 *      depth, arrays and limits do not change.
 *  I2  Did the thread take x?  Then it had read x with top = f, and has stored, or has yet to store,
 *      top = f - 1.  Not yet: top = f, and step 5 sees that.  Since: top < f, or it has put
 *      something into *f on its way up, which is not NULL.  So step 5 says yes only if it did not;
 *      and from then on *f is NULL, and below f is out of its reach.
 *  I3  Step 5's "else" harms nobody: if the thread took x, then *f lies above top, where nothing counts,
 *      or has been overwritten, and the exchange fails; if it did not, x is back.
 *  I4  The entry at top stays.  It may be on its way out, and nobody could tell.
 *  I5  Depth is not given back: what the thread may hold (tcache.h, I3) it may fetch again unasked.
 *  I6  A put's contents: top is stored with release, and step 5 reads it with acquire.
 *
 * The pocket is a bin of runs: its entry is the length, whose 0 is its NULL, and n is its top.
 *
 * Which cache sleeps is only a guess: its tops and counters have not changed since the last look,
 * dirty_decay_ms ago.  A wrong one costs its thread a batch.  In torture mode all are said to sleep.
 *
 * A cache whose thread is gone (an orphan, tcache.h) needs none of this, if the list's lock is to be had: the
 * worker takes it off the list where threads that are born look, and empties it.
 *
 * fork: the handlers exclude a pass by its lock.  A child made without them may be born in the
 * middle of one: what the worker had in hand is nobody's there, which loses memory and what that
 * counts in the caches' bound, and a gate closed by a worker that did not come along does not count (each process's worker
 * closes with a number of its own).  A cache that has a hole says so: holes is set before the first.
 *
 * Every interleaving, with store buffers: tests/model/gather.c.  Idea: asymmetric fences by
 * membarrier, as in user-space RCU.
 *
 * Locks: ZA_RANK_GATHER for a pass; THREADS, CENTRAL, HEAP, META inside.  May sleep: yes.
 * May fault: no.  Allocates: one page.
 */
#ifndef ZA_ALLOC_GATHER_H
#define ZA_ALLOC_GATHER_H

#include "base/base.h"

/* W: looks, if it is time; returns bytes taken.  Not on a thread that is in a slow path. */
size_t za_gather(uint64_t now_ns);

void za_gather_prefork(void);
void za_gather_postfork_parent(void);
void za_gather_postfork_child(void);

#endif
