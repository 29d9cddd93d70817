/* SPDX-License-Identifier: MIT */
/*
 * uring -- cold memory and io_uring: buffers of every kind, rings in heap memory, pages pinned for
 * as long as a device may write to them.
 *
 * Written to the system calls: no library needed.  A pinned page may not be taken out: what arrives
 * in it later would be lost.
 */
#include "arena.h"

#include <fcntl.h>
#include <linux/io_uring.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define LEN (4 * PAGE)
#define DEPTH 8u
#ifndef IORING_SETUP_NO_MMAP
#define IORING_SETUP_NO_MMAP (1u << 14)
#endif
#define SEND_ZC 47 /* IORING_OP_SEND_ZC */
#define CQE_MORE (1u << 1)
#define CQE_NOTIFICATION (1u << 3)

struct ring {
    int fd;
    unsigned flags;
    uint32_t *sq_tail, *sq_mask, *sq_array, *sq_flags, *cq_head, *cq_tail, *cq_mask;
    struct io_uring_sqe *sqes;
    struct io_uring_cqe *cqes;
    void *map, *sqe_map;
    size_t map_len;
};

static struct arena arena;

static void use(struct ring *r, const struct io_uring_params *p)
{
    char *m = r->map;
    r->sq_tail = (uint32_t *)(void *)(m + p->sq_off.tail);
    r->sq_mask = (uint32_t *)(void *)(m + p->sq_off.ring_mask);
    r->sq_array = (uint32_t *)(void *)(m + p->sq_off.array);
    r->sq_flags = (uint32_t *)(void *)(m + p->sq_off.flags);
    r->cq_head = (uint32_t *)(void *)(m + p->cq_off.head);
    r->cq_tail = (uint32_t *)(void *)(m + p->cq_off.tail);
    r->cq_mask = (uint32_t *)(void *)(m + p->cq_off.ring_mask);
    r->cqes = (struct io_uring_cqe *)(void *)(m + p->cq_off.cqes);
    r->sqes = r->sqe_map;
}

/* With NO_MMAP the rings are heap memory. */
static bool open_ring(struct ring *r, unsigned flags)
{
    struct io_uring_params *p = take(&arena, sizeof(*p));
    *r = (struct ring){.flags = flags};
    p->flags = flags;
    p->sq_thread_idle = 20;
    if (flags & IORING_SETUP_NO_MMAP) {
        /* Never freed: the kernel may write there for a while after the ring was closed. */
        r->map = memset(block(PAGE, 0), 0, PAGE);
        r->sqe_map = memset(block(PAGE, 0), 0, PAGE);
        /* The last word of either; older headers have no name for it. */
        ((uint64_t *)(void *)(&p->cq_off + 1))[-1] = (uintptr_t)r->map;
        ((uint64_t *)(void *)(&p->sq_off + 1))[-1] = (uintptr_t)r->sqe_map;
    }
    (void)go_cold(p, 0);
    r->fd = (int)syscall(SYS_io_uring_setup, DEPTH, p);
    if (r->fd < 0)
        return false;
    if (!(flags & IORING_SETUP_NO_MMAP)) {
        r->map_len = p->cq_off.cqes + p->cq_entries * sizeof(struct io_uring_cqe) + PAGE;
        r->map = mmap(NULL, r->map_len, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, 0);
        r->sqe_map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, IORING_OFF_SQES);
    }
    use(r, p);
    return r->map != MAP_FAILED && r->sqe_map != MAP_FAILED;
}

static void close_ring(struct ring *r)
{
    close(r->fd);
    if (r->map_len) {
        munmap(r->map, r->map_len);
        munmap(r->sqe_map, PAGE);
    }
}

