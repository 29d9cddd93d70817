/* SPDX-License-Identifier: MIT */
/* fork -- what happens around fork(2), in which order. Theory in fork.c. */
#ifndef ZA_PRELOAD_FORK_H
#define ZA_PRELOAD_FORK_H

/* Registers the handlers; once, in the constructor, before anyone else registers any. */
void za_fork_register(void);

/* Finds libc's _Fork and clone; in the constructor. */
void za_bare_resolve(void);

#endif
