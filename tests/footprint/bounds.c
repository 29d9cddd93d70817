/* SPDX-License-Identifier: MIT */
/*
 * bounds -- what the allocator may cost: its books, what stays after everything was freed, what
 * many threads hold, and what those that sleep give back.
 *
 * usage: LD_PRELOAD=... bounds
 *
 * Memory is the library's own account (footprint.*, which footprint.c holds against the kernel's).
 * What is awaited is awaited for as long as it takes; how long it took is printed, not judged.
 * The program's own arrays are static: none of its books are in the heap.
 *
 * Last line: N passed, N failed.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MIB (1024ul * 1024ul)
#define GROW (1024 * MIB)
#define BLOCKS_MAX (GROW / 256)
#define META_PER_MILLE 15u /* of the heap */
#define LEFT_PERCENT 3u    /* of the most there was */
#define THREADS 1000u
#define THREAD_STACK (64 * 1024ul)
#define THREADS_MOST (48 * MIB) /* 16 MiB of caches, and the spans that their slots keep alive */
#define SLEEPERS 6u
#define SLEEPER_SIZES 12u
#define SLEEPER_LEFT (32 * 1024ul) /* one block of each size, and a little of libc's */
#define PATIENCE 600u              /* looks, a tenth of a second apart */

typedef int ctl_fn(const char *, void *, size_t *, const void *, size_t);

static ctl_fn *ctl;
static int passed, failed;
static void *block[BLOCKS_MAX];

static void expect(int good, const char *what)
{
    passed += good != 0;
    failed += good == 0;
    if (!good)
        printf("FAILED %s\n", what);
}

static uint64_t stat_of(const char *name)
{
    uint64_t v = 0;
    size_t len = sizeof(v);
    if (ctl("stats.refresh", NULL, NULL, NULL, 0) != 0 || ctl(name, &v, &len, NULL, 0) != 0) {
        printf("FAILED %s: no such statistic\n0 passed, 1 failed\n", name);
        exit(1);
    }
    return v;
}

static uint64_t total(void)
{
    return stat_of("stats.footprint.total");
}

