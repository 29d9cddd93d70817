/* SPDX-License-Identifier: MIT */
/*
 * os_carry -- the way out by mremap: what is refused, what is left behind, how many mappings it
 * makes; and what is known of devices that may write to memory.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/os.h"
#include "tests/unit/unit.h"

#define PAGES ((size_t)64)

static size_t page;
static char *heap, *mirror;

static void start(void)
{
    void *p, *q;
    za_os_init();
    page = za_os->page_size;
    CHECK_EQ(za_os->reserve(&p, (PAGES + 2) * page, page), 0);
    CHECK_EQ(za_os->reserve(&q, (PAGES + 2) * page, page), 0);
    heap = (char *)p + page;
    mirror = (char *)q + page;
    CHECK_EQ(za_os->commit(heap, PAGES * page), 0);
    for (size_t i = 0; i < PAGES; i++)
        memset(heap + i * page, (int)i + 1, page);
}

static char *at(char *base, size_t i)
{
    return base + i * page;
}

static bool holds(const char *p, int value)
{
    for (size_t i = 0; i < page; i++)
        if (p[i] != (char)value)
            return false;
    return true;
}

/* Mappings that touch the mirror's pages. */
static unsigned pieces(void)
{
    char line[256];
    unsigned n = 0;
    FILE *f = fopen("/proc/self/maps", "re");
    while (f && fgets(line, sizeof(line), f)) {
        char *end;
        uintptr_t from = strtoul(line, &end, 16), to = strtoul(end + 1, NULL, 16);
        n += from < (uintptr_t)at(mirror, PAGES) && to > (uintptr_t)mirror;
    }
    if (f)
        fclose(f);
    return n;
}

UNIT_TEST(ordinary_memory_is_ordinary)
{
    start();
    CHECK_EQ(za_os->ordinary(heap, PAGES * page), 0);
    CHECK_EQ(za_os->ordinary(at(heap, 5), page), 0);
    CHECK(holds(at(heap, 5), 6));
}

UNIT_TEST(special_memory_is_not)
{
    start();
    CHECK_EQ(mprotect(at(heap, 8), page, PROT_READ), 0);
    CHECK_EQ(za_os->ordinary(at(heap, 6), 4 * page), -EFAULT);
    CHECK_EQ(za_os->ordinary(at(heap, 8), page), -EACCES);
    CHECK_EQ(za_os->ordinary(at(heap, 9), 4 * page), 0);
    if (syscall(SYS_mlock, at(heap, 20), page) < 0)
        UNIT_SKIP("mlock is refused here");
    CHECK_EQ(za_os->ordinary(at(heap, 20), page), -EBUSY);
    CHECK_EQ(za_os->ordinary(at(heap, 19), 2 * page), -EFAULT);
}

UNIT_TEST(what_is_carried_off_is_there_and_gone_here)
{
    start();
    CHECK_EQ(za_os->carry_off(at(heap, 4), at(mirror, 4), 4 * page), 0);
    for (size_t i = 4; i < 8; i++)
        CHECK(holds(at(mirror, i), (int)i + 1) && holds(at(heap, i), 0));
    CHECK(holds(at(heap, 3), 4) && holds(at(heap, 8), 9));
}

/* In any order, and with gaps that are filled later. */
UNIT_TEST(neighbours_are_one_mapping)
{
    start();
    for (size_t i = 0; i < PAGES; i += 2)
        CHECK_EQ(za_os->carry_off(at(heap, i), at(mirror, i), page), 0);
    CHECK_EQ(pieces(), PAGES);
    for (size_t i = PAGES; i > 0; i -= 2)
        CHECK_EQ(za_os->carry_off(at(heap, i - 1), at(mirror, i - 1), page), 0);
    CHECK_EQ(pieces(), 1);
    for (size_t i = 0; i < PAGES; i += 4)
        CHECK_EQ(za_os->reserve_again(at(mirror, i), 4 * page), 0);
    CHECK_EQ(pieces(), 1);
}

/* Not inherited by children, but its copy in the mirror is. */
UNIT_TEST(the_mirror_is_inherited)
{
    unsigned char there;
    start();
    CHECK_EQ(madvise(heap, PAGES * page, MADV_DONTFORK), 0);
    CHECK_EQ(za_os->carry_off(heap, mirror, page), 0);
    pid_t pid = fork();
    if (pid == 0)
        _exit(za_os->present(mirror, 1, &there) < 0 || !holds(mirror, 1));
    int status = -1;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}

/* The kernel unmaps the place before it looks at what to move. */
UNIT_TEST(a_failure_leaves_the_place_reserved)
{
    unsigned char there;
    start();
    CHECK_EQ(munmap(at(heap, 1), 4 * page), 0);
    CHECK_EQ(za_os->carry_off(at(heap, 1), at(mirror, 1), 4 * page), -EFAULT);
    for (size_t i = 0; i < PAGES; i++)
        CHECK_EQ(za_os->present(at(mirror, i), 1, &there), 0);
    CHECK_EQ(pieces(), 1);
    CHECK(holds(heap, 1) && holds(at(heap, 5), 6));
}

UNIT_TEST(files_for_direct_io_are_noticed)
{
    char path[] = "./os_carry.XXXXXX";
    start();
    if (za_os->held() != 0)
        UNIT_SKIP("something holds memory already, or there is no /proc");
    int fd = mkostemp(path, O_DIRECT);
    if (fd < 0)
        UNIT_SKIP("no direct I/O in this file system");
    unlink(path);
    CHECK_EQ(za_os->held(), 1);
    close(fd);
    CHECK_EQ(za_os->held(), 0);
}

UNIT_TEST(rings_are_noticed)
{
    char params[256] = {0};
    start();
    if (za_os->held() != 0)
        UNIT_SKIP("something holds memory already, or there is no /proc");
    int fd = (int)syscall(425, 4, params); /* io_uring_setup */
    if (fd < 0)
        UNIT_SKIP("io_uring is refused here");
    CHECK_EQ(za_os->held(), 1);
    close(fd);
    CHECK_EQ(za_os->held(), 0);
}
