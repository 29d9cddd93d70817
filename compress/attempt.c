/* SPDX-License-Identifier: MIT */
/*
 * attempt -- see attempt.h.
 *
 * Locks: none.  May sleep: no.  May fault: no.  Allocates: nothing.
 */
#include "compress/attempt.h"

#define CHANGED 4u                 /* this share of the heap has come anew: it has changed */
#define PAUSE_DOUBLINGS 4u         /* to about an hour */
#define NOMEM_PAUSE_NS ZA_NS_PER_S /* memory may be there again soon */
#define NOMEM_DOUBLINGS 6u         /* to about a minute */
#define SHRUNK 2u                  /* times less, a heap is another; by less it ebbs and flows */

uint64_t za_attempt_pause_ns = 240 * ZA_NS_PER_S;

static void put_off(struct za_attempt *a, bool nomem, uint64_t now)
{
    uint64_t least = nomem ? NOMEM_PAUSE_NS : za_attempt_pause_ns;
    uint64_t most = least << (nomem ? NOMEM_DOUBLINGS : PAUSE_DOUBLINGS);
    bool again = a->failed && a->nomem == nomem;

    a->wait_ns = again ? za_min(2 * a->wait_ns, most) : least;
    a->next_ns = now + a->wait_ns;
}

void za_attempt_ended(struct za_attempt *a, enum za_training_state s, uint64_t raw, uint64_t now)
{
    bool failed = s != ZA_TRAINING_GOOD, nomem = s == ZA_TRAINING_NOMEM;

    if (failed)
        put_off(a, nomem, now);
    else
        a->next_ns = 0;
    a->failed = failed;
    a->nomem = nomem;
    a->raw = raw;
    a->fresh = 0;
    a->enough_ns = now;
}

void za_attempt_packed(struct za_attempt *a, uint64_t bytes)
{
    a->fresh += bytes;
}

bool za_attempt_shrunk(struct za_attempt *a, const struct za_dict *d, uint64_t raw, uint64_t now)
{
    bool enough = d ? za_dict_saves(d, raw) >= za_dict_bytes(d) : SHRUNK * raw >= a->raw;

    if (enough) {
        a->enough_ns = now;
        return false;
    }
    if (now - a->enough_ns < za_attempt_pause_ns)
        return false;
    if (!d)
        a->raw = SHRUNK * raw;
    return d != NULL;
}

bool za_attempt_due(const struct za_attempt *a, const struct za_dict *d, uint64_t raw, uint64_t now)
{
    bool rested = now >= a->next_ns;

    if (a->nomem)
        return rested;
    if (raw >= 2 * a->raw)
        return true;
    return rested && (d ? za_dict_stale(d) : a->fresh >= za_min(a->raw, raw) / CHANGED);
}
