/* SPDX-License-Identifier: MIT */
/*
 * replay -- does again what a packed trace says, writing to every page of what it gets.
 *
 * The trace is mapped and read before the clock starts; its pages count as resident under every
 * allocator alike.
 *
 * usage: replay TRACE WORK      WORK: the trace is replayed WORK / 100 times, at least once
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "kit.h"
#include "trace.h"

static void **block;

static void *get(const struct trace_packed *e)
{
    switch (e->op) {
    case TRACE_CALLOC: return calloc(1, e->size);
    case TRACE_ALIGNED: {
        size_t align = (size_t)1 << e->align;
        return aligned_alloc(align, (e->size + align - 1) / align * align);
    }
    case TRACE_REALLOC_TO: return realloc(block[e->slot], e->size);
    default: return malloc(e->size);
    }
}

static void step(const struct trace_packed *e)
{
    if (e->op == TRACE_FREE) {
        free(block[e->slot]);
        block[e->slot] = NULL;
        return;
    }
    if (e->op != TRACE_REALLOC_TO)
        free(block[e->slot]); /* its free fell behind the end of the trace */
    char *p = block[e->slot] = get(e);
    if (!p)
        exit(1);
    for (size_t at = 0; at < e->size; at += 4096)
        *(volatile char *)(p + at) = 1;
}

int main(int argc, char **argv)
{
    struct stat st;
    int fd = argc == 3 ? open(argv[1], O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0 || fstat(fd, &st) != 0) {
        fputs("usage: replay TRACE WORK\n", stderr);
        return 2;
    }
    const struct trace_packed_header *h =
        mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    if (h == MAP_FAILED)
        return 1;
    const struct trace_packed *e = (const struct trace_packed *)(h + 1);
    size_t bytes = ((size_t)h->slots + 1) * sizeof(void *);
    block = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE,
                 -1, 0);
    if (block == MAP_FAILED)
        return 1;
    uint64_t start = bench_now();
    for (long round = 0; round <= (atol(argv[2]) - 1) / 100; round++)
        for (uint32_t i = 0; i < h->events; i++)
            step(&e[i]);
    bench_done(start);
    bench_say("rss_after", bench_rss_kib());
    return 0;
}
