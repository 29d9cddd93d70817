/* SPDX-License-Identifier: MIT */
/*
 * inside -- is the calling thread in the middle of something of ours that it would wait for?
 *
 * setuid may be called in a signal handler, which may have interrupted its own thread's request, or
 * fork. What replaces our threads would wait there for a lock that this very thread holds, or for a
 * worker that stands still for it. So it is left undone, and done where the thread comes out.
 *
 * I1  A thread is inside from before it waits for fork's lock or for ZA_RANK_CTL until it has given it
 *     back; around a fork without handlers; while W stands still for it; and while it puts a child right
 *     that was made by one.
 * I2  What is owed is done by the next thread that comes out of the last of them, with no lock of ours
 *     held: in a request, or after fork.  Not after a fork without handlers, nor after the start of
 *     our threads: whoever does that may hold any lock.
 *
 * Locks: none.  May sleep: coming out, as za_pager_renew.  May fault: no.  Allocates: nothing.
 * Signal safety: all but coming out.
 */
#include "pager/pager.h"
#include "pager/private.h"

static __thread unsigned depth __attribute__((tls_model("initial-exec")));
static uint32_t owed; /* [a] */

void za_inside_enter(void)
{
    depth++;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/* Also in a child in which somebody has forgotten. */
void za_inside_leave_quietly(void)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    if (depth)
        depth--;
}

void za_inside_leave(void)
{
    za_inside_leave_quietly();
    if (!depth && __atomic_load_n(&owed, __ATOMIC_RELAXED) &&
        __atomic_exchange_n(&owed, 0, __ATOMIC_ACQ_REL))
        za_pager_renew();
}

/* In a child without handlers: what its parent's thread was in, it is not in; only in what it says. */
void za_inside_forget(unsigned but)
{
    depth = but;
}

bool za_inside(void)
{
    return depth != 0;
}

void za_inside_owe(void)
{
    __atomic_store_n(&owed, 1, __ATOMIC_RELEASE);
}
