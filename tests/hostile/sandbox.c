/* SPDX-License-Identifier: MIT */
/*
 * sandbox -- descriptors closed, limits small, rights given away, system calls forbidden, before
 * and after our threads start.
 *
 * usage: sandbox stored [SCENARIO]: all of them (with a name in ONLY: that one), each in a process
 * started anew; with SCENARIO, that process.  A scenario is two steps, before exec and after the memory has gone cold; then all
 * bytes are looked at, in the process, in children and theirs, and they go cold again.
 */
#include "hostile.h"

#include <dirent.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#define NBLOCKS 64
#define LEN (2 * UNIT)
#define NOBODY 65534
#define MIB (1ul << 20)
#define IOC_NEW 0xaa00u /* USERFAULTFD_IOC_NEW, of /dev/userfaultfd */

static char *blocks[NBLOCKS];

static bool make_blocks(void)
{
    for (unsigned i = 0; i < NBLOCKS; i++)
        blocks[i] = block(LEN, i + 1);
    return true;
}

static bool all_right(void)
{
    for (unsigned i = 0; i < NBLOCKS; i++)
        if (!right(blocks[i], 0, LEN, i + 1))
            return false;
    return true;
}

static void evict(void)
{
    (void)ctl("pager.evict", NULL, NULL, NULL, 0);
}

static bool reads(void *depth)
{
    if ((uintptr_t)depth > 0) {
        evict();
        if (!in_child(reads, (void *)((uintptr_t)depth - 1)))
            return false;
    }
    return all_right();
}

static void *thread(void *arg)
{
    void *p = malloc(100000);
    memset(p, 1, 100000);
    free(p);
    *(bool *)arg = all_right();
    return NULL;
}

static bool in_thread(void)
{
    bool good = false;
    pthread_t t;
    return pthread_create(&t, NULL, thread, &good) == 0 && pthread_join(t, NULL) == 0 && good;
}

/* What must hold in every scenario in which processes and threads can be made. */
static bool lives(void)
{
    bool good = all_right();
    evict();
    good = in_child(reads, NULL) && good;
    evict();
    good = in_child(reads, (void *)2) && good;
    good = in_thread() && good;
    evict();
    return all_right() && good;
}

/* ---- steps --------------------------------------------------------------------------------------
 */

static bool limit(int what, rlim_t value)
{
    const struct rlimit l = {value, value};
    return setrlimit(what, &l) == 0;
}

/* System call `nr` fails with EPERM; with `arg`, only where its second argument is that. */
static bool forbid(unsigned nr, unsigned arg, unsigned flags)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, arg, 0, 1),
        BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, arg ? arg : ~0u, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
    };
    struct sock_fprog program = {sizeof(code) / sizeof(*code), code};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program) == 0;
}

static bool nothing(void)
{
    return true;
}

static bool close_all(void)
{
    closefrom(0);
    return true;
}

static bool dup_over_all(void)
{
    for (int fd = 3; fd < 300; fd++)
        if (dup2(0, fd) < 0)
            return false;
    return true;
}

static bool few_files(void)
{
    /* What the runner left open would take the number that the next exec's loader needs. */
    (void)close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
    return limit(RLIMIT_NOFILE, 4);
}

static bool no_files(void)
{
    return limit(RLIMIT_NOFILE, 0);
}

static bool small_space(void)
{
    return limit(RLIMIT_AS, 512 * MIB);
}

static bool small_data(void)
{
    return limit(RLIMIT_DATA, 256 * MIB);
}

static bool no_userfaultfd(void)
{
    return forbid(SYS_userfaultfd, 0, 0) && forbid(SYS_ioctl, IOC_NEW, 0);
}

static bool no_userfaultfd_anywhere(void)
{
    return forbid(SYS_userfaultfd, 0, SECCOMP_FILTER_FLAG_TSYNC) &&
           forbid(SYS_openat, 0, SECCOMP_FILTER_FLAG_TSYNC);
}

static bool become_nobody(void)
{
    return setgroups(0, NULL) == 0 && setgid(NOBODY) == 0 && setuid(NOBODY) == 0;
}

static bool nobody_but_dumpable(void)
{
    return become_nobody() && prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) == 0;
}

static bool undumpable(void)
{
    return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0;
}

static bool jail(void)
{
    char path[] = "/tmp/zalloc-hostile.XXXXXX";
    return mkdtemp(path) && chroot(path) == 0 && chdir("/") == 0;
}

static bool jail_of_nobody(void)
{
    return jail() && become_nobody();
}

static bool own_world(void)
{
    return unshare(CLONE_FILES | CLONE_FS | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS) == 0;
}

/* Somebody who has no other process. */
static bool one_process(void)
{
    unsigned id = 200000 + (unsigned)getpid();
    return limit(RLIMIT_NPROC, 1) && setgroups(0, NULL) == 0 && setgid(id) == 0 && setuid(id) == 0;
}

/* Without it the kernel announces no child, and our descriptor comes from the device. */
static bool no_ptrace(void)
{
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct caps[2];
    if (prctl(PR_CAPBSET_DROP, CAP_SYS_PTRACE, 0, 0, 0) < 0 || syscall(SYS_capget, &head, caps) < 0)
        return false;
    for (unsigned i = 0; i < 2; i++)
        caps[i].inheritable = 0;
    caps[0].effective = caps[0].permitted &= ~(1u << CAP_SYS_PTRACE);
    return syscall(SYS_capset, &head, caps) == 0;
}

/* ---- looks --------------------------------------------------------------------------------------
 */

