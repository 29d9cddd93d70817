/* SPDX-License-Identifier: MIT */
/*
 * identity -- a process that gives its identity away while its memory is cold: afterwards no thread
 * of it is what it was, and its memory is served by new ones.
 *
 * Each story is told in a child, since there is no way back.
 */
#include "hostile.h"

#include <dirent.h>
#include <grp.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/time.h>

#define LEN (64 * UNIT)
#define NOBODY 65534u
#define LONELY 61234u /* nobody else is */
#define READERS 3
#define STEPS 20

/* True: a line of every thread's status, e.g. "Uid:", holds `id` four times. */
static bool line_is(const char *status, const char *name, unsigned id)
{
    unsigned v[4];
    const char *at = strstr(status, name);
    if (!at || sscanf(at + strlen(name), "%u %u %u %u", v, v + 1, v + 2, v + 3) != 4)
        return false;
    return v[0] == id && v[1] == id && v[2] == id && v[3] == id;
}

static bool thread_is(const char *tid, const char *name, unsigned id)
{
    char path[300], text[4096];
    snprintf(path, sizeof(path), "/proc/self/task/%s/status", tid);
    FILE *f = fopen(path, "r");
    if (!f)
        return true; /* ended meanwhile */
    size_t n = fread(text, 1, sizeof(text) - 1, f);
    fclose(f);
    text[n] = '\0';
    return line_is(text, name, id);
}

static bool threads_are(const char *name, unsigned id)
{
    bool good = true;
    DIR *dir = opendir("/proc/self/task");
    for (struct dirent *d; dir && (d = readdir(dir));)
        if (d->d_name[0] != '.')
            good &= thread_is(d->d_name, name, id);
    if (dir)
        closedir(dir);
    return dir && good;
}

/* A thread that has just ended may be seen for a moment. */
static bool all_threads_are(const char *name, unsigned id)
{
    for (unsigned i = 0; i < 200; i++) {
        if (threads_are(name, id))
            return true;
        sleep_ms(10);
    }
    return false;
}

static bool become_nobody(void)
{
    return setgroups(0, NULL) == 0 && setgid(NOBODY) == 0 && setuid(NOBODY) == 0;
}

static bool goes_for_good(void *arg)
{
    char *p = arg;
    uint64_t before = stat_of("stats.threads.renewed");
    bool good = become_nobody();
    good &= prctl(PR_SET_DUMPABLE, 1) == 0; /* to read our own /proc */
    good &= all_threads_are("Uid:", NOBODY) && all_threads_are("Gid:", NOBODY);
    good &= stat_of("stats.threads.renewed") == before + 1 &&
            stat_of("stats.threads.renew_failed") == 0;
    good &= right(p, 0, LEN, 1) && go_cold(p, LEN) && right(p, 0, LEN, 1);
    return good && go_cold(p, LEN) && right(p, 0, LEN, 1);
}

/* remap leaves what may be shared with the parent, and without pagemap (undumpable) that is all. */
static bool child_reads(void *arg)
{
    return right(arg, 0, LEN, 1) && (go_cold(arg, LEN) || backend_is("remap")) &&
           right(arg, 0, LEN, 1);
}

static bool goes_and_forks(void *arg)
{
    return become_nobody() && in_child(child_reads, arg) && right(arg, 0, LEN, 1);
}

static bool comes_back(void *arg)
{
    uint64_t before = stat_of("stats.threads.renewed");
    bool good = true;
    for (unsigned i = 0; i < 100; i++)
        good &= seteuid(NOBODY) == 0 && seteuid(0) == 0;
    good &= setegid(NOBODY) == 0 && setegid(0) == 0;
    return good && stat_of("stats.threads.renewed") == before && right(arg, 0, LEN, 1);
}

/* ---- while others fault -------------------------------------------------------------------------
 */

struct reader {
    const char *p;
    bool stop, good;
};

static void *read_on(void *arg)
{
    struct reader *r = arg;
    r->good = true;
    while (!__atomic_load_n(&r->stop, __ATOMIC_ACQUIRE))
        r->good &= right(r->p, 0, LEN, 1);
    return NULL;
}

