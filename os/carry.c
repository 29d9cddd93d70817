/* SPDX-License-Identifier: MIT */
/*
 * carry -- mremap(MREMAP_DONTUNMAP) used as a way out, with what it does not look after itself.
 *
 * The call unmaps the place it moves to before it looks at what it moves, takes locked memory along
 * and leaves the rest of that mapping unlocked, and gives the place all properties of where the
 * pages came from.  So the pages are looked at first, the place is reserved again after a failure,
 * and a place that was reached is made alike to others: to be read only, and inherited by children.
 * The kernel merges mappings that are alike when their protection changes; without that a mirror of
 * n pieces would be n mappings.
 *
 * I1  What is asked for with len bytes is one mapping (za_linux_ordinary), or one page: then mremap
 *     fails only for want of memory.
 *
 * Locks: none.  May sleep: mmap_lock.  May fault: on the page looked at.  Allocates: no.
 */
#include <errno.h>
#include <sys/mman.h>

#include "os/private.h"
#include "os/sys.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

static bool is_error(long r)
{
    return (unsigned long)r > -4096ul;
}

/*
 * Growing in place has no room, which the kernel says after it has seen that the range is one
 * mapping.  If there was room, the page is given back.
 */
static bool one_mapping(void *p, size_t len)
{
    size_t page = za_os->page_size;
    long r = za_sys5(SYS_mremap, p, len, len + page, 0, 0);
    if (!is_error(r))
        (void)za_sys2(SYS_munmap, (char *)p + len, page);
    return r != -EFAULT;
}

int za_linux_ordinary(void *p, size_t len)
{
    if (len > za_os->page_size && !one_mapping(p, len))
        return -EFAULT;
    /* For anonymous memory this does nothing but say whether it is locked. */
    if (za_sys3(SYS_msync, p, len, MS_ASYNC | MS_INVALIDATE) == -EBUSY)
        return -EBUSY;
    return za_sys3(SYS_madvise, p, za_os->page_size, MADV_POPULATE_WRITE) < 0 ? -EACCES : 0;
}

/*
 * Where nothing is mapped any more, a reservation; never over a mapping, which may be somebody
 * else's by now.
 */
static int have_back(void *p, size_t len)
{
    long r = -ENOMEM;
    for (unsigned i = 0; i < 1000 && r == -ENOMEM; i++)
        r = za_sys6(SYS_mmap, (long)p, (long)len, PROT_NONE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (!is_error(r))
        (void)za_sys3(SYS_madvise, p, len, MADV_DONTDUMP); /* as all reservations */
    return is_error(r) && r != -EEXIST ? -ENXIO : 0;
}

int za_linux_carry_off(void *from, void *to, size_t len)
{
    int r = za_linux_remap(from, to, len);
    if (r < 0)
        return have_back(to, len) < 0 ? -ENXIO : r;
    (void)za_sys3(SYS_madvise, to, len, MADV_DOFORK);
    (void)za_sys3(SYS_mprotect, to, len, PROT_READ);
    return 0;
}

int za_linux_reserve_again(void *p, size_t len)
{
    long r = za_sys6(SYS_mmap, (long)p, (long)len, PROT_NONE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    if (!is_error(r)) {
        (void)za_sys3(SYS_madvise, p, len, MADV_DONTDUMP); /* as all reservations: one mapping */
        return 0;
    }
    return have_back(p, len) < 0 ? -ENXIO : (int)r;
}
