/* SPDX-License-Identifier: MIT */
/*
 * tier -- the files of the file tier: without a name, read and written at given places.
 *
 * A file never has a name that others see for longer than a moment: O_TMPFILE where the file system
 * can, else a name that is taken back at once. Its directory stays open, so that another file can
 * be had after the program has changed its root (D14).
 *
 * Direct I/O where it works, since what goes to the file is to leave memory, the page cache too.
 * Elsewhere a write ends when it is on the disk, and the cache is told to forget it.
 *
 * A limit on the size of files (RLIMIT_FSIZE) costs a SIGXFSZ, to the thread that wrote: ours block
 * it, and the call fails with EFBIG.
 *
 * Locks: none.  May sleep: in I/O.  May fault: on the buffers given.  Allocates: nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/file.h>
#include <sys/mman.h>

#include "base/fmt.h"
#include "os/private.h"
#include "os/sys.h"

#define BLOCK 4096u
#define NAME_BYTES 64u
#define PATH_BYTES 512u
#define MODE 0600
#define FORGET 4 /* POSIX_FADV_DONTNEED */
#define FLAGS (O_RDWR | O_CLOEXEC | O_NOFOLLOW)

static long open_at(int dir, const char *name, int flags)
{
    return za_sys4(SYS_openat, dir, name, flags, MODE);
}

/* `path` is a directory, or names a file in one. */
int za_linux_tier_dir(const char *path)
{
    char dir[PATH_BYTES];
    struct za_fmt f;
    size_t cut = 0;
    long fd = open_at(AT_FDCWD, path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd != -ENOTDIR && fd != -ENOENT)
        return (int)fd;
    za_fmt_init(&f, dir, sizeof(dir));
    za_fmt_str(&f, path);
    for (size_t i = 0; i < f.len; i++)
        if (dir[i] == '/')
            cut = i + 1;
    dir[cut] = 0;
    return (int)open_at(AT_FDCWD, cut ? dir : ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static long open_named(int dir)
{
    char name[NAME_BYTES];
    struct za_fmt f;
    uint64_t some = 0;
    int r = za_linux_random(&some, sizeof(some));
    if (r < 0)
        return r;
    za_fmt_init(&f, name, sizeof(name));
    za_fmt_str(&f, ".zalloc.");
    za_fmt_u64(&f, (uint64_t)za_linux_pid());
    za_fmt_chr(&f, '.');
    za_fmt_hex(&f, some);
    long fd = open_at(dir, name, FLAGS | O_CREAT | O_EXCL);
    if (fd >= 0)
        (void)za_sys3(SYS_unlinkat, dir, name, 0);
    return fd;
}

/* Opening tells little of what direct I/O wants: a block is written, and dropped again. */
static void go_direct(int fd)
{
    static const char block[BLOCK] __attribute__((aligned(BLOCK)));
    long flags = za_sys2(SYS_fcntl, fd, F_GETFL);
    if (flags < 0 || za_sys3(SYS_fcntl, fd, F_SETFL, flags | O_DIRECT) < 0)
        return;
    if (za_sys4(SYS_pwrite64, fd, block, BLOCK, 0) == -EINVAL)
        (void)za_sys3(SYS_fcntl, fd, F_SETFL, flags);
    (void)za_linux_tier_punch(fd, 0, BLOCK);
}

int za_linux_tier_open(int dir)
{
    long fd = open_at(dir, ".", O_RDWR | O_CLOEXEC | O_TMPFILE | O_EXCL);
    if (fd == -EOPNOTSUPP || fd == -EISDIR || fd == -ENOENT || fd == -EINVAL)
        fd = open_named(dir);
    if (fd >= 0)
        go_direct((int)fd);
    return (int)fd;
}

static bool is_direct(int fd)
{
    long flags = za_sys2(SYS_fcntl, fd, F_GETFL);
    return flags >= 0 && (flags & O_DIRECT);
}

/* All of it, in as many calls as it takes; -EIO: the file ends, or the disk takes no more. */
static int whole(long nr, int fd, char *p, size_t len, uint64_t at)
{
    while (len > 0) {
        long n = za_sys4(nr, fd, p, len, at);
        if (n == -EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? (int)n : -EIO;
        p += n;
        len -= (size_t)n;
        at += (uint64_t)n;
    }
    return 0;
}

/* The space first: what the disk has promised it cannot refuse when the write is over. */
int za_linux_tier_write(int fd, const void *p, size_t len, uint64_t at)
{
    long r = za_sys4(SYS_fallocate, fd, FALLOC_FL_KEEP_SIZE, at, len);
    if (r < 0 && r != -EOPNOTSUPP && r != -ENOSYS)
        return (int)r;
    int w = whole(SYS_pwrite64, fd, (char *)(uintptr_t)p, len, at);
    if (w < 0 || is_direct(fd))
        return w;
    r = za_sys1(SYS_fdatasync, fd);
    (void)za_sys4(SYS_fadvise64, fd, at, len, FORGET);
    return r < 0 ? (int)r : 0;
}

int za_linux_tier_read(int fd, void *p, size_t len, uint64_t at)
{
    int r = whole(SYS_pread64, fd, p, len, at);
    if (r == 0 && !is_direct(fd))
        (void)za_sys4(SYS_fadvise64, fd, at, len, FORGET);
    return r;
}

int za_linux_tier_punch(int fd, uint64_t at, size_t len)
{
    return (int)za_sys4(SYS_fallocate, fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, len);
}

/* A lock belongs to an open file description: the other one has its own, by way of /proc. */
int za_linux_tier_lend(int fd)
{
    char path[NAME_BYTES];
    struct za_fmt f;
    za_fmt_init(&f, path, sizeof(path));
    za_fmt_str(&f, "/proc/thread-self/fd/");
    za_fmt_u64(&f, (uint64_t)fd);
    long other = open_at(AT_FDCWD, path, O_RDONLY | O_CLOEXEC | (is_direct(fd) ? O_DIRECT : 0));
    if (other < 0)
        return (int)other;
    long r = za_sys2(SYS_flock, other, LOCK_SH | LOCK_NB);
    if (r < 0)
        (void)za_linux_close((int)other);
    return r < 0 ? (int)r : (int)other;
}

int za_linux_tier_alone(int fd)
{
    long r = za_sys2(SYS_flock, fd, LOCK_EX | LOCK_NB);
    if (r == 0)
        (void)za_sys2(SYS_flock, fd, LOCK_UN);
    return r == 0 ? 1 : r == -EAGAIN ? 0 : (int)r;
}

int za_linux_hide(void *p, size_t len)
{
    return (int)za_sys3(SYS_madvise, p, len, MADV_DONTDUMP);
}
