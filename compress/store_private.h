/* SPDX-License-Identifier: MIT */
/*
 * store_private -- the store as its own files see it:
 * counters, header of a blob, and the grace period.
 *
 * The danger: the reader took a place from the table and looks at the bytes there, while the writer
 * moves or frees that blob.  The bytes stay as they are (the log is only written at its end); what
 * must wait is giving the segment, or the id, to somebody else.  So:
 *     reader:  R1 read_seq += 1 (odd: inside)
 *              R2 load word, look at bytes
 *              R3 read_seq += 1 (even)
 *     writer:  W1 store new word
 *              W2 load read_seq
 *              W3 reuse when it is safe
 * R1, R2, W1, W2 are seq_cst, in one total order: if W2 misses R1, then W1 precedes R2 and the
 * reader sees the new word.  If W2 sees the odd number of R1, the writer waits until read_seq
 * differs from it; R3 releases the reader's loads to that later load, which acquires.  No fences
 * (TSan does not know them).
 *
 * Freed things gather as "young"; a grace period takes them all as "aged" and notes read_seq; when
 * it has passed they are free.  One period at a time.
 *
 * I1  blobs, raw_bytes, live_bytes, blob_bytes are sums over the entries with a blob.
 * I2  live_bytes = sum of live over all segments.
 *
 * Locks: none.  May sleep: in map, unmap.  May fault: own memory only.  Allocates: via ops.
 */
#ifndef ZA_COMPRESS_STORE_PRIVATE_H
#define ZA_COMPRESS_STORE_PRIVATE_H

#include "compress/segment.h"
#include "compress/tier.h"

#define ZA_CODEC_WORDS 256u

/* In front of every blob's bytes; constant once its place is published. */
struct za_blob {
    uint32_t checksum;
    uint32_t id;
    uint16_t size_less; /* compressed bytes, less 1 */
    uint8_t raw_less;   /* original bytes, in ZA_BLOB_RAW_UNIT, less 1 */
    uint8_t codec;
};
_Static_assert(sizeof(struct za_blob) == 12, "what a blob costs beside its bytes");
_Static_assert(ZA_BLOB_MAX_RAW / ZA_BLOB_RAW_UNIT == 256, "raw_less has eight bits");

ZA_INLINE uint32_t za_blob_size(const struct za_blob *b)
{
    return b->size_less + 1u;
}

ZA_INLINE uint32_t za_blob_raw(const struct za_blob *b)
{
    return (b->raw_less + 1u) * ZA_BLOB_RAW_UNIT;
}

ZA_INLINE struct za_blob za_blob_head(uint32_t checksum, uint32_t id, uint32_t size, uint32_t raw,
                                      uint32_t codec)
{
    return (struct za_blob){.checksum = checksum,
                            .id = id,
                            .size_less = (uint16_t)(size - 1),
                            .raw_less = (uint8_t)(raw / ZA_BLOB_RAW_UNIT - 1),
                            .codec = (uint8_t)codec};
}

/*
 * Of a filed segment, in memory: what is asked of its blobs without reading them. Constant once a
 * place in the segment is published.
 */
struct za_filed {
    struct za_blob head;
    uint32_t at; /* its bytes, in what was written */
};

struct za_index {
    uint32_t n;
    uint32_t bytes; /* written */
    struct za_filed blob[];
};

/*
 * Key: C constant; W writer only; S written by the writer, read by any (relaxed);
 * A any thread (atomic).
 * Born: za_store_new.  Owned: by the pager (tests: by themselves).  Dies: za_store_free.
 */
struct za_store {
    struct za_store_ops ops;     /* C */
    struct za_table table;       /* see table.h */
    struct za_segments segments; /* see segment.h */
    struct za_store_stats
        counts; /* S  blobs, raw_bytes, live_bytes, blob_bytes, compacted_bytes only */
    uint64_t of_codec[ZA_CODEC_WORDS]; /* W  living blobs by codec word */
    struct za_tier tier;               /* see tier.h */
    uint64_t file_blobs;               /* S  living blobs in filed segments */
    bool in_grace;                     /* W  something is aged */
    uint32_t grace_seq;                /* W  read_seq when this grace period began */
    /* The reader's line: nothing the writer stores to at every put. */
    _Alignas(ZA_CACHELINE) uint32_t read_seq; /* A  odd: inside a read section */
};

ZA_INLINE uint32_t za_blob_bytes(uint32_t size)
{
    return (uint32_t)za_align_up(sizeof(struct za_blob) + size, ZA_GRAIN);
}

/* One writer: a plain sum, stored so that other threads may look at it. */
ZA_INLINE void za_store_count(uint64_t *counter, int64_t n)
{
    __atomic_store_n(counter, *counter + (uint64_t)n, __ATOMIC_RELAXED);
}

ZA_INLINE struct za_blob *za_store_blob(const struct za_store *s, uint64_t place)
{
    return (struct za_blob *)za_segment_byte(&s->segments, place);
}

ZA_INLINE bool za_store_in_file(const struct za_store *s, uint64_t place)
{
    return za_segment_at(&s->segments, za_place_slot(place))->file != 0;
}

ZA_INLINE const struct za_filed *za_store_filed(const struct za_store *s, uint64_t place)
{
    const char *base = za_segment_at(&s->segments, za_place_slot(place))->base;
    return &((const struct za_index *)(const void *)base)->blob[place & 0xffff];
}

/* What is known of the blob there without reading it. Who may call it: as za_segment_byte. */
ZA_INLINE const struct za_blob *za_store_head(const struct za_store *s, uint64_t place)
{
    return za_store_in_file(s, place) ? &za_store_filed(s, place)->head : za_store_blob(s, place);
}

/* Bytes that a filed segment's index takes. */
ZA_INLINE size_t za_index_bytes(uint32_t n, size_t page)
{
    return za_align_up(sizeof(struct za_index) + n * sizeof(struct za_filed), page);
}

/* WRITER (filed.c): what filed segments leave behind. */
void za_filed_reap(struct za_store *s);
void za_filed_free(struct za_store *s);

/* WRITER: frees what has waited long enough and lets what is young begin to wait. */
void za_store_settle(struct za_store *s);

#endif
