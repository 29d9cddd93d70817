/* SPDX-License-Identifier: MIT */
/*
 * file -- plain files by raw system calls: a whole buffer out, one environment variable in.
 *
 * Locks: none.  May sleep: in the system calls.  May fault: no.  Allocates: nothing.
 */
#include "preload/file.h"

#include <errno.h>
#include <fcntl.h>

#include "os/sys.h"

int za_file_write(int fd, const char *s, size_t len)
{
    while (len > 0) {
        long n = za_sys3(SYS_write, fd, s, len);
        if (n == -EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? (int)n : -EIO;
        s += n;
        len -= (size_t)n;
    }
    return 0;
}

int za_file_replace(const char *path, const char *s, size_t len)
{
    int flags = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC;
    long fd = za_sys4(SYS_openat, AT_FDCWD, path, flags, 0644);
    if (fd < 0)
        return (int)fd;
    int rc = za_file_write((int)fd, s, len);
    (void)za_sys1(SYS_close, fd);
    return rc;
}

/*
 * Reads "A=1\0B=2\0..." byte by byte: at the start of a name,
 * inside a matching one, in its value, or skipping.
 */
struct scan {
    const char *name;
    char *out;
    size_t cap, len, matched;
    enum { MATCHING, VALUE, SKIPPING } state;
};

/* True when the value is complete. */
static bool scan_byte(struct scan *s, char c)
{
    if (c == '\0') {
        if (s->state == VALUE)
            return true;
        s->state = MATCHING;
        s->matched = 0;
    } else if (s->state == VALUE) {
        if (s->len + 1 < s->cap)
            s->out[s->len++] = c;
    } else if (s->state == MATCHING) {
        if (s->name[s->matched] == c)
            s->matched++;
        else
            s->state = c == '=' && s->name[s->matched] == '\0' ? VALUE : SKIPPING;
    }
    return false;
}

long za_file_variable(const char *name, char *out, size_t cap)
{
    struct scan s = {.name = name, .out = out, .cap = cap, .state = MATCHING};
    char buf[1024] = {0};
    long n = 0;
    bool found = false;
    long fd = za_sys4(SYS_openat, AT_FDCWD, "/proc/self/environ", O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return fd;
    while (!found && (n = za_sys3(SYS_read, fd, buf, sizeof(buf))) != 0) {
        if (n == -EINTR)
            continue;
        if (n < 0)
            break;
        for (long i = 0; i < n && !found; i++)
            found = scan_byte(&s, buf[i]);
    }
    (void)za_sys1(SYS_close, fd);
    out[s.len] = '\0';
    return found ? (long)s.len : n < 0 ? n : -ENOENT;
}
