/* SPDX-License-Identifier: MIT */
/*
 * attempt -- when it is time to train another dictionary: the last training, and what came of it.
 *
 * A training takes some 40 ms and pays when the heap has changed since the last one. A dictionary
 * that is kept is measured as it is used, and says itself that it is stale (dict.h). Where none was
 * kept there is nothing to measure: then a heap that has doubled is tried at once, and one of which
 * a quarter has come to be packed anew after a pause, twice as long each time nothing comes of it.
 * Where memory was refused it is only a matter of time.
 *
 * Locks: none (one thread).  May sleep: no.  May fault: no.  Allocates: nothing.
 */
#ifndef ZA_COMPRESS_ATTEMPT_H
#define ZA_COMPRESS_ATTEMPT_H

#include "compress/train.h"

/* The first pause after a training that came to nothing; tests change it. */
extern uint64_t za_attempt_pause_ns;

/* Born: zeroed.  Owned: by one thread (every field).  Dies: with its memory. */
struct za_attempt {
    uint64_t raw;       /* bytes of the heap that were stored; fewer if it has shrunk since */
    uint64_t fresh;     /* bytes that have come to be packed since */
    uint64_t next_ns;   /* no other one before, unless the heap doubles, */
    uint64_t wait_ns;   /* which was set so long ahead */
    uint64_t enough_ns; /* when the heap was last seen not to have shrunk */
    bool failed;        /* no dictionary came of it, */
    bool nomem;         /* for want of memory */
};

/* A training ended like this, with `raw` bytes of the heap stored. */
void za_attempt_ended(struct za_attempt *a, enum za_training_state s, uint64_t raw, uint64_t now);
/* So many bytes were packed, or found not to be worth it. */
void za_attempt_packed(struct za_attempt *a, uint64_t bytes);
/*
 * Now and then, with the dictionary in use or NULL, and what is stored.  True: for a whole pause the
 * heap has been too small for its dictionary to pay for its memory.  Without one, a heap that was
 * small for so long is tried again when it has doubled from there.
 */
bool za_attempt_shrunk(struct za_attempt *a, const struct za_dict *d, uint64_t raw, uint64_t now);
/* Is it time to train?  Also while another dictionary is in use. */
bool za_attempt_due(const struct za_attempt *a, const struct za_dict *d, uint64_t raw,
                    uint64_t now);

#endif
