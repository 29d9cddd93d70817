/* SPDX-License-Identifier: MIT */
/* fork -- what happens around fork(2), in which order. Theory in fork.c. */
#ifndef ZA_PRELOAD_FORK_H
#define ZA_PRELOAD_FORK_H

/* Registers the handlers; once, in the constructor, before anyone else registers any. */
void za_fork_register(void);

#endif
