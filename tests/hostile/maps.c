/* SPDX-License-Identifier: MIT */
/*
 * maps -- `mmap:true`: what a program maps itself goes cold as its heap does, and behaves as what the
 * kernel maps.
 */
#include "hostile.h"

#include <pthread.h>

#define LEN (5 * UNIT + 3 * PAGE)
#define WEIGHT (6 * UNIT) /* of LEN */
#define READ_WRITE (PROT_READ | PROT_WRITE)
#define PRIVATE (MAP_PRIVATE | MAP_ANONYMOUS)

static char *map(size_t len)
{
    return mmap(NULL, len, READ_WRITE, PRIVATE, -1, 0);
}

static uint64_t held(void)
{
    return stat_of("stats.mapped.held");
}

static void plain(void)
{
    uint64_t before = held();
    char *p = map(LEN);
    point("a mapping is served", held() == before + WEIGHT && zero(p, 0, LEN));
    fill(p, LEN, 1);
    point("goes cold", go_cold(p, LEN));
    point("and comes back", right(p, 0, LEN, 1));
    (void)go_cold(p, LEN);
    point("munmap", munmap(p, LEN) == 0 && held() == before);
    char *q = map(LEN);
    point("the next is all zeros", zero(q, 0, LEN));
    fill(q, LEN, 2);
    (void)go_cold(q, LEN);
    point("munmap of less than a page more", munmap(q, LEN - 100) == 0 && held() == before);
    q = mmap(NULL, LEN, READ_WRITE, PRIVATE | MAP_NORESERVE, -1, 0);
    point("MAP_NORESERVE is served", held() == before + WEIGHT);
    point("munmap far beyond its end", munmap(q, LEN + 20 * UNIT) == 0 && held() == before);
}

/* Short lives: the pages stay, and what they held does not. */
static void hurried(void)
{
    bool ok = true;
    uint64_t warm = 0, before = held();
    for (unsigned i = 0; i < 200; i++) {
        char *p = map(LEN);
        ok &= zero(p, 0, LEN);
        fill(p, LEN, 80 + i);
        if (i % 40 == 39)
            ok &= go_cold(p, LEN) && right(p, 0, LEN, 80 + i);
        ok &= munmap(p, LEN) == 0;
        if (i % 20 == 0)
            (void)ctl("pager.evict", NULL, NULL, NULL, 0);
        uint64_t now = stat_of("stats.mapped.warm");
        warm = now > warm ? now : warm;
    }
    point("short lives begin with zeros", ok && held() == before);
    point("and keep their pages for the next", warm >= WEIGHT);
    char *p[64];
    for (unsigned i = 0; i < 64; i++)
        fill(p[i] = map(LEN), LEN, i);
    for (unsigned i = 0; i < 64; i++)
        (void)munmap(p[i], LEN);
    point("no more than so much", stat_of("stats.mapped.warm") <= 8u << 20);
    for (unsigned i = 0; i < 64; i++)
        ok &= zero(p[i] = map(LEN), 0, LEN);
    point("and all are zeros again", ok);
    for (unsigned i = 0; i < 64; i++)
        (void)munmap(p[i], LEN);
}

