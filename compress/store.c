/* SPDX-License-Identifier: MIT */
/*
 * store -- puts, finds and forgets blobs; runs the grace period.
 *
 * Moves nothing (compact.c) and knows no page: who refers to a blob is the pager's business.
 * Theory and invariants: store_private.h.
 * Locks: none.  May sleep: in map, unmap (writer).  May fault: own memory only.
 * Allocates: via ops.
 */
#include "base/remedy.h"
#include "compress/store_private.h"

#include <string.h>

#include "os/os.h"

static size_t self_bytes(void)
{
    return za_align_up(sizeof(struct za_store), za_os->page_size);
}

struct za_store *za_store_new(const struct za_store_ops *ops)
{
    struct za_store *s = ops->map(self_bytes());

    if (!s)
        return NULL;
    s->ops = *ops;
    s->tier.dir = -1;
    za_table_init(&s->table);
    za_segments_init(&s->segments);
    return s;
}

void za_store_free(struct za_store *s)
{
    struct za_store_ops ops = s->ops;

    za_filed_free(s);
    za_segments_free(&s->segments, &ops);
    za_ladder_free(&s->table.ladder, &ops);
    ops.unmap(s, self_bytes());
}

static void fill(struct za_blob *b, const void *bytes, struct za_blob head)
{
    *b = head;
    memcpy(b + 1, bytes, za_blob_size(&head));
}

static void count_blob(struct za_store *s, const struct za_blob *b, int sign)
{
    za_store_count(&s->counts.blobs, sign);
    s->of_codec[b->codec] += (uint64_t)(int64_t)sign;
    za_store_count(&s->counts.raw_bytes, sign * (int64_t)za_blob_raw(b));
    za_store_count(&s->counts.live_bytes, sign * (int64_t)za_blob_bytes(za_blob_size(b)));
    za_store_count(&s->counts.blob_bytes, sign * (int64_t)za_blob_size(b));
}

uint32_t za_store_put(struct za_store *s, const void *bytes, uint32_t size, uint32_t raw,
                      uint32_t checksum, uint32_t codec, uint32_t refs)
{
    ZA_ASSERT(size && size <= ZA_BLOB_MAX_RAW);
    ZA_ASSERT(raw && raw <= ZA_BLOB_MAX_RAW && raw % ZA_BLOB_RAW_UNIT == 0);
    ZA_ASSERT(refs && refs <= ZA_BLOB_MAX_REFS && codec < ZA_CODEC_WORDS);
    uint32_t id = za_table_take(&s->table, &s->ops);
    if (!id)
        return ZA_BLOB_NONE;
    uint64_t place = za_segments_take(&s->segments, &s->ops, za_blob_bytes(size));
    if (!place) {
        za_table_untake(&s->table, id);
        return ZA_BLOB_NONE;
    }
    struct za_blob *b = za_store_blob(s, place);
    fill(b, bytes, za_blob_head(checksum, id, size, raw, codec));
    count_blob(s, b, 1);
    za_entry_set(za_table_at(&s->table, id), za_word_make(place, refs));
    return id;
}

/* The id has no reference any more, and nobody who could give it one. */
static void bury(struct za_store *s, uint32_t id)
{
    uint64_t place = za_word_place(za_entry_get(za_table_at(&s->table, id)));
    const struct za_blob *b = za_store_head(s, place);

    count_blob(s, b, -1);
    za_store_count(&s->file_blobs, -(int64_t)za_store_in_file(s, place));
    za_table_retire(&s->table, id);
    za_segments_give(&s->segments, place, za_blob_bytes(za_blob_size(b)));
}

void za_store_release(struct za_store *s, uint32_t id, uint32_t refs)
{
    ZA_ASSERT(id && id < s->table.high);
    struct za_entry *e = za_table_at(&s->table, id);
    if (!refs)
        return;
    ZA_ASSERT(za_word_used(za_entry_get(e)));
    if (za_entry_take(e, refs))
        bury(s, id);
}

bool za_store_share(struct za_store *s, uint32_t id, uint32_t refs)
{
    if (!id || id >= s->table.high)
        return false;
    struct za_entry *e = za_table_at(&s->table, id);
    uint64_t word = za_entry_get(e);
    if (!za_word_used(word) || za_word_refs(word) > ZA_BLOB_MAX_REFS - refs)
        return false;
    za_entry_add(e, refs);
    return true;
}

