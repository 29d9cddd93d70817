/* SPDX-License-Identifier: MIT */
/*
 * victim -- fills memory with bytes that readcore can foretell, lets it go cold, and dies or waits.
 *
 * usage: victim HOW MIB LIST      LIST: a file to write `address length id` lines to, a block each
 *
 * A third of the memory is packed densely, most of it fast, some is in limbo at the end; some is
 * zero, and some is small blocks of which every third was freed. HOW: the way to die, or `wait`:
 * print the process id and obey lines of input, to the end of it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <grp.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "pattern.h"

#define BLOCK (1ul << 20)
#define SMALL_MAX 512u
#define LIMBO_BLOCKS 4u
#define THREADS 4u
#define PATIENCE_MS 20000u

struct item {
    void *p;
    size_t len;
    uint64_t id;
};

static struct item *items;
static size_t nitems;
static int (*ctl)(const char *, void *, size_t *, const void *, size_t);
static volatile unsigned sink;

static void die(const char *what)
{
    fprintf(stderr, "victim: %s\n", what);
    exit(3);
}

static void sleep_ms(unsigned ms)
{
    struct timespec t = {ms / 1000, (long)(ms % 1000) * 1000000};
    while (nanosleep(&t, &t) < 0 && errno == EINTR)
        ;
}

static struct item *add(size_t len, uint64_t id)
{
    struct item *it = &items[nitems++];
    *it = (struct item){malloc(len), len, id};
    if (!it->p)
        die("no memory");
    pattern_fill(it->p, len, id);
    return it;
}

static void order(const char *name)
{
    if (ctl && ctl(name, NULL, NULL, NULL, 0) != 0)
        die(name);
}

static void add_blocks(size_t n, uint64_t kind)
{
    for (size_t i = 0; i < n; i++)
        (void)add(BLOCK, kind << 32 | i);
}

/* Blocks of all sizes; those that are freed leave holes among the others. */
static void add_small(size_t n)
{
    size_t kept = nitems;
    for (size_t i = 0; i < n; i++)
        (void)add(16 + i * 37 % SMALL_MAX, PATTERN_TEXT << 32 | 1 << 24 | i);
    for (size_t i = kept; i < nitems; i++) {
        if (i % 3 == 0)
            free(items[i].p);
        else
            items[kept++] = items[i];
    }
    nitems = kept;
}

static size_t present(const struct item *it)
{
    unsigned char there[BLOCK / 4096 + 1];
    uintptr_t from = ((uintptr_t)it->p + 4095) & ~4095ul,
              to = ((uintptr_t)it->p + it->len) & ~4095ul;
    size_t n = 0;
    if (to <= from || mincore((void *)from, to - from, there) < 0)
        return 0;
    for (size_t i = 0; i < (to - from) / 4096; i++)
        n += there[i] & 1;
    return n;
}

static void wait_for_limbo(size_t first)
{
    for (unsigned ms = 0; ctl && ms < PATIENCE_MS; ms += 2) {
        size_t n = 0;
        for (size_t i = first; i < nitems; i++)
            n += present(&items[i]);
        if (n == 0)
            return;
        sleep_ms(2);
    }
    if (ctl)
        die("the last blocks do not go cold");
}

static void build(size_t mib)
{
    items = malloc((mib + 20000) * sizeof(*items));
    if (!items)
        die("no memory");
    add_blocks(mib / 3, PATTERN_TEXT);
    add_blocks(2, PATTERN_ZERO);
    order("pager.dense");
    add_blocks(mib - mib / 3, PATTERN_TEXT + 8);
    add_blocks(2, PATTERN_RANDOM);
    add_small(10000);
    order("pager.evict");
    size_t last = nitems;
    add_blocks(LIMBO_BLOCKS, PATTERN_TEXT + 16);
    wait_for_limbo(last);
}

static void list(const char *path)
{
    FILE *f = fopen(path, "w");
    if (!f)
        die("cannot write the list");
    for (size_t i = 0; i < nitems; i++)
        fprintf(f, "%p %zu %llu\n", items[i].p, items[i].len, (unsigned long long)items[i].id);
    fclose(f);
}

/* ---- ways to die ----------------------------------------------------------------------------- */

static void crash_here(void)
{
    *(volatile int *)(uintptr_t)0x10 = 1;
}

static __attribute__((noinline)) int deeper(int n)
{
    volatile char room[4096];
    room[0] = (char)n;
    return n < 0 ? 0 : deeper(n + 1) + room[0];
}

static void crash_again(int sig)
{
    (void)sig;
    crash_here();
}

/* The program's own handler, on its own stack, crashes. */
static void die_in_handler(void)
{
    stack_t st = {.ss_sp = malloc(65536), .ss_size = 65536};
    struct sigaction act = {.sa_handler = crash_again, .sa_flags = SA_ONSTACK};
    (void)sigaltstack(&st, NULL);
    (void)sigaction(SIGUSR1, &act, NULL);
    (void)raise(SIGUSR1);
}

static struct sigaction before;

