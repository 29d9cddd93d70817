/* SPDX-License-Identifier: MIT */
/*
 * barefork -- children made without any handler: _Fork, clone, vfork, while memory is on the move.
 *
 * Every child checks all of its memory, while the parent's other threads keep pages coming and
 * going, and while the parent gives up what the child still has.  Where children are announced (as
 * root) the fault thread gives them what is out; where they are not (tests/unprivileged), _Fork,
 * clone and syscall are interposed.
 */
#include "hostile.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>

#define NBLOCKS 48
#define LEN (2 * UNIT)
#define CHILDREN 25

extern pid_t _Fork(void) __attribute__((weak));

static char *blocks[NBLOCKS];
static volatile bool stop;
static volatile bool wrong;

static bool all_right(void)
{
    for (unsigned i = 0; i < NBLOCKS; i++)
        if (!right(blocks[i], 0, LEN, i + 1))
            return false;
    return true;
}

static void *reader(void *arg)
{
    uint64_t at = (uintptr_t)arg;
    while (!stop) {
        at = at * 6364136223846793005u + 1442695040888963407u;
        unsigned i = (unsigned)(at >> 33) % NBLOCKS;
        if (!right(blocks[i], 0, LEN, i + 1))
            wrong = true;
    }
    return NULL;
}

static void *evicter(void *arg)
{
    (void)arg;
    while (!stop)
        (void)ctl("pager.evict", NULL, NULL, NULL, 0);
    return NULL;
}

static pid_t by_fork(void)
{
    return _Fork ? _Fork() : fork();
}

static pid_t by_clone(void)
{
    return (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}

/* libc's clone, on a stack from malloc that has gone cold; what it returns says it all. */
static int on_stack(void *arg)
{
    (void)arg;
    return right(blocks[0], 0, LEN, 1) && right(blocks[NBLOCKS - 1], 0, LEN, NBLOCKS) ? 0 : 1;
}

static bool ends_well(pid_t pid);

static bool on_cold_stacks(void)
{
    bool good = true;
    for (unsigned i = 0; i < 5 && good; i++) {
        char *stack = block(4 * UNIT, 99);
        (void)ctl("pager.evict", NULL, NULL, NULL, 0);
        pid_t pid = clone(on_stack, stack + 3 * UNIT - 64, SIGCHLD, NULL);
        good = pid > 0 && ends_well(pid) && right(stack, 3 * UNIT, 4 * UNIT, 99);
        free(stack);
    }
    return good;
}

/* Waits for the child; one that takes for ever is ended and counts as wrong. */
static bool ends_well(pid_t pid)
{
    int status;
    for (unsigned ms = 0; ms < 5000; ms++) {
        if (waitpid(pid, &status, WNOHANG) == pid)
            return status == 0;
        sleep_ms(1);
    }
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    return false;
}

static bool grandchildren(pid_t (*make)(void))
{
    pid_t pid = make();
    if (pid == 0)
        _exit(all_right() ? 0 : 1);
    return pid > 0 && ends_well(pid) && all_right();
}

static bool children(pid_t (*make)(void), unsigned n, bool and_theirs)
{
    bool good = true;
    for (unsigned i = 0; i < n && good; i++) {
        pid_t pid = make();
        if (pid == 0)
            _exit(all_right() && (!and_theirs || grandchildren(make)) ? 0 : 1);
        good = pid > 0 && ends_well(pid);
    }
    return good;
}

static pid_t (*make_in_handler)(void);
static volatile pid_t made;

static void handler(int sig)
{
    (void)sig;
    pid_t pid = make_in_handler();
    if (pid == 0)
        _exit(all_right() ? 0 : 1);
    made = pid;
}

/* A timer strikes anywhere, in our own code too. */
static bool from_handlers(pid_t (*make)(void))
{
    bool good = true;
    make_in_handler = make;
    signal(SIGALRM, handler);
    for (unsigned i = 0; i < 10 && good; i++) {
        made = 0;
        ualarm(3000, 0);
        while (!made) {
            void *p = malloc(300000);
            memset(p, 1, 300000);
            free(p);
            if (i % 2)
                (void)ctl("pager.evict", NULL, NULL, NULL, 0);
        }
        good = made > 0 && ends_well(made);
    }
    return good;
}

static bool lives_on(void *arg)
{
    (void)arg;
    if (!all_right())
        return false;
    for (unsigned i = 0; i < 3; i++) {
        char *p = block(16 * UNIT, 77);
        (void)ctl("pager.evict", NULL, NULL, NULL, 0);
        if (!right(p, 0, 16 * UNIT, 77) || !all_right())
            return false;
        free(p);
    }
    return true;
}

/* Not asked for by any standard, but done: such a child goes on as a program. */
static bool long_lives(pid_t (*make)(void))
{
    (void)ctl("pager.evict", NULL, NULL, NULL, 0);
    pid_t pid = make();
    if (pid == 0)
        _exit(lives_on(NULL) && in_child(lives_on, NULL) ? 0 : 1);
    return pid > 0 && ends_well(pid);
}

#define KEYS 80
#define VALUES_LEN 512 /* as libc's blocks for the values of keys beyond its first 32 */
#define NEIGHBOURS 400

static char *neighbours[NEIGHBOURS];
static volatile bool sits;

static void *sit(void *go)
{
    pthread_key_t key;
    for (unsigned i = 0; i < KEYS; i++)
        if (pthread_key_create(&key, NULL) == 0)
            (void)pthread_setspecific(key, go);
    for (unsigned i = 0; i < NEIGHBOURS; i++) /* some of them on the same page */
        fill(neighbours[i] = malloc(VALUES_LEN), VALUES_LEN, i + 9000);
    char byte;
    __atomic_store_n(&sits, true, __ATOMIC_SEQ_CST);
    return read(*(int *)go, &byte, 1) == 0 ? NULL : go;
}

static bool neighbours_right(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < NEIGHBOURS; i++)
        if (!right(neighbours[i], 0, VALUES_LEN, i + 9000))
            return false;
    return true;
}

