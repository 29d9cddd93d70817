/* SPDX-License-Identifier: MIT */
/*
 * frames -- stacks in heap memory, signals that strike while pages are on their way, threads that
 * are cancelled, processes that are stopped.
 */
#include "arena.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <ucontext.h>

#define NCONTEXTS 16u
#define STACK (2 * UNIT)
#define NBLOCKS 32u
#define LEN (2 * UNIT)
#define STRIKES 200u

static char *blocks[NBLOCKS];

static void evict(void)
{
    (void)ctl("pager.evict", NULL, NULL, NULL, 0);
}

static bool all_right(void)
{
    for (unsigned i = 0; i < NBLOCKS; i++)
        if (!right(blocks[i], 0, LEN, i + 1))
            return false;
    return true;
}

/* ---- contexts -----------------------------------------------------------------------------------
 */

static ucontext_t *back, *contexts[NCONTEXTS];
static unsigned context_done;

static void context_main(int n)
{
    uint64_t local[1024];
    for (unsigned round = 0; round < 3; round++) {
        fill(local, sizeof(local), (uint64_t)n * 10 + round);
        swapcontext(contexts[n], back);
        if (!right(local, 0, sizeof(local), (uint64_t)n * 10 + round))
            return;
    }
    context_done++;
}

/* The contexts themselves, where the registers are kept, are heap memory too. */
static void coroutines(void)
{
    struct arena a = arena_new((NCONTEXTS + 1) * 3ul, 1);
    back = take(&a, sizeof(*back));
    for (unsigned i = 0; i < NCONTEXTS; i++) {
        contexts[i] = take(&a, sizeof(ucontext_t));
        getcontext(contexts[i]);
        contexts[i]->uc_stack = (stack_t){.ss_sp = take(&a, STACK), .ss_size = STACK};
        contexts[i]->uc_link = back;
        makecontext(contexts[i], (void (*)(void))context_main, 1, (int)i);
    }
    cool(&a);
    for (unsigned round = 0; round < 4; round++) {
        for (unsigned i = 0; i < NCONTEXTS; i++)
            swapcontext(back, contexts[i]);
        evict();
    }
    point("contexts on cold stacks", context_done == NCONTEXTS);
    free(a.start);
}

/* ---- signals ------------------------------------------------------------------------------------
 */

static volatile sig_atomic_t strikes, wrong;

/* Touches cold memory, on an alternative stack in cold memory, whatever has been interrupted. */
static void handler(int sig)
{
    const int saved = errno;
    unsigned i = (unsigned)strikes % NBLOCKS;
    (void)sig;
    if (!right(blocks[i], UNIT, UNIT + PAGE, i + 1))
        wrong = 1;
    strikes++;
    errno = saved;
}

static void every_millisecond(bool on)
{
    const struct itimerval it = {{0, on ? 1000 : 0}, {0, on ? 1000 : 0}};
    setitimer(ITIMER_REAL, &it, NULL);
}

static void work(void)
{
    static void *small[64];
    unsigned i = (unsigned)strikes % 64;
    free(small[i]);
    small[i] = malloc(16u << i % 12);
    void *large = malloc(3 * UNIT + i * PAGE);
    memset(large, 1, PAGE);
    large = realloc(large, 8 * UNIT);
    if (!right(blocks[i % NBLOCKS], 0, LEN, i % NBLOCKS + 1))
        wrong = 1;
    free(large);
}

static void storm(void)
{
    struct sigaction sa = {.sa_handler = handler, .sa_flags = SA_ONSTACK | SA_RESTART};
    stack_t stack = {.ss_sp = block(STACK, 90), .ss_size = STACK};
    strikes = wrong = 0;
    bool good = sigaltstack(&stack, NULL) == 0 && sigaction(SIGALRM, &sa, NULL) == 0;
    every_millisecond(true);
    for (unsigned i = 0; strikes < (int)STRIKES; i++) {
        work();
        if (i % 4 == 0)
            evict();
    }
    every_millisecond(false);
    signal(SIGALRM, SIG_IGN);
    point("a signal a millisecond, amid malloc", good && !wrong && all_right());
    stack.ss_flags = SS_DISABLE;
    (void)sigaltstack(&stack, NULL);
    free(stack.ss_sp);
}

static sigjmp_buf *out;
static volatile sig_atomic_t armed;

static void jump(int sig)
{
    (void)sig;
    strikes++;
    if (armed)
        siglongjmp(*out, 1);
}

/* Out of the middle of a fault: whoever waited for a page is somewhere else now. */
static void jumps(void)
{
    struct sigaction sa = {.sa_handler = jump, .sa_flags = SA_ONSTACK};
    out = malloc(sizeof(*out));
    strikes = wrong = 0;
    sigaction(SIGALRM, &sa, NULL);
    every_millisecond(true);
    while (strikes < (int)STRIKES / 2) {
        evict();
        if (sigsetjmp(*out, 1) == 0) {
            armed = 1;
            wrong |= !all_right();
        }
        armed = 0;
    }
    every_millisecond(false);
    signal(SIGALRM, SIG_IGN);
    point("jumps out of handlers, amid faults", !wrong && all_right());
    free(out);
}

static volatile bool stop;

static void *striker(void *arg)
{
    while (!stop)
        pthread_kill(*(pthread_t *)arg, SIGUSR1);
    return NULL;
}

