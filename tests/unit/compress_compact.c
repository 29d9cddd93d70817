/* SPDX-License-Identifier: MIT */
/*
 * compress_compact -- what dies is given back: bounded waste, compaction within its budget, and
 * the grace period of a reader.
 */
#define _GNU_SOURCE
#include "os/os.h"
#include "tests/unit/compress_kit.h"

/* ---- waste and metadata ---- */

static void fill_store(struct model *m, uint64_t bytes)
{
    while (stats(m->s).live_bytes < bytes)
        model_put(m);
}

static void release_share(struct model *m, unsigned percent)
{
    for (uint32_t i = m->n; i-- > 0;)
        if (rnd(&m->r) % 100 < percent) {
            za_store_release(m->s, m->blob[i].id, m->blob[i].refs);
            model_forget(m, i);
        }
}

static void settle(struct model *m)
{
    do
        za_store_reclaim(m->s);
    while (za_store_compact(m->s, SEGMENT) > 0);
    for (int i = 0; i < 3; i++)
        za_store_reclaim(m->s);
}

static void waste_is_bounded(struct model *m)
{
    struct za_store_stats st;

    settle(m);
    st = stats(m->s);
    CHECK(st.held_bytes <= st.live_bytes * 104 / 100 + SEGMENT / 16 + 4096);
    model_check(m);
}

UNIT_TEST(waste_is_bounded_after_random_frees)
{
    static const unsigned shares[] = {3, 10, 30, 50, 60, 90, 99};

    for (unsigned i = 0; i < ZA_ARRAY_LEN(shares); i++) {
        struct model m = model_new(1 << 16, 12000, 31337 + i);
        fill_store(&m, 40 * SEGMENT);
        release_share(&m, shares[i]);
        waste_is_bounded(&m);
        fill_store(&m, 60 * SEGMENT);
        release_share(&m, shares[i]);
        waste_is_bounded(&m);
        model_free(&m);
    }
}

/* Ids and segments are recycled: a long life at one size does not grow. */
UNIT_TEST(churn_does_not_grow)
{
    struct model m = model_new(1 << 15, 12000, 5);

    fill_store(&m, 16 * SEGMENT);
    uint64_t ids = stats(m.s).table_bytes;
    for (int i = 0; i < 100; i++) {
        release_share(&m, 20);
        fill_store(&m, 16 * SEGMENT);
        za_store_reclaim(m.s);
        za_store_compact(m.s, 8 * SEGMENT);
    }
    waste_is_bounded(&m);
    CHECK(stats(m.s).table_bytes <= ids * 2);
    model_free(&m);
}

UNIT_TEST(compaction_comes_to_rest)
{
    struct model m = model_new(1 << 15, ZA_BLOB_MAX_RAW, 6);

    fill_store(&m, 30 * SEGMENT);
    release_share(&m, 40);
    settle(&m);
    uint64_t moved = stats(m.s).compacted_bytes;
    CHECK(moved <= 30 * SEGMENT);
    for (int i = 0; i < 100; i++) {
        CHECK_EQ(za_store_compact(m.s, SEGMENT), 0);
        za_store_reclaim(m.s);
    }
    CHECK_EQ(stats(m.s).compacted_bytes, moved);
    model_free(&m);
}

UNIT_TEST(compaction_keeps_its_budget)
{
    struct model m = model_new(1 << 15, 6000, 7);
    size_t moved, total = 0;

    fill_store(&m, 10 * SEGMENT);
    release_share(&m, 50);
    CHECK_EQ(za_store_compact(m.s, 0), 0);
    do {
        moved = za_store_compact(m.s, 20000);
        CHECK(moved <= 20000);
        total += moved;
        za_store_reclaim(m.s);
    } while (moved);
    CHECK_EQ(total, stats(m.s).compacted_bytes);
    waste_is_bounded(&m);
    model_free(&m);
}

#define RECORD 8u  /* pager/page.h */
#define HEADER 12u /* store_private.h */

/*
 * Beyond the compressed bytes of a page: its record, and its share of entry, bit and header of the
 * blob.  At most 16 bytes where four pages are one blob, which is the rule; where blobs of one page
 * are all there is, it is more than that, and no more than this.
 */
UNIT_TEST(metadata_is_bounded)
{
    static const struct {
        unsigned pages, bytes;
    } bound[] = {{4, 14}, {3, 16}, {1, 29}};
    struct model m = model_new(1 << 16, 6000, 8);

    while (m.n < 50000)
        model_put(&m);
    uint64_t blobs = stats(m.s).table_bytes + (uint64_t)m.n * HEADER;
    for (unsigned i = 0; i < ZA_ARRAY_LEN(bound); i++)
        CHECK(blobs <= (uint64_t)m.n * bound[i].pages * (bound[i].bytes - RECORD));
    model_free(&m);
}

