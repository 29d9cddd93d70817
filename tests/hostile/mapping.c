/* SPDX-License-Identifier: MIT */
/* mapping -- munmap, mremap and fixed mmap of cold heap memory: the heap survives, others too. */
#include "hostile.h"

#define LEN (4 * UNIT)
#define FROM (UNIT + 3 * PAGE)
#define TO (2 * UNIT + 6 * PAGE)

static void unmapped(void)
{
    char *p = block(LEN, 1);
    point("goes cold", go_cold(p, LEN));
    int r = munmap(p + FROM, TO - FROM);
    char *m = mmap(p + FROM, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    point("munmap: nobody else gets the addresses", r == 0 && (m < p || m >= p + LEN));
    point("munmap: zeros there, the rest kept",
          zero(p, FROM, TO) && right(p, 0, FROM, 1) && right(p, TO, LEN, 1));
    munmap(m, PAGE);
    free(p);
    p = block(LEN, 2);
    point("munmap: the place is used again", go_cold(p, LEN) && right(p, 0, LEN, 2));
    (void)mprotect(p, LEN, PROT_NONE);
    (void)mlock(p, LEN);
    point("munmap of protected and locked memory", munmap(p, LEN) == 0 && zero(p, 0, LEN));
    fill(p, LEN, 3);
    point("its place is as good as new", go_cold(p, LEN) && right(p, 0, LEN, 3));
    r = munmap(p + 1, PAGE);
    point("misaligned munmap is EINVAL", r < 0 && errno == EINVAL && right(p, 0, LEN, 3));
    free(p);
}

static void moved(void)
{
    char *p = block(LEN, 4);
    point("goes cold", go_cold(p, LEN));
    char *q = mremap(p, LEN, 2 * LEN, MREMAP_MAYMOVE);
    point("mremap: the bytes are at the new place",
          q != MAP_FAILED && right(q, 0, LEN, 4) && zero(q, LEN, 2 * LEN));
    fill(p, LEN, 5);
    point("mremap: the old place is the heap's", go_cold(p, LEN) && right(p, 0, LEN, 5));
    munmap(q, 2 * LEN);
    q = mmap(NULL, LEN, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *to = mremap(p, LEN, LEN, MREMAP_MAYMOVE | MREMAP_FIXED, q);
    point("mremap to a fixed place", to == q && right(to, 0, LEN, 5));
    munmap(q, LEN);
    fill(p, LEN, 6);
    point("goes cold", go_cold(p, LEN));
    to = mremap(p, LEN, UNIT, 0);
    point("mremap shrinks in place", to == p && right(p, 0, UNIT, 6) && zero(p, UNIT, LEN));
    to = mremap(p, LEN, 2 * LEN, 0);
    point("mremap cannot grow in place", to == MAP_FAILED && errno == ENOMEM);
    free(p);
}

static void elsewhere(void)
{
    char *q = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    fill(q, LEN, 7);
    char *to = mremap(q, LEN, 2 * LEN, MREMAP_MAYMOVE);
    point("mremap elsewhere is the kernel's", to != MAP_FAILED && right(to, 0, LEN, 7));
    int r = munmap(to, 2 * LEN);
    point("munmap elsewhere is the kernel's", r == 0 && msync(to, PAGE, MS_ASYNC) < 0);
    r = madvise(to, PAGE, MADV_DONTNEED);
    point("madvise elsewhere: ENOMEM", r < 0 && errno == ENOMEM);
}

/* The program maps its own memory over a part of a block. */
static void mapped_over(void)
{
    char *p = block(LEN, 8);
    point("goes cold", go_cold(p, LEN));
    char *m = mmap(p + UNIT, UNIT, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
                   -1, 0);
    point("fixed mmap over stored pages: zeros", m == p + UNIT && zero(m, 0, UNIT));
    fill(m, UNIT, 9);
    for (unsigned i = 0; i < 3; i++) {
        (void)ctl("pager.evict", NULL, NULL, NULL, 0);
        sleep_ms(20);
    }
    point("fixed mmap: not ours to take out", present(m, UNIT) == UNIT / PAGE);
    point("fixed mmap: bytes", right(m, 0, UNIT, 9) && right(p, 0, UNIT, 8));
    point("fixed mmap: the rest", right(p, 2 * UNIT, LEN, 8));
    char *q = mmap(NULL, UNIT, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    fill(q, UNIT, 10);
    m = mremap(q, UNIT, UNIT, MREMAP_MAYMOVE | MREMAP_FIXED, p + 2 * UNIT);
    for (unsigned i = 0; i < 3; i++) {
        (void)ctl("pager.evict", NULL, NULL, NULL, 0);
        sleep_ms(20);
    }
    point("mremap into the heap", m == p + 2 * UNIT && right(m, 0, UNIT, 10));
    point("mremap into the heap: the rest", right(p, 3 * UNIT, LEN, 8));
    /* Not freed: the allocator would give the program's mappings to somebody else. */
}

int main(int argc, char **argv)
{
    if (!begin(argc, argv))
        return 77;
    mapped_over();
    moved();
    elsewhere();
    unmapped();
    return end();
}
