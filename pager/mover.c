/* SPDX-License-Identifier: MIT */
/*
 * mover -- which back-end this process has: by what the kernel offers, and by trial.
 *
 * `move` where the kernel's is sound, else `remap`.  A forced one is tried whatever the kernel's
 * version, and nothing else is taken in its place.
 *
 * Locks: none (W only).  May sleep: mmap_lock.  May fault: no.  Allocates: nothing.
 */
#include "pager/mover.h"

#include "base/conf.h"
#include "pager/private.h"

static const char *take(const struct za_mover *m, int fd)
{
    const char *why = m->trial(fd);
    if (!why)
        za_pg.mover = m;
    return why;
}

const char *za_mover_choose(int fd)
{
    if (za_conf.backend == ZA_BACKEND_MOVE)
        return take(&za_mover_move, fd);
    if (za_conf.backend == ZA_BACKEND_REMAP)
        return take(&za_mover_remap, fd);
    if (za_pg.caps.move && !take(&za_mover_move, fd))
        return NULL;
    if (!take(&za_mover_remap, fd))
        return NULL;
    return "neither UFFDIO_MOVE (6.12.37, 6.16 or later) nor mremap(MREMAP_DONTUNMAP) works here";
}