/* Memory that the kernel says is there, in the store's segments. */
static uint64_t resident_segments(const struct za_store *s)
{
    static unsigned char there[SEGMENT / 4096];
    uint64_t pages = 0;
    size_t len;
    void *p;

    for (unsigned i = 0; za_store_area(s, i, &p, &len); i++) {
        if (len != SEGMENT)
            continue;
        CHECK_EQ(mincore(p, len, there), 0);
        for (size_t k = 0; k < len / za_os->page_size; k++)
            pages += there[k] & 1;
    }
    return pages * za_os->page_size;
}

static uint64_t compressed_bytes(const struct model *m)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < m->n; i++)
        sum += m->blob[i].size;
    return sum;
}

/* A blob of four pages of text or records, say. */
static void put_four_pages(struct model *m)
{
    struct shadow b = {.key = ++m->next_key, .refs = 1, .raw = 4 * 4096};

    b.size = 1500 + (uint32_t)(rnd(&m->r) % 8000);
    content(b.key, buf, b.size);
    b.id = za_store_put(m->s, buf, b.size, b.raw, (uint32_t)b.key, ZA_CODEC_LZ4, 1);
    CHECK(b.id);
    m->blob[m->n++] = b;
}

/* Blobs die at random and others come, three times what there is; the worker has its turns. */
static void churn(struct model *m, uint64_t bytes)
{
    uint64_t put = 0, next = 0;

    while (put < 3 * bytes) {
        if (stats(m->s).live_bytes > bytes) {
            CHECK(m->n > 0);
            uint32_t i = (uint32_t)(rnd(&m->r) % m->n);
            za_store_release(m->s, m->blob[i].id, 1);
            model_forget(m, i);
            continue;
        }
        put_four_pages(m);
        put += m->blob[m->n - 1].size;
        if (put < next)
            continue;
        next = put + SEGMENT / 4;
        za_store_reclaim(m->s);
        za_store_compact(m->s, 2 * SEGMENT);
    }
}

/*
 * What the kernel holds for the store against the compressed bytes alone, in small stores and
 * larger ones, and after their latest blobs died too, which stand in the segment being filled.
 */
UNIT_TEST(under_5_percent_is_wasted_after_churn)
{
    static const unsigned mib[] = {4, 16, 64};

    if (za_os->page_size != 4096)
        UNIT_SKIP("these are the bounds for pages of 4 KiB");
    for (unsigned i = 0; i < ZA_ARRAY_LEN(mib); i++) {
        struct model m = model_new(1 << 16, 9500, 99 + i);
        churn(&m, mib[i] * SEGMENT);
        for (unsigned k = 0; k < 60; k++) {
            za_store_release(m.s, m.blob[m.n - 1].id, 1);
            model_forget(&m, m.n - 1);
        }
        settle(&m);
        uint64_t there = resident_segments(m.s), wanted = compressed_bytes(&m);
        CHECK_EQ(there, stats(m.s).held_bytes);
        CHECK(there * 95 <= wanted * 100);
        CHECK(stats(m.s).table_bytes + (uint64_t)m.n * HEADER <= (uint64_t)m.n * 4 * (16 - RECORD));
        CHECK(stats(m.s).compacted_bytes <= 60ull * mib[i] * SEGMENT);
        model_check(&m);
        model_free(&m);
    }
}

UNIT_TEST(an_empty_store_gives_its_memory_back)
{
    struct model m = model_new(1 << 15, 6000, 9);

    fill_store(&m, 20 * SEGMENT);
    release_share(&m, 100);
    CHECK_EQ(m.n, 0);
    settle(&m);
    CHECK(stats(m.s).mapped_bytes <= SEGMENT);
    CHECK_EQ(stats(m.s).live_bytes, 0);
    model_check(&m);
    model_free(&m);
}

/* ---- the grace period ---- */

UNIT_TEST(bytes_stay_while_a_reader_is_inside)
{
    struct model m = model_new(1 << 15, 6000, 10);
    struct za_blob_view v;

    fill_store(&m, 5 * SEGMENT); /* few enough that compaction does not wait for the reader */
    struct shadow b = m.blob[0];
    za_store_read_begin(m.s);
    CHECK(za_store_get(m.s, b.id, &v));
    const void *before = v.bytes;
    m.blob[0] = m.blob[--m.n]; /* hide it from release_share */
    release_share(&m, 60);
    settle(&m);
    CHECK(za_store_get(m.s, b.id, &v));
    CHECK(v.bytes != before); /* compaction moved it */
    for (int i = 0; i < 2000; i++)
        model_put(&m);
    content(b.key, buf, b.size);
    CHECK(memcmp(before, buf, b.size) == 0);
    CHECK(memcmp(v.bytes, buf, b.size) == 0);
    za_store_read_end(m.s);
    m.blob[m.n++] = b;
    waste_is_bounded(&m);
    model_free(&m);
}

