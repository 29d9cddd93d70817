/* SPDX-License-Identifier: MIT */
/*
 * pager_fork -- a child finds every byte where its parent had it, in every state a page may be in,
 * whoever goes on writing, evicting or dying (D1, D3).
 *
 * Over 600 lines because all of them share one start: pages of every kind, and how to verify them.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/os.h"
#include "pager/pager.h"
#include "pager/private.h"
#include "pager/state.h"
#include "tests/fake/region.h"
#include "tests/unit/unit.h"

#define UNIT REGION_UNIT
#define STORED ((size_t)0) /* where the pages of each kind begin */
#define RESIDENT (32 * UNIT)
#define LIMBO (36 * UNIT)
#define RAW (40 * UNIT)
#define HOLES (42 * UNIT)
#define END (44 * UNIT)

/* Pages of all kinds, all with stamp 1 but RAW. */
static void start(void)
{
    if (region_forks_confuse())
        UNIT_SKIP("ThreadSanitizer cannot follow a fork of several threads");
    if (region_refused())
        UNIT_SKIP("userfaultfd is refused here");
    region_start(ZA_CHUNK_SIZE);
    region_fill(0, RAW, 1);
    CHECK_EQ(za_pager_evict_all(), 0);
    region_fill(RESIDENT, RAW - RESIDENT, 1);
    region_fill_random(RAW, HOLES - RAW);
    region_limbo(LIMBO, RAW - LIMBO);
}

static void verify(uint32_t stamp)
{
    CHECK(region_holds(STORED, RAW, stamp));
    CHECK(region_holds_random(RAW, HOLES - RAW));
    CHECK(region_zero(HOLES, END - HOLES));
}

static void reap(pid_t pid)
{
    int status;

    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}

static pid_t fork_and_verify(void)
{
    pid_t pid = region_fork();

    CHECK(pid >= 0);
    if (pid == 0) {
        verify(1);
        _exit(0);
    }
    return pid;
}

UNIT_TEST(a_child_finds_everything)
{
    start();
    reap(fork_and_verify());
    CHECK_EQ(za_stat_get(ZA_STAT_FORKS), 1);
    verify(1);
}

/* F notes a page before it brings it back; a child may be made in between. */
UNIT_TEST(what_was_about_to_come_back_is_out)
{
    start();
    za_windowed_add((size_t)(region_at(STORED + 5) - region_at(0)) / REGION_PAGE);
    za_windowed_add((size_t)(region_at(LIMBO + 5) - region_at(0)) / REGION_PAGE);
    pid_t pid = region_fork();
    if (pid == 0) {
        za_pager_stats(); /* W has put right what it thought was wrong */
        verify(1);
        _exit(0);
    }
    reap(pid);
}

static void *pins_for_ever(void *done)
{
    CHECK_EQ(za_pager_pin((uintptr_t)region_at(STORED), REGION_UNIT * REGION_PAGE, ZA_PIN_CALL), 0);
    __atomic_store_n((int *)done, 1, __ATOMIC_RELEASE);
    for (;;)
        pause();
    return NULL;
}

/* How many of the first unit's pages a child keeps when everything is to go. */
static void child_keeps(size_t n)
{
    pid_t pid = region_fork();
    if (pid == 0) {
        region_fill(STORED, UNIT, 1); /* what it has in common with its parent cannot go */
        CHECK_EQ(za_pager_evict_all(), 0);
        CHECK_EQ(region_present(STORED, UNIT), n);
        verify(1);
        _exit(0);
    }
    reap(pid);
}

UNIT_TEST(a_call_of_another_thread_pins_nothing_in_a_child)
{
    pthread_t t;
    int done = 0;

    start();
    CHECK_EQ(pthread_create(&t, NULL, pins_for_ever, &done), 0);
    while (!__atomic_load_n(&done, __ATOMIC_ACQUIRE))
        region_sleep_ms(1);
    CHECK_EQ(za_pager_evict_all(), 0);
    CHECK_EQ(region_present(STORED, UNIT), UNIT);
    child_keeps(0);
}

/* As from a signal handler: the call goes on in the child. */
UNIT_TEST(a_call_of_the_forking_thread_pins_in_the_child_too)
{
    start();
    CHECK_EQ(za_pager_pin((uintptr_t)region_at(STORED), REGION_UNIT * REGION_PAGE, ZA_PIN_CALL), 0);
    child_keeps(UNIT);
    za_pager_unpin((uintptr_t)region_at(STORED), REGION_UNIT * REGION_PAGE, ZA_PIN_CALL);
    child_keeps(0);
}

