/* SPDX-License-Identifier: MIT */
/*
 * alloc_kit -- what the allocator's tests share: a start with a small heap, random numbers,
 * cookies.
 */
#ifndef ZA_TESTS_UNIT_ALLOC_KIT_H
#define ZA_TESTS_UNIT_ALLOC_KIT_H

#include <unistd.h>

#include "alloc/alloc.h"
#include "base/conf.h"
#include "os/os.h"
#include "tests/fake/wide.h"
#include "tests/unit/unit.h"

/* Tests built with ZA_TEST_PAGE run on pages of that size, if the machine's are not larger. */
#ifdef ZA_TEST_PAGE
#define KIT_PAGE ((size_t)ZA_TEST_PAGE)
#else
#define KIT_PAGE ((size_t)4096)
#endif

static inline void kit_os(void)
{
    za_os_init();
    wide_start(KIT_PAGE);
    if (za_os->page_size != KIT_PAGE)
        UNIT_SKIP("this machine's pages are larger than the test's");
}

/* Sanitizers leave no room for a big reservation. No background work: the tests see every state at
 * rest. */
static inline void kit_start(void)
{
    kit_os();
    za_conf.compress = false;
    za_conf.reserve = 4 * ZA_GIB;
    CHECK(za_alloc_init(za_conf.reserve));
}

struct kit_random {
    uint64_t s;
};

static inline uint64_t kit_next(struct kit_random *r)
{
    r->s ^= r->s << 13;
    r->s ^= r->s >> 7;
    r->s ^= r->s << 17;
    return r->s;
}

/* --- fatal ends: the address in the line varies, the rest must be exact -- */

static const char *kit_fatal_text;
static char kit_fatal_line[256];

static inline void kit_hear(const char *s, size_t len)
{
    size_t have = strlen(kit_fatal_line);
    memcpy(kit_fatal_line + have, s, za_min(len, sizeof(kit_fatal_line) - 1 - have));
}

static inline void kit_end(void)
{
    const char *text = strstr(kit_fatal_line, "): ");
    CHECK(strncmp(kit_fatal_line, "zalloc: free(0x", 15) == 0 && text);
    CHECK_STR(text + 3, kit_fatal_text);
    _exit(0);
}

/* From here on the process must end with this text; what follows calls kit_survived last. */
static inline void kit_must_die(const char *text)
{
    static const struct za_fatal_ops ops = {kit_hear, kit_end};
    kit_fatal_text = text;
    za_fatal_set_ops(&ops);
}

#define KIT_SURVIVED() CHECK(!"the misuse was not noticed")

#define KIT_DOUBLE "double free: the block was freed before\n"
#define KIT_INTERIOR "invalid pointer: inside a block, not at its start\n"
#define KIT_NOTHING "invalid pointer: no block lives here (freed before, or never allocated)\n"

/* Mostly small, some medium, a few large. */
static inline size_t kit_size(struct kit_random *r)
{
    uint64_t dice = kit_next(r) % 100;
    if (dice < 85)
        return kit_next(r) % 1200;
    return dice < 98 ? kit_next(r) % 50000 : kit_next(r) % 1500000;
}

static inline bool kit_zero(const void *p, size_t size)
{
    const char *b = p;
    return !size || (b[0] == 0 && memcmp(b, b + 1, size - 1) == 0);
}

/* The first and the last bytes of a block name it. */
#define KIT_COOKIE 32u

static inline void kit_sign(void *p, size_t size, unsigned char cookie)
{
    size_t n = za_min(size, KIT_COOKIE);
    memset(p, cookie, n);
    memset((char *)p + size - n, cookie, n);
}

static inline bool kit_signed(const void *p, size_t size, unsigned char cookie)
{
    const unsigned char *b = p;
    for (size_t i = 0; i < za_min(size, KIT_COOKIE); i++)
        if (b[i] != cookie || b[size - 1 - i] != cookie)
            return false;
    return true;
}

#endif
