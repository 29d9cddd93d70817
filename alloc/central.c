/* SPDX-License-Identifier: MIT */
/*
 * central -- batches between thread caches and spans.
 *
 * Empty spans are collected in a list while the lock is held and go to the page heap after it is
 * released.
 *
 * Locks: ZA_RANK_CENTRAL.  May sleep: see central.h.  May fault: no.  Allocates: see central.h.
 */
#include "alloc/central.h"

#include <string.h>

#include "alloc/heap.h"
#include "alloc/large.h"
#include "alloc/misuse.h"
#include "base/meta.h"
#include "pager/pager.h"

#define TRANSFER_SHARE 128u /* a transfer cache holds at most this part of the heap */
#define TRANSFER_LEAST 4u   /* ... or so many slots */
#define LOOKS 8u            /* at spans, for one that is not out */
#define COLD_SHARE \
    8u /* of a class's slots may be free, and left where they are because they are out */

struct za_central za_central[ZA_CLASS_LAST + 1];

/* --- what others read without the lock ------------------------------------ */

static void set_transfer(struct za_central *c, unsigned n)
{
    __atomic_store_n(&c->ntransfer, n, __ATOMIC_RELAXED);
}

static void set_spare(struct za_central *c, uint32_t unit)
{
    __atomic_store_n(&c->spare, unit, __ATOMIC_RELAXED);
}

/* --- lists of spans ------------------------------------------------------ */

static void list_add(struct za_central *c, uint32_t unit, unsigned bucket)
{
    struct za_span *s = &za_spans[unit];
    s->bucket = (uint8_t)bucket;
    if (bucket == ZA_SPAN_FULL)
        return;
    s->prev = ZA_NO_UNIT;
    s->next = c->list[bucket];
    if (s->next != ZA_NO_UNIT)
        za_spans[s->next].prev = unit;
    c->list[bucket] = unit;
}

static void list_remove(struct za_central *c, uint32_t unit)
{
    struct za_span *s = &za_spans[unit];
    if (s->bucket == ZA_SPAN_FULL)
        return;
    if (s->prev == ZA_NO_UNIT)
        c->list[s->bucket] = s->next;
    else
        za_spans[s->prev].next = s->next;
    if (s->next != ZA_NO_UNIT)
        za_spans[s->next].prev = s->prev;
}

static void ZA_NOINLINE rebucket(struct za_central *c, uint32_t unit, unsigned bucket)
{
    list_remove(c, unit);
    list_add(c, unit, bucket);
}

ZA_INLINE void relist(struct za_central *c, uint32_t unit, unsigned cls)
{
    unsigned bucket = za_span_bucket(cls, za_spans[unit].nfree);
    if (ZA_UNLIKELY(bucket != za_spans[unit].bucket))
        rebucket(c, unit, bucket);
}

/* Is the page out that the span's next slot lies in, or begins before? */
static bool is_out(uint32_t unit, unsigned cls)
{
    return za_pager_out(za_unit_addr(unit) +
                        (size_t)za_spans[unit].hint * 64 * za_class_cell[cls].size);
}

static bool is_dense(const struct za_central *c, unsigned cls)
{
    return c->nfree <= (size_t)c->nspans * za_class_info[cls].nslots / COLD_SHARE;
}

/*
 * The fullest span whose next slot is not out, as far as a few of them tell.  Where all these are: none, as
 * long as what the class has free in all is not much, and the fullest if `any`.
 */
static uint32_t best(const struct za_central *c, unsigned cls, bool any)
{
    uint32_t fullest = ZA_NO_UNIT;
    for (unsigned b = 0; b < ZA_SPAN_BUCKETS; b++) {
        unsigned looks = LOOKS;
        for (uint32_t unit = c->list[b]; unit != ZA_NO_UNIT && looks; unit = za_spans[unit].next) {
            if (!is_out(unit, cls))
                return unit;
            fullest = fullest == ZA_NO_UNIT ? unit : fullest;
            looks--;
        }
    }
    return any || !is_dense(c, cls) ? fullest : ZA_NO_UNIT;
}

/* --- birth and death of spans -------------------------------------------- */

/* Units for a new span; called without the lock. */
static uint32_t span_units_new(unsigned cls)
{
    size_t dirty;
    struct za_heap_want want = {
        .units = za_class_info[cls].units, .align = 1, .kind = ZA_RUN_SPAN, .prefer = ZA_DIRTY};
    uint32_t unit = za_heap_alloc(&want, &dirty);
    if (unit == ZA_NO_UNIT && za_large_trim())
        unit = za_heap_alloc(&want, &dirty);
    return unit;
}

/* Makes them a span of the class; if it cannot be, they are dead at once. */
static void span_add(struct za_central *c, unsigned cls, uint32_t unit, uint32_t *dead)
{
    if (!za_span_born(unit, cls)) {
        za_spans[unit].next = *dead;
        *dead = unit;
        return;
    }
    c->nspans++;
    c->nfree += za_class_info[cls].nslots;
    list_add(c, unit, ZA_SPAN_BUCKETS - 1);
}

