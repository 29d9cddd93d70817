/* SPDX-License-Identifier: MIT */
/*
 * dense -- what has been stored for long is packed again: zstd, with a dictionary of this heap.
 *
 * A cluster's pages are unpacked from their fast blobs into W's own memory, scrubbed of what has
 * died since, packed together, and the records exchanged one by one. F meanwhile restores from the
 * old blob or the new one, as it finds the record: both hold the same bytes, and the old one's stay
 * until F has ended its read section.
 *
 * A page whose bytes a dense blob holds already goes there instead (share.c), and the index is told
 * of every dense blob: so pages that shared a fast blob share a dense one when all have been packed
 * again. Pages that are one word over and over, or that do not compress, are as dense as they get.
 *
 * The dictionary is trained on a sample of the stored clusters, a piece a turn, and kept only when
 * it gains and pays for its memory. A heap that has doubled since is sampled again, and so is one
 * that has changed: now and then a cluster is packed without the dictionary as well, and if what it
 * promised does not come true, what is packed now is sampled. A heap that no dictionary suits, or
 * that has shrunk until none pays, has none, and is sampled again when much of it is new
 * (compress/attempt.h).
 *
 * Where every id of a dictionary is taken and another one is wanted, one is told to leave (leave.c):
 * what it holds, in memory, in a file or in the parent's memory, is packed again, whatever comes of
 * it in bytes.
 *
 * I1  A record leaves STORED(old) for STORED(new) by compare-and-swap; the reference of the one
 *     goes with it, that of the other comes with it (page.h I5).
 * I2  Room for unpacking is there for F before the first dense blob is put.
 * I3  A dictionary is freed only when no blob of the store names it and F has passed a grace
 *     period.
 *
 * It is over 600 lines because all of it works on the same three buffers.
 *
 * Locks: none (W only; F reads room and dictionaries).  May sleep: mmap_lock.  Allocates: by os.
 */
#include "pager/dense.h"

#include <string.h>

#include "base/conf.h"
#include "base/remedy.h"
#include "base/stat.h"
#include "compress/attempt.h"
#include "pager/filing.h"
#include "pager/leave.h"
#include "pager/private.h"
#include "pager/share.h"

#define SMALL_HEAP (128 * ZA_MIB) /* below, a small dictionary */
#define SMALL_CONTENT (16 * ZA_KIB)
#define STEP_WORK (256 * ZA_KIB) /* about a millisecond */
#define WORTH_NUM 15             /* of the fast blob's size, to be worth the exchange */
#define WORTH_DEN 16
#define EFFORT ZA_ZSTD_LAZY
#define NOTE_EVERY 16u /* clusters to each that is packed without the dictionary too */
#define FRESH_SHARE 4u /* clusters to each that is sampled when the heap has changed */
#define SPLIT_ROOM (68 * ZA_KIB)
#define FEW_HOLDS 1024u /* packed again in a quarter of a second or so: worth waiting for */

size_t za_dense_least = 32 * ZA_MIB;

#define DAMAGED \
    "a stored page does not decompress: memory was damaged; stopping before wrong data is seen"
#define WRONG \
    "a stored page fails its checksum: memory was damaged; stopping before wrong data is seen"
#define FILE_DAMAGED \
    "a page in the file tier fails its checksum: its file was changed; stopping before wrong data " \
    "is seen"

/* CLEARING: an id will soon be free. */
enum stage { STAGE_IDLE, STAGE_CLEARING, STAGE_SAMPLING, STAGE_TRAINING };

static struct za_dicts dicts;
static struct za_training *training;
static enum stage stage;
static struct za_attempt attempt;
static uint64_t sampled_raw; /* bytes stored when the sample was begun */
static uint64_t sample_every, sample_seen;
static unsigned since_note;           /* clusters packed since one was noted */
static void *pack_room, *unpack_room; /* W's */
static void *fault_room;              /* F's; atomic: written once, by W */
static char staging[ZA_BLOB_MAX_RAW] __attribute__((aligned(64)));
static char unpacked[ZA_BLOB_MAX_RAW] __attribute__((aligned(64)));
static char packed[ZA_BLOB_MAX_RAW] __attribute__((aligned(64)));

