/* SPDX-License-Identifier: MIT */
/*
 * compress_train -- the same samples make the same dictionary, in pieces of any size; a useless one
 * is not kept; whatever memory is refused, nothing is left behind.
 */
#define _GNU_SOURCE
#include "compress/cover.h"
#include "compress/train.h"
#include "tests/unit/compress_data.h"
#include "tests/unit/compress_kit.h"

#define PAGE ((size_t)4096)

static const struct za_training_plan plan = {
    .effort = ZA_ZSTD_LAZY,
    .sample_bytes = 256 * 1024,
    .content_bytes = 16 * 1024,
    .unit_bytes = 4096,
    .heap_bytes = 64 * ZA_MIB,
};

/* Records of one program: each a choice of the same few hundred phrases. */
static void records(char *p, size_t len, uint64_t seed)
{
    struct rng r = {seed * 7919 + 1};
    char phrase[48];

    for (size_t at = 0; at < len;) {
        content(rnd(&r) % 300 + 1, phrase, sizeof(phrase));
        size_t n = za_min(16 + rnd(&r) % 32, len - at);
        memcpy(p + at, phrase, n);
        at += n;
    }
}

static void add_records(struct za_training *t, uint64_t seed)
{
    char page[PAGE];

    do
        records(page, sizeof(page), seed++);
    while (za_training_add(t, page, sizeof(page)));
}

static enum za_training_state run(struct za_training *t, size_t work)
{
    enum za_training_state s;

    do {
        s = za_training_step(t, work);
        CHECK_EQ(za_training_bytes(t), mapped_bytes);
    } while (s == ZA_TRAINING_BUSY);
    return s;
}

static struct za_dict *trained(uint64_t seed, size_t work)
{
    struct za_training *t = za_training_new(&ops, &plan);

    add_records(t, seed);
    CHECK_EQ(run(t, work), ZA_TRAINING_GOOD);
    struct za_dict *d = za_training_take(t);
    za_training_free(t);
    CHECK_EQ(mapped_bytes, za_dict_bytes(d));
    return d;
}

UNIT_TEST(records_make_a_dictionary_that_gains)
{
    struct za_dict *d = trained(1, SIZE_MAX);

    CHECK(d->bytes > 8192 && d->bytes <= 16384);
    CHECK(d->gain > 300 && d->gain < 1000);
    CHECK(za_dict_ready(d) != NULL);
    za_dict_free(d);
    CHECK_EQ(mapped_bytes, 0);
}

static void same(const struct za_dict *a, const void *content, size_t bytes, uint32_t gain)
{
    CHECK_EQ(a->bytes, bytes);
    CHECK_EQ(a->gain, gain);
    CHECK(memcmp(a->content, content, bytes) == 0);
}

UNIT_TEST(the_same_samples_make_the_same_dictionary)
{
    static const size_t works[] = {SIZE_MAX, 1, 4096, 100000};
    static char first[ZA_DICT_MAX_BYTES];
    struct za_dict *d = trained(42, SIZE_MAX);
    size_t bytes = d->bytes;
    uint32_t gain = d->gain;

    memcpy(first, d->content, bytes);
    za_dict_free(d);
    for (size_t i = 0; i < ZA_ARRAY_LEN(works); i++) {
        d = trained(42, works[i]);
        same(d, first, bytes, gain);
        za_dict_free(d);
    }
    d = trained(43, SIZE_MAX);
    CHECK(d->bytes != bytes || memcmp(d->content, first, bytes) != 0);
    za_dict_free(d);
}

/* 256 KiB of samples, 16 KiB of content: counted, picked four times over, judged. */
UNIT_TEST(a_step_keeps_to_its_work)
{
    struct za_training *t = za_training_new(&ops, &plan);
    unsigned steps = 0;

    add_records(t, 3);
    while (za_training_step(t, PAGE) == ZA_TRAINING_BUSY)
        steps++;
    CHECK(steps > 40);
    za_training_free(t);
    CHECK_EQ(mapped_bytes, 0);
}

UNIT_TEST(samples_end_when_there_is_enough)
{
    struct za_training *t = za_training_new(&ops, &plan);
    char page[PAGE];
    unsigned n = 0;

    data_fill(page, sizeof(page), DATA_TEXT);
    while (za_training_add(t, page, sizeof(page)))
        n++;
    CHECK(n >= 60 && n <= 64);
    za_training_free(t);
    CHECK_EQ(mapped_bytes, 0);
}

static enum za_training_state outcome(enum data_kind kind, unsigned pages)
{
    struct za_training *t = za_training_new(&ops, &plan);
    char page[PAGE];

    for (unsigned i = 0; i < pages; i++) {
        data_fill(page, sizeof(page), kind);
        if (!za_training_add(t, page, sizeof(page)))
            break;
    }
    enum za_training_state s = run(t, SIZE_MAX);
    za_training_free(t);
    CHECK_EQ(mapped_bytes, 0);
    return s;
}

UNIT_TEST(too_few_samples_make_none)
{
    for (unsigned pages = 0; pages < 32; pages++)
        CHECK_EQ(outcome(DATA_TEXT, pages), ZA_TRAINING_FEW);
    CHECK(outcome(DATA_TEXT, 32) != ZA_TRAINING_FEW);
}

