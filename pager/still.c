/* SPDX-License-Identifier: MIT */
/*
 * still -- W stands still for a thread that cannot wait: one that makes a child without fork handlers, or
 * that is in the middle of something (amid.c).
 *
 * THEORY
 *
 * Where the kernel announces no children (no CAP_SYS_PTRACE), a child made by _Fork or clone finds
 * nothing but holes where pages are out. preload stands around those calls (preload/bare.c), and
 * does here what the fork handlers do in fork.c. The difference: _Fork may be called in a signal
 * handler, which may have interrupted anything, our own code with its locks included. So W is not
 * parked by a request, and no lock is taken: a counter says that somebody wants W to stand still,
 * and W looks at it wherever its own books and the records are whole.
 *
 *   W       busy = 1; is held == 0? work ... busy = 0
 *   forker  held += 1; wait until busy == 0; open the window; fork; close the window; held -= 1
 *
 * I1  Between two looks W waits for nobody but F. It is not busy where it waits for more: asleep,
 *     parked by a fork, and in the owner's decay and statistics, which take alloc's locks; what decay asks
 *     of the pager is work again.
 * I2  F changes no record in the window, which is a counter: forks of several threads, and of a
 *     signal handler in the middle of another's, may overlap.
 * I3  Pages that F gave back in the window are reconciled before W works again (page.h I8).
 *
 * I4  Rights that a child needs to open a userfaultfd are not given away between the question and the
 *     fork: who changes says so, and waits until held is 0; who has said held += 1 asks.
 *
 * The child opens a userfaultfd of its own and registers the same chunks, as after fork (REOPEN,
 * fork.c); where it may not, everything is brought back first by the forking thread's touch.
 *
 * Not seen: children of a system call that does not pass through libc (an assembler's, a static
 * program's). They read zeros where pages are out.
 *
 * Locks: none.  May sleep: yes.  May fault: yes, to bring pages back.  Allocates: a thread's stack,
 * in the child.  Signal safety: all of it.
 */
#include "base/stat.h"
#include "pager/filing.h"
#include "pager/private.h"

#define LOOK_NS ZA_NS_PER_MS

/* [a] forks for which W stands still; futex word of W */
static uint32_t held;
static uint32_t changing; /* [a] a thread changes the process's identity */
static uint32_t wants;    /* [a] W would work, if it were let */
static uint32_t busy;     /* [a] W works; W writes, and who starts W; futex word of forkers */

/* Before W is started: a fork from now on waits until it has looked. */
void za_still_born(void)
{
    __atomic_store_n(&busy, 1, __ATOMIC_SEQ_CST);
}

void za_still_unborn(void)
{
    __atomic_store_n(&busy, 0, __ATOMIC_SEQ_CST);
}

static void catch_up(void)
{
    if (__atomic_load_n(&za_pg.window_served, __ATOMIC_RELAXED) &&
        __atomic_exchange_n(&za_pg.window_served, 0, __ATOMIC_ACQ_REL) && za_pg_active())
        za_reconcile();
}

/* W goes to work. */
void za_still_enter(void)
{
    for (;;) {
        __atomic_store_n(&busy, 1, __ATOMIC_SEQ_CST);
        uint32_t n = __atomic_load_n(&held, __ATOMIC_SEQ_CST);
        if (n == 0)
            break;
        za_still_leave();
        __atomic_store_n(&wants, 1, __ATOMIC_RELAXED);
        za_room_suspend();
        (void)za_os->wait(&held, n, ZA_NEVER);
        za_room_resume();
    }
    __atomic_store_n(&wants, 0, __ATOMIC_RELAXED);
    catch_up();
}

/* W goes to rest, or to wait for others than F. */
void za_still_leave(void)
{
    __atomic_store_n(&busy, 0, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&held, __ATOMIC_SEQ_CST))
        za_os->wake(&busy);
}

/* W, where everything is whole. */
void za_still_look(void)
{
    if (!__atomic_load_n(&held, __ATOMIC_RELAXED))
        return;
    za_still_leave();
    za_still_enter();
}

