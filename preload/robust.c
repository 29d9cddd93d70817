/* SPDX-License-Identifier: MIT */
/*
 * robust -- robust mutexes of a thread that ends.
 *
 * At a thread's exit the kernel walks the list of robust mutexes that it holds and marks each, so
 * that the next one to lock it hears of the death. It gives up at a page that is not there: faults
 * of an exiting thread are not reported to anybody. So the thread reads the list itself, shortly
 * before. What is in cold memory at the death of a thread that never called malloc, or that ends by
 * the system call alone, is not told.
 *
 * Locks: none.  May sleep: no.  May fault: that is its purpose.  Allocates: nothing.
 */
#include "preload/robust.h"

#include <linux/futex.h>

#include "alloc/alloc.h"
#include "os/sys.h"

#define ENTRIES_MAX 2048u /* as the kernel's */

static void touch(const void *p)
{
    if (za_owns(p))
        (void)*(const volatile char *)p;
}

static void touch_entry(const struct robust_list *entry, long futex_offset)
{
    touch((const char *)entry + futex_offset);
    touch(entry);
}

/* The lowest bit of a link says that the mutex inherits priorities. */
static struct robust_list *link_of(struct robust_list *next)
{
    return (struct robust_list *)((uintptr_t)next & ~(uintptr_t)1);
}

void za_robust_touch(void)
{
    struct robust_list_head *head = NULL;
    size_t len;
    if (za_sys3(SYS_get_robust_list, 0, &head, &len) < 0 || !head || len != sizeof(*head))
        return;
    struct robust_list *entry = link_of(head->list.next);
    for (unsigned i = 0; entry && entry != &head->list && i < ENTRIES_MAX; i++) {
        touch_entry(entry, head->futex_offset);
        entry = link_of(entry->next);
    }
}
