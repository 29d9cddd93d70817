/* SPDX-License-Identifier: MIT */
/* advise -- madvise on cold heap memory: what it empties is zeros, what it hides stays hidden. */
#include "hostile.h"

#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE 103
#endif

#define LEN (4 * UNIT)
#define FROM (UNIT + 3 * PAGE) /* the advised part, neither unit nor cluster aligned */
#define TO (2 * UNIT + 6 * PAGE)

static char *cold_block(uint64_t id)
{
    char *p = block(LEN, id);
    if (!go_cold(p, LEN))
        point("goes cold", false);
    return p;
}

static bool others_kept(const char *p, uint64_t id)
{
    return right(p, 0, FROM, id) && right(p, TO, LEN, id);
}

/* `how` empties the middle of a block. */
static void empties(const char *name, int how, uint64_t id)
{
    char *p = cold_block(id);
    int r = madvise(p + FROM, TO - FROM, how);
    if (r < 0 && how != MADV_DONTNEED) {
        free(p);
        return; /* an older kernel */
    }
    point(name, r == 0 && zero(p, FROM, TO) && others_kept(p, id));
    fill(p, LEN, id + 100);
    (void)go_cold(p, LEN);
    point("the emptied part goes on", right(p, 0, LEN, id + 100));
    free(p);
}

static void refused(void)
{
    char *p = cold_block(20);
    int r = madvise(p + FROM, TO - FROM, MADV_REMOVE);
    point("REMOVE is EINVAL and removes nothing", r < 0 && errno == EINVAL && right(p, 0, LEN, 20));
    (void)go_cold(p, LEN);
    r = madvise(p + FROM + 1, PAGE, MADV_DONTNEED);
    point("misaligned DONTNEED drops nothing", r < 0 && errno == EINVAL && right(p, 0, LEN, 20));
    (void)go_cold(p, LEN);
    r = madvise(p + FROM, PAGE, 7777);
    point("unknown advice is EINVAL", r < 0 && errno == EINVAL && right(p, 0, LEN, 20));
    free(p);
}

static void harmless(void)
{
    static const int kinds[] = {MADV_NORMAL,
                                MADV_RANDOM,
                                MADV_SEQUENTIAL,
                                MADV_WILLNEED,
                                MADV_HUGEPAGE,
                                MADV_NOHUGEPAGE,
                                12 /* MERGEABLE */,
                                13 /* UNMERGEABLE */,
                                20 /* COLD */,
                                22 /* POPULATE_READ */,
                                23 /* POPULATE_WRITE */};
    char *p = block(LEN, 21);
    bool good = true;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
        (void)go_cold(p, i == 0 ? LEN : 0);
        (void)madvise(p + FROM, TO - FROM, kinds[i]);
        good &= right(p, 0, LEN, 21);
    }
    point("hints keep the bytes", good);
    (void)go_cold(p, 0);
    point("posix_madvise DONTNEED keeps the bytes",
          posix_madvise(p, LEN, POSIX_MADV_DONTNEED) == 0 && right(p, 0, LEN, 21));
    (void)go_cold(p, 0);
    point("POPULATE_WRITE makes pages present",
          madvise(p, LEN, 23) == 0 && (torture() || present(p, LEN) == LEN / PAGE));
    free(p);
}

static bool wiped_in_child(void *p)
{
    return zero(p, FROM, TO) && others_kept(p, 22);
}

static bool kept_in_child(void *p)
{
    return right(p, 0, LEN, 22);
}

static void wipe_on_fork(void)
{
    char *p = cold_block(22);
    int r = madvise(p + FROM, TO - FROM, MADV_WIPEONFORK);
    point("WIPEONFORK: a child reads zeros", r == 0 && in_child(wiped_in_child, p));
    (void)ctl("pager.evict", NULL, NULL, NULL, 0);
    point("WIPEONFORK: again, after an eviction", in_child(wiped_in_child, p));
    point("WIPEONFORK: the parent keeps it", right(p, 0, LEN, 22));
    r = madvise(p, LEN, MADV_KEEPONFORK);
    (void)go_cold(p, LEN);
    point("KEEPONFORK: evictable again, and the child has it",
          r == 0 && (torture() || present(p + 3 * UNIT, UNIT) == 0) && in_child(kept_in_child, p));
    free(p);
}

