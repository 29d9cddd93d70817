/* SPDX-License-Identifier: MIT */
/* leave -- a dictionary leaves the shelf: what holds it is packed again (leave.c). */
#ifndef ZA_PAGER_LEAVE_H
#define ZA_PAGER_LEAVE_H

#include "compress/dict.h"

/* After a dictionary that could not leave, until the next may; tests change it. */
extern uint64_t za_leave_pause_ns;

/* All on W. */

/* The one that leaves from now on; NULL: none, or not now. */
const struct za_dict *za_leave_begin(struct za_dicts *ds, uint64_t now);
/* A few milliseconds of work; true: there is more. */
bool za_leave_step(struct za_dicts *ds);
/* When there is no more, and the shelf has been swept.  False: F may be reading what died last. */
bool za_leave_over(struct za_dicts *ds, uint64_t now);
/* Does one of the `n` pages hold it? */
bool za_leave_held(const struct za_dicts *ds, size_t first, unsigned n);
/* In a child that starts over. */
void za_leave_forget(void);

#endif
