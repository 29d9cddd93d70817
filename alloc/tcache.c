/* SPDX-License-Identifier: MIT */
/*
 * tcache -- the slow paths of a thread's cache, its birth and its end.
 *
 * fork: a cache whose thread was in a slow path (busy) may name slots twice; the child forgets what
 * is in it.  Any other is consistent at every instruction: malloc only lowers top, free stores the
 * slot before it raises top.  A top is stored atomically because the worker looks at it.
 *
 * Locks: ZA_RANK_THREADS.  May sleep: on it, and in central.  May fault: no.  Allocates: meta.
 */
#include "alloc/tcache.h"

#include <string.h>

#include "alloc/alloc.h"
#include "alloc/central.h"
#include "alloc/large.h"
#include "alloc/life.h"
#include "alloc/misuse.h"
#include "base/conf.h"
#include "base/meta.h"

#define GROW_AFTER 2u     /* batches before a bin gets deeper */
#define SWEEP_EVENTS 512u /* slow paths between two sweeps */
#define TOTAL_SHARE 64u   /* all caches together may hold this part of the heap */
#define DEPTH_LEAST 1u

static void *sentinel[1];
struct za_tcache za_tcache_none = {.top = {[0 ... ZA_CLASS_LAST] = sentinel},
                                   .limit = {[0 ... ZA_CLASS_LAST] = sentinel}};

__thread struct za_tcache *za_tcache __attribute__((tls_model("initial-exec"))) = &za_tcache_none;
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
    size_t bytes;                       /* (a) I4: over all of them */
    size_t legacy;                      /* (t) of that, in recycled */
    uint64_t refills, flushes;          /* (t) of threads that are gone */
    uint64_t pocket_takes, pocket_puts; /* (t) the same */
} threads = {.lock = ZA_LOCK_INIT(ZA_RANK_THREADS)};

/* Counters of the owner alone that za_tcache_stats reads meanwhile. */
static void bump(uint64_t *counter)
{
    __atomic_store_n(counter, *counter + 1, __ATOMIC_RELAXED);
}

/* --- how much a cache may hold ------------------------------------------- */

static void account(struct za_tcache *tc, size_t bytes)
{
    (void)__atomic_fetch_add(&threads.bytes, bytes - tc->bytes, __ATOMIC_RELAXED);
    tc->bytes = bytes;
}

static size_t total_most(void)
{
    return za_max(ZA_TCACHE_TOTAL, za_space_used() / TOTAL_SHARE);
}

static bool crowded(size_t more)
{
    return __atomic_load_n(&threads.bytes, __ATOMIC_RELAXED) + more > total_most() / 4 * 3;
}

static size_t even_share(void)
{
    size_t n = __atomic_load_n(&threads.threads, __ATOMIC_RELAXED);
    return za_min(total_most() / za_max(n, 1), ZA_TCACHE_BYTES);
}

static bool may_hold(const struct za_tcache *tc, size_t more)
{
    if (!crowded(more))
        return tc->bytes + more <= ZA_TCACHE_BYTES;
    return tc->bytes + more <= even_share() &&
           __atomic_load_n(&threads.bytes, __ATOMIC_RELAXED) + more <= total_most();
}

bool za_tcache_charge(struct za_tcache *tc, size_t bytes)
{
    if (!may_hold(tc, bytes))
        return false;
    account(tc, tc->bytes + bytes);
    return true;
}

void za_tcache_refund(struct za_tcache *tc, size_t bytes)
{
    account(tc, tc->bytes - bytes);
}

/* --- bins ---------------------------------------------------------------- */

static unsigned bin_count(const struct za_tcache *tc, unsigned cls)
{
    return (unsigned)(tc->top[cls] - tc->rest[cls].base);
}

static void set_top(struct za_tcache *tc, unsigned cls, void **top)
{
    __atomic_store_n(&tc->top[cls], top, __ATOMIC_RELAXED);
}

