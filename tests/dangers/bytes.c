/* SPDX-License-Identifier: MIT */
/*
 * bytes -- memory damaged behind the library's back: the process is stopped, wrong bytes are never
 * handed out (P1).
 *
 * /proc/self/mem shows everything that is present and nothing that is stored, and disturbs nobody.
 */
#include "dangers.h"

#include <fcntl.h>

#define LEN (4 * UNIT)
#define MARK 64
#define WINDOW (1u << 16)

static char window[WINDOW + MARK];

/* Bytes that no compressor can shorten, and that stand nowhere in this form but in the block. */
static void make_mark(unsigned char mark[MARK])
{
    uint64_t x = 88172645463325252u;
    for (unsigned i = 0; i < MARK; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        mark[i] = (unsigned char)(x >> 32);
    }
}

static char *marked_block(void)
{
    char *p = block(LEN, 1);
    for (size_t i = 0; i < LEN; i += PAGE)
        make_mark((unsigned char *)p + i + 1024);
    return p;
}

static bool still_right(const char *p)
{
    unsigned char mark[MARK];
    make_mark(mark);
    for (size_t i = 0; i < LEN; i += PAGE)
        if (!right(p, i, i + 1024, 1) || memcmp(p + i + 1024, mark, MARK) != 0 ||
            !right(p, i + 2048, i + PAGE, 1))
            return false;
    return true;
}

static uintptr_t search(int mem, uintptr_t from, uintptr_t to, const unsigned char mark[MARK])
{
    for (uintptr_t at = from; at < to; at += PAGE) {
        size_t want = to - at < PAGE + MARK ? PAGE : PAGE + MARK;
        if (pread(mem, window, want, (off_t)at) < (ssize_t)PAGE)
            continue;
        char *hit = memmem(window, want, mark, MARK);
        if (hit)
            return at + (uintptr_t)(hit - window);
    }
    return 0;
}

/* Where the mark stands outside of [p, p + LEN), this program's own data and its stack. */
static uintptr_t find_mark(int mem, const char *p)
{
    unsigned char mark[MARK];
    char line[512];
    uintptr_t hit = 0, from, to, here = (uintptr_t)mark;
    FILE *maps = fopen("/proc/self/maps", "r");
    make_mark(mark);
    while (maps && !hit && fgets(line, sizeof(line), maps)) {
        if (sscanf(line, "%lx-%lx rw-p", &from, &to) != 2 || !strstr(line, " rw-p ") ||
            (from <= here && here < to) || (from <= (uintptr_t)window && (uintptr_t)window < to))
            continue;
        if (from <= (uintptr_t)p && (uintptr_t)p < to)
            from = (uintptr_t)p + LEN;
        hit = search(mem, from, to, mark);
    }
    if (maps)
        fclose(maps);
    return hit;
}

/* In a child; its status: 0 nothing was wrong, 1 wrong bytes were handed out, 3 no damage done. */
static void change_a_blob(void)
{
    char *p = marked_block(), byte;
    evict();
    int mem = open("/proc/self/mem", O_RDWR);
    uintptr_t at = find_mark(mem, p);
    if (!at || pread(mem, &byte, 1, (off_t)at) != 1)
        _exit(3);
    byte ^= 0x40;
    if (pwrite(mem, &byte, 1, (off_t)at) != 1)
        _exit(3);
    _exit(still_right(p) ? 0 : 1);
}

static void damaged_blob(void)
{
    int status = status_of(change_a_blob);
    point("wrong bytes are not handed out", status == 0 || aborted(status));
    point("a damaged blob ends the process", aborted(status));
}

static void empty_the_mirror(void)
{
    char *p = marked_block();
    if (!wait_for_limbo(p, LEN))
        _exit(3);
    int mem = open("/proc/self/mem", O_RDWR);
    uintptr_t at = find_mark(mem, p) & ~(PAGE - 1);
    if (!at || syscall(SYS_madvise, at, PAGE, MADV_DONTNEED) != 0)
        _exit(3);
    _exit(still_right(p) ? 0 : 1);
}

static void lost_limbo(void)
{
    int status = status_of(empty_the_mirror);
    point("zeros are not handed out", status == 0 || aborted(status));
    point("a page lost from limbo ends the process", aborted(status));
}

static const struct danger dangers[] = {{"blob", damaged_blob}, {"limbo", lost_limbo}};

int main(int argc, char **argv)
{
    return CHOOSE(argc, argv, dangers);
}
