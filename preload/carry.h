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
 * The first pages, as many as there are or as fit, go to a mapping of their own, of m->len; where they were is
 * empty memory as it was.  The address, or -errno: then nothing has moved, but with MREMAP_FIXED what was at
 * m->to may be gone, as the kernel has it.
 */
long za_carry(const struct za_move *m);
/*
 * Pages that were moved are a mapping of their own, or two, and what is not one could not grow another time.
 * So what is behind the first `have` bytes goes, and they grow there, or where there is room.  -errno: there
 * is none, and nothing behind them.
 */
long za_carry_grow(long at, size_t have, size_t len);

#endif
