/* SPDX-License-Identifier: MIT */
/*
 * alloc_memory -- the allocator when the system refuses it memory at call 1, 2, 3 ...: NULL, no
 * harm, and everything as before when the refusals end.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "alloc/alloc.h"
#include "base/conf.h"
#include "os/os.h"
#include "tests/fake/failing.h"
#include "tests/unit/unit.h"

#define BLOCKS 400u
#define HANG_S 60 /* on however busy a machine */
#define REFUSED 2 /* exit status: the allocator could not even begin */

static unsigned char *block[BLOCKS];
static unsigned refused;

static size_t size_of(unsigned i)
{
    static const size_t sizes[] = {8, 24, 100, 1000, 5000, 40000, 200000, 3000000};

    return sizes[i % ZA_ARRAY_LEN(sizes)] + i % 7;
}

static bool holds(const unsigned char *p, size_t size, unsigned char mark)
{
    return p[0] == mark && p[size - 1] == mark && p[size / 2] == mark;
}

static void take(unsigned i)
{
    unsigned char *p = i % 5 ? za_malloc(size_of(i)) : za_calloc(1, size_of(i));

    block[i] = p;
    if (!p) {
        refused++;
        return;
    }
    if (i % 5 == 0)
        CHECK(holds(p, size_of(i), 0));
    memset(p, (int)i, size_of(i));
}

/* A realloc that fails leaves the block as it was. */
static void grow(unsigned i)
{
    size_t size = size_of(i);
    unsigned char *p = block[i] ? za_realloc(block[i], size * 2) : NULL;

    if (!block[i])
        return;
    if (p)
        block[i] = p;
    else
        refused++;
    CHECK(holds(block[i], size, (unsigned char)i));
}

static void give_back(void)
{
    for (unsigned i = 0; i < BLOCKS; i++) {
        if (block[i])
            CHECK(holds(block[i], size_of(i), (unsigned char)i));
        za_free(block[i]);
        block[i] = NULL;
    }
}

static void scenario(void)
{
    if (!za_alloc_init(za_conf.reserve)) {
        failing_disarm();
        CHECK(za_alloc_init(za_conf.reserve)); /* a later attempt may be luckier */
        _exit(REFUSED);
    }
    for (unsigned i = 0; i < BLOCKS; i++)
        take(i);
    for (unsigned i = 0; i < BLOCKS; i += 3)
        grow(i);
    (void)za_memalign(ZA_MIB, 100);
    give_back();
    (void)za_trim();
    za_alloc_check();
    failing_disarm();
    refused = 0;
    for (unsigned i = 0; i < BLOCKS; i++)
        take(i);
    CHECK_EQ(refused, 0);
    give_back();
    za_alloc_check();
}

static int run(enum failing_call call, unsigned k, bool forever)
{
    int status;

    failing_arm(call, k, forever, ENOMEM);
    int pid = fork();
    if (pid == 0) {
        alarm(HANG_S);
        scenario();
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    return status;
}

static void sweep(enum failing_call call)
{
    unsigned bad = 0;

    za_os_init();
    za_conf.compress = false;
    za_conf.reserve = 4 * ZA_GIB;
    failing_start();
    for (int forever = 0; forever <= 1; forever++) {
        unsigned calls = UINT32_MAX;
        for (unsigned k = 1; k <= calls && bad < 4; k += 1 + k / 8) {
            alarm(4 * HANG_S);
            int status = run(call, k, forever);
            calls = failing_calls(call);
            if (status == 0 || (WIFEXITED(status) && WEXITSTATUS(status) == REFUSED))
                continue;
            bad++;
            dprintf(2, "%s: call %u%s failing: status %#x\n", failing_name(call), k,
                    forever ? " and all after it" : "", (unsigned)status);
        }
    }
    CHECK_EQ(bad, 0);
}

UNIT_TEST(reserve)
{
    sweep(FAILING_reserve);
}

UNIT_TEST(commit)
{
    sweep(FAILING_commit);
}

UNIT_TEST(map)
{
    sweep(FAILING_map);
}

UNIT_TEST(purge)
{
    sweep(FAILING_purge);
}

UNIT_TEST(unmap)
{
    sweep(FAILING_unmap);
}
