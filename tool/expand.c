/* SPDX-License-Identifier: MIT */
/*
 * expand -- the pager inside a core file: its records, its store, and the pages that were out.
 *
 * The process died at any moment, so records may be in the middle of a change; pager/page.h says
 * where the bytes of a page are in each state, and one rule covers what is between two states: a
 * page present at its heap address is the program's, whatever its record says (reconcile.c). In a
 * core file "present" shows as "not all zeros".
 *
 * Structures are read with the library's own types, codecs and checksum, after the anchor has
 * proved that they are the same (pager/door.h). What they hold is believed only as far as it is
 * harmless: numbers are bounded, addresses are looked up in the file, bytes are decompressed with
 * bounds and count only if their checksum is right.
 */
#include "tool/expand.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "compress/codec.h"
#include "tool/tool.h"

#define PIECE ((size_t)1 << 20)
#define RECORDS 2048u /* read at once */
#define MAX_REGION ((uint64_t)1 << 47)
#define PAGE_MAX ((size_t)1 << 16)

struct za_expand {
    struct za_core *core;
    struct za_anchor anchor;
    struct za_pager pager;
    struct za_store store;
    struct za_dicts dicts;
    bool has_store, has_dicts;
    struct za_expanded *sum;
    uint32_t unpacked; /* the blob in `raw`; ZA_BLOB_NONE: none */
    uint32_t raw_bytes;
    void *room;       /* for zstd */
    void *split_room; /* for pointers taken apart */
    uint32_t dict_id;
    char dict[ZA_DICT_MAX_BYTES];
    char packed[ZA_BLOB_MAX_RAW]; /* as large as a header can say */
    char raw[ZA_BLOB_MAX_RAW];
    char page[PAGE_MAX];
};

/* ---- the anchor ------------------------------------------------------------------------------ */

enum find { NOT_HERE, FOUND, OTHER_VERSION };

static enum find check_anchor(struct za_expand *x, uint64_t at)
{
    static const uint64_t mine[ZA_LAYOUT_WORDS] = ZA_LAYOUT;
    struct za_anchor *a = &x->anchor;
    if (za_core_read(x->core, at, a, sizeof(*a)) != ZA_CORE_READ)
        return NOT_HERE;
    if (a->bytes != sizeof(*a) || memcmp(a->layout, mine, sizeof(mine)) != 0)
        return OTHER_VERSION;
    return FOUND;
}

static enum find search(struct za_expand *x, const struct za_stretch *s, char *buf)
{
    const size_t head = offsetof(struct za_anchor, bytes);
    for (uint64_t off = 0; off < s->there; off += PIECE) {
        size_t n = za_min(PIECE, s->there - off);
        if (za_core_read(x->core, s->addr + off, buf, n) != ZA_CORE_READ)
            return NOT_HERE;
        for (size_t i = 0; i + head <= n; i += ZA_ANCHOR_ALIGN) {
            struct za_anchor a;
            if (memcmp(buf + i, ZA_ANCHOR_MAGIC, sizeof(a.magic)) != 0)
                continue;
            memcpy(&a, buf + i, head);
            if ((uint64_t)(uintptr_t)a.self == s->addr + off + i)
                return check_anchor(x, s->addr + off + i);
        }
    }
    return NOT_HERE;
}

struct candidate {
    const struct za_stretch *stretch;
};

static int by_size(const void *a, const void *b)
{
    const struct za_stretch *x = ((const struct candidate *)a)->stretch;
    const struct za_stretch *y = ((const struct candidate *)b)->stretch;
    return x->there < y->there ? -1 : x->there > y->there;
}

/* Small stretches first: a data segment is one of those, a heap is not. */
static enum find search_all(struct za_expand *x)
{
    struct za_core *c = x->core;
    struct candidate *order = calloc(c->n + 1, sizeof(*order));
    char *buf = malloc(PIECE);
    enum find end = NOT_HERE;
    size_t n = 0;
    for (size_t i = 0; order && i < c->n; i++)
        if (c->stretches[i].writable)
            order[n++].stretch = &c->stretches[i];
    if (n > 0)
        qsort(order, n, sizeof(*order), by_size);
    for (size_t i = 0; buf && i < n && end == NOT_HERE; i++)
        end = search(x, order[i].stretch, buf);
    free(order);
    free(buf);
    return end;
}

/* ---- the pager ------------------------------------------------------------------------------- */

static bool copy_in(const struct za_expand *x, const void *from, void *to, size_t len)
{
    return from && za_core_read(x->core, (uint64_t)(uintptr_t)from, to, len) == ZA_CORE_READ;
}

static bool sound(const struct za_pager *p)
{
    return p->page_shift >= 12 && (size_t)1 << p->page_shift <= PAGE_MAX && p->size <= MAX_REGION &&
           p->base <= MAX_REGION && p->mirror <= MAX_REGION &&
           p->records_ready <= p->size >> ZA_CHUNK_SHIFT;
}

