/* SPDX-License-Identifier: MIT */
/*
 * handlers -- `mmap:true`: a signal handler maps, writes, remaps and unmaps, whatever it has interrupted:
 * malloc with a lock in hand, a request to the worker, a fork.
 *
 * A thread sends signals to the first one, and sees whether they are handled: who waits for himself in
 * a handler comes to no end.
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

enum wrong { NOT_ZERO, NOT_KEPT, FIXED, ADVISED, GROWN, MOVED, BARE, REFUSED, WRONGS };
static const char *const names[WRONGS] = {"what a handler maps is zeros",
                                          "and keeps its bytes until another unmaps it",
                                          "something mapped over it stays",
                                          "what is advised away is zeros",
                                          "it grows",
                                          "it moves and leaves its place",
                                          "a child made without handlers maps and unmaps",
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

extern pid_t _Fork(void) __attribute__((weak));

static int map_in_child(char *p)
{
    bool ok = right(p, 0, LEN, 7) && munmap(p, LEN) == 0;
    for (unsigned i = 0; i < 3; i++) {
        char *q = map(LEN);
        ok &= zero(q, 0, LEN);
        fill(q, LEN, 8);
        ok &= right(q, 0, LEN, 8) && munmap(q, LEN) == 0;
    }
    return ok ? 0 : 1;
}

static void make_child(char *p)
{
    int status = -1;
    pid_t pid = _Fork ? _Fork() : (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (pid == 0)
        _exit(map_in_child(p));
    wrong[BARE] |= waitpid(pid, &status, 0) != pid || status != 0;
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
    void (*const more[])(char *) = {map_over, advise, grow, move, in_pieces, make_child};
    char *p = map(LEN);
    wrong[NOT_ZERO] |= !zero(p, 0, LEN);
    fill(p, LEN, 7);
    more[n / 4 % 6](p);
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

static uint64_t now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void sleep_ns(uint64_t ns)
{
    struct timespec t = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
    (void)nanosleep(&t, NULL);
}

/* The next comes when the last has been handled, and about as much time has passed as that took. */
static void *send_on(void *arg)
{
    (void)arg;
    while (!stop) {
        uint32_t before = handled;
        uint64_t begun = now_ns();
        (void)syscall(SYS_tgkill, getpid(), first, SIGUSR1);
        while (!stop && handled == before && !wrong[REFUSED]) {
            sleep_ns(20000);
            if (now_ns() - begun < HANG_MS * 1000000ull)
                continue;
            point("no handler waits for ever", false);
            _exit(1);
        }
        sleep_ns(50000 + before * 7919u % 200000u + (now_ns() - begun) * (before % 5) / 2);
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
    o->len = (40 + n * 7u % 64) * PAGE;
    o->p = o->mapped ? map(o->len) : malloc(o->len);
    fill(o->p, o->len, id);
    for (unsigned i = 1; i < 200; i++)
        free(malloc((size_t)i * 37 * (n % 8 + 1)));
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
    for (uint64_t end_ns = now_ns() + RUN_MS * 1000000ull; now_ns() < end_ns; n++) {
        mine &= change(&own[n % OWN], 100 + n % OWN, n);
        if (n % 16 == 15)
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
