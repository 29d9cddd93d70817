/* SPDX-License-Identifier: MIT */
/*
 * tcache -- the slow paths of a thread's cache, and how much it may hold.
 *
 * Locks: none of its own.  May sleep: at the gate, and in central.  May fault: no.  Allocates: meta.
 */
#include "alloc/tcache.h"

#include <string.h>

#include "alloc/alloc.h"
#include "alloc/caches.h"
#include "alloc/central.h"
#include "alloc/large.h"
#include "alloc/life.h"
#include "alloc/misuse.h"
#include "base/meta.h"

#define GROW_AFTER 2u     /* batches before a bin gets deeper */
#define SWEEP_EVENTS 512u /* slow paths between two sweeps */
#define TOTAL_SHARE 64u   /* all caches together may hold this part of the heap */
#define DEPTH_LEAST 1u

static void *sentinel[1];
struct za_tcache za_tcache_none = {.top = {[0 ... ZA_CLASS_LAST] = sentinel},
                                   .limit = {[0 ... ZA_CLASS_LAST] = sentinel}};

__thread struct za_tcache *za_tcache __attribute__((tls_model("initial-exec"))) = &za_tcache_none;

static size_t all_bytes; /* atomic; I4: of all caches */

/* Counters of the owner alone that za_tcache_stats reads meanwhile. */
static void bump(uint64_t *counter)
{
    __atomic_store_n(counter, *counter + 1, __ATOMIC_RELAXED);
}

/* --- how much a cache may hold ------------------------------------------- */

static void account(struct za_tcache *tc, size_t bytes)
{
    (void)__atomic_fetch_add(&all_bytes, bytes - tc->bytes, __ATOMIC_RELAXED);
    tc->bytes = bytes;
}

static size_t total_most(void)
{
    return za_max(ZA_TCACHE_TOTAL, za_space_used() / TOTAL_SHARE);
}

static bool crowded(size_t more)
{
    return __atomic_load_n(&all_bytes, __ATOMIC_RELAXED) + more > total_most() / 4 * 3;
}

static size_t even_share(void)
{
    size_t n = za_caches_threads();
    return za_min(total_most() / za_max(n, 1), ZA_TCACHE_BYTES);
}

static bool may_hold(const struct za_tcache *tc, size_t more)
{
    if (!crowded(more))
        return tc->bytes + more <= ZA_TCACHE_BYTES;
    return tc->bytes + more <= even_share() &&
           __atomic_load_n(&all_bytes, __ATOMIC_RELAXED) + more <= total_most();
}

bool za_tcache_crowded(void)
{
    return crowded(0);
}

size_t za_tcache_all_bytes(void)
{
    return __atomic_load_n(&all_bytes, __ATOMIC_RELAXED);
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

/* --- a cache as a whole --------------------------------------------------- */

void za_tcache_clear(struct za_tcache *tc)
{
    for (unsigned cls = 0; cls <= ZA_CLASS_LAST; cls++)
        bin_none(tc, cls);
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

void za_tcache_drop_pocket(struct za_tcache *tc)
{
    if (!tc->pocket.room)
        return;
    za_tcache_begin(tc);
    uint32_t dead = za_pocket_empty(tc);
    za_tcache_end(tc);
    za_large_release(dead);
}

void za_tcache_drop(struct za_tcache *tc)
{
    za_tcache_begin(tc);
    for (unsigned cls = 1; cls <= ZA_CLASS_LAST; cls++)
        bin_drop(tc, cls);
    za_tcache_end(tc);
    za_tcache_drop_pocket(tc);
}

void za_tcache_forget(struct za_tcache *tc)
{
    za_tcache_clear(tc);
    tc->pocket.lost += tc->pocket.n;
    tc->pocket.n = tc->pocket.left = tc->pocket.room = 0;
    account(tc, 0);
    tc->busy = 0;
    tc->holes = 0;
}

size_t za_tcache_holds(const struct za_tcache *tc)
{
    size_t bytes = 0;
    for (unsigned cls = 1; cls <= ZA_CLASS_LAST; cls++)
        if (tc->rest[cls].base)
            bytes += bin_count(tc, cls) * (size_t)za_class_cell[cls].size;
    return bytes;
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
        za_tcache_drop(tc);
}

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
