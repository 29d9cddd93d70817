/* SPDX-License-Identifier: MIT */
/* robust -- robust mutexes of a thread that ends. */
#ifndef ZA_PRELOAD_ROBUST_H
#define ZA_PRELOAD_ROBUST_H

/* On a thread about to end: what the kernel will walk at its exit is brought back. */
void za_robust_touch(void);

#endif
