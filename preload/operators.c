/* SPDX-License-Identifier: MIT */
/*
 * operators -- every replaceable C++ operator new and delete, by mangled name.
 *
 * Without these, C++ programs would still reach us through libstdc++'s operators, at the price of
 * one more call and without the size that sized delete knows.
 *
 * A program may replace only the plain forms; the standard then sends the array, sized and nothrow
 * forms through its own. Ours must do so too, although they come first: a derived form asks whether
 * the plain form that the program sees is ours (one load and compare), and otherwise calls the
 * program's.
 *
 * A failing new calls the new-handler until it throws, ends or makes room, and without a handler
 * throws std::bad_alloc. Both belong to the C++ library, of which we know nothing until that
 * moment: linked in, its functions are weak references; loaded later, they are looked up in the
 * library by name.
 *
 * Compiled with -fexceptions: a handler's exception passes through these frames.
 *
 * Locks: none; the dynamic linker's when a new fails.  May sleep: as malloc.  Allocates: as malloc.
 */
#define _GNU_SOURCE /* RTLD_NEXT */
#include <dlfcn.h>

#include "alloc/alloc.h"
#include "alloc/fast.h"
#include "preload/export.h"

#pragma weak dlopen
#pragma weak dlsym

#if __SIZEOF_SIZE_T__ != 8
#error "zalloc: operators.c: the mangled names below spell size_t as unsigned long"
#endif

/*
 * Weak, as in the C++ library: a program linked with libzalloc.a may define its own, which the
 * linker then takes instead of these. To the dynamic linker it makes no difference.
 */
#define OPERATOR ZA_EXPORT __attribute__((weak))

typedef void handler_fn(void);
typedef handler_fn *get_handler_fn(void);
typedef void throw_fn(void);
struct nothrow; /* const std::nothrow_t & */

/* std::get_new_handler() and std::__throw_bad_alloc(). */
extern handler_fn *_ZSt15get_new_handlerv(void) __attribute__((weak));
extern void _ZSt17__throw_bad_allocv(void) __attribute__((weak));

/* Plain forms: what a program replaces. */
void *_Znwm(size_t n);
void *_ZnwmSt11align_val_t(size_t n, size_t align);
void _ZdlPv(void *p);
void _ZdlPvSt11align_val_t(void *p, size_t align);
/* Derived forms. */
void *_Znam(size_t n);
void *_ZnamSt11align_val_t(size_t n, size_t align);
void *_ZnwmRKSt9nothrow_t(size_t n, const struct nothrow *tag);
void *_ZnamRKSt9nothrow_t(size_t n, const struct nothrow *tag);
void *_ZnwmSt11align_val_tRKSt9nothrow_t(size_t n, size_t align, const struct nothrow *tag);
void *_ZnamSt11align_val_tRKSt9nothrow_t(size_t n, size_t align, const struct nothrow *tag);
void _ZdaPv(void *p);
void _ZdlPvm(void *p, size_t n);
void _ZdaPvm(void *p, size_t n);
void _ZdaPvSt11align_val_t(void *p, size_t align);
void _ZdlPvmSt11align_val_t(void *p, size_t n, size_t align);
void _ZdaPvmSt11align_val_t(void *p, size_t n, size_t align);
void _ZdlPvRKSt9nothrow_t(void *p, const struct nothrow *tag);
void _ZdaPvRKSt9nothrow_t(void *p, const struct nothrow *tag);
void _ZdlPvSt11align_val_tRKSt9nothrow_t(void *p, size_t align, const struct nothrow *tag);
void _ZdaPvSt11align_val_tRKSt9nothrow_t(void *p, size_t align, const struct nothrow *tag);

/* ---- failing --------------------------------------------------------------------------------- */

static void *in_cxx_library(const char *name)
{
    static const char *const libraries[] = {"libstdc++.so.6", "libc++abi.so.1", "libc++.so.1"};
    if (!dlopen || !dlsym)
        return NULL;
    for (size_t i = 0; i < ZA_ARRAY_LEN(libraries); i++) {
        void *lib = dlopen(libraries[i], RTLD_NOLOAD | RTLD_LAZY);
        void *f = lib ? dlsym(lib, name) : NULL;
        if (f)
            return f; /* the handle is kept: the function is about to be called */
    }
    return NULL;
}

