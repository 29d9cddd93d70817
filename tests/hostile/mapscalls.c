/* SPDX-License-Identifier: MIT */
/*
 * mapscalls -- `mmap:true`: what other calls promise of a mapping holds for one that the heap serves:
 * mremap takes along what was done to it, and leaves alone what it was not asked for.
 */
#include "hostile.h"

#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/shm.h>

#define LEN (16 * UNIT)
#define BIG (256ul << 20)
#define READ_WRITE (PROT_READ | PROT_WRITE)
#define PRIVATE (MAP_PRIVATE | MAP_ANONYMOUS)
#define DONTUNMAP 4
#define GUARD_INSTALL 102

static char *map(size_t len)
{
    return mmap(NULL, len, READ_WRITE, PRIVATE, -1, 0);
}

/* Full of known bytes, and cold. */
static char *cold(size_t len, uint64_t id)
{
    char *p = map(len);
    fill(p, len, id);
    (void)go_cold(p, len);
    return p;
}

static bool readable(const char *p)
{
    int fd[2];
    if (pipe(fd) < 0)
        return false;
    bool ok = write(fd[1], p, 1) == 1;
    (void)close(fd[0]);
    (void)close(fd[1]);
    return ok;
}

/* Is there `lo` among the flags of its mapping? */
static bool is_locked(const char *p)
{
    char line[512];
    bool in = false, found = false;
    FILE *f = fopen("/proc/self/smaps", "r");
    while (f && !found && fgets(line, sizeof(line), f)) {
        unsigned long from, to;
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
            in = (uintptr_t)p >= from && (uintptr_t)p < to;
        found = in && strncmp(line, "VmFlags", 7) == 0 && strstr(line, " lo");
    }
    if (f)
        (void)fclose(f);
    return found;
}

/* Both from beyond what the heap has used until then: what is free in there is locked with the rest. */
static bool new_is_absent(void)
{
    char *p = map(BIG), *q = malloc(BIG);
    return p != MAP_FAILED && q && present(p, BIG) + present(q, BIG) < BIG / PAGE / 8;
}

static bool after_current(void *unused)
{
    (void)unused;
    return mlockall(MCL_CURRENT) == 0 && new_is_absent();
}

static bool after_both(void *unused)
{
    (void)unused;
    return mlockall(MCL_FUTURE) == 0 && mlockall(MCL_CURRENT) == 0 && new_is_absent();
}

static bool after_on_fault(void *unused)
{
    (void)unused;
    return mlockall(MCL_FUTURE | MCL_ONFAULT) == 0 && new_is_absent();
}

static void locks_of_all(void)
{
    if (mlockall(MCL_CURRENT) < 0) {
        skip("mlockall", "is refused");
        return;
    }
    (void)munlockall();
    point("MCL_CURRENT does not lock what comes later", in_child(after_current, NULL));
    point("MCL_FUTURE ends with the next call", in_child(after_both, NULL));
    point("MCL_ONFAULT waits for the first touch", in_child(after_on_fault, NULL));
}

/* A thing that can be done to a mapping, in one way or the other. */
struct deed {
    const char *name;
    int advice, prot;
    bool lock;
};

static const struct deed deeds[] = {
    {"huge pages: mremap grows, and again", MADV_HUGEPAGE, READ_WRITE, false},
    {"no dump: mremap grows, and again", MADV_DONTDUMP, READ_WRITE, false},
    {"sequential: mremap grows, and again", MADV_SEQUENTIAL, READ_WRITE, false},
    {"no child: mremap grows, and again", MADV_DONTFORK, READ_WRITE, false},
    {"locked: mremap grows, and again", MADV_NORMAL, READ_WRITE, true},
    {"read only: mremap grows, and again", MADV_NORMAL, PROT_READ, false},
};

static bool do_to(char *p, size_t len, const struct deed *d)
{
    (void)madvise(p, len, d->advice); /* no kernel knows all of these */
    return mprotect(p, len, d->prot) == 0 && (!d->lock || mlock(p, len) == 0);
}

static bool grows(const struct deed *d)
{
    size_t len = LEN;
    char *p = cold(len, 1);
    bool ok = do_to(p, len, d);
    for (unsigned i = 0; ok && i < 3; i++) {
        char *q = mremap(p, len, 2 * len, MREMAP_MAYMOVE);
        if (q == MAP_FAILED)
            return munmap(p, len) != 0;
        ok = right(q, 0, LEN, 1) && zero(q, LEN, 2 * len);
        p = q;
        len *= 2;
    }
    ok &= !d->lock || (is_locked(p) && is_locked(p + len - PAGE));
    return munmap(p, len) == 0 && ok;
}

static void all_grow(void)
{
    for (size_t i = 0; i < sizeof(deeds) / sizeof(*deeds); i++)
        point(deeds[i].name, grows(&deeds[i]));
    char *p = cold(LEN, 2), *to = map(4 * LEN);
    (void)mprotect(p, LEN, PROT_NONE);
    char *q = mremap(p, LEN, 2 * LEN, MREMAP_MAYMOVE | MREMAP_FIXED, to);
    point("to a place that is named, too", q == to && !readable(q) && !readable(q + LEN) &&
                                               mprotect(q, 2 * LEN, READ_WRITE) == 0 &&
                                               right(q, 0, LEN, 2) && zero(q, LEN, 4 * LEN));
    point("and both go", munmap(to, 4 * LEN) == 0 && munmap(p, LEN) == 0);
}

