/* SPDX-License-Identifier: MIT */
/*
 * misuse -- the fatal ends of a wrong free: one literal each.
 *
 * Locks: none.  May sleep: no.  May fault: no.  Allocates: nothing.
 */
#ifndef ZA_ALLOC_MISUSE_H
#define ZA_ALLOC_MISUSE_H

#include "base/base.h"

_Noreturn void za_misuse_double(const void *p);   /* the block is free already */
_Noreturn void za_misuse_interior(const void *p); /* inside a block */
_Noreturn void za_misuse_nothing(const void *p);  /* in the heap, where no block is */

#endif