static handler_fn *new_handler(void)
{
    get_handler_fn *get = _ZSt15get_new_handlerv;
    if (!get)
        *(void **)&get = in_cxx_library("_ZSt15get_new_handlerv");
    return get ? get() : NULL;
}

static _Noreturn void throw_bad_alloc(void)
{
    throw_fn *throw = _ZSt17__throw_bad_allocv;
    if (!throw)
        *(void **)&throw = in_cxx_library("_ZSt17__throw_bad_allocv");
    if (throw)
        throw();
    za_fatal("operator new: out of memory, and no C++ library is loaded to throw std::bad_alloc");
}

ZA_INLINE void *obtain(size_t n, size_t align)
{
    if (align <= 16)
        return za_malloc(n);
    if (!za_is_pow2(align) || n > ZA_MALLOC_MAX || align > ZA_MALLOC_MAX - n)
        return NULL;
    return za_memalign(align, n);
}

/* Asks the handler to make room, again and again; NULL when there is none. */
static ZA_COLD void *insist(size_t n, size_t align)
{
    for (;;) {
        handler_fn *handler = new_handler();
        if (!handler)
            return NULL;
        handler();
        void *p = obtain(n, align);
        if (p)
            return p;
    }
}

static ZA_COLD void *insist_or_throw(size_t n, size_t align)
{
    void *p = insist(n, align);
    if (!p)
        throw_bad_alloc();
    return p;
}

ZA_INLINE void *new_plain(size_t n, size_t align)
{
    void *p = obtain(n, align);
    return ZA_LIKELY(p != NULL) ? p : insist_or_throw(n, align);
}

static ZA_NOINLINE void *new_rest(size_t n)
{
    return new_plain(n, 0);
}

ZA_INLINE void *new_small(size_t n)
{
    void *p = za_fast_malloc(n);
    return ZA_LIKELY(p != NULL) ? p : new_rest(n);
}

ZA_INLINE void delete_plain(void *p)
{
    if (ZA_UNLIKELY(!za_fast_free(p)))
        za_free_rest(p);
}

/* ---- plain forms ----------------------------------------------------------------------------- */

static void *own_new(size_t n)
{
    return new_small(n);
}

static void *own_new_aligned(size_t n, size_t align)
{
    return new_plain(n, align);
}

static void own_delete(void *p)
{
    delete_plain(p);
}

static void own_delete_aligned(void *p, size_t align)
{
    (void)align;
    delete_plain(p);
}

OPERATOR __attribute__((alias("own_new"))) void *_Znwm(size_t n);
OPERATOR __attribute__((alias("own_new_aligned"))) void *_ZnwmSt11align_val_t(size_t n,
                                                                              size_t align);
OPERATOR __attribute__((alias("own_delete"))) void _ZdlPv(void *p);
OPERATOR __attribute__((alias("own_delete_aligned"))) void _ZdlPvSt11align_val_t(void *p,
                                                                                 size_t align);

/* ---- derived forms --------------------------------------------------------------------------- */

/*
 * The plain forms as the program sees them: filled in by the dynamic linker. Volatile, since a
 * compiler takes it that a name defined here means the definition here.
 */
static void *(*volatile seen_new)(size_t) = _Znwm;
static void *(*volatile seen_new_aligned)(size_t, size_t) = _ZnwmSt11align_val_t;
static void (*volatile seen_delete)(void *) = _ZdlPv;
static void (*volatile seen_delete_aligned)(void *, size_t) = _ZdlPvSt11align_val_t;

OPERATOR void *_Znam(size_t n)
{
    return ZA_LIKELY(seen_new == own_new) ? new_small(n) : seen_new(n);
}

OPERATOR void *_ZnamSt11align_val_t(size_t n, size_t align)
{
    if (ZA_LIKELY(seen_new_aligned == own_new_aligned))
        return new_plain(n, align);
    return seen_new_aligned(n, align);
}

/*
 * The nothrow forms, in two cases on to the C++ library's own, which calls plain new and catches
 * what comes out of it: the program has replaced plain new, or there is a handler, which may throw.
 * C cannot catch. Without a C++ library to hand on to, an exception out of here ends in
 * std::terminate.
 */