/* The hexadecimal or decimal value of a line of a thread's status. */
static uint64_t status_of(const char *tid, const char *key, int base)
{
    char path[64], line[256];
    uint64_t v = UINT64_MAX;
    snprintf(path, sizeof(path), "/proc/self/task/%.20s/status", tid);
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof(line), f))
        if (strncmp(line, key, strlen(key)) == 0)
            v = strtoull(line + strlen(key), NULL, base);
    if (f)
        fclose(f);
    return v;
}

static bool powerless(const char *tid)
{
    return status_of(tid, "CapEff:", 16) == 0 && status_of(tid, "CapPrm:", 16) == 0 &&
           status_of(tid, "CapInh:", 16) == 0 && status_of(tid, "NoNewPrivs:", 10) == 1;
}

/* All threads but the first are ours. */
static unsigned powerless_threads(void)
{
    DIR *d = opendir("/proc/self/task");
    unsigned n = 0;
    for (struct dirent *e = readdir(d); e; e = readdir(d))
        if (e->d_name[0] != '.' && atoi(e->d_name) != getpid())
            n += powerless(e->d_name) ? 1 : 100;
    closedir(d);
    return n;
}

static bool powerless_child(void *arg)
{
    (void)arg;
    evict();
    return powerless_threads() == 2;
}

static bool no_power(void)
{
    return powerless_threads() == 2 && in_child(powerless_child, NULL) &&
           prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 1 && lives();
}

static bool plain(void)
{
    return backend_is("none") && lives();
}

static bool hide(int prot)
{
    bool good = true;
    for (unsigned i = 0; i < NBLOCKS; i += 2)
        good &= mprotect(blocks[i] + PAGE, UNIT, prot) == 0;
    return good;
}

static bool sees_hidden(void *arg)
{
    (void)arg;
    return hide(PROT_READ | PROT_WRITE) && all_right();
}

/* Such a fork brings everything back first; what may not be touched must be there already. */
static bool hidden_from_fork(void)
{
    return hide(PROT_NONE) && in_child(sees_hidden, NULL) && sees_hidden(NULL) && lives();
}

static bool unthreaded(void)
{
    return backend_is("none") && all_right();
}

/* The pages left behind by children, which no MOVE takes before they were made exclusive again. */
static bool goes_cold_after_children(void)
{
    return lives() && all_right() && in_child(reads, NULL) &&
           (torture() || go_cold(blocks[0], LEN)) && all_right();
}

static const struct scenario {
    const char *name;
    bool (*before)(void), (*after)(void), (*look)(void);
} scenarios[] = {
    {"nothing special", nothing, nothing, lives},
    {"no thread of ours can do anything", nothing, nothing, no_power},
    {"closefrom(0) before", close_all, nothing, lives},
    {"closefrom(0) after", nothing, close_all, lives},
    {"dup2 over every number", nothing, dup_over_all, lives},
    {"RLIMIT_NOFILE 4 before", few_files, nothing, lives},
    {"RLIMIT_NOFILE 4 after", nothing, few_files, lives},
    {"RLIMIT_NOFILE 0 after", nothing, no_files, lives},
    {"RLIMIT_AS 512 MiB before", small_space, nothing, lives},
    {"RLIMIT_AS 512 MiB after", nothing, small_space, all_right},
    {"RLIMIT_DATA 256 MiB before", small_data, nothing, lives},
    {"seccomp EPERM before", no_userfaultfd, nothing, plain},
    {"seccomp EPERM after", nothing, no_userfaultfd, lives},
    {"seccomp EPERM after, all threads", nothing, no_userfaultfd_anywhere, lives},
    {"nobody before", become_nobody, nothing, plain},
    {"nobody after", nothing, become_nobody, goes_cold_after_children},
    {"nobody after, dumpable", nothing, nobody_but_dumpable, goes_cold_after_children},
    {"undumpable after", nothing, undumpable, goes_cold_after_children},
    {"chroot after", nothing, jail, lives},
    {"chroot and nobody after", nothing, jail_of_nobody, lives},
    {"no CAP_SYS_PTRACE before", no_ptrace, nothing, lives},
    {"no CAP_SYS_PTRACE, chroot after", no_ptrace, jail, hidden_from_fork},
    {"unshare after", nothing, own_world, lives},
    {"RLIMIT_NPROC 1 before", one_process, nothing, unthreaded},
};

#define NSCENARIOS (sizeof(scenarios) / sizeof(*scenarios))

/* In the process started anew. 0: as it should be. */
static int run(const struct scenario *s, int argc, char **argv)
{
    (void)begin(argc, argv);
    if (!ctl || !make_blocks())
        return 2;
    evict();
    if (!s->after())
        return 3;
    return s->look() ? 0 : 1;
}

static bool holds(unsigned i, char **argv)
{
    char number[12];
    int status = -1;
    snprintf(number, sizeof(number), "%u", i);
    pid_t pid = fork();
    if (pid == 0) {
        alarm(25);
        if (!scenarios[i].before())
            _exit(4);
        execl("/proc/self/exe", argv[0], argv[1], number, NULL);
        execl(argv[0], argv[0], argv[1], number, NULL);
        _exit(5);
    }
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

int main(int argc, char **argv)
{
    if (argc > 2)
        return run(&scenarios[(unsigned)atoi(argv[2]) % NSCENARIOS], argc, argv);
    if (!begin(argc, argv))
        return 77;
    const char *only = getenv("ONLY");
    for (unsigned i = 0; i < NSCENARIOS; i++)
        if (!only || strcmp(only, scenarios[i].name) == 0)
            point(scenarios[i].name, holds(i, argv));
    return end();
}