/* For those who can do without: they must not keep it from work by taking turns. */
bool za_still_wanted(void)
{
    return __atomic_load_n(&wants, __ATOMIC_RELAXED);
}

void za_still_hold(void)
{
    __atomic_fetch_add(&held, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&busy, __ATOMIC_SEQ_CST))
        (void)za_os->wait(&busy, 1, LOOK_NS);
}

void za_still_let_go(void)
{
    uint32_t n = __atomic_load_n(&held, __ATOMIC_SEQ_CST);
    while (n && !__atomic_compare_exchange_n(&held, &n, n - 1, false, __ATOMIC_SEQ_CST,
                                             __ATOMIC_SEQ_CST))
        ; /* 0: in a child, made by a signal handler, in which it was forgotten */
    za_os->wake(&held);
}

static void bring_back(void)
{
    size_t n = za_pg.records_ready << (ZA_CHUNK_SHIFT - za_pg.page_shift);
    for (size_t i = 0; i < n; i++)
        if (za_pg_registered(i) && za_page_get(&za_pg.pages[i]) != ZA_PAGE_KERNEL)
            za_pin_fetch(i);
}

/* Will the child be allowed to open a userfaultfd, as this thread is now? (I4) */
static bool may_reopen(void)
{
    return !__atomic_load_n(&changing, __ATOMIC_SEQ_CST) && !za_filing_needed() &&
           za_fork_reopen_works();
}

/* Another thread begins, or has ended, a change of the process's identity. */
void za_still_change(bool on)
{
    uint32_t n;
    __atomic_store_n(&changing, on, __ATOMIC_SEQ_CST);
    while (on && (n = __atomic_load_n(&held, __ATOMIC_SEQ_CST)) != 0)
        (void)za_os->wait(&held, n, LOOK_NS);
}

enum za_fork_way za_pager_prebare(bool keeps_rights)
{
    if (!za_pg_is_ours() || (za_pg_active() && za_pg.caps.event_fork))
        return ZA_FORK_FILL; /* F is told of the child, or there is no F */
    za_inside_enter();
    za_still_hold();
    if (za_pg_active() && za_pg.caps.event_fork) { /* since just now */
        za_still_let_go();
        za_inside_leave_quietly();
        return ZA_FORK_FILL;
    }
    enum za_fork_way way = ZA_FORK_NOTHING;
    if (__atomic_load_n(&za_pg.nregistered, __ATOMIC_ACQUIRE))
        way = keeps_rights && may_reopen() ? ZA_FORK_REOPEN : ZA_FORK_THAW;
    if (way == ZA_FORK_THAW)
        bring_back();
    __atomic_fetch_add(&za_pg.window, 1, __ATOMIC_SEQ_CST);
    za_fault_quiesce();
    za_stat_add(ZA_STAT_FORKS_BARE, 1);
    za_stat_add(ZA_STAT_FORKS_THAWED, way == ZA_FORK_THAW);
    return way;
}

/*
 * F fills the child in the service in which it has read of it, which it must have for the fork to
 * return: until that is over the parent may not exit, for F would go with it.
 */
static void await_fill(void)
{
    uint32_t seq = __atomic_load_n(&za_pg.fault_seq, __ATOMIC_SEQ_CST);
    while ((seq & 1) && __atomic_load_n(&za_pg.fault_seq, __ATOMIC_SEQ_CST) == seq)
        (void)za_os->wait(&za_pg.fault_seq, seq, LOOK_NS);
}

void za_pager_postbare_parent(enum za_fork_way way)
{
    if (way == ZA_FORK_FILL) {
        await_fill();
        return;
    }
    __atomic_fetch_sub(&za_pg.window, 1, __ATOMIC_SEQ_CST);
    za_fault_quiesce();
    za_still_let_go();
    za_inside_leave_quietly();
}

/* In a child, however it was made. */
void za_still_forget(void)
{
    held = 0;
    wants = 0;
    busy = 0;
    changing = 0;
}

void za_pager_postbare_child(enum za_fork_way way)
{
    if (way != ZA_FORK_FILL)
        za_fork_bare_child(way);
}
