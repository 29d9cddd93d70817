/* SPDX-License-Identifier: MIT */
/*
 * mover -- a back-end: how pages get from their heap address to the mirror and back.
 *
 * Two of them: `move` (move.c, UFFDIO_MOVE), `remap` (remap.c, mremap).  Everything else of the
 * pager, the records above all, is the same for both; page.h says which rules differ.
 *
 * Born: constant.  Owned: by nobody.  Dies: never.  za_pg.mover is set before F exists.
 */
#ifndef ZA_PAGER_MOVER_H
#define ZA_PAGER_MOVER_H

#include "base/base.h"

#define ZA_LOOK_TAKE 1u  /* the page may be taken out (mincore's "present") */
#define ZA_LOOK_APART 2u /* and not in one call with the page before it */

struct za_mover {
    const char *name;
    bool reported;     /* mirrors are registered: F hears of holes in them */
    bool unshares;     /* takes exclusive pages only, and they have to be made so (D3) */
    unsigned patience; /* doublings of the cold age that pages stay in limbo */
    unsigned around;   /* pages that come back from limbo together at most */

    /* W, at its start: NULL, or one literal sentence why it does not work here. */
    const char *(*trial)(int fd);
    /* W: may anything be taken out, or packed, at present? */
    bool (*may)(void);
    /* W, before pages are claimed: takes ZA_LOOK_TAKE from those that must stay, and counts why. */
    void (*look)(size_t first, unsigned n, unsigned char *pages);
    /* W, pages in MOVING: bytes now in the mirror, or -errno. */
    int64_t (*out)(size_t page, size_t n);
    /* W, page in RETURNING: 1 it is back, 0 F was faster, or -errno: it is where it was. What is
     * copied stays in the mirror as well, until W has looked for children (remap.c R6). */
    int (*back)(size_t page, void (*again)(void));
    /* F, page in BACK that was RETURNING: 1 it is back, else it was not there (any more). */
    int (*fetch)(size_t page, void (*again)(void));
    /* F, pages in BACK that were LIMBO or PACKING: all are back. */
    void (*fetch_run)(size_t page, size_t n, void (*again)(void));
    /* W: whole units, whose mirror is to be as it was before any page went there; pages that are
     * in limbo or under way stay. */
    void (*tidy)(size_t first, size_t n);
    /* W, a page of a block at its heap address: to another one, 0 or -errno. */
    int (*carry)(size_t to, size_t from);
    /* W, the same for the first of n; how many were carried. */
    size_t (*carry_run)(size_t to, size_t from, size_t n);
};

extern const struct za_mover za_mover_move, za_mover_remap;

/* W: the one configured, or the best that works; NULL, or why there is none (literal). */
const char *za_mover_choose(int fd);

#endif
