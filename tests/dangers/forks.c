/* SPDX-License-Identifier: MIT */
/*
 * forks -- what fork needs of us beyond its bytes: places, locks, memory, rights, and an end (D1, D2, D3).
 *
 * One program, and long: nearly every scenario is a few lines on the same ways to make a child, to give
 * rights away and to let it read.
 */
#include "dangers.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>

#define LEN (4 * UNIT)
#define BIG (1024 * UNIT)
#define NOBODY 65534u

static char **args;

static _Noreturn void not_here(const char *why)
{
    skip("forks", why);
    exit(77);
}

/* Started anew without CAP_SYS_PTRACE: the kernel announces no child to us. */
static void without_announcement(void)
{
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct caps[2];
    if (prctl(PR_CAPBSET_READ, CAP_SYS_PTRACE, 0, 0, 0) == 0)
        return;
    if (prctl(PR_CAPBSET_DROP, CAP_SYS_PTRACE, 0, 0, 0) < 0 || syscall(SYS_capget, &head, caps) < 0)
        not_here("CAP_SYS_PTRACE cannot be given up");
    caps[0].inheritable = caps[1].inheritable = 0;
    caps[0].effective = caps[0].permitted &= ~(1u << CAP_SYS_PTRACE);
    if (syscall(SYS_capset, &head, caps) < 0)
        not_here("capabilities cannot be given up");
    execv("/proc/self/exe", args);
    not_here("no /proc");
}

/* ---- FILEs are written to by libc in the child, before any handler of ours -----------------------
 */

/* With a second thread libc resets the lock of every FILE in the child. */
__attribute__((noreturn)) static void *rest(void *arg)
{
    (void)arg;
    for (;;)
        pause();
}

static void files(void)
{
    pthread_t t;
    enum { FILES = 40 };
    static FILE *f[FILES];
    char text[32];
    int status = -1;
    bool good = true;
    without_announcement();
    pthread_create(&t, NULL, rest, NULL);
    for (unsigned i = 0; i < FILES; i++) {
        f[i] = tmpfile();
        (void)fprintf(f[i], "file %u", i); /* stays in its buffer */
    }
    evict();
    pid_t pid = fork();
    if (pid == 0) {
        for (unsigned i = 0; i < FILES; i++) {
            int len = snprintf(text, sizeof(text), "file %u", i);
            good = good && fflush(f[i]) == 0 && lseek(fileno(f[i]), 0, SEEK_END) == len;
        }
        _exit(good ? 0 : 1);
    }
    point("a child's FILEs are whole", waitpid(pid, &status, 0) == pid && status == 0);
}

/* ---- memory -------------------------------------------------------------------------------------
 */

static size_t anonymous_kib(void)
{
    char line[128];
    size_t kib = 0;
    FILE *s = fopen("/proc/self/status", "r");
    while (s && fgets(line, sizeof(line), s))
        if (strncmp(line, "RssAnon:", 8) == 0)
            kib = strtoul(line + 8, NULL, 10);
    if (s)
        fclose(s);
    return kib;
}

static void small_child(void)
{
    char *p = block(BIG, 1);
    int status = -1;
    evict();
    pid_t pid = fork();
    if (pid == 0) {
        sleep_ms(300); /* somebody might be filling it */
        size_t kib = anonymous_kib();
        _exit(kib < BIG / 1024 / 2 && right(p, 0, BIG, 1) ? 0 : 1);
    }
    point("a child takes no memory for what it does not touch",
          waitpid(pid, &status, 0) == pid && status == 0);
}

/* ---- nothing works any more ---------------------------------------------------------------------
 */

static bool forbid_userfaultfd(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_userfaultfd, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof(code) / sizeof(*code), code};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0;
}

static char *last_block;

static void reads_last(void)
{
    _exit(right(last_block, 0, LEN, 2) ? 0 : 1);
}

static void no_way(void)
{
    without_announcement();
    last_block = block(LEN, 2);
    evict();
    if (!forbid_userfaultfd())
        not_here("no seccomp");
    int status = status_of(reads_last);
    point("no child sees wrong bytes", status == 0 || aborted(status));
    point("a child lives", status == 0);
}

/* ---- what is in a file -----------------------------------------------------------------------------
 */

