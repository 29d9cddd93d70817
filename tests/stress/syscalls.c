/* SPDX-License-Identifier: MIT */
/*
 * syscalls -- cold heap memory that nobody but the kernel touches, in every way we know.
 *
 * usage: syscalls [-i idle_ms] [-r rounds] [-S seed] [case...]
 *
 * Each case prepares heap objects, lets them go cold, uses them as arguments of system calls only
 * (data, vectors, structures, paths, futex words, event arrays, signal and thread stacks), and
 * checks what arrived on either side. A system call that fails with EFAULT, or any wrong byte,
 * ends the program with status 1. What the kernel holds on to is in pinned.c.
 */
#include "cold.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#define NVECTORS 24UL

static void case_file(void)
{
    int fd = open_scratch(0);
    struct object from = fresh(1000003), to = fresh(1000003);
    cool();
    expect(write(fd, from.bytes, from.size), (long)from.size, "write");
    expect(pread(fd, to.bytes, to.size, 0), (long)to.size, "pread");
    to.id = from.id;
    cool();
    drop(&to, "read from a file");
    drop(&from, "written to a file");
    close(fd);
}

/* Data, and the vectors themselves, are cold. */
static void case_vectors(void)
{
    int fd = open_scratch(0);
    struct iovec *vectors = cold_struct(2 * NVECTORS * sizeof(struct iovec));
    struct object from[NVECTORS], to[NVECTORS];
    size_t total = 0;
    for (size_t i = 0; i < NVECTORS; i++) {
        from[i] = fresh(rng_below(&rng, 60000) + 1);
        to[i] = fresh(from[i].size);
        vectors[i] = (struct iovec){from[i].bytes, from[i].size};
        vectors[NVECTORS + i] = (struct iovec){to[i].bytes, to[i].size};
        total += from[i].size;
    }
    cool();
    expect(writev(fd, vectors, NVECTORS), (long)total, "writev");
    expect(preadv(fd, vectors + NVECTORS, NVECTORS, 0), (long)total, "preadv");
    for (size_t i = 0; i < NVECTORS; i++) {
        to[i].id = from[i].id;
        drop(&to[i], "preadv");
        drop(&from[i], "writev");
    }
    free(vectors);
    close(fd);
}

struct message {
    struct msghdr header;
    struct iovec vector;
    char control[CMSG_SPACE(sizeof(int))];
};

static struct message *new_message(const struct object *object)
{
    struct message *message = cold_struct(sizeof(*message));
    message->vector = (struct iovec){object->bytes, object->size};
    message->header.msg_iov = &message->vector;
    message->header.msg_iovlen = 1;
    message->header.msg_control = message->control;
    message->header.msg_controllen = sizeof(message->control);
    return message;
}

/* Header, vector, control data (a descriptor) and payload, all cold, on both sides. */
static void case_messages(void)
{
    int ends[2];
    expect(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0, "socketpair");
    struct object from = fresh(30000), to = fresh(30000);
    struct message *sent = new_message(&from), *received = new_message(&to);
    struct cmsghdr *control = CMSG_FIRSTHDR(&sent->header);
    *control = (struct cmsghdr){
        .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(control), &ends[0], sizeof(int));
    cool();
    expect(sendmsg(ends[0], &sent->header, 0), (long)from.size, "sendmsg");
    expect(recvmsg(ends[1], &received->header, 0), (long)to.size, "recvmsg");
    int passed;
    const struct cmsghdr *arrived = CMSG_FIRSTHDR(&received->header);
    if (!arrived)
        die("WRONG: recvmsg: no control data arrived");
    memcpy(&passed, CMSG_DATA(arrived), sizeof(passed));
    expect(fcntl(passed, F_GETFD) >= 0, 1, "a descriptor passed through cold memory");
    to.id = from.id;
    drop(&to, "recvmsg");
    drop(&from, "sendmsg");
    close(passed), close(ends[0]), close(ends[1]);
    free(sent), free(received);
}

