/* SPDX-License-Identifier: MIT */
/*
 * os_thread -- threads of our own: named, deaf to signals, with descriptors nobody else sees (D4,
 * D11, P3); descriptors that travel; and the futex wait.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/os.h"
#include "tests/unit/unit.h"

/* What a thread under test and the main thread tell each other. */
static uint32_t turn; /* futex word */
static int tid, result, passed;

static void set_turn(uint32_t to)
{
    __atomic_store_n(&turn, to, __ATOMIC_RELEASE);
    za_os->wake(&turn);
}

static void await_turn(uint32_t want)
{
    uint32_t is;

    while ((is = __atomic_load_n(&turn, __ATOMIC_ACQUIRE)) != want)
        (void)za_os->wait(&turn, is, ZA_NS_PER_S);
}

/* A thread of ours never returns to libc; it ends with the process. */
_Noreturn static void rest(void)
{
    static uint32_t never;

    for (;;)
        (void)za_os->wait(&never, 0, UINT64_MAX);
}

static void start(void (*fn)(void *), void *arg, bool share_files)
{
    alarm(30);
    za_os_init();
    CHECK_EQ(za_os->thread_start(fn, arg, "zalloc-test", share_files), 0);
}

/* The value of a line "key:\tvalue" in a file of /proc. */
static bool proc_value(int task, const char *file, const char *key, char *out, size_t cap)
{
    char path[64], line[256];
    bool found = false;

    snprintf(path, sizeof(path), "/proc/self/task/%d/%s", task, file);
    FILE *f = fopen(path, "re");
    while (f && !found && fgets(line, sizeof(line), f)) {
        size_t n = strlen(key);
        if (strncmp(line, key, n) != 0)
            continue;
        line[strcspn(line, "\n")] = 0;
        snprintf(out, cap, "%s", line + n);
        found = true;
    }
    if (f)
        fclose(f);
    return found;
}

static void say_hello(void *arg)
{
    tid = za_os->tid();
    result = *(int *)arg;
    set_turn(1);
    rest();
}

UNIT_TEST(runs_with_its_argument)
{
    int arg = 4711;

    start(say_hello, &arg, true);
    await_turn(1);
    CHECK_EQ(result, 4711);
    CHECK(tid != za_os->tid());
    CHECK_EQ(za_os->pid(), getpid());
}

UNIT_TEST(has_its_name)
{
    char name[32];
    int arg = 0;

    start(say_hello, &arg, true);
    await_turn(1);
    CHECK(proc_value(tid, "comm", "", name, sizeof(name)));
    CHECK_STR(name, "zalloc-test");
}

/* What the C library keeps unblocked in its own threads: glibc 32 and 33, musl 34 as well. */
#ifdef ZA_THREADS_PTHREAD
#define KEPT (7ull << 31)
#else
#define KEPT 0ull
#endif

/* All that can be blocked: bits 9 and 19 are KILL and STOP. */
UNIT_TEST(blocks_all_signals)
{
    char mask[32];
    int arg = 0;

    start(say_hello, &arg, true);
    await_turn(1);
    CHECK(proc_value(tid, "status", "SigBlk:\t", mask, sizeof(mask)));
    uint64_t blocked = strtoull(mask, NULL, 16) | KEPT;
    CHECK_EQ(blocked, ~(1ull << (SIGKILL - 1) | 1ull << (SIGSTOP - 1)));
}

static int caught_by;

static void catch (int sig)
{
    (void)sig;
    __atomic_store_n(&caught_by, za_os->tid(), __ATOMIC_RELEASE);
}

/* The program's own mask is as before, and signals to the process come to the program. */
UNIT_TEST(signals_go_to_the_program)
{
    sigset_t before, after;
    int arg = 0;

    signal(SIGUSR1, catch);
    sigemptyset(&before);
    sigaddset(&before, SIGUSR2);
    CHECK_EQ(sigprocmask(SIG_SETMASK, &before, NULL), 0);
    start(say_hello, &arg, true);
    await_turn(1);
    CHECK_EQ(sigprocmask(SIG_SETMASK, NULL, &after), 0);
    for (int s = 1; s < 32; s++)
        CHECK_EQ(sigismember(&after, s), sigismember(&before, s));
    kill(getpid(), SIGUSR1);
    for (int i = 0; i < 1000 && !__atomic_load_n(&caught_by, __ATOMIC_ACQUIRE); i++)
        usleep(1000);
    CHECK_EQ(caught_by, getpid());
}

