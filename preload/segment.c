/* SPDX-License-Identifier: MIT */
/*
 * segment -- System V segments that the program attaches over heap memory, and detaches from there.
 *
 * shmat with SHM_REMAP is a MAP_FIXED by another name: what it covers is the heap's no more (memory.c). shmdt
 * would leave a hole, which the kernel would give to whoever maps next; ordinary memory fills it.  Of the
 * length nobody tells but shmctl beforehand and the hole itself afterwards.
 *
 * I1  Elsewhere both are the C library's own, which are bare system calls in glibc and in musl.
 *
 * Locks: none.  May sleep: on the worker.  May fault: no.  Allocates: mappings.
 */
#include <errno.h>
#include <sys/mman.h>
#include <sys/shm.h>

#include "os/sys.h"
#include "preload/export.h"
#include "preload/mapped.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

static long result(long r)
{
    if ((unsigned long)r <= -4096ul)
        return r;
    errno = (int)-r;
    return -1;
}

/* 0: it says nothing, and then cannot be attached either. */
static size_t size_of(int id)
{
    struct shmid_ds about = {.shm_segsz = 0};
    return za_sys3(SYS_shmctl, id, IPC_STAT, &about) < 0 ? 0 : about.shm_segsz;
}

ZA_EXPORT void *shmat(int id, const void *p, int flags)
{
    const void *at =
        flags & SHM_RND ? (const void *)((uintptr_t)p & -(uintptr_t)za_os->page_size) : p;
    size_t len = ZA_UNLIKELY(p && (flags & SHM_REMAP)) ? size_of(id) : 0;
    if (len)
        za_mapped_give_up(at, len);
    void *there = (void *)result(za_sys3(SYS_shmat, id, p, flags));
    if (len && there == at)
        za_mapped_touch(at, len);
    return there;
}

static bool fill_hole(uintptr_t at, size_t len)
{
    long r = za_sys6(SYS_mmap, (long)at, (long)len, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
    return (unsigned long)r <= -4096ul;
}

/* In longer and longer pieces, and then in shorter and shorter ones, up to what is mapped behind it. */
static void fill_holes(uintptr_t at)
{
    uintptr_t end = za_heap_base + za_heap_size;
    for (size_t len = za_os->page_size; len >= za_os->page_size;) {
        if (len <= end - at && fill_hole(at, len)) {
            at += len;
            len *= 2;
        } else {
            len /= 2;
        }
    }
}

ZA_EXPORT int shmdt(const void *p)
{
    long rc = za_sys1(SYS_shmdt, p);
    if (ZA_UNLIKELY(rc == 0 && za_touches_heap(p, 1)))
        fill_holes((uintptr_t)p);
    return (int)result(rc);
}
