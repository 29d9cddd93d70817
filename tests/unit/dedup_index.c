/* SPDX-License-Identifier: MIT */
/*
 * dedup_index -- what was remembered last is found, whatever has been split, merged, forgotten and
 * refused in between; tags tell pages apart.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dedup/index.h"
#include "os/os.h"
#include "tests/fake/failing.h"
#include "tests/unit/unit.h"

#define MANY 200000u
#define SOME 3000u
#define PAGE ((size_t)4096)

static struct za_index ix;

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static uint64_t tag_of(uint32_t i)
{
    return mix(i + 1) | 1;
}

static bool put(uint32_t i, uint32_t blob)
{
    struct za_index_entry e = {.tag = tag_of(i), .blob = blob, .page = i % 4};
    return za_index_put(&ix, &e);
}

static bool holds(uint32_t i, uint32_t blob)
{
    const struct za_index_entry *e = za_index_find(&ix, tag_of(i));
    return e && e->tag == tag_of(i) && e->blob == blob && e->page == i % 4;
}

UNIT_TEST(what_is_remembered_is_found)
{
    za_os_init();
    CHECK(za_index_find(&ix, tag_of(0)) == NULL);
    for (uint32_t i = 0; i < MANY; i++)
        CHECK(put(i, i + 1));
    za_index_check(&ix);
    CHECK_EQ(ix.entries, MANY);
    for (uint32_t i = 0; i < MANY; i++)
        CHECK(holds(i, i + 1));
    for (uint32_t i = MANY; i < 2 * MANY; i++)
        CHECK(za_index_find(&ix, tag_of(i)) == NULL);
    CHECK(za_index_bytes(&ix) < (size_t)MANY * 40);
}

UNIT_TEST(a_tag_has_one_entry_the_last)
{
    za_os_init();
    for (uint32_t blob = 1; blob <= 3; blob++)
        for (uint32_t i = 0; i < SOME; i++)
            CHECK(put(i, blob * SOME + i));
    CHECK_EQ(ix.entries, SOME);
    for (uint32_t i = 0; i < SOME; i++)
        CHECK(holds(i, 3 * SOME + i));
    za_index_check(&ix);
}

static bool keep_odd(const struct za_index_entry *e)
{
    return e->blob % 2;
}

static bool keep_none(const struct za_index_entry *e)
{
    (void)e;
    return false;
}

/* In steps, with new entries between the steps: what is wanted stays, and memory goes back. */
UNIT_TEST(a_sweep_forgets_and_merges)
{
    za_os_init();
    for (uint32_t i = 0; i < MANY; i++)
        CHECK(put(i, i + 1));
    size_t before = za_index_bytes(&ix);
    uint32_t more = MANY;
    while (!za_index_sweep(&ix, keep_odd, 7)) {
        CHECK(put(more, 1));
        more++;
    }
    za_index_check(&ix);
    for (uint32_t i = 0; i < MANY; i++)
        CHECK(i % 2 ? za_index_find(&ix, tag_of(i)) == NULL : holds(i, i + 1));
    for (uint32_t i = MANY; i < more; i++)
        CHECK(holds(i, 1));
    for (unsigned pass = 0; pass < 32 && ix.segments > 1; pass++)
        while (!za_index_sweep(&ix, keep_none, 1000))
            ;
    za_index_check(&ix);
    CHECK_EQ(ix.entries, 0);
    CHECK_EQ(ix.segments, 1);
    CHECK(za_index_bytes(&ix) < before / 3);
    for (uint32_t i = 0; i < MANY; i++) /* what was given is taken again */
        CHECK(put(i, i + 1));
    za_index_check(&ix);
    CHECK_EQ(za_index_bytes(&ix), before);
}

UNIT_TEST(dropped_it_begins_anew)
{
    void *p;
    size_t len;
    za_os_init();
    CHECK(!za_index_area(&ix, 0, &p, &len));
    for (uint32_t i = 0; i < SOME; i++)
        CHECK(put(i, 1));
    size_t mapped = 0;
    for (unsigned i = 0; za_index_area(&ix, i, &p, &len); i++)
        mapped += len;
    CHECK(mapped >= za_index_bytes(&ix));
    za_index_drop(&ix);
    za_index_check(&ix);
    CHECK_EQ(za_index_bytes(&ix), 0);
    CHECK(za_index_find(&ix, tag_of(1)) == NULL);
    CHECK(put(1, 9) && holds(1, 9));
}

