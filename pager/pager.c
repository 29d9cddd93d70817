/* SPDX-License-Identifier: MIT */
/*
 * pager -- the face of pager.h: told about the region,
 * starts the threads when it is worth it, takes requests.
 *
 * Locks: ZA_RANK_CTL while a request waits (mail.c).  May sleep: in requests.  Allocates: nothing.
 */
#include "pager/pager.h"

#include <errno.h>

#include "base/conf.h"
#include "base/lock.h"
#include "base/remedy.h"
#include "base/stat.h"
#include "pager/private.h"
#include "pager/share.h"

struct za_pager za_pg = {.uffd = -1, .heir_sock = -1};

static unsigned log2_of(size_t x)
{
    return (unsigned)__builtin_ctzl(x);
}

bool za_pager_init(uintptr_t base, size_t size, const struct za_region_ops *ops)
{
    size_t page = za_os->page_size;
    if (page > ZA_UNIT_SIZE || base % ZA_CHUNK_SIZE || size % ZA_CHUNK_SIZE)
        return false;
    za_pg.base = base;
    za_pg.size = size;
    za_pg.owner = ops;
    za_pg.page_shift = log2_of(page);
    za_pg.unit_pages = (unsigned)(ZA_UNIT_SIZE / page);
    za_pg.cluster_pages = (unsigned)za_max(1, za_min(ZA_CLUSTER_PAGES, 16 * ZA_KIB / page));
    za_pg.top = base;
    za_pg.backend = "not started";
    __atomic_store_n(&za_pg.life, ZA_LIFE_IDLE, __ATOMIC_RELEASE);
    return true;
}

static bool mark_ours(void)
{
    void *p;
    if (za_pg.ours)
        return true;
    if (za_os->map_for_me(&p) < 0)
        return false;
    *(uint32_t *)p = ZA_OURS;
    __atomic_store_n(&za_pg.ours, p, __ATOMIC_RELEASE);
    return true;
}

static __thread bool righting __attribute__((tls_model("initial-exec"))); /* za_pg_is_ours */

/*
 * False in a child made without our handlers, for all who ask at first: it has been put right, by one
 * of them, and goes on as a young process.
 */
bool za_pg_is_ours(void)
{
    uint32_t none = 0, *ours = __atomic_load_n(&za_pg.ours, __ATOMIC_ACQUIRE);
    if (!ours || __atomic_load_n(ours, __ATOMIC_ACQUIRE) == ZA_OURS || za_without(D1_BARE))
        return true;
    if (righting) /* a signal handler amid that */
        return false;
    righting = true;
    za_inside_enter();
    if (__atomic_compare_exchange_n(ours, &none, ZA_OURS_SOON, false, __ATOMIC_ACQ_REL,
                                    __ATOMIC_ACQUIRE)) {
        za_fork_found_bare();
        __atomic_store_n(ours, ZA_OURS, __ATOMIC_RELEASE);
    }
    za_inside_leave_quietly();
    righting = false;
    while (__atomic_load_n(ours, __ATOMIC_ACQUIRE) != ZA_OURS)
        (void)za_os->wait(ours, ZA_OURS_SOON, ZA_NS_PER_MS);
    return false;
}

/* With a worker: are these somebody else's memory and pager, as in a vfork child? */
bool za_pg_borrowed(void)
{
    return __atomic_load_n(&za_pg.pid, __ATOMIC_ACQUIRE) != za_os->pid();
}

static void no_life(const char *why)
{
    za_pg.why_none = why;
    za_pg.backend = "none";
    __atomic_store_n(&za_pg.worker_up, 0, __ATOMIC_RELEASE);
    __atomic_store_n(&za_pg.life, ZA_LIFE_FAILED, __ATOMIC_RELEASE);
}

