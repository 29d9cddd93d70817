/* SPDX-License-Identifier: MIT */
/*
 * compress_dict -- dictionaries are whole or not there, live while a blob holds them, and are
 * counted to the byte.
 */
#define _GNU_SOURCE
#include "compress/dict.h"
#include "tests/unit/compress_data.h"
#include "tests/unit/compress_kit.h"

static char text[ZA_DICT_MAX_BYTES];

static struct za_dict *dict(size_t bytes)
{
    data_fill(text, bytes, DATA_TEXT);
    return za_dict_new(&ops, ZA_ZSTD_LAZY, text, bytes);
}

UNIT_TEST(it_keeps_a_copy)
{
    struct za_dict *d = dict(5000);

    CHECK_EQ(d->bytes, 5000);
    CHECK(memcmp(d->content, text, 5000) == 0);
    CHECK(d->content != text);
    CHECK(za_dict_ready(d) != NULL);
    CHECK_EQ(za_dict_bytes(d), mapped_bytes);
    za_dict_free(d);
    CHECK_EQ(mapped_bytes, 0);
}

/* Its tables follow its size, so that a small heap does not pay for large ones. */
UNIT_TEST(a_small_one_is_cheap)
{
    struct za_dict *small = dict(16384);
    size_t bytes = mapped_bytes;

    CHECK(bytes <= ZA_MIB / 4);
    za_dict_free(small);
    struct za_dict *large = dict(ZA_DICT_MAX_BYTES);
    CHECK(mapped_bytes <= ZA_MIB);
    za_dict_free(large);
}

/* What looks like a dictionary with tables would be read as one. */
UNIT_TEST(content_that_begins_with_the_magic_is_content)
{
    static const unsigned char magic[] = {0x37, 0xa4, 0x30, 0xec};
    const struct za_codec *c = za_codec(ZA_CODEC_ZSTD);
    void *pack = aligned_alloc(ZA_CODEC_ALIGN, c->pack_bytes);
    void *unpack = aligned_alloc(ZA_CODEC_ALIGN, c->unpack_bytes);
    char raw[4096], packed[5000], out[4096];

    data_fill(text, sizeof(text), DATA_TEXT);
    memcpy(text, magic, sizeof(magic));
    struct za_dict *d = za_dict_new(&ops, ZA_ZSTD_LAZY, text, sizeof(text));
    CHECK_EQ(d->bytes, sizeof(text) - 1);
    CHECK(c->open_pack(pack) && c->open_unpack(unpack));
    memcpy(raw, text + 16, sizeof(raw));
    size_t size = c->pack(pack, d, raw, sizeof(raw), packed, sizeof(packed));
    CHECK(size > 0 && size < 64);
    CHECK(c->unpack(unpack, d, packed, size, out, sizeof(out)));
    CHECK(memcmp(raw, out, sizeof(raw)) == 0);
    za_dict_free(d);
    free(pack);
    free(unpack);
}

UNIT_TEST(refused_memory_leaves_nothing)
{
    for (fail_at = 1;; fail_at++) {
        int n = fail_at;
        struct za_dict *d = dict(sizeof(text));
        if (d) {
            CHECK_EQ(n, 3); /* itself, its tables */
            za_dict_free(d);
            break;
        }
        CHECK_EQ(mapped_bytes, 0);
        fail_at = n;
    }
    CHECK_EQ(mapped_bytes, 0);
}

/* ---- the shelf ---- */

