/* SPDX-License-Identifier: MIT */
/*
 * share -- which page of the store holds the same bytes already: digests, comparisons, effort.
 *
 * THEORY
 *
 * A page about to be packed is scrubbed: its dead bytes are zero, in W's copy.  Its tag is looked
 * up in the index (dedup/index.h), whose entries are hints: the blob may be dead, its id may be
 * another's.  So the blob is unpacked and the page compared byte by byte; only then does its record
 * become STORED in that blob, with a reference of its own.  What the record says is what it always
 * said, a blob and a page of it; no state and no transition is new (page.h), nor anything that F
 * does: it never asked who else refers to a blob.
 *
 *   reference first   za_store_share, before the record says STORED (page.h I5).  It succeeds for a
 *                     blob that has references only, and only W ends a blob's life: what F has
 *                     dropped is settled by W (compress/store.h).  So between the comparison and
 *                     the reference nothing can change.
 *   record second     by compare-and-swap from PACKING, in calm, as any commit (pack.c); F was
 *                     faster: the reference goes back.
 *   index last        what is forgotten or stale there costs a duplicate, never a byte.
 *
 * A blob of four pages lives as long as one of them is referred to; that is so without sharing too.
 * Dense packing (dense.c) shares with dense blobs only, and renews the entries: pages that share a
 * fast blob come to share the dense one, whichever of them is packed again first.
 *
 * What does not compress stays resident, and the index remembers the page (an entry whose blob is
 * SEEN).  When another one comes with that tag it is stored as it is, and the first one's unit is
 * looked at again, to find it: two pages are kept for the price of one.
 *
 * Effort follows yield.  Most heaps hold no duplicates: there one page in sixteen is looked at,
 * chosen by a few of its bytes, so that of two equal pages both are chosen or none, and the yield
 * of the sample is the yield of the heap.  When duplicates turn up, every page is looked at again.
 *
 * Invariants
 * I1  A page is shared only after its bytes have been compared with those of the blob, whose
 *     checksum was right.
 * I2  scanned = zero + same + duplicate + unique + skipped.
 * I3  `unpacked` holds the blob `unpacked_id` as long as no store id can have been reused: within
 *     one cluster, in which no room is made between one look and another.
 *
 * Fork: a child's W finds the index, the secret and the store as its parent's were (page.h I8), and
 * goes on sharing with what was stored before.
 *
 * Locks: none (W only).  May sleep: in map, in I/O.  May fault: no.  Allocates: the index, by os.
 */
#include "pager/share.h"

#include <string.h>

#include "base/conf.h"
#include "base/remedy.h"
#include "dedup/index.h"
#include "pager/dense.h"
#include "pager/filing.h"
#include "pager/private.h"

#define WINDOW 8192u      /* pages looked at, after which fewer are, unless */
#define RICH 32u          /* so many of them were duplicates: then all are */
#define THIN_STEP 2u      /* a quarter, */
#define THIN_MOST 4u      /* and a sixteenth of the pages */
#define SWEEP_LEAST 8192u /* entries below which sweeping is not worth it */
#define SWEEP_STEP 64u    /* segments a turn: a millisecond or so */
#define SAME_WORDS 16u
#define SEEN UINT32_MAX /* an entry of a page that is resident: its number is in page, mark */
#define SPREAD 0x9e3779b97f4a7c15u

static struct za_index contents;
static struct za_digest digest;
static bool drawn, refused;
static unsigned thin;          /* one page in 1 << thin is looked at */
static unsigned looked, found; /* in this window */
static bool sweeping, forget_seen;
static uint64_t seen;             /* entries of pages that are resident */
static uint32_t same[SAME_WORDS]; /* blobs of the words met last; hints too */
static char unpacked[ZA_BLOB_MAX_RAW] __attribute__((aligned(64)));
static uint32_t unpacked_id, unpacked_raw; /* I3 */

/* --- effort -------------------------------------------------------------- */

static void judge(void)
{
    if (found >= RICH)
        thin = 0;
    else if (looked >= WINDOW)
        thin = (unsigned)za_min(thin + THIN_STEP, THIN_MOST);
    else
        return;
    looked = found = 0;
}