static void filed(void)
{
    last_block = block(BIG, 2);
    evict();
    if (ctl("pager.file", NULL, NULL, NULL, 0) != 0 || stat_of("stats.file.written") == 0)
        not_here("no file");
    point("a child reads what is in the file", status_of(reads_last) == 0);
    point("and so does its parent", right(last_block, 0, BIG, 2));
}

/*
 * Everything has to come back before such a fork, and the worker, which does it, was born before
 * the key: it may not touch keyed pages.
 */
static void keyed(void)
{
    without_announcement();
    last_block = block(LEN, 2);
    evict();
    int key = pkey_alloc(0, 0);
    if (key < 0 || pkey_mprotect(last_block, LEN, PROT_READ | PROT_WRITE, key) < 0 ||
        !forbid_userfaultfd())
        not_here("no protection keys, or no seccomp");
    point("a child reads keyed pages", status_of(reads_last) == 0);
}

/* What cannot be registered lies in the middle of a chunk that was. */
static void over(void)
{
    without_announcement();
    int fd = open("/proc/self/exe", O_RDONLY);
    char *p = block(LEN, 3);
    last_block = block(LEN, 2);
    evict();
    if (fd < 0 || mmap(p + LEN / 2, UNIT, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, 0) == MAP_FAILED)
        not_here("no file to map");
    evict();
    point("a child lives with a file over the heap", status_of(reads_last) == 0);
}

/* The kernel announces a child with a descriptor, for which there is no room. */
static void forks_without_files(void)
{
    const struct rlimit none = {0, 0};
    last_block = block(LEN, 2);
    evict();
    (void)setrlimit(RLIMIT_NOFILE, &none);
    _exit(status_of(reads_last) == 0 && right(last_block, 0, LEN, 2) ? 0 : 1);
}

static void no_files(void)
{
    point("a fork with no descriptor left", status_of(forks_without_files) == 0);
}

/* ---- a daemon that has given its rights away ------------------------------------------------------
 */

/* Whoever makes the child is gone at once; the grandchild's answer is on a shared page. */
static void gone_at_once(void)
{
    int *answer = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    evict();
    if (setgid(NOBODY) < 0 || setuid(NOBODY) < 0)
        _exit(77);
    if (fork() == 0) {
        evict(); /* it has a worker, and memory that is out, before it forks */
        if (fork() == 0) {
            *answer = right(last_block, 0, LEN, 2) ? 1 : 2;
            _exit(0);
        }
        _exit(0);
    }
    for (unsigned i = 0; i < 200 && __atomic_load_n(answer, __ATOMIC_ACQUIRE) == 0; i++)
        sleep_ms(10);
    _exit(*answer == 1 ? 0 : 1);
}

static void daemons(void)
{
    bool good = true;
    if (getuid() != 0)
        not_here("needs root");
    last_block = block(LEN, 2);
    for (unsigned i = 0; i < 10 && good; i++)
        good = status_of(gone_at_once) == 0;
    point("a child of a daemon without rights lives", good);
}

/* ---- no handler at all --------------------------------------------------------------------------
 */

static int bare_status_of(void (*fn)(void))
{
    int status = -1;
    pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (pid == 0)
        fn();
    return pid > 0 && waitpid(pid, &status, 0) == pid ? status : -1;
}

static void bare(void)
{
    last_block = block(LEN, 2);
    evict();
    point("a bare child reads everything", bare_status_of(reads_last) == 0);
}

static void goes_on(void)
{
    char *p = block(LEN, 7);
    evict(); /* there is nobody to do it, until there is somebody */
    _exit(right(p, 0, LEN, 7) && right(last_block, 0, LEN, 2) ? 0 : 1);
}

static void bare_life(void)
{
    last_block = block(LEN, 2);
    evict();
    point("a bare child goes on as a program", bare_status_of(goes_on) == 0);
}

/* ---- children made while another fork is in its window -------------------------------------------
 */

#define OLDER 9 /* more than the fault thread keeps in mind */

static pid_t older[OLDER];
static unsigned nolder;

/* A filter of this thread's: whoever waits at the other end sees it make a child. */
static int watch_forks(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_VM, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof(code) / sizeof(*code), code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -1;
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER,
                        &program);
}

/* Reads, changes and gives away: with another's userfaultfd one of them goes wrong. */
static bool lives_alone(uint64_t seed)
{
    bool good = right(last_block, 0, LEN, 2);
    for (unsigned i = 0; i < 3 && good; i++) {
        fill(last_block, LEN, seed + i);
        evict();
        good = present(last_block, LEN) == 0 && right(last_block, 0, LEN, seed + i);
    }
    return good;
}