static bool grows_whole(char *p, size_t len)
{
    fill(p, len, 16);
    bool ok = mprotect(p, len, PROT_READ) == 0;
    char *q = mremap(p, len, 2 * len, MREMAP_MAYMOVE);
    if (q == MAP_FAILED)
        return munmap(p, len) != 0;
    ok &= right(q, 0, len, 16) && zero(q, len, 2 * len);
    return munmap(q, 2 * len) == 0 && ok;
}

static bool moves_in_part(char *p, size_t len)
{
    const size_t from = UNIT, part = len - 2 * UNIT;
    fill(p, len, 17);
    char *to = mmap(NULL, part, PROT_NONE, PRIVATE, -1, 0);
    bool ok = mremap(p + from, part, part, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to;
    ok = ok && right(to - from, from, from + part, 17);
    ok &= right(p, 0, from, 17) && right(p, from + part, len, 17);
    return munmap(to, part) == 0 && ok;
}

/* Where one half is registered with the pager already, and the other is not: somewhere among so many. */
static void borders(void)
{
    enum { N = 10 };
    const size_t len = 96 * UNIT;
    bool grown = true, moved = true;
    char *p[N];
    for (unsigned i = 0; i < N; i++) {
        p[i] = map(len);
        grown &= grows_whole(map(len), len);
        moved &= moves_in_part(p[i], len);
        (void)ctl("pager.evict", NULL, NULL, NULL, 0);
    }
    for (unsigned i = 0; i < N; i++)
        (void)munmap(p[i], len);
    point("mremap grows what the pager has divided", grown);
    point("and moves a part of it", moved);
}

static bool drop_leave_to_lock(void)
{
    const struct rlimit none = {LEN, LEN};
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2];
    if (setrlimit(RLIMIT_MEMLOCK, &none) < 0 || syscall(SYS_capget, &head, data) < 0)
        return false;
    data[0].effective &= ~(1u << CAP_IPC_LOCK);
    return syscall(SYS_capset, &head, data) == 0;
}

static bool stays_when_refused(void *unused)
{
    (void)unused;
    if (!drop_leave_to_lock())
        return true;
    char *p = cold(LEN, 3);
    bool ok = mlock(p, LEN) == 0 && mprotect(p, LEN, PROT_READ) == 0;
    errno = 0;
    ok = ok && mremap(p, LEN, 2 * LEN, MREMAP_MAYMOVE) == MAP_FAILED && errno == EAGAIN;
    ok = ok && right(p, 0, LEN, 3) && is_locked(p) && munlock(p, LEN) == 0;
    ok = ok && ctl("pager.evict", NULL, NULL, NULL, 0) == 0 && right(p, 0, LEN, 3);
    return ok && munmap(p, LEN) == 0;
}

static void protections(void)
{
    char *p = cold(LEN, 4);
    (void)mprotect(p, LEN, PROT_NONE);
    char *q = mremap(p, LEN, 2 * LEN, MREMAP_MAYMOVE);
    point("what may not be read grows by that",
          q != MAP_FAILED && !readable(q) && !readable(q + LEN + PAGE));
    (void)munmap(q, 2 * LEN);
    p = cold(LEN, 5);
    (void)mprotect(p, LEN, PROT_NONE);
    q = mremap(p, LEN, LEN, MREMAP_MAYMOVE | DONTUNMAP, NULL);
    point("and so is the place that it leaves", q != MAP_FAILED && !readable(p) && !readable(q));
    point("which is empty", mprotect(p, LEN, READ_WRITE) == 0 && zero(p, 0, LEN));
    (void)munmap(p, LEN);
    (void)munmap(q, LEN);
}

static bool all_zeros(void *p)
{
    return zero(p, 0, LEN);
}

static void children(void)
{
    char *p = map(LEN);
    if (madvise(p, LEN, MADV_WIPEONFORK) < 0)
        return;
    char *q = mremap(p, LEN, 2 * LEN, MREMAP_MAYMOVE);
    fill(q, 2 * LEN, 6);
    point("what children shall not see grows by that", in_child(all_zeros, q + LEN));
    (void)munmap(q, 2 * LEN);
    p = map(LEN);
    (void)madvise(p, LEN, MADV_WIPEONFORK);
    q = mremap(p, LEN, LEN, MREMAP_MAYMOVE | DONTUNMAP, NULL);
    fill(p, LEN, 7);
    (void)ctl("pager.evict", NULL, NULL, NULL, 0);
    point("and so does the place that it leaves", in_child(all_zeros, p) && right(p, 0, LEN, 7));
    (void)munmap(p, LEN);
    (void)munmap(q, LEN);
}

