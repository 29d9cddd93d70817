/* SPDX-License-Identifier: MIT */
/*
 * alloc_gather -- what sleeping threads' caches hold goes back, and a thread that wakes in the middle
 * of that finds its cache right.
 *
 * Most tests are the cache's thread and the worker at once: what the thread does meanwhile, it does
 * in one of the two barriers of a pass, which are the test's.
 */
#include "alloc/gather.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "alloc/large.h"
#include "alloc/tcache.h"
#include "base/lock.h"
#include "base/stat.h"
#include "tests/unit/alloc_kit.h"

#define SIZE ((size_t)200)
#define SLOTS 12u /* in the bin of that size, to begin with */

static struct za_os os;
static void (*meanwhile[2])(void);     /* in the first and the second barrier of a pass */
static int refused[2];                 /* the barrier fails */
static __thread unsigned barriers = 2; /* of the pass; those of a real worker are its own */

static int barrier(void)
{
    unsigned i = barriers++;
    if (i < 2 && refused[i])
        return -ENOSYS;
    int r = za_os_linux->sync_threads();
    if (i < 2 && meanwhile[i])
        meanwhile[i]();
    return r;
}

static uint64_t passed; /* ns by which the clock of the looks is ahead */

static size_t look(void)
{
    passed += 10 * za_conf.dirty_decay_ms * ZA_NS_PER_MS + ZA_NS_PER_S;
    barriers = 0;
    return za_gather(za_os->now() + passed);
}

static void *slot[2 * SLOTS]; /* in the bin, and the program's */

static void start(void)
{
    kit_start();
    os = *za_os;
    os.sync_threads = barrier;
    za_os = &os;
    if (za_os->sync_threads() < 0)
        UNIT_SKIP("the kernel has no membarrier");
}

/* The bin of SIZE holds just these, slot[SLOTS - 1] on top. */
static void fill(void)
{
    unsigned cls = za_class_of(SIZE);
    for (unsigned i = 0; i < 4 * SLOTS; i++) /* deepen it */
        za_free(za_malloc(SIZE));
    for (unsigned i = 0; i < 2 * SLOTS; i++)
        slot[i] = za_malloc(SIZE);
    while (*za_tcache->top[cls])
        (void)za_malloc(SIZE);
    for (unsigned i = 0; i < SLOTS; i++)
        za_free(slot[i]);
    CHECK(*za_tcache->top[cls] == slot[SLOTS - 1]);
}

static size_t out(void)
{
    struct za_class_stats s;
    CHECK(za_class_stats(za_class_of(SIZE), &s));
    return s.used;
}

/* As many different blocks as there ever were: none is with two, and all can be had. */
static void expect_sound(void)
{
    enum { MANY = 500 };
    static unsigned char *p[MANY];
    for (unsigned i = 0; i < MANY; i++) {
        CHECK((p[i] = za_malloc(SIZE)) != NULL);
        kit_sign(p[i], SIZE, (unsigned char)i);
    }
    for (unsigned i = 0; i < MANY; i++) {
        CHECK(kit_signed(p[i], SIZE, (unsigned char)i));
        za_free(p[i]);
    }
    za_tcache_check();
    (void)za_trim();
    za_alloc_check();
}

/* --- who sleeps ----------------------------------------------------------- */

UNIT_TEST(a_sleepers_slots_go_back_all_but_one)
{
    start();
    fill();
    size_t before = out();
    CHECK_EQ(look(), 0); /* how it looks is not known yet */
    CHECK(look() >= (SLOTS - 1) * SIZE);
    (void)za_trim(); /* of the central list; the cache's own are gone already but for one */
    CHECK_EQ(out(), before - SLOTS);
    expect_sound();
}

UNIT_TEST(only_once)
{
    start();
    fill();
    (void)look();
    CHECK(look() > 0);
    CHECK_EQ(look(), 0);
    CHECK_EQ(barriers, 0);
    za_free(za_malloc(SIZE)); /* looks as before: nobody can tell */
    CHECK_EQ(look(), 0);
    void *p = za_malloc(SIZE);
    CHECK_EQ(look(), 0);
    (void)look();
    za_free(p);
    expect_sound();
}

