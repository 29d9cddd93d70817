/* SPDX-License-Identifier: MIT */
/*
 * filed -- blobs on their way to the file tier, and what is left of them there.
 *
 * A blob is filed as compaction moves it: its bytes are written at their new place first, then its
 * word says so. A reader sees the old place or the new; the old one's bytes stay until the grace
 * period is over. Living blobs are gathered from the segments that have been closed the longest,
 * encrypted and written in one go of up to a segment, and get a segment of their own there. In
 * memory there remains an index of their headers (16 bytes each), so that nothing but a restore
 * needs the file.
 *
 * Segments in files die as those in memory do. Space that is half dead is won back by the same step
 * with the sparse segments as its source, and so is a file that has become too old (tier.h): from
 * file to file, never back to memory.
 *
 * I1  Nothing has changed when a write fails: words are stored after it.
 * I2  A segment that cannot be read back is left where it is, and not tried again: one bad block
 *     must not keep the others from being emptied.  Its blobs are read when somebody needs them,
 *     and then it is fatal.
 *
 * Locks: none (W only, but za_store_load).  May sleep: in I/O.  May fault: own memory only.
 * Allocates: via ops, for as long as a step takes, and indexes.
 */
#include <errno.h>
#include <string.h>

#include "base/stat.h"
#include "compress/store_private.h"
#include "os/os.h"

#define BATCH_BLOBS 8192u
#define SPARSE_LEAST ((uint64_t)ZA_SEGMENT_BYTES * 2) /* dead bytes worth a step */
#define SPARSE_SHARE 4u                               /* of the bytes in files */

/* Memory of one step. */
struct batch {
    struct za_store *s;
    struct za_tier_place place;
    uint32_t room;     /* bytes that may be written */
    uint32_t n, bytes; /* blobs, and their bytes in the image */
    uint32_t moved;    /* with headers */
    int error;         /* what ended the gathering from files: I2 */
    struct za_filed blob[BATCH_BLOBS];
    struct za_reader reader;
    char image[ZA_SEGMENT_BYTES] __attribute__((aligned(ZA_TIER_BLOCK)));
};

static struct za_tier_place where(const struct za_segment *seg, uint32_t slot)
{
    const struct za_index *x = (const struct za_index *)(const void *)seg->base;
    return (struct za_tier_place){(uint8_t)(seg->file - 1), slot, x->bytes, seg->mark};
}

int za_store_load(const struct za_store *s, const struct za_blob_view *v, struct za_reader *r,
                  void *to)
{
    uint32_t slot = za_place_slot(v->place);
    struct za_tier_place p = where(za_segment_at(&s->segments, slot), slot);
    return za_tier_read(&s->tier, &p, r, za_store_filed(s, v->place)->at, v->size, to);
}

/* ---- gathering ---- */

static bool fits(const struct batch *b, uint32_t size)
{
    return b->n < BATCH_BLOBS && b->bytes + za_align_up(size, ZA_GRAIN) <= b->room;
}

/* The blob's bytes are in the image already. */
static void note(struct batch *b, const struct za_blob *head)
{
    b->blob[b->n++] = (struct za_filed){*head, b->bytes};
    b->bytes += (uint32_t)za_align_up(za_blob_size(head), ZA_GRAIN);
    b->moved += za_blob_bytes(za_blob_size(head));
}

static bool lives_at(const struct za_store *s, const struct za_blob *head, uint64_t place)
{
    return za_word_place(za_entry_get(za_table_at(&s->table, head->id))) == place;
}

/* False: the image is full. */
static bool gather_memory(struct batch *b, uint32_t slot, bool dense_only)
{
    struct za_segment *seg = za_segment_at(&b->s->segments, slot);
    uint32_t before = b->n;
    for (uint32_t at = 0; at < seg->used;) {
        uint64_t place = za_place_make(slot, at);
        const struct za_blob *blob = za_store_blob(b->s, place);
        uint32_t size = za_blob_size(blob);
        at += za_blob_bytes(size);
        if (!lives_at(b->s, blob, place) ||
            (dense_only && za_codec_of(blob->codec) != ZA_CODEC_ZSTD))
            continue;
        if (!fits(b, size))
            return false;
        memcpy(b->image + b->bytes, blob + 1, size);
        note(b, blob);
    }
    seg->picked = dense_only && b->n == before;
    return true;
}

/* I2: what has been gathered of it leaves the batch. */
static void leave_out(struct batch *b, uint32_t slot, uint32_t n, int error)
{
    za_segment_at(&b->s->segments, slot)->picked = 1;
    while (b->n > n) {
        const struct za_filed *f = &b->blob[--b->n];
        b->bytes = f->at;
        b->moved -= za_blob_bytes(za_blob_size(&f->head));
    }
    b->error = error;
}

