/* SPDX-License-Identifier: MIT */
/*
 * overcommit -- vm.overcommit_memory=2: the kernel promises no more than it has.  What is reserved
 * must cost nothing, what cannot be had must fail as with any malloc, and nothing may be lost.
 */
#include "tests/hostile/hostile.h"

#define NBLOCKS 64u
#define LEN (4 * UNIT)
#define MIB (1ul << 20)
#define TOO_MUCH (12288 * MIB) /* more than tests/machine/run leaves */

static char *blocks[NBLOCKS];

static void evict(void)
{
    (void)ctl("pager.evict", NULL, NULL, NULL, 0);
}

static bool all_right(void)
{
    for (unsigned i = 0; i < NBLOCKS; i++)
        if (!right(blocks[i], 0, LEN, i + 1))
            return false;
    return true;
}

static bool child_right(void *arg)
{
    (void)arg;
    evict();
    return all_right();
}

/* More than is left is refused, and what was there still is, goes out, and comes back. */
static bool too_much(void *arg)
{
    (void)arg;
    char *small = malloc(MIB);
    memset(small, 1, MIB);
    for (unsigned i = 0; i < 3; i++) {
        evict();
        char *more = realloc(small, TOO_MUCH), *other = malloc(TOO_MUCH),
             *zeros = calloc(1, TOO_MUCH);
        if (more || other || zeros || !all_right())
            return false;
    }
    bool good = small[0] == 1 && small[MIB - 1] == 1;
    small = realloc(small, 64 * MIB);
    good = small && small[MIB - 1] == 1 && good;
    free(small);
    return all_right() && good;
}

int main(int argc, char **argv)
{
    const char *conf = getenv("ZALLOC_CONF");
    bool pager = begin(argc, argv);
    if (!conf || !strstr(conf, "backend:none"))
        point("there is a pager", pager);
    if (!ctl)
        return 77;
    for (unsigned i = 0; i < NBLOCKS; i++)
        blocks[i] = block(LEN, i + 1);
    evict();
    point("bytes", all_right());
    evict();
    point("a child", in_child(child_right, NULL));
    point("more than is left", too_much(NULL) && in_child(too_much, NULL));
    point("afterwards", all_right() && in_child(child_right, NULL));
    return end();
}