/* Those of 64 ids whose last reference a reader took, and that have been given none since. */
static void settle_group(struct za_store *s, uint32_t g, uint64_t bits)
{
    for (; bits; bits &= bits - 1) {
        uint32_t id = (g - 1) * ZA_GROUP_IDS + (uint32_t)__builtin_ctzll(bits);
        uint64_t word = za_entry_get(za_table_at(&s->table, id));
        if (za_word_used(word) && !za_word_refs(word))
            bury(s, id);
    }
}

static void settle_dropped(struct za_store *s)
{
    uint32_t g = za_table_dropped(&s->table);

    while (g) {
        uint64_t bits;
        uint32_t next = za_table_dropped_next(&s->table, g, &bits);
        settle_group(s, g, bits);
        g = next;
    }
}

static bool grace_passed(const struct za_store *s)
{
    if (!(s->grace_seq & 1))
        return true;
    return __atomic_load_n(&s->read_seq, __ATOMIC_SEQ_CST) != s->grace_seq;
}

static void grace_begin(struct za_store *s)
{
    bool ids = za_table_grace_begin(&s->table);
    bool segments = za_segments_grace_begin(&s->segments);

    s->in_grace = ids || segments;
    s->grace_seq = __atomic_load_n(&s->read_seq, __ATOMIC_SEQ_CST);
}

/* At most two periods: the one that was running, and the one for what has gathered since. */
void za_store_settle(struct za_store *s)
{
    for (int period = 0; period < 2; period++) {
        if (s->in_grace && !za_without(P1_GRACE) && !grace_passed(s))
            return;
        za_table_grace_end(&s->table);
        za_segments_grace_end(&s->segments, &s->ops);
        za_filed_reap(s);
        grace_begin(s);
    }
}

void za_store_reclaim(struct za_store *s)
{
    za_segments_rest(&s->segments, &s->ops);
    settle_dropped(s);
    za_store_settle(s);
}

uint64_t za_store_blobs_of(const struct za_store *s, uint32_t codec_word)
{
    return s->of_codec[codec_word];
}

bool za_store_quiet(const struct za_store *s)
{
    return !s->in_grace;
}

/* seq_cst: R1 of store_private.h. */
void za_store_read_begin(struct za_store *s)
{
    uint32_t seq = __atomic_fetch_add(&s->read_seq, 1, __ATOMIC_SEQ_CST);

    ZA_DASSERT(!(seq & 1));
    (void)seq;
}

/* release: the writer that sees the new number may reuse what this section looked at. */
void za_store_read_end(struct za_store *s)
{
    uint32_t seq = __atomic_fetch_add(&s->read_seq, 1, __ATOMIC_RELEASE);

    ZA_DASSERT(seq & 1);
    (void)seq;
}

bool za_store_get(struct za_store *s, uint32_t id, struct za_blob_view *out)
{
    if (!id)
        return false;
    uint64_t word = za_entry_get(za_table_at(&s->table, id));
    if (!za_word_used(word))
        return false;
    uint64_t place = za_word_place(word);
    const struct za_blob *b = za_store_head(s, place);
    *out = (struct za_blob_view){.bytes = za_store_in_file(s, place) ? NULL : b + 1,
                                 .size = za_blob_size(b),
                                 .raw = za_blob_raw(b),
                                 .checksum = b->checksum,
                                 .codec = b->codec,
                                 .place = place};
    return true;
}

void za_store_drop_later(struct za_store *s, uint32_t id, uint32_t refs)
{
    ZA_ASSERT(id);
    if (refs)
        za_table_drop(&s->table, id, refs);
}

void za_store_child(struct za_store *s)
{
    if (s->read_seq & 1)
        za_store_read_end(s);
    za_segments_inherit(&s->segments);
}

void za_store_own(struct za_store *s)
{
    za_segments_own(&s->segments);
}

bool za_store_inherited(const struct za_store *s, uint64_t place)
{
    return za_segment_inherited(&s->segments, za_place_slot(place));
}
