/* SPDX-License-Identifier: MIT */
/*
 * pin -- units whose pages stay at their heap address, because of what the program did to them.
 *
 * UFFDIO_MOVE itself refuses pages whose protection, lock or key differ from the mirror's. What it
 * does not see is pinned: memory that a child must not read or a core dump not hold, memory that
 * the program mapped over ours, everything while the whole process is locked; what the kernel writes
 * at the end of a thread, because then a fault is not reported to us; and, for the length of a
 * system call, memory that is about to change so that we could not bring its pages back.
 *
 * I1  Only W changes a unit's pins, or a thread for which it stands still between two units (amid.c),
 *     and only W takes pages out: when pinning returns, every page of the unit is where the program put
 *     it, and stays there.
 * I2  A range is pinned by whole units, and released where it covers whole units: a unit that
 *     another range shares stays pinned, which costs memory and is never wrong. Pins of calls nest.
 * I3  A thread's marks that were wanted before W was born are noted, and are set before W takes out
 *     its first page. They stay noted for the worker of a child that begins anew.
 * I4  While everything is kept the mirror is empty and closed, so that a kernel that populates all
 *     mappings leaves it alone.
 * I5  Calls that other threads were in end in the parent alone: their pins are forgotten in a child.  A thread
 *     that forked in a signal handler, in the middle of a call of its own, goes on with it in the child.
 *
 * Locks: none (W only; notes under ZA_RANK_CTL).  May sleep: mmap_lock.  Waits for F.  Allocates: records.
 */
#include <errno.h>

#include "pager/door.h"
#include "pager/private.h"

#define CALLS 0x0fu /* the low bits of a unit's pins count calls, the others are marks */

#define NOTES_MAX 64u /* a process with more such threads has reason to have a worker too */

struct units {
    size_t first, end;
};

/* [c] while there is no W, then W's, which only reads it */
static struct {
    uintptr_t addr;
    size_t len;
} notes[NOTES_MAX];
static unsigned nnotes;
static uint32_t calls;      /* [a] pins of calls that are wanted or set, of all threads */
static uint32_t everything; /* [a] a mark could not be set in time: nothing is taken out any more */

static __thread unsigned own_calls __attribute__((tls_model("initial-exec")));

static unsigned mark_of(enum za_pin why)
{
    return why == ZA_PIN_CALL ? 1u : (CALLS + 1) << (why - ZA_PIN_CALL - 1);
}

bool za_pin_holds(size_t unit)
{
    return __atomic_load_n(&za_pg.units[unit].pins, __ATOMIC_RELAXED) ||
           __atomic_load_n(&za_pg.keep, __ATOMIC_ACQUIRE) || za_door_held() ||
           __atomic_load_n(&everything, __ATOMIC_SEQ_CST);
}

/* False: so many calls are there already. */
static bool add_pin(size_t unit, enum za_pin why)
{
    uint8_t *pins = &za_pg.units[unit].pins, was = __atomic_load_n(pins, __ATOMIC_RELAXED);
    if (why != ZA_PIN_CALL) {
        (void)__atomic_fetch_or(pins, (uint8_t)mark_of(why), __ATOMIC_RELAXED);
        return true;
    }
    while ((was & CALLS) < CALLS)
        if (__atomic_compare_exchange_n(pins, &was, (uint8_t)(was + 1), false, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED))
            return true;
    return false;
}

