/* SPDX-License-Identifier: MIT */
/*
 * segment -- opens, fills, closes and gives back the segments of the log.
 *
 * Knows sizes and places, not what is in them.  Invariants: segment.h.
 * Locks: none.  May sleep: in map, unmap.  May fault: own memory only.  Allocates: via ops.
 */
#include "compress/segment.h"

#include "os/os.h"

static void count_mapped(struct za_segments *ss, int64_t n)
{
    __atomic_store_n(&ss->mapped, ss->mapped + (uint64_t)n, __ATOMIC_RELAXED);
}

static uint32_t blocks(uint32_t bytes)
{
    return (uint32_t)(za_align_up(bytes, za_max(ZA_SEGMENT_BLOCK, za_os->page_size)) /
                      ZA_SEGMENT_BLOCK);
}

static void set_held(struct za_segments *ss, struct za_segment *seg, uint32_t n)
{
    __atomic_store_n(&ss->held, ss->held + n - seg->held, __ATOMIC_RELAXED);
    seg->held = (uint16_t)n;
}

/* Memory behind the end goes back, where a segment used a second time has any. */
static void trim(struct za_segments *ss, struct za_segment *seg)
{
    uint32_t n = blocks(seg->used);

    if (seg->held <= n || za_os->purge(seg->base + (size_t)n * ZA_SEGMENT_BLOCK,
                                       (size_t)(seg->held - n) * ZA_SEGMENT_BLOCK) < 0)
        return;
    set_held(ss, seg, n);
}

static void set_mark(struct za_segment *seg, uint64_t mark)
{
    __atomic_store_n(&seg->mark, mark, __ATOMIC_RELAXED);
}

static bool inherited(const struct za_segment *seg)
{
    return seg->mark == ZA_INHERITED && !seg->file;
}

static void count_inherited(struct za_segments *ss, int n)
{
    __atomic_store_n(&ss->inherited, ss->inherited + (uint32_t)n, __ATOMIC_RELAXED);
}

static void push(struct za_segments *ss, uint32_t *list, uint32_t slot)
{
    za_segment_at(ss, slot)->next = *list;
    *list = slot;
}

static uint32_t pop(struct za_segments *ss, uint32_t *list)
{
    uint32_t slot = *list;

    if (slot)
        *list = za_segment_at(ss, slot)->next;
    return slot;
}

void za_segments_init(struct za_segments *ss)
{
    ss->ladder.item_bytes = sizeof(struct za_segment);
    ss->ladder.first_shift = ZA_SEGMENTS_SHIFT;
    ss->ladder.rung[0] = (char *)ss->first;
    ss->ladder.rungs = ss->ladder.given = 1;
    ss->high = 1;
}

void za_segments_free(struct za_segments *ss, const struct za_store_ops *ops)
{
    for (uint32_t slot = 1; slot < ss->high; slot++)
        if (za_segment_at(ss, slot)->base && !za_segment_at(ss, slot)->file)
            ops->unmap(za_segment_at(ss, slot)->base, ZA_SEGMENT_BYTES);
    za_ladder_free(&ss->ladder, ops);
}

static uint32_t take_slot(struct za_segments *ss, const struct za_store_ops *ops)
{
    uint32_t slot = pop(ss, &ss->free_slots);

    if (slot)
        return slot;
    if (ss->high == ZA_SEGMENT_SLOTS || !za_ladder_reach(&ss->ladder, ss->high, ops))
        return 0;
    __atomic_store_n(&ss->high, ss->high + 1, __ATOMIC_RELAXED);
    return ss->high - 1;
}

static uint32_t map_segment(struct za_segments *ss, const struct za_store_ops *ops)
{
    uint32_t slot = take_slot(ss, ops);

    if (!slot)
        return 0;
    char *base = ops->map(ZA_SEGMENT_BYTES);
    if (!base) {
        push(ss, &ss->free_slots, slot);
        return 0;
    }
    za_segment_at(ss, slot)->base = base;
    count_mapped(ss, 1);
    return slot;
}

static void unmap_segment(struct za_segments *ss, const struct za_store_ops *ops, uint32_t slot)
{
    struct za_segment *seg = za_segment_at(ss, slot);
    char *base = seg->base;

    set_held(ss, seg, 0);
    *seg = (struct za_segment){.state = ZA_SEG_NONE};
    ops->unmap(base, ZA_SEGMENT_BYTES); /* I8 */
    push(ss, &ss->free_slots, slot);
    count_mapped(ss, -1);
}

/*
 * A CLOSED or FILED segment whose last blob died.  Compaction must forget it:
 * the slot may come back as another segment.
 */
