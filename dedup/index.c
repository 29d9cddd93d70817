/* SPDX-License-Identifier: MIT */
/*
 * index -- finds, remembers and forgets where contents are stored.  Theory: index.h.
 *
 * Locks: none.  May sleep: in map, unmap, purge.  May fault: own memory only.  Allocates: by os.
 */
#include "dedup/index.h"

#include <string.h>

#include "os/os.h"

#define SEGMENT_BYTES (ZA_INDEX_SLOTS * sizeof(struct za_index_entry))
#define BLOCK_BYTES (ZA_INDEX_BLOCK_SEGMENTS * SEGMENT_BYTES)
#define HEADS_BYTES ((size_t)ZA_INDEX_SEGMENTS_MAX * sizeof(struct za_index_head))
#define FULL (ZA_INDEX_SLOTS * 3 / 4)
#define THIN (FULL / 2) /* two neighbours with no more than this together are merged */
#define DEPTH_MAX 24u
#define NO_SEGMENT UINT32_MAX

static void *map(size_t len)
{
    void *p;
    return za_os->map(&p, za_align_up(len, za_os->page_size)) < 0 ? NULL : p;
}

static void unmap(void *p, size_t len)
{
    if (p)
        (void)za_os->unmap(p, za_align_up(len, za_os->page_size));
}

static struct za_index_entry *segment_at(const struct za_index *ix, uint32_t n)
{
    return ix->block[n / ZA_INDEX_BLOCK_SEGMENTS] +
           (size_t)(n % ZA_INDEX_BLOCK_SEGMENTS) * ZA_INDEX_SLOTS;
}

static size_t dir_bytes(uint32_t depth)
{
    return sizeof(uint32_t) << depth;
}

static uint32_t top_bits(uint64_t tag, uint32_t bits)
{
    return bits ? (uint32_t)(tag >> (64 - bits)) : 0;
}

/* --- segments ------------------------------------------------------------ */

/* An empty segment; NO_SEGMENT: no memory, or as many as there may be. */
static uint32_t segment_take(struct za_index *ix, uint32_t depth)
{
    uint32_t n = ix->free ? ix->free - 1 : ix->made;
    if (n == ZA_INDEX_SEGMENTS_MAX)
        return NO_SEGMENT;
    struct za_index_entry **block = &ix->block[n / ZA_INDEX_BLOCK_SEGMENTS];
    if (!*block && !(*block = map(BLOCK_BYTES)))
        return NO_SEGMENT;
    if (ix->free) {
        ix->free = segment_at(ix, n)->blob;
        memset(segment_at(ix, n), 0, SEGMENT_BYTES);
    } else {
        ix->made++;
    }
    ix->segments++;
    ix->heads[n] = (struct za_index_head){.depth = (uint8_t)depth};
    return n;
}

/* Its memory goes back, but for the word that keeps the list. */
static void segment_give(struct za_index *ix, uint32_t n)
{
    struct za_index_entry *s = segment_at(ix, n);
    if (za_os->page_size <= SEGMENT_BYTES)
        (void)za_os->purge(s, SEGMENT_BYTES);
    s->blob = ix->free;
    ix->free = n + 1;
    ix->segments--;
}

/* The slot of the tag, or the empty one where it would stand. */
static struct za_index_entry *slot_of(struct za_index_entry *s, uint64_t tag)
{
    uint32_t i = (uint32_t)tag % ZA_INDEX_SLOTS;
    while (s[i].blob && s[i].tag != tag)
        i = (i + 1) % ZA_INDEX_SLOTS;
    return &s[i];
}

static void fill(struct za_index *ix, uint32_t n, struct za_index_entry *slot,
                 const struct za_index_entry *e)
{
    *slot = *e;
    ix->heads[n].used++;
}

/* There is room, and no such tag. */
static void add(struct za_index *ix, uint32_t n, const struct za_index_entry *e)
{
    fill(ix, n, slot_of(segment_at(ix, n), e->tag), e);
}

/* Takes all entries of a segment out of it, into scratch; returns how many. */
static uint32_t empty(struct za_index *ix, uint32_t n)
{
    uint32_t all = 0;
    struct za_index_entry *s = segment_at(ix, n);
    for (uint32_t i = 0; i < ZA_INDEX_SLOTS; i++)
        if (s[i].blob)
            ix->scratch[all++] = s[i];
    memset(s, 0, SEGMENT_BYTES);
    ix->heads[n].used = 0;
    return all;
}

