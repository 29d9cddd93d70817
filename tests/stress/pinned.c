/* SPDX-License-Identifier: MIT */
/*
 * pinned -- cold heap memory that the kernel holds on to, or that the program protects or locks.
 *
 * usage: pinned [-i idle_ms] [-r rounds] [-S seed] [case...]
 *
 * O_DIRECT transfers, io_uring with plain and with registered (pinned) buffers, pages lying in a
 * pipe after vmsplice, read-only and locked pages: each goes cold at the awkward moments and must
 * hold the right bytes afterwards. A case the system cannot do prints a line and is left out.
 */
#include "cold.h"

#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>

/* The kernel does I/O into the pages themselves, and holds them meanwhile. */
static void case_direct(void)
{
    int fd = open_scratch(O_DIRECT);
    if (fd < 0) {
        printf("syscalls: no O_DIRECT in this file system: left out\n");
        return;
    }
    size_t size = 256 * PAGE;
    struct object from = {aligned_alloc(PAGE, size), size, ++last_id};
    struct object to = {aligned_alloc(PAGE, size), size, ++last_id};
    object_fill(&from, from.id);
    object_fill(&to, to.id);
    cool();
    expect(pwrite(fd, from.bytes, size, 0), (long)size, "pwrite with O_DIRECT");
    cool();
    expect(pread(fd, to.bytes, size, 0), (long)size, "pread with O_DIRECT");
    to.id = from.id;
    cool();
    drop(&to, "read with O_DIRECT");
    drop(&from, "written with O_DIRECT");
    close(fd);
}

/* A ring for one request at a time. */
struct ring {
    int fd;
    struct io_uring_params params;
    unsigned char *submissions, *completions;
    struct io_uring_sqe *entries;
};

static unsigned *ring_word(unsigned char *area, unsigned offset)
{
    return (unsigned *)(void *)(area + offset);
}

static unsigned char *ring_map(const struct ring *ring, size_t size, long offset)
{
    void *area = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd, offset);
    if (area == MAP_FAILED)
        die_of("mmap of a ring", -1);
    return area;
}

static int ring_open(struct ring *ring)
{
    memset(ring, 0, sizeof(*ring));
    ring->fd = (int)syscall(SYS_io_uring_setup, 4, &ring->params);
    if (ring->fd < 0)
        return 0;
    ring->submissions = ring_map(ring, PAGE, IORING_OFF_SQ_RING);
    ring->completions = ring_map(ring, PAGE, IORING_OFF_CQ_RING);
    ring->entries = (struct io_uring_sqe *)(void *)ring_map(ring, PAGE, IORING_OFF_SQES);
    return 1;
}

static void ring_close(const struct ring *ring)
{
    munmap(ring->submissions, PAGE);
    munmap(ring->completions, PAGE);
    munmap(ring->entries, PAGE);
    close(ring->fd);
}

/* Hands a request in, waits for it, and expects it to be done in full. */
static void ring_do(struct ring *ring, const struct io_uring_sqe *request, const char *what)
{
    unsigned *tail = ring_word(ring->submissions, ring->params.sq_off.tail);
    unsigned *head = ring_word(ring->completions, ring->params.cq_off.head);
    unsigned mask = *ring_word(ring->submissions, ring->params.sq_off.ring_mask);
    ring->entries[0] = *request;
    ring_word(ring->submissions, ring->params.sq_off.array)[*tail & mask] = 0;
    __atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
    expect(syscall(SYS_io_uring_enter, ring->fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0), 1, what);
    mask = *ring_word(ring->completions, ring->params.cq_off.ring_mask);
    const struct io_uring_cqe *done = (const void *)(ring->completions + ring->params.cq_off.cqes);
    errno = -done[*head & mask].res;
    expect(done[*head & mask].res, (long)request->len, what);
    __atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
}

static struct io_uring_sqe request_for(unsigned char operation, int fd, const struct object *object,
                                       unsigned index)
{
    struct io_uring_sqe request = {.opcode = operation,
                                   .fd = fd,
                                   .addr = (uintptr_t)object->bytes,
                                   .len = (unsigned)object->size,
                                   .buf_index = (unsigned short)index};
    return request;
}

