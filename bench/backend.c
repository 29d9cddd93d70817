/* SPDX-License-Identifier: MIT */
/*
 * backend -- what the back-ends cost: a page into limbo, a touch of a page there, mappings.
 *
 * usage: LD_PRELOAD=build/libzalloc.so ZALLOC_CONF=start_bytes:0,cold_ms:1500,cpu_limit:100,backend:B
 *        build/bench/backend [MIB]
 *
 * Fills MIB mebibytes (default 256), waits until all is in limbo, touches one page in four at
 * random; packs everything, touches every other group of four pages, and waits until those are in
 * limbo: the pattern that makes most mappings.  Lines: what, value, unit.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define PAGE 4096ul
#define GROUP 4ul

typedef int ctl_fn(const char *, void *, size_t *, const void *, size_t);
static ctl_fn *ctl;

static uint64_t stat_of(const char *name)
{
    uint64_t v = 0;
    size_t len = sizeof(v);
    (void)ctl("stats.refresh", NULL, NULL, NULL, 0);
    return ctl(name, &v, &len, NULL, 0) == 0 ? v : 0;
}

static double now_us(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void nap(long ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    (void)nanosleep(&t, NULL);
}

static unsigned mappings(void)
{
    FILE *f = fopen("/proc/self/maps", "re");
    unsigned n = 0;
    for (int c; f && (c = getc(f)) != EOF;)
        n += c == '\n';
    if (f)
        (void)fclose(f);
    return n;
}

static void fill(char *p, size_t npages)
{
    for (size_t i = 0; i < npages * PAGE / 8; i++)
        ((uint64_t *)(void *)p)[i] = i % 13 * 0x0101 + i / 512;
}

static uint64_t await_limbo(uint64_t pages)
{
    uint64_t n = 0;
    for (int i = 0; i < 300 && (n = stat_of("stats.pager.limbo")) < pages; i++)
        nap(20);
    return n;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void touch(const char *p, size_t npages)
{
    size_t n = npages / GROUP;
    double *us = malloc(n * sizeof(*us));
    for (size_t i = 0; us && i < n; i++) {
        size_t page = (i * 2654435761u) % n * GROUP;
        double t = now_us();
        (void)*(const volatile char *)(p + page * PAGE);
        us[i] = now_us() - t;
    }
    if (us) {
        qsort(us, n, sizeof(*us), by_value);
        printf("touch in limbo, p50 %.1f us\ntouch in limbo, p99 %.1f us\n", us[n / 2],
               us[n * 99 / 100]);
    }
    free(us);
}

int main(int argc, char **argv)
{
    size_t npages = (argc > 1 ? strtoul(argv[1], NULL, 10) : 256) * 1024 * 1024 / PAGE;
    ctl = (ctl_fn *)dlsym(RTLD_DEFAULT, "zallctl");
    char *p = aligned_alloc(65536, npages * PAGE);
    if (!ctl || !p)
        return 2;
    unsigned before = mappings();
    uint64_t cpu = stat_of("stats.pager.cpu_ns"), probed = stat_of("stats.pager.probed");
    fill(p, npages);
    uint64_t in = await_limbo(npages * 9 / 10);
    probed = stat_of("stats.pager.probed") - probed;
    cpu = stat_of("stats.pager.cpu_ns") - cpu;
    printf("into limbo %.0f ns a page\n", probed ? (double)cpu / (double)probed : 0);
    printf("mappings, all %llu pages in limbo %d more\n", (unsigned long long)in,
           (int)(mappings() - before));
    touch(p, npages);
    (void)ctl("pager.evict", NULL, NULL, NULL, 0);
    printf("mappings, all packed %d more\n", (int)(mappings() - before));
    for (size_t i = 0; i < npages; i += 2 * GROUP)
        p[i * PAGE]++;
    int most = 0;
    for (int i = 0; i < 400; i++) {
        int n = (int)(mappings() - before);
        most = n > most ? n : most;
        nap(20);
    }
    printf("mappings, every other group in limbo %d more at most\n", most);
    return 0;
}
