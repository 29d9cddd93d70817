/* SPDX-License-Identifier: MIT */
/*
 * fault -- the fault thread: for every page somebody waits for, the one step that brings it back.
 *
 * It takes no lock, waits for nobody, touches no page of the region and allocates nothing: a thread
 * may fault while it holds any lock of the program, of libc or of alloc (DESIGN.md, "the
 * sentence").
 *
 * I1  For every state of a record there is a step taken without waiting (page.h I4).
 * I2  fault_seq is odd exactly while a message is being served: prefork waits for it (page.h I8).
 * I3  A message that finds nothing to do wakes its thread, which looks again: nobody sleeps for
 *     ever.
 *
 * After a fault it spins for a moment before it sleeps, while faults come in quick succession: a
 * sleeping thread costs the program twice (KERNEL.md).
 *
 * Locks: none.  May sleep: in poll.  May fault: never.  Allocates: nothing.
 */
#include <errno.h>

#include "base/remedy.h"
#include "base/stat.h"
#include "pager/private.h"

#define SPIN_NS 40000u
#define QUICK_NS 60000u
#define FRESH_MAX 16u
#define CHILD_PATIENCE_NS (2 * ZA_NS_PER_S)
#define CHILD_RESTORES 2048u
#define HEIR_PATIENCE_NS (10 * ZA_NS_PER_MS)
#define ROOM_PATIENCE_NS ZA_NS_PER_MS
#define LOOKS 64u
#define LOOK_NS ZA_NS_PER_MS

static size_t serving = ZA_NO_PAGE; /* the page whose claims F may hold */
static bool swallowed; /* a fault message was read and left unanswered: everybody is woken soon */
static size_t fresh_next; /* the page after the last fresh ones, and how many those were */
static unsigned fresh_run = 1;
static unsigned looks; /* for messages, of which there were none, in this service */
static const char zeros[ZA_UNIT_SIZE] __attribute__((aligned(4096)));

/*
 * A child's message that cannot be taken is a fork that never ends,
 * and F would find it again and again.
 */
static bool read_message(struct za_uffd_msg *m)
{
    int r = za_os->uffd_read(za_pg.uffd, m);
    if (r == -EMFILE || r == -ENFILE)
        za_fatal(
            "a bare fork (clone without fork handlers) with no file descriptor left for its child; "
            "raise RLIMIT_NOFILE or use fork");
    return r == 1;
}

static void wake(size_t page)
{
    (void)za_os->uffd_wake(za_pg.uffd, za_pg_heap(page), za_pg_page_size());
    za_stat_add(ZA_STAT_PG_STALE, 1);
}

/*
 * In a service F waits for somebody who is in the middle of a step: W, or a thread that forks. That
 * may have been on this very processor, and F goes before it; so F sleeps after a moment.
 */
void za_fault_look_again(int fd)
{
    if (looks++ < LOOKS || za_without(D1_SLEEP))
        za_os->relax();
    else
        (void)za_os->poll(&fd, 1, LOOK_NS);
}

/*
 * The kernel says EAGAIN while a fork is on its way, until the fork's message has been read; but it
 * hands out fault messages first. Those are left unanswered here, and all threads are woken
 * afterwards to ask again.
 */
static void read_events(void)
{
    struct za_uffd_msg m;
    if (za_without(D1_EVENTS))
        za_os->relax();
    else if (!read_message(&m))
        za_fault_look_again(za_pg.uffd);
    else if (m.event == ZA_EV_FORK)
        za_heir_announced(m.fd, serving);
    else
        swallowed = true;
}

static void wake_everybody(void)
{
    uintptr_t top = __atomic_load_n(&za_pg.top, __ATOMIC_ACQUIRE);
    swallowed = false;
    (void)za_os->uffd_wake(za_pg.uffd, (void *)za_pg.base, top - za_pg.base);
    (void)za_os->uffd_wake(za_pg.uffd, (void *)za_pg.mirror, top - za_pg.base);
    (void)za_os->uffd_wake(za_pg.uffd, (void *)za_pg_bell(), 2 * za_pg_page_size());
}

static unsigned fresh_window(size_t page)
{
    bool onward = page == fresh_next;
    fresh_run = onward ? (unsigned)za_min(2 * (size_t)fresh_run, FRESH_MAX) : 1;
    return fresh_run;
}

/* Claims `page` and up to most - 1 pages after it in its unit, while they are the kernel's. */
static unsigned claim_fresh(size_t page, unsigned most)
{
    const za_page filling = za_page_make(ZA_PAGE_FILLING, 0, ZA_BLOB_NONE);
    unsigned n = 0;
    while (n < most && (n == 0 || (page + n) % za_pg.unit_pages != 0) &&
           za_page_swap(&za_pg.pages[page + n], ZA_PAGE_KERNEL, filling))
        n++;
    return n;
}

