/* SPDX-License-Identifier: MIT */
/*
 * segment -- the log: 1 MiB mappings filled from the front,
 * counted, and given back when nothing in them lives.
 *
 * Only an open segment is written, at its end; every other byte is constant until the segment is
 * gone. A place is (slot << 16 | offset in grains); slots are recycled, and slot 0 is never used,
 * so no place is 0.
 *
 * Memory is counted as it is held, in blocks from a segment's front: a new mapping holds none, and
 * filling it makes it hold what is filled.  One that is used a second time holds all that it ever
 * did; so what is behind the end of a segment that is closed, or that nobody has filled for a turn,
 * is given back.
 *
 * I1  OPEN, CLOSED: live <= used <= ZA_SEGMENT_BYTES; a CLOSED segment has live > 0.
 * I2  closed_used, closed_live are the sums of used and live over the CLOSED segments that are not
 *     inherited.
 * I3  Two OPEN segments at most, `open` and `moved`, and one SPARE; every other mapped segment is CLOSED or GRACE.
 * I4  A GRACE segment is neither written nor unmapped before the grace period that began after it
 *     emptied ends.
 * I5  A FILED segment has its bytes in the file tier and live > 0; mapped is its index, the headers
 *     of its blobs. Its places are (slot << 16 | number of the blob). filed_used and filed_live are
 *     the sums over the FILED segments, `filed` counts them and those of them in GRACE.
 * I6  held of a segment in memory is at least what `used` ever was since its memory was last given
 *     back, in blocks; of a CLOSED one it is no more than `used` takes.  held of struct za_segments
 *     is the sum.
 * I7  A segment that a forked child has from its parent is CLOSED (or FILED) and marked ZA_INHERITED.
 *     The system has its memory once for both, as long as neither writes there; so it is neither
 *     filled nor squeezed nor used again, which would make a second copy and free nothing.
 * I8  What is unmapped has been forgotten before. A child that is made without handlers, at any moment, drops
 *     what it finds: at an address that has been given back there may be memory of the program's by then.
 *
 * Locks: none (writer only, except za_segment_byte).  May sleep: in map, unmap.
 * May fault: own memory only.  Allocates: via ops.
 */
#ifndef ZA_COMPRESS_SEGMENT_H
#define ZA_COMPRESS_SEGMENT_H

#include "compress/table.h"

#define ZA_SEGMENT_BYTES ((uint32_t)ZA_MIB)
#define ZA_SEGMENT_BLOCK 4096u      /* what memory is counted in */
#define ZA_SEGMENT_SLOTS (1u << 20) /* 1 TiB of blobs */

enum za_segment_state {
    ZA_SEG_NONE,
    ZA_SEG_OPEN,
    ZA_SEG_CLOSED,
    ZA_SEG_GRACE,
    ZA_SEG_SPARE,
    ZA_SEG_FILED
};

/*
 * Key: W writer only; P written by the writer before a place in it is published, read by any.
 * Born: za_segments_take.  Owned: by struct za_segments.  Dies: the mapping after grace; the slot
 * is recycled.
 */
struct za_segment {
    char *base;                    /* P  NULL when not mapped */
    uint32_t used;                 /* W  bytes from the front that hold blobs, living or dead */
    uint32_t live;                 /* W  bytes of living blobs */
    uint32_t next;                 /* W  in the list its state implies */
    uint16_t held;                 /* W  blocks from the front that hold memory: I6 */
    uint8_t state : 7, picked : 1; /* W  enum za_segment_state; CLOSED: nothing in it is packed
                                      densely; FILED: it could not be read (filed.c) */
    uint8_t file;                  /* P  0: in memory; else 1 + the index of its file */
    uint64_t mark; /* S  CLOSED: when, or ZA_INHERITED; FILED: P, serial of its write */
};

#define ZA_SEGMENTS_SHIFT 4u
#define ZA_INHERITED (UINT64_MAX - 1) /* younger than any age, but not than "all" */