struct piece {
    size_t page;
    za_page rec;
    uint32_t old_bytes;  /* share of its present blob that the page takes */
    uint64_t tag;        /* of its bytes */
    struct za_shared at; /* where it is to be; blob 0: in the blob to be made */
};

struct cluster {
    struct piece piece[ZA_CLUSTER_PAGES];
    uint64_t tag[ZA_CLUSTER_PAGES]; /* of the pages in `staging` */
    unsigned n, fresh;              /* pieces; pages in `staging` for the blob to be made */
    bool away;                      /* a piece is in a blob whose dictionary leaves */
};

/* --- unpacking, for W and F ---------------------------------------------- */

/* Every codec's room for unpacking; NULL: it needs none. */
static void *room_for(const struct za_codec *c, bool on_fault_thread)
{
    static char split_room[2][SPLIT_ROOM] __attribute__((aligned(64)));
    if (c->unpack_bytes == 0)
        return NULL;
    if (c != za_codec(ZA_CODEC_ZSTD)) {
        ZA_DASSERT(c->unpack_bytes <= sizeof(split_room[0]));
        return split_room[on_fault_thread];
    }
    return on_fault_thread ? __atomic_load_n(&fault_room, __ATOMIC_ACQUIRE) : unpack_room;
}

const char *za_dense_unpack(const struct za_blob_view *v, char *to, bool on_fault_thread)
{
    const struct za_codec *c = za_codec(za_codec_of(v->codec));
    const void *bytes = v->bytes ? v->bytes : za_filing_fetch(v, on_fault_thread);
    if (!bytes)
        return "a page cannot be read back from the file tier: its file is cut short, or its disk "
               "fails; stopping before wrong data is seen";
    if (v->raw > ZA_BLOB_MAX_RAW ||
        !c->unpack(room_for(c, on_fault_thread), za_dicts_at(&dicts, za_dict_of(v->codec)), bytes,
                   v->size, to, v->raw))
        return v->bytes ? DAMAGED : FILE_DAMAGED;
    if (!za_without(P1_CHECKSUM) && za_checksum(to, v->raw) != v->checksum)
        return v->bytes ? WRONG : FILE_DAMAGED;
    return NULL;
}

static void *map(size_t len)
{
    void *p;
    return za_os->map(&p, len) < 0 ? NULL : p;
}

static void unmap(void *p, size_t len)
{
    (void)za_os->unmap(p, len);
}

static const struct za_store_ops ops = {map, unmap};

static void *open_room(size_t bytes, bool (*open)(void *))
{
    void *p = map(za_align_up(bytes, za_pg_page_size()));
    return p && open(p) ? p : NULL;
}

/* False: no memory; the dense tier waits for better times. */
static bool open_rooms(void)
{
    const struct za_codec *c = &za_codec_zstd[EFFORT];
    if (!unpack_room)
        unpack_room = open_room(c->unpack_bytes, c->open_unpack);
    if (!__atomic_load_n(&fault_room, __ATOMIC_RELAXED))
        __atomic_store_n(&fault_room, open_room(c->unpack_bytes, c->open_unpack), __ATOMIC_RELEASE);
    if (!pack_room)
        pack_room = open_room(c->pack_bytes, c->open_pack);
    return pack_room && unpack_room && fault_room;
}

/* What is in them may be from the middle of a frame: the parent's W does not stand still for a bare child. */
static void reopen_rooms(void)
{
    const struct za_codec *c = &za_codec_zstd[EFFORT];
    bool good = (!pack_room || c->open_pack(pack_room)) &&
                (!unpack_room || c->open_unpack(unpack_room)) &&
                (!fault_room || c->open_unpack(fault_room));
    ZA_ASSERT(good);
}

