/* SPDX-License-Identifier: MIT */
/*
 * preload -- the malloc family under its exported names, with glibc's contract.
 *
 * What it does: turns the names and rules of the C library into calls of alloc/. What it refuses:
 * to know anything of spans or pages; to keep state; to call any exported name, its own included.
 *
 * ---- The contract -------------------------------------------------------------------------------
 *
 * The model is glibc, because programs were tested against it:
 *   malloc(0)             a unique pointer that free takes.
 *   more than PTRDIFF_MAX NULL, ENOMEM: differences of pointers into a larger block would overflow.
 *   realloc(p, 0)         frees p, returns NULL, errno untouched; under musl as musl has it.
 *                         realloc(NULL, n) is malloc(n).
 *   realloc failing       NULL, ENOMEM; the old block is as it was.
 *   free                  keeps errno, whatever happens below.
 *   posix_memalign        returns its error, does not set errno, leaves *out alone when it fails;
 *                         the alignment must be a power of two and a multiple of sizeof(void *),
 *                         else EINVAL.
 *   memalign              rounds the alignment up to a power of two; EINVAL when there is none.
 *   aligned_alloc         the alignment must be a power of two (glibc 2.38, C17), else NULL,
 *                         EINVAL; the size need not be a multiple of it.
 *   pvalloc               rounds the size up to whole pages.
 *   malloc_usable_size    0 for NULL; every byte up to it belongs to the caller.
 *   free_sized and free_aligned_sized (C23) take a pointer from the matching function and its size.
 *
 *  I1  errno changes only when a request fails. Nothing below sets it: alloc/, pager/ and os/ use
 *      raw system calls; what calls into libc (foreign.c, start.c) puts it back.
 *  I2  Nothing here asks whether the library has started: the fast paths find empty bins and no
 *      block of ours until alloc's slow path has called za_preload_init (start.h).
 *
 * ---- The other files ----------------------------------------------------------------------------
 *
 *   preload/start.c      first use, configuration, thread exit
 *   preload/fork.c       the handlers around fork
 *   preload/foreign.c    pointers that are not ours
 *   preload/operators.c  C++ operator new and delete
 *   preload/inspect.c    mallinfo, malloc_info, malloc_stats, malloc_trim, mallopt
 *   preload/zallctl.c    zallctl
 *   preload/exit.c       statistics at exit
 *
 * ---- Which names, and why these -----------------------------------------------------------------
 *
 * All that the glibc manual asks of a replacement ("Replacing malloc"), what it does not ask for
 * but would otherwise tell of glibc's own unused heap (mallinfo and its kin), and C23's sized
 * frees.
 *
 * glibc's aliases __libc_malloc, __libc_free, __libc_calloc, __libc_realloc, __libc_memalign,
 * __libc_valloc and __libc_pvalloc are exported too, as by the other replacements (jemalloc,
 * tcmalloc and mimalloc): programs and wrappers that define a malloc of their own build it on these
 * names and mix them freely with the plain ones, which in glibc is right since they are the same
 * functions. Were they left to glibc, __libc_free of a block of ours would abort inside glibc. A
 * block that glibc's own malloc did hand out (through a handle of libc, or a library bound with
 * RTLD_DEEPBIND) is a foreign pointer and goes back to it.
 *
 * With another C library (musl) cfree and the __libc_ names are left out: there they are its own
 * business, and inside a static program its own definitions.
 *
 * reallocarray and strdup are not replaced: the manual forbids the first, and both call our realloc
 * and malloc.
 *
 * Locks: none here.  May sleep: in alloc's slow paths.
 * May fault: realloc and calloc write to blocks.  Allocates: that is its purpose.
 */
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/alloc.h"
#include "alloc/fast.h"
#include "base/stat.h"
#include "os/os.h"
#include "preload/export.h"
#include "preload/start.h"

#define MIN_ALIGN 8 /* what every block has, even of the 8-byte class */
/* realloc(p, 0): glibc's frees; musl's gives a block of no size, as malloc(0) does. */
#ifdef __GLIBC__
#define REALLOC_FREES true
#else
#define REALLOC_FREES false
#endif
/* Largest alignment that can be asked for: the largest power of two in a size_t. */
#define MAX_ALIGN (SIZE_MAX / 2 + 1)

/* C23 and libc internals, for which there are no declarations yet. */
void free_sized(void *p, size_t size);
void free_aligned_sized(void *p, size_t align, size_t size);
#ifdef __GLIBC__
void cfree(void *p);
void *__libc_malloc(size_t size);
void __libc_free(void *p);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t align, size_t size);
void *__libc_valloc(size_t size);
void *__libc_pvalloc(size_t size);
#else
void *pvalloc(size_t size);
#endif

static ZA_COLD void *fail(int err)
{
    errno = err;
    return NULL;
}

ZA_INLINE void *checked(void *p)
{
    return ZA_LIKELY(p != NULL) ? p : fail(ENOMEM);
}

