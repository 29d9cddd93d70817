/* SPDX-License-Identifier: MIT */
/*
 * budget -- see budget.h.
 *
 * Locks: none.  May sleep: no.  May fault: no.  Allocates: nothing.
 */
#include "pager/budget.h"

void za_budget_start(struct za_budget *b, uint64_t now, uint64_t cpu)
{
    b->seen_now = now;
    b->seen_cpu = cpu;
    b->credit = ZA_BUDGET_SAVED_NS;
}

bool za_budget_look(struct za_budget *b, uint64_t now, uint64_t cpu, uint64_t percent)
{
    uint64_t wall = now > b->seen_now ? now - b->seen_now : 0;
    uint64_t spent = cpu > b->seen_cpu ? cpu - b->seen_cpu : 0;
    uint64_t earned = wall / 100 * percent;
    b->seen_now = now;
    b->seen_cpu = cpu;
    b->credit += (int64_t)earned - (int64_t)spent;
    if (b->credit > ZA_BUDGET_SAVED_NS)
        b->credit = ZA_BUDGET_SAVED_NS;
    return b->credit > 0;
}

void za_budget_forgive(struct za_budget *b, uint64_t cpu)
{
    b->seen_cpu = cpu;
}

uint64_t za_budget_wait(const struct za_budget *b, int64_t want, uint64_t percent)
{
    if (b->credit >= want)
        return 0;
    return (uint64_t)(want - b->credit) / (percent ? percent : 1) * 100;
}