/* For readers of a core file: where the shelf is. */
const struct za_dicts *za_dense_dicts(void)
{
    return &dicts;
}

size_t za_dense_leaving(void)
{
    return training ? za_training_bytes(training) : 0;
}

size_t za_dense_bytes(void)
{
    const struct za_codec *c = &za_codec_zstd[EFFORT];
    size_t rooms = (unpack_room ? c->unpack_bytes : 0) + (fault_room ? c->unpack_bytes : 0) +
                   (pack_room ? c->pack_bytes : 0);
    return rooms + za_dicts_bytes(&dicts) + za_dense_leaving();
}

/* --- a cluster out of the store ------------------------------------------ */

static void look(uint32_t blob, struct za_blob_view *v)
{
    if (!za_store_get(za_pg.store, blob, v))
        za_fatal(
            "a stored page has no blob: the store is damaged; stopping before wrong data is seen");
}

/* False: it is in a file, and cannot be read.  It may never be needed. */
static bool load(const struct za_blob_view *v)
{
    const char *bad = za_dense_unpack(v, unpacked, false);
    if (bad && v->bytes)
        za_fatal(bad);
    return !bad;
}

/* Is there anything to be gained for a page in a blob of this codec? */
static bool is_fast(uint32_t codec)
{
    enum za_codec_id id = za_codec_of(codec);
    return id != ZA_CODEC_ZSTD && id != ZA_CODEC_SAME && id != ZA_CODEC_RAW;
}

bool za_dense_goes(uint32_t codec)
{
    uint32_t id = za_dict_of(codec);
    return id != ZA_DICT_NONE && id == dicts.leaving;
}

/*
 * What is in a file stays there: it has been packed densely, or had its time to be.  So does what is
 * in the parent's memory: every child would have a copy of its own.  But a dictionary that leaves
 * is one that few blobs hold.
 */
static bool may_move(const struct za_blob_view *v)
{
    if (za_dense_goes(v->codec))
        return true;
    return v->bytes && !za_store_inherited(za_pg.store, v->place) &&
           (is_fast(v->codec) || za_codec_of(v->codec) == ZA_CODEC_ZSTD);
}

/* Copies the cluster's pages that are stored and may move side by side into `staging`. */
static void gather(size_t first, struct cluster *c)
{
    size_t size = za_pg_page_size();
    uint32_t loaded = ZA_BLOB_NONE;
    struct za_blob_view v = {0};
    memset(c, 0, sizeof(*c));
    for (unsigned i = 0; i < za_pg.cluster_pages; i++) {
        za_page r = za_page_get(&za_pg.pages[first + i]);
        if (za_page_state(r) != ZA_PAGE_STORED)
            continue;
        look(za_page_blob(r), &v);
        if (!may_move(&v))
            continue;
        if (za_page_blob(r) != loaded)
            loaded = load(&v) ? za_page_blob(r) : ZA_BLOB_NONE;
        if (loaded == ZA_BLOB_NONE)
            continue;
        memcpy(staging + c->n * size, unpacked + za_page_index(r) * size, size);
        ZA_ASSERT(v.raw >= size);
        uint32_t bytes = (uint32_t)((uint64_t)v.size * size / v.raw);
        c->piece[c->n++] = (struct piece){.page = first + i, .rec = r, .old_bytes = bytes};
        c->away |= za_dense_goes(v.codec);
    }
}

/* *theirs: in the parent's memory too. */
static bool any_fast(size_t first, bool *theirs)
{
    struct za_blob_view v;
    for (unsigned i = 0; i < za_pg.cluster_pages; i++) {
        za_page r = za_page_get(&za_pg.pages[first + i]);
        if (za_page_state(r) != ZA_PAGE_STORED || !za_store_get(za_pg.store, za_page_blob(r), &v) ||
            !v.bytes || !is_fast(v.codec))
            continue;
        if (!za_store_inherited(za_pg.store, v.place))
            return true;
        *theirs = true;
    }
    return false;
}

