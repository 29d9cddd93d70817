/* SPDX-License-Identifier: MIT */
/*
 * os_memory -- address space as the table promises it: aligned, zeroed, counted, and refused with
 * -errno.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/os.h"
#include "tests/unit/unit.h"

static size_t page;

static void start(void)
{
    (void)prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0); /* what is resident is what was touched */
    za_os_init();
    page = za_os->page_size;
}

static char *map(size_t npages)
{
    void *p;

    CHECK_EQ(za_os->map(&p, npages * page), 0);
    return p;
}

static size_t resident_pages(const void *p, size_t npages)
{
    uint64_t bytes = 1;

    CHECK_EQ(za_os->resident(p, npages * page, &bytes), 0);
    return bytes / page;
}

UNIT_TEST(page_size_is_the_kernels)
{
    start();
    CHECK_EQ(page, sysconf(_SC_PAGESIZE));
    CHECK(za_os == za_os_linux);
}

UNIT_TEST(reserve_aligns)
{
    start();
    for (size_t align = page; align <= 64 * ZA_MIB; align *= 4) {
        void *p = NULL;
        CHECK_EQ(za_os->reserve(&p, 3 * ZA_MIB, align), 0);
        CHECK(p != NULL);
        CHECK_EQ((uintptr_t)p % align, 0);
        CHECK_EQ(za_os->unmap(p, 3 * ZA_MIB), 0);
    }
}

/* What was mapped in excess for the alignment is gone, on both sides. */
UNIT_TEST(reserve_leaves_nothing_beside)
{
    unsigned char vec;
    void *p;

    start();
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(za_os->reserve(&p, 8 * page, 256 * ZA_MIB), 0);
        CHECK_EQ(za_os->present((char *)p, 8, (unsigned char[8]){0}), 0);
        CHECK_EQ(za_os->present((char *)p + 8 * page, 1, &vec), -ENOMEM);
        CHECK_EQ(za_os->present((char *)p - page, 1, &vec), -ENOMEM);
    }
}

UNIT_TEST(reserved_is_not_charged_and_not_readable)
{
    int fd[2];
    void *p;

    start();
    CHECK_EQ(za_os->reserve(&p, 64 * page, page), 0);
    CHECK_EQ(resident_pages(p, 64), 0);
    CHECK_EQ(pipe(fd), 0);
    CHECK_EQ(write(fd[1], p, 1), -1);
    CHECK_EQ(errno, EFAULT);
}

UNIT_TEST(commit_makes_usable)
{
    void *p;
    char *at;

    start();
    CHECK_EQ(za_os->reserve(&p, 64 * page, page), 0);
    at = (char *)p + 16 * page;
    CHECK_EQ(za_os->commit(at, 16 * page), 0);
    for (size_t i = 0; i < 16 * page; i++)
        CHECK_EQ(at[i], 0);
    memset(at, 1, 16 * page);
    CHECK_EQ(resident_pages(p, 64), 16);
    CHECK_EQ(resident_pages(at, 16), 16);
}

UNIT_TEST(map_gives_zeros)
{
    char *p;

    start();
    p = map(32);
    for (size_t i = 0; i < 32 * page; i++)
        CHECK_EQ(p[i], 0);
    p[5] = 1;
    CHECK_EQ(za_os->unmap(p, 32 * page), 0);
    CHECK_EQ(za_os->present(p, 1, (unsigned char[1]){0}), -ENOMEM);
}

UNIT_TEST(purge_drops)
{
    char *p;

    start();
    p = map(8);
    memset(p, 7, 8 * page);
    CHECK_EQ(za_os->purge(p + 2 * page, 3 * page), 0);
    CHECK_EQ(resident_pages(p, 8), 5);
    CHECK_EQ(p[2 * page], 0);
    CHECK_EQ(p[2 * page - 1], 7);
    CHECK_EQ(p[5 * page - 1], 0);
    CHECK_EQ(p[5 * page], 7);
}

UNIT_TEST(populate_makes_resident_and_keeps)
{
    char *p;

    start();
    p = map(8);
    p[page] = 9;
    CHECK_EQ(za_os->populate(p, 8 * page), 0);
    CHECK_EQ(resident_pages(p, 8), 8);
    CHECK_EQ(p[page], 9);
    CHECK_EQ(p[0], 0);
}

UNIT_TEST(present_page_by_page)
{
    unsigned char vec[8];
    char *p;

    start();
    p = map(8);
    p[1 * page] = 1;
    p[6 * page] = 1;
    CHECK_EQ(za_os->present(p, 8, vec), 0);
    for (unsigned i = 0; i < 8; i++)
        CHECK_EQ(vec[i] & 1, i == 1 || i == 6);
}

/* More pages than the function looks at in one go. */
UNIT_TEST(resident_of_a_large_range)
{
    const size_t n = 5000;
    char *p;

    start();
    p = map(n);
    for (size_t i = 0; i < n; i += 3)
        p[i * page] = 1;
    CHECK_EQ(resident_pages(p, n), (n + 2) / 3);
}

