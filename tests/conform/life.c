/* SPDX-License-Identifier: MIT */
/*
 * life -- allocation at every unusual moment: constructors, destructors, key destructors, many
 * short threads, a library that comes late and goes, all descriptors closed.
 */
#define _GNU_SOURCE
#include "check.h"

#include <dlfcn.h>
#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

static char *early;
static pthread_key_t key;
static int rounds;

__attribute__((constructor)) static void construct(void)
{
    early = malloc(1000);
    memset(early, 'e', 1000);
}

__attribute__((destructor)) static void destruct(void)
{
    char *late = calloc(1, 5000);
    if (!early || !late || early[999] != 'e')
        _exit(3);
    free(early);
    free(late);
}

static void register_at_exit(void)
{
    free(malloc(100));
}

/* Allocates in every round of destructors that there is. */
static void on_thread_exit(void *value)
{
    char *p = malloc(300);
    memset(p, 'k', 300);
    free(value);
    if (__atomic_add_fetch(&rounds, 1, __ATOMIC_RELAXED) % PTHREAD_DESTRUCTOR_ITERATIONS != 0)
        (void)pthread_setspecific(key, p);
    else
        free(p);
}

static void *short_thread(void *arg)
{
    char *p = malloc((size_t)(uintptr_t)arg % 3000 + 1);
    p[0] = 's';
    (void)pthread_setspecific(key, p);
    return malloc(64);
}

static void threads(void)
{
    CHECK(pthread_key_create(&key, on_thread_exit) == 0);
    for (int i = 0; i < 2000; i++) {
        pthread_t t;
        void *out = NULL;
        CHECK(pthread_create(&t, NULL, short_thread, (void *)(uintptr_t)i) == 0);
        CHECK(pthread_join(t, &out) == 0);
        CHECK(out != NULL);
        free(out);
    }
    CHECK(rounds == 2000 * PTHREAD_DESTRUCTOR_ITERATIONS);
}

static void *only_malloc(void *arg)
{
    for (int i = 0; i < 100; i++)
        free(malloc((size_t)i * 50));
    return arg;
}

/* What a thread cache holds must come back: 3000 threads must not cost as many caches. */
static void no_leak(void)
{
    size_t before = mallinfo2().uordblks;
    for (int i = 0; i < 3000; i++) {
        pthread_t t;
        CHECK(pthread_create(&t, NULL, only_malloc, NULL) == 0);
        CHECK(pthread_join(t, NULL) == 0);
    }
    (void)malloc_trim(0);
    CHECK(mallinfo2().uordblks < before + ((size_t)4 << 20));
}

static void *small_stack_work(void *arg)
{
    for (size_t n = 1; n < 1 << 20; n *= 2)
        free(calloc(1, n));
    return arg;
}

static void small_stack(void)
{
    pthread_attr_t a;
    pthread_t t;
    CHECK(pthread_attr_init(&a) == 0);
    CHECK(pthread_attr_setstacksize(&a, PTHREAD_STACK_MIN) == 0);
    CHECK(pthread_create(&t, &a, small_stack_work, NULL) == 0);
    CHECK(pthread_join(t, NULL) == 0);
}

/* A block from a library outlives the library. */
static void late_library(const char *path)
{
    for (int i = 0; i < 3; i++) {
        void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        CHECK(lib != NULL);
        if (!lib)
            return;
        char *(*make)(size_t);
        void (*drop)(char *);
        *(void **)&make = dlsym(lib, "plugin_make");
        *(void **)&drop = dlsym(lib, "plugin_drop");
        char *a = make(5000), *b = malloc(5000);
        CHECK(a && a[4999] == 'p');
        drop(b);
        CHECK(dlclose(lib) == 0);
        CHECK(a[4999] == 'p');
        free(a);
    }
}

static void all_closed(void)
{
    enum { N = 4000 };
    static unsigned char *p[N];
    int out = dup2(2, 900);
    for (int i = 0; i < N / 2; i++) {
        p[i] = malloc(10000);
        memset(p[i], i, 10000);
    }
    closefrom(0);
    for (int i = N / 2; i < N; i++) {
        p[i] = malloc(10000);
        memset(p[i], i, 10000);
    }
    for (int i = 0; i < N; i++) {
        if (p[i][0] != (unsigned char)i || p[i][9999] != (unsigned char)i)
            _exit(4); /* nowhere to write to */
        free(p[i]);
    }
    (void)out;
}

int main(int argc, char **argv)
{
    CHECK(early && early[999] == 'e');
    CHECK(atexit(register_at_exit) == 0);
    threads();
    no_leak();
    small_stack();
    if (argc > 1)
        late_library(argv[1]);
    if (check_failures == 0)
        all_closed();
    return check_end();
}
