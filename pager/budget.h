/* SPDX-License-Identifier: MIT */
/*
 * budget -- a quota of CPU time: so much per second, a little saved up, never more. Pure.
 *
 * Idea: token bucket; DAMON's quotas as a type (Linux include/linux/damon.h).
 */
#ifndef ZA_PAGER_BUDGET_H
#define ZA_PAGER_BUDGET_H

#include "base/base.h"

struct za_budget {
    uint64_t seen_now; /* ns of the last look */
    uint64_t seen_cpu; /* CPU ns of the last look */
    int64_t credit;    /* ns of CPU that may be spent; negative: overdrawn */
};

/*
 * Most credit that can be saved up: two percent points of any one second, and several times what a
 * settled process uses in one.
 */
#define ZA_BUDGET_SAVED_NS (20 * 1000000ll)

void za_budget_start(struct za_budget *b, uint64_t now, uint64_t cpu);
/*
 * Accounts for what was spent since the last look;
 * true while credit is left. `percent` of one core.
 */
bool za_budget_look(struct za_budget *b, uint64_t now, uint64_t cpu, uint64_t percent);
/* What has been spent since the last look does not count. */
void za_budget_forgive(struct za_budget *b, uint64_t cpu);
/* Nanoseconds of wall time until `want` ns of credit are there (0: now). */
uint64_t za_budget_wait(const struct za_budget *b, int64_t want, uint64_t percent);

#endif
