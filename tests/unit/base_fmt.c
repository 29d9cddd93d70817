/* SPDX-License-Identifier: MIT */
/*
 * base_fmt -- what is printed is right, and never a byte beyond the buffer.  Also the fatal lines.
 */
#include "base/fmt.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tests/unit/unit.h"

static const uint64_t values[] = {0,
                                  1,
                                  9,
                                  10,
                                  99,
                                  100,
                                  4095,
                                  65536,
                                  123456789,
                                  UINT32_MAX,
                                  INT64_MAX,
                                  UINT64_MAX,
                                  1ull << 63,
                                  1000000000000000000ull,
                                  10000000000000000000ull};

UNIT_TEST(numbers_as_libc_prints_them)
{
    char mine[64], libc[64];
    struct za_fmt f;

    for (size_t i = 0; i < ZA_ARRAY_LEN(values); i++) {
        za_fmt_init(&f, mine, sizeof(mine));
        za_fmt_u64(&f, values[i]);
        za_fmt_chr(&f, ' ');
        za_fmt_i64(&f, (int64_t)values[i]);
        za_fmt_chr(&f, ' ');
        za_fmt_hex(&f, values[i]);
        snprintf(libc, sizeof(libc), "%" PRIu64 " %" PRId64 " 0x%" PRIx64, values[i],
                 (int64_t)values[i], values[i]);
        CHECK_STR(mine, libc);
        CHECK_EQ(f.len, strlen(libc));
        CHECK(!f.cut);
    }
}

static void print_some(struct za_fmt *f)
{
    za_fmt_str(f, "abc");
    za_fmt_i64(f, -1234567);
    za_fmt_pad(f, 20);
    za_fmt_hex(f, 0xbeef);
    za_fmt_json_str(f, "q\"\n");
    za_fmt_mem(f, "xyz", 2);
}

UNIT_TEST(every_capacity_cuts_cleanly)
{
    static const char whole[] = "abc-1234567         0xbeef\"q\\\"\\u000a\"xy";
    char buf[64];
    struct za_fmt f;

    for (size_t cap = 1; cap < sizeof(buf); cap++) {
        size_t fits = za_min(cap - 1, strlen(whole));
        memset(buf, '#', sizeof(buf));
        za_fmt_init(&f, buf, cap);
        print_some(&f);
        CHECK_EQ(f.len, fits);
        CHECK_EQ(memcmp(buf, whole, fits), 0);
        CHECK_EQ(buf[fits], '\0');
        CHECK_EQ(f.cut, fits < strlen(whole));
        for (size_t i = cap; i < sizeof(buf); i++)
            CHECK_EQ(buf[i], '#');
    }
}

UNIT_TEST(pad_counts_from_the_line)
{
    char buf[64];
    struct za_fmt f;

    za_fmt_init(&f, buf, sizeof(buf));
    za_fmt_str(&f, "first line\nab");
    za_fmt_pad(&f, 4);
    za_fmt_str(&f, "c");
    za_fmt_pad(&f, 2); /* already beyond */
    za_fmt_str(&f, "d");
    CHECK_STR(buf, "first line\nab  cd");
}

UNIT_TEST(json_strings)
{
    char buf[128];
    struct za_fmt f;

    za_fmt_init(&f, buf, sizeof(buf));
    za_fmt_json_str(&f, "");
    za_fmt_json_str(&f, "a\\b\"c\x01\x1f\x7f\xc3\xa9/");
    CHECK_STR(buf, "\"\"\"a\\\\b\\\"c\\u0001\\u001f\x7f\xc3\xa9/\"");
}

UNIT_DIES(no_buffer_dies, "zalloc: assertion failed: cap >= 1 at base/fmt.c:*")
{
    struct za_fmt f;
    char c;

    za_fmt_init(&f, &c, 0);
}

UNIT_DIES(fatal_is_one_line, "zalloc: the reason and the remedy")
{
    za_fatal("the reason and the remedy");
}

UNIT_DIES(fatal_with_address, "zalloc: free(0xdeadbeef): not one of ours")
{
    za_fatal_ptr("free", (void *)0xdeadbeef, "not one of ours"); /* NOLINT: any number will do */
}

UNIT_DIES(assertion_names_its_place, "zalloc: assertion failed: 1 > 2 at tests/unit/base_fmt.c:*")
{
    ZA_ASSERT(1 > 2); /* NOLINT: false on purpose */
}

/* read_output of the runner marks a missing final newline, so this also proves there is one. */
static char overlong[1000];

UNIT_DIES(overlong_fatal_is_cut_but_ends, "zalloc: xxxxxxxx*")
{
    memset(overlong, 'x', sizeof(overlong) - 1);
    za_fatal(overlong);
}

static void say_hooked(const char *s, size_t len)
{
    CHECK_EQ(fwrite("hooked ", 1, 7, stderr), 7);
    CHECK_EQ(fwrite(s, 1, len, stderr), len);
}

static void abort_not_really(void)
{
}

/* An `abort` that returns must not bring the caller back to life. */
UNIT_DIES(hooks_are_used_and_return_is_no_escape, "hooked zalloc: text")
{
    static const struct za_fatal_ops ops = {say_hooked, abort_not_really};

    za_fatal_set_ops(&ops);
    za_fatal("text");
}