static void retire(struct za_segments *ss, uint32_t slot)
{
    struct za_segment *seg = za_segment_at(ss, slot);

    if (seg->state == ZA_SEG_FILED)
        ss->filed_used -= seg->used;
    else if (inherited(seg))
        count_inherited(ss, -1);
    else
        ss->closed_used -= seg->used;
    seg->state = ZA_SEG_GRACE;
    push(ss, &ss->young, slot);
    if (ss->victim == slot)
        ss->victim = 0;
}

/* `which` is ss->open or ss->moved, here and below. */
static void close_open(struct za_segments *ss, uint32_t *which)
{
    uint32_t slot = *which;
    struct za_segment *seg = za_segment_at(ss, slot);

    *which = 0;
    seg->state = ZA_SEG_CLOSED;
    if (which == &ss->open)
        set_mark(seg, ss->clock);
    else
        ss->poor = 0; /* it may be older than what there was too little of */
    seg->picked = 0;
    trim(ss, seg);
    ss->closed_used += seg->used;
    ss->closed_live += seg->live;
    if (!seg->live)
        retire(ss, slot);
}

/* The old segment stays open when there is no new one: smaller blobs may still fit. */
static bool open_next(struct za_segments *ss, const struct za_store_ops *ops, uint32_t *which)
{
    uint32_t slot = ss->spare ? ss->spare : map_segment(ss, ops);

    if (!slot)
        return false;
    ss->spare = 0;
    if (*which)
        close_open(ss, which);
    struct za_segment *seg = za_segment_at(ss, slot);
    seg->used = seg->live = 0;
    seg->state = ZA_SEG_OPEN;
    set_mark(seg, 0);
    *which = slot;
    return true;
}

static uint64_t take(struct za_segments *ss, const struct za_store_ops *ops, uint32_t *which,
                     uint32_t bytes)
{
    if (!*which || za_segment_at(ss, *which)->used + bytes > ZA_SEGMENT_BYTES)
        if (!open_next(ss, ops, which))
            return 0;
    struct za_segment *seg = za_segment_at(ss, *which);
    uint64_t place = za_place_make(*which, seg->used);
    seg->used += bytes;
    seg->live += bytes;
    if (blocks(seg->used) > seg->held)
        set_held(ss, seg, blocks(seg->used));
    return place;
}

uint64_t za_segments_take(struct za_segments *ss, const struct za_store_ops *ops, uint32_t bytes)
{
    return take(ss, ops, &ss->open, bytes);
}

uint64_t za_segments_take_aged(struct za_segments *ss, const struct za_store_ops *ops,
                               uint32_t bytes, uint64_t mark)
{
    uint64_t place = take(ss, ops, &ss->moved, bytes);
    if (!place)
        return 0;
    struct za_segment *seg = za_segment_at(ss, ss->moved);
    uint64_t before = seg->used - bytes; /* the average of what is in it, to the nearest */
    set_mark(seg, (seg->mark * before + mark * bytes + seg->used / 2) / seg->used);
    return place;
}

void za_segments_give(struct za_segments *ss, uint64_t place, uint32_t bytes)
{
    uint32_t slot = za_place_slot(place);
    struct za_segment *seg = za_segment_at(ss, slot);

    ZA_DASSERT(seg->live >= bytes);
    seg->live -= bytes;
    if (seg->state == ZA_SEG_FILED)
        ss->filed_live -= bytes;
    else if (seg->state == ZA_SEG_CLOSED)
        ss->closed_live -= inherited(seg) ? 0 : bytes;
    else
        return;
    if (!seg->live)
        retire(ss, slot);
}

bool za_segments_grace_begin(struct za_segments *ss)
{
    ss->aged = ss->young;
    ss->young = 0;
    return ss->aged != 0;
}

void za_segments_grace_end(struct za_segments *ss, const struct za_store_ops *ops)
{
    uint32_t slot;

    while ((slot = pop(ss, &ss->aged)) != 0) {
        if (za_segment_at(ss, slot)->file) {
            push(ss, &ss->gone, slot);
            continue;
        }
        if (ss->spare || inherited(za_segment_at(ss, slot))) {
            unmap_segment(ss, ops, slot);
            continue;
        }
        za_segment_at(ss, slot)->state = ZA_SEG_SPARE;
        ss->spare = slot;
        ss->spare_idle = false;
    }
}

uint32_t za_segments_slot(struct za_segments *ss, const struct za_store_ops *ops)
{
    return take_slot(ss, ops);
}

void za_segments_slot_free(struct za_segments *ss, uint32_t slot)
{
    *za_segment_at(ss, slot) = (struct za_segment){.state = ZA_SEG_NONE};
    push(ss, &ss->free_slots, slot);
}

void za_segments_filed(struct za_segments *ss, uint32_t slot, const struct za_segment *as)
{
    *za_segment_at(ss, slot) = *as;
    ss->filed_used += as->used;
    ss->filed_live += as->live;
    __atomic_store_n(&ss->filed, ss->filed + 1, __ATOMIC_RELAXED);
}

