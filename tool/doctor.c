/* SPDX-License-Identifier: MIT */
/*
 * doctor -- `zalloc doctor`: would the library compress here, for this user?
 * If not, which command allows it.
 *
 * The verdict is the library's own: os/ opens the userfaultfd exactly as the fault thread will, and
 * a page goes out and back by each back-end. Everything else is told to explain the verdict. Exit
 * status 0: would compress; 1: plain allocator, or the file tier that was asked for cannot be used.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "os/os.h"
#include "os/uffd.h"
#include "tool/disk.h"
#include "tool/report.h"
#include "tool/tool.h"

/* What the probes found, for the fixes. */
struct probe {
    int by_call;   /* userfaultfd(2): 0 or errno */
    int by_device; /* /dev/userfaultfd: 0 or errno */
    int fd;        /* as the library opens it; -errno */
    struct za_uffd_caps caps;
    int moved;    /* a page went out and came back by UFFDIO_MOVE: 0 or -errno */
    int remapped; /* the same by mremap */
};

/* First line of a file without its newline; false if it cannot be read. */
static bool first_line(const char *path, char *out, size_t cap)
{
    FILE *f = fopen(path, "re");
    if (!f)
        return false;
    bool got = fgets(out, (int)cap, f) != NULL;
    (void)fclose(f);
    if (got)
        out[strcspn(out, "\n")] = '\0';
    return got;
}

static bool in_container(void)
{
    return access("/.dockerenv", F_OK) == 0 || access("/run/.containerenv", F_OK) == 0;
}

static const char *user_name(void)
{
    const struct passwd *pw = getpwuid(geteuid());
    return pw ? pw->pw_name : "$USER";
}

/* ---- userfaultfd ----------------------------------------------------------------------------- */

static int try_call(void)
{
    long fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return errno;
    (void)close((int)fd);
    return 0;
}