static void case_structures(void)
{
    struct stat *cold = cold_struct(sizeof(*cold)), warm;
    struct utsname *name = cold_struct(sizeof(*name));
    struct timespec *wait = cold_struct(sizeof(*wait));
    char *path = cold_struct(PATH_MAX), *directory = cold_struct(PATH_MAX);
    char *random = cold_struct(4096), expected[PATH_MAX];
    strcpy(path, "/proc/self/exe");
    wait->tv_nsec = 1000;
    expect(stat("/proc/self/exe", &warm), 0, "stat");
    expect(getcwd(expected, sizeof(expected)) != NULL, 1, "getcwd");
    cool();
    expect(stat(path, cold), 0, "stat with a cold path and structure");
    expect(uname(name), 0, "uname");
    expect(nanosleep(wait, wait), 0, "nanosleep");
    expect(getcwd(directory, PATH_MAX) != NULL, 1, "getcwd into cold memory");
    expect(syscall(SYS_getrandom, random, 4096, 0), 4096, "getrandom");
    expect(warm.st_ino == cold->st_ino && warm.st_size == cold->st_size, 1, "what stat says");
    expect(strcmp(directory, expected), 0, "what getcwd says");
    expect(strcmp(name->sysname, "Linux"), 0, "what uname says");
    free(cold), free(name), free(wait), free(path), free(directory), free(random);
}

static size_t count_entries(const char *path)
{
    size_t count = 0;
    DIR *directory = opendir(path);
    while (directory && readdir(directory))
        count++;
    if (directory)
        closedir(directory);
    return count;
}

static void case_getdents(void)
{
    size_t size = 16 * PAGE, count = 0;
    char *buffer = cold_struct(size);
    int fd = open("/proc/sys/kernel", O_RDONLY | O_DIRECTORY);
    size_t expected = count_entries("/proc/sys/kernel");
    for (long got = 1; got > 0;) {
        cool();
        got = syscall(SYS_getdents64, fd, buffer, size);
        if (got < 0)
            die_of("getdents64", got);
        for (long at = 0; at < got; count++)
            at += ((struct dirent64 *)(void *)(buffer + at))->d_reclen;
    }
    expect((long)count, (long)expected, "the number of directory entries");
    close(fd);
    free(buffer);
}

static void case_epoll(void)
{
    int queue = epoll_create1(0), ends[2][2];
    struct epoll_event *events = cold_struct(64 * sizeof(*events));
    struct pollfd *polls = cold_struct(2 * sizeof(*polls));
    for (unsigned i = 0; i < 2; i++) {
        expect(pipe(ends[i]), 0, "pipe");
        events[40 + i] = (struct epoll_event){.events = EPOLLIN, .data = {.u64 = 77 + i}};
        polls[i] = (struct pollfd){ends[i][0], POLLIN, 0};
    }
    cool();
    for (unsigned i = 0; i < 2; i++)
        expect(epoll_ctl(queue, EPOLL_CTL_ADD, ends[i][0], &events[40 + i]), 0, "epoll_ctl");
    expect(write(ends[1][1], "x", 1), 1, "write");
    cool();
    expect(epoll_wait(queue, events, 64, 1000), 1, "epoll_wait");
    expect((long)events[0].data.u64, 78, "the event");
    cool();
    expect(poll(polls, 2, 1000), 1, "poll");
    expect(polls[1].revents, POLLIN, "the polled event");
    for (unsigned i = 0; i < 2; i++)
        close(ends[i][0]), close(ends[i][1]);
    close(queue);
    free(events), free(polls);
}

static long futex(_Atomic(uint32_t) *word, int operation, uint32_t value)
{
    return syscall(SYS_futex, word, operation, value, NULL, NULL, 0);
}

static void *wake_later(void *argument)
{
    _Atomic(uint32_t) *word = argument;
    cool();
    atomic_store(word, 6);
    futex(word, FUTEX_WAKE, 1);
    return NULL;
}

/* The word is cold when the kernel reads it, and goes cold again while somebody waits on it. */
static void case_futex(void)
{
    _Atomic(uint32_t) *word = cold_struct(sizeof(*word));
    pthread_t thread;
    atomic_store(word, 5);
    cool();
    expect(futex(word, FUTEX_WAIT, 4), -1, "futex with another value");
    expect(errno, EAGAIN, "its errno");
    cool();
    expect(futex(word, FUTEX_WAKE, 1), 0, "futex wake of nobody");
    expect(pthread_create(&thread, NULL, wake_later, word), 0, "pthread_create");
    while (atomic_load(word) == 5)
        if (futex(word, FUTEX_WAIT, 5) != 0 && errno != EAGAIN && errno != EINTR)
            die_of("futex wait", -1);
    pthread_join(thread, NULL);
    expect((long)atomic_load(word), 6, "the futex word");
    free((void *)word);
}

static void write_remote(const struct object *object)
{
    struct object patch = fresh(object->size);
    patch.id = object->id + 1;
    object_fill(&patch, patch.id);
    struct iovec local = {patch.bytes, patch.size}, remote = {object->bytes, object->size};
    expect(process_vm_writev(getppid(), &local, 1, &remote, 1, 0), (long)object->size,
           "process_vm_writev");
}