/* Without an array: empty and full at once. */
static void bin_none(struct za_tcache *tc, unsigned cls)
{
    tc->rest[cls] = (struct za_bin_rest){0};
    set_top(tc, cls, sentinel);
    tc->limit[cls] = sentinel;
}

/* Gives the bin an array for `depth` slots, keeping what it holds; false: no memory, all as before.
 */
static bool bin_resize(struct za_tcache *tc, unsigned cls, unsigned depth)
{
    struct za_bin_rest *r = &tc->rest[cls];
    size_t size = za_class_cell[cls].size;
    if (depth >= r->room) {
        void **base = za_meta_alloc(((size_t)depth + 1) * sizeof(void *), sizeof(void *));
        if (!base)
            return false;
        unsigned n = r->base ? bin_count(tc, cls) : 0;
        for (unsigned i = 1; i <= n; i++)
            base[i] = r->base[i];
        if (r->base)
            za_meta_free(r->base, r->room * sizeof(void *));
        r->base = base;
        r->room = (uint16_t)(depth + 1);
        set_top(tc, cls, base + n);
    }
    account(tc, tc->bytes + depth * size - r->depth * size);
    r->depth = (uint8_t)depth;
    tc->limit[cls] = r->base + depth;
    return true;
}

/* Deeper, if the bin has been here often enough and the thread may hold more. */
static bool bin_deepen(struct za_tcache *tc, unsigned cls)
{
    struct za_bin_rest *r = &tc->rest[cls];
    unsigned depth = r->depth * 2u + 1;
    if (++r->batches < GROW_AFTER || depth > za_class_info[cls].depth_max)
        return false;
    if (!may_hold(tc, (size_t)(depth - r->depth) * za_class_cell[cls].size))
        return false;
    r->batches = 0;
    return bin_resize(tc, cls, depth);
}

/* A bin's first array. */
static bool bin_open(struct za_tcache *tc, unsigned cls)
{
    unsigned depth = za_class_info[cls].depth_first;
    return bin_resize(tc, cls,
                      may_hold(tc, (size_t)depth * za_class_cell[cls].size) ? depth : DEPTH_LEAST);
}

/* Gives back the n slots at the bottom of the bin: those longest unused. */
static void bin_flush(struct za_tcache *tc, unsigned cls, unsigned n)
{
    void **base = tc->rest[cls].base;
    unsigned left = bin_count(tc, cls) - n;
    if (!n)
        return;
    za_central_put(cls, base + 1, n);
    memmove(base + 1, base + 1 + n, left * sizeof(void *));
    set_top(tc, cls, base + left);
    bump(&tc->flushes);
}

/*
 * Bins that no batch went through since the last sweep lose half of what they hold and half of
 * their depth; all do if the thread has too much of what there is for all.
 */
static void sweep(struct za_tcache *tc)
{
    bool greedy = crowded(0) && tc->bytes > even_share();
    tc->events = 0;
    for (unsigned cls = 1; cls <= ZA_CLASS_LAST; cls++) {
        struct za_bin_rest *r = &tc->rest[cls];
        if (!r->base)
            continue;
        if (!r->batches || greedy) {
            bin_flush(tc, cls, (bin_count(tc, cls) + 1) / 2);
            if (r->depth > za_class_info[cls].depth_first || (greedy && r->depth > DEPTH_LEAST))
                (void)bin_resize(tc, cls, r->depth / 2u);
        }
        r->batches = 0;
    }
}

/* Did it sweep? */
static bool count_event(struct za_tcache *tc)
{
    if (++tc->events < SWEEP_EVENTS)
        return false;
    sweep(tc);
    return true;
}

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

