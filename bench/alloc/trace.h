/* SPDX-License-Identifier: MIT */
/*
 * trace -- two formats of what a program asked of malloc.
 *
 * Raw, written by record while the program runs: a header, then 24 bytes an event, in the order of
 * the calls over all threads.  A free and the first half of a realloc are written before the call,
 * all else after it, so that an address always belongs to the last event that gave it out.
 *
 * Packed, made from it by pack: 12 bytes an event; an address is a slot number, used again after
 * its block was freed.  Threads are dropped: the replay has one.
 */
#ifndef ZA_BENCH_ALLOC_TRACE_H
#define ZA_BENCH_ALLOC_TRACE_H

#include <stdint.h>

enum trace_op {
    TRACE_NONE,
    TRACE_MALLOC,
    TRACE_CALLOC,
    TRACE_ALIGNED,
    TRACE_FREE,
    TRACE_REALLOC_FROM,
    TRACE_REALLOC_TO
};

struct trace_raw {
    uint64_t address;
    uint64_t size;
    uint32_t thread;
    uint16_t op;
    uint16_t align; /* log2 */
};

struct trace_raw_header {
    uint64_t events; /* may pass the most there is room for */
    uint64_t room;
    uint64_t unused;
};

struct trace_packed {
    uint32_t slot;
    uint32_t size; /* TRACE_FREE: 0; TRACE_REALLOC_TO: also of a slot that has no block yet */
    uint16_t op;
    uint16_t align;
};

struct trace_packed_header {
    uint32_t events;
    uint32_t slots;
};

#endif
