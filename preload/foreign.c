/* SPDX-License-Identifier: MIT */
/*
 * foreign -- pointers that are not ours:
 * hand them to the next allocator in line, or ignore and count.
 *
 * They come from libraries bound to their own malloc (RTLD_DEEPBIND), from allocators with names of
 * their own beside malloc (jemalloc's mallocx), from dlsym on libc's handle, and from the dynamic
 * linker's own first allocator, which bumps through the tail of its data segment before any malloc
 * is reachable. The last kind has no owner that could take it back: those are ignored.
 *
 *  I1  The next allocator's functions are looked up once, in the constructor, never inside free:
 *      dlsym takes the dynamic linker's lock and may itself allocate and free.
 *  I2  A foreign free that finds no next allocator leaks the block and goes on; it never crashes
 *      the program.
 *  I3  A pointer into a mapping that our heap serves may be a block of the next allocator, which has its
 *      heap from our mmap; not of libc's, which makes system calls of its own.
 *
 * Locks: none.  May sleep: in the next allocator.  May fault: in the next allocator.
 * Allocates: nothing of ours.
 */
#define _GNU_SOURCE /* RTLD_NEXT */
#include "preload/foreign.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <sys/auxv.h>

#include "alloc/alloc.h"
#include "base/stat.h"

/* A static program has no dlsym, and then no other allocator either. */
#pragma weak dlsym
#pragma weak dl_iterate_phdr
#pragma weak dladdr

typedef void free_fn(void *);
typedef void *realloc_fn(void *, size_t);
typedef size_t usable_fn(void *);

/* Written by the constructor, before the program has threads. */
static free_fn *next_free;
static realloc_fn *next_realloc;
static usable_fn *next_usable;
static uintptr_t linker_start, linker_end; /* the dynamic linker's image, last page included */

static bool ownerless(const void *p)
{
    return (uintptr_t)p - linker_start < linker_end - linker_start;
}

static void free_foreign(void *p)
{
    za_stat_add(ZA_STAT_FOREIGN_FREES, 1);
    if (!next_free || ownerless(p))
        return;
    int saved = errno;
    next_free(p);
    errno = saved;
}

static void *realloc_foreign(void *p, size_t size)
{
    if (!next_realloc || ownerless(p))
        return NULL;
    return next_realloc(p, size);
}

static size_t usable_foreign(const void *p)
{
    if (!next_usable || ownerless(p))
        return 0;
    return next_usable((void *)(uintptr_t)p);
}

void za_foreign_init(void)
{
    za_free_foreign = free_foreign;
    za_realloc_foreign = realloc_foreign;
    za_usable_foreign = usable_foreign;
}

static int note_linker(struct dl_phdr_info *info, size_t size, void *base)
{
    (void)size;
    if (info->dlpi_addr != (uintptr_t)base)
        return 0;
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
        if (ph->p_type == PT_LOAD)
            linker_end = za_max(linker_end, info->dlpi_addr + ph->p_vaddr + ph->p_memsz);
    }
    linker_start = info->dlpi_addr;
    linker_end = za_align_up(linker_end, getauxval(AT_PAGESZ));
    return 1;
}

/* Of libc, whose own malloc maps by bare system calls: what is freed in a mapping of ours is not its. */
static bool is_libcs(const void *fn)
{
    Dl_info at, libc;
    const void *exit_fn = dlsym(RTLD_NEXT, "exit");
    return dladdr && exit_fn && dladdr(fn, &at) && dladdr(exit_fn, &libc) &&
           at.dli_fbase == libc.dli_fbase;
}

void za_foreign_resolve(void)
{
    uintptr_t base = getauxval(AT_BASE);
    if (base && dl_iterate_phdr)
        (void)dl_iterate_phdr(note_linker, (void *)base);
    if (!dlsym)
        return;
    *(void **)&next_realloc = dlsym(RTLD_NEXT, "realloc");
    *(void **)&next_usable = dlsym(RTLD_NEXT, "malloc_usable_size");
    *(void **)&next_free = dlsym(RTLD_NEXT, "free");
    za_foreign_maps = next_free && !is_libcs(*(void **)&next_free);
}