UNIT_TEST(what_gains_nothing_is_dropped)
{
    CHECK_EQ(outcome(DATA_RANDOM, 1000), ZA_TRAINING_NO_GAIN);
    CHECK_EQ(outcome(DATA_BASE64, 1000), ZA_TRAINING_NO_GAIN);
    CHECK_EQ(outcome(DATA_ZERO, 1000), ZA_TRAINING_NO_GAIN);
}

/* The same samples, of a heap of so many bytes. */
static enum za_training_state for_heap(uint64_t bytes)
{
    struct za_training_plan p = plan;

    p.heap_bytes = bytes;
    struct za_training *t = za_training_new(&ops, &p);
    add_records(t, 1);
    enum za_training_state s = run(t, SIZE_MAX);
    za_training_free(t);
    CHECK_EQ(mapped_bytes, 0);
    return s;
}

/* A dictionary saves twice its own memory, or it is not kept. */
UNIT_TEST(a_dictionary_pays_for_its_memory)
{
    struct za_dict *d = trained(1, SIZE_MAX);
    uint64_t enough = 0;

    CHECK(d->saves > ZA_MIB / 16 && d->saves < ZA_MIB);
    while (za_dict_saves(d, enough) < 2 * za_dict_bytes(d))
        enough += ZA_KIB;
    za_dict_free(d);
    CHECK_EQ(for_heap(enough), ZA_TRAINING_GOOD);
    CHECK_EQ(for_heap(enough - ZA_KIB), ZA_TRAINING_NO_GAIN);
    CHECK_EQ(for_heap(0), ZA_TRAINING_NO_GAIN);
}

UNIT_TEST(it_may_end_at_any_moment)
{
    for (unsigned steps = 0; steps < 200; steps++) {
        struct za_training *t = za_training_new(&ops, &plan);
        add_records(t, 5);
        for (unsigned i = 0; i < steps; i++)
            (void)za_training_step(t, 1);
        CHECK_EQ(za_training_bytes(t), mapped_bytes);
        za_training_free(t);
        CHECK_EQ(mapped_bytes, 0);
    }
}

/* Call 1, 2, 3 ... of map fails until the training passes. */
UNIT_TEST(refused_memory_ends_it_cleanly)
{
    for (int n = 1;; n++) {
        enum za_training_state s = ZA_TRAINING_NOMEM;
        fail_at = n;
        struct za_training *t = za_training_new(&ops, &plan);
        if (t) {
            add_records(t, 6);
            s = run(t, 10000);
            CHECK_EQ(za_training_step(t, 10000), s); /* an end stays one */
            za_training_free(t);
        }
        CHECK_EQ(mapped_bytes, 0);
        if (s == ZA_TRAINING_GOOD) {
            CHECK_EQ(n, 7); /* itself, samples; tables; dictionary twice; workspace */
            break;
        }
        CHECK_EQ(s, ZA_TRAINING_NOMEM);
    }
    fail_at = 0;
}

/* Units of several sizes, the largest too. */
UNIT_TEST(units_of_any_size)
{
    struct za_training_plan p = plan;
    static char unit[ZA_BLOB_MAX_RAW];

    p.unit_bytes = sizeof(unit);
    p.sample_bytes = 1 << 20;
    struct za_training *t = za_training_new(&ops, &p);
    for (uint64_t i = 0;; i++) {
        size_t len = PAGE * (1 + i % 16);
        records(unit, len, i);
        if (!za_training_add(t, unit, len))
            break;
    }
    CHECK_EQ(run(t, 50000), ZA_TRAINING_GOOD);
    za_training_free(t);
    CHECK_EQ(mapped_bytes, 0);
}

/* ---- cover ---- */

static struct za_cover_tables tables;

static size_t cover(const char *text, size_t bytes, char *out, size_t capacity)
{
    struct za_cover c;

    memset(&tables, 0, sizeof(tables));
    za_cover_begin(&c, &tables, text, bytes, out, capacity);
    while (za_cover_count(&c, 1000))
        continue;
    while (za_cover_pick(&c))
        for (size_t i = 0; i < ZA_ARRAY_LEN(tables.inside); i++)
            CHECK_EQ(tables.inside[i], 0); /* I2 */
    CHECK(c.tail <= capacity);
    return c.tail;
}

/* What is there twice is found among noise; noise is not taken. */
UNIT_TEST(cover_finds_what_repeats)
{
    static char text[40000], out[4096];

    data_fill(text, sizeof(text), DATA_RANDOM);
    memcpy(text + 9000, text + 2000, 300);
    memcpy(text + 39000, text + 24000, 400);
    size_t tail = cover(text, sizeof(text), out, sizeof(out));
    CHECK(memmem(out + tail, sizeof(out) - tail, text + 2000, 300) != NULL);
    CHECK(memmem(out + tail, sizeof(out) - tail, text + 24000, 400) != NULL);
}

UNIT_TEST(cover_takes_nothing_twice)
{
    static char text[65536], out[8192];

    for (size_t i = 0; i < sizeof(text); i += 256)
        content(1 + i / 256 % 2, text + i, 256);
    size_t tail = cover(text, sizeof(text), out, sizeof(out));
    CHECK(sizeof(out) - tail <= 2 * ZA_COVER_SEGMENT);
    CHECK(sizeof(out) - tail >= 512);
}

UNIT_TEST(cover_of_next_to_nothing)
{
    static char text[1000], out[8192];

    for (size_t bytes = 0; bytes < sizeof(text); bytes++)
        CHECK(cover(text, bytes, out, 1 + bytes) <= 1 + bytes);
}
