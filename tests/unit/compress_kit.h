/* SPDX-License-Identifier: MIT */
/*
 * compress_kit -- what the tests of the store and of dictionaries share: counted memory that can be
 * refused, blobs whose bytes follow from a key, and a shadow of the store.
 */
#ifndef ZA_TESTS_UNIT_COMPRESS_KIT_H
#define ZA_TESTS_UNIT_COMPRESS_KIT_H

#include <stdlib.h>
#include <sys/mman.h>

#include "compress/store.h"
#include "compress/tier.h"
#include "tests/unit/unit.h"

#define SEGMENT ZA_MIB

/* ThreadSanitizer is slow, and only the tests with threads have something to show it. */
#ifdef __SANITIZE_THREAD__
#define STEPS(n) ((n) / 8)
#else
#define STEPS(n) (n)
#endif

/* ---- memory of the test: counted, refused on request ---- */

static size_t mapped_bytes;
static int fail_at;  /* the n-th map from now on is refused; 0: none */
static int fail_for; /* and so many after it */

static inline void *test_map(size_t len)
{
    if (fail_at && --fail_at == 0) {
        fail_at = --fail_for > 0 ? 1 : 0;
        return NULL;
    }
    void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    mapped_bytes += len;
    return p;
}

static inline void test_unmap(void *p, size_t len)
{
    CHECK_EQ(munmap(p, len), 0);
    mapped_bytes -= len;
}

static const struct za_store_ops ops = {test_map, test_unmap};

static inline size_t area_bytes(const struct za_store *s)
{
    size_t sum = 0, len;
    void *p;

    for (unsigned i = 0; za_store_area(s, i, &p, &len); i++) {
        CHECK((p != NULL) == (len != 0));
        sum += len;
    }
    return sum;
}

static inline struct za_store_stats stats(const struct za_store *s)
{
    struct za_store_stats st;

    za_store_stats(s, &st);
    return st;
}

/* ---- contents: a blob's bytes follow from its key ---- */

struct rng {
    uint64_t x;
};

static inline uint64_t rnd(struct rng *r)
{
    r->x ^= r->x << 13;
    r->x ^= r->x >> 7;
    r->x ^= r->x << 17;
    return r->x;
}

static inline void content(uint64_t key, char *p, uint32_t size)
{
    struct rng r = {key * 0x9e3779b97f4a7c15ull | 1};
    uint64_t w;

    for (uint32_t i = 0; i < size; i += 8) {
        w = rnd(&r);
        memcpy(p + i, &w, za_min(8, size - i));
    }
}

/* ---- the shadow model ---- */

struct shadow {
    uint32_t id, size, raw, refs, later;
    uint64_t key;
};

struct model {
    struct za_store *s;
    struct rng r;
    struct shadow *blob;
    uint32_t n, max;
    uint64_t next_key, refused;
    uint32_t max_size;
};

static char buf[ZA_BLOB_MAX_RAW];

static inline struct model model_new(uint32_t max, uint32_t max_size, uint64_t seed)
{
    struct model m = {.s = za_store_new(&ops), .r = {seed}, .max = max, .max_size = max_size};

    m.blob = calloc(max, sizeof(*m.blob));
    return m;
}

static inline void model_free(struct model *m)
{
    za_tier_close(za_store_tier(m->s), &ops);
    za_store_free(m->s);
    free(m->blob);
    CHECK_EQ(mapped_bytes, 0);
}

static inline void model_put(struct model *m)
{
    if (m->n == m->max)
        return;
    struct shadow b = {.key = ++m->next_key, .refs = 1 + (uint32_t)(rnd(&m->r) % 4)};
    bool large = rnd(&m->r) % 8 == 0;
    b.size = 1 + (uint32_t)(rnd(&m->r) % (large ? m->max_size : m->max_size / 4));
    b.raw = b.size + (uint32_t)(rnd(&m->r) % (ZA_BLOB_MAX_RAW - b.size + 1));
    b.raw = (uint32_t)za_align_up(b.raw, ZA_BLOB_RAW_UNIT);
    content(b.key, buf, b.size);
    b.id = za_store_put(m->s, buf, b.size, b.raw, (uint32_t)b.key, ZA_CODEC_LZ4, b.refs);
    if (b.id)
        m->blob[m->n++] = b;
    else
        m->refused++;
}

