/* SPDX-License-Identifier: MIT */
/*
 * misuse -- the three things that can be wrong with a pointer given to free or realloc.
 *
 * Locks: none.  May sleep: no.  May fault: no.  Allocates: nothing.
 */
#include "alloc/misuse.h"

void ZA_COLD za_misuse_double(const void *p)
{
    za_fatal_ptr("free", p, "double free: the block was freed before");
}

void ZA_COLD za_misuse_interior(const void *p)
{
    za_fatal_ptr("free", p, "invalid pointer: inside a block, not at its start");
}

void ZA_COLD za_misuse_nothing(const void *p)
{
    za_fatal_ptr("free", p,
                 "invalid pointer: no block lives here (freed before, or never allocated)");
}
