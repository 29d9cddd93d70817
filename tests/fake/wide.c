/* SPDX-License-Identifier: MIT */
/*
 * wide -- see wide.h.
 *
 * One call that changes pages runs at a time, so that nobody sees a page half moved by another.
 * The lock is held by a process: a child forked meanwhile takes it from its parent's thread.
 *
 * Locks: its own.  May sleep: as the real calls.  May fault: no.  Allocates: as the real calls.
 */
#define _GNU_SOURCE
#include "tests/fake/wide.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "os/os.h"
#include "os/sys.h"
#include "tests/unit/unit.h"

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif
#define SMALLS_MAX 16u
#define TRIES 1000

static struct za_os table;
static size_t page, small;
static uint32_t holder; /* process id; 0: free */
static const char zeros[ZA_UNIT_SIZE];

static void enter(void)
{
    uint32_t me = (uint32_t)za_os_linux->pid(), was = 0;

    while (!__atomic_compare_exchange_n(&holder, &was, me, false, __ATOMIC_ACQUIRE,
                                        __ATOMIC_RELAXED)) {
        if (was == me) {
            za_os_linux->relax();
            was = 0;
        }
    }
}

static void leave(void)
{
    __atomic_store_n(&holder, 0, __ATOMIC_RELEASE);
}

static void whole(const void *p, size_t len)
{
    CHECK_EQ((uintptr_t)p % page, 0);
    CHECK_EQ(len % page, 0);
}

/* --- address space ------------------------------------------------------- */

static int do_reserve(void **out, size_t len, size_t align)
{
    whole(NULL, len);
    return za_os_linux->reserve(out, len, align > page ? align : 2 * page); /* really aligned */
}

static int do_map(void **out, size_t len)
{
    len = za_align_up(len, page);
    int r = do_reserve(out, len, page);
    return r < 0 ? r : za_os_linux->commit(*out, len);
}

static int do_map_for_me(void **out)
{
    int r = do_map(out, page);
    return r < 0 ? r : (int)za_sys3(SYS_madvise, *out, page, MADV_WIPEONFORK);
}

static int do_unmap(void *p, size_t len)
{
    whole(p, 0);
    return za_os_linux->unmap(p, za_align_up(len, page));
}

#define WHOLE(name) \
    static int do_##name(void *p, size_t len) \
    { \
        whole(p, len); \
        return za_os_linux->name(p, len); \
    }
WHOLE(commit)
WHOLE(decommit)
WHOLE(purge)
WHOLE(populate)
WHOLE(populate_read)

static int do_remap(void *from, void *to, size_t len)
{
    whole(from, len);
    whole(to, len);
    return za_os_linux->remap(from, to, len);
}

/* --- what is there ------------------------------------------------------- */

/* Which small pages of a page are there: a bit for each; all that is there is `all()`. */
static uint32_t there(const void *p)
{
    unsigned char vec[SMALLS_MAX] = {0};
    uint32_t bits = 0;

    CHECK_EQ(za_sys3(SYS_mincore, p, page, vec), 0);
    for (unsigned i = 0; i < page / small; i++)
        bits |= (vec[i] & 1u) << i;
    return bits;
}

static uint32_t all(void)
{
    return (uint32_t)((1ull << page / small) - 1);
}

static int do_present(const void *p, size_t n, unsigned char *vec)
{
    whole(p, 0);
    for (size_t i = 0; i < n; i++)
        vec[i] = there((const char *)p + i * page) != 0;
    return 0;
}

static int do_resident(const void *p, size_t len, uint64_t *bytes)
{
    whole(p, len);
    *bytes = 0;
    for (size_t at = 0; at < len; at += page)
        *bytes += there((const char *)p + at) ? page : 0;
    return 0;
}

/* The word of a page's first small page that is there. */
static int do_pagemap(const void *p, size_t n, uint64_t *words)
{
    uint64_t word[SMALLS_MAX] = {0};
    long fd = za_sys4(SYS_openat, AT_FDCWD, "/proc/thread-self/pagemap", O_RDONLY | O_CLOEXEC, 0);

    if (fd < 0)
        return (int)fd;
    whole(p, 0);
    for (size_t i = 0; i < n; i++) {
        size_t first = ((uintptr_t)p + i * page) / small, smalls = page / small;
        CHECK_EQ(za_sys4(SYS_pread64, fd, word, smalls * 8, first * 8), smalls * 8);
        words[i] = 0;
        for (size_t k = smalls; k-- > 0;)
            words[i] = word[k] & (ZA_PM_PRESENT | ZA_PM_SWAPPED) ? word[k] : words[i];
    }
    (void)za_sys1(SYS_close, fd);
    return (int)n;
}