/* As many signals as come through, while pages are fetched by system calls. */
static void flood(void)
{
    struct sigaction sa = {.sa_handler = handler, .sa_flags = SA_RESTART};
    pthread_t self = pthread_self(), t = self;
    int ends[2] = {-1, -1};
    char byte[PAGE];
    bool good = pipe(ends) == 0;
    strikes = wrong = 0;
    stop = false;
    sigaction(SIGUSR1, &sa, NULL);
    good = good && pthread_create(&t, NULL, striker, &self) == 0;
    for (unsigned i = 0; i < 50 && good; i++) {
        evict();
        for (unsigned k = 0; k < 8; k++) {
            unsigned n = (i * 8 + k) % NBLOCKS;
            good = good && write(ends[1], blocks[n] + k * PAGE, PAGE) == (ssize_t)PAGE &&
                   read(ends[0], byte, PAGE) == (ssize_t)PAGE &&
                   memcmp(byte, blocks[n] + k * PAGE, PAGE) == 0;
        }
    }
    stop = true;
    pthread_join(t, NULL);
    point("a flood of signals, amid system calls", good && !wrong && all_right());
    close(ends[0]);
    close(ends[1]);
}

/* ---- threads ------------------------------------------------------------------------------------
 */

static pthread_key_t key;
static unsigned destroyed;

static void destroy(void *p)
{
    if (right(p, 0, UNIT, 70))
        __atomic_fetch_add(&destroyed, 1, __ATOMIC_SEQ_CST);
    free(p);
}

static void clean(void *p)
{
    free(p);
}

/* Cancelled where it waits, holding memory that its handlers give back. */
static void *deferred(void *arg)
{
    void *p = malloc(5000), *mine = block(UNIT, 70);
    (void)arg;
    pthread_setspecific(key, mine);
    pthread_cleanup_push(clean, p);
    for (;;) {
        free(malloc(100000));
        pthread_testcancel();
        if (!all_right())
            wrong = 1;
    }
    pthread_cleanup_pop(1);
    return NULL;
}

/* Cancelled anywhere, the wait for a page included. */
static void *at_once(void *arg)
{
    (void)arg;
    pthread_setspecific(key, block(UNIT, 70));
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
    for (;;)
        if (!all_right())
            wrong = 1;
    return NULL;
}

static void cancelled(void)
{
    pthread_t t[2];
    bool good = pthread_key_create(&key, destroy) == 0;
    wrong = 0;
    for (unsigned i = 0; i < 20; i++) {
        void *result[2] = {NULL, NULL};
        good &= pthread_create(&t[0], NULL, deferred, NULL) == 0;
        good &= pthread_create(&t[1], NULL, at_once, NULL) == 0;
        evict();
        sleep_ms(3);
        evict();
        for (unsigned k = 0; k < 2; k++) {
            pthread_cancel(t[k]);
            pthread_join(t[k], &result[k]);
            good &= result[k] == PTHREAD_CANCELED;
        }
    }
    point("cancelled threads", good && !wrong && destroyed == 40);
}

/* ---- stopped ------------------------------------------------------------------------------------
 */

static bool busy(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < 15; i++) {
        evict();
        if (!all_right())
            return false;
    }
    return true;
}

static void stopped(void)
{
    int status = -1;
    pid_t pid = fork();
    if (pid == 0)
        _exit(busy(NULL) ? 0 : 1);
    while (waitpid(pid, &status, WNOHANG) == 0) {
        kill(pid, SIGSTOP);
        sleep_ms(1);
        kill(pid, SIGCONT);
        sleep_ms(2);
    }
    point("stopped and continued, amid faults", pid > 0 && status == 0 && all_right());
}

static bool all_by_tracer(pid_t pid, char *copy)
{
    for (unsigned i = 0; i < NBLOCKS; i++) {
        struct iovec here = {copy, LEN}, there = {blocks[i], LEN};
        if (process_vm_readv(pid, &here, 1, &there, 1, 0) != (ssize_t)LEN ||
            !right(copy, 0, LEN, i + 1))
            return false;
    }
    return true;
}

/* A tracer that follows threads reads pages that are out: nobody but the fault thread can help. */
static void traced(void)
{
    int status = -1;
    char *copy = block(LEN, 95);
    pid_t pid = fork();
    if (pid == 0) {
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        raise(SIGSTOP);
        evict(); /* the child's own threads begin here */
        raise(SIGSTOP);
        _exit(all_right() ? 0 : 1);
    }
    const long follow = PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL;
    bool good = waitpid(pid, &status, 0) == pid && WIFSTOPPED(status);
    if (!good || ptrace(PTRACE_SETOPTIONS, pid, 0, follow) < 0) {
        skip("a tracer", "no ptrace");
        kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
        free(copy);
        return;
    }
    ptrace(PTRACE_CONT, pid, 0, 0);
    pid_t who = waitpid(-1, &status, __WALL);
    good = who == pid && WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP;
    point("a tracer that follows threads is not given ours", good);
    point("a tracer reads what is out", good && all_by_tracer(pid, copy));
    ptrace(PTRACE_CONT, pid, 0, 0);
    good = waitpid(pid, &status, 0) == pid && status == 0;
    point("what was traced ends well", good && all_right());
    free(copy);
}

int main(int argc, char **argv)
{
    if (!begin(argc, argv))
        return 77;
    for (unsigned i = 0; i < NBLOCKS; i++)
        blocks[i] = block(LEN, i + 1);
    coroutines();
    storm();
    jumps();
    flood();
    cancelled();
    stopped();
    traced();
    return end();
}
