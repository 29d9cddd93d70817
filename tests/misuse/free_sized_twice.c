/* SPDX-License-Identifier: MIT */
/* free_sized_twice -- freed twice, the second time through C23's free_sized. */
#define _GNU_SOURCE
#include <dlfcn.h>

#include "tests/misuse/misuse.h"

int main(void)
{
    void (*free_sized)(void *, size_t);
    void *p = announce(malloc(100));

    /* libc has no such function yet, so it cannot be linked with. */
    *(void **)&free_sized = dlsym(RTLD_DEFAULT, "free_sized");
    if (!free_sized)
        return 4;
    free(hide(p));
    free_sized(hide(p), 100);
    return 0;
}
