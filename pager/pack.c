/* SPDX-License-Identifier: MIT */
/*
 * pack -- compresses the pages of a unit that stayed untouched in limbo,
 * cluster by cluster, into blobs.
 *
 * A cluster's pages are copied out of the mirror, their dead bytes zeroed in the copy, and
 * compressed together, but for those whose bytes the store holds already (share.c) or that are one
 * word over and over. F may take any of them away at any moment: the commit finds out (page.h I6).
 * Where a cluster packs badly its pages are looked at one by one: those that do not compress stay in
 * the heap, and the others are packed without them.
 *
 * Liveness is asked after the page has left the program's reach and after a barrier on all threads
 * (I7), so an object written before the move is an object known live; and what it says dead may be
 * alive in a child made before: commits and drops wait for calm (calm.c).
 *
 * Locks: none (W only).  May sleep: mmap_lock.
 * May fault: on mirror pages F took away (F fills them).  Allocates: blobs in the store.
 */
#include <errno.h>
#include <string.h>

#include "base/conf.h"
#include "base/remedy.h"
#include "base/stat.h"
#include "compress/choose.h"
#include "pager/filing.h"
#include "pager/private.h"
#include "pager/share.h"

#define GRANULE 16u
#define MASK_WORDS (ZA_BLOB_MAX_RAW / GRANULE / 64)
#define WORKSPACE_BYTES (160 * ZA_KIB)
#define KINDS 256u
/* A blob above this share of its pages is not worth a fault later. */
#define WORTH_NUM 3
#define WORTH_DEN 4
#define POOR 2 /* one above this share may hide a page that does not compress */

static char staging[ZA_BLOB_MAX_RAW] __attribute__((aligned(64)));
static char packed[ZA_BLOB_MAX_RAW] __attribute__((aligned(64)));
static bool liveness_known; /* every thread's stores before the last move are visible (I7) */
static char workspace[WORKSPACE_BYTES] __attribute__((aligned(64)));
static struct za_choice choices[KINDS];

/*
 * Pages of one cluster on their way into the store: into a blob that is to be made of the
 * first `fresh` pages of `staging`, or (blob not 0) into one that holds their bytes already, to
 * which they have a reference.
 */
struct batch {
    size_t page[ZA_CLUSTER_PAGES];
    struct za_shared at[ZA_CLUSTER_PAGES];
    uint64_t tag[ZA_CLUSTER_PAGES]; /* of the pages in staging */
    unsigned n, fresh;
    unsigned same; /* bit i: page i is one word over and over */
};

static void wait_a_moment(void)
{
    za_os->relax();
}

/* Takes a page out of PACKING; false: F was faster and has it. */
static bool take(size_t page, enum za_page_state to)
{
    if (!za_page_swap(&za_pg.pages[page], ZA_PAGE_PACKING, to)) {
        za_stat_add(ZA_STAT_PG_RACED, 1);
        return false;
    }
    za_stat_add(ZA_STAT_PG_LIMBO, -1);
    return true;
}

/* A page without content: it becomes a hole. Its mirror is purged with the unit's (page.h I9). */
static void drop(size_t page, enum za_stat_id why)
{
    za_calm_begin();
    if (take(page, ZA_PAGE_KERNEL))
        za_stat_add(why, 1);
    za_calm_end();
}

/*
 * To the heap again; a page that is refused stays in limbo, where it costs its user one fault. A
 * bare child made before a copy was has it from the mirror, as long as the record says so (calm.c).
 */
static void give_back_page(size_t page)
{
    uint64_t *rec = &za_pg.pages[page];
    int r = za_pg.mover->back(page, wait_a_moment);
    enum za_page_state to = r < 0 ? ZA_PAGE_LIMBO : ZA_PAGE_KERNEL;
    bool mine, calm = !za_without(D1_BACK);
    if (calm)
        za_calm_begin();
    while (!(mine = za_page_swap(rec, ZA_PAGE_RETURNING, to)) && za_page_get(rec) != ZA_PAGE_KERNEL)
        za_os->relax(); /* F has it and will be done in a moment */
    if (calm)
        za_calm_end();
    if (mine && to == ZA_PAGE_LIMBO)
        za_stat_add(ZA_STAT_PG_LIMBO, 1);
    else if (mine && !za_pg.mover->reported)
        (void)za_os->purge(za_pg_mirror(page), za_pg_page_size());
}