/* Queues one operation; the kernel has taken it when this returns, or will soon (SQPOLL). */
static bool submit(struct ring *r, struct io_uring_sqe sqe)
{
    uint32_t tail = *r->sq_tail, i = tail & *r->sq_mask;
    r->sqes[i] = sqe;
    r->sq_array[i] = i;
    __atomic_store_n(r->sq_tail, tail + 1, __ATOMIC_SEQ_CST);
    if (!(r->flags & IORING_SETUP_SQPOLL))
        return syscall(SYS_io_uring_enter, r->fd, 1, 0, 0, NULL, 0) == 1;
    if (__atomic_load_n(r->sq_flags, __ATOMIC_SEQ_CST) & IORING_SQ_NEED_WAKEUP)
        return syscall(SYS_io_uring_enter, r->fd, 1, 0, IORING_ENTER_SQ_WAKEUP, NULL, 0) >= 0;
    return true;
}

/* The result of the next operation that ends, and what buffer it took. */
static int complete(struct ring *r, unsigned *flags)
{
    while (*r->cq_head == __atomic_load_n(r->cq_tail, __ATOMIC_ACQUIRE))
        if (syscall(SYS_io_uring_enter, r->fd, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0)
            return -errno;
    const struct io_uring_cqe *e = &r->cqes[*r->cq_head & *r->cq_mask];
    int result = e->res;
    if (flags)
        *flags = e->flags;
    __atomic_store_n(r->cq_head, *r->cq_head + 1, __ATOMIC_RELEASE);
    return result;
}

static struct io_uring_sqe transfer(unsigned op, int fd, const void *p, size_t len)
{
    struct io_uring_sqe sqe = {
        .opcode = (uint8_t)op, .fd = fd, .addr = (uintptr_t)p, .len = (uint32_t)len};
    return sqe;
}

static bool does(struct ring *r, struct io_uring_sqe sqe, size_t len)
{
    return submit(r, sqe) && complete(r, NULL) == (int)len;
}

static int scratch(int flags)
{
    const char *directory = getenv("TMPDIR");
    char path[256];
    snprintf(path, sizeof(path), "%s/zalloc-uring.XXXXXX", directory ? directory : "/tmp");
    int fd = mkostemp(path, flags);
    if (fd < 0)
        fd = mkostemp(path, 0); /* not in this file system */
    if (fd >= 0)
        unlink(path);
    return fd;
}

static void evict(void)
{
    (void)ctl("pager.evict", NULL, NULL, NULL, 0);
}

static void name(const char *what, const char *how, bool good)
{
    char line[120];
    snprintf(line, sizeof(line), "%s%s", what, how);
    point(line, good);
}

/* Files and pipes, buffers anywhere; what arrives late arrives after the buffer has gone cold. */
static void plain(const char *how, unsigned flags, unsigned sqe_flags)
{
    struct ring r;
    int ends[2], fd = scratch(O_DIRECT);
    if (!open_ring(&r, flags)) {
        skip("io_uring", strerror(errno));
        arena_again(&arena);
        return;
    }
    char *from = take_filled(&arena, LEN, 1), *to = take(&arena, LEN), *late = take(&arena, LEN);
    struct iovec *v = take(&arena, sizeof(*v));
    *v = (struct iovec){late, LEN};
    evict();
    struct io_uring_sqe sqe = transfer(IORING_OP_WRITE, fd, from, LEN);
    sqe.flags = (uint8_t)sqe_flags;
    name("write", how, does(&r, sqe, LEN));
    evict();
    sqe = transfer(IORING_OP_READ, fd, to, LEN);
    sqe.flags = (uint8_t)sqe_flags;
    name("read", how, does(&r, sqe, LEN) && right(to, 0, LEN, 1) && right(from, 0, LEN, 1));
    bool good = pipe(ends) == 0;
    sqe = transfer(IORING_OP_READV, ends[0], v, 1);
    sqe.flags = (uint8_t)sqe_flags;
    good = good && submit(&r, sqe);
    sleep_ms(5); /* it waits now */
    evict();
    good = good && write(ends[1], from, LEN) == (ssize_t)LEN && complete(&r, NULL) == (int)LEN;
    name("readv that waits", how, good && right(late, 0, LEN, 1));
    close(ends[0]);
    close(ends[1]);
    close(fd);
    close_ring(&r);
    arena_again(&arena);
}

/* ---- registered buffers -------------------------------------------------------------------------
 */

static bool pinned(const void *p)
{
    evict();
    evict();
    return present(p, LEN) == LEN / PAGE;
}

static void registered(const char *how, unsigned flags)
{
    struct ring r;
    int ends[2], fd = scratch(O_DIRECT);
    struct iovec *v = take(&arena, 2 * sizeof(*v));
    char *from = take_filled(&arena, LEN, 3), *to = take_filled(&arena, LEN, 4);
    v[0] = (struct iovec){from, LEN};
    v[1] = (struct iovec){to, LEN};
    if (!open_ring(&r, flags)) {
        skip("registered buffers", strerror(errno));
        arena_again(&arena);
        return;
    }
    cool(&arena);
    long done = syscall(SYS_io_uring_register, r.fd, IORING_REGISTER_BUFFERS, v, 2);
    name("registering cold buffers", how, done == 0);
    name("registered buffers stay", how, done == 0 && pinned(from) && pinned(to));
    struct io_uring_sqe sqe = transfer(IORING_OP_WRITE_FIXED, fd, from, LEN);
    name("write_fixed", how, does(&r, sqe, LEN));
    sqe = transfer(IORING_OP_READ_FIXED, fd, to, LEN);
    sqe.buf_index = 1;
    evict();
    name("read_fixed", how, does(&r, sqe, LEN) && right(to, 0, LEN, 3));
    memset(to, 0, LEN);
    bool good = pipe(ends) == 0;
    sqe.fd = ends[0];
    sqe.off = (uint64_t)-1;
    good = good && submit(&r, sqe);
    sleep_ms(5);
    good = good && pinned(to) && write(ends[1], from, LEN) == (ssize_t)LEN;
    name("read_fixed that waits", how,
         good && complete(&r, NULL) == (int)LEN && right(to, 0, LEN, 3));
    syscall(SYS_io_uring_register, r.fd, IORING_UNREGISTER_BUFFERS, NULL, 0);
    name("unregistered: they go cold again", how, go_cold(to, LEN) && right(to, 0, LEN, 3));
    close(ends[0]);
    close(ends[1]);
    close(fd);
    close_ring(&r);
    arena_again(&arena);
}

/* A page pinned for good, in a process that forks and whose child writes: nobody's bytes change. */
static bool scribbles(void *p)
{
    memset(p, 0x77, LEN);
    evict();
    return true;
}

static void registered_and_forked(void)
{
    struct ring r;
    int ends[2];
    char *to = take_filled(&arena, LEN, 5);
    struct iovec v = {to, LEN};
    if (!open_ring(&r, 0) || pipe(ends) < 0) {
        arena_again(&arena);
        return;
    }
    bool good = syscall(SYS_io_uring_register, r.fd, IORING_REGISTER_BUFFERS, &v, 1) == 0;
    evict();
    good = good && in_child(scribbles, to) && right(to, 0, LEN, 5);
    evict();
    char *from = block(LEN, 6);
    struct io_uring_sqe sqe = transfer(IORING_OP_READ_FIXED, ends[0], to, LEN);
    sqe.off = (uint64_t)-1;
    good = good && write(ends[1], from, LEN) == (ssize_t)LEN && does(&r, sqe, LEN);
    point("a registered buffer after fork", good && right(to, 0, LEN, 6));
    free(from);
    close(ends[0]);
    close(ends[1]);
    close_ring(&r);
    arena_again(&arena);
}

/* ---- provided buffers ---------------------------------------------------------------------------
 */

static bool receives(struct ring *r, int ends[2], const char *from, char *const buffers[4])
{
    struct io_uring_sqe sqe = transfer(IORING_OP_READ, ends[0], NULL, LEN);
    unsigned flags = 0;
    sqe.flags = IOSQE_BUFFER_SELECT;
    sqe.buf_group = 9;
    bool good = submit(r, sqe);
    sleep_ms(5);
    evict();
    good = good && write(ends[1], from, LEN) == (ssize_t)LEN && complete(r, &flags) == (int)LEN;
    unsigned which = flags >> IORING_CQE_BUFFER_SHIFT;
    return good && which < 4 && right(buffers[which], 0, LEN, 7);
}

static void provided(void)
{
    struct ring r;
    int ends[2];
    char *from = take_filled(&arena, LEN, 7), *all = take(&arena, 4 * LEN);
    char *const buffers[4] = {all, all + LEN, all + 2 * LEN, all + 3 * LEN};
    if (!open_ring(&r, 0) || pipe(ends) < 0) {
        arena_again(&arena);
        return;
    }
    cool(&arena);
    struct io_uring_sqe sqe = transfer(IORING_OP_PROVIDE_BUFFERS, 4, all, LEN);
    sqe.buf_group = 9;
    point("provided buffers", submit(&r, sqe) && complete(&r, NULL) >= 0 &&
                                  receives(&r, ends, from, buffers) &&
                                  receives(&r, ends, from, buffers));
    close(ends[0]);
    close(ends[1]);
    close_ring(&r);
    arena_again(&arena);
}

static void provided_by_ring(void)
{
    struct ring r;
    int ends[2];
    struct io_uring_buf_ring *list = take(&arena, PAGE);
    struct io_uring_buf_reg *reg = take(&arena, sizeof(*reg));
    char *from = take_filled(&arena, LEN, 7), *all = take(&arena, 4 * LEN), *buffers[4];
    *reg = (struct io_uring_buf_reg){.ring_addr = (uintptr_t)list, .ring_entries = 4, .bgid = 9};
    if (!open_ring(&r, 0) || pipe(ends) < 0) {
        arena_again(&arena);
        return;
    }
    for (unsigned i = 0; i < 4; i++) {
        buffers[i] = all + i * LEN;
        list->bufs[i].addr = (uintptr_t)buffers[i];
        list->bufs[i].len = LEN;
        list->bufs[i].bid = (uint16_t)i;
    }
    cool(&arena);
    if (syscall(SYS_io_uring_register, r.fd, IORING_REGISTER_PBUF_RING, reg, 1) < 0) {
        skip("a ring of provided buffers", strerror(errno));
    } else {
        __atomic_store_n(&list->tail, 4, __ATOMIC_RELEASE);
        bool good = true;
        for (unsigned i = 0; i < 4; i++)
            good = receives(&r, ends, from, buffers) && good;
        point("a ring of provided buffers", good);
    }
    close(ends[0]);
    close(ends[1]);
    close_ring(&r);
    arena_again(&arena);
}

static void sent_without_copy(void)
{
    struct ring r;
    int ends[2];
    unsigned flags = 0;
    char *from = take_filled(&arena, LEN, 8), *to = take(&arena, LEN);
    if (!open_ring(&r, 0) || socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0) {
        arena_again(&arena);
        return;
    }
    cool(&arena);
    bool good = submit(&r, transfer(SEND_ZC, ends[0], from, LEN));
    int sent = complete(&r, &flags);
    if (sent == -EOPNOTSUPP || sent == -EINVAL) { /* local sockets: not by all kernels */
        good = true;
    } else {
        evict();
        good = good && sent == (int)LEN && recv(ends[1], to, LEN, MSG_WAITALL) == (ssize_t)LEN &&
               right(to, 0, LEN, 8);
        if (flags & CQE_MORE)
            good = complete(&r, &flags) >= 0 && (flags & CQE_NOTIFICATION) && good;
    }
    point("send_zc", good && right(from, 0, LEN, 8));
    close(ends[0]);
    close(ends[1]);
    close_ring(&r);
    arena_again(&arena);
}

int main(int argc, char **argv)
{
    if (!begin(argc, argv))
        return 77;
    arena = arena_new(16, 100);
    plain("", 0, 0);
    plain(", by the kernel's workers", 0, IOSQE_ASYNC);
    plain(", by the kernel's poller", IORING_SETUP_SQPOLL, 0);
    plain(", rings in the heap", IORING_SETUP_NO_MMAP, 0);
    registered("", 0);
    registered(", by the kernel's poller", IORING_SETUP_SQPOLL);
    registered_and_forked();
    provided();
    provided_by_ring();
    sent_without_copy();
    return end();
}
