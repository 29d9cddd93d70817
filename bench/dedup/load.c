/* SPDX-License-Identifier: MIT */
/*
 * load -- programs with equal pages in them, to see what is made of those.
 *
 * usage: load table COPIES MIB         a text of records, parsed COPIES times into rows of strings
 *        load image COPIES MIB APART   a picture, COPIES times, each APART bytes further from the
 *                                      beginning of its block than the one before
 *        load fork WORKERS MIB         a table of MIB, cold before the fork; each worker rewrites a
 *                                      twentieth, reads a tenth, and goes cold again
 *        load restore MIB              MIB twice and MIB once: what a first touch costs of each
 *        load scan MIB                 a table that is only read, out and back and out again: what
 *                                      packing the same bytes once more costs
 *
 * Prints the library's statistics, and `loaded KIB` and `settled KIB`: PSS of all its processes.
 * Settled is: all that can be compressed is (zalloc), or ksmd has passed three times (LOAD_KSM=1 in
 * the environment).
 */
#include <dlfcn.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)
#define PAGE ((size_t)4096)
#define MERGE_ALL 67 /* PR_SET_MEMORY_MERGE */
#define PASSES 3
#define ROUNDS 5
#define PATIENCE 400 /* of 50 ms, on a busy machine */

typedef int ctl_fn(const char *, void *, size_t *, const void *, size_t);

static uint64_t seed = 1;

static uint64_t rnd(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return seed >> 33;
}

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static unsigned long number_in(const char *path, const char *key)
{
    char line[256];
    unsigned long value = 0;
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof(line), f))
        if (strncmp(line, key, strlen(key)) == 0)
            value = strtoul(line + strlen(key), NULL, 10);
    if (f)
        fclose(f);
    return value;
}

static unsigned long pss(long pid)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%ld/smaps_rollup", pid);
    return number_in(path, "Pss:");
}

static ctl_fn *find_ctl(void)
{
    return (ctl_fn *)(uintptr_t)dlsym(RTLD_DEFAULT, "zallctl");
}

/* The library's account, `stat NAME VALUE` a line. */
static void report_stats(void)
{
    static const char *const names[] = {
        "pager.stored",    "pager.zero",       "pager.same",        "pager.incompressible",
        "dedup.duplicate", "dedup.unique",     "dedup.skipped",     "dedup.shared_pages",
        "store.raw_bytes", "store.live_bytes", "dedup.index_bytes", "pager.cpu_ns"};
    ctl_fn *ctl = find_ctl();
    for (size_t i = 0; ctl && i < sizeof(names) / sizeof(names[0]); i++) {
        char name[64];
        uint64_t value = 0;
        size_t len = sizeof(value);
        snprintf(name, sizeof(name), "stats.%s", names[i]);
        if (ctl(name, &value, &len, NULL, 0) == 0)
            printf("stat %s %llu\n", names[i], (unsigned long long)value);
    }
}

static void settle(void)
{
    ctl_fn *ctl = find_ctl();
    if (ctl) {
        const char *order = getenv("LOAD_DENSE") ? "pager.dense" : "pager.evict";
        (void)ctl(order, NULL, NULL, NULL, 0);
        (void)ctl(order, NULL, NULL, NULL,
                  0);    /* what does not compress is stored when seen again */
        usleep(1200000); /* what has died in the store is given back within a second */
        (void)ctl("stats.refresh", NULL, NULL, NULL, 0);
    } else if (getenv("LOAD_KSM")) {
        const char *scans = "/sys/kernel/mm/ksm/full_scans";
        unsigned long end = number_in(scans, "") + PASSES;
        for (int i = 0; i < PATIENCE && number_in(scans, "") < end; i++)
            usleep(50000);
    }
}

static void report(const char *what, unsigned long kib)
{
    printf("%s %lu\n", what, kib);
    fflush(stdout);
}

static void settle_and_report(void)
{
    report("loaded", pss(getpid()));
    settle();
    report("settled", pss(getpid()));
    report_stats();
}

/* --- a table ------------------------------------------------------------- */

struct row {
    struct row *next;
    char *field[4];
};

static char *make_text(size_t bytes)
{
    static const char *const word[] = {"alpha", "bravo", "charlie", "delta", "echo", "foxtrot",
                                       "golf",  "hotel", "india",   "kilo",  "lima", "november"};
    char *text = malloc(bytes + 256);
    size_t at = 0;
    while (text && at < bytes)
        at += (size_t)sprintf(text + at, "%s-%lu\t%lu\t%s %s %s\t%lu.%02lu\n", word[rnd() % 12],
                              (unsigned long)rnd() % 100000, (unsigned long)at, word[rnd() % 12],
                              word[rnd() % 12], word[rnd() % 12], (unsigned long)rnd() % 1000,
                              (unsigned long)rnd() % 100);
    return text;
}

static struct row *parse(const char *text)
{
    struct row *all = NULL;
    while (*text) {
        struct row *r = malloc(sizeof(*r));
        for (int i = 0; i < 4; i++) {
            size_t n = strcspn(text, "\t\n");
            r->field[i] = strndup(text, n);
            text += n + 1;
        }
        r->next = all;
        all = r;
    }
    return all;
}

static volatile const void *kept;

static void table(unsigned copies, size_t mib)
{
    for (unsigned i = 0; i < copies; i++) {
        seed = 1;
        char *text = make_text(mib * MIB);
        struct row *all = parse(text);
        kept = all;
        free(text);
    }
    settle_and_report();
}

/* --- a picture ----------------------------------------------------------- */

