/* SPDX-License-Identifier: MIT */
/*
 * meta -- memory for our own metadata: outside the managed heap, never evicted, never unmapped.
 *
 * A bump allocator over mapped chunks with free lists by power-of-two class for what is returned.
 * Returned memory is zeroed.  Reads up to 4 KiB past any block stay inside a mapping (stale readers
 * of span bitmaps rely on it: see alloc/span.h).  Bytes mapped and bytes in use are statistics.
 *
 * Locks: ZA_RANK_META.  May sleep: on that lock and in mmap.  May fault: only on its own memory.
 */
#ifndef ZA_BASE_META_H
#define ZA_BASE_META_H

#include "base/base.h"

/* map: `len` bytes of zeroed private memory, or NULL.  Given once by the layer above (os). */
void za_meta_init(void *(*map)(size_t len));
void *za_meta_alloc(size_t bytes, size_t align); /* NULL: no memory; align a power of two <= 4096 */
void za_meta_free(void *p, size_t bytes);        /* same `bytes` as allocated */
size_t za_meta_mapped(void);
size_t za_meta_used(void);
/*
 * An array of metadata that lives in a reservation of its own (alloc/space.c) and is to be counted
 * with the rest.  *len is its committed length, written atomically; both live for ever.
 */
void za_meta_note(void *addr, const size_t *len);
/*
 * Every chunk mapped and every array noted so far, for footprint accounting: index 0.. until false.
 */
bool za_meta_chunk(unsigned index, void **addr, size_t *len);
/* For fork: hold and release the lock around the system call. */
void za_meta_prefork(void);
void za_meta_postfork(void);

#endif
