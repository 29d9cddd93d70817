/* SPDX-License-Identifier: MIT */
/*
 * live -- what the allocator offers the pager: which bytes of a page are alive, and decay.
 *
 * Theory: alloc/span.h.  Locks: none in liveness.  May sleep: decay only.  May fault: no.
 * Allocates: nothing.
 */
#ifndef ZA_ALLOC_LIVE_H
#define ZA_ALLOC_LIVE_H

#include "pager/pager.h"

extern const struct za_region_ops za_alloc_region_ops;

#endif
