/* SPDX-License-Identifier: MIT */
/*
 * large -- large blocks.
 *
 * Locks: none of its own.  May sleep: in the page heap and in the pager.  May fault: see large.h.
 * Allocates: runs.
 */
#include "alloc/large.h"

#include <errno.h>
#include <string.h>

#include "alloc/alloc.h"
#include "alloc/fast.h"
#include "alloc/heap.h"
#include "alloc/life.h"
#include "alloc/misuse.h"
#include "alloc/pocket.h"
#include "alloc/shelf.h"
#include "alloc/tcache.h"
#include "base/conf.h"
#include "base/stat.h"
#include "os/os.h"
#include "pager/pager.h"

size_t za_page_mask;

#define POCKET_MOST ((size_t)ZA_POCKET_UNITS << ZA_UNIT_SHIFT)
/* A resident rest of more than 1/3 of the block is worth a purge, if it pays for the system call
 * and the faults after it. */
#define REST_SHARE 3u
#define REST_LEAST ZA_UNIT_SIZE /* fast.h counts on it */
/* From here on dropping pages is cheaper than clearing them. */
#define CALLOC_DISCARD (1 * ZA_MIB)
/*
 * A shorter block that came to calloc clean may have no pages at all when it comes again: then dropping is
 * cheaper, too, and leaves it so.  Only the time it takes tells: had there been pages, it would have
 * taken longer than this, and clearing them instead will be cheaper than faults.
 */
#define SPARSE_LEAST (64 * ZA_KIB)
#define SPARSE_TRIES 2u /* so often in a row it may take longer: there are interrupts */
#define DROP_NS 300u
#define DROP_PAGE_NS 40u
/* What is longer the pager moves as pages rather than we as bytes, unless the block is younger than
 * this part of cold_ms. */
#define MOVE_RECORDS ((size_t)ZA_SHELF_UNITS << ZA_UNIT_SHIFT)
#define YOUNG_SHARE 2u
#define MOVE_TABLES (8 * ZA_MIB) /* from here on the kernel does: below, faults cost more */
#define MOVE_TABLES_MOST 4096u   /* each such move may split the heap's mapping (D15) */
/* A block that had to move to grow gets so much more address space: 1/3 of itself where the pager drops
 * what of that is resident and stays unused, else 1/8. */
#define SLACK_SHARE 3u
#define SLACK_SHARE_ALONE 8u

static size_t unit_bytes(size_t units)
{
    return units << ZA_UNIT_SHIFT;
}

static uint32_t unit_of(const void *p)
{
    return (uint32_t)(((uintptr_t)p - za_heap_base) >> ZA_UNIT_SHIFT);
}

/* --- class map ----------------------------------------------------------- */

static unsigned tail_byte(uint32_t distance)
{
    return ZA_MAP_LARGE_TAIL + 31u - (unsigned)__builtin_clz(distance);
}

/* All d from 2^k to 2^(k+1) - 1 have the same byte. */
static void map_tails(uint32_t unit, uint32_t from, uint32_t to)
{
    for (uint32_t d = from, end; d < to; d = end) {
        unsigned byte = tail_byte(d);
        end = (uint32_t)za_min((uint64_t)2 << (byte - ZA_MAP_LARGE_TAIL), to);
        za_map_fill(unit + d, end - d, byte);
    }
}

static void unmap_tails(uint32_t unit, uint32_t from, uint32_t to)
{
    if (from < to)
        za_map_fill(unit + from, to - from, ZA_MAP_NONE);
}

uint32_t za_large_head(size_t unit)
{
    unsigned byte = za_map_get(unit);
    while (byte >= ZA_MAP_LARGE_TAIL && byte < ZA_MAP_LARGE_TAIL + 32) {
        size_t jump = (size_t)1 << (byte - ZA_MAP_LARGE_TAIL);
        if (jump > unit)
            return ZA_NO_UNIT;
        unit -= jump;
        byte = za_map_get(unit);
    }
    return za_map_lives(byte) || za_map_sleeps(byte) ? (uint32_t)unit : ZA_NO_UNIT;
}

