/* SPDX-License-Identifier: MIT */
/*
 * account -- what the store holds: statistics, every mapping,
 * and the walker that recomputes all of it.
 *
 * Locks: none.  May sleep: no.  May fault: own memory only.  Allocates: nothing.
 */
#include "compress/store_private.h"
#include "os/os.h"

/* Items are used from the front, so this is the part of a ladder's own rungs that is resident. */
static uint64_t touched(const struct za_ladder *l, uint32_t high)
{
    uint32_t given = l->given << l->first_shift;

    return high > given ? za_align_up((size_t)(high - given) * l->item_bytes, za_os->page_size) : 0;
}

static uint64_t look(const uint64_t *counter)
{
    return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

void za_store_stats(const struct za_store *s, struct za_store_stats *out)
{
    uint32_t ids = __atomic_load_n(&s->table.high, __ATOMIC_RELAXED);
    uint32_t slots = __atomic_load_n(&s->segments.high, __ATOMIC_RELAXED);

    *out = (struct za_store_stats){
        .blobs = look(&s->counts.blobs),
        .raw_bytes = look(&s->counts.raw_bytes),
        .live_bytes = look(&s->counts.live_bytes),
        .blob_bytes = look(&s->counts.blob_bytes),
        .compacted_bytes = look(&s->counts.compacted_bytes),
        .mapped_bytes = look(&s->segments.mapped) * ZA_SEGMENT_BYTES,
        .held_bytes = look(&s->segments.held) * ZA_SEGMENT_BLOCK,
        .file_blobs = look(&s->file_blobs),
        .file_live_bytes = look(&s->segments.filed_live),
        .file_bytes = za_tier_bytes(&s->tier),
        .table_bytes = za_align_up(sizeof(*s), za_os->page_size) +
                       touched(&s->table.ladder, (ids + ZA_GROUP_IDS - 1) / ZA_GROUP_IDS) +
                       touched(&s->segments.ladder, slots),
    };
}

static bool rung_area(const struct za_ladder *l, unsigned k, void **addr, size_t *len)
{
    *addr = l->rung[k];
    *len = za_ladder_rung_bytes(l, k);
    return true;
}

/*
 * A slot without a mapping is an area of length 0:
 * the index stays cheap and callers that sum do not mind.
 */
bool za_store_area(const struct za_store *s, unsigned index, void **addr, size_t *len)
{
    if (index-- == 0) {
        *addr = (void *)(uintptr_t)s;
        *len = za_align_up(sizeof(*s), za_os->page_size);
        return true;
    }
    if (index-- == 0) {
        *addr = s->tier.keys;
        *len = s->tier.keys ? za_tier_key_bytes() : 0;
        return true;
    }
    if (index < s->table.ladder.rungs)
        return rung_area(&s->table.ladder, index, addr, len);
    index -= s->table.ladder.rungs;
    const struct za_ladder *l = &s->segments.ladder;
    if (index < l->rungs - l->given)
        return rung_area(l, index + l->given, addr, len);
    index -= l->rungs - l->given;
    if (index + 1 >= s->segments.high)
        return false;
    const struct za_segment *seg = za_segment_at(&s->segments, index + 1);
    const struct za_index *x = (const struct za_index *)(const void *)seg->base;
    *addr = seg->base;
    *len = !x ? 0 : seg->file ? za_index_bytes(x->n, za_os->page_size) : ZA_SEGMENT_BYTES;
    return true;
}

struct sums {
    uint64_t blobs, raw, live, bytes, filed;
};

/* Walks the blobs of one segment and returns how many of its bytes live. */
static uint32_t check_blobs(const struct za_store *s, uint32_t slot, struct sums *sum)
{
    const struct za_segment *seg = za_segment_at(&s->segments, slot);
    uint32_t live = 0;

    for (uint32_t at = 0; at < seg->used;) {
        uint64_t place = za_place_make(slot, at);
        const struct za_blob *b = za_store_blob(s, place);
        uint32_t bytes = za_blob_bytes(za_blob_size(b));
        uint64_t word = za_entry_get(za_table_at(&s->table, b->id));
        if (za_word_place(word) == place) {
            live += bytes;
            sum->blobs++;
            sum->raw += za_blob_raw(b);
            sum->bytes += za_blob_size(b);
        }
        at += bytes;
        ZA_ASSERT(at <= seg->used);
    }
    return live;
}

/* The same for a segment in a file; also how many of its blobs live. */
static uint32_t check_filed(const struct za_store *s, uint32_t slot, struct sums *sum)
{
    const struct za_segment *seg = za_segment_at(&s->segments, slot);
    const struct za_index *x = (const struct za_index *)(const void *)seg->base;
    uint32_t live = 0, end = 0;

    for (uint32_t i = 0; i < x->n; i++) {
        const struct za_filed *f = &x->blob[i];
        uint64_t word = za_entry_get(za_table_at(&s->table, f->head.id));
        ZA_ASSERT(f->at >= end && f->at + za_blob_size(&f->head) <= x->bytes);
        end = f->at + za_blob_size(&f->head);
        if (za_word_place(word) != ((uint64_t)slot << 16 | i))
            continue;
        live += za_blob_bytes(za_blob_size(&f->head));
        sum->blobs++;
        sum->filed++;
        sum->raw += za_blob_raw(&f->head);
        sum->bytes += za_blob_size(&f->head);
    }
    return live;
}

static void check_segments(const struct za_store *s, struct sums *sum)
{
    const struct za_segments *ss = &s->segments;
    uint64_t mapped = 0, used = 0, live = 0, filed = 0, filed_used = 0, filed_live = 0, held = 0;
    uint32_t count[ZA_SEG_FILED + 1] = {0}, inherited = 0;

    for (uint32_t slot = 1; slot < ss->high; slot++) {
        const struct za_segment *seg = za_segment_at(ss, slot);
        ZA_ASSERT((seg->base != NULL) == (seg->state != ZA_SEG_NONE));
        count[seg->state]++;
        mapped += seg->base && !seg->file;
        filed += seg->file != 0;
        held += seg->held;
        ZA_ASSERT(seg->state != ZA_SEG_FILED || (seg->file && seg->live > 0));
        if (seg->state == ZA_SEG_FILED) {
            ZA_ASSERT(check_filed(s, slot, sum) == seg->live && seg->live <= seg->used);
            sum->live += seg->live;
            filed_used += seg->used;
            filed_live += seg->live;
        }
        if (seg->state != ZA_SEG_OPEN && seg->state != ZA_SEG_CLOSED)
            continue;
        ZA_ASSERT(seg->live <= seg->used && seg->used <= (uint64_t)seg->held * ZA_SEGMENT_BLOCK);
        ZA_ASSERT(seg->used <= ZA_SEGMENT_BYTES);
        ZA_ASSERT(check_blobs(s, slot, sum) == seg->live);
        sum->live += seg->live;
        bool theirs = seg->state == ZA_SEG_CLOSED && seg->mark == ZA_INHERITED;
        inherited += theirs;
        if (seg->state == ZA_SEG_CLOSED) {
            ZA_ASSERT(seg->live > 0);
            used += theirs ? 0 : seg->used;
            live += theirs ? 0 : seg->live;
        }
    }
    ZA_ASSERT(inherited == ss->inherited);
    ZA_ASSERT(held == ss->held && mapped == ss->mapped && used == ss->closed_used &&
              live == ss->closed_live);
    ZA_ASSERT(filed == ss->filed && filed_used == ss->filed_used && filed_live == ss->filed_live);
    ZA_ASSERT(count[ZA_SEG_OPEN] == (ss->open != 0) + (uint32_t)(ss->moved != 0) &&
              count[ZA_SEG_SPARE] == (ss->spare != 0));
    ZA_ASSERT(!ss->victim || za_segment_at(ss, ss->victim)->state == ZA_SEG_CLOSED);
}

/* Every slot ever used is mapped or waits on the list of free ones. */
static void check_slots(const struct za_segments *ss)
{
    uint64_t nfree = 0;

    for (uint32_t slot = ss->free_slots; slot; slot = za_segment_at(ss, slot)->next) {
        ZA_ASSERT(za_segment_at(ss, slot)->state == ZA_SEG_NONE);
        nfree++;
    }
    ZA_ASSERT(nfree + ss->mapped + ss->filed == ss->high - 1);
}

static uint64_t list_length(const struct za_table *t, uint32_t id)
{
    uint64_t n = 0;

    for (; id; id = za_table_next(t, id)) {
        ZA_ASSERT(!za_word_used(za_entry_get(za_table_at(t, id))));
        n++;
    }
    return n;
}

static void check_ids(const struct za_store *s)
{
    const struct za_table *t = &s->table;
    uint64_t given = 0;

    for (uint32_t id = 1; id < t->high; id++)
        given += za_word_used(za_entry_get(za_table_at(t, id)));
    ZA_ASSERT(given == s->counts.blobs);
    ZA_ASSERT(given + list_length(t, t->free.head) + list_length(t, t->young.head) +
                  list_length(t, t->aged.head) ==
              t->high - 1);
}

void za_store_check(const struct za_store *s)
{
    struct sums sum = {0};

    check_segments(s, &sum);
    check_slots(&s->segments);
    check_ids(s);
    ZA_ASSERT(sum.blobs == s->counts.blobs && sum.raw == s->counts.raw_bytes);
    ZA_ASSERT(sum.live == s->counts.live_bytes && sum.bytes == s->counts.blob_bytes);
    ZA_ASSERT(sum.filed == s->file_blobs);
}
