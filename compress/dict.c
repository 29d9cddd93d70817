/* SPDX-License-Identifier: MIT */
/*
 * dict -- makes a dictionary of its content, and keeps the shelf.
 *
 * Two mappings each: head and content, which live as long as a blob needs them, and the tables for
 * packing, an order of magnitude larger, which go when the dictionary retires.
 *
 * Locks: none.  May sleep: in map, unmap.  May fault: own memory only.  Allocates: via ops.
 */
#include "compress/dict.h"

#include <string.h>

#include "os/os.h"

#define HEAD_BYTES za_align_up(sizeof(struct za_dict), ZA_CODEC_ALIGN)
#define DICT_MAGIC 0xec30a437u

static size_t self_bytes(size_t content_bytes)
{
    return za_align_up(HEAD_BYTES + content_bytes, za_os->page_size);
}

static size_t room_bytes(const struct za_dict *d)
{
    return za_align_up(za_zstd_ready_bytes((enum za_zstd_effort)d->effort, d->bytes),
                       za_os->page_size);
}

static void unready(struct za_dict *d)
{
    void *room = d->room;

    d->room = NULL;
    d->ready = NULL;
    if (room)
        d->ops.unmap(room, room_bytes(d)); /* forgotten first: segment.h I8 */
}

static bool make_ready(struct za_dict *d)
{
    d->room = d->ops.map(room_bytes(d));
    if (!d->room)
        return false;
    d->ready =
        za_zstd_ready((enum za_zstd_effort)d->effort, d->content, d->bytes, d->room, room_bytes(d));
    return d->ready != NULL;
}

/* I4 */
static size_t bytes_to_skip(const void *content)
{
    uint32_t first;

    memcpy(&first, content, sizeof(first));
    return first == DICT_MAGIC;
}

struct za_dict *za_dict_new(const struct za_store_ops *ops, enum za_zstd_effort effort,
                            const void *content, size_t bytes)
{
    ZA_ASSERT(bytes > 8 && bytes <= ZA_DICT_MAX_BYTES);
    size_t skip = bytes_to_skip(content);
    bytes -= skip;
    struct za_dict *d = ops->map(self_bytes(bytes));
    if (!d)
        return NULL;
    char *copy = (char *)d + HEAD_BYTES;
    memcpy(copy, (const char *)content + skip, bytes);
    d->content = copy;
    d->bytes = bytes;
    d->effort = effort;
    d->ops = *ops;
    if (make_ready(d))
        return d;
    za_dict_free(d);
    return NULL;
}

void za_dict_free(struct za_dict *d)
{
    struct za_store_ops ops = d->ops;

    unready(d);
    ops.unmap(d, self_bytes(d->bytes));
}

size_t za_dict_bytes(const struct za_dict *d)
{
    return self_bytes(d->bytes) + (d->room ? room_bytes(d) : 0);
}

void za_dict_note(struct za_dict *d, size_t with, size_t without)
{
    if (d->noted == ZA_DICT_WINDOW)
        d->noted = 0;
    if (d->noted == 0)
        d->with = d->without = 0;
    d->with += with;
    d->without += without;
    d->noted++;
}

bool za_dict_stale(const struct za_dict *d)
{
    uint64_t promised = d->without / 1000 * d->gain;

    return d->noted == ZA_DICT_WINDOW && d->with + promised / 2 > d->without;
}

uint64_t za_dict_saves(const struct za_dict *d, uint64_t raw)
{
    return raw / ZA_KIB * d->saves / ZA_KIB;
}

const void *za_dict_ready(const struct za_dict *d)
{
    return d->ready;
}

void za_dicts_retire(struct za_dicts *ds)
{
    if (ds->current)
        unready(ds->current);
    ds->current = NULL;
}

bool za_dicts_put(struct za_dicts *ds, struct za_dict *d)
{
    ZA_ASSERT(d->id == ZA_DICT_NONE && d->ready);
    for (uint32_t id = ZA_DICT_NONE + 1; id < ZA_DICTS_MAX; id++) {
        if (ds->slot[id])
            continue;
        za_dicts_retire(ds);
        d->id = id;
        ds->current = d;
        __atomic_store_n(&ds->slot[id], d, __ATOMIC_RELEASE);
        return true;
    }
    return false;
}

bool za_dicts_full(const struct za_dicts *ds)
{
    for (uint32_t id = ZA_DICT_NONE + 1; id < ZA_DICTS_MAX; id++)
        if (!ds->slot[id])
            return false;
    return true;
}

/* Is it easier for `d` to leave? */
static bool easier(const struct za_dict *d, const struct za_dict *than)
{
    if (!than || d->stayed != than->stayed)
        return !than || d->stayed < than->stayed;
    return d->holds < than->holds;
}

const struct za_dict *za_dicts_leave(struct za_dicts *ds)
{
    const struct za_dict *best = NULL;

    ZA_ASSERT(ds->leaving == ZA_DICT_NONE);
    for (uint32_t id = ZA_DICT_NONE + 1; id < ZA_DICTS_MAX; id++) {
        const struct za_dict *d = ds->slot[id];
        if (d && d != ds->current && easier(d, best))
            best = d;
    }
    ds->leaving = best ? best->id : ZA_DICT_NONE;
    return best;
}

void za_dicts_stay(struct za_dicts *ds, enum za_dicts_why why)
{
    if (ds->leaving != ZA_DICT_NONE && why == ZA_DICTS_IN_VAIN)
        ds->slot[ds->leaving]->stayed++;
    ds->leaving = ZA_DICT_NONE;
}

static struct za_dict *held(struct za_dicts *ds, uint32_t id)
{
    ZA_ASSERT(id < ZA_DICTS_MAX && ds->slot[id]);
    return ds->slot[id];
}

void za_dicts_hold(struct za_dicts *ds, uint32_t id)
{
    if (id != ZA_DICT_NONE)
        held(ds, id)->holds++;
}

void za_dicts_drop(struct za_dicts *ds, uint32_t id)
{
    if (id == ZA_DICT_NONE)
        return;
    ZA_ASSERT(held(ds, id)->holds > 0);
    held(ds, id)->holds--;
}

unsigned za_dicts_sweep(struct za_dicts *ds)
{
    unsigned n = 0;

    for (uint32_t id = ZA_DICT_NONE + 1; id < ZA_DICTS_MAX; id++) {
        struct za_dict *d = ds->slot[id];
        if (!d || d == ds->current || d->holds)
            continue;
        if (id == ds->leaving)
            ds->leaving = ZA_DICT_NONE;
        __atomic_store_n(&ds->slot[id], NULL, __ATOMIC_RELEASE);
        za_dict_free(d);
        n++;
    }
    return n;
}

size_t za_dicts_bytes(const struct za_dicts *ds)
{
    size_t sum = 0;

    for (uint32_t id = ZA_DICT_NONE + 1; id < ZA_DICTS_MAX; id++)
        if (ds->slot[id])
            sum += za_dict_bytes(ds->slot[id]);
    return sum;
}

void za_dicts_free(struct za_dicts *ds)
{
    for (uint32_t id = ZA_DICT_NONE + 1; id < ZA_DICTS_MAX; id++)
        if (ds->slot[id])
            za_dict_free(ds->slot[id]);
    *ds = (struct za_dicts){.current = NULL};
}
