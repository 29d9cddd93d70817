/* SPDX-License-Identifier: MIT */
/*
 * state -- the pager of this process: where the region is, its flat arrays, its threads.
 *
 * Lock key.  [i] written once in za_pager_init or at start, before the threads exist; [w] worker
 * only; [f] fault thread only; [a] atomic, any thread; [c] under ZA_RANK_CTL; [r] page records:
 * page.h.
 *
 * Born: za_pager_init.  Owned: by the process.
 * Dies: never; a forked child puts its copy right (fork.c).
 */
#ifndef ZA_PAGER_STATE_H
#define ZA_PAGER_STATE_H

#include "base/stat.h"
#include "compress/store.h"
#include "os/os.h"
#include "pager/budget.h"
#include "pager/mover.h"
#include "pager/page.h"
#include "pager/pager.h"

#define ZA_NEVER UINT64_MAX
#define ZA_UNIT_PAGES_MAX 16u /* 64 KiB units of 4 KiB pages; larger pages give fewer */

/* What the worker remembers of a unit. */
struct za_unit {
    uint32_t due;     /* [w] tick of the next step; 0: never looked at */
    uint8_t phase;    /* [w] enum za_phase */
    uint8_t backoff;  /* [w] doublings of the cold age before the next probe */
    uint8_t touched;  /* [a] F: somebody came for a page since the last probe: ZA_CAME_... */
    uint8_t pins;     /* [a] W writes, or for whom it stands still; not 0: its pages stay (pin.c) */
    uint16_t carried; /* [w] remap: bit i: page i of its mirror is a mapping of its own (remap.c) */
    uint16_t raw;     /* [w] bit i: page i did not compress, and stays until raw_due */
    uint32_t raw_due; /* [w] tick */
    uint32_t stored;  /* [w] tick at which it was packed last; 0: it was wanted since */
    uint8_t returns;  /* [w] times on end that it was wanted soon after it was stored */
    uint8_t there;    /* [w] pages that were resident or out when it was probed last (probe.c) */
    uint8_t spare[2];
};

#define ZA_CAME 1u        /* for any page */
#define ZA_CAME_STORED 2u /* for one that was stored */

enum za_ours {
    ZA_OURS_NOT,  /* a child without handlers, in which everything is its parent's */
    ZA_OURS,      /* this process's */
    ZA_OURS_SOON, /* a thread is putting it right */
};

enum za_phase {
    ZA_UNIT_RESTING, /* to be probed when due */
    ZA_UNIT_PROBED,  /* in limbo, to be packed when due */
    ZA_UNIT_PACKED   /* stored, to be packed denser when due */
};

struct za_chunk {
    uint32_t due;       /* [w] earliest due of its units */
    uint8_t registered; /* [a] W sets, never cleared except in a child */
    uint8_t stirred;    /* [a] F: pages came back in units at rest; W clears */
    uint8_t lost;       /* [w] remap: some of its mirror is not ours any more (remap.c) */
    uint8_t merges;     /* [w] the kernel may merge its pages (ksm.c) */
};

/*
 * IDLE: nobody of ours runs.  STARTED: a worker runs, or F will start one when asked.
 * FAILED: no thread to be had.
 */
enum za_pager_life { ZA_LIFE_NEW, ZA_LIFE_IDLE, ZA_LIFE_STARTED, ZA_LIFE_FAILED };

struct za_pager {
    uintptr_t base;                    /* [i] */
    size_t size;                       /* [i] */
    const struct za_region_ops *owner; /* [i] */
    unsigned page_shift;               /* [i] */
    unsigned unit_pages;               /* [i] pages in a unit, at most ZA_UNIT_PAGES_MAX */
    unsigned cluster_pages;            /* [i] pages packed together at most */
    uint64_t *pages;                   /* [r] a word per page of the region */
    struct za_unit *units;             /* [i] pointer; fields above */
    struct za_chunk *chunks;           /* [i] pointer; fields above */
    uintptr_t mirror;                  /* [i] 0: no mirror could be reserved */
    struct za_store *store;            /* [i] made by the worker at its start */

    uintptr_t top;        /* [a] end of the used part of the region */
    uint32_t life;        /* [a] enum za_pager_life */
    uint32_t active;      /* [a] a back-end works and both threads run */
    const char *why_none; /* [a] literal: why there is no back-end */
    const char *backend;  /* [a] literal */
    size_t records_ready; /* [w] chunks whose records are committed */
    uint32_t nregistered; /* [a] chunks registered, and the bell; 0: forks are not announced */

