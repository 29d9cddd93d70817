/* SPDX-License-Identifier: MIT */
/*
 * limits -- what the system gives runs out, or is taken away: mappings, data, memory of the control
 * group, /proc, namespaces, privileges.
 *
 * usage: limits stored|limbo [SCENARIO]: all (with a name in ONLY: that one), each in a process
 * started anew; with SCENARIO, that process.  Environment: SCALE (default 1): how much memory the control group's process has.
 */
#include "hostile.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define NBLOCKS 48u
#define LEN (2 * UNIT)
#define MIB (1ul << 20)
#define NOBODY 65534
#define NOT_HERE 77
#define NOT_NOW 78
#define SMALL_LIMIT (32 * MIB)
#define LARGE_LIMIT (64 * MIB)

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

static bool reads(void *arg)
{
    (void)arg;
    evict();
    return all_right();
}

static void *thread(void *arg)
{
    *(bool *)arg = reads(NULL);
    return NULL;
}

static bool in_thread(void)
{
    bool good = false;
    pthread_t t;
    return pthread_create(&t, NULL, thread, &good) == 0 && pthread_join(t, NULL) == 0 && good;
}

static bool lives(void)
{
    bool good = all_right();
    evict();
    good = in_child(reads, NULL) && good;
    evict();
    good = in_thread() && good;
    evict();
    char *more = block(64 * UNIT, 99);
    evict();
    good = right(more, 0, 64 * UNIT, 99) && good;
    free(more);
    return all_right() && good;
}

static bool nothing(void)
{
    return true;
}

/* ---- mappings -----------------------------------------------------------------------------------
 */

/* Pages with a mapping each, until the kernel has no more; returns the length of all. */
static size_t split_all(char **out)
{
    const size_t most = 400000 * PAGE;
    char *p = mmap(NULL, most, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    size_t at = 0;
    *out = p;
    while (p != MAP_FAILED && at < most && mprotect(p + at, PAGE, PROT_READ) == 0)
        at += 2 * PAGE;
    return p != MAP_FAILED && at < most ? most : 0;
}

/* At the limit nothing new may be had, and nothing may be lost. */
static bool no_mappings(void)
{
    char *p;
    size_t len = split_all(&p);
    if (!len)
        return false;
    bool good = all_right();
    for (unsigned i = 0; i < 3; i++) {
        evict();
        good = all_right() && good;
        char *q = malloc(4 * UNIT), *r = malloc(300 * UNIT), *small = malloc(100);
        if (r)
            memset(r, 1, 300 * UNIT);
        char *grown = q ? realloc(q, 500 * UNIT) : NULL;
        free(grown ? grown : q);
        free(r);
        free(small);
    }
    good = mprotect(blocks[1] + PAGE, PAGE, PROT_READ) < 0 && errno == ENOMEM && good;
    good = all_right() && good;
    good = in_child(reads, NULL) && good;
    munmap(p, len);
    return lives() && good;
}

/* ---- resources ----------------------------------------------------------------------------------
 */

static bool limit(int what, rlim_t value)
{
    const struct rlimit l = {value, value};
    return setrlimit(what, &l) == 0;
}

static bool any_stack(void)
{
    return limit(RLIMIT_STACK, RLIM_INFINITY);
}

static bool no_locked(void)
{
    return limit(RLIMIT_MEMLOCK, 0);
}

static bool no_data(void)
{
    return limit(RLIMIT_DATA, 8 * MIB);
}

static bool little_space(void)
{
    return limit(RLIMIT_AS, 64 * MIB);
}

static bool no_core_no_file(void)
{
    return limit(RLIMIT_CORE, 0) && limit(RLIMIT_FSIZE, 0) && limit(RLIMIT_SIGPENDING, 0) &&
           limit(RLIMIT_MSGQUEUE, 0);
}

/* ---- rights -------------------------------------------------------------------------------------
 */

static bool become_nobody(void)
{
    return setresgid(NOBODY, NOBODY, NOBODY) == 0 && setresuid(NOBODY, NOBODY, NOBODY) == 0;
}

static bool nobody_for_a_while(void)
{
    return seteuid(NOBODY) == 0;
}

static bool no_capability(void)
{
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct none[2] = {{0, 0, 0}};
    return syscall(SYS_capset, &head, none) == 0;
}

static bool nothing_new(void)
{
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0;
}

static bool no_new_code(void)
{
    return prctl(65 /* PR_SET_MDWE */, 1, 0, 0, 0) == 0 || errno == EINVAL;
}

static bool close_all_alone(void)
{
    return close_range(0, ~0u, CLOSE_RANGE_UNSHARE) == 0;
}

static bool close_all_of_all(void)
{
    return close_range(0, ~0u, 0) == 0;
}

/* ---- namespaces ---------------------------------------------------------------------------------
 */

static bool no_proc(void)
{
    return unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           umount2("/proc", MNT_DETACH) == 0;
}

static bool new_pids(void)
{
    return unshare(CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWNET) == 0;
}

/* Away and back again, and somewhere else in between. */
static bool other_mounts(void)
{
    int fd = open("/proc/self/ns/mnt", O_RDONLY);
    bool good = fd >= 0 && unshare(CLONE_NEWNS) == 0 && chdir("/proc") == 0 && all_right();
    evict();
    good = good && setns(fd, CLONE_NEWNS) == 0;
    close(fd);
    return good;
}

/* No thread can be made any more, and of children the first must live as long as the others. */
static bool childless(void)
{
    evict();
    return in_child(reads, NULL) && all_right();
}

/* In a user namespace nobody may do anything to the rest of the world: tried by a child alone. */
static bool as_other_user(void *arg)
{
    (void)arg;
    evict();
    if (unshare(CLONE_NEWUSER) < 0)
        return errno == EINVAL || errno == EPERM || errno == ENOSPC;
    return lives();
}

static bool other_user(void)
{
    return in_child(as_other_user, NULL) && lives();
}

/* ---- the control group's memory -----------------------------------------------------------------
 */

static char group[128];

static bool write_to(const char *file, const char *text)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", group, file);
    int fd = open(path, O_WRONLY);
    bool good = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    close(fd);
    return good;
}