static void start_held(void)
{
    const char *why = NULL;
    if (__atomic_load_n(&za_pg.life, __ATOMIC_ACQUIRE) != ZA_LIFE_IDLE)
        return;
    if (za_os->rehearse(&why) < 0) {
        no_life(why ? why : "it could not be found out what a seccomp filter kills for");
        return;
    }
    if (!mark_ours()) {
        no_life("children made without fork handlers could not be told from their parent");
        return;
    }
    /* From here on a change of identity is one of the process that W is born in (renew.c). */
    __atomic_store_n(&za_pg.pid, za_os->pid(), __ATOMIC_RELEASE);
    za_still_born();
    __atomic_store_n(&za_pg.worker_up, 1, __ATOMIC_RELEASE);
    __atomic_store_n(&za_pg.life, ZA_LIFE_STARTED, __ATOMIC_RELEASE);
    if (za_os->thread_start(za_worker_main, &za_pg, "zalloc-worker", true) == 0)
        return;
    za_still_unborn();
    no_life("the worker thread could not be started");
}

/*
 * Waits for no thread: while another has a request or forks, the start is left to the next occasion.
 * (A fork must not meet a worker that is being born: its child would have half of it.)
 */
bool za_pager_start(void)
{
    if (!za_mail_hold())
        return false;
    start_held();
    za_mail_let_go();
    return true;
}

void za_pager_grown(uintptr_t top)
{
    uintptr_t old = __atomic_load_n(&za_pg.top, __ATOMIC_RELAXED);
    while (old < top && !__atomic_compare_exchange_n(&za_pg.top, &old, top, false, __ATOMIC_RELEASE,
                                                     __ATOMIC_RELAXED))
        ;
    za_room_grown(top);
    if (__atomic_load_n(&za_pg.life, __ATOMIC_RELAXED) != ZA_LIFE_IDLE)
        return;
    if (top - za_pg.base > za_conf.start_bytes || za_conf.torture || za_without(D17_START))
        (void)za_pager_start();
}

bool za_pager_active(void)
{
    return za_pg_is_ours() && __atomic_load_n(&za_pg.active, __ATOMIC_ACQUIRE);
}

bool za_pager_has_worker(void)
{
    return za_pg_is_ours() && __atomic_load_n(&za_pg.life, __ATOMIC_ACQUIRE) == ZA_LIFE_STARTED;
}

static bool on_worker(void)
{
    return __atomic_load_n(&za_pg.worker_tid, __ATOMIC_ACQUIRE) == za_os->tid();
}

/*
 * There is no worker, although there was a pager: it retired meanwhile, and what was out has come back;
 * or none can be started, and then nothing goes out that F brings back here. Should F have started one
 * all the same, that one is asked.
 */
static int discard_alone(uintptr_t addr, size_t len)
{
    if (za_pg_active())
        (void)za_pager_bring_all();
    int r = za_os->purge((void *)addr, len);
    if (r == 0)
        za_stat_add(ZA_STAT_HEAP_PURGED, (int64_t)len);
    if (za_pg_active() && __atomic_load_n(&za_pg.worker_up, __ATOMIC_ACQUIRE))
        r = za_mail_post(ZA_MAIL_DISCARD, addr, 0, len);
    return r;
}

static int answered(int r, uintptr_t addr, size_t len)
{
    return r == -ENOSYS && !za_without(D7_ALONE) ? discard_alone(addr, len) : r;
}

bool za_pager_amid(void)
{
    return za_inside() || za_lock_any();
}

/* Who waits in vain for W does it himself, which -EBUSY says he could not. */
static int discard(uintptr_t addr, size_t len)
{
    if (za_pager_amid() && !on_worker())
        return za_amid_discard(addr, len);
    if (za_pager_has_worker() && on_worker()) {
        za_still_enter(); /* decay is rest, but this is work */
        za_calm_begin();
        int r = za_drop_range(addr, len);
        za_calm_end();
        za_still_leave();
        return r;
    }
    if (!za_pager_active()) {
        int r = za_os->purge((void *)addr, len);
        if (r == 0)
            za_stat_add(ZA_STAT_HEAP_PURGED, (int64_t)len);
        /*
         * If the pager awoke meanwhile it may have taken
         * a page out before the purge: drop that too.
         */
        if (!__atomic_fetch_or(&za_pg.active, 0, __ATOMIC_SEQ_CST))
            return r;
    }
    int r = za_mail_try(ZA_MAIL_DISCARD, addr, 0, len);
    return r == -ETIMEDOUT ? za_amid_discard_late(addr, len) : answered(r, addr, len);
}

