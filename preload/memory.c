/* SPDX-License-Identifier: MIT */
/*
 * memory -- what the program does to heap memory by system calls of its own (D7).
 *
 * A stored or limbo page is not where such a call looks for it. Most calls need nothing of us: the
 * kernel populates what it locks, through the fault thread, and refuses to move away what is
 * locked, protected or keyed otherwise than the mirror. Interposed are those of which that is not
 * enough:
 *
 *   madvise    DONTNEED, DONTNEED_LOCKED, FREE, GUARD_INSTALL: what is stored is dropped as well.
 *              WIPEONFORK, DONTDUMP: the blobs would reach the child or the dump, so the pages come
 *              back and stay, until KEEPONFORK, DODUMP.  DONTFORK marks for ever: a child
 *              has other memory there (holes.h).  GUARD_INSTALL marks for
 *              ever: the fault thread fills runs of fresh pages, which would remove a guard.
 *   mprotect, pkey_mprotect, mlock2(MLOCK_ONFAULT)   the pages come back first: later nobody could
 *              bring them to memory that may not be touched, and on-fault locking would lock none.
 *   mlock, mlock2   under remap also hold a pin for as long as they last: remap asks what is locked,
 *              and nothing may become so between its question and what it does (pager/remap.c).
 *              pkey_mprotect with a key pins for good there: nobody can be asked about keys.
 *   mlockall   everything comes back and stays; the mirror, which is no memory of the program's, is
 *              closed before and unlocked afterwards.
 *   munmap     the addresses are the allocator's and never become anybody else's: the range is
 *              emptied and loses its protection, locks and marks, but stays mapped. Where glibc's
 *              malloc would leave a hole to die in, zeros are read.
 *   mremap     takes the pages away and leaves an empty range behind, for the same reason.
 *   mmap       with MAP_FIXED over heap memory, and mremap to it: that mapping is left alone for
 *              ever.  Under `mmap:true` private anonymous memory comes from the heap, and what is
 *              unmapped whole goes back there (mapped.h).
 *
 * posix_madvise is not here: both C libraries make its DONTNEED do nothing. Nor is munlock, mbind (moves only what is present; restored pages are placed by the
 * mapping's policy). The same calls by syscall(2), process_madvise, or from a library that carries
 * system calls of its own are not seen.
 *
 * I1  A range outside the heap costs one comparison, and the call is the C library's own: glibc's are
 *     bare system calls, so these are, too; musl's do more and are called.
 * I2  The kernel's verdict comes first where contents are dropped: what it has left alone when it
 *     fails we leave alone.
 * I3  errno is set as libc sets it; none of these is a cancellation point, here or there.
 * I4  Each is safe in signal handlers, but for mlockall: whatever it has interrupted, it waits for no
 *     lock and no request there (pager/amid.c); what the heap would serve, the kernel does.
 *
 * Locks: none, but for mappings that the heap serves those of alloc.  May sleep: on the worker.
 * May fault: in mremap of such a one, which copies.  Allocates: such mappings.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>

#include "base/remedy.h"
#include "os/os.h"
#include "os/sys.h"
#include "pager/pager.h"
#include "preload/carry.h"
#include "preload/export.h"
#include "preload/holes.h"
#include "preload/mapped.h"

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#define MADV_KEEPONFORK 19
#endif
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif
#define GUARD_INSTALL 102
#define POPULATE_READ 22
#define POPULATE_WRITE 23
#define COLLAPSE 25
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif
#ifndef MCL_ONFAULT
#define MCL_ONFAULT 4
#endif
#ifndef MLOCK_ONFAULT
#define MLOCK_ONFAULT 1u
#endif
#define READ_WRITE (PROT_READ | PROT_WRITE)

/* The C library's own functions, where they are more than a system call; NULL: they are not. */
struct libc_calls {
    void *(*mmap)(void *p, size_t len, int prot, int flags, int fd, off_t offset);
    int (*munmap)(void *p, size_t len);
    void *(*mremap)(void *p, size_t old_len, size_t len, int flags, ...);
    int (*mprotect)(void *p, size_t len, int prot);
};

#ifdef __GLIBC__

static const struct libc_calls libc;

#else

/*
 * musl's mprotect takes addresses within a page, and what ends a mapping there waits for threads
 * that are just leaving a process-shared lock.
 */
static struct libc_calls libc; /* written once, before the program has threads */

#pragma weak dlsym /* a static program has none, and only the system calls */

