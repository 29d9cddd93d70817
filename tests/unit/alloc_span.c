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
            CHECK_EQ(za_span_put(unit, cls, &out[k], 1), 1);
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
    CHECK_EQ(za_span_put(unit, 5, &p, 1), 1);
    (void)za_span_put(unit, 5, &p, 1);
    KIT_SURVIVED();
}

UNIT_TEST(the_tail_of_a_span_is_no_slot)
{
    kit_start();
    kit_must_die(KIT_INTERIOR);
    unsigned cls = za_class_of(48);
    uint32_t unit = span_new(cls);
    void *p = (void *)(za_unit_addr(unit) + (size_t)za_class_info[cls].nslots * 48);
    (void)za_span_put(unit, cls, &p, 1);
    KIT_SURVIVED();
}

UNIT_TEST(a_run_of_slots_ends_where_the_span_does)
{
    kit_start();
    for (unsigned cls = 1; za_class_info[cls].nslots >= 6; cls += 6) {
        void *out[9];
        uint32_t unit = span_new(cls), other = span_new(cls);
        CHECK_EQ(za_span_take(unit, cls, out + 3, 3), 3);
        CHECK_EQ(za_span_take(other, cls, out + 6, 3), 3);
        CHECK_EQ(za_span_take(unit, cls, out + 9, 3), 3);
        CHECK_EQ(za_span_put(unit, cls, out, 9), 3);
        CHECK_EQ(za_spans[unit].hint, 0);
        CHECK_EQ(za_span_put(other, cls, out + 3, 6), 3);
        CHECK_EQ(za_spans[other].nfree, za_class_info[cls].nslots);
        for (unsigned i = 0; i < 6; i++)
            CHECK(!za_span_is_out(i < 3 ? unit : other, cls, out[i]));
    }
}

UNIT_TEST(the_buckets_are_quarters)
{
    kit_start();
    for (unsigned cls = 1; cls <= ZA_CLASS_LAST; cls++) {
        unsigned all = za_class_info[cls].nslots;
        CHECK_EQ(za_span_bucket(cls, 0), ZA_SPAN_FULL);
        for (unsigned n = 1; n <= all; n++)
            CHECK_EQ(za_span_bucket(cls, n),
                     za_min(n * ZA_SPAN_BUCKETS / all, ZA_SPAN_BUCKETS - 1));
    }
}
