/* SPDX-License-Identifier: MIT */
/*
 * pager_calls -- one scenario through the whole pager, in which one call of the operating system
 * fails: the 1st, 2nd, 3rd ... of its kind, once or from then on, until a run makes fewer calls.
 *
 * A run ends well when every byte was verified, or, where the pager's source says so, in one clean
 * line.  Wrong bytes, a hang, a crash, a refusal that no counter tells of, and a pager that does
 * not recover from a failure that is over, are failures.
 *
 * Among many calls of one kind the steps from k to the next grow with k: what differs between
 * neighbours late in a run is which of many equal pages they concern.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/conf.h"
#include "os/os.h"
#include "pager/pager.h"
#include "tests/fake/failing.h"
#include "tests/fake/region.h"
#include "tests/unit/unit.h"

#define UNIT REGION_UNIT
#define PAGES (6 * UNIT) /* with contents that compress; behind them one unit of noise */
#define NOISE PAGES
#define FAR (20 * UNIT)  /* where a block is relocated to */
#define COPY (30 * UNIT) /* of the first unit: its pages share blobs */
#define HANG_S 60        /* on however busy a machine */
#define DIED 3           /* exit status: a forked child ended with a line of ours */
#define OUTPUT_MAX 2048

/* Lines in which a run may end. */
#define FORK_NO_UFFD "zalloc: fork: the child could neither take over its userfaultfd nor open one"
#define FORK_NO_THREAD "zalloc: fork: no thread can be started in the child"
#define FORK_NO_CHILD "zalloc: fork: the child "
#define UNREADABLE "zalloc: a page cannot be read back from the file tier"
#define REALLOC_STUCK "zalloc: realloc: the kernel neither moves nor copies a page of the block"

/* --- the scenario -------------------------------------------------------- */

static void verify(uint32_t stamp)
{
    CHECK(region_holds(0, PAGES, stamp));
    CHECK(region_holds_random(NOISE, UNIT));
    CHECK(region_holds_as(COPY, UNIT, 0, 1));
}

/* Everything the pager counts when it does not do what it was asked for. */
static uint64_t refusals(void)
{
    return za_stat_get(ZA_STAT_PG_REFUSED_BUSY) + za_stat_get(ZA_STAT_PG_REFUSED_LOCKED) +
           za_stat_get(ZA_STAT_PG_REFUSED_NOMEM) + za_stat_get(ZA_STAT_PG_REFUSED_OTHER) +
           za_stat_get(ZA_STAT_PG_REG_FAILED) + za_stat_get(ZA_STAT_ST_NOMEM) +
           za_stat_get(ZA_STAT_PG_HELD);
}

static bool filing; /* with a file tier, into which everything goes that is taken out */

static void evict(void)
{
    int r = filing ? za_pager_file_all() : za_pager_evict_all();

    if (r < 0) {
        CHECK_EQ(r, -ENOSYS);
        CHECK_STR(za_pager_backend(), "none");
        CHECK(za_pager_why_none() != NULL);
    } else if (region_present(0, PAGES) > 0) {
        CHECK(refusals() > 0);
    }
}

static void discard(void)
{
    int r = za_pager_discard((uintptr_t)region_at(3), 10 * REGION_PAGE);

    if (r == 0)
        CHECK(region_zero(3, 10));
    CHECK(region_holds(0, 3, 1));
    region_fill(3, 10, 1);
}

static void relocate(void)
{
    int r = za_pager_relocate((uintptr_t)region_at(UNIT + 1), (uintptr_t)region_at(FAR),
                              2 * UNIT * REGION_PAGE);

    if (r == 0) {
        CHECK(region_holds_as(FAR, 2 * UNIT, UNIT + 1, 1));
        CHECK(region_zero(UNIT + 1, 2 * UNIT));
        region_fill(UNIT + 1, 2 * UNIT, 1);
    }
    verify(1);
}

static void limbo(void)
{
    if (za_pager_active())
        region_limbo(2 * UNIT, 2 * UNIT);
}

static void child(void)
{
    verify(1);
    region_fill(0, UNIT, 2);
    evict();
    CHECK(region_holds(0, UNIT, 2));
    CHECK(region_holds(UNIT, PAGES - UNIT, 1));
    exit(0);
}

static void fork_and_verify(void)
{
    int status;
    int pid = region_fork();

    CHECK(pid >= 0);
    if (pid == 0)
        child();
    region_fill(PAGES - UNIT, UNIT, 1);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT)
        _exit(DIED);
    CHECK_EQ(status, 0);
}

static bool heals = true; /* what failed works again when it no longer fails */

