/* SPDX-License-Identifier: MIT */
/*
 * filters -- system calls that the program forbids (seccomp): one at a time, before our threads
 * start and after, to the calling thread or to all, with an error or with death.
 *
 * usage: filters stored|limbo [MODE NUMBER]: all of them (with a point's name in ONLY: that one), each
 * in a process started anew.
 *
 * What is forbidden to all threads is forbidden to ours; then memory must not be lost either. What
 * would kill our threads is found out before they start: there is a pager exactly if it can do
 * without. Without futex libc itself gives up.
 */
#include "hostile.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>

#define NBLOCKS 48u
#define LEN (2 * UNIT)
#define PATIENCE_S 20u

static char *blocks[NBLOCKS];

static void evict(void)
{
    (void)ctl("pager.evict", NULL, NULL, NULL, 0);
}

static bool all_right(void)
{
    for (unsigned i = 0; i < NBLOCKS; i++)
        if (!right(blocks[i], 0, LEN, i + 1))
            return false;
    return true;
}

/* `nr` gets `verdict`, everything else passes; through syscall(2), as every program does it. */
static bool forbid(unsigned nr, unsigned verdict, unsigned flags)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, verdict),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof(code) / sizeof(*code), code};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program) == 0;
}

/* Everything the allocator does for a single thread. */
static bool work(void)
{
    bool good = all_right();
    for (unsigned i = 0; i < 2; i++) {
        char *small = malloc(100 + i), *large = malloc(40 * UNIT), *zeros;
        memset(small, 1, 100);
        memset(large + 39 * UNIT, 1, UNIT);
        large = realloc(large, 200 * UNIT);
        good = large && large[39 * UNIT] == 1 && good;
        free(large);
        zeros = calloc(1, 50 * UNIT);
        good = zero(zeros, 40 * UNIT, 42 * UNIT) && good;
        free(zeros);
        free(small);
    }
    return all_right() && good;
}

static bool child_works(void *arg)
{
    (void)arg;
    return work();
}

/* One made without fork handlers. */
static bool bare_child_works(void)
{
    int status = -1;
    long pid = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (pid == 0)
        _exit(work() ? 0 : 1);
    return pid > 0 && waitpid((pid_t)pid, &status, 0) == pid && status == 0;
}

static void *thread_works(void *arg)
{
    *(bool *)arg = work();
    return NULL;
}

/* Where children and threads may be made. */
static bool works_everywhere(unsigned nr)
{
    bool good = work();
    pthread_t t;
    evict();
    if (nr == SYS_clone || nr == SYS_clone3)
        return work() && good;
    good = in_child(child_works, NULL) && good;
    evict();
    good = bare_child_works() && good;
    evict();
    bool threads = false;
    good = pthread_create(&t, NULL, thread_works, &threads) == 0 && pthread_join(t, NULL) == 0 &&
           threads && good;
    return work() && good;
}

/* ---- the modes ----------------------------------------------------------------------------------
 */

enum mode {
    ERROR_BEFORE,
    ERROR_AFTER,
    ERROR_FOR_ALL,
    DEATH_FOR_ALL,
    DEATH_BEFORE,
    THREAD_DEATH_BEFORE,
    SIGNAL_BEFORE,
    NMODES
};

static const char *const mode_names[NMODES] = {"EPERM before",
                                               "EPERM after",
                                               "EPERM after, for all threads",
                                               "a thread's death after, for all threads",
                                               "a process's death before",
                                               "a thread's death before",
                                               "SIGSYS before"};

struct call {
    const char *name;
    unsigned nr;
    bool libc;  /* a process without the library dies of it too, or cannot begin */
    bool spare; /* there is a pager without it, too */
};