    int uffd;                     /* [i] in the private table of W and F */
    struct za_uffd_caps caps;     /* [i] */
    const struct za_mover *mover; /* [i] by W, before F exists */
    uint64_t held_until;          /* [w] remap: ns until which the last answer holds (remap.c) */
    uint32_t borders;             /* [w] remap: between mappings of the mirror (remap.c) */

    /* fault.c */
    uint32_t fault_seq;     /* [a] odd while F serves; F alone writes */
    uint32_t window;        /* [a] a fork is under way: F changes no record */
    uint32_t window_served; /* [a] faults served in a window: reconcile afterwards */
    uint32_t giving;        /* [a] F fills a bare child: calm.c; futex word of W */
    uint32_t taking;        /* [a] W takes contents away; W alone writes */
    uint32_t awaited;       /* [a] F has left a fault on a page in MOVING to W: page.h I11 */
    uint32_t windowed;      /* [a] pages in window_pages; F adds, W empties when it reconciles */
    int heir_sock;          /* [a] where F sends the child's userfaultfd; -1: none (heir.c) */
    uint32_t forked;        /* [a] the forking thread is behind its system call */
    uint32_t *ours; /* [i] enum za_ours, on a page that reads 0 in a child made without handlers */

    /* worker.c */
    struct za_budget budget; /* [w] */
    uint64_t epoch;          /* [w] ns at tick 0 */
    int worker_tid;          /* [a] */
    int fault_tid;           /* [a] */
    uint32_t fault_born;     /* [a] F will serve: set before anybody may rely on it */
    uint32_t retired;        /* [a] 1: no thread of ours any more, in no child either (retire.c) */
    uint32_t leaving;        /* [a] W, 1: F is to go when it hears the bell; F, 2: it goes */
    int pid;                 /* [a] the process our threads belong to */
    uint32_t worker_up;      /* [a] W has been started in this process */
    uint32_t keep;           /* [a] nothing at all is taken out: the process is locked (pin.c) */
    uint32_t must_reconcile; /* [a] before W's next step: page.h I8 */
};

extern struct za_pager za_pg;

ZA_INLINE bool za_pg_active(void)
{
    return __atomic_load_n(&za_pg.active, __ATOMIC_ACQUIRE);
}

ZA_INLINE size_t za_pg_page_size(void)
{
    return (size_t)1 << za_pg.page_shift;
}

ZA_INLINE size_t za_pg_page_of(uintptr_t addr)
{
    return (addr - za_pg.base) >> za_pg.page_shift;
}

ZA_INLINE char *za_pg_heap(size_t page)
{
    return (char *)(za_pg.base + (page << za_pg.page_shift));
}

ZA_INLINE char *za_pg_mirror(size_t page)
{
    return (char *)(za_pg.mirror + (page << za_pg.page_shift));
}

ZA_INLINE size_t za_pg_unit_of_page(size_t page)
{
    return page >> (ZA_UNIT_SHIFT - za_pg.page_shift);
}

ZA_INLINE size_t za_pg_chunk_of_page(size_t page)
{
    return page >> (ZA_CHUNK_SHIFT - za_pg.page_shift);
}

ZA_INLINE bool za_pg_registered(size_t page)
{
    return __atomic_load_n(&za_pg.chunks[za_pg_chunk_of_page(page)].registered, __ATOMIC_ACQUIRE);
}

ZA_INLINE size_t za_pg_nchunks(void)
{
    uintptr_t top = __atomic_load_n(&za_pg.top, __ATOMIC_ACQUIRE);
    return (top - za_pg.base) >> ZA_CHUNK_SHIFT;
}

/* The doorbell: one page behind the mirror that is always missing; touching it calls F. */
ZA_INLINE uintptr_t za_pg_bell(void)
{
    return za_pg.mirror + za_pg.size;
}

/* Behind it another, which is missing in every process, and which only a child touches: heir.c. */
ZA_INLINE uintptr_t za_pg_knocker(void)
{
    return za_pg_bell() + za_pg_page_size();
}

/* The worker's clock: ticks of 10 ms since its start, never 0; ZA_TICK_NEVER is never reached. */
#define ZA_TICK_NS (10 * ZA_NS_PER_MS)
#define ZA_TICK_NEVER UINT32_MAX

ZA_INLINE uint32_t za_pg_tick(uint64_t now_ns)
{
    return (uint32_t)((now_ns - za_pg.epoch) / ZA_TICK_NS) + 1;
}

#endif
