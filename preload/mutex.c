/* SPDX-License-Identifier: MIT */
/*
 * mutex -- mutexes whose word the kernel itself changes.
 *
 * A contended mutex with priority inheritance is handed over by the kernel: FUTEX_LOCK_PI and
 * UNLOCK_PI read and write the mutex's word. Where the page is not there the kernel fetches it by
 * fixup_user_fault() without leave to retry, which userfaultfd does not serve: the call fails with
 * EFAULT, and libc, to which that is impossible, aborts. The mutex's owner has touched the word
 * just before, which is no help: the worker may take the page out at any moment in between, and
 * a waiter sleeps for as long as it likes. So such a mutex is pinned where it is made, until its
 * memory is freed and given back.
 *
 * Other mutexes need nothing: FUTEX_WAIT and WAKE read the word with leave to retry, or not at all.
 * Robust ones are preload/thread.c's. Not seen are mutexes of a program linked with libzalloc.a,
 * and futex(2) with priority inheritance, or WAKE_OP, called by the program itself on a private
 * word.
 *
 * Locks: none.  May sleep: on the worker.  May fault: no.  Allocates: nothing.
 */
#define _GNU_SOURCE
#include "preload/mutex.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>

#include "alloc/alloc.h"
#include "pager/pager.h"
#include "preload/export.h"

#pragma weak dlsym

typedef int init_fn(pthread_mutex_t *, const pthread_mutexattr_t *);

static init_fn *next_init; /* written by the constructor, or by whoever comes before it */

void za_mutex_resolve(void)
{
    if (dlsym)
        *(void **)&next_init = dlsym(RTLD_NEXT, "pthread_mutex_init");
}

static bool inherits(const pthread_mutexattr_t *attr)
{
    int protocol = PTHREAD_PRIO_NONE;
    return attr && pthread_mutexattr_getprotocol(attr, &protocol) == 0 &&
           protocol == PTHREAD_PRIO_INHERIT;
}

ZA_EXPORT int pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attr)
{
    if (ZA_UNLIKELY(!next_init))
        za_mutex_resolve();
    if (!next_init)
        return ENOMEM;
    if (ZA_UNLIKELY(inherits(attr)) && za_owns(mutex))
        (void)za_pager_pin((uintptr_t)mutex, sizeof(*mutex), ZA_PIN_THREAD);
    return next_init(mutex, attr);
}
