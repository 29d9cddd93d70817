/* SPDX-License-Identifier: MIT */
/*
 * pager -- finds cold pages of a region, takes them out,
 * compresses them, and brings them back when touched.
 *
 * The face to the layers above.  Theory: doc/THEORY.md and pager/page.h.
 * A region has one owner, which offers liveness and memory to give back; the allocator is the
 * first.
 *
 * Thread safety: every function may be called on any thread of the program unless it says
 * otherwise. None of them allocates from the managed heap.  Those that wait for the worker say so.
 */
#ifndef ZA_PAGER_PAGER_H
#define ZA_PAGER_PAGER_H

#include "base/base.h"

/* What the owner of a region offers.  All are called on the worker, without any lock held. */
struct za_region_ops {
    /*
     * Liveness of one page: sets in `mask` (zeroed by the caller; one bit per 16-byte granule of
     * the page, bit i of word i / 64) every granule that holds a live byte, and returns how many
     * were set; 0: the page is wholly dead. Called while the page is out of the program's reach.
     * Must be safe against concurrent malloc and free; may err only towards "live", or for memory
     * that died or was born after the page left (whose contents are undefined).
     */
    size_t (*live)(uintptr_t page, size_t page_size, uint64_t *mask);
    /*
     * Give freed memory back (decay);
     * returns when it wants to be called next (ns, UINT64_MAX: no need).
     */
    uint64_t (*decay)(uint64_t now_ns);
    /*
     * What sort of things a page holds, told apart by a number: pages that share it are likely to
     * be alike. A hint, on the worker; may be NULL.
     */
    uint8_t (*kind)(uintptr_t page);
    /* Brings the owner's gauges up to date; may be NULL. */
    void (*stats)(void);
};

/*
 * Told by the owner once, before anything else:
 * where the region is (chunk-aligned, reserved, PROT_NONE).
 */
bool za_pager_init(uintptr_t base, size_t size, const struct za_region_ops *ops);

/*
 * Told by the owner whenever the used part [base, top) grows, after the memory is readable and
 * writable. `top` never falls.  Starts the threads once the size passes start_bytes.  Must be
 * cheap; never waits.
 */
void za_pager_grown(uintptr_t top);

/*
 * The contents of [addr, addr+len) (page-aligned, no live object inside) no longer matter: drop
 * blobs and give the memory back; it reads as zeros afterwards.  Waits for the worker when the
 * pager is active, unless on the worker; and only amid a fork for as long as it takes (who has stopped all
 * other threads does not wait for theirs). 0 or -errno.
 */
int za_pager_discard(uintptr_t addr, size_t len);

/*
 * The same, which does not wait for the worker where all of it is at its address, nor for a fork: -EBUSY,
 * amid a fork that takes long, or has been stopped, too.  Some of it may have its old contents then, now or
 * later.
 */
int za_pager_discard_soon(uintptr_t addr, size_t len);

/*
 * Is that page out, as far as anybody can tell who does not ask the worker?  No more than one word is read.
 */
bool za_pager_out(uintptr_t addr);

/*
 * Move the contents of [from, from+len) to [to, to+len) by page tables and records: resident pages
 * move, blobs follow, nothing is brought back.  Both page-aligned, not overlapping, `to` holds no
 * live object; `from` holds nothing afterwards and reads as zeros.  Waits for the worker.  -ENOSYS
 * when the pager is not active or the kernel cannot (caller copies); 0 done.
 */
int za_pager_relocate(uintptr_t from, uintptr_t to, size_t len);

/*
 * Why pages must stay where the program put them.  CALL: a system call is about to change them;
 * released afterwards, and nests.  The others are marks: a child gets zeros for it, a core dump
 * does not hold it, it is not our memory, the kernel writes to it when a thread ends; a mark ends
 * where a release covers a whole unit, THREAD also where its contents are discarded.
 */
enum za_pin { ZA_PIN_CALL, ZA_PIN_WIPE, ZA_PIN_DUMP, ZA_PIN_FOREIGN, ZA_PIN_THREAD };

