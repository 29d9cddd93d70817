/* SPDX-License-Identifier: MIT */
/*
 * spawn -- starts a command many times, one after the other, and measures what a start costs.
 *
 * BENCH_PRELOAD, if set, becomes the command's LD_PRELOAD; this program itself runs without.
 *
 * usage: spawn TIMES COMMAND [ARGUMENT...]
 */
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "kit.h"

extern char **environ;

int main(int argc, char **argv)
{
    long times = argc > 2 ? atol(argv[1]) : 0;
    const char *preload = getenv("BENCH_PRELOAD");
    if (times <= 0) {
        fputs("usage: spawn TIMES COMMAND [ARGUMENT...]\n", stderr);
        return 2;
    }
    if (preload && *preload)
        setenv("LD_PRELOAD", preload, 1);
    uint64_t start = bench_now();
    for (long i = 0; i < times; i++) {
        pid_t pid;
        int status;
        if (posix_spawnp(&pid, argv[2], NULL, NULL, argv + 2, environ) != 0 ||
            waitpid(pid, &status, 0) != pid || status != 0) {
            fprintf(stderr, "spawn: %s failed\n", argv[2]);
            return 1;
        }
    }
    bench_say("ns", bench_now() - start);
    struct rusage use;
    if (getrusage(RUSAGE_CHILDREN, &use) == 0)
        bench_say("rss_peak", (uint64_t)use.ru_maxrss);
    return 0;
}