/* Takes an empty span from the class and puts it on the list of the dead. */
static void span_bury(struct za_central *c, unsigned cls, uint32_t unit, uint32_t *dead)
{
    list_remove(c, unit);
    if (c->spare == unit)
        set_spare(c, ZA_NO_UNIT);
    c->nspans--;
    c->nfree -= za_class_info[cls].nslots;
    za_span_dies(unit, cls);
    za_spans[unit].next = *dead;
    *dead = unit;
}

/* Their units go back; called without the lock. */
static void release(uint32_t dead)
{
    while (dead != ZA_NO_UNIT) {
        uint32_t next = za_spans[dead].next;
        za_heap_free(dead, (size_t)za_spans[dead].units << ZA_UNIT_SHIFT);
        dead = next;
    }
}

/* --- batches ------------------------------------------------------------- */

/* How many slots the transfer cache may hold: less in a small heap, which may have no worker. */
static unsigned transfer_room(unsigned cls)
{
    size_t slots = za_space_used() / TRANSFER_SHARE / za_class_cell[cls].size;
    return (unsigned)za_min(za_max(slots, TRANSFER_LEAST), za_class_info[cls].transfer);
}

static unsigned take_transfer(struct za_central *c, void **out, unsigned want)
{
    unsigned n = (unsigned)za_min(want, c->ntransfer);
    set_transfer(c, c->ntransfer - n);
    c->low = (uint32_t)za_min(c->low, c->ntransfer);
    if (n)
        memcpy(out, c->transfer + c->ntransfer, n * sizeof(void *));
    return n;
}

static unsigned take_spans(struct za_central *c, unsigned cls, void **out, unsigned want, bool any)
{
    unsigned n = 0;
    uint32_t unit;
    while (n < want && (unit = best(c, cls, any && !n)) != ZA_NO_UNIT) {
        n += za_span_take(unit, cls, out + want - n, want - n);
        if (c->spare == unit)
            set_spare(c, ZA_NO_UNIT);
        relist(c, unit, cls);
    }
    c->nfree -= n;
    for (unsigned i = 0; n < want && i < n; i++)
        out[i] = out[want - n + i];
    return n;
}

/* With a new span. */
static unsigned take_fresh(struct za_central *c, unsigned cls, void **out, unsigned want)
{
    uint32_t dead = ZA_NO_UNIT, unit = span_units_new(cls);
    za_lock(&c->lock);
    if (unit != ZA_NO_UNIT)
        span_add(c, cls, unit, &dead);
    unsigned n = take_spans(c, cls, out, want, true);
    /* Others may have put slots back meanwhile, and those came first (I2). */
    if (unit != dead && unit != ZA_NO_UNIT && za_spans[unit].nfree == za_class_info[cls].nslots)
        span_bury(c, cls, unit, &dead);
    za_unlock(&c->lock);
    release(dead);
    return n;
}

unsigned za_central_take(unsigned cls, void **out, unsigned want)
{
    struct za_central *c = &za_central[cls];
    za_lock(&c->lock);
    unsigned n = take_transfer(c, out, want);
    if (!n)
        n = take_spans(c, cls, out, want, false);
    za_unlock(&c->lock);
    return n ? n : take_fresh(c, cls, out, want);
}

/* The first unit of the span p lies in; anything else is a misuse. */
static uint32_t span_of(unsigned cls, const void *p)
{
    size_t unit = ((uintptr_t)p - za_heap_base) >> ZA_UNIT_SHIFT;
    unsigned byte = za_map_get(unit);
    if (ZA_UNLIKELY(za_map_class(byte) != cls))
        za_misuse_double(p);
    return za_span_head(unit, byte);
}

/* After slots went in: an empty span dies, unless it is the only one with free slots. */
ZA_INLINE void settle(struct za_central *c, unsigned cls, uint32_t unit, uint32_t *dead)
{
    unsigned nfree = za_spans[unit].nfree;
    bool empty = nfree == za_class_info[cls].nslots;
    if (empty && c->nfree > nfree) {
        span_bury(c, cls, unit, dead);
        return;
    }
    if (empty)
        set_spare(c, unit);
    relist(c, unit, cls);
}

/* Neighbours of one span are settled together. */
static void put_spans(struct za_central *c, unsigned cls, void **slots, unsigned n, uint32_t *dead)
{
    for (unsigned i = 0; i < n;) {
        uint32_t unit = span_of(cls, slots[i]);
        unsigned k = za_span_put(unit, cls, slots + i, n - i);
        c->nfree += k;
        settle(c, cls, unit, dead);
        i += k;
    }
}

static bool put_transfer(struct za_central *c, unsigned cls, void **slots, unsigned n)
{
    size_t room = za_class_info[cls].transfer;
    if (ZA_UNLIKELY(!c->transfer)) {
        c->transfer = za_meta_alloc(room * sizeof(void *), ZA_CACHELINE);
        if (!c->transfer)
            return false;
    }
    if (c->ntransfer + n > transfer_room(cls))
        return false;
    memcpy(c->transfer + c->ntransfer, slots, n * sizeof(void *));
    set_transfer(c, c->ntransfer + n);
    return true;
}

