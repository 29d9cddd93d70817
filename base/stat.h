/* SPDX-License-Identifier: MIT */
/*
 * stat -- counters and gauges: one array of 64-bit atomics, named by one table.
 *
 * Relaxed atomics; never on the malloc or free fast path.  Derived gauges (footprint) are filled by
 * the readers in preload before printing.  Printing formats into za_fmt: no stdio.
 */
#ifndef ZA_BASE_STAT_H
#define ZA_BASE_STAT_H

#include "base/base.h"
#include "base/fmt.h"
#include "base/stat_table.h"

#define ZA_STAT_X(NAME, name, KIND, unit, help) ZA_STAT_##NAME,
enum za_stat_id { ZA_STAT_TABLE(ZA_STAT_X) ZA_STAT_MAX };
#undef ZA_STAT_X

extern uint64_t za_stats[ZA_STAT_MAX];

ZA_INLINE void za_stat_add(enum za_stat_id id, int64_t n)
{
    __atomic_fetch_add(&za_stats[id], (uint64_t)n, __ATOMIC_RELAXED);
}

ZA_INLINE void za_stat_set(enum za_stat_id id, uint64_t v)
{
    __atomic_store_n(&za_stats[id], v, __ATOMIC_RELAXED);
}

ZA_INLINE uint64_t za_stat_get(enum za_stat_id id)
{
    return __atomic_load_n(&za_stats[id], __ATOMIC_RELAXED);
}

struct za_stat_entry {
    const char *name, *kind, *unit, *help;
};
bool za_stat_entry(unsigned i, struct za_stat_entry *out);
int za_stat_find(const char *name);   /* id or -1 */
void za_stat_print(struct za_fmt *f); /* aligned text, one line each, zero counters left out */
void za_stat_json(struct za_fmt *f);  /* one object: {"version":1,"stats":{"a.b":n,...}} */

#endif
