/* SPDX-License-Identifier: MIT */
/* errors -- impossible requests, errno, size zero: the contract of preload.c, line by line. */
#define _GNU_SOURCE
#include "check.h"

#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <string.h>

static volatile size_t zero = 0;

#define REFUSED(call, err) \
    do { \
        errno = 0; \
        void *refused = (call); \
        CHECK(refused == NULL); \
        CHECK(errno == (err)); \
    } while (0)

static void impossible_sizes(void)
{
    const size_t sizes[] = {(size_t)PTRDIFF_MAX + 1, SIZE_MAX - 4096, SIZE_MAX - 15, SIZE_MAX};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        size_t n = sizes[i] + zero;
        void *p = malloc(10);
        REFUSED(malloc(n), ENOMEM);
        REFUSED(calloc(1, n), ENOMEM);
        REFUSED(calloc(n, 1), ENOMEM);
        REFUSED(realloc(NULL, n), ENOMEM);
        REFUSED(realloc(p, n), ENOMEM);
        REFUSED(memalign(64, n), ENOMEM);
        REFUSED(memalign(1, n), ENOMEM);
        REFUSED(aligned_alloc(4096, n), ENOMEM);
        REFUSED(valloc(n), ENOMEM);
#ifdef __GLIBC__
        REFUSED(pvalloc(n), ENOMEM);
#endif
        REFUSED(reallocarray(NULL, n, 2), ENOMEM);
        free(p);
    }
}

/* Within the limit, and more than any address space. */
static void no_such_memory(void)
{
    REFUSED(malloc(PTRDIFF_MAX - zero), ENOMEM);
    REFUSED(calloc(1, PTRDIFF_MAX / 2 - zero), ENOMEM);
    REFUSED(memalign(1 << 20, PTRDIFF_MAX - zero), ENOMEM);
    REFUSED(memalign((size_t)1 << 62, (size_t)1 << 62), ENOMEM);
    REFUSED(memalign((size_t)1 << 62, 1), ENOMEM);
}

static void overflow(void)
{
    REFUSED(calloc(SIZE_MAX / 2 + zero, 3), ENOMEM);
    REFUSED(calloc((size_t)1 << 32, ((size_t)1 << 32) + zero), ENOMEM);
    REFUSED(calloc(((size_t)1 << 32) + 1, ((size_t)1 << 32) + zero), ENOMEM);
    REFUSED(calloc(3, SIZE_MAX / 3 + 1 + zero), ENOMEM);
    REFUSED(reallocarray(NULL, SIZE_MAX / 2 + zero, 3), ENOMEM);
}

static void failed_realloc_keeps(void)
{
    for (size_t n = 1; n <= (size_t)1 << 22; n *= 8) {
        unsigned char *p = malloc(n);
        memset(p, 0x3c, n);
        REFUSED(realloc(p, PTRDIFF_MAX - zero), ENOMEM);
        CHECK(p[0] == 0x3c && p[n / 2] == 0x3c && p[n - 1] == 0x3c);
        free(p);
    }
}

static void bad_alignments(void)
{
    const size_t bad[] = {0, 1, 2, 4, 3, 12, 24, 100, SIZE_MAX};
    void *const before = (void *)0x1234;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        void *p = before;
        errno = 77;
        CHECK(posix_memalign(&p, bad[i] + zero, 64) == EINVAL);
        CHECK(p == before && errno == 77);
    }
    void *p = before;
    CHECK(posix_memalign(&p, 64, PTRDIFF_MAX - zero) == ENOMEM && p == before);
    CHECK(posix_memalign(&p, 64, SIZE_MAX - zero) == ENOMEM && p == before);
    REFUSED(aligned_alloc(zero, 64), EINVAL);
    REFUSED(aligned_alloc(24 + zero, 64), EINVAL);
    REFUSED(aligned_alloc(SIZE_MAX - zero, 64), EINVAL);
    REFUSED(memalign(SIZE_MAX - zero, 64), EINVAL);
    REFUSED(memalign(((size_t)1 << 63) + 1 + zero, 64), EINVAL);
    /* The size need not be a multiple of the alignment. */
    p = aligned_alloc(64, 3);
    CHECK(p && (uintptr_t)p % 64 == 0);
    free(p);
}

static void size_zero(void)
{
    void *a = malloc(zero), *b = malloc(zero), *c = calloc(zero, 8), *d = calloc(8, zero);
    void *e = NULL, *f = memalign(64, zero), *g = realloc(NULL, zero), *h = aligned_alloc(64, zero);
    CHECK(posix_memalign(&e, 64, zero) == 0);
    void *all[] = {a, b, c, d, e, f, g, h};
    for (size_t i = 0; i < 8; i++) {
        CHECK(all[i] != NULL);
        for (size_t k = 0; k < i; k++)
            CHECK(all[i] != all[k]);
    }
    for (size_t i = 0; i < 8; i++)
        free(all[i]);
    a = malloc(100);
    errno = 77;
#ifdef __GLIBC__
    CHECK(realloc(a, zero) == NULL);
#else /* musl: a block of no size */
    a = realloc(a, zero);
    CHECK(a != NULL);
    free(a);
#endif
    CHECK(errno == 77);
    CHECK(malloc_usable_size(NULL) == 0);
    free(NULL);
    CHECK(errno == 77);
}

/* Successful calls leave errno alone, and free leaves it alone on every path. */
static void errno_kept(void)
{
    enum { N = 5000 };
    static void *p[N];
    errno = 77;
    for (size_t round = 0; round < 3; round++) {
        for (size_t i = 0; i < N; i++)
            p[i] = malloc(i % 7 == 0 ? i * 64 : i % 700);
        for (size_t i = 0; i < N; i += 2)
            p[i] = realloc(p[i], i * 3 + 1);
        for (size_t i = 0; i < N; i++)
            free(p[i]);
    }
    CHECK(errno == 77);
    void *big = malloc((size_t)64 << 20);
    memset(big, 1, (size_t)64 << 20);
    big = realloc(big, (size_t)128 << 20);
    free(big);
    CHECK(errno == 77);
    CHECK(posix_memalign(&big, 4096, 100000) == 0);
    free(big);
    CHECK(errno == 77);
}

int main(void)
{
    impossible_sizes();
    no_such_memory();
    overflow();
    failed_realloc_keeps();
    bad_alignments();
    size_zero();
    errno_kept();
    return check_end();
}
