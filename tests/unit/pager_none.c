/* SPDX-License-Identifier: MIT */
/*
 * pager_none -- without a back-end the region is plain memory, and the pager says why (P4).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/conf.h"
#include "base/stat.h"
#include "os/os.h"
#include "pager/pager.h"
#include "tests/fake/region.h"
#include "tests/unit/unit.h"

#define PAGES ((size_t)256)

static struct za_os table; /* a copy in which something is refused */

static int refuse_open(struct za_uffd_caps *caps)
{
    (void)caps;
    return -EPERM;
}

static int lack_open(struct za_uffd_caps *caps)
{
    (void)caps;
    return -ENOSYS;
}

static int open_without_move(struct za_uffd_caps *caps)
{
    int fd = za_os_linux->uffd_open(caps);
    caps->move = caps->any_move = false;
    return fd;
}

static int refuse_carry(void *from, void *to, size_t len)
{
    (void)from;
    (void)to;
    (void)len;
    return -EINVAL;
}

/* UFFDIO_MOVE as a kernel might offer it that does not have it. */
static int64_t refuse_move(int fd, void *dst, void *src, size_t len, bool wake)
{
    (void)fd;
    (void)dst;
    (void)src;
    (void)len;
    (void)wake;
    return -EINVAL;
}

static int refuse_files(void)
{
    return -ENOSYS;
}

/* Of chunks; the page of the trial, before, may be registered. */
static int refuse_register(int fd, void *p, size_t len)
{
    return len > REGION_PAGE ? -EINVAL : za_os_linux->uffd_register(fd, p, len);
}

static int refuse_thread(void (*fn)(void *), void *arg, const char *name, bool share_files)
{
    (void)fn;
    (void)arg;
    (void)name;
    (void)share_files;
    return -EAGAIN;
}

static int refuse_fault_thread(void (*fn)(void *), void *arg, const char *name, bool share_files)
{
    if (strcmp(name, "zalloc-fault") == 0)
        return -EAGAIN;
    return za_os_linux->thread_start(fn, arg, name, share_files);
}

static int refuse_reserve(void **out, size_t len, size_t align)
{
    (void)out;
    (void)len;
    (void)align;
    return -ENOMEM;
}

static void start(void)
{
    region_start(2048 * REGION_PAGE);
    table = *za_os_linux;
    za_os = &table;
}

