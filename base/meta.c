/* SPDX-License-Identifier: MIT */
/*
 * meta -- the metadata allocator: bump within mapped chunks, free lists by power of two.
 *
 * Blocks are rounded up to a power of two and aligned to it (to a page at most), so a block on a
 * free list fits every request of its class.  What a chunk has left over when it is retired, and
 * what alignment skips, is cut into such blocks too: nothing mapped is lost.  Rounding costs
 * address space, not memory, for blocks beyond a page.  Refuses to give anything back to the
 * system: stale readers may still look (see meta.h).
 *
 * I1  Every block of class k is 2^k bytes, inside one chunk, aligned to min(2^k, a page).
 * I2  The last page of a chunk holds no block: reads up to 4 KiB past a block stay mapped.
 * I3  Memory beyond `bump` has never been written and is zero; blocks from a free list are zeroed
 *     when they are handed out.
 * I4  Chunks are linked oldest first and never unlinked: walking them needs no lock.
 *
 * Locks: ZA_RANK_META.  May sleep: on it and in map.  May fault: own memory.  Allocates: chunks.
 */
#include "base/meta.h"

#include <string.h>

#include "base/lock.h"

#define PAGE ((size_t)4096) /* the smallest page there is: a larger one changes nothing here */
#define MIN_SHIFT 4
#define MAX_SHIFT 46
#define CHUNK_SIZE ZA_MIB
/* A larger request gets a chunk of its own, and the current one stays in use. */
#define OWN_CHUNK (CHUNK_SIZE / 4)
#define NOTES_MAX 4u

struct chunk { /* at the chunk's start */
    struct chunk *next;
    size_t len;
};

struct block { /* a block on a free list */
    struct block *next;
};

/*
 * Lock key: (m) meta.lock; (a) written under meta.lock, read atomically without.
 * Born: static.  Owned: by this file.  Dies: never.
 */
static struct {
    struct za_lock lock;
    void *(*map)(size_t len);          /* (m) */
    char *bump, *end;                  /* (m) free part of the current chunk, tail page excluded */
    struct block *free[MAX_SHIFT + 1]; /* (m) */
    struct chunk *first, *last;        /* (a), (m) */
    size_t mapped, used;               /* (a) */
    struct note {
        void *addr;
        const size_t *len;
    } notes[NOTES_MAX]; /* (m); constant below nnotes */
    unsigned nnotes;    /* (a) */
} meta = {.lock = ZA_LOCK_INIT(ZA_RANK_META)};

void za_meta_init(void *(*map)(size_t len))
{
    za_lock(&meta.lock);
    meta.map = map;
    za_unlock(&meta.lock);
}

/* The class of a request: the smallest k with 2^k >= bytes. */
static unsigned class_of(size_t bytes)
{
    if (bytes <= (size_t)1 << MIN_SHIFT)
        return MIN_SHIFT;
    return (unsigned)(64 - __builtin_clzl(bytes - 1));
}

static size_t natural_align(unsigned k)
{
    return za_min((size_t)1 << k, PAGE);
}

static bool aligned(const void *p, size_t align)
{
    return ((uintptr_t)p & (align - 1)) == 0;
}

static void count_used_locked(size_t plus, size_t minus)
{
    __atomic_store_n(&meta.used, meta.used + plus - minus, __ATOMIC_RELAXED);
}

static void push_locked(void *p, unsigned k)
{
    struct block *b = p;

    ZA_DASSERT(aligned(p, natural_align(k))); /* I1 */
    b->next = meta.free[k];
    meta.free[k] = b;
}

/* The first block of class k that is aligned as asked; usually the first of the list. */
static void *pop_locked(unsigned k, size_t align)
{
    for (struct block **link = &meta.free[k]; *link; link = &(*link)->next) {
        struct block *b = *link;
        if (aligned(b, align)) {
            *link = b->next;
            return b;
        }
    }
    return NULL;
}

/* The class of the largest block that may start at p and ends at or before `end`. */
static unsigned largest_at(const char *p, const char *end)
{
    unsigned by_room = 63 - (unsigned)__builtin_clzl((size_t)(end - p));
    unsigned by_align = (unsigned)__builtin_ctzl((uintptr_t)p);

    /* A page-aligned block may have any size (I1). */
    return (uintptr_t)p % PAGE == 0 || by_room < by_align ? by_room : by_align;
}

/* Cuts [p, end) into free blocks (I1); both are multiples of the smallest block. */
static void recycle_locked(char *p, char *end)
{
    while (p < end) {
        unsigned k = largest_at(p, end);
        push_locked(p, k);
        p += (size_t)1 << k;
    }
}

static struct chunk *map_chunk_locked(size_t len)
{
    struct chunk *c = meta.map ? meta.map(len) : NULL;