/* --- userfaultfd --------------------------------------------------------- */

static int do_register(int fd, void *p, size_t len)
{
    whole(p, len);
    return za_os_linux->uffd_register(fd, p, len);
}

static int do_unregister(int fd, void *p, size_t len)
{
    whole(p, len);
    return za_os_linux->uffd_unregister(fd, p, len);
}

static int do_wake(int fd, void *p, size_t len)
{
    whole(p, len);
    return za_os_linux->uffd_wake(fd, p, len);
}

static int do_read(int fd, struct za_uffd_msg *msg)
{
    int r = za_os_linux->uffd_read(fd, msg);

    if (r == 1 && msg->event == ZA_EV_FAULT)
        msg->addr = za_align_down(msg->addr, page);
    return r;
}

/* `to` may be another process's, whose pages only the descriptor knows. */
static int64_t fill_page(int fd, char *to, const char *src)
{
    bool any = false;

    for (unsigned i = 0; i < page / small; i++) {
        int64_t r = src ? za_os_linux->uffd_copy(fd, to + i * small, src + i * small, small, false)
                        : za_os_linux->uffd_zero(fd, to + i * small, small, false);
        if (r < 0 && r != -EEXIST)
            return r;
        any |= r >= 0;
    }
    return any ? (int64_t)page : -EEXIST;
}

/* What has been moved of a page goes back when the rest is refused. */
static int64_t move_whole(int fd, char *to, char *from)
{
    size_t done = 0;
    int64_t r = 0;

    for (int tries = 0; done < page && tries < TRIES; tries++) {
        r = za_os_linux->uffd_move(fd, to + done, from + done, page - done, false);
        if (r < 0 && r != -EAGAIN)
            break;
        done += r > 0 ? (size_t)r : 0;
    }
    if (done == page)
        return (int64_t)page;
    if (done)
        CHECK_EQ(za_os_linux->uffd_move(fd, from, to, done, false), (int64_t)done);
    return r;
}

static int64_t move_page(int fd, char *to, char *from)
{
    uint32_t have = there(from);

    if (there(to))
        return -EEXIST;
    if (!have)
        return -ENOENT;
    int64_t r = have == all() ? 0 : fill_page(fd, from, zeros);
    return r < 0 && r != -EEXIST ? r : move_whole(fd, to, from);
}

/* Page after page up to the first refusal, as the kernel does. */
#define EACH(step) \
    int64_t done = 0, r = 0; \
    whole(dst, len); \
    enter(); \
    for (; (size_t)done < len; done += r) { \
        r = (step); \
        if (r < 0) \
            break; \
    } \
    leave(); \
    if (done && wake) \
        (void)za_os_linux->uffd_wake(fd, dst, (size_t)done); \
    return done ? done : r

static int64_t do_move(int fd, void *dst, void *src, size_t len, bool wake)
{
    whole(src, 0);
    EACH(move_page(fd, (char *)dst + done, (char *)src + done));
}

static int64_t do_copy(int fd, void *dst, const void *src, size_t len, bool wake)
{
    EACH(fill_page(fd, (char *)dst + done, (const char *)src + done));
}

static int64_t do_zero(int fd, void *dst, size_t len, bool wake)
{
    EACH(fill_page(fd, (char *)dst + done, NULL));
}

/* --- start --------------------------------------------------------------- */

void wide_start(size_t page_bytes)
{
    small = za_os_linux->page_size;
    page = page_bytes;
    if (page <= small)
        return;
    CHECK(za_is_pow2(page) && page / small <= SMALLS_MAX && page <= sizeof(zeros));
    table = *za_os_linux;
    table.page_size = page;
    table.reserve = do_reserve;
    table.map = do_map;
    table.map_for_me = do_map_for_me;
    table.unmap = do_unmap;
    table.commit = do_commit;
    table.decommit = do_decommit;
    table.purge = do_purge;
    table.populate = do_populate;
    table.populate_read = do_populate_read;
    table.remap = do_remap;
    table.present = do_present;
    table.resident = do_resident;
    table.pagemap = do_pagemap;
    table.uffd_register = do_register;
    table.uffd_unregister = do_unregister;
    table.uffd_wake = do_wake;
    table.uffd_read = do_read;
    table.uffd_move = do_move;
    table.uffd_copy = do_copy;
    table.uffd_zero = do_zero;
    za_os = &table;
}