__attribute__((constructor(101))) static void find_libc(void)
{
    if (!dlsym)
        return;
    *(void **)&libc.mmap = dlsym(RTLD_NEXT, "mmap");
    *(void **)&libc.munmap = dlsym(RTLD_NEXT, "munmap");
    *(void **)&libc.mremap = dlsym(RTLD_NEXT, "mremap");
    *(void **)&libc.mprotect = dlsym(RTLD_NEXT, "mprotect");
}

int pkey_mprotect(void *p, size_t len, int prot, int key);
int mlock2(const void *p, size_t len, unsigned flags);

#endif

/* For calls that return 0 or an address. */
static long result(long r)
{
    if ((unsigned long)r <= -4096ul)
        return r;
    errno = (int)-r;
    return -1;
}

static bool pin(const struct za_range *r, enum za_pin why)
{
    return za_pager_pin(r->addr, r->len, why) == 0;
}

static void unpin(const struct za_range *r, enum za_pin why)
{
    za_pager_unpin(r->addr, r->len, why);
}

/* ---- madvise ------------------------------------------------------------------------------------
 */

/*
 * How far has a call come that was refused?  The kernel goes from mapping to mapping, up to the first that it
 * refuses, one that is locked: so it is asked again for less and less.  Twice empty is as empty as once.
 */
static size_t advised_before(uintptr_t p, size_t len, int advice)
{
    size_t page = za_os->page_size, done = 0;
    for (size_t step = ZA_UNIT_SIZE; step; step = step > page ? page : 0)
        while (done < len) {
            size_t some = za_min(step, len - done);
            if (za_sys3(SYS_madvise, p + done, some, advice) < 0)
                break;
            done += some;
        }
    return done;
}

/* How much of r has been emptied by a call on (p, len) of which the kernel has said rc. */
static size_t emptied(const void *p, size_t len, const struct za_range *r, int advice, long rc)
{
    uintptr_t from = (uintptr_t)p;
    if (rc == 0 ||
        rc == -ENOMEM) /* nothing is mapped behind the heap, and the kernel has gone on */
        return r->len;
    if (rc != -EINVAL || from % za_os->page_size || len > UINTPTR_MAX - from - za_os->page_size ||
        (from < r->addr && za_sys3(SYS_madvise, from, r->addr - from, advice) == -EINVAL))
        return 0;
    return advised_before(r->addr, r->len, advice);
}

static void empty_too(uintptr_t p, size_t len)
{
    if (za_pager_discard_soon(p, len) == -EBUSY)
        (void)za_pager_discard(p, len); /* waits for the fork that is in the way */
}

/* Live objects stay live: this is about their contents alone. */
static long advise_empty(void *p, size_t len, int advice)
{
    struct za_range r = za_in_heap(p, len);
    long rc = za_sys3(SYS_madvise, p, len, advice);
    r.len = emptied(p, len, &r, advice, rc);
    if (r.len && !za_without(D7_EMPTY)) {
        empty_too(r.addr, r.len);
        if (advice == GUARD_INSTALL && !za_without(D7_GUARD))
            (void)pin(&r, ZA_PIN_FOREIGN);
    }
    return rc;
}

static long advise_keep(void *p, size_t len, int advice, enum za_pin why)
{
    const struct za_range r = za_in_heap(p, len);
    bool off = why == ZA_PIN_WIPE ? za_without(D7_WIPE) : za_without(D7_DUMP);
    bool pinned = !off && pin(&r, why);
    long rc = za_sys3(SYS_madvise, p, len, advice);
    if (rc < 0 && pinned)
        unpin(&r, why);
    return rc;
}

static long advise_release(void *p, size_t len, int advice, enum za_pin why)
{
    const struct za_range r = za_in_heap(p, len);
    long rc = za_sys3(SYS_madvise, p, len, advice);
    if (rc == 0)
        unpin(&r, why);
    return rc;
}

/* Also when it is over: children that lack it may live on. */
static long advise_no_fork(void *p, size_t len)
{
    const struct za_range r = za_in_heap(p, len);
    za_holes_expect();
    if (!za_without(D7_HOLE))
        (void)pin(&r, ZA_PIN_FOREIGN);
    return za_sys3(SYS_madvise, p, len, MADV_DONTFORK);
}

