/* SPDX-License-Identifier: MIT */
/* own -- what is ours and must stay apart: descriptors, stacks, signals, the end (D4, D9 to D13). */
#include "dangers.h"

#include <dirent.h>
#include <linux/filter.h>
#include <linux/io_uring.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/uio.h>

#define LEN (16 * UNIT)
#define NOBODY 65534u

/* ---- descriptors --------------------------------------------------------------------------------
 */

static void closed(void)
{
    char *p = block(LEN, 1);
    evict();
    closefrom(3);
    point("bytes, when every descriptor has been closed", right(p, 0, LEN, 1));
}

/* The id of the thread of that name; 0: there is none. */
static int thread_named(const char *name)
{
    char path[64], is[32];
    int found = 0;
    DIR *d = opendir("/proc/self/task");
    for (struct dirent *e = readdir(d); e; e = readdir(d)) {
        snprintf(path, sizeof(path), "/proc/self/task/%.20s/comm", e->d_name);
        FILE *f = fopen(path, "r");
        if (f && fgets(is, sizeof(is), f) && strncmp(is, name, strlen(name)) == 0)
            found = atoi(e->d_name);
        if (f)
            fclose(f);
    }
    closedir(d);
    return found;
}

static void standard(void)
{
    bool good = true;
    evict();
    int tid = thread_named("zalloc-fault");
    for (unsigned i = 0; i < 3; i++) {
        char path[64], target[64] = "";
        snprintf(path, sizeof(path), "/proc/self/task/%d/fd/%u", tid, i);
        good &= readlink(path, target, sizeof(target) - 1) > 0 && strstr(target, "eventfd");
    }
    point("numbers 0 to 2 are nothing that anybody writes to", tid && good);
}

/* ---- threads ------------------------------------------------------------------------------------
 */

/* The threads start here, in a request, and nothing of alloc's is locked. */
static void stacks(void)
{
    char *p = block(LEN, 2);
    for (unsigned i = 0; i < 3; i++) {
        evict();
        sleep_ms(20); /* the fault thread is asleep */
        evict();
        point("bytes, when everything in the heap has been taken out", right(p, 0, LEN, 2));
    }
}

static volatile sig_atomic_t handled;

static void handler(int sig)
{
    (void)sig;
    handled = 1;
}

/* A signal that the program blocks stays pending, also while we have threads. */
static void signals(void)
{
    sigset_t set;
    evict();
    signal(SIGUSR1, handler);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    kill(getpid(), SIGUSR1);
    evict(); /* both of our threads have run */
    sleep_ms(100);
    sigpending(&set);
    point("a blocked signal stays pending", !handled && sigismember(&set, SIGUSR1));
}

/* Threads of this process with another user id. */
static unsigned threads_of_others(unsigned uid)
{
    char name[64], line[256];
    unsigned n = 0, id;
    DIR *d = opendir("/proc/self/task");
    for (struct dirent *e = readdir(d); e; e = readdir(d)) {
        snprintf(name, sizeof(name), "/proc/self/task/%.20s/status", e->d_name);
        FILE *f = e->d_name[0] == '.' ? NULL : fopen(name, "r");
        while (f && fgets(line, sizeof(line), f))
            n += sscanf(line, "Uid: %u", &id) == 1 && id != uid;
        if (f)
            fclose(f);
    }
    closedir(d);
    return n;
}

static unsigned threads_now(void)
{
    unsigned n = 0;
    DIR *d = opendir("/proc/self/task");
    for (struct dirent *e = readdir(d); e; e = readdir(d))
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

/* ---- the end ------------------------------------------------------------------------------------
 */

static char path[] = "/tmp/zalloc-dangers.XXXXXX";

/* libc flushes its files after the last destructor. */
static void leave_text(void)
{
    FILE *f = fopen(path, "w");
    static char *buf;
    buf = aligned_alloc(PAGE, UNIT);
    if (!f || !buf || setvbuf(f, buf, _IOFBF, UNIT) != 0)
        _exit(1);
    for (unsigned i = 0; i < 1000; i++)
        (void)fprintf(f, "line %4u\n", i);
    evict();
    exit(0);
}

static void end_of_process(void)
{
    char line[32] = "";
    unsigned n = 0, good = 0, number;
    close(mkstemp(path));
    int status = status_of(leave_text);
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof(line), f))
        good += sscanf(line, "line %u", &number) == 1 && number == n++;
    if (f)
        fclose(f);
    unlink(path);
    point("what libc flushes last is written", status == 0 && n == 1000 && good == n);
}

/* ---- memory that MOVE does not take -------------------------------------------------------------
 */

static bool pin_for_io(void *p, size_t len)
{
    struct io_uring_params params = {0};
    struct iovec v = {p, len};
    int fd = (int)syscall(SYS_io_uring_setup, 4, &params);
    return fd >= 0 && syscall(SYS_io_uring_register, fd, IORING_REGISTER_BUFFERS, &v, 1) == 0;
}

