/* SPDX-License-Identifier: MIT */
/*
 * os_userfault -- userfaultfd does what the pager is built on: moves, copies, fills, refuses with
 * the errors of KERNEL.md, and says who touched what.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/os.h"
#include "tests/unit/unit.h"

#define N 16u

static size_t page;
static struct za_uffd_caps caps;
static char *heap, *mirror;

static char *map(size_t npages)
{
    void *p;

    CHECK_EQ(za_os->map(&p, npages * page), 0);
    return p;
}

/* Two registered ranges; the first holds pages 1, 2, 3 ... */
static int start(void)
{
    alarm(30);
    za_os_init();
    page = za_os->page_size;
    int fd = za_os->uffd_open(&caps);
    if (fd < 0) {
        fprintf(stderr, "userfaultfd: %s\n", za_os_errname(fd));
        UNIT_SKIP("userfaultfd is refused here");
    }
    heap = map(N);
    mirror = map(N);
    for (unsigned i = 0; i < N; i++)
        memset(heap + i * page, (int)i + 1, page);
    CHECK_EQ(za_os->uffd_register(fd, heap, N * page), 0);
    CHECK_EQ(za_os->uffd_register(fd, mirror, N * page), 0);
    return fd;
}

static int start_with_move(void)
{
    int fd = start();

    if (!caps.move)
        UNIT_SKIP("this kernel has no UFFDIO_MOVE");
    return fd;
}

static bool is(const char *p, unsigned value, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)p[i] != value)
            return false;
    return true;
}

static bool there(const char *p)
{
    unsigned char v = 0;

    CHECK_EQ(za_os->present(p, 1, &v), 0);
    return v & 1;
}

UNIT_TEST(opens_and_tells_its_abilities)
{
    struct za_uffd_msg m;
    int fd = start();

    CHECK(fd >= 0);
    CHECK_EQ(za_os->uffd_read(fd, &m), 0); /* nothing to say, and no waiting */
    CHECK_EQ(za_os->poll(&fd, 1, 0), 0);
    CHECK_EQ(za_os->close(fd), 0);
}

UNIT_TEST(register_and_unregister)
{
    int fd = start();
    char *other = map(4);

    CHECK_EQ(za_os->uffd_register(fd, other, 4 * page), 0);
    CHECK_EQ(za_os->uffd_register(fd, other, 4 * page), 0); /* again is nothing */
    CHECK_EQ(za_os->uffd_unregister(fd, other, 4 * page), 0);
    CHECK_EQ(other[0], 0); /* nobody asks us any more */
    CHECK(za_os->uffd_register(fd, other + 1, page) == -EINVAL);
    CHECK_EQ(za_os->unmap(other, 4 * page), 0);
    CHECK(za_os->uffd_register(fd, other, 4 * page) < 0);
}

UNIT_TEST(another_descriptor_is_busy)
{
    struct za_uffd_caps c;

    (void)start();
    int fd2 = za_os->uffd_open(&c);
    CHECK(fd2 >= 0);
    CHECK_EQ(za_os->uffd_register(fd2, heap, N * page), -EBUSY);
}

/* --- move --- */

UNIT_TEST(move_moves)
{
    int fd = start_with_move();

    CHECK_EQ(za_os->uffd_move(fd, mirror, heap, N * page, false), N * page);
    for (unsigned i = 0; i < N; i++) {
        CHECK(!there(heap + i * page));
        CHECK(is(mirror + i * page, i + 1, page));
    }
    CHECK_EQ(za_os->uffd_move(fd, heap + 3 * page, mirror + 3 * page, page, true), page);
    CHECK(is(heap + 3 * page, 4, page));
    CHECK(!there(mirror + 3 * page));
}

UNIT_TEST(move_onto_something_is_eexist)
{
    int fd = start_with_move();

    CHECK_EQ(za_os->uffd_move(fd, mirror, heap, page, false), page);
    CHECK_EQ(za_os->uffd_move(fd, mirror, heap + page, page, false), -EEXIST);
    CHECK(is(mirror, 1, page) && is(heap + page, 2, page));
}