UNIT_TEST(an_id_is_not_given_again_while_a_reader_is_inside)
{
    struct model m = model_new(16, 100, 11);

    model_put(&m);
    uint32_t id = m.blob[0].id;
    za_store_read_begin(m.s);
    za_store_release(m.s, id, m.blob[0].refs);
    m.n = 0;
    for (int i = 0; i < 5; i++) {
        za_store_reclaim(m.s);
        model_put(&m);
        CHECK(m.blob[i].id != id);
    }
    za_store_read_end(m.s);
    za_store_reclaim(m.s);
    model_put(&m);
    CHECK_EQ(m.blob[m.n - 1].id, id);
    model_check(&m);
    model_free(&m);
}

UNIT_TEST(a_reader_that_comes_back_does_not_hold_up_the_writer)
{
    struct model m = model_new(1 << 15, 6000, 12);

    fill_store(&m, 10 * SEGMENT);
    za_store_read_begin(m.s);
    release_share(&m, 100);
    za_store_reclaim(m.s);
    CHECK(stats(m.s).mapped_bytes >= 10 * SEGMENT);
    za_store_read_end(m.s);
    za_store_read_begin(m.s); /* inside again, but not in the same section */
    za_store_reclaim(m.s);
    CHECK(stats(m.s).mapped_bytes <= 2 * SEGMENT);
    za_store_read_end(m.s);
    model_free(&m);
}

UNIT_TEST(the_child_forgets_the_parents_reader)
{
    struct model m = model_new(1 << 15, 6000, 13);

    fill_store(&m, 10 * SEGMENT);
    za_store_read_begin(m.s);
    release_share(&m, 100);
    za_store_reclaim(m.s);
    za_store_child(m.s);
    settle(&m);
    CHECK(stats(m.s).mapped_bytes <= SEGMENT);
    za_store_read_begin(m.s);
    za_store_read_end(m.s);
    za_store_child(m.s); /* nobody inside: nothing to forget */
    za_store_read_begin(m.s);
    za_store_read_end(m.s);
    model_free(&m);
}

/* It is the parent's memory too: moving it would make a second copy. */
UNIT_TEST(what_a_child_inherited_is_left_where_it_is)
{
    struct model m = model_new(1 << 16, 6000, 14);
    struct za_blob_view v;

    fill_store(&m, 10 * SEGMENT);
    CHECK(za_store_get(m.s, m.blob[0].id, &v) && !za_store_inherited(m.s, v.place));
    za_store_child(m.s);
    uint64_t moved = stats(m.s).compacted_bytes;
    for (uint32_t i = 0; i < m.n; i++)
        CHECK(za_store_get(m.s, m.blob[i].id, &v) && za_store_inherited(m.s, v.place));
    release_share(&m, 60);
    settle(&m);
    CHECK_EQ(stats(m.s).compacted_bytes, moved);
    uint32_t old = m.n;
    fill_store(&m, 10 * SEGMENT); /* what is its own */
    CHECK(m.n > old);
    CHECK(za_store_get(m.s, m.blob[m.n - 1].id, &v) && !za_store_inherited(m.s, v.place));
    model_check(&m);
    za_store_child(m.s); /* and the child's child */
    CHECK(za_store_get(m.s, m.blob[m.n - 1].id, &v) && za_store_inherited(m.s, v.place));
    model_check(&m);
    release_share(&m, 50);
    za_store_own(m.s);
    CHECK(za_store_get(m.s, m.blob[0].id, &v) && !za_store_inherited(m.s, v.place));
    waste_is_bounded(&m);
    CHECK(stats(m.s).compacted_bytes > moved);
    release_share(&m, 100);
    settle(&m);
    CHECK(stats(m.s).mapped_bytes <= SEGMENT);
    model_free(&m);
}

UNIT_TEST(inherited_segments_go_when_they_are_empty)
{
    struct model m = model_new(1 << 15, 6000, 15);

    fill_store(&m, 10 * SEGMENT);
    za_store_child(m.s);
    release_share(&m, 100);
    settle(&m);
    CHECK_EQ(stats(m.s).mapped_bytes, 0); /* none is used again */
    fill_store(&m, 2 * SEGMENT);
    model_check(&m);
    model_free(&m);
}
