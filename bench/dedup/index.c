/* SPDX-License-Identifier: MIT */
/*
 * index -- what the index of stored contents costs for each page, from ten thousand pages to ten
 * million; on the library's own os table, without a pager.
 *
 * usage: index [MOST]      entries at most, default 10000000
 *
 * Of each decade: remembering a page, finding one that is known and missing one that is not (the
 * minimum and the median of slices of a thousand, and the worst slice: what a growth adds to it),
 * bytes for each entry.  Between them what it is to the worker, whose caches other work has emptied:
 * pages of text go through digest, index and LZ4, cluster by cluster, all new to the index; the median
 * and the mean of what looking for a page and remembering it take there.  Then what a tag, a glance
 * and LZ4 cost for a page.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "compress/codec.h"
#include "dedup/index.h"
#include "os/os.h"

#define SLICE 1000u
#define PAGE ((size_t)4096)
#define PAGES 2048u
#define CLUSTER 4u
#define CLUSTERS 1000u
#define UNDISTURBED 990u /* in the others somebody else had the processor */

static struct za_index ix;
static struct za_digest digest;
static char page[PAGES][PAGE] __attribute__((aligned(64)));
static char out[CLUSTER * PAGE], room[32 * 1024] __attribute__((aligned(64)));

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t); /* the machine may be busy */
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void put(uint64_t i)
{
    struct za_index_entry e = {.tag = mix(i + 1) | 1, .blob = (uint32_t)i + 1};
    (void)za_index_put(&ix, &e);
}

static uint64_t hits;

static void find(uint64_t i)
{
    hits += za_index_find(&ix, mix(i + 1) | 1) != NULL;
}

static void measure(const char *what, uint64_t from, uint64_t n, uint64_t stride,
                    void (*fn)(uint64_t))
{
    size_t slices = n / SLICE;
    double *took = calloc(slices + 1, sizeof(*took));
    if (!took)
        exit(1);
    for (size_t s = 0; s < slices; s++) {
        double start = now_ns();
        for (uint64_t i = 0; i < SLICE; i++)
            fn(from + (s * SLICE + i) * stride % n);
        took[s] = (now_ns() - start) / SLICE;
    }
    qsort(took, slices, sizeof(*took), by_value);
    printf("  %s %5.0f %5.0f %7.0f", what, took[0], took[slices / 2], took[slices - 1]);
    free(took);
}

/* --- what the worker does --------------------------------------------------------------------- */

static double wall_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* A cluster that the index has not met; returns what of the time was the index's. */
static double pack(const char *from)
{
    static uint64_t met;
    uint64_t tag[CLUSTER];
    for (unsigned i = 0; i < CLUSTER; i++)
        tag[i] = (za_digest_tag(&digest, from + i * PAGE, PAGE) ^ mix(++met << 1)) | 1;
    double start = wall_ns();
    for (unsigned i = 0; i < CLUSTER; i++)
        za_index_expect(&ix, tag[i]);
    for (unsigned i = 0; i < CLUSTER; i++)
        hits += za_index_find(&ix, tag[i]) != NULL;
    double found = wall_ns() - start;
    hits += za_codec(ZA_CODEC_LZ4)->compress(room, from, CLUSTER * PAGE, out, sizeof(out));
    start = wall_ns();
    for (unsigned i = 0; i < CLUSTER; i++) {
        struct za_index_entry e = {.tag = tag[i], .blob = 1, .page = i};
        (void)za_index_put(&ix, &e);
    }
    return found + wall_ns() - start;
}

static void measure_worker(void)
{
    static double took[CLUSTERS];
    double start = wall_ns(), sum = 0;
    for (unsigned i = 0; i < CLUSTERS; i++)
        (void)wall_ns();
    double clock = 2 * (wall_ns() - start) / CLUSTERS;
    for (unsigned i = 0; i < CLUSTERS; i++)
        took[i] = (pack(page[i * CLUSTER % PAGES]) - clock) / CLUSTER;
    qsort(took, CLUSTERS, sizeof(*took), by_value);
    for (unsigned i = 0; i < UNDISTURBED; i++)
        sum += took[i];
    printf("  worker %5.0f %5.0f", took[CLUSTERS / 2], sum / UNDISTURBED);
}

static void index_costs(uint64_t most)
{
    printf("ns a page (least, median, worst of slices of %u; worker: median, mean)\n", SLICE);
    for (uint64_t n = 10000, known = 0; n <= most; known = n, n *= 10) {
        printf("%9llu", (unsigned long long)n);
        measure("put", known, n - known, 1, put);
        measure("hit", 0, n, 7919, find);
        measure("miss", 1ull << 40, n, 7919, find);
        measure_worker();
        printf("  %4.1f bytes, %zu KiB\n", (double)za_index_bytes(&ix) / (double)ix.entries,
               za_index_bytes(&ix) >> 10);
    }
}

static void write_text(void)
{
    for (size_t i = 0; i < sizeof(page); i++)
        ((char *)page)[i] = "etaoin shrdlu{}\"1"[mix(i / 3) % 17];
}

static void page_costs(void)
{
    const struct za_codec *lz4 = za_codec(ZA_CODEC_LZ4);
    uint64_t sum = 0;
    double a = now_ns();
    for (size_t i = 0; i < PAGES; i++)
        sum += za_digest_tag(&digest, page[i], PAGE);
    double b = now_ns();
    for (size_t i = 0; i < PAGES; i++)
        sum += za_digest_glance(&digest, page[i], PAGE);
    double c = now_ns();
    for (size_t i = 0; i < PAGES; i++)
        sum += lz4->compress(room, page[i], PAGE, out, sizeof(out));
    double e = now_ns();
    printf("a page of 4 KiB: tag %.0f ns, glance %.0f ns, LZ4 %.0f ns%s\n", (b - a) / PAGES,
           (c - b) / PAGES, (e - c) / PAGES, sum ? "" : " ");
}

int main(int argc, char **argv)
{
    za_os_init();
    if (za_digest_open(&digest) < 0)
        return 1;
    write_text();
    index_costs(argc > 1 ? strtoull(argv[1], NULL, 10) : 10000000);
    page_costs();
    return 0;
}
