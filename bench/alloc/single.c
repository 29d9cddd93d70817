/* SPDX-License-Identifier: MIT */
/*
 * single -- allocation patterns of one thread.
 *
 * usage: single PATTERN WORK      WORK: per cent of the full amount of work
 */
#include <string.h>

#include "kit.h"

#define LIVE 20000
#define BATCH 20000

static void *block[LIVE];
static struct bench_random rnd = {88172645463325252u};

/* --- one block after the other ------------------------------------------- */

static void tight(size_t size, long n)
{
    for (long i = 0; i < n; i++) {
        void *p = malloc(size);
        bench_see(p);
        free(p);
    }
}

static void border(size_t size, long n)
{
    for (long i = 0; i < n; i++) {
        void *p = malloc(size + (size_t)i % 16 * 512);
        bench_see(p);
        free(p);
    }
}

static void zeroed(size_t size, long n)
{
    for (long i = 0; i < n; i++) {
        void *p = calloc(1, size);
        bench_see(p);
        free(p);
    }
}

/* Each page is written to, as by somebody who wanted the block. */
static void zeroed_used(size_t size, long n)
{
    for (long i = 0; i < n; i++) {
        char *p = calloc(1, size);
        for (size_t at = 0; at < size; at += 4096)
            p[at] = 1;
        bench_see(p);
        free(p);
    }
}

static void aligned(size_t align, long n)
{
    for (long i = 0; i < n; i++) {
        size_t k = (size_t)i % 1000;
        free(block[k]);
        block[k] = aligned_alloc(align, align * (1 + (size_t)i % 3));
    }
}

/* --- a live set of random blocks ----------------------------------------- */

static void live_of(size_t count, size_t most, long n)
{
    for (long i = 0; i < n; i++) {
        size_t k = bench_next(&rnd) % count;
        free(block[k]);
        block[k] = malloc(bench_size(&rnd, most));
        *(volatile char *)block[k] = 1;
    }
}

static void live(size_t most, long n)
{
    live_of(LIVE, most, n);
}

/* Every page of them is written. */
static void live_large(size_t most, long n)
{
    for (long i = 0; i < n; i++) {
        size_t k = bench_next(&rnd) % 200, size = 16384 + bench_next(&rnd) % most;
        free(block[k]);
        char *p = block[k] = malloc(size);
        for (size_t at = 0; at < size; at += 4096)
            *(volatile char *)(p + at) = 1;
    }
}

/* --- many, then none ----------------------------------------------------- */

static void fill(size_t size)
{
    for (size_t i = 0; i < BATCH; i++)
        *(volatile char *)(block[i] = malloc(size)) = 1;
}

static void batch_order(size_t size, long n)
{
    for (; n > 0; n -= BATCH) {
        fill(size);
        for (size_t i = 0; i < BATCH; i++)
            free(block[i]);
    }
}

static void batch_reverse(size_t size, long n)
{
    for (; n > 0; n -= BATCH) {
        fill(size);
        for (size_t i = BATCH; i-- > 0;)
            free(block[i]);
    }
}

static void batch_random(size_t size, long n)
{
    for (; n > 0; n -= BATCH) {
        fill(size);
        /* 7919 is prime to BATCH: every block once. */
        for (size_t i = 0; i < BATCH; i++)
            free(block[i * 7919 % BATCH]);
    }
}

/* --- growth -------------------------------------------------------------- */

static void grow_by(size_t most, size_t add, unsigned share)
{
    char *p = NULL;
    for (size_t size = 16; size < most; size += add + (share ? size / share : 0)) {
        p = realloc(p, size);
        p[size - 1] = 1;
    }
    free(p);
}

static void vector(size_t most, long n)
{
    for (; n > 0; n--)
        grow_by(most, 16, 1);
}

static void small_steps(size_t most, long n)
{
    for (; n > 0; n--)
        grow_by(most, 24, 0);
}

/* With other blocks between, as a growing table has them. */
static void grow_among(size_t most, long n)
{
    char *p[8] = {0};
    for (; n > 0; n--) {
        for (size_t size = 1000; size < most; size += size / 4)
            for (int i = 0; i < 8; i++) {
                p[i] = realloc(p[i], size);
                p[i][size - 1] = 1;
            }
        for (int i = 0; i < 8; i++) {
            free(p[i]);
            p[i] = NULL;
        }
    }
}

/* --- fragmentation ------------------------------------------------------- */

#define MANY 400000

/* Grows, frees nine of ten at random, grows with other sizes; what is resident then? */
static void fragment(size_t most, long n)
{
    static void *many[MANY];
    size_t count = (size_t)n < MANY ? (size_t)n : MANY;
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < count; i++) {
            size_t size = bench_size(&rnd, most) + (size_t)round * 40;
            if (!many[i])
                memset(many[i] = malloc(size), 1, size);
        }
        for (size_t i = 0; i < count; i++) {
            if (bench_next(&rnd) % 10 == 0)
                continue;
            free(many[i]);
            many[i] = NULL;
        }
    }
    bench_say("rss_after", bench_rss_kib());
}

static const struct {
    const char *name;
    void (*run)(size_t arg, long n);
    size_t arg;
    long n;
} patterns[] = {
    {"tight-16", tight, 16, 40000000},
    {"tight-64", tight, 64, 40000000},
    {"tight-400", tight, 400, 40000000},
    {"tight-2k", tight, 2000, 30000000},
    {"tight-8k", tight, 8000, 30000000},
    {"tight-30k", tight, 30000, 30000000},
    {"tight-50k", tight, 50000, 8000000},
    {"tight-200k", tight, 200000, 3000000},
    {"tight-1m", tight, 1 << 20, 1000000},
    {"tight-4m", tight, 4 << 20, 100000},
    {"border-32k", border, 28 << 10, 4000000},
    {"calloc-100", zeroed, 100, 20000000},
    {"calloc-100k", zeroed, 100000, 100000},
    {"calloc-used", zeroed_used, 100000, 20000},
    {"aligned-64", aligned, 64, 10000000},
    {"aligned-4k", aligned, 4096, 3000000},
    {"live-small", live, 256, 8000000},
    {"live-mixed", live, 4000, 6000000},
    {"live-wide", live, 60000, 3000000},
    {"live-large", live_large, 500000, 30000},
    {"batch-order", batch_order, 64, 15000000},
    {"batch-reverse", batch_reverse, 64, 15000000},
    {"batch-random", batch_random, 64, 10000000},
    {"batch-1000", batch_order, 1000, 4000000},
    {"realloc-vector", vector, 1000000, 10000},
    {"realloc-steps", small_steps, 1000000, 200},
    {"realloc-large", vector, 60000000, 20},
    {"realloc-among", grow_among, 3000000, 20},
    {"fragment", fragment, 2000, MANY},
};

int main(int argc, char **argv)
{
    long work = argc == 3 ? atol(argv[2]) : 0;
    for (size_t i = 0; work > 0 && i < sizeof(patterns) / sizeof(patterns[0]); i++) {
        if (strcmp(argv[1], patterns[i].name) != 0)
            continue;
        uint64_t start = bench_now();
        patterns[i].run(patterns[i].arg, patterns[i].n * work / 100);
        bench_done(start);
        return 0;
    }
    fputs("usage: single PATTERN WORK\n", stderr);
    return 2;
}
