/* SPDX-License-Identifier: MIT */
/*
 * table -- gives out ids of blobs, takes them back, and collects what readers dropped.
 *
 * Knows nothing of blobs or segments.  Invariants: table.h.
 * Locks: none.  May sleep: in map.  May fault: own memory only.  Allocates: via ops.
 */
#include "compress/table.h"

#define FIRST_SHIFT 6u /* 33 KiB, for 4096 ids, to begin with */

/* What the word of an id without a blob says: bits 0..15 and 36..51, which leaves the slot 0. */
static uint64_t link_to(uint32_t id)
{
    return (id & 0xffffu) | (uint64_t)(id >> 16) << ZA_WORD_PLACE_BITS;
}

uint32_t za_table_next(const struct za_table *t, uint32_t id)
{
    uint64_t word = za_entry_get(za_table_at(t, id));

    ZA_DASSERT(!za_word_used(word));
    return (uint32_t)(word & 0xffff) | za_word_refs(word) << 16;
}

static void set_next(struct za_table *t, uint32_t id, uint32_t next)
{
    za_entry_set(za_table_at(t, id), link_to(next));
}

static void push(struct za_table *t, struct za_idlist *l, uint32_t id)
{
    set_next(t, id, l->head);
    if (!l->head)
        l->tail = id;
    l->head = id;
}

void za_table_init(struct za_table *t)
{
    t->ladder.item_bytes = sizeof(struct za_ids);
    t->ladder.first_shift = FIRST_SHIFT;
    t->high = ZA_BLOB_NONE + 1;
}

uint32_t za_table_take(struct za_table *t, const struct za_store_ops *ops)
{
    uint32_t id = t->free.head;

    if (id) {
        t->free.head = za_table_next(t, id);
        return id;
    }
    if (!za_ladder_reach(&t->ladder, t->high / ZA_GROUP_IDS, ops))
        return ZA_BLOB_NONE;
    __atomic_store_n(&t->high, t->high + 1, __ATOMIC_RELAXED);
    return t->high - 1;
}

void za_table_untake(struct za_table *t, uint32_t id)
{
    push(t, &t->free, id);
}

void za_table_retire(struct za_table *t, uint32_t id)
{
    push(t, &t->young, id);
}

bool za_table_grace_begin(struct za_table *t)
{
    t->aged = t->young;
    t->young = (struct za_idlist){0, 0};
    return t->aged.head != 0;
}

void za_table_grace_end(struct za_table *t)
{
    if (!t->aged.head)
        return;
    set_next(t, t->aged.tail, t->free.head);
    if (!t->free.head)
        t->free.tail = t->aged.tail;
    t->free.head = t->aged.head;
    t->aged = (struct za_idlist){0, 0};
}

/*
 * Whoever makes a group's bits other than 0 pushes it; the others only add (I3).  The bit's release
 * shows the writer what this thread read of the blob, and the word without references; the push
 * does so for the list.
 */
void za_table_drop(struct za_table *t, uint32_t id, uint32_t refs)
{
    if (!za_entry_take(za_table_at(t, id), refs))
        return;
    uint32_t g = id / ZA_GROUP_IDS;
    struct za_ids *ids = za_ladder_at(&t->ladder, g);
    if (__atomic_fetch_or(&ids->bits, (uint64_t)1 << id % ZA_GROUP_IDS, __ATOMIC_ACQ_REL) != 0)
        return;
    uint32_t head = __atomic_load_n(&t->dropped, __ATOMIC_RELAXED);
    do {
        __atomic_store_n(&ids->next, head, __ATOMIC_RELAXED);
    } while (!__atomic_compare_exchange_n(&t->dropped, &head, g + 1, true, __ATOMIC_RELEASE,
                                          __ATOMIC_RELAXED));
}

uint32_t za_table_dropped(struct za_table *t)
{
    if (!__atomic_load_n(&t->dropped, __ATOMIC_RELAXED))
        return 0;
    return __atomic_exchange_n(&t->dropped, 0, __ATOMIC_ACQUIRE);
}

/* `next` is read first: once the bits are 0, a dropper may push the group again. */
uint32_t za_table_dropped_next(struct za_table *t, uint32_t g, uint64_t *bits)
{
    struct za_ids *ids = za_ladder_at(&t->ladder, g - 1);
    uint32_t next = __atomic_load_n(&ids->next, __ATOMIC_RELAXED);

    *bits = __atomic_exchange_n(&ids->bits, 0, __ATOMIC_ACQ_REL);
    return next;
}