/*
 * Every page of [addr, addr+len) that is out comes back, and none is taken out until it is
 * unpinned.  Wait for the worker.  A mark starts it, so that it is known from the beginning (THREAD
 * only when there are many: the first are noted for the worker that may come);
 * without a pager nothing needs pinning.  -ENOSYS: nothing was out, and there is nothing to unpin.
 */
int za_pager_pin(uintptr_t addr, size_t len, enum za_pin why);
void za_pager_unpin(uintptr_t addr, size_t len, enum za_pin why);
/* The same for everything, and for what is allocated later; and its end. */
void za_pager_keep_begin(void);
void za_pager_keep_end(void);
/* The back-end is one that does not itself see what the program locked, or keyed. */
bool za_pager_remaps(void);
/*
 * Is the calling thread in the middle of something of ours, or of the owner's locks: is this a signal
 * handler that has interrupted it there?  Then it must wait for no lock and for no request; discard,
 * pin and unpin, and nothing else that says it waits, do without (amid.c).
 */
bool za_pager_amid(void);
/* The region's shadow, which the program must not lock; 0: there is none. */
uintptr_t za_pager_mirror(size_t *len);

/*
 * Compress everything evictable now and return when
 * done (starts the threads if need be). 0 or -errno.
 */
int za_pager_evict_all(void);
/*
 * The same, and pack what is stored as densely as it goes
 * (tests, and before a long idleness). 0 or -errno.
 */
int za_pager_dense_all(void);
/* The same, and write what is stored to the file tier, if there is one. 0 or -errno. */
int za_pager_file_all(void);
/* Bring everything back. 0 or -errno. */
int za_pager_thaw(void);
/*
 * For a process about to die, on any thread that may fault, with any lock held by others and with
 * or without a worker: nothing is taken out any more; bring everything back (returns how many pages
 * are still out, zero unless their mapping was changed behind our back); pages asked for so far,
 * which grows while bring_all works.
 */
void za_pager_hold_begin(void);
size_t za_pager_bring_all(void);
uint64_t za_pager_brought(void);
/*
 * Bring everything back, end our threads and never have any again, in children neither: a plain
 * allocator from now on. 0, with the ids of the two threads (0: none), which are about to end; or
 * -errno: nothing has changed. Waits for the worker.
 */
int za_pager_retire(int tids[2]);
bool za_pager_given_up(void); /* none, or none any more, as far as is known; before the start: no */
bool za_pager_active(void);   /* threads run and a back-end works */
bool za_pager_has_worker(void);     /* the worker calls the owner's decay: nobody else need do it */
const char *za_pager_backend(void); /* "move", "remap", "none", or "not started" */
const char *za_pager_why_none(void); /* when "none": one literal sentence why */

/*
 * fork, called by preload.c inside its own handlers;
 * alloc's locks are held by the caller in between.
 */
void za_pager_prefork(void);
void za_pager_postfork_parent(void);
void za_pager_postfork_child(void);

/*
 * The process may have given rights away (setuid and its kin, by preload, after success): our
 * threads, which cannot follow, are replaced if they could do what the program no longer can.
 */
void za_pager_renew(void);
/* Around such a change: false, and nothing to end, where no fork need be kept out. */
bool za_pager_change_begin(void);
void za_pager_change_end(bool begun);

/*
 * The same around a fork that runs no handlers, without a lock: any thread, any moment, a signal
 * handler's included (still.c). What the first returns is for the others. `keeps_rights`: the child
 * may open what the caller may.
 */
enum za_fork_way { ZA_FORK_NOTHING, ZA_FORK_HAND_OVER, ZA_FORK_REOPEN, ZA_FORK_FILL, ZA_FORK_THAW };
enum za_fork_way za_pager_prebare(bool keeps_rights);
void za_pager_postbare_parent(enum za_fork_way way);
void za_pager_postbare_child(enum za_fork_way way);

void za_pager_stats(void); /* fills the pager.*, store.* and footprint.* gauges */
void za_pager_check(void); /* paranoid walker */

#endif
