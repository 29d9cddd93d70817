/* SPDX-License-Identifier: MIT */
/*
 * unit_events -- while a child is announced and not yet heard of, the kernel refuses to put a page
 * anywhere: the fault thread, which has just begun to restore one, must hear of the child first.
 *
 * No luck is needed: here the restore begins when the fork has, and goes on when the kernel
 * refuses.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pager/private.h"
#include "tests/fake/region.h"
#include "tests/unit/unit.h"

#define PAGES 64u
#define PATIENCE_NS (10 * ZA_NS_PER_S)

enum { EARLY, RESTORING, REFUSED };

static uint32_t stage; /* atomic */

static void become(uint32_t next)
{
    __atomic_store_n(&stage, next, __ATOMIC_SEQ_CST);
}

static bool is(uint32_t what)
{
    return __atomic_load_n(&stage, __ATOMIC_SEQ_CST) == what;
}

/* Called by the fault thread, which has no libc. */
static int64_t copy_late(int fd, void *dst, const void *src, size_t len, bool wake)
{
    uint64_t limit = za_os_linux->now() + PATIENCE_NS;
    if (len > 0 && is(EARLY)) {
        become(RESTORING);
        while (is(RESTORING) && za_os_linux->now() < limit)
            if (za_os_linux->uffd_copy(fd, dst, dst, 0, false) == -EAGAIN)
                become(REFUSED);
    }
    return za_os_linux->uffd_copy(fd, dst, src, len, wake);
}

static void *make_child(void *arg)
{
    int *status = arg;
    while (!is(RESTORING))
        region_sleep_ms(1);
    pid_t pid = region_fork_bare();
    if (pid == 0)
        _exit(!region_holds(0, PAGES, 7));
    if (pid < 0 || waitpid(pid, status, 0) != pid)
        *status = -1;
    return NULL;
}

UNIT_TEST(a_child_is_heard_of_amid_a_restore)
{
    static struct za_os os;
    pthread_t t;
    int status = -1;
    if (region_refused())
        UNIT_SKIP("userfaultfd is refused here");
    os = *za_os_linux;
    os.uffd_copy = copy_late;
    za_os = &os;
    region_start(ZA_CHUNK_SIZE);
    region_fill(0, PAGES, 7);
    become(REFUSED); /* what comes before is of no interest */
    CHECK_EQ(za_pager_evict_all(), 0);
    CHECK_EQ(region_present(0, PAGES), 0);
    if (!za_pg.caps.event_fork)
        UNIT_SKIP("children are not announced here");
    become(EARLY);
    CHECK_EQ(pthread_create(&t, NULL, make_child, &status), 0);
    CHECK(region_holds(0, PAGES, 7));
    CHECK_EQ(pthread_join(t, NULL), 0);
    CHECK(is(REFUSED));
    CHECK_EQ(status, 0);
}
