/* SPDX-License-Identifier: MIT */
/*
 * shapes -- alignment, usable size, zeroing and kept contents, for every function and many sizes.
 */
#define _GNU_SOURCE
#include "check.h"

#include <dlfcn.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

/* C23's, which this libc may lack: looked up. */
static void (*free_sized_fn)(void *p, size_t size);
static void (*free_aligned_sized_fn)(void *p, size_t align, size_t size);
void *__libc_memalign(size_t align, size_t size);

static bool filled(const unsigned char *p, unsigned char c, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i] != c)
            return false;
    }
    return true;
}

/* Every byte up to the usable size is the program's. */
static void owns_all(void *p, size_t n, size_t align)
{
    CHECK(p != NULL);
    CHECK((uintptr_t)p % align == 0);
    size_t u = malloc_usable_size(p);
    CHECK(u >= n);
    memset(p, 0xa5, u);
    CHECK(malloc_usable_size(p) == u);
}

static size_t natural(size_t n)
{
    return n < 16 ? 8 : 16;
}

static void one_size(size_t n)
{
    void *p = malloc(n);
    owns_all(p, n, natural(n));
    free_sized_fn(p, n);
    p = calloc(1, n);
    CHECK(p && filled(p, 0, n));
    owns_all(p, n, natural(n));
    free(p);
    p = valloc(n);
    owns_all(p, n, (size_t)getpagesize());
    free(p);
#ifdef __GLIBC__
    size_t page = (size_t)getpagesize();
    p = pvalloc(n);
    owns_all(p, (n + page - 1) / page * page, page);
    free(p);
#endif
}

static void one_alignment(size_t align, size_t n)
{
    void *p = memalign(align, n);
    owns_all(p, n, align);
    free(p);
    p = aligned_alloc(align, n);
    owns_all(p, n, align);
    free_aligned_sized_fn(p, align, n);
#ifdef __GLIBC__
    p = __libc_memalign(align, n);
    owns_all(p, n, align);
    free(p);
#endif
    if (align % sizeof(void *) == 0) {
        CHECK(posix_memalign(&p, align, n) == 0);
        owns_all(p, n, align);
        p = realloc(p, n * 2 + 1);
        CHECK(filled(p, 0xa5, n));
        free(p);
    }
}

static void odd_alignments(void)
{
    for (size_t a = 0; a < 5000; a += 37) {
        size_t up = 1;
        while (up < a)
            up *= 2;
        void *p = memalign(a, 100);
        owns_all(p, 100, up);
        free(p);
    }
}

/* Freed memory comes back dirty to malloc and must be zero for calloc. */
static void zeroing(void)
{
    for (size_t n = 1; n < (size_t)4 << 20; n = n * 5 / 4 + 1) {
        void *p[8];
        for (int i = 0; i < 8; i++) {
            p[i] = malloc(n);
            memset(p[i], 0xff, malloc_usable_size(p[i]));
        }
        for (int i = 0; i < 8; i++)
            free(p[i]);
        for (int i = 0; i < 8; i++) {
            p[i] = calloc(n, 1);
            CHECK(filled(p[i], 0, n));
        }
        for (int i = 0; i < 8; i++)
            free(p[i]);
    }
}

static void growing(size_t step)
{
    unsigned char *p = NULL;
    size_t n = 0, limit = step * 3000;
    while (n < limit && n < (size_t)32 << 20) {
        p = realloc(p, n + step);
        memset(p + n, (int)(n / step & 0xff), step);
        n += step;
    }
    for (size_t i = 0; i < n; i += step)
        CHECK(filled(p + i, (unsigned char)(i / step), step));
    for (; n > step; n = n / 2 / step * step) {
        p = realloc(p, n);
        for (size_t i = 0; i + step <= n; i += step)
            CHECK(p[i] == (unsigned char)(i / step));
    }
    free(p);
}

int main(void)
{
    *(void **)&free_sized_fn = dlsym(RTLD_DEFAULT, "free_sized");
    *(void **)&free_aligned_sized_fn = dlsym(RTLD_DEFAULT, "free_aligned_sized");
    CHECK(free_sized_fn && free_aligned_sized_fn);
    free_sized_fn(NULL, 10);
    free_aligned_sized_fn(NULL, 16, 10);
    for (size_t n = 0; n < 2100; n++)
        one_size(n);
    for (size_t n = 2100; n < (size_t)8 << 20; n = n * 9 / 8 + 7)
        one_size(n);
    for (size_t align = 1; align <= (size_t)4 << 20; align *= 2) {
        for (size_t n = 1; n < 300000; n = n * 7 / 4 + 1)
            one_alignment(align, n);
    }
    odd_alignments();
    zeroing();
    growing(1);
    growing(24);
    growing(4096);
    growing(10000);
    return check_end();
}
