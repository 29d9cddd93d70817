/* SPDX-License-Identifier: MIT */
/*
 * own_malloc -- a program that wraps malloc itself,
 * on libc's internal names, sees each of its calls once.
 */
#define _GNU_SOURCE
#include "check.h"

#include <malloc.h>
#include <string.h>

void *__libc_malloc(size_t size);
void __libc_free(void *p);
void *__libc_realloc(void *p, size_t size);
void *__libc_calloc(size_t n, size_t size);

static int calls;

void *malloc(size_t n)
{
    calls++;
    return __libc_malloc(n);
}

void free(void *p)
{
    __libc_free(p);
}

void *realloc(void *p, size_t n)
{
    calls++;
    return __libc_realloc(p, n);
}

void *calloc(size_t n, size_t size)
{
    calls++;
    return __libc_calloc(n, size);
}

int main(void)
{
    int before = calls;
    char *p = malloc(100);
    p = realloc(p, 10000);
    CHECK(calls == before + 2);
    CHECK(malloc_usable_size(p) >= 10000);
    free(p);
    free(memalign(64, 100));
    free(strdup("text"));
    free(calloc(10, 10));
    return check_end();
}
