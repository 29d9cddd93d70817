/* SPDX-License-Identifier: MIT */
/*
 * merge -- the kernel's own sharing of equal pages (KSM): what it may look at, and what it found.
 *
 * Locks: none.  May sleep: mmap_lock.  May fault: no.  Allocates: nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "os/private.h"
#include "os/sys.h"

int za_linux_mergeable(void *p, size_t len, bool on)
{
    return (int)za_sys3(SYS_madvise, p, len, on ? MADV_MERGEABLE : MADV_UNMERGEABLE);
}

/* The number behind `key` at the beginning of a line; negative numbers count as 0. */
static uint64_t number_of(const char *text, const char *key)
{
    size_t len = strlen(key);
    uint64_t v = 0;
    for (const char *line = text; *line; line++) {
        if (strncmp(line, key, len) == 0) {
            for (line += len; *line == ' '; line++)
                ;
            for (; *line >= '0' && *line <= '9'; line++)
                v = v * 10 + (uint64_t)(*line - '0');
            return v;
        }
        line = strchr(line, '\n');
        if (!line)
            break;
    }
    return v;
}

int za_linux_merged(uint64_t *pages, uint64_t *profit)
{
    char text[1024];
    long fd = za_sys4(SYS_openat, AT_FDCWD, "/proc/self/ksm_stat", O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return (int)fd;
    long n = za_sys3(SYS_read, fd, text, sizeof(text) - 1);
    (void)za_sys1(SYS_close, fd);
    if (n < 0)
        return (int)n;
    text[n] = 0;
    *pages = number_of(text, "ksm_merging_pages");
    *profit = number_of(text, "ksm_process_profit");
    return 0;
}
