/* SPDX-License-Identifier: MIT */
/*
 * thread -- threads the program's libc does not know of.
 *
 * Started by a bare clone(2), so they can be started from inside malloc with any lock of libc held,
 * never run a destructor, never count in pthread_exit's "last thread" and leave
 * __libc_single_threaded true. The price: no libc thread state. Each gets a block of zeroed memory
 * as its thread pointer area, large enough that a stack-protector load or a stray initial-exec
 * access lands in it; code on these threads calls nothing of libc beyond memcpy and its kin and the
 * vDSO (doc/decisions/0001-bare-threads.md).
 *
 * I1  All signals are blocked from birth: none is ever delivered here (D11).
 * I2  The area (stack and thread block) is mapped, never from a malloc (D9), and lives as long as
 *     the process.  One more than is used is kept mapped: a child at the limit of mappings, or of
 *     address space, has a fault thread to start and gets no memory for it.
 * I3  A debugger or strace that follows the program's threads is not given ours: it would stop the
 *     fault thread, read a page that is out, and wait for ever for the thread that it has stopped.
 *
 * With ZA_THREADS_PTHREAD (sanitizer builds, whose runtimes must know every thread)
 * they are pthreads.
 * Locks: none.  May sleep: no.  May fault: no.  Allocates: by mmap.
 */
#include <errno.h>
#include <linux/capability.h>
#include <linux/membarrier.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#ifdef ZA_THREADS_PTHREAD
#include <pthread.h>
#endif

#include "base/remedy.h"
#include "os/private.h"
#include "os/sys.h"

#define STACK_BYTES (256 * ZA_KIB)
#define BLOCK_BYTES (64 * ZA_KIB) /* the thread pointer stands in its middle */
#define OWN_MAX 8
#define MODEST 10 /* nice */
#define NICE_UNKNOWN -21

struct start {
    void (*fn)(void *);
    void *arg;
    const char *name;
    bool share_files;
};

static int own_tids[OWN_MAX]; /* of this process's own threads; a forked child overwrites them */
static unsigned own_next;

bool za_linux_on_own_thread(void)
{
    int tid = (int)za_sys0(SYS_gettid);
    for (unsigned i = 0; i < OWN_MAX; i++)
        if (__atomic_load_n(&own_tids[i], __ATOMIC_RELAXED) == tid)
            return true;
    return false;
}

static void enter(const struct start *s)
{
    unsigned i = __atomic_fetch_add(&own_next, 1, __ATOMIC_RELAXED) % OWN_MAX;
    __atomic_store_n(&own_tids[i], (int)za_sys0(SYS_gettid), __ATOMIC_RELAXED);
    (void)za_sys2(SYS_prctl, PR_SET_NAME, s->name);
    s->fn(s->arg);
}

#ifdef ZA_THREADS_PTHREAD

static void *pthread_main(void *p)
{
    struct start s = *(struct start *)p;
    munmap(p, za_os->page_size); /* libc's: the sanitizers must see it */
    if (!s.share_files)
        (void)za_sys1(SYS_unshare, CLONE_FILES);
    enter(&s);
    return NULL;
}

static int spawn(const struct start *s)
{
    void *p;
    int r = za_linux_map(&p, za_os->page_size);
    if (r < 0)
        return r;
    *(struct start *)p = *s;
    pthread_t t;
    r = pthread_create(&t, NULL, pthread_main, p);
    if (r)
        return -r;
    pthread_detach(t);
    return 0;
}

#else

__attribute__((used)) static void bare_main(struct start *s)
{
    enter(s);
    for (;;)
        (void)za_sys1(SYS_exit, 0);
}