static double seconds(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Waits until no more than that is left; false: it never was. */
static int stat_falls_to(const char *name, uint64_t bytes, const char *what)
{
    double from = seconds();
    for (unsigned i = 0; i < PATIENCE; i++) {
        uint64_t now = stat_of(name);
        if (now <= bytes) {
            printf("%-40s %7.2f MiB after %.1f s\n", what, (double)now / MIB, seconds() - from);
            return 1;
        }
        (void)usleep(100000);
    }
    printf("%-40s %7.2f MiB for ever\n", what, (double)stat_of(name) / MIB);
    return 0;
}

static int falls_to(uint64_t bytes, const char *what)
{
    return stat_falls_to("stats.footprint.total", bytes, what);
}

static uint64_t next(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    return *x ^= *x << 17;
}

/* Mostly small, some of a few KiB, a few large: what servers hold. */
static size_t some_size(uint64_t *x)
{
    uint64_t r = next(x);
    unsigned kind = r >> 32 & 63;
    if (kind == 0)
        return 32768 + (r & 0x3ffff);
    return kind < 8 ? 1024 + (r & 0x1fff) : 256 + (r & 0x1ff);
}

static void grow_and_free(void)
{
    uint64_t x = 88172645463325252u, before = total();
    size_t n = 0, bytes = 0;
    for (; n < BLOCKS_MAX && bytes < GROW; n++) {
        size_t size = some_size(&x);
        block[n] = malloc(size);
        if (!block[n])
            abort();
        memset(block[n], (int)n, size);
        bytes += size;
    }
    uint64_t most = total(), meta = stat_of("stats.footprint.meta");
    printf("%-40s %7.2f MiB for %.2f MiB, of which %.2f MiB books\n", "grown", (double)most / MIB,
           (double)bytes / MIB, (double)meta / MIB);
    expect(meta * 1000 <= most * META_PER_MILLE, "the books are under 1.5 % of the heap");
    for (size_t i = 0; i < n; i++)
        free(block[i]);
    expect(falls_to(before + (most - before) * LEFT_PERCENT / 100, "all freed"),
           "under 3 % is left when all has been freed");
}

static pthread_barrier_t filled, over;

/* Uses many classes, a batch or two of each, and then sleeps on what its cache has kept. */
static void *use_and_sleep(void *arg)
{
    uint64_t x = (uintptr_t)arg * 2654435761u + 1;
    void *p[64];
    for (unsigned round = 0; round < 20; round++) {
        for (unsigned i = 0; i < 64; i++)
            p[i] = malloc(some_size(&x) / 8);
        for (unsigned i = 0; i < 64; i++)
            free(p[i]);
    }
    (void)pthread_barrier_wait(&filled);
    (void)pthread_barrier_wait(&over);
    return NULL;
}

static void many_threads(void)
{
    static pthread_t t[THREADS];
    pthread_attr_t attr;
    uint64_t before = total();
    (void)pthread_barrier_init(&filled, NULL, THREADS + 1);
    (void)pthread_barrier_init(&over, NULL, THREADS + 1);
    (void)pthread_attr_init(&attr);
    (void)pthread_attr_setstacksize(&attr, THREAD_STACK);
    for (uintptr_t i = 0; i < THREADS; i++)
        if (pthread_create(&t[i], &attr, use_and_sleep, (void *)i) != 0)
            abort();
    (void)pthread_barrier_wait(&filled);
    expect(falls_to(before + THREADS_MOST, "a thousand sleeping threads"),
           "a thousand sleeping threads hold little");
    (void)pthread_barrier_wait(&over);
    for (unsigned i = 0; i < THREADS; i++)
        (void)pthread_join(t[i], NULL);
    expect(falls_to(before + 12 * MIB, "the threads gone"), "threads that are gone hold nothing");
}

/* Fills the bins of some sizes, as deep as they get. */
static void *fill_and_sleep(void *arg)
{
    static const size_t size[SLEEPER_SIZES] = {48,  80,  112, 160,  224,  320,
                                               448, 640, 896, 1280, 1792, 2560};
    void *p[100];
    for (unsigned round = 0; round < 20; round++)
        for (unsigned s = 0; s < SLEEPER_SIZES; s++) {
            for (unsigned i = 0; i < 100; i++)
                p[i] = malloc(size[s]);
            for (unsigned i = 0; i < 100; i++)
                free(p[i]);
        }
    (void)pthread_barrier_wait(&filled);
    (void)pthread_barrier_wait(&over);
    void *q = malloc(size[0]); /* works on with what it has */
    memset(q, 1, size[0]);
    free(q);
    return arg;
}

static void sleepers(void)
{
    pthread_t t[SLEEPERS];
    uint64_t before = stat_of("stats.heap.allocated");
    (void)pthread_barrier_init(&filled, NULL, SLEEPERS + 1);
    (void)pthread_barrier_init(&over, NULL, SLEEPERS + 1);
    for (uintptr_t i = 0; i < SLEEPERS; i++)
        if (pthread_create(&t[i], NULL, fill_and_sleep, (void *)i) != 0)
            abort();
    (void)pthread_barrier_wait(&filled);
    printf("%-40s %7.2f MiB\n", "out, as six threads fall asleep",
           (double)(stat_of("stats.heap.allocated") - before) / MIB);
    expect(stat_falls_to("stats.heap.allocated", before + SLEEPERS * SLEEPER_LEFT,
                         "and while they sleep"),
           "sleeping threads give their caches back");
    expect(stat_of("stats.cache.gathered") > 0, "the worker has taken it from them");
    (void)pthread_barrier_wait(&over);
    for (unsigned i = 0; i < SLEEPERS; i++)
        (void)pthread_join(t[i], NULL);
}

int main(void)
{
    ctl = (ctl_fn *)dlsym(RTLD_DEFAULT, "zallctl");
    if (!ctl) {
        printf("the library is not loaded\n0 passed, 1 failed\n");
        return 1;
    }
    (void)setvbuf(stdout, NULL, _IONBF, 0);
    grow_and_free();
    sleepers();
    many_threads();
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