static ZA_COLD void *nothrow_on(const char *name, size_t n, const struct nothrow *tag)
{
    void *(*next)(size_t, const struct nothrow *) = NULL;
    if (dlsym)
        *(void **)&next = dlsym(RTLD_NEXT, name);
    return next ? next(n, tag) : seen_new(n);
}

static ZA_COLD void *nothrow_aligned_on(const char *name, size_t n, size_t align,
                                        const struct nothrow *tag)
{
    void *(*next)(size_t, size_t, const struct nothrow *) = NULL;
    if (dlsym)
        *(void **)&next = dlsym(RTLD_NEXT, name);
    return next ? next(n, align, tag) : seen_new_aligned(n, align);
}

ZA_INLINE void *nothrow_plain(const char *name, size_t n, const struct nothrow *tag)
{
    if (ZA_UNLIKELY(seen_new != own_new))
        return nothrow_on(name, n, tag);
    void *p = obtain(n, 0);
    return ZA_LIKELY(p || !new_handler()) ? p : nothrow_on(name, n, tag);
}

ZA_INLINE void *nothrow_aligned(const char *name, size_t n, size_t align, const struct nothrow *tag)
{
    if (ZA_UNLIKELY(seen_new_aligned != own_new_aligned))
        return nothrow_aligned_on(name, n, align, tag);
    void *p = obtain(n, align);
    return ZA_LIKELY(p || !new_handler()) ? p : nothrow_aligned_on(name, n, align, tag);
}

OPERATOR void *_ZnwmRKSt9nothrow_t(size_t n, const struct nothrow *tag)
{
    return nothrow_plain("_ZnwmRKSt9nothrow_t", n, tag);
}

OPERATOR void *_ZnamRKSt9nothrow_t(size_t n, const struct nothrow *tag)
{
    return nothrow_plain("_ZnamRKSt9nothrow_t", n, tag);
}

OPERATOR void *_ZnwmSt11align_val_tRKSt9nothrow_t(size_t n, size_t align, const struct nothrow *tag)
{
    return nothrow_aligned("_ZnwmSt11align_val_tRKSt9nothrow_t", n, align, tag);
}

OPERATOR void *_ZnamSt11align_val_tRKSt9nothrow_t(size_t n, size_t align, const struct nothrow *tag)
{
    return nothrow_aligned("_ZnamSt11align_val_tRKSt9nothrow_t", n, align, tag);
}

ZA_INLINE void delete_any(void *p)
{
    if (ZA_LIKELY(seen_delete == own_delete))
        delete_plain(p);
    else
        seen_delete(p);
}

ZA_INLINE void delete_aligned(void *p, size_t align)
{
    if (ZA_LIKELY(seen_delete_aligned == own_delete_aligned))
        delete_plain(p);
    else
        seen_delete_aligned(p, align);
}

OPERATOR void _ZdaPv(void *p)
{
    delete_any(p);
}

OPERATOR void _ZdlPvm(void *p, size_t n)
{
    (void)n;
    delete_any(p);
}

OPERATOR void _ZdaPvm(void *p, size_t n)
{
    (void)n;
    delete_any(p);
}

OPERATOR void _ZdaPvSt11align_val_t(void *p, size_t align)
{
    delete_aligned(p, align);
}

OPERATOR void _ZdlPvmSt11align_val_t(void *p, size_t n, size_t align)
{
    (void)n;
    delete_aligned(p, align);
}

OPERATOR void _ZdaPvmSt11align_val_t(void *p, size_t n, size_t align)
{
    (void)n;
    delete_aligned(p, align);
}

OPERATOR void _ZdlPvRKSt9nothrow_t(void *p, const struct nothrow *tag)
{
    (void)tag;
    delete_any(p);
}

OPERATOR void _ZdaPvRKSt9nothrow_t(void *p, const struct nothrow *tag)
{
    (void)tag;
    delete_any(p);
}

OPERATOR void _ZdlPvSt11align_val_tRKSt9nothrow_t(void *p, size_t align, const struct nothrow *tag)
{
    (void)tag;
    delete_aligned(p, align);
}

OPERATOR void _ZdaPvSt11align_val_tRKSt9nothrow_t(void *p, size_t align, const struct nothrow *tag)
{
    (void)tag;
    delete_aligned(p, align);
}