/* Is it over when the pages are? */
static bool leaves_no_trace(int advice)
{
    switch (advice) {
    case MADV_DONTNEED:
    case MADV_DONTNEED_LOCKED:
    case MADV_FREE:
    case MADV_WILLNEED:
    case MADV_COLD:
    case MADV_PAGEOUT:
    case POPULATE_READ:
    case POPULATE_WRITE:
    case COLLAPSE: return true;
    default: return false;
    }
}

static long advise_heap(void *p, size_t len, int advice)
{
    if (!leaves_no_trace(advice))
        za_mapped_touch(p, len);
    switch (advice) {
    case MADV_DONTNEED:
    case MADV_DONTNEED_LOCKED:
    case MADV_FREE:
    case GUARD_INSTALL: return advise_empty(p, len, advice);
    case MADV_WIPEONFORK: return advise_keep(p, len, advice, ZA_PIN_WIPE);
    case MADV_KEEPONFORK: return advise_release(p, len, advice, ZA_PIN_WIPE);
    case MADV_DONTDUMP: return advise_keep(p, len, advice, ZA_PIN_DUMP);
    case MADV_DONTFORK: return advise_no_fork(p, len);
    case MADV_DODUMP: return advise_release(p, len, advice, ZA_PIN_DUMP);
    default: return za_sys3(SYS_madvise, p, len, advice);
    }
}

ZA_EXPORT int madvise(void *p, size_t len, int advice)
{
    if (ZA_LIKELY(!za_touches_heap(p, len)))
        return (int)result(za_sys3(SYS_madvise, p, len, advice));
    return (int)result(advise_heap(p, len, advice));
}

/* ---- protection and locks -----------------------------------------------------------------------
 */

/* A system call on (p, len) before which everything comes back; `arg`s follow the length. */
static long call_resident(long nr, void *p, size_t len, long arg, long arg2)
{
    const struct za_range r = za_in_heap(p, len);
    bool pinned = pin(&r, ZA_PIN_CALL);
    long rc = za_sys4(nr, p, len, arg, arg2);
    if (pinned)
        unpin(&r, ZA_PIN_CALL);
    return rc;
}

ZA_EXPORT int mprotect(void *p, size_t len, int prot)
{
    size_t within = libc.mprotect ? (uintptr_t)p % za_os->page_size : 0;
    if (ZA_UNLIKELY(prot != READ_WRITE && za_touches_heap(p, len)) && !za_without(D7_PROTECT)) {
        za_mapped_touch(p, len);
        return (int)result(call_resident(SYS_mprotect, (char *)p - within, len + within, prot, 0));
    }
    if (libc.mprotect)
        return libc.mprotect(p, len, prot);
    return (int)result(za_sys3(SYS_mprotect, p, len, prot));
}

ZA_EXPORT int pkey_mprotect(void *p, size_t len, int prot, int key)
{
    if (key == -1)
        return mprotect(p, len, prot);
    za_mapped_touch(p, len);
    if (ZA_LIKELY(!za_touches_heap(p, len)) || za_without(D7_KEY))
        return (int)result(za_sys4(SYS_pkey_mprotect, p, len, prot, key));
    if (key != 0 && za_pager_remaps()) {
        const struct za_range r = za_in_heap(p, len);
        (void)pin(&r, ZA_PIN_FOREIGN);
    }
    return (int)result(call_resident(SYS_pkey_mprotect, p, len, prot, key));
}

ZA_EXPORT int mlock(const void *p, size_t len)
{
    za_mapped_touch(p, len);
    if (!za_touches_heap(p, len) || !za_pager_remaps())
        return (int)result(za_sys2(SYS_mlock, p, len));
    return (int)result(call_resident(SYS_mlock, (void *)p, len, 0, 0));
}

ZA_EXPORT int mlock2(const void *p, size_t len, unsigned flags)
{
    za_mapped_touch(p, len);
    bool wants = ((flags & MLOCK_ONFAULT) && !za_without(D6_ON_FAULT)) || za_pager_remaps();
    if (!za_touches_heap(p, len) || !wants)
        return (int)result(za_sys3(SYS_mlock2, p, len, flags));
    return (int)result(call_resident(SYS_mlock2, (void *)p, len, flags, 0));
}

/*
 * The part of the heap that is not in use yet, but that will be, is to the kernel what is mapped now, and to
 * the program what it maps later.
 */
static void lock_unused(int flags)
{
    size_t used = za_space_used();
    if (za_heap_size <= used || za_without(D6_FUTURE))
        return;
    if (flags & MCL_FUTURE)
        (void)za_sys3(SYS_mlock2, za_heap_base + used, za_heap_size - used,
                      flags & MCL_ONFAULT ? MLOCK_ONFAULT : 0);
    else
        (void)za_sys2(SYS_munlock, za_heap_base + used, za_heap_size - used);
}

