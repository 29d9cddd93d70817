/* SPDX-License-Identifier: MIT */
/*
 * double_free_after_others -- freed, then many others of the size, then freed again.
 *
 * By then the first free has left the thread's cache and the second one sits in it: the mistake is
 * seen when that one leaves as well, at the latest when the thread gives its cache back.
 */
#include <malloc.h>

#include "tests/misuse/misuse.h"

#define NOTHERS 4000

static void *others[NOTHERS];

static void allocate_others(void)
{
    for (int i = 0; i < NOTHERS; i++)
        others[i] = malloc(48);
}

static void free_others(void)
{
    for (int i = 0; i < NOTHERS; i++)
        free(others[i]);
}

int main(void)
{
    void *p = announce(malloc(48));

    allocate_others();
    free(hide(p));
    free_others();
    free(hide(p));
    malloc_trim(0);
    return 0;
}