/* --- the directory ------------------------------------------------------- */

static uint32_t segment_of(const struct za_index *ix, uint64_t tag)
{
    return ix->dir[top_bits(tag, ix->depth)];
}

/* Places of the directory in which a segment of this depth stands. */
static uint32_t stretch(const struct za_index *ix, uint32_t depth)
{
    return 1u << (ix->depth - depth);
}

static bool lengthen(struct za_index *ix)
{
    uint32_t *dir = ix->depth < DEPTH_MAX ? map(dir_bytes(ix->depth + 1)) : NULL;
    if (!dir)
        return false;
    for (uint32_t i = 0; i < 1u << ix->depth; i++)
        dir[(size_t)2 * i] = dir[(size_t)2 * i + 1] = ix->dir[i];
    uint32_t *old = ix->dir;
    ix->dir = dir; /* before the other goes: a bare child drops what it finds here */
    ix->depth++;
    ix->cursor *= 2;
    unmap(old, dir_bytes(ix->depth - 1));
    return true;
}

static bool open_index(struct za_index *ix)
{
    if (ix->dir)
        return true;
    ix->dir = map(dir_bytes(0));
    ix->heads = map(HEADS_BYTES);
    if (ix->dir && ix->heads && (ix->dir[0] = segment_take(ix, 0)) != NO_SEGMENT)
        return true;
    za_index_drop(ix);
    return false;
}

/* The segment where the tag belongs is full: one more bit tells its entries apart. */
static bool split(struct za_index *ix, uint64_t tag)
{
    uint32_t old = segment_of(ix, tag), depth = ix->heads[old].depth;
    if (depth == ix->depth && !lengthen(ix))
        return false;
    uint32_t new = segment_take(ix, depth + 1);
    if (new == NO_SEGMENT)
        return false;
    uint32_t n = empty(ix, old), half = stretch(ix, depth) / 2;
    uint32_t first = top_bits(tag, depth) << (ix->depth - depth);
    ix->heads[old].depth++;
    for (uint32_t i = 0; i < half; i++)
        ix->dir[first + half + i] = new;
    for (uint32_t i = 0; i < n; i++)
        add(ix, segment_of(ix, ix->scratch[i].tag), &ix->scratch[i]);
    return true;
}

/*
 * Joins the segment at a place with the one before it that it was split from, if both are thin; of
 * two, the sweep comes to the second one last, when both have been sifted.
 */
static void merge(struct za_index *ix, uint32_t place)
{
    uint32_t n = ix->dir[place], depth = ix->heads[n].depth;
    uint32_t len = stretch(ix, depth);
    if (depth == 0 || !(place & len))
        return;
    uint32_t other = ix->dir[place ^ len];
    if (ix->heads[other].depth != depth || ix->heads[n].used + ix->heads[other].used > THIN)
        return;
    uint32_t all = empty(ix, other), first = place & ~(2 * len - 1);
    segment_give(ix, other);
    ix->heads[n].depth--;
    for (uint32_t i = 0; i < 2 * len; i++)
        ix->dir[first + i] = n;
    for (uint32_t i = 0; i < all; i++)
        add(ix, n, &ix->scratch[i]);
}

/* --- the face ------------------------------------------------------------ */

void za_index_expect(const struct za_index *ix, uint64_t tag)
{
    if (ix->dir)
        __builtin_prefetch(segment_at(ix, segment_of(ix, tag)) + (uint32_t)tag % ZA_INDEX_SLOTS);
}

const struct za_index_entry *za_index_find(const struct za_index *ix, uint64_t tag)
{
    if (!ix->dir)
        return NULL;
    const struct za_index_entry *e = slot_of(segment_at(ix, segment_of(ix, tag)), tag);
    return e->blob ? e : NULL;
}

/*
 * No segment to split into (I4): the entry that has the new one's home goes; where nobody has it,
 * the new one is not worth a chain beyond what is full.
 */
static void displace(struct za_index *ix, const struct za_index_entry *e)
{
    struct za_index_entry *home = segment_at(ix, segment_of(ix, e->tag));
    home += (uint32_t)e->tag % ZA_INDEX_SLOTS;
    if (home->blob)
        *home = *e;
    ix->forgotten++;
}

/* False: the segment where the tag belongs is full and stays so. */
static bool make_room(struct za_index *ix, uint64_t tag)
{
    while (ix->heads[segment_of(ix, tag)].used >= FULL)
        if (!split(ix, tag))
            return false;
    return true;
}