UNIT_TEST(move_of_nothing_is_enoent)
{
    int fd = start_with_move();

    CHECK_EQ(za_os->purge(heap, page), 0);
    CHECK_EQ(za_os->uffd_move(fd, mirror, heap, page, false), -ENOENT);
}

/* Stops at the first refusal and says how far it came. */
UNIT_TEST(move_stops_at_a_hole)
{
    int fd = start_with_move();

    CHECK_EQ(za_os->purge(heap + 5 * page, page), 0);
    CHECK_EQ(za_os->uffd_move(fd, mirror, heap, N * page, false), 5 * page);
    CHECK(there(mirror + 4 * page) && !there(mirror + 5 * page));
    CHECK(there(heap + 6 * page));
}

UNIT_TEST(move_stops_at_an_occupied_place)
{
    int fd = start_with_move();

    CHECK_EQ(za_os->uffd_zero(fd, mirror + 2 * page, page, false), page);
    CHECK_EQ(za_os->uffd_move(fd, mirror, heap, N * page, false), 2 * page);
    CHECK(is(heap + 2 * page, 3, page));
}

UNIT_TEST(move_of_locked_memory_is_einval)
{
    int fd = start_with_move();

    if (syscall(SYS_mlock, heap, 4 * page) < 0 /* sanitizers disarm mlock */)
        UNIT_SKIP("mlock is refused here");
    CHECK_EQ(za_os->uffd_move(fd, mirror, heap, page, false), -EINVAL);
    CHECK(is(heap, 1, page));
    CHECK_EQ(syscall(SYS_munlock, heap, 4 * page), 0);
    CHECK_EQ(za_os->uffd_move(fd, mirror, heap, page, false), page);
}

UNIT_TEST(move_to_an_unregistered_place_is_einval)
{
    int fd = start_with_move();
    char *other = map(1);

    CHECK_EQ(za_os->uffd_move(fd, other, heap, page, false), -EINVAL);
}

/* A fork sends its event; somebody must read it, or fork waits. */
static void *read_fork_event(void *arg)
{
    const int fd = *(int *)arg;
    static struct za_uffd_msg m;

    while (m.event != ZA_EV_FORK)
        if (za_os->poll(&fd, 1, UINT64_MAX) == 1)
            (void)za_os->uffd_read(fd, &m);
    return &m;
}