/* In either hierarchy; removed by whoever waits for us. */
static bool own_group_of(size_t limit)
{
    static const char *const roots[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/memory"};
    char bytes[24];
    snprintf(bytes, sizeof(bytes), "%zu", limit);
    for (unsigned i = 0; i < 2; i++) {
        snprintf(group, sizeof(group), "%s/zalloc-hostile-%d", roots[i], getpid());
        if (mkdir(group, 0700) < 0)
            continue;
        bool limited = write_to("memory.max", bytes) || write_to("memory.limit_in_bytes", bytes);
        if (limited && write_to("cgroup.procs", "0"))
            return true;
        rmdir(group);
    }
    _exit(NOT_HERE);
}

static bool small_group(void)
{
    return own_group_of(SMALL_LIMIT);
}

static bool large_group(void)
{
    return own_group_of(LARGE_LIMIT);
}

static void leave_group(pid_t pid)
{
    snprintf(group, sizeof(group), "/sys/fs/cgroup/zalloc-hostile-%d", pid);
    if (rmdir(group) == 0 || errno != ENOENT)
        return;
    snprintf(group, sizeof(group), "/sys/fs/cgroup/memory/zalloc-hostile-%d", pid);
    rmdir(group);
}

/* Four times as much as the group may have, of which never more than a part is in. */
static bool much_in_little(void)
{
    const char *scale = getenv("SCALE");
    const size_t factor = scale ? (size_t)atoi(scale) : 1, step = 4 * MIB;
    const size_t n = 4 * factor * SMALL_LIMIT / step;
    char **all = malloc(n * sizeof(*all));
    bool good = true;
    for (size_t i = 0; i < n; i++) {
        all[i] = block(step, 1000 + i);
        evict();
    }
    for (unsigned round = 0; round < 2; round++)
        for (size_t i = 0; i < n && good; i++) {
            good = right(all[i], 0, step, 1000 + i);
            evict();
        }
    for (size_t i = 0; i < n; i++)
        free(all[i]);
    free(all);
    return lives() && good;
}

/* ---- more than fits, with nobody to take anything out on request ----
 */

#define STEP (2 * MIB)
#define NSTEPS (2 * LARGE_LIMIT / STEP)

static char *steps[NSTEPS];

/* Every second one from `first`: as it was written in the round before, and written anew. */
static bool rewrites(unsigned first, unsigned round)
{
    for (unsigned i = first; i < NSTEPS; i += 2) {
        if (!right(steps[i], 0, STEP, round * 1000ul + i))
            return false;
        fill(steps[i], STEP, (round + 1) * 1000ul + i);
    }
    return true;
}

struct sweep {
    unsigned first, round;
    bool good;
};

static void *sweeps(void *arg)
{
    struct sweep *s = arg;
    s->good = rewrites(s->first, s->round);
    return NULL;
}

static bool by_threads(unsigned round)
{
    struct sweep s[2] = {{0, round, false}, {1, round, false}};
    pthread_t t[2];
    for (unsigned i = 0; i < 2; i++)
        if (pthread_create(&t[i], NULL, sweeps, &s[i]) != 0)
            return false;
    for (unsigned i = 0; i < 2; i++)
        pthread_join(t[i], NULL);
    return s[0].good && s[1].good;
}

static bool reads_some(void *arg)
{
    unsigned round = *(unsigned *)arg;
    return right(steps[0], 0, UNIT, round * 1000ul) &&
           right(steps[NSTEPS / 2], 0, UNIT, round * 1000ul + NSTEPS / 2);
}

/*
 * Twice what the group may have, written, and then all of it read and written by one thread and by
 * two, in the heap's order, and with children in between. In limbo's case most is cold beforehand,
 * else it is all in use when the group is full.
 */
static bool more_than_fits(void)
{
    const char *scale = getenv("SCALE");
    const unsigned rounds = 2 * (scale ? (unsigned)atoi(scale) : 1);
    bool good = true;
    if (torture())
        _exit(NOT_NOW);
    for (unsigned i = 0; i < NSTEPS; i++)
        steps[i] = block(STEP, i);
    for (unsigned round = 0; round < rounds && good; round++) {
        good = in_child(reads_some, &round);
        good = (round % 2 ? by_threads(round) : rewrites(0, round) && rewrites(1, round)) && good;
    }
    for (unsigned i = 0; i < NSTEPS; i++)
        free(steps[i]);
    return all_right() && good;
}

/* ---- running them -------------------------------------------------------------------------------
 */

static const struct scenario {
    const char *name;
    bool (*before)(void), (*after)(void), (*look)(void);
} scenarios[] = {
    {"no mapping left", nothing, nothing, no_mappings},
    {"RLIMIT_STACK unlimited before", any_stack, nothing, lives},
    {"RLIMIT_MEMLOCK 0 before", no_locked, nothing, lives},
    {"RLIMIT_DATA 8 MiB after", nothing, no_data, all_right},
    {"RLIMIT_AS 64 MiB after", nothing, little_space, all_right},
    {"RLIMIT_CORE, FSIZE, SIGPENDING, MSGQUEUE 0 before", no_core_no_file, nothing, lives},
    {"setresuid after", nothing, become_nobody, all_right},
    {"seteuid after", nothing, nobody_for_a_while, all_right},
    {"no capability before", no_capability, nothing, lives},
    {"no capability after", nothing, no_capability, lives},
    {"no_new_privs and undumpable before", nothing_new, nothing, lives},
    {"no_new_privs and undumpable after", nothing, nothing_new, lives},
    {"PR_SET_MDWE before", no_new_code, nothing, lives},
    {"PR_SET_MDWE after", nothing, no_new_code, lives},
    {"close_range, unshared, after", nothing, close_all_alone, lives},
    {"close_range after", nothing, close_all_of_all, lives},
    {"no /proc before", no_proc, nothing, lives},
    {"no /proc after", nothing, no_proc, lives},
    {"new namespaces of processes, IPC and network after", nothing, new_pids, childless},
    {"another mount namespace after", nothing, other_mounts, lives},
    {"another user namespace in a child", nothing, nothing, other_user},
    {"four times what the control group may have", small_group, nothing, much_in_little},
    {"twice what the control group may have", large_group, nothing, more_than_fits},
};

#define NSCENARIOS (sizeof(scenarios) / sizeof(*scenarios))

/* In the process started anew. 0: as it should be. */
static int run(const struct scenario *s, int argc, char **argv)
{
    (void)begin(argc, argv);
    if (!ctl)
        return 2;
    for (unsigned i = 0; i < NBLOCKS; i++)
        blocks[i] = block(LEN, i + 1);
    evict();
    if (!s->after())
        return 3;
    return s->look() ? 0 : 1;
}

static int begun_anew(unsigned i, char **argv)
{
    char number[12];
    int status = -1, self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    snprintf(number, sizeof(number), "%u", i);
    char *const args[] = {argv[0], argv[1], number, NULL};
    pid_t pid = fork();
    if (pid == 0) {
        alarm(60);
        if (!scenarios[i].before())
            _exit(4);
        syscall(SYS_execveat, self, "", args, environ, 0x1000 /* AT_EMPTY_PATH */);
        _exit(5);
    }
    close(self);
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return -1;
    leave_group(pid);
    return status;
}

int main(int argc, char **argv)
{
    if (argc > 2)
        return run(&scenarios[(unsigned)atoi(argv[2]) % NSCENARIOS], argc, argv);
    if (!begin(argc, argv))
        return 77;
    const char *only = getenv("ONLY");
    for (unsigned i = 0; i < NSCENARIOS; i++) {
        if (only && strcmp(only, scenarios[i].name) != 0)
            continue;
        int status = begun_anew(i, argv);
        if (WIFEXITED(status) && WEXITSTATUS(status) == NOT_HERE) {
            skip(scenarios[i].name, "no control group can be made");
            continue;
        }
        if (WIFEXITED(status) && WEXITSTATUS(status) == NOT_NOW) {
            skip(scenarios[i].name, "torture knows no limit");
            continue;
        }
        point(scenarios[i].name, status == 0);
        if (status != 0 && getenv("VERBOSE"))
            printf("status %x\n", (unsigned)status);
    }
    return end();
}