UNIT_TEST(a_held_dictionary_outlives_the_next)
{
    struct za_dicts ds = {.current = NULL};
    struct za_dict *one = dict(20000), *two = dict(30000);

    CHECK(za_dicts_put(&ds, one));
    CHECK_EQ(one->id, 1);
    CHECK(za_dicts_at(&ds, 1) == one && ds.current == one);
    za_dicts_hold(&ds, 1);
    za_dicts_hold(&ds, 1);
    CHECK(za_dicts_put(&ds, two));
    CHECK(ds.current == two && two->id == 2);
    CHECK(za_dict_ready(one) == NULL); /* retired: to unpack only, at the price of its content */
    CHECK(za_dict_bytes(one) <= one->bytes + 2 * (size_t)4096);
    CHECK_EQ(za_dicts_sweep(&ds), 0);
    CHECK_EQ(za_dicts_bytes(&ds), mapped_bytes);
    za_dicts_drop(&ds, 1);
    CHECK_EQ(za_dicts_sweep(&ds), 0);
    za_dicts_drop(&ds, 1);
    CHECK_EQ(za_dicts_sweep(&ds), 1);
    CHECK(za_dicts_at(&ds, 1) == NULL);
    CHECK(za_dicts_at(&ds, 2) == two); /* current, though nobody holds it */
    CHECK_EQ(za_dicts_bytes(&ds), mapped_bytes);
    za_dicts_retire(&ds);
    CHECK(ds.current == NULL);
    CHECK_EQ(za_dicts_sweep(&ds), 1);
    CHECK_EQ(mapped_bytes, 0);
}

UNIT_TEST(a_retired_dictionary_still_unpacks)
{
    const struct za_codec *c = za_codec(ZA_CODEC_ZSTD);
    void *pack = aligned_alloc(ZA_CODEC_ALIGN, c->pack_bytes);
    void *unpack = aligned_alloc(ZA_CODEC_ALIGN, c->unpack_bytes);
    struct za_dicts ds = {.current = NULL};
    static char raw[16384], packed[20000], out[16384];

    CHECK(c->open_pack(pack) && c->open_unpack(unpack));
    CHECK(za_dicts_put(&ds, dict(sizeof(text))));
    data_fill(raw, sizeof(raw), DATA_TEXT);
    size_t size = c->pack(pack, ds.current, raw, sizeof(raw), packed, sizeof(packed));
    za_dicts_hold(&ds, 1);
    za_dicts_retire(&ds);
    /* Packing goes on without: what the workspace remembers of the dictionary is not used. */
    CHECK(c->pack(pack, NULL, raw, sizeof(raw), out, sizeof(out)) > size);
    CHECK(c->unpack(unpack, za_dicts_at(&ds, 1), packed, size, out, sizeof(out)));
    CHECK(memcmp(raw, out, sizeof(raw)) == 0);
    za_dicts_free(&ds);
    CHECK_EQ(mapped_bytes, 0);
    free(pack);
    free(unpack);
}

UNIT_TEST(a_full_shelf_refuses_and_ids_come_back)
{
    struct za_dicts ds = {.current = NULL};

    for (uint32_t id = 1; id < ZA_DICTS_MAX; id++) {
        CHECK(za_dicts_put(&ds, dict(1000)));
        CHECK_EQ(ds.current->id, id);
        za_dicts_hold(&ds, id);
    }
    struct za_dict *last = ds.current, *more = dict(1000);
    CHECK(!za_dicts_put(&ds, more));
    CHECK(ds.current == last && za_dict_ready(last)); /* the refusal changed nothing */
    za_dicts_drop(&ds, 7);
    CHECK_EQ(za_dicts_sweep(&ds), 1);
    CHECK(za_dicts_put(&ds, more));
    CHECK_EQ(more->id, 7);
    za_dicts_free(&ds);
    CHECK_EQ(mapped_bytes, 0);
}

/* Notes so many units of 1000 bytes of which the dictionary saves `gain`. */
static bool stale_after(struct za_dict *d, unsigned units, size_t gain)
{
    while (units--)
        za_dict_note(d, 1000 - gain, 1000);
    return za_dict_stale(d);
}

