/* SPDX-License-Identifier: MIT */
/*
 * handlers -- `mmap:true`: a signal handler maps, writes, remaps and unmaps, whatever it has interrupted:
 * malloc with a lock in hand, a request to the worker, a fork.
 *
 * A thread sends signals to the first one as fast as they are taken, and sees whether there is
 * progress: who waits for himself in a handler makes none any more.
 */
#include "hostile.h"

#include <pthread.h>
#include <signal.h>

#define LEN (2 * UNIT + 3 * PAGE)
#define KEPT 4
#define OWN 8
#define RUN_MS 2500u
#define HANG_MS 10000u
#define READ_WRITE (PROT_READ | PROT_WRITE)
#define PRIVATE (MAP_PRIVATE | MAP_ANONYMOUS)

enum wrong { NOT_ZERO, NOT_KEPT, FIXED, ADVISED, GROWN, MOVED, REFUSED, WRONGS };
static const char *const names[WRONGS] = {"what a handler maps is zeros",
                                          "and keeps its bytes until another unmaps it",
                                          "something mapped over it stays",
                                          "what is advised away is zeros",
                                          "it grows",
                                          "it moves and leaves its place",
                                          "every call succeeds"};
static volatile sig_atomic_t wrong[WRONGS];
static volatile uint32_t handled; /* by the first thread, in this process */
static volatile bool stop;
static char *kept[KEPT];
static pid_t first;

static char *map(size_t len)
{
    char *p = mmap(NULL, len, READ_WRITE, PRIVATE, -1, 0);
    wrong[REFUSED] |= p == MAP_FAILED;
    return p;
}

static void unmap(char *p, size_t len)
{
    wrong[REFUSED] |= munmap(p, len) < 0;
}

static void map_over(char *p)
{
    char *q = mmap(p + UNIT, PAGE, READ_WRITE, PRIVATE | MAP_FIXED, -1, 0);
    wrong[FIXED] |= q != p + UNIT || !zero(p, UNIT, UNIT + PAGE);
    memset(q, 'x', PAGE);
    wrong[FIXED] |= !right(p, 0, UNIT, 7) || !right(p, UNIT + PAGE, LEN, 7) || q[PAGE - 1] != 'x';
    unmap(p, LEN);
}

static void advise(char *p)
{
    wrong[REFUSED] |= madvise(p, UNIT, MADV_DONTNEED) < 0;
    wrong[ADVISED] |= !zero(p, 0, UNIT) || !right(p, UNIT, LEN, 7);
    wrong[REFUSED] |= mprotect(p + UNIT, PAGE, PROT_READ) < 0;
    wrong[ADVISED] |= !right(p, UNIT, LEN, 7);
    unmap(p, LEN);
}

static void grow(char *p)
{
    char *q = mremap(p, LEN, 2 * LEN, MREMAP_MAYMOVE);
    wrong[GROWN] |= q == MAP_FAILED || !right(q, 0, LEN, 7) || !zero(q, LEN, 2 * LEN);
    unmap(q, 2 * LEN);
}

