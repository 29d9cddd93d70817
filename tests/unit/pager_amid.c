/* SPDX-License-Identifier: MIT */
/*
 * pager_amid -- requests of a thread that holds what it would wait for: they are answered, and right.
 */
#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>

#include "base/lock.h"
#include "os/os.h"
#include "pager/pager.h"
#include "pager/private.h"
#include "tests/fake/region.h"
#include "tests/unit/unit.h"

#define PAGES (2 * ZA_CHUNK_SIZE / REGION_PAGE)
#define UNIT REGION_UNIT
#define BYTES (4 * ZA_UNIT_SIZE)

static uintptr_t at(size_t page)
{
    return (uintptr_t)region_at(page);
}

static void start(void)
{
    if (region_refused())
        UNIT_SKIP("userfaultfd is refused here");
    region_start(2 * ZA_CHUNK_SIZE);
    region_fill(0, PAGES, 1);
}

static void evict(void)
{
    CHECK_EQ(za_pager_evict_all(), 0);
}

/* What was dropped is zeros, its neighbours are not, and both go out again and come back. */
static void check_dropped(void)
{
    CHECK(region_holds(0, 4 * UNIT, 1));
    CHECK(region_zero(4 * UNIT, 4 * UNIT));
    CHECK(region_holds(8 * UNIT, 4 * UNIT, 1));
    region_fill(4 * UNIT, 4 * UNIT, 2);
    evict();
    CHECK_EQ(region_present(0, PAGES), 0);
    CHECK(region_holds(4 * UNIT, 4 * UNIT, 2));
    region_check();
}

UNIT_TEST(with_a_request_under_way)
{
    start();
    evict();
    CHECK(!za_pager_amid());
    CHECK(za_mail_hold());
    CHECK(za_pager_amid());
    CHECK_EQ(za_pager_discard(at(4 * UNIT), BYTES), 0);
    za_mail_let_go();
    CHECK(!za_pager_amid());
    check_dropped();
}

UNIT_TEST(with_a_lock_of_the_owner)
{
    struct za_lock l = ZA_LOCK_INIT(ZA_RANK_HEAP);
    start();
    evict();
    CHECK(region_holds(0, PAGES, 1));
    region_limbo(0, PAGES);
    za_lock(&l);
    CHECK_EQ(za_pager_discard(at(4 * UNIT), BYTES), 0);
    za_unlock(&l);
    check_dropped();
}

/* In the window F brings pages back, but their records stay: what is to be gone is cleared. */
UNIT_TEST(in_the_middle_of_a_fork)
{
    start();
    evict();
    za_pager_prefork();
    CHECK(za_pager_amid());
    CHECK_EQ(za_pager_discard(at(4 * UNIT), BYTES), 0);
    CHECK(region_zero(4 * UNIT, 4 * UNIT));
    CHECK_EQ(za_pager_pin(at(8 * UNIT), BYTES, ZA_PIN_CALL), 0);
    CHECK_EQ(region_present(8 * UNIT, 4 * UNIT), 4 * UNIT);
    za_pager_unpin(at(8 * UNIT), BYTES, ZA_PIN_CALL);
    za_pager_postfork_parent();
    CHECK(region_zero(4 * UNIT, 4 * UNIT));
    check_dropped();
}

static bool any_out(size_t page, size_t n)
{
    for (size_t i = page; i < page + n; i++)
        if (za_page_get(&za_pg.pages[i]) != ZA_PAGE_KERNEL)
            return true;
    return false;
}

