/* SPDX-License-Identifier: MIT */
/*
 * ends -- what the kernel reads and writes when a thread has ended: the word that pthread_join
 * waits for, at the top of a stack that the program allocated, and robust mutexes (D18).
 *
 * Everything is taken out by the last thing that a thread does, a destructor of its data.
 */
#include "hostile.h"

#include <pthread.h>
#include <semaphore.h>

#define STACK (4 * UNIT)
#define NTHREADS 8
#define ROUNDS 250
#define PATIENCE_S 20

static pthread_key_t last; /* its destructor takes everything out */
static sem_t asleep, wake;

static void take_out(void *arg)
{
    (void)arg;
    (void)ctl("pager.evict", NULL, NULL, NULL, 0);
}

static pthread_t start(void *(*fn)(void *), char *stack, void *arg)
{
    pthread_t t;
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    if (stack)
        pthread_attr_setstack(&attr, stack, STACK);
    int r = pthread_create(&t, &attr, fn, arg);
    pthread_attr_destroy(&attr);
    if (r != 0) {
        point("pthread_create", false);
        exit(1);
    }
    return t;
}

static bool joined(pthread_t t)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_S;
    return pthread_timedjoin_np(t, NULL, &until) == 0;
}

/* ---- the thread's descriptor --------------------------------------------------------------------
 */

static void *sleeper(void *arg)
{
    *(pthread_t *)arg = pthread_self();
    sem_post(&asleep);
    while (sem_wait(&wake) < 0 && errno == EINTR)
        ;
    return NULL;
}

static void descriptor_stays(void)
{
    char *stack = block(STACK, 1);
    pthread_t self, t = start(sleeper, stack, &self);
    while (sem_wait(&asleep) < 0)
        ;
    bool cold = go_cold(stack + UNIT, UNIT);
    char *page = (char *)((uintptr_t)self & ~(PAGE - 1));
    point("the stack of a sleeping thread goes cold", cold);
    point("its descriptor does not", present(page, PAGE) == 1);
    sem_post(&wake);
    point("it ends and is joined", joined(t));
    free(stack);
}

static void *ends_cold(void *arg)
{
    pthread_setspecific(last, arg);
    return NULL;
}

/* A thread that has never called malloc, one after the other on the same stack. */
static void joined_on_cold_stack(void)
{
    char *stack = block(STACK, 2);
    bool good = true;
    for (unsigned i = 0; good && i < 10; i++)
        good = joined(start(ends_cold, stack, stack));
    point("ends with everything taken out, and is joined", good);
    free(stack);
}

static void *at_once(void *arg)
{
    volatile char local[PAGE];
    local[sizeof(local) - 1] = *(char *)arg;
    return NULL;
}

static void many(void)
{
    char *stack[NTHREADS];
    pthread_t t[NTHREADS];
    bool good = true;
    for (unsigned i = 0; i < NTHREADS; i++)
        stack[i] = block(STACK, 3);
    for (unsigned round = 0; good && round < ROUNDS; round++) {
        for (unsigned i = 0; i < NTHREADS; i++)
            t[i] = start(at_once, stack[i], stack[i]);
        for (unsigned i = 0; i < NTHREADS; i++)
            good &= joined(t[i]);
    }
    point("many threads on allocated stacks are born and joined", good);
    for (unsigned i = 0; good && i < NTHREADS; i++)
        free(stack[i]);
}

/* Freed and given back, it is memory like any other. */
static void stacks_end(void)
{
    enum { LEN = 64 * UNIT };
    char *stack = block(LEN, 4);
    bool good = joined(start(at_once, stack + LEN - STACK, stack));
    free(stack);
    void (*trim)(size_t) = (void (*)(size_t))(uintptr_t)dlsym(RTLD_DEFAULT, "malloc_trim");
    trim(0);
    stack = block(LEN, 4);
    point("memory that was a stack goes cold as a whole", good && go_cold(stack, LEN));
    point("and holds its bytes", right(stack, 0, LEN, 4));
    free(stack);
}

/* ---- robust mutexes -----------------------------------------------------------------------------
 */

static void *dies_holding(void *arg)
{
    free(malloc(100)); /* as every real thread does some time */
    pthread_setspecific(last, arg);
    pthread_mutex_lock(arg);
    return NULL;
}

static void robust(char *stack, const char *name)
{
    pthread_mutex_t *m = block(UNIT, 5);
    pthread_mutexattr_t attr;
    struct timespec until;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(m, &attr);
    (void)joined(start(dies_holding, stack, m));
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_S;
    int r = pthread_mutex_timedlock(m, &until);
    point(name, r == EOWNERDEAD);
    if (r == EOWNERDEAD)
        pthread_mutex_consistent(m);
    free(m);
}

int main(int argc, char **argv)
{
    if (!begin(argc, argv))
        return 77;
    sem_init(&asleep, 0, 0);
    sem_init(&wake, 0, 0);
    pthread_key_create(&last, take_out);
    descriptor_stays();
    joined_on_cold_stack();
    many();
    stacks_end();
    robust(NULL, "a robust mutex tells that its owner died");
    robust(block(STACK, 6), "also of a thread on an allocated stack");
    return end();
}