UNIT_TEST(not_before_it_is_time)
{
    start();
    fill();
    uint64_t now = za_os->now();
    CHECK_EQ(za_gather(now), 0);
    CHECK_EQ(za_gather(now + za_conf.dirty_decay_ms * ZA_NS_PER_MS / 2), 0);
    CHECK(za_gather(now + za_conf.dirty_decay_ms * ZA_NS_PER_MS) > 0);
    CHECK(za_stat_get(ZA_STAT_CACHE_GATHERED) >= (SLOTS - 1) * SIZE);
}

UNIT_TEST(who_does_something_keeps_what_it_has)
{
    start();
    fill();
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(look(), 0);
        za_free(slot[0] = za_malloc(SIZE));
        (void)za_malloc(SIZE);
    }
    expect_sound();
}

UNIT_TEST(who_is_in_a_slow_path_is_left_alone)
{
    start();
    fill();
    (void)look();
    za_tcache_begin(za_tcache);
    CHECK_EQ(look(), 0);
    CHECK_EQ(barriers, 1);
    CHECK_EQ(za_tcache->gate, 0);
    za_tcache_end(za_tcache);
    expect_sound();
}

UNIT_TEST(kept_runs_go_back_all_but_one)
{
    void *p[4];
    start();
    for (int i = 0; i < 4; i++)
        CHECK((p[i] = za_malloc(100000)) != NULL);
    for (int i = 0; i < 4; i++)
        za_free(p[i]);
    CHECK(za_tcache->pocket.n >= 3);
    (void)look();
    size_t bytes = look();
    CHECK(bytes >= 4 * (size_t)ZA_UNIT_SIZE && bytes % ZA_UNIT_SIZE == 0);
    void *top = za_malloc(100000); /* the one that stayed */
    CHECK(top == p[3]);
    CHECK((p[0] = za_malloc(100000)) != NULL && p[0] != top);
    CHECK_EQ(za_tcache->pocket.n, 0);
    CHECK_EQ(za_tcache->pocket.left, za_tcache->pocket.room);
    za_free(top);
    za_free(p[0]);
    za_tcache_check();
    expect_sound();
}

/* --- in the middle --------------------------------------------------------- */

static void *taken[SLOTS];
static unsigned ntaken;

static void take(unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        taken[ntaken++] = za_malloc(SIZE);
}

static void take_one(void)
{
    take(1);
}

static void take_five(void)
{
    take(5);
}

static void put_one(void)
{
    za_free(taken[--ntaken]);
}

static void take_two_put_two(void)
{
    take(2);
    put_one();
    put_one();
}

static void put_two(void)
{
    put_one();
    put_one();
}

/* What the thread took meanwhile, it has alone: nothing that comes later is the same. */
static void with(void (*first)(void), void (*second)(void), bool some)
{
    start();
    take(2);
    fill();
    (void)look();
    meanwhile[0] = first;
    meanwhile[1] = second;
    CHECK_EQ(look() > 0, some);
    meanwhile[0] = meanwhile[1] = NULL;
    for (unsigned i = 0; i < ntaken; i++)
        kit_sign(taken[i], SIZE, (unsigned char)(100 + i));
    expect_sound();
    for (unsigned i = 0; i < ntaken; i++) {
        CHECK(kit_signed(taken[i], SIZE, (unsigned char)(100 + i)));
        za_free(taken[i]);
    }
    expect_sound();
}

UNIT_TEST(a_thread_wakes_before_the_fence)
{
    with(take_five, NULL, true);
}

UNIT_TEST(a_thread_takes_the_slot_on_top)
{
    with(NULL, take_one, false); /* the next might be on its way */
}

UNIT_TEST(a_thread_puts_slots_on_top)
{
    with(NULL, put_two, true);
}

UNIT_TEST(a_thread_takes_and_puts_on_top)
{
    with(take_two_put_two, put_one, true);
}

/* A malloc whose last instruction comes after the fence, the others before it. */
static void **found;
static void *value;

static void load(void)
{
    found = za_tcache->top[za_class_of(SIZE)];
    value = *found;
}

static void one_down(void)
{
    take_one();
    load();
}

static void store(void)
{
    za_tcache->top[za_class_of(SIZE)] = found - 1; /* the store comes now */
    taken[ntaken++] = value;
}

/* In the fence's place is what the thread put there on its way up: not NULL, and not the fence's. */
static void over_the_fence(void)
{
    take_one();
    void *x = za_tcache->rest[za_class_of(SIZE)].base[SLOTS - 1];
    CHECK(!x); /* it has been exchanged; the thread had read it before */
    za_tcache->top[za_class_of(SIZE)]--;
    taken[ntaken++] = slot[SLOTS - 2];
    void *a = taken[ntaken - 1], *c = taken[ntaken - 2];
    ntaken -= 2;
    za_free(c);
    za_free(a);
    CHECK(za_tcache->rest[za_class_of(SIZE)].base[SLOTS - 1] == c);
}

