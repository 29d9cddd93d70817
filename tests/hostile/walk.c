/* SPDX-License-Identifier: MIT */
/*
 * walk -- a random walk over what a program may do to its memory by system calls, beside a model that
 * says what each page must hold.
 *
 * Regions come from malloc and from mmap.  They are written, protected, emptied, grown, shrunk, moved onto
 * each other, mapped over and read and written by the kernel; children do the same with what they
 * have inherited; two threads walk side by side.  Everything else in tests/hostile asks a question that
 * somebody thought of; this asks those that nobody did.
 *
 * usage: walk HOW [ROUNDS [FIRST]]      each round begins with numbers of its own; for hours: many
 */
#include "hostile.h"

#include <pthread.h>

#define REGIONS 20
#define PAGES_MOST 400u
#define STEPS 700
#define CHILD_STEPS 40
#define ROUNDS 8
#define WALKERS 2
#define READ_WRITE (PROT_READ | PROT_WRITE)
#define PRIVATE (MAP_PRIVATE | MAP_ANONYMOUS)

struct region {
    char *p; /* NULL: none */
    size_t pages;
    bool by_malloc;
    bool pieces; /* the kernel may see several mappings in it: it does not move as one */
    uint32_t value[PAGES_MOST]; /* of each page; 0: zeros */
    bool none[PAGES_MOST];      /* PROT_NONE */
};

struct walker {
    struct region region[REGIONS];
    uint64_t random;
    uint32_t next_value;
    int pipe[2];
    const char *wrong; /* what the last step was, if something is */
    bool in_child;
};

static unsigned moves; /* of pages, that went well */
static struct walker walkers[WALKERS];
/* A lone walker may leave holes for a moment: nobody else maps something there. */
static unsigned walking;

static uint64_t roll(struct walker *w, uint64_t n)
{
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return w->random % n;
}

/* --- pages ----------------------------------------------------------------- */

static uint64_t word_of(uint32_t value, size_t i)
{
    return value ? ((uint64_t)value << 32) + i / 16 : 0;
}

static void write_page(struct walker *w, struct region *r, size_t i)
{
    uint64_t *at = (uint64_t *)(r->p + i * PAGE);
    if (r->none[i])
        return;
    r->value[i] = ++w->next_value;
    for (size_t k = 0; k < PAGE / 8; k++)
        at[k] = word_of(r->value[i], k);
}

static bool page_right(const struct region *r, size_t i, const void *copy)
{
    const uint64_t *at = copy;
    for (size_t k = 0; k < PAGE / 8; k++)
        if (at[k] != word_of(r->value[i], k))
            return false;
    return true;
}

static bool region_right(const struct region *r)
{
    for (size_t i = 0; r->p && i < r->pages; i++)
        if (!r->none[i] && !page_right(r, i, r->p + i * PAGE))
            return false;
    return true;
}

static bool all_right(const struct walker *w)
{
    for (size_t k = 0; k < REGIONS; k++)
        if (!region_right(&w->region[k]))
            return false;
    return true;
}

/* --- regions --------------------------------------------------------------- */

static size_t some_pages(struct walker *w)
{
    return 1 + roll(w, roll(w, 3) ? 64 : PAGES_MOST);
}

static void fresh(struct region *r, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        r->value[i] = 0;
        r->none[i] = false;
    }
}

/* malloc's is written whole: its contents are anything. */
static bool make(struct walker *w, struct region *r)
{
    size_t pages = some_pages(w);
    *r = (struct region){.pages = pages, .by_malloc = roll(w, 3) == 0};
    r->p = r->by_malloc ? aligned_alloc(PAGE, pages * PAGE)
                        : mmap(NULL, pages * PAGE, READ_WRITE, PRIVATE, -1, 0);
    if (!r->p || r->p == MAP_FAILED)
        return false;
    for (size_t i = 0; i < pages; i++)
        if (r->by_malloc || roll(w, 2))
            write_page(w, r, i);
    return true;
}

static bool unprotect(struct region *r)
{
    memset(r->none, 0, sizeof(r->none));
    return mprotect(r->p, r->pages * PAGE, READ_WRITE) == 0;
}

static bool forget(struct region *r)
{
    bool good = unprotect(r) && region_right(r);
    if (r->by_malloc)
        free(r->p);
    else
        good &= munmap(r->p, r->pages * PAGE) == 0;
    r->p = NULL;
    return good;
}

struct range {
    size_t from, to;
};

