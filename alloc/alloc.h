/* SPDX-License-Identifier: MIT */
/*
 * alloc -- the allocator's face to preload.c and, through one table of functions, to the pager.
 *
 * Everything the exported malloc family needs; errno is the caller's business (preload.c sets
 * ENOMEM). Never reads or writes object bytes, except calloc's zeroing and realloc's copy.
 */
#ifndef ZA_ALLOC_ALLOC_H
#define ZA_ALLOC_ALLOC_H

#include "base/base.h"

#define ZA_MALLOC_MAX ((size_t)PTRDIFF_MAX)

/* NULL: no memory.  size 0 gives a unique smallest block. */
void *za_malloc(size_t size);
void *za_calloc(size_t n, size_t size);       /* overflow-checked */
void *za_realloc(void *p, size_t size);       /* p ours or NULL; size 0 handled by preload.c */
void *za_memalign(size_t align, size_t size); /* align any power of two */
void za_free(void *p);                        /* NULL ok; foreign pointers go to za_free_foreign */
void za_free_rest(void *p);                   /* what za_fast_free (fast.h) has refused */
size_t za_usable(const void *p);              /* 0 for NULL and foreign pointers */
size_t za_good_size(size_t size);             /* what malloc(size) would really give */
bool za_owns(const void *p);                  /* inside our reservation */

/* What to do with a pointer that is not ours; set by preload.c (next free in line, or count and
 * ignore). */
extern void (*za_free_foreign)(void *p);
extern void *(*za_realloc_foreign)(void *p, size_t size);
extern size_t (*za_usable_foreign)(const void *p);
extern bool za_foreign_maps; /* such blocks may lie in what the heap serves of mmap, too */

/* Called before alloc starts itself on its slow path: parses the configuration, sets the hooks
 * above. In preload.c; weak, so that tests link without it. */
extern void za_preload_init(void) __attribute__((weak));

/* Life. init is idempotent, callable before constructors, uses raw system calls only. */
bool za_alloc_init(size_t reserve_bytes); /* false: no address space at all */
void za_thread_exit(
    void); /* the calling thread has no cache any more: given back, or left to the next */
void za_thread_idle(void); /* give back what the calling thread's cache holds */
size_t za_trim(void);      /* flush caller's cache, purge all dirty memory now; bytes returned */
void za_alloc_decay(
    uint64_t now_ns); /* worker's turn: purge what has been free for dirty_decay_ms */
uint64_t za_alloc_decay_due(
    uint64_t now_ns); /* when za_alloc_decay has work next; UINT64_MAX: not before another free */

/* fork: all locks of alloc, in rank order. */
void za_alloc_prefork(void);
void za_alloc_postfork_parent(void);
void za_alloc_postfork_child(void);

/* Statistics: fills the heap.* and cache.* gauges. */
void za_alloc_stats(void);
struct za_class_stats {
    size_t slot_size, span_units, spans, slots, used;
};
bool za_class_stats(unsigned cls, struct za_class_stats *out); /* for malloc_info and the tool */
void za_alloc_check(void); /* paranoid walker: every invariant of span.h and heap.h */

#endif
