/* SPDX-License-Identifier: MIT */
/*
 * record -- preloaded into a program, writes a raw trace of its malloc calls.
 *
 * BENCH_TRACE names the file's beginning; the process id is added.  Events go by one atomic index
 * into a mapped file, so nothing is lost however the program ends.  Children by fork write nothing;
 * those by exec start their own file.  Works on glibc's own allocator.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "trace.h"

#define ROOM 6000000u
#define FILE_BYTES (sizeof(struct trace_raw_header) + ROOM * sizeof(struct trace_raw))

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t align, size_t size);
void __libc_free(void *p);

static struct trace_raw_header *trace;
static __thread uint32_t thread __attribute__((tls_model("initial-exec")));

static void note(enum trace_op op, const void *p, size_t size, size_t align)
{
    struct trace_raw_header *t = __atomic_load_n(&trace, __ATOMIC_ACQUIRE);
    if (!t || !p)
        return;
    uint64_t i = __atomic_fetch_add(&t->events, 1, __ATOMIC_RELAXED);
    if (i >= ROOM)
        return;
    if (!thread)
        thread = (uint32_t)syscall(SYS_gettid);
    ((struct trace_raw *)(t + 1))[i] = (struct trace_raw){
        (uintptr_t)p, size, thread, (uint16_t)op, (uint16_t)(align ? __builtin_ctzl(align) : 0)};
}

static void stop(void)
{
    __atomic_store_n(&trace, NULL, __ATOMIC_RELEASE);
}

__attribute__((constructor)) static void start(void)
{
    char path[512];
    const char *prefix = getenv("BENCH_TRACE");
    if (!prefix)
        return;
    snprintf(path, sizeof(path), "%s.%d", prefix, (int)getpid());
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return;
    void *p = MAP_FAILED;
    if (ftruncate(fd, (off_t)FILE_BYTES) == 0)
        p = mmap(NULL, FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (p == MAP_FAILED)
        return;
    ((struct trace_raw_header *)p)->room = ROOM;
    pthread_atfork(NULL, NULL, stop);
    __atomic_store_n(&trace, p, __ATOMIC_RELEASE);
}

void *malloc(size_t size)
{
    void *p = __libc_malloc(size);
    note(TRACE_MALLOC, p, size, 0);
    return p;
}

void *calloc(size_t n, size_t size)
{
    void *p = __libc_calloc(n, size);
    note(TRACE_CALLOC, p, n * size, 0);
    return p;
}

void *realloc(void *p, size_t size)
{
    if (p && !size) {
        free(p);
        return NULL;
    }
    note(TRACE_REALLOC_FROM, p, 0, 0);
    void *q = __libc_realloc(p, size);
    note(TRACE_REALLOC_TO, q ? q : p, size, 0);
    return q;
}

void free(void *p)
{
    note(TRACE_FREE, p, 0, 0);
    __libc_free(p);
}

void *memalign(size_t align, size_t size)
{
    void *p = __libc_memalign(align, size);
    note(TRACE_ALIGNED, p, size, align);
    return p;
}

void *aligned_alloc(size_t align, size_t size)
{
    return memalign(align, size);
}

/* A program linked with another allocator would ask that one about glibc's blocks. */
size_t malloc_usable_size(void *p)
{
    static size_t (*real)(void *);
    if (!real) {
        void *libc = dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD);
        *(void **)&real = libc ? dlsym(libc, "malloc_usable_size") : NULL;
    }
    return real ? real(p) : 0;
}

int posix_memalign(void **out, size_t align, size_t size)
{
    if (!align || align & (align - 1) || align % sizeof(void *))
        return 22; /* EINVAL */
    void *p = memalign(align, size);
    if (!p)
        return 12; /* ENOMEM */
    *out = p;
    return 0;
}