static int listener; /* futex word, polled: 0 until there is one */

/*
 * Was there before the filter. The forking thread stands before the system call of its fork, its
 * handlers done, when it is heard of here.
 */
static void *make_older(void *arg)
{
    while (!__atomic_load_n(&listener, __ATOMIC_SEQ_CST))
        sleep_ms(1);
    for (;;) {
        struct seccomp_notif call = {0};
        struct seccomp_notif_resp go = {.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
        if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call) < 0)
            return arg;
        for (unsigned i = 0; i < nolder; i++) {
            older[i] = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
            if (older[i] == 0) {
                sleep_ms(200); /* the other child has begun its life */
                _exit(right(last_block, 0, LEN, 2) ? 0 : 1);
            }
        }
        go.id = call.id;
        (void)ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &go);
    }
}

static void fork_beside(unsigned n, const char *theirs, const char *others)
{
    int status = -1, bad = 0;
    fill(last_block, LEN, 2);
    evict();
    nolder = n;
    pid_t pid = fork();
    if (pid == 0)
        _exit(lives_alone(100) ? 0 : 1);
    point(theirs, waitpid(pid, &status, 0) == pid && status == 0);
    for (unsigned i = 0; i < n; i++)
        bad |= waitpid(older[i], &status, 0) != older[i] || status != 0;
    point(others, !bad && right(last_block, 0, LEN, 2));
}

static void stranger(void)
{
    pthread_t t;
    last_block = block(LEN, 2);
    pthread_create(&t, NULL, make_older, NULL);
    int fd = watch_forks();
    if (fd < 0)
        not_here("no seccomp listener");
    __atomic_store_n(&listener, fd, __ATOMIC_SEQ_CST);
    fork_beside(1, "a child of handlers lives on beside one without",
                "and the one without has all its bytes");
    fork_beside(OLDER, "a child of handlers lives on beside many without",
                "and all of those have their bytes");
}

/* ---- a child made beside a change of identity ----------------------------------------------------
 */

#define TOLD_MS 500 /* a change that waits for nobody is through long before */

static uint32_t made; /* children that the filter has seen being made */

/*
 * Both were there before the filter. A thread is heard of when it stands before the system call of
 * its fork: the way of it is chosen. The change comes now, if nobody makes it wait.
 */
static void *change(void *arg)
{
    while (!__atomic_load_n(&made, __ATOMIC_SEQ_CST))
        sleep_ms(1);
    (void)setresuid(NOBODY, NOBODY, NOBODY);
    return arg;
}

static void *let_change(void *arg)
{
    while (!__atomic_load_n(&listener, __ATOMIC_SEQ_CST))
        sleep_ms(1);
    for (;;) {
        struct seccomp_notif call = {0};
        struct seccomp_notif_resp go = {.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
        if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call) < 0) {
            if (errno == EINTR || errno == ENOENT)
                continue;
            return arg;
        }
        __atomic_fetch_add(&made, 1, __ATOMIC_SEQ_CST);
        for (unsigned i = 0; i < TOLD_MS / 5 && getuid() == 0; i++)
            sleep_ms(5);
        /* Gone, where libc's signal has made the fork begin anew: it is heard of again. */
        go.id = call.id;
        (void)ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &go);
    }
}

static int (*make_child)(void (*fn)(void));

/* A child that finds what it was promised: it may open a userfaultfd. */
static void forks_beside_change(void)
{
    pthread_t t, u;
    last_block = block(LEN, 2);
    evict();
    if (pthread_create(&t, NULL, change, NULL) != 0 ||
        pthread_create(&u, NULL, let_change, NULL) != 0)
        _exit(1);
    int fd = watch_forks();
    if (fd < 0)
        _exit(77);
    __atomic_store_n(&listener, fd, __ATOMIC_SEQ_CST);
    bool good = make_child(reads_last) == 0;
    (void)pthread_join(t, NULL);
    _exit(!good || getuid() != NOBODY || make_child(reads_last) != 0);
}

static void changing(void)
{
    if (getuid() != 0)
        not_here("needs root");
    without_announcement();
    make_child = status_of;
    int status = status_of(forks_beside_change);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        not_here("no seccomp listener");
    point("a child lives that is made beside setuid", status == 0);
    make_child = bare_status_of;
    point("and one that is made without handlers", status_of(forks_beside_change) == 0);
}

