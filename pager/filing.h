/* SPDX-License-Identifier: MIT */
/*
 * filing -- when blobs go to the file tier, and what forks and new threads need of it.
 */
#ifndef ZA_PAGER_FILING_H
#define ZA_PAGER_FILING_H

#include "compress/store.h"

/* W. */
void za_filing_open(void);
void za_filing_clock(uint64_t now);
bool za_filing_turn(uint64_t now); /* true: there is more to do */
enum za_filing_what { ZA_FILING_DENSE, ZA_FILING_ANY };
/* The coldest, before their time: up to a segment.  Bytes that have gone. */
uint64_t za_filing_early(enum za_filing_what what);
void za_filing_all(void);   /* everything stored, now */
bool za_filing_slack(void); /* for what takes the place of other blobs; false: none */
bool za_filing_room(void);  /* makes room below max_store; false: there is none */
bool za_filing_full(void);  /* asked only, and the next turn makes room */

/* W or F, in the read section of the view: the bytes of a blob in a file; NULL: unreadable. */
const void *za_filing_fetch(const struct za_blob_view *v, bool on_fault_thread);

/* Any thread: a child needs a file to find everything. */
bool za_filing_needed(void);
/* Forking thread; then W, which sends to `sock`; then the forking thread: was everything sent? */
void za_filing_fork_begin(void);
void za_filing_lend(int sock);
bool za_filing_lent(void);
/* A child's fault thread.  False: what was lent did not arrive. */
bool za_filing_borrow(int sock);

#endif