void za_share_count(enum za_stat_id what)
{
    za_stat_add(ZA_STAT_DD_SCANNED, 1);
    za_stat_add(what, 1);
    if (what != ZA_STAT_DD_DUPLICATE && what != ZA_STAT_DD_UNIQUE)
        return;
    looked++;
    found += what == ZA_STAT_DD_DUPLICATE;
    judge();
}

/* False: content is not shared here, or this page is not in the sample. */
static bool chosen(const char *page)
{
    if (za_conf.dedup != ZA_DEDUP_CONTENT || refused)
        return false;
    if (!drawn) {
        drawn = za_digest_open(&digest) == 0;
        refused = !drawn;
        za_stat_add(ZA_STAT_DD_REFUSED, refused);
    }
    return drawn &&
           (thin == 0 || za_digest_glance(&digest, page, za_pg_page_size()) % (1u << thin) == 0);
}

/* --- finding ------------------------------------------------------------- */

void za_share_begin(void)
{
    unpacked_id = ZA_BLOB_NONE;
}

static uint32_t mark_of(const struct za_blob_view *v)
{
    return v->checksum & 0xffffff;
}

/* The blob that the entry means; false: it is dead, whoever has its id now. */
static bool meant(const struct za_index_entry *e, struct za_blob_view *v)
{
    return za_store_get(za_pg.store, e->blob, v) && mark_of(v) == e->mark;
}

/* False: there is no such blob any more, or it is not of the sort. */
static bool load(const struct za_index_entry *e, enum za_share_of of)
{
    struct za_blob_view v;
    if (e->blob == unpacked_id)
        return true;
    if (!meant(e, &v))
        return false;
    if (!v.bytes || za_dense_goes(v.codec)) /* in a file: not worth a read */
        return false;
    if (of == ZA_SHARE_DENSE && za_codec_of(v.codec) != ZA_CODEC_ZSTD)
        return false;
    unpacked_id = ZA_BLOB_NONE;
    const char *bad = za_dense_unpack(&v, unpacked, false);
    if (bad)
        za_fatal(bad);
    unpacked_id = e->blob;
    unpacked_raw = v.raw;
    return true;
}

uint64_t za_share_tag(const char *page)
{
    if (!chosen(page))
        return ZA_TAG_NONE;
    uint64_t tag = za_digest_tag(&digest, page, za_pg_page_size());
    za_index_expect(&contents, tag);
    return tag;
}

struct za_shared za_share_find(const char *page, uint64_t tag, enum za_share_of of)
{
    static const struct za_shared none;
    size_t size = za_pg_page_size();
    if (tag == ZA_TAG_NONE)
        return none;
    const struct za_index_entry *e = za_index_find(&contents, tag);
    if (!e || e->blob == SEEN || !load(e, of))
        return none;
    size_t at = (size_t)e->page << za_pg.page_shift;
    if (at + size > unpacked_raw ||
        (!za_without(P1_COMPARE) && memcmp(unpacked + at, page, size) != 0)) {
        za_stat_add(ZA_STAT_DD_FALSE, 1);
        return none;
    }
    return (struct za_shared){e->blob, e->page};
}

/* Some may have been forgotten all at once (sweep). */
static void forget_one(const struct za_index_entry *e)
{
    seen -= e && e->blob == SEEN && seen > 0;
}

static void remember(const struct za_index_entry *e)
{
    forget_one(za_index_find(&contents, e->tag));
    seen += e->blob == SEEN;
    if (za_index_put(&contents, e))
        return;
    forget_one(e);
    za_stat_add(ZA_STAT_DD_REFUSED, 1);
}

static size_t seen_page(const struct za_index_entry *e)
{
    return (size_t)e->mark << 8 | e->page;
}

/* As if somebody had come for a page of the unit: it is probed after the cold age. */
static void look_again(size_t page)
{
    struct za_unit *u = &za_pg.units[za_pg_unit_of_page(page)];
    u->backoff = 0;
    u->raw &= (uint16_t) ~(1u << page % za_pg.unit_pages);
    __atomic_fetch_or(&u->touched, ZA_CAME, __ATOMIC_RELAXED);
    __atomic_store_n(&za_pg.chunks[za_pg_chunk_of_page(page)].stirred, 1, __ATOMIC_RELEASE);
}