/* ---- a thread with a descriptor table of its own ---------------------------------------------------
 */

#define PAIRS 100

static int pairs[PAIRS][2]; /* of the first thread */

/* Its descriptors have the numbers of the first thread's sockets. */
static void *fork_apart(void *arg)
{
    if (unshare(CLONE_FILES) < 0 || close_range(3, ~0U, 0) < 0)
        return NULL;
    evict();
    *(int *)arg = status_of(reads_last);
    return arg;
}

static void other_table(void)
{
    pthread_t t;
    void *end = NULL;
    char byte;
    int status = -1;
    unsigned said = 0;
    last_block = block(LEN, 2);
    (void)close_range(3, ~0U, 0); /* whatever was inherited: low numbers are sockets */
    for (unsigned i = 0; i < PAIRS; i++)
        if (socketpair(AF_UNIX, SOCK_STREAM, 0, pairs[i]) < 0)
            not_here("no sockets");
    pthread_create(&t, NULL, fork_apart, &status);
    if (pthread_join(t, &end) != 0 || !end)
        not_here("no table of its own");
    for (unsigned i = 0; i < PAIRS; i++)
        for (unsigned k = 0; k < 2; k++)
            said += recv(pairs[i][k], &byte, 1, MSG_DONTWAIT) >= 0;
    point("nobody sends anything over the other threads' sockets", said == 0);
    point("a child of a thread with a table of its own", status == 0);
}

/* ---- a child that is held up before it can say anything -----------------------------------------
 */

static void fork_and_go_on(void)
{
    ptrace(PTRACE_TRACEME, 0, NULL, NULL);
    raise(SIGSTOP);
    char *p = block(LEN, 3);
    evict();
    pid_t pid = fork(); /* the tracer keeps it stopped */
    if (pid == 0)
        _exit(right(p, 0, LEN, 3) ? 0 : 1);
    evict(); /* waits for the worker */
    _exit(pid > 0 && right(p, 0, LEN, 3) ? 0 : 1);
}

static void held_up(void)
{
    int status = -1, end = -1;
    unsigned long message = 0;
    pid_t pid = fork(), child = 0;
    if (pid == 0)
        fork_and_go_on();
    waitpid(pid, &status, 0);
    ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_TRACEFORK | PTRACE_O_EXITKILL);
    ptrace(PTRACE_CONT, pid, NULL, NULL);
    while (waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status)) {
        if (status >> 16 == PTRACE_EVENT_FORK) {
            ptrace(PTRACE_GETEVENTMSG, pid, NULL, &message);
            child = (pid_t)message;
        }
        ptrace(PTRACE_CONT, pid, NULL, NULL);
    }
    point("a parent goes on while its child is held up", status == 0);
    waitpid(child, &end, __WALL); /* its first stop */
    ptrace(PTRACE_CONT, child, NULL, NULL);
    while (waitpid(child, &end, __WALL) == child && WIFSTOPPED(end))
        ptrace(PTRACE_CONT, child, NULL, NULL);
    point("and the child, let go, has all its bytes", child > 0 && end == 0);
}

/* ---- a child whose parent is gone at its birth --------------------------------------------------
 */

#define KEYS 80 /* libc keeps the values of most of them in blocks from malloc */
#define NEIGHBOURS 400
#define NEIGHBOUR_LEN 512

static char *neighbours[NEIGHBOURS]; /* some of them on the same page */
static int sits;

static void *sit(void *arg)
{
    pthread_key_t key;
    for (unsigned i = 0; i < KEYS; i++)
        if (pthread_key_create(&key, NULL) == 0)
            (void)pthread_setspecific(key, &sits);
    for (unsigned i = 0; i < NEIGHBOURS; i++)
        fill(neighbours[i] = malloc(NEIGHBOUR_LEN), NEIGHBOUR_LEN, i);
    __atomic_store_n(&sits, 1, __ATOMIC_SEQ_CST);
    return rest(arg);
}

