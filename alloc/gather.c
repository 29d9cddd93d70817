/* SPDX-License-Identifier: MIT */
/*
 * gather -- see gather.h for the theory.
 *
 * Locks: ZA_RANK_GATHER.  May sleep: yes.  May fault: no.  Allocates: one page.
 */
#include "alloc/gather.h"

#include "alloc/caches.h"
#include "alloc/central.h"
#include "alloc/large.h"
#include "base/conf.h"
#include "base/lock.h"
#include "base/stat.h"
#include "os/os.h"

#define TOGETHER 8u /* caches that share two barriers */
#define HAND 2048u  /* slots taken of one cache at a time */
#define LEAST_NS (10 * ZA_NS_PER_MS)
#define LOOK_NS ZA_NS_PER_MS

/* What a pass knows of a cache whose gate it has closed. */
struct visit {
    struct za_tcache *tc; /* NULL: left alone */
    void **at[ZA_CLASS_LAST + 1];
    void *fence[ZA_CLASS_LAST + 1]; /* what was there */
    unsigned run;                   /* the pocket's fence; 0: none */
    uint8_t length;                 /* what was there */
    bool certain;                   /* the second barrier was had */
};

/* Lock key: (g) lock; (a) atomic. */
static struct za_lock lock = ZA_LOCK_INIT(ZA_RANK_GATHER);
static uint32_t life = 1; /* (a) closes this process's gates */
/* (a) 1 in this process; 0 in a child until it has begun anew, 2 while it does; NULL: no pass yet */
static uint32_t *mark;
static uint64_t due;                     /* (g) */
static struct visit visits[TOGETHER];    /* (g) */
static void *hand[HAND];                 /* (g) */
static uint16_t held[ZA_CLASS_LAST + 1]; /* (g) of these, of each class */

/* --- children ------------------------------------------------------------ */