/* Key: W writer only; S written by the writer, read by any (relaxed). */
struct za_segments {
    struct za_ladder ladder; /* of struct za_segment */
    struct za_segment
        first[1u << ZA_SEGMENTS_SHIFT]; /* its first rung: a small store has no other */
    uint32_t high;                      /* S  slots below were used at least once */
    uint32_t free_slots;                /* W  list */
    uint32_t open, spare;               /* W  slots or 0 */
    uint32_t
        moved; /* W  slot or 0: filled with what has an age already, whose average is its mark */
    uint32_t young, aged;          /* W  lists of GRACE segments: see struct za_table */
    uint32_t victim;               /* W  CLOSED segment that compaction is emptying, or 0 */
    uint32_t cursor;               /* W  bytes of it done */
    bool spare_idle;               /* W  the spare was not needed for a whole turn */
    uint64_t mapped;               /* S  segments mapped */
    uint64_t held;                 /* S  blocks: I6 */
    uint32_t rested, moved_rested; /* W  what was used of the open ones when last looked at */
    uint64_t closed_used;          /* W  I2 */
    uint64_t closed_live;          /* W  I2 */
    uint32_t inherited;            /* S  segments: I7 */
    uint64_t filed;                /* S  I5 */
    uint64_t filed_used;           /* W  I5 */
    uint64_t filed_live;           /* W  I5 */
    uint64_t clock;                /* W  what `mark` of a segment closed now will be */
    uint32_t gone;                 /* W  list of filed segments whose grace is over */
    uint32_t poor;      /* W  slot or 0: up to it there was too little for a file (filed.c) */
    uint64_t poor_mark; /* W  its mark then */
};

ZA_INLINE struct za_segment *za_segment_at(const struct za_segments *ss, uint32_t slot)
{
    return za_ladder_at(&ss->ladder, slot);
}

ZA_INLINE uint32_t za_place_slot(uint64_t place)
{
    return (uint32_t)(place >> 16);
}

ZA_INLINE uint64_t za_place_make(uint32_t slot, uint32_t offset)
{
    return (uint64_t)slot << 16 | offset / ZA_GRAIN;
}

/* Any thread that holds a published place within a read section; the writer always. */
ZA_INLINE char *za_segment_byte(const struct za_segments *ss, uint64_t place)
{
    return za_segment_at(ss, za_place_slot(place))->base + (place & 0xffff) * ZA_GRAIN;
}

void za_segments_init(struct za_segments *ss);
void za_segments_free(struct za_segments *ss, const struct za_store_ops *ops);
/* A place for `bytes` (grain-aligned, counted live); 0: no memory, and nothing has changed. */
uint64_t za_segments_take(struct za_segments *ss, const struct za_store_ops *ops, uint32_t bytes);
/* The same for what has been stored since `mark`, beside others of which that is known. */
uint64_t za_segments_take_aged(struct za_segments *ss, const struct za_store_ops *ops,
                               uint32_t bytes, uint64_t mark);
/* The blob of `bytes` at `place` is dead. */
void za_segments_give(struct za_segments *ss, uint64_t place, uint32_t bytes);
bool za_segments_grace_begin(struct za_segments *ss);
void za_segments_grace_end(struct za_segments *ss, const struct za_store_ops *ops);
/* WRITER.  A slot for a filed segment; 0: none to be had. */
uint32_t za_segments_slot(struct za_segments *ss, const struct za_store_ops *ops);
void za_segments_slot_free(struct za_segments *ss, uint32_t slot);
/* The slot holds `used` bytes of blobs, all living, in a file; `base` is its index. */
void za_segments_filed(struct za_segments *ss, uint32_t slot, const struct za_segment *as);
/* The next filed segment whose grace is over; its slot is the caller's.  0: none. */
uint32_t za_segments_gone(struct za_segments *ss);
/* Any thread, in a read section if it is not the writer: I7. */
ZA_INLINE bool za_segment_inherited(const struct za_segments *ss, uint32_t slot)
{
    const struct za_segment *seg = za_segment_at(ss, slot);

    return __atomic_load_n(&ss->inherited, __ATOMIC_RELAXED) &&
           __atomic_load_n(&seg->mark, __ATOMIC_RELAXED) == ZA_INHERITED && !seg->file;
}

/* In a forked child, before its writer and its reader: all there is is inherited. */
void za_segments_inherit(struct za_segments *ss);
/* Nobody else has it any more. */
void za_segments_own(struct za_segments *ss);
/* The open segments take no more. */
void za_segments_close(struct za_segments *ss);
/* Nor does the one of what has an age, if that is before, and there is enough in it. */
void za_segments_close_aged(struct za_segments *ss, uint64_t before, uint32_t least);
/* Once a turn: gives back the spare, and what is behind the open ones' end, if idle for a turn. */
void za_segments_rest(struct za_segments *ss, const struct za_store_ops *ops);
/*
 * The segment with most dead bytes, which is CLOSED from now on.  0: none has any, or it had
 * nothing else, or it is `open` and there is no memory for another.
 */
uint32_t za_segments_sparsest(struct za_segments *ss, const struct za_store_ops *ops);
/* Bytes of blobs in memory, and how many of them are dead, the open segment's included. */
uint64_t za_segments_used(const struct za_segments *ss);
uint64_t za_segments_dead(const struct za_segments *ss);
/* Memory of segments that wait for the end of a grace period, and of the spare. */
uint64_t za_segments_leaving(const struct za_segments *ss);

#endif
