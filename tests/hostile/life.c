/* SPDX-License-Identifier: MIT */
/*
 * life -- how libraries, threads and processes come and go while memory is cold.
 *
 * usage: life stored|limbo [ENDING]: all of it; with ENDING, a process that ends that way.
 */
#include "hostile.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>

#define NBLOCKS 32u
#define LEN (2 * UNIT)
#define BORN 10000u
#define AT_ONCE 1000u
#define SMALL_STACK 16384u
#define MIB (1ul << 20)

static char *blocks[NBLOCKS], **args;

static void evict(void)
{
    if (ctl)
        (void)ctl("pager.evict", NULL, NULL, NULL, 0);
}

static bool all_right(void)
{
    for (unsigned i = 0; i < NBLOCKS; i++)
        if (!right(blocks[i], 0, LEN, i + 1))
            return false;
    return true;
}

static void make_blocks(void)
{
    for (unsigned i = 0; i < NBLOCKS; i++)
        blocks[i] = block(LEN, i + 1);
    evict();
}

/* ---- libraries ----------------------------------------------------------------------------------
 */

static void plugin(const char *name, int flags)
{
    char path[512];
    bool good = true;
    snprintf(path, sizeof(path), "%s_plugin.so", args[0]);
    for (unsigned i = 0; i < 10 && good; i++) {
        void *h = dlopen(path, flags);
        if (!h) {
            skip(name, dlerror());
            return;
        }
        int (*is_right)(void) = (int (*)(void))(uintptr_t)dlsym(h, "plugin_right");
        void *(*make)(size_t) = (void *(*)(size_t))(uintptr_t)dlsym(h, "plugin_block");
        evict();
        good = is_right() == 1;
        for (unsigned k = 0; k < 50 && good; k++) {
            char *p = make(100u << k % 12);
            memset(p, 1, 100);
            p = realloc(p, 200u << k % 12);
            good = p && p[99] == 1;
            free(p);
        }
        evict();
        good = dlclose(h) == 0 && good;
    }
    point(name, good && all_right());
}

/* This library itself, where it was not there from the start: refused, or harmless. */
static int loads_late(const char *path)
{
    char *before = malloc(100000);
    memset(before, 7, 100000);
    void *h = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
    char *after = malloc(100000);
    memset(after, 7, 100000);
    bool good = memcmp(before, after, 100000) == 0;
    before = realloc(before, 200000);
    free(before);
    free(after);
    void *(*m)(size_t) = h ? (void *(*)(size_t))(uintptr_t)dlsym(h, "malloc") : NULL;
    void (*f)(void *) = h ? (void (*)(void *))(uintptr_t)dlsym(h, "free") : NULL;
    if (m && f)
        f(m(1000));
    return good ? 0 : 1;
}

/* ---- endings: each is a process of its own ------------------------------------------------------
 */

static unsigned touched;

static void look(void)
{
    evict();
    touched += all_right();
}

static void look_on_exit(int status, void *arg)
{
    (void)status;
    (void)arg;
    look();
}

/* The last of all; the exit status is the program's answer. */
__attribute__((destructor)) static void last(void)
{
    if (touched == 0)
        return;
    look();
    if (touched != 4)
        _exit(50 + (int)touched % 10);
}

static void *ends_later(void *arg)
{
    (void)arg;
    sleep_ms(20);
    evict();
    exit(all_right() ? 0 : 1);
}

static void *execs(void *arg)
{
    (void)arg;
    char *words = block(UNIT, 60), **list = block(UNIT, 61);
    strcpy(words, "exec");
    list[0] = args[0];
    list[1] = args[1];
    list[2] = words;
    list[3] = NULL;
    evict();
    execv("/proc/self/exe", list);
    return NULL;
}

static void *stays_busy(void *arg)
{
    (void)arg;
    for (;;) {
        evict();
        (void)all_right();
    }
    return NULL;
}