UNIT_TEST(a_dictionary_is_stale_when_it_keeps_half_of_its_promise)
{
    struct za_dict d = {.gain = 200};

    CHECK(!za_dict_stale(&d));
    CHECK(!stale_after(&d, ZA_DICT_WINDOW - 1, 0)); /* too few to tell */
    CHECK(stale_after(&d, 1, 0));
    CHECK(!stale_after(&d, ZA_DICT_WINDOW, 200));
    CHECK(!stale_after(&d, ZA_DICT_WINDOW, 101));
    CHECK(stale_after(&d, ZA_DICT_WINDOW, 99));
    CHECK(!stale_after(&d, 1, 0)); /* another window */
    d.noted = 0;
    CHECK(!stale_after(&d, ZA_DICT_WINDOW, 150)); /* nothing is left of the one given up */
}

UNIT_TEST(a_full_shelf_says_so)
{
    struct za_dicts ds = {.current = NULL};

    content(1, text, sizeof(text));
    for (unsigned id = 1; id < ZA_DICTS_MAX; id++) {
        CHECK(!za_dicts_full(&ds));
        CHECK(za_dicts_put(&ds, za_dict_new(&ops, ZA_ZSTD_1, text, 64)));
    }
    CHECK(za_dicts_full(&ds));
    CHECK_EQ(za_dicts_sweep(&ds), ZA_DICTS_MAX - 2);
    CHECK(!za_dicts_full(&ds));
    za_dicts_free(&ds);
    CHECK_EQ(mapped_bytes, 0);
}

static uint32_t told(struct za_dicts *ds)
{
    const struct za_dict *d = za_dicts_leave(ds);

    CHECK_EQ(d ? d->id : ZA_DICT_NONE, ds->leaving);
    return ds->leaving;
}

UNIT_TEST(the_one_with_fewest_holds_leaves)
{
    struct za_dicts ds = {.current = NULL};

    CHECK_EQ(told(&ds), ZA_DICT_NONE);
    CHECK(za_dicts_put(&ds, dict(1000)));
    CHECK_EQ(told(&ds), ZA_DICT_NONE); /* it is the current one */
    for (uint32_t id = 2; id < 6; id++)
        CHECK(za_dicts_put(&ds, dict(1000)));
    for (uint32_t id = 1; id < 6; id++)
        ds.slot[id]->holds = id % 3 * 10 + 5; /* 15 25 5 15 25 */
    CHECK_EQ(told(&ds), 3);
    za_dicts_stay(&ds, ZA_DICTS_IN_VAIN);
    CHECK_EQ(told(&ds), 1);
    za_dicts_stay(&ds, ZA_DICTS_NO_NEED);
    CHECK_EQ(told(&ds), 1); /* nothing was in vain */
    ds.slot[1]->holds = 0;
    CHECK_EQ(za_dicts_sweep(&ds), 1);
    CHECK_EQ(ds.leaving, ZA_DICT_NONE); /* it has left */
    for (int others = 0; others < 2; others++) {
        (void)told(&ds);
        za_dicts_stay(&ds, ZA_DICTS_IN_VAIN);
    }
    CHECK_EQ(told(&ds), 3); /* all were asked, the first one twice */
    za_dicts_free(&ds);
    CHECK_EQ(ds.leaving, ZA_DICT_NONE);
    CHECK_EQ(mapped_bytes, 0);
}

UNIT_TEST(no_dictionary_needs_no_hold)
{
    struct za_dicts ds = {.current = NULL};

    za_dicts_hold(&ds, ZA_DICT_NONE);
    za_dicts_drop(&ds, ZA_DICT_NONE);
    za_dicts_retire(&ds);
    CHECK(za_dicts_at(&ds, ZA_DICT_NONE) == NULL);
    CHECK(za_dicts_at(&ds, ZA_DICTS_MAX) == NULL);
    CHECK_EQ(za_dicts_sweep(&ds), 0);
    CHECK_EQ(za_dicts_bytes(&ds), 0);
}

UNIT_DIES(a_hold_too_few, "zalloc: *")
{
    struct za_dicts ds = {.current = NULL};

    CHECK(za_dicts_put(&ds, dict(1000)));
    za_dicts_hold(&ds, 1);
    za_dicts_drop(&ds, 1);
    za_dicts_drop(&ds, 1);
}