/* A child that has forgotten its own copy reads the parent's memory, then changes it. */
static void case_process_vm(void)
{
    struct object object = fresh(500000);
    prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
    for (unsigned writing = 0; writing < 2; writing++) {
        cool();
        pid_t pid = fork();
        if (pid == 0) {
            static unsigned char copy[500000];
            struct iovec local = {copy, sizeof(copy)}, remote = {object.bytes, object.size};
            cool();
            expect(process_vm_readv(getppid(), &local, 1, &remote, 1, 0), (long)object.size,
                   "process_vm_readv");
            object_check_copy(&object, copy, object.size, "process_vm_readv");
            if (writing)
                write_remote(&object);
            _exit(0);
        }
        int status = 0;
        expect(waitpid(pid, &status, 0), pid, "waitpid");
        expect(status, 0, "the child that reads our memory");
    }
    object.id++;
    drop(&object, "changed by process_vm_writev");
}

static struct object *signalled;
static volatile sig_atomic_t signals;

static void on_signal(int number)
{
    (void)number;
    object_check(signalled, "in a signal handler");
    signals++;
}

/* The kernel builds the signal frame on a cold stack. */
static void case_signal_stack(void)
{
    size_t size = 64UL * 1024;
    stack_t stack = {.ss_sp = cold_struct(size), .ss_size = size}, none = {.ss_flags = SS_DISABLE};
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};
    struct object object = fresh(100000);
    signalled = &object;
    expect(sigaltstack(&stack, NULL), 0, "sigaltstack");
    expect(sigaction(SIGUSR1, &action, NULL), 0, "sigaction");
    for (int i = 1; i <= 3; i++) {
        cool();
        raise(SIGUSR1);
        expect(signals, i, "signals seen");
    }
    signals = 0;
    expect(sigaltstack(&none, NULL), 0, "sigaltstack off");
    free(stack.ss_sp);
    drop(&object, "after signals");
}

static void *sleep_on_heap(void *argument)
{
    struct object local = *(struct object *)argument;
    unsigned char copy[8192];
    memcpy(copy, local.bytes, sizeof(copy));
    cool();
    sleep_ms(idle_ms);
    object_check_copy(&local, copy, sizeof(copy), "on a stack in the heap");
    object_check(&local, "from a stack in the heap");
    return NULL;
}

/* A thread sleeps in the kernel while its stack, a piece of heap, goes cold below it. */
static void case_thread_stack(void)
{
    size_t size = 256UL * 1024;
    void *stack = cold_struct(size);
    struct object object = fresh(9000);
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    expect(pthread_attr_setstack(&attributes, stack, size), 0, "pthread_attr_setstack");
    expect(pthread_create(&thread, &attributes, sleep_on_heap, &object), 0, "pthread_create");
    cool();
    expect(pthread_join(thread, NULL), 0, "pthread_join");
    pthread_attr_destroy(&attributes);
    drop(&object, "after the thread");
    free(stack);
}

/* A program's words, and the environment, are read by the kernel from cold memory. */
static void case_exec(void)
{
    char **words = cold_struct(5 * sizeof(char *)), *script = cold_struct(PAGE);
    char **variables = cold_struct(2 * sizeof(char *)), *variable = cold_struct(PAGE);
    strcpy(script, "test \"$1\" = argument && test \"$VARIABLE\" = value");
    strcpy(variable, "VARIABLE=value");
    words[0] = "sh", words[1] = "-c", words[2] = script, words[3] = "sh", words[4] = NULL;
    words = realloc(words, 6 * sizeof(char *));
    if (!words)
        die("syscalls: no memory");
    words[4] = "argument", words[5] = NULL;
    variables[0] = variable;
    cool();
    pid_t pid;
    int status = 0;
    expect(posix_spawn(&pid, "/bin/sh", NULL, NULL, words, variables), 0, "posix_spawn");
    expect(waitpid(pid, &status, 0), pid, "waitpid");
    expect(status, 0, "a program started with cold words");
    free(words), free(script), free(variables), free(variable);
}

static const struct cold_case cases[] = {
    {"file", case_file},
    {"vectors", case_vectors},
    {"messages", case_messages},
    {"structures", case_structures},
    {"getdents", case_getdents},
    {"epoll", case_epoll},
    {"futex", case_futex},
    {"process_vm", case_process_vm},
    {"signal_stack", case_signal_stack},
    {"thread_stack", case_thread_stack},
    {"exec", case_exec},
};

int main(int argc, char **argv)
{
    return run_cases("syscalls", cases, sizeof(cases) / sizeof(cases[0]), argc, argv);
}
