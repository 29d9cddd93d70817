/* SPDX-License-Identifier: MIT */
/*
 * expand -- the pager inside a core file: its records, its store, and the pages that were out.
 */
#ifndef ZA_TOOL_EXPAND_H
#define ZA_TOOL_EXPAND_H

#include "pager/door.h"
#include "tool/corefile.h"

struct za_expand;

/* What was found; pages. */
struct za_expanded {
    unsigned page_shift;
    uint64_t stored;    /* put back from the store */
    uint64_t limbo;     /* put back from the mirror */
    uint64_t at_home;   /* at their address already: on their way back when the process died */
    uint64_t cut;       /* lost: what is needed is beyond the end of a file cut short */
    uint64_t absent;    /* lost: what is needed was not dumped */
    uint64_t filed;     /* lost: in the file tier, whose file and key died with the process */
    uint64_t damaged;   /* lost: does not decompress, or fails its checksum */
    uint64_t unwritten; /* lost: no header speaks of their address */
    uint64_t unknown;   /* their records are not in the file */
};

/* NULL: done. Else what is wrong: a literal. */
const char *za_expand_find(struct za_core *c, struct za_expand **out);
/* False: the copy could not be written (errno). */
bool za_expand_all(struct za_expand *x, struct za_expanded *sum);
void za_expand_free(struct za_expand *x);

#endif
