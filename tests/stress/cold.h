/* SPDX-License-Identifier: MIT */
/*
 * cold -- what the programs share that hand cold heap memory to the kernel: cases and helpers.
 *
 * A case is a function that prepares objects, calls cool(), lets the kernel do something with them
 * and checks the outcome. run_cases() reads the options, runs the cases beside some ballast (so
 * that the heap is worth managing) and checks that too.
 */
#ifndef ZA_TESTS_STRESS_COLD_H
#define ZA_TESTS_STRESS_COLD_H

#include "object.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>

#define NBALLAST 2000UL

struct cold_case {
    const char *name;
    void (*run)(void);
};

#define PAGE 4096UL

static unsigned idle_ms = 700;
static unsigned rounds = 2;
static struct rng rng = {1};
static uint64_t last_id;

static inline void cool(void)
{
    make_cold(idle_ms);
}

static inline struct object fresh(size_t size)
{
    return object_new(size, ++last_id);
}

static inline void drop(struct object *object, const char *where)
{
    object_check(object, where);
    free(object->bytes);
}

/* A zeroed structure on the heap, alone on its pages so that nothing keeps it warm. */
static inline void *cold_struct(size_t size)
{
    size_t whole = (size + PAGE - 1) / PAGE * PAGE;
    void *block = aligned_alloc(PAGE, whole);
    if (!block)
        die("syscalls: no memory");
    return memset(block, 0, whole);
}

__attribute__((noreturn)) static inline void die_of(const char *what, long result)
{
    die("WRONG: %s returned %ld (%s)", what, result, strerror(errno));
}

static inline void expect(long result, long wanted, const char *what)
{
    if (result != wanted)
        die_of(what, result);
}

static inline int open_scratch(int flags)
{
    const char *directory = getenv("TMPDIR");
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/zalloc-syscalls.XXXXXX", directory ? directory : "/tmp");
    int fd = mkostemp(path, flags);
    if (fd >= 0)
        unlink(path);
    return fd;
}

static inline int chosen(const char *name, int count, char **names)
{
    for (int i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0)
            return 1;
    return count == 0;
}

/* Enough heap that background threads are worth starting, with content of its own to check. */
static inline struct object *new_ballast(size_t count)
{
    struct object *ballast = malloc(count * sizeof(*ballast));
    if (!ballast)
        die("syscalls: no memory");
    for (size_t i = 0; i < count; i++)
        ballast[i] = fresh(object_random_size(&rng));
    return ballast;
}

static inline void read_options(const char *program, int argc, char **argv)
{
    int letter;
    while ((letter = getopt(argc, argv, "i:r:S:")) != -1) {
        unsigned long value = optarg ? strtoul(optarg, NULL, 10) : 0;
        switch (letter) {
        case 'i': idle_ms = (unsigned)value; break;
        case 'r': rounds = (unsigned)value; break;
        case 'S': rng.state = value; break;
        default: die("usage: %s [-i idle_ms] [-r rounds] [-S seed] [case...]", program);
        }
    }
}

static inline int run_cases(const char *program, const struct cold_case *cases, size_t ncases,
                            int argc, char **argv)
{
    read_options(program, argc, argv);
    struct object *ballast = new_ballast(NBALLAST);
    unsigned done = 0;
    for (unsigned round = 0; round < rounds; round++)
        for (size_t i = 0; i < ncases; i++)
            if (chosen(cases[i].name, argc - optind, argv + optind)) {
                cases[i].run();
                done++;
            }
    for (size_t i = 0; i < NBALLAST; i++)
        drop(&ballast[i], "ballast");
    free(ballast);
    printf("%s: %u cases: all right\n", program, done);
    return 0;
}

#endif
