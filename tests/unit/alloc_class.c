/* SPDX-License-Identifier: MIT */
/*
 * alloc_class -- the size classes: order, waste, look-up of every size, and the reciprocal of every
 * offset.
 */
#include "alloc/class.h"

#include "tests/unit/unit.h"

static size_t size_of(unsigned cls)
{
    return za_class_cell[cls].size;
}

UNIT_TEST(sizes_grow_and_are_aligned)
{
    za_class_init();
    CHECK_EQ(size_of(1), 8);
    for (unsigned cls = 2; cls <= ZA_CLASS_LAST; cls++) {
        CHECK(size_of(cls) > size_of(cls - 1));
        CHECK_EQ(size_of(cls) % 16, 0);
    }
    CHECK_EQ(size_of(ZA_CLASS_LAST), ZA_CLASS_MAX_SIZE);
}

UNIT_TEST(every_size_gets_the_smallest_class_that_fits)
{
    za_class_init();
    CHECK_EQ(za_class_of(0), 1);
    for (size_t size = 1; size <= ZA_CLASS_MAX_SIZE; size++) {
        unsigned cls = za_class_of(size);
        CHECK(size_of(cls) >= size);
        CHECK(cls == 1 || size_of(cls - 1) < size);
    }
}

UNIT_TEST(waste_is_bounded)
{
    za_class_init();
    for (unsigned cls = 10; cls <= ZA_CLASS_LAST; cls++)
        CHECK(size_of(cls) - size_of(cls - 1) <= size_of(cls - 1) / 8);
    for (unsigned cls = 1; cls <= ZA_CLASS_LAST; cls++) {
        size_t span = (size_t)za_class_info[cls].units << ZA_UNIT_SHIFT;
        size_t used = za_class_info[cls].nslots * size_of(cls);
        CHECK(used <= span);
        CHECK(span - used <= span / 5);
        CHECK(za_class_info[cls].units <= ZA_CLASS_SPAN_UNITS);
        CHECK(za_class_info[cls].words * 64u >= za_class_info[cls].nslots);
    }
}

UNIT_TEST(reciprocal_tells_every_start_from_every_other_offset)
{
    za_class_init();
    for (unsigned cls = 1; cls <= ZA_CLASS_LAST; cls++) {
        uint32_t span = (uint32_t)za_class_info[cls].units << ZA_UNIT_SHIFT;
        for (uint32_t off = 0; off < span; off++) {
            bool starts = off % size_of(cls) == 0;
            CHECK(za_class_starts(&za_class_cell[cls], off) == starts);
            CHECK(!starts || za_class_slot(&za_class_cell[cls], off) == off / size_of(cls));
        }
    }
}

UNIT_TEST(depths_leave_a_power_of_two_with_the_sentinel)
{
    za_class_init();
    for (unsigned cls = 1; cls <= ZA_CLASS_LAST; cls++) {
        CHECK(za_is_pow2(za_class_info[cls].depth_first + 1u));
        CHECK(za_is_pow2(za_class_info[cls].depth_max + 1u));
        CHECK(za_class_info[cls].depth_first <= za_class_info[cls].depth_max);
        CHECK(za_class_info[cls].transfer >= za_class_info[cls].depth_max);
    }
}