static bool lives_with_zeros(void *p)
{
    bool ok = zero(p, FROM, TO) && others_kept(p, 23);
    (void)ctl("pager.thaw", NULL, NULL, NULL, 0);
    (void)ctl("pager.evict", NULL, NULL, NULL, 0);
    fill(p, LEN, 26);
    (void)ctl("pager.evict", NULL, NULL, NULL, 0);
    ok &= right(p, 0, LEN, 26);
    free(p);
    char *q[8];
    for (unsigned i = 0; i < 8; i++)
        q[i] = block(LEN, 30 + i);
    (void)ctl("pager.evict", NULL, NULL, NULL, 0);
    for (unsigned i = 0; i < 8; i++)
        ok &= right(q[i], 0, LEN, 30 + i);
    return ok;
}

/* The kernel puts what is mapped into the highest gap that is wide enough. */
static bool maps_elsewhere(void *arg)
{
    const char *p = arg;
    for (unsigned i = 0; i < 200; i++) {
        const char *q = mmap(NULL, TO - FROM, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (q >= p && q < p + LEN)
            return false;
    }
    return true;
}

static void not_for_children(void)
{
    char *p = cold_block(23);
    int r = madvise(p + FROM, TO - FROM, MADV_DONTFORK);
    point("DONTFORK: a child has the rest and lives with zeros",
          r == 0 && in_child(lives_with_zeros, p));
    point("DONTFORK: nothing is mapped into the heap of a child", in_child(maps_elsewhere, p));
    r = madvise(p, LEN, MADV_DOFORK);
    (void)go_cold(p, 0);
    point("DOFORK: all there", r == 0 && right(p, 0, LEN, 23));
    /* it stays: its units will not go cold any more */
}

static void not_for_dumps(void)
{
    char *p = cold_block(24);
    int r = madvise(p + FROM, TO - FROM, MADV_DONTDUMP);
    (void)ctl("pager.evict", NULL, NULL, NULL, 0);
    point("DONTDUMP: in its own pages, not in the store",
          r == 0 && present(p + FROM, TO - FROM) == (TO - FROM) / PAGE && right(p, 0, LEN, 24));
    (void)madvise(p, LEN, MADV_DODUMP);
    free(p);
}

static bool touch(void *p)
{
    *(volatile char *)p = 1;
    return true;
}

static void guards(void)
{
    char *p = cold_block(25);
    if (madvise(p + FROM, PAGE, MADV_GUARD_INSTALL) < 0) {
        free(p);
        return; /* an older kernel */
    }
    memset(p, 0, FROM);
    (void)madvise(p, FROM, MADV_DONTNEED);
    for (size_t i = 0; i < FROM; i += PAGE)
        p[i] = 0; /* fresh pages in a row, up to the guard */
    (void)ctl("pager.evict", NULL, NULL, NULL, 0);
    point("GUARD_INSTALL: still a guard", !in_child(touch, p + FROM));
    (void)madvise(p + FROM, PAGE, MADV_GUARD_REMOVE);
    point("GUARD_REMOVE: zeros", zero(p, 0, FROM + PAGE) && right(p, FROM + PAGE, LEN, 25));
    free(p);
}

int main(int argc, char **argv)
{
    if (!begin(argc, argv))
        return 77;
    empties("DONTNEED: zeros", MADV_DONTNEED, 1);
    empties("FREE: zeros or what was", MADV_FREE, 2);
    empties("DONTNEED_LOCKED: zeros", MADV_DONTNEED_LOCKED, 3);
    refused();
    wipe_on_fork();
    not_for_children();
    not_for_dumps();
    guards();
    harmless(); /* leaves mappings of several kinds behind: last */
    return end();
}
