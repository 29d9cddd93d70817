/* SPDX-License-Identifier: MIT */
/*
 * os_group -- the control group's limit, from files in either version's form, and from the real
 * thing.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os/os.h"
#include "os/private.h"
#include "tests/unit/unit.h"

static char root[64];

static const char *path_of(const char *name)
{
    static char path[4][256];
    static unsigned turn;

    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof(path[turn]), "%s/%s", root, name);
    return path[turn];
}

/* Writes a file below the root; its folders are made. */
static void put(const char *name, const char *format, ...)
{
    char text[6000], path[256];
    va_list args;

    snprintf(path, sizeof(path), "%s", path_of(name));
    for (char *at = path + strlen(root) + 1; (at = strchr(at, '/')); at++) {
        *at = '\0';
        (void)mkdir(path, 0700);
        *at = '/';
    }
    va_start(args, format);
    int n = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    CHECK(fd >= 0);
    CHECK_EQ(write(fd, text, (size_t)n), n);
    close(fd);
}

static void begin(void)
{
    za_os_init();
    snprintf(root, sizeof(root), "/tmp/os-group-%d", getpid());
    CHECK_EQ(mkdir(root, 0700), 0);
}

static void end(void)
{
    char command[128];

    snprintf(command, sizeof(command), "rm -r %s", root);
    CHECK_EQ(system(command), 0);
}

static void find(void)
{
    za_group_open(path_of("cgroup"), path_of("mountinfo"), path_of("psi"));
}

/* A mount of the whole hierarchy at root/mnt. */
static void mounted(const char *type, const char *from, const char *options)
{
    put("mountinfo",
        "22 1 0:20 / /proc rw,nosuid - proc proc rw\n"
        "30 24 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
        "31 24 0:27 %s %s/mnt rw,relatime shared:9 - %s cgroup %s\n",
        from, root, type, options);
}

UNIT_TEST(version_2_takes_the_lower_of_max_and_high)
{
    struct za_room room;

    begin();
    put("cgroup", "0::/a/b\n");
    mounted("cgroup2", "/", "rw");
    put("mnt/a/b/memory.max", "1000000\n");
    put("mnt/a/b/memory.high", "max\n");
    put("mnt/a/b/memory.current", "200000\n");
    find();
    CHECK_EQ(za_linux_room(&room), 0);
    CHECK_EQ(room.limit, 1000000);
    CHECK_EQ(room.used, 200000);
    CHECK_EQ(room.stalled, 0);
    put("mnt/a/b/memory.high", "900000\n");
    put("mnt/a/b/memory.current", "300000\n");
    CHECK_EQ(za_linux_room(&room), 0);
    CHECK_EQ(room.limit, 900000);
    CHECK_EQ(room.used, 300000);
    put("mnt/a/b/memory.high", "max\n");
    put("mnt/a/b/memory.max", "max\n");
    CHECK_EQ(za_linux_room(&room), -ENOENT);
    CHECK_EQ(room.limit, UINT64_MAX);
    end();
}

/* Files are found once: neither their names nor /proc are needed any more. */
UNIT_TEST(version_1_keeps_its_files)
{
    struct za_room room;

    begin();
    put("cgroup", "5:cpu,memory:/x\n1:name=systemd:/y\n0::/z\n");
    mounted("cgroup", "/", "rw,memory");
    put("mnt/x/memory.limit_in_bytes", "9223372036854771712\n");
    put("mnt/x/memory.usage_in_bytes", "77\n");
    find();
    CHECK_EQ(za_linux_room(&room), -ENOENT);
    put("mnt/x/memory.limit_in_bytes", "4096000\n");
    end();
    CHECK_EQ(za_linux_room(&room), 0);
    CHECK_EQ(room.limit, 4096000);
    CHECK_EQ(room.used, 77);
}

/* What the kernel would give up by itself is room, but for half of the files in use. */
UNIT_TEST(cache_is_room)
{
    struct za_room room;

    begin();
    put("cgroup", "0::/\n");
    mounted("cgroup2", "/outside/of/here", "rw");
    put("mnt/memory.max", "1000000\n");
    put("mnt/memory.current", "950000\n");
    put("mnt/memory.stat", "anon 5\nfile 600000\ninactive_file 300000\nactive_file 200000\n");
    find();
    CHECK_EQ(za_linux_room(&room), 0);
    CHECK_EQ(room.used, 950000 - 300000 - 100000);
    put("mnt/memory.stat",
        "inactive_file 1\nactive_file 2\ntotal_inactive_file 100000\ntotal_active_file 8\n");
    CHECK_EQ(za_linux_room(&room), 0);
    CHECK_EQ(room.used, 950000 - 100000 - 4);
    put("mnt/memory.current", "1200000\n"); /* a limit lowered below what is used */
    put("mnt/memory.stat", "");
    CHECK_EQ(za_linux_room(&room), 0);
    CHECK_EQ(room.used, 1000000);
    end();
}

/* The group with less left counts; of those above the nearest that has a limit is watched. */
UNIT_TEST(groups_above)
{
    struct za_room room;

    begin();
    put("cgroup", "0::/a/b/c\n");
    mounted("cgroup2", "/", "rw");
    put("mnt/a/memory.max", "500000\n");
    put("mnt/a/memory.current", "400000\n");
    put("mnt/a/b/memory.max", "max\n");
    put("mnt/a/b/memory.current", "5\n");
    put("mnt/a/b/c/memory.max", "1000000\n");
    put("mnt/a/b/c/memory.current", "300000\n");
    find();
    CHECK_EQ(za_linux_room(&room), 0);
    CHECK_EQ(room.limit, 500000);
    CHECK_EQ(room.used, 400000);
    put("mnt/a/memory.current", "2\n");
    put("mnt/a/b/c/memory.current", "400000\n");
    CHECK_EQ(za_linux_room(&room), 0);
    CHECK_EQ(room.limit, 500000);
    put("mnt/a/b/c/memory.current", "999999\n");
    CHECK_EQ(za_linux_room(&room), 0);
    CHECK_EQ(room.limit, 1000000);
    end();
}

