/* SPDX-License-Identifier: MIT */
/*
 * held -- may anything but the processor be writing to this process's memory?
 *
 * Where a back-end cannot see that a page is held by a device, the process is asked: has the kernel
 * counted pinned pages in it (VmPin: io_uring's registered buffers, RDMA), is a file open for direct
 * I/O, or an io_uring?  "No" means that no transfer can be under way that was begun through any of
 * these.  Not seen are devices whose drivers pin memory without counting it (some cameras, GPUs).
 *
 * Nor may mappings move where RLIMIT_AS leaves no room for them.
 *
 * Our threads have tables of their own: the program's files are those of its first thread.
 *
 * Locks: none.  May sleep: no.  May fault: no.  Allocates: nothing.
 */
#include <errno.h>
#include <fcntl.h>

#include "os/private.h"
#include "os/sys.h"

#define FILES "/proc/self/fd"
#define INFOS "/proc/self/fdinfo"

#define SPACE (64 * ZA_MIB)

struct entry { /* linux_dirent64 */
    uint64_t ino;
    int64_t off;
    uint16_t len;
    uint8_t type;
    char name[];
};

/* Where `key` ends in the text; 0: it is not there. */
static size_t find(const char *text, size_t len, const char *key)
{
    for (size_t i = 0; i < len; i++) {
        size_t k = 0;
        while (key[k] && i + k < len && text[i + k] == key[k])
            k++;
        if (!key[k])
            return i + k;
    }
    return 0;
}

static uint64_t number_at(const char *text, size_t len, size_t at, unsigned base)
{
    uint64_t v = 0;
    while (at < len && (text[at] == ' ' || text[at] == '\t'))
        at++;
    for (; at < len && text[at] >= '0' && text[at] <= '9'; at++)
        v = v * base + (uint64_t)(text[at] - '0');
    return v;
}

static long read_file(int dir, const char *name, char *text, size_t cap)
{
    long fd = za_sys4(SYS_openat, dir, name, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return fd;
    long n = za_sys3(SYS_read, fd, text, cap);
    (void)za_sys1(SYS_close, fd);
    return n;
}

/* The limit may have been lowered below what is mapped: then what was unmapped cannot be had back. */
static bool no_space(uint64_t mapped)
{
    uint64_t limit = za_os->address_limit();
    return limit != UINT64_MAX && mapped + SPACE > limit;
}

static int pinned(void)
{
    char text[2048] = {0};
    long n = read_file(AT_FDCWD, "/proc/thread-self/status", text, sizeof(text));
    if (n < 0)
        return (int)n;
    size_t size = find(text, (size_t)n, "\nVmSize:"), pin = find(text, (size_t)n, "\nVmPin:");
    if (!size || !pin)
        return -ENOENT;
    return number_at(text, (size_t)n, pin, 10) != 0 ||
           no_space(number_at(text, (size_t)n, size, 10) * ZA_KIB);
}

static bool is_ring(int files, const char *name)
{
    char to[64] = {0};
    long n = za_sys4(SYS_readlinkat, files, name, to, sizeof(to));
    return n > 0 && find(to, (size_t)n, "[io_uring]");
}

static bool is_direct(int infos, const char *name)
{
    char text[256] = {0};
    long n = read_file(infos, name, text, sizeof(text));
    size_t at = n > 0 ? find(text, (size_t)n, "flags:") : 0;
    return at && (number_at(text, (size_t)n, at, 8) & O_DIRECT);
}

/* A file that was closed since is none. */
static int any_in(int files, int infos)
{
    char buffer[2048] __attribute__((aligned(8))) = {0};
    for (;;) {
        long n = za_sys3(SYS_getdents64, files, buffer, sizeof(buffer));
        if (n <= 0)
            return (int)n;
        for (long at = 0; at < n;) {
            const struct entry *e = (const struct entry *)(const void *)(buffer + at);
            if (e->name[0] != '.' && (is_ring(files, e->name) || is_direct(infos, e->name)))
                return 1;
            at += e->len;
        }
    }
}

static int open_dir(const char *path)
{
    return (int)za_sys4(SYS_openat, AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
}

static int direct(void)
{
    int files = open_dir(FILES);
    if (files < 0)
        return files;
    int infos = open_dir(INFOS), r = infos;
    if (infos >= 0)
        r = any_in(files, infos);
    (void)za_sys1(SYS_close, files);
    if (infos >= 0)
        (void)za_sys1(SYS_close, infos);
    return r;
}

int za_linux_held(void)
{
    if (za_linux_is_dead(ZA_DEAD_CARRY))
        return -EPERM;
    int r = pinned();
    return r == 0 ? direct() : r;
}