/* --- parking ------------------------------------------------------------- */

_Noreturn void za_large_misuse(const void *p)
{
    uint32_t head = za_large_head(unit_of(p));
    if (head == ZA_NO_UNIT || za_map_get(head) != ZA_MAP_LARGE)
        za_misuse_nothing(p);
    za_misuse_interior(p);
}

/*
 * Claims the block at p for its end, parked.  Of two who free it at the very same moment both may
 * get through; then the run is parked twice, and whoever takes it second finds it alive.
 */
ZA_INLINE uint32_t claim(void *p)
{
    uint32_t unit = unit_of(p);
    if (ZA_UNLIKELY((uintptr_t)p & (ZA_UNIT_SIZE - 1) || za_map_get(unit) != ZA_MAP_LARGE))
        za_large_misuse(p);
    za_map_set(unit, ZA_MAP_PARKED);
    return unit;
}

static void ZA_NOINLINE ZA_COLD parked_twice(uint32_t unit)
{
    za_misuse_double((void *)za_unit_addr(unit));
}

/* A run on its way out of pocket or shelf. */
ZA_INLINE void check_parked(uint32_t unit)
{
    if (ZA_UNLIKELY(za_map_get(unit) != ZA_MAP_PARKED))
        parked_twice(unit);
}

/* --- birth and death ----------------------------------------------------- */

static void set_size(struct za_span *s, size_t usable)
{
    __atomic_store_n(&s->size, usable, __ATOMIC_RELEASE);
}

/*
 * Gives back what is resident behind the usable size, if it is much; `dirty` bytes of the run may
 * be, which is more.  `rest` is clean so far.  Not while the pager works: it would make malloc wait
 * for the worker, and the pager drops dead pages anyhow once they are cold.
 */
static void purge_rest(uint32_t unit, size_t dirty)
{
    struct za_span *s = &za_spans[unit];
    size_t rest = za_align_up(dirty, za_os->page_size) - s->size;
    if (rest < REST_LEAST || rest <= s->size / REST_SHARE || za_pager_active() ||
        za_pager_discard(za_unit_addr(unit) + s->size, rest) < 0)
        s->rest = ZA_DIRTY;
}

/* Publishes the block in a run whose tails are in the map. */
ZA_INLINE void *block_begin(uint32_t unit, size_t usable, size_t dirty)
{
    struct za_span *s = &za_spans[unit];
    set_size(s, usable);
    s->rest = ZA_CLEAN;
    if (ZA_UNLIKELY(dirty > usable))
        purge_rest(unit, dirty);
    za_map_set(unit, ZA_MAP_LARGE);
    return (void *)za_unit_addr(unit);
}

/* A run of that length from the thread's pocket; NULL: none. */
static void *from_pocket(size_t size, size_t *dirty)
{
    size_t usable = za_align_up(size, za_os->page_size);
    uint32_t unit = za_pocket_take((uint32_t)((usable + ZA_UNIT_SIZE - 1) >> ZA_UNIT_SHIFT));
    if (unit == ZA_NO_UNIT)
        return NULL;
    check_parked(unit);
    *dirty = za_spans[unit].size;
    return block_begin(unit, usable, *dirty);
}

struct request {
    size_t size, align;
    uint32_t slack; /* units beyond what size needs */
    enum za_dirt prefer;
};

static uint32_t run_from_heap(const struct za_heap_want *want, size_t *dirty)
{
    uint32_t unit = za_heap_alloc(want, dirty);
    if (unit == ZA_NO_UNIT)
        return unit;
    if (want->units > ZA_SHELF_UNITS)
        za_spans[unit].since = za_os->now();
    za_spans[unit].sparse = 0;
    map_tails(unit, 1, want->units);
    za_stat_add(ZA_STAT_LARGE_ALLOCS, 1);
    return unit;
}

