/* SPDX-License-Identifier: MIT */
/*
 * carry -- pages of the heap go where mremap is to take them: by page tables where that is safe, else by bytes.
 *
 * Locks: none.  May sleep: on the worker.  May fault: where it copies.  Allocates: mappings.  Signal
 * safety: all of it (pager/amid.c).
 */
#ifndef ZA_PRELOAD_CARRY_H
#define ZA_PRELOAD_CARRY_H

#include "preload/mapped.h"

/* What mremap was asked for, lengths in whole pages. */
struct za_move {
    struct za_range from;
    size_t len;
    int flags;
    void *to;
};

/*
 * The first pages, as many as there are or as fit, go to a mapping of their own, of m->len, with all that was
 * done to them: protection, lock, key, advice.  Where they were is empty memory, with all that but the lock.
 * The address, or -errno: then nothing has moved, but with MREMAP_FIXED what was at m->to may be gone, as
 * the kernel has it.
 */
long za_carry(const struct za_move *m);

#endif
