/* SPDX-License-Identifier: MIT */
/*
 * link -- zalloc as a linked replacement: with libzalloc.a, with -lzalloc, and in a static program.
 */
#define _GNU_SOURCE
#include "check.h"

#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>

#include "include/zalloc.h"

static void *work(void *arg)
{
    for (size_t n = 1; n < 1 << 20; n = n * 3 / 2 + 1)
        free(memset(malloc(n), 1, n));
    return arg;
}

int main(void)
{
    uint64_t before = 0, after = 0;
    size_t len = sizeof(before);
    pthread_t t;
    CHECK(zallctl("stats.refresh", NULL, NULL, NULL, 0) == 0);
    CHECK(zallctl("stats.heap.allocated", &before, &len, NULL, 0) == 0);
    char *p = malloc(10 << 20);
    memset(p, 1, 10 << 20);
    char *copy = strdup("libc allocates here too");
    CHECK(zallctl("stats.refresh", NULL, NULL, NULL, 0) == 0);
    CHECK(zallctl("stats.heap.allocated", &after, &len, NULL, 0) == 0);
    CHECK(after >= before + (10 << 20));
    free(copy);
    free(p);
    free(aligned_alloc(4096, 100));
#ifdef __GLIBC__
    CHECK(mallinfo2().uordblks > 0);
#endif
    CHECK(pthread_create(&t, NULL, work, NULL) == 0 && pthread_join(t, NULL) == 0);
    return check_end();
}