static void paint(char *to, size_t bytes)
{
    seed = 7;
    for (size_t i = 0; i < bytes; i++)
        to[i] = (char)(i / 3 % 1024 / 5 + i / 3 / 1024 / 7 + rnd() % 4);
}

static void image(unsigned copies, size_t mib, size_t apart)
{
    for (unsigned i = 0; i < copies; i++) {
        char *block = malloc(mib * MIB + copies * apart);
        paint(block + i * apart, mib * MIB);
        kept = block;
    }
    settle_and_report();
}

/* --- workers ------------------------------------------------------------- */

static void work(char *data, size_t pages, int ready)
{
    seed = (uint64_t)getpid();
    for (size_t i = 0; i < pages / 20; i++)
        memset(data + rnd() % pages * PAGE + 64, (int)rnd(), 64);
    unsigned sum = 0;
    for (size_t i = 0; i < pages / 10; i++)
        sum += (unsigned char)data[rnd() % pages * PAGE];
    settle();
    if (write(ready, &sum, 1) != 1)
        _exit(1);
    pause();
}

static void workers(unsigned n, size_t mib)
{
    int ready[2];
    char byte, *data = make_text(mib * MIB);
    pid_t pid[64];
    n = n > 64 ? 64 : n;
    if (pipe(ready) < 0)
        exit(1);
    settle();
    for (unsigned i = 0; i < n; i++)
        if ((pid[i] = fork()) == 0)
            work(data, mib * MIB / PAGE, ready[1]);
    report("loaded", (unsigned long)(mib << 10) * (n + 1));
    for (unsigned i = 0; i < n; i++)
        if (read(ready[0], &byte, 1) != 1)
            exit(1);
    unsigned long sum = pss(getpid());
    for (unsigned i = 0; i < n; i++)
        sum += pss(pid[i]);
    report("settled", sum);
    for (unsigned i = 0; i < n; i++) {
        kill(pid[i], 9);
        waitpid(pid[i], NULL, 0);
    }
}

/* --- first touches ------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* One page of every unit, so that no neighbour has brought it. */
static void touches(const char *what, const char *data, size_t bytes)
{
    size_t n = bytes / (16 * PAGE);
    double *took = malloc(n * sizeof(*took));
    for (size_t i = 0; i < n; i++) {
        double start = now_us();
        kept = (const void *)(uintptr_t) * (volatile const char *)(data + i * 7919 % n * 16 * PAGE);
        took[i] = now_us() - start;
    }
    qsort(took, n, sizeof(*took), by_value);
    printf("touch of a page that is %s: %.1f us least, %.1f median, %.1f at 90 %%\n", what, took[0],
           took[n / 2], took[n * 9 / 10]);
    free(took);
}

static void restore(size_t mib)
{
    char *one = make_text(mib * MIB), *two = malloc(mib * MIB + 256);
    memcpy(two, one, mib * MIB + 256);
    char *alone = make_text(mib * MIB);
    settle_and_report();
    touches("shared", one, mib * MIB);
    touches("not shared", alone, mib * MIB);
    free(one);
    free(two);
    free(alone);
}

/* --- out and back again -------------------------------------------------- */

static uint64_t stat_of(const char *name)
{
    ctl_fn *ctl = find_ctl();
    uint64_t value = 0;
    size_t len = sizeof(value);
    if (ctl && ctl("stats.refresh", NULL, NULL, NULL, 0) == 0)
        (void)ctl(name, &value, &len, NULL, 0);
    return value;
}

struct account {
    uint64_t worker, fault, packed, restored;
    double us;
};

static struct account look(void)
{
    return (struct account){stat_of("stats.pager.cpu_ns"), stat_of("stats.pager.fault_cpu_ns"),
                            stat_of("stats.pager.packed"), stat_of("stats.pager.restored"),
                            now_us()};
}

static void scan(size_t mib)
{
    const char *data = make_text(mib * MIB);
    settle();
    for (int round = 0; round < ROUNDS; round++) {
        struct account a = look();
        for (size_t i = 0; i < mib * MIB; i += PAGE)
            kept = (const void *)(uintptr_t) * (volatile const char *)(data + i);
        struct account b = look();
        settle();
        struct account c = look();
        double back = (double)(b.restored - a.restored + 1);
        printf("a page read back: %.1f us, of it %.1f of the fault thread; packed again: %.1f us\n",
               (b.us - a.us) / back, (double)(b.fault - a.fault) / 1e3 / back,
               (double)(c.worker - b.worker) / 1e3 / (double)(c.packed - b.packed + 1));
    }
}

int main(int argc, char **argv)
{
    size_t n[3] = {0};
    for (int i = 0; i < 3 && i + 2 < argc; i++)
        n[i] = strtoul(argv[i + 2], NULL, 10);
    if (getenv("LOAD_KSM"))
        (void)prctl(MERGE_ALL, 1, 0, 0, 0);
    if (argc > 3 && strcmp(argv[1], "table") == 0)
        table((unsigned)n[0], n[1]);
    else if (argc > 3 && strcmp(argv[1], "image") == 0)
        image((unsigned)n[0], n[1], n[2]);
    else if (argc > 3 && strcmp(argv[1], "fork") == 0)
        workers((unsigned)n[0], n[1]);
    else if (argc > 2 && strcmp(argv[1], "restore") == 0)
        restore(n[0]);
    else if (argc > 2 && strcmp(argv[1], "scan") == 0)
        scan(n[0]);
    else
        return 2;
    return 0;
}
