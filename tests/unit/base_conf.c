/* SPDX-License-Identifier: MIT */
/*
 * base_conf -- the parser's every rule: what is taken, what is refused, and the exact line for it.
 */
#include "base/conf.h"

#include <errno.h>
#include <string.h>

#include "tests/unit/unit.h"

static char said[8192];
static unsigned lines;

static void catch_line(const char *line, size_t len)
{
    CHECK(strlen(said) + len < sizeof(said));
    CHECK(len > 0 && line[len - 1] == '\n');
    CHECK(memchr(line, '\n', len - 1) == NULL);
    strncat(said, line, len);
    lines++;
}

static unsigned parse(struct za_conf *c, const char *text)
{
    said[0] = '\0';
    lines = 0;
    za_conf_defaults(c);
    return za_conf_parse(c, text, catch_line);
}

/* The whole struct, as text: what a refused pair must leave untouched. */
static void snapshot(const struct za_conf *c, char *out, size_t cap)
{
    struct za_conf_entry e;

    out[0] = '\0';
    for (unsigned i = 0; za_conf_entry(c, i, &e); i++) {
        CHECK(strlen(out) + strlen(e.value) + strlen(e.name) + 3 < cap);
        strcat(strcat(strcat(strcat(out, e.name), ":"), e.value), ",");
    }
}

/* One bad pair: one line, exactly `line`, and every field still at its default. */
static void refused(const char *text, const char *line)
{
    char before[4096], after[4096];
    struct za_conf c;

    za_conf_defaults(&c);
    snapshot(&c, before, sizeof(before));
    CHECK_EQ(parse(&c, text), 1);
    CHECK_STR(said, line);
    snapshot(&c, after, sizeof(after));
    CHECK_STR(after, before);
}

static uint64_t good_size(const char *text)
{
    struct za_conf c;

    CHECK_EQ(parse(&c, text), 0);
    CHECK_STR(said, "");
    return c.target;
}

UNIT_TEST(defaults_are_the_tables)
{
    struct za_conf c;

    memset(&c, 0xa5, sizeof(c));
    za_conf_defaults(&c);
    CHECK(c.compress);
    CHECK_EQ(c.dedup, ZA_DEDUP_ZERO);
    CHECK_EQ(c.cold_ms, 8000);
    CHECK_EQ(c.cpu_limit, 15);
    CHECK_EQ(c.target, 0);
    CHECK_EQ(c.start_bytes, 16 * ZA_MIB);
    CHECK_EQ(c.backend, ZA_BACKEND_AUTO);
    CHECK_EQ(c.mmap, ZA_MMAP_AUTO);
    CHECK_STR(c.file, "");
    CHECK(!c.abort_conf);
    CHECK_EQ(memcmp(&za_conf.cold_ms, &c.cold_ms, sizeof(c.cold_ms)), 0);
}

UNIT_TEST(nothing_is_no_mistake)
{
    struct za_conf c;

    CHECK_EQ(parse(&c, NULL), 0);
    CHECK_EQ(parse(&c, ""), 0);
    CHECK_EQ(lines, 0);
}

UNIT_TEST(every_type_is_taken)
{
    struct za_conf c;

    CHECK_EQ(parse(&c, "compress:false,cold_ms:500,target:2g,dedup:off,backend:none,"
                       "stats_json:/tmp/a:b,torture:true,"),
             0);
    CHECK_STR(said, "");
    CHECK(!c.compress);
    CHECK_EQ(c.cold_ms, 500);
    CHECK_EQ(c.target, 2 * ZA_GIB);
    CHECK_EQ(c.dedup, ZA_DEDUP_OFF);
    CHECK_EQ(c.backend, ZA_BACKEND_NONE);
    CHECK_STR(c.stats_json, "/tmp/a:b");
    CHECK(c.torture);
    CHECK_EQ(parse(&c, "mmap:true"), 0);
    CHECK_EQ(c.mmap, ZA_MMAP_TRUE);
    CHECK_EQ(parse(&c, "mmap:true,mmap:auto"), 0);
    CHECK_EQ(c.mmap, ZA_MMAP_AUTO);
    CHECK_EQ(parse(&c, "mmap:auto,mmap:false"), 0);
    CHECK_EQ(c.mmap, ZA_MMAP_FALSE);
}