static void locks(void)
{
    char *p = cold(LEN, 8), *to = mmap(NULL, LEN, PROT_NONE, PRIVATE, -1, 0);
    if (mlock(p, LEN) < 0) {
        skip("locks", "mlock is refused");
        return;
    }
    char *part = p + LEN / 2, *q = mremap(part, UNIT, UNIT, MREMAP_MAYMOVE | MREMAP_FIXED, to);
    point("a part that moves takes its lock along", q == to && is_locked(q));
    point("and leaves the others' alone", is_locked(p) && is_locked(p + LEN - PAGE));
    (void)munmap(to, LEN);
    (void)munmap(p, LEN);
    p = cold(LEN, 9);
    (void)mlock(p, LEN);
    q = mremap(p, LEN, LEN, MREMAP_MAYMOVE | DONTUNMAP, NULL);
    point("all of it does, too", q != MAP_FAILED && is_locked(q) && !is_locked(p));
    (void)munmap(q, LEN);
    (void)munmap(p, LEN);
}

static bool fails(char *p, size_t len, size_t more, int flags, void *to, int why)
{
    errno = 0;
    return mremap(p, len, more, flags, to) == MAP_FAILED && errno == why;
}

static void refusals(void)
{
    const int fixed = MREMAP_MAYMOVE | MREMAP_FIXED, leave = MREMAP_MAYMOVE | DONTUNMAP;
    char *p = cold(LEN, 10);
    point("DONTUNMAP of another length", fails(p, LEN, 2 * LEN, leave, NULL, EINVAL));
    point("a flag that nobody knows", fails(p, LEN, LEN, MREMAP_MAYMOVE | 8, NULL, EINVAL));
    point("beyond memory", fails(p, LEN, LEN, fixed, (void *)(1ul << 60), EINVAL));
    point("within a page", fails(p, LEN, LEN, fixed, p + 2 * LEN + 16, EINVAL));
    point("nothing has moved", right(p, 0, LEN, 10));
    (void)munmap(p + LEN / 2, PAGE);
    point("over what was unmapped", fails(p, LEN, 2 * LEN, MREMAP_MAYMOVE, NULL, EFAULT));
    (void)munmap(p, LEN);
    p = cold(LEN, 11);
    (void)mremap(p, LEN, LEN / 2, 0);
    point("beyond its end", fails(p, LEN, 2 * LEN, MREMAP_MAYMOVE, NULL, EFAULT));
    (void)munmap(p, LEN);
}

/* The kernel empties what lies before a page that is locked, and fails there. */
static void met_by_locks(void)
{
    const int advice[] = {MADV_DONTNEED, MADV_FREE, GUARD_INSTALL};
    const size_t at = LEN / 2 + 3 * PAGE;
    for (size_t i = 0; i < sizeof(advice) / sizeof(*advice); i++) {
        char *p = cold(LEN, 12);
        if (mlock(p + at, PAGE) < 0)
            break;
        (void)ctl("pager.evict", NULL, NULL, NULL, 0);
        errno = 0;
        bool ok = madvise(p, LEN, advice[i]) == -1 && errno == EINVAL;
        if (advice[i] == MADV_DONTNEED)
            ok &= zero(p, 0, at);
        point("advice that meets a lock empties what is before it, and no more",
              ok && right(p, at, LEN, 12));
        (void)munmap(p, LEN);
    }
}

static bool is_taken(const char *p)
{
    void *at = mmap((void *)(uintptr_t)p, PAGE, PROT_NONE, PRIVATE | MAP_FIXED_NOREPLACE, -1, 0);
    return at == MAP_FAILED && errno == EEXIST;
}

static void segments(void)
{
    int id = shmget(IPC_PRIVATE, LEN, 0600 | IPC_CREAT);
    char *p = cold(2 * LEN, 13), *s = shmat(id, p, SHM_REMAP);
    if (s != p) {
        skip("segments", "shmat is refused");
        return;
    }
    fill(s, LEN, 14);
    point("a segment over it", right(p, LEN, 2 * LEN, 13));
    (void)munmap(p, 2 * LEN);
    char *next[8];
    bool ok = true;
    for (unsigned i = 0; i < 8; i++) {
        next[i] = map(2 * LEN);
        ok &= zero(next[i], 0, 2 * LEN);
        fill(next[i], 2 * LEN, 15);
    }
    s = shmat(id, NULL, 0);
    point("keeps its bytes, and shows them to nobody", ok && right(s, 0, LEN, 14));
    (void)shmdt(s);
    s = shmat(id, next[0] + UNIT, SHM_REMAP);
    ok = shmdt(s) == 0 && is_taken(s) && is_taken(s + LEN - PAGE);
    point("leaves no hole behind", ok && right(next[0], UNIT + LEN, 2 * LEN, 15));
    (void)shmctl(id, IPC_RMID, NULL);
    for (unsigned i = 0; i < 8; i++)
        (void)munmap(next[i], 2 * LEN);
}

int main(int argc, char **argv)
{
    if (!begin(argc, argv))
        return 77;
    all_grow();
    point("one that may not grow stays as it was", in_child(stays_when_refused, NULL));
    borders();
    protections();
    children();
    locks();
    refusals();
    met_by_locks();
    segments();
    locks_of_all();
    return end();
}
