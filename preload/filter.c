/* SPDX-License-Identifier: MIT */
/*
 * filter -- seccomp filters that the program installs for all its threads, ours included.
 *
 * A filter is made for what the program does; ours do other things. With TSYNC it would hit them
 * too: refused, the fault thread can bring nothing back; killed, it takes the userfaultfd with it,
 * and what is out reads as zeros. Nobody can tell beforehand what a filter will say. So
 * before such a filter everything comes back, and our threads end: the program goes on with a plain
 * allocator, under whatever filter. A filter for the calling thread alone does not concern us.
 *
 * libc has no function for seccomp(2): everybody calls it by syscall(), which is therefore
 * exported. It may be used to make a thread, or a child on another stack, and so must not have a
 * stack frame: a fork that copies this one goes to bare.c, any other call jumps on to libc's own. Not seen are programs that bring their system call
 * instruction with them.
 *
 * Locks: as za_pager_retire.  May sleep: yes.  May fault: no.  Allocates: nothing.
 */
#define _GNU_SOURCE
#include "preload/filter.h"

#include <dlfcn.h>
#include <errno.h>
#include <linux/seccomp.h>
#include <unistd.h>

#include "os/sys.h"
#include "pager/pager.h"
#include "preload/export.h"

#pragma weak dlsym

#define TO_ALL 1ul /* SECCOMP_FILTER_FLAG_TSYNC */

typedef long call_fn(long nr, long a, long b, long c, long d, long e, long f);

long za_filter_plain(long nr, long a, long b, long c, long d, long e, long f);
long za_filter_seccomp(long nr, long op, long flags, long arg);

/* Where all but seccomp goes: libc's, once it has been looked up. */
__attribute__((used, visibility("hidden"))) call_fn *za_filter_next = za_filter_plain;

#if defined(__x86_64__)
__asm__(".text\n.globl syscall\n.type syscall, @function\n"
        "syscall:\n\t"
        "cmpq $317, %rdi\n\t" /* seccomp */
        "je za_filter_seccomp\n\t"
        "cmpq $57, %rdi\n\t" /* fork */
        "je za_bare_syscall\n\t"
        "cmpq $56, %rdi\n\t" /* clone: flags, stack */
        "je 1f\n\t"
        "cmpq $435, %rdi\n\t" /* clone3: a struct with flags first, the stack at 40 */
        "je 2f\n"
        "0:\n\t"
        "jmp *za_filter_next(%rip)\n"
        "1:\n\t"
        "testl $0x100, %esi\n\t"
        "jnz 0b\n\t"
        "testq %rdx, %rdx\n\t"
        "jnz 0b\n\t"
        "jmp za_bare_syscall\n"
        "2:\n\t"
        "testq %rsi, %rsi\n\t"
        "jz 0b\n\t"
        "testl $0x100, (%rsi)\n\t"
        "jnz 0b\n\t"
        "cmpq $0, 40(%rsi)\n\t"
        "jne 0b\n\t"
        "jmp za_bare_syscall\n"
        ".size syscall, . - syscall\n");
_Static_assert(SYS_seccomp == 317 && SYS_fork == 57 && SYS_clone == 56, "the numbers above");
#elif defined(__aarch64__)
__asm__(".text\n.globl syscall\n.type syscall, %function\n"
        "syscall:\n\t"
        "cmp x0, #277\n\t" /* seccomp */
        "b.eq za_filter_seccomp\n\t"
        "cmp x0, #220\n\t" /* clone: flags, stack */
        "b.eq 1f\n\t"
        "cmp x0, #435\n\t" /* clone3: a struct with flags first, the stack at 40 */
        "b.eq 2f\n"
        "0:\n\t"
        "adrp x16, za_filter_next\n\t"
        "ldr x16, [x16, #:lo12:za_filter_next]\n\t"
        "br x16\n"
        "1:\n\t"
        "tbnz w1, #8, 0b\n\t"
        "cbnz x2, 0b\n\t"
        "b za_bare_syscall\n"
        "2:\n\t"
        "cbz x1, 0b\n\t"
        "ldr x16, [x1]\n\t"
        "tbnz w16, #8, 0b\n\t"
        "ldr x16, [x1, #40]\n\t"
        "cbnz x16, 0b\n\t"
        "b za_bare_syscall\n"
        ".size syscall, . - syscall\n");
_Static_assert(SYS_seccomp == 277 && SYS_clone == 220, "the numbers above");
#endif

static long result(long r)
{
    if ((unsigned long)r <= -4096ul)
        return r;
    errno = (int)-r;
    return -1;
}

/* Before the constructor, or without a dynamic linker. */
__attribute__((used, visibility("hidden"))) long za_filter_plain(long nr, long a, long b, long c,
                                                                 long d, long e, long f)
{
    return result(za_sys6(nr, a, b, c, d, e, f));
}

/* What has begun to end must have ended: its last system call would be judged too. */
static void wait_for_end(int tid)
{
    while (tid && za_sys3(SYS_tgkill, za_sys0(SYS_getpid), tid, 0) == 0)
        (void)za_sys0(SYS_sched_yield);
}

__attribute__((used, visibility("hidden"))) long za_filter_seccomp(long nr, long op, long flags,
                                                                   long arg)
{
    int tids[2];
    if (op == SECCOMP_SET_MODE_FILTER && ((unsigned long)flags & TO_ALL)) {
        if (za_pager_retire(tids) < 0)
            return result(-ENOMEM); /* what is out could never come back under the filter */
        wait_for_end(tids[0]);
        wait_for_end(tids[1]);
    }
    return result(za_sys3(nr, op, flags, arg));
}

void za_filter_resolve(void)
{
    call_fn *libc = NULL;
    if (dlsym)
        *(void **)&libc = dlsym(RTLD_NEXT, "syscall");
    if (libc)
        za_filter_next = libc;
}