bool za_index_put(struct za_index *ix, const struct za_index_entry *e)
{
    ZA_ASSERT(e->blob && e->tag != ZA_TAG_NONE);
    if (!open_index(ix))
        return false;
    uint32_t n = segment_of(ix, e->tag);
    struct za_index_entry *slot = slot_of(segment_at(ix, n), e->tag);
    if (slot->blob) {
        *slot = *e;
    } else if (ix->heads[n].used < FULL) {
        fill(ix, n, slot, e);
        ix->entries++;
    } else if (make_room(ix, e->tag)) {
        add(ix, segment_of(ix, e->tag), e);
        ix->entries++;
    } else {
        displace(ix, e);
    }
    return true;
}

static void sift(struct za_index *ix, uint32_t n, bool (*keep)(const struct za_index_entry *))
{
    uint32_t all = empty(ix, n);
    ix->entries -= all;
    for (uint32_t i = 0; i < all; i++) {
        if (!keep(&ix->scratch[i]))
            continue;
        add(ix, n, &ix->scratch[i]);
        ix->entries++;
    }
}

bool za_index_sweep(struct za_index *ix, bool (*keep)(const struct za_index_entry *),
                    uint32_t segments)
{
    while (ix->dir && segments-- > 0) {
        sift(ix, ix->dir[ix->cursor], keep);
        merge(ix, ix->cursor);
        uint32_t len = stretch(ix, ix->heads[ix->dir[ix->cursor]].depth);
        ix->cursor = (ix->cursor & ~(len - 1)) + len;
        if (ix->cursor >> ix->depth) {
            ix->cursor = 0;
            return true;
        }
    }
    return !ix->dir;
}

void za_index_drop(struct za_index *ix)
{
    struct za_index was = *ix;

    memset(ix, 0, sizeof(*ix)); /* first: a bare child drops what it finds here */
    ix->forgotten = was.forgotten;
    unmap(was.dir, dir_bytes(was.depth));
    unmap(was.heads, HEADS_BYTES);
    for (uint32_t i = 0; i < ZA_INDEX_BLOCKS; i++)
        unmap(was.block[i], BLOCK_BYTES);
}

/* --- accounts ------------------------------------------------------------ */

size_t za_index_bytes(const struct za_index *ix)
{
    if (!ix->dir)
        return 0;
    return dir_bytes(ix->depth) + ix->segments * SEGMENT_BYTES +
           ix->made * sizeof(struct za_index_head);
}

bool za_index_area(const struct za_index *ix, unsigned i, void **addr, size_t *len)
{
    if (i >= ZA_INDEX_BLOCKS + 2 || !ix->dir)
        return false;
    *addr = i == 0 ? ix->dir : i == 1 ? (void *)ix->heads : (void *)ix->block[i - 2];
    *len = i == 0 ? dir_bytes(ix->depth) : i == 1 ? HEADS_BYTES : BLOCK_BYTES;
    if (!*addr)
        *len = 0;
    return true;
}

/* I1 to I3 within one segment; all its entries belong there. */
static void check_segment(const struct za_index *ix, uint32_t n, uint32_t prefix)
{
    struct za_index_entry *s = segment_at(ix, n);
    uint32_t used = 0;
    for (uint32_t i = 0; i < ZA_INDEX_SLOTS; i++) {
        if (!s[i].blob)
            continue;
        ZA_ASSERT(top_bits(s[i].tag, ix->heads[n].depth) == prefix);
        ZA_ASSERT(slot_of(s, s[i].tag) == &s[i]);
        used++;
    }
    ZA_ASSERT(used == ix->heads[n].used && used <= FULL);
}

void za_index_check(const struct za_index *ix)
{
    uint64_t entries = 0;
    uint32_t segments = 0, waiting = 0;
    for (uint32_t at = 0; ix->dir && !(at >> ix->depth);) {
        uint32_t n = ix->dir[at], len = stretch(ix, ix->heads[n].depth);
        ZA_ASSERT(at % len == 0);
        for (uint32_t i = 0; i < len; i++)
            ZA_ASSERT(ix->dir[at + i] == n);
        check_segment(ix, n, at / len);
        entries += ix->heads[n].used;
        segments++;
        at += len;
    }
    for (uint32_t f = ix->free; f; f = segment_at(ix, f - 1)->blob)
        waiting++;
    ZA_ASSERT(entries == ix->entries && segments == ix->segments);
    ZA_ASSERT(segments + waiting == ix->made);
}
