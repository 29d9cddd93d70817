/* SPDX-License-Identifier: MIT */
/*
 * prefork -- the memory of a server and its long-lived children, while they live and afterwards.
 *
 * usage: prefork [-m MiB] [-k children] [-s seconds] [-w milliseconds]
 *
 * seconds: when waiting for memory to fall has lasted too long; with -w memory need not fall, it is
 * looked at after so many milliseconds (bench/fork).
 *
 * A parent with known data in memory makes children that each write a part of it, idle, read all of
 * it and idle again. Sums of PSS, in MiB, a line each:
 *   the parent alone, warm, and cold; the family when all have written; idle; when all have read;
 *   idle again; the parent, its children gone; a child that has read all that its parent had stored.
 *
 * Ends with status 1 when a byte is wrong or memory does not fall: of the idle family what the
 * children wrote must be gone, of the parent alone what was gone before it had children.
 */
#define _GNU_SOURCE
#include "object.h"

#include <dlfcn.h>
#include <poll.h>
#include <stdbool.h>
#include <sys/wait.h>

#define BLOCK 65536u
#define WORDS (BLOCK / 8)
#define CHILDREN_MAX 16u

typedef int ctl_fn(const char *, void *, size_t *, const void *, size_t);

static struct {
    size_t mib;
    unsigned children, seconds, look_ms;
} options = {96, 4, 40, 0};

static uint64_t **blocks;
static size_t nblocks;
static pid_t child[CHILDREN_MAX];
static int to_child[CHILDREN_MAX][2], to_parent[2];

static uint64_t word(size_t block, unsigned version, size_t i)
{
    return (uint64_t)block << 32 | (uint64_t)version << 24 | i / 8;
}

static void write_block(size_t b, unsigned version)
{
    for (size_t i = 0; i < WORDS; i++)
        blocks[b][i] = word(b, version, i);
}

static void check_block(size_t b, unsigned version, const char *who)
{
    for (size_t i = 0; i < WORDS; i++)
        if (blocks[b][i] != word(b, version, i))
            die("%s: block %zu, word %zu: %#llx", who, b, i, (unsigned long long)blocks[b][i]);
}

/* `me`: the child that wrote its part, or -1. */
static void check_all(int me, const char *who)
{
    for (size_t b = 0; b < nblocks; b++) {
        bool mine = me >= 0 && b % options.children == (size_t)me;
        check_block(b, mine ? (unsigned)me + 1 : 0, who);
    }
}

static size_t pss_kib(pid_t pid)
{
    char path[64], line[256];
    size_t kib = 0;
    (void)snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof(line), f))
        if (sscanf(line, "Pss: %zu", &kib) == 1)
            break;
    if (f)
        (void)fclose(f);
    return kib;
}

static size_t family_kib(void)
{
    size_t sum = pss_kib(getpid());
    for (unsigned i = 0; i < options.children; i++)
        sum += child[i] ? pss_kib(child[i]) : 0;
    return sum;
}

static void show(const char *what, size_t kib)
{
    printf("%-52s %8.1f MiB\n", what, (double)kib / 1024);
    (void)fflush(stdout);
}

/* Waits until the family, or one process, is down to `most`; dies when it takes too long. */
static size_t await(const char *what, pid_t pid, size_t most)
{
    size_t kib = 0;
    for (unsigned ms = 0; !options.look_ms && ms < options.seconds * 1000; ms += 50) {
        sleep_ms(50);
        kib = pid ? pss_kib(pid) : family_kib();
        if (kib <= most)
            break;
    }
    sleep_ms(options.look_ms ? options.look_ms : 400); /* what is on its way comes down as well */
    kib = pid ? pss_kib(pid) : family_kib();
    show(what, kib);
    if (kib > most && !options.look_ms)
        die("prefork: %s: %zu KiB, wanted %zu", what, kib, most);
    return kib;
}

static void tell(int fd)
{
    if (write(fd, "x", 1) != 1)
        die("prefork: write");
}

static void hear(int fd)
{
    char byte;
    if (read(fd, &byte, 1) != 1)
        _exit(2); /* the parent is gone */
}

