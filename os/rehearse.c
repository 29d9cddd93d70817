/* SPDX-License-Identifier: MIT */
/*
 * rehearse -- which of the system calls that our threads make would be their death?
 *
 * THEORY
 *
 * A seccomp filter may answer a call by killing the thread or the process. It cannot be asked what
 * it would say, and nobody survives what it says. Programs inherit such filters (a service's
 * SystemCallFilter= kills unless it names an error), and they were made for what the program does.
 *
 * So where there is a filter, and only there, a child makes every call first, and notes before each
 * where it is, on a page that it shares with its parent. When it dies the parent reads the note.
 * What our threads can do without is not made any more, as if it had been refused, and another child
 * tries again from the beginning; anything else means that there is no pager. A filter that
 * refuses with an error harms nobody: the worker finds out by itself.
 *
 *  I1  The child is a process of its own, with copies of memory and descriptors: whatever it does or
 *      dies of is seen nowhere else. It runs no handler and no code of libc, and takes no lock. Its
 *      end sends no signal, and only a wait for clones (__WCLONE, __WALL) sees it.
 *  I2  It is made by the thread that is about to start the worker, and has its filters, as the
 *      worker will.
 *  I3  All signals are blocked in it, as in our threads: a filter that sends SIGSYS kills both.
 *  I4  As long as it has one thread, the thread's death is its own. It makes its second one last of
 *      all; that one makes no call which the first has not made, and ends the child after a while.
 *  I5  Whatever is not known to be harmless counts as death.
 *
 * More is asked for than the start itself would: a child, its wait, a shared page. A filter that kills
 * for those and allows userfaultfd has been made with this library in mind (doc/reliability/limits.md).
 * Not seen: filters where there is no /proc.
 *
 * Locks: none.  May sleep: until the child has ended.  May fault: no.  Allocates: a page meanwhile.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "base/remedy.h"
#include "base/stat.h"
#include "os/private.h"
#include "os/sys.h"

#define MODE_FILTER 2

unsigned za_linux_dead;

/* What the child tells its parent. */
struct note {
    uint32_t at; /* the step being made */
    uint32_t over;
};

/* What the steps hand to each other. */
struct rig {
    struct za_uffd_caps caps;
    int fd; /* userfaultfd, or negative */
    char *page;
    uint32_t word;
};

/* ---- the steps ----------------------------------------------------------------------------------
 */

