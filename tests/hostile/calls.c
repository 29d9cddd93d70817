/* SPDX-License-Identifier: MIT */
/*
 * calls -- the program's own calls about memory beyond advise, lock, protect and mapping:
 * populating, paging out, huge pages, merging, placement, seals, its own userfaultfd, advice from
 * outside.
 *
 * Whatever they do to cold heap memory, no byte changes, except where a call says so.
 */
#include "arena.h"

#include <fcntl.h>
#include <linux/mempolicy.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/uio.h>

#define LEN (4 * UNIT)
#define FROM (UNIT + 3 * PAGE)
#define TO (2 * UNIT + 6 * PAGE)
#define HUGE (2ul << 20)

static char *cold(size_t len, uint64_t id)
{
    char *p = block(len, id);
    (void)go_cold(p, len);
    return p;
}

static void evict(void)
{
    (void)ctl("pager.evict", NULL, NULL, NULL, 0);
}

/* ---- advice -------------------------------------------------------------------------------------
 */

struct kind {
    const char *name;
    int advice;
};

/* Each on its own cold part, then on all of it while it is half in and half out. */
static void advice(void)
{
    static const struct kind kinds[] = {
        {"COLD", 20},        {"PAGEOUT", 21},  {"POPULATE_READ", 22}, {"POPULATE_WRITE", 23},
        {"HUGEPAGE", 14},    {"COLLAPSE", 25}, {"NOHUGEPAGE", 15},    {"MERGEABLE", 12},
        {"UNMERGEABLE", 13}, {"WILLNEED", 3},  {"SEQUENTIAL", 2},     {"NORMAL", 0},
    };
    const size_t n = sizeof(kinds) / sizeof(*kinds);
    char *p = cold(n * 2 * UNIT, 1), name[80];
    for (size_t i = 0; i < n; i++) {
        char *q = p + i * 2 * UNIT;
        int r = madvise(q + PAGE, UNIT, kinds[i].advice);
        bool good = r == 0 || errno == EINVAL || errno == EBUSY || errno == EAGAIN;
        snprintf(name, sizeof(name), "%s keeps the bytes", kinds[i].name);
        good = good && right(p, i * 2 * UNIT, (i + 1) * 2 * UNIT, 1);
        if (i % 3 == 0)
            evict();
        (void)madvise(p, n * 2 * UNIT, kinds[i].advice);
        point(name, good && right(p, 0, (i + 1) * 2 * UNIT, 1));
        evict();
    }
    point("all of it, after all advice", right(p, 0, n * 2 * UNIT, 1));
    free(p);
}

/* Two mebibytes that become one page, are taken apart, and so on. */
static void huge(void)
{
    char *p = cold(3 * HUGE, 2);
    bool good = true;
    for (unsigned i = 0; i < 3; i++) {
        (void)madvise(p, 3 * HUGE, 14);
        (void)madvise(p, 3 * HUGE, 25);
        evict();
        good &= right(p, i * UNIT, i * UNIT + UNIT, 2);
        (void)madvise(p, 3 * HUGE, 25); /* half in, half out */
        good &= right(p, 0, 3 * HUGE, 2);
        fill(p, 3 * HUGE, 2);
    }
    (void)madvise(p, 3 * HUGE, 15);
    evict();
    point("huge pages come and go", good && right(p, 0, 3 * HUGE, 2));
    free(p);
}

/* Merging by the kernel needs its daemon, which is the whole machine's: only that it may. */
static void merging(void)
{
    char *p = cold(LEN, 3);
    long r = prctl(67 /* PR_SET_MEMORY_MERGE */, 1, 0, 0, 0);
    fill(p, LEN, 4);
    (void)go_cold(p, 0);
    point("PR_SET_MEMORY_MERGE", right(p, 0, LEN, 4));
    if (r == 0)
        (void)prctl(67, 0, 0, 0, 0);
    point("and its end", right(p, 0, LEN, 4));
    free(p);
}