static void drop_dead(const struct piece *p)
{
    za_calm_begin();
    bool dropped = za_page_swap(&za_pg.pages[p->page], p->rec, ZA_PAGE_KERNEL);
    za_calm_end();
    if (!dropped)
        return;
    za_store_release(za_pg.store, za_page_blob(p->rec), 1);
    za_stat_add(ZA_STAT_PG_STORED, -1);
    za_stat_add(ZA_STAT_PG_DEAD, 1);
}

/* Zeroes what has died since; pages without a live byte leave the store and the cluster. */
static void scrub(struct cluster *c)
{
    size_t size = za_pg_page_size();
    unsigned kept = 0;
    for (unsigned i = 0; i < c->n; i++) {
        char *copy = staging + i * size;
        if (za_scrub(c->piece[i].page, copy) == 0) {
            drop_dead(&c->piece[i]);
            continue;
        }
        if (kept != i)
            memcpy(staging + kept * size, copy, size);
        c->piece[kept++] = c->piece[i];
    }
    c->n = kept;
}

/* --- exchanging blobs ---------------------------------------------------- */

static bool same_place(struct za_shared at, za_page r)
{
    return at.blob == za_page_blob(r) && at.index == za_page_index(r);
}

/*
 * Where a piece is to be, its bytes at `copy`; false: it is there already.  A page that is to be in
 * the new blob is copied behind the others.
 */
static bool place(struct cluster *c, struct piece *p, const char *copy)
{
    size_t size = za_pg_page_size();
    uint64_t tag = p->tag;
    enum za_stat_id what = ZA_STAT_DD_DUPLICATE;
    p->at = za_share_find(copy, tag, ZA_SHARE_DENSE);
    if (p->at.blob != ZA_BLOB_NONE && same_place(p->at, p->rec))
        return false;
    if (p->at.blob == ZA_BLOB_NONE || !za_store_share(za_pg.store, p->at.blob, 1)) {
        unsigned i = 0;
        while (i < c->fresh && (tag == ZA_TAG_NONE || c->tag[i] != tag ||
                                memcmp(copy, staging + i * size, size) != 0))
            i++;
        p->at = (struct za_shared){ZA_BLOB_NONE, i};
        if (i == c->fresh) {
            what = tag == ZA_TAG_NONE ? ZA_STAT_DD_SKIPPED : ZA_STAT_DD_UNIQUE;
            memmove(staging + i * size, copy, size);
            c->tag[c->fresh++] = tag;
        }
    }
    za_share_count(what);
    return true;
}

/* What dense blobs hold already leaves `staging`. */
static void share(struct cluster *c)
{
    unsigned n = 0;
    za_share_begin();
    for (unsigned i = 0; i < c->n; i++)
        c->piece[i].tag = za_share_tag(staging + i * za_pg_page_size());
    for (unsigned i = 0; i < c->n; i++) {
        struct piece p = c->piece[i];
        if (place(c, &p, staging + i * za_pg_page_size()))
            c->piece[n++] = p;
    }
    c->n = n;
}

/* Takes a piece to its new blob, to which it has a reference; false: F has it, from the old one. */
static bool exchange_piece(const struct piece *p)
{
    bool done = za_page_swap(&za_pg.pages[p->page], p->rec,
                             za_page_make(ZA_PAGE_STORED, p->at.index, p->at.blob));
    za_store_release(za_pg.store, done ? za_page_blob(p->rec) : p->at.blob, 1);
    return done;
}

/* The pieces that have a new blob. */
static void exchange(const struct cluster *c)
{
    unsigned kept = 0;
    za_calm_begin();
    for (unsigned i = 0; i < c->n; i++)
        kept += c->piece[i].at.blob != ZA_BLOB_NONE && exchange_piece(&c->piece[i]);
    za_calm_end();
    za_stat_add(ZA_STAT_PG_DENSE, kept);
}