UNIT_TEST(later_pair_wins)
{
    struct za_conf c;

    CHECK_EQ(parse(&c, "cold_ms:1,cold_ms:2,cold_ms:3"), 0);
    CHECK_EQ(c.cold_ms, 3);
    CHECK_EQ(parse(&c, "cold_ms:7,cold_ms:x"), 1);
    CHECK_EQ(c.cold_ms, 7);
    CHECK_STR(said, "zalloc: ZALLOC_CONF: cold_ms:x: not a number; keeping 7\n");
}

UNIT_TEST(numbers)
{
    refused("cold_ms:abc", "zalloc: ZALLOC_CONF: cold_ms:abc: not a number; keeping 8000\n");
    refused("cold_ms:", "zalloc: ZALLOC_CONF: cold_ms:: not a number; keeping 8000\n");
    refused("cold_ms:-1", "zalloc: ZALLOC_CONF: cold_ms:-1: not a number; keeping 8000\n");
    refused("cold_ms:+1", "zalloc: ZALLOC_CONF: cold_ms:+1: not a number; keeping 8000\n");
    refused("cold_ms: 1", "zalloc: ZALLOC_CONF: cold_ms: 1: not a number; keeping 8000\n");
    refused("cold_ms:1 ", "zalloc: ZALLOC_CONF: cold_ms:1 : not a number; keeping 8000\n");
    refused("cold_ms:0x10", "zalloc: ZALLOC_CONF: cold_ms:0x10: not a number; keeping 8000\n");
    refused("cold_ms:5K", "zalloc: ZALLOC_CONF: cold_ms:5K: not a number; keeping 8000\n");
    refused("cold_ms:1.5", "zalloc: ZALLOC_CONF: cold_ms:1.5: not a number; keeping 8000\n");
}

UNIT_TEST(numbers_out_of_range)
{
    refused("cold_ms:0",
            "zalloc: ZALLOC_CONF: cold_ms:0: not between 1 and 86400000; keeping 8000\n");
    refused("cold_ms:86400001",
            "zalloc: ZALLOC_CONF: cold_ms:86400001: not between 1 and 86400000; keeping 8000\n");
    refused("cpu_limit:101",
            "zalloc: ZALLOC_CONF: cpu_limit:101: not between 1 and 100; keeping 15\n");
    /* 2^64 + 5: wraps to a number in range if overflow goes unseen. */
    refused("cpu_limit:18446744073709551621",
            "zalloc: ZALLOC_CONF: cpu_limit:18446744073709551621: not between 1 and 100; "
            "keeping 15\n");
    refused("cpu_limit:99999999999999999999999999999999",
            "zalloc: ZALLOC_CONF: cpu_limit:99999999999999999999999999999999: not between 1 and "
            "100; keeping 15\n");
}

UNIT_TEST(limits_are_inside)
{
    struct za_conf c;

    CHECK_EQ(parse(&c, "cold_ms:86400000,cpu_limit:100,reserve:64M"), 0);
    CHECK_EQ(parse(&c, "cold_ms:1,cpu_limit:1,cpu_limit:007"), 0);
    CHECK_EQ(c.cpu_limit, 7);
}

UNIT_TEST(sizes)
{
    CHECK_EQ(good_size("target:1"), 1);
    CHECK_EQ(good_size("target:3k"), 3 * ZA_KIB);
    CHECK_EQ(good_size("target:3K"), 3 * ZA_KIB);
    CHECK_EQ(good_size("target:3m"), 3 * ZA_MIB);
    CHECK_EQ(good_size("target:3M"), 3 * ZA_MIB);
    CHECK_EQ(good_size("target:3g"), 3 * ZA_GIB);
    CHECK_EQ(good_size("target:3G"), 3 * ZA_GIB);
    CHECK_EQ(good_size("target:3t"), 3 * ZA_KIB * ZA_GIB);
    CHECK_EQ(good_size("target:3T"), 3 * ZA_KIB * ZA_GIB);
    CHECK_EQ(good_size("target:9223372036854775807"), INT64_MAX);
}

#define NOT_A_SIZE "not a size (a whole number, with K, M, G, T or nothing after it); keeping 0\n"
#define SIZE_RANGE "not between 0 and 9223372036854775807; keeping 0\n"

