/* SPDX-License-Identifier: MIT */
/*
 * hostile -- what the hostile programs share: points, blocks whose every byte is known, going cold.
 *
 * A program makes its points one after the other and prints `ok NAME`, `FAIL NAME` or
 * `skipped NAME: why` for each; its status is 0 if none has failed.  Its first argument says how
 * blocks go cold: `stored` (compressed, by request) or `limbo` (taken out and not yet compressed:
 * waits for the worker).
 */
#ifndef ZA_TESTS_HOSTILE_HOSTILE_H
#define ZA_TESTS_HOSTILE_HOSTILE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096ul
#define UNIT 65536ul
#define PATIENCE_MS 500u

typedef int zallctl_fn(const char *, void *, size_t *, const void *, size_t);

static bool want_limbo;
static unsigned points_failed;
static zallctl_fn *ctl;

static inline void point(const char *name, bool ok)
{
    char line[160];
    int n = snprintf(line, sizeof(line), "%s %s\n", ok ? "ok" : "FAIL", name);
    if (write(1, line, (size_t)n) != n)
        _exit(3);
    points_failed += !ok;
}

/* A point that cannot be made here, and why. */
static inline void skip(const char *name, const char *why)
{
    char line[160];
    int n = snprintf(line, sizeof(line), "skipped %s: %s\n", name, why);
    if (write(1, line, (size_t)n) != n)
        _exit(3);
}

static inline void sleep_ms(unsigned ms)
{
    struct timespec t = {ms / 1000, (long)(ms % 1000) * 1000000};
    while (nanosleep(&t, &t) < 0 && errno == EINTR)
        ;
}

/* What byte `i` of block `id` is: words that differ by block and place, and compress. */
static inline uint64_t word_at(uint64_t id, size_t i)
{
    return (id << 40) + (i / PAGE << 8) + 0x5a;
}

static inline void fill(void *p, size_t len, uint64_t id)
{
    uint64_t *w = p;
    for (size_t i = 0; i < len / 8; i++)
        w[i] = word_at(id, i * 8);
}

/* Bytes [from, to) of a block that starts at p. */
static inline bool right(const void *p, size_t from, size_t to, uint64_t id)
{
    const uint64_t *w = p;
    for (size_t i = from / 8; i < to / 8; i++)
        if (w[i] != word_at(id, i * 8))
            return false;
    return true;
}

static inline bool zero(const void *p, size_t from, size_t to)
{
    const uint64_t *w = p;
    for (size_t i = from / 8; i < to / 8; i++)
        if (w[i] != 0)
            return false;
    return true;
}

static inline void *block(size_t len, uint64_t id)
{
    void *p = aligned_alloc(UNIT, len);
    if (!p) {
        perror("aligned_alloc");
        exit(2);
    }
    fill(p, len, id);
    return p;
}

/* How many pages of the range are at their address. */
static inline size_t present(const void *p, size_t len)
{
    unsigned char there[1024];
    size_t n = 0;
    for (size_t at = 0; at < len; at += sizeof(there) * PAGE) {
        size_t some = len - at < sizeof(there) * PAGE ? len - at : sizeof(there) * PAGE;
        if (mincore((char *)(uintptr_t)p + at, some, there) < 0)
            return 0;
        for (size_t i = 0; i < some / PAGE; i++)
            n += there[i] & 1;
    }
    return n;
}

static inline bool torture(void)
{
    const char *conf = getenv("ZALLOC_CONF");
    return conf && strstr(conf, "torture");
}

/*
 * Takes everything out that can be; true: no page of the range is where it was. What the worker has
 * found warm too often to look at soon goes out on request in limbo's case too.
 */
static inline bool go_cold(const void *p, size_t len)
{
    for (unsigned ms = 0; want_limbo && ms < PATIENCE_MS; ms += 2) {
        if (present(p, len) == 0)
            return true;
        sleep_ms(2);
    }
    return ctl("pager.evict", NULL, NULL, NULL, 0) == 0 && (torture() || present(p, len) == 0);
}

/* Runs fn in a child made by fork; true: it returned true. */
static inline bool in_child(bool (*fn)(void *), void *arg)
{
    int status = -1;
    pid_t pid = fork();
    if (pid == 0)
        _exit(fn(arg) ? 0 : 1);
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

static inline uint64_t stat_of(const char *name)
{
    uint64_t v = 0;
    size_t len = sizeof(v);
    (void)ctl("stats.refresh", NULL, NULL, NULL, 0);
    return ctl(name, &v, &len, NULL, 0) == 0 ? v : UINT64_MAX;
}

static inline bool backend_is(const char *name)
{
    const char *is = "";
    size_t len = sizeof(const char *);
    return ctl("pager.backend", (void *)&is, &len, NULL, 0) == 0 && strcmp(is, name) == 0;
}

/* True: the process has a pager; a test without one would prove nothing. */
static inline bool begin(int argc, char **argv)
{
    want_limbo = argc > 1 && strcmp(argv[1], "limbo") == 0;
    ctl = (zallctl_fn *)dlsym(RTLD_DEFAULT, "zallctl");
    if (!ctl)
        return false;
    (void)ctl("pager.evict", NULL, NULL, NULL, 0);
    return !backend_is("none");
}

static inline int end(void)
{
    return points_failed ? 1 : 0;
}

#endif
