/* SPDX-License-Identifier: MIT */
/*
 * io -- cold memory as source and target of system calls that move data: files, pipes, sockets,
 * queues, other processes; and the vectors, headers and offsets that say where.
 */
#include "arena.h"

#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/errqueue.h>
#include <mqueue.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/sem.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define LEN (3 * PAGE)
#define N 4u
#define TOTAL ((ssize_t)(N * LEN))

static struct arena arena;

static int scratch(int flags)
{
    const char *directory = getenv("TMPDIR");
    char path[256];
    snprintf(path, sizeof(path), "%s/zalloc-io.XXXXXX", directory ? directory : "/tmp");
    int fd = mkostemp(path, flags);
    if (fd >= 0)
        unlink(path);
    return fd;
}

/* N buffers and the vector of them, all cold; id 0: empty ones. */
static struct iovec *vector(uint64_t id)
{
    struct iovec *v = take(&arena, N * sizeof(*v));
    for (unsigned i = 0; i < N; i++) {
        void *p = id ? take_filled(&arena, LEN, id + i) : take(&arena, LEN);
        v[i] = (struct iovec){p, LEN};
    }
    return v;
}

static bool vector_right(const struct iovec *v, uint64_t id)
{
    for (unsigned i = 0; i < N; i++)
        if (!right(v[i].iov_base, 0, LEN, id + i))
            return false;
    return true;
}

static void files(void)
{
    struct iovec *from = vector(10), *to = vector(0), *again = vector(0);
    char *out = take_filled(&arena, LEN, 14), *in = take(&arena, LEN);
    int fd = scratch(0);
    cool(&arena);
    point("writev", writev(fd, from, N) == TOTAL);
    point("pwrite", pwrite(fd, out, LEN, TOTAL) == (ssize_t)LEN);
    point("preadv", preadv(fd, to, N, 0) == TOTAL && vector_right(to, 10));
    point("readv",
          lseek(fd, 0, SEEK_SET) == 0 && readv(fd, again, N) == TOTAL && vector_right(again, 10));
    point("read", read(fd, in, LEN) == (ssize_t)LEN && right(in, 0, LEN, 14));
    point("what was written", vector_right(from, 10) && right(out, 0, LEN, 14));
    close(fd);
    arena_again(&arena);
}

/* ---- sockets ------------------------------------------------------------------------------------
 */

static struct mmsghdr *headers(uint64_t id)
{
    struct mmsghdr *h = take(&arena, N * sizeof(*h));
    struct iovec *v = vector(id);
    for (unsigned i = 0; i < N; i++) {
        h[i].msg_hdr.msg_iov = &v[i];
        h[i].msg_hdr.msg_iovlen = 1;
    }
    return h;
}

static void sockets(void)
{
    int ends[2];
    struct mmsghdr *sent = headers(20), *got = headers(0);
    struct iovec *v = got[0].msg_hdr.msg_iov;
    struct timespec *patience = take(&arena, sizeof(*patience));
    int *answer = take(&arena, sizeof(*answer)), *set = take(&arena, sizeof(*set));
    socklen_t *size = take(&arena, sizeof(*size));
    struct sockaddr_storage *name = take(&arena, sizeof(*name));
    patience->tv_sec = 5;
    *set = 100000;
    *size = sizeof(*answer);
    cool(&arena);
    bool made = socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends) == 0;
    point("setsockopt", made && setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, set, sizeof(*set)) == 0);
    point("getsockopt", getsockopt(ends[0], SOL_SOCKET, SO_TYPE, answer, size) == 0 &&
                            *answer == SOCK_SEQPACKET && *size == sizeof(*answer));
    point("sendmmsg", sendmmsg(ends[0], sent, N, 0) == (int)N && sent[1].msg_len == LEN);
    point("recvmmsg", recvmmsg(ends[1], got, N, 0, patience) == (int)N && got[3].msg_len == LEN &&
                          vector_right(v, 20));
    *size = sizeof(*name);
    point("getsockname",
          getsockname(ends[0], (void *)name, size) == 0 && name->ss_family == AF_UNIX);
    close(ends[0]);
    close(ends[1]);
    arena_again(&arena);
}

static bool connected(int ends[2])
{
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(here);
    int l = socket(AF_INET, SOCK_STREAM, 0);
    bool good = l >= 0 && bind(l, (void *)&here, size) == 0 && listen(l, 1) == 0 &&
                getsockname(l, (void *)&here, &size) == 0;
    ends[0] = socket(AF_INET, SOCK_STREAM, 0);
    good = good && connect(ends[0], (void *)&here, size) == 0;
    ends[1] = good ? accept(l, NULL, NULL) : -1;
    close(l);
    return good && ends[1] >= 0;
}