int za_pager_discard(uintptr_t addr, size_t len)
{
    int r = discard(addr, len);
    if (r != -EBUSY || za_pager_amid())
        return r;
    return answered(za_mail_post(ZA_MAIL_DISCARD, addr, 0, len), addr, len);
}

int za_pager_discard_soon(uintptr_t addr, size_t len)
{
    int r;
    return !za_pager_amid() && za_amid_drop(addr, len, &r) ? r : discard(addr, len);
}

bool za_pager_out(uintptr_t addr)
{
    if (!za_pg_active())
        return false;
    size_t page = za_pg_page_of(addr);
    size_t ready = __atomic_load_n(&za_pg.records_ready, __ATOMIC_ACQUIRE);
    return page >> (ZA_CHUNK_SHIFT - za_pg.page_shift) < ready &&
           za_page_get(&za_pg.pages[page]) != ZA_PAGE_KERNEL;
}

int za_pager_relocate(uintptr_t from, uintptr_t to, size_t len)
{
    if (!za_pager_active())
        return -ENOSYS;
    return za_mail_post(ZA_MAIL_RELOCATE, from, to, len);
}

#define SPINS 100u
#define TRIES (SPINS + 1000u) /* about a second */

static void wait_a_little(unsigned tries)
{
    uint32_t nobody = 0;
    if (tries < SPINS)
        za_os->relax();
    else
        (void)za_os->wait(&nobody, 0, ZA_NS_PER_MS);
}

/* False: who has the lock may have been stopped by who asks. */
static bool start_now(void)
{
    for (unsigned i = 0; __atomic_load_n(&za_pg.life, __ATOMIC_ACQUIRE) == ZA_LIFE_IDLE; i++) {
        if (za_pager_start())
            break;
        if (i == TRIES)
            return false;
        wait_a_little(i);
    }
    return true;
}

/* True: there is no worker yet, and the one that may come will know of it. */
static bool note_for_later(uintptr_t addr, size_t len)
{
    bool noted = false;
    for (unsigned i = 0; __atomic_load_n(&za_pg.life, __ATOMIC_ACQUIRE) == ZA_LIFE_IDLE; i++) {
        if (!za_mail_hold()) {
            if (i == TRIES)
                break;
            wait_a_little(i);
            continue;
        }
        noted = __atomic_load_n(&za_pg.life, __ATOMIC_ACQUIRE) == ZA_LIFE_IDLE &&
                za_pin_note(addr, len);
        za_mail_let_go();
        break;
    }
    return noted;
}

/*
 * Until the worker has decided whether there is to be a pager; or, where somebody takes his time, without
 * it.  What is to be mapped over must not be out afterwards, by its record: reconcile.c sees to that,
 * unless there was too much in one fork.
 */
static int pin(uintptr_t addr, size_t len, enum za_pin why)
{
    int r;
    do {
        r = za_mail_try(ZA_MAIL_PIN, addr, why, len);
        if (r == -EAGAIN)
            za_os->relax();
        else if (r == -ETIMEDOUT && za_pg_active())
            r = za_amid_pin_late(addr, len, why);
        else if (r == -ETIMEDOUT && za_pager_given_up())
            r = -ENOSYS;
    } while (r == -EAGAIN || r == -ETIMEDOUT);
    bool foreign = why == ZA_PIN_FOREIGN && r == 0 && !za_windowed_all() && za_pin_out(addr, len);
    return foreign ? za_mail_post(ZA_MAIL_PIN, addr, why, len) : r;
}

static int pin_somehow(uintptr_t addr, size_t len, enum za_pin why)
{
    if (za_pager_amid())
        return za_amid_pin(addr, len, why);
    if (why == ZA_PIN_THREAD && za_pg_is_ours() && note_for_later(addr, len))
        return 0;
    if (why != ZA_PIN_CALL && za_pg_is_ours()) {
        if (!start_now())
            return za_amid_pin_late(addr, len, why);
    } else if (!za_pager_active()) {
        return -ENOSYS;
    }
    return pin(addr, len, why);
}