/* By its record, too: a child would have taken the program's mapping for what is to be undone. */
UNIT_TEST(what_is_mapped_over_amid_a_fork_is_not_out)
{
    start();
    evict();
    za_pager_prefork();
    CHECK_EQ(za_pager_pin(at(4 * UNIT), BYTES, ZA_PIN_FOREIGN), 0);
    void *p = mmap((void *)at(4 * UNIT), BYTES, PROT_READ | PROT_WRITE,
                   MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(p == (void *)at(4 * UNIT));
    za_pager_postfork_parent();
    evict();
    CHECK(!any_out(4 * UNIT, 4 * UNIT));
    CHECK(region_zero(4 * UNIT, 4 * UNIT));
    CHECK(region_holds(0, 4 * UNIT, 1) && region_holds(8 * UNIT, PAGES - 8 * UNIT, 1));
    region_check();
}

UNIT_TEST(a_mark_stays)
{
    start();
    evict();
    CHECK(za_mail_hold());
    CHECK_EQ(za_pager_pin(at(4 * UNIT), BYTES, ZA_PIN_FOREIGN), 0);
    CHECK_EQ(region_present(4 * UNIT, 4 * UNIT), 4 * UNIT);
    za_mail_let_go();
    evict();
    CHECK_EQ(region_present(0, PAGES), 4 * UNIT);
    CHECK(region_holds(0, PAGES, 1));
}

UNIT_TEST(a_call_ends)
{
    start();
    evict();
    CHECK(za_mail_hold());
    for (unsigned i = 0; i < 3; i++)
        CHECK_EQ(za_pager_pin(at(4 * UNIT), BYTES, ZA_PIN_CALL), 0);
    za_mail_let_go();
    evict();
    CHECK_EQ(region_present(0, PAGES), 4 * UNIT);
    CHECK(za_mail_hold());
    for (unsigned i = 0; i < 3; i++)
        za_pager_unpin(at(4 * UNIT), BYTES, ZA_PIN_CALL);
    za_mail_let_go();
    evict();
    CHECK_EQ(region_present(0, PAGES), 0);
    CHECK(region_holds(0, PAGES, 1));
}

/* Its beginning came before there were records to count in. */
UNIT_TEST(a_call_that_was_not_counted_has_no_end)
{
    start();
    evict();
    za_pager_unpin(at(4 * UNIT), BYTES, ZA_PIN_CALL);
    CHECK(region_holds(0, PAGES, 1));
    evict();
    CHECK_EQ(region_present(0, PAGES), 0);
    CHECK_EQ(za_pager_pin(at(4 * UNIT), BYTES, ZA_PIN_CALL), 0);
    za_pager_unpin(at(4 * UNIT), BYTES, ZA_PIN_CALL);
}

/* Nobody can note it, so that nothing goes out at all. */
UNIT_TEST(a_mark_before_the_start_keeps_everything)
{
    start();
    CHECK(za_mail_hold());
    CHECK_EQ(za_pager_pin(at(4 * UNIT), BYTES, ZA_PIN_CALL), -ENOSYS);
    CHECK_EQ(za_pager_pin(at(4 * UNIT), BYTES, ZA_PIN_FOREIGN), 0);
    za_mail_let_go();
    evict();
    CHECK_EQ(region_present(0, PAGES), PAGES);
}

UNIT_TEST(without_a_pager_pages_are_dropped)
{
    start();
    CHECK(za_mail_hold());
    CHECK_EQ(za_pager_discard(at(4 * UNIT), BYTES), 0);
    CHECK_EQ(region_present(4 * UNIT, 4 * UNIT), 0);
    za_mail_let_go();
    check_dropped();
}

static void *sit_on_a_request(void *arg)
{
    (void)arg;
    CHECK(za_mail_hold());
    return NULL;
}

/* By another thread, which never goes on. */
UNIT_TEST(what_is_there_is_dropped_without_a_request)
{
    pthread_t t;
    start();
    evict();
    CHECK(region_holds(0, 12 * UNIT, 1));
    CHECK_EQ(pthread_create(&t, NULL, sit_on_a_request, NULL), 0);
    CHECK_EQ(pthread_join(t, NULL), 0);
    CHECK(!za_pager_amid());
    CHECK_EQ(za_pager_discard_soon(at(4 * UNIT), BYTES), 0);
    CHECK_EQ(region_present(4 * UNIT, 4 * UNIT), 0);
    CHECK(region_zero(4 * UNIT, 4 * UNIT) && region_holds(8 * UNIT, 4 * UNIT, 1));
}

UNIT_TEST(what_is_out_is_asked_for)
{
    start();
    evict();
    CHECK_EQ(za_pager_discard_soon(at(4 * UNIT), BYTES), 0);
    CHECK_EQ(za_stat_get(ZA_STAT_PG_DISCARDED), 4 * UNIT);
    check_dropped();
}

static void give_up_waiting(void)
{
    CHECK_EQ(za_pager_discard(at(4 * UNIT), BYTES), 0);
    CHECK_EQ(za_pager_discard_soon(at(8 * UNIT), BYTES), 0);
    CHECK_EQ(za_pager_pin(at(12 * UNIT), BYTES, ZA_PIN_CALL), 0);
    CHECK_EQ(region_present(12 * UNIT, 4 * UNIT), 4 * UNIT);
    za_pager_unpin(at(12 * UNIT), BYTES, ZA_PIN_CALL);
    CHECK_EQ(za_pager_pin(at(16 * UNIT), BYTES, ZA_PIN_FOREIGN), 0);
    CHECK(!za_pager_amid());
}

static void check_given_up(void)
{
    CHECK(region_zero(4 * UNIT, 8 * UNIT));
    evict();
    CHECK_EQ(region_present(0, PAGES), 4 * UNIT);
    CHECK_EQ(region_present(16 * UNIT, 4 * UNIT), 4 * UNIT);
    CHECK(region_zero(4 * UNIT, 8 * UNIT));
    CHECK(region_holds(0, 4 * UNIT, 1) && region_holds(12 * UNIT, PAGES - 12 * UNIT, 1));
    region_check();
}

static uint32_t waits, go_on; /* atomic */

static void wait_until_told(size_t arg)
{
    (void)arg;
    __atomic_store_n(&waits, 1, __ATOMIC_RELEASE);
    while (!__atomic_load_n(&go_on, __ATOMIC_ACQUIRE))
        za_os->relax();
}

static void *keep_requests(void *arg)
{
    CHECK(za_mail_hold());
    wait_until_told(0);
    za_mail_let_go();
    return arg;
}

static void *keep_worker(void *arg)
{
    region_on_worker(wait_until_told, 0);
    return arg;
}

static void give_up_waiting_for(void *(*other)(void *arg))
{
    pthread_t t;
    start();
    evict();
    CHECK_EQ(pthread_create(&t, NULL, other, NULL), 0);
    while (!__atomic_load_n(&waits, __ATOMIC_ACQUIRE))
        za_os->relax();
    give_up_waiting();
    __atomic_store_n(&go_on, 1, __ATOMIC_RELEASE);
    CHECK_EQ(pthread_join(t, NULL), 0);
    check_given_up();
}

/* Another thread's, which is stopped until this one has what it wants: a collector stops the world. */
UNIT_TEST(a_request_that_is_stopped_is_not_waited_for)
{
    give_up_waiting_for(keep_requests);
}

/* Nor a worker that waits, in the owner's decay, for the lock of a thread which is. */
UNIT_TEST(a_worker_that_waits_for_it_is_not_waited_for)
{
    give_up_waiting_for(keep_worker);
}

static void hold_and_drop(size_t i)
{
    struct za_lock l = ZA_LOCK_INIT(ZA_RANK_HEAP);
    za_lock(&l);
    CHECK_EQ(za_pager_discard(at(i * UNIT), ZA_UNIT_SIZE), 0);
    za_unlock(&l);
    CHECK_EQ(za_pager_discard_soon(at(i * UNIT), ZA_UNIT_SIZE), 0);
}

static void *drop_on(void *arg)
{
    for (size_t i = (size_t)arg; i < PAGES / UNIT; i += 2)
        hold_and_drop(i);
    return NULL;
}

/* Two at once, while W takes out what it can. */
UNIT_TEST(several_at_once)
{
    pthread_t t[2];
    start();
    evict();
    for (size_t i = 0; i < 2; i++)
        CHECK_EQ(pthread_create(&t[i], NULL, drop_on, (void *)i), 0);
    for (unsigned i = 0; i < 5; i++)
        evict();
    for (size_t i = 0; i < 2; i++)
        CHECK_EQ(pthread_join(t[i], NULL), 0);
    CHECK(region_zero(0, PAGES));
    region_fill(0, PAGES, 3);
    evict();
    CHECK_EQ(region_present(0, PAGES), 0);
    CHECK(region_holds(0, PAGES, 3));
    region_check();
}
