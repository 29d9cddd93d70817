/* SPDX-License-Identifier: MIT */
/*
 * base -- the words every layer uses: attributes, small arithmetic, assertions, fatal ends.
 *
 * Locks: none.  May sleep: no.  May fault: no.  Allocates: nothing.
 */
#ifndef ZA_BASE_BASE_H
#define ZA_BASE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ZA_LIKELY(x) __builtin_expect(!!(x), 1)
#define ZA_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define ZA_INLINE static inline __attribute__((always_inline))
#define ZA_NOINLINE __attribute__((noinline))
#define ZA_COLD __attribute__((cold, noinline))
#define ZA_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define ZA_CONTAINER_OF(p, type, member) ((type *)((char *)(p)-offsetof(type, member)))
#define ZA_CACHELINE 64

#define ZA_KIB ((size_t)1 << 10)
#define ZA_MIB ((size_t)1 << 20)
#define ZA_GIB ((size_t)1 << 30)
#define ZA_NS_PER_MS 1000000ull
#define ZA_NS_PER_S 1000000000ull

/* Heap geometry.  A unit is the grain of the class map, a chunk the grain of registration. */
#define ZA_UNIT_SHIFT 16
#define ZA_UNIT_SIZE ((size_t)1 << ZA_UNIT_SHIFT)
#define ZA_CHUNK_SHIFT 23
#define ZA_CHUNK_SIZE ((size_t)1 << ZA_CHUNK_SHIFT)
#define ZA_UNITS_PER_CHUNK (ZA_CHUNK_SIZE >> ZA_UNIT_SHIFT)

ZA_INLINE size_t za_align_up(size_t x, size_t a)
{
    return (x + a - 1) & ~(a - 1);
}

ZA_INLINE size_t za_align_down(size_t x, size_t a)
{
    return x & ~(a - 1);
}

ZA_INLINE bool za_is_pow2(size_t x)
{
    return x && !(x & (x - 1));
}

ZA_INLINE size_t za_min(size_t a, size_t b)
{
    return a < b ? a : b;
}

ZA_INLINE size_t za_max(size_t a, size_t b)
{
    return a > b ? a : b;
}

/*
 * Fatal ends.  Each prints one line, "zalloc: <text>\n", to the program's standard error and
 * aborts; no lock, no allocation, callable on every thread.  `text` is a literal: what, where, what
 * to do.
 */
_Noreturn void za_fatal(const char *text);
/* The same with an address: za_fatal_ptr("free", p, "bad") prints "zalloc: free(0x...): bad". */
_Noreturn void za_fatal_ptr(const char *what, const void *p, const char *text);
_Noreturn void za_assert_fail(const char *expr, const char *file, int line);

/* How a fatal line leaves the process: set by os at init (write to the program's fd 2; end). */
struct za_fatal_ops {
    void (*write_err)(const char *s, size_t len);
    void (*abort)(void); /* does not return */
};
void za_fatal_set_ops(const struct za_fatal_ops *ops);

/* Three levels: always; ZA_DEBUG builds; ZA_PARANOID builds (whole-structure walkers). */
#define ZA_ASSERT(e) (ZA_LIKELY(e) ? (void)0 : za_assert_fail(#e, __FILE__, __LINE__))
#ifdef ZA_DEBUG
#define ZA_DASSERT(e) ZA_ASSERT(e)
#else
#define ZA_DASSERT(e) ((void)sizeof(e))
#endif
#ifdef ZA_PARANOID
#define ZA_PASSERT(e) ZA_ASSERT(e)
#else
#define ZA_PASSERT(e) ((void)sizeof(e))
#endif

#endif
