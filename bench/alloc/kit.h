/* SPDX-License-Identifier: MIT */
/*
 * kit -- what the benchmark programs share: random numbers, a clock, and their output.
 *
 * A program does its work, then prints lines `name value` that run reads: `ns` is the time of the
 * measured part, `rss_after` the resident KiB at a moment of interest, `rss_peak`
 * the most that ever was.  A program that allocates
 * for itself takes static arrays, so that only the pattern reaches malloc.
 */
#ifndef ZA_BENCH_ALLOC_KIT_H
#define ZA_BENCH_ALLOC_KIT_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

struct bench_random {
    uint64_t s;
};

static inline uint64_t bench_next(struct bench_random *r)
{
    r->s ^= r->s << 13;
    r->s ^= r->s >> 7;
    r->s ^= r->s << 17;
    return r->s;
}

/* Mostly small: what programs ask for. */
static inline size_t bench_size(struct bench_random *r, size_t most)
{
    uint64_t x = bench_next(r);
    unsigned shift = (unsigned)(x >> 56) % 7;
    return 8 + (size_t)(x & 0xffffffff) % (most >> shift);
}

/* A malloc whose block nobody sees may be left out. */
static inline void bench_see(void *p)
{
    __asm__ volatile("" : : "r"(p) : "memory");
}

static inline uint64_t bench_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline void bench_say(const char *name, uint64_t value)
{
    char line[64];
    int n = snprintf(line, sizeof(line), "%s %llu\n", name, (unsigned long long)value);
    if (write(1, line, (size_t)n) != n)
        _exit(1);
}

/* The kernel's figure for this very program; what wait reports includes the parent's before exec.
 */
static inline uint64_t bench_rss_peak_kib(void)
{
    char line[128];
    unsigned long kib = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof(line), f) && sscanf(line, "VmHWM: %lu", &kib) != 1)
        continue;
    if (f)
        fclose(f);
    return kib;
}

/* The last thing a program does. */
static inline void bench_done(uint64_t start)
{
    bench_say("ns", bench_now() - start);
    bench_say("rss_peak", bench_rss_peak_kib());
}

static inline uint64_t bench_rss_kib(void)
{
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f && fscanf(f, "%*u %lu", &pages) != 1)
        pages = 0;
    if (f)
        fclose(f);
    return pages * ((unsigned long)sysconf(_SC_PAGESIZE) / 1024);
}

#endif