/* A call that has found no record to count in has none to end. */
static void take_pin(size_t unit, enum za_pin why)
{
    uint8_t *pins = &za_pg.units[unit].pins, was = __atomic_load_n(pins, __ATOMIC_RELAXED);
    if (why != ZA_PIN_CALL) {
        (void)__atomic_fetch_and(pins, (uint8_t)~mark_of(why), __ATOMIC_RELAXED);
        return;
    }
    while ((was & CALLS) && !__atomic_compare_exchange_n(pins, &was, (uint8_t)(was - 1), false,
                                                         __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        ;
}

/* F brings back a page that is out, also where the program may only read; where not even that, it stays. */
void za_pin_fetch(size_t page)
{
    if (za_os->populate(za_pg_heap(page), za_pg_page_size()) < 0)
        (void)za_os->populate_read(za_pg_heap(page), za_pg_page_size());
}

static void fetch_units(struct units u)
{
    for (size_t page = u.first * za_pg.unit_pages; page < u.end * za_pg.unit_pages; page++)
        if (za_pg_registered(page) && za_page_get(&za_pg.pages[page]) != ZA_PAGE_KERNEL)
            za_pin_fetch(page);
}

static struct units touched(uintptr_t addr, size_t len)
{
    return (struct units){(addr - za_pg.base) >> ZA_UNIT_SHIFT,
                          (za_align_up(addr + len, ZA_UNIT_SIZE) - za_pg.base) >> ZA_UNIT_SHIFT};
}

static struct units covered(uintptr_t addr, size_t len)
{
    return (struct units){(za_align_up(addr, ZA_UNIT_SIZE) - za_pg.base) >> ZA_UNIT_SHIFT,
                          (addr + len - za_pg.base) >> ZA_UNIT_SHIFT};
}

static struct units known(struct units u)
{
    size_t ready = __atomic_load_n(&za_pg.records_ready, __ATOMIC_ACQUIRE);
    u.end = za_min(u.end, ready * ZA_UNITS_PER_CHUNK);
    return u;
}

bool za_pin_marked(uintptr_t addr, size_t len)
{
    struct units u = known(touched(addr, len));
    if (__atomic_load_n(&everything, __ATOMIC_SEQ_CST))
        return true;
    for (size_t i = u.first; i < u.end; i++)
        if (__atomic_load_n(&za_pg.units[i].pins, __ATOMIC_RELAXED))
            return true;
    return false;
}

/* -EAGAIN: too many calls at once on one unit; they end soon. */
int za_pin_range(uintptr_t addr, size_t len, enum za_pin why)
{
    if (!za_pg_active())
        return -ENOSYS;
    struct units u = touched(addr, len);
    if (!za_place_records(za_pg_nchunks()))
        return -ENOMEM;
    u = known(u);
    for (size_t i = u.first; i < u.end; i++)
        if (!add_pin(i, why)) {
            while (i-- > u.first)
                take_pin(i, why);
            return -EAGAIN;
        }
    fetch_units(u);
    return 0;
}

int za_unpin_range(uintptr_t addr, size_t len, enum za_pin why)
{
    if (!za_pg_active())
        return -ENOSYS;
    struct units u = why == ZA_PIN_CALL ? touched(addr, len) : covered(addr, len);
    u = known(u);
    for (size_t i = u.first; i < u.end; i++)
        take_pin(i, why);
    za_plan_rested(u.first * za_pg.unit_pages,
                   u.end > u.first ? (u.end - u.first) * za_pg.unit_pages : 0);
    return 0;
}

/* For ever, in this process and its children. */
void za_pin_everything(void)
{
    __atomic_store_n(&everything, 1, __ATOMIC_SEQ_CST);
    za_stat_set(ZA_STAT_PG_STOPPED, 1);
}

/* Is it out?  Not what F has brought back, or fills with zeros: it is about to say so. */
static bool is_out(size_t page)
{
    for (;;) {
        za_page r = za_page_get(&za_pg.pages[page]);
        if (za_page_state(r) != ZA_PAGE_BACK && za_page_state(r) != ZA_PAGE_FILLING)
            return r != ZA_PAGE_KERNEL;
        za_os->relax();
    }
}

/* Is any page of the range still out? */
bool za_pin_out(uintptr_t addr, size_t len)
{
    size_t first = za_pg_page_of(addr), n = len >> za_pg.page_shift;
    size_t ready = __atomic_load_n(&za_pg.records_ready, __ATOMIC_ACQUIRE);
    size_t end = za_min(first + n, ready << (ZA_CHUNK_SHIFT - za_pg.page_shift));
    for (size_t page = first; page < end; page++)
        if (za_pg_registered(page) && is_out(page))
            return true;
    return false;
}

/* False: there is no room for it. */
bool za_pin_note(uintptr_t addr, size_t len)
{
    for (unsigned i = 0; i < nnotes; i++)
        if (notes[i].addr == addr && notes[i].len >= len)
            return true;
    if (nnotes == NOTES_MAX)
        return false;
    notes[nnotes].addr = addr;
    notes[nnotes].len = len;
    nnotes++;
    return true;
}

void za_pin_noted(void)
{
    for (unsigned i = 0; i < nnotes; i++)
        (void)za_pin_range(notes[i].addr, notes[i].len, ZA_PIN_THREAD);
}

/* The calling thread's, around all that is done for it. */
void za_pin_call_begins(void)
{
    own_calls++;
    __atomic_fetch_add(&calls, 1, __ATOMIC_SEQ_CST);
}

void za_pin_call_ends(void)
{
    __atomic_fetch_sub(&calls, 1, __ATOMIC_SEQ_CST);
    own_calls--;
}

static void forget_calls(void)
{
    if (calls == own_calls)
        return;
    calls = own_calls;
    for (size_t i = 0; own_calls == 0 && i < za_pg.records_ready * ZA_UNITS_PER_CHUNK; i++)
        if (za_pg.units[i].pins & CALLS)
            za_pg.units[i].pins &= (uint8_t)~CALLS;
}

static void for_mirror(int (*act)(void *p, size_t len))
{
    for (size_t c = 0; c < za_pg.records_ready; c++)
        if (za_pg.chunks[c].registered && !za_pg.chunks[c].lost)
            (void)act((char *)za_pg.mirror + (c << ZA_CHUNK_SHIFT), ZA_CHUNK_SIZE);
}

/* The poster has set za_pg.keep. */
int za_keep_begin(void)
{
    if (!za_pg_active())
        return -ENOSYS;
    fetch_units((struct units){0, za_pg.records_ready * ZA_UNITS_PER_CHUNK});
    for_mirror(za_os->purge);
    for_mirror(za_os->decommit);
    return 0;
}

int za_keep_end(void)
{
    if (!za_pg_active())
        return -ENOSYS;
    for_mirror(za_os->commit);
    __atomic_store_n(&za_pg.keep, 0, __ATOMIC_RELEASE);
    return 0;
}

/* In a child, before anybody takes out a page (I5); it has no locks. */
void za_pin_forget(void)
{
    forget_calls();
    if (za_pg.keep && za_pg.chunks)
        for_mirror(za_os->commit);
    za_pg.keep = 0;
}