bool za_share_seen(uint64_t tag, size_t page)
{
    const struct za_index_entry *old = tag == ZA_TAG_NONE ? NULL : za_index_find(&contents, tag);
    struct za_index_entry e = {
        .tag = tag, .blob = SEEN, .page = page & 0xff, .mark = page >> 8 & 0xffffff};
    if (tag == ZA_TAG_NONE || page >> 32)
        return false;
    if (!old || old->blob != SEEN || seen_page(old) == page) {
        remember(&e);
        return false;
    }
    look_again(seen_page(old));
    return true;
}

void za_share_note(uint64_t tag, uint32_t blob, unsigned page)
{
    struct za_blob_view v;
    if (tag == ZA_TAG_NONE || !za_store_get(za_pg.store, blob, &v))
        return;
    struct za_index_entry e = {.tag = tag, .blob = blob, .page = page & 0xff, .mark = mark_of(&v)};
    remember(&e);
}

uint32_t za_share_same(const char *page, uint64_t word)
{
    size_t size = za_pg_page_size();
    uint32_t *known = &same[(word * SPREAD >> 32) % SAME_WORDS];
    struct za_blob_view v;
    if (*known && za_store_get(za_pg.store, *known, &v) && v.codec == ZA_CODEC_SAME && v.bytes &&
        memcmp(v.bytes, &word, sizeof(word)) == 0 && za_store_share(za_pg.store, *known, 1))
        return *known;
    if (!za_filing_room())
        return ZA_BLOB_NONE;
    uint32_t blob = za_store_put(za_pg.store, &word, sizeof(word), (uint32_t)size,
                                 za_checksum(page, size), za_codec_word(ZA_CODEC_SAME, 0), 1);
    *known = blob;
    return blob;
}

/* --- keeping ------------------------------------------------------------- */

static bool lives(const struct za_index_entry *e)
{
    struct za_blob_view v;
    if (e->blob != SEEN)
        return meant(e, &v);
    bool there = !forget_seen && za_page_get(&za_pg.pages[seen_page(e)]) == ZA_PAGE_KERNEL;
    if (!there)
        forget_one(e);
    return there;
}

/*
 * More than half of the entries of blobs, or of those of pages, must be stale; and something has
 * changed since the last look, so that a settled process does not sweep for ever.
 */
static bool worth_sweeping(void)
{
    static uint64_t last_entries, last_raw;
    struct za_store_stats s;
    za_store_stats(za_pg.store, &s);
    if (contents.entries == last_entries && s.raw_bytes == last_raw)
        return false;
    last_entries = contents.entries;
    last_raw = s.raw_bytes;
    uint64_t heap = za_pg_nchunks() << (ZA_CHUNK_SHIFT - za_pg.page_shift);
    uint64_t stored = contents.entries - za_min(seen, contents.entries);
    forget_seen = seen > 2 * heap;
    return forget_seen || stored > 2 * (s.raw_bytes >> za_pg.page_shift);
}

static void sweep(void)
{
    sweeping = !za_index_sweep(&contents, lives, SWEEP_STEP);
    if (!sweeping && forget_seen)
        seen = 0; /* and so is what displaced entries have left in it */
}

void za_share_turn(void)
{
    if (contents.entries >= SWEEP_LEAST && !sweeping)
        sweeping = worth_sweeping();
    if (sweeping)
        sweep();
    if (contents.dir && contents.entries == 0)
        za_index_drop(&contents);
}

void za_share_gauges(void)
{
    struct za_store_stats s = {0};
    if (za_pg.store)
        za_store_stats(za_pg.store, &s);
    int64_t over = (int64_t)(za_stat_get(ZA_STAT_PG_STORED) - (s.raw_bytes >> za_pg.page_shift));
    za_stat_set(ZA_STAT_DD_SHARED, over > 0 ? (uint64_t)over : 0);
    za_stat_set(ZA_STAT_DD_INDEX, za_index_bytes(&contents));
    za_stat_set(ZA_STAT_DD_ENTRIES, contents.entries);
}

bool za_share_area(unsigned i, void **addr, size_t *len)
{
    return za_index_area(&contents, i, addr, len);
}

void za_share_forget(void)
{
    za_index_drop(&contents);
    memset(same, 0, sizeof(same));
    unpacked_id = ZA_BLOB_NONE;
    sweeping = false;
    seen = 0;
}

void za_share_check(void)
{
    za_index_check(&contents);
}