UNIT_TEST(a_thread_had_read_the_fence_before)
{
    with(NULL, over_the_fence, false);
}

UNIT_TEST(a_malloc_in_two_halves)
{
    with(one_down, store, false); /* then top is at the fence */
}

/* --- barriers -------------------------------------------------------------- */

UNIT_TEST(without_a_barrier_nothing_is_taken)
{
    for (int i = 0; i < 2; i++) {
        start();
        fill();
        za_free(za_malloc(24 + 1000 * (size_t)i));
        (void)look();
        refused[i] = 1;
        CHECK_EQ(look(), 0);
        CHECK_EQ(za_tcache->gate, 0);
        refused[i] = 0;
        expect_sound();
    }
}

/* --- the gate -------------------------------------------------------------- */

static int at; /* atomic: 1 the thread may refill, 2 it is about to, 3 it has, 4 it may end */

static void go(int n)
{
    __atomic_store_n(&at, n, __ATOMIC_RELEASE);
}

static void await(int n)
{
    while (__atomic_load_n(&at, __ATOMIC_ACQUIRE) < n)
        sched_yield();
}

static void *sleeper(void *arg)
{
    void *p = za_malloc(SIZE);
    za_free(p);
    go(1);
    await(2);
    void *q = za_malloc(5 * SIZE); /* a bin that is empty */
    go(3);
    za_free(q);
    await(4);
    za_thread_exit();
    return arg;
}

static void wake_sleeper(void)
{
    go(2);
    usleep(20000);
    CHECK_EQ(__atomic_load_n(&at, __ATOMIC_ACQUIRE), 2); /* it stands at the gate */
}

UNIT_TEST(a_slow_path_waits_at_the_gate)
{
    pthread_t t;
    start();
    CHECK_EQ(pthread_create(&t, NULL, sleeper, NULL), 0);
    await(1);
    (void)look();
    meanwhile[1] = wake_sleeper;
    (void)look();
    meanwhile[1] = NULL;
    await(3);
    go(4);
    CHECK_EQ(pthread_join(t, NULL), 0);
    expect_sound();
}

/* --- children -------------------------------------------------------------- */

static int child_status;
static bool worker_first; /* the child's closes the gate that is closed already */

static void make_bare_child(void)
{
    pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (pid == 0) {
        meanwhile[0] = meanwhile[1] = NULL;
        za_conf.torture = worker_first;
        if (worker_first)
            (void)look();
        for (unsigned i = 0; i < SLOTS; i++)
            za_free(slot[SLOTS + i]);
        for (int i = 0; i < 300; i++)
            CHECK(za_malloc(SIZE) && za_malloc(5 * SIZE) && za_malloc(100000));
        za_tcache_check();
        fill();
        size_t bytes = look();
        CHECK(bytes + look() > 0); /* with gates of its own */
        expect_sound();
        _exit(7);
    }
    CHECK(pid > 0 && waitpid(pid, &child_status, 0) == pid);
}

static void bare_in(unsigned which, bool first)
{
    worker_first = first;
    start();
    fill();
    (void)look();
    meanwhile[which] = make_bare_child;
    CHECK(look() > 0);
    CHECK(WIFEXITED(child_status) && WEXITSTATUS(child_status) == 7);
    expect_sound();
}

UNIT_TEST(a_bare_child_of_the_first_barrier_passes_the_gate)
{
    bare_in(0, false);
}

UNIT_TEST(a_bare_child_of_the_second_barrier_passes_the_gate)
{
    bare_in(1, false);
}

UNIT_TEST(a_bare_childs_worker_closes_over_the_gate)
{
    bare_in(0, true);
    bare_in(1, true);
}

static struct za_lock fork_lock = ZA_LOCK_INIT(ZA_RANK_FORK);

static void *fork_with_handlers(void *arg)
{
    za_lock(&fork_lock);
    go(1);
    za_alloc_prefork();
    pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (pid == 0) {
        za_alloc_postfork_child();
        za_unlock(&fork_lock);
        meanwhile[1] = NULL;
        (void)look();
        (void)look();
        expect_sound();
        _exit(7);
    }
    za_alloc_postfork_parent();
    za_unlock(&fork_lock);
    go(2);
    CHECK(pid > 0 && waitpid(pid, &child_status, 0) == pid);
    return arg;
}