static void no_dump(struct rig *r)
{
    (void)r;
    if (!za_linux_is_dead(ZA_DEAD_DUMPABLE))
        (void)za_sys5(SYS_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
}

static void exist(struct rig *r)
{
    struct za_identity me;
    (void)za_sys2(SYS_prctl, PR_SET_NAME, "zalloc-rehearse");
    (void)za_linux_tid();
    (void)za_linux_pid();
    za_linux_identity(&me);
    (void)za_linux_now();
    (void)za_linux_thread_cpu();
    (void)za_linux_wait(&r->word, 0, 1);
    za_linux_wake(&r->word);
}

static void have_memory(struct rig *r)
{
    const size_t page = za_os->page_size;
    void *p = NULL;
    if (za_linux_reserve(&p, page, page) < 0 || za_linux_commit(p, page) < 0)
        return;
    r->page = p;
    (void)za_linux_populate(p, page);
    (void)za_linux_populate_read(p, page);
    (void)za_linux_purge(p, page);
}

static void have_files(struct rig *r)
{
    (void)r;
    (void)za_linux_private_files();
    (void)za_linux_spare_files(1);
}

static void open_uffd(struct rig *r)
{
    r->fd = za_linux_uffd_open(&r->caps);
}

static void serve_faults(struct rig *r)
{
    const size_t page = za_os->page_size;
    struct za_uffd_msg m;
    if (r->fd < 0 || !r->page || za_linux_uffd_register(r->fd, r->page, page) < 0)
        return;
    (void)za_linux_uffd_read(r->fd, &m);
    (void)za_linux_poll(&r->fd, 1, 1);
    (void)za_linux_uffd_zero(r->fd, r->page, page, false);
    (void)za_linux_uffd_wake(r->fd, r->page, page);
    (void)za_linux_uffd_unregister(r->fd, r->page, page);
}

static void move(struct rig *r)
{
    if (r->fd >= 0 && r->caps.any_move)
        (void)za_os_try_move(r->fd);
}

static void carry(struct rig *r)
{
    if (r->fd >= 0 && !za_linux_is_dead(ZA_DEAD_CARRY))
        (void)za_os_try_remap(r->fd);
}

static void look(struct rig *r)
{
    unsigned char there;
    if (r->page)
        (void)za_linux_present(r->page, 1, &there);
}

static void look_closely(struct rig *r)
{
    uint64_t word;
    za_linux_pagemap_keep(-1);
    if (!r->page)
        return;
    (void)za_linux_pagemap(r->page, 1, &word);
    (void)za_linux_zero_bytes(r->page, za_os->page_size);
}

static void meet(struct rig *r)
{
    (void)r;
    (void)za_linux_sync_threads();
}

static void rank(struct rig *r)
{
    (void)r;
    za_linux_be_modest();
    za_linux_be_urgent();
}

static void fetch(struct rig *r)
{
    (void)za_linux_fetch_file((int)za_sys0(SYS_gettid), r->fd, 1);
}

/* As parent and as child of a fork. */
static void hand_over(struct rig *r)
{
    int socks[2];
    if (za_linux_socketpair(socks) < 0)
        return;
    (void)za_linux_say(socks[0]);
    (void)za_linux_hear(socks[1], false);
    if (za_linux_send_file(socks[0], socks[1]) == 0)
        (void)za_linux_recv_file(socks[1]);
    (void)za_linux_keep_only(r->fd);
}

static void ask_for_parent(struct rig *r)
{
    (void)r;
    (void)za_linux_parent();
}

static void lose_power(struct rig *r)
{
    (void)r;
    za_linux_drop_privileges();
}

#ifndef ZA_THREADS_PTHREAD /* this child is none that pthread_create may be called in */
static void second(void *arg)
{
    uint32_t *word = arg;
    __atomic_store_n(word, 1, __ATOMIC_RELEASE);
    za_linux_wake(word);
    (void)za_linux_wait(word, 1, ZA_NS_PER_S);
    (void)za_sys1(SYS_exit_group, 1);
}

static void have_thread(struct rig *r)
{
    if (za_linux_thread_start(second, &r->word, "zalloc-rehearse", true) == 0)
        (void)za_linux_wait(&r->word, 0, ZA_NS_PER_S);
}
#else
static void have_thread(struct rig *r)
{
    (void)r;
}
#endif

#define KILLS "a seccomp filter kills whoever calls "

/* Without `spare` nothing goes. Rights are given up when all that needs them is done. */
static const struct step {
    void (*make)(struct rig *r);
    enum za_dead spare;
    const char *why;
} steps[] = {
    {no_dump, ZA_DEAD_DUMPABLE, NULL},
    {exist, 0, KILLS "prctl, futex or what asks who one is"},
    {have_memory, 0, KILLS "mmap, mprotect or madvise"},
    {have_files, 0, KILLS "close_range or eventfd2"},
    {open_uffd, 0, KILLS "userfaultfd"},
    {serve_faults, 0, KILLS "ioctl, read or ppoll"},
    {move, 0, KILLS "ioctl"},
    {carry, ZA_DEAD_CARRY, NULL},
    {look, ZA_DEAD_PRESENT, NULL},
    {look_closely, ZA_DEAD_PAGEMAP, NULL},
    {meet, ZA_DEAD_SYNC, NULL},
    {rank, ZA_DEAD_PRIORITY, NULL},
    {fetch, ZA_DEAD_FETCH, NULL},
    {hand_over, ZA_DEAD_HAND_OVER, NULL},
    {ask_for_parent, ZA_DEAD_PARENT, NULL},
    {lose_power, ZA_DEAD_PRIVILEGES, NULL},
    {have_thread, 0, KILLS "clone"},
};

/* ---- child and parent ---------------------------------------------------------------------------
 */

_Noreturn static void child(struct note *n)
{
    struct rig r = {.fd = -1};
    for (uint32_t i = 0; i < ZA_ARRAY_LEN(steps); i++) {
        __atomic_store_n(&n->at, i, __ATOMIC_RELEASE);
        steps[i].make(&r);
    }
    __atomic_store_n(&n->over, 1, __ATOMIC_RELEASE);
    for (;;)
        (void)za_sys1(SYS_exit_group, 0);
}

/* False: no child could be made. */
static bool send_child(struct note *n)
{
    uint64_t all = ~0ull, old = 0;
    (void)za_sys4(SYS_rt_sigprocmask, SIG_SETMASK, &all, &old, sizeof(all));
    long pid = za_sys5(SYS_clone, CLONE_UNTRACED, 0, 0, 0, 0);
    if (pid == 0)
        child(n);
    while (pid > 0 && za_sys4(SYS_wait4, pid, 0, __WCLONE, 0) == -EINTR)
        ;
    (void)za_sys4(SYS_rt_sigprocmask, SIG_SETMASK, &old, 0, sizeof(old));
    return pid > 0;
}

/* Ends: each round but the last takes away a step that had not been. */
static const char *with_note(struct note *n)
{
    while (send_child(n)) {
        const struct step *s = &steps[__atomic_load_n(&n->at, __ATOMIC_ACQUIRE)];
        if (__atomic_load_n(&n->over, __ATOMIC_ACQUIRE))
            return NULL;
        za_stat_add(ZA_STAT_FILTER_DEATHS, 1);
        if (!s->spare || za_linux_is_dead(s->spare))
            return s->why ? s->why : "a seccomp filter kills, and what for is not clear";
        za_linux_dead |= s->spare;
    }
    return "there is a seccomp filter, and no child could be made to try what it kills for";
}

static const char *rehearse(void)
{
    long p = za_sys6(SYS_mmap, 0, (long)za_os->page_size, PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if ((unsigned long)p > -4096ul)
        return "no memory to try what the seccomp filter kills for";
    const char *why = with_note((struct note *)p);
    (void)za_sys2(SYS_munmap, p, za_os->page_size);
    return why;
}

/* ---- is there a filter? -------------------------------------------------------------------------
 */

/* The digit behind `key`, read on from file to file position; -1: there is none. */
static int digit_behind(int fd, const char *key)
{
    char block[256] = {0};
    size_t met = 1; /* the file begins like a line */
    for (;;) {
        long n = za_sys3(SYS_read, fd, block, sizeof(block));
        if (n <= 0)
            return -1;
        for (long i = 0; i < n; i++) {
            if (!key[met])
                return block[i] - '0';
            met = block[i] == key[met] ? met + 1 : block[i] == '\n';
        }
    }
}

/* As the dynamic linker reads files: a call that every filter allows. */
static bool filtered(void)
{
    long fd = za_sys4(SYS_openat, AT_FDCWD, "/proc/thread-self/status", O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return false;
    int mode = digit_behind((int)fd, "\nSeccomp:\t");
    (void)za_sys1(SYS_close, fd);
    return mode == MODE_FILTER;
}

int za_linux_rehearse(const char **why)
{
    *why = NULL;
    if (za_without(D14_REHEARSE) || !filtered())
        return 0;
    *why = rehearse();
    return *why ? -EPERM : 0;
}
