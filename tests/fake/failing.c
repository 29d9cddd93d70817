/* SPDX-License-Identifier: MIT */
/*
 * failing -- see failing.h.  Idea: SQLite's tests, which fail call 1, 2, 3 ... until a run passes
 * untouched.
 *
 * Locks: none.  May sleep: as the real call.  May fault: no.  Allocates: one shared mapping.
 */
#define _GNU_SOURCE
#include "tests/fake/failing.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/unit/unit.h"

struct plan { /* shared by all processes of a run; atomics */
    uint32_t call, first, forever, err;
    uint32_t calls[FAILING_MAX];
};

static struct plan *plan;
static uint64_t uncounted, *injected = &uncounted; /* failures, of all programs: FAILING_COUNT */
static struct za_os table;

/* 0, or the -errno this call has to fail with. */
static int hit(enum failing_call call)
{
    uint32_t n = __atomic_add_fetch(&plan->calls[call], 1, __ATOMIC_RELAXED);
    uint32_t first = __atomic_load_n(&plan->first, __ATOMIC_RELAXED);

    if (call != __atomic_load_n(&plan->call, __ATOMIC_RELAXED) || n < first)
        return 0;
    if (n > first && !__atomic_load_n(&plan->forever, __ATOMIC_RELAXED))
        return 0;
    __atomic_add_fetch(injected, 1, __ATOMIC_RELAXED);
    return -(int)__atomic_load_n(&plan->err, __ATOMIC_RELAXED);
}

#define FAILING_X(name, type, params, args) \
    static type do_##name params \
    { \
        int err = hit(FAILING_##name); \
        return err ? err : za_os_linux->name args; \
    }
FAILING_TABLE(FAILING_X)
#undef FAILING_X

/* The file named by FAILING_COUNT holds the sum. */
static void open_count(void)
{
    const char *path = getenv("FAILING_COUNT");
    int fd = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644) : -1;

    if (fd < 0 || ftruncate(fd, sizeof(*injected)) < 0)
        return;
    void *p = mmap(NULL, sizeof(*injected), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(p != MAP_FAILED);
    injected = p;
    close(fd);
}

void failing_start(void)
{
    open_count();
    plan = mmap(NULL, sizeof(*plan), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(plan != MAP_FAILED);
    failing_disarm();
    table = *za_os_linux;
#define FAILING_X(name, type, params, args) table.name = do_##name;
    FAILING_TABLE(FAILING_X)
#undef FAILING_X
    za_os = &table;
}

void failing_arm(enum failing_call call, unsigned k, bool forever, int err)
{
    memset(plan->calls, 0, sizeof(plan->calls));
    plan->first = k;
    plan->forever = forever;
    plan->err = (uint32_t)(err < 0 ? -err : err);
    __atomic_store_n(&plan->call, call, __ATOMIC_RELEASE);
}

void failing_disarm(void)
{
    __atomic_store_n(&plan->call, FAILING_MAX, __ATOMIC_RELEASE);
}

unsigned failing_calls(enum failing_call call)
{
    return __atomic_load_n(&plan->calls[call], __ATOMIC_RELAXED);
}

const char *failing_name(enum failing_call call)
{
#define FAILING_X(name, type, params, args) #name,
    static const char *const names[] = {FAILING_TABLE(FAILING_X)};
#undef FAILING_X
    return names[call];
}