/* Zeros for n pages, as far as there are holes; returns how many were filled. */
static size_t fill_zeros(size_t page, unsigned n, bool write)
{
    size_t len = (size_t)n << za_pg.page_shift;
    int64_t r;
    for (;;) {
        r = write ? za_os->uffd_copy(za_pg.uffd, za_pg_heap(page), zeros, len, true)
                  : za_os->uffd_zero(za_pg.uffd, za_pg_heap(page), len, true);
        if (r != -EAGAIN && r != -ENOMEM)
            break;
        read_events();
    }
    if (r > 0)
        return (size_t)r >> za_pg.page_shift;
    if (n > 1) /* the run may cross into another mapping; the page that was asked for does not */
        return fill_zeros(page, 1, write);
    wake(page);
    return 0;
}

/*
 * A page nobody ever wrote, or whose contents were dropped:
 * zeros, and some more of them when it goes on.
 */
static void fill_fresh(size_t page, bool write)
{
    if (za_without(D12_FRESH))
        return;
    bool alone = !write || za_pin_holds(za_pg_unit_of_page(page)); /* guards may be near */
    unsigned n = claim_fresh(page, alone ? 1 : fresh_window(page));
    if (n == 0) {
        wake(page); /* W has just begun to move it: the thread asks again */
        return;
    }
    size_t filled = fill_zeros(page, n, write);
    for (unsigned i = 0; i < n; i++)
        za_page_set(&za_pg.pages[page + i], ZA_PAGE_KERNEL);
    fresh_next = page + filled;
    za_room_spend(write ? filled : 0);
    za_stat_add(ZA_STAT_PG_FILLED, (int64_t)filled);
}

static bool out_of_reach(za_page r)
{
    return r == ZA_PAGE_MOVING || r == ZA_PAGE_LIMBO || r == ZA_PAGE_PACKING ||
           r == ZA_PAGE_RETURNING;
}

/*
 * W takes this page out, and nobody else touches it until W has seen what became of it: the kernel
 * may move it and not say so. W wakes whoever is left asleep here (page.h I11).
 */
static void leave_to_worker(size_t page)
{
    __atomic_store_n(&za_pg.awaited, 1, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&za_pg.pages[page], __ATOMIC_SEQ_CST) != ZA_PAGE_MOVING)
        wake(page);
}

/*
 * W is moving this page back.
 * There may be nothing to move: then the record stays W's.
 */
static void fetch_in_flight(size_t page, za_page r)
{
    uint64_t *rec = &za_pg.pages[page];
    if (!za_page_swap(rec, r, ZA_PAGE_BACK)) {
        wake(page);
        return;
    }
    int moved = za_pg.mover->fetch(page, read_events);
    za_page_set(rec, moved > 0 ? ZA_PAGE_KERNEL : r);
    za_stat_add(moved > 0 ? ZA_STAT_PG_WARM : ZA_STAT_PG_STALE, 1);
}

static bool take_limbo(size_t page)
{
    za_page r = za_page_get(&za_pg.pages[page]);
    return (r == ZA_PAGE_LIMBO || r == ZA_PAGE_PACKING) &&
           za_page_swap(&za_pg.pages[page], r, ZA_PAGE_BACK);
}

/* The page and its neighbours of the cluster, in one move where they stand together. */
static void bring_back(size_t page)
{
    size_t around = za_min(za_pg.cluster_pages, za_pg.mover->around);
    size_t first = page, cluster = page - page % around, n = 1;
    if (!take_limbo(page)) {
        wake(page);
        return;
    }
    while (first > cluster && take_limbo(first - 1)) {
        first--;
        n++;
    }
    while (first + n < cluster + around && take_limbo(first + n))
        n++;
    za_pg.mover->fetch_run(first, n, read_events);
    for (size_t i = 0; i < n; i++)
        za_page_set(&za_pg.pages[first + i], ZA_PAGE_KERNEL);
    za_stat_add(ZA_STAT_PG_WARM, (int64_t)n);
    za_stat_add(ZA_STAT_PG_LIMBO, -(int64_t)n);
}

/* A fork is under way: serve by copying from what is there, and change nothing else (page.h I8). */
static void serve_in_window(size_t page, za_page r, bool write)
{
    __atomic_fetch_add(&za_pg.window_served, 1, __ATOMIC_RELAXED);
    za_windowed_add(page);
    if (za_page_state(r) == ZA_PAGE_STORED)
        za_fill_window(page, read_events);
    else if (out_of_reach(r))
        (void)za_back_copy(page, true, read_events);
    else
        (void)fill_zeros(page, 1, write);
}

