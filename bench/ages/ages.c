/* SPDX-License-Identifier: MIT */
/*
 * ages -- a heap of which some is freed, all the rest goes out, and new objects come.
 *
 * usage: ages [PERCENT [TIMES]]
 * 300,000 objects of 64 to 963 bytes; PERCENT of them (5) are freed at random, and what the allocator has put by goes
 * back to its spans; everything is packed; as many new ones come.  TIMES above 1: again and again, others each time.
 * A line each: microseconds for a new one, pages that came back for it, footprint right after, and packed once more.
 * Needs zallctl, so LD_PRELOAD.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define N 300000u
#define LEAST 64u
#define SPREAD 900u

static int (*ctl)(const char *, void *, size_t *, const void *, size_t);
static char *objects[N];
static uint64_t seed = 88172645463325252u;

static uint64_t next(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static uint64_t stat(const char *name)
{
    uint64_t v = 0;
    size_t len = sizeof(v);
    (void)ctl("stats.refresh", NULL, NULL, NULL, 0);
    (void)ctl(name, &v, &len, NULL, 0);
    return v;
}

static uint64_t pages_back(void)
{
    return stat("stats.pager.restored") + stat("stats.pager.warm");
}

static double now_us(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

/* Text with numbers in it. */
static char *make(void)
{
    static const char words[] =
        "user:name=;session;account,balance,created,updated,value,\"key\":\"id\",";
    size_t len = LEAST + next() % SPREAD;
    char *p = malloc(len);
    if (!p)
        exit(1);
    for (size_t i = 0; i < len; i++)
        p[i] =
            (char)(next() & 3 ? words[(len + i) % (sizeof(words) - 1)] : '0' + (char)(next() % 10));
    return p;
}

static void drop(unsigned percent)
{
    for (unsigned i = 0; i < N; i++) {
        if (next() % 100 >= percent)
            continue;
        free(objects[i]);
        objects[i] = NULL;
    }
    (void)malloc_trim(0);
}

static void renew(unsigned percent)
{
    unsigned made = 0;
    drop(percent);
    (void)ctl("pager.evict", NULL, NULL, NULL, 0);
    uint64_t back = pages_back();
    double us = now_us();
    for (unsigned i = 0; i < N; i++)
        if (!objects[i]) {
            objects[i] = make();
            made++;
        }
    us = now_us() - us;
    back = pages_back() - back;
    uint64_t before = stat("stats.footprint.total");
    (void)ctl("pager.evict", NULL, NULL, NULL, 0);
    printf("%u new: %.2f us each, %lu pages back, %lu MiB, packed %lu MiB, heap %lu MiB\n", made,
           us / made, (unsigned long)back, (unsigned long)before >> 20,
           (unsigned long)stat("stats.footprint.total") >> 20,
           (unsigned long)stat("stats.heap.committed") >> 20);
}

int main(int argc, char **argv)
{
    unsigned percent = argc > 1 ? (unsigned)atoi(argv[1]) : 5;
    unsigned times = argc > 2 ? (unsigned)atoi(argv[2]) : 1;
    *(void **)&ctl = dlsym(RTLD_DEFAULT, "zallctl");
    if (!ctl) {
        fputs("ages: run it with LD_PRELOAD=libzalloc.so\n", stderr);
        return 2;
    }
    for (unsigned i = 0; i < N; i++)
        objects[i] = make();
    while (times--)
        renew(percent);
    return 0;
}
