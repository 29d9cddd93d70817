/* SPDX-License-Identifier: MIT */
/* identity -- setuid and its kin, whose effect our threads have to follow. */
#ifndef ZA_PRELOAD_IDENTITY_H
#define ZA_PRELOAD_IDENTITY_H

/* Looks libc's functions up. In the constructor only: dlsym may allocate. */
void za_identity_resolve(void);

#endif