/* Plain requests on cold memory, then fixed buffers: pinned while they go cold. */
static void case_uring(void)
{
    struct ring ring;
    int fd = open_scratch(0);
    if (!ring_open(&ring)) {
        printf("syscalls: no io_uring here: left out\n");
        close(fd);
        return;
    }
    struct object from = fresh(100 * PAGE), to = fresh(100 * PAGE);
    struct iovec buffers[2] = {{from.bytes, from.size}, {to.bytes, to.size}};
    for (unsigned fixed = 0; fixed < 2; fixed++) {
        struct io_uring_sqe out =
            request_for(fixed ? IORING_OP_WRITE_FIXED : IORING_OP_WRITE, fd, &from, 0);
        struct io_uring_sqe in =
            request_for(fixed ? IORING_OP_READ_FIXED : IORING_OP_READ, fd, &to, 1);
        object_fill(&from, ++last_id);
        object_fill(&to, ++last_id);
        cool();
        if (fixed)
            expect(syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_BUFFERS, buffers, 2), 0,
                   "registering buffers");
        cool();
        ring_do(&ring, &out, fixed ? "a fixed write by io_uring" : "a write by io_uring");
        cool();
        ring_do(&ring, &in, fixed ? "a fixed read by io_uring" : "a read by io_uring");
        to.id = from.id;
        object_check(&to, "read by io_uring");
    }
    ring_close(&ring);
    close(fd);
    cool();
    drop(&to, "read by io_uring, cold");
    drop(&from, "written by io_uring");
}

/* A pipe holds references to the pages while they go cold. */
static void case_vmsplice(void)
{
    int ends[2];
    size_t size = 12 * PAGE;
    unsigned char *copy = cold_struct(size);
    struct object object = {aligned_alloc(PAGE, size), size, ++last_id};
    object_fill(&object, object.id);
    expect(pipe(ends), 0, "pipe");
    struct iovec vector = {object.bytes, object.size};
    cool();
    expect(vmsplice(ends[1], &vector, 1, 0), (long)size, "vmsplice");
    cool();
    for (size_t got = 0; got < size;) {
        long step = read(ends[0], copy + got, size - got);
        if (step <= 0)
            die_of("read of spliced pages", step);
        got += (size_t)step;
    }
    object_check_copy(&object, copy, size, "spliced");
    drop(&object, "after vmsplice");
    close(ends[0]), close(ends[1]);
    free(copy);
}

static void case_protection(void)
{
    int fd = open("/dev/zero", O_RDWR), ends[2];
    size_t size = 8 * PAGE;
    unsigned char *copy = cold_struct(size);
    struct object object = {aligned_alloc(PAGE, size), size, ++last_id};
    object_fill(&object, object.id);
    expect(pipe(ends), 0, "pipe");
    cool();
    expect(mprotect(object.bytes, size, PROT_READ), 0, "mprotect of cold memory");
    cool();
    expect(write(ends[1], object.bytes, size), (long)size, "write of read-only memory");
    expect(read(ends[0], copy, size), (long)size, "read");
    object_check_copy(&object, copy, size, "read-only");
    expect(read(fd, object.bytes, size), -1, "read into read-only memory");
    expect(errno, EFAULT, "its errno");
    expect(mprotect(object.bytes, size, PROT_READ | PROT_WRITE), 0, "mprotect back");
    object_check(&object, "after mprotect");
    cool();
    if (mlock(object.bytes, size) == 0) {
        cool();
        object_check(&object, "locked");
        munlock(object.bytes, size);
    }
    cool();
    drop(&object, "after munlock");
    close(fd), close(ends[0]), close(ends[1]);
    free(copy);
}

static const struct cold_case cases[] = {
    {"direct", case_direct},
    {"uring", case_uring},
    {"vmsplice", case_vmsplice},
    {"protection", case_protection},
};

int main(int argc, char **argv)
{
    return run_cases("pinned", cases, sizeof(cases) / sizeof(cases[0]), argc, argv);
}
