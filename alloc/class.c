/* SPDX-License-Identifier: MIT */
/*
 * class -- fills the class tables once.
 *
 * Locks: none.  May sleep: no.  May fault: no.  Allocates: nothing.
 */
#include "alloc/class.h"

#define SPAN_WASTE 5u            /* a span wastes at most this part of itself (I3) */
#define BIN_BYTES (256 * ZA_KIB) /* what a busy bin may hold */
#define BIN_FIRST 15u
#define BIN_LEAST 3u
#define TRANSFER_BYTES (256 * ZA_KIB)
#define TRANSFER_LEAST 8u
#define TRANSFER_MOST 1024u

struct za_class_cell za_class_cell[ZA_CLASS_LAST + 1];
struct za_class_info za_class_info[ZA_CLASS_LAST + 1];
uint8_t za_class_lut[(ZA_CLASS_LUT_SIZE >> 3) + 1];

static uint32_t slot_size(unsigned cls)
{
    if (cls == 1)
        return 8;
    if (cls <= 9)
        return 16 * (cls - 1);
    unsigned k = cls - 10, lg = 7 + k / 8;
    return (1u << lg) + ((k % 8 + 1) << (lg - 3));
}

static unsigned span_units(uint32_t size)
{
    unsigned best = 1, best_waste = UINT32_MAX;
    for (unsigned n = 1; n <= ZA_CLASS_SPAN_UNITS; n++) {
        unsigned bytes = n << ZA_UNIT_SHIFT, waste = bytes % size;
        if (waste <= bytes / SPAN_WASTE)
            return n;
        if (waste * best < best_waste * n) {
            best = n;
            best_waste = waste;
        }
    }
    return best;
}

/* The largest 2^k - 1 that is at most n + 1: a bin's array is then 2^k pointers with its sentinel.
 */
static unsigned depth_for(size_t n)
{
    unsigned depth = BIN_LEAST;
    while (depth * 2 + 1 <= n && depth * 2 + 1 <= ZA_CLASS_DEPTH)
        depth = depth * 2 + 1;
    return depth;
}

static void fill(unsigned cls)
{
    uint32_t size = slot_size(cls);
    struct za_class_info *in = &za_class_info[cls];
    za_class_cell[cls].size = size;
    za_class_cell[cls].magic = (uint32_t)((((uint64_t)1 << 32) + size - 1) / size);
    in->units = (uint8_t)span_units(size);
    in->nslots = (uint16_t)(((size_t)in->units << ZA_UNIT_SHIFT) / size);
    in->words = (uint16_t)((in->nslots + 63u) / 64u);
    in->depth_max = (uint8_t)depth_for(BIN_BYTES / size);
    in->depth_first = (uint8_t)za_min(BIN_FIRST, in->depth_max);
    size_t most = za_min(TRANSFER_BYTES / size, TRANSFER_MOST);
    in->transfer = (uint16_t)za_max(most, TRANSFER_LEAST);
}

void za_class_init(void)
{
    for (unsigned cls = 1; cls <= ZA_CLASS_LAST; cls++)
        fill(cls);
    unsigned cls = 1;
    for (size_t i = 0; i < ZA_ARRAY_LEN(za_class_lut); i++) {
        while (za_class_cell[cls].size < i * 8)
            cls++;
        za_class_lut[i] = (uint8_t)cls;
    }
}