/* Stored and limbo pages stay out in the parent while the child brings its own back. */
UNIT_TEST(the_parent_is_not_disturbed)
{
    start();
    reap(fork_and_verify());
    CHECK_EQ(region_present(STORED, RESIDENT), 0);
    za_pager_stats();
    CHECK_EQ(za_stat_get(ZA_STAT_PG_STORED), RESIDENT);
    CHECK_EQ(za_stat_get(ZA_STAT_PG_LIMBO), RAW - LIMBO);
    verify(1);
}

UNIT_TEST(the_parent_goes_on_writing_and_evicting)
{
    start();
    pid_t pid = fork_and_verify();
    for (uint32_t stamp = 2; stamp < 6; stamp++) {
        region_fill(STORED, RAW, stamp);
        CHECK_EQ(za_pager_evict_all(), 0);
        verify(stamp);
    }
    reap(pid);
    verify(5);
}

UNIT_TEST(many_children_at_once)
{
    pid_t pid[8];

    start();
    for (int i = 0; i < 8; i++) {
        pid[i] = fork_and_verify();
        CHECK_EQ(za_pager_evict_all(), 0);
    }
    for (int i = 0; i < 8; i++)
        reap(pid[i]);
    verify(1);
}

/* Nobody who died left anything behind that would hinder the next. */
UNIT_TEST(one_child_after_the_other)
{
    start();
    for (int i = 0; i < 20; i++)
        reap(fork_and_verify());
    CHECK_EQ(za_stat_get(ZA_STAT_FORKS), 20);
    CHECK_EQ(za_pager_evict_all(), 0);
    verify(1);
}

/* The child tells through a pipe, since nobody can wait for it when its parent is gone. */
static void orphan(int out, int parent_gone)
{
    char byte;

    CHECK_EQ(read(parent_gone, &byte, 1), 0); /* its end is closed when it is dead */
    verify(1);
    CHECK_EQ(write(out, "v", 1), 1);
    region_fill(0, RAW, 7);
    CHECK_EQ(za_pager_evict_all(), 0);
    verify(7);
    CHECK_EQ(write(out, "e", 1), 1);
    _exit(0);
}

UNIT_TEST(the_parent_exits_first)
{
    int result[2], life[2];
    char bytes[3];

    start();
    CHECK_EQ(pipe(result), 0);
    pid_t pid = region_fork();
    if (pid == 0) {
        CHECK_EQ(pipe(life), 0);
        if (region_fork() == 0) {
            close(life[1]);
            orphan(result[1], life[0]);
        }
        _exit(0);
    }
    close(result[1]);
    reap(pid);
    CHECK_EQ(read(result[0], bytes, 1), 1);
    CHECK_EQ(read(result[0], bytes + 1, 1), 1);
    CHECK_EQ(read(result[0], bytes + 2, 1), 0);
    CHECK_EQ(memcmp(bytes, "ve", 2), 0);
}

UNIT_TEST(grandchildren)
{
    start();
    pid_t pid = region_fork();
    if (pid == 0) {
        pid_t grandchild = region_fork();
        if (grandchild == 0) {
            reap(fork_and_verify());
            verify(1);
            _exit(0);
        }
        reap(grandchild);
        verify(1);
        _exit(0);
    }
    reap(pid);
    verify(1);
}

/* A child with a pager of its own: evicts, is served, forks again. */
static void live_on(void)
{
    verify(1);
    region_fill(0, RESIDENT, 2);
    CHECK_EQ(za_pager_evict_all(), 0);
    CHECK_EQ(region_present(0, RESIDENT), 0);
    CHECK(region_holds(0, RESIDENT, 2));
    CHECK(region_holds(RESIDENT, RAW - RESIDENT, 1));
    region_fill(RESIDENT, RAW - RESIDENT, 2);
    CHECK_EQ(za_pager_evict_all(), 0);
    pid_t pid = region_fork();
    if (pid == 0) {
        verify(2);
        _exit(0);
    }
    reap(pid);
    verify(2);
    region_check();
}

UNIT_TEST(a_child_lives_on)
{
    start();
    pid_t pid = region_fork();
    if (pid == 0) {
        live_on();
        _exit(0);
    }
    reap(pid);
    verify(1);
}

static size_t came(size_t page)
{
    za_fault_quiesce(); /* the others come a moment later */
    return region_present(page, za_pg.cluster_pages);
}

/*
 * What the parent has too comes back page by page, its group with the second one; what the child has
 * packed itself comes in groups.
 */
