/* SPDX-License-Identifier: MIT */
/*
 * ksm -- `ksm:true`: what is cold and does not compress is shown to the kernel, which merges equal
 * pages of all processes.
 *
 * Marked is a chunk, never a unit: every mark is a mapping of its own to the kernel, and their
 * number must not grow with the pattern of what compresses.  So other pages of the chunk are shown
 * too; ksmd leaves alone what changes between two of its passes.  A merged page is read only: a
 * write to it costs a copy, and MOVE refuses it (EBUSY), which is counted as any such refusal; it
 * stays where it is, and merged.
 *
 * I1  A mark is taken back (MADV_UNMERGEABLE, which copies what was merged) before it is forgotten.
 * I2  Only under the move back-end: mremap would take marks along to the mirror.
 *
 * Fork: marks are the mapping's, and a child's mappings have them; za_chunk.merges goes with it.
 *
 * Locks: none (W only).  May sleep: mmap_lock.  May fault: no.  Allocates: nothing.
 */
#include "base/conf.h"
#include "base/stat.h"
#include "pager/private.h"

#define MARK_UNITS 16u /* that do not compress, in a chunk: worth a mark */

static void mark(size_t chunk, bool on)
{
    char *p = (char *)za_pg.base + (chunk << ZA_CHUNK_SHIFT);
    if (za_os->mergeable(p, ZA_CHUNK_SIZE, on) < 0) {
        za_stat_add(ZA_STAT_KSM_REFUSED, 1);
        return;
    }
    za_pg.chunks[chunk].merges = on;
    za_stat_add(ZA_STAT_KSM_CHUNKS, on ? 1 : -1);
}

/* Of the chunk's units `raw` do not compress and `stored` are out; what is merged is neither. */
void za_ksm_look(size_t chunk, unsigned raw, unsigned stored)
{
    bool marked = za_pg.chunks[chunk].merges;
    if (!za_conf.ksm || za_pg.mover != &za_mover_move)
        return;
    if (!marked && raw >= MARK_UNITS)
        mark(chunk, true);
    else if (marked && stored > ZA_UNITS_PER_CHUNK / 2)
        mark(chunk, false);
}

void za_ksm_gauges(void)
{
    uint64_t pages = 0, profit = 0;
    if (za_conf.ksm)
        (void)za_os->merged(&pages, &profit);
    za_stat_set(ZA_STAT_KSM_MERGED, pages);
    za_stat_set(ZA_STAT_KSM_PROFIT, profit);
}