/* The failure is over: whoever is not without a back-end works as if nothing had been. */
static void recover(void)
{
    failing_disarm();
    int r = za_pager_evict_all();
    if (r == 0 && heals)
        CHECK_EQ(region_present(0, PAGES), 0);
    else if (r < 0)
        CHECK(za_pager_why_none() != NULL);
    verify(1);
    if (za_pager_active()) {
        CHECK_EQ(za_pager_thaw(), 0);
        CHECK_EQ(za_stat_get(ZA_STAT_PG_STORED) + za_stat_get(ZA_STAT_PG_LIMBO), 0);
        region_check();
    }
}

static void scenario(void)
{
    region_fill(0, PAGES, 1);
    region_fill_random(NOISE, UNIT);
    memcpy(region_at(COPY), region_at(0), UNIT * REGION_PAGE);
    evict();
    verify(1);
    evict();
    limbo();
    discard();
    evict();
    limbo();
    relocate();
    evict();
    limbo();
    fork_and_verify();
    evict();
    verify(1);
    (void)za_pager_thaw();
    za_pager_stats();
    verify(1);
    recover();
}

/* --- one run ------------------------------------------------------------- */

static char said[OUTPUT_MAX];

static int run(enum failing_call call, unsigned k, bool forever, int err)
{
    int status, out = memfd_create("stderr", MFD_CLOEXEC);

    failing_arm(call, k, forever, err);
    int pid = fork();
    if (pid == 0) {
        setpgid(0, 0);
        dup2(out, 2);
        za_conf.dedup = ZA_DEDUP_CONTENT;
        if (filing)
            strcpy(za_conf.file, access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
        region_start(ZA_CHUNK_SIZE);
        alarm(HANG_S);
        scenario();
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    kill(-pid, SIGKILL); /* children of a run that hung */
    ssize_t n = pread(out, said, sizeof(said) - 1, 0);
    said[n > 0 ? n : 0] = 0;
    close(out);
    return status;
}

static bool one_line(const char *begins)
{
    const char *end = strchr(said, '\n');

    return begins && strncmp(said, begins, strlen(begins)) == 0 && end && end[1] == 0;
}

static bool begins(const char *s, const char *with)
{
    return strncmp(s, with, strlen(with)) == 0;
}

/*
 * Silence, or what a forced back-end, or a file tier, says when it is not to be had; one line for
 * each process.
 */
static bool modest(void)
{
    const char *s = said;
    while ((begins(s, "zalloc: backend:") || begins(s, "zalloc: file: cannot be used")) &&
           strchr(s, '\n'))
        s = strchr(s, '\n') + 1;
    return *s == 0;
}

static bool good(int status, const char *dies)
{
    if (status == 0)
        return modest();
    bool died = (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT) ||
                (WIFEXITED(status) && WEXITSTATUS(status) == DIED);
    return died && one_line(dies);
}

static unsigned bad;

static void judge(enum failing_call call, unsigned k, bool forever, int err, const char *dies)
{
    int status = run(call, k, forever, err);

    if (good(status, dies))
        return;
    bad++;
    dprintf(2, "%s: call %u%s failing with %s: %s %d\n%s", failing_name(call), k,
            forever ? " and all after it" : "", za_os_errname(err),
            WIFSIGNALED(status) ? "signal" : "exit status",
            WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), said);
}

enum { ONCE = 1, FOREVER = 2, BOTH = 3 };

/* k = 1, 2, 3 ... until a run does not come to a k-th call. */
static void sweep(enum failing_call call, int err, unsigned how, const char *dies)
{
    if (region_refused())
        UNIT_SKIP("userfaultfd is refused here");
    failing_start();
    for (unsigned mode = ONCE; mode <= FOREVER; mode *= 2) {
        unsigned calls = UINT32_MAX;
        for (unsigned k = 1; (how & mode) && k <= calls && bad < 4; k += 1 + k / 8) {
            alarm(4 * HANG_S);
            judge(call, k, mode == FOREVER, err, dies);
            calls = failing_calls(call);
        }
    }
    CHECK_EQ(bad, 0);
}

UNIT_TEST(nothing_fails)
{
    if (region_refused())
        UNIT_SKIP("userfaultfd is refused here");
    failing_start();
    judge(FAILING_MAX, 0, false, 0, NULL);
    CHECK_EQ(bad, 0);
}

#define SWEEP(name, err, how, dies) \
    UNIT_TEST(name##_##err) \
    { \
        sweep(FAILING_##name, err, how, dies); \
    }

SWEEP(reserve, ENOMEM, BOTH, NULL)
SWEEP(map, ENOMEM, BOTH, NULL)
SWEEP(unmap, ENOMEM, BOTH, NULL)
SWEEP(commit, ENOMEM, BOTH, NULL)
SWEEP(decommit, ENOMEM, BOTH, NULL)
SWEEP(purge, EINVAL, ONCE, REALLOC_STUCK)
SWEEP(populate, ENOMEM, BOTH, NULL)
SWEEP(remap, ENOMEM, BOTH, NULL)
SWEEP(ordinary, EFAULT, BOTH, NULL)
SWEEP(ordinary, EBUSY, BOTH, NULL)
SWEEP(carry_off, ENOMEM, BOTH, NULL)
SWEEP(reserve_again, ENOMEM, BOTH, NULL)
SWEEP(held, EACCES, BOTH, NULL)
SWEEP(pagemap, EPERM, BOTH, NULL)
SWEEP(present, ENOMEM, BOTH, NULL)
SWEEP(resident, ENOMEM, BOTH, NULL)
SWEEP(wait, EINTR, ONCE, NULL)
SWEEP(rehearse, EPERM, BOTH, NULL)
SWEEP(thread_start, EAGAIN, BOTH, FORK_NO_THREAD)
SWEEP(private_files, ENOMEM, BOTH, FORK_NO_UFFD)
SWEEP(sync_threads, ENOSYS, BOTH, NULL)
SWEEP(uffd_open, EPERM, BOTH, FORK_NO_UFFD)
SWEEP(uffd_register, ENOMEM, BOTH, FORK_NO_UFFD)
SWEEP(uffd_unregister, ENOMEM, BOTH, NULL)
SWEEP(uffd_move, EAGAIN, ONCE, NULL)
SWEEP(uffd_move, ENOMEM, ONCE, NULL)
SWEEP(uffd_move, EBUSY, BOTH, NULL)
SWEEP(uffd_move, EINVAL, BOTH, NULL)
SWEEP(uffd_copy, EAGAIN, ONCE, NULL)
SWEEP(uffd_copy, ENOMEM, ONCE, NULL)
SWEEP(uffd_zero, EAGAIN, ONCE, NULL)
SWEEP(uffd_zero, ENOMEM, ONCE, NULL)
SWEEP(poll, EINTR, ONCE, NULL)
SWEEP(socketpair, EMFILE, BOTH, NULL)
SWEEP(fetch_file, EPERM, BOTH, NULL)
SWEEP(send_file, EAGAIN, BOTH, FORK_NO_UFFD)
SWEEP(recv_file, EPIPE, BOTH, FORK_NO_UFFD)
SWEEP(say, EPIPE, BOTH, FORK_NO_UFFD)
SWEEP(hear, EPIPE, ONCE, FORK_NO_UFFD)
SWEEP(map_for_me, ENOMEM, BOTH, NULL)
SWEEP(keep_only, EMFILE, BOTH, FORK_NO_UFFD)
SWEEP(random, ENOSYS, BOTH, NULL)

/* A place of the mirror is lost for good: its chunk stays as it is. */
UNIT_TEST(carry_off_loses_its_place)
{
    heals = false;
    sweep(FAILING_carry_off, ENXIO, BOTH, NULL);
}

UNIT_TEST(reserve_again_loses_its_place)
{
    heals = false;
    sweep(FAILING_reserve_again, ENXIO, BOTH, NULL);
}

/* --- with a file tier ---------------------------------------------------- */

#define SWEEP_FILED(name, err, how, dies) \
    UNIT_TEST(filed_##name##_##err) \
    { \
        filing = true; \
        sweep(FAILING_##name, err, how, dies); \
    }

UNIT_TEST(filed_nothing_fails)
{
    if (region_refused())
        UNIT_SKIP("userfaultfd is refused here");
    filing = true;
    failing_start();
    judge(FAILING_MAX, 0, false, 0, NULL);
    CHECK_EQ(bad, 0);
}

SWEEP_FILED(tier_dir, ENOENT, BOTH, NULL)
SWEEP_FILED(tier_open, EACCES, BOTH, NULL)
SWEEP_FILED(tier_write, ENOSPC, BOTH, NULL)
SWEEP_FILED(tier_write, EIO, BOTH, NULL)
SWEEP_FILED(tier_read, EIO, BOTH, UNREADABLE)
SWEEP_FILED(tier_punch, EOPNOTSUPP, BOTH, NULL)
SWEEP_FILED(tier_lend, ENOENT, BOTH, NULL)
SWEEP_FILED(tier_alone, ENOLCK, BOTH, NULL)
SWEEP_FILED(random, ENOSYS, BOTH, NULL)
SWEEP_FILED(hide, EINVAL, BOTH, NULL)
SWEEP_FILED(map, ENOMEM, ONCE, NULL)
SWEEP_FILED(socketpair, EMFILE, BOTH, NULL)
SWEEP_FILED(fetch_file, EPERM, BOTH, NULL)
SWEEP_FILED(send_file, EAGAIN, BOTH, FORK_NO_UFFD)
SWEEP_FILED(recv_file, EPIPE, BOTH, FORK_NO_CHILD)
SWEEP_FILED(keep_only, EMFILE, BOTH, FORK_NO_CHILD)
