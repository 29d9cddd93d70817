/* SPDX-License-Identifier: MIT */
/*
 * disk -- what `zalloc doctor` says of the file tier: can it be used here, and what is it worth?
 *
 * As with userfaultfd it is tried rather than guessed: a file is opened, written, read back and
 * given back by the very calls that the library makes (os/tier.c).
 */
#define _GNU_SOURCE
#include "tool/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "base/conf.h"
#include "os/os.h"

#define TRIED ((size_t)(64 * ZA_KIB)) /* what a restore reads at once */
#define LITTLE (64 * ZA_MIB)
#define SLOT ((uint64_t)ZA_MIB) /* where the library's first write stands */

#ifndef FUSE_SUPER_MAGIC
#define FUSE_SUPER_MAGIC 0x65735546
#endif

static char written[TRIED] __attribute__((aligned(4096)));
static char came_back[TRIED] __attribute__((aligned(4096)));

static void be_silent(const char *line, size_t len)
{
    (void)line;
    (void)len;
}

static void say_path(struct za_report *r, const char *path, int err, const char *what)
{
    struct za_finding *f =
        za_report_add(r, ZA_NO, "file tier", "%s: %s: %s", path, what, za_os_errname(err));
    if (err == -ENOENT || err == -ENOTDIR)
        za_report_fix(f, "mkdir -p %s", path);
    else if (err == -ENOSPC || err == -EDQUOT)
        za_report_fix(f, "make room there, or ZALLOC_CONF=file:ANOTHER_DIRECTORY");
    else if ((err == -EACCES || err == -EPERM) && geteuid() != 0)
        za_report_fix(f, "sudo setfacl -m u:%u:rwx %s", (unsigned)geteuid(), path);
    else
        za_report_fix(f, "ZALLOC_CONF=file:ANOTHER_DIRECTORY");
}

/* 0, or what the library would get. */
static int write_and_read(int fd)
{
    memset(written, 0x5a, sizeof(written));
    int r = za_os->tier_write(fd, written, sizeof(written), SLOT);
    if (r == 0)
        r = za_os->tier_read(fd, came_back, sizeof(came_back), SLOT);
    if (r == 0 && memcmp(written, came_back, sizeof(written)) != 0)
        r = -EIO;
    return r;
}

static uint64_t blocks_of(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 ? (uint64_t)st.st_blocks : 0;
}

static void say_holes(struct za_report *r, int fd)
{
    uint64_t before = blocks_of(fd);
    int err = za_os->tier_punch(fd, SLOT, TRIED);
    if (err == 0 && blocks_of(fd) < before) {
        (void)za_report_add(r, ZA_OK, "file tier, holes", "space is given back when blobs die");
        return;
    }
    struct za_finding *f =
        za_report_add(r, ZA_WARN, "file tier, holes", "%s: space is given back only with the file",
                      err ? za_os_errname(err) : "punching one frees nothing");
    za_report_fix(f, "a directory on ext4, xfs or btrfs");
}

static void say_direct(struct za_report *r, int fd)
{
    if (fcntl(fd, F_GETFL) & O_DIRECT) {
        (void)za_report_add(r, ZA_OK, "file tier, direct I/O", "works: nothing stays in the cache");
        return;
    }
    (void)za_report_add(r, ZA_WARN, "file tier, direct I/O",
                        "refused: every write ends with fdatasync, and reads pass the page cache");
}

/* What is gained where the "disk" is something else. */
static void say_kind(struct za_report *r, uint64_t type)
{
    struct za_finding *f = NULL;
    if (type == TMPFS_MAGIC || type == RAMFS_MAGIC)
        f = za_report_add(r, ZA_WARN, "file tier, disk",
                          "tmpfs: what goes there stays in memory, and nothing is saved");
    else if (type == FUSE_SUPER_MAGIC)
        f = za_report_add(r, ZA_WARN, "file tier, disk",
                          "FUSE: its server must not be the program itself, nor wait for it");
    else if (type == NFS_SUPER_MAGIC)
        f = za_report_add(r, ZA_WARN, "file tier, disk",
                          "NFS: whoever touches a page waits for the server, however long");
    if (f)
        za_report_fix(f, "a directory on a local disk");
}

static void say_room(struct za_report *r, const struct statfs *s, uint64_t most)
{
    uint64_t left = (uint64_t)s->f_bavail * (uint64_t)s->f_bsize;
    bool low = left < LITTLE || (most && left < most);
    struct za_finding *f = za_report_add(r, low ? ZA_WARN : ZA_OK, "file tier, room",
                                         "%llu MiB are free%s", (unsigned long long)(left / ZA_MIB),
                                         most && left < most ? ", which is less than file_max"
                                         : low ? ": when they are used up, blobs stay in memory"
                                               : "");
    if (low)
        za_report_fix(f, "make room there, or ZALLOC_CONF=file:ANOTHER_DIRECTORY");
}

static bool say_file(struct za_report *r, const char *path, int fd, uint64_t most)
{
    struct statfs s;
    int err = write_and_read(fd);
    if (err < 0) {
        say_path(r, path, err, "a block cannot be written and read back");
        return false;
    }
    (void)za_report_add(r, ZA_OK, "file tier", "%s: a block was written and read back", path);
    say_direct(r, fd);
    say_holes(r, fd);
    if (fstatfs(fd, &s) == 0) {
        say_kind(r, (uint64_t)(unsigned int)s.f_type);
        say_room(r, &s, most);
    }
    return true;
}

bool za_disk_examine(struct za_report *r, const char *path)
{
    struct za_conf c;
    const char *text = getenv("ZALLOC_CONF");
    za_conf_defaults(&c);
    if (text)
        (void)za_conf_parse(&c, text, be_silent);
    if (!path)
        path = c.file;
    if (!*path) {
        (void)za_report_add(r, ZA_OK, "file tier", "off; `zalloc doctor --file DIR` tries one");
        return true;
    }
    int dir = za_os->tier_dir(path);
    if (dir < 0) {
        say_path(r, path, dir, "no such directory can be opened");
        return false;
    }
    int fd = za_os->tier_open(dir);
    bool usable = fd >= 0;
    if (usable)
        usable = say_file(r, path, fd, c.file_max);
    else
        say_path(r, path, fd, "no file can be made there");
    if (fd >= 0)
        (void)close(fd);
    (void)close(dir);
    return usable;
}