/* libc's fork clears in the child what other threads kept under their keys, before our handler. */
static bool cleared_early(void)
{
    int go[2];
    pthread_t t;
    if (pipe(go) != 0 || pthread_create(&t, NULL, sit, go) != 0)
        return false;
    while (!__atomic_load_n(&sits, __ATOMIC_SEQ_CST))
        sleep_ms(1);
    sleep_ms(20); /* it goes to sleep */
    bool good = true;
    for (unsigned i = 0; i < 5 && good; i++) {
        (void)ctl("pager.evict", NULL, NULL, NULL, 0);
        good = in_child(neighbours_right, NULL) && neighbours_right(NULL);
    }
    close(go[1]);
    pthread_join(t, NULL);
    for (unsigned i = 0; i < NEIGHBOURS; i++)
        free(neighbours[i]);
    return good;
}

static pid_t (*make_last)(void);

/* What a daemon does: the child goes on when its parent is gone, and tells through a pipe. */
static bool parent_leaves(void *arg)
{
    int *told = arg;
    (void)ctl("pager.evict", NULL, NULL, NULL, 0);
    pid_t me = getpid(), pid = make_last();
    if (pid != 0)
        _exit(pid > 0 ? 0 : 1);
    while (getppid() == me)
        sleep_ms(1);
    _exit(all_right() && write(told[1], "r", 1) == 1 ? 0 : 1);
}

static bool outlives(pid_t (*make)(void))
{
    bool good = true;
    for (unsigned i = 0; i < 5 && good; i++) {
        int told[2];
        char byte;
        make_last = make;
        good = pipe(told) == 0 && in_child(parent_leaves, told);
        close(told[1]);
        good = good && read(told[0], &byte, 1) == 1;
        close(told[0]);
    }
    return good;
}

#define MANY 160
#define SMALL 4000
#define SMALL_LEN 480

/*
 * What the parent gives up as soon as it has a child, in large blocks and among small ones, the
 * child still has.
 */
