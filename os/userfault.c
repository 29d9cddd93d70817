/* SPDX-License-Identifier: MIT */
/*
 * userfault -- userfaultfd: open with full rights, register, read messages, move, copy, fill.
 *
 * Opens only what serves system calls too: never a user-mode-only descriptor (D5). First the system
 * call, then /dev/userfaultfd, whose permission is the way for unprivileged users. EVENT_FORK is
 * asked for where allowed. UFFDIO_MOVE counts as usable from the kernels in which its known bugs
 * are mended (6.12.37, 6.16).
 *
 * Locks: none.  May sleep: poll.  May fault: no.  Allocates: nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/select.h>
#include <sys/utsname.h>
#include <time.h>

#include "base/remedy.h"
#include "os/private.h"
#include "os/sys.h"
#include "os/uffd.h"

static int open_raw(void)
{
    const unsigned flags = za_without(D5_KERNEL_FAULTS) ? UFFD_USER_MODE_ONLY : 0;
    long fd = za_sys1(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | flags);
    if (fd >= 0)
        return (int)fd;
    long dev = za_sys4(SYS_openat, AT_FDCWD, "/dev/userfaultfd", O_RDWR | O_CLOEXEC, 0);
    if (dev < 0)
        return (int)fd;
    fd = za_sys3(SYS_ioctl, dev, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
    (void)za_sys1(SYS_close, dev);
    return (int)fd;
}

static int open_with(uint64_t features, uint64_t *offered)
{
    int fd = open_raw();
    if (fd < 0)
        return fd;
    struct uffdio_api api = {.api = UFFD_API, .features = features};
    long r = za_sys3(SYS_ioctl, fd, UFFDIO_API, &api);
    if (r < 0) {
        (void)za_sys1(SYS_close, fd);
        return (int)r;
    }
    *offered = api.features;
    return fd;
}

static unsigned number(const char **s)
{
    unsigned v = 0;
    while (**s >= '0' && **s <= '9')
        v = v * 10 + (unsigned)(*(*s)++ - '0');
    if (**s == '.')
        (*s)++;
    return v;
}

static bool move_is_sane(void)
{
    struct utsname u = {0};
    if (za_sys1(SYS_uname, &u) < 0)
        return false;
    const char *s = u.release;
    unsigned major = number(&s), minor = number(&s), patch = number(&s);
    unsigned v = major * 1000 + minor;
    return v >= 6016 || (v == 6012 && patch >= 37);
}

int za_linux_uffd_open(struct za_uffd_caps *caps)
{
    uint64_t offered = 0;
    int probe = open_with(0, &offered);
    if (probe < 0)
        return probe;
    (void)za_sys1(SYS_close, probe);
    uint64_t want = offered & UFFD_FEATURE_MOVE;
    caps->any_move = want != 0;
    caps->move = caps->any_move && move_is_sane();
    caps->event_fork = true;
    int fd = open_with(want | UFFD_FEATURE_EVENT_FORK, &offered);
    if (fd >= 0)
        return fd;
    caps->event_fork = false;
    return open_with(want, &offered);
}

int za_linux_uffd_register(int fd, void *p, size_t len)
{
    struct uffdio_register r = {.range = {(uintptr_t)p, len}, .mode = UFFDIO_REGISTER_MODE_MISSING};
    long rc = za_sys3(SYS_ioctl, fd, UFFDIO_REGISTER, &r);
    return rc < 0 ? (int)rc : 0;
}

int za_linux_uffd_unregister(int fd, void *p, size_t len)
{
    struct uffdio_range r = {(uintptr_t)p, len};
    long rc = za_sys3(SYS_ioctl, fd, UFFDIO_UNREGISTER, &r);
    return rc < 0 ? (int)rc : 0;
}

int za_linux_uffd_read(int fd, struct za_uffd_msg *msg)
{
    struct uffd_msg m = {0};
    long r = za_sys3(SYS_read, fd, &m, sizeof(m));
    if (r == -EAGAIN || r == -EINTR)
        return 0;
    if (r != (long)sizeof(m))
        return r < 0 ? (int)r : -EIO;
    msg->event = ZA_EV_OTHER;
    if (m.event == UFFD_EVENT_PAGEFAULT) {
        msg->event = ZA_EV_FAULT;
        msg->addr = (uintptr_t)m.arg.pagefault.address;
        msg->write = (m.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WRITE) != 0;
    } else if (m.event == UFFD_EVENT_FORK) {
        msg->event = ZA_EV_FORK;
        msg->fd = (int)m.arg.fork.ufd;
    }
    return 1;
}

/* As poll, for numbers below FD_SETSIZE; ours are small: the table is our own. */
static long select_instead(const struct pollfd *p, unsigned n, const struct timespec *limit)
{
    fd_set set;
    struct timespec t = limit ? *limit : (struct timespec){0, 0};
    int top = 0;
    FD_ZERO(&set);
    for (unsigned i = 0; i < n; i++) {
        if (p[i].fd < 0 || p[i].fd >= FD_SETSIZE)
            return -EINVAL;
        FD_SET(p[i].fd, &set);
        top = top > p[i].fd ? top : p[i].fd;
    }
    return za_sys6(SYS_pselect6, top + 1, (long)&set, 0, 0, (long)(limit ? &t : NULL), 0);
}