static void shares_on(void)
{
    size_t group = za_pg.cluster_pages;
    CHECK(region_holds(STORED, 1, 1));
    CHECK_EQ(came(STORED), 1);
    CHECK(region_holds(STORED + group, 1, 1));
    CHECK_EQ(came(STORED + group), 1);
    CHECK(region_holds(STORED + group + 1, 1, 1));
    CHECK_EQ(came(STORED + group), group);
    CHECK_EQ(za_pager_dense_all(), 0);
    CHECK_EQ(za_stat_get(ZA_STAT_PG_DENSE), 0);
    region_fill(STORED + 8 * UNIT, UNIT, 2);
    CHECK_EQ(za_pager_evict_all(), 0);
    CHECK(region_holds(STORED + 8 * UNIT, 1, 2));
    CHECK_EQ(came(STORED + 8 * UNIT), group);
    region_fill(STORED + 8 * UNIT, UNIT, 1);
    verify(1);
    region_check();
}

UNIT_TEST(a_child_shares_on_what_is_stored)
{
    start();
    pid_t pid = region_fork();
    if (pid == 0) {
        shares_on();
        _exit(0);
    }
    reap(pid);
    verify(1);
}

/* Then nobody has it but the child, which packs it as it packs its own. */
static void own_at_last(int out, int life)
{
    char byte;
    struct za_blob_view v;
    CHECK(region_holds(STORED + UNIT, 1, 1));
    CHECK_EQ(read(life, &byte, 1), 0); /* its parent is gone, or about to be */
    bool theirs = true;
    while (theirs) {
        (void)za_pager_evict_all(); /* a turn */
        za_page r = za_page_get(&za_pg.pages[STORED]);
        CHECK_EQ(za_page_state(r), ZA_PAGE_STORED);
        theirs = za_store_get(za_pg.store, za_page_blob(r), &v) &&
                 za_store_inherited(za_pg.store, v.place);
    }
    verify(1);
    CHECK_EQ(write(out, "o", 1), 1);
    _exit(0);
}

UNIT_TEST(a_child_whose_parent_is_gone_has_its_own)
{
    int result[2], life[2];
    char byte;

    start();
    CHECK_EQ(pipe(result), 0);
    pid_t pid = region_fork();
    if (pid == 0) {
        CHECK_EQ(pipe(life), 0);
        if (region_fork() == 0) {
            close(life[1]);
            own_at_last(result[1], life[0]);
        }
        _exit(0);
    }
    close(result[1]);
    reap(pid);
    CHECK_EQ(read(result[0], &byte, 1), 1);
    CHECK_EQ(byte, 'o');
    verify(1);
}

/* A child that evicts at once, before it has touched anything. */
UNIT_TEST(a_child_evicts_first)
{
    start();
    pid_t pid = region_fork();
    if (pid == 0) {
        CHECK_EQ(za_pager_evict_all(), 0);
        CHECK_EQ(za_pager_discard((uintptr_t)region_at(0), UNIT * REGION_PAGE), 0);
        CHECK(region_zero(0, UNIT));
        CHECK(region_holds(UNIT, RAW - UNIT, 1));
        CHECK_EQ(za_pager_thaw(), 0);
        _exit(0);
    }
    reap(pid);
    verify(1);
}

/* Threads that are slow to get going: what is asked of them is there before they look. */
static void (*late_fn)(void *);
static void *late_arg;

static void late_main(void *unused)
{
    (void)unused;
    region_sleep_ms(100);
    late_fn(late_arg);
}

static int start_late(void (*fn)(void *), void *arg, const char *name, bool share_files)
{
    late_fn = fn;
    late_arg = arg;
    return za_os_linux->thread_start(late_main, NULL, name, share_files);
}

static void threads_are_late(void)
{
    static struct za_os late;

    late = *za_os;
    late.thread_start = start_late;
    za_os = &late;
}

/*
 * What was restored while the fork was under way and written since is what counts, whatever the
 * record still says: also for the first thing that a child's worker is asked to do.
 */
UNIT_TEST(a_child_moves_a_block_first)
{
    start();
    za_pager_prefork();
    pid_t pid = fork();
    if (pid == 0) {
        if (za_pg.caps.event_fork)
            region_fill(STORED, UNIT, 2);
        za_pager_postfork_child();
        threads_are_late();
        CHECK_EQ(za_pager_relocate((uintptr_t)region_at(STORED), (uintptr_t)region_at(END),
                                   UNIT * REGION_PAGE),
                 0);
        CHECK(region_holds_as(END, UNIT, STORED, za_pg.caps.event_fork ? 2 : 1));
        CHECK(region_zero(STORED, UNIT));
        _exit(0);
    }
    za_pager_postfork_parent();
    reap(pid);
    verify(1);
}