static bool completed(int fd)
{
    char control[128];
    struct msghdr h = {.msg_control = control, .msg_controllen = sizeof(control)};
    struct pollfd p = {fd, 0, 0};
    return poll(&p, 1, 5000) == 1 && recvmsg(fd, &h, MSG_ERRQUEUE) >= 0;
}

static bool recv_all(int fd, char *to, size_t len)
{
    for (size_t at = 0; at < len;) {
        ssize_t n = recv(fd, to + at, len - at, 0);
        if (n <= 0)
            return false;
        at += (size_t)n;
    }
    return true;
}

/* The kernel holds the pages until the other side has them; they go cold in between. */
static void without_copy(void)
{
    int ends[2], one = 1;
    char *from = take_filled(&arena, LEN, 30), *to = take(&arena, LEN);
    cool(&arena);
    if (!connected(ends) || setsockopt(ends[0], SOL_SOCKET, SO_ZEROCOPY, &one, sizeof(one)) < 0) {
        skip("MSG_ZEROCOPY", "no loopback, or refused");
        arena_again(&arena);
        return;
    }
    bool sent = send(ends[0], from, LEN, MSG_ZEROCOPY) == (ssize_t)LEN;
    (void)ctl("pager.evict", NULL, NULL, NULL, 0);
    point("MSG_ZEROCOPY", sent && recv_all(ends[1], to, LEN) && right(to, 0, LEN, 30));
    point("MSG_ZEROCOPY completes", completed(ends[0]) && right(from, 0, LEN, 30));
    close(ends[0]);
    close(ends[1]);
    arena_again(&arena);
}

/* ---- pipes --------------------------------------------------------------------------------------
 */

static void given(const char *name, unsigned flags)
{
    int ends[2] = {-1, -1}, twin[2] = {-1, -1}, fd = scratch(0);
    char *page = take_filled(&arena, PAGE, 40), *to = take(&arena, PAGE);
    struct iovec *v = take(&arena, sizeof(*v));
    loff_t *at = take(&arena, sizeof(*at));
    char what[80];
    *v = (struct iovec){page, PAGE};
    cool(&arena);
    bool good = pipe(ends) == 0 && pipe(twin) == 0;
    good = good && vmsplice(ends[1], v, 1, flags) == (ssize_t)PAGE;
    (void)ctl("pager.evict", NULL, NULL, NULL, 0); /* the pipe has the page now */
    good = good && tee(ends[0], twin[1], PAGE, 0) == (ssize_t)PAGE;
    good = good && splice(ends[0], NULL, fd, at, PAGE, 0) == (ssize_t)PAGE && *at == (loff_t)PAGE;
    snprintf(what, sizeof(what), "vmsplice, tee, splice%s", name);
    point(what, good && read(twin[0], to, PAGE) == (ssize_t)PAGE && right(to, 0, PAGE, 40));
    memset(to, 0, PAGE);
    snprintf(what, sizeof(what), "the file spliced to%s", name);
    point(what, pread(fd, to, PAGE, 0) == (ssize_t)PAGE && right(to, 0, PAGE, 40));
    if (!flags) {
        *at = 0;
        (void)go_cold(at, 0);
        point("sendfile", sendfile(ends[1], fd, at, PAGE) == (ssize_t)PAGE &&
                              read(ends[0], to, PAGE) == (ssize_t)PAGE && right(to, 0, PAGE, 40));
        point("the page that was given", right(page, 0, PAGE, 40));
    }
    for (unsigned i = 0; i < 2; i++) {
        close(ends[i]);
        close(twin[i]);
    }
    close(fd);
    arena_again(&arena);
}

/* ---- other processes ----------------------------------------------------------------------------
 */

static bool from_outside(void *arg)
{
    struct iovec **v = arg;
    char *copy = malloc(TOTAL), *patch = malloc(TOTAL);
    struct iovec here = {copy, TOTAL}, there = {patch, TOTAL};
    pid_t parent = getppid();
    bool good = copy && patch && process_vm_readv(parent, &here, 1, v[0], N, 0) == TOTAL;
    for (unsigned i = 0; i < N; i++) {
        good = good && right(copy + i * LEN, 0, LEN, 50 + i);
        fill(patch + i * LEN, LEN, 60 + i);
    }
    return good && process_vm_writev(parent, &there, 1, v[1], N, 0) == TOTAL;
}

static void processes(void)
{
    struct iovec *v[4] = {vector(50), vector(0), vector(70), vector(0)};
    (void)prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
    cool(&arena);
    point("process_vm_readv of itself",
          process_vm_readv(getpid(), v[3], N, v[2], N, 0) == TOTAL && vector_right(v[3], 70));
    (void)ctl("pager.evict", NULL, NULL, NULL, 0);
    point("process_vm_readv and writev by a child", in_child(from_outside, v));
    point("what they read and wrote", vector_right(v[0], 50) && vector_right(v[1], 60));
    arena_again(&arena);
}

/* ---- queues -------------------------------------------------------------------------------------
 */

