/* SPDX-License-Identifier: MIT */
/*
 * foreign -- pointers that are not ours:
 * hand them to the next allocator in line, or ignore and count.
 */
#ifndef ZA_PRELOAD_FOREIGN_H
#define ZA_PRELOAD_FOREIGN_H

#include "base/base.h"

/* Takes alloc's foreign hooks; until za_foreign_resolve every foreign pointer is ignored. */
void za_foreign_init(void);
/* Looks the next allocator up. In the constructor only: dlsym may allocate. */
void za_foreign_resolve(void);

#endif
