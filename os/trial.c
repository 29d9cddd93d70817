/* SPDX-License-Identifier: MIT */
/*
 * trial -- would pages really go out and come back here?  Tried on a page of its own.
 *
 * A call may be refused by the kernel's age, a seccomp filter or a limit, and a kernel may offer
 * what does not work: only doing it tells.  Nobody serves faults meanwhile, so nothing missing is
 * touched.
 *
 * Locks: none.  May sleep: mmap_lock.  May fault: no.  Allocates: two pages, for the moment.
 */
#include <errno.h>
#include <string.h>

#include "os/os.h"

#define PATTERN 0x5a

struct place {
    char *heap, *mirror;
    size_t page;
    int fd;
};

static bool holds(const char *p, size_t page)
{
    for (size_t i = 0; i < page; i++)
        if (((const volatile char *)p)[i] != PATTERN)
            return false;
    return true;
}

static int by_move(const struct place *p)
{
    int r = za_os->uffd_register(p->fd, p->mirror, p->page);
    if (r < 0)
        return r;
    int64_t n = za_os->uffd_move(p->fd, p->mirror, p->heap, p->page, true);
    if (n < 0)
        return (int)n;
    if (!holds(p->mirror, p->page))
        return -EIO;
    n = za_os->uffd_move(p->fd, p->heap, p->mirror, p->page, true);
    return n < 0 ? (int)n : 0;
}

static int by_remap(const struct place *p)
{
    int r = za_os->held();
    if (r >= 0)
        r = za_os->ordinary(p->heap, p->page);
    if (r == 0)
        r = za_os->carry_off(p->heap, p->mirror, p->page);
    if (r < 0)
        return r;
    if (!holds(p->mirror, p->page))
        return -EIO;
    int64_t n = za_os->uffd_copy(p->fd, p->heap, p->mirror, p->page, true);
    return n < 0 ? (int)n : za_os->purge(p->mirror, p->page);
}

static int try_at(const struct place *p, int (*way)(const struct place *p))
{
    memset(p->heap, PATTERN, p->page);
    int r = za_os->uffd_register(p->fd, p->heap, p->page);
    if (r == 0)
        r = way(p);
    return r == 0 && !holds(p->heap, p->page) ? -EIO : r;
}

static int try_with(int fd, int (*way)(const struct place *p))
{
    struct place p = {.page = za_os->page_size, .fd = fd};
    void *heap, *mirror;
    int r = za_os->map(&heap, p.page);
    if (r < 0)
        return r;
    r = za_os->map(&mirror, p.page);
    if (r == 0) {
        p.heap = heap;
        p.mirror = mirror;
        r = try_at(&p, way);
        (void)za_os->unmap(mirror, p.page);
    }
    (void)za_os->unmap(heap, p.page);
    return r;
}

int za_os_try_move(int fd)
{
    return try_with(fd, by_move);
}

int za_os_try_remap(int fd)
{
    return try_with(fd, by_remap);
}
