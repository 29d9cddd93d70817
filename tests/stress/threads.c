/* SPDX-License-Identifier: MIT */
/*
 * threads -- thousands of short-lived threads with small stacks that hand memory over.
 *
 * usage: threads [-n threads] [-p parallel] [-i idle_ms] [-S seed]
 *
 * Every thread allocates some objects, frees half of them itself and leaves the rest on a shared
 * pile, from which it also takes, checks and frees what others left. Every third is detached.
 * Nothing may pile up in the allocator: after a warm-up of a tenth of the threads the process may
 * not grow by more than ZA_GROWTH, however many threads follow. One wrong byte ends it (object.h).
 */
#include "object.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#define MAX_PARALLEL 64
#define NPILE 2048
#define NOBJECTS 40
#define ZA_GROWTH (12UL << 20)
#define SMALL_STACK 16384

static struct {
    unsigned long threads;
    unsigned parallel, idle_ms;
    uint64_t seed;
} options = {3000, 8, 200, 1};

static struct object pile[NPILE];
static size_t npile;
static pthread_mutex_t pile_lock = PTHREAD_MUTEX_INITIALIZER;
static sem_t places;
static atomic_ulong finished;

static int give(const struct object *object)
{
    pthread_mutex_lock(&pile_lock);
    int taken = npile < NPILE;
    if (taken)
        pile[npile++] = *object;
    pthread_mutex_unlock(&pile_lock);
    return taken;
}

static int take(struct rng *rng, struct object *object)
{
    pthread_mutex_lock(&pile_lock);
    int some = npile > 0;
    if (some) {
        size_t at = rng_below(rng, npile);
        *object = pile[at];
        pile[at] = pile[--npile];
    }
    pthread_mutex_unlock(&pile_lock);
    return some;
}

static void drop(const struct object *object, const char *where)
{
    object_check(object, where);
    free(object->bytes);
}

/* Mostly small, because there are many; large ones come too. */
static size_t random_size(struct rng *rng)
{
    return rng_below(rng, 100) ? rng_below(rng, 2000) + 1 : rng_below(rng, 200000) + 1;
}

static void *live_briefly(void *argument)
{
    uint64_t number = (uint64_t)(uintptr_t)argument;
    struct rng rng = {mix(options.seed << 32 | number)};
    struct object own[NOBJECTS], other;
    for (unsigned i = 0; i < NOBJECTS; i++)
        own[i] = object_new(random_size(&rng), number << 8 | i);
    for (unsigned i = 0; i < NOBJECTS; i++)
        if (i % 2 || !give(&own[i]))
            drop(&own[i], "own");
    for (unsigned i = 0; i < NOBJECTS / 2 && take(&rng, &other); i++)
        drop(&other, "from another thread");
    atomic_fetch_add(&finished, 1);
    sem_post(&places);
    return NULL;
}

static size_t resident_bytes(void)
{
    char text[128] = "";
    FILE *stream = fopen("/proc/self/statm", "r");
    unsigned long pages = 0;
    if (!stream || !fgets(text, sizeof(text), stream) || sscanf(text, "%*s %lu", &pages) != 1)
        die("cannot read /proc/self/statm");
    fclose(stream);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

static void start_thread(unsigned long number)
{
    pthread_attr_t attributes;
    pthread_t thread;
    while (sem_wait(&places) != 0) {
    }
    pthread_attr_init(&attributes);
    /* The smallest stack the C library allows here (it may add room for large TLS). */
    if (pthread_attr_setstacksize(&attributes, SMALL_STACK) != 0)
        pthread_attr_setstacksize(&attributes, (size_t)sysconf(_SC_THREAD_STACK_MIN));
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    int error = pthread_create(&thread, &attributes, live_briefly, (void *)(uintptr_t)number);
    if (error)
        die("pthread_create of thread %lu: %s", number, strerror(error));
    pthread_attr_destroy(&attributes);
}

/* Joined threads: their stacks are freed by us, at once. */
static void run_joined(unsigned long first, unsigned count)
{
    pthread_t threads[MAX_PARALLEL];
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    if (pthread_attr_setstacksize(&attributes, SMALL_STACK) != 0)
        pthread_attr_setstacksize(&attributes, (size_t)sysconf(_SC_THREAD_STACK_MIN));
    for (unsigned i = 0; i < count; i++) {
        while (sem_wait(&places) != 0) {
        }
        void *number = (void *)(uintptr_t)(first + i);
        if (pthread_create(&threads[i], &attributes, live_briefly, number) != 0)
            die("pthread_create of thread %lu failed", first + i);
    }
    for (unsigned i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    pthread_attr_destroy(&attributes);
}

static void run_threads(unsigned long first, unsigned long last)
{
    for (unsigned long number = first; number < last;) {
        if (number / options.parallel % 3 == 0) {
            start_thread(number++);
            continue;
        }
        unsigned long left = last - number;
        unsigned count = left < options.parallel ? (unsigned)left : options.parallel;
        run_joined(number, count);
        number += count;
    }
    while (atomic_load(&finished) < last)
        sleep_ms(1);
}

static void empty_pile(void)
{
    struct rng rng = {options.seed};
    struct object object;
    sleep_ms(options.idle_ms);
    while (take(&rng, &object))
        drop(&object, "left on the pile");
}

int main(int argc, char **argv)
{
    int letter;
    while ((letter = getopt(argc, argv, "n:p:i:S:")) != -1) {
        unsigned long value = optarg ? strtoul(optarg, NULL, 10) : 0;
        switch (letter) {
        case 'n': options.threads = value; break;
        case 'p': options.parallel = (unsigned)value; break;
        case 'i': options.idle_ms = (unsigned)value; break;
        case 'S': options.seed = value; break;
        default: die("usage: threads [-n threads] [-p parallel] [-i idle_ms] [-S seed]");
        }
    }
    if (options.parallel < 1 || options.parallel > MAX_PARALLEL)
        die("threads: -p takes 1 to %d", MAX_PARALLEL);
    sem_init(&places, 0, options.parallel);
    run_threads(0, options.threads / 10);
    size_t before = resident_bytes();
    run_threads(options.threads / 10, options.threads);
    size_t after = resident_bytes();
    empty_pile();
    if (after > before + ZA_GROWTH)
        die("threads: grown from %zu to %zu KiB over %lu threads", before >> 10, after >> 10,
            options.threads);
    printf("threads: %lu threads, %zu KiB after a tenth, %zu KiB after all: all right\n",
           options.threads, before >> 10, after >> 10);
    return 0;
}
