/* SPDX-License-Identifier: MIT */
/*
 * pack -- makes a packed trace from a raw one; frees of blocks older than the trace are left out.
 *
 * usage: pack RAW PACKED      prints how many events it wrote
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "trace.h"

#define BUCKETS (1u << 23)
#define THREADS 256u
#define NONE UINT32_MAX

/* Open addressing by address; a block that is gone leaves its key with slot NONE. */
static struct {
    uint64_t address;
    uint32_t slot;
} map[BUCKETS];

static uint32_t *spare;
static uint32_t nspare, nslots;
static uint32_t moving[THREADS]; /* slot + 1 of the block a thread is in the middle of moving */

static uint32_t *place(uint64_t address)
{
    uint32_t i = (uint32_t)((address >> 4) * 0x9e3779b97f4a7c15u >> 41);
    while (map[i].address && map[i].address != address)
        i = (i + 1) % BUCKETS;
    if (!map[i].address) {
        map[i].address = address;
        map[i].slot = NONE;
    }
    return &map[i].slot;
}

static uint32_t slot_new(void)
{
    return nspare ? spare[--nspare] : nslots++;
}

/* The slot an event speaks of; NONE: leave it out. */
static uint32_t slot_of(const struct trace_raw *e)
{
    uint32_t *at = place(e->address), *mover = &moving[e->thread % THREADS], slot = *at;
    switch (e->op) {
    case TRACE_FREE:
        if (slot != NONE)
            spare[nspare++] = slot;
        *at = NONE;
        return slot;
    case TRACE_REALLOC_FROM:
        *mover = slot == NONE ? 0 : slot + 1;
        *at = NONE;
        return NONE;
    case TRACE_REALLOC_TO:
        *at = *mover ? *mover - 1 : slot_new();
        *mover = 0;
        return *at;
    default: return *at = slot_new();
    }
}

static const struct trace_raw_header *load(const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0 || (size_t)st.st_size < sizeof(struct trace_raw_header))
        return NULL;
    void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    return p == MAP_FAILED ? NULL : p;
}

int main(int argc, char **argv)
{
    const struct trace_raw_header *raw = argc == 3 ? load(argv[1]) : NULL;
    FILE *out = raw ? fopen(argv[2], "wb") : NULL;
    if (!out) {
        fputs("usage: pack RAW PACKED\n", stderr);
        return 2;
    }
    uint64_t n = raw->events < raw->room ? raw->events : raw->room;
    const struct trace_raw *e = (const struct trace_raw *)(raw + 1);
    struct trace_packed_header h = {0};
    spare = calloc(n + 1, sizeof(*spare));
    if (!spare || fwrite(&h, sizeof(h), 1, out) != 1)
        return 1;
    for (uint64_t i = 0; i < n; i++) {
        uint32_t slot = e[i].op == TRACE_NONE ? NONE : slot_of(&e[i]);
        struct trace_packed p = {slot, (uint32_t)e[i].size, e[i].op, e[i].align};
        if (slot == NONE || e[i].size > INT32_MAX)
            continue;
        h.events += fwrite(&p, sizeof(p), 1, out) == 1;
    }
    h.slots = nslots;
    if (fseek(out, 0, SEEK_SET) != 0 || fwrite(&h, sizeof(h), 1, out) != 1 || fclose(out) != 0)
        return 1;
    printf("%u events, %u slots\n", h.events, h.slots);
    return 0;
}
