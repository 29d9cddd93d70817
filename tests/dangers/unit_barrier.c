/* SPDX-License-Identifier: MIT */
/*
 * unit_barrier -- stores of other threads that are on their way: a processor may show them to the
 * worker only at its barrier, and what they say is alive must not be zeroed (page.h I7).
 *
 * No luck is needed: here the owner's marks are shown at the barrier and not before.
 */
#include "os/os.h"
#include "pager/pager.h"
#include "tests/fake/region.h"
#include "tests/unit/unit.h"

#define PAGES 64u

static bool shown; /* W only */

static int pass_barrier(void)
{
    shown = true;
    return za_os_linux->sync_threads();
}

/* All is alive; half of it was born just before the page went out. */
static void live(size_t page, uint64_t mask[REGION_GRANULES / 64])
{
    (void)page;
    for (unsigned i = 0; i < REGION_GRANULES / 64; i++)
        mask[i] = shown ? UINT64_MAX : 0x5555555555555555ull;
}

UNIT_TEST(late_stores_are_alive)
{
    static struct za_os os;
    if (region_refused())
        UNIT_SKIP("userfaultfd is refused here");
    os = *za_os_linux;
    os.sync_threads = pass_barrier;
    za_os = &os;
    region_start(ZA_CHUNK_SIZE);
    region_live(live);
    region_fill(0, PAGES, 7);
    CHECK_EQ(za_pager_evict_all(), 0);
    CHECK_EQ(region_present(0, PAGES), 0);
    CHECK(region_holds(0, PAGES, 7));
}
