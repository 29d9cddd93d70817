/* SPDX-License-Identifier: MIT */
/*
 * sys -- the raw system call: arguments in registers, -errno out, errno and thread state untouched.
 *
 * Needed because our own threads have no libc thread state,
 * and because malloc must keep the program's errno.
 */
#ifndef ZA_OS_SYS_H
#define ZA_OS_SYS_H

#include <sys/syscall.h>

#include "base/base.h"

#if defined(__x86_64__)
ZA_INLINE long za_sys6(long nr, long a, long b, long c, long d, long e, long f)
{
    long ret;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(ret)
                     : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return ret;
}
#elif defined(__aarch64__)
ZA_INLINE long za_sys6(long nr, long a, long b, long c, long d, long e, long f)
{
    register long x8 __asm__("x8") = nr;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;
    __asm__ volatile("svc 0"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                     : "memory");
    return x0;
}
#else
#error "zalloc: this processor needs its system call sequence in os/sys.h"
#endif

#define za_sys0(nr) za_sys6((nr), 0, 0, 0, 0, 0, 0)
#define za_sys1(nr, a) za_sys6((nr), (long)(a), 0, 0, 0, 0, 0)
#define za_sys2(nr, a, b) za_sys6((nr), (long)(a), (long)(b), 0, 0, 0, 0)
#define za_sys3(nr, a, b, c) za_sys6((nr), (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define za_sys4(nr, a, b, c, d) za_sys6((nr), (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)
#define za_sys5(nr, a, b, c, d, e) \
    za_sys6((nr), (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), 0)

/* Numbers that older kernel headers lack; the same on every architecture. */
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

#endif