static const char *load(struct za_expand *x)
{
    const struct za_codec *zstd = za_codec(ZA_CODEC_ZSTD);
    if (!copy_in(x, x->anchor.pager, &x->pager, sizeof(x->pager)))
        return "the pager's state is not in it";
    if (!sound(&x->pager))
        return "the pager's state in it is damaged";
    x->has_store = copy_in(x, x->pager.store, &x->store, sizeof(x->store));
    x->has_dicts = copy_in(x, x->anchor.dicts, &x->dicts, sizeof(x->dicts));
    if (posix_memalign(&x->room, ZA_CODEC_ALIGN, zstd->unpack_bytes) != 0 ||
        posix_memalign(&x->split_room, ZA_CODEC_ALIGN, za_codec(ZA_CODEC_SPLIT)->unpack_bytes) != 0)
        return strerror(ENOMEM);
    if (!zstd->open_unpack(x->room))
        return "the zstd linked into this command does not suit";
    return NULL;
}

const char *za_expand_find(struct za_core *c, struct za_expand **out)
{
    struct za_expand *x = calloc(1, sizeof(*x));
    *out = x;
    if (!x)
        return strerror(ENOMEM);
    x->core = c;
    switch (search_all(x)) {
    case FOUND: return load(x);
    case OTHER_VERSION:
        return "its process ran under another version of libzalloc; use its own zalloc";
    default:
        return c->cut ? "no trace of libzalloc in it (it is cut short: perhaps that is why)"
                      : "its process did not run under libzalloc";
    }
}

void za_expand_free(struct za_expand *x)
{
    if (x) {
        free(x->room);
        free(x->split_room);
    }
    free(x);
}

/* ---- the store ------------------------------------------------------------------------------- */

static enum za_core_read read_item(const struct za_expand *x, const struct za_ladder *l, uint32_t i,
                                   void *to, size_t len)
{
    if (l->first_shift > 30 || l->item_bytes != len)
        return ZA_CORE_ABSENT;
    uint64_t n = (uint64_t)i + ((uint64_t)1 << l->first_shift);
    uint32_t top = 63u - (uint32_t)__builtin_clzll(n), rung = top - l->first_shift;
    if (rung >= ZA_LADDER_RUNGS)
        return ZA_CORE_ABSENT;
    uint64_t base = (uint64_t)(uintptr_t)l->rung[rung];
    return za_core_read(x->core, base + (n - ((uint64_t)1 << top)) * len, to, len);
}

/* The dictionary's content, kept until another is wanted. */
static enum za_core_read read_dict(struct za_expand *x, uint32_t id, struct za_dict *d)
{
    if (!x->has_dicts || id >= ZA_DICTS_MAX || !copy_in(x, x->dicts.slot[id], d, sizeof(*d)) ||
        d->bytes > sizeof(x->dict))
        return ZA_CORE_ABSENT;
    enum za_core_read r = ZA_CORE_READ;
    if (x->dict_id != id)
        r = za_core_read(x->core, (uint64_t)(uintptr_t)d->content, x->dict, d->bytes);
    x->dict_id = r == ZA_CORE_READ ? id : ZA_DICT_NONE;
    d->content = x->dict;
    return r;
}

static enum za_core_read find_blob(const struct za_expand *x, uint32_t id, struct za_blob *b,
                                   uint64_t *at)
{
    struct za_ids ids;
    struct za_segment s;
    if (!x->has_store)
        return ZA_CORE_ABSENT;
    enum za_core_read r =
        read_item(x, &x->store.table.ladder, id / ZA_GROUP_IDS, &ids, sizeof(ids));
    if (r != ZA_CORE_READ)
        return r;
    uint64_t word = ids.entry[id % ZA_GROUP_IDS].word, place = za_word_place(word);
    if (!za_word_used(word))
        return ZA_CORE_ABSENT;
    r = read_item(x, &x->store.segments.ladder, za_place_slot(place), &s, sizeof(s));
    if (r != ZA_CORE_READ)
        return r;
    if (s.file)
        return ZA_CORE_ELSEWHERE;
    *at = (uint64_t)(uintptr_t)s.base + (place & 0xffff) * ZA_GRAIN;
    r = za_core_read(x->core, *at, b, sizeof(*b));
    *at += sizeof(*b);
    return r;
}

static bool decompress(struct za_expand *x, const struct za_blob *b, const struct za_dict *d)
{
    const struct za_codec *c = za_codec(za_codec_of(b->codec));
    void *room = c == za_codec(ZA_CODEC_SPLIT) ? x->split_room : x->room;
    return c &&
           c->unpack(c->unpack_bytes ? room : NULL, d, x->packed, za_blob_size(b), x->raw,
                     za_blob_raw(b)) &&
           za_checksum(x->raw, za_blob_raw(b)) == b->checksum;
}