/* Does the dictionary still keep its promise? What `unpacked` holds is not needed any more. */
static void note(struct za_dict *d, size_t raw, size_t size)
{
    const struct za_codec *c = &za_codec_zstd[EFFORT];
    if (++since_note < NOTE_EVERY)
        return;
    since_note = 0;
    if (!size) /* it was not worth the exchange */
        size = c->pack(pack_room, d, staging, raw, unpacked, sizeof(unpacked));
    size_t without = c->pack(pack_room, NULL, staging, raw, unpacked, sizeof(unpacked));
    za_dict_note(d, size ? size : raw, without ? without : raw);
}

/* Into `packed`, if that is worth the exchange: bytes, or 0. */
static size_t pack_smaller(size_t raw, size_t old_bytes, uint32_t *codec)
{
    struct za_dict *d = dicts.current;
    za_attempt_packed(&attempt, raw);
    size_t size = za_codec_zstd[EFFORT].pack(pack_room, d, staging, raw, packed,
                                             old_bytes * WORTH_NUM / WORTH_DEN);
    if (d)
        note(d, raw, size);
    *codec = za_codec_word(ZA_CODEC_ZSTD, d ? d->id : ZA_DICT_NONE);
    return size;
}

/*
 * Into `packed`, whatever comes of it; not with the dictionary that leaves, which is never the
 * current one. What outlives one dictionary outlives the next, so it takes hold of another one only
 * for a gain: else it would be packed again for ever. Nor does it tell whether that one is stale.
 */
static size_t pack_away(size_t raw, uint32_t *codec)
{
    const struct za_codec *c = &za_codec_zstd[EFFORT];
    const struct za_dict *d = dicts.current;
    size_t size = c->pack(pack_room, NULL, staging, raw, packed, raw - 1);
    *codec = za_codec_word(size ? ZA_CODEC_ZSTD : ZA_CODEC_RAW, ZA_DICT_NONE);
    if (!size)
        memcpy(packed, staging, size = raw);
    size_t with =
        d ? c->pack(pack_room, d, staging, raw, unpacked, size * WORTH_NUM / WORTH_DEN) : 0;
    if (!with)
        return size;
    memcpy(packed, unpacked, with);
    *codec = za_codec_word(ZA_CODEC_ZSTD, d->id);
    return with;
}

/* Makes the blob of the fresh pages, if that is worth it; false: no memory. */
static bool pack_fresh(struct cluster *c)
{
    size_t raw = (size_t)c->fresh << za_pg.page_shift, old_bytes = 0;
    uint32_t codec;
    unsigned refs = 0;
    for (unsigned i = 0; i < c->n; i++) {
        refs += c->piece[i].at.blob == ZA_BLOB_NONE;
        old_bytes += c->piece[i].at.blob == ZA_BLOB_NONE ? c->piece[i].old_bytes : 0;
    }
    size_t size = c->away ? pack_away(raw, &codec) : pack_smaller(raw, old_bytes, &codec);
    if (!size)
        return true;
    uint32_t blob = za_store_put(za_pg.store, packed, (uint32_t)size, (uint32_t)raw,
                                 za_checksum(staging, raw), codec, refs);
    for (unsigned i = 0; blob != ZA_BLOB_NONE && i < c->fresh; i++)
        za_share_note(c->tag[i], blob, i);
    for (unsigned i = 0; i < c->n; i++)
        if (c->piece[i].at.blob == ZA_BLOB_NONE)
            c->piece[i].at.blob = blob;
    return blob != ZA_BLOB_NONE;
}

static bool pack_cluster(struct cluster *c)
{
    share(c);
    bool room = !c->fresh || pack_fresh(c);
    if (c->n)
        exchange(c);
    return room;
}