static void serve_page(size_t page, bool write)
{
    /* First the window, then the record: in a window it is the one that stays. */
    bool window = __atomic_load_n(&za_pg.window, __ATOMIC_SEQ_CST);
    za_page r = za_page_get(&za_pg.pages[page]);
    za_stat_add(ZA_STAT_PG_FAULTS, 1);
    if (window) {
        serve_in_window(page, r, write);
        return;
    }
    uint8_t came = za_page_state(r) == ZA_PAGE_STORED ? ZA_CAME | ZA_CAME_STORED : ZA_CAME;
    __atomic_fetch_or(&za_pg.units[za_pg_unit_of_page(page)].touched, came, __ATOMIC_RELAXED);
    serving = page;
    switch (za_page_state(r)) {
    case ZA_PAGE_KERNEL: fill_fresh(page, write); break;
    case ZA_PAGE_MOVING: leave_to_worker(page); break;
    case ZA_PAGE_RETURNING: fetch_in_flight(page, r); break;
    case ZA_PAGE_LIMBO:
    case ZA_PAGE_PACKING: bring_back(page); break;
    case ZA_PAGE_STORED:
        if (za_fill_stored(page, read_events) == 0)
            wake(page);
        break;
    default: /* BACK and FILLING are ours, and we are here: a message from before */
        wake(page);
        break;
    }
    serving = ZA_NO_PAGE;
    /* Again: W may have read it, and a record that had not changed yet. */
    __atomic_fetch_or(&za_pg.units[za_pg_unit_of_page(page)].touched, came, __ATOMIC_RELAXED);
    __atomic_store_n(&za_pg.chunks[za_pg_chunk_of_page(page)].stirred, 1, __ATOMIC_RELEASE);
}

/*
 * W looked into the mirror for a page that has left it meanwhile:
 * give it something to read (page.h I6).
 */
static void serve_mirror(uintptr_t addr)
{
    char *page = (char *)za_align_down(addr, za_pg_page_size());
    int64_t r = za_os->uffd_zero(za_pg.uffd, page, za_pg_page_size(), true);
    while (r == -EAGAIN || r == -ENOMEM) {
        read_events();
        r = za_os->uffd_zero(za_pg.uffd, page, za_pg_page_size(), true);
    }
    if (r < 0)
        (void)za_os->uffd_wake(za_pg.uffd, page, za_pg_page_size());
}

/* Every call on the doorbell starts the worker if there is none (a child's first need of it). */
static void answer_bell(uintptr_t addr)
{
    if (!__atomic_load_n(&za_pg.worker_up, __ATOMIC_ACQUIRE) &&
        !__atomic_load_n(&za_pg.leaving, __ATOMIC_ACQUIRE))
        za_worker_start();
    serve_mirror(addr);
    if (__atomic_load_n(&za_pg.leaving,
                        __ATOMIC_ACQUIRE)) /* W has rung, and needs no more answer */
        __atomic_store_n(&za_pg.leaving, 2, __ATOMIC_RELEASE);
}

/*
 * A fault that takes memory waits while there is none to be had (wait.c). What is in the mirror
 * comes back for nothing; a page that is there already is a message from before.
 */
static bool may_wait(size_t page)
{
    enum za_page_state s = za_page_state(za_page_get(&za_pg.pages[page]));
    return s == ZA_PAGE_STORED || (s == ZA_PAGE_KERNEL && !za_place_exists(page, false));
}

static void serve_or_wait(size_t page, bool write)
{
    if (za_room_short() && !za_wait_full() && may_wait(page))
        za_wait_add(page, write);
    else
        serve_page(page, write);
}

static bool serve_waiting(void)
{
    size_t page;
    bool write;
    if (!za_wait_next(&page, &write))
        return false;
    serve_page(page, write);
    return true;
}

static void serve(const struct za_uffd_msg *m)
{
    if (m->event == ZA_EV_FORK)
        za_heir_announced(m->fd, ZA_NO_PAGE);
    else if (m->event == ZA_EV_FAULT && m->addr - za_pg_bell() < za_pg_page_size())
        answer_bell(m->addr);
    else if (m->event == ZA_EV_FAULT && m->addr - za_pg.base >= za_pg.size)
        serve_mirror(m->addr); /* or the knocker, which mlockall touches too */
    else if (m->event == ZA_EV_FAULT)
        serve_or_wait(za_pg_page_of(m->addr), m->write);
}

/* F waits for W: what W may need now, and what must not be left lying; the rest asks again. */
static void serve_worker(void)
{
    struct za_uffd_msg m;
    if (!read_message(&m))
        za_fault_look_again(za_pg.uffd);
    else if (m.event == ZA_EV_FORK)
        za_heir_announced(m.fd, ZA_NO_PAGE);
    else if (m.event == ZA_EV_FAULT && m.addr - za_pg.mirror < za_pg.size)
        serve_mirror(m.addr);
    else
        swallowed = true;
}