static void moved_pinned(void)
{
    char *p = malloc(2 * LEN), *wall = malloc(2 * LEN);
    fill(p, LEN, 3);
    fill(wall, LEN, 4);
    evict();
    if (!pin_for_io(p, LEN)) {
        skip("pinned", "no io_uring to register buffers with");
        exit(77);
    }
    sleep_ms(200); /* not young any more: it moves by page tables */
    evict();
    point("pinned pages stay", present(p, LEN) >= LEN / PAGE - 1);
    uint64_t before = stat_of("stats.large.moves");
    p = realloc(p, 64 * LEN);
    point("a pinned block was moved", stat_of("stats.large.moves") > before);
    point("its bytes came along", right(p, 0, LEN, 3) && right(wall, 0, LEN, 4));
}

static void fresh(void)
{
    char *p = block(LEN, 5);
    evict();
    (void)madvise(p, LEN, MADV_DONTNEED);
    fill(p, LEN, 6);
    point("fresh pages where others were taken out", right(p, 0, LEN, 6));
}

/* ---- while the pager retires --------------------------------------------------------------------
 */

/* A filter for all threads, which allows everything. */
static bool allow_all_threads(void)
{
    struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog prog = {1, &allow};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &prog) == 0;
}

static unsigned filter_after_us;

static void *filter_all(void *arg)
{
    (void)usleep(filter_after_us);
    (void)allow_all_threads();
    return arg;
}

static void empty_meanwhile(void)
{
    enum { BLOCKS = 20 };
    pthread_t t;
    char *p[BLOCKS];
    bool good = true;
    for (unsigned i = 0; i < BLOCKS; i++)
        p[i] = block(LEN / 4, i + 1);
    evict();
    (void)pthread_create(&t, NULL, filter_all, NULL);
    for (unsigned i = 0; i < BLOCKS; i++) {
        (void)madvise(p[i], LEN / 4, MADV_DONTNEED);
        good &= zero(p[i], 0, LEN / 4);
        (void)usleep(20);
    }
    (void)pthread_join(t, NULL);
    _exit(!good);
}

static void emptied(void)
{
    bool good = true;
    for (unsigned i = 0; i < 20 && good; i++) {
        filter_after_us = i * 137 % 1500;
        good = status_of(empty_meanwhile) == 0;
    }
    point("what is emptied while the pager retires is empty", good);
}

static const struct danger dangers[] = {
    {"closed", closed},      {"standard", standard},   {"stacks", stacks}, {"signals", signals},
    {"end", end_of_process}, {"pinned", moved_pinned}, {"fresh", fresh},   {"emptied", emptied},
};

/* ---- before there is anything to serve ----------------------------------------------------------
 */

/* Both of our threads run and sleep, and nothing has been taken out; true, unless there is none. */
static bool idle_threads(void)
{
    fill(malloc(64 * LEN), LEN, 7); /* the heap grows: who has no worker starts one here */
    uint64_t chunks = stat_of("stats.pager.chunks");
    sleep_ms(100);
    return chunks == 0 && (threads_now() == 3 || backend_is("none"));
}

static void give_identity_away(void)
{
    bool good = idle_threads() && setresuid(NOBODY, NOBODY, NOBODY) == 0;
    char *p = block(LEN, 8);
    good = good && stat_of("stats.threads.renewed") == 1 && go_cold(p, LEN) && right(p, 0, LEN, 8);
    _exit(!good);
}

static void filter_all_threads(void)
{
    bool good = idle_threads() && allow_all_threads();
    _exit(!(good && threads_now() == 1));
}

/* The worker is started as the heap grows, and may not have run yet. */
static void give_identity_away_at_once(void)
{
    unsigned other = 1;
    fill(malloc(128 * LEN), LEN, 7);
    if (setresuid(NOBODY, NOBODY, NOBODY) < 0 || prctl(PR_SET_DUMPABLE, 1) < 0)
        _exit(1);
    for (unsigned i = 0; i < 200 && other; i++) {
        sleep_ms(10);
        other = threads_of_others(NOBODY);
    }
    _exit(other != 0);
}

static bool at_once(void)
{
    bool good = true;
    for (unsigned i = 0; i < 10 && good; i++)
        good = status_of(give_identity_away_at_once) == 0;
    return good;
}

static int early(void)
{
    ctl = (zallctl_fn *)dlsym(RTLD_DEFAULT, "zallctl");
    bool idle = ctl && idle_threads();
    if (getuid() != 0 || !ctl || backend_is("none")) {
        skip("early", "needs root, and a pager");
        return 77;
    }
    point("our threads run, and nothing has been registered", idle);
    point("threads give way before anything has been registered",
          status_of(give_identity_away) == 0);
    point("and go for good", status_of(filter_all_threads) == 0);
    point("and when they are hardly born", at_once());
    return end();
}

/* Alone: it must not ask for anything that starts a thread. */
static int small_process(void)
{
    for (unsigned i = 0; i < 1000; i++)
        memset(malloc(1000), 1, 1000);
    point("a small process has one thread", threads_now() == 1);
    return end();
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "small") == 0)
        return small_process();
    if (argc > 1 && strcmp(argv[1], "early") == 0)
        return early();
    return CHOOSE(argc, argv, dangers);
}
