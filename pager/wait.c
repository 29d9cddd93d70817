/* SPDX-License-Identifier: MIT */
/*
 * wait -- faults that F has read and not answered yet, because there is no room (pressure.c).
 *
 * The threads sleep on in the kernel, as they would while a page comes from a disk. F answers the
 * oldest first, when there is room, when nobody makes any, or when it has waited long enough.
 *
 * I1  An entry claims nothing: the record may change meanwhile, and is looked at when the fault is
 *     answered, as if the message had been read then.
 * I2  A full list answers the oldest at once.
 * I3  F does not end with an entry unanswered: who waits is woken, and asks the next one.
 *
 * Locks: none (F only; `waiting` is read by W).  May sleep: no.  May fault: no.  Allocates: nothing.
 */
#include "base/stat.h"
#include "pager/private.h"

#define PLACES 1024u

static struct entry {
    size_t page;
    uint64_t since;
    bool write;
} entries[PLACES];
static unsigned first;
static uint32_t waiting; /* [a] entries */

bool za_wait_any(void)
{
    return __atomic_load_n(&waiting, __ATOMIC_ACQUIRE) != 0;
}

bool za_wait_full(void)
{
    return waiting == PLACES;
}

void za_wait_add(size_t page, bool write)
{
    struct entry *e = &entries[(first + waiting) % PLACES];
    *e = (struct entry){page, za_os->now(), write};
    if (__atomic_fetch_add(&waiting, 1, __ATOMIC_RELEASE) == 0)
        za_mail_nudge();
    za_stat_add(ZA_STAT_PG_DELAYED, 1);
}

/* The oldest leaves the list: *page, *write. False: none is to be answered yet. */
bool za_wait_next(size_t *page, bool *write)
{
    if (!za_wait_any())
        return false;
    const struct entry *e = &entries[first];
    uint64_t waited = za_os->now() - e->since;
    bool overdue = za_room_short();
    if (overdue && waited < za_room_patience() && !za_wait_full())
        return false;
    *page = e->page;
    *write = e->write;
    first = (first + 1) % PLACES;
    __atomic_fetch_sub(&waiting, 1, __ATOMIC_RELEASE);
    za_stat_add(ZA_STAT_PG_DELAY_NS, (int64_t)waited);
    za_stat_add(ZA_STAT_PG_OVERDUE, overdue);
    return true;
}

void za_wait_forget(void)
{
    first = 0;
    waiting = 0;
}