static void begin(void)
{
    __atomic_fetch_add(&za_pg.fault_seq, 1, __ATOMIC_SEQ_CST);
}

static void end(void)
{
    looks = 0;
    __atomic_fetch_add(&za_pg.fault_seq, 1, __ATOMIC_SEQ_CST);
}

/*
 * Reading belongs to serving:
 * a fork message read is a fork answered before prefork's waiter goes on.
 */
static bool serve_one(void)
{
    struct za_uffd_msg m;
    begin();
    bool some = serve_waiting();
    if (read_message(&m)) {
        serve(&m);
        some = true;
    }
    za_heir_settle(serve_worker);
    if (za_heir_serve())
        some = true;
    if (swallowed)
        wake_everybody();
    end();
    return some;
}

static void sleep_for_more(uint64_t timeout_ns)
{
    int fds[1 + ZA_HEIR_FDS] = {za_pg.uffd};
    unsigned n = 1 + za_heir_waits(fds + 1);
    za_stat_set(ZA_STAT_PG_FAULT_CPU_NS, za_os->thread_cpu());
    if (za_wait_any())
        timeout_ns = ROOM_PATIENCE_NS;
    (void)za_os->poll(fds, n, n > 1 ? za_min(timeout_ns, HEIR_PATIENCE_NS) : timeout_ns);
}

/*
 * A child that has lived for a while, or brought much back, gets a worker, and with it a pager of
 * its own: also one whose faults never end, or all it reads would stay.
 */
static void come_of_age(uint64_t *at, uint64_t restored)
{
    if (*at == ZA_NEVER)
        return;
    if (za_stat_get(ZA_STAT_PG_RESTORED) < restored + CHILD_RESTORES && za_os->now() < *at)
        return;
    begin(); /* a fork that opens its window now looks for the worker afterwards (fork.c) */
    if (!__atomic_load_n(&za_pg.window, __ATOMIC_SEQ_CST)) {
        *at = ZA_NEVER;
        if (!__atomic_load_n(&za_pg.worker_up, __ATOMIC_ACQUIRE))
            za_worker_start();
    }
    end();
}

#ifdef ZA_TEST_WITHOUT
static uint32_t over; /* futex word: the library's destructor has run */

/* As if F had been stopped in order at the end, like any thread (D13). */
__attribute__((destructor(101))) static void stop(void)
{
    __atomic_store_n(&over, za_without(D13_OUTLIVES), __ATOMIC_RELEASE);
}

#define stay_while_over() \
    while (__atomic_load_n(&over, __ATOMIC_ACQUIRE)) \
    (void)za_os->wait(&over, 1, ZA_NEVER)
#else
#define stay_while_over() (void)0
#endif

void za_fault_loop(bool child)
{
    bool quick = false;
    uint64_t last = 0, of_age = child ? za_os->now() + CHILD_PATIENCE_NS : ZA_NEVER;
    const uint64_t restored = za_stat_get(ZA_STAT_PG_RESTORED);
    __atomic_store_n(&za_pg.fault_tid, za_os->tid(), __ATOMIC_RELEASE);
    while (!za_renew_leave() && __atomic_load_n(&za_pg.leaving, __ATOMIC_ACQUIRE) != 2) {
        stay_while_over();
        come_of_age(&of_age, restored);
        if (serve_one()) {
            uint64_t now = za_os->now();
            quick = now - last < QUICK_NS;
            last = now;
        } else if (quick && za_os->now() - last < SPIN_NS) {
            za_os->relax();
        } else {
            sleep_for_more(of_age == ZA_NEVER ? ZA_NEVER : CHILD_PATIENCE_NS);
        }
    }
    if (za_wait_any())
        wake_everybody(); /* they ask the next fault thread, or find their pages there */
    za_wait_forget();
}

void za_fault_main(void *arg)
{
    (void)arg;
    za_os->be_urgent();
    za_os->drop_privileges();
    za_fault_loop(false);
}

/* Rings for F and waits for its answer; F starts the worker. On a program's thread. */
void za_fault_ring(void)
{
    volatile char *bell = (volatile char *)za_pg_bell();
    (void)za_os->purge((void *)za_pg_bell(), za_pg_page_size());
    (void)*bell;
}

/* Waits until F is outside a service, or in one begun after now. On any thread but F. */
void za_fault_quiesce(void)
{
    uint32_t seq = __atomic_load_n(&za_pg.fault_seq, __ATOMIC_SEQ_CST);
    while ((seq & 1) && __atomic_load_n(&za_pg.fault_seq, __ATOMIC_SEQ_CST) == seq)
        za_os->relax();
}