/* Once more without what is parked, if there is no memory. */
static uint32_t run_new(const struct za_heap_want *want, size_t *dirty)
{
    uint32_t unit = run_from_heap(want, dirty);
    if (unit == ZA_NO_UNIT && za_large_trim())
        unit = run_from_heap(want, dirty);
    return unit;
}

/* From a shelf: its tails are in the map. */
static uint32_t run_parked(const struct za_heap_want *want, size_t *dirty)
{
    if (want->units > ZA_SHELF_LONG || want->align > 1 || want->prefer != ZA_DIRTY)
        return ZA_NO_UNIT;
    uint32_t unit = za_shelf_take(want->units);
    if (unit == ZA_NO_UNIT)
        return unit;
    check_parked(unit);
    *dirty = za_spans[unit].size;
    return unit;
}

/* *dirty: how many of its first bytes may not be zero. */
static void *block_new(const struct request *rq, size_t *dirty)
{
    if (!za_alloc_ready() || rq->size > za_heap_size || rq->align > za_heap_size)
        return NULL;
    size_t usable = za_align_up(rq->size, za_os->page_size);
    struct za_heap_want want = {
        .units = (uint32_t)(za_align_up(usable, ZA_UNIT_SIZE) >> ZA_UNIT_SHIFT) + rq->slack,
        .align = (uint32_t)(za_max(rq->align, ZA_UNIT_SIZE) >> ZA_UNIT_SHIFT),
        .kind = ZA_RUN_LARGE,
        .prefer = rq->prefer};
    uint32_t unit = run_parked(&want, dirty);
    if (unit == ZA_NO_UNIT)
        unit = run_new(&want, dirty);
    if (unit == ZA_NO_UNIT)
        return NULL;
    return block_begin(unit, usable, *dirty);
}

void *za_large_alloc(size_t size, size_t align)
{
    size_t dirty;
    void *p = size <= POCKET_MOST && align <= ZA_UNIT_SIZE ? from_pocket(size, &dirty) : NULL;
    if (p)
        return p;
    struct request rq = {.size = size, .align = align, .prefer = ZA_DIRTY};
    return block_new(&rq, &dirty);
}

static void *ZA_NOINLINE malloc_long_way(size_t size)
{
    return size <= ZA_MALLOC_MAX ? za_large_alloc(size, 1) : NULL;
}

void *za_large_malloc(size_t size)
{
    void *p = za_fast_large_malloc(size);
    return ZA_LIKELY(p != NULL) ? p : malloc_long_way(size);
}

static bool drop(void *p, size_t len)
{
    return za_pager_discard((uintptr_t)p, len) >= 0;
}

/*
 * Drops pages of which there are perhaps none; false: clear them.  Not while the pager works: calloc would wait
 * for the worker.
 */
static bool drop_sparse(struct za_span *s, void *p, size_t len)
{
    if (!s->sparse || len < SPARSE_LEAST || za_pager_active())
        return false;
    uint64_t begin = za_os->now();
    if (!drop(p, len))
        return false;
    uint64_t most = DROP_NS + len / za_os->page_size * DROP_PAGE_NS;
    bool quick = za_os->now() - begin <= most;
    s->sparse = (uint8_t)(quick ? SPARSE_TRIES : s->sparse - 1u);
    return true;
}

static void clear(void *p, size_t len)
{
    struct za_span *s = &za_spans[unit_of(p)];
    if (len >= CALLOC_DISCARD ? drop(p, len) : drop_sparse(s, p, len))
        return;
    memset(p, 0, len);
    s->sparse = 0;
}

void *za_large_calloc(size_t size)
{
    size_t dirty;
    enum za_dirt prefer = size >= CALLOC_DISCARD ? ZA_CLEAN : ZA_DIRTY;
    struct request rq = {.size = size, .align = 1, .prefer = prefer};
    void *p = size <= POCKET_MOST ? from_pocket(size, &dirty) : NULL;
    if (!p)
        p = block_new(&rq, &dirty);
    if (!p)
        return NULL;
    struct za_span *s = &za_spans[unit_of(p)];
    if (!dirty)
        s->sparse = SPARSE_TRIES;
    else
        clear(p, za_min(za_align_up(dirty, za_os->page_size), s->size));
    return p;
}

