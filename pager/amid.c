/* SPDX-License-Identifier: MIT */
/*
 * amid -- requests of a thread that is in the middle of something of ours: of a signal handler.
 *
 * mmap, munmap, mremap, mprotect, mlock and madvise may be called in a signal handler, which may have
 * interrupted its own thread's request, a fork, or alloc with a lock in hand. A request from there would
 * wait for ever: for the lock of requests, for a worker that stands still, or for one that waits for the
 * lock in decay. So none is made: W is made to stand still (still.c), between two units, and this thread
 * pins on its behalf. What is pinned F brings back, with no lock and without W.
 *
 * I1  Who is here waits for W to come to its next look, where it waits for nobody but F (still.c I1), and
 *     for F; for no lock, and for no other thread of the program but those that are here, too.
 * I2  Contents are dropped without a record's being touched: pinned, so that nothing is out, dropped by
 *     the kernel, released.  In the window of a fork a page that was out stays so by its record, and is
 *     present: it is cleared, as the program might, and reconcile.c makes it the program's.
 *     Where all is at its address any thread may, also without being in the middle of something.
 * I3  A mark is never left out: where it cannot be set, nothing is taken out any more, for ever.
 *
 * The same goes for who has waited for long, and in vain, for W to begin with a request of his: the one
 * that comes before may be a thread's that he has stopped himself (mail.c).
 *
 * What is here may be interrupted, and be called anew by that handler: W is held as often as somebody
 * wants it, and pins are counted, or marks.  In a child, before it has a fault thread of its own, and in
 * one made without handlers, before that has been found out, nothing is served.
 *
 * Locks: none.  May sleep: yes.  May fault: no.  Allocates: records.  Signal safety: all of it.
 */
#include <errno.h>
#include <string.h>

#include "base/stat.h"
#include "pager/private.h"

static bool is_served(void)
{
    const uint32_t *ours = __atomic_load_n(&za_pg.ours, __ATOMIC_ACQUIRE);
    return __atomic_load_n(&za_pg.active, __ATOMIC_SEQ_CST) &&
           __atomic_load_n(&za_pg.fault_born, __ATOMIC_ACQUIRE) &&
           (!ours || __atomic_load_n(ours, __ATOMIC_ACQUIRE) == ZA_OURS);
}

int za_amid_pin(uintptr_t addr, size_t len, enum za_pin why)
{
    bool mark = why != ZA_PIN_CALL;
    if (mark && !is_served())
        za_pin_everything(); /* before the question whether the pager has awoken meanwhile */
    if (!is_served())
        return mark ? 0 : -ENOSYS;
    int r;
    za_still_hold();
    while ((r = za_pin_range(addr, len, why)) == -EAGAIN) {
        za_still_let_go(); /* those whose calls these are may need W */
        za_os->relax();
        za_still_hold();
    }
    if (r < 0 && mark)
        za_pin_everything();
    za_still_let_go();
    return mark ? 0 : r;
}

void za_amid_unpin(uintptr_t addr, size_t len, enum za_pin why)
{
    if (!is_served())
        return;
    za_still_hold();
    (void)za_unpin_range(addr, len, why);
    za_still_let_go();
}

/* A step of W in its stead, in which no record changes. */
bool za_amid_drop(uintptr_t addr, size_t len, int *result)
{
    if (!is_served() || za_mail_waiting() || za_still_wanted())
        return false;
    za_inside_enter(); /* a signal handler must not wait for W from now on */
    za_still_hold();
    bool all_there = !za_pin_out(addr, len);
    if (all_there)
        *result = za_drop_range(addr, len);
    za_still_let_go();
    za_inside_leave();
    return all_there;
}

/* What is out still, in the middle of a fork, is at its address all the same, and is cleared there. */
static int empty_page(size_t page)
{
    char *p = za_pg_heap(page);
    if (!za_pin_out((uintptr_t)p, za_pg_page_size()))
        return za_os->purge(p, za_pg_page_size());
    if (za_os->populate(p, za_pg_page_size()) < 0)
        return -EBUSY;
    memset(p, 0, za_pg_page_size());
    return 0;
}

/* Pinned: what is not out stays so. */
static int empty(uintptr_t addr, size_t len)
{
    int r = 0;
    if (!za_pin_out(addr, len))
        return za_os->purge((void *)addr, len);
    for (size_t off = 0; off < len; off += za_pg_page_size()) {
        int rc = empty_page(za_pg_page_of(addr + off));
        r = rc < 0 ? rc : r;
    }
    return r;
}

/* -EBUSY: a page of it is still out, where the program may not write. */
int za_amid_discard(uintptr_t addr, size_t len)
{
    za_pin_call_begins();
    bool pinned = za_amid_pin(addr, len, ZA_PIN_CALL) == 0;
    int r = pinned ? empty(addr, len) : za_os->purge((void *)addr, len);
    if (pinned)
        za_amid_unpin(addr, len, ZA_PIN_CALL);
    else if (is_served())
        r = -EBUSY; /* it awoke meanwhile */
    za_pin_call_ends();
    if (r == 0)
        za_stat_add(ZA_STAT_HEAP_PURGED, (int64_t)len);
    return r;
}

/* These for who is in the middle of nothing, but for what begins here. */
int za_amid_pin_late(uintptr_t addr, size_t len, enum za_pin why)
{
    za_inside_enter();
    int r = za_amid_pin(addr, len, why);
    za_inside_leave();
    return r;
}

void za_amid_unpin_late(uintptr_t addr, size_t len, enum za_pin why)
{
    za_inside_enter();
    za_amid_unpin(addr, len, why);
    za_inside_leave();
}

int za_amid_discard_late(uintptr_t addr, size_t len)
{
    za_inside_enter();
    int r = za_amid_discard(addr, len);
    za_inside_leave();
    return r;
}