/*
 * poll refuses more descriptors than RLIMIT_NOFILE, which the program may have set to nothing; a
 * seccomp filter may refuse it altogether.  Without either F would never sleep.
 */
int za_linux_poll(const int *fds, unsigned n, uint64_t timeout_ns)
{
    struct pollfd p[8];
    struct timespec t = {(time_t)(timeout_ns / ZA_NS_PER_S), (long)(timeout_ns % ZA_NS_PER_S)};
    struct timespec *limit = timeout_ns == UINT64_MAX ? NULL : &t;
    n = (unsigned)za_min(n, ZA_ARRAY_LEN(p));
    for (unsigned i = 0; i < n; i++)
        p[i] = (struct pollfd){fds[i], POLLIN, 0};
    struct timespec left = t; /* the kernel writes what is left of it */
    long r = za_sys5(SYS_ppoll, p, n, limit ? &left : NULL, 0, 0);
    if (r < 0 && r != -EINTR)
        r = select_instead(p, n, limit);
    return r > 0 ? 1 : (r == -EINTR ? 0 : (int)r);
}

int64_t za_linux_uffd_move(int fd, void *dst, void *src, size_t len, bool wake)
{
    struct uffdio_move m = {.dst = (uintptr_t)dst,
                            .src = (uintptr_t)src,
                            .len = len,
                            .mode = wake ? 0 : UFFDIO_MOVE_MODE_DONTWAKE};
    long r = za_sys3(SYS_ioctl, fd, UFFDIO_MOVE, &m);
    if (r >= 0)
        return (int64_t)len;
    return m.move > 0 ? m.move : r;
}

int64_t za_linux_uffd_copy(int fd, void *dst, const void *src, size_t len, bool wake)
{
    struct uffdio_copy c = {.dst = (uintptr_t)dst,
                            .src = (uintptr_t)src,
                            .len = len,
                            .mode = wake ? 0 : UFFDIO_COPY_MODE_DONTWAKE};
    long r = za_sys3(SYS_ioctl, fd, UFFDIO_COPY, &c);
    if (r >= 0)
        return (int64_t)len;
    return c.copy > 0 ? c.copy : r;
}

int64_t za_linux_uffd_zero(int fd, void *dst, size_t len, bool wake)
{
    struct uffdio_zeropage z = {.range = {(uintptr_t)dst, len},
                                .mode = wake ? 0 : UFFDIO_ZEROPAGE_MODE_DONTWAKE};
    long r = za_sys3(SYS_ioctl, fd, UFFDIO_ZEROPAGE, &z);
    if (r >= 0)
        return (int64_t)len;
    return z.zeropage > 0 ? z.zeropage : r;
}

int za_linux_uffd_wake(int fd, void *p, size_t len)
{
    struct uffdio_range r = {(uintptr_t)p, len};
    long rc = za_sys3(SYS_ioctl, fd, UFFDIO_WAKE, &r);
    return rc < 0 ? (int)rc : 0;
}
