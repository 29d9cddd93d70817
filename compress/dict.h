/* SPDX-License-Identifier: MIT */
/*
 * dict -- dictionaries of the dense codec: immutable content, held by the blobs packed with it.
 *
 * A dictionary is made whole, put on the shelf under an id, and from then on the one to pack with
 * until another takes its place.  It keeps only what unpacking needs then, and dies when no blob
 * holds it and the writer sweeps.  A blob names its dictionary by id (0: none).
 *
 * There are few ids, and one blob that nobody touches keeps one for ever.  So where the shelf is
 * full one of the dictionaries can be told to leave: the writer gives it no more blobs, and packs
 * those that hold it again (pager/leave.c).
 *
 * I1  Content, effort and id never change after za_dicts_put.
 * I2  A dictionary on the shelf is freed only by za_dicts_sweep, and only with no holds.
 * I3  Only the current dictionary is ready for packing.
 * I4  Content does not begin with the magic number of a dictionary with tables, so zstd always
 *     takes it as raw content.
 * I5  One leaves at most, never the current one, and it is on the shelf.
 *
 * Locks: none.  May sleep: in map, unmap (writer).  May fault: own memory only.
 * Allocates: via ops.
 */
#ifndef ZA_COMPRESS_DICT_H
#define ZA_COMPRESS_DICT_H

#include "compress/store.h"
#include "compress/zstd.h"

#define ZA_DICT_NONE 0u
/* Ids are below; eight bits of a blob's header would do for sixteen times as many. */
#define ZA_DICTS_MAX 16u
#define ZA_DICT_WINDOW 16u /* units; as many bytes as it was judged by */
#define ZA_DICT_MAX_BYTES ((size_t)64 * 1024)

/*
 * Key: C constant once on the shelf; W writer only.
 * Born: za_dict_new.  Owned: by its maker, then by the shelf.  Dies: za_dict_free, za_dicts_sweep.
 */
struct za_dict {
    const void *content; /* C */
    size_t bytes;        /* C */
    uint32_t id;         /* C  ZA_DICT_NONE before it is on a shelf */
    uint32_t effort;     /* C  enum za_zstd_effort */
    uint32_t gain;       /* C  bytes less in a thousand, on units it was not trained on */
    uint32_t saves;      /* C  bytes less for each MiB of them */
    uint64_t holds;      /* W  blobs packed with it */
    uint32_t stayed;     /* W  times that it was to leave, and could not */
    uint64_t with;       /* W  bytes of the units of its window so far, packed with it, */
    uint64_t without;    /* W  and packed without */
    uint32_t noted;      /* W  units in the window; ZA_DICT_WINDOW: it is full */
    void *room;          /* W  tables for packing; NULL when it is not the current one */
    const void *ready;   /* W  in room */
    struct za_store_ops ops;
};

/* A copy of `content`; NULL: no memory. */
struct za_dict *za_dict_new(const struct za_store_ops *ops, enum za_zstd_effort effort,
                            const void *content, size_t bytes);
void za_dict_free(struct za_dict *d);
/* Every byte mapped for it. */
size_t za_dict_bytes(const struct za_dict *d);
/*
 * A unit that came to be packed took `with` bytes with the dictionary and would have taken
 * `without`. A full window is begun anew.
 */
void za_dict_note(struct za_dict *d, size_t with, size_t without);
/* The window is full, and in it the dictionary gained less than half of what it promised. */
bool za_dict_stale(const struct za_dict *d);
/* Bytes that it should save where `raw` bytes of the heap are packed with it. */
uint64_t za_dict_saves(const struct za_dict *d, uint64_t raw);
/* For the codec.  NULL when the dictionary has retired. */
const void *za_dict_ready(const struct za_dict *d);

/*
 * Key: S written by the writer, read by any (acquire); W writer only.
 * Born: zeroed.  Owned: by the pager.  Dies: za_dicts_free.
 */
struct za_dicts {
    struct za_dict *slot[ZA_DICTS_MAX]; /* S  by id */
    struct za_dict *current;            /* W  or NULL */
    uint32_t leaving;                   /* W  id, or ZA_DICT_NONE; I5 */
};

/*
 * WRITER.  The new current dictionary; the one before it retires.
 * False: no id is free, and `d` is still the caller's.
 */
bool za_dicts_put(struct za_dicts *ds, struct za_dict *d);
/* WRITER.  No dictionary is current any more (the heap has changed and nothing gains). */
void za_dicts_retire(struct za_dicts *ds);
/* WRITER.  No id is free: put would refuse. */
bool za_dicts_full(const struct za_dicts *ds);
/*
 * WRITER, with every `holds` as it is.  Tells one to leave: the one with fewest holds, of those that
 * were told so least often in vain.  NULL: there is none but the current one.
 */
const struct za_dict *za_dicts_leave(struct za_dicts *ds);
/* WRITER.  None leaves any more: there is an id, or what holds it cannot be moved. */
enum za_dicts_why { ZA_DICTS_NO_NEED, ZA_DICTS_IN_VAIN };
void za_dicts_stay(struct za_dicts *ds, enum za_dicts_why why);
/* WRITER, as blobs are stored and die.  A no-op for ZA_DICT_NONE. */
void za_dicts_hold(struct za_dicts *ds, uint32_t id);
void za_dicts_drop(struct za_dicts *ds, uint32_t id);
/*
 * WRITER, when no reader is where it may still use a blob that has dropped its hold
 * (the store's grace period): frees what has retired and nobody holds.  Returns how many.
 */
unsigned za_dicts_sweep(struct za_dicts *ds);
size_t za_dicts_bytes(const struct za_dicts *ds);
void za_dicts_free(struct za_dicts *ds);

/* Any thread that holds a blob with this id; NULL for ZA_DICT_NONE and for an id nobody has. */
ZA_INLINE const struct za_dict *za_dicts_at(const struct za_dicts *ds, uint32_t id)
{
    return id < ZA_DICTS_MAX ? __atomic_load_n(&ds->slot[id], __ATOMIC_ACQUIRE) : NULL;
}

#endif