#if defined(__x86_64__)
static long bare_clone(unsigned long flags, void *sp, void *tls, struct start *s)
{
    long ret;
    register long r8 __asm__("r8") = (long)tls;
    register struct start *r12 __asm__("r12") = s;
    register void (*r13)(struct start *) __asm__("r13") = bare_main;
    __asm__ volatile("xorl %%edx, %%edx\n\t"
                     "xorl %%r10d, %%r10d\n\t"
                     "syscall\n\t"
                     "testq %%rax, %%rax\n\t"
                     "jnz 1f\n\t"
                     "xorl %%ebp, %%ebp\n\t"
                     "movq %%r12, %%rdi\n\t"
                     "call *%%r13\n\t"
                     "hlt\n"
                     "1:"
                     : "=a"(ret)
                     : "a"((long)SYS_clone), "D"(flags), "S"(sp), "r"(r8), "r"(r12), "r"(r13)
                     : "rcx", "r11", "rdx", "r10", "memory");
    return ret;
}
#elif defined(__aarch64__)
static long bare_clone(unsigned long flags, void *sp, void *tls, struct start *s)
{
    register long x8 __asm__("x8") = SYS_clone;
    register long x0 __asm__("x0") = (long)flags;
    register long x1 __asm__("x1") = (long)sp;
    register long x2 __asm__("x2") = 0;
    register long x3 __asm__("x3") = (long)tls;
    register long x4 __asm__("x4") = 0;
    register struct start *x19 __asm__("x19") = s;
    register void (*x20)(struct start *) __asm__("x20") = bare_main;
    __asm__ volatile("svc 0\n\t"
                     "cbnz x0, 1f\n\t"
                     "mov x29, xzr\n\t"
                     "mov x0, x19\n\t"
                     "blr x20\n\t"
                     "brk 1\n"
                     "1:"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x19), "r"(x20)
                     : "memory", "cc");
    return x0;
}
#endif

/* The thread block: what compiled code reads through the thread pointer without asking libc. */
static void *thread_block(char *area)
{
    void **tp = (void **)(area + BLOCK_BYTES / 2);
#if defined(__x86_64__)
    void **mine;
    __asm__("movq %%fs:0, %0" : "=r"(mine));
    tp[0] = tp;      /* the block itself: glibc, musl */
    tp[5] = mine[5]; /* stack guard, the processor's ABI */
#ifdef __GLIBC__
    tp[2] = tp;      /* its owner */
    tp[6] = mine[6]; /* pointer guard; in musl the thread id and errno stand here */
#endif
#endif
    return tp;
}

#ifdef ZA_TEST_WITHOUT
extern void *aligned_alloc(size_t align, size_t size); /* the library's own, in the same object */

/* For two threads at once: the second is started by the first, which must not call malloc. */
static char *take_from_heap(void)
{
    static char *two;
    static unsigned taken;
    const size_t one = BLOCK_BYTES + STACK_BYTES;
    if (!two)
        two = aligned_alloc(za_os->page_size, 2 * one);
    return two && taken < 2 ? two + one * taken++ : NULL;
}
#else
#define take_from_heap() NULL
#endif

static int map_area(void **area)
{
    if (za_without(D9_OWN_STACKS))
        return (*area = take_from_heap()) ? 0 : -ENOMEM;
    return za_linux_map(area, BLOCK_BYTES + STACK_BYTES);
}

static int new_area(void **area)
{
    int r = map_area(area);
    if (r < 0)
        return r;
    (void)za_sys3(SYS_mprotect, (char *)*area + BLOCK_BYTES, za_os->page_size, PROT_NONE);
    return 0;
}

static void *spare; /* atomic: I2; in a child its own copy */

static int take_area(void **area)
{
    int r = new_area(area);
    if (r < 0 && (*area = __atomic_exchange_n(&spare, NULL, __ATOMIC_ACQ_REL)))
        return 0;
    return r;
}

/* Where there is none. */
static void keep_spare(void)
{
    void *area, *none = NULL;
    if (__atomic_load_n(&spare, __ATOMIC_RELAXED) || new_area(&area) < 0)
        return;
    if (!__atomic_compare_exchange_n(&spare, &none, area, false, __ATOMIC_ACQ_REL,
                                     __ATOMIC_RELAXED))
        (void)za_linux_unmap(area, BLOCK_BYTES + STACK_BYTES);
}

static int spawn(const struct start *s)
{
    void *area;
    int r = take_area(&area);
    if (r < 0)
        return r;
    char *top = (char *)area + BLOCK_BYTES + STACK_BYTES;
    struct start *copy = (struct start *)(top - sizeof(*copy));
    *copy = *s;
    unsigned long flags = CLONE_VM | CLONE_FS | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |
                          CLONE_SETTLS | CLONE_UNTRACED | (s->share_files ? CLONE_FILES : 0);
    void *sp = (void *)za_align_down((size_t)copy, 64);
    long tid = bare_clone(flags, sp, thread_block(area), copy);
    if (tid < 0)
        (void)za_linux_unmap(area, BLOCK_BYTES + STACK_BYTES);
    else if (!za_without(D9_OWN_STACKS))
        keep_spare();
    return tid < 0 ? (int)tid : 0;
}

