/* SPDX-License-Identifier: MIT */
/*
 * threads -- allocation patterns of several threads.
 *
 * usage: threads PATTERN THREADS WORK      WORK: per cent of the full amount of work
 */
#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "kit.h"

#define THREADS_MOST 64
#define BELT 1024
#define KEPT 1000

static unsigned nthreads;
static long amount;

/* --- half of the threads allocate, the others free ----------------------- */

static void *belt[THREADS_MOST / 2][BELT] __attribute__((aligned(64)));

static void *produce(void *arg)
{
    void **b = belt[(uintptr_t)arg / 2];
    struct bench_random r = {(uintptr_t)arg + 1};
    for (long i = 0; i < amount; i++) {
        char *p = malloc(bench_size(&r, 400));
        p[0] = 1;
        while (__atomic_load_n(&b[i % BELT], __ATOMIC_ACQUIRE))
            sched_yield();
        __atomic_store_n(&b[i % BELT], p, __ATOMIC_RELEASE);
    }
    return NULL;
}

static void *consume(void *arg)
{
    void **b = belt[(uintptr_t)arg / 2], *p;
    for (long i = 0; i < amount; i++) {
        while (!(p = __atomic_load_n(&b[i % BELT], __ATOMIC_ACQUIRE)))
            sched_yield();
        __atomic_store_n(&b[i % BELT], NULL, __ATOMIC_RELEASE);
        free(p);
    }
    return NULL;
}

static void *belt_end(void *arg)
{
    return (uintptr_t)arg % 2 ? consume(arg) : produce(arg);
}

/* --- each with blocks of its own ----------------------------------------- */

static void *own_blocks(void *arg)
{
    void *p[KEPT] = {0};
    struct bench_random r = {(uintptr_t)arg * 7919 + 1};
    for (long i = 0; i < amount; i++) {
        size_t k = bench_next(&r) % KEPT;
        free(p[k]);
        p[k] = malloc(bench_size(&r, 2000));
        *(char *)p[k] = 1;
    }
    for (size_t k = 0; k < KEPT; k++)
        free(p[k]);
    return NULL;
}

/* --- a server: threads hand their blocks on to their successors ---------- */

#define GENERATIONS 20

struct desk {
    void *p[KEPT];
    struct bench_random r;
};

static struct desk desks[THREADS_MOST];

static void *serve(void *arg)
{
    struct desk *d = arg;
    for (long i = 0; i < amount / GENERATIONS; i++) {
        size_t k = bench_next(&d->r) % KEPT;
        free(d->p[k]);
        d->p[k] = malloc(bench_size(&d->r, 1000));
        *(char *)d->p[k] = 1;
    }
    return NULL;
}

static void *server(void *arg)
{
    struct desk *d = &desks[(uintptr_t)arg];
    d->r.s = (uintptr_t)arg * 7919 + 1;
    for (int g = 0; g < GENERATIONS; g++) {
        pthread_t t;
        if (pthread_create(&t, NULL, serve, d) != 0)
            exit(1);
        pthread_join(t, NULL);
    }
    return NULL;
}

/* --- birth and death ----------------------------------------------------- */

static void *brief(void *arg)
{
    void *p[50];
    for (size_t i = 0; i < 50; i++)
        bench_see(p[i] = malloc(16 + i * 20));
    for (size_t i = 0; i < 50; i++)
        free(p[i]);
    return arg;
}

static void *births(void *arg)
{
    for (long i = 0; i < amount / 1000; i++) {
        pthread_t t;
        if (pthread_create(&t, NULL, brief, NULL) != 0)
            exit(1);
        pthread_join(t, NULL);
    }
    return arg;
}

/* --- false sharing ------------------------------------------------------- */

static void *given[THREADS_MOST];

static void *scribble(void *arg, int passive)
{
    volatile char *p = passive ? given[(uintptr_t)arg] : NULL;
    for (long i = 0; i < amount / 100; i++) {
        if (!p)
            p = malloc(8);
        for (int k = 0; k < 100; k++)
            p[k % 8] = (char)k;
        free((void *)(uintptr_t)p);
        p = NULL;
    }
    return NULL;
}

/* Every thread allocates and writes: are two threads' small blocks in one line? */
static void *active(void *arg)
{
    return scribble(arg, 0);
}

/* They start with blocks one thread allocated side by side: does free hand the line on? */
static void *passive(void *arg)
{
    return scribble(arg, 1);
}

/* ------------------------------------------------------------------------- */

static const struct {
    const char *name;
    void *(*run)(void *);
    long n; /* over all threads */
} patterns[] = {
    {"belt", belt_end, 6000000},  {"own", own_blocks, 12000000}, {"server", server, 8000000},
    {"births", births, 20000000}, {"active", active, 40000000},  {"passive", passive, 40000000},
};

static void run_all(void *(*fn)(void *))
{
    pthread_t t[THREADS_MOST];
    for (uintptr_t i = 0; i < nthreads; i++)
        given[i] = malloc(8);
    uint64_t start = bench_now();
    for (uintptr_t i = 0; i < nthreads; i++)
        if (pthread_create(&t[i], NULL, fn, (void *)i) != 0)
            exit(1);
    for (uintptr_t i = 0; i < nthreads; i++)
        pthread_join(t[i], NULL);
    bench_done(start);
}

int main(int argc, char **argv)
{
    long work = argc == 4 ? atol(argv[3]) : 0;
    nthreads = argc == 4 ? (unsigned)atoi(argv[2]) : 0;
    if (nthreads < 1 || nthreads > THREADS_MOST)
        work = 0;
    for (size_t i = 0; work > 0 && i < sizeof(patterns) / sizeof(patterns[0]); i++) {
        if (strcmp(argv[1], patterns[i].name) != 0)
            continue;
        amount = patterns[i].n * work / 100 / nthreads;
        run_all(patterns[i].run);
        return 0;
    }
    fputs("usage: threads PATTERN THREADS WORK\n", stderr);
    return 2;
}
