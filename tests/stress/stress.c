/* SPDX-License-Identifier: MIT */
/*
 * stress -- threads that allocate, change, hand over and free objects whose every byte is known.
 *
 * usage: stress [-t threads] [-s seconds | -n ops] [-S seed] [-m MiB] [-i idle_ms] [-f]
 *
 * Each thread owns a table of objects and does random operations on it: malloc, calloc (checked
 * for zeros), realloc, the aligned forms, free, writing, checking, madvise, handing an object to
 * another thread's mailbox. Objects are checked in full when they are freed, moved or received,
 * and at random. Now and then a thread pauses, so that its objects go cold. With -f threads fork:
 * the child checks all objects of the forking thread, changes them, checks them, forks once more
 * and leaves, while the parent goes on changing its own; its exit status is checked.
 *
 * It ends with one line and status 0, or at the first wrong byte (object.h).
 */
#include "object.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define NSLOTS 4096
#define NMAILS 256
#define MAX_THREADS 64
#define MAX_CHILDREN 4
#define MAX_DEPTH 2
#define CHILD_SECONDS 120
#define PAGE 4096ULL

static struct {
    unsigned threads, seconds, memory_mib, idle_ms, forks;
    unsigned long ops;
    uint64_t seed;
} options = {4, 5, 256, 300, 0, 0, 1};

struct mailbox {
    pthread_mutex_t lock;
    struct object mails[NMAILS];
    unsigned count;
};

struct worker {
    struct rng rng;
    struct object *slots;
    size_t live_bytes, budget_bytes;
    unsigned index, depth, nchildren;
    pid_t children[MAX_CHILDREN];
    uint64_t next_id;
};

static struct mailbox mailboxes[MAX_THREADS];
static uint64_t deadline_ms;
static atomic_ulong total_ops, total_checks, total_forks;

static uint64_t fresh_id(struct worker *worker)
{
    return ++worker->next_id << 8 | worker->index;
}

static void check(const struct object *object, const char *where)
{
    object_check(object, where);
    atomic_fetch_add_explicit(&total_checks, 1, memory_order_relaxed);
}

static void check_zero(const unsigned char *bytes, size_t size, const char *where)
{
    for (size_t at = 0; at < size; at++)
        if (bytes[at] != 0)
            die("WRONG (%s): byte %zu of %zu at %p is %#x, not zero", where, at, size,
                (const void *)bytes, bytes[at]);
}

static void *allocate_aligned(struct worker *worker, size_t size)
{
    size_t align = 16ULL << rng_below(&worker->rng, 10);
    void *block = NULL;
    switch (rng_below(&worker->rng, 3)) {
    case 0:
        if (posix_memalign(&block, align, size) != 0)
            block = NULL;
        break;
    case 1: block = aligned_alloc(align, (size + align - 1) / align * align); break;
    default: block = memalign(align, size);
    }
    if (size > 0 && (uintptr_t)block % align != 0)
        die("%p is not aligned to %zu", block, align);
    return block;
}

static void *allocate(struct worker *worker, size_t size)
{
    uint64_t how = rng_below(&worker->rng, 10);
    void *block;
    if (how < 6) {
        block = malloc(size);
    } else if (how < 8) {
        block = calloc(size / 8 + 1, 8);
        if (block)
            check_zero(block, size, "calloc");
    } else {
        block = allocate_aligned(worker, size);
    }
    if (!block && size > 0)
        die("an allocation of %zu bytes failed", size);
    return block;
}

/* Everything malloc_usable_size admits to belongs to the program: sometimes it is used. */
static void claim_slack(struct worker *worker, struct object *object)
{
    if (object->bytes && rng_below(&worker->rng, 16) == 0)
        object->size = malloc_usable_size(object->bytes);
}

static void fill_slot(struct worker *worker, struct object *slot)
{
    size_t size = object_random_size(&worker->rng);
    if (worker->live_bytes + size > worker->budget_bytes)
        return;
    slot->size = size;
    slot->bytes = allocate(worker, size);
    claim_slack(worker, slot);
    if (!slot->bytes)
        slot->size = 0;
    object_fill(slot, fresh_id(worker));
    worker->live_bytes += slot->size;
}

static void empty_slot(struct worker *worker, struct object *slot)
{
    check(slot, "before free");
    free(slot->bytes);
    worker->live_bytes -= slot->size;
    *slot = (struct object){0};
}

