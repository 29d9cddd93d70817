/* SPDX-License-Identifier: MIT */
/*
 * base_stat -- the table's names are in order, and both printers show exactly what the array holds.
 */
#include "base/stat.h"

#include <ctype.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/unit.h"

static char text[64 * 1024];

UNIT_TEST(names_are_unique_and_found)
{
    struct za_stat_entry e;

    for (unsigned i = 0; i < ZA_STAT_MAX; i++) {
        CHECK(za_stat_entry(i, &e));
        CHECK_EQ(za_stat_find(e.name), i);
        CHECK(strcmp(e.kind, "counter") == 0 || strcmp(e.kind, "gauge") == 0);
        CHECK(strlen(e.help) > 3);
        CHECK(strchr(e.name, '.') != NULL);
        for (const char *s = e.name; *s; s++)
            CHECK(islower((unsigned char)*s) || *s == '.' || *s == '_');
    }
    CHECK(!za_stat_entry(ZA_STAT_MAX, &e));
    CHECK_EQ(za_stat_find("footprint.tota"), -1);
    CHECK_EQ(za_stat_find("footprint.total2"), -1);
    CHECK_EQ(za_stat_find(""), -1);
}

UNIT_TEST(kinds_and_units_follow_the_table)
{
    struct za_stat_entry e;

    CHECK(za_stat_entry(ZA_STAT_PG_PACKED, &e));
    CHECK_STR(e.name, "pager.packed");
    CHECK_STR(e.kind, "counter");
    CHECK_STR(e.unit, "pages");
    CHECK(za_stat_entry(ZA_STAT_FOOT_TOTAL, &e));
    CHECK_STR(e.kind, "gauge");
    CHECK_STR(e.unit, "bytes");
}

UNIT_TEST(add_set_get)
{
    za_stat_add(ZA_STAT_PG_FAULTS, 5);
    za_stat_add(ZA_STAT_PG_FAULTS, -2);
    CHECK_EQ(za_stat_get(ZA_STAT_PG_FAULTS), 3);
    za_stat_set(ZA_STAT_PG_FAULTS, UINT64_MAX);
    CHECK_EQ(za_stat_get(ZA_STAT_PG_FAULTS), UINT64_MAX);
    CHECK_EQ(za_stat_get(ZA_STAT_PG_STALE), 0);
}

UNIT_TEST(print_leaves_out_zero_counters_only)
{
    struct za_fmt f;

    za_stat_set(ZA_STAT_PG_PACKED, 42);
    za_fmt_init(&f, text, sizeof(text));
    za_stat_print(&f);
    CHECK(!f.cut);
    CHECK(strstr(text, "\npager.packed                   42 pages\n") != NULL);
    CHECK(strstr(text, "footprint.heap                 0 bytes\n") != NULL);
    CHECK(strstr(text, "pager.warm") == NULL);
    CHECK(strstr(text, "cache.threads                  0\n") != NULL);
}

/* Finds `"name":number` in the JSON text. */
static uint64_t json_value(const char *name)
{
    char key[80];
    const char *at;

    snprintf(key, sizeof(key), "\"%s\":", name);
    at = strstr(text, key);
    CHECK(at != NULL);
    return strtoull(at + strlen(key), NULL, 10);
}

UNIT_TEST(json_has_every_value)
{
    struct za_stat_entry e;
    struct za_fmt f;
    unsigned commas = 0;

    for (unsigned i = 0; i < ZA_STAT_MAX; i++)
        za_stat_set((enum za_stat_id)i, 1000 + i);
    za_fmt_init(&f, text, sizeof(text));
    za_stat_json(&f);
    CHECK(!f.cut);
    for (unsigned i = 0; za_stat_entry(i, &e); i++)
        CHECK_EQ(json_value(e.name), 1000 + i);
    for (const char *s = text; *s; s++)
        commas += *s == ',';
    CHECK_EQ(commas, ZA_STAT_MAX); /* after "version", and between the values */
    CHECK_EQ(strncmp(text, "{\"version\":1,\"stats\":{\"footprint.total\":1000,", 44), 0);
    CHECK_STR(text + f.len - 2, "}}");
}

static void *count_up(void *arg)
{
    (void)arg;
    for (int i = 0; i < 50000; i++)
        za_stat_add(ZA_STAT_FOREIGN_FREES, 1);
    return NULL;
}

UNIT_TEST(no_count_is_lost)
{
    pthread_t t[4];

    for (int i = 0; i < 4; i++)
        CHECK_EQ(pthread_create(&t[i], NULL, count_up, NULL), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    CHECK_EQ(za_stat_get(ZA_STAT_FOREIGN_FREES), 200000);
}