void za_central_put(unsigned cls, void **slots, unsigned n)
{
    struct za_central *c = &za_central[cls];
    uint32_t dead = ZA_NO_UNIT;
    za_lock(&c->lock);
    if (!put_transfer(c, cls, slots, n))
        put_spans(c, cls, slots, n, &dead);
    za_unlock(&c->lock);
    release(dead);
}

/* --- giving up ----------------------------------------------------------- */

/* Puts the n bottom slots of the transfer cache into their spans, in pieces, so that the lock is
 * held shortly. */
static void drain(struct za_central *c, unsigned cls, unsigned n)
{
    while (n) {
        uint32_t dead = ZA_NO_UNIT;
        za_lock(&c->lock);
        unsigned k = (unsigned)za_min(za_min(n, c->ntransfer), 64);
        set_transfer(c, c->ntransfer - k);
        c->low = (uint32_t)za_min(c->low, c->ntransfer);
        put_spans(c, cls, c->transfer + c->ntransfer, k, &dead);
        za_unlock(&c->lock);
        release(dead);
        n = k ? n - k : 0;
    }
}

/* The one span I2 lets a class keep. */
static void drop_spare(struct za_central *c, unsigned cls)
{
    uint32_t dead = ZA_NO_UNIT;
    za_lock(&c->lock);
    if (c->spare != ZA_NO_UNIT)
        span_bury(c, cls, c->spare, &dead);
    za_unlock(&c->lock);
    release(dead);
}

void za_central_decay(unsigned cls)
{
    struct za_central *c = &za_central[cls];
    if (za_central_idle(cls))
        return;
    za_lock(&c->lock);
    unsigned idle = c->low;
    c->low = c->ntransfer - idle;
    za_unlock(&c->lock);
    drain(c, cls, idle);
    drop_spare(c, cls);
}

bool za_central_idle(unsigned cls)
{
    const struct za_central *c = &za_central[cls];
    return !__atomic_load_n(&c->ntransfer, __ATOMIC_RELAXED) &&
           __atomic_load_n(&c->spare, __ATOMIC_RELAXED) == ZA_NO_UNIT;
}

void za_central_trim(unsigned cls)
{
    struct za_central *c = &za_central[cls];
    drain(c, cls, UINT32_MAX);
    drop_spare(c, cls);
}

/* --- life ---------------------------------------------------------------- */

void za_central_init(void)
{
    for (unsigned cls = 0; cls <= ZA_CLASS_LAST; cls++) {
        struct za_central *c = &za_central[cls];
        za_lock_init(&c->lock, ZA_RANK_CENTRAL);
        c->spare = ZA_NO_UNIT;
        for (unsigned b = 0; b < ZA_SPAN_BUCKETS; b++)
            c->list[b] = ZA_NO_UNIT;
    }
}

void za_central_prefork(void)
{
    for (unsigned cls = 1; cls <= ZA_CLASS_LAST; cls++)
        za_lock(&za_central[cls].lock);
}

void za_central_postfork(void)
{
    for (unsigned cls = ZA_CLASS_LAST; cls; cls--)
        za_unlock(&za_central[cls].lock);
}

/* --- checking ------------------------------------------------------------ */

struct sums {
    unsigned cls;
    size_t nspans, nfree, nlisted;
};

static void check_span(uint32_t unit, void *arg)
{
    struct sums *s = arg;
    /* One not yet born or already dead has no map byte. */
    if (za_spans[unit].kind != ZA_RUN_SPAN || za_map_get(unit) != s->cls)
        return;
    za_span_check(unit, s->cls);
    s->nspans++;
    s->nfree += za_spans[unit].nfree;
    s->nlisted += za_spans[unit].bucket != ZA_SPAN_FULL;
}

static size_t check_lists(const struct za_central *c)
{
    size_t n = 0;
    for (unsigned b = 0; b < ZA_SPAN_BUCKETS; b++) {
        uint32_t prev = ZA_NO_UNIT;
        for (uint32_t u = c->list[b]; u != ZA_NO_UNIT; prev = u, u = za_spans[u].next, n++)
            ZA_ASSERT(za_spans[u].bucket == b && za_spans[u].prev == prev);
    }
    return n;
}

static void check_transfer(const struct za_central *c, unsigned cls)
{
    ZA_ASSERT(c->ntransfer <= za_class_info[cls].transfer && c->low <= c->ntransfer);
    for (unsigned i = 0; i < c->ntransfer; i++)
        ZA_ASSERT(za_span_is_out(span_of(cls, c->transfer[i]), cls, c->transfer[i]));
}

void za_central_check(unsigned cls)
{
    struct za_central *c = &za_central[cls];
    struct sums s = {.cls = cls};
    za_lock(&c->lock);
    za_heap_walk(check_span, &s);
    ZA_ASSERT(s.nspans == c->nspans && s.nfree == c->nfree);
    ZA_ASSERT(check_lists(c) == s.nlisted);
    check_transfer(c, cls);
    za_unlock(&c->lock);
}
