/* SPDX-License-Identifier: MIT */
/*
 * table -- ids of blobs: 16 bytes each saying where the blob is,
 * how many refer to it, and what readers dropped.
 *
 * The word of an id holds place and references together, so moving a blob is one store:
 *     bits 0..15 offset in grains of 16 bytes | 16..35 segment slot | 36..63 references
 * and 0 means no blob.  The slot names a segment record, not an address: a later tier (a file) is
 * another kind of segment behind the same word.
 *
 * I1  word != 0  <=>  references > 0  <=>  the id is given out.
 * I2  An id is on the dropped list exactly once while pending != 0 (and its dropper has finished).
 * I3  `next` belongs to the dropped list while pending != 0, else, when the word is 0, to a list of
 *     free ids.
 *
 * Locks: none.  May sleep: in map.  May fault: own memory only.  Allocates: via ops.
 */
#ifndef ZA_COMPRESS_TABLE_H
#define ZA_COMPRESS_TABLE_H

#include "compress/ladder.h"

#define ZA_GRAIN 16u
#define ZA_WORD_PLACE_BITS 36u
#define ZA_WORD_PLACE (((uint64_t)1 << ZA_WORD_PLACE_BITS) - 1)
#define ZA_BLOB_MAX_REFS ((1u << 28) - 1)

/*
 * Key: W written by the writer, read by any (atomic); A changed by any thread (atomic).
 * Born: za_table_take.  Owned: by the table for ever.  Dies: with the store; ids are recycled after
 * a grace period.
 */
struct za_entry {
    uint64_t word;    /* W  seq_cst: see store_private.h on the grace period */
    uint32_t pending; /* A  references dropped by za_table_drop and not yet settled */
    uint32_t next;    /* A  I3 */
};

struct za_idlist {
    uint32_t head, tail;
};

/* Key: W writer only; S written by the writer, read by any (relaxed); A any thread (atomic). */
struct za_table {
    struct za_ladder ladder; /* of struct za_entry; entry 0 is never used */
    uint32_t high;           /* S  ids below were given out at least once */
    struct za_idlist free;   /* W  may be given out now */
    struct za_idlist young;  /* W  freed, waiting for the next grace period to begin */
    struct za_idlist aged;   /* W  freed, waiting for the current grace period to end */
    uint32_t dropped;        /* A  head of a push-only list, taken whole: no ABA */
};

ZA_INLINE struct za_entry *za_table_at(const struct za_table *t, uint32_t id)
{
    return za_ladder_at(&t->ladder, id);
}

ZA_INLINE uint64_t za_word_place(uint64_t word)
{
    return word & ZA_WORD_PLACE;
}

ZA_INLINE uint32_t za_word_refs(uint64_t word)
{
    return (uint32_t)(word >> ZA_WORD_PLACE_BITS);
}

ZA_INLINE uint64_t za_word_make(uint64_t place, uint32_t refs)
{
    return place | (uint64_t)refs << ZA_WORD_PLACE_BITS;
}

/* Store-load order against the reader's sequence needs seq_cst on both sides: store_private.h. */
ZA_INLINE void za_entry_set(struct za_entry *e, uint64_t word)
{
    __atomic_store_n(&e->word, word, __ATOMIC_SEQ_CST);
}

ZA_INLINE uint64_t za_entry_get(const struct za_entry *e)
{
    return __atomic_load_n(&e->word, __ATOMIC_SEQ_CST);
}

void za_table_init(struct za_table *t);
/* WRITER.  A free id, its word 0; ZA_BLOB_NONE: no memory. */
uint32_t za_table_take(struct za_table *t, const struct za_store_ops *ops);
void za_table_untake(struct za_table *t, uint32_t id); /* never published: free at once */
void za_table_retire(struct za_table *t,
                     uint32_t id); /* the word is 0 from now on; free after grace */
/* WRITER.  The grace period: begin takes what is young (false: nothing), end frees it. */
bool za_table_grace_begin(struct za_table *t);
void za_table_grace_end(struct za_table *t);
/* Any thread, lock-free: note `refs` dropped references. */
void za_table_drop(struct za_table *t, uint32_t id, uint32_t refs);
/* WRITER.  Takes all that was dropped; then each id once with its count, until ZA_BLOB_NONE. */
uint32_t za_table_dropped(struct za_table *t);
uint32_t za_table_dropped_next(struct za_table *t, uint32_t id, uint32_t *refs);

#endif