static bool advises(void *arg)
{
    const struct iovec part = {(char *)arg + FROM, TO - FROM};
    int fd = (int)syscall(SYS_pidfd_open, getppid(), 0);
    bool good = fd >= 0;
    static const int kinds[] = {20, 21, 3, 25};
    for (unsigned i = 0; i < 4; i++)
        good &= syscall(440 /* process_madvise */, fd, &part, 1, kinds[i], 0) >= 0 ||
                errno == EINVAL || errno == EBUSY || errno == EAGAIN;
    return good;
}

static void from_outside(void)
{
    char *p = cold(LEN, 5);
    point("process_madvise from outside", in_child(advises, p) && right(p, 0, LEN, 5));
    free(p);
}

/* ---- placement ----------------------------------------------------------------------------------
 */

static void placement(void)
{
    char *p = cold(LEN, 6);
    unsigned long node = 1;
    int status[4] = {0}, nodes[4] = {0}, mode = -1;
    void *pages[4] = {p + FROM, p + FROM + PAGE, p + 3 * UNIT, p};
    if (syscall(SYS_mbind, p + FROM, TO - FROM, MPOL_BIND, &node, 64, MPOL_MF_MOVE) < 0) {
        skip("mbind", strerror(errno));
        free(p);
        return;
    }
    point("mbind", right(p, 0, 2 * UNIT, 6));
    evict();
    long r = syscall(SYS_move_pages, 0, 4ul, pages, nodes, status, 2 /* MPOL_MF_MOVE */);
    point("move_pages", r >= 0 && right(p, 0, LEN, 6));
    evict();
    bool good = syscall(SYS_migrate_pages, 0, 64ul, &node, &node) >= 0;
    good = good && syscall(SYS_set_mempolicy, MPOL_PREFERRED, &node, 64) == 0;
    good = good && syscall(SYS_get_mempolicy, &mode, NULL, 0, p + FROM, 2 /* MPOL_F_ADDR */) == 0;
    (void)syscall(SYS_set_mempolicy, MPOL_DEFAULT, NULL, 0);
    point("migrate_pages, set_mempolicy, get_mempolicy",
          good && mode == MPOL_BIND && right(p, 0, LEN, 6));
    fill(p, LEN, 7);
    (void)go_cold(p, 0);
    point("placed memory goes on", right(p, 0, LEN, 7));
    free(p);
}

/* What is out is not there for mincore: documented. */
static void looked_at(void)
{
    char *p = cold(LEN, 8);
    bool out = torture() || present(p, LEN) == 0;
    point("mincore sees what is out as absent", out && right(p, 0, LEN, 8));
    int fd = open("/proc/self/pagemap", O_RDONLY);
    uint64_t word = 0;
    bool good = fd >= 0 && pread(fd, &word, 8, (off_t)((uintptr_t)p / PAGE * 8)) == 8;
    point("pagemap sees what is in", good && (torture() || (word >> 63)));
    close(fd);
    free(p);
}

/* ---- seals --------------------------------------------------------------------------------------
 */

