/* SPDX-License-Identifier: MIT */
/* thread -- what the kernel reads and writes of a thread that ends. */
#ifndef ZA_PRELOAD_THREAD_H
#define ZA_PRELOAD_THREAD_H

/* Looks libc's pthread_create up. In the constructor only: dlsym may allocate. */
void za_thread_resolve(void);
/* The calling thread is about to end: what it holds robustly stays resident from now on. */
void za_thread_leaves(void);

#endif
