/* SPDX-License-Identifier: MIT */
/*
 * life -- the allocator's start, decay, and its way through fork.
 *
 * Locks: see life.c.  May sleep: while another thread starts us.  May fault: no.  Allocates: the
 * reservation.
 */
#ifndef ZA_ALLOC_LIFE_H
#define ZA_ALLOC_LIFE_H

#include "base/base.h"

enum za_life { ZA_LIFE_UNBORN, ZA_LIFE_STARTING, ZA_LIFE_READY };
extern uint32_t za_life;

bool za_life_start(void);

/* For slow paths, now and then: what the worker would give back, if there is none. */
void za_alloc_decay_unless_worker(void);

/* Starts the allocator if nobody has; false: it cannot be. */
ZA_INLINE bool za_alloc_ready(void)
{
    return ZA_LIKELY(__atomic_load_n(&za_life, __ATOMIC_ACQUIRE) == ZA_LIFE_READY) ||
           za_life_start();
}

#endif
