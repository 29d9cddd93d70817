/* SPDX-License-Identifier: MIT */
/*
 * page -- the page record: one 64-bit word per page of the region, and the rules for changing it.
 *
 * THEORY
 *
 * A page of the region is in one of three places: where the program put it (the heap address), at
 * the same offset in the mirror (limbo: taken out by UFFDIO_MOVE, bytes untouched), or in the blob
 * store. The record says which, and who is working on it. Three parties meet here:
 *
 *   the program  touches heap addresses; if the page is not there the kernel stops the thread and
 *                sends a message. It never reads or writes records, except that a thread in a
 *                request waits for W.
 *   W, worker    takes pages out, packs them, drops dead ones, frees blobs. Only W moves pages into
 *                the mirror.
 *   F, fault     brings pages back. One thread; never waits for W, for a lock, or for the program.
 *
 * How pages are moved is the back-end's (mover.h): what is said of MOVE here is UFFDIO_MOVE; the
 * rules that differ where mremap and copying stand in for it are in remap.c.
 *
 * Records change by compare-and-swap only. A state names its owner:
 * who put it there, and who may change it.
 *
 *   KERNEL     nobody     the page is at its heap address, or nowhere (a hole, which reads as
 *                         zeros)
 *   MOVING     W          W's MOVE to the mirror is under way; the page was seen present before
 *   LIMBO      nobody     in the mirror
 *   PACKING    W, F takes in the mirror; W is copying and compressing it
 *   RETURNING  W, F takes W is moving it from the mirror to the heap
 *   STORED     nobody     in the blob `id`, as page `index` of it; the mirror may still hold a dead
 *                         copy
 *   BACK       F          F is moving it from the mirror to the heap
 *   FILLING    F          F is restoring it from its blob, whose reference is F's now, or (blob 0)
 *                         filling a hole
 *
 *   KERNEL -W-> MOVING -W-> LIMBO -W-> PACKING -W-> STORED -F-> FILLING -F-> KERNEL
 *          -F-> FILLING -F-> KERNEL
 *   MOVING -W-> KERNEL (refused); LIMBO, PACKING, RETURNING -F-> BACK -F-> KERNEL;
 *   BACK -F-> the state before, when there was nothing to move
 *   PACKING -W-> RETURNING -W-> KERNEL or LIMBO; PACKING -W-> LIMBO (looked at only);
 *   PACKING, LIMBO, STORED -W-> KERNEL (contents dropped)
 *
 * Invariants
 * I1  The bytes of a live page are in exactly one place that counts: heap in KERNEL, mirror in
 *     LIMBO, PACKING and BACK, either of the two in MOVING and RETURNING, blob in STORED and
 *     FILLING.
 * I2  F owns a record (BACK, FILLING) before it changes what is mapped at the page: a message may
 *     be older than the record, and an unclaimed answer to it would be given to another page's
 *     life.
 * I3  Only W puts pages into the mirror (F only a page of zeros, for W to read: I6). Hence W may
 *     purge the mirror of any page whose record is KERNEL, STORED or FILLING, whenever it likes;
 *     and what a MOVE finds there (EEXIST) is nothing.
 * I4  F never waits: for every state there is a step that it takes alone; in MOVING, to leave the
 *     thread asleep (I11). W may wait for F: BACK and FILLING end soon.
 * I5  A blob reference belongs to the STORED record; the compare-and-swap that takes the record out
 *     of STORED takes the reference with it. The blob is freed by the last reference
 *     (compress/store.h).
 * I6  W's copy of a PACKING page may be torn by F taking the page away (the mirror then reads as
 *     zeros: F fills the hole). The commit is a compare-and-swap from PACKING, which then fails: a
 *     torn copy is never committed.
 * I7  Zeroing dead bytes happens in W's copy only. Liveness is read after the page has left the
 *     program's reach and after a barrier on all threads, so that a byte written before is a byte
 *     known live.
 * I8  From za_pager_prefork until the child has its own fault thread W is parked and F changes no
 *     record and moves no page (window mode: it copies), so parent's and child's records, blobs and
 *     mirrors are of one moment. Pages restored meanwhile are found by reconciling records with
 *     what is present, in parent and child, before W takes its next step.
 * I9  W drops contents by taking the record to KERNEL first and purging the mirror afterwards: F
 *     never reads a mirror page that W may purge (it would wait for itself).
 * I10 A child made without our handlers is given, from the records, what is out; W takes nothing away
 *     meanwhile that the program gave up after the child was made (calm.c).
 * I11 A page in MOVING is touched by W alone, since the kernel may move it without saying so (move.c):
 *     F, were it to bring the page back, might see it moved once more. F says that somebody waits and
 *     looks at the record again; W takes the record out of MOVING and looks whether somebody waits.
 *     Both in sequentially consistent order: one of them sees the other, and wakes the thread.
 *
 * What can still go wrong, and what happens: the store has no memory (page returns, counted); MOVE
 * refuses (page stays, counted by reason); a checksum differs (fatal, I1 is broken: never return
 * garbage); the kernel has no memory for a restore (F retries: the thread that faulted sleeps on,
 * as it would under swap).
 */
#ifndef ZA_PAGER_PAGE_H
#define ZA_PAGER_PAGE_H

#include "base/base.h"

enum za_page_state {
    ZA_PAGE_KERNEL,
    ZA_PAGE_MOVING,
    ZA_PAGE_LIMBO,
    ZA_PAGE_PACKING,
    ZA_PAGE_RETURNING,
    ZA_PAGE_STORED,
    ZA_PAGE_BACK,
    ZA_PAGE_FILLING
};

/* Pages are packed together in clusters: up to this many neighbours share a blob. */
#define ZA_CLUSTER_PAGES 4u

/* A record: bits 0-3 state, 4-7 index of the page in its blob, 32-63 blob id. */
typedef uint64_t za_page; /* a value read from a record; the record itself is an atomic word */

ZA_INLINE enum za_page_state za_page_state(za_page r)
{
    return (enum za_page_state)(r & 15);
}

ZA_INLINE unsigned za_page_index(za_page r)
{
    return (unsigned)(r >> 4) & 15;
}

ZA_INLINE uint32_t za_page_blob(za_page r)
{
    return (uint32_t)(r >> 32);
}

ZA_INLINE za_page za_page_make(enum za_page_state s, unsigned index, uint32_t blob)
{
    return (uint64_t)s | (uint64_t)index << 4 | (uint64_t)blob << 32;
}

/* What the mirror holds of the page, if anything, counts no more (I3). */
ZA_INLINE bool za_page_mirror_dead(za_page r)
{
    enum za_page_state s = za_page_state(r);
    return s == ZA_PAGE_STORED || s == ZA_PAGE_KERNEL || s == ZA_PAGE_FILLING;
}

/*
 * Acquire: what the state promises (bytes in the mirror, blob in the store)
 * is visible to the reader.
 */
ZA_INLINE za_page za_page_get(const uint64_t *rec)
{
    return __atomic_load_n(rec, __ATOMIC_ACQUIRE);
}

ZA_INLINE bool za_page_swap(uint64_t *rec, za_page from, za_page to)
{
    return __atomic_compare_exchange_n(rec, &from, to, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

/* By the owner of the present state only. */
ZA_INLINE void za_page_set(uint64_t *rec, za_page to)
{
    __atomic_store_n(rec, to, __ATOMIC_RELEASE);
}

#endif
