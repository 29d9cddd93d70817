/* SPDX-License-Identifier: MIT */
/*
 * rseq -- restartable sequences: words of each thread that the kernel reads and writes on its way
 * back from the scheduler, and kills the thread if it cannot.
 *
 * libc's area is in the thread's descriptor, which preload/thread.c pins where a stack is heap
 * memory. Programs may register areas of their own: here libc's is switched off (by a tunable, in
 * the process started anew), and the area lies in memory that is out.
 */
#include "hostile.h"

#include <pthread.h>
#include <sched.h>

#define SIGNATURE 0x53053053u
#define ROUNDS 40u
#define TUNABLE "glibc.pthread.rseq=0"

struct area {
    uint32_t cpu_id_start, cpu_id;
    uint64_t sequence;
    uint32_t flags, node_id, mm_cid, end;
} __attribute__((aligned(32)));

struct sequence {
    uint32_t version, flags;
    uint64_t start, length, abort;
} __attribute__((aligned(32)));

/* Onto another processor, or at least through the scheduler. */
static void move_on(unsigned round)
{
    static cpu_set_t all;
    cpu_set_t one;
    if (!CPU_COUNT(&all))
        (void)sched_getaffinity(0, sizeof(all), &all);
    unsigned nth = round % (unsigned)CPU_COUNT(&all), cpu = 0;
    while (!CPU_ISSET(cpu, &all) || nth-- > 0)
        cpu++;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    (void)sched_setaffinity(0, sizeof(one), &one);
    (void)sched_yield();
}

static bool right_cpu(const struct area *a)
{
    unsigned cpu = ~0u;
    return syscall(SYS_getcpu, &cpu, NULL, NULL) == 0 &&
           __atomic_load_n(&a->cpu_id, __ATOMIC_RELAXED) == cpu;
}

/* The kernel alone touches the area between being taken out and being looked at. */
static void area_is_out(void)
{
    char *p = block(UNIT, 1);
    struct area *a = (struct area *)(void *)(p + 5 * PAGE);
    memset(a, 0, sizeof(*a));
    if (syscall(SYS_rseq, a, sizeof(*a), 0, SIGNATURE) != 0) {
        skip("an area that is out", strerror(errno));
        free(p);
        return;
    }
    bool good = true, served = true;
    uint64_t faults = stat_of("stats.pager.faults");
    for (unsigned i = 0; i < ROUNDS; i++) {
        (void)ctl("pager.evict", NULL, NULL, NULL, 0);
        move_on(i);
        served = (torture() || present(a, PAGE) == 1) && served;
        good = right_cpu(a) && good;
    }
    /* What is out comes back as soon as this thread, which waited for that, is woken. */
    served = stat_of("stats.pager.faults") >= faults + ROUNDS && served;
    point("an area that is out: written", served && good);
    point("an area that is out: all around it",
          right(p, 0, 5 * PAGE, 1) && right(p, 5 * PAGE + sizeof(*a), UNIT, 1));

    /* A sequence in which the thread is not: the kernel reads both and clears the pointer. */
    char *q = block(UNIT, 2);
    struct sequence *s = (struct sequence *)(void *)(q + 9 * PAGE);
    uint32_t *signature = (uint32_t *)(void *)(q + 12 * PAGE);
    *signature = SIGNATURE;
    *s = (struct sequence){.start = 4096, .length = 16, .abort = (uintptr_t)(signature + 1)};
    good = true;
    for (unsigned i = 0; i < ROUNDS; i++) {
        __atomic_store_n(&a->sequence, (uint64_t)(uintptr_t)s, __ATOMIC_RELAXED);
        (void)ctl("pager.evict", NULL, NULL, NULL, 0);
        move_on(i);
        good = __atomic_load_n(&a->sequence, __ATOMIC_RELAXED) == 0 && right_cpu(a) && good;
    }
    point("a sequence that is out, and its signature: read, and left",
          good && s->start == 4096 && *signature == SIGNATURE);
    point("it can be withdrawn", syscall(SYS_rseq, a, sizeof(*a), 1, SIGNATURE) == 0);
    free(q);
    free(p);
}

/* libc's own area, in the descriptor at the top of a stack from malloc. */
static void *wander(void *arg)
{
    for (unsigned i = 0; i < ROUNDS; i++) {
        (void)ctl("pager.evict", NULL, NULL, NULL, 0);
        move_on(i);
    }
    return arg;
}

static void stack_from_heap(void)
{
    const size_t size = 16 * UNIT;
    void *stack = block(size, 3), *result = NULL;
    pthread_attr_t attr;
    pthread_t t;
    pthread_attr_init(&attr);
    bool good = pthread_attr_setstack(&attr, stack, size) == 0 &&
                pthread_create(&t, &attr, wander, stack) == 0 && pthread_join(t, &result) == 0;
    point("a thread whose stack, with libc's area, is heap memory", good && result == stack);
    pthread_attr_destroy(&attr);
    free(stack);
}

int main(int argc, char **argv)
{
    const char *tunables = getenv("GLIBC_TUNABLES");
    bool anew = tunables && strcmp(tunables, TUNABLE) == 0;
    if (!begin(argc, argv))
        return 77;
    if (anew) {
        area_is_out();
        return end();
    }
    stack_from_heap();
    if (points_failed || setenv("GLIBC_TUNABLES", TUNABLE, 1) < 0)
        return 1;
    execv("/proc/self/exe", argv);
    return 2;
}