UNIT_TEST(remap_moves_page_tables)
{
    char *from, *to;
    int r;

    start();
    from = map(8);
    to = map(8);
    memset(from, 3, 8 * page);
    r = za_os->remap(from, to, 8 * page);
    if (r == -EINVAL)
        UNIT_SKIP("this kernel has no MREMAP_DONTUNMAP");
    CHECK_EQ(r, 0);
    CHECK_EQ(to[0], 3);
    CHECK_EQ(to[8 * page - 1], 3);
    CHECK_EQ(resident_pages(from, 8), 0);
    CHECK_EQ(from[0], 0); /* still mapped, and empty */
}

UNIT_TEST(pagemap_tells_present_and_exclusive)
{
    uint64_t words[4];
    char *p;

    start();
    p = map(4);
    p[page] = 1;
    CHECK_EQ(za_os->pagemap(p, 4, words), 4);
    for (unsigned i = 0; i < 4; i++)
        CHECK_EQ((words[i] & ZA_PM_PRESENT) != 0, i == 1);
    CHECK(words[1] & ZA_PM_EXCLUSIVE);
    CHECK(!(words[1] & ZA_PM_SWAPPED));
}

UNIT_TEST(map_for_me_is_zero_in_a_child)
{
    void *p;
    int status;
    pid_t pid;

    start();
    CHECK_EQ(za_os->map_for_me(&p), 0);
    *(uint32_t *)p = 77;
    pid = fork();
    if (pid == 0)
        _exit(*(uint32_t *)p == 0 ? 0 : 1);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    CHECK_EQ(*(uint32_t *)p, 77);
}

UNIT_TEST(refusals_are_errno)
{
    void *p = NULL;
    uint64_t bytes;

    start();
    CHECK_EQ(za_os->map(&p, (size_t)1 << 60), -ENOMEM);
    CHECK_EQ(za_os->reserve(&p, (size_t)1 << 60, page), -ENOMEM);
    CHECK_EQ(za_os->reserve(&p, (size_t)1 << 46, (size_t)1 << 47), -ENOMEM);
    CHECK(p == NULL);
    p = map(4);
    CHECK_EQ(za_os->unmap(p, 4 * page), 0);
    CHECK_EQ(za_os->commit(p, page), -ENOMEM);
    CHECK_EQ(za_os->purge(p, page), -ENOMEM);
    CHECK_EQ(za_os->populate(p, page), -ENOMEM);
    CHECK_EQ(za_os->resident(p, page, &bytes), -ENOMEM);
    CHECK_EQ(za_os->remap(p, (char *)p + 2 * page, page), -EFAULT);
    CHECK_EQ(za_os->purge((char *)p + 1, page), -EINVAL);
}

/* No call of the table touches errno. */
UNIT_TEST(errno_is_the_programs)
{
    void *p;

    start();
    errno = 4242;
    (void)za_os->map(&p, (size_t)1 << 60);
    (void)za_os->purge((void *)1, page);
    (void)za_os->pagemap((void *)1, 1, (uint64_t[1]){0});
    (void)za_os->memory_total();
    (void)za_os->address_limit();
    (void)za_os->now();
    (void)za_os->thread_cpu();
    CHECK_EQ(errno, 4242);
}

UNIT_TEST(limits)
{
    struct rlimit lim = {(rlim_t)1 << 40, RLIM_INFINITY};

    start();
    CHECK_EQ(za_os->memory_total() / page, sysconf(_SC_PHYS_PAGES));
    CHECK_EQ(setrlimit(RLIMIT_AS, &(struct rlimit){RLIM_INFINITY, RLIM_INFINITY}), 0);
    CHECK_EQ(za_os->address_limit(), UINT64_MAX);
    CHECK_EQ(setrlimit(RLIMIT_AS, &lim), 0);
    CHECK_EQ(za_os->address_limit(), (uint64_t)1 << 40);
    CHECK_EQ(za_os->data_limit(), UINT64_MAX);
}

UNIT_TEST(names_of_errors)
{
    CHECK_STR(za_os_errname(EPERM), "EPERM");
    CHECK_STR(za_os_errname(-EBUSY), "EBUSY");
    CHECK_STR(za_os_errname(123456), "an unexpected error");
}

UNIT_TEST(random_bytes_differ)
{
    unsigned char a[64] = {0}, b[64] = {0};

    start();
    CHECK_EQ(za_os->random(a, sizeof(a)), 0);
    CHECK_EQ(za_os->random(b, sizeof(b)), 0);
    CHECK(memcmp(a, b, sizeof(a)) != 0);
}

/* A kernel without KSM says so; one with it counts. */
UNIT_TEST(mergeable_or_not)
{
    uint64_t pages = ~0ull, profit = ~0ull;

    start();
    char *p = map(4);
    memset(p, 1, 4 * page);
    int r = za_os->mergeable(p, 4 * page, true);
    CHECK(r == 0 || r == -EINVAL);
    CHECK_EQ(za_os->mergeable(p, 4 * page, false), r);
    CHECK(p[0] == 1 && p[4 * page - 1] == 1);
    r = za_os->merged(&pages, &profit);
    CHECK(r == -ENOENT || (r == 0 && pages < ~0ull && profit < ~0ull));
}
