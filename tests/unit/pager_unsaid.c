/* SPDX-License-Identifier: MIT */
/*
 * pager_unsaid -- a kernel that moves pages and does not say so: nothing is lost by it.
 */
#include <errno.h>

#include "os/os.h"
#include "pager/pager.h"
#include "tests/fake/region.h"
#include "tests/unit/unit.h"

#define PAGES (ZA_CHUNK_SIZE / REGION_PAGE)
#define RUN ((size_t)16)

static struct za_os forgetful;
static uint32_t forgets; /* runs still to be forgotten; atomic */

/* As Linux 6.18 when a page changes under its hands: moved, and then found in the way. */
static int64_t move_and_forget(int fd, void *dst, void *src, size_t len, bool wake)
{
    int64_t r = za_os_linux->uffd_move(fd, dst, src, len, wake);
    uint32_t n = __atomic_load_n(&forgets, __ATOMIC_ACQUIRE);
    if (r <= 0 || !n)
        return r;
    __atomic_store_n(&forgets, n - 1, __ATOMIC_RELEASE);
    return -EEXIST;
}

static void evict(void)
{
    CHECK_EQ(za_pager_evict_all(), 0);
}

static void start_forgetful(void)
{
    if (region_refused())
        UNIT_SKIP("userfaultfd is refused here");
    region_start(2 * ZA_CHUNK_SIZE);
    if (region_remaps())
        UNIT_SKIP("nothing is moved here");
    forgetful = *za_os;
    forgetful.uffd_move = move_and_forget;
    __atomic_store_n(&za_os, &forgetful, __ATOMIC_RELEASE);
}

UNIT_TEST(moved_out_and_forgotten)
{
    start_forgetful();
    region_fill(0, PAGES, 1);
    evict();
    CHECK(region_holds(0, PAGES, 1));
    __atomic_store_n(&forgets, 5, __ATOMIC_RELEASE);
    region_limbo(0, PAGES);
    CHECK_EQ(__atomic_load_n(&forgets, __ATOMIC_ACQUIRE), 0);
    CHECK_EQ(region_present(0, PAGES), 0);
    CHECK(region_holds(0, PAGES, 1));
    region_check();
}

UNIT_TEST(moved_back_and_forgotten)
{
    start_forgetful();
    region_fill(0, PAGES, 1);
    evict();
    CHECK(region_holds(0, PAGES, 1));
    region_limbo(0, PAGES);
    __atomic_store_n(&forgets, 5, __ATOMIC_RELEASE);
    CHECK(region_holds(0, PAGES, 1));
    CHECK_EQ(__atomic_load_n(&forgets, __ATOMIC_ACQUIRE), 0);
    region_check();
}

UNIT_TEST(relocated_and_forgotten)
{
    start_forgetful();
    region_fill(0, 3 * RUN, 1);
    evict();
    CHECK(region_holds(0, 3 * RUN, 1));
    __atomic_store_n(&forgets, 3, __ATOMIC_RELEASE);
    CHECK_EQ(za_pager_relocate((uintptr_t)region_at(0), (uintptr_t)region_at(12 * RUN),
                               3 * RUN * REGION_PAGE),
             0);
    CHECK(__atomic_load_n(&forgets, __ATOMIC_ACQUIRE) < 3);
    __atomic_store_n(&forgets, 0, __ATOMIC_RELEASE);
    CHECK(region_holds_as(12 * RUN, 3 * RUN, 0, 1));
    CHECK(region_zero(0, 3 * RUN));
}