static void refuse(size_t page, enum za_stat_id why)
{
    if (!take(page, ZA_PAGE_RETURNING))
        return;
    give_back_page(page);
    za_stat_add(why, 1);
}

/* The pages that have no blob. */
static void give_back(const struct batch *b, enum za_stat_id why)
{
    for (unsigned i = 0; i < b->n; i++)
        if (b->at[i].blob == ZA_BLOB_NONE)
            refuse(b->page[i], why);
}

/*
 * Before the pages of a unit are scrubbed:
 * what any thread stored before now is visible (I7), or nothing is dead.
 */
void za_scrub_begin(void)
{
    liveness_known = true;
    if (!za_without(P1_BARRIER))
        liveness_known = za_os->sync_threads() == 0;
}

/* Zeroes the granules of `copy` that hold no live byte; returns the number of live granules. */
size_t za_scrub(size_t page, char *copy)
{
    uint64_t mask[MASK_WORDS];
    size_t size = za_pg_page_size(), granules = size / GRANULE;
    if (!liveness_known)
        return granules;
    memset(mask, 0, granules / 8);
    size_t live = za_pg.owner->live((uintptr_t)za_pg_heap(page), size, mask);
    if (live == granules || live == 0)
        return live;
    for (size_t i = 0; i < granules; i++)
        if (!(mask[i / 64] >> (i % 64) & 1))
            memset(copy + i * GRANULE, 0, GRANULE);
    return live;
}

static void drop_zero(size_t page)
{
    drop(page, ZA_STAT_PG_ZERO);
    za_share_count(ZA_STAT_DD_ZERO);
}

static void join(struct batch *b, size_t page, struct za_shared at, enum za_stat_id what)
{
    b->at[b->n] = at;
    b->page[b->n++] = page;
    za_share_count(what);
}

/* True: the page is one word over and over, and needs no compression (nor, of zeros, a blob). */
static bool stage_same(struct batch *b, size_t page, const char *copy)
{
    uint64_t word;
    if (za_conf.dedup == ZA_DEDUP_OFF || !za_page_is_same(copy, za_pg_page_size(), &word))
        return false;
    if (word == 0) {
        drop_zero(page);
        return true;
    }
    struct za_shared at = {.blob = za_share_same(copy, word)};
    if (at.blob == ZA_BLOB_NONE)
        return false;
    b->same |= 1u << b->n;
    join(b, page, at, ZA_STAT_DD_SAME);
    return true;
}

/*
 * Copies the pages of a cluster that can be claimed side by side into `staging`, but for those that
 * need no compression.  Returns how many, with their numbers and tags.
 */
static unsigned gather(struct batch *b, size_t first, size_t page[ZA_CLUSTER_PAGES])
{
    size_t size = za_pg_page_size();
    unsigned n = 0;
    for (size_t p = first; p < first + za_pg.cluster_pages; p++) {
        char *copy = staging + n * size;
        if (!za_page_swap(&za_pg.pages[p], ZA_PAGE_LIMBO, ZA_PAGE_PACKING))
            continue;
        memcpy(copy, za_pg_mirror(p), size);
        if (za_scrub(p, copy) == 0) {
            drop(p, ZA_STAT_PG_DEAD);
        } else if (!stage_same(b, p, copy)) {
            b->tag[n] = za_share_tag(copy);
            page[n++] = p;
        }
    }
    return n;
}

/*
 * Page i of those gathered: to one that has the same bytes, in the batch or in the store, or behind
 * the fresh ones.
 */
