/* SPDX-License-Identifier: MIT */
/* mutex -- mutexes whose word the kernel itself changes. */
#ifndef ZA_PRELOAD_MUTEX_H
#define ZA_PRELOAD_MUTEX_H

/* Looks libc's pthread_mutex_init up. In the constructor only: dlsym may allocate. */
void za_mutex_resolve(void);

#endif
