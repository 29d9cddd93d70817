/* SPDX-License-Identifier: MIT */
/*
 * start -- the life of the process and of each thread as the library sees it.
 *
 * The first call of malloc may come from the dynamic linker, before any constructor and before
 * `environ` is set. alloc/ calls za_preload_init on its slow path before it starts; what needs the
 * configuration without having allocated calls it too.
 */
#ifndef ZA_PRELOAD_START_H
#define ZA_PRELOAD_START_H

/* Reads the configuration and gives alloc its hooks, once. Idempotent, any thread, keeps errno. */
void za_preload_init(void);

#endif