static const struct call calls[] = {
    {"userfaultfd", SYS_userfaultfd, false, false},
    {"ioctl", SYS_ioctl, false, false},
    {"close_range", SYS_close_range, false, false},
    {"eventfd2", SYS_eventfd2, false, false},
    {"membarrier", SYS_membarrier, false, true},
    {"mincore", SYS_mincore, false, true},
    {"madvise", SYS_madvise, true, false},
    {"ppoll", SYS_ppoll, false, false},
    {"read", SYS_read, true, false},
    {"setpriority", SYS_setpriority, false, true},
    {"capset", SYS_capset, false, true},
    {"clone", SYS_clone, true, false},
    {"pidfd_open", SYS_pidfd_open, false, true},
    {"pidfd_getfd", SYS_pidfd_getfd, false, true},
    {"socketpair", SYS_socketpair, false, true},
    {"sendmsg", SYS_sendmsg, false, true},
    {"pread64", SYS_pread64, true, false},
    {"mremap", SYS_mremap, true, false},
    {"gettid", SYS_gettid, true, false},
    {"prctl", SYS_prctl, false, false},
    {"getgroups", SYS_getgroups, false, false},
    {"unshare", SYS_unshare, false, true},
    {"uname", SYS_uname, false, false},
};

#define NCALLS (sizeof(calls) / sizeof(*calls))

static unsigned verdict_of(enum mode m)
{
    switch (m) {
    case DEATH_FOR_ALL:
    case THREAD_DEATH_BEFORE: return SECCOMP_RET_KILL_THREAD;
    case DEATH_BEFORE: return SECCOMP_RET_KILL_PROCESS;
    case SIGNAL_BEFORE: return SECCOMP_RET_TRAP;
    default: return SECCOMP_RET_ERRNO | EPERM;
    }
}

static bool is_before(enum mode m)
{
    return m == ERROR_BEFORE || m >= DEATH_BEFORE;
}

static bool before(enum mode m, unsigned nr)
{
    return !is_before(m) || forbid(nr, verdict_of(m), 0);
}

static bool after(enum mode m, unsigned nr)
{
    bool all = m == ERROR_FOR_ALL || m == DEATH_FOR_ALL;
    return is_before(m) || forbid(nr, verdict_of(m), all ? SECCOMP_FILTER_FLAG_TSYNC : 0);
}

/* What cannot be asked of a process under this filter, whatever its malloc. */
static bool senseless(enum mode m, const struct call *c)
{
    if (m >= DEATH_FOR_ALL)
        return c->libc || (m == DEATH_FOR_ALL && c->nr == SYS_prctl);
    return m == ERROR_BEFORE && (c->nr == SYS_read || c->nr == SYS_pread64);
}

static int run(enum mode m, const struct call *c)
{
    if (!ctl)
        return 2;
    for (unsigned i = 0; i < NBLOCKS; i++)
        blocks[i] = block(LEN, i + 1);
    evict();
    if (!after(m, c->nr))
        return 3;
    if (m >= DEATH_BEFORE && backend_is("none") == c->spare)
        return 6;
    return works_everywhere(c->nr) ? 0 : 1;
}

static int begun_anew(enum mode m, unsigned i, char **argv)
{
    char mode[12], number[12];
    int status = -1;
    snprintf(mode, sizeof(mode), "%u", (unsigned)m);
    snprintf(number, sizeof(number), "%u", i);
    pid_t pid = fork();
    if (pid == 0) {
        alarm(PATIENCE_S);
        if (!before(m, calls[i].nr))
            _exit(4);
        execl("/proc/self/exe", argv[0], argv[1], mode, number, NULL);
        _exit(5);
    }
    return pid > 0 && waitpid(pid, &status, 0) == pid ? status : -1;
}

/* The whole list once is enough; how a thread dies, a few times. */
static bool left_out(enum mode m, unsigned i)
{
    return ((want_limbo || torture()) && i % 6 != 1) || (m > DEATH_BEFORE && i % 4 != 0);
}

int main(int argc, char **argv)
{
    if (argc > 3) {
        (void)begin(argc, argv);
        return run((enum mode)atoi(argv[2]), &calls[(unsigned)atoi(argv[3]) % NCALLS]);
    }
    if (!begin(argc, argv))
        return 77;
    const char *only = getenv("ONLY");
    for (unsigned m = 0; m < NMODES; m++)
        for (unsigned i = 0; i < NCALLS; i++) {
            char name[144];
            snprintf(name, 120, "%s: %s", calls[i].name, mode_names[m]);
            if (senseless((enum mode)m, &calls[i]) ||
                (only ? strcmp(only, name) != 0 : left_out((enum mode)m, i)))
                continue;
            int status = begun_anew((enum mode)m, i, argv);
            if (status)
                snprintf(name + strlen(name), 24, " (status %x)", (unsigned)status);
            point(name, status == 0);
        }
    return end();
}
