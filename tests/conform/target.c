/* SPDX-License-Identifier: MIT */
/*
 * target -- a balloon at run time: zallctl("target") lowers the footprint below what the first
 * compressed tier reaches, with nothing cold and nothing due, and lets it be when raised.
 *
 * Its configuration: see run. Where this process has no back-end there is nothing to see.
 */
#define _GNU_SOURCE
#include "check.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "include/zalloc.h"

#define BLOCKS 96
#define BLOCK ((size_t)1 << 20)
#define PHRASE 64u
#define PHRASES 64u

typedef int ctl_fn(const char *, void *, size_t *, const void *, size_t);
static ctl_fn *ctl;
static char phrases[PHRASES][PHRASE];
static char *block[BLOCKS];

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static const char *phrase(size_t b, size_t at)
{
    return phrases[mix((uint64_t)b << 32 ^ at) % PHRASES];
}

/* Phrases in random order: little repeats nearby, everything in the heap. */
static void fill(void)
{
    for (size_t i = 0; i < sizeof(phrases); i++)
        phrases[i / PHRASE][i % PHRASE] = (char)('a' + mix(i + 1) % 16);
    for (size_t b = 0; b < BLOCKS; b++) {
        block[b] = malloc(BLOCK);
        for (size_t at = 0; at < BLOCK; at += PHRASE)
            memcpy(block[b] + at, phrase(b, at), PHRASE);
    }
}

static int all_right(void)
{
    for (size_t b = 0; b < BLOCKS; b++)
        for (size_t at = 0; at < BLOCK; at += PHRASE)
            if (memcmp(block[b] + at, phrase(b, at), PHRASE) != 0)
                return 0;
    return 1;
}

static uint64_t number(const char *name)
{
    uint64_t v = UINT64_MAX;
    size_t len = sizeof(v);
    CHECK(ctl("stats.refresh", NULL, NULL, NULL, 0) == 0);
    CHECK(ctl(name, &v, &len, NULL, 0) == 0);
    return v;
}

static uint64_t footprint(void)
{
    return number("stats.footprint.total");
}

static void set_target(uint64_t bytes)
{
    CHECK(ctl("target", NULL, NULL, &bytes, sizeof(bytes)) == 0);
}

static uint64_t reach(uint64_t target)
{
    set_target(target);
    for (int i = 0; footprint() > target && i < 9000; i++)
        usleep(10000);
    return footprint();
}

static void raise_and_use(void)
{
    set_target((uint64_t)1 << 40);
    (void)footprint();
    (void)footprint(); /* the worker knows */
    CHECK(all_right());
    uint64_t packed = number("stats.pager.packed"), dense = number("stats.pager.dense");
    for (int i = 0; i < 20; i++)
        (void)footprint();
    CHECK(number("stats.pager.packed") == packed && number("stats.pager.dense") == dense);
}

/* An argument: there is no pager to be had. */
int main(int argc, char **argv)
{
    (void)argv;
    free(malloc(10));
    *(void **)&ctl = dlsym(RTLD_DEFAULT, "zallctl");
    CHECK(ctl != NULL);
    if (!ctl)
        return check_end();
    fill();
    int r = ctl("pager.evict", NULL, NULL, NULL, 0);
    if (r == EAGAIN && argc > 1) /* that there is no pager here has been found out without it */
        return check_end();
    CHECK(r == 0);
    uint64_t fast = footprint(), low = fast / 2;
    CHECK(number("stats.pager.dense") == 0);
    CHECK(reach(low) <= low);
    CHECK(number("stats.pager.dense") > 0);
    CHECK(all_right()); /* and all of it is warm now */
    CHECK(reach(low) <= low);
    raise_and_use();
    return check_end();
}
