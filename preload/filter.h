/* SPDX-License-Identifier: MIT */
/* filter -- seccomp filters for all threads. */
#ifndef ZA_PRELOAD_FILTER_H
#define ZA_PRELOAD_FILTER_H

/* Looks libc's syscall up. In the constructor only: dlsym may allocate. */
void za_filter_resolve(void);

#endif