/* A container sees its own part of the hierarchy: below what is mounted, or by another name. */
UNIT_TEST(only_a_part_is_mounted)
{
    static const char *const names[] = {"/docker/abc", "/", "/../other", "/docker/abcdef"};
    struct za_room room;

    begin();
    mounted("cgroup", "/docker/abc", "rw,memory");
    put("mnt/memory.limit_in_bytes", "64\n");
    put("mnt/memory.usage_in_bytes", "32\n");
    for (unsigned i = 0; i < 4; i++) {
        put("cgroup", "3:memory:%s\n", names[i]);
        find();
        CHECK_EQ(za_linux_room(&room), 0);
        CHECK_EQ(room.limit, 64);
    }
    put("cgroup", "3:memory:/docker/abc/inner\n");
    put("mnt/inner/memory.limit_in_bytes", "16\n");
    put("mnt/inner/memory.usage_in_bytes", "1\n");
    find();
    CHECK_EQ(za_linux_room(&room), 0);
    CHECK_EQ(room.limit, 16);
    end();
}

UNIT_TEST(stalls)
{
    struct za_room room;

    begin();
    put("cgroup", "0::/a\n");
    mounted("cgroup2", "/", "rw");
    put("mnt/a/memory.max", "max\n");
    put("mnt/a/memory.current", "5\n");
    put("psi", "some avg10=12.34 avg60=0.00 avg300=0.00 total=0\nfull avg10=1.00\n");
    find();
    CHECK_EQ(za_linux_room(&room), 0);
    CHECK_EQ(room.stalled, 1234);
    CHECK_EQ(room.limit, UINT64_MAX);
    put("mnt/a/memory.pressure", "some avg10=0.05 avg60=0.00\n");
    find();
    CHECK_EQ(za_linux_room(&room), 0);
    CHECK_EQ(room.stalled, 5);
    put("mnt/a/memory.pressure", "nonsense\n");
    CHECK_EQ(za_linux_room(&room), 0);
    CHECK_EQ(room.stalled, 0);
    end();
}

UNIT_TEST(nothing_is_known)
{
    struct za_room room;
    int fds[ZA_GROUP_FILES];

    begin();
    find();
    CHECK_EQ(za_linux_room(&room), -ENOENT);
    put("cgroup", "no colon\n0:/two\n");
    mounted("cgroup2", "/", "rw");
    find();
    CHECK_EQ(za_linux_room(&room), -ENOENT);
    put("cgroup", "0::/a\n");
    put("mountinfo", "short\n1 2 3 4 5\n\n");
    find();
    CHECK_EQ(za_linux_room(&room), -ENOENT);
    za_linux_group_kept(fds);
    for (unsigned i = 0; i < ZA_GROUP_FILES; i++)
        CHECK_EQ(fds[i], -1);
    end();
}

/* A table of mounts longer than the buffer, with a line that is longer than that, too. */
UNIT_TEST(long_tables)
{
    static char text[60000];
    struct za_room room;
    size_t n = 0;

    begin();
    for (unsigned i = 0; i < 400; i++)
        n += (size_t)sprintf(text + n, "%u 1 0:1 / /mnt/%u rw - tmpfs tmpfs rw\n", i, i);
    n += (size_t)sprintf(text + n, "9 1 0:1 / /");
    memset(text + n, 'x', 9000);
    n += 9000;
    n += (size_t)sprintf(text + n, " rw - tmpfs tmpfs rw\n9 1 0:1 / %s/mnt rw - cgroup2 c rw\n",
                         root);
    int fd = open(path_of("mountinfo"), O_WRONLY | O_CREAT, 0600);
    CHECK_EQ(write(fd, text, n), n);
    close(fd);
    put("cgroup", "0::/\n");
    put("mnt/memory.max", "64\n");
    put("mnt/memory.current", "3\n");
    find();
    CHECK_EQ(za_linux_room(&room), 0);
    CHECK_EQ(room.limit, 64);
    end();
}

/* Handed to another thread's table, as far as there are any. */
UNIT_TEST(files_go_on_to_another)
{
    struct za_room room;
    int fds[ZA_GROUP_FILES];

    begin();
    put("cgroup", "0::/\n");
    mounted("cgroup2", "/", "rw");
    put("mnt/memory.max", "64\n");
    put("mnt/memory.current", "3\n");
    find();
    za_linux_group_kept(fds);
    end();
    for (unsigned i = 0; i < ZA_GROUP_FILES; i++) {
        int fd = fds[i] < 0 ? -1 : dup(fds[i]);
        if (fds[i] >= 0)
            close(fds[i]);
        fds[i] = fd;
    }
    za_linux_group_keep(fds);
    CHECK_EQ(za_linux_room(&room), 0);
    CHECK_EQ(room.limit, 64);
    CHECK_EQ(room.used, 3);
}

/* The real one: whatever it says, it says it without an error. */
UNIT_TEST(this_process)
{
    struct za_room room;

    za_os_init();
    za_linux_group_keep(NULL);
    int r = za_linux_room(&room);
    CHECK(r == 0 || r == -ENOENT);
    CHECK(room.limit == UINT64_MAX || room.used <= room.limit);
    CHECK(room.stalled <= 10000);
}