static pid_t fork_and_wait(int fd, int *its_fd)
{
    pthread_t t;
    void *m = NULL;
    int status;

    if (caps.event_fork)
        CHECK_EQ(pthread_create(&t, NULL, read_fork_event, &fd), 0);
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    if (caps.event_fork) {
        pthread_join(t, &m);
        *its_fd = ((struct za_uffd_msg *)m)->fd;
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    return pid;
}

/* After a fork pages are shared, even when the child is long dead; populate makes them ours (D3).
 */
UNIT_TEST(move_after_fork_is_ebusy_until_populated)
{
    uint64_t word;
    int its_fd = -1, fd = start_with_move();

    (void)fork_and_wait(fd, &its_fd);
    CHECK_EQ(za_os->uffd_move(fd, mirror, heap, page, false), -EBUSY);
    if (za_os->pagemap(heap, 1, &word) == 1)
        CHECK(word & ZA_PM_EXCLUSIVE);
    CHECK_EQ(za_os->populate(heap, page), 0);
    CHECK_EQ(za_os->uffd_move(fd, mirror, heap, page, false), page);
    CHECK(is(mirror, 1, page));
}

/* --- copy and zero --- */

UNIT_TEST(copy_fills_holes_only)
{
    int fd = start();

    CHECK_EQ(za_os->uffd_copy(fd, mirror, heap + 6 * page, 2 * page, true), 2 * page);
    CHECK(is(mirror, 7, page) && is(mirror + page, 8, page));
    CHECK_EQ(za_os->uffd_copy(fd, mirror, heap, page, true), -EEXIST);
    CHECK(is(mirror, 7, page));
}

UNIT_TEST(copy_stops_at_a_page)
{
    int fd = start();

    CHECK_EQ(za_os->uffd_copy(fd, mirror + 3 * page, heap, page, true), page);
    CHECK_EQ(za_os->uffd_copy(fd, mirror, heap, N * page, true), 3 * page);
}

UNIT_TEST(zero_fills_holes_only)
{
    int fd = start();

    CHECK_EQ(za_os->uffd_zero(fd, mirror, 3 * page, true), 3 * page);
    CHECK(is(mirror, 0, 3 * page));
    mirror[5] = 1; /* an ordinary copy on write */
    CHECK(is(mirror + 6, 0, page));
    CHECK_EQ(za_os->uffd_zero(fd, heap, page, true), -EEXIST);
    CHECK(is(heap, 1, page));
}

UNIT_TEST(copy_outside_is_refused)
{
    int fd = start();
    char *other = map(1);

    CHECK(za_os->uffd_copy(fd, other, heap, page, true) < 0);
    CHECK(za_os->uffd_zero(fd, other, page, true) < 0);
}

/* --- messages --- */

static void *touch(void *at)
{
    return (void *)(uintptr_t)(unsigned char)*(volatile char *)at;
}

static void *write_to(void *at)
{
    *(volatile char *)at = 55;
    return NULL;
}

static void expect_message(int fd, const char *at, bool write)
{
    struct za_uffd_msg m;

    CHECK_EQ(za_os->poll(&fd, 1, UINT64_MAX), 1);
    CHECK_EQ(za_os->uffd_read(fd, &m), 1);
    CHECK_EQ(m.event, ZA_EV_FAULT);
    CHECK_EQ(m.addr / page, (uintptr_t)at / page);
    CHECK_EQ(m.write, write);
}

UNIT_TEST(a_read_is_reported_and_served)
{
    pthread_t t;
    void *got;
    int fd = start();

    CHECK_EQ(pthread_create(&t, NULL, touch, mirror + 2 * page + 100), 0);
    expect_message(fd, mirror + 2 * page, false);
    CHECK_EQ(za_os->uffd_copy(fd, mirror + 2 * page, heap + 8 * page, page, true), page);
    pthread_join(t, &got);
    CHECK_EQ(got, 9);
}

UNIT_TEST(a_write_is_reported_as_one)
{
    pthread_t t;
    int fd = start();

    CHECK_EQ(pthread_create(&t, NULL, write_to, mirror + 2 * page + 100), 0);
    expect_message(fd, mirror + 2 * page, true);
    CHECK_EQ(za_os->uffd_zero(fd, mirror + 2 * page, page, true), page);
    pthread_join(t, NULL);
    CHECK_EQ(mirror[2 * page + 100], 55);
    CHECK_EQ(mirror[2 * page + 101], 0);
}

/* A wake without an answer makes the thread ask again. */
UNIT_TEST(a_wake_makes_it_ask_again)
{
    pthread_t t;
    void *got;
    int fd = start_with_move();

    CHECK_EQ(pthread_create(&t, NULL, touch, mirror + page), 0);
    expect_message(fd, mirror + page, false);
    CHECK_EQ(za_os->uffd_wake(fd, mirror + page, page), 0);
    expect_message(fd, mirror + page, false);
    CHECK_EQ(za_os->uffd_move(fd, mirror + page, heap, page, false), page); /* asleep still */
    CHECK_EQ(za_os->uffd_wake(fd, mirror + page, page), 0);
    pthread_join(t, &got);
    CHECK_EQ(got, 1);
}

/* A page brought by MOVE wakes who waits for it. */
UNIT_TEST(move_wakes)
{
    pthread_t t;
    void *got;
    int fd = start_with_move();

    CHECK_EQ(pthread_create(&t, NULL, touch, mirror), 0);
    expect_message(fd, mirror, false);
    CHECK_EQ(za_os->uffd_move(fd, mirror, heap, N * page, true), N * page);
    pthread_join(t, &got);
    CHECK_EQ(got, 1);
}

static void *write_out(void *arg)
{
    int *pipe_end = arg;

    return (void *)write(pipe_end[1], mirror + 3 * page, 8);
}

/* Full rights: the kernel's own accesses wait for us as well (D5). */
UNIT_TEST(system_calls_are_served)
{
    pthread_t t;
    char bytes[8];
    int ends[2], fd = start();

    CHECK_EQ(pipe(ends), 0);
    CHECK_EQ(pthread_create(&t, NULL, write_out, ends), 0);
    expect_message(fd, mirror + 3 * page, false);
    CHECK_EQ(za_os->uffd_copy(fd, mirror + 3 * page, heap + 4 * page, page, true), page);
    CHECK_EQ(read(ends[0], bytes, 8), 8);
    CHECK(is(bytes, 5, 8));
    pthread_join(t, NULL);
}

UNIT_TEST(poll_waits_no_longer_than_told)
{
    int fd = start();
    uint64_t before = za_os->now();

    CHECK_EQ(za_os->poll(&fd, 1, 20 * ZA_NS_PER_MS), 0);
    CHECK(za_os->now() - before >= 20 * ZA_NS_PER_MS);
}

UNIT_TEST(poll_looks_at_all)
{
    int s[2], fd = start();

    CHECK_EQ(za_os->socketpair(s), 0);
    int fds[3] = {fd, s[0], s[1]};
    CHECK_EQ(za_os->poll(fds, 3, 0), 0);
    CHECK_EQ(za_os->say(s[1]), 0);
    CHECK_EQ(za_os->poll(fds, 3, UINT64_MAX), 1);
    CHECK_EQ(za_os->hear(s[0], true), 1);
    CHECK_EQ(za_os->poll(fds, 3, 0), 0);
    CHECK_EQ(za_os->close(s[1]), 0);
    CHECK_EQ(za_os->poll(fds, 2, UINT64_MAX), 1); /* the end is something to look at too */
}

/* poll(2) itself refuses: the thread would look without ever sleeping. */
UNIT_TEST(poll_sleeps_where_no_file_may_be_open)
{
    const struct rlimit none = {0, 0};
    int s[2], fd = start();
    uint64_t before = za_os->now();

    CHECK_EQ(za_os->socketpair(s), 0);
    int fds[2] = {fd, s[0]};
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
    CHECK_EQ(za_os->poll(fds, 2, 20 * ZA_NS_PER_MS), 0);
    CHECK(za_os->now() - before >= 20 * ZA_NS_PER_MS);
    CHECK_EQ(za_os->say(s[1]), 0);
    CHECK_EQ(za_os->poll(fds, 2, UINT64_MAX), 1);
}

/* The child's pages are served through the descriptor that came with the event (D1). */
UNIT_TEST(fork_is_announced)
{
    pthread_t t;
    void *m;
    int status, fd = start();

    if (!caps.event_fork)
        UNIT_SKIP("EVENT_FORK is refused here");
    CHECK_EQ(pthread_create(&t, NULL, read_fork_event, &fd), 0);
    pid_t pid = fork();
    if (pid == 0)
        _exit(*(volatile char *)(mirror + 7 * page));
    pthread_join(t, &m);
    int its_fd = ((struct za_uffd_msg *)m)->fd;
    expect_message(its_fd, mirror + 7 * page, false);
    CHECK_EQ(za_os->uffd_copy(its_fd, mirror + 7 * page, heap + 12 * page, page, true), page);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(WEXITSTATUS(status), 13);
    CHECK(!there(mirror + 7 * page));
    CHECK_EQ(za_os->close(its_fd), 0);
}
