/* SPDX-License-Identifier: MIT */
/*
 * quiet -- what must not grow, told by counters and never by time: mappings, looks at memory that
 * is not worth it, turns, processor time (P5, D15, D16).
 */
#include "dangers.h"

#define MIB (1ul << 20)

static uint64_t rng = 88172645463325252u;

static uint64_t noise(void)
{
    rng ^= rng << 13, rng ^= rng >> 7, rng ^= rng << 17;
    return rng;
}

/* ---- mappings -----------------------------------------------------------------------------------
 */

#define SCATTERED 33000ul /* a rival ends at 32,700 */

static unsigned mappings(void)
{
    char line[512];
    unsigned n = 0;
    FILE *f = fopen("/proc/self/maps", "r");
    while (f && fgets(line, sizeof(line), f))
        n += strchr(line, '\n') != NULL;
    if (f)
        fclose(f);
    return n;
}

static void scattered(void)
{
    char *p = malloc(SCATTERED * UNIT);
    bool good = p != NULL;
    for (size_t i = 0; good && i < SCATTERED; i++)
        *(uint64_t *)(void *)(p + i * UNIT) = word_at(1, i);
    unsigned before = mappings();
    evict();
    for (size_t i = 0; good && i < SCATTERED; i++)
        good = *(uint64_t *)(void *)(p + i * UNIT) == word_at(1, i);
    point("bytes of scattered pages", good);
    point("scattered touches make no mappings", mappings() < before + 100);
}

/* ---- what does not compress ---------------------------------------------------------------------
 */

static void noisy(void)
{
    const uint64_t pages = 8 * MIB / PAGE;
    uint64_t *p = aligned_alloc(UNIT, 8 * MIB), seen = 0;
    for (size_t i = 0; i < 8 * MIB / 8; i++)
        p[i] = noise();
    for (unsigned ms = 0; ms < 40000 && seen < pages * 9 / 10; ms += 10) {
        sleep_ms(10);
        seen = stat_of("stats.pager.incompressible");
    }
    point("noise is found not to compress", seen >= pages * 9 / 10);
    sleep_ms(1500);
    point("and is not tried again", stat_of("stats.pager.incompressible") < seen + pages / 4);
}

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/*
 * Looks after 50, 100, 200 ... 1600 ms: seven in the time, and one more whenever this thread is kept
 * from running for a cold age. A worker that does not learn takes forty.
 */
static void warm(void)
{
    const size_t pages = 2 * MIB / PAGE, allowed = 14 * pages;
    volatile char *p = block(2 * MIB, 2);
    uint64_t before = stat_of("stats.pager.probed"), start = now_ms(), looks = 0;
    while (now_ms() - start < 4000 && looks < allowed) {
        for (unsigned n = 0; n < 200; n++)
            for (size_t i = 0; i < pages; i++)
                p[i * PAGE]++;
        looks = stat_of("stats.pager.probed") - before;
    }
    point("what is always in use is looked at less and less", looks < allowed);
}

/* ---- the worker ---------------------------------------------------------------------------------
 */

static void idle(void)
{
    char *p = block(8 * MIB, 3);
    evict();
    sleep_ms(500);
    uint64_t before = stat_of("stats.pager.turns");
    sleep_ms(2000);
    uint64_t turns = stat_of("stats.pager.turns") - before;
    point("an idle process does not turn", turns < 40);
    point("and has its bytes", right(p, 0, 8 * MIB, 3));
}

#define ALLOWED_NS 380000000u /* what may be saved up, a share of one percent, and a step */

static void busy(void)
{
    const size_t len = 160 * MIB;
    uint64_t *p = aligned_alloc(UNIT, len);
    for (size_t i = 0; i < len / 8; i++)
        p[i] = noise() % 3 ? noise() & 0xffff : 0;
    uint64_t before = stat_of("stats.pager.cpu_ns"), spent = 0;
    for (unsigned ms = 0; ms < 3000 && spent < ALLOWED_NS; ms += 100) {
        sleep_ms(100);
        spent = stat_of("stats.pager.cpu_ns") - before;
    }
    point("background work keeps to its share", spent < ALLOWED_NS);
}

static const struct danger dangers[] = {
    {"scattered", scattered}, {"noisy", noisy}, {"warm", warm}, {"idle", idle}, {"busy", busy}};

int main(int argc, char **argv)
{
    return CHOOSE(argc, argv, dangers);
}
