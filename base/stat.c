/* SPDX-License-Identifier: MIT */
/*
 * stat -- the statistics array and its printers, all expanded from the one table.
 *
 * Refuses to compute: a gauge shows what its owner last wrote.  A reader sees each number whole but
 * not all numbers of one instant.
 *
 * Locks: none.  May sleep: no.  May fault: no.  Allocates: nothing.
 */
#include "base/stat.h"

#include <string.h>

#define JSON_VERSION 1
#define NAME_COLUMN 30

enum kind { COUNTER, GAUGE };

static const struct row {
    const char *name, *unit, *help;
    enum kind kind;
} rows[ZA_STAT_MAX] = {
#define ROW(NAME, text, KIND, u, h) [ZA_STAT_##NAME] = {text, u, h, KIND},
    ZA_STAT_TABLE(ROW)
#undef ROW
};

uint64_t za_stats[ZA_STAT_MAX];

bool za_stat_entry(unsigned i, struct za_stat_entry *out)
{
    if (i >= ZA_STAT_MAX)
        return false;
    *out = (struct za_stat_entry){
        .name = rows[i].name,
        .kind = rows[i].kind == COUNTER ? "counter" : "gauge",
        .unit = rows[i].unit,
        .help = rows[i].help,
    };
    return true;
}

int za_stat_find(const char *name)
{
    for (int i = 0; i < ZA_STAT_MAX; i++)
        if (strcmp(rows[i].name, name) == 0)
            return i;
    return -1;
}

static void print_row(struct za_fmt *f, const struct row *r, uint64_t v)
{
    za_fmt_str(f, r->name);
    za_fmt_pad(f, NAME_COLUMN);
    za_fmt_chr(f, ' ');
    za_fmt_u64(f, v);
    if (r->unit[0]) {
        za_fmt_chr(f, ' ');
        za_fmt_str(f, r->unit);
    }
    za_fmt_chr(f, '\n');
}

/* A counter at zero tells nothing; a gauge at zero does. */
void za_stat_print(struct za_fmt *f)
{
    for (unsigned i = 0; i < ZA_STAT_MAX; i++) {
        uint64_t v = za_stat_get((enum za_stat_id)i);
        if (v || rows[i].kind == GAUGE)
            print_row(f, &rows[i], v);
    }
}

void za_stat_json(struct za_fmt *f)
{
    za_fmt_str(f, "{\"version\":");
    za_fmt_u64(f, JSON_VERSION);
    za_fmt_str(f, ",\"stats\":{");
    for (unsigned i = 0; i < ZA_STAT_MAX; i++) {
        if (i)
            za_fmt_chr(f, ',');
        za_fmt_json_str(f, rows[i].name);
        za_fmt_chr(f, ':');
        za_fmt_u64(f, za_stat_get((enum za_stat_id)i));
    }
    za_fmt_str(f, "}}");
}