/* Sealed memory keeps its bytes, its protection and its place, whatever libzalloc interposes. */
static void sealed(void)
{
    char *p = cold(LEN, 9);
    if (syscall(462 /* mseal */, p + UNIT, 2 * UNIT, 0) < 0) {
        skip("mseal", strerror(errno));
        free(p);
        return;
    }
    point("mseal", right(p, 0, LEN, 9));
    point("sealed memory goes cold", go_cold(p, LEN) && right(p, 0, LEN, 9));
    evict();
    point("munmap of it is refused",
          munmap(p + UNIT, UNIT) < 0 && errno == EPERM && right(p, 0, LEN, 9));
    evict();
    point("mprotect of it is refused",
          mprotect(p + UNIT, UNIT, PROT_NONE) < 0 && errno == EPERM && right(p, 0, LEN, 9));
    evict();
    void *q = mremap(p + UNIT, UNIT, 4 * UNIT, MREMAP_MAYMOVE);
    /* EFAULT where earlier advice has left several mappings. */
    point("mremap of it is refused",
          q == MAP_FAILED && (errno == EPERM || errno == EFAULT) && right(p, 0, LEN, 9));
    q = mremap(p + UNIT, 2 * UNIT, PAGE, 0);
    point("shrinking it is refused", q == MAP_FAILED && errno == EPERM && right(p, 0, LEN, 9));
    q = mmap(p + UNIT, UNIT, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    point("mmap over it is refused", q == MAP_FAILED && errno == EPERM && right(p, 0, LEN, 9));
    free(p);
    bool fine = true;
    for (unsigned i = 0; i < 20; i++) {
        p = block(LEN, 10 + i);
        evict();
        fine &= right(p, 0, LEN, 10 + i);
        free(p);
    }
    point("freed, it is used again", fine);
    /* A large block that grows is moved by its page tables, where they may be moved. */
    p = block(LEN, 30);
    (void)syscall(462, p, LEN, 0);
    (void)go_cold(p, 0);
    char *wall = block(LEN, 31);
    p = realloc(p, 64 * UNIT);
    point("a sealed block grows", p && right(p, 0, LEN, 30) && right(wall, 0, LEN, 31));
    free(p);
    free(wall);
}

/* ---- userfaultfd of the program's own -----------------------------------------------------------
 */

struct server {
    int fd;
    char *source;
    unsigned served;
};

/* Serves three faults, from a cold page of the heap. */
static void *serve(void *arg)
{
    struct server *s = arg;
    struct uffd_msg m;
    while (s->served < 3 && read(s->fd, &m, sizeof(m)) == (ssize_t)sizeof(m)) {
        struct uffdio_copy c = {
            .dst = m.arg.pagefault.address & ~(PAGE - 1), .src = (uintptr_t)s->source, .len = PAGE};
        evict();
        if (ioctl(s->fd, UFFDIO_COPY, &c) < 0)
            break;
        s->served++;
    }
    return NULL;
}

static int open_userfaultfd(void)
{
    struct uffdio_api api = {.api = UFFD_API};
    int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
    if (fd >= 0 && ioctl(fd, UFFDIO_API, &api) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static void own_faults(void)
{
    struct server s = {open_userfaultfd(), cold(LEN, 40), 0};
    pthread_t t;
    if (s.fd < 0) {
        skip("a userfaultfd of the program's own", strerror(errno));
        free(s.source);
        return;
    }
    char *p = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct uffdio_register r = {{(uintptr_t)p, 3 * PAGE}, UFFDIO_REGISTER_MODE_MISSING, 0};
    bool good = ioctl(s.fd, UFFDIO_REGISTER, &r) == 0;
    pthread_create(&t, NULL, serve, &s);
    for (unsigned i = 0; i < 3 && good; i++)
        good = right(p + i * PAGE, 0, PAGE, 40);
    pthread_join(t, NULL);
    point("a userfaultfd of the program's own", good && right(s.source, 0, LEN, 40));
    munmap(p, 3 * PAGE);
    /* Heap memory has one master: whoever came first. */
    (void)go_cold(s.source, 0);
    r.range = (struct uffdio_range){(uintptr_t)s.source, LEN};
    int refused = ioctl(s.fd, UFFDIO_REGISTER, &r);
    point("not for heap memory in use by us",
          refused < 0 && errno == EBUSY && right(s.source, 0, LEN, 40));
    close(s.fd);
    free(s.source);
}

int main(int argc, char **argv)
{
    if (!begin(argc, argv))
        return 77;
    advice();
    huge();
    merging();
    from_outside();
    placement();
    looked_at();
    own_faults();
    sealed(); /* leaves sealed memory behind: last */
    return end();
}