static void resize_slot(struct worker *worker, struct object *slot)
{
    check(slot, "before realloc");
    size_t size = rng_below(&worker->rng, 2) ? object_random_size(&worker->rng)
                                             : slot->size + rng_below(&worker->rng, 200) + 1;
    size_t kept = size < slot->size ? size : slot->size;
    if (size == 0 || worker->live_bytes + size > worker->budget_bytes)
        return;
    unsigned char *moved = realloc(slot->bytes, size);
    if (!moved)
        die("realloc to %zu bytes failed", size);
    slot->bytes = moved;
    object_check_copy(slot, moved, kept, "after realloc");
    worker->live_bytes += size - slot->size;
    slot->size = size;
    object_fill(slot, fresh_id(worker));
}

/* A program may give pages of its own blocks back to the kernel. */
static void advise_slot(struct worker *worker, struct object *slot)
{
    uintptr_t start = ((uintptr_t)slot->bytes + PAGE - 1) & ~(PAGE - 1);
    uintptr_t end = ((uintptr_t)slot->bytes + slot->size) & ~(PAGE - 1);
    if (slot->size < 4 * PAGE || start >= end)
        return;
    check(slot, "before madvise");
    int advice = rng_below(&worker->rng, 2) ? MADV_DONTNEED : MADV_FREE;
    if (madvise((void *)start, end - start, advice) != 0 && errno != EINVAL)
        die("madvise(%d) of a heap range: %s", advice, strerror(errno));
    else if (advice == MADV_DONTNEED)
        check_zero((void *)start, end - start, "after MADV_DONTNEED");
    object_fill(slot, fresh_id(worker));
}

static void send_slot(struct worker *worker, struct object *slot)
{
    struct mailbox *box = &mailboxes[rng_below(&worker->rng, options.threads)];
    pthread_mutex_lock(&box->lock);
    if (box->count < NMAILS) {
        box->mails[box->count++] = *slot;
        worker->live_bytes -= slot->size;
        *slot = (struct object){0};
    }
    pthread_mutex_unlock(&box->lock);
}

static void receive_mails(struct worker *worker)
{
    struct mailbox *box = &mailboxes[worker->index];
    struct object mails[NMAILS];
    pthread_mutex_lock(&box->lock);
    unsigned count = box->count;
    memcpy(mails, box->mails, count * sizeof(mails[0]));
    box->count = 0;
    pthread_mutex_unlock(&box->lock);
    for (unsigned i = 0; i < count; i++) {
        check(&mails[i], "received");
        free(mails[i].bytes);
    }
}

static void check_all(const struct worker *worker, const char *where)
{
    for (size_t i = 0; i < NSLOTS; i++)
        check(&worker->slots[i], where);
}

static void operate(struct worker *worker)
{
    struct object *slot = &worker->slots[rng_below(&worker->rng, NSLOTS)];
    if (!slot->bytes) {
        fill_slot(worker, slot);
        return;
    }
    uint64_t what = rng_below(&worker->rng, 100);
    if (what < 35)
        empty_slot(worker, slot);
    else if (what < 55)
        resize_slot(worker, slot);
    else if (what < 75)
        check(slot, "at random");
    else if (what < 85)
        object_fill(slot, fresh_id(worker));
    else if (what < 88)
        advise_slot(worker, slot);
    else if (worker->depth == 0)
        send_slot(worker, slot);
}

