/* SPDX-License-Identifier: MIT */
/*
 * index -- where a page of this content is stored: tag -> (blob, page of the blob).
 *
 * THEORY
 *
 * An entry is a hint.  The blob may have died since, its id may name another one, and two contents
 * may have one tag: whoever follows a hint compares bytes before anything is shared.  So the index
 * is told of no death, holds no reference, and may forget what it likes.  It is worth its memory
 * only as long as most of its entries live: the pager sweeps it when they do not.
 *
 * Extendible hashing, so that no growth ever stalls the worker: segments of one page, 256 slots
 * each, found by the top bits of the tag through a directory.  A segment that is three quarters
 * full is split in two by the next bit (a few microseconds); a directory that is too short for that
 * is doubled (4 bytes a segment or so: 10 million entries have one of half a MiB).  A sweep merges
 * what has become thin, so the memory goes as it came.
 *
 *   directory of 2^depth segment numbers; a segment of depth d stands in 2^(depth - d) neighbouring
 *   places, those whose top d bits are its own; in it an entry stands at slot (tag mod 256) or
 *   behind, up to the next empty slot.
 *
 * A lookup waits for memory once, for the line of its slot; whoever knows his tags before he needs
 * them says so (za_index_expect), and waits for several at the same time.
 *
 * Invariants
 * I1  A tag has one entry at most.
 * I2  Between an entry's home slot and its own there is no empty slot.
 * I3  used of a segment is the number of its entries, and at most FULL; entries is their sum.
 * I4  The bytes are bounded: ZA_INDEX_SEGMENTS_MAX segments; past it, or without memory, a new
 *     entry takes the place of an old one.
 *
 * Fork: a child has its parent's index, copy-on-write, as it has the store that the entries speak
 * of; the worker is parked meanwhile, so both are of one moment.
 *
 * Key of all fields: one thread, the worker.
 * Born: zeroed, and made by the first put.  Owned: by the pager.  Dies: za_index_drop.
 * Locks: none.  May sleep: in map, unmap, purge.  May fault: own memory only.
 * Allocates: by os, never given back piecemeal but purged, and unmapped by za_index_drop.
 */
#ifndef ZA_DEDUP_INDEX_H
#define ZA_DEDUP_INDEX_H

#include "dedup/digest.h"

#define ZA_INDEX_SLOTS 256u
#define ZA_INDEX_BLOCK_SEGMENTS 256u
#define ZA_INDEX_BLOCKS 512u /* half a GiB: twenty million pages or so */
#define ZA_INDEX_SEGMENTS_MAX (ZA_INDEX_BLOCKS * ZA_INDEX_BLOCK_SEGMENTS)

struct za_index_entry {
    uint64_t tag;
    uint32_t blob;                /* 0: the slot is empty */
    uint32_t page : 8, mark : 24; /* of the blob; and the asker's, to know the blob again by */
};

struct za_index_head { /* of a segment */
    uint16_t used;
    uint8_t depth;
    uint8_t spare;
};

struct za_index {
    uint32_t *dir;
    uint32_t depth;
    uint32_t made;      /* segment numbers below have been used */
    uint32_t free;      /* list through the segments' first words, of number + 1; 0: none */
    uint32_t segments;  /* in use */
    uint32_t cursor;    /* of the sweep: place in the directory */
    uint64_t entries;   /* I3 */
    uint64_t forgotten; /* entries that had to make room (I4) */
    struct za_index_head *heads;
    struct za_index_entry *block[ZA_INDEX_BLOCKS];
    struct za_index_entry scratch[ZA_INDEX_SLOTS];
};

/* This tag will be asked for in a moment: its place is fetched meanwhile. */
void za_index_expect(const struct za_index *ix, uint64_t tag);
/* The entry with this tag, or NULL. */
const struct za_index_entry *za_index_find(const struct za_index *ix, uint64_t tag);
/*
 * Remembers an entry, in place of the one with its tag if there is one.  False: no memory at all.
 */
bool za_index_put(struct za_index *ix, const struct za_index_entry *e);
/*
 * Goes on through at most `segments` segments, forgets what `keep` does not want, and merges.
 * True: the end was reached; the next sweep begins anew.
 */
bool za_index_sweep(struct za_index *ix, bool (*keep)(const struct za_index_entry *),
                    uint32_t segments);
/* Forgets everything and gives all memory back. */
void za_index_drop(struct za_index *ix);
/* Bytes in use. */
size_t za_index_bytes(const struct za_index *ix);
/* Every mapping, for footprint accounting: index 0.. until false. */
bool za_index_area(const struct za_index *ix, unsigned i, void **addr, size_t *len);
/* Walker: recomputes every counter; asserts. */
void za_index_check(const struct za_index *ix);

#endif