/* The mirror is ours. */
static void put_locks_right(int flags)
{
    size_t len;
    za_mapped_lock_future((flags & MCL_FUTURE) != 0);
    uintptr_t mirror = za_pager_mirror(&len);
    if (mirror)
        (void)za_sys2(SYS_munlock, mirror, len);
    lock_unused(flags);
}

ZA_EXPORT int mlockall(int flags)
{
    if (!za_without(D6_MLOCKALL))
        za_pager_keep_begin();
    long rc = za_sys1(SYS_mlockall, flags);
    if (rc == 0)
        put_locks_right(flags);
    else
        za_pager_keep_end();
    return (int)result(rc);
}

ZA_EXPORT int munlockall(void)
{
    long rc = za_sys0(SYS_munlockall);
    za_mapped_lock_future(false);
    if (rc == 0)
        za_pager_keep_end();
    return (int)result(rc);
}

/* ---- mappings -----------------------------------------------------------------------------------
 */

static bool page_aligned(uintptr_t a)
{
    return a % za_os->page_size == 0;
}

/* As fresh as the allocator made it. -EPERM: it is sealed (mseal), and stays as it is. */
static long make_fresh(const struct za_range *r)
{
    if (za_sys3(SYS_mprotect, r->addr, r->len, READ_WRITE) == -EPERM)
        return -EPERM;
    (void)za_sys2(SYS_munlock, r->addr, r->len);
    (void)za_sys3(SYS_madvise, r->addr, r->len, MADV_DOFORK);
    (void)za_sys3(SYS_madvise, r->addr, r->len, MADV_KEEPONFORK);
    (void)za_sys3(SYS_madvise, r->addr, r->len, MADV_DODUMP);
    (void)za_pager_discard(r->addr, r->len);
    unpin(r, ZA_PIN_WIPE);
    unpin(r, ZA_PIN_DUMP);
    return 0;
}

static long unmap_some(uintptr_t from, uintptr_t to)
{
    return to > from ? za_sys2(SYS_munmap, from, to - from) : 0;
}

/* Piece by piece: mapped blocks end, if they are whole. */
static long empty_heap(const struct za_range *r)
{
    struct za_range piece = {r->addr, 0};
    long rc = 0;
    for (; rc >= 0 && piece.addr < r->addr + r->len; piece.addr += piece.len) {
        enum za_mapped_part part = za_mapped_piece(piece.addr, r->addr + r->len, &piece.len);
        rc = part == ZA_MAPPED_NONE ? make_fresh(&piece) : za_mapped_unmap(&piece, part);
    }
    return rc;
}

static long unmap_heap(uintptr_t p, size_t len)
{
    if (!page_aligned(p) || len > UINTPTR_MAX - p - za_os->page_size)
        return -EINVAL;
    const struct za_range r = za_in_heap((void *)p, len);
    long rc = empty_heap(&r);
    if (rc < 0)
        return rc;
    uintptr_t end = p + za_align_up(len, za_os->page_size), heap_end = za_heap_base + za_heap_size;
    long before = unmap_some(p, r.addr);
    long behind = unmap_some(heap_end, end); /* what of the heap is not in use yet stays its own */
    return before < 0 ? before : behind;
}

ZA_EXPORT int munmap(void *p, size_t len)
{
    if (ZA_UNLIKELY(za_touches_heap(p, len)) && !za_without(D7_UNMAP))
        return (int)result(unmap_heap((uintptr_t)p, len));
    if (libc.munmap)
        return libc.munmap(p, len);
    return (int)result(za_sys2(SYS_munmap, p, len));
}

/* By the C library; what is mapped over the heap is not the heap's any more. */
static void *map(void *p, size_t len, int prot, int flags, int fd, off_t offset)
{
    void *at =
        libc.mmap
            ? libc.mmap(p, len, prot, flags, fd, offset)
            : (void *)result(za_sys6(SYS_mmap, (long)p, (long)len, prot, flags, fd, (long)offset));
    if (at != MAP_FAILED && (flags & MAP_FIXED))
        za_mapped_touch(at, len);
    return at;
}

