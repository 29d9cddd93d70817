/* SPDX-License-Identifier: MIT */
/*
 * files -- descriptor tables of our own threads,
 * and handing a descriptor from one process to another.
 *
 * The program may close every descriptor (D4) and must not see ours (P3): our threads own a table
 * of their own, made by close_range(CLOSE_RANGE_UNSHARE). Numbers 0 to 2 stay occupied there, so
 * that no file of ours ever becomes somebody's "standard error". Threads of the program may have
 * tables of their own as well (unshare): a number means something in its thread's table only.
 *
 * Locks: none.  May sleep: recv_file.  May fault: no.  Allocates: nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/remedy.h"
#include "os/private.h"
#include "os/sys.h"

#define CLOSE_UNSHARE 2
#define PIDFD_OF_THREAD O_EXCL
#define LAST_FD 0x7fffffff

int za_linux_close(int fd)
{
    return (int)za_sys1(SYS_close, fd);
}

static void occupy_standard(void)
{
    while (!za_without(D4_STANDARD)) {
        long fd = za_sys2(SYS_eventfd2, 0, EFD_CLOEXEC);
        if (fd < 0)
            return;
        if (fd > 2) {
            (void)za_sys1(SYS_close, fd);
            return;
        }
    }
}

int za_linux_private_files(void)
{
    long r = za_without(D4_OWN_TABLE) ? 0 : za_sys3(SYS_close_range, 0, LAST_FD, CLOSE_UNSHARE);
    if (r < 0)
        return (int)r;
    occupy_standard();
    return 0;
}

int za_linux_spare_files(unsigned n)
{
    long fd = za_sys2(SYS_eventfd2, 0, EFD_CLOEXEC);
    if (fd < 0)
        return (int)fd;
    int r = n > 1 ? za_linux_spare_files(n - 1) : 0;
    (void)za_sys1(SYS_close, fd);
    return r;
}

int za_linux_keep_only(int fd)
{
    long r = za_sys1(SYS_unshare, CLONE_FILES);
    if (r < 0)
        return (int)r;
    if (fd < 3) {
        long moved = za_sys3(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 3);
        if (moved < 0)
            return (int)moved;
        fd = (int)moved;
    }
    (void)za_sys3(SYS_close_range, 0, fd - 1, 0);
    (void)za_sys3(SYS_close_range, fd + 1, LAST_FD, 0);
    occupy_standard();
    return fd;
}

int za_linux_socketpair(int fds[2])
{
    return (int)za_sys4(SYS_socketpair, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds);
}

/* Sockets have inodes of their own, all in one file system. */
uint64_t za_linux_socket_number(int fd)
{
    struct stat s = {0};
    return za_sys2(SYS_fstat, fd, &s) == 0 && S_ISSOCK(s.st_mode) ? s.st_ino : 0;
}

/* From 6.9 on a thread can be named; before, one that is alone with its table is not reached. */
static long open_thread(int tid)
{
    long pidfd = -EINVAL;
    if (tid && !za_without(D4_CALLERS_TABLE))
        pidfd = za_sys2(SYS_pidfd_open, tid, PIDFD_OF_THREAD);
    return pidfd == -EINVAL ? za_sys2(SYS_pidfd_open, za_sys0(SYS_getpid), 0) : pidfd;
}

int za_linux_fetch_file(int tid, int fd, uint64_t number)
{
    long pidfd = open_thread(tid);
    if (pidfd < 0)
        return (int)pidfd;
    long mine = za_sys3(SYS_pidfd_getfd, pidfd, fd, 0);
    (void)za_sys1(SYS_close, pidfd);
    if (mine < 0 || !number || za_linux_socket_number((int)mine) == number ||
        za_without(D4_CALLERS_TABLE))
        return (int)mine;
    (void)za_sys1(SYS_close, mine);
    return -EBADF;
}

union control {
    char bytes[CMSG_SPACE(sizeof(int))];
    struct cmsghdr align;
};

static void prepare(struct msghdr *h, struct iovec *io, char *byte, union control *c)
{
    memset(c, 0, sizeof(*c));
    memset(h, 0, sizeof(*h));
    io->iov_base = byte;
    io->iov_len = 1;
    h->msg_iov = io;
    h->msg_iovlen = 1;
    h->msg_control = c->bytes;
    h->msg_controllen = sizeof(c->bytes);
}

int za_linux_send_file(int sock, int fd)
{
    struct msghdr h;
    struct iovec io;
    union control c;
    char byte = 'z';
    prepare(&h, &io, &byte, &c);
    struct cmsghdr *m = CMSG_FIRSTHDR(&h);
    m->cmsg_level = SOL_SOCKET;
    m->cmsg_type = SCM_RIGHTS;
    m->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(m), &fd, sizeof(fd));
    long r = za_sys3(SYS_sendmsg, sock, &h, MSG_NOSIGNAL);
    return r < 0 ? (int)r : 0;
}

int za_linux_recv_file(int sock)
{
    struct msghdr h;
    struct iovec io;
    union control c;
    char byte = 0;
    prepare(&h, &io, &byte, &c);
    long r = za_sys3(SYS_recvmsg, sock, &h, MSG_CMSG_CLOEXEC);
    if (r < 0)
        return (int)r;
    struct cmsghdr *m = CMSG_FIRSTHDR(&h);
    if (r == 0)
        return -EPIPE;
    if (!m || m->cmsg_type != SCM_RIGHTS)
        return -ENOMSG;
    int fd;
    memcpy(&fd, CMSG_DATA(m), sizeof(fd));
    return fd;
}

int za_linux_say(int sock)
{
    char byte = 'z';
    long r = za_sys6(SYS_sendto, sock, (long)&byte, 1, MSG_NOSIGNAL, 0, 0);
    return r < 0 ? (int)r : 0;
}

int za_linux_hear(int sock, bool wait)
{
    char byte;
    long r = za_sys6(SYS_recvfrom, sock, (long)&byte, 1, wait ? 0 : MSG_DONTWAIT, 0, 0);
    if (r == 1)
        return 1;
    return r == -EAGAIN || r == -EINTR ? 0 : -EPIPE;
}