static struct range some_range(struct walker *w, const struct region *r)
{
    size_t from = roll(w, r->pages), most = r->pages - from;
    return (struct range){from, from + 1 + roll(w, most < 40 ? most : 40)};
}

/* --- steps; false: the system refused what it may not refuse ---------------- */

static bool do_write(struct walker *w, struct region *r)
{
    struct range x = some_range(w, r);
    for (size_t i = x.from; i < x.to; i++)
        write_page(w, r, i);
    return true;
}

static bool do_empty(struct walker *w, struct region *r)
{
    struct range x = some_range(w, r);
    for (size_t i = x.from; i < x.to; i++)
        r->value[i] = 0;
    return madvise(r->p + x.from * PAGE, (x.to - x.from) * PAGE, MADV_DONTNEED) == 0;
}

static bool do_protect(struct walker *w, struct region *r)
{
    struct range x = some_range(w, r);
    bool none = roll(w, 2);
    r->pieces = true;
    for (size_t i = x.from; i < x.to; i++)
        r->none[i] = none;
    return mprotect(r->p + x.from * PAGE, (x.to - x.from) * PAGE, none ? PROT_NONE : READ_WRITE) ==
           0;
}

static bool do_resize(struct walker *w, struct region *r)
{
    size_t pages = some_pages(w), old = r->pages;
    if (r->pieces || r->by_malloc || !unprotect(r))
        return true;
    char *p = mremap(r->p, old * PAGE, pages * PAGE, MREMAP_MAYMOVE);
    if (p == MAP_FAILED)
        return false;
    r->p = p;
    r->pages = pages;
    fresh(r, old < pages ? old : pages, pages);
    return true;
}

static bool do_realloc(struct walker *w, struct region *r)
{
    size_t pages = some_pages(w), old = r->pages;
    if (!r->by_malloc || !unprotect(r))
        return true;
    char *p = realloc(r->p, (pages + 1) * PAGE);
    if (!p)
        return false;
    size_t off = (uintptr_t)p % PAGE ? PAGE - (uintptr_t)p % PAGE : 0;
    r->pages = old < pages ? old : pages;
    if (off) { /* not on a page: only what it held is of interest, and it goes */
        bool good = true;
        for (size_t i = 0; i < r->pages; i++)
            good &= page_right(r, i, p + i * PAGE);
        free(p);
        r->p = NULL;
        return good;
    }
    r->p = p;
    for (size_t i = r->pages; i < pages; i++, r->pages++)
        write_page(w, r, i);
    return true;
}

static bool map_over(struct region *r, struct range x)
{
    r->pieces = true;
    fresh(r, x.from, x.to);
    return mmap(r->p + x.from * PAGE, (x.to - x.from) * PAGE, READ_WRITE, PRIVATE | MAP_FIXED, -1,
                0) != MAP_FAILED;
}

static bool do_map_over(struct walker *w, struct region *r)
{
    return map_over(r, some_range(w, r));
}

/* A hole, which is mapped again before anybody else can come. */
static bool do_unmap_part(struct walker *w, struct region *r)
{
    struct range x = some_range(w, r);
    if (r->by_malloc || walking > 1)
        return map_over(r, x);
    return munmap(r->p + x.from * PAGE, (x.to - x.from) * PAGE) == 0 && map_over(r, x);
}

/*
 * Pages of one region onto another's, by the kernel's page tables.  Heap memory may be several mappings by what
 * was done to earlier blocks there; then it does not move, and where it was to go is empty.
 */
static bool do_move(struct walker *w, struct region *r)
{
    struct region *to = &w->region[roll(w, REGIONS)];
    struct range x = some_range(w, r);
    size_t n = x.to - x.from;
    if (to == r || !to->p || to->pages < n || r->pieces || !unprotect(r))
        return true;
    size_t at = roll(w, to->pages - n + 1);
    char *from = r->p + x.from * PAGE, *dest = to->p + at * PAGE;
    int how = MREMAP_MAYMOVE | MREMAP_FIXED | (walking > 1 ? MREMAP_DONTUNMAP : 0);
    if (mremap(from, n * PAGE, n * PAGE, how, dest) != dest)
        return errno == EFAULT && map_over(to, (struct range){at, at + n});
    __atomic_fetch_add(&moves, 1, __ATOMIC_RELAXED);
    to->pieces = true;
    for (size_t i = 0; i < n; i++) {
        to->value[at + i] = r->value[x.from + i];
        to->none[at + i] = false;
    }
    fresh(r, x.from, x.to);
    return walking > 1 || map_over(r, x);
}

