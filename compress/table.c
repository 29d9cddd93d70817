/* SPDX-License-Identifier: MIT */
/*
 * table -- gives out ids of blobs, takes them back, and collects what readers dropped.
 *
 * Knows nothing of blobs or segments.  Invariants: table.h.
 * Locks: none.  May sleep: in map.  May fault: own memory only.  Allocates: via ops.
 */
#include "compress/table.h"

#define FIRST_SHIFT 12u /* 64 KiB of entries to begin with */

/*
 * `next` is shared between droppers and the writer by turns (I3);
 * the order comes from pending and dropped.
 */
static uint32_t next_of(const struct za_entry *e)
{
    return __atomic_load_n(&e->next, __ATOMIC_RELAXED);
}

static void set_next(struct za_entry *e, uint32_t id)
{
    __atomic_store_n(&e->next, id, __ATOMIC_RELAXED);
}

static void push(struct za_table *t, struct za_idlist *l, uint32_t id)
{
    set_next(za_table_at(t, id), l->head);
    if (!l->head)
        l->tail = id;
    l->head = id;
}

void za_table_init(struct za_table *t)
{
    t->ladder.item_bytes = sizeof(struct za_entry);
    t->ladder.first_shift = FIRST_SHIFT;
    t->high = ZA_BLOB_NONE + 1;
}

uint32_t za_table_take(struct za_table *t, const struct za_store_ops *ops)
{
    uint32_t id = t->free.head;

    if (id) {
        t->free.head = next_of(za_table_at(t, id));
        return id;
    }
    if (!za_ladder_reach(&t->ladder, t->high, ops))
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
    za_entry_set(za_table_at(t, id), 0);
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
    set_next(za_table_at(t, t->aged.tail), t->free.head);
    if (!t->free.head)
        t->free.tail = t->aged.tail;
    t->free.head = t->aged.head;
    t->aged = (struct za_idlist){0, 0};
}

/*
 * Whoever raises pending from 0 pushes the id; the others only add (I2).  fetch_add releases what
 * this thread read of the blob to the writer's exchange of pending; the push does so for the list.
 */
void za_table_drop(struct za_table *t, uint32_t id, uint32_t refs)
{
    struct za_entry *e = za_table_at(t, id);

    if (__atomic_fetch_add(&e->pending, refs, __ATOMIC_RELEASE) != 0)
        return;
    uint32_t head = __atomic_load_n(&t->dropped, __ATOMIC_RELAXED);
    do {
        set_next(e, head);
    } while (!__atomic_compare_exchange_n(&t->dropped, &head, id, true, __ATOMIC_RELEASE,
                                          __ATOMIC_RELAXED));
}

uint32_t za_table_dropped(struct za_table *t)
{
    if (!__atomic_load_n(&t->dropped, __ATOMIC_RELAXED))
        return ZA_BLOB_NONE;
    return __atomic_exchange_n(&t->dropped, ZA_BLOB_NONE, __ATOMIC_ACQUIRE);
}

/* `next` is read first: once pending is 0, a dropper may push the id again. */
uint32_t za_table_dropped_next(struct za_table *t, uint32_t id, uint32_t *refs)
{
    struct za_entry *e = za_table_at(t, id);
    uint32_t next = next_of(e);

    *refs = __atomic_exchange_n(&e->pending, 0, __ATOMIC_ACQ_REL);
    return next;
}