static void reap(struct worker *worker, int flags)
{
    for (unsigned i = 0; i < worker->nchildren;) {
        int status = 0;
        pid_t pid = waitpid(worker->children[i], &status, flags);
        if (pid == 0) {
            i++;
            continue;
        }
        if (pid < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
            die("child %d of process %d ended with status %#x", (int)worker->children[i],
                (int)getpid(), (unsigned)status);
        worker->children[i] = worker->children[--worker->nchildren];
    }
}

static void fork_child(struct worker *worker);

/* In the child: only this thread's objects are known to be whole. */
__attribute__((noreturn)) static void live_as_child(struct worker *worker)
{
    alarm(CHILD_SECONDS);
    worker->depth++;
    worker->nchildren = 0;
    worker->rng.state ^= mix((uint64_t)getpid());
    worker->next_id += (uint64_t)getpid() << 20;
    if (rng_below(&worker->rng, 2))
        sleep_ms((unsigned)rng_below(&worker->rng, options.idle_ms + 1));
    check_all(worker, "in a child");
    for (unsigned i = 0; i < 2000; i++)
        operate(worker);
    if (worker->depth < MAX_DEPTH && rng_below(&worker->rng, 2))
        fork_child(worker);
    sleep_ms((unsigned)rng_below(&worker->rng, options.idle_ms + 1));
    check_all(worker, "in a child, after changes");
    reap(worker, 0);
    _exit(0);
}

static void fork_child(struct worker *worker)
{
    reap(worker, WNOHANG);
    if (worker->nchildren == MAX_CHILDREN)
        return;
    pid_t pid = fork();
    if (pid < 0)
        die("fork: %s", strerror(errno));
    if (pid == 0)
        live_as_child(worker);
    worker->children[worker->nchildren++] = pid;
    atomic_fetch_add(&total_forks, 1);
}

static int time_is_up(unsigned long ops)
{
    return options.ops ? ops >= options.ops : now_ms() >= deadline_ms;
}

static void *work(void *argument)
{
    struct worker *worker = argument;
    unsigned long ops = 0;
    while (!time_is_up(ops)) {
        for (unsigned i = 0; i < 500; i++)
            operate(worker);
        ops += 500;
        receive_mails(worker);
        uint64_t roll = rng_below(&worker->rng, 100);
        if (options.forks && roll < 6)
            fork_child(worker);
        if (roll == 99)
            make_cold(options.idle_ms);
        else if (roll >= 95)
            sleep_ms(options.idle_ms);
        if (roll >= 98)
            check_all(worker, "after a pause");
    }
    reap(worker, 0);
    check_all(worker, "at the end");
    atomic_fetch_add(&total_ops, ops);
    return NULL;
}

static void prepare_worker(struct worker *worker, unsigned index)
{
    worker->index = index;
    worker->rng.state = mix(options.seed * 1000003 + index);
    worker->budget_bytes = ((size_t)options.memory_mib << 20) / options.threads;
    worker->slots = calloc(NSLOTS, sizeof(struct object));
    if (!worker->slots)
        die("calloc of a table failed");
    pthread_mutex_init(&mailboxes[index].lock, NULL);
}

static void finish_worker(struct worker *worker)
{
    receive_mails(worker);
    for (size_t i = 0; i < NSLOTS; i++)
        empty_slot(worker, &worker->slots[i]);
    free(worker->slots);
}

static void run_workers(void)
{
    static struct worker workers[MAX_THREADS];
    pthread_t threads[MAX_THREADS];
    for (unsigned i = 0; i < options.threads; i++)
        prepare_worker(&workers[i], i);
    for (unsigned i = 0; i < options.threads; i++)
        if (pthread_create(&threads[i], NULL, work, &workers[i]) != 0)
            die("pthread_create failed");
    for (unsigned i = 0; i < options.threads; i++)
        pthread_join(threads[i], NULL);
    for (unsigned i = 0; i < options.threads; i++)
        finish_worker(&workers[i]);
}

static void read_options(int argc, char **argv)
{
    int letter;
    while ((letter = getopt(argc, argv, "t:s:n:S:m:i:f")) != -1) {
        unsigned long value = optarg ? strtoul(optarg, NULL, 10) : 0;
        switch (letter) {
        case 't': options.threads = (unsigned)value; break;
        case 's': options.seconds = (unsigned)value; break;
        case 'n': options.ops = value; break;
        case 'S': options.seed = value; break;
        case 'm': options.memory_mib = (unsigned)value; break;
        case 'i': options.idle_ms = (unsigned)value; break;
        case 'f': options.forks = 1; break;
        default:
            die("usage: stress [-t threads] [-s seconds | -n ops] [-S seed] [-m MiB] "
                "[-i idle_ms] [-f]");
        }
    }
    if (options.threads < 1 || options.threads > MAX_THREADS)
        die("stress: -t takes 1 to %d threads", MAX_THREADS);
}

int main(int argc, char **argv)
{
    read_options(argc, argv);
    deadline_ms = now_ms() + options.seconds * 1000ULL;
    run_workers();
    printf("stress: %u threads, seed %llu, %lu operations, %lu checks, %lu forks: all right\n",
           options.threads, (unsigned long long)options.seed, total_ops, total_checks, total_forks);
    return 0;
}
