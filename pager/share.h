/* SPDX-License-Identifier: MIT */
/* share -- which page of the store holds the same bytes already (share.c). */
#ifndef ZA_PAGER_SHARE_H
#define ZA_PAGER_SHARE_H

#include "base/stat.h"
#include "dedup/digest.h"

/* Where a content is stored; blob 0: nowhere. */
struct za_shared {
    uint32_t blob;
    unsigned index;
};

/* Of the blobs that may be shared: any, or dense ones only. */
enum za_share_of { ZA_SHARE_ANY, ZA_SHARE_DENSE };

/* All on W. */

/* Before each cluster: what was unpacked for the last one may be stale. */
void za_share_begin(void);
/*
 * What to know and remember the page by; ZA_TAG_NONE: it is not looked at.  Whoever has several pages
 * asks for all tags first, and the index is read from memory meanwhile.
 */
uint64_t za_share_tag(const char *page);
/* Where the store holds these bytes, compared byte by byte; no reference is taken. */
struct za_shared za_share_find(const char *page, uint64_t tag, enum za_share_of of);
/* The page with this tag is stored there now. */
void za_share_note(uint64_t tag, uint32_t blob, unsigned index);
/* A blob of pages of this word, with one reference for the caller; ZA_BLOB_NONE: no room. */
uint32_t za_share_same(const char *page, uint64_t word);
/*
 * The page with this tag does not compress.  True: another one with it did not either, so this one
 * is worth storing as it is; the other one will be looked at again soon.
 */
bool za_share_seen(uint64_t tag, size_t page);
/*
 * What became of a page that was looked at: ZA_STAT_DD_ZERO, _SAME, _DUPLICATE, _UNIQUE, _SKIPPED.
 */
void za_share_count(enum za_stat_id what);
/* Once a turn: a step of sweeping, if the index is worth it. */
void za_share_turn(void);
void za_share_gauges(void);
/* Every mapping, for footprint accounting. */
bool za_share_area(unsigned i, void **addr, size_t *len);
/* In a child that starts over: the store is gone. */
void za_share_forget(void);
void za_share_check(void);

#endif
