/* SPDX-License-Identifier: MIT */
/*
 * conf -- the configuration: ZALLOC_CONF="key:value,key:value" parsed into one struct.
 *
 * Malformed input follows jemalloc's rules: for each bad pair one line on standard error naming the
 * pair and the reason ("zalloc: ZALLOC_CONF: cold_ms:abc: not a number; keeping 8000"), the default
 * stays; after the whole string abort_conf:true aborts if any pair was bad.  Keys and enum values
 * match as whole words. A later pair of the same key wins.  Numbers out of [min, max] are refused,
 * not clipped.  Sizes take K, M, G, T (upper or lower case).  `reserve:0` and other zero defaults
 * are always accepted.
 *
 * Fields that can change at run time (cold_ms, cpu_limit, target) are read with relaxed atomics.
 * Locks: none.  May sleep: no (writes to fd 2).  Allocates: nothing.
 */
#ifndef ZA_BASE_CONF_H
#define ZA_BASE_CONF_H

#include "base/base.h"
#include "base/conf_table.h"

enum za_dedup { ZA_DEDUP_OFF, ZA_DEDUP_ZERO, ZA_DEDUP_CONTENT };
enum za_mmap { ZA_MMAP_FALSE, ZA_MMAP_TRUE, ZA_MMAP_AUTO };
enum za_backend { ZA_BACKEND_AUTO, ZA_BACKEND_MOVE, ZA_BACKEND_REMAP, ZA_BACKEND_NONE };

#define ZA_CONF_PATH_MAX 256

#define ZA_CONF_T_BOOL(name) bool name;
#define ZA_CONF_T_U64(name) uint64_t name;
#define ZA_CONF_T_SIZE(name) uint64_t name;
#define ZA_CONF_T_PATH(name) char name[ZA_CONF_PATH_MAX];
#define ZA_CONF_T_DEDUP(name) enum za_dedup name;
#define ZA_CONF_T_MMAP(name) enum za_mmap name;
#define ZA_CONF_T_BACKEND(name) enum za_backend name;
#define ZA_CONF_X(name, TYPE, def, min, max, unit, help) ZA_CONF_T_##TYPE(name)
struct za_conf {
    ZA_CONF_TABLE(ZA_CONF_X)
};
#undef ZA_CONF_X

extern struct za_conf za_conf; /* defaults until za_conf_parse */

/* Where messages go: one finished line with newline (tests catch it). */
typedef void za_conf_say(const char *line, size_t len);

/* Returns the number of bad pairs (and reports each through `say`); does not itself abort. */
unsigned za_conf_parse(struct za_conf *c, const char *text, za_conf_say *say);
void za_conf_defaults(struct za_conf *c);
/* For --help, README and stats: value, default, unit and help of entry i; false past the end. */
struct za_conf_entry {
    const char *name, *type, *unit, *help;
    char value[ZA_CONF_PATH_MAX]; /* as it would be written in ZALLOC_CONF */
    char def[64];
};
bool za_conf_entry(const struct za_conf *c, unsigned i, struct za_conf_entry *out);
/*
 * Set one pair at run time ("cold_ms", "500");
 * 0, -ENOENT (no such key), -EINVAL (bad value), -EPERM.
 */
int za_conf_set(struct za_conf *c, const char *key, const char *value);

#endif