/* In memory or in a file. */
static inline const void *bytes_of(const struct za_store *s, const struct za_blob_view *v)
{
    static struct za_reader reader;
    static char loaded[ZA_BLOB_MAX_RAW];

    if (v->bytes)
        return v->bytes;
    CHECK_EQ(za_store_load(s, v, &reader, loaded), 0);
    return loaded;
}

static inline void model_look(struct model *m, const struct shadow *b)
{
    struct za_blob_view v;

    za_store_read_begin(m->s);
    CHECK(za_store_get(m->s, b->id, &v));
    CHECK_EQ(v.size, b->size);
    CHECK_EQ(v.raw, b->raw);
    CHECK_EQ(v.checksum, (uint32_t)b->key);
    CHECK_EQ(v.codec, ZA_CODEC_LZ4);
    content(b->key, buf, b->size);
    CHECK(memcmp(bytes_of(m->s, &v), buf, b->size) == 0);
    za_store_read_end(m->s);
}

static inline void model_forget(struct model *m, uint32_t i)
{
    m->blob[i] = m->blob[--m->n];
}

/*
 * A blob whose every reference was dropped is nobody's to release: it dies at the next reclaim.  One
 * whose last reference is released is dead at once.
 */
static inline void model_release(struct model *m)
{
    uint32_t i = (uint32_t)(rnd(&m->r) % m->n);
    struct shadow *b = &m->blob[i];
    struct za_blob_view v;

    if (b->refs == b->later)
        return;
    uint32_t id = b->id, refs = 1 + (uint32_t)(rnd(&m->r) % (b->refs - b->later));
    za_store_release(m->s, id, refs);
    b->refs -= refs;
    if (b->refs > b->later)
        return;
    model_forget(m, i);
    CHECK(!za_store_get(m->s, id, &v));
}

/* Dropped now, gone at the next reclaim: until then the blob is there. */
static inline void model_drop(struct model *m)
{
    struct shadow *b = &m->blob[rnd(&m->r) % m->n];

    if (b->refs == b->later)
        return;
    uint32_t refs = 1 + (uint32_t)(rnd(&m->r) % (b->refs - b->later));
    za_store_drop_later(m->s, b->id, refs);
    b->later += refs;
}

static inline void model_reclaim(struct model *m)
{
    za_store_reclaim(m->s);
    for (uint32_t i = m->n; i-- > 0;) {
        m->blob[i].refs -= m->blob[i].later;
        m->blob[i].later = 0;
        if (!m->blob[i].refs)
            model_forget(m, i);
    }
}

static inline void model_check(struct model *m)
{
    uint64_t raw = 0, live = 0, bytes = 0;
    struct za_store_stats st = stats(m->s);

    za_store_check(m->s);
    for (uint32_t i = 0; i < m->n; i++) {
        model_look(m, &m->blob[i]);
        raw += m->blob[i].raw;
        live += za_align_up(12 + m->blob[i].size, 16);
        bytes += m->blob[i].size;
    }
    CHECK_EQ(st.blobs, m->n);
    CHECK_EQ(st.raw_bytes, raw);
    CHECK_EQ(st.live_bytes, live);
    CHECK_EQ(st.blob_bytes, bytes);
    CHECK_EQ(area_bytes(m->s), mapped_bytes);
    CHECK(st.mapped_bytes + st.table_bytes <= mapped_bytes);
    CHECK(st.live_bytes <= st.held_bytes + st.file_live_bytes && st.held_bytes <= st.mapped_bytes);
}

/* The number of puts against releases swings, so the store grows and shrinks. */
static inline void model_step(struct model *m, uint64_t i)
{
    unsigned grow = (i / 20000) % 2 ? 25 : 50;
    unsigned dice = (unsigned)(rnd(&m->r) % 100);

    if (dice < grow || m->n == 0)
        model_put(m);
    else if (dice < 75)
        model_release(m);
    else if (dice < 80)
        model_drop(m);
    else if (dice < 99)
        model_look(m, &m->blob[rnd(&m->r) % m->n]);
    else if (rnd(&m->r) % 4)
        za_store_compact(m->s, rnd(&m->r) % (SEGMENT / 4));
    else
        model_reclaim(m);
}

#endif