static int try_device(void)
{
    int dev = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
    if (dev < 0)
        return errno;
    int fd = ioctl(dev, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
    int err = fd < 0 ? errno : 0;
    (void)close(dev);
    if (fd >= 0)
        (void)close(fd);
    return err;
}

static void probe_all(struct probe *p)
{
    p->by_call = try_call();
    p->by_device = try_device();
    p->fd = za_os->uffd_open(&p->caps);
    p->moved = p->fd >= 0 && p->caps.any_move ? za_os_try_move(p->fd) : -EINVAL;
    p->remapped = p->fd >= 0 ? za_os_try_remap(p->fd) : -EINVAL;
}

static void say_call(struct za_report *r, const struct probe *p)
{
    if (p->by_call == 0) {
        (void)za_report_add(r, ZA_OK, "userfaultfd(2)", "full mode is allowed to this user");
        return;
    }
    struct za_finding *f = za_report_add(
        r, p->by_device == 0 ? ZA_OK : ZA_NO, "userfaultfd(2)", "%s%s", za_os_errname(p->by_call),
        p->by_device == 0 ? ", not needed: the device is allowed" : "");
    if (p->by_device == 0)
        return;
    if (p->by_call == ENOSYS)
        za_report_fix(f, "a kernel with CONFIG_USERFAULTFD=y");
    else
        za_report_fix(f, "sudo sysctl vm.unprivileged_userfaultfd=1%s",
                      in_container() ? " (on the host; the container's seccomp profile must "
                                       "allow userfaultfd too)"
                                     : "");
}

static void say_device(struct za_report *r, const struct probe *p)
{
    if (p->by_device == 0) {
        (void)za_report_add(r, ZA_OK, "/dev/userfaultfd", "may be opened by this user");
        return;
    }
    struct za_finding *f = za_report_add(
        r, p->by_call == 0 ? ZA_OK : ZA_NO, "/dev/userfaultfd", "%s%s", za_os_errname(p->by_device),
        p->by_call == 0 ? ", not needed: the system call is allowed" : "");
    if (p->by_call == 0)
        return;
    if (in_container() && p->by_device != EACCES)
        za_report_fix(f, "docker run --device /dev/userfaultfd ...");
    else if (p->by_device == ENOENT)
        za_report_fix(f, "a kernel 6.1 or later with CONFIG_USERFAULTFD=y");
    else
        za_report_fix(f, "sudo setfacl -m u:%s:rw /dev/userfaultfd", user_name());
}

static bool moves(const struct probe *p)
{
    return p->caps.move && p->moved == 0;
}

static void say_move(struct za_report *r, const struct probe *p)
{
    struct za_finding *f;
    if (p->fd < 0) {
        (void)za_report_add(r, ZA_WARN, "UFFDIO_MOVE", "not tested: no userfaultfd");
        return;
    }
    if (moves(p)) {
        (void)za_report_add(r, ZA_OK, "UFFDIO_MOVE",
                            "a page was moved out and back (backend:move)");
        return;
    }
    f = za_report_add(r, p->remapped == 0 ? ZA_WARN : ZA_NO, "UFFDIO_MOVE", "%s",
                      p->moved == 0      ? "works, but this kernel's has known bugs"
                      : p->caps.any_move ? "offered, but moving a page failed"
                                         : "not offered by this kernel");
    za_report_fix(f, "a kernel 6.12.37, 6.16 or later");
}

static void say_remap(struct za_report *r, const struct probe *p)
{
    if (p->fd < 0)
        return;
    if (p->remapped == 0)
        (void)za_report_add(r, ZA_OK, "mremap DONTUNMAP", "a page was moved out and back (%s)",
                            moves(p) ? "backend:remap, not needed" : "backend:remap");
    else
        (void)za_report_add(r, moves(p) ? ZA_OK : ZA_NO, "mremap DONTUNMAP", "%s%s",
                            za_os_errname(p->remapped), moves(p) ? ", not needed" : "");
}

static void say_fork(struct za_report *r, const struct probe *p)
{
    if (p->fd < 0)
        return;
    if (p->caps.event_fork)
        (void)za_report_add(r, ZA_OK, "EVENT_FORK", "children are announced by the kernel");
    else
        (void)za_report_add(r, ZA_WARN, "EVENT_FORK",
                            "not allowed (needs CAP_SYS_PTRACE): children open their own "
                            "userfaultfd");
}

/* ---- the rest of the system ------------------------------------------------------------------ */

static void say_kernel(struct za_report *r, const struct probe *p)
{
    struct utsname u;
    if (uname(&u) != 0)
        return;
    unsigned major = 0, minor = 0, patch = 0;
    int n = sscanf(u.release, "%u.%u.%u", &major, &minor, &patch);
    bool sound =
        n >= 2 && (major > 6 || (major == 6 && (minor >= 16 || (minor == 12 && patch >= 37))));
    struct za_finding *f = za_report_add(r,
                                         sound              ? ZA_OK
                                         : p->remapped == 0 ? ZA_WARN
                                                            : ZA_NO,
                                         "kernel", "%s %s", u.sysname, u.release);
    if (!sound)
        za_report_fix(f, "a kernel 6.12.37, 6.16 or later");
}

static void say_file(struct za_report *r, const char *what, const char *path)
{
    char text[96];
    if (first_line(path, text, sizeof(text)))
        (void)za_report_add(r, ZA_OK, what, "%s", text);
    else
        (void)za_report_add(r, ZA_OK, what, "not there");
}

static void say_overcommit(struct za_report *r)
{
    char text[32];
    if (!first_line("/proc/sys/vm/overcommit_memory", text, sizeof(text)))
        return;
    if (strcmp(text, "2") != 0) {
        (void)za_report_add(r, ZA_OK, "vm.overcommit_memory", "%s", text);
        return;
    }
    struct za_finding *f =
        za_report_add(r, ZA_WARN, "vm.overcommit_memory",
                      "2: heap and store are charged in full against the commit limit");
    za_report_fix(f, "sudo sysctl vm.overcommit_memory=0");
}

static void say_map_count(struct za_report *r)
{
    char text[32];
    if (!first_line("/proc/sys/vm/max_map_count", text, sizeof(text)))
        return;
    bool low = strtoull(text, NULL, 10) < 65530;
    struct za_finding *f = za_report_add(r, low ? ZA_WARN : ZA_OK, "vm.max_map_count", "%s", text);
    if (low)
        za_report_fix(f, "sudo sysctl vm.max_map_count=65530");
}

/* "Seccomp:\t2" in /proc/self/status. */
static void say_seccomp(struct za_report *r)
{
    char line[128];
    int mode = -1;
    FILE *f = fopen("/proc/self/status", "re");
    while (f && fgets(line, sizeof(line), f)) {
        if (strncmp(line, "Seccomp:", 8) == 0)
            mode = (int)strtol(line + 8, NULL, 10);
    }
    if (f)
        (void)fclose(f);
    if (mode <= 0)
        (void)za_report_add(r, ZA_OK, "seccomp", "%s", mode == 0 ? "no filter" : "unknown");
    else
        (void)za_report_add(r, ZA_WARN, "seccomp",
                            "a filter is active; what it refuses shows in the lines above");
}

static void say_limit(struct za_report *r, const char *what, int which, bool warn)
{
    struct rlimit l;
    if (getrlimit((unsigned)which, &l) != 0)
        return;
    if (l.rlim_cur == RLIM_INFINITY)
        (void)za_report_add(r, ZA_OK, what, "unlimited");
    else
        (void)za_report_add(r, warn ? ZA_WARN : ZA_OK, what, "%llu%s",
                            (unsigned long long)l.rlim_cur,
                            warn ? ": heap and mirror reserve less address space" : "");
}

static void examine(struct za_report *r, const struct probe *p)
{
    say_kernel(r, p);
    say_call(r, p);
    say_device(r, p);
    say_move(r, p);
    say_remap(r, p);
    say_fork(r, p);
    say_file(r, "vm.unprivileged_userfaultfd", "/proc/sys/vm/unprivileged_userfaultfd");
    say_overcommit(r);
    say_map_count(r);
    say_file(r, "transparent huge pages", "/sys/kernel/mm/transparent_hugepage/enabled");
    say_file(r, "KSM", "/sys/kernel/mm/ksm/run");
    say_seccomp(r);
    say_limit(r, "RLIMIT_AS", RLIMIT_AS, true);
    say_limit(r, "RLIMIT_DATA", RLIMIT_DATA, true);
    say_limit(r, "RLIMIT_NPROC", RLIMIT_NPROC, false);
    say_limit(r, "RLIMIT_MEMLOCK", RLIMIT_MEMLOCK, false);
}

static int options(int argc, char **argv, bool *json, const char **file)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            *json = true;
        else if (strncmp(argv[i], "--file=", 7) == 0 && argv[i][7])
            *file = argv[i] + 7;
        else if (strcmp(argv[i], "--file") == 0 && i + 1 < argc && argv[i + 1][0])
            *file = argv[++i];
        else if (strncmp(argv[i], "--file", 6) == 0)
            return za_tool_complain("doctor: --file needs a directory");
        else
            return za_tool_complain("doctor: unknown argument \"%s\"", argv[i]);
    }
    return 0;
}

int za_tool_doctor(int argc, char **argv)
{
    static struct za_report report;
    struct probe p = {0};
    const char *file = NULL;
    bool json = false;
    int rc = options(argc, argv, &json, &file);
    if (rc)
        return rc;
    za_os_init();
    probe_all(&p);
    examine(&report, &p);
    bool usable = za_disk_examine(&report, file);
    bool compresses = p.fd >= 0 && (moves(&p) || p.remapped == 0);
    if (json)
        za_report_json(&report, compresses);
    else
        za_report_print(&report, compresses);
    return compresses && usable ? 0 : EXIT_NO;
}
