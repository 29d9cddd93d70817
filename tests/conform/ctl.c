/* SPDX-License-Identifier: MIT */
/* ctl -- zallctl as include/zalloc.h promises it, found at run time. */
#define _GNU_SOURCE
#include "check.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "include/zalloc.h"

typedef int ctl_fn(const char *, void *, size_t *, const void *, size_t);
static ctl_fn *ctl;

static uint64_t number(const char *name)
{
    uint64_t v = UINT64_MAX;
    size_t len = sizeof(v);
    CHECK(ctl(name, &v, &len, NULL, 0) == 0);
    CHECK(len == sizeof(v));
    return v;
}

static const char *text(const char *name)
{
    const char *s = NULL;
    size_t len = sizeof(s);
    CHECK(ctl(name, (void *)&s, &len, NULL, 0) == 0);
    return s ? s : "";
}

static void reading(void)
{
    CHECK(strcmp(text("version"), ZALLOC_VERSION) == 0);
    CHECK(strlen(text("pager.backend")) > 0);
    CHECK(ctl("stats.refresh", NULL, NULL, NULL, 0) == 0);
    CHECK(number("stats.heap.allocated") > 0);
    CHECK(number("stats.heap.active") > 0);
    (void)number("stats.pager.stored");
    CHECK(number("conf.dirty_decay_ms") == 5000);
    CHECK(number("conf.stats_print") == 0);
    CHECK(strcmp(text("conf.dedup"), "zero") == 0);
    CHECK(strcmp(text("conf.file"), "") == 0);
    CHECK(strlen(text("conf.backend")) > 0);
}

static void setting(void)
{
    uint64_t old = 0, new = 1234;
    size_t len = sizeof(old);
    uint64_t first = number("cold_ms");
    CHECK(ctl("conf.cold_ms", &old, &len, &new, sizeof(new)) == 0);
    CHECK(old == first && number("conf.cold_ms") == 1234 && number("cold_ms") == 1234);
    new = 0; /* out of range */
    CHECK(ctl("cold_ms", NULL, NULL, &new, sizeof(new)) == EINVAL);
    CHECK(number("cold_ms") == 1234);
    CHECK(ctl("cold_ms", NULL, NULL, &first, sizeof(first)) == 0);
    new = 30;
    CHECK(ctl("cpu_limit", NULL, NULL, &new, sizeof(new)) == 0 && number("conf.cpu_limit") == 30);
    new = (uint64_t)1 << 30;
    CHECK(ctl("target", NULL, NULL, &new, sizeof(new)) == 0 && number("conf.target") == new);
    new = 0;
    CHECK(ctl("target", NULL, NULL, &new, sizeof(new)) == 0 && number("target") == 0);
}

/* What a thread keeps counts as allocated until it says that it is idle; what goes back to all may
 * be kept for all for a while. */
static void idling(void)
{
    enum { N = 4000, SIZE = 600 };
    static void *p[N];
    for (int i = 0; i < N; i++)
        p[i] = malloc(SIZE);
    CHECK(ctl("stats.refresh", NULL, NULL, NULL, 0) == 0);
    uint64_t full = number("stats.heap.allocated");
    for (int i = 0; i < N; i++)
        free(p[i]);
    CHECK(ctl("stats.refresh", NULL, NULL, NULL, 0) == 0);
    uint64_t kept = number("stats.heap.allocated");
    CHECK(ctl("thread.idle", NULL, NULL, NULL, 0) == 0);
    CHECK(ctl("stats.refresh", NULL, NULL, NULL, 0) == 0);
    CHECK(number("stats.heap.allocated") < kept && kept < full);
    CHECK(ctl("thread.idle", NULL, NULL, &full, sizeof(full)) == EPERM);
    free(malloc(SIZE));
}

static void errors(void)
{
    uint64_t v = 1;
    uint32_t small = 0;
    size_t len = sizeof(v);
    errno = 77;
    CHECK(ctl(NULL, NULL, NULL, NULL, 0) == EINVAL);
    CHECK(ctl("", NULL, NULL, NULL, 0) == ENOENT);
    CHECK(ctl("stats.", &v, &len, NULL, 0) == ENOENT);
    CHECK(ctl("stats.pager.store", &v, &len, NULL, 0) == ENOENT);
    CHECK(ctl("conf.nothing", &v, &len, NULL, 0) == ENOENT);
    CHECK(ctl("dirty_decay_ms", &v, &len, NULL, 0) == ENOENT);
    CHECK(ctl("stats.pager.stored", NULL, NULL, &v, sizeof(v)) == EPERM);
    CHECK(ctl("conf.start_bytes", NULL, NULL, &v, sizeof(v)) == EPERM);
    CHECK(ctl("version", NULL, NULL, &v, sizeof(v)) == EPERM);
    CHECK(ctl("pager.evict", &v, &len, NULL, 0) == EPERM);
    CHECK(ctl("stats.refresh", NULL, NULL, &v, sizeof(v)) == EPERM);
    CHECK(ctl("cold_ms", NULL, NULL, &small, sizeof(small)) == EINVAL);
    CHECK(ctl("cold_ms", &v, NULL, NULL, 0) == EINVAL);
    len = sizeof(small);
    CHECK(ctl("cold_ms", &small, &len, NULL, 0) == EINVAL && len == sizeof(small));
    CHECK(errno == 77);
}

/* With a back-end the bytes go out and come back; without one both orders say EAGAIN. */
static void orders(void)
{
    enum { N = 64 };
    static unsigned char *p[N];
    for (int i = 0; i < N; i++) {
        p[i] = malloc(1 << 20);
        memset(p[i], i, 1 << 20);
    }
    int evicted = ctl("pager.evict", NULL, NULL, NULL, 0);
    CHECK(evicted == 0 || evicted == EAGAIN);
    for (int i = 0; i < N; i += 2)
        CHECK(p[i][0] == i && p[i][(1 << 20) - 1] == i);
    int thawed = ctl("pager.thaw", NULL, NULL, NULL, 0);
    CHECK(thawed == 0 || thawed == EAGAIN);
    CHECK(evicted == 0 || strcmp(text("pager.backend"), "move") != 0);
    for (int i = 0; i < N; i++) {
        for (int k = 0; k < 1 << 20; k += 1000)
            CHECK(p[i][k] == i);
        free(p[i]);
    }
}

int main(void)
{
    free(malloc(10));
    *(void **)&ctl = dlsym(RTLD_DEFAULT, "zallctl");
    CHECK(ctl != NULL);
    if (!ctl)
        return check_end();
    reading();
    setting();
    idling();
    errors();
    orders();
    return check_end();
}
