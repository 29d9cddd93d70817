/* SPDX-License-Identifier: MIT */
/*
 * zallctl -- reading statistics and settings, changing a few of them,
 * and giving the pager orders, by name.
 *
 * The contract is in include/zalloc.h. Names are looked up in the two tables of base/, so that a
 * new statistic or key needs no line here.
 *
 * Locks: none of its own.  May sleep: the orders wait for the worker.
 * May fault: on the caller's buffers.  Allocates: nothing.
 */
#include "include/zalloc.h"

#include <errno.h>
#include <string.h>

#include "alloc/alloc.h"
#include "base/conf.h"
#include "base/fmt.h"
#include "base/stat.h"
#include "pager/pager.h"
#include "preload/export.h"
#include "preload/start.h"
#include "preload/text.h"

/* One call's arguments. */
struct request {
    void *oldp;
    size_t *oldlenp;
    const void *newp;
    size_t newlen;
};

/* As mallctl: a buffer of another size gets what fits of it, and the caller EINVAL. */
static int answer(const struct request *r, const void *value, size_t size)
{
    if (!r->oldp && !r->oldlenp)
        return 0;
    if (!r->oldp || !r->oldlenp)
        return EINVAL;
    if (*r->oldlenp != size) {
        *r->oldlenp = za_min(size, *r->oldlenp);
        memcpy(r->oldp, value, *r->oldlenp);
        return EINVAL;
    }
    memcpy(r->oldp, value, size);
    return 0;
}

static int answer_only(const struct request *r, const void *value, size_t size)
{
    return r->newp || r->newlen ? EPERM : answer(r, value, size);
}

static int answer_text(const struct request *r, const char *text)
{
    return answer_only(r, &text, sizeof(text));
}

static int order(const struct request *r, int (*act)(void))
{
    if (r->oldp || r->oldlenp || r->newp || r->newlen)
        return EPERM;
    int rc = act();
    return rc == 0 ? 0 : rc == -ENOMEM ? ENOMEM : EAGAIN;
}

static int refresh(void)
{
    za_text_refresh();
    return 0;
}

static int idle(void)
{
    za_thread_idle();
    return 0;
}

/* ---- settings -------------------------------------------------------------------------------- */

enum kind { KIND_BOOL, KIND_U64, KIND_SIZE, KIND_PATH, KIND_DEDUP, KIND_MMAP, KIND_BACKEND };

#define KEY(name, TYPE, def, min, max, unit, help) \
    {#name, KIND_##TYPE, offsetof(struct za_conf, name)},
static const struct key {
    const char *name;
    enum kind kind;
    size_t offset;
} keys[] = {ZA_CONF_TABLE(KEY)};

static const char *word(enum kind kind, unsigned v)
{
    static const char *const dedup[] = {"off", "zero", "content"};
    static const char *const mapped[] = {"false", "true", "auto"};
    static const char *const backend[] = {"auto", "move", "remap", "none"};
    if (kind == KIND_DEDUP)
        return v < ZA_ARRAY_LEN(dedup) ? dedup[v] : "";
    if (kind == KIND_MMAP)
        return v < ZA_ARRAY_LEN(mapped) ? mapped[v] : "";
    return v < ZA_ARRAY_LEN(backend) ? backend[v] : "";
}

static int read_key(const struct key *k, const struct request *r)
{
    const char *at = (const char *)&za_conf + k->offset;
    uint64_t v;
    switch (k->kind) {
    case KIND_BOOL: v = *(const bool *)at; return answer(r, &v, sizeof(v));
    case KIND_U64:
    case KIND_SIZE:
        v = __atomic_load_n((const uint64_t *)at, __ATOMIC_RELAXED);
        return answer(r, &v, sizeof(v));
    case KIND_PATH: return answer(r, &at, sizeof(at));
    default: at = word(k->kind, *(const unsigned *)at); return answer(r, &at, sizeof(at));
    }
}

static bool adjustable(const char *name)
{
    return strcmp(name, "cold_ms") == 0 || strcmp(name, "cpu_limit") == 0 ||
           strcmp(name, "target") == 0;
}

static int write_key(const struct key *k, const struct request *r)
{
    char text[24];
    struct za_fmt f;
    uint64_t v;
    if (!adjustable(k->name))
        return EPERM;
    if (!r->newp || r->newlen != sizeof(v))
        return EINVAL;
    memcpy(&v, r->newp, sizeof(v));
    za_fmt_init(&f, text, sizeof(text));
    za_fmt_u64(&f, v);
    int rc = za_conf_set(&za_conf, k->name, text);
    return rc == 0 ? 0 : -rc;
}

/* The old value is given before the new one is taken; a bad new value still tells the old one. */
static int on_key(const char *name, const struct request *r)
{
    for (size_t i = 0; i < ZA_ARRAY_LEN(keys); i++) {
        if (strcmp(keys[i].name, name) != 0)
            continue;
        int rc = read_key(&keys[i], r);
        if (rc == 0 && (r->newp || r->newlen))
            rc = write_key(&keys[i], r);
        return rc;
    }
    return ENOENT;
}

static int on_stat(const char *name, const struct request *r)
{
    int id = za_stat_find(name);
    if (id < 0)
        return ENOENT;
    uint64_t v = za_stat_get((enum za_stat_id)id);
    return answer_only(r, &v, sizeof(v));
}

ZA_EXPORT int zallctl(const char *name, void *oldp, size_t *oldlenp, const void *newp,
                      size_t newlen)
{
    const struct request r = {oldp, oldlenp, newp, newlen};
    za_preload_init();
    if (!name)
        return EINVAL;
    if (strcmp(name, "version") == 0)
        return answer_text(&r, ZALLOC_VERSION);
    if (strcmp(name, "pager.backend") == 0)
        return answer_text(&r, za_pager_backend());
    if (strcmp(name, "pager.evict") == 0)
        return order(&r, za_pager_evict_all);
    if (strcmp(name, "pager.dense") == 0)
        return order(&r, za_pager_dense_all);
    if (strcmp(name, "pager.file") == 0)
        return order(&r, za_pager_file_all);
    if (strcmp(name, "pager.thaw") == 0)
        return order(&r, za_pager_thaw);
    if (strcmp(name, "thread.idle") == 0)
        return order(&r, idle);
    if (strcmp(name, "stats.refresh") == 0)
        return order(&r, refresh);
    if (strncmp(name, "stats.", 6) == 0)
        return on_stat(name + 6, &r);
    if (strncmp(name, "conf.", 5) == 0)
        return on_key(name + 5, &r);
    return adjustable(name) ? on_key(name, &r) : ENOENT;
}
