/* SPDX-License-Identifier: MIT */
/*
 * dangers -- what these programs share: the scenarios of a program by name.
 *
 * usage: PROGRAM SCENARIO.  Points and blocks are those of hostile.h.
 */
#ifndef ZA_TESTS_DANGERS_DANGERS_H
#define ZA_TESTS_DANGERS_DANGERS_H

#include "../hostile/hostile.h"

#include <signal.h>

struct danger {
    const char *name;
    void (*run)(void);
};

static inline void evict(void)
{
    (void)ctl("pager.evict", NULL, NULL, NULL, 0);
}

/* The rest of the program in a child: its status as wait tells it. */
static inline int status_of(void (*fn)(void))
{
    int status = -1;
    pid_t pid = fork();
    if (pid == 0) {
        fn();
        _exit(0);
    }
    return pid > 0 && waitpid(pid, &status, 0) == pid ? status : -1;
}

static inline bool aborted(int status)
{
    return status >= 0 && WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

/* In limbo and not yet compressed, by the worker's own clock; else the scenario shows nothing. */
static inline bool wait_for_limbo(const char *p, size_t len)
{
    (void)stat_of("stats.pager.turns"); /* a request: there is a worker now */
    for (unsigned ms = 0; ms < 20000; ms += 2) {
        if (present(p, len) == 0)
            return stat_of("stats.pager.limbo") > 0;
        sleep_ms(2);
    }
    return false;
}

static inline int choose(int argc, char **argv, const struct danger *d, size_t n)
{
    if (argc < 2)
        return 2;
    char *fixed[] = {argv[0], "stored", NULL};
    free(block(UNIT, 99)); /* before there is a heap, there is nothing to take out */
    bool some = begin(2, fixed);
    for (size_t i = 0; i < n; i++) {
        if (strcmp(argv[1], d[i].name) != 0)
            continue;
        if (!some)
            return 77;
        d[i].run();
        return end();
    }
    return 2;
}

#define CHOOSE(argc, argv, table) choose(argc, argv, table, sizeof(table) / sizeof(*(table)))

#endif
