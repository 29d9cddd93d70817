/* SPDX-License-Identifier: MIT */
/*
 * store -- the blob store: a log of segments holding compressed bytes,
 * found through a table of ids.
 *
 * A blob is found by its id (table entry -> segment and offset), so compaction moves bytes without
 * telling anyone.  Two threads use the store, in fixed roles:
 *   WRITER (the worker): put, release, compact, reclaim.
 *   READER (the fault thread): get between za_store_read_begin and _end; drop_later.
 * Bytes a reader may be looking at are never reused before that reader has ended its read section:
 * segments emptied by compaction or release wait for a grace period (read sequence even or
 * changed).
 * Blob header in the store (12 bytes): checksum, compressed size, original size, codec, id.
 *
 * Memory: segments of 1 MiB from `map`, given back (unmap, or purge and reuse) when empty; blobs
 * packed at 16-byte grain; free space inside segments is squeezed out by za_store_compact.
 * Fork: the child's copy is taken while the writer is parked and the reader changes nothing, so it
 * is whole.
 *
 * Locks: none.  May sleep: in map/unmap only (writer).  May fault: own memory only.
 * Allocates: via ops.
 */
#ifndef ZA_COMPRESS_STORE_H
#define ZA_COMPRESS_STORE_H

#include "base/base.h"
#include "compress/codec.h"

#define ZA_BLOB_NONE 0u
#define ZA_BLOB_MAX_RAW (64u * 1024u)
#define ZA_BLOB_RAW_UNIT 256u /* original sizes are multiples of it: they are whole pages */

struct za_store_ops {
    void *(*map)(size_t len); /* zeroed memory or NULL */
    void (*unmap)(void *p, size_t len);
};

/*
 * What a blob says of how it was packed: codec in the low four bits,
 * dictionary (0: none) in the next four.
 */
ZA_INLINE uint32_t za_codec_word(enum za_codec_id codec, uint32_t dict)
{
    return (uint32_t)codec | dict << 4;
}

ZA_INLINE enum za_codec_id za_codec_of(uint32_t word)
{
    return (enum za_codec_id)(word & 15);
}

ZA_INLINE uint32_t za_dict_of(uint32_t word)
{
    return word >> 4;
}

struct za_store; /* one per process; tests make several */

struct za_blob_view { /* valid inside a read section */
    const void *bytes;
    uint32_t size;     /* compressed bytes */
    uint32_t raw;      /* original bytes */
    uint32_t checksum; /* of the original bytes: za_checksum */
    uint32_t codec;    /* za_codec_word: which codec, which dictionary */
    uint64_t place;    /* bytes is NULL: the blob is in a file, here; za_store_load reads it */
};

uint32_t za_checksum(const void *p, size_t len); /* XXH3 64-bit folded to 32 */

struct za_store *za_store_new(const struct za_store_ops *ops); /* NULL: no memory; one mapping,
                                                                  itself inside a map()ped area */
void za_store_free(struct za_store *s);

/* WRITER.  A new blob with `refs` references; ZA_BLOB_NONE when memory is refused. */
uint32_t za_store_put(struct za_store *s, const void *bytes, uint32_t size, uint32_t raw,
                      uint32_t checksum, uint32_t codec, uint32_t refs);
void za_store_release(struct za_store *s, uint32_t id, uint32_t refs); /* WRITER: drop references */
/*
 * WRITER.  More references to a blob that may be dead: false when it has none any more, or as many
 * as it can have.  What readers have dropped counts until the writer settles it, so this is exact.
 */
bool za_store_share(struct za_store *s, uint32_t id, uint32_t refs);
/*
 * WRITER, once a turn: takes what readers dropped, frees emptied segments after their grace period.
 */
void za_store_reclaim(struct za_store *s);
/*
 * WRITER: move up to max_bytes of blobs out of the sparsest segments;
 * returns bytes moved (0: nothing worth it).
 */
size_t za_store_compact(struct za_store *s, size_t max_bytes);
/* WRITER.  Memory that compaction, and grace periods that end, are going to give back. */
uint64_t za_store_leaving(const struct za_store *s);

/* READER. */
void za_store_read_begin(struct za_store *s);
void za_store_read_end(struct za_store *s);
bool za_store_get(struct za_store *s, uint32_t id,
                  struct za_blob_view *out); /* false: no such blob (a bug upstream) */
void za_store_drop_later(struct za_store *s, uint32_t id,
                         uint32_t refs); /* lock-free; any thread; settled in reclaim */

/* The file tier: filed.c, tier.h. */
struct za_tier;
struct za_reader;
/* What may go to a file, coldest first. */
struct za_file_rule {
    uint64_t before; /* in memory since before then (za_store_clock) */
    uint32_t least;  /* bytes for which it is not worth a write */
    bool dense_only; /* packed by zstd */
};
/* WRITER.  What time it is now, in any unit. */
void za_store_clock(struct za_store *s, uint64_t now);
/*
 * WRITER.  One write of up to a segment.  Bytes that have gone; 0: there is not enough; -errno:
 * nothing has changed.
 */
int64_t za_store_file(struct za_store *s, const struct za_file_rule *rule);
/* WRITER.  The same from file to file: what lives in sparse segments, and in too old a file. */
int64_t za_store_refile(struct za_store *s);
/* WRITER.  What is put from now on stands in a new segment: all there is now may go. */
void za_store_close(struct za_store *s);
bool za_store_has_filed(const struct za_store *s); /* any thread: a file is needed */
uint64_t za_store_held(const struct za_store *s);  /* WRITER.  Memory, but for a spare */
struct za_tier *za_store_tier(struct za_store *s);
/*
 * READER, or WRITER, with a reader of its own: the bytes of a blob in a file (view.size, to be had
 * in the read section of its view).  0 or -errno.
 */
int za_store_load(const struct za_store *s, const struct za_blob_view *v, struct za_reader *r,
                  void *to);

/* Child after fork: forget a read section that the parent's reader was in. */
void za_store_child(struct za_store *s);
/* WRITER.  The parent is gone: what is here belongs to nobody else, as far as anybody knows. */
void za_store_own(struct za_store *s);
/* Is the parent's memory too, where the blob is?  In the read section that the place is from. */
bool za_store_inherited(const struct za_store *s, uint64_t place);

struct za_store_stats {
    uint64_t blobs, raw_bytes, live_bytes, table_bytes, compacted_bytes;
    uint64_t blob_bytes; /* of live_bytes, what was compressed: no headers, nothing rounded up */
    uint64_t mapped_bytes, held_bytes; /* segments: address space, and memory in it */
    uint64_t file_blobs, file_live_bytes, file_bytes; /* living in files, and taken there */
};
void za_store_stats(const struct za_store *s, struct za_store_stats *out);
/* WRITER.  Living blobs with this codec word (za_codec_word). */
uint64_t za_store_blobs_of(const struct za_store *s, uint32_t codec_word);
/* WRITER.  No reader can still be looking at a blob that has died before the last reclaim. */
bool za_store_quiet(const struct za_store *s);
/*
 * Every mapping of the store (segments, table), for footprint accounting: index 0.. until false.
 * WRITER or quiescent.
 */
bool za_store_area(const struct za_store *s, unsigned index, void **addr, size_t *len);
/* ZA_PARANOID walker: recomputes every counter; asserts. */
void za_store_check(const struct za_store *s);

#endif