static void stage_content(struct batch *b, unsigned i, size_t page)
{
    size_t size = za_pg_page_size();
    const char *copy = staging + i * size;
    uint64_t tag = b->tag[i];
    struct za_shared at = za_share_find(copy, tag, ZA_SHARE_ANY);
    if (at.blob != ZA_BLOB_NONE && za_store_share(za_pg.store, at.blob, 1)) {
        join(b, page, at, ZA_STAT_DD_DUPLICATE);
        return;
    }
    for (unsigned k = 0; tag != ZA_TAG_NONE && k < b->fresh; k++) {
        if (b->tag[k] != tag || memcmp(copy, staging + k * size, size) != 0)
            continue;
        join(b, page, (struct za_shared){ZA_BLOB_NONE, k}, ZA_STAT_DD_DUPLICATE);
        return;
    }
    if (b->fresh != i)
        memcpy(staging + b->fresh * size, copy, size);
    b->tag[b->fresh] = tag;
    join(b, page, (struct za_shared){ZA_BLOB_NONE, b->fresh++},
         tag != ZA_TAG_NONE ? ZA_STAT_DD_UNIQUE : ZA_STAT_DD_SKIPPED);
}

/* Takes a page to the blob that has its bytes; false: F was faster, and the reference goes back. */
static bool store_page(const struct batch *b, unsigned i)
{
    struct za_shared at = b->at[i];
    if (za_page_swap(&za_pg.pages[b->page[i]], ZA_PAGE_PACKING,
                     za_page_make(ZA_PAGE_STORED, at.index, at.blob)))
        return true;
    za_store_release(za_pg.store, at.blob, 1);
    return false;
}

/* The pages that have a blob. */
static void commit(const struct batch *b)
{
    unsigned all = 0, kept = 0, same = 0;
    za_calm_begin();
    for (unsigned i = 0; i < b->n; i++) {
        if (b->at[i].blob == ZA_BLOB_NONE)
            continue;
        bool stored = store_page(b, i);
        all++;
        kept += stored;
        same += stored && (b->same >> i & 1);
    }
    za_calm_end();
    za_stat_add(ZA_STAT_PG_RACED, all - kept);
    za_stat_add(ZA_STAT_PG_PACKED, kept);
    za_stat_add(ZA_STAT_PG_SAME, same);
    za_stat_add(ZA_STAT_PG_STORED, kept);
    za_stat_add(ZA_STAT_PG_LIMBO, -(int64_t)kept);
}

/* Pages of one kind are packed the way that suits them. */
static struct za_choice *choice_for(const struct batch *b)
{
    uintptr_t page = (uintptr_t)za_pg_heap(b->page[0]);
    return &choices[za_pg.owner->kind ? za_pg.owner->kind(page) : 0];
}

/* Into `packed`; 0: not worth it. */
static size_t compress(struct za_choice *c, const char *copy, size_t raw, enum za_codec_id *codec)
{
    ZA_DASSERT(za_choose_room_bytes() <= sizeof(workspace));
    if (za_page_looks_random(copy, raw))
        return 0;
    return za_choose_pack(c, workspace, copy, raw, packed, raw * WORTH_NUM / WORTH_DEN, codec);
}

/* The fresh pages, as they are in `staging`. */
static size_t compress_batch(const struct batch *b, enum za_codec_id *codec)
{
    return compress(choice_for(b), staging, (size_t)b->fresh << za_pg.page_shift, codec);
}

static unsigned count_blobless(const struct batch *b)
{
    unsigned n = 0;
    for (unsigned i = 0; i < b->n; i++)
        n += b->at[i].blob == ZA_BLOB_NONE;
    return n;
}

static void name_blob(struct batch *b, uint32_t blob)
{
    for (unsigned i = 0; i < b->fresh; i++)
        za_share_note(b->tag[i], blob, i);
    for (unsigned i = 0; i < b->n; i++)
        if (b->at[i].blob == ZA_BLOB_NONE)
            b->at[i].blob = blob;
}