    if (!c)
        return NULL;
    c->len = len;
    if (meta.last)
        __atomic_store_n(&meta.last->next, c, __ATOMIC_RELEASE); /* I4 */
    else
        __atomic_store_n(&meta.first, c, __ATOMIC_RELEASE);
    meta.last = c;
    __atomic_store_n(&meta.mapped, meta.mapped + len, __ATOMIC_RELAXED);
    return c;
}

/* Retires the current chunk and starts a new one. */
static bool new_current_locked(void)
{
    struct chunk *c = map_chunk_locked(CHUNK_SIZE);

    if (!c)
        return false;
    recycle_locked(meta.bump, meta.end);
    meta.bump = (char *)c + za_align_up(sizeof(*c), (size_t)1 << MIN_SHIFT);
    meta.end = (char *)c + CHUNK_SIZE - PAGE; /* I2 */
    return true;
}

static bool fits_locked(size_t size, size_t align)
{
    uintptr_t at = za_align_up((uintptr_t)meta.bump, align), end = (uintptr_t)meta.end;

    return meta.bump && at <= end && size <= end - at;
}

static void *bump_locked(size_t size, size_t align)
{
    char *p;

    if (!fits_locked(size, align) && !new_current_locked())
        return NULL;
    p = (char *)za_align_up((uintptr_t)meta.bump, align);
    recycle_locked(meta.bump, p);
    meta.bump = p + size;
    return p;
}

static void *own_chunk_locked(size_t size)
{
    /*
     * Header page, block, tail page (I2).  A block of this size needs no more than page alignment.
     */
    struct chunk *c = map_chunk_locked(PAGE + size + PAGE);

    return c ? (char *)c + PAGE : NULL;
}

/* A block of class k cut out of a free block of a larger class. */
static void *split_locked(unsigned k, size_t align)
{
    for (unsigned j = k + 1; ((size_t)1 << j) < OWN_CHUNK; j++) {
        char *p = pop_locked(j, align);
        if (p) {
            recycle_locked(p + ((size_t)1 << k), p + ((size_t)1 << j));
            return p;
        }
    }
    return NULL;
}

/* A block that has been used before, from the free lists; splitting comes before a new chunk. */
static void *used_block_locked(unsigned k, size_t align)
{
    void *p = pop_locked(k, align);

    if (!p && ((size_t)1 << k) < OWN_CHUNK && !fits_locked((size_t)1 << k, align))
        p = split_locked(k, align);
    return p;
}

static void *alloc_locked(size_t bytes, size_t align, unsigned k)
{
    size_t size = (size_t)1 << k;
    size_t at = za_max(align, natural_align(k));
    void *p = used_block_locked(k, at);

    if (p)
        memset(p, 0, bytes); /* I3 */
    else
        p = size >= OWN_CHUNK ? own_chunk_locked(size) : bump_locked(size, at);
    if (p)
        count_used_locked(size, 0);
    return p;
}

void *za_meta_alloc(size_t bytes, size_t align)
{
    void *p;

    ZA_ASSERT(za_is_pow2(align) && align <= PAGE);
    if (bytes > (size_t)1 << MAX_SHIFT)
        return NULL;
    za_lock(&meta.lock);
    p = alloc_locked(bytes, align, class_of(bytes));
    za_unlock(&meta.lock);
    return p;
}

void za_meta_free(void *p, size_t bytes)
{
    unsigned k;

    if (!p)
        return;
    k = class_of(bytes);
    za_lock(&meta.lock);
    push_locked(p, k);
    count_used_locked(0, (size_t)1 << k);
    za_unlock(&meta.lock);
}

size_t za_meta_mapped(void)
{
    return __atomic_load_n(&meta.mapped, __ATOMIC_RELAXED);
}

size_t za_meta_used(void)
{
    return __atomic_load_n(&meta.used, __ATOMIC_RELAXED);
}

void za_meta_note(void *addr, const size_t *len)
{
    za_lock(&meta.lock);
    ZA_ASSERT(meta.nnotes < NOTES_MAX);
    meta.notes[meta.nnotes] = (struct note){addr, len};
    __atomic_store_n(&meta.nnotes, meta.nnotes + 1, __ATOMIC_RELEASE);
    za_unlock(&meta.lock);
}

static bool noted(unsigned index, void **addr, size_t *len)
{
    if (index >= __atomic_load_n(&meta.nnotes, __ATOMIC_ACQUIRE))
        return false;
    *addr = meta.notes[index].addr;
    *len = __atomic_load_n(meta.notes[index].len, __ATOMIC_RELAXED);
    return true;
}

bool za_meta_chunk(unsigned index, void **addr, size_t *len)
{
    struct chunk *c = __atomic_load_n(&meta.first, __ATOMIC_ACQUIRE);

    for (; c && index > 0; index--)
        c = __atomic_load_n(&c->next, __ATOMIC_ACQUIRE);
    if (!c)
        return noted(index, addr, len);
    *addr = c;
    *len = c->len;
    return true;
}

void za_meta_prefork(void)
{
    za_lock(&meta.lock);
}

void za_meta_postfork(void)
{
    za_unlock(&meta.lock);
}