static void move(char *p)
{
    char *q = mremap(p, LEN, LEN, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
    wrong[MOVED] |= q == MAP_FAILED || !right(q, 0, LEN, 7) || !zero(p, 0, LEN);
    unmap(q, LEN);
    unmap(p, LEN);
}

static void in_pieces(char *p)
{
    unmap(p + UNIT, UNIT);
    wrong[NOT_KEPT] |= !right(p, 0, UNIT, 7) || !right(p, 2 * UNIT, LEN, 7);
    unmap(p, LEN);
}

static void work(uint32_t n)
{
    char **k = &kept[n % KEPT];
    if (*k) {
        wrong[NOT_KEPT] |= !right(*k, 0, LEN, n % KEPT);
        unmap(*k, LEN);
    }
    *k = map(LEN);
    wrong[NOT_ZERO] |= !zero(*k, 0, LEN);
    fill(*k, LEN, n % KEPT);
    if (n % 4)
        return;
    void (*const more[])(char *) = {map_over, advise, grow, move, in_pieces};
    char *p = map(LEN);
    wrong[NOT_ZERO] |= !zero(p, 0, LEN);
    fill(p, LEN, 7);
    more[n / 4 % 5](p);
}

static void handle(int sig)
{
    int err = errno;
    (void)sig;
    if (wrong[REFUSED])
        return;
    work(handled);
    handled++;
    errno = err;
}

/* It does not wait until one is taken: what the handler meets is left to chance. */
static void *send_on(void *arg)
{
    uint32_t seen = 0;
    (void)arg;
    for (unsigned still_ms = 0; !stop && still_ms < HANG_MS;) {
        uint32_t now = handled;
        (void)syscall(SYS_tgkill, getpid(), first, SIGUSR1);
        struct timespec t = {0, 100000 + (long)(now * 7919u % 200000u)};
        (void)nanosleep(&t, NULL);
        if (now != seen || wrong[REFUSED])
            still_ms = 0;
        else if (now % 8 == 0 || still_ms)
            still_ms++; /* more than a tenth of it, which is close enough */
        else
            still_ms = 1;
        seen = now;
    }
    if (!stop) {
        point("no handler waits for ever", false);
        _exit(1);
    }
    return NULL;
}

/* ---- what is interrupted ------------------------------------------------------------------------
 */

struct own {
    char *p;
    size_t len;
    bool mapped;
};

static bool change(struct own *o, uint64_t id, unsigned n)
{
    bool ok = true;
    if (o->p) {
        ok = right(o->p, 0, o->len, id);
        if (o->mapped)
            unmap(o->p, o->len);
        else
            free(o->p);
    }
    o->mapped = n & 1;
    o->len = 40 * PAGE + n * 7u % 64 * PAGE;
    o->p = o->mapped ? map(o->len) : malloc(o->len);
    fill(o->p, o->len, id);
    for (unsigned i = 1; i < 200; i++)
        free(malloc(i * 37 * (n % 8 + 1)));
    return ok;
}

static bool child_handles(void *arg)
{
    const struct own *own = arg;
    for (unsigned i = 0; i < 12; i++)
        (void)raise(SIGUSR1);
    bool ok = true;
    for (unsigned i = 0; i < OWN; i++)
        ok &= !own[i].p || right(own[i].p, 0, own[i].len, 100 + i);
    for (unsigned i = 0; i < WRONGS; i++)
        ok &= !wrong[i];
    return ok;
}

static unsigned now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (unsigned)t.tv_sec * 1000 + (unsigned)(t.tv_nsec / 1000000);
}

int main(int argc, char **argv)
{
    static struct own own[OWN];
    struct sigaction sa = {.sa_handler = handle, .sa_flags = SA_RESTART};
    pthread_t t;
    if (!begin(argc, argv))
        return 77;
    uint64_t before = stat_of("stats.mapped.held");
    first = (pid_t)syscall(SYS_gettid);
    (void)sigaction(SIGUSR1, &sa, NULL);
    if (pthread_create(&t, NULL, send_on, NULL) != 0)
        return 2;
    bool mine = true, children = true;
    unsigned n = 0;
    for (unsigned end_ms = now_ms() + RUN_MS; (int)(end_ms - now_ms()) > 0; n++) {
        mine &= change(&own[n % OWN], 100 + n % OWN, n);
        if (n % 64 == 63)
            children &= in_child(child_handles, own);
    }
    stop = true;
    (void)pthread_join(t, NULL);
    point("no handler waits for ever", true);
    for (unsigned i = 0; i < WRONGS; i++)
        point(names[i], !wrong[i]);
    point("what they interrupt keeps its bytes", mine);
    point("children, too", children);
    for (unsigned i = 0; i < OWN; i++)
        if (own[i].mapped)
            unmap(own[i].p, own[i].len);
        else
            free(own[i].p);
    for (unsigned i = 0; i < KEPT; i++)
        if (kept[i])
            unmap(kept[i], LEN);
    point("nothing is left of it", stat_of("stats.mapped.held") == before);
    return end();
}