void *za_large_zeros(uint32_t units)
{
    size_t dirty, len = unit_bytes(units);
    struct za_heap_want want = {.units = units,
                                .align = 1,
                                .kind = ZA_RUN_LARGE,
                                .prefer = len >= CALLOC_DISCARD ? ZA_CLEAN : ZA_DIRTY,
                                .soon = true};
    uint32_t unit = run_from_heap(&want, &dirty);
    if (unit == ZA_NO_UNIT)
        return NULL;
    char *p = block_begin(unit, len, dirty);
    if (dirty && (dirty < CALLOC_DISCARD ||
                  za_pager_discard_soon((uintptr_t)p, za_align_up(dirty, za_os->page_size)) < 0))
        memset(p, 0, dirty);
    return p;
}

/* Gives a list of parked runs back to the page heap; how many units. */
static size_t release(uint32_t dead)
{
    size_t total = 0;
    while (dead != ZA_NO_UNIT) {
        struct za_span *s = &za_spans[dead];
        uint32_t unit = dead;
        dead = s->next;
        total += s->units;
        check_parked(unit);
        za_map_set(unit, ZA_MAP_NONE);
        unmap_tails(unit, 1, s->units);
        za_heap_free(unit, s->size);
    }
    return total;
}

/* `dirty`: bytes within the usable size of the claimed block that may not be zero. */
static void ZA_NOINLINE block_end(uint32_t unit, size_t dirty)
{
    struct za_span *s = &za_spans[unit];
    set_size(s, s->rest == ZA_DIRTY ? unit_bytes(s->units) : dirty);
    s->rest = ZA_CLEAN;
    if (s->size && s->units <= ZA_SHELF_LONG && za_conf.dirty_decay_ms) {
        uint32_t dead = za_pocket_put(unit);
        if (ZA_UNLIKELY(dead != ZA_NO_UNIT))
            (void)release(dead);
        return;
    }
    s->next = ZA_NO_UNIT;
    (void)release(unit);
    za_stat_add(ZA_STAT_LARGE_FREES, 1);
}

void za_large_release(uint32_t dead)
{
    (void)release(dead);
}

void za_large_decay(void)
{
    (void)release(za_shelf_idle());
}

size_t za_large_trim(void)
{
    struct za_tcache *tc = za_tcache;
    size_t units = 0;
    if (tc != &za_tcache_none) {
        za_tcache_begin(tc);
        uint32_t dead = za_pocket_empty(tc);
        za_tcache_end(tc);
        units = release(dead);
    }
    return units + release(za_shelf_all());
}

void za_large_free(void *p)
{
    uint32_t unit = claim(p);
    block_end(unit, za_spans[unit].size);
}

void za_large_init(void)
{
    za_page_mask = za_os->page_size - 1;
}

size_t za_large_usable(const void *p)
{
    uint32_t unit = unit_of(p);
    if ((uintptr_t)p & (ZA_UNIT_SIZE - 1) || za_map_get(unit) != ZA_MAP_LARGE)
        return 0;
    return za_spans[unit].size;
}

size_t za_large_good_size(size_t size)
{
    return za_align_up(size, za_os->page_size);
}

/* --- realloc ------------------------------------------------------------- */

/*
 * May the kernel move our page tables?  Only where no page can be in the store: either the pager is
 * off for good or it has found no back-end.
 */
static bool may_move_tables(size_t len)
{
    static uint32_t moves;
    if (len < MOVE_TABLES || (za_conf.compress && strcmp(za_pager_backend(), "none") != 0))
        return false;
    return __atomic_fetch_add(&moves, 1, __ATOMIC_RELAXED) < MOVE_TABLES_MOST;
}