/* False: the image is full, or the segment cannot be read: one that may take long is enough. */
static bool gather_file(struct batch *b, uint32_t slot)
{
    const struct za_segment *seg = za_segment_at(&b->s->segments, slot);
    const struct za_index *x = (const struct za_index *)(const void *)seg->base;
    struct za_tier_place p = where(seg, slot);
    uint32_t before = b->n;
    for (uint32_t i = 0; i < x->n; i++) {
        const struct za_filed *f = &x->blob[i];
        if (!lives_at(b->s, &f->head, (uint64_t)slot << 16 | i))
            continue;
        uint32_t size = za_blob_size(&f->head);
        if (!fits(b, size))
            return false;
        int r = za_tier_read(&b->s->tier, &p, &b->reader, f->at, size, b->image + b->bytes);
        if (r < 0) {
            leave_out(b, slot, before, r);
            return false;
        }
        note(b, &f->head);
    }
    return true;
}

/* The CLOSED segment that was closed first of those after `last`; 0: none early enough. */
static uint32_t coldest(const struct za_segments *ss, const struct za_file_rule *rule,
                        uint32_t last, uint64_t last_mark)
{
    uint64_t best_mark = rule->before;
    uint32_t best = 0;
    for (uint32_t slot = 1; slot < ss->high; slot++) {
        const struct za_segment *seg = za_segment_at(ss, slot);
        if (seg->state != ZA_SEG_CLOSED || seg->mark >= best_mark ||
            (rule->dense_only && seg->picked))
            continue;
        if (seg->mark < last_mark || (seg->mark == last_mark && slot <= last))
            continue;
        best = slot;
        best_mark = seg->mark;
    }
    return best;
}

/* ---- publishing ---- */

static struct za_index *make_index(const struct batch *b)
{
    struct za_index *x = b->s->ops.map(za_index_bytes(b->n, za_os->page_size));
    if (!x)
        return NULL;
    x->n = b->n;
    x->bytes = b->bytes;
    memcpy(x->blob, b->blob, b->n * sizeof(b->blob[0]));
    return x;
}

static void publish(struct batch *b, uint32_t slot, struct za_index *x)
{
    struct za_store *s = b->s;
    const struct za_segment as = {.base = (char *)x,
                                  .used = b->moved,
                                  .live = b->moved,
                                  .state = ZA_SEG_FILED,
                                  .file = (uint8_t)(b->place.file + 1),
                                  .mark = b->place.serial};
    za_segments_filed(&s->segments, slot, &as);
    for (uint32_t i = 0; i < b->n; i++) {
        struct za_entry *e = za_table_at(&s->table, b->blob[i].head.id);
        uint64_t from = za_word_place(za_entry_get(e));
        za_store_count(&s->file_blobs, !za_store_in_file(s, from));
        za_entry_move(e, (uint64_t)slot << 16 | i);
        za_segments_give(&s->segments, from, za_blob_bytes(za_blob_size(&b->blob[i].head)));
    }
}

static int write_out(struct batch *b)
{
    struct za_store *s = b->s;
    uint32_t slot = za_segments_slot(&s->segments, &s->ops);
    if (!slot)
        return -ENOMEM;
    struct za_index *x = make_index(b);
    int r = x ? za_tier_write(&s->tier, slot, b->image, b->bytes, &b->place) : -ENOMEM;
    if (r == 0) {
        publish(b, slot, x);
        return 0;
    }
    if (x)
        s->ops.unmap(x, za_index_bytes(b->n, za_os->page_size));
    za_segments_slot_free(&s->segments, slot);
    return r;
}

/* ---- steps ---- */

/* 0, or -errno. */
static int begin(struct za_store *s, enum za_tier_use use, struct batch **out)
{
    if (!s->tier.keys)
        return -ENOENT;
    uint32_t room = za_tier_room(&s->tier, use);
    if (room == 0)
        return -EDQUOT;
    struct batch *b = *out = s->ops.map(sizeof(*b));
    if (!b)
        return -ENOMEM;
    b->s = s;
    b->room = room;
    return 0;
}

static int64_t end(struct batch *b, uint32_t least)
{
    int64_t r = b->n && b->bytes >= least ? write_out(b) : 0;
    if (r == 0 && b->bytes >= least)
        r = b->moved;
    b->s->ops.unmap(b, sizeof(*b));
    za_stat_add(ZA_STAT_FILE_WRITTEN, r > 0 ? r : 0);
    return r;
}

int64_t za_store_file(struct za_store *s, const struct za_file_rule *rule)
{
    struct za_segments *ss = &s->segments;
    za_segments_close_aged(ss, rule->before, rule->least);
    bool poor = rule->dense_only && ss->poor; /* then only if there is a younger one */
    if (!coldest(ss, rule, poor ? ss->poor : 0, poor ? ss->poor_mark : 0))
        return 0;
    struct batch *b;
    int begun = begin(s, ZA_TIER_COMES, &b);
    if (begun < 0)
        return begun;
    uint32_t last = 0, slot = 0;
    uint64_t mark = 0;
    while ((slot = coldest(ss, rule, last, mark)) != 0 &&
           gather_memory(b, slot, rule->dense_only)) {
        last = slot;
        mark = za_segment_at(ss, slot)->mark;
    }
    int64_t r = end(b, za_min(rule->least, b->room / 2));
    if (rule->dense_only) {
        ss->poor = r == 0 ? last : 0;
        ss->poor_mark = mark;
    }
    return r;
}