/* Of everything else the kernel is asked. */
static void others(void)
{
    uint64_t before = held();
    char *p[8];
    p[0] = mmap(NULL, LEN, PROT_READ, PRIVATE, -1, 0);
    p[1] = mmap(NULL, LEN, PROT_NONE, PRIVATE | MAP_NORESERVE, -1, 0);
    p[2] = mmap(NULL, LEN, READ_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    p[3] = mmap(NULL, LEN, READ_WRITE, PRIVATE | MAP_POPULATE, -1, 0);
    p[4] = mmap(NULL, PAGE, READ_WRITE, PRIVATE, -1, 0);
    p[5] = mmap(p[1], LEN, READ_WRITE, PRIVATE | MAP_FIXED, -1, 0);
    p[6] = mmap((void *)(16ul << 30), LEN, READ_WRITE, PRIVATE, -1, 0);
    p[7] = mmap(NULL, LEN, READ_WRITE, PRIVATE | MAP_STACK, -1, 0);
    bool there = true;
    for (int i = 0; i < 8; i++)
        there &= p[i] != MAP_FAILED;
    point("what is not like malloc's memory is the kernel's", there && held() == before);
    for (int i = 0; i < 8; i++)
        (void)munmap(p[i], i == 4 ? PAGE : LEN);
    errno = 0;
    point("length 0 is EINVAL", map(0) == MAP_FAILED && errno == EINVAL);
    errno = 0;
    point("more than there is: ENOMEM", map(1ul << 60) == MAP_FAILED && errno == ENOMEM);
}

static void pieces(void)
{
    uint64_t before = held();
    char *p = map(LEN);
    fill(p, LEN, 3);
    (void)go_cold(p, LEN);
    uint64_t lost = stat_of("stats.mapped.lost");
    point("the middle goes", munmap(p + UNIT, UNIT) == 0 && zero(p, UNIT, 2 * UNIT));
    point("the rest stays", right(p, 0, UNIT, 3) && right(p, 2 * UNIT, LEN, 3));
    point("its head goes", munmap(p, UNIT) == 0 && right(p, 2 * UNIT, LEN, 3));
    point("its tail goes", munmap(p + 2 * UNIT, LEN - 2 * UNIT) == 0);
    point("what went in pieces is lost", stat_of("stats.mapped.lost") >= lost + LEN);
    char *a = map(2 * UNIT), *b = map(2 * UNIT), *low = a < b ? a : b;
    before += 4 * UNIT;
    if (a + 2 * UNIT == b || b + 2 * UNIT == a) {
        (void)munmap(low, 4 * UNIT);
        point("neighbours go in one call", held() == before - 4 * UNIT + WEIGHT);
    } else {
        skip("neighbours go in one call", "the heap has not put them side by side");
        (void)munmap(a, 2 * UNIT);
        (void)munmap(b, 2 * UNIT);
    }
}

static void protections(void)
{
    char *p = map(LEN);
    fill(p, LEN, 4);
    (void)go_cold(p, LEN);
    point("mprotect", mprotect(p, LEN, PROT_READ) == 0 && right(p, 0, LEN, 4));
    (void)mprotect(p + UNIT, UNIT, PROT_NONE);
    (void)mlock(p, UNIT);
    (void)madvise(p, LEN, MADV_DONTFORK);
    uint64_t before = held();
    point("munmap of protected memory", munmap(p, LEN) == 0 && held() == before);
    p = map(LEN);
    fill(p, LEN, 5);
    point("the next is as good as new", go_cold(p, LEN) && right(p, 0, LEN, 5));
    point("madvise", madvise(p, UNIT, MADV_DONTNEED) == 0 && zero(p, 0, UNIT));
    (void)munmap(p, LEN);
}

static size_t resident(const char *p, size_t len)
{
    size_t n = 0;
    for (size_t at = 0; at < len; at += UNIT)
        n += present(p + at, UNIT);
    return n;
}

/* Blocks that the kernel would move together with what is around the place, or in two steps. */
static void moves(void)
{
    const size_t big = 256 * UNIT, small = 16 * UNIT;
    char *around = map(big);
    fill(around, big, 90);
    sleep_ms(300); /* registered: a mapping of its own, and what follows another */
    char *low = map(big), *untouched = map(small), *high = map(big);
    (void)mprotect(low, big, PROT_READ);
    (void)mprotect(high, big, PROT_READ);
    (void)go_cold(around, big);
    sleep_ms(300);
    (void)ctl("pager.evict", NULL, NULL, NULL, 0);
    char *to = around + big / 2;
    point("mremap into the heap",
          mremap(untouched, small, small - PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to &&
              zero(to, 0, small - PAGE));
    point("takes nothing else along",
          right(around, 0, big / 2, 90) && right(around, big / 2 + small, big, 90));
    (void)munmap(low, big);
    (void)munmap(high, big);
    char *p = map(big);
    fill(p, big, 91);
    (void)mmap(p, big / 2, READ_WRITE, PRIVATE | MAP_FIXED, -1, 0);
    fill(p, big, 91);
    (void)go_cold(p + big / 2, big / 2);
    char *q = mremap(p, big, 2 * big, MREMAP_MAYMOVE);
    point("mremap of what is two mappings moves all or nothing",
          right(q == MAP_FAILED ? p : q, 0, big, 91));
    (void)munmap(q == MAP_FAILED ? p : q, q == MAP_FAILED ? big : 2 * big);
    (void)munmap(around, big);
}

static void grows(void)
{
    uint64_t before = held();
    const size_t less = 3 * UNIT - 2 * PAGE, big = 256u << 20, bigger = big + big / 4;
    char *p = map(less);
    fill(p, less, 7);
    char *q = mremap(p, less, 3 * UNIT, 0);
    point("mremap grows in its last unit",
          q == p && right(p, 0, less, 7) && zero(p, less, 3 * UNIT));
    point("and goes whole", munmap(p, 3 * UNIT) == 0 && held() == before);
    p = map(big);
    p[0] = p[big / 2] = p[big - 1] = 1;
    q = mremap(p, big, bigger, MREMAP_MAYMOVE);
    point("what was never touched takes no memory when it grows",
          q != MAP_FAILED && resident(q, bigger) < 300 && q[0] + q[big / 2] + q[big - 1] == 3);
    q = mremap(q, bigger, big + big, MREMAP_MAYMOVE);
    point("it grows again", q != MAP_FAILED && q[0] + q[big / 2] + q[big - 1] == 3);
    point("and is the kernel's", munmap(q, big + big) == 0 && held() == before);
}

/* Lengths that do not fit into what the one before has left behind. */
static void alternate(void)
{
    enum { N = 12, ROUNDS = 60 };
    const uint64_t before = held(), committed = stat_of("stats.heap.committed");
    char *p[N] = {0}, *last[N] = {0};
    size_t len = 0, last_len = 0;
    bool ok = true;
    for (unsigned i = 0; i < ROUNDS; i++) {
        len = (64 + (size_t)i * 61 % 200) * UNIT;
        for (unsigned j = 0; j < N; j++) {
            p[j] = map(len);
            ok &= p[j] != MAP_FAILED && !p[j][0] && !p[j][len - 1];
            if (last[j])
                ok &= munmap(last[j], last_len) == 0;
        }
        memcpy(last, p, sizeof(last));
        last_len = len;
    }
    for (unsigned j = 0; j < N; j++)
        ok &= munmap(last[j], last_len) == 0;
    point("addresses that lie idle are bounded",
          ok && held() == before && stat_of("stats.heap.committed") < committed + (1ul << 30));
}

/* Other parts of the same block, again and again, and then all of it. */
static void worn(void)
{
    uint64_t lost = stat_of("stats.mapped.lost");
    for (unsigned i = 0; i < 50; i++) {
        char *p = map(LEN);
        (void)munmap(p, UNIT);
        (void)munmap(p, UNIT);
        (void)munmap(p, LEN);
    }
    point("what ends whole is not lost", stat_of("stats.mapped.lost") == lost);
    char *p = map(LEN);
    (void)munmap(p, LEN + (1ul << 30));
    char *q[20];
    bool ok = true;
    for (unsigned i = 0; i < 20; i++) {
        q[i] = malloc(16u << 20);
        ok &= q[i] != NULL;
        if (ok)
            q[i][0] = q[i][(16u << 20) - 1] = 1;
    }
    for (unsigned i = 0; i < 20; i++)
        free(q[i]);
    point("munmap beyond the heap's end in use leaves the rest to it", ok);
}

static void remaps(void)
{
    uint64_t before = held();
    char *p = map(LEN);
    fill(p, LEN, 6);
    (void)go_cold(p, LEN);
    char *q = mremap(p, LEN, 3 * LEN, MREMAP_MAYMOVE);
    point("mremap grows", q != MAP_FAILED && right(q, 0, LEN, 6) && zero(q, LEN, 3 * LEN));
    q = mremap(q, 3 * LEN, 9 * LEN, MREMAP_MAYMOVE);
    point("and grows", q != MAP_FAILED && right(q, 0, LEN, 6) && zero(q, LEN, 9 * LEN));
    point("its old places go back", munmap(q, 9 * LEN) == 0 && held() == before);
    p = map(LEN);
    fill(p, LEN, 7);
    (void)go_cold(p, LEN);
    q = mremap(p, LEN, UNIT, 0);
    point("mremap shrinks", q == p && right(p, 0, UNIT, 7) && held() == before + WEIGHT);
    point("munmap of what is left", munmap(p, UNIT) == 0 && held() == before);
    p = map(LEN);
    fill(p, LEN, 8);
    q = mremap(p, LEN, LEN, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
    point("mremap that leaves its place",
          q != MAP_FAILED && q != p && right(q, 0, LEN, 8) && zero(p, 0, LEN));
    (void)munmap(q, LEN);
    (void)munmap(p, LEN);
    point("goes in two calls", held() == before);
}

static void overlaid(void)
{
    char name[] = "/tmp/maps-XXXXXX";
    int fd = mkstemp(name);
    (void)unlink(name);
    char *p = map(LEN);
    fill(p, LEN, 9);
    (void)go_cold(p, LEN);
    if (fd < 0 || ftruncate(fd, (off_t)UNIT) < 0) {
        skip("a file over it", "no scratch file");
        return;
    }
    char *m = mmap(p + UNIT, UNIT, READ_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
    memset(m, 'x', UNIT);
    point("a file over it", m == p + UNIT && right(p, 0, UNIT, 9) && right(p, 2 * UNIT, LEN, 9));
    uint64_t before = held();
    point("munmap", munmap(p, LEN) == 0 && held() == before);
    char *q[40];
    for (unsigned i = 0; i < 40; i++)
        fill(q[i] = map(LEN), LEN, 10 + i);
    char c = 0;
    point("the file keeps its bytes", pread(fd, &c, 1, 5) == 1 && c == 'x');
    bool fine = true;
    for (unsigned i = 0; i < 40; i++) {
        fine &= right(q[i], 0, LEN, 10 + i);
        (void)munmap(q[i], LEN);
    }
    point("and nobody else's", fine);
    (void)close(fd);
}

/* Two halves of a ring, where the program has found room for them. */
static void ring(void)
{
    char name[] = "/tmp/maps-XXXXXX";
    int fd = mkstemp(name);
    (void)unlink(name);
    if (fd < 0 || ftruncate(fd, (off_t)(2 * UNIT)) < 0) {
        skip("a ring", "no scratch file");
        return;
    }
    char *p = map(4 * UNIT);
    fill(p, 4 * UNIT, 30);
    (void)go_cold(p, 4 * UNIT);
    (void)munmap(p, 4 * UNIT);
    char *a = mmap(p, 2 * UNIT, READ_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
    char *b = mmap(p + 2 * UNIT, 2 * UNIT, READ_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
    fill(a, 2 * UNIT, 31);
    void *m[64];
    for (unsigned i = 0; i < 64; i++) {
        m[i] = malloc((i % 8 + 1) * UNIT);
        memset(m[i], 'y', UNIT);
    }
    char *q[16];
    for (unsigned i = 0; i < 16; i++)
        fill(q[i] = map(4 * UNIT), 4 * UNIT, 32);
    (void)ctl("pager.evict", NULL, NULL, NULL, 0);
    point("a ring's place is the program's", a == p && right(b, 0, 2 * UNIT, 31));
    for (unsigned i = 0; i < 16; i++)
        (void)munmap(q[i], 4 * UNIT);
    for (unsigned i = 0; i < 64; i++)
        free(m[i]);
    (void)munmap(a, 4 * UNIT);
    (void)close(fd);
}

/* What the next owner would feel: guards, keys, locks, advice. */
static void traces(void)
{
    for (unsigned i = 0; i < 6; i++) {
        char *p = map(LEN);
        fill(p, LEN, 40 + i);
        (void)go_cold(p, LEN);
        switch (i) {
        case 0: (void)madvise(p + UNIT, PAGE, 102); break; /* MADV_GUARD_INSTALL */
        case 1: (void)madvise(p, LEN, MADV_WIPEONFORK); break;
        case 2: (void)madvise(p, LEN, MADV_DONTFORK); break;
        case 3: (void)mlock(p, LEN); break;
        case 4: {
            int key = pkey_alloc(0, PKEY_DISABLE_WRITE);
            if (key >= 0)
                (void)pkey_mprotect(p, LEN, READ_WRITE, key);
            else
                skip("a key that stays behind", "this machine has no protection keys");
            break;
        }
        default: (void)mprotect(p + PAGE, PAGE, PROT_NONE); break;
        }
        (void)munmap(p, LEN);
    }
    bool ok = true;
    char *q[12];
    for (unsigned i = 0; i < 12; i++) {
        q[i] = map(LEN);
        ok &= zero(q[i], 0, LEN);
        fill(q[i], LEN, 50 + i);
        ok &= go_cold(q[i], LEN);
    }
    for (unsigned i = 0; i < 12; i++) {
        ok &= right(q[i], 0, LEN, 50 + i);
        (void)munmap(q[i], LEN);
    }
    point("whoever comes next feels nothing", ok);
    (void)ctl("pager.thaw", NULL, NULL, NULL, 0);
    uint64_t stored = stat_of("stats.pager.stored");
    char *p = map(64 * UNIT);
    fill(p, 64 * UNIT, 70);
    (void)go_cold(p, 64 * UNIT);
    (void)mmap(p, PAGE, PROT_NONE, PRIVATE | MAP_FIXED, -1, 0);
    (void)munmap(p, 64 * UNIT);
    (void)ctl("pager.thaw", NULL, NULL, NULL, 0);
    point("nothing is stored of what is lost",
          torture() || stat_of("stats.pager.stored") <= stored);
    fill(p, 64 * UNIT, 71); /* not the program's any more, but nobody else's */
    (void)ctl("pager.evict", NULL, NULL, NULL, 0);
    point("and it is left alone", right(p, 0, 64 * UNIT, 71));
}

static void locked(void)
{
    char *p = map(LEN);
    if (mlockall(MCL_CURRENT | MCL_FUTURE) < 0) {
        skip("locked memory", "mlockall is refused");
        (void)munmap(p, LEN);
        return;
    }
    uint64_t before = held();
    char *q = map(LEN);
    point("locked memory is the kernel's", q != MAP_FAILED && held() == before);
    (void)munmap(q, LEN);
    (void)munmap(p, LEN);
    (void)munlockall();
    before = held();
    p = map(LEN);
    point("until it is over", held() == before + WEIGHT && zero(p, 0, LEN));
    fill(p, LEN, 72);
    point("and goes cold", go_cold(p, LEN) && right(p, 0, LEN, 72));
    (void)munmap(p, LEN);
}

struct mapped {
    char *p;
    uint64_t id;
};

static bool child_sees(void *arg)
{
    const struct mapped *m = arg;
    bool ok = right(m->p, 0, LEN, m->id);
    fill(m->p, LEN, m->id + 1);
    (void)ctl("pager.evict", NULL, NULL, NULL, 0);
    ok &= right(m->p, 0, LEN, m->id + 1) && munmap(m->p, LEN) == 0;
    char *q = map(LEN);
    return ok && zero(q, 0, LEN);
}

static void forks(void)
{
    struct mapped m = {map(LEN), 60};
    fill(m.p, LEN, m.id);
    (void)go_cold(m.p, LEN);
    point("a child has its own", in_child(child_sees, &m) && right(m.p, 0, LEN, m.id));
    int fd[2];
    if (pipe(fd) == 0) {
        (void)go_cold(m.p, LEN);
        static char got[UNIT];
        bool ok = true;
        for (size_t at = 0; at + UNIT <= LEN; at += UNIT) {
            ok &= write(fd[1], m.p + at, UNIT) == (ssize_t)UNIT;
            for (size_t n = 0; ok && n < UNIT;) {
                ssize_t r = read(fd[0], got + n, UNIT - n);
                ok &= r > 0;
                n += r > 0 ? (size_t)r : 0;
            }
            ok &= memcmp(got, m.p + at, UNIT) == 0;
        }
        point("the kernel reads it", ok);
        (void)close(fd[0]);
        (void)close(fd[1]);
    }
    (void)munmap(m.p, LEN);
}

static bool is_free_refused(void *arg)
{
    (void)fclose(stderr);
    free(arg);
    return true;
}

static void misused(void)
{
    char *p = map(LEN);
    point("free of a mapping ends the process", !in_child(is_free_refused, p));
    (void)munmap(p, LEN);
}

#define THREADS 3
#define ROUNDS 150

static void *churn(void *arg)
{
    uint64_t x = (uintptr_t)arg * 2654435761u + 1;
    char *p[12] = {0};
    size_t len[12] = {0};
    bool ok = true;
    for (unsigned i = 0; ok && i < ROUNDS; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        unsigned k = x % 12;
        if (p[k]) {
            ok &= right(p[k], 0, len[k], (uintptr_t)arg * 100 + k) && munmap(p[k], len[k]) == 0;
            p[k] = NULL;
            continue;
        }
        len[k] = 32 * PAGE + (x >> 20) % 200 * PAGE;
        p[k] = map(len[k]);
        ok &= zero(p[k], 0, len[k]);
        fill(p[k], len[k], (uintptr_t)arg * 100 + k);
        free(malloc(len[k] + 1)); /* the same runs, from the other side */
    }
    for (unsigned k = 0; k < 12; k++)
        if (p[k])
            (void)munmap(p[k], len[k]);
    return ok ? arg : NULL;
}

static void threads(void)
{
    pthread_t t[THREADS];
    bool ok = true;
    uint64_t before = held();
    for (uintptr_t i = 0; i < THREADS; i++)
        ok &= pthread_create(&t[i], NULL, churn, (void *)(i + 1)) == 0;
    for (unsigned i = 0; i < 20; i++) {
        (void)ctl("pager.evict", NULL, NULL, NULL, 0);
        sleep_ms(5);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        void *r = NULL;
        ok &= pthread_join(t[i], &r) == 0 && r;
    }
    point("threads map and unmap", ok);
    point("nothing is left of it", held() == before);
}

int main(int argc, char **argv)
{
    if (!begin(argc, argv))
        return 77;
    moves(); /* of fresh memory: first */
    plain();
    hurried();
    others();
    pieces();
    protections();
    remaps();
    worn();
    overlaid();
    ring();
    traces();
    locked();
    forks();
    misused();
    threads();
    grows();
    alternate(); /* these leave idle addresses behind, so that the kernel serves some: last */
    return end();
}