static void leave_alone(size_t page)
{
    za_pg.units[za_pg_unit_of_page(page)].raw |= (uint16_t)(1u << page % za_pg.unit_pages);
}

/*
 * The fresh pages do not compress: those whose bytes have been seen elsewhere are stored as they
 * are, each in a blob of its own, while there is room: until there is some again they go back to
 * the heap. So do the others, which are left alone for long.
 */
static void store_raw(struct batch *b)
{
    size_t size = za_pg_page_size();
    for (unsigned i = 0; i < b->n; i++) {
        struct za_shared *at = &b->at[i];
        const char *copy = staging + at->index * size;
        if (at->blob != ZA_BLOB_NONE)
            continue;
        bool seen = za_share_seen(b->tag[at->index], b->page[i]);
        if (seen && !za_filing_room()) {
            refuse(b->page[i], ZA_STAT_PG_REFUSED_FULL);
            continue;
        }
        if (seen)
            at->blob = za_store_put(za_pg.store, copy, (uint32_t)size, (uint32_t)size,
                                    za_checksum(copy, size), za_codec_word(ZA_CODEC_RAW, 0), 1);
        if (at->blob == ZA_BLOB_NONE) {
            leave_alone(b->page[i]);
            refuse(b->page[i], ZA_STAT_PG_RAW);
            continue;
        }
        za_share_note(b->tag[at->index], at->blob, 0);
        at->index = 0;
    }
}

/* ---- pages of a cluster that packs badly ------------------------------------------------------
 */

/*
 * The fresh pages that do not compress, bit by bit. Random ones are told by a look. The others are
 * packed one by one only when together they were not worth it (`size` 0); `packed` is lost then.
 */
static unsigned find_bad(const struct batch *b, size_t size)
{
    size_t page_size = za_pg_page_size();
    unsigned bad = 0;
    for (unsigned k = 0; k < b->fresh; k++) {
        const char *copy = staging + k * page_size;
        struct za_choice c = *choice_for(b); /* a copy: a page is no sample of its kind */
        enum za_codec_id codec;
        bool good = size ? !za_page_looks_random(copy, page_size)
                         : compress(&c, copy, page_size, &codec) != 0;
        bad |= (unsigned)!good << k;
    }
    return bad;
}

/* Moves the pages whose bytes are among the `bad` ones of `staging` from `b` to `out`. */
static void take_out(struct batch *b, unsigned bad, struct batch *out)
{
    unsigned n = 0, same = 0;
    *out = (struct batch){.n = 0};
    memcpy(out->tag, b->tag, sizeof(out->tag));
    for (unsigned i = 0; i < b->n; i++) {
        bool goes = b->at[i].blob == ZA_BLOB_NONE && (bad >> b->at[i].index & 1);
        struct batch *to = goes ? out : b;
        unsigned *place = goes ? &out->n : &n;
        same |= (b->same >> i & 1) << n;
        to->page[*place] = b->page[i];
        to->at[(*place)++] = b->at[i];
    }
    b->n = n;
    b->same = same;
}

/* The fresh pages that are left move together. */
static void close_ranks(struct batch *b, unsigned bad)
{
    size_t size = za_pg_page_size();
    unsigned to[ZA_CLUSTER_PAGES] = {0}, n = 0;
    for (unsigned k = 0; k < b->fresh; k++) {
        if (bad >> k & 1)
            continue;
        if (n != k)
            memcpy(staging + n * size, staging + k * size, size);
        b->tag[n] = b->tag[k];
        to[k] = n++;
    }
    b->fresh = n;
    for (unsigned i = 0; i < b->n; i++)
        if (b->at[i].blob == ZA_BLOB_NONE)
            b->at[i].index = to[b->at[i].index];
}

/* True: some of the fresh pages do not compress and have left the batch; the others may. */
static bool sift(struct batch *b, size_t size)
{
    struct batch out;
    if (b->fresh < 2 || (size && size <= ((size_t)b->fresh << za_pg.page_shift) / POOR))
        return false;
    unsigned bad = find_bad(b, size);
    if (bad == 0 || bad == (1u << b->fresh) - 1)
        return false;
    take_out(b, bad, &out);
    store_raw(&out);
    commit(&out);
    close_ranks(b, bad);
    return true;
}