static bool is_sparse(const struct za_segment *seg)
{
    return seg->live < seg->used / 2;
}

/* The first from `slot` on that is to be emptied: of file `old`, or of the sparse; 0: none. */
static uint32_t source(const struct za_segments *ss, int old, uint32_t slot)
{
    for (; slot < ss->high; slot++) {
        const struct za_segment *seg = za_segment_at(ss, slot);
        if (seg->state == ZA_SEG_FILED && !seg->picked &&
            (old >= 0 ? seg->file == old + 1 : is_sparse(seg)))
            return slot;
    }
    return 0;
}

/* Is so much dead in the files that it is worth a step? Of a small limit, less is. */
static bool much_dead(const struct za_store *s)
{
    const struct za_segments *ss = &s->segments;
    uint64_t dead = ss->filed_used - ss->filed_live, max = s->tier.max_bytes;
    uint64_t least = max ? za_min(SPARSE_LEAST, max / SPARSE_SHARE) : SPARSE_LEAST;
    return dead >= least && dead >= ss->filed_used / SPARSE_SHARE;
}

/* Where a step begins; *old: the file that is to be emptied, or -1. */
static uint32_t first_source(struct za_store *s, int *old)
{
    const struct za_segments *ss = &s->segments;
    *old = s->tier.keys ? za_tier_oldest(&s->tier) : -1;
    uint32_t slot = *old >= 0 ? source(ss, *old, 1) : 0;
    if (slot)
        return slot;
    *old = -1;
    return much_dead(s) ? source(ss, *old, 1) : 0;
}

int64_t za_store_refile(struct za_store *s)
{
    const struct za_segments *ss = &s->segments;
    int old;
    uint32_t slot = first_source(s, &old);
    struct batch *b;
    int begun = slot ? begin(s, ZA_TIER_MOVES, &b) : 0;
    if (!slot || begun < 0) /* or there will be room without more ado */
        return begun == -EDQUOT && (ss->young || ss->aged) ? 0 : begun;
    while (slot && gather_file(b, slot))
        slot = source(ss, old, slot + 1);
    int error = b->error;
    int64_t r = end(b, 1);
    za_stat_add(ZA_STAT_FILE_MOVED, r > 0 ? r : 0);
    return r ? r : error;
}

/* ---- what is left behind ---- */

/* The seal of a file is broken: everything in it that is no segment of ours is dead. */
static void sweep(struct za_store *s, struct za_tier_file *f)
{
    struct za_segments *ss = &s->segments;
    uint8_t number = (uint8_t)(f - s->tier.file + 1);
    f->sweep = false;
    for (uint32_t slot = 1; slot < ss->high; slot++)
        if (za_segment_at(ss, slot)->file != number &&
            za_os->tier_punch(f->fd, (uint64_t)slot * ZA_SEGMENT_BYTES, ZA_SEGMENT_BYTES) < 0)
            return;
    f->left_bytes = 0;
}

void za_filed_reap(struct za_store *s)
{
    struct za_segments *ss = &s->segments;
    uint32_t slot;
    while ((slot = za_segments_gone(ss)) != 0) {
        struct za_segment *seg = za_segment_at(ss, slot);
        struct za_tier_place p = where(seg, slot);
        const struct za_index *x = (const struct za_index *)(const void *)seg->base;
        s->ops.unmap(seg->base, za_index_bytes(x->n, za_os->page_size));
        za_segments_slot_free(ss, slot);
        za_tier_gone(&s->tier, &p);
    }
    for (unsigned i = 0; i < ZA_TIER_FILES; i++)
        if (s->tier.file[i].sweep)
            sweep(s, &s->tier.file[i]);
}

void za_filed_free(struct za_store *s)
{
    for (uint32_t slot = 1; slot < s->segments.high; slot++) {
        const struct za_segment *seg = za_segment_at(&s->segments, slot);
        const struct za_index *x = (const struct za_index *)(const void *)seg->base;
        if (seg->file)
            s->ops.unmap(seg->base, za_index_bytes(x->n, za_os->page_size));
    }
    za_tier_forget(&s->tier, &s->ops);
}

/* ---- asked from outside ---- */

void za_store_clock(struct za_store *s, uint64_t now)
{
    s->segments.clock = now;
}

void za_store_close(struct za_store *s)
{
    za_segments_close(&s->segments);
}

bool za_store_has_filed(const struct za_store *s)
{
    return __atomic_load_n(&s->segments.filed, __ATOMIC_RELAXED) != 0;
}

uint64_t za_store_held(const struct za_store *s)
{
    const struct za_segments *ss = &s->segments;
    uint64_t spare = ss->spare ? za_segment_at(ss, ss->spare)->held : 0;
    return (ss->held - spare) * ZA_SEGMENT_BLOCK;
}

struct za_tier *za_store_tier(struct za_store *s)
{
    return &s->tier;
}
