/* SPDX-License-Identifier: MIT */
/*
 * alloc_fastpath -- how many instructions the fast paths execute: counted one by one, by stepping a
 * child through them.
 *
 * The bounds are those of this build on x86-64 with a little to spare: a new branch or load passes,
 * a new call, loop or lock does not.  Skipped where stepping is not allowed, in builds whose
 * checks would be counted too, and on other machines.
 */
#include <dlfcn.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "tests/unit/alloc_kit.h"

#if defined(__x86_64__)

#define MALLOC_MOST 26u        /* up to 1 KiB */
#define MALLOC_MEDIUM_MOST 34u /* up to 32 KiB */
#define FREE_MOST 40u
#define LARGE_MOST 110u /* malloc and free of a block that is kept (alloc/pocket.h) */
#define STEPS_MOST 100000u

#define MARK() __asm__ volatile("int3" : : : "memory")

static void *volatile block;

/* What the child does between two marks. */
static void do_nothing(size_t size)
{
    (void)size;
}

static void do_malloc(size_t size)
{
    block = za_malloc(size);
}

static void do_free(size_t size)
{
    (void)size;
    za_free(block);
}

static void do_both(size_t size)
{
    block = za_malloc(size);
    za_free(block);
}

static _Noreturn void child(void (*fn)(size_t), size_t size)
{
    kit_start();
    void *p[4];
    for (int i = 0; i < 4; i++)
        p[i] = za_malloc(size);
    for (int i = 0; i < 3; i++)
        za_free(p[i]);
    block = p[3];
    void (*volatile run)(size_t) = fn;
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
        _exit(1);
    (void)raise(SIGSTOP);
    MARK();
    run(size);
    MARK();
    _exit(0);
}

static int wait_stop(pid_t pid)
{
    int status = 0;
    if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
        UNIT_SKIP("stepping a process is not allowed here");
    return WSTOPSIG(status);
}

static bool at_mark(pid_t pid)
{
    siginfo_t si = {0};
    CHECK_EQ(ptrace(PTRACE_GETSIGINFO, pid, NULL, &si), 0);
    return si.si_code == SI_KERNEL;
}

/* Instructions between the two marks. */
static unsigned steps(void (*fn)(size_t), size_t size)
{
    unsigned n = 0;
    pid_t pid = fork();
    if (pid == 0)
        child(fn, size);
    CHECK_EQ(wait_stop(pid), SIGSTOP);
    CHECK_EQ(ptrace(PTRACE_CONT, pid, NULL, NULL), 0);
    CHECK_EQ(wait_stop(pid), SIGTRAP);
    CHECK(at_mark(pid));
    for (; n < STEPS_MOST; n++) {
        CHECK_EQ(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL), 0);
        CHECK_EQ(wait_stop(pid), SIGTRAP);
        if (at_mark(pid))
            break;
    }
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, NULL, 0);
    return n;
}

static unsigned cost(void (*fn)(size_t), size_t size)
{
    unsigned all = steps(fn, size), nothing = steps(do_nothing, size);
    return all > nothing ? all - nothing : 0;
}

/* Is this a build with a sanitizer? */
static bool instrumented(void)
{
    return dlsym(RTLD_DEFAULT, "__asan_init") || dlsym(RTLD_DEFAULT, "__tsan_init") ||
           dlsym(RTLD_DEFAULT, "__ubsan_handle_pointer_overflow");
}

static void expect_cost(void (*fn)(size_t), size_t size, unsigned most)
{
    if (instrumented())
        UNIT_SKIP("a sanitizer's checks would be counted");
    unsigned n = cost(fn, size);
    CHECK(n > 0);
    if (n > most)
        CHECK_EQ(n, most);
}

UNIT_TEST(malloc_of_a_small_block)
{
    expect_cost(do_malloc, 16, MALLOC_MOST);
    expect_cost(do_malloc, 1000, MALLOC_MOST);
}

UNIT_TEST(malloc_of_a_medium_block)
{
    expect_cost(do_malloc, 1025, MALLOC_MEDIUM_MOST);
    expect_cost(do_malloc, 32768, MALLOC_MEDIUM_MOST);
}

UNIT_TEST(free_of_a_block)
{
    expect_cost(do_free, 16, FREE_MOST);
    expect_cost(do_free, 1000, FREE_MOST);
}

UNIT_TEST(a_large_block_that_is_kept)
{
    expect_cost(do_both, 50000, LARGE_MOST);
    expect_cost(do_both, 200000, LARGE_MOST);
}

#else

UNIT_TEST(fast_paths)
{
    UNIT_SKIP("bounds are known for x86-64 only");
}

#endif
