/* SPDX-License-Identifier: MIT */
/*
 * train -- makes a dictionary of samples, a little at a time, and says whether it is worth having.
 *
 * Add samples, step until the state is not BUSY, take the dictionary.  A quarter of the samples, up
 * to 64 pages, is held back: the dictionary is judged by units it has not seen.  What is judged is
 * what the store would hold, and what the dictionary holds itself, so a gain is a gain.
 *
 * I1  A sample is text or held back, never both.
 * I2  The same plan and samples give the same dictionary.
 * I3  However it ends, za_training_free gives back every mapping but the taken dictionary's.
 *
 * Locks: none (one thread).  May sleep: in map, unmap.  May fault: on the samples added.
 * Allocates: via ops.
 */
#ifndef ZA_COMPRESS_TRAIN_H
#define ZA_COMPRESS_TRAIN_H

#include "compress/dict.h"

/* A dictionary is to save so many times its own memory; tests change it. */
extern unsigned za_training_pays;

struct za_training_plan {
    enum za_zstd_effort effort;
    uint32_t sample_bytes;  /* in all: more than ZA_TRAINING_SAMPLES times content_bytes */
    uint32_t content_bytes; /* of the dictionary, at most ZA_DICT_MAX_BYTES */
    uint32_t unit_bytes;    /* at most; what will be packed together */
    uint64_t heap_bytes;    /* that the dictionary is for: it must pay for its memory */
};

/* Samples for each byte of content, or there is no dictionary. */
#define ZA_TRAINING_SAMPLES 8u

enum za_training_state {
    ZA_TRAINING_BUSY,
    ZA_TRAINING_GOOD,    /* take it */
    ZA_TRAINING_FEW,     /* too few samples */
    ZA_TRAINING_NO_GAIN, /* under 2 %, or on the whole heap under twice its own memory */
    ZA_TRAINING_NOMEM,
};

struct za_training;

/* NULL: no memory. */
struct za_training *za_training_new(const struct za_store_ops *ops,
                                    const struct za_training_plan *plan);
/* Copies one unit; false: there is enough.  Only before the first step. */
bool za_training_add(struct za_training *t, const void *unit, size_t len);
/*
 * About `work` bytes of work, some 4 ns each.  A piece is not divided:
 * up to 0.5 MiB, 2 ms, when units are 64 KiB; a quarter of that when they are 16.
 */
enum za_training_state za_training_step(struct za_training *t, size_t work);
/* The dictionary of a GOOD training, once: the caller's from now on. */
struct za_dict *za_training_take(struct za_training *t);
/* Every byte mapped for it now. */
size_t za_training_bytes(const struct za_training *t);
void za_training_free(struct za_training *t);

#endif
