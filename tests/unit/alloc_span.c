/* SPDX-License-Identifier: MIT */
/*
 * alloc_span -- slots of a span: lowest first, every bit accounted for, misuse found when slots
 * come home.
 */
#include "alloc/span.h"

#include "alloc/heap.h"
#include "tests/unit/alloc_kit.h"

static uint32_t span_new(unsigned cls)
{
    size_t dirty;
    struct za_heap_want want = {
        .units = za_class_info[cls].units, .align = 1, .kind = ZA_RUN_SPAN, .prefer = ZA_DIRTY};
    uint32_t unit = za_heap_alloc(&want, &dirty);
    CHECK(unit != ZA_NO_UNIT && za_span_born(unit, cls));
    return unit;
}

UNIT_TEST(slots_come_lowest_first_and_all)
{
    void *out[16];
    kit_start();
    for (unsigned cls = 1; cls <= ZA_CLASS_LAST; cls++) {
        uint32_t unit = span_new(cls);
        uintptr_t next = za_unit_addr(unit);
        unsigned n, total = 0;
        while ((n = za_span_take(unit, cls, out + 16, 16))) {
            for (unsigned i = 0; i < n; i++, next += za_class_cell[cls].size)
                CHECK_EQ((uintptr_t)out[15 - i], next);
            total += n;
        }
        CHECK_EQ(total, za_class_info[cls].nslots);
        CHECK_EQ(za_spans[unit].nfree, 0);
    }
}

UNIT_TEST(random_takes_and_puts)
{
    struct kit_random r = {99};
    void *out[600];
    unsigned n = 0;
    kit_start();
    unsigned cls = za_class_of(112);
    uint32_t unit = span_new(cls);
    for (int i = 0; i < 20000; i++) {
        if (kit_next(&r) % 2 && n < 500) {
            n += za_span_take(unit, cls, out + n + 1, 1);
        } else if (n) {
            unsigned k = (unsigned)(kit_next(&r) % n);
            CHECK(za_span_is_out(unit, cls, out[k]));
            za_span_put(unit, cls, out[k]);
            CHECK(!za_span_is_out(unit, cls, out[k]));
            out[k] = out[--n];
        }
        CHECK_EQ(za_spans[unit].nfree + n, za_class_info[cls].nslots);
        za_spans[unit].bucket = (uint8_t)za_span_bucket(cls, za_spans[unit].nfree);
        za_span_check(unit, cls);
    }
}

UNIT_TEST(a_bitmap_stays_with_its_class)
{
    kit_start();
    unsigned cls = za_class_of(64);
    uint32_t unit = span_new(cls);
    const uint64_t *bits = za_spans[unit].bits;
    za_span_dies(unit, cls);
    CHECK_EQ(za_map_get(unit), ZA_MAP_NONE);
    CHECK(!za_spans[unit].bits);
    uint32_t other = span_new(cls);
    CHECK(za_spans[other].bits == bits);
    CHECK_EQ(bits[0], 0);
}

UNIT_TEST(a_slot_that_is_in_comes_home_again)
{
    void *p;
    kit_start();
    kit_must_die(KIT_DOUBLE);
    uint32_t unit = span_new(5);
    CHECK_EQ(za_span_take(unit, 5, &p + 1, 1), 1);
    za_span_put(unit, 5, p);
    za_span_put(unit, 5, p);
    KIT_SURVIVED();
}

UNIT_TEST(the_tail_of_a_span_is_no_slot)
{
    kit_start();
    kit_must_die(KIT_INTERIOR);
    unsigned cls = za_class_of(48);
    uint32_t unit = span_new(cls);
    za_span_put(unit, cls, (void *)(za_unit_addr(unit) + (size_t)za_class_info[cls].nslots * 48));
    KIT_SURVIVED();
}