/* ---- a cluster --------------------------------------------------------------------------------
 */

/* Makes the blob of the fresh pages. False: there is no room, and they went back. */
static bool pack_fresh(struct batch *b)
{
    enum za_codec_id codec = ZA_CODEC_LZ4;
    size_t size = compress_batch(b, &codec);
    if (sift(b, size))
        size = compress_batch(b, &codec);
    size_t raw = b->fresh << za_pg.page_shift;
    if (size == 0) {
        store_raw(b);
        return true;
    }
    if (!za_filing_room()) {
        give_back(b, ZA_STAT_PG_REFUSED_FULL);
        return true;
    }
    uint32_t blob =
        za_store_put(za_pg.store, packed, (uint32_t)size, (uint32_t)raw, za_checksum(staging, raw),
                     za_codec_word(codec, 0), count_blobless(b));
    if (blob == ZA_BLOB_NONE) {
        give_back(b, ZA_STAT_PG_REFUSED_NOMEM);
        return false;
    }
    if (codec == ZA_CODEC_SPLIT)
        za_stat_add(ZA_STAT_PG_SPLIT, b->fresh);
    name_blob(b, blob);
    return true;
}

static bool pack_cluster(size_t first)
{
    struct batch b = {.n = 0};
    size_t page[ZA_CLUSTER_PAGES];
    za_share_begin();
    unsigned n = gather(&b, first, page);
    for (unsigned i = 0; i < n; i++)
        stage_content(&b, i, page[i]);
    bool good = b.fresh == 0 || pack_fresh(&b);
    if (b.n > 0)
        commit(&b);
    return good;
}

/*
 * Of a unit that is in limbo and will be wanted back: its pages of zeros need not come back.  They
 * become holes, and whoever reads one gets the kernel's zero page, which is nobody's memory.  The
 * others are left as they were; torn copies are as harmless here as in a commit (page.h I6).
 */
void za_pack_zeros(size_t unit)
{
    size_t first = unit * za_pg.unit_pages;
    uint64_t word, dropped = za_stat_get(ZA_STAT_PG_ZERO);
    if (za_conf.dedup == ZA_DEDUP_OFF)
        return;
    for (size_t p = first; p < first + za_pg.unit_pages; p++) {
        if (!za_page_swap(&za_pg.pages[p], ZA_PAGE_LIMBO, ZA_PAGE_PACKING))
            continue;
        if (za_page_is_same(za_pg_mirror(p), za_pg_page_size(), &word) && word == 0)
            drop_zero(p);
        else
            (void)za_page_swap(&za_pg.pages[p], ZA_PAGE_PACKING, ZA_PAGE_LIMBO);
    }
    if (za_stat_get(ZA_STAT_PG_ZERO) != dropped)
        za_pg.mover->tidy(first, za_pg.unit_pages);
}

/* Purges the mirror of pages that are not there any more, in runs (page.h I3). */
void za_clear_dead(size_t first, size_t n)
{
    size_t run = 0;
    for (size_t i = 0; i <= n; i++) {
        if (i < n && za_page_mirror_dead(za_page_get(&za_pg.pages[first + i]))) {
            run++;
            continue;
        }
        if (run)
            (void)za_os->purge(za_pg_mirror(first + i - run), run << za_pg.page_shift);
        run = 0;
    }
}

/* False: some of the unit's pages found no room: leave the unit alone for long. */
bool za_pack_unit(size_t unit)
{
    size_t first = unit * za_pg.unit_pages;
    bool good = true;
    za_scrub_begin();
    for (unsigned i = 0; i < za_pg.unit_pages; i += za_pg.cluster_pages)
        good &= pack_cluster(first + i);
    za_pg.mover->tidy(first, za_pg.unit_pages);
    return good;
}