static ZA_NOINLINE void *malloc_rest(size_t size)
{
    return checked(za_malloc(size));
}

static ZA_NOINLINE void *malloc_large(size_t size)
{
    void *p = za_fast_large_malloc(size);
    return ZA_LIKELY(p != NULL) ? p : malloc_rest(size);
}

ZA_EXPORT void *malloc(size_t size)
{
    if (ZA_UNLIKELY(size > ZA_CLASS_MAX_SIZE))
        return malloc_large(size);
    void *p = za_fast_malloc(size);
    return ZA_LIKELY(p != NULL) ? p : malloc_rest(size);
}

ZA_INLINE void give_back(void *p)
{
    if (ZA_UNLIKELY(!za_fast_free(p)))
        za_free_rest(p);
}

ZA_EXPORT void free(void *p)
{
    give_back(p);
}

static ZA_NOINLINE void *calloc_rest(size_t n, size_t size)
{
    return checked(za_calloc(n, size));
}

ZA_EXPORT void *calloc(size_t n, size_t size)
{
    size_t bytes;
    if (ZA_UNLIKELY(__builtin_mul_overflow(n, size, &bytes) || bytes > ZA_CLASS_LUT_SIZE))
        return calloc_rest(n, size);
    void *p = za_fast_malloc(bytes);
    return ZA_LIKELY(p != NULL) ? memset(p, 0, bytes) : calloc_rest(n, size);
}

ZA_EXPORT void *realloc(void *p, size_t size)
{
    if (p && size == 0 && REALLOC_FREES) {
        give_back(p);
        return NULL;
    }
    return checked(za_realloc(p, size));
}

/* `align` is a power of two. */
ZA_INLINE void *aligned(size_t align, size_t size)
{
    if (align <= MIN_ALIGN)
        return za_malloc(size);
    if (ZA_LIKELY(align <= ZA_CLASS_MAX_SIZE && size <= ZA_CLASS_MAX_SIZE)) {
        void *p = za_fast_take(za_class_of_aligned(align, size));
        if (ZA_LIKELY(p != NULL))
            return p;
    }
    /* Leave room for the alignment, so that no sum below can overflow. */
    if (size > ZA_MALLOC_MAX || align > ZA_MALLOC_MAX - size) {
        za_stat_add(ZA_STAT_NOMEM, 1);
        return NULL;
    }
    return za_memalign(align, size);
}

static size_t next_pow2(size_t n)
{
    return n <= 1 ? 1 : (size_t)1 << (64 - __builtin_clzl(n - 1));
}

ZA_EXPORT void *memalign(size_t align, size_t size)
{
    if (align > MAX_ALIGN)
        return fail(EINVAL);
    return checked(aligned(next_pow2(align), size));
}

ZA_EXPORT void *aligned_alloc(size_t align, size_t size)
{
    if (!za_is_pow2(align))
        return fail(EINVAL);
    return checked(aligned(align, size));
}

ZA_EXPORT int posix_memalign(void **out, size_t align, size_t size)
{
    if (!za_is_pow2(align) || align % sizeof(void *) != 0)
        return EINVAL;
    void *p = aligned(align, size);
    if (!p)
        return ENOMEM;
    *out = p;
    return 0;
}

ZA_EXPORT void *valloc(size_t size)
{
    za_preload_init(); /* for the page size */
    return checked(aligned(za_os->page_size, size));
}

ZA_EXPORT void *pvalloc(size_t size)
{
    za_preload_init();
    size_t page = za_os->page_size;
    if (size > ZA_MALLOC_MAX)
        return fail(ENOMEM);
    return checked(aligned(page, za_align_up(size, page)));
}

ZA_EXPORT size_t malloc_usable_size(void *p)
{
    return za_usable(p);
}

/* The class is looked up all the same: that is what finds misuse. */
ZA_EXPORT void free_sized(void *p, size_t size)
{
    (void)size;
    give_back(p);
}

ZA_EXPORT void free_aligned_sized(void *p, size_t align, size_t size)
{
    (void)align;
    (void)size;
    give_back(p);
}

#ifdef __GLIBC__
ZA_EXPORT_ALIAS(free) void cfree(void *p);
ZA_EXPORT_ALIAS(malloc) void *__libc_malloc(size_t size);
ZA_EXPORT_ALIAS(free) void __libc_free(void *p);
ZA_EXPORT_ALIAS(calloc) void *__libc_calloc(size_t n, size_t size);
ZA_EXPORT_ALIAS(realloc) void *__libc_realloc(void *p, size_t size);
ZA_EXPORT_ALIAS(memalign) void *__libc_memalign(size_t align, size_t size);
ZA_EXPORT_ALIAS(valloc) void *__libc_valloc(size_t size);
ZA_EXPORT_ALIAS(pvalloc) void *__libc_pvalloc(size_t size);
#endif