/* --- the dictionary ------------------------------------------------------ */

static uint64_t stored_raw(void)
{
    return za_stat_get(ZA_STAT_PG_STORED) << za_pg.page_shift;
}

static void begin_sampling(uint64_t raw)
{
    uint32_t content = raw < SMALL_HEAP ? SMALL_CONTENT : ZA_DICT_MAX_BYTES;
    struct za_training_plan plan = {
        .effort = EFFORT,
        .content_bytes = content,
        .sample_bytes = 2 * ZA_TRAINING_SAMPLES * content,
        .unit_bytes = (uint32_t)(za_pg.cluster_pages << za_pg.page_shift),
        .heap_bytes = raw,
    };
    training = za_training_new(&ops, &plan);
    if (!training) {
        za_attempt_ended(&attempt, ZA_TRAINING_NOMEM, raw, za_os->now());
        return;
    }
    sampled_raw = raw;
    /* Twice as often as it takes, since not every cluster comes along. */
    sample_every = za_max(1, raw / plan.sample_bytes / 2);
    if (raw < 2 * attempt.raw) /* what comes along is new, and there may not be much of it */
        sample_every = za_min(sample_every, FRESH_SHARE);
    sample_seen = 0;
    stage = STAGE_SAMPLING;
}

static void end_training(enum za_training_state s)
{
    struct za_dict *d = s == ZA_TRAINING_GOOD ? za_training_take(training) : NULL;
    if (d && !za_dicts_put(&dicts, d))
        za_dict_free(d);
    if (s == ZA_TRAINING_NO_GAIN)
        za_dicts_retire(&dicts);
    else if (dicts.current)
        dicts.current->noted = 0; /* the new one, or the old one for another window */
    za_attempt_ended(&attempt, s, sampled_raw, za_os->now());
    struct za_training *over = training;
    training = NULL; /* first: a bare child ends what it finds here */
    za_training_free(over);
    stage = STAGE_IDLE;
}

/* What is packed with the dictionary keeps it. */
static void look_whether_it_pays(void)
{
    uint64_t now = za_os->now(), raw = stored_raw();
    if (!za_attempt_shrunk(&attempt, dicts.current, raw, now))
        return;
    za_dicts_retire(&dicts);
    za_attempt_ended(&attempt, ZA_TRAINING_NO_GAIN, raw, now);
}

static void sample(size_t first)
{
    struct cluster c;
    if (++sample_seen % sample_every)
        return;
    gather(first, &c);
    scrub(&c);
    if (c.n && !za_training_add(training, staging, (size_t)c.n << za_pg.page_shift))
        stage = STAGE_TRAINING;
}

static bool wants_dictionary(uint64_t raw)
{
    return raw >= (za_conf.torture ? ZA_MIB : za_dense_least) &&
           za_attempt_due(&attempt, dicts.current, raw, za_os->now());
}

static void count_holds(void)
{
    for (uint32_t id = 1; id < ZA_DICTS_MAX; id++)
        if (dicts.slot[id])
            dicts.slot[id]->holds =
                za_store_blobs_of(za_pg.store, za_codec_word(ZA_CODEC_ZSTD, id));
}

/* After the store's reclaim: I3. */
static void sweep_shelf(void)
{
    count_holds();
    if (za_store_quiet(za_pg.store))
        (void)za_dicts_sweep(&dicts);
}

static void begin_dictionary(uint64_t raw)
{
    if (!za_dicts_full(&dicts)) {
        begin_sampling(raw);
        return;
    }
    count_holds();
    const struct za_dict *d = za_leave_begin(&dicts, za_os->now());
    if (d && d->holds <= FEW_HOLDS)
        stage = STAGE_CLEARING;
}

/* A step of leaving; true: there is more. */
static bool clear(void)
{
    if (za_leave_step(&dicts))
        return true;
    za_store_reclaim(za_pg.store);
    sweep_shelf();
    if (za_leave_over(&dicts, za_os->now()) && stage == STAGE_CLEARING)
        stage = STAGE_IDLE;
    return false;
}