#endif

int za_linux_thread_start(void (*fn)(void *), void *arg, const char *name, bool share_files)
{
    const struct start s = {fn, arg, name, share_files};
    uint64_t all = za_without(D11_SIGNALS) ? 0 : ~0ull, old = 0;
    (void)za_sys4(SYS_rt_sigprocmask, SIG_SETMASK, &all, &old, sizeof(all));
    int r = spawn(&s);
    (void)za_sys4(SYS_rt_sigprocmask, SIG_SETMASK, &old, 0, sizeof(old));
    return r;
}

void za_linux_be_urgent(void)
{
    if (za_linux_is_dead(ZA_DEAD_PRIORITY))
        return;
    (void)za_sys3(SYS_setpriority, PRIO_PROCESS, 0, -20);
}

/* The process's, which is that of its first thread; the kernel says 20 - nice. */
static long own_nice(void)
{
    long r = za_sys2(SYS_getpriority, PRIO_PROCESS, za_sys0(SYS_getpid));
    return r > 0 ? 20 - r : NICE_UNKNOWN;
}

/* Who may raise its priority must not do so here, above a program that was started with nice. */
void za_linux_be_modest(void)
{
    if (za_linux_is_dead(ZA_DEAD_PRIORITY))
        return;
    long nice = own_nice();
    (void)za_sys3(SYS_setpriority, PRIO_PROCESS, 0, nice < MODEST ? MODEST : nice);
}

void za_linux_be_fair(void)
{
    long nice = own_nice();
    if (nice != NICE_UNKNOWN)
        (void)za_sys3(SYS_setpriority, PRIO_PROCESS, 0, nice);
}

/* Fewer capabilities than before: unlike a change of identity this leaves the process dumpable. */
void za_linux_drop_privileges(void)
{
    if (za_without(D14_POWERLESS) || za_linux_is_dead(ZA_DEAD_PRIVILEGES))
        return;
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0, 0, 0}};
    (void)za_sys5(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    (void)za_sys2(SYS_capset, &head, none);
}

void za_linux_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#else
    __asm__ volatile("yield" ::: "memory");
#endif
}

int za_linux_sync_threads(void)
{
    if (za_linux_is_dead(ZA_DEAD_SYNC))
        return -EPERM;
    long r = za_sys3(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
    if (r != -EPERM)
        return (int)r;
    r = za_sys3(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
    return r < 0 ? (int)r : (int)za_sys3(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
}

/* Order counts: setgroups of the same groups in another order looks like a change, which is safe. */
static uint64_t digest_groups(void)
{
    uint32_t some[1024] = {0};
    long n = za_sys2(SYS_getgroups, sizeof(some) / sizeof(*some), some);
    uint64_t h = n < 0 ? (uint64_t)za_sys2(SYS_getgroups, 0, 0) : (uint64_t)n;
    for (long i = 0; i < n; i++)
        h = (h ^ some[i]) * 0x100000001b3ull;
    return h;
}

void za_linux_identity(struct za_identity *out)
{
    (void)za_sys3(SYS_getresuid, &out->uid[0], &out->uid[1], &out->uid[2]);
    (void)za_sys3(SYS_getresgid, &out->gid[0], &out->gid[1], &out->gid[2]);
    out->groups = digest_groups();
}

int za_linux_pid(void)
{
    return (int)za_sys0(SYS_getpid);
}

int za_linux_parent(void)
{
    return za_linux_is_dead(ZA_DEAD_PARENT) ? 0 : (int)za_sys0(SYS_getppid);
}

#define RANDOM_NONBLOCK 1

int za_linux_random(void *to, size_t len)
{
    long n = za_sys3(SYS_getrandom, to, len, RANDOM_NONBLOCK);
    if (n < 0)
        return (int)n;
    return (size_t)n == len ? 0 : -EIO;
}

int za_linux_tid(void)
{
    return (int)za_sys0(SYS_gettid);
}