/* Every id differs from the one before, so that every step replaces the threads. */
static bool goes_among_readers(void *arg)
{
    struct reader r[READERS];
    pthread_t t[READERS];
    uint64_t before = stat_of("stats.threads.renewed");
    bool good = prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP) == 0;
    for (unsigned i = 0; i < READERS; i++) {
        r[i] = (struct reader){arg, false, false};
        good &= pthread_create(&t[i], NULL, read_on, &r[i]) == 0;
    }
    for (unsigned i = 1; i <= STEPS; i++) {
        (void)ctl("pager.evict", NULL, NULL, NULL, 0);
        good &= setresuid(1000 + i, 1000 + i, 1000 + i) == 0;
    }
    for (unsigned i = 0; i < READERS; i++) {
        __atomic_store_n(&r[i].stop, true, __ATOMIC_RELEASE);
        pthread_join(t[i], NULL);
        good &= r[i].good;
    }
    return good && stat_of("stats.threads.renewed") == before + STEPS;
}

/* ---- at awkward moments ---------------------------------------------------------------------------
 */

/* A new fault thread, and no worker: the limit leaves room for one more. */
static bool goes_short_of_threads(void)
{
    const struct rlimit two = {2, 2};
    return setrlimit(RLIMIT_NPROC, &two) == 0 && setgroups(0, NULL) == 0 && setgid(LONELY) == 0 &&
           setuid(LONELY) == 0;
}

static bool drops_without_a_worker(void *arg)
{
    char *p = arg;
    bool good = goes_short_of_threads() && madvise(p, LEN / 2, MADV_DONTNEED) == 0;
    return good && zero(p, 0, LEN / 2) && right(p, LEN / 2, LEN / 2, 1);
}

/* What F lives by kills from here on. */
static bool filters_without_a_worker(void *arg)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_THREAD),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof(code) / sizeof(*code), code};
    return goes_short_of_threads() && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) ==
               0 &&
           right(arg, 0, LEN, 1);
}

/* ---- in a signal handler ---------------------------------------------------------------------------
 */

static volatile sig_atomic_t changed; /* 1: well */
static suseconds_t alarm_us;

static void change(int sig)
{
    (void)sig;
    changed = setuid(NOBODY) == 0 ? 1 : 2;
}

static bool one_fork(void)
{
    int status = -1;
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

static bool changes_amid(bool forks, const char *p)
{
    const struct itimerval once = {{0, 0}, {0, alarm_us}};
    bool good = signal(SIGALRM, change) != SIG_ERR && setitimer(ITIMER_REAL, &once, NULL) == 0;
    while (!changed && good)
        good = forks ? one_fork() : ctl("pager.evict", NULL, NULL, NULL, 0) == 0;
    good &= prctl(PR_SET_DUMPABLE, 1) == 0 && all_threads_are("Uid:", NOBODY);
    return good && changed == 1 && right(p, 0, LEN, 1);
}

static bool changes_amid_request(void *arg)
{
    return changes_amid(false, arg);
}

static bool changes_amid_fork(void *arg)
{
    return changes_amid(true, arg);
}

static bool changes_often(void *arg)
{
    bool good = true;
    for (alarm_us = 2000; alarm_us < 30000 && good; alarm_us += 2700)
        good = in_child(changes_amid_request, arg) && in_child(changes_amid_fork, arg);
    return good;
}

static int changes_itself(void *arg)
{
    (void)arg;
    return setuid(NOBODY) == 0 ? 0 : 1;
}

/* As vfork does it. */
static bool borrower(void *arg)
{
    static char stack[UNIT] __attribute__((aligned(16)));
    uint64_t before = stat_of("stats.threads.renewed");
    pid_t pid =
        clone(changes_itself, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | SIGCHLD, NULL);
    int status = -1;
    bool good = waitpid(pid, &status, 0) == pid && status == 0;
    return good && stat_of("stats.threads.renewed") == before && getuid() == 0 &&
           right(arg, 0, LEN, 1);
}

/* A child of a cold process: what is stored is its own as soon as it has read it. */
static void story(const char *name, bool (*fn)(void *), char *p)
{
    bool cold = go_cold(p, LEN);
    point(name, cold && in_child(fn, p));
}

int main(int argc, char **argv)
{
    if (!begin(argc, argv))
        return 77;
    if (getuid() != 0) {
        skip("identity", "needs root");
        return end();
    }
    char *p = block(LEN, 1);
    story("no thread keeps what the process gave away", goes_for_good, p);
    story("and a child finds its memory", goes_and_forks, p);
    story("what can be taken back changes nothing", comes_back, p);
    story("while threads wait for memory", goes_among_readers, p);
    story("a vfork child changes itself alone", borrower, p);
    story("in a signal handler, amid requests and forks", changes_often, p);
    story("no room for a worker: DONTNEED", drops_without_a_worker, p);
    story("no room for a worker: a filter for all threads", filters_without_a_worker, p);
    point("the parent is what it was", getuid() == 0 && right(p, 0, LEN, 1));
    return end();
}