struct letter {
    long type;
    char text[1000];
};

static void system_v(void)
{
    struct letter *sent = take(&arena, sizeof(*sent)), *got = take(&arena, sizeof(*got));
    struct sembuf *ops = take(&arena, 2 * sizeof(*ops));
    int queue = msgget(IPC_PRIVATE, 0600), set = semget(IPC_PRIVATE, 2, 0600);
    sent->type = 7;
    memset(sent->text, 'z', sizeof(sent->text));
    ops[0] = (struct sembuf){0, 3, 0};
    ops[1] = (struct sembuf){1, 4, 0};
    cool(&arena);
    point("msgsnd", queue >= 0 && msgsnd(queue, sent, sizeof(sent->text), 0) == 0);
    point("msgrcv", msgrcv(queue, got, sizeof(got->text), 7, 0) == (ssize_t)sizeof(got->text) &&
                        memcmp(sent, got, sizeof(*got)) == 0);
    point("semop", set >= 0 && semop(set, ops, 2) == 0 && semctl(set, 1, GETVAL) == 4);
    msgctl(queue, IPC_RMID, NULL);
    semctl(set, 0, IPC_RMID);
    arena_again(&arena);
}

static void posix_queue(void)
{
    struct mq_attr *attr = take(&arena, sizeof(*attr)), *seen = take(&arena, sizeof(*seen));
    char *name = take(&arena, 64), *sent = take_filled(&arena, 1024, 80), *got = take(&arena, 1024);
    struct timespec *until = take(&arena, sizeof(*until));
    unsigned *priority = take(&arena, sizeof(*priority));
    *attr = (struct mq_attr){.mq_maxmsg = 2, .mq_msgsize = 1024};
    snprintf(name, 64, "zalloc-hostile-%d", getpid());
    clock_gettime(CLOCK_REALTIME, until);
    until->tv_sec += 5;
    cool(&arena);
    int mq = (int)syscall(SYS_mq_open, name, O_RDWR | O_CREAT, 0600, attr);
    if (mq < 0) {
        skip("message queues", strerror(errno));
        arena_again(&arena);
        return;
    }
    point("mq_send", syscall(SYS_mq_timedsend, mq, sent, 1024, 3, until) == 0);
    point("mq_getattr", syscall(SYS_mq_getsetattr, mq, NULL, seen) == 0 && seen->mq_curmsgs == 1);
    point("mq_receive", syscall(SYS_mq_timedreceive, mq, got, 1024, priority, until) == 1024 &&
                            *priority == 3 && right(got, 0, 1024, 80));
    syscall(SYS_mq_unlink, name);
    close(mq);
    arena_again(&arena);
}

/* The kernel's own asynchronous I/O: control blocks, pointers to them, events and data. */
static void asynchronous(void)
{
    aio_context_t context = 0;
    int fd = scratch(O_DIRECT);
    char *from = take_filled(&arena, LEN + PAGE, 90), *to = take(&arena, LEN + PAGE);
    struct iocb **list = take(&arena, sizeof(struct iocb *)), *cb = take(&arena, sizeof(*cb));
    struct io_event *event = take(&arena, sizeof(*event));
    const size_t len = LEN + PAGE;
    if (fd < 0 || syscall(SYS_io_setup, 8, &context) < 0) {
        skip("io_submit", "not here");
        return;
    }
    list[0] = cb;
    *cb = (struct iocb){.aio_lio_opcode = IOCB_CMD_PWRITE,
                        .aio_fildes = (unsigned)fd,
                        .aio_buf = (uintptr_t)from,
                        .aio_nbytes = len};
    cool(&arena);
    bool good = syscall(SYS_io_submit, context, 1, list) == 1;
    (void)ctl("pager.evict", NULL, NULL, NULL, 0);
    good = good && syscall(SYS_io_getevents, context, 1, 1, event, NULL) == 1;
    point("io_submit: write", good && event->res == (int64_t)len);
    cb->aio_lio_opcode = IOCB_CMD_PREAD;
    cb->aio_buf = (uintptr_t)to;
    (void)go_cold(to, 0);
    good = syscall(SYS_io_submit, context, 1, list) == 1;
    (void)ctl("pager.evict", NULL, NULL, NULL, 0);
    good = good && syscall(SYS_io_getevents, context, 1, 1, event, NULL) == 1;
    point("io_submit: read", good && event->res == (int64_t)len && right(to, 0, len, 90));
    syscall(SYS_io_destroy, context);
    close(fd);
    arena_again(&arena);
}

int main(int argc, char **argv)
{
    if (!begin(argc, argv))
        return 77;
    arena = arena_new(24, 1);
    files();
    sockets();
    without_copy();
    given("", 0);
    given(", given away", SPLICE_F_GIFT);
    processes();
    system_v();
    posix_queue();
    asynchronous();
    return end();
}
