/* SPDX-License-Identifier: MIT */
/*
 * memory -- address space: reserve, commit, purge, move, and look at what is resident.
 *
 * Reservations are PROT_NONE without MAP_NORESERVE: they cost nothing, and turning them writable
 * later is judged by the kernel's overcommit rule, so that an absurd request fails as it does under
 * any malloc. They are marked not to be dumped until they are committed: gcore would write every
 * page of a terabyte of them.
 * Locks: none.  May sleep: mmap_lock.  May fault: no.  Allocates: nothing but what is asked for.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>

#include "base/remedy.h"
#include "os/private.h"
#include "os/sys.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

/* What the kernel is asked about a range (PAGEMAP_SCAN, Linux 6.7), and answers. */
struct scan {
    uint64_t size, flags, start, end, walk_end, regions, nregions, max_pages;
    uint64_t inverted, all_of, any_of, told;
};
struct scan_region {
    uint64_t start, end, categories;
};
#define SCAN _IOWR('f', 16, struct scan)
#define SCAN_ZERO_PAGE ((uint64_t)1 << 5)
#define SCAN_REGIONS 64u

static long map_pages(size_t len, int prot)
{
    return za_sys6(SYS_mmap, 0, (long)len, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static bool is_error(long r)
{
    return (unsigned long)r > -4096ul;
}

int za_linux_reserve(void **out, size_t len, size_t align)
{
    size_t extra = align > za_os->page_size ? align : 0;
    long r = map_pages(len + extra, PROT_NONE);
    if (is_error(r))
        return (int)r;
    size_t base = (size_t)r, start = extra ? za_align_up(base, align) : base;
    if (start > base)
        (void)za_sys2(SYS_munmap, base, start - base);
    if (base + len + extra > start + len)
        (void)za_sys2(SYS_munmap, start + len, base + extra - start);
    (void)za_sys3(SYS_madvise, start, len, MADV_DONTDUMP);
    *out = (void *)start;
    return 0;
}

int za_linux_map(void **out, size_t len)
{
    long r = map_pages(len, PROT_READ | PROT_WRITE);
    if (is_error(r))
        return (int)r;
    *out = (void *)r;
    return 0;
}

int za_linux_map_for_me(void **out)
{
    int r = za_linux_map(out, za_os->page_size);
    return r < 0 ? r : (int)za_sys3(SYS_madvise, *out, za_os->page_size, MADV_WIPEONFORK);
}

int za_linux_unmap(void *p, size_t len)
{
    return (int)za_sys2(SYS_munmap, p, len);
}

int za_linux_commit(void *p, size_t len)
{
    (void)za_sys3(SYS_madvise, p, len, MADV_DODUMP);
    return (int)za_sys3(SYS_mprotect, p, len, PROT_READ | PROT_WRITE);
}

int za_linux_decommit(void *p, size_t len)
{
    (void)za_sys3(SYS_madvise, p, len, MADV_DONTDUMP);
    return (int)za_sys3(SYS_mprotect, p, len, PROT_NONE);
}

int za_linux_purge(void *p, size_t len)
{
    return (int)za_sys3(SYS_madvise, p, len, MADV_DONTNEED);
}

int za_linux_populate(void *p, size_t len)
{
    return (int)za_sys3(SYS_madvise, p, len, MADV_POPULATE_WRITE);
}

int za_linux_populate_read(void *p, size_t len)
{
    return (int)za_sys3(SYS_madvise, p, len, MADV_POPULATE_READ);
}

int za_linux_remap(void *from, void *to, size_t len)
{
    long r =
        za_sys5(SYS_mremap, from, len, len, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, to);
    return is_error(r) ? (int)r : 0;
}

static int pagemap_fd = -1; /* in the table of our threads; written before a second one lives */

static int open_pagemap(void)
{
    return (int)za_sys4(SYS_openat, AT_FDCWD, "/proc/thread-self/pagemap", O_RDONLY | O_CLOEXEC, 0);
}

void za_linux_pagemap_keep(int fd)
{
    if (za_linux_is_dead(ZA_DEAD_PAGEMAP))
        return;
    pagemap_fd = za_without(D14_PAGEMAP) ? -1 : fd >= 0 ? fd : open_pagemap();
}

int za_linux_pagemap_kept(void)
{
    return pagemap_fd < 0 ? -1 : pagemap_fd;
}

static bool pagemap_is_kept(void)
{
    return pagemap_fd >= 0 && za_linux_on_own_thread();
}

int za_linux_pagemap(const void *p, size_t npages, uint64_t *words)
{
    if (za_linux_is_dead(ZA_DEAD_PAGEMAP))
        return -EPERM;
    bool kept = pagemap_is_kept();
    int fd = kept ? pagemap_fd : open_pagemap();
    if (fd < 0)
        return fd;
    long n = za_sys4(SYS_pread64, fd, words, npages * 8, (size_t)p / za_os->page_size * 8);
    if (!kept)
        (void)za_sys1(SYS_close, fd);
    return n < 0 ? (int)n : (int)(n / 8);
}

int za_linux_present(const void *p, size_t npages, unsigned char *vec)
{
    if (za_linux_is_dead(ZA_DEAD_PRESENT))
        return -EPERM;
    return (int)za_sys3(SYS_mincore, p, npages * za_os->page_size, vec);
}

/* Bytes of the range that are the kernel's zero page; 0 where it does not tell. */
size_t za_linux_zero_bytes(const void *p, size_t len)
{
    struct scan_region found[SCAN_REGIONS];
    struct scan ask = {.size = sizeof(ask),
                       .start = (uint64_t)(uintptr_t)p,
                       .end = (uint64_t)(uintptr_t)p + len,
                       .regions = (uint64_t)(uintptr_t)found,
                       .nregions = SCAN_REGIONS,
                       .all_of = SCAN_ZERO_PAGE,
                       .told = SCAN_ZERO_PAGE};
    size_t total = 0;
    while (pagemap_fd >= 0 && ask.start < ask.end) {
        long n = za_sys3(SYS_ioctl, pagemap_fd, SCAN, &ask);
        if (n < 0 || ask.walk_end <= ask.start)
            break;
        for (long i = 0; i < n; i++)
            total += found[i].end - found[i].start;
        ask.start = ask.walk_end;
    }
    return total;
}

/*
 * To mincore the zero page is there as any other is, but it is nobody's memory.  For the program's own
 * threads that is left as it is: nothing is opened in their table for this.
 */
int za_linux_resident(const void *p, size_t len, uint64_t *bytes)
{
    unsigned char vec[1024] = {0};
    size_t page = za_os->page_size, total = 0;
    for (size_t at = 0; at < len; at += sizeof(vec) * page) {
        size_t n = za_min(sizeof(vec), (len - at) / page);
        int r = za_linux_present((const char *)p + at, n, vec);
        if (r < 0)
            return r;
        for (size_t i = 0; i < n; i++)
            total += vec[i] & 1u;
    }
    total *= page;
    if (total && pagemap_is_kept())
        total -= za_min(total, za_linux_zero_bytes(p, len));
    *bytes = total;
    return 0;
}

uint64_t za_linux_memory_total(void)
{
    struct sysinfo si = {0};
    if (za_sys1(SYS_sysinfo, &si) < 0)
        return 0;
    return (uint64_t)si.totalram * si.mem_unit;
}

static uint64_t limit_of(int what)
{
    struct {
        uint64_t cur, max;
    } lim = {UINT64_MAX, UINT64_MAX};
    if (za_sys4(SYS_prlimit64, 0, what, 0, &lim) < 0)
        return UINT64_MAX;
    return lim.cur;
}

uint64_t za_linux_address_limit(void)
{
    return limit_of(RLIMIT_AS);
}

uint64_t za_linux_data_limit(void)
{
    return limit_of(RLIMIT_DATA);
}
