/* SPDX-License-Identifier: MIT */
/*
 * compress_store -- the blob store against a shadow model, against refused memory, and against its
 * reader.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>

#include "compress/table.h"
#include "tests/unit/compress_kit.h"

UNIT_TEST(model_of_small_blobs)
{
    struct model m = model_new(1 << 17, 2000, 4711);

    for (uint64_t i = 0; i < STEPS(400000); i++) {
        model_step(&m, i);
        if (i % 40009 == 0)
            model_check(&m);
    }
    model_check(&m);
    CHECK(stats(m.s).compacted_bytes > SEGMENT);
    model_free(&m);
}

UNIT_TEST(model_of_blobs_up_to_the_largest)
{
    struct model m = model_new(1 << 12, ZA_BLOB_MAX_RAW, 20815);

    for (uint64_t i = 0; i < STEPS(100000); i++) {
        model_step(&m, i);
        if (i % 40009 == 0)
            model_check(&m);
    }
    model_check(&m);
    model_free(&m);
}

/* ---- refused memory ---- */

static void some_life(struct model *m, uint64_t steps)
{
    for (uint64_t i = 0; i < steps; i++) {
        model_step(m, i);
        if (i % 64 == 0)
            za_store_compact(m->s, 65536);
        if (i % 128 == 0)
            model_reclaim(m);
    }
}

UNIT_TEST(map_fails_at_every_call)
{
    unsigned hit = 0;

    for (int n = 1; n <= 40; n++)
        for (int times = 1; times <= 3; times++) {
            fail_at = n;
            fail_for = times;
            struct model m = model_new(1 << 12, 16000, (uint64_t)n * 7919);
            if (!m.s) {
                free(m.blob);
                CHECK(n == 1);
                CHECK_EQ(mapped_bytes, 0);
                continue;
            }
            some_life(&m, 3000);
            hit += fail_at == 0;
            fail_at = 0;
            model_check(&m);
            some_life(&m, 500);
            model_check(&m);
            model_free(&m);
        }
    CHECK(hit > 20);
}

UNIT_TEST(no_memory_at_all_refuses_puts_and_keeps_the_rest)
{
    struct model m = model_new(1 << 12, 4000, 99);

    for (int i = 0; i < 100; i++)
        model_put(&m);
    fail_at = 1;
    fail_for = 1 << 30;
    for (int i = 0; i < 3000; i++)
        model_put(&m);
    CHECK(m.refused > 0);
    model_check(&m);
    uint32_t n = m.n;
    while (m.n) {
        model_release(&m);
        model_reclaim(&m);
    }
    model_check(&m);
    m.refused = 0;
    for (int i = 0; i < 20; i++)
        model_put(&m);
    CHECK(n > 0);
    model_free(&m);
    fail_at = 0;
}

/* ---- threads ---- */

static struct za_store *shared;
static uint32_t shared_id[64];

static void *dropper(void *arg)
{
    struct rng r = {(uintptr_t)arg * 77777 + 1};

    for (int i = 0; i < 20000; i++)
        za_store_drop_later(shared, shared_id[rnd(&r) % 64], 1);
    return NULL;
}

UNIT_TEST(drops_of_many_threads_add_up)
{
    pthread_t t[4];
    uint64_t refs = 4 * 20000 + 1;

    shared = za_store_new(&ops);
    for (int i = 0; i < 64; i++)
        shared_id[i] = za_store_put(shared, "blob", 5, 4096, 1, ZA_CODEC_NONE, (uint32_t)refs);
    for (uintptr_t i = 0; i < 4; i++)
        pthread_create(&t[i], NULL, dropper, (void *)(i + 1));
    for (int i = 0; i < 2000; i++) {
        za_store_reclaim(shared);
        sched_yield();
    }
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    za_store_reclaim(shared);
    za_store_check(shared);
    CHECK_EQ(stats(shared).blobs, 64);
    /* What is left is known in sum only: release one by one until each is gone. */
    uint64_t left = 0;
    struct za_blob_view v;
    for (int i = 0; i < 64; i++)
        while (za_store_get(shared, shared_id[i], &v)) {
            za_store_release(shared, shared_id[i], 1);
            left++;
        }
    CHECK_EQ(left, 64 * refs - 4ull * 20000);
    za_store_free(shared);
}