UNIT_TEST(sizes_refused)
{
    refused("target:1.5G", "zalloc: ZALLOC_CONF: target:1.5G: " NOT_A_SIZE);
    refused("target:2GB", "zalloc: ZALLOC_CONF: target:2GB: " NOT_A_SIZE);
    refused("target:2GiB", "zalloc: ZALLOC_CONF: target:2GiB: " NOT_A_SIZE);
    refused("target:2P", "zalloc: ZALLOC_CONF: target:2P: " NOT_A_SIZE);
    refused("target:G", "zalloc: ZALLOC_CONF: target:G: " NOT_A_SIZE);
    refused("target:", "zalloc: ZALLOC_CONF: target:: " NOT_A_SIZE);
    refused("target:9223372036854775808",
            "zalloc: ZALLOC_CONF: target:9223372036854775808: " SIZE_RANGE);
    /* 2^24 T = 2^64: wraps to zero, which would be in range. */
    refused("target:16777216T", "zalloc: ZALLOC_CONF: target:16777216T: " SIZE_RANGE);
    refused("target:20000000000000000000G",
            "zalloc: ZALLOC_CONF: target:20000000000000000000G: " SIZE_RANGE);
}

UNIT_TEST(zero_where_zero_is_the_default)
{
    struct za_conf c;

    CHECK_EQ(parse(&c, "reserve:64M,reserve:0"), 0);
    CHECK_EQ(c.reserve, 0);
    refused("reserve:1M", "zalloc: ZALLOC_CONF: reserve:1M: not between 64M and "
                          "9223372036854775807; keeping 0\n");
}

UNIT_TEST(words_match_whole)
{
    refused("compress:t", "zalloc: ZALLOC_CONF: compress:t: not false or true; keeping true\n");
    refused("compress:truex",
            "zalloc: ZALLOC_CONF: compress:truex: not false or true; keeping true\n");
    refused("compress:True",
            "zalloc: ZALLOC_CONF: compress:True: not false or true; keeping true\n");
    refused("compress:1", "zalloc: ZALLOC_CONF: compress:1: not false or true; keeping true\n");
    refused("compress:", "zalloc: ZALLOC_CONF: compress:: not false or true; keeping true\n");
    refused("dedup:zer",
            "zalloc: ZALLOC_CONF: dedup:zer: not off, zero or content; keeping zero\n");
    refused("dedup:zeros",
            "zalloc: ZALLOC_CONF: dedup:zeros: not off, zero or content; keeping zero\n");
    refused("mmap:yes", "zalloc: ZALLOC_CONF: mmap:yes: not false, true or auto; keeping auto\n");
    refused("backend:mov",
            "zalloc: ZALLOC_CONF: backend:mov: not auto, move, remap or none; keeping auto\n");
}

UNIT_TEST(keys_match_whole)
{
    refused("cold:5", "zalloc: ZALLOC_CONF: cold:5: unknown key; ignored\n");
    refused("cold_msx:5", "zalloc: ZALLOC_CONF: cold_msx:5: unknown key; ignored\n");
    refused(" cold_ms:5", "zalloc: ZALLOC_CONF:  cold_ms:5: unknown key; ignored\n");
    refused("COLD_MS:5", "zalloc: ZALLOC_CONF: COLD_MS:5: unknown key; ignored\n");
    refused(":5", "zalloc: ZALLOC_CONF: :5: unknown key; ignored\n");
    refused("nonsense", "zalloc: ZALLOC_CONF: nonsense: unknown key; ignored\n");
}

UNIT_TEST(a_key_needs_a_value)
{
    refused("cold_ms",
            "zalloc: ZALLOC_CONF: cold_ms: no value, expected key:value; keeping 8000\n");
}

UNIT_TEST(empty_pairs)
{
    struct za_conf c;

    refused(",", "zalloc: ZALLOC_CONF: empty pair; ignored\n");
    refused(",compress:true", "zalloc: ZALLOC_CONF: empty pair; ignored\n");
    refused("compress:true,,compress:true", "zalloc: ZALLOC_CONF: empty pair; ignored\n");
    CHECK_EQ(parse(&c, ",,"), 2);
    CHECK_EQ(parse(&c, "compress:true,"), 0);
}

UNIT_TEST(good_pairs_around_bad_ones_count)
{
    struct za_conf c;

    CHECK_EQ(parse(&c, "x,cold_ms:5,dedup:x,cpu_limit:9,target:x"), 3);
    CHECK_EQ(lines, 3);
    CHECK_EQ(c.cold_ms, 5);
    CHECK_EQ(c.cpu_limit, 9);
}