static void verify_child(void)
{
    int status;
    pid_t pid = region_fork();

    if (pid == 0) {
        CHECK(region_holds(0, PAGES, 2));
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}

/* All requests, and memory that is none the worse for them. */
static void check_plain(const char *why)
{
    region_fill(0, PAGES, 1);
    CHECK_EQ(za_pager_evict_all(), -ENOSYS);
    CHECK_STR(za_pager_backend(), "none");
    CHECK_STR(za_pager_why_none(), why);
    CHECK(!za_pager_active());
    CHECK_EQ(region_present(0, PAGES), PAGES);
    CHECK(region_holds(0, PAGES, 1));
    CHECK_EQ(za_pager_thaw(), 0);
    CHECK_EQ(za_pager_relocate((uintptr_t)region_at(0), (uintptr_t)region_at(PAGES), REGION_PAGE),
             -ENOSYS);
    CHECK_EQ(za_pager_discard((uintptr_t)region_at(8), 8 * REGION_PAGE), 0);
    CHECK(region_zero(8, 8));
    CHECK(region_holds(0, 8, 1) && region_holds(16, PAGES - 16, 1));
    region_fill(0, PAGES, 2);
    verify_child();
    za_pager_stats();
    CHECK_EQ(za_stat_get(ZA_STAT_FOOT_HEAP), PAGES * REGION_PAGE);
    CHECK_EQ(za_stat_get(ZA_STAT_PG_STORED) + za_stat_get(ZA_STAT_PG_LIMBO), 0);
    za_pager_check();
}

UNIT_TEST(compress_false)
{
    start();
    za_conf.compress = false;
    check_plain("compress:false");
}

UNIT_TEST(backend_none)
{
    start();
    za_conf.backend = ZA_BACKEND_NONE;
    check_plain("backend:none");
}

UNIT_TEST(not_allowed)
{
    start();
    table.uffd_open = refuse_open;
    check_plain("userfaultfd with kernel faults is not allowed here; `zalloc doctor` says how to "
                "allow it");
}

UNIT_TEST(not_there)
{
    start();
    table.uffd_open = lack_open;
    check_plain("this kernel has no userfaultfd");
}

UNIT_TEST(kernel_too_old)
{
    if (region_refused())
        UNIT_SKIP("userfaultfd is refused here");
    start();
    za_conf.backend = ZA_BACKEND_AUTO;
    table.uffd_open = open_without_move;
    table.carry_off = refuse_carry;
    check_plain("neither UFFDIO_MOVE (6.12.37, 6.16 or later) nor mremap(MREMAP_DONTUNMAP) works "
                "here");
}

/* The line that a forced back-end costs: what was told. */
static char told[256];

static void hear(const char *line, size_t len)
{
    CHECK(len < sizeof(told));
    memcpy(told, line, len);
}

UNIT_TEST(forced_move_is_not_there)
{
    if (region_refused())
        UNIT_SKIP("userfaultfd is refused here");
    start();
    za_conf.backend = ZA_BACKEND_MOVE;
    table.uffd_open = open_without_move;
    table.tell = hear;
    check_plain("this kernel has no UFFDIO_MOVE (6.8 or later)");
    CHECK_STR(told, "zalloc: backend:move: this kernel has no UFFDIO_MOVE (6.8 or later)\n");
}

UNIT_TEST(forced_move_does_not_work)
{
    struct za_uffd_caps caps;
    int fd = za_os_linux->uffd_open(&caps);
    if (fd < 0 || !caps.any_move)
        UNIT_SKIP("no UFFDIO_MOVE here");
    za_os_linux->close(fd);
    start();
    za_conf.backend = ZA_BACKEND_MOVE;
    table.uffd_move = refuse_move;
    table.tell = hear;
    check_plain("UFFDIO_MOVE was tried here and does not work");
    CHECK_STR(told, "zalloc: backend:move: UFFDIO_MOVE was tried here and does not work\n");
}

UNIT_TEST(forced_remap_does_not_work)
{
    if (region_refused())
        UNIT_SKIP("userfaultfd is refused here");
    start();
    za_conf.backend = ZA_BACKEND_REMAP;
    table.carry_off = refuse_carry;
    table.tell = hear;
    check_plain("mremap(MREMAP_DONTUNMAP) was tried here and does not work (5.14 or later, /proc)");
    CHECK_STR(told, "zalloc: backend:remap: mremap(MREMAP_DONTUNMAP) was tried here and does not "
                    "work (5.14 or later, /proc)\n");
}

/* Without a word, unless it was asked for. */
static void works_without_move(const char *line)
{
    if (region_refused())
        UNIT_SKIP("userfaultfd is refused here");
    start();
    za_conf.backend = ZA_BACKEND_AUTO;
    table.uffd_open = open_without_move;
    table.tell = hear;
    region_fill(0, PAGES, 1);
    CHECK_EQ(za_pager_evict_all(), 0);
    CHECK_STR(za_pager_backend(), "remap");
    CHECK_EQ(region_present(0, PAGES), 0);
    CHECK(region_holds(0, PAGES, 1));
    CHECK_STR(told, line);
}

UNIT_TEST(without_move_remap_is_taken)
{
    works_without_move("");
}

UNIT_TEST(what_was_taken_is_told_on_request)
{
    za_conf.confirm_conf = true;
    works_without_move("zalloc: backend:remap\n");
}

UNIT_TEST(no_private_files)
{
    start();
    table.private_files = refuse_files;
    check_plain("no descriptor table of its own for the worker (close_range refused)");
}

/* Found out when the first page is to go: it stays, and that is counted. */
UNIT_TEST(no_registration)
{
    if (region_refused())
        UNIT_SKIP("userfaultfd is refused here");
    start();
    table.uffd_register = refuse_register;
    region_fill(0, PAGES, 2);
    CHECK_EQ(za_pager_evict_all(), 0);
    CHECK(za_stat_get(ZA_STAT_PG_REG_FAILED) > 0);
    CHECK_EQ(region_present(0, PAGES), PAGES);
    if (!region_forks_confuse())
        verify_child();
    table.uffd_register = za_os_linux->uffd_register;
    CHECK_EQ(za_pager_evict_all(), 0);
    CHECK_EQ(region_present(0, PAGES), 0);
    CHECK(region_holds(0, PAGES, 2));
}

UNIT_TEST(no_address_space)
{
    start();
    table.reserve = refuse_reserve;
    check_plain("no address space for the mirror and the page records");
}

UNIT_TEST(no_worker)
{
    start();
    table.thread_start = refuse_thread;
    check_plain("the worker thread could not be started");
    CHECK(!za_pager_has_worker());
}

UNIT_TEST(no_fault_thread)
{
    if (region_refused())
        UNIT_SKIP("userfaultfd is refused here");
    start();
    table.thread_start = refuse_fault_thread;
    check_plain("the fault thread could not be started");
}

/* Before anybody asked for anything there are no threads, and nothing to fear. */
UNIT_TEST(not_started)
{
    region_start(2048 * REGION_PAGE);
    region_fill(0, PAGES, 2);
    CHECK_STR(za_pager_backend(), "not started");
    CHECK(!za_pager_active() && !za_pager_has_worker());
    CHECK_EQ(za_pager_thaw(), 0);
    verify_child();
    za_pager_stats();
    CHECK_EQ(za_stat_get(ZA_STAT_FOOT_HEAP), PAGES * REGION_PAGE);
    CHECK_STR(za_pager_backend(), "not started");
}

/* A plain heap is still given back, by the worker. */
UNIT_TEST(the_worker_still_works)
{
    start();
    za_conf.compress = false;
    CHECK_EQ(za_pager_evict_all(), -ENOSYS);
    CHECK(za_pager_has_worker());
    for (int i = 0; i < 10000 && za_stat_get(ZA_STAT_PG_TURNS) < 3; i++)
        region_sleep_ms(1);
    CHECK(za_stat_get(ZA_STAT_PG_TURNS) >= 3);
}

/* ---- our worker gives way, and there is no fault thread ------------------------------------------- */

static unsigned times;
static bool over;

static void another(struct za_identity *out)
{
    unsigned id = __atomic_load_n(&times, __ATOMIC_RELAXED);
    *out = (struct za_identity){{id, id, id}, {1, 1, 1}, 1};
}

static void *post(void *arg)
{
    while (!__atomic_load_n(&over, __ATOMIC_ACQUIRE))
        za_pager_stats();
    return arg;
}

UNIT_TEST(a_worker_gives_way_while_others_ask)
{
    pthread_t t[2];
    start();
    za_conf.compress = false;
    table.identity = another;
    (void)za_pager_evict_all(); /* starts it */
    for (unsigned i = 0; i < 2; i++)
        CHECK_EQ(pthread_create(&t[i], NULL, post, NULL), 0);
    for (unsigned i = 1; i <= 200; i++) {
        __atomic_store_n(&times, i, __ATOMIC_RELAXED);
        za_pager_renew();
    }
    __atomic_store_n(&over, true, __ATOMIC_RELEASE);
    for (unsigned i = 0; i < 2; i++)
        CHECK_EQ(pthread_join(t[i], NULL), 0);
    CHECK(za_stat_get(ZA_STAT_RENEWED) > 0);
    CHECK_EQ(za_stat_get(ZA_STAT_RENEW_FAILED), 0);
    CHECK(za_pager_has_worker());
}