/* The kernel reads pages of one region, and writes them to another's. */
static bool do_carry(struct walker *w, struct region *r)
{
    struct region *to = &w->region[roll(w, REGIONS)];
    size_t i = roll(w, r->pages), k = to->p ? roll(w, to->pages) : 0;
    if (!to->p || r->none[i] || to->none[k])
        return true;
    if (write(w->pipe[1], r->p + i * PAGE, PAGE) != (ssize_t)PAGE ||
        read(w->pipe[0], to->p + k * PAGE, PAGE) != (ssize_t)PAGE)
        return false;
    to->value[k] = r->value[i];
    return true;
}

static bool do_check(struct walker *w, struct region *r)
{
    (void)w;
    return region_right(r);
}

static bool do_evict(struct walker *w, struct region *r)
{
    (void)w;
    (void)r;
    return ctl("pager.evict", NULL, NULL, NULL, 0) == 0;
}

static bool do_fork(struct walker *w, struct region *r);

static const struct {
    const char *name;
    bool (*run)(struct walker *, struct region *);
    unsigned weight;
} steps[] = {
    {"write", do_write, 20},      {"MADV_DONTNEED", do_empty, 8}, {"mprotect", do_protect, 8},
    {"mremap", do_resize, 8},     {"realloc", do_realloc, 6},     {"MAP_FIXED", do_map_over, 4},
    {"munmap", do_unmap_part, 4}, {"MREMAP_FIXED", do_move, 6},   {"read", do_carry, 8},
    {"nothing", do_check, 12},    {"evict", do_evict, 2},         {"fork", do_fork, 1},
};

static void one_step(struct walker *w)
{
    struct region *r = &w->region[roll(w, REGIONS)];
    size_t k = 0;
    bool good;
    if (!r->p) {
        if (!make(w, r))
            w->wrong = "make";
        return;
    }
    if (roll(w, 25) == 0) {
        if (!forget(r))
            w->wrong = "the end";
        return;
    }
    for (unsigned x = (unsigned)roll(w, 87); x >= steps[k].weight; k++)
        x -= steps[k].weight;
    good = steps[k].run(w, r);
    if (!good || (r->p && roll(w, 4) == 0 && !region_right(r)))
        w->wrong = steps[k].name;
}

static void walk(struct walker *w, unsigned n)
{
    for (unsigned i = 0; i < n && !w->wrong; i++)
        one_step(w);
    if (!w->wrong && !all_right(w))
        w->wrong = "all of them";
}

static bool live_as_child(void *arg)
{
    struct walker *w = arg;
    w->in_child = true;
    if (!all_right(w))
        return false;
    walk(w, CHILD_STEPS);
    if (w->wrong)
        fprintf(stderr, "in a child: after %s\n", w->wrong);
    return !w->wrong;
}

static bool do_fork(struct walker *w, struct region *r)
{
    (void)r;
    return w->in_child || in_child(live_as_child, w);
}

static void *walk_and_end(void *arg)
{
    struct walker *w = arg;
    walk(w, STEPS);
    for (size_t k = 0; k < REGIONS; k++)
        if (w->region[k].p && !forget(&w->region[k]) && !w->wrong)
            w->wrong = "the end of all";
    return NULL;
}

static void round_of(unsigned round)
{
    pthread_t t[WALKERS] = {0};
    char name[80] = "a walk, as the model says";
    bool good = true;
    walking = round % 2 ? WALKERS : 1;
    for (unsigned i = 0; i < walking; i++) {
        struct walker *w = &walkers[i];
        w->random = 88172645463325252u + (uint64_t)7919 * (round * WALKERS + i);
        good &= pipe(w->pipe) == 0 && pthread_create(&t[i], NULL, walk_and_end, w) == 0;
    }
    for (unsigned i = 0; i < walking; i++) {
        pthread_join(t[i], NULL);
        good &= !walkers[i].wrong;
        if (walkers[i].wrong)
            snprintf(name, sizeof(name), "walk %u of round %u: after %s", i, round,
                     walkers[i].wrong);
        (void)close(walkers[i].pipe[0]);
        (void)close(walkers[i].pipe[1]);
    }
    point(name, good);
}

int main(int argc, char **argv)
{
    if (!begin(argc, argv))
        return 77;
    unsigned rounds = argc > 2 ? (unsigned)atoi(argv[2]) : ROUNDS;
    unsigned first = argc > 3 ? (unsigned)atoi(argv[3]) : 0;
    for (unsigned i = 0; i < rounds && !points_failed; i++)
        round_of(first + i);
    point("pages were moved", moves > rounds);
    return end();
}