uint32_t za_segments_gone(struct za_segments *ss)
{
    uint32_t slot = pop(ss, &ss->gone);

    if (slot)
        __atomic_store_n(&ss->filed, ss->filed - 1, __ATOMIC_RELAXED);
    return slot;
}

void za_segments_close(struct za_segments *ss)
{
    if (ss->open && za_segment_at(ss, ss->open)->used)
        close_open(ss, &ss->open);
    if (ss->moved)
        close_open(ss, &ss->moved);
}

void za_segments_close_aged(struct za_segments *ss, uint64_t before, uint32_t least)
{
    const struct za_segment *seg = ss->moved ? za_segment_at(ss, ss->moved) : NULL;

    if (seg && seg->mark < before && seg->used >= least)
        close_open(ss, &ss->moved);
}

void za_segments_inherit(struct za_segments *ss)
{
    za_segments_close(ss);
    ss->victim = 0;
    for (uint32_t slot = 1; slot < ss->high; slot++) {
        struct za_segment *seg = za_segment_at(ss, slot);
        if (seg->state != ZA_SEG_CLOSED || inherited(seg))
            continue;
        ss->closed_used -= seg->used;
        ss->closed_live -= seg->live;
        set_mark(seg, ZA_INHERITED);
        count_inherited(ss, 1);
    }
}

void za_segments_own(struct za_segments *ss)
{
    for (uint32_t slot = 1; ss->inherited && slot < ss->high; slot++) {
        struct za_segment *seg = za_segment_at(ss, slot);
        if (seg->state != ZA_SEG_CLOSED || !inherited(seg))
            continue;
        ss->closed_used += seg->used;
        ss->closed_live += seg->live;
        set_mark(seg, ss->clock);
        count_inherited(ss, -1);
    }
}

static void rest_open(struct za_segments *ss, uint32_t slot, uint32_t *rested)
{
    struct za_segment *seg = slot ? za_segment_at(ss, slot) : NULL;

    if (!seg)
        return;
    if (seg->used == *rested)
        trim(ss, seg);
    *rested = seg->used;
}

void za_segments_rest(struct za_segments *ss, const struct za_store_ops *ops)
{
    if (ss->spare && ss->spare_idle) {
        unmap_segment(ss, ops, ss->spare);
        ss->spare = 0;
    }
    ss->spare_idle = true;
    rest_open(ss, ss->open, &ss->rested);
    rest_open(ss, ss->moved, &ss->moved_rested);
}

/*
 * A scan of 32 bytes per MiB stored, once for every MiB emptied:
 * microseconds per GiB, so no ordered lists.
 */
uint32_t za_segments_sparsest(struct za_segments *ss, const struct za_store_ops *ops)
{
    uint32_t best = 0, most_dead = 0;

    for (uint32_t slot = 1; slot < ss->high; slot++) {
        const struct za_segment *seg = za_segment_at(ss, slot);
        if ((seg->state == ZA_SEG_CLOSED || seg->state == ZA_SEG_OPEN) && !inherited(seg) &&
            seg->used - seg->live > most_dead) {
            most_dead = seg->used - seg->live;
            best = slot;
        }
    }
    if (best && best == ss->open && !open_next(ss, ops, &ss->open))
        return 0;
    if (best && best == ss->moved)
        close_open(ss, &ss->moved);
    return best && za_segment_at(ss, best)->state == ZA_SEG_CLOSED ? best : 0;
}

uint64_t za_segments_used(const struct za_segments *ss)
{
    return ss->closed_used + (ss->open ? za_segment_at(ss, ss->open)->used : 0) +
           (ss->moved ? za_segment_at(ss, ss->moved)->used : 0);
}

uint64_t za_segments_dead(const struct za_segments *ss)
{
    const struct za_segment *open = ss->open ? za_segment_at(ss, ss->open) : NULL;
    const struct za_segment *moved = ss->moved ? za_segment_at(ss, ss->moved) : NULL;

    return ss->closed_used - ss->closed_live + (open ? open->used - open->live : 0) +
           (moved ? moved->used - moved->live : 0);
}

static uint64_t held_in(const struct za_segments *ss, uint32_t list)
{
    uint64_t blocks_held = 0;

    for (; list; list = za_segment_at(ss, list)->next)
        blocks_held += za_segment_at(ss, list)->held;
    return blocks_held * ZA_SEGMENT_BLOCK;
}

uint64_t za_segments_leaving(const struct za_segments *ss)
{
    return held_in(ss, ss->young) + held_in(ss, ss->aged) +
           (ss->spare ? (uint64_t)za_segment_at(ss, ss->spare)->held * ZA_SEGMENT_BLOCK : 0);
}