static pthread_t forker;

static void try_to_fork(void)
{
    CHECK_EQ(pthread_create(&forker, NULL, fork_with_handlers, NULL), 0);
    await(1);
    usleep(20000);
    CHECK_EQ(__atomic_load_n(&at, __ATOMIC_ACQUIRE), 1); /* waits for the pass to end */
}

UNIT_TEST(a_fork_with_handlers_waits_for_the_pass)
{
    start();
    fill();
    (void)look();
    meanwhile[1] = try_to_fork;
    CHECK(look() > 0);
    CHECK_EQ(pthread_join(forker, NULL), 0);
    CHECK(WIFEXITED(child_status) && WEXITSTATUS(child_status) == 7);
    expect_sound();
}

/* A sleeper's pocket with holes, which nobody's next step is bound to close up. */
static struct za_tcache *sleepers;

static void *hold_runs(void *arg)
{
    void *p[4];
    for (int i = 0; i < 4; i++)
        p[i] = za_malloc(100000);
    for (int i = 0; i < 4; i++)
        za_free(p[i]);
    sleepers = za_tcache;
    go(1);
    await(2);
    za_thread_exit();
    return arg;
}

UNIT_TEST(a_child_closes_up_what_it_inherits)
{
    pthread_t t;
    start();
    CHECK_EQ(pthread_create(&t, NULL, hold_runs, NULL), 0);
    await(1);
    (void)look();
    CHECK(look() > 0);
    CHECK_EQ(sleepers->holes, 1);
    za_lock(&fork_lock);
    za_alloc_prefork();
    pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (pid == 0) {
        za_alloc_postfork_child();
        const struct za_pocket *k = &sleepers->pocket;
        CHECK(k->n == 1 && k->length[1] == 2 && k->left == k->room - 2);
        CHECK_EQ(sleepers->holes, 0);
        _exit(7);
    }
    za_alloc_postfork_parent();
    za_unlock(&fork_lock);
    CHECK(pid > 0 && waitpid(pid, &child_status, 0) == pid);
    CHECK(WIFEXITED(child_status) && WEXITSTATUS(child_status) == 7);
    go(2);
    CHECK_EQ(pthread_join(t, NULL), 0);
    expect_sound();
}

/* --- all at once ----------------------------------------------------------- */

#define THREADS 3
#define BLOCKS 300
#define LOOKS 300

static int enough; /* atomic */

static void *work(void *arg)
{
    struct kit_random r = {(uintptr_t)arg * 7919 + 1};
    struct {
        unsigned char *p;
        size_t size;
        unsigned char cookie;
    } b[BLOCKS] = {{0}};
    for (int i = 0; !__atomic_load_n(&enough, __ATOMIC_ACQUIRE); i++) {
        uint64_t k = kit_next(&r) % BLOCKS;
        if (b[k].p) {
            CHECK(kit_signed(b[k].p, b[k].size, b[k].cookie));
            za_free(b[k].p);
            b[k].p = NULL;
            continue;
        }
        b[k].size = kit_next(&r) % 4 ? kit_next(&r) % 64 * 8 + 8 : kit_size(&r) % 300000 + 1;
        b[k].cookie = (unsigned char)kit_next(&r);
        CHECK((b[k].p = za_malloc(b[k].size)) != NULL);
        kit_sign(b[k].p, b[k].size, b[k].cookie);
        if (i % 5000 == 0)
            za_tcache_check();
    }
    for (int i = 0; i < BLOCKS; i++)
        za_free(b[i].p);
    za_thread_exit();
    return NULL;
}

UNIT_TEST(threads_that_are_said_to_sleep_work_on)
{
    pthread_t t[THREADS];
    start();
    za_conf.torture = true;
    for (intptr_t i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&t[i], NULL, work, (void *)(i + 1)), 0);
    for (int i = 0; i < LOOKS || !za_stat_get(ZA_STAT_CACHE_GATHERED); i++)
        (void)look();
    __atomic_store_n(&enough, 1, __ATOMIC_RELEASE);
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_join(t[i], NULL), 0);
    (void)za_trim();
    za_alloc_check();
    za_alloc_stats();
    CHECK_EQ(za_stat_get(ZA_STAT_HEAP_ALLOCATED), 0);
}