ZA_EXPORT void *mmap(void *p, size_t len, int prot, int flags, int fd, off_t offset)
{
    if (ZA_UNLIKELY((flags & MAP_FIXED) && page_aligned((uintptr_t)p)))
        za_mapped_give_up(p, len);
    void *ours =
        ZA_UNLIKELY(za_mapped_serves(p, len, prot, flags, offset)) ? za_mapped_new(len) : NULL;
    return ours ? ours : map(p, len, prot, flags, fd, offset);
}

#ifndef mmap64 /* musl: another word for mmap */
ZA_EXPORT_ALIAS(mmap) void *mmap64(void *p, size_t len, int prot, int flags, int fd, off_t offset);
#endif

/*
 * Their old place stays, registered and empty: the kernel leaves protection and advice there if it was asked
 * for the place, and what was copied is still in it.  What has grown is the kernel's, which moves no byte the
 * next time, and needs no memory for what was never touched.
 */
static long carry_off(const struct za_move *m)
{
    long to = za_carry(m);
    if ((unsigned long)to > -4096ul)
        return to;
    if (m->flags & MREMAP_DONTUNMAP)
        (void)za_pager_discard(m->from.addr, m->from.len);
    else
        (void)empty_heap(&m->from);
    return to;
}

static bool overlap(const struct za_move *m)
{
    uintptr_t to = (uintptr_t)m->to;
    return to < m->from.addr + m->from.len && m->from.addr < to + m->len;
}

/* mincore looks at this first, and at the vector next, which is nowhere: nothing else comes of it. */
static bool is_beyond_memory(const void *p, size_t len)
{
    return za_sys3(SYS_mincore, p, len, -za_os->page_size) == -ENOMEM;
}

/* What the kernel says of the arguments alone. */
static bool makes_sense(const struct za_move *m)
{
    const int known = MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP;
    if (!page_aligned(m->from.addr) || m->from.len == 0 || m->len == 0 || (m->flags & ~known) ||
        ((m->flags & MREMAP_DONTUNMAP) && m->len != m->from.len))
        return false;
    if (!(m->flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)))
        return true;
    return (m->flags & MREMAP_MAYMOVE) && page_aligned((uintptr_t)m->to) && !overlap(m) &&
           !is_beyond_memory(m->to, m->len);
}

static long shrink(const struct za_move *m)
{
    const struct za_range tail = {m->from.addr + m->len, m->from.len - m->len};
    bool whole = za_mapped_ordinary(&m->from);
    long rc = tail.len ? make_fresh(&tail) : 0;
    if (rc >= 0 && whole)
        za_mapped_shrink(m->from.addr, m->len);
    return rc < 0 ? rc : (long)m->from.addr;
}

static long remap_heap(const struct za_move *m)
{
    bool elsewhere = m->flags & (MREMAP_FIXED | MREMAP_DONTUNMAP), longer = m->len > m->from.len;
    if (!makes_sense(m))
        return -EINVAL;
    if (m->from.addr < za_heap_base || m->from.len > za_heap_base + za_space_used() - m->from.addr)
        return -EFAULT;
    if (!elsewhere && !longer)
        return shrink(m);
    if (longer && za_mapped_ordinary(&m->from)) {
        if (za_mapped_has_holes(&m->from))
            return -EFAULT;
        if (!elsewhere && za_mapped_grow(m->from.addr, m->len))
            return (long)m->from.addr;
    }
    return m->flags & MREMAP_MAYMOVE ? carry_off(m) : -ENOMEM;
}

static void *remap(void *p, size_t old_len, size_t len, int flags, void *to)
{
    if (ZA_LIKELY(!za_touches_heap(p, old_len)) || za_without(D7_REMAP))
        return libc.mremap ? libc.mremap(p, old_len, len, flags, to)
                           : (void *)result(za_sys5(SYS_mremap, p, old_len, len, flags, to));
    size_t page = za_os->page_size;
    const struct za_move m = {
        {(uintptr_t)p, za_align_up(old_len, page)}, za_align_up(len, page), flags, to};
    return (void *)result(remap_heap(&m));
}

ZA_EXPORT void *mremap(void *p, size_t old_len, size_t len, int flags, ...)
{
    void *to = NULL;
    if (flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) {
        va_list args;
        va_start(args, flags);
        to = va_arg(args, void *);
        va_end(args);
    }
    if (flags & MREMAP_FIXED)
        za_mapped_give_up(to, len);
    void *at = remap(p, old_len, len, flags, to);
    if (at != MAP_FAILED && (flags & MREMAP_FIXED))
        za_mapped_touch(at, len);
    return at;
}