static int no_userfaultfd(struct za_uffd_caps *caps)
{
    (void)caps;
    return -EPERM;
}

/* Its parent gives it up and fills it; it may not open a userfaultfd, and needs none. */
UNIT_TEST(a_child_that_was_held_up_and_may_open_nothing)
{
    static struct za_os poor;

    start();
    if (!za_pg.caps.event_fork)
        UNIT_SKIP("children are not announced here");
    za_pager_prefork();
    pid_t pid = fork();
    if (pid == 0) {
        poor = *za_os;
        poor.uffd_open = no_userfaultfd;
        za_os = &poor;
        region_sleep_ms(1500); /* longer than F's patience */
        za_pager_postfork_child();
        verify(1);
        region_fill(0, RAW, 7);
        (void)za_pager_evict_all();
        verify(7);
        _exit(0);
    }
    za_pager_postfork_parent();
    verify(1);
    reap(pid);
}

/* No socket to be had, and every page that is given to a child takes its time. */
static int no_socketpair(int fds[2])
{
    (void)fds;
    return -EMFILE;
}

static int64_t copy_slowly(int fd, void *dst, const void *src, size_t len, bool wake)
{
    if (fd != za_pg.uffd)
        region_sleep_ms(1);
    return za_os_linux->uffd_copy(fd, dst, src, len, wake);
}

static void children_are_filled_slowly(void)
{
    static struct za_os slow;

    slow = *za_os;
    slow.socketpair = no_socketpair;
    slow.uffd_copy = copy_slowly;
    za_os = &slow;
}

/* What a child gives up while its parent's fault thread is still filling it stays given up. */
UNIT_TEST(a_child_that_is_filled_discards_first)
{
    start();
    if (!za_pg.caps.event_fork)
        UNIT_SKIP("children are not announced here");
    children_are_filled_slowly();
    pid_t pid = region_fork();
    if (pid == 0) {
        CHECK_EQ(za_pager_discard((uintptr_t)region_at(STORED), UNIT * REGION_PAGE), 0);
        region_sleep_ms(200); /* without the wait the parent is busy with it all this time */
        CHECK(region_zero(STORED, UNIT));
        CHECK(region_holds(UNIT, RAW - UNIT, 1));
        _exit(0);
    }
    reap(pid);
    verify(1);
}

/* Pages that a dead child shared are made exclusive again and go out (D3). */
UNIT_TEST(shared_pages_go_out_later)
{
    start();
    CHECK_EQ(za_pager_thaw(), 0);
    reap(fork_and_verify());
    CHECK_EQ(za_pager_evict_all(), 0);
    CHECK_EQ(region_present(0, RAW), 0);
    CHECK(region_remaps() || za_stat_get(ZA_STAT_PG_UNSHARED) >= RAW);
    verify(1);
}

/* While the child lives its pages are left alone: evicting them would save nothing. */
UNIT_TEST(shared_pages_stay_while_the_child_lives)
{
    int go[2];
    char byte;

    start();
    CHECK_EQ(za_pager_thaw(), 0);
    CHECK_EQ(pipe(go), 0);
    pid_t pid = region_fork();
    if (pid == 0) {
        close(go[1]);
        CHECK_EQ(read(go[0], &byte, 1), 0);
        verify(1);
        _exit(0);
    }
    CHECK_EQ(za_pager_evict_all(), 0);
    CHECK_EQ(region_present(0, RAW), RAW);
    CHECK(za_stat_get(ZA_STAT_PG_REFUSED_BUSY) >= RAW);
    verify(1);
    close(go[1]);
    reap(pid);
}

/* System calls of the child are served as its own accesses are. */
UNIT_TEST(a_child_writes_from_stored_memory)
{
    start();
    pid_t pid = region_fork();
    if (pid == 0) {
        int fd = memfd_create("copy", MFD_CLOEXEC);
        CHECK_EQ(write(fd, region_at(0), END * REGION_PAGE), END * REGION_PAGE);
        verify(1);
        _exit(0);
    }
    reap(pid);
}

