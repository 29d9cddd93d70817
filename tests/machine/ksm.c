/* SPDX-License-Identifier: MIT */
/*
 * ksm -- the kernel merges equal pages of the heap, before they go out and while they are out; what
 * is written afterwards is the writer's alone.  tests/machine/run switches KSM's daemon on.
 */
#include "tests/hostile/hostile.h"

#include <sys/prctl.h>

#define NBLOCKS 32u
#define LEN (4 * UNIT)
#define MERGE_MS 30000u

#ifndef PR_SET_MEMORY_MERGE
#define PR_SET_MEMORY_MERGE 67
#endif

static char *blocks[NBLOCKS];

static void evict(void)
{
    (void)ctl("pager.evict", NULL, NULL, NULL, 0);
}

/* All blocks are alike but for the changes. */
static bool all_right(void)
{
    for (unsigned i = 0; i < NBLOCKS; i++)
        if (!right(blocks[i], PAGE, LEN, 7) || !right(blocks[i], 8, PAGE, 7) ||
            *(uint64_t *)(void *)blocks[i] != i)
            return false;
    return true;
}

static bool child_right(void *arg)
{
    (void)arg;
    evict();
    bool good = all_right();
    for (unsigned i = 0; i < NBLOCKS; i++)
        memset(blocks[i] + 3 * PAGE, (int)i, PAGE);
    return good;
}

/* Pages of this process that KSM has merged. */
static unsigned long merged(void)
{
    char line[128];
    unsigned long n = 0;
    FILE *f = fopen("/proc/self/ksm_stat", "r");
    while (f && fgets(line, sizeof(line), f))
        if (sscanf(line, "ksm_merging_pages %lu", &n) == 1)
            break;
    if (f)
        fclose(f);
    return n;
}

static bool merging(unsigned long least)
{
    for (unsigned ms = 0; ms < MERGE_MS && merged() < least; ms += 10)
        sleep_ms(10);
    return merged() >= least;
}

int main(int argc, char **argv)
{
    bool pager = begin(argc, argv);
    if (!ctl)
        return 77;
    if (prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0) != 0) {
        skip("all", "no PR_SET_MEMORY_MERGE (6.4)");
        return 0;
    }
    for (unsigned i = 0; i < NBLOCKS; i++) {
        blocks[i] = block(LEN, 7);
        *(uint64_t *)(void *)blocks[i] = i;
    }
    /* Under torture pages come and go: how many are merged at a time is luck. */
    bool some = merging(torture() ? 1 : NBLOCKS);
    point("equal pages of the heap are merged", some);
    uint64_t busy = stat_of("stats.pager.refused.busy");
    evict();
    if (pager && !torture() && backend_is("move"))
        point("merged pages are refused", stat_of("stats.pager.refused.busy") > busy);
    point("bytes, when they were to go out", all_right());
    bool good = true;
    for (unsigned round = 0; round < 20; round++) {
        evict();
        sleep_ms(20);
        good = all_right() && good;
    }
    point("bytes, round after round", good);
    point("a child reads and changes", in_child(child_right, NULL) && all_right());
    for (unsigned i = 0; i < NBLOCKS; i++)
        fill(blocks[i] + PAGE, LEN - PAGE, 100 + i);
    evict();
    sleep_ms(50);
    for (unsigned i = 0; i < NBLOCKS; i++)
        good = right(blocks[i] + PAGE, 0, LEN - PAGE, 100 + i) && good;
    point("what is written is the writer's alone", good);
    (void)prctl(PR_SET_MEMORY_MERGE, 0, 0, 0, 0);
    evict();
    if (pager && !torture() && backend_is("move"))
        point("when nothing is merged all goes out", go_cold(blocks[0] + PAGE, LEN - PAGE));
    for (unsigned i = 0; i < NBLOCKS; i++)
        good = right(blocks[i] + PAGE, 0, LEN - PAGE, 100 + i) && good;
    point("bytes at the end", good);
    return end();
}
