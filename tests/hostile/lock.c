/* SPDX-License-Identifier: MIT */
/* lock -- locked heap memory: what was out comes back and stays, and unlocking lets it go. */
#include "hostile.h"

#include <sys/resource.h>

#define LEN (4 * UNIT)
#define BIG (512 * UNIT)

static void locked_range(void)
{
    char *p = block(LEN, 1);
    point("goes cold", go_cold(p, LEN));
    int r = mlock(p + UNIT, 2 * UNIT);
    point("mlock: present at once", r == 0 && present(p + UNIT, 2 * UNIT) == 2 * UNIT / PAGE);
    (void)ctl("pager.evict", NULL, NULL, NULL, 0);
    point("mlock: never taken out", present(p + UNIT, 2 * UNIT) == 2 * UNIT / PAGE);
    point("mlock: bytes", right(p, 0, LEN, 1));
    r = munlock(p + UNIT, 2 * UNIT);
    point("munlock: goes cold again", r == 0 && go_cold(p, LEN) && right(p, 0, LEN, 1));
    free(p);
}

static void locked_on_fault(void)
{
    char *p = block(LEN, 2);
    point("goes cold", go_cold(p, LEN));
    int r = mlock2(p, LEN, MLOCK_ONFAULT);
    (void)ctl("pager.evict", NULL, NULL, NULL, 0);
    point("mlock2 on fault: what had been written is present and locked",
          r == 0 && present(p, LEN) == LEN / PAGE && right(p, 0, LEN, 2));
    (void)munlock(p, LEN);
    free(p);
}

/* The kernel refuses to empty locked memory; whoever gets it next must not see what was in it. */
static void locked_and_freed(void)
{
    bool good = true;
    for (unsigned i = 0; i < 4; i++) {
        char *p = malloc(BIG);
        memset(p, 0xaa, BIG);
        (void)mlock(p, BIG);
        free(p);
        (void)ctl("pager.evict", NULL, NULL, NULL, 0);
        p = calloc(1, BIG);
        good &= p && zero(p, 0, BIG);
        (void)munlock(p, BIG);
        free(p);
    }
    point("freed while locked: calloc gives zeros", good);
}

static size_t resident(void)
{
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    return (size_t)use.ru_maxrss * 1024;
}

static bool child_reads(void *p)
{
    return right(p, 0, LEN, 3);
}

static void whole_process(void)
{
    char *p = block(LEN, 3), *big = block(BIG, 4);
    (void)go_cold(p, LEN);
    (void)go_cold(big, BIG);
    size_t before = resident();
    int r = mlockall(MCL_CURRENT);
    size_t grown = resident() - before;
    point("mlockall: everything present",
          r == 0 && present(p, LEN) == LEN / PAGE && present(big, BIG) == BIG / PAGE);
    point("mlockall: the mirror is not filled", torture() || grown < BIG);
    (void)ctl("pager.evict", NULL, NULL, NULL, 0);
    point("mlockall: nothing leaves",
          present(p, LEN) == LEN / PAGE && present(big, BIG) == BIG / PAGE);
    point("mlockall: bytes", right(p, 0, LEN, 3) && right(big, 0, BIG, 4));
    point("mlockall: a child reads it", in_child(child_reads, p));
    free(big);
    big = block(BIG, 5);
    point("mlockall: free and malloc go on", right(big, 0, BIG, 5));
    r = munlockall();
    point("munlockall: goes cold again", r == 0 && go_cold(p, LEN) && right(p, 0, LEN, 3));
    point("munlockall: a child reads it", in_child(child_reads, p));
    point("munlockall: big block", right(big, 0, BIG, 5));
    free(big);
    free(p);
}

static void future(void)
{
    char *p = block(LEN, 6);
    int r = mlockall(MCL_FUTURE);
    (void)ctl("pager.evict", NULL, NULL, NULL, 0);
    point("MCL_FUTURE: nothing leaves any more", r == 0 && present(p, LEN) == LEN / PAGE);
    char *q = block(BIG, 7);
    (void)ctl("pager.evict", NULL, NULL, NULL, 0);
    point("MCL_FUTURE: nor what is allocated later", present(q, BIG) == BIG / PAGE);
    char *fresh = malloc(4 * BIG); /* more than there was: the heap grows */
    point("MCL_FUTURE: new memory is present before it is touched",
          present(fresh + 3 * BIG, UNIT) == UNIT / PAGE);
    free(fresh);
    r = munlockall();
    point("munlockall: goes cold", r == 0 && go_cold(p, LEN) && go_cold(q, BIG));
    point("munlockall: bytes", right(p, 0, LEN, 6) && right(q, 0, BIG, 7));
    r = mlockall(0);
    point("mlockall(0) is EINVAL", r < 0 && errno == EINVAL);
    point("and locks nothing", go_cold(p, LEN) && right(p, 0, LEN, 6));
    free(p);
    free(q);
}

int main(int argc, char **argv)
{
    if (!begin(argc, argv))
        return 77;
    locked_range();
    locked_on_fault();
    whole_process();
    future();
    locked_and_freed();
    return end();
}