/* Leaves the blob's pages in x->raw; else counts one page lost. */
static bool unpack(struct za_expand *x, uint32_t id)
{
    struct za_blob b;
    struct za_dict dict;
    uint64_t at = 0;
    if (id != ZA_BLOB_NONE && x->unpacked == id)
        return true;
    x->unpacked = ZA_BLOB_NONE;
    enum za_core_read r = find_blob(x, id, &b, &at);
    bool good = r == ZA_CORE_READ && b.id == id && za_codec_of(b.codec) < ZA_CODEC_MAX;
    if (good)
        r = za_core_read(x->core, at, x->packed, za_blob_size(&b));
    bool with_dict = good && za_dict_of(b.codec) != ZA_DICT_NONE;
    if (good && r == ZA_CORE_READ && with_dict)
        r = read_dict(x, za_dict_of(b.codec), &dict);
    x->sum->cut += r == ZA_CORE_CUT;
    x->sum->absent += r == ZA_CORE_ABSENT;
    x->sum->filed += r == ZA_CORE_ELSEWHERE;
    if (r != ZA_CORE_READ)
        return false;
    good = good && decompress(x, &b, with_dict ? &dict : NULL);
    x->sum->damaged += !good;
    if (good) {
        x->unpacked = id;
        x->raw_bytes = za_blob_raw(&b);
    }
    return good;
}

/* ---- pages ----------------------------------------------------------------------------------- */

static uint64_t address_of(const struct za_expand *x, uint64_t region, uint64_t page)
{
    return region + (page << x->pager.page_shift);
}

static bool any(const char *p, size_t len)
{
    return p[0] != 0 || memcmp(p, p + 1, len - 1) != 0;
}

/* False: the copy cannot be written. */
static bool put(struct za_expand *x, uint64_t page, const char *bytes, uint64_t *count)
{
    size_t size = (size_t)1 << x->pager.page_shift;
    if (za_core_put(x->core, address_of(x, x->pager.base, page), bytes, size))
        (*count)++;
    else if (errno == EFAULT)
        x->sum->unwritten++;
    else
        return false;
    return true;
}

static bool from_store(struct za_expand *x, uint64_t page, za_page r)
{
    size_t size = (size_t)1 << x->pager.page_shift, at = za_page_index(r) * size;
    if (!unpack(x, za_page_blob(r)))
        return true;
    if (at + size > x->raw_bytes) {
        x->sum->damaged++;
        return true;
    }
    return put(x, page, x->raw + at, &x->sum->stored);
}

static bool from_mirror(struct za_expand *x, uint64_t page)
{
    size_t size = (size_t)1 << x->pager.page_shift;
    switch (za_core_read(x->core, address_of(x, x->pager.mirror, page), x->page, size)) {
    case ZA_CORE_READ: return put(x, page, x->page, &x->sum->limbo);
    case ZA_CORE_CUT: x->sum->cut++; return true;
    default: x->sum->absent++; return true;
    }
}

static bool expand_page(struct za_expand *x, uint64_t page, za_page r)
{
    size_t size = (size_t)1 << x->pager.page_shift;
    enum za_page_state s = za_page_state(r);
    if (s == ZA_PAGE_KERNEL || (s == ZA_PAGE_FILLING && za_page_blob(r) == ZA_BLOB_NONE))
        return true;
    if (za_core_read(x->core, address_of(x, x->pager.base, page), x->page, size) == ZA_CORE_READ &&
        any(x->page, size)) {
        x->sum->at_home++;
        return true;
    }
    return s == ZA_PAGE_STORED || s == ZA_PAGE_FILLING ? from_store(x, page, r)
                                                       : from_mirror(x, page);
}

static bool expand_some(struct za_expand *x, uint64_t first, size_t n)
{
    uint64_t records[RECORDS];
    uint64_t at = (uint64_t)(uintptr_t)x->pager.pages + first * sizeof(records[0]);
    enum za_core_read r = za_core_read(x->core, at, records, n * sizeof(records[0]));
    if (r != ZA_CORE_READ)
        x->sum->unknown += n;
    for (size_t i = 0; r == ZA_CORE_READ && i < n; i++)
        if (!expand_page(x, first + i, records[i]))
            return false;
    return true;
}

bool za_expand_all(struct za_expand *x, struct za_expanded *sum)
{
    uint64_t n = (uint64_t)x->pager.records_ready << (ZA_CHUNK_SHIFT - x->pager.page_shift);
    memset(sum, 0, sizeof(*sum));
    sum->page_shift = x->pager.page_shift;
    x->sum = sum;
    for (uint64_t i = 0; i < n; i += RECORDS)
        if (!expand_some(x, i, za_min(RECORDS, n - i)))
            return false;
    return true;
}
