/* SPDX-License-Identifier: MIT */
/*
 * thread -- what the kernel reads and writes of a thread that ends (D18).
 *
 * At a thread's exit the kernel walks the list of robust mutexes that it holds and marks each, so
 * that the next one to lock it hears of the death; then it clears the word that pthread_join waits
 * for, and wakes the waiter. Both are given up silently where a page is not there: faults of an
 * exiting thread are not reported to userfaultfd. A mutex would stay locked, a join would wait for
 * ever. So such memory must not be taken out at that moment, however long the thread has slept
 * before:
 *
 *   the thread's descriptor   lies at the top of its stack, and is heap memory where the program
 *                             allocated the stack and gave it to pthread_create. Such a thread
 *                             begins here, and pins its own descriptor before it does anything
 *                             else. The pin ends when the memory is freed and given back.
 *   robust mutexes            that the thread holds at its end are pinned then.
 *
 * Not seen are threads made by clone(2) itself or by a program linked with libzalloc.a (whose
 * pthread_create is libc's), and mutexes of a thread that never called malloc or that ends by the
 * system call alone.
 *
 * Locks: none.  May sleep: on the worker.  May fault: on the list.  Allocates: a record for each
 * thread with such a stack, which it frees at its start.
 */
#define _GNU_SOURCE
#include "preload/thread.h"

#include <dlfcn.h>
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sys/prctl.h>

#include "alloc/alloc.h"
#include "base/remedy.h"
#include "os/sys.h"
#include "pager/pager.h"
#include "preload/export.h"

#define ENTRIES_MAX 2048u      /* as the kernel's */
#define DESCRIPTOR_BYTES 4096u /* no libc's is larger; the words the kernel writes are in it */

#pragma weak dlsym

typedef void *start_fn(void *);
typedef int create_fn(pthread_t *, const pthread_attr_t *, start_fn *, void *);

struct birth {
    start_fn *start;
    void *arg;
};

static create_fn *next_create; /* written by the constructor, or by whoever comes before it */

static void pin(uintptr_t addr, size_t len)
{
    if (za_owns((void *)addr))
        (void)za_pager_pin(addr, len, ZA_PIN_THREAD);
}

/* ---- the descriptor ---------------------------------------------------------------------------*/

static void pin_self(void)
{
    struct robust_list_head *head = NULL;
    int *tid = NULL;
    size_t len;
    pin((uintptr_t)pthread_self(), DESCRIPTOR_BYTES);
    /* Where the kernel says: the word it clears, and the head of the list. */
    if (za_sys2(SYS_prctl, PR_GET_TID_ADDRESS, &tid) == 0 && tid)
        pin((uintptr_t)tid, sizeof(*tid));
    if (za_sys3(SYS_get_robust_list, 0, &head, &len) == 0 && head)
        pin((uintptr_t)head, sizeof(*head));
}

static void *begin(void *arg)
{
    const struct birth b = *(struct birth *)arg;
    za_free(arg);
    if (!za_without(D18_DESCRIPTOR))
        pin_self();
    return b.start(b.arg);
}

static bool stack_is_ours(const pthread_attr_t *attr)
{
    void *stack;
    size_t size;
    return attr && pthread_attr_getstack(attr, &stack, &size) == 0 && size &&
           za_owns((char *)stack + size - 1);
}

void za_thread_resolve(void)
{
    if (dlsym)
        *(void **)&next_create = dlsym(RTLD_NEXT, "pthread_create");
}

ZA_EXPORT int pthread_create(pthread_t *thread, const pthread_attr_t *attr, start_fn *start,
                             void *arg)
{
    if (ZA_UNLIKELY(!next_create))
        za_thread_resolve();
    if (!next_create)
        return EAGAIN;
    if (ZA_LIKELY(!stack_is_ours(attr)))
        return next_create(thread, attr, start, arg);
    struct birth *b = za_malloc(sizeof(*b));
    if (!b)
        return EAGAIN;
    *b = (struct birth){start, arg};
    int r = next_create(thread, attr, begin, b);
    if (r != 0)
        za_free(b);
    return r;
}

/* ---- robust mutexes ---------------------------------------------------------------------------*/

/* The lowest bit of a link says that the mutex inherits priorities. */
static struct robust_list *link_of(struct robust_list *next)
{
    return (struct robust_list *)((uintptr_t)next & ~(uintptr_t)1);
}

static void pin_entry(const struct robust_list *entry, long futex_offset)
{
    uintptr_t link = (uintptr_t)entry, word = link + (uintptr_t)futex_offset;
    pin(link, sizeof(*entry));
    pin(word, sizeof(uint32_t));
}

void za_thread_leaves(void)
{
    struct robust_list_head *head = NULL;
    size_t len;
    if (za_sys3(SYS_get_robust_list, 0, &head, &len) < 0 || !head || len != sizeof(*head))
        return;
    const struct robust_list *entry = link_of(head->list.next);
    if (za_without(D18_ROBUST))
        return;
    for (unsigned i = 0; entry && entry != &head->list && i < ENTRIES_MAX; i++) {
        pin_entry(entry, head->futex_offset);
        entry = link_of(entry->next);
    }
}
