/* SPDX-License-Identifier: MIT */
/*
 * holes -- see holes.h.
 *
 * msync of anonymous memory does nothing, and says whether all of it is mapped; MAP_FIXED_NOREPLACE
 * whether none of it was.  What is neither is looked at by halves.
 *
 * Locks, sleep, faults: see holes.h.
 */
#define _GNU_SOURCE
#include "preload/holes.h"

#include <errno.h>
#include <sys/mman.h>

#include "alloc/space.h"
#include "base/remedy.h"
#include "os/os.h"
#include "os/sys.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

static bool expected; /* atomic */

void za_holes_expect(void)
{
    __atomic_store_n(&expected, true, __ATOMIC_RELEASE);
}

static bool is_whole(uintptr_t at, size_t len)
{
    return za_sys3(SYS_msync, at, len, MS_ASYNC) != -ENOMEM;
}

static bool map_at(uintptr_t at, size_t len)
{
    long got = za_sys6(SYS_mmap, (long)at, (long)len, PROT_READ | PROT_WRITE,
                       MAP_FIXED_NOREPLACE | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if ((uintptr_t)got == at)
        return true;
    if ((unsigned long)got <= -4096ul)
        (void)za_sys2(SYS_munmap, got, len); /* a kernel that does not know the flag */
    return false;
}

/* As deep as addresses have bits. */
static void close_in(uintptr_t at, size_t len)
{
    if (is_whole(at, len) || map_at(at, len) || len <= za_os->page_size)
        return;
    size_t half = za_align_up(len / 2, za_os->page_size);
    close_in(at, half);
    close_in(at + half, len - half);
}

void za_holes_close(void)
{
    if (__atomic_load_n(&expected, __ATOMIC_ACQUIRE) && !za_without(D7_HOLE))
        close_in(za_heap_base, za_heap_size);
}
