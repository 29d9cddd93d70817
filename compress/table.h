/* SPDX-License-Identifier: MIT */
/*
 * table -- ids of blobs: a word each saying where the blob is and how many refer to it.
 *
 * Place and references stand together, so moving a blob is one exchange:
 *     bits 0..15 offset in grains of 16 bytes | 16..35 segment slot | 36..63 references
 * and slot 0 means no blob.  The slot names a segment record, not an address: a later tier (a file)
 * is another kind of segment behind the same word.  Of an id without a blob the other bits name the
 * next one in the list of free ids that it is in.
 *
 * Readers take references away, the writer does both: so words change by atomic arithmetic and
 * exchange.  A reader that takes the last one says so in a bit, and the writer, when it settles,
 * buries what has no reference still.  There is a bit for each id, beside the words of 64 of
 * them, and such groups make a list while there is a bit set in them.  In all 8 1/4 bytes an id.
 *
 * I1  slot != 0  <=>  the id is given out.  References are 0 then only from when a reader took the
 *     last one until the writer settles, or has given it new ones.
 * I2  Of such an id the bit is set (or its dropper has not finished).  A bit that is set says
 *     nothing else: the writer looks at the word.
 * I3  A group is on the dropped list exactly once while its bits are not 0 (and who made them so
 *     has finished); `next` is the list's then.
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

#define ZA_GROUP_IDS 64u

struct za_entry {
    uint64_t word; /* A  seq_cst: see store_private.h on the grace period */
};

/*
 * Key: A changed by any thread (atomic).
 * Born: za_table_take.  Owned: by the table for ever.  Dies: with the store; ids are recycled after
 * a grace period.
 */
struct za_ids {
    struct za_entry entry[ZA_GROUP_IDS];
    uint64_t bits; /* A  I2 */
    uint32_t next; /* A  I3: 1 + index of the next */
    uint32_t spare;
};

struct za_idlist {
    uint32_t head, tail;
};

/* Key: W writer only; S written by the writer, read by any (relaxed); A any thread (atomic). */
struct za_table {
    struct za_ladder ladder; /* of struct za_ids; id 0 is never used */
    uint32_t high;           /* S  ids below were given out at least once */
    struct za_idlist free;   /* W  may be given out now */
    struct za_idlist young;  /* W  freed, waiting for the next grace period to begin */
    struct za_idlist aged;   /* W  freed, waiting for the current grace period to end */
    uint32_t dropped;        /* A  head of a push-only list, 1 + index, taken whole: no ABA */
};

ZA_INLINE struct za_entry *za_table_at(const struct za_table *t, uint32_t id)
{
    struct za_ids *ids = za_ladder_at(&t->ladder, id / ZA_GROUP_IDS);

    return &ids->entry[id % ZA_GROUP_IDS];
}

/* Is there a blob behind it? */
ZA_INLINE bool za_word_used(uint64_t word)
{
    return (word & ZA_WORD_PLACE) >> 16 != 0;
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

/* WRITER.  The blob is at `place` from now on; readers may be taking references meanwhile. */
ZA_INLINE void za_entry_move(struct za_entry *e, uint64_t place)
{
    uint64_t word = za_entry_get(e);

    while (!__atomic_compare_exchange_n(&e->word, &word, za_word_make(place, za_word_refs(word)),
                                        false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
        ;
}

/* WRITER: more references. */
ZA_INLINE void za_entry_add(struct za_entry *e, uint32_t refs)
{
    __atomic_fetch_add(&e->word, (uint64_t)refs << ZA_WORD_PLACE_BITS, __ATOMIC_SEQ_CST);
}

/* Any thread; true: these were the last. */
ZA_INLINE bool za_entry_take(struct za_entry *e, uint32_t refs)
{
    uint64_t was =
        __atomic_fetch_sub(&e->word, (uint64_t)refs << ZA_WORD_PLACE_BITS, __ATOMIC_SEQ_CST);

    ZA_ASSERT(za_word_refs(was) >= refs);
    return za_word_refs(was) == refs;
}

void za_table_init(struct za_table *t);
/* WRITER.  A free id, its word 0; ZA_BLOB_NONE: no memory. */
uint32_t za_table_take(struct za_table *t, const struct za_store_ops *ops);
void za_table_untake(struct za_table *t, uint32_t id); /* never published: free at once */
void za_table_retire(struct za_table *t, uint32_t id); /* no blob from now on; free after grace */
uint32_t za_table_next(const struct za_table *t, uint32_t id); /* in its list of free ids */
/* WRITER.  The grace period: begin takes what is young (false: nothing), end frees it. */
bool za_table_grace_begin(struct za_table *t);
void za_table_grace_end(struct za_table *t);
/* Any thread, lock-free: `refs` references fewer. */
void za_table_drop(struct za_table *t, uint32_t id, uint32_t refs);
/*
 * WRITER.  Takes all that was noted: groups, until 0 is the next one; bit i of group g stands for
 * id (g - 1) * ZA_GROUP_IDS + i.
 */
uint32_t za_table_dropped(struct za_table *t);
uint32_t za_table_dropped_next(struct za_table *t, uint32_t g, uint64_t *bits);

#endif