/* A piece of work on the dictionary, once a turn; true: there is more. */
bool za_dense_turn(void)
{
    if (stage == STAGE_CLEARING || dicts.leaving != ZA_DICT_NONE)
        return clear();
    if (stage == STAGE_SAMPLING && sample_seen > 4 * sample_every * ZA_UNITS_PER_CHUNK)
        stage = STAGE_TRAINING; /* enough has come along, even if the plan wanted more */
    if (stage != STAGE_TRAINING)
        return false;
    enum za_training_state s = za_training_step(training, STEP_WORK);
    if (s != ZA_TRAINING_BUSY)
        end_training(s);
    return s == ZA_TRAINING_BUSY;
}

/* Once a turn, after the store's reclaim: dictionaries that nothing names any more, or too little. */
void za_dense_sweep(void)
{
    look_whether_it_pays();
    sweep_shelf();
}

/* --- a unit -------------------------------------------------------------- */

bool za_dense_idle(void)
{
    return stage == STAGE_IDLE;
}

bool za_dense_possible(void)
{
    return stored_raw() >= (za_conf.torture ? 0 : za_dense_least);
}

/* Without one there is nothing to do, nor to learn: samples come from such clusters only. */
static bool unit_is_fast(size_t first, bool *theirs)
{
    for (unsigned i = 0; i < za_pg.unit_pages; i += za_pg.cluster_pages)
        if (any_fast(first + i, theirs))
            return true;
    return false;
}

/* A cluster; false: no memory. */
static bool pack_stored(size_t first)
{
    struct cluster c;
    gather(first, &c);
    scrub(&c);
    return pack_cluster(&c);
}

bool za_dense_again(size_t unit)
{
    size_t first = unit * za_pg.unit_pages;
    if (!open_rooms() || !za_filing_slack())
        return false;
    za_scrub_begin();
    for (unsigned i = 0; i < za_pg.unit_pages; i += za_pg.cluster_pages)
        if (za_leave_held(&dicts, first + i, za_pg.cluster_pages) && !pack_stored(first + i))
            return false;
    return true;
}

enum za_dense_end za_dense_unit(size_t unit)
{
    uint64_t raw = stored_raw();
    size_t first = unit * za_pg.unit_pages;
    bool theirs = false;
    if (!unit_is_fast(first, &theirs))
        return theirs ? ZA_DENSE_REFUSED : ZA_DENSE_DONE; /* the parent may be gone some day */
    if (!za_dense_possible() || !open_rooms())
        return ZA_DENSE_REFUSED;
    if (stage == STAGE_IDLE && dicts.leaving == ZA_DICT_NONE && wants_dictionary(raw))
        begin_dictionary(raw);
    if (stage == STAGE_TRAINING || stage == STAGE_CLEARING)
        return ZA_DENSE_LATER;
    if (!za_filing_slack())
        return ZA_DENSE_FULL;
    za_scrub_begin();
    for (unsigned i = 0; i < za_pg.unit_pages; i += za_pg.cluster_pages) {
        if (!any_fast(first + i, &theirs))
            continue;
        if (stage == STAGE_SAMPLING) {
            sample(first + i);
            continue;
        }
        (void)pack_stored(first + i);
    }
    return stage == STAGE_IDLE ? ZA_DENSE_DONE : ZA_DENSE_LATER;
}

/* In a child that starts over: the store is gone, and with it what was packed with dictionaries. */
void za_dense_forget(void)
{
    if (training)
        end_training(ZA_TRAINING_FEW);
    za_dicts_free(&dicts);
    memset(&dicts, 0, sizeof(dicts));
    attempt = (struct za_attempt){0};
    za_leave_forget();
    stage = STAGE_IDLE;
    reopen_rooms();
}
