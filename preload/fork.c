/* SPDX-License-Identifier: MIT */
/*
 * fork -- the handlers around fork(2), and libc's stdio lock in its place among ours.
 *
 * libc's fork runs the prepare handlers (last registered first), then takes the lock of its list of
 * open FILEs, then makes the child; the child resets the lock of every FILE, a write into memory
 * that fopen got from our malloc, and only then runs the child handlers (first registered first).
 * Two dangers:
 *
 *  D1  The child touches FILEs before our child handler gave it a userfaultfd of its own: a page of
 *      them that is stored would read as zeros. So prepare touches every FILE, its lock and its
 *      wide data.
 *  D2  Thread A forks and holds alloc's locks; thread B holds the list lock in fclose and calls
 *      free: if libc takes the list lock after our handlers, both wait for ever. So prepare takes
 *      the list lock first. It is recursive: libc takes it again on the same thread.
 *
 * Both are glibc's. musl (from 1.2.2) has none of them: its child touches no FILE before the child
 * handlers run, and what it allocates under locks of its own comes from its own allocator, never
 * from ours.
 *
 * In the child the list lock is reset, not unlocked: libc has reset it already if the parent had
 * threads, and unlocking a fresh recursive lock would leave its count at minus one. vfork,
 * posix_spawn, _Fork and a raw clone run no handlers; _Fork is async-signal-safe by contract, so
 * its child may not allocate anyway, and what it reads is the pager's business (EVENT_FORK).
 *
 * Locks: libc's list of FILEs, then the pager's, then every lock of alloc, held from prepare to
 * parent or child.
 * May sleep: yes.  May fault: yes, before alloc's prefork.  Allocates: nothing.
 */
#include "preload/fork.h"

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>

#include "alloc/alloc.h"
#include "base/base.h"
#include "base/remedy.h"
#include "pager/pager.h"
#include "preload/crash.h"
#include "preload/holes.h"

#ifdef __GLIBC__

/* libc's own, exported for debuggers and locale code since 2.2.5. */
extern void _IO_list_lock(void) __attribute__((weak));
extern void _IO_list_unlock(void) __attribute__((weak));
extern void _IO_list_resetlock(void) __attribute__((weak));
extern void *_IO_iter_begin(void) __attribute__((weak));
extern void *_IO_iter_end(void) __attribute__((weak));
extern void *_IO_iter_next(void *it) __attribute__((weak));
extern FILE *_IO_iter_file(void *it) __attribute__((weak));

/* What libc may touch behind these two pointers: a lock of 16 bytes, wide data of less than 512. */
#define LOCK_BYTES 16
#define WIDE_BYTES 512
#define FILE_BYTES (sizeof(FILE) + sizeof(void *)) /* the function table follows the FILE */

/*
 * Reads one byte at either end: fopen allocates all three parts as one block smaller than a page.
 */
static void touch(const void *p, size_t len)
{
    if (!p || !za_owns(p))
        return;
    (void)*(const volatile char *)p;
    const char *last = (const char *)p + len - 1;
    if (za_owns(last))
        (void)*(const volatile char *)last;
}

static void touch_files(void)
{
    if (za_without(D1_FILES) || !_IO_iter_begin || !_IO_iter_end || !_IO_iter_next ||
        !_IO_iter_file)
        return;
    for (void *it = _IO_iter_begin(); it != _IO_iter_end(); it = _IO_iter_next(it)) {
        const FILE *f = _IO_iter_file(it);
        touch(f, FILE_BYTES);
        touch(f->_lock, LOCK_BYTES);
        touch(f->_wide_data, WIDE_BYTES);
    }
}

static void lock_files(void)
{
    if (_IO_list_lock && !za_without(D2_STDIO_LOCK))
        _IO_list_lock();
}

static void unlock_files(void)
{
    if (_IO_list_unlock && !za_without(D2_STDIO_LOCK))
        _IO_list_unlock();
}

static void reset_files(void)
{
    if (_IO_list_resetlock)
        _IO_list_resetlock();
}

#else

static void touch_files(void)
{
}

static void lock_files(void)
{
}

static void unlock_files(void)
{
}

static void reset_files(void)
{
}

#endif

static void prepare(void)
{
    lock_files();
    touch_files();
    za_pager_prefork();
    touch_files(); /* what has left since; from here on nothing leaves */
    za_alloc_prefork();
}

static void parent(void)
{
    za_alloc_postfork_parent();
    za_pager_postfork_parent();
    unlock_files();
}

static void child(void)
{
    za_holes_close();
    za_crash_child();
    za_alloc_postfork_child();
    za_pager_postfork_child();
    reset_files();
}

void za_fork_register(void)
{
    (void)pthread_atfork(prepare, parent, child);
}
