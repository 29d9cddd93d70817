/* SPDX-License-Identifier: MIT */
/*
 * compact -- squeezes dead blobs out of the log by copying the living ones to its end.
 *
 * The sparsest segment is emptied from front to back, in as many calls as the budget wants; if it
 * is the open one, it is closed first.  A reader sees each blob at its old or its new place, and
 * both hold the same bytes until the grace period is over.
 *
 * Price: in a store of 200 MiB that dies and is refilled at random, bytes moved for each byte put
 * are 3 at 12 % dead, 7 at 6 %, 10 at 4 % and 13 at 3 %; max_bytes is the caller's means to pay it
 * when idle.
 *
 * What is moved keeps its age, by which blobs go to files: it is gathered in segments of its own, each
 * as old as its contents are on average.
 *
 * Worth it: more than 3 % of the bytes of blobs are dead, and a sixteenth of a segment at least.
 * What lies behind the last blob of a segment holds no memory and does not count, so what
 * compaction cannot win it does not chase: every emptied segment loses its dead bytes for good, and
 * a store without releases comes to rest.
 *
 * Locks: none.  May sleep: in map, unmap.  May fault: own memory only.
 * Allocates: one segment at a time, via ops.
 */
#include "compress/store_private.h"

#include <string.h>

/* 3 %: the goal is under 5 % with headers, and what is left of pages, counted. */
#define DEAD_SHARE 32u
#define DEAD_LEAST (ZA_SEGMENT_BYTES / 16)
#define GRACE_MOST 8u /* MiB that may wait for a reader before compaction does */

static bool worth_it(const struct za_segments *ss)
{
    uint64_t dead = za_segments_dead(ss);

    return dead >= DEAD_LEAST && dead > za_segments_used(ss) / DEAD_SHARE;
}

/* Emptied segments are still memory: a reader that stays inside must not let them pile up. */
static bool reader_keeps_up(const struct za_segments *ss)
{
    uint32_t waiting = 0;

    for (uint32_t slot = ss->young; slot; slot = za_segment_at(ss, slot)->next)
        waiting++;
    for (uint32_t slot = ss->aged; slot; slot = za_segment_at(ss, slot)->next)
        waiting++;
    return waiting < GRACE_MOST;
}

static bool have_victim(struct za_store *s)
{
    struct za_segments *ss = &s->segments;

    if (ss->victim)
        return true;
    if (!worth_it(ss))
        return false;
    za_store_settle(s);
    if (!reader_keeps_up(ss))
        return false;
    ss->cursor = 0;
    ss->victim = za_segments_sparsest(ss, &s->ops);
    if (!ss->victim && worth_it(ss)) /* the open one was all dead */
        ss->victim = za_segments_sparsest(ss, &s->ops);
    return ss->victim != 0;
}

/* A dead blob's id may belong to another blob by now; that one lives elsewhere. */
static bool is_live(const struct za_store *s, const struct za_blob *b, uint64_t place)
{
    return za_word_place(za_entry_get(za_table_at(&s->table, b->id))) == place;
}

/*
 * Where blobs may go to a file their age matters: the moved ones, which are old, do not mix with the
 * new ones.
 */
static uint64_t room_for(struct za_store *s, uint32_t bytes, uint64_t from)
{
    const struct za_segment *seg = za_segment_at(&s->segments, za_place_slot(from));

    if (!s->tier.keys)
        return za_segments_take(&s->segments, &s->ops, bytes);
    return za_segments_take_aged(&s->segments, &s->ops, bytes, seg->mark);
}

static bool move(struct za_store *s, const struct za_blob *b, uint64_t from)
{
    uint32_t bytes = za_blob_bytes(za_blob_size(b));
    uint64_t to = room_for(s, bytes, from);

    if (!to)
        return false;
    memcpy(za_store_blob(s, to), b, sizeof(*b) + za_blob_size(b));
    za_entry_move(za_table_at(&s->table, b->id), to);
    za_segments_give(&s->segments, from, bytes); /* the last one retires the victim */
    za_store_count(&s->counts.compacted_bytes, bytes);
    return true;
}

/* Looks at the victim's next blob; false: the budget is spent or there is no memory. */
static bool step(struct za_store *s, size_t budget, size_t *moved)
{
    struct za_segments *ss = &s->segments;
    uint64_t place = za_place_make(ss->victim, ss->cursor);
    const struct za_blob *b = za_store_blob(s, place);
    uint32_t bytes = za_blob_bytes(za_blob_size(b));

    if (is_live(s, b, place)) {
        if (*moved + bytes > budget || !move(s, b, place))
            return false;
        *moved += bytes;
    }
    ss->cursor += bytes;
    return true;
}

size_t za_store_compact(struct za_store *s, size_t max_bytes)
{
    size_t moved = 0;

    while (have_victim(s))
        if (!step(s, max_bytes, &moved))
            break;
    return moved;
}

uint64_t za_store_leaving(const struct za_store *s)
{
    const struct za_segments *ss = &s->segments;

    return (worth_it(ss) ? za_segments_dead(ss) : 0) + za_segments_leaving(ss);
}
