/* SPDX-License-Identifier: MIT */
/*
 * inspect -- mallinfo, mallinfo2, malloc_trim, malloc_info,
 * malloc_stats, mallopt tell of the heap in use.
 */
#define _GNU_SOURCE
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <string.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)

/* 64 MiB in blocks of n bytes, and back. */
static void grows_with(size_t n)
{
    size_t count = 64 * MIB / n;
    void **p = malloc(count * sizeof(*p));
    struct mallinfo2 a = mallinfo2();
    for (size_t i = 0; i < count; i++) {
        p[i] = malloc(n);
        memset(p[i], 1, n);
    }
    struct mallinfo2 b = mallinfo2();
    size_t grown = b.uordblks + b.hblkhd - a.uordblks - a.hblkhd;
    CHECK(grown >= 60 * MIB && grown <= 80 * MIB);
    CHECK(b.arena >= b.uordblks);
    CHECK(b.fordblks == b.arena - b.uordblks);
    for (size_t i = 0; i < count; i++)
        free(p[i]);
    (void)malloc_trim(0);
    struct mallinfo2 c = mallinfo2();
    CHECK(c.uordblks + c.hblkhd <= a.uordblks + a.hblkhd + 4 * MIB);
    free(p);
}

static void old_form(void)
{
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    struct mallinfo m = mallinfo();
    struct mallinfo2 n = mallinfo2();
    CHECK(m.uordblks > 0 && (size_t)m.uordblks <= n.uordblks + MIB);
}

static void options(void)
{
    CHECK(mallopt(M_TRIM_THRESHOLD, 128 * 1024) == 1);
    CHECK(mallopt(M_TOP_PAD, 0) == 1);
    CHECK(mallopt(M_MMAP_THRESHOLD, 1 << 20) == 1);
    CHECK(mallopt(M_MMAP_MAX, 10) == 1);
    CHECK(mallopt(M_ARENA_MAX, 1) == 1);
    CHECK(mallopt(M_ARENA_TEST, 1) == 1);
    CHECK(mallopt(M_MXFAST, 64) == 1);
    CHECK(mallopt(M_CHECK_ACTION, 1) == 1);
    CHECK(mallopt(M_PERTURB, 0) == 1);
    CHECK(mallopt(12345, 1) == 0);
    CHECK(mallopt(-99, 1) == 0);
}

/* The runner parses the file. */
static void info(const char *path)
{
    FILE *f = fopen(path, "w");
    CHECK(f != NULL);
    CHECK(malloc_info(1, f) == EINVAL);
    CHECK(malloc_info(0, f) == 0);
    CHECK(fclose(f) == 0);
}

static void stats(void)
{
    char text[1 << 16];
    int fds[2], saved = dup(2);
    CHECK(pipe(fds) == 0);
    CHECK(fcntl(fds[1], F_SETPIPE_SZ, 1 << 18) > 0);
    (void)dup2(fds[1], 2);
    flockfile(stderr);
    malloc_stats();
    funlockfile(stderr);
    (void)dup2(saved, 2);
    (void)close(fds[1]);
    ssize_t n = read(fds[0], text, sizeof(text) - 1);
    CHECK(n > 0);
    text[n > 0 ? n : 0] = '\0';
    CHECK(strstr(text, "in use bytes") != NULL);
    CHECK(strstr(text, "zalloc") != NULL);
}

int main(int argc, char **argv)
{
    /* The first turns pay for everything that is made once. */
    free(malloc(100));
    grows_with(64);
    grows_with(1000);
    grows_with(20000);
    grows_with(4 * MIB);
    old_form();
    options();
    info(argc > 1 ? argv[1] : "/dev/null");
    stats();
    return check_end();
}