static void chain(int sig, siginfo_t *info, void *context)
{
    if (before.sa_flags & SA_SIGINFO) {
        before.sa_sigaction(sig, info, context);
        return;
    }
    (void)signal(sig, SIG_DFL);
}

/* A crash handler of the program's, which calls the one before it. */
static void die_chained(void)
{
    struct sigaction act = {.sa_sigaction = chain, .sa_flags = SA_SIGINFO};
    (void)sigaction(SIGSEGV, &act, &before);
    crash_here();
}

static void *busy(void *arg)
{
    unsigned seed = (unsigned)(uintptr_t)arg;
    for (;;) {
        const struct item *it = &items[(seed = seed * 1103515245 + 12345) / 7 % nitems];
        sink += *((volatile unsigned char *)it->p + seed % it->len);
        free(malloc(seed % 3000));
    }
    return NULL;
}

static void *crash_thread(void *arg)
{
    (void)arg;
    sleep_ms(20);
    crash_here();
    return NULL;
}

static void die_threads(void)
{
    pthread_t t;
    for (uintptr_t i = 1; i <= THREADS; i++)
        (void)pthread_create(&t, NULL, busy, (void *)i);
    (void)pthread_create(&t, NULL, crash_thread, NULL);
    for (;;)
        pause();
}

static void *overflow_thread(void *arg)
{
    free(malloc(10));
    sink += (unsigned)deeper((int)(uintptr_t)arg);
    return NULL;
}

static void die_overflow_thread(void)
{
    pthread_t t;
    (void)pthread_create(&t, NULL, overflow_thread, NULL);
    (void)pthread_join(t, NULL);
}

static void die_misuse(void)
{
    void *volatile p = malloc(100);
    free(p);
    free(p);
}

static void die_quit(void)
{
    (void)kill(getpid(), SIGQUIT);
    sleep_ms(60000);
}

static void die_forked(void)
{
    pid_t pid = fork();
    if (pid == 0)
        crash_here();
    (void)waitpid(pid, NULL, 0);
    _exit(0);
}

static bool all_right(void)
{
    for (size_t i = 0; i < nitems; i++)
        if (!pattern_is(items[i].p, items[i].len, items[i].id))
            return false;
    return true;
}

/* A child is nobody's: it may take pages out again. */
static bool child_right(void)
{
    int status = -1;
    pid_t pid = fork();
    if (pid == 0) {
        const struct item *own = add(BLOCK, PATTERN_TEXT << 32 | 1 << 25);
        order("pager.evict");
        _exit(present(own) == 0 && all_right() ? 0 : 1);
    }
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

/* Large blocks grow and move. */
static bool grown_right(const char *path)
{
    for (size_t i = 0; i < 4 && i < nitems; i++) {
        void *p = realloc(items[i].p, 3 * items[i].len);
        if (!p || !pattern_is(p, items[i].len, items[i].id))
            return false;
        items[i].p = p;
        pattern_fill(p, items[i].len *= 3, items[i].id);
    }
    list(path);
    return true;
}

/* Gives its identity away for good, which gives the library new threads. */
static bool becomes_nobody(void)
{
    return setgroups(0, NULL) == 0 && setgid(65534) == 0 && setuid(65534) == 0;
}

/* Does what each line of input says, and prints `ok` or `bad` for it. */
static int obey(const char *path)
{
    char line[64];
    printf("%d\n", (int)getpid());
    while (fflush(stdout) == 0 && fgets(line, sizeof(line), stdin)) {
        bool good = false;
        if (strcmp(line, "verify\n") == 0)
            good = all_right();
        else if (strcmp(line, "fork\n") == 0)
            good = child_right();
        else if (strcmp(line, "grow\n") == 0)
            good = grown_right(path);
        else if (strcmp(line, "evict\n") == 0)
            good = !ctl || ctl("pager.evict", NULL, NULL, NULL, 0) == 0;
        else if (strcmp(line, "nobody\n") == 0)
            good = becomes_nobody();
        puts(good ? "ok" : "bad");
    }
    return 0;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*act)(void);
    } ways[] = {{"segv", crash_here},        {"abort", abort},
                {"handler", die_in_handler}, {"chained", die_chained},
                {"threads", die_threads},    {"overflow-thread", die_overflow_thread},
                {"misuse", die_misuse},      {"quit", die_quit},
                {"forked", die_forked}};
    struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
    if (argc != 4)
        die("usage: victim HOW MIB LIST");
    ctl = (int (*)(const char *, void *, size_t *, const void *, size_t))dlsym(RTLD_DEFAULT,
                                                                               "zallctl");
    if (strcmp(argv[1], "no-core") != 0)
        (void)setrlimit(RLIMIT_CORE, &unlimited);
    size_t mib = strtoul(argv[2], NULL, 10);
    if (mib > 0)
        build(mib);
    list(argv[3]);
    if (strcmp(argv[1], "wait") == 0)
        return obey(argv[3]);
    if (strcmp(argv[1], "overflow") == 0)
        sink += (unsigned)deeper(1);
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
        if (strcmp(argv[1], ways[i].name) == 0)
            ways[i].act();
    crash_here();
    return 0;
}