UNIT_TEST(keys_of_the_file_tier)
{
    struct za_conf c;

    CHECK_EQ(parse(&c, "file:/a/b,file_max:1G,max_store:64M"), 0);
    CHECK_STR(c.file, "/a/b");
    CHECK_EQ(c.file_max, ZA_GIB);
    CHECK_EQ(c.max_store, 64 * ZA_MIB);
    CHECK_EQ(parse(&c, "file:"), 0);
}

UNIT_TEST(paths_have_a_limit)
{
    char text[ZA_CONF_PATH_MAX + 32] = "stats_json:", line[ZA_CONF_PATH_MAX + 128];
    size_t at = strlen(text);
    struct za_conf c;

    memset(text + at, 'p', ZA_CONF_PATH_MAX - 1);
    CHECK_EQ(parse(&c, text), 0);
    CHECK_EQ(strlen(c.stats_json), ZA_CONF_PATH_MAX - 1);
    text[at + ZA_CONF_PATH_MAX - 1] = 'p';
    strcpy(line, "zalloc: ZALLOC_CONF: ");
    strcat(strcat(line, text), ": longer than 255 bytes; ignored\n");
    refused(text, line);
}

UNIT_TEST(messages_are_fit_for_a_terminal)
{
    refused("a\x1b[2J\nb\x7f:1",
            "zalloc: ZALLOC_CONF: a\\x1b[2J\\x0ab\\x7f:1: unknown key; ignored\n");
}

UNIT_TEST(messages_are_bounded)
{
    static char text[100000];
    struct za_conf c;

    memset(text, '\a', sizeof(text) - 1);
    CHECK_EQ(parse(&c, text), 1);
    CHECK(strlen(said) < 400);
    CHECK(strstr(said, "\\x07...: unknown key; ignored\n") != NULL);
}

UNIT_TEST(confirm_names_the_accepted_pairs)
{
    struct za_conf c;

    CHECK_EQ(parse(&c, "cold_ms:5,bad:1,confirm_conf:true,target:1M"), 1);
    CHECK_STR(said, "zalloc: ZALLOC_CONF: bad:1: unknown key; ignored\n"
                    "zalloc: ZALLOC_CONF: cold_ms:5: accepted\n"
                    "zalloc: ZALLOC_CONF: confirm_conf:true: accepted\n"
                    "zalloc: ZALLOC_CONF: target:1M: accepted\n");
}

UNIT_TEST(entries_can_be_parsed_back)
{
    char text[4096], again[4096];
    struct za_conf c, d;

    CHECK_EQ(parse(&c, "target:1536K,cold_ms:77,dedup:off,stats_json:/x,compress:false"), 0);
    snapshot(&c, text, sizeof(text));
    CHECK(strstr(text, "target:1536K,") != NULL);
    CHECK_EQ(parse(&d, text), 0);
    snapshot(&d, again, sizeof(again));
    CHECK_STR(again, text);
}

UNIT_TEST(entries_say_their_default)
{
    struct za_conf c;
    struct za_conf_entry e;
    unsigned i = 0;

    CHECK_EQ(parse(&c, "start_bytes:1"), 0);
    while (za_conf_entry(&c, i, &e) && strcmp(e.name, "start_bytes") != 0)
        i++;
    CHECK_STR(e.name, "start_bytes");
    CHECK_STR(e.value, "1");
    CHECK_STR(e.def, "16M");
    CHECK_STR(e.unit, "bytes");
    CHECK_STR(e.type, "size");
    CHECK(!za_conf_entry(&c, 10000, &e));
}

UNIT_TEST(set_at_run_time)
{
    struct za_conf c;

    za_conf_defaults(&c);
    CHECK_EQ(za_conf_set(&c, "cold_ms", "500"), 0);
    CHECK_EQ(c.cold_ms, 500);
    CHECK_EQ(za_conf_set(&c, "target", "1G"), 0);
    CHECK_EQ(c.target, ZA_GIB);
    CHECK_EQ(za_conf_set(&c, "cpu_limit", "0"), -EINVAL);
    CHECK_EQ(za_conf_set(&c, "cold_ms", "soon"), -EINVAL);
    CHECK_EQ(za_conf_set(&c, "cold_m", "1"), -ENOENT);
    CHECK_EQ(za_conf_set(&c, "compress", "false"), -EPERM);
    CHECK_EQ(c.cold_ms, 500);
    CHECK_EQ(c.cpu_limit, 15);
    CHECK(c.compress);
}