/*
 * Can nothing of it be in the store yet?  Then copying it costs less than the way through the
 * worker.  A block that was shorter than MOVE_RECORDS when it was born has an older `since`.
 */
static bool is_young(const void *p)
{
    return za_os->now() - za_spans[unit_of(p)].since < za_conf.cold_ms * ZA_NS_PER_MS / YOUNG_SHARE;
}

/* Does the pager move the pages of a block that long, rather than we its bytes? */
static bool moves_as_pages(const void *from, size_t len)
{
    return len > MOVE_RECORDS && za_pager_active() && !is_young(from);
}

/* Moves the contents; ZA_CLEAN: nothing is left behind. */
static enum za_dirt move(void *from, void *to, size_t len)
{
    bool moved =
        moves_as_pages(from, len) && za_pager_relocate((uintptr_t)from, (uintptr_t)to, len) >= 0;
    if (!moved)
        moved = may_move_tables(len) && za_os->remap(from, to, len) >= 0;
    if (!moved) {
        memcpy(to, from, len);
        return ZA_DIRTY;
    }
    za_stat_add(ZA_STAT_LARGE_MOVES, 1);
    return ZA_CLEAN;
}

/* What is copied goes where memory is resident already; pages need none where they go. */
static enum za_dirt place_for(const void *from, size_t len)
{
    return !moves_as_pages(from, len) ? ZA_DIRTY : ZA_CLEAN;
}

static uint32_t slack_for(size_t size)
{
    uint32_t share = za_pager_active() ? SLACK_SHARE : SLACK_SHARE_ALONE;
    return (uint32_t)(size >> ZA_UNIT_SHIFT) / share;
}

static void *grow_by_moving(void *p, size_t size)
{
    size_t dirty, len = za_spans[unit_of(p)].size;
    uint32_t slack = slack_for(size);
    struct request rq = {.size = size, .align = 1, .slack = slack, .prefer = place_for(p, len)};
    if (size > za_heap_size)
        return NULL;
    void *to = block_new(&rq, &dirty);
    if (!to && slack) {
        rq.slack = 0;
        to = block_new(&rq, &dirty);
    }
    if (!to)
        return NULL;
    enum za_dirt left = move(p, to, len);
    block_end(claim(p), left == ZA_CLEAN ? 0 : len);
    return to;
}

static bool grow_in_place(uint32_t unit, uint32_t units, size_t usable)
{
    struct za_span *s = &za_spans[unit];
    uint32_t old = s->units;
    if (units > old) {
        if (!za_heap_extend(unit, units - old))
            return false;
        s->rest = ZA_DIRTY;
    }
    set_size(s, usable);
    map_tails(unit, old, units);
    return true;
}

static void shrink_in_place(uint32_t unit, uint32_t units, size_t usable)
{
    struct za_span *s = &za_spans[unit];
    uint32_t old = s->units;
    size_t dirty = s->rest == ZA_DIRTY ? unit_bytes(old) : s->size;
    set_size(s, usable);
    if (units < old) {
        unmap_tails(unit, units, old);
        za_heap_shrink(unit, units);
    }
    s->rest = ZA_CLEAN;
    dirty = za_min(dirty, unit_bytes(units));
    if (dirty > usable)
        purge_rest(unit, dirty);
}

void *za_large_realloc(void *p, size_t size)
{
    uint32_t unit = unit_of(p);
    size_t usable = za_align_up(size, za_os->page_size), old = za_spans[unit].size;
    if (size > za_heap_size)
        return NULL;
    uint32_t units = (uint32_t)(za_align_up(usable, ZA_UNIT_SIZE) >> ZA_UNIT_SHIFT);
    if (usable == old)
        return p;
    if (usable < old) {
        shrink_in_place(unit, units, usable);
        return p;
    }
    if (grow_in_place(unit, units, usable))
        return p;
    return grow_by_moving(p, size);
}