static bool gives_up(pid_t (*make)(void))
{
    static char *large[MANY], *small[SMALL];
    for (unsigned i = 0; i < MANY; i++)
        large[i] = block(LEN, i + 1000);
    for (unsigned i = 0; i < SMALL; i++)
        fill(small[i] = malloc(SMALL_LEN), SMALL_LEN, i + 5000);
    (void)go_cold(large[0], LEN * (MANY / 2));
    pid_t pid = make();
    if (pid == 0) {
        bool good = true;
        for (unsigned i = MANY; i-- > 0;)
            good &= right(large[i], 0, LEN, i + 1000);
        for (unsigned i = SMALL; i-- > 0;)
            good &= right(small[i], 0, SMALL_LEN, i + 5000);
        _exit(good && all_right() ? 0 : 1);
    }
    for (unsigned i = MANY; i-- > 0;)
        free(large[i]);
    for (unsigned i = 0; i < SMALL; i++)
        if (i % 16)
            free(small[i]);
    (void)ctl("pager.evict", NULL, NULL, NULL, 0);
    for (unsigned i = 0; i < SMALL; i += 16)
        free(small[i]);
    return pid > 0 && ends_well(pid);
}

static bool gives_up_often(pid_t (*make)(void))
{
    bool good = true;
    for (unsigned i = 0; i < 3 && good; i++)
        good = gives_up(make);
    return good;
}

static bool others(void)
{
    static char *args[] = {"true", NULL};
    pid_t pid;
    int status;
    (void)ctl("pager.evict", NULL, NULL, NULL, 0);
    if (posix_spawnp(&pid, "true", NULL, NULL, args, args + 1) != 0 || waitpid(pid, &status, 0) < 0)
        return false;
    return status == 0 && system("exit 7") >> 8 == 7 && all_right();
}

/* ---- a bare child whose threads ask at the same time ----------------------------------------------
 */

static pthread_barrier_t together;

static void *ask(void *arg)
{
    (void)pthread_barrier_wait(&together);
    (void)ctl("pager.evict", NULL, NULL, NULL, 0);
    return arg;
}

static bool asks_together(void)
{
    enum { THREADS = 4 };
    pthread_t t[THREADS];
    (void)pthread_barrier_init(&together, NULL, THREADS);
    for (unsigned i = 0; i < THREADS; i++)
        if (pthread_create(&t[i], NULL, ask, NULL) != 0)
            return false;
    for (unsigned i = 0; i < THREADS; i++)
        (void)pthread_join(t[i], NULL);
    return all_right();
}

static bool ask_together(void)
{
    for (unsigned i = 0; i < 40; i++) {
        (void)ctl("pager.evict", NULL, NULL, NULL, 0);
        pid_t pid = by_fork();
        if (pid == 0)
            _exit(asks_together() ? 0 : 1);
        if (pid < 0 || !ends_well(pid))
            return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    pthread_t t[3];
    if (!begin(argc, argv))
        return 77;
    for (unsigned i = 0; i < NBLOCKS; i++)
        blocks[i] = block(LEN, i + 1);
    point("goes cold", go_cold(blocks[0], LEN));
    point("_Fork, alone", children(by_fork, 5, true));
    point("clone, alone", children(by_clone, 5, true));
    point("libc's clone on a cold stack", on_cold_stacks());
    point("from signal handlers", from_handlers(by_fork));
    point("a bare child that lives on", long_lives(by_fork));
    point("a bare child's threads ask at once", ask_together());
    point("posix_spawn and system", others());
    point("fork, what libc clears early", cleared_early());
    point("_Fork, and the parent leaves", outlives(by_fork));
    point("clone, and the parent leaves", outlives(by_clone));
    point("_Fork, and the parent gives up", gives_up_often(by_fork));
    point("clone, and the parent gives up", gives_up_often(by_clone));
    for (uintptr_t i = 0; i < 2; i++)
        pthread_create(&t[i], NULL, reader, (void *)(i + 1));
    pthread_create(&t[2], NULL, evicter, NULL);
    point("_Fork, amid traffic", children(by_fork, CHILDREN, false));
    point("clone, amid traffic", children(by_clone, CHILDREN, false));
    point("_Fork twice, amid traffic", children(by_fork, CHILDREN / 5, true));
    point("clone amid traffic, and the parent gives up", gives_up_often(by_clone));
    stop = true;
    for (unsigned i = 0; i < 3; i++)
        pthread_join(t[i], NULL);
    point("the parent's own bytes", !wrong && all_right());
    return end();
}
