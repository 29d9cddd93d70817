/* SPDX-License-Identifier: MIT */
/*
 * foreign -- blocks of libc's own malloc, and blocks through libc's internal names,
 * pass through ours unharmed.
 */
#define _GNU_SOURCE
#include "check.h"

#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <string.h>

void *__libc_malloc(size_t size);
void __libc_free(void *p);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);

typedef int ctl_fn(const char *, void *, size_t *, const void *, size_t);

static uint64_t foreign_frees(void)
{
    uint64_t v = 0;
    size_t len = sizeof(v);
    ctl_fn *ctl;
    *(void **)&ctl = dlsym(RTLD_DEFAULT, "zallctl");
    CHECK(ctl && ctl("stats.foreign.frees", &v, &len, NULL, 0) == 0);
    return v;
}

/* glibc's functions themselves, whatever is loaded before it. */
static void of_libc(void)
{
    void *libc = dlopen("libc.so.6", RTLD_NOLOAD | RTLD_NOW);
    void *(*libc_malloc)(size_t);
    *(void **)&libc_malloc = dlsym(libc, "malloc");
    CHECK(libc_malloc && libc_malloc != malloc);
    uint64_t before = foreign_frees();
    for (size_t n = 1; n < (size_t)4 << 20; n = n * 3 / 2 + 1) {
        unsigned char *p = libc_malloc(n);
        memset(p, 7, n);
        CHECK(malloc_usable_size(p) >= n);
        p = realloc(p, n * 2);
        CHECK(p && p[0] == 7 && p[n - 1] == 7);
        errno = 77;
        free(p);
        CHECK(errno == 77);
    }
    CHECK(foreign_frees() >= before + 30);
    void (*free_sized_fn)(void *, size_t);
    *(void **)&free_sized_fn = dlsym(RTLD_DEFAULT, "free_sized");
    free_sized_fn(libc_malloc(100), 100);
    unsigned char *p = libc_malloc(100);
    CHECK(realloc(p, 0) == NULL);
}

/* The internal names are the same functions: they may be mixed. */
static void internal_names(void)
{
    uint64_t before = foreign_frees();
    free(__libc_malloc(100));
    __libc_free(malloc(100));
    free(realloc(__libc_calloc(10, 10), 1000));
    free(__libc_realloc(malloc(10), 2000));
    CHECK(foreign_frees() == before);
}

/* What libc itself allocates and the program frees. */
static void from_libc_calls(void)
{
    char *line = NULL, *text = NULL;
    size_t cap = 0;
    FILE *f = tmpfile();
    (void)fputs("a line\n", f);
    rewind(f);
    CHECK(getline(&line, &cap, f) == 7);
    free(line);
    (void)fclose(f);
    CHECK(asprintf(&text, "%0500d", 1) == 500);
    free(text);
    text = strdup("copied");
    free(text);
    text = realpath("/", NULL);
    free(text);
    f = open_memstream(&text, &cap);
    for (int i = 0; i < 10000; i++)
        (void)fputs("stream ", f);
    (void)fclose(f);
    CHECK(cap == 70000);
    free(text);
}

int main(void)
{
    of_libc();
    internal_names();
    from_libc_calls();
    return check_end();
}
