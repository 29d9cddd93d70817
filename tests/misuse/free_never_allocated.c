/* SPDX-License-Identifier: MIT */
/* free_never_allocated -- a pointer far behind everything allocated, inside our reservation. */
#include "tests/misuse/misuse.h"

int main(void)
{
    void *p = malloc(5000000);

    free(announce(inside(p, 40000000)));
    return 0;
}
