/* SPDX-License-Identifier: MIT */
/*
 * caches -- the caches of all threads: who has one, and what becomes of one whose thread is gone.
 *
 * fork: a cache whose thread was in a slow path (busy) may name slots twice; the child forgets what
 * is in it.  Any other is consistent at every instruction: malloc only lowers top, free stores the
 * slot before it raises top.  A top is stored atomically because the worker looks at it.
 *
 * Locks: ZA_RANK_THREADS.  May sleep: on it, and in central.  May fault: no.  Allocates: meta.
 */
#include "alloc/caches.h"

#include "alloc/alloc.h"
#include "alloc/life.h"
#include "base/conf.h"
#include "base/lock.h"
#include "base/meta.h"

static __thread bool gone __attribute__((tls_model("initial-exec"))); /* after za_thread_exit */
void (*za_thread_born)(void);

/* Lock key: (t) lock; (a) atomic. */
static struct {
    struct za_lock lock;
    struct za_tcache *alive;            /* (t) */
    struct za_tcache *recycled;         /* (t) may hold something */
    struct za_tcache *bare;             /* (t) hold nothing */
    struct za_tcache *emptying;         /* (t) on the way from the first of these to the second */
    size_t threads;                     /* (t, a) in alive */
    size_t legacy;                      /* (t) bytes of those in recycled */
    uint64_t refills, flushes;          /* (t) of threads that are gone */
    uint64_t pocket_takes, pocket_puts; /* (t) the same */
} threads = {.lock = ZA_LOCK_INIT(ZA_RANK_THREADS)};

/* --- birth and end ------------------------------------------------------- */

static void link_into(struct za_tcache **list, struct za_tcache *tc)
{
    tc->next = *list;
    tc->link = list;
    if (tc->next)
        tc->next->link = &tc->next;
    *list = tc;
}

static void unlink_from(struct za_tcache *tc)
{
    *tc->link = tc->next;
    if (tc->next)
        tc->next->link = tc->link;
}

/* (t) */
static void become_orphan(struct za_tcache *tc)
{
    tc->seen = 0;
    tc->idle = false;
    threads.legacy += tc->bytes;
    link_into(tc->bytes ? &threads.recycled : &threads.bare, tc);
}

/* (t) It is in recycled or bare. */
static void leave_orphans(struct za_tcache *tc)
{
    unlink_from(tc);
    threads.legacy -= tc->bytes;
}

static void set_threads(size_t n)
{
    __atomic_store_n(&threads.threads, n, __ATOMIC_RELAXED);
}

size_t za_caches_threads(void)
{
    return __atomic_load_n(&threads.threads, __ATOMIC_RELAXED);
}

static struct za_tcache *fresh(void)
{
    struct za_tcache *tc = za_meta_alloc(sizeof(*tc), ZA_CACHELINE);
    if (!tc)
        return NULL;
    za_tcache_clear(tc);
    return tc;
}

struct za_tcache *za_tcache_mine(void)
{
    if (ZA_LIKELY(za_tcache != &za_tcache_none))
        return za_tcache;
    if (gone || !za_alloc_ready())
        return NULL;
    za_lock(&threads.lock);
    struct za_tcache *tc = threads.recycled ? threads.recycled : threads.bare;
    if (tc)
        leave_orphans(tc);
    else
        tc = fresh();
    if (tc) {
        link_into(&threads.alive, tc);
        set_threads(threads.threads + 1);
    }
    za_unlock(&threads.lock);
    if (!tc)
        return NULL;
    za_tcache = tc;
    if (za_thread_born)
        za_thread_born();
    return za_tcache == &za_tcache_none ? NULL : za_tcache;
}

/* (t) */
static bool may_leave(const struct za_tcache *tc)
{
    return za_conf.dirty_decay_ms && threads.legacy + tc->bytes <= ZA_TCACHE_LEGACY &&
           !za_tcache_crowded();
}

void za_thread_exit(void)
{
    struct za_tcache *tc = za_tcache;
    gone = true;
    if (tc == &za_tcache_none)
        return;
    za_tcache = &za_tcache_none;
    za_tcache_drop_pocket(tc);
    za_lock(&threads.lock);
    if (!may_leave(tc)) {
        za_unlock(&threads.lock);
        za_tcache_drop(tc);
        za_lock(&threads.lock);
    }
    unlink_from(tc);
    set_threads(threads.threads - 1);
    threads.refills += tc->refills;
    threads.flushes += tc->flushes;
    threads.pocket_takes += za_pocket_taken(&tc->pocket);
    threads.pocket_puts += tc->pocket.put;
    tc->refills = tc->flushes = tc->pocket.put = tc->pocket.lost = 0;
    become_orphan(tc);
    za_unlock(&threads.lock);
}

/* --- orphans ------------------------------------------------------------- */

/* (t) One that may hold something, any or an idle one, on its way to be emptied; NULL: none. */
static struct za_tcache *next_to_empty(bool any)
{
    struct za_tcache *tc = threads.recycled;
    while (tc && !any && !tc->idle)
        tc = tc->next;
    if (!tc)
        return NULL;
    leave_orphans(tc);
    link_into(&threads.emptying, tc);
    return tc;
}

/* (t) */
static void is_emptied(struct za_tcache *tc)
{
    unlink_from(tc);
    become_orphan(tc);
}

/* (t) */
static unsigned count_recycled(void)
{
    unsigned n = 0;
    for (const struct za_tcache *tc = threads.recycled; tc; tc = tc->next)
        n++;
    return n;
}