/* libc clears in the child what the other thread kept under its keys, and nobody serves it. */
static void fork_and_be_killed(void)
{
    pthread_t t;
    ptrace(PTRACE_TRACEME, 0, NULL, NULL);
    raise(SIGSTOP);
    pthread_create(&t, NULL, sit, NULL);
    while (!__atomic_load_n(&sits, __ATOMIC_SEQ_CST))
        sleep_ms(1);
    evict();
    if (fork() != 0)
        _exit(1);
    for (unsigned i = 0; i < NEIGHBOURS; i++)
        if (!right(neighbours[i], 0, NEIGHBOUR_LEN, i))
            _exit(3);
    _exit(0);
}

static void orphan(void)
{
    int status = -1;
    unsigned long message = 0;
    pid_t pid = fork(), child;
    if (pid == 0)
        fork_and_be_killed();
    waitpid(pid, &status, 0);
    ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_TRACEFORK | PTRACE_O_EXITKILL);
    do
        ptrace(PTRACE_CONT, pid, NULL, NULL);
    while (waitpid(pid, &status, __WALL) == pid && status >> 16 != PTRACE_EVENT_FORK &&
           WIFSTOPPED(status));
    ptrace(PTRACE_GETEVENTMSG, pid, NULL, &message);
    child = (pid_t)message;
    waitpid(child, &status, __WALL); /* its first stop */
    kill(pid, SIGKILL);
    waitpid(pid, &status, __WALL);
    ptrace(PTRACE_CONT, child, NULL, NULL);
    while (waitpid(child, &status, __WALL) == child && WIFSTOPPED(status))
        ptrace(PTRACE_CONT, child, NULL, NULL);
    point("a child whose parent was gone at its birth has all its bytes", status == 0);
}

/* ---- libc's list of FILEs -----------------------------------------------------------------------
 */

static int writing, forking; /* futex words, polled */

/* Runs under the list's lock, inside fflush(NULL). */
static ssize_t write_slowly(void *cookie, const char *bytes, size_t len)
{
    (void)cookie;
    (void)bytes;
    __atomic_store_n(&writing, 1, __ATOMIC_SEQ_CST);
    while (!__atomic_load_n(&forking, __ATOMIC_SEQ_CST))
        sleep_ms(1);
    sleep_ms(300); /* the fork takes its locks meanwhile */
    for (unsigned i = 0; i < 200; i++)
        free(malloc(100000 + i * 70000));
    return (ssize_t)len;
}

static void *flush_all(void *arg)
{
    (void)fputs("text", arg);
    (void)fflush(NULL);
    return NULL;
}

static void about_to_fork(void)
{
    __atomic_store_n(&forking, 1, __ATOMIC_SEQ_CST);
}

static void stdio_lock(void)
{
    pthread_t t;
    int status = -1;
    FILE *f = fopencookie(NULL, "w", (cookie_io_functions_t){.write = write_slowly});
    pthread_atfork(about_to_fork, NULL, NULL); /* runs before the library's */
    pthread_create(&t, NULL, flush_all, f);
    while (!__atomic_load_n(&writing, __ATOMIC_SEQ_CST))
        sleep_ms(1);
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    point("fork while another thread holds libc's list of FILEs",
          waitpid(pid, &status, 0) == pid && status == 0);
    pthread_join(t, NULL);
}

/* ---- pages that were shared ---------------------------------------------------------------------
 */

static void do_nothing(void)
{
}

static void shared_limbo(void)
{
    char *p = block(LEN, 4);
    if (!wait_for_limbo(p, LEN))
        exit(2);
    (void)status_of(do_nothing);
    point("limbo that was shared comes back", right(p, 0, LEN, 4));
}

static void shared_pages(void)
{
    char *p = block(LEN, 5);
    (void)status_of(do_nothing);
    evict();
    point("pages that were shared with a child go out when it is gone", present(p, LEN) == 0);
    point("and come back", right(p, 0, LEN, 5));
}

static const struct danger dangers[] = {
    {"files", files},
    {"small-child", small_child},
    {"no-way", no_way},
    {"no-files", no_files},
    {"daemons", daemons},
    {"changing", changing},
    {"filed", filed},
    {"keyed", keyed},
    {"over", over},
    {"bare", bare},
    {"bare-life", bare_life},
    {"stranger", stranger},
    {"orphan", orphan},
    {"other-table", other_table},
    {"held-up", held_up},
    {"stdio-lock", stdio_lock},
    {"shared-limbo", shared_limbo},
    {"shared-pages", shared_pages},
};

int main(int argc, char **argv)
{
    args = argv;
    return CHOOSE(argc, argv, dangers);
}