/* A child begins anew: nobody is in a pass, and all gates that are closed are so by nobody. */
static void adopt(void)
{
    uint32_t none = 0, *m = __atomic_load_n(&mark, __ATOMIC_ACQUIRE);
    if (!m)
        return;
    if (__atomic_compare_exchange_n(m, &none, 2, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
        za_lock_init(&lock, ZA_RANK_GATHER);
        __atomic_fetch_add(&life, 1, __ATOMIC_RELAXED);
        __atomic_store_n(m, 1, __ATOMIC_RELEASE);
    }
    while (__atomic_load_n(m, __ATOMIC_ACQUIRE) == 2)
        za_os->relax();
}

/* Before the lock is taken for the first time; false: children could not be told. */
static bool leave_mark(void)
{
    uint32_t *none = NULL;
    void *p;
    if (__atomic_load_n(&mark, __ATOMIC_ACQUIRE))
        return true;
    if (za_os->map_for_me(&p) < 0)
        return false;
    *(uint32_t *)p = 1;
    if (!__atomic_compare_exchange_n(&mark, &none, p, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        (void)za_os->unmap(p, za_os->page_size); /* another thread of a test's */
    return true;
}

/* --- the thread's side --------------------------------------------------- */

static bool stale(uint32_t gate)
{
    return !__atomic_load_n(mark, __ATOMIC_ACQUIRE) ||
           gate != __atomic_load_n(&life, __ATOMIC_RELAXED);
}

static void wait_at_gate(struct za_tcache *tc)
{
    uint32_t by;
    while ((by = __atomic_load_n(&tc->gate, __ATOMIC_ACQUIRE)) != 0) {
        if (!stale(by))
            (void)za_os->wait(&tc->gate, by, LOOK_NS);
        else
            (void)__atomic_compare_exchange_n(&tc->gate, &by, 0, false, __ATOMIC_ACQUIRE,
                                              __ATOMIC_RELAXED);
    }
}

void za_tcache_meet(struct za_tcache *tc)
{
    wait_at_gate(tc);
    if (tc->holes)
        za_tcache_close_up(tc);
}

/* --- the worker's side ---------------------------------------------------- */

static void open_gate(struct za_tcache *tc)
{
    /* Who waits has set busy before it saw the gate closed. */
    (void)__atomic_exchange_n(&tc->gate, 0, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&tc->busy, __ATOMIC_ACQUIRE))
        za_os->wake(&tc->gate);
}

/* Steps 1 and 2; how many are behind closed gates, or -1: no barrier is to be had. */
static int close_gates(unsigned n)
{
    int closed = 0;
    uint32_t mine = __atomic_load_n(&life, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < n; i++)
        __atomic_store_n(&visits[i].tc->gate, mine, __ATOMIC_RELEASE);
    bool works = za_os->sync_threads() >= 0;
    for (unsigned i = 0; i < n; i++) {
        if (works && !__atomic_load_n(&visits[i].tc->busy, __ATOMIC_ACQUIRE)) {
            closed++;
            continue;
        }
        open_gate(visits[i].tc);
        visits[i].tc = NULL;
    }
    return works ? closed : -1;
}

/* Step 3.  A child born after the first exchange must know. */
static void put_fences(struct visit *v)
{
    __atomic_store_n(&v->tc->holes, 1, __ATOMIC_RELAXED);
    for (unsigned cls = 1; cls <= ZA_CLASS_LAST; cls++) {
        void **base = v->tc->rest[cls].base;
        void **f = __atomic_load_n(&v->tc->top[cls], __ATOMIC_ACQUIRE) - 1;
        v->at[cls] = base && f > base ? f : NULL;
        if (v->at[cls])
            v->fence[cls] = __atomic_exchange_n(f, NULL, __ATOMIC_ACQ_REL);
    }
    unsigned n = __atomic_load_n(&v->tc->pocket.n, __ATOMIC_ACQUIRE);
    v->run = n > 1 ? n - 1 : 0;
    if (v->run)
        v->length = __atomic_exchange_n(&v->tc->pocket.length[v->run], 0, __ATOMIC_ACQ_REL);
}

/* Is what lies below the fence out of the thread's reach, and the fence's own slot not taken? */
static bool holds(const struct visit *v, unsigned cls)
{
    return v->certain && __atomic_load_n(&v->tc->top[cls], __ATOMIC_ACQUIRE) > v->at[cls] &&
           !__atomic_load_n(v->at[cls], __ATOMIC_ACQUIRE);
}

/* Step 5 of a bin; `have` slots are in hand.  Returns how many came. */
static unsigned take_bin(struct visit *v, unsigned cls, unsigned have)
{
    void **f = v->at[cls], **base = v->tc->rest[cls].base, *none = NULL;
    bool full = have + (size_t)(f - base) > HAND;
    if (full)
        v->tc->given = 0; /* another time */
    if (full || !holds(v, cls)) {
        (void)__atomic_compare_exchange_n(f, &none, v->fence[cls], false, __ATOMIC_ACQ_REL,
                                          __ATOMIC_RELAXED);
        return 0;
    }
    unsigned n = 0;
    for (void **e = base + 1; e < f; e++) {
        void *p = __atomic_load_n(e, __ATOMIC_RELAXED);
        if (!p)
            continue;
        hand[have + n++] = p;
        __atomic_store_n(e, NULL, __ATOMIC_RELAXED);
    }
    if (v->fence[cls])
        hand[have + n++] = v->fence[cls];
    return n;
}

/* Step 5 of the pocket: the list of those that leave. */
static uint32_t take_runs(struct visit *v, size_t *bytes)
{
    struct za_pocket *k = &v->tc->pocket;
    uint32_t dead = ZA_NO_UNIT;
    uint8_t none = 0;
    if (!v->run)
        return dead;
    if (!v->certain || __atomic_load_n(&k->n, __ATOMIC_ACQUIRE) <= v->run ||
        __atomic_load_n(&k->length[v->run], __ATOMIC_ACQUIRE)) {
        (void)__atomic_compare_exchange_n(&k->length[v->run], &none, v->length, false,
                                          __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
        return dead;
    }
    for (unsigned i = v->run; i > 0; i--) {
        if (i < v->run)
            v->length = __atomic_exchange_n(&k->length[i], 0, __ATOMIC_RELAXED);
        if (!v->length)
            continue;
        za_spans[k->unit[i]].next = dead;
        dead = k->unit[i];
        *bytes += (size_t)v->length << ZA_UNIT_SHIFT;
    }
    return dead;
}

/* Steps 5 and 6. */
static size_t take(struct visit *v)
{
    size_t bytes = 0;
    unsigned have = 0;
    for (unsigned cls = 1; cls <= ZA_CLASS_LAST; cls++) {
        held[cls] = (uint16_t)(v->at[cls] ? take_bin(v, cls, have) : 0);
        have += held[cls];
    }
    uint32_t dead = take_runs(v, &bytes);
    open_gate(v->tc);
    have = 0;
    for (unsigned cls = 1; cls <= ZA_CLASS_LAST; cls++) {
        if (held[cls])
            za_central_put(cls, hand + have, held[cls]);
        have += held[cls];
        bytes += held[cls] * (size_t)za_class_cell[cls].size;
    }
    za_large_release(dead);
    return bytes;
}

static bool pass(unsigned n, size_t *bytes)
{
    int closed = close_gates(n);
    if (closed <= 0)
        return closed == 0;
    for (unsigned i = 0; i < n; i++)
        if (visits[i].tc)
            put_fences(&visits[i]);
    bool certain = za_os->sync_threads() >= 0;
    for (unsigned i = 0; i < n; i++) {
        visits[i].certain = certain;
        if (visits[i].tc)
            *bytes += take(&visits[i]);
    }
    return true;
}

static size_t look(void)
{
    struct za_tcache *idle[TOGETHER];
    size_t bytes = 0;
    unsigned n;
    za_tcache_look(za_conf.torture);
    bytes += za_tcache_empty_idle_orphans();
    while ((n = za_tcache_idle(idle, TOGETHER)) > 0) {
        for (unsigned i = 0; i < n; i++)
            visits[i].tc = idle[i];
        if (!pass(n, &bytes))
            break;
    }
    return bytes;
}

size_t za_gather(uint64_t now_ns)
{
    size_t bytes = 0;
    adopt();
    if (!leave_mark() || !za_trylock(&lock))
        return 0;
    if (now_ns >= due) {
        uint64_t ms = za_conf.torture ? 0 : za_conf.dirty_decay_ms;
        due = now_ns + za_max(ms * ZA_NS_PER_MS, LEAST_NS);
        bytes = look();
        za_stat_add(ZA_STAT_CACHE_GATHERED, bytes);
    }
    za_unlock(&lock);
    return bytes;
}

/* --- fork ----------------------------------------------------------------- */

void za_gather_prefork(void)
{
    adopt();
    za_lock(&lock);
}

void za_gather_postfork_parent(void)
{
    za_unlock(&lock);
}

void za_gather_postfork_child(void)
{
    za_unlock(&lock);
    adopt();
}
