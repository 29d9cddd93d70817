/* SPDX-License-Identifier: MIT */
/* dense -- the second compressed tier: stored clusters packed again with zstd (dense.c). */
#ifndef ZA_PAGER_DENSE_H
#define ZA_PAGER_DENSE_H

#include "compress/dict.h"

enum za_dense_end {
    ZA_DENSE_DONE,    /* the unit is as dense as it gets */
    ZA_DENSE_LATER,   /* a dictionary is in the making: come again */
    ZA_DENSE_REFUSED, /* too little stored, no memory, or switched off */
    ZA_DENSE_FULL,    /* above max_store: the old blobs have to be gone first */
};

/* Bytes that must be stored before the tier is worth its tables; tests lower it. */
extern size_t za_dense_least;

/* W. */
enum za_dense_end za_dense_unit(size_t unit);
bool za_dense_possible(void); /* enough is stored */
bool za_dense_idle(void);     /* no dictionary is in the making */
bool za_dense_turn(void);
void za_dense_sweep(void);
void za_dense_forget(void);
/* Blobs of this codec word are to be no more: their dictionary leaves. */
bool za_dense_goes(uint32_t codec_word);
/* Packs again what of the unit is in such blobs.  False: there is no room, nor memory. */
bool za_dense_again(size_t unit);
const struct za_dicts *za_dense_dicts(void);
size_t za_dense_bytes(void);   /* mapped for rooms, dictionaries and training */
size_t za_dense_leaving(void); /* for training: until the dictionary is made */

/*
 * W or F: the whole blob into `to` (ZA_BLOB_MAX_RAW), verified;
 * NULL, or the fatal text that says what is wrong.
 */
const char *za_dense_unpack(const struct za_blob_view *v, char *to, bool on_fault_thread);

#endif