/*
 * The pager's handshake in small: a page is absent, stored (its id) or claimed.  The reader claims
 * before it looks and either puts the page back or drops its reference; the writer stores absent
 * pages and discards stored ones by the same compare-and-swap, and moves whatever it likes at any
 * time.
 */
#define PAGES 1500u
#define CLAIMED (1ull << 63)

static uint64_t page_state[PAGES]; /* atomic */
static bool writer_done;
static uint32_t looks; /* atomic */

static bool page_swap(uint32_t page, uint64_t from, uint64_t to)
{
    return __atomic_compare_exchange_n(&page_state[page], &from, to, false, __ATOMIC_ACQ_REL,
                                       __ATOMIC_ACQUIRE);
}

static void reader_look(struct rng *r, uint32_t page, uint32_t id)
{
    struct za_blob_view v;

    za_store_read_begin(shared);
    CHECK(za_store_get(shared, id, &v));
    CHECK_EQ(za_checksum(v.bytes, v.size), v.checksum);
    CHECK(memcmp(v.bytes, &page, sizeof(page)) == 0);
    if (rnd(r) % 64 == 0) { /* a slow reader: the old bytes must outlast compaction */
        for (int i = 0; i < 20; i++)
            sched_yield();
        CHECK_EQ(za_checksum(v.bytes, v.size), v.checksum);
    }
    za_store_read_end(shared);
}