__attribute__((noreturn)) static void serve(unsigned me)
{
    for (size_t b = me; b < nblocks; b += options.children)
        write_block(b, me + 1);
    tell(to_parent[1]);
    hear(to_child[me][0]);
    check_all((int)me, "child");
    tell(to_parent[1]);
    hear(to_child[me][0]);
    check_all((int)me, "child at its end");
    _exit(0);
}

static void every(void (*what)(unsigned i))
{
    for (unsigned i = 0; i < options.children; i++)
        what(i);
}

static void start(unsigned i)
{
    if (pipe(to_child[i]) != 0)
        die("prefork: pipe");
    child[i] = fork();
    if (child[i] == 0)
        serve(i);
    if (child[i] < 0)
        die("prefork: fork");
}

static void wake(unsigned i)
{
    tell(to_child[i][1]);
}

static void await_word(unsigned i)
{
    (void)i;
    hear(to_parent[0]);
}

static void bury(unsigned i)
{
    int status;
    if (waitpid(child[i], &status, 0) != child[i] || status != 0)
        die("prefork: child %u: status %#x", i, (unsigned)status);
    child[i] = 0;
}

static void set(const char *name, uint64_t value)
{
    ctl_fn *ctl = (ctl_fn *)dlsym(RTLD_DEFAULT, "zallctl");
    if (!ctl || ctl(name, NULL, NULL, &value, sizeof(value)) != 0)
        die("prefork: %s cannot be set", name);
}

/* A child reads what its parent has stored, half of it at once, and never rests afterwards. */
static void act_reader(size_t warm, size_t cold)
{
    int alive[2];
    if (pipe(alive) != 0)
        die("prefork: pipe");
    pid_t pid = fork();
    if (pid == 0) {
        close(alive[1]);
        for (size_t b = 0; b < nblocks / 2; b++)
            check_block(b, 0, "reader");
        tell(to_parent[1]);
        for (size_t b = nblocks / 2; poll(&(struct pollfd){alive[0], POLLIN, 0}, 1, 20) == 0; b++)
            check_block(b % nblocks, 0, "reader");
        check_all(-1, "reader at its end");
        _exit(0);
    }
    hear(to_parent[0]);
    show("a child that has read half of what was stored", pss_kib(pid));
    (void)await("the same, reading on slowly", pid, cold + (warm - cold) / 4);
    close(alive[1]);
    int status;
    if (waitpid(pid, &status, 0) != pid || status != 0)
        die("prefork: reader: status %#x", (unsigned)status);
}

int main(int argc, char **argv)
{
    int letter;
    while ((letter = getopt(argc, argv, "m:k:s:w:")) != -1) {
        unsigned long value = optarg ? strtoul(optarg, NULL, 10) : 0;
        switch (letter) {
        case 'm': options.mib = value; break;
        case 'k': options.children = (unsigned)(value < CHILDREN_MAX ? value : CHILDREN_MAX); break;
        case 's': options.seconds = (unsigned)value; break;
        case 'w': options.look_ms = (unsigned)value; break;
        default: die("usage: prefork [-m MiB] [-k children] [-s seconds] [-w milliseconds]");
        }
    }
    set("cold_ms", 150);
    set("cpu_limit", 100);
    nblocks = (options.mib << 20) / BLOCK;
    blocks = malloc(nblocks * sizeof(blocks[0]));
    for (size_t b = 0; blocks && b < nblocks; b++) {
        blocks[b] = malloc(BLOCK);
        write_block(b, 0);
    }
    if (!blocks || pipe(to_parent) != 0)
        die("prefork: no memory");
    size_t warm = pss_kib(getpid());
    show("the parent, warm", warm);
    size_t cold = await("the parent, cold", getpid(), warm / 2);
    check_all(-1, "parent");
    every(start);
    every(await_word);
    show("the family, all have written", family_kib());
    size_t shared = warm + warm / 2;
    (void)await("the family, idle", 0, shared);
    every(wake);
    every(await_word);
    show("the family, all have read", family_kib());
    (void)await("the family, idle again", 0, shared);
    every(wake);
    every(bury);
    (void)await("the parent, its children gone", getpid(), cold + (warm - cold) / 4);
    act_reader(warm, cold);
    check_all(-1, "parent at its end");
    printf("prefork: %zu MiB, %u children: all right\n", options.mib, options.children);
    return 0;
}
