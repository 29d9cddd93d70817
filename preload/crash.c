/* SPDX-License-Identifier: MIT */
/*
 * crash -- thaw_on_crash:true: before the kernel writes a core dump, every page comes back (D10).
 *
 * The kernel does not wait for the fault thread while it writes a core: pages that are out are
 * holes in it. So, and only if asked to, we take the signals whose default action is a core dump,
 * where the program has left them at their default. The handler brings everything back, gives the
 * signal its default action again and sends itself the same signal with the same information; it is
 * delivered when the handler returns, to the very instruction that was interrupted, so that
 * registers, frames and siginfo in the core are those of the crash.
 *
 * A program that installs a handler of its own later replaces ours, and may call ours from it, or
 * put it back and raise the signal again: both thaw. One that ends by giving the signal its default
 * action itself gets a core with holes (`zalloc core` fills them).
 *
 *  I1  The handler takes no lock, allocates nothing and calls system calls only: it may run inside
 *      malloc, in a thread of ours, and with any lock held by anyone.
 *  I2  It never waits without end: another thread does the work, needs nothing but the fault
 *      thread for it, and is given up on when nothing has come back for PATIENCE_NS.
 *  I3  It runs on an alternate stack, so that a stack overflow can be handled: threads get one with
 *      their thread cache, unless they have one.
 *  I4  Not in a process that is not the one that was prepared: a vfork child shares our memory, and
 *      a child made without our handlers has every page.
 *
 * Nothing is brought back where no core is written: RLIMIT_CORE, a process that is not dumpable.
 * In our own threads all signals are blocked, so the kernel ends the process without calling
 * anyone: a core with holes.
 *
 * Locks: none.  May sleep: in the handler, for the thaw.  May fault: no.  Allocates: a thread's
 * stack, by os.
 */
#include "preload/crash.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "base/conf.h"
#include "os/os.h"
#include "os/sys.h"
#include "pager/pager.h"

#define STACK_BYTES (64 * ZA_KIB)
#define LOOK_NS (50 * ZA_NS_PER_MS)
#define PATIENCE_NS (3 * ZA_NS_PER_S)

static const int fatal[] = {SIGQUIT, SIGILL,  SIGTRAP, SIGABRT, SIGBUS,
                            SIGFPE,  SIGSEGV, SIGSYS,  SIGXCPU, SIGXFSZ};

static int prepared;   /* the process id; 0: the option is off */
static uint32_t dying; /* atomic: somebody has started the thaw */
static uint32_t done;  /* futex word: it is over */
static __thread void *stack;

/* A pipe gets its core whatever the limit is, except 1 (core(5)). */
static bool core_wanted(void)
{
    struct {
        uint64_t cur, max;
    } lim = {UINT64_MAX, UINT64_MAX};
    char first = 0;
    if (za_sys1(SYS_prctl, PR_GET_DUMPABLE) == 0)
        return false;
    (void)za_sys4(SYS_prlimit64, 0, RLIMIT_CORE, 0, &lim);
    if (lim.cur > 1)
        return true;
    long fd =
        za_sys4(SYS_openat, AT_FDCWD, "/proc/sys/kernel/core_pattern", O_RDONLY | O_CLOEXEC, 0);
    if (fd >= 0) {
        (void)za_sys3(SYS_read, fd, &first, 1);
        (void)za_sys1(SYS_close, fd);
    }
    return lim.cur == 0 && (first == '|' || first == '@');
}

static void thaw_main(void *arg)
{
    (void)arg;
    za_pager_hold_begin();
    (void)za_pager_bring_all();
    __atomic_store_n(&done, 1, __ATOMIC_RELEASE);
    za_os->wake(&done);
}

static bool start_thaw(void)
{
    if (__atomic_exchange_n(&dying, 1, __ATOMIC_ACQ_REL))
        return true;
    return za_os->thread_start(thaw_main, NULL, "zalloc-thaw", true) == 0;
}

static void thaw(void)
{
    if (za_os->pid() != prepared || !za_pager_active() || !core_wanted() || !start_thaw())
        return;
    uint64_t seen = za_pager_brought(), since = za_os->now();
    while (!__atomic_load_n(&done, __ATOMIC_ACQUIRE) && za_os->now() - since < PATIENCE_NS) {
        (void)za_os->wait(&done, 0, LOOK_NS);
        uint64_t now = za_pager_brought();
        if (now != seen)
            since = za_os->now();
        seen = now;
    }
}

/* The kernel's struct, all zero: the default action. */
static void set_default(int sig)
{
    struct {
        void *handler;
        unsigned long flags;
        void *restorer;
        uint64_t mask;
    } dfl = {0, 0, 0, 0};
    (void)za_sys4(SYS_rt_sigaction, sig, &dfl, 0, sizeof(dfl.mask));
}

/* The signal is blocked now, and delivered when the handler returns. */
static void send_again(int sig, siginfo_t *info)
{
    int pid = za_os->pid(), tid = za_os->tid();
    if (!info || za_sys4(SYS_rt_tgsigqueueinfo, pid, tid, sig, info) < 0)
        (void)za_sys3(SYS_tgkill, pid, tid, sig);
}

static void on_crash(int sig, siginfo_t *info, void *context)
{
    (void)context;
    thaw();
    set_default(sig);
    send_again(sig, info);
}

static void take(int sig)
{
    struct sigaction old, mine = {.sa_sigaction = on_crash, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    if (sigaction(sig, NULL, &old) != 0 || old.sa_handler != SIG_DFL || (old.sa_flags & SA_SIGINFO))
        return;
    (void)sigfillset(&mine.sa_mask);
    (void)sigaction(sig, &mine, NULL);
}

void za_crash_prepare(void)
{
    if (!za_conf.thaw_on_crash)
        return;
    prepared = za_os->pid();
    za_crash_thread_begin();
    for (unsigned i = 0; i < ZA_ARRAY_LEN(fatal); i++)
        take(fatal[i]);
}

void za_crash_child(void)
{
    if (prepared)
        prepared = za_os->pid();
}

void za_crash_thread_begin(void)
{
    stack_t old = {0}, mine = {.ss_size = STACK_BYTES};
    if (!za_conf.thaw_on_crash || stack || za_sys2(SYS_sigaltstack, 0, &old) < 0 ||
        !(old.ss_flags & SS_DISABLE) || za_os->map(&mine.ss_sp, STACK_BYTES) < 0)
        return;
    stack = mine.ss_sp;
    (void)za_sys2(SYS_sigaltstack, &mine, 0);
}

void za_crash_thread_end(void)
{
    stack_t old = {0}, none = {.ss_flags = SS_DISABLE};
    if (!stack)
        return;
    if (za_sys2(SYS_sigaltstack, 0, &old) == 0 && old.ss_sp == stack)
        (void)za_sys2(SYS_sigaltstack, &none, 0);
    (void)za_os->unmap(stack, STACK_BYTES);
    stack = NULL;
}