static void *reader(void *arg)
{
    struct rng r = {424242};

    (void)arg;
    while (!__atomic_load_n(&writer_done, __ATOMIC_ACQUIRE)) {
        uint32_t page = (uint32_t)(rnd(&r) % PAGES);
        uint64_t state = __atomic_load_n(&page_state[page], __ATOMIC_ACQUIRE);
        if (!state || !page_swap(page, state, state | CLAIMED))
            continue;
        reader_look(&r, page, (uint32_t)state);
        bool drop = rnd(&r) % 4 == 0;
        if (drop)
            za_store_drop_later(shared, (uint32_t)state, 1);
        __atomic_store_n(&page_state[page], drop ? 0 : state, __ATOMIC_RELEASE);
        __atomic_fetch_add(&looks, 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

static void writer_store(struct rng *r, uint32_t page)
{
    uint32_t size = 16 + (uint32_t)(rnd(r) % 9000);

    content(rnd(r), buf, size);
    memcpy(buf, &page, sizeof(page));
    uint32_t raw = (uint32_t)za_align_up(size, ZA_BLOB_RAW_UNIT);
    uint32_t id = za_store_put(shared, buf, size, raw, za_checksum(buf, size), ZA_CODEC_NONE, 1);
    if (id)
        CHECK(page_swap(page, 0, id)); /* the reader claims stored pages only */
}

static void writer_step(struct rng *r)
{
    uint32_t page = (uint32_t)(rnd(r) % PAGES);
    uint64_t state = __atomic_load_n(&page_state[page], __ATOMIC_ACQUIRE);

    if (!state)
        writer_store(r, page);
    else if (!(state & CLAIMED) && rnd(r) % 3 == 0 && page_swap(page, state, 0))
        za_store_release(shared, (uint32_t)state, 1);
    if (rnd(r) % 16 == 0)
        za_store_compact(shared, rnd(r) % 200000);
    if (rnd(r) % 64 == 0)
        za_store_reclaim(shared);
}

UNIT_TEST(reader_and_writer_torture)
{
    struct rng r = {12345};
    pthread_t t;

    shared = za_store_new(&ops);
    pthread_create(&t, NULL, reader, NULL);
    for (int i = 0; i < STEPS(80000) || __atomic_load_n(&looks, __ATOMIC_RELAXED) < 20000; i++)
        writer_step(&r);
    __atomic_store_n(&writer_done, true, __ATOMIC_RELEASE);
    pthread_join(t, NULL);
    za_store_reclaim(shared);
    za_store_check(shared);
    CHECK(stats(shared).compacted_bytes > SEGMENT);
    CHECK_EQ(area_bytes(shared), mapped_bytes);
    za_store_free(shared);
    CHECK_EQ(mapped_bytes, 0);
}

/* ---- misuse ---- */

UNIT_TEST(no_such_blob)
{
    struct za_store *s = za_store_new(&ops);
    struct za_blob_view v;

    CHECK(!za_store_get(s, ZA_BLOB_NONE, &v));
    uint32_t id = za_store_put(s, "x", 1, 4096, 0, ZA_CODEC_NONE, 1);
    CHECK(za_store_get(s, id, &v));
    za_store_release(s, id, 1);
    CHECK(!za_store_get(s, id, &v));
    za_store_free(s);
}

/* Who refers to a blob may have more references, what readers have dropped or not; nobody else. */
UNIT_TEST(shared_while_it_has_references)
{
    struct za_store *s = za_store_new(&ops);
    struct za_blob_view v;

    CHECK(!za_store_share(s, ZA_BLOB_NONE, 1));
    CHECK(!za_store_share(s, 1, 1));
    uint32_t id = za_store_put(s, "x", 1, 4096, 0, ZA_CODEC_NONE, 1);
    za_store_drop_later(s, id, 1);
    CHECK(za_store_share(s, id, 2));
    za_store_reclaim(s);
    za_store_check(s);
    CHECK(za_store_get(s, id, &v));
    CHECK(!za_store_share(s, id, ZA_BLOB_MAX_REFS));
    CHECK(za_store_share(s, id, ZA_BLOB_MAX_REFS - 2));
    CHECK(!za_store_share(s, id, 1));
    za_store_release(s, id, ZA_BLOB_MAX_REFS);
    CHECK(!za_store_share(s, id, 1));
    CHECK(!za_store_get(s, id, &v));
    za_store_check(s);
    za_store_free(s);
}

UNIT_DIES(a_reference_too_many, "zalloc: *")
{
    struct za_store *s = za_store_new(&ops);
    uint32_t id = za_store_put(s, "x", 1, 4096, 0, ZA_CODEC_NONE, 2);

    za_store_release(s, id, 3);
}

/* ---- what is given back has been forgotten (segment.h I8) ---- */

static struct za_store *looked_at;

/* A child made without handlers, at this moment, would drop what it finds. */
static void unmap_and_look(void *p, size_t len)
{
    void *found;
    size_t n;

    test_unmap(p, len);
    for (unsigned i = 0; looked_at && za_store_area(looked_at, i, &found, &n); i++)
        CHECK((char *)found + n <= (char *)p || (char *)p + len <= (char *)found);
}

UNIT_TEST(what_is_given_back_is_forgotten_before)
{
    const struct za_store_ops looking = {test_map, unmap_and_look};
    static uint32_t id[4000];

    looked_at = za_store_new(&looking);
    for (uint32_t i = 0; i < 4000; i++) {
        content(i, buf, 1000);
        id[i] = za_store_put(looked_at, buf, 1000, 4096, i, ZA_CODEC_LZ4, 1);
        CHECK(id[i]);
    }
    size_t before = mapped_bytes;
    for (uint32_t i = 0; i < 3000; i++)
        za_store_release(looked_at, id[i], 1);
    za_store_reclaim(looked_at);
    za_store_reclaim(looked_at);
    CHECK(mapped_bytes < before);
    struct za_store *s = looked_at;
    looked_at = NULL;
    za_store_free(s);
}
