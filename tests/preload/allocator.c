/* SPDX-License-Identifier: MIT */
/*
 * allocator -- a program that brings an allocator along: jemalloc, called by names that nobody interposes, so that
 * its heap lies in what it maps.
 *
 * Three threads put blocks of known bytes into slots and take them out again; the last line says how
 * many bytes were not what had been put there.
 */
#include <malloc.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void *mallocx(size_t size, int flags);
void *rallocx(void *p, size_t size, int flags);
void dallocx(void *p, int flags);

#define SLOTS 4000u
#define THREADS 3u
#define STEPS 90000u

struct slot {
    unsigned char *p, byte;
    size_t len;
};

static unsigned long wrong; /* atomic */

static void see(const struct slot *s)
{
    for (size_t i = 0; i < s->len; i += s->len / 16 + 1)
        if (s->p[i] != s->byte)
            __atomic_add_fetch(&wrong, 1, __ATOMIC_RELAXED);
}

/* jemalloc's own `free` takes what mallocx gave; that of libc's name is another's here. */
static void empty(struct slot *s)
{
    see(s);
    if (malloc_usable_size(s->p) < s->len)
        __atomic_add_fetch(&wrong, 1, __ATOMIC_RELAXED);
    if (s->len % 2)
        dallocx(s->p, 0);
    else
        free(s->p);
    s->p = NULL;
}

/* One in a hundred is large, and of these every other grows. */
static void put(struct slot *s, uint64_t random)
{
    size_t len = random % 100 ? random / 128 % 3000 + 1 : random / 128 % (2u << 20) + 1;
    if (s->p && random % 200 == 0 && len > s->len) {
        s->p = len % 2 ? rallocx(s->p, len, 0) : realloc(s->p, len);
        see(s);
    } else {
        if (s->p)
            empty(s);
        s->p = mallocx(len, 0);
    }
    s->byte = (unsigned char)(random >> 40);
    s->len = len;
    memset(s->p, s->byte, len);
}

static void *work(void *arg)
{
    struct slot *slots = calloc(SLOTS, sizeof(*slots));
    uint64_t random = (uintptr_t)arg * 77 + 1;
    for (unsigned i = 0; i < STEPS; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        put(&slots[(random >> 33) % SLOTS], random >> 8);
        if (i % 3000 == 0)
            (void)nanosleep(&(struct timespec){0, 30000000}, NULL);
    }
    for (unsigned i = 0; i < SLOTS; i++)
        if (slots[i].p)
            empty(&slots[i]);
    free(slots);
    return NULL;
}

int main(void)
{
    pthread_t t[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        if (pthread_create(&t[i], NULL, work, (void *)i) != 0)
            return 2;
    for (unsigned i = 0; i < THREADS; i++)
        (void)pthread_join(t[i], NULL);
    printf("%lu bytes are wrong\n", wrong);
    return wrong != 0;
}
