/* SPDX-License-Identifier: MIT */
/*
 * bare -- _Fork, clone and syscall: children made without fork handlers find their memory all the
 * same.
 *
 * With CAP_SYS_PTRACE the kernel announces every child and the pager gives it what is out. Without,
 * the child would read zeros there; so these three names stand around libc's, make the pager hold
 * its breath (pager/still.c) and start it again in the child before anything else runs there. With
 * CLONE_VM nothing is copied, and nothing is done.
 *
 *  I1  _Fork stays async-signal-safe: no lock, no allocation, no dlsym after the constructor.
 *  I2  What the kernel or libc touches in the child before our part runs there is resident: the top
 *      of the new stack, the word that holds the child's id. The thread's own descriptor is pinned
 *      where it is heap memory (preload/thread.c), and its frames were touched on the way here.
 *
 * syscall(2) costs a comparison more; programs that know nothing of _Fork make children with it.
 * Not in the static archive: a static libc's own fork calls _Fork by this name.
 *
 * Locks: none.  May sleep: until the worker stands still.  May fault: yes.  Allocates: nothing.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <unistd.h>

#include "alloc/alloc.h"
#include "os/sys.h"
#include "pager/pager.h"
#include "preload/export.h"
#include "preload/fork.h"
#include "preload/holes.h"

#define STACK_TOP 16384u
#define STEP 4096u

#pragma weak dlsym

/* Of libc's clone, flags and stack stand elsewhere. */
struct clone3_args {
    uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack;
};

long za_bare_syscall(long nr, long a, long b, long c, long d, long e, long f);

typedef int child_fn(void *);
typedef pid_t fork_fn(void);
typedef int clone_fn(child_fn *, void *, int, void *, ...);

struct birth {
    child_fn *fn;
    void *arg;
    enum za_fork_way way;
};

static fork_fn *next_fork; /* written by the constructor */
static clone_fn *next_clone;

void za_bare_resolve(void)
{
    if (!dlsym)
        return;
    *(void **)&next_fork = dlsym(RTLD_NEXT, "_Fork");
    *(void **)&next_clone = dlsym(RTLD_NEXT, "clone");
}

static bool copies(uint64_t flags)
{
    return !(flags & CLONE_VM);
}

static enum za_fork_way before(uint64_t flags)
{
    return za_pager_prebare(!(flags & CLONE_NEWUSER));
}

static void in_child(enum za_fork_way way)
{
    za_holes_close();
    za_pager_postbare_child(way);
}

static long after(long pid, enum za_fork_way way)
{
    if (pid == 0)
        in_child(way);
    else
        za_pager_postbare_parent(way);
    return pid;
}

static void touch(const void *p)
{
    if (p && za_owns(p))
        (void)*(const volatile char *)p;
}

static long result(long r)
{
    if (r >= 0 || r < -4095)
        return r;
    errno = (int)-r;
    return -1;
}

ZA_EXPORT pid_t _Fork(void)
{
    enum za_fork_way way = before(0);
    pid_t pid = next_fork ? next_fork() : (pid_t)result(za_sys5(SYS_clone, SIGCHLD, 0, 0, 0, 0));
    return (pid_t)after(pid, way);
}

/* libc would end this thread only, and the pager's would keep the process. */
static int begin(void *arg)
{
    const struct birth *b = arg;
    in_child(b->way);
    _exit(b->fn(b->arg));
}

ZA_EXPORT int clone(child_fn *fn, void *stack, int flags, void *arg, ...)
{
    va_list more;
    va_start(more, arg);
    void *parent_tid = va_arg(more, void *);
    void *tls = va_arg(more, void *);
    void *child_tid = va_arg(more, void *);
    va_end(more);
    if (ZA_UNLIKELY(!next_clone))
        za_bare_resolve();
    if (!next_clone) {
        errno = ENOSYS;
        return -1;
    }
    if (!copies((uint64_t)(unsigned)flags))
        return next_clone(fn, stack, flags, arg, parent_tid, tls, child_tid);
    struct birth b = {fn, arg, before((uint64_t)(unsigned)flags)};
    for (size_t at = 1; stack && at <= STACK_TOP; at += STEP)
        touch((char *)stack - at);
    if (flags & (CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID))
        touch(child_tid);
    int pid = next_clone(fn ? begin : NULL, stack, flags, &b, parent_tid, tls, child_tid);
    za_pager_postbare_parent(b.way);
    return pid;
}

/* A fork by syscall(2), which filter.c has made sure copies this stack: fork, clone, clone3. */
__attribute__((used, visibility("hidden"))) long za_bare_syscall(long nr, long a, long b, long c,
                                                                 long d, long e, long f)
{
    uint64_t flags = 0;
    if (nr == SYS_clone)
        flags = (uint64_t)a;
    else if (nr == SYS_clone3)
        flags = ((const struct clone3_args *)a)->flags;
    enum za_fork_way way = before(flags);
    return after(result(za_sys6(nr, a, b, c, d, e, f)), way);
}