int za_pager_pin(uintptr_t addr, size_t len, enum za_pin why)
{
    if (why != ZA_PIN_CALL)
        return pin_somehow(addr, len, why);
    za_pin_call_begins();
    int r = pin_somehow(addr, len, why);
    if (r < 0)
        za_pin_call_ends();
    return r;
}

void za_pager_unpin(uintptr_t addr, size_t len, enum za_pin why)
{
    if (za_pager_amid())
        za_amid_unpin(addr, len, why);
    else if (za_pager_active() && za_mail_try(ZA_MAIL_UNPIN, addr, why, len) == -ETIMEDOUT)
        za_amid_unpin_late(addr, len, why);
    if (why == ZA_PIN_CALL)
        za_pin_call_ends();
}

void za_pager_keep_begin(void)
{
    __atomic_store_n(&za_pg.keep, 1, __ATOMIC_SEQ_CST);
    if (za_pager_active())
        (void)za_mail_post(ZA_MAIL_KEEP_BEGIN, 0, 0, 0);
}

void za_pager_keep_end(void)
{
    if (!za_pager_active() || za_mail_post(ZA_MAIL_KEEP_END, 0, 0, 0) < 0)
        __atomic_store_n(&za_pg.keep, 0, __ATOMIC_RELEASE);
}

bool za_pager_remaps(void)
{
    return za_pager_active() && za_pg.mover == &za_mover_remap;
}

uintptr_t za_pager_mirror(size_t *len)
{
    *len = za_pg.size;
    return za_pager_active() ? za_pg.mirror : 0;
}

/* For requests that make sense in a process too small to have had a worker. */
static int post_started(enum za_mail_op op)
{
    while (__atomic_load_n(&za_pg.life, __ATOMIC_ACQUIRE) == ZA_LIFE_IDLE && !za_pager_start())
        za_os->relax();
    return za_mail_post(op, 0, 0, 0);
}

int za_pager_evict_all(void)
{
    return post_started(ZA_MAIL_EVICT);
}

int za_pager_dense_all(void)
{
    return post_started(ZA_MAIL_DENSE);
}

int za_pager_file_all(void)
{
    return post_started(ZA_MAIL_FILE);
}

int za_pager_thaw(void)
{
    return za_pager_active() ? za_mail_post(ZA_MAIL_THAW, 0, 0, 0) : 0;
}

bool za_pager_given_up(void)
{
    return __atomic_load_n(&za_pg.life, __ATOMIC_ACQUIRE) == ZA_LIFE_FAILED || za_pager_why_none();
}

const char *za_pager_backend(void)
{
    const char *name = __atomic_load_n(&za_pg.backend, __ATOMIC_ACQUIRE);
    return name ? name : "not started";
}

const char *za_pager_why_none(void)
{
    return __atomic_load_n(&za_pg.why_none, __ATOMIC_ACQUIRE);
}

/*
 * The worker does the counting, since the store is its own;
 * without one there is only the heap to count.
 */
void za_pager_stats(void)
{
    if (za_mail_post(ZA_MAIL_STATS, 0, 0, 0) < 0)
        za_footprint();
}

void za_pager_check(void)
{
    size_t n = za_pg.pages ? za_pg.records_ready << (ZA_CHUNK_SHIFT - za_pg.page_shift) : 0;
    for (size_t i = 0; i < n; i++) {
        za_page r = za_page_get(&za_pg.pages[i]);
        ZA_ASSERT(za_page_state(r) <= ZA_PAGE_FILLING);
        ZA_ASSERT(r == ZA_PAGE_KERNEL || za_pg_registered(i));
        ZA_ASSERT(za_page_state(r) != ZA_PAGE_STORED || za_page_blob(r) != ZA_BLOB_NONE);
    }
    if (za_pg.store)
        za_store_check(za_pg.store);
    za_share_check();
}