/* The program's descriptors are the same before and after, in parent and child (P3). */
static unsigned open_files(void)
{
    unsigned n = 0;

    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

UNIT_TEST(no_descriptor_is_left)
{
    start();
    unsigned before = open_files();
    pid_t pid = region_fork();
    if (pid == 0) {
        CHECK_EQ(open_files(), before);
        verify(1);
        _exit(0);
    }
    CHECK_EQ(open_files(), before);
    reap(pid);
}

/* The child closes everything it has (D4). */
UNIT_TEST(a_child_closes_everything)
{
    int result[2];
    char byte;

    start();
    CHECK_EQ(pipe(result), 0);
    pid_t pid = region_fork();
    if (pid == 0) {
        for (int fd = 0; fd < 256; fd++)
            if (fd != result[1])
                close(fd);
        verify(1);
        CHECK_EQ(write(result[1], "v", 1), 1);
        _exit(0);
    }
    close(result[1]);
    CHECK_EQ(read(result[0], &byte, 1), 1);
    reap(pid);
}

/* fork refused by the kernel: prepared, and nobody came. */
UNIT_TEST(a_fork_that_fails)
{
    start();
    for (int i = 0; i < 3; i++) {
        za_pager_prefork();
        za_pager_postfork_parent();
    }
    CHECK_EQ(za_pager_evict_all(), 0);
    verify(1);
    reap(fork_and_verify());
}

/* Faults of other threads during the fork are served all the same. */
static uint32_t stop, reading;

static void *read_on(void *arg)
{
    (void)arg;
    __atomic_store_n(&reading, 1, __ATOMIC_RELEASE);
    while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE))
        verify(1);
    return NULL;
}

UNIT_TEST(other_threads_read_on)
{
    pthread_t t;

    start();
    CHECK_EQ(pthread_create(&t, NULL, read_on, NULL), 0);
    /* A sanitizer's runtime that is still setting the thread up holds locks the child would keep. */
    while (!__atomic_load_n(&reading, __ATOMIC_ACQUIRE))
        region_sleep_ms(1);
    for (int i = 0; i < 12; i++) {
        pid_t pid = fork_and_verify();
        CHECK_EQ(za_pager_evict_all(), 0);
        reap(pid);
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
    pthread_join(t, NULL);
    verify(1);
    region_check();
}

/* --- without our handlers --- */

static pid_t fork_bare_and_verify(void)
{
    pid_t pid = region_fork_bare();

    CHECK(pid >= 0);
    if (pid == 0) {
        verify(1);
        _exit(0);
    }
    return pid;
}

UNIT_TEST(a_bare_child_finds_everything)
{
    start();
    reap(fork_bare_and_verify());
    CHECK_EQ(za_stat_get(ZA_STAT_FORKS_BARE), 1);
    verify(1);
}

UNIT_TEST(a_bare_child_while_the_parent_writes)
{
    start();
    pid_t pid = fork_bare_and_verify();
    for (uint32_t stamp = 2; stamp < 5; stamp++) {
        region_fill(STORED, RAW, stamp);
        CHECK_EQ(za_pager_evict_all(), 0);
    }
    verify(4);
    reap(pid);
}

/* Its pager starts anew when it is next asked for something. */
UNIT_TEST(a_bare_child_lives_on)
{
    start();
    pid_t pid = region_fork_bare();
    if (pid == 0) {
        verify(1);
        (void)za_pager_evict_all(); /* finds out */
        CHECK_EQ(za_pager_evict_all(), 0);
        CHECK_STR(za_pager_backend(), region_remaps() ? "remap" : "move");
        CHECK(region_present(0, RESIDENT) < RESIDENT);
        verify(1);
        pid_t grandchild = fork_and_verify();
        verify(1);
        reap(grandchild);
        _exit(0);
    }
    reap(pid);
    verify(1);
}

UNIT_TEST(a_bare_child_forks_with_handlers)
{
    start();
    pid_t pid = region_fork_bare();
    if (pid == 0) {
        reap(fork_and_verify());
        verify(1);
        _exit(0);
    }
    reap(pid);
}

/* The grandchild is born while its parent is still being given its pages. */
UNIT_TEST(bare_forks_in_quick_succession)
{
    start();
    for (int i = 0; i < 20; i++) {
        pid_t pid = region_fork_bare();
        if (pid == 0) {
            reap(fork_bare_and_verify());
            verify(1);
            _exit(0);
        }
        reap(pid);
    }
    verify(1);
}

/*
 * A child of posix_spawn shares our memory, and the kernel reads its arguments there: the parent's
 * fault thread serves both (P2).
 */
UNIT_TEST(spawned_programs_get_stored_arguments)
{
    char shell[] = "/bin/sh", option[] = "-c", *none[] = {NULL};
    pid_t pid;
    int status;

    start();
    char *argv[] = {shell, option, region_at(0), NULL};
    memcpy(region_at(0), "exit 7", 7);
    CHECK_EQ(za_pager_evict_all(), 0);
    CHECK_EQ(region_present(0, 1), 0);
    CHECK_EQ(posix_spawn(&pid, shell, NULL, NULL, argv, none), 0);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), 7);
    CHECK(region_holds(1, RAW - 1, 1));
}