static void with_others(void *(*fn)(void *))
{
    pthread_t t;
    for (unsigned i = 0; i < 2; i++)
        pthread_create(&t, NULL, stays_busy, NULL);
    if (fn)
        pthread_create(&t, NULL, fn, NULL);
    sleep_ms(20);
}

static int ending(const char *how)
{
    make_blocks();
    if (strcmp(how, "exit") == 0) {
        atexit(look);
        on_exit(look_on_exit, NULL);
        look();
        exit(0); /* and the destructor: four looks */
    }
    if (strcmp(how, "quick_exit") == 0) {
        at_quick_exit(look);
        evict();
        quick_exit(0);
    }
    if (strcmp(how, "pthread_exit") == 0) {
        pthread_t t;
        pthread_create(&t, NULL, ends_later, NULL);
        evict();
        pthread_exit(NULL);
    }
    if (strcmp(how, "amid others") == 0) {
        with_others(NULL);
        exit(0);
    }
    if (strcmp(how, "_exit") == 0) {
        with_others(NULL);
        _exit(0);
    }
    if (strcmp(how, "abort") == 0) {
        with_others(NULL);
        abort();
    }
    if (strcmp(how, "segv") == 0) {
        with_others(NULL);
        *(volatile int *)8 = 1;
    }
    if (strcmp(how, "execs") == 0) {
        with_others(execs);
        sleep_ms(5000);
    }
    if (strcmp(how, "exec") == 0)
        return all_right() ? 0 : 1;
    with_others(NULL);
    sleep_ms(5000);
    return 1;
}

static int end_of(const char *how, int sig)
{
    int status = -1;
    pid_t pid = fork();
    if (pid == 0) {
        int quiet = open("/dev/null", O_WRONLY);
        dup2(quiet, 2);
        execl("/proc/self/exe", args[0], args[1], how, NULL);
        _exit(99);
    }
    if (sig) {
        sleep_ms(100);
        kill(pid, sig);
    }
    return pid > 0 && waitpid(pid, &status, 0) == pid ? status : -1;
}

/* Files that could be ours: others use the place too. */
static size_t files_in(const char *path)
{
    DIR *d = opendir(path);
    size_t n = 0;
    for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d))
        n += strstr(e->d_name, "zalloc") != NULL;
    if (d)
        closedir(d);
    return n;
}

static bool ended_by(int status, int sig)
{
    return WIFSIGNALED(status) && WTERMSIG(status) == sig;
}

static void endings(void)
{
    const char *tmp = getenv("TMPDIR");
    size_t shared = files_in("/dev/shm"), mine = files_in(tmp ? tmp : "/tmp");
    point("exit with handlers and destructors", end_of("exit", 0) == 0);
    point("quick_exit", end_of("quick_exit", 0) == 0);
    point("pthread_exit of the first thread", end_of("pthread_exit", 0) == 0);
    point("exit, others at work", end_of("amid others", 0) == 0);
    point("_exit, others at work", end_of("_exit", 0) == 0);
    point("abort", ended_by(end_of("abort", 0), SIGABRT));
    point("a fatal signal", ended_by(end_of("segv", 0), SIGSEGV));
    point("exec by a thread, others at work", end_of("execs", 0) == 0);
    point("SIGTERM", ended_by(end_of("sleep", SIGTERM), SIGTERM));
    bool killed = ended_by(end_of("sleep", SIGKILL), SIGKILL);
    point("SIGKILL, and nothing is left behind",
          killed && files_in("/dev/shm") == shared && files_in(tmp ? tmp : "/tmp") == mine);
}

