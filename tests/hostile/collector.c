/* SPDX-License-Identifier: MIT */
/*
 * collector -- `mmap:true`: a thread stops all others by a signal, wherever they are, and then maps, unmaps,
 * protects and advises before it lets them go on, as garbage collectors do.
 *
 * The others allocate, map and unmap: they are stopped with locks of the allocator in hand, and amid
 * requests to the worker.  Who waits for one of them waits for ever.
 */
#include "hostile.h"

#include <pthread.h>
#include <signal.h>

#define MUTATORS 3
#define LEN (4 * UNIT)
#define MARKS 6u /* mappings of the collector's, of which one is changed at each stop */
#define OWN 6u
#define STOPS_LEAST 4u
#define RUN_MS 4000u
#define HANG_S 60u
#define READ_WRITE (PROT_READ | PROT_WRITE)

static volatile uint32_t stopped, generation; /* atomic */
static volatile bool stop;
static volatile bool refused;

static char *map(size_t len)
{
    char *p = mmap(NULL, len, READ_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    refused |= p == MAP_FAILED;
    return p;
}

static void unmap(char *p, size_t len)
{
    refused |= munmap(p, len) < 0;
}

static void handle(int sig)
{
    int err = errno;
    (void)sig;
    uint32_t now = __atomic_load_n(&generation, __ATOMIC_ACQUIRE);
    __atomic_fetch_add(&stopped, 1, __ATOMIC_RELEASE);
    while (__atomic_load_n(&generation, __ATOMIC_ACQUIRE) == now)
        sleep_ms(1);
    errno = err;
}

struct block {
    char *p;
    size_t len;
    uint64_t id;
};

/* malloc's and mmap's in turn; a large one grows, which moves pages. */
static bool change(struct block *b, unsigned n)
{
    bool ok = !b->p || right(b->p, 0, b->len, b->id), mapped = n & 1;
    if (b->p && n % 3 == 0 && !mapped) {
        b->p = realloc(b->p, 2 * b->len);
        return ok && right(b->p, 0, b->len, b->id);
    }
    if (b->p && mapped)
        unmap(b->p, b->len);
    else
        free(b->p);
    b->len = (33 + n * 7u % 64) * PAGE;
    b->p = mapped ? map(b->len) : malloc(b->len);
    fill(b->p, b->len, b->id);
    return ok;
}

static void *mutate(void *arg)
{
    struct block own[OWN] = {{0}};
    bool ok = true;
    for (unsigned n = 0; !stop && !refused; n++) {
        unsigned i = n % OWN;
        own[i].id = 100 + (uintptr_t)arg * OWN + i;
        ok &= change(&own[i], n);
        if (n % 5 == 0)
            ok &= madvise(own[i].p, PAGE, MADV_WILLNEED) == 0 && mlock(own[i].p, UNIT) == 0 &&
                  munlock(own[i].p, UNIT) == 0;
    }
    return ok ? arg : NULL;
}

/* What a collector does with its mark stacks, cards and pages; i: how often it has done so. */
static bool collect(char *marks[MARKS], unsigned i)
{
    char **m = &marks[i % MARKS];
    uint64_t id = i % MARKS;
    bool ok = right(*m, 0, LEN, id);
    switch (i / MARKS % 4) {
    case 0: ok &= madvise(*m, LEN, MADV_DONTNEED) == 0 && zero(*m, 0, LEN); break;
    case 1:
        ok &= mprotect(*m, UNIT, PROT_READ) == 0 && right(*m, 0, LEN, id) &&
              mprotect(*m, UNIT, READ_WRITE) == 0;
        break;
    case 2: unmap(*m + UNIT, UNIT); /* fall through */
    default:
        unmap(*m, LEN);
        *m = map(LEN);
        ok &= zero(*m, 0, LEN);
    }
    fill(*m, LEN, id);
    return ok;
}

static void stop_the_world(const pthread_t t[MUTATORS])
{
    __atomic_store_n(&stopped, 0, __ATOMIC_RELEASE);
    for (unsigned i = 0; i < MUTATORS; i++)
        (void)pthread_kill(t[i], SIGUSR1);
    while (__atomic_load_n(&stopped, __ATOMIC_ACQUIRE) < MUTATORS)
        sleep_ms(1);
}

static void hang(int sig)
{
    (void)sig;
    point("nobody waits for a thread that is stopped", false);
    _exit(1);
}

static uint64_t now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

int main(int argc, char **argv)
{
    const struct sigaction sa = {.sa_handler = handle, .sa_flags = SA_RESTART};
    const struct sigaction late = {.sa_handler = hang};
    pthread_t t[MUTATORS];
    char *marks[MARKS];
    bool ok = true, theirs = true;
    if (!begin(argc, argv))
        return 77;
    (void)sigaction(SIGUSR1, &sa, NULL);
    (void)sigaction(SIGALRM, &late, NULL);
    for (unsigned i = 0; i < MARKS; i++)
        fill(marks[i] = map(LEN), LEN, i);
    for (uintptr_t i = 0; i < MUTATORS; i++)
        if (pthread_create(&t[i], NULL, mutate, (void *)(i + 1)) != 0)
            return 2;
    uint64_t end_ms = now_ms() + RUN_MS;
    for (unsigned i = 0; i < STOPS_LEAST || now_ms() < end_ms; i++) {
        (void)alarm(HANG_S);
        stop_the_world(t);
        ok &= collect(marks, i);
        __atomic_fetch_add(&generation, 1, __ATOMIC_RELEASE);
        sleep_ms(2 + i % 7);
    }
    (void)alarm(0);
    stop = true;
    for (unsigned i = 0; i < MUTATORS; i++) {
        void *r = NULL;
        (void)pthread_join(t[i], &r);
        theirs &= r != NULL;
    }
    point("nobody waits for a thread that is stopped", true);
    point("what the collector maps and unmaps is right", ok && !refused);
    point("and so is what it has stopped amid", theirs);
    return end();
}
