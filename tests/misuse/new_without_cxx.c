/* SPDX-License-Identifier: MIT */
/* new_without_cxx -- operator new runs out of memory in a program that cannot throw. */
#define _GNU_SOURCE
#include <dlfcn.h>

#include "tests/misuse/misuse.h"

int main(void)
{
    void *(*operator_new)(size_t);

    *(void **)&operator_new = dlsym(RTLD_DEFAULT, "_Znwm");
    if (!operator_new)
        return 4;
    alarm(20);
    operator_new((size_t)1 << 62);
    return 0;
}