static void late(void)
{
    Dl_info self;
    int status = -1;
    if (!dladdr((void *)(uintptr_t)ctl, &self)) {
        skip("loading the library at run time", "its path is unknown");
        return;
    }
    pid_t pid = fork();
    if (pid == 0) {
        unsetenv("LD_PRELOAD");
        execl("/proc/self/exe", args[0], "late", self.dli_fname, NULL);
        _exit(99);
    }
    point("the library loaded at run time",
          pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
}

/* ---- threads ------------------------------------------------------------------------------------
 */

static unsigned bad;

static void *lives_shortly(void *arg)
{
    unsigned n = (unsigned)(uintptr_t)arg;
    uint64_t *p = malloc(5000 + n % 64 * 100), *q = malloc(100);
    fill(p, 4096, n);
    *q = n;
    if (n % 16 == 0 && !right(blocks[n % NBLOCKS], 0, PAGE, n % NBLOCKS + 1))
        __atomic_fetch_add(&bad, 1, __ATOMIC_RELAXED);
    if (!right(p, 0, 4096, n) || *q != n)
        __atomic_fetch_add(&bad, 1, __ATOMIC_RELAXED);
    free(p);
    free(q);
    return NULL;
}

static bool crowd(const pthread_attr_t *attr, unsigned total, unsigned at_once)
{
    pthread_t *t = malloc(at_once * sizeof(*t));
    bool good = true;
    for (unsigned n = 0; n < total && good; n += at_once) {
        for (unsigned i = 0; i < at_once; i++)
            good &= pthread_create(&t[i], attr, lives_shortly, (void *)(uintptr_t)(n + i)) == 0;
        for (unsigned i = 0; i < at_once && good; i++)
            pthread_join(t[i], NULL);
        if (n % 1000 == 0)
            evict();
    }
    free(t);
    return good;
}

static pthread_barrier_t *everybody;

static void *waits_for_all(void *arg)
{
    uint64_t *p = malloc(1000);
    fill(p, 1000, (uintptr_t)arg);
    pthread_barrier_wait(everybody);
    pthread_barrier_wait(everybody);
    if (!right(p, 0, 1000, (uintptr_t)arg))
        __atomic_fetch_add(&bad, 1, __ATOMIC_RELAXED);
    free(p);
    return NULL;
}

static bool all_at_once(const pthread_attr_t *attr)
{
    pthread_t *t = malloc(AT_ONCE * sizeof(*t));
    everybody = malloc(sizeof(*everybody));
    pthread_barrier_init(everybody, NULL, AT_ONCE + 1);
    for (unsigned i = 0; i < AT_ONCE; i++)
        if (pthread_create(&t[i], attr, waits_for_all, (void *)(uintptr_t)i) != 0)
            return false;
    pthread_barrier_wait(everybody);
    evict();
    pthread_barrier_wait(everybody);
    for (unsigned i = 0; i < AT_ONCE; i++)
        pthread_join(t[i], NULL);
    free(t);
    free(everybody);
    return true;
}

static void threads(void)
{
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, SMALL_STACK);
    bool good = crowd(&attr, 2000, 8);
    uint64_t before = stat_of("stats.footprint.total");
    good = crowd(&attr, BORN, 8) && good;
    uint64_t after = stat_of("stats.footprint.total");
    point("ten thousand threads with small stacks", good && bad == 0);
    point("they leave nothing behind", after < before + 4 * MIB);
    point("a thousand threads at once", all_at_once(&attr) && bad == 0);
    point("their caches are gone", stat_of("stats.cache.threads") <= 4);
    point("what was cold meanwhile", all_right());
    pthread_attr_destroy(&attr);
}

int main(int argc, char **argv)
{
    args = argv;
    if (argc > 2 && strcmp(argv[1], "late") == 0)
        return loads_late(argv[2]);
    if (!begin(argc, argv))
        return 77;
    if (argc > 2)
        return ending(argv[2]);
    make_blocks();
    plugin("a plugin", RTLD_NOW);
    plugin("a plugin loaded lazily, for all", RTLD_LAZY | RTLD_GLOBAL);
    plugin("a plugin bound to its own malloc", RTLD_NOW | RTLD_DEEPBIND);
    late();
    endings();
    threads();
    return end();
}
