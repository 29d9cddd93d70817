/* SPDX-License-Identifier: MIT */
/*
 * time -- clocks and the futex wait.
 *
 * Locks: none.  May sleep: wait only.  May fault: no.  Allocates: nothing.
 */
#include <errno.h>
#include <linux/futex.h>
#include <time.h>

#include "os/private.h"
#include "os/sys.h"

static uint64_t to_ns(const struct timespec *t)
{
    return (uint64_t)t->tv_sec * ZA_NS_PER_S + (uint64_t)t->tv_nsec;
}

/*
 * The vDSO call behind clock_gettime needs no thread state, so it serves our own threads as well.
 */
uint64_t za_linux_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return to_ns(&t);
}

uint64_t za_linux_thread_cpu(void)
{
    struct timespec t = {0, 0};
    (void)za_sys2(SYS_clock_gettime, CLOCK_THREAD_CPUTIME_ID, &t);
    return to_ns(&t);
}

int za_linux_wait(uint32_t *word, uint32_t seen, uint64_t timeout_ns)
{
    struct timespec t = {(time_t)(timeout_ns / ZA_NS_PER_S), (long)(timeout_ns % ZA_NS_PER_S)};
    struct timespec *limit = timeout_ns == UINT64_MAX ? NULL : &t;
    long r = za_sys4(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, limit);
    return r == -EAGAIN ? 0 : (int)r;
}

void za_linux_wake(uint32_t *word)
{
    (void)za_sys3(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT32_MAX);
}
