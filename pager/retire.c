/* SPDX-License-Identifier: MIT */
/*
 * retire -- the end of the pager in a process that goes on: everything comes back, our threads end.
 *
 * Wanted where our threads are about to be forbidden what they live by (a seccomp filter for all
 * threads). A fault thread that is refused its calls leaves threads waiting for ever; if both of
 * ours are killed, their userfaultfd is closed, and what is out would read as zeros.
 *
 *   P (program)   keeps forks and requests out, asks W
 *   W             brings everything back; takes nothing out any more; tells F to go, and rings;
 *                 withdraws all registrations, which wakes whoever waits; answers and ends
 *   F             answers the bell and ends
 *
 * Where there is no W, and no thread for one, P brings everything back itself and rings; the
 * userfaultfd goes with F, the last that has its table, and the registrations with it.
 *
 * I1  Registrations are withdrawn only when every record is KERNEL: a page that is absent then is
 *     a hole.
 *     The bell is registered when it is rung, also where nothing else ever was.
 * I2  A page that cannot be brought back (no memory) means that nothing changes.
 *
 * Locks: fork's and ZA_RANK_CTL on P; none on W.  May sleep: yes.  Allocates: nothing.
 */
#include <errno.h>

#include "pager/pager.h"
#include "pager/private.h"

#define LOOKS 1000u

static bool all_there(void)
{
    size_t n = za_pg.records_ready << (ZA_CHUNK_SHIFT - za_pg.page_shift);
    for (size_t i = 0; i < n; i++)
        if (za_pg_registered(i) && za_page_get(&za_pg.pages[i]) != ZA_PAGE_KERNEL)
            return false;
    return true;
}

/* F may be in the middle of a first touch. */
static bool all_back(void)
{
    for (unsigned i = 0; i < LOOKS; i++) {
        if (all_there())
            return true;
        za_fault_quiesce();
        za_os->relax();
    }
    return false;
}

static void say_retired(void)
{
    for (size_t c = 0; c < za_pg.records_ready; c++)
        za_pg.chunks[c].registered = 0;
    __atomic_store_n(&za_pg.nregistered, 0, __ATOMIC_RELEASE);
    __atomic_store_n(&za_pg.why_none, "a seccomp filter for all threads ended it",
                     __ATOMIC_RELEASE);
    __atomic_store_n(&za_pg.backend, "none", __ATOMIC_RELEASE);
}

/* On W, after a thaw. */
int za_retire(void)
{
    if (!za_pg_active())
        return 0; /* no F, nothing registered */
    if (!all_back() || !za_place_ready_bell())
        return -EBUSY;
    __atomic_store_n(&za_pg.active, 0, __ATOMIC_SEQ_CST);
    __atomic_store_n(&za_pg.leaving, 1, __ATOMIC_RELEASE);
    za_fault_ring();
    za_place_unregister_all();
    say_retired();
    return 0;
}

/*
 * On P, where there is no W and none can be started: only F is left, and the userfaultfd goes with it.
 * Under ZA_RANK_CTL.
 */
int za_retire_alone(void)
{
    if (!za_pg_active())
        return 0;
    if (za_thaw() || !all_back())
        return -EBUSY;
    __atomic_store_n(&za_pg.active, 0, __ATOMIC_SEQ_CST);
    __atomic_store_n(&za_pg.leaving, 1, __ATOMIC_RELEASE);
    za_fault_ring();
    say_retired();
    __atomic_store_n(&za_pg.worker_tid, 0, __ATOMIC_RELEASE); /* one that has ended */
    return 0;
}

int za_pager_retire(int tids[2])
{
    tids[0] = tids[1] = 0;
    (void)za_pg_is_ours();
    if (za_pager_has_worker() && za_pg_borrowed())
        return 0; /* a vfork child's filter is its own */
    za_fork_exclude();
    int r = za_mail_retire();
    if (r == 0) {
        tids[0] = __atomic_exchange_n(&za_pg.worker_tid, 0, __ATOMIC_ACQ_REL);
        tids[1] = __atomic_exchange_n(&za_pg.fault_tid, 0, __ATOMIC_ACQ_REL);
        __atomic_store_n(&za_pg.fault_born, 0, __ATOMIC_RELEASE);
    }
    za_fork_allow();
    return r;
}