static struct za_tcache *fresh(void)
{
    struct za_tcache *tc = za_meta_alloc(sizeof(*tc), ZA_CACHELINE);
    if (!tc)
        return NULL;
    for (unsigned cls = 0; cls <= ZA_CLASS_LAST; cls++)
        bin_none(tc, cls);
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

/* Empties a bin and gives its array back. */
static void bin_drop(struct za_tcache *tc, unsigned cls)
{
    struct za_bin_rest *r = &tc->rest[cls];
    if (!r->base)
        return;
    bin_flush(tc, cls, bin_count(tc, cls));
    za_meta_free(r->base, r->room * sizeof(void *));
    account(tc, tc->bytes - r->depth * (size_t)za_class_cell[cls].size);
    bin_none(tc, cls);
}

static void drop_all(struct za_tcache *tc)
{
    za_tcache_begin(tc);
    for (unsigned cls = 1; cls <= ZA_CLASS_LAST; cls++)
        bin_drop(tc, cls);
    uint32_t dead = za_pocket_empty(tc);
    za_tcache_end(tc);
    za_large_release(dead);
}

static void drop_pocket(struct za_tcache *tc)
{
    if (!tc->pocket.room)
        return;
    za_tcache_begin(tc);
    uint32_t dead = za_pocket_empty(tc);
    za_tcache_end(tc);
    za_large_release(dead);
}

/* (t) */
static bool may_leave(const struct za_tcache *tc)
{
    return za_conf.dirty_decay_ms && threads.legacy + tc->bytes <= ZA_TCACHE_LEGACY && !crowded(0);
}

void za_thread_exit(void)
{
    struct za_tcache *tc = za_tcache;
    gone = true;
    if (tc == &za_tcache_none)
        return;
    za_tcache = &za_tcache_none;
    drop_pocket(tc);
    za_lock(&threads.lock);
    if (!may_leave(tc)) {
        za_unlock(&threads.lock);
        drop_all(tc);
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

/* --- slow halves of malloc and free -------------------------------------- */

static void *pop(struct za_tcache *tc, unsigned cls)
{
    void **top = tc->top[cls];
    if (*top)
        set_top(tc, cls, top - 1);
    return *top;
}

static void *refill_bin(struct za_tcache *tc, unsigned cls)
{
    struct za_bin_rest *r = &tc->rest[cls];
    if (r->base)
        (void)bin_deepen(tc, cls);
    else if (!bin_open(tc, cls))
        return NULL;
    unsigned n = za_central_take(cls, r->base + 1, (r->depth + 1u) / 2);
    if (!n)
        return NULL;
    bump(&tc->refills);
    set_top(tc, cls, r->base + n - 1);
    return r->base[n];
}

/* One slot without a cache. */
static void *take_one(unsigned cls)
{
    void *p = NULL;
    (void)za_central_take(cls, &p, 1);
    return p;
}

void *za_tcache_refill(unsigned cls)
{
    if (!za_alloc_ready())
        return NULL;
    struct za_tcache *tc = za_tcache_mine();
    if (!tc)
        return take_one(cls);
    za_tcache_begin(tc);
    /* The birth hook may have allocated of this very class, or something lay below a hole. */
    void *p = pop(tc, cls);
    if (!p)
        p = refill_bin(tc, cls);
    bool swept = count_event(tc);
    za_tcache_end(tc);
    if (ZA_UNLIKELY(swept))
        za_alloc_decay_unless_worker();
    return p ? p : take_one(cls);
}

static void flush_bin(struct za_tcache *tc, unsigned cls, void *p)
{
    struct za_bin_rest *r = &tc->rest[cls];
    bool room = r->base ? tc->top[cls] < tc->limit[cls] || bin_deepen(tc, cls) : bin_open(tc, cls);
    if (!room && !r->base) {
        za_central_put(cls, &p, 1);
        return;
    }
    if (!room)
        bin_flush(tc, cls, (bin_count(tc, cls) + 1) / 2);
    void **top = tc->top[cls] + 1;
    *top = p;
    set_top(tc, cls, top);
}

void za_tcache_flush(unsigned cls, void *p)
{
    struct za_tcache *tc = za_tcache_mine();
    if (!tc) {
        za_central_put(cls, &p, 1);
        return;
    }
    if (ZA_UNLIKELY(ZA_OWN_PEEK(tc->top[cls]) == p)) /* whoever left the cache has freed it */
        za_misuse_double(p);
    za_tcache_begin(tc);
    flush_bin(tc, cls, p);
    bool swept = count_event(tc);
    za_tcache_end(tc);
    if (ZA_UNLIKELY(swept))
        za_alloc_decay_unless_worker();
}

void za_tcache_empty(void)
{
    struct za_tcache *tc = za_tcache;
    if (tc != &za_tcache_none)
        drop_all(tc);
}

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
        drop_all(tc); /* without the lock: the page heap may sleep */
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

void za_tcache_close_up(struct za_tcache *tc)
{
    for (unsigned cls = 1; cls <= ZA_CLASS_LAST; cls++) {
        void **to = tc->rest[cls].base;
        if (!to)
            continue;
        for (void **from = to + 1; from <= tc->top[cls]; from++)
            if (*from)
                *++to = *from;
        set_top(tc, cls, to);
    }
    za_pocket_close_up(&tc->pocket);
    tc->holes = 0;
}

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

static size_t held_by(const struct za_tcache *tc)
{
    size_t bytes = 0;
    for (unsigned cls = 1; cls <= ZA_CLASS_LAST; cls++)
        if (tc->rest[cls].base)
            bytes += bin_count(tc, cls) * (size_t)za_class_cell[cls].size;
    return bytes;
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
        bytes += held_by(tc);
        drop_all(tc);
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
    out->bytes = __atomic_load_n(&threads.bytes, __ATOMIC_RELAXED);
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

static void check_slot(unsigned cls, const void *p)
{
    size_t off = (uintptr_t)p - za_heap_base, unit = off >> ZA_UNIT_SHIFT;
    ZA_ASSERT(off < za_space_used());
    unsigned byte = za_map_get(unit);
    ZA_ASSERT(za_map_class(byte) == cls);
    uint32_t head = za_span_head(unit, byte);
    ZA_ASSERT(za_span_is_out(head, cls, p));
}

void za_tcache_check(void)
{
    struct za_tcache *tc = za_tcache;
    size_t bytes = (size_t)tc->pocket.room << ZA_UNIT_SHIFT;
    if (tc == &za_tcache_none)
        return;
    za_tcache_begin(tc);
    for (unsigned cls = 1; cls <= ZA_CLASS_LAST; cls++) {
        const struct za_bin_rest *r = &tc->rest[cls];
        ZA_ASSERT(!*(r->base ? r->base : sentinel));
        if (!r->base)
            continue;
        ZA_ASSERT(r->depth < r->room && tc->limit[cls] == r->base + r->depth);
        ZA_ASSERT(bin_count(tc, cls) <= r->depth);
        for (unsigned i = 1; i <= bin_count(tc, cls); i++)
            check_slot(cls, r->base[i]);
        bytes += r->depth * (size_t)za_class_cell[cls].size;
    }
    ZA_ASSERT(bytes == tc->bytes);
    struct za_pocket k = tc->pocket;
    za_pocket_mend(&k);
    ZA_ASSERT(k.left == tc->pocket.left && k.left <= k.room && !k.length[0]);
    za_tcache_end(tc);
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

/* Forgets what an unreliable cache holds: those slots stay out for ever. */
static void forget(struct za_tcache *tc)
{
    for (unsigned cls = 0; cls <= ZA_CLASS_LAST; cls++) {
        bin_none(tc, cls);
    }
    tc->pocket.lost += tc->pocket.n;
    tc->pocket.n = tc->pocket.left = tc->pocket.room = 0;
    account(tc, 0);
    tc->busy = 0;
    tc->holes = 0;
}

/* Its thread is not in this process. */
static void inherit(struct za_tcache *tc)
{
    if (tc->busy)
        forget(tc);
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
