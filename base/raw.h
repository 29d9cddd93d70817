/* SPDX-License-Identifier: MIT */
/*
 * raw -- system calls without libc: base's futex waits and its last words.
 *
 * Refuses to be general: only what base itself needs (os/ has the rest of the kernel).  Returns
 * what the kernel returns, >= 0 or -errno; errno is never touched.
 *
 * Locks: none.  May sleep: in FUTEX_WAIT.  May fault: no.  Allocates: nothing.
 */
#ifndef ZA_BASE_RAW_H
#define ZA_BASE_RAW_H

#include <linux/futex.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>

#include "base/base.h"

#if defined(__x86_64__)
ZA_INLINE long za_raw_call4(long nr, long a, long b, long c, long d)
{
    register long r10 __asm__("r10") = d;
    long ret;

    __asm__ volatile("syscall"
                     : "=a"(ret)
                     : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10)
                     : "rcx", "r11", "memory");
    return ret;
}
#elif defined(__aarch64__)
ZA_INLINE long za_raw_call4(long nr, long a, long b, long c, long d)
{
    register long x8 __asm__("x8") = nr;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;

    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
    return x0;
}
#else
#error "zalloc runs on x86-64 and aarch64"
#endif

/* One pause of a spinning CPU. */
ZA_INLINE void za_raw_pause(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#else
    __asm__ volatile("yield");
#endif
}

/* Sleeps while *word is `seen`; may return early for any reason. */
ZA_INLINE void za_raw_futex_wait(uint32_t *word, uint32_t seen)
{
    za_raw_call4(SYS_futex, (long)word, FUTEX_WAIT_PRIVATE, (long)seen, 0);
}

/* The same; for `ns` at most. */
ZA_INLINE void za_raw_futex_wait_for(uint32_t *word, uint32_t seen, uint64_t ns)
{
    const struct timespec t = {(time_t)(ns / ZA_NS_PER_S), (long)(ns % ZA_NS_PER_S)};

    za_raw_call4(SYS_futex, (long)word, FUTEX_WAIT_PRIVATE, (long)seen, (long)&t);
}

/* Monotonic nanoseconds. */
ZA_INLINE uint64_t za_raw_now(void)
{
    struct timespec t = {0, 0};

    za_raw_call4(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&t, 0, 0);
    return (uint64_t)t.tv_sec * ZA_NS_PER_S + (uint64_t)t.tv_nsec;
}

ZA_INLINE void za_raw_futex_wake_one(uint32_t *word)
{
    za_raw_call4(SYS_futex, (long)word, FUTEX_WAKE_PRIVATE, 1, 0);
}

ZA_INLINE long za_raw_write(int fd, const char *s, size_t len)
{
    return za_raw_call4(SYS_write, fd, (long)s, (long)len, 0);
}

/* SIGABRT to the calling thread: unless blocked or ignored, it is delivered before this returns. */
ZA_INLINE void za_raw_abort_signal(void)
{
    long pid = za_raw_call4(SYS_getpid, 0, 0, 0, 0);
    long tid = za_raw_call4(SYS_gettid, 0, 0, 0, 0);

    za_raw_call4(SYS_tgkill, pid, tid, SIGABRT, 0);
}

#endif
