/* SPDX-License-Identifier: MIT */
/*
 * door -- how somebody outside finds the library in a process or in its core file, and what he may
 * ask of a living one: the anchor, and the letter box in it.
 *
 * The library listens to nothing and holds no descriptor for this. The anchor is plain memory of
 * the library's data segment, found by its magic and known genuine by its own address in it.
 * Whoever wants something writes it there from outside (process_vm_writev), which the kernel allows
 * to those whom it allows to trace the process, and to no others: they could do anything to it
 * anyway. The worker looks at the box once a turn, so an idle process is answered within a second
 * and sleeps as before.
 *
 *     outside:  D1 op = what           W:  D3 ring differs from answered: working = ring
 *               D2 ring = new number       D4 does it; progress grows meanwhile
 *               D5 waits: answered = its   D6 left, pages, then answered = the number of D3
 *
 * All requests are idempotent, and the number is read once: a number torn by the copy from outside
 * is served, and then the right one is.
 *
 * `zalloc core` reads the pager's structures out of a core file with the types of our own headers;
 * `layout` says whether they are the same as those of the library that made it.
 *
 * Lock key.  [i] constant; [d] written at the worker's first turn; [o] written from outside (and,
 * in a child, by its forking thread); [w] worker only; [a] atomic, any thread.
 */
#ifndef ZA_PAGER_DOOR_H
#define ZA_PAGER_DOOR_H

#include "base/stat.h"
#include "compress/dict.h"
#include "compress/store_private.h"
#include "pager/state.h"

#define ZA_ANCHOR_MAGIC "zalloc anchor 1" /* with its final zero 16 bytes */
#define ZA_ANCHOR_ALIGN 64u

enum za_door_op { ZA_DOOR_NONE, ZA_DOOR_HOLD, ZA_DOOR_RELEASE, ZA_DOOR_STATS };

struct za_door {
    uint32_t op;       /* [o] enum za_door_op */
    uint32_t ring;     /* [o] another number for every request */
    uint32_t working;  /* [w] the request being served */
    uint32_t answered; /* [w] the request served last */
    uint32_t held;     /* [a] nothing is taken out */
    uint32_t
        withdrawn;     /* [w] nothing is registered: holes are the kernel's, debuggers read zeros */
    uint64_t progress; /* [a] pages asked for so far; only ever grows */
    uint64_t pages;    /* [w] brought back by the request served last */
    uint64_t left;     /* [w] still out after it; RELEASE: not 0: the kernel refused, still held */
};

#define ZA_LAYOUT_WORDS 20u

/* Everything a reader from outside relies on; two libraries that differ here differ in it. */
#define ZA_LAYOUT_NAME(NAME, name, KIND, unit, help) name
#define ZA_LAYOUT \
    { \
        sizeof(struct za_pager), offsetof(struct za_pager, base), \
            offsetof(struct za_pager, pages), offsetof(struct za_pager, chunks), \
            offsetof(struct za_pager, mirror), offsetof(struct za_pager, store), \
            offsetof(struct za_pager, life), offsetof(struct za_pager, records_ready), \
            offsetof(struct za_pager, worker_up), \
            sizeof(struct za_store) + offsetof(struct za_store, table), \
            sizeof(struct za_ids) + (sizeof(struct za_segment) << 16), \
            offsetof(struct za_store, segments) + (offsetof(struct za_segments, high) << 16), \
            sizeof(struct za_ladder) + (ZA_LADDER_RUNGS << 16), \
            sizeof(struct za_dict) + (offsetof(struct za_dict, bytes) << 16), \
            sizeof(struct za_dicts) + (ZA_DICTS_MAX << 16), \
            ZA_SEGMENT_BYTES + ZA_GRAIN + ZA_WORD_PLACE_BITS + (sizeof(struct za_blob) << 32), \
            ZA_CHUNK_SHIFT + (ZA_PAGE_FILLING << 8), ZA_CODEC_MAX, ZA_STAT_MAX, \
            sizeof("" ZA_STAT_TABLE(ZA_LAYOUT_NAME)) \
    }

/*
 * Born: with the library.  Owned: by the pager.  Dies: never; a forked child has its own copy.
 */
struct za_anchor {
    _Alignas(ZA_ANCHOR_ALIGN) char magic[16]; /* [i] */
    const struct za_anchor *self;             /* [i] its own address */
    uint32_t bytes;                           /* [i] of this struct */
    uint32_t spare;
    uint64_t layout[ZA_LAYOUT_WORDS]; /* [i] */
    const struct za_pager *pager;     /* [i] */
    const uint64_t *stats;            /* [i] ZA_STAT_MAX of them */
    const struct za_dicts *dicts;     /* [d] */
    struct za_door door;
};

extern struct za_anchor za_anchor;

ZA_INLINE bool za_door_held(void)
{
    return __atomic_load_n(&za_anchor.door.held, __ATOMIC_ACQUIRE);
}

/* W. */
ZA_INLINE bool za_door_withdrawn(void)
{
    return za_anchor.door.withdrawn != 0;
}

#endif