/* --- descriptors --- */

static unsigned program_files(void)
{
    unsigned n = 0;
    DIR *d = opendir("/proc/self/fd");

    CHECK(d != NULL);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static void own_table(void *arg)
{
    (void)arg;
    result = za_os->private_files();
    int fd = eventfd(5, EFD_NONBLOCK); /* the lowest free number */
    passed = fd;
    set_turn(1);
    await_turn(2);
    uint64_t v = 0;
    if (read(fd, &v, sizeof(v)) != (ssize_t)sizeof(v))
        v = 0;
    result = (int)v;
    set_turn(3);
    rest();
}

UNIT_TEST(private_files_are_invisible_and_survive)
{
    alarm(30);
    int keep = dup(1);
    unsigned before = program_files();

    start(own_table, NULL, true);
    await_turn(1);
    CHECK_EQ(result, 0);
    CHECK_EQ(passed, 3); /* 0 to 2 are occupied, the rest is empty */
    CHECK_EQ(program_files(), before);
    CHECK(fcntl(keep, F_GETFD) >= 0);
    /* The program closes everything there is (D4). */
    CHECK_EQ(syscall(SYS_close_range, 0, ~0u, 0), 0);
    set_turn(2);
    await_turn(3);
    CHECK_EQ(result, 5);
}

static void share_table(void *arg)
{
    result = eventfd(9, EFD_NONBLOCK);
    (void)arg;
    set_turn(1);
    rest();
}

UNIT_TEST(shared_files_are_shared)
{
    start(share_table, NULL, true);
    await_turn(1);
    CHECK(fcntl(result, F_GETFD) >= 0);
}

UNIT_TEST(unshared_files_are_a_copy)
{
    alarm(30);
    int lowest = dup(1);
    close(lowest);

    start(share_table, NULL, false);
    await_turn(1);
    CHECK_EQ(result, lowest);
    CHECK_EQ(fcntl(lowest, F_GETFD), -1);
}

/* Fetches the program's descriptor into a table of its own. */
static void fetch(void *arg)
{
    (void)za_os->private_files();
    result = za_os->fetch_file(0, *(int *)arg, 0);
    uint64_t v = 0;
    passed = result >= 0 && read(result, &v, sizeof(v)) == (ssize_t)sizeof(v) ? (int)v : -1;
    if (result >= 0)
        (void)za_os->close(result);
    set_turn(1);
    rest();
}

UNIT_TEST(fetch_file_brings_the_programs)
{
    int fd = eventfd(33, EFD_NONBLOCK);

    start(fetch, &fd, true);
    await_turn(1);
    if (result == -EPERM || result == -ENOSYS)
        UNIT_SKIP("pidfd_getfd is refused here");
    CHECK(result >= 3);
    CHECK_EQ(passed, 33);
    CHECK(fcntl(fd, F_GETFD) >= 0);
}

UNIT_TEST(fetch_file_of_nothing)
{
    int fd = 999;

    start(fetch, &fd, true);
    await_turn(1);
    if (result == -EPERM || result == -ENOSYS)
        UNIT_SKIP("pidfd_getfd is refused here");
    CHECK_EQ(result, -EBADF);
}

/* In the table of a thread that has one of its own; the first thread knows nothing of it. */
static int apart_tid, apart_fd;
static uint64_t apart_number;

static void *live_apart(void *arg)
{
    int s[2];
    (void)arg;
    CHECK_EQ(unshare(CLONE_FILES), 0);
    CHECK_EQ(za_os->socketpair(s), 0);
    apart_fd = s[0];
    apart_number = za_os->socket_number(s[0]);
    apart_tid = za_os->tid();
    set_turn(1);
    await_turn(2);
    return NULL;
}

static void fetch_apart(void *arg)
{
    (void)arg;
    (void)za_os->private_files();
    result = za_os->fetch_file(apart_tid, apart_fd, apart_number);
    passed = result < 0 ? 0 : za_os->socket_number(result) == apart_number;
    set_turn(2);
    rest();
}

UNIT_TEST(fetch_file_takes_the_threads_own_or_none)
{
    pthread_t t;
    int s[2];

    CHECK_EQ(pthread_create(&t, NULL, live_apart, NULL), 0);
    await_turn(1);
    CHECK_EQ(za_os->socketpair(s), 0); /* the same numbers, most likely */
    CHECK(za_os->socket_number(s[0]) != apart_number);
    CHECK(za_os->socket_number(s[0]) != za_os->socket_number(s[1]));
    start(fetch_apart, NULL, true);
    await_turn(2);
    if (result == -EPERM || result == -ENOSYS)
        UNIT_SKIP("pidfd_getfd is refused here");
    CHECK(passed || result == -EBADF); /* before 6.9 it cannot be reached */
    CHECK_EQ(pthread_join(t, NULL), 0);
}

UNIT_TEST(no_socket_has_no_number)
{
    int fd = eventfd(0, 0);

    CHECK_EQ(za_os->socket_number(fd), 0);
    CHECK_EQ(za_os->socket_number(-1), 0);
}

UNIT_TEST(files_travel_over_a_socket)
{
    int s[2], status;
    uint64_t v = 0;

    za_os_init();
    CHECK_EQ(za_os->socketpair(s), 0);
    CHECK(fcntl(s[0], F_GETFD) & FD_CLOEXEC);
    pid_t pid = fork();
    if (pid == 0) {
        int fd = eventfd(21, EFD_NONBLOCK);
        _exit(za_os->send_file(s[1], fd) == 0 ? 0 : 1);
    }
    int fd = za_os->recv_file(s[0]);
    CHECK(fd >= 0);
    CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    CHECK_EQ(read(fd, &v, sizeof(v)), sizeof(v));
    CHECK_EQ(v, 21);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}

UNIT_TEST(the_other_side_is_gone)
{
    int s[2];

    za_os_init();
    CHECK_EQ(za_os->socketpair(s), 0);
    CHECK_EQ(za_os->close(s[1]), 0);
    CHECK_EQ(za_os->recv_file(s[0]), -EPIPE);
    CHECK_EQ(za_os->hear(s[0], true), -EPIPE);
    CHECK_EQ(za_os->hear(s[0], false), -EPIPE);
    CHECK_EQ(za_os->send_file(s[0], 1), -EPIPE); /* and no SIGPIPE */
    CHECK_EQ(za_os->say(s[0]), -EPIPE);
}

UNIT_TEST(say_and_hear)
{
    int s[2];

    za_os_init();
    CHECK_EQ(za_os->socketpair(s), 0);
    CHECK_EQ(za_os->hear(s[0], false), 0);
    CHECK_EQ(za_os->say(s[1]), 0);
    CHECK_EQ(za_os->say(s[1]), 0);
    CHECK_EQ(za_os->close(s[1]), 0);
    CHECK_EQ(za_os->hear(s[0], true), 1); /* what was said before the end is heard */
    CHECK_EQ(za_os->hear(s[0], false), 1);
    CHECK_EQ(za_os->hear(s[0], true), -EPIPE);
}

static void keep_one(void *arg)
{
    int fd = za_os->keep_only(*(int *)arg);
    unsigned n = 0;

    for (int i = 0; i < 256; i++)
        n += fcntl(i, F_GETFD) >= 0;
    result = fd;
    passed = (int)n;
    set_turn(1);
    await_turn(2);
    uint64_t v = 0;
    passed = read(fd, &v, sizeof(v)) == (ssize_t)sizeof(v) ? (int)v : -1;
    set_turn(3);
    rest();
}

/* `fd` alone survives beside the three that keep 0 to 2 occupied; the program's are untouched. */
static void check_keep_only(int fd)
{
    unsigned before = program_files();

    start(keep_one, &fd, true);
    await_turn(1);
    CHECK(result >= 3);
    CHECK_EQ(passed, 4);
    CHECK_EQ(program_files(), before);
    CHECK(fcntl(1, F_GETFD) >= 0);
    close(fd);
    set_turn(2);
    await_turn(3);
    CHECK_EQ(passed, 6);
}

UNIT_TEST(keep_only_keeps_one)
{
    for (int i = 0; i < 10; i++)
        (void)dup(2);
    check_keep_only(eventfd(6, EFD_NONBLOCK));
}

UNIT_TEST(keep_only_of_a_standard_number)
{
    int fd = eventfd(6, EFD_NONBLOCK);

    CHECK_EQ(dup2(fd, 0), 0);
    close(fd);
    check_keep_only(0);
}

UNIT_TEST(keep_only_of_the_lowest)
{
    (void)syscall(SYS_close_range, 3, ~0u, 0);
    check_keep_only(eventfd(6, EFD_NONBLOCK));
}

/* --- waiting, and other threads' memory --- */

UNIT_TEST(wait_ends_in_time)
{
    uint32_t word = 5;

    za_os_init();
    uint64_t before = za_os->now();
    CHECK_EQ(za_os->wait(&word, 5, 20 * ZA_NS_PER_MS), -ETIMEDOUT);
    CHECK(za_os->now() - before >= 20 * ZA_NS_PER_MS);
    CHECK_EQ(za_os->wait(&word, 4, UINT64_MAX), 0); /* it has changed already */
}

/* Once more: the first may come before the wait. */
static void alarm_handler(int sig)
{
    (void)sig;
    (void)alarm(1);
}

UNIT_TEST(wait_is_interrupted)
{
    uint32_t word = 5;
    struct sigaction sa = {.sa_handler = alarm_handler};

    za_os_init();
    sigaction(SIGALRM, &sa, NULL);
    alarm(1);
    CHECK_EQ(za_os->wait(&word, 5, 60 * ZA_NS_PER_S), -EINTR);
    (void)alarm(0);
}

UNIT_TEST(sync_threads_works)
{
    int arg = 0;

    start(say_hello, &arg, true);
    await_turn(1);
    int r = za_os->sync_threads();
    if (r == -ENOSYS)
        UNIT_SKIP("this kernel has no membarrier");
    CHECK_EQ(r, 0);
    CHECK_EQ(za_os->sync_threads(), 0);
}

/* Many threads one after the other leave nothing but what the pool of stacks allows. */
static void count_and_rest(void *arg)
{
    (void)arg;
    __atomic_fetch_add(&turn, 1, __ATOMIC_ACQ_REL);
    rest();
}

UNIT_TEST(several_at_once)
{
    for (int i = 0; i < 16; i++)
        start(count_and_rest, NULL, true);
    for (int i = 0; i < 10000 && __atomic_load_n(&turn, __ATOMIC_ACQUIRE) < 16; i++)
        usleep(1000);
    CHECK_EQ(turn, 16);
}

static void be_urgent(void *arg)
{
    (void)arg;
    za_os->be_urgent();
    za_os->be_modest();
    tid = za_os->tid();
    set_turn(1);
    rest();
}

/* Priorities are a thread's own: the program's stay. */
UNIT_TEST(priorities_are_our_own)
{
    long before = syscall(SYS_getpriority, 0, 0); /* the kernel counts 20 - nice */
    start(be_urgent, NULL, true);
    await_turn(1);
    CHECK(syscall(SYS_getpriority, 0, tid) <= 10);
    CHECK_EQ(syscall(SYS_getpriority, 0, 0), before);
}

/* A worker that a child's fault thread starts begins as urgent as that; and who may, may go up. */
UNIT_TEST(modest_is_not_above_a_nice_program)
{
    CHECK_EQ(setpriority(PRIO_PROCESS, 0, 19), 0);
    start(be_urgent, NULL, true);
    await_turn(1);
    CHECK_EQ(syscall(SYS_getpriority, 0, tid), 1);
    CHECK_EQ(syscall(SYS_getpriority, 0, 0), 1);
}

static void die_here(void *arg)
{
    (void)arg;
    (void)za_os->private_files();
    za_fatal("a line from a thread of ours");
}

/* Its table has no standard error: it borrows the program's. */
UNIT_DIES(a_fatal_line_leaves_the_process, "zalloc: a line from a thread of ours")
{
    start(die_here, NULL, true);
    await_turn(1);
}

/* --- no memory ----------------------------------------------------------- */

static void say_passed(void *arg)
{
    (void)arg;
    set_turn(1);
    rest();
}

/* A child whose every mmap fails starts the one thread that it must have. */
UNIT_TEST(a_child_without_room_starts_one_thread)
{
#ifdef ZA_THREADS_PTHREAD
    UNIT_SKIP("libc's threads have stacks of libc's");
#endif
    int status = -1;
    start(say_passed, NULL, true);
    await_turn(1);
    pid_t pid = fork();
    if (pid == 0) {
        const struct rlimit none = {0, 0};
        set_turn(0);
        CHECK_EQ(setrlimit(RLIMIT_AS, &none), 0);
        CHECK(mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED);
        start(say_passed, NULL, false);
        await_turn(1);
        CHECK_EQ(za_os->thread_start(say_passed, NULL, "zalloc-test", true), -ENOMEM);
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}