/* Threads go on ending meanwhile: no more than there are now. */
static void empty_orphans(void)
{
    for (unsigned n = count_recycled(); n; n--) {
        struct za_tcache *tc = next_to_empty(true);
        if (!tc)
            return;
        za_unlock(&threads.lock);
        za_tcache_drop(tc); /* without the lock: the page heap may sleep */
        za_lock(&threads.lock);
        is_emptied(tc);
    }
}

void za_tcache_empty_orphans(void)
{
    za_lock(&threads.lock);
    empty_orphans();
    za_unlock(&threads.lock);
}

void za_tcache_decay_orphans(void)
{
    if (!za_lock_soon(&threads.lock))
        return;
    empty_orphans();
    za_unlock(&threads.lock);
}

/* --- sleepers (alloc/gather.h) --------------------------------------------- */

/* Changes with whatever the thread does to its cache; by a guess, and never 0. */
static uint64_t look_of(const struct za_tcache *tc)
{
    uint64_t h = 0;
    for (unsigned cls = 1; cls <= ZA_CLASS_LAST; cls++)
        h = h * 31 + (uintptr_t)__atomic_load_n(&tc->top[cls], __ATOMIC_RELAXED);
    h = h * 31 + __atomic_load_n(&tc->refills, __ATOMIC_RELAXED);
    h = h * 31 + __atomic_load_n(&tc->flushes, __ATOMIC_RELAXED);
    h = h * 31 + __atomic_load_n(&tc->pocket.put, __ATOMIC_RELAXED);
    h = h * 31 + __atomic_load_n(&tc->pocket.n, __ATOMIC_RELAXED);
    return h | 1;
}

static void look_at(struct za_tcache *tc, bool all)
{
    for (; tc; tc = tc->next) {
        uint64_t now = look_of(tc);
        tc->idle = all || (now == tc->seen && now != tc->given);
        tc->seen = now;
    }
}

static void look_at_orphans(bool all)
{
    for (struct za_tcache *tc = threads.recycled; tc; tc = tc->next) {
        uint64_t now = look_of(tc);
        tc->idle = tc->bytes && (all || now == tc->seen);
        tc->seen = now;
    }
}

/* Who holds the lock may have stayed behind in a fork: nobody waits for it here. */
void za_tcache_look(bool all)
{
    if (!za_trylock(&threads.lock))
        return;
    look_at(threads.alive, all);
    look_at_orphans(all);
    za_unlock(&threads.lock);
}

static struct za_tcache *emptied; /* (g) and still in emptying */

size_t za_tcache_empty_idle_orphans(void)
{
    size_t bytes = 0;
    while (za_lock_soon(&threads.lock)) {
        if (emptied)
            is_emptied(emptied);
        emptied = NULL;
        struct za_tcache *tc = next_to_empty(false);
        za_unlock(&threads.lock);
        if (!tc)
            break;
        bytes += za_tcache_holds(tc);
        za_tcache_drop(tc);
        emptied = tc;
    }
    return bytes;
}

static unsigned pick(struct za_tcache *tc, struct za_tcache **out, unsigned most)
{
    unsigned n = 0;
    for (; tc && n < most; tc = tc->next) {
        if (!tc->idle)
            continue;
        tc->idle = false;
        tc->given = tc->seen;
        out[n++] = tc;
    }
    return n;
}

unsigned za_tcache_idle(struct za_tcache **out, unsigned most)
{
    if (!za_trylock(&threads.lock))
        return 0;
    unsigned n = pick(threads.alive, out, most);
    n += pick(threads.recycled, out + n, most - n);
    za_unlock(&threads.lock);
    return n;
}

/* --- looking ------------------------------------------------------------- */

void za_tcache_stats(struct za_tcache_stats *out)
{
    za_lock(&threads.lock);
    out->threads = threads.threads;
    out->bytes = za_tcache_all_bytes();
    out->refills = threads.refills;
    out->flushes = threads.flushes;
    out->pocket_takes = threads.pocket_takes;
    out->pocket_puts = threads.pocket_puts;
    for (struct za_tcache *tc = threads.alive; tc; tc = tc->next) {
        out->refills += __atomic_load_n(&tc->refills, __ATOMIC_RELAXED);
        out->flushes += __atomic_load_n(&tc->flushes, __ATOMIC_RELAXED);
        out->pocket_takes += za_pocket_taken(&tc->pocket);
        out->pocket_puts += __atomic_load_n(&tc->pocket.put, __ATOMIC_RELAXED);
    }
    za_unlock(&threads.lock);
}

/* --- fork ---------------------------------------------------------------- */

void za_tcache_prefork(void)
{
    za_lock(&threads.lock);
}

void za_tcache_postfork_parent(void)
{
    za_unlock(&threads.lock);
}

/* Its thread is not in this process. */
static void inherit(struct za_tcache *tc)
{
    if (tc->busy)
        za_tcache_forget(tc);
    else if (tc->holes)
        za_tcache_close_up(tc);
    else
        za_pocket_mend(&tc->pocket);
    unlink_from(tc);
    become_orphan(tc);
}

void za_tcache_postfork_child(void)
{
    struct za_tcache *tc, *next;
    for (tc = threads.alive; tc; tc = next) {
        next = tc->next;
        if (tc == za_tcache)
            continue;
        inherit(tc);
        set_threads(threads.threads - 1);
    }
    while (threads.emptying)
        inherit(threads.emptying);
    emptied = NULL;
    za_unlock(&threads.lock);
}