/* All tags in one place of the directory, as deep as it goes: the newest stay, nothing breaks. */
UNIT_TEST(tags_that_cannot_be_told_apart_displace_each_other)
{
    za_os_init();
    for (uint32_t i = 1; i <= 4 * ZA_INDEX_SLOTS; i++) {
        struct za_index_entry e = {.tag = 0xabcdef0000000000u + i, .blob = i};
        CHECK(za_index_put(&ix, &e));
    }
    za_index_check(&ix);
    CHECK(ix.forgotten > 0);
    CHECK(ix.entries >= ZA_INDEX_SLOTS / 2);
    for (uint32_t i = 1; i <= ZA_INDEX_SLOTS / 2; i++) {
        const struct za_index_entry *e = za_index_find(&ix, 0xabcdef0000000000u + i);
        CHECK(!e || e->blob == i);
    }
}

/* The k-th mapping is refused, once or for ever: no entry is ever wrong. */
UNIT_TEST(refused_memory)
{
    za_os_init();
    failing_start();
    for (unsigned forever = 0; forever < 2; forever++)
        for (unsigned k = 1; k <= 24; k++) {
            unsigned lost = 0;
            failing_arm(FAILING_map, k, forever, 12);
            for (uint32_t i = 0; i < MANY / 4; i++) {
                bool known = put(i, i + 1);
                CHECK(known || k <= 3);
                CHECK(!za_index_find(&ix, tag_of(i)) || holds(i, i + 1));
            }
            failing_disarm();
            za_index_check(&ix);
            for (uint32_t i = 0; i < MANY / 4; i++) {
                const struct za_index_entry *e = za_index_find(&ix, tag_of(i));
                CHECK(!e || holds(i, i + 1));
                lost += !e;
            }
            CHECK(lost <= ix.forgotten + (k <= 3 ? MANY / 4 : 0));
            za_index_drop(&ix);
            ix.forgotten = 0;
        }
}

/* A child goes its own way with what its parent had. */
UNIT_TEST(a_child_has_its_own)
{
    int status;
    za_os_init();
    for (uint32_t i = 0; i < SOME; i++)
        CHECK(put(i, 1));
    int pid = fork();
    if (pid == 0) {
        for (uint32_t i = 0; i < SOME; i++)
            CHECK(holds(i, 1) && put(i, 2));
        for (uint32_t i = SOME; i < MANY; i++)
            CHECK(put(i, 2));
        za_index_check(&ix);
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    for (uint32_t i = 0; i < SOME; i++)
        CHECK(holds(i, 1));
    CHECK_EQ(ix.entries, SOME);
}

UNIT_TEST(tags_and_glances_tell_pages_apart)
{
    static struct za_digest d, other;
    static _Alignas(64) char page[2][PAGE];
    za_os_init();
    CHECK_EQ(za_digest_open(&d), 0);
    CHECK_EQ(za_digest_open(&other), 0);
    CHECK(memcmp(&d, &other, sizeof(d)) != 0);
    for (size_t i = 0; i < PAGE; i++)
        page[0][i] = page[1][i] = (char)mix(i);
    uint64_t tag = za_digest_tag(&d, page[0], PAGE);
    CHECK(tag != ZA_TAG_NONE);
    CHECK_EQ(za_digest_tag(&d, page[1], PAGE), tag);
    CHECK_EQ(za_digest_glance(&d, page[1], PAGE), za_digest_glance(&d, page[0], PAGE));
    CHECK(za_digest_tag(&other, page[0], PAGE) != tag);
    for (size_t i = 0; i < PAGE; i++) {
        page[1][i] ^= 1;
        CHECK(za_digest_tag(&d, page[1], PAGE) != tag);
        page[1][i] ^= 1;
    }
}

UNIT_TEST(without_random_bytes_there_is_no_digest)
{
    static struct za_digest d;
    za_os_init();
    failing_start();
    failing_arm(FAILING_random, 1, true, 38);
    CHECK_EQ(za_digest_open(&d), -38);
}
